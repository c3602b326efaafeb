//! What walks over all chunks find, and what has been asked for: shared by the reactors of a node and by whoever shows it.
//!
//! Invariant: a survey of the node is whole only when every reactor has ended a walk that began after it was asked for; until then
//! its numbers are said to be unknown.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};

use strata_engine::reactor;

use crate::cluster::redundancy::ChunkHealth;

/// What a walk has found.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Survey {
    /// Chunks that names need.
    pub chunks: u64,
    /// Those that have fewer shards than they were made into.
    pub below_target: u64,
    /// Of those the ones with shards that can be written anew now; the others wait for a device.
    pub repairable: u64,
    /// Those below target, by how many further losses they survive.
    pub by_losses_left: BTreeMap<usize, u64>,
    /// Chunks whose bytes cannot be had now: too many of their shards are away.
    pub unreadable: u64,
    /// Chunks that were written to survive fewer losses than the layout does, because places were missing.
    pub written_weaker: u64,
    /// Chunks that are in another scheme than the layout has for them, weaker ones among them.
    pub written_otherwise: u64,
    /// Of those the ones that were to be written anew in the scheme of the layout and could not be.
    pub unconverted: u64,
    /// Bytes that were read and compared.
    pub verified_bytes: u64,
    /// Shards that were written anew.
    pub mended_shards: u64,
    /// How many further losses the most endangered of those survive that can be helped now.
    pub(crate) most_endangered: Option<usize>,
}

impl Survey {
    /// Counts a chunk, of which so many shards were written anew.
    pub(super) fn add(&mut self, health: &ChunkHealth, mended: usize, losses_wanted: usize) {
        self.chunks += 1;
        self.verified_bytes += health.verified_bytes;
        self.mended_shards += mended as u64;
        if health.losses_written < losses_wanted {
            self.written_weaker += 1;
        }
        if !health.is_as_laid_out {
            self.written_otherwise += 1;
        }
        if health.is_whole() {
            return;
        }
        self.below_target += 1;
        match health.losses_left {
            Some(left) => *self.by_losses_left.entry(left).or_default() += 1,
            None => self.unreadable += 1,
        }
        if !health.bad.is_empty() {
            self.repairable += 1;
            let left = health.losses_left.unwrap_or(0);
            self.most_endangered = Some(self.most_endangered.map_or(left, |least| least.min(left)));
        }
    }

    /// How many further losses the most endangered chunks survive of those that can be helped now; `None` where there are none.
    pub(super) fn most_endangered(&self) -> Option<usize> {
        self.most_endangered
    }

    fn and(mut self, other: &Survey) -> Survey {
        self.chunks += other.chunks;
        self.below_target += other.below_target;
        self.repairable += other.repairable;
        for (left, chunks) in &other.by_losses_left {
            *self.by_losses_left.entry(*left).or_default() += chunks;
        }
        self.unreadable += other.unreadable;
        self.written_weaker += other.written_weaker;
        self.written_otherwise += other.written_otherwise;
        self.unconverted += other.unconverted;
        self.verified_bytes += other.verified_bytes;
        self.mended_shards += other.mended_shards;
        self.most_endangered = match (self.most_endangered, other.most_endangered) {
            (Some(one), Some(two)) => Some(one.min(two)),
            (one, two) => one.or(two),
        };
        self
    }
}

/// A survey of the node that every reactor has ended.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Surveyed {
    /// What was found, on all reactors together.
    pub survey: Survey,
    /// When the last reactor ended, by the wall clock, in nanoseconds since the Unix epoch.
    pub ended_nanos: i64,
}

/// How far what is under way has come, on all reactors together.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Progress {
    /// Walks that have begun and not ended.
    pub walks: usize,
    /// Chunks that they have looked over.
    pub chunks: u64,
    /// Bytes that they have read and compared.
    pub verified_bytes: u64,
}

/// What walks are for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    /// Finding and repairing shards that are not where they belong.
    Survey,
    /// Reading every shard besides.
    Scrub,
}

/// What one reactor has to say of its walks of a kind.
#[derive(Debug, Default)]
struct Walks {
    /// What the last one found, and in answer to what.
    last: Option<(u64, Surveyed)>,
    /// What the one that is under way has found so far.
    so_far: Option<Survey>,
}

/// What one reactor has to say.
#[derive(Debug, Default)]
struct Share {
    survey: Walks,
    scrub: Walks,
}

impl Share {
    fn of(&self, kind: Kind) -> &Walks {
        match kind {
            Kind::Survey => &self.survey,
            Kind::Scrub => &self.scrub,
        }
    }

    fn of_mut(&mut self, kind: Kind) -> &mut Walks {
        match kind {
            Kind::Survey => &mut self.survey,
            Kind::Scrub => &mut self.scrub,
        }
    }
}

/// What is known of the redundancy of a node's chunks.
#[derive(Debug)]
pub struct Redundancy {
    surveys_asked: AtomicU64,
    scrubs_asked: AtomicU64,
    /// Shards written anew since the start, and their bytes; by reads, repair and scrub.
    repaired_shards: AtomicU64,
    repaired_bytes: AtomicU64,
    /// Chunks that were written anew in the scheme of the layout since the start, and their bytes.
    converted_chunks: AtomicU64,
    converted_bytes: AtomicU64,
    /// Placement groups whose shards are being moved, shards that were moved since the start, and their bytes.
    groups_moving: AtomicU64,
    moved_shards: AtomicU64,
    moved_bytes: AtomicU64,
    shares: Vec<Mutex<Share>>,
}

