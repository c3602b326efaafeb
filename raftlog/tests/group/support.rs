//! Devices, a group on them, and a client that remembers what was acknowledged.

use std::cell::{Cell, RefCell};
use std::ops::Deref;
use std::path::{Path, PathBuf};
use std::rc::Rc;
use std::time::Duration;

use strata_engine::reactor::{self, ReactorConfig, ReactorError, Simulation, World};
use strata_engine::{
    Device, DeviceOptions, FormatOptions, Journal, JournalPosition, PartitionKind, Uuid,
    format_device,
};
use strata_raftlog::consensus::group::{Group, GroupConfig, GroupError, ProposeError, Sender};
use strata_raftlog::consensus::log::{Log, LogPartition, LogReport};
use strata_raftlog::namespace::command::{
    Answer, Command, CreateBucket, LeaseInodes, OpenSession, Proposer, PutObject,
};
use strata_raftlog::namespace::store::{NamespaceStore, Opened, StoreOptions};
use strata_raftlog::namespace::{Body, ListQuery, Listing};

use crate::commands::{self, initialise};

pub const SEGMENT_BYTES: u64 = 4 << 20;
const LOG_SEGMENTS: u32 = 8;

/// Runs on a reactor of its own.
pub fn run<T>(world: World, main: impl AsyncFnOnce() -> T) -> Result<T, ReactorError> {
    let config = ReactorConfig {
        index: 0,
        core: None,
        name: "test".to_owned(),
        arena_bytes: 16 << 20,
        spin: Duration::ZERO,
    };
    reactor::run(config, world, main)
}

/// Runs on a simulated machine to the end.
pub fn simulate<T>(simulation: &Simulation, main: impl AsyncFnOnce() -> T) -> T {
    run(World::Simulated(simulation.clone()), main).expect("a run")
}

/// A directory on a disk of this machine.
pub fn directory() -> tempfile::TempDir {
    tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).expect("a directory on a disk")
}

/// A place on a simulated machine where no namespace lies yet.
pub fn new_place() -> PathBuf {
    thread_local! {
        static PLACES: Cell<u32> = const { Cell::new(0) };
    }
    PLACES.set(PLACES.get() + 1);
    PathBuf::from(format!("/metadata{}", PLACES.get()))
}

/// Formats so many devices in a directory.
pub async fn format(dir: &Path, count: u8) -> Vec<PathBuf> {
    format_with(dir, count, SEGMENT_BYTES).await
}

/// Formats devices with segments of another length.
pub async fn format_with(dir: &Path, count: u8, segment_bytes: u64) -> Vec<PathBuf> {
    format_log(dir, count, segment_bytes, LOG_SEGMENTS).await
}

/// Formats devices with another log.
pub async fn format_log(
    dir: &Path,
    count: u8,
    segment_bytes: u64,
    log_segments: u32,
) -> Vec<PathBuf> {
    reactor::fs::create_dir_all(dir).await.expect("a directory");
    let parent = dir.parent().expect("a parent");
    reactor::sync_directory(parent).await.expect("synced");
    let uuids: Vec<Uuid> = (0..count).map(|at| Uuid([at + 1; 16])).collect();
    let mut paths = Vec::new();
    for (at, uuid) in uuids.iter().enumerate() {
        let path = dir.join(format!("device{at}"));
        let options = FormatOptions {
            cluster: Uuid([1; 16]),
            device: *uuid,
            pool: Uuid([8; 16]),
            node: 1,
            data_partitions: 1,
            segment_bytes,
            log_segments,
            log_mirrors: uuids.clone(),
        };
        format_device(&path, options).await.expect("formatted");
        paths.push(path);
    }
    paths
}

