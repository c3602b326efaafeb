//! Which partitions hold a chunk.
//!
//! Invariants: a new chunk goes to a group whose every slot is writable, or nowhere; groups led by a partition of this
//! reactor come first, so that a write and the reads after it need no hop.

use strata_engine::{Uuid, reactor};
use strata_raftlog::namespace::PlacementGroup;

use super::Cluster;
use crate::error::ClusterError;
use crate::message::Place;

/// A placement group as the writer sees it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Group {
    pub(super) number: u32,
    pub(super) epoch: u32,
    pub(super) slots: Vec<Place>,
}

/// The groups of the node, and which of them this reactor leads.
#[derive(Debug, Default)]
pub(super) struct GroupTable {
    groups: Vec<Group>,
    led_here: Vec<usize>,
}

impl Cluster {
    /// Reads the placement groups from the namespace.
    pub(super) fn load_placement_groups(&self) -> Result<(), ClusterError> {
        let rows = self.names(|view| view.placement_groups())?;
        if rows.is_empty() {
            return Err(ClusterError::Bug(
                "the namespace holds no placement groups".to_owned(),
            ));
        }
        let groups: Vec<Group> = rows.iter().map(group_of).collect();
        let here = reactor::index();
        let leads = |group: &Group| {
            group
                .slots
                .first()
                .and_then(|slot| self.inner.parts.owner_of(*slot))
                == Some(here)
        };
        let led_here = (0..groups.len()).filter(|at| leads(&groups[*at])).collect();
        *self.inner.groups.borrow_mut() = GroupTable { groups, led_here };
        Ok(())
    }

    /// The group that takes the next chunk.
    pub(super) fn choose_group(&self) -> Result<Group, ClusterError> {
        let table = self.inner.groups.borrow();
        let turn = self.inner.next_group.get();
        self.inner.next_group.set(turn.wrapping_add(1));
        let led = (0..table.led_here.len())
            .map(|step| table.led_here[(turn + step) % table.led_here.len()]);
        let any = (0..table.groups.len()).map(|step| (turn + step) % table.groups.len());
        let failed = self.inner.failed.borrow();
        let writable = |group: &&Group| {
            group
                .slots
                .iter()
                .all(|slot| self.inner.parts.owner_of(*slot).is_some() && !failed.contains(slot))
        };
        led.chain(any)
            .map(|at| &table.groups[at])
            .find(writable)
            .cloned()
            .ok_or_else(|| {
                ClusterError::Unavailable(
                    "too few devices are writable for the layout of this node; reads go on"
                        .to_owned(),
                )
            })
    }

    /// The slots of a group by number, for reads.
    pub(super) fn slots_of(&self, number: u32) -> Option<Vec<Place>> {
        let table = self.inner.groups.borrow();
        table
            .groups
            .iter()
            .find(|group| group.number == number)
            .map(|group| group.slots.clone())
    }

    /// Keeps new chunks off a partition whose device has failed.
    pub(super) fn mark_failed(&self, place: Place) {
        self.inner.failed.borrow_mut().insert(place);
    }
}

fn group_of(row: &PlacementGroup) -> Group {
    let slots = row
        .slots
        .iter()
        .map(|slot| Place {
            device: Uuid(slot.device),
            partition: slot.partition,
        })
        .collect();
    Group {
        number: row.number,
        epoch: row.epoch,
        slots,
    }
}
