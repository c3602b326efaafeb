//! The cell cache: cells of shards that are read again and again, in memory, on the reactor that owns their partition.
//!
//! Invariants: what is kept was verified when it was read, and a shard's bytes never change under its id, so nothing that is kept is
//! ever wrong; a shard that was freed may be answered for a while, which nobody asks for; bytes are bounded. A cell is kept when it
//! is asked for again soon after it was read, so that what is read once costs no copy, and of those that are kept the ones that
//! are asked for again stay longest.

use std::cell::RefCell;
use std::collections::hash_map::DefaultHasher;
use std::hash::{BuildHasher, BuildHasherDefault};
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use quick_cache::Weighter;
use quick_cache::unsync::{Cache, DefaultLifecycle};
use strata_engine::{CELL_BYTES, ShardId};

use crate::message::Place;

/// Which cell of which shard.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(super) struct CellId {
    pub(super) place: Place,
    pub(super) shard: ShardId,
    pub(super) number: u32,
}

/// Reads that are remembered for each cell that has room, so that one that is asked for a second time is known.
const READS_REMEMBERED: usize = 8;

/// What the cache of a reactor has done since the start.
#[derive(Debug, Default)]
pub struct CellCacheStatistics {
    /// Reads within a cell that were answered from memory.
    pub hits: AtomicU64,
    /// Those that were not.
    pub misses: AtomicU64,
    /// Bytes that are kept.
    pub bytes: AtomicU64,
}

#[derive(Clone)]
struct CellBytes;

impl Weighter<CellId, Rc<[u8]>> for CellBytes {
    fn weight(&self, _: &CellId, cell: &Rc<[u8]>) -> u64 {
        cell.len() as u64
    }
}

/// A hasher without a random seed, so that a simulated run can be repeated.
type Hasher = BuildHasherDefault<DefaultHasher>;

struct Kept {
    cells: Cache<CellId, Rc<[u8]>, CellBytes, Hasher>,
    /// Hashes of cells that were read, each at the place that the hash says.
    read: Vec<u32>,
}

/// The cells that a reactor keeps. Clones are the same cache.
#[derive(Clone, Default)]
pub struct CellCache {
    kept: Option<Rc<RefCell<Kept>>>,
    statistics: Arc<CellCacheStatistics>,
}

impl CellCache {
    /// One of so many bytes; none when that is no cell.
    pub fn new(bytes_max: u64) -> CellCache {
        let count = (bytes_max / CELL_BYTES as u64) as usize;
        let kept = (count > 0).then(|| {
            let lifecycle = DefaultLifecycle::default();
            let hasher = Hasher::default();
            Rc::new(RefCell::new(Kept {
                cells: Cache::with(count, bytes_max, CellBytes, hasher, lifecycle),
                read: vec![0; count * READS_REMEMBERED],
            }))
        });
        CellCache {
            kept,
            statistics: Arc::default(),
        }
    }

    /// What it has done.
    pub fn statistics(&self) -> Arc<CellCacheStatistics> {
        self.statistics.clone()
    }

    /// Whether it keeps anything.
    pub(super) fn is_on(&self) -> bool {
        self.kept.is_some()
    }

    /// A cell that is kept.
    pub(super) fn get(&self, id: CellId) -> Option<Rc<[u8]>> {
        let kept = self.kept.as_ref()?.borrow();
        let cell = kept.cells.get(&id).cloned();
        let counter = match cell {
            Some(_) => &self.statistics.hits,
            None => &self.statistics.misses,
        };
        counter.fetch_add(1, Ordering::Relaxed);
        cell
    }

    /// Notes that a cell is read which is not kept; whether it was read not long ago, and is to be kept.
    pub(super) fn is_asked_again(&self, id: CellId) -> bool {
        let Some(kept) = &self.kept else {
            return false;
        };
        let mut kept = kept.borrow_mut();
        let hash = Hasher::default().hash_one(id);
        let at = (hash >> 32) as usize % kept.read.len();
        // 0 is no read.
        let mark = hash as u32 | 1;
        std::mem::replace(&mut kept.read[at], mark) == mark
    }

    /// Keeps a cell.
    pub(super) fn insert(&self, id: CellId, cell: &[u8]) {
        if let Some(kept) = &self.kept {
            let mut kept = kept.borrow_mut();
            kept.cells.insert(id, Rc::from(cell));
            let bytes = &self.statistics.bytes;
            bytes.store(kept.cells.weight(), Ordering::Relaxed);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use strata_engine::{ChunkId, Uuid};

    const CELL: u64 = CELL_BYTES as u64;

    fn id(number: u32) -> CellId {
        CellId {
            place: Place {
                device: Uuid([1; 16]),
                partition: 1,
            },
            shard: ShardId {
                chunk: ChunkId(u128::from(number / 16)),
                shard: 2,
            },
            number: number % 16,
        }
    }

    /// Reads a cell as a store does; whether it was kept.
    fn read(cache: &CellCache, number: u32) -> bool {
        let content = vec![number as u8; CELL_BYTES];
        if let Some(cell) = cache.get(id(number)) {
            assert_eq!(cell[..], content[..]);
            return true;
        }
        if cache.is_asked_again(id(number)) {
            cache.insert(id(number), &content);
        }
        false
    }

    #[test]
    fn what_is_read_twice_is_kept_and_bytes_are_bounded() {
        let cache = CellCache::new(10 * CELL + 7);
        assert_eq!(
            [0; 3].map(|number| read(&cache, number)),
            [false, false, true]
        );
        for number in (1..200).flat_map(|number| [number, number]) {
            read(&cache, number);
            let bytes = cache.statistics().bytes.load(Ordering::Relaxed);
            assert!(bytes <= 10 * CELL + 7, "{bytes}");
        }
        let statistics = cache.statistics();
        assert_eq!(statistics.hits.load(Ordering::Relaxed), 1);
        assert_eq!(statistics.misses.load(Ordering::Relaxed), 2 + 2 * 199);
    }

    #[test]
    fn a_scan_does_not_drive_out_what_is_asked_for_again_and_again() {
        let cache = CellCache::new(40 * CELL);
        let hot = || (0..20).filter(|number| read(&cache, *number)).count();
        for _ in 0..10 {
            hot();
        }
        assert_eq!(hot(), 20);
        // Each of the scanned cells is read twice, so that it is kept for a while.
        for number in 1000..1500 {
            read(&cache, number);
            read(&cache, number);
            if number % 10 == 0 {
                hot();
            }
        }
        let kept = hot();
        assert!(kept >= 18, "{kept} of 20 are left");
    }

    #[test]
    fn one_without_room_for_a_cell_keeps_nothing() {
        let cache = CellCache::new(CELL - 1);
        assert!(!cache.is_on());
        assert!(!read(&cache, 1) && !read(&cache, 1) && !read(&cache, 1));
    }
}
