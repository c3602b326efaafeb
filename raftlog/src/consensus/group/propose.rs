//! Proposing: what is refused before it is appended, the room that it must find, and its way through openraft.
//!
//! Invariants: a command is encoded once, with the leader's time and the feature level that the group has activated; what log and
//! map would not hold, or a member could not follow, is never appended.

use std::cell::Cell;
use std::time::Duration;

use openraft::errors::{ClientWriteError, RaftError};
use strata_engine::reactor;

use super::{Group, Inner, NamespaceFull, PROPOSAL_BYTES_MAX, ProposeError, Shared, room};
use crate::consensus::log::Proposal;
use crate::namespace::command::{Answer, Command, CommandClass, Envelope, Proposer};

/// Tries of a proposal that the leader refuses because its lease is not established yet.
const ATTEMPTS_MAX: u32 = 200;
/// Between two of them.
const ATTEMPT_PAUSE: Duration = Duration::from_millis(10);
/// What every proposal waits while the namespace's map is nearly full.
const SLOW_PAUSE: Duration = Duration::from_millis(2);
/// A proposal waits so long for a log that is being shortened, and looks so often.
const ROOM_WAIT: Duration = Duration::from_secs(5);
const ROOM_PAUSE: Duration = Duration::from_millis(10);
/// What a command may take of the log beside its own bytes: a block.
const LOG_BYTES_PER_COMMAND: u64 = 4096;

/// What a proposal may take, at most, in bytes.
#[derive(Clone, Copy, Default)]
pub(super) struct Growth {
    /// Of the log, with the rest of the segment that it does not fit into and the padding of a flush.
    log: u64,
    /// Of the map.
    map: u64,
    /// By which the namespace has grown in the end.
    rows: u64,
}

impl Growth {
    fn of(command: &Command, encoded_bytes: usize) -> Growth {
        let map = command.map_bytes();
        Growth {
            log: 2 * encoded_bytes as u64 + LOG_BYTES_PER_COMMAND,
            map,
            rows: match command.class() {
                CommandClass::Grows => map,
                CommandClass::Frees | CommandClass::Starts => 0,
            },
        }
    }

    pub(super) fn rows(self) -> u64 {
        self.rows
    }

    fn and(self, other: Growth) -> Growth {
        Growth {
            log: self.log.saturating_add(other.log),
            map: self.map.saturating_add(other.map),
            rows: self.rows.saturating_add(other.rows),
        }
    }

    fn without(self, other: Growth) -> Growth {
        Growth {
            log: self.log.saturating_sub(other.log),
            map: self.map.saturating_sub(other.map),
            rows: self.rows.saturating_sub(other.rows),
        }
    }
}

impl Group {
    /// Proposes a command and waits until it is durable on all mirrors and applied.
    ///
    /// # Errors
    /// Says whether it may have been proposed; see [`ProposeError`].
    pub async fn propose(
        &self,
        command: impl Into<Command>,
        proposer: Proposer,
    ) -> Result<Answer, ProposeError> {
        let inner = &*self.0;
        if let Some(cause) = &*inner.shared.failure.borrow() {
            return Err(ProposeError::Unavailable(cause.clone()));
        }
        let _outstanding = Outstanding::take(inner)?;
        if inner.shared.slowed.get() {
            reactor::sleep(SLOW_PAUSE).await;
        }
        let envelope = inner.envelope(command.into(), proposer)?;
        let bytes = envelope
            .encode()
            .map_err(|error| ProposeError::Invalid(error.to_string()))?;
        let (class, growth) = (
            envelope.command.class(),
            Growth::of(&envelope.command, bytes.len()),
        );
        drop(envelope);
        if !inner.takes(class, growth, bytes.len()) {
            let reason = format!("{} bytes are too many", bytes.len());
            return Err(ProposeError::Invalid(reason));
        }
        let _reserved = inner.wait_for_room(class, growth).await?;
        inner.commit(Proposal(bytes)).await
    }
}

impl Inner {
    /// The command with all that is said about it; refused where a member could not follow it.
    fn envelope(&self, command: Command, proposer: Proposer) -> Result<Envelope, ProposeError> {
        let (active, newest) = (self.shared.level.get(), self.shared.store.newest_level());
        if command.since_level() > active {
            return Err(ProposeError::Invalid(format!(
                "{} needs feature level {}, activated is {active}",
                command.name(),
                command.since_level()
            )));
        }
        if let Command::RaiseFeatureLevel(raise) = &command
            && raise.level > newest
        {
            return Err(ProposeError::Invalid(format!(
                "feature level {} needs a newer version than this, which follows up to {newest}",
                raise.level
            )));
        }
        let time = reactor::wall_clock().nanoseconds().max(self.stamped.get());
        self.stamped.set(time);
        Ok(Envelope {
            group: self.config.group,
            feature_level: active,
            session: proposer.session,
            sequence: proposer.sequence,
            lowest_unanswered: proposer.lowest_unanswered,
            time_nanos: time,
            command,
        })
    }

    /// Whether the log could ever take a command of this length. What frees must not take more than a snapshot is sure to bring.
    fn takes(&self, class: CommandClass, growth: Growth, bytes: usize) -> bool {
        let space = self.log.space();
        let grows = class == CommandClass::Grows;
        bytes <= PROPOSAL_BYTES_MAX
            && space.takes(bytes as u64)
            && (grows || space.of_records(growth.log) <= room::longest(&space))
    }

