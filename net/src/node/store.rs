//! The data partitions that this reactor owns: store, fetch, free and scan on the core that owns the device.
//!
//! Invariants: repair and scrub look at what lies on the device, never at what is kept in memory; a partition is touched by its owner only; a request for one that is not here is answered with an error, never
//! guessed at; reads wait in order while the arena is nearly empty, so that the engine's own work always finds buffers.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::ops::Range;
use std::rc::Rc;

use strata_engine::reactor::{self, BufferView, TaskClass};
use strata_engine::{CELL_BYTES, ChunkStore, EngineError, Owner, ShardId, ShardWrite};
use strata_raftlog::namespace::{PlacementGroup, Writer};

use super::answer;
use super::cell_cache::{CellCache, CellId};
use crate::memory::{MemoryQueue, NoMemory, Watermark};
use crate::message::{NodeRequest, Place, Scanned};

/// The part of a reactor's arena that reads of one device may hold, as a divisor.
const DEVICE_SHARE: usize = 4;

/// Bytes of a shard that are read at a time to be verified.
const VERIFIED_AT_A_TIME: u32 = 256 << 10;

/// The stores of one reactor.
#[derive(Clone, Default)]
pub struct LocalStores {
    stores: Rc<RefCell<BTreeMap<Place, ChunkStore>>>,
    read_memory: MemoryQueue,
    /// Those whose memory was promised wait beside the others, which may wait for them.
    promised_memory: MemoryQueue,
    cells: CellCache,
}

impl LocalStores {
    /// None yet; cells of them are kept here.
    pub fn new(cells: CellCache) -> LocalStores {
        LocalStores {
            cells,
            ..LocalStores::default()
        }
    }

    /// Takes over an opened store.
    pub fn insert(&self, place: Place, store: ChunkStore) {
        let before = self.stores.borrow_mut().insert(place, store);
        assert!(before.is_none(), "a partition is opened once");
    }

    /// Says whose writes the stores take: those of these epochs of the placement groups or later ones, and nothing new of
    /// writers that are closed.
    pub fn fence(&self, groups: &[PlacementGroup], writers: &[Writer]) {
        for store in self.stores.borrow().values() {
            for group in groups {
                store.raise_group_epoch(group.number, group.epoch);
            }
            for writer in writers.iter().filter(|writer| !writer.open) {
                store.close_writer(writer.number);
            }
        }
    }

    /// Writes a shard; returns after its barrier.
    ///
    /// # Errors
    /// Those of [`ChunkStore::write`].
    pub async fn store(&self, place: Place, shard: ShardWrite) -> Result<(), EngineError> {
        let store = self.at(place)?;
        #[cfg(test)]
        if crate::planted::is(crate::planted::Mistake::AnswerBeforeBarrier) {
            spawn(async move {
                reactor::sleep(std::time::Duration::from_millis(50)).await;
                drop(store.write(shard).await);
            });
            return Ok(());
        }
        store.write(shard).await
    }

