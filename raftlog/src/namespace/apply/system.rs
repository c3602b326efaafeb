//! Commands about the cluster itself: identity, writers, epochs, inodes, layout.

use super::{Change, Outcome, invalid};
use crate::namespace::command::{
    AddGeometry, Answer, CloseEpoch, CloseWriter, Command, Envelope, ForgetDevice, Initialise,
    LeaseInodes, Noop, OpenEpoch, RaiseFeatureLevel, Refusal, RegisterWriter, SetDevice, SetLayout,
    SetPlacementGroup, SetRootKey,
};
use crate::namespace::entry::Entry;
use crate::namespace::store::StoreError;
use crate::namespace::system::{
    AllocationEpoch, ClusterIdentity, Geometry, GeometryCode, GroupState, PlacementGroup, RootKey,
    Writer,
};
use crate::namespace::{ACCESS_KEY_BYTES_MAX, key};

/// Bits of an inode below the group's number.
pub(super) const INODE_COUNTER_BITS: u32 = 48;

/// The first inode that a group gives out; those below are kept (1 is the root).
const FIRST_INODE: u64 = 16;

/// Bits of an allocation epoch below the cluster's incarnation.
const EPOCH_COUNTER_BITS: u32 = 20;

/// Restores that a cluster can have had: the incarnation's bits in an epoch, but not all of them, so
/// that an epoch is never the highest number.
const INCARNATION_MAX: u32 = (1 << (32 - EPOCH_COUNTER_BITS)) - 2;

/// Bits of a placement group's number in a chunk id.
const PLACEMENT_GROUP_BITS: u32 = 24;

/// Shards of a chunk, and slots of a placement group, at most: the bits of a slot mask.
const SHARDS_MAX: u8 = 64;

/// The state with which `Initialise` begins.
pub(super) fn first_state(envelope: &Envelope) -> Option<GroupState> {
    matches!(envelope.command, Command::Initialise(_)).then_some(GroupState {
        group: envelope.group,
        feature_level: envelope.feature_level,
        time_nanos: envelope.time_nanos,
        commit_sequence: 0,
        next_inode: FIRST_INODE,
        next_session: 1,
        next_writer: 1,
    })
}

impl Change<'_, '_> {
    pub(super) fn noop(&mut self, command: &Noop) -> Outcome {
        match command.reserved {
            0 => Ok(Answer::Done),
            _ => invalid("a reserved field is not zero"),
        }
    }

    pub(super) fn initialise(&mut self, command: &Initialise) -> Outcome {
        if !self.first {
            let known = self.view().cluster()?;
            return match known {
                Some(known) if known.cluster == command.cluster => Ok(Answer::Done),
                _ => Err(Refusal::AlreadyInitialised.into()),
            };
        }
        check_first(command)?;
        let identity = ClusterIdentity {
            cluster: command.cluster,
            incarnation: command.incarnation,
            created_nanos: self.now(),
        };
        self.put(&key::system(key::S_CLUSTER), &identity)?;
        self.put(&key::system(key::S_LAYOUT), &command.layout)?;
        self.put(&key::system(key::S_ROOT_KEY), &command.root_key)?;
        for geometry in &command.geometries {
            self.put(&key::geometry(geometry.number), geometry)?;
        }
        for group in &command.placement_groups {
            self.put(&key::placement_group(group.number), group)?;
        }
        Ok(Answer::Done)
    }

    pub(super) fn register_writer(&mut self, command: &RegisterWriter) -> Outcome {
        let number = self.group.next_writer;
        let Some(next) = number.checked_add(1) else {
            return invalid("all numbers of writers are used up");
        };
        let writer = Writer {
            number,
            node: command.node,
            reactor: command.reactor,
            registered_nanos: self.now(),
            last_epoch: 0,
            open: true,
        };
        self.put(&key::writer(number), &writer)?;
        self.group.next_writer = next;
        Ok(Answer::Writer(number))
    }

    pub(super) fn open_epoch(&mut self, command: &OpenEpoch) -> Outcome {
        let number = command.writer;
        let mut writer = self.open_writer(number)?;
        let epoch = self.next_epoch(writer.last_epoch)?;
        writer.last_epoch = epoch;
        let row = AllocationEpoch {
            writer: number,
            epoch,
            opened_nanos: self.now(),
        };
        self.put(&key::writer(number), &writer)?;
        self.put(&key::epoch(number, epoch), &row)?;
        Ok(Answer::Epoch(epoch))
    }

