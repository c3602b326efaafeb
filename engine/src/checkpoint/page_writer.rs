//! The pages that a checkpoint writes: each to a free place, many at a time.
//!
//! Invariant: nothing is written where the durable trees have a page.

use futures_util::future::try_join_all;

use crate::device::view_of;
use crate::error::EngineError;
use crate::format::anchor::INDEX_SEGMENT_COUNT_MAX;
use crate::format::page::{PAGE_BYTES, PageIdentity, PagePlace, TreeKind};
use crate::store::ChunkStore;

/// Pages written at a time.
const PENDING_MAX: usize = 64;

/// Writes pages to free places.
pub(super) struct PageWriter<'a> {
    store: &'a ChunkStore,
    generation: u64,
    pending: Vec<(PagePlace, Vec<u8>)>,
    /// Where this checkpoint has written.
    pub(super) allocated: Vec<PagePlace>,
    /// Segments that no durable anchor names yet.
    added: Vec<u32>,
    /// What the new trees do not have any more of the old ones.
    pub(super) freed: Vec<PagePlace>,
}

impl<'a> PageWriter<'a> {
    pub(super) fn new(store: &'a ChunkStore, generation: u64) -> PageWriter<'a> {
        PageWriter {
            store,
            generation,
            pending: Vec::new(),
            allocated: Vec::new(),
            added: Vec::new(),
            freed: Vec::new(),
        }
    }

    /// Where it has written, and the segments that were added for that.
    pub(super) fn into_places(self) -> (Vec<PagePlace>, Vec<u32>) {
        (self.allocated, self.added)
    }

    /// Writes a page; returns where it lies, and its CRC.
    pub(super) async fn add(
        &mut self,
        tree: TreeKind,
        level: u32,
        encode: impl FnOnce(PageIdentity, &mut [u8]) -> u32,
    ) -> Result<(PagePlace, u32), EngineError> {
        let place = self.place().await?;
        let mut bytes = vec![0; PAGE_BYTES];
        let identity = PageIdentity {
            generation: self.generation,
            place,
            tree,
            level,
        };
        let crc = encode(identity, &mut bytes);
        self.pending.push((place, bytes));
        if self.pending.len() >= PENDING_MAX {
            self.flush().await?;
        }
        Ok((place, crc))
    }

    async fn place(&mut self) -> Result<PagePlace, EngineError> {
        let place = loop {
            let allocated = {
                let places = &mut self.store.inner.index.borrow_mut().places;
                let place = places.allocate();
                place.or_else(|| places.keep_emptied().then(|| places.allocate())?)
            };
            match allocated {
                Some(place) => break place,
                None => self.add_segment().await?,
            }
        };
        self.allocated.push(place);
        Ok(place)
    }

    async fn add_segment(&mut self) -> Result<(), EngineError> {
        let (log, index) = (&self.store.inner.log, &self.store.inner.index);
        if index.borrow().places.segments().len() >= INDEX_SEGMENT_COUNT_MAX {
            return Err(EngineError::Full {
                what: format!(
                    "{}: the index, of {INDEX_SEGMENT_COUNT_MAX} segments,",
                    log.place(0)
                ),
            });
        }
        let slot = log.begin_index_segment().await?;
        self.added.push(slot);
        index.borrow_mut().places.add_segment(slot);
        Ok(())
    }

    /// Writes what is pending. Pages that lie one after the other are written together, and all of them at once.
    pub(super) async fn flush(&mut self) -> Result<(), EngineError> {
        let mut pending = std::mem::take(&mut self.pending);
        pending.sort_unstable_by_key(|(place, _)| *place);
        let follows = |one: &(PagePlace, Vec<u8>), next: &(PagePlace, Vec<u8>)| {
            one.0.slot == next.0.slot && one.0.page + 1 == next.0.page
        };
        let runs = pending.chunk_by(follows).map(|run| {
            let bytes: Vec<u8> = run.iter().flat_map(|(_, page)| page).copied().collect();
            let offset = self.store.page_offset(run[0].0);
            // Writes that hold the arena may wait for the segments that this checkpoint gives back.
            self.store
                .inner
                .log
                .device
                .write(vec![view_of(&bytes)], offset)
        });
        try_join_all(runs).await?;
        Ok(())
    }
}
