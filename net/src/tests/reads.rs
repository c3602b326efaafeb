//! Reads of chunks of which some copies are damaged or away.

use std::time::Duration;

use bytes::Bytes;
use strata_engine::reactor::{self, Simulation};
use strata_raftlog::namespace::Extent;

use super::world::{Node, Shape, content, path_of, run};
use crate::error::ClusterError;
use crate::node::repair::{ShareOf, scrub_from};
use crate::scheme::Scheme;

const CELL: usize = 64 << 10;

/// Damages the copy of a body on a device, in the cell of the number.
fn damage(simulation: &Simulation, device: u8, body: &Bytes, cell: usize) {
    let bytes = &body[cell * CELL..][..64];
    let file = simulation.content(&path_of(device)).expect("a device");
    let found = file.windows(64).position(|window| window == bytes);
    let offset = found.expect("the copy lies there") as u64;
    simulation
        .flip_bit(&path_of(device), offset, 3)
        .expect("flipped");
}

fn three_copies() -> Shape {
    Shape {
        devices: 3,
        scheme: Scheme::copies(3),
        groups: vec![vec![0, 1, 2]],
        owners: vec![Some(0), Some(1), Some(2)],
        ..Shape::mirrored(8)
    }
}

#[test]
fn a_damaged_copy_is_written_anew() {
    let simulation = Simulation::new(30);
    run(&simulation, 16, async || {
        let shape = Shape {
            owners: vec![Some(0), Some(1)],
            ..Shape::mirrored(8)
        };
        let node = Node::start(&shape).await;
        let body = content(1, 700_001);
        node.put("k", &body).await.expect("stored");
        damage(&simulation, 0, &body, 3);
        assert!(node.get("k").await.expect("from the other copy") == body);
        reactor::sleep(Duration::from_secs(1)).await;
        assert_eq!(node.repaired_shards(), 1);
        node.lose_reactor(1).await;
        assert!(node.get("k").await.expect("from the new copy") == body);
        assert_eq!((node.shards(0), node.shards(1)), (1, 1));
    });
}

#[test]
fn copies_that_are_damaged_apart_give_the_whole_beside_one_that_is_away() {
    let simulation = Simulation::new(31);
    run(&simulation, 16, async || {
        let node = Node::start(&three_copies()).await;
        let body = content(2, 250_000);
        node.put("k", &body).await.expect("stored");
        node.lose_reactor(2).await;
        damage(&simulation, 0, &body, 1);
        damage(&simulation, 1, &body, 2);
        assert!(node.get("k").await.expect("cell by cell") == body);
    });
}

#[test]
fn damage_is_reported_beside_a_copy_that_is_away() {
    let simulation = Simulation::new(32);
    run(&simulation, 16, async || {
        let node = Node::start(&three_copies()).await;
        let body = content(3, 250_000);
        node.put("k", &body).await.expect("stored");
        node.lose_reactor(1).await;
        node.lose_reactor(2).await;
        damage(&simulation, 0, &body, 1);
        let read = node.get("k").await.map(drop);
        assert!(matches!(read, Err(ClusterError::Corrupt(_))), "{read:?}");
    });
}

#[test]
fn what_is_missing_since_the_start_is_not_asked() {
    run(&Simulation::new(33), 16, async || {
        let shape = Shape {
            devices: 4,
            groups: vec![vec![0, 1], vec![2, 3]],
            owners: vec![Some(1), Some(0), None, Some(0)],
            ..Shape::mirrored(8)
        };
        let node = Node::start(&shape).await;
        node.put("k", &content(1, 100_000)).await.expect("stored");
        let mut extent = node.extents("k").remove(0);
        let places = |extent: &Extent| {
            let places = node.cluster.shard_places(extent).expect("a group");
            let places = places.into_iter().flatten().collect();
            let asked = node.cluster.in_order_of_asking(places);
            asked.iter().map(|shard| shard.place).collect::<Vec<_>>()
        };
        assert_eq!(places(&extent), [node.places[1], node.places[0]]);
        extent.chunk = strata_engine::ChunkId::new(1, 1, 1, 1);
        assert_eq!(places(&extent), [node.places[3]]);
    });
}

#[test]
fn a_device_that_does_not_answer_holds_up_no_read_for_long() {
    let simulation = Simulation::new(34);
    run(&simulation, 16, async || {
        let node = Node::start(&three_copies()).await;
        for number in 0..40 {
            let body = content(number, 300_000);
            node.put(&format!("k{number}"), &body)
                .await
                .expect("stored");
        }
        simulation.hang(&path_of(0));
        let begun = reactor::now();
        for number in 0..40 {
            let body = node.get(&format!("k{number}")).await.expect("from another");
            assert!(body == content(number, 300_000), "k{number}");
        }
        let took = begun.elapsed();
        assert!(
            took < Duration::from_secs(3),
            "one wait and no more: {took:?}"
        );
        // What was asked first is waited for to the end, so that the device is found to have failed.
        reactor::sleep(Duration::from_secs(40)).await;
        let begun = reactor::now();
        node.get("k1").await.expect("from another");
        assert!(begun.elapsed() < Duration::from_millis(500));
        let kinds = node.degradations();
        assert!(kinds.contains(&"device_failed"), "{kinds:?}");
    });
}