    pub(super) fn close_epoch(&mut self, command: &CloseEpoch) -> Outcome {
        let CloseEpoch { writer, epoch } = *command;
        let is_open = self.view().epoch(writer, epoch)?.is_some();
        if !is_open && !self.view().epoch_closed(writer, epoch)? {
            return invalid("the epoch was never opened");
        }
        self.delete(&key::epoch(writer, epoch))?;
        Ok(Answer::Done)
    }

    pub(super) fn close_writer(&mut self, command: &CloseWriter) -> Outcome {
        let number = command.writer;
        let Some(writer) = self.view().writer(number)? else {
            return Err(Refusal::NoSuchWriter(number).into());
        };
        self.delete_prefix(&key::epochs(number))?;
        self.put(
            &key::writer(number),
            &Writer {
                open: false,
                ..writer
            },
        )?;
        Ok(Answer::Done)
    }

    pub(super) fn lease_inodes(&mut self, command: &LeaseInodes) -> Outcome {
        let count = command.count;
        if count == 0 || count > self.limits.inode_lease_max {
            return invalid("a lease of inodes is of 1 to 1,048,576");
        }
        if self.group.next_inode + u64::from(count) >= 1 << INODE_COUNTER_BITS {
            return invalid("all inodes of the group are used up");
        }
        let first = self.take_inode();
        self.group.next_inode += u64::from(count) - 1;
        self.wrote = true;
        Ok(Answer::Inodes { first, count })
    }

    pub(super) fn set_root_key(&mut self, command: &SetRootKey) -> Outcome {
        check_root_key(&command.key)?;
        let id = &command.key.access_key_id;
        if self.view().access_key(id)?.is_some() {
            let message = format!("The Access Key with id {id} already exists.");
            return Err(Refusal::EntityAlreadyExists(message).into());
        }
        self.put(&key::system(key::S_ROOT_KEY), &command.key)?;
        Ok(Answer::Done)
    }

    pub(super) fn set_layout(&mut self, command: &SetLayout) -> Outcome {
        let layout = command.layout;
        if self.view().geometry(layout.geometry)?.is_none() {
            return invalid("the layout's geometry does not exist");
        }
        self.put(&key::system(key::S_LAYOUT), &layout)?;
        Ok(Answer::Done)
    }

    pub(super) fn add_geometry(&mut self, command: &AddGeometry) -> Outcome {
        let geometry = command.geometry;
        check_geometry(&geometry)?;
        let known = self.view().geometry(geometry.number)?;
        match known {
            Some(known) if known == geometry => Ok(Answer::Done),
            Some(_) => invalid("the number of the geometry is taken"),
            None => {
                self.put(&key::geometry(geometry.number), &geometry)?;
                Ok(Answer::Done)
            }
        }
    }

    pub(super) fn set_placement_group(&mut self, command: &SetPlacementGroup) -> Outcome {
        let group = &command.group;
        check_placement_group(group)?;
        let known = self.view().placement_group(group.number)?;
        if known.is_some_and(|known| known.epoch >= group.epoch) {
            return Err(Refusal::Stale.into());
        }
        self.put(&key::placement_group(group.number), group)?;
        Ok(Answer::Done)
    }

    pub(super) fn set_device(&mut self, command: &SetDevice) -> Outcome {
        let condition = &command.condition;
        if condition.device == [0; 16] {
            return invalid("a device has a uuid that is not zero");
        }
        if condition.reason.len() > self.limits.device_reason_bytes_max {
            return invalid("the reason of a device's state has at most 200 bytes");
        }
        let known = self.view().device(condition.device)?;
        if known.is_none() && self.view().devices()?.len() >= self.limits.devices_max {
            return invalid(
                "no more than 1,024 devices are known: forget those that do not come back",
            );
        }
        if known.as_ref() != Some(condition) {
            self.put(&key::device(condition.device), condition)?;
        }
        Ok(Answer::Done)
    }

    pub(super) fn forget_device(&mut self, command: &ForgetDevice) -> Outcome {
        let groups = self.view().placement_groups()?;
        let slots = groups
            .iter()
            .flat_map(|group| [&group.slots, &group.previous]);
        if slots.flatten().any(|slot| slot.device == command.device) {
            return invalid("a device that has slots of placement groups is not forgotten");
        }
        self.delete(&key::device(command.device))?;
        Ok(Answer::Done)
    }

