//! A piece of a snapshot of the namespace.

use strata_raftlog::fuzzing;
use strata_raftlog::namespace::store::PieceSummary;

use crate::canonical::{Behind, check_sealed, seal_big};

/// Bytes of a piece in front of its rows: CRC, version, reserved bytes, number of rows. The version is this one.
const HEADER_BYTES: usize = 12;
const VERSION_AT: std::ops::Range<usize> = 4..8;

pub(super) fn run(data: &[u8]) {
    check_sealed(data, Behind::Refused, seal_big, |piece| {
        let crc = u32::from_be_bytes(*piece.first_chunk()?);
        let bytes = piece.len() as u32;
        let rows = fuzzing::snapshot_rows(piece, PieceSummary { bytes, crc })?;
        let other = PieceSummary {
            bytes,
            crc: crc ^ 1,
        };
        assert!(fuzzing::snapshot_rows(piece, other).is_none());
        let mut encoded = vec![0; HEADER_BYTES];
        encoded[VERSION_AT].copy_from_slice(&[0, 4, 0, 0]);
        encoded[8..].copy_from_slice(&(rows.len() as u32).to_be_bytes());
        for (key, value) in rows {
            encoded.extend_from_slice(&(key.len() as u32).to_be_bytes());
            encoded.extend_from_slice(&(value.len() as u32).to_be_bytes());
            encoded.extend_from_slice(key);
            encoded.extend_from_slice(value);
        }
        seal_big(&mut encoded);
        Some(encoded)
    });
}
