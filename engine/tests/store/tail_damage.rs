//! Damage at the end of what was acknowledged, in the simulated world: it is reported, also where a torn write would look much
//! the same, and what lies behind it is kept.

use std::sync::atomic::Ordering;
use std::time::Duration;

use strata_engine::reactor::{self, Simulation, TaskClass};
use strata_engine::{EngineError, Journal};

use crate::support::{
    MIB, SEGMENT, content, device, device_content, expect_whole, flip_bit, formatted, open_journal,
    open_store, place_of, read, records, run, shard, write,
};

const DATA_SEGMENTS: u64 = 24;

/// Flips a bit of these bytes, which lie on the device once.
fn damage(simulation: &Simulation, needle: &[u8]) {
    let at = place_of(needle, &device_content(simulation)) as u64;
    flip_bit(simulation, at + 5, 3);
}

async fn journal() -> Journal {
    open_journal(&device(DATA_SEGMENTS).await).await
}

fn body(number: u64) -> Vec<u8> {
    content(number, 120)
}

/// Appends the bodies at once, so that they are one batch, and flushes them.
async fn append(journal: &Journal, numbers: impl IntoIterator<Item = u64>) {
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
        let opened = Journal::open(&device(DATA_SEGMENTS).await, 0).await.err();
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
        let journal = journal().await;
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
        let journal = journal().await;
        append(&journal, [1]).await;
        append(&journal, [2, 3]).await;
    });
    run(&simulation, async || {
        journal().await;
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
        let journal = journal().await;
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
    let long = content(3, 156_000);
    run(&simulation, async || {
        let journal = journal().await;
        append(&journal, [1]).await;
        journal.append(1, &body(2)).expect("room");
        let_it_begin().await;
        // Longer than the block in which entries are gathered would be with what comes next.
        journal.append(1, &long).expect("room");
        append(&journal, [4]).await;
    });
    run(&simulation, async || {
        let journal = journal().await;
        let found = records(&journal).await;
        let found: Vec<_> = found.into_iter().map(|(_, _, body)| body).collect();
        assert!(found == [body(1), body(2), long, body(4)]);
    });
}

#[test]
fn a_shard_that_was_queued_behind_another_vouches_for_it() {
    const LENGTH: usize = 12_000;
    let simulation = formatted(5);
    run(&simulation, async || {
        let (store, _) = open_store(&device(DATA_SEGMENTS).await).await;
        write(&store, 1, LENGTH).await.expect("write");
        reactor::sleep(Duration::from_secs(1)).await;
        let batches = || store.statistics().log.batches.load(Ordering::Relaxed);
        let before = batches();
        let (first, second) = (shard(2, LENGTH).await, shard(3, LENGTH).await);
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
        let (store, report) = open_store(&device(DATA_SEGMENTS).await).await;
        assert_eq!(report.damage.len(), 1, "{report:?}");
        let damaged = read(&store, 2, 0..LENGTH).await;
        assert!(matches!(damaged, Err(EngineError::Corrupt { .. })));
        expect_whole(&store, [3], LENGTH).await;
    });
}

#[test]
fn a_damaged_header_of_the_last_segment_makes_no_shorter_log() {
    let simulation = formatted(20);
    let slot = run(&simulation, async || {
        let journal = journal().await;
        let segment = journal.segment_bytes();
        let mut last = 0;
        for number in 0.. {
            let body = content(number, 60_000);
            let at = journal.append(1, &body).expect("room");
            journal.flush(at).await.expect("flush");
            last = at.0;
            // Two batches lie in the second segment: the later one knew the earlier one, header and all, to be durable.
            if last / segment == 2 && last % segment > 60_000 {
                break;
            }
        }
        last / segment - 1
    });
    flip_bit(&simulation, MIB + slot * SEGMENT + 40, 3);
    refuse_to_open(&simulation);
}
