//! Chunks of k data and m parity shards: stored, read whole and in parts, with shards that are damaged, missing or away.

use std::collections::BTreeSet;
use std::time::Duration;

use bytes::Bytes;
use strata_engine::reactor::{self, Simulation};

use super::world::{Node, Shape, content, path_of, run};
use crate::cluster::placement::COPIED_CHUNK_BYTES_MAX;
use crate::error::ClusterError;
use crate::scheme::DegradedWrites;

const CELL: usize = 64 << 10;
const MIB: usize = 1 << 20;

/// Damages the cell of a body that begins with these bytes, on whichever device it lies; says on which.
fn damage(simulation: &Simulation, body: &Bytes, offset: usize) -> u8 {
    let bytes = &body[offset..][..64];
    for device in 0.. {
        let file = simulation
            .content(&path_of(device))
            .expect("it lies nowhere");
        if let Some(at) = file.windows(64).position(|window| window == bytes) {
            simulation
                .flip_bit(&path_of(device), at as u64 + 17, 3)
                .expect("flipped");
            return device;
        }
    }
    unreachable!("no device is the last");
}

async fn read(node: &Node, key: &str, from: usize, to: usize) -> Result<Vec<u8>, ClusterError> {
    let mut reader = node.reader_of(key, from as u64..to as u64);
    let mut bytes = Vec::new();
    while let Some(piece) = reader.next().await {
        bytes.extend_from_slice(&piece?);
    }
    Ok(bytes)
}

/// Lengths around the boundaries of cells, stripes and chunks.
fn lengths(k: usize) -> BTreeSet<usize> {
    let marks = [
        200_000,
        k * CELL,
        2 * k * CELL,
        MIB,
        MIB + k * CELL,
        2 * MIB + 300_000,
    ];
    let around = marks
        .into_iter()
        .flat_map(|mark| [mark - 1, mark, mark + 1]);
    around.collect()
}

#[test]
fn bodies_of_any_length_are_read_whole_and_in_parts() {
    for (k, m) in [(2, 1), (4, 2), (6, 3), (8, 4), (16, 8)] {
        run(&Simulation::new(50), 32, async || {
            let node = Node::start(&Shape::coded(k, m)).await;
            for length in lengths(k) {
                let body = content(length as u64, length);
                node.put("k", &body).await.expect("stored");
                for (from, to) in [
                    (0, length),
                    (length - 1, length),
                    (length / 3, length / 3 + 1),
                    (length / 3, length / 2),
                    (CELL - 1, CELL + 1),
                    (length / 2, length),
                ] {
                    let found = read(&node, "k", from, to).await.expect("read");
                    assert!(found == body[from..to], "{k}+{m}: {from}..{to} of {length}");
                }
            }
        });
    }
}

#[test]
fn a_chunk_takes_the_room_of_its_scheme() {
    run(&Simulation::new(51), 16, async || {
        let node = Node::start(&Shape::coded(4, 2)).await;
        node.put("k", &content(1, MIB)).await.expect("stored");
        let extent = node.extents("k").remove(0);
        assert_eq!((extent.slot_mask, extent.geometry), (0b11_1111, 0x0402));
        for place in 0..6 {
            assert_eq!(node.shards(place), 1);
            let header = 4096;
            assert_eq!(node.live_bytes(place), (MIB / 4 + header) as u64, "{place}");
        }
    });
}

#[test]
fn short_chunks_are_kept_in_copies_on_the_nearest_places() {
    run(&Simulation::new(52), 16, async || {
        let owners = [1, 0, 1, 0, 0, 1].map(Some).to_vec();
        let node = Node::start(&Shape {
            owners,
            ..Shape::coded(4, 2)
        })
        .await;
        for length in [20_000, COPIED_CHUNK_BYTES_MAX as usize] {
            let body = content(1, length);
            node.put("k", &body).await.expect("stored");
            let extent = node.extents("k").remove(0);
            assert_eq!(
                (extent.slot_mask, extent.geometry),
                (0b1_1010, 3),
                "{length}"
            );
            assert!(node.get("k").await.expect("read") == body);
        }
        let body = content(1, COPIED_CHUNK_BYTES_MAX as usize + 1);
        node.put("k", &body).await.expect("stored");
        assert_eq!(node.extents("k").remove(0).slot_mask, 0b11_1111);
    });
}

