//! Placement groups: which partitions hold a chunk, and in which scheme.
//!
//! Invariants: a new chunk is written in the scheme of the layout wherever a group has a place for each of its shards, and else in
//! the strongest one that is allowed instead: one that survives as many losses before one of more data shards. Groups led by a
//! partition of this reactor come first, so that a write and the reads after it need few hops; a place whose device does not
//! answer is passed over as long as that costs no survived loss; one that is full as well, and tried again after [`FULL_FOR`].
//! Long chunks go to the groups in turn; short ones follow each other to one group, so that those that wait together share a
//! barrier.

use std::cell::RefCell;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::atomic::Ordering;
use std::time::Duration;

use strata_engine::reactor::Instant;
use strata_engine::{ChunkId, EngineError, ShardId, Uuid, reactor};
use strata_raftlog::namespace::{PlacementGroup, Slot};

use super::Cluster;
use super::shard::ShardPlace;
use crate::error::ClusterError;
use crate::message::Place;
use crate::node::ClusterParts;
use crate::scheme::Scheme;

/// How long a partition is taken for full after it has refused a shard. Deleted space comes back after that.
const FULL_FOR: Duration = Duration::from_secs(2);

/// A chunk of fewer bytes is short: its barrier costs more than its bytes.
const SHORT_CHUNK_BYTES: u32 = 64 << 10;
/// A group is given so many bytes of short chunks before the next has its turn.
const SHORT_BYTES_EACH: u32 = 1 << 20;

/// A chunk of no more bytes is kept in whole copies where the layout is coded: it would be cut into pieces that each cost a flush
/// and, to read it, an operation of a device.
pub(crate) const COPIED_CHUNK_BYTES_MAX: u32 = 128 << 10;

/// Where the shards of a new chunk go.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Target {
    pub(super) group: u32,
    pub(super) epoch: u32,
    pub(crate) scheme: Scheme,
    /// As many as the scheme has shards, by ascending slot: the first holds the first data shard.
    pub(super) shards: Vec<ShardPlace>,
}

impl Target {
    pub(super) fn slot_mask(&self) -> u64 {
        self.shards.iter().fold(0, |mask, to| mask | 1 << to.shard)
    }
}

/// What a place takes at this time.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Use {
    /// New shards.
    Prompt,
    /// New shards, whose barrier may take long.
    Late,
    /// None for a while.
    Full,
    /// None.
    Closed,
}

/// The places that have refused a chunk.
#[derive(Debug, Default)]
pub(crate) struct RefusedBy {
    full: BTreeSet<Place>,
    closed: BTreeSet<Place>,
}

impl RefusedBy {
    pub(crate) fn add(&mut self, place: Place, error: &EngineError) {
        let places = match error {
            EngineError::Full { .. } => &mut self.full,
            _ => &mut self.closed,
        };
        places.insert(place);
    }
}

/// A placement group as the writer sees it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Group {
    pub(super) number: u32,
    pub(super) epoch: u32,
    pub(super) slots: Vec<Place>,
    /// The slots as they were before a change after which not all shards have been moved; else empty.
    pub(super) previous: Vec<Place>,
}

/// The groups of the node, which of them this reactor leads, and what it knows of their places.
#[derive(Debug)]
pub(super) struct GroupTable {
    /// The scheme of the layout.
    scheme: Scheme,
    /// By number.
    groups: Vec<Group>,
    led_here: Vec<usize>,
    turn: usize,
    /// The turn that short chunks have now, and the bytes that are left of it.
    short_turn: usize,
    short_bytes_left: u32,
    full_until: BTreeMap<Place, Instant>,
}

/// What a group could take: the better ones are greater.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
struct Offer {
    losses: usize,
    is_prompt: bool,
    scheme: Scheme,
}

impl GroupTable {
    /// One that knows no groups yet.
    pub(super) fn empty() -> GroupTable {
        GroupTable::new(Scheme::copies(1), Vec::new(), |_| false)
    }

