//! What hyper needs to run on the reactor: the stream by readiness and the timer.
//!
//! Invariant: bytes go from the socket straight into hyper's buffer and from hyper's slices straight into the
//! socket; nothing is copied or kept in between. hyper's clock is the reactor's.

use std::io::{self, IoSlice};
use std::pin::Pin;
use std::sync::OnceLock;
use std::task::{Context, Poll};
use std::time::{Duration, Instant as StandardInstant};

use hyper::rt::{Read, ReadBufCursor, Sleep as HyperSleep, Timer, Write};

use super::clock::{now, real_monotonic_nanoseconds};
use super::socket::TcpStream;
use super::timer::{Sleep, sleep};

impl Read for TcpStream {
    fn poll_read(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        mut buffer: ReadBufCursor<'_>,
    ) -> Poll<io::Result<()>> {
        // SAFETY: nothing is read from the slice and no byte of it is made uninitialised.
        let unfilled = unsafe { buffer.as_mut() };
        let count = std::task::ready!(self.poll_read_uninit(context, unfilled))?;
        // SAFETY: the kernel has written so many bytes at the start of the slice.
        unsafe { buffer.advance(count) };
        Poll::Ready(Ok(()))
    }
}

impl Write for TcpStream {
    fn poll_write(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        self.poll_write_slices(context, &[IoSlice::new(bytes)])
    }

    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(self.shutdown_write())
    }

    fn is_write_vectored(&self) -> bool {
        true
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        slices: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        self.poll_write_slices(context, slices)
    }
}

/// Gives hyper the reactor's timers.
#[derive(Clone, Copy, Debug, Default)]
pub struct HyperTimer;

impl HyperSleep for Sleep {}

/// Where the standard library's clock stands when the reactor's shows zero. On this machine both are the kernel's monotonic
/// clock, so that this is also right for an instant that hyper has read by itself.
fn origin() -> StandardInstant {
    static ORIGIN: OnceLock<StandardInstant> = OnceLock::new();
    *ORIGIN.get_or_init(|| {
        let since = Duration::from_nanos(real_monotonic_nanoseconds());
        #[expect(
            clippy::disallowed_methods,
            reason = "hyper counts in instants of the standard library, and this is where they begin"
        )]
        let present = StandardInstant::now();
        present.checked_sub(since).unwrap_or(present)
    })
}

impl Timer for HyperTimer {
    fn sleep(&self, duration: Duration) -> Pin<Box<dyn HyperSleep>> {
        Box::pin(sleep(duration))
    }

    fn sleep_until(&self, deadline: StandardInstant) -> Pin<Box<dyn HyperSleep>> {
        Box::pin(sleep(deadline.saturating_duration_since(self.now())))
    }

    fn now(&self) -> StandardInstant {
        origin() + Duration::from_nanos(now().nanoseconds())
    }

    fn reset(&self, sleep: &mut Pin<Box<dyn HyperSleep>>, deadline: StandardInstant) {
        let after = deadline.saturating_duration_since(self.now());
        match sleep.as_mut().downcast_mut_pin::<Sleep>() {
            Some(mut sleep) => sleep.reset(now() + after),
            None => *sleep = self.sleep(after),
        }
    }
}
