//! Read repair: a shard of a chunk that a read found damaged or missing is written anew from the others.
//!
//! Invariants: what is written has been verified; the inode is held like by the reader meanwhile, so that nothing is written
//! after it has been freed; one chunk is repaired at a time on a reactor, and the next read finds what was passed over.

use std::collections::BTreeSet;

use strata_engine::reactor::{self, Instant, TaskClass};
use strata_engine::{EngineError, Owner, ShardId, ShardWrite};
use strata_raftlog::namespace::Extent;

use super::Cluster;
use super::shard::ShardPlace;

impl Cluster {
    /// Begins to write the shards of a chunk anew that a read found bad, which began at that time, unless another chunk is being
    /// repaired. A newer record of a shard stands for it from then on, and compaction takes a damaged one away. A device that
    /// fails every read is left alone: the new shard could not be read either.
    pub(super) fn repair(
        &self,
        (inode, began): (u64, Instant),
        extent: Extent,
        mut bad: BTreeSet<ShardPlace>,
    ) {
        let parts = &self.inner.parts;
        bad.retain(|shard| self.takes_writes(shard.place) && parts.is_readable(shard.place));
        if bad.is_empty() || self.inner.repairing.replace(true) {
            return;
        }
        let pin = parts.readers.pin(reactor::index(), inode, began);
        let cluster = self.clone();
        let work = async move {
            for shard in bad {
                let (device, partition) = (shard.place.device, shard.place.partition);
                if let Err(error) = cluster.mend(&extent, shard).await {
                    tracing::warn!(chunk = %extent.chunk, %device, partition, %error, "a shard could not be written anew");
                }
            }
            cluster.inner.repairing.set(false);
            drop(pin);
        };
        reactor::spawn(TaskClass::Background, work).detach();
    }

    /// Writes a shard of a chunk anew from the others; returns its bytes. The inode of the body must be pinned, and the body known to be
    /// needed since then.
    ///
    /// # Errors
    /// [`EngineError::Unavailable`] where too few others can be read, and those of the place that is to take it.
    pub(crate) async fn mend(&self, extent: &Extent, bad: ShardPlace) -> Result<u64, EngineError> {
        if !self.takes_writes(bad.place) {
            let why = "the place is full or takes no writes".to_owned();
            return Err(EngineError::Unavailable(why));
        }
        let bytes = self.write_anew(extent, bad).await?;
        self.inner.parts.redundancy.count_repaired(bytes);
        tracing::debug!(chunk = %extent.chunk, device = %bad.place.device, bytes, "a shard was written anew");
        Ok(bytes)
    }

    /// Returns the bytes of the shard.
    async fn write_anew(&self, extent: &Extent, bad: ShardPlace) -> Result<u64, EngineError> {
        let unavailable = || EngineError::Unavailable("too few others can be read".to_owned());
        let owner = self.owner_by(extent).await?;
        let layout_epoch = self.epoch_of(extent.chunk.placement_group());
        let rebuilt = self.rebuild_shard(extent, bad).await;
        let rebuilt = rebuilt.map_err(|error| EngineError::Unavailable(error.to_string()))?;
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
            payload: rebuilt.ok_or_else(unavailable)?,
        };
        let bytes = shard.payload.len() as u64;
        match self.store_shard(bad.place, shard).await {
            Ok(()) => Ok(bytes),
            Err(error) => {
                self.note_refusal(bad.place, &error);
                Err(error)
            }
        }
    }

    /// Whose bytes a chunk holds, as the first of its shards says that can.
    async fn owner_by(&self, extent: &Extent) -> Result<Owner, EngineError> {
        let places = self.shard_places(extent);
        let places = places.map_err(|error| EngineError::Unavailable(error.to_string()))?;
        let places = self.in_order_of_asking(places.into_iter().flatten().collect());
        let mut last = EngineError::NotFound;
        for at in places {
            let id = ShardId {
                chunk: extent.chunk,
                shard: at.shard,
            };
            match self.owner_of_shard(at.place, id).await {
                Ok(owner) => return Ok(owner),
                Err(error) => last = error,
            }
        }
        Err(last)
    }
}
