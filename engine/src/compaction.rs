//! Compaction: gives back the space of freed shards by moving the live ones out of mostly dead segments.
//!
//! Invariants: a record is moved by appending it again, with its CRCs unchanged and verified on the way; its old segment is given
//! back only when the new place is durable and the replay of a start does not need the old one, so that a crash at any moment
//! leaves one good copy that the index or the replay finds. The work is paced and yields, so that requests come first.

use std::cmp::Reverse;
use std::sync::atomic::Ordering;
use std::time::Duration;

use crate::error::EngineError;
use crate::format::align_up;
use crate::format::layout::BLOCK_BYTES;
use crate::format::record::{self, Body, RecordHeader};
use crate::id::ShardId;
use crate::index::{ChangeRoom, Pinned};
use crate::reactor::{self, Buffer, BufferView};
use crate::read::Memory;
use crate::store::ChunkStore;
use crate::write::SEGMENTS_KEPT_FROM_WRITES;

/// How often maintenance looks by itself whether something is due.
const PERIOD: Duration = Duration::from_secs(1);

/// Segments are not worth moving when less than this share of them, in percent, is dead, unless room is short.
const DEAD_PERCENT_MIN: u64 = 15;

/// Segments emptied in one go: enough for one to be gained when all are as full as is worth it.
const VICTIMS_MAX: usize = 8;

/// What is emptied in one go when room is short, in segments of dead bytes: one is gained although records do not fill the new
/// segments to the last byte.
const DEAD_SEGMENTS_MAX: u64 = 2;

/// Rounds without a gain, though room is short, after which there is nothing to reclaim.
const FRUITLESS_ROUNDS_MAX: u32 = 3;

/// Makes whole numbers of the scores of cost and benefit.
const SCORE_UNIT: u64 = 1 << 10;

/// Free segments below which compaction begins, as a divisor of all segments.
const LOW_WATER_DIVISOR: u32 = 8;

/// A sealed segment that holds dead records.
struct Victim {
    sequence: u64,
    /// Bytes of its records that nothing refers to.
    dead: u64,
    score: u64,
}

/// Bytes moved before a pause, and the pause, while there is no hurry: about 250 MB/s at most.
const PACE_BYTES: u64 = 4 << 20;
const PACE_PAUSE: Duration = Duration::from_millis(16);

impl ChunkStore {
    /// The loop of the background task.
    pub(crate) async fn keep_up(self) {
        while !self.inner.closing.get() {
            let outcome = self.maintenance_round().await;
            self.note_whether_full();
            self.tell_who_waits();
            if let Err(error) = outcome {
                tracing::warn!(%error, partition = self.inner.log.partition, "maintenance could not be done; trying again");
                reactor::sleep(PERIOD).await;
            }
            let wanted = self.inner.maintenance_wanted.notified();
            let _ = reactor::timeout(PERIOD, wanted).await;
        }
        self.tell_who_waits();
    }

    fn note_whether_full(&self) {
        let index = self.inner.index.borrow();
        let is_full = self.is_short() || index.is_full(self.inner.under_way.borrow().len());
        self.inner.statistics.full.store(is_full, Ordering::Relaxed);
    }

    fn tell_who_waits(&self) {
        self.inner.maintenance_done.notify_all();
        self.inner.index.borrow().room.notify_all();
    }

    async fn maintenance_round(&self) -> Result<(), EngineError> {
        if self.inner.log.device.failure().is_some() {
            return Ok(());
        }
        self.follow_capacity();
        if self.inner.index_damage.get().is_some() && self.is_rebuild_due() {
            self.rebuild_index().await?;
        }
        let short = self.inner.log.free_segments() <= self.low_water();
        let compacted = if short && !self.is_exhausted() {
            self.compact().await
        } else {
            Ok(())
        };
        // A compaction that fails again and again must not let the tail grow without an end.
        if self.checkpoint_due() {
            self.checkpoint().await?;
        }
        self.inner.log.discard_freed(self.low_water());
        compacted
    }

    fn follow_capacity(&self) {
        let log = &self.inner.log;
        let before = log.limit();
        log.follow_capacity();
        if log.limit() > before {
            self.inner.exhausted_at.set(None);
            log.prepare_ahead();
        }
    }

