//! Multipart uploads: what is refused, replaced, listed.

use strata_raftlog::namespace::command::{
    AbortUpload, Answer, CompleteUpload, CompletedPart, CreateUpload, DeleteBucket, Precondition,
    PutPart, Refusal,
};
use strata_raftlog::namespace::{
    Body, Checksum, ChecksumAlgorithm, ChecksumKind, ETag, INLINE_BYTES_MAX, ObjectAttributes,
    ObjectPart, PART_BYTES_MIN, PieceSource, UploadQuery,
};

use crate::commands::put;
use crate::support::{Cluster, FIRST_BUCKET};

fn tag(fill: u8) -> ETag {
    ETag::single([fill; 16])
}

fn crc(fill: u8) -> Checksum {
    Checksum {
        algorithm: ChecksumAlgorithm::Crc32c,
        kind: ChecksumKind::FullObject,
        value: vec![fill; 4],
        part_count: 0,
    }
}

fn create(cluster: &mut Cluster, key: &[u8]) -> CreateUpload {
    CreateUpload {
        bucket: FIRST_BUCKET,
        key: key.to_vec(),
        inode: cluster.inode(),
        attributes: ObjectAttributes {
            content_type: Some("text/plain".into()),
            ..ObjectAttributes::default()
        },
        checksum: Some((ChecksumAlgorithm::Crc32c, ChecksumKind::FullObject)),
        owner: 0,
    }
}

fn part(upload: u64, number: u16, space: u32, body: Body) -> PutPart {
    PutPart {
        bucket: FIRST_BUCKET,
        key: b"k".to_vec(),
        upload,
        number,
        space,
        size: body.length(),
        etag: tag(number as u8),
        checksum: Some(crc(number as u8)),
        body,
    }
}

/// What a front end proposes that has just read the parts.
fn complete(cluster: &Cluster, upload: u64, numbers: &[u16]) -> CompleteUpload {
    let view = cluster.store.view().unwrap();
    let row = view.upload(FIRST_BUCKET, b"k", upload).unwrap();
    let stored = view.parts(upload, 0, 10_000).unwrap();
    let named = numbers.iter().map(|number| {
        let at = stored.binary_search_by_key(number, |(number, _)| *number);
        &stored[at.unwrap()].1
    });
    let values = named.clone().filter_map(|part| part.checksum.as_ref());
    let named = named.map(|part| CompletedPart {
        space: part.space,
        size: part.size,
    });
    CompleteUpload {
        bucket: FIRST_BUCKET,
        key: b"k".to_vec(),
        upload,
        parts_changed: row.map_or(0, |row| row.parts_changed),
        parts: named.collect(),
        etag: ETag {
            digest: [9; 16],
            part_count: numbers.len() as u32,
        },
        checksum: Some(crc(9)),
        part_checksums: values.flat_map(|checksum| checksum.value.clone()).collect(),
        precondition: Precondition::default(),
    }
}

fn refused(refusal: Refusal) -> Answer {
    Answer::Refused(refusal)
}

