//! Runs reactors from their start to their end: one on the calling thread, or all those of a process.
//!
//! Invariants: however a run ends, also by a panic, each of its reactors on this thread has dropped every future, while it was
//! entered, before the run returns; and the thread can then run reactors again.

use std::future::Future;
use std::panic::Location;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll, Waker};
use std::thread::{Builder, JoinHandle};

use super::super::affinity::Pinned;
use super::super::class::TaskClass;
use super::super::probe::ReactorError;
use super::{MainTask, Reactor, ReactorConfig, World, stepper, try_with_current};

/// How a reactor is set up, and what it runs.
pub(super) struct Start<F> {
    pub(super) config: ReactorConfig,
    /// Where it was asked for.
    pub(super) origin: &'static Location<'static>,
    pub(super) body: F,
}

type Body<T> = Box<dyn FnOnce() -> Pin<Box<dyn Future<Output = T>>> + Send>;

/// One of the reactors that [`run_all`] runs, and its main task.
pub struct Main<T> {
    start: Start<Body<T>>,
}

impl<T: 'static> Main<T> {
    /// A reactor whose main task is the future that `body` makes on the reactor's thread.
    #[track_caller]
    pub fn new<F>(config: ReactorConfig, body: impl FnOnce() -> F + Send + 'static) -> Main<T>
    where
        F: Future<Output = T> + 'static,
    {
        let start = Start {
            config,
            origin: Location::caller(),
            body: Box::new(move || Box::pin(body()) as Pin<Box<dyn Future<Output = T>>>) as Body<T>,
        };
        Main { start }
    }

    fn into_start(self) -> Start<impl AsyncFnOnce() -> T> {
        let Start {
            config,
            origin,
            body,
        } = self.start;
        let body = || body();
        Start {
            config,
            origin,
            body,
        }
    }
}

/// Runs a reactor on the calling thread until the future ends; what it spawned and did not finish is dropped.
///
/// # Errors
/// io_uring cannot be used, the arena cannot be mapped, the thread already runs a reactor; in a simulation also the
/// planned crash and a run that is stuck.
///
/// # Panics
/// When `main` panics.
#[track_caller]
pub fn run<T>(
    config: ReactorConfig,
    world: World,
    main: impl AsyncFnOnce() -> T,
) -> Result<T, ReactorError> {
    refuse_nested()?;
    let start = Start {
        config,
        origin: Location::caller(),
        body: main,
    };
    match world {
        World::Real => run_here(start),
        World::Simulated(simulation) => {
            let mut outputs = stepper::run(&simulation, [start])?;
            Ok(outputs.pop().expect("one reactor has one output"))
        }
    }
}

/// Runs the reactors of a process until the main task of each has ended: what a reactor spawned and did not finish is dropped
/// when its own main task ends. The outputs are in the order of `mains`.
///
/// In the real world the first runs on the calling thread and each other one on a thread of its own; in a simulation all take
/// turns on the calling thread, in an order that the seed chooses. When a reactor cannot be set up or its thread not started,
/// its body is dropped without having run, and so are those not started yet; the others are waited for, so they must end
/// when they hear of that, as by a mailbox without senders.
///
/// # Errors
/// As of [`run`]; of several the one of the first reactor in the order. In the real world also a thread that could not be
/// started and a panic in the main task of another thread.
///
/// # Panics
/// When the first of `mains` panics, without waiting for the other threads; in a simulation when any of them does.
pub fn run_all<T: Send + 'static>(
    world: World,
    mains: Vec<Main<T>>,
) -> Result<Vec<T>, ReactorError> {
    refuse_nested()?;
    match world {
        World::Real => run_on_threads(mains),
        World::Simulated(simulation) => {
            let starts = mains.into_iter().map(Main::into_start);
            stepper::run(&simulation, starts)
        }
    }
}

fn refuse_nested() -> Result<(), ReactorError> {
    match try_with_current(|_| ()) {
        Some(()) => Err(ReactorError::Nested),
        None => Ok(()),
    }
}

