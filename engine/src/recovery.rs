//! Start of a data partition: anchor, the pages above the leaves of its index, then the records after the checkpoint.
//!
//! Invariants: replay is bounded by the tail since the last checkpoint; a record that is damaged at or below a position that
//! anything later shows to have been durable is reported as corruption and left out, never silently; above it, it is a torn tail
//! and cut. What was cut never comes back: records carry the number of the run that wrote them (see `segment_log`).

mod index_pages;
mod rebuild;

use std::cell::{Cell, RefCell};
use std::collections::{BTreeMap, BTreeSet};
use std::ops::ControlFlow;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use crate::device::Device;
use crate::error::EngineError;
use crate::format::layout::BLOCK_BYTES;
use crate::format::record::{self, Body, RecordHeader, ShardHeader};
use crate::format::segment::Content;
use crate::format::{FormatError, align_up};
use crate::id::ShardId;
use crate::index::{Index, IndexOptions, Pinned};
use crate::reactor;
use crate::reactor::local::{Mutex, Notify};
use crate::segment_log::{ScannedLog, SegmentLog, WINDOW_BYTES, Window};
use crate::store::{ChunkStore, ChunkStoreStatistics, Inner};
use rebuild::Missing;

/// What a start has found.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct RecoveryReport {
    /// Entries of the index pages, as the anchor says.
    pub index_entries: u64,
    /// Whether pages of the index were damaged, so that it was built again.
    pub index_rebuilt: bool,
    /// Records replayed after the checkpoint; all records where index pages were damaged.
    pub records_replayed: u64,
    /// Whether a torn tail was cut.
    pub torn_tail: bool,
    /// What was durable once and is damaged now.
    pub damage: Vec<String>,
    /// What was damaged and has cost nothing: an anchor of which the other one counts, which this start has written anew, or the
    /// header of a segment in which nothing lived any more.
    pub mended: Vec<String>,
}

/// What lies at a position.
enum Found {
    Record(Box<RecordHeader>, u64),
    /// The header is good, the payload is not.
    Damaged(Box<RecordHeader>, u64, String),
    Bad(String),
    /// The device could not read it: no torn write looks so.
    Unreadable(String),
}

/// The part of a segment that is replayed.
struct Walk<'a> {
    start: u64,
    segment_end: u64,
    /// Where the next segment says that this one ends.
    known_end: Option<u64>,
    /// What the anchor knows to be durable.
    durable: u64,
    /// The run of the last record: those of earlier runs do not count behind it.
    run: u32,
    /// A later segment was begun: all of this one is durable, even where nobody says where it ends.
    sealed: bool,
    /// The segment lies before the checkpoint and is only walked for the entries that are missing in the index. Payloads are
    /// not looked at.
    missing: Option<&'a Missing>,
}

impl ChunkStore {
    /// Opens a data partition and recovers it.
    ///
    /// # Errors
    /// A damaged anchor, a newer format, a device whose anchor cannot be read.
    pub async fn open(
        device: &Device,
        partition: u16,
    ) -> Result<(ChunkStore, RecoveryReport), EngineError> {
        ChunkStore::open_with(device, partition, IndexOptions::default()).await
    }

    /// As [`ChunkStore::open`], with an index that is held in another way.
    pub(crate) async fn open_with(
        device: &Device,
        partition: u16,
        options: IndexOptions,
    ) -> Result<(ChunkStore, RecoveryReport), EngineError> {
        let (log, found) = SegmentLog::open(device, partition).await?;
        let statistics = ChunkStoreStatistics {
            log: log.statistics(),
            ..ChunkStoreStatistics::default()
        };
        let inner = Inner {
            fence: RefCell::default(),
            index: Rc::new(RefCell::new(first_index(options, &log, &found))),
            index_damage: Cell::new(None),
            rebuild_tried: Cell::new(None),
            checkpoint_failed: Cell::new(false),
            log,
            under_way: RefCell::new(BTreeMap::new()),
            kept: RefCell::new(BTreeSet::new()),
            maintenance: Mutex::new(()),
            maintenance_wanted: Notify::new(),
            maintenance_done: Notify::new(),
            replay_from: Cell::new(found.anchor.replay_from),
            exhausted_at: Cell::new(None),
            fruitless_rounds: Cell::new(0),
            closing: Cell::new(false),
            statistics: Arc::new(statistics),
            background: RefCell::new(None),
        };
        let store = ChunkStore {
            inner: Rc::new(inner),
        };
        let mut report = RecoveryReport::default();
        report.mended.extend(found.damaged_anchor.clone());
        store.load_index(&found, &mut report).await?;
        let (end, missing) = store.replay(&found, &mut report).await?;
        let rebuilt = report.index_rebuilt;
        store.judge_slots(&found, missing || rebuilt, &mut report);
        store
            .inner
            .log
            .begin(end, end >= found.anchor.durable_position)
            .await?;
        store.inner.log.mend_index_headers(&found).await?;
        store.release_dead();
        store.count_index();
        let corruptions = (report.damage.len() + report.mended.len()) as u64;
        store
            .inner
            .statistics
            .corruptions
            .fetch_add(corruptions, Ordering::Relaxed);
        if rebuilt && let Err(error) = store.checkpoint().await {
            tracing::warn!(%error, partition, "the index that was built again could not be written; the next start builds it again");
        }
        store.start_maintenance();
        Ok((store, report))
    }

