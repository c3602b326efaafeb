//! The chunk store and the journal at their limits, in the simulated world: what runs short is refused or waited for, and
//! nothing hangs.

use std::collections::BTreeMap;
use std::path::Path;
use std::time::Duration;

use strata_engine::reactor::{self, Buffer, ReactorConfig, Simulation, TaskClass, World};
use strata_engine::{
    ChunkId, ChunkStore, Device, DeviceOptions, FormatOptions, Owner, ShardId, ShardWrite, Uuid,
    format_device,
};

const PATH: &str = "/strata.device";
const CELL: usize = 64 << 10;
const SEGMENT: u64 = 256 << 10;
const LOG_SEGMENTS: u32 = 6;
const DATA_SEGMENTS: u64 = 24;

/// The smallest arena.
const ARENA: usize = 2 << 20;

/// Longer than anything takes that is not stuck.
const LONG: Duration = Duration::from_secs(600);

fn run<T>(simulation: &Simulation, work: impl AsyncFnOnce() -> T) -> T {
    let config = ReactorConfig {
        index: 0,
        core: None,
        name: "simulated".to_owned(),
        arena_bytes: ARENA,
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
        segment_bytes: SEGMENT,
        log_segments: LOG_SEGMENTS,
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
        capacity_bytes: (1 << 20) + (u64::from(LOG_SEGMENTS) + DATA_SEGMENTS) * SEGMENT,
        ..DeviceOptions::default()
    };
    Device::open(Path::new(PATH), options)
        .await
        .expect("open the device")
}

async fn store() -> ChunkStore {
    let (store, report) = ChunkStore::open(&device().await, 1)
        .await
        .expect("recovery");
    assert_eq!(report.damage, Vec::<String>::new());
    store
}

fn id(number: u64) -> ShardId {
    ShardId {
        chunk: ChunkId::new(1, 1, 1, number),
        shard: 0,
    }
}

fn content(number: u64, length: usize) -> Vec<u8> {
    (0..length)
        .map(|at| (at as u64 * 13 + number * 31 + (at >> 9) as u64) as u8)
        .collect()
}

/// A shard of so many bytes in this buffer.
fn shard_in(mut buffer: Buffer, number: u64, length: usize) -> ShardWrite {
    let bytes = content(number, length);
    buffer.set_len(0);
    buffer.extend_from_slice(&bytes);
    ShardWrite {
        id: id(number),
        geometry: 1,
        layout_epoch: 1,
        cell_bytes: CELL as u32,
        chunk_bytes: length as u64,
        owner: Owner {
            inode: number,
            ..Owner::default()
        },
        cell_crcs: bytes.chunks(CELL).map(crc32c::crc32c).collect(),
        payload: vec![buffer.freeze()],
        shard_bytes: length as u32,
    }
}

async fn read_all(store: &ChunkStore, number: u64, length: usize) -> Vec<u8> {
    let views = store
        .read(id(number), 0..length as u32)
        .await
        .unwrap_or_else(|error| panic!("shard {number}: {error}"));
    views.iter().flat_map(|view| view.to_vec()).collect()
}

#[test]
fn writes_that_hold_the_whole_arena_come_to_their_end() {
    for seed in 1..4 {
        run(&formatted(seed), async || {
            let store = store().await;
            let mut kept = BTreeMap::new();
            // Each round is half of the partition: it opens segments, and from the second on it needs compaction.
            for round in 0..6 {
                let buffers: Vec<Buffer> =
                    std::iter::from_fn(|| reactor::try_allocate(CELL)).collect();
                let first = round * 100;
                let shards: Vec<ShardWrite> = (first..)
                    .zip(buffers)
                    .map(|(number, buffer)| shard_in(buffer, number, CELL))
                    .collect();
                let last = first + shards.len() as u64;
                assert!(last - first >= 30, "the arena is not empty at first");
                let waits = reactor::spawn(TaskClass::Foreground, async {
                    reactor::allocate(ARENA / 2).await
                });
                reactor::yield_now().await;
                let writes = shards.into_iter().map(|shard| store.write(shard));
                let writes = futures_util::future::join_all(writes);
                let outcomes = reactor::timeout(LONG, writes).await.expect("they return");
                outcomes
                    .into_iter()
                    .for_each(|outcome| outcome.expect("room"));
                drop(waits.await);
                let (live, dead): (Vec<u64>, Vec<u64>) =
                    (first..last).partition(|number| number % 8 == 0);
                let dead: Vec<ShardId> = dead.into_iter().map(id).collect();
                store.free(&dead).await.expect("free");
                kept.extend(live.into_iter().map(|number| (number, CELL)));
            }
            for (number, length) in kept {
                assert!(read_all(&store, number, length).await == content(number, length));
            }
            store.close().await;
        });
    }
}
