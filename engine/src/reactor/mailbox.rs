//! Messages between reactors: bounded mailboxes and answers that come once.
//!
//! Invariants: a mailbox holds at most its capacity; a message is received once, in the order of one sender's sends;
//! a waker is registered before the state is looked at again, so no wake is lost. When a mailbox is full, `send`
//! waits and `try_send` gives the message back. Nothing here blocks a thread for longer than a push.

use std::collections::VecDeque;
use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::sync::PoisonError;
use std::task::{Context, Poll, Waker};

use super::shared_memory::{
    Arc, ArrayQueue, AtomicBool, AtomicUsize, AtomicWaker, Mutex, MutexGuard, Ordering, fence,
};

/// The mailbox took no message: it is full, or its receiver is gone.
pub struct Full<T> {
    /// The message.
    pub message: T,
    /// The receiver is gone: trying again is useless.
    pub closed: bool,
}

/// The receiver of a mailbox is gone. Holds the message.
pub struct Closed<T>(pub T);

/// The sender of an answer was dropped without one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Cancelled;

impl<T> fmt::Debug for Full<T> {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(if self.closed { "Full(closed)" } else { "Full" })
    }
}

impl<T> fmt::Display for Full<T> {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(if self.closed {
            "the receiver is gone"
        } else {
            "the mailbox is full"
        })
    }
}

impl<T> std::error::Error for Full<T> {}

impl<T> fmt::Debug for Closed<T> {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("Closed")
    }
}

impl<T> fmt::Display for Closed<T> {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("the receiver is gone")
    }
}

impl<T> std::error::Error for Closed<T> {}

impl fmt::Display for Cancelled {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("the sender was dropped without an answer")
    }
}

impl std::error::Error for Cancelled {}

struct Shared<T> {
    queue: ArrayQueue<T>,
    receiver: AtomicWaker,
    receiver_gone: AtomicBool,
    senders: AtomicUsize,
    /// How many entries `waiting` has; read without the lock.
    waiting_count: AtomicUsize,
    waiting: Mutex<Waiting>,
}

#[derive(Default)]
struct Waiting {
    next_ticket: u64,
    senders: VecDeque<(u64, Waker)>,
}

impl<T> Shared<T> {
    fn lock(&self) -> MutexGuard<'_, Waiting> {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Wakes one waiting sender, if there is one, after room was made.
    fn wake_sender(&self) {
        // Pairs with the fence in `Send::poll`: either we see the waiter or it sees the room.
        fence(Ordering::SeqCst);
        if self.waiting_count.load(Ordering::Relaxed) == 0 {
            return;
        }
        let first = {
            let mut waiting = self.lock();
            let first = waiting.senders.pop_front();
            self.waiting_count
                .store(waiting.senders.len(), Ordering::Relaxed);
            first
        };
        if let Some((_, waker)) = first {
            waker.wake();
        }
    }

    fn wake_all_senders(&self) {
        let all = {
            let mut waiting = self.lock();
            self.waiting_count.store(0, Ordering::Relaxed);
            std::mem::take(&mut waiting.senders)
        };
        all.into_iter().for_each(|(_, waker)| waker.wake());
    }
}

/// A mailbox with room for `capacity` messages.
///
/// # Panics
/// When the capacity is zero.
pub fn mailbox<T: Send>(capacity: usize) -> (Sender<T>, Receiver<T>) {
    let shared = Arc::new(Shared {
        queue: ArrayQueue::new(capacity),
        receiver: AtomicWaker::new(),
        receiver_gone: AtomicBool::new(false),
        senders: AtomicUsize::new(1),
        waiting_count: AtomicUsize::new(0),
        waiting: Mutex::new(Waiting::default()),
    });
    (
        Sender {
            shared: shared.clone(),
        },
        Receiver { shared },
    )
}

/// Puts messages into a mailbox, from any thread.
pub struct Sender<T> {
    shared: Arc<Shared<T>>,
}

