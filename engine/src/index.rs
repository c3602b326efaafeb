//! The index of a data partition: from shard to place. Leaves lie on the device; memory holds the pages above them, some leaves,
//! and what has changed since the last checkpoint.
//!
//! Invariants:
//! - what a key is now is said by the changes, then by those that a running checkpoint is writing, then by the trees of the last
//!   durable checkpoint; the trees are exactly what the records before its replay position come to;
//! - a key is pinned before it changes, so that what it was is known and no change waits for the device;
//! - the live bytes of a segment are the record bytes of the entries that point into it, and their total is the sum over all
//!   segments;
//! - changes are bounded, and so are the leaves in memory.

pub(crate) mod cache;
mod fill;
pub(crate) mod places;
pub(crate) mod rebuilt;
pub(crate) mod tree;

use std::cell::RefCell;
use std::collections::{BTreeMap, BTreeSet};
use std::ops::Bound;
use std::rc::Rc;

use crate::format::align_up;
use crate::format::anchor::INDEX_SEGMENT_COUNT_MAX;
use crate::format::layout::BLOCK_BYTES;
use crate::format::page::{IndexEntry, PAGE_BYTES, PagePlace, TableRow, TreeKind, table_key};
use crate::id::ShardId;
use crate::reactor::local::Notify;
use cache::{Leaf, LeafCache};
use places::PagePlaces;
use tree::{Fanout, LeafRow, Tree, rewritten_pages_max};

/// How an index is held.
#[derive(Debug, Clone, Copy)]
pub(crate) struct IndexOptions {
    pub(crate) fanout: Fanout,
    /// Bytes of the leaves in memory.
    pub(crate) cache_bytes: u64,
    /// Changes beyond which nothing changes until a checkpoint has been made, but for an eighth more by what compaction moves. One is
    /// due at half of it.
    pub(crate) changes_max: usize,
    /// Entries beyond which new shards are refused, unless the store is told otherwise.
    pub(crate) entries_max: usize,
}

impl Default for IndexOptions {
    /// 100 bytes a change, and for 100 million entries 32 to 64 MiB of rows, one for each leaf.
    fn default() -> IndexOptions {
        IndexOptions {
            fanout: Fanout::default(),
            cache_bytes: 16 << 20,
            changes_max: 32 << 10,
            entries_max: 100_000_000,
        }
    }
}

/// What has become of a key, and what the layer below says of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Change {
    pub(crate) now: Option<IndexEntry>,
    pub(crate) base: Option<IndexEntry>,
}

pub(crate) type Changes = BTreeMap<ShardId, Change>;

/// What a checkpoint writes.
#[derive(Debug, Default)]
pub(crate) struct Frozen {
    pub(crate) shards: Changes,
    pub(crate) table: Changes,
    /// Entries of the index with them.
    pub(crate) entry_count: u64,
}

/// The trees and places of a checkpoint that is durable, or about to be.
pub(crate) struct Written {
    pub(crate) shards: Tree,
    pub(crate) table: Tree,
    pub(crate) places: PagePlaces,
    /// What the trees before have used and these do not.
    pub(crate) freed: Vec<PagePlace>,
}

#[derive(Debug)]
struct Pin {
    count: usize,
    /// What the tree says of the key.
    base: Option<IndexEntry>,
}

/// What is known of a key without the device.
pub(crate) enum Found {
    Known(Option<IndexEntry>),
    /// The leaf says it.
    InLeaf(LeafRow),
}

/// Bytes that a record takes on the device: one block of header, and the payload in whole blocks.
pub(crate) fn record_bytes(entry: &IndexEntry) -> u64 {
    BLOCK_BYTES as u64 + align_up(u64::from(entry.payload_bytes), BLOCK_BYTES as u64)
}

/// Pages that a segment of index pages has room for.
pub(crate) fn pages_per_segment(segment_bytes: u64) -> u32 {
    ((segment_bytes - BLOCK_BYTES as u64) / PAGE_BYTES as u64) as u32
}

