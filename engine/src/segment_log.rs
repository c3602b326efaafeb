//! A partition as an append-only log of segments: what data and log partitions share.
//!
//! Invariants:
//! - a position is a byte offset over the life of the partition: sequence number of the segment times its length, plus the offset
//!   in it. Sequence numbers are never used twice, not even by a run that crashed before anything of it was seen again;
//! - what is appended reaches the device in order, one batch at a time: one gathered write and one barrier for all that waited.
//!   So everything below the durable position is durable, and a hole can only lie above it;
//! - a segment's header is written together with its first records, after everything before it is durable;
//! - after a failed write nothing is acknowledged any more.

use std::cell::{Cell, RefCell};
use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use crate::device::{Device, view_of};
use crate::error::EngineError;
use crate::format::FormatError;
use crate::format::align_up;
use crate::format::anchor::Anchor;
use crate::format::layout::{BLOCK_BYTES, SegmentMap, anchor_offset};
use crate::format::segment::{Content, SegmentHeader};
use crate::reactor::local::Notify;
use crate::reactor::{self, BufferView, TaskClass};

/// The most that one batch gathers, in bytes and in pieces.
const BATCH_BYTES_MAX: u64 = 8 << 20;
const BATCH_PIECES_MAX: usize = 512;

/// Bytes of small entries that are gathered into one piece.
const GATHER_BYTES_MAX: usize = 512 << 10;

/// The largest piece of memory written at once.
const COPY_BYTES_MAX: usize = 1 << 20;

/// What a partition has done; read by other threads.
#[derive(Debug, Default)]
pub struct LogStatistics {
    /// Batches written.
    pub batches: AtomicU64,
    /// Bytes written, with headers and padding.
    pub bytes_written: AtomicU64,
    /// Nanoseconds spent in writes with their barrier.
    pub write_nanoseconds: AtomicU64,
    /// Segments that are free.
    pub free_segments: AtomicU64,
    /// Segments in all.
    pub total_segments: AtomicU64,
    /// Length of a segment, in bytes.
    pub segment_bytes: AtomicU64,
}

impl LogStatistics {
    /// Bytes of all segments of the partition.
    pub fn capacity_bytes(&self) -> u64 {
        self.total_segments.load(Ordering::Relaxed) * self.segment_bytes.load(Ordering::Relaxed)
    }

    /// Bytes of the segments in use.
    pub fn used_bytes(&self) -> u64 {
        let free =
            self.free_segments.load(Ordering::Relaxed) * self.segment_bytes.load(Ordering::Relaxed);
        self.capacity_bytes().saturating_sub(free)
    }
}

/// Bytes on their way to the device.
enum Piece {
    /// A new segment begins.
    Header(SegmentHeader),
    /// Small entries, gathered until the batch is taken.
    Gathered(Vec<u8>),
    /// A header and its payload, both whole alignment units.
    Record(Vec<u8>, Vec<BufferView>),
}

struct Queued {
    position: u64,
    bytes: u64,
    piece: Piece,
}

#[derive(Default)]
struct State {
    /// Segments in use: sequence -> number in the partition.
    in_use: BTreeMap<u64, (u32, Content)>,
    free: BTreeSet<u32>,
    next_sequence: u64,
    /// Where the next byte goes; `None` before the first append of this run.
    cursor: Option<u64>,
    /// Where records end that were found at the start.
    recovered_end: u64,
    durable: u64,
    queue: VecDeque<Queued>,
    failed: bool,
    closing: bool,
}

pub(crate) struct SegmentLog {
    pub(crate) device: Device,
    pub(crate) partition: u16,
    pub(crate) map: SegmentMap,
    state: RefCell<State>,
    anchor: RefCell<Anchor>,
    work: Notify,
    progress: Notify,
    statistics: Arc<LogStatistics>,
    writer: RefCell<Option<reactor::Task<()>>>,
    writing: Cell<bool>,
}

/// A segment found on the device.
#[derive(Debug, Clone, Copy)]
pub(crate) struct FoundSegment {
    pub(crate) header: SegmentHeader,
}

/// What the device holds, before the records are looked at.
pub(crate) struct FoundLog {
    pub(crate) anchor: Anchor,
    /// By sequence.
    pub(crate) segments: BTreeMap<u64, FoundSegment>,
}