#[test]
fn an_upload_becomes_an_object_of_its_parts() {
    let mut cluster = Cluster::new();
    let bucket = cluster.bucket("b");
    let old = [cluster.extent(100)];
    cluster.put("b", b"k", Body::Extents(old.to_vec()));
    let begin = create(&mut cluster, b"k");
    let upload = begin.inode;
    assert_eq!(cluster.change(begin), Answer::Done);
    let (first, replaced) = (
        cluster.extent(PART_BYTES_MIN),
        cluster.extent(PART_BYTES_MIN),
    );
    let unused = cluster.extent(77);
    for (number, space, body) in [
        (2, 1, Body::Extents(vec![replaced.clone()])),
        (3, 2, Body::Extents(vec![unused.clone()])),
        (2, 3, Body::Extents(vec![first.clone()])),
        (5, 4, Body::Inline(b"tail".to_vec())),
    ] {
        assert_eq!(
            cluster.change(part(upload, number, space, body)),
            Answer::Done
        );
    }
    let view = cluster.store.view().unwrap();
    assert!(
        view.object("b", b"k")
            .unwrap()
            .is_some_and(|object| object.size == 100)
    );
    assert_eq!(view.parts(upload, 2, 1).unwrap()[0].0, 3);
    assert_eq!(view.parts(upload, 0, 10).unwrap().len(), 3);
    drop(view);

    let command = complete(&cluster, upload, &[2, 5]);
    let answer = cluster.change(command.clone());
    assert!(
        matches!(answer, Answer::Put { inode, .. } if inode == upload),
        "{answer:?}"
    );
    let view = cluster.store.view().unwrap();
    let object = view.object("b", b"k").unwrap().unwrap();
    assert_eq!(object.size, PART_BYTES_MIN + 4);
    assert_eq!(object.etag.part_count, 2);
    assert_eq!(object.checksum, Some(crc(9)));
    assert_eq!(
        object.attributes.content_type.as_deref(),
        Some("text/plain")
    );
    let range = PART_BYTES_MIN - 1..PART_BYTES_MIN + 2;
    let pieces = view.body(&object, range, 10).unwrap().unwrap();
    assert!(
        matches!(&pieces[0].source, PieceSource::Chunk { extent, space: 3 }
            if extent.chunk == first.chunk && extent.offset == PART_BYTES_MIN - 1)
    );
    assert_eq!(pieces[1].source, PieceSource::Inline(b"ta".to_vec()));
    assert!(
        view.uploads(
            bucket,
            &UploadQuery {
                limit: 9,
                ..UploadQuery::default()
            }
        )
        .unwrap()
        .uploads
        .is_empty()
    );
    drop(view);
    let rows = cluster.rows_of(b"X");
    let freed = cluster.release_all();
    assert_eq!(freed, [old[0].chunk, replaced.chunk, unused.chunk]);
    assert_eq!(cluster.rows_of(b"MF"), 0);
    assert_eq!(cluster.rows_of(b"X"), rows - 3, "those of the chunks");
    let view = cluster.store.view().unwrap();
    let pieces = view.body(&object, 0..object.size, 10).unwrap().unwrap();
    assert_eq!(pieces.len(), 2, "what is part of the object stays");
    drop(view);
    assert_eq!(
        cluster.change(command),
        refused(Refusal::NoSuchUpload),
        "completed once"
    );
}

#[test]
fn what_does_not_fit_is_refused_and_changes_nothing() {
    let mut cluster = Cluster::new();
    cluster.bucket("b");
    let begin = create(&mut cluster, b"k");
    let upload = begin.inode;
    cluster.change(begin.clone());
    assert!(
        matches!(cluster.change(begin), Answer::Refused(Refusal::Invalid(_))),
        "inode in use"
    );
    let small = Body::Inline(vec![1; 10]);
    assert_eq!(
        cluster.change(part(upload, 1, 1, small.clone())),
        Answer::Done
    );
    assert_eq!(
        cluster.change(part(upload, 2, 2, small.clone())),
        Answer::Done
    );
    let rows = |cluster: &Cluster| cluster.rows_of(b"DIMXF");
    let before = rows(&cluster);
    let invalid = |answer| assert!(matches!(answer, Answer::Refused(Refusal::Invalid(_))));
    invalid(cluster.change(part(upload, 0, 9, small.clone())));
    invalid(cluster.change(part(upload, 10_001, 9, small.clone())));
    invalid(cluster.change(part(upload, 1, 0, small.clone())));
    invalid(cluster.change(part(upload, 1, 2, small.clone())));
    invalid(cluster.change(complete(&cluster, upload, &[])));
    let mut other = part(upload, 1, 9, small.clone());
    other.checksum = Some(Checksum {
        algorithm: ChecksumAlgorithm::Sha1,
        value: vec![0; 20],
        ..crc(0)
    });
    assert_eq!(cluster.change(other), refused(Refusal::ChecksumMismatch));
    assert_eq!(
        cluster.change(part(upload + 1, 1, 9, small.clone())),
        refused(Refusal::NoSuchUpload)
    );
    let mut uncounted = complete(&cluster, upload, &[1, 2]);
    uncounted.etag.part_count = 1;
    invalid(cluster.change(uncounted));
    let mut huge = complete(&cluster, upload, &[1, 2]);
    huge.parts[0].size = u64::MAX;
    assert_eq!(cluster.change(huge), refused(Refusal::EntityTooLarge));
    let before_the_change = complete(&cluster, upload, &[1, 2]);
    let again = part(upload, 2, 3, small.clone());
    assert_eq!(cluster.change(again), Answer::Done);
    assert_eq!(
        cluster.change(before_the_change),
        refused(Refusal::PartsChanged)
    );
    assert_eq!(
        cluster.change(DeleteBucket {
            bucket: FIRST_BUCKET
        }),
        refused(Refusal::BucketNotEmpty)
    );
    assert_eq!(rows(&cluster), before);
    let abort = AbortUpload {
        bucket: FIRST_BUCKET,
        key: b"k".to_vec(),
        upload,
    };
    assert_eq!(cluster.change(abort.clone()), Answer::Done);
    assert_eq!(cluster.change(abort), refused(Refusal::NoSuchUpload));
    assert_eq!(cluster.rows_of(b"F"), 1);
    assert_eq!(cluster.release_all(), []);
    assert_eq!(cluster.rows_of(b"MXF"), 0);
    assert_eq!(
        cluster.change(DeleteBucket {
            bucket: FIRST_BUCKET
        }),
        Answer::Done
    );
}

