//! The device state, as the node finds it: healthy, slow, full, draining, read-only, failing or gone, with a reason in words.
//!
//! Invariant: it is computed from what is there now and depends on nothing that was noted; of several states that would fit, the
//! most serious counts.

use std::collections::BTreeSet;
use std::sync::atomic::Ordering;

use strata_engine::Uuid;
use strata_raftlog::namespace::{DEVICE_REASON_BYTES_MAX, DeviceErrors, DeviceState};

use crate::node::status::{DeviceStatus, LostPartition, PartitionStatus};

/// How a device is found.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Finding {
    /// The device.
    pub(crate) device: Uuid,
    /// Its state.
    pub(crate) state: DeviceState,
    /// Why, at most [`DEVICE_REASON_BYTES_MAX`] bytes; empty for a healthy one.
    pub(crate) reason: String,
    /// Bytes that it may grow to; `None` for one that is not there.
    pub(crate) capacity_bytes: Option<u64>,
    /// Its errors since the start.
    pub(crate) errors: DeviceErrors,
}

/// What findings follow from.
pub(crate) struct DeviceInventory<'a> {
    /// Those that are open.
    pub(crate) devices: &'a [DeviceStatus],
    pub(crate) partitions: &'a [PartitionStatus],
    pub(crate) lost_partitions: &'a [LostPartition],
    /// Those that have slots.
    pub(crate) members: &'a BTreeSet<Uuid>,
    /// Those that have former slots, whose shards are being moved.
    pub(crate) former_members: &'a BTreeSet<Uuid>,
}

impl DeviceInventory<'_> {
    /// Every device that is open or has a slot, now or formerly.
    pub(crate) fn findings(&self) -> Vec<Finding> {
        let open: BTreeSet<Uuid> = self.devices.iter().map(|device| device.uuid).collect();
        let named = self.members.union(self.former_members);
        let gone = named.filter(|device| !open.contains(device));
        let gone = gone.map(|device| Finding {
            device: *device,
            state: DeviceState::Gone,
            reason: "it has slots of placement groups and is not there".to_owned(),
            capacity_bytes: None,
            errors: DeviceErrors::default(),
        });
        let there = self.devices.iter().map(|device| self.finding(device));
        there.chain(gone).collect()
    }

    fn finding(&self, device: &DeviceStatus) -> Finding {
        let (state, reason) = self.state(device);
        Finding {
            device: device.uuid,
            state,
            reason: shortened(&reason),
            capacity_bytes: Some(device.health.capacity_bytes()),
            errors: self.errors(device),
        }
    }

    fn state(&self, device: &DeviceStatus) -> (DeviceState, String) {
        let health = &device.health;
        let partitions = || self.partitions_of(device.uuid);
        if let Some(why) = health.failure() {
            return (DeviceState::Failing, why.to_owned());
        }
        if health.fails_all_reads() {
            return (DeviceState::Failing, "it fails every read".to_owned());
        }
        let mut lost = self.lost_partitions.iter();
        let lost = lost.find(|lost| lost.place.device == device.uuid);
        if let Some(lost) = lost.filter(|_| partitions().next().is_none()) {
            let why = format!("no data partition of it could be opened: {}", lost.why);
            return (DeviceState::Failing, why);
        }
        if let Some(why) = none_writable(partitions()) {
            let why = format!("no data partition of it takes writes: {why}");
            return (DeviceState::ReadOnly, why);
        }
        if !self.members.contains(&device.uuid) && self.former_members.contains(&device.uuid) {
            let why = "its shards are being moved to other devices".to_owned();
            return (DeviceState::Draining, why);
        }
        let is_full = |of: &PartitionStatus| of.partition.statistics.is_full();
        if partitions().next().is_some() && partitions().all(is_full) {
            return (
                DeviceState::Full,
                "it has no room for new shards".to_owned(),
            );
        }
        if health.is_slow() {
            let why = "it has left an operation without an answer for 10 s".to_owned();
            return (DeviceState::Slow, why);
        }
        (DeviceState::Healthy, String::new())
    }

    fn errors(&self, device: &DeviceStatus) -> DeviceErrors {
        let in_partitions = self
            .partitions_of(device.uuid)
            .map(|of| of.partition.statistics.corruptions.load(Ordering::Relaxed));
        DeviceErrors {
            reads: device.health.failed_reads(),
            writes: u64::from(device.health.failure().is_some()),
            checksums: device.health.corruptions() + in_partitions.sum::<u64>(),
        }
    }

    fn partitions_of(&self, device: Uuid) -> impl Iterator<Item = &PartitionStatus> {
        let partitions = self.partitions.iter();
        partitions.filter(move |of| of.place.device == device)
    }
}

