//! Reclaiming: gives back the space of deleted and overwritten bodies.
//!
//! A command that takes a name away leaves one row that says which body is gone, in the same transaction, so nothing leaks.
//! This frees the shards of such a body durably, a bounded number of rows at a time, and only then has those rows released.
//!
//! Invariants: a chunk is freed only when every reader that may have looked its name up before the change has ended; readers of
//! other bodies, and later ones of a body of which an extent has moved, hold up nothing, and neither do places that are missing,
//! have failed or are full; order is that of the commits and age is measured by the monotonic clock, never by the wall clock;
//! nothing is freed while [`may_free`] says no.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::time::Duration;

use strata_engine::ChunkId;
use strata_engine::reactor::{self, Instant, TaskClass};
use strata_raftlog::namespace::command::{DroppedKey, Release, ReleaseBodies};
use strata_raftlog::namespace::{DroppedBody, DroppedScope, RELEASE_BODIES_MAX, RELEASE_ROWS_MAX};

use crate::cluster::Cluster;
use crate::error::ClusterError;
use crate::message::Place;

/// Bodies taken from the queue at a time.
const BODIES_PER_PAGE: usize = 256;

/// Rows of extents freed together, and those of one body and of one command: the rows beside them have room in a command too.
const ROWS_PER_STEP: usize = 256;
const ROWS_PER_COMMAND: usize = RELEASE_ROWS_MAX / 2;

/// How often an empty queue is looked at.
const IDLE: Duration = Duration::from_millis(500);

/// A look-up and the start of its reader happen in one turn; no turn lasts nearly this long.
pub(super) const GRACE: Duration = Duration::from_secs(1);

/// Extents that have moved whose time is kept; others wait until nobody reads their body.
const MOVED_MAX: usize = 65_536;

/// Whether chunks may be freed: a row's absence counts only in a namespace that can be trusted.
///
/// # Errors
/// Those of reading the namespace.
pub(super) fn may_free(cluster: &Cluster) -> Result<bool, ClusterError> {
    let namespace = &cluster.parts().namespace;
    // What has turned out since it was verified is in the store's doubt.
    if !namespace.is_verified() || namespace.doubted().is_some() {
        return Ok(false);
    }
    // A namespace without an identity holds nothing that could be missing.
    cluster.read(|view| Ok(view.cluster()?.is_some()))
}

/// Reclaims space until the task is dropped. One reactor of the node does it.
pub fn spawn(cluster: Cluster) -> reactor::Task<()> {
    reactor::spawn(TaskClass::Background, async move {
        let mut reclaimer = Reclaimer::new(cluster);
        loop {
            let begun = reactor::now();
            if let Err(error) = reclaimer.walk().await {
                tracing::warn!(%error, "space could not be reclaimed; trying again");
                reactor::sleep(Duration::from_secs(5)).await;
            }
            // Rows that must stay are read again on every walk: a long queue of them is walked more rarely.
            reactor::sleep(IDLE.max(begun.elapsed())).await;
        }
    })
}

/// Walks the queue of bodies that are gone.
pub struct Reclaimer {
    cluster: Cluster,
    /// When this process saw that the group had come to a commit sequence, oldest first.
    seen: VecDeque<(Instant, u64)>,
    /// When extents that have moved, and whose readers are waited for, had moved for sure.
    moved: BTreeMap<DroppedKey, Instant>,
}

/// A body of which some rows are to be freed.
struct Step {
    body: DroppedBody,
    chunks: Vec<ChunkId>,
    rows: usize,
    /// The first row of extents that stays.
    next: Option<(u32, u64)>,
}

impl Reclaimer {
    /// One that has seen nothing yet.
    pub fn new(cluster: Cluster) -> Reclaimer {
        Reclaimer {
            cluster,
            seen: VecDeque::new(),
            moved: BTreeMap::new(),
        }
    }

    /// Walks the queue once and frees what has waited out the grace since this first saw it; returns how many bodies are
    /// released. Those that lie in a full place stay for later.
    ///
    /// # Errors
    /// Those of reading the namespace and of [`Cluster::submit`].
    pub async fn walk(&mut self) -> Result<usize, ClusterError> {
        let Some((seen, settled)) = self.settled()? else {
            return Ok(0);
        };
        if !may_free(&self.cluster)? {
            return Ok(0);
        }
        let (mut after, mut released) = (None, 0);
        loop {
            let page = self
                .cluster
                .read(|view| view.dropped(after, BODIES_PER_PAGE))?;
            let Some(last) = page.last() else {
                return Ok(released);
            };
            after = Some(last.key);
            let is_last = last.key.commit_sequence > settled;
            // Whoever may need a body that is older than the grace has a pin by now.
            let read = self.cluster.parts().readers.oldest();
            let due: Vec<DroppedBody> = page
                .into_iter()
                .filter(|body| body.key.commit_sequence <= settled)
                .filter(|body| !self.is_read(body, seen, &read))
                .collect();
            released += self.free(due).await?;
            if is_last {
                return Ok(released);
            }
            reactor::yield_now().await;
        }
    }