    fn low_water(&self) -> usize {
        let reserve = self.kept(SEGMENTS_KEPT_FROM_WRITES);
        (self.inner.log.limit() / LOW_WATER_DIVISOR) as usize + reserve
    }

    /// Whether maintenance found nothing to reclaim, and nothing has been written since.
    pub(crate) fn is_exhausted(&self) -> bool {
        self.inner.exhausted_at.get() == Some(self.inner.log.end())
    }

    /// Whether new shards have no segment left.
    fn is_short(&self) -> bool {
        self.inner.log.free_segments() <= self.kept(SEGMENTS_KEPT_FROM_WRITES)
    }

    /// Sealed segments with dead records, scored by cost and benefit: dead bytes times age over the cost of reading the segment
    /// and writing what lives.
    fn candidates(&self) -> Vec<Victim> {
        let log = &self.inner.log;
        let segment_bytes = log.map.segment_bytes;
        let present = log.end() / segment_bytes;
        let index = self.inner.index.borrow();
        let kept = self.inner.kept.borrow();
        let sealed = log.record_segments().into_iter();
        sealed
            .filter(|sequence| *sequence < present && !kept.contains(sequence))
            .map(|sequence| {
                let live = index.live_bytes(sequence);
                let start = sequence * segment_bytes + BLOCK_BYTES as u64;
                let dead = log.records_end(sequence).saturating_sub(start + live);
                let benefit = dead * (present - sequence);
                let score = benefit.saturating_mul(SCORE_UNIT) / (segment_bytes + live);
                Victim {
                    sequence,
                    dead,
                    score,
                }
            })
            .filter(|victim| victim.dead > 0)
            .collect()
    }

    fn is_worth_it(&self, victim: &Victim) -> bool {
        victim.dead * 100 >= self.inner.log.map.segment_bytes * DEAD_PERCENT_MIN
    }

    /// The segments to be emptied next, the best first. When room is short even those that are nearly full of life, as many as
    /// it takes to gain one: deleted space comes back.
    fn victims(&self) -> Vec<Victim> {
        let mut victims = self.candidates();
        if !self.is_short() {
            victims.retain(|victim| self.is_worth_it(victim));
            victims.sort_unstable_by_key(|victim| (Reverse(victim.score), victim.sequence));
            victims.truncate(VICTIMS_MAX);
            return victims;
        }
        victims.sort_unstable_by_key(|victim| (Reverse(victim.dead), victim.sequence));
        let enough = DEAD_SEGMENTS_MAX * self.inner.log.map.segment_bytes;
        let mut dead = 0;
        let before = victims.iter().take_while(|victim| {
            let taken = dead < enough;
            dead += victim.dead;
            taken
        });
        let count = before.count();
        victims.truncate(count);
        victims
    }

    /// Empties the best segments and gives them back, until there is room above the low water mark.
    ///
    /// # Errors
    /// [`EngineError::Failed`] on a failed device.
    pub async fn compact(&self) -> Result<(), EngineError> {
        let _maintenance = self.inner.maintenance.lock().await;
        let before = self.inner.log.free_segments();
        let outcome = self.compact_locked().await;
        let gained = self.inner.log.free_segments() > before;
        let short = self.is_short();
        let fruitless = if gained || !short {
            0
        } else {
            self.inner.fruitless_rounds.get() + 1
        };
        self.inner.fruitless_rounds.set(fruitless);
        let is_settled = self.inner.under_way.borrow().is_empty();
        if short && is_settled && (fruitless >= FRUITLESS_ROUNDS_MAX || !self.has_dead_segment()) {
            self.inner.exhausted_at.set(Some(self.inner.log.end()));
        }
        match outcome {
            Err(EngineError::Full { .. }) => Ok(()),
            outcome => outcome,
        }
    }

    /// Whether the dead records of all sealed segments together would fill one.
    fn has_dead_segment(&self) -> bool {
        let dead: u64 = self.candidates().iter().map(|victim| victim.dead).sum();
        dead >= self.inner.log.map.segment_bytes - BLOCK_BYTES as u64
    }

