//! Erasure coding of stripes in memory: parity from data, and lost cells from the others.
//!
//! Invariants: every stripe was coded, its lost cells rebuilt and compared with the lost ones before anything is measured; a rate
//! counts the data of the stripes, k cells each, whatever is computed from them; a cold figure walks from stripe to stripe over the
//! whole working set, so that with one larger than the caches no cell is in them, and a warm one does the same stripe again and
//! again. Nothing is allocated while it is measured. Cells lie one behind the other, the first at the beginning of a page.

use std::time::{Duration, Instant};

use anyhow::{Context as _, ensure};
use clap::{Args, ValueEnum};
use strata_engine::erasure::{Code, Codec, ErasureError, Geometry};

use crate::affinity;
use crate::report::{Report, Tally, parse_size};

const PAGE_BYTES: usize = 4096;

#[derive(Clone, Copy, PartialEq, Eq, ValueEnum)]
enum CodeName {
    /// Over GF(2^8), with ISA-L's Cauchy matrix.
    Cauchy,
    /// Over GF(2^16), for wide stripes.
    ReedSolomonSimd,
}

/// Options of `erasure`.
#[derive(Args)]
pub struct Options {
    #[arg(long, value_enum, default_value = "cauchy")]
    code: CodeName,
    /// Data cells of a stripe.
    #[arg(long, default_value_t = 4)]
    data: usize,
    /// Parity cells of a stripe.
    #[arg(long, default_value_t = 2)]
    parity: usize,
    /// Bytes of a cell.
    #[arg(long, value_parser = parse_size, default_value = "64KiB")]
    cell: u64,
    /// Numbers of the cells that are lost and rebuilt, in ascending order; parity cells follow the data cells.
    #[arg(long, value_delimiter = ',', default_value = "0")]
    lost: Vec<usize>,
    /// Bytes of all stripes together for the cold figures: more than the caches hold.
    #[arg(long, value_parser = parse_size, default_value = "512MiB")]
    working_set: u64,
    /// Seconds to measure each figure; there are six with cauchy, four with the other code.
    #[arg(long, default_value_t = 3)]
    seconds: u64,
    /// Where the random data begin.
    #[arg(long, default_value_t = 1)]
    seed: u64,
    /// The core to run on.
    #[arg(long, default_value_t = 0)]
    core: usize,
}

/// Codes, rebuilds and compares all stripes once, then measures on one core.
pub fn run(options: &Options) -> anyhow::Result<Report> {
    affinity::pin(options.core).context("pin")?;
    let code = match options.code {
        CodeName::Cauchy => Code::CauchyGf8,
        CodeName::ReedSolomonSimd => Code::LeopardGf16,
    };
    let geometry = Geometry::new(code, options.data, options.parity)?;
    let mut codec = Codec::new(geometry)?;
    let shape = Shape::new(geometry, options)?;
    let mut memory = vec![0; shape.stripe_bytes() * shape.stripes + PAGE_BYTES];
    let aligned = memory.as_ptr().align_offset(PAGE_BYTES);
    let memory = &mut memory[aligned..][..shape.stripe_bytes() * shape.stripes];
    fill(memory, options.seed);
    code_and_rebuild(&shape, &mut codec, memory)?;
    compare(&shape, memory)?;
    let mut report = Report::default();
    report.word("implementation", codec.implementation());
    report.count("stripes", shape.stripes as u64);
    let mut stripes = shape.uncoded(memory);
    measure(&mut report, &shape, "encode", &mut stripes, |stripe| {
        codec.encode(&stripe.data, &mut stripe.parity)
    })?;
    if code == Code::CauchyGf8 {
        measure(&mut report, &shape, "update", &mut stripes, |stripe| {
            update(&mut codec, stripe)
        })?;
    }
    drop(stripes);
    let mut stripes = shape.damaged(memory);
    measure(&mut report, &shape, "rebuild", &mut stripes, |stripe| {
        codec.reconstruct(&stripe.cells, &shape.lost, &mut stripe.rebuilt)
    })?;
    Ok(report)
}

