//! Configuration: one table of keys, four sources, one answer.
//!
//! - [`schema`]: the table that everything else derives from: flags, variables, file, `config show` and its documentation;
//! - [`value`]: what a key may hold, and how text becomes it;
//! - [`file`], [`environment`] and the command line ([`crate::cli`]) each give [`Given`] values and problems;
//! - [`merge`]: command line over environment over file over default; checks that span keys;
//! - [`machine`]: what the machine gives of what is asked for;
//! - [`nearest`]: the known name closest to an unknown one;
//! - [`show`]: what is in force and where it comes from.
//!
//! Invariants: no source is read twice; a key whose feature does not exist is refused and never ignored; a secret leaves this
//! module only inside [`value::Secret`], which cannot be printed.

pub mod environment;
pub mod file;
pub mod machine;
pub mod merge;
pub mod nearest;
pub mod schema;
pub mod show;
pub mod value;

use std::ffi::OsString;
use std::fmt;
use std::path::PathBuf;

use machine::Machine;
use merge::Surroundings;
use schema::Key;
use value::Value;

pub use merge::{Config, Settings, TlsFiles};

/// Where a value came from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Origin {
    /// A flag of the command line.
    CommandLine(String),
    /// An environment variable.
    Environment(String),
    /// The configuration file, with the line counted from 1.
    File(PathBuf, usize),
    /// Nobody said anything.
    Default,
}

impl fmt::Display for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Origin::CommandLine(flag) => write!(f, "{flag}"),
            Origin::Environment(name) => write!(f, "{name}"),
            Origin::File(path, line) => write!(f, "{}:{line}", path.display()),
            Origin::Default => write!(f, "default"),
        }
    }
}

/// A value that a source gave for a key.
#[derive(Debug, Clone)]
pub struct Given {
    /// The key.
    pub key: &'static Key,
    /// Its value, already of the key's kind.
    pub value: Value,
    /// Who gave it.
    pub origin: Origin,
}

/// What one source, or all of them, said.
#[derive(Debug, Default)]
pub struct Findings {
    /// Values that are in order.
    pub given: Vec<Given>,
    /// Why the configuration cannot be used; each names its place.
    pub problems: Vec<String>,
    /// What is worth saying and stops nothing.
    pub warnings: Vec<String>,
}

impl Findings {
    /// Takes the outcome of reading one value.
    pub fn take(&mut self, key: &'static Key, value: Result<Value, String>, origin: Origin) {
        if let schema::State::Refused(reason) = key.state {
            self.problems.push(format!(
                "{origin}: `{}` is not supported yet: {reason}",
                key.path()
            ));
            return;
        }
        match value {
            Ok(value) => self.given.push(Given { key, value, origin }),
            Err(why) => self
                .problems
                .push(format!("{origin}: `{}` {why}", key.path())),
        }
    }
}

/// Every reason why a configuration cannot be used.
#[derive(Debug)]
pub struct ConfigError {
    /// One line each.
    pub problems: Vec<String>,
}

impl fmt::Display for ConfigError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.problems.as_slice() {
            [only] => write!(f, "the configuration cannot be used: {only}"),
            many => {
                write!(f, "the configuration cannot be used:")?;
                many.iter()
                    .try_for_each(|problem| write!(f, "\n  - {problem}"))
            }
        }
    }
}

impl std::error::Error for ConfigError {}

/// A configuration that can be used.
#[derive(Debug)]
pub struct Loaded {
    /// What is in force, with its origin.
    pub settings: Settings,
    /// The same, typed and whole.
    pub config: Config,
    /// What is worth saying and stops nothing.
    pub warnings: Vec<String>,
}

/// Reads all sources, merges them, and checks what comes out against the machine.
///
/// `flags` are the values of the command line and `variables` the environment. The file is the one that the flag or
/// `STRATA_CONFIG` names; without either none is read.
///
/// # Errors
/// All problems of all sources at once.
pub fn load(
    config_flag: Option<PathBuf>,
    flags: Findings,
    variables: &[(OsString, OsString)],
    machine: Machine,
) -> Result<Loaded, ConfigError> {
    let environment = environment::read(variables);
    let path = config_flag.or(environment.config_file);
    let file = path.as_deref().map(file::read).unwrap_or_default();
    let mut problems = Vec::new();
    let mut warnings = Vec::new();
    let mut layers = Vec::new();
    for findings in [flags, environment.findings, file] {
        problems.extend(findings.problems);
        warnings.extend(findings.warnings);
        layers.push(findings.given);
    }
    let settings = merge::merge(layers, path);
    problems.extend(merge::problems_across_keys(&settings));
    let around = Surroundings {
        data_home: merge::data_home(|name| environment::variable(variables, name)),
        rust_log: environment::variable(variables, "RUST_LOG"),
        machine,
    };
    match Config::new(&settings, &around) {
        Ok(config) if problems.is_empty() => {
            warnings.extend(merge::warnings(&settings, &config));
            Ok(Loaded {
                settings,
                config,
                warnings,
            })
        }
        Ok(_) => Err(ConfigError { problems }),
        Err(more) => {
            problems.extend(more);
            Err(ConfigError { problems })
        }
    }
}

/// The environment of this process, as it is: [`environment::read`] says which of it is not in order.
pub fn process_environment() -> Vec<(OsString, OsString)> {
    std::env::vars_os().collect()
}

#[cfg(test)]
mod tests;
