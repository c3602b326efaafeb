//! A tree of index pages as memory holds it: all inner pages, and of the leaves where they lie and what their CRCs are.
//!
//! Invariants: the rows of the pages of one level, one page after the other, are the pages of the level below, in their order; keys
//! ascend; no page is empty; the topmost level is one page; a tree never changes, a checkpoint makes another one that shares
//! the pages that stay.

use std::rc::Rc;

use crate::format::anchor::Root;
use crate::format::page::{CHILDREN_PER_PAGE, ChildRow, ENTRIES_PER_PAGE, PagePlace};
use crate::id::ShardId;

/// How many rows the pages of a tree have when they are full. Tests make high trees of few entries with less.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Fanout {
    pub(crate) leaf: usize,
    pub(crate) inner: usize,
}

impl Default for Fanout {
    fn default() -> Fanout {
        Fanout {
            leaf: ENTRIES_PER_PAGE,
            inner: CHILDREN_PER_PAGE,
        }
    }
}

/// An inner page.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct InnerPage {
    /// Where it lies, and its CRC. A page that was made anew because of damage lies nowhere until the next checkpoint.
    pub(crate) written: Option<(PagePlace, u32)>,
    pub(crate) rows: Vec<ChildRow>,
}

impl InnerPage {
    fn first(&self) -> ShardId {
        self.rows[0].first()
    }
}

/// A leaf as its parent knows it, and where the keys of the next one begin.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct LeafRow {
    pub(crate) row: ChildRow,
    pub(crate) upper: Option<ShardId>,
}

/// A tree of pages.
#[derive(Debug, Default, Clone)]
pub(crate) struct Tree {
    /// The pages above the leaves first, the root last.
    levels: Vec<Vec<Rc<InnerPage>>>,
    leaf_count: u64,
    /// Inner pages that lie nowhere yet.
    unwritten_count: u64,
}

impl Tree {
    /// A tree of levels that are as the invariants of this module say.
    pub(crate) fn new(levels: Vec<Vec<Rc<InnerPage>>>) -> Tree {
        assert!(
            levels.last().is_none_or(|top| top.len() == 1),
            "a tree has one root"
        );
        for pair in levels.windows(2) {
            let rows: usize = pair[1].iter().map(|page| page.rows.len()).sum();
            assert!(
                rows == pair[0].len(),
                "every page but the root has a parent"
            );
        }
        let bottom = levels.first().into_iter().flatten();
        let leaf_count = bottom.map(|page| page.rows.len() as u64).sum();
        let pages = levels.iter().flatten();
        let unwritten = pages.filter(|page| page.written.is_none());
        Tree {
            unwritten_count: unwritten.count() as u64,
            leaf_count,
            levels,
        }
    }

    /// A tree over some leaves whose inner pages lie nowhere yet.
    pub(crate) fn over_leaves(leaves: &[ChildRow], fanout: Fanout) -> Tree {
        let mut levels: Vec<Vec<Rc<InnerPage>>> = Vec::new();
        let mut rows = leaves.to_vec();
        while levels.last().map_or(!rows.is_empty(), |top| top.len() > 1) {
            let pages: Vec<Rc<InnerPage>> = rows
                .chunks(fanout.inner)
                .map(|rows| {
                    Rc::new(InnerPage {
                        written: None,
                        rows: rows.to_vec(),
                    })
                })
                .collect();
            let nowhere =
                |page: &Rc<InnerPage>| ChildRow::new(page.first(), PagePlace::default(), 0);
            rows = pages.iter().map(nowhere).collect();
            levels.push(pages);
        }
        Tree::new(levels)
    }

    pub(crate) fn levels(&self) -> &[Vec<Rc<InnerPage>>] {
        &self.levels
    }

    /// Where the tree begins on the device.
    pub(crate) fn root(&self) -> Option<Root> {
        let (place, crc) = self.levels.last()?.first()?.written?;
        Some(Root {
            place,
            crc,
            levels: self.levels.len() as u32,
        })
    }

    /// The leaf that holds a key, if anything does.
    pub(crate) fn leaf_of(&self, id: ShardId) -> Option<LeafRow> {
        let pages = self.levels.first()?;
        let page = pages
            .partition_point(|page| page.first() <= id)
            .checked_sub(1)?;
        let rows = &pages[page].rows;
        let row = rows
            .partition_point(|row| row.first() <= id)
            .checked_sub(1)?;
        Some(self.leaf_at(page, row))
    }

