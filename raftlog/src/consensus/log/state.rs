//! The log state of a group, which its records add up to, and the log index, which says where on one mirror its live records
//! lie. Both are fed the same records in the same order, when they are written and when they
//! are replayed; a record that contradicts what came before it is an error.

use std::collections::VecDeque;

use openraft::EntryPayload;
use strata_engine::JournalPosition;

use super::codec::Malformed;
use super::record::{Manifest, Record};
use super::types::{Entry, LogId, Vote};

/// Recent entries kept in memory, in bytes of their records.
const CACHE_BYTES: usize = 16 << 20;

/// The state of one group's log, but for the places of its records.
#[derive(Default)]
pub(crate) struct LogState {
    pub vote: Option<Vote>,
    pub committed: Option<LogId>,
    /// `committed` is newer than its last record.
    pub committed_unwritten: bool,
    pub purged: Option<LogId>,
    /// The last entry's id, or `purged` where there is none.
    pub last: Option<LogId>,
    /// The index of the first entry that the log holds, while it holds any.
    first: u64,
    pub snapshot: Option<Manifest>,
    /// The largest number any snapshot has had.
    pub snapshot_number: u64,
    /// Records of entries since the last manifest.
    pub entries_since_snapshot: u64,
    /// Contiguous, ends with the last entry.
    cache: VecDeque<(Entry, usize)>,
    cache_bytes: usize,
    /// Entries up to here are durable and may leave the cache.
    flushed: u64,
}

impl LogState {
    /// Takes in a record of `bytes` length.
    pub(crate) fn note(&mut self, record: Record, bytes: usize) -> Result<(), Malformed> {
        match record {
            Record::Entry(entry) => return self.note_entry(entry, bytes),
            Record::Vote(vote) => self.vote = Some(vote),
            Record::Truncate(after) => self.truncate(after),
            Record::Purge(id) => self.purge(id),
            Record::Committed(id) => {
                self.committed = Some(id);
                self.committed_unwritten = false;
            }
            Record::Piece(piece) => self.snapshot_number = self.snapshot_number.max(piece.snapshot),
            Record::Manifest(manifest) => {
                self.snapshot_number = self.snapshot_number.max(manifest.snapshot);
                self.snapshot = Some(manifest);
                self.entries_since_snapshot = 0;
            }
            Record::Generation(_) => {}
        }
        Ok(())
    }

    fn note_entry(&mut self, entry: Entry, bytes: usize) -> Result<(), Malformed> {
        if let Some(last) = &self.last
            && entry.log_id.index != last.index + 1
        {
            return Err(Malformed(format!(
                "entry {} follows entry {last}",
                entry.log_id
            )));
        }
        if self.held().is_none() {
            self.first = entry.log_id.index;
        }
        self.last = Some(entry.log_id);
        self.entries_since_snapshot += 1;
        self.cache_bytes += bytes;
        self.cache.push_back((entry, bytes));
        self.shrink_cache();
        Ok(())
    }

    /// In a replay: whether entries below `index` have been released although no mark here says so.
    /// That happens where a mark older than the release has stayed; the newer mark comes later, and
    /// [`check`](LogState::check) misses it if it does not.
    pub(crate) fn lacks_before(&self, index: u64) -> bool {
        self.purged.is_some() && self.last.is_some_and(|last| last.index + 1 < index)
    }

    /// Forgets all entries, so that any may follow.
    pub(crate) fn forget_entries(&mut self) {
        self.last = None;
        self.cache.clear();
        self.cache_bytes = 0;
    }

    fn truncate(&mut self, after: Option<LogId>) {
        let keep = after.map_or(0, |id| id.index + 1);
        // Where no entry is held there is none to keep either: those that the record speaks of have been released.
        if self.last.is_none_or(|last| last.index < keep) {
            return;
        }
        self.last = after.max(self.purged);
        while self
            .cache
            .back()
            .is_some_and(|(entry, _)| entry.log_id.index >= keep)
        {
            self.cache_bytes -= self.cache.pop_back().map_or(0, |(_, bytes)| bytes);
        }
    }

    fn purge(&mut self, id: LogId) {
        if self.purged.is_some_and(|purged| purged >= id) {
            return;
        }
        self.purged = Some(id);
        self.first = self.first.max(id.index + 1);
        self.last = self.last.max(Some(id));
        while self
            .cache
            .front()
            .is_some_and(|(entry, _)| entry.log_id.index <= id.index)
        {
            self.cache_bytes -= self.cache.pop_front().map_or(0, |(_, bytes)| bytes);
        }
    }

    /// Entries up to `index` are durable.
    pub(crate) fn flushed(&mut self, index: u64) {
        self.flushed = self.flushed.max(index);
        self.shrink_cache();
    }

    fn shrink_cache(&mut self) {
        while self.cache_bytes > CACHE_BYTES
            && self
                .cache
                .front()
                .is_some_and(|(entry, _)| entry.log_id.index <= self.flushed)
        {
            self.cache_bytes -= self.cache.pop_front().map_or(0, |(_, bytes)| bytes);
        }
    }

    /// Everything replayed is durable.
    pub(crate) fn all_flushed(&mut self) {
        self.flushed(self.last.map_or(0, |last| last.index));
    }

    /// Indexes of the entries that the log holds: first, and one past the last.
    pub(crate) fn held(&self) -> Option<(u64, u64)> {
        let end = self.last?.index + 1;
        (self.first < end).then_some((self.first, end))
    }

    /// A cached entry; its payload is shared, not copied.
    pub(crate) fn cached(&self, index: u64) -> Option<Entry> {
        let first = self.cache.front()?.0.log_id.index;
        let at = usize::try_from(index.checked_sub(first)?).ok()?;
        self.cache.get(at).map(|(entry, _)| clone_entry(entry))
    }

