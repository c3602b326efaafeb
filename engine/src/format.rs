//! What lies on a device, byte for byte. Mirrored by docs/FORMAT.md; all numbers are little endian.
//!
//! - [`superblock`]: identity, partitions, log mirrors (two copies, written alternately);
//! - [`anchor`]: where a partition's checkpoint is (two slots, written alternately);
//! - [`segment`]: the header of a segment;
//! - [`record`]: records of a data partition: shards and tombstones;
//! - [`entry`]: records of a log partition;
//! - [`page`]: pages of the index;
//! - [`layout`]: where on the device each of them lies;
//! - [`describe`]: what any of them holds, as named fields; [`description`]: such fields, and how they are shown.
//!
//! Invariants: every structure begins with the CRC32C of the rest, then type and version; reserved bytes are zero and refused
//! when not; decoding takes any bytes and returns a `Result`. No I/O here.

pub mod anchor;
pub mod describe;
pub mod description;
pub mod entry;
#[cfg(test)]
mod golden;
pub mod layout;
pub mod page;
pub mod record;
pub mod segment;
pub mod superblock;

use bytemuck::{Pod, Zeroable};

#[cfg(not(target_endian = "little"))]
compile_error!("structures are laid over memory as they lie on the device, little endian");

/// Why bytes are not the structure they should be.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum FormatError {
    /// Fewer bytes than the structure has.
    #[error("{found} bytes where at least {expected} are needed")]
    Short {
        /// Bytes at hand.
        found: usize,
        /// Bytes needed.
        expected: usize,
    },
    /// The CRC does not match: a torn write, rot, or something else altogether.
    #[error("the CRC does not match")]
    Checksum,
    /// Another structure.
    #[error("structure type {found:#06x} where {expected:#06x} is expected")]
    Kind {
        /// The type found.
        found: u16,
        /// The type expected.
        expected: u16,
    },
    /// A version or feature that this binary does not know.
    #[error("unknown: {features}")]
    OtherFormat {
        /// What is not known.
        features: String,
    },
    /// A field that contradicts the others or has no such value.
    #[error("{0}")]
    Field(&'static str),
}

/// The first 8 bytes of every structure.
#[repr(C)]
#[derive(Debug, Clone, Copy, Pod, Zeroable, PartialEq, Eq)]
pub struct Preamble {
    /// CRC32C of all bytes after this field, as long as the structure says it is.
    pub crc: u32,
    /// Which structure.
    pub kind: u16,
    /// Its version.
    pub version: u16,
}

/// Length of the preamble, in bytes.
pub const PREAMBLE_BYTES: usize = 8;
const _: () = assert!(size_of::<Preamble>() == PREAMBLE_BYTES);

/// Types of structures.
pub mod kind {
    /// A superblock.
    pub const SUPERBLOCK: u16 = 0x5301;
    /// An anchor.
    pub const ANCHOR: u16 = 0x5302;
    /// A segment header.
    pub const SEGMENT: u16 = 0x5303;
    /// A shard record.
    pub const SHARD: u16 = 0x5304;
    /// A tombstone record.
    pub const TOMBSTONE: u16 = 0x5305;
    /// A leaf page of the index.
    pub const LEAF: u16 = 0x5306;
    /// A record of a log partition.
    pub const ENTRY: u16 = 0x5307;
    /// An inner page of the index.
    pub const INNER: u16 = 0x5308;
}

/// The version of a structure in this release. Those before were written before the first release and are not read.
pub const fn version(kind: u16) -> u16 {
    match kind {
        kind::ANCHOR | kind::LEAF => 3,
        _ => 2,
    }
}

/// Fills in type, version and CRC of a structure that is complete otherwise.
pub(crate) fn seal(bytes: &mut [u8], kind: u16) {
    seal_parts(bytes, &[], kind);
}

/// Like [`seal`] for a structure that ends somewhere else in memory than it begins.
pub(crate) fn seal_parts(head: &mut [u8], rest: &[u8], kind: u16) {
    head[4..6].copy_from_slice(&kind.to_le_bytes());
    head[6..8].copy_from_slice(&version(kind).to_le_bytes());
    let crc = crc32c::crc32c_append(crc32c::crc32c(&head[4..]), rest);
    head[..4].copy_from_slice(&crc.to_le_bytes());
}

/// The preamble of some bytes.
pub(crate) fn preamble(bytes: &[u8]) -> Result<Preamble, FormatError> {
    let head = bytes.get(..PREAMBLE_BYTES).ok_or(FormatError::Short {
        found: bytes.len(),
        expected: PREAMBLE_BYTES,
    })?;
    bytemuck::try_pod_read_unaligned(head).map_err(|_| FormatError::Field("preamble"))
}

/// Checks CRC, type and version over exactly these bytes.
pub(crate) fn check(bytes: &[u8], kind: u16) -> Result<(), FormatError> {
    let head = preamble(bytes)?;
    if head.crc != crc32c::crc32c(&bytes[4..]) {
        return Err(FormatError::Checksum);
    }
    if head.kind != kind {
        return Err(FormatError::Kind {
            found: head.kind,
            expected: kind,
        });
    }
    let version = version(kind);
    if head.version != version {
        return Err(FormatError::OtherFormat {
            features: format!(
                "version {} of structure {kind:#06x}, which {}; this one reads version {version}",
                head.version,
                if head.version < version {
                    "was never released"
                } else {
                    "is newer"
                }
            ),
        });
    }
    Ok(())
}

/// The first bytes as a structure.
pub(crate) fn read<T: Pod>(bytes: &[u8]) -> Result<T, FormatError> {
    let expected = size_of::<T>();
    let head = bytes.get(..expected).ok_or(FormatError::Short {
        found: bytes.len(),
        expected,
    })?;
    bytemuck::try_pod_read_unaligned(head).map_err(|_| FormatError::Field("length"))
}

/// Refuses bytes that a newer version may have given a meaning.
pub(crate) fn refuse_nonzero(bytes: &[u8], what: &'static str) -> Result<(), FormatError> {
    if bytes.iter().any(|byte| *byte != 0) {
        Err(FormatError::Field(what))
    } else {
        Ok(())
    }
}

/// Rounds up to a multiple of a power of two.
pub(crate) const fn align_up(value: u64, alignment: u64) -> u64 {
    (value + alignment - 1) & !(alignment - 1)
}
