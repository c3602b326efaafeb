//! A chunk being filled: pieces of the arena, each as long as all before it, so that who sends little holds little.
//!
//! Invariants: every piece but the last is full, and a whole number of cells long; the CRCs are of the bytes that were given, not
//! of their copy in the arena, which is compared with them before it goes to the devices.

use strata_engine::reactor::Buffer;
use strata_engine::{CELL_BYTES, CellCrcs, EngineError, Payload};

use super::write::CHUNK_BYTES_MAX;
use crate::memory::{MemoryQueue, NoMemory, Watermark};

/// The longest piece: the last one of a chunk that becomes as long as chunks get.
const PIECE_BYTES_MAX: usize = CHUNK_BYTES_MAX / 2;

/// Bytes and pieces of the chunk that a body's bytes go into.
pub(super) struct Filling {
    pieces: Vec<Buffer>,
    crcs: CellCrcs,
    bytes: usize,
    capacity: usize,
    /// Length of the first piece.
    bytes_min: usize,
}

impl Filling {
    /// Begins a chunk that will not be shorter than `bytes_min` unless the body ends; waits for the memory in order.
    pub(super) async fn begin(queue: &MemoryQueue, bytes_min: usize) -> Result<Filling, NoMemory> {
        let first = queue.wait(|| Watermark::Begin.try_take(bytes_min)).await?;
        let bytes_min = first.capacity();
        Ok(Filling {
            pieces: vec![first],
            crcs: CellCrcs::default(),
            bytes: 0,
            capacity: bytes_min,
            bytes_min,
        })
    }

    /// Begins a chunk of so many bytes that nobody waits for, if there is memory that neither reads nor uploads need.
    pub(super) fn try_begin(bytes: usize) -> Option<Filling> {
        let first = Watermark::Begin.try_take(bytes)?;
        let bytes_min = first.capacity();
        Some(Filling {
            pieces: vec![first],
            crcs: CellCrcs::default(),
            bytes: 0,
            capacity: bytes_min,
            bytes_min,
        })
    }

    pub(super) fn bytes(&self) -> usize {
        self.bytes
    }

    /// Whether the chunk holds more memory than it began with, and bytes in it.
    pub(super) fn has_grown(&self) -> bool {
        self.bytes > self.bytes_min
    }

    /// Whether the chunk is as long as chunks get.
    pub(super) fn is_whole(&self) -> bool {
        self.bytes >= CHUNK_BYTES_MAX
    }

    /// Whether more bytes fit, after taking another piece where there is memory for one.
    pub(super) fn make_room(&mut self) -> bool {
        if self.bytes < self.capacity {
            return true;
        }
        let left = CHUNK_BYTES_MAX.saturating_sub(self.capacity);
        let mut wanted = power_of_two_within(self.capacity.min(left).min(PIECE_BYTES_MAX));
        while wanted >= CELL_BYTES {
            if let Some(piece) = Watermark::Grow.try_take(wanted) {
                self.capacity += piece.capacity();
                self.pieces.push(piece);
                return true;
            }
            wanted /= 2;
        }
        false
    }

    /// Takes what fits of the bytes; returns how many those were.
    pub(super) fn take(&mut self, data: &[u8]) -> usize {
        let Some(last) = self.pieces.last_mut() else {
            return 0;
        };
        let taken = data.len().min(last.remaining());
        self.crcs.update(&data[..taken]);
        last.extend_from_slice(&data[..taken]);
        self.bytes += taken;
        taken
    }

    /// What was taken.
    ///
    /// # Errors
    /// [`EngineError::Invalid`] when it is not what was given.
    pub(super) fn freeze(self) -> Result<Payload, EngineError> {
        let views = self.pieces.into_iter().map(Buffer::freeze).collect();
        Payload::verified(views, self.crcs.finish())
    }
}

/// The largest power of two that is not above; 0 for 0.
fn power_of_two_within(bytes: usize) -> usize {
    match bytes.checked_ilog2() {
        Some(exponent) => 1 << exponent,
        None => 0,
    }
}
