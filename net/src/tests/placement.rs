//! Where chunks go when a partition is full or its device fails.

use std::time::Duration;

use strata_engine::reactor::{self, Simulation};
use strata_engine::{ChunkId, EngineError};
use strata_raftlog::namespace::INLINE_BYTES_MAX;
use strata_raftlog::namespace::command::SetPlacementGroup;

use super::world::{Node, Shape, content, path_of, run};
use crate::cluster::placement::RefusedBy;
use crate::error::ClusterError;
use crate::scheme::Scheme;

/// Stores objects of 1 MiB until one is refused; how many were taken.
async fn fill(node: &Node) -> (usize, ClusterError) {
    for number in 0..1000 {
        let body = content(number, 1 << 20);
        if let Err(error) = node.put(&format!("k{number}"), &body).await {
            return (number as usize, error);
        }
    }
    panic!("never full");
}

#[test]
fn a_full_partition_leaves_chunks_to_the_others() {
    let alone = run(&Simulation::new(1), 16, async || {
        let node = Node::start(&Shape::single(1, 8)).await;
        fill(&node).await.0
    });
    run(&Simulation::new(1), 16, async || {
        let shape = Shape {
            owners: vec![Some(0), Some(1)],
            ..Shape::single(2, 8)
        };
        let node = Node::start(&shape).await;
        let (taken, error) = fill(&node).await;
        assert!(matches!(error, ClusterError::Full(_)), "{error}");
        assert!(taken >= 2 * alone - 2, "{taken} of two times {alone}");
        for number in 0..taken {
            let body = node.get(&format!("k{number}")).await.expect("a body");
            assert!(body == content(number as u64, 1 << 20), "k{number}");
        }
        let shards = node.shards(0) + node.shards(1);
        assert_eq!(shards as usize, taken, "what was refused is freed");
    });
}

#[test]
fn the_first_write_after_a_device_failed_goes_to_another() {
    let simulation = Simulation::new(2);
    run(&simulation, 16, async || {
        let shape = Shape {
            devices: 4,
            groups: vec![vec![0, 1], vec![2, 3]],
            ..Shape::mirrored(8)
        };
        let node = Node::start(&shape).await;
        // Segments have been made ready: the next barrier is that of a chunk.
        reactor::sleep(Duration::from_secs(1)).await;
        simulation.fail_sync(1);
        for number in 0..4 {
            let body = content(number, 300_000);
            node.put(&format!("k{number}"), &body)
                .await
                .expect("another group is whole");
        }
        assert_eq!((node.shards(2), node.shards(3)), (4, 4));
        assert_eq!((node.shards(0), node.shards(1)), (0, 0));
    });
}

#[test]
fn a_full_partition_is_tried_again_after_a_while() {
    run(&Simulation::new(3), 16, async || {
        let node = Node::start(&Shape::single(2, 8)).await;
        let (taken, _) = fill(&node).await;
        for number in 0..taken {
            node.delete(&format!("k{number}")).await;
        }
        let _background = crate::node::orphans::spawn_background(&node.cluster);
        strata_engine::reactor::sleep(std::time::Duration::from_secs(60)).await;
        node.put("again", &content(1, 1 << 20))
            .await
            .expect("room again");
    });
}

#[test]
fn a_body_in_a_chunk_costs_each_copy_one_flush() {
    // The command that names it costs the other: see `a_put_costs_one_flush` of the group.
    let simulation = Simulation::new(26);
    run(&simulation, 16, async || {
        for (shape, copies) in [(Shape::single(1, 16), 1), (Shape::mirrored(16), 2)] {
            let node = Node::start(&shape).await;
            node.put("first", &content(0, 100_000))
                .await
                .expect("stored");
            // Segments are made ready behind the first one.
            reactor::sleep(Duration::from_secs(1)).await;
            for length in [INLINE_BYTES_MAX + 1, 100_000] {
                let before = simulation.counters().syncs;
                for number in 1..=5 {
                    let body = content(number, length);
                    node.put("k", &body).await.expect("stored");
                }
                let syncs = simulation.counters().syncs - before;
                assert_eq!(syncs, 5 * copies, "{length} bytes, {copies} copies");
            }
        }
    });
}

