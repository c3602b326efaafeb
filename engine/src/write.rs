//! The write path of a data partition: shards and tombstones into the log, group commit, then the index.
//!
//! Invariants: a record enters the index only when it is durable; a write that has been given up by its caller still runs to its
//! end, so that index and device never disagree; room for tombstones, compaction and the index is kept back from new shards; what
//! changes was pinned before, and changes are not more than a checkpoint may write.

use std::pin::Pin;
use std::sync::atomic::Ordering;
use std::task::{Context, Poll};

use crate::error::EngineError;
use crate::fence::Decided;
use crate::format::align_up;
use crate::format::layout::BLOCK_BYTES;
use crate::format::page::IndexEntry;
use crate::format::record::{self, Body, ShardHeader, TOMBSTONE_COUNT_MAX};
use crate::id::ShardId;
use crate::index::{ChangeRoom, Pinned};
use crate::payload::CELL_BYTES;
use crate::reactor::{self, BufferView, Task};
use crate::segment_log::Opens;
use crate::store::{ChunkStore, ShardWrite};

/// Free segments that new shards leave to tombstones and compaction, beside those that the next checkpoint needs.
pub(crate) const SEGMENTS_KEPT_FROM_WRITES: usize = 2;

/// Free segments that tombstones leave to compaction.
pub(crate) const SEGMENTS_KEPT_FROM_FREES: usize = 1;

