//! Repair and scrub: shards that are missing or damaged come back, and what is counted is what is there.

use bytes::Bytes;
use strata_engine::reactor::Simulation;
use strata_raftlog::namespace::BodyPosition;

use super::world::{Node, Shape, content, path_of, run};
use crate::node::repair::{ShareOf, Survey, convert_all, repair, scrub_from};
use crate::scheme::DegradedWrites;

const ALL: ShareOf = ShareOf { index: 0, count: 1 };

/// Bodies of chunks in copies and of coded ones, of one chunk and of several.
const LENGTHS: [usize; 4] = [20_000, 100_000, 1 << 20, 2_300_001];

fn key(number: usize) -> String {
    format!("k{number}")
}

async fn fill(node: &Node) -> Vec<Bytes> {
    let mut bodies = Vec::new();
    for (number, length) in LENGTHS.into_iter().enumerate() {
        let body = content(number as u64 + 1, length);
        node.put(&key(number), &body).await.expect("stored");
        bodies.push(body);
    }
    bodies
}

/// Takes everything away that a place holds.
async fn empty(node: &Node, place: usize) {
    for number in 0..LENGTHS.len() {
        node.lose_shards(place, &key(number)).await;
    }
    assert_eq!(node.shards(place), 0);
}

/// Damages the bytes that a body has at an offset, on the first device where they lie.
fn damage(simulation: &Simulation, body: &Bytes, offset: usize) {
    let bytes = &body[offset..][..64];
    let found = (0..6).find_map(|device| {
        let file = simulation.content(&path_of(device))?;
        let at = file.windows(64).position(|window| window == bytes)?;
        Some((device, at as u64))
    });
    let (device, at) = found.expect("the bytes lie somewhere");
    simulation
        .flip_bit(&path_of(device), at, 3)
        .expect("flipped");
}

async fn assert_readable(node: &Node, bodies: &[Bytes]) {
    for (number, body) in bodies.iter().enumerate() {
        assert!(node.get(&key(number)).await.expect("readable") == *body);
    }
}

async fn repaired(node: &Node) -> Survey {
    repair(&node.cluster, ALL).await.expect("a walk")
}

async fn converted(node: &Node) -> Survey {
    convert_all(&node.cluster, ALL).await.expect("a walk")
}

async fn scrubbed(node: &Node) -> Survey {
    scrub_from(&node.cluster, None, ALL).await.expect("a walk")
}

#[test]
fn a_device_that_lost_everything_is_filled_again() {
    run(&Simulation::new(80), 32, async || {
        let node = Node::start(&Shape::coded(4, 2)).await;
        let bodies = fill(&node).await;
        let whole = repaired(&node).await;
        assert_eq!((whole.chunks, whole.below_target), (6, 0));
        assert_eq!(node.repaired_shards(), 0, "nothing was missing");
        let before: Vec<u64> = (0..6).map(|place| node.shards(place)).collect();
        empty(&node, 1).await;
        empty(&node, 4).await;
        let after = repaired(&node).await;
        assert_eq!((after.chunks, after.below_target), (6, 0));
        let now: Vec<u64> = (0..6).map(|place| node.shards(place)).collect();
        assert_eq!(before, now);
        assert_eq!(node.repaired_shards(), before[1] + before[4]);
        node.lose_reactor(0).await;
        node.lose_reactor(3).await;
        assert_readable(&node, &bodies).await;
    });
}

#[test]
fn shares_of_the_walk_cover_every_body_once() {
    run(&Simulation::new(81), 32, async || {
        let node = Node::start(&Shape::coded(4, 2)).await;
        fill(&node).await;
        let mut chunks = 0;
        for index in 0..3 {
            let survey = repair(&node.cluster, ShareOf { index, count: 3 }).await;
            chunks += survey.expect("a walk").chunks;
        }
        assert_eq!(chunks, 6);
    });
}