fn run_on_threads<T: Send + 'static>(mains: Vec<Main<T>>) -> Result<Vec<T>, ReactorError> {
    let mut mains = mains.into_iter();
    let Some(first) = mains.next() else {
        return Ok(Vec::new());
    };
    let mut threads = Vec::new();
    let mut failure = None;
    for main in mains {
        match Thread::start(main) {
            Ok(thread) => threads.push(thread),
            Err(error) => {
                failure = Some(error);
                break;
            }
        }
    }
    let first = match failure {
        None => run_here(first.into_start()),
        Some(error) => {
            drop(first);
            Err(error)
        }
    };
    let others: Vec<_> = threads.into_iter().map(Thread::join).collect();
    std::iter::once(first).chain(others).collect()
}

/// The thread of a reactor.
struct Thread<T> {
    name: String,
    handle: JoinHandle<Result<T, ReactorError>>,
}

impl<T: Send + 'static> Thread<T> {
    fn start(main: Main<T>) -> Result<Thread<T>, ReactorError> {
        let name = main.start.config.name.clone();
        let builder = Builder::new().name(name.clone());
        #[expect(
            clippy::disallowed_methods,
            reason = "this is where the threads of reactors begin"
        )]
        let started = builder.spawn(move || run_here(main.into_start()));
        match started {
            Ok(handle) => Ok(Thread { name, handle }),
            Err(source) => Err(ReactorError::Thread { name, source }),
        }
    }

    fn join(self) -> Result<T, ReactorError> {
        let panicked = |_| Err(ReactorError::Panicked { name: self.name });
        self.handle.join().unwrap_or_else(panicked)
    }
}

/// Runs a reactor of the real world on the calling thread.
fn run_here<T>(start: Start<impl AsyncFnOnce() -> T>) -> Result<T, ReactorError> {
    let _pinned = start.config.core.map(Pinned::to_core);
    let reactor = Rc::new(Reactor::new(&start.config, World::Real)?);
    let started = Started::new(reactor, start.origin, start.body);
    started.drive_real();
    Ok(started.output())
}

/// A reactor whose main task has begun. Its drop takes the reactor apart, also while a panic unwinds.
pub(super) struct Started<T> {
    pub(super) reactor: Rc<Reactor>,
    /// There until the drop.
    main: Option<MainTask<T>>,
}

impl<T> Started<T> {
    pub(super) fn new(
        reactor: Rc<Reactor>,
        origin: &'static Location<'static>,
        body: impl AsyncFnOnce() -> T,
    ) -> Started<T> {
        // First, so that what the body has spawned before it panics is dropped.
        let mut started = Started {
            reactor,
            main: None,
        };
        let entered = started.reactor.enter();
        let (runnable, main) = started
            .reactor
            .make_task(TaskClass::Foreground, origin, body());
        runnable.schedule();
        drop(entered);
        started.main = Some(main);
        started
    }

    pub(super) fn has_ended(&self) -> bool {
        self.main.as_ref().is_some_and(MainTask::is_finished)
    }

    fn drive_real(&self) {
        let _entered = self.reactor.enter();
        self.reactor.drive_real(|| self.has_ended());
    }

    /// The output of the main task, which has ended. Panics when that has.
    pub(super) fn output(mut self) -> T {
        let _entered = self.reactor.enter();
        let context = &mut Context::from_waker(Waker::noop());
        match self.main.as_mut().map(|main| Pin::new(main).poll(context)) {
            Some(Poll::Ready(output)) => output,
            _ => unreachable!("a loop ends only when the main task has"),
        }
    }
}

impl<T> Drop for Started<T> {
    fn drop(&mut self) {
        let _entered = self.reactor.enter();
        // Here and not with the fields: what an output holds may need its reactor.
        drop(self.main.take());
        self.reactor.drop_tasks();
        self.reactor.close();
    }
}
