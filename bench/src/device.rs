//! One file past the page cache, through the reactor or through something else that a program might use in its place: random reads
//! and sequential writes.
//!
//! Invariants: a file that another program has made is not opened (see [`own_file`](crate::own_file)); the file holds written data from end to end before anything is measured, because a hole or an
//! unwritten extent answers without the device; writes stay inside it; the depth never changes during a run. All drivers do the
//! same operations at the same offsets, on one core, and the processor time is that of the whole process, helper threads and the
//! kernel's workers for it included.

mod blocking;
mod bytes;
#[cfg(feature = "glommio")]
mod glommio;
#[cfg(feature = "monoio")]
mod monoio;
mod offsets;
mod reactor;
mod tokio;

use std::cell::RefCell;
use std::path::{Path, PathBuf};
use std::rc::Rc;
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Context as _, ensure};
use clap::{Args, ValueEnum};
use strata_engine::reactor::{
    BufferView, File, OpenOptions, ReactorConfig, World, allocate, run as run_reactor,
};

use self::offsets::Offsets;
use crate::affinity;
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

/// What makes the operations.
#[derive(Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Driver {
    /// Strata's reactor, on io_uring.
    Uring,
    /// A thread for each operation in flight, with pread and pwrite.
    Blocking,
    /// tokio's runtime of one thread, with its pool of threads for blocking calls.
    Tokio,
    /// glommio's executor and its DMA files. Built with `--features glommio`.
    Glommio,
    /// monoio's runtime on io_uring. Built with `--features monoio`.
    Monoio,
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
    /// What makes the operations.
    #[arg(long, value_enum, default_value = "uring")]
    driver: Driver,
    /// Bytes of one operation; 4 KiB for reads and 1 MiB for writes unless told otherwise.
    #[arg(long, value_parser = parse_size)]
    block: Option<u64>,
    /// Operations in flight.
    #[arg(long, default_value_t = 32)]
    depth: usize,
    /// Seconds to measure.
    #[arg(long, default_value_t = 10)]
    seconds: u64,
    /// The same operations without measuring, for so many seconds before.
    #[arg(long, default_value_t = 0)]
    warm_up: u64,
    /// Decides the offsets of random reads.
    #[arg(long, default_value_t = 1)]
    seed: u64,
    /// The core to run on.
    #[arg(long, default_value_t = 0)]
    core: usize,
    /// Microseconds to look for work before sleeping; for the drivers uring and glommio.
    #[arg(long, default_value_t = 0)]
    spin: u64,
}

/// What a driver is to do, again and again until the time is over.
#[derive(Clone)]
struct Load {
    file: PathBuf,
    writes: bool,
    /// Bytes of one operation.
    block: usize,
    /// Operations in flight.
    depth: usize,
    seconds: u64,
    core: usize,
    spin: Duration,
    offsets: Arc<Offsets>,
}

/// What came of it.
struct Measured {
    tally: Tally,
    elapsed: Duration,
    /// Processor time of the process meanwhile.
    used: Duration,
    /// Figures that only this driver has, by name.
    own: Vec<(&'static str, f64)>,
}

/// Runs the pattern on one core.
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
    let drive = driver(options.driver)?;
    let found = own_file::look(&options.file)?;
    let anew = found != Found::Device || options.pattern == Pattern::Prepare;
    let config = reactor_config(options.core, PREPARE_BYTES * 2, Duration::ZERO);
    run_reactor(config, World::Real, async || {
        prepare(&options.file, options.file_size, anew).await
    })??;
    if options.pattern == Pattern::Prepare {
        return Ok(Report::default());
    }
    let writes = options.pattern == Pattern::SequentialWrite;
    let blocks = options.file_size / block as u64;
    let offsets = Offsets::new(block as u64, blocks, (!writes).then_some(options.seed));
    let mut load = Load {
        file: options.file.clone(),
        writes,
        block,
        depth: options.depth,
        seconds: options.warm_up,
        core: options.core,
        spin: Duration::from_micros(options.spin),
        offsets: Arc::new(offsets),
    };
    if options.warm_up > 0 {
        drive(&load)?;
    }
    load.seconds = options.seconds;
    Ok(report(&drive(&load)?))
}

/// What runs a load.
type Drive = fn(&Load) -> anyhow::Result<Measured>;

