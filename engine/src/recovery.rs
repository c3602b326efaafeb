//! Start of a data partition: anchor, index pages, then the records after the checkpoint.
//!
//! Invariants: replay is bounded by the tail since the last checkpoint; a record that is damaged at or below a position that
//! anything later shows to have been durable is reported as corruption and left out, never silently; above it, it is a torn tail
//! and cut. Records of this run go to a new segment, so what was cut never comes back.

use std::cell::{Cell, RefCell};
use std::collections::BTreeSet;
use std::ops::ControlFlow;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use crate::device::Device;
use crate::error::EngineError;
use crate::format::align_up;
use crate::format::layout::BLOCK_BYTES;
use crate::format::page::{self, PAGE_BYTES};
use crate::format::record::{self, Body, RecordHeader, ShardHeader};
use crate::format::segment::Content;
use crate::index::Index;
use crate::reactor::local::{Mutex, Notify};
use crate::reactor::{self, Buffer};
use crate::segment_log::{FoundLog, SegmentLog};
use crate::store::{ChunkStore, ChunkStoreStatistics, Inner};

/// What a start has found.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct RecoveryReport {
    /// Entries read from index pages.
    pub index_entries: u64,
    /// Records replayed after the checkpoint.
    pub records_replayed: u64,
    /// Whether a torn tail was cut.
    pub torn_tail: bool,
    /// What was durable once and is damaged now.
    pub damage: Vec<String>,
}

/// How much is read at a time while records are walked.
const WINDOW_BYTES: usize = 1 << 20;

/// What lies at a position.
enum Found {
    Record(Box<RecordHeader>, u64),
    Bad(String),
}

impl ChunkStore {
    /// Opens a data partition and recovers it.
    ///
    /// # Errors
    /// A damaged anchor or index page, a newer format, a device that cannot be read.
    pub async fn open(
        device: &Device,
        partition: u16,
    ) -> Result<(ChunkStore, RecoveryReport), EngineError> {
        let (log, found) = SegmentLog::open(device, partition).await?;
        let statistics = ChunkStoreStatistics {
            log: log.statistics(),
            ..ChunkStoreStatistics::default()
        };
        let inner = Inner {
            index: RefCell::new(Index::new(log.map.segment_bytes)),
            log,
            under_way: RefCell::new(BTreeSet::new()),
            settled: Notify::new(),
            freeing: RefCell::new(BTreeSet::new()),
            kept: RefCell::new(BTreeSet::new()),
            upkeep: Mutex::new(()),
            upkeep_wanted: Notify::new(),
            upkeep_done: Notify::new(),
            replay_from: Cell::new(found.anchor.replay_from),
            closing: Cell::new(false),
            statistics: Arc::new(statistics),
            background: RefCell::new(None),
        };
        let store = ChunkStore {
            inner: Rc::new(inner),
        };
        let mut report = RecoveryReport::default();
        store.load_index(&found, &mut report).await?;
        let end = store.replay(&found, &mut report).await?;
        store.release_dead(&found);
        store.inner.log.begin(end).await?;
        store.count_index();
        let corruptions = report.damage.len() as u64;
        store
            .inner
            .statistics
            .corruptions
            .fetch_add(corruptions, Ordering::Relaxed);
        store.start_upkeep();
        Ok((store, report))
    }

    async fn load_index(
        &self,
        found: &FoundLog,
        report: &mut RecoveryReport,
    ) -> Result<(), EngineError> {
        let map = &self.inner.log.map;
        let mut number = 0;
        for slot in &found.anchor.index_segments {
            if *slot >= map.count {
                return Err(EngineError::corrupt(
                    self.inner.log.place(0),
                    "the anchor names a segment beyond the partition",
                ));
            }
            let mut offset = map.offset(*slot) + BLOCK_BYTES as u64;
            let end = map.offset(*slot) + map.segment_bytes;
            while offset < end && number < found.anchor.page_count {
                let pages =
                    (found.anchor.page_count - number).min((end - offset) / PAGE_BYTES as u64);
                let length = (pages as usize * PAGE_BYTES).min(WINDOW_BYTES);
                let window = self.read_exactly(offset, length).await?;
                for bytes in window.chunks_exact(PAGE_BYTES) {
                    self.load_page(bytes, &found.anchor.index_generation, number, report)?;
                    number += 1;
                }
                offset += length as u64;
                reactor::yield_if_due().await;
            }
        }
        if number != found.anchor.page_count || report.index_entries != found.anchor.entry_count {
            return Err(EngineError::corrupt(
                self.inner.log.place(0),
                "the index has fewer pages or entries than its anchor says",
            ));
        }
        Ok(())
    }

