//! What the threads of reactors share memory by: types of std and of two crates, or loom's under `--cfg strata_loom`.
//!
//! Invariants: mailboxes, answers and the parked flag share nothing by other means, so that loom, which runs a test in every order in
//! which threads may see each other's reads and writes (`tests/loom.sh`), sees all that they do; the queue of the model promises less
//! than the real one does.

#[cfg(not(strata_loom))]
pub use crossbeam_queue::ArrayQueue;
#[cfg(not(strata_loom))]
pub use futures_util::task::AtomicWaker;
#[cfg(not(strata_loom))]
pub use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering, fence};
#[cfg(not(strata_loom))]
pub use std::sync::{Arc, Mutex, MutexGuard};

#[cfg(strata_loom)]
pub use loom::sync::atomic::{AtomicBool, AtomicUsize, Ordering, fence};
#[cfg(strata_loom)]
pub use loom::sync::{Arc, Mutex, MutexGuard};
#[cfg(strata_loom)]
pub use model::{ArrayQueue, AtomicWaker};

/// Stand-ins that loom follows.
#[cfg(strata_loom)]
mod model {
    use std::collections::VecDeque;
    use std::task::Waker;

    use super::{AtomicUsize, Mutex, Ordering};

    /// A bounded queue that orders a message's push before its pop, and nothing else: whoever finds it empty or full has learnt
    /// nothing of what other threads did before.
    pub struct ArrayQueue<T> {
        capacity: usize,
        count: AtomicUsize,
        messages: Mutex<VecDeque<T>>,
    }

    impl<T> ArrayQueue<T> {
        pub fn new(capacity: usize) -> ArrayQueue<T> {
            ArrayQueue {
                capacity,
                count: AtomicUsize::new(0),
                messages: Mutex::new(VecDeque::new()),
            }
        }

        pub fn push(&self, message: T) -> Result<(), T> {
            if self.is_full() {
                return Err(message);
            }
            let mut messages = self.messages.lock().expect("no panic");
            if messages.len() == self.capacity {
                return Err(message);
            }
            messages.push_back(message);
            self.count.store(messages.len(), Ordering::Relaxed);
            Ok(())
        }

        pub fn pop(&self) -> Option<T> {
            if self.is_empty() {
                return None;
            }
            let mut messages = self.messages.lock().expect("no panic");
            let message = messages.pop_front();
            self.count.store(messages.len(), Ordering::Relaxed);
            message
        }

        pub fn len(&self) -> usize {
            self.count.load(Ordering::Relaxed)
        }

        pub fn is_empty(&self) -> bool {
            self.len() == 0
        }

        pub fn is_full(&self) -> bool {
            self.len() == self.capacity
        }
    }

    /// Loom's waker with the interface of the real one.
    pub struct AtomicWaker(loom::future::AtomicWaker);

    impl AtomicWaker {
        pub fn new() -> AtomicWaker {
            AtomicWaker(loom::future::AtomicWaker::new())
        }

        pub fn register(&self, waker: &Waker) {
            self.0.register_by_ref(waker);
        }

        pub fn wake(&self) {
            self.0.wake();
        }
    }
}
