//! Read repair: a shard of a chunk that a read found damaged or missing is written anew from the others.
//!
//! Invariants: what is written has been verified; the inode is held like by a reader meanwhile, so that nothing is written
//! after it has been freed; one chunk is repaired at a time on a reactor, and the next read finds what was passed over.

use std::collections::BTreeSet;

use strata_engine::reactor::{self, TaskClass};
use strata_engine::{EngineError, Owner, ShardId, ShardWrite};
use strata_raftlog::namespace::Extent;

use super::Cluster;
use super::shard::ShardPlace;

impl Cluster {
    /// Shards that this reactor has written anew since its start.
    pub fn repaired_shards(&self) -> u64 {
        self.inner.repaired.get()
    }

    /// Begins to write the shards of a chunk anew that a read found bad, unless another chunk is being repaired. A newer record
    /// of a shard stands for it from then on, and compaction takes a damaged one away. A device that fails every read is left
    /// alone: the new shard could not be read either.
    pub(super) fn repair(&self, inode: u64, extent: Extent, mut bad: BTreeSet<ShardPlace>) {
        let parts = &self.inner.parts;
        bad.retain(|shard| self.takes_writes(shard.place) && parts.is_readable(shard.place));
        if bad.is_empty() || self.inner.repairing.replace(true) {
            return;
        }
        let pin = parts.readers.pin(reactor::index(), inode);
        let cluster = self.clone();
        let work = async move {
            for shard in bad {
                let (device, partition) = (shard.place.device, shard.place.partition);
                let chunk = extent.chunk;
                match cluster.repair_shard(&extent, shard).await {
                    Ok(()) => {
                        let repaired = cluster.repaired_shards() + 1;
                        cluster.inner.repaired.set(repaired);
                        tracing::info!(%chunk, %device, partition, repaired, "read repair: a shard was written anew");
                    }
                    Err(error) => {
                        tracing::warn!(%chunk, %device, partition, %error, "read repair: a shard could not be written anew");
                    }
                }
            }
            cluster.inner.repairing.set(false);
            drop(pin);
        };
        reactor::spawn(TaskClass::Background, work).detach();
    }

    async fn repair_shard(&self, extent: &Extent, bad: ShardPlace) -> Result<(), EngineError> {
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
        let stored = self.store_shard(bad.place, shard).await;
        stored.inspect_err(|error| self.note_refusal(bad.place, error))
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
