//! The journal of a log partition: opaque records, appended in order, durable in groups.
//!
//! Invariants: a record is returned only after its CRC has been checked; records become durable in the order in which they were
//! appended; what a torn tail held is never seen again (see `segment_log`); damage below a position that
//! anything later shows to have been durable is an error that names the place, never a shorter log.

mod walk;

use std::cell::Cell;
use std::rc::Rc;
use std::sync::Arc;

use crate::device::Device;
use crate::error::EngineError;
use crate::format::align_up;
use crate::format::entry;
use crate::format::layout::BLOCK_BYTES;
use crate::format::segment::Content;
use crate::reactor;
use crate::segment_log::{LogStatistics, Opens, ScannedLog, SegmentLog};
use walk::{Step, Walk};

/// A byte position over the life of the partition; grows with every append.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct JournalPosition(pub u64);

/// The journal of one log partition. Cheap to clone, stays on its reactor.
#[derive(Clone)]
pub struct Journal {
    inner: Rc<Inner>,
}

struct Inner {
    log: Rc<SegmentLog>,
    /// Records below are given up.
    trimmed: Cell<u64>,
    /// The segments that were found, in order: where each begins and where its records end.
    found: Vec<(u64, u64)>,
    /// What was damaged when it was opened and has cost nothing.
    mended: Vec<String>,
}

/// What is called for each record of a replay: where it lies, what it is, its body.
pub type Visit<'a> = dyn FnMut(JournalPosition, u8, &[u8]) -> Result<(), EngineError> + 'a;

/// Records of one content of which a replay reads only how the body begins. That beginning is not verified: a
/// [`Journal::read`] of the record verifies the whole.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct HeadsOf {
    /// The content of the records.
    pub content: u8,
    /// How many bytes of the body are visited, at most.
    pub bytes: usize,
}

/// The longest body, in bytes.
pub const JOURNAL_BODY_BYTES_MAX: usize = 3 << 20;

impl Journal {
    /// Opens the journal and finds its tail.
    ///
    /// # Errors
    /// [`EngineError::Corrupt`] for damage that is no torn tail, a newer format, a device that cannot be read.
    pub async fn open(device: &Device, partition: u16) -> Result<Journal, EngineError> {
        let opened = SegmentLog::open(device, partition).await;
        let (log, found) = opened.inspect_err(|error| {
            if matches!(error, EngineError::Corrupt { .. }) {
                device.health().note_corruption();
            }
        })?;
        let trimmed = found.anchor.replay_from;
        let extents = find_extents(&log, &found).await?;
        log.free_unknown(&found);
        let end = extents.last().map_or(trimmed, |(_, end)| *end);
        let first = trimmed / log.map.segment_bytes;
        log.release(|sequence, _, _| sequence < first);
        log.begin(end, true).await?;
        let mended = what_cost_nothing(&found);
        mended
            .iter()
            .for_each(|_| device.health().note_corruption());
        Ok(Journal {
            inner: Rc::new(Inner {
                log,
                trimmed: Cell::new(trimmed),
                found: extents,
                mended,
            }),
        })
    }

    /// What was damaged when it was opened and has cost nothing: an anchor of which the other one counts, which has been written
    /// anew, or a slot that is not used because the device cannot read how it begins.
    pub fn mended(&self) -> &[String] {
        &self.inner.mended
    }

    /// Visits every record that was there when the journal was opened, from the trim position on. Records of `heads` are
    /// visited with the beginning of their bodies, and the rest of them is not read.
    ///
    /// # Errors
    /// What the visitor returns; those of reading.
    pub async fn replay(
        &self,
        heads: Option<HeadsOf>,
        visit: &mut Visit<'_>,
    ) -> Result<(), EngineError> {
        for (start, end) in &self.inner.found {
            if *end <= self.inner.trimmed.get() {
                continue;
            }
            let mut walk = Walk::new(self.inner.log.clone(), *start);
            walk.heads = heads;
            while walk.position < *end {
                match walk.next(*end).await? {
                    Step::Entry(header) if header.origin.position < self.inner.trimmed.get() => {}
                    Step::Entry(header) => visit(
                        JournalPosition(header.origin.position),
                        header.content,
                        walk.body(),
                    )?,
                    Step::Padding => {}
                    Step::Bad(detail) => {
                        return Err(corrupt(&self.inner.log, walk.position, detail));
                    }
                }
                reactor::yield_if_due().await;
            }
        }
        Ok(())
    }

    /// Appends a record; it is durable after a [`Journal::flush`] up to its position.
    ///
    /// # Errors
    /// [`EngineError::Full`] when the quota or the file system is used up, [`EngineError::Failed`] on a failed device, [`EngineError::Invalid`] for a
    /// body longer than [`JOURNAL_BODY_BYTES_MAX`].
    pub fn append(&self, content: u8, body: &[u8]) -> Result<JournalPosition, EngineError> {
        if body.len() > JOURNAL_BODY_BYTES_MAX {
            return Err(EngineError::Invalid(format!(
                "a journal record of {} bytes",
                body.len()
            )));
        }
        let log = &self.inner.log;
        let origin = log
            .reserve(entry::entry_bytes(body.len()), Opens::Any)
            // The file system may have space again.
            .inspect_err(|_| log.prepare_ahead())?;
        log.push_gathered(origin.position, |out| {
            entry::encode(content, origin, body, |part| out.extend(part))
        });
        Ok(JournalPosition(origin.position))
    }

