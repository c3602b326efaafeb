//! Environment variables.
//!
//! Invariants: every variable that begins with `STRATA_` is a key, a short form, one of the few that are not keys, or is
//! warned of with the nearest known name; a value that is not UTF-8 is never taken for one that is not set.

use std::ffi::{OsStr, OsString};
use std::io;
use std::path::{Path, PathBuf};

use super::schema::{self, Key};
use super::value::{Secret, Value, check_key_pair};
use super::{Findings, Origin, nearest};

/// The file to read.
pub const CONFIG: &str = "STRATA_CONFIG";
/// The access key id of the root key that a first start keeps.
pub const ROOT_ACCESS_KEY_ID: &str = "STRATA_ROOT_ACCESS_KEY_ID";
/// The secret of the root key that a first start keeps.
pub const ROOT_SECRET_KEY: &str = "STRATA_ROOT_SECRET_KEY";

/// Where systemd puts the credentials of a service (systemd.exec(5)).
const CREDENTIALS_DIRECTORY: &str = "CREDENTIALS_DIRECTORY";
/// The credential that holds the root key of a first start.
const ROOT_KEY_CREDENTIAL: &str = "strata.root-key";

const NOT_KEYS: &[&str] = &[CONFIG, ROOT_ACCESS_KEY_ID, ROOT_SECRET_KEY];

/// Variables of Strata's other programs, which read them themselves.
const OTHERS: &[&str] = &["STRATA_BENCH_", "STRATA_TEST_"];

/// What the environment says.
#[derive(Debug, Default)]
pub struct Environment {
    /// Values and problems.
    pub findings: Findings,
    /// `STRATA_CONFIG`.
    pub config_file: Option<PathBuf>,
}

/// The value of a variable, set to something.
pub fn variable(variables: &[(OsString, OsString)], name: &str) -> Option<OsString> {
    let found = variables.iter().find(|(known, _)| known == name);
    found
        .map(|(_, value)| value.clone())
        .filter(|value| !value.is_empty())
}

/// Reads the variables that begin with `STRATA_`.
pub fn read(variables: &[(OsString, OsString)]) -> Environment {
    let mut environment = Environment::default();
    // A name that is not UTF-8 is none that is known, and its warning shows what of it can be shown.
    let names = variables
        .iter()
        .map(|(name, value)| (name.to_string_lossy(), value));
    let mut ours: Vec<_> = names
        .filter(|(name, _)| name.starts_with("STRATA_"))
        .collect();
    ours.sort();
    for (name, value) in ours {
        read_variable(&mut environment, &name, value);
    }
    let text = |name: &str| variable(variables, name)?.into_string().ok();
    environment.findings.problems.extend(root_key(text).err());
    environment
}

/// The root key that the environment gives, if any: that of the two variables, else that of the credential that systemd has
/// put there (`LoadCredential=strata.root-key`), a file of two lines as the server itself keeps them.
///
/// # Errors
/// One half is missing or malformed, or the credential cannot be read.
pub fn root_key(
    variable: impl Fn(&str) -> Option<String>,
) -> Result<Option<(String, Secret)>, String> {
    let set = |name: &str| variable(name).filter(|text| !text.is_empty());
    match (set(ROOT_ACCESS_KEY_ID), set(ROOT_SECRET_KEY)) {
        (None, None) => match variable(CREDENTIALS_DIRECTORY) {
            Some(directory) => root_key_in(&Path::new(&directory).join(ROOT_KEY_CREDENTIAL)),
            None => Ok(None),
        },
        (Some(access_key_id), Some(secret)) => {
            let secret = Secret::new(secret);
            check_key_pair(&access_key_id, &secret).map_err(|why| {
                format!("the root key of {ROOT_ACCESS_KEY_ID} and {ROOT_SECRET_KEY} {why}")
            })?;
            Ok(Some((access_key_id, secret)))
        }
        (Some(_), None) => Err(format!(
            "{ROOT_ACCESS_KEY_ID} is set and {ROOT_SECRET_KEY} is not; set both or neither"
        )),
        (None, Some(_)) => Err(format!(
            "{ROOT_SECRET_KEY} is set and {ROOT_ACCESS_KEY_ID} is not; set both or neither"
        )),
    }
}

fn root_key_in(path: &Path) -> Result<Option<(String, Secret)>, String> {
    let text = match std::fs::read_to_string(path) {
        Ok(text) => text,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(format!("cannot read {}: {error}", path.display())),
    };
    let line = |name: &str| {
        let found = text.lines().find_map(|line| line.strip_prefix(name));
        found.map(|value| value.trim().to_owned())
    };
    match (line("AWS_ACCESS_KEY_ID="), line("AWS_SECRET_ACCESS_KEY=")) {
        (Some(access_key_id), Some(secret)) => {
            let secret = Secret::new(secret);
            check_key_pair(&access_key_id, &secret)
                .map_err(|why| format!("the root key of {} {why}", path.display()))?;
            Ok(Some((access_key_id, secret)))
        }
        _ => Err(format!(
            "{} does not hold the lines AWS_ACCESS_KEY_ID= and AWS_SECRET_ACCESS_KEY=",
            path.display()
        )),
    }
}

fn read_variable(environment: &mut Environment, name: &str, value: &OsStr) {
    if name == CONFIG {
        environment.config_file = Some(PathBuf::from(value));
        return;
    }
    let text = value.to_str().ok_or_else(|| "is not UTF-8".to_owned());
    let findings = &mut environment.findings;
    let long = schema::KEYS.iter().find(|key| key.variable() == name);
    let short = schema::KEYS
        .iter()
        .find(|key| key.short_variable == Some(name));
    match long.or(short) {
        Some(key) => {
            let is_hidden = long.is_none() && findings.given.iter().any(|given| given.key == key);
            if !is_hidden {
                findings.take(
                    key,
                    text.and_then(|text| Value::from_text(key.kind, text)),
                    Origin::Environment(name.to_owned()),
                );
            }
        }
        None if NOT_KEYS.contains(&name) => {
            let problem = text.err().map(|why| format!("{name}: its value {why}"));
            findings.problems.extend(problem);
        }
        None if OTHERS.iter().any(|prefix| name.starts_with(prefix)) => {}
        None => {
            let known = known_variables();
            let hint = nearest::hint(name, known.iter().map(String::as_str));
            findings
                .warnings
                .push(format!("the variable {name} means nothing to Strata{hint}"));
        }
    }
}

fn known_variables() -> Vec<String> {
    let long = schema::KEYS.iter().map(Key::variable);
    let short = schema::KEYS
        .iter()
        .filter_map(|key| key.short_variable.map(str::to_owned));
    long.chain(short)
        .chain(NOT_KEYS.iter().map(|name| (*name).to_owned()))
        .collect()
}
