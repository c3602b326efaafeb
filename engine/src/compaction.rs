//! Compaction: gives back the space of freed shards by moving the live ones out of mostly dead segments.
//!
//! Invariants: a record is moved by appending it again, with its CRCs unchanged and verified on the way; its old segment is given
//! back only after a checkpoint that points to the new place is durable, so that a crash at any moment leaves one good copy that
//! the index or the replay finds. The work is paced and yields, so that requests come first.

use std::sync::atomic::Ordering;
use std::time::Duration;

use crate::error::EngineError;
use crate::format::align_up;
use crate::format::layout::BLOCK_BYTES;
use crate::format::record::{self, Body, RecordHeader};
use crate::reactor::{self, BufferView};
use crate::store::ChunkStore;

/// How often upkeep looks by itself whether something is due.
const PERIOD: Duration = Duration::from_secs(1);

/// Segments are not worth moving when more than this share of them, in percent, is live.
const LIVE_PERCENT_MAX: u64 = 85;

/// Segments emptied between two checkpoints.
const VICTIMS_MAX: usize = 8;

/// Free segments below which compaction begins, as a divisor of all segments.
const LOW_WATER_DIVISOR: u32 = 8;

/// Bytes moved before a pause, and the pause, while there is no hurry: about 250 MB/s at most.
const PACE_BYTES: u64 = 4 << 20;
const PACE_PAUSE: Duration = Duration::from_millis(16);

impl ChunkStore {
    /// The loop of the background task.
    pub(crate) async fn keep_up(self) {
        while !self.inner.closing.get() {
            let outcome = self.upkeep_round().await;
            self.inner.upkeep_done.notify_all();
            if let Err(error) = outcome {
                tracing::warn!(%error, partition = self.inner.log.partition, "upkeep could not be done; trying again");
                reactor::sleep(PERIOD).await;
            }
            let wanted = self.inner.upkeep_wanted.notified();
            let _ = reactor::timeout(PERIOD, wanted).await;
        }
        self.inner.upkeep_done.notify_all();
    }

    async fn upkeep_round(&self) -> Result<(), EngineError> {
        if self.inner.log.device.failure().is_some() {
            return Ok(());
        }
        if self.inner.log.free_segments() <= self.low_water() && self.reclaimable() {
            return self.compact().await;
        }
        if self.checkpoint_due() {
            self.checkpoint().await
        } else {
            Ok(())
        }
    }

    fn low_water(&self) -> usize {
        (self.inner.log.map.count / LOW_WATER_DIVISOR) as usize + self.reserved_segments()
    }

    /// Whether compaction would free a segment: some are dead, or the mostly dead ones hold a segment's worth of dead bytes.
    pub(crate) fn reclaimable(&self) -> bool {
        let segment_bytes = self.inner.log.map.segment_bytes;
        let victims = self.victims();
        let index = self.inner.index.borrow();
        let dead: u64 = victims
            .iter()
            .map(|sequence| segment_bytes - index.live_bytes(*sequence).min(segment_bytes))
            .sum();
        dead > segment_bytes
    }

    /// Sealed segments worth emptying, the best first: least live bytes, then oldest (cost-benefit with equal cost of reading).
    fn victims(&self) -> Vec<u64> {
        let segment_bytes = self.inner.log.map.segment_bytes;
        let present = self.inner.log.end() / segment_bytes;
        let index = self.inner.index.borrow();
        let mut victims: Vec<(u64, u64)> = self
            .inner
            .log
            .record_segments()
            .into_iter()
            .filter(|sequence| *sequence != present && !self.inner.kept.borrow().contains(sequence))
            .map(|sequence| (index.live_bytes(sequence), sequence))
            .filter(|(live, _)| live * 100 <= segment_bytes * LIVE_PERCENT_MAX)
            .collect();
        victims.sort_unstable();
        victims.into_iter().map(|(_, sequence)| sequence).collect()
    }

    /// Empties the best segments and gives them back.
    ///
    /// # Errors
    /// [`EngineError::Full`] when not even the reserve has room, [`EngineError::Failed`] on a failed device.
    pub async fn compact(&self) -> Result<(), EngineError> {
        let _upkeep = self.inner.upkeep.lock().await;
        let segment_bytes = self.inner.log.map.segment_bytes;
        let hurry = self.inner.log.free_segments() <= self.reserved_segments();
        let mut moved = 0;
        let mut emptied = 0;
        for sequence in self.victims().into_iter().take(VICTIMS_MAX) {
            let live = self.inner.index.borrow().live_bytes(sequence);
            if moved + live > segment_bytes && emptied > 0 {
                break;
            }
            self.empty_segment(sequence, hurry).await?;
            moved += live;
            emptied += 1;
        }
        self.checkpoint_locked().await?;
        self.inner
            .statistics
            .compacted_segments
            .fetch_add(emptied, Ordering::Relaxed);
        Ok(())
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
                && self
                    .inner
                    .index
                    .borrow()
                    .get(shard.id)
                    .is_some_and(|entry| entry.position == position)
            {
                self.move_record(position, &header).await?;
                since_pause += bytes;
            }
            position += bytes;
            if since_pause > PACE_BYTES && !hurry {
                since_pause = 0;
                reactor::sleep(PACE_PAUSE).await;
            }
            reactor::yield_if_due().await;
        }
        Ok(())
    }

    async fn header_at(&self, position: u64) -> Result<Option<RecordHeader>, EngineError> {
        let alignment = self.inner.log.device.alignment();
        let offset = self
            .inner
            .log
            .device_offset(position)
            .ok_or(EngineError::NotFound)?;
        let head = self.read_exactly(offset, alignment).await?;
        let Some(claim) =
            record::claim(&head, alignment).filter(|claim| claim.position == position)
        else {
            return Ok(None);
        };
        let header = if claim.header_bytes as usize <= alignment {
            head
        } else {
            self.read_exactly(offset, claim.header_bytes as usize)
                .await?
        };
        Ok(record::decode_header(&header).ok())
    }

    /// Appends a live record again. A record that does not verify stays where it is and is reported: its segment is kept.
    async fn move_record(&self, position: u64, header: &RecordHeader) -> Result<(), EngineError> {
        let Body::Shard(shard) = &header.body else {
            return Ok(());
        };
        let views: Vec<BufferView> = match self.read(shard.id, 0..shard.payload_bytes).await {
            Ok(views) => views,
            Err(EngineError::NotFound) => return Ok(()),
            Err(error @ EngineError::Corrupt { .. }) => {
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
        // Looked at in the turn that gives the position: a free that came before must not be undone by a later record.
        let live = self
            .inner
            .index
            .borrow()
            .get(shard.id)
            .is_some_and(|entry| entry.position == position);
        if live && !self.inner.freeing.borrow().contains(&shard.id) {
            self.append(header.body.clone(), padded).await?;
        }
        Ok(())
    }
}
