//! The chunk store on this machine: what was acknowledged is there after a reopen, damage is reported, space comes back.

use std::sync::atomic::Ordering;

use strata_engine::{ChunkStore, EngineError};

use crate::support::{
    DeviceFile, content, expect_whole, fill, free, open_store, read, run_real, scan, shard, write,
};

const LENGTH: usize = 1 << 20;

#[test]
fn shards_come_back_whole_and_in_ranges_also_after_a_reopen() {
    const LENGTHS: [usize; 9] = [1, 511, 512, 513, 65_535, 65_536, 65_537, 300_000, 1 << 20];
    let file = DeviceFile::formatted(1);
    run_real(async || {
        let (store, _) = open_store(&file.open(100).await).await;
        for (number, length) in (0..).zip(LENGTHS) {
            write(&store, number, length).await.unwrap();
        }
        // No close: as after a kill.
        drop(store);
        let (store, report) = open_store(&file.open(100).await).await;
        assert_eq!(report.records_replayed, LENGTHS.len() as u64);
        assert!(report.damage.is_empty());
        for (number, length) in (0..).zip(LENGTHS) {
            expect_whole(&store, [number], length).await;
        }
        let part = read(&store, 7, 65_000..200_001).await.unwrap();
        assert!(part == content(7, 300_000)[65_000..200_001]);
        store.close().await;
        let (store, report) = open_store(&file.open(100).await).await;
        assert_eq!(
            (report.records_replayed, report.index_entries),
            (0, LENGTHS.len() as u64)
        );
        expect_whole(&store, [8], 1 << 20).await;
        assert!(matches!(
            read(&store, 99, 0..1).await,
            Err(EngineError::NotFound)
        ));
        store.close().await;
    });
}

#[test]
fn deleted_space_comes_back() {
    let file = DeviceFile::formatted(1);
    run_real(async || {
        let (store, _) = open_store(&file.open(80).await).await;
        // 14 segments of 4 MiB; write five times as much, keeping every twentieth shard.
        let kept = || (0..280).step_by(20);
        for number in 0..280 {
            write(&store, number, LENGTH).await.unwrap();
            if number % 20 != 0 {
                free(&store, [number]).await;
            }
        }
        expect_whole(&store, kept(), LENGTH).await;
        drop(store);
        let (store, report) = open_store(&file.open(80).await).await;
        assert!(report.damage.is_empty(), "{report:?}");
        assert_eq!(scan(&store, 1000).await.len(), kept().count());
        expect_whole(&store, kept(), LENGTH).await;
        store.close().await;
    });
}

#[test]
fn a_full_device_refuses_writes_and_takes_them_again_after_frees() {
    let file = DeviceFile::formatted(1);
    run_real(async || {
        let (store, _) = open_store(&file.open(64).await).await;
        let count = fill(&store, 0, LENGTH).await;
        assert!(count < 64, "{count} MiB on a device of 64");
        expect_whole(&store, [0], LENGTH).await;
        free(&store, 0..count).await;
        for again in 1000..1000 + count - 6 {
            write(&store, again, LENGTH).await.unwrap();
        }
        store.close().await;
    });
}

async fn expect_damaged_behind_the_first_cell(store: &ChunkStore, number: u64) {
    assert!(matches!(
        read(store, number, 0..100_000).await,
        Err(EngineError::Corrupt { .. })
    ));
    assert!(read(store, number, 0..65_536).await.is_ok());
}

#[test]
fn a_flipped_bit_is_reported_and_never_returned() {
    let file = DeviceFile::formatted(1);
    run_real(async || {
        let (store, _) = open_store(&file.open(100).await).await;
        for number in 0..4 {
            write(&store, number, 100_000).await.unwrap();
        }
        file.damage(&content(1, 100_000)[70_000..70_064]);
        expect_damaged_behind_the_first_cell(&store, 1).await;
        drop(store);
        let (store, report) = open_store(&file.open(100).await).await;
        assert_eq!(report.damage.len(), 1, "{report:?}");
        expect_damaged_behind_the_first_cell(&store, 1).await;
        expect_whole(&store, [3], 100_000).await;
        store.close().await;
    });
}