/// The longest shard of this version, in bytes; the format carries longer ones.
const SHARD_BYTES_MAX: usize = 1 << 20;

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
    /// [`EngineError::Full`] when no room can be made, [`EngineError::Failed`] on a failed device, [`EngineError::Stale`] from a
    /// writer whose time is over, [`EngineError::Invalid`] for a payload that is too long or not aligned.
    pub async fn write(&self, shard: ShardWrite) -> Result<(), EngineError> {
        let store = self.clone();
        ToTheEnd::spawn(async move { store.write_to_the_end(shard).await }).await
    }

    async fn write_to_the_end(&self, shard: ShardWrite) -> Result<(), EngineError> {
        self.refuse_when_index_is_full()?;
        let (decided, id) = (Decided::of(&shard), shard.id);
        let (body, payload) = self.record_of(shard)?;
        let bytes = body.record_bytes(self.inner.log.device.alignment());
        let mut pinned = self.room_in_index(1, ChangeRoom::Insert).await?;
        self.pin(&[id], &mut pinned).await?;
        self.make_room(bytes, SEGMENTS_KEPT_FROM_WRITES).await?;
        // Others may have come first.
        self.refuse_when_index_is_full()?;
        self.inner.fence.borrow_mut().admit(decided)?;
        self.append(body, payload, pinned, self.kept(SEGMENTS_KEPT_FROM_WRITES))
            .await?;
        self.inner.statistics.writes.fetch_add(1, Ordering::Relaxed);
        Ok(())
    }

    fn refuse_when_index_is_full(&self) -> Result<(), EngineError> {
        let index = self.inner.index.borrow();
        if !index.is_full(self.inner.under_way.borrow().len()) {
            return Ok(());
        }
        Err(EngineError::Full {
            what: format!("the index of a partition ({} shards)", index.entries_max()),
        })
    }

    /// Frees shards; returns when their tombstones are durable. Unknown ones are free already.
    ///
    /// # Errors
    /// [`EngineError::Failed`] on a failed device, [`EngineError::Full`] when not even the reserve has room, and those of
    /// [`ChunkStore::look_up`].
    pub async fn free(&self, ids: &[ShardId]) -> Result<(), EngineError> {
        for some in ids.chunks(TOMBSTONE_COUNT_MAX) {
            let (store, ids) = (self.clone(), some.to_vec());
            ToTheEnd::spawn(async move { store.free_to_the_end(ids).await }).await?;
        }
        self.inner.maintenance_wanted.notify_one();
        Ok(())
    }

    async fn free_to_the_end(&self, ids: Vec<ShardId>) -> Result<(), EngineError> {
        let mut pinned = self.room_in_index(ids.len(), ChangeRoom::Remove).await?;
        self.pin(&ids, &mut pinned).await?;
        let present = |id: &ShardId| self.inner.index.borrow().get(*id).is_some();
        let known: Vec<ShardId> = ids.into_iter().filter(present).collect();
        if known.is_empty() {
            return Ok(());
        }
        let count = known.len();
        let body = Body::Tombstones(known);
        let bytes = body.record_bytes(self.inner.log.device.alignment());
        self.make_room(bytes, SEGMENTS_KEPT_FROM_FREES).await?;
        self.append(
            body,
            Vec::new(),
            pinned,
            self.kept(SEGMENTS_KEPT_FROM_FREES),
        )
        .await?;
        let frees = &self.inner.statistics.frees;
        frees.fetch_add(count as u64, Ordering::Relaxed);
        Ok(())
    }

    /// Appends a record whose shards are pinned, leaving `keep` segments free, waits for its barrier and lets it into the index.
    pub(crate) async fn append(
        &self,
        body: Body,
        payload: Vec<BufferView>,
        pinned: Pinned,
        keep: usize,
    ) -> Result<(), EngineError> {
        let log = &self.inner.log;
        let alignment = log.device.alignment();
        let mut header = vec![0; body.header_bytes(alignment) as usize];
        let bytes = body.record_bytes(alignment);
        let origin = log.reserve(bytes, Opens::Prepared { keep })?;
        record::encode_header(&body, origin, &mut header);
        log.push_record(origin.position, header, payload);
        self.inner
            .under_way
            .borrow_mut()
            .insert(origin.position, (body, pinned));
        if let Err(error) = log.wait_durable(origin.position + bytes).await {
            self.inner.under_way.borrow_mut().remove(&origin.position);
            return Err(error);
        }
        self.enter_durable();
        self.count_index();
        Ok(())
    }

    /// Lets every durable record that is not in the index yet into it, in the order of the log.
    pub(crate) fn enter_durable(&self) {
        let durable = self.inner.log.durable();
        let mut under_way = self.inner.under_way.borrow_mut();
        while let Some(first) = under_way
            .first_entry()
            .filter(|first| *first.key() < durable)
        {
            let (position, (body, _pinned)) = first.remove_entry();
            self.enter(position, &body);
        }
    }

    /// Applies a durable record, whose shards are pinned, to the index.
    pub(crate) fn enter(&self, position: u64, body: &Body) {
        let mut index = self.inner.index.borrow_mut();
        match body {
            Body::Shard(shard) => {
                let entry = IndexEntry {
                    position,
                    payload_bytes: shard.payload_bytes,
                    inode: shard.owner.inode,
                };
                index.insert(shard.id, entry);
            }
            Body::Tombstones(ids) => ids.iter().for_each(|id| index.remove(*id)),
        }
    }

    /// Whether a record that frees or replaces the shard is on its way.
    pub(crate) fn is_changing(&self, id: ShardId) -> bool {
        let under_way = self.inner.under_way.borrow();
        under_way.values().any(|(body, _)| match body {
            Body::Shard(shard) => shard.id == id,
            Body::Tombstones(ids) => ids.contains(&id),
        })
    }

    /// Refuses what could not be read again.
    fn check_length(&self, shard: &ShardWrite) -> Result<(), EngineError> {
        let segment_bytes = self.inner.log.map.segment_bytes - BLOCK_BYTES as u64;
        let alignment = self.inner.log.device.alignment() as u64;
        let (id, bytes) = (shard.id, shard.payload.len());
        let padded = align_up(bytes as u64, alignment);
        if bytes <= SHARD_BYTES_MAX && padded + alignment <= segment_bytes {
            return Ok(());
        }
        Err(EngineError::Invalid(format!(
            "{id}: {bytes} bytes are too long for a shard"
        )))
    }

    fn record_of(&self, shard: ShardWrite) -> Result<(Body, Vec<BufferView>), EngineError> {
        self.check_length(&shard)?;
        let views = self.padded_views(&shard)?;
        let header = ShardHeader {
            id: shard.id,
            payload_bytes: shard.payload.len() as u32,
            chunk_bytes: shard.chunk_bytes,
            cell_bytes: CELL_BYTES as u32,
            geometry: shard.geometry,
            layout_epoch: shard.layout_epoch,
            slot_mask: shard.slot_mask,
            owner: shard.owner,
            cell_crcs: shard.payload.cell_crcs().to_vec(),
        };
        Ok((Body::Shard(header), views))
    }

    /// The views of a payload, as they are written.
    fn padded_views(&self, shard: &ShardWrite) -> Result<Vec<BufferView>, EngineError> {
        let alignment = self.inner.log.device.alignment();
        let mut views = shard.payload.views().to_vec();
        if let Some(last) = views.last_mut() {
            let padded = last.padded(alignment);
            *last = padded.ok_or_else(|| {
                EngineError::Invalid(format!("{}: the payload cannot be padded", shard.id))
            })?;
        }
        let is_aligned = |view: &BufferView| view.len().is_multiple_of(alignment);
        if views.iter().all(is_aligned) {
            return Ok(views);
        }
        Err(EngineError::Invalid(format!(
            "{}: a piece of the payload is not aligned",
            shard.id
        )))
    }

    /// Waits until so many more shards may change before the next checkpoint, and keeps that room.
    async fn room_in_index(&self, shards: usize, room: ChangeRoom) -> Result<Pinned, EngineError> {
        loop {
            let (is_due, more) = {
                let mut index = self.inner.index.borrow_mut();
                if index.may_change(shards, room) {
                    break;
                }
                index.want_room(shards, room);
                (index.is_checkpoint_due(), index.room.clone())
            };
            self.inner.log.refuse_when_stopped()?;
            if self.inner.checkpoint_failed.get() || self.inner.closing.get() {
                return Err(self.no_room_to_change());
            }
            // Before one is due, there is room when what is under way has ended.
            if is_due {
                self.inner.maintenance_wanted.notify_one();
            }
            more.notified().await;
        }
        Ok(Pinned::reserve(&self.inner.index, shards))
    }

    /// That no more shards may change before the next checkpoint.
    pub(crate) fn no_room_to_change(&self) -> EngineError {
        EngineError::Full {
            what: format!("{}: what the index may change", self.inner.log.place(0)),
        }
    }

    /// Prepares segments, and waits for maintenance where it can help; refuses where neither does.
    async fn make_room(&self, bytes: u64, keep: usize) -> Result<(), EngineError> {
        let log = &self.inner.log;
        while !self.has_room(bytes, keep) {
            log.refuse_when_stopped()?;
            let full = match log.prepare_more(self.kept(keep)).await {
                Ok(()) if self.has_room(bytes, keep) => return Ok(()),
                Ok(()) => log.full(),
                // The file system may be full; what is freed here is still ours.
                Err(full @ EngineError::Full { .. }) => full,
                Err(error) => return Err(error),
            };
            if self.is_exhausted() || self.inner.closing.get() {
                return Err(full);
            }
            self.inner.maintenance_wanted.notify_one();
            self.inner.maintenance_done.notified().await;
        }
        Ok(())
    }

    pub(crate) fn has_room(&self, bytes: u64, keep: usize) -> bool {
        let (log, kept) = (&self.inner.log, self.kept(keep));
        if log.fits(bytes) {
            log.free_segments() >= kept
        } else {
            log.prepared_segments() > kept
        }
    }

    /// The segments that the pages of the next checkpoint need, and so many more.
    pub(crate) fn kept(&self, more: usize) -> usize {
        self.inner.index.borrow().segments_needed() + more
    }
}
