//! What a node shows of itself while it starts, serves and stops.
//!
//! Invariants: a node that has failed stays failed; it has failed as well when its metadata group has stopped by itself or
//! when none of its devices is left.

use std::collections::BTreeSet;
use std::sync::atomic::Ordering;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use strata_engine::reactor::ReactorStatistics;
use strata_engine::{DeviceHealth, Uuid};
use strata_raftlog::consensus::group::GroupStatistics;
use strata_raftlog::namespace::{DeviceErrors, DeviceState};

pub use super::bucket_usage::BucketUsages;
use super::cell_cache::CellCacheStatistics;
use super::degradation::Inventory;
pub use super::degradation::{Degradation, Severity};
use super::devices::DeviceChanges;
use super::devices::noting::DeviceNotes;
use super::devices::states::{self, DeviceInventory, Finding};
use super::layout;
pub use super::packing::PackingStatistics;
use super::repair::Redundancy;
use crate::message::Place;
use crate::node::Partition;
use crate::scheme::{DegradedWrites, Scheme};

/// Where a node is in its life.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Phase {
    /// Devices are being found and opened, the log replayed; says which.
    Starting(String),
    /// Requests are served.
    Ready,
    /// It cannot serve; says why.
    Failed(String),
    /// It is draining.
    Stopping,
}

/// What the first lines of a start say.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct NodeReport {
    /// Whether this start formatted the devices.
    pub first_start: bool,
    /// The cluster's uuid, in its usual form.
    pub cluster: String,
    /// Devices of the node, missing ones counted.
    pub device_count: usize,
    /// How long it took to make the namespace from snapshot and log, where none was there that could be used.
    pub namespace_rebuilt: Option<Duration>,
    /// Devices that are part of the node and are not there.
    pub missing_devices: Vec<String>,
    /// What was found wrong and passed over or repaired.
    pub warnings: Vec<String>,
    /// The device files, with their uuids.
    pub devices: Vec<String>,
}

/// Shared between the reactors and whoever answers health checks.
#[derive(Debug, Default)]
pub struct NodeStatus {
    inner: Mutex<Inner>,
}

/// What a node is to be when every device is there.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct NodeLayout {
    /// The scheme of new chunks.
    pub(crate) scheme: Scheme,
    /// The slots of every placement group.
    pub(crate) groups: Vec<Vec<Place>>,
    /// What becomes of new chunks when some of them cannot be written.
    pub(crate) degraded_writes: DegradedWrites,
    /// Copies of the log.
    pub(crate) log_mirrors: usize,
}

/// A device that was there at the start.
#[derive(Debug, Clone)]
pub struct DeviceStatus {
    /// The device.
    pub uuid: Uuid,
    /// Its file.
    pub name: String,
    /// Whether it still takes writes, and how long its operations take.
    pub health: Arc<DeviceHealth>,
}

/// The state of a device: as it is found now, or as it was noted last of one that is no part of the node any more.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DeviceReport {
    /// The device.
    pub uuid: Uuid,
    /// Its state.
    pub state: DeviceState,
    /// Why; empty for a healthy one.
    pub reason: String,
    /// Since when, by the wall clock, in nanoseconds since the Unix epoch; `None` until the state has been noted.
    pub since_nanos: Option<i64>,
    /// Its errors since it was first noted.
    pub errors: DeviceErrors,
    /// Whether it is what was noted of a device that is neither open nor in any slot.
    pub is_former: bool,
}

/// A data partition that was opened.
#[derive(Debug, Clone)]
pub struct PartitionStatus {
    /// The partition.
    pub place: Place,
    /// The device's uuid and the partition's number, as metrics name it.
    pub name: String,
    /// Its device and statistics.
    pub partition: Partition,
    /// What the start found damaged in it.
    pub damage: Vec<String>,
}

/// A data partition that could not be opened at the start.
#[derive(Debug, Clone)]
pub struct LostPartition {
    /// The partition.
    pub place: Place,
    /// What was found.
    pub why: String,
}