    async fn compact_locked(&self) -> Result<(), EngineError> {
        self.release_dead();
        // What a checkpoint needs is kept from others until it has been made.
        if self.is_short() && self.kept(0) > 0 && self.inner.index.borrow().has_changes() {
            self.checkpoint_locked().await?;
        }
        let victims = self.victims();
        if self.is_short()
            && !self.has_dead_segment()
            && !victims.iter().any(|victim| self.is_worth_it(victim))
        {
            return self.release_dead_tail().await;
        }
        if victims
            .iter()
            .any(|victim| self.is_replayed(victim.sequence))
        {
            self.checkpoint_locked().await?;
        }
        for victim in self.victims() {
            let short = self.is_short();
            if self.inner.log.free_segments() > self.low_water()
                || !short && !self.is_worth_it(&victim)
            {
                break;
            }
            self.empty_segment(victim.sequence, short).await?;
            let emptied = self.release_dead() as u64;
            self.inner
                .statistics
                .compacted_segments
                .fetch_add(emptied, Ordering::Relaxed);
        }
        self.release_dead_tail().await
    }

    /// Writes a checkpoint where that alone gives room back that is short.
    async fn release_dead_tail(&self) -> Result<(), EngineError> {
        if self.is_short() && self.has_dead_tail() {
            self.checkpoint_locked().await?;
        }
        Ok(())
    }

    /// Whether a checkpoint alone would free a segment.
    fn has_dead_tail(&self) -> bool {
        let present = self.inner.log.end() / self.inner.log.map.segment_bytes;
        let index = self.inner.index.borrow();
        let sealed = self
            .inner
            .log
            .record_segments()
            .into_iter()
            .filter(|sequence| *sequence < present);
        sealed
            .into_iter()
            .any(|sequence| self.is_replayed(sequence) && index.live_bytes(sequence) == 0)
    }

    /// Whether a start would replay the segment: it must then keep its records until the next checkpoint.
    fn is_replayed(&self, sequence: u64) -> bool {
        sequence >= self.inner.replay_from.get() / self.inner.log.map.segment_bytes
    }

    /// Moves every live record of a segment to the end of the log.
    async fn empty_segment(&self, sequence: u64, hurry: bool) -> Result<(), EngineError> {
        let segment_bytes = self.inner.log.map.segment_bytes;
        let end = (sequence + 1) * segment_bytes;
        let mut position = sequence * segment_bytes + BLOCK_BYTES as u64;
        let mut since_pause = 0;
        while position < end && self.inner.index.borrow().live_bytes(sequence) > 0 {
            let alignment = self.inner.log.device.alignment() as u64;
            let Some(header) = self.header_at(position).await? else {
                // Padding or damage: live records behind it are found one alignment unit at a time.
                position += alignment;
                reactor::yield_if_due().await;
                continue;
            };
            let bytes = u64::from(header.header_bytes)
                + align_up(u64::from(header.body.payload_bytes()), alignment);
            if let Body::Shard(shard) = &header.body
                && let Some(entry) = self.entry_of(shard.id).await?
                && entry.position == position
            {
                self.move_record(position, &header).await?;
                since_pause += bytes;
                if self.checkpoint_due() {
                    self.checkpoint_locked().await?;
                }
            }
            position += bytes;
            if since_pause > PACE_BYTES && !hurry {
                since_pause = 0;
                reactor::sleep(PACE_PAUSE).await;
            }
            reactor::yield_if_due().await;
        }
        self.keep_if_stuck(sequence);
        Ok(())
    }

    /// Keeps a segment that has been gone through and still holds something live: nothing of it can be found or moved. It is
    /// not tried again in this run.
    fn keep_if_stuck(&self, sequence: u64) {
        let live = self.inner.index.borrow().live_bytes(sequence);
        if live == 0 || self.has_changes(sequence) || !self.inner.kept.borrow_mut().insert(sequence)
        {
            return;
        }
        let corruptions = &self.inner.statistics.corruptions;
        corruptions.fetch_add(1, Ordering::Relaxed);
        let place = self
            .inner
            .log
            .place(sequence * self.inner.log.map.segment_bytes);
        tracing::error!(
            place,
            live,
            "records of a segment cannot be found, because their headers are damaged; the segment is kept"
        );
    }

