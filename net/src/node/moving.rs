//! Moving: shards of slots that have changed are copied from where they lay, until the groups need their former slots no more, and freed
//! there.
//!
//! The stores are walked and not the names, so that what an upload has stored and not yet named moves too.
//!
//! Invariants: a former slot is forgotten only after a pass that found every shard of it copied, begun when every store refuses what
//! was decided before the change and all that it had let in is on the device or has failed; where its place cannot be read, or a shard
//! there, only after a survey that found every chunk whole without it, or the shard was computed; what one place keeps from being
//! moved keeps no other; a shard that is freed meanwhile and
//! copied all the same has no name, and the sweep finds it. Nothing is remembered over a restart but the rows of the groups.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use futures_util::stream::{self, StreamExt};
use strata_engine::reactor::{self, TaskClass};
use strata_engine::{EngineError, ShardId};
use strata_raftlog::namespace::PlacementGroup;
use strata_raftlog::namespace::command::SetPlacementGroup;

use super::repair::Surveyed;
use crate::cluster::Cluster;
use crate::cluster::shard::ShardPlace;
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
        let mut lost = LostPlaces::default();
        loop {
            reactor::sleep(LOOK_EVERY).await;
            match move_all(&cluster, &mut lost).await {
                Ok(0) => {}
                Ok(groups) => {
                    tracing::warn!(
                        groups,
                        "groups are left whose shards cannot be moved yet; trying again"
                    );
                    reactor::sleep(RETRY_AFTER).await;
                }
                Err(error) => {
                    tracing::warn!(%error, "shards could not be moved; trying again");
                    reactor::sleep(RETRY_AFTER).await;
                }
            }
        }
    })
}

/// Moves the shards of every group that has former slots, and has each group forget these when nothing of it is left to move. Returns
/// how many groups are left of which nothing can be moved at this time.
async fn move_all(cluster: &Cluster, lost: &mut LostPlaces) -> Result<usize, ClusterError> {
    let mut groups = note_moving(cluster)?;
    if groups.is_empty() {
        return Ok(0);
    }
    fence(cluster, &groups).await?;
    let settled = reactor::now() + SETTLE;
    let mut moves = moves_of(&groups);
    loop {
        let is_settled = reactor::now() >= settled;
        let mut passed = Passed::default();
        for (from, of_groups) in &moves {
            let of_place = pass(cluster, *from, of_groups).await;
            passed.copied += of_place.copied;
            passed.left.extend(of_place.left);
        }
        if is_settled {
            let given_up = lost.given_up(cluster, &moves);
            passed.left.retain(|(from, _)| !given_up.contains(from));
            let left: BTreeSet<u32> = passed.left.iter().map(|(_, group)| *group).collect();
            let done = groups.extract_if(.., |group| !left.contains(&group.number));
            finish(cluster, done.collect(), &mut moves).await?;
            if groups.is_empty() || passed.copied == 0 {
                return Ok(groups.len());
            }
        }
        reactor::sleep(PASS_EVERY).await;
    }
}

/// The groups that have former slots, and tells how many there are.
fn note_moving(cluster: &Cluster) -> Result<Vec<PlacementGroup>, ClusterError> {
    let groups = cluster.read(|view| view.placement_groups())?.into_iter();
    let groups: Vec<PlacementGroup> = groups.filter(|group| !group.previous.is_empty()).collect();
    let redundancy = &cluster.parts().redundancy;
    redundancy.set_groups_moving(groups.len() as u64);
    Ok(groups)
}

/// The former places that cannot be read.
#[derive(Debug, Default)]
struct LostPlaces(BTreeSet<Place>);

impl LostPlaces {
    /// Those that are needed no more, because repair has computed from the others what lies there: a survey found everything whole that
    /// was asked for after the last of them had been lost.
    fn given_up(&mut self, cluster: &Cluster, moves: &Moves) -> BTreeSet<Place> {
        let is_lost = |place: &&Place| !cluster.parts().is_readable(**place);
        let lost: BTreeSet<Place> = moves.keys().filter(is_lost).copied().collect();
        let is_news = !lost.is_subset(&self.0);
        self.0 = lost;
        let redundancy = &cluster.parts().redundancy;
        if is_news {
            redundancy.ask_survey();
        }
        let is_whole =
            |found: &Surveyed| found.survey.below_target == 0 && found.survey.unreadable == 0;
        match redundancy.surveyed() {
            Some(found) if is_whole(&found) => self.0.clone(),
            _ => BTreeSet::new(),
        }
    }
}

