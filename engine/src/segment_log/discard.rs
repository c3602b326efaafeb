//! Freed segments of a block device are discarded, so that the device need not move what nobody reads.
//!
//! Invariants: a segment that is being discarded is not free, and is free again afterwards, whatever the device says; enough others
//! stay free that no write waits for it; its header and its first record are written over before, durably and in this order from
//! behind, so that no start takes what is left of it for a segment in use; a log that has closed discards nothing any more.

use std::rc::Rc;

use super::SegmentLog;
use crate::error::EngineError;
use crate::format::align_up;
use crate::format::layout::BLOCK_BYTES;
use crate::reactor::{self, TaskClass};

impl SegmentLog {
    /// Discards what was freed, in the background, while more than `keep` other segments are free.
    pub(crate) fn discard_freed(self: &Rc<Self>, keep: usize) {
        if self.next_to_discard(keep).is_none() || self.discarding.replace(true) {
            return;
        }
        let log = self.clone();
        let discard = async move {
            while let Some(slot) = log.next_to_discard(keep) {
                let outcome = log.discard_slot(slot).await;
                if let Err(error) = outcome {
                    tracing::warn!(%error, partition = log.partition, "a freed segment could not be discarded");
                    break;
                }
            }
            log.discarding.set(false);
        };
        *self.discarder.borrow_mut() = Some(reactor::spawn(TaskClass::Background, discard));
    }

    /// Waits for the discard under way: one that ended later would take what the next server writes there.
    pub(super) async fn end_discarding(&self) {
        let discarder = self.discarder.borrow_mut().take();
        if let Some(discarder) = discarder {
            discarder.await;
        }
    }

    /// A free segment that may be discarded, unless writes may need it.
    fn next_to_discard(&self, keep: usize) -> Option<u32> {
        let state = self.state.borrow();
        if !self.device.discards() || state.failed || state.closing {
            return None;
        }
        let enough = state.free.len() > keep + 1;
        let next = state.freed.intersection(&state.free).next().copied();
        next.filter(|_| enough)
    }

    async fn discard_slot(&self, slot: u32) -> Result<(), EngineError> {
        {
            let mut state = self.state.borrow_mut();
            state.freed.remove(&slot);
            state.free.remove(&slot);
            state.withheld.insert(slot);
        }
        self.count_segments();
        let begin = self.map.offset(slot);
        let behind = begin + align_up(2 * BLOCK_BYTES as u64, self.device.alignment() as u64);
        let outcome = async {
            self.write_zeroes(begin + BLOCK_BYTES as u64..behind)
                .await?;
            self.write_zeroes(begin..begin + BLOCK_BYTES as u64).await
        }
        .await;
        if outcome.is_ok() {
            self.device
                .discard(behind..begin + self.map.segment_bytes)
                .await;
        }
        {
            let mut state = self.state.borrow_mut();
            state.withheld.remove(&slot);
            state.free.insert(slot);
        }
        self.count_segments();
        outcome
    }

    async fn write_zeroes(&self, range: std::ops::Range<u64>) -> Result<(), EngineError> {
        let bytes = (range.end - range.start) as usize;
        let mut zeroes = reactor::allocate_now(bytes);
        zeroes.set_len(bytes);
        zeroes.fill(0);
        self.device
            .write_durable(vec![zeroes.freeze()], range.start)
            .await
    }
}
