//! Checkpoints, snapshots, purging: what keeps the log short and a start quick.
//!
//! Ten times a second: publish the numbers; make a checkpoint if one is due; build a snapshot if one
//! is due and fits; purge the log up to the older of both and give its space back.

use std::rc::{Rc, Weak};
use std::sync::atomic::Ordering;
use std::time::Duration;

use openraft::rt::WatchReceiver as _;
use strata_engine::reactor;

use super::{GroupError, Inner, Shared, machine};
use crate::log::{LogError, LogId};
use crate::namespace::{INLINE_BYTES_MAX, LogPosition};
use crate::store::StoreError;

const TICK: Duration = Duration::from_millis(100);
/// While a start waits for its log to be shortened, and how often it looks.
const SHORTEN_PAUSE: Duration = Duration::from_millis(2);
const SHORTEN_TURNS_IDLE: u32 = 500;
/// Between two requests for a snapshot: openraft may miss one while it still hears of the last.
const SNAPSHOT_PAUSE: Duration = Duration::from_secs(1);
/// Most room that is kept in the log beyond the next snapshot.
const LOG_MARGIN_BYTES_MAX: u64 = 8 << 20;

/// Bodies are kept inline up to their limit while the namespace takes at most this share of log and map, and then up to
/// so many bytes.
const INLINE_SHARE: u64 = 4;
const INLINE_BYTES_WHEN_SHORT: usize = 512;

/// Room kept in a log of `all` bytes beyond the next snapshot: for what is proposed while it is built.
pub(super) fn log_margin(all: u64) -> u64 {
    (all / 8).min(LOG_MARGIN_BYTES_MAX)
}

