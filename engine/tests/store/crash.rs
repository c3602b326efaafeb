//! The engine in the simulated world: it stops at every disk operation in turn, loses or tears what was not flushed, starts
//! again, and must hold exactly what was acknowledged. What was not acknowledged is there whole or not at all.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::rc::Rc;

use strata_engine::reactor::{self, ReactorError, Simulation, TaskClass};
use strata_engine::{ChunkStore, EngineError, JournalPosition, RecoveryReport, ShardWrite};

use crate::support::{
    ARENA, Dice, content, device, formatted, formatted_block_device, id, open_journal, open_store,
    read, records, run, shard_in, try_run,
};

const DATA_SEGMENTS: u64 = 12;

async fn open() -> (ChunkStore, RecoveryReport) {
    open_store(&device(DATA_SEGMENTS).await).await
}

/// What a shard holds: made from its number and version, so that the model need not keep it.
fn bytes_of(number: u64, version: u64) -> Vec<u8> {
    let seed = number * 1000 + version;
    content(seed, 1 + Dice(seed).below(90_000) as usize)
}

async fn shard(number: u64, version: u64) -> ShardWrite {
    let bytes = bytes_of(number, version);
    shard_in(reactor::allocate(bytes.len()).await, number, &bytes)
}

/// What the store must hold: per shard the acknowledged version (0 = not there) and the one under way, if any.
#[derive(Default)]
struct Model {
    acknowledged: BTreeMap<u64, u64>,
    under_way: BTreeMap<u64, u64>,
    next_version: u64,
}

impl Model {
    fn begin(&mut self, number: u64, version: u64) {
        self.under_way.insert(number, version);
    }

    fn end(&mut self, number: u64) {
        let version = self.under_way.remove(&number).expect("under way");
        self.acknowledged.insert(number, version);
    }
}

const NUMBERS: u64 = 24;

/// Puts, replaces and frees shards, several at a time, with checkpoints and compaction between.
async fn work(store: &ChunkStore, model: &Rc<RefCell<Model>>, dice: &mut Dice, rounds: u64) {
    for round in 0..rounds {
        let mut tasks = Vec::new();
        let first = dice.below(NUMBERS);
        for number in first..(first + 1 + dice.below(4)).min(NUMBERS) {
            let free = dice.below(3) == 0;
            let (store, model) = (store.clone(), model.clone());
            let version = {
                let mut model = model.borrow_mut();
                model.next_version += 1;
                let version = if free { 0 } else { model.next_version };
                model.begin(number, version);
                version
            };
            tasks.push(async move {
                let outcome = match version {
                    0 => store.free(&[id(number)]).await,
                    version => store.write(shard(number, version).await).await,
                };
                match outcome {
                    Ok(()) => model.borrow_mut().end(number),
                    Err(EngineError::Full { .. }) => {
                        model.borrow_mut().under_way.remove(&number);
                    }
                    Err(error) => panic!("{number}: {error}"),
                }
            });
        }
        futures_util::future::join_all(tasks).await;
        if round % 7 == 6 {
            store.checkpoint().await.expect("checkpoint");
        }
        if round % 11 == 10 {
            store.compact().await.expect("compaction");
        }
    }
}

/// Compares the store with the model, and takes what it holds of the unacknowledged for the truth from now on.
async fn compare(store: &ChunkStore, model: &Rc<RefCell<Model>>, place: &str) {
    for number in 0..NUMBERS {
        let found = store.look_up(id(number)).await.expect("look up");
        let bytes = match found {
            None => None,
            Some(info) => {
                let bytes = read(store, number, 0..info.payload_bytes as usize).await;
                Some(bytes.unwrap_or_else(|error| panic!("{place}: shard {number}: {error}")))
            }
        };
        let mut model = model.borrow_mut();
        let acknowledged = model.acknowledged.get(&number).copied().unwrap_or(0);
        let allowed = [Some(acknowledged), model.under_way.remove(&number)];
        let holds = |version: &u64| match version {
            0 => bytes.is_none(),
            version => bytes.as_ref() == Some(&bytes_of(number, *version)),
        };
        let version = allowed.into_iter().flatten().find(holds);
        let version = version.unwrap_or_else(|| {
            panic!(
                "{place}: shard {number} holds {:?} bytes, allowed are versions {allowed:?}",
                bytes.map(|bytes| bytes.len())
            )
        });
        model.acknowledged.insert(number, version);
    }
}

