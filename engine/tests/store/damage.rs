//! A data partition whose device has changed behind its back, in the simulated world: what is whole stays readable, what is
//! not is reported, and nothing that lives is written over.

use std::path::Path;
use std::sync::atomic::Ordering;
use std::time::Duration;

use strata_engine::format::anchor::Anchor;
use strata_engine::format::layout::anchor_offset;
use strata_engine::format::segment::{Content, SegmentHeader};
use strata_engine::reactor::{self, File, OpenOptions, Simulation};
use strata_engine::{ChunkStore, EngineError, Journal, RecoveryReport};

use crate::support::{
    MIB, PATH, SEGMENT, content, device, device_content, expect_whole, fill, flip_bit, formatted,
    free, open_journal, open_store, place_of, read, run, scan, slot_offset, write,
};

const BLOCK: u64 = 4096;
/// Three of these fill a segment.
const LENGTH: usize = 80_000;

async fn open(data_segments: u64) -> (ChunkStore, RecoveryReport) {
    open_store(&device(data_segments).await).await
}

fn overwrite(simulation: &Simulation, offset: u64, bytes: &[u8]) {
    let path = Path::new(PATH);
    simulation.overwrite(path, offset, bytes).expect("a file");
}

fn fail_reads_of_block(simulation: &Simulation, offset: u64) {
    simulation.fail_reads_at(Path::new(PATH), offset..offset + BLOCK);
}

/// Makes a block unreadable, or changes it.
fn damage_block(simulation: &Simulation, offset: u64, unreadable: bool) {
    if unreadable {
        fail_reads_of_block(simulation, offset);
    } else {
        flip_bit(simulation, offset + 40, 1);
    }
}

/// Segments at most that are kept for deletes and checkpoints where the capacity is smaller than what is in use.
const RESERVE: u64 = 6;

#[test]
fn a_smaller_capacity_hides_nothing_and_stops_growth() {
    let simulation = formatted(1);
    let count = run(&simulation, async || {
        let (store, _) = open(24).await;
        let count = fill(&store, 0, LENGTH).await;
        store.close().await;
        count
    });
    run(&simulation, async || {
        let (store, report) = open(10).await;
        assert_eq!(report.damage, Vec::<String>::new());
        assert_eq!(report.index_entries, count);
        expect_whole(&store, 0..count, LENGTH).await;
        assert!(matches!(
            write(&store, count, LENGTH).await,
            Err(EngineError::Full { .. })
        ));
        // Deletes go on, and the space of the file is used again.
        free(&store, 0..count / 2).await;
        for number in count..count + count / 4 {
            write(&store, number, LENGTH).await.expect("write");
        }
        // No close: as after a kill.
    });
    let now = device_content(&simulation).len();
    // Only what deletes and checkpoints need lies beyond what the file held.
    assert!(
        now as u64 <= slot_offset(24 + RESERVE),
        "the file has grown to {now} bytes"
    );
    run(&simulation, async || {
        let (store, report) = open(32).await;
        assert_eq!(report.damage, Vec::<String>::new());
        expect_whole(&store, count / 2..count + count / 4, LENGTH).await;
        let more = fill(&store, 10_000, LENGTH).await;
        assert!(more > 10_000 + count / 4, "the capacity has grown");
        store.close().await;
    });
}

/// Nine shards in the slots 0 to 2, an open segment in slot 3, and a checkpoint.
fn with_sealed_segments(seed: u64) -> Simulation {
    let simulation = formatted(seed);
    run(&simulation, async || {
        let (store, _) = open(16).await;
        for number in 0..10 {
            write(&store, number, LENGTH).await.expect("write");
        }
        store.close().await;
    });
    simulation
}

fn slot_content(simulation: &Simulation, slot: u64) -> Vec<u8> {
    let file = device_content(simulation);
    let from = slot_offset(slot) as usize;
    file[from..from + SEGMENT as usize].to_vec()
}

