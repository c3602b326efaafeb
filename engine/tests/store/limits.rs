//! The chunk store and the journal at their limits, in the simulated world: what runs short is refused or waited for, and
//! nothing hangs.

use std::time::Duration;

use strata_engine::reactor::{self, Buffer, Simulation, TaskClass};
use strata_engine::{ChunkStore, EngineError, Journal, JournalPosition, Payload, ShardWrite};

use crate::support::{
    CELL, SEGMENT, content, device, device_content, expect_whole, fill, formatted, free,
    open_journal, open_store, records, scan, shard, shard_in, slot_offset, try_run, write,
};

const DATA_SEGMENTS: u64 = 24;

/// The smallest arena.
const ARENA: usize = 2 << 20;

/// Length of a shard of which a segment holds many.
const SMALL: usize = 8 << 10;

/// Longer than anything takes that is not stuck.
const LONG: Duration = Duration::from_secs(600);

fn run<T>(simulation: &Simulation, work: impl AsyncFnOnce() -> T) -> T {
    try_run(simulation, ARENA, work).expect("no crash")
}

async fn store() -> ChunkStore {
    let (store, report) = open_store(&device(DATA_SEGMENTS).await).await;
    assert_eq!(report.damage, Vec::<String>::new());
    store
}

async fn journal() -> Journal {
    open_journal(&device(DATA_SEGMENTS).await).await
}

#[test]
fn writes_that_hold_the_whole_arena_come_to_their_end() {
    for seed in 1..4 {
        run(&formatted(seed), async || {
            let store = store().await;
            let mut kept = Vec::new();
            // Each round is half of the partition: it opens segments, and from the second on it needs compaction.
            for round in 0..6 {
                let buffers: Vec<Buffer> =
                    std::iter::from_fn(|| reactor::try_allocate(CELL)).collect();
                let first = round * 100;
                let shards: Vec<ShardWrite> = (first..)
                    .zip(buffers)
                    .map(|(number, buffer)| shard_in(buffer, number, &content(number, CELL)))
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
                free(&store, dead).await;
                kept.extend(live);
            }
            expect_whole(&store, kept, CELL).await;
            store.close().await;
        });
    }
}

/// Lets the file grow by so many bytes more.
fn leave_space(simulation: &Simulation, bytes: u64) {
    let used = device_content(simulation).len() as u64;
    simulation.limit_space(Some(used + bytes));
}

async fn write_small(store: &ChunkStore, number: u64) -> Result<(), EngineError> {
    let writing = write(store, number, SMALL);
    reactor::timeout(LONG, writing).await.expect("no hang")
}

async fn fill_with_small(store: &ChunkStore, first: u64) -> u64 {
    let filling = fill(store, first, SMALL);
    reactor::timeout(LONG, filling).await.expect("no hang")
}

#[test]
fn a_full_file_system_refuses_writes_and_nothing_else() {
    for seed in 1..6 {
        let simulation = formatted(seed);
        let end = run(&simulation, async || {
            let store = store().await;
            let whole = reactor::arena_pressure().free_bytes;
            // Enough for what is kept prepared, and for some segments; then a part of one.
            leave_space(&simulation, 8 * SEGMENT + SEGMENT / 3);
            let refused = fill_with_small(&store, 0).await;
            assert!(refused > 30, "only {refused} were written");
            expect_whole(&store, 0..refused, SMALL).await;
            // One by one: the tombstones alone need more than a segment.
            for number in 0..refused {
                free(&store, [number]).await;
            }
            let again = fill_with_small(&store, 1000).await;
            assert!(again > 1020, "freed space does not come back: {again}");
            simulation.limit_space(None);
            for number in 2000..2040 {
                write_small(&store, number).await.expect("there is space");
            }
            reactor::sleep(Duration::from_secs(10)).await;
            assert_eq!(reactor::arena_pressure().free_bytes, whole);
            store.close().await;
            again
        });
        run(&simulation, async || {
            let store = store().await;
            expect_whole(&store, (1000..end).chain(2000..2040), SMALL).await;
            assert_eq!(scan(&store, 10_000).await.len() as u64, end - 1000 + 40);
        });
    }
}

const BODY: usize = 10_000;

async fn append(journal: &Journal, number: u64) -> Result<JournalPosition, EngineError> {
    let at = journal.append(1, &content(number, BODY))?;
    let flushed = reactor::timeout(LONG, journal.flush(at)).await;
    flushed.expect("no hang")?;
    Ok(at)
}

#[test]
fn a_journal_on_a_full_file_system_refuses_and_goes_on() {
    for seed in 1..6 {
        let simulation = formatted(seed);
        let written = run(&simulation, async || {
            let journal = journal().await;
            let whole = reactor::arena_pressure().free_bytes;
            leave_space(&simulation, 2 * SEGMENT + SEGMENT / 3);
            let mut places = Vec::new();
            let error = loop {
                match append(&journal, places.len() as u64).await {
                    Ok(at) => places.push(at),
                    Err(error) => break error,
                }
                assert!(places.len() < 1000, "the file system never fills");
            };
            assert!(matches!(error, EngineError::Full { .. }), "{error}");
            assert!(journal.room_bytes() < SEGMENT, "{}", journal.room_bytes());
            for (number, at) in places.iter().enumerate() {
                let (_, body) = journal.read(*at).await.expect("reads go on");
                assert!(body == content(number as u64, BODY));
            }
            simulation.limit_space(None);
            // The first one after that finds out.
            let refused = append(&journal, 0).await;
            assert!(matches!(refused, Err(EngineError::Full { .. })));
            reactor::sleep(Duration::from_secs(1)).await;
            assert!(journal.room_bytes() > SEGMENT);
            for _ in 0..30 {
                places.push(append(&journal, places.len() as u64).await.expect("space"));
            }
            reactor::sleep(Duration::from_secs(1)).await;
            assert_eq!(reactor::arena_pressure().free_bytes, whole);
            places.len()
        });
        run(&simulation, async || {
            let found = records(&journal().await).await;
            for (number, (_, _, body)) in (0..).zip(&found) {
                assert!(*body == content(number, BODY));
            }
            assert_eq!(found.len(), written);
        });
    }
}

