//! The node of a run: its directories, its starts, and what each phase is reported as.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use anyhow::{Context as _, bail};
use strata_engine::reactor::World;
use strata_net::node::devices::DeviceChange;
use strata_net::node::status::{self, NodeStatus};
use strata_net::node::{self, NodeConfig, Serving};
use strata_net::scheme::DegradedWrites;
use strata_raftlog::namespace::RootKey;

use super::load::{Load, Round};
use super::{Options, Phase};
use crate::report::Report;

/// What the folder of a run is called in the directory of a disk.
const FOLDER: &str = "strata-bench-engine";

/// How long a node may take to start, and a rebuild to end.
const PATIENCE: Duration = Duration::from_secs(900);

/// How often it is looked whether something has come.
const LOOK: Duration = Duration::from_millis(20);

/// A node on directories of its own, which are removed with it.
pub struct Node<'a> {
    options: &'a Options,
    folders: Vec<PathBuf>,
}

impl Node<'_> {
    /// Makes the directories.
    ///
    /// # Errors
    /// One that is there: what an earlier run has left, or somebody else's.
    pub fn make(options: &Options) -> anyhow::Result<Node<'_>> {
        let mut node = Node {
            options,
            folders: Vec::new(),
        };
        for (number, disk) in options.disks.iter().enumerate() {
            let folder = disk.join(format!("{FOLDER}-{number}"));
            let made = std::fs::create_dir(&folder);
            made.with_context(|| format!("make {}", folder.display()))?;
            node.folders.push(folder);
        }
        Ok(node)
    }

    fn config(&self, folders: &[PathBuf]) -> anyhow::Result<NodeConfig> {
        let options = self.options;
        Ok(NodeConfig {
            node_id: 1,
            data_dirs: folders.iter().map(|folder| folder.join("disk")).collect(),
            force_format: Vec::new(),
            discard: false,
            metadata_dir: self.folders[0].join("metadata"),
            cores: (0..options.cores).collect(),
            // Files of one disk are as good as disks where only the engine is looked at.
            assume_separate_failure_domains: true,
            scheme: options.scheme,
            degraded_writes: DegradedWrites::Safe,
            pack_after: Duration::from_secs(3600),
            capacity_bytes: Some(
                options.capacity / self.folders.len() as u64 * folders.len() as u64,
            ),
            arena_bytes: usize::try_from(options.buffers)?,
            cache_bytes: options.cache,
            metadata_map_bytes: 16 << 30,
            first_root_key: RootKey {
                access_key_id: "strata-bench".to_owned(),
                secret_access_key: "strata-bench".to_owned(),
            },
        })
    }

    /// Does a phase, for the first or a later time, and reports it.
    pub fn run(
        &mut self,
        phase: Phase,
        turn: usize,
        load: &mut Load,
        report: &mut Report,
    ) -> anyhow::Result<()> {
        let there = self.folders.len() - self.options.lost;
        let folders = match phase {
            Phase::Degraded => &self.folders[..there],
            _ => &self.folders[..],
        };
        for folder in folders {
            make_directories(&folder.join("disk"))?;
        }
        make_directories(&self.folders[0].join("metadata"))?;
        let is_rebuild = matches!(phase, Phase::Rebuild | Phase::RebuildUnderLoad);
        if is_rebuild {
            for folder in &self.folders[there..] {
                std::fs::remove_file(folder.join("disk").join("strata.device"))?;
            }
        }
        let (status, round) = (Arc::new(NodeStatus::default()), Arc::new(load.round(phase)));
        let rebuilding = is_rebuild.then(|| {
            let (status, round) = (status.clone(), round.clone());
            let places = self.folders[there..]
                .iter()
                .map(|folder| folder.join("disk"));
            let places: Vec<PathBuf> = places.collect();
            std::thread::spawn(move || {
                let rebuilt = rebuild(&status, &places);
                round.end();
                rebuilt
            })
        });
        let served = serve(self.config(folders)?, status.clone(), round.clone());
        let rebuilt = rebuilding.map(|thread| thread.join().expect("the thread does not panic"));
        served?;
        load.note(&round);
        let outcome = round.outcome();
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

impl Drop for Node<'_> {
    fn drop(&mut self) {
        for folder in &self.folders {
            if let Err(error) = std::fs::remove_dir_all(folder) {
                crate::report::complain(&format!("{} stays: {error}", folder.display()));
            }
        }
    }
}

fn make_directories(path: &Path) -> anyhow::Result<()> {
    std::fs::create_dir_all(path).with_context(|| format!("make {}", path.display()))
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

/// Runs the node until every reactor has done its part.
fn serve(config: NodeConfig, status: Arc<NodeStatus>, round: Arc<Round>) -> anyhow::Result<()> {
    let says = status.clone();
    let front_end = move |connected| {
        let (round, says) = (round.clone(), says.clone());
        Box::pin(async move {
            match connected {
                Ok(cluster) => {
                    says.enter(status::Phase::Ready);
                    round.serve(cluster).await;
                }
                Err(error) => round.fail(anyhow::Error::new(error)),
            }
        }) as Serving
    };
    node::run(World::Real, config, status, front_end).context("the node did not run")
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