/// The index of a partition.
pub(crate) struct Index {
    options: IndexOptions,
    segment_bytes: u64,
    shards: Rc<Tree>,
    table: Rc<Tree>,
    pub(crate) places: PagePlaces,
    pub(crate) cache: LeafCache,
    changes: Changes,
    frozen: Option<Rc<Frozen>>,
    pinned: BTreeMap<ShardId, Pin>,
    /// How many keys may change by what is under way.
    reserved: usize,
    is_room_wanted: bool,
    /// Told when more keys may change, and when a round of maintenance has ended.
    pub(crate) room: Rc<Notify>,
    count: u64,
    live: BTreeMap<u64, u64>,
    live_total: u64,
    /// The last allocation epoch of each writer whose shards have been here.
    newest_epochs: BTreeMap<u32, u32>,
    /// Rows of the table that have changed.
    changed_rows: BTreeSet<ShardId>,
    /// Where the durable trees have pages that these do not have, because damage has made others of them.
    left_over: Vec<PagePlace>,
}

impl Index {
    /// An empty index over some segments of pages.
    pub(crate) fn new(
        options: IndexOptions,
        segment_bytes: u64,
        slots: impl IntoIterator<Item = u32>,
    ) -> Index {
        Index {
            options,
            segment_bytes,
            shards: Rc::default(),
            table: Rc::default(),
            places: PagePlaces::new(pages_per_segment(segment_bytes), slots),
            cache: LeafCache::new(options.cache_bytes),
            changes: BTreeMap::new(),
            frozen: None,
            pinned: BTreeMap::new(),
            reserved: 0,
            is_room_wanted: false,
            room: Rc::new(Notify::new()),
            count: 0,
            live: BTreeMap::new(),
            live_total: 0,
            newest_epochs: BTreeMap::new(),
            changed_rows: BTreeSet::new(),
            left_over: Vec::new(),
        }
    }

    pub(crate) fn limit(&mut self, entries_max: usize, cache_bytes: u64) {
        self.options.entries_max = entries_max;
        if cache_bytes != self.options.cache_bytes {
            self.options.cache_bytes = cache_bytes;
            self.cache = LeafCache::new(cache_bytes);
        }
    }

    /// Entries beyond which new shards are refused.
    pub(crate) fn entries_max(&self) -> usize {
        self.options.entries_max
    }

    pub(crate) fn fanout(&self) -> Fanout {
        self.options.fanout
    }

    pub(crate) fn tree(&self, kind: TreeKind) -> &Rc<Tree> {
        match kind {
            TreeKind::Shards => &self.shards,
            TreeKind::Table => &self.table,
        }
    }

    /// Whether a new shard would be one too many, with those that are under way, or its page could not be named.
    pub(crate) fn is_full(&self, under_way: usize) -> bool {
        let pages = self.places.used_count() + self.pages_needed();
        let pages_max = INDEX_SEGMENT_COUNT_MAX as u64 * u64::from(self.places.pages_per_segment());
        self.len() + under_way >= self.options.entries_max || pages >= pages_max
    }

    /// Whether so many more keys may change before a checkpoint. New shards leave some to what removes others.
    pub(crate) fn may_change(&self, keys: usize, room: ChangeRoom) -> bool {
        self.change_count() + self.reserved + keys <= self.changes_max(room)
    }

    fn changes_max(&self, room: ChangeRoom) -> usize {
        match room {
            ChangeRoom::Insert => self.options.changes_max / 4 * 3,
            ChangeRoom::Remove => self.options.changes_max,
            ChangeRoom::Move => self.options.changes_max + self.options.changes_max / 8 + 1,
        }
    }

    /// Whether there is anything to write.
    pub(crate) fn has_changes(&self) -> bool {
        self.change_count() > 0
    }

    /// Whether so much has changed that a checkpoint should be made, or somebody waits for room that one would give.
    pub(crate) fn is_checkpoint_due(&self) -> bool {
        let half = self.options.changes_max / 2;
        self.changes.len() >= half || self.is_room_wanted && !self.changes.is_empty()
    }

    /// Notes that somebody waits for room, which a checkpoint gives unless what is under way takes all of it.
    pub(crate) fn want_room(&mut self, keys: usize, room: ChangeRoom) {
        self.is_room_wanted |= self.reserved + keys <= self.changes_max(room);
    }

    /// Keys that have changed and are not in a durable tree.
    fn change_count(&self) -> usize {
        let frozen = self.frozen.as_ref().map_or(0, |frozen| frozen.shards.len());
        self.changes.len() + frozen
    }