    /// The first leaf.
    pub(crate) fn first_leaf(&self) -> Option<LeafRow> {
        let has_one = self.levels.first().is_some_and(|pages| !pages.is_empty());
        has_one.then(|| self.leaf_at(0, 0))
    }

    fn leaf_at(&self, page: usize, row: usize) -> LeafRow {
        let pages = &self.levels[0];
        let next_page = pages.get(page + 1);
        let next = pages[page].rows.get(row + 1);
        let next = next.or_else(|| next_page.map(|page| &page.rows[0]));
        LeafRow {
            row: pages[page].rows[row],
            upper: next.map(ChildRow::first),
        }
    }

    /// All leaves in order.
    pub(crate) fn leaves(&self) -> impl Iterator<Item = LeafRow> {
        let pages = self.levels.first().map_or(&[][..], Vec::as_slice);
        let pages = pages.iter().enumerate();
        pages.flat_map(move |(page, inner)| {
            (0..inner.rows.len()).map(move |row| self.leaf_at(page, row))
        })
    }

    pub(crate) fn unwritten_count(&self) -> u64 {
        self.unwritten_count
    }

    /// How many pages each level has, from the leaves up.
    pub(crate) fn page_counts(&self) -> Vec<u64> {
        let inner = self.levels.iter().map(|pages| pages.len() as u64);
        std::iter::once(self.leaf_count).chain(inner).collect()
    }

    /// Where the inner pages lie.
    pub(crate) fn inner_places(&self) -> impl Iterator<Item = PagePlace> {
        let pages = self.levels.iter().flatten();
        pages.filter_map(|page| Some(page.written?.0))
    }
}

/// The most pages that a rewrite writes of a tree with so many pages in each level, from the leaves up, when so many keys change
/// and so many pages are moved besides.
///
/// A leaf that changes or moves is written once, or together with the next one where it has become small; what is then too long is
/// cut into pages of which two neighbours have more entries than one holds. The same goes for the pages above, of which a
/// changed one may take in its neighbour too. So each level writes at most three pages for a page that is touched, and what the
/// pages that were added below need.
pub(crate) fn rewritten_pages_max(
    page_counts: &[u64],
    changed: u64,
    moved: u64,
    fanout: Fanout,
) -> u64 {
    if changed + moved == 0 {
        return 0;
    }
    let (mut touched, mut added, mut total) = (changed, changed, 0);
    for (level, pages) in page_counts.iter().enumerate() {
        let full = if level == 0 {
            fanout.leaf
        } else {
            fanout.inner
        } as u64;
        touched = (touched + moved).min(*pages);
        added = 3 * touched + added.div_ceil(full) + 1;
        total += added;
        touched *= 2;
    }
    // A tree that grows has more levels.
    while added > 1 {
        added = added.div_ceil(fanout.inner as u64);
        total += added;
    }
    total
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::id::ChunkId;

    fn id(number: u64) -> ShardId {
        ShardId {
            chunk: ChunkId(u128::from(number)),
            shard: 0,
        }
    }

    #[test]
    fn every_key_is_in_the_leaf_before_the_next_one() {
        let fanout = Fanout { leaf: 4, inner: 3 };
        for count in 0..40 {
            let place = |page| PagePlace { slot: 1, page };
            let leaves: Vec<ChildRow> = (0..count)
                .map(|n| ChildRow::new(id(10 + u64::from(n) * 10), place(n), n))
                .collect();
            let tree = Tree::over_leaves(&leaves, fanout);
            assert_eq!(tree.page_counts()[0], u64::from(count));
            let found: Vec<ChildRow> = tree.leaves().map(|leaf| leaf.row).collect();
            assert_eq!(found, leaves);
            for key in 0..10 + u64::from(count) * 10 {
                let expected = leaves.iter().rev().find(|row| row.first() <= id(key));
                let found = tree.leaf_of(id(key));
                assert_eq!(found.map(|leaf| leaf.row), expected.copied(), "{key}");
                let upper = leaves.iter().find(|row| row.first() > id(key));
                if let Some(leaf) = found {
                    assert_eq!(leaf.upper, upper.map(ChildRow::first), "{key}");
                }
            }
        }
    }
}