/// Has groups forget their former slots, and frees what lies there.
async fn finish(
    cluster: &Cluster,
    groups: Vec<PlacementGroup>,
    moves: &mut Moves,
) -> Result<(), ClusterError> {
    if groups.is_empty() {
        return Ok(());
    }
    let mut moved = BTreeSet::new();
    for group in groups {
        let number = group.number;
        let now = cluster.read(|view| view.placement_group(number))?;
        if let Some(mut group) = now.filter(|now| now.epoch == group.epoch) {
            group.epoch += 1;
            group.previous.clear();
            let forgotten = cluster.submit(SetPlacementGroup { group }).await;
            cluster.parts().note_layout_change();
            forgotten?;
            moved.insert(number);
        }
    }
    note_moving(cluster)?;
    cluster.parts().redundancy.ask_survey();
    for (from, of_groups) in moves {
        let left = of_groups.extract_if(.., |number, _| moved.contains(number));
        match free_moved(cluster, *from, &left.collect()).await {
            Ok(freed) => {
                tracing::info!(device = %from.device, freed, "shards have been moved, and were freed where they were");
            }
            Err(error) => {
                tracing::warn!(device = %from.device, %error, "what was moved away is freed later");
            }
        }
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

/// What a pass over a place has done.
#[derive(Debug, Default)]
struct Passed {
    /// Shards that were copied.
    copied: u64,
    /// What could not be read or copied.
    failures: u64,
    /// Groups of which shards were copied or could not be, and of which another pass has to find nothing, with the place that
    /// these leave.
    left: BTreeSet<(Place, u32)>,
}

impl Passed {
    /// Says in the log what kept the first shard from being moved; of the others it is mostly the same.
    fn note_failure(&mut self, from: Place, to: Option<Place>, error: &dyn std::fmt::Display) {
        self.failures += 1;
        if self.failures == 1 {
            let to = to.map(|to| to.device.to_string());
            tracing::warn!(from = %from.device, ?to, %error, "shards cannot be moved");
        }
    }
}

/// Walks over a place once and copies what is not where it goes.
async fn pass(cluster: &Cluster, from: Place, of_groups: &BTreeMap<u32, Move>) -> Passed {
    let mut passed = Passed::default();
    let mut after = None;
    loop {
        let page = match cluster.parts().is_readable(from) {
            true => next_page(cluster, from, of_groups, &mut after).await,
            false => Err(ClusterError::Unavailable("it is not there".to_owned())),
        };
        match page {
            Ok(None) => return passed,
            Ok(Some(by_target)) => {
                for (to, shards) in by_target {
                    copy_missing(cluster, from, to, shards, &mut passed).await;
                }
            }
            Err(error) => {
                passed.note_failure(from, None, &error);
                let groups = of_groups.keys().map(|group| (from, *group));
                passed.left.extend(groups);
                return passed;
            }
        }
        reactor::yield_now().await;
    }
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
    passed: &mut Passed,
) {
    let group_of = |id: &ShardId| id.chunk.placement_group();
    let ids = shards.iter().map(|(id, _)| *id).collect();
    let held = match cluster.holds_at(to, ids).await {
        Ok(held) => held,
        Err(error) => {
            passed.note_failure(from, Some(to), &error);
            let groups = shards.iter().map(|(id, _)| (from, group_of(id)));
            passed.left.extend(groups);
            return;
        }
    };
    let missing = shards.into_iter().zip(held).filter(|(_, is_held)| !is_held);
    let copying = missing
        .map(|((id, epoch), _)| async move { (id, copy(cluster, from, to, id, epoch).await) });
    let mut copying = stream::iter(copying).buffer_unordered(SHARDS_AT_A_TIME);
    while let Some((id, copied)) = copying.next().await {
        match copied {
            Ok(bytes) => {
                cluster.parts().redundancy.count_moved(bytes);
                passed.copied += 1;
            }
            // It was freed meanwhile.
            Err(EngineError::NotFound) => continue,
            Err(error) => {
                passed.note_failure(from, Some(to), &error);
            }
        }
        passed.left.insert((from, group_of(&id)));
    }
}

/// Copies a shard, or computes it from the others where it cannot be read; returns its bytes.
async fn copy(
    cluster: &Cluster,
    from: Place,
    to: Place,
    id: ShardId,
    epoch: u32,
) -> Result<u64, EngineError> {
    match cluster.copy_shard(from, to, id, epoch).await {
        Err(error @ (EngineError::Corrupt { .. } | EngineError::Io(_))) => {
            tracing::warn!(%id, device = %from.device, %error, "a shard that cannot be read is computed from the others");
            compute(cluster, from, to, id).await?.ok_or(error)
        }
        copied => copied,
    }
}

/// Computes a shard from the others of its chunk, with what can be read of it; `None` for a chunk that no name needs yet.
async fn compute(
    cluster: &Cluster,
    from: Place,
    to: Place,
    id: ShardId,
) -> Result<Option<u64>, EngineError> {
    let owner = cluster.owner_of_shard(from, id).await?;
    let _pin = cluster
        .parts()
        .readers
        .pin(reactor::index(), owner.inode, reactor::now());
    let found = cluster.read(|view| {
        if !view.is_body_needed(owner.inode, owner.space)? {
            return Ok(None);
        }
        let extents = view.extents(owner.inode, owner.space, owner.offset, 1)?;
        let extents = extents.into_iter().map(|(_, extent)| extent);
        Ok(extents.into_iter().find(|extent| extent.chunk == id.chunk))
    });
    let found = found.map_err(|error| EngineError::Unavailable(error.to_string()))?;
    let Some(extent) = found else {
        return Ok(None);
    };
    let shard = ShardPlace {
        shard: id.shard,
        place: to,
    };
    cluster.mend(&extent, shard).await.map(Some)
}
