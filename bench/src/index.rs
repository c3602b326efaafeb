//! The index of a data partition in its formats on a device: how long a start takes, what memory it holds, and how many pages
//! a look-up reads that no cache has seen.
//!
//! Invariants: a file that another program has made is not opened (see [`own_file`]); what is measured was written by an earlier
//! run, so that neither the memory of writing it nor its pages in any cache count; every look-up must find its shard.
//!
//! The first run on a new file writes the index; every later one measures it.

use std::path::{Path, PathBuf};
use std::sync::atomic::Ordering;
use std::time::Duration;

use anyhow::{Context as _, ensure};
use clap::Args;
use strata_engine::reactor::{ReactorConfig, World, allocate, now, random_u64, run as run_reactor};
use strata_engine::{
    ChunkId, ChunkStore, Device, DeviceOptions, Owner, Payload, ShardId, ShardWrite, format_device,
};

use crate::own_file::{self, Found};
use crate::report::{Report, Tally};

const SEGMENT_BYTES: u64 = 16 << 20;
const LOG_SEGMENTS: u32 = 4;
/// What the file may grow to: beyond any index that is measured.
const CAPACITY_BYTES: u64 = 64 << 30;
/// Placement groups of the shards: as many places in the order of the keys at which new ones come.
const GROUPS: u64 = 64;
/// The group of the one shard that has a record. It is behind the others.
const REAL_GROUP: u32 = 1000;

/// Options of `index`.
#[derive(Args)]
pub struct Options {
    /// The file for the device. A new one is formatted and filled; one that this subject has made is measured.
    #[arg(long)]
    device: PathBuf,
    /// Shards of the index, where it is written.
    #[arg(long, default_value_t = 1_000_000)]
    shards: u64,
    /// Look-ups to measure, one after the other.
    #[arg(long, default_value_t = 10_000)]
    look_ups: u64,
    /// The core to run on.
    #[arg(long, default_value_t = 0)]
    core: usize,
}

/// Writes an index, or measures the one that is there, on one pinned reactor.
pub fn run(options: &Options) -> anyhow::Result<Report> {
    let config = ReactorConfig {
        index: 0,
        core: Some(options.core),
        name: "index".into(),
        arena_bytes: 16 << 20,
        spin: Duration::ZERO,
    };
    let found = own_file::look(&options.device)?;
    run_reactor(config, World::Real, async || match found {
        Found::New => write(options).await.context("write the index"),
        Found::Index => measure(options).await.context("measure the index"),
        Found::Device | Found::Journal => {
            anyhow::bail!("another subject of strata-bench has made the file: name a new one")
        }
    })?
}

fn shard(number: u64) -> ShardId {
    ShardId {
        chunk: ChunkId::new((number % GROUPS) as u32, 1, 1, number / GROUPS),
        shard: 0,
    }
}

fn real_shard() -> ShardId {
    ShardId {
        chunk: ChunkId::new(REAL_GROUP, 1, 1, 0),
        shard: 0,
    }
}

async fn open(path: &Path) -> anyhow::Result<ChunkStore> {
    let options = DeviceOptions {
        capacity_bytes: CAPACITY_BYTES,
        ..DeviceOptions::default()
    };
    let device = Device::open(path, options).await?;
    let (store, report) = ChunkStore::open(&device, 1).await?;
    ensure!(report.damage.is_empty(), "damage: {:?}", report.damage);
    Ok(store)
}

async fn write(options: &Options) -> anyhow::Result<Report> {
    let format = own_file::format_of(own_file::INDEX_CLUSTER, SEGMENT_BYTES, LOG_SEGMENTS);
    format_device(&options.device, format).await?;
    let store = open(&options.device).await?;
    store.limit_index(usize::MAX, 16 << 20);
    let mut buffer = allocate(4096).await;
    buffer.extend_from_slice(&[1; 4096]);
    let real = ShardWrite {
        id: real_shard(),
        geometry: 0,
        layout_epoch: 1,
        slot_mask: 1,
        introduces: true,
        chunk_bytes: 4096,
        owner: Owner::default(),
        payload: Payload::of(vec![buffer.freeze()]),
    };
    store.write(real).await?;
    let begun = now();
    store
        .fill_index(real_shard(), (0..options.shards).map(shard))
        .await?;
    let elapsed = begun.elapsed();
    let mut report = Report::default();
    report.count("shards", options.shards);
    report.number("write_seconds", elapsed.as_secs_f64());
    let log = store.statistics().log.used_bytes();
    report.count("segment_bytes_in_use", log);
    store.close().await;
    Ok(report)
}

async fn measure(options: &Options) -> anyhow::Result<Report> {
    let before = resident_bytes()?;
    let begun = now();
    let store = open(&options.device).await?;
    let ready = begun.elapsed();
    let opened = resident_bytes()?;
    let pages = store.index_page_reads();
    let shards = store.statistics().shards.load(Ordering::Relaxed);
    // All but the one that has a record.
    let loaded = shards.saturating_sub(1).max(1);
    let mut tally = Tally::default();
    let measured = now();
    for _ in 0..options.look_ups {
        let id = shard(random_u64() % loaded);
        let asked = now();
        let found = store.look_up(id).await?;
        ensure!(found.is_some(), "{id} is not there");
        tally.add(asked.elapsed(), 0);
    }
    let elapsed = measured.elapsed();
    let look_up_pages = store.index_page_reads() - pages;
    let mut report = Report::default();
    report.count("shards", shards);
    report.number("ready_ms", ready.as_secs_f64() * 1e3);
    report.count("pages_read_by_start", pages);
    report.count("resident_bytes_before", before);
    report.count("resident_bytes_ready", opened);
    report.count("resident_bytes_after_look_ups", resident_bytes()?);
    let look_ups = options.look_ups.max(1) as f64;
    report.number("pages_per_look_up", look_up_pages as f64 / look_ups);
    report.tally("look_up_", &tally, elapsed);
    Ok(report)
}

/// What this process holds of the machine's memory.
fn resident_bytes() -> anyhow::Result<u64> {
    let status = std::fs::read_to_string("/proc/self/status")?;
    let resident = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
    let kibibytes = resident.and_then(|text| text.trim().strip_suffix(" kB"));
    let kibibytes: u64 = kibibytes.context("a resident set")?.trim().parse()?;
    Ok(kibibytes << 10)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_index_is_written_by_one_run_and_measured_by_the_next() {
        let directory = tempfile::tempdir().unwrap();
        let options = Options {
            device: directory.path().join("device"),
            shards: 3_000,
            look_ups: 200,
            core: 0,
        };
        run(&options).unwrap();
        assert_eq!(own_file::look(&options.device).unwrap(), Found::Index);
        let measured = run(&options).unwrap();
        let figure = |name: &str| measured.value(name).unwrap().clone();
        assert_eq!(figure("shards"), 3_001);
        let pages = figure("pages_per_look_up").as_f64().unwrap();
        assert!(pages > 0.0 && pages <= 1.0, "{pages}");
    }
}
