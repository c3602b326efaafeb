//! Moving: shards of slots that have changed are copied from where they lay, until the groups need their former slots no more, and freed
//! there.
//!
//! The stores are walked and not the names, so that what an upload has stored and not yet named moves too.
//!
//! Invariants: a former slot is forgotten only after a pass that found every shard of it copied, begun when every store refuses what
//! was decided before the change and all that it had let in is on the device or has failed; a shard that is freed meanwhile and
//! copied all the same has no name, and the sweep finds it. Nothing is remembered over a restart but the rows of the groups.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use futures_util::stream::{self, StreamExt};
use strata_engine::reactor::{self, TaskClass};
use strata_engine::{EngineError, ShardId};
use strata_raftlog::namespace::PlacementGroup;
use strata_raftlog::namespace::command::SetPlacementGroup;

use crate::cluster::Cluster;
use crate::error::ClusterError;
use crate::message::{NodeRequest, Place};

/// How often it is looked whether there is something to move.
const LOOK_EVERY: Duration = Duration::from_secs(1);

/// After something that kept shards from being copied.
const RETRY_AFTER: Duration = Duration::from_secs(10);

/// From the fence on, when whatever was let in before is on its device or has failed with it: an operation has 30 s.
const SETTLE: Duration = Duration::from_secs(35);

/// Between two passes.
const PASS_EVERY: Duration = Duration::from_secs(5);

/// Shards looked at before some of them are copied.
const SHARDS_PER_PAGE: usize = 256;

/// Shards that are copied at a time.
const SHARDS_AT_A_TIME: usize = 16;

/// Where the shards of a group's slot go, and under which epoch.
#[derive(Debug, Clone, Copy)]
struct Move {
    slot: u8,
    to: Place,
    epoch: u32,
}

/// Shards that leave a place, each with the epoch under which it does.
type Leaving = Vec<(ShardId, u32)>;

/// By the place that they leave and their group.
type Moves = BTreeMap<Place, BTreeMap<u32, Move>>;

/// Moves what is to be moved until the task is dropped. One reactor of the node does it.
pub(super) fn spawn(cluster: Cluster) -> reactor::Task<()> {
    reactor::spawn(TaskClass::Background, async move {
        loop {
            reactor::sleep(LOOK_EVERY).await;
            if let Err(error) = move_all(&cluster).await {
                tracing::warn!(%error, "shards could not be moved; trying again");
                reactor::sleep(RETRY_AFTER).await;
            }
        }
    })
}

/// Moves the shards of every group that has former slots, and has the groups forget these.
async fn move_all(cluster: &Cluster) -> Result<(), ClusterError> {
    let groups = cluster.read(|view| view.placement_groups())?.into_iter();
    let groups: Vec<PlacementGroup> = groups.filter(|group| !group.previous.is_empty()).collect();
    let redundancy = &cluster.parts().redundancy;
    redundancy.set_groups_moving(groups.len() as u64);
    if groups.is_empty() {
        return Ok(());
    }
    fence(cluster, &groups).await?;
    let settled = reactor::now() + SETTLE;
    let moves = moves_of(&groups);
    loop {
        let is_last = reactor::now() >= settled;
        let mut copied = 0;
        for (from, of_groups) in &moves {
            copied += pass(cluster, *from, of_groups).await?;
        }
        if is_last && copied == 0 {
            break;
        }
        reactor::sleep(PASS_EVERY).await;
    }
    let mut moved = BTreeSet::new();
    for group in groups {
        let number = group.number;
        let now = cluster.read(|view| view.placement_group(number))?;
        if let Some(mut group) = now.filter(|now| now.epoch == group.epoch) {
            group.epoch += 1;
            group.previous.clear();
            cluster.submit(SetPlacementGroup { group }).await?;
            moved.insert(number);
        }
    }
    cluster.parts().note_layout_change();
    redundancy.set_groups_moving(0);
    redundancy.ask_survey();
    tracing::info!("all shards have been moved");
    for (from, mut of_groups) in moves {
        of_groups.retain(|number, _| moved.contains(number));
        let freed = free_moved(cluster, from, &of_groups).await?;
        tracing::info!(device = %from.device, freed, "what was moved away was freed");
    }
    Ok(())
}

/// Has every reactor refuse what was decided under older epochs of the groups.
async fn fence(cluster: &Cluster, groups: &[PlacementGroup]) -> Result<(), ClusterError> {
    let stopping = || ClusterError::Unavailable("the node is stopping".to_owned());
    for peer in &cluster.parts().peers {
        let (reply, fenced) = reactor::oneshot();
        let asked = peer.send(NodeRequest::Fence(groups.into(), reply)).await;
        asked.map_err(|_| stopping())?;
        fenced.await.map_err(|_| stopping())?;
    }
    Ok(())
}

