//! The chunk store of one data partition. Lives on the reactor that owns it; the paths are in files of their own:
//! [`crate::write`], [`crate::read`], [`crate::look_up`], [`crate::recovery`], [`crate::checkpoint`], [`crate::compaction`].
//!
//! Invariants: an entry is in the index exactly when its record is durable and no tombstone after it is; what `write` and `free`
//! have returned from is durable; one checkpoint or compaction runs at a time.

use std::cell::{Cell, RefCell};
use std::collections::{BTreeMap, BTreeSet};
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use crate::device::health::DeviceHealth;
use crate::error::EngineError;
use crate::fence::Fence;
use crate::format::page::TreeKind;
use crate::format::record::Body;
use crate::id::{Owner, ShardId};
use crate::index::{Index, Pinned};
use crate::payload::Payload;
use crate::reactor::local::{Mutex, Notify};
use crate::reactor::{self, Instant};
use crate::segment_log::{LogStatistics, SegmentLog};

/// A shard to be written.
#[derive(Debug, Clone)]
pub struct ShardWrite {
    /// Which shard.
    pub id: ShardId,
    /// The row of the geometry table.
    pub geometry: u16,
    /// The epoch of the placement group.
    pub layout_epoch: u32,
    /// The slots of the placement group that have a shard of the chunk, this one among them.
    pub slot_mask: u64,
    /// Whether the chunk is being introduced. A copy that is written anew may be of a writer that is closed.
    pub introduces: bool,
    /// Length of the whole chunk, in bytes.
    pub chunk_bytes: u64,
    /// Whose bytes they are.
    pub owner: Owner,
    /// Its bytes; every view but the last is a whole number of alignment units long.
    pub payload: Payload,
}

/// Where a shard lies and how long it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ShardInfo {
    /// Length of the payload, in bytes.
    pub payload_bytes: u32,
    /// The inode that is the chunk's home.
    pub inode: u64,
}

/// What a partition has done; read by other threads.
#[derive(Debug, Default)]
pub struct ChunkStoreStatistics {
    /// Shards written.
    pub writes: AtomicU64,
    /// Ranges read.
    pub reads: AtomicU64,
    /// Shards freed.
    pub frees: AtomicU64,
    /// Bytes read from the device.
    pub bytes_read: AtomicU64,
    /// Pages of the index read from the device.
    pub index_page_reads: AtomicU64,
    /// Reads and records that did not match their checksum.
    pub corruptions: AtomicU64,
    /// Shards in the index.
    pub shards: AtomicU64,
    /// Bytes of records that are referred to.
    pub live_bytes: AtomicU64,
    /// Checkpoints written.
    pub checkpoints: AtomicU64,
    /// Segments emptied by compaction.
    pub compacted_segments: AtomicU64,
    /// Whether maintenance left new shards no room when it last ran.
    pub(crate) full: AtomicBool,
    /// The log below.
    pub log: Arc<LogStatistics>,
}

impl ChunkStoreStatistics {
    /// Whether new shards had no room when maintenance last ran: it does so every second, and when room is wanted.
    pub fn is_full(&self) -> bool {
        self.full.load(Ordering::Relaxed)
    }
}

/// The chunk store of one data partition. Cheap to clone, stays on its reactor.
#[derive(Clone)]
pub struct ChunkStore {
    pub(crate) inner: Rc<Inner>,
}

