//! Slots that are made ready for use: written over in full, so that their space is the file's for good. What an earlier run has
//! written over and not used is the file's already. On a block device every slot is ready.
//!
//! Invariants: one slot is prepared at a time; what was refused for lack of space goes on where it stopped; from then until it
//! has succeeded, only what is prepared counts as free.

use std::rc::Rc;
use std::time::Duration;

use super::SegmentLog;
use crate::error::EngineError;
use crate::reactor::{self, TaskClass};

/// The memory that is written over and over.
const ZEROES_BYTES: usize = 1 << 20;

/// What is written in one go. The file system notes of each that it was written, and a barrier of records that comes between waits
/// for its journal: the fewer there are, the fewer wait.
const PIECE_BYTES: u64 = 16 << 20;

/// Segments that are kept prepared beside the next one: appends that cannot wait may use them up while more are prepared.
pub(super) const PREPARED_AHEAD: usize = 1;

/// How often a segment is tried again that has been opened and for which the file system has no space.
const SPACE_PAUSE: Duration = Duration::from_millis(250);

impl SegmentLog {
    /// Free segments that can be used at once.
    pub(crate) fn prepared_segments(&self) -> usize {
        self.state.borrow().prepared()
    }

    /// Prepares segments until more than `keep` are free and prepared, or no other is free.
    ///
    /// # Errors
    /// [`EngineError::Full`] when the file system has no space for one, [`EngineError::Failed`] on a failed device.
    pub(crate) async fn prepare_more(&self, keep: usize) -> Result<(), EngineError> {
        let _one = self.preparing.lock().await;
        while self.prepared_segments() <= keep {
            let Some(slot) = self.state.borrow().first_unprepared() else {
                return Ok(());
            };
            self.write_over(slot).await?;
        }
        Ok(())
    }

    /// Prepares segments in the background, so that no write waits for it.
    pub(crate) fn prepare_ahead(self: &Rc<Self>) {
        let (wanted, keep) = {
            let state = self.state.borrow();
            let short = state.prepared() <= state.ahead;
            (short && state.first_unprepared().is_some(), state.ahead)
        };
        if !wanted || self.preparing_ahead.replace(true) {
            return;
        }
        let log = self.clone();
        let prepare = async move {
            let outcome = log.prepare_more(keep).await;
            log.preparing_ahead.set(false);
            // That there is no space has been reported.
            if let Err(error) = outcome
                && !matches!(error, EngineError::Full { .. })
            {
                tracing::warn!(%error, partition = log.partition, "the next segment could not be prepared");
            }
        };
        reactor::spawn(TaskClass::Background, prepare).detach();
    }

    /// Prepares a slot that was opened before it was ready. While the file system has no space for it, what was appended waits.
    pub(super) async fn prepare_opened(&self, slot: u32) -> Result<(), EngineError> {
        loop {
            let outcome = self.prepare(slot).await;
            let waits =
                matches!(outcome, Err(EngineError::Full { .. })) && !self.state.borrow().closing;
            if !waits {
                return outcome;
            }
            reactor::sleep(SPACE_PAUSE).await;
        }
    }

    async fn prepare(&self, slot: u32) -> Result<(), EngineError> {
        let _one = self.preparing.lock().await;
        if self.state.borrow().written.contains(&slot) {
            return Ok(());
        }
        self.write_over(slot).await
    }

    async fn write_over(&self, slot: u32) -> Result<(), EngineError> {
        if self.device.is_block_device() {
            self.state.borrow_mut().written.insert(slot);
            self.count_segments();
            return Ok(());
        }
        let offset = self.map.offset(slot);
        let bytes = self.map.segment_bytes.min(ZEROES_BYTES as u64);
        let mut zeroes = reactor::allocate_now(bytes as usize);
        zeroes.set_len(bytes as usize);
        zeroes.fill(0);
        let zeroes = zeroes.freeze();
        let begun = self.state.borrow().partly.filter(|(at, _)| *at == slot);
        let there = self.device.written_bytes(offset).await;
        let there = there.min(self.map.segment_bytes) / bytes * bytes;
        let mut done = begun.map_or(there, |(_, done)| done.max(there));
        while done < self.map.segment_bytes {
            let piece = PIECE_BYTES.min(self.map.segment_bytes - done) / bytes * bytes;
            let views = vec![zeroes.clone(); (piece / bytes) as usize];
            if let Err(error) = self.device.write_new(views, offset + done).await {
                self.note_refusal(slot, done, &error);
                return Err(error);
            }
            done += piece;
        }
        self.device.sync().await?;
        {
            let mut state = self.state.borrow_mut();
            state.written.insert(slot);
            (state.partly, state.refused) = (None, false);
        }
        self.count_segments();
        Ok(())
    }

    fn note_refusal(&self, slot: u32, done: u64, error: &EngineError) {
        if !matches!(error, EngineError::Full { .. }) {
            return;
        }
        let first = {
            let mut state = self.state.borrow_mut();
            state.partly = Some((slot, done));
            !std::mem::replace(&mut state.refused, true)
        };
        if first {
            tracing::warn!(%error, partition = self.partition, "no space for another segment; what is prepared is used up");
        }
        self.count_segments();
    }
}
