//! Waiting for each other inside one reactor: notify, semaphore, mutex. None is Send.
//!
//! Invariants: waiters are served in the order they came; a waiter that is dropped passes on what it was given; a
//! wake never runs foreign code while the state is borrowed.

use std::cell::{RefCell, RefMut};
use std::collections::VecDeque;
use std::future::{Future, poll_fn};
use std::ops::{Deref, DerefMut};
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll, Waker};

/// Waiters in the order they came, each for an amount.
#[derive(Default)]
struct Waiters {
    next_ticket: u64,
    queue: VecDeque<Waiter>,
    /// Tickets that were served and whose owner has not looked yet.
    served: Vec<(u64, usize)>,
}

struct Waiter {
    ticket: u64,
    amount: usize,
    waker: Waker,
}

impl Waiters {
    fn add(&mut self, amount: usize, waker: &Waker) -> u64 {
        let ticket = self.next_ticket;
        self.next_ticket += 1;
        self.queue.push_back(Waiter {
            ticket,
            amount,
            waker: waker.clone(),
        });
        ticket
    }

    fn take_served(&mut self, ticket: u64) -> Option<usize> {
        let position = self.served.iter().position(|(other, _)| *other == ticket)?;
        Some(self.served.swap_remove(position).1)
    }

    fn renew(&mut self, ticket: u64, waker: &Waker) {
        if let Some(waiter) = self.queue.iter_mut().find(|waiter| waiter.ticket == ticket) {
            waiter.waker.clone_from(waker);
        }
    }

    fn serve_first(&mut self) -> Option<Waker> {
        let waiter = self.queue.pop_front()?;
        self.served.push((waiter.ticket, waiter.amount));
        Some(waiter.waker)
    }

    fn forget(&mut self, ticket: u64) {
        self.queue.retain(|waiter| waiter.ticket != ticket);
    }
}

/// Wakes tasks that wait for an event. A notification of one without a waiter is kept for the next.
#[derive(Default)]
pub struct Notify {
    state: RefCell<NotifyState>,
}

#[derive(Default)]
struct NotifyState {
    kept: bool,
    waiters: Waiters,
}

impl Notify {
    /// A new event.
    pub fn new() -> Notify {
        Notify::default()
    }

    /// Wakes the first waiter, or lets the next one through.
    pub fn notify_one(&self) {
        let first = {
            let mut state = self.state.borrow_mut();
            let first = state.waiters.serve_first();
            state.kept |= first.is_none();
            first
        };
        if let Some(waker) = first {
            waker.wake();
        }
    }

    /// Wakes everybody who waits now.
    pub fn notify_all(&self) {
        let all: Vec<Waker> = {
            let mut state = self.state.borrow_mut();
            std::iter::from_fn(|| state.waiters.serve_first()).collect()
        };
        all.into_iter().for_each(Waker::wake);
    }

    /// Waits for a notification. It counts from the first poll.
    pub fn notified(&self) -> Notified<'_> {
        Notified {
            notify: self,
            ticket: None,
        }
    }
}

/// Waits for a notification. Made by [`Notify::notified`].
#[must_use = "waiting does nothing unless it is awaited"]
pub struct Notified<'a> {
    notify: &'a Notify,
    ticket: Option<u64>,
}

impl Future for Notified<'_> {
    type Output = ();

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<()> {
        let mut state = self.notify.state.borrow_mut();
        match self.ticket {
            None if std::mem::take(&mut state.kept) => return Poll::Ready(()),
            None => {
                let ticket = state.waiters.add(1, context.waker());
                drop(state);
                self.ticket = Some(ticket);
            }
            Some(ticket) => {
                if state.waiters.take_served(ticket).is_some() {
                    drop(state);
                    self.ticket = None;
                    return Poll::Ready(());
                }
                state.waiters.renew(ticket, context.waker());
            }
        }
        Poll::Pending
    }
}

