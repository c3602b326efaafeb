//! A node: a reactor per core, each with its partitions and its connections; in the real world each on a pinned thread.
//!
//! Invariants: reactor 0 is the metadata core: it alone runs the Raft group and writes the namespace; a partition is owned by
//! one reactor, computed at every start and never stored; a front end is served only after the log has been replayed.

pub mod block_device;
pub mod bucket_usage;
mod capacity;
pub mod cell_cache;
mod degradation;
pub mod devices;
pub mod discover;
pub mod failure_domain;
pub mod format;
pub mod layout;
mod moving;
pub mod open;
pub mod orphans;
pub mod packing;
mod partition;
pub mod propose;
pub mod readers;
pub mod reclaim;
pub mod repair;
pub mod serve;
pub mod signature;
pub(crate) mod staleness;
pub mod start;
pub mod status;
pub mod store;

use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use strata_engine::Uuid;
use strata_engine::reactor::{self, Main, OneSender, ReactorConfig, Sender, World};
use strata_raftlog::namespace::RootKey;
use strata_raftlog::namespace::store::NamespaceStore;

use crate::cluster::Cluster;
use crate::error::ClusterError;
use crate::message::{NodeRequest, Place};
use crate::scheme::{DegradedWrites, Scheme};
use cell_cache::CellCache;
pub use partition::{Partition, Partitions};
use readers::Readers;
use repair::Redundancy;
use status::NodeStatus;
use store::LocalStores;

/// Requests that may wait in one reactor's mailbox.
const MAILBOX_CAPACITY: usize = 1024;

/// What a node is started with.
#[derive(Debug, Clone)]
pub struct NodeConfig {
    /// The node's number in the cluster, from 1.
    pub node_id: u64,
    /// Directories (each gets a device file), block devices, or plain files that are devices.
    pub data_dirs: Vec<PathBuf>,
    /// Those of them that a first start formats whatever they hold, as long as nobody uses them: block devices.
    pub force_format: Vec<PathBuf>,
    /// Whether block devices are told of what they need not keep.
    pub discard: bool,
    /// Where LMDB lives.
    pub metadata_dir: PathBuf,
    /// The processors to pin a reactor to each.
    pub cores: Vec<usize>,
    /// Take every data directory for a failure domain of its own.
    pub assume_separate_failure_domains: bool,
    /// The scheme that a first start formats for; without it the strongest that the failure domains carry.
    pub scheme: Option<Scheme>,
    /// What becomes of new chunks when some devices cannot be written.
    pub degraded_writes: DegradedWrites,
    /// How long after a short body was put it is packed.
    pub pack_after: Duration,
    /// Bytes that the devices may grow to together; without it 10 % of each file system is left free.
    pub capacity_bytes: Option<u64>,
    /// Buffer memory of each reactor, in bytes.
    pub arena_bytes: usize,
    /// Memory in which each reactor keeps cells that are read again and again, in bytes.
    pub cache_bytes: u64,
    /// The size of the LMDB map, in bytes.
    pub metadata_map_bytes: usize,
    /// The root credentials of a node that is formatted by this start.
    pub first_root_key: RootKey,
}

/// Why a node could not start or had to stop.
#[derive(Debug, thiserror::Error)]
pub enum NodeError {
    /// io_uring or a reactor's memory is not to be had; says what to do.
    #[error(transparent)]
    Reactor(#[from] reactor::ReactorError),
    /// The devices and directories do not fit together; says what to do.
    #[error("{0}")]
    Devices(String),
    /// The log or the namespace could not be brought up.
    #[error("{0}")]
    Metadata(String),
    /// A reactor ended before the node had started, or its front end by a panic.
    #[error("{0}")]
    Ended(String),
}

/// What all reactors of a node share.
pub struct ClusterParts {
    /// The node's number.
    pub node_id: u64,
    /// The mailbox of each reactor.
    pub peers: Vec<Sender<NodeRequest>>,
    /// Every data partition that is there.
    pub partitions: Partitions,
    /// The namespace, for reading on every core.
    pub namespace: NamespaceStore,
    /// What becomes of new chunks when some devices cannot be written.
    pub degraded_writes: DegradedWrites,
    /// How long after a short body was put it is packed.
    pub pack_after: Duration,
    /// Where LMDB lies, and what reactors note for their next start.
    pub metadata_dir: PathBuf,
    /// Readers under way on every reactor.
    pub readers: Arc<Readers>,
    /// What is known of the redundancy of the chunks.
    pub redundancy: Arc<Redundancy>,
    /// What the node shows of itself.
    pub status: Arc<NodeStatus>,
    /// Changes of the placement groups since the start: whoever has read them before reads them again.
    pub layout_changes: AtomicU64,
}

impl ClusterParts {
    /// Has every reactor read the placement groups again before it uses them.
    pub(crate) fn note_layout_change(&self) {
        self.layout_changes.fetch_add(1, Ordering::Release);
    }

