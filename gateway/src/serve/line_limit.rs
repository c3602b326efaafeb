//! A limit on lines of the log that clients can cause.

use std::cell::Cell;
use std::time::Duration;

use strata_engine::reactor::{self, Instant};

/// The least time between two lines.
const INTERVAL: Duration = Duration::from_secs(1);

/// Lets one line a second pass, and counts the others.
#[derive(Default)]
pub struct LineLimit {
    last: Cell<Option<Instant>>,
    suppressed: Cell<u64>,
}

impl LineLimit {
    /// How many lines were left out before this one; `None` where this one is to be left out too.
    pub fn pass(&self) -> Option<u64> {
        let now = reactor::now();
        let is_early = |last| now.saturating_duration_since(last) < INTERVAL;
        if self.last.get().is_some_and(is_early) {
            self.suppressed.set(self.suppressed.get() + 1);
            return None;
        }
        self.last.set(Some(now));
        Some(self.suppressed.take())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::test_reactor::on_a_reactor;

    #[test]
    fn one_line_a_second_passes_and_the_others_are_counted() {
        let (three, next, last) = on_a_reactor(async || {
            let limit = LineLimit::default();
            let three = [limit.pass(), limit.pass(), limit.pass()];
            reactor::sleep(INTERVAL).await;
            (three, limit.pass(), limit.pass())
        });
        assert_eq!((three, next, last), ([Some(0), None, None], Some(2), None));
    }
}