    /// Pages that the next checkpoint writes at most.
    pub(crate) fn pages_needed(&self) -> u64 {
        let frozen_rows = self.frozen.as_ref().map_or(0, |frozen| frozen.table.len());
        let keys = (self.change_count() + self.reserved) as u64;
        // A key that changes takes live bytes from one segment and gives them to another, and may be of a new writer.
        let rows = (self.changed_rows.len() + frozen_rows + 3 * self.reserved) as u64;
        let fanout = self.options.fanout;
        rewritten_pages_max(&self.shards.page_counts(), keys, 0, fanout)
            + rewritten_pages_max(&self.table.page_counts(), rows, 0, fanout)
            + self.shards.unwritten_count()
            + self.table.unwritten_count()
    }

    /// Segments that the next checkpoint needs beside those that have pages.
    pub(crate) fn segments_needed(&self) -> usize {
        let more = self.pages_needed().saturating_sub(self.places.free_count());
        more.div_ceil(u64::from(self.places.pages_per_segment())) as usize
    }

    /// Chooses the segment of pages that is emptied next, when there are more free places than any checkpoint needs.
    pub(crate) fn choose_emptied(&mut self) {
        let changed = self.options.changes_max as u64;
        let fanout = self.options.fanout;
        let needed = rewritten_pages_max(&self.shards.page_counts(), changed, 0, fanout)
            + rewritten_pages_max(&self.table.page_counts(), changed, 0, fanout);
        self.places.choose_emptied(needed);
    }

    /// What is known of a key without the device.
    pub(crate) fn look_up(&self, id: ShardId) -> Found {
        if let Some(known) = self.known(id) {
            return Found::Known(known);
        }
        let Some(leaf) = self.shards.leaf_of(id) else {
            return Found::Known(None);
        };
        match self.cache.get(leaf.row.place) {
            Some(held) => Found::Known(held.get(id)),
            None => Found::InLeaf(leaf),
        }
    }

    fn known(&self, id: ShardId) -> Option<Option<IndexEntry>> {
        if let Some(change) = self.changes.get(&id) {
            return Some(change.now);
        }
        self.below_changes(id)
    }

    /// What a key was before the changes that no checkpoint writes yet.
    fn below_changes(&self, id: ShardId) -> Option<Option<IndexEntry>> {
        if let Some(change) = self
            .frozen
            .as_ref()
            .and_then(|frozen| frozen.shards.get(&id))
        {
            return Some(change.now);
        }
        self.pinned.get(&id).map(|pin| pin.base)
    }

    /// What the tree says of a key, where that is known.
    fn known_in_tree(&self, id: ShardId) -> Option<Option<IndexEntry>> {
        let frozen = self
            .frozen
            .as_ref()
            .and_then(|frozen| frozen.shards.get(&id));
        let change = frozen.or_else(|| self.changes.get(&id));
        let pinned = || self.pinned.get(&id).map(|pin| pin.base);
        change.map(|change| change.base).or_else(pinned)
    }

    /// Takes what a leaf says that has been read for a key, unless a checkpoint has replaced the leaf since.
    pub(crate) fn look_up_in(
        &mut self,
        id: ShardId,
        leaf: LeafRow,
        read: &Rc<Leaf>,
    ) -> Option<Option<IndexEntry>> {
        if !self.is_current(id, leaf) {
            return None;
        }
        self.cache.insert(leaf.row.place, read.clone());
        Some(self.known(id).unwrap_or_else(|| read.get(id)))
    }

    /// Whether a leaf is still the one that says what a key is.
    pub(crate) fn is_current(&self, id: ShardId, leaf: LeafRow) -> bool {
        let now = self.shards.leaf_of(id);
        now.is_some_and(|now| now.row == leaf.row)
    }

    /// Pins a key, or says which leaf must be read for that.
    pub(crate) fn pin(&mut self, id: ShardId) -> Result<(), LeafRow> {
        let base = match self.known_in_tree(id) {
            Some(base) => base,
            None => match self.shards.leaf_of(id) {
                None => None,
                Some(leaf) => self.cache.get(leaf.row.place).ok_or(leaf)?.get(id),
            },
        };
        self.pinned
            .entry(id)
            .or_insert(Pin { count: 0, base })
            .count += 1;
        Ok(())
    }

