//! The write path of a data partition: shards and tombstones into the log, group commit, then the index.
//!
//! Invariants: a record enters the index only when it is durable; a write that has been given up by its caller still runs to its
//! end, so that index and device never disagree; room for tombstones, compaction and the index is kept back from new shards.

use std::pin::Pin;
use std::sync::atomic::Ordering;
use std::task::{Context, Poll};

use crate::error::EngineError;
use crate::format::page::{ENTRIES_PER_PAGE, IndexEntry, PAGE_BYTES};
use crate::format::record::{self, Body, ShardHeader, TOMBSTONE_COUNT_MAX};
use crate::id::ShardId;
use crate::reactor::{self, BufferView, Task};
use crate::store::{ChunkStore, ShardWrite};

/// Segments kept back for tombstones and compaction, beside those that the next index needs.
const RESERVED_SEGMENTS: usize = 2;

/// Rounds of compaction that a write waits for before it is refused.
const COMPACTIONS_WAITED_FOR: usize = 4;

/// A task that goes on when nobody waits for it any more.
struct ToTheEnd<T>(Option<Task<T>>);

impl<T: 'static> ToTheEnd<T> {
    fn spawn(work: impl Future<Output = T> + 'static) -> ToTheEnd<T> {
        ToTheEnd(Some(reactor::spawn(reactor::current_class(), work)))
    }
}

impl<T> Future for ToTheEnd<T> {
    type Output = T;

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<T> {
        match &mut self.0 {
            Some(task) => Pin::new(task).poll(context),
            None => Poll::Pending,
        }
    }
}

impl<T> Drop for ToTheEnd<T> {
    fn drop(&mut self) {
        if let Some(task) = self.0.take() {
            task.detach();
        }
    }
}

impl ChunkStore {
    /// Writes a shard; returns after the barrier that covers it.
    ///
    /// # Errors
    /// [`EngineError::Full`] when no room can be made, [`EngineError::Failed`] on a failed device, [`EngineError::Invalid`] for
    /// lengths and CRCs that do not fit together.
    pub async fn write(&self, shard: ShardWrite) -> Result<(), EngineError> {
        let store = self.clone();
        ToTheEnd::spawn(async move { store.write_to_the_end(shard).await }).await
    }

    async fn write_to_the_end(&self, shard: ShardWrite) -> Result<(), EngineError> {
        let (body, payload) = self.record_of(shard)?;
        self.make_room(&body).await?;
        self.append(body, payload).await?;
        self.inner.statistics.writes.fetch_add(1, Ordering::Relaxed);
        Ok(())
    }

    /// Frees shards; returns when their tombstones are durable. Unknown ones are free already.
    ///
    /// # Errors
    /// [`EngineError::Failed`] on a failed device, [`EngineError::Full`] when not even the reserve has room.
    pub async fn free(&self, ids: &[ShardId]) -> Result<(), EngineError> {
        let known: Vec<ShardId> = ids
            .iter()
            .copied()
            .filter(|id| self.inner.index.borrow().get(*id).is_some())
            .collect();
        for some in known.chunks(TOMBSTONE_COUNT_MAX) {
            let (store, ids) = (self.clone(), some.to_vec());
            ToTheEnd::spawn(async move { store.free_to_the_end(ids).await }).await?;
            self.inner
                .statistics
                .frees
                .fetch_add(some.len() as u64, Ordering::Relaxed);
        }
        self.inner.upkeep_wanted.notify_one();
        Ok(())
    }

    async fn free_to_the_end(&self, ids: Vec<ShardId>) -> Result<(), EngineError> {
        self.inner.freeing.borrow_mut().extend(ids.iter().copied());
        let outcome = self.append(Body::Tombstones(ids.clone()), Vec::new()).await;
        let mut freeing = self.inner.freeing.borrow_mut();
        ids.iter().for_each(|id| {
            freeing.remove(id);
        });
        outcome
    }

