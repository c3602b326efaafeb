//! The superblock: who a device is, how it is divided, where the log has its copies. Nothing outside the device is needed to
//! open it.

use bytemuck::{Pod, Zeroable};

use super::layout::{
    ALIGNMENT_MAX, BLOCK_BYTES, LOG_SEGMENTS_MAX, PARTITION_COUNT_MAX, SEGMENT_BYTES_MAX,
};
use super::{FormatError, Preamble, kind, read, refuse_nonzero, seal};
use crate::id::Uuid;

/// Devices that may hold a copy of the log.
pub const LOG_MIRROR_COUNT_MAX: usize = 8;

/// The incompatible feature of a block device whose length is noted: a version that does not know it would take a device that has
/// shrunk for one that lost records.
const FEATURE_BLOCK_DEVICE: u64 = 1;

/// Marks a Strata device, before any version.
const MAGIC: [u8; 8] = *b"STRATA\r\n";

#[repr(C)]
#[derive(Clone, Copy, Pod, Zeroable)]
struct Raw {
    preamble: Preamble,
    magic: [u8; 8],
    cluster: [u8; 16],
    device: [u8; 16],
    pool: [u8; 16],
    generation: u64,
    features_compatible: u64,
    features_read_only: u64,
    features_incompatible: u64,
    segment_bytes: u64,
    writer_node: u64,
    writer_epoch: u64,
    mirror_generation: u64,
    incarnation: u32,
    alignment: u32,
    log_segments: u32,
    data_partition_count: u16,
    partition_count: u16,
    mirror_count: u16,
    reserved: [u8; 6],
    block_device_bytes: u64,
    reserved_later: [u8; 96],
    mirrors: [[u8; 16]; LOG_MIRROR_COUNT_MAX],
    partitions: [RawPartition; PARTITION_COUNT_MAX],
    tail: [u8; TAIL_BYTES],
}

#[repr(C)]
#[derive(Clone, Copy, Pod, Zeroable)]
struct RawPartition {
    kind: u16,
    number: u16,
    first_segment: u32,
    stride: u32,
    reserved: u32,
}

const FIXED_BYTES: usize = 256;
const TABLES_BYTES: usize = LOG_MIRROR_COUNT_MAX * 16 + PARTITION_COUNT_MAX * 16;
const TAIL_BYTES: usize = BLOCK_BYTES - FIXED_BYTES - TABLES_BYTES;
const _: () = assert!(size_of::<Raw>() == BLOCK_BYTES);
const _: () = assert!(std::mem::offset_of!(Raw, mirrors) == FIXED_BYTES);
const _: () = assert!(std::mem::offset_of!(Raw, generation) == 64);
const _: () = assert!(std::mem::offset_of!(Raw, incarnation) == 128);
const _: () = assert!(std::mem::offset_of!(Raw, block_device_bytes) == 152);

/// What a partition is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum PartitionKind {
    /// Chunks.
    Data,
    /// The replicated log.
    Log,
    /// Copies of what lies on slower devices. Not used by this version.
    Cache,
}

/// One partition of a device.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PartitionEntry {
    /// Its number, which names its anchors.
    pub number: u16,
    /// What it is for.
    pub kind: PartitionKind,
    /// Its first segment.
    pub first_segment: u32,
    /// From one of its segments to the next.
    pub stride: u32,
}

/// A superblock that has been checked.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Superblock {
    /// The cluster.
    pub cluster: Uuid,
    /// The device.
    pub device: Uuid,
    /// The pool that it belongs to.
    pub pool: Uuid,
    /// Raised by every write; of the two copies the higher one counts.
    pub generation: u64,
    /// The cluster's incarnation, raised by every restore.
    pub incarnation: u32,
    /// Alignment of offsets and lengths for direct I/O, in bytes.
    pub alignment: u32,
    /// Length of a segment, in bytes.
    pub segment_bytes: u64,
    /// Segments that belong to the log partition.
    pub log_segments: u32,
    /// The node that may write.
    pub writer_node: u64,
    /// Its epoch; an older writer is fenced.
    pub writer_epoch: u64,
    /// The partitions.
    pub partitions: Vec<PartitionEntry>,
    /// The devices that hold a copy of the log.
    pub log_mirrors: Vec<Uuid>,
    /// The generation of that set.
    pub mirror_generation: u64,
    /// Features that a version may ignore which does not know them; kept when the block is rewritten.
    pub features_compatible: u64,
    /// How long the block device was that it lies on, in bytes: segments may lie anywhere on it. 0 in a file, which grows.
    pub block_device_bytes: u64,
}