    pub(super) fn raise_feature_level(&mut self, command: &RaiseFeatureLevel) -> Outcome {
        let level = command.level;
        if level > self.table.newest_level() {
            // A member that cannot follow must not go on: what comes next may need the level.
            let reason = format!("feature level {level} needs a newer version than this");
            return Err(StoreError::Invariant(reason).into());
        }
        if level > self.group.feature_level {
            self.group.feature_level = level;
            self.wrote = true;
        }
        Ok(Answer::Done)
    }

    /// The epoch after a writer's last, in the range of the cluster's incarnation: a restored cluster
    /// gives numbers that the one before it cannot have given.
    fn next_epoch(&self, last: u32) -> Outcome<u32> {
        let incarnation = self
            .view()
            .cluster()?
            .map_or(0, |cluster| cluster.incarnation);
        let epoch = last.max(incarnation << EPOCH_COUNTER_BITS) + 1;
        if epoch >> EPOCH_COUNTER_BITS != incarnation {
            return invalid("all epochs of the writer are used up");
        }
        Ok(epoch)
    }

    fn open_writer(&self, number: u32) -> Outcome<Writer> {
        let writer = self.view().writer(number)?.filter(|writer| writer.open);
        writer.ok_or_else(|| Refusal::NoSuchWriter(number).into())
    }

    /// Whether a fresh inode was leased from this group and is not in use.
    pub(super) fn check_fresh_inode(&self, inode: u64) -> Outcome<()> {
        let counter = inode & ((1 << INODE_COUNTER_BITS) - 1);
        let leased = inode >> INODE_COUNTER_BITS == u64::from(self.group.group)
            && (FIRST_INODE..self.group.next_inode).contains(&counter);
        if !leased {
            return invalid("the inode was not leased from this group");
        }
        // What was dropped keeps its rows until it is released.
        if self.view().place(inode)?.is_some() || self.table.any(self.txn, &key::x(inode))? {
            return invalid("the inode is in use");
        }
        Ok(())
    }

    /// A directory of its own inode.
    pub(super) fn new_directory(&mut self, implicit: bool, owner: u64) -> Entry {
        let inode = self.take_inode();
        Entry::directory(inode, implicit, self.now(), self.sequence, owner)
    }
}

fn check_first(command: &Initialise) -> Outcome<()> {
    check_root_key(&command.root_key)?;
    if command.incarnation > INCARNATION_MAX {
        return invalid("an incarnation is at most 4,094");
    }
    for geometry in &command.geometries {
        check_geometry(geometry)?;
    }
    for group in &command.placement_groups {
        check_placement_group(group)?;
    }
    let mut numbers = command.geometries.iter().map(|geometry| geometry.number);
    if !numbers.any(|number| number == command.layout.geometry) {
        return invalid("the layout's geometry is not among the geometries");
    }
    Ok(())
}

fn check_root_key(root_key: &RootKey) -> Outcome<()> {
    let fits = |half: &String| (1..=ACCESS_KEY_BYTES_MAX).contains(&half.len());
    if !fits(&root_key.access_key_id) || !fits(&root_key.secret_access_key) {
        return invalid("an access key id and its secret have 1 to 128 bytes each");
    }
    Ok(())
}

/// Whether chunks can be made into shards in this way: the table only grows, and what is in it can be chosen for new chunks.
fn check_geometry(geometry: &Geometry) -> Outcome<()> {
    let (k, m) = (geometry.k, geometry.m);
    match geometry.code {
        GeometryCode::Copies if k != 1 || m >= SHARDS_MAX => {
            return invalid("copies are of 1 data shard, with at most 63 others");
        }
        GeometryCode::CauchyGf8 if !(1..=16).contains(&k) || !(1..=8).contains(&m) => {
            return invalid("the code takes 1 to 16 data shards and 1 to 8 parity shards");
        }
        GeometryCode::Copies | GeometryCode::CauchyGf8 => {}
    }
    if geometry.cell_bytes == 0 {
        return invalid("a geometry has cells");
    }
    Ok(())
}

fn check_placement_group(group: &PlacementGroup) -> Outcome<()> {
    if group.number >= 1 << PLACEMENT_GROUP_BITS {
        return invalid("the number of a placement group has 24 bits");
    }
    let slots_max = usize::from(SHARDS_MAX);
    if group.slots.is_empty() || group.slots.len() > slots_max || group.previous.len() > slots_max {
        return invalid("a placement group has 1 to 64 slots");
    }
    Ok(())
}