#[derive(Debug, Default)]
struct Inner {
    phase: Option<Phase>,
    report: NodeReport,
    reactors: Vec<(usize, Arc<ReactorStatistics>)>,
    cell_caches: Vec<Arc<CellCacheStatistics>>,
    partitions: Vec<PartitionStatus>,
    lost_partitions: Vec<LostPartition>,
    devices: Vec<DeviceStatus>,
    /// Once it is known.
    layout: Option<NodeLayout>,
    group: Option<Arc<GroupStatistics>>,
    redundancy: Option<Arc<Redundancy>>,
    device_changes: Option<DeviceChanges>,
    device_notes: DeviceNotes,
    bucket_usages: Arc<BucketUsages>,
    packing: Arc<PackingStatistics>,
    /// What others than the node have found it to be short of.
    noted: Vec<Degradation>,
}

impl Inner {
    /// The devices that have slots.
    fn members(&self) -> BTreeSet<Uuid> {
        let groups = self.layout.iter().flat_map(|layout| &layout.groups);
        groups.flatten().map(|place| place.device).collect()
    }

    fn findings(&self, former_members: &BTreeSet<Uuid>) -> Vec<Finding> {
        let inventory = DeviceInventory {
            devices: &self.devices,
            partitions: &self.partitions,
            lost_partitions: &self.lost_partitions,
            members: &self.members(),
            former_members,
        };
        inventory.findings()
    }

    /// What keeps a node that serves from changing anything.
    fn failure(&self) -> Option<String> {
        if let Some(why) = self.group.as_ref().and_then(|group| group.failure()) {
            return Some(format!("the metadata group has stopped: {why}"));
        }
        let failures: Option<Vec<String>> = self
            .devices
            .iter()
            .map(|device| Some(format!("{}: {}", device.name, device.health.failure()?)))
            .collect();
        failures
            .filter(|failures| !failures.is_empty())
            .map(|failures| format!("every device has failed: {}", failures.join("; ")))
    }
}

impl NodeStatus {
    /// The present phase.
    pub fn phase(&self) -> Phase {
        let inner = self.lock();
        match &inner.phase {
            None => Phase::Starting("the reactors".to_owned()),
            Some(Phase::Ready) => inner.failure().map_or(Phase::Ready, Phase::Failed),
            Some(phase) => phase.clone(),
        }
    }

    /// Enters a phase. A failed node stays failed. From the beginning of a stop no device is waited for long.
    pub fn enter(&self, phase: Phase) {
        let mut inner = self.lock();
        if phase == Phase::Stopping {
            inner
                .devices
                .iter()
                .for_each(|device| device.health.begin_stop());
        }
        if !matches!(inner.phase, Some(Phase::Failed(_))) {
            inner.phase = Some(phase);
        }
    }

    /// Enters the failed phase, with the reason.
    pub fn fail(&self, why: String) {
        tracing::error!(%why, "the node cannot serve");
        self.enter(Phase::Failed(why));
    }

    /// What the start found.
    pub fn report(&self) -> NodeReport {
        self.lock().report.clone()
    }

    pub(super) fn set_report(&self, report: NodeReport) {
        self.lock().report = report;
    }

    pub(super) fn add_cell_cache(&self, statistics: Arc<CellCacheStatistics>) {
        self.lock().cell_caches.push(statistics);
    }

    /// What the reactors have read from memory: reads within a cell that were, those that were not, and bytes that are kept.
    pub fn cell_caches(&self) -> [u64; 3] {
        let inner = self.lock();
        inner.cell_caches.iter().fold([0; 3], |sums, of| {
            let counters = [&of.hits, &of.misses, &of.bytes];
            std::array::from_fn(|at| sums[at] + counters[at].load(Ordering::Relaxed))
        })
    }

    pub(super) fn add_reactor(&self, index: usize, statistics: Arc<ReactorStatistics>) {
        let mut inner = self.lock();
        inner.reactors.push((index, statistics));
        inner.reactors.sort_by_key(|(index, _)| *index);
    }

    pub(crate) fn add_partition(&self, place: Place, partition: Partition) {
        self.lock().partitions.push(PartitionStatus {
            place,
            name: format!("{}/{}", place.device, place.partition),
            partition,
            damage: Vec::new(),
        });
    }