    /// Appends a record, waits for its barrier and enters it into the index.
    pub(crate) async fn append(
        &self,
        body: Body,
        payload: Vec<BufferView>,
    ) -> Result<(), EngineError> {
        let log = &self.inner.log;
        let alignment = log.device.alignment();
        let mut header = vec![0; body.header_bytes(alignment) as usize];
        let bytes = body.record_bytes(alignment);
        let position = log.reserve(bytes)?;
        record::encode_header(&body, position, log.durable(), &mut header);
        log.push_record(position, header, payload);
        self.inner.under_way.borrow_mut().insert(position);
        let durable = log.wait_durable(position + bytes).await;
        let entered = durable.and_then(|()| self.enter(position, &body));
        self.inner.under_way.borrow_mut().remove(&position);
        self.inner.settled.notify_all();
        self.count_index();
        entered
    }

    /// Applies a durable record to the index.
    pub(crate) fn enter(&self, position: u64, body: &Body) -> Result<(), EngineError> {
        let mut index = self.inner.index.borrow_mut();
        match body {
            Body::Shard(shard) => {
                let entry = IndexEntry {
                    position,
                    payload_bytes: shard.payload_bytes,
                    inode: shard.owner.inode,
                };
                index.insert(shard.id, entry)
            }
            Body::Tombstones(ids) => {
                for id in ids {
                    index.remove(*id);
                }
                Ok(())
            }
        }
    }

    fn record_of(&self, shard: ShardWrite) -> Result<(Body, Vec<BufferView>), EngineError> {
        let bytes: usize = shard.payload.iter().map(|view| view.len()).sum();
        let cells = (shard.shard_bytes as usize).div_ceil((shard.cell_bytes as usize).max(1));
        if bytes != shard.shard_bytes as usize
            || shard.cell_bytes == 0
            || cells != shard.cell_crcs.len()
        {
            return Err(EngineError::Invalid(format!(
                "{}: {bytes} bytes, {} cells",
                shard.id,
                shard.cell_crcs.len()
            )));
        }
        let alignment = self.inner.log.device.alignment();
        let mut payload = shard.payload;
        if let Some(last) = payload.last_mut() {
            let padded = last.padded(alignment);
            *last = padded.ok_or_else(|| {
                EngineError::Invalid(format!("{}: the payload cannot be padded", shard.id))
            })?;
        }
        if payload
            .iter()
            .any(|view| !view.len().is_multiple_of(alignment))
        {
            return Err(EngineError::Invalid(format!(
                "{}: a piece of the payload is not aligned",
                shard.id
            )));
        }
        let header = ShardHeader {
            id: shard.id,
            payload_bytes: shard.shard_bytes,
            chunk_bytes: shard.chunk_bytes,
            cell_bytes: shard.cell_bytes,
            geometry: shard.geometry,
            layout_epoch: shard.layout_epoch,
            owner: shard.owner,
            cell_crcs: shard.cell_crcs,
        };
        Ok((Body::Shard(header), payload))
    }

    /// Waits for compaction where it can help; refuses where it cannot.
    async fn make_room(&self, body: &Body) -> Result<(), EngineError> {
        let bytes = body.record_bytes(self.inner.log.device.alignment());
        for _ in 0..COMPACTIONS_WAITED_FOR {
            if self.has_room(bytes) {
                return Ok(());
            }
            self.inner.log.device.refuse_when_failed()?;
            if !self.reclaimable() || self.inner.closing.get() {
                break;
            }
            self.inner.upkeep_wanted.notify_one();
            self.inner.upkeep_done.notified().await;
        }
        if self.has_room(bytes) {
            return Ok(());
        }
        Err(EngineError::Full {
            what: format!(
                "{} partition {}",
                self.inner.log.device.path().display(),
                self.inner.log.partition
            ),
        })
    }

    fn has_room(&self, bytes: u64) -> bool {
        self.inner.log.fits(bytes) || self.inner.log.free_segments() > self.reserved_segments()
    }

    /// Segments that new shards must leave: for tombstones, compaction and the pages of the next checkpoint.
    pub(crate) fn reserved_segments(&self) -> usize {
        let pages = self.inner.index.borrow().len().div_ceil(ENTRIES_PER_PAGE) + 1;
        let pages_per_segment = self.inner.log.map.segment_bytes as usize / PAGE_BYTES - 1;
        RESERVED_SEGMENTS + pages.div_ceil(pages_per_segment)
    }
}
