//! A device: one file or block device, opened on one reactor. Every reactor that owns a partition of it has a handle of its own.
//!
//! Invariants: after a failed write or flush the device takes no more writes, on any handle: what the flush covered is unknown,
//! so it is never tried again; every operation has an answer within the time of [`health`]; nothing is written before the
//! superblock has been read and understood.

pub mod block;
pub mod health;
pub mod latency;

use std::path::{Path, PathBuf};
use std::rc::Rc;
use std::sync::Arc;

use crate::error::EngineError;
use crate::format::layout::{
    BLOCK_BYTES, LOG_SEGMENTS_MAX, PARTITION_COUNT_MAX, SEGMENT_BYTES_MAX, SEGMENTS_OFFSET,
    SUPERBLOCK_OFFSETS, SegmentMap, anchor_offset,
};
use crate::format::superblock::{LOG_MIRROR_COUNT_MAX, PartitionEntry, PartitionKind, Superblock};
use crate::format::{FormatError, anchor::Anchor};
use crate::id::Uuid;
use crate::reactor::block_device::{BlockDevice, block_device};
use crate::reactor::fs::FileLock;
use crate::reactor::{self, Buffer, BufferView, File, OpenOptions};
use health::DeviceHealth;
use latency::{DeviceLatencies, Latencies};

/// How a device is opened.
#[derive(Debug, Clone, Default)]
pub struct DeviceOptions {
    /// Bytes that the file may grow to.
    pub capacity_bytes: u64,
    /// Whether a block device is told of segments that hold nothing any more.
    pub discard: bool,
    /// Shared by all handles of the device.
    pub health: Arc<DeviceHealth>,
}

/// How a device is formatted.
#[derive(Debug, Clone)]
pub struct FormatOptions {
    /// The cluster.
    pub cluster: Uuid,
    /// The device.
    pub device: Uuid,
    /// The pool.
    pub pool: Uuid,
    /// The node that writes.
    pub node: u64,
    /// Data partitions, a power of two.
    pub data_partitions: u16,
    /// Length of a segment in bytes, a power of two from 4 MiB.
    pub segment_bytes: u64,
    /// Segments of the log partition.
    pub log_segments: u32,
    /// The devices that hold a copy of the log.
    pub log_mirrors: Vec<Uuid>,
}

/// The smallest segment: a record of the longest chunk must fit.
pub const SEGMENT_BYTES_MIN: u64 = 256 << 10;

/// The least alignment of records, in bytes. A device with larger physical sectors than it admits to writes them in a
/// read-modify-write: a power cut then damages what shares the sector, so records that were acknowledged share none.
const ALIGNMENT_MIN: usize = 4096;

/// An open device.
#[derive(Clone)]
pub struct Device {
    inner: Rc<Inner>,
}

struct Inner {
    file: File,
    path: PathBuf,
    /// What it is like, where it is no file.
    block_device: Option<BlockDevice>,
    discard: bool,
    superblock: Superblock,
    health: Arc<DeviceHealth>,
}

/// Keeps other servers off a device as long as it lives.
pub struct DeviceLock {
    _lock: FileLock,
}

impl DeviceLock {
    /// Locks a device.
    ///
    /// # Errors
    /// [`EngineError::Locked`] when another server has it.
    pub async fn take(path: &Path) -> Result<DeviceLock, EngineError> {
        match reactor::fs::try_lock(path).await? {
            Some(lock) => Ok(DeviceLock { _lock: lock }),
            None => Err(EngineError::Locked {
                path: path.to_owned(),
            }),
        }
    }
}

