//! Where a mirror's records lie: a journal of the engine, or, in unit tests, memory that can be told to
//! fail, to lose what was not flushed, and to show corruption.

use strata_engine::{EngineError, HeadsOf, Journal, JournalPosition};

use super::record::{PIECE_HEAD_BYTES, PIECE_KIND};

/// Of the pieces of a snapshot a replay needs only to know where they lie.
const HEADS: HeadsOf = HeadsOf {
    content: PIECE_KIND,
    bytes: PIECE_HEAD_BYTES,
};

/// One log partition.
pub(crate) enum Medium {
    Journal(Journal),
    #[cfg(test)]
    Memory(memory::Memory),
}

/// What to do with every record of a replay.
pub(crate) type Visit<'a> = dyn FnMut(JournalPosition, u8, &[u8]) -> Result<(), EngineError> + 'a;

impl Medium {
    pub(crate) fn append(&self, kind: u8, body: &[u8]) -> Result<JournalPosition, EngineError> {
        match self {
            Medium::Journal(journal) => journal.append(kind, body),
            #[cfg(test)]
            Medium::Memory(memory) => memory.append(kind, body),
        }
    }

    pub(crate) async fn flush(&self, up_to: JournalPosition) -> Result<(), EngineError> {
        match self {
            Medium::Journal(journal) => journal.flush(up_to).await,
            #[cfg(test)]
            Medium::Memory(memory) => memory.flush().await,
        }
    }

    pub(crate) async fn read(&self, at: JournalPosition) -> Result<(u8, Vec<u8>), EngineError> {
        match self {
            Medium::Journal(journal) => journal.read(at).await,
            #[cfg(test)]
            Medium::Memory(memory) => memory.read(at),
        }
    }

    /// Reads records that lie close together, in ascending order, and visits each with its place in `places`.
    pub(crate) async fn read_each(
        &self,
        places: &[JournalPosition],
        visit: &mut (dyn FnMut(usize, u8, &[u8]) + '_),
    ) -> Result<(), EngineError> {
        match self {
            Medium::Journal(journal) => journal.read_each(places, visit).await,
            #[cfg(test)]
            Medium::Memory(memory) => {
                for (number, place) in places.iter().enumerate() {
                    let (kind, body) = memory.read(*place)?;
                    visit(number, kind, &body);
                }
                Ok(())
            }
        }
    }

    /// Visits all records; of the pieces of snapshots only the heads, unverified.
    pub(crate) async fn replay(&self, visit: &mut Visit<'_>) -> Result<(), EngineError> {
        match self {
            Medium::Journal(journal) => journal.replay(Some(HEADS), visit).await,
            #[cfg(test)]
            Medium::Memory(memory) => memory.replay(visit),
        }
    }

    pub(crate) async fn trim(&self, below: JournalPosition) -> Result<(), EngineError> {
        match self {
            Medium::Journal(journal) => journal.trim(below).await,
            #[cfg(test)]
            Medium::Memory(memory) => memory.trim(below),
        }
    }

    /// Ends the writer; nothing is appended any more.
    pub(crate) async fn close(&self) {
        match self {
            Medium::Journal(journal) => journal.close().await,
            #[cfg(test)]
            Medium::Memory(_) => {}
        }
    }

    /// Bytes used and all bytes.
    pub(crate) fn space(&self) -> (u64, u64) {
        match self {
            Medium::Journal(journal) => {
                let quota = journal.quota_bytes();
                (quota.saturating_sub(journal.room_bytes()), quota)
            }
            #[cfg(test)]
            Medium::Memory(memory) => memory.space(),
        }
    }
}

#[cfg(test)]
pub(crate) mod memory {
    //! A journal in memory: the test double of the engine's.

    use std::cell::RefCell;
    use std::rc::Rc;

    use strata_engine::{EngineError, JournalPosition};

    use super::{HEADS, Visit};

    #[derive(Default)]
    struct State {
        records: Vec<(u8, Vec<u8>)>,
        trimmed: usize,
        durable: usize,
        flushes: usize,
        failing: bool,
        corrupt: bool,
        capacity: u64,
    }

