//! The erasure code of a stripe: k data cells of equal length, and m parity cells computed from them.
//!
//! Cells are numbered: data cells 0 to k - 1, parity cells k to k + m - 1.
//!
//! Invariants:
//! - any k cells of a stripe give each of the others byte for byte; from fewer nothing is computed;
//! - the bytes of a parity cell follow from the geometry and the data cells alone, on every machine and in every version, since
//!   they are stored;
//! - a code detects no damage: from a damaged cell it computes damaged ones, so the caller verifies every cell before it passes
//!   it in;
//! - a call that is refused has written nothing;
//! - a codec is used by one thread at a time (its methods need it exclusively), and what it keeps between calls is bounded.

mod cauchy;
mod leopard;
#[cfg(test)]
mod reference;
#[cfg(test)]
mod tests;

use std::fmt;

use self::cauchy::Cauchy;
use self::leopard::Leopard;

/// Most cells of a stripe: sets of them are 64 bits.
pub const CELLS_MAX: usize = 64;
/// Most data cells with [`Code::CauchyGf8`].
pub const CAUCHY_DATA_CELLS_MAX: usize = 16;
/// Most parity cells with [`Code::CauchyGf8`].
pub const CAUCHY_PARITY_CELLS_MAX: usize = 8;

/// How parity is computed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Code {
    /// Reed-Solomon over GF(2^8), polynomial 0x11d, with the Cauchy matrix of ISA-L (`gf_gen_cauchy1_matrix`). Cells of any length.
    CauchyGf8,
    /// Reed-Solomon over GF(2^16) by additive Fourier transforms (Lin, Al-Naffouri, Han and Han 2016), as Leopard-RS and the crate
    /// reed-solomon-simd do it, for stripes that are too wide for the other. Cells of even length.
    LeopardGf16,
}

impl Code {
    /// What the length of a cell is a multiple of, in bytes.
    pub fn length_multiple(self) -> usize {
        match self {
            Code::CauchyGf8 => 1,
            Code::LeopardGf16 => 2,
        }
    }

    fn allows(self, k: usize, m: usize) -> bool {
        let (k_max, m_max) = match self {
            Code::CauchyGf8 => (CAUCHY_DATA_CELLS_MAX, CAUCHY_PARITY_CELLS_MAX),
            Code::LeopardGf16 => (CELLS_MAX, CELLS_MAX),
        };
        (1..=k_max).contains(&k) && (1..=m_max).contains(&m) && k + m <= CELLS_MAX
    }
}

impl fmt::Display for Code {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(match self {
            Code::CauchyGf8 => "Cauchy GF(2^8)",
            Code::LeopardGf16 => "Leopard GF(2^16)",
        })
    }
}

/// A code, with its numbers of data and parity cells.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Geometry {
    code: Code,
    k: usize,
    m: usize,
}

impl Geometry {
    /// A geometry of `k` data and `m` parity cells: 1 to 16 and 1 to 8 with [`Code::CauchyGf8`]; at least one of each and at most
    /// [`CELLS_MAX`] together with [`Code::LeopardGf16`].
    ///
    /// # Errors
    /// [`ErasureError::Geometry`].
    pub fn new(code: Code, k: usize, m: usize) -> Result<Geometry, ErasureError> {
        if code.allows(k, m) {
            Ok(Geometry { code, k, m })
        } else {
            Err(ErasureError::Geometry { code, k, m })
        }
    }

    /// The code.
    pub fn code(self) -> Code {
        self.code
    }

    /// The number of data cells, k.
    pub fn data_cells(self) -> usize {
        self.k
    }

    /// The number of parity cells, m, which is the number of cells that may be lost.
    pub fn parity_cells(self) -> usize {
        self.m
    }

    /// The number of all cells of a stripe, k + m.
    pub fn cells(self) -> usize {
        self.k + self.m
    }
}

