//! The load on tokio's runtime of one thread. It has no direct I/O of its own: each operation is a call on its pool of threads, as in
//! `tokio::fs`, and the pool is on the same core.

use std::cell::RefCell;
use std::fs::File;
use std::rc::Rc;
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::Context as _;
use tokio::task::{LocalSet, spawn_blocking, spawn_local};

use super::blocking::{once, open};
use super::bytes::Block;
use super::{Load, Measured, Turns, stopwatch};
use crate::affinity::pin;
use crate::report::Tally;

pub(super) fn drive(load: &Load) -> anyhow::Result<Measured> {
    let load = load.clone();
    // A thread of its own: what it starts is on its core.
    let thread = std::thread::spawn(move || {
        pin(load.core).context("pin the runtime")?;
        let runtime = tokio::runtime::Builder::new_current_thread()
            .max_blocking_threads(load.depth)
            .build()?;
        LocalSet::new().block_on(&runtime, measure(&load))
    });
    let ended = thread.join();
    ended.map_err(|_| anyhow::anyhow!("the runtime panicked"))?
}

async fn measure(load: &Load) -> anyhow::Result<Measured> {
    let file = Arc::new(open(&load.file)?);
    let tally = Rc::new(RefCell::new(Tally::default()));
    let stop = stopwatch()?;
    let deadline = Instant::now() + Duration::from_secs(load.seconds);
    let tasks: Vec<_> = (0..load.depth)
        .map(|_| {
            let (file, load, tally) = (file.clone(), load.clone(), tally.clone());
            spawn_local(operate(file, deadline, load, tally))
        })
        .collect();
    for task in tasks {
        task.await.context("a task panicked")??;
    }
    let times = stop()?;
    Ok(Measured::new(tally.take(), times))
}

async fn operate(
    file: Arc<File>,
    deadline: Instant,
    load: Load,
    tally: Rc<RefCell<Tally>>,
) -> anyhow::Result<()> {
    let mut block = Block::of_noise(load.block);
    let mut turns = Turns::new(&load, deadline, tally);
    while turns.go_on() {
        let (file, offset, writes) = (file.clone(), load.offsets.next(), load.writes);
        let call = spawn_blocking(move || once(&file, writes, &mut block, offset).map(|()| block));
        block = call.await.context("a call panicked")??;
        turns.count();
    }
    Ok(())
}