/// How the stripes lie in memory: one after the other, each of k data cells, m parity cells and a buffer for each lost cell.
struct Shape {
    k: usize,
    m: usize,
    cell: usize,
    lost: Vec<usize>,
    stripes: usize,
    seconds: Duration,
}

/// A stripe whose parity is to be computed.
struct Uncoded<'a> {
    data: Vec<&'a [u8]>,
    parity: Vec<&'a mut [u8]>,
}

/// A stripe of which some cells are missing.
struct Damaged<'a> {
    cells: Vec<Option<&'a [u8]>>,
    rebuilt: Vec<&'a mut [u8]>,
}

impl Shape {
    fn new(geometry: Geometry, options: &Options) -> anyhow::Result<Shape> {
        let mut shape = Shape {
            k: geometry.data_cells(),
            m: geometry.parity_cells(),
            cell: usize::try_from(options.cell)?,
            lost: options.lost.clone(),
            stripes: 1,
            seconds: Duration::from_secs(options.seconds),
        };
        ensure!(shape.cell > 0, "cells of no bytes have no parity");
        let working_set = usize::try_from(options.working_set)?;
        shape.stripes = (working_set / shape.stripe_bytes()).max(1);
        Ok(shape)
    }

    fn stripe_bytes(&self) -> usize {
        (self.k + self.m + self.lost.len()) * self.cell
    }

    fn uncoded<'a>(&self, memory: &'a mut [u8]) -> Vec<Uncoded<'a>> {
        let stripe = |stripe: &'a mut [u8]| {
            let (data, others) = stripe.split_at_mut(self.k * self.cell);
            let parity = others.chunks_exact_mut(self.cell).take(self.m);
            Uncoded {
                data: data.chunks_exact(self.cell).collect(),
                parity: parity.collect(),
            }
        };
        let stripes = memory.chunks_exact_mut(self.stripe_bytes());
        stripes.map(stripe).collect()
    }

    fn damaged<'a>(&self, memory: &'a mut [u8]) -> Vec<Damaged<'a>> {
        let stripe = |stripe: &'a mut [u8]| {
            let (cells, rebuilt) = stripe.split_at_mut((self.k + self.m) * self.cell);
            let cells = cells.chunks_exact(self.cell).enumerate();
            let left = |(number, cell)| (!self.lost.contains(&number)).then_some(cell);
            Damaged {
                cells: cells.map(left).collect(),
                rebuilt: rebuilt.chunks_exact_mut(self.cell).collect(),
            }
        };
        let stripes = memory.chunks_exact_mut(self.stripe_bytes());
        stripes.map(stripe).collect()
    }
}

/// xorshift64*: the bytes need to differ, nothing more.
fn fill(memory: &mut [u8], seed: u64) {
    let mut state = seed.max(1);
    for word in memory.chunks_mut(8) {
        state ^= state >> 12;
        state ^= state << 25;
        state ^= state >> 27;
        let random = state.wrapping_mul(0x2545_f491_4f6c_dd1d).to_le_bytes();
        word.copy_from_slice(&random[..word.len()]);
    }
}

fn code_and_rebuild(
    shape: &Shape,
    codec: &mut Codec,
    memory: &mut [u8],
) -> Result<(), ErasureError> {
    for mut stripe in shape.uncoded(memory) {
        codec.encode(&stripe.data, &mut stripe.parity)?;
    }
    for mut stripe in shape.damaged(memory) {
        codec.reconstruct(&stripe.cells, &shape.lost, &mut stripe.rebuilt)?;
    }
    Ok(())
}

/// Fails unless each rebuilt cell is the lost one.
fn compare(shape: &Shape, memory: &[u8]) -> anyhow::Result<()> {
    for stripe in memory.chunks_exact(shape.stripe_bytes()) {
        let mut cells = stripe.chunks_exact(shape.cell);
        let whole: Vec<&[u8]> = cells.by_ref().take(shape.k + shape.m).collect();
        for (number, rebuilt) in shape.lost.iter().zip(cells) {
            ensure!(
                rebuilt == whole[*number],
                "cell {number} was rebuilt as other bytes than were lost"
            );
        }
    }
    Ok(())
}

