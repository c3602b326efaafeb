//! The membership of a group, in the log and in a row of the namespace.

use strata_raftlog::fuzzing;

use crate::canonical::{Behind, check};

pub(super) fn run(data: &[u8]) {
    check(data, Behind::Refused, fuzzing::membership);
}
