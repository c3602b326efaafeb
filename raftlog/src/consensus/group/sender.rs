//! What carries openraft's messages to other nodes.
//!
//! A group of one sends nothing: whatever asks for another node is answered that it is unreachable.

use std::future::Future;

use openraft::errors::{RPCError, ReplicationClosed, StreamingError, Unreachable};
use openraft::network::RPCOption;
use openraft::raft::{
    AppendEntriesRequest, AppendEntriesResponse, SnapshotResponse, VoteRequest, VoteResponse,
};
use openraft::{BasicNode, OptionalSend, RaftNetworkFactory, RaftNetworkV2, alias};

use crate::consensus::log::{SnapshotBody, Types};

/// How a group reaches its other members.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Sender {
    /// There are none, or no way to them.
    Unreachable,
}

/// The way to one member.
pub(crate) struct Peer {
    node: u64,
}

impl RaftNetworkFactory<Types> for Sender {
    type Network = Peer;

    async fn new_client(&mut self, target: u64, _node: &BasicNode) -> Peer {
        match self {
            Sender::Unreachable => Peer { node: target },
        }
    }
}

impl Peer {
    fn unreachable(&self) -> Unreachable<Types> {
        Unreachable::from_string(format!("there is no way to node {}", self.node))
    }
}

impl RaftNetworkV2<Types> for Peer {
    type SnapshotData = SnapshotBody;

    async fn append_entries(
        &mut self,
        _request: AppendEntriesRequest<Types>,
        _option: RPCOption,
    ) -> Result<AppendEntriesResponse<Types>, RPCError<Types>> {
        Err(self.unreachable().into())
    }

    async fn vote(
        &mut self,
        _request: VoteRequest<Types>,
        _option: RPCOption,
    ) -> Result<VoteResponse<Types>, RPCError<Types>> {
        Err(self.unreachable().into())
    }

    async fn full_snapshot(
        &mut self,
        _vote: alias::VoteOf<Types>,
        _snapshot: alias::SnapshotOf<Types, SnapshotBody>,
        _cancel: impl Future<Output = ReplicationClosed> + OptionalSend + 'static,
        _option: RPCOption,
    ) -> Result<SnapshotResponse<Types>, StreamingError<Types>> {
        Err(self.unreachable().into())
    }
}