#[test]
fn a_damaged_header_gives_no_live_segment_away() {
    let simulation = with_sealed_segments(2);
    flip_bit(&simulation, slot_offset(1) + 30, 3);
    let before = slot_content(&simulation, 1);
    run(&simulation, async || {
        let (store, report) = open(16).await;
        assert_eq!(report.damage.len(), 1, "{report:?}");
        assert!(report.damage[0].contains("header of segment 1"));
        expect_whole(&store, 0..10, LENGTH).await;
        let end = fill(&store, 100, LENGTH).await;
        expect_whole(&store, (0..10).chain(100..end), LENGTH).await;
        store.close().await;
    });
    assert!(slot_content(&simulation, 1) == before, "it is live");
    run(&simulation, async || {
        let (store, _) = open(16).await;
        expect_whole(&store, 0..10, LENGTH).await;
        // Its space comes back like any other.
        free(&store, 3..9).await;
        for number in 200..203 {
            write(&store, number, LENGTH).await.expect("write");
        }
    });
}

#[test]
fn a_segment_that_says_nothing_any_more_is_missed_and_never_written_over() {
    let simulation = with_sealed_segments(3);
    for offset in [30, BLOCK + 30] {
        flip_bit(&simulation, slot_offset(1) + offset, 3);
    }
    let before = slot_content(&simulation, 1);
    for _ in 0..2 {
        run(&simulation, async || {
            let (store, report) = open(16).await;
            assert_eq!(report.damage.len(), 2, "{report:?}");
            expect_whole(&store, (0..3).chain(6..10), LENGTH).await;
            for number in 3..6 {
                let lost = read(&store, number, 0..LENGTH).await;
                assert!(matches!(lost, Err(EngineError::Corrupt { .. })), "{lost:?}");
            }
            let end = fill(&store, 100, LENGTH).await;
            free(&store, 100..end).await;
            store.close().await;
        });
        assert!(slot_content(&simulation, 1) == before, "it may live");
    }
    // Once its shards are given up, nothing is missing: the slot is free at the next start.
    let used = run(&simulation, async || {
        let (store, _) = open(16).await;
        free(&store, 3..6).await;
        let used = store.statistics().log.used_bytes();
        store.close().await;
        used
    });
    run(&simulation, async || {
        let (store, report) = open(16).await;
        assert_eq!(report.damage, Vec::<String>::new());
        assert!(store.statistics().log.used_bytes() < used);
        expect_whole(&store, (0..3).chain(6..10), LENGTH).await;
    });
}

#[test]
fn index_pages_behind_a_damaged_header_are_kept_and_it_is_written_anew() {
    let simulation = with_sealed_segments(4);
    // The checkpoint took the slot behind the open segment.
    let index = index_slot(&simulation);
    flip_bit(&simulation, slot_offset(index) + 70, 0);
    run(&simulation, async || {
        let (store, report) = open(16).await;
        assert_eq!(report.damage.len(), 1, "{report:?}");
        expect_whole(&store, 0..10, LENGTH).await;
        fill(&store, 100, LENGTH).await;
        // No close: as after a kill.
    });
    run(&simulation, async || {
        let (store, report) = open(16).await;
        assert_eq!(report.damage, Vec::<String>::new());
        expect_whole(&store, 0..10, LENGTH).await;
    });
}

#[test]
fn a_damaged_header_of_a_segment_that_holds_nothing_costs_nothing() {
    let simulation = with_sealed_segments(5);
    run(&simulation, async || {
        let (store, _) = open(16).await;
        free(&store, 3..6).await;
        store.close().await;
    });
    for offset in [30, BLOCK + 30] {
        flip_bit(&simulation, slot_offset(1) + offset, 3);
    }
    run(&simulation, async || {
        let (store, report) = open(16).await;
        assert_eq!(report.damage, Vec::<String>::new());
        let end = fill(&store, 100, LENGTH).await;
        expect_whole(&store, (0..3).chain(6..10).chain(100..end), LENGTH).await;
    });
    let header = SegmentHeader::decode(&slot_content(&simulation, 1));
    assert!(header.is_ok(), "the slot is in use again");
}

