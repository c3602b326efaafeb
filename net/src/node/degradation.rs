//! Degradations: what a node is short of at this time, what that costs, and what helps.
//!
//! Invariant: it is computed from what is there now, never remembered: what has been put right is no longer named, and what
//! has failed since the start is.

use std::collections::BTreeSet;

use strata_raftlog::consensus::group::NamespaceFull;
use strata_raftlog::namespace::INLINE_BYTES_MAX;

use super::repair::Survey;
use super::status::{DeviceStatus, LostPartition, NodeLayout, PartitionStatus};
use crate::cluster::placement::COPIED_CHUNK_BYTES_MAX;
use crate::message::Place;

/// How much a degradation takes away.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Severity {
    /// Every request is served; fewer further losses are survived, or a loss is to be expected.
    Warning,
    /// Some requests are refused.
    Critical,
}

/// One thing that a node is short of.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Degradation {
    /// How much it takes away.
    pub severity: Severity,
    /// What kind it is, as a label for metrics: the same word for every device or partition.
    pub kind: &'static str,
    /// What is missing or has failed, and what is refused or no longer survived because of it.
    pub what: String,
    /// What to do about it.
    pub remedy: String,
}

/// What the degradations of a node follow from.
pub(super) struct Inventory<'a> {
    pub(super) missing_devices: &'a [String],
    pub(super) devices: &'a [DeviceStatus],
    pub(super) partitions: &'a [PartitionStatus],
    pub(super) lost_partitions: &'a [LostPartition],
    /// What the node is to be.
    pub(super) layout: Option<&'a NodeLayout>,
    /// Copies of the log that are written.
    pub(super) log_mirrors_present: Option<u64>,
    /// What leaves the namespace no room.
    pub(super) namespace_full: Option<NamespaceFull>,
    /// What the last walk over all chunks has found.
    pub(super) survey: Option<Survey>,
    /// What others have found, who also take it back.
    pub(super) noted: &'a [Degradation],
}

const REPLACE_DISK: &str = "look at the kernel's log; put the disk right and restart, or replace it (`strata device replace`)";

impl Inventory<'_> {
    /// The most severe first.
    pub(super) fn degradations(&self) -> Vec<Degradation> {
        let mut found: Vec<Degradation> = self.weak_placement().into_iter().collect();
        found.extend(self.namespace_full.as_ref().map(full_namespace));
        found.extend(self.missing_devices.iter().map(|uuid| missing_device(uuid)));
        found.extend(self.devices.iter().filter_map(sick_device));
        found.extend(self.lost_partitions.iter().map(lost_partition));
        found.extend(self.partitions.iter().filter_map(damaged_partition));
        found.extend(self.closed_partitions());
        found.extend(self.lost_log_mirrors());
        found.extend(self.survey.iter().flat_map(weak_chunks));
        found.extend_from_slice(self.noted);
        found.sort_by_key(|degradation| std::cmp::Reverse(degradation.severity));
        found
    }

    /// Whether new chunks are written in a weaker scheme than that of the layout, or not at all, because places of the placement
    /// groups are not there or write nothing any more.
    fn weak_placement(&self) -> Option<Degradation> {
        let layout = self.layout?;
        let writable: BTreeSet<Place> = self
            .partitions
            .iter()
            .filter(|of| of.partition.is_writable())
            .map(|of| of.place)
            .collect();
        let full = layout.scheme.shards();
        // Those of fewer slots are of an earlier layout: nothing new goes there.
        let groups = || layout.groups.iter().filter(|slots| slots.len() >= full);
        let places = groups().map(|slots| {
            let there = slots.iter().filter(|place| writable.contains(place));
            there.count()
        });
        let weak = places.clone().filter(|places| *places < full).count();
        let most = places.max().filter(|_| weak > 0)?;
        let (severity, what) = if most >= full {
            (Severity::Warning, passed_over(weak, groups().count()))
        } else {
            weak_everywhere(layout, most)
        };
        Some(Degradation {
            severity,
            kind: "placement",
            what,
            remedy: "put the disks that are named here right, and restart".to_owned(),
        })
    }

    /// Partitions that write nothing any more although their device has not failed.
    fn closed_partitions(&self) -> impl Iterator<Item = Degradation> {
        self.partitions.iter().filter_map(|of| {
            let name = &of.name;
            let why = of.partition.statistics.log.closed()?;
            if of.partition.health.failure().is_some() {
                return None;
            }
            Some(Degradation {
                severity: Severity::Warning,
                kind: "partition_closed",
                what: format!("partition {name} takes no more writes ({why}); it is read"),
                remedy: "restart; if it comes again, report it with the log".to_owned(),
            })
        })
    }

    fn lost_log_mirrors(&self) -> Option<Degradation> {
        let expected = self.layout?.log_mirrors as u64;
        let present = self
            .log_mirrors_present
            .filter(|present| *present < expected)?;
        let survives = present.saturating_sub(1);
        Some(Degradation {
            severity: Severity::Warning,
            kind: "log_mirrors",
            what: format!(
                "the log of names and small objects is written to {present} of {expected} disks: the loss of {survives} more \
                 is survived"
            ),
            remedy: "put the missing or failed disk right, and restart".to_owned(),
        })
    }
}