impl Redundancy {
    /// Nothing known yet, of so many reactors.
    pub fn new(reactors: usize) -> Redundancy {
        Redundancy {
            surveys_asked: AtomicU64::new(1),
            scrubs_asked: AtomicU64::new(0),
            repaired_shards: AtomicU64::new(0),
            repaired_bytes: AtomicU64::new(0),
            converted_chunks: AtomicU64::new(0),
            converted_bytes: AtomicU64::new(0),
            groups_moving: AtomicU64::new(0),
            moved_shards: AtomicU64::new(0),
            moved_bytes: AtomicU64::new(0),
            shares: (0..reactors).map(|_| Mutex::default()).collect(),
        }
    }

    /// Asks for a new look at all chunks, and for the repair of what it finds.
    pub fn ask_survey(&self) {
        self.surveys_asked.fetch_add(1, Ordering::Relaxed);
    }

    /// Asks for a scrub; one that is under way goes on, and another follows.
    pub fn ask_scrub(&self) {
        self.scrubs_asked.fetch_add(1, Ordering::Relaxed);
    }

    /// Shards that were written anew since the start, and their bytes.
    pub fn repaired(&self) -> (u64, u64) {
        let load = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        (load(&self.repaired_shards), load(&self.repaired_bytes))
    }

    /// The last survey that every reactor has ended since it was asked for; `None` while one is due or under way.
    pub fn surveyed(&self) -> Option<Surveyed> {
        self.of_all(Kind::Survey, self.surveys_asked())
    }

    /// The last survey that every reactor has ended, which may be from before the last change.
    pub fn last_surveyed(&self) -> Option<Surveyed> {
        self.of_all(Kind::Survey, 0)
    }

    /// The last scrub that every reactor has ended; `None` when there was none since the start, or while one is due or under way.
    pub fn scrubbed(&self) -> Option<Surveyed> {
        self.of_all(Kind::Scrub, self.scrubs_asked())
    }

    /// How far the survey that is under way has come.
    pub fn survey_progress(&self) -> Progress {
        self.progress(Kind::Survey)
    }

    /// How far the scrub that is under way has come.
    pub fn scrub_progress(&self) -> Progress {
        self.progress(Kind::Scrub)
    }

    /// Placement groups whose shards are being moved.
    pub fn groups_moving(&self) -> u64 {
        self.groups_moving.load(Ordering::Relaxed)
    }

    /// Shards that were moved since the start, and their bytes.
    pub fn moved(&self) -> (u64, u64) {
        let load = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        (load(&self.moved_shards), load(&self.moved_bytes))
    }

    pub(in crate::node) fn set_groups_moving(&self, groups: u64) {
        self.groups_moving.store(groups, Ordering::Relaxed);
    }

    pub(in crate::node) fn count_moved(&self, bytes: u64) {
        self.moved_shards.fetch_add(1, Ordering::Relaxed);
        self.moved_bytes.fetch_add(bytes, Ordering::Relaxed);
    }

    pub(crate) fn count_repaired(&self, bytes: u64) {
        self.repaired_shards.fetch_add(1, Ordering::Relaxed);
        self.repaired_bytes.fetch_add(bytes, Ordering::Relaxed);
    }

    /// Chunks that were written anew in the scheme of the layout since the start, and their bytes, without redundancy.
    pub fn converted(&self) -> (u64, u64) {
        let load = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        (load(&self.converted_chunks), load(&self.converted_bytes))
    }

    pub(crate) fn count_converted(&self, bytes: u64) {
        self.converted_chunks.fetch_add(1, Ordering::Relaxed);
        self.converted_bytes.fetch_add(bytes, Ordering::Relaxed);
    }

    pub(super) fn surveys_asked(&self) -> u64 {
        self.surveys_asked.load(Ordering::Relaxed)
    }

    pub(super) fn scrubs_asked(&self) -> u64 {
        self.scrubs_asked.load(Ordering::Relaxed)
    }

    /// Notes what a walk of a reactor that is under way has found so far; `None` ends it.
    pub(super) fn note(&self, reactor: usize, kind: Kind, found: Option<&Survey>) {
        self.lock(reactor).of_mut(kind).so_far = found.cloned();
    }

    /// Notes what a reactor has found in answer to what was asked; it was found now.
    pub(super) fn report(
        &self,
        reactor: usize,
        kind: Kind,
        asked: u64,
        survey: Survey,
    ) -> Surveyed {
        let surveyed = Surveyed {
            survey,
            ended_nanos: reactor::wall_clock().nanoseconds(),
        };
        let mut share = self.lock(reactor);
        let walks = share.of_mut(kind);
        walks.so_far = None;
        walks.last = Some((asked, surveyed.clone()));
        surveyed
    }

    /// Notes what the last scrub of a reactor found before this start.
    pub(super) fn restore_scrub(&self, reactor: usize, surveyed: Surveyed) {
        self.lock(reactor).scrub.last = Some((0, surveyed));
    }

    fn of_all(&self, kind: Kind, asked: u64) -> Option<Surveyed> {
        let mut all = Surveyed::default();
        for reactor in 0..self.shares.len() {
            let share = self.lock(reactor);
            let (answered, part) = share.of(kind).last.as_ref()?;
            if *answered < asked {
                return None;
            }
            all.survey = all.survey.and(&part.survey);
            all.ended_nanos = all.ended_nanos.max(part.ended_nanos);
        }
        Some(all)
    }

    fn progress(&self, kind: Kind) -> Progress {
        let mut progress = Progress::default();
        for reactor in 0..self.shares.len() {
            if let Some(found) = &self.lock(reactor).of(kind).so_far {
                progress.walks += 1;
                progress.chunks += found.chunks;
                progress.verified_bytes += found.verified_bytes;
            }
        }
        progress
    }

    fn lock(&self, reactor: usize) -> MutexGuard<'_, Share> {
        self.shares[reactor]
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
    }
}
