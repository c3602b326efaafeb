//! What `/metrics` shows.
//!
//! - [`families`]: the tables of what is shown; [`node`]: what they read; [`process`]: what the system counts of the process;
//! - [`tls`]: certificates and handshakes; [`text`]: the two text formats.
//!
//! The front end registers families of its own.

pub mod families;
pub mod node;
pub mod process;
pub mod text;
pub mod tls;

use std::fmt;
use std::sync::Arc;

use prometheus_client::encoding::text::encode;
use prometheus_client::registry::Registry;
use strata_gateway::tls::Tls;
use strata_net::node::status::NodeStatus;

use node::NodeCollector;
use text::Format;
use tls::TlsCollector;

/// The registry of the process.
pub struct Metrics {
    registry: Registry,
}

impl Metrics {
    /// A registry of what the node counts.
    pub fn new(status: Arc<NodeStatus>) -> Metrics {
        let mut registry = Registry::default();
        registry.register_collector(Box::new(NodeCollector::new(status)));
        Metrics { registry }
    }

    /// For the families of a front end.
    pub fn registry_mut(&mut self) -> &mut Registry {
        &mut self.registry
    }

    /// Shows TLS as well.
    pub fn show_tls(&mut self, tls: Arc<Tls>) {
        self.registry
            .register_collector(Box::new(TlsCollector(tls)));
    }

    /// Everything, as text.
    ///
    /// # Errors
    /// When a value cannot be written.
    pub fn encode(&self, format: Format) -> Result<String, fmt::Error> {
        let mut text = String::new();
        encode(&mut text, &self.registry)?;
        Ok(format.convert(text))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::TlsFiles;
    use crate::{self_signed, server};
    use strata_gateway::GatewayMetrics;
    use strata_gateway::metrics::Asked;

    const DOCUMENT: &str = include_str!("../../../docs/OPERATION.md");
    const ALERTS: &str = include_str!("../../../docs/alerts.yml");

    fn tls() -> Arc<Tls> {
        let directory = tempfile::tempdir().expect("a directory");
        self_signed::write(directory.path(), &[]).expect("written");
        let files = TlsFiles {
            cert: directory.path().join("cert.pem"),
            key: directory.path().join("key.pem"),
        };
        Arc::new(Tls::new(server::tls::read(&files).expect("a pair")))
    }

    #[test]
    fn the_days_of_a_certificate_are_counted_down() {
        let mut metrics = Metrics::new(Arc::default());
        let without = metrics.encode(Format::OpenMetrics).expect("written");
        assert!(!without.contains("strata_tls_"), "{without}");
        metrics.show_tls(tls());
        let text = metrics.encode(Format::OpenMetrics).expect("written");
        let name = "\nstrata_tls_certificate_expiry_seconds ";
        let (_, rest) = text.split_once(name).expect("shown");
        let seconds: i64 = rest
            .lines()
            .next()
            .expect("a value")
            .parse()
            .expect("a number");
        assert!(
            (364 * 86_400..=365 * 86_400).contains(&seconds),
            "{seconds}"
        );
    }

    fn described(format: Format) -> Vec<(String, String)> {
        let mut metrics = Metrics::new(Arc::default());
        metrics.show_tls(tls());
        let front_end = GatewayMetrics::new(metrics.registry_mut());
        let counters = front_end.counters_of_a_reactor();
        counters.count(Asked::Unknown, Default::default(), Default::default(), 0, 0);
        let text = metrics.encode(format).expect("written");
        let types = text.lines().filter_map(|line| line.strip_prefix("# TYPE "));
        let pairs = types.filter_map(|rest| rest.split_once(' '));
        pairs
            .map(|(name, kind)| (name.to_owned(), kind.to_owned()))
            .collect()
    }

    #[test]
    fn every_family_is_documented() {
        let missing: Vec<String> = described(Format::Prometheus)
            .into_iter()
            .map(|(name, _)| name)
            .filter(|name| !DOCUMENT.contains(&format!("`{name}`")))
            .collect();
        assert!(missing.is_empty(), "not in docs/OPERATION.md: {missing:?}");
    }

    #[test]
    fn every_documented_family_exists() {
        let names: Vec<String> = described(Format::Prometheus)
            .into_iter()
            .map(|(name, _)| name)
            .collect();
        let rows = DOCUMENT
            .lines()
            .filter(|line| line.starts_with("| `strata_") || line.starts_with("| `process_"));
        let first_columns = rows.filter_map(|row| row.split('|').nth(1));
        let mut quoted = first_columns.flat_map(|column| column.split('`').skip(1).step_by(2));
        let gone = quoted.find(|word| !names.iter().any(|name| name == word));
        assert_eq!(gone, None, "docs/OPERATION.md names what is not shown");
    }

    #[test]
    fn alert_rules_ask_for_what_is_shown() {
        let names: Vec<String> = described(Format::Prometheus)
            .into_iter()
            .map(|(name, _)| name)
            .collect();
        let words = ALERTS.split(|c: char| !c.is_ascii_alphanumeric() && c != '_');
        let metrics = words.filter(|word| {
            ["strata_", "process_"]
                .iter()
                .any(|prefix| word.starts_with(prefix))
        });
        let mut count = 0;
        for metric in metrics {
            let family = metric.strip_suffix("_bucket").unwrap_or(metric);
            assert!(names.iter().any(|name| name == family), "{metric}");
            count += 1;
        }
        assert!(count > 10, "only {count} metrics in docs/alerts.yml");
    }

    #[test]
    fn names_are_as_prometheus_wants_them() {
        for (name, kind) in described(Format::Prometheus) {
            let is_total = name.ends_with("_total");
            assert_eq!(is_total, kind == "counter", "{name} is a {kind}");
            for unit in ["_milliseconds", "_micros", "_kib", "_mib", "_percent"] {
                assert!(!name.contains(unit), "{name}: base units only");
            }
        }
        assert!(
            described(Format::OpenMetrics)
                .iter()
                .all(|(name, _)| !name.ends_with("_total"))
        );
    }
}
