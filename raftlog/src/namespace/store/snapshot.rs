//! Snapshots: a manifest of immutable, sorted, checksummed pieces of rows. The same state in pieces of
//! the same length gives the same bytes.
//!
//! Piece (big endian): CRC32C 4 of all after it, version, reserved 2, number of rows 4, then rows:
//! length of the key 4, length of the value 4, key, value.
//!
//! Manifest (big endian): CRC32C 4 of all after it, version, reserved 2, position in the log 24
//! (term, node, index), rows 8, number of pieces 4, then for each piece: length 4, CRC32C 4.

use heed::{RoTxn, WithoutTls};

use super::{NamespaceStore, StoreError};
use crate::namespace::{LogPosition, RawRow, Table, Tally, WriteTxn, verify_row};

/// A piece is closed when it has this many bytes, where nothing else is said.
const PIECE_BYTES: usize = 1 << 20;

const VERSION: u16 = 4;
const PIECE_HEADER_BYTES: usize = 12;
const MANIFEST_HEADER_BYTES: usize = 44;

/// What a manifest says of a piece.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PieceSummary {
    /// Length of the piece, in bytes.
    pub bytes: u32,
    /// The CRC32C at its head.
    pub crc: u32,
}

/// What a snapshot consists of.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Manifest {
    /// The last entry of the log that the state holds.
    pub applied: LogPosition,
    /// Rows in all pieces.
    pub rows: u64,
    /// The pieces, in the order of their keys.
    pub pieces: Vec<PieceSummary>,
}

/// Reads one state, piece by piece. While it lives, pages of that state are not used again.
pub struct SnapshotReader {
    table: Table,
    txn: RoTxn<'static, WithoutTls>,
    /// The last key that was read.
    after: Option<Vec<u8>>,
    done: bool,
    /// A piece is closed when it has this many bytes.
    piece_bytes: usize,
    manifest: Manifest,
    /// Of the rows as they were written, and of those that were read.
    written: Tally,
    read: Tally,
}

impl NamespaceStore {
    /// Begins a snapshot of the state as it is.
    ///
    /// # Errors
    /// `Lmdb` where no more readers are possible.
    pub fn snapshot(&self) -> Result<SnapshotReader, StoreError> {
        // Holding the writer keeps a commit from coming between the transaction and the tally.
        let writer = self.writer();
        let environment = &self.inner.environment;
        let txn = environment.env.clone().static_read_txn()?;
        let applied = crate::namespace::View::borrowed(environment.table, &txn).applied()?;
        let manifest = Manifest {
            applied,
            ..Manifest::default()
        };
        Ok(SnapshotReader {
            table: environment.table,
            txn,
            after: None,
            done: false,
            piece_bytes: PIECE_BYTES,
            manifest,
            written: writer.tally,
            read: Tally::default(),
        })
    }

    /// Replaces the whole state by a snapshot's, in one transaction. A checkpoint should follow.
    ///
    /// # Errors
    /// `Snapshot` where a piece is damaged, missing or too many; the state is then as before.
    pub fn install_snapshot(
        &self,
        manifest: &Manifest,
        pieces: impl IntoIterator<Item = Result<Vec<u8>, StoreError>>,
    ) -> Result<LogPosition, StoreError> {
        let mut writer = self.writer();
        writer.check()?;
        let environment = &self.inner.environment;
        let mut txn = WriteTxn::new(environment.env.write_txn()?, writer.tally);
        environment.table.clear(&mut txn)?;
        let mut pieces = pieces.into_iter();
        let mut last_key = Vec::new();
        let mut rows = 0;
        for summary in &manifest.pieces {
            let piece = pieces
                .next()
                .ok_or_else(|| damaged("a piece is missing"))??;
            for (key, value) in rows_of(&piece, *summary)? {
                if *key <= last_key[..] {
                    return Err(damaged("the keys are not in order"));
                }
                verify_row(key, value)?;
                environment.table.append(&mut txn, key, value)?;
                last_key.clear();
                last_key.extend_from_slice(key);
                rows += 1;
            }
        }
        let applied = crate::namespace::View::borrowed(environment.table, &txn).applied()?;
        if pieces.next().is_some() || rows != manifest.rows || applied != manifest.applied {
            return Err(damaged("the pieces are not those of the manifest"));
        }
        writer.tally = txn.commit()?;
        environment.data.written();
        self.committed(true);
        writer.applied = applied;
        Ok(applied)
    }
}

