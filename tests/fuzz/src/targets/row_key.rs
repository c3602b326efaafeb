//! Keys of the namespace that are taken apart.

use strata_raftlog::fuzzing;
use strata_raftlog::namespace::describe_key;

use crate::canonical::{Behind, check};

pub(super) fn run(data: &[u8]) {
    describe_key(data);
    check(data, Behind::Refused, fuzzing::row_key);
}
