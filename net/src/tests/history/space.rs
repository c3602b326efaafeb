//! The checker of space: once everything has settled, what lies on the devices is what names refer to, and bounded garbage.

use std::collections::BTreeSet;

use strata_engine::ShardId;
use strata_raftlog::namespace::{BodyPosition, Extent};

use crate::cluster::Cluster;
use crate::error::ClusterError;
use crate::message::Place;

/// Rows of the namespace that are read at a time, and shards of a partition.
const PAGE: usize = 1024;

/// Segments of a partition that may be in use beside those that its live bytes would fill twice: the one that is written to, those of the
/// index, and those that are kept until the next checkpoint.
const SEGMENTS_BESIDE: u64 = 12;

/// Every chunk that a body names, each once.
pub fn extents(cluster: &Cluster) -> Result<Vec<Extent>, ClusterError> {
    let mut extents = Vec::new();
    let mut from = Some(BodyPosition::default());
    while let Some(at) = from {
        let page = cluster.read(|view| view.every_extent(at, PAGE))?;
        extents.extend(page.extents.into_iter().map(|(_, extent)| extent));
        from = page.next;
    }
    Ok(extents)
}

/// The shards of a chunk, with the places where its group has them.
pub fn shards_of(cluster: &Cluster, extent: &Extent) -> Vec<(Place, ShardId)> {
    let slots = cluster
        .slots_of(extent.chunk.placement_group())
        .unwrap_or_default();
    let shards = (0u8..)
        .zip(slots)
        .filter(|(shard, _)| extent.slot_mask & (1 << shard) != 0);
    let chunk = extent.chunk;
    shards
        .map(|(shard, place)| (place, ShardId { chunk, shard }))
        .collect()
}

/// What is wrong with what lies on the devices; `None` when that is exactly what names refer to.
///
/// # Errors
/// Those of reading the namespace and the stores.
pub async fn garbage(cluster: &Cluster) -> Result<Option<String>, ClusterError> {
    let dropped = cluster.read(|view| view.dropped(None, PAGE))?;
    if !dropped.is_empty() {
        return Ok(Some(format!(
            "{} dropped bodies are not released",
            dropped.len()
        )));
    }
    let named = extents(cluster)?;
    let wanted: BTreeSet<(Place, ShardId)> = named
        .iter()
        .flat_map(|extent| shards_of(cluster, extent))
        .collect();
    let mut there = BTreeSet::new();
    for (place, _) in cluster.parts().partitions.iter() {
        let mut after = None;
        loop {
            let page = cluster.scan_at(place, after, PAGE).await?;
            let Some((last, _)) = page.last() else { break };
            after = Some(*last);
            there.extend(page.iter().map(|(id, _)| (place, *id)));
        }
    }
    let orphans = there.difference(&wanted).count();
    let missing = wanted.difference(&there).count();
    if orphans + missing > 0 {
        let first = there.symmetric_difference(&wanted).next();
        return Ok(Some(format!(
            "{orphans} shards lie where no name refers to them, {missing} are not where they belong, of {}; the first: {first:?}",
            wanted.len()
        )));
    }
    Ok(beyond_bounds(cluster))
}

/// Partitions of which more segments are in use than their live bytes explain.
fn beyond_bounds(cluster: &Cluster) -> Option<String> {
    use std::sync::atomic::Ordering::Relaxed;
    cluster
        .parts()
        .partitions
        .iter()
        .find_map(|(place, partition)| {
            let statistics = &partition.statistics;
            let (live, used) = (
                statistics.live_bytes.load(Relaxed),
                statistics.log.used_bytes(),
            );
            let bound = 2 * live + SEGMENTS_BESIDE * statistics.log.segment_bytes.load(Relaxed);
            let text = || {
                format!("{place:?} uses {used} bytes for {live} that are live, of at most {bound}")
            };
            (used > bound).then(text)
        })
}
