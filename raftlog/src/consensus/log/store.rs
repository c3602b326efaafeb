//! openraft's log storage on one group's part of the log.
//!
//! `append` returns once the entries are queued on all mirrors and calls back after the barrier; votes
//! and truncations go through the same queue, so they are durable in the order in which they were made.

use std::fmt::Debug;
use std::io;
use std::ops::{Bound, RangeBounds};

use futures_util::{Stream, stream};
use openraft::storage::{IOFlushed, RaftLogStorage};
use openraft::{LogState, OptionalSend, RaftLogReader};
use strata_engine::JournalPosition;

use super::record::{self, Record};
use super::types::{Entry, LogId, Types, Vote};
use super::{GroupLog, Log, LogError, Space, Waiter};

/// Entries read at once and handed out at once by a stream, and about the most bytes of the log that they lie in.
const READ_ENTRIES: u64 = 256;
const READ_BYTES: u64 = 1 << 20;

/// One group's log. Clones are handles to the same log.
#[derive(Clone)]
pub(crate) struct LogStore {
    pub(super) log: Log,
    pub(super) group: u16,
}

/// An entry as far as it is known without reading.
enum Found {
    Cached(Entry),
    At(u64, Vec<Option<JournalPosition>>),
}

impl LogStore {
    pub(super) fn new(log: Log, group: u16) -> LogStore {
        LogStore { log, group }
    }

    pub(super) fn with<T>(&self, look: impl FnOnce(&mut GroupLog) -> T) -> T {
        let mut groups = self.log.0.groups.borrow_mut();
        let Some(group) = groups.get_mut(&self.group) else {
            unreachable!("the group was made by `group`")
        };
        look(group)
    }

    fn write(&self, record: Record) -> Result<(), LogError> {
        self.log.write(self.group, record)
    }

    /// The last entry, purged or not.
    pub(crate) fn last(&self) -> Option<LogId> {
        self.with(|group| group.state.last)
    }

    /// How full the fullest mirror is.
    pub(crate) fn space(&self) -> Space {
        self.log.space()
    }

    /// What has been purged.
    pub(crate) fn purged(&self) -> Option<LogId> {
        self.with(|group| group.state.purged)
    }

    /// What is known of the entries in `start..end`, as many as are read at once.
    fn find(&self, start: u64, end: u64) -> Vec<Found> {
        self.with(|group| {
            let Some((first, last)) = group.state.held() else {
                return Vec::new();
            };
            let indexes = start.max(first)..end.min(last).min(start.saturating_add(READ_ENTRIES));
            let found = indexes.map(|index| match group.state.cached(index) {
                Some(entry) => Found::Cached(entry),
                None => Found::At(
                    index,
                    group
                        .log_indexes
                        .iter()
                        .map(|log_index| log_index.entry(index))
                        .collect(),
                ),
            });
            let mut from = None;
            found
                .take_while(|found| match found {
                    Found::Cached(_) => true,
                    Found::At(_, places) => {
                        let place = places.iter().flatten().next().map_or(0, |place| place.0);
                        place - *from.get_or_insert(place) < READ_BYTES
                    }
                })
                .collect()
        })
    }

    /// Reads the entries that are not cached with few operations from the first mirror. Those that do not come out whole are
    /// left as they are.
    async fn fetch_together(&self, found: &mut [Found]) {
        let wanted: Vec<(usize, u64, &[Option<JournalPosition>])> = found
            .iter()
            .enumerate()
            .filter_map(|(at, found)| match found {
                Found::At(index, places) => Some((at, *index, &places[..])),
                Found::Cached(_) => None,
            })
            .collect();
        let places: Vec<_> = wanted.iter().map(|(_, _, places)| *places).collect();
        let mut read = Vec::with_capacity(wanted.len());
        let mut take = |number: usize, kind: u8, body: &[u8]| {
            let (at, index, _) = wanted[number];
            read.extend(
                self.entry_of(index, kind, body)
                    .ok()
                    .map(|entry| (at, entry)),
            );
        };
        self.log.0.mirrors.read_each(&places, &mut take).await;
        for (at, entry) in read {
            found[at] = Found::Cached(entry);
        }
    }

    /// The entry that a record holds, which must be that of the index.
    fn entry_of(&self, index: u64, kind: u8, body: &[u8]) -> Result<Entry, String> {
        match record::decode(kind, body) {
            Ok((group, _, Record::Entry(entry)))
                if group == self.group && entry.log_id.index == index =>
            {
                Ok(entry)
            }
            Ok(_) => Err(format!(
                "another record stands where entry {index} is expected"
            )),
            Err(malformed) => Err(malformed.0),
        }
    }

    /// Reads an entry from the first mirror that has it whole.
    async fn fetch(&self, found: Found) -> Result<Entry, LogError> {
        let (index, places) = match found {
            Found::Cached(entry) => return Ok(entry),
            Found::At(index, places) => (index, places),
        };
        let check = |kind: u8, body: &[u8]| self.entry_of(index, kind, body).map(drop);
        let (kind, body) = self.log.0.mirrors.read(&places, check).await?;
        self.entry_of(index, kind, &body)
            .map_err(|_| LogError::Corrupt(format!("entry {index} changed while it was read")))
    }

