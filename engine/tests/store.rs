//! The chunk store and the journal on real files: what was acknowledged is there after a reopen, damage is reported, space
//! comes back.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use strata_engine::reactor::{self, ReactorConfig, World};
use strata_engine::{
    ChunkId, ChunkStore, Device, DeviceHealth, DeviceLock, DeviceOptions, EngineError,
    FormatOptions, HeadsOf, Journal, JournalPosition, Owner, ShardId, ShardWrite, Uuid,
    format_device,
};

const MIB: u64 = 1 << 20;

fn on_reactor<T>(test: impl AsyncFnOnce() -> T) -> T {
    let config = ReactorConfig {
        index: 0,
        core: None,
        name: "test".into(),
        arena_bytes: 64 << 20,
        spin: Duration::ZERO,
    };
    reactor::run(config, World::Real, test).expect("io_uring is usable")
}

/// A directory beside the build, because direct I/O needs a real file system.
fn directory() -> tempfile::TempDir {
    tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).unwrap()
}

async fn formatted(directory: &Path) -> PathBuf {
    let path = directory.join("strata.device");
    let options = FormatOptions {
        cluster: Uuid([1; 16]),
        device: Uuid([2; 16]),
        pool: Uuid([3; 16]),
        node: 1,
        data_partitions: 1,
        segment_bytes: 4 * MIB,
        log_segments: 6,
        log_mirrors: vec![Uuid([2; 16])],
    };
    format_device(&path, options).await.unwrap();
    path
}

async fn open(path: &Path, capacity_mib: u64) -> Device {
    let options = DeviceOptions {
        capacity_bytes: capacity_mib * MIB,
        health: Arc::new(DeviceHealth::default()),
    };
    Device::open(path, options).await.unwrap()
}

fn id(number: u64) -> ShardId {
    ShardId {
        chunk: ChunkId::new(0, 1, 1, number),
        shard: 0,
    }
}

fn bytes_of(number: u64, length: usize) -> Vec<u8> {
    let mut state = number.wrapping_mul(0x9e37_79b9_7f4a_7c15) ^ length as u64;
    let mut next = || {
        state = state
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1_442_695_040_888_963_407);
        (state >> 56) as u8
    };
    (0..length).map(|_| next()).collect()
}

async fn shard(number: u64, length: usize) -> ShardWrite {
    let bytes = bytes_of(number, length);
    let mut buffer = reactor::allocate(length).await;
    buffer.set_len(0);
    buffer.extend_from_slice(&bytes);
    ShardWrite {
        id: id(number),
        geometry: 1,
        layout_epoch: 1,
        cell_bytes: 64 << 10,
        chunk_bytes: length as u64,
        owner: Owner {
            group: 0,
            inode: number + 100,
            version: 0,
            space: 0,
            offset: 0,
        },
        cell_crcs: bytes.chunks(64 << 10).map(crc32c::crc32c).collect(),
        payload: vec![buffer.freeze()],
        shard_bytes: length as u32,
    }
}

async fn read_all(store: &ChunkStore, number: u64, length: usize) -> Vec<u8> {
    store
        .read(id(number), 0..length as u32)
        .await
        .unwrap()
        .iter()
        .flat_map(|view| view.to_vec())
        .collect()
}

#[test]
fn shards_come_back_whole_and_in_ranges_also_after_a_reopen() {
    let directory = directory();
    on_reactor(async || {
        let path = formatted(directory.path()).await;
        let lengths = [1, 511, 512, 513, 65_535, 65_536, 65_537, 300_000, 1 << 20];
        let device = open(&path, 100).await;
        let (store, _) = ChunkStore::open(&device, 1).await.unwrap();
        for (number, length) in lengths.iter().enumerate() {
            store
                .write(shard(number as u64, *length).await)
                .await
                .unwrap();
        }
        // No close: as after a kill.
        drop(store);
        let (store, report) = ChunkStore::open(&open(&path, 100).await, 1).await.unwrap();
        assert_eq!(report.records_replayed, lengths.len() as u64);
        assert!(report.damage.is_empty());
        for (number, length) in lengths.iter().enumerate() {
            assert_eq!(
                read_all(&store, number as u64, *length).await,
                bytes_of(number as u64, *length)
            );
        }
        let part: Vec<u8> = store
            .read(id(7), 65_000..200_001)
            .await
            .unwrap()
            .iter()
            .flat_map(|view| view.to_vec())
            .collect();
        assert_eq!(part, bytes_of(7, 300_000)[65_000..200_001]);
        store.close().await;
        let (store, report) = ChunkStore::open(&open(&path, 100).await, 1).await.unwrap();
        assert_eq!(
            (report.records_replayed, report.index_entries),
            (0, lengths.len() as u64)
        );
        assert_eq!(read_all(&store, 8, 1 << 20).await, bytes_of(8, 1 << 20));
        assert!(matches!(
            store.read(id(99), 0..1).await,
            Err(EngineError::NotFound)
        ));
        store.close().await;
    });
}

