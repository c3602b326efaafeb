//! The replicated log, the Raft group and the namespace state machine.
//!
//! | module | what |
//! |---|---|
//! | [`consensus`] | agreeing on a sequence of commands: the log on the engine's journals, the Raft group, openraft's runtime |
//! | [`namespace`] | what the commands change: the tree of buckets, directories and objects, in LMDB |

pub mod consensus;
#[doc(hidden)]
pub mod fuzzing;
pub mod namespace;
