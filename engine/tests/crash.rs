//! The engine in the simulated world: it stops at every disk operation in turn, loses or tears what was not flushed, starts
//! again, and must hold exactly what was acknowledged. What was not acknowledged is there whole or not at all.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::path::Path;
use std::rc::Rc;
use std::time::Duration;

use strata_engine::reactor::{
    self, BufferView, ReactorConfig, ReactorError, Simulation, TaskClass, World,
};
use strata_engine::{
    ChunkId, ChunkStore, Device, DeviceOptions, EngineError, FormatOptions, Journal,
    JournalPosition, Owner, ShardId, ShardWrite, Uuid, format_device,
};

const PATH: &str = "/strata.device";
const CELL: usize = 64 << 10;
const SEGMENT: u64 = 256 << 10;
const LOG_SEGMENTS: u32 = 4;
const DATA_SEGMENTS: u64 = 12;

fn run<T>(simulation: &Simulation, work: impl AsyncFnOnce() -> T) -> Result<T, ReactorError> {
    let config = ReactorConfig {
        index: 0,
        core: None,
        name: "simulated".to_owned(),
        arena_bytes: 8 << 20,
        spin: Duration::ZERO,
    };
    reactor::run(config, World::Simulated(simulation.clone()), work)
}

fn formatted(seed: u64) -> Simulation {
    let simulation = Simulation::new(seed);
    let options = FormatOptions {
        cluster: Uuid([1; 16]),
        device: Uuid([2; 16]),
        pool: Uuid([3; 16]),
        node: 1,
        data_partitions: 1,
        segment_bytes: SEGMENT,
        log_segments: LOG_SEGMENTS,
        log_mirrors: vec![Uuid([2; 16])],
    };
    run(&simulation, async || {
        format_device(Path::new(PATH), options)
            .await
            .expect("format")
    })
    .expect("no crash");
    simulation
}

async fn device() -> Device {
    let capacity_bytes = (1 << 20) + (u64::from(LOG_SEGMENTS) + DATA_SEGMENTS) * SEGMENT;
    let options = DeviceOptions {
        capacity_bytes,
        ..DeviceOptions::default()
    };
    Device::open(Path::new(PATH), options)
        .await
        .expect("open the device")
}

/// A small generator for scripts, apart from the simulation's own.
struct Dice(u64);

impl Dice {
    fn below(&mut self, bound: u64) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        (mixed ^ (mixed >> 31)) % bound
    }
}

/// What a shard holds: made from its number and version, so that the model need not keep it.
fn content(number: u64, version: u64) -> Vec<u8> {
    let length = 1 + Dice(number * 1000 + version).below(90_000) as usize;
    (0..length)
        .map(|at| (at as u64 * 13 + number * 31 + version * 7 + (at >> 9) as u64) as u8)
        .collect()
}

fn id(number: u64) -> ShardId {
    ShardId {
        chunk: ChunkId::new(1, 1, 1, number),
        shard: 0,
    }
}

async fn shard(number: u64, version: u64) -> ShardWrite {
    let bytes = content(number, version);
    let mut buffer = reactor::allocate(bytes.len()).await;
    buffer.set_len(0);
    buffer.extend_from_slice(&bytes);
    ShardWrite {
        id: id(number),
        geometry: 1,
        layout_epoch: 1,
        cell_bytes: CELL as u32,
        chunk_bytes: bytes.len() as u64,
        owner: Owner {
            inode: number,
            ..Owner::default()
        },
        cell_crcs: bytes.chunks(CELL).map(crc32c::crc32c).collect(),
        payload: vec![buffer.freeze()],
        shard_bytes: bytes.len() as u32,
    }
}