#[test]
fn appends_that_outrun_the_preparation_wait_for_it_and_for_space() {
    let simulation = formatted(1);
    run(&simulation, async || {
        let journal = journal().await;
        leave_space(&simulation, SEGMENT);
        let append = |number| journal.append(1, &content(number, BODY)).expect("quota");
        let places: Vec<JournalPosition> = (0..4 * SEGMENT / BODY as u64).map(append).collect();
        let last = *places.last().expect("some");
        let flushing = {
            let journal = journal.clone();
            reactor::spawn(
                TaskClass::Foreground,
                async move { journal.flush(last).await },
            )
        };
        reactor::sleep(Duration::from_secs(5)).await;
        assert!(!flushing.is_finished(), "there is no space for all of it");
        simulation.limit_space(None);
        let flushed = reactor::timeout(LONG, flushing).await.expect("it goes on");
        flushed.expect("nothing has failed");
    });
}

#[test]
fn an_index_that_is_full_refuses_new_shards_and_nothing_else() {
    run(&formatted(1), async || {
        let store = store().await;
        store.limit_index(10, 1 << 20);
        let writes = (0..30).map(|number| write_small(&store, number));
        let outcomes = futures_util::future::join_all(writes).await;
        let written: Vec<u64> = (0..)
            .zip(&outcomes)
            .filter_map(|(number, outcome)| outcome.is_ok().then_some(number))
            .collect();
        assert_eq!(written.len(), 10);
        let mut refused = outcomes.iter().filter_map(|outcome| outcome.as_ref().err());
        assert!(refused.all(|error| matches!(error, EngineError::Full { .. })));
        expect_whole(&store, written.iter().copied(), SMALL).await;
        free(&store, [written[0]]).await;
        write_small(&store, 40).await.expect("one has room again");
        let full = write_small(&store, 41).await;
        assert!(matches!(full, Err(EngineError::Full { .. })), "{full:?}");
        store.close().await;
    });
}

#[test]
fn a_shard_that_could_not_be_read_again_is_refused() {
    run(&formatted(1), async || {
        let store = store().await;
        let longer_than_a_segment = shard(2, SEGMENT as usize).await;
        let refused = reactor::timeout(LONG, store.write(longer_than_a_segment)).await;
        let refused = refused.expect("no hang");
        assert!(
            matches!(refused, Err(EngineError::Invalid(_))),
            "{refused:?}"
        );
        let longest = SEGMENT as usize - 2 * 4096;
        write(&store, 3, longest).await.expect("it fits");
        expect_whole(&store, [3], longest).await;
        store.close().await;
    });
}

#[test]
fn bytes_that_do_not_match_their_crcs_become_no_payload() {
    run(&formatted(1), async || {
        let bytes = content(1, 2 * CELL + 5);
        let mut buffer = reactor::allocate(bytes.len()).await;
        buffer.extend_from_slice(&bytes);
        let view = buffer.freeze();
        let views = vec![view.slice(..CELL), view.slice(CELL..)];
        let good: Vec<u32> = bytes.chunks(CELL).map(crc32c::crc32c).collect();
        let payload = Payload::verified(views.clone(), good.clone()).expect("they match");
        assert_eq!(
            (payload.len(), payload.cell_crcs()),
            (bytes.len(), &good[..])
        );
        let mut damaged = good.clone();
        damaged[2] ^= 1;
        let of_smaller_cells: Vec<u32> = bytes.chunks(CELL / 2).map(crc32c::crc32c).collect();
        for crcs in [damaged, good[..2].to_vec(), of_smaller_cells] {
            let refused = Payload::verified(views.clone(), crcs);
            assert!(
                matches!(refused, Err(EngineError::Invalid(_))),
                "{refused:?}"
            );
        }
    });
}

#[test]
fn a_partition_takes_space_that_was_given_after_the_start() {
    run(&formatted(50), async || {
        let store = store().await;
        let taken = fill(&store, 0, CELL).await;
        let before = store.statistics().log.capacity_bytes();
        store
            .device_health()
            .raise_capacity(slot_offset(2 * DATA_SEGMENTS));
        reactor::sleep(Duration::from_secs(3)).await;
        assert_eq!(store.statistics().log.capacity_bytes(), 2 * before);
        let more = fill(&store, taken, CELL).await - taken;
        assert!(more >= taken, "{more} after {taken}");
        expect_whole(&store, 0..taken + more, CELL).await;
        store.close().await;
        // What was written beyond the first capacity is there whatever the next start allows.
        let store = self::store().await;
        expect_whole(&store, 0..taken + more, CELL).await;
        store.close().await;
    });
}
