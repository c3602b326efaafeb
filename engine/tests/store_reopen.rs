//! The chunk store and the journal on the real disk: what is written comes back, also after a restart.

use std::path::{Path, PathBuf};
use std::time::Duration;

use strata_engine::reactor::{self, BufferView, ReactorConfig, World};
use strata_engine::{
    ChunkId, ChunkStore, Device, DeviceLock, DeviceOptions, EngineError, FormatOptions, Journal,
    JournalPosition, Owner, PartitionKind, ShardId, ShardWrite, Uuid, format_device,
    read_superblock,
};

const CELL: usize = 64 << 10;

fn run<T>(work: impl AsyncFnOnce() -> T) -> T {
    let config = ReactorConfig {
        index: 0,
        core: None,
        name: "test".to_owned(),
        arena_bytes: 32 << 20,
        spin: Duration::ZERO,
    };
    reactor::run(config, World::Real, work).expect("a reactor")
}

fn directory() -> tempfile::TempDir {
    tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).expect("a directory on a disk")
}

fn options(number: u8) -> FormatOptions {
    FormatOptions {
        cluster: Uuid([1; 16]),
        device: Uuid([number; 16]),
        pool: Uuid([3; 16]),
        node: 1,
        data_partitions: 2,
        segment_bytes: 4 << 20,
        log_segments: 8,
        log_mirrors: vec![Uuid([number; 16])],
    }
}

async fn open(path: &Path) -> Device {
    let options = DeviceOptions {
        capacity_bytes: 256 << 20,
        ..DeviceOptions::default()
    };
    Device::open(path, options).await.expect("a device")
}

fn id(number: u64) -> ShardId {
    ShardId {
        chunk: ChunkId::new(1, 2, 3, number),
        shard: 0,
    }
}

fn content(number: u64, bytes: usize) -> Vec<u8> {
    (0..bytes)
        .map(|position| (position as u64 * 31 + number * 7 + (position >> 12) as u64) as u8)
        .collect()
}

async fn view(bytes: &[u8]) -> BufferView {
    let mut buffer = reactor::allocate(bytes.len()).await;
    buffer.set_len(0);
    buffer.extend_from_slice(bytes);
    buffer.freeze()
}

async fn shard(number: u64, bytes: &[u8]) -> ShardWrite {
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
        payload: vec![view(bytes).await],
        shard_bytes: bytes.len() as u32,
    }
}

fn joined(views: Vec<BufferView>) -> Vec<u8> {
    views.iter().flat_map(|view| view.to_vec()).collect()
}

fn formatted(directory: &Path) -> PathBuf {
    let path = directory.join("strata.device");
    run(async || format_device(&path, options(2)).await.expect("format"));
    path
}

const LENGTHS: [usize; 6] = [1, 4096, 5000, 65536, 65537, 1 << 20];

#[test]
fn shards_come_back_after_a_restart_and_freed_ones_do_not() {
    let directory = directory();
    let path = formatted(directory.path());
    for clean in [true, false] {
        let base = u64::from(clean) * 100;
        run(async || {
            let (store, report) = ChunkStore::open(&open(&path).await, 1).await.expect("open");
            assert_eq!(report.damage, Vec::<String>::new());
            for (number, length) in (base..).zip(LENGTHS) {
                let bytes = content(number, length);
                store
                    .write(shard(number, &bytes).await)
                    .await
                    .expect("write");
                let back = store
                    .read(id(number), 0..length as u32)
                    .await
                    .expect("read");
                assert!(joined(back) == bytes, "shard {number} of {length} bytes");
            }
            store.free(&[id(base + 1), id(9999)]).await.expect("free");
            let gone = store.read(id(base + 1), 0..1).await;
            assert!(matches!(gone, Err(EngineError::NotFound)), "{gone:?}");
            if clean {
                store.close().await;
            }
        });
        run(async || {
            let (store, report) = ChunkStore::open(&open(&path).await, 1).await.expect("open");
            assert_eq!(report.damage, Vec::<String>::new());
            for (number, length) in (base..).zip(LENGTHS) {
                let back = store.read(id(number), 0..length as u32).await;
                match number == base + 1 {
                    true => assert!(matches!(back, Err(EngineError::NotFound)), "{back:?}"),
                    false => assert!(joined(back.expect("read")) == content(number, length)),
                }
            }
            let part = store
                .read(id(base + 5), 70_000..300_001)
                .await
                .expect("read");
            assert!(joined(part) == content(base + 5, 1 << 20)[70_000..300_001]);
            assert_eq!(store.scan(None, 3).len(), 3);
            store.close().await;
        });
    }
}

