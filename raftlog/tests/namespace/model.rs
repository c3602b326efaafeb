//! Random commands against a model of objects, uploads and chunks. No chunk is ever lost: each that
//! was introduced is referenced by its inode or queued to be freed, and never both.

use std::collections::{BTreeMap, BTreeSet};

use strata_raftlog::namespace::command::{
    AbortUpload, Answer, CompleteUpload, CompletedPart, CreateUpload, DeleteOutcome, Precondition,
    PutPart, Release, ReleaseBodies,
};
use strata_raftlog::namespace::{
    Body, BodyPiece, BucketUsage, ChunkId, DroppedScope, ETag, ListQuery, LogEntry,
    ObjectAttributes, PART_BYTES_MIN, PieceSource, UploadQuery, View,
};

use strata_raftlog::namespace::store::{NamespaceStore, StoreOptions};

use crate::random::Random;
use crate::support::{Cluster, FIRST_BUCKET, MAP_BYTES, rows_of};

const MIB: u64 = 1 << 20;

#[derive(Default)]
struct Model {
    objects: BTreeMap<Vec<u8>, ModelObject>,
    uploads: BTreeMap<(Vec<u8>, u64), BTreeMap<u16, ModelPart>>,
    /// Queued to be freed.
    freed: BTreeSet<ChunkId>,
    /// Freed and forgotten.
    gone: BTreeSet<ChunkId>,
    spaces: u32,
}

struct ModelObject {
    inode: u64,
    bodies: Vec<Body>,
}

#[derive(Clone)]
struct ModelPart {
    body: Body,
    etag: ETag,
}

fn chunks(body: &Body) -> Vec<ChunkId> {
    match body {
        Body::Extents(extents) => extents.iter().map(|extent| extent.chunk).collect(),
        _ => Vec::new(),
    }
}

impl Model {
    fn usage(&self) -> BucketUsage {
        let bodies = self.objects.values().flat_map(|object| &object.bodies);
        BucketUsage {
            objects: self.objects.len() as u64,
            bytes: bodies.map(Body::length).sum(),
        }
    }

    fn free(&mut self, body: &Body) {
        self.freed.extend(chunks(body));
    }

    fn drop_object(&mut self, key: &[u8]) -> bool {
        let object = self.objects.remove(key);
        let found = object.is_some();
        object
            .into_iter()
            .flat_map(|object| object.bodies)
            .for_each(|body| self.free(&body));
        found
    }
}

fn some_key(random: &mut Random) -> Vec<u8> {
    [
        "a", "a/", "a/b", "a//b", "b/c/d", "b/c", "b/", "/", "//", "z",
    ][random.below(10)]
    .into()
}

fn some_body(random: &mut Random, cluster: &mut Cluster, large: bool) -> Body {
    match random.below(4) {
        0 if !large => Body::Empty,
        1 if !large => Body::Inline(vec![random.next() as u8; 1 + random.below(16 * 1024)]),
        _ => {
            let count = 1 + random.below(60);
            let first = cluster.extent(5 * MIB);
            let rest = (1..count).map(|_| cluster.extent(1 + random.next() % MIB));
            Body::Extents([vec![first], rest.collect()].concat())
        }
    }
}

fn step(random: &mut Random, cluster: &mut Cluster, model: &mut Model) {
    match random.below(10) {
        0..3 => {
            let key = some_key(random);
            let body = some_body(random, cluster, false);
            let inode = cluster.put("b", &key, body.clone());
            model.drop_object(&key);
            model.objects.insert(
                key,
                ModelObject {
                    inode,
                    bodies: vec![body],
                },
            );
        }
        3 | 4 => {
            let keys: Vec<Vec<u8>> = (0..1 + random.below(3)).map(|_| some_key(random)).collect();
            let expected: Vec<DeleteOutcome> = keys
                .iter()
                .map(|key| match model.drop_object(key) {
                    true => DeleteOutcome::Deleted,
                    false => DeleteOutcome::Absent,
                })
                .collect();
            let keys: Vec<&[u8]> = keys.iter().map(|key| &key[..]).collect();
            assert_eq!(cluster.delete("b", &keys), expected);
        }
        5 => create_upload(random, cluster, model),
        6 | 7 => put_part(random, cluster, model),
        8 => end_upload(random, cluster, model),
        _ => release_some(random, cluster, model),
    }
}

