//! The read path of a data partition: index, device, verification.
//!
//! Invariant: a byte is handed on only after the CRC of its cell has been checked against the record's header, whose own CRC and
//! identity have been checked first.

use std::ops::Range;
use std::sync::atomic::Ordering;

use crate::error::EngineError;
use crate::format::page::IndexEntry;
use crate::format::record::{self, Body, FIXED_BYTES, ShardHeader};
use crate::format::{FormatError, align_up};
use crate::id::{Owner, ShardId};
use crate::payload::{CELL_BYTES, Payload};
use crate::reactor::{self, BUFFER_BYTES_MAX, Buffer, BufferView};
use crate::store::{ChunkStore, ShardWrite};

/// Where a read takes its memory from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Memory {
    /// The arena, in the order of the requests.
    InTurn,
    /// The arena, or the system when it is empty: writes that hold the arena wait for what is read.
    AtOnce,
}

impl Memory {
    async fn take(self, bytes: usize) -> Buffer {
        match self {
            Memory::InTurn => reactor::allocate(bytes).await,
            Memory::AtOnce => reactor::allocate_now(bytes),
        }
    }
}

/// The length of the cells of a record, as its header has it. It is also the guess with which the length of a header is computed
/// before it is read.
const CELL: u32 = CELL_BYTES as u32;

/// A shard that is no longer than this is read with its header in one operation of the device, where it is read from its beginning: at
/// 64 KiB that takes 0.92 of the processor time of two operations, at 256 KiB 0.95. What is longer is read into buffers that the
/// kernel knows, which two buffers at once cannot be.
const SHORT_SHARD_BYTES_MAX: u32 = 256 << 10;

impl ChunkStore {
    /// Reads a range of a shard's payload.
    ///
    /// # Errors
    /// [`EngineError::NotFound`] for a shard that is not here or has been freed, [`EngineError::Corrupt`] when the bytes do not
    /// match, [`EngineError::Invalid`] for a range beyond the payload.
    pub async fn read(
        &self,
        id: ShardId,
        range: Range<u32>,
    ) -> Result<Vec<BufferView>, EngineError> {
        self.read_into(Memory::InTurn, id, range).await
    }

    pub(crate) async fn read_into(
        &self,
        memory: Memory,
        id: ShardId,
        range: Range<u32>,
    ) -> Result<Vec<BufferView>, EngineError> {
        let mut entry = self.entry_of(id).await?.ok_or(EngineError::NotFound)?;
        if range.start > range.end || range.end > entry.payload_bytes {
            return Err(EngineError::Invalid(format!(
                "{id}: {range:?} of {} bytes",
                entry.payload_bytes
            )));
        }
        let views = loop {
            let error = match self.read_record(memory, id, entry, range.clone()).await {
                Ok(views) => break views,
                Err(error) => error,
            };
            // Compaction may have moved the record, and a free may have dropped it, while the read was under way.
            match self.entry_of(id).await? {
                None => return Err(EngineError::NotFound),
                Some(now) if now != entry => entry = now,
                Some(_) => return Err(self.counted(error)),
            }
        };
        let statistics = &self.inner.statistics;
        statistics.reads.fetch_add(1, Ordering::Relaxed);
        Ok(views)
    }

    /// All of a shard, as it was given to [`ChunkStore::write`], to be written elsewhere.
    ///
    /// # Errors
    /// As [`ChunkStore::read`].
    pub async fn take_over(&self, id: ShardId) -> Result<ShardWrite, EngineError> {
        let header = self.header(id).await?;
        let views = self.read(id, 0..header.payload_bytes).await?;
        Ok(ShardWrite {
            id,
            geometry: header.geometry,
            layout_epoch: header.layout_epoch,
            slot_mask: header.slot_mask,
            introduces: false,
            chunk_bytes: header.chunk_bytes,
            owner: header.owner,
            payload: Payload::of(views),
        })
    }

    /// Whose bytes a shard holds, as the header of its record says.
    ///
    /// # Errors
    /// As [`ChunkStore::read`].
    pub async fn owner(&self, id: ShardId) -> Result<Owner, EngineError> {
        Ok(self.header(id).await?.owner)
    }

