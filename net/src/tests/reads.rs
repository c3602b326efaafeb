//! Reads of chunks of which some copies are damaged or away.

use std::time::Duration;

use bytes::Bytes;
use strata_engine::reactor::{self, Simulation};
use strata_raftlog::namespace::Extent;

use super::world::{Node, Shape, content, path_of, run};
use crate::error::ClusterError;

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
        assert_eq!(node.cluster.mended_copies(), 1);
        node.lose_reactor(1).await;
        assert!(node.get("k").await.expect("from the mended copy") == body);
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
            let copies = node.cluster.copies_of(extent).expect("a group");
            copies.iter().map(|copy| copy.place).collect::<Vec<_>>()
        };
        assert_eq!(places(&extent), [node.places[1], node.places[0]]);
        extent.chunk = strata_engine::ChunkId::new(1, 1, 1, 1);
        assert_eq!(places(&extent), [node.places[3]]);
    });
}
