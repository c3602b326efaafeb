//! Chunks that background work writes: in the scheme of the layout, or not at all.
//!
//! Invariants: one that came out otherwise, because a place failed meanwhile, is freed at once and named by nobody; nothing is
//! written where less than a part of the space is left, which is for clients.

use std::rc::Rc;
use std::sync::atomic::Ordering;

use strata_engine::Owner;
use strata_raftlog::namespace::{Body, Extent};

use super::Cluster;
use super::chunk::NewChunk;
use super::fill::Filling;
use super::placement::{COPIED_CHUNK_BYTES_MAX, RefusedBy};
use super::write::{CHUNK_BYTES_MAX, OpenEpoch};
use crate::error::ClusterError;

/// Part of the data partitions, as a divisor, that is left free.
const FREE_SHARE: u64 = 16;

impl Cluster {
    /// Whether the layout is coded.
    pub(crate) fn is_coded(&self) -> bool {
        self.scheme_for(u32::MAX).is_coded()
    }

    /// Whether chunks of any length would be written in the scheme of the layout now, and there is space for what is written a
    /// second time.
    pub(crate) fn may_write_again(&self) -> bool {
        let partitions = self.inner.parts.partitions.iter();
        let (all, live) = partitions.fold((0, 0), |(all, live), (_, partition)| {
            let statistics = &partition.statistics;
            let here = statistics.live_bytes.load(Ordering::Relaxed);
            (all + statistics.log.capacity_bytes(), live + here)
        });
        let writes = |bytes| self.writes_as_laid_out(bytes);
        live <= all - all / FREE_SHARE
            && writes(CHUNK_BYTES_MAX as u32)
            && writes(COPIED_CHUNK_BYTES_MAX)
    }

    fn writes_as_laid_out(&self, bytes: u32) -> bool {
        let target = self.choose_target(bytes, &RefusedBy::default());
        target.is_ok_and(|target| target.scheme == self.scheme_for(bytes))
    }

    /// Whether a chunk is in the scheme that the layout has for its length.
    pub(crate) fn is_as_laid_out(&self, chunk: &Extent) -> bool {
        let wanted = self.scheme_for(chunk.stored_length as u32);
        chunk.geometry == wanted.geometry().number
    }

    /// Stores a chunk; `None` when there was no place for the whole of it. The epoch stays open until the chunk has its name.
    ///
    /// # Errors
    /// Those of storing a chunk.
    pub(super) async fn store_as_laid_out(
        &self,
        owner: Owner,
        filling: Filling,
        epoch: &Rc<OpenEpoch>,
    ) -> Result<Option<Extent>, ClusterError> {
        let chunk = NewChunk {
            writer: self.writer_number(),
            epoch: epoch.clone(),
            owner,
            payload: filling.freeze()?,
        };
        let chunk = self.store_chunk(chunk).await?;
        if self.is_as_laid_out(&chunk) {
            return Ok(Some(chunk));
        }
        self.discard(Body::Extents(vec![chunk])).await;
        Ok(None)
    }
}