fn joined(views: Vec<BufferView>) -> Vec<u8> {
    views.iter().flat_map(|view| view.to_vec()).collect()
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
            Some(info) => Some(joined(
                store
                    .read(id(number), 0..info.payload_bytes)
                    .await
                    .unwrap_or_else(|error| panic!("{place}: shard {number}: {error}")),
            )),
        };
        let mut model = model.borrow_mut();
        let acknowledged = model.acknowledged.get(&number).copied().unwrap_or(0);
        let allowed = [Some(acknowledged), model.under_way.remove(&number)];
        let holds = |version: &u64| match version {
            0 => bytes.is_none(),
            version => bytes.as_ref() == Some(&content(number, *version)),
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
    let outcome = run(simulation, async || {
        let (store, report) = ChunkStore::open(&device().await, 1)
            .await
            .expect("recovery");
        assert_eq!(report.damage, Vec::<String>::new(), "{place}");
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
    let simulation = formatted(seed);
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
        if !live(
            &simulation,
            &model,
            &mut dice,
            3,
            &format!("{place}, second life"),
        ) {
            simulation.power_cut();
        }
        simulation.crash_after(u64::MAX);
        assert!(live(
            &simulation,
            &model,
            &mut dice,
            5,
            &format!("{place}, third life")
        ));
        assert!(live(
            &simulation,
            &model,
            &mut dice,
            0,
            &format!("{place}, last life")
        ));
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
fn long_runs_survive_crashes_in_the_middle() {
    for seed in 2..10 {
        let mut dice = Dice(seed ^ 0xabcd);
        for _ in 0..4 {
            crash_at(seed, 300 + dice.below(900), 120);
        }
    }
}

#[test]
fn one_seed_is_one_run() {
    for seed in [3, 4] {
        assert_eq!(crash_at(seed, 150, 20), crash_at(seed, 150, 20));
    }
}

#[test]
fn a_failed_flush_fails_the_device_and_loses_nothing_acknowledged() {
    for nth in 1..20 {
        let simulation = formatted(nth);
        let model = Rc::new(RefCell::new(Model::default()));
        run(&simulation, async || {
            let (store, _) = ChunkStore::open(&device().await, 1)
                .await
                .expect("recovery");
            simulation.fail_sync(nth);
            let mut failed = false;
            for number in 0..NUMBERS {
                model.borrow_mut().begin(number, number + 1);
                match store.write(shard(number, number + 1).await).await {
                    Ok(()) => {
                        assert!(!failed, "a failed device has taken a write");
                        model.borrow_mut().end(number);
                    }
                    Err(EngineError::Failed { .. }) => failed = true,
                    Err(error) => panic!("{error}"),
                }
            }
            let acknowledged = model.borrow().acknowledged.clone();
            for (number, version) in acknowledged {
                let bytes = content(number, version);
                let back = store
                    .read(id(number), 0..bytes.len() as u32)
                    .await
                    .expect("reads go on");
                assert!(joined(back) == bytes);
            }
        })
        .expect("no crash");
        simulation.clear_faults();
        simulation.power_cut();
        run(&simulation, async || {
            let (store, _) = ChunkStore::open(&device().await, 1)
                .await
                .expect("recovery");
            compare(&store, &model, &format!("failed flush {nth}")).await;
        })
        .expect("no crash");
    }
}

#[test]
fn a_flush_that_fails_beside_a_write_acknowledges_nothing() {
    for (seed, nth) in (1..5).flat_map(|seed| (1..24).map(move |nth| (seed, nth))) {
        let simulation = formatted(seed);
        let model = Rc::new(RefCell::new(Model::default()));
        run(&simulation, async || {
            let (store, _) = ChunkStore::open(&device().await, 1)
                .await
                .expect("recovery");
            simulation.fail_sync(nth);
            let checkpoints = {
                let store = store.clone();
                reactor::spawn(TaskClass::Compaction, async move {
                    while store.checkpoint().await.is_ok() {}
                })
            };
            for number in 0..NUMBERS {
                model.borrow_mut().begin(number, number + 1);
                match store.write(shard(number, number + 1).await).await {
                    Ok(()) => model.borrow_mut().end(number),
                    Err(EngineError::Failed { .. }) => break,
                    Err(error) => panic!("{error}"),
                }
            }
            drop(checkpoints);
        })
        .expect("no crash");
        simulation.clear_faults();
        simulation.power_cut();
        run(&simulation, async || {
            let (store, _) = ChunkStore::open(&device().await, 1)
                .await
                .expect("recovery");
            compare(&store, &model, &format!("seed {seed}, flush {nth}")).await;
        })
        .expect("no crash");
    }
}

type Records = Vec<(JournalPosition, Vec<u8>)>;

/// Appends and flushes until the crash; what was flushed must be there, and no hole before anything that is.
fn journal_crash_at(seed: u64, operation: u64) -> bool {
    let simulation = formatted(seed);
    let start = operations(&simulation);
    let mut dice = Dice(seed * 77);
    let appended: Rc<RefCell<Records>> = Rc::default();
    let flushed = Rc::new(RefCell::new(0));
    simulation.crash_after(start + operation);
    let mut whole = true;
    for life in 0..4 {
        let outcome = run(&simulation, async || {
            let journal = Journal::open(&device().await, 0).await.expect("recovery");
            let mut found = Vec::new();
            let mut visit = |at: JournalPosition, kind: u8, body: &[u8]| {
                assert_eq!(kind, 9);
                found.push((at, body.to_vec()));
                Ok(())
            };
            journal.replay(None, &mut visit).await.expect("replay");
            let place = format!("journal, seed {seed}, operation {operation}, life {life}");
            assert!(
                found.len() >= *flushed.borrow(),
                "{place}: {} of {} flushed",
                found.len(),
                flushed.borrow()
            );
            assert!(
                appended.borrow().starts_with(&found),
                "{place}: not what was appended"
            );
            *appended.borrow_mut() = found;
            for _ in 0..12 {
                for _ in 0..1 + dice.below(5) {
                    let body = content(dice.below(100), 3)[..]
                        .iter()
                        .take(dice.below(9_000) as usize)
                        .copied()
                        .collect::<Vec<u8>>();
                    let at = journal.append(9, &body).expect("append");
                    appended.borrow_mut().push((at, body));
                }
                let (count, last) = (
                    appended.borrow().len(),
                    appended.borrow().last().expect("some").0,
                );
                journal.flush(last).await.expect("flush");
                *flushed.borrow_mut() = count;
                if life == 1 && dice.below(4) == 0 {
                    break;
                }
            }
        });
        match outcome {
            Ok(()) => {}
            Err(ReactorError::Crashed) => {
                whole = life > 0;
                if operation.is_multiple_of(2) {
                    simulation.power_cut();
                }
                simulation.crash_after(if life == 0 {
                    operations(&simulation) + 7 + operation % 31
                } else {
                    u64::MAX
                });
            }
            Err(error) => panic!("{error}"),
        }
        if life == 0 && whole {
            return true;
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
