//! Structured logs on standard error: lines for people on a terminal, JSON elsewhere.

use std::ffi::OsStr;
use std::io::IsTerminal;
use std::str::FromStr;

use tracing_subscriber::filter::Targets;
use tracing_subscriber::fmt::format::FmtSpan;
use tracing_subscriber::layer::SubscriberExt;
use tracing_subscriber::util::SubscriberInitExt;

/// What is logged: by `level`, that of `observability.log_level`, or by `rust_log`, the variable of that name. The command line
/// beats the variable, as it beats all others; the variable beats the rest, as it says more than they do.
///
/// # Errors
/// When `RUST_LOG` counts and is not a list of `target=level`.
pub fn filter(
    level: &str,
    level_is_flag: bool,
    rust_log: Option<&OsStr>,
) -> Result<Targets, String> {
    let chosen = match rust_log {
        Some(text) if !level_is_flag => text.to_str().ok_or("RUST_LOG is not UTF-8")?.trim(),
        _ => "",
    };
    if chosen.is_empty() {
        return Targets::from_str(&directives(level)).map_err(|error| error.to_string());
    }
    Targets::from_str(chosen)
        .map_err(|error| format!("RUST_LOG is not a list of target=level: {error}"))
}

/// Sets up `tracing` for the process. `format` is that of `observability.log_format`.
///
/// # Errors
/// When logs are set up already.
pub fn start(filter: Targets, format: &str) -> Result<(), String> {
    let terminal = std::io::stderr().is_terminal();
    let json = format == "json" || format == "auto" && !terminal;
    let lines = tracing_subscriber::fmt::layer()
        .with_writer(std::io::stderr)
        // Nobody may read standard error any more: what cannot be said there must not end the server.
        .log_internal_errors(false)
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
        let no_color = std::env::var_os("NO_COLOR");
        let colored = is_colored(terminal, no_color.as_deref());
        registry.with(lines.with_ansi(colored)).try_init()
    };
    outcome.map_err(|error| error.to_string())
}

/// Whether lines have colours: on a terminal whose user has not set `NO_COLOR` to something (<https://no-color.org>).
fn is_colored(terminal: bool, no_color: Option<&OsStr>) -> bool {
    terminal && no_color.is_none_or(OsStr::is_empty)
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
    std::iter::once(libraries.to_owned()).chain(ours).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::ffi::OsStrExt;
    use tracing::Level;

    #[test]
    fn every_level_makes_a_filter() {
        for level in ["error", "warn", "info", "debug", "trace"] {
            assert!(Targets::from_str(&directives(level)).is_ok());
        }
        assert!(directives("debug").starts_with("warn,strata=debug,"));
    }

    #[test]
    fn no_color_is_honoured() {
        assert!(is_colored(true, None) && is_colored(true, Some(OsStr::new(""))));
        assert!(!is_colored(true, Some(OsStr::new("1"))) && !is_colored(false, None));
    }

    #[test]
    fn the_flag_beats_rust_log_and_rust_log_beats_the_rest() {
        let level = |is_flag: bool, rust_log: Option<&str>| {
            let filter = filter("warn", is_flag, rust_log.map(OsStr::new)).expect("a filter");
            let enabled = |level: Level| filter.would_enable("strata_net::node", &level);
            [Level::TRACE, Level::INFO, Level::WARN].map(enabled)
        };
        const WARN: [bool; 3] = [false, false, true];
        assert_eq!(level(false, None), WARN);
        assert_eq!(level(false, Some(" ")), WARN);
        assert_eq!(level(false, Some("info")), [false, true, true]);
        assert_eq!(level(false, Some("strata_net=trace")), [true; 3]);
        assert_eq!(level(true, Some("trace")), WARN);
    }

    #[test]
    fn a_rust_log_that_counts_must_be_in_order() {
        let broken = OsStr::from_bytes(b"info\xff");
        assert!(filter("info", false, Some(broken)).is_err());
        assert!(filter("info", false, Some(OsStr::new("strata=loud"))).is_err());
        assert!(filter("info", true, Some(broken)).is_ok());
    }
}
