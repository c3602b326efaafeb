//! Space that comes back: of deleted bodies, and of chunks that never got a name.

use std::time::Duration;

use bytes::Bytes;
use strata_engine::reactor::{self, Simulation};
use strata_raftlog::namespace::Body;

use super::world::{Node, Shape, content, run};
use crate::cluster::write::{BODY_TIME_MAX, SPACE_FILE};
use crate::error::ClusterError;
use crate::node::orphans::{ORPHAN_GRACE, OrphanWalk, Walked};
use crate::node::reclaim::Reclaimer;

/// Deletes are reclaimed after so long.
const AFTER_GRACE: Duration = Duration::from_secs(3);

/// Bodies that wait to be reclaimed.
fn waiting(node: &Node) -> usize {
    let bodies = node.cluster.read(|view| view.dropped(None, usize::MAX));
    bodies.expect("a look").len()
}

/// One that has seen what was dropped so far, when the grace of that has passed.
async fn reclaimer(node: &Node) -> Reclaimer {
    let mut reclaimer = Reclaimer::new(node.cluster.clone());
    assert_eq!(reclaimer.walk().await.expect("a walk"), 0, "just seen");
    reactor::sleep(AFTER_GRACE).await;
    reclaimer
}

/// How many bodies a walk releases.
async fn walk(reclaimer: &mut Reclaimer) -> usize {
    reclaimer.walk().await.expect("reclaimed")
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
        let mut reclaimer = reclaimer(&node).await;
        assert_eq!(walk(&mut reclaimer).await, 5);
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
        let mut reclaimer = reclaimer(&node).await;
        simulation.fail_sync(1);
        assert_eq!(walk(&mut reclaimer).await, 2);
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
        let mut reclaimer = reclaimer(&node).await;
        let before = node.batches(0) + node.batches(1);
        assert_eq!(walk(&mut reclaimer).await, 256);
        let batches = node.batches(0) + node.batches(1) - before;
        assert_eq!((node.shards(0), node.shards(1)), (0, 0));
        assert!(batches <= 8, "{batches} batches for 256 rows");
    });
}

#[test]
fn a_reader_keeps_the_space_of_its_own_body_alone() {
    run(&Simulation::new(13), 16, async || {
        let node = Node::start(&Shape::single(1, 16)).await;
        let body = content(1, 3 << 20);
        node.put("a", &body).await.expect("stored");
        node.put("b", &content(2, 3 << 20)).await.expect("stored");
        let mut reader = node.reader("a");
        node.delete("a").await;
        node.delete("b").await;
        let mut reclaimer = reclaimer(&node).await;
        assert_eq!(walk(&mut reclaimer).await, 1);
        assert_eq!((node.shards(0), waiting(&node)), (3, 1));
        let mut read = Vec::new();
        while let Some(bytes) = reader.next().await {
            read.extend_from_slice(&bytes.expect("the space is kept"));
        }
        assert!(read == body);
        drop(reader);
        assert_eq!(walk(&mut reclaimer).await, 1);
        assert_eq!((node.shards(0), waiting(&node)), (0, 0));
    });
}

#[test]
fn a_wall_clock_that_was_ahead_keeps_no_space() {
    let simulation = Simulation::new(17);
    run(&simulation, 16, async || {
        simulation.set_wall_clock_ahead(Duration::from_secs(9 * 3600));
        let node = Node::start(&Shape::single(1, 8)).await;
        for key in ["before", "after"] {
            node.put(key, &content(1, 100_000)).await.expect("stored");
        }
        node.delete("before").await;
        simulation.set_wall_clock_ahead(Duration::ZERO);
        node.delete("after").await;
        let mut reclaimer = reclaimer(&node).await;
        assert_eq!(walk(&mut reclaimer).await, 2);
        assert_eq!((node.shards(0), waiting(&node)), (0, 0));
    });
}

#[test]
fn a_long_body_is_released_a_few_rows_at_a_time() {
    const CHUNKS: u64 = 5_000;
    run(&Simulation::new(18), 64, async || {
        let node = Node::start(&Shape::single(1, 64)).await;
        node.put("like", &content(1, 20_000)).await.expect("stored");
        let inode = node.cluster.new_inode().await.expect("an inode");
        let mut extents = Vec::new();
        let piece = Bytes::from_static(&[7; 4096]);
        for first in (0..CHUNKS).step_by(200) {
            let numbers = first..first + 200;
            extents.extend(node.store_chunks(inode, "like", numbers, &piece).await);
        }
        node.name("long", inode, Body::Extents(extents))
            .await
            .expect("named");
        node.delete("long").await;
        assert_eq!(waiting(&node), 1, "one row for the whole body");
        assert_eq!(node.shards(0), CHUNKS + 1);
        let mut reclaimer = reclaimer(&node).await;
        assert_eq!(walk(&mut reclaimer).await, 1);
        assert_eq!((node.shards(0), waiting(&node)), (1, 0));
        let left = node
            .cluster
            .read(|view| view.chunks(inode, (0, 0), usize::MAX));
        assert_eq!(left.expect("a look").rows, 0);
    });
}

