//! A reactor: its tasks, what wakes them, and whose turn it is.
//!
//! Invariants: a future is polled and dropped only on its reactor's thread and while that reactor is entered; a task is
//! queued at most once (`async-task` sees to it); a wake from another thread is never lost, because the waker pushes
//! before it looks at the parked flag and the reactor raises the flag before it looks at the queue.

mod idleness;
mod parked;
mod real;
mod run;
mod stepper;
mod task;

use std::cell::{Cell, RefCell};
use std::collections::VecDeque;
use std::future::Future;
use std::io;
use std::os::fd::{AsFd, AsRawFd, FromRawFd, OwnedFd};
use std::panic::Location;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::task::Waker;
use std::time::Duration;

use async_task::Runnable;
use crossbeam_queue::SegQueue;

use self::idleness::Idleness;
use self::parked::Parked;
pub use self::run::{Main, run, run_all};
use self::task::{Registration, TaskTable, Tracked};
pub use self::task::{Task, current_class, index, spawn, yield_if_due, yield_now};
use super::arena::{Arena, Backing};
use super::class::{CLASS_COUNT, Shares, TaskClass};
use super::clock::{real_monotonic_nanoseconds, real_wall_nanoseconds, thread_cpu_nanoseconds};
use super::operation::Reaped;
use super::probe::ReactorError;
use super::random::KernelRandom;
use super::simulated::Simulation;
use super::statistics::ReactorStatistics;
use super::timer::Timers;
use super::uring::Driver;

/// How long a turn may last before a task should yield, and tasks run before timers are looked at again.
pub const ROUND_NANOSECONDS: u64 = 200_000;
/// No turn is to take more CPU time than this.
const TURN_NANOSECONDS_MAX: u64 = 2_000_000;
/// A simulated turn takes this long, so that a task that is always ready cannot stop the virtual clock.
const SIMULATED_TURN_NANOSECONDS: u64 = 1_000;

/// How a reactor is set up.
#[derive(Clone, Debug)]
pub struct ReactorConfig {
    /// Its number among the reactors of the process, from zero.
    pub index: usize,
    /// The core to pin the thread to, in the real world.
    pub core: Option<usize>,
    /// Shown in logs; also the name of the thread that [`run_all`] starts for it.
    pub name: String,
    /// Memory for buffers, rounded up to 2 MiB.
    pub arena_bytes: usize,
    /// How long to look for work before sleeping in the kernel. 30 to 50 microseconds pay when cores talk a lot.
    pub spin: Duration,
}

/// Where reactors run.
#[derive(Clone)]
pub enum World {
    /// On this machine.
    Real,
    /// In a simulation made from a seed.
    Simulated(Simulation),
}

pub(super) enum Arm {
    Real {
        driver: Box<RefCell<Driver>>,
        random: Box<RefCell<KernelRandom>>,
    },
    Simulated(Simulation),
}

/// What the waker of a task knows about it.
#[derive(Clone, Copy)]
pub(super) struct TaskMeta {
    class: TaskClass,
    /// Where it was spawned.
    origin: &'static Location<'static>,
}

/// The part of a reactor that other threads reach.
pub(super) struct Shared {
    id: u64,
    remote: SegQueue<Runnable<TaskMeta>>,
    parked: Parked,
    doorbell: OwnedFd,
}

impl Shared {
    fn new(id: u64) -> io::Result<Shared> {
        // SAFETY: eventfd takes two numbers and returns a new descriptor or -1.
        let descriptor = unsafe { libc::eventfd(0, libc::EFD_NONBLOCK | libc::EFD_CLOEXEC) };
        if descriptor < 0 {
            return Err(io::Error::last_os_error());
        }
        // SAFETY: the descriptor is new and ours alone.
        let doorbell = unsafe { OwnedFd::from_raw_fd(descriptor) };
        Ok(Shared {
            id,
            remote: SegQueue::new(),
            parked: Parked::new(),
            doorbell,
        })
    }

