//! Snapshots in the log: pieces, then a manifest, on every mirror; and giving the space below back.
//!
//! A snapshot counts once its manifest is durable; until then the one before it stays whole.

use std::rc::Rc;

use bytes::Bytes;
use strata_engine::JournalPosition;

use super::record::{self, Manifest, Piece, Record};
use super::state::LogIndex;
use super::store::LogStore;
use super::{LogError, Malformed, SnapshotMeta, decode_state};

/// Bytes of pieces queued between two flushes.
const FLUSH_BYTES: usize = 4 << 20;

/// A complete snapshot in a log.
#[derive(Clone)]
pub(crate) struct SnapshotBody {
    store: LogStore,
    manifest: Rc<Manifest>,
    /// By piece, then by mirror slot.
    places: Rc<Vec<Vec<Option<JournalPosition>>>>,
}

/// Writes a snapshot piece by piece. Dropped before `finish`, it leaves nothing that counts.
pub(crate) struct SnapshotWriter {
    store: LogStore,
    number: u64,
    pieces: Vec<(u32, u32)>,
    unflushed: usize,
    finished: bool,
}

impl LogStore {
    /// Begins a snapshot; only one is written at a time.
    pub(crate) fn begin_snapshot(&self) -> SnapshotWriter {
        let number = self.with(|group| {
            group.state.snapshot_number += 1;
            group.state.snapshot_number
        });
        SnapshotWriter {
            store: self.clone(),
            number,
            pieces: Vec::new(),
            unflushed: 0,
            finished: false,
        }
    }

    /// The newest complete snapshot.
    pub(crate) fn snapshot(&self) -> Option<SnapshotBody> {
        let (manifest, places) = self.with(|group| {
            let manifest = group.state.snapshot.clone()?;
            let piece = |log_index: &LogIndex, number: usize| {
                log_index.snapshot.as_ref()?.pieces.get(number).copied()
            };
            let places = (0..manifest.pieces.len())
                .map(|number| {
                    group
                        .log_indexes
                        .iter()
                        .map(|log_index| piece(log_index, number))
                        .collect()
                })
                .collect();
            Some((manifest, places))
        })?;
        Some(SnapshotBody {
            store: self.clone(),
            manifest: Rc::new(manifest),
            places: Rc::new(places),
        })
    }

    /// The number of the newest complete snapshot, 0 where there is none.
    pub(crate) fn snapshot_number(&self) -> u64 {
        self.with(|group| {
            group
                .state
                .snapshot
                .as_ref()
                .map_or(0, |manifest| manifest.snapshot)
        })
    }

    /// Bytes of the newest complete snapshot, 0 where there is none.
    pub(crate) fn snapshot_bytes(&self) -> u64 {
        self.with(|group| group.state.snapshot.as_ref().map_or(0, Manifest::bytes))
    }

    /// Bytes of the log, with headers and padding, and entries since the last snapshot: what a start replays, and what
    /// comes back with the next one.
    pub(crate) fn since_snapshot(&self) -> (u64, u64) {
        let (places, entries) = self.with(|group| {
            let places: Vec<_> = group
                .log_indexes
                .iter()
                .map(LogIndex::behind_snapshot)
                .collect();
            (places, group.state.entries_since_snapshot)
        });
        (self.log.0.mirrors.bytes_since(&places), entries)
    }

    /// Gives back what lies below the live records of all groups, on every mirror.
    ///
    /// Votes, marks and the generation are written anew first, so that only entries and snapshots hold
    /// space, and all of it is durable before anything is released.
    ///
    /// # Errors
    /// `Full` where there is no room for them: nothing is released, and nothing is lost. Others when the log fails.
    pub(crate) async fn release(&self) -> Result<(), LogError> {
        let log = &self.log;
        // All in one moment: a snapshot that is finished while the flush below is waited for is not durable after it.
        let mut bounds = log.0.mirrors.tails();
        for group in log.0.groups.borrow().values() {
            for (bound, log_index) in bounds.iter_mut().zip(&group.log_indexes) {
                if let (Some(bound), Some(oldest)) = (bound.as_mut(), log_index.oldest()) {
                    *bound = oldest.min(*bound);
                }
            }
        }
        let marks: Vec<(u16, Vec<Record>)> = log
            .0
            .groups
            .borrow()
            .iter()
            .map(|(group, log)| (*group, log.marks()))
            .collect();
        log.0.mirrors.rewrite_generation()?;
        for (group, records) in marks {
            for record in records {
                log.write(group, record)?;
            }
        }
        log.flush().await?;
        log.0.mirrors.trim(&bounds).await;
        log.flush().await
    }
}