    /// Waits while the log is being shortened; what has no room even then is refused.
    async fn wait_for_room(
        &self,
        class: CommandClass,
        growth: Growth,
    ) -> Result<Reserved<'_>, ProposeError> {
        let end = reactor::now() + ROOM_WAIT;
        loop {
            match self.reserve(class, growth) {
                Err(ProposeError::Busy) if reactor::now() < end => reactor::sleep(ROOM_PAUSE).await,
                reserved => return reserved,
            }
        }
    }

    /// Refuses what log and map would not hold, before it is proposed: in apply it would be too late. What has room is
    /// counted until it has its answer. What frees space, and what a node needs to start, may use a part of either
    /// reserve.
    fn reserve(&self, class: CommandClass, own: Growth) -> Result<Reserved<'_>, ProposeError> {
        let shared = &self.shared;
        let grows = class == CommandClass::Grows;
        let all = shared.pending.get().and(own);
        match grows {
            true => self.check_rows(own, all)?,
            false => self.check_reserve(own, all)?,
        }
        let space = self.log.space();
        // The rows of those that are pending are counted already.
        let need = shared.snapshot_need(&space, own.rows) + room::kept(&space, class);
        let fits = |growth: Growth| space.free() >= need + space.of_records(growth.log);
        if !fits(all) {
            return Err(self.no_room(grows, fits(own)));
        }
        shared.pending.set(all);
        shared.rows.grow(own.rows);
        Ok(Reserved {
            shared,
            growth: own,
        })
    }

    /// A snapshot that is under way or due gives space back, and so do proposals that get their answers; without them it will
    /// not come by waiting. A snapshot may be worth making only because something that frees has found no room: then that is
    /// refused only after housekeeping has seen it.
    fn no_room(&self, grows: bool, alone_fits: bool) -> ProposeError {
        let shared = &self.shared;
        let starved = !grows && !alone_fits;
        shared.starved.set(shared.starved.get() || starved);
        match &*shared.snapshot_blocked.borrow() {
            Some(blocked) if !alone_fits && (grows || blocked.all) => {
                ProposeError::Full(blocked.why.clone())
            }
            _ => ProposeError::Busy,
        }
    }

    /// Whether the namespace may grow: it must stay within the map, and the log must hold two snapshots of it, the last
    /// one and the next.
    fn check_rows(&self, own: Growth, all: Growth) -> Result<(), ProposeError> {
        let shared = &self.shared;
        let space = self.log.space();
        let names_max = room::rows_max(&space);
        let rows = shared.rows.pages();
        if rows.saturating_add(own.rows) > names_max {
            return Err(ProposeError::Full(format!(
                "names and inline bodies take {rows} bytes, the log has room for {names_max}"
            )));
        }
        let room = u64::try_from(shared.map_room.get()).unwrap_or(0);
        if own.map > room {
            return Err(ProposeError::Full(shared.end_of_room().to_string()));
        }
        if rows.saturating_add(all.rows) > names_max || all.map > room || shared.pinned.get() {
            return Err(ProposeError::Busy);
        }
        Ok(())
    }

    /// Whether the map has the rows that a delete makes before it gives any back.
    fn check_reserve(&self, own: Growth, all: Growth) -> Result<(), ProposeError> {
        let room = self.shared.reserve_room.get();
        match own.map > room {
            true => Err(ProposeError::Full(NamespaceFull::Map.to_string())),
            false if all.map > room => Err(ProposeError::Busy),
            false => Ok(()),
        }
    }

    async fn commit(&self, proposal: Proposal) -> Result<Answer, ProposeError> {
        let mut last = String::new();
        for _ in 0..ATTEMPTS_MAX {
            let error = match self.raft.client_write(proposal.clone()).await {
                Ok(response) => return Ok(response.data.0.unwrap_or(Answer::Done)),
                Err(error) => error,
            };
            last = match error {
                // Right after an election the lease is not established; the same node will do. An entry
                // that was discarded may be proposed again: the session knows the sequence.
                RaftError::APIError(
                    ClientWriteError::ForwardToLeader(forward)
                    | ClientWriteError::LogEntryDiscarded(forward),
                ) if forward
                    .leader_id
                    .is_none_or(|leader| leader == self.config.node) =>
                {
                    forward.to_string()
                }
                other => return Err(ProposeError::Unavailable(self.shared.cause(&other))),
            };
            reactor::sleep(ATTEMPT_PAUSE).await;
        }
        Err(ProposeError::Unavailable(last))
    }
}

/// A place among the proposals that may wait at once.
struct Outstanding<'a> {
    waiting: &'a Cell<usize>,
}

impl<'a> Outstanding<'a> {
    fn take(inner: &'a Inner) -> Result<Self, ProposeError> {
        let waiting = &inner.outstanding;
        if waiting.get() >= inner.config.outstanding_max {
            return Err(ProposeError::Busy);
        }
        waiting.set(waiting.get() + 1);
        Ok(Outstanding { waiting })
    }
}

impl Drop for Outstanding<'_> {
    fn drop(&mut self) {
        self.waiting.set(self.waiting.get() - 1);
    }
}

/// What a proposal may take of log and namespace, counted until it has its answer.
struct Reserved<'a> {
    shared: &'a Shared,
    growth: Growth,
}

impl Drop for Reserved<'_> {
    fn drop(&mut self) {
        let pending = &self.shared.pending;
        pending.set(pending.get().without(self.growth));
    }
}
