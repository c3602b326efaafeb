//! The watch channel: the last value counts, receivers learn that it changed.
//!
//! A receiver remembers the version it has seen; the version grows by one with every change.

use std::cell::{Cell, Ref, RefCell};
use std::future::poll_fn;
use std::mem;
use std::rc::Rc;
use std::task::{Poll, Waker};

use openraft::rt::{RecvError, Watch};
use openraft::{OptionalSend, OptionalSync};

struct Shared<T> {
    value: RefCell<T>,
    version: Cell<u64>,
    senders: Cell<usize>,
    receivers: Cell<usize>,
    waiting: RefCell<Vec<Waker>>,
}

impl<T> Shared<T> {
    fn wake_all(&self) {
        let waiting = self.waiting.take();
        waiting.into_iter().for_each(Waker::wake);
    }

    fn changed(&self) {
        self.version.set(self.version.get() + 1);
        self.wake_all();
    }

    fn receiver(self: &Rc<Self>, seen: u64) -> WatchReceiver<T> {
        self.receivers.set(self.receivers.get() + 1);
        WatchReceiver {
            shared: self.clone(),
            seen,
        }
    }
}

/// The channel family openraft asks for.
pub struct LocalWatch;

/// Sets the value.
pub struct WatchSender<T>(Rc<Shared<T>>);

/// Reads the value and waits for a change.
pub struct WatchReceiver<T> {
    shared: Rc<Shared<T>>,
    seen: u64,
}

impl Watch for LocalWatch {
    type Sender<T: OptionalSend + OptionalSync> = WatchSender<T>;
    type Receiver<T: OptionalSend + OptionalSync> = WatchReceiver<T>;
    type Ref<'a, T: OptionalSend + 'a> = Ref<'a, T>;

    fn channel<T: OptionalSend + OptionalSync>(initial: T) -> (WatchSender<T>, WatchReceiver<T>) {
        let shared = Rc::new(Shared {
            value: RefCell::new(initial),
            version: Cell::new(0),
            senders: Cell::new(1),
            receivers: Cell::new(0),
            waiting: RefCell::new(Vec::new()),
        });
        let receiver = shared.receiver(0);
        (WatchSender(shared), receiver)
    }
}

impl<T: OptionalSend + OptionalSync> openraft::rt::WatchSender<LocalWatch, T> for WatchSender<T> {
    fn send(&self, value: T) -> Result<(), openraft::rt::watch::SendError<T>> {
        if self.0.receivers.get() == 0 {
            return Err(openraft::rt::watch::SendError(value));
        }
        let old = mem::replace(&mut *self.0.value.borrow_mut(), value);
        drop(old);
        self.0.changed();
        Ok(())
    }

    fn send_if_modified<F>(&self, modify: F) -> bool
    where
        F: FnOnce(&mut T) -> bool,
    {
        let modified = modify(&mut self.0.value.borrow_mut());
        if modified {
            self.0.changed();
        }
        modified
    }

    fn borrow_watched(&self) -> Ref<'_, T> {
        self.0.value.borrow()
    }

    fn subscribe(&self) -> WatchReceiver<T> {
        self.0.receiver(self.0.version.get())
    }
}

impl<T> Clone for WatchSender<T> {
    fn clone(&self) -> Self {
        self.0.senders.set(self.0.senders.get() + 1);
        WatchSender(self.0.clone())
    }
}

impl<T> Drop for WatchSender<T> {
    fn drop(&mut self) {
        let left = self.0.senders.get() - 1;
        self.0.senders.set(left);
        if left == 0 {
            self.0.wake_all();
        }
    }
}

impl<T> WatchReceiver<T> {
    fn poll_changed(&mut self, waker: &Waker) -> Poll<Result<(), RecvError>> {
        let version = self.shared.version.get();
        if version != self.seen {
            self.seen = version;
            return Poll::Ready(Ok(()));
        }
        if self.shared.senders.get() == 0 {
            return Poll::Ready(Err(RecvError(())));
        }
        let mut waiting = self.shared.waiting.borrow_mut();
        if !waiting.iter().any(|known| known.will_wake(waker)) {
            waiting.push(waker.clone());
        }
        Poll::Pending
    }
}

impl<T: OptionalSend + OptionalSync> openraft::rt::WatchReceiver<LocalWatch, T>
    for WatchReceiver<T>
{
    async fn changed(&mut self) -> Result<(), RecvError> {
        poll_fn(|context| self.poll_changed(context.waker())).await
    }

    fn borrow_watched(&self) -> Ref<'_, T> {
        self.shared.value.borrow()
    }

    fn borrow_and_update(&mut self) -> Ref<'_, T> {
        self.seen = self.shared.version.get();
        self.shared.value.borrow()
    }
}

impl<T> Clone for WatchReceiver<T> {
    fn clone(&self) -> Self {
        self.shared.receiver(self.seen)
    }
}

impl<T> Drop for WatchReceiver<T> {
    fn drop(&mut self) {
        self.shared.receivers.set(self.shared.receivers.get() - 1);
    }
}
