//! Requests about single shards: to the stores of this reactor, or over the mailbox of the reactor that owns the place.

use std::ops::Range;

use strata_engine::reactor::{self, BufferView, OneSender};
use strata_engine::{EngineError, Owner, ShardId, ShardWrite};

use super::Cluster;
use crate::memory::Watermark;
use crate::message::{NodeRequest, Place};
use crate::node::store::gone;

/// A shard of a chunk, and the place that holds it or will.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct ShardPlace {
    /// The number of the shard, which is its slot in the placement group.
    pub(crate) shard: u8,
    pub(crate) place: Place,
}

impl Cluster {
    /// Writes a shard; returns after its barrier.
    pub(super) async fn store_shard(
        &self,
        place: Place,
        shard: ShardWrite,
    ) -> Result<(), EngineError> {
        if !self.is_elsewhere(place) {
            return self.inner.local.store(place, shard).await;
        }
        let request = |reply| NodeRequest::Store(place, Box::new(shard), reply);
        self.ask(place, request).await
    }

    /// Reads a range of a shard, verified, leaving so much memory free.
    pub(super) async fn fetch_shard(
        &self,
        place: Place,
        id: ShardId,
        range: Range<u32>,
        watermark: Watermark,
    ) -> Result<Vec<BufferView>, EngineError> {
        if !self.is_elsewhere(place) {
            return self.inner.local.fetch(place, id, range, watermark).await;
        }
        let request = |reply| NodeRequest::Fetch(place, id, range, watermark, reply);
        self.ask(place, request).await
    }

    /// Whether each of some shards of a place is there, as its index has it.
    pub(crate) async fn holds_shards(
        &self,
        place: Place,
        ids: Vec<ShardId>,
    ) -> Result<Vec<bool>, EngineError> {
        if !self.is_elsewhere(place) {
            return self.inner.local.holds(place, &ids).await;
        }
        let request = |reply| NodeRequest::Holds(place, ids, reply);
        self.ask(place, request).await
    }

    /// Reads all of a shard where it lies and compares it with its checksums; returns how many bytes it has.
    pub(crate) async fn verify_shard(&self, place: Place, id: ShardId) -> Result<u64, EngineError> {
        if !self.is_elsewhere(place) {
            return self.inner.local.verify(place, id).await;
        }
        let request = |reply| NodeRequest::Verify(place, id, reply);
        self.ask(place, request).await
    }

    /// Whose bytes a shard holds.
    pub(super) async fn owner_of_shard(
        &self,
        place: Place,
        id: ShardId,
    ) -> Result<Owner, EngineError> {
        if !self.is_elsewhere(place) {
            return self.inner.local.owner(place, id).await;
        }
        let request = |reply| NodeRequest::Owner(place, id, reply);
        self.ask(place, request).await
    }

    /// Frees shards of one partition; returns when their tombstones are durable.
    pub(crate) async fn free_shards(
        &self,
        place: Place,
        ids: Vec<ShardId>,
    ) -> Result<(), EngineError> {
        if !self.is_elsewhere(place) {
            return self.inner.local.free(place, &ids).await;
        }
        let request = |reply| NodeRequest::Free(place, ids, reply);
        self.ask(place, request).await
    }

    fn is_elsewhere(&self, place: Place) -> bool {
        self.peer_of(place).is_some()
    }

    /// Asks the reactor that owns a place, and waits for the answer.
    async fn ask<T: Send>(
        &self,
        place: Place,
        request: impl FnOnce(OneSender<Result<T, EngineError>>) -> NodeRequest,
    ) -> Result<T, EngineError> {
        let peer = self.peer_of(place).ok_or_else(gone)?;
        let (reply, answer) = reactor::oneshot();
        peer.send(request(reply)).await.map_err(|_| gone())?;
        answer.await.map_err(|_| gone())?
    }
}