/// Walks once.
async fn walk_over(walk: &mut OrphanWalk, node: &Node) -> Walked {
    walk.walk(&node.cluster).await.expect("walked")
}

/// Ends the present allocation epoch.
async fn rotate(node: &Node) {
    node.cluster.rotate_epoch().await.expect("another epoch");
    reactor::sleep(Duration::from_secs(10)).await;
}

#[test]
fn orphan_collection_frees_what_no_name_refers_to() {
    run(&Simulation::new(14), 16, async || {
        let node = Node::start(&Shape::single(1, 16)).await;
        let body = content(1, 100_000);
        node.put("named", &body).await.expect("stored");
        let inode = node.cluster.new_inode().await.expect("an inode");
        node.store(inode, &body).await.expect("stored");
        let mut walk = OrphanWalk::new(node.places[0]);
        let freed = walk_over(&mut walk, &node).await.freed;
        assert_eq!(freed, 0, "it may yet get its name");
        rotate(&node).await;
        node.store(inode, &body).await.expect("stored");
        let freed = walk_over(&mut walk, &node).await.freed;
        assert_eq!(freed, 0, "a first walk frees nothing");
        reactor::sleep(ORPHAN_GRACE / 2).await;
        let freed = walk_over(&mut walk, &node).await.freed;
        assert_eq!(freed, 0, "nor does one too soon after it");
        reactor::sleep(ORPHAN_GRACE / 2).await;
        let reader = node.cluster.reader(
            inode,
            crate::cluster::read::BodySource::Extents(Vec::new()),
            0..0,
        );
        let freed = walk_over(&mut walk, &node).await.freed;
        assert_eq!(freed, 0, "it is being read");
        drop(reader);
        assert_eq!(walk_over(&mut walk, &node).await.freed, 1);
        assert_eq!(node.shards(0), 2, "the one with a name, and the new one");
        assert!(node.get("named").await.expect("read") == body);
    });
}

#[test]
fn orphan_collection_of_a_long_body_reads_each_row_a_few_times() {
    const CHUNKS: u64 = 20_000;
    run(&Simulation::new(15), 64, async || {
        let node = Node::start(&Shape::single(1, 64)).await;
        node.put("short", &content(1, 20_000))
            .await
            .expect("stored");
        let inode = node.cluster.new_inode().await.expect("an inode");
        let mut extents = Vec::new();
        let piece = Bytes::from_static(&[7; 4096]);
        for first in (0..CHUNKS).step_by(200) {
            let numbers = first..first + 200;
            extents.extend(node.store_chunks(inode, "short", numbers, &piece).await);
        }
        // The last one takes the place of one that then has no name: neither lies where its owner says.
        let orphan = extents.swap_remove(extents.len() / 2);
        let count = extents.len();
        node.name("long", inode, Body::Extents(extents))
            .await
            .expect("named");
        rotate(&node).await;
        let mut walk = OrphanWalk::new(node.places[0]);
        let walked = walk_over(&mut walk, &node).await;
        assert_eq!(walked.freed, 0);
        reactor::sleep(ORPHAN_GRACE).await;
        assert_eq!(walk_over(&mut walk, &node).await.freed, 1, "{orphan:?}");
        let rows = count.div_ceil(24);
        assert!(
            walked.rows < 20 * rows,
            "{} reads of {rows} rows",
            walked.rows
        );
    });
}

#[test]
fn an_upload_of_a_day_is_cut() {
    run(&Simulation::new(16), 16, async || {
        let node = Node::start(&Shape::single(1, 16)).await;
        let mut upload = node.cluster.writer(5000, SPACE_FILE);
        let body = content(1, 100_000);
        upload.write(body.clone()).await.expect("taken");
        rotate(&node).await;
        reactor::sleep(BODY_TIME_MAX).await;
        let cut = upload.write(body.clone()).await;
        assert!(matches!(cut, Err(ClusterError::Invalid(_))), "{cut:?}");
        let cut = upload.finish().await;
        assert!(matches!(cut, Err(ClusterError::Invalid(_))), "{cut:?}");
        node.put("k", &body).await.expect("a new one may begin");
    });
}