#[test]
fn what_waits_for_a_device_is_counted_and_left() {
    run(&Simulation::new(82), 32, async || {
        let shape = Shape {
            owners: vec![Some(0), Some(1), None, Some(2), Some(3), Some(4)],
            degraded_writes: DegradedWrites::Any,
            ..Shape::coded(4, 2)
        };
        let node = Node::start(&shape).await;
        let bodies = fill(&node).await;
        // The device was missing when they were written, so nothing of them is missing now.
        let found = repaired(&node).await;
        assert_eq!((found.below_target, found.written_weaker), (0, 0));
        node.lose_reactor(4).await;
        let found = repaired(&node).await;
        assert!(found.below_target > 0);
        assert_eq!((found.repairable, found.unreadable), (0, 0));
        let left: u64 = found.by_losses_left.values().sum();
        assert_eq!(left, found.below_target);
        node.lose_shards(0, &key(2)).await;
        let found = repaired(&node).await;
        assert_eq!(found.repairable, 0, "what is missing elsewhere came back");
        assert_readable(&node, &bodies).await;
        node.lose_reactor(1).await;
        node.lose_reactor(2).await;
        let found = repaired(&node).await;
        assert!(found.unreadable > 0);
        assert_eq!(found.chunks, 6);
    });
}

#[test]
fn what_no_name_needs_is_neither_counted_nor_written_anew() {
    run(&Simulation::new(83), 32, async || {
        let node = Node::start(&Shape::coded(4, 2)).await;
        fill(&node).await;
        node.lose_shards(5, &key(3)).await;
        let left = node.shards(5);
        node.delete(&key(3)).await;
        let found = repaired(&node).await;
        assert_eq!((found.chunks, found.below_target), (3, 0));
        assert_eq!((node.repaired_shards(), node.shards(5)), (0, left));
    });
}

#[test]
fn a_scrub_finds_and_mends_what_no_index_shows() {
    let simulation = Simulation::new(84);
    run(&simulation, 32, async || {
        let node = Node::start(&Shape::coded(4, 2)).await;
        let bodies = fill(&node).await;
        damage(&simulation, &bodies[2], 700_000);
        damage(&simulation, &bodies[0], 12_000);
        assert_eq!(
            repaired(&node).await.below_target,
            0,
            "the indexes are whole"
        );
        let first = scrubbed(&node).await;
        assert_eq!(
            (first.chunks, first.below_target, first.mended_shards),
            (6, 0, 2)
        );
        let second = scrubbed(&node).await;
        assert_eq!((second.below_target, second.mended_shards), (0, 0));
        // Every shard: one and a half times the bytes that are coded, three times those that are copied.
        let bytes = |length: usize| match length {
            ..=131_072 => 3 * length,
            _ => length * 3 / 2,
        };
        let least: usize = LENGTHS.into_iter().map(bytes).sum();
        assert!(second.verified_bytes as usize >= least);
        node.lose_reactor(1).await;
        node.lose_reactor(2).await;
        assert_readable(&node, &bodies).await;
    });
}

#[test]
fn a_scrub_goes_on_where_it_was_and_counts_what_it_had_found() {
    run(&Simulation::new(88), 32, async || {
        let node = Node::start(&Shape::coded(4, 2)).await;
        fill(&node).await;
        let whole = scrubbed(&node).await;
        let last = node.object(&key(3)).inode;
        let at = BodyPosition {
            inode: last,
            ..BodyPosition::default()
        };
        let rest = scrub_from(&node.cluster, Some((at, Survey::default())), ALL).await;
        let rest = rest.expect("a walk");
        assert_eq!(rest.chunks, 3, "those of the last body");
        let before = Survey {
            chunks: whole.chunks - rest.chunks,
            verified_bytes: whole.verified_bytes - rest.verified_bytes,
            ..Survey::default()
        };
        let all = scrub_from(&node.cluster, Some((at, before)), ALL).await;
        assert_eq!(all.expect("a walk"), whole);
    });
}

#[test]
fn what_cannot_be_read_is_not_written_again_over_and_over() {
    run(&Simulation::new(89), 32, async || {
        // One place is missing, so that what is stored is in another scheme than the layout's.
        let shape = Shape {
            owners: vec![Some(0), Some(1), None, Some(2), Some(3), Some(4)],
            ..Shape::coded(4, 2)
        };
        let node = Node::start(&shape).await;
        fill(&node).await;
        let all = converted(&node).await;
        assert_eq!((all.written_otherwise, all.unreadable), (4, 0));
        assert!(
            all.unconverted > 0,
            "no place takes them as the layout says"
        );
        for reactor in [0, 1, 3] {
            node.lose_reactor(reactor).await;
        }
        let found = converted(&node).await;
        assert_eq!((found.written_otherwise, found.unreadable), (4, 4));
        assert_eq!(found.unconverted, 0, "there is nothing to try again");
    });
}
