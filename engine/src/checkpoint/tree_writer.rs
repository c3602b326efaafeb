//! A tree with changes as a new tree: the leaves that changed are written, and the pages above them.
//!
//! Invariants: a leaf that neither changes nor moves stays where it is, unless its neighbour has become too small to stand alone;
//! then the two are written together, and at most so for each leaf that changed. A page that is too long is cut into equal parts; where
//! keys were only added behind all others, into full ones, since the next keys come behind them too.

use std::collections::BTreeMap;
use std::ops::Bound;
use std::rc::Rc;

use futures_util::stream::{self, StreamExt};

use super::page_writer::PageWriter;
use crate::error::EngineError;
use crate::format::page::{self, ChildRow, IndexEntry, PagePlace, TreeKind};
use crate::id::ShardId;
use crate::index::cache::Leaf;
use crate::index::tree::{Fanout, InnerPage, LeafRow, Tree};
use crate::index::{Change, Changes};
use crate::reactor;
use crate::store::ChunkStore;

/// Whether a page with so many rows is written together with the next one.
fn is_small(rows: usize, full: usize) -> bool {
    rows < (full / 4).max(2)
}

/// Leaves that are read together.
const READS_AT_ONCE: usize = 16;

/// Pages that are moved out of the segment that is being emptied, beside as many as change.
const MOVED_PAGES_MIN: usize = 64;

type Entries = Vec<(ShardId, IndexEntry)>;

/// What has become of a page: `None` where it stays as it is, or the rows that its parent has instead.
type Outcome = Option<Vec<ChildRow>>;

/// Makes a tree of another one.
pub(super) struct TreeWriter<'a, 'w> {
    store: &'a ChunkStore,
    pages: &'w mut PageWriter<'a>,
    kind: TreeKind,
    fanout: Fanout,
    /// The segment whose pages are moved, and how many more.
    moved_from: Option<u32>,
    moves_left: usize,
}

/// The entries of leaves that are written together.
#[derive(Default)]
struct Carry {
    entries: Entries,
    /// Keys were added behind all others and nothing else.
    appended: bool,
}

impl<'a, 'w> TreeWriter<'a, 'w> {
    pub(super) fn new(
        store: &'a ChunkStore,
        pages: &'w mut PageWriter<'a>,
        kind: TreeKind,
        change_count: usize,
    ) -> TreeWriter<'a, 'w> {
        let index = store.inner.index.borrow();
        TreeWriter {
            store,
            pages,
            kind,
            fanout: index.fanout(),
            moved_from: index.places.emptied(),
            moves_left: change_count + MOVED_PAGES_MIN,
        }
    }

    /// How many pages were moved at most.
    pub(super) fn moves_max(change_count: usize) -> u64 {
        (change_count + MOVED_PAGES_MIN) as u64
    }

    /// Writes what changes of a tree; returns the new one.
    pub(super) async fn write(
        mut self,
        tree: &Tree,
        changes: &Changes,
    ) -> Result<Tree, EngineError> {
        let mut outcomes = self.write_leaves(tree, changes).await?;
        let mut levels: Vec<Vec<Rc<InnerPage>>> = Vec::new();
        for (above, pages) in tree.levels().iter().enumerate() {
            let level = above as u32 + 1;
            let (written, of_pages) = self.write_level(level, pages, outcomes).await?;
            outcomes = match tree.levels().get(above + 1) {
                Some(parents) => outcomes_of_parents(parents, of_pages),
                None => Vec::new(),
            };
            levels.push(written);
        }
        if levels.is_empty() {
            let rows = outcomes.pop().flatten().unwrap_or_default();
            levels.push(self.write_inner(1, rows, true).await?);
        }
        self.finish(levels).await
    }

    /// Gives the tree the levels that it needs.
    async fn finish(&mut self, mut levels: Vec<Vec<Rc<InnerPage>>>) -> Result<Tree, EngineError> {
        while let Some(top) = levels.last() {
            match top.len() {
                0 => {
                    levels.pop();
                }
                1 if levels.len() > 1 && top[0].rows.len() == 1 => {
                    let place = top[0].written.map(|(place, _)| place);
                    // It may have been written just now: then it is a place that was taken for nothing.
                    self.pages.freed.extend(place);
                    levels.pop();
                }
                1 => break,
                _ => {
                    let rows = top.iter().map(row_of).collect();
                    let level = levels.len() as u32 + 1;
                    levels.push(self.write_inner(level, rows, true).await?);
                }
            }
        }
        Ok(Tree::new(levels))
    }

