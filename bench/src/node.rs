//! A node of a run on directories of its own, without a network: what the subjects share that look at one.
//!
//! Invariants: nothing is written but below directories that the run has made, and they are removed with the node; the reactors of a
//! start begin their work together, and the first that cannot do its part ends that of all.

use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use anyhow::{Context as _, ensure};
use clap::Args;
use strata_engine::reactor::{self, Instant, TaskClass, World};
use strata_net::Cluster;
use strata_net::node::status::{self, NodeStatus};
use strata_net::node::{self, NodeConfig, Serving};
use strata_net::scheme::{DegradedWrites, Scheme};
use strata_raftlog::namespace::command::{
    CreateBucket, DeleteKey, DeleteObjects, Precondition, PutObject,
};
use strata_raftlog::namespace::{Body, ETag, ObjectAttributes, RootKey};

use crate::affinity;
use crate::report::{Tally, parse_size};

/// What the folder of a run is called in the directory of a disk.
const FOLDER: &str = "strata-bench-node";

/// How often reactors look whether the others have come.
const LOOK: Duration = Duration::from_millis(1);

/// The bucket of all objects.
pub const BUCKET: &str = "strata-bench";

/// What a node is made of.
#[derive(Args)]
pub struct NodeOptions {
    /// A directory of a disk. A folder is made in it, one for each time that it is named, and removed at the end.
    #[arg(long = "disk", required = true)]
    disks: Vec<PathBuf>,
    /// The scheme of the layout; else the strongest that so many disks carry.
    #[arg(long, value_name = "K+M")]
    scheme: Option<Scheme>,
    /// Reactors, on the first cores of the machine.
    #[arg(long, default_value_t = 2)]
    pub cores: usize,
    /// Bytes that all disks together may take; a rebuild needs a quarter more than what is stored.
    #[arg(long, value_parser = parse_size, default_value = "12GiB")]
    capacity: u64,
    /// Buffer memory of each core.
    #[arg(long, value_parser = parse_size, default_value = "128MiB")]
    buffers: u64,
    /// Memory of each core for what is read again.
    #[arg(long, value_parser = parse_size, default_value = "0")]
    cache: u64,
}

/// A node on directories of its own, which are removed with it.
pub struct Node<'a> {
    options: &'a NodeOptions,
    folders: Vec<PathBuf>,
}

impl Node<'_> {
    /// Makes the directories.
    ///
    /// # Errors
    /// One that is there: what an earlier run has left, or somebody else's. No cores.
    pub fn make(options: &NodeOptions) -> anyhow::Result<Node<'_>> {
        ensure!(options.cores > 0, "a node without cores does nothing");
        let mut node = Node {
            options,
            folders: Vec::new(),
        };
        for (number, disk) in options.disks.iter().enumerate() {
            let folder = disk.join(format!("{FOLDER}-{number}"));
            let made = std::fs::create_dir(&folder);
            made.with_context(|| format!("make {}", folder.display()))?;
            node.folders.push(folder);
        }
        Ok(node)
    }

    /// Where the devices of the disks lie.
    pub fn places(&self) -> Vec<PathBuf> {
        self.folders
            .iter()
            .map(|folder| folder.join("disk"))
            .collect()
    }

    /// Starts the node on the first of its disks and runs it until every reactor has done its part.
    ///
    /// # Errors
    /// A node that does not start, or ends otherwise than it should.
    pub fn serve(
        &self,
        disks: usize,
        status: Arc<NodeStatus>,
        round: Arc<impl Round>,
    ) -> anyhow::Result<()> {
        let places = self.places();
        let places = &places[..disks];
        let metadata_dir = self.folders[0].join("metadata");
        for folder in places.iter().chain([&metadata_dir]) {
            make_directories(folder)?;
        }
        let config = self.config(places, metadata_dir)?;
        let says = status.clone();
        let front_end = move |connected| {
            let (round, says) = (round.clone(), says.clone());
            Box::pin(async move {
                match connected {
                    Ok(cluster) => {
                        says.enter(status::Phase::Ready);
                        if let Err(error) = take_part(&round, cluster).await {
                            round.course().fail(error);
                        }
                    }
                    Err(error) => round.course().fail(anyhow::Error::new(error)),
                }
            }) as Serving
        };
        node::run(World::Real, config, status, front_end).context("the node did not run")
    }

    fn config(&self, places: &[PathBuf], metadata_dir: PathBuf) -> anyhow::Result<NodeConfig> {
        let options = self.options;
        let disks = self.folders.len() as u64;
        Ok(NodeConfig {
            node_id: 1,
            data_dirs: places.to_vec(),
            force_format: Vec::new(),
            discard: false,
            metadata_dir,
            cores: (0..options.cores).collect(),
            // Files of one disk are as good as disks where only the engine is looked at.
            assume_separate_failure_domains: true,
            scheme: options.scheme,
            degraded_writes: DegradedWrites::Safe,
            pack_after: Duration::from_secs(3600),
            capacity_bytes: Some(options.capacity / disks * places.len() as u64),
            arena_bytes: usize::try_from(options.buffers)?,
            cache_bytes: options.cache,
            metadata_map_bytes: 16 << 30,
            first_root_key: RootKey {
                access_key_id: "strata-bench".to_owned(),
                secret_access_key: "strata-bench".to_owned(),
            },
        })
    }
}

impl Drop for Node<'_> {
    fn drop(&mut self) {
        for folder in &self.folders {
            if let Err(error) = std::fs::remove_dir_all(folder) {
                crate::report::complain(&format!("{} stays: {error}", folder.display()));
            }
        }
    }
}

