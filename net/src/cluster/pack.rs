//! Writing packs: a chunk of bytes that belong to several bodies, stored like a chunk of one, and the command that gives it to them.
//!
//! Invariants: the allocation epoch of a pack stays open until the command has its answer; a pack that no extent names is freed, at once
//! when the command says so, by the sweep when its outcome is unknown.

use strata_engine::Owner;
use strata_raftlog::namespace::command::{Answer, Repoint, RepointItem, RepointOutcome};
use strata_raftlog::namespace::{Body, Extent};

use super::Cluster;
use super::fill::Filling;
use super::metadata::unexpected;
use super::write::SPACE_FILE;
use crate::error::ClusterError;

impl Cluster {
    /// Stores bytes as a pack and gives it to the items; what became of each of these. `None` when there is no memory for it
    /// now, or no place for the whole of it.
    ///
    /// # Errors
    /// Those of storing a chunk and of [`Cluster::submit`].
    pub(crate) async fn pack(
        &self,
        bytes: &[u8],
        items: Vec<RepointItem>,
    ) -> Result<Option<Vec<RepointOutcome>>, ClusterError> {
        let Some(mut filling) = Filling::try_begin(bytes.len()) else {
            return Ok(None);
        };
        filling.take(bytes);
        let home = self.new_inode().await?;
        let epoch = self.current_epoch();
        let owner = Owner {
            inode: home,
            space: SPACE_FILE,
            ..Owner::default()
        };
        let Some(chunk) = self.store_as_laid_out(owner, filling, &epoch).await? else {
            return Ok(None);
        };
        let repoint = Repoint {
            home,
            chunk: chunk.clone(),
            items,
        };
        let outcomes = match self.submit(repoint).await {
            Ok(Answer::Repointed(outcomes)) => outcomes,
            Ok(other) => return Err(unexpected("Repoint", &other)),
            // The outcome is unknown.
            Err(error @ ClusterError::Unavailable(_)) => return Err(error),
            Err(error) => {
                self.drop_pack(chunk).await;
                return Err(error);
            }
        };
        drop(epoch);
        if !outcomes.contains(&RepointOutcome::Moved) {
            self.drop_pack(chunk).await;
        }
        Ok(Some(outcomes))
    }

    /// Frees a pack that no extent will ever name.
    async fn drop_pack(&self, chunk: Extent) {
        self.discard(Body::Extents(vec![chunk])).await;
    }
}
