//! A partition as an append-only log of segments: what data and log partitions share.
//!
//! Invariants:
//! - a position is a byte offset over the life of the partition: sequence number of the segment times its length, plus the offset
//!   in it;
//! - what is appended reaches the device in order, one batch at a time: one gathered write and one barrier for all that waited.
//!   So everything below the durable position is durable, and a hole can only lie above it;
//! - a segment's header is written together with its first records, after everything before it is durable;
//! - what a torn batch left behind never comes back: every opening for writing is a run with a higher number, which is durable
//!   before its first record, and behind a record of one run those of earlier runs do not count;
//! - a segment is written over in full before its first use, so that a flush of records changes no metadata of a file system; on a
//!   block device, which has none, it is not;
//! - after a failed write nothing is acknowledged any more.

mod capacity;
mod discard;
mod gather;
mod prepare;
mod scan;
mod window;

use std::cell::{Cell, RefCell};
use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use crate::device::{Device, view_of};
use crate::error::EngineError;
use crate::format::align_up;
use crate::format::anchor::Anchor;
use crate::format::layout::{BLOCK_BYTES, SegmentMap, anchor_offset};
use crate::format::record::{self, Origin};
use crate::format::segment::{Content, SegmentHeader};
use crate::reactor::local::{Mutex, Notify};
use crate::reactor::{self, BufferView, TaskClass};

pub use self::capacity::LogStatistics;
use self::gather::{GATHER_BYTES_MAX, Gathered};
use self::prepare::PREPARED_AHEAD;
pub(crate) use self::scan::ScannedLog;
use self::scan::{first_state, read_anchor, read_slots, reserve_of};
pub(crate) use self::window::{WINDOW_BYTES, Window};

/// The most that one batch gathers, in bytes and in pieces.
const BATCH_BYTES_MAX: u64 = 8 << 20;
const BATCH_PIECES_MAX: usize = 512;

/// Bytes on their way to the device.
enum Piece {
    /// A new segment begins in this slot.
    Header(u32, SegmentHeader),
    /// Small entries, gathered until the batch is taken.
    Gathered(Gathered),
    /// A header and its payload, both whole alignment units.
    Record(Vec<u8>, Vec<BufferView>),
}

impl Piece {
    /// Notes in the first record that everything below the position is durable.
    fn note_durable(&mut self, durable: u64) {
        match self {
            Piece::Header(_, header) => header.durable_before = durable,
            Piece::Gathered(gathered) => gathered.note_durable(durable),
            Piece::Record(header, _) => record::note_durable(header, durable),
        }
    }
}

struct Queued {
    position: u64,
    bytes: u64,
    piece: Piece,
}

/// What of a segment is needed to find and to write records in it.
#[derive(Debug, Clone, Copy)]
struct Segment {
    slot: u32,
    content: Content,
    salt: u64,
}

/// Which free segment a record may open when the present one has no room for it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Opens {
    /// A prepared one, of which more than so many are free.
    Prepared {
        /// How many others stay.
        keep: usize,
    },
    /// Any, for appends that cannot wait for one to be prepared; a prepared one once the file system has refused space.
    Any,
}

#[derive(Default)]
struct State {
    /// Segments in use, by sequence.
    in_use: BTreeMap<u64, Segment>,
    free: BTreeSet<u32>,
    /// How many segments the capacity allows; it grows when there is more space.
    limit: u32,
    /// Slots of which nothing is known, so that they may hold what is still needed, and one that is being discarded.
    withheld: BTreeSet<u32>,
    /// Slots that were given back in this run and hold what nobody needs.
    freed: BTreeSet<u32>,
    /// Where the records of sealed segments end, by sequence, as far as it is known.
    ends: BTreeMap<u64, u64>,
    /// Slots whose every byte has been written since the device was formatted.
    written: BTreeSet<u32>,
    /// A slot of which only so many bytes have been written, because there was no space for more.
    partly: Option<(u32, u64)>,
    /// The file system has refused space for a slot, and none has been prepared since.
    refused: bool,
    /// More than so many free segments are kept prepared.
    ahead: usize,
    next_sequence: u64,
    /// Where the next byte goes; `None` while no segment is open.
    cursor: Option<u64>,
    /// Where records end that were found at the start.
    recovered_end: u64,
    durable: u64,
    run: u32,
    queue: VecDeque<Queued>,
    failed: bool,
    closing: bool,
}

