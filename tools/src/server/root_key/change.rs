//! Changes of the root key, from the admin socket to the replicated state and back.
//!
//! Invariants: a change is answered when its key is in force, or with what is known of it; changes are made one after the other,
//! in the order in which they came, and none replaces another that was not answered.

use std::sync::mpsc::{self, RecvTimeoutError};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use strata_engine::reactor::{Receiver, Sender};
use strata_net::{Cluster, ClusterError};
use strata_raftlog::namespace::RootKey;
use strata_raftlog::namespace::command::SetRootKey;

use super::copies::Copies;
use super::{make, refuse_same_id};
use crate::config::Config;

/// How long an answer is waited for. A log that takes longer has a disk that hangs.
const ANSWER_TIME: Duration = Duration::from_secs(60);

/// A key to propose, and where the answer goes.
pub struct Proposal {
    key: RootKey,
    reply: mpsc::Sender<Result<(), ClusterError>>,
}

/// A change that has been made.
#[derive(Debug, PartialEq, Eq)]
pub struct Changed {
    /// The key in force.
    pub key: RootKey,
    /// Where its copy lies, or why there is none.
    pub copy: Result<std::path::PathBuf, String>,
}

/// Makes the changes of a running server.
pub struct KeyChanges {
    config: Config,
    copies: Copies,
    /// To the reactor that proposes.
    proposals: Sender<Proposal>,
    /// Held while a change is made.
    turn: Mutex<()>,
}

impl KeyChanges {
    /// Changes that are proposed by whoever reads the other end of `proposals`.
    pub fn new(config: &Config, copies: Copies, proposals: Sender<Proposal>) -> KeyChanges {
        KeyChanges {
            config: config.clone(),
            copies,
            proposals,
            turn: Mutex::default(),
        }
    }

    /// Brings a key into force: the one given, or a new one. Blocks until it is; not for a reactor.
    ///
    /// # Errors
    /// Why it is not in force, or why that is not known.
    pub fn change(&self, given: Option<RootKey>) -> Result<Changed, String> {
        let key = given.map_or_else(make, Ok)?;
        refuse_same_id(&self.config, &key)?;
        let _turn = self.turn.lock().unwrap_or_else(PoisonError::into_inner);
        self.copies.begin_change(&key)?;
        let (reply, answer) = mpsc::channel();
        let proposal = Proposal {
            key: key.clone(),
            reply,
        };
        if self.proposals.try_send(proposal).is_err() {
            self.copies.give_up_change();
            return Err("the server is stopping; the old root key stays in force".to_owned());
        }
        match answer.recv_timeout(ANSWER_TIME) {
            Ok(Ok(())) => {}
            Ok(Err(error)) if is_without_effect(&error) => {
                self.copies.give_up_change();
                return Err(format!("the root key was not changed: {error}"));
            }
            Ok(Err(error)) => return Err(unknown(&error.to_string())),
            Err(RecvTimeoutError::Timeout) => return Err(unknown("the log does not answer")),
            Err(RecvTimeoutError::Disconnected) => return Err(unknown("the server is stopping")),
        }
        let copy = self.copies.end_change(&key);
        let access_key_id = &key.access_key_id;
        match &copy {
            Ok(copy) => {
                tracing::info!(access_key_id, copy = %copy.display(), "a new root key is in force");
            }
            Err(why) => {
                tracing::error!(%why, access_key_id, "a new root key is in force, and has no copy");
            }
        }
        Ok(Changed { key, copy })
    }
}

/// Whether the command was certainly not carried out, and never will be.
pub fn is_without_effect(error: &ClusterError) -> bool {
    matches!(
        error,
        ClusterError::Refused(_)
            | ClusterError::Busy(_)
            | ClusterError::Full(_)
            | ClusterError::Invalid(_)
    )
}

fn unknown(why: &str) -> String {
    format!(
        "it is not known whether the new root key is in force ({why}). `root-key.next` in the metadata directory holds it until \
         the next start, which keeps it if it is"
    )
}

/// Proposes what comes, one after the other, until nobody asks any more.
pub async fn propose(cluster: Cluster, mut proposals: Receiver<Proposal>) {
    while let Some(Proposal { key, reply }) = proposals.recv().await {
        let outcome = cluster.submit(SetRootKey { key }).await.map(drop);
        // Whoever has stopped waiting was told that the outcome is not known.
        let _ = reply.send(outcome);
    }
}