/// Formats a file or block device. The superblock is written last, so an interrupted format leaves a file without one. What a block
/// device held before must have been [erased](block::erase).
///
/// # Errors
/// A file system without direct I/O, one that is full, a device that cannot be written or has too large sectors.
pub async fn format_device(path: &Path, options: FormatOptions) -> Result<(), EngineError> {
    options.check()?;
    let file = open_direct(
        path,
        OpenOptions {
            read_only: false,
            create: true,
            direct: true,
        },
    )
    .await?;
    let block_device = block_device(path).await?;
    if block_device.is_none() && file.length().await? < SEGMENTS_OFFSET {
        file.set_length(SEGMENTS_OFFSET).await?;
    }
    let superblock = first_superblock(&options, file.alignment(), block_device.as_ref())?;
    for entry in &superblock.partitions {
        for slot in 0..2 {
            let anchor = Anchor {
                partition: entry.number,
                // The slot of a generation is its remainder, now and later.
                generation: 2 - slot as u64,
                next_sequence: 1,
                ..Anchor::default()
            };
            write_block(&file, &anchor.encode(), anchor_offset(entry.number, slot)).await?;
        }
    }
    file.sync().await?;
    for offset in SUPERBLOCK_OFFSETS {
        write_block(&file, &superblock.encode(), offset).await?;
    }
    file.sync().await?;
    match path.parent() {
        _ if block_device.is_some() => Ok(()),
        Some(directory) if directory.as_os_str().is_empty() => {
            Ok(reactor::sync_directory(Path::new(".")).await?)
        }
        Some(directory) => Ok(reactor::sync_directory(directory).await?),
        None => Ok(()),
    }
}

impl FormatOptions {
    /// Whether a device can be formatted so.
    ///
    /// # Errors
    /// [`EngineError::Invalid`] for what the superblock or the segments have no room for.
    pub fn check(&self) -> Result<(), EngineError> {
        // The log has a partition of its own.
        let partitions = usize::from(self.data_partitions) + 1;
        if !self.data_partitions.is_power_of_two() || partitions > PARTITION_COUNT_MAX {
            return Err(EngineError::Invalid(format!(
                "{} data partitions",
                self.data_partitions
            )));
        }
        let lengths = SEGMENT_BYTES_MIN..=SEGMENT_BYTES_MAX;
        if !self.segment_bytes.is_power_of_two() || !lengths.contains(&self.segment_bytes) {
            return Err(EngineError::Invalid(format!(
                "segments of {} bytes",
                self.segment_bytes
            )));
        }
        if self.log_mirrors.len() > LOG_MIRROR_COUNT_MAX
            || !(4..=LOG_SEGMENTS_MAX).contains(&self.log_segments)
        {
            return Err(EngineError::Invalid(
                "the log's mirrors or segments".to_owned(),
            ));
        }
        Ok(())
    }
}

fn first_superblock(
    options: &FormatOptions,
    alignment: usize,
    block_device: Option<&BlockDevice>,
) -> Result<Superblock, EngineError> {
    let alignment = match block_device {
        Some(device) => block::alignment(device, alignment)?,
        None => alignment,
    };
    let log = PartitionEntry {
        number: 0,
        kind: PartitionKind::Log,
        first_segment: 0,
        stride: 1,
    };
    let data = (0..options.data_partitions).map(|number| PartitionEntry {
        number: number + 1,
        kind: PartitionKind::Data,
        first_segment: options.log_segments + u32::from(number),
        stride: u32::from(options.data_partitions),
    });
    Ok(Superblock {
        cluster: options.cluster,
        device: options.device,
        pool: options.pool,
        generation: 1,
        incarnation: 1,
        alignment: alignment.max(ALIGNMENT_MIN) as u32,
        segment_bytes: options.segment_bytes,
        log_segments: options.log_segments,
        writer_node: options.node,
        writer_epoch: 1,
        partitions: std::iter::once(log).chain(data).collect(),
        log_mirrors: options.log_mirrors.clone(),
        mirror_generation: 1,
        features_compatible: 0,
        block_device_bytes: block_device.map_or(0, |device| device.bytes),
    })
}