/// Why cells were not computed. Nothing has been written then, except with [`ErasureError::Bug`].
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ErasureError {
    /// The code has no such geometry.
    #[error("{code} has no geometry of {k} data and {m} parity cells")]
    Geometry {
        /// The code.
        code: Code,
        /// Data cells.
        k: usize,
        /// Parity cells.
        m: usize,
    },
    /// Another number of slices than the geometry asks for.
    #[error("{given} {what} were given, {expected} are needed")]
    Count {
        /// What was given.
        what: &'static str,
        /// As many as there have to be.
        expected: usize,
        /// As many as there were.
        given: usize,
    },
    /// The cells of a stripe are not of one length.
    #[error("cell {cell} is {given} bytes long, the first one {expected}")]
    UnequalLengths {
        /// The number of the cell.
        cell: usize,
        /// The length of the first cell, in bytes.
        expected: usize,
        /// The length of this one, in bytes.
        given: usize,
    },
    /// The code does not take cells of this length.
    #[error("cells of {length} bytes, the code takes multiples of {multiple}")]
    Length {
        /// The length, in bytes.
        length: usize,
        /// What it has to be a multiple of, in bytes.
        multiple: usize,
    },
    /// More cells are lost than the geometry survives.
    #[error("{present} cells of the stripe are left, {needed} are needed")]
    TooFewCells {
        /// Cells that were given.
        present: usize,
        /// The number of data cells.
        needed: usize,
    },
    /// The geometry has no cell of this number.
    #[error("there is no cell {cell} of {cells}")]
    UnknownCell {
        /// The number.
        cell: usize,
        /// How many cells there are.
        cells: usize,
    },
    /// A wanted cell was given too, is wanted twice, or stands behind one of a higher number.
    #[error("cell {cell} is wanted, but not missing or not in ascending order")]
    Wanted {
        /// The number of the cell.
        cell: usize,
    },
    /// The code cannot take in one data cell after the other.
    #[error("{code} needs all data cells of a stripe at once")]
    NoUpdate {
        /// The code.
        code: Code,
    },
    /// The library that computes the code refused what was checked before: a defect of this module.
    #[error("the erasure code failed: {0}")]
    Bug(String),
}

enum Arithmetic {
    Cauchy(Cauchy),
    Leopard(Leopard),
}

/// Computes the cells of stripes of one geometry.
///
/// Between calls a codec for [`Code::CauchyGf8`] keeps the decoding tables of the last loss patterns, at most 132 KiB in all; one
/// for [`Code::LeopardGf16`] keeps working memory of at most 192 cells of the longest length that it met.
pub struct Codec {
    geometry: Geometry,
    arithmetic: Arithmetic,
}

impl Codec {
    /// A codec that has seen no loss yet. The first one of [`Code::LeopardGf16`] in a process computes tables of 8 MiB, which takes
    /// some 20 ms.
    ///
    /// # Errors
    /// [`ErasureError::Bug`].
    pub fn new(geometry: Geometry) -> Result<Codec, ErasureError> {
        let Geometry { code, k, m } = geometry;
        let arithmetic = match code {
            Code::CauchyGf8 => {
                Arithmetic::Cauchy(Cauchy::new(k, m, rusty_erasure::best_kernels())?)
            }
            Code::LeopardGf16 => Arithmetic::Leopard(Leopard::new(k, m)?),
        };
        Ok(Codec {
            geometry,
            arithmetic,
        })
    }

    /// The geometry of the stripes.
    pub fn geometry(&self) -> Geometry {
        self.geometry
    }

