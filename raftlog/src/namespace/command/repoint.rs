//! The commands that move bytes: which extents and inline bodies become extents of a new chunk.

use rkyv::{Archive, Deserialize, Serialize};

use crate::namespace::chunk::ChunkNumber;
use crate::namespace::{ChunkId, Extent};

/// Where the bytes of an item of [`Repoint`] lie before it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Archive, Serialize, Deserialize)]
pub enum OldPlace {
    /// In the namespace: the whole body of the space, with this CRC32C.
    Inline(u32),
    /// In a chunk. One that belongs to the body alone is all of the extent, and is freed.
    Chunk(ChunkPlace),
}

/// Where an extent begins in a chunk.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Archive, Serialize, Deserialize)]
pub struct ChunkPlace {
    /// The chunk.
    #[rkyv(with = ChunkNumber)]
    pub chunk: ChunkId,
    /// The first byte of the extent in it.
    pub offset: u64,
}

/// An extent or inline body that [`Repoint`] packs.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Archive, Serialize, Deserialize)]
pub struct RepointItem {
    /// The inode that holds it.
    pub inode: u64,
    /// The space of the inode.
    pub space: u32,
    /// Its length, in bytes.
    pub length: u32,
    /// Where it begins in the space, in bytes; 0 for an inline body.
    pub offset: u64,
    /// Where its bytes begin in the new chunk, in bytes.
    pub new_offset: u64,
    /// Where its bytes are.
    pub old: OldPlace,
}

/// Packs extents and inline bodies of several inodes: each becomes an extent of one new chunk, which holds the same bytes. What
/// is not as the item says any more is left alone, item by item; where none is, nothing is changed.
#[derive(Debug, Clone, PartialEq, Eq, Archive, Serialize, Deserialize)]
pub struct Repoint {
    /// A fresh inode from the proposer's leased block: the home of the chunk, which names it as its owner.
    pub home: u64,
    /// The whole chunk.
    pub chunk: Extent,
    /// At most [`REPOINT_ITEMS_MAX`](crate::namespace::REPOINT_ITEMS_MAX) of them.
    pub items: Vec<RepointItem>,
}

/// Gives an extent another chunk of its own, which holds the same bytes: in another scheme. An extent that is not as the command
/// says any more is left alone.
#[derive(Debug, Clone, PartialEq, Eq, Archive, Serialize, Deserialize)]
pub struct ReplaceChunk {
    /// The inode that holds it.
    pub inode: u64,
    /// The space of the inode.
    pub space: u32,
    /// Where the extent begins in the space, in bytes.
    pub offset: u64,
    /// The whole chunk that it names, which belongs to the inode alone, and is freed.
    #[rkyv(with = ChunkNumber)]
    pub old: ChunkId,
    /// The whole chunk that it is to name. The chunk names the inode as its owner.
    pub new: Extent,
}
