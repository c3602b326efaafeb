//! Checkpoints, snapshots, purging: what keeps the log short and a start quick.
//!
//! Ten times a second: publish the numbers; make a checkpoint if one is due; build a snapshot if one
//! is due and fits; purge the log up to the older of both and give its space back.

#[cfg(test)]
mod tests;

use std::rc::{Rc, Weak};
use std::sync::atomic::Ordering;
use std::time::Duration;

use openraft::rt::WatchReceiver as _;
use strata_engine::reactor;

use super::room::{brings_room, log_margin, rows_max};
use super::{Blocked, GroupError, Inner, Shared, machine};
use crate::consensus::log::{LogError, LogId};
use crate::namespace::store::{NamespaceStore, StoreError, Usage};
use crate::namespace::{INLINE_BYTES_MAX, LogPosition};

const TICK: Duration = Duration::from_millis(100);
/// While a start waits for its log to be shortened, and how often it looks.
const SHORTEN_PAUSE: Duration = Duration::from_millis(2);
const SHORTEN_TURNS_IDLE: u32 = 500;
/// Between two requests for a snapshot: openraft may miss one while it still hears of the last.
const SNAPSHOT_PAUSE: Duration = Duration::from_secs(1);
/// The last part of the map, and at most so much of its file system, are not for what makes the namespace grow.
const MAP_RESERVE_SHARE: u64 = 16;
const DISK_RESERVE_BYTES_MAX: u64 = 64 << 20;

/// Between two counts of the rows of a namespace whose pages say that its snapshot does not fit.
const COUNT_PAUSE: Duration = Duration::from_secs(5);

/// Bodies are kept inline up to their limit while the namespace takes at most a half of what the log can hold of it, and
/// this share of the map; then up to so many bytes.
const INLINE_SHARE: u64 = 4;
const INLINE_BYTES_WHEN_SHORT: usize = 512;

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
pub(super) struct Done {
    checkpoint: reactor::Instant,
    /// What was purged when space was given back, and the newest snapshot there was.
    released: Option<LogId>,
    released_snapshot: u64,
    /// A snapshot was asked for since the start.
    shortened: bool,
    /// No other is asked for before.
    next_snapshot: reactor::Instant,
    /// Nor are rows counted before.
    next_count: reactor::Instant,
}

impl Done {
    fn new() -> Done {
        Done {
            checkpoint: reactor::now(),
            released: None,
            released_snapshot: 0,
            shortened: false,
            next_snapshot: reactor::now(),
            next_count: reactor::now(),
        }
    }
}

/// Runs until the group is dropped or fails.
pub(super) async fn run(weak: Weak<Inner>, mut done: Done) {
    loop {
        reactor::sleep(TICK).await;
        let Some(inner) = weak.upgrade() else { return };
        publish(&inner);
        if let Some(why) = inner.shared.store.doubted() {
            inner.shared.fail(&format_args!(
                "the metadata cannot be trusted ({why}); the next start rebuilds it"
            ));
            match drop_checkpoint(&inner.shared).await {
                Ok(()) => {
                    let needs_rebuild = &inner.shared.statistics.needs_rebuild;
                    needs_rebuild.store(true, Ordering::Relaxed);
                }
                Err(error) => {
                    tracing::error!(%error, "the checkpoint in doubt could not be taken away");
                }
            }
            return;
        }
        if inner.shared.failure.borrow().is_some() || inner.shared.stopping.get() {
            return;
        }
        match turn(&inner, &mut done).await {
            Ok(()) => {}
            Err(TurnError::Store(error)) if error.is_damage() => inner.shared.store.doubt(&error),
            Err(error) => {
                inner.shared.fail(&error);
                return;
            }
        }
    }
}

/// Verifies what the start of the namespace has left unverified, off the core.
pub(super) async fn verify(shared: Rc<Shared>) {
    let store = shared.store.clone();
    if let Err(error) = reactor::offload(move || store.verify_rest()).await {
        shared.store.doubt(&error);
    }
}