impl SegmentLog {
    /// Reads anchor and segment headers. Nothing is written until [`SegmentLog::begin`].
    pub(crate) async fn open(
        device: &Device,
        partition: u16,
    ) -> Result<(Rc<SegmentLog>, FoundLog), EngineError> {
        let map = device.segment_map(partition)?;
        let anchor = read_anchor(device, partition).await?;
        let segments = read_segment_headers(device, partition, &map).await?;
        let mut state = State {
            free: (0..map.count).collect(),
            ..State::default()
        };
        let mut found = BTreeMap::new();
        for (slot, header) in segments {
            let index = header.content == Content::Index;
            let current = if index {
                anchor.index_segments.contains(&slot)
            } else {
                header.sequence >= 1
            };
            if current {
                state.free.remove(&slot);
                state.in_use.insert(header.sequence, (slot, header.content));
                found.insert(header.sequence, FoundSegment { header });
            }
        }
        let last = found.keys().next_back().copied().unwrap_or(0);
        state.next_sequence = anchor.next_sequence.max(last + 1) + 1;
        let log = SegmentLog {
            device: device.clone(),
            partition,
            map,
            state: RefCell::new(state),
            anchor: RefCell::new(anchor.clone()),
            work: Notify::new(),
            progress: Notify::new(),
            statistics: Arc::new(LogStatistics::default()),
            writer: RefCell::new(None),
            writing: Cell::new(false),
        };
        log.count_segments();
        Ok((
            Rc::new(log),
            FoundLog {
                anchor,
                segments: found,
            },
        ))
    }

    /// Empties the partition: replay begins behind every sequence number that it has seen.
    pub(crate) async fn erase(device: &Device, partition: u16) -> Result<(), EngineError> {
        let map = device.segment_map(partition)?;
        let before = match read_anchor(device, partition).await {
            Ok(anchor) => anchor,
            Err(EngineError::Corrupt { .. }) => Anchor {
                partition,
                ..Anchor::default()
            },
            Err(error) => return Err(error),
        };
        let headers = read_segment_headers(device, partition, &map).await?;
        let seen = headers
            .iter()
            .map(|(_, header)| header.sequence)
            .max()
            .unwrap_or(0);
        let next_sequence = before.next_sequence.max(seen + 1) + 1;
        let replay_from = next_sequence * map.segment_bytes;
        let anchor = Anchor {
            partition,
            generation: before.generation + 1,
            replay_from,
            durable_position: replay_from,
            next_sequence,
            ..Anchor::default()
        };
        for generation in [anchor.generation, anchor.generation + 1] {
            let anchor = Anchor {
                generation,
                ..anchor.clone()
            };
            let offset = anchor_offset(partition, (generation % 2) as usize);
            device
                .write_durable(vec![view_of(&anchor.encode()).await], offset)
                .await?;
        }
        Ok(())
    }

    /// Begins to write, after recovery has found where the records end. The sequence numbers of this run are made durable first.
    pub(crate) async fn begin(self: &Rc<Self>, recovered_end: u64) -> Result<(), EngineError> {
        {
            let mut state = self.state.borrow_mut();
            (state.recovered_end, state.durable) = (recovered_end, recovered_end);
        }
        self.write_anchor(|_| {}).await?;
        let log = self.clone();
        *self.writer.borrow_mut() = Some(reactor::spawn(TaskClass::Foreground, async move {
            log.write_batches().await
        }));
        Ok(())
    }

    /// Changes the anchor and makes it durable; with that the change counts.
    pub(crate) async fn write_anchor(
        &self,
        change: impl FnOnce(&mut Anchor),
    ) -> Result<(), EngineError> {
        let mut anchor = self.anchor.borrow().clone();
        change(&mut anchor);
        anchor.generation += 1;
        {
            let state = self.state.borrow();
            (anchor.next_sequence, anchor.durable_position) = (state.next_sequence, state.durable);
        }
        let offset = anchor_offset(self.partition, (anchor.generation % 2) as usize);
        self.device
            .write_durable(vec![view_of(&anchor.encode()).await], offset)
            .await?;
        *self.anchor.borrow_mut() = anchor;
        Ok(())
    }

    pub(crate) fn anchor(&self) -> Anchor {
        self.anchor.borrow().clone()
    }

    pub(crate) fn statistics(&self) -> Arc<LogStatistics> {
        self.statistics.clone()
    }

    /// Everything below is durable.
    pub(crate) fn durable(&self) -> u64 {
        self.state.borrow().durable
    }

    /// Where the next byte would go, if it went into the present segment.
    pub(crate) fn end(&self) -> u64 {
        let state = self.state.borrow();
        state.cursor.unwrap_or(state.recovered_end)
    }