/// Chunks that lack shards, or were written in a weaker scheme.
fn weak_chunks(survey: &Survey) -> Vec<Degradation> {
    let mut found = Vec::new();
    let chunks = survey.chunks;
    if survey.unreadable > 0 {
        found.push(Degradation {
            severity: Severity::Critical,
            kind: "chunks_unreadable",
            what: format!(
                "{} of {chunks} chunks cannot be read: too many of their shards are on devices that are away",
                survey.unreadable
            ),
            remedy: "put the disks that are named here back and restart".to_owned(),
        });
    }
    if survey.below_target > survey.unreadable {
        let least = survey.by_losses_left.keys().next().copied().unwrap_or(0);
        let waiting = survey.below_target.saturating_sub(survey.repairable);
        found.push(Degradation {
            severity: Severity::Warning,
            kind: "chunks_below_target",
            what: format!(
                "{} of {chunks} chunks lack shards; the most endangered survive the loss of {least} more disks; {waiting} wait for a \
                 device",
                survey.below_target - survey.unreadable
            ),
            remedy: "put the missing disks back and restart, or replace them (`strata device replace`); what can be repaired is \
                     being repaired"
                .to_owned(),
        });
    }
    if survey.written_weaker > 0 {
        found.push(Degradation {
            severity: Severity::Warning,
            kind: "chunks_weaker",
            what: format!(
                "{} of {chunks} chunks survive fewer losses than the layout: they were written while devices were away, or under another \
                 layout",
                survey.written_weaker
            ),
            remedy: "put missing disks back or replace them; the chunks are then written again by themselves".to_owned(),
        });
    }
    found
}

fn passed_over(weak: usize, all: usize) -> String {
    format!("{weak} of {all} placement groups are not whole; new objects go to the other groups")
}

/// What becomes of new objects when no placement group has more places than these.
fn weak_everywhere(layout: &NodeLayout, places: usize) -> (Severity, String) {
    let scheme = layout.scheme;
    let copies = scheme.as_copies();
    let short_are_whole = copies.within(places, layout.degraded_writes) == Some(copies);
    let above = if scheme.is_coded() && short_are_whole {
        COPIED_CHUNK_BYTES_MAX >> 10
    } else {
        INLINE_BYTES_MAX as u32 >> 10
    };
    let why =
        format!("no placement group has a disk that can be written for every shard of {scheme}");
    let Some(weaker) = scheme.within(places, layout.degraded_writes) else {
        let what = format!(
            "new objects above {above} KiB are refused with 503: {why}, and the best has {places}, too few for what \
             storage.degraded_writes allows instead. Smaller objects, reads and deletes go on"
        );
        return (Severity::Critical, what);
    };
    let survives = match weaker.losses() {
        0 => "no loss of a disk".to_owned(),
        1 => "the loss of one disk".to_owned(),
        more => format!("the loss of {more} disks"),
    };
    let what = format!(
        "{why}: new objects above {above} KiB are written as {weaker}, which survives {survives}"
    );
    (Severity::Warning, what)
}

fn missing_device(uuid: &str) -> Degradation {
    Degradation {
        severity: Severity::Warning,
        kind: "device_missing",
        what: format!("device {uuid} is not there; what it held is served from the other disks"),
        remedy: "put the disk back and restart, or replace it (`strata device replace`)".to_owned(),
    }
}

fn full_namespace(full: &NamespaceFull) -> Degradation {
    let (kind, remedy) = match full {
        NamespaceFull::Map => (
            "metadata_map_full",
            "delete objects, or raise metadata.map_size and restart",
        ),
        NamespaceFull::FileSystem { .. } => (
            "metadata_disk_full",
            "make room on that file system; the server goes on by itself",
        ),
    };
    Degradation {
        severity: Severity::Critical,
        kind,
        what: format!(
            "{full}: new names are refused with 507, or wait for room with all other changes of names. Reads go on"
        ),
        remedy: remedy.to_owned(),
    }
}

/// The most severe that is to be said of a device that is there.
fn sick_device(device: &DeviceStatus) -> Option<Degradation> {
    let (name, health) = (&device.name, &device.health);
    let (kind, what) = if let Some(why) = health.failure() {
        let reads = if health.is_silent() {
            "neither reads nor writes"
        } else {
            "no more writes"
        };
        (
            "device_failed",
            format!("device {name} has failed and takes {reads}: {why}"),
        )
    } else if health.is_slow() {
        (
            "device_slow",
            format!(
                "device {name} has not answered for 10 s; reads go to the other disks, and it fails when it goes on"
            ),
        )
    } else if health.fails_all_reads() {
        (
            "device_unreadable",
            format!("device {name} fails every read; what it holds is served from the other disks"),
        )
    } else {
        let failed = Some(health.failed_reads()).filter(|failed| *failed > 0)?;
        (
            "read_errors",
            format!("{failed} reads of device {name} have failed since the start"),
        )
    };
    Some(Degradation {
        severity: Severity::Warning,
        kind,
        what,
        remedy: REPLACE_DISK.to_owned(),
    })
}

