//! Packing: short bodies move from the namespace, and from chunks of their own, into chunks that many of them share.
//!
//! A body that rides in its command lies in the namespace and in every snapshot of it; a short chunk is kept in whole copies, each
//! with its own record. Both are written so because that is quick. What has stayed for a while is read, written into a pack, and
//! given to it by one command, which leaves alone what has changed meanwhile.
//!
//! Invariants: one pack is under way at a time, and memory is bounded by it; no turn looks at more than some rows; a walk begins
//! where the last one has left anything, and at the beginning only once in a while; nothing is packed while the node writes less
//! than its layout, is short of space, or doubts its namespace. The wall clock decides what is packed, never what is freed.

mod batch;
mod members;
mod repack;

use std::collections::BTreeSet;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use bytes::Bytes;
use strata_engine::reactor::{self, Instant, TaskClass};
use strata_raftlog::namespace::command::RepointOutcome;
use strata_raftlog::namespace::{BodyCursor, PackQuery, Packable, PackableSource};

use self::batch::{Batch, Candidate, Source};
use super::reclaim::may_free;
use crate::cluster::Cluster;
use crate::cluster::placement::COPIED_CHUNK_BYTES_MAX;
use crate::error::ClusterError;

/// Inline bodies of so many bytes are packed, and shorter ones when the namespace has little room: an extent with its row takes
/// about 110 bytes.
const INLINE_BYTES_MIN: usize = 1024;
const INLINE_BYTES_MIN_WHEN_SHORT: usize = 256;

/// In a layout of copies a pack saves no bytes, only entries of the index: there chunks of so many bytes are packed.
const CHUNK_BYTES_MAX_IN_COPIES: u32 = 32 << 10;

/// A pack has so many bytes at least, so that it is coded where the layout is; less will do when the namespace has little room.
const PACK_BYTES_MIN: usize = COPIED_CHUNK_BYTES_MAX as usize + 1;
const PACK_BYTES_MIN_WHEN_SHORT: usize = 64 << 10;

/// Rows of bodies, and of packs, looked at in one turn.
const ROWS_PER_TURN: usize = 128;

/// Between two walks, at least (or as long as bodies wait to be packed, where that is less), and so many times as long as a walk
/// took; when the namespace has little room, as long as a look
/// for it or, where the last walk found nothing, a few of them.
const PAUSE: Duration = Duration::from_secs(30);
const PAUSE_SHARE: u32 = 20;
const LOOK: Duration = Duration::from_secs(1);
const PAUSE_WHEN_SHORT: Duration = Duration::from_secs(5);

/// How often a walk begins at the first body.
const WHOLE_WALK_EVERY: Duration = Duration::from_secs(3600);

/// Inodes in front of the last one that may yet get a body: reactors lease them in blocks.
const INODES_LEASED: u64 = 1 << 16;

/// The member table at the end of a pack as it is written today, where it can be read. For fuzzers.
pub(crate) fn table_written_again(pack: &[u8]) -> Option<Vec<u8>> {
    let mut table = Vec::new();
    members::append(members::read(pack)?.into_iter(), &mut table);
    Some(table)
}

/// What packing has done since the start, and what it has found of packs at its last walk.
#[derive(Debug, Default)]
pub struct PackingStatistics {
    /// Extents and inline bodies that were packed.
    pub extents: AtomicU64,
    /// Their bytes.
    pub bytes: AtomicU64,
    /// Packs that there are.
    pub packs: AtomicU64,
    /// Bytes of the extents with which they began.
    pub packs_bytes: AtomicU64,
    /// Bytes of those that are left.
    pub packs_live_bytes: AtomicU64,
}

/// Packs until the task is dropped. One reactor of the node does it.
pub(super) fn spawn(cluster: Cluster) -> reactor::Task<()> {
    reactor::spawn(TaskClass::Background, async move {
        let mut packer = Packer::new(cluster);
        loop {
            let begun = reactor::now();
            let walked = packer.walk(packer.cluster.names_are_short()).await;
            let moved = walked.unwrap_or_else(|error| {
                tracing::warn!(%error, "short bodies could not be packed; trying again");
                0
            });
            rest(&packer.cluster, moved, begun.elapsed()).await;
        }
    })
}

/// Waits until the next walk, as long as the namespace has room.
async fn rest(cluster: &Cluster, moved: usize, walk: Duration) {
    let begun = reactor::now();
    let pause = PAUSE
        .min(cluster.parts().pack_after)
        .max(walk * PAUSE_SHARE);
    let pause = pause.max(LOOK);
    let pause_when_short = if moved > 0 { LOOK } else { PAUSE_WHEN_SHORT };
    while begun.elapsed() < pause {
        reactor::sleep(LOOK).await;
        if cluster.names_are_short() && begun.elapsed() >= pause_when_short {
            return;
        }
    }
}

/// What a walk looks for, and where it has come to.
struct Walk {
    query: PackQuery,
    pack_bytes_min: usize,
    batch: Batch,
    /// The lowest inode of the batch that the next walk would have to find again.
    batch_begins: Option<u64>,
    moved: usize,
}

/// Walks over bodies and packs.
pub(crate) struct Packer {
    cluster: Cluster,
    /// The bodies of all inodes below were walked over.
    mark: u64,
    next_whole_walk: Option<Instant>,
    /// Packs whose member tables could not be read.
    tables_damaged: BTreeSet<u64>,
}

impl Packer {
    /// One that has not walked yet.
    pub(crate) fn new(cluster: Cluster) -> Packer {
        Packer {
            cluster,
            mark: 0,
            next_whole_walk: None,
            tables_damaged: BTreeSet::new(),
        }
    }

