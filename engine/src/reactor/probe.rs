//! Whether io_uring can be used here, and what to do when it cannot.
//!
//! Invariant: every cause that an administrator can remove is an error that names the remedy.

use std::io;

use io_uring::{Probe, opcode};

use super::uring::build_ring;

/// Why a reactor could not run or did not run to its end.
#[derive(Debug, thiserror::Error)]
pub enum ReactorError {
    /// The kernel has no io_uring, or an early one.
    #[error(
        "io_uring is not available: the kernel has no such system call, or not all that is needed of it ({answer}). \
             Remedy: run Linux 6.1 or newer, built with CONFIG_IO_URING; in a sandbox such as gVisor, use a runtime \
             that offers io_uring"
    )]
    KernelTooOld {
        /// The name of the kernel's answer.
        answer: &'static str,
    },
    /// The administrator has switched io_uring off.
    #[error(
        "io_uring is disabled on this machine: kernel.io_uring_disabled is {setting}. Remedy: \
             `sysctl -w kernel.io_uring_disabled=0`, or for 1 add the user's group to kernel.io_uring_group"
    )]
    DisabledBySysctl {
        /// The value of `kernel.io_uring_disabled`.
        setting: u32,
    },
    /// Something between us and the kernel forbids io_uring, mostly a container's seccomp profile.
    #[error(
        "io_uring is forbidden ({answer}) although kernel.io_uring_disabled allows it: most likely the seccomp profile \
             of a container. Remedy: allow io_uring_setup, io_uring_enter and io_uring_register in the profile, or \
             run the container with `--security-opt seccomp=unconfined`"
    )]
    ForbiddenBySeccomp {
        /// The name of the answer.
        answer: &'static str,
    },
    /// The limit of locked memory does not even allow the ring.
    #[error(
        "io_uring could not lock the memory of its ring (ENOMEM). Remedy: raise the limit of locked memory \
             (`ulimit -l unlimited`, LimitMEMLOCK=infinity in a systemd unit)"
    )]
    LockedMemory,
    /// The kernel knows io_uring but not an operation that the reactor needs.
    #[error(
        "io_uring of this kernel lacks the operation {operation}. Remedy: run Linux 6.1 or newer"
    )]
    OperationMissing {
        /// The name of the operation.
        operation: &'static str,
    },
    /// The process has no descriptors left.
    #[error(
        "io_uring could not be set up, the process has no free file descriptor. Remedy: raise `ulimit -n` \
             (LimitNOFILE= in a systemd unit)"
    )]
    Descriptors,
    /// Setting the ring up failed for another reason.
    #[error("io_uring could not be set up: {0}")]
    Setup(#[source] io::Error),
    /// The memory for buffers could not be mapped.
    #[error(
        "the buffer arena of {bytes} bytes could not be mapped: {source}. Remedy: make it smaller or give the \
             process more memory"
    )]
    Arena {
        /// The size asked for.
        bytes: usize,
        /// The kernel's answer.
        source: io::Error,
    },
    /// The thread already runs a reactor.
    #[error("this thread already runs a reactor")]
    Nested,
    /// The thread of a reactor could not be started.
    #[error("the thread {name} of a reactor could not be started: {source}")]
    Thread {
        /// The reactor's name.
        name: String,
        /// The system's answer.
        source: io::Error,
    },
    /// The main task of a reactor on another thread has panicked.
    #[error("the reactor {name} has panicked")]
    Panicked {
        /// The reactor's name.
        name: String,
    },
    /// A simulated run reached the disk operation at which it was told to crash.
    #[error("the simulated machine crashed as planned")]
    Crashed,
    /// A simulated run has tasks but nothing that could ever wake one of them.
    #[error(
        "the simulated run is stuck: no task is ready, no timer waits and no operation is in flight"
    )]
    Stuck,
}

impl ReactorError {
    pub(super) fn from_setup(error: io::Error) -> ReactorError {
        Self::classify(error, sysctl_setting(), is_filtered())
    }

    fn classify(error: io::Error, sysctl: Option<u32>, filtered: bool) -> ReactorError {
        match (error.raw_os_error(), sysctl) {
            // Some profiles answer as a kernel does that has never heard of the call.
            (Some(libc::ENOSYS), _) if filtered => {
                ReactorError::ForbiddenBySeccomp { answer: "ENOSYS" }
            }
            (Some(libc::ENOSYS), _) => ReactorError::KernelTooOld { answer: "ENOSYS" },
            // The flags of the ring are those of Linux 5.19 at least.
            (Some(libc::EINVAL), _) => ReactorError::KernelTooOld { answer: "EINVAL" },
            (Some(libc::EPERM | libc::EACCES), Some(setting)) if setting > 0 => {
                ReactorError::DisabledBySysctl { setting }
            }
            (Some(libc::EPERM | libc::EACCES), _) => {
                ReactorError::ForbiddenBySeccomp { answer: "EPERM" }
            }
            (Some(libc::ENOMEM), _) => ReactorError::LockedMemory,
            (Some(libc::EMFILE | libc::ENFILE), _) => ReactorError::Descriptors,
            _ => ReactorError::Setup(error),
        }
    }
}

/// Whether a seccomp filter looks at the system calls of this thread.
fn is_filtered() -> bool {
    std::fs::read_to_string("/proc/thread-self/status").is_ok_and(|status| {
        status
            .lines()
            .filter_map(|line| line.strip_prefix("Seccomp:"))
            .any(|mode| mode.trim() == "2")
    })
}

