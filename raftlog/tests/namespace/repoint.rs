//! Packing: extents and inline bodies move into a chunk that several bodies share, item by item, and its space comes back with
//! the last of them.

use std::collections::BTreeSet;

use strata_raftlog::namespace::command::{
    AbortUpload, Answer, ChunkPlace, CloseEpoch, Command, CommandClass, CompleteUpload,
    CompletedPart, CreateUpload, Envelope, OldPlace, Precondition, PutPart, Refusal, Repoint,
    RepointItem, RepointOutcome,
};
use strata_raftlog::namespace::{
    Body, BodyPiece, ChunkId, DroppedScope, ETag, Extent, ExtentKind, ObjectAttributes, Pack,
    PieceSource, REPOINT_ITEMS_MAX,
};

use crate::support::{Cluster, FIRST_BUCKET};

const PACK_BYTES: u64 = 1 << 20;

use RepointOutcome::{Changed, Gone, Moved};

pub fn inline(inode: u64, body: &[u8]) -> RepointItem {
    RepointItem {
        inode,
        space: 0,
        length: body.len() as u32,
        offset: 0,
        old: OldPlace::Inline(crc32c::crc32c(body)),
        new_offset: 0,
    }
}

pub fn chunk(inode: u64, offset: u64, extent: &Extent) -> RepointItem {
    RepointItem {
        inode,
        space: 0,
        length: extent.length as u32,
        offset,
        old: OldPlace::Chunk(ChunkPlace {
            chunk: extent.chunk,
            offset: extent.offset,
        }),
        new_offset: 0,
    }
}

/// The items one behind the other in a new pack.
pub fn pack_of(cluster: &mut Cluster, items: &[RepointItem]) -> Repoint {
    let (home, chunk) = (cluster.inode(), cluster.extent(PACK_BYTES));
    let mut at = 0;
    let items = items.iter().map(|item| {
        let new_offset = at;
        at += u64::from(item.length);
        RepointItem {
            new_offset,
            ..*item
        }
    });
    Repoint {
        home,
        chunk,
        items: items.collect(),
    }
}

/// Packs; the home of the pack and what became of the items.
pub fn pack(cluster: &mut Cluster, items: &[RepointItem]) -> (u64, Vec<RepointOutcome>) {
    let command = pack_of(cluster, items);
    let home = command.home;
    match cluster.change(command) {
        Answer::Repointed(outcomes) => (home, outcomes),
        other => panic!("{other:?}"),
    }
}

fn pieces(cluster: &Cluster, key: &[u8]) -> Vec<BodyPiece> {
    let view = cluster.store.view().unwrap();
    let object = view.object("b", key).unwrap().unwrap();
    view.body(&object, 0..u64::MAX, usize::MAX)
        .unwrap()
        .unwrap()
}

fn extent_of(piece: &BodyPiece) -> Extent {
    match &piece.source {
        PieceSource::Chunk { extent, .. } => extent.clone(),
        other => panic!("{other:?}"),
    }
}

fn the_pack(cluster: &Cluster, home: u64) -> Option<Pack> {
    cluster.store.view().unwrap().pack(home).unwrap()
}

pub fn cluster() -> Cluster {
    let mut cluster = Cluster::new();
    cluster.bucket("b");
    cluster
}

