//! Look-ups in the index: what memory knows, then one leaf from the device.
//!
//! Invariants: a leaf counts only when it is the one that its parent names, by CRC, place and keys; a leaf that is not is an error,
//! never the answer that a shard is not there, and the index is built again in the background; what a leaf said that a checkpoint
//! has replaced meanwhile is looked up again.

use std::collections::BTreeMap;
use std::io;
use std::rc::Rc;
use std::sync::atomic::Ordering;

use futures_util::stream::{self, StreamExt};

use crate::error::EngineError;
use crate::format::FormatError;
use crate::format::layout::BLOCK_BYTES;
use crate::format::page::{self, IndexEntry, PAGE_BYTES, PageIdentity, PagePlace, TreeKind};
use crate::id::ShardId;
use crate::index::cache::Leaf;
use crate::index::tree::LeafRow;
use crate::index::{Found, Pinned};
use crate::reactor::Buffer;
use crate::read::Memory;
use crate::store::ChunkStore;

/// Leaves that are read together for one operation.
const READS_AT_ONCE: usize = 16;

impl ChunkStore {
    /// Where a shard lies.
    ///
    /// # Errors
    /// Those of reading a page: [`EngineError::Corrupt`] for one that is damaged.
    pub(crate) async fn entry_of(&self, id: ShardId) -> Result<Option<IndexEntry>, EngineError> {
        loop {
            let found = self.inner.index.borrow().look_up(id);
            let leaf = match found {
                Found::Known(entry) => return Ok(entry),
                Found::InLeaf(leaf) => leaf,
            };
            let read = self.read_leaf(TreeKind::Shards, leaf).await;
            let mut index = self.inner.index.borrow_mut();
            match read {
                Ok(read) => {
                    if let Some(entry) = index.look_up_in(id, leaf, &read) {
                        return Ok(entry);
                    }
                }
                Err(error) if index.is_current(id, leaf) => {
                    drop(index);
                    return Err(self.note_damaged_leaf(TreeKind::Shards, error));
                }
                Err(_) => {}
            }
        }
    }

    /// Makes known what some shards are, for as long as `pinned` lives. Before a shard is written, freed or moved it must be.
    ///
    /// # Errors
    /// As [`ChunkStore::entry_of`].
    pub(crate) async fn pin(
        &self,
        ids: &[ShardId],
        pinned: &mut Pinned,
    ) -> Result<(), EngineError> {
        let mut others = pinned.take(ids.to_vec());
        while !others.is_empty() {
            let rows: BTreeMap<PagePlace, LeafRow> = others
                .iter()
                .map(|(_, leaf)| (leaf.row.place, *leaf))
                .collect();
            let reading = rows
                .into_values()
                .map(|leaf| async move { (leaf, self.read_leaf(TreeKind::Shards, leaf).await) });
            let mut reading = stream::iter(reading).buffer_unordered(READS_AT_ONCE);
            let mut leaves = BTreeMap::new();
            while let Some((leaf, read)) = reading.next().await {
                match read {
                    Ok(read) => {
                        leaves.insert(leaf.row.place, read);
                    }
                    Err(error) => {
                        let first = leaf.row.first();
                        if self.inner.index.borrow().is_current(first, leaf) {
                            return Err(self.note_damaged_leaf(TreeKind::Shards, error));
                        }
                    }
                }
            }
            let again = pinned.take_by(others, &leaves);
            others = pinned.take(again);
        }
        Ok(())
    }

    /// The next shards in the order of their ids, with the inode that is their home; for orphan collection. The leaves that are
    /// read for it do not stay in memory.
    ///
    /// # Errors
    /// As [`ChunkStore::look_up`].
    pub async fn scan(
        &self,
        after: Option<ShardId>,
        limit: usize,
    ) -> Result<Vec<(ShardId, u64)>, EngineError> {
        let mut found = Vec::new();
        let mut after = after;
        // The first key of the next leaf, which itself is not behind `after`.
        let mut at = after;
        while found.len() < limit {
            let leaf = self.inner.index.borrow().leaf_after(at);
            let Some(leaf) = leaf else {
                let index = self.inner.index.borrow();
                found.extend(index.merged(after, None, &[], limit - found.len()));
                break;
            };
            let read = self.leaf(TreeKind::Shards, leaf).await;
            let index = self.inner.index.borrow();
            if !index.is_current(leaf.row.first(), leaf) {
                continue;
            }
            let read = match read {
                Ok(read) => read,
                Err(error) => {
                    drop(index);
                    return Err(self.note_damaged_leaf(TreeKind::Shards, error));
                }
            };
            // A checkpoint may have put a leaf between: then its keys come next.
            let upper = index.leaf_after(Some(leaf.row.first()));
            let upper = upper.and_then(|leaf| leaf.upper);
            let more = index.merged(after, upper, &read.entries, limit - found.len());
            found.extend(more);
            let Some(upper) = upper else {
                break;
            };
            at = Some(upper);
            after = after.max(found.last().map(|(id, _)| *id));
            after = after.max(before(upper));
        }
        let shards = found.into_iter().map(|(id, entry)| (id, entry.inode));
        Ok(shards.collect())
    }

