//! What each reactor does in a phase.

use std::ops::Range;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use anyhow::{Context as _, bail, ensure};
use bytes::Bytes;
use strata_engine::CELL_BYTES;
use strata_engine::reactor::{self, Instant};
use strata_net::Cluster;
use strata_net::cluster::read::BodySource;
use strata_net::cluster::write::SPACE_FILE;
use strata_raftlog::namespace::{Extent, PieceSource};

use super::{Options, Phase};
use crate::node::{BUCKET, Course, Dice, Round, deleted, named};
use crate::payload::{Comparison, Payloads};
use crate::report::Tally;

/// Of so many bodies that are read one is compared.
const COMPARED_EACH: u64 = 8;

/// How long a worker rests after an error, so that a node which refuses has time for its other work.
const ERROR_PAUSE: Duration = Duration::from_millis(10);

/// How often a worker without work looks whether the phase is over.
const LOOK: Duration = Duration::from_millis(1);

/// What all phases of a run share.
#[derive(Clone)]
pub struct Load {
    payloads: Arc<Payloads>,
    reactors: usize,
    depth: usize,
    seconds: u64,
    /// How many there may be.
    objects: u64,
    /// Objects that there are, by number.
    there: Range<u64>,
}

/// A phase on all reactors.
pub struct EngineRound {
    /// How it goes.
    pub course: Course,
    load: Load,
    phase: Phase,
    /// The next object that is stored or deleted.
    next: AtomicU64,
}

impl Load {
    /// Nothing stored yet.
    pub fn new(options: &Options) -> anyhow::Result<Load> {
        Ok(Load {
            payloads: Arc::new(Payloads::new(usize::try_from(options.size)?)),
            reactors: options.node.cores,
            depth: options.depth,
            seconds: options.seconds,
            objects: options.objects,
            there: 0..0,
        })
    }

    /// A phase that is about to begin.
    pub fn round(&self, phase: Phase) -> EngineRound {
        let next = match phase {
            Phase::Delete => self.there.start,
            _ => self.there.end,
        };
        EngineRound {
            course: Course::new(self.reactors),
            load: self.clone(),
            phase,
            next: AtomicU64::new(next),
        }
    }

    /// What a phase has left behind.
    pub fn note(&mut self, round: &EngineRound) {
        let next = round.next.load(Ordering::Relaxed);
        match round.phase {
            Phase::Put | Phase::Mixed => self.there.end = next.min(self.objects),
            Phase::Delete => self.there.start = next.min(self.there.end),
            _ => {}
        }
    }
}

impl Round for EngineRound {
    fn course(&self) -> &Course {
        &self.course
    }

    fn depth(&self) -> u64 {
        self.load.depth as u64
    }

    async fn work(self: Arc<Self>, cluster: Cluster, dice: Dice, begun: Instant) -> Tally {
        let round = self;
        let worker = Worker {
            round,
            cluster,
            dice,
        };
        worker.work(begun).await
    }
}

impl EngineRound {
    fn is_over(&self, begun: Instant) -> bool {
        let waits = matches!(self.phase, Phase::Rebuild | Phase::RebuildUnderLoad);
        let has_run = !waits && begun.elapsed() >= Duration::from_secs(self.load.seconds);
        has_run || self.course.is_over()
    }
}

/// One of the operations that a reactor has under way at a time.
struct Worker {
    round: Arc<EngineRound>,
    cluster: Cluster,
    dice: Dice,
}

impl Worker {
    async fn work(mut self, begun: Instant) -> Tally {
        let mut tally = Tally::default();
        while !self.round.is_over(begun) {
            let operation = reactor::now();
            match self.operate().await {
                Ok(Some(bytes)) => tally.add(operation.elapsed(), bytes),
                Ok(None) if self.round.phase == Phase::Delete => break,
                Ok(None) => reactor::sleep(LOOK).await,
                Err(error) => {
                    tally.fail(&error);
                    reactor::sleep(ERROR_PAUSE).await;
                }
            }
        }
        tally
    }

    /// Does one operation; how many bytes it stored or read, and `None` where there is nothing to do.
    async fn operate(&mut self) -> anyhow::Result<Option<u64>> {
        let phase = self.round.phase;
        match phase {
            Phase::Rebuild => return Ok(None),
            Phase::Put => {}
            Phase::Mixed if self.dice.roll().is_multiple_of(2) => {}
            Phase::Delete => return self.delete().await,
            _ => return self.get().await.map(Some),
        }
        self.put().await.map(Some)
    }

    async fn put(&self) -> anyhow::Result<u64> {
        let load = &self.round.load;
        let number = self.round.next.fetch_add(1, Ordering::Relaxed) % load.objects;
        let content = load.payloads.bytes(number);
        let cluster = &self.cluster;
        let inode = cluster.new_inode().await?;
        let mut writer = cluster.writer(inode, SPACE_FILE);
        for at in (0..content.len()).step_by(CELL_BYTES) {
            let end = (at + CELL_BYTES).min(content.len());
            writer.write(content.slice(at..end)).await?;
        }
        let body = writer.finish().await?;
        let object = named(cluster, key(number), inode, body)?;
        cluster.submit(object).await?;
        Ok(content.len() as u64)
    }

    async fn get(&mut self) -> anyhow::Result<u64> {
        let there = self.round.load.there.clone();
        ensure!(!there.is_empty(), "no objects are there: begin with a put");
        let number = there.start + self.dice.roll() % (there.end - there.start);
        let name = key(number);
        let found = self.cluster.read(|view| {
            let Some(object) = view.object(BUCKET, &name)? else {
                return Ok(None);
            };
            let pieces = view.body(&object, 0..object.size, usize::MAX)?;
            Ok(pieces.map(|pieces| (object.inode, object.size, pieces)))
        })?;
        let (inode, size, pieces) = found.context("an object is gone")?;
        let pieces = pieces.into_iter().map(|piece| piece.source);
        let source = source(pieces.collect())?;
        let mut reader = self.cluster.reader(inode, source, 0..size);
        let is_compared = self.dice.roll().is_multiple_of(COMPARED_EACH);
        let expected = self.round.load.payloads.body(number);
        let mut comparison = Comparison::new(expected);
        let mut bytes = 0;
        while let Some(piece) = reader.next().await {
            let piece = piece?;
            bytes += piece.len() as u64;
            if is_compared {
                comparison.take(&piece);
            }
        }
        if is_compared {
            comparison.finish()?;
        }
        ensure!(bytes == size, "a body came in part");
        Ok(bytes)
    }

    async fn delete(&self) -> anyhow::Result<Option<u64>> {
        let number = self.round.next.fetch_add(1, Ordering::Relaxed);
        if number >= self.round.load.there.end {
            return Ok(None);
        }
        let delete = deleted(&self.cluster, key(number))?;
        self.cluster.submit(delete).await?;
        Ok(Some(0))
    }
}

/// Keys in 256 folders.
fn key(number: u64) -> Vec<u8> {
    format!("{:02x}/{number:010}", number % 256).into_bytes()
}

fn source(pieces: Vec<PieceSource>) -> anyhow::Result<BodySource> {
    let mut extents: Vec<Extent> = Vec::with_capacity(pieces.len());
    for piece in pieces {
        match piece {
            PieceSource::Inline(bytes) => return Ok(BodySource::Inline(Bytes::from(bytes))),
            PieceSource::Chunk { extent, .. } => extents.push(extent),
            PieceSource::Zeros => bail!("a body has a hole"),
        }
    }
    Ok(BodySource::Extents(extents))
}
