//! The text formats of `/metrics`: OpenMetrics as the registry writes it, and Prometheus's own (version 0.0.4), made from it for
//! whoever prefers that.
//!
//! In OpenMetrics a counter is described under its name without `_total` and shown with it; in Prometheus's format both have
//! it (<https://prometheus.io/docs/instrumenting/exposition_formats/>).

/// A text format.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Format {
    /// OpenMetrics 1.0.0.
    OpenMetrics,
    /// Prometheus text 0.0.4.
    Prometheus,
}

impl Format {
    /// What a client prefers that sends this `Accept` (RFC 9110, section 12.5.1); OpenMetrics where it does not care.
    pub fn preferred(accept: Option<&str>) -> Format {
        let quality = |wanted: &str| {
            let ranges = accept.unwrap_or_default().split(',');
            ranges
                .filter_map(|range| quality_of(range, wanted))
                .fold(0.0, f32::max)
        };
        if quality("text/plain") > quality("application/openmetrics-text") {
            Format::Prometheus
        } else {
            Format::OpenMetrics
        }
    }

    /// The value of `Content-Type`.
    pub fn content_type(self) -> &'static str {
        match self {
            Format::OpenMetrics => "application/openmetrics-text; version=1.0.0; charset=utf-8",
            Format::Prometheus => "text/plain; version=0.0.4; charset=utf-8",
        }
    }

    /// The text in this format, from what is OpenMetrics.
    pub fn convert(self, open_metrics: String) -> String {
        match self {
            Format::OpenMetrics => open_metrics,
            Format::Prometheus => as_prometheus(&open_metrics),
        }
    }
}

/// The quality of a media range, where it is one of the wanted type.
fn quality_of(range: &str, wanted: &str) -> Option<f32> {
    let mut parts = range.split(';').map(str::trim);
    if !parts.next()?.eq_ignore_ascii_case(wanted) {
        return None;
    }
    let weight = parts.find_map(|part| part.strip_prefix("q=").or(part.strip_prefix("Q=")));
    Some(weight.map_or(1.0, |text| text.parse().unwrap_or(0.0)))
}

fn as_prometheus(open_metrics: &str) -> String {
    let mut text = String::with_capacity(open_metrics.len());
    let mut help = None;
    for line in open_metrics.lines() {
        if let Some(rest) = line.strip_prefix("# HELP ") {
            help = Some(rest);
        } else if let Some(rest) = line.strip_prefix("# TYPE ") {
            let (name, kind) = rest.split_once(' ').unwrap_or((rest, "untyped"));
            let suffix = if kind == "counter" { "_total" } else { "" };
            let (_, what) = help
                .take()
                .and_then(|help: &str| help.split_once(' '))
                .unwrap_or_default();
            text.push_str(&format!(
                "# HELP {name}{suffix} {what}\n# TYPE {name}{suffix} {kind}\n"
            ));
        } else if !line.starts_with('#') {
            text.push_str(line);
            text.push('\n');
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_client_chooses() {
        const PROMETHEUS_3: &str = "application/openmetrics-text;version=1.0.0;escaping=allow-utf-8;q=0.6,\
             application/openmetrics-text;version=0.0.1;q=0.5,text/plain;version=0.0.4;escaping=allow-utf-8;q=0.3,*/*;q=0.1";
        for (accept, format) in [
            (None, Format::OpenMetrics),
            (Some("*/*"), Format::OpenMetrics),
            (Some(PROMETHEUS_3), Format::OpenMetrics),
            (Some("text/plain;version=0.0.4"), Format::Prometheus),
            (Some("Text/Plain"), Format::Prometheus),
            (
                Some("application/openmetrics-text;q=0.2, text/plain; q=0.8"),
                Format::Prometheus,
            ),
            (Some("text/plain;q=x"), Format::OpenMetrics),
            (Some(",;,"), Format::OpenMetrics),
        ] {
            assert_eq!(Format::preferred(accept), format, "{accept:?}");
        }
    }

    #[test]
    fn counters_are_described_by_their_whole_name() {
        let open = "# HELP a_reads Reads.\n# TYPE a_reads counter\na_reads_total{d=\"x\"} 1\n# HELP b What b is.\n\
                    # TYPE b gauge\nb 2.0\n# EOF\n";
        let expected = "# HELP a_reads_total Reads.\n# TYPE a_reads_total counter\na_reads_total{d=\"x\"} 1\n\
                        # HELP b What b is.\n# TYPE b gauge\nb 2.0\n";
        assert_eq!(Format::Prometheus.convert(open.to_owned()), expected);
        assert_eq!(Format::OpenMetrics.convert(open.to_owned()), open);
    }
}
