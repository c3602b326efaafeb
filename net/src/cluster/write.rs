//! The write path of a front end: bytes as they come, cut into chunks, made into shards, each stored in a slot of a placement group.
//!
//! Invariants:
//! - memory is bounded: one chunk being filled and [`CHUNKS_IN_FLIGHT_MAX`] being stored per writer. A chunk grows as bytes come,
//!   up to [`CHUNK_BYTES_MAX`]; it ends early when memory is short or the client stalls, so that nobody holds much while it
//!   waits;
//! - a body has so few chunks that its command can be proposed, however short of memory it was stored;
//! - `finish` returns only after every shard of every chunk has been flushed;
//! - a chunk that no name will ever refer to is freed: at once when the writer is dropped or the body discarded, by the
//!   sweep when the node dies first.

use std::cell::{Cell, RefCell};
use std::collections::VecDeque;
use std::future::poll_fn;
use std::pin::Pin;
use std::rc::{Rc, Weak};
use std::task::Poll;
use std::time::Duration;

use bytes::Bytes;
use strata_engine::reactor::{self, Instant, TaskClass};
use strata_engine::{CELL_BYTES, EngineError, Owner, ShardId};
use strata_raftlog::consensus::group::PROPOSAL_BYTES_MAX;
use strata_raftlog::namespace::command::{
    Answer, CloseEpoch, OpenEpoch as OpenEpochCommand, RegisterWriter,
};
use strata_raftlog::namespace::{Body, EXTENT_COMMAND_BYTES, Extent};

use super::Cluster;
use super::chunk::NewChunk;
use super::fill::Filling;
use super::metadata::unexpected;
use crate::error::ClusterError;
use crate::memory::{NoMemory, Watermark};
use crate::message::{Place, Scanned};

/// The longest body that one command names, in bytes.
pub const BODY_BYTES_MAX: u64 = 5 << 30;

/// How long a body may take to come. Its allocation epoch stays open as long.
pub const BODY_TIME_MAX: Duration = Duration::from_secs(24 * 3600);

/// How often an epoch that is to be closed is looked at.
const EPOCH_PAUSE: Duration = Duration::from_secs(5);

/// The longest chunk that is written. The formats carry up to 64 MiB.
pub const CHUNK_BYTES_MAX: usize = 1 << 20;

/// Chunks of a body that may be as short as a cell, and those after them that may be as short as [`MIDDLE_CHUNK_BYTES`]. All
/// others have [`CHUNK_BYTES_MAX`]: a command carries no more extents than a proposal has room for.
const SHORT_CHUNKS_MAX: usize = 8192;
const MIDDLE_CHUNKS_MAX: usize = 8192;
const MIDDLE_CHUNK_BYTES: usize = 4 * CELL_BYTES;

/// The most chunks that a body can have.
pub(crate) const CHUNKS_MAX: usize = {
    let short = SHORT_CHUNKS_MAX * CELL_BYTES + MIDDLE_CHUNKS_MAX * MIDDLE_CHUNK_BYTES;
    let rest = (BODY_BYTES_MAX as usize - short).div_ceil(CHUNK_BYTES_MAX);
    SHORT_CHUNKS_MAX + MIDDLE_CHUNKS_MAX + rest + 1
};

/// What a command carries beside the extents, at most: key, headers and user metadata, checksums.
const COMMAND_BYTES_BESIDE_EXTENTS: usize = 64 << 10;
const _: () =
    assert!(CHUNKS_MAX * EXTENT_COMMAND_BYTES + COMMAND_BYTES_BESIDE_EXTENTS <= PROPOSAL_BYTES_MAX);

/// Chunks of one writer that may be on their way to the devices.
const CHUNKS_IN_FLIGHT_MAX: usize = 2;

/// A client that has sent nothing for so long has its chunk cut, and sooner while others wait for memory.
const STALL: Duration = Duration::from_secs(1);
const STALL_WITHOUT_MEMORY: Duration = Duration::from_millis(100);

/// The space of a file's or object's own bytes; parts of an upload have theirs.
pub const SPACE_FILE: u32 = 0;

/// This reactor as a writer of chunks: ids are never used again because the epoch is registered before its first use.
pub(super) struct WriterEpoch {
    writer: Cell<u32>,
    current: RefCell<Rc<OpenEpoch>>,
}

/// An allocation epoch; it may be closed once nobody holds it.
#[derive(Debug)]
pub(super) struct OpenEpoch {
    pub(super) epoch: u32,
    next_sequence: Cell<u64>,
}

