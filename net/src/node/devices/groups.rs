//! The placement groups that the devices of a node make up, and those of them that are to be added.

use strata_engine::{PartitionKind, Uuid};
use strata_raftlog::namespace::{PlacementGroup, Slot, SlotState};

use super::{Serving, has_slots, refused};
use crate::message::Place;
use crate::node::NodeError;
use crate::node::failure_domain::{self, FailureDomain};
use crate::node::layout::Candidate;

impl Serving {
    /// The data partitions of the devices that have slots, and of one that has none yet.
    pub(super) async fn members(
        &self,
        new: Option<Uuid>,
        groups: &[PlacementGroup],
    ) -> Vec<Candidate<Uuid>> {
        let mut known = self.domains().await;
        known.retain(|(uuid, ..)| Some(*uuid) == new || has_slots(*uuid, groups));
        let domains: Vec<FailureDomain> =
            known.iter().map(|(_, _, domain)| domain.clone()).collect();
        let numbers = failure_domain::group(&domains);
        let devices = self.devices.borrow();
        let mut members = Vec::new();
        for ((uuid, _, _), domain) in known.iter().zip(numbers) {
            let open = devices.iter().find(|open| open.uuid() == *uuid);
            let partitions = open.map(|open| open.partitions_of(PartitionKind::Data));
            members.extend(partitions.into_iter().flatten().map(|partition| Candidate {
                device: *uuid,
                partition,
                domain,
            }));
        }
        members
    }

    /// Of the groups that are wanted those that are not there, under numbers that no group has.
    pub(super) fn groups_beside(
        &self,
        wanted: impl Iterator<Item = Vec<Candidate<Uuid>>>,
        groups: &[PlacementGroup],
    ) -> Result<Vec<PlacementGroup>, NodeError> {
        let first = groups.first();
        let pool = first
            .ok_or_else(|| refused("the node has no placement groups"))?
            .pool;
        let next = groups.iter().map(|group| group.number).max().unwrap_or(0) + 1;
        let wanted = wanted.map(|members| {
            members
                .iter()
                .map(|member| slot_of(place_of(member)))
                .collect::<Vec<Slot>>()
        });
        let new = wanted.filter(|slots| groups.iter().all(|group| group.slots != *slots));
        let added = new.zip(next..).map(|(slots, number)| PlacementGroup {
            number,
            epoch: 1,
            pool,
            slots,
            previous: Vec::new(),
        });
        Ok(added.collect())
    }
}

/// Where a partition is that may have slots.
pub(super) fn place_of(member: &Candidate<Uuid>) -> Place {
    Place {
        device: member.device,
        partition: member.partition,
    }
}

/// A slot of a group that a place has now.
pub(super) fn slot_of(place: Place) -> Slot {
    Slot {
        device: place.device.0,
        partition: place.partition,
        state: SlotState::Member,
    }
}