#[test]
fn any_two_of_six_devices_may_be_lost() {
    for first in 0..6 {
        for second in first + 1..6 {
            run(&Simulation::new(53), 16, async || {
                let node = Node::start(&Shape::coded(4, 2)).await;
                let body = content(3, MIB + 400_001);
                node.put("k", &body).await.expect("stored");
                node.lose_reactor(first).await;
                node.lose_reactor(second).await;
                let found = node.get("k").await.expect("from the others");
                assert!(found == body, "{first} and {second}");
                for from in [0, 100_000, 300_001, MIB + 200_000] {
                    let found = read(&node, "k", from, from + 70_000).await.expect("a part");
                    assert!(
                        found == body[from..from + 70_000],
                        "{first} {second} {from}"
                    );
                }
            });
        }
    }
}

#[test]
fn of_a_chunk_that_has_lost_too_much_no_byte_is_made_up() {
    let simulation = Simulation::new(54);
    run(&simulation, 16, async || {
        let node = Node::start(&Shape::coded(4, 2)).await;
        let body = content(4, MIB);
        node.put("k", &body).await.expect("stored");
        node.lose_reactor(1).await;
        node.lose_reactor(4).await;
        assert!(node.get("k").await.expect("from four") == body);
        node.lose_reactor(5).await;
        let read = node.get("k").await.map(drop);
        assert!(
            matches!(read, Err(ClusterError::Unavailable(_))),
            "{read:?}"
        );
        // What lies whole on the devices that are left can be read.
        let first = read_cell(&node, 0).await;
        assert!(first.expect("of the first device") == body[..CELL]);
        assert_eq!(damage(&simulation, &body, 0), 0);
        let read = node.get("k").await.map(drop);
        assert!(
            matches!(read, Err(ClusterError::Corrupt(_))),
            "damage is not hidden: {read:?}"
        );
    });
}

async fn read_cell(node: &Node, number: usize) -> Result<Vec<u8>, ClusterError> {
    read(node, "k", number * CELL, (number + 1) * CELL).await
}

#[test]
fn a_damaged_shard_is_written_anew() {
    let simulation = Simulation::new(55);
    run(&simulation, 16, async || {
        let node = Node::start(&Shape::coded(4, 2)).await;
        let body = content(5, MIB);
        node.put("k", &body).await.expect("stored");
        let device = damage(&simulation, &body, 6 * CELL);
        assert_eq!(device, 2);
        assert!(node.get("k").await.expect("computed") == body);
        reactor::sleep(Duration::from_secs(1)).await;
        assert_eq!(node.repaired_shards(), 1);
        // Two more may be lost now: the new shard is whole.
        node.lose_reactor(0).await;
        node.lose_reactor(1).await;
        assert!(node.get("k").await.expect("from the new shard") == body);
    });
}

#[test]
fn a_missing_shard_is_written_anew() {
    run(&Simulation::new(56), 16, async || {
        let node = Node::start(&Shape::coded(4, 2)).await;
        let body = content(6, MIB + 200_000);
        node.put("k", &body).await.expect("stored");
        node.lose_shards(3, "k").await;
        assert_eq!(node.shards(3), 0);
        for _ in 0..2 {
            assert!(node.get("k").await.expect("computed") == body);
            reactor::sleep(Duration::from_secs(1)).await;
        }
        assert_eq!(node.repaired_shards(), 2, "of both chunks");
        node.lose_reactor(0).await;
        node.lose_reactor(1).await;
        assert!(node.get("k").await.expect("from the new shard") == body);
    });
}