impl OpenEpoch {
    /// A sequence that no chunk of the epoch has had.
    pub(super) fn next(&self) -> u64 {
        let sequence = self.next_sequence.get();
        self.next_sequence.set(sequence + 1);
        sequence
    }
}

impl WriterEpoch {
    pub(super) fn unregistered() -> Self {
        let none = OpenEpoch {
            epoch: 0,
            next_sequence: Cell::new(0),
        };
        WriterEpoch {
            writer: Cell::new(0),
            current: RefCell::new(Rc::new(none)),
        }
    }
}

impl Cluster {
    /// Registers this reactor of this start as a writer and opens its first epoch.
    pub(super) async fn register_writer(&self) -> Result<(), ClusterError> {
        let parts = &self.inner.parts;
        let register = RegisterWriter {
            node: parts.node_id,
            reactor: reactor::index() as u32,
        };
        match self.submit(register).await? {
            Answer::Writer(writer) => self.inner.writer.writer.set(writer),
            other => return Err(unexpected("RegisterWriter", &other)),
        }
        self.open_epoch().await
    }

    /// Opens the next allocation epoch. The one before is closed in the background, as soon as the uploads in it have ended or
    /// have been cut.
    ///
    /// # Errors
    /// Those of [`Cluster::submit`].
    pub async fn rotate_epoch(&self) -> Result<(), ClusterError> {
        let old = self.inner.writer.current.borrow().clone();
        self.open_epoch().await?;
        let closing = close_epoch(self.clone(), old);
        reactor::spawn(TaskClass::Background, closing).detach();
        Ok(())
    }

    async fn open_epoch(&self) -> Result<(), ClusterError> {
        match self
            .submit(OpenEpochCommand {
                writer: self.inner.writer.writer.get(),
            })
            .await?
        {
            Answer::Epoch(epoch) => {
                let open = OpenEpoch {
                    epoch,
                    next_sequence: Cell::new(1),
                };
                *self.inner.writer.current.borrow_mut() = Rc::new(open);
                Ok(())
            }
            other => Err(unexpected("OpenEpoch", &other)),
        }
    }

    /// The number of this reactor as a writer.
    pub(super) fn writer_number(&self) -> u32 {
        self.inner.writer.writer.get()
    }

    /// The epoch under which chunks are introduced now, which stays open while it is held.
    pub(super) fn current_epoch(&self) -> Rc<OpenEpoch> {
        self.inner.writer.current.borrow().clone()
    }

    /// Begins a body. `space` is [`SPACE_FILE`], or the number of the part within its upload.
    pub fn writer(&self, inode: u64, space: u32) -> ObjectWriter {
        let storing = Storing {
            inode,
            space,
            epoch: self.current_epoch(),
            filling: None,
            fed: reactor::now(),
            bytes_stored: 0,
            in_flight: VecDeque::new(),
            extents: Vec::new(),
        };
        ObjectWriter {
            cluster: self.clone(),
            head: Vec::new(),
            bytes_taken: 0,
            begun: reactor::now(),
            storing: Rc::new(RefCell::new(storing)),
            watch: None,
        }
    }

    /// Frees the chunks of a body that no name refers to, because its command was refused or never proposed.
    ///
    /// Never to be called when the outcome of the command is unknown. Failures are left to orphan collection.
    pub async fn discard(&self, body: Body) {
        if let Body::Extents(extents) = body {
            let chunks = extents.iter().map(|extent| extent.chunk);
            self.free_chunks(chunks).await;
        }
    }

    /// The data partitions that this reactor owns.
    pub(crate) fn local_places(&self) -> Vec<Place> {
        self.inner.local.places()
    }

    /// Whose bytes a shard of a partition of this reactor holds.
    pub(crate) async fn owner_here(&self, place: Place, id: ShardId) -> Result<Owner, EngineError> {
        self.inner.local.owner(place, id).await
    }

    /// The next shards of a partition of this reactor.
    pub(crate) async fn scan_here(
        &self,
        place: Place,
        after: Option<ShardId>,
        limit: usize,
    ) -> Result<Scanned, ClusterError> {
        Ok(self.inner.local.scan(place, after, limit).await?)
    }
}

type StoreTask = reactor::Task<Result<Extent, ClusterError>>;

/// A body being written. Dropping it frees what it has stored.
pub struct ObjectWriter {
    cluster: Cluster,
    /// The first bytes, while they may yet be the whole body and ride in the command.
    head: Vec<u8>,
    bytes_taken: u64,
    begun: Instant,
    storing: Rc<RefCell<Storing>>,
    /// Looks whether the bytes still come, once the chunk has grown.
    watch: Option<reactor::Task<()>>,
}

