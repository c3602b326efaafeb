//! What a running server tells of itself to `strata status`, as JSON.
//!
//! Invariant: fields keep their names and meanings within a version of the admin socket's protocol; new ones may come. They
//! are listed in docs/OPERATION.md.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Instant;

use serde_json::{Map, Value, json};
use strata_net::node::repair::{Progress, Redundancy, Surveyed};
use strata_net::node::status::{
    Degradation, DeviceReport, DeviceStatus, NodeStatus, PartitionStatus, Phase,
};

use super::capacity::Capacity;
use super::metrics::node::severity_word;
use crate::version::VERSION;

/// What a status is told from.
pub struct StatusReport {
    /// What the node shows of itself.
    pub status: Arc<NodeStatus>,
    /// The node's number.
    pub node_id: u64,
    /// What the URLs of both ports begin with.
    pub url_scheme: &'static str,
    /// Where S3 listens.
    pub s3: SocketAddr,
    /// Where metrics and health listen.
    pub metrics: SocketAddr,
    /// Where the names lie.
    pub metadata_dir: PathBuf,
    /// When the server began.
    pub begun: Instant,
}

impl StatusReport {
    /// The status now.
    pub fn now(&self) -> Value {
        let status = &self.status;
        let (report, degradations) = (status.report(), status.degradations());
        let (state, why) = state(&status.phase(), &degradations);
        let capacity = Capacity::of(&status.partitions());
        let (usages, packing) = (status.bucket_usages(), status.packing());
        let count = |of: &AtomicU64| of.load(Ordering::Relaxed);
        json!({
            "state": state,
            "why": why,
            "version": VERSION,
            "process_id": std::process::id(),
            "uptime_seconds": self.begun.elapsed().as_secs(),
            "node": self.node_id,
            "cluster": report.cluster,
            "s3": format!("{}://{}", self.url_scheme, self.s3),
            "metrics": format!("{}://{}", self.url_scheme, self.metrics),
            "metadata_dir": self.metadata_dir.display().to_string(),
            "layout": status.layout(),
            "scheme": status.scheme().map(|scheme| json!({
                "data_shards": scheme.data_shards(),
                "parity_shards": scheme.losses(),
            })),
            "placement_groups": status.placement_groups(),
            "devices": self.devices(),
            "capacity": {
                "total_bytes": capacity.total_bytes,
                "free_bytes": capacity.free_bytes,
                "live_bytes": capacity.live_bytes,
                "chunks": capacity.chunks,
                "chunks_max": capacity.chunks_max,
            },
            "buckets": {
                "count": usages.buckets,
                "objects": usages.total.objects,
                "objects_bytes": usages.total.bytes,
            },
            "packs": {
                "count": count(&packing.packs),
                "bytes": count(&packing.packs_bytes),
                "live_bytes": count(&packing.packs_live_bytes),
                "packed_extents": count(&packing.extents),
                "packed_bytes": count(&packing.bytes),
            },
            "log": self.log(),
            "redundancy": status.redundancy().map(|found| redundancy(&found)),
            "degradations": degradations.iter().map(degradation).collect::<Vec<_>>(),
        })
    }

    fn devices(&self) -> Vec<Value> {
        let status = &self.status;
        let (open, partitions) = (status.devices(), status.partitions());
        let members = status.member_devices();
        let moving = status.redundancy().map_or(0, |found| found.groups_moving());
        let reports = status.device_reports().into_iter();
        let devices = reports.map(|report| {
            let usage = match (members.contains(&report.uuid), moving) {
                _ if report.is_former => "former",
                (true, _) => "member",
                (false, 0) => "unused",
                (false, _) => "draining",
            };
            let open = open.iter().find(|open| open.uuid == report.uuid);
            device(&report, open, &partitions, usage)
        });
        devices.collect()
    }

    fn log(&self) -> Value {
        let Some(group) = self.status.group() else {
            return Value::Null;
        };
        json!({
            "copies": group.mirrors(),
            "copies_expected": self.status.log_mirrors_expected(),
            "used_bytes": group.log_used_bytes(),
            "total_bytes": group.log_capacity_bytes(),
            "names_used_bytes": group.map_used_bytes(),
            "names_total_bytes": group.map_bytes(),
        })
    }
}

