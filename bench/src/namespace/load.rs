//! What each reactor does with names in a phase.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use anyhow::{Context as _, ensure};
use bytes::Bytes;
use strata_engine::reactor::{self, Instant};
use strata_net::Cluster;
use strata_net::cluster::write::SPACE_FILE;
use strata_raftlog::namespace::{ListQuery, Listing};

use super::{Options, Phase};
use crate::node::{BUCKET, Course, Dice, Round, bucket, deleted, named};
use crate::report::Tally;

/// Steps of a listing in one turn, as the S3 front end makes them.
const STEPS_MAX: usize = 256;

/// How long a worker rests after an error, so that a node which refuses has time for its other work.
const ERROR_PAUSE: Duration = Duration::from_millis(10);

/// A phase on all reactors.
pub struct NamespaceRound {
    /// How it goes.
    pub course: Course,
    phase: Phase,
    keys: u64,
    folders: u64,
    page: usize,
    depth: u64,
    seconds: u64,
    body: Bytes,
    /// The next key that is made or deleted.
    next: AtomicU64,
}

impl NamespaceRound {
    /// A phase that is about to begin.
    pub fn new(options: &Options, phase: Phase) -> NamespaceRound {
        NamespaceRound {
            course: Course::new(options.node.cores),
            phase,
            keys: options.keys,
            folders: options.folders,
            page: options.page,
            depth: options.depth,
            seconds: options.seconds,
            body: vec![0x5a; options.size as usize].into(),
            next: AtomicU64::new(0),
        }
    }

    /// Keys in order: folder by folder.
    fn key(&self, number: u64) -> Vec<u8> {
        let folder = number % self.folders;
        format!("{folder:06}/{number:010}").into_bytes()
    }

    fn is_over(&self, begun: Instant) -> bool {
        let is_timed = matches!(self.phase, Phase::LookUp | Phase::List);
        let has_run = is_timed && begun.elapsed() >= Duration::from_secs(self.seconds);
        has_run || self.course.is_over()
    }

    /// The next key that is made or deleted, while there is one.
    fn take(&self) -> Option<u64> {
        let number = self.next.fetch_add(1, Ordering::Relaxed);
        (number < self.keys).then_some(number)
    }
}

impl Round for NamespaceRound {
    fn course(&self) -> &Course {
        &self.course
    }

    fn depth(&self) -> u64 {
        self.depth
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

/// One of the operations that a reactor has under way at a time.
struct Worker {
    round: Arc<NamespaceRound>,
    cluster: Cluster,
    dice: Dice,
}

impl Worker {
    async fn work(mut self, begun: Instant) -> Tally {
        let mut tally = Tally::default();
        while !self.round.is_over(begun) {
            let operation = reactor::now();
            match self.operate().await {
                Ok(true) => tally.add(operation.elapsed(), 0),
                Ok(false) => break,
                Err(error) if self.round.phase == Phase::Create => {
                    let hint =
                        "a key was not made (the log of names is larger with more --capacity)";
                    self.round.course.fail(error.context(hint));
                    break;
                }
                Err(error) => {
                    tally.fail(&error);
                    reactor::sleep(ERROR_PAUSE).await;
                }
            }
        }
        tally
    }

    /// Does one operation, if one is left.
    async fn operate(&mut self) -> anyhow::Result<bool> {
        match self.round.phase {
            Phase::Create => match self.round.take() {
                Some(number) => self.create(number).await?,
                None => return Ok(false),
            },
            Phase::Delete => match self.round.take() {
                Some(number) => self.delete(number).await?,
                None => return Ok(false),
            },
            Phase::LookUp => self.look_up().await?,
            Phase::List => self.list().await?,
        }
        Ok(true)
    }

    async fn create(&self, number: u64) -> anyhow::Result<()> {
        let cluster = &self.cluster;
        let inode = cluster.new_inode().await?;
        let mut writer = cluster.writer(inode, SPACE_FILE);
        writer.write(self.round.body.clone()).await?;
        let body = writer.finish().await?;
        let object = named(cluster, self.round.key(number), inode, body)?;
        cluster.submit(object).await?;
        Ok(())
    }

    async fn delete(&self, number: u64) -> anyhow::Result<()> {
        let delete = deleted(&self.cluster, self.round.key(number))?;
        self.cluster.submit(delete).await?;
        Ok(())
    }

    async fn look_up(&mut self) -> anyhow::Result<()> {
        let key = self.round.key(self.dice.roll() % self.round.keys);
        let found = self.cluster.read(|view| view.object(BUCKET, &key))?;
        let size = found.context("a key is gone")?.size;
        ensure!(
            size == self.round.body.len() as u64,
            "an object of another size"
        );
        reactor::yield_if_due().await;
        Ok(())
    }

    async fn list(&mut self) -> anyhow::Result<()> {
        let round = self.round.clone();
        let bucket = bucket(&self.cluster)?;
        let start_after = round.key(self.dice.roll() % round.keys);
        let mut listing = Listing::new(ListQuery {
            start_after: start_after.clone(),
            limit: round.page,
            ..ListQuery::default()
        });
        while !listing.is_complete() {
            self.cluster
                .read(|view| view.list(bucket, &mut listing, STEPS_MAX))?;
            reactor::yield_if_due().await;
        }
        let page = listing.into_page();
        let keys = page.objects.iter().map(|object| &object.key);
        ensure!(
            keys.clone().is_sorted() && keys.clone().all(|key| *key > start_after),
            "a page is out of order"
        );
        ensure!(
            page.objects.len() == round.page || page.next.is_none(),
            "a page is not full"
        );
        Ok(())
    }
}