    fn new(scheme: Scheme, groups: Vec<Group>, leads: impl Fn(&Group) -> bool) -> GroupTable {
        let led_here = (0..groups.len()).filter(|at| leads(&groups[*at])).collect();
        GroupTable {
            scheme,
            groups,
            led_here,
            turn: 0,
            short_turn: 0,
            short_bytes_left: 0,
            full_until: BTreeMap::new(),
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

    /// The scheme of the layout for a chunk of so many bytes.
    fn scheme_for(&self, bytes: u32) -> Scheme {
        match bytes <= COPIED_CHUNK_BYTES_MAX {
            true => self.scheme.as_copies(),
            false => self.scheme,
        }
    }

    /// Where the next chunk goes, of so many bytes, which some places have refused before.
    fn choose(
        &mut self,
        now: Instant,
        bytes: u32,
        refused_by: &RefusedBy,
        parts: &ClusterParts,
    ) -> Result<Target, ClusterError> {
        self.full_until.retain(|_, until| *until > now);
        let wanted = self.scheme_for(bytes);
        let turn = self.turn_of(bytes);
        let led = (0..self.led_here.len())
            .map(|step| self.led_here[turn.wrapping_add(step) % self.led_here.len()]);
        let any = (0..self.groups.len()).map(|step| turn.wrapping_add(step) % self.groups.len());
        let use_of = |place: Place| self.use_of(place, refused_by, parts);
        let mut best: Option<(Offer, usize)> = None;
        // The losses that chunks would survive if no place were full.
        let mut losses_with_room = None;
        let mut enough = None;
        for at in led.chain(any) {
            let uses: Vec<Use> = self.groups[at].slots.iter().map(|at| use_of(*at)).collect();
            let (offer, with_room) = offers(wanted, &uses, parts);
            losses_with_room = losses_with_room.max(with_room);
            if let Some(offer) = offer
                && best.is_none_or(|(best, _)| offer > best)
            {
                best = Some((offer, at));
            }
            // While places are missing no group may offer all that is wanted: what the devices carry is enough then.
            let enough = *enough.get_or_insert_with(|| match offer {
                Some(offer) if offer == Offer::of(wanted, true) => Some(offer),
                _ => self.best_offer(wanted, use_of, parts),
            });
            if enough.is_some() && best.map(|(best, _)| best) == enough {
                break;
            }
        }
        let survived = best.map(|(best, _)| best.losses);
        if losses_with_room > survived {
            return Err(ClusterError::Full(
                "every placement group that can be written is full".to_owned(),
            ));
        }
        let (offer, at) = best.ok_or_else(|| {
            ClusterError::Unavailable(
                "too few devices are writable for the layout of this node; reads go on".to_owned(),
            )
        })?;
        Ok(target(&self.groups[at], offer, use_of, parts))
    }

    /// The best that any group may offer: that of as many places as there are devices with one that takes shards promptly.
    fn best_offer(
        &self,
        wanted: Scheme,
        use_of: impl Fn(Place) -> Use,
        parts: &ClusterParts,
    ) -> Option<Offer> {
        let slots = self.groups.iter().flat_map(|group| &group.slots);
        let places: BTreeSet<Place> = slots.copied().collect();
        let prompt = places
            .into_iter()
            .filter(|place| use_of(*place) == Use::Prompt);
        let devices: BTreeSet<Uuid> = prompt.map(|place| place.device).collect();
        let scheme = wanted.within(devices.len(), parts.degraded_writes)?;
        (scheme.losses() == wanted.losses()).then(|| Offer::of(scheme, true))
    }

    fn use_of(&self, place: Place, refused_by: &RefusedBy, parts: &ClusterParts) -> Use {
        if !parts.is_writable(place) {
            Use::Closed
        } else if self.full_until.contains_key(&place) || refused_by.full.contains(&place) {
            Use::Full
        } else if refused_by.closed.contains(&place) {
            Use::Closed
        } else if parts.is_late(place) {
            Use::Late
        } else {
            Use::Prompt
        }
    }

    fn note(&mut self, now: Instant, place: Place, error: &EngineError) {
        if let EngineError::Full { .. } = error {
            self.full_until.insert(place, now + FULL_FOR);
        }
    }
}

impl Offer {
    fn of(scheme: Scheme, is_prompt: bool) -> Offer {
        Offer {
            losses: scheme.losses(),
            is_prompt,
            scheme,
        }
    }
}

/// The best that a group with such places offers for a chunk of the scheme, and how many losses it would survive there if no
/// place were full.
fn offers(wanted: Scheme, uses: &[Use], parts: &ClusterParts) -> (Option<Offer>, Option<usize>) {
    let count = |of: &[Use]| uses.iter().filter(|one| of.contains(one)).count();
    let within = |of: &[Use]| wanted.within(count(of), parts.degraded_writes);
    let prompt = within(&[Use::Prompt]).map(|scheme| Offer::of(scheme, true));
    let late = within(&[Use::Prompt, Use::Late]).map(|scheme| Offer::of(scheme, false));
    let with_room = within(&[Use::Prompt, Use::Late, Use::Full]);
    (prompt.max(late), with_room.map(Scheme::losses))
}

/// The places of a group that take the shards of what it offered: those of this reactor before others.
fn target(
    group: &Group,
    offer: Offer,
    use_of: impl Fn(Place) -> Use,
    parts: &ClusterParts,
) -> Target {
    let here = reactor::index();
    let slots = (0..).zip(group.slots.iter().copied());
    let mut usable: Vec<(Use, ShardPlace)> = slots
        .map(|(shard, place)| (use_of(place), ShardPlace { shard, place }))
        .filter(|(usage, _)| matches!(usage, Use::Prompt | Use::Late))
        .collect();
    usable.sort_by_key(|(usage, to)| {
        let is_elsewhere = parts.owner_of(to.place) != Some(here);
        (*usage == Use::Late, is_elsewhere)
    });
    let shards = usable.into_iter().map(|(_, to)| to);
    let mut shards: Vec<ShardPlace> = shards.take(offer.scheme.shards()).collect();
    shards.sort_by_key(|to| to.shard);
    Target {
        group: group.number,
        epoch: group.epoch,
        scheme: offer.scheme,
        shards,
    }
}

impl Cluster {
    /// Reads the placement groups from the namespace.
    pub(super) fn load_placement_groups(&self) -> Result<(), ClusterError> {
        let read = self.read(|view| Ok((view.layout()?, view.placement_groups()?)));
        let (layout, rows) = read?;
        let scheme = layout.as_ref().and_then(Scheme::of_layout);
        let Some(scheme) = scheme.filter(|_| !rows.is_empty()) else {
            return Err(ClusterError::Bug(
                "the namespace holds no layout, or no placement groups".to_owned(),
            ));
        };
        self.inner.local.fence(&rows, &[]);
        let here = reactor::index();
        let leads = |group: &Group| {
            let first = group.slots.first();
            first.and_then(|slot| self.inner.parts.owner_of(*slot)) == Some(here)
        };
        let groups = rows.iter().map(group_of).collect();
        *self.inner.groups.borrow_mut() = GroupTable::new(scheme, groups, leads);
        Ok(())
    }

    /// The placement groups as they are now.
    fn groups(&self) -> &RefCell<GroupTable> {
        let changes = self.inner.parts.layout_changes.load(Ordering::Acquire);
        if self.inner.layout_changes_seen.get() != changes && self.read_groups_again() {
            self.inner.layout_changes_seen.set(changes);
        }
        &self.inner.groups
    }

    /// Says whether that could be done.
    fn read_groups_again(&self) -> bool {
        let read = self.load_placement_groups();
        let read = read.inspect_err(|error| {
            tracing::warn!(%error, "changed placement groups cannot be read yet");
        });
        read.is_ok()
    }

    /// Whether a write that a place found stale may be decided anew: its placement group has changed since. Where several groups
    /// change, the place may know of it before this reactor was told.
    pub(super) fn has_changed(&self, target: &Target) -> bool {
        self.read_groups_again();
        self.epoch_of(target.group)
            .is_some_and(|epoch| epoch > target.epoch)
    }

    /// Where the next chunk goes, of so many bytes, which some places have refused before.
    ///
    /// # Errors
    /// [`ClusterError::Full`] when every group that can be written is full, [`ClusterError::Unavailable`] when none can be
    /// written.
    pub(crate) fn choose_target(
        &self,
        bytes: u32,
        refused_by: &RefusedBy,
    ) -> Result<Target, ClusterError> {
        let mut groups = self.groups().borrow_mut();
        groups.choose(reactor::now(), bytes, refused_by, &self.inner.parts)
    }

    /// The scheme of the layout.
    pub(crate) fn scheme_wanted(&self) -> Scheme {
        self.groups().borrow().scheme
    }

    /// The scheme of the layout for a chunk of so many bytes.
    pub(super) fn scheme_for(&self, bytes: u32) -> Scheme {
        self.groups().borrow().scheme_for(bytes)
    }

    /// The slots of a group by number, for reads.
    pub(crate) fn slots_of(&self, number: u32) -> Option<Vec<Place>> {
        self.with_group(number, |group| group.slots.clone())
    }

    /// Where a shard lay before its group's slots changed, while shards are being moved.
    pub(super) fn previous_place(&self, id: ShardId) -> Option<Place> {
        let number = id.chunk.placement_group();
        let before = self.with_group(number, |group| {
            group.previous.get(usize::from(id.shard)).copied()
        });
        before.flatten()
    }

    /// The places that may hold shards of a chunk, each with the number of its shard; none where its group does not exist.
    pub(crate) fn places_of(&self, chunk: ChunkId) -> BTreeSet<(u8, Place)> {
        let places = self.with_group(chunk.placement_group(), |group| {
            let numbered = |slots: &[Place]| (0u8..).zip(slots.to_vec()).collect::<Vec<_>>();
            let (now, before) = (numbered(&group.slots), numbered(&group.previous));
            now.into_iter().chain(before).collect()
        });
        places.unwrap_or_default()
    }

    /// The epoch of the layout of a group by number.
    pub(super) fn epoch_of(&self, number: u32) -> Option<u32> {
        self.with_group(number, |group| group.epoch)
    }

    /// Reads a group by number. One that is not known was added, and another reactor was told before this one.
    fn with_group<R>(&self, number: u32, read: impl Fn(&Group) -> R) -> Option<R> {
        let find = || {
            let table = self.groups().borrow();
            let at = table
                .groups
                .binary_search_by_key(&number, |group| group.number);
            table.groups.get(at.ok()?).map(&read)
        };
        find().or_else(|| self.read_groups_again().then(find).flatten())
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
    let places = |slots: &[Slot]| slots.iter().map(Place::of_slot).collect();
    Group {
        number: row.number,
        epoch: row.epoch,
        slots: places(&row.slots),
        previous: places(&row.previous),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn short_chunks_follow_each_other_and_long_ones_take_turns() {
        let mut table = GroupTable::empty();
        let turns: Vec<usize> = (0..512).map(|_| table.turn_of(4096)).collect();
        assert!(turns[..256].iter().all(|turn| *turn == turns[0]));
        assert!(turns[256..].iter().all(|turn| *turn == turns[0] + 1));
        let long = table.turn_of(SHORT_CHUNK_BYTES);
        assert_ne!(long, turns[511]);
        assert_ne!(table.turn_of(SHORT_CHUNK_BYTES), long);
    }
}
