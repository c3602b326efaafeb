//! Rebalancing: slots of placement groups go from the partitions that have too many of them for their capacity to those that have too
//! few, and the shards with them.
//!
//! Invariants: no group has two slots in one failure domain afterwards; a group changes one slot, and none while its shards are
//! still being moved; a slot only goes where the load is less afterwards than it was where it came from, so that there is an end.

use std::collections::BTreeMap;

use strata_engine::Uuid;
use strata_raftlog::namespace::PlacementGroup;

use super::groups::{place_of, slot_of};
use super::{Serving, refused};
use crate::message::Place;
use crate::node::NodeError;
use crate::node::layout::Candidate;

/// Capacities are told apart in so many steps of the largest one: what devices of one size may grow to differs a little.
const CAPACITY_STEPS: u64 = 16;

impl Serving {
    /// The groups that are to change for the slots to be spread by capacity.
    pub(super) async fn groups_rebalanced(
        &self,
        groups: &[PlacementGroup],
    ) -> Result<Vec<PlacementGroup>, NodeError> {
        self.refuse_unless_whole("the layout is rebalanced")?;
        let members = self.members(None, groups).await;
        let moved = rebalanced(groups, &members, &self.capacities(), |_| true);
        if !moved.is_empty() {
            return Ok(moved);
        }
        let moving = groups.iter().filter(|group| !group.previous.is_empty());
        Err(refused(&match moving.count() {
            0 => {
                "nothing is to be moved: the slots are spread by what the disks may hold".to_owned()
            }
            moving => format!(
                "shards of {moving} placement groups are still being moved, and no other has a slot that should: ask again when \
                 that has ended (`strata repair status`)"
            ),
        }))
    }

    /// Bytes that each partition may grow to.
    pub(super) fn capacities(&self) -> BTreeMap<Place, u64> {
        let partitions = self.parts.partitions.iter();
        let capacities =
            partitions.map(|(place, partition)| (place, partition.statistics.log.capacity_bytes()));
        capacities.collect()
    }
}

/// How many slots the partitions have, and what they should have them by.
struct Load {
    weights: BTreeMap<Place, u64>,
    slots: BTreeMap<Place, u64>,
    /// How often a place has had the first, the second … slot of a group given.
    given: BTreeMap<(Place, usize), usize>,
}

impl Load {
    /// Whether a slot helps that goes from one place to the other.
    fn is_better(&self, from: Place, to: Place) -> bool {
        let after = (self.slots_of(to) + 1) * self.weight(from);
        // A place without slots would be on its way out.
        self.slots_of(from) > 1 && after < self.slots_of(from) * self.weight(to)
    }

    fn slots_of(&self, place: Place) -> u64 {
        self.slots.get(&place).copied().unwrap_or(0)
    }

    fn weight(&self, place: Place) -> u64 {
        self.weights.get(&place).copied().unwrap_or(1)
    }

    /// The places by how much they have, the least loaded first.
    fn order(&self) -> Vec<Place> {
        let mut places: Vec<Place> = self.weights.keys().copied().collect();
        places.sort_by(|one, other| {
            let by = |place: &Place, weighed: &Place| self.slots_of(*place) * self.weight(*weighed);
            by(one, other).cmp(&by(other, one))
        });
        places
    }

    fn move_slot(&mut self, at: usize, from: Place, to: Place) {
        *self.slots.entry(from).or_default() -= 1;
        *self.slots.entry(to).or_default() += 1;
        *self.given.entry((to, at)).or_default() += 1;
    }
}

