//! What is proposed to the group: an envelope around one command, and the answer it gets.
//!
//! Invariants:
//! - a kind's number and the archived form of its body never change: a changed body is a new kind
//!   (golden files of every kind are in `command/golden/` and stay readable);
//! - bytes are decoded only after their CRC32C holds, and are always validated;
//! - a command carries all that its outcome depends on beside the state.

mod accounts;
mod answer;
mod cost;
mod envelope;
mod kinds;
mod repoint;
mod roles;
mod users;

#[cfg(test)]
mod golden;
#[cfg(test)]
mod layout;

pub use accounts::*;
pub use answer::{
    Answer, DeleteOutcome, MarkOutcome, Refusal, RepointOutcome, VersionDeleteOutcome,
};
pub use cost::CommandClass;
pub(crate) use envelope::sets_level;
pub use envelope::{CommandError, Envelope, FEATURE_LEVEL, Proposer};
pub(crate) use kinds::command_table;
pub use kinds::*;
pub use repoint::{ChunkPlace, OldPlace, ReplaceChunk, Repoint, RepointItem};
pub use roles::*;
pub use users::*;
