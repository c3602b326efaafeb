//! The load on glommio's executor, with its DMA files and buffers.

use std::cell::RefCell;
use std::rc::Rc;
use std::time::{Duration, Instant};

use anyhow::{Context as _, ensure};
use glommio::io::{DmaBuffer, DmaFile, OpenOptions};
use glommio::{LocalExecutorBuilder, Placement, spawn_local};

use super::bytes::noise;
use super::{Load, Measured, Turns, stopwatch};
use crate::report::Tally;

pub(super) fn drive(load: &Load) -> anyhow::Result<Measured> {
    let load = load.clone();
    let executor = LocalExecutorBuilder::new(Placement::Fixed(load.core))
        .spin_before_park(load.spin)
        .io_memory((load.depth * load.block.next_power_of_two() * 2).max(16 << 20))
        .name("device")
        .spawn(move || async move { measure(&load).await })
        .map_err(|error| anyhow::anyhow!("glommio does not start: {error}"))?;
    executor
        .join()
        .map_err(|error| anyhow::anyhow!("glommio: {error}"))?
}

async fn measure(load: &Load) -> anyhow::Result<Measured> {
    let mut options = OpenOptions::new();
    let opened = options.read(true).write(true).dma_open(&load.file).await;
    let file = opened
        .map(Rc::new)
        .map_err(|error| anyhow::anyhow!("open {}: {error}", load.file.display()))?;
    let tally = Rc::new(RefCell::new(Tally::default()));
    let block = load.writes.then(|| {
        let mut block = file.alloc_dma_buffer(load.block);
        noise(block.as_bytes_mut());
        Rc::new(block)
    });
    let stop = stopwatch()?;
    let deadline = Instant::now() + Duration::from_secs(load.seconds);
    let tasks: Vec<_> = (0..load.depth)
        .map(|_| {
            let (file, load, tally) = (file.clone(), load.clone(), tally.clone());
            spawn_local(operate(file, deadline, load, block.clone(), tally)).detach()
        })
        .collect();
    for task in tasks {
        task.await.context("a task was dropped")??;
    }
    let times = stop()?;
    Ok(Measured::new(tally.take(), times))
}

async fn operate(
    file: Rc<DmaFile>,
    deadline: Instant,
    load: Load,
    block: Option<Rc<DmaBuffer>>,
    tally: Rc<RefCell<Tally>>,
) -> anyhow::Result<()> {
    let mut turns = Turns::new(&load, deadline, tally);
    while turns.go_on() {
        let offset = load.offsets.next();
        let moved = match &block {
            Some(block) => file.write_rc_at(block.clone(), offset).await,
            None => file
                .read_at_aligned(offset, load.block)
                .await
                .map(|read| read.len()),
        };
        let moved = moved.map_err(|error| anyhow::anyhow!("at {offset}: {error}"))?;
        ensure!(moved == load.block, "an operation ended at {moved} bytes");
        turns.count();
    }
    Ok(())
}
