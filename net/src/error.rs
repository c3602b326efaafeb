//! Errors of the cluster client, sorted by what the caller does about them.
//!
//! Invariant: an error never stands for a success that was not durable, and `Unavailable` is the only kind after which
//! the outcome of a change may be unknown.

use strata_engine::EngineError;
use strata_raftlog::namespace::command::Refusal;
use strata_raftlog::namespace::store::StoreError;

/// Why the cluster did not do what it was asked.
#[derive(Debug, Clone, thiserror::Error)]
pub enum ClusterError {
    /// The thing asked for does not exist: look the name up again, or tell the user.
    #[error("not found: {0}")]
    NotFound(String),
    /// The namespace refused the change; nothing was changed.
    #[error("refused: {0:?}")]
    Refused(Refusal),
    /// A bounded queue is full: try again after a pause.
    #[error("busy: {0}")]
    Busy(String),
    /// Stored bytes did not match their checksum on any copy.
    #[error("corrupt: {0}")]
    Corrupt(String),
    /// No space is left for new data; reads and deletes go on.
    #[error("no space left: {0}")]
    Full(String),
    /// Too few devices or no leader: the outcome of a change may be unknown.
    #[error("unavailable: {0}")]
    Unavailable(String),
    /// The request itself is wrong.
    #[error("invalid: {0}")]
    Invalid(String),
    /// An invariant of ours is broken.
    #[error("internal error: {0}")]
    Bug(String),
}

impl From<EngineError> for ClusterError {
    fn from(error: EngineError) -> Self {
        let text = error.to_string();
        match error {
            EngineError::NotFound => ClusterError::NotFound(text),
            EngineError::Corrupt { .. } => ClusterError::Corrupt(text),
            EngineError::Full { .. } => ClusterError::Full(text),
            EngineError::Busy(why) => ClusterError::Busy(why),
            EngineError::Invalid(_) => ClusterError::Bug(text),
            _ => ClusterError::Unavailable(text),
        }
    }
}

impl From<StoreError> for ClusterError {
    fn from(error: StoreError) -> Self {
        match error {
            StoreError::Corrupt { .. } => ClusterError::Corrupt(error.to_string()),
            _ => ClusterError::Unavailable(error.to_string()),
        }
    }
}
