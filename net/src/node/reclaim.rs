//! Gives back the space of deleted and overwritten bodies.
//!
//! A command that takes a name away queues the extents that fall with it in the same transaction, so nothing leaks. This
//! takes them from the queue, frees the shards durably and only then has the rows forgotten.
//!
//! Invariant: a chunk is freed only when every reader that may have looked its name up before the change has ended.

use std::time::Duration;

use strata_engine::reactor::{self, TaskClass};
use strata_raftlog::command::ChunksFreed;
use strata_raftlog::namespace::FreedExtents;

use crate::cluster::Cluster;
use crate::error::ClusterError;

/// Rows taken from the queue at a time.
const ROWS_MAX: usize = 256;

/// How often an empty queue is looked at.
const IDLE: Duration = Duration::from_millis(500);

/// A look-up and the start of its reader happen in one turn; no turn lasts nearly this long.
const GRACE: Duration = Duration::from_secs(1);

/// Reclaims space until the task is dropped. One reactor of the node does it.
pub fn spawn(cluster: Cluster) -> reactor::Task<()> {
    reactor::spawn(TaskClass::Compaction, async move {
        loop {
            match reclaim_some(&cluster).await {
                Ok(rows) if rows == ROWS_MAX => {}
                Ok(_) => reactor::sleep(IDLE).await,
                Err(error) => {
                    tracing::warn!(%error, "space could not be reclaimed; trying again");
                    reactor::sleep(Duration::from_secs(5)).await;
                }
            }
        }
    })
}

async fn reclaim_some(cluster: &Cluster) -> Result<usize, ClusterError> {
    let safe = cluster.parts().readers.oldest().min(
        reactor::wall_clock()
            .0
            .saturating_sub(GRACE.as_micros() as u64),
    );
    let rows: Vec<FreedExtents> = cluster.names(|view| view.freed(None, ROWS_MAX))?;
    let due: Vec<FreedExtents> = rows
        .into_iter()
        .filter(|row| row.key.time_micros < safe)
        .collect();
    if due.is_empty() {
        return Ok(0);
    }
    for row in &due {
        for extent in &row.extents {
            cluster.free_extent(extent).await?;
        }
    }
    let count = due.len();
    cluster
        .change(ChunksFreed {
            rows: due.into_iter().map(|row| row.key).collect(),
        })
        .await?;
    Ok(count)
}
