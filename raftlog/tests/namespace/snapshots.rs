//! Snapshots and damage: the same state gives the same bytes, and a flipped bit is an error.

use std::os::unix::fs::FileExt;
use strata_raftlog::namespace::Body;

use strata_raftlog::namespace::store::{
    Inspected, Manifest, NamespaceStore, StoreError, StoreOptions, inspect,
};

use crate::random::Random;
use crate::support::{Cluster, MAP_BYTES};

fn filled(seed: u64) -> Cluster {
    let mut random = Random::new(seed);
    let mut cluster = Cluster::new();
    cluster.bucket("b");
    for _ in 0..300 {
        let key = format!("dir{}/{}", random.below(9), random.below(100)).into_bytes();
        let body = Body::Inline(vec![random.next() as u8; 1 + random.below(16 * 1024)]);
        cluster.put("b", &key, body);
    }
    cluster
}

fn pieces(store: &NamespaceStore) -> (Manifest, Vec<Vec<u8>>) {
    let mut snapshot = store.snapshot().unwrap();
    let mut pieces = Vec::new();
    assert!(snapshot.manifest().is_none(), "not before the last piece");
    while let Some(piece) = snapshot.next_piece().unwrap() {
        pieces.push(piece);
    }
    (snapshot.manifest().unwrap().clone(), pieces)
}

fn empty() -> (tempfile::TempDir, NamespaceStore) {
    let dir = tempfile::tempdir().unwrap();
    let options = StoreOptions {
        map_bytes: MAP_BYTES,
    };
    let (store, _) = NamespaceStore::open(dir.path(), options).unwrap();
    (dir, store)
}

#[test]
fn a_snapshot_is_installed_and_gives_the_same_bytes() {
    let cluster = filled(1);
    let (manifest, bytes) = pieces(&cluster.store);
    assert!(bytes.len() > 1 && bytes.iter().all(|piece| piece.len() < 2 << 20));
    assert_eq!(pieces(&cluster.store), (manifest.clone(), bytes.clone()));
    assert_eq!(
        pieces(&filled(1).store).1,
        bytes,
        "another store with the same commands"
    );
    assert_ne!(pieces(&filled(2).store).1, bytes);
    assert_eq!(Manifest::decode(&manifest.encode()).unwrap(), manifest);

    let (dir, store) = empty();
    let applied = store
        .install_snapshot(&manifest, bytes.clone().into_iter().map(Ok))
        .unwrap();
    assert_eq!(
        (applied, store.applied()),
        (manifest.applied, manifest.applied)
    );
    assert_eq!(pieces(&store), (manifest.clone(), bytes.clone()));
    store.begin_checkpoint().unwrap().finish().unwrap();
    drop(store);
    let options = StoreOptions {
        map_bytes: MAP_BYTES,
    };
    let (store, opened) = NamespaceStore::open(dir.path(), options).unwrap();
    assert!(opened.applied == manifest.applied && !opened.fresh);
    assert_eq!(pieces(&store).1, bytes);
}

#[test]
fn a_damaged_snapshot_is_refused_and_changes_nothing() {
    let (manifest, bytes) = pieces(&filled(3).store);
    let (_dir, store) = empty();
    let install = |manifest: &Manifest, pieces: Vec<Vec<u8>>| {
        store.install_snapshot(manifest, pieces.into_iter().map(Ok))
    };
    let refused = |manifest: &Manifest, pieces: Vec<Vec<u8>>| {
        let result = install(manifest, pieces);
        assert!(matches!(result, Err(StoreError::Snapshot(_))), "{result:?}");
        assert_eq!(store.applied().index, 0);
    };
    for at in [0, 4, 8, 13, 5_000, bytes[0].len() - 1] {
        let mut damaged = bytes.clone();
        damaged[0][at] ^= 1;
        refused(&manifest, damaged);
    }
    refused(&manifest, bytes[1..].to_vec());
    refused(&manifest, [bytes.clone(), vec![bytes[0].clone()]].concat());
    let mut swapped = (manifest.clone(), bytes.clone());
    swapped.0.pieces.swap(0, 1);
    swapped.1.swap(0, 1);
    refused(&swapped.0, swapped.1);
    let mut older = manifest.clone();
    older.applied.index -= 1;
    refused(&older, bytes.clone());
    let encoded = manifest.encode();
    for at in 0..encoded.len() {
        let mut damaged = encoded.clone();
        damaged[at] ^= 4;
        assert!(Manifest::decode(&damaged).is_err() && Manifest::decode(&encoded[..at]).is_err());
    }
    install(&manifest, bytes).unwrap();
}

