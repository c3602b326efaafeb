//! An index with damaged pages, built again from its good leaves and from the records; at a start, and while the partition is open.
//!
//! Invariants: a damaged page costs nothing but time: a segment is given back only when no entry points into it, so the records
//! of every entry are still there, and of two records of a shard the later one counts. What was freed comes back where the
//! segment of its tombstone is gone; it has no name, so orphan collection frees it again. Until it is built again, a key in a damaged
//! leaf is an error. What has changed since the last checkpoint stays as it is. As long as the device cannot read some of the
//! records, nothing is built again: what it cannot read now it may read later, and a key that was left out would count as freed.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::io;
use std::sync::atomic::Ordering;
use std::time::Duration;

use futures_util::stream::{self, StreamExt};

use super::{RecoveryReport, Walk};
use crate::error::EngineError;
use crate::format::layout::BLOCK_BYTES;
use crate::format::page::{ChildRow, IndexEntry, PagePlace, TreeKind};
use crate::format::record::Body;
use crate::id::ShardId;
use crate::index::rebuilt::{Counted, Gap};
use crate::index::tree::{LeafRow, Tree};
use crate::reactor;
use crate::store::ChunkStore;

/// Leaves that are read together.
const READS_AT_ONCE: usize = 64;

/// How long the device may fail to read some records before those count as lost: much longer than a disturbance lasts.
const UNREADABLE_FOR: Duration = Duration::from_secs(600);

/// The same at a start, which others wait for.
const UNREADABLE_AT_START: Duration = Duration::from_secs(10);

/// Between two attempts while the partition is open, each of which reads every leaf.
const RETRY_AFTER: Duration = Duration::from_secs(15);

/// The same at a start.
const PAUSE: Duration = Duration::from_secs(2);

/// The entries of gaps, as the records say them.
pub(super) struct Missing {
    /// In order, and apart from each other.
    gaps: Vec<Gap>,
    found: RefCell<BTreeMap<ShardId, IndexEntry>>,
    /// What the device could not read of the records.
    unreadable: RefCell<Option<String>>,
}

impl Missing {
    fn holds(&self, id: ShardId) -> bool {
        let behind = |gap: &Gap| gap.from.is_none_or(|from| from <= id);
        let at = self.gaps.partition_point(behind).checked_sub(1);
        at.is_some_and(|at| self.gaps[at].holds(id))
    }

    /// Notes that a place could not be read, where a record may be.
    pub(super) fn note_unreadable(&self, place: String) {
        self.unreadable.borrow_mut().get_or_insert(place);
    }

    /// Applies a record, of which all earlier ones were applied before.
    pub(super) fn enter(&self, position: u64, body: &Body) {
        let mut found = self.found.borrow_mut();
        match body {
            Body::Shard(shard) if self.holds(shard.id) => {
                let entry = IndexEntry {
                    position,
                    payload_bytes: shard.payload_bytes,
                    inode: shard.owner.inode,
                };
                found.insert(shard.id, entry);
            }
            Body::Shard(_) => {}
            Body::Tombstones(ids) => ids.iter().for_each(|id| {
                found.remove(id);
            }),
        }
    }
}

impl ChunkStore {
    /// Builds the index again after damage was found in it, and makes it durable.
    pub(crate) async fn rebuild_index(&self) -> Result<(), EngineError> {
        let _maintenance = self.inner.maintenance.lock().await;
        self.checkpoint_locked().await
    }

    /// Whether it was not tried a moment ago.
    pub(crate) fn is_rebuild_due(&self) -> bool {
        let tried = self.inner.rebuild_tried.get();
        tried.is_none_or(|(_, last)| last.elapsed() >= RETRY_AFTER)
    }

    /// As [`ChunkStore::rebuild_index`], for one who holds maintenance and writes a checkpoint next.
    ///
    /// # Errors
    /// [`EngineError::Io`] when some records cannot be read now: the index stays as it is.
    pub(crate) async fn rebuild_index_locked(&self) -> Result<(), EngineError> {
        if !self.is_rebuild_due() {
            let why = "the index is damaged, and waits to be built again";
            return Err(EngineError::Unavailable(why.to_owned()));
        }
        let tried = self.inner.rebuild_tried.get();
        let began = tried.map_or_else(reactor::now, |(first, _)| first);
        let mut report = RecoveryReport::default();
        let gives_up = began.elapsed() >= UNREADABLE_FOR;
        let damage = self.inner.index_damage.get().unwrap_or(TreeKind::Shards);
        let table_counts = damage != TreeKind::Table;
        let rebuilt = self.rebuild_once(Vec::new(), table_counts, gives_up, &mut report);
        if let Err(error) = rebuilt.await {
            self.note_damage(damage);
            self.inner.rebuild_tried.set(Some((began, reactor::now())));
            let partition = self.inner.log.partition;
            tracing::warn!(%error, partition, "the index is damaged and cannot be built again yet");
            return Err(error);
        }
        self.inner.rebuild_tried.set(None);
        for damage in report.damage.iter().chain(&report.mended) {
            tracing::warn!(%damage, "the index was damaged and has been built again");
        }
        let corruptions = &self.inner.statistics.corruptions;
        corruptions.fetch_add(report.damage.len() as u64, Ordering::Relaxed);
        self.count_index();
        Ok(())
    }

