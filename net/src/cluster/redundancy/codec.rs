//! Parity from data, and lost shards from others: what the erasure code is given of a chunk.
//!
//! Invariant: the code works byte by byte, so shards are passed to it in runs that lie in one piece of memory in each of them; where a
//! data shard ends before the others, zeros follow.

use std::collections::BTreeMap;
use std::collections::btree_map::Entry;

use strata_engine::erasure::{Code, Codec, ErasureError, Geometry};
use strata_engine::reactor::{self, Buffer, BufferView};
use strata_engine::{EngineError, Payload};

use super::stripes::Stripes;
use crate::scheme::Scheme;

/// What stands behind the end of a data shard.
const ZEROS: &[u8] = &[0; 64 << 10];

/// The codecs of this reactor: at most one for each scheme.
#[derive(Default)]
pub(in crate::cluster) struct Codecs {
    by_scheme: BTreeMap<Scheme, Codec>,
}

impl Codecs {
    fn of(&mut self, scheme: Scheme) -> Result<&mut Codec, ErasureError> {
        match self.by_scheme.entry(scheme) {
            Entry::Occupied(known) => Ok(known.into_mut()),
            Entry::Vacant(new) => {
                let (k, m) = (scheme.data_shards(), scheme.losses());
                let codec = Codec::new(Geometry::new(Code::CauchyGf8, k, m)?)?;
                Ok(new.insert(codec))
            }
        }
    }
}

/// Views in a row, read from their beginning; zeros follow the last one.
#[derive(Clone, Default)]
pub(super) struct Run {
    views: Vec<BufferView>,
    view: usize,
    offset: usize,
}

impl Run {
    pub(super) fn new(views: Vec<BufferView>) -> Run {
        Run {
            views,
            view: 0,
            offset: 0,
        }
    }

    /// What comes next and lies in one piece of memory; never empty.
    fn next_piece(&self) -> &[u8] {
        match self.views.get(self.view) {
            Some(view) => &view[self.offset..],
            None => ZEROS,
        }
    }

    fn advance(&mut self, bytes: usize) {
        let Some(view) = self.views.get(self.view) else {
            return;
        };
        self.offset += bytes;
        if self.offset >= view.len() {
            (self.view, self.offset) = (self.view + 1, 0);
        }
    }

    /// Takes so many of the next bytes that are there.
    pub(super) fn take(&mut self, mut bytes: usize, into: &mut Vec<BufferView>) {
        while bytes > 0
            && let Some(view) = self.views.get(self.view)
        {
            let taken = bytes.min(view.len() - self.offset);
            into.push(view.slice(self.offset..self.offset + taken));
            bytes -= taken;
            self.advance(taken);
        }
    }
}

/// Bytes of all parity shards of a chunk.
pub(super) fn parity_bytes(scheme: Scheme, chunk: &Payload) -> usize {
    let stripes = Stripes::new(scheme.data_shards(), chunk.len() as u32);
    stripes.longest_shard_bytes() as usize * scheme.losses()
}

/// What each shard of a chunk holds.
///
/// # Errors
/// [`EngineError::Invalid`] for a chunk whose bytes are not what was given any more, and a code that fails.
pub(super) fn shards_of(
    codecs: &mut Codecs,
    scheme: Scheme,
    chunk: &Payload,
) -> Result<Vec<Payload>, EngineError> {
    let k = scheme.data_shards();
    let stripes = Stripes::new(k, chunk.len() as u32);
    let mut shards: Vec<Payload> = (0..k)
        .map(|shard| chunk.parts(stripes.ranges_of(shard)))
        .collect();
    let data = shards.iter().map(|shard| Run::new(shard.views().to_vec()));
    let bytes = stripes.longest_shard_bytes() as usize;
    let codec = codecs.of(scheme).map_err(defect)?;
    let parity = parity_of(codec, data.collect(), scheme.losses(), bytes).map_err(defect)?;
    shards.extend(parity.map(|parity| Payload::of(vec![parity.freeze()])));
    // Parity and the CRCs of cut cells were computed from the arena, and not from what was given.
    if !chunk.is_intact() {
        let why = "a chunk has changed in memory while it was coded".to_owned();
        return Err(EngineError::Invalid(why));
    }
    Ok(shards)
}

fn parity_of(
    codec: &mut Codec,
    mut data: Vec<Run>,
    count: usize,
    bytes: usize,
) -> Result<impl Iterator<Item = Buffer>, ErasureError> {
    let mut parity = buffers(count, bytes);
    let mut at = 0;
    while at < bytes {
        let length = run_length(&data, bytes - at);
        let from: Vec<&[u8]> = data.iter().map(|run| &run.next_piece()[..length]).collect();
        let mut into: Vec<&mut [u8]> = parity
            .iter_mut()
            .map(|buffer| &mut buffer[at..at + length])
            .collect();
        codec.encode(&from, &mut into)?;
        data.iter_mut().for_each(|run| run.advance(length));
        at += length;
    }
    Ok(parity.into_iter())
}

/// Computes shards from the same range of k others, all by their numbers in the scheme; `wanted` ascends.
pub(super) fn rebuilt(
    codecs: &mut Codecs,
    scheme: Scheme,
    mut sources: BTreeMap<usize, Run>,
    wanted: &[usize],
    bytes: usize,
) -> Result<Vec<Buffer>, EngineError> {
    let codec = codecs.of(scheme).map_err(defect)?;
    let mut rebuilt = buffers(wanted.len(), bytes);
    let mut at = 0;
    while at < bytes {
        let length = run_length(sources.values(), bytes - at);
        let mut from: Vec<Option<&[u8]>> = vec![None; scheme.shards()];
        for (shard, run) in &sources {
            from[*shard] = Some(&run.next_piece()[..length]);
        }
        let mut into: Vec<&mut [u8]> = rebuilt
            .iter_mut()
            .map(|buffer| &mut buffer[at..at + length])
            .collect();
        codec
            .reconstruct(&from, wanted, &mut into)
            .map_err(defect)?;
        sources.values_mut().for_each(|run| run.advance(length));
        at += length;
    }
    Ok(rebuilt)
}

/// How many bytes come next that lie in one piece in every run.
fn run_length<'a>(runs: impl IntoIterator<Item = &'a Run>, left: usize) -> usize {
    let pieces = runs.into_iter().map(|run| run.next_piece().len());
    pieces.min().unwrap_or(left).min(left)
}

/// Waits for no room in the arena: those who hold it may wait for what is computed here.
fn buffers(count: usize, bytes: usize) -> Vec<Buffer> {
    let buffers = (0..count).map(|_| {
        let mut buffer = reactor::allocate_now(bytes);
        buffer.set_len(bytes);
        buffer
    });
    buffers.collect()
}

fn defect(error: ErasureError) -> EngineError {
    EngineError::Invalid(error.to_string())
}
