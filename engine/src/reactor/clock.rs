//! Points in time of the reactor's clock.
//!
//! Invariant: an [`Instant`] never goes backwards on one reactor; it is the kernel's monotonic clock in the real
//! world and a counter that jumps from event to event in the simulated one.

use std::ops::{Add, AddAssign, Sub};
use std::time::Duration;

use super::executor::with_current;

/// A point on the reactor's monotonic clock.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Instant(pub(super) u64);

impl Instant {
    /// Nanoseconds since the clock's arbitrary origin.
    pub const fn nanoseconds(self) -> u64 {
        self.0
    }

    /// The time from `earlier` to this point, zero when `earlier` is later.
    pub const fn saturating_duration_since(self, earlier: Instant) -> Duration {
        Duration::from_nanos(self.0.saturating_sub(earlier.0))
    }

    /// The time that has passed since this point.
    pub fn elapsed(self) -> Duration {
        now().saturating_duration_since(self)
    }
}

pub(super) fn nanoseconds_of(duration: Duration) -> u64 {
    u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX)
}

impl Add<Duration> for Instant {
    type Output = Instant;

    fn add(self, duration: Duration) -> Instant {
        Instant(self.0.saturating_add(nanoseconds_of(duration)))
    }
}

impl AddAssign<Duration> for Instant {
    fn add_assign(&mut self, duration: Duration) {
        *self = *self + duration;
    }
}

impl Sub<Duration> for Instant {
    type Output = Instant;

    fn sub(self, duration: Duration) -> Instant {
        Instant(self.0.saturating_sub(nanoseconds_of(duration)))
    }
}

impl Sub for Instant {
    type Output = Duration;

    fn sub(self, earlier: Instant) -> Duration {
        self.saturating_duration_since(earlier)
    }
}

/// Nanoseconds since the Unix epoch, negative before it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct WallTime(i64);

impl WallTime {
    /// Nanoseconds since the Unix epoch.
    pub const fn nanoseconds(self) -> i64 {
        self.0
    }

    /// Whole seconds since the Unix epoch.
    pub const fn seconds(self) -> i64 {
        self.0.div_euclid(1_000_000_000)
    }
}

/// The monotonic clock of the current reactor.
///
/// # Panics
/// Outside a reactor.
pub fn now() -> Instant {
    Instant(with_current(|reactor| reactor.clock()))
}

/// The wall clock of the current reactor's world.
///
/// # Panics
/// Outside a reactor.
pub fn wall_clock() -> WallTime {
    WallTime(with_current(|reactor| reactor.wall_clock_nanoseconds()))
}

fn read_clock(clock: libc::clockid_t) -> libc::timespec {
    let mut time = libc::timespec {
        tv_sec: 0,
        tv_nsec: 0,
    };
    // SAFETY: `time` is a valid, writable timespec; the clocks used here exist on every Linux.
    let result = unsafe { libc::clock_gettime(clock, &mut time) };
    assert_eq!(result, 0, "clock_gettime failed for clock {clock}");
    time
}

/// Nanoseconds of the kernel's monotonic clock.
pub(super) fn real_monotonic_nanoseconds() -> u64 {
    let time = read_clock(libc::CLOCK_MONOTONIC);
    time.tv_sec as u64 * 1_000_000_000 + time.tv_nsec as u64
}

/// Nanoseconds since the Unix epoch by the kernel's clock.
pub(super) fn real_wall_nanoseconds() -> i64 {
    let time = read_clock(libc::CLOCK_REALTIME);
    time.tv_sec
        .saturating_mul(1_000_000_000)
        .saturating_add(time.tv_nsec)
}

/// Nanoseconds of CPU time that the calling thread has used.
pub(super) fn thread_cpu_nanoseconds() -> u64 {
    let time = read_clock(libc::CLOCK_THREAD_CPUTIME_ID);
    time.tv_sec as u64 * 1_000_000_000 + time.tv_nsec as u64
}
