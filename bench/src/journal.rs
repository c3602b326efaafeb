//! Group commit through the engine's journal: writers that each append a record, wait until it is durable, and append
//! the next.
//!
//! Invariants: a file that another program has made is not opened (see [`own_file`]); the partition was written from end to end before anything counts, so that no write waits for the file
//! system to make blocks; segments are given up as fast as they fill, so the run never meets the quota.

use std::cell::RefCell;
use std::path::{Path, PathBuf};
use std::rc::Rc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use anyhow::Context as _;
use clap::Args;
use strata_engine::format::layout::SEGMENTS_OFFSET;
use strata_engine::reactor::{
    Instant, ReactorConfig, TaskClass, World, now, run as run_reactor, sleep, spawn,
};
use strata_engine::{
    Device, DeviceOptions, Journal, JournalPosition, PartitionKind, format_device,
};

use crate::affinity::ThreadClock;
use crate::own_file::{self, Found};
use crate::report::{Report, Tally, parse_size};

const SEGMENT_BYTES: u64 = 16 << 20;
const LOG_SEGMENTS: u32 = 16;
/// Kept behind the tail; everything older is given up.
const KEPT_BYTES: u64 = 4 * SEGMENT_BYTES;

/// Options of `journal`.
#[derive(Args)]
pub struct Options {
    /// The file for the device; it is formatted. One that strata-bench has not made is refused.
    #[arg(long)]
    device: PathBuf,
    /// Writers.
    #[arg(long, default_value_t = 64)]
    writers: usize,
    /// Bytes of a record's body.
    #[arg(long, value_parser = parse_size, default_value = "4KiB")]
    record: u64,
    /// Seconds to measure.
    #[arg(long, default_value_t = 10)]
    seconds: u64,
    /// The core to run on.
    #[arg(long, default_value_t = 0)]
    core: usize,
    /// Microseconds to look for work before sleeping.
    #[arg(long, default_value_t = 0)]
    spin: u64,
}

/// Runs the writers on one pinned reactor.
pub fn run(options: &Options) -> anyhow::Result<Report> {
    let config = ReactorConfig {
        index: 0,
        core: Some(options.core),
        name: "journal".into(),
        arena_bytes: 64 << 20,
        spin: Duration::from_micros(options.spin),
    };
    run_reactor(config, World::Real, async || measure(options).await)?
}

async fn measure(options: &Options) -> anyhow::Result<Report> {
    let (journal, log_offset) = open(&options.device).await.context("open the journal")?;
    let statistics = journal.statistics();
    let body: Rc<[u8]> = vec![0x5a; usize::try_from(options.record)?].into();
    let trimming = spawn(TaskClass::Foreground, trim(journal.clone()));
    let warm_up = Until::Position(JournalPosition(statistics.capacity_bytes() + KEPT_BYTES));
    write(&journal, &body, 64, warm_up)
        .await
        .context("warm up")?;
    let count = || {
        let read = |counter: &std::sync::atomic::AtomicU64| counter.load(Ordering::Relaxed);
        (read(&statistics.batches), read(&statistics.bytes_written))
    };
    let clock = ThreadClock::of_this_thread()?;
    let (begun, used, before) = (now(), clock.time()?, count());
    let deadline = begun + Duration::from_secs(options.seconds);
    let tally = write(&journal, &body, options.writers, Until::Moment(deadline)).await?;
    let (elapsed, used, after) = (begun.elapsed(), clock.time()? - used, count());
    drop(trimming);
    journal.close().await;
    let (batches, bytes) = ((after.0 - before.0).max(1), after.1 - before.1);
    let mut report = Report::default();
    report.tally("", &tally, elapsed);
    report.count("batches", batches);
    report.number("records_per_batch", tally.count() as f64 / batches as f64);
    report.number("device_bytes_per_batch", bytes as f64 / batches as f64);
    report.number(
        "device_mib_per_second",
        bytes as f64 / elapsed.as_secs_f64() / f64::from(1 << 20),
    );
    // Where the run has written: a control can write there too, on blocks that are there already.
    report.count("log_offset", log_offset);
    report.count("log_bytes", u64::from(LOG_SEGMENTS) * SEGMENT_BYTES);
    report.number(
        "cpu_us_per_record",
        used.as_secs_f64() * 1e6 / tally.count().max(1) as f64,
    );
    Ok(report)
}