    /// What must hold once all records have been replayed.
    pub(crate) fn check(&self) -> Result<(), Malformed> {
        match (&self.purged, self.held()) {
            (Some(purged), Some((first, _))) if first != purged.index + 1 => Err(Malformed(
                format!("entries begin at {first} but are purged up to {purged}"),
            )),
            _ => Ok(()),
        }
    }
}

fn clone_entry(entry: &Entry) -> Entry {
    let payload = match &entry.payload {
        EntryPayload::Blank => EntryPayload::Blank,
        EntryPayload::Normal(proposal) => EntryPayload::Normal(proposal.clone()),
        EntryPayload::Membership(membership) => EntryPayload::Membership(membership.clone()),
    };
    Entry {
        log_id: entry.log_id,
        payload,
    }
}

/// Where a complete snapshot lies.
#[derive(Clone, Debug, Default)]
pub(crate) struct SnapshotTrack {
    pub manifest: JournalPosition,
    pub pieces: Vec<JournalPosition>,
}

/// Where one group's live records lie on one mirror.
#[derive(Default)]
pub(crate) struct LogIndex {
    /// The index of the first place.
    first: u64,
    entries: VecDeque<JournalPosition>,
    pub vote: Option<JournalPosition>,
    pub purge: Option<JournalPosition>,
    pub committed: Option<JournalPosition>,
    pub snapshot: Option<SnapshotTrack>,
    /// A snapshot whose manifest has not been seen: its number and the places of its pieces so far.
    building: Option<(u64, Vec<JournalPosition>)>,
}

impl LogIndex {
    pub(crate) fn note(
        &mut self,
        record: &Record,
        place: JournalPosition,
    ) -> Result<(), Malformed> {
        match record {
            Record::Entry(entry) => return self.note_entry(entry.log_id.index, place),
            Record::Vote(_) => self.vote = Some(place),
            Record::Truncate(after) => {
                let keep = after.as_ref().map_or(0, |id| id.index + 1);
                self.entries.truncate(
                    usize::try_from(keep.saturating_sub(self.first)).unwrap_or(usize::MAX),
                );
            }
            Record::Purge(id) => {
                self.purge = Some(place);
                let gone = (id.index + 1).saturating_sub(self.first);
                let gone = usize::try_from(gone)
                    .unwrap_or(usize::MAX)
                    .min(self.entries.len());
                self.entries.drain(..gone);
                self.first += gone as u64;
            }
            Record::Committed(_) => self.committed = Some(place),
            Record::Piece(piece) => self.note_piece(piece.snapshot, piece.number, place),
            Record::Manifest(manifest) => self.note_manifest(manifest, place),
            Record::Generation(_) => {}
        }
        Ok(())
    }

    fn note_entry(&mut self, index: u64, place: JournalPosition) -> Result<(), Malformed> {
        if self.entries.is_empty() {
            self.first = index;
        }
        let expected = self.first + self.entries.len() as u64;
        if index != expected {
            return Err(Malformed(format!(
                "entry {index} stands where {expected} is expected"
            )));
        }
        self.entries.push_back(place);
        Ok(())
    }

    fn note_piece(&mut self, snapshot: u64, number: u32, place: JournalPosition) {
        if number == 0 {
            self.building = Some((snapshot, vec![place]));
            return;
        }
        match &mut self.building {
            Some((building, places))
                if *building == snapshot && places.len() == number as usize =>
            {
                places.push(place);
            }
            // The front of an old snapshot has been released, or a new one was given up.
            _ => self.building = None,
        }
    }

    fn note_manifest(&mut self, manifest: &Manifest, place: JournalPosition) {
        let pieces = match self.building.take() {
            Some((number, pieces)) if number == manifest.snapshot => pieces,
            _ => Vec::new(),
        };
        if pieces.len() == manifest.pieces.len() {
            self.snapshot = Some(SnapshotTrack {
                manifest: place,
                pieces,
            });
        }
    }

    /// Forgets all entries, so that any may follow.
    pub(crate) fn forget_entries(&mut self) {
        self.entries.clear();
    }

    /// A snapshot that is being written was given up.
    pub(crate) fn forget_building(&mut self) {
        self.building = None;
    }

    /// Where the log begins that the newest snapshot does not hold, about.
    pub(crate) fn behind_snapshot(&self) -> Option<JournalPosition> {
        let snapshot = self.snapshot.as_ref().map(|snapshot| snapshot.manifest);
        snapshot.or_else(|| self.oldest())
    }

    pub(crate) fn entry(&self, index: u64) -> Option<JournalPosition> {
        let at = usize::try_from(index.checked_sub(self.first)?).ok()?;
        self.entries.get(at).copied()
    }

    /// All live places, in the order in which they were written.
    pub(crate) fn live(&self) -> Vec<JournalPosition> {
        let mut places: Vec<_> = [self.vote, self.purge, self.committed]
            .into_iter()
            .flatten()
            .collect();
        places.extend(&self.entries);
        if let Some(snapshot) = &self.snapshot {
            places.extend(&snapshot.pieces);
            places.push(snapshot.manifest);
        }
        places.sort_unstable();
        places
    }

    /// The oldest place that must stay when votes and marks have been written anew.
    pub(crate) fn oldest(&self) -> Option<JournalPosition> {
        let snapshot = self.snapshot.as_ref().map(|snapshot| {
            snapshot
                .pieces
                .iter()
                .copied()
                .min()
                .map_or(snapshot.manifest, |piece| piece.min(snapshot.manifest))
        });
        let building = self
            .building
            .as_ref()
            .and_then(|(_, places)| places.first().copied());
        [self.entries.front().copied(), snapshot, building]
            .into_iter()
            .flatten()
            .min()
    }
}
