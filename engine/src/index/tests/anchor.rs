//! Anchors that name slots in which records lie, and checkpoints that cannot be written: no page comes to lie over a record.

use std::collections::BTreeSet;

use super::*;
use crate::format::anchor::Anchor;
use crate::format::layout::{SEGMENTS_OFFSET, anchor_offset};
use crate::format::segment::{Content, SegmentHeader};

const LENGTH: usize = 50_000;

async fn write_some(store: &ChunkStore, numbers: impl Iterator<Item = u64>) {
    for number in numbers {
        write_real(store, number, LENGTH).await.expect("room");
    }
}

async fn expect_whole(store: &ChunkStore, numbers: impl Iterator<Item = u64>) {
    for number in numbers {
        let read = store.read(id(number), 0..LENGTH as u32).await;
        let views = read.unwrap_or_else(|error| panic!("{number}: {error}"));
        let is_own = |byte: &u8| *byte == number as u8;
        assert!(views.iter().all(|view| view.iter().all(is_own)));
    }
}

/// The anchor that counts, and where it lies.
fn newest_anchor(simulation: &Simulation) -> (u64, Anchor) {
    let device = simulation.content(Path::new(PATH)).expect("a file");
    let anchors = (0..2).filter_map(|slot| {
        let offset = anchor_offset(1, slot);
        Some((offset, Anchor::decode(&device[offset as usize..]).ok()?))
    });
    let newest = anchors.max_by_key(|(_, anchor)| anchor.generation);
    newest.expect("an anchor")
}

/// Takes free segments until so many are left; returns their slots.
async fn take_segments(store: &ChunkStore, left: usize) -> Vec<u32> {
    let mut taken = Vec::new();
    while store.inner.log.free_segments() > left {
        let slot = store.inner.log.begin_index_segment().await;
        taken.push(slot.expect("a free segment"));
    }
    taken
}

#[test]
fn no_page_is_written_where_records_lie_though_the_anchor_names_the_slot() {
    let simulation = formatted(7);
    let records = run(&simulation, async || {
        let (store, _) = open().await;
        write_some(&store, 0..20).await;
        store.checkpoint().await.expect("checkpoint");
        store.inner.log.record_slots()
    });
    assert!(records.len() > 2, "{records:?}");
    let (offset, mut anchor) = newest_anchor(&simulation);
    let first = anchor.index_segments.iter().min();
    assert!(
        records.first() < first,
        "the first segment of all gets pages first"
    );
    anchor.index_segments.extend(&records);
    simulation
        .overwrite(Path::new(PATH), offset, &anchor.encode())
        .expect("a file");
    run(&simulation, async || {
        let (store, report) = open().await;
        assert_eq!(report.damage, Vec::<String>::new());
        for more in [20..25, 25..30] {
            write_some(&store, more).await;
            store.checkpoint().await.expect("checkpoint");
        }
        expect_whole(&store, 0..30).await;
    });
    let (_, anchor) = newest_anchor(&simulation);
    let named: BTreeSet<u32> = anchor.index_segments.into_iter().collect();
    assert!(named.is_disjoint(&records), "{named:?} and {records:?}");
    run(&simulation, async || {
        let (store, report) = open().await;
        assert_eq!(report.damage, Vec::<String>::new());
        expect_whole(&store, 0..30).await;
    });
}

#[test]
fn pages_in_a_segment_that_says_it_has_records_are_lost_and_built_again() {
    let simulation = formatted(11);
    run(&simulation, async || {
        let (store, _) = open().await;
        // Before the last record segment is begun, so that no replay looks for records in it.
        write_some(&store, 0..2).await;
        store.checkpoint().await.expect("checkpoint");
        write_some(&store, 2..20).await;
        store.checkpoint().await.expect("checkpoint");
    });
    let (_, anchor) = newest_anchor(&simulation);
    let [slot] = anchor.index_segments[..] else {
        panic!("one segment has all pages: {anchor:?}");
    };
    let path = Path::new(PATH);
    let device = simulation.content(path).expect("a file");
    let offset = SEGMENTS_OFFSET + u64::from(LOG_SEGMENTS + slot) * SEGMENT_BYTES;
    let header = SegmentHeader::decode(&device[offset as usize..]).expect("a header");
    let strange = SegmentHeader {
        content: Content::Records,
        ..header
    };
    simulation
        .overwrite(path, offset, &strange.encode())
        .expect("a file");
    run(&simulation, async || {
        let (store, report) = open().await;
        assert!(report.index_rebuilt && !report.damage.is_empty());
        expect_whole(&store, 0..20).await;
        write_some(&store, 20..25).await;
        store.checkpoint().await.expect("checkpoint");
        check_places(&store);
        expect_whole(&store, 0..25).await;
    });
    run(&simulation, async || {
        let (store, report) = open().await;
        assert!(!report.index_rebuilt, "{report:?}");
        expect_whole(&store, 0..25).await;
    });
}

