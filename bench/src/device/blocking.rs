//! The load on blocking system calls: a thread for each operation in flight, all on one core.

use std::fs::{File, OpenOptions};
use std::os::unix::fs::{FileExt as _, OpenOptionsExt as _};
use std::path::Path;
use std::thread;
use std::time::{Duration, Instant};

use anyhow::Context as _;

use super::bytes::Block;
use super::{Load, Measured, stopwatch};
use crate::affinity::pin;
use crate::report::Tally;

pub(super) fn drive(load: &Load) -> anyhow::Result<Measured> {
    let file = open(&load.file)?;
    let stop = stopwatch()?;
    let deadline = Instant::now() + Duration::from_secs(load.seconds);
    let tallies = thread::scope(|scope| {
        let work = || operate(&file, deadline, load);
        let threads: Vec<_> = (0..load.depth).map(|_| scope.spawn(work)).collect();
        let ends = threads.into_iter().map(|thread| thread.join());
        ends.collect::<Vec<_>>()
    });
    let times = stop()?;
    let mut tally = Tally::default();
    for of_thread in tallies {
        let of_thread = of_thread.map_err(|_| anyhow::anyhow!("a thread panicked"))?;
        tally.merge(&of_thread?);
    }
    Ok(Measured::new(tally, times))
}

/// The file, past the page cache.
pub(super) fn open(path: &Path) -> anyhow::Result<File> {
    let mut options = OpenOptions::new();
    options
        .read(true)
        .write(true)
        .custom_flags(libc::O_DIRECT)
        .open(path)
        .with_context(|| format!("open {}", path.display()))
}

fn operate(file: &File, deadline: Instant, load: &Load) -> anyhow::Result<Tally> {
    pin(load.core).context("pin a thread")?;
    let mut tally = Tally::default();
    let mut block = Block::of_noise(load.block);
    let mut begun = Instant::now();
    while begun < deadline {
        once(file, load.writes, &mut block, load.offsets.next())?;
        let ended = Instant::now();
        tally.add(ended - begun, load.block as u64);
        begun = ended;
    }
    Ok(tally)
}

/// One operation.
pub(super) fn once(
    file: &File,
    writes: bool,
    block: &mut Block,
    offset: u64,
) -> std::io::Result<()> {
    match writes {
        true => file.write_all_at(block.bytes(), offset),
        false => file.read_exact_at(block.bytes_mut(), offset),
    }
}