impl State {
    /// Free segments that can be used at once.
    fn prepared(&self) -> usize {
        self.free.intersection(&self.written).count()
    }

    fn first_unprepared(&self) -> Option<u32> {
        self.free.difference(&self.written).next().copied()
    }

    /// Notes where the records end of the segment before a new one.
    fn seal(&mut self, end: u64, segment_bytes: u64) {
        let sequence = end.saturating_sub(1) / segment_bytes;
        if self.in_use.contains_key(&sequence) {
            self.ends.insert(sequence, end);
        }
    }
}

pub(crate) struct SegmentLog {
    pub(crate) device: Device,
    pub(crate) partition: u16,
    pub(crate) map: SegmentMap,
    state: RefCell<State>,
    anchor: Mutex<Anchor>,
    /// The other anchor was damaged when the partition was opened: it may have been the newer one.
    anchor_may_be_old: bool,
    /// Held while a slot is written over for the first time.
    preparing: Mutex<()>,
    preparing_ahead: Cell<bool>,
    discarding: Cell<bool>,
    work: Notify,
    progress: Notify,
    statistics: Arc<LogStatistics>,
    writer: RefCell<Option<reactor::Task<()>>>,
    discarder: RefCell<Option<reactor::Task<()>>>,
}

impl SegmentLog {
    /// Reads anchor and segment headers. Nothing is written until [`SegmentLog::begin`].
    pub(crate) async fn open(
        device: &Device,
        partition: u16,
    ) -> Result<(Rc<SegmentLog>, ScannedLog), EngineError> {
        // What a killed process has written may still be in the device's cache: only after this may it be built upon.
        device.sync().await?;
        let mut map = device.segment_map(partition).await?;
        let (anchor, damaged_anchor) = read_anchor(device, partition).await?;
        if map.count > map.limit {
            map.count += reserve_of(&map, &anchor);
        }
        let slots = read_slots(device, &map, &anchor, partition).await?;
        let (state, mut found) = first_state(&map, anchor.clone(), slots);
        found.damaged_anchor = damaged_anchor;
        let log = SegmentLog {
            device: device.clone(),
            partition,
            map,
            state: RefCell::new(state),
            anchor: Mutex::new(anchor),
            anchor_may_be_old: found.damaged_anchor.is_some(),
            preparing: Mutex::new(()),
            preparing_ahead: Cell::new(false),
            discarding: Cell::new(false),
            work: Notify::new(),
            progress: Notify::new(),
            statistics: Arc::new(LogStatistics::default()),
            writer: RefCell::new(None),
            discarder: RefCell::new(None),
        };
        log.count_segments();
        Ok((Rc::new(log), found))
    }