    /// Reads a range of a shard, verified, leaving so much memory free. A range within a cell is answered from memory where the
    /// cell is kept there.
    ///
    /// # Errors
    /// Those of [`ChunkStore::read`], and [`EngineError::Busy`] when no memory becomes free.
    pub async fn fetch(
        &self,
        place: Place,
        id: ShardId,
        range: Range<u32>,
        watermark: Watermark,
    ) -> Result<Vec<BufferView>, EngineError> {
        let number = range.start / CELL_BYTES as u32;
        let is_within = !range.is_empty() && (range.end - 1) / CELL_BYTES as u32 == number;
        if !is_within || !self.cells.is_on() {
            return self.read(place, id, range, watermark).await;
        }
        let cell = CellId {
            place,
            shard: id,
            number,
        };
        let start = number * CELL_BYTES as u32;
        let within = (range.start - start) as usize..(range.end - start) as usize;
        if let Some(kept) = self.cells.get(cell)
            && let Some(bytes) = kept.get(within.clone())
        {
            let room = || watermark.leaves(bytes.len()).then_some(());
            let room = self.memory_of(watermark).wait(room).await;
            room.map_err(|NoMemory| busy("no memory became free for a read"))?;
            let mut buffer = reactor::allocate(bytes.len()).await;
            buffer.extend_from_slice(bytes);
            return Ok(vec![buffer.freeze()]);
        }
        if !self.cells.is_asked_again(cell) {
            return self.read(place, id, range, watermark).await;
        }
        let found = self.at(place)?.look_up(id).await?;
        let payload_bytes = found.ok_or(EngineError::NotFound)?.payload_bytes;
        if range.end > payload_bytes {
            return self.read(place, id, range, watermark).await;
        }
        let whole = start..(start + CELL_BYTES as u32).min(payload_bytes);
        let views = self.read(place, id, whole, watermark).await?;
        let [view] = &views[..] else {
            return Err(EngineError::Invalid(
                "a cell lies in several buffers".to_owned(),
            ));
        };
        self.cells.insert(cell, view);
        Ok(vec![view.slice(within)])
    }

    /// Reads a range of a shard from its device.
    async fn read(
        &self,
        place: Place,
        id: ShardId,
        range: Range<u32>,
        watermark: Watermark,
    ) -> Result<Vec<BufferView>, EngineError> {
        let store = self.at(place)?;
        let bytes = range.len();
        let room = || room_for(&store, bytes, watermark);
        let room = self.memory_of(watermark).wait(room).await;
        room.unwrap_or_else(|NoMemory| Err(busy("no memory became free for a read")))?;
        store.read(id, range).await
    }

    fn memory_of(&self, watermark: Watermark) -> &MemoryQueue {
        match watermark {
            Watermark::Promised => &self.promised_memory,
            _ => &self.read_memory,
        }
    }

    /// Frees shards; returns when that is durable. Shards that are not there are free already.
    ///
    /// # Errors
    /// Those of [`ChunkStore::free`].
    pub async fn free(&self, place: Place, ids: &[ShardId]) -> Result<(), EngineError> {
        self.at(place)?.free(ids).await
    }

    /// The next shards after the given one.
    ///
    /// # Errors
    /// [`EngineError::NotFound`] when the partition is not here, and those of [`ChunkStore::scan`].
    pub async fn scan(
        &self,
        place: Place,
        after: Option<ShardId>,
        limit: usize,
    ) -> Result<Scanned, EngineError> {
        self.at(place)?.scan(after, limit).await
    }

    /// Whose bytes a shard holds.
    ///
    /// # Errors
    /// Those of [`ChunkStore::owner`].
    pub async fn owner(&self, place: Place, id: ShardId) -> Result<Owner, EngineError> {
        self.at(place)?.owner(id).await
    }

    /// All of a shard, to be written elsewhere.
    ///
    /// # Errors
    /// Those of [`ChunkStore::take_over`], and [`EngineError::Busy`] when no memory becomes free.
    pub async fn take_over(
        &self,
        place: Place,
        id: ShardId,
    ) -> Result<Box<ShardWrite>, EngineError> {
        let store = self.at(place)?;
        let found = store.look_up(id).await?.ok_or(EngineError::NotFound)?;
        let bytes = found.payload_bytes as usize;
        let room = || room_for(&store, bytes, Watermark::Read);
        let room = self.read_memory.wait(room).await;
        room.unwrap_or_else(|NoMemory| Err(busy("no memory became free for a read")))?;
        store.take_over(id).await.map(Box::new)
    }

    /// Whether each of some shards is there, as the index has it.
    ///
    /// # Errors
    /// [`EngineError::NotFound`] when the partition is not here, and those of [`ChunkStore::look_up`].
    pub async fn holds(&self, place: Place, ids: &[ShardId]) -> Result<Vec<bool>, EngineError> {
        let store = self.at(place)?;
        let mut held = Vec::with_capacity(ids.len());
        for id in ids {
            held.push(store.look_up(*id).await?.is_some());
        }
        Ok(held)
    }

