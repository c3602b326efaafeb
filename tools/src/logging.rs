//! Structured logs on standard error: lines for people on a terminal, JSON elsewhere.

use std::io::IsTerminal;
use std::str::FromStr;

use tracing_subscriber::filter::Targets;
use tracing_subscriber::fmt::format::FmtSpan;
use tracing_subscriber::layer::SubscriberExt;
use tracing_subscriber::util::SubscriberInitExt;

/// Sets up `tracing` for the process. `level` and `format` are those of `observability.log_level` and `.log_format`.
///
/// # Errors
/// When `RUST_LOG` is set and is not a list of `target=level`, or logs are set up already.
pub fn start(level: &str, format: &str) -> Result<(), String> {
    let filter = match std::env::var("RUST_LOG") {
        Ok(text) if !text.trim().is_empty() => Targets::from_str(&text)
            .map_err(|error| format!("RUST_LOG is not a list of target=level: {error}"))?,
        _ => Targets::from_str(&directives(level)).map_err(|error| error.to_string())?,
    };
    let terminal = std::io::stderr().is_terminal();
    let json = format == "json" || format == "auto" && !terminal;
    let lines = tracing_subscriber::fmt::layer()
        .with_writer(std::io::stderr)
        .with_span_events(FmtSpan::NONE);
    let registry = tracing_subscriber::registry().with(filter);
    let outcome = if json {
        let lines = lines
            .json()
            .flatten_event(true)
            .with_current_span(true)
            .with_span_list(false);
        registry.with(lines).try_init()
    } else {
        registry.with(lines.with_ansi(terminal)).try_init()
    };
    outcome.map_err(|error| error.to_string())
}

/// The level for Strata's own modules; libraries speak only from `warn` upwards, or at `trace` with everybody.
fn directives(level: &str) -> String {
    const OURS: &[&str] = &[
        "strata",
        "strata_engine",
        "strata_raftlog",
        "strata_net",
        "strata_gateway",
    ];
    let libraries = match level {
        "error" => "error",
        "trace" => "debug",
        _ => "warn",
    };
    let ours = OURS.iter().map(|name| format!(",{name}={level}"));
    // The gateway logs every failed request itself; s3s would log it again, with the whole answer.
    let twice = if level == "trace" { "" } else { ",s3s=off" };
    let all = std::iter::once(libraries.to_owned()).chain(ours);
    all.chain([twice.to_owned()]).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_level_makes_a_filter() {
        for level in ["error", "warn", "info", "debug", "trace"] {
            assert!(Targets::from_str(&directives(level)).is_ok());
        }
        assert!(directives("debug").starts_with("warn,strata=debug,"));
    }
}