    /// Pins a key by a leaf that has been read for it; `false` when a checkpoint has replaced the leaf since.
    pub(crate) fn pin_by(&mut self, id: ShardId, leaf: LeafRow, read: &Rc<Leaf>) -> bool {
        if self.pin(id).is_ok() {
            return true;
        }
        if !self.is_current(id, leaf) {
            return false;
        }
        self.cache.insert(leaf.row.place, read.clone());
        let base = read.get(id);
        self.pinned
            .entry(id)
            .or_insert(Pin { count: 0, base })
            .count += 1;
        true
    }

    fn unpin(&mut self, id: ShardId) {
        let pin = self
            .pinned
            .get_mut(&id)
            .expect("what is unpinned is pinned");
        pin.count -= 1;
        if pin.count == 0 {
            self.pinned.remove(&id);
        }
    }

    /// What a pinned key is now.
    pub(crate) fn get(&self, id: ShardId) -> Option<IndexEntry> {
        self.known(id).expect("a key is pinned before it is judged")
    }

    /// Points a pinned shard to a place, instead of an earlier one.
    pub(crate) fn insert(&mut self, id: ShardId, entry: IndexEntry) {
        self.change(id, Some(entry));
    }

    /// Removes a pinned shard.
    pub(crate) fn remove(&mut self, id: ShardId) {
        self.change(id, None);
    }

    fn change(&mut self, id: ShardId, now: Option<IndexEntry>) {
        let below = self.below_changes(id);
        let change = self.changes.entry(id).or_insert_with(|| {
            let base = below.expect("a key is pinned before it changes");
            Change { now: base, base }
        });
        let before = std::mem::replace(&mut change.now, now);
        if let Some(entry) = before {
            self.lose_live(&entry);
        }
        if let Some(entry) = now {
            self.gain_live(&entry);
            self.note_epoch(id);
        }
    }

    fn gain_live(&mut self, entry: &IndexEntry) {
        let sequence = entry.position / self.segment_bytes;
        *self.live.entry(sequence).or_default() += record_bytes(entry);
        self.live_total += record_bytes(entry);
        self.count += 1;
        self.changed_rows
            .insert(table_key(TableRow::LiveBytes(sequence)));
    }

    fn lose_live(&mut self, entry: &IndexEntry) {
        let sequence = entry.position / self.segment_bytes;
        let bytes = record_bytes(entry);
        let live = self.live.get_mut(&sequence);
        let live = live.expect("a segment that entries point into has live bytes");
        *live = live
            .checked_sub(bytes)
            .expect("live bytes are those of all entries");
        if *live == 0 {
            self.live.remove(&sequence);
        }
        self.live_total -= bytes;
        self.count -= 1;
        self.changed_rows
            .insert(table_key(TableRow::LiveBytes(sequence)));
    }

    fn note_epoch(&mut self, id: ShardId) {
        let (writer, epoch) = (id.chunk.writer(), id.chunk.epoch());
        let newest = self.newest_epochs.get(&writer).copied();
        if newest.is_none_or(|newest| newest < epoch) {
            self.newest_epochs.insert(writer, epoch);
            self.changed_rows
                .insert(table_key(TableRow::NewestEpoch(writer)));
        }
    }

    pub(crate) fn len(&self) -> usize {
        self.count as usize
    }

    /// Bytes of the records of a segment that are still referred to.
    pub(crate) fn live_bytes(&self, sequence: u64) -> u64 {
        self.live.get(&sequence).copied().unwrap_or(0)
    }

    /// The segments with records that are referred to, and how many bytes those have.
    pub(crate) fn live_segments(&self) -> impl Iterator<Item = (u64, u64)> {
        self.live.iter().map(|(sequence, live)| (*sequence, *live))
    }

    /// Bytes of the records of all segments that are still referred to.
    pub(crate) fn live_bytes_total(&self) -> u64 {
        self.live_total
    }

    /// The last allocation epoch of each writer whose shards have been here.
    pub(crate) fn newest_epochs(&self) -> &BTreeMap<u32, u32> {
        &self.newest_epochs
    }