    async fn header(&self, id: ShardId) -> Result<ShardHeader, EngineError> {
        let mut entry = self.entry_of(id).await?.ok_or(EngineError::NotFound)?;
        loop {
            let error = match self.read_header(id, entry).await {
                Ok(header) => return Ok(header),
                Err(error) => error,
            };
            // As for a read.
            match self.entry_of(id).await? {
                None => return Err(EngineError::NotFound),
                Some(now) if now != entry => entry = now,
                Some(_) => return Err(self.counted(error)),
            }
        }
    }

    async fn read_header(
        &self,
        id: ShardId,
        entry: IndexEntry,
    ) -> Result<ShardHeader, EngineError> {
        let log = &self.inner.log;
        let offset = log.device_offset(entry.position).ok_or_else(|| {
            EngineError::corrupt(log.place(entry.position), "its segment is missing")
        })?;
        let bytes = header_bytes_guess(entry.payload_bytes, log.device.alignment());
        let reading = self.read_exactly(Memory::InTurn, offset, bytes as usize);
        let header = reading.await?;
        self.checked_header(id, entry, &header)
    }

    pub(crate) fn counted(&self, error: EngineError) -> EngineError {
        if matches!(error, EngineError::Corrupt { .. }) {
            self.inner
                .statistics
                .corruptions
                .fetch_add(1, Ordering::Relaxed);
        }
        error
    }

    async fn read_record(
        &self,
        memory: Memory,
        id: ShardId,
        entry: IndexEntry,
        range: Range<u32>,
    ) -> Result<Vec<BufferView>, EngineError> {
        let log = &self.inner.log;
        let alignment = log.device.alignment();
        let offset = log.device_offset(entry.position).ok_or_else(|| {
            EngineError::corrupt(log.place(entry.position), "its segment is missing")
        })?;
        let header_bytes = header_bytes_guess(entry.payload_bytes, alignment);
        let cells = range.start / CELL..range.end.div_ceil(CELL);
        let start = cells.start * CELL;
        let end = (cells.end * CELL).min(entry.payload_bytes);
        let payload_offset = offset + u64::from(header_bytes) + u64::from(start);
        let payload_bytes = align_up(u64::from(end - start), alignment as u64) as usize;
        let is_short = (1..=SHORT_SHARD_BYTES_MAX).contains(&entry.payload_bytes);
        let (header, pieces) = if start == 0 && is_short {
            let header_bytes = header_bytes as usize;
            self.read_at_once(memory, offset, header_bytes, payload_bytes)
                .await?
        } else {
            let header = self.read_exactly(memory, offset, header_bytes as usize);
            let pieces = self.read_pieces(memory, payload_offset, payload_bytes);
            let (header, pieces) = futures_util::future::join(header, pieces).await;
            (header?, pieces?)
        };
        let header = self.checked_header(id, entry, &header)?;
        self.verify(&header, entry, cells, pieces, end - start)
            .await
            .map(|views| cut(views, (range.start - start) as usize, range.len()))
    }

    fn checked_header(
        &self,
        id: ShardId,
        entry: IndexEntry,
        bytes: &[u8],
    ) -> Result<ShardHeader, EngineError> {
        let place = || self.inner.log.place(entry.position);
        let header = record::decode_header(bytes)
            .map_err(|error| EngineError::from_format(place(), error))?;
        match header.body {
            Body::Shard(shard)
                if header.origin.position == entry.position
                    && shard.id == id
                    && shard.cell_bytes == CELL =>
            {
                Ok(shard)
            }
            _ => Err(EngineError::corrupt(
                place(),
                FormatError::Field("another record lies here"),
            )),
        }
    }

