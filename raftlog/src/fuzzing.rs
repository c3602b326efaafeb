//! What fuzzers need of the decoders that are no part of the interface: each reads bytes and gives what the encoder makes of what was
//! read, or says that they were refused.

use std::fs::File;

use crate::consensus::log::{decode_membership, decode_state, encode_membership, encode_state};
use crate::consensus::log::{record, recovery};
use crate::namespace::store::checkpoint::SideFile;
use crate::namespace::store::pages::{self, Meta, Reach, Value};
use crate::namespace::store::{PieceSummary, snapshot};
use crate::namespace::{RawRow, key};

/// The body of a log record.
pub fn log_record(kind: u8, body: &[u8]) -> Option<Vec<u8>> {
    let (group, number, record) = record::decode(kind, body).ok()?;
    assert_eq!(record.kind(), kind);
    assert_eq!(record::number(body).ok(), Some(number));
    assert!(record::decode_head(kind, body).is_ok_and(|head| (head.0, head.1) == (group, number)));
    Some(record.encode(group, number))
}

/// Records (kind, body) as the log of one mirror; whether all that the log states hold has a place.
pub fn log_replay<'r>(records: impl Iterator<Item = (u8, &'r [u8])>) -> Option<bool> {
    recovery::replay_records(records).ok()
}

/// The membership of a group.
pub fn membership(bytes: &[u8]) -> Option<Vec<u8>> {
    Some(encode_membership(&decode_membership(bytes).ok()?))
}

/// The state that a snapshot's manifest speaks of.
pub fn snapshot_state(bytes: &[u8]) -> Option<Vec<u8>> {
    let (last, membership, manifest) = decode_state(bytes).ok()?;
    Some(encode_state(last.as_ref(), &membership, manifest))
}

/// The value of a row of the namespace.
pub fn row(key: &[u8], value: &[u8]) -> Option<Vec<u8>> {
    crate::namespace::written_again(key, value)?.ok()
}

/// A key of the namespace that has fields behind its family.
pub fn row_key(bytes: &[u8]) -> Option<Vec<u8>> {
    match *bytes {
        [key::MULTIPART, key::UPLOAD, ..] => {
            let bucket = u64::from_be_bytes(*bytes.get(2..)?.first_chunk()?);
            let (object_key, upload) = key::parse_upload(bytes)?;
            Some(key::upload(bucket, &object_key, upload))
        }
        [key::VERSION, key::EARLIER, ..] => {
            let bucket = u64::from_be_bytes(*bytes.get(2..)?.first_chunk()?);
            let (object_key, position) = key::parse_version(bytes)?;
            Some(key::version(bucket, &object_key, position))
        }
        [key::VERSION, key::NULL_POINTER, ..] => {
            let bucket = u64::from_be_bytes(*bytes.get(2..)?.first_chunk()?);
            let object_key = key::parse_null_version(bytes)?;
            Some(key::null_version(bucket, &object_key))
        }
        [key::EXTENTS, ..] => {
            let (inode, kind, space, offset) = key::parse_x(bytes)?;
            Some(match bytes.len() {
                18 => key::x_kind(inode, kind),
                _ => key::x_at(inode, kind, space, offset),
            })
        }
        [key::SYSTEM, key::S_DEVICE, ..] => key::parse_device(bytes).map(key::device),
        [key::DROPPED, ..] => key::parse_dropped(bytes).map(key::dropped),
        _ => None,
    }
}

/// The rows of a snapshot's piece.
pub fn snapshot_rows(piece: &[u8], summary: PieceSummary) -> Option<Vec<RawRow<'_>>> {
    snapshot::rows_of(piece, summary).ok()
}

/// The side file of a checkpoint.
pub fn side_file(bytes: &[u8]) -> Option<Vec<u8>> {
    let side = SideFile::decode(bytes);
    assert!(side.is_none() || SideFile::newer_version(bytes).is_none());
    Some(side?.encode())
}

/// LMDB's data file: how many rows it has, where it is whole.
pub fn data_file(file: &File, meta_pages: &[u8], everything: bool) -> Option<u64> {
    let meta = Meta::newest(meta_pages)?;
    let reach = match everything {
        true => Reach::Everything,
        false => Reach::Trees,
    };
    let mut rows = 0;
    let mut count = |_: &[u8], _: Value<'_>| {
        rows += 1;
        Ok(())
    };
    let file = file.try_clone().expect("a descriptor").into();
    pages::verify(&file, &meta, reach, &mut count).ok()?;
    Some(rows)
}