/// What of a body is in chunks.
struct Storing {
    inode: u64,
    space: u32,
    epoch: Rc<OpenEpoch>,
    filling: Option<Filling>,
    /// When bytes came last.
    fed: Instant,
    bytes_stored: u64,
    in_flight: VecDeque<StoreTask>,
    extents: Vec<Extent>,
}

impl Storing {
    fn is_empty(&self) -> bool {
        self.filling.is_none() && self.chunk_count() == 0
    }

    fn chunk_count(&self) -> usize {
        self.extents.len() + self.in_flight.len()
    }

    /// Sends the chunk that is being filled on its way.
    fn send(&mut self, cluster: &Cluster) {
        let Some(filling) = self.filling.take() else {
            return;
        };
        let owner = Owner {
            group: 0,
            inode: self.inode,
            version: 0,
            space: self.space,
            offset: self.bytes_stored,
        };
        let writer = cluster.writer_number();
        let epoch = self.epoch.clone();
        self.bytes_stored += filling.bytes() as u64;
        let cluster = cluster.clone();
        let store = async move {
            let chunk = NewChunk {
                writer,
                epoch,
                owner,
                payload: filling.freeze()?,
            };
            cluster.store_chunk(chunk).await
        };
        self.in_flight
            .push_back(reactor::spawn(TaskClass::Foreground, store));
    }
}

impl ObjectWriter {
    /// Takes the next bytes of the body; waits while the devices or the arena are behind.
    ///
    /// # Errors
    /// Those of storing the chunks before: [`ClusterError::Full`], [`ClusterError::Unavailable`]; [`ClusterError::Busy`] when no
    /// memory becomes free, [`ClusterError::Invalid`] for a body above [`BODY_BYTES_MAX`] or [`BODY_TIME_MAX`].
    pub async fn write(&mut self, data: Bytes) -> Result<(), ClusterError> {
        self.bytes_taken += data.len() as u64;
        self.check_bounds()?;
        if self.storing.borrow().is_empty()
            && self.head.len() + data.len() <= self.cluster.inline_bytes_max()
        {
            self.head.extend_from_slice(&data);
            return Ok(());
        }
        if !self.head.is_empty() {
            let head = std::mem::take(&mut self.head);
            self.fill(&head).await?;
        }
        self.fill(&data).await
    }

    /// Waits until every shard of every chunk is durable and returns what the command must carry.
    ///
    /// # Errors
    /// Those of [`ObjectWriter::write`]; what was stored is then freed.
    pub async fn finish(mut self) -> Result<Body, ClusterError> {
        self.check_bounds()?;
        if self.storing.borrow().is_empty() {
            let head = std::mem::take(&mut self.head);
            return Ok(if head.is_empty() {
                Body::Empty
            } else {
                Body::Inline(head)
            });
        }
        self.watch = None;
        self.storing.borrow_mut().send(&self.cluster);
        self.wait_until_in_flight(0).await?;
        let extents = std::mem::take(&mut self.storing.borrow_mut().extents);
        assert_eq!(
            extents.iter().map(|extent| extent.length).sum::<u64>(),
            self.bytes_taken,
            "every byte is in an extent"
        );
        Ok(Body::Extents(extents))
    }

    fn check_bounds(&self) -> Result<(), ClusterError> {
        if self.bytes_taken > BODY_BYTES_MAX {
            return Err(ClusterError::Invalid(format!(
                "the body of one request has at most {BODY_BYTES_MAX} bytes"
            )));
        }
        if self.begun.elapsed() > BODY_TIME_MAX {
            return Err(ClusterError::Invalid(
                "the body of one request takes at most 24 hours; a multipart upload may take longer"
                    .to_owned(),
            ));
        }
        Ok(())
    }

    async fn fill(&mut self, mut data: &[u8]) -> Result<(), ClusterError> {
        while !data.is_empty() {
            let mut filling = self.chunk_with_room().await?;
            data = &data[filling.take(data)..];
            let (is_whole, has_grown) = (filling.is_whole(), filling.has_grown());
            {
                let mut storing = self.storing.borrow_mut();
                storing.fed = reactor::now();
                storing.filling = Some(filling);
            }
            if is_whole {
                self.wait_until_in_flight(CHUNKS_IN_FLIGHT_MAX - 1).await?;
                self.storing.borrow_mut().send(&self.cluster);
            } else if has_grown && self.watch.is_none() {
                let watch = cut_when_stalled(self.cluster.clone(), Rc::downgrade(&self.storing));
                self.watch = Some(reactor::spawn(TaskClass::Foreground, watch));
            }
        }
        Ok(())
    }

