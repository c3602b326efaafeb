//! The asynchronous mutex: the cell is the lock, waiters are woken when a guard goes.

use std::cell::{RefCell, RefMut};
use std::future::{Future, poll_fn};
use std::ops::{Deref, DerefMut};
use std::task::{Poll, Waker};

use openraft::OptionalSend;
use openraft::rt::Mutex;

/// A mutex between tasks of one reactor.
pub struct LocalMutex<T> {
    value: RefCell<T>,
    waiting: RefCell<Vec<Waker>>,
}

/// Access to the value; dropping it wakes whoever waits.
pub struct LocalGuard<'a, T> {
    value: Option<RefMut<'a, T>>,
    waiting: &'a RefCell<Vec<Waker>>,
}

impl<T: OptionalSend + 'static> Mutex<T> for LocalMutex<T> {
    type Guard<'a> = LocalGuard<'a, T>;

    fn new(value: T) -> Self {
        LocalMutex {
            value: RefCell::new(value),
            waiting: RefCell::new(Vec::new()),
        }
    }

    fn lock(&self) -> impl Future<Output = Self::Guard<'_>> + OptionalSend {
        poll_fn(move |context| {
            if let Ok(value) = self.value.try_borrow_mut() {
                return Poll::Ready(LocalGuard {
                    value: Some(value),
                    waiting: &self.waiting,
                });
            }
            let mut waiting = self.waiting.borrow_mut();
            if !waiting.iter().any(|known| known.will_wake(context.waker())) {
                waiting.push(context.waker().clone());
            }
            Poll::Pending
        })
    }
}

impl<T> Deref for LocalGuard<'_, T> {
    type Target = T;

    fn deref(&self) -> &T {
        match &self.value {
            Some(value) => value,
            None => unreachable!("the value leaves the guard only when it is dropped"),
        }
    }
}

impl<T> DerefMut for LocalGuard<'_, T> {
    fn deref_mut(&mut self) -> &mut T {
        match &mut self.value {
            Some(value) => value,
            None => unreachable!("the value leaves the guard only when it is dropped"),
        }
    }
}

impl<T> Drop for LocalGuard<'_, T> {
    fn drop(&mut self) {
        self.value = None;
        let waiting = self.waiting.take();
        waiting.into_iter().for_each(Waker::wake);
    }
}
