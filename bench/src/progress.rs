//! What a run has done so far, shown on standard error while it goes on: every second on a terminal, in one line that is
//! written over, else every ten seconds.
//!
//! Invariants: counting costs two relaxed additions; nothing of it reaches standard output; a standard error that nobody reads
//! stops no run.

use std::io::{IsTerminal as _, Write as _, stderr};
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::sync::mpsc::{RecvTimeoutError, Sender, channel};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

/// How often on a terminal.
const TERMINAL_INTERVAL: Duration = Duration::from_secs(1);
/// How often elsewhere.
const LOG_INTERVAL: Duration = Duration::from_secs(10);

static OPERATIONS: AtomicU64 = AtomicU64::new(0);
static BYTES: AtomicU64 = AtomicU64::new(0);

/// Counts an operation that has ended.
pub fn count(bytes: u64) {
    OPERATIONS.fetch_add(1, Relaxed);
    BYTES.fetch_add(bytes, Relaxed);
}

/// Shows progress until it is dropped.
pub struct Shown {
    end: Option<Sender<()>>,
    thread: Option<JoinHandle<()>>,
}

/// Begins to show progress.
pub fn show() -> Shown {
    let terminal = stderr().is_terminal();
    let (end, ended) = channel();
    let thread = std::thread::spawn(move || {
        let interval = if terminal {
            TERMINAL_INTERVAL
        } else {
            LOG_INTERVAL
        };
        let begun = Instant::now();
        let mut before = (0, 0);
        while ended.recv_timeout(interval) == Err(RecvTimeoutError::Timeout) {
            let present = (OPERATIONS.load(Relaxed), BYTES.load(Relaxed));
            let text = line(begun.elapsed(), interval, before, present);
            let _ = match terminal {
                true => write!(stderr(), "\r\x1b[K{text}"),
                false => writeln!(stderr(), "strata-bench: {text}"),
            };
            before = present;
        }
        if terminal {
            let _ = write!(stderr(), "\r\x1b[K");
        }
    });
    Shown {
        end: Some(end),
        thread: Some(thread),
    }
}

impl Drop for Shown {
    fn drop(&mut self) {
        drop(self.end.take());
        if let Some(thread) = self.thread.take() {
            // It only prints: a failure of it says nothing about the run.
            let _ = thread.join();
        }
    }
}

/// What is shown: the time since the start, and what the last interval did.
fn line(elapsed: Duration, interval: Duration, before: (u64, u64), present: (u64, u64)) -> String {
    let seconds = interval.as_secs_f64();
    format!(
        "{} s, {} operations, now {:.0} a second and {:.1} MiB/s",
        elapsed.as_secs(),
        present.0,
        (present.0 - before.0) as f64 / seconds,
        (present.1 - before.1) as f64 / seconds / f64::from(1 << 20)
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_line_tells_the_last_interval() {
        let (elapsed, interval) = (Duration::from_millis(20_500), Duration::from_secs(10));
        let text = line(elapsed, interval, (1000, 0), (1500, 20 << 20));
        assert_eq!(text, "20 s, 1500 operations, now 50 a second and 2.0 MiB/s");
    }
}