impl<T> Sender<T> {
    /// Puts the message in if there is room now.
    ///
    /// # Errors
    /// [`Full`] with the message when there is none or the receiver is gone.
    pub fn try_send(&self, message: T) -> Result<(), Full<T>> {
        if self.shared.receiver_gone.load(Ordering::Acquire) {
            return Err(Full {
                message,
                closed: true,
            });
        }
        match self.shared.queue.push(message) {
            Ok(()) => {
                self.shared.receiver.wake();
                // Pairs with the fence in the receiver's `drop`: either we see that it is gone or it sees the message.
                fence(Ordering::SeqCst);
                if self.shared.receiver_gone.load(Ordering::Acquire) {
                    // It emptied the queue without us: whoever waits for an answer to a message must hear of its end.
                    while self.shared.queue.pop().is_some() {}
                }
                Ok(())
            }
            Err(message) => Err(Full {
                message,
                closed: false,
            }),
        }
    }

    /// Puts the message in, waiting while there is no room. Dropping the future drops the message.
    ///
    /// # Errors
    /// [`Closed`] with the message when the receiver is gone.
    pub async fn send(&self, message: T) -> Result<(), Closed<T>> {
        SendMessage {
            sender: self,
            message: Some(message),
            ticket: None,
            woken: false,
        }
        .await
    }

    /// Whether the receiver is gone.
    pub fn is_closed(&self) -> bool {
        self.shared.receiver_gone.load(Ordering::Acquire)
    }

    /// How many messages lie in the mailbox now.
    pub fn waiting(&self) -> usize {
        self.shared.queue.len()
    }
}

impl<T> Clone for Sender<T> {
    fn clone(&self) -> Self {
        self.shared.senders.fetch_add(1, Ordering::Relaxed);
        Sender {
            shared: self.shared.clone(),
        }
    }
}

impl<T> Drop for Sender<T> {
    fn drop(&mut self) {
        if self.shared.senders.fetch_sub(1, Ordering::AcqRel) == 1 {
            self.shared.receiver.wake();
        }
    }
}

struct SendMessage<'a, T> {
    sender: &'a Sender<T>,
    message: Option<T>,
    ticket: Option<u64>,
    /// The queue's lock-holder took our entry: the wake was ours to use or to pass on.
    woken: bool,
}

// The message is moved, never pinned.
impl<T> Unpin for SendMessage<'_, T> {}

impl<T> SendMessage<'_, T> {
    /// `Ok(None)`: sent; `Ok(Some)`: no room.
    fn attempt(&self, message: T) -> Result<Option<T>, Closed<T>> {
        match self.sender.try_send(message) {
            Ok(()) => Ok(None),
            Err(Full {
                message,
                closed: true,
            }) => Err(Closed(message)),
            Err(Full {
                message,
                closed: false,
            }) => Ok(Some(message)),
        }
    }

    fn register(&mut self, waker: &Waker) {
        let shared = &self.sender.shared;
        let mut waiting = shared.lock();
        let known = self.ticket.and_then(|ticket| {
            waiting
                .senders
                .iter_mut()
                .find(|(other, _)| *other == ticket)
        });
        if let Some((_, stored)) = known {
            stored.clone_from(waker);
            return;
        }
        let ticket = waiting.next_ticket;
        waiting.next_ticket += 1;
        waiting.senders.push_back((ticket, waker.clone()));
        shared
            .waiting_count
            .store(waiting.senders.len(), Ordering::Relaxed);
        self.ticket = Some(ticket);
    }

    /// Leaves the queue of waiters; `woken` when somebody had already taken us from it.
    fn unregister(&mut self) {
        let Some(ticket) = self.ticket.take() else {
            return;
        };
        let shared = &self.sender.shared;
        let mut waiting = shared.lock();
        let before = waiting.senders.len();
        waiting.senders.retain(|(other, _)| *other != ticket);
        self.woken = waiting.senders.len() == before;
        shared
            .waiting_count
            .store(waiting.senders.len(), Ordering::Relaxed);
    }
}

