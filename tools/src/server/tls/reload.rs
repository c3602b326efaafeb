//! The files of a server that speaks TLS, read again when they have changed and at SIGHUP.
//!
//! Invariants: a reactor never waits for the file system: a helper thread looks and reads; files that make no identity leave the one in use where it
//! is; connections that are open go on with the identity they began with; of a change nothing is read before two looks have found the
//! same, so that one that is under way is not taken for a mistake.

use std::cell::Cell;
use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use strata_engine::reactor;
use strata_engine::reactor::local::Notify;
use strata_gateway::tls::Tls;
use strata_net::node::status::{Degradation, NodeStatus, Severity};

use super::{read, unix_seconds, warning};
use crate::config::TlsFiles;

/// Between two looks at the files.
const LOOK_PAUSE: Duration = Duration::from_secs(5);

/// The word for a degradation of this kind, for programs.
const KIND: &str = "tls_certificate";

/// What tells one state of both files from another.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Stamp([Option<FileStamp>; 2]);

/// Device, inode, length, and seconds and nanoseconds of the last change of the file that a path leads to.
type FileStamp = (u64, u64, u64, i64, i64);

impl Stamp {
    /// That of the files now; a file that is not there, or cannot be looked at, is a state like any other.
    pub fn of(files: &TlsFiles) -> Stamp {
        let of = |path: &Path| {
            let found = path.metadata().ok()?;
            Some((
                found.dev(),
                found.ino(),
                found.size(),
                found.mtime(),
                found.mtime_nsec(),
            ))
        };
        Stamp([of(&files.cert), of(&files.key)])
    }
}

/// What is watched, and what follows from it.
#[derive(Clone)]
pub struct Watched {
    /// The files.
    pub files: TlsFiles,
    /// As they were before they were read last.
    pub stamp: Stamp,
    /// Where their identity is shown.
    pub tls: Arc<Tls>,
    /// Where is told that they make none.
    pub status: Arc<NodeStatus>,
}

/// By which a signal asks for the files to be read.
#[derive(Default)]
pub struct Asked {
    is_asked: Cell<bool>,
    asked: Notify,
}

impl Asked {
    /// Asks.
    pub fn ask(&self) {
        self.is_asked.set(true);
        self.asked.notify_all();
    }

    /// Waits for a time, or less if somebody asks; whether somebody has.
    async fn within(&self, time: Duration) -> bool {
        if !self.is_asked.get() {
            // That the time is over is no news.
            let _ = reactor::timeout(time, self.asked.notified()).await;
        }
        self.is_asked.take()
    }
}

/// Reads the files again whenever that is due, until the task is dropped.
pub async fn watch(mut watched: Watched, asked: Rc<Asked>) {
    let mut last = watched.stamp.clone();
    loop {
        if asked.within(LOOK_PAUSE).await {
            watched.read_again().await;
            continue;
        }
        let files = watched.files.clone();
        let now = reactor::offload(move || Stamp::of(&files)).await;
        if now != watched.stamp && now == last {
            watched.read_again().await;
        }
        last = now;
        watched.judge_time();
    }
}

impl Watched {
    async fn read_again(&mut self) {
        let files = self.files.clone();
        let (stamp, identity) = reactor::offload(move || (Stamp::of(&files), read(&files))).await;
        self.stamp = stamp;
        match identity {
            Ok(identity) => {
                self.tls.replace(identity);
                self.status.set_degradation(KIND, None);
                let cert = self.files.cert.display();
                tracing::info!(%cert, "new connections are shown the certificate that was read now");
                self.judge_time();
            }
            Err(why) => {
                tracing::warn!(%why, "the certificate that is in use stays");
                self.status.set_degradation(KIND, Some(kept(&why)));
            }
        }
    }

    /// Tells of a certificate that clients refuse. One that is told of as kept stays so.
    fn judge_time(&self) {
        let validity = self.tls.identity().validity;
        if let Some(what) = warning(&self.files, validity, unix_seconds()) {
            self.status.set_degradation(KIND, Some(refused(what)));
        }
    }
}

fn kept(why: &str) -> Degradation {
    Degradation {
        severity: Severity::Warning,
        kind: KIND,
        what: format!("the certificate and the key were read again and are not used: {why}"),
        remedy: "put right what `strata config check` names; the files are read when they change, or at SIGHUP".to_owned(),
    }
}

fn refused(what: String) -> Degradation {
    Degradation {
        severity: Severity::Critical,
        kind: KIND,
        what,
        remedy: "put a certificate that holds in its place; the files are read when they change, or at SIGHUP".to_owned(),
    }
}