    /// Notes what a start has found damaged in an open partition.
    pub(super) fn add_damage(&self, place: Place, damage: Vec<String>) {
        let mut inner = self.lock();
        let mut partitions = inner.partitions.iter_mut();
        if let Some(of) = partitions.find(|of| of.place == place) {
            of.damage.extend(damage);
        }
    }

    pub(super) fn add_lost_partition(&self, lost: LostPartition) {
        self.lock().lost_partitions.push(lost);
    }

    pub(crate) fn add_device(&self, uuid: Uuid, name: String, health: Arc<DeviceHealth>) {
        self.lock()
            .devices
            .push(DeviceStatus { uuid, name, health });
    }

    pub(crate) fn set_layout(&self, layout: NodeLayout) {
        let slots = layout.groups.iter().flatten();
        let devices: BTreeSet<Uuid> = slots.map(|place| place.device).collect();
        let mut inner = self.lock();
        inner.report.device_count = devices.len();
        inner.layout = Some(layout);
    }

    pub(super) fn set_group(&self, statistics: Arc<GroupStatistics>) {
        self.lock().group = Some(statistics);
    }

    /// Whether the metadata group has stopped because its namespace cannot be trusted: a new start rebuilds it.
    pub fn needs_rebuild(&self) -> bool {
        let inner = self.lock();
        inner
            .group
            .as_ref()
            .is_some_and(|group| group.needs_rebuild())
    }

    /// Notes what the node is short of beside its devices and its log, one thing of each kind; with `None`, that it is no longer.
    pub fn set_degradation(&self, kind: &'static str, found: Option<Degradation>) {
        let mut inner = self.lock();
        inner.noted.retain(|noted| noted.kind != kind);
        inner.noted.extend(found);
    }

    /// What the node is short of at this time, the most severe first. Empty when nothing is missing.
    pub fn degradations(&self) -> Vec<Degradation> {
        let inner = self.lock();
        let mirrors = inner.group.as_ref().map(|group| group.mirrors());
        let inventory = Inventory {
            missing_devices: &inner.report.missing_devices,
            devices: &inner.devices,
            partitions: &inner.partitions,
            lost_partitions: &inner.lost_partitions,
            layout: inner.layout.as_ref(),
            log_mirrors_present: mirrors,
            namespace_full: inner
                .group
                .as_ref()
                .and_then(|group| group.namespace_full()),
            survey: inner
                .redundancy
                .as_ref()
                .and_then(|redundancy| redundancy.last_surveyed())
                .map(|surveyed| surveyed.survey),
            noted: &inner.noted,
        };
        inventory.degradations()
    }

    /// The statistics of every reactor, by index.
    pub fn reactors(&self) -> Vec<(usize, Arc<ReactorStatistics>)> {
        self.lock().reactors.clone()
    }

    /// The data partitions that were opened.
    pub fn partitions(&self) -> Vec<PartitionStatus> {
        self.lock().partitions.clone()
    }

    /// Data partitions that could not be opened.
    pub fn lost_partitions(&self) -> Vec<LostPartition> {
        self.lock().lost_partitions.clone()
    }

    /// The devices that were there at the start.
    pub fn devices(&self) -> Vec<DeviceStatus> {
        self.lock().devices.clone()
    }

    /// The devices that have slots in placement groups.
    pub fn member_devices(&self) -> BTreeSet<Uuid> {
        self.lock().members()
    }

    /// The state of every device that is open or has a slot, now or formerly, and then what was noted of others.
    pub fn device_reports(&self) -> Vec<DeviceReport> {
        let inner = self.lock();
        let notes = &inner.device_notes;
        let findings = inner.findings(&notes.former_members);
        let known: BTreeSet<Uuid> = findings.iter().map(|finding| finding.device).collect();
        let now = findings.into_iter().map(|finding| {
            let row = notes.rows.get(&finding.device);
            let since = row.filter(|row| row.state == finding.state);
            let before = notes.errors_before.get(&finding.device).copied();
            DeviceReport {
                uuid: finding.device,
                state: finding.state,
                reason: finding.reason,
                since_nanos: since.map(|row| row.since_nanos),
                errors: states::sum(before.unwrap_or_default(), finding.errors),
                is_former: false,
            }
        });
        let former = notes.rows.iter();
        let former = former.filter(|(uuid, _)| !known.contains(uuid));
        let former = former.map(|(uuid, row)| DeviceReport {
            uuid: *uuid,
            state: row.state,
            reason: row.reason.clone(),
            since_nanos: Some(row.since_nanos),
            errors: row.errors,
            is_former: true,
        });
        now.chain(former).collect()
    }