fn sysctl_setting() -> Option<u32> {
    let text = std::fs::read_to_string("/proc/sys/kernel/io_uring_disabled").ok()?;
    text.trim().parse().ok()
}

/// The operations without which the reactor cannot work.
const NEEDED: [(u8, &str); 10] = [
    (opcode::Read::CODE, "READ"),
    (opcode::Writev::CODE, "WRITEV"),
    (opcode::ReadFixed::CODE, "READ_FIXED"),
    (opcode::WriteFixed::CODE, "WRITE_FIXED"),
    (opcode::Fsync::CODE, "FSYNC"),
    (opcode::PollAdd::CODE, "POLL_ADD"),
    (opcode::Accept::CODE, "ACCEPT"),
    (opcode::Connect::CODE, "CONNECT"),
    (opcode::Close::CODE, "CLOSE"),
    (opcode::AsyncCancel::CODE, "ASYNC_CANCEL"),
];

/// Checks that io_uring is usable by this process, with a ring as the reactors have it.
///
/// # Errors
/// The cause with its remedy.
pub fn probe() -> Result<(), ReactorError> {
    let ring = build_ring()?;
    let mut probe = Probe::new();
    ring.submitter()
        .register_probe(&mut probe)
        .map_err(ReactorError::from_setup)?;
    match NEEDED.iter().find(|(code, _)| !probe.is_supported(*code)) {
        Some((_, operation)) => Err(ReactorError::OperationMissing { operation }),
        None => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_cause_names_its_remedy() {
        let cases = [
            (libc::ENOSYS, None, "Linux 6.1 or newer"),
            (libc::EINVAL, Some(0), "Linux 6.1 or newer"),
            (libc::EPERM, Some(2), "sysctl -w kernel.io_uring_disabled=0"),
            (libc::EPERM, Some(0), "seccomp"),
            (libc::EPERM, None, "seccomp"),
            (libc::ENOMEM, Some(0), "ulimit -l"),
            (libc::EMFILE, Some(0), "ulimit -n"),
        ];
        for (code, sysctl, remedy) in cases {
            let error = ReactorError::classify(io::Error::from_raw_os_error(code), sysctl, false);
            assert!(error.to_string().contains(remedy), "{error}");
        }
    }

    /// Makes every io_uring_setup of the calling thread fail with the error, as a container's seccomp profile does.
    fn forbid_io_uring(code: i32) {
        const LOAD: u16 = (libc::BPF_LD | libc::BPF_W | libc::BPF_ABS) as u16;
        const JUMP_IF_EQUAL: u16 = (libc::BPF_JMP | libc::BPF_JEQ | libc::BPF_K) as u16;
        const RETURN: u16 = (libc::BPF_RET | libc::BPF_K) as u16;
        let step = |code, jt, jf, k| libc::sock_filter { code, jt, jf, k };
        let mut steps = [
            // The number of the system call lies at the start of seccomp_data.
            step(LOAD, 0, 0, 0),
            step(JUMP_IF_EQUAL, 0, 1, libc::SYS_io_uring_setup as u32),
            step(RETURN, 0, 0, libc::SECCOMP_RET_ERRNO | code as u32),
            step(RETURN, 0, 0, libc::SECCOMP_RET_ALLOW),
        ];
        let program = libc::sock_fprog {
            len: steps.len() as u16,
            filter: steps.as_mut_ptr(),
        };
        // SAFETY: the program lives through the calls, which affect only this thread.
        let result = unsafe {
            libc::prctl(libc::PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0);
            libc::prctl(libc::PR_SET_SECCOMP, libc::SECCOMP_MODE_FILTER, &program)
        };
        assert_eq!(result, 0, "{}", io::Error::last_os_error());
    }

    /// What probing and running say on a thread where io_uring_setup fails with the error.
    #[expect(
        clippy::disallowed_methods,
        reason = "a seccomp filter cannot be taken off a thread again"
    )]
    fn errors_when_forbidden(code: i32) -> Vec<ReactorError> {
        let errors = std::thread::spawn(move || {
            forbid_io_uring(code);
            let config = super::super::ReactorConfig {
                index: 0,
                core: None,
                name: "forbidden".to_string(),
                arena_bytes: 1,
                spin: std::time::Duration::ZERO,
            };
            let ran = super::super::run(config, super::super::World::Real, async || ());
            vec![probe().expect_err("forbidden"), ran.expect_err("forbidden")]
        });
        errors.join().expect("thread")
    }

    #[test]
    fn a_container_that_forbids_io_uring_gets_the_remedy() {
        for (code, answer) in [(libc::EPERM, "EPERM"), (libc::ENOSYS, "ENOSYS")] {
            for error in errors_when_forbidden(code) {
                let forbidden = matches!(error, ReactorError::ForbiddenBySeccomp { .. });
                let text = error.to_string();
                assert!(forbidden && text.contains("seccomp=unconfined"), "{text}");
                assert!(text.contains(answer), "{text}");
            }
        }
    }

    #[test]
    fn a_kernel_that_refuses_the_flags_of_the_ring_is_too_old() {
        for error in errors_when_forbidden(libc::EINVAL) {
            assert!(
                matches!(error, ReactorError::KernelTooOld { .. }),
                "{error}"
            );
            assert!(error.to_string().contains("Linux 6.1 or newer"), "{error}");
        }
    }

    #[test]
    fn this_machine_has_io_uring() {
        probe().expect("the tests need io_uring");
    }
}