/// One life: opens, compares, works. `true` when it came to its end.
fn live(
    simulation: &Simulation,
    model: &Rc<RefCell<Model>>,
    dice: &mut Dice,
    rounds: u64,
    place: &str,
) -> bool {
    let outcome = try_run(simulation, ARENA, async || {
        let (store, report) = open().await;
        assert_eq!(report.damage, Vec::<String>::new(), "{place}");
        assert_eq!(report.mended, Vec::<String>::new(), "{place}");
        compare(&store, model, place).await;
        work(&store, model, dice, rounds).await;
        compare(&store, model, place).await;
        store.close().await;
    });
    match outcome {
        Ok(()) => true,
        Err(ReactorError::Crashed) => false,
        Err(error) => panic!("{place}: {error}"),
    }
}

fn operations(simulation: &Simulation) -> u64 {
    simulation.counters().operations
}

/// Crashes at the operation, then once more soon after the start, then lives to the end. Returns the trace.
fn crash_at(seed: u64, operation: u64, rounds: u64) -> (bool, u64) {
    crash_on(formatted(seed), seed, operation, rounds)
}

/// The same on a block device, of which freed segments are discarded.
fn crash_on_block_device(seed: u64, operation: u64, rounds: u64) -> (bool, u64) {
    let simulation = formatted_block_device(seed, DATA_SEGMENTS, 4096);
    crash_on(simulation, seed, operation, rounds)
}

fn crash_on(simulation: Simulation, seed: u64, operation: u64, rounds: u64) -> (bool, u64) {
    let start = operations(&simulation);
    let model = Rc::new(RefCell::new(Model::default()));
    let mut dice = Dice(seed);
    let place = format!("seed {seed}, crash at operation {operation}");
    simulation.crash_after(start + operation);
    let whole = live(&simulation, &model, &mut dice, rounds, &place);
    if !whole {
        if !operation.is_multiple_of(3) {
            simulation.power_cut();
        }
        let again = operations(&simulation) + 1 + operation % 29;
        simulation.crash_after(again);
        let mut live_on = |rounds, which| {
            let place = format!("{place}, {which} life");
            live(&simulation, &model, &mut dice, rounds, &place)
        };
        if !live_on(3, "second") {
            simulation.power_cut();
        }
        simulation.crash_after(u64::MAX);
        assert!(live_on(5, "third"));
        assert!(live_on(0, "last"));
    }
    (whole, simulation.trace_hash())
}

#[test]
fn every_crash_point_leaves_what_was_acknowledged() {
    let mut operation = 1;
    while !crash_at(1, operation, 25).0 {
        operation += 1;
    }
    assert!(
        operation > 100,
        "the script has only {operation} operations"
    );
}

#[test]
fn every_crash_point_on_a_block_device_leaves_what_was_acknowledged() {
    let mut operation = 1;
    while !crash_on_block_device(11, operation, 40).0 {
        operation += 3;
    }
    assert!(
        operation > 100,
        "the script has only {operation} operations"
    );
}

#[test]
fn long_runs_survive_crashes_in_the_middle() {
    for seed in 2..10 {
        let mut dice = Dice(seed ^ 0xabcd);
        for _ in 0..4 {
            crash_at(seed, 300 + dice.below(900), 120);
            crash_on_block_device(seed, 300 + dice.below(900), 120);
        }
    }
}

#[test]
fn one_seed_is_one_run() {
    for seed in [3, 4] {
        assert_eq!(crash_at(seed, 150, 20), crash_at(seed, 150, 20));
    }
}

/// Lets the nth flush fail while the work is done, then cuts the power, and compares what is left with the model.
fn with_failing_flush(
    seed: u64,
    nth: u64,
    work: impl AsyncFnOnce(&ChunkStore, &Rc<RefCell<Model>>),
) {
    let simulation = formatted(seed);
    let model = Rc::new(RefCell::new(Model::default()));
    run(&simulation, async || {
        let (store, _) = open().await;
        simulation.fail_sync(nth);
        work(&store, &model).await;
    });
    simulation.clear_faults();
    simulation.power_cut();
    run(&simulation, async || {
        let (store, _) = open().await;
        compare(&store, &model, &format!("seed {seed}, flush {nth}")).await;
    });
}

