//! Adding a device: it leads placement groups of its own, to which new chunks go in turn with the others. What is stored stays where it
//! is.
//!
//! Invariants: no group has two slots in one failure domain; the groups that are there do not change; it may become a mirror of the log
//! at a later start, when one is lacking and its failure domain has none.

use std::path::Path;

use strata_engine::{PartitionKind, Uuid};
use strata_raftlog::namespace::{PlacementGroup, Slot, SlotState};

use super::{Serving, has_slots, refused};
use crate::node::NodeError;
use crate::node::discover::Look;
use crate::node::failure_domain::{self, FailureDomain};
use crate::node::layout::{self, Candidate};
use crate::node::status::DeviceStatus;

impl Serving {
    /// The new device, open, and the groups that it is to lead and does not yet.
    pub(super) async fn device_beside(
        &self,
        listed: &Path,
        look: Look,
        groups: &[PlacementGroup],
    ) -> Result<(Uuid, Vec<PlacementGroup>), NodeError> {
        let missing = self.parts.status.report().missing_devices.len();
        let has_failed = |device: &DeviceStatus| device.health.failure().is_some();
        if missing > 0 || self.parts.status.devices().iter().any(has_failed) {
            return Err(refused(
                "a device is missing or has failed: put it back or replace it before others are added",
            ));
        }
        let first = groups
            .first()
            .ok_or_else(|| refused("the node has no placement groups"))?;
        let mirror = self.mirror_to_stand_in_for(&look.domain).await;
        let device = self.device_at(listed, look, groups, mirror).await?;
        let wanted = self.groups_led_by(device, first.slots.len(), groups).await;
        let is_new = |slots: &Vec<Slot>| groups.iter().all(|group| group.slots != *slots);
        let next = groups.iter().map(|group| group.number).max().unwrap_or(0) + 1;
        let added = wanted.into_iter().filter(is_new).zip(next..);
        let added: Vec<PlacementGroup> = added
            .map(|(slots, number)| PlacementGroup {
                number,
                epoch: 1,
                pool: first.pool,
                slots,
                previous: Vec::new(),
            })
            .collect();
        if added.is_empty() {
            return Err(refused(&format!(
                "device {device} leads its placement groups already"
            )));
        }
        Ok((device, added))
    }

    /// A mirror of the log that a device of a domain may take the place of, when it is lost or taken out: none where the domain has
    /// a mirror already.
    async fn mirror_to_stand_in_for(&self, domain: &FailureDomain) -> Option<Uuid> {
        let mirrors = self.log_mirrors();
        let domains = self.domains().await;
        let mut of_mirrors = domains.iter().filter(|(uuid, ..)| mirrors.contains(uuid));
        if of_mirrors.any(|(_, _, of_mirror)| of_mirror.shares_fate_with(domain)) {
            return None;
        }
        self.lost_mirror().or(mirrors.last().copied())
    }

    /// The slots of the groups that a device leads where all that have slots take part.
    async fn groups_led_by(
        &self,
        device: Uuid,
        slots: usize,
        groups: &[PlacementGroup],
    ) -> Vec<Vec<Slot>> {
        let mut known = self.domains().await;
        known.retain(|(uuid, ..)| *uuid == device || has_slots(*uuid, groups));
        let domains: Vec<FailureDomain> =
            known.iter().map(|(_, _, domain)| domain.clone()).collect();
        let numbers = failure_domain::group(&domains);
        let devices = self.devices.borrow();
        let mut candidates = Vec::new();
        for ((uuid, _, _), domain) in known.iter().zip(numbers) {
            let open = devices.iter().find(|open| open.uuid() == *uuid);
            let partitions = open.map(|open| open.partitions_of(PartitionKind::Data));
            candidates.extend(partitions.into_iter().flatten().map(|partition| Candidate {
                device: *uuid,
                partition,
                domain,
            }));
        }
        let groups = layout::placement_groups(&candidates, slots).into_iter();
        let led = groups.filter(|group| group[0].device == device);
        led.map(|group| group.iter().map(slot_of).collect())
            .collect()
    }
}

fn slot_of(member: &Candidate<Uuid>) -> Slot {
    Slot {
        device: member.device.0,
        partition: member.partition,
        state: SlotState::Member,
    }
}