    /// The leaf in which the next keys are looked for, if there is one, and where the keys of the next leaf begin.
    pub(crate) fn leaf_after(&self, after: Option<ShardId>) -> Option<LeafRow> {
        let leaf = after.and_then(|after| self.shards.leaf_of(after));
        leaf.or_else(|| self.shards.first_leaf())
    }

    /// The next entries in the order of their keys, of those below `upper`, with what the leaf says that holds them.
    pub(crate) fn merged(
        &self,
        after: Option<ShardId>,
        upper: Option<ShardId>,
        leaf: &[(ShardId, IndexEntry)],
        limit: usize,
    ) -> Vec<(ShardId, IndexEntry)> {
        let from = after.map_or(Bound::Unbounded, Bound::Excluded);
        let to = upper.map_or(Bound::Unbounded, Bound::Excluded);
        if let (Some(after), Some(upper)) = (after, upper)
            && after >= upper
        {
            return Vec::new();
        }
        let in_range = |id: &ShardId| after.is_none_or(|after| after < *id);
        let leaf = leaf.iter().filter(|(id, _)| in_range(id));
        let mut now: BTreeMap<ShardId, Option<IndexEntry>> =
            leaf.map(|(id, entry)| (*id, Some(*entry))).collect();
        let frozen = self
            .frozen
            .iter()
            .flat_map(|frozen| frozen.shards.range((from, to)));
        let changes = frozen.chain(self.changes.range((from, to)));
        now.extend(changes.map(|(id, change)| (*id, change.now)));
        let present = now.into_iter().filter_map(|(id, entry)| Some((id, entry?)));
        present.take(limit).collect()
    }

    /// Sets apart what has changed, for a checkpoint to write.
    pub(crate) fn freeze(&mut self) -> Rc<Frozen> {
        assert!(self.frozen.is_none(), "one checkpoint runs at a time");
        self.is_room_wanted = false;
        let rows = std::mem::take(&mut self.changed_rows);
        let table = rows.into_iter().map(|key| (key, self.table_change(key)));
        let frozen = Rc::new(Frozen {
            table: table.collect(),
            shards: std::mem::take(&mut self.changes),
            entry_count: self.count,
        });
        self.frozen = Some(frozen.clone());
        frozen
    }

    fn table_change(&self, key: ShardId) -> Change {
        let value = match crate::format::page::table_row(key) {
            Some(TableRow::LiveBytes(sequence)) => self.live.get(&sequence).copied(),
            Some(TableRow::NewestEpoch(writer)) => self
                .newest_epochs
                .get(&writer)
                .map(|epoch| u64::from(*epoch)),
            None => None,
        };
        let now = value.map(|position| IndexEntry {
            position,
            payload_bytes: 0,
            inode: 0,
        });
        Change { now, base: None }
    }

    /// Takes back what a checkpoint could not write.
    pub(crate) fn thaw(&mut self) {
        let Some(frozen) = self.frozen.take() else {
            return;
        };
        self.changed_rows.extend(frozen.table.keys());
        for (id, earlier) in &frozen.shards {
            let change = self.changes.entry(*id).or_insert(*earlier);
            change.base = earlier.base;
        }
    }

    /// Takes over the trees that a checkpoint has made durable.
    pub(crate) fn commit(&mut self, written: Written) {
        let frozen = self.frozen.take().expect("a checkpoint was running");
        for (id, pin) in &mut self.pinned {
            if let Some(change) = frozen.shards.get(id) {
                pin.base = change.now;
            }
        }
        written
            .freed
            .iter()
            .for_each(|place| self.cache.remove(*place));
        self.left_over.clear();
        (self.shards, self.table) = (Rc::new(written.shards), Rc::new(written.table));
        self.places = written.places;
        self.choose_emptied();
        self.room.notify_all();
    }

    /// Places that the durable trees use and the present ones do not.
    pub(crate) fn left_over(&self) -> &[PagePlace] {
        &self.left_over
    }
}

/// For what a key changes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum ChangeRoom {
    /// A new shard.
    Insert,
    /// A shard that is freed.
    Remove,
    /// A shard that compaction moves: those who wait for the segments that it gains may keep all other room.
    Move,
}

/// Room for some keys to change, of which the index knows what they are, as long as this lives.
pub(crate) struct Pinned {
    index: Rc<RefCell<Index>>,
    ids: Vec<ShardId>,
    reserved: usize,
}

