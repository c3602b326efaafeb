//! The write path of a front end: bytes as they come, cut into chunks, stored on every slot of a placement group.
//!
//! Invariants:
//! - memory is bounded: one buffer being filled and [`CHUNKS_IN_FLIGHT_MAX`] being stored per writer, and buffers get
//!   smaller, then wait, as the arena empties; so a chunk is as long as its buffer was, at most [`CHUNK_BYTES_MAX`];
//! - `finish` returns only after every slot of every chunk has flushed;
//! - a chunk that no name will ever refer to is freed: at once when the writer is dropped or the body discarded, by the
//!   sweep when the node dies first.

use std::cell::{Cell, RefCell};
use std::collections::VecDeque;
use std::rc::Rc;

use bytes::Bytes;
use strata_engine::reactor::{self, Buffer, TaskClass};
use strata_engine::{ChunkId, EngineError, Owner, ShardId, ShardWrite};
use strata_raftlog::command::{Answer, CloseEpoch, OpenEpoch as OpenEpochCommand, RegisterWriter};
use strata_raftlog::namespace::{Body, Extent};

use super::Cluster;
use super::metadata::unexpected;
use super::placement::Group;
use crate::error::ClusterError;
use crate::message::{NodeRequest, Place, Scanned};

/// The longest chunk that is written. The formats carry up to 64 MiB.
pub const CHUNK_BYTES_MAX: usize = 1 << 20;

/// The smallest buffer a writer falls back to when the arena is nearly empty.
const CHUNK_BYTES_UNDER_PRESSURE: usize = 64 << 10;

/// Chunks of one writer that may be on their way to the devices.
const CHUNKS_IN_FLIGHT_MAX: usize = 2;

/// Bytes under one CRC32C.
pub const CELL_BYTES: usize = 64 << 10;

/// The space of a file's or object's own bytes; parts of an upload have theirs.
pub const SPACE_FILE: u32 = 0;

/// This reactor as a writer of chunks: ids are never used again because the epoch is registered before its first use.
pub(super) struct WriterEpoch {
    writer: Cell<u32>,
    current: RefCell<Rc<OpenEpoch>>,
}

