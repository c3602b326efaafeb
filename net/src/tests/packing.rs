//! Short bodies that are packed: read as before, whatever happens to them meanwhile, and their space comes back.

use std::collections::BTreeSet;
use std::time::Duration;

use strata_engine::ChunkId;
use strata_engine::reactor::{self, Simulation, TaskClass};
use strata_raftlog::namespace::Pack;

use super::world::{Node, PACK_AFTER, Shape, content, object, run};
use crate::cluster::write::CHUNK_BYTES_MAX;
use crate::node::orphans::{ORPHAN_GRACE, OrphanWalk};
use crate::node::packing::Packer;
use crate::node::reclaim::Reclaimer;
use crate::node::repair::{ShareOf, repair, scrub_from};

fn key(number: u64) -> String {
    format!("k{number}")
}

/// How long the body of a number is: some ride in the command, some are chunks.
fn length(number: u64) -> usize {
    match number % 4 {
        0 => 50_000 + number as usize,
        _ => 10_000 + number as usize,
    }
}

async fn put(node: &Node, number: u64) {
    let body = content(number, length(number));
    node.put(&key(number), &body).await.expect("stored");
}

async fn put_all(node: &Node, numbers: std::ops::Range<u64>) {
    for number in numbers {
        put(node, number).await;
    }
    reactor::sleep(PACK_AFTER + Duration::from_secs(1)).await;
}

fn packer(node: &Node) -> Packer {
    Packer::new(node.cluster.clone())
}

/// Packs what is there, which must be as many extents.
async fn pack(node: &Node, expected: usize) {
    let moved = packer(node).walk(false).await.expect("a walk");
    assert_eq!(moved, expected);
}

fn packs(node: &Node) -> Vec<(u64, Pack)> {
    let packs = node.cluster.read(|view| view.packs(0, usize::MAX));
    packs.expect("a look")
}

/// The chunks of a body that lies in packs.
fn chunks(node: &Node, number: u64) -> BTreeSet<ChunkId> {
    let extents = node.extents(&key(number)).into_iter();
    extents.map(|extent| extent.chunk).collect()
}

async fn check(node: &Node, numbers: impl Iterator<Item = u64>) {
    for number in numbers {
        let body = node.get(&key(number)).await.expect("read");
        assert!(body == content(number, length(number)), "{number}");
    }
}

fn all_shards(node: &Node) -> u64 {
    (0..node.places.len()).map(|place| node.shards(place)).sum()
}

/// The same with all devices on this reactor, which can then sweep them.
fn coded_here(k: usize, m: usize) -> Shape {
    Shape {
        owners: Vec::new(),
        ..Shape::coded(k, m)
    }
}

/// Reclaims until nothing is left to be.
async fn reclaim(node: &Node) {
    reclaim_by(&mut Reclaimer::new(node.cluster.clone())).await;
}

async fn reclaim_by(reclaimer: &mut Reclaimer) {
    for _ in 0..8 {
        reclaimer.walk().await.expect("a walk");
        reactor::sleep(Duration::from_secs(3)).await;
    }
}

/// Bodies that wait to be reclaimed.
fn waiting(node: &Node) -> usize {
    let bodies = node.cluster.read(|view| view.dropped(None, usize::MAX));
    bodies.expect("a look").len()
}

/// Walks over all partitions as often as it takes to free what nothing refers to; how many shards that were.
async fn sweep(node: &Node) -> usize {
    node.cluster.rotate_epoch().await.expect("another epoch");
    reactor::sleep(Duration::from_secs(10)).await;
    let mut freed = 0;
    let walks = node.places.iter().map(|place| OrphanWalk::new(*place));
    let mut walks: Vec<OrphanWalk> = walks.collect();
    for _ in 0..2 {
        for walk in &mut walks {
            freed += walk.walk(&node.cluster).await.expect("walked").freed;
        }
        reactor::sleep(ORPHAN_GRACE).await;
    }
    freed
}

#[test]
fn packed_bodies_are_read_whole_and_in_parts_with_devices_away() {
    run(&Simulation::new(80), 16, async || {
        let node = Node::start(&Shape::coded(4, 2)).await;
        for number in 0..40 {
            put(&node, number).await;
        }
        let early = packer(&node).walk(false).await.expect("a walk");
        assert_eq!(
            (early, all_shards(&node)),
            (0, 10 * 3),
            "they are too young"
        );
        reactor::sleep(PACK_AFTER + Duration::from_secs(1)).await;
        pack(&node, 40).await;
        assert_eq!(packs(&node).len(), 1);
        assert_eq!(all_shards(&node), 10 * 3 + 6);
        reclaim(&node).await;
        assert_eq!(all_shards(&node), 6);
        check(&node, 0..40).await;
        pack(&node, 0).await;
        for reactor in [0, 3] {
            node.lose_reactor(reactor).await;
        }
        check(&node, 0..40).await;
        for (number, from, to) in [(8, 0, 1), (8, 49_999, 50_007), (9, 500, 10_009)] {
            let mut reader = node.reader_of(&key(number), from..to);
            let mut read = Vec::new();
            while let Some(bytes) = reader.next().await {
                read.extend_from_slice(&bytes.expect("read"));
            }
            let body = content(number, length(number));
            assert!(read == body[from as usize..to as usize]);
        }
    });
}