#[test]
fn deleted_space_comes_back() {
    let directory = directory();
    on_reactor(async || {
        let path = formatted(directory.path()).await;
        let (store, _) = ChunkStore::open(&open(&path, 80).await, 1).await.unwrap();
        // 14 segments of 4 MiB; write five times as much, keeping every tenth shard.
        let mut kept = Vec::new();
        for number in 0..280 {
            store.write(shard(number, 1 << 20).await).await.unwrap();
            if number % 20 == 0 {
                kept.push(number)
            } else {
                store.free(&[id(number)]).await.unwrap()
            }
        }
        for number in &kept {
            assert_eq!(
                read_all(&store, *number, 1 << 20).await,
                bytes_of(*number, 1 << 20)
            );
        }
        drop(store);
        let (store, report) = ChunkStore::open(&open(&path, 80).await, 1).await.unwrap();
        assert!(report.damage.is_empty(), "{report:?}");
        assert_eq!(store.scan(None, 1000).len(), kept.len());
        for number in &kept {
            assert_eq!(
                read_all(&store, *number, 1 << 20).await,
                bytes_of(*number, 1 << 20)
            );
        }
        store.close().await;
    });
}

#[test]
fn a_full_device_refuses_writes_and_takes_them_again_after_frees() {
    let directory = directory();
    on_reactor(async || {
        let path = formatted(directory.path()).await;
        let (store, _) = ChunkStore::open(&open(&path, 64).await, 1).await.unwrap();
        let mut number = 0;
        let error = loop {
            match store.write(shard(number, 1 << 20).await).await {
                Ok(()) => number += 1,
                Err(error) => break error,
            }
            assert!(number < 64, "the device never fills");
        };
        assert!(matches!(error, EngineError::Full { .. }), "{error}");
        assert_eq!(read_all(&store, 0, 1 << 20).await, bytes_of(0, 1 << 20));
        let all: Vec<ShardId> = (0..number).map(id).collect();
        store.free(&all).await.unwrap();
        for again in 1000..1000 + number - 6 {
            store.write(shard(again, 1 << 20).await).await.unwrap();
        }
        store.close().await;
    });
}

#[test]
fn a_flipped_bit_is_reported_and_never_returned() {
    let directory = directory();
    on_reactor(async || {
        let path = formatted(directory.path()).await;
        let (store, _) = ChunkStore::open(&open(&path, 100).await, 1).await.unwrap();
        for number in 0..4 {
            store.write(shard(number, 100_000).await).await.unwrap();
        }
        flip_in(&path, &bytes_of(1, 100_000)[70_000..70_064]);
        assert!(matches!(
            store.read(id(1), 0..100_000).await,
            Err(EngineError::Corrupt { .. })
        ));
        // The first cell is whole.
        assert!(store.read(id(1), 0..65_536).await.is_ok());
        drop(store);
        let (store, report) = ChunkStore::open(&open(&path, 100).await, 1).await.unwrap();
        assert_eq!(report.damage.len(), 1, "{report:?}");
        assert!(matches!(
            store.read(id(1), 0..100_000).await,
            Err(EngineError::Corrupt { .. })
        ));
        assert!(store.read(id(1), 0..65_536).await.is_ok());
        assert_eq!(read_all(&store, 3, 100_000).await, bytes_of(3, 100_000));
        store.close().await;
    });
}

/// Flips a bit in the first place of the file that holds these bytes.
fn flip_in(path: &Path, needle: &[u8]) {
    let mut file = std::fs::read(path).unwrap();
    let at = file
        .windows(needle.len())
        .position(|window| window == needle)
        .expect("the bytes are in the file");
    file[at] ^= 1;
    std::fs::write(path, file).unwrap();
}

async fn records_of(journal: &Journal) -> Vec<(JournalPosition, Vec<u8>)> {
    let mut records = Vec::new();
    let mut visit = |position, _, body: &[u8]| {
        records.push((position, body.to_vec()));
        Ok(())
    };
    journal.replay(None, &mut visit).await.unwrap();
    records
}

#[test]
fn a_journal_keeps_order_over_reopens_and_gives_back_what_is_trimmed() {
    let directory = directory();
    on_reactor(async || {
        let path = formatted(directory.path()).await;
        let mut all = Vec::new();
        for run in 0..4u64 {
            let journal = Journal::open(&open(&path, 100).await, 0).await.unwrap();
            assert_eq!(records_of(&journal).await, all);
            let mut last = None;
            for number in 0..60 {
                let body = bytes_of(run * 100 + number, (number as usize * 997) % 40_000);
                let position = journal.append(7, &body).unwrap();
                all.push((position, body));
                last = Some(position);
            }
            journal.flush(last.unwrap()).await.unwrap();
            let (position, body) = all[all.len() / 2].clone();
            assert_eq!(journal.read(position).await.unwrap(), (7, body));
        }
        let journal = Journal::open(&open(&path, 100).await, 0).await.unwrap();
        let room = journal.room_bytes();
        let (position, _) = all[all.len() - 10].clone();
        journal.trim(position).await.unwrap();
        assert!(journal.room_bytes() >= room);
        assert!(matches!(
            journal.read(all[0].0).await,
            Err(EngineError::NotFound)
        ));
        drop(journal);
        let journal = Journal::open(&open(&path, 100).await, 0).await.unwrap();
        let left = records_of(&journal).await;
        assert!(
            left.len() >= 10 && all.ends_with(&left),
            "{} left",
            left.len()
        );
    });
}

