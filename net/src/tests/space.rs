//! Space that comes back: of deleted bodies, and of chunks that never got a name.

use std::time::Duration;

use strata_engine::reactor::{self, Simulation};

use super::world::{Node, Shape, content, run};
use crate::node::reclaim::reclaim;

/// Deletes are reclaimed after so long.
const AFTER_GRACE: Duration = Duration::from_secs(3);

/// Rows that wait to be reclaimed.
fn waiting(node: &Node) -> usize {
    let rows = node.cluster.names(|view| view.freed(None, usize::MAX));
    rows.expect("a look").len()
}

#[test]
fn a_missing_device_does_not_keep_the_space_of_the_others() {
    run(&Simulation::new(10), 16, async || {
        let shape = Shape {
            owners: vec![Some(0), Some(1)],
            ..Shape::mirrored(8)
        };
        let node = Node::start(&shape).await;
        for number in 0..5 {
            let body = content(number, 100_000);
            node.put(&format!("k{number}"), &body)
                .await
                .expect("stored");
        }
        assert_eq!((node.shards(0), node.shards(1)), (5, 5));
        node.lose_reactor(1).await;
        for number in 0..5 {
            node.delete(&format!("k{number}")).await;
        }
        assert_eq!(waiting(&node), 5);
        reactor::sleep(AFTER_GRACE).await;
        assert_eq!(reclaim(&node.cluster).await.expect("reclaimed"), 5);
        assert_eq!((node.shards(0), waiting(&node)), (0, 0));
    });
}

#[test]
fn a_failed_device_does_not_keep_the_space_of_the_others() {
    let simulation = Simulation::new(12);
    run(&simulation, 16, async || {
        let node = Node::start(&Shape::mirrored(8)).await;
        let body = content(1, 100_000);
        node.put("a", &body).await.expect("stored");
        node.put("b", &body).await.expect("stored");
        node.delete("a").await;
        node.delete("b").await;
        reactor::sleep(AFTER_GRACE).await;
        simulation.fail_sync(1);
        assert_eq!(reclaim(&node.cluster).await.expect("reclaimed"), 2);
        assert_eq!(node.shards(0) + node.shards(1), 2, "one device took it");
        assert_eq!(waiting(&node), 0);
    });
}

#[test]
fn many_rows_are_freed_in_a_few_batches() {
    run(&Simulation::new(11), 16, async || {
        let node = Node::start(&Shape::single(2, 32)).await;
        for number in 0..256 {
            node.put(&format!("k{number}"), &content(number, 70_000))
                .await
                .expect("stored");
        }
        assert!(node.shards(0) > 50 && node.shards(1) > 50);
        for number in 0..256 {
            node.delete(&format!("k{number}")).await;
        }
        reactor::sleep(AFTER_GRACE).await;
        let before = node.batches(0) + node.batches(1);
        assert_eq!(reclaim(&node.cluster).await.expect("reclaimed"), 256);
        let batches = node.batches(0) + node.batches(1) - before;
        assert_eq!((node.shards(0), node.shards(1)), (0, 0));
        assert!(batches <= 8, "{batches} batches for 256 rows");
    });
}