    /// Begins to write, after recovery has found where the records end. The number of this run is made durable first.
    /// `whole`: the end is where the last run stopped, so that records can go on there.
    pub(crate) async fn begin(
        self: &Rc<Self>,
        recovered_end: u64,
        whole: bool,
    ) -> Result<(), EngineError> {
        // A damaged anchor may have held the number of a run that the other one does not know.
        let run = self.anchor.lock().await.run + 1 + u32::from(self.anchor_may_be_old);
        {
            let mut state = self.state.borrow_mut();
            (state.recovered_end, state.durable, state.run) = (recovered_end, recovered_end, run);
            let last = state
                .in_use
                .iter()
                .rev()
                .find(|(_, segment)| segment.content == Content::Records);
            let goes_on = last
                .is_some_and(|(sequence, _)| recovered_end / self.map.segment_bytes == *sequence);
            state.cursor = (goes_on && whole).then_some(recovered_end);
            state.ahead = PREPARED_AHEAD;
        }
        self.write_anchor(|anchor| anchor.run = run).await?;
        let log = self.clone();
        let writer = reactor::spawn(TaskClass::Foreground, async move {
            let mut ending = WriterEnds {
                log,
                why: "its writer was cut off".to_owned(),
            };
            ending.why = match ending.log.write_batches().await {
                Ok(()) => "it was told to close".to_owned(),
                Err(error) => error.to_string(),
            };
        });
        *self.writer.borrow_mut() = Some(writer);
        if self.open_room() == 0 {
            match self.prepare_more(0).await {
                // What is there can be read.
                Ok(()) | Err(EngineError::Full { .. }) => {}
                Err(error) => return Err(error),
            }
        }
        self.prepare_ahead();
        Ok(())
    }

    /// Changes the anchor and makes it durable; with that the change counts.
    pub(crate) async fn write_anchor(
        &self,
        change: impl FnOnce(&mut Anchor),
    ) -> Result<(), EngineError> {
        let mut current = self.anchor.lock().await;
        let mut anchor = current.clone();
        change(&mut anchor);
        anchor.generation += 1;
        {
            let state = self.state.borrow();
            (anchor.next_sequence, anchor.durable_position) = (state.next_sequence, state.durable);
        }
        let offset = anchor_offset(self.partition, (anchor.generation % 2) as usize);
        self.device
            .write_durable(vec![view_of(&anchor.encode())], offset)
            .await?;
        *current = anchor;
        Ok(())
    }

    /// The generation that the next checkpoint's pages get.
    pub(crate) async fn next_index_generation(&self) -> u64 {
        self.anchor.lock().await.index_generation + 1
    }

    pub(crate) fn statistics(&self) -> Arc<LogStatistics> {
        self.statistics.clone()
    }

    /// Everything below is durable.
    pub(crate) fn durable(&self) -> u64 {
        self.state.borrow().durable
    }

    /// The number of this run.
    pub(crate) fn run(&self) -> u32 {
        self.state.borrow().run
    }

    /// Where the next byte would go, if it went into the present segment.
    pub(crate) fn end(&self) -> u64 {
        let state = self.state.borrow();
        state.cursor.unwrap_or(state.recovered_end)
    }

    /// Whether so many bytes fit into the present segment.
    pub(crate) fn fits(&self, bytes: u64) -> bool {
        let state = self.state.borrow();
        state
            .cursor
            .is_some_and(|cursor| self.room_after(cursor) >= bytes)
    }

    /// Bytes that still fit into the present segment.
    pub(crate) fn open_room(&self) -> u64 {
        let cursor = self.state.borrow().cursor;
        cursor.map_or(0, |cursor| self.room_after(cursor))
    }

    fn room_after(&self, cursor: u64) -> u64 {
        let within = cursor % self.map.segment_bytes;
        if within == 0 {
            0
        } else {
            self.map.segment_bytes - within
        }
    }

    /// Gives the place of the next record of so many bytes, opening a segment where it must.
    ///
    /// # Errors
    /// [`EngineError::Full`] without a segment that may be opened, [`EngineError::Failed`] after a failed write,
    /// [`EngineError::Unavailable`] on a closed partition.
    pub(crate) fn reserve(&self, bytes: u64, opens: Opens) -> Result<Origin, EngineError> {
        self.refuse_when_stopped()?;
        if bytes > self.map.segment_bytes - BLOCK_BYTES as u64 {
            return Err(EngineError::Invalid(format!(
                "a record of {bytes} bytes does not fit a segment"
            )));
        }
        if !self.fits(bytes) {
            self.roll(opens)?;
        }
        let mut state = self.state.borrow_mut();
        let no_segment = || EngineError::Invalid("no segment is open".to_owned());
        let position = state.cursor.ok_or_else(no_segment)?;
        let segment = state
            .in_use
            .get(&(position / self.map.segment_bytes))
            .ok_or_else(no_segment)?;
        let origin = Origin {
            position,
            durable_before: state.durable,
            salt: segment.salt,
            run: state.run,
        };
        state.cursor = Some(position + bytes);
        Ok(origin)
    }

