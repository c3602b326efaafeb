//! The segment scan of a start: the anchor of a partition and the headers of its segments.
//!
//! Invariant: a slot is free only when nothing says that it is in use and what it holds is understood. A header that is damaged
//! gives nothing away: its segment is known from its first record, or the slot waits until recovery has seen that nothing is
//! missing.

use std::collections::{BTreeMap, BTreeSet};
use std::io;

use futures_util::stream::{self, StreamExt};

use super::{Segment, SegmentLog, State};
use crate::checkpoint::index_segments_for;
use crate::device::{Device, view_of};
use crate::error::EngineError;
use crate::format::FormatError;
use crate::format::anchor::Anchor;
use crate::format::layout::{BLOCK_BYTES, SegmentMap, anchor_offset};
use crate::format::record;
use crate::format::segment::{Content, SegmentHeader};
use crate::reactor::{self, Buffer};
use crate::write::SEGMENTS_KEPT_FROM_WRITES;

/// Slots that are looked at together: a device of a terabyte has ten thousand of them.
const READS_AT_ONCE: usize = 64;

/// What the device holds, before the records are looked at.
pub(crate) struct ScannedLog {
    pub(crate) anchor: Anchor,
    /// What is wrong with one of the two anchors, if anything is.
    pub(crate) damaged_anchor: Option<String>,
    /// By sequence.
    pub(crate) segments: BTreeMap<u64, SegmentHeader>,
    /// Segments in use whose header is damaged, by sequence: what is wrong with it.
    pub(crate) mended: BTreeMap<u64, String>,
    /// Slots of which nothing is known. They are not free until [`SegmentLog::free_unknown`] says so.
    pub(crate) unknown: Vec<UnknownSlot>,
}

/// A slot whose header says nothing.
pub(crate) struct UnknownSlot {
    pub(crate) slot: u32,
    /// Whether the device could read it at all.
    pub(crate) readable: bool,
    pub(crate) detail: String,
}

/// What the beginning of a slot says.
pub(super) enum Slot {
    Used(SegmentHeader),
    /// The header is damaged; its segment is known from the first record. `previous_end` is not, and is 0.
    Mended(SegmentHeader, String),
    Unknown(UnknownSlot),
}

impl SegmentLog {
    /// Empties the partition: replay begins behind every sequence number that it has seen.
    pub(crate) async fn erase(device: &Device, partition: u16) -> Result<(), EngineError> {
        let map = device.segment_map(partition).await?;
        let before = match read_anchor(device, partition).await {
            Ok((anchor, _)) => anchor,
            Err(EngineError::Corrupt { .. }) => Anchor {
                partition,
                ..Anchor::default()
            },
            Err(error) => return Err(error),
        };
        let slots = read_slots(device, &map, &before, partition).await?;
        let sequences = slots.iter().filter_map(|(_, slot)| match slot {
            Slot::Used(header) | Slot::Mended(header, _) => Some(header.sequence),
            Slot::Unknown(_) => None,
        });
        let seen = sequences.max().unwrap_or(0);
        let next_sequence = before.next_sequence.max(seen + 1);
        let replay_from = next_sequence * map.segment_bytes;
        for step in 1..=2 {
            let anchor = Anchor {
                partition,
                generation: before.generation + step,
                replay_from,
                durable_position: replay_from,
                next_sequence,
                run: before.run + 1,
                replay_run: before.run + 1,
                ..Anchor::default()
            };
            let offset = anchor_offset(partition, (anchor.generation % 2) as usize);
            device
                .write_durable(vec![view_of(&anchor.encode())], offset)
                .await?;
        }
        Ok(())
    }

    /// Gives the slots free of which nothing is known, after it has been seen that nothing is missing that could lie there: a
    /// write that was torn, or what the device held before it was formatted. Those that cannot be read are left alone.
    pub(crate) fn free_unknown(&self, found: &ScannedLog) {
        let slots = found.unknown.iter().filter(|unknown| unknown.readable);
        let slots = slots.map(|unknown| unknown.slot);
        let mut state = self.state.borrow_mut();
        let limit = state.limit;
        for slot in slots {
            state.withheld.remove(&slot);
            if slot < limit {
                state.free.insert(slot);
            }
        }
        drop(state);
        self.count_segments();
    }
}

