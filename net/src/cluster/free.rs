//! Freeing chunks: every shard that can be reached, place by place.
//!
//! Invariant: a place that cannot be reached holds nobody up. What lies there is left to orphan collection: when the device is back, its
//! shards are of closed allocation epochs and no name refers to them.

use std::collections::{BTreeMap, BTreeSet};

use futures_util::future::join_all;
use strata_engine::{ChunkId, EngineError, ShardId};

use super::Cluster;
use crate::message::Place;

/// Shards freed by one request: they share a tombstone record of the engine, and requests at the same time share a flush.
const SHARDS_PER_REQUEST: usize = 128;

impl Cluster {
    /// Frees every shard of the chunks that can be reached; returns when that is durable, with the places that had no room for
    /// it: what lies there is still to be freed.
    pub(crate) async fn free_chunks(
        &self,
        chunks: impl IntoIterator<Item = ChunkId>,
    ) -> BTreeSet<Place> {
        let mut by_place: BTreeMap<Place, Vec<ShardId>> = BTreeMap::new();
        for chunk in chunks {
            for (shard, place) in self.places_of(chunk) {
                by_place
                    .entry(place)
                    .or_default()
                    .push(ShardId { chunk, shard });
            }
        }
        let requests = by_place.iter().flat_map(|(place, shards)| {
            let parts = shards.chunks(SHARDS_PER_REQUEST);
            parts.map(|part| async { (*place, self.free_shards(*place, part.to_vec()).await) })
        });
        let mut unfreed = BTreeSet::new();
        for (place, outcome) in join_all(requests).await {
            match outcome {
                Ok(()) | Err(EngineError::NotFound) => {}
                Err(error @ (EngineError::Unavailable(_) | EngineError::Failed { .. })) => {
                    tracing::debug!(%error, device = %place.device, "freed chunks of a place that is not there are left to orphan collection");
                }
                Err(error) => {
                    tracing::warn!(%error, device = %place.device, partition = place.partition, "chunks could not be freed yet");
                    unfreed.insert(place);
                }
            }
        }
        unfreed
    }
}
