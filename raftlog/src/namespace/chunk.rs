//! Extents: how a file names the bytes that lie in the chunk stores.

use rkyv::rancor::Fallible;
use rkyv::with::{ArchiveWith, DeserializeWith, SerializeWith};
use rkyv::{Archive, Archived, Deserialize, Place, Serialize};
use strata_engine::ChunkId;

/// Archives a chunk id as its number.
pub struct ChunkNumber;

impl ArchiveWith<ChunkId> for ChunkNumber {
    type Archived = Archived<u128>;
    type Resolver = ();

    fn resolve_with(field: &ChunkId, (): (), out: Place<Self::Archived>) {
        field.0.resolve((), out);
    }
}

impl<S: Fallible + ?Sized> SerializeWith<ChunkId, S> for ChunkNumber {
    fn serialize_with(_: &ChunkId, _: &mut S) -> Result<(), S::Error> {
        Ok(())
    }
}

impl<D: Fallible + ?Sized> DeserializeWith<Archived<u128>, ChunkId, D> for ChunkNumber {
    fn deserialize_with(field: &Archived<u128>, _: &mut D) -> Result<ChunkId, D::Error> {
        Ok(ChunkId(field.to_native()))
    }
}

/// What an extent stands for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Archive, Serialize, Deserialize)]
pub enum ExtentKind {
    /// Bytes of a chunk.
    Chunk,
    /// A hole: bytes that read as zero and lie nowhere.
    Zeros,
}

/// A run of bytes of a file and where they lie.
#[derive(Debug, Clone, PartialEq, Eq, Archive, Serialize, Deserialize)]
pub struct Extent {
    /// Bytes of the file that the extent covers; never 0.
    pub length: u64,
    /// What the extent stands for.
    pub kind: ExtentKind,
    /// The chunk; 0 where there is none.
    #[rkyv(with = ChunkNumber)]
    pub chunk: ChunkId,
    /// Length of the whole chunk as stored, in bytes.
    pub stored_length: u64,
    /// Where the extent begins in the chunk, in bytes.
    pub offset: u64,
    /// The number of the geometry with which the chunk is coded.
    pub geometry: u16,
    /// The slots of the placement group that hold shards: shard i lies in the i-th set one.
    pub slot_mask: u64,
    /// The inode that decides whether the chunk lives; 0 is the one that holds the extent.
    pub home_inode: u64,
    /// Reserved: 0.
    pub flags: u8,
}

/// Bytes that an extent takes in a command.
pub const EXTENT_COMMAND_BYTES: usize = size_of::<Archived<Extent>>();

impl Extent {
    /// An extent that covers a whole chunk from its beginning.
    pub fn whole_chunk(chunk: ChunkId, length: u64, geometry: u16, slot_mask: u64) -> Extent {
        Extent {
            length,
            kind: ExtentKind::Chunk,
            chunk,
            stored_length: length,
            offset: 0,
            geometry,
            slot_mask,
            home_inode: 0,
            flags: 0,
        }
    }
}