    /// Builds the index again at a start: what lies in these gaps, and in leaves that are damaged.
    pub(super) async fn rebuild_from(
        &self,
        gaps: Vec<Gap>,
        report: &mut RecoveryReport,
    ) -> Result<(), EngineError> {
        let began = reactor::now();
        loop {
            let gives_up = began.elapsed() >= UNREADABLE_AT_START;
            let mut found = RecoveryReport::default();
            let rebuilt = self.rebuild_once(gaps.clone(), false, gives_up, &mut found);
            match rebuilt.await {
                Err(EngineError::Io(error)) if !gives_up => {
                    tracing::warn!(%error, "records cannot be read now; trying again");
                    reactor::sleep(PAUSE).await;
                }
                outcome => {
                    report.damage.extend(found.damage);
                    report.mended.extend(found.mended);
                    report.records_replayed += found.records_replayed;
                    report.index_rebuilt |= found.index_rebuilt;
                    return outcome;
                }
            }
        }
    }

    /// Reads every leaf and counts what they hold, finds what is missing in the gaps and in leaves that are damaged, and gives up the
    /// table, which the next checkpoint writes anew. Where the table counts and no leaf turns out to be damaged, nothing is done.
    async fn rebuild_once(
        &self,
        mut gaps: Vec<Gap>,
        table_counts: bool,
        gives_up: bool,
        report: &mut RecoveryReport,
    ) -> Result<(), EngineError> {
        self.inner.index_damage.set(None);
        let mut counted = Counted::default();
        let (good, lost) = self
            .read_all_leaves(&mut counted, &mut gaps, report)
            .await?;
        if table_counts && gaps.is_empty() {
            return Ok(());
        }
        gaps.sort_unstable_by_key(|gap| gap.from);
        let missing = Missing {
            gaps,
            found: RefCell::default(),
            unreadable: RefCell::default(),
        };
        if !missing.gaps.is_empty() {
            self.find_entries(&missing, gives_up, report).await?;
        }
        if let Some(place) = missing.unreadable.take()
            && !gives_up
        {
            return Err(io::Error::other(format!("{place}: the index waits for it")).into());
        }
        report.index_rebuilt = true;
        let mut index = self.inner.index.borrow_mut();
        let mut tree = (**index.tree(TreeKind::Shards)).clone();
        if !lost.is_empty() {
            lost.iter().for_each(|place| index.cache.remove(*place));
            index.leave_over(lost);
            index.leave_over(tree.inner_places());
            tree = Tree::over_leaves(&good, index.fanout());
        }
        let table = index.tree(TreeKind::Table).clone();
        index.leave_over(table.inner_places());
        index.leave_over(table.leaves().map(|leaf| leaf.row.place));
        index.load_tree(TreeKind::Table, Tree::default());
        index.take_rebuilt(tree, counted, &missing.gaps, missing.found.into_inner());
        Ok(())
    }

    /// Reads every leaf as the device has it; returns the rows of the good ones and the places of the others.
    async fn read_all_leaves(
        &self,
        counted: &mut Counted,
        gaps: &mut Vec<Gap>,
        report: &mut RecoveryReport,
    ) -> Result<(Vec<ChildRow>, Vec<PagePlace>), EngineError> {
        let segment_bytes = self.inner.log.map.segment_bytes;
        let tree = self.inner.index.borrow().tree(TreeKind::Shards).clone();
        let reading = tree.leaves().map(|leaf: LeafRow| async move {
            let read = self.read_leaf(TreeKind::Shards, leaf).await;
            (leaf, read)
        });
        let mut reading = stream::iter(reading).buffered(READS_AT_ONCE);
        let (mut good, mut lost) = (Vec::new(), Vec::new());
        while let Some((leaf, read)) = reading.next().await {
            match read {
                Ok(read) => {
                    let add = |(id, entry): &(ShardId, IndexEntry)| {
                        counted.add(*id, entry, segment_bytes);
                    };
                    read.entries.iter().for_each(add);
                    good.push(leaf.row);
                }
                Err(error @ (EngineError::Corrupt { .. } | EngineError::Io(_))) => {
                    let damage = format!("{error}; its entries are looked for in the records");
                    report.damage.push(damage);
                    gaps.push(Gap {
                        from: Some(leaf.row.first()),
                        to: leaf.upper,
                    });
                    lost.push(leaf.row.place);
                }
                Err(error) => return Err(error),
            }
        }
        Ok((good, lost))
    }

    /// Walks all records before the last checkpoint for the entries that no page has.
    async fn find_entries(
        &self,
        missing: &Missing,
        gives_up: bool,
        report: &mut RecoveryReport,
    ) -> Result<(), EngineError> {
        let log = &self.inner.log;
        let segment_bytes = log.map.segment_bytes;
        let from = self.inner.replay_from.get();
        for sequence in log.record_segments() {
            let start = sequence * segment_bytes + BLOCK_BYTES as u64;
            let segment_end = (sequence + 1) * segment_bytes;
            if start >= from || missing.unreadable.borrow().is_some() && !gives_up {
                break;
            }
            let known_end = if from <= segment_end {
                Some(from)
            } else {
                log.known_end(sequence)
            };
            let walk = Walk {
                start,
                segment_end,
                known_end: known_end.filter(|end| (start..=segment_end).contains(end)),
                durable: 0,
                run: 0,
                sealed: true,
                missing: Some(missing),
            };
            self.replay_segment(walk, report).await?;
        }
        Ok(())
    }
}
