//! Uploads, copies and reads that have to share a small arena.

use std::time::Duration;

use bytes::Bytes;
use strata_engine::CELL_BYTES;
use strata_engine::reactor::{self, Simulation, TaskClass, arena_pressure};
use strata_raftlog::namespace::command::{Command, PutObject};
use strata_raftlog::namespace::{Body, ETag, Extent, ObjectAttributes};

use super::world::{Node, Shape, content, run};
use crate::cluster::Cluster;
use crate::cluster::read::BodySource;
use crate::cluster::write::{CHUNKS_MAX, SPACE_FILE};
use crate::error::ClusterError;

const MIB: usize = 1 << 20;

fn held() -> usize {
    let pressure = arena_pressure();
    pressure.total_bytes - pressure.free_bytes
}

/// Copies a body as a front end does: some readers read ahead and hand out buffers, the others read a little at a time and
/// hand out copies.
async fn copy(
    cluster: Cluster,
    inode: u64,
    source: Vec<Extent>,
    is_lean: bool,
) -> Result<Body, ClusterError> {
    let length: u64 = source.iter().map(|extent| extent.length).sum();
    let mut writer = cluster.writer(inode, SPACE_FILE);
    let step = if is_lean { CELL_BYTES as u64 } else { length };
    let mut at = 0;
    while at < length {
        let range = at..(at + step).min(length);
        at = range.end;
        let mut reader = cluster.reader(1, BodySource::Extents(source.clone()), range);
        while let Some(bytes) = reader.next().await {
            // A copy leaves no buffer behind while the writer waits.
            let bytes = match is_lean {
                true => Bytes::copy_from_slice(&bytes?),
                false => bytes?,
            };
            writer.write(bytes).await?;
        }
    }
    writer.finish().await
}

#[test]
fn copies_that_fill_the_arena_finish() {
    run(&Simulation::new(20), 8, async || {
        let node = Node::start(&Shape::single(1, 64)).await;
        node.put("source", &content(1, 2 * MIB))
            .await
            .expect("stored");
        let source = node.extents("source");
        let copies: Vec<_> = (0..32)
            .map(|number| {
                let copy = copy(
                    node.cluster.clone(),
                    1000 + number,
                    source.clone(),
                    number > 4,
                );
                reactor::spawn(TaskClass::Foreground, copy)
            })
            .collect();
        for copy in copies {
            let body = copy.await.expect("copied");
            assert_eq!(body.length(), 2 * MIB as u64);
        }
    });
}

#[test]
fn an_upload_that_stalls_holds_no_more_than_a_cell() {
    run(&Simulation::new(21), 8, async || {
        let node = Node::start(&Shape::single(1, 64)).await;
        reactor::sleep(Duration::from_secs(1)).await;
        let idle = held();
        let mut uploads = Vec::new();
        for sent in [20_000, CELL_BYTES, 100_000, 300_000, MIB - 1, 3 * MIB + 5] {
            let mut upload = node.cluster.writer(2000 + sent as u64, SPACE_FILE);
            upload
                .write(content(sent as u64, sent))
                .await
                .expect("taken");
            uploads.push((sent, upload));
        }
        reactor::sleep(Duration::from_secs(3)).await;
        let limit = idle + uploads.len() * CELL_BYTES;
        assert!(held() <= limit, "{} of {limit} bytes are held", held());
        for (sent, mut upload) in uploads {
            upload.write(content(7, 100_000)).await.expect("goes on");
            let body = upload.finish().await.expect("stored");
            assert_eq!(body.length(), sent as u64 + 100_000);
        }
    });
}

#[test]
fn reads_go_on_while_uploads_wait_for_memory() {
    run(&Simulation::new(22), 8, async || {
        let node = Node::start(&Shape::single(1, 64)).await;
        let body = content(1, 2 * MIB);
        node.put("object", &body).await.expect("stored");
        // More uploads than the arena holds, each with the beginning of a chunk, for less time than makes a stall.
        let uploads: Vec<_> = (0..200)
            .map(|number| {
                let mut upload = node.cluster.writer(3000 + number, SPACE_FILE);
                reactor::spawn(TaskClass::Foreground, async move {
                    let taken = upload.write(content(number, 60_000)).await;
                    (upload, taken)
                })
            })
            .collect();
        reactor::sleep(Duration::from_millis(50)).await;
        assert!(node.get("object").await.expect("read") == body);
        let mut refused = 0;
        for upload in uploads {
            match upload.await {
                (_, Ok(())) => {}
                (_, Err(ClusterError::Busy(_))) => refused += 1,
                (_, Err(error)) => panic!("{error}"),
            }
        }
        assert_eq!(refused, 0, "those before were dropped in time");
    });
}

#[test]
fn an_upload_is_told_to_come_back_when_no_memory_becomes_free() {
    run(&Simulation::new(23), 8, async || {
        let node = Node::start(&Shape::single(1, 64)).await;
        let mut kept = Vec::new();
        while let Some(buffer) = reactor::try_allocate(CELL_BYTES) {
            kept.push(buffer);
        }
        let begun = reactor::now();
        let refused = node.store(4000, &content(1, 100_000)).await;
        assert!(matches!(refused, Err(ClusterError::Busy(_))), "{refused:?}");
        assert_eq!(begun.elapsed().as_secs(), crate::memory::WAIT_MAX.as_secs());
        drop(kept);
        node.store(4001, &content(1, 100_000))
            .await
            .expect("stored");
    });
}

#[test]
fn uploads_with_memory_are_cut_into_the_longest_chunks() {
    run(&Simulation::new(24), 16, async || {
        let node = Node::start(&Shape::single(1, 64)).await;
        let body = content(1, 5 * MIB + 77);
        node.put("k", &body).await.expect("stored");
        let lengths: Vec<u64> = node.extents("k").iter().map(|e| e.length).collect();
        let mib = MIB as u64;
        assert_eq!(lengths, [mib, mib, mib, mib, mib, 77]);
        assert!(node.get("k").await.expect("read") == body);
    });
}

#[test]
fn the_longest_body_in_the_shortest_chunks_can_be_proposed() {
    let extent = Extent::whole_chunk(strata_engine::ChunkId(u128::MAX), 1, 3, 7);
    let user_metadata = vec![("x".repeat(1000), "y".repeat(15_000))];
    let put = PutObject {
        bucket: u64::MAX,
        key: vec![0xff; 1024],
        inode: u64::MAX,
        size: u64::MAX,
        etag: ETag::single([7; 16]),
        checksum: None,
        attributes: ObjectAttributes {
            user_metadata,
            ..ObjectAttributes::default()
        },
        body: Body::Extents(vec![extent; CHUNKS_MAX]),
        precondition: Default::default(),
        owner: u64::MAX,
    };
    let envelope = strata_raftlog::namespace::command::Envelope {
        group: 0,
        feature_level: 1,
        session: 1,
        sequence: 1,
        lowest_unanswered: 1,
        time_nanos: 1,
        command: Command::from(put),
    };
    let bytes = envelope.encode().expect("an envelope").len();
    assert!(
        bytes <= strata_raftlog::consensus::group::PROPOSAL_BYTES_MAX,
        "{bytes}"
    );
}
