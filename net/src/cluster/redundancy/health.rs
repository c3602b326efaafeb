//! How whole chunks are: which of their shards are where they belong.
//!
//! Invariants: a shard counts as there only when the store of its place says so, and in a scrub only when every byte of it has been
//! read and compared since; what could not be asked counts as away, never as there.

use std::collections::{BTreeMap, BTreeSet};

use futures_util::future::join_all;
use strata_engine::{EngineError, ShardId};
use strata_raftlog::namespace::Extent;

use crate::cluster::Cluster;
use crate::cluster::shard::ShardPlace;
use crate::error::ClusterError;
use crate::message::Place;
use crate::scheme::Scheme;

/// How whole a chunk is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct ChunkHealth {
    /// Shards that are not where they belong, or are damaged there, and whose places can take them anew.
    pub(crate) bad: BTreeSet<ShardPlace>,
    /// Shards whose places are not there, do not answer or take no writes.
    pub(crate) away: usize,
    /// Losses of further shards that its bytes survive; `None` when they cannot be had now.
    pub(crate) losses_left: Option<usize>,
    /// Losses that it was written to survive.
    pub(crate) losses_written: usize,
    /// Whether it is in the scheme that the layout has for its length.
    pub(crate) is_as_laid_out: bool,
    /// Bytes that were read and compared.
    pub(crate) verified_bytes: u64,
}

impl ChunkHealth {
    /// Whether every shard is where it belongs.
    pub(crate) fn is_whole(&self) -> bool {
        self.bad.is_empty() && self.away == 0
    }
}

/// What is known of a shard.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Found {
    There(u64),
    Bad,
    Away,
}

impl Cluster {
    /// How whole each of some chunks is, as the indexes of the stores have it.
    ///
    /// # Errors
    /// Extents that name what does not exist.
    pub(crate) async fn look_over(
        &self,
        extents: &[Extent],
    ) -> Result<Vec<ChunkHealth>, ClusterError> {
        let mut by_place: BTreeMap<Place, Vec<ShardId>> = BTreeMap::new();
        let mut chunks = Vec::with_capacity(extents.len());
        for extent in extents {
            let places = self.shard_places(extent)?;
            for at in places.iter().flatten() {
                by_place
                    .entry(at.place)
                    .or_default()
                    .push(id_of(extent, *at));
            }
            chunks.push((self.scheme_of(extent)?, places));
        }
        let asked = by_place.into_iter().map(|(place, ids)| async move {
            let held = self.holds_shards(place, ids.clone()).await;
            held.map(|held| ids.into_iter().zip(held).collect::<Vec<_>>())
        });
        let answers = join_all(asked).await.into_iter().flatten().flatten();
        let held: BTreeMap<ShardId, bool> = answers.collect();
        let chunks = extents.iter().zip(chunks);
        Ok(chunks
            .map(|(extent, (scheme, places))| {
                let found = places.into_iter().map(|at| {
                    let is_held = at.and_then(|at| held.get(&id_of(extent, at)));
                    (at, self.found(at, is_held.copied()))
                });
                health(scheme, self.is_as_laid_out(extent), found)
            })
            .collect())
    }

    /// How whole a chunk is, after every byte of its shards that can be had was read where it lies and compared.
    ///
    /// # Errors
    /// An extent that names what does not exist.
    pub(crate) async fn verify_chunk(&self, extent: &Extent) -> Result<ChunkHealth, ClusterError> {
        let scheme = self.scheme_of(extent)?;
        let places = self.shard_places(extent)?;
        let verified = places.into_iter().map(|at| async move {
            let Some(shard) = at else {
                return (at, Found::Away);
            };
            let verified = self.verify_shard(shard.place, id_of(extent, shard)).await;
            let found = match verified {
                Ok(bytes) => Found::There(bytes),
                Err(EngineError::Corrupt { .. } | EngineError::Io(_) | EngineError::NotFound) => {
                    self.found(at, Some(false))
                }
                Err(_) => Found::Away,
            };
            (at, found)
        });
        let is_as_laid_out = self.is_as_laid_out(extent);
        Ok(health(scheme, is_as_laid_out, join_all(verified).await))
    }

    /// What a shard counts as that its place says it has, or has not, or of which it says nothing.
    fn found(&self, at: Option<ShardPlace>, is_held: Option<bool>) -> Found {
        let parts = self.parts();
        let place = at.map(|at| at.place);
        let place = place.filter(|place| parts.is_readable(*place));
        match (place, is_held) {
            (Some(_), Some(true)) => Found::There(0),
            (Some(place), Some(false)) if parts.is_writable(place) => Found::Bad,
            _ => Found::Away,
        }
    }
}

fn id_of(extent: &Extent, at: ShardPlace) -> ShardId {
    ShardId {
        chunk: extent.chunk,
        shard: at.shard,
    }
}

fn health(
    scheme: Scheme,
    is_as_laid_out: bool,
    shards: impl IntoIterator<Item = (Option<ShardPlace>, Found)>,
) -> ChunkHealth {
    let (mut bad, mut away, mut there, mut verified_bytes) = (BTreeSet::new(), 0, 0usize, 0);
    for (at, found) in shards {
        match (at, found) {
            (_, Found::There(bytes)) => {
                there += 1;
                verified_bytes += bytes;
            }
            (Some(at), Found::Bad) => drop(bad.insert(at)),
            _ => away += 1,
        }
    }
    ChunkHealth {
        bad,
        away,
        losses_left: there.checked_sub(scheme.data_shards()),
        losses_written: scheme.losses(),
        is_as_laid_out,
        verified_bytes,
    }
}