    pub(crate) fn free_segments(&self) -> usize {
        self.state.borrow().free.len()
    }

    /// Whether so many bytes fit into the present segment.
    pub(crate) fn fits(&self, bytes: u64) -> bool {
        self.state
            .borrow()
            .cursor
            .is_some_and(|cursor| self.room_after(cursor) >= bytes)
    }

    fn room_after(&self, cursor: u64) -> u64 {
        let within = cursor % self.map.segment_bytes;
        if within == 0 {
            0
        } else {
            self.map.segment_bytes - within
        }
    }

    /// Gives the position of the next record of so many bytes, opening a segment where it must.
    ///
    /// # Errors
    /// [`EngineError::Full`] without a free segment, [`EngineError::Failed`] after a failed write.
    pub(crate) fn reserve(&self, bytes: u64) -> Result<u64, EngineError> {
        self.device.refuse_when_failed()?;
        if bytes > self.map.segment_bytes - BLOCK_BYTES as u64 {
            return Err(EngineError::Invalid(format!(
                "a record of {bytes} bytes does not fit a segment"
            )));
        }
        if !self.fits(bytes) {
            self.roll()?;
        }
        let mut state = self.state.borrow_mut();
        let cursor = state
            .cursor
            .ok_or_else(|| EngineError::Invalid("no segment is open".to_owned()))?;
        state.cursor = Some(cursor + bytes);
        Ok(cursor)
    }

    /// Ends the present segment and opens the next one. Returns the position of its first record.
    pub(crate) fn roll(&self) -> Result<u64, EngineError> {
        self.close_gathering();
        let previous_end = self.end();
        let (sequence, _) = self.take_segment(Content::Records)?;
        let mut state = self.state.borrow_mut();
        let header = self.header(&state, sequence, Content::Records, previous_end);
        let position = sequence * self.map.segment_bytes;
        let first = position + BLOCK_BYTES as u64;
        state.queue.push_back(Queued {
            position,
            bytes: BLOCK_BYTES as u64,
            piece: Piece::Header(header),
        });
        state.cursor = Some(first);
        drop(state);
        self.work.notify_one();
        Ok(first)
    }

    fn header(
        &self,
        state: &State,
        sequence: u64,
        content: Content,
        previous_end: u64,
    ) -> SegmentHeader {
        let superblock = self.device.superblock();
        SegmentHeader {
            device: superblock.device.0,
            partition: self.partition,
            content,
            sequence,
            previous_end,
            durable_before: state.durable,
            writer_node: superblock.writer_node,
            writer_epoch: superblock.writer_epoch,
        }
    }

    fn take_segment(&self, content: Content) -> Result<(u64, u32), EngineError> {
        let mut state = self.state.borrow_mut();
        let Some(slot) = state.free.pop_first() else {
            let what = format!(
                "{} partition {}",
                self.device.path().display(),
                self.partition
            );
            return Err(EngineError::Full { what });
        };
        let sequence = state.next_sequence;
        state.next_sequence += 1;
        state.in_use.insert(sequence, (slot, content));
        drop(state);
        self.count_segments();
        Ok((sequence, slot))
    }

    /// A segment for index pages: its number and where its pages begin on the device. Its header is written by the caller's
    /// first write, which is told the bytes.
    pub(crate) fn take_index_segment(&self) -> Result<(u32, u64, Vec<u8>), EngineError> {
        let (sequence, slot) = self.take_segment(Content::Index)?;
        let state = self.state.borrow();
        let header = self.header(&state, sequence, Content::Index, state.durable);
        Ok((slot, self.map.offset(slot), header.encode()))
    }

    /// Gives segments back whose content nobody needs after the last anchor.
    pub(crate) fn release(&self, unneeded: impl Fn(u64, u32, Content) -> bool) -> usize {
        let mut state = self.state.borrow_mut();
        let present = state.cursor.map(|cursor| cursor / self.map.segment_bytes);
        let gone: Vec<(u64, u32)> = state
            .in_use
            .iter()
            .filter(|(sequence, (slot, content))| {
                Some(**sequence) != present && unneeded(**sequence, *slot, *content)
            })
            .map(|(sequence, (slot, _))| (*sequence, *slot))
            .collect();
        for (sequence, slot) in &gone {
            state.in_use.remove(sequence);
            state.free.insert(*slot);
        }
        drop(state);
        self.count_segments();
        gone.len()
    }

