//! The pages of LMDB's data file. An input is changes ([`patch`]) of a file with both trees several levels deep, long values and free
//! pages.

use std::cell::LazyCell;
use std::fs::File;
use std::os::unix::fs::FileExt;

use rustix::fs::{MemfdFlags, memfd_create};
use strata_raftlog::fuzzing;
use strata_raftlog::namespace::Body;
use strata_raftlog::namespace::command::{DeleteKey, DeleteObjects};

use super::apply::{BUCKET, State};
use crate::patch;

/// LMDB's pages, of which the first two are meta pages.
const META_BYTES: usize = 2 * 4096;

/// Objects of the state: enough for a tree of three levels.
const OBJECTS: u64 = 300;

thread_local! {
    static DATA: LazyCell<Data> = LazyCell::new(Data::made);
}

struct Data {
    bytes: Vec<u8>,
    file: File,
}

pub(super) fn run(data: &[u8]) {
    DATA.with(|base| {
        let mut bytes = base.bytes.clone();
        let changed = patch::apply(data, &mut bytes);
        for place in &changed {
            let written = base
                .file
                .write_all_at(&bytes[place.clone()], place.start as u64);
            written.expect("written");
        }
        let meta_pages = &bytes[..META_BYTES];
        let trees = fuzzing::data_file(&base.file, meta_pages, false);
        let everything = fuzzing::data_file(&base.file, meta_pages, true);
        if let Some(rows) = everything {
            assert_eq!(trees, Some(rows), "what is whole has whole trees");
        }
        for place in changed {
            let restored = base
                .file
                .write_all_at(&base.bytes[place.clone()], place.start as u64);
            restored.expect("restored");
        }
    });
}

impl Data {
    fn made() -> Data {
        let dir = tempfile::tempdir().expect("a directory");
        let mut state = State::filled(dir.path());
        for number in 0..OBJECTS {
            let key = format!(
                "{:03}/{}",
                number * 7 % 101,
                "n".repeat(number as usize % 100)
            );
            let body = match number % 60 {
                0 => Body::Inline(vec![number as u8; 9_000]),
                1..10 => Body::Inline(vec![number as u8; 300]),
                _ => Body::Empty,
            };
            state.put(number + 200, key.as_bytes(), body);
            if number % 9 == 0 {
                let delete = DeleteKey {
                    key: key.into_bytes(),
                    if_match: None,
                };
                state.change(DeleteObjects {
                    bucket: BUCKET,
                    keys: vec![delete],
                });
            }
        }
        let checkpoint = state.store.begin_checkpoint().expect("begun");
        checkpoint.finish().expect("a checkpoint");
        let bytes = std::fs::read(dir.path().join("data.mdb")).expect("the data file");
        let file = memfd_create("data", MemfdFlags::CLOEXEC).expect("a file in memory");
        let file = File::from(file);
        file.write_all_at(&bytes, 0).expect("written");
        assert!(
            fuzzing::data_file(&file, &bytes[..META_BYTES], true)
                .is_some_and(|rows| rows > OBJECTS)
        );
        Data { bytes, file }
    }
}