fn create_upload(random: &mut Random, cluster: &mut Cluster, model: &mut Model) {
    let (key, inode) = (some_key(random), cluster.inode());
    let answer = cluster.change(CreateUpload {
        bucket: FIRST_BUCKET,
        key: key.clone(),
        inode,
        attributes: ObjectAttributes::default(),
        checksum: None,
        owner: 0,
    });
    assert_eq!(answer, Answer::Done);
    model.uploads.insert((key, inode), BTreeMap::new());
}

fn some_upload(random: &mut Random, model: &Model) -> Option<(Vec<u8>, u64)> {
    let count = model.uploads.len().max(1);
    model.uploads.keys().nth(random.below(count)).cloned()
}

fn put_part(random: &mut Random, cluster: &mut Cluster, model: &mut Model) {
    let Some((key, upload)) = some_upload(random, model) else {
        return;
    };
    let number = 1 + random.below(5) as u16;
    let large = random.below(4) > 0;
    let body = some_body(random, cluster, large);
    let etag = ETag::single([random.next() as u8; 16]);
    model.spaces += 1;
    let answer = cluster.change(PutPart {
        bucket: FIRST_BUCKET,
        key: key.clone(),
        upload,
        number,
        space: model.spaces,
        size: body.length(),
        etag,
        checksum: None,
        body: body.clone(),
    });
    assert_eq!(answer, Answer::Done);
    let parts = model.uploads.get_mut(&(key, upload)).unwrap();
    if let Some(old) = parts.insert(number, ModelPart { body, etag }) {
        model.free(&old.body);
    }
}

fn end_upload(random: &mut Random, cluster: &mut Cluster, model: &mut Model) {
    let Some((key, upload)) = some_upload(random, model) else {
        return;
    };
    let parts = model.uploads[&(key.clone(), upload)].clone();
    let chosen: Vec<(u16, ModelPart)> = parts
        .clone()
        .into_iter()
        .filter(|_| random.below(4) > 0)
        .collect();
    let too_small = chosen
        .iter()
        .rev()
        .skip(1)
        .any(|(_, p)| p.body.length() < PART_BYTES_MIN);
    if chosen.is_empty() || too_small || random.below(4) == 0 {
        let answer = cluster.change(AbortUpload {
            bucket: FIRST_BUCKET,
            key: key.clone(),
            upload,
        });
        assert_eq!(answer, Answer::Done);
        parts.values().for_each(|part| model.free(&part.body));
        model.uploads.remove(&(key, upload));
        return;
    }
    let (parts_changed, named) = {
        let view = cluster.store.view().unwrap();
        let row = view.upload(FIRST_BUCKET, &key, upload).unwrap().unwrap();
        let mut stored = view.parts(upload, 0, 10_000).unwrap();
        stored.retain(|(number, _)| chosen.iter().any(|(chosen, _)| chosen == number));
        let tags = stored.iter().map(|(_, part)| part.etag);
        assert!(tags.eq(chosen.iter().map(|(_, part)| part.etag)));
        let named = stored.iter().map(|(_, part)| CompletedPart {
            space: part.space,
            size: part.size,
        });
        (row.parts_changed, named.collect())
    };
    let size: u64 = chosen.iter().map(|(_, part)| part.body.length()).sum();
    let answer = cluster.change(CompleteUpload {
        bucket: FIRST_BUCKET,
        key: key.clone(),
        upload,
        parts_changed,
        parts: named,
        etag: ETag {
            digest: [3; 16],
            part_count: chosen.len() as u32,
        },
        checksum: None,
        part_checksums: Vec::new(),
        precondition: Precondition::default(),
    });
    assert!(
        matches!(answer, Answer::Put { size: found, .. } if found == size),
        "{answer:?}"
    );
    let used: BTreeSet<u16> = chosen.iter().map(|(number, _)| *number).collect();
    for (_, part) in parts.iter().filter(|(number, _)| !used.contains(number)) {
        model.free(&part.body);
    }
    model.drop_object(&key);
    model.uploads.remove(&(key.clone(), upload));
    let bodies = chosen.into_iter().map(|(_, part)| part.body).collect();
    model.objects.insert(
        key,
        ModelObject {
            inode: upload,
            bodies,
        },
    );
}

/// Frees some chunks of bodies that are gone and has their rows released.
fn release_some(random: &mut Random, cluster: &mut Cluster, model: &mut Model) {
    let bodies = 1 + random.below(20);
    let rows = 1 + random.below(4);
    let view = cluster.store.view().unwrap();
    let mut releases = Vec::new();
    for body in view.dropped(None, bodies).unwrap() {
        let page = view.chunks_of_dropped(&body, rows).unwrap();
        for chunk in page.chunks {
            if !model.gone.contains(&chunk) {
                assert!(
                    model.freed.remove(&chunk),
                    "{chunk:?} is freed and should not be"
                );
            }
            model.gone.insert(chunk);
        }
        let (space, offset) = page.next.unwrap_or((u32::MAX, u64::MAX));
        let body = body.key;
        releases.push(Release {
            body,
            space,
            offset,
        });
    }
    drop(view);
    assert_eq!(cluster.change(ReleaseBodies { releases }), Answer::Done);
}

