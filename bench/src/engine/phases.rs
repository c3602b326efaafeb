//! The phases of a run: what the node is started on, and what each is reported as.

use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use anyhow::{Context as _, bail};
use strata_net::node::devices::DeviceChange;
use strata_net::node::status::NodeStatus;

use super::Phase;
use super::load::Load;
use crate::node::Node;
use crate::report::Report;

/// How long a node may take to start, and a rebuild to end.
const PATIENCE: Duration = Duration::from_secs(900);

/// How often it is looked whether something has come.
const LOOK: Duration = Duration::from_millis(20);

/// The phases of a node.
pub struct Phases<'a> {
    /// The node, between two phases.
    pub node: Node<'a>,
    /// Disks that are away, or filled anew.
    pub lost: usize,
}

impl Phases<'_> {
    /// Does a phase, for the first or a later time, and reports it.
    pub fn run(
        &mut self,
        phase: Phase,
        turn: usize,
        load: &mut Load,
        report: &mut Report,
    ) -> anyhow::Result<()> {
        let places = self.node.places();
        let there = places.len() - self.lost;
        let disks = match phase {
            Phase::Degraded => there,
            _ => places.len(),
        };
        let is_rebuild = matches!(phase, Phase::Rebuild | Phase::RebuildUnderLoad);
        if is_rebuild {
            for place in &places[there..] {
                std::fs::remove_file(place.join("strata.device"))?;
            }
        }
        let (status, round) = (Arc::new(NodeStatus::default()), Arc::new(load.round(phase)));
        let rebuilding = is_rebuild.then(|| {
            let (status, round) = (status.clone(), round.clone());
            let places = places[there..].to_vec();
            std::thread::spawn(move || {
                let rebuilt = rebuild(&status, &places);
                round.course.end();
                rebuilt
            })
        });
        let served = self.node.serve(disks, status.clone(), round.clone());
        let rebuilt = rebuilding.map(|thread| thread.join().expect("the thread does not panic"));
        served?;
        load.note(&round);
        let outcome = round.course.outcome();
        if let Some(error) = outcome.failure {
            return Err(error);
        }
        let prefix = &match turn {
            1 => prefix_of(phase).to_owned(),
            turn => format!("{}{turn}_", prefix_of(phase)),
        };
        if phase != Phase::Rebuild {
            report.tally(prefix, &outcome.tally, outcome.elapsed);
        }
        let used = outcome.used.as_secs_f64();
        report.number(format!("{prefix}cpu_seconds"), used);
        let gib = outcome.tally.bytes() as f64 / f64::from(1 << 30);
        if gib > 0.0 {
            report.number(format!("{prefix}cpu_ms_per_gib"), used * 1e3 / gib);
        }
        if let Some(rebuilt) = rebuilt {
            let (bytes, seconds) = rebuilt?;
            let mib = bytes as f64 / f64::from(1 << 20);
            report.number(format!("{prefix}written_mib"), mib);
            report.number(format!("{prefix}seconds"), seconds.as_secs_f64());
            report.number(
                format!("{prefix}mib_per_second"),
                mib / seconds.as_secs_f64(),
            );
        }
        self.report_devices(&status, prefix, report);
        Ok(())
    }

    /// What the data partitions have read and written from the start of the node to its stop.
    fn report_devices(&self, status: &NodeStatus, prefix: &str, report: &mut Report) {
        let (mut read, mut written) = (0, 0);
        for of in status.partitions() {
            let statistics = &of.partition.statistics;
            read += statistics.bytes_read.load(Ordering::Relaxed);
            written += statistics.log.bytes_written.load(Ordering::Relaxed);
        }
        let mib = |bytes: u64| bytes as f64 / f64::from(1 << 20);
        report.number(format!("{prefix}devices_read_mib"), mib(read));
        report.number(format!("{prefix}devices_written_mib"), mib(written));
    }
}

fn prefix_of(phase: Phase) -> &'static str {
    match phase {
        Phase::Put => "put_",
        Phase::Get => "get_",
        Phase::Mixed => "mixed_",
        Phase::Degraded => "degraded_",
        Phase::Rebuild => "rebuild_",
        Phase::RebuildUnderLoad => "rebuild_under_load_",
        Phase::Delete => "delete_",
    }
}

/// Puts empty devices in the places of lost ones and waits until all chunks are whole; the bytes that were written, and how long it took
/// from the first replacement on.
fn rebuild(status: &NodeStatus, places: &[PathBuf]) -> anyhow::Result<(u64, Duration)> {
    let begun = Instant::now();
    let changes = wait_for(begun, || status.device_changes())?;
    let redundancy = wait_for(begun, || status.redundancy())?;
    // The first walk begins a while after the start.
    wait_for(begun, || redundancy.surveyed())?;
    let begun = Instant::now();
    for place in places {
        let lost = status.report().missing_devices;
        let lost = lost.first().context("no device is missing")?.clone();
        let place = place.clone();
        let force_format = false;
        let replaced = changes.make(DeviceChange::Replace {
            lost,
            place,
            force_format,
        });
        replaced.map_err(|why| anyhow::anyhow!("a device was not replaced: {why}"))?;
    }
    wait_for(begun, || {
        let surveyed = redundancy.surveyed();
        surveyed.filter(|found| found.survey.below_target == 0)
    })?;
    Ok((redundancy.repaired().1, begun.elapsed()))
}

fn wait_for<T>(begun: Instant, look: impl Fn() -> Option<T>) -> anyhow::Result<T> {
    loop {
        if let Some(found) = look() {
            return Ok(found);
        }
        if begun.elapsed() > PATIENCE {
            bail!("the node was not ready, or not whole, in time");
        }
        std::thread::sleep(LOOK);
    }
}