    /// Ends the present segment and opens the next one.
    fn roll(&self, opens: Opens) -> Result<(), EngineError> {
        self.close_gathering();
        let previous_end = self.end();
        let (sequence, segment) = self.take_segment(Content::Records, opens)?;
        let mut state = self.state.borrow_mut();
        let header = self.header(&state, sequence, segment, previous_end);
        state.seal(previous_end, self.map.segment_bytes);
        let position = sequence * self.map.segment_bytes;
        state.queue.push_back(Queued {
            position,
            bytes: BLOCK_BYTES as u64,
            piece: Piece::Header(segment.slot, header),
        });
        state.cursor = Some(position + BLOCK_BYTES as u64);
        drop(state);
        self.work.notify_one();
        Ok(())
    }

    /// The error of a partition without a free segment.
    pub(crate) fn full(&self) -> EngineError {
        EngineError::Full {
            what: format!(
                "{} partition {}",
                self.device.path().display(),
                self.partition
            ),
        }
    }

    fn header(
        &self,
        state: &State,
        sequence: u64,
        segment: Segment,
        previous_end: u64,
    ) -> SegmentHeader {
        let superblock = self.device.superblock();
        SegmentHeader {
            device: superblock.device.0,
            partition: self.partition,
            content: segment.content,
            sequence,
            previous_end,
            durable_before: state.durable,
            writer_node: superblock.writer_node,
            writer_epoch: superblock.writer_epoch,
            salt: segment.salt,
        }
    }

    fn take_segment(&self, content: Content, opens: Opens) -> Result<(u64, Segment), EngineError> {
        let mut state = self.state.borrow_mut();
        let prepared = state.free.intersection(&state.written).next().copied();
        let slot = match opens {
            Opens::Prepared { keep } => {
                state.ahead = state.ahead.max(keep);
                prepared.filter(|_| state.prepared() > keep)
            }
            Opens::Any if state.refused => prepared,
            Opens::Any => prepared.or_else(|| state.first_unprepared()),
        };
        let slot = slot.ok_or_else(|| self.full())?;
        state.free.remove(&slot);
        state.freed.remove(&slot);
        let sequence = state.next_sequence;
        state.next_sequence += 1;
        let segment = Segment {
            slot,
            content,
            salt: reactor::random_u64(),
        };
        state.in_use.insert(sequence, segment);
        drop(state);
        self.count_segments();
        Ok((sequence, segment))
    }

    /// A segment for index pages, with its header written: its number.
    pub(crate) async fn begin_index_segment(&self) -> Result<u32, EngineError> {
        self.prepare_more(0).await?;
        let opens = Opens::Prepared { keep: 0 };
        let (sequence, segment) = self.take_segment(Content::Index, opens)?;
        self.write_index_header(sequence, segment).await?;
        Ok(segment.slot)
    }

    /// Writes the headers of index segments anew that were damaged: the pages behind them are found without, and stay.
    pub(crate) async fn mend_index_headers(&self, found: &ScannedLog) -> Result<(), EngineError> {
        for sequence in found.mended.keys() {
            let segment = self.state.borrow().in_use.get(sequence).copied();
            if let Some(segment) = segment.filter(|segment| segment.content == Content::Index) {
                self.write_index_header(*sequence, segment).await?;
            }
        }
        Ok(())
    }

