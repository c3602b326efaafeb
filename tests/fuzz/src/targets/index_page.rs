//! Pages of the index: leaves and inner pages.

use strata_engine::format::page::{
    CHILDREN_PER_PAGE, ENTRIES_PER_PAGE, PAGE_BYTES, claimed_crc, decode_inner, decode_leaf,
    encode_inner, encode_leaf,
};

use super::described;
use crate::canonical::{Behind, check_sealed};

pub(super) fn run(data: &[u8]) {
    check_sealed(data, Behind::Ignored, seal, |bytes| {
        described(bytes);
        let leaf = decode_leaf(bytes).ok();
        let inner = decode_inner(bytes).ok();
        assert!(
            leaf.is_none() || inner.is_none(),
            "a page is one or the other"
        );
        let mut encoded = vec![0; PAGE_BYTES];
        let crc = match (leaf, inner) {
            (Some((identity, entries)), _) => {
                assert!(entries.len() <= ENTRIES_PER_PAGE);
                assert!(entries.is_sorted_by(|(one, _), (next, _)| one < next));
                encode_leaf(identity, &entries, &mut encoded)
            }
            (None, Some((identity, children))) => {
                assert!((1..=CHILDREN_PER_PAGE).contains(&children.len()));
                assert!(children.is_sorted_by(|one, next| one.first() < next.first()));
                encode_inner(identity, &children, &mut encoded)
            }
            (None, None) => return None,
        };
        assert_eq!(claimed_crc(bytes), Ok(crc));
        Some(encoded)
    });
}

fn seal(bytes: &mut [u8]) {
    if let Some(page) = bytes.get_mut(..PAGE_BYTES) {
        crate::canonical::seal_little(page);
    }
}