    /// Clones are the same journal.
    #[derive(Clone, Default)]
    pub(crate) struct Memory(Rc<RefCell<State>>);

    fn failed() -> EngineError {
        EngineError::Failed {
            device: "memory".into(),
            detail: "told to fail".into(),
        }
    }

    fn corrupt() -> EngineError {
        EngineError::Corrupt {
            place: "memory".into(),
            detail: "told to be corrupt".into(),
        }
    }

    impl Memory {
        pub(crate) fn append(&self, kind: u8, body: &[u8]) -> Result<JournalPosition, EngineError> {
            let mut state = self.0.borrow_mut();
            if state.failing {
                return Err(failed());
            }
            state.records.push((kind, body.to_vec()));
            Ok(JournalPosition(state.records.len() as u64 - 1))
        }

        pub(crate) async fn flush(&self) -> Result<(), EngineError> {
            strata_engine::reactor::yield_now().await;
            let mut state = self.0.borrow_mut();
            if state.failing {
                return Err(failed());
            }
            state.durable = state.records.len();
            state.flushes += 1;
            Ok(())
        }

        pub(crate) fn read(&self, at: JournalPosition) -> Result<(u8, Vec<u8>), EngineError> {
            let state = self.0.borrow();
            if state.corrupt {
                return Err(corrupt());
            }
            let at = at.0 as usize;
            assert!(at >= state.trimmed, "record {at} was released");
            state.records.get(at).cloned().ok_or(EngineError::NotFound)
        }

        pub(crate) fn replay(&self, visit: &mut Visit<'_>) -> Result<(), EngineError> {
            let state = self.0.borrow();
            if state.corrupt {
                return Err(corrupt());
            }
            for (at, (kind, body)) in state.records.iter().enumerate().skip(state.trimmed) {
                let body = match *kind {
                    kind if kind == HEADS.content => &body[..body.len().min(HEADS.bytes)],
                    _ => body,
                };
                visit(JournalPosition(at as u64), *kind, body)?;
            }
            Ok(())
        }

        pub(crate) fn trim(&self, below: JournalPosition) -> Result<(), EngineError> {
            let mut state = self.0.borrow_mut();
            assert!(
                below.0 as usize <= state.durable,
                "only durable records may be released"
            );
            state.trimmed = state.trimmed.max(below.0 as usize);
            Ok(())
        }

        pub(crate) fn space(&self) -> (u64, u64) {
            let state = self.0.borrow();
            let used = state
                .records
                .iter()
                .skip(state.trimmed)
                .map(|(_, body)| body.len() as u64)
                .sum();
            (
                used,
                if state.capacity == 0 {
                    1 << 40
                } else {
                    state.capacity
                },
            )
        }

        /// All operations that write fail from here on.
        pub(crate) fn fail(&self, failing: bool) {
            self.0.borrow_mut().failing = failing;
        }

        /// All operations that read say corrupt until it is erased.
        pub(crate) fn corrupt(&self) {
            self.0.borrow_mut().corrupt = true;
        }

        pub(crate) fn erase(&self) {
            let capacity = self.0.borrow().capacity;
            *self.0.borrow_mut() = State {
                capacity,
                ..State::default()
            };
        }

        /// What was not flushed is lost, but for its first `kept` records.
        pub(crate) fn crash(&self, kept: usize) {
            let mut state = self.0.borrow_mut();
            let left = (state.durable + kept).min(state.records.len());
            state.records.truncate(left);
            state.durable = left;
        }

        pub(crate) fn flushes(&self) -> usize {
            self.0.borrow().flushes
        }

        /// Records that have not been released.
        pub(crate) fn held(&self) -> usize {
            let state = self.0.borrow();
            state.records.len() - state.trimmed
        }

        /// A journal with the same records on other media.
        pub(crate) fn copy(&self) -> Memory {
            let state = self.0.borrow();
            Memory(Rc::new(RefCell::new(State {
                records: state.records.clone(),
                trimmed: state.trimmed,
                durable: state.durable,
                ..State::default()
            })))
        }
    }
}
