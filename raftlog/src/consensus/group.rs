//! A Raft group on one node: the log, the namespace it is applied to, and openraft between them.
//!
//! Invariants:
//! - no openraft type leaves this crate; proposers see bytes, answers and [`ProposeError`];
//! - the log is opened apart from the groups that share it; a group that leads has applied an entry of its own term, so that
//!   what it answers holds everything that was ever acknowledged;
//! - the log is purged only up to the older of the last durable checkpoint and the newest snapshot;
//! - whatever fails in log or state machine stops the group; nothing is skipped, and every later
//!   proposal is answered with the cause.

mod housekeeping;
mod machine;
mod propose;
mod room;
mod sender;
mod statistics;
#[cfg(test)]
mod suite;

use std::cell::{Cell, RefCell};
use std::collections::BTreeMap;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use openraft::rt::WatchReceiver as _;
use openraft::{BasicNode, Raft, SnapshotPolicy};
use strata_engine::reactor::{self, Task, TaskClass};

use crate::consensus::log::{Log, LogError, LogId, LogStore, Space, Types};
use crate::namespace::command::FEATURE_LEVEL;
use crate::namespace::store::{NamespaceStore, StoreError};
use machine::Machine;
use propose::Growth;
pub use sender::Sender;
pub use statistics::{GroupStatistics, NamespaceFull};

/// Longest proposal, in bytes: a batch delete of 1,000 keys of 1 KiB fits.
pub const PROPOSAL_BYTES_MAX: usize = 2 << 20;

/// A namespace with less room than this counts as full: a little more than a name takes with the longest body beside it.
const ROOM_BYTES_MIN: i64 = 64 << 10;

/// How a group runs.
#[derive(Debug, Clone)]
pub struct GroupConfig {
    /// The group's number.
    pub group: u16,
    /// This node's id in it.
    pub node: u64,
    /// Mirrors of its log at most (m + 1), of the devices that were formatted as such: for whoever opens the log.
    pub mirrors: usize,
    /// A checkpoint is made this long after the last, if anything was applied.
    pub checkpoint_interval: Duration,
    /// Or when this many entries were applied.
    pub checkpoint_entries: u64,
    /// A snapshot is made when the log since the last has more bytes than this, and than the last.
    pub snapshot_log_bytes: u64,
    /// Or when it has this many entries (the places of all of them are in memory).
    pub snapshot_entries: u64,
    /// Proposals that may wait for their answers at once.
    pub outstanding_max: usize,
}

impl GroupConfig {
    /// The settings of a server.
    pub fn new(group: u16, node: u64, mirrors: usize) -> GroupConfig {
        GroupConfig {
            group,
            node,
            mirrors,
            checkpoint_interval: Duration::from_secs(5),
            // A start applies what came after: with a cold cache, 5,000 entries take about half a second.
            checkpoint_entries: 5_000,
            snapshot_log_bytes: 1 << 30,
            snapshot_entries: 2_000_000,
            outstanding_max: 4096,
        }
    }
}

/// Why a group cannot start.
#[derive(Debug, thiserror::Error)]
pub enum GroupError {
    /// The log cannot be opened.
    #[error(transparent)]
    Log(#[from] LogError),
    /// The namespace store failed.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// Log, snapshot and namespace do not belong together.
    #[error("the group's state is incomplete: {0}")]
    Incomplete(String),
    /// It stopped while it started.
    #[error("the group stopped: {0}")]
    Stopped(String),
}

/// Why a proposal has no answer.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ProposeError {
    /// Too many proposals wait, or the log is being shortened; it was not proposed. Try again later.
    #[error("too many proposals are waiting")]
    Busy,
    /// Log or namespace have no room for it; it was not proposed.
    #[error("no room: {0}")]
    Full(String),
    /// The command cannot be proposed: it is too long, or needs a feature level that is not activated or that this node does
    /// not follow. It was not proposed.
    #[error("the command cannot be proposed: {0}")]
    Invalid(String),
    /// The group has stopped, or cannot commit. Whether the proposal was committed is unknown;
    /// proposing the same sequence again, after a start, gets the first answer.
    #[error("the group is not available: {0}")]
    Unavailable(String),
}

