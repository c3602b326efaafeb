//! The bodies of journal records: what the replicated log is made of. An input is the kind (1 byte) and the body. The CRC is that of
//! the journal.

use strata_raftlog::consensus::log::describe;
use strata_raftlog::fuzzing;

use crate::canonical::{Behind, check};

pub(super) fn run(data: &[u8]) {
    let Some((kind, body)) = data.split_first() else {
        return;
    };
    let _ = describe(*kind, body);
    check(body, Behind::Refused, |body| {
        fuzzing::log_record(*kind, body)
    });
}