/// A journal on a new device, and where the segments of its partition begin in the file: they follow each other.
async fn open(path: &Path) -> anyhow::Result<(Journal, u64)> {
    if own_file::look(path)? != Found::New {
        // What an earlier run has left must not be taken for this one's.
        std::fs::remove_file(path)?;
    }
    let format = own_file::format_of(own_file::CLUSTER, SEGMENT_BYTES, LOG_SEGMENTS);
    format_device(path, format).await?;
    let options = DeviceOptions {
        capacity_bytes: 4 << 30,
        ..DeviceOptions::default()
    };
    let device = Device::open(path, options).await?;
    let partitions = &device.superblock().partitions;
    let log = partitions
        .iter()
        .find(|entry| entry.kind == PartitionKind::Log);
    let log = log.context("the device has no log partition")?;
    let offset = SEGMENTS_OFFSET + u64::from(log.first_segment) * SEGMENT_BYTES;
    let journal = Journal::open(&device, log.number).await?;
    // A journal takes records once it was replayed; a new one has none.
    journal.replay(None, &mut |_, _, _| Ok(())).await?;
    Ok((journal, offset))
}

#[derive(Clone, Copy)]
enum Until {
    Moment(Instant),
    Position(JournalPosition),
}

/// All writers count in one tally: one for each would be megabytes that the processor's caches do not hold.
async fn write(
    journal: &Journal,
    body: &Rc<[u8]>,
    writers: usize,
    until: Until,
) -> anyhow::Result<Tally> {
    let tally = Rc::new(RefCell::new(Tally::default()));
    let tasks: Vec<_> = (0..writers)
        .map(|_| {
            spawn(
                TaskClass::Foreground,
                write_alone(journal.clone(), body.clone(), until, tally.clone()),
            )
        })
        .collect();
    for task in tasks {
        task.await?;
    }
    Ok(tally.take())
}

async fn write_alone(
    journal: Journal,
    body: Rc<[u8]>,
    until: Until,
    tally: Rc<RefCell<Tally>>,
) -> anyhow::Result<()> {
    let mut begun = now();
    loop {
        let position = journal.append(1, &body)?;
        journal.flush(position).await?;
        let ended = now();
        tally.borrow_mut().add(ended - begun, body.len() as u64);
        begun = ended;
        let over = match until {
            Until::Moment(moment) => ended >= moment,
            Until::Position(end) => position >= end,
        };
        if over {
            return Ok(());
        }
    }
}

/// Gives up what lies far enough behind the tail, twenty times a second.
async fn trim(journal: Journal) -> anyhow::Result<()> {
    let position = |journal: &Journal| journal.append(1, b"tail");
    loop {
        sleep(Duration::from_millis(50)).await;
        let tail = position(&journal)?;
        journal
            .trim(JournalPosition(tail.0.saturating_sub(KEPT_BYTES)))
            .await?;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn options(device: PathBuf) -> Options {
        Options {
            device,
            writers: 4,
            record: 64 << 10,
            seconds: 0,
            core: 0,
            spin: 0,
        }
    }

    #[test]
    fn writers_get_through_the_quota_more_than_once_and_a_second_run_may_follow() {
        let directory = tempfile::tempdir().unwrap();
        let device = directory.path().join("device");
        run(&options(device.clone())).unwrap();
        assert_eq!(own_file::look(&device).unwrap(), Found::Journal);
        run(&options(device)).unwrap();
    }

    /// The device of a store is one that this program has not made, however well it knows its format.
    #[test]
    fn a_store_is_left_alone() {
        let directory = tempfile::tempdir().unwrap();
        let device = directory.path().join("strata.device");
        format_as_a_store(&device);
        let before = std::fs::read(&device).unwrap();
        let why = run(&options(device.clone())).unwrap_err();
        assert!(format!("{why:#}").contains("Strata store"), "{why:#}");
        assert!(std::fs::read(&device).unwrap() == before);
    }

    fn format_as_a_store(device: &Path) {
        // No cluster of a run.
        let format = own_file::format_of(strata_engine::Uuid([7; 16]), SEGMENT_BYTES, LOG_SEGMENTS);
        let config = ReactorConfig {
            index: 0,
            core: None,
            name: "format".into(),
            arena_bytes: 4 << 20,
            spin: Duration::ZERO,
        };
        let formatted = run_reactor(config, World::Real, async || {
            format_device(device, format).await
        });
        formatted.unwrap().unwrap();
    }
}