/// Reads the superblock of a file or device without changing anything.
///
/// # Errors
/// [`EngineError::Unformatted`] without one, [`EngineError::OtherFormat`], [`EngineError::Corrupt`] when both copies are damaged.
pub async fn read_superblock(path: &Path) -> Result<Superblock, EngineError> {
    let file = open_direct(
        path,
        OpenOptions {
            read_only: true,
            create: false,
            direct: true,
        },
    )
    .await?;
    superblock_of(&file, path, &DeviceHealth::default()).await
}

/// Writes a copy of the superblock anew that is damaged while the other one is whole; says which it was, and counts it. Nobody
/// else may have the device open.
///
/// # Errors
/// Those of [`read_superblock`], and a device that cannot be written.
pub async fn repair_superblock(
    path: &Path,
    health: &DeviceHealth,
) -> Result<Option<String>, EngineError> {
    let superblock = read_superblock(path).await?;
    let options = OpenOptions {
        read_only: false,
        create: false,
        direct: true,
    };
    let file = open_direct(path, options).await?;
    for offset in SUPERBLOCK_OFFSETS {
        let buffer = reactor::allocate(BLOCK_BYTES).await;
        let block = file.read(buffer, offset, BLOCK_BYTES).await?;
        let Err(error) = Superblock::decode(&block) else {
            continue;
        };
        write_block(&file, &superblock.encode(), offset).await?;
        file.sync().await?;
        health.note_corruption();
        return Ok(Some(format!(
            "{}: the superblock at {offset} was damaged ({error}) and has been written anew from the other copy",
            path.display()
        )));
    }
    Ok(None)
}

async fn superblock_of(
    file: &File,
    path: &Path,
    health: &DeviceHealth,
) -> Result<Superblock, EngineError> {
    let mut best: Option<Superblock> = None;
    let mut damage = None;
    for offset in SUPERBLOCK_OFFSETS {
        let buffer = reactor::allocate(BLOCK_BYTES).await;
        let reading = file.read(buffer, offset, BLOCK_BYTES);
        let block = health.answered(path, reading).await?;
        match Superblock::decode(&block) {
            Ok(found)
                if best
                    .as_ref()
                    .is_none_or(|best| found.generation > best.generation) =>
            {
                best = Some(found)
            }
            Ok(_) | Err(FormatError::Kind { .. } | FormatError::Short { .. }) => {}
            Err(FormatError::OtherFormat { features }) => {
                return Err(EngineError::OtherFormat { features });
            }
            Err(error) => damage = Some(error),
        }
    }
    match (best, damage) {
        (Some(superblock), _) => Ok(superblock),
        (None, Some(error)) => Err(EngineError::corrupt(
            format!("{} superblock", path.display()),
            error,
        )),
        (None, None) => Err(EngineError::Unformatted),
    }
}

/// Opens for direct I/O, naming the remedy where the file system has none.
async fn open_direct(path: &Path, options: OpenOptions) -> Result<File, EngineError> {
    let opening = File::open(path, options);
    let opened = DeviceHealth::default().answered(path, opening).await;
    opened.map_err(|error| match error.kind() {
        std::io::ErrorKind::InvalidInput | std::io::ErrorKind::Unsupported => {
            EngineError::NoDirectIo {
                path: path.to_owned(),
            }
        }
        _ => EngineError::Io(error),
    })
}

async fn write_block(file: &File, bytes: &[u8], offset: u64) -> Result<(), EngineError> {
    Ok(file.write(vec![view_of(bytes)], offset).await?)
}

/// Bytes as a view of a buffer. It waits for no room in the arena: those who hold that room may wait for what is written here.
pub(crate) fn view_of(bytes: &[u8]) -> BufferView {
    let mut buffer = reactor::allocate_now(bytes.len());
    buffer.extend_from_slice(bytes);
    buffer.freeze()
}