#[test]
fn a_flipped_bit_in_a_row_is_an_error_that_names_it() {
    let mut cluster = filled(4);
    cluster.put("b", b"victim", Body::Inline(b"needle in the page".to_vec()));
    cluster.store.begin_checkpoint().unwrap().finish().unwrap();
    let Cluster { store, dir, .. } = cluster;
    let path = dir.path().join("data.mdb");
    let bytes = std::fs::read(&path).unwrap();
    let file = std::fs::File::options().write(true).open(&path).unwrap();
    let needle = b"needle in the page";
    let mut flipped = 0;
    for at in 0..bytes.len() - needle.len() {
        if bytes[at..].starts_with(needle) {
            file.write_all_at(&[bytes[at] ^ 1], at as u64).unwrap();
            flipped += 1;
        }
    }
    assert!(flipped > 0);
    let view = store.view().unwrap();
    let object = view.object("b", b"victim").unwrap().unwrap();
    match view.body(&object, 0..18, 9) {
        Err(StoreError::Corrupt { key, .. }) => assert!(key.contains("inline"), "{key}"),
        other => panic!("{other:?}"),
    }
    drop(view);
    let mut snapshot = store.snapshot().unwrap();
    let damaged = std::iter::from_fn(|| snapshot.next_piece().transpose()).any(|p| p.is_err());
    assert!(damaged, "a snapshot holds no damaged row");
    drop((snapshot, store));
    let options = StoreOptions {
        map_bytes: MAP_BYTES,
    };
    let (_store, opened) = NamespaceStore::open(dir.path(), options).unwrap();
    let doubt = opened.doubt.expect("a reason");
    assert!(opened.fresh && doubt.contains("inline"), "{doubt}");
}

/// A body that lies in pages of its own: the start does not wait for it, and what follows the start finds it.
#[test]
fn a_long_value_that_is_damaged_is_found_after_the_start() {
    let mut cluster = filled(7);
    cluster.put(
        "b",
        b"long",
        Body::Inline(b"needle in the page".repeat(300)),
    );
    cluster.store.begin_checkpoint().unwrap().finish().unwrap();
    let Cluster { store, dir, .. } = cluster;
    drop(store);
    let options = StoreOptions {
        map_bytes: MAP_BYTES,
    };
    let (store, opened) = NamespaceStore::open(dir.path(), options).unwrap();
    assert!(!opened.fresh && !store.is_verified());
    store.verify_rest().unwrap();
    assert!(store.is_verified() && store.doubted().is_none());
    drop(store);
    let path = dir.path().join("data.mdb");
    let bytes = std::fs::read(&path).unwrap();
    let file = std::fs::File::options().write(true).open(&path).unwrap();
    let needle = b"needle in the page".repeat(200);
    let at = bytes
        .windows(needle.len())
        .position(|found| found == needle);
    let at = at.expect("the body") + 2_000;
    file.write_all_at(&[bytes[at] ^ 1], at as u64).unwrap();
    let (store, opened) = NamespaceStore::open(dir.path(), options).unwrap();
    assert!(!opened.fresh && opened.doubt.is_none());
    store.verify_rest().unwrap();
    let doubt = store.doubted().expect("a reason");
    assert!(doubt.contains("inline"), "{doubt}");
    assert!(!store.is_verified() && store.begin_checkpoint().is_err());
}

