//! What packs hold, by random commands and their count, and what is worth packing.

use std::collections::BTreeMap;

use strata_raftlog::namespace::command::{
    Answer, Release, ReleaseBodies, RepointItem, RepointOutcome, SetVersioning,
};
use strata_raftlog::namespace::store::{NamespaceStore, StoreOptions};
use strata_raftlog::namespace::{
    Body, BodyCursor, BodyPosition, LogEntry, PackQuery, PackableSource, PieceSource, Versioning,
};

use crate::commands::put;
use crate::random::Random;
use crate::repoint::{chunk, cluster, inline, pack, pack_of};
use crate::support::{Cluster, MAP_BYTES, rows_of};

/// What the rows of `X` and `F` say of packs: bytes and extents by home inode.
fn named(cluster: &Cluster) -> BTreeMap<u64, (u64, u32)> {
    let mut named = BTreeMap::<u64, (u64, u32)>::new();
    let mut add = |home: u64, length: u64| {
        if home != 0 {
            let (bytes, extents) = named.entry(home).or_default();
            (*bytes, *extents) = (*bytes + length, *extents + 1);
        }
    };
    for (key, value) in cluster.rows() {
        let be = |bytes: &[u8]| u64::from_be_bytes(bytes.try_into().unwrap());
        match (key[0], key.get(17)) {
            (b'X', Some(3)) => value[5..]
                .chunks(64)
                .for_each(|extent| add(be(&extent[48..56]), be(&extent[16..24]))),
            (b'F', _) if value[5 + 12] == 4 => add(be(&value[37..45]), be(&value[45..53])),
            _ => {}
        }
    }
    named
}

fn check_packs(cluster: &Cluster) {
    let view = cluster.store.view().unwrap();
    let packs = view.packs(0, usize::MAX).unwrap();
    let counted = packs
        .iter()
        .map(|(home, pack)| (*home, (pack.live_bytes, pack.live_extents)));
    assert_eq!(counted.collect::<BTreeMap<_, _>>(), named(cluster));
}

/// A random item of an object: often the whole of what it is, sometimes out of date.
fn some_item(random: &mut Random, cluster: &Cluster, key: &[u8]) -> Option<RepointItem> {
    let view = cluster.store.view().unwrap();
    let object = view.object("b", key).unwrap()?;
    let found = view
        .body(&object, 0..u64::MAX, usize::MAX)
        .unwrap()
        .unwrap();
    let piece = found.get(random.below(found.len().max(1)))?;
    Some(match &piece.source {
        PieceSource::Inline(body) => inline(object.inode, body),
        PieceSource::Chunk { extent, .. } => chunk(object.inode, piece.offset, extent),
        PieceSource::Zeros => return None,
    })
}

#[test]
fn random_commands_keep_the_count_of_every_pack() {
    for seed in 1..=6 {
        let mut random = Random::new(seed);
        let mut cluster = cluster();
        let mut old_items = Vec::new();
        let key = |random: &mut Random| format!("k{}", random.below(20)).into_bytes();
        for turn in 0..400 {
            match random.below(10) {
                0..3 => {
                    let key = key(&mut random);
                    let body = match random.below(2) {
                        0 => Body::Inline(vec![random.next() as u8; 1 + random.below(16 * 1024)]),
                        _ => {
                            let count = 1 + random.below(30);
                            let extents =
                                (0..count).map(|_| cluster.extent(1 + random.next() % 99_999));
                            Body::Extents(extents.collect())
                        }
                    };
                    cluster.put("b", &key, body);
                }
                3 => drop(cluster.delete("b", &[&key(&mut random)])),
                4..8 => {
                    let keys: Vec<Vec<u8>> = (0..8).map(|_| key(&mut random)).collect();
                    let mut items: Vec<RepointItem> = keys
                        .iter()
                        .filter_map(|key| some_item(&mut random, &cluster, key))
                        .collect();
                    old_items.extend(items.clone());
                    items.extend(old_items.get(random.below(1 + 2 * old_items.len())));
                    if !items.is_empty() {
                        pack(&mut cluster, &items);
                    }
                }
                _ => release_some(&mut random, &mut cluster),
            }
            if turn % 10 == 0 {
                check_packs(&cluster);
            }
        }
        let all: Vec<Vec<u8>> = (0..20).map(|at| format!("k{at}").into_bytes()).collect();
        cluster.delete("b", &all.iter().map(|key| &key[..]).collect::<Vec<_>>());
        cluster.release_all();
        check_packs(&cluster);
        assert_eq!(cluster.rows_of(b"CFX"), 0, "all space comes back");
        check_replay(&mut random, &cluster);
    }
}

