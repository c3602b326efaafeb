//! The payload of a shard: its bytes, and a CRC32C for each of its cells.
//!
//! Invariant: the bytes of a [`Payload`] match its CRCs when it is made, and neither changes afterwards. So the copies of a chunk
//! share one payload, and what is written is compared once however many devices it goes to.

use std::ops::Range;
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

    /// Takes a whole cell whose CRC is known; `false` where the last one is not full, which takes the bytes one by one.
    fn take_cell(&mut self, crc: u32) -> bool {
        if self.filled == 0 {
            self.whole.push(crc);
        }
        self.filled == 0
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

    /// Whether the bytes still match their CRCs.
    pub fn is_intact(&self) -> bool {
        crcs_of(&self.views)[..] == self.cell_crcs[..]
    }

    /// Parts of these bytes as a payload of their own, without a copy. What is a whole cell here and there keeps its CRC.
    ///
    /// # Panics
    /// When a range does not lie inside the payload.
    pub fn parts(&self, ranges: impl IntoIterator<Item = Range<usize>>) -> Payload {
        let (mut views, mut crcs) = (Vec::new(), CellCrcs::default());
        for range in ranges {
            assert!(range.end <= self.bytes, "{range:?} of {} bytes", self.bytes);
            let first = views.len();
            self.push_views(range.clone(), &mut views);
            let is_cell = range.len() == CELL_BYTES && range.start.is_multiple_of(CELL_BYTES);
            if !(is_cell && crcs.take_cell(self.cell_crcs[range.start / CELL_BYTES])) {
                views[first..].iter().for_each(|view| crcs.update(view));
            }
        }
        Payload::new(views, crcs.finish())
    }

    fn push_views(&self, range: Range<usize>, into: &mut Vec<BufferView>) {
        let mut start = 0;
        for view in self.views.iter() {
            let from = range.start.clamp(start, start + view.len());
            let to = range.end.clamp(start, start + view.len());
            if from < to {
                into.push(view.slice(from - start..to - start));
            }
            start += view.len();
        }
    }

    /// The bytes in their order.
    pub fn views(&self) -> &[BufferView] {
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
    use crate::reactor::{self, Simulation, World};

    #[test]
    fn parts_of_a_payload_have_the_crcs_of_their_bytes() {
        let config = crate::reactor::ReactorConfig {
            index: 0,
            core: None,
            name: "payload".to_owned(),
            arena_bytes: 2 << 20,
            spin: std::time::Duration::ZERO,
        };
        let world = World::Simulated(Simulation::new(1));
        let checked = reactor::run(config, world, async || {
            let piece = |seed: usize, bytes: usize| {
                let bytes: Vec<u8> = (0..bytes).map(|at| ((at * 7 + seed) >> 2) as u8).collect();
                crate::device::view_of(&bytes)
            };
            let views = vec![
                piece(1, CELL_BYTES),
                piece(2, 2 * CELL_BYTES),
                piece(3, 9000),
            ];
            let whole: Vec<u8> = views.iter().flat_map(|view| view.to_vec()).collect();
            let payload = Payload::of(views);
            let cell = |number: usize| number * CELL_BYTES..(number + 1) * CELL_BYTES;
            let cases: [Vec<Range<usize>>; 6] = [
                vec![cell(0), cell(2)],
                vec![cell(1), 3 * CELL_BYTES..3 * CELL_BYTES + 9000],
                vec![0..4096, cell(1)],
                vec![CELL_BYTES - 4096..CELL_BYTES + 4096, 0..4096],
                vec![],
                vec![cell(0), 3 * CELL_BYTES + 9000..3 * CELL_BYTES + 9000],
            ];
            for ranges in cases {
                let expected: Vec<u8> = ranges
                    .iter()
                    .flat_map(|at| whole[at.clone()].to_vec())
                    .collect();
                let parts = payload.parts(ranges);
                let found: Vec<u8> = parts
                    .views()
                    .iter()
                    .flat_map(|view| view.to_vec())
                    .collect();
                assert!(found == expected && parts.len() == expected.len());
                assert_eq!(parts.cell_crcs(), crcs_of(parts.views()));
            }
        });
        checked.expect("a reactor");
    }

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
