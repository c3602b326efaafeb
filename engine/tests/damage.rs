//! Damage in what was acknowledged, in the simulated world: it is reported, also where a torn write would look much the same,
//! and what lies behind it is kept.

use std::path::Path;
use std::sync::atomic::Ordering;
use std::time::Duration;

use strata_engine::reactor::{self, ReactorConfig, Simulation, TaskClass, World};
use strata_engine::{
    ChunkId, ChunkStore, Device, DeviceOptions, EngineError, FormatOptions, Journal, Owner,
    ShardId, ShardWrite, Uuid, format_device,
};

const PATH: &str = "/strata.device";

fn run<T>(simulation: &Simulation, work: impl AsyncFnOnce() -> T) -> T {
    let config = ReactorConfig {
        index: 0,
        core: None,
        name: "simulated".to_owned(),
        arena_bytes: 8 << 20,
        spin: Duration::ZERO,
    };
    reactor::run(config, World::Simulated(simulation.clone()), work).expect("no crash")
}

fn formatted(seed: u64) -> Simulation {
    let simulation = Simulation::new(seed);
    let options = FormatOptions {
        cluster: Uuid([1; 16]),
        device: Uuid([2; 16]),
        pool: Uuid([3; 16]),
        node: 1,
        data_partitions: 1,
        segment_bytes: 256 << 10,
        log_segments: 4,
        log_mirrors: vec![Uuid([2; 16])],
    };
    run(&simulation, async || {
        format_device(Path::new(PATH), options)
            .await
            .expect("format")
    });
    simulation
}

async fn device() -> Device {
    let options = DeviceOptions {
        capacity_bytes: 8 << 20,
        ..DeviceOptions::default()
    };
    Device::open(Path::new(PATH), options)
        .await
        .expect("open the device")
}

/// Flips a bit of these bytes, which lie on the device once.
fn damage(simulation: &Simulation, needle: &[u8]) {
    let content = simulation.content(Path::new(PATH)).expect("a file");
    let mut places = content.windows(needle.len()).enumerate();
    let (at, _) = places
        .find(|(_, window)| *window == needle)
        .expect("the bytes are on the device");
    simulation
        .flip_bit(Path::new(PATH), at as u64 + 5, 3)
        .expect("a file");
}

/// A body that differs in every word from those of other numbers.
fn body(number: u8) -> Vec<u8> {
    [number, 0xa5, number ^ 0x5a, 0x3c].repeat(30)
}

/// Appends the bodies at once, so that they are one batch, and flushes them.
async fn append(journal: &Journal, numbers: impl IntoIterator<Item = u8>) {
    let places = numbers
        .into_iter()
        .map(|number| journal.append(1, &body(number)).expect("room"));
    journal
        .flush(places.last().expect("some"))
        .await
        .expect("flush");
}

fn refuse_to_open(simulation: &Simulation) {
    run(simulation, async || {
        let opened = Journal::open(&device().await, 0).await.err();
        assert!(
            matches!(opened, Some(EngineError::Corrupt { .. })),
            "{opened:?}"
        );
    });
}

#[test]
fn damage_behind_a_good_record_of_its_block_is_no_torn_tail() {
    let simulation = formatted(1);
    run(&simulation, async || {
        let journal = Journal::open(&device().await, 0).await.expect("open");
        append(&journal, [1]).await;
        append(&journal, [2, 3]).await;
        append(&journal, [4]).await;
    });
    damage(&simulation, &body(3));
    refuse_to_open(&simulation);
}

#[test]
fn damage_in_the_last_block_is_known_after_a_restart() {
    let simulation = formatted(2);
    run(&simulation, async || {
        let journal = Journal::open(&device().await, 0).await.expect("open");
        append(&journal, [1]).await;
        append(&journal, [2, 3]).await;
    });
    run(&simulation, async || {
        Journal::open(&device().await, 0).await.expect("open");
    });
    damage(&simulation, &body(3));
    refuse_to_open(&simulation);
}