#[test]
fn a_checkpoint_that_fails_gives_up_only_segments_that_it_has_added() {
    let simulation = formatted(8);
    run(&simulation, async || {
        let (store, _) = open().await;
        write_some(&store, 0..1).await;
        store.checkpoint().await.expect("checkpoint");
        let log = &store.inner.log;
        // A start leaves such a one, when its pages are lost.
        let named = log.begin_index_segment().await.expect("room");
        let added = log.begin_index_segment().await.expect("room");
        let place = PagePlace {
            slot: added,
            page: 0,
        };
        {
            let places = &mut store.inner.index.borrow_mut().places;
            places.add_segment(named);
            places.add_segment(added);
            assert!(places.take(place));
        }
        let segments = || -> Vec<u32> {
            let index = store.inner.index.borrow();
            index.places.segments().collect()
        };
        let free = log.free_segments();
        store.give_up_pages(vec![place], &[added]);
        assert!(segments().contains(&named) && !segments().contains(&added));
        assert_eq!(log.free_segments(), free + 1);
        store.checkpoint().await.expect("checkpoint");
        assert!(!segments().contains(&named), "no anchor names it any more");
        assert_eq!(log.free_segments(), free + 2);
        check_places(&store);
    });
}

#[test]
fn compaction_moves_nothing_for_which_the_index_has_no_room() {
    let simulation = formatted(9);
    run(&simulation, async || {
        let (store, _) = open().await;
        write_some(&store, 0..12).await;
        store.free(&[id(0), id(1)]).await.expect("freed");
        store.checkpoint().await.expect("checkpoint");
        let all_room = OPTIONS.changes_max + OPTIONS.changes_max / 8 + 1;
        let others = Pinned::reserve(&store.inner.index, all_room);
        take_segments(&store, 8).await;
        let before = store.entry_of(id(2)).await.expect("a good leaf");
        for _ in 0..3 {
            store.compact().await.expect("it stops");
            let index = store.inner.index.borrow();
            assert!(index.change_count() + index.reserved <= all_room);
        }
        let after = store.entry_of(id(2)).await.expect("a good leaf");
        assert_eq!(after, before, "it was not moved");
        drop(others);
        store.compact().await.expect("it goes on");
        let after = store.entry_of(id(2)).await.expect("a good leaf");
        assert_ne!(after, before, "it was moved");
        expect_whole(&store, 2..12).await;
    });
}

#[test]
fn any_checkpoint_says_whether_the_last_one_could_be_written() {
    let simulation = formatted(10);
    run(&simulation, async || {
        let (store, _) = open().await;
        write_some(&store, 0..1).await;
        store.checkpoint().await.expect("checkpoint");
        write_some(&store, 1..2).await;
        let taken = take_segments(&store, 0).await;
        let allocate = || store.inner.index.borrow_mut().places.allocate();
        let used: Vec<PagePlace> = std::iter::from_fn(allocate).collect();
        let refused = store.checkpoint().await;
        assert!(
            matches!(refused, Err(EngineError::Full { .. })),
            "{refused:?}"
        );
        assert!(store.inner.checkpoint_failed.get());
        {
            let places = &mut store.inner.index.borrow_mut().places;
            used.iter().for_each(|place| places.free(*place));
        }
        store.inner.log.release(|_, slot, _| taken.contains(&slot));
        store.checkpoint().await.expect("checkpoint");
        assert!(!store.inner.checkpoint_failed.get());
        write_some(&store, 2..3).await;
        expect_whole(&store, 0..3).await;
    });
}