    /// Walks once, in haste when the namespace is short of room; how many extents and inline bodies were packed.
    ///
    /// # Errors
    /// Those of reading the namespace, of storing chunks and of [`Cluster::submit`].
    pub(crate) async fn walk(&mut self, is_short: bool) -> Result<usize, ClusterError> {
        if !self.may_pack()? {
            return Ok(0);
        }
        let mut walk = self.new_walk(is_short);
        // What moves from pack to pack gives no room to the namespace.
        if !is_short {
            self.walk_packs(&mut walk).await?;
        }
        let is_whole = self.next_whole_walk.is_none_or(|at| reactor::now() >= at);
        if is_whole {
            self.next_whole_walk = Some(reactor::now() + WHOLE_WALK_EVERY);
        }
        let first = if is_whole { 0 } else { self.mark };
        self.walk_bodies(&mut walk, first).await?;
        Ok(walk.moved)
    }

    /// Whether the node writes what its layout says and has space for more.
    fn may_pack(&self) -> Result<bool, ClusterError> {
        Ok(self.cluster.may_write_again() && may_free(&self.cluster)?)
    }

    fn new_walk(&self, is_short: bool) -> Walk {
        let chunk_bytes_max = match self.cluster.is_coded() {
            _ if is_short => 0,
            true => COPIED_CHUNK_BYTES_MAX,
            false => CHUNK_BYTES_MAX_IN_COPIES,
        };
        let after = self.cluster.parts().pack_after;
        let after = i64::try_from(after.as_nanos()).unwrap_or(i64::MAX);
        let (inline_bytes_min, pack_bytes_min, before_nanos) = if is_short {
            (
                INLINE_BYTES_MIN_WHEN_SHORT,
                PACK_BYTES_MIN_WHEN_SHORT,
                i64::MAX,
            )
        } else {
            let before = reactor::wall_clock().nanoseconds().saturating_sub(after);
            (INLINE_BYTES_MIN, PACK_BYTES_MIN, before)
        };
        Walk {
            query: PackQuery {
                inline_bytes_min,
                chunk_bytes_max: chunk_bytes_max.into(),
                before_nanos,
                rows: ROWS_PER_TURN,
            },
            pack_bytes_min,
            batch: Batch::default(),
            batch_begins: None,
            moved: 0,
        }
    }

    /// Walks over the bodies from an inode on, and notes where the next walk is to begin.
    async fn walk_bodies(&mut self, walk: &mut Walk, first: u64) -> Result<(), ClusterError> {
        let group = self.cluster.read(|view| view.group())?;
        let mut left = group.map_or(0, |group| group.next_inode);
        let mut from = Some(BodyCursor::at(first));
        while let Some(at) = from {
            let page = self.cluster.read(|view| view.packable(&at, &walk.query))?;
            // In the same turn: from here on their space is kept.
            let found = page.found.into_iter();
            let found: Vec<Candidate> = found.map(|found| self.candidate(found)).collect();
            left = left.min(page.first_young.unwrap_or(u64::MAX));
            from = page.next;
            for candidate in found {
                let inode = candidate.inode;
                if !self.add(walk, candidate).await? {
                    left = left.min(walk.batch_begins.unwrap_or(inode));
                    self.mark = left.saturating_sub(INODES_LEASED);
                    return Ok(());
                }
                walk.batch_begins = walk.batch_begins.or(Some(inode));
            }
            reactor::yield_now().await;
        }
        if walk.batch.bytes() >= walk.pack_bytes_min {
            self.store(walk).await?;
        }
        left = left.min(walk.batch_begins.unwrap_or(u64::MAX));
        self.mark = left.saturating_sub(INODES_LEASED);
        Ok(())
    }

    fn candidate(&self, found: Packable) -> Candidate {
        let Packable {
            inode,
            space,
            offset,
            source,
        } = found;
        match source {
            PackableSource::Inline(bytes) => Candidate {
                inode,
                space,
                offset,
                source: Source::Inline(Bytes::from(bytes)),
            },
            PackableSource::Chunk(extent) => {
                Candidate::in_chunk(&self.cluster, inode, (space, offset), extent)
            }
        }
    }

    /// Takes a candidate into the batch, after what is in it has been stored where there is no room. Says whether the walk can go
    /// on. What cannot be read is passed over.
    async fn add(&self, walk: &mut Walk, candidate: Candidate) -> Result<bool, ClusterError> {
        if !walk.batch.has_room(candidate.bytes()) && !self.store(walk).await? {
            return Ok(false);
        }
        let inode = candidate.inode;
        if let Err(error) = walk.batch.add(candidate).await {
            tracing::debug!(%error, inode, "a body cannot be read and is not packed");
        }
        Ok(true)
    }

    /// Stores the batch and begins another. Says whether there was memory and place for it.
    async fn store(&self, walk: &mut Walk) -> Result<bool, ClusterError> {
        let begun = reactor::now();
        let (bytes, items) = std::mem::take(&mut walk.batch).into_parts();
        let lengths: Vec<u64> = items.iter().map(|item| item.length.into()).collect();
        let Some(outcomes) = self.cluster.pack(&bytes, items).await? else {
            return Ok(false);
        };
        walk.batch_begins = None;
        let moved = outcomes.iter().zip(lengths);
        let moved = moved.filter(|(outcome, _)| **outcome == RepointOutcome::Moved);
        let (count, bytes) = moved.fold((0, 0), |(count, sum), (_, length)| {
            (count + 1, sum + length)
        });
        walk.moved += count;
        let statistics = self.cluster.parts().status.packing();
        statistics
            .extents
            .fetch_add(count as u64, Ordering::Relaxed);
        statistics.bytes.fetch_add(bytes, Ordering::Relaxed);
        // Half of the time is left to others.
        reactor::sleep(begun.elapsed()).await;
        Ok(true)
    }
}