/// An allocation epoch; it may be closed once nobody holds it.
#[derive(Debug)]
struct OpenEpoch {
    epoch: u32,
    next_sequence: Cell<u64>,
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
        match self.change(register).await? {
            Answer::Writer(writer) => self.inner.writer.writer.set(writer),
            other => return Err(unexpected("RegisterWriter", &other)),
        }
        self.open_epoch().await
    }

    /// Opens the next allocation epoch and closes the one before as soon as the uploads in it have ended.
    ///
    /// # Errors
    /// Those of [`Cluster::change`].
    pub async fn rotate_epoch(&self) -> Result<(), ClusterError> {
        let old = self.inner.writer.current.borrow().clone();
        self.open_epoch().await?;
        while Rc::strong_count(&old) > 1 {
            reactor::sleep(std::time::Duration::from_secs(5)).await;
        }
        self.change(CloseEpoch {
            writer: self.inner.writer.writer.get(),
            epoch: old.epoch,
        })
        .await
        .map(drop)
    }

    async fn open_epoch(&self) -> Result<(), ClusterError> {
        match self
            .change(OpenEpochCommand {
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

    /// Begins a body. `space` is [`SPACE_FILE`], or the number of the part within its upload.
    pub fn writer(&self, inode: u64, space: u32) -> ObjectWriter {
        let epoch = self.inner.writer.current.borrow().clone();
        ObjectWriter {
            cluster: self.clone(),
            inode,
            space,
            epoch,
            head: Vec::new(),
            filling: None,
            bytes_taken: 0,
            bytes_stored: 0,
            in_flight: VecDeque::new(),
            extents: Vec::new(),
        }
    }

    /// Frees the chunks of a body that no name refers to, because its command was refused or never proposed.
    ///
    /// Never to be called when the outcome of the command is unknown. Failures are left to the sweep.
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

    /// The next shards of a partition of this reactor.
    pub(crate) fn scan_here(
        &self,
        place: Place,
        after: Option<ShardId>,
        limit: usize,
    ) -> Result<Scanned, ClusterError> {
        Ok(self.inner.local.scan(place, after, limit)?)
    }

    async fn store_shard(&self, place: Place, shard: ShardWrite) -> Result<(), EngineError> {
        let Some(peer) = self.peer_of(place) else {
            return self.inner.local.store(place, shard).await;
        };
        let (reply, answer) = reactor::oneshot();
        peer.send(NodeRequest::Store(place, Box::new(shard), reply))
            .await
            .map_err(|_| crate::node::store::gone())?;
        answer.await.map_err(|_| crate::node::store::gone())?
    }

    /// Stores a chunk and waits for all the barriers. A group that is full or has a failed device leaves it to the next one
    /// that can be written, where it has another id.
    async fn store_chunk(&self, chunk: NewChunk) -> Result<Extent, ClusterError> {
        let mut refused_by = Vec::new();
        loop {
            let group = self.choose_group(&refused_by)?;
            match self.store_on(&group, &chunk).await {
                Ok(extent) => return Ok(extent),
                Err(error @ (EngineError::Full { .. } | EngineError::Failed { .. })) => {
                    tracing::debug!(%error, group = group.number, "another placement group takes the chunk");
                    refused_by.push(group.number);
                }
                Err(error) => return Err(error.into()),
            }
        }
    }

    /// Stores a chunk on every slot of a group. When one refuses it, what the others have stored is freed.
    async fn store_on(&self, group: &Group, chunk: &NewChunk) -> Result<Extent, EngineError> {
        let extent = chunk.extent(group);
        let writes = group.slots.iter().enumerate().map(|(shard, place)| {
            let write = chunk.shard(group, shard as u8);
            async move { (*place, self.store_shard(*place, write).await) }
        });
        let mut refusal = None;
        for (place, outcome) in futures_util::future::join_all(writes).await {
            if let Err(error) = outcome {
                self.note_refusal(place, &error);
                refusal.get_or_insert(error);
            }
        }
        match refusal {
            None => Ok(extent),
            Some(error) => {
                self.free_chunks([extent.chunk]).await;
                Err(error)
            }
        }
    }
}

/// A chunk on its way to the devices.
struct NewChunk {
    id_without_group: (u32, u32, u64),
    owner: Owner,
    cell_crcs: Vec<u32>,
    payload: reactor::BufferView,
}

impl NewChunk {
    fn id(&self, group: &Group) -> ChunkId {
        let (writer, epoch, sequence) = self.id_without_group;
        ChunkId::new(group.number, writer, epoch, sequence)
    }

    fn extent(&self, group: &Group) -> Extent {
        let slot_mask = (1 << group.slots.len()) - 1;
        Extent::whole_chunk(
            self.id(group),
            self.payload.len() as u64,
            geometry_of(group),
            slot_mask,
        )
    }

    fn shard(&self, group: &Group, shard: u8) -> ShardWrite {
        ShardWrite {
            id: ShardId {
                chunk: self.id(group),
                shard,
            },
            geometry: geometry_of(group),
            layout_epoch: group.epoch,
            cell_bytes: CELL_BYTES as u32,
            chunk_bytes: self.payload.len() as u64,
            owner: self.owner,
            cell_crcs: self.cell_crcs.clone(),
            payload: vec![self.payload.clone()],
            shard_bytes: self.payload.len() as u32,
        }
    }
}

/// Geometries are numbered by their copies: 1 is a single copy, 2 is two, 3 is three.
fn geometry_of(group: &Group) -> u16 {
    group.slots.len() as u16
}

type StoreTask = reactor::Task<Result<Extent, ClusterError>>;

/// A body being written. Dropping it frees what it has stored.
pub struct ObjectWriter {
    cluster: Cluster,
    inode: u64,
    space: u32,
    epoch: Rc<OpenEpoch>,
    head: Vec<u8>,
    filling: Option<Buffer>,
    bytes_taken: u64,
    bytes_stored: u64,
    in_flight: VecDeque<StoreTask>,
    extents: Vec<Extent>,
}

impl ObjectWriter {
    /// Takes the next bytes of the body; waits while the devices or the arena are behind.
    ///
    /// # Errors
    /// Those of storing the chunks before: [`ClusterError::Full`], [`ClusterError::Unavailable`].
    pub async fn write(&mut self, data: Bytes) -> Result<(), ClusterError> {
        self.bytes_taken += data.len() as u64;
        if self.filling.is_none()
            && self.stored_nothing()
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

    /// Waits until every chunk is durable on every slot and returns what the command must carry.
    ///
    /// # Errors
    /// Those of [`ObjectWriter::write`]; what was stored is then freed.
    pub async fn finish(mut self) -> Result<Body, ClusterError> {
        if self.filling.is_none() && self.stored_nothing() {
            let head = std::mem::take(&mut self.head);
            return Ok(if head.is_empty() {
                Body::Empty
            } else {
                Body::Inline(head)
            });
        }
        if let Some(buffer) = self.filling.take() {
            self.store(buffer).await?;
        }
        while let Some(task) = self.in_flight.pop_front() {
            let extent = task.await?;
            self.extents.push(extent);
        }
        let extents = std::mem::take(&mut self.extents);
        assert_eq!(
            extents.iter().map(|extent| extent.length).sum::<u64>(),
            self.bytes_taken,
            "every byte is in an extent"
        );
        Ok(Body::Extents(extents))
    }

    fn stored_nothing(&self) -> bool {
        self.extents.is_empty() && self.in_flight.is_empty()
    }

    async fn fill(&mut self, mut data: &[u8]) -> Result<(), ClusterError> {
        while !data.is_empty() {
            let mut buffer = match self.filling.take() {
                Some(buffer) => buffer,
                None => allocate_chunk_buffer().await,
            };
            let from = buffer.len();
            let taken = data.len().min(buffer.capacity() - from);
            buffer.set_len(from + taken);
            buffer[from..].copy_from_slice(&data[..taken]);
            data = &data[taken..];
            if buffer.len() == buffer.capacity() {
                self.store(buffer).await?;
            } else {
                self.filling = Some(buffer);
            }
        }
        Ok(())
    }

    async fn store(&mut self, buffer: Buffer) -> Result<(), ClusterError> {
        while self.in_flight.len() >= CHUNKS_IN_FLIGHT_MAX {
            if let Some(task) = self.in_flight.pop_front() {
                let extent = task.await?;
                self.extents.push(extent);
            }
        }
        let payload = buffer.freeze();
        let sequence = self.epoch.next_sequence.get();
        self.epoch.next_sequence.set(sequence + 1);
        let owner = Owner {
            group: 0,
            inode: self.inode,
            version: 0,
            space: self.space,
            offset: self.bytes_stored,
        };
        self.bytes_stored += payload.len() as u64;
        let cell_crcs = payload.chunks(CELL_BYTES).map(crc32c::crc32c).collect();
        let id_without_group = (
            self.cluster.inner.writer.writer.get(),
            self.epoch.epoch,
            sequence,
        );
        let chunk = NewChunk {
            id_without_group,
            owner,
            cell_crcs,
            payload,
        };
        let cluster = self.cluster.clone();
        let store = async move { cluster.store_chunk(chunk).await };
        self.in_flight
            .push_back(reactor::spawn(TaskClass::Foreground, store));
        Ok(())
    }
}

impl Drop for ObjectWriter {
    fn drop(&mut self) {
        let (in_flight, extents) = (
            std::mem::take(&mut self.in_flight),
            std::mem::take(&mut self.extents),
        );
        if in_flight.is_empty() && extents.is_empty() {
            return;
        }
        let cluster = self.cluster.clone();
        let epoch = self.epoch.clone();
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

/// A buffer for the next chunk: the largest while the arena is roomy, smaller as it empties, then a wait.
async fn allocate_chunk_buffer() -> Buffer {
    let pressure = reactor::arena_pressure();
    let mut size = CHUNK_BYTES_MAX;
    if pressure.free_bytes < pressure.total_bytes / 2 {
        size = CHUNK_BYTES_MAX / 4;
    }
    if pressure.free_bytes < pressure.total_bytes / 4 {
        size = CHUNK_BYTES_UNDER_PRESSURE;
    }
    let mut buffer = reactor::allocate(size).await;
    buffer.set_len(0);
    buffer
}
