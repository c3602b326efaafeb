//! The loop of a simulated machine: all its reactors on one thread, one turn of one of them at a time.
//!
//! Invariants: the seed chooses whose turn it is, so it decides every interleaving; all reactors see one clock, which moves on
//! by turns and, when no reactor is ready, to the next timer or completion. A run of the machine begins and ends once: a
//! reactor that ends early drops its own futures and leaves what the disk does for the others alone.

use std::collections::BTreeMap;
use std::rc::Rc;
use std::task::Waker;

use super::super::probe::ReactorError;
use super::super::simulated::Simulation;
use super::run::{Start, Started};
use super::{Reactor, World};

/// Runs the reactors until the main task of each has ended. The outputs are in the order of `starts`.
pub(super) fn run<T, F: AsyncFnOnce() -> T>(
    simulation: &Simulation,
    starts: impl IntoIterator<Item = Start<F>>,
) -> Result<Vec<T>, ReactorError> {
    let mut set_up = Vec::new();
    for start in starts {
        let world = World::Simulated(simulation.clone());
        let reactor = Rc::new(Reactor::new(&start.config, world)?);
        set_up.push((reactor, start));
    }
    // Declared before the reactors, so that it outlives them.
    let _running = RunOfMachine::begin(simulation);
    let mut stepper = Stepper {
        simulation,
        reactors: BTreeMap::new(),
        outputs: BTreeMap::new(),
    };
    for (position, (reactor, start)) in set_up.into_iter().enumerate() {
        let started = Started::new(reactor, start.origin, start.body);
        stepper.reactors.insert(position, started);
    }
    while !stepper.reactors.is_empty() {
        stepper.step()?;
    }
    Ok(stepper.outputs.into_values().collect())
}

/// From the start of the process on the machine until its last reactor has gone.
struct RunOfMachine<'a> {
    simulation: &'a Simulation,
}

impl RunOfMachine<'_> {
    fn begin(simulation: &Simulation) -> RunOfMachine<'_> {
        simulation.begin_run();
        RunOfMachine { simulation }
    }
}

impl Drop for RunOfMachine<'_> {
    fn drop(&mut self) {
        self.simulation.end_run();
    }
}

struct Stepper<'a, T> {
    simulation: &'a Simulation,
    /// Those that have not ended, by their position.
    reactors: BTreeMap<usize, Started<T>>,
    /// Of those that have.
    outputs: BTreeMap<usize, T>,
}

impl<T> Stepper<'_, T> {
    /// A turn of a reactor that is ready, or the time until one may be.
    fn step(&mut self) -> Result<(), ReactorError> {
        self.wake_due();
        self.refuse_crash()?;
        match self.choose() {
            Some(position) => self.take_turn(position),
            None => self.wait(),
        }
    }

    /// Wakes who waits for what has happened. Wakes from the disk go through the remote queues of their reactors.
    fn wake_due(&self) {
        let now = self.simulation.clock();
        for started in self.reactors.values() {
            let _entered = started.reactor.enter();
            started.reactor.fire_timers(now);
        }
        let woken = self.simulation.complete_due();
        woken.into_iter().for_each(Waker::wake);
        for started in self.reactors.values() {
            started.reactor.take_remote();
        }
    }

    fn refuse_crash(&self) -> Result<(), ReactorError> {
        if self.simulation.crashed() {
            return Err(ReactorError::Crashed);
        }
        Ok(())
    }

    /// The reactor whose turn it is; `None` when none is ready.
    fn choose(&self) -> Option<usize> {
        let ready = || {
            let all = self.reactors.iter();
            all.filter(|(_, started)| started.reactor.has_ready())
        };
        let count = ready().count();
        if count == 0 {
            return None;
        }
        let (position, _) = ready().nth(self.simulation.choose_turn(count))?;
        Some(*position)
    }

    fn take_turn(&mut self, position: usize) -> Result<(), ReactorError> {
        let started = &self.reactors[&position];
        let entered = started.reactor.enter();
        started.reactor.take_turn(self.simulation.clock());
        drop(entered);
        started.reactor.publish();
        let ended = started.has_ended();
        self.refuse_crash()?;
        if ended && let Some(started) = self.reactors.remove(&position) {
            self.outputs.insert(position, started.output());
        }
        Ok(())
    }

    /// Lets the time pass until the next timer or completion.
    fn wait(&self) -> Result<(), ReactorError> {
        let reactors = self.reactors.values().map(|started| &started.reactor);
        let timers = reactors.filter_map(|reactor| {
            reactor.publish();
            reactor.timers.borrow().next_deadline()
        });
        let next = timers.chain(self.simulation.next_event()).min();
        self.simulation.advance_to(next.ok_or(ReactorError::Stuck)?);
        Ok(())
    }
}
