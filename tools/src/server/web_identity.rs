//! The keys of the issuers that roles may be assumed by: read at the start, and again when a file has changed.
//!
//! Invariants: a start with a file that cannot be used fails; a file that changes into one leaves the keys in use where they are, and is warned of; a
//! reactor never waits for the file system; of a change nothing is read before two looks have found the same, so that one that is under way is not taken for a
//! mistake.

use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use strata_engine::reactor;
use strata_gateway::web_identity::jwks::KeySet;
use strata_gateway::web_identity::{Provider, WebIdentity};
use strata_net::node::status::{Degradation, NodeStatus, Severity};

use crate::config::Config;

/// Between two looks at the files.
const LOOK_PAUSE: Duration = Duration::from_secs(5);

/// A set of keys that is larger, in bytes, is another file.
const FILE_BYTES_MAX: u64 = 1 << 20;

/// The word for a degradation of this kind, for programs.
const KIND: &str = "web_identity_keys";

/// Inode, length, and seconds and nanoseconds of the last change of a file, of its mode included; `None` where it cannot be looked at.
type Stamp = Option<(u64, u64, i64, i64)>;

fn stamp(path: &Path) -> Stamp {
    let found = path.metadata().ok()?;
    Some((found.ino(), found.size(), found.ctime(), found.ctime_nsec()))
}

fn stamps(files: &[PathBuf]) -> Vec<Stamp> {
    files.iter().map(|file| stamp(file)).collect()
}

/// The issuers, with the files that their keys stand in.
#[derive(Clone)]
pub struct Watched {
    /// The issuers.
    pub known: Arc<WebIdentity>,
    files: Vec<PathBuf>,
    stamps: Vec<Stamp>,
    status: Arc<NodeStatus>,
}

/// Reads the keys of all issuers of the configuration.
///
/// # Errors
/// Names the file that cannot be used.
pub fn read(config: &Config, status: &Arc<NodeStatus>) -> Result<Watched, String> {
    let entries = &config.web_identities;
    let files: Vec<PathBuf> = entries.iter().map(|entry| entry.jwks.clone()).collect();
    let stamps = stamps(&files);
    let providers = entries.iter().map(|entry| {
        let keys = read_keys(&entry.jwks)?;
        Ok(Provider::new(
            entry.issuer.clone(),
            entry.audiences.clone(),
            keys,
        ))
    });
    let providers = providers.collect::<Result<_, String>>()?;
    Ok(Watched {
        known: Arc::new(WebIdentity { providers }),
        files,
        stamps,
        status: status.clone(),
    })
}

fn read_keys(path: &Path) -> Result<KeySet, String> {
    let failed = |why: String| format!("`sts.web_identity`: {} {why}", path.display());
    let unreadable = |error: std::io::Error| failed(format!("cannot be read: {error}"));
    let metadata = fs::metadata(path).map_err(unreadable)?;
    if !metadata.is_file() || metadata.len() > FILE_BYTES_MAX {
        return Err(failed(format!(
            "is no file of at most {FILE_BYTES_MAX} bytes"
        )));
    }
    KeySet::parse(&fs::read(path).map_err(unreadable)?).map_err(failed)
}

/// Reads the files again when they have changed, until the task is dropped.
pub async fn watch(mut watched: Watched) {
    if watched.files.is_empty() {
        return;
    }
    let mut last = watched.stamps.clone();
    loop {
        reactor::sleep(LOOK_PAUSE).await;
        let files = watched.files.clone();
        let now = reactor::offload(move || stamps(&files)).await;
        if now != watched.stamps && now == last {
            watched.stamps.clone_from(&now);
            watched.read_again().await;
        }
        last = now;
    }
}

impl Watched {
    async fn read_again(&self) {
        let mut problems = Vec::new();
        for (provider, file) in self.known.providers.iter().zip(&self.files) {
            let file = file.clone();
            match reactor::offload(move || read_keys(&file)).await {
                Ok(keys) => provider.replace_keys(keys),
                Err(why) => problems.push(why),
            }
        }
        let why = problems.join("; ");
        match problems.is_empty() {
            true => tracing::info!("the keys of the issuers of web identities were read again"),
            false => tracing::warn!(%why, "the keys that are in use stay"),
        }
        let degradation = (!problems.is_empty()).then(|| kept(&why));
        self.status.set_degradation(KIND, degradation);
    }
}

fn kept(why: &str) -> Degradation {
    Degradation {
        severity: Severity::Warning,
        kind: KIND,
        what: format!(
            "the keys of an issuer of web identities were read again and are not used: {why}"
        ),
        remedy: "put a JSON Web Key Set in its place; the file is read when it changes".to_owned(),
    }
}
