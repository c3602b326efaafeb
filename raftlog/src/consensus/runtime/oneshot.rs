//! One value, once, between two tasks of one reactor.

use std::cell::RefCell;
use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll, Waker};

use openraft::OptionalSend;
use openraft::rt::Oneshot;

struct Slot<T> {
    value: Option<T>,
    sender_gone: bool,
    receiver_gone: bool,
    waker: Option<Waker>,
}

/// The channel family openraft asks for.
pub struct LocalOneshot;

/// The side that gives the value.
pub struct OneshotSender<T>(Rc<RefCell<Slot<T>>>);

/// The side that waits for it.
pub struct OneshotReceiver<T>(Rc<RefCell<Slot<T>>>);

/// The sender went without a value.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SenderDropped;

impl fmt::Display for SenderDropped {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("the sender was dropped without an answer")
    }
}

impl std::error::Error for SenderDropped {}

impl Oneshot for LocalOneshot {
    type Sender<T: OptionalSend> = OneshotSender<T>;
    type Receiver<T: OptionalSend> = OneshotReceiver<T>;
    type ReceiverError = SenderDropped;

    fn channel<T: OptionalSend>() -> (OneshotSender<T>, OneshotReceiver<T>) {
        let slot = Slot {
            value: None,
            sender_gone: false,
            receiver_gone: false,
            waker: None,
        };
        let slot = Rc::new(RefCell::new(slot));
        (OneshotSender(slot.clone()), OneshotReceiver(slot))
    }
}

impl<T: OptionalSend> openraft::rt::OneshotSender<T> for OneshotSender<T> {
    fn send(self, value: T) -> Result<(), T> {
        let mut slot = self.0.borrow_mut();
        if slot.receiver_gone {
            return Err(value);
        }
        slot.value = Some(value);
        // The drop of `self` wakes the receiver.
        Ok(())
    }
}

impl<T> Drop for OneshotSender<T> {
    fn drop(&mut self) {
        let mut slot = self.0.borrow_mut();
        slot.sender_gone = true;
        let waker = slot.waker.take();
        drop(slot);
        if let Some(waker) = waker {
            waker.wake();
        }
    }
}

impl<T> Future for OneshotReceiver<T> {
    type Output = Result<T, SenderDropped>;

    fn poll(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        let mut slot = self.0.borrow_mut();
        if let Some(value) = slot.value.take() {
            return Poll::Ready(Ok(value));
        }
        if slot.sender_gone {
            return Poll::Ready(Err(SenderDropped));
        }
        slot.waker = Some(context.waker().clone());
        Poll::Pending
    }
}

impl<T> Drop for OneshotReceiver<T> {
    fn drop(&mut self) {
        let mut slot = self.0.borrow_mut();
        slot.receiver_gone = true;
        let unread = slot.value.take();
        drop(slot);
        drop(unread);
    }
}
