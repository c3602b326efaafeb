//! What a machine takes of a thread that does nothing but look at its clock: the control of every bound on how long something may
//! take by processor time. A virtual machine counts what its host takes of a core as time of the thread that was running.
//!
//! Invariant: between two looks the thread calls nothing but the clock and a comparison.

use std::time::{Duration, Instant};

use anyhow::Context as _;
use clap::Args;

use crate::affinity::{self, ThreadClock};
use crate::report::Report;

/// Looks at the processor time between two looks at the other clock.
const LOOKS: usize = 64;

/// Options of `stalls`.
#[derive(Args)]
pub struct Options {
    /// Seconds to look.
    #[arg(long, default_value_t = 60)]
    seconds: u64,
    /// The core to run on.
    #[arg(long, default_value_t = 0)]
    core: usize,
    /// The processor time in microseconds above which a step from one look to the next is counted.
    #[arg(long, default_value_t = 2000)]
    above: u64,
}

/// Looks at the clock of the thread's processor time until the end.
pub fn run(options: &Options) -> anyhow::Result<Report> {
    affinity::pin(options.core).context("pin")?;
    let clock = ThreadClock::of_this_thread()?;
    let above = Duration::from_micros(options.above);
    let end = Instant::now() + Duration::from_secs(options.seconds);
    let (mut longest, mut counted) = (Duration::ZERO, 0);
    let mut last = clock.time()?;
    while Instant::now() < end {
        for _ in 0..LOOKS {
            let now = clock.time()?;
            let step = now - last;
            last = now;
            longest = longest.max(step);
            counted += u64::from(step > above);
        }
    }
    let mut report = Report::default();
    report.number("longest_ms", longest.as_secs_f64() * 1e3);
    report.count("counted", counted);
    Ok(report)
}
