//! Changes of names: commands through the metadata core, numbered by a session so that a repeat gets its first answer.
//!
//! Invariant: a sequence number is used for one command only, and stays among the unanswered until its answer is here; so
//! the state machine never forgets an answer that may still be asked for.

use std::collections::BTreeSet;
use std::sync::Arc;

use strata_engine::reactor;
use strata_raftlog::namespace::command::{Answer, Command, LeaseInodes, OpenSession, Proposer};

use super::Cluster;
use crate::error::ClusterError;
use crate::message::NodeRequest;
use crate::node::ClusterParts;

/// Inodes that a reactor leases at a time.
const INODE_LEASE_COUNT: u32 = 4096;

/// A session keeps 1,024 answers, and those above one that is still waited for count as well. What would be refused for
/// that waits here.
const UNANSWERED_MAX: u64 = 1_000;

/// The proposer session of one reactor.
pub(super) struct Session {
    id: u64,
    next: u64,
    unanswered: BTreeSet<u64>,
}

impl Session {
    /// Opens a session by command.
    pub(super) async fn open(parts: &Arc<ClusterParts>) -> Result<Session, ClusterError> {
        let owner = parts.node_id << 16 | reactor::index() as u64;
        match ask(parts, OpenSession { owner }.into(), Proposer::SESSIONLESS).await? {
            Answer::Session(id) => Ok(Session {
                id,
                next: 1,
                unanswered: BTreeSet::new(),
            }),
            other => Err(unexpected("OpenSession", &other)),
        }
    }

    /// The next number; none while one that is long before it has no answer.
    fn begin(&mut self) -> Option<Proposer> {
        let sequence = self.next;
        let lowest_unanswered = self.unanswered.first().copied().unwrap_or(sequence);
        if sequence - lowest_unanswered >= UNANSWERED_MAX {
            return None;
        }
        self.next += 1;
        self.unanswered.insert(sequence);
        Some(Proposer {
            session: self.id,
            sequence,
            lowest_unanswered,
        })
    }

    /// Says whether numbers may have become free.
    fn end(&mut self, sequence: u64) -> bool {
        let lowest = self.unanswered.first() == Some(&sequence);
        assert!(
            self.unanswered.remove(&sequence),
            "an answer for a command that was not asked"
        );
        lowest
    }
}

impl Cluster {
    /// Changes names: returns once the command is durable and applied, so that every later read sees it.
    ///
    /// # Errors
    /// [`ClusterError::Refused`] when the state machine refused it (nothing changed), [`ClusterError::Busy`] when too many
    /// are under way (nothing changed), [`ClusterError::Unavailable`] when the outcome is unknown.
    pub async fn submit(&self, command: impl Into<Command>) -> Result<Answer, ClusterError> {
        let command = command.into();
        #[cfg(test)]
        if crate::planted::is(crate::planted::Mistake::AnswerBeforeCommit)
            && matches!(command, Command::PutObject(_) | Command::DeleteObjects(_))
        {
            let cluster = self.clone();
            let changing = async move { cluster.change(command).await.map(drop) };
            reactor::spawn(reactor::TaskClass::Foreground, changing).detach();
            return Ok(Answer::Done);
        }
        self.change(command).await
    }

    /// Has a command carried out under the next number of this reactor's session.
    async fn change(&self, command: Command) -> Result<Answer, ClusterError> {
        let proposer = self.begin_change().await;
        let ending = EndOnDrop {
            cluster: self,
            sequence: proposer.sequence,
        };
        let answer = ask(&self.inner.parts, command, proposer).await;
        drop(ending);
        match answer? {
            Answer::Refused(refusal) => Err(ClusterError::Refused(refusal)),
            answer => Ok(answer),
        }
    }

    /// The number of a change, after those that are too far before it.
    async fn begin_change(&self) -> Proposer {
        loop {
            let begun = self.inner.session.borrow_mut().begin();
            match begun {
                Some(proposer) => return proposer,
                None => self.inner.answered.notified().await,
            }
        }
    }

    /// An inode that nobody has used, from the block that this reactor has leased.
    ///
    /// # Errors
    /// Those of [`Cluster::submit`], when a new block is needed.
    pub async fn new_inode(&self) -> Result<u64, ClusterError> {
        loop {
            if let Some(inode) = self.inner.inodes.borrow_mut().next() {
                return Ok(inode);
            }
            match self
                .submit(LeaseInodes {
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
        let inner = &self.cluster.inner;
        if inner.session.borrow_mut().end(self.sequence) {
            inner.answered.notify_all();
        }
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_session_never_asks_for_more_than_it_may_have_unanswered() {
        let mut session = Session {
            id: 7,
            next: 1,
            unanswered: BTreeSet::new(),
        };
        for sequence in 1..=UNANSWERED_MAX {
            let begun = session.begin().expect("a number");
            assert_eq!((begun.sequence, begun.lowest_unanswered), (sequence, 1));
        }
        assert!(session.begin().is_none());
        // Answers are kept from the first that is waited for on.
        for sequence in 2..=UNANSWERED_MAX {
            assert!(!session.end(sequence));
        }
        assert!(session.begin().is_none());
        assert!(session.end(1));
        let begun = session.begin().expect("a number");
        let next = UNANSWERED_MAX + 1;
        assert_eq!((begun.sequence, begun.lowest_unanswered), (next, next));
    }
}
