//! How the bytes of a coded chunk lie in its shards.
//!
//! A chunk is cut into stripes of k cells of [`CELL_BYTES`]; cell i of every stripe goes to data shard i, one behind the other. What
//! is left at the end and fills no stripe is cut into k cells too, which are shorter: as short as they can be as a multiple of
//! [`SHORT_CELL_MULTIPLE`], so that they lie aligned in memory. The last of them that hold anything may hold less, and those behind
//! it nothing; the code takes zeros for what is missing, and they are not stored. Cells of parity are never cut.
//!
//! Invariants: every byte of a chunk lies in one place of one data shard; what stands at an offset of the parity shards is computed
//! from what stands at the same offset of the data shards, whichever stripe that is; whole cells begin at multiples of
//! [`CELL_BYTES`] in their shard.

use std::ops::Range;

use strata_engine::CELL_BYTES;

const CELL: u32 = CELL_BYTES as u32;

/// The length of the cells of a stripe that is not whole is a multiple of this, in bytes: a page, to which direct I/O is aligned.
const SHORT_CELL_MULTIPLE: u32 = 4096;

/// A range of one data shard.
pub(super) type Cell = (usize, Range<u32>);

/// The cut of a chunk of some length.
#[derive(Debug, Clone, Copy)]
pub(super) struct Stripes {
    k: u32,
    chunk_bytes: u32,
    /// Stripes that are whole.
    whole: u32,
    /// Length of the cells of what is left.
    short_cell: u32,
}

impl Stripes {
    /// The stripes of a chunk, of `k` cells each.
    pub(super) fn new(k: usize, chunk_bytes: u32) -> Stripes {
        let k = k as u32;
        let whole = chunk_bytes / (k * CELL);
        let rest = chunk_bytes - whole * k * CELL;
        Stripes {
            k,
            chunk_bytes,
            whole,
            short_cell: rest.div_ceil(k).next_multiple_of(SHORT_CELL_MULTIPLE),
        }
    }

    fn rest(self) -> u32 {
        self.chunk_bytes - self.whole * self.k * CELL
    }

    /// Bytes of a shard whose last cell is not cut, as those of parity are.
    pub(super) fn longest_shard_bytes(self) -> u32 {
        self.whole * CELL + self.short_cell
    }

    /// Bytes that a shard stores.
    pub(super) fn shard_bytes(self, shard: usize) -> u32 {
        let shard = shard as u32;
        if shard >= self.k {
            return self.longest_shard_bytes();
        }
        let before = self.short_cell * shard;
        self.whole * CELL + self.rest().saturating_sub(before).min(self.short_cell)
    }

    /// The ranges of the chunk that a data shard holds, in its order.
    pub(super) fn ranges_of(self, shard: usize) -> impl Iterator<Item = Range<usize>> {
        let (shard, k) = (shard as u32, self.k);
        let cells = (0..self.whole).map(move |stripe| {
            let start = (stripe * k + shard) * CELL;
            start..start + CELL
        });
        let start = (self.whole * k * CELL + shard * self.short_cell).min(self.chunk_bytes);
        let short = start..(start + self.short_cell).min(self.chunk_bytes);
        let ranges = cells.chain((!short.is_empty()).then_some(short));
        ranges.map(|range| range.start as usize..range.end as usize)
    }

    /// Where a range of the chunk lies, in its order.
    pub(super) fn cells(self, range: Range<u32>) -> impl Iterator<Item = Cell> {
        let mut at = range.start;
        std::iter::from_fn(move || {
            if at >= range.end {
                return None;
            }
            let (shard, offset, left) = self.place_of(at);
            let bytes = left.min(range.end - at);
            at += bytes;
            Some((shard as usize, offset..offset + bytes))
        })
    }

    /// The data shard and the offset in it of a byte, and how many bytes follow it there without a gap.
    fn place_of(self, at: u32) -> (u32, u32, u32) {
        let stripe = at / (self.k * CELL);
        let within = at % (self.k * CELL);
        let cell = if stripe < self.whole {
            CELL
        } else {
            self.short_cell
        };
        let offset = within % cell;
        (within / cell, stripe * CELL + offset, cell - offset)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Lengths around every boundary.
    fn lengths(k: u32) -> Vec<u32> {
        let stripe = k * CELL;
        let marks = [1, 4096, 4096 * k, CELL, stripe, 2 * stripe, 1 << 20];
        let around = marks
            .into_iter()
            .flat_map(|mark| [mark - 1, mark, mark + 1]);
        around
            .filter(|bytes| (1..=1 << 20).contains(bytes))
            .collect()
    }

    #[test]
    fn every_byte_lies_in_one_place() {
        for (k, bytes) in (2..=16).flat_map(|k| lengths(k).into_iter().map(move |at| (k, at))) {
            let stripes = Stripes::new(k as usize, bytes);
            let chunk: Vec<u32> = (0..bytes).collect();
            let shards: Vec<Vec<u32>> = (0..k as usize)
                .map(|shard| {
                    let ranges = stripes.ranges_of(shard);
                    ranges.flat_map(|range| chunk[range].to_vec()).collect()
                })
                .collect();
            for (shard, held) in shards.iter().enumerate() {
                assert_eq!(held.len() as u32, stripes.shard_bytes(shard), "{k} {bytes}");
                assert!(held.len() as u32 <= stripes.longest_shard_bytes());
            }
            assert_eq!(shards[0].len() as u32, stripes.shard_bytes(0));
            for from in [0, 1, bytes / 3, bytes - 1] {
                let found: Vec<u32> = stripes
                    .cells(from..bytes)
                    .flat_map(|(shard, range)| {
                        shards[shard][range.start as usize..range.end as usize].to_vec()
                    })
                    .collect();
                assert_eq!(found, chunk[from as usize..], "{k} {bytes} from {from}");
            }
        }
    }

    #[test]
    fn the_shards_of_a_short_chunk_are_short() {
        let stripes = Stripes::new(4, 200_000);
        assert_eq!(stripes.longest_shard_bytes(), 53_248);
        let stored: Vec<u32> = (0..6).map(|shard| stripes.shard_bytes(shard)).collect();
        assert_eq!(stored, [53_248, 53_248, 53_248, 40_256, 53_248, 53_248]);
        assert_eq!(Stripes::new(4, 1 << 20).longest_shard_bytes(), 256 << 10);
    }

    #[test]
    fn what_is_read_of_a_shard_has_no_gap() {
        for (k, bytes) in (2..=16).flat_map(|k| lengths(k).into_iter().map(move |at| (k, at))) {
            let stripes = Stripes::new(k as usize, bytes);
            for (from, to) in [(0, bytes), (bytes / 3, bytes / 2), (bytes / 2, bytes)] {
                let mut read = vec![None::<Range<u32>>; k as usize];
                for (shard, range) in stripes.cells(from..to) {
                    let so_far = read[shard].get_or_insert(range.start..range.start);
                    assert_eq!(so_far.end, range.start, "{k} {bytes} {from}..{to}");
                    so_far.end = range.end;
                }
            }
        }
    }
}
