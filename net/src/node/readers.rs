//! Which readers are under way, so that space is not reclaimed below them.
//!
//! Invariant: a body whose name was changed at time T is freed only when every reader that began at or before T has ended.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};

use strata_engine::reactor::WallTime;

/// The oldest reader of every reactor.
#[derive(Debug)]
pub struct Readers {
    reactors: Vec<ReactorReaders>,
}

#[derive(Debug, Default)]
struct ReactorReaders {
    started: Mutex<BTreeMap<u64, usize>>,
    oldest: AtomicU64,
}

impl Readers {
    /// No readers on any of so many reactors.
    pub fn new(reactor_count: usize) -> Arc<Readers> {
        let reactors = (0..reactor_count)
            .map(|_| ReactorReaders {
                oldest: AtomicU64::new(u64::MAX),
                ..Default::default()
            })
            .collect();
        Arc::new(Readers { reactors })
    }

    /// Counts a reader that begins at the given time, until the pin is dropped.
    pub fn pin(self: &Arc<Self>, reactor: usize, at: WallTime) -> ReaderPin {
        let micros = at.0;
        self.reactors[reactor].change(|started| *started.entry(micros).or_default() += 1);
        ReaderPin {
            readers: self.clone(),
            reactor,
            micros,
        }
    }

    /// When the oldest reader of the node began, in microseconds since the Unix epoch; `u64::MAX` without one.
    pub fn oldest(&self) -> u64 {
        self.reactors
            .iter()
            .map(|reactor| reactor.oldest.load(Ordering::Acquire))
            .min()
            .unwrap_or(u64::MAX)
    }
}

impl ReactorReaders {
    fn change(&self, change: impl FnOnce(&mut BTreeMap<u64, usize>)) {
        let mut started = self
            .started
            .lock()
            .unwrap_or_else(std::sync::PoisonError::into_inner);
        change(&mut started);
        let oldest = started
            .first_key_value()
            .map_or(u64::MAX, |(micros, _)| *micros);
        self.oldest.store(oldest, Ordering::Release);
    }
}

/// One reader under way.
#[derive(Debug)]
pub struct ReaderPin {
    readers: Arc<Readers>,
    reactor: usize,
    micros: u64,
}

impl Drop for ReaderPin {
    fn drop(&mut self) {
        self.readers.reactors[self.reactor].change(|started| {
            if let Some(count) = started.get_mut(&self.micros) {
                *count -= 1;
                if *count == 0 {
                    started.remove(&self.micros);
                }
            }
        });
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_oldest_reader_counts_until_it_ends() {
        let readers = Readers::new(2);
        assert_eq!(readers.oldest(), u64::MAX);
        let first = readers.pin(0, WallTime(10));
        let second = readers.pin(1, WallTime(5));
        let again = readers.pin(1, WallTime(5));
        drop(second);
        assert_eq!(readers.oldest(), 5);
        drop(again);
        assert_eq!(readers.oldest(), 10);
        drop(first);
        assert_eq!(readers.oldest(), u64::MAX);
    }
}