    fn count_segments(&self) {
        self.statistics
            .free_segments
            .store(self.free_segments() as u64, Ordering::Relaxed);
        self.statistics
            .total_segments
            .store(u64::from(self.map.count), Ordering::Relaxed);
        self.statistics
            .segment_bytes
            .store(self.map.segment_bytes, Ordering::Relaxed);
    }

    /// The record segments in use, by sequence.
    pub(crate) fn record_segments(&self) -> Vec<u64> {
        let state = self.state.borrow();
        state
            .in_use
            .iter()
            .filter(|(_, (_, content))| *content == Content::Records)
            .map(|(sequence, _)| *sequence)
            .collect()
    }

    /// Where a position lies on the device; `None` when its segment has been given back.
    pub(crate) fn device_offset(&self, position: u64) -> Option<u64> {
        let state = self.state.borrow();
        let (slot, _) = state.in_use.get(&(position / self.map.segment_bytes))?;
        Some(self.map.offset(*slot) + position % self.map.segment_bytes)
    }

    /// Queues a record at the position that was reserved for it in this turn. Header and views are whole alignment units.
    pub(crate) fn push_record(&self, position: u64, header: Vec<u8>, views: Vec<BufferView>) {
        let bytes = header.len() as u64 + views.iter().map(|view| view.len() as u64).sum::<u64>();
        self.state.borrow_mut().queue.push_back(Queued {
            position,
            bytes,
            piece: Piece::Record(header, views),
        });
        self.work.notify_one();
    }

    /// Queues a small entry at the position that was reserved for it in this turn. Entries that follow each other are gathered.
    pub(crate) fn push_gathered(&self, position: u64, entry: &[u8]) {
        let mut state = self.state.borrow_mut();
        let follows = |last: &&mut Queued| {
            last.position + last.bytes == position && (last.bytes as usize) < GATHER_BYTES_MAX
        };
        let tail = state.queue.back_mut().filter(follows);
        match tail {
            Some(Queued {
                bytes,
                piece: Piece::Gathered(gathered),
                ..
            }) => {
                gathered.extend_from_slice(entry);
                *bytes += entry.len() as u64;
            }
            _ => {
                let piece = Piece::Gathered(entry.to_vec());
                state.queue.push_back(Queued {
                    position,
                    bytes: entry.len() as u64,
                    piece,
                });
            }
        }
        let full = state
            .queue
            .back()
            .is_some_and(|last| last.bytes as usize >= GATHER_BYTES_MAX);
        drop(state);
        if full {
            self.close_gathering();
        }
        self.work.notify_one();
    }

    /// Pads the last gathered piece to the alignment; what comes next begins behind the padding.
    fn close_gathering(&self) {
        let alignment = self.device.alignment() as u64;
        let mut state = self.state.borrow_mut();
        let Some(Queued {
            position,
            bytes,
            piece: Piece::Gathered(gathered),
        }) = state.queue.back_mut()
        else {
            return;
        };
        let padded = align_up(*bytes, alignment);
        gathered.resize(padded as usize, 0);
        *bytes = padded;
        let end = *position + padded;
        if state.cursor.is_some_and(|cursor| cursor < end) {
            state.cursor = Some(end);
        }
    }

    /// Returns when everything below the position is durable.
    ///
    /// # Errors
    /// [`EngineError::Failed`] when a write has failed: whether the bytes are durable is unknown.
    pub(crate) async fn wait_durable(&self, position: u64) -> Result<(), EngineError> {
        loop {
            {
                let state = self.state.borrow();
                if state.durable >= position {
                    return Ok(());
                }
                if state.failed {
                    drop(state);
                    self.device.refuse_when_failed()?;
                    return Err(EngineError::Unavailable(
                        "the partition is closed".to_owned(),
                    ));
                }
            }
            self.progress.notified().await;
        }
    }

    async fn write_batches(self: Rc<Self>) {
        loop {
            let batch = self.take_batch();
            if batch.is_empty() {
                if self.state.borrow().closing {
                    return;
                }
                self.work.notified().await;
                continue;
            }
            self.writing.set(true);
            let outcome = self.write_batch(batch).await;
            self.writing.set(false);
            let mut state = self.state.borrow_mut();
            match outcome {
                Ok(durable) => state.durable = durable,
                Err(_) => state.failed = true,
            }
            let failed = state.failed;
            drop(state);
            self.progress.notify_all();
            if failed {
                return;
            }
        }
    }

