//! Every kind of log record, and the state that a snapshot speaks of, as they were first written.
//!
//! A difference is a format that changed: give the record a new version instead. `STRATA_WRITE_GOLDEN=1` writes a missing
//! file. A file holds, for each structure: length 4 (big endian), the journal's kind byte, the body.

use std::path::PathBuf;

use super::records;
use crate::consensus::log::codec;
use crate::consensus::log::record::{self, Record};
use crate::consensus::log::types::{StoredMembership, log_id};

/// The file's bytes; with `STRATA_WRITE_GOLDEN=1`, a missing one is written first.
fn golden(name: &str, bytes: &[u8]) -> Vec<u8> {
    let dir = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("src/consensus/log/golden");
    let path = dir.join(name);
    if !path.exists() && std::env::var_os("STRATA_WRITE_GOLDEN").is_some() {
        std::fs::create_dir_all(&dir).unwrap();
        std::fs::write(&path, bytes).unwrap();
    }
    std::fs::read(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

#[test]
fn every_kind_of_record_is_as_it_was_first_written() {
    let mut kinds: Vec<u8> = records().iter().map(Record::kind).collect();
    kinds.dedup();
    assert_eq!(kinds, [1, 2, 3, 4, 5, 6, 7, 8], "every kind, in order");
    let mut bytes = Vec::new();
    for record in records() {
        let body = record.encode(12, 34);
        bytes.extend_from_slice(&(body.len() as u32).to_be_bytes());
        bytes.push(record.kind());
        bytes.extend_from_slice(&body);
    }
    let golden = golden("records.v1.bin", &bytes);
    assert!(golden == bytes, "records are written differently");
    let mut rest = &golden[..];
    for record in records() {
        let (length, after) = rest.split_first_chunk::<4>().unwrap();
        let (kind, after) = after.split_first().unwrap();
        let (body, after) = after.split_at(u32::from_be_bytes(*length) as usize);
        assert_eq!(record::decode(*kind, body), Ok((12, 34, record)));
        rest = after;
    }
    assert!(rest.is_empty());
}

#[test]
fn the_state_of_a_snapshot_is_as_it_was_first_written() {
    let membership = records().into_iter().find_map(|record| match record {
        Record::Entry(entry) => match entry.payload {
            openraft::EntryPayload::Membership(membership) => Some(membership),
            _ => None,
        },
        _ => None,
    });
    let stored = StoredMembership::new(Some(log_id(1, 2, 4)), membership.unwrap());
    let last = log_id(3, 1, 7);
    let bytes = codec::encode_state(Some(&last), &stored, b"a manifest");
    let golden = golden("snapshot_state.v1.bin", &bytes);
    assert!(golden == bytes, "the state is written differently");
    let read = codec::decode_state(&golden);
    assert_eq!(read, Ok((Some(last), stored, &b"a manifest"[..])));
}
