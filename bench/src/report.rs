//! What a run found: latencies, figures by name, and how they are printed.
//!
//! Invariants: the JSON form is one flat object on one line, so that a script can pick a figure by name; a run that
//! saw an error ends with a failing status, unless the subject says that errors are expected; a result says what was run,
//! with every parameter, so that it can be run again.

use std::collections::BTreeMap;
use std::io::Write as _;
use std::process::ExitCode;
use std::time::Duration;

use clap::{Arg, ArgMatches, Command};
use hdrhistogram::Histogram;
use serde_json::{Map, Value};
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;

use crate::progress;

/// Longest latency that is told apart, one minute in nanoseconds.
const LATENCY_MAX: u64 = 60_000_000_000;
/// How many different errors are shown.
const ERROR_KINDS_MAX: usize = 8;

/// What the operations of a run did.
#[derive(Debug)]
pub struct Tally {
    latencies: Histogram<u64>,
    bytes: u64,
    errors: BTreeMap<String, u64>,
    error_count: u64,
}

impl Default for Tally {
    fn default() -> Tally {
        let latencies =
            Histogram::new_with_max(LATENCY_MAX, 3).expect("the bounds of the histogram are valid");
        Tally {
            latencies,
            bytes: 0,
            errors: BTreeMap::new(),
            error_count: 0,
        }
    }
}

impl Tally {
    /// Counts one operation that worked.
    pub fn add(&mut self, latency: Duration, bytes: u64) {
        self.latencies
            .saturating_record(u64::try_from(latency.as_nanos()).unwrap_or(u64::MAX));
        self.bytes += bytes;
        progress::count(bytes);
    }

    /// Counts one operation that failed.
    pub fn fail(&mut self, error: &anyhow::Error) {
        self.error_count += 1;
        let kind = format!("{error:#}");
        if self.errors.len() < ERROR_KINDS_MAX || self.errors.contains_key(&kind) {
            *self.errors.entry(kind).or_default() += 1;
        }
    }

    /// Adds what another part of the run did.
    pub fn merge(&mut self, other: &Tally) {
        self.latencies
            .add(&other.latencies)
            .expect("both histograms have the same bounds");
        self.bytes += other.bytes;
        self.error_count += other.error_count;
        for (kind, count) in &other.errors {
            *self.errors.entry(kind.clone()).or_default() += count;
        }
    }

    /// Operations that worked.
    pub fn count(&self) -> u64 {
        self.latencies.len()
    }

    /// Bytes of those that worked.
    pub fn bytes(&self) -> u64 {
        self.bytes
    }

    /// Operations that failed.
    pub fn error_count(&self) -> u64 {
        self.error_count
    }

    /// The latency that a share of the operations stayed within, in milliseconds.
    pub fn quantile_ms(&self, quantile: f64) -> f64 {
        self.latencies.value_at_quantile(quantile) as f64 / 1e6
    }
}

/// Figures of one run, in the order in which they are printed.
#[derive(Debug, Default)]
pub struct Report {
    figures: Vec<(String, Value)>,
    errors: BTreeMap<String, u64>,
    failed: bool,
}

impl Report {
    /// Adds a figure that is a number; its name ends in its unit.
    pub fn number(&mut self, name: impl Into<String>, value: f64) -> &mut Report {
        // Four digits behind the point are more than any of these figures is worth.
        self.figure(name, Value::from((value * 1e4).round() / 1e4))
    }

    /// Adds a count.
    pub fn count(&mut self, name: impl Into<String>, value: u64) -> &mut Report {
        self.figure(name, Value::from(value))
    }

    /// Adds a figure that is a word.
    pub fn word(&mut self, name: impl Into<String>, value: impl Into<String>) -> &mut Report {
        self.figure(name, Value::from(value.into()))
    }

    fn figure(&mut self, name: impl Into<String>, value: Value) -> &mut Report {
        self.figures.push((name.into(), value));
        self
    }

    /// A figure by its name.
    #[cfg(test)]
    pub fn value(&self, name: &str) -> Option<&Value> {
        let mut figures = self.figures.iter();
        figures.find_map(|(of, value)| (of == name).then_some(value))
    }