#[test]
fn a_device_that_does_not_answer_gets_no_new_chunk_while_others_do() {
    let simulation = Simulation::new(4);
    run(&simulation, 16, async || {
        let shape = Shape {
            devices: 4,
            groups: vec![vec![0, 1], vec![2, 3]],
            ..Shape::mirrored(8)
        };
        let node = Node::start(&shape).await;
        simulation.hang(&path_of(0));
        let begun = reactor::now();
        let writes = (0..4).map(|number| {
            let node = &node;
            async move {
                let body = content(number, 300_000);
                node.put(&format!("k{number}"), &body).await
            }
        });
        for put in futures_util::future::join_all(writes).await {
            put.expect("the other group takes it in the end");
        }
        let took = begun.elapsed();
        assert!(took < Duration::from_secs(35), "{took:?}");
        assert_eq!((node.shards(2), node.shards(3)), (4, 4));
        let begun = reactor::now();
        let body = content(9, 300_000);
        node.put("at once", &body).await.expect("stored");
        assert!(begun.elapsed() < Duration::from_secs(1));
        let kinds = node.degradations();
        assert_eq!(kinds, ["placement", "device_failed"]);
    });
}

#[test]
fn a_partition_that_has_closed_is_named_and_gets_no_new_chunk() {
    run(&Simulation::new(5), 16, async || {
        let shape = Shape {
            groups: vec![vec![0], vec![1]],
            ..Shape::single(2, 8)
        };
        let node = Node::start(&shape).await;
        node.put("k", &content(0, 300_000)).await.expect("stored");
        node.end_writer(0).await;
        for number in 0..6 {
            let body = content(number, 300_000);
            node.put(&format!("k{number}"), &body)
                .await
                .expect("the other partition takes it");
        }
        assert_eq!(node.degradations(), ["placement", "partition_closed"]);
    });
}

#[test]
fn a_place_that_was_full_for_a_chunk_stays_so_however_long_it_takes() {
    run(&Simulation::new(6), 16, async || {
        let shape = Shape {
            devices: 3,
            scheme: Scheme::copies(3),
            groups: vec![vec![0, 1, 2]],
            ..Shape::mirrored(8)
        };
        let node = Node::start(&shape).await;
        let without = |error: EngineError| {
            let mut refused_by = RefusedBy::default();
            refused_by.add(node.places[2], &error);
            let target = node.cluster.choose_target(300_000, &refused_by);
            target.map(|target| target.scheme)
        };
        let closed = without(EngineError::Unavailable("closed".to_owned()));
        assert_eq!(closed.expect("two places are left"), Scheme::copies(2));
        let full = without(EngineError::Full {
            what: "a partition".to_owned(),
        });
        assert!(matches!(full, Err(ClusterError::Full(_))), "{full:?}");
    });
}

#[test]
fn groups_that_have_changed_are_known_before_this_reactor_is_told() {
    run(&Simulation::new(29), 16, async || {
        let node = Node::start(&Shape::mirrored(8)).await;
        let cluster = &node.cluster;
        let read = || cluster.read(|view| view.placement_groups());
        let mut group = read().expect("a view").remove(0);
        // Two groups change one after the other, and the stores know of it already.
        group.epoch += 1;
        let changed = SetPlacementGroup {
            group: group.clone(),
        };
        cluster.submit(changed).await.expect("changed");
        node.fence(std::slice::from_ref(&group));
        let body = content(1, 300_000);
        node.put("k", &body)
            .await
            .expect("decided anew, not refused");
        assert!(node.get("k").await.expect("readable") == body);
        group.number += 1;
        cluster
            .submit(SetPlacementGroup { group })
            .await
            .expect("added");
        let mut extent = node.extents("k").remove(0);
        extent.chunk = ChunkId::new(1, 1, 1, 1);
        let places = cluster
            .shard_places(&extent)
            .expect("of a group that another has used");
        assert_eq!(places.len(), 2);
    });
}
