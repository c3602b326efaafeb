//! What goes into the next pack: the bytes of its members, and the items of the command that gives it to them.

use bytes::Bytes;
use strata_raftlog::namespace::command::{ChunkPlace, OldPlace, RepointItem};
use strata_raftlog::namespace::{Extent, REPOINT_ITEMS_MAX};

use super::members::{self, Member, table_bytes};
use crate::cluster::Cluster;
use crate::cluster::read::{BodySource, ObjectReader};
use crate::cluster::write::CHUNK_BYTES_MAX;
use crate::error::ClusterError;

/// An extent or inline body on its way into a pack.
pub(super) struct Candidate {
    pub(super) inode: u64,
    pub(super) space: u32,
    pub(super) offset: u64,
    pub(super) source: Source,
}

/// Where its bytes come from.
pub(super) enum Source {
    Inline(Bytes),
    /// The reader keeps the space of the extent.
    Chunk(Extent, Box<ObjectReader>),
}

impl Candidate {
    /// One whose bytes lie in a chunk. To be called in the turn in which the extent was looked up.
    pub(super) fn in_chunk(
        cluster: &Cluster,
        inode: u64,
        (space, offset): (u32, u64),
        extent: Extent,
    ) -> Candidate {
        let source = BodySource::Extents(vec![extent.clone()]);
        let reader = cluster.reader(inode, source, 0..extent.length);
        Candidate {
            inode,
            space,
            offset,
            source: Source::Chunk(extent, Box::new(reader)),
        }
    }

    /// Its length, in bytes.
    pub(super) fn bytes(&self) -> usize {
        match &self.source {
            Source::Inline(bytes) => bytes.len(),
            Source::Chunk(extent, _) => extent.length as usize,
        }
    }

    /// Where its bytes lie, and the bytes.
    async fn read(self) -> Result<(OldPlace, Vec<u8>), ClusterError> {
        match self.source {
            Source::Inline(bytes) => Ok((OldPlace::Inline(crc32c::crc32c(&bytes)), bytes.into())),
            Source::Chunk(extent, mut reader) => {
                let mut bytes = Vec::with_capacity(extent.length as usize);
                while let Some(piece) = reader.next().await {
                    bytes.extend_from_slice(&piece?);
                }
                let place = ChunkPlace {
                    chunk: extent.chunk,
                    offset: extent.offset,
                };
                Ok((OldPlace::Chunk(place), bytes))
            }
        }
    }
}

/// A pack that is being filled.
#[derive(Default)]
pub(super) struct Batch {
    bytes: Vec<u8>,
    items: Vec<RepointItem>,
}

impl Batch {
    /// Whether so many bytes fit, with the member table.
    pub(super) fn has_room(&self, bytes: usize) -> bool {
        let all = self.bytes.len() + bytes + table_bytes(self.items.len() + 1);
        self.items.len() < REPOINT_ITEMS_MAX && all <= CHUNK_BYTES_MAX
    }

    /// Bytes of its members.
    pub(super) fn bytes(&self) -> usize {
        self.bytes.len()
    }

    /// Reads a candidate, for which there is room, and takes it.
    ///
    /// # Errors
    /// Those of reading it; then it is left out.
    pub(super) async fn add(&mut self, candidate: Candidate) -> Result<(), ClusterError> {
        let (inode, space, offset) = (candidate.inode, candidate.space, candidate.offset);
        let (old, bytes) = candidate.read().await?;
        self.items.push(RepointItem {
            inode,
            space,
            length: bytes.len() as u32,
            offset,
            new_offset: self.bytes.len() as u64,
            old,
        });
        self.bytes.extend_from_slice(&bytes);
        Ok(())
    }

    /// What is to be stored, member table and all, and the items.
    pub(super) fn into_parts(mut self) -> (Vec<u8>, Vec<RepointItem>) {
        members::append(self.items.iter().map(Member::of), &mut self.bytes);
        (self.bytes, self.items)
    }
}