    /// The rows of each page above the leaves with the changes.
    async fn write_leaves(
        &mut self,
        tree: &Tree,
        changes: &Changes,
    ) -> Result<Vec<Outcome>, EngineError> {
        let Some(pages) = tree.levels().first().filter(|pages| !pages.is_empty()) else {
            let mut rows = Vec::new();
            let entries = present(changes.iter());
            self.write_entries(entries, true, false, &mut rows).await?;
            return Ok(vec![Some(rows)]);
        };
        let mut outcomes = Vec::with_capacity(pages.len());
        for (at, page) in pages.iter().enumerate() {
            let upper = pages.get(at + 1).map(|next| next.rows[0].first());
            let from = match at {
                0 => Bound::Unbounded,
                _ => Bound::Included(page.rows[0].first()),
            };
            let to = upper.map_or(Bound::Unbounded, Bound::Excluded);
            let mine: Vec<(ShardId, Change)> = changes
                .range((from, to))
                .map(|(id, change)| (*id, *change))
                .collect();
            outcomes.push(self.write_leaves_of(&page.rows, upper, &mine).await?);
            reactor::yield_if_due().await;
        }
        Ok(outcomes)
    }

    /// The rows of one page above the leaves with the changes to its leaves.
    async fn write_leaves_of(
        &mut self,
        rows: &[ChildRow],
        upper: Option<ShardId>,
        mut changes: &[(ShardId, Change)],
    ) -> Result<Outcome, EngineError> {
        if changes.is_empty() && self.moved_from.is_none() {
            return Ok(None);
        }
        let moved: Vec<bool> = rows.iter().map(|row| self.moves(row.place)).collect();
        if changes.is_empty() && !moved.contains(&true) {
            return Ok(None);
        }
        let read = self.read_changed(rows, upper, changes, &moved).await?;
        let mut written = Vec::with_capacity(rows.len() + 1);
        let mut carry: Option<Carry> = None;
        for (at, row) in rows.iter().enumerate() {
            let leaf = leaf_at(rows, at, upper);
            let count =
                changes.partition_point(|(id, _)| leaf.upper.is_none_or(|upper| *id < upper));
            let (mine, rest) = changes.split_at(count);
            changes = rest;
            if mine.is_empty() && !moved[at] && carry.is_none() {
                written.push(*row);
                continue;
            }
            let base = match read.get(&row.place) {
                Some(base) => base.clone(),
                None => self.read(leaf).await?,
            };
            let is_hot = {
                let index = self.store.inner.index.borrow();
                index.cache.peek(row.place).is_some()
            };
            self.pages.freed.push(row.place);
            let is_alone = carry.is_none();
            let merged = merge(carry.take().unwrap_or_default(), &base.entries, mine);
            if merged.entries.is_empty() {
                continue;
            }
            let is_small = is_small(merged.entries.len(), self.fanout.leaf);
            let has_shrunk = mine.iter().any(|(_, change)| change.now.is_none());
            if is_small && (has_shrunk || !is_alone) && !mine.is_empty() && at + 1 < rows.len() {
                carry = Some(merged);
                continue;
            }
            let appended = merged.appended && is_alone;
            self.write_entries(merged.entries, appended, is_hot, &mut written)
                .await?;
        }
        assert!(
            carry.is_none(),
            "the last leaf of a page carries nothing on"
        );
        Ok(Some(written))
    }

    /// Reads the leaves that change, together.
    async fn read_changed(
        &self,
        rows: &[ChildRow],
        upper: Option<ShardId>,
        changes: &[(ShardId, Change)],
        moved: &[bool],
    ) -> Result<BTreeMap<PagePlace, Rc<Leaf>>, EngineError> {
        let mut wanted = Vec::new();
        for (at, is_moved) in moved.iter().enumerate() {
            let leaf = leaf_at(rows, at, upper);
            let from = match at {
                0 => 0,
                _ => changes.partition_point(|(id, _)| *id < leaf.row.first()),
            };
            let next = changes.get(from);
            let changes_here =
                next.is_some_and(|(id, _)| leaf.upper.is_none_or(|upper| *id < upper));
            if changes_here || *is_moved {
                wanted.push(leaf);
            }
        }
        let reading = wanted.into_iter().map(|leaf| async move {
            let read = self.read(leaf).await?;
            Ok::<_, EngineError>((leaf.row.place, read))
        });
        let mut reading = stream::iter(reading).buffer_unordered(READS_AT_ONCE);
        let mut read = BTreeMap::new();
        while let Some(outcome) = reading.next().await {
            let (place, leaf) = outcome?;
            read.insert(place, leaf);
        }
        Ok(read)
    }

