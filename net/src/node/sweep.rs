//! Finds chunks that nobody refers to: what a crash left between the durable bytes and the command that was to name them.
//!
//! Invariants: only chunks of closed allocation epochs are looked at, so a chunk on its way to its name is never touched;
//! liveness is decided by the chunk's home inode alone; a dead chunk stays while its inode is being read, until the next walk;
//! every turn is bounded, however long the body, and the walk goes on where it stopped.

use std::collections::BTreeMap;
use std::time::Duration;

use strata_engine::reactor::{self, TaskClass};
use strata_engine::{ChunkId, EngineError, ShardId};

use super::reclaim::GRACE;
use crate::cluster::Cluster;
use crate::error::ClusterError;
use crate::message::{Place, Scanned};

/// Shards looked at before some of them are freed.
const SHARDS_PER_PAGE: usize = 512;

/// Rows of extents read in one turn: more extents than a page has shards.
const ROWS_PER_TURN: usize = 32;

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
                    Ok(swept) if swept.freed == 0 => {}
                    Ok(swept) => tracing::info!(
                        freed = swept.freed,
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

/// What a walk has done.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Swept {
    /// Shards that were freed.
    pub freed: usize,
    /// Rows of extents that were read.
    pub rows: usize,
}

/// Walks one partition of this reactor once and frees what nobody refers to.
///
/// # Errors
/// Those of the stores and of reading the namespace.
pub async fn sweep_partition(cluster: &Cluster, place: Place) -> Result<Swept, ClusterError> {
    let mut after = None;
    let mut swept = Swept::default();
    loop {
        let shards = cluster.scan_here(place, after, SHARDS_PER_PAGE)?;
        let Some((last, _)) = shards.last() else {
            return Ok(swept);
        };
        after = Some(*last);
        let mut dead = Vec::new();
        for (inode, shards) in of_closed_epochs(cluster, shards)? {
            let mut page = InodePage::new(cluster, place, inode, shards);
            dead.extend(page.unreferenced().await?.map(|shard| (inode, shard)));
            swept.rows += page.rows;
            reactor::yield_if_due().await;
        }
        if !dead.is_empty() {
            // Whoever looked one of them up before it was dead has a pin after that.
            reactor::sleep(GRACE).await;
            let read = cluster.parts().readers.inodes();
            dead.retain(|(inode, _)| !read.contains(inode));
            let shards: Vec<ShardId> = dead.into_iter().map(|(_, shard)| shard).collect();
            swept.freed += shards.len();
            cluster.free_shards(place, shards).await?;
        }
        reactor::yield_now().await;
    }
}

/// The shards of closed epochs by their home inodes.
fn of_closed_epochs(
    cluster: &Cluster,
    shards: Scanned,
) -> Result<BTreeMap<u64, Vec<ShardId>>, ClusterError> {
    cluster.names(|view| {
        let (mut closed, mut by_inode) = (BTreeMap::new(), BTreeMap::<u64, Vec<ShardId>>::new());
        for (id, inode) in shards {
            let epoch = (id.chunk.writer(), id.chunk.epoch());
            let is_closed = match closed.get(&epoch) {
                Some(known) => *known,
                None => view.epoch_closed(epoch.0, epoch.1)?,
            };
            closed.insert(epoch, is_closed);
            if is_closed {
                by_inode.entry(inode).or_default().push(id);
            }
        }
        Ok(by_inode)
    })
}

/// Shards of one inode that are looked for among its extents.
struct InodePage<'a> {
    cluster: &'a Cluster,
    place: Place,
    inode: u64,
    missing: BTreeMap<ChunkId, ShardId>,
    rows: usize,
}

impl<'a> InodePage<'a> {
    fn new(cluster: &'a Cluster, place: Place, inode: u64, shards: Vec<ShardId>) -> Self {
        InodePage {
            cluster,
            place,
            inode,
            missing: shards
                .into_iter()
                .map(|shard| (shard.chunk, shard))
                .collect(),
            rows: 0,
        }
    }

    /// The shards that no extent names. They are looked for at the beginning of the body, which is all of most; then where
    /// the owner of each says, which finds those that were written after it too; and in the whole body only when that failed.
    async fn unreferenced(
        &mut self,
    ) -> Result<impl Iterator<Item = ShardId> + use<>, ClusterError> {
        let beyond = self.find_from((0, 0))?;
        if beyond.is_some() {
            self.find_by_owner().await?;
            let mut from = (!self.missing.is_empty()).then_some((0, 0));
            while let Some(here) = from {
                reactor::yield_now().await;
                from = self.find_from(here)?;
            }
        }
        Ok(std::mem::take(&mut self.missing).into_values())
    }

    async fn find_by_owner(&mut self) -> Result<(), ClusterError> {
        let mut astray = BTreeMap::new();
        while let Some((chunk, shard)) = self.missing.pop_first() {
            match self.cluster.owner_here(self.place, shard).await {
                Ok(owner) => {
                    self.missing.insert(chunk, shard);
                    self.find_from((owner.space, owner.offset))?;
                    if self.missing.remove(&chunk).is_some() {
                        astray.insert(chunk, shard);
                    }
                }
                // It has been freed meanwhile.
                Err(EngineError::NotFound) => {}
                Err(error) => {
                    tracing::warn!(%error, %shard, "the owner of a shard cannot be read");
                    astray.insert(chunk, shard);
                }
            }
            reactor::yield_now().await;
        }
        self.missing = astray;
        Ok(())
    }

    /// Strikes out what the rows from a space and offset on name, as many as a turn may read; says where to go on.
    fn find_from(&mut self, from: (u32, u64)) -> Result<Option<(u32, u64)>, ClusterError> {
        let page = self
            .cluster
            .names(|view| view.chunks(self.inode, from, ROWS_PER_TURN))?;
        for chunk in page.chunks {
            self.missing.remove(&chunk);
        }
        self.rows += page.rows;
        Ok(page.next.filter(|_| !self.missing.is_empty()))
    }
}