/// Lets the writer begin what is queued, and not end it.
async fn let_it_begin() {
    for _ in 0..6 {
        reactor::yield_now().await;
    }
}

#[test]
fn a_batch_that_was_queued_behind_another_vouches_for_it() {
    let simulation = formatted(3);
    run(&simulation, async || {
        let journal = Journal::open(&device().await, 0).await.expect("open");
        append(&journal, [1]).await;
        reactor::sleep(Duration::from_secs(1)).await;
        let batches = || journal.statistics().batches.load(Ordering::Relaxed);
        let before = batches();
        journal.append(1, &body(2)).expect("room");
        let_it_begin().await;
        append(&journal, [3]).await;
        assert_eq!(batches() - before, 2);
    });
    damage(&simulation, &body(2));
    refuse_to_open(&simulation);
}

#[test]
fn a_long_record_at_the_head_of_a_batch_is_sealed_anew() {
    let simulation = formatted(4);
    let long = |number: u8| body(number).repeat(1300);
    run(&simulation, async || {
        let journal = Journal::open(&device().await, 0).await.expect("open");
        append(&journal, [1]).await;
        journal.append(1, &body(2)).expect("room");
        let_it_begin().await;
        // Longer than the block in which entries are gathered would be with what comes next.
        journal.append(1, &long(3)).expect("room");
        append(&journal, [4]).await;
    });
    run(&simulation, async || {
        let journal = Journal::open(&device().await, 0).await.expect("open");
        let mut found = Vec::new();
        let mut visit = |_, _, body: &[u8]| {
            found.push(body.to_vec());
            Ok(())
        };
        journal.replay(None, &mut visit).await.expect("replay");
        assert!(found == [body(1), body(2), long(3), body(4)]);
    });
}

async fn shard(number: u8) -> ShardWrite {
    let bytes = body(number).repeat(100);
    let mut buffer = reactor::allocate(bytes.len()).await;
    buffer.extend_from_slice(&bytes);
    ShardWrite {
        id: id(number),
        geometry: 1,
        layout_epoch: 1,
        cell_bytes: 64 << 10,
        chunk_bytes: bytes.len() as u64,
        owner: Owner::default(),
        cell_crcs: vec![crc32c::crc32c(&bytes)],
        payload: vec![buffer.freeze()],
        shard_bytes: bytes.len() as u32,
    }
}

fn id(number: u8) -> ShardId {
    ShardId {
        chunk: ChunkId::new(1, 1, 1, u64::from(number)),
        shard: 0,
    }
}

#[test]
fn a_shard_that_was_queued_behind_another_vouches_for_it() {
    let simulation = formatted(5);
    run(&simulation, async || {
        let (store, _) = ChunkStore::open(&device().await, 1).await.expect("open");
        store.write(shard(1).await).await.expect("write");
        reactor::sleep(Duration::from_secs(1)).await;
        let batches = || store.statistics().log.batches.load(Ordering::Relaxed);
        let before = batches();
        let (first, second) = (shard(2).await, shard(3).await);
        let writing = {
            let store = store.clone();
            reactor::spawn(
                TaskClass::Foreground,
                async move { store.write(first).await },
            )
        };
        let_it_begin().await;
        store.write(second).await.expect("write");
        writing.await.expect("write");
        assert_eq!(batches() - before, 2);
    });
    damage(&simulation, &body(2));
    run(&simulation, async || {
        let (store, report) = ChunkStore::open(&device().await, 1).await.expect("open");
        assert_eq!(report.damage.len(), 1, "{report:?}");
        let whole = 0..body(3).len() as u32 * 100;
        let damaged = store.read(id(2), whole.clone()).await;
        assert!(matches!(damaged, Err(EngineError::Corrupt { .. })));
        store.read(id(3), whole).await.expect("it is still there");
    });
}