/// Has the parts that complete uploads left behind told apart: those that were not used become bodies of their own.
fn settle_parts(cluster: &mut Cluster) {
    loop {
        let bodies = cluster.store.view().unwrap().dropped(None, usize::MAX);
        let mut bodies = bodies.unwrap();
        bodies.retain(|body| body.scope == DroppedScope::Parts);
        if bodies.is_empty() {
            return;
        }
        let releases = bodies.iter().take(64).map(|body| Release {
            body: body.key,
            space: 0,
            offset: 0,
        });
        let releases = releases.collect();
        assert_eq!(cluster.change(ReleaseBodies { releases }), Answer::Done);
    }
}

/// What a body must read as: every piece of it, by offset in the object.
fn expected_pieces(bodies: &[Body]) -> Vec<(u64, u64, Option<ChunkId>)> {
    let mut pieces = Vec::new();
    let mut offset = 0;
    for body in bodies {
        match body {
            Body::Empty => {}
            Body::Inline(bytes) => pieces.push((offset, bytes.len() as u64, None)),
            Body::Extents(extents) => {
                let mut at = offset;
                for extent in extents {
                    pieces.push((at, extent.length, Some(extent.chunk)));
                    at += extent.length;
                }
            }
        }
        offset += body.length();
    }
    pieces
}

/// Whether an inode refers to a chunk, looked for a row at a time.
fn refers(view: &View<'_>, inode: u64, from: (u32, u64), chunk: ChunkId) -> bool {
    let page = view.chunks(inode, from, 1).unwrap();
    page.chunks.contains(&chunk)
        || page
            .next
            .is_some_and(|next| refers(view, inode, next, chunk))
}

/// Where a piece at an offset of an object lies in its space: behind the pieces of the space before it.
fn offset_in_space(pieces: &[BodyPiece], of: u32, at: u64) -> u64 {
    let before = pieces.iter().filter(|piece| piece.offset < at);
    let same = before
        .filter(|piece| matches!(&piece.source, PieceSource::Chunk { space, .. } if *space == of));
    same.map(|piece| piece.length).sum()
}

fn check(random: &mut Random, cluster: &mut Cluster, model: &Model) {
    settle_parts(cluster);
    let view = cluster.store.view().unwrap();
    let bucket = view.bucket("b").unwrap().unwrap().inode;
    let query = ListQuery {
        limit: 1_000,
        ..ListQuery::default()
    };
    let listed = cluster.list(bucket, &query, usize::MAX).objects;
    let keys: Vec<&Vec<u8>> = listed.iter().map(|object| &object.key).collect();
    assert_eq!(keys, model.objects.keys().collect::<Vec<_>>());
    assert_eq!(view.bucket_usage(bucket).unwrap(), Some(model.usage()));
    for (key, expected) in &model.objects {
        let object = view.object("b", key).unwrap().unwrap();
        let size: u64 = expected.bodies.iter().map(Body::length).sum();
        assert_eq!((object.inode, object.size), (expected.inode, size));
        let start = random.next() % (size + 1);
        let range = start..start + random.next() % (size - start + 1);
        let mut at = range.start;
        for (offset, length, chunk) in expected_pieces(&expected.bodies) {
            let (from, to) = (offset.max(range.start), (offset + length).min(range.end));
            if from >= to {
                continue;
            }
            assert_eq!(from, at);
            let piece = view
                .body(&object, from..range.end, 1)
                .unwrap()
                .unwrap()
                .remove(0);
            assert_eq!((piece.offset, piece.length), (from, to - from));
            match piece.source {
                PieceSource::Chunk { extent, .. } => {
                    assert_eq!(Some(extent.chunk), chunk);
                    assert_eq!((extent.offset, extent.length), (from - offset, to - from));
                }
                PieceSource::Inline(bytes) => assert_eq!(bytes.len() as u64, to - from),
                PieceSource::Zeros => panic!("a hole"),
            }
            at = to;
        }
        assert_eq!(at, range.end.max(at));
        let all = view
            .body(&object, 0..u64::MAX, usize::MAX)
            .unwrap()
            .unwrap();
        assert_eq!(all.len(), expected_pieces(&expected.bodies).len());
        for chunk in expected.bodies.iter().flat_map(chunks) {
            assert!(refers(&view, object.inode, (0, 0), chunk));
            assert!(!refers(&view, object.inode + 1, (0, 0), chunk));
        }
        for piece in &all {
            if let PieceSource::Chunk { extent, space } = &piece.source {
                let offset = offset_in_space(&all, *space, piece.offset);
                let near = view.chunks(object.inode, (*space, offset), 1).unwrap();
                assert!(near.chunks.contains(&extent.chunk));
            }
        }
    }
    let dropped = view.dropped(None, usize::MAX).unwrap();
    let dropped = dropped
        .iter()
        .flat_map(|body| view.chunks_of_dropped(body, usize::MAX).unwrap().chunks);
    let dropped: BTreeSet<ChunkId> = dropped
        .filter(|chunk| !model.gone.contains(chunk))
        .collect();
    assert_eq!(dropped, model.freed);
    let query = UploadQuery {
        limit: 1_000,
        ..UploadQuery::default()
    };
    let uploads: Vec<(Vec<u8>, u64)> = view
        .uploads(bucket, &query)
        .unwrap()
        .uploads
        .into_iter()
        .map(|u| (u.key, u.upload))
        .collect();
    assert_eq!(uploads, model.uploads.keys().cloned().collect::<Vec<_>>());
    for ((_, upload), expected) in &model.uploads {
        let parts = view.parts(*upload, 0, 10_000).unwrap();
        assert_eq!(parts.len(), expected.len());
        for ((number, part), (expected_number, expected)) in parts.iter().zip(expected) {
            assert_eq!((number, part.etag), (expected_number, expected.etag));
            assert_eq!(part.size, expected.body.length());
            for chunk in chunks(&expected.body) {
                assert!(refers(&view, *upload, (0, 0), chunk));
            }
        }
    }
}