    /// The reactor that owns a partition; `None` when its device is not there.
    pub fn owner_of(&self, place: Place) -> Option<usize> {
        Some(self.partitions.get(place)?.reactor)
    }

    /// Whether a partition is there and takes shards, unless it is full.
    pub fn is_writable(&self, place: Place) -> bool {
        let partition = self.partitions.get(place);
        partition.is_some_and(Partition::is_writable)
    }

    /// The partitions that take shards, full ones among them.
    pub fn writable_places(&self) -> Vec<Place> {
        let places = self.partitions.iter();
        let writable = places.filter(|(_, partition)| partition.is_writable());
        writable.map(|(place, _)| place).collect()
    }

    /// Whether reads of a partition's device are expected to succeed.
    pub fn is_readable(&self, place: Place) -> bool {
        let partition = self.partitions.get(place);
        partition.is_some_and(|partition| !partition.health.fails_all_reads())
    }

    /// Whether a partition's device has left an operation without an answer for a second.
    pub fn is_late(&self, place: Place) -> bool {
        let partition = self.partitions.get(place);
        partition.is_some_and(|partition| partition.health.is_late())
    }

    /// The mailbox of the reactor that runs the Raft group.
    pub fn metadata_core(&self) -> &Sender<NodeRequest> {
        &self.peers[0]
    }
}

/// What a front end runs as.
pub type Serving = std::pin::Pin<Box<dyn Future<Output = ()>>>;

/// What runs on every reactor once the log is replayed: the front ends, or, where a reactor could not join the cluster, what
/// ends the node. Ends when the node is told to stop; says by [`status::Phase::Ready`] when requests are served.
pub trait Serve: Fn(Result<Cluster, ClusterError>) -> Serving + Send + Clone + 'static {}

impl<F: Fn(Result<Cluster, ClusterError>) -> Serving + Send + Clone + 'static> Serve for F {}

/// Runs a node until `serve` has ended on every reactor. In the real world each of its cores has a thread, the first this one;
/// in a simulation the reactors take turns on this thread.
///
/// # Errors
/// Says what stands in the way of the start, with the remedy where there is one.
///
/// # Panics
/// When reactor 0 panics; in a simulation when any reactor does.
pub fn run(
    world: World,
    config: NodeConfig,
    status: Arc<NodeStatus>,
    serve: impl Serve,
) -> Result<(), NodeError> {
    assert!(!config.cores.is_empty(), "a node has a core");
    let ends = config
        .cores
        .iter()
        .map(|_| reactor::mailbox(MAILBOX_CAPACITY));
    let (peers, mut mailboxes): (Vec<_>, Vec<_>) = ends.unzip();
    let metadata_mailbox = mailboxes.remove(0);
    let mut mains = Vec::new();
    for (index, mailbox) in (1..).zip(mailboxes) {
        let (serve, status) = (serve.clone(), status.clone());
        let cache_bytes = config.cache_bytes;
        let body = async move || {
            status.add_reactor(index, reactor::statistics());
            let local = local_stores(cache_bytes, &status);
            serve::serve_mailbox(local, mailbox, None, serve).await;
            Ok(())
        };
        mains.push(Main::new(reactor_config(&config, index), body));
    }
    let body = {
        let config = config.clone();
        async move || {
            status.add_reactor(0, reactor::statistics());
            start::run_metadata_core(config, status, peers, metadata_mailbox, serve).await
        }
    };
    mains.insert(0, Main::new(reactor_config(&config, 0), body));
    reactor::run_all(world, mains)?.into_iter().collect()
}

/// The stores of this reactor, of which none is open yet.
pub(crate) fn local_stores(cache_bytes: u64, status: &NodeStatus) -> LocalStores {
    let cells = CellCache::new(cache_bytes);
    status.add_cell_cache(cells.statistics());
    LocalStores::new(cells)
}

fn reactor_config(config: &NodeConfig, index: usize) -> ReactorConfig {
    ReactorConfig {
        index,
        core: Some(config.cores[index]),
        name: format!("strata-{index}"),
        arena_bytes: config.arena_bytes,
        spin: Duration::from_micros(40),
    }
}

/// Answers a request. Whoever has stopped waiting needs no answer.
pub(crate) fn answer<T: Send>(reply: OneSender<T>, value: T) {
    let _ = reply.send(value);
}

/// A uuid of version 4 (RFC 9562) from the reactor's random source.
pub(crate) fn new_uuid() -> Uuid {
    let mut bytes = [0; 16];
    reactor::random_bytes(&mut bytes);
    bytes[6] = bytes[6] & 0x0f | 0x40;
    bytes[8] = bytes[8] & 0x3f | 0x80;
    Uuid(bytes)
}