/// One word for programs, and what is to be said about it.
fn state(phase: &Phase, degradations: &[Degradation]) -> (&'static str, Option<String>) {
    match phase {
        Phase::Ready if degradations.is_empty() => ("healthy", None),
        Phase::Ready => ("degraded", None),
        Phase::Starting(what) => ("starting", Some(what.clone())),
        Phase::Stopping => ("stopping", None),
        Phase::Failed(why) => ("failed", Some(why.clone())),
    }
}

fn device(
    report: &DeviceReport,
    open: Option<&DeviceStatus>,
    partitions: &[PartitionStatus],
    usage: &str,
) -> Value {
    let of_it = partitions
        .iter()
        .filter(|of| of.place.device == report.uuid);
    let capacity = Capacity::of(&of_it.cloned().collect::<Vec<_>>());
    let since = report.since_nanos.map(|nanos| nanos / 1_000_000_000);
    json!({
        "uuid": report.uuid.to_string(),
        "path": open.map(|open| &open.name),
        "state": report.state.word(),
        "why": Some(&report.reason).filter(|reason| !reason.is_empty()),
        "since_unix_seconds": since,
        "errors": {
            "reads": report.errors.reads,
            "writes": report.errors.writes,
            "checksums": report.errors.checksums,
        },
        "total_bytes": capacity.total_bytes,
        "live_bytes": capacity.live_bytes,
        "shards": capacity.chunks,
        "use": usage,
    })
}

/// What is known of the chunks' shards, and what is being done about them.
fn redundancy(found: &Redundancy) -> Value {
    let (repaired_shards, repaired_bytes) = found.repaired();
    let (converted_chunks, converted_bytes) = found.converted();
    let (moved_shards, moved_bytes) = found.moved();
    json!({
        "survey": found.surveyed().as_ref().map(surveyed),
        "survey_under_way": progress(found.survey_progress()),
        "scrub": found.scrubbed().as_ref().map(surveyed),
        "scrub_under_way": progress(found.scrub_progress()),
        "repaired_shards": repaired_shards,
        "repaired_bytes": repaired_bytes,
        "converted_chunks": converted_chunks,
        "converted_bytes": converted_bytes,
        "groups_moving": found.groups_moving(),
        "moved_shards": moved_shards,
        "moved_bytes": moved_bytes,
    })
}

fn surveyed(surveyed: &Surveyed) -> Value {
    let survey = &surveyed.survey;
    let by_losses_left = survey.by_losses_left.iter();
    let by_losses_left: Map<String, Value> = by_losses_left
        .map(|(losses, chunks)| (losses.to_string(), json!(chunks)))
        .collect();
    json!({
        "ended_unix_seconds": surveyed.ended_nanos / 1_000_000_000,
        "chunks": survey.chunks,
        "below_target": survey.below_target,
        "repairable": survey.repairable,
        "by_losses_left": by_losses_left,
        "unreadable": survey.unreadable,
        "written_weaker": survey.written_weaker,
        "written_otherwise": survey.written_otherwise,
        "unconverted": survey.unconverted,
        "mended_shards": survey.mended_shards,
        "verified_bytes": survey.verified_bytes,
    })
}

fn progress(progress: Progress) -> Value {
    match progress.walks {
        0 => Value::Null,
        walks => json!({
            "walks": walks,
            "chunks": progress.chunks,
            "verified_bytes": progress.verified_bytes,
        }),
    }
}

fn degradation(found: &Degradation) -> Value {
    json!({
        "severity": severity_word(found.severity),
        "kind": found.kind,
        "what": found.what,
        "remedy": found.remedy,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use strata_net::node::status::Severity;

    #[test]
    fn the_state_follows_phase_and_degradations() {
        let found = Degradation {
            severity: Severity::Warning,
            kind: "log_mirrors",
            what: "one copy less".to_owned(),
            remedy: "put it back".to_owned(),
        };
        assert_eq!(state(&Phase::Ready, &[]).0, "healthy");
        assert_eq!(
            state(&Phase::Ready, std::slice::from_ref(&found)).0,
            "degraded"
        );
        let failed = state(&Phase::Failed("no disk".to_owned()), &[found]);
        assert_eq!(failed, ("failed", Some("no disk".to_owned())));
    }
}