    /// Reads all of a shard, a piece at a time, and compares it with its checksums; returns how many bytes it has.
    ///
    /// # Errors
    /// Those of [`LocalStores::fetch`].
    pub async fn verify(&self, place: Place, id: ShardId) -> Result<u64, EngineError> {
        let found = self.at(place)?.look_up(id).await?;
        let bytes = found.ok_or(EngineError::NotFound)?.payload_bytes;
        for start in (0..bytes).step_by(VERIFIED_AT_A_TIME as usize) {
            let end = (start + VERIFIED_AT_A_TIME).min(bytes);
            self.read(place, id, start..end, Watermark::Read).await?;
        }
        Ok(u64::from(bytes))
    }

    /// The partitions that are here.
    pub fn places(&self) -> Vec<Place> {
        self.stores.borrow().keys().copied().collect()
    }

    /// Closes every store with a checkpoint.
    pub async fn close(&self) {
        let stores = std::mem::take(&mut *self.stores.borrow_mut());
        for store in stores.into_values() {
            store.close().await;
        }
    }

    fn at(&self, place: Place) -> Result<ChunkStore, EngineError> {
        self.stores.borrow().get(&place).cloned().ok_or_else(gone)
    }

    /// Answers a request of another reactor in a task of its own; requests that are not about stores are handed back.
    pub fn serve(&self, request: NodeRequest) -> Option<NodeRequest> {
        let local = self.clone();
        match request {
            NodeRequest::Store(place, shard, reply) => {
                spawn(async move { answer(reply, local.store(place, *shard).await) });
            }
            NodeRequest::Fetch(place, id, range, watermark, reply) => {
                spawn(async move { answer(reply, local.fetch(place, id, range, watermark).await) });
            }
            NodeRequest::Scan(place, after, limit, reply) => {
                spawn(async move { answer(reply, local.scan(place, after, limit).await) });
            }
            NodeRequest::TakeOver(place, id, reply) => {
                spawn(async move { answer(reply, local.take_over(place, id).await) });
            }
            NodeRequest::Fence(groups, reply) => {
                local.fence(&groups, &[]);
                answer(reply, ());
            }
            NodeRequest::Holds(place, ids, reply) => {
                spawn(async move { answer(reply, local.holds(place, &ids).await) });
            }
            NodeRequest::Verify(place, id, reply) => {
                spawn(async move { answer(reply, local.verify(place, id).await) });
            }
            NodeRequest::Owner(place, id, reply) => {
                spawn(async move { answer(reply, local.owner(place, id).await) });
            }
            NodeRequest::Free(place, ids, reply) => {
                spawn(async move { answer(reply, local.free(place, &ids).await) });
            }
            other => return Some(other),
        }
        None
    }
}

/// Whether a read of so many bytes may begin; `None`: not yet. One device that does not answer holds no more than its share of
/// the memory, so that the others go on.
fn room_for(
    store: &ChunkStore,
    bytes: usize,
    watermark: Watermark,
) -> Option<Result<(), EngineError>> {
    let being_read = store.device_bytes_being_read();
    let share = reactor::arena_pressure().total_bytes / DEVICE_SHARE;
    if being_read > 0 && being_read + bytes > share {
        let late = store.device_health().is_late();
        return late.then(|| Err(busy("the device does not answer")));
    }
    watermark.leaves(bytes).then_some(Ok(()))
}

fn busy(why: &str) -> EngineError {
    EngineError::Busy(why.to_owned())
}

fn spawn(work: impl Future<Output = ()> + 'static) {
    reactor::spawn(TaskClass::Foreground, work).detach();
}

/// The error of a partition that is not there: its device is missing or the node is stopping.
pub(crate) fn gone() -> EngineError {
    EngineError::Unavailable("the partition's device is not there".to_owned())
}
