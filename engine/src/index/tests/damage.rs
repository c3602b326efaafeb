//! Damaged pages of an index with many levels, whose records are there: it is built again, whatever page it was.

use std::collections::BTreeSet;
use std::sync::atomic::Ordering;

use super::*;
use crate::format::describe::describe;
use crate::format::layout::SEGMENTS_OFFSET;
use crate::format::page::{PAGE_BYTES, decode_leaf};
use crate::format::segment::{Content, SegmentHeader};
use crate::format::{FormatError, kind, version};

const SHARDS: u64 = 70;
const LENGTH: usize = 300;

fn slot_offset(slot: u64) -> u64 {
    SEGMENTS_OFFSET + (u64::from(LOG_SEGMENTS) + slot) * SEGMENT_BYTES
}

/// Shards in a checkpoint, of which every seventh is freed, and some changes behind it.
fn written(seed: u64) -> Simulation {
    let simulation = formatted(seed);
    run(&simulation, async || {
        let (store, _) = open().await;
        for number in 0..SHARDS {
            write_real(&store, number, LENGTH).await.expect("room");
            if number % 30 == 29 {
                store.checkpoint().await.expect("checkpoint");
            }
        }
        let freed: Vec<ShardId> = (0..SHARDS).step_by(7).map(id).collect();
        store.free(&freed).await.expect("freed");
        store.checkpoint().await.expect("checkpoint");
        write_real(&store, SHARDS, LENGTH).await.expect("room");
        store.free(&[id(1)]).await.expect("freed");
    });
    simulation
}

fn present() -> impl Iterator<Item = u64> {
    (2..=SHARDS).filter(|number| *number == SHARDS || number % 7 != 0)
}

/// Where the pages of the trees lie that the newest anchor names, and what they are.
fn pages_in_use(simulation: &Simulation) -> Vec<(u64, String)> {
    run(simulation, async || {
        let (store, report) = open().await;
        assert_eq!(report.damage, Vec::<String>::new());
        let index = store.inner.index.borrow();
        let mut pages = Vec::new();
        for kind in [TreeKind::Shards, TreeKind::Table] {
            let tree = index.tree(kind);
            let leaves = tree.leaves().map(|leaf| (leaf.row.place, 0));
            let levels = tree.levels().iter().zip(1..);
            let inner = levels.flat_map(|(pages, level)| {
                let places = pages.iter().filter_map(|page| Some(page.written?.0));
                places.map(move |place| (place, level))
            });
            pages.extend(leaves.chain(inner).map(|(place, level)| {
                let what = format!("{kind:?} level {level} at {place:?}");
                (store.page_offset(place), what)
            }));
        }
        pages
    })
}

async fn expect_present(store: &ChunkStore, place: &str) {
    for number in 0..=SHARDS + 5 {
        let found = store.look_up(id(number)).await;
        let found = found.unwrap_or_else(|error| panic!("{place}: {number}: {error}"));
        let expected = present().any(|present| present == number);
        assert_eq!(found.is_some(), expected, "{place}: {number}");
        if found.is_some() {
            let views = store.read(id(number), 0..LENGTH as u32).await;
            let views = views.unwrap_or_else(|error| panic!("{place}: {number}: {error}"));
            let is_own = |byte: &u8| *byte == number as u8;
            assert!(views.iter().all(|view| view.iter().all(is_own)));
        }
    }
    let index = store.inner.index.borrow();
    assert_eq!(index.count, present().count() as u64, "{place}");
    let bytes = record_bytes(&IndexEntry {
        position: 0,
        payload_bytes: LENGTH as u32,
        inode: 0,
    });
    assert_eq!(index.live_total, bytes * index.count, "{place}");
}