/// Why proposals find no room in the log, and no snapshot will give them any.
struct Blocked {
    why: String,
    /// Also those that free space or are needed to start: it was known that some have found none.
    all: bool,
}

/// What the parts of a group on this reactor share.
struct Shared {
    store: NamespaceStore,
    log: LogStore,
    /// Why the group stopped, in the words of the part that failed first.
    failure: RefCell<Option<String>>,
    /// A snapshot is being built.
    building: Cell<bool>,
    /// Bytes of rows that the next snapshot may have.
    rows: room::Rows,
    /// Bytes of the snapshot being built that are in the log already.
    snapshot_written: Cell<u64>,
    /// The last entry in the last snapshot that was built in this life.
    snapshot_built: Cell<Option<LogId>>,
    /// Why a due snapshot cannot be built.
    snapshot_blocked: RefCell<Option<Blocked>>,
    /// What frees space or is needed to start has found no room since housekeeping last looked.
    starved: Cell<bool>,
    /// Bytes of the namespace's map that may still be used before writes are refused.
    map_room: Cell<i64>,
    /// Whether it is the file system that ends that room, and not the map.
    disk_ends_room: Cell<bool>,
    /// What was agreed on waits until the file system has room for it.
    waits_for_disk: Cell<bool>,
    /// Bytes of the map that what frees may use: a half of the last part, and all that is free before it.
    reserve_room: Cell<u64>,
    /// The feature level that the group has activated.
    level: Cell<u16>,
    /// What the proposals without an answer may still take: log, map and snapshot do not show it yet.
    pending: Cell<Growth>,
    /// Bytes of the file system below the namespace that are free.
    disk_free: Cell<u64>,
    /// Bytes of the namespace's file when the snapshot that is being built was begun.
    snapshot_allocated: Cell<u64>,
    /// The snapshot that is being built keeps the pages that writes would use again, and the map ends.
    pinned: Cell<bool>,
    /// The map is so full that writes are slowed.
    slowed: Cell<bool>,
    /// Housekeeping is to end.
    stopping: Cell<bool>,
    statistics: Arc<GroupStatistics>,
}

impl Shared {
    fn new(store: NamespaceStore, log: LogStore) -> Shared {
        Shared {
            store,
            log,
            failure: RefCell::new(None),
            building: Cell::new(false),
            rows: room::Rows::new(),
            snapshot_written: Cell::new(0),
            snapshot_built: Cell::new(None),
            snapshot_blocked: RefCell::new(None),
            starved: Cell::new(false),
            map_room: Cell::new(0),
            disk_ends_room: Cell::new(false),
            waits_for_disk: Cell::new(false),
            reserve_room: Cell::new(0),
            level: Cell::new(FEATURE_LEVEL),
            pending: Cell::new(Growth::default()),
            disk_free: Cell::new(u64::MAX),
            snapshot_allocated: Cell::new(0),
            pinned: Cell::new(false),
            slowed: Cell::new(false),
            stopping: Cell::new(false),
            statistics: Arc::new(GroupStatistics::default()),
        }
    }

    /// Bytes that the log must still have free for the snapshot that is being built, or for the next one, when the
    /// namespace has grown by so much.
    fn snapshot_need(&self, space: &Space, growth: u64) -> u64 {
        let rows = self.rows.bytes();
        let left = rows.saturating_sub(self.snapshot_written.get());
        space.of_snapshot(left.saturating_add(growth))
    }

    /// What ends the room of the namespace, in the map or below it.
    fn end_of_room(&self) -> NamespaceFull {
        match self.disk_ends_room.get() || self.waits_for_disk.get() {
            true => NamespaceFull::FileSystem {
                directory: self.store.directory().to_owned(),
            },
            false => NamespaceFull::Map,
        }
    }

    /// Shows whether the namespace is full, and of what.
    fn publish_full(&self) {
        let full = self.map_room.get() < ROOM_BYTES_MIN || self.waits_for_disk.get();
        let full = full.then(|| self.end_of_room());
        self.statistics.set_namespace_full(full);
    }