    /// The chunk that is being filled, or a new one. Where memory is short the one that is there goes on its way as it is, so
    /// that whoever waits for memory holds none.
    async fn chunk_with_room(&self) -> Result<Filling, ClusterError> {
        let filling = self.storing.borrow_mut().filling.take();
        if let Some(mut filling) = filling {
            if filling.make_room() {
                return Ok(filling);
            }
            self.storing.borrow_mut().filling = Some(filling);
            self.storing.borrow_mut().send(&self.cluster);
        }
        self.wait_until_in_flight(CHUNKS_IN_FLIGHT_MAX).await?;
        let bytes_min = chunk_bytes_min(self.storing.borrow().chunk_count());
        let begun = Filling::begin(&self.cluster.inner.chunk_memory, bytes_min).await;
        begun.map_err(|NoMemory| {
            ClusterError::Busy("no memory became free for the next chunk of an upload".to_owned())
        })
    }

    /// Waits until no more chunks than these are on their way.
    async fn wait_until_in_flight(&self, count: usize) -> Result<(), ClusterError> {
        while self.storing.borrow().in_flight.len() > count {
            // The task stays in its place while it is waited for, so that a writer that is dropped meanwhile still frees it.
            let stored = poll_fn(|context| {
                let mut storing = self.storing.borrow_mut();
                storing.in_flight.front_mut().map_or_else(
                    || Poll::Ready(None),
                    |task| Pin::new(task).poll(context).map(Some),
                )
            });
            let stored = stored.await;
            let mut storing = self.storing.borrow_mut();
            storing.in_flight.pop_front();
            storing.extents.extend(stored.transpose()?);
        }
        Ok(())
    }
}

/// Closes an epoch once nobody writes in it. A command that still names a chunk of it is then refused.
async fn close_epoch(cluster: Cluster, old: Rc<OpenEpoch>) {
    let overdue = reactor::now() + BODY_TIME_MAX + EPOCH_PAUSE;
    while Rc::strong_count(&old) > 1 && reactor::now() < overdue {
        reactor::sleep(EPOCH_PAUSE).await;
    }
    let close = CloseEpoch {
        writer: cluster.inner.writer.writer.get(),
        epoch: old.epoch,
    };
    while let Err(error) = cluster.submit(close.clone()).await {
        tracing::warn!(%error, "an allocation epoch could not be closed");
        if matches!(error, ClusterError::Refused(_)) {
            return;
        }
        reactor::sleep(EPOCH_PAUSE).await;
    }
}

/// Sends a chunk that has grown on its way when its bytes no longer come, so that a client that stalls holds no more than
/// the first piece of a chunk.
async fn cut_when_stalled(cluster: Cluster, storing: Weak<RefCell<Storing>>) {
    loop {
        let patience = if Watermark::Begin.leaves(0) {
            STALL
        } else {
            STALL_WITHOUT_MEMORY
        };
        reactor::sleep(patience).await;
        let Some(storing) = storing.upgrade() else {
            return;
        };
        let mut storing = storing.borrow_mut();
        let has_grown = storing.filling.as_ref().is_some_and(Filling::has_grown);
        if has_grown && storing.fed.elapsed() >= patience {
            storing.send(&cluster);
        }
    }
}

impl Drop for ObjectWriter {
    fn drop(&mut self) {
        let mut storing = self.storing.borrow_mut();
        storing.filling = None;
        let (in_flight, extents) = (
            std::mem::take(&mut storing.in_flight),
            std::mem::take(&mut storing.extents),
        );
        if in_flight.is_empty() && extents.is_empty() {
            return;
        }
        let cluster = self.cluster.clone();
        let epoch = storing.epoch.clone();
        let free = async move {
            let mut extents = extents;
            for task in in_flight {
                extents.extend(task.await);
            }
            cluster.discard(Body::Extents(extents)).await;
            drop(epoch);
        };
        reactor::spawn(TaskClass::Foreground, free).detach();
    }
}

/// The shortest that the next chunk may be, unless the body ends with it.
const fn chunk_bytes_min(chunks_before: usize) -> usize {
    if chunks_before < SHORT_CHUNKS_MAX {
        CELL_BYTES
    } else if chunks_before < SHORT_CHUNKS_MAX + MIDDLE_CHUNKS_MAX {
        MIDDLE_CHUNK_BYTES
    } else {
        CHUNK_BYTES_MAX
    }
}
