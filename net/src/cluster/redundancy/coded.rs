//! Chunks of which k shards hold the bytes and m more hold parity.
//!
//! A range is read from the data shards that hold it. Where one fails, is not there or does not answer, the same range is read from k
//! of the others and what is missing is computed.
//!
//! Invariants: a range costs no more reads than it has shards while all answer; shards that are damaged in different cells still give
//! every byte as long as k are whole in each row of cells; nothing is computed from bytes that were not verified.

use std::collections::{BTreeMap, BTreeSet};
use std::ops::Range;
use std::time::Duration;

use futures_util::stream::{FuturesUnordered, StreamExt};
use strata_engine::reactor::{self, Buffer, BufferView};
use strata_engine::{CELL_BYTES, ChunkId, EngineError, READ_ELSEWHERE_AFTER};
use strata_raftlog::namespace::Extent;

use super::Trouble;
use super::codec::{self, Run};
use super::shard_reads::{Answer, Ask, to_the_end};
use super::stripes::{Cell, Stripes};
use crate::cluster::Cluster;
use crate::cluster::shard::ShardPlace;
use crate::cluster::write::CHUNK_BYTES_MAX;
use crate::error::ClusterError;
use crate::memory::{NoMemory, Promise, Watermark};
use crate::scheme::Scheme;

/// How soon a place is looked at again that has not answered in time and has not been found late.
const LOOK_AGAIN: Duration = Duration::from_millis(50);

/// A chunk that is being read. Its shards are known by their numbers in the scheme.
pub(super) struct Coded<'a> {
    cluster: &'a Cluster,
    chunk: ChunkId,
    scheme: Scheme,
    stripes: Stripes,
    places: Vec<Option<ShardPlace>>,
}

/// A range of each of some shards.
type Ranges = BTreeMap<usize, Range<u32>>;
/// What was read of some shards.
type Found = BTreeMap<usize, Vec<BufferView>>;

