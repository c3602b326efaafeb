//! Timers: sleeping, deadlines.
//!
//! Invariant: due timers fire in every round of the loop, before tasks run, in the order of their deadlines; a
//! sleep that is dropped leaves nothing behind.

use std::collections::BTreeMap;
use std::fmt;
use std::future::{Future, poll_fn};
use std::pin::{Pin, pin};
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use super::clock::{Instant, now};
use super::executor::{try_with_current, with_current};

/// Identifies a waiting timer: deadline in nanoseconds, then a number that keeps equal deadlines apart.
type Key = (u64, u64);

#[derive(Default)]
pub(super) struct Timers {
    waiting: BTreeMap<Key, Waker>,
    next_number: u64,
}

impl Timers {
    pub(super) fn next_deadline(&self) -> Option<u64> {
        self.waiting.first_key_value().map(|(key, _)| key.0)
    }

    pub(super) fn len(&self) -> usize {
        self.waiting.len()
    }

    /// Takes one due timer.
    pub(super) fn pop_due(&mut self, now: u64) -> Option<Waker> {
        let entry = self.waiting.first_entry()?;
        (entry.key().0 <= now).then(|| entry.remove())
    }

    fn insert(&mut self, deadline: u64, waker: Waker) -> Key {
        let key = (deadline, self.next_number);
        self.next_number += 1;
        self.waiting.insert(key, waker);
        key
    }
}

/// A timer registered with one reactor.
#[derive(Debug)]
struct Registration {
    reactor: u64,
    key: Key,
}

/// Completes at its deadline. Made by [`sleep`] and [`sleep_until`].
///
/// It holds no pointer into the reactor, so it may move between threads; it then registers with the reactor that
/// polls it.
#[derive(Debug)]
#[must_use = "a sleep does nothing unless it is awaited"]
pub struct Sleep {
    deadline: Instant,
    registration: Option<Registration>,
}

impl Sleep {
    /// When it completes.
    pub fn deadline(&self) -> Instant {
        self.deadline
    }

    /// Moves the deadline. The next poll counts.
    pub fn reset(&mut self, deadline: Instant) {
        self.unregister();
        self.deadline = deadline;
    }

    fn unregister(&mut self) {
        let Some(registration) = self.registration.take() else {
            return;
        };
        // On another thread the entry is left to fire there: a wake without a reason, which is harmless.
        let waker = try_with_current(|reactor| {
            (reactor.id == registration.reactor).then(|| {
                reactor
                    .timers
                    .borrow_mut()
                    .waiting
                    .remove(&registration.key)
            })
        });
        drop(waker);
    }
}

impl Future for Sleep {
    type Output = ();

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<()> {
        with_current(|reactor| {
            if reactor.clock() >= self.deadline.0 {
                self.unregister();
                return Poll::Ready(());
            }
            let mut timers = reactor.timers.borrow_mut();
            if let Some(registration) = &self.registration
                && registration.reactor == reactor.id
                && let Some(waker) = timers.waiting.get_mut(&registration.key)
            {
                waker.clone_from(context.waker());
                return Poll::Pending;
            }
            let key = timers.insert(self.deadline.0, context.waker().clone());
            self.registration = Some(Registration {
                reactor: reactor.id,
                key,
            });
            Poll::Pending
        })
    }
}

impl Drop for Sleep {
    fn drop(&mut self) {
        self.unregister();
    }
}

/// Completes after the duration.
///
/// # Panics
/// Outside a reactor.
pub fn sleep(duration: Duration) -> Sleep {
    sleep_until(now() + duration)
}

/// Completes at the deadline, at once when it has passed.
pub fn sleep_until(deadline: Instant) -> Sleep {
    Sleep {
        deadline,
        registration: None,
    }
}

/// The time given to [`timeout`] was over before the future.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Elapsed;

impl fmt::Display for Elapsed {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("the time allowed was over")
    }
}

impl std::error::Error for Elapsed {}

/// Runs the future for at most the duration; it is dropped when the time is over.
///
/// # Errors
/// [`Elapsed`] when the time was over first.
///
/// # Panics
/// Outside a reactor.
pub async fn timeout<F: Future>(duration: Duration, future: F) -> Result<F::Output, Elapsed> {
    let mut future = pin!(future);
    let mut limit = sleep(duration);
    poll_fn(|context| {
        if let Poll::Ready(output) = future.as_mut().poll(context) {
            return Poll::Ready(Ok(output));
        }
        Pin::new(&mut limit).poll(context).map(|()| Err(Elapsed))
    })
    .await
}