    /// Takes the pieces that lie one after the other on the device.
    fn take_batch(&self) -> Vec<Queued> {
        self.close_gathering();
        let mut state = self.state.borrow_mut();
        let mut batch: Vec<Queued> = Vec::new();
        let (mut bytes, mut pieces) = (0, 0);
        while let Some(next) = state.queue.front() {
            // A segment that is full to its last byte ends where the next begins, but they lie apart.
            let follows = batch.last().is_none_or(|last| {
                last.position + last.bytes == next.position
                    && !matches!(next.piece, Piece::Header(_))
            });
            if !follows
                || bytes + next.bytes > BATCH_BYTES_MAX && !batch.is_empty()
                || pieces >= BATCH_PIECES_MAX
            {
                break;
            }
            bytes += next.bytes;
            pieces += if let Piece::Record(_, views) = &next.piece {
                views.len() + 1
            } else {
                1
            };
            batch.extend(state.queue.pop_front());
        }
        batch
    }

    /// Writes a batch with its barrier; returns where it ends.
    async fn write_batch(&self, batch: Vec<Queued>) -> Result<u64, EngineError> {
        let Some((first, last)) = batch.first().zip(batch.last()) else {
            return Ok(self.durable());
        };
        let (start, end) = (first.position, last.position + last.bytes);
        let offset = self
            .device_offset(start)
            .ok_or_else(|| EngineError::Invalid("a batch without a segment".to_owned()))?;
        let mut views = Vec::with_capacity(batch.len() * 2);
        for queued in batch {
            match queued.piece {
                Piece::Record(header, mut payload) => {
                    views.push(view_of(&header).await);
                    views.append(&mut payload);
                }
                Piece::Header(header) => views.push(view_of(&header.encode()).await),
                Piece::Gathered(bytes) => {
                    for part in bytes.chunks(COPY_BYTES_MAX) {
                        views.push(view_of(part).await);
                    }
                }
            }
        }
        let before = reactor::now();
        self.device.write_durable(views, offset).await?;
        let took = (reactor::now() - before).as_nanos() as u64;
        self.statistics.batches.fetch_add(1, Ordering::Relaxed);
        self.statistics
            .bytes_written
            .fetch_add(end - start, Ordering::Relaxed);
        self.statistics
            .write_nanoseconds
            .fetch_add(took, Ordering::Relaxed);
        Ok(end)
    }

    /// Writes what is queued and ends the writer.
    pub(crate) async fn close(&self) {
        self.state.borrow_mut().closing = true;
        self.work.notify_one();
        let writer = self.writer.borrow_mut().take();
        if let Some(writer) = writer {
            writer.await;
        }
        self.state.borrow_mut().failed = true;
        self.progress.notify_all();
    }

    /// Where something of this partition lies, for people.
    pub(crate) fn place(&self, position: u64) -> String {
        format!(
            "{} partition {} position {position}",
            self.device.path().display(),
            self.partition
        )
    }
}

async fn read_anchor(device: &Device, partition: u16) -> Result<Anchor, EngineError> {
    let mut best: Option<Anchor> = None;
    let mut damage = FormatError::Field("no anchor");
    for slot in 0..2 {
        let offset = anchor_offset(partition, slot);
        let block = device
            .read(reactor::allocate(BLOCK_BYTES).await, offset, BLOCK_BYTES)
            .await?;
        match Anchor::decode(&block) {
            Ok(anchor)
                if best
                    .as_ref()
                    .is_none_or(|best| anchor.generation > best.generation) =>
            {
                best = Some(anchor)
            }
            Ok(_) => {}
            Err(error) => damage = error,
        }
    }
    let place = || {
        format!(
            "{} anchor of partition {partition}",
            device.path().display()
        )
    };
    best.ok_or_else(|| EngineError::from_format(place(), damage))
}

async fn read_segment_headers(
    device: &Device,
    partition: u16,
    map: &SegmentMap,
) -> Result<Vec<(u32, SegmentHeader)>, EngineError> {
    let length = device.length().await?;
    let mut found = Vec::new();
    for slot in 0..map.count {
        let offset = map.offset(slot);
        if offset + BLOCK_BYTES as u64 > length {
            continue;
        }
        let block = device
            .read(reactor::allocate(BLOCK_BYTES).await, offset, BLOCK_BYTES)
            .await?;
        match SegmentHeader::decode(&block) {
            Ok(header)
                if header.partition == partition
                    && header.device == device.superblock().device.0 =>
            {
                found.push((slot, header))
            }
            Err(FormatError::NewerFormat { features }) => {
                return Err(EngineError::NewerFormat { features });
            }
            Ok(_) | Err(_) => {}
        }
    }
    Ok(found)
}
