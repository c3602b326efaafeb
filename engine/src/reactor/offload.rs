//! Helper threads for calls that block: LMDB's sync, directory operations.
//!
//! Invariants: at most [`THREADS_MAX`] helpers in the process, started when needed and ended when idle; they may use
//! every core of the process, not only the one of the reactor that started them. In the simulated world the work
//! runs at once, on the thread of the world, and its result comes later; of work within which the machine stops, never.

use std::collections::VecDeque;
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use super::affinity::unpin;
use super::executor::{Reactor, with_current};
use super::mailbox::oneshot;
use super::timer::sleep;

const THREADS_MAX: usize = 4;
const IDLE_LIMIT: Duration = Duration::from_secs(10);

type Job = Box<dyn FnOnce() + Send>;

struct Pool {
    state: Mutex<PoolState>,
    work: Condvar,
}

struct PoolState {
    jobs: VecDeque<Job>,
    threads: usize,
    idle: usize,
}

static POOL: Pool = Pool {
    state: Mutex::new(PoolState {
        jobs: VecDeque::new(),
        threads: 0,
        idle: 0,
    }),
    work: Condvar::new(),
};

impl Pool {
    fn lock(&self) -> MutexGuard<'_, PoolState> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn submit(&'static self, job: Job) {
        let mut state = self.lock();
        state.jobs.push_back(job);
        if state.idle >= state.jobs.len() {
            drop(state);
            self.work.notify_one();
            return;
        }
        if state.threads >= THREADS_MAX {
            return;
        }
        state.threads += 1;
        drop(state);
        #[expect(
            clippy::disallowed_methods,
            reason = "this is where helper threads come from"
        )]
        let started = std::thread::Builder::new()
            .name("strata-helper".to_string())
            .spawn(|| self.help());
        if let Err(error) = started {
            self.without_a_new_thread(error);
        }
    }

    /// The process may have no more threads: others do the work, or the caller does if there are none.
    fn without_a_new_thread(&self, error: std::io::Error) {
        tracing::warn!(%error, "no helper thread could be started");
        let mut state = self.lock();
        state.threads -= 1;
        if state.threads == 0 {
            let jobs = std::mem::take(&mut state.jobs);
            drop(state);
            jobs.into_iter().for_each(|job| job());
        }
    }

    fn help(&self) {
        unpin();
        let mut state = self.lock();
        loop {
            if let Some(job) = state.jobs.pop_front() {
                drop(state);
                job();
                state = self.lock();
                continue;
            }
            state.idle += 1;
            let (guard, waited) = self
                .work
                .wait_timeout(state, IDLE_LIMIT)
                .unwrap_or_else(PoisonError::into_inner);
            state = guard;
            state.idle -= 1;
            if waited.timed_out() && state.jobs.is_empty() {
                state.threads -= 1;
                return;
            }
        }
    }
}

/// Runs the work on a helper thread and gives its result. The work goes on when the future is dropped.
///
/// # Panics
/// When the work panics; when polled outside a reactor.
pub async fn offload<T: Send + 'static>(work: impl FnOnce() -> T + Send + 'static) -> T {
    if let Some(simulation) = with_current(Reactor::simulation) {
        let result = work();
        if simulation.crashed() {
            std::future::pending::<()>().await;
        }
        sleep(simulation.delay_of_helper()).await;
        return result;
    }
    let (sender, receiver) = oneshot();
    POOL.submit(Box::new(move || {
        let result = catch_unwind(AssertUnwindSafe(work));
        // Nobody may wait for it any more.
        let _ = sender.send(result);
    }));
    match receiver.await {
        Ok(Ok(value)) => value,
        Ok(Err(panic)) => resume_unwind(panic),
        Err(_) => unreachable!("a job always answers"),
    }
}