    fn fail(&self, cause: &dyn std::fmt::Display) {
        let mut failure = self.failure.borrow_mut();
        if failure.is_none() {
            tracing::error!(%cause, "the group stops");
            *failure = Some(cause.to_string());
            // A second failure keeps the words of the first.
            let _ = self.statistics.failure.set(cause.to_string());
        }
    }

    /// Takes note of the feature level that is activated; before a cluster is initialised it is the newest.
    fn read_level(&self) -> Result<(), StoreError> {
        let state = self.store.view()?.group()?;
        let newest = self.store.newest_level();
        self.level
            .set(state.map_or(newest, |state| state.feature_level));
        Ok(())
    }

    fn cause(&self, otherwise: &dyn std::fmt::Display) -> String {
        self.failure
            .borrow()
            .clone()
            .unwrap_or_else(|| otherwise.to_string())
    }
}

struct Inner {
    config: GroupConfig,
    log: Log,
    shared: Rc<Shared>,
    raft: Raft<Types, Machine>,
    outstanding: Cell<usize>,
    /// The last time that was stamped, in nanoseconds since the Unix epoch.
    stamped: Cell<i64>,
    housekeeping: RefCell<Option<Task<()>>>,
    /// The verification of what the start of the namespace left unverified.
    verifying: RefCell<Option<Task<()>>>,
}

/// A group that serves. Clones are handles to it; it lives on the reactor that started it.
#[derive(Clone)]
pub struct Group(Rc<Inner>);

impl Group {
    /// Starts the group on its part of a log and on its namespace. It follows until it is told to [`lead`](Group::lead).
    ///
    /// # Errors
    /// When snapshot and log do not reach back to what the namespace holds, or when anything fails on the way.
    pub async fn start(
        config: GroupConfig,
        log: Log,
        store: NamespaceStore,
        sender: Sender,
    ) -> Result<Group, GroupError> {
        let log_store = log.group(config.group);
        let shared = Rc::new(Shared::new(store, log_store.clone()));
        check_complete(&shared)?;
        housekeeping::measure(&shared)?;
        let state = shared.store.view()?.group()?;
        let stamped = state.map_or(0, |state| state.time_nanos);
        shared.read_level()?;
        let machine = Machine::new(shared.clone());
        let raft = Raft::new(config.node, raft_config(), sender, log_store, machine);
        let raft = raft
            .await
            .map_err(|error| GroupError::Stopped(shared.cause(&error)))?;
        Ok(Group(Rc::new(Inner {
            config,
            log,
            shared,
            raft,
            outstanding: Cell::new(0),
            stamped: Cell::new(stamped),
            housekeeping: RefCell::new(None),
            verifying: RefCell::new(None),
        })))
    }

    /// Takes leadership, applies what was committed, and keeps log and namespace in order from then on. On return, reads of the
    /// namespace see everything that was ever acknowledged.
    ///
    /// # Errors
    /// Why the group stopped.
    pub async fn lead(&self) -> Result<(), GroupError> {
        let inner = &self.0;
        let (begun, before) = (reactor::now(), inner.shared.store.applied().index);
        self.win_term().await?;
        tracing::info!(
            milliseconds = (reactor::now() - begun).as_millis() as u64,
            entries = inner.shared.store.applied().index - before,
            "what the log holds beyond the checkpoint was applied"
        );
        let verifying = housekeeping::verify(inner.shared.clone());
        *inner.verifying.borrow_mut() = Some(reactor::spawn(TaskClass::Background, verifying));
        let done = housekeeping::shorten(inner).await?;
        let housekeeping = housekeeping::run(Rc::downgrade(inner), done);
        *inner.housekeeping.borrow_mut() =
            Some(reactor::spawn(TaskClass::Foreground, housekeeping));
        Ok(())
    }