/// Sorts the slots into those in use and the free ones.
pub(super) fn first_state(
    map: &SegmentMap,
    anchor: Anchor,
    slots: Vec<(u32, Slot)>,
) -> (State, ScannedLog) {
    let mut state = State {
        limit: map.limit,
        free: (0..map.limit).collect(),
        next_sequence: anchor.next_sequence,
        ..State::default()
    };
    let mut found = ScannedLog {
        anchor,
        damaged_anchor: None,
        segments: BTreeMap::new(),
        mended: BTreeMap::new(),
        unknown: Vec::new(),
    };
    let mut mended = Vec::new();
    for (slot, content) in slots {
        match content {
            Slot::Used(header) => found.take(&mut state, slot, header),
            Slot::Mended(header, detail) => mended.push((slot, header, detail)),
            Slot::Unknown(unknown) => {
                state.free.remove(&slot);
                found.unknown.push(unknown);
            }
        }
    }
    for (slot, header, detail) in mended {
        if found.segments.contains_key(&header.sequence) {
            state.free.remove(&slot);
            let readable = true;
            found.unknown.push(UnknownSlot {
                slot,
                readable,
                detail,
            });
        } else {
            found.mended.insert(header.sequence, detail);
            found.take(&mut state, slot, header);
        }
    }
    for header in found.segments.values() {
        if header.content == Content::Records {
            state.seal(header.previous_end, map.segment_bytes);
        }
    }
    found.take_index(&mut state, map);
    state.withheld = found.unknown.iter().map(|unknown| unknown.slot).collect();
    found.keep_a_reserve(&mut state, map);
    (state, found)
}

/// Segments without which there are neither deletes nor checkpoints.
pub(super) fn reserve_of(map: &SegmentMap, anchor: &Anchor) -> u32 {
    let segments = anchor.index_segments.len() as u64;
    let index = index_segments_for(anchor.page_count, segments, map.segment_bytes);
    (index + SEGMENTS_KEPT_FROM_WRITES) as u32
}

impl ScannedLog {
    /// Notes what a slot is used for.
    fn take(&mut self, state: &mut State, slot: u32, header: SegmentHeader) {
        // The space of a slot that was written once is the file's for good, whatever the capacity is now.
        state.written.insert(slot);
        state.free.insert(slot);
        state.next_sequence = state.next_sequence.max(header.sequence + 1);
        let named = self.anchor.index_segments.contains(&slot);
        if header.content == Content::Records || named {
            state.free.remove(&slot);
            let segment = Segment {
                slot,
                content: header.content,
                salt: header.salt,
            };
            state.in_use.insert(header.sequence, segment);
            self.segments.insert(header.sequence, header);
        }
    }

    /// The index segments that the anchor names are in use whatever their headers say. One without a header gets a sequence
    /// number of its own, and a header once the partition is written to.
    fn take_index(&mut self, state: &mut State, map: &SegmentMap) {
        let named = self.anchor.index_segments.iter().copied();
        for slot in named.filter(|slot| *slot < map.count) {
            state.free.remove(&slot);
            self.unknown.retain(|unknown| unknown.slot != slot);
            if state.in_use.values().any(|segment| segment.slot == slot) {
                continue;
            }
            let segment = Segment {
                slot,
                content: Content::Index,
                salt: 0,
            };
            state.written.insert(slot);
            state.in_use.insert(state.next_sequence, segment);
            let offset = map.offset(slot);
            let detail = format!("the header of index segment {slot} at {offset} is damaged");
            self.mended.insert(state.next_sequence, detail);
            state.next_sequence += 1;
        }
    }

    /// Where the capacity is smaller than what is in use, the reserve lay beyond it too: it is still needed, for deletes.
    fn keep_a_reserve(&self, state: &mut State, map: &SegmentMap) {
        let mut taken: BTreeSet<u32> = state.in_use.values().map(|segment| segment.slot).collect();
        if taken.range(map.limit..).next().is_none() {
            return;
        }
        taken.extend(self.unknown.iter().map(|unknown| unknown.slot));
        taken.extend(&state.free);
        let missing = (reserve_of(map, &self.anchor) as usize).saturating_sub(state.free.len());
        let beyond = (map.limit..map.count).filter(|slot| !taken.contains(slot));
        state.free.extend(beyond.take(missing));
    }
}

/// The newer anchor of a partition, and what is wrong with the other one, if anything is. What is written next takes the place of
/// that one.
pub(super) async fn read_anchor(
    device: &Device,
    partition: u16,
) -> Result<(Anchor, Option<String>), EngineError> {
    let first = read_one_anchor(device, partition, 0).await;
    let second = read_one_anchor(device, partition, 1).await;
    match (first, second) {
        (Ok(first), Ok(second)) if first.generation > second.generation => Ok((first, None)),
        (Ok(_), Ok(second)) => Ok((second, None)),
        (Ok(anchor), Err(error)) | (Err(error), Ok(anchor)) if is_damage(&error) => {
            let detail = format!("{error}; the other anchor counts, and this one is written anew");
            Ok((anchor, Some(detail)))
        }
        (Err(error), Err(other)) if is_damage(&error) => Err(other),
        (Err(error), _) | (_, Err(error)) => Err(error),
    }
}

