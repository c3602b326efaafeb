//! Read repair: a copy of a chunk that a read found damaged or missing is written anew from the others.
//!
//! Invariants: what is written has been verified; the inode is held like by a reader meanwhile, so that nothing is written
//! after it has been freed; one chunk is repaired at a time on a reactor, and the next read finds what was passed over.

use std::collections::BTreeSet;

use strata_engine::reactor::{self, BufferView, TaskClass};
use strata_engine::{EngineError, Owner, Payload, ShardId, ShardWrite};
use strata_raftlog::namespace::Extent;

use super::Cluster;
use super::read::{Copy, PIECE_BYTES_MAX, Trouble};
use crate::message::NodeRequest;

impl Cluster {
    /// Copies that this reactor has written anew since its start.
    pub fn repaired_copies(&self) -> u64 {
        self.inner.repaired.get()
    }

    /// Begins to write the copies of a chunk anew that a read found bad, unless another chunk is being repaired. A newer record
    /// of a shard stands for it from then on, and compaction takes a damaged one away. A device that fails every read is left
    /// alone: the new copy could not be read either.
    pub(super) fn repair(&self, inode: u64, extent: Extent, mut bad: BTreeSet<Copy>) {
        let parts = &self.inner.parts;
        bad.retain(|copy| self.takes_writes(copy.place) && parts.is_readable(copy.place));
        if bad.is_empty() || self.inner.repairing.replace(true) {
            return;
        }
        let pin = parts.readers.pin(reactor::index(), inode);
        let cluster = self.clone();
        let work = async move {
            for copy in bad {
                let (device, partition) = (copy.place.device, copy.place.partition);
                let chunk = extent.chunk;
                match cluster.repair_copy(&extent, copy).await {
                    Ok(()) => {
                        let repaired = cluster.repaired_copies() + 1;
                        cluster.inner.repaired.set(repaired);
                        tracing::info!(%chunk, %device, partition, repaired, "read repair: a copy was written anew");
                    }
                    Err(error) => {
                        tracing::warn!(%chunk, %device, partition, %error, "read repair: a copy could not be written anew");
                    }
                }
            }
            cluster.inner.repairing.set(false);
            drop(pin);
        };
        reactor::spawn(TaskClass::Background, work).detach();
    }

    async fn repair_copy(&self, extent: &Extent, bad: Copy) -> Result<(), EngineError> {
        let unavailable = || EngineError::Unavailable("no other copy can be read".to_owned());
        let mut copies = self.copies_of(extent).map_err(|_| unavailable())?;
        // The good cells of a damaged copy count too, after those of the others.
        copies.sort_by_key(|copy| *copy == bad);
        let owner = self.owner_by(extent, &copies).await?;
        let layout_epoch = self.epoch_of(extent.chunk.placement_group());
        let payload = self.whole_chunk(extent, &copies).await;
        let payload = payload.ok_or_else(unavailable)?;
        let shard = ShardWrite {
            id: ShardId {
                chunk: extent.chunk,
                shard: bad.shard,
            },
            geometry: extent.geometry,
            layout_epoch: layout_epoch.ok_or_else(unavailable)?,
            slot_mask: extent.slot_mask,
            introduces: false,
            chunk_bytes: extent.stored_length,
            owner,
            payload: Payload::of(payload),
        };
        let stored = self.store_shard(bad.place, shard).await;
        stored.inspect_err(|error| self.note_refusal(bad.place, error))
    }

    /// All bytes of a chunk, each from a copy that has it whole.
    async fn whole_chunk(&self, extent: &Extent, copies: &[Copy]) -> Option<Vec<BufferView>> {
        let mut payload = Vec::new();
        let mut trouble = Trouble::default();
        let mut at = 0;
        while at < extent.stored_length {
            let range = at..(at + PIECE_BYTES_MAX).min(extent.stored_length);
            at = range.end;
            let views = self.fetch_range(extent.chunk, copies, range, &mut trouble);
            payload.extend(views.await?);
        }
        Some(payload)
    }

    /// Whose bytes a chunk holds, as the first of the copies says that can.
    async fn owner_by(&self, extent: &Extent, copies: &[Copy]) -> Result<Owner, EngineError> {
        let mut last = EngineError::NotFound;
        for copy in copies {
            let id = ShardId {
                chunk: extent.chunk,
                shard: copy.shard,
            };
            match self.owner_at(copy, id).await {
                Ok(owner) => return Ok(owner),
                Err(error) => last = error,
            }
        }
        Err(last)
    }

    async fn owner_at(&self, copy: &Copy, id: ShardId) -> Result<Owner, EngineError> {
        let Some(peer) = self.peer_of(copy.place) else {
            return self.inner.local.owner(copy.place, id).await;
        };
        let (reply, answer) = reactor::oneshot();
        peer.send(NodeRequest::Owner(copy.place, id, reply))
            .await
            .map_err(|_| crate::node::store::gone())?;
        answer.await.map_err(|_| crate::node::store::gone())?
    }
}
