//! What a history has done and met: calls, faults, branches of recovery.

use std::collections::BTreeMap;
use std::sync::atomic::Ordering::Relaxed;

use crate::node::status::NodeStatus;

/// Everything that a history counts. What stays at zero in a long run was never met.
const NAMES: [&str; 55] = [
    // Calls, by what they do and how they end.
    "put",
    "put if absent",
    "put if absent, refused",
    "delete",
    "copy",
    "get",
    "get a range",
    "list a page",
    "create an upload",
    "put a part",
    "put a part again",
    "complete an upload",
    "abort an upload",
    "no effect",
    "outcome unknown",
    // Faults.
    "kill",
    "power cut",
    "crash before serving",
    "polite stop",
    "metadata lost",
    "metadata bit flipped",
    "disk away",
    "disk back, stale",
    "disk lost for good",
    "bits flipped on a disk",
    "reads of a disk fail",
    "a write of a disk fails",
    "a flush of a disk fails",
    "disk hangs",
    "disk added",
    "disk replaced",
    "disk drained",
    "rebalance",
    "scrub",
    "device change refused",
    "device change cut off",
    // Branches of the node.
    "start after a crash",
    "namespace rebuilt from snapshot and log",
    "start given up for damaged metadata",
    "stopped for damaged metadata",
    "start with a missing device",
    "start that found damage",
    "partition lost at a start",
    "device failed while serving",
    "corruption found",
    "shard written anew",
    "shard moved",
    "chunk converted",
    "body packed",
    "segment compacted",
    "orphans collected",
    "whole again after damage",
    "read with m disks taken away",
    "survey with chunks below target",
    "start while shards are being moved",
];

/// Counts by name.
#[derive(Clone, Debug)]
pub struct Counters(BTreeMap<&'static str, u64>);

impl Default for Counters {
    fn default() -> Counters {
        Counters(NAMES.iter().map(|name| (*name, 0)).collect())
    }
}

impl Counters {
    /// Counts one more.
    ///
    /// # Panics
    /// A name that is not in the list: it would be missed where it stays at zero.
    pub fn add(&mut self, name: &'static str) {
        self.add_many(name, 1);
    }

    /// Counts so many more.
    pub fn add_many(&mut self, name: &'static str, more: u64) {
        *self.0.get_mut(name).expect("a name of the list") += more;
    }

    /// Takes in what another history has counted.
    pub fn add_all(&mut self, other: &Counters) {
        other
            .0
            .iter()
            .for_each(|(name, more)| self.add_many(name, *more));
    }

    /// How many calls were made.
    pub fn calls(&self) -> u64 {
        NAMES[..13].iter().map(|name| self.0[name]).sum()
    }

    /// Takes in what a node says of itself at the end of its life.
    pub fn take_in(&mut self, status: &NodeStatus) {
        let report = status.report();
        let mut met = |name, has_met| self.add_many(name, u64::from(has_met));
        met(
            "namespace rebuilt from snapshot and log",
            report.namespace_rebuilt.is_some(),
        );
        met(
            "start with a missing device",
            !report.missing_devices.is_empty(),
        );
        let partitions = status.partitions();
        met(
            "start that found damage",
            partitions.iter().any(|of| !of.damage.is_empty()),
        );
        met(
            "partition lost at a start",
            !status.lost_partitions().is_empty(),
        );
        met(
            "device failed while serving",
            status
                .devices()
                .iter()
                .any(|of| of.health.failure().is_some()),
        );
        let sum = |of: fn(&crate::node::Partition) -> u64| {
            partitions.iter().map(|at| of(&at.partition)).sum()
        };
        self.add_many(
            "corruption found",
            sum(|of| of.statistics.corruptions.load(Relaxed)),
        );
        self.add_many(
            "segment compacted",
            sum(|of| of.statistics.compacted_segments.load(Relaxed)),
        );
        self.add_many("body packed", status.packing().extents.load(Relaxed));
        if let Some(redundancy) = status.redundancy() {
            self.add_many("shard written anew", redundancy.repaired().0);
            self.add_many("shard moved", redundancy.moved().0);
            self.add_many("chunk converted", redundancy.converted().0);
        }
    }

    /// One line with what is not zero.
    pub fn line(&self) -> String {
        let met = self.0.iter().filter(|(_, count)| **count > 0);
        let met = met.map(|(name, count)| format!("{name}: {count}"));
        met.collect::<Vec<_>>().join("; ")
    }

    /// What was never met.
    pub fn never_met(&self) -> Vec<&'static str> {
        let zero = self.0.iter().filter(|(_, count)| **count == 0);
        zero.map(|(name, _)| *name).collect()
    }
}