    async fn read(&self, leaf: LeafRow) -> Result<Rc<Leaf>, EngineError> {
        let read = self.store.leaf(self.kind, leaf).await;
        read.map_err(|error| self.store.note_damaged_leaf(self.kind, error))
    }

    /// Writes leaves of some entries. What was in memory stays there.
    async fn write_entries(
        &mut self,
        entries: Entries,
        appended: bool,
        is_hot: bool,
        rows: &mut Vec<ChildRow>,
    ) -> Result<(), EngineError> {
        let mut from = 0;
        for length in parts(entries.len(), self.fanout.leaf, appended) {
            let part = &entries[from..from + length];
            from += length;
            let encode = |identity, out: &mut [u8]| page::encode_leaf(identity, part, out);
            let (place, crc) = self.pages.add(self.kind, 0, encode).await?;
            rows.push(ChildRow::new(part[0].0, place, crc));
            if is_hot {
                let leaf = Rc::new(Leaf {
                    entries: part.to_vec(),
                });
                self.store
                    .inner
                    .index
                    .borrow_mut()
                    .cache
                    .insert(place, leaf);
            }
        }
        Ok(())
    }

    /// Writes the pages of a level that change; returns all pages of the level, and what has become of each.
    async fn write_level(
        &mut self,
        level: u32,
        pages: &[Rc<InnerPage>],
        outcomes: Vec<Outcome>,
    ) -> Result<(Vec<Rc<InnerPage>>, Vec<Outcome>), EngineError> {
        let (mut all, mut of_pages) = (Vec::with_capacity(pages.len()), Vec::new());
        let mut carry: Option<Vec<ChildRow>> = None;
        for (at, (page, outcome)) in pages.iter().zip(outcomes).enumerate() {
            let is_moved = page.written.is_none_or(|(place, _)| self.moves(place));
            if outcome.is_none() && !is_moved && carry.is_none() {
                all.push(page.clone());
                of_pages.push(None);
                continue;
            }
            self.pages
                .freed
                .extend(page.written.map(|(place, _)| place));
            let is_changed = outcome.is_some();
            let now = outcome.unwrap_or_else(|| page.rows.clone());
            let kept =
                now.len() >= page.rows.len() && now.starts_with(&page.rows[..page.rows.len() - 1]);
            let appended = carry.is_none() && kept;
            let was_carried = carry.is_some();
            let has_shrunk = now.len() < page.rows.len();
            let mut rows = carry.take().unwrap_or_default();
            rows.extend(now);
            let is_small = is_small(rows.len(), self.fanout.inner);
            if is_small && is_changed && (has_shrunk || was_carried) && at + 1 < pages.len() {
                carry = Some(rows);
                of_pages.push(Some(Vec::new()));
                continue;
            }
            let written = self.write_inner(level, rows, appended).await?;
            of_pages.push(Some(written.iter().map(row_of).collect()));
            all.extend(written);
        }
        assert!(
            carry.is_none(),
            "the last page of a level carries nothing on"
        );
        Ok((all, of_pages))
    }

    async fn write_inner(
        &mut self,
        level: u32,
        rows: Vec<ChildRow>,
        appended: bool,
    ) -> Result<Vec<Rc<InnerPage>>, EngineError> {
        let mut pages = Vec::new();
        let mut from = 0;
        for length in parts(rows.len(), self.fanout.inner, appended) {
            let part = rows[from..from + length].to_vec();
            from += length;
            let encode = |identity, out: &mut [u8]| page::encode_inner(identity, &part, out);
            let written = self.pages.add(self.kind, level, encode).await?;
            pages.push(Rc::new(InnerPage {
                written: Some(written),
                rows: part,
            }));
        }
        Ok(pages)
    }

    /// Whether a page is moved because its segment is being emptied.
    fn moves(&mut self, place: PagePlace) -> bool {
        let is_there = self.moved_from == Some(place.slot) && self.moves_left > 0;
        self.moves_left -= usize::from(is_there);
        is_there
    }
}