    /// Says what damaged segment headers have cost. Slots that say nothing are free when nothing is missing.
    fn judge_slots(&self, found: &ScannedLog, mut missing: bool, report: &mut RecoveryReport) {
        let log = &self.inner.log;
        let first = found.anchor.replay_from / log.map.segment_bytes;
        let index = self.inner.index.borrow();
        let records: BTreeSet<u64> = log.record_segments().into_iter().collect();
        for (sequence, detail) in &found.mended {
            if *sequence >= first || index.live_bytes(*sequence) > 0 || !records.contains(sequence)
            {
                report.damage.push(format!("{}: {detail}", log.place(0)));
            } else {
                report.mended.push(format!("{}: {detail}", log.place(0)));
            }
        }
        for (sequence, live) in index.live_segments() {
            if !records.contains(&sequence) {
                missing = true;
                let place = log.place(sequence * log.map.segment_bytes);
                let detail = format!("the segment is missing, with {live} bytes of records");
                report.damage.push(format!("{place}: {detail}"));
            }
        }
        for unknown in &found.unknown {
            if missing || !unknown.readable {
                let detail = &unknown.detail;
                report.damage.push(format!("{}: {detail}", log.place(0)));
            }
        }
        if !missing {
            log.free_unknown(found);
        }
    }

    /// Walks the records after the checkpoint in order; returns where they end, and whether some are missing.
    async fn replay(
        &self,
        found: &ScannedLog,
        report: &mut RecoveryReport,
    ) -> Result<(u64, bool), EngineError> {
        let segment_bytes = self.inner.log.map.segment_bytes;
        let (from, durable) = (found.anchor.replay_from, found.anchor.durable_position);
        let tail: Vec<(u64, u64)> = found
            .segments
            .iter()
            .filter(|(sequence, header)| {
                header.content == Content::Records && **sequence >= from / segment_bytes
            })
            .map(|(sequence, header)| (*sequence, header.previous_end))
            .collect();
        let (mut end, mut missing) = (from, false);
        for (at, (sequence, previous_end)) in tail.iter().enumerate() {
            if *previous_end > end {
                missing = true;
                report.damage.push(self.missing(end, *previous_end));
            }
            let first = sequence * segment_bytes + BLOCK_BYTES as u64;
            let walk = Walk {
                start: first.max(from),
                segment_end: (sequence + 1) * segment_bytes,
                known_end: tail
                    .get(at + 1)
                    .map(|(_, end)| (*end).min((sequence + 1) * segment_bytes))
                    .filter(|end| *end >= first),
                durable,
                run: if first < from {
                    found.anchor.replay_run
                } else {
                    0
                },
                sealed: at + 1 < tail.len(),
                missing: None,
            };
            end = self.replay_segment(walk, report).await?;
        }
        if durable > end {
            missing = true;
            report.damage.push(self.missing(end, durable));
        }
        Ok((end, missing))
    }

    fn missing(&self, from: u64, to: u64) -> String {
        format!(
            "{}: the records from here to {to} are missing",
            self.inner.log.place(from)
        )
    }

