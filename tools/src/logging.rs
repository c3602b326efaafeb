//! Structured logs on standard error: lines for people on a terminal, JSON elsewhere.

use std::io::IsTerminal;

use tracing_subscriber::EnvFilter;
use tracing_subscriber::fmt::format::FmtSpan;

/// Sets up `tracing` for the process. `level` and `format` are those of `observability.log_level` and `.log_format`.
///
/// # Errors
/// When `RUST_LOG` is set and is not a filter, or logs are set up already.
pub fn start(level: &str, format: &str) -> Result<(), String> {
    let filter = match std::env::var("RUST_LOG") {
        Ok(text) if !text.trim().is_empty() => EnvFilter::try_new(&text)
            .map_err(|error| format!("RUST_LOG is not a log filter: {error}"))?,
        _ => EnvFilter::try_new(directives(level)).map_err(|error| error.to_string())?,
    };
    let terminal = std::io::stderr().is_terminal();
    let json = format == "json" || format == "auto" && !terminal;
    let builder = tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(std::io::stderr)
        .with_span_events(FmtSpan::NONE);
    let outcome = if json {
        builder
            .json()
            .flatten_event(true)
            .with_current_span(true)
            .with_span_list(false)
            .try_init()
    } else {
        builder.with_ansi(terminal).try_init()
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
            assert!(EnvFilter::try_new(directives(level)).is_ok());
        }
        assert!(directives("debug").starts_with("warn,strata=debug,"));
    }
}
