//! The replicated log on the engine's log partitions: entries, votes and snapshots of all groups of a
//! node, mirrored on m + 1 devices.
//!
//! | module | what |
//! |---|---|
//! | `record`, `codec` | the bytes (docs/FORMAT.md, "Log and snapshots") |
//! | `state` | what the records of one group add up to, and where they lie |
//! | `mirrors` | the mirror set: appending to all, losing one, generations |
//! | `recovery` | from partitions to a log: comparing, catching up, rebuilding mirrors |
//! | `store` | openraft's log storage |
//! | `snapshot` | snapshots in the log, and giving space back |
//!
//! Invariants:
//! - records reach every mirror of the current generation in one order, under one numbering; what was
//!   acknowledged is durable on all of them;
//! - before anything is acknowledged with fewer mirrors, the generation that leaves the others out is
//!   durable on every device that can still be reached;
//! - a mirror of an older generation is never read, only rebuilt;
//! - the log is released only below the newest complete snapshot and the purged entries.

mod codec;
mod describe;
mod medium;
mod mirrors;
pub(crate) mod record;
pub(crate) mod recovery;
mod snapshot;
mod state;
mod store;
#[cfg(test)]
mod tests;
mod types;

use std::cell::{Cell, RefCell};
use std::collections::BTreeMap;
use std::future::poll_fn;
use std::io;
use std::rc::{Rc, Weak};
use std::task::{Poll, Waker};

use openraft::rt::{Oneshot, OneshotSender as _};
use openraft::storage::IOFlushed;
use strata_engine::{Device, EngineError, reactor};

use crate::consensus::runtime::{LocalOneshot, OneshotSender};
use mirrors::Mirrors;
use record::Record;
use state::{LogIndex, LogState};

pub use describe::describe;
#[cfg(test)]
pub(crate) use medium::memory::Memory;
#[cfg(test)]
pub(crate) use recovery::Source;
#[cfg(test)]
pub(crate) use tests::on_reactor;

pub(crate) use medium::Space;

pub(crate) use codec::{
    Malformed, decode_membership, decode_state, encode_membership, encode_state,
};
pub(crate) use snapshot::SnapshotBody;
pub(crate) use store::LogStore;
pub(crate) use types::{
    Applied, Entry, LogId, Proposal, SnapshotMeta, StoredMembership, Types, log_id,
};

/// A log partition of a device, for [`Group::start`](crate::consensus::group::Group::start). The device's superblock
/// says whether it is to hold the log; if not, it only witnesses the log's generation.
pub struct LogPartition {
    /// The opened device.
    pub device: Device,
    /// The number of the partition on it.
    pub partition: u16,
}

/// Why the log cannot be opened, written or read.
#[derive(Debug, Clone, thiserror::Error)]
pub enum LogError {
    /// Bytes that were durable are not what they were, and no mirror has them whole.
    #[error("the log is corrupt: {0}")]
    Corrupt(String),
    /// Another version has written it: what it wrote is left as it is.
    #[error("the log has a format that this version does not read: {0}")]
    OtherFormat(String),
    /// The mirrors at hand are older than the newest generation that some device knows.
    #[error("the log's mirrors at hand are stale: {0}")]
    Stale(String),
    /// None of the devices that mirror the log can be reached.
    #[error("no mirror of the log can be reached: {0}")]
    Missing(String),
    /// The log partitions have no room left.
    #[error("the log is full")]
    Full,
    /// The last mirror failed.
    #[error("the log's last mirror failed: {0}")]
    Failed(String),
}

impl From<LogError> for io::Error {
    fn from(error: LogError) -> Self {
        io::Error::other(error)
    }
}

/// What a start found out about the mirrors, for the operator.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct LogReport {
    /// One line for each mirror that was repaired, rebuilt, caught up or left out, and for each damaged block that has cost
    /// nothing.
    pub remarks: Vec<String>,
    /// The generation of the mirror set.
    pub generation: u64,
    /// Mirrors in use.
    pub mirrors: usize,
}

/// Who waits for what was appended to be durable.
enum Waiter {
    Raft(IOFlushed<Types>, u16, u64),
    Task(OneshotSender<Result<(), LogError>>),
}

/// One group's part of the log.
struct GroupLog {
    state: LogState,
    /// One for each mirror slot; those of lost mirrors are no longer read.
    log_indexes: Vec<LogIndex>,
}

struct Inner {
    mirrors: Mirrors,
    groups: RefCell<BTreeMap<u16, GroupLog>>,
    waiting: RefCell<Vec<Waiter>>,
    flusher: RefCell<Option<Waker>>,
    closed: Cell<bool>,
}

/// The log of a node. Clones are handles to the same log.
#[derive(Clone)]
pub struct Log(Rc<Inner>);

impl Log {
    fn new(mirrors: Mirrors, groups: BTreeMap<u16, GroupLog>) -> Log {
        let log = Log(Rc::new(Inner {
            mirrors,
            groups: RefCell::new(groups),
            waiting: RefCell::new(Vec::new()),
            flusher: RefCell::new(None),
            closed: Cell::new(false),
        }));
        let flushing = flush_loop(Rc::downgrade(&log.0));
        reactor::spawn(reactor::TaskClass::Foreground, flushing).detach();
        log
    }