impl super::GroupLog {
    /// The records that say where the group stands, but for entries and snapshot.
    fn marks(&self) -> Vec<Record> {
        let state = &self.state;
        let vote = state.vote.map(Record::Vote);
        let purged = state.purged.map(Record::Purge);
        let committed = state.committed.map(Record::Committed);
        [vote, purged, committed].into_iter().flatten().collect()
    }
}

impl SnapshotWriter {
    /// Adds a piece.
    ///
    /// # Errors
    /// When the log fails or is full.
    pub(crate) async fn piece(&mut self, bytes: Bytes) -> Result<(), LogError> {
        let number = self.pieces.len() as u32;
        self.pieces
            .push((bytes.len() as u32, crc32c::crc32c(&bytes)));
        self.unflushed += bytes.len();
        self.store.log.write(
            self.store.group,
            Record::Piece(Piece {
                snapshot: self.number,
                number,
                bytes,
            }),
        )?;
        if self.unflushed >= FLUSH_BYTES {
            self.unflushed = 0;
            self.store.log.flush().await?;
        }
        Ok(())
    }

    /// Makes it the newest snapshot, durable on all mirrors.
    ///
    /// # Errors
    /// When the log fails or is full.
    pub(crate) async fn finish(mut self, state: Bytes) -> Result<(), LogError> {
        // The manifest must not be durable before the pieces it speaks of.
        self.store.log.flush().await?;
        let pieces = std::mem::take(&mut self.pieces);
        let manifest = Manifest {
            snapshot: self.number,
            state,
            pieces,
        };
        self.store
            .log
            .write(self.store.group, Record::Manifest(manifest))?;
        self.finished = true;
        self.store.log.flush().await
    }
}

impl Drop for SnapshotWriter {
    fn drop(&mut self) {
        if !self.finished {
            self.store.with(|group| {
                group
                    .log_indexes
                    .iter_mut()
                    .for_each(LogIndex::forget_building)
            });
        }
    }
}

impl SnapshotBody {
    /// How many pieces it has.
    pub(crate) fn piece_count(&self) -> usize {
        self.manifest.pieces.len()
    }

    /// Bytes of all pieces.
    pub(crate) fn bytes(&self) -> u64 {
        self.manifest.bytes()
    }

    /// What state it is of, as it was given to `finish`.
    pub(crate) fn state(&self) -> &Bytes {
        &self.manifest.state
    }

    /// openraft's description of it.
    ///
    /// # Errors
    /// Where the state is malformed.
    pub(crate) fn meta(&self) -> Result<SnapshotMeta, Malformed> {
        let (last_log_id, last_membership, _) = decode_state(&self.manifest.state)?;
        Ok(SnapshotMeta {
            last_log_id,
            last_membership,
        })
    }

    /// Whether it is the newest snapshot of this log.
    pub(crate) fn is_in(&self, store: &LogStore) -> bool {
        let newest = store.with(|group| {
            group
                .state
                .snapshot
                .as_ref()
                .map(|manifest| manifest.snapshot)
        });
        Rc::ptr_eq(&self.store.log.0, &store.log.0) && newest == Some(self.manifest.snapshot)
    }

    /// Reads a piece from the first mirror that has it whole.
    ///
    /// # Errors
    /// Where no mirror has it.
    pub(crate) async fn piece(&self, number: usize) -> Result<Bytes, LogError> {
        let (length, crc) = self.manifest.pieces[number];
        let check = |kind: u8, body: &[u8]| match record::decode(kind, body) {
            Ok((_, _, Record::Piece(piece)))
                if piece.snapshot == self.manifest.snapshot
                    && piece.number as usize == number
                    && piece.bytes.len() as u32 == length
                    && crc32c::crc32c(&piece.bytes) == crc =>
            {
                Ok(())
            }
            Ok(_) => Err(format!(
                "snapshot {} has another piece {number}",
                self.manifest.snapshot
            )),
            Err(malformed) => Err(malformed.0),
        };
        let (kind, body) = self
            .store
            .log
            .0
            .mirrors
            .read(&self.places[number], check)
            .await?;
        match record::decode(kind, &body) {
            Ok((_, _, Record::Piece(piece))) => Ok(piece.bytes),
            _ => Err(LogError::Corrupt(format!(
                "piece {number} changed while it was read"
            ))),
        }
    }
}