    /// The name of the implementation that was chosen for this processor, for reports.
    pub fn implementation(&self) -> &'static str {
        match &self.arithmetic {
            Arithmetic::Cauchy(cauchy) => cauchy.implementation(),
            Arithmetic::Leopard(_) => "reed-solomon-simd",
        }
    }

    /// Computes all parity cells: from the k data cells in their order into m buffers of the same length, whose former bytes do not
    /// matter. Cells of no bytes are allowed.
    ///
    /// # Errors
    /// [`ErasureError::Count`], [`ErasureError::UnequalLengths`], [`ErasureError::Length`].
    pub fn encode(&mut self, data: &[&[u8]], parity: &mut [&mut [u8]]) -> Result<(), ErasureError> {
        let Geometry { k, m, .. } = self.geometry;
        check_count("data cells", k, data.len())?;
        check_count("parity cells", m, parity.len())?;
        let data_lengths = (0..).zip(data.iter().map(|cell| cell.len()));
        let parity_lengths = (k..).zip(parity.iter().map(|cell| cell.len()));
        if self.length(data_lengths.chain(parity_lengths))? == 0 {
            return Ok(());
        }
        match &mut self.arithmetic {
            Arithmetic::Cauchy(cauchy) => cauchy.encode(data, parity),
            Arithmetic::Leopard(leopard) => leopard.encode(data, parity)?,
        }
        Ok(())
    }

    /// Adds the share of one data cell to all parity cells. Beginning with parity of zeros, after each of the k data cells was taken
    /// once, in any order, the bytes are those of [`Codec::encode`]. Taking the same cell again takes its share away. All parity is read
    /// and written for every cell, so this takes about twice the time of [`Codec::encode`], which is better once the stripe is complete.
    ///
    /// # Errors
    /// [`ErasureError::NoUpdate`] with [`Code::LeopardGf16`]; [`ErasureError::UnknownCell`] for a number that is no data cell's;
    /// [`ErasureError::Count`], [`ErasureError::UnequalLengths`].
    pub fn update(
        &mut self,
        number: usize,
        cell: &[u8],
        parity: &mut [&mut [u8]],
    ) -> Result<(), ErasureError> {
        let Geometry { code, k, m } = self.geometry;
        let Arithmetic::Cauchy(cauchy) = &self.arithmetic else {
            return Err(ErasureError::NoUpdate { code });
        };
        if number >= k {
            return Err(ErasureError::UnknownCell {
                cell: number,
                cells: k,
            });
        }
        check_count("parity cells", m, parity.len())?;
        let parity_lengths = (k..).zip(parity.iter().map(|cell| cell.len()));
        self.length([(number, cell.len())].into_iter().chain(parity_lengths))?;
        cauchy.update(number, cell, parity);
        Ok(())
    }

    /// Computes lost cells: `cells` has a slice for each of the k + m numbers whose cell is there, `wanted` holds the numbers of the
    /// cells to compute in ascending order, data or parity, `rebuilt` a buffer for each of them. Of the cells that are there the k
    /// with the lowest numbers are read; it is enough to pass these. Cells that are neither there nor wanted cost nothing.
    ///
    /// # Errors
    /// [`ErasureError::TooFewCells`] where fewer than k cells are there; [`ErasureError::UnknownCell`] and [`ErasureError::Wanted`]
    /// for a wrong list; [`ErasureError::Count`], [`ErasureError::UnequalLengths`], [`ErasureError::Length`].
    pub fn reconstruct(
        &mut self,
        cells: &[Option<&[u8]>],
        wanted: &[usize],
        rebuilt: &mut [&mut [u8]],
    ) -> Result<(), ErasureError> {
        check_count("cells", self.geometry.cells(), cells.len())?;
        check_count("buffers", wanted.len(), rebuilt.len())?;
        let sources = self.sources(cells)?;
        check_wanted(cells, wanted)?;
        let present = cells.iter().enumerate();
        let present = present.filter_map(|(number, cell)| Some((number, (*cell)?.len())));
        let rebuilt_lengths = rebuilt.iter().map(|cell| cell.len());
        let rebuilt_lengths = wanted.iter().copied().zip(rebuilt_lengths);
        if self.length(present.chain(rebuilt_lengths))? == 0 || wanted.is_empty() {
            return Ok(());
        }
        match &mut self.arithmetic {
            Arithmetic::Cauchy(cauchy) => cauchy.reconstruct(cells, sources, wanted, rebuilt),
            Arithmetic::Leopard(leopard) => leopard.reconstruct(cells, sources, wanted, rebuilt),
        }
    }

    /// The set of cells to compute from: the first k that are there.
    fn sources(&self, cells: &[Option<&[u8]>]) -> Result<u64, ErasureError> {
        let needed = self.geometry.k;
        let present = cells.iter().enumerate();
        let present = present.filter(|(_, cell)| cell.is_some());
        let first = present.clone().take(needed);
        let (sources, count) = first.fold((0u64, 0), |(set, count), (number, _)| {
            (set | 1 << number, count + 1)
        });
        if count < needed {
            return Err(ErasureError::TooFewCells {
                present: count,
                needed,
            });
        }
        Ok(sources)
    }

    /// The one length of all cells given, in bytes, which the code must take.
    fn length(
        &self,
        mut cells: impl Iterator<Item = (usize, usize)>,
    ) -> Result<usize, ErasureError> {
        let (_, expected) = cells.next().unwrap_or_default();
        let unequal = cells.find(|(_, length)| *length != expected);
        if let Some((cell, given)) = unequal {
            return Err(ErasureError::UnequalLengths {
                cell,
                expected,
                given,
            });
        }
        let multiple = self.geometry.code.length_multiple();
        if !expected.is_multiple_of(multiple) {
            let length = expected;
            return Err(ErasureError::Length { length, multiple });
        }
        Ok(expected)
    }
}

fn check_count(what: &'static str, expected: usize, given: usize) -> Result<(), ErasureError> {
    if given == expected {
        Ok(())
    } else {
        Err(ErasureError::Count {
            what,
            expected,
            given,
        })
    }
}

/// Wanted cells have numbers of the geometry, are missing, and ascend, so that each is wanted once.
fn check_wanted(cells: &[Option<&[u8]>], wanted: &[usize]) -> Result<(), ErasureError> {
    let mut lowest = 0;
    for &cell in wanted {
        match cells.get(cell) {
            None => {
                let cells = cells.len();
                return Err(ErasureError::UnknownCell { cell, cells });
            }
            Some(None) if cell >= lowest => lowest = cell + 1,
            Some(_) => return Err(ErasureError::Wanted { cell }),
        }
    }
    Ok(())
}
