//! The code over GF(2^8): polynomial 0x11d, and a Cauchy matrix.
//!
//! The coefficient of data cell j in parity cell i (numbers: j from 0 to k - 1, i from k to k + m - 1) is the inverse of i XOR j, as
//! in `gf_gen_cauchy1_matrix` of ISA-L. No i equals a j, so this is a Cauchy matrix, every square part of which is invertible: any k
//! of the k + m cells determine the others.
//!
//! Invariants: the bytes at one offset of the cells depend on each other alone; the tables of a loss pattern are computed when it is
//! first met, and those of the last [`PATTERNS_MAX`] patterns are kept.

use rusty_erasure::Matrix;
use rusty_erasure::kernel::Kernels;

use super::{CAUCHY_DATA_CELLS_MAX, ErasureError};

/// Loss patterns whose tables are kept: more than there are single losses of the widest geometry. A table is at most 4 KiB.
pub(super) const PATTERNS_MAX: usize = 32;

/// What it takes to compute some lost cells from some others. The sets have a bit for each number of a cell.
struct Pattern {
    sources: u64,
    wanted: u64,
    tables: Vec<u8>,
}

/// The code for one geometry. Callers have checked numbers and lengths of cells.
pub(super) struct Cauchy {
    matrix: Matrix,
    kernels: Kernels,
    parity_tables: Vec<u8>,
    /// The last one used first.
    patterns: Vec<Pattern>,
}

impl Cauchy {
    pub(super) fn new(k: usize, m: usize, kernels: Kernels) -> Result<Cauchy, ErasureError> {
        let matrix = Matrix::cauchy(k, m).map_err(bug)?;
        Ok(Cauchy {
            parity_tables: (kernels.init)(matrix.parity_bytes()),
            matrix,
            kernels,
            patterns: Vec::with_capacity(PATTERNS_MAX),
        })
    }

    pub(super) fn implementation(&self) -> &'static str {
        self.kernels.name
    }

    pub(super) fn encode(&self, data: &[&[u8]], parity: &mut [&mut [u8]]) {
        (self.kernels.encode)(&self.parity_tables, data, parity);
    }

    pub(super) fn update(&self, number: usize, cell: &[u8], parity: &mut [&mut [u8]]) {
        let k = self.matrix.cols();
        (self.kernels.update)(&self.parity_tables, k, number, cell, parity);
    }

    pub(super) fn reconstruct(
        &mut self,
        cells: &[Option<&[u8]>],
        sources: u64,
        wanted: &[usize],
        rebuilt: &mut [&mut [u8]],
    ) -> Result<(), ErasureError> {
        let mut bytes = [&[][..]; CAUCHY_DATA_CELLS_MAX];
        let used = (0..).zip(cells).filter(|(number, _)| has(sources, *number));
        for (to, cell) in bytes.iter_mut().zip(used.filter_map(|(_, cell)| *cell)) {
            *to = cell;
        }
        let (k, encode) = (self.matrix.cols(), self.kernels.encode);
        let tables = self.tables(sources, wanted)?;
        encode(tables, &bytes[..k], rebuilt);
        Ok(())
    }

    /// The tables of a pattern, which becomes the last one used.
    fn tables(&mut self, sources: u64, wanted: &[usize]) -> Result<&[u8], ErasureError> {
        let wanted_set = wanted.iter().fold(0, |set, number| set | 1u64 << number);
        let is_known = |known: &Pattern| known.sources == sources && known.wanted == wanted_set;
        let place = match self.patterns.iter().position(is_known) {
            Some(place) => place,
            None => {
                let pattern = Pattern {
                    sources,
                    wanted: wanted_set,
                    tables: self.compute_tables(sources, wanted)?,
                };
                self.patterns.truncate(PATTERNS_MAX - 1);
                self.patterns.push(pattern);
                self.patterns.len() - 1
            }
        };
        self.patterns[..=place].rotate_right(1);
        Ok(&self.patterns[0].tables)
    }

    /// The rows of the sources turn data into sources, so the inverse turns sources into data, and after it the rows of the wanted
    /// cells turn data into these.
    fn compute_tables(&self, sources: u64, wanted: &[usize]) -> Result<Vec<u8>, ErasureError> {
        let numbers = 0..self.matrix.rows();
        let sources: Vec<usize> = numbers.filter(|number| has(sources, *number)).collect();
        let to_data = self.matrix.select_rows(&sources).map_err(bug)?;
        let to_data = to_data.invert().map_err(bug)?;
        let to_wanted = self.matrix.select_rows(wanted).map_err(bug)?;
        let coefficients = to_wanted.multiply(&to_data).map_err(bug)?;
        Ok((self.kernels.init)(coefficients.as_bytes()))
    }

    #[cfg(test)]
    pub(super) fn patterns_kept(&self) -> usize {
        self.patterns.len()
    }
}

fn has(set: u64, number: usize) -> bool {
    set >> number & 1 == 1
}

fn bug(error: rusty_erasure::MatrixError) -> ErasureError {
    ErasureError::Bug(error.to_string())
}
