//! The index against a map in memory, in the simulated world: small pages make high trees of few keys, so that every branch is
//! met. Changes are made as replay makes them; of most keys there is no record.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::path::Path;
use std::time::Duration;

use super::rebuilt::Counted;
use super::tree::Fanout;
use super::*;
use crate::device::{Device, DeviceOptions, FormatOptions, format_device};
use crate::error::EngineError;
use crate::format::page::TreeKind;
use crate::id::{ChunkId, Owner, Uuid};
use crate::payload::Payload;
use crate::reactor::{self, ReactorConfig, ReactorError, Simulation, World};
use crate::recovery::RecoveryReport;
use crate::store::{ChunkStore, ShardWrite};

mod anchor;
mod damage;

const PATH: &str = "/device";
const SEGMENT_BYTES: u64 = 256 << 10;
const LOG_SEGMENTS: u32 = 4;
const DATA_SEGMENTS: u64 = 60;

/// A shard that lies there, so that its segment is in use. The keys of the model lie in the same segment.
const REAL: u64 = 1 << 30;

/// Keys that the model uses.
const KEYS: u64 = 400;

const OPTIONS: IndexOptions = IndexOptions {
    fanout: Fanout { leaf: 4, inner: 3 },
    // Three leaves.
    cache_bytes: 3 * 420,
    changes_max: 12,
    entries_max: 10_000,
};

/// A small generator, apart from the simulation's own.
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

fn try_run<T>(simulation: &Simulation, work: impl AsyncFnOnce() -> T) -> Result<T, ReactorError> {
    let config = ReactorConfig {
        index: 0,
        core: None,
        name: "test".to_owned(),
        arena_bytes: 4 << 20,
        spin: Duration::ZERO,
    };
    reactor::run(config, World::Simulated(simulation.clone()), work)
}

fn run<T>(simulation: &Simulation, work: impl AsyncFnOnce() -> T) -> T {
    try_run(simulation, work).expect("no crash")
}

fn formatted(seed: u64) -> Simulation {
    let simulation = Simulation::new(seed);
    let options = FormatOptions {
        cluster: Uuid([1; 16]),
        device: Uuid([2; 16]),
        pool: Uuid([3; 16]),
        node: 1,
        data_partitions: 1,
        segment_bytes: SEGMENT_BYTES,
        log_segments: LOG_SEGMENTS,
        log_mirrors: Vec::new(),
    };
    run(&simulation, async || {
        format_device(Path::new(PATH), options)
            .await
            .expect("format");
    });
    simulation
}

async fn open() -> (ChunkStore, RecoveryReport) {
    let options = DeviceOptions {
        capacity_bytes: (1 << 20) + (u64::from(LOG_SEGMENTS) + DATA_SEGMENTS) * SEGMENT_BYTES,
        ..DeviceOptions::default()
    };
    let device = Device::open(Path::new(PATH), options)
        .await
        .expect("a device");
    let opened = ChunkStore::open_with(&device, 1, OPTIONS).await;
    opened.expect("recovery")
}

fn id(number: u64) -> ShardId {
    ShardId {
        chunk: ChunkId::new(1, (number % 3) as u32, 1, number),
        shard: (number % 2) as u8,
    }
}

async fn write_real(store: &ChunkStore, number: u64, length: usize) -> Result<(), EngineError> {
    let mut buffer = reactor::allocate(length).await;
    buffer.extend_from_slice(&vec![number as u8; length]);
    let shard = ShardWrite {
        id: id(number),
        geometry: 1,
        layout_epoch: 1,
        slot_mask: u64::MAX,
        introduces: true,
        chunk_bytes: length as u64,
        owner: Owner {
            inode: number,
            ..Owner::default()
        },
        payload: Payload::of(vec![buffer.freeze()]),
    };
    store.write(shard).await
}

/// What the index must hold.
type Model = BTreeMap<ShardId, IndexEntry>;

async fn change(store: &ChunkStore, id: ShardId, now: Option<IndexEntry>) {
    let mut pinned = Pinned::reserve(&store.inner.index, 1);
    store.pin(&[id], &mut pinned).await.expect("a good leaf");
    let mut index = store.inner.index.borrow_mut();
    match now {
        Some(entry) => index.insert(id, entry),
        None => index.remove(id),
    }
}

/// Changes some keys, ascending or here and there, as a store does and in the model.
async fn change_some(store: &ChunkStore, model: &RefCell<Model>, dice: &mut Dice) {
    let removes = dice.below(4);
    change_with(store, model, dice, removes).await;
}

