//! Where a mirror's records lie: a journal of the engine, or, in unit tests, memory that can be told to
//! fail, to lose what was not flushed, and to show corruption.

use strata_engine::{EngineError, HeadsOf, Journal, JournalPosition};

use super::record::{PIECE_HEAD_BYTES, PIECE_KIND};

/// Of the pieces of a snapshot a replay needs only to know where they lie.
const HEADS: HeadsOf = HeadsOf {
    content: PIECE_KIND,
    bytes: PIECE_HEAD_BYTES,
};

/// A piece of a snapshot is a sixteenth of a segment, within these bounds in bytes: many fit into one.
const PIECE_SHARE: u64 = 16;
const PIECE_BYTES_MIN: u64 = 64 << 10;
const PIECE_BYTES_MAX: u64 = 1 << 20;
/// The last row of a piece goes beyond that.
const PIECE_EXCESS_BYTES: u64 = 64 << 10;
/// A block: what a segment's header takes, and what pads the last record of a flush at most.
const BLOCK_BYTES: u64 = 4096;
/// What the record of a piece takes beside it, at most: a block of padding, its headers, and its share of the manifest.
const PIECE_RECORD_BYTES: u64 = BLOCK_BYTES + 256;
/// What a snapshot takes beside its pieces: the header of its last segment, and what of the manifest is not a piece's share.
const SNAPSHOT_BYTES: u64 = 4 * BLOCK_BYTES;

/// How full a log partition is, in bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Space {
    /// In use, with what lies in a segment before the first record that is still needed.
    pub used: u64,
    pub all: u64,
    /// Length of a segment: no record lies in two, and space comes back by whole ones.
    pub segment: u64,
}

impl Space {
    pub(crate) fn free(&self) -> u64 {
        self.all.saturating_sub(self.used)
    }

    /// Where a piece of a snapshot ends.
    pub(crate) fn piece_bytes(&self) -> u64 {
        (self.segment / PIECE_SHARE).clamp(PIECE_BYTES_MIN, PIECE_BYTES_MAX)
    }

    /// How many bytes of pieces a segment holds at least that has no room for the next one: behind its header, whole records.
    fn filled(&self) -> u64 {
        let piece = self.piece_bytes();
        let longest = piece + PIECE_EXCESS_BYTES + PIECE_RECORD_BYTES;
        let records = self.segment.saturating_sub(BLOCK_BYTES + longest);
        scaled(records, piece, piece + PIECE_RECORD_BYTES).max(1)
    }

    /// What a snapshot with so many bytes of rows keeps of the log, at most: one segment more than it fills, because it
    /// begins anywhere in one, and the space before it in there does not come back; the header of its last segment, and its
    /// manifest.
    pub(crate) fn of_snapshot(&self, rows: u64) -> u64 {
        let filled = scaled(rows, self.segment, self.filled());
        filled.saturating_add(self.segment + SNAPSHOT_BYTES)
    }

    /// What must be free for a snapshot with so many bytes of rows to be written.
    pub(crate) fn room_for(&self, rows: u64) -> u64 {
        self.of_snapshot(rows).saturating_sub(self.filled())
    }

    /// What other records keep of the log that lie among pieces, at most, where all that is known is how much they take with
    /// the rests of the segments that they do not fit into: they too leave segments that end with a rest for a piece.
    pub(crate) fn of_records(&self, bytes: u64) -> u64 {
        scaled(bytes, self.segment, self.filled()).saturating_add(1)
    }

    /// The bytes of rows whose snapshot keeps so much of the log.
    pub(crate) fn rows_in(&self, log_bytes: u64) -> u64 {
        let filled = log_bytes.saturating_sub(self.segment + SNAPSHOT_BYTES);
        scaled(filled, self.filled(), self.segment.max(1))
    }

    /// Whether a segment holds a record with a body of so many bytes.
    pub(crate) fn takes(&self, body_bytes: u64) -> bool {
        body_bytes + 2 * BLOCK_BYTES <= self.segment
    }
}

fn scaled(bytes: u64, by: u64, of: u64) -> u64 {
    let scaled = u128::from(bytes) * u128::from(by) / u128::from(of);
    u64::try_from(scaled).unwrap_or(u64::MAX)
}

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

    /// What was damaged when it was opened and has cost nothing.
    pub(crate) fn mended(&self) -> &[String] {
        match self {
            Medium::Journal(journal) => journal.mended(),
            #[cfg(test)]
            Medium::Memory(_) => &[],
        }
    }

    pub(crate) fn space(&self) -> Space {
        match self {
            Medium::Journal(journal) => {
                let all = journal.quota_bytes();
                Space {
                    used: all.saturating_sub(journal.room_bytes()),
                    all,
                    segment: journal.segment_bytes(),
                }
            }
            #[cfg(test)]
            Medium::Memory(memory) => memory.space(),
        }
    }

    /// Bytes of the log from a place to its end, with headers and padding.
    pub(crate) fn bytes_since(&self, place: JournalPosition) -> u64 {
        match self {
            Medium::Journal(journal) => journal.end().0.saturating_sub(place.0),
            #[cfg(test)]
            Medium::Memory(memory) => memory.bytes_since(place),
        }
    }
}

