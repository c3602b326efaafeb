//! A chunk on its way to the devices: made into shards, each stored in a slot of a placement group.
//!
//! Invariants: a chunk has an extent only when every slot of its mask has flushed it; an attempt that was refused is freed, and
//! the next one has another id, so that what a place kept of the first is never taken for the second.

use std::rc::Rc;

use strata_engine::reactor;
use strata_engine::{ChunkId, EngineError, Owner, Payload, ShardId, ShardWrite};
use strata_raftlog::namespace::Extent;

use super::Cluster;
use super::placement::{RefusedBy, Target};
use super::write::OpenEpoch;
use crate::error::ClusterError;
use crate::memory::NoMemory;
use crate::message::Place;

/// A chunk on its way to the devices.
pub(super) struct NewChunk {
    pub(super) writer: u32,
    pub(super) epoch: Rc<OpenEpoch>,
    pub(super) owner: Owner,
    /// Every view but the last is a whole number of cells long.
    pub(super) payload: Payload,
}

/// Why an attempt to store a chunk has failed: what each place has said that did not take its shard. Never empty.
type Refusals = Vec<(Place, EngineError)>;

impl NewChunk {
    fn shard(&self, id: ShardId, target: &Target, payload: Payload) -> ShardWrite {
        ShardWrite {
            id,
            geometry: target.scheme.geometry().number,
            layout_epoch: target.epoch,
            slot_mask: target.slot_mask(),
            introduces: true,
            chunk_bytes: self.payload.len() as u64,
            owner: self.owner,
            payload,
        }
    }
}

impl Cluster {
    /// Stores a chunk and waits for all the barriers. Places that are full, have failed or have closed are left out, and the chunk
    /// goes to others as long as there are any.
    pub(super) async fn store_chunk(&self, chunk: NewChunk) -> Result<Extent, ClusterError> {
        let mut refused_by = RefusedBy::default();
        loop {
            let target = self.choose_target(chunk.payload.len() as u32, &refused_by)?;
            let parity_bytes = Cluster::parity_bytes(target.scheme, &chunk.payload);
            let turn = self.inner.parity_memory.turn(parity_bytes).await;
            let _turn = turn.map_err(|NoMemory| {
                ClusterError::Busy("no memory became free for parity".to_owned())
            })?;
            let shards = self.shards_of(target.scheme, &chunk.payload)?;
            reactor::yield_if_due().await;
            let refusals = match self.store_on(&target, &chunk, shards).await {
                Ok(extent) => return Ok(extent),
                Err(refusals) => refusals,
            };
            for (place, error) in refusals {
                let is_of_place = matches!(
                    error,
                    EngineError::Full { .. }
                        | EngineError::Failed { .. }
                        | EngineError::Unavailable(_)
                );
                if matches!(error, EngineError::Stale(_)) && self.has_changed(&target) {
                    continue;
                }
                if !is_of_place {
                    return Err(error.into());
                }
                tracing::debug!(%error, group = target.group, "other places take the chunk");
                refused_by.add(place, &error);
            }
        }
    }

    /// Stores the shards of a chunk. When a place refuses its own, what the others have stored is freed.
    async fn store_on(
        &self,
        target: &Target,
        chunk: &NewChunk,
        shards: Vec<Payload>,
    ) -> Result<Extent, Refusals> {
        let (epoch, sequence) = (chunk.epoch.epoch, chunk.epoch.next());
        let id = ChunkId::new(target.group, chunk.writer, epoch, sequence);
        let writes = target.shards.iter().zip(shards).map(|(to, payload)| {
            let shard = ShardId {
                chunk: id,
                shard: to.shard,
            };
            let write = chunk.shard(shard, target, payload);
            async move { (to.place, self.store_shard(to.place, write).await) }
        });
        let stored = futures_util::future::join_all(writes).await;
        let failed = stored
            .into_iter()
            .filter_map(|(place, outcome)| Some((place, outcome.err()?)));
        let refusals: Refusals = failed.collect();
        if refusals.is_empty() {
            return Ok(Extent::whole_chunk(
                id,
                chunk.payload.len() as u64,
                target.scheme.geometry().number,
                target.slot_mask(),
            ));
        }
        for (place, error) in &refusals {
            self.note_refusal(*place, error);
        }
        self.free_chunks([id]).await;
        Err(refusals)
    }
}