/// Damage of one block, of which another holds a copy.
fn is_damage(error: &EngineError) -> bool {
    matches!(error, EngineError::Corrupt { .. } | EngineError::Io(_))
}

async fn read_one_anchor(
    device: &Device,
    partition: u16,
    slot: usize,
) -> Result<Anchor, EngineError> {
    let offset = anchor_offset(partition, slot);
    let path = device.path().display();
    let place = format!("{path} anchor of partition {partition} at {offset}");
    let block = read_block(device, offset, BLOCK_BYTES).await;
    let block = block.map_err(|error| match error {
        EngineError::Io(error) => io::Error::new(error.kind(), format!("{place}: {error}")).into(),
        other => other,
    })?;
    match Anchor::decode(&block) {
        Ok(anchor) if anchor.partition == partition => Ok(anchor),
        Ok(_) => {
            let detail = "the anchor is another partition's";
            Err(EngineError::corrupt(place, detail))
        }
        Err(error) => Err(EngineError::from_format(place, error)),
    }
}

/// What each slot holds; those that hold nothing are left out.
pub(super) async fn read_slots(
    device: &Device,
    map: &SegmentMap,
    anchor: &Anchor,
    partition: u16,
) -> Result<Vec<(u32, Slot)>, EngineError> {
    let length = device.length().await?;
    let written = (0..map.count).filter(|slot| map.offset(*slot) + BLOCK_BYTES as u64 <= length);
    let reading = written.map(|slot| async move {
        let content = read_slot(device, map, anchor, partition, slot).await?;
        Ok::<_, EngineError>((slot, content))
    });
    let mut reading = stream::iter(reading).buffer_unordered(READS_AT_ONCE);
    let mut found = BTreeMap::new();
    while let Some(outcome) = reading.next().await {
        if let (slot, Some(content)) = outcome? {
            found.insert(slot, content);
        }
    }
    Ok(found.into_iter().collect())
}

async fn read_slot(
    device: &Device,
    map: &SegmentMap,
    anchor: &Anchor,
    partition: u16,
    slot: u32,
) -> Result<Option<Slot>, EngineError> {
    let (detail, readable, empty) = match read_block(device, map.offset(slot), BLOCK_BYTES).await {
        Ok(block) => match SegmentHeader::decode(&block) {
            Ok(header) => {
                let own =
                    header.partition == partition && header.device == device.superblock().device.0;
                return Ok(own.then_some(Slot::Used(header)));
            }
            Err(FormatError::OtherFormat { features }) => {
                return Err(EngineError::OtherFormat { features });
            }
            Err(error) => (error.to_string(), true, block.iter().all(|byte| *byte == 0)),
        },
        Err(EngineError::Io(error)) => (error.to_string(), false, false),
        Err(error) => return Err(error),
    };
    let offset = map.offset(slot);
    let detail = format!("the header of segment {slot} at {offset} is damaged: {detail}");
    if let Some(header) = header_from_record(device, map, anchor, partition, slot).await? {
        return Ok(Some(Slot::Mended(header, detail)));
    }
    Ok((!empty).then_some(Slot::Unknown(UnknownSlot {
        slot,
        readable,
        detail,
    })))
}

/// What the header of a segment must have said, after its first record. A record that the anchor cannot vouch for is none: it
/// may be what the device held before it was formatted.
async fn header_from_record(
    device: &Device,
    map: &SegmentMap,
    anchor: &Anchor,
    partition: u16,
    slot: u32,
) -> Result<Option<SegmentHeader>, EngineError> {
    let offset = map.offset(slot) + BLOCK_BYTES as u64;
    let alignment = device.alignment();
    let head = match read_block(device, offset, alignment).await {
        Ok(head) => head,
        Err(EngineError::Io(_)) => return Ok(None),
        Err(error) => return Err(error),
    };
    let Ok(header) = record::decode_header(&head) else {
        return Ok(None);
    };
    let sequence = header.origin.position / map.segment_bytes;
    let first = header.origin.position % map.segment_bytes == BLOCK_BYTES as u64;
    let known = (1..anchor.next_sequence).contains(&sequence)
        && (1..=anchor.run).contains(&header.origin.run);
    let superblock = device.superblock();
    Ok((first && known).then_some(SegmentHeader {
        device: superblock.device.0,
        partition,
        content: Content::Records,
        sequence,
        previous_end: 0,
        durable_before: header.origin.durable_before,
        writer_node: superblock.writer_node,
        writer_epoch: superblock.writer_epoch,
        salt: header.origin.salt,
    }))
}

async fn read_block(device: &Device, offset: u64, bytes: usize) -> Result<Buffer, EngineError> {
    let buffer = reactor::allocate(bytes).await;
    device.read(buffer, offset, bytes).await
}