    fn schedule(&self, runnable: Runnable<TaskMeta>) {
        let mut runnable = Some(runnable);
        try_with_current(|reactor| {
            if reactor.id == self.id
                && let Some(runnable) = runnable.take()
            {
                reactor.enqueue(runnable);
            }
        });
        let Some(runnable) = runnable else { return };
        self.remote.push(runnable);
        if self.parked.must_ring() {
            self.ring();
        }
    }

    fn ring(&self) {
        let one = 1u64.to_ne_bytes();
        // SAFETY: writes eight bytes of a local array; a full counter means the doorbell already rings.
        unsafe { libc::write(self.doorbell.as_raw_fd(), one.as_ptr().cast(), one.len()) };
    }
}

/// What the thread's CPU clock showed at a point of the monotonic clock.
#[derive(Clone, Copy, Default)]
struct CpuMark {
    clock: u64,
    cpu: u64,
}

pub(super) struct Reactor {
    pub(super) id: u64,
    index: usize,
    shared: Arc<Shared>,
    ready: [RefCell<VecDeque<Runnable<TaskMeta>>>; CLASS_COUNT],
    shares: RefCell<Shares>,
    tasks: RefCell<TaskTable>,
    pub(super) timers: RefCell<Timers>,
    pub(super) arena: Arc<Arena>,
    pub(super) statistics: Arc<ReactorStatistics>,
    pub(super) arm: Arm,
    class: Cell<TaskClass>,
    turn_started: Cell<u64>,
    cpu_mark: Cell<CpuMark>,
    idleness: Idleness,
}

thread_local! {
    static CURRENT: RefCell<Option<Rc<Reactor>>> = const { RefCell::new(None) };
}

pub(super) fn with_current<R>(act: impl FnOnce(&Reactor) -> R) -> R {
    try_with_current(act)
        .expect("this needs a reactor on the current thread: call it inside reactor::run")
}

pub(super) fn try_with_current<R>(act: impl FnOnce(&Reactor) -> R) -> Option<R> {
    CURRENT
        .try_with(|current| current.try_borrow().ok()?.as_deref().map(act))
        .ok()
        .flatten()
}

/// Makes a reactor the current one of the thread until it is dropped, then the one before it again.
struct Entered {
    before: Option<Rc<Reactor>>,
}

impl Drop for Entered {
    fn drop(&mut self) {
        let left = CURRENT.with(|current| current.replace(self.before.take()));
        drop(left);
    }
}

type MainTask<T> = async_task::Task<T, TaskMeta>;

impl Reactor {
    fn new(config: &ReactorConfig, world: World) -> Result<Reactor, ReactorError> {
        static NEXT_ID: AtomicU64 = AtomicU64::new(0);
        let id = NEXT_ID.fetch_add(1, Ordering::Relaxed);
        let backing = match world {
            World::Real => Backing::Huge,
            World::Simulated(_) => Backing::Plain,
        };
        let arena =
            Arena::new(config.arena_bytes, backing).map_err(|source| ReactorError::Arena {
                bytes: config.arena_bytes,
                source,
            })?;
        let shared = Arc::new(Shared::new(id).map_err(ReactorError::from_setup)?);
        let arm = match world {
            World::Real => Arm::Real {
                driver: Box::new(RefCell::new(Driver::new(
                    id,
                    arena.clone(),
                    shared.doorbell.as_fd(),
                )?)),
                random: Box::new(RefCell::new(KernelRandom::new())),
            },
            World::Simulated(simulation) => Arm::Simulated(simulation),
        };
        let statistics = Arc::new(ReactorStatistics::default());
        statistics.arena_total_bytes.set(arena.total_bytes() as u64);
        tracing::debug!(reactor = config.index, name = %config.name, "reactor set up");
        Ok(Reactor {
            id,
            index: config.index,
            shared,
            ready: Default::default(),
            shares: RefCell::default(),
            tasks: RefCell::default(),
            timers: RefCell::default(),
            arena,
            statistics,
            arm,
            class: Cell::new(TaskClass::Foreground),
            turn_started: Cell::new(0),
            cpu_mark: Cell::default(),
            idleness: Idleness::new(config.spin),
        })
    }

    fn enter(self: &Rc<Reactor>) -> Entered {
        let before = CURRENT.with(|current| current.replace(Some(self.clone())));
        Entered { before }
    }