/// Opens the log partitions of devices.
pub async fn partitions(paths: &[PathBuf]) -> Vec<LogPartition> {
    let mut found = Vec::new();
    for path in paths {
        let options = DeviceOptions {
            capacity_bytes: 1 << 30,
            ..DeviceOptions::default()
        };
        let device = Device::open(path, options).await.expect("a device");
        let entries = device.superblock().partitions.clone();
        for entry in entries
            .iter()
            .filter(|entry| entry.kind == PartitionKind::Log)
        {
            found.push(LogPartition {
                device: device.clone(),
                partition: entry.number,
            });
        }
    }
    found
}

/// The journal in the log partition of a device.
pub async fn journal_of(path: &Path) -> Journal {
    let log = partitions(&[path.to_owned()]).await.remove(0);
    let opened = Journal::open(&log.device, log.partition).await;
    opened.expect("a journal")
}

/// All records of a journal: their places and bodies.
pub async fn records(journal: &Journal) -> Vec<(JournalPosition, Vec<u8>)> {
    let mut found = Vec::new();
    let mut visit = |at, _, body: &[u8]| {
        found.push((at, body.to_vec()));
        Ok(())
    };
    journal.replay(None, &mut visit).await.expect("replayed");
    found
}

pub fn config(mirrors: usize) -> GroupConfig {
    GroupConfig::new(0, 1, mirrors)
}

/// A group that leads, and what was found out about its log.
pub struct Started {
    group: Group,
    pub report: LogReport,
    /// What was found of the namespace.
    pub opened: Opened,
}

impl Started {
    pub async fn stop(self) -> Result<(), GroupError> {
        self.group.stop().await
    }
}

impl Deref for Started {
    type Target = Group;

    fn deref(&self) -> &Group {
        &self.group
    }
}

/// Starts a group on devices, with the namespace in a directory.
pub async fn start(
    paths: &[PathBuf],
    metadata: impl AsRef<Path>,
    config: GroupConfig,
) -> Result<(Started, NamespaceStore), GroupError> {
    let options = StoreOptions {
        map_bytes: 64 << 20,
    };
    let metadata = metadata.as_ref().to_owned();
    let opening = reactor::offload(move || NamespaceStore::open(&metadata, options));
    let (store, opened) = opening.await.expect("a store");
    let (log, report) = Log::open(partitions(paths).await, config.mirrors).await?;
    let group = Group::start(config, log, store.clone(), Sender::Unreachable).await?;
    group.lead().await?;
    let started = Started {
        group,
        report,
        opened,
    };
    Ok((started, store))
}

/// A life of a group: starts it, works, and stops it.
pub async fn live<T>(
    paths: &[PathBuf],
    metadata: impl AsRef<Path>,
    config: GroupConfig,
    work: impl AsyncFnOnce(&Started, &NamespaceStore) -> T,
) -> T {
    let (group, store) = start(paths, metadata, config).await.expect("a start");
    let done = work(&group, &store).await;
    drop(store);
    group.stop().await.expect("a stop");
    done
}

fn put(key: &str, inode: u64, size: usize) -> PutObject {
    let body = Body::Inline(vec![b'x'; size]);
    commands::put(BUCKET, key.as_bytes(), inode, body)
}

/// What was acknowledged: keys in order.
pub type Acknowledged = Rc<RefCell<Vec<String>>>;

/// The inode of the bucket, the first that is given out.
pub const BUCKET: u64 = 16;

/// Proposes in a session of its own.
pub struct Client {
    pub group: Group,
    session: u64,
    sequence: u64,
    /// The last inode that it has used of those that are leased.
    pub inode: u64,
    acknowledged: Acknowledged,
}

impl Client {
    /// Initialises what is not there yet, and opens a session.
    pub async fn new(group: &Group, acknowledged: &Acknowledged) -> Client {
        let initialised = group.propose(initialise(), Proposer::SESSIONLESS).await;
        initialised.expect("initialised");
        let mut client = Client::returning(1, group, acknowledged).await;
        let bucket = CreateBucket {
            bucket: "b".into(),
            owner: 1,
            object_lock: false,
        };
        client.propose(bucket).await.expect("a bucket");
        client.lease().await;
        client
    }