#[test]
fn shards_come_back_after_a_restart_and_freed_ones_do_not() {
    const LENGTHS: [usize; 6] = [1, 4096, 5000, 65536, 65537, 1 << 20];
    let file = DeviceFile::formatted(2);
    for clean in [true, false] {
        let base = u64::from(clean) * 100;
        run_real(async || {
            let (store, report) = open_store(&file.open(100).await).await;
            assert_eq!(report.damage, Vec::<String>::new());
            for (number, length) in (base..).zip(LENGTHS) {
                write(&store, number, length).await.expect("write");
                expect_whole(&store, [number], length).await;
            }
            free(&store, [base + 1, 9999]).await;
            let gone = read(&store, base + 1, 0..1).await;
            assert!(matches!(gone, Err(EngineError::NotFound)), "{gone:?}");
            if clean {
                store.close().await;
            }
        });
        run_real(async || {
            let (store, report) = open_store(&file.open(100).await).await;
            assert_eq!(report.damage, Vec::<String>::new());
            for (number, length) in (base..).zip(LENGTHS) {
                if number == base + 1 {
                    let gone = read(&store, number, 0..length).await;
                    assert!(matches!(gone, Err(EngineError::NotFound)), "{gone:?}");
                } else {
                    expect_whole(&store, [number], length).await;
                }
            }
            let part = read(&store, base + 5, 70_000..300_001).await.expect("read");
            assert!(part == content(base + 5, 1 << 20)[70_000..300_001]);
            assert_eq!(scan(&store, 3).await.len(), 3);
            store.close().await;
        });
    }
}

#[test]
fn concurrent_writes_share_barriers() {
    let file = DeviceFile::formatted(2);
    run_real(async || {
        let device = file.open(100).await;
        let (store, _) = ChunkStore::open(&device, 2).await.expect("open");
        let mut writes = Vec::new();
        for number in 0..64 {
            let shard = shard(number, 4096).await;
            let store = store.clone();
            writes.push(async move { store.write(shard).await });
        }
        for outcome in futures_util::future::join_all(writes).await {
            outcome.expect("write");
        }
        let batches = store.statistics().log.batches.load(Ordering::Relaxed);
        assert!(batches < 16, "{batches} batches for 64 writes at once");
        store.close().await;
    });
}

/// Whoever has not heard of a change is refused by the partition itself.
#[test]
fn writes_of_an_older_epoch_and_of_a_closed_writer_are_refused() {
    let file = DeviceFile::formatted(1);
    run_real(async || {
        let (store, _) = open_store(&file.open(100).await).await;
        let write_as = async |number, layout_epoch, introduces| {
            let mut shard = shard(number, 1000).await;
            (shard.layout_epoch, shard.introduces) = (layout_epoch, introduces);
            store.write(shard).await
        };
        write_as(1, 1, true).await.expect("the first epoch");
        write_as(2, 3, true)
            .await
            .expect("a later one, which the write tells of");
        let stale = write_as(3, 2, true).await;
        assert!(matches!(stale, Err(EngineError::Stale(_))), "{stale:?}");
        store.raise_group_epoch(1, 5);
        store.raise_group_epoch(1, 4);
        let stale = write_as(3, 4, true).await;
        assert!(matches!(stale, Err(EngineError::Stale(_))), "{stale:?}");
        write_as(3, 5, true).await.expect("the epoch in force");
        store.close_writer(1);
        let stale = write_as(4, 5, true).await;
        assert!(matches!(stale, Err(EngineError::Stale(_))), "{stale:?}");
        write_as(3, 5, false).await.expect("a copy written anew");
        assert!(read(&store, 4, 0..1).await.is_err(), "nothing was written");
        expect_whole(&store, [1, 2, 3], 1000).await;
        store.close().await;
    });
}
