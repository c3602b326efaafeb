//! Errors of the store. All but `Locked`, `Full` and `NoSpace` stop the group: nothing is skipped.

use std::path::PathBuf;

use rustix::io::Errno;

use crate::namespace::command::CommandError;

/// Why the store could not do what it was asked to.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// A row is damaged.
    #[error("the metadata row ({key}) is damaged: {detail}")]
    Corrupt {
        /// The key, readable.
        key: String,
        /// What is wrong with it.
        detail: String,
    },
    /// Rows are missing, or are not those that were written: the state must be rebuilt from snapshot and log.
    #[error("the metadata cannot be trusted: {0}")]
    Doubtful(String),
    /// A newer version has written it: what it wrote is left as it is.
    #[error("the metadata was written by a newer version; this one does not know: {0}")]
    NewerFormat(String),
    /// The map is full: `metadata.map_size` must grow or names must be deleted.
    #[error("the metadata map is full")]
    Full,
    /// The file system below the metadata directory is full; nothing was written, and it can be tried again.
    #[error("the file system below the metadata directory is full")]
    NoSpace,
    /// A log entry that the group has agreed on cannot be read.
    #[error("the log entry {index} cannot be applied: {error}")]
    Command {
        /// Its index in the log.
        index: u64,
        /// What is wrong with it.
        error: CommandError,
    },
    /// Another process has the directory open.
    #[error("{0} is in use by another process")]
    Locked(PathBuf),
    /// An operation on a file failed.
    #[error("{action} {path}: {source}")]
    Io {
        /// What was tried.
        action: &'static str,
        /// The file or directory.
        path: PathBuf,
        /// Why it failed.
        source: std::io::Error,
    },
    /// LMDB failed.
    #[error("LMDB: {0}")]
    Lmdb(String),
    /// LMDB could not write all of a page or could not write at all: it says the same where the file system has become full
    /// within a write and where the device fails.
    #[error("LMDB: {0}")]
    WriteCutShort(String),
    /// A snapshot is damaged or incomplete.
    #[error("the snapshot is damaged: {0}")]
    Snapshot(String),
    /// The store was used in a way that it forbids, or contradicts itself.
    #[error("metadata store: {0}")]
    Invariant(String),
    /// An earlier failure leaves the state on the device unknown; the store must be opened anew.
    #[error("the metadata store has failed before: {0}")]
    Failed(String),
}

impl From<heed::Error> for StoreError {
    fn from(error: heed::Error) -> StoreError {
        match error {
            heed::Error::Mdb(heed::MdbError::MapFull) => StoreError::Full,
            heed::Error::Io(error) if is_no_space(&error) => StoreError::NoSpace,
            heed::Error::Io(error) if error.raw_os_error() == Some(Errno::IO.raw_os_error()) => {
                StoreError::WriteCutShort(error.to_string())
            }
            other => StoreError::Lmdb(other.to_string()),
        }
    }
}

impl StoreError {
    /// Whether the state itself is in doubt: it must be rebuilt from snapshot and log.
    pub fn is_damage(&self) -> bool {
        matches!(self, StoreError::Corrupt { .. } | StoreError::Doubtful(_))
    }
}

/// Whether an operation failed because its file system, or the user's share of it, is full.
pub(super) fn is_no_space(error: &std::io::Error) -> bool {
    use std::io::ErrorKind;
    matches!(
        error.kind(),
        ErrorKind::StorageFull | ErrorKind::QuotaExceeded
    )
}
