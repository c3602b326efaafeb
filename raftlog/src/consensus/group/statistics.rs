//! Numbers of a group, for the metrics.

use std::fmt;
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Mutex, MutexGuard, OnceLock, PoisonError};

/// What leaves the namespace no room to grow.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum NamespaceFull {
    /// The map has its full length.
    Map,
    /// The file system that the map's file lies on has no room for more of it.
    FileSystem {
        /// The metadata directory.
        directory: PathBuf,
    },
}

impl fmt::Display for NamespaceFull {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            NamespaceFull::Map => f.write_str("the metadata map (metadata.map_size) is full"),
            NamespaceFull::FileSystem { directory } => write!(
                f,
                "the file system below the metadata directory {} is full",
                directory.display()
            ),
        }
    }
}

/// Written by the group's reactor about ten times a second, read by any thread.
#[derive(Debug, Default)]
pub struct GroupStatistics {
    pub(super) term: AtomicU64,
    pub(super) leader: AtomicU64,
    pub(super) last_log: AtomicU64,
    pub(super) applied: AtomicU64,
    pub(super) checkpoint: AtomicU64,
    pub(super) snapshot: AtomicU64,
    pub(super) purged: AtomicU64,
    pub(super) generation: AtomicU64,
    pub(super) mirrors: AtomicU64,
    pub(super) log_used_bytes: AtomicU64,
    pub(super) log_capacity_bytes: AtomicU64,
    pub(super) inline_bytes_max: AtomicU64,
    pub(super) map_used_bytes: AtomicU64,
    pub(super) map_bytes: AtomicU64,
    pub(super) outstanding: AtomicU64,
    namespace_full: Mutex<Option<NamespaceFull>>,
    pub(super) failure: OnceLock<String>,
    pub(super) needs_rebuild: AtomicBool,
}

macro_rules! getters {
    ($($(#[$doc:meta])* $name:ident),* $(,)?) => {
        impl GroupStatistics {
            $($(#[$doc])* pub fn $name(&self) -> u64 {
                self.$name.load(Ordering::Relaxed)
            })*
        }
    };
}

getters!(
    /// The term.
    term,
    /// The index of the last log entry.
    last_log,
    /// The index of the last applied entry.
    applied,
    /// The index of the last entry in a durable checkpoint.
    checkpoint,
    /// The index of the last entry in a snapshot.
    snapshot,
    /// The index of the last purged entry.
    purged,
    /// The generation of the log's mirror set.
    generation,
    /// Mirrors of the log in use.
    mirrors,
    /// Bytes used in the log partition with the least room.
    log_used_bytes,
    /// Bytes of that partition.
    log_capacity_bytes,
    /// The longest body that a command should carry now, in bytes.
    inline_bytes_max,
    /// Bytes of the metadata map that hold rows.
    map_used_bytes,
    /// Bytes of the metadata map.
    map_bytes,
    /// Proposals that wait for their answers.
    outstanding,
);

impl GroupStatistics {
    /// Whether this node leads.
    pub fn is_leader(&self) -> bool {
        self.leader.load(Ordering::Relaxed) != 0
    }

    /// What leaves the namespace no room at this time, so that new names are refused or wait; `None` while there is room.
    pub fn namespace_full(&self) -> Option<NamespaceFull> {
        self.lock_full().clone()
    }

    pub(super) fn set_namespace_full(&self, full: Option<NamespaceFull>) {
        *self.lock_full() = full;
    }

    fn lock_full(&self) -> MutexGuard<'_, Option<NamespaceFull>> {
        let lock = self.namespace_full.lock();
        lock.unwrap_or_else(PoisonError::into_inner)
    }

    /// Why the group has stopped by itself, if it has.
    pub fn failure(&self) -> Option<String> {
        self.failure.get().cloned()
    }

    /// Whether the group has stopped because its namespace cannot be trusted: the next start rebuilds it from snapshot and log.
    pub fn needs_rebuild(&self) -> bool {
        self.needs_rebuild.load(Ordering::Relaxed)
    }

    pub(super) fn stopped(&self) {
        self.leader.store(0, Ordering::Relaxed);
    }
}