#[test]
fn whatever_page_is_damaged_costs_no_shard() {
    let pages = pages_in_use(&written(1));
    let is_high = |(_, what): &&(u64, String)| what.contains("Shards level 3");
    assert!(pages.iter().filter(is_high).count() > 0, "{pages:?}");
    for (at, (offset, what)) in pages.iter().enumerate() {
        for unreadable in [false, true] {
            let simulation = written(1);
            let path = Path::new(PATH);
            if unreadable {
                simulation.fail_reads_at(path, *offset..*offset + PAGE_BYTES as u64);
            } else {
                let byte = [4, 70, 4095, 0][at % 4];
                let flipped = simulation.flip_bit(path, offset + byte, 2);
                flipped.expect("a file");
            }
            run(&simulation, async || {
                let (store, report) = open().await;
                if what.contains("Table") {
                    assert_eq!(report.damage, Vec::<String>::new(), "{what}");
                    assert_eq!(report.mended.len(), 1, "{what}: {report:?}");
                } else if what.contains("level 0") {
                    assert!(report.damage.len() <= 1, "{what}: {report:?}");
                } else {
                    assert_eq!(report.damage.len(), 1, "{what}: {report:?}");
                }
                if !report.index_rebuilt {
                    meet_damage(&store, what).await;
                }
                expect_present(&store, what).await;
                store.checkpoint().await.expect("checkpoint");
                check_places(&store);
            });
            simulation.clear_faults();
            run(&simulation, async || {
                let (store, report) = open().await;
                let nothing = Vec::<String>::new();
                assert_eq!(report.damage, nothing, "{what} was written anew");
                assert_eq!(report.mended, nothing, "{what} was written anew");
                assert!(!report.index_rebuilt);
                expect_present(&store, what).await;
            });
        }
    }
}

/// A damaged leaf is met: what it may hold is an error until the index has been built again, and never not there.
async fn meet_damage(store: &ChunkStore, what: &str) {
    let checkpoints = || store.statistics().checkpoints.load(Ordering::Relaxed);
    let (before, mut refused) = (checkpoints(), 0);
    for number in 0..=SHARDS {
        match store.look_up(id(number)).await {
            Ok(found) => {
                let expected = present().any(|present| present == number);
                assert_eq!(found.is_some(), expected, "{what}: {number}");
            }
            Err(EngineError::Corrupt { .. } | EngineError::Io(_)) => refused += 1,
            Err(error) => panic!("{what}: {error}"),
        }
    }
    assert!(refused > 0, "{what} is read by nobody");
    reactor::sleep(Duration::from_secs(3)).await;
    assert!(checkpoints() > before, "{what} was not built again");
}

#[test]
fn a_leaf_in_the_place_of_another_is_noticed() {
    let simulation = written(2);
    let path = Path::new(PATH);
    let pages = pages_in_use(&simulation);
    let device = simulation.content(path).expect("a file");
    let leaves = pages
        .iter()
        .filter(|(_, what)| what.contains("Shards level 0"));
    let leaves: Vec<u64> = leaves.map(|(offset, _)| *offset).collect();
    // A good page in the place of another, as a misdirected write leaves it.
    let other = &device[leaves[1] as usize..leaves[1] as usize + PAGE_BYTES];
    simulation
        .overwrite(path, leaves[0], other)
        .expect("a file");
    run(&simulation, async || {
        let (store, report) = open().await;
        if !report.index_rebuilt {
            meet_damage(&store, "another page").await;
        }
        expect_present(&store, "another page").await;
    });
}

#[test]
fn a_leaf_of_an_older_version_in_the_place_of_another_is_damage() {
    let simulation = written(5);
    let path = Path::new(PATH);
    let pages = pages_in_use(&simulation);
    let leaves = pages
        .iter()
        .filter(|(_, what)| what.contains("Shards level 0"));
    for (offset, what) in leaves {
        let simulation = written(5);
        let device = simulation.content(path).expect("a file");
        let mut page = device[*offset as usize..*offset as usize + PAGE_BYTES].to_vec();
        page[6..8].copy_from_slice(&(version(kind::LEAF) - 1).to_le_bytes());
        let crc = crc32c::crc32c(&page[4..]);
        page[..4].copy_from_slice(&crc.to_le_bytes());
        assert!(matches!(
            decode_leaf(&page),
            Err(FormatError::OtherFormat { .. })
        ));
        simulation.overwrite(path, *offset, &page).expect("a file");
        run(&simulation, async || {
            let (store, report) = open().await;
            if !report.index_rebuilt {
                meet_damage(&store, what).await;
            }
            expect_present(&store, what).await;
        });
    }
}

