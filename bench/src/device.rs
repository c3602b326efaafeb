//! One file through the reactor: random reads and sequential writes past the page cache.
//!
//! Invariants: a file that another program has made is not opened (see [`own_file`](crate::own_file)); the file holds written data from end to end before anything is measured, because a hole or an
//! unwritten extent answers without the device; writes stay inside it; the depth never changes during a run.

use std::cell::{Cell, RefCell};
use std::path::{Path, PathBuf};
use std::rc::Rc;
use std::time::Duration;

use anyhow::{Context as _, ensure};
use clap::{Args, ValueEnum};
use strata_engine::reactor::{
    Buffer, BufferView, File, OpenOptions, ReactorConfig, TaskClass, World, allocate, now,
    random_u64, run as run_reactor, spawn, statistics,
};

use crate::affinity::ThreadClock;
use crate::own_file::{self, Found, HEADER_BYTES, MAGIC};
use crate::progress;
use crate::report::{Report, Tally, parse_size};

/// Size of the writes that prepare a file.
const PREPARE_BYTES: usize = 1 << 20;

#[derive(Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Pattern {
    /// At random offsets, aligned to the block.
    RandomRead,
    /// From the beginning, over and over.
    SequentialWrite,
    /// Writes the file from end to end and measures nothing else.
    Prepare,
}