/// Why the first of the partitions takes no writes, where there is one and none does.
fn none_writable<'a>(partitions: impl Iterator<Item = &'a PartitionStatus>) -> Option<String> {
    let mut first = None;
    for of in partitions {
        let why = of.partition.statistics.log.closed()?;
        first.get_or_insert_with(|| why.to_owned());
    }
    first
}

/// So much of a reason as a row takes.
fn shortened(reason: &str) -> String {
    let mut end = reason.len().min(DEVICE_REASON_BYTES_MAX);
    while !reason.is_char_boundary(end) {
        end -= 1;
    }
    reason[..end].to_owned()
}

/// Both together.
pub(crate) fn sum(before: DeviceErrors, now: DeviceErrors) -> DeviceErrors {
    DeviceErrors {
        reads: before.reads.saturating_add(now.reads),
        writes: before.writes.saturating_add(now.writes),
        checksums: before.checksums.saturating_add(now.checksums),
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use strata_engine::{ChunkStoreStatistics, DeviceHealth};

    use super::*;
    use crate::message::Place;
    use crate::node::Partition;

    const DEVICE: Uuid = Uuid([1; 16]);

    fn place() -> Place {
        Place {
            device: DEVICE,
            partition: 0,
        }
    }

    /// The state of a device of one partition, or of none that could be opened for a reason.
    fn found(is_member: bool, was_member: bool, lost: Option<&str>) -> Finding {
        let health = Arc::new(DeviceHealth::default());
        let partition = PartitionStatus {
            place: place(),
            name: String::new(),
            partition: Partition {
                reactor: 0,
                health: health.clone(),
                statistics: Arc::new(ChunkStoreStatistics::default()),
            },
            damage: Vec::new(),
        };
        let lost: Vec<LostPartition> = lost
            .map(|why| LostPartition {
                place: place(),
                why: why.to_owned(),
            })
            .into_iter()
            .collect();
        let set = |is_in: bool| BTreeSet::from_iter(is_in.then_some(DEVICE));
        let inventory = DeviceInventory {
            devices: &[DeviceStatus {
                uuid: DEVICE,
                name: String::new(),
                health,
            }],
            partitions: if lost.is_empty() { &[partition] } else { &[] },
            lost_partitions: &lost,
            members: &set(is_member),
            former_members: &set(was_member),
        };
        let findings = inventory.findings();
        assert_eq!(findings.len(), 1);
        findings.into_iter().next().expect("one")
    }

    #[test]
    fn a_device_that_only_had_slots_is_draining() {
        assert_eq!(found(true, false, None).state, DeviceState::Healthy);
        assert_eq!(found(true, true, None).state, DeviceState::Healthy);
        assert_eq!(found(false, true, None).state, DeviceState::Draining);
        assert_eq!(found(false, false, None).state, DeviceState::Healthy);
    }

    #[test]
    fn a_device_of_which_nothing_could_be_opened_is_failing_whatever_its_slots() {
        for was_member in [false, true] {
            let found = found(false, was_member, Some("no anchor"));
            assert_eq!(found.state, DeviceState::Failing);
            assert!(found.reason.ends_with(": no anchor"), "{}", found.reason);
        }
    }

    #[test]
    fn a_reason_fits_its_row_and_is_cut_between_characters() {
        let found = found(true, false, Some(&"ü".repeat(200)));
        assert!(
            (DEVICE_REASON_BYTES_MAX - 1..=DEVICE_REASON_BYTES_MAX).contains(&found.reason.len()),
            "{}",
            found.reason
        );
        assert!(found.reason.ends_with('ü'));
    }

    #[test]
    fn what_has_slots_and_is_not_open_is_gone() {
        let (members, former) = (BTreeSet::from([DEVICE]), BTreeSet::from([Uuid([2; 16])]));
        let inventory = DeviceInventory {
            devices: &[],
            partitions: &[],
            lost_partitions: &[],
            members: &members,
            former_members: &former,
        };
        let findings = inventory.findings();
        assert_eq!(findings.len(), 2);
        for found in findings {
            assert_eq!(
                (found.state, found.capacity_bytes),
                (DeviceState::Gone, None)
            );
        }
    }
}