/// # Errors
/// One that this program was built without.
fn driver(driver: Driver) -> anyhow::Result<Drive> {
    Ok(match driver {
        Driver::Uring => reactor::drive,
        Driver::Blocking => blocking::drive,
        Driver::Tokio => tokio::drive,
        #[cfg(feature = "glommio")]
        Driver::Glommio => glommio::drive,
        #[cfg(feature = "monoio")]
        Driver::Monoio => monoio::drive,
        #[cfg(not(feature = "glommio"))]
        Driver::Glommio => anyhow::bail!("{}", built_without("glommio")),
        #[cfg(not(feature = "monoio"))]
        Driver::Monoio => anyhow::bail!("{}", built_without("monoio")),
    })
}

#[cfg(not(all(feature = "glommio", feature = "monoio")))]
fn built_without(driver: &str) -> String {
    format!(
        "this strata-bench was built without the driver {driver}: cargo build --release -p strata-bench --features {driver}"
    )
}

fn report(measured: &Measured) -> Report {
    let operations = measured.tally.count().max(1) as f64;
    let (used, elapsed) = (measured.used.as_secs_f64(), measured.elapsed.as_secs_f64());
    let mut report = Report::default();
    report.tally("", &measured.tally, measured.elapsed);
    report.number("cpu_us_per_op", used * 1e6 / operations);
    report.number("cpu_share", used / elapsed.max(1e-9));
    for (name, figure) in &measured.own {
        report.number(*name, *figure);
    }
    report
}

impl Measured {
    /// Of operations that took so long, and so much processor time.
    fn new(tally: Tally, (elapsed, used): (Duration, Duration)) -> Measured {
        Measured {
            tally,
            elapsed,
            used,
            own: Vec::new(),
        }
    }
}

/// One operation after the other, until the time is over, on a runtime of one thread.
struct Turns {
    begun: Instant,
    deadline: Instant,
    bytes: u64,
    tally: Rc<RefCell<Tally>>,
}

impl Turns {
    fn new(load: &Load, deadline: Instant, tally: Rc<RefCell<Tally>>) -> Turns {
        Turns {
            begun: Instant::now(),
            deadline,
            bytes: load.block as u64,
            tally,
        }
    }

    fn go_on(&self) -> bool {
        self.begun < self.deadline
    }

    /// An operation has ended, and the next begins.
    fn count(&mut self) {
        let ended = Instant::now();
        let mut tally = self.tally.borrow_mut();
        tally.add(ended - self.begun, self.bytes);
        self.begun = ended;
    }
}

/// Begins to count time and processor time; the function that comes back ends it.
fn stopwatch() -> anyhow::Result<impl FnOnce() -> anyhow::Result<(Duration, Duration)>> {
    let (begun, before) = (Instant::now(), affinity::process_time()?);
    Ok(move || Ok((begun.elapsed(), affinity::process_time()? - before)))
}

fn reactor_config(core: usize, arena_bytes: usize, spin: Duration) -> ReactorConfig {
    ReactorConfig {
        index: 0,
        core: Some(core),
        name: "device".into(),
        arena_bytes: arena_bytes.max(16 << 20),
        spin,
    }
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

#[cfg(test)]
mod tests {
    use super::*;

    fn options(file: &Path) -> Options {
        Options {
            file: file.to_owned(),
            file_size: 8 << 20,
            pattern: Pattern::RandomRead,
            driver: Driver::Uring,
            block: None,
            depth: 2,
            seconds: 0,
            warm_up: 0,
            seed: 1,
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

    /// The drivers that are built in.
    fn drivers() -> impl Iterator<Item = Driver> {
        let all = Driver::value_variants().iter().copied();
        all.filter(|of| driver(*of).is_ok())
    }

    #[test]
    fn each_driver_reads_and_writes_and_counts_it() {
        let directory = tempfile::tempdir().unwrap();
        let file = directory.path().join("file");
        for driver in drivers() {
            for pattern in [Pattern::SequentialWrite, Pattern::RandomRead] {
                let options = Options {
                    pattern,
                    driver,
                    block: Some(64 << 10),
                    depth: 3,
                    seconds: 1,
                    ..options(&file)
                };
                let report = run(&options).unwrap();
                let figure = |name: &str| report.value(name).unwrap().as_f64().unwrap();
                assert!(figure("operations") > 0.0);
                assert_eq!(figure("errors"), 0.0);
                assert!(figure("cpu_us_per_op") > 0.0);
                let length = std::fs::metadata(&file).unwrap().len();
                assert_eq!(length, HEADER_BYTES + (8 << 20), "writes stay inside");
            }
        }
    }

    #[test]
    fn a_driver_that_is_not_built_in_says_how_to_get_it() {
        for of in Driver::value_variants() {
            if let Err(error) = driver(*of) {
                assert!(error.to_string().contains("--features"), "{error}");
            }
        }
    }
}