impl Pinned {
    /// Room for so many keys, of which none is pinned yet.
    pub(crate) fn reserve(index: &Rc<RefCell<Index>>, keys: usize) -> Pinned {
        index.borrow_mut().reserved += keys;
        Pinned {
            index: index.clone(),
            ids: Vec::new(),
            reserved: keys,
        }
    }

    /// Pins what is known without the device of some keys; returns the others with the leaves that say it.
    pub(crate) fn take(&mut self, ids: Vec<ShardId>) -> Vec<(ShardId, LeafRow)> {
        let mut index = self.index.borrow_mut();
        let mut others = Vec::new();
        for id in ids {
            match index.pin(id) {
                Ok(()) => self.ids.push(id),
                Err(leaf) => others.push((id, leaf)),
            }
        }
        others
    }

    /// Pins keys by leaves that have been read; returns those whose leaf was replaced meanwhile.
    pub(crate) fn take_by(
        &mut self,
        keys: Vec<(ShardId, LeafRow)>,
        leaves: &BTreeMap<PagePlace, Rc<Leaf>>,
    ) -> Vec<ShardId> {
        let mut index = self.index.borrow_mut();
        let mut others = Vec::new();
        for (id, leaf) in keys {
            let read = leaves.get(&leaf.row.place);
            if read.is_some_and(|read| index.pin_by(id, leaf, read)) {
                self.ids.push(id);
            } else {
                others.push(id);
            }
        }
        others
    }
}

impl Drop for Pinned {
    fn drop(&mut self) {
        let mut index = self.index.borrow_mut();
        index.reserved -= self.reserved;
        index.room.notify_all();
        self.ids.iter().for_each(|id| index.unpin(*id));
    }
}

#[cfg(test)]
mod tests;

#[cfg(test)]
mod resident {
    use super::*;
    use crate::id::ChunkId;

    fn id(number: u128) -> ShardId {
        ShardId {
            chunk: ChunkId(number),
            shard: 0,
        }
    }

    fn entry(position: u64) -> IndexEntry {
        IndexEntry {
            position,
            payload_bytes: 100,
            inode: 1,
        }
    }

    fn index() -> Rc<RefCell<Index>> {
        let options = IndexOptions {
            entries_max: 3,
            ..IndexOptions::default()
        };
        Rc::new(RefCell::new(Index::new(options, 1 << 20, [])))
    }

    #[test]
    fn live_bytes_follow_the_entries() {
        let shared = index();
        let mut pinned = Pinned::reserve(&shared, 2);
        assert!(pinned.take(vec![id(1), id(2)]).is_empty());
        let mut index = shared.borrow_mut();
        index.insert(id(1), entry(1 << 20));
        index.insert(id(2), entry(3 << 19));
        assert_eq!(index.live_bytes(1), 2 * 8192);
        index.insert(id(1), entry(5 << 20));
        assert_eq!((index.live_bytes(1), index.live_bytes(5)), (8192, 8192));
        assert_eq!(index.live_bytes_total(), 2 * 8192);
        assert!(!index.is_full(0) && index.is_full(1));
        index.remove(id(2));
        assert_eq!((index.live_bytes(1), index.len()), (0, 1));
        assert_eq!(index.live_bytes_total(), 8192);
    }

    #[test]
    fn a_checkpoint_that_fails_gives_back_what_it_was_to_write() {
        let shared = index();
        let mut pinned = Pinned::reserve(&shared, 2);
        pinned.take(vec![id(1), id(2)]);
        let mut index = shared.borrow_mut();
        index.insert(id(1), entry(1 << 20));
        index.insert(id(2), entry(1 << 20));
        assert_eq!(index.freeze().shards.len(), 2);
        index.remove(id(1));
        index.insert(id(2), entry(2 << 20));
        index.thaw();
        assert_eq!(index.get(id(1)), None);
        let frozen = index.freeze();
        let change = |now| Change { now, base: None };
        assert_eq!(frozen.shards[&id(1)], change(None));
        assert_eq!(frozen.shards[&id(2)], change(Some(entry(2 << 20))));
        // Of segments 1 and 2, and of the writer.
        assert_eq!((frozen.table.len(), frozen.entry_count), (3, 1));
    }
}
