//! Checkpoints of a data partition: what has changed in the index as pages, then an anchor that names the new trees.
//!
//! Invariants: the anchor is the commit point; until it is durable the earlier trees stand untouched, and what they use is written
//! over by later checkpoints only; every record below `replay_from` is in what is written, and none above, so that the trees are
//! what those records come to; a checkpoint writes no more pages than [`rewritten_pages_max`] says for what has changed.

mod page_writer;
mod tree_writer;

use std::rc::Rc;
use std::sync::atomic::Ordering;

use crate::error::EngineError;
use crate::format::page::{PagePlace, TreeKind};
use crate::format::segment::Content;
use crate::index::tree::{Fanout, rewritten_pages_max};
use crate::index::{Frozen, Written, pages_per_segment};
use crate::reactor::{self, TaskClass};
use crate::store::ChunkStore;
use page_writer::PageWriter;
use tree_writer::TreeWriter;

/// A checkpoint is due when more than this lies behind the last one. A start reads and verifies all of it, one record after the
/// other.
const TAIL_BYTES_MAX: u64 = 64 << 20;

/// Segments that a checkpoint needs that changes or removes keys in an index of so many pages in so many segments, beside those.
pub(crate) fn index_segments_for(pages: u64, segments: u64, segment_bytes: u64) -> usize {
    let in_segment = u64::from(pages_per_segment(segment_bytes));
    // As if all of them were leaves, each with its own page above.
    let written = rewritten_pages_max(&[pages, pages], pages, 0, Fanout::default());
    let free = (segments * in_segment).saturating_sub(pages);
    let missing = written.max(1).saturating_sub(free);
    missing.div_ceil(in_segment) as usize
}

impl ChunkStore {
    /// Writes a checkpoint: the next start replays nothing that was durable before it.
    ///
    /// # Errors
    /// [`EngineError::Full`] when no segments are left for the pages, [`EngineError::Failed`] on a failed device.
    pub async fn checkpoint(&self) -> Result<(), EngineError> {
        let _maintenance = self.inner.maintenance.lock().await;
        self.checkpoint_locked().await
    }

    pub(crate) async fn checkpoint_locked(&self) -> Result<(), EngineError> {
        let outcome = self.write_checkpoint_on_a_good_index().await;
        self.inner.checkpoint_failed.set(outcome.is_err());
        outcome
    }

    async fn write_checkpoint_on_a_good_index(&self) -> Result<(), EngineError> {
        let outcome = self.write_checkpoint().await;
        if self.inner.index_damage.get().is_none() {
            return outcome;
        }
        // A leaf could not be read, here or by a look-up.
        match self.rebuild_index_locked().await {
            Ok(()) => self.write_checkpoint().await,
            // What has changed may need nothing of what is damaged.
            Err(_) => outcome,
        }
    }

    async fn write_checkpoint(&self) -> Result<(), EngineError> {
        let log = &self.inner.log;
        let replay_from = log.durable();
        self.enter_durable();
        let frozen = self.inner.index.borrow_mut().freeze();
        let generation = log.next_index_generation().await;
        let mut pages = PageWriter::new(self, generation);
        let written = self.write_trees(&frozen, &mut pages).await;
        let (allocated, added) = pages.into_places();
        let committed = match written {
            Ok((written, emptied)) => self
                .write_index_anchor(&written, &frozen, generation, replay_from)
                .await
                .map(|()| (written, emptied)),
            Err(error) => Err(error),
        };
        let (written, emptied) = match committed {
            Ok(committed) => committed,
            Err(error) => {
                self.give_up_pages(allocated, &added);
                return Err(error);
            }
        };
        self.inner.index.borrow_mut().commit(written);
        self.inner.replay_from.set(replay_from);
        log.release(|_, slot, content| content == Content::Index && emptied.contains(&slot));
        self.release_dead();
        self.inner
            .statistics
            .checkpoints
            .fetch_add(1, Ordering::Relaxed);
        Ok(())
    }