#[test]
fn inspection_finds_the_checkpoint_and_changes_nothing() {
    let mut cluster = filled(5);
    cluster.store.begin_checkpoint().unwrap().finish().unwrap();
    let expected = cluster.rows();
    cluster.put("b", b"after the checkpoint", Body::Empty);
    let Cluster { store, dir, .. } = cluster;
    drop(store);
    let files = || {
        let mut files: Vec<_> = std::fs::read_dir(dir.path())
            .unwrap()
            .map(|entry| entry.unwrap().path())
            .map(|path| (path.clone(), std::fs::read(path).unwrap()))
            .collect();
        files.sort();
        files
    };
    let before = files();
    let mut rows = Vec::new();
    let inspected = inspect(dir.path(), &mut |key, value| {
        rows.push((key.to_vec(), value.to_vec()));
        true
    });
    assert_eq!(inspected.unwrap(), Inspected::Checkpoint);
    assert!(rows == expected);
    let mut visited = 0;
    inspect(dir.path(), &mut |_, _| {
        visited += 1;
        visited < 3
    })
    .unwrap();
    assert_eq!(visited, 3);
    assert!(files() == before);
    std::fs::remove_file(dir.path().join("checkpoint")).unwrap();
    assert!(matches!(
        inspect(dir.path(), &mut |_, _| true),
        Err(StoreError::Invariant(_))
    ));
}

/// Run in another process by the test below.
#[test]
fn inspected_from_another_process() {
    let Some(dir) = std::env::var_os("STRATA_TEST_INSPECT") else {
        return;
    };
    let mut rows = 0;
    let inspected = inspect(std::path::Path::new(&dir), &mut |_, _| {
        rows += 1;
        true
    });
    assert_eq!(inspected.unwrap(), Inspected::Running);
    let options = StoreOptions {
        map_bytes: MAP_BYTES,
    };
    let opened = NamespaceStore::open(std::path::Path::new(&dir), options);
    assert!(matches!(opened, Err(StoreError::Locked(_))));
    println!("inspected {rows} rows");
}

#[test]
fn a_running_store_is_inspected_and_cannot_be_opened_twice() {
    let mut cluster = filled(6);
    let output = std::process::Command::new(std::env::current_exe().unwrap())
        .args([
            "--exact",
            "snapshots::inspected_from_another_process",
            "--nocapture",
        ])
        .env("STRATA_TEST_INSPECT", cluster.dir.path())
        .output()
        .unwrap();
    let text = String::from_utf8_lossy(&output.stdout);
    let expected = format!("inspected {} rows", cluster.rows().len());
    assert!(
        output.status.success() && text.contains(&expected),
        "{text}"
    );
    cluster.put("b", b"and goes on", Body::Empty);
}

#[test]
fn a_full_map_stops_and_keeps_what_was() {
    let dir = tempfile::tempdir().unwrap();
    let options = StoreOptions { map_bytes: 1 << 20 };
    let (store, _) = NamespaceStore::open(dir.path(), options).unwrap();
    let mut cluster = Cluster::on(store, dir);
    cluster.bucket("b");
    let mut stored = 0;
    let error = loop {
        let key = format!("key{stored}").into_bytes();
        match cluster.try_put("b", &key, Body::Inline(vec![1; 9_000])) {
            Ok(()) => stored += 1,
            Err(error) => break error,
        }
    };
    assert!(matches!(error, StoreError::Full), "{error}");
    assert!(stored > 20, "{stored}");
    assert!(cluster.store.usage().unwrap().is_high());
    let view = cluster.store.view().unwrap();
    for at in 0..stored {
        assert!(
            view.object("b", format!("key{at}").as_bytes())
                .unwrap()
                .is_some()
        );
    }
    assert!(
        view.object("b", format!("key{stored}").as_bytes())
            .unwrap()
            .is_none()
    );
}