impl<T> Future for SendMessage<'_, T> {
    type Output = Result<(), Closed<T>>;

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        let message = self
            .message
            .take()
            .expect("a send was polled after its end");
        let message = match self.attempt(message) {
            Ok(Some(message)) => message,
            Ok(None) => return self.finish(Ok(())),
            Err(closed) => return self.finish(Err(closed)),
        };
        self.register(context.waker());
        // Pairs with the fence in `wake_sender`.
        fence(Ordering::SeqCst);
        match self.attempt(message) {
            Ok(Some(message)) => {
                self.message = Some(message);
                Poll::Pending
            }
            Ok(None) => self.finish(Ok(())),
            Err(closed) => self.finish(Err(closed)),
        }
    }
}

impl<T> SendMessage<'_, T> {
    fn finish(&mut self, result: Result<(), Closed<T>>) -> Poll<Result<(), Closed<T>>> {
        self.unregister();
        if self.woken && !self.sender.shared.queue.is_full() {
            // The wake may have been for other room than what we took.
            self.sender.shared.wake_sender();
        }
        Poll::Ready(result)
    }
}

impl<T> Drop for SendMessage<'_, T> {
    fn drop(&mut self) {
        let unsent = self.message.is_some();
        self.unregister();
        if unsent && self.woken {
            // The room we were woken for is somebody else's now.
            self.sender.shared.wake_sender();
        }
    }
}

/// Takes messages out of a mailbox; belongs to the reactor that polls it.
pub struct Receiver<T> {
    shared: Arc<Shared<T>>,
}

impl<T> Receiver<T> {
    /// A message if there is one now.
    pub fn try_recv(&mut self) -> Option<T> {
        let message = self.shared.queue.pop()?;
        self.shared.wake_sender();
        Some(message)
    }

    /// The next message; `None` when all senders are gone and nothing is left. Dropping the future loses nothing.
    pub async fn recv(&mut self) -> Option<T> {
        std::future::poll_fn(|context| self.poll_recv(context)).await
    }

    /// The next message, for hand-written futures.
    pub fn poll_recv(&mut self, context: &mut Context<'_>) -> Poll<Option<T>> {
        if let Some(message) = self.try_recv() {
            return Poll::Ready(Some(message));
        }
        self.shared.receiver.register(context.waker());
        let senders_gone = self.shared.senders.load(Ordering::Acquire) == 0;
        match self.try_recv() {
            Some(message) => Poll::Ready(Some(message)),
            None if senders_gone => Poll::Ready(None),
            None => Poll::Pending,
        }
    }

    /// Messages that wait.
    pub fn len(&self) -> usize {
        self.shared.queue.len()
    }

    /// Whether no message waits.
    pub fn is_empty(&self) -> bool {
        self.shared.queue.is_empty()
    }
}

impl<T> Drop for Receiver<T> {
    fn drop(&mut self) {
        self.shared.receiver_gone.store(true, Ordering::Release);
        // Pairs with the fence in `try_send`.
        fence(Ordering::SeqCst);
        while self.shared.queue.pop().is_some() {}
        self.shared.wake_all_senders();
    }
}

struct Answer<T> {
    value: Mutex<Option<T>>,
    receiver: AtomicWaker,
    sender_gone: AtomicBool,
    receiver_gone: AtomicBool,
}

impl<T> Answer<T> {
    fn take(&self) -> Option<T> {
        self.value
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .take()
    }
}

/// A pair for one answer across reactors.
pub fn oneshot<T: Send>() -> (OneSender<T>, OneReceiver<T>) {
    let answer = Arc::new(Answer {
        value: Mutex::new(None),
        receiver: AtomicWaker::new(),
        sender_gone: AtomicBool::new(false),
        receiver_gone: AtomicBool::new(false),
    });
    (
        OneSender {
            answer: answer.clone(),
        },
        OneReceiver { answer },
    )
}

/// Sends one answer.
pub struct OneSender<T> {
    answer: Arc<Answer<T>>,
}

impl<T> OneSender<T> {
    /// Sends the answer.
    ///
    /// # Errors
    /// [`Closed`] with the value when nobody waits for it any more.
    pub fn send(self, value: T) -> Result<(), Closed<T>> {
        if self.is_closed() {
            return Err(Closed(value));
        }
        *self
            .answer
            .value
            .lock()
            .unwrap_or_else(PoisonError::into_inner) = Some(value);
        Ok(())
    }

