//! Tasks: their handles, their table, and how they yield.
//!
//! Invariant: the table holds a waker of every task whose future exists, and of no other.

use std::any::Any;
use std::future::Future;
use std::marker::PhantomData;
use std::panic::Location;
use std::panic::{self, AssertUnwindSafe};
use std::pin::Pin;
use std::task::{Context, Poll, Waker};

use super::super::class::TaskClass;
use super::{TaskMeta, try_with_current, with_current};

/// Wakers of the tasks that exist, so that a closing reactor can drop every future on its own thread.
#[derive(Default)]
pub(super) struct TaskTable {
    pub(super) entries: Vec<Option<Waker>>,
    vacant: Vec<usize>,
}

impl TaskTable {
    pub(super) fn reserve(&mut self) -> usize {
        self.vacant.pop().unwrap_or_else(|| {
            self.entries.push(None);
            self.entries.len() - 1
        })
    }

    pub(super) fn count(&self) -> usize {
        self.entries.len() - self.vacant.len()
    }
}

/// Holds a task's place in the table as long as its future exists.
pub(super) struct Registration {
    pub(super) place: usize,
}

impl Drop for Registration {
    fn drop(&mut self) {
        let waker = try_with_current(|reactor| {
            let mut tasks = reactor.tasks.borrow_mut();
            tasks.vacant.push(self.place);
            tasks.entries[self.place].take()
        });
        drop(waker);
    }
}

/// A future with its place in the table of tasks.
pub(super) struct Tracked<F> {
    pub(super) future: F,
    pub(super) _registration: Registration,
}

impl<F: Future> Future for Tracked<F> {
    type Output = F::Output;

    fn poll(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<F::Output> {
        // SAFETY: the field is pinned with the whole and never moved out of it.
        let future = unsafe { self.map_unchecked_mut(|tracked| &mut tracked.future) };
        // What has panicked is not polled again: it is dropped while the panic goes on to whoever awaits the task.
        let turn = AssertUnwindSafe(|| future.poll(context));
        panic::catch_unwind(turn).unwrap_or_else(|cause| {
            report(&*cause);
            panic::resume_unwind(cause)
        })
    }
}

/// Nobody may await the task that has panicked: without this its end would be silent.
fn report(cause: &(dyn Any + Send)) {
    let text = cause.downcast_ref::<&str>().copied();
    let text = text.or_else(|| cause.downcast_ref::<String>().map(String::as_str));
    tracing::error!(cause = text.unwrap_or("unknown"), "a task has panicked");
}

/// A spawned task. Awaiting it gives the output; dropping it cancels the task.
#[must_use = "a task is cancelled when its handle is dropped: detach it or keep it"]
pub struct Task<T> {
    inner: async_task::Task<T, TaskMeta>,
    // The output may hold things of this thread.
    _thread: PhantomData<*const ()>,
}

impl<T> Task<T> {
    /// Lets the task run to its end on its own.
    pub fn detach(self) {
        self.inner.detach();
    }

    /// Cancels the task and waits until its future is dropped. The output, when it was already there.
    pub async fn cancel(self) -> Option<T> {
        self.inner.cancel().await
    }

    /// Whether the task has ended.
    pub fn is_finished(&self) -> bool {
        self.inner.is_finished()
    }
}

impl<T> Future for Task<T> {
    type Output = T;

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<T> {
        Pin::new(&mut self.inner).poll(context)
    }
}

/// Starts a task on the current reactor. A panic in it is logged, and reaches whoever awaits the task.
///
/// # Panics
/// Outside a reactor.
#[track_caller]
pub fn spawn<T: 'static>(class: TaskClass, future: impl Future<Output = T> + 'static) -> Task<T> {
    let origin = Location::caller();
    let (runnable, task) = with_current(|reactor| reactor.make_task(class, origin, future));
    runnable.schedule();
    Task {
        inner: task,
        _thread: PhantomData,
    }
}

/// The class of the running task.
///
/// # Panics
/// Outside a reactor.
pub fn current_class() -> TaskClass {
    with_current(|reactor| reactor.class.get())
}

/// The number of the current reactor.
///
/// # Panics
/// Outside a reactor.
pub fn index() -> usize {
    with_current(|reactor| reactor.index)
}

/// Lets every other ready task of the class have a turn. What polls its futures several times in a turn, as hyper does with a
/// handler, does not cut the pause short.
pub async fn yield_now() {
    let begun = with_current(|reactor| reactor.turn());
    std::future::poll_fn(|context| {
        if with_current(|reactor| reactor.turn()) != begun {
            return Poll::Ready(());
        }
        // Each time: who polls again in this turn may take the wake before for spent.
        context.waker().wake_by_ref();
        Poll::Pending
    })
    .await;
}

/// Yields when the running turn has lasted 200 microseconds, and says whether it did. Long work calls it between its pieces.
pub async fn yield_if_due() -> bool {
    let due = with_current(|reactor| reactor.turn_is_over());
    if due {
        yield_now().await;
    }
    due
}