    /// Nanoseconds of this reactor's monotonic clock.
    pub(super) fn clock(&self) -> u64 {
        match &self.arm {
            Arm::Real { .. } => real_monotonic_nanoseconds(),
            Arm::Simulated(simulation) => simulation.clock(),
        }
    }

    pub(super) fn wall_clock_nanoseconds(&self) -> i64 {
        match &self.arm {
            Arm::Real { .. } => real_wall_nanoseconds(),
            Arm::Simulated(simulation) => simulation.wall_clock_nanoseconds(),
        }
    }

    pub(super) fn fill_random(&self, bytes: &mut [u8]) {
        match &self.arm {
            Arm::Real { random, .. } => random.borrow_mut().fill(bytes),
            Arm::Simulated(simulation) => simulation.fill_random(bytes),
        }
    }

    /// The machine of a reactor in a simulated world.
    pub(super) fn simulation(&self) -> Option<Simulation> {
        match &self.arm {
            Arm::Real { .. } => None,
            Arm::Simulated(simulation) => Some(simulation.clone()),
        }
    }

    /// The ring of a reactor in the real world.
    pub(super) fn driver(&self) -> &RefCell<Driver> {
        match &self.arm {
            Arm::Real { driver, .. } => driver,
            Arm::Simulated(_) => {
                panic!("an operation of the real world reached a simulated reactor")
            }
        }
    }