/// The parity of a stripe whose data cells come one after the other.
fn update(codec: &mut Codec, stripe: &mut Uncoded<'_>) -> Result<(), ErasureError> {
    stripe.parity.iter_mut().for_each(|cell| cell.fill(0));
    for (number, cell) in stripe.data.iter().enumerate() {
        codec.update(number, cell, &mut stripe.parity)?;
    }
    Ok(())
}

/// Does the work on all stripes in turn and then on the first one alone, each for as long as is to be measured.
fn measure<S>(
    report: &mut Report,
    shape: &Shape,
    name: &str,
    stripes: &mut [S],
    mut work: impl FnMut(&mut S) -> Result<(), ErasureError>,
) -> anyhow::Result<()> {
    for (state, count) in [("cold", stripes.len()), ("warm", 1)] {
        let stripes = &mut stripes[..count];
        work(&mut stripes[0])?;
        let data_bytes = (shape.k * shape.cell) as u64;
        let mut tally = Tally::default();
        let begun = Instant::now();
        let (deadline, mut before, mut at) = (begun + shape.seconds, begun, 0);
        while before < deadline || tally.count() == 0 {
            at = (at + 1) % count;
            work(&mut stripes[at])?;
            let now = Instant::now();
            tally.add(now - before, data_bytes);
            before = now;
        }
        let seconds = (before - begun).as_secs_f64();
        let operations = tally.count() as f64;
        let gib = operations * data_bytes as f64 / f64::from(1 << 30);
        let prefix = format!("{name}_{state}");
        report.number(format!("{prefix}_gib_per_second"), gib / seconds);
        report.number(
            format!("{prefix}_us_per_stripe"),
            seconds * 1e6 / operations,
        );
        for (quantile_name, quantile) in [("p50", 0.5), ("p99", 0.99)] {
            let microseconds = tally.quantile_ms(quantile) * 1e3;
            report.number(format!("{prefix}_{quantile_name}_us"), microseconds);
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn options(code: CodeName, lost: &[usize]) -> Options {
        Options {
            code,
            data: 4,
            parity: 2,
            cell: 4096,
            lost: lost.to_vec(),
            working_set: 1 << 20,
            seconds: 0,
            seed: 1,
            core: 0,
        }
    }

    #[test]
    fn both_codes_rebuild_what_is_lost() {
        for code in [CodeName::Cauchy, CodeName::ReedSolomonSimd] {
            for lost in [&[0][..], &[1, 4], &[4, 5], &[]] {
                run(&options(code, lost)).unwrap();
            }
        }
    }

    #[test]
    fn what_cannot_be_rebuilt_is_refused() {
        for (lost, why) in [
            (&[0, 1, 2][..], "3 cells of the stripe are left"),
            (&[1, 0], "ascending order"),
            (&[6], "no cell 6"),
        ] {
            let refused = run(&options(CodeName::Cauchy, lost)).unwrap_err();
            assert!(refused.to_string().contains(why), "{refused:#}");
        }
        let mut options = options(CodeName::Cauchy, &[0]);
        options.cell = 0;
        assert!(run(&options).is_err());
    }

    #[test]
    fn a_wrongly_rebuilt_cell_is_found() {
        let geometry = Geometry::new(Code::CauchyGf8, 4, 2).unwrap();
        let shape = Shape::new(geometry, &options(CodeName::Cauchy, &[1])).unwrap();
        let mut memory = vec![0; shape.stripe_bytes() * shape.stripes];
        fill(&mut memory, 7);
        code_and_rebuild(&shape, &mut Codec::new(geometry).unwrap(), &mut memory).unwrap();
        compare(&shape, &memory).unwrap();
        *memory.last_mut().unwrap() ^= 1;
        let why = compare(&shape, &memory).unwrap_err().to_string();
        assert!(why.contains("cell 1 was rebuilt"), "{why}");
    }
}
