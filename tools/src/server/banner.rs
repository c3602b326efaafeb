//! The lines of a start: where it listens, what the layout survives, the root key, a line to paste.
//!
//! Invariant: a secret is shown on a terminal only, and only by the start that made it.

use std::fmt::Write as _;
use std::net::SocketAddr;
use std::path::Path;

use strata_net::node::status::{Degradation, NodeReport};
use strata_raftlog::namespace::RootKey;

use super::addresses::reachable;
use super::root_key::copies::Known;
use crate::config::Config;
use crate::version::VERSION;

/// What the lines are made from.
pub struct Banner<'a> {
    /// The configuration in force.
    pub config: &'a Config,
    /// What the start found.
    pub report: &'a NodeReport,
    /// The layout and what it survives now.
    pub layout: &'a str,
    /// What the node is short of now.
    pub degradations: &'a [Degradation],
    /// The processors in use.
    pub cores: &'a [usize],
    /// Where S3 listens.
    pub s3: SocketAddr,
    /// Where metrics and health listen.
    pub metrics: SocketAddr,
    /// Where the names lie.
    pub metadata_dir: &'a Path,
    /// The copy of the root key.
    pub key_file: &'a Path,
    /// The key in force.
    pub key: Option<&'a RootKey>,
    /// Who knows it.
    pub known: Known,
    /// Whether the environment holds another key, which is not in force.
    pub environment_differs: bool,
    /// What is to be said of data directories that share a disk.
    pub shared_disks: Option<String>,
    /// Whether people read this.
    pub terminal: bool,
}

impl Banner<'_> {
    /// The lines, the last one ended.
    pub fn text(&self) -> String {
        let mut text = String::new();
        let count = self.cores.len();
        let cores = if count == 1 {
            "1 core".to_owned()
        } else {
            format!("{count} cores")
        };
        let _ = writeln!(
            text,
            "Strata {VERSION}, node {}, cluster {}, {cores}",
            self.config.node_id, self.report.cluster
        );
        self.line(
            &mut text,
            "S3",
            &format!(
                "{}://{} (region {})",
                self.config.url_scheme(),
                reachable(self.s3),
                self.config.region
            ),
        );
        if self.s3.ip().is_loopback() {
            let hint = format!(
                "this machine only; --s3-addr 0.0.0.0:{} listens on every interface",
                self.s3.port()
            );
            self.line(&mut text, "", &hint);
        }
        self.line(
            &mut text,
            "metrics",
            &format!(
                "{}://{}/metrics, also /healthz and /readyz",
                self.config.url_scheme(),
                reachable(self.metrics)
            ),
        );
        for device in &self.report.devices {
            self.line(&mut text, "data", device);
        }
        self.line(&mut text, "names", &self.metadata_dir.display().to_string());
        self.line(&mut text, "layout", self.layout);
        let unused = format!(
            "metadata {} and data {}: they wait until there is a cluster",
            self.config.metadata_addr, self.config.data_addr
        );
        self.line(&mut text, "not open", &unused);
        self.notes(&mut text);
        self.key(&mut text);
        self.paste(&mut text);
        text
    }

    fn line(&self, text: &mut String, name: &str, what: &str) {
        let _ = writeln!(text, "  {name:<9} {what}");
    }

    fn notes(&self, text: &mut String) {
        for found in self.degradations {
            let what = format!("{}. To do: {}", found.what, found.remedy);
            self.line(text, "DEGRADED", &what);
        }
        if let Some(took) = self.report.namespace_rebuilt {
            let what = format!(
                "no namespace that could be used was in the metadata directory: it was made anew from snapshot and log, in {:.1} s",
                took.as_secs_f64()
            );
            self.line(text, "NOTE", &what);
        }
        if let Some(note) = &self.shared_disks {
            self.line(text, "NOTE", note);
        }
        for warning in &self.report.warnings {
            self.line(text, "WARNING", warning);
        }
        if !self.s3.ip().is_loopback() && self.config.tls.is_none() {
            let what = format!(
                "S3 listens on {} without TLS: whoever is on the way can read what is stored and sign requests again for some \
                 minutes. Set tls.cert and tls.key (--tls-cert, --tls-key) where that is not your own network",
                self.s3
            );
            self.line(text, "WARNING", &what);
        }
        if self.config.allow_anonymous {
            self.line(
                text,
                "WARNING",
                "s3.auth.allow_anonymous: whoever reaches the port may do everything",
            );
        }
    }

    fn key(&self, text: &mut String) {
        let file = self.key_file.display();
        match (self.known, self.shown_key()) {
            (_, Some(key)) => {
                let _ = writeln!(
                    text,
                    "\nThe root key, shown once (a copy that only you can read is {file}):"
                );
                let _ = writeln!(text, "  access key id      {}", key.access_key_id);
                let _ = writeln!(text, "  secret access key  {}", key.secret_access_key);
            }
            (Known::Copy, None) => self.line(text, "root key", &format!("in {file}")),
            (Known::Environment, None) => self.line(text, "root key", "the one of the environment"),
            (Known::Elsewhere, None) => {
                let id = self.key.map_or("unknown", |key| &key.access_key_id);
                let what = format!(
                    "{id}; no copy here. When it is lost, `strata admin root-key` makes a new one"
                );
                self.line(text, "root key", &what);
            }
        }
        if self.environment_differs {
            let what = "STRATA_ROOT_ACCESS_KEY_ID and STRATA_ROOT_SECRET_KEY hold another key, and count at the first start only; \
                        `strata admin root-key` brings it into force";
            self.line(text, "WARNING", what);
        }
    }

    /// The key, where it may be shown: made by this start, and people read this.
    fn shown_key(&self) -> Option<&RootKey> {
        let made_here = self.report.first_start && self.known == Known::Copy;
        self.key.filter(|_| made_here && self.terminal)
    }

    /// One line that works when it is pasted, whether the secret is shown or not.
    fn paste(&self, text: &mut String) {
        let export = match (self.known, self.shown_key()) {
            (_, Some(key)) => {
                format!("AWS_ACCESS_KEY_ID={} AWS_SECRET_ACCESS_KEY={}", key.access_key_id, key.secret_access_key)
            }
            (Known::Copy, None) => format!("$(cat {})", quoted(self.key_file)),
            (Known::Environment, None) => {
                "AWS_ACCESS_KEY_ID=$STRATA_ROOT_ACCESS_KEY_ID AWS_SECRET_ACCESS_KEY=$STRATA_ROOT_SECRET_KEY".to_owned()
            }
            (Known::Elsewhere, None) => return,
        };
        let (region, endpoint) = (&self.config.region, reachable(self.s3));
        let scheme = self.config.url_scheme();
        let command = if self.report.first_start {
            "s3 mb s3://first"
        } else {
            "s3 ls"
        };
        let _ = writeln!(text, "\nTo use it, paste:");
        let _ = writeln!(
            text,
            "  export {export} AWS_DEFAULT_REGION={region}; aws --endpoint-url {scheme}://{endpoint} {command}"
        );
    }
}

/// A path as a word of the shell.
fn quoted(path: &Path) -> String {
    let text = path.to_string_lossy();
    let plain = |character: char| character.is_ascii_alphanumeric() || "/._-+".contains(character);
    if text.chars().all(plain) {
        text.into_owned()
    } else {
        format!("'{}'", text.replace('\'', r"'\''"))
    }
}

#[cfg(test)]
mod tests;