/// As [`change_some`], of which so many of four are removed.
async fn change_with(store: &ChunkStore, model: &RefCell<Model>, dice: &mut Dice, removes: u64) {
    let segment = store.inner.log.end() / SEGMENT_BYTES;
    let (first, count) = (dice.below(KEYS), 1 + dice.below(12));
    let in_order = dice.below(2) == 0;
    for at in 0..count {
        let number = if in_order {
            (first + at) % KEYS
        } else {
            dice.below(KEYS)
        };
        let removed = dice.below(4) < removes;
        let now = (!removed).then(|| IndexEntry {
            position: segment * SEGMENT_BYTES + 4096 * (1 + dice.below(10)),
            payload_bytes: dice.below(10_000) as u32,
            inode: dice.below(1 << 40),
        });
        if !store.inner.index.borrow().may_change(1, ChangeRoom::Remove) {
            return;
        }
        match now {
            Some(entry) => model.borrow_mut().insert(id(number), entry),
            None => model.borrow_mut().remove(&id(number)),
        };
        change(store, id(number), now).await;
    }
}

/// Compares everything that the index says with the model.
async fn compare(store: &ChunkStore, model: &RefCell<Model>, place: &str) {
    let model = model.borrow().clone();
    for number in 0..KEYS {
        let found = store.entry_of(id(number)).await.expect("a good leaf");
        assert_eq!(found, model.get(&id(number)).copied(), "{place}: {number}");
    }
    for limit in [1, 7, 1000] {
        let (mut after, mut scanned) = (None, Vec::new());
        loop {
            let more = store.scan(after, limit).await.expect("good leaves");
            after = more.last().map(|(id, _)| *id).or(after);
            scanned.extend_from_slice(&more);
            if more.len() < limit {
                break;
            }
        }
        scanned.retain(|(shard, _)| *shard != id(REAL));
        let expected: Vec<(ShardId, u64)> =
            model.iter().map(|(id, entry)| (*id, entry.inode)).collect();
        assert_eq!(scanned, expected, "{place}");
    }
    let real = store.entry_of(id(REAL)).await.expect("a good leaf");
    let mut counted = Counted::default();
    let real = real.map(|entry| (id(REAL), entry));
    for (id, entry) in model.iter().map(|(id, entry)| (*id, *entry)).chain(real) {
        counted.add(id, &entry, SEGMENT_BYTES);
    }
    let index = store.inner.index.borrow();
    assert_eq!(index.live, counted.live, "{place}");
    assert_eq!(
        index.live_total,
        counted.live.values().sum::<u64>(),
        "{place}"
    );
    assert_eq!(index.count, counted.entry_count, "{place}");
    for (writer, epoch) in &counted.newest_epochs {
        assert!(index.newest_epochs[writer] >= *epoch, "{place}");
    }
}

/// Checks what a tree must be beside its answers: pages at places of their own, none of them nearly empty but at the end of a
/// parent's rows or of keys that were added.
fn check_places(store: &ChunkStore) {
    let index = store.inner.index.borrow();
    let trees = [TreeKind::Shards, TreeKind::Table].map(|kind| index.tree(kind).clone());
    let inner = trees.iter().flat_map(|tree| tree.inner_places());
    let leaves = trees.iter().flat_map(|tree| tree.leaves());
    let mut places: Vec<PagePlace> = inner.chain(leaves.map(|leaf| leaf.row.place)).collect();
    places.sort_unstable();
    let count = places.len();
    places.dedup();
    assert_eq!(places.len(), count, "every page has a place of its own");
    assert_eq!(
        index.places.used_count(),
        count as u64,
        "what is used is in a tree"
    );
}