#[derive(Debug, thiserror::Error)]
enum TurnError {
    #[error(transparent)]
    Store(#[from] StoreError),
    #[error(transparent)]
    Log(#[from] LogError),
    #[error("{0}")]
    Raft(String),
}

/// What has been done so far.
struct Done {
    checkpoint: reactor::Instant,
    released: Option<LogId>,
    /// A snapshot was asked for since the start.
    shortened: bool,
    /// No other is asked for before.
    next_snapshot: reactor::Instant,
}

impl Done {
    fn new() -> Done {
        Done {
            checkpoint: reactor::now(),
            released: None,
            shortened: false,
            next_snapshot: reactor::now(),
        }
    }
}

/// Runs until the group is dropped or fails.
pub(super) async fn run(weak: Weak<Inner>) {
    let mut done = Done::new();
    loop {
        reactor::sleep(TICK).await;
        let Some(inner) = weak.upgrade() else { return };
        publish(&inner);
        if inner.shared.failure.borrow().is_some() || inner.shared.stopping.get() {
            return;
        }
        if let Err(error) = turn(&inner, &mut done).await {
            inner.shared.fail(&error);
            return;
        }
    }
}

/// At a start: every start writes to new segments of the journals. Where that has used up a log, it is shortened before
/// anything is served, so that a node that starts again and again keeps room. A log with room is not waited for.
pub(super) async fn shorten(inner: &Rc<Inner>) -> Result<(), GroupError> {
    let mut done = Done::new();
    if !is_short(inner) || !snapshot_due(inner, &mut done) {
        return Ok(());
    }
    let shared = &inner.shared;
    let stopped = |error: TurnError| GroupError::Stopped(shared.cause(&error));
    let before = shared.log.snapshot_number();
    checkpoint(shared).await?;
    done.shortened = false;
    let mut idle = 0;
    while done.released.is_none() && idle < SHORTEN_TURNS_IDLE {
        turn(inner, &mut done).await.map_err(stopped)?;
        reactor::sleep(SHORTEN_PAUSE).await;
        if let Some(cause) = &*shared.failure.borrow() {
            return Err(GroupError::Stopped(cause.clone()));
        }
        idle += u32::from(!shared.building.get());
    }
    if shared.log.snapshot_number() == before {
        tracing::warn!("the log is nearly full and could not be shortened");
    }
    Ok(())
}

async fn turn(inner: &Rc<Inner>, done: &mut Done) -> Result<(), TurnError> {
    let shared = &inner.shared;
    let raft = inner.raft.trigger();
    measure(shared)?;
    let ahead = shared.store.applied().index - shared.store.durable().index;
    let waited = reactor::now() - done.checkpoint >= inner.config.checkpoint_interval;
    // A snapshot newer than the checkpoint gives no space back before the next one.
    let snapshot = inner.raft.metrics().borrow_watched().snapshot;
    let holds_back = is_short(inner) && snapshot > machine::log_id_of(shared.store.durable());
    if ahead >= inner.config.checkpoint_entries || (ahead > 0 && waited) || holds_back {
        checkpoint(shared).await?;
        done.checkpoint = reactor::now();
    }
    let stopped = |error: &dyn std::fmt::Display| TurnError::Raft(shared.cause(error));
    if reactor::now() >= done.next_snapshot && snapshot_due(inner, done) {
        done.next_snapshot = reactor::now() + SNAPSHOT_PAUSE;
        raft.snapshot().await.map_err(|error| stopped(&error))?;
    }
    if let Some(target) = purge_target(inner)
        && Some(target) > shared.log.purged()
    {
        let purging = raft.purge_log(target.index).await;
        purging.map_err(|error| stopped(&error))?;
    }
    let purged = shared.log.purged();
    if purged > done.released {
        shared.log.release().await?;
        done.released = purged;
    }
    Ok(())
}

/// A durable checkpoint of the namespace as it is; the waiting is done off the core.
pub(super) async fn checkpoint(shared: &Shared) -> Result<(), StoreError> {
    let begun = shared.store.begin_checkpoint()?;
    reactor::offload(move || begun.finish()).await?;
    Ok(())
}

/// How much the next snapshot may take, and how much the map still holds. A snapshot's rows are never more than the pages
/// they lie in; bodies of a few KiB take nearly twice their length there.
pub(super) fn measure(shared: &Shared) -> Result<(), StoreError> {
    let usage = shared.store.usage()?;
    shared.snapshot_estimate.set(usage.used_bytes);
    // The last sixteenth is kept for deletes under way, copies of pages and the commit itself.
    let limit = usage.map_bytes - usage.map_bytes / 16;
    let room = limit as i64 - usage.used_bytes as i64;
    shared.map_room.set(room);
    shared.slowed.set(usage.is_high());
    Ok(())
}

/// The longest body that is worth a place in log, map and snapshots: the limit while the namespace is small beside them, so
/// that the rest is left for names.
fn inline_bytes_max(inner: &Inner) -> u64 {
    let (_, log_bytes) = inner.log.space();
    let estimate = inner.shared.snapshot_estimate.get();
    let map_bytes = estimate.saturating_add_signed(inner.shared.map_room.get());
    let limit = match estimate <= log_bytes.min(map_bytes) / INLINE_SHARE {
        true => INLINE_BYTES_MAX,
        false => INLINE_BYTES_WHEN_SHORT,
    };
    limit as u64
}

/// Whether the log has little more room than the next snapshot takes.
fn is_short(inner: &Inner) -> bool {
    let (used, all) = inner.log.space();
    let free = all.saturating_sub(used);
    free < inner.shared.snapshot_estimate.get() + 4 * log_margin(all)
}

/// Whether a snapshot should be built now. Where proposals are short of room and neither a snapshot nor what the last one
/// made superfluous will give them some, that is reported.
fn snapshot_due(inner: &Inner, done: &mut Done) -> bool {
    let shared = &inner.shared;
    if shared.building.get() {
        return false;
    }
    let (bytes, entries) = shared.log.since_snapshot();
    let estimate = shared.snapshot_estimate.get();
    let (used, all) = inner.log.space();
    let free = all.saturating_sub(used);
    let last = shared.log.snapshot_bytes();
    let due = bytes > inner.config.snapshot_log_bytes.max(last)
        || entries > inner.config.snapshot_entries;
    // A log that is nearly full is shortened early, if there is something to shorten: what was written
    // since the last snapshot, or, once in a start, the segments that earlier starts left half empty.
    let short = is_short(inner);
    // Deletes in a full log take little of it and are to bring the room back.
    let full = free < estimate + log_margin(all);
    let least = log_margin(all) / if full { 4 } else { 1 };
    let worth = bytes > least || !done.shortened;
    let begins = (due || (short && worth)) && free >= estimate;
    let nearly_full = free < estimate + 2 * log_margin(all);
    let blocked = nearly_full && !begins && !waits_for_purge(inner, done);
    done.shortened |= begins;
    report_blocked(shared, blocked, || {
        format!("a snapshot may take {estimate} bytes, the log has {free} of {all} bytes left")
    });
    begins
}

/// Whether the log still holds entries and pieces that a snapshot has made superfluous.
fn waits_for_purge(inner: &Inner, done: &Done) -> bool {
    inner.raft.metrics().borrow_watched().snapshot > done.released
}

fn report_blocked(shared: &Shared, blocked: bool, why: impl FnOnce() -> String) {
    let mut known = shared.snapshot_blocked.borrow_mut();
    if !blocked {
        *known = None;
    } else {
        let why = why();
        if known.is_none() {
            tracing::error!("the log is nearly full: {why}");
        }
        *known = Some(why);
    }
}

/// The older of the durable checkpoint and the snapshot that openraft knows.
fn purge_target(inner: &Inner) -> Option<LogId> {
    let durable = machine::log_id_of(inner.shared.store.durable());
    let snapshot = inner.raft.metrics().borrow_watched().snapshot;
    durable.min(snapshot)
}

/// Copies the numbers to where the metrics read them.
pub(super) fn publish(inner: &Inner) {
    let statistics = &inner.shared.statistics;
    let metrics = inner.raft.metrics();
    let now = metrics.borrow_watched();
    let index = |id: Option<LogId>| id.map_or(0, |id| id.index);
    let leads = now.current_leader == Some(inner.config.node) && now.running_state.is_ok();
    let position = |position: LogPosition| position.index.saturating_sub(1);
    let (generation, mirrors) = inner.log.generation();
    let (used, all) = inner.log.space();
    for (counter, value) in [
        (&statistics.term, now.current_term),
        (&statistics.leader, u64::from(leads)),
        (&statistics.last_log, now.last_log_index.unwrap_or(0)),
        (&statistics.applied, position(inner.shared.store.applied())),
        (
            &statistics.checkpoint,
            position(inner.shared.store.durable()),
        ),
        (&statistics.snapshot, index(now.snapshot)),
        (&statistics.purged, index(inner.shared.log.purged())),
        (&statistics.generation, generation),
        (&statistics.mirrors, mirrors as u64),
        (&statistics.log_used_bytes, used),
        (&statistics.log_capacity_bytes, all),
        (&statistics.inline_bytes_max, inline_bytes_max(inner)),
        (&statistics.outstanding, inner.outstanding.get() as u64),
    ] {
        counter.store(value, Ordering::Relaxed);
    }
}