impl SnapshotReader {
    /// Pieces of another length.
    pub fn in_pieces_of(mut self, bytes: usize) -> SnapshotReader {
        self.piece_bytes = bytes;
        self
    }

    /// The next piece; `None` after the last.
    ///
    /// # Errors
    /// `Corrupt` where a row is damaged: a snapshot never holds one. `Doubtful` where rows are missing or foreign: a snapshot
    /// of them would make that permanent.
    pub fn next_piece(&mut self) -> Result<Option<Vec<u8>>, StoreError> {
        if self.done {
            return Ok(None);
        }
        let from = self
            .after
            .as_ref()
            .map_or(Vec::new(), |key| [&key[..], &[0]].concat());
        let mut scan = self.table.scan(&self.txn, &[], &from)?;
        let mut piece = vec![0; PIECE_HEADER_BYTES];
        let mut rows = 0u32;
        while piece.len() < self.piece_bytes {
            let Some((key, value)) = scan.next_raw()? else {
                self.check_tally()?;
                self.done = true;
                break;
            };
            verify_row(key, value)?;
            self.read.add(key, value);
            piece.extend_from_slice(&(key.len() as u32).to_be_bytes());
            piece.extend_from_slice(&(value.len() as u32).to_be_bytes());
            piece.extend_from_slice(key);
            piece.extend_from_slice(value);
            self.after = Some(key.to_vec());
            rows += 1;
        }
        if rows == 0 {
            return Ok(None);
        }
        piece[4..6].copy_from_slice(&VERSION.to_be_bytes());
        piece[8..12].copy_from_slice(&rows.to_be_bytes());
        let crc = seal(&mut piece);
        self.manifest.rows += u64::from(rows);
        self.manifest.pieces.push(PieceSummary {
            bytes: piece.len() as u32,
            crc,
        });
        Ok(Some(piece))
    }

    fn check_tally(&self) -> Result<(), StoreError> {
        match self.read == self.written {
            true => Ok(()),
            false => Err(StoreError::Doubtful(format!(
                "{} rows were found and {} were written, or some of them are not the same",
                self.read.rows, self.written.rows
            ))),
        }
    }

    /// The manifest of all pieces, once the last has been read.
    pub fn manifest(&self) -> Option<&Manifest> {
        self.done.then_some(&self.manifest)
    }
}

impl Manifest {
    /// The bytes of the manifest.
    pub fn encode(&self) -> Vec<u8> {
        let mut bytes = vec![0; 4];
        bytes.extend_from_slice(&VERSION.to_be_bytes());
        bytes.extend_from_slice(&[0; 2]);
        let LogPosition { term, node, index } = self.applied;
        for field in [term, node, index, self.rows] {
            bytes.extend_from_slice(&field.to_be_bytes());
        }
        bytes.extend_from_slice(&(self.pieces.len() as u32).to_be_bytes());
        for piece in &self.pieces {
            bytes.extend_from_slice(&piece.bytes.to_be_bytes());
            bytes.extend_from_slice(&piece.crc.to_be_bytes());
        }
        seal(&mut bytes);
        bytes
    }

    /// Reads what [`encode`](Manifest::encode) wrote.
    ///
    /// # Errors
    /// `Snapshot` for anything else.
    pub fn decode(bytes: &[u8]) -> Result<Manifest, StoreError> {
        let Some((header, rest)) = bytes.split_first_chunk::<MANIFEST_HEADER_BYTES>() else {
            return Err(damaged("the manifest is cut short"));
        };
        check(bytes)?;
        let u64_at = |at: usize| u64::from_be_bytes(std::array::from_fn(|i| header[at + i]));
        let pieces: Vec<PieceSummary> = rest.chunks_exact(8).map(summary).collect();
        let count = u32::from_be_bytes(std::array::from_fn(|i| header[40 + i]));
        if rest.len() % 8 != 0 || pieces.len() != count as usize {
            return Err(damaged(
                "the manifest does not hold the pieces that it counts",
            ));
        }
        let applied = LogPosition {
            term: u64_at(8),
            node: u64_at(16),
            index: u64_at(24),
        };
        Ok(Manifest {
            applied,
            rows: u64_at(32),
            pieces,
        })
    }
}