    /// A leaf of a tree, from memory or the device. It does not come into memory by this.
    pub(crate) async fn leaf(
        &self,
        tree: TreeKind,
        leaf: LeafRow,
    ) -> Result<Rc<Leaf>, EngineError> {
        let held = self
            .inner
            .index
            .borrow()
            .cache
            .peek(leaf.row.place)
            .cloned();
        match held {
            Some(held) => Ok(held),
            None => self.read_leaf(tree, leaf).await,
        }
    }

    /// Reads a leaf from the device and checks that it is the one that its parent names.
    pub(crate) async fn read_leaf(
        &self,
        tree: TreeKind,
        leaf: LeafRow,
    ) -> Result<Rc<Leaf>, EngineError> {
        let LeafRow { row, upper } = leaf;
        let bytes = self.read_page(row.place).await?;
        let decoded = checked(&bytes, row.crc, page::decode_leaf(&bytes));
        let (identity, entries) = decoded.map_err(|error| self.damaged_page(row.place, error))?;
        let expected = PageIdentity {
            place: row.place,
            tree,
            level: 0,
            ..identity
        };
        let (first, last) = (entries.first(), entries.last());
        let is_here = first.is_some_and(|(id, _)| *id == row.first())
            && last.is_some_and(|(id, _)| upper.is_none_or(|upper| *id < upper));
        if identity != expected || !is_here {
            let error = FormatError::Field("the page is another one");
            return Err(self.damaged_page(row.place, error));
        }
        Ok(Rc::new(Leaf { entries }))
    }

    /// Reads the bytes of a page. What waits for a page may hold the arena.
    pub(crate) async fn read_page(&self, place: PagePlace) -> Result<Buffer, EngineError> {
        let reads = &self.inner.statistics.index_page_reads;
        reads.fetch_add(1, Ordering::Relaxed);
        let offset = self.page_offset(place);
        let read = self.read_exactly(Memory::AtOnce, offset, PAGE_BYTES).await;
        read.map_err(|error| match error {
            EngineError::Io(error) => {
                let detail = format!("{}: {error}", self.page_name(place));
                io::Error::new(error.kind(), detail).into()
            }
            other => other,
        })
    }

    /// A page, for people.
    fn page_name(&self, place: PagePlace) -> String {
        let PagePlace { slot, page } = place;
        format!(
            "{} index page {page} of segment {slot}",
            self.inner.log.place(0)
        )
    }

    /// Where a page lies on the device.
    pub(crate) fn page_offset(&self, place: PagePlace) -> u64 {
        let pages = BLOCK_BYTES as u64 + u64::from(place.page) * PAGE_BYTES as u64;
        self.inner.log.map.offset(place.slot) + pages
    }

    /// The error of a page that is not what it should be.
    pub(crate) fn damaged_page(&self, place: PagePlace, error: FormatError) -> EngineError {
        EngineError::from_format(self.page_name(place), error)
    }

    /// Notes that a tree has a damaged leaf. Of both, the table counts: building it again looks at the other too.
    pub(crate) fn note_damage(&self, tree: TreeKind) {
        let damage = &self.inner.index_damage;
        if damage.get() != Some(TreeKind::Table) {
            damage.set(Some(tree));
        }
    }

    /// Has the index built again when a page of it is damaged.
    pub(crate) fn note_damaged_leaf(&self, tree: TreeKind, error: EngineError) -> EngineError {
        if matches!(error, EngineError::Corrupt { .. } | EngineError::Io(_)) {
            self.note_damage(tree);
            self.inner.maintenance_wanted.notify_one();
        }
        self.counted(error)
    }
}

/// What was decoded of a page, when it has the CRC that its parent names. Of any other page not even the version counts: it may be
/// left over from a checkpoint of another version.
pub(crate) fn checked<T>(
    bytes: &[u8],
    crc: u32,
    decoded: Result<T, FormatError>,
) -> Result<T, FormatError> {
    if page::claimed_crc(bytes)? == crc {
        decoded
    } else {
        Err(FormatError::Field("the page is one of another checkpoint"))
    }
}

/// The last key before another one.
fn before(id: ShardId) -> Option<ShardId> {
    match id.shard.checked_sub(1) {
        Some(shard) => Some(ShardId { shard, ..id }),
        None => Some(ShardId {
            chunk: crate::id::ChunkId(id.chunk.0.checked_sub(1)?),
            shard: u8::MAX,
        }),
    }
}
