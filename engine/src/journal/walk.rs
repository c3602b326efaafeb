//! Reading a journal's records one after the other, through a window, with the next part of the device read ahead.
//!
//! Invariant: a record's body is shown only after its CRC has been checked, but for the heads that are asked for as such.

use std::collections::VecDeque;
use std::rc::Rc;

use super::{HeadsOf, JOURNAL_BODY_BYTES_MAX};
use crate::error::EngineError;
use crate::format::entry::{self, EntryHeader, HEADER_BYTES};
use crate::format::{FormatError, align_up};
use crate::reactor::{self, Buffer, Task, TaskClass};
use crate::segment_log::SegmentLog;

/// How much is read at a time while records are walked.
const WINDOW_BYTES: usize = 1 << 20;

/// How many readings of a window's length are under way beside the window, where a walk goes on and on: a device answers
/// several at once much sooner than one after the other.
const AHEAD_COUNT: usize = 6;

/// How much is read at first of a single record; the rest of a longer one follows.
const RECORD_BYTES: usize = 8 << 10;

/// What stands at a position.
pub(super) enum Step {
    Entry(EntryHeader),
    Padding,
    Bad(String),
}

/// A part of the device on its way.
struct Ahead {
    positions: std::ops::Range<u64>,
    task: Task<Result<Buffer, EngineError>>,
}

/// Where a walk through the records is.
pub(super) struct Walk {
    log: Rc<SegmentLog>,
    pub(super) position: u64,
    /// The run of the last entry: those of earlier runs do not count behind it.
    pub(super) run: u32,
    /// Records that are only looked into.
    pub(super) heads: Option<HeadsOf>,
    window: Vec<u8>,
    window_start: u64,
    /// How much is read at a time, unless a record needs more: doubled by every reading that goes on where the last ended.
    window_bytes: usize,
    /// What follows the window, in order.
    ahead: VecDeque<Ahead>,
    /// The last entry's body, in the window.
    body: std::ops::Range<usize>,
}

impl Walk {
    /// For walking on from a position.
    pub(super) fn new(log: Rc<SegmentLog>, position: u64) -> Walk {
        Walk {
            log,
            position,
            run: 0,
            heads: None,
            window: Vec::new(),
            window_start: 0,
            window_bytes: WINDOW_BYTES,
            ahead: VecDeque::new(),
            body: 0..0,
        }
    }

    /// For the one record at a position.
    pub(super) fn one(log: Rc<SegmentLog>, position: u64) -> Walk {
        Walk {
            window_bytes: RECORD_BYTES,
            ..Walk::new(log, position)
        }
    }

    /// Goes on at another position, where any run may have written.
    pub(super) fn go_to(&mut self, position: u64) {
        (self.position, self.run) = (position, 0);
    }

    /// The body of the entry that [`Walk::next`] has just found, or its head.
    pub(super) fn body(&self) -> &[u8] {
        self.window.get(self.body.clone()).unwrap_or_default()
    }

    /// The entry at the position, and the position behind it. Padding moves to the next alignment unit; nothing good leaves the
    /// position where it is.
    pub(super) async fn next(&mut self, end: u64) -> Result<Step, EngineError> {
        let alignment = self.log.device.alignment() as u64;
        let position = self.position;
        let head = self.bytes(HEADER_BYTES, end).await?;
        let Some(claim) = entry::claim(head) else {
            // Padding may be shorter than a header: behind it, the next batch begins.
            let next = (position + 1).next_multiple_of(alignment);
            let padding = head.iter().take((next - position) as usize);
            if position.is_multiple_of(alignment) || padding.into_iter().any(|byte| *byte != 0) {
                return Ok(Step::Bad("no record begins here".to_owned()));
            }
            self.position = next;
            return Ok(Step::Padding);
        };
        if claim.origin.position != position
            || Some(claim.origin.salt) != self.log.salt(position)
            || claim.origin.run < self.run
            || claim.body_bytes as usize > JOURNAL_BODY_BYTES_MAX
        {
            return Ok(Step::Bad("a record of another time begins here".to_owned()));
        }
        let body_bytes = claim.body_bytes as usize;
        match self.heads {
            Some(heads) if heads.content == claim.content && heads.bytes < body_bytes => {
                self.head_of(claim, heads.bytes, end).await
            }
            _ => self.whole(HEADER_BYTES + body_bytes, end).await,
        }
    }

