//! Finds and frees orphans, chunks that no name refers to: what a crash left between the durable bytes and the command that was to name
//! them; and shards that have been moved away and lie where they were as well.
//!
//! Invariants: only chunks of closed allocation epochs are looked at, so a chunk on its way to its name is never touched;
//! liveness is decided by the chunk's home inode alone; a chunk is freed only when two walks a grace apart have found no name,
//! when its inode is not being read, and when the namespace may be trusted (see [`may_free`]); a shard that lies where its group has no
//! slot for it is freed under the same rules, and only when its slot's place holds it; every turn is bounded, however long the body, and
//! the walk goes on where it stopped.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use strata_engine::reactor::{self, Instant, TaskClass};
use strata_engine::{ChunkId, EngineError, ShardId};

use super::reclaim::may_free;
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

/// Between two walks that have to agree: what was missing for a while, however that came, is back by then.
pub const ORPHAN_GRACE: Duration = Duration::from_secs(600);

/// Shards of a partition that wait for the second walk, at most; others are found by a later one.
const SUSPECTS_MAX: usize = 65_536;

/// Starts the background work of this reactor: the walk of its partitions, its epochs, repair and scrub and, on the metadata core,
/// reclaiming, packing, moving, what the buckets hold and the states of the devices.
pub fn spawn_background(cluster: &Cluster) -> Vec<reactor::Task<()>> {
    let mut tasks = vec![spawn(cluster.clone())];
    tasks.extend(super::repair::spawn(cluster));
    if reactor::index() == 0 {
        tasks.push(super::reclaim::spawn(cluster.clone()));
        tasks.push(super::bucket_usage::spawn(cluster.clone()));
        tasks.push(super::packing::spawn(cluster.clone()));
        tasks.push(super::moving::spawn(cluster.clone()));
        tasks.push(super::devices::noting::spawn(cluster.clone()));
    }
    tasks
}

fn spawn(cluster: Cluster) -> reactor::Task<()> {
    reactor::spawn(TaskClass::Background, async move {
        let mut walks: Vec<OrphanWalk> = Vec::new();
        reactor::sleep(FIRST_WALK_AFTER).await;
        loop {
            let end = reactor::now() + PERIOD;
            for place in cluster.local_places() {
                if walks.iter().all(|walk| walk.place != place) {
                    walks.push(OrphanWalk::new(place));
                }
            }
            walk_all(&cluster, &mut walks).await;
            if walks.iter().any(|walk| !walk.suspects.is_empty()) {
                reactor::sleep(ORPHAN_GRACE).await;
                walk_all(&cluster, &mut walks).await;
            }
            reactor::sleep(end.saturating_duration_since(reactor::now())).await;
            if let Err(error) = cluster.rotate_epoch().await {
                tracing::warn!(%error, "the allocation epoch could not be changed; the old one goes on");
            }
        }
    })
}

async fn walk_all(cluster: &Cluster, walks: &mut [OrphanWalk]) {
    for walk in walks {
        let partition = walk.place.partition;
        match walk.walk(cluster).await {
            Ok(walked) if walked.freed == 0 => {}
            Ok(walked) => tracing::info!(
                freed = walked.freed,
                partition,
                "freed shards that no name refers to, or that have been moved away"
            ),
            Err(error) => {
                tracing::warn!(%error, partition, "the walk stopped; it begins again later")
            }
        }
    }
}

/// What a walk has done.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Walked {
    /// Shards that were freed.
    pub freed: usize,
    /// Rows of extents that were read.
    pub rows: usize,
}

/// The walks over one partition of this reactor.
pub struct OrphanWalk {
    place: Place,
    /// Shards that the last walk found without a name, and when one first did.
    suspects: BTreeMap<ShardId, Instant>,
}

impl OrphanWalk {
    /// One that has not walked yet.
    pub fn new(place: Place) -> OrphanWalk {
        OrphanWalk {
            place,
            suspects: BTreeMap::new(),
        }
    }