    /// Whether the receiver is gone.
    pub fn is_closed(&self) -> bool {
        self.answer.receiver_gone.load(Ordering::Acquire)
    }
}

impl<T> Drop for OneSender<T> {
    fn drop(&mut self) {
        self.answer.sender_gone.store(true, Ordering::Release);
        self.answer.receiver.wake();
    }
}

/// Waits for one answer.
#[must_use = "an answer that nobody waits for is lost"]
pub struct OneReceiver<T> {
    answer: Arc<Answer<T>>,
}

impl<T> Future for OneReceiver<T> {
    type Output = Result<T, Cancelled>;

    fn poll(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        self.answer.receiver.register(context.waker());
        // Read first: an answer is stored before the sender goes.
        let sender_gone = self.answer.sender_gone.load(Ordering::Acquire);
        match self.answer.take() {
            Some(value) => Poll::Ready(Ok(value)),
            None if sender_gone => Poll::Ready(Err(Cancelled)),
            None => Poll::Pending,
        }
    }
}

impl<T> Drop for OneReceiver<T> {
    fn drop(&mut self) {
        self.answer.receiver_gone.store(true, Ordering::Release);
    }
}

#[cfg(all(test, not(strata_loom)))]
mod tests {
    use std::pin::pin;
    use std::task::Wake;

    use super::*;

    /// Counts its wakes.
    #[derive(Default)]
    struct Count(AtomicUsize);

    impl Wake for Count {
        fn wake(self: Arc<Self>) {
            self.0.fetch_add(1, Ordering::SeqCst);
        }
    }

    impl Count {
        fn wakes(&self) -> usize {
            self.0.load(Ordering::SeqCst)
        }
    }

    fn poll<F: Future>(future: Pin<&mut F>, count: &Arc<Count>) -> Poll<F::Output> {
        future.poll(&mut Context::from_waker(&Waker::from(count.clone())))
    }

    #[test]
    fn a_full_mailbox_gives_the_message_back_and_room_wakes_one_sender() {
        let (sender, mut receiver) = mailbox(1);
        sender.try_send(1).expect("room");
        let full = sender.try_send(2).expect_err("no room");
        assert!(full.message == 2 && !full.closed);
        let (first_wakes, second_wakes) = (Arc::new(Count::default()), Arc::new(Count::default()));
        let mut first = pin!(sender.send(3));
        let mut second = pin!(sender.send(4));
        assert!(poll(first.as_mut(), &first_wakes).is_pending());
        assert!(poll(second.as_mut(), &second_wakes).is_pending());
        assert_eq!(receiver.try_recv(), Some(1));
        assert_eq!((first_wakes.wakes(), second_wakes.wakes()), (1, 0));
        assert!(poll(first, &first_wakes).is_ready());
        assert_eq!(receiver.try_recv(), Some(3));
        assert_eq!(second_wakes.wakes(), 1);
        assert!(poll(second, &second_wakes).is_ready());
        assert_eq!((receiver.try_recv(), receiver.try_recv()), (Some(4), None));
    }

    #[test]
    fn a_sender_that_gives_up_passes_its_wake_on() {
        let (sender, mut receiver) = mailbox(1);
        sender.try_send(1).expect("room");
        let wakes = Arc::new(Count::default());
        let mut second = pin!(sender.send(3));
        {
            let mut first = pin!(sender.send(2));
            assert!(poll(first.as_mut(), &Arc::default()).is_pending());
            assert!(poll(second.as_mut(), &wakes).is_pending());
            assert_eq!(receiver.try_recv(), Some(1));
            assert_eq!(wakes.wakes(), 0);
        }
        assert_eq!(wakes.wakes(), 1, "the room must not be forgotten");
        assert!(poll(second, &wakes).is_ready());
    }

