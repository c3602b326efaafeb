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

/// Processor time of the calling thread, in user space and in the kernel.
pub fn thread_time() -> Duration {
    let mut usage = MaybeUninit::<libc::rusage>::zeroed();
    // SAFETY: the structure is ours, and getrusage fills it.
    let usage = unsafe {
        libc::getrusage(libc::RUSAGE_THREAD, usage.as_mut_ptr());
        usage.assume_init()
    };
    let span = |time: libc::timeval| {
        Duration::from_micros(time.tv_sec.unsigned_abs() * 1_000_000 + time.tv_usec.unsigned_abs())
    };
    span(usage.ru_utime) + span(usage.ru_stime)
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
        let before = thread_time();
        let begun = std::time::Instant::now();
        while begun.elapsed() < Duration::from_millis(40) {
            std::hint::spin_loop();
        }
        assert!(thread_time() > before);
    }
}