    /// The entry of so many bytes at the position, verified.
    async fn whole(&mut self, bytes: usize, end: u64) -> Result<Step, EngineError> {
        let whole = self.bytes(bytes, end).await?;
        Ok(match entry::decode(whole) {
            Ok((header, _)) => self.pass(header, bytes),
            // Position, salt and CRC are right: it is no torn tail to be cut.
            Err(FormatError::NewerFormat { features }) => {
                return Err(EngineError::NewerFormat { features });
            }
            Err(error) => Step::Bad(error.to_string()),
        })
    }

    /// The beginning of an entry's body; what follows is not read.
    async fn head_of(
        &mut self,
        claim: EntryHeader,
        bytes: usize,
        end: u64,
    ) -> Result<Step, EngineError> {
        let wanted = HEADER_BYTES + bytes;
        if self.bytes(wanted, end).await?.len() < wanted {
            return Ok(Step::Bad("the record is cut short".to_owned()));
        }
        self.ahead.clear();
        self.window_bytes = RECORD_BYTES;
        Ok(self.pass(claim, wanted))
    }

    /// Goes on behind an entry of which so many bytes are in the window.
    fn pass(&mut self, header: EntryHeader, bytes: usize) -> Step {
        let from = (self.position - self.window_start) as usize;
        self.body = from + HEADER_BYTES..from + bytes;
        self.position += header.entry_bytes();
        self.run = header.origin.run;
        Step::Entry(header)
    }

    /// So many bytes from the position on, fewer at the end of what is there.
    async fn bytes(&mut self, count: usize, end: u64) -> Result<&[u8], EngineError> {
        if self.position < self.window_start || self.position + count as u64 > self.window_end() {
            self.fill(count, end).await?;
        }
        let from = (self.position - self.window_start) as usize;
        let to = (from + count).min(self.window.len());
        Ok(self.window.get(from..to).unwrap_or_default())
    }

    fn window_end(&self) -> u64 {
        self.window_start + self.window.len() as u64
    }

    /// Moves the window so that it begins at the position and holds so many bytes, unless the segment or `end` come first.
    async fn fill(&mut self, count: usize, end: u64) -> Result<(), EngineError> {
        let alignment = self.log.device.alignment() as u64;
        let start = self.position - self.position % alignment;
        let segment_end =
            (self.position / self.log.map.segment_bytes + 1) * self.log.map.segment_bytes;
        let needed = self.position + count as u64;
        let readable = align_up(end.max(needed), alignment).min(segment_end);
        let stop = align_up(needed.max(start + self.window_bytes as u64), alignment).min(readable);
        if (self.window_start..=self.window_end()).contains(&start) && !self.window.is_empty() {
            self.window.drain(..(start - self.window_start) as usize);
            self.window_bytes = (self.window_bytes * 2).min(WINDOW_BYTES);
        } else {
            self.window.clear();
        }
        self.window_start = start;
        while self.window_end() < stop {
            let at = self.window_end();
            let length = (stop - at).min(WINDOW_BYTES as u64) as usize;
            let part = self.part(at, length).await?;
            // The device may end anywhere.
            let Some(part) = part.filter(|part| !part.is_empty()) else {
                return Ok(());
            };
            self.window.extend_from_slice(&part);
            if !(part.len() as u64).is_multiple_of(alignment) {
                return Ok(());
            }
        }
        self.read_ahead(readable);
        Ok(())
    }

    /// What lies on the device from a position on: what was read ahead of it, or so many bytes.
    async fn part(&mut self, at: u64, length: usize) -> Result<Option<Buffer>, EngineError> {
        while let Some(ahead) = self.ahead.pop_front() {
            if ahead.positions.start == at {
                return ahead.task.await.map(Some);
            }
        }
        let Some(offset) = self.log.device_offset(at) else {
            return Ok(None);
        };
        let buffer = reactor::allocate_now(length);
        self.log.device.read(buffer, offset, length).await.map(Some)
    }

    /// Begins to read what comes behind the window, where the walk goes on and on.
    fn read_ahead(&mut self, readable: u64) {
        if self.window_bytes < WINDOW_BYTES {
            return;
        }
        let last = self.ahead.back();
        let mut at = last.map_or(self.window_end(), |last| last.positions.end);
        while self.ahead.len() < AHEAD_COUNT && at < readable {
            let Some(offset) = self.log.device_offset(at) else {
                return;
            };
            let length = (readable - at).min(WINDOW_BYTES as u64) as usize;
            let device = self.log.device.clone();
            let reading = async move {
                let buffer = reactor::allocate_now(length);
                device.read(buffer, offset, length).await
            };
            self.ahead.push_back(Ahead {
                positions: at..at + length as u64,
                task: reactor::spawn(TaskClass::Foreground, reading),
            });
            at += length as u64;
        }
    }
}