/// The groups that change when slots are spread over the members by their capacities, as far as they go to places that take any.
pub(super) fn rebalanced(
    groups: &[PlacementGroup],
    members: &[Candidate<Uuid>],
    capacities: &BTreeMap<Place, u64>,
    takes: impl Fn(Place) -> bool,
) -> Vec<PlacementGroup> {
    let domains: BTreeMap<Place, usize> = members
        .iter()
        .map(|member| (place_of(member), member.domain))
        .collect();
    let capacity = |place: &Place| capacities.get(place).copied().unwrap_or(0);
    let most = domains.keys().map(capacity).max().unwrap_or(0).max(1);
    let weight = |place: &Place| {
        let steps = u128::from(capacity(place)) * u128::from(CAPACITY_STEPS) + u128::from(most / 2);
        u64::try_from(steps / u128::from(most)).unwrap_or(1).max(1)
    };
    let mut load = Load {
        weights: domains
            .keys()
            .map(|place| (*place, weight(place)))
            .collect(),
        slots: BTreeMap::new(),
        given: BTreeMap::new(),
    };
    for slot in groups.iter().flat_map(|group| &group.slots) {
        *load.slots.entry(Place::of_slot(slot)).or_default() += 1;
    }
    let mut movable: Vec<PlacementGroup> = groups
        .iter()
        .filter(|group| group.previous.is_empty())
        .cloned()
        .collect();
    let mut moved = Vec::new();
    while let Some((group, at, to)) = best_move(&movable, &load, &domains, &takes) {
        let mut group = movable.swap_remove(group);
        load.move_slot(at, Place::of_slot(&group.slots[at]), to);
        group.previous = group.slots.clone();
        group.slots[at] = slot_of(to);
        group.epoch += 1;
        moved.push(group);
    }
    moved.sort_by_key(|group| group.number);
    moved
}

/// The slot that should go first, from the most to the least loaded places that can: the position of its group, its own, and where it
/// goes.
fn best_move(
    movable: &[PlacementGroup],
    load: &Load,
    domains: &BTreeMap<Place, usize>,
    takes: impl Fn(Place) -> bool,
) -> Option<(usize, usize, Place)> {
    let order = load.order();
    for to in order.iter().filter(|to| takes(**to)) {
        for from in order
            .iter()
            .rev()
            .filter(|from| load.is_better(**from, *to))
        {
            let slots = movable.iter().enumerate().filter_map(|(number, group)| {
                let at = group
                    .slots
                    .iter()
                    .position(|slot| Place::of_slot(slot) == *from)?;
                is_apart(group, at, *to, domains).then_some((number, at))
            });
            // Every slot of a group in turn: the first ones hold data and the last ones parity.
            let least =
                slots.min_by_key(|(_, at)| load.given.get(&(*to, *at)).copied().unwrap_or(0));
            if let Some((number, at)) = least {
                return Some((number, at, *to));
            }
        }
    }
    None
}