    /// Whether a record of the segment is about to be freed or replaced.
    fn has_changes(&self, sequence: u64) -> bool {
        let segment_bytes = self.inner.log.map.segment_bytes;
        let index = self.inner.index.borrow();
        let lies_there = |id: &ShardId| {
            index
                .get(*id)
                .is_some_and(|entry| entry.position / segment_bytes == sequence)
        };
        let under_way = self.inner.under_way.borrow();
        under_way.values().any(|(body, _)| match body {
            Body::Shard(shard) => lies_there(&shard.id),
            Body::Tombstones(ids) => ids.iter().any(lies_there),
        })
    }

    async fn header_at(&self, position: u64) -> Result<Option<RecordHeader>, EngineError> {
        let alignment = self.inner.log.device.alignment();
        let offset = self
            .inner
            .log
            .device_offset(position)
            .ok_or(EngineError::NotFound)?;
        let Some(head) = self.read_if_whole(offset, alignment).await? else {
            return Ok(None);
        };
        let Some(claim) =
            record::claim(&head, alignment).filter(|claim| claim.position == position)
        else {
            return Ok(None);
        };
        let header = if claim.header_bytes as usize <= alignment {
            head
        } else {
            let header_bytes = claim.header_bytes as usize;
            match self.read_if_whole(offset, header_bytes).await? {
                Some(header) => header,
                None => return Ok(None),
            }
        };
        let salt = self.inner.log.salt(position);
        Ok(record::decode_header(&header)
            .ok()
            .filter(|header| Some(header.origin.salt) == salt))
    }

    /// Reads; `None` where the device ends or cannot read.
    async fn read_if_whole(
        &self,
        offset: u64,
        bytes: usize,
    ) -> Result<Option<Buffer>, EngineError> {
        match self.read_exactly(Memory::AtOnce, offset, bytes).await {
            Ok(buffer) => Ok(Some(buffer)),
            Err(EngineError::Corrupt { .. } | EngineError::Io(_)) => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// Keeps room for one more change of the index, where need be by a checkpoint. Without room the round ends.
    async fn room_to_move(&self) -> Result<Pinned, EngineError> {
        let may_change = || self.inner.index.borrow().may_change(1, ChangeRoom::Move);
        if !may_change() {
            self.checkpoint_locked().await?;
        }
        if !may_change() {
            return Err(self.no_room_to_change());
        }
        Ok(Pinned::reserve(&self.inner.index, 1))
    }

    /// Appends a live record again. A record that does not verify stays where it is and is reported: its segment is kept.
    async fn move_record(&self, position: u64, header: &RecordHeader) -> Result<(), EngineError> {
        let Body::Shard(shard) = &header.body else {
            return Ok(());
        };
        let reading = self.read_into(Memory::AtOnce, shard.id, 0..shard.payload_bytes);
        let views: Vec<BufferView> = match reading.await {
            Ok(views) => views,
            Err(EngineError::NotFound) => return Ok(()),
            Err(error @ (EngineError::Corrupt { .. } | EngineError::Io(_))) => {
                tracing::error!(%error, "a record cannot be moved because it is damaged; its segment is kept");
                self.inner
                    .kept
                    .borrow_mut()
                    .insert(position / self.inner.log.map.segment_bytes);
                return Ok(());
            }
            Err(error) => return Err(error),
        };
        let alignment = self.inner.log.device.alignment();
        let padded: Option<Vec<BufferView>> =
            views.iter().map(|view| view.padded(alignment)).collect();
        let padded = padded.ok_or_else(|| {
            EngineError::Invalid("a record that was read cannot be padded".to_owned())
        })?;
        let mut pinned = self.room_to_move().await?;
        self.pin(&[shard.id], &mut pinned).await?;
        let log = &self.inner.log;
        let bytes = header.body.record_bytes(alignment);
        if !log.fits(bytes) {
            log.prepare_more(self.kept(0)).await?;
        }
        if !self.has_room(bytes, 0) {
            return Err(log.full());
        }
        // Looked at in the turn that gives the position: a free that came before must not be undone by a later record.
        let live = self
            .inner
            .index
            .borrow()
            .get(shard.id)
            .is_some_and(|entry| entry.position == position);
        if live && !self.is_changing(shard.id) {
            self.append(header.body.clone(), padded, pinned, self.kept(0))
                .await?;
        }
        Ok(())
    }
}