    /// Entries from `start` on that the log holds, below `end` and as many as are read at once.
    async fn some_entries(&self, start: u64, end: u64) -> Result<Vec<Entry>, LogError> {
        let mut found = self.find(start, end);
        self.fetch_together(&mut found).await;
        let mut entries = Vec::with_capacity(found.len());
        for found in found {
            entries.push(self.fetch(found).await?);
        }
        Ok(entries)
    }

    /// All entries in `start..end` that the log holds.
    async fn entries(&self, start: u64, end: u64) -> Result<Vec<Entry>, LogError> {
        let mut entries = self.some_entries(start, end).await?;
        while let Some(last) = entries.last() {
            let next = last.log_id.index + 1;
            let more = match next < end {
                true => self.some_entries(next, end).await?,
                false => break,
            };
            if more.is_empty() {
                break;
            }
            entries.extend(more);
        }
        Ok(entries)
    }
}

fn bounds(range: &impl RangeBounds<u64>) -> (u64, u64) {
    let start = match range.start_bound() {
        Bound::Included(start) => *start,
        Bound::Excluded(start) => start + 1,
        Bound::Unbounded => 0,
    };
    let end = match range.end_bound() {
        Bound::Included(end) => end + 1,
        Bound::Excluded(end) => *end,
        Bound::Unbounded => u64::MAX,
    };
    (start, end)
}

impl RaftLogReader<Types> for LogStore {
    async fn try_get_log_entries<RB: RangeBounds<u64> + Clone + Debug + OptionalSend>(
        &mut self,
        range: RB,
    ) -> Result<Vec<Entry>, io::Error> {
        let (start, end) = bounds(&range);
        Ok(self.entries(start, end).await?)
    }

    async fn read_vote(&mut self) -> Result<Option<Vote>, io::Error> {
        Ok(self.with(|group| group.state.vote))
    }

    async fn limited_get_log_entries(
        &mut self,
        start: u64,
        end: u64,
    ) -> Result<Vec<Entry>, io::Error> {
        Ok(self.some_entries(start, end).await?)
    }

    /// A batch at a time: what is to be applied after a start may be far larger than memory.
    async fn entries_stream<RB>(
        &mut self,
        range: RB,
    ) -> impl Stream<Item = Result<Entry, io::Error>> + OptionalSend
    where
        RB: RangeBounds<u64> + Clone + Debug + OptionalSend,
    {
        let (start, end) = bounds(&range);
        let batches = stream::unfold((self.clone(), start), move |(store, at)| async move {
            if at >= end {
                return None;
            }
            match store.some_entries(at, end).await {
                Ok(entries) => {
                    let next = entries.last()?.log_id.index + 1;
                    let items: Vec<_> = entries.into_iter().map(Ok).collect();
                    Some((stream::iter(items), (store, next)))
                }
                Err(error) => Some((stream::iter(vec![Err(error.into())]), (store, end))),
            }
        });
        futures_util::StreamExt::flatten(batches)
    }
}

impl RaftLogStorage<Types> for LogStore {
    type LogReader = LogStore;

    async fn get_log_state(&mut self) -> Result<LogState<Types>, io::Error> {
        Ok(self.with(|group| LogState {
            last_purged_log_id: group.state.purged,
            last_log_id: group.state.last,
        }))
    }

    async fn get_log_reader(&mut self) -> LogStore {
        self.clone()
    }

    async fn save_vote(&mut self, vote: &Vote) -> Result<(), io::Error> {
        self.write(Record::Vote(*vote))?;
        Ok(self.log.flush().await?)
    }

    /// Kept in memory and written with the next entries: losing it costs a start some reading, and a
    /// record of its own would cost every put a second flush.
    async fn save_committed(&mut self, committed: Option<LogId>) -> Result<(), io::Error> {
        self.with(|group| {
            group.state.committed_unwritten |= committed != group.state.committed;
            group.state.committed = committed;
        });
        Ok(())
    }

    async fn read_committed(&mut self) -> Result<Option<LogId>, io::Error> {
        Ok(self.with(|group| group.state.committed))
    }

    async fn append<I>(&mut self, entries: I, callback: IOFlushed<Types>) -> Result<(), io::Error>
    where
        I: IntoIterator<Item = Entry> + OptionalSend,
        I::IntoIter: OptionalSend,
    {
        let unwritten = self.with(|group| {
            group
                .state
                .committed
                .filter(|_| group.state.committed_unwritten)
        });
        if let Some(committed) = unwritten {
            self.write(Record::Committed(committed))?;
        }
        let mut last = 0;
        for entry in entries {
            last = entry.log_id.index;
            self.write(Record::Entry(entry))?;
        }
        self.log.wait(Waiter::Raft(callback, self.group, last));
        Ok(())
    }

    async fn truncate_after(&mut self, last_log_id: Option<LogId>) -> Result<(), io::Error> {
        Ok(self.write(Record::Truncate(last_log_id))?)
    }

    /// Only marks them: the space is given back by [`LogStore::release`], after the mark is durable.
    async fn purge(&mut self, log_id: LogId) -> Result<(), io::Error> {
        Ok(self.write(Record::Purge(log_id))?)
    }
}