fn moves_of(groups: &[PlacementGroup]) -> Moves {
    let mut moves = Moves::new();
    for group in groups {
        let slots = group.previous.iter().zip(&group.slots);
        for (slot, (before, now)) in (0..).zip(slots) {
            let (from, to) = (Place::of_slot(before), Place::of_slot(now));
            if from != to {
                let epoch = group.epoch;
                let of_groups = moves.entry(from).or_default();
                of_groups.insert(group.number, Move { slot, to, epoch });
            }
        }
    }
    moves
}

/// Walks over a place once and copies what is not where it goes; returns how many shards that were.
async fn pass(
    cluster: &Cluster,
    from: Place,
    of_groups: &BTreeMap<u32, Move>,
) -> Result<u64, ClusterError> {
    if !cluster.parts().is_readable(from) {
        // Repair computes what was there from the others.
        return Ok(0);
    }
    let (mut after, mut copied) = (None, 0);
    while let Some(by_target) = next_page(cluster, from, of_groups, &mut after).await? {
        for (to, shards) in by_target {
            copied += copy_missing(cluster, from, to, shards).await?;
        }
        reactor::yield_now().await;
    }
    Ok(copied)
}

/// Frees shards at the place that they have left, of groups that need it no more. What a crash leaves there the walk for orphans finds.
async fn free_moved(
    cluster: &Cluster,
    from: Place,
    of_groups: &BTreeMap<u32, Move>,
) -> Result<u64, ClusterError> {
    if !cluster.parts().is_readable(from) {
        return Ok(0);
    }
    let (mut after, mut freed) = (None, 0);
    while let Some(by_target) = next_page(cluster, from, of_groups, &mut after).await? {
        for (to, shards) in by_target {
            let ids: Vec<ShardId> = shards.into_iter().map(|(id, _)| id).collect();
            let held = cluster.holds_at(to, ids.clone()).await?;
            let moved = ids.into_iter().zip(held);
            let moved: Vec<ShardId> = moved.filter_map(|(id, held)| held.then_some(id)).collect();
            if !moved.is_empty() {
                freed += moved.len() as u64;
                cluster.free_shards(from, moved).await?;
            }
        }
        reactor::yield_now().await;
    }
    Ok(freed)
}

/// The next shards of a place that leave it, by where they go; `None` behind the last.
async fn next_page(
    cluster: &Cluster,
    from: Place,
    of_groups: &BTreeMap<u32, Move>,
    after: &mut Option<ShardId>,
) -> Result<Option<BTreeMap<Place, Leaving>>, ClusterError> {
    let page = cluster.scan_at(from, *after, SHARDS_PER_PAGE).await?;
    let Some((last, _)) = page.last() else {
        return Ok(None);
    };
    *after = Some(*last);
    let mut by_target: BTreeMap<Place, Leaving> = BTreeMap::new();
    for (id, _) in page {
        let of_group = of_groups.get(&id.chunk.placement_group());
        if let Some(of_group) = of_group.filter(|of_group| of_group.slot == id.shard) {
            let target = by_target.entry(of_group.to).or_default();
            target.push((id, of_group.epoch));
        }
    }
    Ok(Some(by_target))
}

async fn copy_missing(
    cluster: &Cluster,
    from: Place,
    to: Place,
    shards: Leaving,
) -> Result<u64, ClusterError> {
    let ids = shards.iter().map(|(id, _)| *id).collect();
    let held = cluster.holds_at(to, ids).await?;
    let missing = shards.into_iter().zip(held).filter(|(_, is_held)| !is_held);
    let copying = missing.map(|((id, epoch), _)| copy(cluster, from, to, id, epoch));
    let mut copying = stream::iter(copying).buffer_unordered(SHARDS_AT_A_TIME);
    let mut copied = 0;
    while let Some(one) = copying.next().await {
        copied += u64::from(one?);
    }
    Ok(copied)
}

/// Says whether a shard was copied: it may be gone by now, or cannot be read, and then repair computes it from the others.
async fn copy(
    cluster: &Cluster,
    from: Place,
    to: Place,
    id: ShardId,
    epoch: u32,
) -> Result<bool, ClusterError> {
    match cluster.copy_shard(from, to, id, epoch).await {
        Ok(bytes) => {
            cluster.parts().redundancy.count_moved(bytes);
            Ok(true)
        }
        Err(EngineError::NotFound) => Ok(false),
        Err(error @ (EngineError::Corrupt { .. } | EngineError::Io(_))) => {
            tracing::warn!(%id, device = %from.device, %error, "a shard that cannot be read is not moved");
            Ok(false)
        }
        Err(error) => Err(error.into()),
    }
}