    /// How each device is found now, given those that have former slots.
    pub(super) fn device_findings(&self, former_members: &BTreeSet<Uuid>) -> Vec<Finding> {
        self.lock().findings(former_members)
    }

    pub(super) fn set_device_notes(&self, notes: DeviceNotes) {
        self.lock().device_notes = notes;
    }

    /// Copies of the log that the layout keeps; 0 until it is known.
    pub fn log_mirrors_expected(&self) -> usize {
        let inner = self.lock();
        inner.layout.as_ref().map_or(0, |layout| layout.log_mirrors)
    }

    /// The scheme of the layout, once it is known.
    pub fn scheme(&self) -> Option<Scheme> {
        self.lock().layout.as_ref().map(|layout| layout.scheme)
    }

    /// How many placement groups there are, those of earlier layouts among them.
    pub fn placement_groups(&self) -> usize {
        let inner = self.lock();
        inner
            .layout
            .as_ref()
            .map_or(0, |layout| layout.groups.len())
    }

    /// The layout and what it survives now, in one line; empty until it is known.
    pub fn layout(&self) -> String {
        let inner = self.lock();
        let (report, Some(layout)) = (&inner.report, &inner.layout) else {
            return String::new();
        };
        let has_failed = |device: &&DeviceStatus| device.health.failure().is_some();
        let failed = inner.devices.iter().filter(has_failed).count();
        let lost = report.missing_devices.len() + failed;
        layout::describe(layout.scheme, report.device_count, lost)
    }

    /// The statistics of the Raft group, once it is up.
    pub fn group(&self) -> Option<Arc<GroupStatistics>> {
        self.lock().group.clone()
    }

    /// What is known of the redundancy of the chunks, once they are served.
    pub fn redundancy(&self) -> Option<Arc<Redundancy>> {
        self.lock().redundancy.clone()
    }

    pub(super) fn set_redundancy(&self, redundancy: Arc<Redundancy>) {
        self.lock().redundancy = Some(redundancy);
    }

    /// Asks for changes of the devices, once the node serves.
    pub fn device_changes(&self) -> Option<DeviceChanges> {
        self.lock().device_changes.clone()
    }

    pub(super) fn set_device_changes(&self, changes: DeviceChanges) {
        self.lock().device_changes = Some(changes);
    }

    /// Shows no more what was noted of a device.
    pub(super) fn forget_note(&self, uuid: Uuid) {
        self.lock().device_notes.rows.remove(&uuid);
    }

    /// Takes a device that was replaced for none of the node's any more.
    pub(super) fn forget_device(&self, uuid: Uuid) {
        let mut inner = self.lock();
        let name = uuid.to_string();
        inner
            .report
            .missing_devices
            .retain(|missing| *missing != name);
        inner.devices.retain(|device| device.uuid != uuid);
        inner.partitions.retain(|of| of.place.device != uuid);
        inner
            .lost_partitions
            .retain(|lost| lost.place.device != uuid);
    }

    /// What the buckets held a few seconds ago.
    pub fn bucket_usages(&self) -> Arc<BucketUsages> {
        self.lock().bucket_usages.clone()
    }

    /// What packing has done.
    pub fn packing(&self) -> Arc<PackingStatistics> {
        self.lock().packing.clone()
    }

    pub(super) fn set_bucket_usages(&self, usages: BucketUsages) {
        self.lock().bucket_usages = Arc::new(usages);
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Inner> {
        self.inner
            .lock()
            .unwrap_or_else(std::sync::PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_failed_node_stays_failed() {
        let status = NodeStatus::default();
        status.enter(Phase::Ready);
        status.fail("no port".to_owned());
        status.enter(Phase::Stopping);
        assert_eq!(status.phase(), Phase::Failed("no port".to_owned()));
    }
}