fn release_some(random: &mut Random, cluster: &mut Cluster) {
    let view = cluster.store.view().unwrap();
    let mut releases = Vec::new();
    for body in view.dropped(None, 1 + random.below(30)).unwrap() {
        let page = view.chunks_of_dropped(&body, 1).unwrap();
        let (space, offset) = page.next.unwrap_or((u32::MAX, u64::MAX));
        releases.push(Release {
            body: body.key,
            space,
            offset,
        });
    }
    drop(view);
    assert_eq!(cluster.change(ReleaseBodies { releases }), Answer::Done);
}

/// The same log in other batches, and the snapshot of the state, come to the same rows.
fn check_replay(random: &mut Random, cluster: &Cluster) {
    let options = StoreOptions {
        map_bytes: MAP_BYTES,
    };
    let dir = tempfile::tempdir().unwrap();
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

/// What is worth packing, looked for so many rows at a time: inode, offset, bytes, and the inodes that are too young.
fn packable(cluster: &Cluster, query: &PackQuery) -> (Vec<(u64, u64, u64)>, Vec<u64>) {
    let (mut found, mut young) = (Vec::new(), Vec::new());
    let mut from = Some(BodyCursor::at(0));
    while let Some(at) = from {
        let page = cluster.store.view().unwrap().packable(&at, query).unwrap();
        found.extend(page.found.into_iter().map(|of| {
            let bytes = match of.source {
                PackableSource::Inline(bytes) => bytes.len() as u64,
                PackableSource::Chunk(extent) => extent.length,
            };
            (of.inode, of.offset, bytes)
        }));
        young.extend(page.first_young);
        from = page.next;
    }
    (found, young)
}

#[test]
fn short_bodies_of_old_objects_are_worth_packing() {
    let mut cluster = cluster();
    let put = |cluster: &mut Cluster, key: &[u8], body| cluster.put("b", key, body);
    put(&mut cluster, b"tiny", Body::Inline(vec![1; 999]));
    let small = put(&mut cluster, b"small", Body::Inline(vec![2; 1_000]));
    let long = put(&mut cluster, b"inline", Body::Inline(vec![3; 16_384]));
    let extents = [5_000, 1 << 20, 7_000].map(|bytes| cluster.extent(bytes));
    let tail = put(&mut cluster, b"tail", Body::Extents(extents.to_vec()));
    let gone = cluster.extent(5_000);
    put(&mut cluster, b"gone", Body::Extents(vec![gone]));
    cluster.delete("b", &[b"gone"]);
    cluster.time_nanos += 5;
    let young = put(&mut cluster, b"young", Body::Inline(vec![2; 5_000]));
    let query = PackQuery {
        inline_bytes_min: 1_000,
        chunk_bytes_max: 100_000,
        before_nanos: cluster.time_nanos,
        rows: 1,
    };
    let bodies = [(small, 0, 1_000), (long, 0, 16_384)];
    let ends = [(tail, 0, 5_000), (tail, 5_000 + (1 << 20), 7_000)];
    for rows in [1, 2, 3, 1_000] {
        let (found, too_young) = packable(&cluster, &PackQuery { rows, ..query });
        assert_eq!(found, [&bodies[..], &ends].concat());
        assert_eq!(too_young, [young]);
    }
    let inline_alone = PackQuery {
        chunk_bytes_max: 0,
        inline_bytes_min: 5_000,
        before_nanos: i64::MAX,
        ..query
    };
    let (found, too_young) = packable(&cluster, &inline_alone);
    assert_eq!(found, [(long, 0, 16_384), (young, 0, 5_000)]);
    assert!(too_young.is_empty());
    // What is packed is no longer worth it, nor is the pack itself.
    let body = vec![3; 16_384];
    let items = [inline(long, &body), chunk(tail, 0, &extents[0])];
    let mut command = pack_of(&mut cluster, &items);
    command.chunk = cluster.extent(30_000);
    assert_eq!(
        cluster.change(command),
        Answer::Repointed(vec![RepointOutcome::Moved; 2])
    );
    let (found, _) = packable(&cluster, &query);
    assert_eq!(found, [bodies[0], ends[1]]);
}

#[test]
fn bodies_of_earlier_versions_are_worth_packing() {
    let mut cluster = cluster();
    let bucket = cluster.bucket_inode("b");
    let versioning = Versioning::Enabled;
    cluster.change(SetVersioning { bucket, versioning });
    let mut inodes = Vec::new();
    for byte in 0..3 {
        let inode = cluster.inode();
        let body = Body::Inline(vec![byte; 5_000]);
        let answer = cluster.change(put(bucket, b"dir/key", inode, body));
        assert!(matches!(answer, Answer::PutVersion { .. }), "{answer:?}");
        inodes.push(inode);
        cluster.time_nanos += 5;
    }
    let query = PackQuery {
        inline_bytes_min: 1_000,
        chunk_bytes_max: 0,
        before_nanos: cluster.time_nanos - 5,
        rows: 2,
    };
    let (found, too_young) = packable(&cluster, &query);
    let old = [(inodes[0], 0, 5_000), (inodes[1], 0, 5_000)];
    assert_eq!((found, too_young), (old.to_vec(), vec![inodes[2]]));
    let body = vec![0; 5_000];
    let (home, _) = pack(&mut cluster, &[inline(inodes[0], &body)]);
    let view = cluster.store.view().unwrap();
    assert!(view.pack(home).unwrap().is_some());
}

#[test]
fn a_walk_over_all_bodies_finds_a_pack_once_and_as_long_as_it_is_named() {
    let mut cluster = cluster();
    let body = vec![3; 2_000];
    let keys: [&[u8]; 3] = [b"a", b"b", b"c"];
    let items = keys.map(|key| inline(cluster.put("b", key, Body::Inline(body.clone())), &body));
    let (home, _) = pack(&mut cluster, &items);
    let found = |cluster: &Cluster| {
        let view = cluster.store.view().unwrap();
        let page = view.every_extent(BodyPosition::default(), 1_000).unwrap();
        let needed = page.extents.iter().filter(|(at, _)| {
            let needed = view.is_body_needed(at.inode, at.space);
            needed.unwrap()
        });
        let inodes: Vec<u64> = needed.map(|(at, _)| at.inode).collect();
        inodes
    };
    assert_eq!(found(&cluster), [home]);
    cluster.delete("b", &keys);
    let rows = cluster.rows_of(b"F");
    assert_eq!(found(&cluster), [home], "its readers may still be at it");
    let dropped = cluster.store.view().unwrap().dropped(None, 9).unwrap();
    let releases = dropped.iter().map(|body| Release {
        body: body.key,
        space: u32::MAX,
        offset: u64::MAX,
    });
    let releases = releases.collect();
    assert_eq!(cluster.change(ReleaseBodies { releases }), Answer::Done);
    assert_eq!((rows, cluster.rows_of(b"F")), (3, 1));
    assert!(found(&cluster).is_empty());
}
