//! Reading a journal's records one after the other, through a window.
//!
//! Invariant: a record's body is shown only after its CRC has been checked, but for the heads that are asked for as such.

use std::ops::Range;
use std::rc::Rc;

use super::{HeadsOf, JOURNAL_BODY_BYTES_MAX};
use crate::error::EngineError;
use crate::format::FormatError;
use crate::format::entry::{self, EntryHeader, HEADER_BYTES};
use crate::segment_log::{SegmentLog, Window};

/// What stands at a position.
pub(super) enum Step {
    Entry(EntryHeader),
    Padding,
    Bad(String),
}

/// Where a walk through the records is.
pub(super) struct Walk {
    log: Rc<SegmentLog>,
    pub(super) position: u64,
    /// The run of the last entry: those of earlier runs do not count behind it.
    pub(super) run: u32,
    /// Records that are only looked into.
    pub(super) heads: Option<HeadsOf>,
    window: Window,
    /// Where the last entry's body lies, which the window holds.
    body: Range<u64>,
}

impl Walk {
    /// For walking on from a position.
    pub(super) fn new(log: Rc<SegmentLog>, position: u64) -> Walk {
        Walk {
            window: Window::new(log.clone()),
            log,
            position,
            run: 0,
            heads: None,
            body: 0..0,
        }
    }

    /// For the one record at a position.
    pub(super) fn one(log: Rc<SegmentLog>, position: u64) -> Walk {
        Walk {
            window: Window::narrow(log.clone()),
            ..Walk::new(log, position)
        }
    }

    /// Goes on at another position, where any run may have written.
    pub(super) fn go_to(&mut self, position: u64) {
        (self.position, self.run) = (position, 0);
    }

    /// The body of the entry that [`Walk::next`] has just found, or its head.
    pub(super) fn body(&self) -> &[u8] {
        self.window.held(self.body.clone())
    }

    /// The entry at the position, and the position behind it. Padding moves to the next alignment unit; nothing good leaves the
    /// position where it is.
    pub(super) async fn next(&mut self, end: u64) -> Result<Step, EngineError> {
        let alignment = self.log.device.alignment() as u64;
        let position = self.position;
        let head = self.window.at(position, HEADER_BYTES, end).await?;
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
        let whole = self.window.at(self.position, bytes, end).await?;
        Ok(match entry::decode(whole) {
            Ok((header, _)) => self.pass(header, bytes),
            // Position, salt and CRC are right: it is no torn tail to be cut.
            Err(FormatError::OtherFormat { features }) => {
                return Err(EngineError::OtherFormat { features });
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
        if self.window.at(self.position, wanted, end).await?.len() < wanted {
            return Ok(Step::Bad("the record is cut short".to_owned()));
        }
        self.window.leave();
        Ok(self.pass(claim, wanted))
    }

    /// Goes on behind an entry of which so many bytes are in the window.
    fn pass(&mut self, header: EntryHeader, bytes: usize) -> Step {
        self.body = self.position + HEADER_BYTES as u64..self.position + bytes as u64;
        self.position += header.entry_bytes();
        self.run = header.origin.run;
        Step::Entry(header)
    }
}