    /// Returns when the record at the position and all before it are durable.
    ///
    /// # Errors
    /// [`EngineError::Failed`] when a write has failed: what it covered is unknown.
    pub async fn flush(&self, up_to: JournalPosition) -> Result<(), EngineError> {
        self.inner.log.wait_durable(up_to.0 + 1).await
    }

    /// Reads a record that is durable.
    ///
    /// # Errors
    /// [`EngineError::NotFound`] below the trim position, [`EngineError::Corrupt`] when it does not verify.
    pub async fn read(&self, at: JournalPosition) -> Result<(u8, Vec<u8>), EngineError> {
        let mut walk = Walk::one(self.inner.log.clone(), at.0);
        let content = self.read_here(&mut walk).await?;
        Ok((content, walk.body().to_vec()))
    }

    /// Reads records that are durable and lie close together, in ascending order: what lies between them is read as well,
    /// so that it takes few operations. Visits each with its place in `places`.
    ///
    /// # Errors
    /// Those of [`Journal::read`], for the first that cannot be read; those before it have been visited.
    pub async fn read_each(
        &self,
        places: &[JournalPosition],
        visit: &mut (dyn FnMut(usize, u8, &[u8]) + '_),
    ) -> Result<(), EngineError> {
        let Some(first) = places.first() else {
            return Ok(());
        };
        let mut walk = Walk::new(self.inner.log.clone(), first.0);
        for (number, place) in places.iter().enumerate() {
            walk.go_to(place.0);
            let content = self.read_here(&mut walk).await?;
            visit(number, content, walk.body());
            reactor::yield_if_due().await;
        }
        Ok(())
    }

    /// The content of the record at the walk's position, which becomes its body.
    async fn read_here(&self, walk: &mut Walk) -> Result<u8, EngineError> {
        let (log, at) = (&self.inner.log, walk.position);
        if at < self.inner.trimmed.get() || log.device_offset(at).is_none() {
            return Err(EngineError::NotFound);
        }
        match walk.next(log.durable()).await? {
            Step::Entry(header) => Ok(header.content),
            Step::Padding => Err(corrupt(log, at, "no record begins here")),
            Step::Bad(detail) => Err(corrupt(log, at, detail)),
        }
    }

    /// Gives up the records below a position; durable on return. Their space comes back by whole segments.
    ///
    /// # Errors
    /// [`EngineError::Failed`] on a failed device.
    pub async fn trim(&self, below: JournalPosition) -> Result<(), EngineError> {
        let log = &self.inner.log;
        let to = below.0.min(log.end());
        if to <= self.inner.trimmed.get() {
            return Ok(());
        }
        log.write_anchor(|anchor| anchor.replay_from = to).await?;
        self.inner.trimmed.set(to);
        let first = to / log.map.segment_bytes;
        log.release(|sequence, _, _| sequence < first);
        Ok(())
    }

    /// Bytes that can still be appended before the quota is used, about.
    pub fn room_bytes(&self) -> u64 {
        let log = &self.inner.log;
        log.free_segments() as u64 * log.map.segment_bytes + log.open_room()
    }

    /// Length of a segment, in bytes: no record lies in two, and space comes back by whole ones.
    pub fn segment_bytes(&self) -> u64 {
        self.inner.log.map.segment_bytes
    }

    /// Where the next record goes, at the earliest.
    pub fn end(&self) -> JournalPosition {
        JournalPosition(self.inner.log.end())
    }

    /// Bytes of the quota.
    pub fn quota_bytes(&self) -> u64 {
        u64::from(self.inner.log.map.count) * self.inner.log.map.segment_bytes
    }

    /// The device that the journal lies on.
    pub fn device(&self) -> &Device {
        &self.inner.log.device
    }

    /// What the partition has done.
    pub fn statistics(&self) -> Arc<LogStatistics> {
        self.inner.log.statistics()
    }

    /// Makes a log partition empty: its segments are given up and never replayed again. For a copy that is damaged and is built
    /// anew from another one.
    ///
    /// # Errors
    /// [`EngineError::Failed`] on a failed device; those of reading its anchors and segment headers.
    pub async fn erase(device: &Device, partition: u16) -> Result<(), EngineError> {
        SegmentLog::erase(device, partition).await
    }

    /// Writes what is queued and stops.
    pub async fn close(&self) {
        self.inner.log.close().await;
    }
}

/// Damage at a position, which is counted.
fn corrupt(log: &SegmentLog, position: u64, detail: impl ToString) -> EngineError {
    log.device.health().note_corruption();
    EngineError::corrupt(log.place(position), detail)
}

fn what_cost_nothing(found: &ScannedLog) -> Vec<String> {
    let unreadable = found.unknown.iter().filter(|slot| !slot.readable);
    let headers = unreadable.map(|slot| &slot.detail);
    let damaged = found.damaged_anchor.iter().chain(found.mended.values());
    damaged.chain(headers).cloned().collect()
}

/// Finds where the records of each segment end.
async fn find_extents(
    log: &Rc<SegmentLog>,
    found: &ScannedLog,
) -> Result<Vec<(u64, u64)>, EngineError> {
    let segment_bytes = log.map.segment_bytes;
    let first = found.anchor.replay_from / segment_bytes;
    let records = found
        .segments
        .iter()
        .filter(|(sequence, segment)| **sequence >= first && segment.content == Content::Records);
    let segments: Vec<(u64, u64)> = records
        .map(|(sequence, segment)| (*sequence, segment.previous_end))
        .collect();
    let from = found.anchor.replay_from;
    match segments.first() {
        None if found.anchor.durable_position > found.anchor.replay_from => {
            return Err(corrupt(log, from, "no segment is left of the log"));
        }
        Some((_, previous_end)) if *previous_end > found.anchor.replay_from => {
            let detail = "the first segments of the log are missing";
            return Err(corrupt(log, from, detail));
        }
        _ => {}
    }
    let mut extents = Vec::new();
    for (at, (sequence, _)) in segments.iter().enumerate() {
        let start = sequence * segment_bytes + BLOCK_BYTES as u64;
        let end = match segments.get(at + 1) {
            Some((_, previous_end))
                if previous_end / segment_bytes == *sequence
                    || *previous_end == (sequence + 1) * segment_bytes =>
            {
                *previous_end
            }
            Some(_) => {
                let detail = "the next segment does not follow this one";
                return Err(corrupt(log, start, detail));
            }
            None => tail_end(log, start, found.anchor.durable_position).await?,
        };
        extents.push((start, end));
    }
    Ok(extents)
}

/// Walks the last segment to the end of its good records, and tells a torn tail from damage.
async fn tail_end(log: &Rc<SegmentLog>, start: u64, durable: u64) -> Result<u64, EngineError> {
    let segment_end = (start / log.map.segment_bytes + 1) * log.map.segment_bytes;
    let mut walk = Walk::new(log.clone(), start);
    let mut end = start;
    while walk.position < segment_end {
        match walk.next(segment_end).await? {
            Step::Entry(_) => end = walk.position,
            Step::Padding => {}
            Step::Bad(_) => break,
        }
        reactor::yield_if_due().await;
    }
    // Behind padding this is where the next batch would begin, else the end of the last good record, within its block.
    let bad = walk.position;
    if durable > bad {
        let detail = format!("the log was durable up to {durable}");
        return Err(corrupt(log, bad, detail));
    }
    search_behind(log, bad, segment_end, walk.run).await?;
    clear_torn(log, end).await?;
    Ok(align_up(end, log.device.alignment() as u64))
}

/// A batch that was torn within a block leaves its first records whole and bytes without meaning behind
/// them. Those become zeros, as padding is, before anything is written behind the block: a later start
/// would take them for damage. The whole records are written as they are.
async fn clear_torn(log: &Rc<SegmentLog>, good_end: u64) -> Result<(), EngineError> {
    let alignment = log.device.alignment();
    let keep = (good_end % alignment as u64) as usize;
    let Some(offset) = log.device_offset(good_end - keep as u64) else {
        return Ok(());
    };
    if keep == 0 {
        return Ok(());
    }
    let buffer = reactor::allocate_now(alignment);
    let mut block = log.device.read(buffer, offset, alignment).await?;
    if block.iter().skip(keep).all(|byte| *byte == 0) {
        return Ok(());
    }
    block.iter_mut().skip(keep).for_each(|byte| *byte = 0);
    log.device.write_durable(vec![block.freeze()], offset).await
}

/// A good record behind the first bad one that knew it to be durable shows that it is damage.
async fn search_behind(
    log: &Rc<SegmentLog>,
    bad: u64,
    segment_end: u64,
    run: u32,
) -> Result<(), EngineError> {
    let alignment = log.device.alignment() as u64;
    let mut walk = Walk::new(log.clone(), (bad + 1).next_multiple_of(alignment));
    walk.run = run;
    while walk.position < segment_end {
        let here = walk.position;
        match walk.next(segment_end).await? {
            Step::Entry(header) if header.origin.durable_before > bad => {
                let detail = format!(
                    "the record at {} was written when everything below {} was durable",
                    header.origin.position, header.origin.durable_before
                );
                return Err(corrupt(log, bad, detail));
            }
            Step::Entry(_) => {}
            Step::Padding | Step::Bad(_) => walk.position = (here + 1).next_multiple_of(alignment),
        }
        reactor::yield_if_due().await;
    }
    Ok(())
}