    /// Walks the partition once and frees what nobody refers to now, nor did at a walk at least the grace ago.
    ///
    /// # Errors
    /// Those of the stores and of reading the namespace.
    pub async fn walk(&mut self, cluster: &Cluster) -> Result<Walked, ClusterError> {
        let mut after = None;
        let mut walked = Walked::default();
        let mut earlier = std::mem::take(&mut self.suspects);
        loop {
            let shards = cluster.scan_here(self.place, after, SHARDS_PER_PAGE);
            let shards = shards.await?;
            let Some((last, _)) = shards.last() else {
                return Ok(walked);
            };
            after = Some(*last);
            let mut dead = Vec::new();
            let by_inode = of_closed_epochs(cluster, shards)?;
            let misplaced = misplaced(cluster, self.place, &by_inode).await;
            for (inode, shards) in by_inode {
                let mut page = InodePage::new(cluster, self.place, inode, shards);
                dead.extend(page.unreferenced().await?.map(|shard| (inode, shard)));
                walked.rows += page.rows;
                reactor::yield_if_due().await;
            }
            let without_name: BTreeSet<ShardId> = dead.iter().map(|(_, shard)| *shard).collect();
            let elsewhere: Vec<(u64, ShardId)> = misplaced
                .into_iter()
                .filter(|(_, shard)| !without_name.contains(shard))
                .collect();
            let are_elsewhere: BTreeSet<ShardId> = elsewhere.iter().map(|(_, id)| *id).collect();
            dead.extend(elsewhere);
            let read = cluster.parts().readers.oldest();
            let mut due = self.due(dead, &mut earlier, &read);
            // A slot may have come back to this place meanwhile.
            let belongs_here = |id: &ShardId| {
                cluster
                    .places_of(id.chunk)
                    .contains(&(id.shard, self.place))
            };
            due.retain(|id| !are_elsewhere.contains(id) || !belongs_here(id));
            if !due.is_empty() && may_free(cluster)? {
                walked.freed += due.len();
                cluster.free_shards(self.place, due).await?;
            }
            reactor::yield_now().await;
        }
    }

    /// Of shards without a name those that may be freed; the others are to be looked at again.
    fn due(
        &mut self,
        dead: Vec<(u64, ShardId)>,
        earlier: &mut BTreeMap<ShardId, Instant>,
        read: &BTreeMap<u64, Instant>,
    ) -> Vec<ShardId> {
        let mut due = Vec::new();
        #[cfg(test)]
        if crate::planted::is(crate::planted::Mistake::OrphansStay) {
            return due;
        }
        for (inode, shard) in dead {
            let first = earlier.remove(&shard).unwrap_or_else(reactor::now);
            if first.elapsed() >= ORPHAN_GRACE && !read.contains_key(&inode) {
                due.push(shard);
            } else if self.suspects.len() < SUSPECTS_MAX {
                self.suspects.insert(shard, first);
            }
        }
        due
    }
}

/// The shards of closed epochs by their home inodes.
fn of_closed_epochs(
    cluster: &Cluster,
    shards: Scanned,
) -> Result<BTreeMap<u64, Vec<ShardId>>, ClusterError> {
    cluster.read(|view| {
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

/// The shards at a place for which their groups have no slot there, now or while shards are being moved, and which are where they
/// belong too.
async fn misplaced(
    cluster: &Cluster,
    here: Place,
    by_inode: &BTreeMap<u64, Vec<ShardId>>,
) -> Vec<(u64, ShardId)> {
    let mut of_groups = BTreeMap::new();
    let mut by_place: BTreeMap<Place, Vec<(u64, ShardId)>> = BTreeMap::new();
    let shards = by_inode
        .iter()
        .flat_map(|(inode, shards)| shards.iter().map(|shard| (*inode, *shard)));
    for (inode, id) in shards {
        let number = id.chunk.placement_group();
        let places = of_groups
            .entry(number)
            .or_insert_with(|| cluster.places_of(id.chunk));
        if places.contains(&(id.shard, here)) {
            continue;
        }
        let slots = cluster.slots_of(number).unwrap_or_default();
        if let Some(slot) = slots.get(usize::from(id.shard)) {
            by_place.entry(*slot).or_default().push((inode, id));
        }
    }
    let mut misplaced = Vec::new();
    for (place, shards) in by_place {
        let ids = shards.iter().map(|(_, id)| *id).collect();
        // Of one that cannot be asked nothing is known.
        let held = cluster.holds_at(place, ids).await.unwrap_or_default();
        let held = shards.into_iter().zip(held);
        misplaced.extend(held.filter_map(|(shard, is_held)| is_held.then_some(shard)));
    }
    misplaced
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
            .read(|view| view.chunks(self.inode, from, ROWS_PER_TURN))?;
        for chunk in page.chunks {
            self.missing.remove(&chunk);
        }
        self.rows += page.rows;
        Ok(page.next.filter(|_| !self.missing.is_empty()))
    }
}
