//! The replicated log, the Raft group and the namespace state machine.
//!
//! | module | what |
//! |---|---|
//! | [`command`] | what is proposed: envelopes, commands, answers, and their archived form |
//! | [`group`] | one Raft group on this node: proposing, applying, checkpoints, snapshots |
//! | [`log`] | entries, votes and snapshots on the mirrored log partitions |
//! | [`namespace`] | the tree of buckets, directories and objects: keys, values, apply and queries |
//! | [`runtime`] | openraft's runtime on the reactor |
//! | [`store`] | the LMDB environment below the namespace: checkpoint, snapshot, power cuts |

pub mod command;
pub mod group;
pub mod log;
pub mod namespace;
pub mod runtime;
pub mod store;
