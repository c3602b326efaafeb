//! Which bodies are being read, so that their space is not reclaimed below the readers.
//!
//! Invariant: a chunk of a body whose name is gone is freed only when no reader of that body is under way, and one that an extent of
//! a body has moved away from only when no reader is that began before; readers of other bodies hold nothing up.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use strata_engine::reactor::Instant;

/// The readers of every reactor: how many of an inode began at a time.
#[derive(Debug)]
pub struct Readers {
    reactors: Vec<Mutex<BTreeMap<(u64, Instant), usize>>>,
}

impl Readers {
    /// No readers on any of so many reactors.
    pub fn new(reactor_count: usize) -> Arc<Readers> {
        let reactors = (0..reactor_count).map(|_| Mutex::default()).collect();
        Arc::new(Readers { reactors })
    }

    /// Counts a reader of the inode that has looked up its extents at that time, until the pin is dropped.
    pub fn pin(self: &Arc<Self>, reactor: usize, inode: u64, began: Instant) -> ReaderPin {
        *self.lock(reactor).entry((inode, began)).or_default() += 1;
        ReaderPin {
            readers: self.clone(),
            reactor,
            inode,
            began,
        }
    }

    /// The inodes that are being read, each with the time at which the oldest of its readers began.
    pub fn oldest(&self) -> BTreeMap<u64, Instant> {
        let mut oldest = BTreeMap::new();
        for reactor in 0..self.reactors.len() {
            for (inode, began) in self.lock(reactor).keys() {
                let known = oldest.entry(*inode).or_insert(*began);
                *known = (*known).min(*began);
            }
        }
        oldest
    }

    fn lock(&self, reactor: usize) -> MutexGuard<'_, BTreeMap<(u64, Instant), usize>> {
        self.reactors[reactor]
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
    }
}

/// One reader under way.
#[derive(Debug)]
pub struct ReaderPin {
    readers: Arc<Readers>,
    reactor: usize,
    inode: u64,
    began: Instant,
}

impl ReaderPin {
    /// When the reader looked up the extents.
    pub fn began(&self) -> Instant {
        self.began
    }
}

impl Drop for ReaderPin {
    fn drop(&mut self) {
        let key = (self.inode, self.began);
        let mut inodes = self.readers.lock(self.reactor);
        if let Some(count) = inodes.get_mut(&key) {
            *count -= 1;
            if *count == 0 {
                inodes.remove(&key);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use strata_engine::reactor::{self, ReactorConfig, Simulation, World};

    use super::*;

    #[test]
    fn an_inode_counts_until_its_last_reader_ends() {
        let config = ReactorConfig {
            index: 0,
            core: None,
            name: "readers".to_owned(),
            arena_bytes: 2 << 20,
            spin: Duration::ZERO,
        };
        let world = World::Simulated(Simulation::new(1));
        let ran = reactor::run(config, world, async || {
            let (early, readers) = (reactor::now(), Readers::new(2));
            let late = early + Duration::from_secs(1);
            assert_eq!(readers.oldest(), BTreeMap::new());
            let first = readers.pin(0, 10, early);
            let second = readers.pin(1, 5, early);
            let again = readers.pin(1, 5, late);
            assert_eq!(readers.oldest(), BTreeMap::from([(5, early), (10, early)]));
            drop(second);
            assert_eq!(readers.oldest(), BTreeMap::from([(5, late), (10, early)]));
            drop(again);
            assert_eq!(readers.oldest(), BTreeMap::from([(10, early)]));
            drop(first);
            assert_eq!(readers.oldest(), BTreeMap::new());
        });
        ran.expect("no crash was planned");
    }
}