#[cfg(test)]
pub(crate) mod memory {
    //! A journal in memory: the test double of the engine's.

    use std::cell::RefCell;
    use std::rc::Rc;

    use strata_engine::{EngineError, JournalPosition};

    use super::{HEADS, Space, Visit};

    const CAPACITY_BYTES: u64 = 1 << 40;
    const SEGMENT_BYTES: u64 = 4 << 20;

    struct State {
        /// Kind, body, and the checksum that the body had when it was appended.
        records: Vec<(u8, Vec<u8>, u32)>,
        trimmed: usize,
        durable: usize,
        failing: bool,
        corrupt: bool,
        capacity: u64,
    }

    impl Default for State {
        fn default() -> State {
            State {
                records: Vec::new(),
                trimmed: 0,
                durable: 0,
                failing: false,
                corrupt: false,
                capacity: CAPACITY_BYTES,
            }
        }
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
            let full = self.0.borrow().capacity < CAPACITY_BYTES
                && self.space().free() < body.len() as u64;
            let mut state = self.0.borrow_mut();
            if state.failing {
                return Err(failed());
            }
            if full {
                return Err(EngineError::Full {
                    what: "memory".into(),
                });
            }
            let crc = crc32c::crc32c(body);
            state.records.push((kind, body.to_vec(), crc));
            Ok(JournalPosition(state.records.len() as u64 - 1))
        }

        pub(crate) async fn flush(&self) -> Result<(), EngineError> {
            strata_engine::reactor::yield_now().await;
            let mut state = self.0.borrow_mut();
            if state.failing {
                return Err(failed());
            }
            state.durable = state.records.len();
            Ok(())
        }

        pub(crate) fn read(&self, at: JournalPosition) -> Result<(u8, Vec<u8>), EngineError> {
            let state = self.0.borrow();
            if state.corrupt {
                return Err(corrupt());
            }
            let at = at.0 as usize;
            assert!(at >= state.trimmed, "record {at} was released");
            let (kind, body, crc) = state.records.get(at).ok_or(EngineError::NotFound)?;
            match crc32c::crc32c(body) == *crc {
                true => Ok((*kind, body.clone())),
                false => Err(corrupt()),
            }
        }

        pub(crate) fn replay(&self, visit: &mut Visit<'_>) -> Result<(), EngineError> {
            let state = self.0.borrow();
            if state.corrupt {
                return Err(corrupt());
            }
            for (at, (kind, body, crc)) in state.records.iter().enumerate().skip(state.trimmed) {
                let body = match *kind {
                    kind if kind == HEADS.content => &body[..body.len().min(HEADS.bytes)],
                    _ if crc32c::crc32c(body) != *crc => return Err(corrupt()),
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

        pub(crate) fn space(&self) -> Space {
            let trimmed = self.0.borrow().trimmed as u64;
            Space {
                used: self.bytes_since(JournalPosition(trimmed)),
                all: self.0.borrow().capacity,
                segment: SEGMENT_BYTES,
            }
        }

        pub(crate) fn bytes_since(&self, place: JournalPosition) -> u64 {
            let state = self.0.borrow();
            let records = state.records.iter().skip(place.0 as usize);
            records.map(|(_, body, _)| body.len() as u64).sum()
        }

        /// From here on it holds no more bytes than it does now.
        pub(crate) fn fill(&self) {
            let used = self.space().used;
            self.0.borrow_mut().capacity = used;
        }

        /// All operations that write fail from here on.
        pub(crate) fn fail(&self, failing: bool) {
            self.0.borrow_mut().failing = failing;
        }

        /// All operations that read say corrupt until it is erased.
        pub(crate) fn corrupt(&self) {
            self.0.borrow_mut().corrupt = true;
        }

        /// Changes a byte of the body of a snapshot's piece: of the `number`-th that it holds.
        pub(crate) fn damage_piece(&self, number: usize, at: usize) {
            let mut state = self.0.borrow_mut();
            let trimmed = state.trimmed;
            let held = state.records.iter_mut().skip(trimmed);
            let mut pieces = held.filter(|(kind, ..)| *kind == HEADS.content);
            let (_, body, _) = pieces.nth(number).expect("a piece");
            body[at] ^= 0x10;
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