#[test]
fn a_journal_reads_what_lies_close_together_at_once_and_looks_into_the_rest() {
    const LONG: u8 = 6;
    let directory = directory();
    on_reactor(async || {
        let path = formatted(directory.path()).await;
        let journal = Journal::open(&open(&path, 100).await, 0).await.unwrap();
        let mut all = Vec::new();
        for number in 0..200u64 {
            let (content, length) = match number % 10 {
                9 => (LONG, 300_000),
                _ => (7, (number as usize * 997) % 9_000),
            };
            let body = bytes_of(number, length);
            all.push((journal.append(content, &body).unwrap(), content, body));
        }
        journal.flush(all.last().unwrap().0).await.unwrap();
        let some: Vec<_> = all.iter().filter(|(_, content, _)| *content == 7).collect();
        let places: Vec<_> = some.iter().map(|(position, _, _)| *position).collect();
        let mut seen = 0;
        let mut visit = |number: usize, content: u8, body: &[u8]| {
            assert_eq!((number, content), (seen, 7));
            assert_eq!(body, some[number].2);
            seen += 1;
        };
        journal.read_each(&places, &mut visit).await.unwrap();
        assert_eq!(seen, places.len());
        drop(journal);

        let journal = Journal::open(&open(&path, 100).await, 0).await.unwrap();
        let heads = HeadsOf {
            content: LONG,
            bytes: 100,
        };
        let mut seen = all.iter();
        let mut visit = |position, content, body: &[u8]| {
            let (expected, kind, whole) = seen.next().expect("no more than were written");
            assert_eq!((position, content), (*expected, *kind));
            let shown = if content == LONG { 100 } else { whole.len() };
            assert_eq!(body, &whole[..shown]);
            Ok(())
        };
        journal.replay(Some(heads), &mut visit).await.unwrap();
        assert_eq!(seen.count(), 0, "every record is visited");
    });
}

#[test]
fn a_journal_refuses_to_grow_beyond_its_quota() {
    let directory = directory();
    on_reactor(async || {
        let path = formatted(directory.path()).await;
        let journal = Journal::open(&open(&path, 100).await, 0).await.unwrap();
        let body = bytes_of(1, 1 << 20);
        let mut last = JournalPosition(0);
        let error = loop {
            match journal.append(1, &body) {
                Ok(position) => last = position,
                Err(error) => break error,
            }
        };
        assert!(matches!(error, EngineError::Full { .. }));
        journal.flush(last).await.unwrap();
        journal.trim(last).await.unwrap();
        let again = journal.append(1, &body).unwrap();
        journal.flush(again).await.unwrap();
    });
}

#[test]
fn damage_in_a_journal_is_told_from_a_torn_tail() {
    let directory = directory();
    on_reactor(async || {
        let path = formatted(directory.path()).await;
        let journal = Journal::open(&open(&path, 100).await, 0).await.unwrap();
        for number in 0..3 {
            let position = journal.append(1, &bytes_of(number, 3000)).unwrap();
            journal.flush(position).await.unwrap();
        }
        drop(journal);
        let whole = std::fs::read(&path).unwrap();
        flip_in(&path, &bytes_of(2, 3000)[100..200]);
        let journal = Journal::open(&open(&path, 100).await, 0).await.unwrap();
        assert_eq!(
            records_of(&journal).await.len(),
            2,
            "the last batch counts as torn"
        );
        drop(journal);
        std::fs::write(&path, whole).unwrap();
        flip_in(&path, &bytes_of(1, 3000)[100..200]);
        let error = Journal::open(&open(&path, 100).await, 0)
            .await
            .err()
            .expect("damage below the tail");
        assert!(matches!(error, EngineError::Corrupt { .. }), "{error}");
    });
}

#[test]
fn a_device_is_locked_once_and_a_foreign_file_is_refused() {
    let directory = directory();
    on_reactor(async || {
        let path = formatted(directory.path()).await;
        let lock = DeviceLock::take(&path).unwrap();
        assert!(matches!(
            DeviceLock::take(&path),
            Err(EngineError::Locked { .. })
        ));
        drop(lock);
        let foreign = directory.path().join("foreign");
        std::fs::write(&foreign, vec![7; 1 << 20]).unwrap();
        assert!(matches!(
            strata_engine::read_superblock(&foreign).await,
            Err(EngineError::Unformatted)
        ));
    });
}