/// Options of `device`.
#[derive(Args)]
pub struct Options {
    /// The file. It is made and filled when it is missing or too short; one that strata-bench has not made is refused.
    #[arg(long)]
    file: PathBuf,
    /// How much of the file is used.
    #[arg(long, value_parser = parse_size, default_value = "4GiB")]
    file_size: u64,
    #[arg(long, value_enum, default_value = "random-read")]
    pattern: Pattern,
    /// Bytes of one operation; 4 KiB for reads and 1 MiB for writes unless told otherwise.
    #[arg(long, value_parser = parse_size)]
    block: Option<u64>,
    /// Operations in flight.
    #[arg(long, default_value_t = 32)]
    depth: usize,
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

/// Runs the pattern on one pinned reactor.
pub fn run(options: &Options) -> anyhow::Result<Report> {
    let block = usize::try_from(options.block.unwrap_or(match options.pattern {
        Pattern::RandomRead => 4 << 10,
        _ => 1 << 20,
    }))?;
    ensure!(options.depth > 0, "a depth of zero does nothing");
    ensure!(
        options.file_size >= block as u64,
        "the file is smaller than one block"
    );
    let config = ReactorConfig {
        index: 0,
        core: Some(options.core),
        name: "device".into(),
        arena_bytes: (options.depth * block.next_power_of_two()).max(16 << 20),
        spin: Duration::from_micros(options.spin),
    };
    run_reactor(config, World::Real, async || measure(options, block).await)?
}

async fn measure(options: &Options, block: usize) -> anyhow::Result<Report> {
    let found = own_file::look(&options.file)?;
    let anew = found != Found::Device || options.pattern == Pattern::Prepare;
    prepare(&options.file, options.file_size, anew).await?;
    if options.pattern == Pattern::Prepare {
        return Ok(Report::default());
    }
    let file = open(&options.file).await?;
    let deadline = now() + Duration::from_secs(options.seconds);
    let clock = ThreadClock::of_this_thread()?;
    let (begun, used, counters) = (now(), clock.time()?, statistics());
    let (enters, parks) = (counters.ring_enters.get(), counters.parks.get());
    let blocks = options.file_size / block as u64;
    let next = Rc::new(Cell::new(0));
    // One for all: one for each operation in flight would be megabytes that the processor's caches do not hold.
    let tally = Rc::new(RefCell::new(Tally::default()));
    let tasks: Vec<_> = (0..options.depth)
        .map(|_| match options.pattern {
            Pattern::RandomRead => spawn(
                TaskClass::Foreground,
                read_until(file.clone(), deadline, block, blocks, tally.clone()),
            ),
            _ => spawn(
                TaskClass::Foreground,
                write_until(
                    file.clone(),
                    deadline,
                    block,
                    blocks,
                    next.clone(),
                    tally.clone(),
                ),
            ),
        })
        .collect();
    for task in tasks {
        task.await?;
    }
    let tally = tally.take();
    let elapsed = begun.elapsed();
    let used = clock.time()? - used;
    let operations = tally.count().max(1) as f64;
    let mut report = Report::default();
    report.tally("", &tally, elapsed);
    report.number("cpu_us_per_op", used.as_secs_f64() * 1e6 / operations);
    report.number("cpu_share", used.as_secs_f64() / elapsed.as_secs_f64());
    report.number(
        "enters_per_op",
        (counters.ring_enters.get() - enters) as f64 / operations,
    );
    report.number(
        "parks_per_op",
        (counters.parks.get() - parks) as f64 / operations,
    );
    Ok(report)
}

async fn open(path: &Path) -> anyhow::Result<File> {
    let options = OpenOptions {
        read_only: false,
        create: true,
        direct: true,
    };
    File::open(path, options)
        .await
        .with_context(|| format!("open {}", path.display()))
}

/// Fills the file with noise from end to end, behind its mark, where that is not so already.
async fn prepare(path: &Path, bytes: u64, anew: bool) -> anyhow::Result<()> {
    let file = open(path).await?;
    if !anew && file.length().await? >= HEADER_BYTES + bytes {
        return Ok(());
    }
    let mut header = allocate(HEADER_BYTES as usize).await;
    header.set_len(HEADER_BYTES as usize);
    header.fill(0);
    header[..MAGIC.len()].copy_from_slice(MAGIC);
    let header = vec![header.freeze()];
    file.write_durable(header, 0).await.context("mark")?;
    let view = block_of_noise(PREPARE_BYTES).await;
    let mut offset = 0;
    while offset < bytes {
        file.write(vec![view.clone()], HEADER_BYTES + offset)
            .await
            .context("prepare")?;
        offset += PREPARE_BYTES as u64;
        progress::count(PREPARE_BYTES as u64);
    }
    file.sync().await.context("prepare")
}

async fn block_of_noise(bytes: usize) -> BufferView {
    let mut buffer = allocate(bytes).await;
    buffer.set_len(bytes);
    strata_engine::reactor::random_bytes(&mut buffer);
    buffer.freeze()
}

async fn read_until(
    file: File,
    deadline: strata_engine::reactor::Instant,
    block: usize,
    blocks: u64,
    tally: Rc<RefCell<Tally>>,
) -> anyhow::Result<()> {
    let mut buffer: Buffer = allocate(block).await;
    let mut begun = now();
    while begun < deadline {
        buffer = file
            .read(
                buffer,
                HEADER_BYTES + random_u64() % blocks * block as u64,
                block,
            )
            .await?;
        ensure!(
            buffer.len() == block,
            "a read ended at {} bytes",
            buffer.len()
        );
        let ended = now();
        tally.borrow_mut().add(ended - begun, block as u64);
        begun = ended;
    }
    Ok(())
}

async fn write_until(
    file: File,
    deadline: strata_engine::reactor::Instant,
    block: usize,
    blocks: u64,
    next: Rc<Cell<u64>>,
    tally: Rc<RefCell<Tally>>,
) -> anyhow::Result<()> {
    let view = block_of_noise(block).await;
    let mut begun = now();
    while begun < deadline {
        let place = next.replace((next.get() + 1) % blocks);
        file.write(vec![view.clone()], HEADER_BYTES + place * block as u64)
            .await?;
        let ended = now();
        tally.borrow_mut().add(ended - begun, block as u64);
        begun = ended;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn options(file: &Path) -> Options {
        Options {
            file: file.to_owned(),
            file_size: 8 << 20,
            pattern: Pattern::RandomRead,
            block: None,
            depth: 2,
            seconds: 0,
            core: 0,
            spin: 0,
        }
    }

    #[test]
    fn somebody_elses_file_is_left_alone_and_an_own_one_is_used_again() {
        let directory = tempfile::tempdir().unwrap();
        let theirs = directory.path().join("theirs");
        std::fs::write(&theirs, b"letters").unwrap();
        let why = run(&options(&theirs)).unwrap_err().to_string();
        assert!(why.contains("has not made"), "{why}");
        assert_eq!(std::fs::read(&theirs).unwrap(), b"letters");
        let ours = directory.path().join("ours");
        for pattern in [
            Pattern::Prepare,
            Pattern::SequentialWrite,
            Pattern::RandomRead,
        ] {
            let options = Options {
                pattern,
                ..options(&ours)
            };
            run(&options).unwrap();
            assert_eq!(own_file::look(&ours).unwrap(), Found::Device);
        }
    }
}
