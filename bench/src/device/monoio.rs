//! The load on monoio's runtime on io_uring.

use std::cell::RefCell;
use std::rc::Rc;
use std::time::{Duration, Instant};

use anyhow::{Context as _, ensure};
use monoio::buf::{IoBuf as _, IoBufMut as _};
use monoio::fs::File;
use monoio::{IoUringDriver, RuntimeBuilder, spawn};

use super::blocking::open;
use super::bytes::Block;
use super::{Load, Measured, Turns, stopwatch};
use crate::affinity::pin;
use crate::report::Tally;

pub(super) fn drive(load: &Load) -> anyhow::Result<Measured> {
    let load = load.clone();
    // A thread of its own: what it starts is on its core.
    let thread = std::thread::spawn(move || {
        pin(load.core).context("pin the runtime")?;
        let mut runtime = RuntimeBuilder::<IoUringDriver>::new()
            .build()
            .context("monoio does not start")?;
        runtime.block_on(measure(&load))
    });
    let ended = thread.join();
    ended.map_err(|_| anyhow::anyhow!("the runtime panicked"))?
}

async fn measure(load: &Load) -> anyhow::Result<Measured> {
    let file = Rc::new(File::from_std(open(&load.file)?)?);
    let tally = Rc::new(RefCell::new(Tally::default()));
    let stop = stopwatch()?;
    let deadline = Instant::now() + Duration::from_secs(load.seconds);
    let tasks: Vec<_> = (0..load.depth)
        .map(|_| {
            let (file, load, tally) = (file.clone(), load.clone(), tally.clone());
            spawn(operate(file, deadline, load, tally))
        })
        .collect();
    for task in tasks {
        task.await?;
    }
    let times = stop()?;
    Ok(Measured::new(tally.take(), times))
}

async fn operate(
    file: Rc<File>,
    deadline: Instant,
    load: Load,
    tally: Rc<RefCell<Tally>>,
) -> anyhow::Result<()> {
    let Block { mut memory, range } = Block::of_noise(load.block);
    let mut turns = Turns::new(&load, deadline, tally);
    while turns.go_on() {
        let offset = load.offsets.next();
        let moved;
        (moved, memory) = match load.writes {
            true => {
                let (moved, slice) = file.write_at(memory.slice(range.clone()), offset).await;
                (moved, slice.into_inner())
            }
            false => {
                let (moved, slice) = file.read_at(memory.slice_mut(range.clone()), offset).await;
                (moved, slice.into_inner())
            }
        };
        let moved = moved.with_context(|| format!("at {offset}"))?;
        ensure!(moved == load.block, "an operation ended at {moved} bytes");
        turns.count();
    }
    Ok(())
}