    async fn replay_segment(
        &self,
        mut walk: Walk<'_>,
        report: &mut RecoveryReport,
    ) -> Result<u64, EngineError> {
        let log = self.inner.log.clone();
        let mut window = match walk.missing {
            None => Window::new(log),
            Some(_) => Window::narrow(log),
        };
        let mut position = walk.start;
        while position < walk.known_end.unwrap_or(walk.segment_end) {
            let mut readable = true;
            let (detail, after) = match self.look_at(position, &walk, &mut window).await? {
                Found::Record(header, bytes) => {
                    self.replay_record(position, &header, &walk, report).await?;
                    report.records_replayed += 1;
                    walk.run = header.origin.run;
                    position += bytes;
                    reactor::yield_if_due().await;
                    continue;
                }
                Found::Damaged(header, bytes, detail) => (detail, Some((header, bytes))),
                Found::Bad(detail) => (detail, None),
                Found::Unreadable(detail) => {
                    readable = false;
                    (detail, None)
                }
            };
            match self.after_damage(position, &walk, &mut window).await? {
                ControlFlow::Break(torn) => {
                    report.torn_tail |= torn && readable;
                    if !readable {
                        report
                            .damage
                            .push(format!("{}: {detail}", self.inner.log.place(position)));
                    }
                    return Ok(position);
                }
                ControlFlow::Continue(next) => {
                    report
                        .damage
                        .push(format!("{}: {detail}", self.inner.log.place(position)));
                    position = match after {
                        None => next,
                        // It stays in the index, so that reading it says so.
                        Some((header, bytes)) => {
                            self.replay_record(position, &header, &walk, report).await?;
                            position + bytes
                        }
                    };
                }
            }
        }
        Ok(position)
    }

    async fn replay_record(
        &self,
        position: u64,
        header: &RecordHeader,
        walk: &Walk<'_>,
        report: &mut RecoveryReport,
    ) -> Result<(), EngineError> {
        if let Some(missing) = walk.missing {
            missing.enter(position, &header.body);
            return Ok(());
        }
        let ids: &[ShardId] = match &header.body {
            Body::Shard(shard) => &[shard.id],
            Body::Tombstones(ids) => ids,
        };
        let mut pinned = Pinned::reserve(&self.inner.index, 0);
        while let Err(error) = self.pin(ids, &mut pinned).await {
            if self.inner.index_damage.get().is_none() {
                return Err(error);
            }
            pinned = Pinned::reserve(&self.inner.index, 0);
            Box::pin(self.rebuild_from(Vec::new(), report)).await?;
        }
        self.enter(position, &header.body);
        Ok(())
    }

    /// Decides what a bad record is: the torn tail (stop), or damage (go on at the next good record).
    async fn after_damage(
        &self,
        bad: u64,
        walk: &Walk<'_>,
        window: &mut Window,
    ) -> Result<ControlFlow<bool, u64>, EngineError> {
        let alignment = self.inner.log.device.alignment() as u64;
        let mut position = bad + alignment;
        while let Some(next) = self.next_claim(position, walk, window).await? {
            let later = self.look_at(next, walk, window).await?;
            if let Found::Record(header, _) | Found::Damaged(header, ..) = later
                && (walk.sealed || header.origin.durable_before > bad || walk.durable > bad)
            {
                return Ok(ControlFlow::Continue(next));
            }
            position = next + alignment;
        }
        match walk.known_end {
            Some(end) => Ok(ControlFlow::Continue(end)),
            None if walk.sealed => Ok(ControlFlow::Break(false)),
            None if walk.durable > bad => {
                Ok(ControlFlow::Continue(walk.durable.min(walk.segment_end)))
            }
            // What was never written claims nothing.
            None => Ok(ControlFlow::Break(self.claims(bad, walk, window).await?)),
        }
    }

    /// The next position that claims to begin a record.
    async fn next_claim(
        &self,
        from: u64,
        walk: &Walk<'_>,
        window: &mut Window,
    ) -> Result<Option<u64>, EngineError> {
        let end = walk.known_end.unwrap_or(walk.segment_end);
        for position in (from..end).step_by(self.inner.log.device.alignment()) {
            if self.claims(position, walk, window).await? {
                return Ok(Some(position));
            }
            reactor::yield_if_due().await;
        }
        Ok(None)
    }

    /// Whether what lies at a position claims to be a record that belongs there.
    async fn claims(
        &self,
        position: u64,
        walk: &Walk<'_>,
        window: &mut Window,
    ) -> Result<bool, EngineError> {
        let alignment = self.inner.log.device.alignment();
        match window.at(position, alignment, walk.segment_end).await {
            Ok(head) => {
                let claim = record::claim(head, alignment);
                Ok(claim.is_some_and(|claim| claim.position == position))
            }
            Err(EngineError::Io(error)) => {
                if let Some(missing) = walk.missing {
                    missing.note_unreadable(error.to_string());
                }
                Ok(false)
            }
            Err(error) => Err(error),
        }
    }