/// At a start: starts write votes and marks of their own. Where they have used up a log, it is shortened before
/// anything is served, so that a node that starts again and again keeps room. A log with room is not waited for.
pub(super) async fn shorten(inner: &Rc<Inner>) -> Result<Done, GroupError> {
    let mut done = Done::new();
    if !is_short(inner) {
        return Ok(done);
    }
    let verifying = inner.verifying.take();
    if let Some(verifying) = verifying {
        // No snapshot is made of a namespace that has not been verified.
        verifying.await;
    }
    if judge_snapshot(inner, &mut done) == Verdict::Wait {
        return Ok(done);
    }
    let shared = &inner.shared;
    let stopped = |error: TurnError| GroupError::Stopped(shared.cause(&error));
    let before = shared.log.snapshot_number();
    checkpoint(&shared.store).await?;
    done.shortened = false;
    let mut idle = 0;
    // What an earlier life left to be given back is not what is waited for.
    let is_shortened =
        |done: &Done| shared.log.snapshot_number() > before && !owes_release(inner, done);
    while !is_shortened(&done) && idle < SHORTEN_TURNS_IDLE {
        turn(inner, &mut done).await.map_err(stopped)?;
        reactor::sleep(SHORTEN_PAUSE).await;
        if let Some(cause) = &*shared.failure.borrow() {
            return Err(GroupError::Stopped(cause.clone()));
        }
        idle += u32::from(!shared.building.get());
    }
    if !is_shortened(&done) {
        tracing::warn!("the log is nearly full and could not be shortened");
    }
    Ok(done)
}

async fn turn(inner: &Rc<Inner>, done: &mut Done) -> Result<(), TurnError> {
    let shared = &inner.shared;
    let raft = inner.raft.trigger();
    let store = shared.store.clone();
    let free = reactor::offload(move || store.disk_free()).await?;
    shared.disk_free.set(free);
    measure(shared)?;
    let ahead = shared.store.applied().index - shared.store.durable().index;
    let waited = reactor::now() - done.checkpoint >= inner.config.checkpoint_interval;
    // A snapshot newer than the checkpoint gives no space back before the next one.
    let snapshot = snapshot_known(inner);
    let holds_back = is_short(inner) && snapshot > machine::log_id_of(shared.store.durable());
    if ahead >= inner.config.checkpoint_entries || (ahead > 0 && waited) || holds_back {
        match checkpoint(&shared.store).await {
            Err(StoreError::NoSpace) => {
                tracing::warn!("no room for a checkpoint of the metadata; it is tried again");
            }
            made => made?,
        }
        done.checkpoint = reactor::now();
    }
    let stopped = |error: &dyn std::fmt::Display| TurnError::Raft(shared.cause(error));
    if reactor::now() >= done.next_snapshot && snapshot_begins(inner, done).await? {
        done.next_snapshot = reactor::now() + SNAPSHOT_PAUSE;
        raft.snapshot().await.map_err(|error| stopped(&error))?;
    }
    if let Some(target) = purge_target(inner)
        && Some(target) > shared.log.purged()
    {
        let purging = raft.purge_log(target.index).await;
        purging.map_err(|error| stopped(&error))?;
    }
    release_superfluous(inner, done).await
}

/// Gives back what a purge has made superfluous, and what a snapshot has that takes nothing to be purged with it: one of the
/// same state as the last, or one that was being built when space was last given back.
async fn release_superfluous(inner: &Inner, done: &mut Done) -> Result<(), TurnError> {
    let log = &inner.shared.log;
    let (purged, snapshot) = (log.purged(), log.snapshot_number());
    let is_purged = newest_snapshot(inner) <= purged;
    if purged <= done.released && (snapshot <= done.released_snapshot || !is_purged) {
        return Ok(());
    }
    match log.release().await {
        Ok(()) => (done.released, done.released_snapshot) = (purged, snapshot),
        // Nothing was released, and nothing is lost: what is proposed next may have taken the place.
        Err(LogError::Full) => tracing::error!("the log has no room to be shortened"),
        Err(error) => return Err(error.into()),
    }
    Ok(())
}

async fn snapshot_begins(inner: &Inner, done: &mut Done) -> Result<bool, TurnError> {
    match judge_snapshot(inner, done) {
        Verdict::Wait => Ok(false),
        Verdict::Build => Ok(true),
        Verdict::Count if reactor::now() < done.next_count => Ok(false),
        Verdict::Count => {
            done.next_count = reactor::now() + COUNT_PAUSE;
            fits_counted(inner).await
        }
    }
}

