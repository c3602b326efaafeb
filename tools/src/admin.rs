//! `strata admin`, `strata status` and the like: what an administrator asks of a running server from its own machine, through its admin socket.
//!
//! Invariant: nothing is reported as done that the server has not answered.
//!
//! - [`protocol`]: what is said on the socket; [`status`]: the command `strata status`; [`devices`], [`layout`], [`redundancy`]: `strata device`,
//!   `strata layout`, `strata repair` and `strata scrub`; [`users`]: `strata admin user`, `key`, `group` and `policy`; [`accounts`]:
//!   `strata admin account`.

pub mod accounts;
pub mod devices;
pub mod layout;
pub mod protocol;
pub mod redundancy;
pub mod roles;
mod shown;
pub mod status;
pub mod users;

use std::io::{self, IsTerminal, Write};
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::time::Duration;

use serde_json::Value;

use crate::config::Config;
use crate::server::root_key;
use crate::terminal;
use protocol::Request;

/// How long an answer is waited for: longer than the server waits for its log.
const ANSWER_TIME: Duration = Duration::from_secs(70);

/// Why a server did not answer.
#[derive(Debug, PartialEq, Eq)]
pub enum Unanswered {
    /// None runs; says where it was looked for.
    NotRunning(String),
    /// One runs and refuses, or cannot be asked; says why.
    Refused(String),
}

impl std::fmt::Display for Unanswered {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Unanswered::NotRunning(why) | Unanswered::Refused(why) => write!(f, "{why}"),
        }
    }
}

/// Asks the server of this configuration.
///
/// # Errors
/// See [`Unanswered`].
pub fn ask(config: &Config, request: &Request) -> Result<Value, Unanswered> {
    for place in &config.metadata_dirs {
        match ask_at(place, request) {
            Ok(line) => return protocol::decode_answer(&line).map_err(Unanswered::Refused),
            Err(error) if nobody_listens(&error) => {}
            Err(error) => {
                let path = place.join(protocol::SOCKET);
                return Err(Unanswered::Refused(format!("{}: {error}", path.display())));
            }
        }
    }
    Err(Unanswered::NotRunning(format!(
        "no server runs on {}: start it with `strata server`, or give the --config, --data-dir or --metadata-dir that it was \
         started with",
        config.metadata_dir().display()
    )))
}

fn nobody_listens(error: &io::Error) -> bool {
    use io::ErrorKind::{ConnectionRefused, NotADirectory, NotFound};
    matches!(error.kind(), ConnectionRefused | NotADirectory | NotFound)
}

fn ask_at(metadata_dir: &Path, request: &Request) -> io::Result<String> {
    let line = request.encode();
    protocol::check_request(&line)?;
    let mut stream = protocol::at_socket(metadata_dir, |short| UnixStream::connect(short))?;
    stream.set_read_timeout(Some(ANSWER_TIME))?;
    stream.write_all((line + "\n").as_bytes())?;
    protocol::read_line(&stream, protocol::ANSWER_BYTES_MAX)
}

/// What was answered, as JSON or as a table for people.
fn said(answer: &Value, as_json: bool, table: impl Fn(&Value) -> String) -> String {
    match as_json {
        true => format!("{answer:#}\n"),
        false => table(answer),
    }
}

/// Brings a new root key into force: the one of the two variables if they are set, else one that the server makes.
///
/// # Errors
/// No server runs here, or the key is not in force; says why.
pub fn replace_root_key(config: &Config) -> Result<(), String> {
    let given = root_key::from_environment(|name| std::env::var(name).ok())?;
    let is_made = given.is_none();
    let answer = ask(config, &Request::SetRootKey(given)).map_err(|error| error.to_string())?;
    let text = describe(&answer, is_made && io::stdout().is_terminal());
    terminal::print(&text).map_err(|why| format!("the new root key is in force, but {why}"))
}

fn describe(answer: &Value, shows_secret: bool) -> String {
    let field = |name: &str| {
        answer
            .get(name)
            .and_then(Value::as_str)
            .unwrap_or("unknown")
    };
    let id = field("access_key_id");
    let mut text = if shows_secret {
        let secret = field("secret_access_key");
        format!(
            "The new root key, shown once:\n  access key id      {id}\n  secret access key  {secret}\n"
        )
    } else {
        format!("The new root key is {id}.\n")
    };
    text.push_str("It is in force; the old key is refused.\n");
    match answer.get("copy").and_then(Value::as_str) {
        Some(copy) => text.push_str(&format!("A copy that only you can read is {copy}.\n")),
        None => text.push_str(&format!(
            "WARNING: there is no copy of it ({}).\n",
            field("no_copy")
        )),
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn a_secret_is_shown_only_when_it_may_be() {
        let answer =
            json!({ "access_key_id": "ID", "secret_access_key": "hush", "copy": "/m/root-key" });
        let shown = describe(&answer, true);
        assert!(
            shown.contains("hush") && shown.contains("in force"),
            "{shown}"
        );
        let hidden = describe(&answer, false);
        assert!(
            !hidden.contains("hush") && hidden.contains("/m/root-key"),
            "{hidden}"
        );
    }

    #[test]
    fn a_key_without_a_copy_is_a_warning() {
        let answer = json!({ "access_key_id": "ID", "copy": null, "no_copy": "no space" });
        assert!(describe(&answer, false).contains("WARNING: there is no copy of it (no space)"));
    }
}