#[test]
fn the_index_is_what_a_map_is() {
    let (mut levels, mut segments) = (0, 0);
    for seed in 1..9 {
        let simulation = formatted(seed);
        let mut dice = Dice(seed);
        let model = RefCell::new(Model::new());
        let durable = RefCell::new(Model::new());
        for life in 0..6 {
            let place = format!("seed {seed}, life {life}");
            run(&simulation, async || {
                let (store, report) = open().await;
                assert_eq!(report.damage, Vec::<String>::new(), "{place}");
                if life == 0 {
                    write_real(&store, REAL, 100).await.expect("room");
                }
                // What was not in a checkpoint is gone: there was no record of it.
                *model.borrow_mut() = durable.borrow().clone();
                compare(&store, &model, &place).await;
                // It grows and shrinks.
                let removes = [0, 1, 4, 0, 2, 4][life];
                for _ in 0..60 {
                    for _ in 0..dice.below(3) {
                        change_with(&store, &model, &mut dice, removes).await;
                    }
                    store.checkpoint().await.expect("checkpoint");
                    check_places(&store);
                    *durable.borrow_mut() = model.borrow().clone();
                    let index = store.inner.index.borrow();
                    levels = levels.max(index.shards.levels().len());
                    segments = segments.max(index.places.segments().len());
                }
                change_some(&store, &model, &mut dice).await;
                compare(&store, &model, &place).await;
            });
        }
    }
    assert!(
        levels > 3 && segments > 1,
        "{levels} levels, {segments} segments"
    );
}

#[test]
fn removing_everything_gives_all_pages_back() {
    let simulation = formatted(3);
    run(&simulation, async || {
        let (store, _) = open().await;
        write_real(&store, REAL, 100).await.expect("room");
        let model = RefCell::new(Model::new());
        let mut dice = Dice(1);
        for _ in 0..30 {
            change_some(&store, &model, &mut dice).await;
            store.checkpoint().await.expect("checkpoint");
        }
        let ids: Vec<ShardId> = model.borrow().keys().copied().collect();
        for some in ids.chunks(10) {
            for id in some {
                change(&store, *id, None).await;
            }
            store.checkpoint().await.expect("checkpoint");
        }
        compare(&store, &RefCell::default(), "empty").await;
        let index = store.inner.index.borrow();
        // The leaf of the real shard, that of the table, and a root for each.
        assert_eq!(index.shards.page_counts(), [1, 1]);
        assert_eq!(index.places.segments().len(), 1);
    });
}

#[test]
fn segments_with_few_pages_are_emptied_and_given_back() {
    let simulation = formatted(5);
    run(&simulation, async || {
        let (store, _) = open().await;
        write_real(&store, REAL, 100).await.expect("room");
        let segment = store.inner.log.end() / SEGMENT_BYTES;
        // In the order of the keys, so that neighbours lie together.
        let key = |number| ShardId {
            chunk: ChunkId::new(1, 1, 1, number),
            shard: 0,
        };
        let entry = |number: u64| IndexEntry {
            position: segment * SEGMENT_BYTES + 4096,
            payload_bytes: number as u32,
            inode: number,
        };
        let all: Vec<u64> = (0..1200).collect();
        for some in all.chunks(10) {
            for number in some {
                change(&store, key(*number), Some(entry(*number))).await;
            }
            store.checkpoint().await.expect("checkpoint");
        }
        let full = store.inner.index.borrow().places.segments().len();
        let mut emptied = 0;
        // Of ten leaves, one stays.
        let stays = |number: &u64| (number / 4).is_multiple_of(10);
        let removed: Vec<u64> = all.iter().copied().filter(|n| !stays(n)).collect();
        for some in removed.chunks(10) {
            for number in some {
                change(&store, key(*number), None).await;
            }
            store.checkpoint().await.expect("checkpoint");
            emptied += usize::from(store.inner.index.borrow().places.emptied().is_some());
            check_places(&store);
        }
        for _ in 0..20 {
            change(&store, key(0), Some(entry(0))).await;
            store.checkpoint().await.expect("checkpoint");
            emptied += usize::from(store.inner.index.borrow().places.emptied().is_some());
        }
        for number in 0..1200 {
            let found = store.entry_of(key(number)).await.expect("a good leaf");
            assert_eq!(found, stays(&number).then(|| entry(number)), "{number}");
        }
        let left = store.inner.index.borrow().places.segments().len();
        assert!(
            emptied > 0 && left <= full * 2 / 3,
            "{left} of {full}, {emptied} times"
        );
    });
}

#[test]
fn writes_beyond_what_may_change_wait_for_a_checkpoint() {
    let simulation = formatted(6);
    run(&simulation, async || {
        let (store, _) = open().await;
        let writes = (0..100).map(|number| write_real(&store, number, 100));
        let watch = async {
            for _ in 0..2000 {
                let changes = store.inner.index.borrow().change_count();
                assert!(changes <= OPTIONS.changes_max);
                reactor::sleep(Duration::from_micros(50)).await;
            }
        };
        let writes = futures_util::future::join_all(writes);
        let both = futures_util::future::join(writes, watch);
        let both = reactor::timeout(Duration::from_secs(60), both).await;
        let (written, ()) = both.expect("no hang");
        assert!(written.into_iter().all(|written| written.is_ok()));
        assert_eq!(scan_all(&store).await.len(), 100);
        // Frees have room of their own, and of those that are not there nothing changes.
        let ids: Vec<ShardId> = (0..200).map(id).collect();
        for some in ids.chunks(12) {
            store.free(some).await.expect("room");
        }
        assert_eq!(scan_all(&store).await.len(), 0);
    });
}