    fn load_page(
        &self,
        bytes: &[u8],
        generation: &u64,
        number: u64,
        report: &mut RecoveryReport,
    ) -> Result<(), EngineError> {
        let place = || format!("{} index page {number}", self.inner.log.place(0));
        let entries = page::decode(bytes, *generation, number)
            .map_err(|error| EngineError::from_format(place(), error))?;
        report.index_entries += entries.len() as u64;
        let mut index = self.inner.index.borrow_mut();
        entries
            .into_iter()
            .try_for_each(|(id, entry)| index.insert(id, entry))
    }

    /// Walks the records after the checkpoint in order; returns where they end.
    async fn replay(
        &self,
        found: &FoundLog,
        report: &mut RecoveryReport,
    ) -> Result<u64, EngineError> {
        let segment_bytes = self.inner.log.map.segment_bytes;
        let from = found.anchor.replay_from;
        let records = found
            .segments
            .iter()
            .filter(|(_, segment)| segment.header.content == Content::Records);
        let tail: Vec<(u64, u64)> = records
            .filter(|(sequence, _)| **sequence >= from / segment_bytes)
            .map(|(sequence, segment)| (*sequence, segment.header.previous_end))
            .collect();
        let mut end = from;
        for (at, (sequence, _)) in tail.iter().enumerate() {
            let start = (sequence * segment_bytes + BLOCK_BYTES as u64).max(from);
            let known_end = tail.get(at + 1).map(|(_, previous_end)| *previous_end);
            end = self
                .replay_segment(start, known_end, found.anchor.durable_position, report)
                .await?;
        }
        Ok(end)
    }

    async fn replay_segment(
        &self,
        start: u64,
        known_end: Option<u64>,
        durable: u64,
        report: &mut RecoveryReport,
    ) -> Result<u64, EngineError> {
        let segment_end =
            (start / self.inner.log.map.segment_bytes + 1) * self.inner.log.map.segment_bytes;
        let mut position = start;
        while position < known_end.unwrap_or(segment_end) {
            match self.look_at(position, segment_end).await? {
                Found::Record(header, bytes) => {
                    self.enter(header.position, &header.body)?;
                    report.records_replayed += 1;
                    position += bytes;
                }
                Found::Bad(detail) => match self
                    .after_damage(position, segment_end, known_end, durable)
                    .await?
                {
                    ControlFlow::Break(torn) => {
                        report.torn_tail |= torn;
                        return Ok(position);
                    }
                    ControlFlow::Continue(next) => {
                        report
                            .damage
                            .push(format!("{}: {detail}", self.inner.log.place(position)));
                        position = next;
                    }
                },
            }
            reactor::yield_if_due().await;
        }
        Ok(position)
    }

    /// Decides what a bad record is: the torn tail (stop), or damage (go on at the next good record).
    async fn after_damage(
        &self,
        bad: u64,
        segment_end: u64,
        known_end: Option<u64>,
        durable: u64,
    ) -> Result<ControlFlow<bool, u64>, EngineError> {
        let alignment = self.inner.log.device.alignment() as u64;
        let mut position = bad + alignment;
        while position < known_end.unwrap_or(segment_end) {
            if let Found::Record(header, _) = self.look_at(position, segment_end).await?
                && (known_end.is_some() || header.durable_before > bad || durable > bad)
            {
                return Ok(ControlFlow::Continue(position));
            }
            position += alignment;
            reactor::yield_if_due().await;
        }
        match known_end {
            Some(end) => Ok(ControlFlow::Continue(end)),
            None if durable > bad => Ok(ControlFlow::Continue(durable.min(segment_end))),
            None => Ok(ControlFlow::Break(self.anything_at(bad).await?)),
        }
    }

