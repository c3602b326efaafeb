//! The replicated log, the Raft group and the namespace state machine.