    /// Adds what operations did in `elapsed`; every name begins with `prefix`. Errors fail the run.
    pub fn tally(&mut self, prefix: &str, tally: &Tally, elapsed: Duration) -> &mut Report {
        let seconds = elapsed.as_secs_f64().max(1e-9);
        self.count(format!("{prefix}operations"), tally.count());
        self.count(format!("{prefix}errors"), tally.error_count);
        self.number(
            format!("{prefix}ops_per_second"),
            tally.count() as f64 / seconds,
        );
        self.number(
            format!("{prefix}mib_per_second"),
            tally.bytes as f64 / seconds / f64::from(1 << 20),
        );
        for (name, quantile) in [("p50", 0.5), ("p99", 0.99), ("p999", 0.999), ("max", 1.0)] {
            self.number(format!("{prefix}{name}_ms"), tally.quantile_ms(quantile));
        }
        for (kind, count) in &tally.errors {
            *self.errors.entry(kind.clone()).or_default() += count;
        }
        self.failed |= tally.error_count > 0;
        self
    }

    /// Prints the run and gives the status to end with.
    pub fn print(&self, run: &Run, json: bool) -> ExitCode {
        let text = if json {
            format!("{}\n", self.as_json(run))
        } else {
            self.as_table(run)
        };
        let mut output = std::io::stdout().lock();
        let written = output
            .write_all(text.as_bytes())
            .and_then(|()| output.flush());
        for (kind, count) in &self.errors {
            complain(&format!("{count} x {kind}"));
        }
        match written {
            // Whoever read it went away: that is no error.
            Err(error) if error.kind() != std::io::ErrorKind::BrokenPipe => {
                complain(&format!("cannot write to standard output: {error}"));
                ExitCode::FAILURE
            }
            _ if self.failed => ExitCode::FAILURE,
            _ => ExitCode::SUCCESS,
        }
    }

    fn as_json(&self, run: &Run) -> Value {
        let about = [
            ("version", &run.version),
            ("time", &run.time),
            ("run", &run.name),
        ];
        let about = about.map(|(name, text)| (name.to_owned(), Value::from(text.as_str())));
        let parameters = run.parameters.iter();
        let parameters = parameters
            .map(|(name, text)| (format!("parameter_{name}"), Value::from(text.as_str())));
        let figures: Map<String, Value> = about
            .into_iter()
            .chain(parameters)
            .chain(self.figures.iter().cloned())
            .collect();
        Value::Object(figures)
    }

    fn as_table(&self, run: &Run) -> String {
        let parameters: Vec<String> = run
            .parameters
            .iter()
            .map(|(name, text)| format!("{name}={text}"))
            .collect();
        let mut text = format!(
            "strata-bench {} {}, {}\n{}\n",
            run.version,
            run.name,
            run.time,
            parameters.join(" ")
        );
        let width = self.figures.iter().map(|(name, _)| name.len()).max();
        for (name, value) in &self.figures {
            let value = value.as_str().map_or(value.to_string(), str::to_string);
            text.push_str(&format!("{name:0$}  {value}\n", width.unwrap_or(0)));
        }
        text
    }
}

/// Says a line on standard error. Where nobody listens nothing can be done about it.
pub fn complain(line: &str) {
    let _ = writeln!(std::io::stderr(), "strata-bench: {line}");
}

/// What was run.
#[derive(Debug)]
pub struct Run {
    /// The version of this program, with its commit.
    pub version: String,
    /// When it began (RFC 3339, UTC).
    pub time: String,
    /// The names of the commands, such as `s3 put`.
    pub name: String,
    /// Every parameter, given or not, as text.
    pub parameters: Vec<(String, String)>,
}

