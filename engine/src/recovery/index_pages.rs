//! The index at a start: the pages above the leaves, and the table. Leaves are read when they are needed.
//!
//! Invariant: a page counts only when it is the one that its parent names, or the root that the anchor names. The keys of any
//! other are a gap, in which the index is built again from the records.

use std::collections::BTreeSet;
use std::rc::Rc;

use futures_util::stream::{self, StreamExt};

use super::RecoveryReport;
use crate::error::EngineError;
use crate::format::FormatError;
use crate::format::anchor::Root;
use crate::format::page::{self, ChildRow, IndexEntry, PageIdentity, PagePlace, TreeKind};
use crate::id::ShardId;
use crate::index::rebuilt::Gap;
use crate::index::tree::{InnerPage, LeafRow, Tree};
use crate::look_up::checked;
use crate::segment_log::ScannedLog;
use crate::store::ChunkStore;

/// Pages that are read together.
const READS_AT_ONCE: usize = 64;

/// A page that is to be loaded: what its parent says of it, and where the keys of the next one begin.
#[derive(Clone, Copy)]
struct Wanted {
    place: PagePlace,
    crc: u32,
    /// Of the root, nothing says it.
    first: Option<ShardId>,
    upper: Option<ShardId>,
}

/// A tree as it was found.
#[derive(Default)]
struct Loaded {
    tree: Tree,
    gaps: Vec<Gap>,
    damage: Vec<String>,
}

impl Loaded {
    fn lose(&mut self, wanted: Wanted, detail: impl ToString) {
        self.damage.push(detail.to_string());
        self.gaps.push(Gap {
            from: wanted.first,
            to: wanted.upper,
        });
    }
}

impl ChunkStore {
    /// Loads the trees that the anchor names. What is damaged is built again from the records.
    pub(super) async fn load_index(
        &self,
        found: &ScannedLog,
        report: &mut RecoveryReport,
    ) -> Result<(), EngineError> {
        let anchor = &found.anchor;
        let shards = self.load_tree(TreeKind::Shards, anchor.shards).await?;
        let mut table = self.load_tree(TreeKind::Table, anchor.table).await?;
        let rows = self.table_rows(&mut table).await?;
        {
            let mut index = self.inner.index.borrow_mut();
            index.load_tree(TreeKind::Shards, shards.tree);
            index.load_tree(TreeKind::Table, table.tree);
            index.load_counts(anchor.entry_count, &rows);
        }
        report.index_entries = anchor.entry_count;
        let is_whole = shards.gaps.is_empty() && table.gaps.is_empty();
        let is_lost =
            |damage: String| format!("{damage}; its entries are looked for in the records");
        report.damage.extend(shards.damage.into_iter().map(is_lost));
        let is_counted = |damage: String| format!("{damage}; what it said is counted again");
        report
            .mended
            .extend(table.damage.into_iter().map(is_counted));
        if is_whole {
            return Ok(());
        }
        self.rebuild_from(shards.gaps, report).await
    }

    /// Reads the pages of a tree above its leaves, level by level.
    async fn load_tree(&self, kind: TreeKind, root: Option<Root>) -> Result<Loaded, EngineError> {
        let mut loaded = Loaded::default();
        let Some(root) = root else {
            return Ok(loaded);
        };
        let mut wanted = vec![Wanted {
            place: root.place,
            crc: root.crc,
            first: None,
            upper: None,
        }];
        let mut levels = Vec::new();
        let mut bottom = Vec::new();
        for level in (1..=root.levels).rev() {
            let there = self.take_places(std::mem::take(&mut wanted), &mut loaded);
            bottom = self.read_level(kind, level, there, &mut loaded).await?;
            if level > 1 {
                wanted = bottom.iter().flat_map(children_of).collect();
            }
            levels.push(bottom.iter().map(|(page, _)| page.clone()).collect());
        }
        let lost = self.take_leaf_places(&bottom, &mut loaded);
        levels.reverse();
        loaded.tree = if loaded.gaps.is_empty() {
            Tree::new(levels)
        } else {
            let pages = levels.iter().flatten();
            let written = pages.filter_map(|page: &Rc<InnerPage>| Some(page.written?.0));
            let rows = bottom.iter().flat_map(|(page, _)| &page.rows);
            let good = rows.filter(|row| !lost.contains(&row.first()));
            let good: Vec<ChildRow> = good.copied().collect();
            let mut index = self.inner.index.borrow_mut();
            index.leave_over(written);
            Tree::over_leaves(&good, index.fanout())
        };
        Ok(loaded)
    }