fn index_slot(simulation: &Simulation) -> u64 {
    let holds_pages = |slot: &u64| {
        SegmentHeader::decode(&slot_content(simulation, *slot))
            .is_ok_and(|header| header.content == Content::Index)
    };
    (0..16).find(holds_pages).expect("an index segment")
}

/// What the pages of the checkpoint are, in their order: three leaves, their root, the table and its root.
const PAGES: [&str; 6] = ["leaf", "leaf", "leaf", "root", "table", "table"];

#[test]
fn a_damaged_index_page_costs_no_shard() {
    const SHORT: usize = 4_000;
    let live = |number: &u64| !number.is_multiple_of(10);
    for (page, unreadable) in (0..PAGES.len()).flat_map(|page| [(page, false), (page, true)]) {
        let simulation = formatted(6);
        run(&simulation, async || {
            let (store, _) = open(16).await;
            for number in 0..250 {
                write(&store, number, SHORT).await.expect("write");
            }
            free(&store, (0..250).filter(|number| !live(number))).await;
            store.checkpoint().await.expect("checkpoint");
            // A tail, so that replay goes on from what was found again.
            for number in 250..255 {
                write(&store, number, SHORT).await.expect("write");
            }
            free(&store, [1]).await;
        });
        let offset = slot_offset(index_slot(&simulation)) + (1 + page as u64) * BLOCK;
        damage_block(&simulation, offset, unreadable);
        let present = || (2..255).filter(|number| *number >= 250 || live(number));
        run(&simulation, async || {
            let (store, report) = open(16).await;
            if PAGES[page] == "table" {
                assert_eq!(report.damage, Vec::<String>::new());
                assert!(report.mended[0].contains(&format!("index page {page}")));
            } else if page != 1 {
                assert_eq!(report.damage.len(), 1, "{report:?}");
                assert!(report.damage[0].contains(&format!("index page {page}")));
            } else {
                // Replay needs nothing of this one: it is met when something is looked up there.
                assert_eq!(report.damage, Vec::<String>::new());
                let lost = read(&store, 151, 0..SHORT).await;
                let is_damage =
                    matches!(lost, Err(EngineError::Corrupt { .. } | EngineError::Io(_)));
                assert!(is_damage, "{lost:?}");
                let corruptions = store.statistics().corruptions.load(Ordering::Relaxed);
                assert!(unreadable || corruptions > 0);
                reactor::sleep(Duration::from_secs(3)).await;
            }
            expect_whole(&store, present(), SHORT).await;
            assert_eq!(scan(&store, 1000).await.len(), present().count());
        });
        simulation.clear_faults();
        run(&simulation, async || {
            let (store, report) = open(16).await;
            assert_eq!(report.damage, Vec::<String>::new(), "it was written anew");
            assert!(!report.index_rebuilt, "it was written anew");
            expect_whole(&store, present(), SHORT).await;
            let end = fill(&store, 1000, SHORT).await;
            expect_whole(&store, present().chain(1000..end), SHORT).await;
        });
    }
}

