//! Replacing a lost device: a new one gets its slots, and repair fills it.
//!
//! Invariants: a device that works is not replaced, as what it holds would count as lost; the new one shares no failure domain with
//! another slot of a group that it joins.

use std::path::Path;

use strata_engine::Uuid;
use strata_raftlog::namespace::PlacementGroup;

use super::{Serving, refused};
use crate::node::NodeError;
use crate::node::discover::{Found, Look};

impl Serving {
    /// The device that is meant, if it belongs to the node and does not work.
    pub(super) fn lost_device(
        &self,
        asked: &str,
        groups: &[PlacementGroup],
    ) -> Result<Uuid, NodeError> {
        let lost = self.known_device(asked, groups)?;
        match self.works(lost) {
            false => Ok(lost),
            true => Err(refused(&format!(
                "device {lost} works: what it holds would count as lost. To take it out, add another (`strata device add`) and \
                 drain this one (`strata device drain`)"
            ))),
        }
    }

    /// The new device, open, if it may join the groups of the lost one.
    pub(super) async fn device_in_place_of(
        &self,
        lost: Uuid,
        listed: &Path,
        look: Look,
        groups: &[PlacementGroup],
    ) -> Result<Uuid, NodeError> {
        if let Found::Device(found) = &look.found {
            let is_beside = |group: &PlacementGroup| {
                let has = |wanted: Uuid| group.slots.iter().any(|slot| slot.device == wanted.0);
                has(found.device) && has(lost)
            };
            if found.device == lost || groups.iter().any(is_beside) {
                return Err(refused(&format!(
                    "{} is a device of this node already ({}): give an empty directory or block device",
                    look.path.display(),
                    found.device
                )));
            }
        }
        self.refuse_shared_fate(lost, &look, groups).await?;
        let mirror = self.mirror_to_stand_in_for(&look.domain).await;
        self.device_at(listed, look, groups, mirror).await
    }

    /// Refuses a place on a disk that holds another slot of a group that the new device would join.
    async fn refuse_shared_fate(
        &self,
        lost: Uuid,
        look: &Look,
        groups: &[PlacementGroup],
    ) -> Result<(), NodeError> {
        if self.config.assume_separate_failure_domains {
            return Ok(());
        }
        let joined = groups
            .iter()
            .filter(|group| group.slots.iter().any(|slot| slot.device == lost.0));
        let others: Vec<Uuid> = joined
            .flat_map(|group| &group.slots)
            .map(|slot| Uuid(slot.device))
            .filter(|device| *device != lost)
            .collect();
        let domains = self.domains().await;
        let beside = domains
            .iter()
            .filter(|(device, path, _)| others.contains(device) && *path != look.path);
        for (_, path, domain) in beside {
            if domain.shares_fate_with(&look.domain) {
                return Err(refused(&format!(
                    "{} lies on the same disk as {}: one failure would take both. Use a disk of its own",
                    look.path.display(),
                    path.display()
                )));
            }
        }
        Ok(())
    }
}

/// The groups with the new device in the slots of the lost one, each under its next epoch.
pub(super) fn changed_groups(
    groups: &[PlacementGroup],
    lost: Uuid,
    new: Uuid,
) -> Vec<PlacementGroup> {
    let mut changed = Vec::new();
    for group in groups {
        let mut group = group.clone();
        let mut lost_slots = group.slots.iter_mut().filter(|slot| slot.device == lost.0);
        if let Some(slot) = lost_slots.next() {
            slot.device = new.0;
            group.epoch += 1;
            changed.push(group);
        }
    }
    changed
}