#[test]
fn a_table_that_is_damaged_while_the_partition_is_open_is_written_anew() {
    let simulation = written(8);
    let pages = pages_in_use(&simulation);
    let path = Path::new(PATH);
    run(&simulation, async || {
        let (store, report) = open().await;
        assert!(!report.index_rebuilt);
        for (offset, what) in &pages {
            if what.contains("Table level 0") {
                simulation.flip_bit(path, offset + 70, 2).expect("a file");
            }
        }
        // Its leaves are read when they change.
        let free = id(present().next().expect("some"));
        store.free(&[free]).await.expect("freed");
        store
            .checkpoint()
            .await
            .expect("the table is counted again");
        write_real(&store, 2, LENGTH).await.expect("room");
        store.checkpoint().await.expect("checkpoint");
        expect_present(&store, "a damaged table").await;
        store.close().await;
    });
    run(&simulation, async || {
        let (store, report) = open().await;
        assert_eq!(report.mended, Vec::<String>::new());
        expect_present(&store, "opened again").await;
    });
}

#[test]
fn a_write_into_a_damaged_leaf_is_refused_until_it_is_built_again() {
    let simulation = written(4);
    let pages = pages_in_use(&simulation);
    let leaf = pages
        .iter()
        .find(|(_, what)| what.contains("Shards level 0"));
    let offset = leaf.expect("a leaf").0;
    let path = Path::new(PATH);
    run(&simulation, async || {
        let (store, _) = open().await;
        simulation.flip_bit(path, offset + 64, 1).expect("a file");
        // No number of it lies in memory, as it would if replay had looked there.
        store.inner.index.borrow_mut().cache = LeafCache::new(OPTIONS.cache_bytes);
        let first = present().min_by_key(|number| id(*number)).expect("some");
        let refused = write_real(&store, first, LENGTH).await;
        assert!(
            matches!(refused, Err(EngineError::Corrupt { .. })),
            "{refused:?}"
        );
        let refused = store.scan(None, 10).await;
        assert!(
            matches!(refused, Err(EngineError::Corrupt { .. })),
            "{refused:?}"
        );
        reactor::sleep(Duration::from_secs(3)).await;
        write_real(&store, first, LENGTH)
            .await
            .expect("built again");
        expect_present(&store, "after a refusal").await;
    });
}

/// What is unreadable for a while and then readable again must be there, whatever was tried meanwhile. `ranges` are those of the
/// device that fail, given the pages of the trees and where a record lies.
fn disturb(seed: u64, ranges: impl Fn(&[(u64, String)], u64) -> Vec<std::ops::Range<u64>>) {
    let simulation = written(seed);
    let pages = pages_in_use(&simulation);
    let path = Path::new(PATH);
    run(&simulation, async || {
        let (store, _) = open().await;
        let entry = store.entry_of(id(2)).await.expect("readable");
        let position = entry.expect("present").position;
        let record = store.inner.log.device_offset(position).expect("a place");
        store.inner.index.borrow_mut().cache = LeafCache::new(OPTIONS.cache_bytes);
        for range in ranges(&pages, record) {
            simulation.fail_reads_at(path, range);
        }
        let mut failed = 0;
        for number in present() {
            match store.look_up(id(number)).await {
                Ok(found) => assert!(found.is_some(), "{number} is not said to be gone"),
                Err(_) => failed += 1,
            }
        }
        assert!(failed > 0);
        // Maintenance tries to build the index again meanwhile, and so does a checkpoint.
        reactor::sleep(Duration::from_secs(40)).await;
        let free = store.inner.log.free_segments();
        let _ = store.checkpoint().await;
        for number in present() {
            let found = store.look_up(id(number)).await;
            assert!(
                !matches!(found, Ok(None)),
                "{number} is not said to be gone"
            );
        }
        assert!(
            store.inner.log.free_segments() <= free,
            "nothing is given back"
        );
        simulation.clear_faults();
        reactor::sleep(Duration::from_secs(40)).await;
        expect_present(&store, "after a disturbance").await;
        assert!(
            store.inner.index_damage.get().is_none(),
            "it is whole again"
        );
        store.checkpoint().await.expect("checkpoint");
        store.close().await;
    });
    run(&simulation, async || {
        let (store, report) = open().await;
        assert_eq!(report.damage, Vec::<String>::new());
        expect_present(&store, "opened again").await;
    });
}

