//! Noting: the state of each device goes into the replicated state, as a row with state, reason, errors and since when, which outlives
//! restarts.
//!
//! Invariants: a state is noted only when two looks one after the other have found it; a device takes no more than one command in
//! [`NOTE_EVERY`], and one for its counters alone in [`COUNT_EVERY`]; while the state stays, a start included, `since` does; the
//! row of a device that is neither open nor in any slot, now or formerly, stays as it is.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use strata_engine::Uuid;
use strata_engine::reactor::{self, Instant, TaskClass};
use strata_raftlog::namespace::command::SetDevice;
use strata_raftlog::namespace::{DeviceCondition, DeviceErrors, DeviceState};

use super::states::{self, Finding};
use crate::cluster::Cluster;
use crate::error::ClusterError;

/// How often the devices are looked at.
const LOOK_EVERY: Duration = Duration::from_secs(5);

/// Between two commands for a device.
const NOTE_EVERY: Duration = Duration::from_secs(10);

/// Between two commands for a device whose state stays: its errors, its reason or its capacity have changed.
const COUNT_EVERY: Duration = Duration::from_secs(300);

/// What the replicated state holds of the devices, as of the last look.
#[derive(Debug, Clone, Default)]
pub(crate) struct DeviceNotes {
    /// The rows.
    pub(crate) rows: BTreeMap<Uuid, DeviceCondition>,
    /// The devices that have former slots.
    pub(crate) former_members: BTreeSet<Uuid>,
    /// The errors that the rows had when this start first looked at the devices.
    pub(crate) errors_before: BTreeMap<Uuid, DeviceErrors>,
}

/// A device that is looked at.
pub(crate) struct Watched {
    /// The errors in its row at the first look.
    errors_before: DeviceErrors,
    /// The state that the last look found.
    last: Option<DeviceState>,
    /// When the last command for it was proposed.
    proposed: Option<Instant>,
    /// From when on its counters alone are not noted for a while: the last command, or the first look.
    counted: Instant,
}

/// Keeps the rows until the task is dropped. One reactor of the node does it.
pub(crate) fn spawn(cluster: Cluster) -> reactor::Task<()> {
    reactor::spawn(TaskClass::Background, async move {
        let mut watched = BTreeMap::new();
        loop {
            if let Err(error) = look(&cluster, &mut watched).await {
                tracing::warn!(%error, "the state of a device could not be noted; trying again");
            }
            reactor::sleep(LOOK_EVERY).await;
        }
    })
}

async fn look(
    cluster: &Cluster,
    watched: &mut BTreeMap<Uuid, Watched>,
) -> Result<(), ClusterError> {
    let mut notes = read(cluster)?;
    let status = &cluster.parts().status;
    let findings = status.device_findings(&notes.former_members);
    let known: BTreeSet<Uuid> = findings.iter().map(|finding| finding.device).collect();
    watched.retain(|device, _| known.contains(device));
    for finding in &findings {
        let row = notes.rows.get(&finding.device);
        let of = watched
            .entry(finding.device)
            .or_insert_with(|| Watched::new(row));
        notes.errors_before.insert(finding.device, of.errors_before);
    }
    status.set_device_notes(notes.clone());
    let mut outcome = Ok(());
    for finding in &findings {
        let Some(of) = watched.get_mut(&finding.device) else {
            continue;
        };
        let row = notes.rows.get(&finding.device);
        if let Some(condition) = of.due(finding, row) {
            let uuid = finding.device;
            tracing::info!(device = %uuid, state = condition.state.word(), reason = condition.reason, "the state of a device is noted");
            match cluster
                .submit(SetDevice {
                    condition: condition.clone(),
                })
                .await
            {
                Ok(_) => {
                    notes.rows.insert(uuid, condition);
                }
                Err(error) => outcome = Err(error),
            }
        }
    }
    status.set_device_notes(notes);
    outcome
}

/// The rows, and who has former slots.
fn read(cluster: &Cluster) -> Result<DeviceNotes, ClusterError> {
    cluster.read(|view| {
        let rows = view.devices()?.into_iter();
        let groups = view.placement_groups()?;
        let former = groups.iter().flat_map(|group| &group.previous);
        Ok(DeviceNotes {
            rows: rows.map(|row| (Uuid(row.device), row)).collect(),
            former_members: former.map(|slot| Uuid(slot.device)).collect(),
            errors_before: BTreeMap::new(),
        })
    })
}

impl Watched {
    /// One that is looked at for the first time, with its row.
    pub(crate) fn new(row: Option<&DeviceCondition>) -> Watched {
        Watched {
            errors_before: row.map(|row| row.errors).unwrap_or_default(),
            last: None,
            proposed: None,
            counted: reactor::now(),
        }
    }

    /// What is to be noted now, if anything, given what was noted last.
    pub(crate) fn due(
        &mut self,
        finding: &Finding,
        row: Option<&DeviceCondition>,
    ) -> Option<DeviceCondition> {
        let now = reactor::now();
        let was_found = self.last.replace(finding.state) == Some(finding.state);
        let has_been = |since: Instant, long| now.saturating_duration_since(since) >= long;
        let same = row.filter(|row| row.state == finding.state);
        let condition = DeviceCondition {
            device: finding.device.0,
            state: finding.state,
            reason: finding.reason.clone(),
            since_nanos: match same {
                Some(row) => row.since_nanos,
                None => reactor::wall_clock().nanoseconds(),
            },
            capacity_bytes: finding
                .capacity_bytes
                .or(row.map(|row| row.capacity_bytes))
                .unwrap_or(0),
            errors: states::sum(self.errors_before, finding.errors),
        };
        let is_due = match same {
            Some(row) => *row != condition && has_been(self.counted, COUNT_EVERY),
            None => was_found && self.proposed.is_none_or(|last| has_been(last, NOTE_EVERY)),
        };
        if !is_due {
            return None;
        }
        (self.proposed, self.counted) = (Some(now), now);
        Some(condition)
    }
}
