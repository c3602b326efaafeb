//! Mistakes that a test plants in a simulated node, so that it sees whether a checker finds them. Only test builds have this module and the places
//! that ask it.
//!
//! Invariant: a simulated node runs on the thread of its test, so what one test plants no other meets.

use std::cell::Cell;

/// What the node does wrong.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Mistake {
    /// A change of a name is answered before it is committed.
    AnswerBeforeCommit,
    /// A shard is answered for before it is written, which happens a little later.
    AnswerBeforeBarrier,
    /// What no name refers to is not freed.
    OrphansStay,
    /// Repair reports shards as written that it has not written.
    RepairWithoutWriting,
    /// Of what a reader was given a buffer is never given back.
    MemoryStaysHeld,
}

thread_local! {
    static PLANTED: Cell<Option<Mistake>> = const { Cell::new(None) };
}

/// Plants a mistake in what this thread runs from now on, or takes the last one away.
pub(crate) fn plant(mistake: Option<Mistake>) {
    PLANTED.set(mistake);
}

/// Whether this mistake is planted.
pub(crate) fn is(mistake: Mistake) -> bool {
    PLANTED.get() == Some(mistake)
}
