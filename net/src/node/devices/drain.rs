//! Draining a device: each of its slots goes to a partition of another device, and so do the shards. One that works is read until all of
//! them have been moved; of one that is lost they are computed from the others, by repair.
//!
//! A copy of the log is not moved: where the device has one, the next start without it makes another where one may be.
//!
//! Invariants: no group has two slots on one device or in one failure domain afterwards; a group whose shards are still being moved does
//! not change again.

use std::collections::BTreeMap;
use std::path::PathBuf;

use strata_engine::{PartitionKind, Uuid};
use strata_raftlog::namespace::PlacementGroup;

use super::groups::slot_of;
use super::{Serving, has_slots, refused};
use crate::message::Place;
use crate::node::NodeError;
use crate::node::failure_domain::FailureDomain;

/// A partition that may take slots.
struct Target {
    place: Place,
    domain: FailureDomain,
}

impl Serving {
    /// The path of a device, where it works, and its groups with other devices in its slots.
    pub(super) async fn groups_without(
        &self,
        device: Uuid,
        groups: &[PlacementGroup],
    ) -> Result<(Option<PathBuf>, Vec<PlacementGroup>), NodeError> {
        let missing = self.parts.status.report().missing_devices;
        if missing.iter().any(|other| *other != device.to_string()) {
            return Err(refused(
                "another device is missing: put it back or replace it before one is drained",
            ));
        }
        if self.log_mirrors().iter().all(|mirror| *mirror == device) {
            return Err(refused(&format!(
                "device {device} holds the only copy of the log, which cannot be moved yet"
            )));
        }
        let domains = self.domains().await;
        let targets = self.targets(device, &domains, groups);
        let works = self.works(device);
        let mut load: BTreeMap<Place, usize> = BTreeMap::new();
        for slot in groups.iter().flat_map(|group| &group.slots) {
            *load.entry(Place::of_slot(slot)).or_default() += 1;
        }
        let mut moved = Vec::new();
        for group in groups {
            let Some(slot) = group.slots.iter().position(|slot| slot.device == device.0) else {
                continue;
            };
            if !works && let Some(back) = moved_back(group, slot) {
                moved.push(back);
                continue;
            }
            if !group.previous.is_empty() {
                return Err(refused(
                    "shards of its placement groups are still being moved: ask again when that has ended (`strata repair status`)",
                ));
            }
            let mut group = group.clone();
            let to = target_for(&group, slot, &targets, &domains, &load)?;
            *load.entry(to).or_default() += 1;
            if works {
                group.previous = group.slots.clone();
            }
            group.slots[slot] = slot_of(to);
            group.epoch += 1;
            moved.push(group);
        }
        if moved.is_empty() {
            return Err(refused(&format!(
                "device {device} has no slots any more: take its directory or path off storage.data_dir before the next start"
            )));
        }
        let path = domains.into_iter().find(|(uuid, ..)| *uuid == device);
        Ok((path.map(|(_, path, _)| path).filter(|_| works), moved))
    }

    /// The partitions of the other devices that work and have slots. One that has none is on its way out.
    fn targets(
        &self,
        device: Uuid,
        domains: &[(Uuid, PathBuf, FailureDomain)],
        groups: &[PlacementGroup],
    ) -> Vec<Target> {
        let devices = self.devices.borrow();
        let mut targets = Vec::new();
        for (uuid, _, domain) in domains {
            if *uuid == device || !self.works(*uuid) || !has_slots(*uuid, groups) {
                continue;
            }
            let open = devices.iter().find(|open| open.uuid() == *uuid);
            let partitions = open.map(|open| open.partitions_of(PartitionKind::Data));
            targets.extend(partitions.into_iter().flatten().map(|partition| Target {
                place: Place {
                    device: *uuid,
                    partition,
                },
                domain: domain.clone(),
            }));
        }
        targets
    }
}

/// The group with a slot that is where it was, when its shards were still being moved to a device that is lost.
fn moved_back(group: &PlacementGroup, slot: usize) -> Option<PlacementGroup> {
    let before = group.previous.get(slot)?;
    if before.device == group.slots[slot].device {
        return None;
    }
    let mut back = group.clone();
    back.slots[slot] = *before;
    if back.slots == back.previous {
        back.previous.clear();
    }
    back.epoch += 1;
    Some(back)
}

/// The partition with the fewest slots that shares neither device nor failure domain with another slot of the group.
fn target_for(
    group: &PlacementGroup,
    slot: usize,
    targets: &[Target],
    domains: &[(Uuid, PathBuf, FailureDomain)],
    load: &BTreeMap<Place, usize>,
) -> Result<Place, NodeError> {
    let others: Vec<Uuid> = (0..)
        .zip(&group.slots)
        .filter(|(at, _)| *at != slot)
        .map(|(_, slot)| Uuid(slot.device))
        .collect();
    let is_apart = |target: &&Target| {
        let of_others = domains.iter().filter(|(uuid, ..)| others.contains(uuid));
        let shares_none = |(_, _, domain): &(Uuid, PathBuf, FailureDomain)| {
            !domain.shares_fate_with(&target.domain)
        };
        !others.contains(&target.place.device) && of_others.into_iter().all(shares_none)
    };
    let apart = targets.iter().filter(is_apart);
    let least = apart.min_by_key(|target| load.get(&target.place).copied().unwrap_or(0));
    least.map(|target| target.place).ok_or_else(|| {
        refused(&format!(
            "placement group {} has every disk in it already: add one first (`strata device add`)",
            group.number
        ))
    })
}