#[test]
fn concurrent_writes_share_barriers() {
    let directory = directory();
    let path = formatted(directory.path());
    run(async || {
        let (store, _) = ChunkStore::open(&open(&path).await, 2).await.expect("open");
        let bytes = content(5, 4096);
        let mut writes = Vec::new();
        for number in 0..64 {
            let shard = shard(number, &bytes).await;
            let store = store.clone();
            writes.push(async move { store.write(shard).await });
        }
        for outcome in futures_util::future::join_all(writes).await {
            outcome.expect("write");
        }
        let batches = store
            .statistics()
            .log
            .batches
            .load(std::sync::atomic::Ordering::Relaxed);
        assert!(batches < 16, "{batches} batches for 64 writes at once");
        store.close().await;
    });
}

#[test]
fn journal_records_come_back_in_order_and_trimmed_ones_do_not() {
    let directory = directory();
    let path = formatted(directory.path());
    let mut positions = Vec::new();
    run(async || {
        let journal = Journal::open(&open(&path).await, 0).await.expect("open");
        for number in 0..500_u64 {
            let body = content(number, (number * 97 % 30_000) as usize);
            positions.push(journal.append(number as u8, &body).expect("append"));
            if number % 50 == 0 {
                journal
                    .flush(positions[number as usize])
                    .await
                    .expect("flush");
                let (kind, back) = journal
                    .read(positions[number as usize])
                    .await
                    .expect("read");
                assert_eq!((kind, back == body), (number as u8, true));
            }
        }
        journal
            .flush(*positions.last().expect("some"))
            .await
            .expect("flush");
        journal.trim(positions[400]).await.expect("trim");
    });
    for _ in 0..20 {
        run(async || {
            let journal = Journal::open(&open(&path).await, 0).await.expect("open");
            let mut found = Vec::new();
            let mut visit = |at: JournalPosition, kind: u8, body: &[u8]| {
                found.push((at, kind, body.to_vec()));
                Ok(())
            };
            journal.replay(None, &mut visit).await.expect("replay");
            let skipped = positions.len() - found.len();
            assert!(skipped <= 400);
            for (number, (at, kind, body)) in (skipped..).zip(&found) {
                assert_eq!((*at, *kind), (positions[number], number as u8));
                assert!(*body == content(number as u64, number * 97 % 30_000));
            }
            positions.push(
                journal
                    .append(
                        positions.len() as u8,
                        &content(positions.len() as u64, positions.len() * 97 % 30_000),
                    )
                    .expect("append"),
            );
            journal
                .flush(*positions.last().expect("some"))
                .await
                .expect("flush");
        });
    }
}

#[test]
fn an_erased_journal_is_empty_and_takes_records() {
    let directory = directory();
    let path = formatted(directory.path());
    run(async || {
        let device = open(&path).await;
        let journal = Journal::open(&device, 0).await.expect("open");
        let at = journal.append(1, b"before").expect("append");
        journal.flush(at).await.expect("flush");
        journal.close().await;
        Journal::erase(&device, 0).await.expect("erase");
        let journal = Journal::open(&device, 0).await.expect("open");
        let mut none = |_: JournalPosition, _: u8, _: &[u8]| Err(EngineError::NotFound);
        journal
            .replay(None, &mut none)
            .await
            .expect("nothing to visit");
        let at = journal.append(2, b"after").expect("append");
        journal.flush(at).await.expect("flush");
        assert_eq!(
            journal.read(at).await.expect("read"),
            (2, b"after".to_vec())
        );
    });
}

#[test]
fn a_second_lock_names_the_file_and_a_strange_file_is_refused() {
    let directory = directory();
    let path = formatted(directory.path());
    let first = DeviceLock::take(&path).expect("free");
    let second = DeviceLock::take(&path);
    assert!(matches!(second, Err(EngineError::Locked { path: named }) if named == path));
    drop(first);
    DeviceLock::take(&path).expect("free again");
    let strange = directory.path().join("strange");
    std::fs::write(&strange, vec![7; 1 << 20]).expect("write");
    run(async || {
        let refused = read_superblock(&strange).await;
        assert!(
            matches!(refused, Err(EngineError::Unformatted)),
            "{refused:?}"
        );
        let superblock = read_superblock(&path).await.expect("superblock");
        let kinds: Vec<_> = superblock
            .partitions
            .iter()
            .map(|entry| entry.kind)
            .collect();
        assert_eq!(
            kinds,
            [PartitionKind::Log, PartitionKind::Data, PartitionKind::Data]
        );
    });
}
