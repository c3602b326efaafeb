//! Leaf pages of the index.

use strata_engine::format::page::{ENTRIES_PER_PAGE, PAGE_BYTES, decode, encode, identity};

use super::described;
use crate::canonical::{Behind, check_sealed};

pub(super) fn run(data: &[u8]) {
    check_sealed(data, Behind::Ignored, seal, |bytes| {
        described(bytes);
        let (generation, number) = identity(bytes).ok()?;
        let entries = decode(bytes, generation, number).ok()?;
        assert!(entries.len() <= ENTRIES_PER_PAGE);
        assert!(decode(bytes, generation, number ^ 1).is_err());
        assert!(decode(bytes, generation ^ 1, number).is_err());
        let mut encoded = vec![0; PAGE_BYTES];
        encode(generation, number, &entries, &mut encoded);
        Some(encoded)
    });
}

fn seal(bytes: &mut [u8]) {
    if let Some(page) = bytes.get_mut(..PAGE_BYTES) {
        crate::canonical::seal_little(page);
    }
}
