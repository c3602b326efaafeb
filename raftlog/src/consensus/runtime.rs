//! openraft's runtime on our reactor.
//!
//! Everything openraft waits for, it waits for through [`ReactorRuntime`]: tasks, timers, channels and
//! random numbers are the reactor's, so that a group runs unchanged in the simulated world.
//!
//! Invariants: all of it lives on one reactor (nothing here is `Send`); no borrow is held while foreign
//! code runs (wakers are called and values dropped after the borrow has ended); a task that panics ends
//! with a [`JoinError`], it does not unwind through the reactor.

mod mpsc;
mod mutex;
mod oneshot;
mod random;
mod time;
mod watch;

use std::fmt;
use std::future::Future;
use std::panic::AssertUnwindSafe;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use futures_util::FutureExt;
use openraft::{AsyncRuntime, OptionalSend};
use strata_engine::reactor;

pub use mpsc::{LocalMpsc, LocalReceiver, LocalSender, LocalWeakSender};
pub use mutex::{LocalGuard, LocalMutex};
pub use oneshot::{LocalOneshot, OneshotReceiver, OneshotSender, SenderDropped};
pub use random::ReactorRandom;
pub use time::{Deadline, DeadlineElapsed, ReactorInstant};
pub use watch::{LocalWatch, WatchReceiver, WatchSender};

use openraft::rt::{Oneshot as _, OneshotSender as _};

/// The reactor, seen through openraft's runtime trait.
#[derive(Debug)]
pub struct ReactorRuntime {
    /// Only for `block_on`, which openraft's own test suites call outside of any reactor.
    name: &'static str,
}

/// How a task ended when it has no result.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum JoinError {
    /// The task panicked; the message went through the panic hook.
    Panicked,
    /// The reactor stopped before the task was done.
    Cancelled,
}

impl fmt::Display for JoinError {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(match self {
            JoinError::Panicked => "the task panicked",
            JoinError::Cancelled => "the task was cancelled",
        })
    }
}

impl std::error::Error for JoinError {}

/// Waits for a spawned task. Dropping it lets the task run on, as openraft expects.
pub struct JoinHandle<T> {
    result: OneshotReceiver<Result<T, JoinError>>,
}

impl<T> Future for JoinHandle<T> {
    type Output = Result<T, JoinError>;

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        self.result
            .poll_unpin(context)
            .map(|received| match received {
                Ok(result) => result,
                Err(SenderDropped) => Err(JoinError::Cancelled),
            })
    }
}

impl AsyncRuntime for ReactorRuntime {
    type JoinError = JoinError;
    type JoinHandle<T: OptionalSend + 'static> = JoinHandle<T>;
    type Sleep = reactor::Sleep;
    type Instant = ReactorInstant;
    type TimeoutError = DeadlineElapsed;
    type Timeout<R, T: Future<Output = R> + OptionalSend> = Deadline<T>;
    type ThreadLocalRng = ReactorRandom;
    type Mpsc = LocalMpsc;
    type Watch = LocalWatch;
    type Oneshot = LocalOneshot;
    type Mutex<T: OptionalSend + 'static> = LocalMutex<T>;

    fn spawn<T>(future: T) -> Self::JoinHandle<T::Output>
    where
        T: Future + OptionalSend + 'static,
        T::Output: OptionalSend + 'static,
    {
        let (sender, result) = LocalOneshot::channel();
        let guarded = async move {
            let ended = AssertUnwindSafe(future).catch_unwind().await;
            // The handle may be gone; then nobody asks for the result.
            let _ = sender.send(ended.map_err(|_| JoinError::Panicked));
        };
        reactor::spawn(reactor::TaskClass::Foreground, guarded).detach();
        JoinHandle { result }
    }

    fn sleep(duration: Duration) -> Self::Sleep {
        reactor::sleep(duration)
    }

    fn sleep_until(deadline: Self::Instant) -> Self::Sleep {
        reactor::sleep_until(deadline.into_reactor())
    }

    fn timeout<R, F: Future<Output = R> + OptionalSend>(
        duration: Duration,
        future: F,
    ) -> Self::Timeout<R, F> {
        Deadline::new(reactor::sleep(duration), future)
    }

    fn timeout_at<R, F: Future<Output = R> + OptionalSend>(
        deadline: Self::Instant,
        future: F,
    ) -> Self::Timeout<R, F> {
        Deadline::new(reactor::sleep_until(deadline.into_reactor()), future)
    }

    fn is_panic(join_error: &Self::JoinError) -> bool {
        *join_error == JoinError::Panicked
    }

    fn thread_rng() -> Self::ThreadLocalRng {
        ReactorRandom
    }

    fn new(_threads: usize) -> Self {
        ReactorRuntime { name: "openraft" }
    }

    fn block_on<F, T>(&mut self, future: F) -> T
    where
        F: Future<Output = T>,
    {
        let config = reactor::ReactorConfig {
            index: 0,
            core: None,
            name: self.name.to_owned(),
            arena_bytes: 2 << 20,
            spin: Duration::ZERO,
        };
        let ran = reactor::run(config, reactor::World::Real, async || future.await);
        ran.unwrap_or_else(|error| panic!("no reactor to block on: {error}"))
    }
}

#[cfg(test)]
mod tests {
    use super::ReactorRuntime;

    #[test]
    fn openraft_runtime_suite() {
        openraft::testing::runtime::Suite::<ReactorRuntime>::test_all();
    }
}