#[test]
fn shards_that_are_damaged_in_different_rows_give_the_whole() {
    let simulation = Simulation::new(57);
    run(&simulation, 16, async || {
        let node = Node::start(&Shape::coded(4, 2)).await;
        let body = content(7, MIB);
        node.put("k", &body).await.expect("stored");
        // A cell of every data shard, each in another row: no shard is whole but those of parity.
        let cells = [0, 5, 10, 15];
        let devices = cells.map(|cell| damage(&simulation, &body, cell * CELL));
        assert_eq!(devices, [0, 1, 2, 3]);
        // One chunk is repaired at a time: what a read passes over is left to the next.
        for _ in 0..4 {
            assert!(node.get("k").await.expect("row by row") == body);
            reactor::sleep(Duration::from_secs(1)).await;
        }
        assert_eq!(node.repaired_shards(), 4);
        node.lose_reactor(4).await;
        node.lose_reactor(5).await;
        assert!(node.get("k").await.expect("all data is whole") == body);
    });
}

#[test]
fn a_device_that_does_not_answer_holds_up_no_read_for_long() {
    let simulation = Simulation::new(58);
    run(&simulation, 32, async || {
        let node = Node::start(&Shape::coded(4, 2)).await;
        for number in 0..20 {
            let body = content(number, 400_000);
            node.put(&format!("k{number}"), &body)
                .await
                .expect("stored");
        }
        simulation.hang(&path_of(1));
        let begun = reactor::now();
        for number in 0..20 {
            let body = node.get(&format!("k{number}")).await.expect("computed");
            assert!(body == content(number, 400_000), "k{number}");
        }
        let took = begun.elapsed();
        assert!(
            took < Duration::from_secs(3),
            "one wait and no more: {took:?}"
        );
    });
}

#[test]
fn many_readers_share_a_small_arena() {
    run(&Simulation::new(59), 16, async || {
        let node = Node::start(&Shape::coded(4, 2)).await;
        for number in 0..12 {
            let body = content(number, 2 * MIB);
            node.put(&format!("k{number}"), &body)
                .await
                .expect("stored");
        }
        node.lose_reactor(2).await;
        let keys: Vec<String> = (0..60).map(|number| format!("k{}", number % 12)).collect();
        let reads = keys.iter().map(|key| node.get(key));
        let bodies = futures_util::future::join_all(reads).await;
        for (number, body) in bodies.into_iter().enumerate() {
            assert!(body.expect("a body") == content(number as u64 % 12, 2 * MIB));
        }
    });
}

#[test]
fn many_uploads_share_a_small_arena() {
    run(&Simulation::new(63), 16, async || {
        let node = Node::start(&Shape::coded(2, 8)).await;
        let keys: Vec<(u64, String)> = (0..40).map(|at| (at, format!("k{at}"))).collect();
        let bodies: Vec<Bytes> = keys.iter().map(|(at, _)| content(*at, MIB)).collect();
        let puts = keys
            .iter()
            .zip(&bodies)
            .map(|((_, key), body)| node.put(key, body));
        for stored in futures_util::future::join_all(puts).await {
            stored.expect("stored");
        }
        for ((_, key), body) in keys.iter().zip(&bodies) {
            assert!(node.get(key).await.expect("read") == body[..], "{key}");
        }
    });
}

#[test]
fn what_is_deleted_comes_back_from_every_shard_and_nothing_else() {
    run(&Simulation::new(64), 16, async || {
        let node = Node::start(&Shape::coded(4, 2)).await;
        let lengths = [30_000, 200_000, 2 * MIB + 5];
        for (number, length) in (0..).zip(lengths) {
            for key in ["stays", "goes"] {
                let body = content(number, length);
                node.put(&format!("{key}{number}"), &body)
                    .await
                    .expect("stored");
            }
        }
        let held = || (0..6).map(|place| node.shards(place)).sum::<u64>();
        // Copies of the short ones and of the five bytes behind the last chunk; the others are coded.
        assert_eq!(held(), 2 * (3 + 6 + 6 + 6 + 3));
        let _background = crate::node::orphans::spawn_background(&node.cluster);
        for number in 0..3 {
            node.delete(&format!("goes{number}")).await;
        }
        reactor::sleep(Duration::from_secs(3 * 3600)).await;
        assert_eq!(held(), 3 + 6 + 6 + 6 + 3);
        for (number, length) in (0..).zip(lengths) {
            let body = node.get(&format!("stays{number}")).await.expect("read");
            assert!(body == content(number, length), "{number}");
        }
    });
}