    /// Becomes leader and waits until an entry of this term is applied.
    async fn win_term(&self) -> Result<(), GroupError> {
        let raft = &self.0.raft;
        let stopped =
            |error: &dyn std::fmt::Display| GroupError::Stopped(self.0.shared.cause(error));
        if raft
            .is_initialized()
            .await
            .map_err(|error| stopped(&error))?
        {
            raft.trigger()
                .elect(false)
                .await
                .map_err(|error| stopped(&error))?;
        } else {
            let members = BTreeMap::from([(self.0.config.node, BasicNode::new("local"))]);
            raft.initialize(members)
                .await
                .map_err(|error| stopped(&error))?;
        }
        let mut metrics = raft.metrics();
        loop {
            let now = metrics.borrow_and_update().clone();
            now.running_state.map_err(|error| stopped(&error))?;
            let own = now
                .last_applied
                .is_some_and(|applied| applied.leader_id.term == now.current_term);
            if now.current_leader == Some(self.0.config.node) && own {
                housekeeping::publish(&self.0);
                return Ok(());
            }
            metrics.changed().await.map_err(|error| stopped(&error))?;
        }
    }

    /// Numbers for the metrics, readable from every thread.
    pub fn statistics(&self) -> Arc<GroupStatistics> {
        self.0.shared.statistics.clone()
    }

    /// Makes a checkpoint, unless the namespace is in doubt, and stops. Proposals that still wait are answered `Unavailable`.
    ///
    /// # Errors
    /// When the last checkpoint or flush failed; nothing acknowledged is lost by that.
    pub async fn stop(self) -> Result<(), GroupError> {
        let housekeeping = self.0.housekeeping.take();
        // A checkpoint that is under way is waited for, not cut.
        self.0.shared.stopping.set(true);
        self.0.shared.store.cancel_verification();
        let verifying = self.0.verifying.take();
        for task in [housekeeping, verifying].into_iter().flatten() {
            task.await;
        }
        let checkpoint = match self.0.shared.store.doubted() {
            None => housekeeping::checkpoint(&self.0.shared.store).await,
            Some(_) => housekeeping::drop_checkpoint(&self.0.shared).await,
        };
        if self.0.raft.shutdown().await.is_err() {
            tracing::warn!("the raft task ended before it was told to");
        }
        self.0
            .shared
            .failure
            .borrow_mut()
            .get_or_insert_with(|| "it was stopped".to_owned());
        self.0.shared.statistics.stopped();
        self.0.log.close().await?;
        Ok(checkpoint?)
    }
}

/// Log and snapshot must reach back to what the namespace holds, else entries would be skipped.
fn check_complete(shared: &Shared) -> Result<(), GroupError> {
    let malformed = |error: crate::consensus::log::Malformed| GroupError::Incomplete(error.0);
    let applied = machine::log_id_of(shared.store.applied());
    let snapshot = shared.log.snapshot();
    let snapshot = snapshot
        .map(|body| body.meta())
        .transpose()
        .map_err(malformed)?;
    let reached = applied.max(snapshot.and_then(|meta| meta.last_log_id));
    let purged = shared.log.purged();
    if purged > reached {
        let text = |id: Option<LogId>| id.map_or("nothing".to_owned(), |id| id.to_string());
        return Err(GroupError::Incomplete(format!(
            "the log is purged up to {}, but namespace and snapshot reach only {}",
            text(purged),
            text(reached)
        )));
    }
    if applied > shared.log.last() {
        tracing::warn!("the namespace is ahead of the log: another log lies on these devices");
        return Err(GroupError::Incomplete(
            "the namespace holds entries that the log does not: the devices are not those it was written with".into(),
        ));
    }
    Ok(())
}

/// One node needs no heartbeats, and elects itself at once; the intervals only bound idle wake-ups.
fn raft_config() -> Arc<openraft::Config> {
    Arc::new(openraft::Config {
        cluster_name: "strata".to_owned(),
        heartbeat_interval: 500,
        election_timeout_min: 1500,
        election_timeout_max: 3000,
        snapshot_policy: SnapshotPolicy::Never,
        // Purging is ours: never by openraft's own count.
        max_in_snapshot_log_to_keep: u64::MAX,
        // Every start leads in a term of its own.
        enable_leader_restore: Some(false),
        ..openraft::Config::default()
    })
}
