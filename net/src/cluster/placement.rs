//! Placement groups: which partitions hold a chunk.
//!
//! Invariants: a new chunk goes to a group whose every slot is writable, or nowhere; groups led by a partition of this
//! reactor come first, so that a write and the reads after it need no hop; a group with a device that does not answer is
//! passed over as long as another is there; one that is full as well, and tried again after [`FULL_FOR`]. Long chunks go to
//! the groups in turn; short ones follow each other to one group, so that those that wait together share a barrier.

use std::collections::BTreeMap;
use std::time::Duration;

use strata_engine::reactor::Instant;
use strata_engine::{EngineError, Uuid, reactor};
use strata_raftlog::namespace::PlacementGroup;

use super::Cluster;
use crate::error::ClusterError;
use crate::message::Place;
use crate::node::ClusterParts;

/// How long a partition is taken for full after it has refused a shard. Deleted space comes back after that.
const FULL_FOR: Duration = Duration::from_secs(2);

/// A chunk of fewer bytes is short: its barrier costs more than its bytes.
const SHORT_CHUNK_BYTES: u32 = 64 << 10;
/// A group is given so many bytes of short chunks before the next has its turn.
const SHORT_BYTES_EACH: u32 = 1 << 20;

/// A placement group as the writer sees it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Group {
    pub(super) number: u32,
    pub(super) epoch: u32,
    pub(super) slots: Vec<Place>,
}

/// The groups of the node, which of them this reactor leads, and what it knows of their places.
#[derive(Debug, Default)]
pub(super) struct GroupTable {
    /// By number.
    groups: Vec<Group>,
    led_here: Vec<usize>,
    turn: usize,
    /// The turn that short chunks have now, and the bytes that are left of it.
    short_turn: usize,
    short_bytes_left: u32,
    full_until: BTreeMap<Place, Instant>,
}

impl GroupTable {
    fn new(groups: Vec<Group>, leads: impl Fn(&Group) -> bool) -> GroupTable {
        let led_here = (0..groups.len()).filter(|at| leads(&groups[*at])).collect();
        GroupTable {
            groups,
            led_here,
            ..GroupTable::default()
        }
    }

    /// Whose turn it is to take a chunk of so many bytes.
    fn turn_of(&mut self, bytes: u32) -> usize {
        let is_short = bytes < SHORT_CHUNK_BYTES;
        if is_short && bytes <= self.short_bytes_left {
            self.short_bytes_left -= bytes;
            return self.short_turn;
        }
        let turn = self.turn;
        self.turn = turn.wrapping_add(1);
        if is_short {
            (self.short_turn, self.short_bytes_left) = (turn, SHORT_BYTES_EACH - bytes);
        }
        turn
    }

    /// The group that takes the next chunk, of so many bytes, and has not refused it before.
    fn choose(
        &mut self,
        now: Instant,
        bytes: u32,
        refused_by: &[u32],
        parts: &ClusterParts,
    ) -> Result<Group, ClusterError> {
        self.full_until.retain(|_, until| *until > now);
        let turn = self.turn_of(bytes);
        let led = (0..self.led_here.len())
            .map(|step| self.led_here[turn.wrapping_add(step) % self.led_here.len()]);
        let any = (0..self.groups.len()).map(|step| turn.wrapping_add(step) % self.groups.len());
        let writable = |group: &&Group| group.slots.iter().all(|slot| parts.is_writable(*slot));
        let (mut full, mut late) = (false, None);
        for group in led.chain(any).map(|at| &self.groups[at]).filter(writable) {
            let mut slots = group.slots.iter();
            let is_full = slots.any(|slot| self.full_until.contains_key(slot));
            full |= is_full;
            if is_full || refused_by.contains(&group.number) {
                continue;
            }
            if !group.slots.iter().any(|slot| parts.is_late(*slot)) {
                return Ok(group.clone());
            }
            late = late.or(Some(group));
        }
        match late {
            Some(group) => Ok(group.clone()),
            None if full => Err(ClusterError::Full(
                "every placement group that can be written is full".to_owned(),
            )),
            None => Err(ClusterError::Unavailable(
                "too few devices are writable for the layout of this node; reads go on".to_owned(),
            )),
        }
    }

    fn note(&mut self, now: Instant, place: Place, error: &EngineError) {
        if let EngineError::Full { .. } = error {
            self.full_until.insert(place, now + FULL_FOR);
        }
    }
}

impl Cluster {
    /// Reads the placement groups from the namespace.
    pub(super) fn load_placement_groups(&self) -> Result<(), ClusterError> {
        let rows = self.read(|view| view.placement_groups())?;
        if rows.is_empty() {
            return Err(ClusterError::Bug(
                "the namespace holds no placement groups".to_owned(),
            ));
        }
        let here = reactor::index();
        let leads = |group: &Group| {
            let first = group.slots.first();
            first.and_then(|slot| self.inner.parts.owner_of(*slot)) == Some(here)
        };
        let groups = rows.iter().map(group_of).collect();
        *self.inner.groups.borrow_mut() = GroupTable::new(groups, leads);
        Ok(())
    }

    /// The group that takes the next chunk, of so many bytes, other than those that have refused it.
    ///
    /// # Errors
    /// [`ClusterError::Full`] when every group that can be written is full, [`ClusterError::Unavailable`] when none can be
    /// written.
    pub(super) fn choose_group(
        &self,
        bytes: u32,
        refused_by: &[u32],
    ) -> Result<Group, ClusterError> {
        let mut groups = self.inner.groups.borrow_mut();
        groups.choose(reactor::now(), bytes, refused_by, &self.inner.parts)
    }

    /// The slots of a group by number, for reads.
    pub(super) fn slots_of(&self, number: u32) -> Option<Vec<Place>> {
        self.with_group(number, |group| group.slots.clone())
    }

    /// The epoch of the layout of a group by number.
    pub(super) fn epoch_of(&self, number: u32) -> Option<u32> {
        self.with_group(number, |group| group.epoch)
    }

    fn with_group<R>(&self, number: u32, read: impl FnOnce(&Group) -> R) -> Option<R> {
        let table = self.inner.groups.borrow();
        let at = table
            .groups
            .binary_search_by_key(&number, |group| group.number);
        table.groups.get(at.ok()?).map(read)
    }

    /// Whether nothing is known that keeps a partition from taking a shard.
    pub(super) fn takes_writes(&self, place: Place) -> bool {
        self.inner.parts.is_writable(place)
            && !self.inner.groups.borrow().full_until.contains_key(&place)
    }

    /// Keeps new chunks off a partition that is full, for a while.
    pub(super) fn note_refusal(&self, place: Place, error: &EngineError) {
        let mut groups = self.inner.groups.borrow_mut();
        groups.note(reactor::now(), place, error);
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn short_chunks_follow_each_other_and_long_ones_take_turns() {
        let mut table = GroupTable::default();
        let turns: Vec<usize> = (0..512).map(|_| table.turn_of(4096)).collect();
        assert!(turns[..256].iter().all(|turn| *turn == turns[0]));
        assert!(turns[256..].iter().all(|turn| *turn == turns[0] + 1));
        let long = table.turn_of(SHORT_CHUNK_BYTES);
        assert_ne!(long, turns[511]);
        assert_ne!(table.turn_of(SHORT_CHUNK_BYTES), long);
    }
}
