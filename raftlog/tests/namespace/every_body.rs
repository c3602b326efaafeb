//! The walk over the extents of all bodies: it finds every chunk, and says which of them are needed.

use strata_raftlog::namespace::command::{
    AbortUpload, Answer, CompleteUpload, CompletedPart, CreateUpload, Precondition, PutObject,
    PutObjectWithExtras, PutPart,
};
use strata_raftlog::namespace::{
    Body, BodyPosition, ChunkId, ETag, Extent, ObjectAttributes, ObjectExtras, PART_BYTES_MIN, Tag,
};

use crate::commands::put;
use crate::support::{Cluster, FIRST_BUCKET};

/// The chunks that the walk finds, by pages of so many rows, each with whether it is needed.
fn walk(cluster: &Cluster, rows: usize) -> Vec<(ChunkId, bool)> {
    let view = cluster.store.view().unwrap();
    let mut found = Vec::new();
    let mut from = Some(BodyPosition::default());
    while let Some(at) = from {
        let page = view.every_extent(at, rows).unwrap();
        for (at, extent) in page.extents {
            let is_needed = view.is_body_needed(at.inode, at.space).unwrap();
            let there = view.extents(at.inode, at.space, at.offset, 1).unwrap();
            assert!(there.contains(&(at.offset, extent.clone())), "{at:?}");
            found.push((extent.chunk, is_needed));
        }
        assert!(page.next.is_none_or(|next| next > at), "it goes on");
        from = page.next;
    }
    found
}

fn upload(cluster: &mut Cluster, key: &[u8]) -> u64 {
    let inode = cluster.inode();
    let create = CreateUpload {
        bucket: FIRST_BUCKET,
        key: key.to_vec(),
        inode,
        attributes: ObjectAttributes::default(),
        checksum: None,
        owner: 0,
    };
    assert_eq!(cluster.change(create), Answer::Done);
    inode
}

fn part(cluster: &mut Cluster, key: &[u8], upload: u64, number: u16, space: u32) -> Extent {
    let extent = cluster.extent(PART_BYTES_MIN);
    let put = PutPart {
        bucket: FIRST_BUCKET,
        key: key.to_vec(),
        upload,
        number,
        space,
        size: PART_BYTES_MIN,
        etag: ETag::single([1; 16]),
        checksum: None,
        body: Body::Extents(vec![extent.clone()]),
    };
    assert_eq!(cluster.change(put), Answer::Done);
    extent
}

#[test]
fn bodies_without_extents_end_a_page_too() {
    let mut cluster = Cluster::new();
    cluster.bucket("b");
    for number in 0..50u8 {
        let inode = cluster.inode();
        cluster.change(PutObjectWithExtras {
            put: PutObject {
                attributes: ObjectAttributes::default(),
                ..put(FIRST_BUCKET, &[number], inode, Body::Empty)
            },
            extras: ObjectExtras {
                tags: vec![Tag {
                    key: "team".into(),
                    value: "storage".into(),
                }],
                ..ObjectExtras::default()
            },
        });
    }
    let middle = cluster.inode() - 25;
    let extent = cluster.extent(70_000);
    cluster.put("b", b"last", Body::Extents(vec![extent.clone()]));
    let page = cluster
        .store
        .view()
        .unwrap()
        .every_extent(BodyPosition::default(), 20)
        .unwrap();
    let next = page.next.expect("more to come");
    assert!(next.inode < middle, "{next:?}");
    for rows in [1, 2, 20, 1000] {
        assert_eq!(walk(&cluster, rows), [(extent.chunk, true)], "{rows}");
    }
}

#[test]
fn every_chunk_is_found_and_the_needed_ones_are_known() {
    let mut cluster = Cluster::new();
    cluster.bucket("b");
    let mut expected = Vec::new();
    for number in 0..5u8 {
        cluster.put("b", &[b'i', number], Body::Inline(vec![1; 9000]));
        let extents: Vec<Extent> = (0..40).map(|_| cluster.extent(70_000)).collect();
        cluster.put("b", &[b'e', number], Body::Extents(extents.clone()));
        expected.extend(extents.iter().map(|extent| (extent.chunk, number != 2)));
    }
    cluster.delete("b", &[&[b'e', 2], &[b'i', 3]]);
    // An upload of which a part was put twice, complete without its last part; one that is under way; one that was aborted.
    let done = upload(&mut cluster, b"done");
    let replaced = part(&mut cluster, b"done", done, 1, 1);
    let used = part(&mut cluster, b"done", done, 1, 2);
    let unused = part(&mut cluster, b"done", done, 2, 3);
    let complete = CompleteUpload {
        bucket: FIRST_BUCKET,
        key: b"done".to_vec(),
        upload: done,
        parts_changed: {
            let view = cluster.store.view().unwrap();
            let row = view.upload(FIRST_BUCKET, b"done", done).unwrap();
            row.unwrap().parts_changed
        },
        parts: vec![CompletedPart {
            space: 2,
            size: PART_BYTES_MIN,
        }],
        etag: ETag {
            digest: [9; 16],
            part_count: 1,
        },
        checksum: None,
        part_checksums: Vec::new(),
        precondition: Precondition::default(),
    };
    assert!(matches!(cluster.change(complete), Answer::Put { .. }));
    let under_way = upload(&mut cluster, b"under way");
    let old = part(&mut cluster, b"under way", under_way, 7, 1);
    let new = part(&mut cluster, b"under way", under_way, 7, 2);
    let aborted = upload(&mut cluster, b"aborted");
    let gone = part(&mut cluster, b"aborted", aborted, 1, 1);
    let abort = AbortUpload {
        bucket: FIRST_BUCKET,
        key: b"aborted".to_vec(),
        upload: aborted,
    };
    assert_eq!(cluster.change(abort), Answer::Done);
    expected.extend([
        (replaced.chunk, false),
        (used.chunk, true),
        (unused.chunk, false),
        (old.chunk, false),
        (new.chunk, true),
        (gone.chunk, false),
    ]);
    expected.sort();
    for rows in [1, 2, 3, 10, 1000] {
        let mut found = walk(&cluster, rows);
        found.sort();
        assert_eq!(found, expected, "pages of {rows} rows");
    }
    cluster.release_all();
    let left = walk(&cluster, 10);
    assert!(left.iter().all(|(_, is_needed)| *is_needed));
    let needed = expected.iter().filter(|(_, is_needed)| *is_needed).count();
    assert_eq!(left.len(), needed);
}