impl Device {
    /// Opens a device for its partitions.
    ///
    /// # Errors
    /// Those of [`read_superblock`], and an alignment that is coarser than the device was formatted for.
    pub async fn open(path: &Path, options: DeviceOptions) -> Result<Device, EngineError> {
        let file = open_direct(
            path,
            OpenOptions {
                read_only: false,
                create: false,
                direct: true,
            },
        )
        .await?;
        let superblock = superblock_of(&file, path, &options.health).await?;
        if file.alignment() > superblock.alignment as usize {
            return Err(EngineError::Invalid(format!(
                "{} was formatted for direct I/O in units of {} bytes, where it lies now needs {}",
                path.display(),
                superblock.alignment,
                file.alignment()
            )));
        }
        let asking = block_device(path);
        let block_device = options.health.answered(path, asking).await?;
        options.health.raise_capacity(options.capacity_bytes);
        let inner = Inner {
            file,
            path: path.to_owned(),
            block_device,
            discard: options.discard,
            superblock,
            health: options.health,
        };
        Ok(Device {
            inner: Rc::new(inner),
        })
    }

    /// What the superblock says.
    pub fn superblock(&self) -> &Superblock {
        &self.inner.superblock
    }

    /// Where the device is.
    pub fn path(&self) -> &Path {
        &self.inner.path
    }

    /// The first failure, if the device has failed.
    pub fn failure(&self) -> Option<&str> {
        self.inner.health.failure()
    }

    /// Whether it works, as all its handles see it.
    pub fn health(&self) -> &Arc<DeviceHealth> {
        &self.inner.health
    }

    /// Bytes of reads that the kernel works on for this handle, with those that nobody waits for any more.
    pub(crate) fn bytes_being_read(&self) -> usize {
        self.inner.file.bytes_being_read()
    }

    pub(crate) fn alignment(&self) -> usize {
        self.inner.superblock.alignment as usize
    }

    /// The segments of a partition: as many as the capacity allows, and those that the device has already, since a smaller
    /// capacity than before takes no segment away that is in use.
    pub(crate) async fn segment_map(&self, partition: u16) -> Result<SegmentMap, EngineError> {
        let superblock = &self.inner.superblock;
        let entry = superblock
            .partitions
            .iter()
            .find(|entry| entry.number == partition);
        let entry = entry.ok_or_else(|| {
            EngineError::Invalid(format!(
                "{} has no partition {partition}",
                self.inner.path.display()
            ))
        })?;
        let mut map = SegmentMap {
            first: entry.first_segment,
            stride: entry.stride,
            limit: superblock.log_segments,
            count: superblock.log_segments,
            segment_bytes: superblock.segment_bytes,
        };
        if entry.kind != PartitionKind::Log {
            let length = self.length().await?.saturating_sub(SEGMENTS_OFFSET);
            // The last segment of a file may still be growing. A block device has room for it or not.
            let there = match self.is_block_device() {
                true => length / map.segment_bytes,
                false => length.div_ceil(map.segment_bytes),
            };
            map.limit = self.data_segments_max(&map);
            map.count = map.limit.max(map.among(there));
        }
        Ok(map)
    }

    /// How many segments of a data partition the capacity allows now.
    pub(crate) fn data_segments_max(&self, map: &SegmentMap) -> u32 {
        let capacity = self.inner.health.capacity_bytes();
        map.among(capacity.saturating_sub(SEGMENTS_OFFSET) / map.segment_bytes)
    }

    /// Bytes that the file has now.
    pub(crate) async fn length(&self) -> Result<u64, EngineError> {
        let length = self.inner.file.length();
        Ok(self.inner.health.answered(&self.inner.path, length).await?)
    }

    /// How many bytes from an offset on have been written since the file was made, as far as the file system tells.
    pub(crate) async fn written_bytes(&self, offset: u64) -> u64 {
        let end = self.inner.file.hole_after(offset).await;
        end.map_or(0, |end| end.saturating_sub(offset))
    }

