//! A walk over the chunks of this reactor's share of all bodies.

use std::cell::Cell;
use std::time::Duration;

use futures_util::stream::{self, StreamExt};
use strata_engine::{EngineError, reactor};
use strata_raftlog::namespace::{BodiesPage, BodyPosition, Extent};

use super::Survey;
use super::survey::Kind;
use crate::cluster::Cluster;
use crate::cluster::redundancy::ChunkHealth;
use crate::error::ClusterError;
use crate::message::Place;

/// Rows of the namespace that are read in one turn, and whose chunks are looked at before the next are read.
const ROWS_PER_TURN: usize = 128;

/// Those of a scrub, which rests after them for as long as their bytes are due.
const SCRUB_ROWS_PER_TURN: usize = 32;

/// Chunks that a reactor repairs at a time: enough that the barrier of a device to which all their shards go is shared by many.
const CHUNKS_AT_A_TIME: usize = 16;

/// Chunks that a reactor verifies at a time, each of them with reads of all its shards.
const SCRUB_CHUNKS_AT_A_TIME: usize = 4;

/// Bytes that a scrub reads in a second, on each reactor. A device of 4 TB is read in 9 hours by two of them.
const SCRUB_BYTES_PER_SECOND: u64 = 64 << 20;

/// What a walk does beside counting.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Mode {
    /// Nothing.
    Survey,
    /// Writes the bad shards anew of chunks that survive no more further losses than these.
    Repair {
        /// The further losses.
        losses_left: usize,
    },
    /// Writes chunks anew in the scheme of the layout that are in another one.
    Convert,
    /// Reads every shard, and writes anew what it finds bad.
    Scrub,
}

impl Mode {
    fn kind(self) -> Kind {
        match self {
            Mode::Survey | Mode::Repair { .. } | Mode::Convert => Kind::Survey,
            Mode::Scrub => Kind::Scrub,
        }
    }

    fn rows_per_turn(self) -> usize {
        match self.kind() {
            Kind::Survey => ROWS_PER_TURN,
            Kind::Scrub => SCRUB_ROWS_PER_TURN,
        }
    }

    fn chunks_at_a_time(self) -> usize {
        match self.kind() {
            Kind::Survey => CHUNKS_AT_A_TIME,
            Kind::Scrub => SCRUB_CHUNKS_AT_A_TIME,
        }
    }
}

/// How whole a chunk is, and how many of its shards were written anew.
type Attended = (ChunkHealth, usize);

/// Inodes that follow each other and belong to one share.
const INODES_TOGETHER: u64 = 64;

/// Which of so many shares of all bodies: blocks of inodes go to the shares in turn.
#[derive(Debug, Clone, Copy)]
pub(crate) struct ShareOf {
    pub(crate) index: usize,
    pub(crate) count: usize,
}

impl ShareOf {
    fn has(self, inode: u64) -> bool {
        inode / INODES_TOGETHER % self.count as u64 == self.index as u64
    }

    /// The first place of the share from this one on.
    fn first_from(self, at: BodyPosition) -> BodyPosition {
        if self.has(at.inode) {
            return at;
        }
        let (block, count) = (at.inode / INODES_TOGETHER, self.count as u64);
        let ahead = (self.index as u64 + count - block % count) % count;
        BodyPosition {
            inode: (block + ahead) * INODES_TOGETHER,
            ..BodyPosition::default()
        }
    }
}

/// A walk over a share of all bodies.
pub(super) struct Walk<'a> {
    cluster: &'a Cluster,
    share: ShareOf,
    /// Shards that could not be written anew.
    failures: Cell<u64>,
    /// Chunks that could not be converted.
    unconverted: Cell<u64>,
}