    async fn write_index_header(&self, sequence: u64, segment: Segment) -> Result<(), EngineError> {
        let header = {
            let state = self.state.borrow();
            self.header(&state, sequence, segment, state.durable)
        };
        let offset = self.map.offset(segment.slot);
        self.device
            .write(vec![view_of(&header.encode())], offset)
            .await
    }

    /// Gives segments back whose content nobody needs after the last anchor.
    pub(crate) fn release(&self, unneeded: impl Fn(u64, u32, Content) -> bool) -> usize {
        let mut state = self.state.borrow_mut();
        let present = state
            .cursor
            .map(|cursor| (cursor - 1) / self.map.segment_bytes);
        let gone: Vec<(u64, u32)> = state
            .in_use
            .iter()
            .filter(|(sequence, segment)| {
                Some(**sequence) != present && unneeded(**sequence, segment.slot, segment.content)
            })
            .map(|(sequence, segment)| (*sequence, segment.slot))
            .collect();
        for (sequence, slot) in &gone {
            state.in_use.remove(sequence);
            state.ends.remove(sequence);
            state.free.insert(*slot);
            state.freed.insert(*slot);
        }
        drop(state);
        self.count_segments();
        gone.len()
    }

    /// The record segments in use, by sequence.
    pub(crate) fn record_segments(&self) -> Vec<u64> {
        let state = self.state.borrow();
        let records = state
            .in_use
            .iter()
            .filter(|(_, segment)| segment.content == Content::Records);
        records.map(|(sequence, _)| *sequence).collect()
    }

    /// The slots of the record segments in use.
    pub(crate) fn record_slots(&self) -> BTreeSet<u32> {
        let state = self.state.borrow();
        let records = state
            .in_use
            .values()
            .filter(|segment| segment.content == Content::Records);
        records.map(|segment| segment.slot).collect()
    }

    /// Where the records of a sealed segment end; where it ends itself when that is not known.
    pub(crate) fn records_end(&self, sequence: u64) -> u64 {
        let known = self.known_end(sequence);
        known.unwrap_or((sequence + 1) * self.map.segment_bytes)
    }

    /// Where the records of a sealed segment end, when that is known.
    pub(crate) fn known_end(&self, sequence: u64) -> Option<u64> {
        self.state.borrow().ends.get(&sequence).copied()
    }

    /// Where a position lies on the device; `None` when its segment has been given back.
    pub(crate) fn device_offset(&self, position: u64) -> Option<u64> {
        let state = self.state.borrow();
        let segment = state.in_use.get(&(position / self.map.segment_bytes))?;
        Some(self.map.offset(segment.slot) + position % self.map.segment_bytes)
    }

    /// The salt of the segment of a position.
    pub(crate) fn salt(&self, position: u64) -> Option<u64> {
        let state = self.state.borrow();
        Some(state.in_use.get(&(position / self.map.segment_bytes))?.salt)
    }

    /// Queues a record at the position that was reserved for it in this turn. Header and views are whole alignment units.
    pub(crate) fn push_record(&self, position: u64, header: Vec<u8>, views: Vec<BufferView>) {
        let payload = views.iter().map(|view| view.len() as u64).sum::<u64>();
        let bytes = header.len() as u64 + payload;
        let piece = Piece::Record(header, views);
        self.state.borrow_mut().queue.push_back(Queued {
            position,
            bytes,
            piece,
        });
        self.work.notify_one();
    }

