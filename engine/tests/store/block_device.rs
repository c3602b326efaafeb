//! A block device in the simulated world: it has its length from the beginning, held something else before, and is told what it
//! need not keep.

use std::path::Path;
use std::time::Duration;

use strata_engine::device::block;
use strata_engine::format::layout::BLOCK_BYTES;
use strata_engine::format::segment::{Content, SegmentHeader};
use strata_engine::reactor::{self, Simulation};
use strata_engine::{ChunkStore, read_superblock};

use crate::support::{
    CELL, PATH, SEGMENT, device, device_content, expect_whole, fill, flip_bit,
    formatted_block_device, free, open_store, read, run, slot_offset, write,
};

const DATA_SEGMENTS: u64 = 24;

async fn store() -> ChunkStore {
    let (store, report) = open_store(&device(DATA_SEGMENTS).await).await;
    assert_eq!(
        (report.damage, report.mended),
        (Vec::<String>::new(), Vec::<String>::new())
    );
    store
}

/// Waits for the maintenance of a minute.
async fn wait_for_maintenance() {
    reactor::sleep(Duration::from_secs(60)).await;
}

/// Segments of which everything behind the first block may have been discarded: pages of zeroes beside others.
fn zero_pages(simulation: &Simulation) -> usize {
    let content = device_content(simulation);
    let segments = &content[slot_offset(0) as usize..];
    let pages = segments.chunks(4096);
    pages
        .filter(|page| page.iter().all(|byte| *byte == 0))
        .count()
}

#[test]
fn freed_segments_are_discarded_and_nothing_else_is() {
    for seed in 1..6 {
        let simulation = formatted_block_device(seed, DATA_SEGMENTS, 4096);
        let last = run(&simulation, async || {
            let store = store().await;
            let last = fill(&store, 0, CELL).await;
            assert!(last > 40, "{last}");
            let dead = (0..last).filter(|number| number % 8 != 0);
            free(&store, dead).await;
            store.checkpoint().await.expect("a checkpoint");
            store.compact().await.expect("compaction");
            wait_for_maintenance().await;
            let discarded = store.device_health().discarded_bytes();
            assert!(discarded > 4 * SEGMENT, "only {discarded} bytes");
            let live = (0..last).filter(|number| number % 8 == 0);
            expect_whole(&store, live, CELL).await;
            store.close().await;
            last
        });
        assert!(zero_pages(&simulation) > 100);
        simulation.power_cut();
        run(&simulation, async || {
            let store = store().await;
            let live = (0..last).filter(|number| number % 8 == 0);
            expect_whole(&store, live, CELL).await;
            // What was discarded is used again.
            let after = fill(&store, last, CELL).await;
            expect_whole(&store, last..after, CELL).await;
            assert!(after - last > 20, "{after}");
            store.close().await;
        });
    }
}

/// All segments are walked then, those too whose discarded bytes read as before.
#[test]
fn what_was_discarded_is_no_damage_where_the_index_pages_are_lost() {
    for seed in 21..25 {
        let simulation = formatted_block_device(seed, DATA_SEGMENTS, 4096);
        let last = run(&simulation, async || {
            let store = store().await;
            let last = fill(&store, 0, CELL).await;
            free(&store, (0..last).filter(|number| number % 8 != 0)).await;
            store.checkpoint().await.expect("a checkpoint");
            store.compact().await.expect("compaction");
            wait_for_maintenance().await;
            assert!(store.device_health().discarded_bytes() > 4 * SEGMENT);
            store.close().await;
            last
        });
        for slot in 0..DATA_SEGMENTS {
            let begin = slot_offset(slot) as usize;
            let header = &device_content(&simulation)[begin..begin + BLOCK_BYTES];
            if SegmentHeader::decode(header).is_ok_and(|found| found.content == Content::Index) {
                let pages =
                    (1..SEGMENT as usize / BLOCK_BYTES).map(|page| begin + page * BLOCK_BYTES);
                pages.for_each(|page| flip_bit(&simulation, page as u64 + 100, 3));
            }
        }
        run(&simulation, async || {
            let (store, report) = open_store(&device(DATA_SEGMENTS).await).await;
            let of_pages = |damage: &String| damage.contains("index page");
            assert!(!report.damage.is_empty(), "the pages are damaged");
            assert!(report.damage.iter().all(of_pages), "{:?}", report.damage);
            let live = (0..last).filter(|number| number % 8 == 0);
            expect_whole(&store, live, CELL).await;
            store.close().await;
        });
    }
}

#[test]
fn nothing_is_written_over_before_its_first_use() {
    let simulation = formatted_block_device(7, DATA_SEGMENTS, 4096);
    run(&simulation, async || {
        let before = simulation.counters().bytes_written;
        let store = store().await;
        write(&store, 1, CELL).await.expect("room");
        let written = simulation.counters().bytes_written - before;
        assert!(written < SEGMENT, "{written} bytes for one of {CELL}");
        store.close().await;
    });
}

#[test]
fn records_share_no_large_sector() {
    const SECTOR: u32 = 16 << 10;
    let simulation = formatted_block_device(8, DATA_SEGMENTS, SECTOR);
    let last = run(&simulation, async || {
        let superblock = read_superblock(Path::new(PATH)).await;
        assert_eq!(superblock.expect("formatted").alignment, SECTOR);
        let store = store().await;
        let last = fill(&store, 0, 3 * CELL / 2).await;
        free(&store, (0..last).step_by(2)).await;
        store.compact().await.expect("compaction");
        store.close().await;
        last
    });
    simulation.power_cut();
    run(&simulation, async || {
        let store = store().await;
        expect_whole(&store, (1..last).step_by(2), 3 * CELL / 2).await;
        assert!(read(&store, 0, 0..1).await.is_err());
        store.close().await;
    });
}

#[test]
fn a_device_follows_its_length_and_is_refused_when_that_shrinks() {
    let path = Path::new(PATH);
    let simulation = formatted_block_device(9, DATA_SEGMENTS, 4096);
    let refused = |simulation: &Simulation| {
        run(simulation, async || {
            let followed = block::follow_length(path).await;
            followed.err().map(|error| error.to_string())
        })
    };
    let resize = |bytes: u64| {
        let resized = simulation.set_block_device(path, bytes, 4096);
        resized.expect("it is there");
    };
    assert_eq!(refused(&simulation), None);
    resize(slot_offset(DATA_SEGMENTS) + SEGMENT);
    assert_eq!(refused(&simulation), None);
    run(&simulation, async || {
        let superblock = read_superblock(path).await.expect("formatted");
        assert_eq!(
            superblock.block_device_bytes,
            slot_offset(DATA_SEGMENTS) + SEGMENT
        );
        assert_eq!(superblock.generation, 2);
    });
    resize(slot_offset(DATA_SEGMENTS));
    let why = refused(&simulation).expect("it has shrunk");
    assert!(why.contains("has shrunk"), "{why}");
}

#[test]
fn a_file_is_not_erased() {
    let simulation = crate::support::formatted(3);
    let before = device_content(&simulation);
    run(&simulation, async || {
        block::erase(Path::new(PATH), true)
            .await
            .expect("nothing to do")
    });
    assert!(device_content(&simulation) == before);
}