impl<'a> Walk<'a> {
    pub(super) fn new(cluster: &'a Cluster, share: ShareOf) -> Walk<'a> {
        Walk {
            cluster,
            share,
            failures: Cell::new(0),
            unconverted: Cell::new(0),
        }
    }

    /// Walks once from the beginning to the end; what was repaired counts as whole.
    ///
    /// # Errors
    /// Those of reading the namespace, and rows that name what does not exist.
    pub(super) async fn run(&self, mode: Mode) -> Result<Survey, ClusterError> {
        let redundancy = &self.cluster.parts().redundancy;
        let walked = self.walk(mode).await;
        redundancy.note(reactor::index(), mode.kind(), None);
        walked
    }

    async fn walk(&self, mode: Mode) -> Result<Survey, ClusterError> {
        let mut survey = Survey::default();
        let mut from = Some(BodyPosition::default());
        while let Some(at) = from {
            from = self.step(mode, at, &mut survey).await?;
        }
        survey.unconverted = self.unconverted.take();
        Ok(survey)
    }

    /// Looks at the next bodies from a place on; returns where to go on.
    ///
    /// # Errors
    /// As [`Walk::run`].
    pub(super) async fn step(
        &self,
        mode: Mode,
        at: BodyPosition,
        survey: &mut Survey,
    ) -> Result<Option<BodyPosition>, ClusterError> {
        let losses_wanted = self.cluster.scheme_wanted().losses();
        let at = self.share.first_from(at);
        let begun = reactor::now();
        let mut page = self
            .cluster
            .read(|view| view.every_extent(at, mode.rows_per_turn()))?;
        page.extents.retain(|(at, _)| self.share.has(at.inode));
        let next = page.next;
        let before = survey.verified_bytes;
        for (health, mended) in self.healths(mode, page).await? {
            survey.add(&health, mended, losses_wanted);
        }
        let redundancy = &self.cluster.parts().redundancy;
        redundancy.note(reactor::index(), mode.kind(), Some(survey));
        let verified = survey.verified_bytes - before;
        let pace = Duration::from_nanos(verified * 1_000_000_000 / SCRUB_BYTES_PER_SECOND);
        reactor::sleep_until(begun + pace).await;
        reactor::yield_now().await;
        Ok(next)
    }

    /// How whole the chunks of a page are that a name needs, after what the mode does about it.
    async fn healths(&self, mode: Mode, page: BodiesPage) -> Result<Vec<Attended>, ClusterError> {
        let extents: Vec<Extent> = page
            .extents
            .iter()
            .map(|(_, extent)| extent.clone())
            .collect();
        let mut healths = Vec::new();
        let mut doubtful = Vec::new();
        if mode == Mode::Scrub {
            doubtful = page.extents;
        } else {
            let found = self.cluster.look_over(&extents).await?;
            for (health, named) in found.into_iter().zip(page.extents) {
                let is_convertible = mode == Mode::Convert && !health.is_as_laid_out;
                match health.is_whole() && !is_convertible {
                    true => healths.push((health, 0)),
                    false => doubtful.push(named),
                }
            }
        }
        let attending = doubtful
            .iter()
            .map(|(at, extent)| self.attend(mode, *at, extent));
        let mut attended = stream::iter(attending).buffer_unordered(mode.chunks_at_a_time());
        while let Some(attended) = attended.next().await {
            healths.extend(attended?);
        }
        Ok(healths)
    }

    /// Looks at one chunk again, now that its space is kept, and does what the mode asks; `None` where no name needs it any more.
    async fn attend(
        &self,
        mode: Mode,
        at: BodyPosition,
        extent: &Extent,
    ) -> Result<Option<Attended>, ClusterError> {
        let cluster = self.cluster;
        let _pin = cluster
            .parts()
            .readers
            .pin(reactor::index(), at.inode, reactor::now());
        if !self.is_needed(at, extent)? {
            return Ok(None);
        }
        let health = self.health(mode, extent).await?;
        if mode == Mode::Convert {
            // What cannot be read waits for its devices: nothing is gained by trying again.
            if health.losses_left.is_none() {
                return Ok(Some((health, 0)));
            }
            let extent = self.converted(at, extent).await?;
            return Ok(Some((self.health(mode, &extent).await?, 0)));
        }
        let is_due = match mode {
            Mode::Survey | Mode::Convert => false,
            Mode::Repair { losses_left } => health.losses_left.unwrap_or(0) <= losses_left,
            Mode::Scrub => true,
        };
        if !is_due || health.bad.is_empty() {
            return Ok(Some((health, 0)));
        }
        #[cfg(test)]
        if crate::planted::is(crate::planted::Mistake::RepairWithoutWriting) {
            let mended = health.bad.len();
            let mut whole = health;
            whole.bad.clear();
            return Ok(Some((whole, mended)));
        }
        for shard in &health.bad {
            if let Err(error) = cluster.mend(extent, *shard).await {
                self.note_failure(extent, shard.place, &error);
            }
        }
        let mut after = self.health(mode, extent).await?;
        after.verified_bytes += health.verified_bytes;
        let mended = health.bad.difference(&after.bad).count();
        Ok(Some((after, mended)))
    }

    /// What an extent is after its chunk was written anew in the scheme of the layout, if that could be done.
    async fn converted(&self, at: BodyPosition, extent: &Extent) -> Result<Extent, ClusterError> {
        if !self.cluster.is_convertible(at, extent)? {
            return Ok(extent.clone());
        }
        let converted = self.cluster.convert(at, extent).await;
        let converted = converted.unwrap_or_else(|error| {
            let chunk = extent.chunk;
            tracing::debug!(%chunk, %error, "a chunk could not be written in the scheme of the layout");
            None
        });
        if converted.is_none() {
            self.unconverted.set(self.unconverted.get() + 1);
        }
        Ok(converted.unwrap_or_else(|| extent.clone()))
    }

    /// Says in the log what kept the first shard from being written; of the others it is mostly the same.
    fn note_failure(&self, extent: &Extent, place: Place, error: &EngineError) {
        let failures = self.failures.replace(self.failures.get() + 1);
        if failures == 0 {
            let (chunk, device) = (extent.chunk, place.device);
            tracing::warn!(%chunk, %device, %error, "a shard could not be written anew");
        }
    }

    async fn health(&self, mode: Mode, extent: &Extent) -> Result<ChunkHealth, ClusterError> {
        if mode == Mode::Scrub {
            return self.cluster.verify_chunk(extent).await;
        }
        let looked = self.cluster.look_over(std::slice::from_ref(extent)).await?;
        let missing = || ClusterError::Bug("a chunk was looked over without a result".to_owned());
        looked.into_iter().next().ok_or_else(missing)
    }

    /// Whether the extent is still where it was found and belongs to a body that a name needs. Asked in the turn in which its inode was
    /// pinned.
    fn is_needed(&self, at: BodyPosition, extent: &Extent) -> Result<bool, ClusterError> {
        self.cluster.read(|view| {
            if !view.is_body_needed(at.inode, at.space)? {
                return Ok(false);
            }
            let there = view.extents(at.inode, at.space, at.offset, 1)?;
            let found = there.iter().find(|(offset, _)| *offset == at.offset);
            Ok(found.is_some_and(|(_, found)| found == extent))
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_inode_belongs_to_one_share_which_finds_it() {
        for count in 1..5 {
            let shares = (0..count).map(|index| ShareOf { index, count });
            let shares: Vec<ShareOf> = shares.collect();
            for inode in (0..1000).chain([1 << 48]) {
                let at = BodyPosition {
                    inode,
                    space: 1,
                    offset: 7,
                };
                let having = shares.iter().filter(|share| share.has(inode));
                assert_eq!(having.count(), 1);
                for share in &shares {
                    let first = share.first_from(at);
                    assert!(share.has(first.inode) && first >= at);
                    assert!((inode..first.inode).all(|before| !share.has(before)));
                }
            }
        }
    }
}
