//! Signals that end the process politely, or ask it to reload.
//!
//! Invariants: the handler does nothing but store numbers and write to descriptors, which is all that is allowed in
//! one; descriptors of waiters are reused and never closed, so the handler never writes to somebody else's file.

use std::io;
use std::os::fd::RawFd;
use std::sync::atomic::{AtomicBool, AtomicI32, AtomicU32, Ordering};
use std::sync::{Mutex, PoisonError};

use io_uring::{opcode, types};

use super::executor::{Arm, with_current};
use super::operation::{Resources, Sort};

/// A request to end or to reload.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Signal {
    /// SIGTERM: what service managers send.
    Terminate,
    /// SIGINT: control-C.
    Interrupt,
    /// SIGHUP: a terminal that is gone, or a request to reload.
    Hangup,
}

impl Signal {
    fn number(self) -> libc::c_int {
        match self {
            Signal::Terminate => libc::SIGTERM,
            Signal::Interrupt => libc::SIGINT,
            Signal::Hangup => libc::SIGHUP,
        }
    }
}

/// More waiters than a process has reactors and reasons to wait.
const WAITERS_MAX: usize = 256;
const NO_DESCRIPTOR: RawFd = -1;

/// A place of one waiter. Written by waiters, read by the handler.
struct Waiter {
    descriptor: AtomicI32,
    /// The signal waited for; zero when the place is free.
    number: AtomicI32,
}

static WAITERS: [Waiter; WAITERS_MAX] = [const {
    Waiter {
        descriptor: AtomicI32::new(NO_DESCRIPTOR),
        number: AtomicI32::new(0),
    }
}; WAITERS_MAX];
static USED: AtomicU32 = AtomicU32::new(0);
static PLACES: Mutex<Places> = Mutex::new(Places {
    taken: [false; WAITERS_MAX],
});

struct Places {
    taken: [bool; WAITERS_MAX],
}

extern "C" fn handle(number: libc::c_int) {
    let used = USED.load(Ordering::SeqCst) as usize;
    for waiter in &WAITERS[..used.min(WAITERS_MAX)] {
        if waiter.number.load(Ordering::SeqCst) == number {
            let one = 1u64.to_ne_bytes();
            let descriptor = waiter.descriptor.load(Ordering::SeqCst);
            // SAFETY: write is async-signal-safe; the descriptor is an eventfd that is never closed. The interrupted
            // code must not see another errno.
            unsafe {
                let errno = *libc::__errno_location();
                libc::write(descriptor, one.as_ptr().cast(), one.len());
                *libc::__errno_location() = errno;
            }
        }
    }
}

fn install(signal: Signal) -> io::Result<()> {
    static INSTALLED: [AtomicBool; 3] = [const { AtomicBool::new(false) }; 3];
    let installed = &INSTALLED[signal as usize];
    if installed.load(Ordering::SeqCst) {
        return Ok(());
    }
    // SAFETY: all zeroes is a valid sigaction; the handler does only what a handler may, and lives forever.
    let result = unsafe {
        let mut action: libc::sigaction = std::mem::zeroed();
        action.sa_sigaction = handle as extern "C" fn(libc::c_int) as usize;
        action.sa_flags = libc::SA_RESTART;
        libc::sigaction(signal.number(), &action, std::ptr::null_mut())
    };
    if result != 0 {
        return Err(io::Error::last_os_error());
    }
    installed.store(true, Ordering::SeqCst);
    Ok(())
}

/// A place among the waiters, free again when dropped.
struct Place {
    index: usize,
}

impl Place {
    fn take(signal: Signal) -> io::Result<Place> {
        let mut places = PLACES.lock().unwrap_or_else(PoisonError::into_inner);
        let index = places
            .taken
            .iter()
            .position(|taken| !taken)
            .ok_or_else(|| io::Error::other("too many tasks wait for signals"))?;
        let waiter = &WAITERS[index];
        if waiter.descriptor.load(Ordering::SeqCst) == NO_DESCRIPTOR {
            // SAFETY: eventfd takes two numbers and returns a new descriptor or -1.
            let descriptor = unsafe { libc::eventfd(0, libc::EFD_NONBLOCK | libc::EFD_CLOEXEC) };
            if descriptor < 0 {
                return Err(io::Error::last_os_error());
            }
            waiter.descriptor.store(descriptor, Ordering::SeqCst);
        }
        places.taken[index] = true;
        USED.fetch_max(index as u32 + 1, Ordering::SeqCst);
        let place = Place { index };
        place.clear();
        waiter.number.store(signal.number(), Ordering::SeqCst);
        Ok(place)
    }

    fn descriptor(&self) -> RawFd {
        WAITERS[self.index].descriptor.load(Ordering::SeqCst)
    }

    fn clear(&self) {
        let mut count = [0u8; 8];
        // SAFETY: reads eight bytes into a local array from an eventfd that does not block.
        unsafe { libc::read(self.descriptor(), count.as_mut_ptr().cast(), count.len()) };
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        WAITERS[self.index].number.store(0, Ordering::SeqCst);
        let mut places = PLACES.lock().unwrap_or_else(PoisonError::into_inner);
        places.taken[self.index] = false;
    }
}

/// Waits for the signal, which from the first call on does not end the process by itself any more. In the simulated world
/// none ever comes.
///
/// # Errors
/// What the system says.
pub async fn signal(signal: Signal) -> io::Result<()> {
    if with_current(|reactor| matches!(reactor.arm, Arm::Simulated(_))) {
        return std::future::pending().await;
    }
    let place = Place::take(signal)?;
    install(signal)?;
    let poll = opcode::PollAdd::new(types::Fd(place.descriptor()), libc::POLLIN as u32);
    let operation = with_current(|reactor| {
        reactor
            .driver()
            .borrow_mut()
            .start(poll.build(), Sort::Other, Resources::Nothing)
    });
    let result = operation.await.result;
    drop(place);
    if result < 0 {
        Err(io::Error::from_raw_os_error(-result))
    } else {
        Ok(())
    }
}
