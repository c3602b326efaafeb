//! Converting: a chunk that was written in another scheme than the layout's is written anew in that one, and its extent names the new
//! chunk from then on.
//!
//! Invariants: what is written was verified as it was read; the old chunk is freed by the command that names the new one, after the
//! readers of its inode; where that command changed nothing, or its outcome is unknown, the new chunk is named by nobody and freed.

use strata_engine::Owner;
use strata_raftlog::namespace::command::{Answer, ReplaceChunk, RepointOutcome};
use strata_raftlog::namespace::{Body, BodyPosition, Extent, ExtentKind};

use super::Cluster;
use super::fill::Filling;
use super::metadata::unexpected;
use super::read::BodySource;
use crate::error::ClusterError;

impl Cluster {
    /// Whether the chunk of an extent is in another scheme than the layout's, and may be written anew by itself: it belongs to the
    /// body alone, and the body has a name. Packs are written anew by packing, parts of an upload once it is complete.
    ///
    /// # Errors
    /// Those of reading the namespace.
    pub(crate) fn is_convertible(
        &self,
        at: BodyPosition,
        extent: &Extent,
    ) -> Result<bool, ClusterError> {
        let is_whole = extent.offset == 0 && extent.length == extent.stored_length;
        if self.is_as_laid_out(extent)
            || extent.kind != ExtentKind::Chunk
            || extent.home_inode != 0
            || !is_whole
        {
            return Ok(false);
        }
        self.read(|view| Ok(view.place(at.inode)?.is_some()))
    }

    /// Writes the chunk of an extent anew in the scheme of the layout. Returns what the extent is then; `None` when there is no
    /// memory or place for it now, or when it has changed meanwhile. The inode of the body must be pinned, and the extent known
    /// to be there since then.
    ///
    /// # Errors
    /// Those of reading the chunk, of storing it and of [`Cluster::submit`].
    pub(crate) async fn convert(
        &self,
        at: BodyPosition,
        extent: &Extent,
    ) -> Result<Option<Extent>, ClusterError> {
        let Some(mut filling) = Filling::try_begin(extent.length as usize) else {
            return Ok(None);
        };
        let source = BodySource::Extents(vec![extent.clone()]);
        let mut reader = self.reader(at.inode, source, 0..extent.length);
        while let Some(piece) = reader.next().await {
            filling.take(&piece?);
        }
        if filling.bytes() as u64 != extent.length {
            let chunk = extent.chunk;
            return Err(ClusterError::Bug(format!("chunk {chunk} was read in part")));
        }
        let owner = Owner {
            inode: at.inode,
            space: at.space,
            offset: at.offset,
            ..Owner::default()
        };
        let epoch = self.current_epoch();
        let Some(new) = self.store_as_laid_out(owner, filling, &epoch).await? else {
            return Ok(None);
        };
        let replacing = ReplaceChunk {
            inode: at.inode,
            space: at.space,
            offset: at.offset,
            old: extent.chunk,
            new: new.clone(),
        };
        let has_moved = match self.submit(replacing).await {
            Ok(Answer::Repointed(outcomes)) => outcomes == [RepointOutcome::Moved],
            Ok(other) => return Err(unexpected("ReplaceChunk", &other)),
            // The outcome is unknown: the sweep finds out whether the chunk has a name.
            Err(error @ ClusterError::Unavailable(_)) => return Err(error),
            Err(error) => {
                self.discard(Body::Extents(vec![new])).await;
                return Err(error);
            }
        };
        if !has_moved {
            self.discard(Body::Extents(vec![new])).await;
            return Ok(None);
        }
        self.parts().redundancy.count_converted(extent.length);
        Ok(Some(new))
    }
}
