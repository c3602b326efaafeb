//! Agreeing on a sequence of commands: the log, the Raft group, and openraft between them.
//!
//! | module | what |
//! |---|---|
//! | [`group`] | one Raft group on this node: proposing, applying, checkpoints, snapshots |
//! | [`log`] | entries, votes and snapshots on the mirrored log partitions |
//! | [`runtime`] | openraft's runtime on the reactor |

pub mod group;
pub mod log;
pub mod runtime;
