//! What a node shows of itself while it starts, serves and stops.
//!
//! Invariants: a node that has failed stays failed; it has failed as well when its metadata group has stopped by itself or
//! when none of its devices is left.

use std::sync::{Arc, Mutex};

use strata_engine::DeviceHealth;
use strata_engine::reactor::ReactorStatistics;

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
    /// The layout and what it survives.
    pub layout: String,
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

#[derive(Debug, Default)]
struct Inner {
    phase: Option<Phase>,
    report: NodeReport,
    reactors: Vec<(usize, Arc<ReactorStatistics>)>,
    partitions: Vec<(String, Arc<strata_engine::ChunkStoreStatistics>)>,
    devices: Vec<(String, Arc<DeviceHealth>)>,
    group: Option<Arc<strata_raftlog::consensus::group::GroupStatistics>>,
}

impl Inner {
    /// What keeps a node that serves from changing anything.
    fn failure(&self) -> Option<String> {
        if let Some(why) = self.group.as_ref().and_then(|group| group.failure()) {
            return Some(format!("the metadata group has stopped: {why}"));
        }
        let failures: Option<Vec<String>> = self
            .devices
            .iter()
            .map(|(name, health)| Some(format!("{name}: {}", health.failure()?)))
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

    /// Enters a phase. A failed node stays failed.
    pub fn enter(&self, phase: Phase) {
        let mut inner = self.lock();
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

    pub(super) fn add_reactor(&self, index: usize, statistics: Arc<ReactorStatistics>) {
        let mut inner = self.lock();
        inner.reactors.push((index, statistics));
        inner.reactors.sort_by_key(|(index, _)| *index);
    }

    pub(super) fn add_partition(
        &self,
        name: String,
        statistics: Arc<strata_engine::ChunkStoreStatistics>,
    ) {
        self.lock().partitions.push((name, statistics));
    }

    pub(super) fn add_device(&self, name: String, health: Arc<DeviceHealth>) {
        self.lock().devices.push((name, health));
    }

    pub(super) fn set_group(
        &self,
        statistics: Arc<strata_raftlog::consensus::group::GroupStatistics>,
    ) {
        self.lock().group = Some(statistics);
    }

    /// The statistics of every reactor, by index.
    pub fn reactors(&self) -> Vec<(usize, Arc<ReactorStatistics>)> {
        self.lock().reactors.clone()
    }

    /// The statistics of every data partition, by name.
    pub fn partitions(&self) -> Vec<(String, Arc<strata_engine::ChunkStoreStatistics>)> {
        self.lock().partitions.clone()
    }

    /// The devices that are there, by path, with their failures and latencies.
    pub fn devices(&self) -> Vec<(String, Arc<DeviceHealth>)> {
        self.lock().devices.clone()
    }

    /// The statistics of the Raft group, once it is up.
    pub fn group(&self) -> Option<Arc<strata_raftlog::consensus::group::GroupStatistics>> {
        self.lock().group.clone()
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