    pub(crate) async fn read(
        &self,
        buffer: Buffer,
        offset: u64,
        length: usize,
    ) -> Result<Buffer, EngineError> {
        self.judged_read(self.inner.file.read(buffer, offset, length))
            .await
    }

    /// Reads into two buffers in one operation.
    pub(crate) async fn read_scattered(
        &self,
        parts: [(Buffer, usize); 2],
        offset: u64,
    ) -> Result<[Buffer; 2], EngineError> {
        self.judged_read(self.inner.file.read_scattered(parts, offset))
            .await
    }

    async fn judged_read<T>(
        &self,
        reading: impl Future<Output = std::io::Result<T>>,
    ) -> Result<T, EngineError> {
        if self.inner.health.is_silent() {
            self.refuse_when_failed()?;
        }
        let read = self.timed(|of| &of.reads, reading).await;
        if read.is_err() && self.inner.health.is_silent() {
            self.refuse_when_failed()?;
        }
        self.inner.health.note_read(read.is_ok());
        Ok(read?)
    }

    /// Writes where the file may have to grow. That there is no space for it is no failure of the device.
    pub(crate) async fn write_new(
        &self,
        views: Vec<BufferView>,
        offset: u64,
    ) -> Result<(), EngineError> {
        self.refuse_when_failed()?;
        let writing = self.inner.file.write(views, offset);
        match self.timed(|of| &of.writes, writing).await {
            Err(error) if error.kind() == std::io::ErrorKind::StorageFull => {
                let what = format!("the file system of {}", self.inner.path.display());
                Err(EngineError::Full { what })
            }
            written => self.judge(written),
        }
    }

    /// Writes without a barrier.
    pub(crate) async fn write(
        &self,
        views: Vec<BufferView>,
        offset: u64,
    ) -> Result<(), EngineError> {
        self.refuse_when_failed()?;
        let writing = self.inner.file.write(views, offset);
        self.judge(self.timed(|of| &of.writes, writing).await)
    }

    /// Writes and returns after the barrier.
    pub(crate) async fn write_durable(
        &self,
        views: Vec<BufferView>,
        offset: u64,
    ) -> Result<(), EngineError> {
        self.refuse_when_failed()?;
        let writing = self.inner.file.write_durable(views, offset);
        self.judge(self.timed(|of| &of.durable_writes, writing).await)
    }

    pub(crate) async fn sync(&self) -> Result<(), EngineError> {
        self.refuse_when_failed()?;
        let flushing = self.inner.file.sync();
        self.judge(self.timed(|of| &of.flushes, flushing).await)
    }

    /// Waits for an operation as long as a device is waited for, and counts how long it takes.
    async fn timed<T>(
        &self,
        kind: impl FnOnce(&DeviceLatencies) -> &Latencies,
        operation: impl Future<Output = std::io::Result<T>>,
    ) -> std::io::Result<T> {
        let begun = reactor::now();
        let health = &self.inner.health;
        let outcome = health.answered(&self.inner.path, operation).await;
        kind(health.latencies()).note(reactor::now() - begun);
        outcome
    }

    /// The error of every write once the device has failed.
    pub(crate) fn refuse_when_failed(&self) -> Result<(), EngineError> {
        match self.failure() {
            None => Ok(()),
            Some(detail) => Err(EngineError::Failed {
                device: self.inner.path.display().to_string(),
                detail: detail.to_owned(),
            }),
        }
    }

    /// A write or flush that has succeeded counts only while no other has failed: a flush that failed beside it may have taken
    /// with it what this one was to make durable.
    fn judge(&self, outcome: std::io::Result<()>) -> Result<(), EngineError> {
        if let Err(error) = outcome
            && self.inner.health.fail(&error.to_string())
        {
            tracing::error!(path = %self.inner.path.display(), %error, "a write or flush has failed; the device takes no more writes");
        }
        self.refuse_when_failed()
    }
}
