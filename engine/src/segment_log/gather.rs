//! Small entries that follow each other, put where the device reads them as they are appended.
//!
//! Invariants: every block but the last is full, so that the blocks lie one after the other on the device; appending never
//! waits, so without room in the arena the blocks come from the system.

use crate::format::entry;
use crate::reactor::{self, Buffer, BufferView};

/// Bytes that a piece gathers before the next one begins.
pub(super) const GATHER_BYTES_MAX: usize = 2 << 20;

/// Bytes of a block: a batch of many writers' entries is mostly one, and goes to the device as one registered buffer.
const GATHER_BLOCK_BYTES: usize = 512 << 10;

/// Entries on their way to the device.
#[derive(Default)]
pub(crate) struct Gathered {
    blocks: Vec<Buffer>,
}

impl Gathered {
    /// Bytes of all entries.
    pub(super) fn len(&self) -> usize {
        let full = self.blocks.len().saturating_sub(1) * GATHER_BLOCK_BYTES;
        full + self.blocks.last().map_or(0, |last| last.len())
    }

    pub(super) fn block_count(&self) -> usize {
        self.blocks.len()
    }

    pub(crate) fn extend(&mut self, mut bytes: &[u8]) {
        while !bytes.is_empty() {
            let here = self.with_room(bytes.len());
            let (part, rest) = bytes.split_at(here);
            if let Some(last) = self.blocks.last_mut() {
                last.extend_from_slice(part);
            }
            bytes = rest;
        }
    }

    /// Appends zeroes up to the length.
    pub(super) fn pad(&mut self, length: usize) {
        while self.len() < length {
            let here = self.with_room(length - self.len());
            if let Some(last) = self.blocks.last_mut() {
                let before = last.len();
                last.set_len(before + here);
                last[before..].fill(0);
            }
        }
    }

    /// Notes in the first entry that everything below the position is durable.
    pub(super) fn note_durable(&mut self, durable: u64) {
        if let Some((first, rest)) = self.blocks.split_first_mut() {
            entry::note_durable(first, rest.iter().map(|block| &block[..]), durable);
        }
    }

    /// How many of so many bytes go into the last block, which is a new one when the one before is full.
    fn with_room(&mut self, bytes: usize) -> usize {
        let room = self.blocks.last().map_or(0, Buffer::remaining);
        if room > 0 {
            return bytes.min(room);
        }
        self.blocks.push(reactor::allocate_now(GATHER_BLOCK_BYTES));
        bytes.min(GATHER_BLOCK_BYTES)
    }

    pub(super) fn into_views(self) -> impl Iterator<Item = BufferView> {
        self.blocks.into_iter().map(Buffer::freeze)
    }
}