impl Superblock {
    /// The block as it is written.
    pub fn encode(&self) -> Vec<u8> {
        let mut raw = Raw::zeroed();
        raw.magic = MAGIC;
        (raw.cluster, raw.device, raw.pool) = (self.cluster.0, self.device.0, self.pool.0);
        raw.generation = self.generation;
        raw.features_compatible = self.features_compatible;
        raw.block_device_bytes = self.block_device_bytes;
        if self.block_device_bytes > 0 {
            raw.features_incompatible = FEATURE_BLOCK_DEVICE;
        }
        raw.segment_bytes = self.segment_bytes;
        (raw.writer_node, raw.writer_epoch) = (self.writer_node, self.writer_epoch);
        raw.mirror_generation = self.mirror_generation;
        (raw.incarnation, raw.alignment, raw.log_segments) =
            (self.incarnation, self.alignment, self.log_segments);
        raw.data_partition_count = data_partition_count(&self.partitions);
        (raw.partition_count, raw.mirror_count) =
            (self.partitions.len() as u16, self.log_mirrors.len() as u16);
        for (slot, mirror) in raw.mirrors.iter_mut().zip(&self.log_mirrors) {
            *slot = mirror.0;
        }
        for (slot, entry) in raw.partitions.iter_mut().zip(&self.partitions) {
            let kind = partition_kind_number(entry.kind);
            *slot = RawPartition {
                kind,
                number: entry.number,
                first_segment: entry.first_segment,
                stride: entry.stride,
                reserved: 0,
            };
        }
        let mut bytes = bytemuck::bytes_of(&raw).to_vec();
        seal(&mut bytes, kind::SUPERBLOCK);
        bytes
    }

    /// Reads a block.
    ///
    /// # Errors
    /// [`FormatError::Kind`] where there is none at all, [`FormatError::OtherFormat`] before anything else is believed.
    pub fn decode(bytes: &[u8]) -> Result<Superblock, FormatError> {
        let raw: Raw = read(bytes)?;
        if raw.magic != MAGIC {
            return Err(FormatError::Kind {
                found: raw.preamble.kind,
                expected: kind::SUPERBLOCK,
            });
        }
        super::check(&bytes[..BLOCK_BYTES], kind::SUPERBLOCK)?;
        if raw.features_incompatible & !FEATURE_BLOCK_DEVICE | raw.features_read_only != 0 {
            let features = format!(
                "features {:#x} / {:#x}, which a newer one has written",
                raw.features_incompatible, raw.features_read_only
            );
            return Err(FormatError::OtherFormat { features });
        }
        refuse_nonzero(&raw.reserved, "reserved bytes of the superblock")?;
        refuse_nonzero(&raw.reserved_later, "reserved bytes of the superblock")?;
        refuse_nonzero(&raw.tail, "reserved bytes of the superblock")?;
        if (raw.block_device_bytes > 0) != (raw.features_incompatible == FEATURE_BLOCK_DEVICE) {
            return Err(FormatError::Field("length of the block device"));
        }
        check_lengths(&raw)?;
        let partitions = partitions(&raw)?;
        if data_partition_count(&partitions) != raw.data_partition_count {
            return Err(FormatError::Field("number of data partitions"));
        }
        Ok(Superblock {
            cluster: Uuid(raw.cluster),
            device: Uuid(raw.device),
            pool: Uuid(raw.pool),
            generation: raw.generation,
            incarnation: raw.incarnation,
            alignment: raw.alignment,
            segment_bytes: raw.segment_bytes,
            log_segments: raw.log_segments,
            writer_node: raw.writer_node,
            writer_epoch: raw.writer_epoch,
            partitions,
            log_mirrors: mirrors(&raw)?,
            mirror_generation: raw.mirror_generation,
            features_compatible: raw.features_compatible,
            block_device_bytes: raw.block_device_bytes,
        })
    }
}

fn data_partition_count(partitions: &[PartitionEntry]) -> u16 {
    let data = partitions
        .iter()
        .filter(|entry| entry.kind == PartitionKind::Data);
    data.count() as u16
}

/// With these, every segment of the log and the first of every partition has an offset, and a start looks at few enough.
fn check_lengths(raw: &Raw) -> Result<(), FormatError> {
    let known = raw.alignment.is_power_of_two()
        && raw.alignment <= ALIGNMENT_MAX
        && raw.segment_bytes.is_power_of_two()
        && (256 << 10..=SEGMENT_BYTES_MAX).contains(&raw.segment_bytes)
        && raw.log_segments <= LOG_SEGMENTS_MAX;
    match known {
        true => Ok(()),
        false => Err(FormatError::Field(
            "alignment, segment length and log segments of the superblock",
        )),
    }
}