    /// Whether a place holds more than what was never written.
    async fn anything_at(&self, position: u64) -> Result<bool, EngineError> {
        let Some(head) = self.head_at(position).await? else {
            return Ok(false);
        };
        Ok(record::claim(&head, self.inner.log.device.alignment())
            .is_some_and(|claim| claim.position == position))
    }

    async fn head_at(&self, position: u64) -> Result<Option<Buffer>, EngineError> {
        let Some(offset) = self.inner.log.device_offset(position) else {
            return Ok(None);
        };
        let length = self.inner.log.device.alignment();
        let head = self
            .inner
            .log
            .device
            .read(reactor::allocate(length).await, offset, length)
            .await?;
        Ok((head.len() == length).then_some(head))
    }

    /// Reads and verifies the record at a position.
    async fn look_at(&self, position: u64, segment_end: u64) -> Result<Found, EngineError> {
        let bad = |detail: &str| Ok(Found::Bad(detail.to_owned()));
        let Some(head) = self.head_at(position).await? else {
            return bad("nothing was written here");
        };
        let alignment = self.inner.log.device.alignment();
        let Some(claim) = record::claim(&head, alignment) else {
            return bad("no record begins here");
        };
        if claim.position != position || position + u64::from(claim.header_bytes) > segment_end {
            return bad("a record of another time begins here");
        }
        let offset = self
            .inner
            .log
            .device_offset(position)
            .ok_or(EngineError::NotFound)?;
        let header = match claim.header_bytes as usize {
            length if length <= head.len() => head,
            length => match self.read_exactly(offset, length).await {
                Ok(header) => header,
                Err(EngineError::Corrupt { detail, .. }) => return Ok(Found::Bad(detail)),
                Err(error) => return Err(error),
            },
        };
        let header = match record::decode_header(&header) {
            Ok(header) => header,
            Err(error) => return Ok(Found::Bad(error.to_string())),
        };
        let bytes = u64::from(header.header_bytes)
            + align_up(u64::from(header.body.payload_bytes()), alignment as u64);
        if position + bytes > segment_end {
            return bad("the record is longer than its segment");
        }
        match &header.body {
            Body::Shard(shard) => {
                if let Some(detail) = self
                    .payload_damage(shard, offset + u64::from(header.header_bytes))
                    .await?
                {
                    return Ok(Found::Bad(detail));
                }
            }
            Body::Tombstones(_) => {}
        }
        Ok(Found::Record(Box::new(header), bytes))
    }

    /// What is wrong with the payload of a record, if anything is.
    pub(crate) async fn payload_damage(
        &self,
        shard: &ShardHeader,
        offset: u64,
    ) -> Result<Option<String>, EngineError> {
        let alignment = self.inner.log.device.alignment() as u64;
        let cell = shard.cell_bytes as usize;
        if cell == 0 || cell > WINDOW_BYTES || !cell.is_power_of_two() {
            return Ok(Some(format!("cells of {cell} bytes")));
        }
        let mut crcs = shard.cell_crcs.iter();
        let mut done = 0;
        while done < shard.payload_bytes as usize {
            let length = (shard.payload_bytes as usize - done).min(WINDOW_BYTES);
            let padded = align_up(length as u64, alignment) as usize;
            let window = match self.read_exactly(offset + done as u64, padded).await {
                Ok(window) => window,
                Err(EngineError::Corrupt { detail, .. }) => return Ok(Some(detail)),
                Err(error) => return Err(error),
            };
            let matching = window[..length]
                .chunks(cell)
                .all(|cell| crcs.next() == Some(&crc32c::crc32c(cell)));
            if !matching {
                return Ok(Some("the CRC of a cell does not match".to_owned()));
            }
            done += length;
        }
        Ok(None)
    }

    /// Segments before the checkpoint without a live record are free.
    fn release_dead(&self, found: &FoundLog) {
        let index = self.inner.index.borrow();
        let first = found.anchor.replay_from / self.inner.log.map.segment_bytes;
        self.inner.log.release(|sequence, _, content| {
            content == Content::Records && sequence < first && index.live_bytes(sequence) == 0
        });
    }
}
