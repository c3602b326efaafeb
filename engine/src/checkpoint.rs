//! Checkpoints of a data partition: the index as pages, then an anchor that names them.
//!
//! Invariants: the anchor is the commit point; until it is durable the earlier checkpoint stands untouched; every record below
//! `replay_from` has entered the index before the first page is made. Pages may also hold later changes: replay applies those
//! again, in order, and comes to the same.

use std::sync::atomic::Ordering;

use crate::error::EngineError;
use crate::format::page::{self, ENTRIES_PER_PAGE, PAGE_BYTES};
use crate::format::segment::Content;
use crate::id::ShardId;
use crate::reactor::{self, Buffer, TaskClass};
use crate::store::ChunkStore;

/// A checkpoint is due when more than this lies behind the last one, or as much as the index takes, if that is more. A start
/// reads and verifies all of it, one record after the other.
const TAIL_BYTES_MAX: u64 = 16 << 20;

/// Pages written at a time.
const RUN_BYTES: usize = 256 << 10;

/// Segments that the pages of an index of so many entries need, with some room for more.
pub(crate) fn index_segments_for(entries: usize, segment_bytes: u64) -> usize {
    let pages = (entries + entries / 8).div_ceil(ENTRIES_PER_PAGE) + 1;
    pages.div_ceil(segment_bytes as usize / PAGE_BYTES - 1)
}

/// Writes index pages one after the other through index segments.
struct PageWriter<'a> {
    store: &'a ChunkStore,
    generation: u64,
    segments: Vec<u32>,
    run: Option<Buffer>,
    /// Where the run goes.
    offset: u64,
    segment_end: u64,
    pages: u64,
    entries: u64,
}

impl PageWriter<'_> {
    async fn add(&mut self, entries: &[(ShardId, page::IndexEntry)]) -> Result<(), EngineError> {
        let pending = self.run.as_ref().map_or(0, |run| run.len() as u64);
        if self.offset + pending >= self.segment_end {
            self.flush().await?;
            self.next_segment().await?;
        }
        let mut run = match self.run.take() {
            Some(run) => run,
            // Writes that hold the arena may wait for the segments that this checkpoint gives back.
            None => reactor::allocate_now(RUN_BYTES),
        };
        let from = run.len();
        run.set_len(from + PAGE_BYTES);
        page::encode(self.generation, self.pages, entries, &mut run[from..]);
        self.pages += 1;
        self.entries += entries.len() as u64;
        let full = run.remaining() < PAGE_BYTES;
        self.run = Some(run);
        if full { self.flush().await } else { Ok(()) }
    }

    async fn next_segment(&mut self) -> Result<(), EngineError> {
        let (slot, pages) = self.store.inner.log.begin_index_segment().await?;
        self.segments.push(slot);
        (self.offset, self.segment_end) = (pages.start, pages.end);
        Ok(())
    }

    async fn flush(&mut self) -> Result<(), EngineError> {
        let Some(run) = self.run.take() else {
            return Ok(());
        };
        let bytes = run.len() as u64;
        self.store
            .inner
            .log
            .device
            .write(vec![run.freeze()], self.offset)
            .await?;
        self.offset += bytes;
        Ok(())
    }
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
        let log = &self.inner.log;
        let replay_from = log.durable();
        self.enter_durable();
        let mut writer = PageWriter {
            store: self,
            generation: log.next_index_generation().await,
            segments: Vec::new(),
            run: None,
            offset: 0,
            segment_end: 0,
            pages: 0,
            entries: 0,
        };
        if let Err(error) = self.write_pages(&mut writer).await {
            let unwritten = writer.segments;
            log.release(|_, slot, content| content == Content::Index && unwritten.contains(&slot));
            return Err(error);
        }
        let generation = writer.generation;
        let (segments, pages, entries) = (writer.segments, writer.pages, writer.entries);
        let named = segments.clone();
        let commit = log.write_anchor(|anchor| {
            (anchor.replay_from, anchor.replay_run) = (replay_from, log.run());
            anchor.index_generation = generation;
            (anchor.page_count, anchor.entry_count, anchor.index_segments) =
                (pages, entries, named);
        });
        commit.await?;
        self.inner.replay_from.set(replay_from);
        log.release(|_, slot, content| content == Content::Index && !segments.contains(&slot));
        self.release_dead();
        self.inner
            .statistics
            .checkpoints
            .fetch_add(1, Ordering::Relaxed);
        Ok(())
    }

    async fn write_pages(&self, writer: &mut PageWriter<'_>) -> Result<(), EngineError> {
        let mut after = None;
        loop {
            let entries = self.inner.index.borrow().after(after, ENTRIES_PER_PAGE);
            let Some((last, _)) = entries.last() else {
                break;
            };
            after = Some(*last);
            writer.add(&entries).await?;
            reactor::yield_if_due().await;
        }
        writer.flush().await?;
        self.inner.log.device.sync().await
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
        let pages = self.inner.index.borrow().len().div_ceil(ENTRIES_PER_PAGE) as u64;
        tail > TAIL_BYTES_MAX.max(pages * PAGE_BYTES as u64)
    }

    /// Starts the background task that checkpoints and compacts.
    pub(crate) fn start_maintenance(&self) {
        let store = self.clone();
        let task = reactor::spawn(TaskClass::Background, async move { store.keep_up().await });
        *self.inner.background.borrow_mut() = Some(task);
    }
}
