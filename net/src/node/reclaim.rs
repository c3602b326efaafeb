//! Gives back the space of deleted and overwritten bodies.
//!
//! A command that takes a name away queues the extents that fall with it in the same transaction, so nothing leaks. This
//! takes them from the queue, frees the shards durably and only then has the rows forgotten.
//!
//! Invariants: a chunk is freed only when every reader that may have looked its name up before the change has ended; readers of
//! other bodies, and places that are missing, have failed or are full, hold up nothing else.

use std::collections::BTreeSet;
use std::time::Duration;

use strata_engine::reactor::{self, TaskClass};
use strata_raftlog::namespace::FreedExtents;
use strata_raftlog::namespace::command::ChunksFreed;

use crate::cluster::Cluster;
use crate::error::ClusterError;
use crate::message::Place;

/// Rows taken from the queue at a time.
const ROWS_MAX: usize = 256;

/// How often an empty queue is looked at.
const IDLE: Duration = Duration::from_millis(500);

/// A look-up and the start of its reader happen in one turn; no turn lasts nearly this long.
pub(super) const GRACE: Duration = Duration::from_secs(1);

/// Reclaims space until the task is dropped. One reactor of the node does it.
pub fn spawn(cluster: Cluster) -> reactor::Task<()> {
    reactor::spawn(TaskClass::Compaction, async move {
        loop {
            let begun = reactor::now();
            if let Err(error) = reclaim(&cluster).await {
                tracing::warn!(%error, "space could not be reclaimed; trying again");
                reactor::sleep(Duration::from_secs(5)).await;
            }
            // Rows that must stay are read again on every walk: a long queue of them is walked more rarely.
            reactor::sleep(IDLE.max(begun.elapsed())).await;
        }
    })
}

/// Walks the queue once and frees what is due; returns how many rows are forgotten. Rows of a full place stay for later.
///
/// # Errors
/// Those of reading the namespace and of [`Cluster::change`].
pub async fn reclaim(cluster: &Cluster) -> Result<usize, ClusterError> {
    let (mut after, mut forgotten) = (None, 0);
    loop {
        let rows = cluster.names(|view| view.freed(after, ROWS_MAX))?;
        let Some(last) = rows.last() else {
            return Ok(forgotten);
        };
        after = Some(last.key);
        forgotten += free_rows(cluster, due(cluster, rows)).await?;
        reactor::yield_now().await;
    }
}

/// The rows that no reader can need any more.
fn due(cluster: &Cluster, mut rows: Vec<FreedExtents>) -> Vec<FreedExtents> {
    let grace = GRACE.as_micros() as u64;
    let safe = reactor::wall_clock().0.saturating_sub(grace);
    rows.retain(|row| row.key.time_micros < safe);
    // Whoever may need a row that is older than the grace has a pin by now.
    let read = cluster.parts().readers.inodes();
    rows.retain(|row| !read.contains(&row.inode));
    rows
}

/// Frees the chunks of rows, all that lie in one place together, and has the rows forgotten.
async fn free_rows(cluster: &Cluster, rows: Vec<FreedExtents>) -> Result<usize, ClusterError> {
    let chunks = rows.iter().flat_map(|row| &row.extents);
    let unfreed = cluster.free_chunks(chunks.map(|extent| extent.chunk)).await;
    let is_free = |row: &FreedExtents| {
        let mut chunks = row.extents.iter().map(|extent| extent.chunk);
        unfreed.is_empty() || chunks.all(|chunk| is_apart(&cluster.places_of(chunk), &unfreed))
    };
    let keys: Vec<_> = rows
        .iter()
        .filter(|row| is_free(row))
        .map(|row| row.key)
        .collect();
    let count = keys.len();
    if count > 0 {
        cluster.change(ChunksFreed { rows: keys }).await?;
    }
    Ok(count)
}

fn is_apart(places: &[Place], others: &BTreeSet<Place>) -> bool {
    places.iter().all(|place| !others.contains(place))
}