    /// Queues a small entry, appended by `encode`, at the position that was reserved for it in this turn. Entries that follow
    /// each other are gathered, in the memory that the device reads.
    pub(crate) fn push_gathered(&self, position: u64, encode: impl FnOnce(&mut Gathered)) {
        let mut state = self.state.borrow_mut();
        let follows = |last: &&mut Queued| {
            last.position + last.bytes == position
                && (last.bytes as usize) < GATHER_BYTES_MAX
                && matches!(last.piece, Piece::Gathered(_))
        };
        if state.queue.back_mut().filter(follows).is_none() {
            let piece = Piece::Gathered(Gathered::default());
            state.queue.push_back(Queued {
                position,
                bytes: 0,
                piece,
            });
        }
        if let Some(Queued {
            bytes,
            piece: Piece::Gathered(gathered),
            ..
        }) = state.queue.back_mut()
        {
            encode(gathered);
            *bytes = gathered.len() as u64;
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
        gathered.pad(padded as usize);
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
            }
            self.refuse_when_closed()?;
            self.progress.notified().await;
        }
    }

    /// The error of a partition that writes nothing any more; that of the device when it is the cause.
    pub(crate) fn refuse_when_stopped(&self) -> Result<(), EngineError> {
        self.device.refuse_when_failed()?;
        self.refuse_when_closed()
    }

    fn refuse_when_closed(&self) -> Result<(), EngineError> {
        if !self.state.borrow().failed {
            return Ok(());
        }
        self.device.refuse_when_failed()?;
        Err(EngineError::Unavailable(
            "the partition is closed".to_owned(),
        ))
    }

    /// Nothing is written any more: those who wait hear of it, and what is queued gives its buffers back.
    fn fail(&self, why: String) {
        self.statistics.closed.get_or_init(|| why);
        let unwritten = {
            let mut state = self.state.borrow_mut();
            state.failed = true;
            std::mem::take(&mut state.queue)
        };
        drop(unwritten);
        self.progress.notify_all();
    }

    /// Writes what is queued until the log closes or a write fails.
    async fn write_batches(self: &Rc<Self>) -> Result<(), EngineError> {
        loop {
            let batch = self.take_batch();
            if batch.is_empty() {
                if self.state.borrow().closing {
                    return Ok(());
                }
                self.work.notified().await;
                continue;
            }
            let opens = matches!(
                batch.first(),
                Some(Queued {
                    piece: Piece::Header(..),
                    ..
                })
            );
            let durable = self.write_batch(batch).await?;
            self.state.borrow_mut().durable = durable;
            self.progress.notify_all();
            if opens {
                self.after_opening().await?;
            }
        }
    }

    /// Notes in the anchor that a segment has been opened, so that its loss would be seen, and prepares the next one.
    async fn after_opening(self: &Rc<Self>) -> Result<(), EngineError> {
        self.prepare_ahead();
        self.write_anchor(|_| {}).await
    }

    /// Takes the pieces that lie one after the other on the device. The first says that all before it is durable, which it was
    /// not when it was queued: so damage there is never taken for a torn write.
    fn take_batch(&self) -> Vec<Queued> {
        self.close_gathering();
        let mut state = self.state.borrow_mut();
        let mut batch: Vec<Queued> = Vec::new();
        let (mut bytes, mut pieces) = (0, 0);
        while let Some(next) = state.queue.front() {
            // A segment that is full to its last byte ends where the next begins, but they lie apart.
            let opens = matches!(next.piece, Piece::Header(..));
            let follows = match batch.last() {
                None => true,
                Some(last) => !opens && last.position + last.bytes == next.position,
            };
            if !follows
                || bytes + next.bytes > BATCH_BYTES_MAX && !batch.is_empty()
                || pieces >= BATCH_PIECES_MAX
            {
                break;
            }
            bytes += next.bytes;
            pieces += match &next.piece {
                Piece::Header(..) => 1,
                Piece::Gathered(gathered) => gathered.block_count(),
                Piece::Record(_, views) => views.len() + 1,
            };
            batch.extend(state.queue.pop_front());
        }
        if let Some(first) = batch.first_mut() {
            first.piece.note_durable(state.durable);
        }
        batch
    }

    /// Writes a batch with its barrier; returns where it ends.
    async fn write_batch(&self, batch: Vec<Queued>) -> Result<u64, EngineError> {
        let Some((first, last)) = batch.first().zip(batch.last()) else {
            return Ok(self.durable());
        };
        let (start, end) = (first.position, last.position + last.bytes);
        if let Piece::Header(slot, _) = &first.piece {
            self.prepare_opened(*slot).await?;
        }
        let without = || EngineError::Invalid("a batch without a segment".to_owned());
        let offset = self.device_offset(start).ok_or_else(without)?;
        let views = views_of(batch);
        self.device.write_durable(views, offset).await?;
        self.statistics.batches.fetch_add(1, Ordering::Relaxed);
        self.statistics
            .bytes_written
            .fetch_add(end - start, Ordering::Relaxed);
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
        self.end_discarding().await;
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

/// However the writer ends, also by a panic: whoever waits for it hears of that.
struct WriterEnds {
    log: Rc<SegmentLog>,
    why: String,
}

impl Drop for WriterEnds {
    fn drop(&mut self) {
        self.log.fail(std::mem::take(&mut self.why));
    }
}

/// The pieces of a batch as views, headers copied into buffers.
fn views_of(batch: Vec<Queued>) -> Vec<BufferView> {
    let mut views = Vec::with_capacity(batch.len() * 2);
    for queued in batch {
        match queued.piece {
            Piece::Record(header, mut payload) => {
                views.push(view_of(&header));
                views.append(&mut payload);
            }
            Piece::Header(_, header) => views.push(view_of(&header.encode())),
            Piece::Gathered(gathered) => views.extend(gathered.into_views()),
        }
    }
    views
}

#[cfg(test)]
mod tests {
    use std::path::Path;
    use std::time::Duration;

    use super::*;
    use crate::device::{DeviceOptions, FormatOptions, format_device};
    use crate::id::Uuid;
    use crate::reactor::{ReactorConfig, Simulation, World};

    async fn log() -> Rc<SegmentLog> {
        let path = Path::new("/device");
        let options = FormatOptions {
            cluster: Uuid([1; 16]),
            device: Uuid([2; 16]),
            pool: Uuid([3; 16]),
            node: 1,
            data_partitions: 1,
            segment_bytes: 256 << 10,
            log_segments: 4,
            log_mirrors: Vec::new(),
        };
        format_device(path, options).await.expect("format");
        let options = DeviceOptions {
            capacity_bytes: 4 << 20,
            ..DeviceOptions::default()
        };
        let device = Device::open(path, options).await.expect("a device");
        let (log, found) = SegmentLog::open(&device, 0).await.expect("a log");
        log.begin(found.anchor.replay_from, true)
            .await
            .expect("a log to write");
        log
    }

    #[test]
    fn a_writer_that_ends_leaves_nobody_waiting() {
        let config = ReactorConfig {
            index: 0,
            core: None,
            name: "test".to_owned(),
            arena_bytes: 4 << 20,
            spin: Duration::ZERO,
        };
        let world = World::Simulated(Simulation::new(1));
        let outcome = reactor::run(config, world, async || {
            let log = log().await;
            let append = || log.reserve(4096, Opens::Any);
            let origin = append().expect("room");
            log.push_record(origin.position, vec![0; 4096], Vec::new());
            let waiting = log.wait_durable(origin.position + 4096);
            let ending = async {
                // Cancelled, it is dropped in the midst of its work, as by a panic.
                drop(log.writer.borrow_mut().take());
            };
            let (waited, ()) = futures_util::future::join(waiting, ending).await;
            assert!(
                matches!(waited, Err(EngineError::Unavailable(_))),
                "{waited:?}"
            );
            let refused = append();
            assert!(
                matches!(refused, Err(EngineError::Unavailable(_))),
                "{refused:?}"
            );
            assert!(log.state.borrow().queue.is_empty());
            assert!(log.statistics.closed().is_some(), "it says so");
        });
        outcome.expect("it is not stuck");
    }
}