/// A durable checkpoint of the namespace as it is; the waiting is done off the core, in two parts, so that others have turns
/// between them in the simulated world too.
pub(super) async fn checkpoint(store: &NamespaceStore) -> Result<(), StoreError> {
    let begun = store.begin_checkpoint()?;
    let synced = reactor::offload(move || begun.sync()).await?;
    reactor::offload(move || synced.finish()).await?;
    Ok(())
}

/// Takes away the checkpoint of a namespace in doubt.
pub(super) async fn drop_checkpoint(shared: &Shared) -> Result<(), StoreError> {
    let store = shared.store.clone();
    reactor::offload(move || store.drop_checkpoint()).await
}

/// How much the next snapshot may take, and how much map and file system still hold. A snapshot's rows are never more than
/// the pages they lie in; bodies of a few KiB take nearly twice their length there.
pub(super) fn measure(shared: &Shared) -> Result<(), StoreError> {
    let usage = shared.store.usage()?;
    let statistics = &shared.statistics;
    let (used, map) = (&statistics.map_used_bytes, &statistics.map_bytes);
    used.store(usage.used_bytes, Ordering::Relaxed);
    map.store(usage.map_bytes, Ordering::Relaxed);
    shared
        .rows
        .measured(usage.used_bytes, shared.pending.get().rows());
    let (room, disk_ends_room) = map_room(&usage, shared.disk_free.get());
    shared.map_room.set(room);
    shared.disk_ends_room.set(disk_ends_room);
    shared.publish_full();
    let left = usage.map_bytes.saturating_sub(usage.used_bytes);
    let kept = usage.map_bytes / MAP_RESERVE_SHARE / 2;
    shared.reserve_room.set(left.saturating_sub(kept));
    shared.slowed.set(usage.is_high());
    // The file grows where no page of it may be used again: readers keep those that were freed since they began.
    let near_the_end =
        usage.allocated_bytes > usage.map_bytes - usage.map_bytes / MAP_RESERVE_SHARE;
    let grows = usage.allocated_bytes > shared.snapshot_allocated.get();
    shared
        .pinned
        .set(shared.building.get() && near_the_end && grows);
    Ok(())
}

/// What may still be written to the map, and whether it is the file system that ends it. A last part is kept for deletes under
/// way, copies of pages and the commit itself; and so it is in the file system, which others use too.
fn map_room(usage: &Usage, disk_free: u64) -> (i64, bool) {
    let (used, map) = (usage.used_bytes, usage.map_bytes);
    let room = (map - map / MAP_RESERVE_SHARE) as i64 - used as i64;
    let reserve = (map / MAP_RESERVE_SHARE).min(DISK_RESERVE_BYTES_MAX);
    // Pages of the file that no row lies in are written again before it grows.
    let reusable = usage.allocated_bytes.saturating_sub(used);
    let disk = disk_free.saturating_add(reusable);
    let disk_room = i64::try_from(disk).unwrap_or(i64::MAX) - reserve as i64;
    (room.min(disk_room), disk_room < room)
}

/// The longest body that is worth a place in log, map and snapshots: the limit while the namespace is small beside them, so
/// that the rest is left for names.
fn inline_bytes_max(inner: &Inner) -> u64 {
    let rows = inner.shared.rows.pages();
    let map_bytes = rows.saturating_add_signed(inner.shared.map_room.get());
    let log_share = rows_max(&inner.log.space()) / 2;
    let limit = match rows <= log_share.min(map_bytes / INLINE_SHARE) {
        true => INLINE_BYTES_MAX,
        false => INLINE_BYTES_WHEN_SHORT,
    };
    limit as u64
}

/// Whether the log has little more room than the next snapshot takes.
fn is_short(inner: &Inner) -> bool {
    let space = inner.log.space();
    space.free() < inner.shared.snapshot_need(&space, 0) + 4 * log_margin(&space)
}

/// What becomes of a snapshot now.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Verdict {
    /// It is not due.
    Wait,
    Build,
    /// It is due, but by the pages of the namespace it does not fit: its rows may take less.
    Count,
}