    /// Writes the pages of both trees, with their barrier; returns the trees and the segments in which they have no page.
    async fn write_trees<'s>(
        &'s self,
        frozen: &Frozen,
        pages: &mut PageWriter<'s>,
    ) -> Result<(Written, Vec<u32>), EngineError> {
        let (shards, table) = {
            let index = self.inner.index.borrow();
            pages.freed.extend(index.left_over());
            let tree = |kind| Rc::clone(index.tree(kind));
            (tree(TreeKind::Shards), tree(TreeKind::Table))
        };
        let pages_max = {
            let index = self.inner.index.borrow();
            let max = |tree: &crate::index::tree::Tree, changed: usize| {
                let moved = match index.places.emptied() {
                    Some(_) => TreeWriter::moves_max(changed),
                    None => 0,
                };
                let counts = tree.page_counts();
                let changed = changed as u64;
                tree.unwritten_count()
                    + rewritten_pages_max(&counts, changed, moved, index.fanout())
            };
            max(&shards, frozen.shards.len()) + max(&table, frozen.table.len())
        };
        let (kind, count) = (TreeKind::Shards, frozen.shards.len());
        let writer = TreeWriter::new(self, pages, kind, count);
        let shards = writer.write(&shards, &frozen.shards).await?;
        let (kind, count) = (TreeKind::Table, frozen.table.len());
        let writer = TreeWriter::new(self, pages, kind, count);
        let table = writer.write(&table, &frozen.table).await?;
        pages.flush().await?;
        self.inner.log.device.sync().await?;
        let written = pages.allocated.len() as u64;
        assert!(
            written <= pages_max,
            "a checkpoint writes what has changed: {written} pages, at most {pages_max}"
        );
        let mut places = self.inner.index.borrow().places.clone();
        let freed = std::mem::take(&mut pages.freed);
        freed.iter().for_each(|place| places.free(*place));
        let emptied = places.remove_empty();
        let written = Written {
            shards,
            table,
            places,
            freed,
        };
        Ok((written, emptied))
    }

    async fn write_index_anchor(
        &self,
        written: &Written,
        frozen: &Frozen,
        generation: u64,
        replay_from: u64,
    ) -> Result<(), EngineError> {
        let run = self.inner.log.run();
        let segments = written.places.segments().collect();
        let commit = self.inner.log.write_anchor(|anchor| {
            (anchor.replay_from, anchor.replay_run) = (replay_from, run);
            anchor.index_generation = generation;
            (anchor.shards, anchor.table) = (written.shards.root(), written.table.root());
            anchor.entry_count = frozen.entry_count;
            anchor.page_count = written.places.used_count();
            anchor.index_segments = segments;
        });
        commit.await
    }

    /// Takes back a checkpoint that could not be written, with the segments that it has added. Others stay, even without a page:
    /// the durable anchor names them, and what a start takes for index segments must hold no records.
    pub(crate) fn give_up_pages(&self, allocated: Vec<PagePlace>, added: &[u32]) {
        {
            let mut index = self.inner.index.borrow_mut();
            index.thaw();
            for place in allocated {
                index.cache.remove(place);
                index.places.free(place);
            }
            added
                .iter()
                .for_each(|slot| index.places.remove_segment(*slot));
        }
        let log = &self.inner.log;
        log.release(|_, slot, content| content == Content::Index && added.contains(&slot));
    }

    /// Gives back the segments that hold nothing live and are not replayed. What freed or moved their records is durable and
    /// is replayed, so that nothing points to them after a start either.
    pub(crate) fn release_dead(&self) -> usize {
        let log = &self.inner.log;
        let first = self.inner.replay_from.get() / log.map.segment_bytes;
        let index = self.inner.index.borrow();
        log.release(|sequence, _, content| {
            content == Content::Records && sequence < first && index.live_bytes(sequence) == 0
        })
    }

    /// Whether the tail has grown so long that the next start would take too long.
    pub(crate) fn checkpoint_due(&self) -> bool {
        let tail = self
            .inner
            .log
            .end()
            .saturating_sub(self.inner.replay_from.get());
        tail > TAIL_BYTES_MAX || self.inner.index.borrow().is_checkpoint_due()
    }

    /// Starts the background task that checkpoints and compacts.
    pub(crate) fn start_maintenance(&self) {
        let store = self.clone();
        let task = reactor::spawn(TaskClass::Background, async move { store.keep_up().await });
        *self.inner.background.borrow_mut() = Some(task);
    }
}