    fn make_task<'a, F>(
        &self,
        class: TaskClass,
        origin: &'static Location<'static>,
        future: F,
    ) -> (Runnable<TaskMeta>, async_task::Task<F::Output, TaskMeta>)
    where
        F: Future + 'a,
        F::Output: 'a,
    {
        let place = self.tasks.borrow_mut().reserve();
        let tracked = Tracked {
            future,
            _registration: Registration { place },
        };
        let shared = self.shared.clone();
        let builder = async_task::Builder::new()
            .metadata(TaskMeta { class, origin })
            .propagate_panic(true);
        // SAFETY: the future and the output need not be Send because runnables are run and dropped only by this
        // reactor's thread: `schedule` puts them into its queues, and the drop of `Started` empties those by
        // `drop_tasks` before the thread leaves `run` or `run_all`, until no future exists any more; `Task` handles are
        // not Send. The schedule function is Send, Sync and 'static. What the future borrows outlives `run`, and no
        // future does.
        let (runnable, task) = unsafe {
            builder.spawn_unchecked(move |_| tracked, move |runnable| shared.schedule(runnable))
        };
        self.tasks.borrow_mut().entries[place] = Some(runnable.waker());
        (runnable, task)
    }

    /// The number of the running turn.
    pub(super) fn turn(&self) -> u64 {
        self.statistics.turns.get()
    }

    /// Whether the running turn has lasted as long as a turn may.
    pub(super) fn turn_is_over(&self) -> bool {
        self.clock() >= self.turn_started.get() + ROUND_NANOSECONDS
    }

    fn enqueue(&self, runnable: Runnable<TaskMeta>) {
        let class = runnable.metadata().class;
        self.ready[class.index()].borrow_mut().push_back(runnable);
    }

    fn has_ready(&self) -> bool {
        self.ready.iter().any(|queue| !queue.borrow().is_empty())
    }

    fn next_ready(&self) -> Option<(TaskClass, Runnable<TaskMeta>)> {
        let ready = std::array::from_fn(|index| !self.ready[index].borrow().is_empty());
        let class = self.shares.borrow_mut().choose(ready)?;
        let runnable = self.ready[class.index()].borrow_mut().pop_front()?;
        Some((class, runnable))
    }

    fn take_remote(&self) {
        let mut taken = 0;
        while let Some(runnable) = self.shared.remote.pop() {
            self.enqueue(runnable);
            taken += 1;
        }
        if taken > 0 {
            self.statistics.remote_wakes.add(taken);
        }
    }

    fn fire_timers(&self, now: u64) {
        loop {
            let due = self.timers.borrow_mut().pop_due(now);
            let Some(waker) = due else { return };
            waker.wake();
        }
    }

    /// One turn of one task; its length in nanoseconds.
    fn take_turn(&self, started: u64) -> Option<u64> {
        let (class, runnable) = self.next_ready()?;
        let origin = runnable.metadata().origin;
        self.class.set(class);
        self.turn_started.set(started);
        runnable.run();
        let length = match &self.arm {
            Arm::Real { .. } => real_monotonic_nanoseconds() - started,
            Arm::Simulated(simulation) => {
                simulation.pass(self.index, class.index(), SIMULATED_TURN_NANOSECONDS)
            }
        };
        self.shares.borrow_mut().charge(class, length);
        let statistics = &self.statistics;
        statistics.turns.add(1);
        statistics.class_nanoseconds[class.index()].add(length);
        self.count_turn(origin, started, length);
        Some(length)
    }

    /// Counts how much CPU time a turn took. Reading that clock is a system call, so it is read after turns that were long by
    /// the other clock, and once in a while before.
    fn count_turn(&self, origin: &Location<'_>, started: u64, length: u64) {
        let statistics = &self.statistics;
        let clock = started + length;
        let cpu = match &self.arm {
            Arm::Real { .. } if length > ROUND_NANOSECONDS => {
                let since = self.cpu_mark.get().cpu;
                self.mark_cpu(clock);
                length.min(self.cpu_mark.get().cpu - since)
            }
            _ => length,
        };
        statistics.longest_turn_nanoseconds.raise(cpu);
        statistics.recent_longest_turn_nanoseconds.raise(clock, cpu);
        statistics
            .long_turns
            .add(u64::from(cpu > ROUND_NANOSECONDS));
        if cpu > TURN_NANOSECONDS_MAX {
            tracing::debug!(
                reactor = self.index,
                task = %origin,
                nanoseconds = cpu,
                wall_nanoseconds = length,
                "a task did not yield in time"
            );
        }
    }

    fn mark_cpu(&self, clock: u64) {
        let cpu = thread_cpu_nanoseconds();
        self.cpu_mark.set(CpuMark { clock, cpu });
    }

    /// Writes the numbers that are not kept as they change.
    fn publish(&self) {
        let statistics = &self.statistics;
        let ready: usize = self.ready.iter().map(|queue| queue.borrow().len()).sum();
        statistics.ready_tasks.set(ready as u64);
        statistics.tasks.set(self.tasks.borrow().count() as u64);
        statistics.timers.set(self.timers.borrow().len() as u64);
        let used = self.arena.total_bytes() - self.arena.free_bytes();
        statistics.arena_used_bytes.set(used as u64);
        if let Arm::Real { driver, .. } = &self.arm {
            let driver = driver.borrow();
            statistics.ring_enters.set(driver.enters);
            statistics
                .disk_in_flight
                .set(driver.slots.disk_in_flight as u64);
            statistics
                .orphaned_operations
                .set(driver.slots.orphans as u64);
        }
    }

    /// Drops every future. A waker on another thread may just be bringing a task: wait for it.
    fn drop_tasks(&self) {
        loop {
            let wakers: Vec<Waker> = self
                .tasks
                .borrow()
                .entries
                .iter()
                .flatten()
                .cloned()
                .collect();
            let none_left = wakers.is_empty();
            wakers.into_iter().for_each(Waker::wake);
            self.take_remote();
            for queue in &self.ready {
                let runnables = std::mem::take(&mut *queue.borrow_mut());
                drop(runnables);
            }
            if none_left && !self.has_ready() && self.shared.remote.is_empty() {
                return;
            }
            std::thread::yield_now();
        }
    }

    /// Waits until the kernel uses nothing of ours any more. What a simulated disk still does for an ended reactor goes on
    /// without it.
    fn close(&self) {
        let Arm::Real { driver, .. } = &self.arm else {
            return;
        };
        let mut reaped = Reaped::default();
        let drained = driver.borrow_mut().drain(&mut reaped);
        if !drained {
            tracing::error!(
                "the kernel still works on operations of a closing reactor; its memory is leaked"
            );
            driver.borrow_mut().leak();
        }
        reaped.woken.clear();
        reaped.ended.clear();
        reaped.released.clear();
    }
}
