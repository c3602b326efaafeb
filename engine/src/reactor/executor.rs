//! The loop of a reactor: timers, completions, remote wakes, tasks, and sleep when there is nothing to do.
//!
//! Invariants: a future is polled and dropped only on its reactor's thread; a task is queued at most once
//! (`async-task` sees to it); every round looks at timers and completions, and a round's tasks run for at most
//! [`ROUND_NANOSECONDS`] plus one turn; a wake from another thread is never lost, because the waker pushes before it
//! looks at the parked flag and the reactor raises the flag before it looks at the queue.

mod idleness;
mod task;

use std::cell::{Cell, RefCell};
use std::collections::VecDeque;
use std::future::Future;
use std::io;
use std::os::fd::{AsFd, AsRawFd, FromRawFd, OwnedFd};
use std::panic::Location;
use std::pin::Pin;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering, fence};
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use async_task::Runnable;
use crossbeam_queue::SegQueue;

use self::idleness::Idleness;
use self::task::{Registration, TaskTable, Tracked};
pub use self::task::{Task, current_class, index, spawn, yield_if_due, yield_now};
use super::affinity::Pinned;
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
    /// The core to pin the thread to.
    pub core: Option<usize>,
    /// Shown in logs.
    pub name: String,
    /// Memory for buffers, rounded up to 2 MiB.
    pub arena_bytes: usize,
    /// How long to look for work before sleeping in the kernel. 30 to 50 microseconds pay when cores talk a lot.
    pub spin: Duration,
}

