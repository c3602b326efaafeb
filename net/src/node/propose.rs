//! Proposing: a command on its way from the reactor that wants it to the Raft group, on the metadata core.

use std::cell::RefCell;
use std::rc::Rc;

use strata_engine::reactor::{self, OneSender, TaskClass};
use strata_raftlog::consensus::group::{Group, ProposeError};
use strata_raftlog::namespace::command::{Answer, Command, Proposer};

use super::answer;
use crate::error::ClusterError;

/// The Raft group, on the metadata core, once it is up.
#[derive(Default)]
pub struct Metadata {
    group: RefCell<Option<Group>>,
}

impl Metadata {
    /// From now on commands go to this group.
    pub(super) fn set(&self, group: Group) {
        *self.group.borrow_mut() = Some(group);
    }

    /// Takes the group out, to be stopped; commands are refused from then on.
    pub(super) fn take(&self) -> Option<Group> {
        self.group.borrow_mut().take()
    }
}

/// Proposes in a task of its own, so that the mailbox goes on.
pub(super) fn propose_in_task(
    metadata: Option<Rc<Metadata>>,
    command: Command,
    proposer: Proposer,
    reply: OneSender<Result<Answer, ClusterError>>,
) {
    let Some(metadata) = metadata else {
        answer(
            reply,
            Err(ClusterError::Bug(
                "a command was sent to a reactor that is not the metadata core".to_owned(),
            )),
        );
        return;
    };
    let work = async move { answer(reply, propose(&metadata, command, proposer).await) };
    reactor::spawn(TaskClass::Foreground, work).detach();
}

/// Proposes a command and waits for its answer.
///
/// # Errors
/// [`ClusterError::Busy`], [`ClusterError::Full`] and [`ClusterError::Invalid`] when nothing was proposed,
/// [`ClusterError::Unavailable`] when the outcome is unknown.
pub(super) async fn propose(
    metadata: &Metadata,
    command: Command,
    proposer: Proposer,
) -> Result<Answer, ClusterError> {
    let group = metadata.group.borrow().clone();
    let group = group
        .ok_or_else(|| ClusterError::Unavailable("the metadata group is not up".to_owned()))?;
    let proposed = group.propose(command, proposer).await;
    proposed.map_err(|error| match error {
        ProposeError::Busy => {
            ClusterError::Busy("too many changes of names are under way".to_owned())
        }
        ProposeError::Full(what) => ClusterError::Full(what),
        ProposeError::Invalid(what) => ClusterError::Invalid(what),
        other => ClusterError::Unavailable(other.to_string()),
    })
}