#[test]
fn inline_bodies_and_extents_become_extents_of_the_pack() {
    let mut cluster = cluster();
    let body = vec![7; 9_000];
    let small = cluster.put("b", b"small", Body::Inline(body.clone()));
    let extents: Vec<Extent> = (0..30).map(|at| cluster.extent(1_000 + at)).collect();
    let long = cluster.put("b", b"long", Body::Extents(extents.clone()));
    let offset = extents[..27].iter().map(|extent| extent.length).sum();
    let items = [inline(small, &body), chunk(long, offset, &extents[27])];
    let (home, outcomes) = pack(&mut cluster, &items);
    assert_eq!(outcomes, [Moved, Moved]);

    let found = pieces(&cluster, b"small");
    assert_eq!(found.len(), 1);
    let extent = extent_of(&found[0]);
    assert_eq!((extent.offset, extent.length), (0, 9_000));
    assert_eq!(
        (extent.home_inode, extent.stored_length),
        (home, PACK_BYTES)
    );
    let found = pieces(&cluster, b"long");
    assert_eq!(found.len(), 30);
    let extent = extent_of(&found[27]);
    assert_eq!((extent.offset, extent.length), (9_000, 1_027));
    let others = found.iter().enumerate().filter(|(at, _)| *at != 27);
    for (at, piece) in others {
        assert_eq!(extent_of(piece).chunk, extents[at].chunk);
    }
    let whole = Pack {
        bytes: 10_027,
        live_bytes: 10_027,
        live_extents: 2,
    };
    assert_eq!(the_pack(&cluster, home), Some(whole));
    // The home keeps its chunk, and no other inode is said to.
    let view = cluster.store.view().unwrap();
    assert_eq!(view.chunks(home, (0, 0), 9).unwrap().chunks, [extent.chunk]);
    let own = view.chunks(long, (0, 0), 9).unwrap().chunks;
    assert_eq!(own.len(), 29);
    assert!(!own.contains(&extent.chunk) && !own.contains(&extents[27].chunk));
    drop(view);
    // What the extent was is freed, and it alone; then the pack has the one extent of `X` for itself.
    assert_eq!(cluster.release_all(), [extents[27].chunk]);
    assert_eq!(the_pack(&cluster, home), Some(whole));
}

#[test]
fn what_is_not_as_it_was_is_left_alone() {
    let mut cluster = cluster();
    let body = vec![7; 2_000];
    let inode = cluster.put("b", b"a", Body::Inline(body.clone()));
    let extent = cluster.extent(20_000);
    let other = cluster.put("b", b"b", Body::Extents(vec![extent.clone()]));
    let deleted = cluster.put("b", b"c", Body::Inline(body.clone()));
    let replaced = Body::Extents(vec![cluster.extent(20_000)]);
    let replaced = cluster.put("b", b"d", replaced);
    cluster.delete("b", &[b"c"]);
    cluster.put("b", b"d", Body::Empty);
    let hole = Extent {
        kind: ExtentKind::Zeros,
        chunk: ChunkId(0),
        stored_length: 0,
        slot_mask: 0,
        geometry: 0,
        ..extent.clone()
    };
    let holes = cluster.put("b", b"e", Body::Extents(vec![hole.clone()]));
    let half = Extent {
        stored_length: 30_000,
        chunk: cluster.chunk(),
        ..extent.clone()
    };
    let halves = cluster.put("b", b"f", Body::Extents(vec![half.clone()]));
    let of_chunk = |inode| chunk(inode, 0, &extent);
    let wrong_place = OldPlace::Chunk(ChunkPlace {
        chunk: extent.chunk,
        offset: 1,
    });
    let wrong = [
        (inline(deleted, &body), Gone),
        (of_chunk(replaced), Gone),
        (inline(9_999, &body), Gone),
        (inline(inode, &[8; 2_000]), Changed),
        (inline(inode, &body[1..]), Changed),
        (
            RepointItem {
                space: 1,
                ..inline(inode, &body)
            },
            Changed,
        ),
        (
            RepointItem {
                offset: 1,
                ..inline(inode, &body)
            },
            Changed,
        ),
        (of_chunk(inode), Changed),
        (inline(other, &body), Changed),
        (
            RepointItem {
                length: 19_999,
                ..of_chunk(other)
            },
            Changed,
        ),
        (
            RepointItem {
                offset: 1,
                ..of_chunk(other)
            },
            Changed,
        ),
        (
            RepointItem {
                offset: u64::MAX,
                ..of_chunk(other)
            },
            Changed,
        ),
        (
            RepointItem {
                space: 3,
                ..of_chunk(other)
            },
            Changed,
        ),
        (
            RepointItem {
                old: wrong_place,
                ..of_chunk(other)
            },
            Changed,
        ),
        (chunk(holes, 0, &hole), Changed),
        (chunk(halves, 0, &half), Changed),
    ];
    let before = cluster.rows_of(b"CDFIMX");
    let (items, expected): (Vec<RepointItem>, Vec<RepointOutcome>) = wrong.into_iter().unzip();
    let (home, outcomes) = pack(&mut cluster, &items);
    assert_eq!(outcomes, expected);
    assert_eq!(cluster.rows_of(b"CDFIMX"), before, "nothing was changed");
    assert_eq!(the_pack(&cluster, home), None);
    // Beside others, and twice in one command.
    let items = [
        items[0],
        inline(inode, &body),
        inline(inode, &body),
        of_chunk(other),
        of_chunk(other),
    ];
    let (home, outcomes) = pack(&mut cluster, &items);
    assert_eq!(outcomes, [Gone, Moved, Changed, Moved, Changed]);
    let pack = the_pack(&cluster, home).unwrap();
    assert_eq!((pack.live_bytes, pack.live_extents), (22_000, 2));
}

