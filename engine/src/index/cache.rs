//! The leaves that are in memory: bounded in bytes, and those that are used again stay when many are looked at once.

use std::collections::hash_map::DefaultHasher;
use std::hash::BuildHasherDefault;
use std::rc::Rc;

use quick_cache::unsync::{Cache, DefaultLifecycle};

use crate::format::page::{ENTRIES_PER_PAGE, IndexEntry, PagePlace};
use crate::id::ShardId;

/// A leaf that has been read and checked.
#[derive(Debug)]
pub(crate) struct Leaf {
    pub(crate) entries: Vec<(ShardId, IndexEntry)>,
}

/// What a leaf counts for beside its entries: its place in the cache.
const LEAF_OVERHEAD_BYTES: u64 = 160;

const ENTRY_BYTES: u64 = size_of::<(ShardId, IndexEntry)>() as u64;

impl Leaf {
    /// What the leaf says of a key.
    pub(crate) fn get(&self, id: ShardId) -> Option<IndexEntry> {
        let at = self.entries.binary_search_by_key(&id, |(id, _)| *id).ok()?;
        Some(self.entries[at].1)
    }

    fn bytes(&self) -> u64 {
        LEAF_OVERHEAD_BYTES + self.entries.capacity() as u64 * ENTRY_BYTES
    }
}

#[derive(Debug, Clone)]
struct LeafBytes;

impl quick_cache::Weighter<PagePlace, Rc<Leaf>> for LeafBytes {
    fn weight(&self, _: &PagePlace, leaf: &Rc<Leaf>) -> u64 {
        leaf.bytes()
    }
}

/// A hasher without a random seed, so that a simulated run can be repeated.
type Hasher = BuildHasherDefault<DefaultHasher>;

/// The leaves in memory, by their places. What lies at a place changes only while it is free, and it is taken out then.
pub(crate) struct LeafCache {
    leaves: Cache<PagePlace, Rc<Leaf>, LeafBytes, Hasher>,
}

impl LeafCache {
    pub(crate) fn new(bytes_max: u64) -> LeafCache {
        let full = LEAF_OVERHEAD_BYTES + ENTRIES_PER_PAGE as u64 * ENTRY_BYTES;
        let count = (bytes_max / full).max(1) as usize;
        let lifecycle = DefaultLifecycle::default();
        LeafCache {
            leaves: Cache::with(count, bytes_max, LeafBytes, Hasher::default(), lifecycle),
        }
    }

    /// The leaf at a place, which stays in memory longer for it.
    pub(crate) fn get(&self, place: PagePlace) -> Option<&Rc<Leaf>> {
        self.leaves.get(&place)
    }

    /// The leaf at a place, for one who reads everything.
    pub(crate) fn peek(&self, place: PagePlace) -> Option<&Rc<Leaf>> {
        self.leaves.peek(&place)
    }

    pub(crate) fn insert(&mut self, place: PagePlace, leaf: Rc<Leaf>) {
        self.leaves.insert(place, leaf);
    }

    pub(crate) fn remove(&mut self, place: PagePlace) {
        self.leaves.remove(&place);
    }

    #[cfg(test)]
    fn bytes(&self) -> u64 {
        self.leaves.weight()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::id::ChunkId;

    fn leaf(number: u32) -> Rc<Leaf> {
        let id = |shard| ShardId {
            chunk: ChunkId(u128::from(number)),
            shard,
        };
        let entry = IndexEntry {
            position: u64::from(number),
            payload_bytes: 1,
            inode: 1,
        };
        Rc::new(Leaf {
            entries: (0..100).map(|shard| (id(shard), entry)).collect(),
        })
    }

    fn place(page: u32) -> PagePlace {
        PagePlace { slot: 1, page }
    }

    #[test]
    fn it_keeps_its_bound_and_what_is_used_again_through_a_scan() {
        const HOT: u32 = 20;
        let bytes_max = 64 * leaf(0).bytes();
        let mut cache = LeafCache::new(bytes_max);
        for _ in 0..4 {
            for page in 0..HOT {
                if cache.get(place(page)).is_none() {
                    cache.insert(place(page), leaf(page));
                }
            }
        }
        for page in 1000..3000 {
            cache.insert(place(page), leaf(page));
            assert!(cache.bytes() <= bytes_max);
        }
        let kept = (0..HOT).filter(|page| cache.peek(place(*page)).is_some());
        assert!(kept.count() > HOT as usize / 2);
        cache.remove(place(2999));
        assert!(cache.peek(place(2999)).is_none());
    }
}
