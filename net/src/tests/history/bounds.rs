//! The checker of bounds: queues are never longer than they may be, and a node that has nothing to do holds what it held before.

use crate::cluster::Cluster;

/// Messages that may lie in a mailbox, and proposals that may wait for their answers.
const MAILBOX_MESSAGES_MAX: usize = 1024;
const PROPOSALS_MAX: u64 = 4096;

/// What a node holds when it has nothing to do.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Held {
    /// Bytes of each reactor's arena.
    arena_bytes: Vec<u64>,
    /// Bodies that are being read.
    readers: usize,
    /// Operations of devices whose callers have gone.
    orphaned_operations: u64,
}

/// What the node holds now.
pub fn held(cluster: &Cluster) -> Held {
    let reactors = cluster.parts().status.reactors();
    let statistics = || reactors.iter().map(|(_, statistics)| statistics);
    Held {
        arena_bytes: statistics().map(|of| of.arena_used_bytes.get()).collect(),
        readers: cluster.parts().readers.oldest().len(),
        orphaned_operations: statistics().map(|of| of.orphaned_operations.get()).sum(),
    }
}

/// Whether a node that is idle again holds no more than it did when it was before.
///
/// # Errors
/// Says what it holds.
pub fn check_idle(before: &Held, after: &Held) -> Result<(), String> {
    let has_grown = before
        .arena_bytes
        .iter()
        .zip(&after.arena_bytes)
        .any(|(before, after)| after > before);
    if has_grown
        || after.readers > before.readers
        || after.orphaned_operations > before.orphaned_operations
    {
        return Err(format!(
            "an idle node holds {after:?}, and held {before:?} before"
        ));
    }
    Ok(())
}

/// Whether no queue is longer than it may be.
///
/// # Errors
/// Says which is.
pub fn check_queues(cluster: &Cluster) -> Result<(), String> {
    let parts = cluster.parts();
    let longest = parts.peers.iter().map(|peer| peer.waiting()).max();
    let proposals = parts.status.group().map_or(0, |group| group.outstanding());
    if longest > Some(MAILBOX_MESSAGES_MAX) || proposals > PROPOSALS_MAX {
        return Err(format!(
            "{longest:?} messages lie in a mailbox, and {proposals} proposals wait"
        ));
    }
    for (reactor, statistics) in parts.status.reactors() {
        let (used, total) = (
            statistics.arena_used_bytes.get(),
            statistics.arena_total_bytes.get(),
        );
        if used > total {
            return Err(format!(
                "reactor {reactor} has handed out {used} bytes of an arena of {total}"
            ));
        }
    }
    Ok(())
}