#[test]
fn a_device_that_reads_nothing_for_a_while_costs_no_shard() {
    let all = SEGMENTS_OFFSET..1 << 40;
    disturb(6, |_, _| Vec::from([all.clone()]));
}

#[test]
fn a_leaf_and_a_record_that_are_unreadable_for_a_while_cost_no_shard() {
    disturb(7, |pages, record| {
        let leaves = pages
            .iter()
            .filter(|(_, what)| what.contains("Shards level 0"));
        let mut ranges: Vec<_> = leaves
            .map(|(offset, _)| *offset..*offset + PAGE_BYTES as u64)
            .collect();
        ranges.push(record..record + BLOCK_BYTES as u64);
        ranges
    });
}

#[test]
fn what_stays_unreadable_counts_as_lost_in_the_end_and_the_others_are_there() {
    let simulation = written(9);
    let pages = pages_in_use(&simulation);
    let path = Path::new(PATH);
    run(&simulation, async || {
        let (store, _) = open().await;
        let entry = store.entry_of(id(2)).await.expect("readable");
        let position = entry.expect("present").position;
        let record = store.inner.log.device_offset(position).expect("a place");
        store.inner.index.borrow_mut().cache = LeafCache::new(OPTIONS.cache_bytes);
        simulation.fail_reads_at(path, record..record + BLOCK_BYTES as u64);
        for (offset, what) in &pages {
            if what.contains("Shards level 0") {
                simulation.fail_reads_at(path, *offset..*offset + PAGE_BYTES as u64);
            }
        }
        let refused = store.look_up(id(2)).await;
        assert!(matches!(refused, Err(EngineError::Io(_))), "{refused:?}");
        reactor::sleep(Duration::from_secs(560)).await;
        let refused = store.look_up(id(2)).await;
        assert!(matches!(refused, Err(EngineError::Io(_))), "{refused:?}");
        reactor::sleep(Duration::from_secs(80)).await;
        assert!(
            store.inner.index_damage.get().is_none(),
            "it is built again"
        );
        for number in present() {
            let found = store.look_up(id(number)).await.expect("an answer");
            assert_eq!(found.is_some(), number != 2, "{number}");
        }
        store.checkpoint().await.expect("checkpoint");
    });
}

#[test]
fn both_kinds_of_pages_are_described() {
    let simulation = written(3);
    let device = simulation.content(Path::new(PATH)).expect("a file");
    let mut kinds = BTreeSet::new();
    for slot in 0..DATA_SEGMENTS {
        let from = slot_offset(slot) as usize;
        let Some(segment) = device.get(from..from + SEGMENT_BYTES as usize) else {
            break;
        };
        let header = SegmentHeader::decode(segment);
        if !header.is_ok_and(|header| header.content == Content::Index) {
            continue;
        }
        for page in segment.chunks(PAGE_BYTES).skip(1) {
            let found = u16::from_le_bytes([page[4], page[5]]);
            if [kind::LEAF, kind::INNER].contains(&found) {
                assert!(describe(page).error.is_none());
                kinds.insert(found);
            }
        }
    }
    assert_eq!(kinds.len(), 2);
}
