//! The anchor of a partition.

use strata_engine::format::anchor::Anchor;

use super::described;
use crate::canonical::{Behind, check_sealed, seal_little};

pub(super) fn run(data: &[u8]) {
    check_sealed(data, Behind::Ignored, seal_little, |bytes| {
        described(bytes);
        Anchor::decode(bytes).ok().map(|anchor| anchor.encode())
    });
}
