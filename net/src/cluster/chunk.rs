//! A chunk on its way to the devices: to every slot of a placement group, or to the next group where one refuses it.
//!
//! Invariant: a chunk has an extent only when every slot has flushed it; what a group that refused it has stored is freed.

use strata_engine::reactor;
use strata_engine::{ChunkId, EngineError, Owner, Payload, ShardId, ShardWrite};
use strata_raftlog::namespace::Extent;

use super::Cluster;
use super::placement::Group;
use crate::error::ClusterError;
use crate::message::{NodeRequest, Place};

/// A chunk on its way to the devices.
pub(super) struct NewChunk {
    /// Writer, epoch and sequence.
    pub(super) id_without_group: (u32, u32, u64),
    pub(super) owner: Owner,
    /// Every view but the last is a whole number of cells long.
    pub(super) payload: Payload,
}

impl NewChunk {
    fn id(&self, group: &Group) -> ChunkId {
        let (writer, epoch, sequence) = self.id_without_group;
        ChunkId::new(group.number, writer, epoch, sequence)
    }

    fn extent(&self, group: &Group) -> Extent {
        Extent::whole_chunk(
            self.id(group),
            self.payload.len() as u64,
            geometry_of(group),
            slot_mask_of(group),
        )
    }

    fn shard(&self, group: &Group, shard: u8) -> ShardWrite {
        ShardWrite {
            id: ShardId {
                chunk: self.id(group),
                shard,
            },
            geometry: geometry_of(group),
            layout_epoch: group.epoch,
            slot_mask: slot_mask_of(group),
            introduces: true,
            chunk_bytes: self.payload.len() as u64,
            owner: self.owner,
            payload: self.payload.clone(),
        }
    }
}

/// Every slot of a group has a shard.
fn slot_mask_of(group: &Group) -> u64 {
    (1 << group.slots.len()) - 1
}

/// Geometries are numbered by their copies: 1 is a single copy, 2 is two, 3 is three.
fn geometry_of(group: &Group) -> u16 {
    group.slots.len() as u16
}

impl Cluster {
    pub(super) async fn store_shard(
        &self,
        place: Place,
        shard: ShardWrite,
    ) -> Result<(), EngineError> {
        let Some(peer) = self.peer_of(place) else {
            return self.inner.local.store(place, shard).await;
        };
        let (reply, answer) = reactor::oneshot();
        peer.send(NodeRequest::Store(place, Box::new(shard), reply))
            .await
            .map_err(|_| crate::node::store::gone())?;
        answer.await.map_err(|_| crate::node::store::gone())?
    }

    /// Stores a chunk and waits for all the barriers. A group that is full, or has a device that has failed or a partition that
    /// has closed, leaves it to the next one that can be written, where it has another id.
    pub(super) async fn store_chunk(&self, chunk: NewChunk) -> Result<Extent, ClusterError> {
        let mut refused_by = Vec::new();
        loop {
            let group = self.choose_group(chunk.payload.len() as u32, &refused_by)?;
            match self.store_on(&group, &chunk).await {
                Ok(extent) => return Ok(extent),
                Err(
                    error @ (EngineError::Full { .. }
                    | EngineError::Failed { .. }
                    | EngineError::Unavailable(_)),
                ) => {
                    tracing::debug!(%error, group = group.number, "another placement group takes the chunk");
                    refused_by.push(group.number);
                }
                Err(error) => return Err(error.into()),
            }
        }
    }

    /// Stores a chunk on every slot of a group. When one refuses it, what the others have stored is freed.
    async fn store_on(&self, group: &Group, chunk: &NewChunk) -> Result<Extent, EngineError> {
        let extent = chunk.extent(group);
        let writes = group.slots.iter().enumerate().map(|(shard, place)| {
            let write = chunk.shard(group, shard as u8);
            async move { (*place, self.store_shard(*place, write).await) }
        });
        let mut refusal = None;
        for (place, outcome) in futures_util::future::join_all(writes).await {
            if let Err(error) = outcome {
                self.note_refusal(place, &error);
                refusal.get_or_insert(error);
            }
        }
        match refusal {
            None => Ok(extent),
            Some(error) => {
                self.free_chunks([extent.chunk]).await;
                Err(error)
            }
        }
    }
}