    /// Reads and verifies the record at a position.
    async fn look_at(
        &self,
        position: u64,
        walk: &Walk<'_>,
        window: &mut Window,
    ) -> Result<Found, EngineError> {
        let header = match self.record_header_at(position, walk, window).await {
            Ok(Ok(header)) => header,
            Ok(Err(detail)) => return Ok(Found::Bad(detail)),
            Err(EngineError::Io(error)) => {
                if let Some(missing) = walk.missing {
                    missing.note_unreadable(error.to_string());
                }
                return Ok(Found::Unreadable(error.to_string()));
            }
            Err(error) => return Err(error),
        };
        let alignment = self.inner.log.device.alignment() as u64;
        let payload = position + u64::from(header.header_bytes);
        let end = payload + align_up(u64::from(header.body.payload_bytes()), alignment);
        if end > walk.segment_end {
            return Ok(Found::Bad(
                "the record is longer than its segment".to_owned(),
            ));
        }
        let damage = match &header.body {
            Body::Shard(shard) if walk.missing.is_none() => {
                payload_damage(shard, payload, walk.segment_end, window).await?
            }
            Body::Shard(_) | Body::Tombstones(_) => None,
        };
        let (header, bytes) = (Box::new(header), end - position);
        Ok(match damage {
            None => Found::Record(header, bytes),
            Some(detail) => Found::Damaged(header, bytes, detail),
        })
    }

    /// The header of the record at a position, or why there is none.
    async fn record_header_at(
        &self,
        position: u64,
        walk: &Walk<'_>,
        window: &mut Window,
    ) -> Result<Result<RecordHeader, String>, EngineError> {
        let bad = |detail: &str| Ok(Err(detail.to_owned()));
        let log = &self.inner.log;
        let alignment = log.device.alignment();
        let head = window.at(position, alignment, walk.segment_end).await?;
        if head.len() < alignment {
            return bad("nothing was written here");
        }
        let Some(claim) = record::claim(head, alignment) else {
            return bad("no record begins here");
        };
        let length = claim.header_bytes as usize;
        if claim.position != position || position + length as u64 > walk.segment_end {
            return bad("a record of another time begins here");
        }
        let whole = window.at(position, length, walk.segment_end).await?;
        let header = match record::decode_header(whole) {
            Ok(header) => header,
            // The salt shows that it is no client who says so.
            Err(FormatError::OtherFormat { features })
                if Some(claim.salt) == log.salt(position) =>
            {
                return Err(EngineError::OtherFormat { features });
            }
            Err(error) => return Ok(Err(error.to_string())),
        };
        if Some(header.origin.salt) != log.salt(position) || header.origin.run < walk.run {
            return bad("a record of another time begins here");
        }
        Ok(Ok(header))
    }
}

/// An index over the segments that the anchor names. One that holds records is none of them, whatever the anchor says: pages
/// written there would lie over records. Those that the trees have there are lost.
fn first_index(options: IndexOptions, log: &SegmentLog, found: &ScannedLog) -> Index {
    let named: BTreeSet<u32> = found.anchor.index_segments.iter().copied().collect();
    let records = log.record_slots();
    let is_index = |slot: &u32| *slot < log.map.count && !records.contains(slot);
    let slots = named.into_iter().filter(is_index);
    Index::new(options, log.map.segment_bytes, slots)
}

/// What is wrong with the payload of a record, if anything is. It lies at a position in a segment that ends at `end`.
async fn payload_damage(
    shard: &ShardHeader,
    position: u64,
    end: u64,
    window: &mut Window,
) -> Result<Option<String>, EngineError> {
    let cell = shard.cell_bytes as usize;
    if cell == 0 || cell > WINDOW_BYTES || !cell.is_power_of_two() {
        return Ok(Some(format!("cells of {cell} bytes")));
    }
    let mut crcs = shard.cell_crcs.iter();
    let mut done = 0;
    while done < shard.payload_bytes as usize {
        let length = (shard.payload_bytes as usize - done).min(WINDOW_BYTES);
        let bytes = match window.at(position + done as u64, length, end).await {
            Ok(bytes) if bytes.len() == length => bytes,
            Ok(_) => return Ok(Some("it is cut short".to_owned())),
            Err(EngineError::Io(error)) => return Ok(Some(error.to_string())),
            Err(error) => return Err(error),
        };
        let matching = bytes
            .chunks(cell)
            .all(|cell| crcs.next() == Some(&crc32c::crc32c(cell)));
        if !matching {
            return Ok(Some("the CRC of a cell does not match".to_owned()));
        }
        done += length;
    }
    Ok(None)
}
