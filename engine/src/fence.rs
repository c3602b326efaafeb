//! Whose writes a partition takes: the newest epoch of each placement group, and the writers that are closed. Both are decided
//! elsewhere, by replicated commands; whoever has not heard of one is refused here.
//!
//! Invariants: an epoch only rises, and a closed writer stays closed; what is refused changed nothing; a copy that is written anew
//! for a closed writer is no introduction and is taken.

use std::collections::{BTreeMap, BTreeSet};

use crate::error::EngineError;
use crate::id::ChunkId;
use crate::store::ShardWrite;

/// What a write says of who decided it.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Decided {
    chunk: ChunkId,
    epoch: u32,
    introduces: bool,
}

impl Decided {
    pub(crate) fn of(shard: &ShardWrite) -> Decided {
        Decided {
            chunk: shard.id.chunk,
            epoch: shard.layout_epoch,
            introduces: shard.introduces,
        }
    }
}

/// What a partition knows of epochs and writers since its start.
#[derive(Debug, Default)]
pub(crate) struct Fence {
    group_epochs: BTreeMap<u32, u32>,
    closed_writers: BTreeSet<u32>,
}

impl Fence {
    /// The epoch of a placement group that is in force, if it is higher than the one known.
    pub(crate) fn raise_group_epoch(&mut self, group: u32, epoch: u32) {
        let known = self.group_epochs.entry(group).or_default();
        *known = (*known).max(epoch);
    }

    /// A writer that introduces nothing more.
    pub(crate) fn close_writer(&mut self, writer: u32) {
        self.closed_writers.insert(writer);
    }

    /// Lets a write in, which may be the first to know of a higher epoch. To be asked in the turn in which it is appended.
    ///
    /// # Errors
    /// [`EngineError::Stale`].
    pub(crate) fn admit(&mut self, decided: Decided) -> Result<(), EngineError> {
        let Decided {
            chunk,
            epoch,
            introduces,
        } = decided;
        let group = chunk.placement_group();
        let known = self.group_epochs.get(&group).copied().unwrap_or(0);
        if epoch < known {
            return Err(EngineError::Stale(format!(
                "epoch {epoch} of placement group {group}, in force is {known}"
            )));
        }
        if introduces && self.closed_writers.contains(&chunk.writer()) {
            return Err(EngineError::Stale(format!(
                "writer {} is closed",
                chunk.writer()
            )));
        }
        self.raise_group_epoch(group, epoch);
        Ok(())
    }
}
