//! What went wrong with the shards of a chunk while it was read.
//!
//! Invariant: the error that a reader sees is the most severe, so that a device that is away does not hide damage.

use std::collections::BTreeSet;

use strata_engine::EngineError;
use strata_raftlog::namespace::ChunkId;

use crate::cluster::shard::ShardPlace;
use crate::error::ClusterError;

/// What went wrong with the shards of a chunk.
#[derive(Debug, Default)]
pub(crate) struct Trouble {
    most_severe: Option<EngineError>,
    /// Those that hold bytes which cannot be read.
    damaged: BTreeSet<ShardPlace>,
    /// Those that are not there. The reader's pin keeps the chunk from being freed, so their places have lost them.
    missing: BTreeSet<ShardPlace>,
}

impl Trouble {
    pub(super) fn note(&mut self, shard: ShardPlace, error: EngineError) {
        match error {
            EngineError::Corrupt { .. } | EngineError::Io(_) => drop(self.damaged.insert(shard)),
            EngineError::NotFound => drop(self.missing.insert(shard)),
            _ => {}
        }
        self.note_error(error);
    }

    pub(super) fn note_error(&mut self, error: EngineError) {
        let known = self.most_severe.as_ref();
        if known.is_none_or(|known| severity(&error) >= severity(known)) {
            self.most_severe = Some(error);
        }
    }

    pub(super) fn has_damage(&self) -> bool {
        !self.damaged.is_empty()
    }

    /// The shards that are to be written anew.
    pub(crate) fn into_bad(mut self) -> BTreeSet<ShardPlace> {
        self.damaged.append(&mut self.missing);
        self.damaged
    }

    pub(crate) fn into_error(self, chunk: ChunkId) -> ClusterError {
        match self.most_severe {
            Some(error) => error.into(),
            None => {
                ClusterError::Unavailable(format!("too few devices that hold {chunk} are there"))
            }
        }
    }
}

/// Which of two errors says more about a chunk.
fn severity(error: &EngineError) -> u8 {
    match error {
        EngineError::Corrupt { .. } => 4,
        EngineError::Io(_) => 3,
        EngineError::Busy(_) => 2,
        EngineError::NotFound => 0,
        _ => 1,
    }
}