#[test]
fn a_command_that_contradicts_itself_or_the_state_is_refused() {
    let mut cluster = cluster();
    let body = vec![7; 2_000];
    let inode = cluster.put("b", b"a", Body::Inline(body.clone()));
    let good = pack_of(&mut cluster, &[inline(inode, &body)]);
    let item = good.items[0];
    let with_chunk = |change: fn(&mut Extent)| {
        let mut command = good.clone();
        change(&mut command.chunk);
        command
    };
    let with_items = |items: Vec<RepointItem>| Repoint {
        items,
        ..good.clone()
    };
    let bad = [
        with_items(Vec::new()),
        with_items(vec![item; REPOINT_ITEMS_MAX + 1]),
        with_items(vec![RepointItem { length: 0, ..item }]),
        with_items(vec![RepointItem {
            new_offset: PACK_BYTES - 1_999,
            ..item
        }]),
        with_items(vec![RepointItem {
            new_offset: u64::MAX,
            ..item
        }]),
        Repoint {
            home: inode,
            ..good.clone()
        },
        Repoint {
            home: 1 << 40,
            ..good.clone()
        },
        with_chunk(|chunk| chunk.offset = 1),
        with_chunk(|chunk| chunk.length -= 1),
        with_chunk(|chunk| chunk.home_inode = 5),
        with_chunk(|chunk| chunk.geometry = 99),
        with_chunk(|chunk| chunk.slot_mask = 0b11),
        with_chunk(|chunk| chunk.kind = ExtentKind::Zeros),
    ];
    let before = cluster.rows_of(b"CDFIMX");
    for command in bad {
        let answer = cluster.change(command.clone());
        let refused = matches!(answer, Answer::Refused(Refusal::Invalid(_)));
        assert!(refused, "{command:?}: {answer:?}");
    }
    // A body cannot name a pack that it was not moved to.
    let foreign = Extent {
        home_inode: 77,
        ..cluster.extent(5)
    };
    let other = cluster.inode();
    let put = crate::commands::put(FIRST_BUCKET, b"x", other, Body::Extents(vec![foreign]));
    let answer = cluster.change(put);
    assert!(
        matches!(answer, Answer::Refused(Refusal::Invalid(_))),
        "{answer:?}"
    );
    let (writer, epoch) = (cluster.writer, cluster.epoch);
    cluster.change(CloseEpoch { writer, epoch });
    let closed = Answer::Refused(Refusal::EpochClosed { writer, epoch });
    assert_eq!(cluster.change(good), closed);
    assert_eq!(cluster.rows_of(b"CDFIMX"), before);
}

#[test]
fn a_repeated_command_gets_its_first_answer() {
    let mut cluster = cluster();
    let body = vec![7; 2_000];
    let inode = cluster.put("b", b"a", Body::Inline(body.clone()));
    let command = pack_of(&mut cluster, &[inline(inode, &body)]);
    let envelope: Envelope = cluster.envelope(command);
    let answer = cluster.apply(&envelope);
    assert_eq!(answer, Answer::Repointed(vec![Moved]));
    let of_state = |cluster: &Cluster| cluster.rows_of(b"CDFIMX");
    let before = of_state(&cluster);
    assert_eq!(cluster.apply(&envelope), answer);
    assert_eq!(of_state(&cluster), before);
}

