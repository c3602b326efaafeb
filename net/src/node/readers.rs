//! Which bodies are being read, so that their space is not reclaimed below the readers.
//!
//! Invariant: a chunk of a body whose name is gone is freed only when no reader of that body is under way; readers of other
//! bodies hold nothing up.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// The readers of every reactor, by the inode of the body.
#[derive(Debug)]
pub struct Readers {
    reactors: Vec<Mutex<BTreeMap<u64, usize>>>,
}

impl Readers {
    /// No readers on any of so many reactors.
    pub fn new(reactor_count: usize) -> Arc<Readers> {
        let reactors = (0..reactor_count).map(|_| Mutex::default()).collect();
        Arc::new(Readers { reactors })
    }

    /// Counts a reader of the inode, until the pin is dropped.
    pub fn pin(self: &Arc<Self>, reactor: usize, inode: u64) -> ReaderPin {
        *self.lock(reactor).entry(inode).or_default() += 1;
        ReaderPin {
            readers: self.clone(),
            reactor,
            inode,
        }
    }

    /// The inodes that are being read.
    pub fn inodes(&self) -> BTreeSet<u64> {
        (0..self.reactors.len())
            .flat_map(|reactor| self.lock(reactor).keys().copied().collect::<Vec<u64>>())
            .collect()
    }

    fn lock(&self, reactor: usize) -> MutexGuard<'_, BTreeMap<u64, usize>> {
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
}

impl Drop for ReaderPin {
    fn drop(&mut self) {
        let mut inodes = self.readers.lock(self.reactor);
        if let Some(count) = inodes.get_mut(&self.inode) {
            *count -= 1;
            if *count == 0 {
                inodes.remove(&self.inode);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_inode_counts_until_its_last_reader_ends() {
        let readers = Readers::new(2);
        assert_eq!(readers.inodes(), BTreeSet::new());
        let first = readers.pin(0, 10);
        let second = readers.pin(1, 5);
        let again = readers.pin(1, 5);
        drop(second);
        assert_eq!(readers.inodes(), BTreeSet::from([5, 10]));
        drop(again);
        assert_eq!(readers.inodes(), BTreeSet::from([10]));
        drop(first);
        assert_eq!(readers.inodes(), BTreeSet::new());
    }
}