impl Drop for Notified<'_> {
    fn drop(&mut self) {
        let Some(ticket) = self.ticket else { return };
        let served = {
            let mut state = self.notify.state.borrow_mut();
            state.waiters.forget(ticket);
            state.waiters.take_served(ticket).is_some()
        };
        if served {
            self.notify.notify_one();
        }
    }
}

/// A number of permits that tasks take and give back, first come first served.
pub struct Semaphore {
    state: RefCell<SemaphoreState>,
}

struct SemaphoreState {
    permits: usize,
    waiters: Waiters,
}

impl Semaphore {
    /// A semaphore with so many permits.
    pub fn new(permits: usize) -> Rc<Semaphore> {
        let state = SemaphoreState {
            permits,
            waiters: Waiters::default(),
        };
        Rc::new(Semaphore {
            state: RefCell::new(state),
        })
    }

    /// Permits that are free.
    pub fn available(&self) -> usize {
        self.state.borrow().permits
    }

    /// Takes permits if they are free and nobody waits.
    pub fn try_acquire(self: &Rc<Self>, amount: usize) -> Option<Permit> {
        let mut state = self.state.borrow_mut();
        if !state.waiters.queue.is_empty() || state.permits < amount {
            return None;
        }
        state.permits -= amount;
        Some(Permit {
            semaphore: self.clone(),
            amount,
        })
    }

    /// Waits for permits.
    pub async fn acquire(self: &Rc<Self>, amount: usize) -> Permit {
        let mut waiting = Acquiring {
            semaphore: self,
            amount,
            ticket: None,
        };
        poll_fn(|context| waiting.poll(context)).await;
        Permit {
            semaphore: self.clone(),
            amount,
        }
    }

    /// Adds permits.
    pub fn release(&self, amount: usize) {
        self.state.borrow_mut().permits += amount;
        self.serve();
    }

    fn serve(&self) {
        loop {
            let served = {
                let mut state = self.state.borrow_mut();
                match state.waiters.queue.front() {
                    Some(first) if first.amount <= state.permits => {
                        state.permits -= first.amount;
                        state.waiters.serve_first()
                    }
                    _ => None,
                }
            };
            let Some(waker) = served else { return };
            waker.wake();
        }
    }
}

struct Acquiring<'a> {
    semaphore: &'a Rc<Semaphore>,
    amount: usize,
    ticket: Option<u64>,
}

impl Acquiring<'_> {
    fn poll(&mut self, context: &mut Context<'_>) -> Poll<()> {
        let mut state = self.semaphore.state.borrow_mut();
        match self.ticket {
            None if state.waiters.queue.is_empty() && state.permits >= self.amount => {
                state.permits -= self.amount;
                return Poll::Ready(());
            }
            None => self.ticket = Some(state.waiters.add(self.amount, context.waker())),
            Some(ticket) => {
                if state.waiters.take_served(ticket).is_some() {
                    self.ticket = None;
                    return Poll::Ready(());
                }
                state.waiters.renew(ticket, context.waker());
            }
        }
        Poll::Pending
    }
}

impl Drop for Acquiring<'_> {
    fn drop(&mut self) {
        let Some(ticket) = self.ticket else { return };
        {
            let mut state = self.semaphore.state.borrow_mut();
            state.waiters.forget(ticket);
            if let Some(amount) = state.waiters.take_served(ticket) {
                state.permits += amount;
            }
        }
        self.semaphore.serve();
    }
}

/// Permits of a semaphore, given back when dropped.
pub struct Permit {
    semaphore: Rc<Semaphore>,
    amount: usize,
}

impl Permit {
    /// How many permits this holds.
    pub fn amount(&self) -> usize {
        self.amount
    }

    /// Takes the permits out of the semaphore for good.
    pub fn forget(mut self) {
        self.amount = 0;
    }
}

impl Drop for Permit {
    fn drop(&mut self) {
        if self.amount > 0 {
            self.semaphore.release(self.amount);
        }
    }
}