fn partition_kind_number(kind: PartitionKind) -> u16 {
    match kind {
        PartitionKind::Data => 1,
        PartitionKind::Log => 2,
        PartitionKind::Cache => 3,
    }
}

fn partitions(raw: &Raw) -> Result<Vec<PartitionEntry>, FormatError> {
    let (used, unused) = raw
        .partitions
        .split_at_checked(usize::from(raw.partition_count))
        .ok_or(FormatError::Field("number of partitions"))?;
    refuse_nonzero(
        bytemuck::cast_slice(unused),
        "unused rows of the partition table",
    )?;
    used.iter()
        .map(|entry| {
            let kind = match entry.kind {
                1 => PartitionKind::Data,
                2 => PartitionKind::Log,
                3 => PartitionKind::Cache,
                _ => return Err(FormatError::Field("kind of a partition")),
            };
            if !(1..=PARTITION_COUNT_MAX).contains(&(entry.stride as usize))
                || entry.first_segment > LOG_SEGMENTS_MAX + PARTITION_COUNT_MAX as u32
                || entry.reserved != 0
                || usize::from(entry.number) >= PARTITION_COUNT_MAX
            {
                return Err(FormatError::Field("a row of the partition table"));
            }
            Ok(PartitionEntry {
                number: entry.number,
                kind,
                first_segment: entry.first_segment,
                stride: entry.stride,
            })
        })
        .collect()
}

fn mirrors(raw: &Raw) -> Result<Vec<Uuid>, FormatError> {
    let (used, unused) = raw
        .mirrors
        .split_at_checked(usize::from(raw.mirror_count))
        .ok_or(FormatError::Field("number of log mirrors"))?;
    refuse_nonzero(unused.as_flattened(), "unused log mirrors")?;
    Ok(used.iter().copied().map(Uuid).collect())
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;

    pub(crate) fn example() -> Superblock {
        Superblock {
            cluster: Uuid([1; 16]),
            device: Uuid([2; 16]),
            pool: Uuid([3; 16]),
            generation: 7,
            incarnation: 1,
            alignment: 512,
            segment_bytes: 4 << 20,
            log_segments: 16,
            writer_node: 1,
            writer_epoch: 9,
            partitions: vec![
                PartitionEntry {
                    number: 0,
                    kind: PartitionKind::Log,
                    first_segment: 0,
                    stride: 1,
                },
                PartitionEntry {
                    number: 1,
                    kind: PartitionKind::Data,
                    first_segment: 16,
                    stride: 1,
                },
            ],
            log_mirrors: vec![Uuid([2; 16]), Uuid([4; 16])],
            mirror_generation: 3,
            features_compatible: 1 << 40 | 1,
            block_device_bytes: 0,
        }
    }

    #[test]
    fn a_superblock_comes_back() {
        assert_eq!(Superblock::decode(&example().encode()), Ok(example()));
    }

    #[test]
    fn the_length_of_a_block_device_comes_back_and_is_a_feature() {
        let mut block = example();
        block.block_device_bytes = 1 << 40;
        let mut bytes = block.encode();
        assert_eq!(Superblock::decode(&bytes), Ok(block));
        bytes[std::mem::offset_of!(Raw, features_incompatible)] = 0;
        seal(&mut bytes, kind::SUPERBLOCK);
        assert!(Superblock::decode(&bytes).is_err());
    }

    /// A version that knows nothing of a compatible feature writes the block without losing it.
    #[test]
    fn unknown_compatible_features_survive_a_rewriting() {
        let mut block = Superblock::decode(&example().encode()).expect("a superblock");
        block.generation += 1;
        let rewritten = Superblock::decode(&block.encode()).expect("a superblock");
        assert_eq!(rewritten.features_compatible, 1 << 40 | 1);
    }

    #[test]
    fn an_unknown_incompatible_feature_is_refused_by_name() {
        let mut bytes = example().encode();
        bytes[std::mem::offset_of!(Raw, features_incompatible)] = 4;
        seal(&mut bytes, kind::SUPERBLOCK);
        assert!(matches!(
            Superblock::decode(&bytes),
            Err(FormatError::OtherFormat { .. })
        ));
    }

    #[test]
    fn every_flipped_bit_is_noticed() {
        let good = example().encode();
        for bit in 0..good.len() * 8 {
            let mut bytes = good.clone();
            bytes[bit / 8] ^= 1 << (bit % 8);
            assert!(Superblock::decode(&bytes).is_err(), "bit {bit}");
        }
    }
}