    #[test]
    fn both_ends_learn_that_the_other_is_gone() {
        let (sender, mut receiver) = mailbox(2);
        let wakes = Arc::new(Count::default());
        {
            let mut receiving = pin!(receiver.recv());
            assert!(poll(receiving.as_mut(), &wakes).is_pending());
            sender.clone().try_send(1).expect("room");
            drop(sender);
            assert!(wakes.wakes() > 0);
            assert_eq!(poll(receiving, &wakes), Poll::Ready(Some(1)));
        }
        assert_eq!(poll(pin!(receiver.recv()), &wakes), Poll::Ready(None));

        let (sender, receiver) = mailbox(1);
        let (answer, mut asked) = oneshot::<u32>();
        sender.try_send(answer).expect("room");
        assert!(poll(Pin::new(&mut asked), &wakes).is_pending());
        drop(receiver);
        assert_eq!(
            poll(Pin::new(&mut asked), &wakes),
            Poll::Ready(Err(Cancelled))
        );
        assert!(sender.try_send(oneshot().0).expect_err("closed").closed);
        assert!(matches!(
            poll(pin!(sender.send(oneshot().0)), &wakes),
            Poll::Ready(Err(_))
        ));
    }

    #[test]
    fn an_answer_comes_once_and_an_abandoned_question_is_noticed() {
        let wakes = Arc::new(Count::default());
        let (sender, mut receiver) = oneshot();
        assert!(poll(Pin::new(&mut receiver), &wakes).is_pending());
        sender.send(7).expect("somebody waits");
        assert_eq!(wakes.wakes(), 1);
        assert_eq!(poll(Pin::new(&mut receiver), &wakes), Poll::Ready(Ok(7)));
        let (sender, receiver) = oneshot();
        drop(receiver);
        assert!(sender.is_closed() && sender.send(1).is_err());
    }
}

#[cfg(all(test, strata_loom))]
mod loom_tests {
    use loom::future::block_on;
    use loom::thread;

    use super::*;

    #[test]
    fn messages_of_two_senders_come_through_a_mailbox_of_one() {
        loom::model(|| {
            let (sender, mut receiver) = mailbox(1);
            let other = sender.clone();
            let sending = thread::spawn(move || block_on(other.send(1)).expect("somebody waits"));
            let receiving = thread::spawn(move || {
                let first = block_on(receiver.recv()).expect("a message");
                let second = block_on(receiver.recv()).expect("a message");
                assert_eq!(first + second, 3);
            });
            block_on(sender.send(2)).expect("somebody waits");
            sending.join().expect("no panic");
            receiving.join().expect("no panic");
        });
    }

    #[test]
    fn a_receiver_hears_of_the_last_sender() {
        loom::model(|| {
            let (sender, mut receiver) = mailbox(1);
            let sending = thread::spawn(move || sender.try_send(1).expect("room"));
            assert_eq!(block_on(receiver.recv()), Some(1));
            assert_eq!(block_on(receiver.recv()), None);
            sending.join().expect("no panic");
        });
    }

    /// Whoever asks by a message keeps a sender, as clients of a reactor do.
    #[test]
    fn a_question_to_a_receiver_that_goes_is_not_waited_for() {
        loom::model(|| {
            let (sender, receiver) = mailbox(1);
            let going = thread::spawn(move || drop(receiver));
            let (answer, asked) = oneshot::<u8>();
            let sent = sender.try_send(answer);
            drop(sent);
            assert_eq!(block_on(asked), Err(Cancelled));
            going.join().expect("no panic");
        });
    }

    #[test]
    fn a_sender_that_waits_hears_of_the_end_of_the_receiver() {
        loom::model(|| {
            let (sender, receiver) = mailbox(1);
            let going = thread::spawn(move || drop(receiver));
            let first = sender.try_send(1);
            if first.is_ok() {
                // The room may be given back meanwhile, and the message with it.
                let second = block_on(sender.send(2));
                drop(second);
            }
            going.join().expect("no panic");
        });
    }

    #[test]
    fn an_answer_comes_or_its_end_does() {
        loom::model(|| {
            let (sender, receiver) = oneshot();
            let answering = thread::spawn(move || sender.send(7).expect("somebody waits"));
            assert_eq!(block_on(receiver), Ok(7));
            answering.join().expect("no panic");
            let (sender, receiver) = oneshot::<u8>();
            let leaving = thread::spawn(move || drop(sender));
            assert_eq!(block_on(receiver), Err(Cancelled));
            leaving.join().expect("no panic");
        });
    }
}
