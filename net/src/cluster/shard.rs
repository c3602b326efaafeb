//! Requests about single shards: to the stores of this reactor, or over the mailbox of the reactor that owns the place.

use std::collections::BTreeMap;
use std::ops::Range;

use strata_engine::reactor::{self, BufferView, OneSender};
use strata_engine::{EngineError, Owner, ShardId, ShardWrite};

use super::Cluster;
use crate::memory::Watermark;
use crate::message::{NodeRequest, Place, Scanned};
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

    /// Reads a range of a shard, verified, leaving so much memory free; from where it lay before, while it is being moved.
    pub(super) async fn fetch_shard(
        &self,
        place: Place,
        id: ShardId,
        range: Range<u32>,
        watermark: Watermark,
    ) -> Result<Vec<BufferView>, EngineError> {
        let fetched = self.fetch_at(place, id, range.clone(), watermark).await;
        match self.before_the_move(place, id, &fetched) {
            Some(before) => self.fetch_at(before, id, range, watermark).await,
            None => fetched,
        }
    }

    async fn fetch_at(
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

    /// Where a shard may lie that was not found: its group's slot was another place before, and not all has been moved.
    fn before_the_move<T>(
        &self,
        place: Place,
        id: ShardId,
        answer: &Result<T, EngineError>,
    ) -> Option<Place> {
        match answer {
            Err(EngineError::NotFound) => self.previous_place(id).filter(|before| *before != place),
            _ => None,
        }
    }

    /// Whether each of some shards is at a place, or where it lay before while it is being moved, as the indexes have it.
    pub(crate) async fn holds_shards(
        &self,
        place: Place,
        ids: Vec<ShardId>,
    ) -> Result<Vec<bool>, EngineError> {
        let mut held = self.holds_at(place, ids.clone()).await?;
        let mut elsewhere: BTreeMap<Place, Vec<usize>> = BTreeMap::new();
        for (at, id) in ids.iter().enumerate().filter(|(at, _)| !held[*at]) {
            if let Some(before) = self.previous_place(*id).filter(|before| *before != place) {
                elsewhere.entry(before).or_default().push(at);
            }
        }
        for (before, positions) in elsewhere {
            let asked = positions.iter().map(|at| ids[*at]).collect();
            // One that is not there any more has none of them.
            let found = self.holds_at(before, asked).await.unwrap_or_default();
            let there = positions
                .iter()
                .zip(found)
                .filter(|(_, is_there)| *is_there);
            there.for_each(|(at, _)| held[*at] = true);
        }
        Ok(held)
    }

    /// Whether each of some shards is at a place itself.
    pub(crate) async fn holds_at(
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
        let verified = self.verify_at(place, id).await;
        match self.before_the_move(place, id, &verified) {
            Some(before) => self.verify_at(before, id).await,
            None => verified,
        }
    }

    async fn verify_at(&self, place: Place, id: ShardId) -> Result<u64, EngineError> {
        if !self.is_elsewhere(place) {
            return self.inner.local.verify(place, id).await;
        }
        let request = |reply| NodeRequest::Verify(place, id, reply);
        self.ask(place, request).await
    }

    /// Whose bytes a shard holds.
    pub(crate) async fn owner_of_shard(
        &self,
        place: Place,
        id: ShardId,
    ) -> Result<Owner, EngineError> {
        let owner = self.owner_at(place, id).await;
        match self.before_the_move(place, id, &owner) {
            Some(before) => self.owner_at(before, id).await,
            None => owner,
        }
    }

    async fn owner_at(&self, place: Place, id: ShardId) -> Result<Owner, EngineError> {
        if !self.is_elsewhere(place) {
            return self.inner.local.owner(place, id).await;
        }
        let request = |reply| NodeRequest::Owner(place, id, reply);
        self.ask(place, request).await
    }

    /// The next shards of a place after the one given.
    pub(crate) async fn scan_at(
        &self,
        place: Place,
        after: Option<ShardId>,
        limit: usize,
    ) -> Result<Scanned, EngineError> {
        if !self.is_elsewhere(place) {
            return self.inner.local.scan(place, after, limit).await;
        }
        let request = |reply| NodeRequest::Scan(place, after, limit, reply);
        self.ask(place, request).await
    }

    /// Copies a shard from one place to another, under an epoch of its group; returns its bytes.
    pub(crate) async fn copy_shard(
        &self,
        from: Place,
        to: Place,
        id: ShardId,
        layout_epoch: u32,
    ) -> Result<u64, EngineError> {
        let mut shard = if self.is_elsewhere(from) {
            let request = |reply| NodeRequest::TakeOver(from, id, reply);
            self.ask(from, request).await?
        } else {
            self.inner.local.take_over(from, id).await?
        };
        shard.layout_epoch = layout_epoch;
        let bytes = shard.payload.len() as u64;
        let stored = self.store_shard(to, *shard).await;
        stored.inspect_err(|error| self.note_refusal(to, error))?;
        Ok(bytes)
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