#[test]
fn uploads_are_listed_by_key_and_upload() {
    let mut cluster = Cluster::new();
    let bucket = cluster.bucket("b");
    let mut uploads = Vec::new();
    for key in [&b"a"[..], b"a", b"b/1", b"b/2", b"b\0", b"c"] {
        let begin = create(&mut cluster, key);
        uploads.push((key.to_vec(), begin.inode));
        cluster.change(begin);
    }
    uploads.sort();
    let page = |query: &UploadQuery| {
        cluster
            .store
            .view()
            .unwrap()
            .uploads(bucket, query)
            .unwrap()
    };
    let all = |mut query: UploadQuery| {
        let (mut found, mut prefixes) = (Vec::new(), Vec::new());
        loop {
            let page = page(&query);
            found.extend(
                page.uploads
                    .into_iter()
                    .map(|upload| (upload.key, upload.upload)),
            );
            prefixes.extend(page.common_prefixes);
            match page.next {
                Some((key, upload)) => (query.key_marker, query.upload_marker) = (key, upload),
                None => return (found, prefixes),
            }
        }
    };
    for limit in 1..7 {
        let query = UploadQuery {
            limit,
            ..UploadQuery::default()
        };
        assert_eq!(all(query.clone()), (uploads.clone(), Vec::new()));
        let rolled = UploadQuery {
            delimiter: b"/".to_vec(),
            ..query.clone()
        };
        let outside: Vec<_> = uploads
            .iter()
            .filter(|(key, _)| !key.starts_with(b"b/"))
            .cloned()
            .collect();
        assert_eq!(all(rolled), (outside, vec![b"b/".to_vec()]));
        let below = UploadQuery {
            prefix: b"b/".to_vec(),
            ..query
        };
        assert_eq!(all(below).0, uploads[3..5]);
    }
    assert!(
        page(&UploadQuery::default()).uploads.is_empty(),
        "a limit of 0"
    );
}

#[test]
fn inline_parts_that_are_not_used_are_released_a_bounded_number_of_rows_at_a_time() {
    let mut cluster = Cluster::new();
    cluster.bucket("b");
    let command = create(&mut cluster, b"k");
    let upload = command.inode;
    cluster.change(command);
    for number in 1..=200 {
        let body = Body::Inline(vec![number as u8; INLINE_BYTES_MAX]);
        let answer = cluster.change(part(upload, number, u32::from(number), body));
        assert_eq!(answer, Answer::Done);
    }
    let command = complete(&cluster, upload, &[7]);
    assert!(matches!(cluster.change(command), Answer::Put { .. }));
    // Asserts for each command how many rows it takes.
    assert_eq!(cluster.release_all(), []);
    assert_eq!(cluster.rows_of(b"MF"), 0);
    let view = cluster.store.view().unwrap();
    let object = view.object("b", b"k").unwrap().unwrap();
    let pieces = view.body(&object, 0..object.size, 10).unwrap().unwrap();
    assert_eq!(
        pieces[0].source,
        PieceSource::Inline(vec![7; INLINE_BYTES_MAX])
    );
    drop(view);
    cluster.delete("b", &[b"k"]);
    cluster.release_all();
    assert_eq!(cluster.rows_of(b"MXF"), 0, "nothing may stay behind");
}