/// Whether a place shares neither device nor failure domain with the other slots of a group.
fn is_apart(
    group: &PlacementGroup,
    at: usize,
    to: Place,
    domains: &BTreeMap<Place, usize>,
) -> bool {
    let others = group
        .slots
        .iter()
        .enumerate()
        .filter(|(other, _)| *other != at);
    let mut others = others.map(|(_, slot)| Place::of_slot(slot));
    others.all(|other| other.device != to.device && domains.get(&other) != domains.get(&to))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::node::layout::placement_groups;

    fn member(device: u8, domain: usize) -> Candidate<Uuid> {
        Candidate {
            device: Uuid([device; 16]),
            partition: 0,
            domain,
        }
    }

    fn groups_over(members: &[Candidate<Uuid>], slots: usize) -> Vec<PlacementGroup> {
        let groups = placement_groups(members, slots).into_iter();
        let numbered = (1..).zip(groups).map(|(number, group)| PlacementGroup {
            number,
            epoch: 3,
            pool: Default::default(),
            slots: group
                .iter()
                .map(|member| slot_of(place_of(member)))
                .collect(),
            previous: Vec::new(),
        });
        numbered.collect()
    }

    fn after(groups: &[PlacementGroup], moved: &[PlacementGroup]) -> Vec<PlacementGroup> {
        let now = groups.iter().map(|group| {
            let moved = moved.iter().find(|moved| moved.number == group.number);
            let mut now = moved.unwrap_or(group).clone();
            now.previous.clear();
            now
        });
        now.collect()
    }

    fn slots_of(groups: &[PlacementGroup], device: u8) -> usize {
        let slots = groups.iter().flat_map(|group| &group.slots);
        slots.filter(|slot| slot.device == [device; 16]).count()
    }

    fn capacities(of: impl IntoIterator<Item = (u8, u64)>) -> BTreeMap<Place, u64> {
        let place = |device| place_of(&member(device, 0));
        of.into_iter()
            .map(|(device, bytes)| (place(device), bytes))
            .collect()
    }

    #[test]
    fn a_new_device_gets_its_part_of_every_slot() {
        let six: Vec<_> = (0..6).map(|device| member(device, device.into())).collect();
        let seven: Vec<_> = (0..7).map(|device| member(device, device.into())).collect();
        let alike = capacities((0..7).map(|device| (device, 100)));
        let groups = groups_over(&six, 6);
        let moved = rebalanced(&groups, &seven, &alike, |_| true);
        let now = after(&groups, &moved);
        let all = groups.len() * 6;
        for device in 0..7 {
            let slots = slots_of(&now, device);
            assert!(
                (all / 7..=all / 7 + 1).contains(&slots),
                "{device}: {slots}"
            );
        }
        let mut positions = [0; 6];
        for group in &moved {
            assert_eq!((group.epoch, group.previous.len()), (4, 6));
            let changed = (0..6).filter(|at| group.slots[*at] != group.previous[*at]);
            let changed: Vec<usize> = changed.collect();
            assert_eq!(changed.len(), 1, "one slot at a time");
            assert_eq!(group.slots[changed[0]].device, [6; 16]);
            positions[changed[0]] += 1;
        }
        let (least, most) = (positions.iter().min(), positions.iter().max());
        assert!(
            most.zip(least)
                .is_some_and(|(most, least)| most - least <= 1),
            "{positions:?}"
        );
        assert_eq!(
            rebalanced(&now, &seven, &alike, |_| true),
            [],
            "that was all"
        );
    }

    #[test]
    fn a_device_gets_as_much_as_it_may_hold() {
        let members: Vec<_> = (0..9).map(|device| member(device, device.into())).collect();
        let unlike = capacities((0..9).map(|device| (device, if device == 0 { 200 } else { 100 })));
        let groups = groups_over(&members, 3);
        let mut now = groups.clone();
        for _ in 0..5 {
            let moved = rebalanced(&now, &members, &unlike, |_| true);
            now = after(&now, &moved);
        }
        let (large, other) = (slots_of(&now, 0), slots_of(&now, 5));
        assert!(large.abs_diff(2 * other) <= 2, "{large} of {other}");
        let nearly = capacities((0..9).map(|device| (device, 1000 + u64::from(device))));
        assert_eq!(
            rebalanced(&groups, &members, &nearly, |_| true),
            [],
            "they are alike"
        );
    }

    #[test]
    fn what_shares_a_domain_shares_no_group_and_what_moves_stays() {
        // The new one is a second disk of the domain of the first.
        let mut members: Vec<_> = (0..4).map(|device| member(device, device.into())).collect();
        let mut groups = groups_over(&members, 3);
        members.push(member(4, 0));
        let alike = capacities((0..5).map(|device| (device, 100)));
        groups[0].previous = groups[0].slots.clone();
        let moved = rebalanced(&groups, &members, &alike, |_| true);
        assert!(!moved.is_empty() && moved.iter().all(|group| group.number != 1));
        for group in &moved {
            let of_domain = group
                .slots
                .iter()
                .filter(|slot| [[0; 16], [4; 16]].contains(&slot.device));
            assert!(of_domain.count() <= 1);
        }
        assert_eq!(rebalanced(&groups[..1], &members, &alike, |_| true), []);
    }
}