#[test]
fn many_readers_at_a_device_that_does_not_answer_leave_memory_to_the_others() {
    let simulation = Simulation::new(35);
    run(&simulation, 16, async || {
        let shape = Shape {
            segments: 20,
            ..three_copies()
        };
        let node = Node::start(&shape).await;
        for number in 0..40 {
            let body = content(number, 1 << 20);
            node.put(&format!("k{number}"), &body)
                .await
                .expect("stored");
        }
        simulation.hang(&path_of(0));
        let keys: Vec<String> = (0..40).map(|number| format!("k{number}")).collect();
        let reads = keys.iter().map(|key| node.get(key));
        let bodies = futures_util::future::join_all(reads);
        let bodies = reactor::timeout(Duration::from_secs(10), bodies).await;
        for (number, body) in bodies.expect("in time").into_iter().enumerate() {
            assert!(body.expect("a body") == content(number as u64, 1 << 20));
        }
    });
}

#[test]
fn copies_that_are_damaged_apart_are_all_written_anew() {
    let simulation = Simulation::new(36);
    run(&simulation, 16, async || {
        let shape = Shape {
            owners: vec![Some(0), Some(1)],
            ..Shape::mirrored(8)
        };
        let node = Node::start(&shape).await;
        let body = content(2, 250_000);
        node.put("k", &body).await.expect("stored");
        damage(&simulation, 0, &body, 1);
        damage(&simulation, 1, &body, 2);
        assert!(node.get("k").await.expect("cell by cell") == body);
        reactor::sleep(Duration::from_secs(1)).await;
        assert_eq!(node.repaired_shards(), 2);
        node.lose_reactor(1).await;
        assert!(node.get("k").await.expect("from one copy") == body);
    });
}

#[test]
fn a_missing_copy_is_written_anew() {
    run(&Simulation::new(37), 16, async || {
        let shape = Shape {
            owners: vec![Some(0), Some(1)],
            ..Shape::mirrored(8)
        };
        let node = Node::start(&shape).await;
        let body = content(2, 250_000);
        node.put("k", &body).await.expect("stored");
        node.lose_shards(0, "k").await;
        assert_eq!(node.shards(0), 0);
        assert!(node.get("k").await.expect("from the other copy") == body);
        reactor::sleep(Duration::from_secs(1)).await;
        assert_eq!(node.repaired_shards(), 1);
        node.lose_reactor(1).await;
        assert!(node.get("k").await.expect("from the new copy") == body);
    });
}

#[test]
fn a_device_that_fails_every_read_is_flagged_and_not_written_over_and_over() {
    let simulation = Simulation::new(38);
    run(&simulation, 16, async || {
        let shape = Shape {
            owners: vec![Some(0), Some(1)],
            ..Shape::mirrored(8)
        };
        let node = Node::start(&shape).await;
        let body = content(2, 250_000);
        node.put("k", &body).await.expect("stored");
        simulation.fail_reads_at(&path_of(0), 0..u64::MAX);
        for _ in 0..50 {
            assert!(node.get("k").await.expect("from the other copy") == body);
            reactor::sleep(Duration::from_millis(200)).await;
        }
        assert_eq!(node.degradations(), ["device_unreadable"]);
        let repaired = node.repaired_shards();
        assert!(repaired < 16, "{repaired}");
    });
}

#[test]
fn a_cell_that_is_read_again_comes_from_memory_and_a_scrub_reads_the_device() {
    let simulation = Simulation::new(39);
    run(&simulation, 16, async || {
        let shape = Shape {
            cache_bytes: 1 << 20,
            ..Shape::mirrored(8)
        };
        let node = Node::start(&shape).await;
        let body = content(1, 700_001);
        node.put("k", &body).await.expect("stored");
        let counts = || node.cluster.parts().status.cell_caches();
        let read = async |range: std::ops::Range<usize>| {
            let mut reader = node.reader_of("k", range.start as u64..range.end as u64);
            let mut found = Vec::new();
            while let Some(bytes) = reader.next().await {
                found.extend_from_slice(&bytes.expect("read"));
            }
            assert!(found == body[range]);
        };
        let last = body.len() - 100..body.len();
        let ranges = [
            10 * CELL - 5_000..10 * CELL - 1,
            9 * CELL..9 * CELL + 1,
            9 * CELL..10 * CELL,
        ];
        for range in ranges.iter().chain([&last]) {
            read(range.clone()).await;
        }
        // The last cell was read once, the other thrice.
        assert_eq!(counts(), [1, 3, CELL as u64]);
        read(last.clone()).await;
        read(last.clone()).await;
        assert_eq!(counts(), [2, 4, (CELL + 700_001 % CELL) as u64]);
        // What is longer than a cell is read from the device.
        read(CELL / 2..CELL * 3 / 2).await;
        read(0..body.len()).await;
        assert_eq!(counts(), [2, 4, (CELL + 700_001 % CELL) as u64]);

        damage(&simulation, 0, &body, 9);
        damage(&simulation, 1, &body, 10);
        read(9 * CELL + 7..9 * CELL + 5_007).await;
        read(last).await;
        assert_eq!(node.repaired_shards(), 0);
        let share = ShareOf { index: 0, count: 1 };
        let found = scrub_from(&node.cluster, None, share)
            .await
            .expect("a walk");
        assert_eq!((found.mended_shards, found.below_target), (2, 0));
    });
}