    /// Only opens a session.
    pub async fn returning(owner: u64, group: &Group, acknowledged: &Acknowledged) -> Client {
        let opened = group
            .propose(OpenSession { owner }, Proposer::SESSIONLESS)
            .await;
        let Ok(Answer::Session(session)) = opened else {
            panic!("{opened:?}")
        };
        Client {
            group: group.clone(),
            session,
            sequence: 0,
            inode: 0,
            acknowledged: acknowledged.clone(),
        }
    }

    /// A block of inodes of its own.
    pub async fn lease(&mut self) {
        let leased = self.propose(LeaseInodes { count: 100_000 }).await;
        let Ok(Answer::Inodes { first, .. }) = leased else {
            panic!("{leased:?}")
        };
        self.inode = first;
    }

    /// A fresh inode of the block.
    pub fn inode(&mut self) -> u64 {
        self.inode += 1;
        self.inode
    }

    /// The next place in the session.
    pub fn next(&mut self) -> Proposer {
        self.sequence += 1;
        Proposer {
            session: self.session,
            sequence: self.sequence,
            lowest_unanswered: self.sequence,
        }
    }

    pub async fn propose(&mut self, command: impl Into<Command>) -> Result<Answer, ProposeError> {
        let proposer = self.next();
        self.group.propose(command, proposer).await
    }

    /// Puts all of them at once. Gives how many were acknowledged.
    pub async fn put_all(&mut self, keys: &[String], size: usize) -> usize {
        let (group, lowest) = (self.group.clone(), self.sequence + 1);
        let mut puts = Vec::new();
        for key in keys {
            let proposer = Proposer {
                lowest_unanswered: lowest,
                ..self.next()
            };
            self.inode += 1;
            puts.push(group.propose(put(key, self.inode, size), proposer));
        }
        let answers = futures_util::future::join_all(puts).await;
        let mut acknowledged = self.acknowledged.borrow_mut();
        let before = acknowledged.len();
        for (key, answer) in keys.iter().zip(answers) {
            match answer {
                Ok(Answer::Put { .. }) => acknowledged.push(key.clone()),
                Err(ProposeError::Busy | ProposeError::Full(_)) => {}
                other => panic!("{key}: {other:?}"),
            }
        }
        acknowledged.len() - before
    }

    pub async fn put(&mut self, key: &str, size: usize) -> Result<(), ProposeError> {
        self.inode += 1;
        let answer = self.propose(put(key, self.inode, size)).await?;
        assert!(matches!(answer, Answer::Put { .. }), "{key}: {answer:?}");
        self.acknowledged.borrow_mut().push(key.to_owned());
        Ok(())
    }
}

/// All keys, in order.
pub fn keys(store: &NamespaceStore) -> Vec<String> {
    let view = store.view().expect("a view");
    let Some(bucket) = view.bucket("b").expect("a look") else {
        return Vec::new();
    };
    let mut query = ListQuery {
        limit: 1000,
        ..ListQuery::default()
    };
    let mut keys = Vec::new();
    loop {
        let mut listing = Listing::new(query.clone());
        view.list(bucket.inode, &mut listing, usize::MAX)
            .expect("a page");
        let page = listing.into_page();
        keys.extend(
            page.objects
                .iter()
                .map(|object| String::from_utf8_lossy(&object.key).into_owned()),
        );
        match page.next {
            Some(next) => query.start_after = next,
            None => return keys,
        }
    }
}

/// Every acknowledged key is listed.
pub fn check(store: &NamespaceStore, acknowledged: &Acknowledged, context: &str) {
    let listed = keys(store);
    for key in acknowledged.borrow().iter() {
        assert!(
            listed.contains(key),
            "{context}: {key} was acknowledged and is lost; {} are listed",
            listed.len()
        );
    }
}
