//! The bounded channel: many senders, one receiver, one reactor.
//!
//! Invariants: at most `capacity` messages wait; a message that was accepted is received or, when the
//! receiver goes, dropped at once, so that answers waited for inside it end.

use std::cell::RefCell;
use std::collections::VecDeque;
use std::future::{Future, poll_fn};
use std::mem;
use std::rc::{Rc, Weak};
use std::task::{Poll, Waker};

use openraft::OptionalSend;
use openraft::rt::{Mpsc, MpscReceiver, MpscSender, MpscWeakSender, SendError, TryRecvError};

struct Channel<T> {
    queue: VecDeque<T>,
    capacity: usize,
    senders: usize,
    receiver_gone: bool,
    receiver: Option<Waker>,
    blocked: Vec<Waker>,
}

type Shared<T> = RefCell<Channel<T>>;

/// The channel family openraft asks for.
pub struct LocalMpsc;

/// A sender; the channel closes when the last one goes.
pub struct LocalSender<T>(Rc<Shared<T>>);

/// The one receiver.
pub struct LocalReceiver<T>(Rc<Shared<T>>);

/// A sender that does not keep the channel open.
pub struct LocalWeakSender<T>(Weak<Shared<T>>);

impl Mpsc for LocalMpsc {
    type Sender<T: OptionalSend> = LocalSender<T>;
    type Receiver<T: OptionalSend> = LocalReceiver<T>;
    type WeakSender<T: OptionalSend> = LocalWeakSender<T>;

    fn channel<T: OptionalSend>(buffer: usize) -> (Self::Sender<T>, Self::Receiver<T>) {
        assert!(
            buffer > 0,
            "a channel without room would never pass a message"
        );
        let shared = Rc::new(RefCell::new(Channel {
            queue: VecDeque::new(),
            capacity: buffer,
            senders: 1,
            receiver_gone: false,
            receiver: None,
            blocked: Vec::new(),
        }));
        (LocalSender(shared.clone()), LocalReceiver(shared))
    }
}

impl<T> LocalSender<T> {
    /// Queues the message if there is room, else keeps it and remembers who waits.
    fn poll_send(&self, message: &mut Option<T>, waker: &Waker) -> Poll<Result<(), SendError<T>>> {
        let mut channel = self.0.borrow_mut();
        let Some(taken) = message.take() else {
            unreachable!("polled after it was done")
        };
        if channel.receiver_gone {
            return Poll::Ready(Err(SendError(taken)));
        }
        if channel.queue.len() >= channel.capacity {
            *message = Some(taken);
            if !channel.blocked.iter().any(|known| known.will_wake(waker)) {
                channel.blocked.push(waker.clone());
            }
            return Poll::Pending;
        }
        channel.queue.push_back(taken);
        let receiver = channel.receiver.take();
        drop(channel);
        if let Some(waker) = receiver {
            waker.wake();
        }
        Poll::Ready(Ok(()))
    }
}

impl<T: OptionalSend> MpscSender<LocalMpsc, T> for LocalSender<T> {
    fn send(&self, message: T) -> impl Future<Output = Result<(), SendError<T>>> + OptionalSend {
        let mut message = Some(message);
        poll_fn(move |context| self.poll_send(&mut message, context.waker()))
    }

    fn downgrade(&self) -> LocalWeakSender<T> {
        LocalWeakSender(Rc::downgrade(&self.0))
    }
}

impl<T> Clone for LocalSender<T> {
    fn clone(&self) -> Self {
        self.0.borrow_mut().senders += 1;
        LocalSender(self.0.clone())
    }
}

impl<T> Drop for LocalSender<T> {
    fn drop(&mut self) {
        let mut channel = self.0.borrow_mut();
        channel.senders -= 1;
        let receiver = if channel.senders == 0 {
            channel.receiver.take()
        } else {
            None
        };
        drop(channel);
        if let Some(waker) = receiver {
            waker.wake();
        }
    }
}

impl<T> Clone for LocalWeakSender<T> {
    fn clone(&self) -> Self {
        LocalWeakSender(self.0.clone())
    }
}

impl<T: OptionalSend> MpscWeakSender<LocalMpsc, T> for LocalWeakSender<T> {
    fn upgrade(&self) -> Option<LocalSender<T>> {
        let shared = self.0.upgrade()?;
        let mut channel = shared.borrow_mut();
        if channel.senders == 0 {
            return None;
        }
        channel.senders += 1;
        drop(channel);
        Some(LocalSender(shared))
    }
}

impl<T: OptionalSend> MpscReceiver<T> for LocalReceiver<T> {
    fn recv(&mut self) -> impl Future<Output = Option<T>> + OptionalSend {
        poll_fn(move |context| match self.try_recv() {
            Ok(message) => Poll::Ready(Some(message)),
            Err(TryRecvError::Disconnected) => Poll::Ready(None),
            Err(TryRecvError::Empty) => {
                self.0.borrow_mut().receiver = Some(context.waker().clone());
                Poll::Pending
            }
        })
    }

    fn try_recv(&mut self) -> Result<T, TryRecvError> {
        let mut channel = self.0.borrow_mut();
        let Some(message) = channel.queue.pop_front() else {
            let closed = channel.senders == 0;
            return Err(if closed {
                TryRecvError::Disconnected
            } else {
                TryRecvError::Empty
            });
        };
        // Waking all keeps a sender that was dropped while it waited from swallowing the wake.
        let blocked = mem::take(&mut channel.blocked);
        drop(channel);
        blocked.into_iter().for_each(Waker::wake);
        Ok(message)
    }
}

impl<T> Drop for LocalReceiver<T> {
    fn drop(&mut self) {
        let mut channel = self.0.borrow_mut();
        channel.receiver_gone = true;
        let unread = mem::take(&mut channel.queue);
        let blocked = mem::take(&mut channel.blocked);
        drop(channel);
        drop(unread);
        blocked.into_iter().for_each(Waker::wake);
    }
}