    async fn verify(
        &self,
        header: &ShardHeader,
        entry: IndexEntry,
        cells: Range<u32>,
        pieces: Vec<Buffer>,
        bytes: u32,
    ) -> Result<Vec<BufferView>, EngineError> {
        let mut crcs = header
            .cell_crcs
            .iter()
            .skip(cells.start as usize)
            .zip(cells);
        let mut left = bytes as usize;
        let mut views = Vec::with_capacity(pieces.len());
        for mut piece in pieces {
            let length = piece.len().min(left);
            piece.set_len(length);
            left -= length;
            for cell in piece.chunks(CELL_BYTES) {
                let Some((expected, number)) = crcs.next() else {
                    return Err(EngineError::corrupt(
                        self.inner.log.place(entry.position),
                        "fewer cells than bytes",
                    ));
                };
                let found = crc32c::crc32c(cell);
                if found != *expected {
                    let detail = format!(
                        "cell {number}: CRC32C {found:08x} where {expected:08x} is expected"
                    );
                    return Err(EngineError::corrupt(
                        self.inner.log.place(entry.position),
                        detail,
                    ));
                }
            }
            views.push(piece.freeze());
            reactor::yield_if_due().await;
        }
        Ok(views)
    }

    /// Reads a header and all of what is read of the payload behind it.
    async fn read_at_once(
        &self,
        memory: Memory,
        offset: u64,
        header_bytes: usize,
        payload_bytes: usize,
    ) -> Result<(Buffer, Vec<Buffer>), EngineError> {
        let (header, payload) = (memory.take(header_bytes), memory.take(payload_bytes));
        let (header, payload) = futures_util::future::join(header, payload).await;
        let parts = [(header, header_bytes), (payload, payload_bytes)];
        let device = &self.inner.log.device;
        let [header, payload] = device.read_scattered(parts, offset).await?;
        let payload_offset = offset + header_bytes as u64;
        Ok((
            self.counted_whole(header, offset, header_bytes)?,
            vec![self.counted_whole(payload, payload_offset, payload_bytes)?],
        ))
    }

    /// Reads in pieces of whole cells, each into one buffer.
    async fn read_pieces(
        &self,
        memory: Memory,
        offset: u64,
        bytes: usize,
    ) -> Result<Vec<Buffer>, EngineError> {
        let mut pieces = Vec::new();
        let mut done = 0;
        while done < bytes {
            let length = (bytes - done).min(BUFFER_BYTES_MAX / 2);
            let piece = self.read_exactly(memory, offset + done as u64, length);
            pieces.push(piece.await?);
            done += length;
        }
        Ok(pieces)
    }

    pub(crate) async fn read_exactly(
        &self,
        memory: Memory,
        offset: u64,
        bytes: usize,
    ) -> Result<Buffer, EngineError> {
        let buffer = memory.take(bytes).await;
        let buffer = self.inner.log.device.read(buffer, offset, bytes).await?;
        self.counted_whole(buffer, offset, bytes)
    }

    /// Counts what was read, and refuses what is cut short.
    fn counted_whole(
        &self,
        buffer: Buffer,
        offset: u64,
        bytes: usize,
    ) -> Result<Buffer, EngineError> {
        self.inner
            .statistics
            .bytes_read
            .fetch_add(buffer.len() as u64, Ordering::Relaxed);
        if buffer.len() < bytes {
            let place = format!("{} offset {offset}", self.inner.log.device.path().display());
            return Err(EngineError::corrupt(
                place,
                format!("{} bytes where {bytes} are expected", buffer.len()),
            ));
        }
        Ok(buffer)
    }
}

/// The length of a shard's header with cells of the usual length.
fn header_bytes_guess(payload_bytes: u32, alignment: usize) -> u32 {
    let cells = payload_bytes.div_ceil(CELL) as usize;
    align_up((FIXED_BYTES + cells * 4) as u64, alignment as u64) as u32
}

/// The bytes from `skip` on, `length` of them.
fn cut(views: Vec<BufferView>, skip: usize, length: usize) -> Vec<BufferView> {
    let (mut skip, mut left) = (skip, length);
    let mut kept = Vec::with_capacity(views.len());
    for view in views {
        let from = skip.min(view.len());
        let to = (from + left).min(view.len());
        skip -= from;
        left -= to - from;
        if from < to {
            kept.push(view.slice(from..to));
        }
    }
    kept
}