#[test]
fn all_space_comes_back_when_all_is_deleted() {
    run(&Simulation::new(81), 16, async || {
        let node = Node::start(&coded_here(2, 1)).await;
        put_all(&node, 0..100).await;
        pack(&node, 100).await;
        assert!(packs(&node).len() > 1);
        for number in 0..100 {
            node.delete(&key(number)).await;
        }
        reclaim(&node).await;
        assert_eq!((waiting(&node), packs(&node).len()), (0, 0));
        assert_eq!(all_shards(&node), 0);
        assert_eq!(sweep(&node).await, 0);
    });
}

#[test]
fn bodies_that_go_while_they_are_packed_stay_gone() {
    let mut left_alone = 0;
    for seed in 0..6 {
        run(&Simulation::new(820 + seed), 16, async || {
            let node = Node::start(&coded_here(2, 1)).await;
            put_all(&node, 0..60).await;
            let cluster = node.cluster.clone();
            let walk = async move { Packer::new(cluster).walk(false).await };
            let walk = reactor::spawn(TaskClass::Background, walk);
            // Every third is deleted or put again, each a little later than the one before.
            for number in (0..60).step_by(3) {
                reactor::sleep(Duration::from_micros(50 * (seed + 1))).await;
                match number % 2 {
                    0 => node.delete(&key(number)).await,
                    _ => put(&node, number).await,
                }
            }
            let moved = walk.await.expect("a walk");
            assert!((40..=60).contains(&moved), "{moved}");
            left_alone += 60 - moved;
            reclaim(&node).await;
            for number in (0..60).step_by(6) {
                assert!(object(&node.cluster, &key(number)).is_none());
            }
            check(&node, (0..60).filter(|number| number % 3 != 0)).await;
            assert_eq!(sweep(&node).await, 0, "nothing has leaked");
            for number in 0..60 {
                node.delete(&key(number)).await;
            }
            reclaim(&node).await;
            assert_eq!(all_shards(&node), 0);
        });
    }
    assert!(
        left_alone > 0,
        "a body went between its reading and the command"
    );
}

#[test]
fn a_pack_whose_command_never_came_is_swept() {
    run(&Simulation::new(83), 16, async || {
        let node = Node::start(&coded_here(2, 1)).await;
        put_all(&node, 0..40).await;
        let before = all_shards(&node);
        let cluster = node.cluster.clone();
        let walk = async move { Packer::new(cluster).walk(false).await };
        let walk = reactor::spawn(TaskClass::Background, walk);
        while all_shards(&node) == before {
            reactor::sleep(Duration::from_micros(5)).await;
        }
        drop(walk);
        reactor::sleep(Duration::from_secs(1)).await;
        assert_eq!(packs(&node).len(), 0);
        assert!(all_shards(&node) > before);
        let orphans = (all_shards(&node) - before) as usize;
        assert_eq!(sweep(&node).await, orphans);
        assert_eq!(all_shards(&node), before);
        pack(&node, 40).await;
        check(&node, 0..40).await;
    });
}

#[test]
fn the_sweep_leaves_packs_alone() {
    run(&Simulation::new(84), 16, async || {
        let node = Node::start(&coded_here(2, 1)).await;
        put_all(&node, 0..40).await;
        pack(&node, 40).await;
        reclaim(&node).await;
        assert_eq!(sweep(&node).await, 0);
        check(&node, 0..40).await;
    });
}

#[test]
fn a_reader_keeps_what_was_there_when_it_began() {
    run(&Simulation::new(85), 16, async || {
        let node = Node::start(&coded_here(2, 1)).await;
        put_all(&node, 0..40).await;
        let mut reclaimer = Reclaimer::new(node.cluster.clone());
        let own = chunks(&node, 8);
        let mut early = node.reader(&key(8));
        pack(&node, 40).await;
        assert!(own.is_disjoint(&chunks(&node, 8)));
        reclaim_by(&mut reclaimer).await;
        let late = node.reader(&key(8));
        reclaim_by(&mut reclaimer).await;
        assert_eq!(waiting(&node), 1, "the chunk that is still read");
        let mut read = Vec::new();
        while let Some(bytes) = early.next().await {
            read.extend_from_slice(&bytes.expect("the space is kept"));
        }
        assert!(read == content(8, length(8)));
        drop(early);
        reclaim_by(&mut reclaimer).await;
        assert_eq!(waiting(&node), 0, "the later reader has no need of it");
        // That one keeps the pack, though all of it is deleted.
        for number in 0..40 {
            node.delete(&key(number)).await;
        }
        reclaim_by(&mut reclaimer).await;
        assert_eq!((packs(&node).len(), waiting(&node)), (1, 1));
        drop(late);
        reclaim_by(&mut reclaimer).await;
        assert_eq!(all_shards(&node), 0);
    });
}

