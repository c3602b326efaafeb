//! Where chunks go when a partition is full or its device fails.

use strata_engine::reactor::Simulation;

use super::world::{Node, Shape, content, run};
use crate::error::ClusterError;

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
        let _background = crate::node::sweep::spawn_background(&node.cluster);
        strata_engine::reactor::sleep(std::time::Duration::from_secs(60)).await;
        node.put("again", &content(1, 1 << 20))
            .await
            .expect("room again");
    });
}
