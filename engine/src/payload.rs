//! The payload of a shard: its bytes, and a CRC32C for each of its cells.
//!
//! Invariant: the bytes of a [`Payload`] match its CRCs when it is made, and neither changes afterwards. So the copies of a chunk
//! share one payload, and what is written is compared once however many devices it goes to.

use std::sync::Arc;

use crate::error::EngineError;
use crate::reactor::BufferView;

/// Bytes under one CRC, in records of this version.
pub const CELL_BYTES: usize = 64 << 10;

/// CRC32C of the cells of bytes that come in pieces of any length.
#[derive(Debug, Default)]
pub struct CellCrcs {
    whole: Vec<u32>,
    /// The CRC of the cell that is being filled, and how many bytes of it have come.
    current: u32,
    filled: usize,
}

impl CellCrcs {
    /// Takes the next bytes.
    pub fn update(&mut self, mut bytes: &[u8]) {
        while !bytes.is_empty() {
            let (part, rest) = bytes.split_at(bytes.len().min(CELL_BYTES - self.filled));
            self.current = crc32c::crc32c_append(self.current, part);
            self.filled += part.len();
            bytes = rest;
            if self.filled == CELL_BYTES {
                self.end_cell();
            }
        }
    }

    /// The CRC of every cell; the last cell may be a short one.
    pub fn finish(mut self) -> Vec<u32> {
        if self.filled > 0 {
            self.end_cell();
        }
        self.whole
    }

    fn end_cell(&mut self) {
        self.whole.push(self.current);
        (self.current, self.filled) = (0, 0);
    }
}

/// Bytes and the CRCs that they match. Cheap to clone.
#[derive(Debug, Clone)]
pub struct Payload {
    views: Arc<[BufferView]>,
    cell_crcs: Arc<[u32]>,
    bytes: usize,
}

impl Payload {
    /// Bytes whose CRCs are not known from elsewhere.
    pub fn of(views: Vec<BufferView>) -> Payload {
        let cell_crcs = crcs_of(&views);
        Payload::new(views, cell_crcs)
    }

    /// Bytes whose CRCs were computed before they were copied here.
    ///
    /// # Errors
    /// [`EngineError::Invalid`] when they do not match.
    pub fn verified(views: Vec<BufferView>, cell_crcs: Vec<u32>) -> Result<Payload, EngineError> {
        let found = crcs_of(&views);
        if found != cell_crcs {
            let same = found.iter().zip(&cell_crcs).take_while(|(a, b)| a == b);
            return Err(EngineError::Invalid(format!(
                "a payload of {} cells with {} CRCs: cell {} does not match",
                found.len(),
                cell_crcs.len(),
                same.count(),
            )));
        }
        Ok(Payload::new(views, cell_crcs))
    }

    fn new(views: Vec<BufferView>, cell_crcs: Vec<u32>) -> Payload {
        Payload {
            bytes: views.iter().map(|view| view.len()).sum(),
            views: views.into(),
            cell_crcs: cell_crcs.into(),
        }
    }

    /// The bytes in their order.
    pub(crate) fn views(&self) -> &[BufferView] {
        &self.views
    }

    /// The CRC32C of each cell.
    pub fn cell_crcs(&self) -> &[u32] {
        &self.cell_crcs
    }

    /// How many bytes.
    pub fn len(&self) -> usize {
        self.bytes
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.bytes == 0
    }
}

fn crcs_of(views: &[BufferView]) -> Vec<u32> {
    let mut crcs = CellCrcs::default();
    views.iter().for_each(|view| crcs.update(view));
    crcs.finish()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_crcs_do_not_depend_on_how_the_bytes_are_cut() {
        let bytes: Vec<u8> = (0..3 * CELL_BYTES + 7)
            .map(|at| ((at * 31) >> 3) as u8)
            .collect();
        let whole: Vec<u32> = bytes.chunks(CELL_BYTES).map(crc32c::crc32c).collect();
        for length in [
            1000,
            CELL_BYTES - 1,
            CELL_BYTES,
            CELL_BYTES + 1,
            bytes.len(),
        ] {
            let mut crcs = CellCrcs::default();
            bytes.chunks(length).for_each(|piece| crcs.update(piece));
            assert_eq!(crcs.finish(), whole, "pieces of {length}");
        }
        assert!(CellCrcs::default().finish().is_empty());
    }
}
