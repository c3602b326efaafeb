//! What a newer version has written: it is refused by name, and nothing on the device is changed.

use std::collections::BTreeMap;
use std::path::Path;

use super::environment::SIDE_FILE;
use super::{NamespaceStore, StoreError, StoreOptions};
use crate::namespace::WriteTxn;
use crate::namespace::command::FEATURE_LEVEL;

/// The keys of the last applied entry and of the group's counters.
const APPLIED: &[u8] = &[b'S', 1];
const GROUP: &[u8] = &[b'S', 3];

fn open(dir: &Path) -> Result<NamespaceStore, StoreError> {
    let options = StoreOptions {
        map_bytes: 16 << 20,
    };
    NamespaceStore::open(dir, options).map(|(store, _)| store)
}

/// A row's value as docs/FORMAT.md has it.
fn value(key: &[u8], version: u8, payload: &[u8]) -> Vec<u8> {
    let crc = crc32c::crc32c_append(crc32c::crc32c(key), &[version]);
    let crc = crc32c::crc32c_append(crc, payload);
    [&[version][..], &crc.to_be_bytes(), payload].concat()
}

/// A directory whose checkpoint holds this row.
fn with_row(key: &[u8], value: &[u8]) -> tempfile::TempDir {
    let dir = tempfile::tempdir().expect("a directory");
    let store = open(dir.path()).expect("a store");
    let environment = &store.inner.environment;
    let txn = environment.env.write_txn().expect("a transaction");
    let mut txn = WriteTxn::new(txn, store.writer().tally);
    let put = environment.table.put_sealed(&mut txn, key, value);
    put.expect("put");
    store.writer().tally = txn.commit().expect("committed");
    let checkpoint = store.begin_checkpoint().expect("begun");
    checkpoint.finish().expect("a checkpoint");
    dir
}

/// All files but LMDB's own lock file.
fn files(dir: &Path) -> BTreeMap<String, Vec<u8>> {
    let entries = std::fs::read_dir(dir).expect("a directory");
    let names = entries.map(|entry| entry.expect("an entry").file_name().into_string());
    let names = names.map(|name| name.expect("a name"));
    let kept = names.filter(|name| name != "lock.mdb");
    kept.map(|name| {
        let content = std::fs::read(dir.join(&name)).expect("a file");
        (name, content)
    })
    .collect()
}

fn expect_refusal(dir: &Path, what: &str) {
    let before = files(dir);
    let error = open(dir).err().expect("a refusal");
    let text = error.to_string();
    assert!(matches!(error, StoreError::NewerFormat(_)), "{text}");
    assert!(text.contains(what), "{text}");
    assert!(files(dir) == before, "nothing is changed");
}

#[test]
fn a_feature_level_that_is_not_followed_is_refused() {
    let mut payload = [0; 40];
    for level in [FEATURE_LEVEL, FEATURE_LEVEL + 1] {
        payload[2..4].copy_from_slice(&level.to_be_bytes());
        let dir = with_row(GROUP, &value(GROUP, 1, &payload));
        if level == FEATURE_LEVEL {
            open(dir.path()).expect("its own level");
        } else {
            expect_refusal(dir.path(), "feature level 2");
        }
    }
}

#[test]
fn a_row_of_a_newer_version_is_refused() {
    let dir = with_row(APPLIED, &value(APPLIED, 2, &[0; 32]));
    expect_refusal(dir.path(), "version 2 of the row");
}

#[test]
fn a_side_file_of_a_newer_version_is_refused() {
    let dir = tempfile::tempdir().expect("a directory");
    drop(open(dir.path()).expect("a store"));
    let path = dir.path().join(SIDE_FILE);
    let mut bytes = std::fs::read(&path).expect("a side file");
    bytes[11] += 1;
    let crc_at = bytes.len() - 4;
    let crc = crc32c::crc32c(&bytes[..crc_at]);
    bytes[crc_at..].copy_from_slice(&crc.to_be_bytes());
    std::fs::write(&path, &bytes).expect("written");
    expect_refusal(dir.path(), "version 7 of the checkpoint's side file");
}