#[test]
fn what_the_device_cannot_read_keeps_no_partition_from_opening() {
    let simulation = with_sealed_segments(7);
    run(&simulation, async || {
        let (store, _) = open(16).await;
        free(&store, 3..9).await;
        store.checkpoint().await.expect("checkpoint");
        // The tail goes on in slot 1.
        for number in 10..14 {
            write(&store, number, LENGTH).await.expect("write");
        }
    });
    let needle = &content(12, LENGTH)[..BLOCK as usize];
    let payload = place_of(needle, &device_content(&simulation)) as u64;
    // The headers of a sealed segment and one of the tail, the beginning of a free one, and parts of a record in the tail.
    let free = slot_offset(2);
    let mut damage = vec![slot_offset(0), slot_offset(1), free, free + BLOCK];
    for more in [payload, payload - BLOCK] {
        damage.push(more);
        for offset in &damage {
            fail_reads_of_block(&simulation, *offset);
        }
        run(&simulation, async || {
            let (store, report) = open(16).await;
            assert_eq!(report.damage.len(), 4, "{report:?}");
            expect_whole(&store, (0..3).chain([9, 10, 11, 13]), LENGTH).await;
            assert!(read(&store, 12, 0..LENGTH).await.is_err());
        });
        damage.pop();
        simulation.clear_faults();
    }
}

#[test]
fn a_record_that_cannot_be_moved_keeps_its_segment_and_no_other() {
    for (block, unreadable) in [(0, true), (0, false), (1, true), (1, false)] {
        let simulation = formatted(8);
        run(&simulation, async || {
            let (store, _) = open(16).await;
            // Of the three shards of a segment, one stays.
            for number in 0..24 {
                write(&store, number, LENGTH).await.expect("write");
            }
            store.checkpoint().await.expect("checkpoint");
            free(&store, (0..24).filter(|n| n % 3 != 0)).await;
            // The first segment is the oldest, and as empty as the others: the best one.
            let offset = slot_offset(0) + (1 + block) * BLOCK;
            damage_block(&simulation, offset, unreadable);
            let end = fill(&store, 100, LENGTH).await;
            assert!(end >= 120, "only up to {end}");
            let left = (3..24).filter(|n| n % 3 == 0).chain(100..end);
            expect_whole(&store, left, LENGTH).await;
            assert!(read(&store, 0, 0..LENGTH).await.is_err());
            // It is not gone through again and again.
            let before = simulation.counters().reads;
            for _ in 0..10 {
                store.compact().await.expect("compaction");
            }
            assert_eq!(simulation.counters().reads, before);
        });
    }
}

/// Makes a structure on the platter one of the next version, CRC and all.
fn make_newer(simulation: &Simulation, offset: u64, length: usize) {
    let file = device_content(simulation);
    let mut bytes = file[offset as usize..offset as usize + length].to_vec();
    bytes[6] += 1;
    let crc = crc32c::crc32c(&bytes[4..]);
    bytes[..4].copy_from_slice(&crc.to_le_bytes());
    overwrite(simulation, offset, &bytes);
}

/// Both openings refuse what the change has made, and nothing is written.
fn expect_refusal(simulation: &Simulation, partition: u16) {
    // What was on its way at the end of the last run arrives.
    run(simulation, async || {});
    let before = device_content(simulation);
    let refused = run(simulation, async || match partition {
        0 => Journal::open(&device(16).await, 0).await.map(drop),
        _ => ChunkStore::open(&device(16).await, 1).await.map(drop),
    });
    assert!(
        matches!(refused, Err(EngineError::OtherFormat { .. })),
        "{refused:?}"
    );
    assert!(device_content(simulation) == before);
}

#[test]
fn a_record_of_a_newer_version_is_refused_and_not_cut_as_torn() {
    let simulation = formatted(9);
    run(&simulation, async || {
        let (store, _) = open(16).await;
        write(&store, 1, LENGTH).await.expect("write");
    });
    make_newer(&simulation, slot_offset(0) + BLOCK, BLOCK as usize);
    expect_refusal(&simulation, 1);
}

#[test]
fn a_log_entry_of_a_newer_version_is_refused_and_not_cut_as_torn() {
    let simulation = formatted(10);
    let body = content(1, 1000);
    run(&simulation, async || {
        let journal = open_journal(&device(16).await).await;
        let at = journal.append(7, &body).expect("append");
        journal.flush(at).await.expect("flush");
    });
    make_newer(&simulation, MIB + BLOCK, 48 + body.len());
    expect_refusal(&simulation, 0);
}