    /// Whether a reader may need the chunks of a body that was gone at the time given. Of an extent that has moved only those do
    /// that began before: whoever comes later looks up where it lies now.
    fn is_read(
        &mut self,
        body: &DroppedBody,
        seen: Instant,
        read: &BTreeMap<u64, Instant>,
    ) -> bool {
        let Some(began) = read.get(&body.inode) else {
            self.moved.remove(&body.key);
            return false;
        };
        if !matches!(body.scope, DroppedScope::Moved(_)) {
            return true;
        }
        let moved = self.moved.get(&body.key).copied();
        let moved = moved.unwrap_or(seen + GRACE);
        let is_read = *began <= moved;
        if !is_read {
            self.moved.remove(&body.key);
        } else if self.moved.len() < MOVED_MAX {
            self.moved.insert(body.key, moved);
        }
        is_read
    }

    /// The commit sequence up to which everything was seen at least the grace ago, and when; `None` before there is any.
    fn settled(&mut self) -> Result<Option<(Instant, u64)>, ClusterError> {
        let group = self.cluster.read(|view| view.group())?;
        let sequence = group.map_or(0, |group| group.commit_sequence);
        let now = reactor::now();
        self.seen.push_back((now, sequence));
        let is_old = |at: &(Instant, u64)| now.saturating_duration_since(at.0) >= GRACE;
        while self.seen.get(1).is_some_and(is_old) {
            self.seen.pop_front();
        }
        Ok(self.seen.front().filter(|at| is_old(at)).copied())
    }

    /// Frees bodies, step by step, until each is released or cannot be freed now; returns how many are released.
    async fn free(&self, bodies: Vec<DroppedBody>) -> Result<usize, ClusterError> {
        let mut waiting = VecDeque::from(bodies);
        let mut released = 0;
        while !waiting.is_empty() {
            let steps = self.next_steps(&mut waiting)?;
            let chunks = steps.iter().flat_map(|step| &step.chunks).copied();
            let unfreed = self.cluster.free_chunks(chunks).await;
            let free: Vec<Step> = steps
                .into_iter()
                .filter(|step| self.is_apart(step, &unfreed))
                .collect();
            self.release(&free).await?;
            for step in free.into_iter().rev() {
                match self.cluster.read(|view| view.is_dropped(step.body.key))? {
                    true => waiting.push_front(step.body),
                    false => released += 1,
                }
            }
            reactor::yield_now().await;
        }
        Ok(released)
    }

    /// Takes bodies, with the first rows of each that are not released yet.
    fn next_steps(&self, waiting: &mut VecDeque<DroppedBody>) -> Result<Vec<Step>, ClusterError> {
        let (mut steps, mut rows) = (Vec::new(), 0);
        while rows < ROWS_PER_STEP
            && steps.len() < ROWS_PER_STEP
            && let Some(body) = waiting.pop_front()
        {
            let page = self
                .cluster
                .read(|view| view.chunks_of_dropped(&body, ROWS_PER_COMMAND))?;
            rows += page.rows;
            steps.push(Step {
                body,
                chunks: page.chunks,
                rows: page.rows,
                next: page.next,
            });
        }
        Ok(steps)
    }

    fn is_apart(&self, step: &Step, unfreed: &BTreeSet<Place>) -> bool {
        let apart = |chunk: &ChunkId| {
            let places = self.cluster.places_of(*chunk);
            places.iter().all(|(_, place)| !unfreed.contains(place))
        };
        unfreed.is_empty() || step.chunks.iter().all(apart)
    }

    /// Has the rows of freed chunks released, by as many commands as it takes.
    async fn release(&self, steps: &[Step]) -> Result<(), ClusterError> {
        let mut rest = steps;
        while !rest.is_empty() {
            let mut rows = 0;
            let fits = rest.iter().take(RELEASE_BODIES_MAX).take_while(|step| {
                rows += step.rows + 1;
                rows <= ROWS_PER_COMMAND + 1
            });
            let (these, others) = rest.split_at(fits.count().max(1));
            let releases = these
                .iter()
                .map(|step| release_of(step.body.key, step.next));
            let command = ReleaseBodies {
                releases: releases.collect(),
            };
            self.cluster.submit(command).await?;
            rest = others;
        }
        Ok(())
    }
}

fn release_of(body: DroppedKey, next: Option<(u32, u64)>) -> Release {
    let (space, offset) = next.unwrap_or((u32::MAX, u64::MAX));
    Release {
        body,
        space,
        offset,
    }
}