fn leaf_at(rows: &[ChildRow], at: usize, upper: Option<ShardId>) -> LeafRow {
    let next = rows.get(at + 1).map(ChildRow::first);
    LeafRow {
        row: rows[at],
        upper: next.or(upper),
    }
}

fn row_of(page: &Rc<InnerPage>) -> ChildRow {
    let (place, crc) = page.written.expect("a checkpoint writes every page");
    ChildRow::new(page.rows[0].first(), place, crc)
}

/// What becomes of the pages of a level, from what has become of those below: they are their rows, in the same order.
fn outcomes_of_parents(parents: &[Rc<InnerPage>], of_children: Vec<Outcome>) -> Vec<Outcome> {
    let mut of_children = of_children.into_iter();
    let of_parent = |parent: &Rc<InnerPage>| -> Outcome {
        let children: Vec<Outcome> = of_children.by_ref().take(parent.rows.len()).collect();
        if children.iter().all(Option::is_none) {
            return None;
        }
        let with_rows = children.into_iter().zip(&parent.rows);
        let rows = with_rows.flat_map(|(child, row)| child.unwrap_or_else(|| vec![*row]));
        Some(rows.collect())
    };
    parents.iter().map(of_parent).collect()
}

/// How long the parts are into which so many rows are cut.
fn parts(count: usize, full: usize, appended: bool) -> impl Iterator<Item = usize> {
    let parts = count.div_ceil(full);
    (0..parts).map(move |part| match appended {
        true => full.min(count - part * full),
        false => count * (part + 1) / parts - count * part / parts,
    })
}

fn present<'c>(changes: impl Iterator<Item = (&'c ShardId, &'c Change)>) -> Entries {
    let present = changes.filter_map(|(id, change)| Some((*id, change.now?)));
    present.collect()
}

/// The entries of a leaf with its changes, behind those that are carried on from the leaf before.
fn merge(carry: Carry, base: &[(ShardId, IndexEntry)], changes: &[(ShardId, Change)]) -> Carry {
    let last = base.last().map(|(id, _)| *id);
    let is_behind = |(id, change): &(ShardId, Change)| last < Some(*id) && change.now.is_some();
    let appended = !changes.is_empty() && changes.iter().all(is_behind);
    let mut entries = carry.entries;
    let mut changes = changes.iter().peekable();
    for (id, entry) in base {
        while let Some((earlier, change)) = changes.next_if(|(other, _)| other < id) {
            entries.extend(change.now.map(|now| (*earlier, now)));
        }
        match changes.next_if(|(other, _)| other == id) {
            Some((_, change)) => entries.extend(change.now.map(|now| (*id, now))),
            None => entries.push((*id, *entry)),
        }
    }
    entries.extend(changes.filter_map(|(id, change)| Some((*id, change.now?))));
    Carry { entries, appended }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::id::ChunkId;

    #[test]
    fn parts_are_equal_or_full() {
        let cut = |count, appended| parts(count, 100, appended).collect::<Vec<usize>>();
        assert!(cut(0, false).is_empty() && cut(0, true).is_empty());
        assert_eq!((cut(100, false), cut(100, true)), (vec![100], vec![100]));
        assert_eq!(
            (cut(101, false), cut(101, true)),
            (vec![50, 51], vec![100, 1])
        );
        assert_eq!(cut(299, false), [99, 100, 100]);
    }

    #[test]
    fn a_leaf_takes_its_changes_in_order() {
        let id = |number| ShardId {
            chunk: ChunkId(number),
            shard: 0,
        };
        let entry = |position| IndexEntry {
            position,
            payload_bytes: 0,
            inode: 0,
        };
        let change = |now: Option<u64>| Change {
            now: now.map(entry),
            base: None,
        };
        let base = [(id(2), entry(2)), (id(4), entry(4)), (id(6), entry(6))];
        let changes = [
            (id(1), change(Some(10))),
            (id(2), change(None)),
            (id(4), change(Some(40))),
            (id(5), change(None)),
            (id(7), change(Some(70))),
        ];
        let merged = merge(Carry::default(), &base, &changes);
        let expected = [(1, 10), (4, 40), (6, 6), (7, 70)];
        let expected: Entries = expected.map(|(at, to)| (id(at), entry(to))).to_vec();
        assert_eq!((merged.entries, merged.appended), (expected, false));
        let behind = [(id(7), change(Some(70))), (id(8), change(Some(80)))];
        assert!(merge(Carry::default(), &base, &behind).appended);
    }
}
