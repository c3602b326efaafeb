//! The manifest of a snapshot of the namespace.

use strata_raftlog::namespace::store::Manifest;

use crate::canonical::{Behind, check_sealed, seal_big};

pub(super) fn run(data: &[u8]) {
    check_sealed(data, Behind::Refused, seal_big, |bytes| {
        Some(Manifest::decode(bytes).ok()?.encode())
    });
}
