//! Which cores a thread may use.
//!
//! Invariant: the cores the process started with are remembered before the first reactor pins itself, so that
//! helper threads can be given them back.

use std::io;
use std::mem::MaybeUninit;
use std::sync::OnceLock;

static PROCESS_CORES: OnceLock<Option<libc::cpu_set_t>> = OnceLock::new();

fn current_cores() -> Option<libc::cpu_set_t> {
    let mut set = MaybeUninit::<libc::cpu_set_t>::zeroed();
    let size = size_of::<libc::cpu_set_t>();
    // SAFETY: writes at most `size` bytes into a set of that size; thread 0 is the caller.
    let result = unsafe { libc::sched_getaffinity(0, size, set.as_mut_ptr()) };
    // SAFETY: all zeroes is a valid set, and the kernel has filled it.
    (result == 0).then(|| unsafe { set.assume_init() })
}

fn set_current_cores(set: &libc::cpu_set_t) -> io::Result<()> {
    // SAFETY: reads a set of the size given; thread 0 is the caller.
    let result = unsafe { libc::sched_setaffinity(0, size_of::<libc::cpu_set_t>(), set) };
    if result == 0 {
        Ok(())
    } else {
        Err(io::Error::last_os_error())
    }
}

fn process_cores() -> Option<&'static libc::cpu_set_t> {
    PROCESS_CORES.get_or_init(current_cores).as_ref()
}

/// The numbers of the cores that this process may use.
pub fn available_cores() -> Vec<usize> {
    let Some(set) = process_cores() else {
        return vec![0];
    };
    let limit = size_of::<libc::cpu_set_t>() * 8;
    // SAFETY: every number is below the size of the set in bits.
    (0..limit)
        .filter(|&core| unsafe { libc::CPU_ISSET(core, set) })
        .collect()
}

/// Lets the calling thread use every core of the process again.
pub(super) fn unpin() {
    if let Some(set) = process_cores() {
        // A refusal leaves the helper on the core it inherited: slower, not wrong.
        let _ = set_current_cores(set);
    }
}

/// Keeps the calling thread on one core until it is dropped.
pub(super) struct Pinned {
    before: Option<libc::cpu_set_t>,
}

impl Pinned {
    /// Pins the thread. A refusal is a warning: the reactor works anywhere.
    pub(super) fn to_core(core: usize) -> Pinned {
        process_cores();
        let before = current_cores();
        let mut set = MaybeUninit::<libc::cpu_set_t>::zeroed();
        // SAFETY: all zeroes is a valid, empty set; CPU_SET ignores numbers beyond the set.
        let set = unsafe {
            libc::CPU_SET(
                core.min(size_of::<libc::cpu_set_t>() * 8 - 1),
                set.assume_init_mut(),
            );
            set.assume_init()
        };
        if let Err(error) = set_current_cores(&set) {
            tracing::warn!(%error, core, "the reactor could not be pinned to its core");
        }
        Pinned { before }
    }
}

impl Drop for Pinned {
    fn drop(&mut self) {
        if let Some(before) = &self.before {
            let _ = set_current_cores(before);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pinning_is_undone() {
        let cores = available_cores();
        let before = current_cores().expect("affinity");
        let pinned = Pinned::to_core(cores[0]);
        drop(pinned);
        let after = current_cores().expect("affinity");
        // SAFETY: two valid sets.
        assert!(unsafe { libc::CPU_EQUAL(&before, &after) });
    }
}