#[test]
fn the_chunk_of_a_pack_is_freed_with_the_last_of_its_bodies() {
    let mut cluster = cluster();
    let keys: Vec<Vec<u8>> = (0..5).map(|at| format!("k{at}").into_bytes()).collect();
    let body = vec![7; 2_000];
    let inodes: Vec<u64> = keys
        .iter()
        .map(|key| cluster.put("b", key, Body::Inline(body.clone())))
        .collect();
    let items: Vec<RepointItem> = inodes.iter().map(|inode| inline(*inode, &body)).collect();
    let (home, outcomes) = pack(&mut cluster, &items);
    assert_eq!(outcomes, [Moved; 5]);
    let shared = extent_of(&pieces(&cluster, b"k0")[0]).chunk;
    // One is deleted, one is overwritten.
    cluster.delete("b", &[b"k0"]);
    cluster.put("b", b"k1", Body::Empty);
    let live = |cluster: &Cluster| the_pack(cluster, home).map(|pack| pack.live_extents);
    assert_eq!(live(&cluster), Some(5), "readers may still be at them");
    assert_eq!(cluster.release_all(), []);
    assert_eq!(live(&cluster), Some(3));
    let first = extent_of(&pieces(&cluster, b"k2")[0]);
    assert_eq!((first.chunk, first.offset), (shared, 4_000));
    cluster.delete("b", &[b"k2", b"k3", b"k4"]);
    assert_eq!(cluster.release_all(), [shared]);
    assert_eq!(live(&cluster), None);
    assert_eq!(cluster.rows_of(b"CF"), 0);
    assert_eq!(cluster.rows_of(b"X"), 0, "nothing of the home is left");
}

#[test]
fn extents_move_from_pack_to_pack() {
    let mut cluster = cluster();
    let extent = cluster.extent(20_000);
    let own = extent.chunk;
    let inode = cluster.put("b", b"a", Body::Extents(vec![extent.clone()]));
    let (first, outcomes) = pack(&mut cluster, &[chunk(inode, 0, &extent)]);
    assert_eq!(outcomes, [Moved]);
    let packed = extent_of(&pieces(&cluster, b"a")[0]);
    let (second, outcomes) = pack(&mut cluster, &[chunk(inode, 0, &packed)]);
    assert_eq!(outcomes, [Moved]);
    let live = |cluster: &Cluster, home| the_pack(cluster, home).map(|pack| pack.live_extents);
    // The readers of the first place are waited for.
    assert_eq!(
        (live(&cluster, first), live(&cluster, second)),
        (Some(1), Some(1))
    );
    let dropped = cluster.store.view().unwrap().dropped(None, 9).unwrap();
    assert!(
        dropped.iter().all(|body| body.inode == inode),
        "{dropped:?}"
    );
    let scopes = dropped
        .iter()
        .map(|body| matches!(body.scope, DroppedScope::Moved(_)));
    assert_eq!(scopes.filter(|moved| *moved).count(), 2);
    let freed = cluster.release_all();
    assert_eq!(
        BTreeSet::from_iter(freed),
        BTreeSet::from([own, packed.chunk])
    );
    assert_eq!(
        (live(&cluster, first), live(&cluster, second)),
        (None, Some(1))
    );
    // The name goes before its last move is released.
    let packed = extent_of(&pieces(&cluster, b"a")[0]);
    let (third, _) = pack(&mut cluster, &[chunk(inode, 0, &packed)]);
    cluster.delete("b", &[b"a"]);
    assert_eq!(cluster.release_all().len(), 2);
    assert_eq!(
        (live(&cluster, second), live(&cluster, third)),
        (None, None)
    );
    assert_eq!(cluster.rows_of(b"CFX"), 0);
}