/// Writes the first version of a shard. `false` when the device has failed.
async fn write_first(store: &ChunkStore, model: &Rc<RefCell<Model>>, number: u64) -> bool {
    model.borrow_mut().begin(number, number + 1);
    match store.write(shard(number, number + 1).await).await {
        Ok(()) => model.borrow_mut().end(number),
        Err(EngineError::Failed { .. }) => return false,
        Err(error) => panic!("{error}"),
    }
    true
}

#[test]
fn a_failed_flush_fails_the_device_and_loses_nothing_acknowledged() {
    for nth in 1..20 {
        with_failing_flush(nth, nth, async |store, model| {
            let mut failed = false;
            for number in 0..NUMBERS {
                let written = write_first(store, model, number).await;
                assert!(!(failed && written), "a failed device has taken a write");
                failed |= !written;
            }
            let acknowledged = model.borrow().acknowledged.clone();
            for (number, version) in acknowledged {
                let bytes = bytes_of(number, version);
                let back = read(store, number, 0..bytes.len()).await;
                assert!(back.expect("reads go on") == bytes);
            }
        });
    }
}

#[test]
fn a_flush_that_fails_beside_a_write_acknowledges_nothing() {
    for (seed, nth) in (1..5).flat_map(|seed| (1..24).map(move |nth| (seed, nth))) {
        with_failing_flush(seed, nth, async |store, model| {
            let checkpoints = {
                let store = store.clone();
                reactor::spawn(TaskClass::Background, async move {
                    while store.checkpoint().await.is_ok() {}
                })
            };
            for number in 0..NUMBERS {
                if !write_first(store, model, number).await {
                    break;
                }
            }
            drop(checkpoints);
        });
    }
}

/// What a journal must hold: all that was appended, of which so many records were flushed.
#[derive(Default)]
struct JournalModel {
    appended: Vec<(JournalPosition, u8, Vec<u8>)>,
    flushed: usize,
}

/// Opens the journal, compares it with the model, then appends and flushes until the crash, if it comes.
async fn live_with_journal(model: &RefCell<JournalModel>, dice: &mut Dice, life: u32, place: &str) {
    let journal = open_journal(&device(DATA_SEGMENTS).await).await;
    let found = records(&journal).await;
    let flushed = model.borrow().flushed;
    assert!(
        found.len() >= flushed,
        "{place}: {} of {flushed} flushed",
        found.len()
    );
    assert!(
        model.borrow().appended.starts_with(&found),
        "{place}: not what was appended"
    );
    model.borrow_mut().appended = found;
    for _ in 0..12 {
        let mut last = JournalPosition(0);
        for _ in 0..1 + dice.below(5) {
            let body = content(dice.below(100), dice.below(9_000) as usize);
            last = journal.append(9, &body).expect("append");
            model.borrow_mut().appended.push((last, 9, body));
        }
        let count = model.borrow().appended.len();
        journal.flush(last).await.expect("flush");
        model.borrow_mut().flushed = count;
        if life == 1 && dice.below(4) == 0 {
            break;
        }
    }
}

/// Crashes at the operation of the first life, then once more soon after the start. What was flushed must be there, and no hole
/// before anything that is. `true` when the first life came to its end.
fn journal_crash_at(seed: u64, operation: u64) -> bool {
    let simulation = formatted(seed);
    let mut dice = Dice(seed * 77);
    let model = RefCell::new(JournalModel::default());
    simulation.crash_after(operations(&simulation) + operation);
    for life in 0..4 {
        let place = format!("journal, seed {seed}, operation {operation}, life {life}");
        let living = async || live_with_journal(&model, &mut dice, life, &place).await;
        match try_run(&simulation, ARENA, living) {
            Ok(()) if life == 0 => return true,
            Ok(()) => {}
            Err(ReactorError::Crashed) => {
                if operation.is_multiple_of(2) {
                    simulation.power_cut();
                }
                simulation.crash_after(if life == 0 {
                    operations(&simulation) + 7 + operation % 31
                } else {
                    u64::MAX
                });
            }
            Err(error) => panic!("{place}: {error}"),
        }
    }
    false
}

#[test]
fn every_crash_point_of_the_journal_leaves_what_was_flushed() {
    for seed in 1..4 {
        let mut operation = 1;
        while !journal_crash_at(seed, operation) {
            operation += 1;
        }
        assert!(operation > 20, "the script has only {operation} operations");
    }
}
