//! The loop of a reactor on this machine: timers, completions, remote wakes, tasks, and sleep when there is nothing to do.
//!
//! Invariants: every round looks at timers and completions, and a round's tasks run for at most [`ROUND_NANOSECONDS`] plus
//! one turn; a reactor sleeps in the kernel only after it has raised its parked flag and found its queue of remote wakes
//! empty.

use std::task::Waker;
use std::time::Duration;

use super::super::operation::Reaped;
use super::{ROUND_NANOSECONDS, Reactor};

impl Reactor {
    /// Runs tasks until the main one has ended. The reactor is entered.
    pub(super) fn drive_real(&self, main_has_ended: impl Fn() -> bool) {
        let mut reaped = Reaped::default();
        let mut now = self.clock();
        while !main_has_ended() {
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
            } else if !main_has_ended() {
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
        let shared = &self.shared;
        if shared.parked.raise(|| shared.remote.is_empty()) {
            let timeout = deadline
                .map(|deadline| Duration::from_nanos(deadline.saturating_sub(self.clock())));
            self.driver().borrow_mut().park(timeout);
            self.statistics.parks.add(1);
        }
        shared.parked.lower();
    }
}