    /// The part of one group, which is empty at first.
    pub(crate) fn group(&self, group: u16) -> LogStore {
        let slots = self.0.mirrors.slot_count();
        self.0
            .groups
            .borrow_mut()
            .entry(group)
            .or_insert_with(|| GroupLog {
                state: LogState::default(),
                log_indexes: (0..slots).map(|_| LogIndex::default()).collect(),
            });
        LogStore::new(self.clone(), group)
    }

    /// Queues a record on all mirrors; it counts from here on, and is durable after the next flush.
    fn write(&self, group: u16, record: Record) -> Result<(), LogError> {
        let number = self.0.mirrors.take_number();
        let body = record.encode(group, number);
        let places = self.0.mirrors.append(record.kind(), &body)?;
        let mut groups = self.0.groups.borrow_mut();
        let Some(entry) = groups.get_mut(&group) else {
            unreachable!("the group was made by `group`")
        };
        for (slot, place) in places.into_iter().enumerate() {
            match place {
                Some(place) => entry.log_indexes[slot]
                    .note(&record, place)
                    .map_err(out_of_order)?,
                // A lost mirror is never read again.
                None => entry.log_indexes[slot] = LogIndex::default(),
            }
        }
        entry.state.note(record, body.len()).map_err(out_of_order)
    }

    /// Durable on all mirrors of the generation, everything queued so far.
    async fn flush(&self) -> Result<(), LogError> {
        let (sender, receiver) = LocalOneshot::channel();
        self.wait(Waiter::Task(sender));
        receiver.await.unwrap_or_else(|_| Err(ended()))
    }

    fn wait(&self, waiter: Waiter) {
        if self.0.closed.get() {
            return self.0.complete(waiter, &Err(ended()));
        }
        self.0.waiting.borrow_mut().push(waiter);
        let flusher = self.0.flusher.borrow_mut().take();
        if let Some(waker) = flusher {
            waker.wake();
        }
    }

    /// How full the fullest mirror is.
    pub(crate) fn space(&self) -> Space {
        self.0.mirrors.space()
    }

    /// The current generation and how many mirrors it has.
    pub(crate) fn generation(&self) -> (u64, usize) {
        self.0.mirrors.generation()
    }

    /// Ends the flusher once everything queued is durable.
    pub(crate) async fn close(&self) -> Result<(), LogError> {
        let flushed = self.flush().await;
        self.0.mirrors.close().await;
        self.0.closed.set(true);
        let flusher = self.0.flusher.borrow_mut().take();
        if let Some(waker) = flusher {
            waker.wake();
        }
        flushed
    }
}

/// A live log never contradicts itself; if it does, the group stops rather than write on.
fn out_of_order(malformed: Malformed) -> LogError {
    LogError::Corrupt(malformed.0)
}

fn ended() -> LogError {
    LogError::Failed("the log was closed".into())
}

/// However the flusher ends, also by a panic: whoever waits for it hears of that, and whoever comes later.
struct FlusherEnds {
    log: Weak<Inner>,
    batch: Vec<Waiter>,
}

impl Drop for FlusherEnds {
    fn drop(&mut self) {
        let Some(inner) = self.log.upgrade() else {
            return;
        };
        inner.closed.set(true);
        let waiting = inner.waiting.take();
        for waiter in std::mem::take(&mut self.batch).into_iter().chain(waiting) {
            inner.complete(waiter, &Err(ended()));
        }
    }
}

/// One flush at a time: while it runs, what is queued gathers for the next.
async fn flush_loop(weak: Weak<Inner>) {
    let mut ends = FlusherEnds {
        log: weak.clone(),
        batch: Vec::new(),
    };
    loop {
        let batch = poll_fn(|context| {
            let Some(inner) = weak.upgrade() else {
                return Poll::Ready(None);
            };
            let batch = inner.waiting.take();
            if !batch.is_empty() {
                return Poll::Ready(Some((inner, batch)));
            }
            if inner.closed.get() {
                return Poll::Ready(None);
            }
            *inner.flusher.borrow_mut() = Some(context.waker().clone());
            Poll::Pending
        });
        let Some((inner, batch)) = batch.await else {
            return;
        };
        ends.batch = batch;
        let result = inner.mirrors.flush().await;
        for waiter in std::mem::take(&mut ends.batch) {
            inner.complete(waiter, &result);
        }
    }
}

impl Inner {
    fn complete(&self, waiter: Waiter, result: &Result<(), LogError>) {
        match waiter {
            Waiter::Raft(callback, group, index) => {
                if let (Ok(()), Some(log)) = (result, self.groups.borrow_mut().get_mut(&group)) {
                    log.state.flushed(index);
                }
                callback.io_completed(result.clone().map_err(io::Error::from));
            }
            // Whoever asked may have gone; the records are durable all the same.
            Waiter::Task(sender) => drop(sender.send(result.clone())),
        }
    }
}

impl Drop for Inner {
    fn drop(&mut self) {
        let flusher = self.flusher.borrow_mut().take();
        if let Some(waker) = flusher {
            waker.wake();
        }
    }
}

/// Whether a mirror with this error can be rebuilt from another.
fn is_corrupt(error: &EngineError) -> bool {
    matches!(error, EngineError::Corrupt { .. })
}