#[test]
fn a_part_of_no_bytes_has_a_range_too() {
    let mut cluster = Cluster::new();
    cluster.bucket("b");
    for full in [0, 1, 64] {
        let begin = create(&mut cluster, b"k");
        let upload = begin.inode;
        cluster.change(begin);
        let numbers: Vec<u16> = (1..=full + 1).collect();
        for number in &numbers {
            let body = match *number <= full {
                true => Body::Extents(vec![cluster.extent(PART_BYTES_MIN)]),
                false => Body::Empty,
            };
            let put = part(upload, *number, u32::from(*number), body);
            assert_eq!(cluster.change(put), Answer::Done);
        }
        let answer = cluster.change(complete(&cluster, upload, &numbers));
        assert!(matches!(answer, Answer::Put { .. }), "{answer:?}");
        let view = cluster.store.view().unwrap();
        let object = view.object("b", b"k").unwrap().unwrap();
        let end = u64::from(full) * PART_BYTES_MIN;
        assert_eq!(object.size, end);
        let last = ObjectPart {
            range: end..end,
            checksum: Some(crc(full as u8 + 1)),
        };
        let parts = view.object_parts(&object, usize::from(full), 10).unwrap();
        assert_eq!(parts, std::slice::from_ref(&last));
        let empty = view.object_part(&object, full + 1).unwrap();
        assert_eq!(empty, Some(last));
        assert_eq!(view.object_part(&object, full + 2).unwrap(), None);
    }
    cluster.put("b", b"k", Body::Inline(vec![1]));
    let view = cluster.store.view().unwrap();
    let single = view.object("b", b"k").unwrap().unwrap();
    assert_eq!(view.object_part(&single, 1).unwrap(), None);
    assert_eq!(view.object_parts(&single, 0, 10).unwrap(), []);
}

#[test]
fn ten_thousand_parts_are_read_from_anywhere() {
    let mut cluster = Cluster::new();
    cluster.bucket("b");
    let begin = create(&mut cluster, b"k");
    let upload = begin.inode;
    cluster.change(begin);
    let mut commands = Vec::new();
    let numbers: Vec<u16> = (1..=10_000).collect();
    for number in numbers.iter().copied() {
        let body = Body::Extents(vec![cluster.extent(PART_BYTES_MIN)]);
        let mut put = part(upload, number, u32::from(number), body);
        (put.etag, put.checksum) = (tag(0), None);
        commands.push(put.into());
    }
    cluster.outstanding = 0;
    assert!(
        cluster
            .change_all(commands)
            .iter()
            .all(|answer| *answer == Answer::Done)
    );
    let command = complete(&cluster, upload, &numbers);
    assert!(matches!(cluster.change(command), Answer::Put { .. }));
    let view = cluster.store.view().unwrap();
    let object = view.object("b", b"k").unwrap().unwrap();
    for part in [0, 1, 63, 64, 65, 127, 128, 5_000, 9_999] {
        let at = part * PART_BYTES_MIN;
        let pieces = view
            .body(&object, at.saturating_sub(1)..at + 1, 5)
            .unwrap()
            .unwrap();
        let last = pieces.last().unwrap();
        assert!(
            matches!(&last.source, PieceSource::Chunk { space, extent }
                if *space == part as u32 + 1 && extent.offset == 0 && extent.length == 1),
            "{part}: {pieces:?}"
        );
        assert_eq!(pieces.len(), if part == 0 { 1 } else { 2 });
        let found = view.object_part(&object, part as u16 + 1).unwrap();
        let range = found.map(|part| part.range);
        assert_eq!(range, Some(at..at + PART_BYTES_MIN));
    }
    assert_eq!(view.object_part(&object, 0).unwrap(), None);
    assert_eq!(view.object_part(&object, 10_001).unwrap(), None);
    for (after, limit, expected) in [
        (0, 1000, 1000),
        (63, 2, 2),
        (64, 64, 64),
        (65, 128, 128),
        (9_990, 1000, 10),
        (10_000, 1000, 0),
        (usize::MAX, 1000, 0),
        (0, 0, 0),
    ] {
        let parts = view.object_parts(&object, after, limit).unwrap();
        assert_eq!(parts.len(), expected, "{after} {limit}");
        for (at, part) in parts.iter().enumerate() {
            let start = (after + at) as u64 * PART_BYTES_MIN;
            assert_eq!(part.range, start..start + PART_BYTES_MIN);
            assert_eq!(part.checksum, None, "none was given");
        }
    }
    drop(view);
    let inode = cluster.put("b", b"k", Body::Empty);
    assert_ne!(inode, upload);
    assert_eq!(cluster.rows_of(b"F"), 2, "its parts, and then the object");
    let again = cluster.change(put(FIRST_BUCKET, b"k", upload, Body::Empty));
    assert!(
        matches!(again, Answer::Refused(Refusal::Invalid(_))),
        "not before all its rows are released: {again:?}"
    );
    assert_eq!(cluster.release_all().len(), 10_000);
    assert_eq!(cluster.rows_of(b"MXF"), 0);
    let other = put(FIRST_BUCKET, b"k", upload, Body::Empty);
    assert!(
        matches!(cluster.change(other), Answer::Put { .. }),
        "a leased inode that is free"
    );
}