impl<'a> Coded<'a> {
    pub(super) fn new(
        cluster: &'a Cluster,
        extent: &Extent,
        scheme: Scheme,
        places: Vec<Option<ShardPlace>>,
    ) -> Result<Coded<'a>, ClusterError> {
        let bytes = u32::try_from(extent.stored_length).ok();
        let bytes = bytes.filter(|bytes| (1..=CHUNK_BYTES_MAX as u32).contains(bytes));
        match bytes.filter(|_| places.len() == scheme.shards()) {
            Some(bytes) => Ok(Coded {
                cluster,
                chunk: extent.chunk,
                scheme,
                stripes: Stripes::new(scheme.data_shards(), bytes),
                places,
            }),
            None => Err(ClusterError::Corrupt(format!(
                "the extent of {} names {} slots and {} bytes, which this version does not read as {scheme}",
                extent.chunk,
                places.len(),
                extent.stored_length
            ))),
        }
    }

    /// Reads a range of the chunk.
    pub(super) async fn read(
        &self,
        range: Range<u64>,
        trouble: &mut Trouble,
    ) -> Option<Vec<BufferView>> {
        let cells = self.stripes.cells(range.start as u32..range.end as u32);
        self.read_cells(cells.collect(), trouble).await
    }

    /// Reads or computes all of one shard, by the number of its slot.
    pub(super) async fn rebuild(&self, slot: u8, trouble: &mut Trouble) -> Option<Vec<BufferView>> {
        let is_it = |place: &Option<ShardPlace>| place.is_some_and(|place| place.shard == slot);
        let shard = self.places.iter().position(is_it)?;
        let bytes = self.stripes.shard_bytes(shard);
        let cells = (0..bytes).step_by(CELL_BYTES).map(|start| {
            let end = (start + CELL_BYTES as u32).min(bytes);
            (shard, start..end)
        });
        self.read_cells(cells.collect(), trouble).await
    }

    /// Reads cells one behind the other: all at once, or else one by one, so that each may be computed from other shards.
    async fn read_cells(&self, cells: Vec<Cell>, trouble: &mut Trouble) -> Option<Vec<BufferView>> {
        let mut ranges = Ranges::new();
        for (shard, range) in &cells {
            let of_shard = ranges.entry(*shard).or_insert(range.start..range.start);
            of_shard.end = range.end;
        }
        let mut views = Vec::new();
        let promise = self.promise(self.memory_for(&ranges), trouble).await?;
        if let Some(found) = self.read_ranges(ranges, trouble).await {
            let runs = found
                .into_iter()
                .map(|(shard, views)| (shard, Run::new(views)));
            let mut runs: BTreeMap<usize, Run> = runs.collect();
            for (shard, range) in cells {
                runs.get_mut(&shard)?.take(range.len(), &mut views);
            }
            return Some(views);
        }
        if !trouble.has_damage() || cells.len() == 1 {
            return None;
        }
        drop(promise);
        let row = self.scheme.data_shards() + 1;
        let bytes = (cells.len() + row) * CELL_BYTES;
        let _promise = self.promise(bytes, trouble).await?;
        for (shard, range) in cells {
            let cell = Ranges::from([(shard, range)]);
            views.extend(self.read_ranges(cell, trouble).await?.remove(&shard)?);
        }
        Some(views)
    }

    /// Reads ranges of shards, and computes those that cannot be read or whose device does not answer.
    async fn read_ranges(&self, ranges: Ranges, trouble: &mut Trouble) -> Option<Found> {
        let mut found = Found::new();
        let mut waiting = BTreeSet::new();
        let mut asked = FuturesUnordered::new();
        let mut late = Vec::new();
        for (shard, range) in &ranges {
            let Some(place) = self.places[*shard] else {
                continue;
            };
            let asking = self.ask(*shard, ask_of(place, range.clone()));
            if self.is_late(*shard) {
                late.push(asking);
            } else {
                waiting.insert(*shard);
                asked.push(asking);
            }
        }
        let mut patience = READ_ELSEWHERE_AFTER;
        loop {
            let mut answer = reactor::timeout(patience, asked.next()).await;
            if answer.is_err() && !waiting.iter().any(|shard| self.is_late(*shard)) {
                // What is waited for is memory, or a device that has not been found late yet.
                patience = LOOK_AGAIN;
                continue;
            }
            if !matches!(answer, Ok(Some(_))) {
                let lost = without(&ranges, &found);
                if let Some(computed) = self.compute(&ranges, &lost, &found, trouble).await {
                    found.extend(computed);
                    to_the_end(asked);
                    return Some(found);
                }
                // Too few others have helped: whoever is slow is the last who can.
                asked.extend(std::mem::take(&mut late));
                answer = Ok(asked.next().await);
            }
            let (shard, answer) = answer.ok().flatten()?;
            waiting.remove(&shard);
            self.note(shard, answer, &mut found, trouble);
        }
    }

    /// Has memory promised, as far as the arena of this reactor tells.
    async fn promise(&self, bytes: usize, trouble: &mut Trouble) -> Option<Promise> {
        let promise = self.cluster.inner.read_memory.promise(bytes).await;
        let promise = promise.map_err(|NoMemory| {
            let why = "no memory became free for a read".to_owned();
            trouble.note_error(EngineError::Busy(why));
        });
        promise.ok()
    }

    /// Bytes of the buffers that are read into: of k shards where some of the ranges cannot be read as they are.
    fn memory_for(&self, ranges: &Ranges) -> usize {
        let bytes = |range: &Range<u32>| {
            let cells =
                range.start as usize / CELL_BYTES..(range.end as usize).div_ceil(CELL_BYTES);
            (cells.len() * CELL_BYTES).next_power_of_two()
        };
        let parts = self.cluster.parts();
        let is_there = |shard: &usize| {
            let place = self.places[*shard].map(|place| place.place);
            place.is_some_and(|place| !parts.is_late(place) && parts.is_readable(place))
        };
        if ranges.keys().all(is_there) {
            return ranges.values().map(bytes).sum();
        }
        let most = ranges.values().map(bytes).max().unwrap_or(0);
        most * (self.scheme.data_shards() + 1)
    }

    fn is_late(&self, shard: usize) -> bool {
        let place = self.places[shard];
        place.is_some_and(|place| self.cluster.parts().is_late(place.place))
    }

    /// Asks one shard for a range. The future holds no borrow, so that it can go on when nobody waits for it.
    fn ask(&self, shard: usize, ask: Ask) -> impl Future<Output = (usize, Answer)> + use<> {
        let (cluster, chunk) = (self.cluster.clone(), self.chunk);
        async move { (shard, cluster.ask_shard(chunk, ask).await) }
    }

    fn note(
        &self,
        shard: usize,
        (place, answer): Answer,
        found: &mut Found,
        trouble: &mut Trouble,
    ) {
        match answer {
            Ok(views) => drop(found.insert(shard, views)),
            Err(error) => {
                self.cluster.report(place, self.chunk, &error);
                trouble.note(place, error);
            }
        }
    }

    /// Computes ranges of shards from the bytes that the others have at the same offsets.
    async fn compute(
        &self,
        ranges: &Ranges,
        lost: &Ranges,
        found: &Found,
        trouble: &mut Trouble,
    ) -> Option<Found> {
        let Some(start) = lost.values().map(|range| range.start).min() else {
            return Some(Found::new());
        };
        let end = lost.values().map(|range| range.end).max()?;
        let known = found
            .iter()
            .filter(|(shard, _)| ranges[shard].start == start);
        let known: Found = known
            .map(|(shard, views)| (*shard, views.clone()))
            .collect();
        let sources = self.sources(lost, known, start..end, trouble).await?;
        let wanted: Vec<usize> = lost.keys().copied().collect();
        let rebuilt = {
            let mut codecs = self.cluster.inner.codecs.borrow_mut();
            let bytes = (end - start) as usize;
            codec::rebuilt(&mut codecs, self.scheme, sources, &wanted, bytes)
        };
        reactor::yield_if_due().await;
        let rebuilt = rebuilt.map_err(|error| trouble.note_error(error)).ok()?;
        let views = rebuilt.into_iter().map(Buffer::freeze);
        let computed = lost.iter().zip(views).map(|((shard, range), view)| {
            let (from, to) = (range.start - start, range.end - start);
            (*shard, vec![view.slice(from as usize..to as usize)])
        });
        Some(computed.collect())
    }

    /// The bytes that k shards have at some offsets: what is known from there on, the zeros behind the ends of short ones, and what
    /// others answer.
    async fn sources(
        &self,
        lost: &Ranges,
        mut known: Found,
        range: Range<u32>,
        trouble: &mut Trouble,
    ) -> Option<BTreeMap<usize, Run>> {
        let mut sources = BTreeMap::new();
        let (mut asks, mut numbers) = (Vec::new(), BTreeMap::new());
        for shard in (0..self.scheme.shards()).filter(|shard| !lost.contains_key(shard)) {
            let end = range
                .end
                .min(self.stripes.shard_bytes(shard))
                .max(range.start);
            let views = known.remove(&shard).unwrap_or_default();
            let bytes: usize = views.iter().map(|view| view.len()).sum();
            if bytes >= (end - range.start) as usize {
                sources.insert(shard, Run::new(views));
            } else if let Some(place) = self.places[shard] {
                asks.push(ask_of(place, range.start..end));
                numbers.insert(place, shard);
            }
        }
        asks.sort_by_key(|ask| self.cluster.asking_order(ask.shard.place));
        let needed = self.scheme.data_shards().saturating_sub(sources.len());
        let answers = self.cluster.first_of(self.chunk, asks, needed, trouble);
        for (place, views) in answers.await? {
            sources.insert(*numbers.get(&place)?, Run::new(views));
        }
        Some(sources)
    }
}

fn ask_of(shard: ShardPlace, range: Range<u32>) -> Ask {
    Ask {
        shard,
        range,
        watermark: Watermark::Promised,
    }
}

/// The ranges of which nothing was found yet.
fn without(ranges: &Ranges, found: &Found) -> Ranges {
    let left = ranges
        .iter()
        .filter(|(shard, _)| !found.contains_key(shard));
    left.map(|(shard, range)| (*shard, range.clone())).collect()
}
