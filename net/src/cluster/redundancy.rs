//! The redundancy seam: how a chunk is made into shards, how a range of it is read from them, and how a shard is made anew.
//!
//! Two layouts stand below it: whole copies ([`mirrored`]) and a code over stripes ([`coded`]). What stands above knows chunks and
//! their bytes, and neither k, nor m, nor cells.
//!
//! Invariants: a chunk is read in the scheme that its extent names, whatever the layout has become since; every byte that is
//! handed on was checked by the store that read it, or computed from such bytes; a shard that fails or does not answer is
//! passed over for others, and only when the bytes cannot be had at all does the reader see an error.

mod codec;
mod coded;
mod health;
mod mirrored;
mod shard_reads;
mod stripes;
mod trouble;

use std::collections::BTreeMap;
use std::ops::Range;

use strata_engine::reactor::BufferView;
use strata_engine::{CELL_BYTES, EngineError, Payload};
use strata_raftlog::namespace::Extent;

pub(crate) use health::ChunkHealth;
pub(crate) use trouble::Trouble;

use super::Cluster;
use super::shard::ShardPlace;
use super::write::CHUNK_BYTES_MAX;
use crate::error::ClusterError;
use crate::memory;
use crate::message::Place;
use crate::scheme::Scheme;
pub(super) use codec::Codecs;
use coded::Coded;

/// Bytes of whole copies that are read at a time, and about as many of coded chunks while memory is short.
const PIECE_BYTES: u64 = 256 << 10;

/// The schemes of the geometries that extents have named. The table only grows, so what is known stays true.
pub(super) type KnownSchemes = BTreeMap<u16, Scheme>;

impl Cluster {
    /// Plans a write: what each shard of a chunk holds, in the order of the scheme's shards.
    ///
    /// # Errors
    /// A chunk that has changed in memory since it was given, and a code that fails, which is a defect.
    pub(super) fn shards_of(
        &self,
        scheme: Scheme,
        chunk: &Payload,
    ) -> Result<Vec<Payload>, EngineError> {
        if scheme.is_coded() {
            codec::shards_of(&mut self.inner.codecs.borrow_mut(), scheme, chunk)
        } else {
            Ok(vec![chunk.clone(); scheme.shards()])
        }
    }

    /// Bytes of memory that [`Cluster::shards_of`] takes.
    pub(super) fn parity_bytes(scheme: Scheme, chunk: &Payload) -> usize {
        if scheme.is_coded() {
            codec::parity_bytes(scheme, chunk)
        } else {
            0
        }
    }

    /// Reads a range of a chunk, and notes what is wrong with the shards that were asked; `None` where the bytes cannot be had.
    pub(super) async fn read_chunk(
        &self,
        extent: &Extent,
        range: Range<u64>,
        trouble: &mut Trouble,
    ) -> Result<Option<Vec<BufferView>>, ClusterError> {
        let scheme = self.scheme_of(extent)?;
        let places = self.shard_places(extent)?;
        if scheme.is_coded() {
            let coded = Coded::new(self, extent, scheme, places)?;
            return Ok(coded.read(range, trouble).await);
        }
        let copies: Vec<ShardPlace> = places.into_iter().flatten().collect();
        let copies = self.in_order_of_asking(copies);
        let read = mirrored::read(self, extent.chunk, &copies, range, trouble);
        Ok(read.await)
    }

    /// Plans a rebuild: what one shard of a chunk holds, from the others and from what is whole of itself.
    pub(super) async fn rebuild_shard(
        &self,
        extent: &Extent,
        bad: ShardPlace,
    ) -> Result<Option<Payload>, ClusterError> {
        let scheme = self.scheme_of(extent)?;
        let places = self.shard_places(extent)?;
        let mut trouble = Trouble::default();
        let views = if scheme.is_coded() {
            let coded = Coded::new(self, extent, scheme, places)?;
            coded.rebuild(bad.shard, &mut trouble).await
        } else {
            let copies: Vec<ShardPlace> = places.into_iter().flatten().collect();
            let mut copies = self.in_order_of_asking(copies);
            // The good cells of a damaged copy count too, after those of the others.
            copies.sort_by_key(|copy| *copy == bad);
            mirrored::read_whole(self, extent, &copies, &mut trouble).await
        };
        Ok(views.map(Payload::of))
    }

    /// Bytes of an extent's chunk that are best read at a time, and where such pieces begin: at multiples of it. A coded chunk is
    /// read whole while there is memory, so that each of its devices is asked once.
    pub(super) fn piece_bytes(&self, extent: &Extent) -> Result<u64, ClusterError> {
        let scheme = self.scheme_of(extent)?;
        if !scheme.is_coded() {
            return Ok(PIECE_BYTES);
        }
        if memory::is_plentiful() {
            return Ok(CHUNK_BYTES_MAX as u64);
        }
        let stripe = (scheme.data_shards() * CELL_BYTES) as u64;
        Ok(stripe * (PIECE_BYTES / stripe).max(1))
    }

    /// The places of the shards of an extent's chunk, in the order of its scheme's shards; `None` where the device is not there.
    pub(crate) fn shard_places(
        &self,
        extent: &Extent,
    ) -> Result<Vec<Option<ShardPlace>>, ClusterError> {
        let chunk = extent.chunk;
        let slots = self.slots_of(chunk.placement_group()).ok_or_else(|| {
            ClusterError::Corrupt(format!(
                "{chunk} names a placement group that does not exist"
            ))
        })?;
        let shards = (0u8..).zip(slots);
        let shards = shards.filter(|(shard, _)| extent.slot_mask & (1 << shard) != 0);
        Ok(shards
            .map(|(shard, place)| {
                let is_there = self.inner.parts.owner_of(place).is_some();
                is_there.then_some(ShardPlace { shard, place })
            })
            .collect())
    }

    /// Those first whose device answers, and of them those of this reactor.
    pub(crate) fn in_order_of_asking(&self, mut shards: Vec<ShardPlace>) -> Vec<ShardPlace> {
        shards.sort_by_key(|shard| self.asking_order(shard.place));
        shards
    }

    fn asking_order(&self, place: Place) -> (bool, bool) {
        let is_late = self.inner.parts.is_late(place);
        (is_late, self.peer_of(place).is_some())
    }

    pub(super) fn scheme_of(&self, extent: &Extent) -> Result<Scheme, ClusterError> {
        let number = extent.geometry;
        if let Some(known) = self.inner.schemes.borrow().get(&number) {
            return Ok(*known);
        }
        let row = self.read(|view| view.geometry(number))?;
        let row = row.ok_or_else(|| {
            ClusterError::Corrupt(format!(
                "{} names geometry {number}, which does not exist",
                extent.chunk
            ))
        })?;
        let scheme = Scheme::of(&row).ok_or_else(|| {
            ClusterError::Unavailable(format!(
                "{} is of geometry {number}, which this version cannot read",
                extent.chunk
            ))
        })?;
        self.inner.schemes.borrow_mut().insert(number, scheme);
        Ok(scheme)
    }
}
