//! The state that a snapshot's manifest in the log speaks of.

use strata_raftlog::fuzzing;

use crate::canonical::{Behind, check};

pub(super) fn run(data: &[u8]) {
    check(data, Behind::Refused, fuzzing::snapshot_state);
}
