//! A chunk on its way to the devices: made into shards, each stored in a slot of a placement group.
//!
//! Invariants: a chunk has an extent only when every slot of its mask has flushed it; an attempt that was refused is freed, and
//! the next one has another id, so that what a place kept of the first is never taken for the second.

use std::collections::BTreeSet;
use std::rc::Rc;

use strata_engine::reactor;
use strata_engine::{ChunkId, EngineError, Owner, Payload, ShardId, ShardWrite};
use strata_raftlog::namespace::Extent;

use super::Cluster;
use super::placement::Target;
use super::write::OpenEpoch;
use crate::error::ClusterError;
use crate::message::Place;

/// A chunk on its way to the devices.
pub(super) struct NewChunk {
    pub(super) writer: u32,
    pub(super) epoch: Rc<OpenEpoch>,
    pub(super) owner: Owner,
    /// Every view but the last is a whole number of cells long.
    pub(super) payload: Payload,
}

/// Why an attempt to store a chunk has failed, and the places that did not take their shard.
struct Refusal {
    error: EngineError,
    places: BTreeSet<Place>,
}

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
        let mut refused_by = BTreeSet::new();
        loop {
            let target = self.choose_target(chunk.payload.len() as u32, &refused_by)?;
            let Refusal { error, places } = match self.store_on(&target, &chunk).await {
                Ok(extent) => return Ok(extent),
                Err(refusal) => refusal,
            };
            if !matches!(
                error,
                EngineError::Full { .. } | EngineError::Failed { .. } | EngineError::Unavailable(_)
            ) {
                return Err(error.into());
            }
            tracing::debug!(%error, group = target.group, "other places take the chunk");
            refused_by.extend(places);
        }
    }

    /// Stores the shards of a chunk. When a place refuses its own, what the others have stored is freed.
    async fn store_on(&self, target: &Target, chunk: &NewChunk) -> Result<Extent, Refusal> {
        let id = ChunkId::new(
            target.group,
            chunk.writer,
            chunk.epoch.epoch,
            chunk.epoch.next(),
        );
        let parity_bytes = Cluster::parity_bytes(target.scheme, &chunk.payload);
        let _turn = self.inner.parity_memory.turn(parity_bytes).await;
        let shards = self.shards_of(target.scheme, &chunk.payload);
        let shards = shards.map_err(|error| Refusal {
            error,
            places: BTreeSet::new(),
        })?;
        reactor::yield_if_due().await;
        let writes = target.shards.iter().zip(shards).map(|(to, payload)| {
            let shard = ShardId {
                chunk: id,
                shard: to.shard,
            };
            let write = chunk.shard(shard, target, payload);
            async move { (to.place, self.store_shard(to.place, write).await) }
        });
        let mut refusal: Option<Refusal> = None;
        for (place, outcome) in futures_util::future::join_all(writes).await {
            let Err(error) = outcome else { continue };
            self.note_refusal(place, &error);
            let refusal = refusal.get_or_insert_with(|| Refusal {
                error,
                places: BTreeSet::new(),
            });
            refusal.places.insert(place);
        }
        match refusal {
            None => Ok(Extent::whole_chunk(
                id,
                chunk.payload.len() as u64,
                target.scheme.geometry().number,
                target.slot_mask(),
            )),
            Some(refusal) => {
                self.free_chunks([id]).await;
                Err(refusal)
            }
        }
    }
}
