//! What of a partition lies on the device: its anchor and the headers of its segments.

use std::collections::BTreeMap;

use super::{Segment, SegmentLog, State};
use crate::device::{Device, view_of};
use crate::error::EngineError;
use crate::format::FormatError;
use crate::format::anchor::Anchor;
use crate::format::layout::{BLOCK_BYTES, SegmentMap, anchor_offset};
use crate::format::segment::{Content, SegmentHeader};
use crate::reactor;

/// What the device holds, before the records are looked at.
pub(crate) struct FoundLog {
    pub(crate) anchor: Anchor,
    /// By sequence.
    pub(crate) segments: BTreeMap<u64, SegmentHeader>,
}

impl SegmentLog {
    /// Empties the partition: replay begins behind every sequence number that it has seen.
    pub(crate) async fn erase(device: &Device, partition: u16) -> Result<(), EngineError> {
        let map = device.segment_map(partition)?;
        let before = match read_anchor(device, partition).await {
            Ok(anchor) => anchor,
            Err(EngineError::Corrupt { .. }) => Anchor {
                partition,
                ..Anchor::default()
            },
            Err(error) => return Err(error),
        };
        let headers = read_segment_headers(device, partition, &map).await?;
        let seen = headers
            .iter()
            .map(|(_, header)| header.sequence)
            .max()
            .unwrap_or(0);
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
}

/// Sorts the segments that were found into those in use and the free ones.
pub(super) fn first_state(
    map: &SegmentMap,
    anchor: &Anchor,
    headers: Vec<(u32, SegmentHeader)>,
) -> (State, BTreeMap<u64, SegmentHeader>) {
    let mut state = State {
        free: (0..map.count).collect(),
        next_sequence: anchor.next_sequence,
        ..State::default()
    };
    let mut found = BTreeMap::new();
    for (slot, header) in headers {
        state.written.insert(slot);
        state.next_sequence = state.next_sequence.max(header.sequence + 1);
        let named = anchor.index_segments.contains(&slot);
        if header.content == Content::Records || named {
            state.free.remove(&slot);
            let segment = Segment {
                slot,
                content: header.content,
                salt: header.salt,
            };
            state.in_use.insert(header.sequence, segment);
            found.insert(header.sequence, header);
        }
    }
    (state, found)
}

pub(super) async fn read_anchor(device: &Device, partition: u16) -> Result<Anchor, EngineError> {
    let mut best: Option<Anchor> = None;
    let mut damage = FormatError::Field("no anchor");
    for slot in 0..2 {
        let offset = anchor_offset(partition, slot);
        let block = device
            .read(reactor::allocate(BLOCK_BYTES).await, offset, BLOCK_BYTES)
            .await?;
        match Anchor::decode(&block) {
            Ok(anchor)
                if best
                    .as_ref()
                    .is_none_or(|best| anchor.generation > best.generation) =>
            {
                best = Some(anchor)
            }
            Ok(_) => {}
            Err(error) => damage = error,
        }
    }
    let place = || {
        format!(
            "{} anchor of partition {partition}",
            device.path().display()
        )
    };
    best.ok_or_else(|| EngineError::from_format(place(), damage))
}

pub(super) async fn read_segment_headers(
    device: &Device,
    partition: u16,
    map: &SegmentMap,
) -> Result<Vec<(u32, SegmentHeader)>, EngineError> {
    let length = device.length().await?;
    let mut found = Vec::new();
    for slot in 0..map.count {
        let offset = map.offset(slot);
        if offset + BLOCK_BYTES as u64 > length {
            continue;
        }
        let block = device
            .read(reactor::allocate(BLOCK_BYTES).await, offset, BLOCK_BYTES)
            .await?;
        match SegmentHeader::decode(&block) {
            Ok(header)
                if header.partition == partition
                    && header.device == device.superblock().device.0 =>
            {
                found.push((slot, header))
            }
            Err(FormatError::NewerFormat { features }) => {
                return Err(EngineError::NewerFormat { features });
            }
            Ok(_) | Err(_) => {}
        }
    }
    Ok(found)
}
