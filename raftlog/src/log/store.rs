//! openraft's log storage on one group's part of the log.
//!
//! `append` returns once the entries are queued on all mirrors and calls back after the barrier; votes
//! and truncations go through the same queue, so they are durable in the order in which they were made.

use std::fmt::Debug;
use std::io;
use std::ops::{Bound, RangeBounds};

use futures_util::future::join_all;
use futures_util::{Stream, stream};
use openraft::storage::{IOFlushed, RaftLogStorage};
use openraft::{LogState, OptionalSend, RaftLogReader};
use strata_engine::JournalPosition;

use super::record::{self, Record};
use super::types::{Entry, LogId, Types, Vote};
use super::{GroupLog, Log, LogError, Waiter};

/// Entries read at once, and handed out at once by a stream.
const READ_BATCH: u64 = 64;

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
        self.with(|group| group.facts.last)
    }

    /// What has been purged.
    pub(crate) fn purged(&self) -> Option<LogId> {
        self.with(|group| group.facts.purged)
    }

    fn find(&self, start: u64, end: u64) -> Vec<Found> {
        self.with(|group| {
            let Some((first, last)) = group.facts.held() else {
                return Vec::new();
            };
            let indexes = start.max(first)..end.min(last);
            indexes
                .map(|index| match group.facts.cached(index) {
                    Some(entry) => Found::Cached(entry),
                    None => Found::At(
                        index,
                        group
                            .tracks
                            .iter()
                            .map(|track| track.entry(index))
                            .collect(),
                    ),
                })
                .collect()
        })
    }

    async fn fetch(&self, found: Found) -> Result<Entry, LogError> {
        let (index, places) = match found {
            Found::Cached(entry) => return Ok(entry),
            Found::At(index, places) => (index, places),
        };
        let check = |kind: u8, body: &[u8]| match record::decode(kind, body) {
            Ok((group, _, Record::Entry(entry)))
                if group == self.group && entry.log_id.index == index =>
            {
                Ok(())
            }
            Ok(_) => Err(format!(
                "another record stands where entry {index} is expected"
            )),
            Err(malformed) => Err(malformed.0),
        };
        let (kind, body) = self.log.0.mirrors.read(&places, check).await?;
        match record::decode(kind, &body) {
            Ok((_, _, Record::Entry(entry))) => Ok(entry),
            _ => Err(LogError::Corrupt(format!(
                "entry {index} changed while it was read"
            ))),
        }
    }

    /// Entries in `start..end` that the log holds.
    async fn entries(&self, start: u64, end: u64) -> Result<Vec<Entry>, LogError> {
        let found = self.find(start, end);
        let mut entries = Vec::with_capacity(found.len());
        let mut rest = found.into_iter().peekable();
        while rest.peek().is_some() {
            let batch = rest
                .by_ref()
                .take(READ_BATCH as usize)
                .map(|found| self.fetch(found));
            for entry in join_all(batch).await {
                entries.push(entry?);
            }
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
        Ok(self.with(|group| group.facts.vote))
    }

    async fn limited_get_log_entries(
        &mut self,
        start: u64,
        end: u64,
    ) -> Result<Vec<Entry>, io::Error> {
        Ok(self
            .entries(start, end.min(start.saturating_add(READ_BATCH)))
            .await?)
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
            let next = end.min(at.saturating_add(READ_BATCH));
            let items: Vec<Result<Entry, io::Error>> = match store.entries(at, next).await {
                Ok(entries) if entries.is_empty() => return None,
                Ok(entries) => entries.into_iter().map(Ok).collect(),
                Err(error) => return Some((stream::iter(vec![Err(error.into())]), (store, end))),
            };
            Some((stream::iter(items), (store, next)))
        });
        futures_util::StreamExt::flatten(batches)
    }
}

impl RaftLogStorage<Types> for LogStore {
    type LogReader = LogStore;

    async fn get_log_state(&mut self) -> Result<LogState<Types>, io::Error> {
        Ok(self.with(|group| LogState {
            last_purged_log_id: group.facts.purged,
            last_log_id: group.facts.last,
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
            group.facts.committed_unwritten |= committed != group.facts.committed;
            group.facts.committed = committed;
        });
        Ok(())
    }

    async fn read_committed(&mut self) -> Result<Option<LogId>, io::Error> {
        Ok(self.with(|group| group.facts.committed))
    }

    async fn append<I>(&mut self, entries: I, callback: IOFlushed<Types>) -> Result<(), io::Error>
    where
        I: IntoIterator<Item = Entry> + OptionalSend,
        I::IntoIter: OptionalSend,
    {
        let unwritten = self.with(|group| {
            group
                .facts
                .committed
                .filter(|_| group.facts.committed_unwritten)
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
