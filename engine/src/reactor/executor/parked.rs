//! Whether a reactor sleeps in the kernel, as whoever puts a task into its queue of remote wakes must know.
//!
//! Invariant: either the reactor sees the task before it sleeps, or who has put it there rings, and only one of them does for a sleep.

use crate::reactor::shared_memory::{AtomicBool, Ordering, fence};

/// Raised while the reactor sleeps or is about to.
pub struct Parked(AtomicBool);

impl Parked {
    /// Of a reactor that is awake.
    pub fn new() -> Parked {
        Parked(AtomicBool::new(false))
    }

    /// Raised by the reactor before it sleeps; whether it may, since nothing is there for it to do.
    pub fn raise(&self, is_empty: impl FnOnce() -> bool) -> bool {
        // A swap, not a store: it has its place after the swap of whoever rang for the sleep before.
        self.0.swap(true, Ordering::AcqRel);
        // Pairs with the fence in `must_ring`.
        fence(Ordering::SeqCst);
        is_empty()
    }

    /// Lowered by the reactor when it is awake again.
    pub fn lower(&self) {
        self.0.store(false, Ordering::Relaxed);
    }

    /// Whether the reactor must be woken by who has just put something where it looks before it sleeps.
    pub fn must_ring(&self) -> bool {
        // Pairs with the fence in `raise`: either we see the flag or the reactor sees what was put.
        fence(Ordering::SeqCst);
        self.0.load(Ordering::Relaxed) && self.0.swap(false, Ordering::AcqRel)
    }
}

#[cfg(all(test, strata_loom))]
mod loom_tests {
    use loom::sync::Notify;
    use loom::thread;

    use super::*;
    use crate::reactor::shared_memory::{Arc, ArrayQueue};

    #[test]
    fn a_task_that_is_put_while_the_reactor_goes_to_sleep_is_run() {
        loom::model(|| {
            let shared = Arc::new((Parked::new(), ArrayQueue::new(4), Notify::new()));
            let puts = shared.clone();
            let putting = thread::spawn(move || {
                let (parked, queue, doorbell) = &*puts;
                for task in [1, 2] {
                    queue.push(task).expect("room");
                    if parked.must_ring() {
                        doorbell.notify();
                    }
                }
            });
            let (parked, queue, doorbell) = &*shared;
            let mut ran = 0;
            while ran < 2 {
                if parked.raise(|| queue.is_empty()) {
                    doorbell.wait();
                }
                parked.lower();
                while queue.pop().is_some() {
                    ran += 1;
                }
            }
            putting.join().expect("no panic");
        });
    }
}