#[test]
fn an_anchor_of_a_newer_version_is_refused_though_the_other_is_older() {
    for slot in 0..2 {
        for partition in 0..2 {
            let simulation = formatted(11);
            let offset = anchor_offset(partition, slot);
            make_newer(&simulation, offset, BLOCK as usize);
            expect_refusal(&simulation, partition);
        }
    }
}

#[test]
fn deleted_space_comes_back_from_segments_that_are_nearly_full_of_life() {
    // 31 of these fill a segment.
    const SHORT: usize = 4_000;
    for whole in [true, false] {
        let simulation = formatted(12);
        run(&simulation, async || {
            let (mut store, _) = open(28).await;
            let count = fill(&store, 0, SHORT).await;
            let freed = (0..count).step_by(10);
            free(&store, freed.clone()).await;
            if !whole {
                store.close().await;
                store = open(28).await.0;
            }
            // All but what lies in the open segment, and less than a segment's worth.
            let end = fill(&store, 10_000, SHORT).await;
            let again = end - 10_000;
            let freed = freed.count() as u64;
            assert!(again + 2 * 31 > freed, "{again} of {freed}");
            let kept = (0..count).filter(|number| !number.is_multiple_of(10));
            expect_whole(&store, kept.chain(10_000..end), SHORT).await;
            // What is full says so without moving everything again.
            let before = simulation.counters().bytes_written;
            for _ in 0..3 {
                let refused = write(&store, 1, SHORT).await;
                assert!(matches!(refused, Err(EngineError::Full { .. })));
            }
            assert!(simulation.counters().bytes_written - before < SEGMENT);
        });
    }
}

#[test]
fn the_segments_of_a_large_device_are_looked_at_together() {
    const SLOTS: u64 = 2000;
    let simulation = formatted(13);
    run(&simulation, async || {
        let options = OpenOptions {
            read_only: false,
            create: false,
            direct: true,
        };
        let file = File::open(Path::new(PATH), options).await.expect("a file");
        let length = slot_offset(SLOTS);
        file.set_length(length).await.expect("a length");
        let before = reactor::now();
        open(SLOTS).await;
        // One after the other they take more than ten times as long.
        let took = reactor::now() - before;
        assert!(took < Duration::from_millis(40), "{took:?}");
    });
}

#[test]
fn the_records_after_the_checkpoint_are_read_together() {
    const RECORDS: u64 = 120;
    let simulation = formatted(15);
    let reads_of_a_start = async || {
        let before = simulation.counters().reads;
        let (store, report) = open(16).await;
        let reads = simulation.counters().reads - before;
        (store, report, reads)
    };
    run(&simulation, async || {
        let (store, _, empty) = reads_of_a_start().await;
        for number in 0..RECORDS {
            write(&store, number, 4096).await.expect("write");
        }
        drop(store);
        let (store, report, reads) = reads_of_a_start().await;
        assert_eq!(report.records_replayed, RECORDS);
        assert!(reads - empty < 20, "{reads} reads, {empty} without records");
        expect_whole(&store, 0..RECORDS, 4096).await;
    });
}

/// The anchor that counts, and in which slot it lies.
fn newest_anchor(simulation: &Simulation, partition: u16) -> (usize, Anchor) {
    let file = device_content(simulation);
    let anchors = (0..2).filter_map(|slot| {
        let offset = anchor_offset(partition, slot) as usize;
        Some((slot, Anchor::decode(&file[offset..]).ok()?))
    });
    let newest = anchors.max_by_key(|(_, anchor)| anchor.generation);
    newest.expect("an anchor")
}

