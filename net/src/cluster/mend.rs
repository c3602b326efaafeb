//! Mending: a copy of a chunk that cannot be read is written anew from the others.
//!
//! Invariants: what is written has been verified; the inode is held like by a reader meanwhile, so that nothing is written
//! after it has been freed; one chunk is mended at a time on a reactor, and the next read finds what was passed over.

use std::collections::BTreeSet;

use strata_engine::reactor::{self, TaskClass};
use strata_engine::{EngineError, Owner, ShardId, ShardWrite};
use strata_raftlog::namespace::Extent;

use super::Cluster;
use super::read::{Copy, PIECE_BYTES_MAX, Trouble};
use super::write::CELL_BYTES;
use crate::message::NodeRequest;

impl Cluster {
    /// Copies that this reactor has written anew since its start.
    pub fn mended_copies(&self) -> u64 {
        self.inner.mended.get()
    }

    /// Begins to write the damaged copies of a chunk anew, unless another chunk is being mended. A newer record of a shard
    /// stands for it from then on, and compaction takes the damaged one away.
    pub(super) fn mend(&self, inode: u64, extent: Extent, mut damaged: BTreeSet<Copy>) {
        damaged.retain(|copy| self.takes_writes(copy.place));
        if damaged.is_empty() || self.inner.mending.replace(true) {
            return;
        }
        let pin = self.inner.parts.readers.pin(reactor::index(), inode);
        let cluster = self.clone();
        let work = async move {
            for copy in damaged {
                let (device, partition) = (copy.place.device, copy.place.partition);
                let chunk = extent.chunk;
                match cluster.mend_copy(&extent, copy).await {
                    Ok(()) => {
                        let mended = cluster.mended_copies() + 1;
                        cluster.inner.mended.set(mended);
                        tracing::info!(%chunk, %device, partition, mended, "a damaged copy was written anew");
                    }
                    Err(error) => {
                        tracing::warn!(%chunk, %device, partition, %error, "a damaged copy could not be written anew");
                    }
                }
            }
            cluster.inner.mending.set(false);
            drop(pin);
        };
        reactor::spawn(TaskClass::Compaction, work).detach();
    }

    async fn mend_copy(&self, extent: &Extent, damaged: Copy) -> Result<(), EngineError> {
        let unavailable = || EngineError::Unavailable("no other copy can be read".to_owned());
        let mut others = self.copies_of(extent).map_err(|_| unavailable())?;
        others.retain(|copy| *copy != damaged);
        let owner = self.owner_by(extent, &others).await?;
        let layout_epoch = self.epoch_of(extent.chunk.placement_group());
        let mut payload = Vec::new();
        let mut trouble = Trouble::default();
        let mut at = 0;
        while at < extent.stored_length {
            let range = at..(at + PIECE_BYTES_MAX).min(extent.stored_length);
            at = range.end;
            let views = self.fetch_copy(extent.chunk, &others, range, &mut trouble);
            payload.extend(views.await.ok_or_else(unavailable)?);
        }
        let cells = payload.iter().flat_map(|view| view.chunks(CELL_BYTES));
        let shard = ShardWrite {
            id: ShardId {
                chunk: extent.chunk,
                shard: damaged.shard,
            },
            geometry: extent.geometry,
            layout_epoch: layout_epoch.ok_or_else(unavailable)?,
            cell_bytes: CELL_BYTES as u32,
            chunk_bytes: extent.stored_length,
            owner,
            cell_crcs: cells.map(crc32c::crc32c).collect(),
            payload,
            shard_bytes: extent.stored_length as u32,
        };
        let stored = self.store_shard(damaged.place, shard).await;
        stored.inspect_err(|error| self.note_refusal(damaged.place, error))
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