#[test]
fn parts_are_packed_in_their_spaces() {
    let mut cluster = cluster();
    let upload = cluster.inode();
    let key = b"k".to_vec();
    let bucket = FIRST_BUCKET;
    cluster.change(CreateUpload {
        bucket,
        key: key.clone(),
        inode: upload,
        attributes: ObjectAttributes::default(),
        checksum: None,
        owner: 0,
    });
    let tail = vec![3; 2_000];
    let bodies = [
        Body::Extents(vec![cluster.extent(5 << 20)]),
        Body::Inline(tail.clone()),
        Body::Inline(tail.clone()),
    ];
    for (number, body) in (1..).zip(bodies) {
        let size = body.length();
        let answer = cluster.change(PutPart {
            bucket,
            key: key.clone(),
            upload,
            number,
            space: number.into(),
            size,
            etag: ETag::single([1; 16]),
            checksum: None,
            body,
        });
        assert_eq!(answer, Answer::Done);
    }
    let in_space = |space| RepointItem {
        space,
        ..inline(upload, &tail)
    };
    let (home, outcomes) = pack(&mut cluster, &[in_space(2), in_space(3)]);
    assert_eq!(outcomes, [Moved, Moved]);
    let parts_changed = {
        let view = cluster.store.view().unwrap();
        let upload = view.upload(bucket, &key, upload).unwrap().unwrap();
        upload.parts_changed
    };
    let part = |space, size| CompletedPart { space, size };
    let answer = cluster.change(CompleteUpload {
        bucket,
        key: key.clone(),
        upload,
        parts_changed,
        parts: vec![part(1, 5 << 20), part(2, 2_000)],
        etag: ETag {
            digest: [0; 16],
            part_count: 2,
        },
        checksum: None,
        part_checksums: Vec::new(),
        precondition: Precondition::default(),
    });
    assert!(matches!(answer, Answer::Put { .. }), "{answer:?}");
    assert_eq!(cluster.release_all(), [], "the third part was of the pack");
    let pack = the_pack(&cluster, home).unwrap();
    assert_eq!((pack.live_bytes, pack.live_extents), (2_000, 1));
    let found = pieces(&cluster, &key);
    assert_eq!(extent_of(&found[1]).home_inode, home);
    cluster.delete("b", &[&key]);
    assert_eq!(cluster.release_all().len(), 2);
    assert_eq!(cluster.rows_of(b"CFX"), 0);
}

#[test]
fn bodies_that_leave_the_namespace_make_room() {
    let mut cluster = cluster();
    let body = vec![7; 2_000];
    let extent = cluster.extent(20_000);
    let class = |items: &[RepointItem], cluster: &mut Cluster| {
        let command: Command = pack_of(cluster, items).into();
        assert!(command.map_bytes() < 256 << 10);
        command.class()
    };
    let frees = class(&[inline(1, &body); REPOINT_ITEMS_MAX], &mut cluster);
    assert_eq!(frees, CommandClass::Frees);
    for grows in [chunk(1, 0, &extent), inline(1, &body[..100])] {
        let grows = class(&[inline(1, &body), grows], &mut cluster);
        assert_eq!(grows, CommandClass::Grows);
    }
    // Rows of bodies of 2 kB take the place of 24 of their extents.
    let bytes = |cluster: &Cluster| -> usize {
        let rows = cluster.rows();
        let rows = rows.iter().filter(|(key, _)| b"CFX".contains(&key[0]));
        rows.map(|(key, value)| key.len() + value.len()).sum()
    };
    let inodes: Vec<u64> = (0..100)
        .map(|at| cluster.put("b", format!("{at}").as_bytes(), Body::Inline(body.clone())))
        .collect();
    let before = bytes(&cluster);
    let items: Vec<RepointItem> = inodes.iter().map(|inode| inline(*inode, &body)).collect();
    pack(&mut cluster, &items);
    let after = bytes(&cluster);
    assert!(after * 15 < before, "{after} of {before} bytes are left");
}

#[test]
fn an_upload_that_is_aborted_gives_its_packed_parts_back() {
    let mut cluster = cluster();
    let upload = cluster.inode();
    let (bucket, key) = (FIRST_BUCKET, b"k".to_vec());
    cluster.change(CreateUpload {
        bucket,
        key: key.clone(),
        inode: upload,
        attributes: ObjectAttributes::default(),
        checksum: None,
        owner: 0,
    });
    let extent = cluster.extent(20_000);
    cluster.change(PutPart {
        bucket,
        key: key.clone(),
        upload,
        number: 1,
        space: 4,
        size: 20_000,
        etag: ETag::single([1; 16]),
        checksum: None,
        body: Body::Extents(vec![extent.clone()]),
    });
    let item = RepointItem {
        space: 4,
        ..chunk(upload, 0, &extent)
    };
    let (_, outcomes) = pack(&mut cluster, &[item]);
    assert_eq!(outcomes, [Moved]);
    cluster.change(AbortUpload {
        bucket,
        key,
        upload,
    });
    assert_eq!(cluster.release_all().len(), 2);
    assert_eq!(cluster.rows_of(b"CFMX"), 0);
}