fn make_directories(path: &Path) -> anyhow::Result<()> {
    std::fs::create_dir_all(path).with_context(|| format!("make {}", path.display()))
}

/// What all reactors do from one start of the node to its stop.
pub trait Round: Send + Sync + 'static {
    /// How it goes.
    fn course(&self) -> &Course;

    /// Operations that each reactor has under way.
    fn depth(&self) -> u64;

    /// Does operations one after the other until the round is over, which began at a moment.
    fn work(
        self: Arc<Self>,
        cluster: Cluster,
        dice: Dice,
        begun: Instant,
    ) -> impl Future<Output = Tally> + 'static;
}

/// Has the bucket made, where there is none, waits until every reactor is here, and does this one's part.
async fn take_part(round: &Arc<impl Round>, cluster: Cluster) -> anyhow::Result<()> {
    if reactor::index() == 0 && cluster.bucket(BUCKET)?.is_none() {
        let bucket = CreateBucket {
            bucket: BUCKET.to_owned(),
            owner: 1,
            object_lock: false,
        };
        cluster.submit(bucket).await?;
    }
    let course = round.course();
    course.meet().await;
    let (begun, used) = (reactor::now(), affinity::process_time()?);
    let tasks: Vec<reactor::Task<Tally>> = (0..round.depth())
        .map(|task| {
            let dice = Dice::of_task(task);
            let work = round.clone().work(cluster.clone(), dice, begun);
            reactor::spawn(TaskClass::Foreground, work)
        })
        .collect();
    let mut tally = Tally::default();
    for task in tasks {
        tally.merge(&task.await);
    }
    course.note(&tally, begun.elapsed(), affinity::process_time()? - used);
    Ok(())
}

/// How a round goes.
pub struct Course {
    reactors: usize,
    arrived: AtomicUsize,
    /// Whether what the round waits for is done.
    is_over: AtomicBool,
    outcome: Mutex<Outcome>,
}

/// What a round has come to.
#[derive(Default)]
pub struct Outcome {
    /// The operations of all reactors.
    pub tally: Tally,
    /// From the first to the last.
    pub elapsed: Duration,
    /// Processor time of the process meanwhile.
    pub used: Duration,
    /// Why it broke off.
    pub failure: Option<anyhow::Error>,
}

impl Course {
    /// One that begins when so many reactors are there.
    pub fn new(reactors: usize) -> Course {
        Course {
            reactors,
            arrived: AtomicUsize::new(0),
            is_over: AtomicBool::new(false),
            outcome: Mutex::default(),
        }
    }

    /// Ends a round that waits for something else.
    pub fn end(&self) {
        self.is_over.store(true, Ordering::Relaxed);
    }

    /// Whether it was ended.
    pub fn is_over(&self) -> bool {
        self.is_over.load(Ordering::Relaxed)
    }

    /// Notes why a reactor cannot do its part.
    pub fn fail(&self, error: anyhow::Error) {
        let mut outcome = self.outcome.lock().unwrap_or_else(PoisonError::into_inner);
        outcome.failure = Some(error);
        drop(outcome);
        self.end();
    }

    /// What it has come to.
    pub fn outcome(&self) -> Outcome {
        std::mem::take(&mut *self.outcome.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// Adds what a reactor has done.
    fn note(&self, tally: &Tally, elapsed: Duration, used: Duration) {
        let mut outcome = self.outcome.lock().unwrap_or_else(PoisonError::into_inner);
        outcome.tally.merge(tally);
        outcome.elapsed = outcome.elapsed.max(elapsed);
        outcome.used = outcome.used.max(used);
    }

    /// Waits until every reactor is here.
    async fn meet(&self) {
        self.arrived.fetch_add(1, Ordering::Relaxed);
        let are_missing = || self.arrived.load(Ordering::Relaxed) < self.reactors;
        while are_missing() && !self.is_over() {
            reactor::sleep(LOOK).await;
        }
    }
}

/// The inode of the bucket.
///
/// # Errors
/// There is none, or it cannot be read.
pub fn bucket(cluster: &Cluster) -> anyhow::Result<u64> {
    let bucket = cluster.bucket(BUCKET)?;
    Ok(bucket.context("the bucket is gone")?.inode)
}

/// The command that names a body.
///
/// # Errors
/// The bucket is gone, or cannot be read.
pub fn named(cluster: &Cluster, key: Vec<u8>, inode: u64, body: Body) -> anyhow::Result<PutObject> {
    Ok(PutObject {
        bucket: bucket(cluster)?,
        key,
        inode,
        size: body.length(),
        etag: ETag::single([7; 16]),
        checksum: None,
        attributes: ObjectAttributes::default(),
        body,
        precondition: Precondition::default(),
        owner: 0,
    })
}

/// The command that deletes what has a key.
///
/// # Errors
/// The bucket is gone, or cannot be read.
pub fn deleted(cluster: &Cluster, key: Vec<u8>) -> anyhow::Result<DeleteObjects> {
    let if_match = None;
    Ok(DeleteObjects {
        bucket: bucket(cluster)?,
        keys: vec![DeleteKey { key, if_match }],
    })
}

/// A generator of numbers for one task of a reactor, which is never 0.
#[derive(Clone)]
pub struct Dice(u64);

impl Dice {
    /// That of this task.
    pub fn of_task(task: u64) -> Dice {
        Dice(0x9e37_79b9_7f4a_7c15 ^ (reactor::index() as u64) << 32 ^ task)
    }

    /// The next number.
    pub fn roll(&mut self) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0
    }
}