/// Where a reactor runs.
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
    /// The reactor sleeps in the kernel, or is about to.
    parked: AtomicBool,
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
            parked: AtomicBool::new(false),
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
        // Pairs with the fence in `park`: either we see the flag or the reactor sees the task.
        fence(Ordering::SeqCst);
        if self.parked.load(Ordering::Relaxed) && self.parked.swap(false, Ordering::AcqRel) {
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

/// Runs a reactor on the calling thread until the future ends; what it spawned and did not finish is dropped.
///
/// # Errors
/// io_uring cannot be used, the arena cannot be mapped, the thread already runs a reactor; in a simulation also the
/// planned crash and a run that is stuck.
///
/// # Panics
/// When `main` panics.
pub fn run<T>(
    config: ReactorConfig,
    world: World,
    main: impl AsyncFnOnce() -> T,
) -> Result<T, ReactorError> {
    if try_with_current(|_| ()).is_some() {
        return Err(ReactorError::Nested);
    }
    let _pinned = config.core.map(Pinned::to_core);
    let reactor = Rc::new(Reactor::new(&config, world)?);
    CURRENT.with(|current| *current.borrow_mut() = Some(reactor.clone()));
    let _closing = Closing {
        reactor: reactor.clone(),
    };
    let (runnable, mut task) = reactor.make_task(TaskClass::Foreground, Location::caller(), main());
    runnable.schedule();
    match &reactor.arm {
        Arm::Real { .. } => reactor.drive_real(&task),
        Arm::Simulated(simulation) => reactor.drive_simulated(simulation, &task)?,
    }
    match Pin::new(&mut task).poll(&mut Context::from_waker(Waker::noop())) {
        Poll::Ready(output) => Ok(output),
        Poll::Pending => unreachable!("the loop ends only when the main task has"),
    }
}

/// Takes the reactor apart, also while a panic unwinds.
struct Closing {
    reactor: Rc<Reactor>,
}

impl Drop for Closing {
    fn drop(&mut self) {
        self.reactor.drop_tasks();
        self.reactor.close();
        let current = CURRENT.with(|current| current.borrow_mut().take());
        drop(current);
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
            World::Simulated(simulation) => {
                simulation.begin_run();
                Arm::Simulated(simulation)
            }
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
        // reactor's thread: `schedule` puts them into its queues, and `drop_tasks` empties those before the thread
        // leaves `run`, until no future exists any more; `Task` handles are not Send. The schedule function is Send,
        // Sync and 'static. What the future borrows outlives `run`, and no future does.
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
                simulation.pass(class.index(), SIMULATED_TURN_NANOSECONDS)
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

    fn drive_real<T>(&self, main: &MainTask<T>) {
        let mut reaped = Reaped::default();
        let mut now = self.clock();
        while !main.is_finished() {
            let round_started = now;
            if now >= self.cpu_mark.get().clock + ROUND_NANOSECONDS {
                self.mark_cpu(now);
            }
            self.fire_timers(now);
            self.complete(&mut reaped);
            self.take_remote();
            let end = now + ROUND_NANOSECONDS;
            while now < end {
                let Some(length) = self.take_turn(now) else {
                    break;
                };
                now += length;
            }
            self.statistics.rounds.add(1);
            self.statistics.busy_nanoseconds.add(now - round_started);
            if self.has_ready() {
                self.flush();
                now = self.clock();
            } else if !main.is_finished() {
                now = self.idle(now);
            }
            self.publish();
        }
    }

    /// Reaps completions and lets go of what they owned.
    fn complete(&self, reaped: &mut Reaped) {
        self.driver().borrow_mut().reap(reaped);
        reaped.woken.drain(..).for_each(Waker::wake);
        reaped.released.clear();
        for watcher in reaped.ended.drain(..) {
            watcher.ended();
        }
    }

    fn flush(&self) {
        let mut driver = self.driver().borrow_mut();
        if driver.has_queued() {
            driver.submit();
        }
    }

    /// Waits for something to do: looks for it for a while if that has paid lately, then sleeps in the kernel.
    /// Returns the clock.
    fn idle(&self, started: u64) -> u64 {
        let deadline = self.timers.borrow().next_deadline();
        if deadline.is_some_and(|deadline| deadline <= started) {
            self.flush();
            return self.clock();
        }
        let barriers = self.driver().borrow().slots.barriers_in_flight;
        if barriers == 0 && self.idleness.spinning_pays(started) {
            let found = self.spin(started, deadline);
            self.idleness.spun(found);
            if found {
                return self.woke(started);
            }
        }
        let slept = self.clock();
        self.park(deadline);
        let now = self.woke(started);
        self.idleness.slept(now - slept);
        now
    }

    fn woke(&self, started: u64) -> u64 {
        let now = self.clock();
        self.statistics.idle_nanoseconds.add(now - started);
        now
    }

    /// Whether work appeared before the spin time was over.
    fn spin(&self, started: u64, deadline: Option<u64>) -> bool {
        self.flush();
        let end = deadline
            .unwrap_or(u64::MAX)
            .min(started + self.idleness.spin);
        loop {
            if !self.shared.remote.is_empty() || self.driver().borrow_mut().has_events() {
                return true;
            }
            if self.clock() >= end {
                return deadline.is_some_and(|deadline| deadline <= end);
            }
            std::hint::spin_loop();
        }
    }

    fn park(&self, deadline: Option<u64>) {
        self.shared.parked.store(true, Ordering::Relaxed);
        // Pairs with the fence in `schedule`.
        fence(Ordering::SeqCst);
        if self.shared.remote.is_empty() {
            let timeout = deadline
                .map(|deadline| Duration::from_nanos(deadline.saturating_sub(self.clock())));
            self.driver().borrow_mut().park(timeout);
            self.statistics.parks.add(1);
        }
        self.shared.parked.store(false, Ordering::Relaxed);
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

    fn drive_simulated<T>(
        &self,
        simulation: &Simulation,
        main: &MainTask<T>,
    ) -> Result<(), ReactorError> {
        while !main.is_finished() {
            self.fire_timers(simulation.clock());
            simulation.complete_due().into_iter().for_each(Waker::wake);
            self.take_remote();
            let ran = self.take_turn(simulation.clock()).is_some();
            self.publish();
            if simulation.crashed() {
                return Err(ReactorError::Crashed);
            }
            if !ran {
                let timer = self.timers.borrow().next_deadline();
                let event = simulation.next_event();
                let next = [timer, event].into_iter().flatten().min();
                simulation.advance_to(next.ok_or(ReactorError::Stuck)?);
            }
        }
        Ok(())
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

    /// Waits until the kernel uses nothing of ours any more.
    fn close(&self) {
        let driver = match &self.arm {
            Arm::Real { driver, .. } => driver,
            Arm::Simulated(simulation) => return simulation.end_run(),
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