/// Stores a body on a node of 4+2 of which these devices are away; the mask and geometry that it got.
async fn store_without(away: &[usize], degraded_writes: DegradedWrites) -> Option<(u64, u16)> {
    let mut owners: Vec<Option<usize>> = (0..6).map(Some).collect();
    away.iter().for_each(|device| owners[*device] = None);
    let node = Node::start(&Shape {
        owners,
        degraded_writes,
        ..Shape::coded(4, 2)
    })
    .await;
    let body = content(8, MIB);
    if let Err(error) = node.put("k", &body).await {
        assert!(matches!(error, ClusterError::Unavailable(_)), "{error}");
        let kinds = node.degradations();
        assert!(kinds.contains(&"placement"), "{kinds:?}");
        return None;
    }
    assert!(node.get("k").await.expect("read") == body);
    assert_eq!(node.degradations().contains(&"placement"), !away.is_empty());
    let extent = node.extents("k").remove(0);
    Some((extent.slot_mask, extent.geometry))
}

#[test]
fn with_devices_away_new_chunks_are_of_a_weaker_scheme() {
    use DegradedWrites::{Any, Refuse, Safe};
    /// What is away and allowed, and the mask and geometry of a chunk then.
    type Case = (&'static [usize], DegradedWrites, Option<(u64, u16)>);
    let cases: [Case; 9] = [
        (&[], Safe, Some((0b11_1111, 0x0402))),
        (&[1], Safe, Some((0b11_1101, 0x0302))),
        (&[1, 5], Safe, Some((0b01_1101, 0x0202))),
        (&[1, 4, 5], Safe, Some((0b00_1101, 3))),
        (&[1, 2, 4, 5], Safe, Some((0b00_1001, 2))),
        (&[1, 2, 3, 4, 5], Safe, None),
        (&[1, 2, 3, 4, 5], Any, Some((0b00_0001, 1))),
        (&[1], Refuse, None),
        (&[], Refuse, Some((0b11_1111, 0x0402))),
    ];
    for (away, allowed, expected) in cases {
        run(&Simulation::new(60), 16, async || {
            let found = store_without(away, allowed).await;
            assert_eq!(found, expected, "{away:?} {allowed:?}");
        });
    }
}

#[test]
fn a_device_that_fails_during_a_write_is_written_around() {
    let simulation = Simulation::new(61);
    run(&simulation, 16, async || {
        let node = Node::start(&Shape::coded(4, 2)).await;
        node.put("before", &content(1, MIB)).await.expect("stored");
        let first = node.extents("before").remove(0);
        simulation.fail_sync(1);
        let body = content(2, MIB);
        node.put("k", &body).await.expect("five devices take it");
        let extent = node.extents("k").remove(0);
        assert_eq!(extent.slot_mask.count_ones(), 5);
        assert_eq!(extent.geometry, 0x0302);
        let attempts = extent.chunk.sequence() - first.chunk.sequence();
        assert_eq!(attempts, 2, "no attempt has the id of another");
        assert!(node.get("k").await.expect("read") == body);
        assert!(node.get("before").await.expect("read") == content(1, MIB));
        let stored: u64 = (0..6).map(|place| node.shards(place)).sum();
        assert_eq!(stored, 6 + 5, "what the first attempt has stored is freed");
    });
}

#[test]
fn a_full_device_costs_room_and_no_survived_loss() {
    run(&Simulation::new(62), 16, async || {
        let mut shape = Shape::coded(4, 2);
        shape.segments = 8;
        let node = Node::start(&shape).await;
        let mut stored = 0;
        let error = loop {
            let body = content(stored, MIB);
            match node.put(&format!("k{stored}"), &body).await {
                Ok(()) => stored += 1,
                Err(error) => break error,
            }
        };
        assert!(matches!(error, ClusterError::Full(_)), "{error}");
        for number in 0..stored {
            let key = format!("k{number}");
            let extent = node.extents(&key).remove(0);
            assert!(extent.geometry & 0xff == 2, "{extent:?}");
            assert!(node.get(&key).await.expect("read") == content(number, MIB));
        }
    });
}
