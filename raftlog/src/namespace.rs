//! The tree of buckets, directories and objects, one for S3 and POSIX alike.
//!
//! Invariants:
//! - every value has a version byte and a CRC32C, verified on every read; a damaged one is an error
//!   that names its key and is never handed on;
//! - all keys are big endian, so that LMDB's byte order is the order of the walk;
//! - what is applied depends on the commands and the state alone: no clock, no randomness, no hash
//!   order; time and ids come in the command.

mod chunk;
mod object;
mod system;

pub use chunk::{ChunkId, Extent, ExtentKind};
pub use object::{
    Body, Checksum, ChecksumAlgorithm, ChecksumKind, ETag, ObjectAttributes, StorageClass,
};
pub use system::{
    Geometry, GeometryCode, Layout, LayoutKind, PlacementGroup, RootKey, Slot, SlotState,
};

/// The inode of the root directory; buckets are the directories below it.
pub const ROOT_INODE: u64 = 1;

/// Bodies up to this many bytes ride in the command and lie in the namespace itself.
pub const INLINE_BYTES_MAX: usize = 16 * 1024;

/// The longest object key, in bytes.
pub const KEY_BYTES_MAX: usize = 1024;

/// The largest object, in bytes (5 TiB).
pub const OBJECT_BYTES_MAX: u64 = 5 << 40;

/// The smallest part of a multipart upload but the last, in bytes (5 MiB).
pub const PART_BYTES_MIN: u64 = 5 << 20;

/// The highest part number of a multipart upload; the lowest is 1.
pub const PART_NUMBER_MAX: u16 = 10_000;
