//! The room in the log, in arithmetic: what is kept for the next snapshot, who may use how much of the rest, how far the
//! namespace may grow, and when a snapshot brings room.
//!
//! Invariant: what frees space, and what a node needs to start, always gets room sooner or later. Either it fits now, or a
//! snapshot under way or what the last one made superfluous will make it fit, or a snapshot is worth making and will.
//!
//! Why. N is what a snapshot of the present rows keeps of the log at most ([`Space::of_snapshot`]: its pieces, the rests of
//! segments that no piece fits into, and the segment that it begins in), M the margin. The namespace grows only while
//! 2 N + M <= all ([`rows_max`]), and commands that free or start leave the rows as they are or fewer. Such a command of which the
//! log takes g needs free >= N + M/4 + g ([`kept`]). If it does not fit, then
//!
//! - more than all - N - M/4 - g >= N + 3M/4 - g is in use. With g <= 11M/16 ([`longest`]) that is more than N + M/16, so a new
//!   snapshot gives more than M/16 back ([`brings_room`]);
//! - the new snapshot fits, since M/4 and N are kept free for it, and after it N + W are in use, W being what has been written
//!   since it was begun. So N + M - W are free, and the command fits as long as W <= M/16.
//!
//! All of it is about bytes in use as the journal counts them: whole segments but for the rest of the open one. It holds only if
//! what lies below the oldest live record is given back once it is superfluous, whatever made it so.

#[cfg(test)]
mod tests;

use std::cell::Cell;

use crate::consensus::log::Space;
use crate::namespace::command::CommandClass;

/// Most room that is kept in the log beyond the next snapshot.
const LOG_MARGIN_BYTES_MAX: u64 = 8 << 20;

/// Room kept in a log beyond the next snapshot: for what is proposed while it is built.
pub(super) fn log_margin(space: &Space) -> u64 {
    (space.all / 8).min(LOG_MARGIN_BYTES_MAX)
}

/// What a command leaves of that room. The last quarter is for what nobody asks room for: the votes and marks of starts, and
/// those of giving space back.
pub(super) fn kept(space: &Space, class: CommandClass) -> u64 {
    match class {
        CommandClass::Grows => log_margin(space),
        CommandClass::Frees | CommandClass::Starts => log_margin(space) / 4,
    }
}

/// The most of the log that a command may take which frees space or is needed to start.
pub(super) fn longest(space: &Space) -> u64 {
    log_margin(space) * 11 / 16
}

/// How many bytes of rows the namespace may have: its last snapshot and the next one are in the log at once, and between
/// them what was proposed meanwhile.
pub(super) fn rows_max(space: &Space) -> u64 {
    space.rows_in(space.all.saturating_sub(log_margin(space)) / 2)
}

/// Whether a snapshot of so many bytes of rows, once it is all that the log holds, leaves markedly more room than there is.
pub(super) fn brings_room(space: &Space, rows: u64) -> bool {
    space.used > space.of_snapshot(rows) + log_margin(space) / 16
}

/// How many bytes of rows the next snapshot may have, as well as it is known without counting them.
///
/// The pages that rows lie in are a bound of their bytes; but deletes leave pages half empty, and what they write of their own takes
/// new ones, so that there may be more pages and fewer rows. So the bound is what it once was, by the pages or by a count, and
/// what commands that grow have added since: by [`rows_max`] it is kept with the pages, and deletes do not raise it.
pub(super) struct Rows {
    pages: Cell<u64>,
    bound: Cell<u64>,
    /// What was added since the state was taken that was counted last.
    grown: Cell<u64>,
}

impl Rows {
    pub(super) fn new() -> Rows {
        Rows {
            pages: Cell::new(0),
            bound: Cell::new(u64::MAX),
            grown: Cell::new(0),
        }
    }

    pub(super) fn bytes(&self) -> u64 {
        self.bound.get()
    }

    /// Bytes of the pages that they lie in.
    pub(super) fn pages(&self) -> u64 {
        self.pages.get()
    }

    /// The pages as they are, which may lack what is `pending`.
    pub(super) fn measured(&self, pages: u64, pending: u64) {
        self.pages.set(pages);
        self.lower(pages.saturating_add(pending));
    }

    /// A command was let in that may add so many.
    pub(super) fn grow(&self, by: u64) {
        for grown in [&self.bound, &self.grown] {
            grown.set(grown.get().saturating_add(by));
        }
    }

    /// The rows of the state as it is are going to be counted, or written as a snapshot; it may lack what is `pending`.
    pub(super) fn state_taken(&self, pending: u64) {
        self.grown.set(pending);
    }

    /// So many that state had.
    pub(super) fn counted(&self, bytes: u64) {
        self.lower(bytes.saturating_add(self.grown.get()));
    }

    fn lower(&self, bound: u64) {
        self.bound.set(self.bound.get().min(bound));
    }
}