#[test]
fn a_damaged_anchor_is_said_counted_and_written_anew() {
    for (slot, unreadable) in [(0, false), (1, false), (0, true), (1, true)] {
        let simulation = with_sealed_segments(16);
        let offset = anchor_offset(1, slot);
        damage_block(&simulation, offset, unreadable);
        run(&simulation, async || {
            let (store, report) = open(16).await;
            assert_eq!(report.damage, Vec::<String>::new());
            assert_eq!(report.mended.len(), 1, "{report:?}");
            let place = format!("{PATH} anchor of partition 1 at {offset}: ");
            assert!(report.mended[0].contains(&place), "{report:?}");
            assert_eq!(store.statistics().corruptions.load(Ordering::Relaxed), 1);
            expect_whole(&store, 0..10, LENGTH).await;
        });
        simulation.clear_faults();
        run(&simulation, async || {
            let (_, report) = open(16).await;
            assert_eq!(report.mended, Vec::<String>::new(), "it was written anew");
        });
    }
}

#[test]
fn a_damaged_anchor_lets_no_run_begin_again() {
    for partition in 0..2 {
        let simulation = formatted(19);
        let opened = async || {
            let device = device(16).await;
            match partition {
                0 => drop(open_journal(&device).await),
                _ => drop(open_store(&device).await),
            }
        };
        for _ in 0..2 {
            run(&simulation, opened);
        }
        let (slot, last) = newest_anchor(&simulation, partition);
        flip_bit(&simulation, anchor_offset(partition, slot) + 40, 1);
        run(&simulation, opened);
        let (_, now) = newest_anchor(&simulation, partition);
        assert!(now.run > last.run, "{now:?} after {last:?}");
    }
}

#[test]
fn a_damaged_anchor_of_a_log_or_an_empty_partition_is_written_anew() {
    for partition in 0..2 {
        for slot in 0..2 {
            let simulation = formatted(17);
            flip_bit(&simulation, anchor_offset(partition, slot) + 40, 1);
            let opened = async || {
                let device = device(16).await;
                match partition {
                    0 => {
                        let mended = open_journal(&device).await.mended().len();
                        assert_eq!(device.health().corruptions(), mended as u64);
                        mended
                    }
                    _ => open_store(&device).await.1.mended.len(),
                }
            };
            assert_eq!(run(&simulation, opened), 1);
            assert_eq!(run(&simulation, opened), 0, "slot {slot} of {partition}");
        }
    }
}

#[test]
fn a_damaged_header_in_front_of_dead_records_is_said_and_costs_nothing() {
    let simulation = with_sealed_segments(18);
    run(&simulation, async || {
        let (store, _) = open(16).await;
        free(&store, 3..6).await;
        // No close, which would give the segment back.
        store.checkpoint().await.expect("checkpoint");
    });
    flip_bit(&simulation, slot_offset(1) + 30, 3);
    run(&simulation, async || {
        let (store, report) = open(16).await;
        assert_eq!(report.damage, Vec::<String>::new());
        let header = format!("header of segment 1 at {}", slot_offset(1));
        assert!(report.mended[0].contains(&header), "{report:?}");
        expect_whole(&store, (0..3).chain(6..10), LENGTH).await;
    });
}

#[test]
fn an_anchor_of_another_partition_is_none() {
    let simulation = with_sealed_segments(14);
    let offset = |slot| anchor_offset(1, slot);
    let anchors: Vec<Anchor> = (0..2)
        .map(|slot| {
            let file = device_content(&simulation);
            Anchor::decode(&file[offset(slot) as usize..]).expect("an anchor")
        })
        .collect();
    let older = usize::from(anchors[0].generation > anchors[1].generation);
    // It would count, were it this partition's.
    let strange = Anchor {
        partition: 0,
        generation: 1000,
        ..anchors[older].clone()
    };
    overwrite(&simulation, offset(older), &strange.encode());
    run(&simulation, async || {
        let (store, report) = open(16).await;
        assert_eq!(report.damage, Vec::<String>::new());
        expect_whole(&store, 0..10, LENGTH).await;
    });
}