impl Run {
    /// What a command line asks for. The command has been built, so that every subcommand has what is global.
    pub fn new(version: &str, command: &Command, matches: &ArgMatches) -> Run {
        let now = OffsetDateTime::now_utc()
            .replace_nanosecond(0)
            .expect("zero is in range");
        let (mut names, mut command, mut inner) = (Vec::new(), command, matches);
        while let Some((name, deeper)) = inner.subcommand() {
            names.push(name);
            command = command.find_subcommand(name).unwrap_or(command);
            inner = deeper;
        }
        // Not the groups, which clap names after the structures that hold the arguments.
        let arguments = command.get_arguments().map(Arg::get_id);
        let parameters = arguments.filter(|id| *id != "json").filter_map(|id| {
            let values = inner.try_get_raw(id.as_str()).ok()??;
            let texts: Vec<_> = values.map(|value| value.to_string_lossy()).collect();
            Some((id.as_str().to_owned(), texts.join(" ")))
        });
        Run {
            version: version.to_owned(),
            time: now.format(&Rfc3339).unwrap_or_default(),
            name: names.join(" "),
            parameters: parameters.collect(),
        }
    }
}

/// Parses a size such as `4KiB`, `16MiB`, `5GiB` or a plain number of bytes.
pub fn parse_size(text: &str) -> Result<u64, String> {
    let digits = text.bytes().take_while(u8::is_ascii_digit).count();
    let (number, unit) = text.split_at(digits);
    let factor = match unit {
        "" | "B" => 1,
        "KiB" | "K" | "k" => 1 << 10,
        "MiB" | "M" | "m" => 1 << 20,
        "GiB" | "G" | "g" => 1 << 30,
        _ => return Err(format!("{unit:?} is no unit: use KiB, MiB or GiB")),
    };
    let number: u64 = number
        .parse()
        .map_err(|_| format!("{text:?} does not begin with a number"))?;
    number
        .checked_mul(factor)
        .ok_or_else(|| format!("{text} is too large"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::CommandFactory as _;

    #[test]
    fn sizes_have_binary_units() {
        assert_eq!(parse_size("4KiB"), Ok(4096));
        assert_eq!(parse_size("5GiB"), Ok(5 << 30));
        assert_eq!(parse_size("17"), Ok(17));
        assert!(parse_size("4KB").is_err());
        assert!(parse_size("MiB").is_err());
        assert!(parse_size("99999999999999999999").is_err());
        assert!(parse_size("99999999999G").is_err());
    }

    #[test]
    fn a_result_names_its_run_and_its_parameters() {
        let arguments = ["bench", "--json", "s3", "put", "--size", "8KiB"];
        let mut command = crate::CommandLine::command();
        command.build();
        let matches = command.clone().get_matches_from(arguments);
        let run = Run::new("1.2.3", &command, &matches);
        assert_eq!(run.name, "s3 put");
        let is_small =
            |(name, _): &(String, String)| name.bytes().all(|byte| !byte.is_ascii_uppercase());
        assert!(run.parameters.iter().all(is_small), "{run:?}");
        let mut report = Report::default();
        report.count("operations", 7);
        let json = report.as_json(&run);
        for (name, text) in [
            ("version", "1.2.3"),
            ("parameter_size", "8KiB"),
            ("parameter_concurrency", "16"),
            ("parameter_endpoint", "http://127.0.0.1:9002"),
        ] {
            assert_eq!(json[name], text, "{json}");
        }
        assert_eq!(json["operations"], 7);
        assert!(json.get("parameter_json").is_none(), "{json}");
        let table = report.as_table(&run);
        assert!(table.starts_with("strata-bench 1.2.3 s3 put, 2"), "{table}");
        assert!(
            table.contains("size=8KiB") && table.contains("operations  7"),
            "{table}"
        );
    }

    #[test]
    fn a_tally_keeps_quantiles_apart_and_counts_errors_by_kind() {
        let mut tally = Tally::default();
        for millisecond in 1..=1000 {
            tally.add(Duration::from_millis(millisecond), 10);
        }
        tally.fail(&anyhow::anyhow!("503"));
        tally.fail(&anyhow::anyhow!("503"));
        let mut both = Tally::default();
        both.merge(&tally);
        both.merge(&tally);
        assert_eq!(
            (both.count(), both.bytes, both.error_count()),
            (2000, 20_000, 4)
        );
        assert!((both.quantile_ms(0.99) - 990.0).abs() < 2.0);
        assert!((both.quantile_ms(0.5) - 500.0).abs() < 2.0);
    }
}