fn summary(bytes: &[u8]) -> PieceSummary {
    let u32_at = |at: usize| u32::from_be_bytes(std::array::from_fn(|i| bytes[at + i]));
    PieceSummary {
        bytes: u32_at(0),
        crc: u32_at(4),
    }
}

/// The rows of a piece that must be the one of the manifest.
pub(crate) fn rows_of(piece: &[u8], expected: PieceSummary) -> Result<Vec<RawRow<'_>>, StoreError> {
    let Some((header, mut rest)) = piece.split_first_chunk::<PIECE_HEADER_BYTES>() else {
        return Err(damaged("a piece is cut short"));
    };
    let u32_at = |at: usize| u32::from_be_bytes(std::array::from_fn(|i| header[at + i]));
    if piece.len() != expected.bytes as usize || u32_at(0) != expected.crc {
        return Err(damaged("a piece is not that of the manifest"));
    }
    check(piece)?;
    let mut rows = Vec::new();
    for _ in 0..u32_at(8) {
        let (row, tail) = take_row(rest).ok_or_else(|| damaged("a piece is cut short"))?;
        rows.push(row);
        rest = tail;
    }
    if !rest.is_empty() {
        return Err(damaged("a piece goes on after its last row"));
    }
    Ok(rows)
}

fn take_row(bytes: &[u8]) -> Option<(RawRow<'_>, &[u8])> {
    let (key_bytes, rest) = bytes.split_first_chunk::<4>()?;
    let (value_bytes, rest) = rest.split_first_chunk::<4>()?;
    let (key, rest) = rest.split_at_checked(u32::from_be_bytes(*key_bytes) as usize)?;
    let (value, rest) = rest.split_at_checked(u32::from_be_bytes(*value_bytes) as usize)?;
    Some(((key, value), rest))
}

fn seal(bytes: &mut [u8]) -> u32 {
    let crc = crc32c::crc32c(&bytes[4..]);
    bytes[..4].copy_from_slice(&crc.to_be_bytes());
    crc
}

/// CRC, version and reserved bytes, at the head of pieces and manifests alike.
fn check(bytes: &[u8]) -> Result<(), StoreError> {
    let crc: [u8; 4] = std::array::from_fn(|i| bytes[i]);
    if u32::from_be_bytes(crc) != crc32c::crc32c(&bytes[4..]) {
        return Err(damaged("a CRC does not match"));
    }
    let version = u16::from_be_bytes([bytes[4], bytes[5]]);
    if version > VERSION {
        let what = format!("version {version} of snapshots");
        return Err(StoreError::NewerFormat(what));
    }
    if version != VERSION {
        let what =
            format!("version {version}, from before the first release; this one reads {VERSION}");
        return Err(damaged(&what));
    }
    if bytes[6..8] != [0; 2] {
        return Err(damaged("reserved bytes are not zero"));
    }
    Ok(())
}

fn damaged(detail: &str) -> StoreError {
    StoreError::Snapshot(detail.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_manifest_of_another_version_is_refused_by_name() {
        let manifest = Manifest {
            applied: LogPosition::default(),
            rows: 0,
            pieces: Vec::new(),
        };
        let of_version = |version: u16| {
            let mut bytes = manifest.encode();
            bytes[4..6].copy_from_slice(&version.to_be_bytes());
            seal(&mut bytes);
            Manifest::decode(&bytes)
        };
        assert!(of_version(VERSION).is_ok());
        let older = of_version(VERSION - 1).expect_err("refused").to_string();
        assert!(older.contains("version 3, from before"), "{older}");
        let newer = of_version(VERSION + 1).expect_err("refused");
        assert!(matches!(newer, StoreError::NewerFormat(_)), "{newer}");
    }
}
