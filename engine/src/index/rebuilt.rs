//! What a start loads into the index, and what takes the place of what was damaged.
//!
//! Invariant: what is put in here are trees that are the durable ones without their damaged parts, and the entries that were found
//! again in the records are changes: the next checkpoint writes them, and until then the durable trees stay as they are.

use std::collections::BTreeMap;
use std::ops::Bound;
use std::rc::Rc;

use super::tree::Tree;
use super::{Change, Index, record_bytes};
use crate::format::page::{IndexEntry, PagePlace, TableRow, TreeKind, table_key, table_row};
use crate::id::ShardId;

/// Keys between two that are known: what lies there is not known from pages.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Gap {
    /// The first key that may be missing.
    pub(crate) from: Option<ShardId>,
    /// The first key behind that is known again.
    pub(crate) to: Option<ShardId>,
}

impl Gap {
    pub(crate) fn holds(&self, id: ShardId) -> bool {
        self.from.is_none_or(|from| from <= id) && self.to.is_none_or(|to| id < to)
    }
}

/// What all leaves of the tree of shards come to.
#[derive(Debug, Default)]
pub(crate) struct Counted {
    pub(crate) entry_count: u64,
    pub(crate) live: BTreeMap<u64, u64>,
    pub(crate) newest_epochs: BTreeMap<u32, u32>,
}

impl Counted {
    pub(crate) fn add(&mut self, id: ShardId, entry: &IndexEntry, segment_bytes: u64) {
        self.entry_count += 1;
        *self.live.entry(entry.position / segment_bytes).or_default() += record_bytes(entry);
        let newest = self.newest_epochs.entry(id.chunk.writer()).or_default();
        *newest = (*newest).max(id.chunk.epoch());
    }
}

impl Index {
    /// Takes a tree as it was loaded.
    pub(crate) fn load_tree(&mut self, kind: TreeKind, tree: Tree) {
        match kind {
            TreeKind::Shards => self.shards = Rc::new(tree),
            TreeKind::Table => self.table = Rc::new(tree),
        }
    }

    /// Takes what the table says.
    pub(crate) fn load_counts(&mut self, entry_count: u64, rows: &[(ShardId, IndexEntry)]) {
        self.count = entry_count;
        for (key, value) in rows {
            match table_row(*key) {
                Some(TableRow::LiveBytes(sequence)) => {
                    self.live.insert(sequence, value.position);
                }
                Some(TableRow::NewestEpoch(writer)) => {
                    self.newest_epochs.insert(writer, value.position as u32);
                }
                None => {}
            }
        }
        self.live_total = self.live.values().sum();
    }

    /// Notes places that the durable trees use and the present ones do not.
    pub(crate) fn leave_over(&mut self, places: impl IntoIterator<Item = PagePlace>) {
        self.left_over.extend(places);
    }

    /// Takes a tree of shards without damaged parts, what its leaves come to, and the entries that were found again in the
    /// records from before the last checkpoint. What has changed since stays as it is.
    pub(crate) fn take_rebuilt(
        &mut self,
        tree: Tree,
        counted: Counted,
        gaps: &[Gap],
        found: BTreeMap<ShardId, IndexEntry>,
    ) {
        assert!(self.frozen.is_none(), "no checkpoint runs beside it");
        for gap in gaps {
            let from = gap.from.map_or(Bound::Unbounded, Bound::Included);
            let to = gap.to.map_or(Bound::Unbounded, Bound::Excluded);
            let changes = self.changes.range_mut((from, to));
            changes.for_each(|(_, change)| change.base = None);
            let pinned = self.pinned.range_mut((from, to));
            pinned.for_each(|(_, pin)| pin.base = None);
        }
        for (id, entry) in found {
            let change = Change {
                now: Some(entry),
                base: None,
            };
            self.changes.entry(id).or_insert(change);
        }
        self.load_tree(TreeKind::Shards, tree);
        self.take_counted(counted);
    }

    /// Sets what is counted to what the leaves and the changes come to; all of the table is written by the next checkpoint.
    fn take_counted(&mut self, counted: Counted) {
        let rows = |live: &BTreeMap<u64, u64>| -> Vec<ShardId> {
            let rows = live.keys().map(|sequence| TableRow::LiveBytes(*sequence));
            rows.map(table_key).collect()
        };
        self.changed_rows.extend(rows(&self.live));
        for (writer, epoch) in counted.newest_epochs {
            let newest = self.newest_epochs.entry(writer).or_default();
            *newest = (*newest).max(epoch);
        }
        (self.count, self.live) = (counted.entry_count, counted.live);
        self.live_total = self.live.values().sum();
        let changes: Vec<(ShardId, Change)> =
            self.changes.iter().map(|(id, c)| (*id, *c)).collect();
        // Gains before losses, so that nothing is ever counted below zero.
        for (id, change) in &changes {
            if let Some(entry) = &change.now {
                self.gain_live(entry);
                self.note_epoch(*id);
            }
        }
        for (_, change) in &changes {
            if let Some(entry) = &change.base {
                self.lose_live(entry);
            }
        }
        self.changed_rows.extend(rows(&self.live));
        let writers = self.newest_epochs.keys().copied();
        let writers: Vec<ShardId> = writers
            .map(|w| table_key(TableRow::NewestEpoch(w)))
            .collect();
        self.changed_rows.extend(writers);
    }
}