#[test]
fn random_commands_agree_with_the_model() {
    for seed in 1..=6 {
        let mut random = Random::new(seed);
        let mut cluster = Cluster::new();
        let mut model = Model::default();
        cluster.bucket("b");
        for turn in 0..250 {
            step(&mut random, &mut cluster, &mut model);
            if turn % 10 == 0 {
                check(&mut random, &mut cluster, &model);
            }
        }
        let uploads: Vec<(Vec<u8>, u64)> = model.uploads.keys().cloned().collect();
        for (key, upload) in uploads {
            cluster.change(AbortUpload {
                bucket: FIRST_BUCKET,
                key,
                upload,
            });
        }
        let keys: Vec<Vec<u8>> = model.objects.keys().cloned().collect();
        let keys: Vec<&[u8]> = keys.iter().map(|key| &key[..]).collect();
        if !keys.is_empty() {
            cluster.delete("b", &keys);
        }
        settle_parts(&mut cluster);
        uploads_and_objects_are_gone(&mut model);
        while cluster.rows_of(b"F") > 0 {
            release_some(&mut random, &mut cluster, &mut model);
        }
        assert_eq!(
            cluster.rows_of(b"DIMX"),
            2,
            "only the bucket's entry and place are left"
        );
        let introduced = cluster.chunks_introduced() as usize;
        assert_eq!(model.gone.len(), introduced, "no chunk is lost");
        check_replay(&mut random, &cluster);
    }
}

/// All that was left of the model has been dropped.
fn uploads_and_objects_are_gone(model: &mut Model) {
    for key in model.objects.keys().cloned().collect::<Vec<_>>() {
        model.drop_object(&key);
    }
    for parts in std::mem::take(&mut model.uploads).into_values() {
        parts.values().for_each(|part| model.free(&part.body));
    }
}

/// The same log in other batches comes to the same state, byte for byte.
fn check_replay(random: &mut Random, cluster: &Cluster) {
    let dir = tempfile::tempdir().unwrap();
    let options = StoreOptions {
        map_bytes: MAP_BYTES,
    };
    let (store, _) = NamespaceStore::open(dir.path(), options).unwrap();
    let mut rest = &cluster.log[..];
    while !rest.is_empty() {
        let (batch, tail) = rest.split_at(rest.len().min(1 + random.below(40)));
        let entries = batch
            .iter()
            .map(|(position, bytes)| (*position, LogEntry::Command(bytes)));
        store.apply(&entries.collect::<Vec<_>>()).unwrap();
        rest = tail;
    }
    assert!(rows_of(&store) == cluster.rows());
}