fn damaged_partition(of: &PartitionStatus) -> Option<Degradation> {
    let (name, first, count) = (&of.name, of.damage.first()?, of.damage.len());
    Some(Degradation {
        severity: Severity::Warning,
        kind: "damage",
        what: format!(
            "the start found {count} damaged places in partition {name}, the first: {first}; what lay there is served from \
             the other disks"
        ),
        remedy: "read the objects of the node once, which writes bad copies anew, and restart; replace the disk if it comes \
                 again"
            .to_owned(),
    })
}

fn lost_partition(lost: &LostPartition) -> Degradation {
    let (device, partition) = (lost.place.device, lost.place.partition);
    Degradation {
        severity: Severity::Warning,
        kind: "partition_lost",
        what: format!(
            "partition {partition} of device {device} is out of service: {}; what it held is served from the other disks",
            lost.why
        ),
        remedy: "keep the device as it is, and restore it from a copy or replace the disk"
            .to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use strata_engine::{ChunkStoreStatistics, DeviceHealth, Uuid};

    use super::*;
    use crate::node::Partition;
    use crate::node::status::NodeStatus;
    use crate::scheme::{DegradedWrites, Scheme};

    /// Three devices of one partition each, of which `there` are there, in groups of two.
    fn status(there: u8) -> NodeStatus {
        let status = NodeStatus::default();
        let place = |device: u8| Place {
            device: Uuid([device; 16]),
            partition: 1,
        };
        for device in 0..there {
            let health = Arc::new(DeviceHealth::default());
            status.add_device(Uuid([device; 16]), format!("/d{device}"), health.clone());
            let partition = Partition {
                reactor: 0,
                health,
                statistics: Arc::new(ChunkStoreStatistics::default()),
            };
            status.add_partition(place(device), partition);
        }
        let groups = [(0, 1), (1, 2), (2, 0)];
        let groups = groups.map(|(first, second)| vec![place(first), place(second)]);
        status.set_layout(NodeLayout {
            scheme: Scheme::copies(2),
            groups: groups.to_vec(),
            degraded_writes: DegradedWrites::Safe,
            log_mirrors: 2,
        });
        status
    }

    fn kinds(status: &NodeStatus) -> Vec<(Severity, &'static str)> {
        let found = status.degradations().into_iter();
        found
            .map(|degradation| (degradation.severity, degradation.kind))
            .collect()
    }

    #[test]
    fn a_whole_node_is_short_of_nothing() {
        assert_eq!(kinds(&status(3)), []);
    }

    #[test]
    fn what_leaves_the_namespace_no_room_is_named_with_its_place() {
        let found = |full: NamespaceFull| full_namespace(&full);
        let disk = found(NamespaceFull::FileSystem {
            directory: "/srv/meta".into(),
        });
        assert_eq!(
            (disk.severity, disk.kind),
            (Severity::Critical, "metadata_disk_full")
        );
        let named = "the file system below the metadata directory /srv/meta is full: ";
        assert!(disk.what.starts_with(named), "{}", disk.what);
        let map = found(NamespaceFull::Map);
        assert_eq!(map.kind, "metadata_map_full");
        assert!(map.remedy.contains("metadata.map_size"), "{}", map.remedy);
    }

    #[test]
    fn what_a_start_finds_damaged_is_named_until_the_next() {
        let status = status(3);
        let place = status.partitions()[0].place;
        status.add_damage(place, vec!["/d0 at 4096: damaged".to_owned()]);
        status.add_lost_partition(LostPartition {
            place,
            why: "/d0: no anchor".to_owned(),
        });
        let named: Vec<_> = status.degradations();
        let kinds: Vec<_> = named.iter().map(|found| found.kind).collect();
        assert_eq!(kinds, ["partition_lost", "damage"]);
        assert!(named[0].what.contains("/d0: no anchor"), "{named:?}");
        assert!(named[1].what.contains("/d0 at 4096"), "{named:?}");
    }

    #[test]
    fn a_partition_that_is_not_there_takes_its_groups_out() {
        let one_group_left = status(2).degradations();
        assert_eq!(one_group_left[0].severity, Severity::Warning);
        assert!(
            one_group_left[0]
                .what
                .starts_with("2 of 3 placement groups")
        );
        assert_eq!(kinds(&status(1)), [(Severity::Critical, "placement")]);
    }
}