    /// Notes that leaves lie at their places; returns the first keys of those that are lost.
    fn take_leaf_places(
        &self,
        pages: &[(Rc<InnerPage>, Wanted)],
        loaded: &mut Loaded,
    ) -> BTreeSet<ShardId> {
        let mut lost = BTreeSet::new();
        for page in pages {
            let has_all = {
                let places = &mut self.inner.index.borrow_mut().places;
                let mut rows = page.0.rows.iter();
                let taken = rows
                    .by_ref()
                    .take_while(|row| places.take(row.place))
                    .count();
                taken == page.0.rows.len() || {
                    // Again, one by one, with what is wrong.
                    let first = page.0.rows.iter().take(taken);
                    first.for_each(|row| places.free(row.place));
                    false
                }
            };
            if !has_all {
                let wanted = children_of(page);
                let there = self.take_places(wanted.clone(), loaded);
                let there: BTreeSet<Option<ShardId>> =
                    there.iter().map(|page| page.first).collect();
                let missing = wanted.iter().filter(|page| !there.contains(&page.first));
                lost.extend(missing.filter_map(|page| page.first));
            }
        }
        lost
    }

    /// Notes that pages lie at their places; one at a place that there is not, or at which another page lies, is lost.
    fn take_places(&self, wanted: Vec<Wanted>, loaded: &mut Loaded) -> Vec<Wanted> {
        let places = &mut self.inner.index.borrow_mut().places;
        let mut there = Vec::with_capacity(wanted.len());
        for page in wanted {
            if places.take(page.place) {
                there.push(page);
            } else {
                let error = FormatError::Field("its place is not one of its own");
                loaded.lose(page, self.damaged_page(page.place, error));
            }
        }
        there
    }

    /// Reads the inner pages of a level. Those that are damaged are lost, and their places are free after the next checkpoint.
    async fn read_level(
        &self,
        kind: TreeKind,
        level: u32,
        wanted: Vec<Wanted>,
        loaded: &mut Loaded,
    ) -> Result<Vec<(Rc<InnerPage>, Wanted)>, EngineError> {
        let reading = wanted.into_iter().map(|page| async move {
            let read = self.read_inner(kind, level, page).await;
            (page, read)
        });
        let mut reading = stream::iter(reading).buffered(READS_AT_ONCE);
        let mut pages = Vec::new();
        while let Some((wanted, read)) = reading.next().await {
            match read {
                Ok(rows) => {
                    let written = Some((wanted.place, wanted.crc));
                    pages.push((Rc::new(InnerPage { written, rows }), wanted));
                }
                Err(error @ (EngineError::Corrupt { .. } | EngineError::Io(_))) => {
                    loaded.lose(wanted, error);
                    self.inner.index.borrow_mut().leave_over([wanted.place]);
                }
                Err(error) => return Err(error),
            }
        }
        Ok(pages)
    }

    async fn read_inner(
        &self,
        kind: TreeKind,
        level: u32,
        wanted: Wanted,
    ) -> Result<Vec<ChildRow>, EngineError> {
        let bytes = self.read_page(wanted.place).await?;
        let decoded = checked(&bytes, wanted.crc, page::decode_inner(&bytes));
        let (identity, rows) = decoded.map_err(|error| self.damaged_page(wanted.place, error))?;
        let expected = PageIdentity {
            place: wanted.place,
            tree: kind,
            level,
            ..identity
        };
        let keys = rows.first().zip(rows.last());
        let is_here = keys.is_some_and(|(first, last)| {
            wanted.first.is_none_or(|wanted| wanted == first.first())
                && wanted.upper.is_none_or(|upper| last.first() < upper)
        });
        if identity == expected && is_here {
            return Ok(rows);
        }
        let error = FormatError::Field("the page is another one");
        Err(self.damaged_page(wanted.place, error))
    }

    /// Reads the whole table.
    async fn table_rows(
        &self,
        table: &mut Loaded,
    ) -> Result<Vec<(ShardId, IndexEntry)>, EngineError> {
        let mut rows = Vec::new();
        let leaves: Vec<LeafRow> = table.tree.leaves().collect();
        let reading = leaves
            .into_iter()
            .map(|leaf| async move { (leaf, self.leaf(TreeKind::Table, leaf).await) });
        let mut reading = stream::iter(reading).buffered(READS_AT_ONCE);
        while let Some((leaf, read)) = reading.next().await {
            match read {
                Ok(read) => rows.extend_from_slice(&read.entries),
                Err(error @ (EngineError::Corrupt { .. } | EngineError::Io(_))) => {
                    let wanted = Wanted {
                        place: leaf.row.place,
                        crc: leaf.row.crc,
                        first: Some(leaf.row.first()),
                        upper: leaf.upper,
                    };
                    table.lose(wanted, error);
                }
                Err(error) => return Err(error),
            }
        }
        Ok(rows)
    }
}

fn children_of((page, wanted): &(Rc<InnerPage>, Wanted)) -> Vec<Wanted> {
    let uppers = page.rows.iter().skip(1).map(|row| Some(row.first()));
    let uppers = uppers.chain([wanted.upper]);
    let children = page.rows.iter().zip(uppers).map(|(row, upper)| Wanted {
        place: row.place,
        crc: row.crc,
        first: Some(row.first()),
        upper,
    });
    children.collect()
}
