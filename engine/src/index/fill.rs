//! An index as large as is wanted, for measurements: its pages are what a store writes, its shards have no records.

use std::sync::atomic::Ordering;

use crate::error::EngineError;
use crate::id::ShardId;
use crate::index::{ChangeRoom, Pinned};
use crate::store::ChunkStore;

/// Shards that are pinned together.
const PINNED_AT_ONCE: usize = 512;

impl ChunkStore {
    /// Lets shards into the index as if each had the record that one shard has, and makes checkpoints as they fall due. Reading
    /// such a shard is an error, since another record lies there: this is for measuring the index, in a store made for that.
    ///
    /// # Errors
    /// [`EngineError::NotFound`] without the one shard, [`EngineError::Full`] without room for the pages, and those of
    /// [`ChunkStore::checkpoint`].
    pub async fn fill_index(
        &self,
        like: ShardId,
        shards: impl IntoIterator<Item = ShardId>,
    ) -> Result<(), EngineError> {
        let entry = self.entry_of(like).await?.ok_or(EngineError::NotFound)?;
        let mut shards = shards.into_iter();
        loop {
            let some: Vec<ShardId> = shards.by_ref().take(PINNED_AT_ONCE).collect();
            if some.is_empty() {
                break;
            }
            if self.inner.index.borrow().is_full(some.len()) {
                return Err(self.inner.log.full());
            }
            let room = ChangeRoom::Insert;
            if !self.inner.index.borrow().may_change(some.len(), room) {
                self.checkpoint().await?;
            }
            let mut pinned = Pinned::reserve(&self.inner.index, some.len());
            self.pin(&some, &mut pinned).await?;
            let mut index = self.inner.index.borrow_mut();
            some.iter().for_each(|id| index.insert(*id, entry));
        }
        self.checkpoint().await?;
        self.count_index();
        Ok(())
    }

    /// Pages of the index that have been read from the device.
    pub fn index_page_reads(&self) -> u64 {
        let reads = &self.inner.statistics.index_page_reads;
        reads.load(Ordering::Relaxed)
    }
}
