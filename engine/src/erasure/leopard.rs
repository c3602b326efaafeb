//! The code over GF(2^16), for wide stripes, by the crate reed-solomon-simd.
//!
//! Invariants: parity needs all data cells at once, and computing a lost cell computes all lost data cells, at a cost that hardly
//! depends on how many are lost; cells are copied through working memory, which is kept for the next call.

use reed_solomon_simd::{DecoderResult, Error, ReedSolomonDecoder, ReedSolomonEncoder};

use super::ErasureError;

/// The shortest cell, in bytes: enough for what is made before a length is known.
const LENGTH_MIN: usize = 2;

/// The code for one geometry. Callers have checked numbers and lengths of cells, of which none is empty.
pub(super) struct Leopard {
    k: usize,
    m: usize,
    encoder: ReedSolomonEncoder,
    decoder: ReedSolomonDecoder,
}

impl Leopard {
    pub(super) fn new(k: usize, m: usize) -> Result<Leopard, ErasureError> {
        Ok(Leopard {
            k,
            m,
            encoder: ReedSolomonEncoder::new(k, m, LENGTH_MIN)?,
            decoder: ReedSolomonDecoder::new(k, m, LENGTH_MIN)?,
        })
    }

    pub(super) fn encode(
        &mut self,
        data: &[&[u8]],
        parity: &mut [&mut [u8]],
    ) -> Result<(), ErasureError> {
        let length = data.first().map_or(0, |cell| cell.len());
        self.encoder.reset(self.k, self.m, length)?;
        for cell in data {
            self.encoder.add_original_shard(cell)?;
        }
        let encoded = self.encoder.encode()?;
        for (to, cell) in parity.iter_mut().zip(encoded.recovery_iter()) {
            to.copy_from_slice(cell);
        }
        Ok(())
    }

    pub(super) fn reconstruct(
        &mut self,
        cells: &[Option<&[u8]>],
        sources: u64,
        wanted: &[usize],
        rebuilt: &mut [&mut [u8]],
    ) -> Result<(), ErasureError> {
        let (k, m) = (self.k, self.m);
        let length = rebuilt.first().map_or(0, |cell| cell.len());
        let decoded = if sources == all_data(k) {
            None
        } else {
            self.decoder.reset(k, m, length)?;
            Some(decode(&mut self.decoder, k, cells, sources)?)
        };
        let restored = |number| decoded.as_ref()?.restored_original(number);
        let data = |number: usize| cells[number].or_else(|| restored(number));
        let data = |number: usize| data(number).ok_or_else(|| not_computed(number));
        let parity_begin = wanted.partition_point(|number| *number < k);
        for (number, to) in wanted[..parity_begin].iter().zip(&mut *rebuilt) {
            to.copy_from_slice(data(*number)?);
        }
        if parity_begin == wanted.len() {
            return Ok(());
        }
        self.encoder.reset(k, m, length)?;
        for number in 0..k {
            self.encoder.add_original_shard(data(number)?)?;
        }
        let encoded = self.encoder.encode()?;
        for (number, to) in wanted.iter().zip(rebuilt).skip(parity_begin) {
            let cell = encoded.recovery(number - k);
            to.copy_from_slice(cell.ok_or_else(|| not_computed(*number))?);
        }
        Ok(())
    }
}

/// The set of all data cells.
fn all_data(k: usize) -> u64 {
    (1 << k) - 1
}

/// Computes the data cells that are not among the sources.
fn decode<'a>(
    decoder: &'a mut ReedSolomonDecoder,
    k: usize,
    cells: &[Option<&[u8]>],
    sources: u64,
) -> Result<DecoderResult<'a>, ErasureError> {
    let used = (0..)
        .zip(cells)
        .filter(|(number, _)| sources >> number & 1 == 1);
    for (number, cell) in used.filter_map(|(number, cell)| Some((number, (*cell)?))) {
        if number < k {
            decoder.add_original_shard(number, cell)?;
        } else {
            decoder.add_recovery_shard(number - k, cell)?;
        }
    }
    Ok(decoder.decode()?)
}

fn not_computed(number: usize) -> ErasureError {
    ErasureError::Bug(format!("cell {number} was not computed"))
}

impl From<Error> for ErasureError {
    fn from(error: Error) -> ErasureError {
        ErasureError::Bug(error.to_string())
    }
}