/// Makes changes and a checkpoint, crashes at an operation of it, and compares; `true` when the checkpoint came to its end.
fn crash_in_a_checkpoint(seed: u64, operation: u64) -> bool {
    let place = format!("seed {seed}, operation {operation}");
    let simulation = formatted(seed);
    let mut dice = Dice(seed);
    let (model, durable) = (RefCell::new(Model::new()), RefCell::new(Model::new()));
    let outcome = try_run(&simulation, async || {
        let (store, _) = open().await;
        write_real(&store, REAL, 100).await.expect("room");
        for _ in 0..12 {
            change_some(&store, &model, &mut dice).await;
            store.checkpoint().await.expect("checkpoint");
        }
        *durable.borrow_mut() = model.borrow().clone();
        change_some(&store, &model, &mut dice).await;
        simulation.crash_after(simulation.counters().operations + operation);
        store.checkpoint().await.expect("checkpoint");
    });
    if !operation.is_multiple_of(3) {
        simulation.power_cut();
    }
    simulation.crash_after(u64::MAX);
    run(&simulation, async || {
        let (store, report) = open().await;
        assert_eq!(report.damage, Vec::<String>::new(), "{place}");
        let scanned = scan_all(&store).await;
        let is_new = model.borrow().keys().eq(scanned.iter());
        let expected = if is_new { &model } else { &durable };
        compare(&store, expected, &place).await;
        change_some(&store, expected, &mut dice).await;
        store.checkpoint().await.expect("checkpoint");
        check_places(&store);
        compare(&store, expected, &place).await;
    });
    outcome.is_ok()
}

async fn scan_all(store: &ChunkStore) -> Vec<ShardId> {
    let all = store.scan(None, usize::MAX).await.expect("good leaves");
    let ids = all.into_iter().map(|(id, _)| id);
    ids.filter(|shard| *shard != id(REAL)).collect()
}

#[test]
fn every_crash_point_of_a_checkpoint_leaves_one_or_the_other() {
    for seed in 1..7 {
        let mut operation = 1;
        while !crash_in_a_checkpoint(seed, operation) {
            operation += 1;
        }
        assert!(operation > 5, "only {operation} operations");
    }
}

#[test]
fn a_look_up_beside_a_checkpoint_that_replaces_its_leaf_says_what_is() {
    for seed in 1..20 {
        let simulation = formatted(seed);
        run(&simulation, async || {
            let (store, _) = open().await;
            write_real(&store, REAL, 100).await.expect("room");
            let model = RefCell::new(Model::new());
            let mut dice = Dice(seed);
            for _ in 0..30 {
                change_some(&store, &model, &mut dice).await;
                // Two in a row write over the places that the first one gave back.
                let checkpoints = async {
                    store.checkpoint().await.expect("checkpoint");
                    store.checkpoint().await.expect("checkpoint");
                };
                let look_ups = (0..KEYS).map(|number| store.entry_of(id(number)));
                let look_ups = futures_util::future::join_all(look_ups);
                let pins = async {
                    let mut pinned = Pinned::reserve(&store.inner.index, 0);
                    let all: Vec<ShardId> = (0..KEYS).map(id).collect();
                    store.pin(&all, &mut pinned).await.expect("good leaves");
                    for id in all {
                        let known = store.inner.index.borrow().get(id);
                        assert_eq!(known, model.borrow().get(&id).copied());
                    }
                };
                let both = futures_util::future::join(look_ups, checkpoints);
                let others = futures_util::future::join(pins, scan_all(&store));
                let ((found, ()), ((), scanned)) = futures_util::future::join(both, others).await;
                for (number, found) in (0..).zip(found) {
                    let expected = model.borrow().get(&id(number)).copied();
                    assert_eq!(found.expect("a good leaf"), expected, "{number}");
                }
                assert!(model.borrow().keys().eq(scanned.iter()));
            }
        });
    }
}
