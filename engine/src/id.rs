//! Identities: devices, chunks, shards and who owns them.

use std::fmt;

/// A universally unique id (RFC 9562).
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct Uuid(pub [u8; 16]);

/// As people know it, in whatever it is part of.
impl fmt::Debug for Uuid {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, formatter)
    }
}

impl fmt::Display for Uuid {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (position, byte) in self.0.iter().enumerate() {
            if matches!(position, 4 | 6 | 8 | 10) {
                formatter.write_str("-")?;
            }
            write!(formatter, "{byte:02x}")?;
        }
        Ok(())
    }
}

/// The id of a chunk, never used again: placement group 24, writer 32, epoch 32, sequence 40 bits, from the high ones down.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct ChunkId(pub u128);

const SEQUENCE_BITS: u32 = 40;
const EPOCH_BITS: u32 = 32;
const WRITER_BITS: u32 = 32;
const GROUP_BITS: u32 = 24;
const _: () = assert!(SEQUENCE_BITS + EPOCH_BITS + WRITER_BITS + GROUP_BITS == 128);

impl ChunkId {
    /// Puts an id together.
    ///
    /// # Panics
    /// When the group or the sequence has more bits than the id has room for: ids would be used twice.
    pub fn new(placement_group: u32, writer: u32, epoch: u32, sequence: u64) -> ChunkId {
        assert!(
            placement_group < 1 << GROUP_BITS,
            "a placement group has 24 bits"
        );
        assert!(sequence < 1 << SEQUENCE_BITS, "a sequence has 40 bits");
        let high = u128::from(placement_group) << (WRITER_BITS + EPOCH_BITS + SEQUENCE_BITS);
        let middle =
            u128::from(writer) << (EPOCH_BITS + SEQUENCE_BITS) | u128::from(epoch) << SEQUENCE_BITS;
        ChunkId(high | middle | u128::from(sequence))
    }

    /// The placement group whose slots hold the shards.
    pub fn placement_group(self) -> u32 {
        (self.0 >> (WRITER_BITS + EPOCH_BITS + SEQUENCE_BITS)) as u32
    }

    /// The writer that introduced the chunk.
    pub fn writer(self) -> u32 {
        (self.0 >> (EPOCH_BITS + SEQUENCE_BITS)) as u32
    }

    /// The writer's allocation epoch in which the chunk was introduced.
    pub fn epoch(self) -> u32 {
        (self.0 >> SEQUENCE_BITS) as u32
    }

    /// The chunk's number in its epoch.
    pub fn sequence(self) -> u64 {
        (self.0 & ((1 << SEQUENCE_BITS) - 1)) as u64
    }

    /// Group, writer, epoch and sequence in hexadecimal, with points between them.
    pub fn number(self) -> impl fmt::Display {
        fmt::from_fn(move |formatter| {
            write!(
                formatter,
                "{:x}.{:x}.{:x}.{:x}",
                self.placement_group(),
                self.writer(),
                self.epoch(),
                self.sequence()
            )
        })
    }
}

impl fmt::Display for ChunkId {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "chunk {}", self.number())
    }
}

/// One shard of a chunk: the key of the index.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct ShardId {
    /// The chunk.
    pub chunk: ChunkId,
    /// Which of its shards.
    pub shard: u8,
}

impl fmt::Display for ShardId {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{} shard {}", self.chunk, self.shard)
    }
}

/// Whose bytes a chunk holds: enough to decide, without any other index, whether it is still referred to.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Owner {
    /// The group of the namespace.
    pub group: u16,
    /// The inode that is the chunk's home.
    pub inode: u64,
    /// The version of the file; 0 where versions are not kept.
    pub version: u64,
    /// The space in the inode: 0 is the file, others are parts of an upload.
    pub space: u32,
    /// Offset in the space, in bytes.
    pub offset: u64,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_parts_of_a_chunk_id_come_back() {
        let id = ChunkId::new(0xff_ffff, u32::MAX - 1, u32::MAX - 2, (1 << 40) - 4);
        assert_eq!(
            (id.placement_group(), id.writer()),
            (0xff_ffff, u32::MAX - 1)
        );
        assert_eq!((id.epoch(), id.sequence()), (u32::MAX - 2, (1 << 40) - 4));
    }

    #[test]
    fn a_uuid_is_written_as_usual() {
        let uuid = Uuid(std::array::from_fn(|position| position as u8));
        assert_eq!(uuid.to_string(), "00010203-0405-0607-0809-0a0b0c0d0e0f");
    }
}
