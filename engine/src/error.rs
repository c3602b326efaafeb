//! Errors of the engine, sorted by what the caller does about them.

use std::path::PathBuf;

use crate::format::FormatError;

/// Why the engine did not do what it was asked.
#[derive(Debug, thiserror::Error)]
pub enum EngineError {
    /// The shard or record is not there.
    #[error("not found")]
    NotFound,
    /// Stored bytes do not match their checksum or contradict each other; they are never returned.
    #[error("corrupt at {place}: {detail}")]
    Corrupt {
        /// The device, partition and position.
        place: String,
        /// What was expected and found.
        detail: String,
    },
    /// No room for new data. Reads and frees go on.
    #[error("{what} is full")]
    Full {
        /// The partition.
        what: String,
    },
    /// A write or flush has failed, so that what it covered is unknown, or the device does not answer: it takes no more writes,
    /// and in the second case no reads.
    #[error("device {device} has failed: {detail}")]
    Failed {
        /// The device's file.
        device: String,
        /// The first error.
        detail: String,
    },
    /// The partition or its device is not there at this time.
    #[error("unavailable: {0}")]
    Unavailable(String),
    /// A bounded resource is used up: try again after a pause. Nothing was done.
    #[error("busy: {0}")]
    Busy(String),
    /// The file holds no superblock.
    #[error("no Strata superblock found")]
    Unformatted,
    /// Another version has written the device.
    #[error("the device has a format that this version does not read: {features}")]
    OtherFormat {
        /// What is not known, by name or number.
        features: String,
    },
    /// Another process has the device open.
    #[error("{path} is in use by another server: stop that one first")]
    Locked {
        /// The device's file.
        path: PathBuf,
    },
    /// The file system cannot bypass its page cache.
    #[error(
        "{path}: the file system has no direct I/O (O_DIRECT), as tmpfs and some overlays; use a directory on a disk"
    )]
    NoDirectIo {
        /// The device's file.
        path: PathBuf,
    },
    /// An operating system error outside the data path.
    #[error(transparent)]
    Io(#[from] std::io::Error),
    /// The write was decided under an epoch or by a writer that is no longer in force; nothing was written.
    #[error("stale: {0}")]
    Stale(String),
    /// The caller broke the contract of the function; says how.
    #[error("invalid: {0}")]
    Invalid(String),
}

impl EngineError {
    /// Corruption found at a place.
    pub(crate) fn corrupt(place: impl ToString, detail: impl ToString) -> EngineError {
        EngineError::Corrupt {
            place: place.to_string(),
            detail: detail.to_string(),
        }
    }

    /// The error of a structure that could not be decoded.
    pub(crate) fn from_format(place: impl ToString, error: FormatError) -> EngineError {
        match error {
            FormatError::OtherFormat { features } => EngineError::OtherFormat { features },
            other => EngineError::corrupt(place, other),
        }
    }
}
