//! Changes of names: commands through the metadata core, numbered by a session so that a repeat gets its first answer.
//!
//! Invariant: a sequence number is used for one command only, and stays among the unanswered until its answer is here; so
//! the state machine never forgets an answer that may still be asked for.

use std::collections::BTreeSet;
use std::sync::Arc;

use strata_engine::reactor;
use strata_raftlog::command::{Answer, Command, LeaseInodes, OpenSession};

use super::Cluster;
use crate::error::ClusterError;
use crate::message::{NodeRequest, Proposer};
use crate::node::ClusterParts;

/// Inodes that a reactor leases at a time.
const INODE_LEASE_COUNT: u32 = 4096;

/// The proposer session of one reactor.
pub(super) struct Session {
    id: u64,
    next: u64,
    unanswered: BTreeSet<u64>,
}

impl Session {
    /// Opens a session by command.
    pub(super) async fn open(parts: &Arc<ClusterParts>) -> Result<Session, ClusterError> {
        let proposer = Proposer {
            session: 0,
            sequence: 0,
            lowest_unanswered: 0,
        };
        let owner = parts.node_id << 16 | reactor::index() as u64;
        match ask(parts, OpenSession { owner }.into(), proposer).await? {
            Answer::Session(id) => Ok(Session {
                id,
                next: 1,
                unanswered: BTreeSet::new(),
            }),
            other => Err(unexpected("OpenSession", &other)),
        }
    }

    fn begin(&mut self) -> Proposer {
        let sequence = self.next;
        self.next += 1;
        self.unanswered.insert(sequence);
        let lowest_unanswered = self.unanswered.first().copied().unwrap_or(sequence);
        Proposer {
            session: self.id,
            sequence,
            lowest_unanswered,
        }
    }

    fn end(&mut self, sequence: u64) {
        assert!(
            self.unanswered.remove(&sequence),
            "an answer for a command that was not asked"
        );
    }
}

impl Cluster {
    /// Changes names: returns once the command is durable and applied, so that every later read sees it.
    ///
    /// # Errors
    /// [`ClusterError::Refused`] when the state machine refused it (nothing changed), [`ClusterError::Busy`] when too many
    /// are under way (nothing changed), [`ClusterError::Unavailable`] when the outcome is unknown.
    pub async fn change(&self, command: impl Into<Command>) -> Result<Answer, ClusterError> {
        let proposer = self.inner.session.borrow_mut().begin();
        let ending = EndOnDrop {
            cluster: self,
            sequence: proposer.sequence,
        };
        let answer = ask(&self.inner.parts, command.into(), proposer).await;
        drop(ending);
        match answer? {
            Answer::Refused(refusal) => Err(ClusterError::Refused(refusal)),
            answer => Ok(answer),
        }
    }

    /// An inode that nobody has used, from the block that this reactor has leased.
    ///
    /// # Errors
    /// Those of [`Cluster::change`], when a new block is needed.
    pub async fn new_inode(&self) -> Result<u64, ClusterError> {
        loop {
            if let Some(inode) = self.inner.inodes.borrow_mut().next() {
                return Ok(inode);
            }
            match self
                .change(LeaseInodes {
                    count: INODE_LEASE_COUNT,
                })
                .await?
            {
                Answer::Inodes { first, count } => {
                    *self.inner.inodes.borrow_mut() = first..first + u64::from(count)
                }
                other => return Err(unexpected("LeaseInodes", &other)),
            }
        }
    }
}

/// A caller that gives up while its command is under way never reads the answer, so nobody will ask for it again.
struct EndOnDrop<'a> {
    cluster: &'a Cluster,
    sequence: u64,
}

impl Drop for EndOnDrop<'_> {
    fn drop(&mut self) {
        self.cluster.inner.session.borrow_mut().end(self.sequence);
    }
}

async fn ask(
    parts: &Arc<ClusterParts>,
    command: Command,
    proposer: Proposer,
) -> Result<Answer, ClusterError> {
    let (reply, answer) = reactor::oneshot();
    let request = NodeRequest::Change(Box::new(command), proposer, reply);
    parts
        .metadata_core()
        .send(request)
        .await
        .map_err(|_| stopping())?;
    answer.await.map_err(|_| stopping())?
}

/// The error of a request whose reactor ended before it answered.
pub(crate) fn stopping() -> ClusterError {
    ClusterError::Unavailable("the node is stopping".to_owned())
}

/// An answer of a kind that its command never gets.
pub(crate) fn unexpected(command: &str, answer: &Answer) -> ClusterError {
    ClusterError::Bug(format!("{command} was answered with {answer:?}"))
}
