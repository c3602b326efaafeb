//! The reactor's clock and deadlines as openraft's types.

use std::fmt;
use std::future::Future;
use std::ops::{Add, AddAssign, Sub, SubAssign};
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use strata_engine::reactor;

/// A moment on the reactor's monotonic clock.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct ReactorInstant(reactor::Instant);

impl ReactorInstant {
    pub(super) fn into_reactor(self) -> reactor::Instant {
        self.0
    }
}

impl Add<Duration> for ReactorInstant {
    type Output = Self;

    fn add(self, duration: Duration) -> Self {
        ReactorInstant(self.0 + duration)
    }
}

impl AddAssign<Duration> for ReactorInstant {
    fn add_assign(&mut self, duration: Duration) {
        *self = *self + duration;
    }
}

impl Sub<Duration> for ReactorInstant {
    type Output = Self;

    fn sub(self, duration: Duration) -> Self {
        ReactorInstant(self.0 - duration)
    }
}

impl Sub for ReactorInstant {
    type Output = Duration;

    fn sub(self, earlier: Self) -> Duration {
        self.0 - earlier.0
    }
}

impl SubAssign<Duration> for ReactorInstant {
    fn sub_assign(&mut self, duration: Duration) {
        *self = *self - duration;
    }
}

impl openraft::rt::Instant for ReactorInstant {
    fn now() -> Self {
        ReactorInstant(reactor::now())
    }
}

/// The time was up before the future was ready.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct DeadlineElapsed;

impl fmt::Display for DeadlineElapsed {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("the deadline has passed")
    }
}

impl std::error::Error for DeadlineElapsed {}

/// A future with a deadline. When both are ready, the future wins.
pub struct Deadline<F> {
    future: Pin<Box<F>>,
    sleep: Pin<Box<reactor::Sleep>>,
}

impl<F: Future> Deadline<F> {
    pub(super) fn new(sleep: reactor::Sleep, future: F) -> Self {
        Deadline {
            future: Box::pin(future),
            sleep: Box::pin(sleep),
        }
    }
}

impl<F: Future> Future for Deadline<F> {
    type Output = Result<F::Output, DeadlineElapsed>;

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        if let Poll::Ready(output) = self.future.as_mut().poll(context) {
            return Poll::Ready(Ok(output));
        }
        self.sleep
            .as_mut()
            .poll(context)
            .map(|()| Err(DeadlineElapsed))
    }
}
