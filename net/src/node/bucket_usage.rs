//! What the buckets hold, for status and metrics: read from the namespace every few seconds, where it has changed.
//!
//! Invariant: no turn reads more than a page of rows, however many buckets there are.

use std::time::Duration;

use strata_engine::reactor::{self, TaskClass};
use strata_raftlog::namespace::BucketUsage;

use crate::cluster::Cluster;
use crate::error::ClusterError;

/// How often.
const READ_EVERY: Duration = Duration::from_secs(5);

/// Buckets read in one turn.
const BUCKETS_PER_TURN: usize = 64;

/// Buckets that are shown one by one: each is a few lines of every reading of the metrics.
pub const BUCKETS_SHOWN_MAX: usize = 1_000;

/// What all buckets hold.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct BucketUsages {
    /// How many buckets there are.
    pub buckets: u64,
    /// What they hold together.
    pub total: BucketUsage,
    /// The oldest of them, at most [`BUCKETS_SHOWN_MAX`], each with its name.
    pub shown: Vec<(String, BucketUsage)>,
}

impl BucketUsages {
    fn add(&mut self, name: String, usage: BucketUsage) {
        self.buckets += 1;
        self.total.objects += usage.objects;
        self.total.bytes = self.total.bytes.saturating_add(usage.bytes);
        if self.shown.len() < BUCKETS_SHOWN_MAX {
            self.shown.push((name, usage));
        }
    }
}

/// Keeps the node's status up to date until the task is dropped. One reactor of the node does it.
pub(super) fn spawn(cluster: Cluster) -> reactor::Task<()> {
    reactor::spawn(TaskClass::Background, async move {
        let mut read_at = None;
        loop {
            let sequence =
                cluster.read(|view| Ok(view.group()?.map(|group| group.commit_sequence)));
            let usages = match sequence {
                Ok(sequence) if sequence == read_at => None,
                Ok(sequence) => {
                    read_at = sequence;
                    Some(read(&cluster).await)
                }
                Err(error) => Some(Err(error)),
            };
            match usages {
                Some(Ok(usages)) => cluster.parts().status.set_bucket_usages(usages),
                Some(Err(error)) => tracing::warn!(%error, "what the buckets hold is not known"),
                None => {}
            }
            reactor::sleep(READ_EVERY).await;
        }
    })
}

/// What the buckets hold now. Pages are read one after the other, so a bucket may change in between.
///
/// # Errors
/// Those of [`Cluster::read`].
pub async fn read(cluster: &Cluster) -> Result<BucketUsages, ClusterError> {
    let mut usages = BucketUsages::default();
    let mut first = 0;
    loop {
        let page = cluster.read(|view| view.bucket_usages(first, BUCKETS_PER_TURN))?;
        let Some((last, ..)) = page.last() else {
            return Ok(usages);
        };
        first = last + 1;
        page.into_iter()
            .for_each(|(_, name, usage)| usages.add(name, usage));
        reactor::yield_now().await;
    }
}
