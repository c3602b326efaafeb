//! The anchor of a partition: its last checkpoint. Writing one is the moment at which a checkpoint counts.
//!
//! Of the two slots the one with the higher generation counts; they are written alternately, so a torn one leaves the other.

use bytemuck::{Pod, Zeroable};

use super::layout::{BLOCK_BYTES, COUNT_MAX};
use super::page::{LEVELS_MAX, PagePlace};
use super::{FormatError, Preamble, kind, read, refuse_nonzero, seal};

/// Index segments that an anchor can name.
pub const INDEX_SEGMENT_COUNT_MAX: usize = 960;

#[repr(C)]
#[derive(Clone, Copy, Pod, Zeroable)]
struct RawRoot {
    slot: u32,
    page: u32,
    crc: u32,
    levels: u32,
}

#[repr(C)]
#[derive(Clone, Copy, Pod, Zeroable)]
struct Raw {
    preamble: Preamble,
    partition: u16,
    reserved: [u8; 6],
    generation: u64,
    replay_from: u64,
    durable_position: u64,
    entry_count: u64,
    page_count: u64,
    next_sequence: u64,
    index_generation: u64,
    index_segment_count: u32,
    run: u32,
    replay_run: u32,
    roots: [RawRoot; 2],
    reserved_later: [u8; 140],
    index_segments: [u32; INDEX_SEGMENT_COUNT_MAX],
}

const _: () = assert!(size_of::<Raw>() == BLOCK_BYTES);
const _: () = assert!(std::mem::offset_of!(Raw, index_segments) == 256);

/// Where a tree of pages begins.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Root {
    /// Where its topmost page lies.
    pub place: PagePlace,
    /// The CRC of that page.
    pub crc: u32,
    /// Levels of inner pages, from 1 up.
    pub levels: u32,
}

impl RawRoot {
    fn of(root: Option<Root>) -> RawRoot {
        root.map_or(RawRoot::zeroed(), |root| RawRoot {
            slot: root.place.slot,
            page: root.place.page,
            crc: root.crc,
            levels: root.levels,
        })
    }

    fn checked(self) -> Result<Option<Root>, FormatError> {
        let RawRoot {
            slot,
            page,
            crc,
            levels,
        } = self;
        match levels {
            0 if (slot, page, crc) == (0, 0, 0) => Ok(None),
            1..=LEVELS_MAX => Ok(Some(Root {
                place: PagePlace { slot, page },
                crc,
                levels,
            })),
            _ => Err(FormatError::Field("a root of the anchor")),
        }
    }
}

/// An anchor that has been checked.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Anchor {
    /// The partition.
    pub partition: u16,
    /// Raised by every write.
    pub generation: u64,
    /// Records from this position on are not in the index pages (data) or are still kept (log).
    pub replay_from: u64,
    /// A position that was durable when the anchor was written: damage below it is corruption.
    pub durable_position: u64,
    /// Entries in the index pages.
    pub entry_count: u64,
    /// Pages of both trees.
    pub page_count: u64,
    /// No segment has had this sequence number yet.
    pub next_sequence: u64,
    /// The last checkpoint that wrote index pages.
    pub index_generation: u64,
    /// The tree from shard to place, unless it is empty.
    pub shards: Option<Root>,
    /// The tree of what would otherwise have to be counted, unless it is empty.
    pub table: Option<Root>,
    /// How often the partition has been opened for writing. Records carry it.
    pub run: u32,
    /// The run in which `replay_from` was set: older records behind it are what a torn batch left.
    pub replay_run: u32,
    /// The segments of the index pages, by their number in the partition.
    pub index_segments: Vec<u32>,
}

impl Anchor {
    /// The block as it is written.
    ///
    /// # Panics
    /// When there are more index segments than an anchor can name; the limit on entries keeps below that.
    pub fn encode(&self) -> Vec<u8> {
        assert!(
            self.index_segments.len() <= INDEX_SEGMENT_COUNT_MAX,
            "an anchor names all index segments"
        );
        let mut raw = Raw::zeroed();
        (raw.partition, raw.generation) = (self.partition, self.generation);
        (raw.replay_from, raw.durable_position) = (self.replay_from, self.durable_position);
        (raw.entry_count, raw.page_count) = (self.entry_count, self.page_count);
        raw.next_sequence = self.next_sequence;
        raw.index_generation = self.index_generation;
        raw.roots = [self.shards, self.table].map(RawRoot::of);
        (raw.run, raw.replay_run) = (self.run, self.replay_run);
        raw.index_segment_count = self.index_segments.len() as u32;
        raw.index_segments[..self.index_segments.len()].copy_from_slice(&self.index_segments);
        let mut bytes = bytemuck::bytes_of(&raw).to_vec();
        seal(&mut bytes, kind::ANCHOR);
        bytes
    }

    /// Reads a block.
    ///
    /// # Errors
    /// Says what is wrong with it.
    pub fn decode(bytes: &[u8]) -> Result<Anchor, FormatError> {
        let raw: Raw = read(bytes)?;
        super::check(&bytes[..BLOCK_BYTES], kind::ANCHOR)?;
        refuse_nonzero(&raw.reserved, "reserved bytes of the anchor")?;
        refuse_nonzero(&raw.reserved_later, "reserved bytes of the anchor")?;
        let counts = [
            raw.generation,
            raw.replay_from,
            raw.durable_position,
            raw.entry_count,
            raw.page_count,
            raw.next_sequence,
            raw.index_generation,
        ];
        if counts.iter().any(|count| *count > COUNT_MAX) || raw.run == u32::MAX {
            return Err(FormatError::Field("a count of the anchor"));
        }
        let segments = raw
            .index_segments
            .split_at_checked(raw.index_segment_count as usize);
        let (segments, unused) = segments.ok_or(FormatError::Field("number of index segments"))?;
        if unused.iter().any(|slot| *slot != 0) {
            return Err(FormatError::Field("unused index segments of the anchor"));
        }
        Ok(Anchor {
            partition: raw.partition,
            generation: raw.generation,
            replay_from: raw.replay_from,
            durable_position: raw.durable_position,
            entry_count: raw.entry_count,
            page_count: raw.page_count,
            next_sequence: raw.next_sequence,
            index_generation: raw.index_generation,
            shards: raw.roots[0].checked()?,
            table: raw.roots[1].checked()?,
            run: raw.run,
            replay_run: raw.replay_run,
            index_segments: segments.to_vec(),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_anchor_comes_back() {
        let anchor = Anchor {
            partition: 3,
            generation: 5,
            replay_from: 1 << 40,
            durable_position: 2 << 40,
            entry_count: 101,
            page_count: 2,
            next_sequence: 77,
            index_generation: 4,
            shards: Some(Root {
                place: PagePlace { slot: 4, page: 5 },
                crc: 6,
                levels: 1,
            }),
            table: None,
            run: 3,
            replay_run: 2,
            index_segments: vec![4, 9],
        };
        assert_eq!(Anchor::decode(&anchor.encode()), Ok(anchor));
    }
}
