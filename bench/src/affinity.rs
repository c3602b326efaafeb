//! Which core a thread runs on, and how much processor time it has used.

use std::io;
use std::mem::MaybeUninit;
use std::time::Duration;

/// Pins the calling thread, and what it starts from now on, to one core.
pub fn pin(core: usize) -> io::Result<()> {
    let mut set = MaybeUninit::<libc::cpu_set_t>::zeroed();
    // SAFETY: an all-zero set is a valid empty one, and CPU_SET checks its bound.
    let outcome = unsafe {
        libc::CPU_SET(core, set.assume_init_mut());
        libc::sched_setaffinity(0, size_of::<libc::cpu_set_t>(), set.as_ptr())
    };
    if outcome == 0 {
        Ok(())
    } else {
        Err(io::Error::last_os_error())
    }
}

/// The clock of the processor time that one thread of this process has used. Other threads may read it.
#[derive(Clone, Copy, Debug)]
pub struct ThreadClock(libc::clockid_t);

impl ThreadClock {
    /// The calling thread's.
    pub fn of_this_thread() -> io::Result<ThreadClock> {
        let mut clock = 0;
        // SAFETY: pthread_self names a live thread, and the clock is ours.
        let error = unsafe { libc::pthread_getcpuclockid(libc::pthread_self(), &mut clock) };
        if error == 0 {
            Ok(ThreadClock(clock))
        } else {
            Err(io::Error::from_raw_os_error(error))
        }
    }

    /// Time used in user space and in the kernel; nothing once the thread has ended.
    pub fn time(self) -> io::Result<Duration> {
        let mut time = libc::timespec {
            tv_sec: 0,
            tv_nsec: 0,
        };
        // SAFETY: the structure is ours; a clock that is gone is an error.
        let outcome = unsafe { libc::clock_gettime(self.0, &mut time) };
        if outcome != 0 {
            return Err(io::Error::last_os_error());
        }
        Ok(Duration::from_secs(time.tv_sec.unsigned_abs())
            + Duration::from_nanos(time.tv_nsec.unsigned_abs()))
    }
}

/// Processor time that all threads of this process have used.
pub fn process_time() -> io::Result<Duration> {
    ThreadClock(libc::CLOCK_PROCESS_CPUTIME_ID).time()
}

/// Lets the process hold as many descriptors as the system allows it; the new limit.
pub fn raise_descriptor_limit() -> io::Result<u64> {
    let mut limit = libc::rlimit {
        rlim_cur: 0,
        rlim_max: 0,
    };
    // SAFETY: both calls take a structure of ours.
    let outcome = unsafe {
        libc::getrlimit(libc::RLIMIT_NOFILE, &mut limit);
        limit.rlim_cur = limit.rlim_max;
        libc::setrlimit(libc::RLIMIT_NOFILE, &limit)
    };
    if outcome == 0 {
        Ok(limit.rlim_cur)
    } else {
        Err(io::Error::last_os_error())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn work_shows_in_the_time_of_the_thread() {
        let clock = ThreadClock::of_this_thread().unwrap();
        let before = clock.time().unwrap();
        let begun = std::time::Instant::now();
        while begun.elapsed() < Duration::from_millis(20) {
            std::hint::spin_loop();
        }
        assert!(clock.time().unwrap() > before);
    }
}