#[test]
fn what_is_left_of_a_pack_moves_on() {
    run(&Simulation::new(86), 16, async || {
        let node = Node::start(&coded_here(2, 1)).await;
        put_all(&node, 0..200).await;
        pack(&node, 200).await;
        let before = packs(&node).len();
        let stays = |number: &u64| number % 5 == 1;
        for number in (0..200).filter(|number| !stays(number)) {
            node.delete(&key(number)).await;
        }
        reclaim(&node).await;
        let old: BTreeSet<u64> = packs(&node).into_iter().map(|(home, _)| home).collect();
        let left = (0..200).filter(stays).count();
        pack(&node, left).await;
        reclaim(&node).await;
        let new = packs(&node);
        assert!(new.len() < before && new.iter().all(|(home, _)| !old.contains(home)));
        let live: u32 = new.iter().map(|(_, pack)| pack.live_extents).sum();
        assert_eq!(live as usize, left);
        assert_eq!(all_shards(&node), 3 * new.len() as u64);
        check(&node, (0..200).filter(stays)).await;
        pack(&node, 0).await;
    });
}

#[test]
fn a_pack_is_repaired_and_counted_once() {
    run(&Simulation::new(90), 16, async || {
        let node = Node::start(&coded_here(4, 2)).await;
        put_all(&node, 0..40).await;
        pack(&node, 40).await;
        reclaim(&node).await;
        for place in [1, 4] {
            node.lose_shards(place, &key(7)).await;
        }
        assert_eq!(all_shards(&node), 4);
        let all = ShareOf { index: 0, count: 1 };
        let survey = repair(&node.cluster, all).await.expect("a walk");
        assert_eq!((survey.chunks, survey.below_target), (1, 0));
        assert_eq!(all_shards(&node), 6);
        let scrubbed = scrub_from(&node.cluster, None, all).await.expect("a walk");
        assert_eq!((scrubbed.chunks, scrubbed.below_target), (1, 0));
        check(&node, 0..40).await;
    });
}

#[test]
fn a_node_that_is_short_of_devices_does_not_pack() {
    run(&Simulation::new(87), 16, async || {
        let node = Node::start(&Shape::coded(4, 2)).await;
        put_all(&node, 0..40).await;
        node.lose_reactor(5).await;
        pack(&node, 0).await;
        assert_eq!(packs(&node).len(), 0);
        reclaim(&node).await;
        let held: u64 = (0..5).map(|place| node.shards(place)).sum();
        assert!(held <= 10 * 3, "{held}: no attempt is left behind");
    });
}

#[test]
fn a_walk_takes_up_what_the_last_one_left() {
    run(&Simulation::new(88), 16, async || {
        let node = Node::start(&Shape::mirrored(16)).await;
        let mut packer = packer(&node);
        let mut walk = async |is_short| packer.walk(is_short).await.expect("a walk");
        put_all(&node, 0..8).await;
        assert_eq!(walk(false).await, 0, "too few for a pack");
        for number in 8..40 {
            put(&node, number).await;
        }
        assert_eq!(walk(false).await, 0, "the others are too young");
        reactor::sleep(PACK_AFTER + Duration::from_secs(1)).await;
        // Chunks of 50 kB stay as they are in a layout of copies.
        assert_eq!(walk(false).await, 30);
        for number in 40..60 {
            put(&node, number).await;
        }
        assert_eq!(walk(false).await, 0);
        assert_eq!(walk(true).await, 15, "there is no waiting for room");
        assert_eq!(walk(true).await, 0);
        let statistics = node.cluster.parts().status.packing();
        let extents = statistics
            .extents
            .load(std::sync::atomic::Ordering::Relaxed);
        assert_eq!(extents, 45);
        check(&node, 0..60).await;
    });
}

#[test]
fn more_than_a_pack_holds_goes_into_several() {
    run(&Simulation::new(89), 16, async || {
        let node = Node::start(&Shape::single(1, 32)).await;
        for number in 0..600 {
            let body = content(number, 2_000);
            node.put(&key(number), &body).await.expect("stored");
        }
        reactor::sleep(PACK_AFTER + Duration::from_secs(1)).await;
        // 88 are too few bytes for a third pack that is worth it, 256 are as many as a command takes.
        let moved = packer(&node).walk(false).await.expect("a walk");
        assert_eq!((moved, packs(&node).len()), (600, 3));
        for number in 0..600 {
            let body = node.get(&key(number)).await.expect("read");
            assert!(body == content(number, 2_000), "{number}");
        }
        let homes = packs(&node);
        let bytes = homes.iter().map(|(_, pack)| pack.bytes);
        assert!(bytes.clone().all(|bytes| bytes < CHUNK_BYTES_MAX as u64));
        assert_eq!(bytes.sum::<u64>(), 600 * 2_000);
    });
}