/// Whether a snapshot should be built now. Where proposals are short of room and neither a snapshot nor what the last one
/// made superfluous will give them some, that is reported.
fn judge_snapshot(inner: &Inner, done: &mut Done) -> Verdict {
    let shared = &inner.shared;
    if shared.building.get() || !shared.store.is_verified() {
        return Verdict::Wait;
    }
    let (bytes, entries) = shared.log.since_snapshot();
    let space = inner.log.space();
    let (free, margin) = (space.free(), log_margin(&space));
    let need = shared.snapshot_need(&space, 0);
    let last = shared.log.snapshot_bytes();
    let due = bytes > inner.config.snapshot_log_bytes.max(last)
        || entries > inner.config.snapshot_entries;
    // A log that is nearly full is shortened early, if there is something to shorten: what was written
    // since the last snapshot, or, once in a start, the segments that earlier starts left half empty.
    let short = is_short(inner);
    // Deletes in a full log take little of it and are to bring the room back.
    let full = free < need + margin;
    let starved = shared.starved.take();
    let least = margin / if full { 4 } else { 1 };
    let worth =
        bytes > least || !done.shortened || (starved && brings_room(&space, shared.rows.bytes()));
    let verdict = match due || (short && worth) {
        false => Verdict::Wait,
        true if free >= space.room_for(shared.rows.bytes()) => Verdict::Build,
        true => Verdict::Count,
    };
    done.shortened |= verdict == Verdict::Build;
    let blocked =
        free < need + 2 * margin && verdict != Verdict::Build && !owes_release(inner, done);
    // What was counted and does not fit stays so until it is counted again.
    let all = match verdict {
        Verdict::Count => blocks_all(shared),
        Verdict::Wait | Verdict::Build => starved,
    };
    report_blocked(shared, blocked, all, || {
        format!(
            "a snapshot may take {need} bytes, the log has {free} of {} bytes left",
            space.all
        )
    });
    verdict
}

/// Counts the rows, off the core, where the pages that they lie in are more than the log has room for.
async fn fits_counted(inner: &Inner) -> Result<bool, TurnError> {
    let shared = &inner.shared;
    let mut reader = shared.store.snapshot()?;
    shared.rows.state_taken(shared.pending.get().rows());
    let counted = reactor::offload(move || {
        let mut bytes = 0;
        while let Some(piece) = reader.next_piece()? {
            bytes += piece.len() as u64;
        }
        Ok::<u64, StoreError>(bytes)
    });
    let rows = counted.await?;
    let space = inner.log.space();
    let fits = space.free() >= space.room_for(rows);
    shared.rows.counted(rows);
    let mut blocked = shared.snapshot_blocked.borrow_mut();
    match fits {
        true => *blocked = None,
        false => blocked.iter_mut().for_each(|blocked| blocked.all = true),
    }
    Ok(fits)
}

/// Whether the log still holds entries and pieces that a snapshot has made superfluous.
fn owes_release(inner: &Inner, done: &Done) -> bool {
    let log = &inner.shared.log;
    newest_snapshot(inner) > done.released || log.snapshot_number() > done.released_snapshot
}

/// The last entry in the newest snapshot, as far as openraft knows of it.
fn snapshot_known(inner: &Inner) -> Option<LogId> {
    inner.raft.metrics().borrow_watched().snapshot
}

/// The last entry in the newest snapshot, which openraft may not know of yet.
fn newest_snapshot(inner: &Inner) -> Option<LogId> {
    snapshot_known(inner).max(inner.shared.snapshot_built.get())
}

fn blocks_all(shared: &Shared) -> bool {
    let blocked = shared.snapshot_blocked.borrow();
    blocked.as_ref().is_some_and(|blocked| blocked.all)
}

fn report_blocked(shared: &Shared, blocked: bool, all: bool, why: impl FnOnce() -> String) {
    let mut known = shared.snapshot_blocked.borrow_mut();
    if !blocked {
        *known = None;
    } else {
        let why = why();
        if known.is_none() {
            tracing::error!("the log is nearly full: {why}");
        }
        *known = Some(Blocked { why, all });
    }
}

/// The older of the durable checkpoint and the snapshot that openraft knows.
fn purge_target(inner: &Inner) -> Option<LogId> {
    let durable = machine::log_id_of(inner.shared.store.durable());
    durable.min(snapshot_known(inner))
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
    let space = inner.log.space();
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
        (&statistics.log_used_bytes, space.used),
        (&statistics.log_capacity_bytes, space.all),
        (&statistics.inline_bytes_max, inline_bytes_max(inner)),
        (&statistics.outstanding, inner.outstanding.get() as u64),
    ] {
        counter.store(value, Ordering::Relaxed);
    }
}
