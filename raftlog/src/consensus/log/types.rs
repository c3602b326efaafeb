//! The types the group is made of, and openraft's names for them in one place.

use std::fmt;

use bytes::Bytes;
use openraft::alias;

use crate::consensus::runtime::ReactorRuntime;
use crate::namespace::command::Answer;

openraft::declare_raft_types!(
    /// openraft's type parameters.
    pub(crate) Types:
        D = Proposal,
        R = Applied,
        NodeId = u64,
        Node = openraft::BasicNode,
        AsyncRuntime = ReactorRuntime,
);

pub(crate) type LogId = alias::LogIdOf<Types>;
pub(crate) type LeaderId = alias::CommittedLeaderIdOf<Types>;
pub(crate) type Vote = alias::VoteOf<Types>;
pub(crate) type Entry = alias::EntryOf<Types>;
pub(crate) type Payload = alias::PayloadOf<Types>;
pub(crate) type StoredMembership = alias::StoredMembershipOf<Types>;
pub(crate) type SnapshotMeta = alias::SnapshotMetaOf<Types>;

/// The bytes of one encoded command.
#[derive(Clone, PartialEq, Eq)]
pub(crate) struct Proposal(pub Bytes);

/// What applying an entry came to: an answer for a command, nothing for the group's own entries.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Applied(pub Option<Answer>);

impl fmt::Debug for Proposal {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "Proposal({} bytes)", self.0.len())
    }
}

impl fmt::Display for Proposal {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{} bytes", self.0.len())
    }
}

pub(crate) fn log_id(term: u64, node: u64, index: u64) -> LogId {
    LogId::new(
        LeaderId {
            term,
            node_id: node,
        },
        index,
    )
}

pub(crate) fn vote(term: u64, node: u64, committed: bool) -> Vote {
    if committed {
        Vote::new_committed(term, node)
    } else {
        Vote::new(term, node)
    }
}