/// A value that one task at a time uses, also across awaits.
pub struct Mutex<T> {
    turn: Rc<Semaphore>,
    value: RefCell<T>,
}

impl<T> Mutex<T> {
    /// A mutex around the value.
    pub fn new(value: T) -> Mutex<T> {
        Mutex {
            turn: Semaphore::new(1),
            value: RefCell::new(value),
        }
    }

    /// Waits for the value.
    pub async fn lock(&self) -> MutexGuard<'_, T> {
        let permit = self.turn.acquire(1).await;
        MutexGuard {
            value: self.value.borrow_mut(),
            _permit: permit,
        }
    }

    /// The value, if nobody has it.
    pub fn try_lock(&self) -> Option<MutexGuard<'_, T>> {
        let permit = self.turn.try_acquire(1)?;
        Some(MutexGuard {
            value: self.value.borrow_mut(),
            _permit: permit,
        })
    }
}

/// The value of a mutex, given back when dropped.
pub struct MutexGuard<'a, T> {
    // Dropped before the permit, so that the next holder can borrow.
    value: RefMut<'a, T>,
    _permit: Permit,
}

impl<T> Deref for MutexGuard<'_, T> {
    type Target = T;

    fn deref(&self) -> &T {
        &self.value
    }
}

impl<T> DerefMut for MutexGuard<'_, T> {
    fn deref_mut(&mut self) -> &mut T {
        &mut self.value
    }
}

#[cfg(test)]
mod tests {
    use std::pin::pin;

    use super::*;

    fn poll<F: Future>(future: Pin<&mut F>) -> Poll<F::Output> {
        future.poll(&mut Context::from_waker(Waker::noop()))
    }

    #[test]
    fn a_notification_is_kept_once_and_passed_on_when_its_waiter_leaves() {
        let notify = Notify::new();
        notify.notify_one();
        notify.notify_one();
        assert!(poll(pin!(notify.notified())).is_ready());
        let mut second = pin!(notify.notified());
        {
            let mut first = pin!(notify.notified());
            assert!(poll(first.as_mut()).is_pending());
            assert!(poll(second.as_mut()).is_pending());
            notify.notify_one();
        }
        assert!(poll(second).is_ready());
        let mut all = [pin!(notify.notified()), pin!(notify.notified())];
        assert!(
            all.iter_mut()
                .all(|waiter| poll(waiter.as_mut()).is_pending())
        );
        notify.notify_all();
        assert!(
            all.iter_mut()
                .all(|waiter| poll(waiter.as_mut()).is_ready())
        );
    }

    #[test]
    fn permits_go_to_the_first_even_when_a_later_one_would_fit() {
        let semaphore = Semaphore::new(3);
        let held = semaphore.try_acquire(2).expect("free");
        let mut large = Box::pin(semaphore.acquire(3));
        let mut small = pin!(semaphore.acquire(1));
        assert!(poll(large.as_mut()).is_pending());
        assert!(poll(small.as_mut()).is_pending(), "nobody overtakes");
        assert!(semaphore.try_acquire(1).is_none());
        drop(held);
        drop(large);
        let Poll::Ready(permit) = poll(small) else {
            panic!("the large one gave up")
        };
        assert_eq!((permit.amount(), semaphore.available()), (1, 2));
        drop(permit);
        assert_eq!(semaphore.available(), 3);
    }

    #[test]
    fn a_mutex_serves_in_order_across_awaits() {
        let mutex = Mutex::new(1);
        let mut guard = mutex.try_lock().expect("free");
        let mut waiting = pin!(mutex.lock());
        assert!(poll(waiting.as_mut()).is_pending());
        *guard = 2;
        drop(guard);
        assert!(mutex.try_lock().is_none(), "it is promised to the waiter");
        let Poll::Ready(guard) = poll(waiting) else {
            panic!("it is the waiter's turn")
        };
        assert_eq!(*guard, 2);
    }
}
