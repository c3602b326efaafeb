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
use crate::consensus::log::{LogError, LogId, Space};
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
/// Most room that is kept in the log beyond the next snapshot.
const LOG_MARGIN_BYTES_MAX: u64 = 8 << 20;

/// Between two counts of the rows of a namespace whose pages say that its snapshot does not fit.
const COUNT_PAUSE: Duration = Duration::from_secs(5);

/// Bodies are kept inline up to their limit while the namespace takes at most a half of what the log can hold of it, and
/// this share of the map; then up to so many bytes.
const INLINE_SHARE: u64 = 4;
const INLINE_BYTES_WHEN_SHORT: usize = 512;

/// Room kept in a log beyond the next snapshot: for what is proposed while it is built.
pub(super) fn log_margin(space: &Space) -> u64 {
    (space.all / 8).min(LOG_MARGIN_BYTES_MAX)
}

/// How many bytes of rows the namespace may have: its last snapshot and the next one are in the log at once, and between
/// them what was proposed meanwhile.
pub(super) fn rows_max(space: &Space) -> u64 {
    space.rows_in(space.all.saturating_sub(log_margin(space)) / 2)
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
    /// Nor are rows counted before.
    next_count: reactor::Instant,
}

impl Done {
    fn new() -> Done {
        Done {
            checkpoint: reactor::now(),
            released: None,
            shortened: false,
            next_snapshot: reactor::now(),
            next_count: reactor::now(),
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

/// At a start: every start writes to new segments of the journals. Where that has used up a log, it is shortened before
/// anything is served, so that a node that starts again and again keeps room. A log with room is not waited for.
pub(super) async fn shorten(inner: &Rc<Inner>) -> Result<(), GroupError> {
    let mut done = Done::new();
    if !is_short(inner) {
        return Ok(());
    }
    let verifying = inner.verifying.take();
    if let Some(verifying) = verifying {
        // No snapshot is made of a namespace that has not been verified.
        verifying.await;
    }
    if judge_snapshot(inner, &mut done) == Verdict::Wait {
        return Ok(());
    }
    let shared = &inner.shared;
    let stopped = |error: TurnError| GroupError::Stopped(shared.cause(&error));
    let before = shared.log.snapshot_number();
    checkpoint(&shared.store).await?;
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
    let store = shared.store.clone();
    let free = reactor::offload(move || store.disk_free()).await?;
    shared.disk_free.set(free);
    measure(shared)?;
    let ahead = shared.store.applied().index - shared.store.durable().index;
    let waited = reactor::now() - done.checkpoint >= inner.config.checkpoint_interval;
    // A snapshot newer than the checkpoint gives no space back before the next one.
    let snapshot = inner.raft.metrics().borrow_watched().snapshot;
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
    let purged = shared.log.purged();
    if purged > done.released {
        match shared.log.release().await {
            Ok(()) => done.released = purged,
            // Nothing was released, and nothing is lost: what is proposed next may have taken the place.
            Err(LogError::Full) => tracing::error!("the log has no room to be shortened"),
            Err(error) => return Err(error.into()),
        }
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
    shared.snapshot_estimate.set(usage.used_bytes);
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
    let rows = inner.shared.snapshot_estimate.get();
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
    shared.snapshot_counted.set(None);
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
    let least = margin / if full { 4 } else { 1 };
    let worth = bytes > least || !done.shortened;
    let verdict = match due || (short && worth) {
        false => Verdict::Wait,
        true if free >= space.room_for(shared.snapshot_estimate.get()) => Verdict::Build,
        true => Verdict::Count,
    };
    done.shortened |= verdict == Verdict::Build;
    let blocked =
        free < need + 2 * margin && verdict != Verdict::Build && !waits_for_purge(inner, done);
    report_blocked(shared, blocked, || {
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
    shared.snapshot_counted.set(fits.then_some(rows));
    if fits {
        report_blocked(shared, false, String::new);
    }
    Ok(fits)
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_room_is_that_of_the_map_or_of_its_file_system() {
        let mib = |count: i64| count << 20;
        let usage = Usage {
            used_bytes: 100 << 20,
            allocated_bytes: 110 << 20,
            map_bytes: 1600 << 20,
        };
        let of_the_map = (mib(1600 - 100 - 100), false);
        assert_eq!(map_room(&usage, u64::MAX), of_the_map);
        assert_eq!(map_room(&usage, 1 << 40), of_the_map);
        // 10 MiB of the file can be written again, 64 are kept.
        assert_eq!(map_room(&usage, 500 << 20), (mib(500 + 10 - 64), true));
        assert_eq!(map_room(&usage, 0), (mib(10 - 64), true));
    }

    #[test]
    fn two_snapshots_of_the_largest_namespace_fit_the_log() {
        for (segments, segment) in [(8, 4 << 20), (12, 4 << 20), (12, 64 << 20), (256, 64 << 20)] {
            let space = Space {
                used: 0,
                all: segments * segment,
                segment,
            };
            let rows = rows_max(&space);
            assert!(2 * space.of_snapshot(rows) + log_margin(&space) <= space.all);
            assert!(rows > space.all / 4, "{rows} of {}", space.all);
        }
    }
}
