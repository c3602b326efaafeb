//! Writes that are under way when their epoch ends or their writer is closed, in the simulated world.

use std::sync::atomic::Ordering;

use strata_engine::EngineError;
use strata_engine::reactor::{self, TaskClass};

use crate::support::{
    device, expect_whole, fill, formatted, free, open_store, read, run, shard, write,
};

fn is_stale(outcome: Result<(), EngineError>) -> bool {
    matches!(outcome, Err(EngineError::Stale(_)))
}

/// What is decided when a write is under way counts from the moment at which the write is appended: one that still waits for room
/// is refused, one whose barrier is under way ends as it began.
#[test]
fn a_fence_that_is_raised_meets_the_writes_that_wait_for_room() {
    const LENGTH: usize = 80_000;
    for close in [false, true] {
        let simulation = formatted(60);
        run(&simulation, async || {
            let (store, _) = open_store(&device(16).await).await;
            let count = fill(&store, 0, LENGTH).await;
            free(&store, (0..count).filter(|number| number % 3 != 0)).await;
            let shards = [shard(900, LENGTH).await, shard(901, LENGTH).await];
            let writing = shards.map(|shard| {
                let store = store.clone();
                let write = async move { store.write(shard).await };
                reactor::spawn(TaskClass::Foreground, write)
            });
            // Compaction reads what it moves; the writes have had their turns meanwhile.
            let begun = simulation.counters().reads;
            while simulation.counters().reads < begun + 2 {
                reactor::yield_now().await;
            }
            let before = store.statistics().writes.load(Ordering::Relaxed);
            assert_eq!(before, count, "room is being made for both");
            match close {
                true => store.close_writer(1),
                false => store.raise_group_epoch(1, 2),
            }
            for write in writing {
                assert!(is_stale(write.await));
            }
            for number in [900, 901] {
                let nothing = read(&store, number, 0..1).await;
                assert!(matches!(nothing, Err(EngineError::NotFound)), "{nothing:?}");
            }
        });
    }
}

#[test]
fn a_fence_that_is_raised_lets_what_is_appended_end() {
    for close in [false, true] {
        let simulation = formatted(61);
        run(&simulation, async || {
            let (store, _) = open_store(&device(16).await).await;
            write(&store, 1, 1000).await.expect("write");
            let (shard, later) = (shard(2, 1000).await, shard(3, 1000).await);
            let writing = store.clone();
            let writing =
                reactor::spawn(
                    TaskClass::Foreground,
                    async move { writing.write(shard).await },
                );
            let before = simulation.counters().writes;
            while simulation.counters().writes == before {
                reactor::yield_now().await;
            }
            match close {
                true => store.close_writer(1),
                false => store.raise_group_epoch(1, 2),
            }
            assert!(is_stale(store.write(later).await));
            writing.await.expect("it was appended before");
        });
        run(&simulation, async || {
            let (store, _) = open_store(&device(16).await).await;
            expect_whole(&store, [1, 2], 1000).await;
            assert!(read(&store, 3, 0..1).await.is_err());
        });
    }
}
