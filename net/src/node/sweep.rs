//! Finds chunks that nobody refers to: what a crash left between the durable bytes and the command that was to name them.
//!
//! Invariants: only chunks of closed allocation epochs are looked at, so a chunk on its way to its name is never touched;
//! liveness is decided by the chunk's home inode alone; a chunk is
//! freed only when the readers that began before it was found dead have ended; the walk is bounded per turn and goes on where it stopped.

use std::time::Duration;

use strata_engine::ShardId;
use strata_engine::reactor::{self, TaskClass};

use crate::cluster::Cluster;
use crate::error::ClusterError;
use crate::message::Place;

/// Shards looked at in one turn.
const SHARDS_PER_TURN: usize = 512;

/// How often all partitions are walked; an allocation epoch lasts as long.
const PERIOD: Duration = Duration::from_secs(3600);

/// How long after the start the first walk begins, so that it does not compete with the first requests.
const FIRST_WALK_AFTER: Duration = Duration::from_secs(10);

/// Starts the background work of this reactor: the sweep of its partitions, its epochs and, on the metadata core, reclaiming.
pub fn spawn_background(cluster: &Cluster) -> Vec<reactor::Task<()>> {
    let mut tasks = vec![spawn(cluster.clone())];
    if reactor::index() == 0 {
        tasks.push(super::reclaim::spawn(cluster.clone()));
    }
    tasks
}

fn spawn(cluster: Cluster) -> reactor::Task<()> {
    reactor::spawn(TaskClass::Compaction, async move {
        reactor::sleep(FIRST_WALK_AFTER).await;
        loop {
            for place in cluster.local_places() {
                match sweep_partition(&cluster, place).await {
                    Ok(0) => {}
                    Ok(freed) => tracing::info!(
                        freed,
                        partition = place.partition,
                        "freed chunks that no name refers to"
                    ),
                    Err(error) => {
                        tracing::warn!(%error, partition = place.partition, "the sweep stopped; it begins again later")
                    }
                }
            }
            reactor::sleep(PERIOD).await;
            if let Err(error) = cluster.rotate_epoch().await {
                tracing::warn!(%error, "the allocation epoch could not be changed; the old one goes on");
            }
        }
    })
}

/// Walks one partition of this reactor once and frees what nobody refers to. Returns how many shards that were.
///
/// # Errors
/// Those of the stores and of reading the namespace.
pub async fn sweep_partition(cluster: &Cluster, place: Place) -> Result<usize, ClusterError> {
    let mut after = None;
    let mut freed = 0;
    loop {
        let shards = cluster.scan_here(place, after, SHARDS_PER_TURN)?;
        let Some((last, _)) = shards.last() else {
            return Ok(freed);
        };
        after = Some(*last);
        let dead = unreferenced(cluster, &shards)?;
        freed += dead.len();
        if !dead.is_empty() {
            wait_for_readers(cluster).await;
            cluster.free_shards(place, dead).await?;
        }
        reactor::yield_now().await;
    }
}

/// Waits until every reader that may have looked a name up before this moment has ended.
async fn wait_for_readers(cluster: &Cluster) {
    let seen = reactor::wall_clock().0;
    while cluster.parts().readers.oldest() <= seen {
        reactor::sleep(Duration::from_secs(1)).await;
    }
}

/// The shards of closed epochs that no extent of their home inode names.
fn unreferenced(
    cluster: &Cluster,
    shards: &[(ShardId, u64)],
) -> Result<Vec<ShardId>, ClusterError> {
    cluster.names(|view| {
        let mut dead = Vec::new();
        for (id, inode) in shards {
            let closed = view.epoch_closed(id.chunk.writer(), id.chunk.epoch())?;
            if closed && !view.references(*inode, id.chunk)? {
                dead.push(*id);
            }
        }
        Ok(dead)
    })
}
