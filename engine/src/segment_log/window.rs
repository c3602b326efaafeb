//! The bytes of a partition, read through a window that moves forward, with what follows it read ahead.
//!
//! Invariants: nothing is verified here; where the device cannot read, only what lies there is an error, however much is read
//! at a time; a window reads no further than the segment that it is in.

use std::collections::VecDeque;
use std::ops::Range;
use std::rc::Rc;

use super::SegmentLog;
use crate::error::EngineError;
use crate::format::align_up;
use crate::reactor::{self, Buffer, Task, TaskClass};

/// How much is read at a time where records are walked, and the most that may be asked for at once besides a record's header.
pub(crate) const WINDOW_BYTES: usize = 1 << 20;

/// How many readings of a window's length are under way beside the window, where a walk goes on and on: a device answers
/// several at once much sooner than one after the other.
const AHEAD_COUNT: usize = 6;

/// How much a narrow window reads at first.
const NARROW_BYTES: usize = 8 << 10;

/// A part of the device on its way.
struct Ahead {
    positions: Range<u64>,
    task: Task<Result<Buffer, EngineError>>,
}

/// A window over the bytes of a partition.
pub(crate) struct Window {
    log: Rc<SegmentLog>,
    held: Vec<u8>,
    start: u64,
    /// How much is read at a time, unless more is asked for: doubled by every reading that goes on where the last ended.
    step: usize,
    /// What follows the window, in order.
    ahead: VecDeque<Ahead>,
}

impl Window {
    /// For reading on and on.
    pub(crate) fn new(log: Rc<SegmentLog>) -> Window {
        Window {
            log,
            held: Vec::new(),
            start: 0,
            step: WINDOW_BYTES,
            ahead: VecDeque::new(),
        }
    }

    /// For reading here and there.
    pub(crate) fn narrow(log: Rc<SegmentLog>) -> Window {
        Window {
            step: NARROW_BYTES,
            ..Window::new(log)
        }
    }

    /// The next reading will not go on where this one ended.
    pub(crate) fn leave(&mut self) {
        self.ahead.clear();
        self.step = NARROW_BYTES;
    }

    /// So many bytes from a position on; fewer where the device, the segment, or the window's reader at `end` comes first.
    ///
    /// # Errors
    /// [`EngineError::Io`] when the device cannot read them.
    pub(crate) async fn at(
        &mut self,
        position: u64,
        count: usize,
        end: u64,
    ) -> Result<&[u8], EngineError> {
        if position < self.start || position + count as u64 > self.end() {
            self.fill(position, count, end).await?;
        }
        Ok(self.held(position..position + count as u64))
    }

    /// What the window holds of some positions, from the first on.
    pub(crate) fn held(&self, positions: Range<u64>) -> &[u8] {
        let index = |position: u64| position.saturating_sub(self.start) as usize;
        let to = index(positions.end).min(self.held.len());
        self.held
            .get(index(positions.start)..to)
            .unwrap_or_default()
    }

    fn end(&self) -> u64 {
        self.start + self.held.len() as u64
    }

    /// Moves the window so that it begins at a position and holds so many bytes, unless the segment or `end` come first.
    async fn fill(&mut self, position: u64, count: usize, end: u64) -> Result<(), EngineError> {
        let alignment = self.log.device.alignment() as u64;
        let segment_bytes = self.log.map.segment_bytes;
        let segment_end = (position / segment_bytes + 1) * segment_bytes;
        let start = position - position % alignment;
        let needed = align_up(position + count as u64, alignment).min(segment_end);
        let readable = align_up(end, alignment).max(needed).min(segment_end);
        if (self.start..=self.end()).contains(&start) && !self.held.is_empty() {
            self.held.drain(..(start - self.start) as usize);
            self.step = (self.step * 2).min(WINDOW_BYTES);
        } else {
            self.held.clear();
        }
        self.start = start;
        let stop = needed.max(start + self.step as u64).min(readable);
        while self.end() < stop {
            let at = self.end();
            let length = (stop - at).min(WINDOW_BYTES as u64) as usize;
            let part = match self.part(at, length).await {
                Err(EngineError::Io(_)) if at >= needed => return Ok(()),
                // Some of it cannot be read: perhaps nothing that was asked for.
                Err(EngineError::Io(_)) if at + length as u64 > needed => {
                    self.leave();
                    self.part(at, (needed - at) as usize).await?
                }
                read => read?,
            };
            // The device may end anywhere.
            let Some(part) = part.filter(|part| !part.is_empty()) else {
                return Ok(());
            };
            self.held.extend_from_slice(&part);
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
        if self.step < WINDOW_BYTES {
            return;
        }
        let last = self.ahead.back();
        let mut at = last.map_or(self.end(), |last| last.positions.end);
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
