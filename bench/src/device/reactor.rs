//! The load on Strata's reactor: owned buffers of its arena, one ring.

use std::cell::RefCell;
use std::rc::Rc;
use std::time::Duration;

use anyhow::ensure;
use strata_engine::reactor::{
    BufferView, File, Instant, TaskClass, World, allocate, now, run, spawn, statistics,
};

use super::{Load, Measured, block_of_noise, open, reactor_config, stopwatch};
use crate::report::Tally;

pub(super) fn drive(load: &Load) -> anyhow::Result<Measured> {
    let arena_bytes = load.depth * load.block.next_power_of_two();
    let config = reactor_config(load.core, arena_bytes, load.spin);
    run(config, World::Real, async || measure(load).await)?
}

async fn measure(load: &Load) -> anyhow::Result<Measured> {
    let file = open(&load.file).await?;
    // One for all: one for each operation in flight would be megabytes that the processor's caches do not hold.
    let tally = Rc::new(RefCell::new(Tally::default()));
    let noise = match load.writes {
        true => Some(block_of_noise(load.block).await),
        false => None,
    };
    let counters = statistics();
    let (enters, parks) = (counters.ring_enters.get(), counters.parks.get());
    let stop = stopwatch()?;
    let deadline = now() + Duration::from_secs(load.seconds);
    let tasks: Vec<_> = (0..load.depth)
        .map(|_| {
            let (file, load, tally) = (file.clone(), load.clone(), tally.clone());
            match noise.clone() {
                Some(noise) => spawn(
                    TaskClass::Foreground,
                    write_until(file, deadline, load, noise, tally),
                ),
                None => spawn(
                    TaskClass::Foreground,
                    read_until(file, deadline, load, tally),
                ),
            }
        })
        .collect();
    for task in tasks {
        task.await?;
    }
    let (elapsed, used) = stop()?;
    let tally = tally.take();
    let operations = tally.count().max(1) as f64;
    let per_operation = |count: u64| count as f64 / operations;
    let own = vec![
        (
            "enters_per_op",
            per_operation(counters.ring_enters.get() - enters),
        ),
        ("parks_per_op", per_operation(counters.parks.get() - parks)),
    ];
    Ok(Measured {
        tally,
        elapsed,
        used,
        own,
    })
}

async fn read_until(
    file: File,
    deadline: Instant,
    load: Load,
    tally: Rc<RefCell<Tally>>,
) -> anyhow::Result<()> {
    let mut buffer = allocate(load.block).await;
    let mut begun = now();
    while begun < deadline {
        buffer = file.read(buffer, load.offsets.next(), load.block).await?;
        ensure!(
            buffer.len() == load.block,
            "a read ended at {} bytes",
            buffer.len()
        );
        let ended = now();
        tally.borrow_mut().add(ended - begun, load.block as u64);
        begun = ended;
    }
    Ok(())
}

async fn write_until(
    file: File,
    deadline: Instant,
    load: Load,
    noise: BufferView,
    tally: Rc<RefCell<Tally>>,
) -> anyhow::Result<()> {
    let mut begun = now();
    while begun < deadline {
        file.write(vec![noise.clone()], load.offsets.next()).await?;
        let ended = now();
        tally.borrow_mut().add(ended - begun, load.block as u64);
        begun = ended;
    }
    Ok(())
}