pub(crate) struct Inner {
    pub(crate) log: Rc<SegmentLog>,
    pub(crate) index: Rc<RefCell<Index>>,
    /// The tree of which a damaged page was read: the index is built again by maintenance.
    pub(crate) index_damage: Cell<Option<TreeKind>>,
    /// When it was first and last tried to build it again, since it was whole.
    pub(crate) rebuild_tried: Cell<Option<(Instant, Instant)>>,
    pub(crate) fence: RefCell<Fence>,
    /// Records by position that are not in the index yet, with their shards pinned. They enter it in order once they are durable.
    pub(crate) under_way: RefCell<BTreeMap<u64, (Body, Pinned)>>,
    /// Segments that hold a damaged record and are not emptied.
    pub(crate) kept: RefCell<BTreeSet<u64>>,
    /// Held by a checkpoint or a compaction.
    pub(crate) maintenance: Mutex<()>,
    pub(crate) maintenance_wanted: Notify,
    pub(crate) maintenance_done: Notify,
    pub(crate) replay_from: Cell<u64>,
    /// The last checkpoint could not be written.
    pub(crate) checkpoint_failed: Cell<bool>,
    /// Where the log ended when maintenance found nothing to reclaim.
    pub(crate) exhausted_at: Cell<Option<u64>>,
    /// Rounds of compaction since the last one that gained a segment.
    pub(crate) fruitless_rounds: Cell<u32>,
    pub(crate) closing: Cell<bool>,
    pub(crate) statistics: Arc<ChunkStoreStatistics>,
    pub(crate) background: RefCell<Option<reactor::Task<()>>>,
}

impl ChunkStore {
    /// Looks a shard up.
    ///
    /// # Errors
    /// Those of reading a page of the index: [`EngineError::Corrupt`] for one that is damaged, which never reads as a shard that is
    /// not there.
    pub async fn look_up(&self, id: ShardId) -> Result<Option<ShardInfo>, EngineError> {
        let entry = self.entry_of(id).await?;
        Ok(entry.map(|entry| ShardInfo {
            payload_bytes: entry.payload_bytes,
            inode: entry.inode,
        }))
    }

    /// Refuses new shards beyond so many, for whose pages the memory of the node has room, 100 million unless set, and keeps leaves of
    /// the index in no more bytes of memory, 16 MiB unless set. Shards that are there already stay.
    pub fn limit_index(&self, shards_max: usize, leaf_bytes: u64) {
        self.inner.index.borrow_mut().limit(shards_max, leaf_bytes);
    }

    /// Refuses from now on what was decided under an older epoch of a placement group.
    pub fn raise_group_epoch(&self, group: u32, epoch: u32) {
        self.inner
            .fence
            .borrow_mut()
            .raise_group_epoch(group, epoch);
    }

    /// Refuses from now on what a writer that is closed would introduce.
    pub fn close_writer(&self, writer: u32) {
        self.inner.fence.borrow_mut().close_writer(writer);
    }

    /// The last allocation epoch of each writer whose shards the partition holds or has held: whoever gives epochs out has got at
    /// least so far.
    pub fn newest_epochs(&self) -> BTreeMap<u32, u32> {
        self.inner.index.borrow().newest_epochs().clone()
    }

    /// Whether the device works, as all its handles see it.
    pub fn device_health(&self) -> &Arc<DeviceHealth> {
        self.inner.log.device.health()
    }

    /// Bytes of reads that the device has not answered to this reactor, with those that nobody waits for any more.
    pub fn device_bytes_being_read(&self) -> usize {
        self.inner.log.device.bytes_being_read()
    }

    /// What the partition has done.
    pub fn statistics(&self) -> Arc<ChunkStoreStatistics> {
        self.inner.statistics.clone()
    }

    /// Writes a checkpoint, so that the next start has nothing to replay, and stops the background work.
    pub async fn close(self) {
        self.inner.closing.set(true);
        self.inner.maintenance_wanted.notify_one();
        let background = self.inner.background.borrow_mut().take();
        if let Some(background) = background {
            background.await;
        }
        if let Err(error) = self.checkpoint().await {
            tracing::warn!(%error, "no checkpoint at the end; the next start replays the tail");
        }
        self.inner.log.close().await;
    }

    pub(crate) fn count_index(&self) {
        let index = self.inner.index.borrow();
        self.inner
            .statistics
            .shards
            .store(index.len() as u64, Ordering::Relaxed);
        self.inner
            .statistics
            .live_bytes
            .store(index.live_bytes_total(), Ordering::Relaxed);
    }
}
