//! A file system below the metadata that is really full: what did not fit is tried again and nothing else happens.

use std::path::Path;

use strata_raftlog::namespace::store::{NamespaceStore, StoreError, StoreOptions};
use strata_raftlog::namespace::{Body, LogEntry, LogPosition};

use crate::commands::put;
use crate::small_file_system::on_small_file_system;
use crate::support::{Cluster, FIRST_BUCKET};

const FILE_SYSTEM_BYTES: usize = 96 << 20;
const ROUNDS: usize = 12;
/// Of a body, so that LMDB writes several pages at once and is cut off within a write.
const BODY_BYTES: usize = 9_000;

#[test]
fn a_full_file_system_delays_what_does_not_fit() {
    let name = "full_disk::a_full_file_system_delays_what_does_not_fit";
    on_small_file_system(name, FILE_SYSTEM_BYTES, fill_and_make_room);
}

fn fill_and_make_room(dir: &Path) {
    let options = StoreOptions {
        map_bytes: FILE_SYSTEM_BYTES,
    };
    let (store, _) = NamespaceStore::open(&dir.join("metadata"), options).unwrap();
    let mut cluster = Cluster::on(store.clone(), tempfile::tempdir().unwrap());
    cluster.bucket("b");
    let (filler, mut delayed) = (dir.join("filler"), 0);
    for round in 0..ROUNDS {
        // Another rest of the file system every time.
        let free = store.disk_free().unwrap() as usize;
        std::fs::write(
            &filler,
            vec![1; free.saturating_sub(200_000 + round * 4_096)],
        )
        .unwrap();
        // Room that a checkpoint has taken ahead is used up first.
        for number in 0..2_000 {
            let inode = cluster.inode();
            let key = format!("{round}/{number}");
            let body = Body::Inline(vec![7; BODY_BYTES]);
            let command = put(FIRST_BUCKET, key.as_bytes(), inode, body);
            let (position, bytes) = cluster.next_entry(command);
            match apply_once(&store, position, LogEntry::Command(&bytes)) {
                Ok(_) => continue,
                Err(StoreError::NoSpace) => {}
                Err(other) => panic!("round {round}: {other}"),
            }
            delayed += 1;
            std::fs::remove_file(&filler).unwrap();
            apply_once(&store, position, LogEntry::Command(&bytes)).unwrap();
            break;
        }
        let _ = std::fs::remove_file(&filler);
        store.begin_checkpoint().unwrap().finish().unwrap();
    }
    assert_eq!(delayed, ROUNDS, "the file system was full in every round");
    assert_eq!(store.applied(), cluster.position());
}

fn apply_once(
    store: &NamespaceStore,
    position: LogPosition,
    entry: LogEntry<'_>,
) -> Result<(), StoreError> {
    let mut transaction = store.begin()?;
    transaction.apply(position, entry)?;
    transaction.commit()
}
