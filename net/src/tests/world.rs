//! A node in one thread: stores on simulated devices, a namespace that applies commands as they come, a cluster client.
//!
//! Every reactor of the node has a mailbox of its own, and one thread serves them all: what crosses reactors on a real node
//! goes through a mailbox here too.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::AtomicU64;
use std::time::Duration;

use bytes::Bytes;
use strata_engine::reactor::{self, ReactorConfig, Receiver, Simulation, TaskClass, World};
use strata_engine::{
    CELL_BYTES, ChunkId, ChunkStore, ChunkStoreStatistics, Device, DeviceHealth, DeviceOptions,
    FormatOptions, Owner, PartitionKind, Payload, ShardId, ShardWrite, Uuid, format_device,
};
use strata_raftlog::namespace::command::{
    Answer, Command, CreateBucket, DeleteKey, DeleteObjects, Envelope, FEATURE_LEVEL, Initialise,
    Precondition, Proposer, PutObject,
};
use strata_raftlog::namespace::store::{NamespaceStore, StoreOptions};
use strata_raftlog::namespace::{
    Body, ETag, Extent, LogEntry, LogPosition, Object, ObjectAttributes, PieceSource,
    PlacementGroup, RootKey, Slot, SlotState,
};

use crate::cluster::Cluster;
use crate::cluster::read::{BodySource, ObjectReader};
use crate::cluster::write::SPACE_FILE;
use crate::error::ClusterError;
use crate::message::{NodeRequest, Place};
use crate::node::readers::Readers;
use crate::node::repair::Redundancy;
use crate::node::status::{NodeLayout, NodeStatus};
use crate::node::store::LocalStores;
use crate::node::{self, ClusterParts, Partition};
use crate::scheme::{DegradedWrites, Scheme};

pub const BUCKET: &str = "b";
const SEGMENT_BYTES: u64 = 4 << 20;
const LOG_SEGMENTS: u32 = 4;
/// Bytes of a device before its segments.
const SEGMENTS_OFFSET: u64 = 1 << 20;
/// When short bodies are packed.
pub const PACK_AFTER: Duration = Duration::from_secs(300);
/// Requests that wait in a mailbox.
const MAILBOX_CAPACITY: usize = 64;

/// What a node is made of.
pub struct Shape {
    /// Devices.
    pub devices: u8,
    /// Data partitions of each: a power of two.
    pub partitions: u16,
    /// Segments of 4 MiB of each partition.
    pub segments: u64,
    /// The scheme of new chunks.
    pub scheme: Scheme,
    /// What becomes of them when some places cannot be written.
    pub degraded_writes: DegradedWrites,
    /// The slots of every placement group, as positions in the order of devices, then partitions.
    pub groups: Vec<Vec<usize>>,
    /// The reactor of each place in that order; all on reactor 0 where there are none. `None`: the device is missing.
    pub owners: Vec<Option<usize>>,
    /// Memory of each reactor for cells that are read again.
    pub cache_bytes: u64,
}

impl Shape {
    /// A device with so many partitions, each a placement group of its own.
    pub fn single(partitions: u16, segments: u64) -> Shape {
        Shape {
            devices: 1,
            partitions,
            segments,
            scheme: Scheme::copies(1),
            degraded_writes: DegradedWrites::Safe,
            groups: (0..usize::from(partitions)).map(|at| vec![at]).collect(),
            owners: Vec::new(),
            cache_bytes: 0,
        }
    }

    /// Two devices of one partition that are copies of each other.
    pub fn mirrored(segments: u64) -> Shape {
        Shape {
            devices: 2,
            partitions: 1,
            segments,
            scheme: Scheme::copies(2),
            degraded_writes: DegradedWrites::Safe,
            groups: vec![vec![0, 1]],
            owners: Vec::new(),
            cache_bytes: 0,
        }
    }

    /// A device for every shard, each of a reactor of its own, in one group.
    pub fn coded(k: usize, m: usize) -> Shape {
        let scheme = Scheme::new(k, m).expect("a scheme");
        let devices = scheme.shards();
        Shape {
            devices: devices as u8,
            partitions: 1,
            segments: 16,
            scheme,
            degraded_writes: DegradedWrites::Safe,
            groups: vec![(0..devices).collect()],
            owners: (0..devices).map(Some).collect(),
            cache_bytes: 0,
        }
    }

    fn owner(&self, place: usize) -> Option<usize> {
        self.owners.get(place).copied().unwrap_or(Some(0))
    }
}

/// Runs on a simulated reactor with an arena of so many MiB.
pub fn run<T>(simulation: &Simulation, arena_mib: usize, work: impl AsyncFnOnce() -> T) -> T {
    let config = ReactorConfig {
        index: 0,
        core: None,
        name: "simulated".to_owned(),
        arena_bytes: arena_mib << 20,
        spin: Duration::ZERO,
    };
    reactor::run(config, World::Simulated(simulation.clone()), work).expect("no crash was planned")
}

/// Bytes that a seed gives back.
pub fn content(seed: u64, length: usize) -> Bytes {
    let mut state = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
    let mut bytes = Vec::with_capacity(length + 8);
    while bytes.len() < length {
        state ^= state >> 12;
        state ^= state << 25;
        state ^= state >> 27;
        bytes.extend_from_slice(&state.to_le_bytes());
    }
    bytes.truncate(length);
    Bytes::from(bytes)
}

/// The file of a device.
pub fn path_of(device: u8) -> PathBuf {
    PathBuf::from(format!("/device{device}"))
}

/// A node that runs.
pub struct Node {
    pub cluster: Cluster,
    pub places: Vec<Place>,
    pub statistics: BTreeMap<Place, Arc<ChunkStoreStatistics>>,
    locals: Vec<LocalStores>,
    stores: BTreeMap<Place, ChunkStore>,
}

impl Node {
    /// Formats the devices and starts the node.
    pub async fn start(shape: &Shape) -> Node {
        let reactors = 1
            + (0..usize::from(shape.devices) * usize::from(shape.partitions))
                .filter_map(|place| shape.owner(place))
                .max()
                .unwrap_or(0);
        let status = Arc::new(NodeStatus::default());
        let locals = (0..reactors).map(|_| node::local_stores(shape.cache_bytes, &status));
        let locals: Vec<LocalStores> = locals.collect();
        let (mut places, mut partitions) = (Vec::new(), BTreeMap::new());
        let (mut statistics, mut stores) = (BTreeMap::new(), BTreeMap::new());
        for device in 0..shape.devices {
            let (opened, health) = open_device(device, shape).await;
            let name = path_of(device).display().to_string();
            status.add_device(Uuid([device + 1; 16]), name, health);
            for (place, store) in opened {
                if let Some(owner) = shape.owner(places.len()) {
                    let partition = Partition {
                        reactor: owner,
                        ..Partition::of(&store)
                    };
                    status.add_partition(place, partition.clone());
                    statistics.insert(place, store.statistics());
                    stores.insert(place, store.clone());
                    locals[owner].insert(place, store);
                    partitions.insert(place, partition);
                }
                places.push(place);
            }
        }
        let options = StoreOptions {
            map_bytes: 256 << 20,
        };
        let (namespace, _) =
            NamespaceStore::open(Path::new("/metadata"), options).expect("an empty namespace");
        let applier = Applier::new(namespace.clone());
        let mut peers = Vec::new();
        for local in &locals {
            let (peer, mailbox) = reactor::mailbox(MAILBOX_CAPACITY);
            peers.push(peer);
            let serving = serve(mailbox, local.clone(), applier.clone());
            reactor::spawn(TaskClass::Foreground, serving).detach();
        }
        applier.apply(initialise(shape, &places).into(), Proposer::SESSIONLESS);
        let slots = |group: &Vec<usize>| group.iter().map(|at| places[*at]).collect();
        status.set_layout(NodeLayout {
            scheme: shape.scheme,
            groups: shape.groups.iter().map(slots).collect(),
            degraded_writes: shape.degraded_writes,
            log_mirrors: 1,
        });
        let parts = ClusterParts {
            node_id: 1,
            readers: Readers::new(peers.len()),
            redundancy: Arc::new(Redundancy::new(peers.len())),
            degraded_writes: shape.degraded_writes,
            pack_after: PACK_AFTER,
            // It does not exist: nothing is noted.
            metadata_dir: PathBuf::from("/metadata"),
            peers,
            partitions: partitions.into(),
            namespace,
            status,
            layout_changes: AtomicU64::new(0),
        };
        let cluster = Cluster::connect(Arc::new(parts), locals[0].clone())
            .await
            .expect("a cluster client");
        make_bucket(&cluster).await.expect("a bucket");
        Node {
            cluster,
            places,
            statistics,
            locals,
            stores,
        }
    }

    /// Stores a body in pieces of 64 KiB, as they come from a client, without a name.
    pub async fn store(&self, inode: u64, body: &Bytes) -> Result<Body, ClusterError> {
        store(&self.cluster, inode, body).await
    }

    /// Stores a body under a key.
    pub async fn put(&self, key: &str, body: &Bytes) -> Result<(), ClusterError> {
        put(&self.cluster, key, body).await
    }

    /// Names a body that is stored.
    pub async fn name(&self, key: &str, inode: u64, body: Body) -> Result<(), ClusterError> {
        name(&self.cluster, key, inode, body).await
    }

    /// The inode of the bucket.
    fn bucket(&self) -> u64 {
        bucket(&self.cluster)
    }

    /// Takes a name away.
    pub async fn delete(&self, key: &str) {
        let delete = DeleteObjects {
            bucket: self.bucket(),
            keys: vec![DeleteKey {
                key: key.as_bytes().to_vec(),
                if_match: None,
            }],
        };
        self.cluster.submit(delete).await.expect("deleted");
    }

    /// The object under a key.
    pub fn object(&self, key: &str) -> Object {
        object(&self.cluster, key).expect("an object")
    }

    /// The extents of the object under a key.
    pub fn extents(&self, key: &str) -> Vec<Extent> {
        extents(&self.cluster, &self.object(key))
    }

    /// The body of an object that lies in chunks.
    pub async fn get(&self, key: &str) -> Result<Vec<u8>, ClusterError> {
        get(&self.cluster, key).await
    }

    /// A reader of an object that lies in chunks.
    pub fn reader(&self, key: &str) -> ObjectReader {
        reader(&self.cluster, key)
    }

    /// A reader of a part of an object that lies in chunks.
    pub fn reader_of(&self, key: &str, range: std::ops::Range<u64>) -> ObjectReader {
        let object = self.object(key);
        let source = BodySource::Extents(extents(&self.cluster, &object));
        self.cluster.reader(object.inode, source, range)
    }

    /// The kinds of what the node is short of.
    pub fn degradations(&self) -> Vec<&'static str> {
        let found = self.cluster.parts().status.degradations().into_iter();
        found.map(|degradation| degradation.kind).collect()
    }

    /// Shards that were written anew.
    pub fn repaired_shards(&self) -> u64 {
        self.cluster.parts().redundancy.repaired().0
    }

    /// Ends the writer of a place, as an error that is not the device's does.
    pub async fn end_writer(&self, place: usize) {
        self.stores[&self.places[place]].clone().close().await;
    }

    /// The last epochs of the writers whose chunks a place holds.
    pub fn newest_epochs(&self, place: usize) -> BTreeMap<u32, u32> {
        self.stores[&self.places[place]].newest_epochs()
    }

    /// Takes what one place holds of an object away.
    pub async fn lose_shards(&self, place: usize, key: &str) {
        let shards: Vec<ShardId> = self
            .extents(key)
            .iter()
            .map(|extent| ShardId {
                chunk: extent.chunk,
                shard: place as u8,
            })
            .collect();
        let freed = self.stores[&self.places[place]].free(&shards).await;
        freed.expect("freed");
    }

    /// Has the stores of all reactors know these groups, as whoever changes them does.
    pub fn fence(&self, groups: &[PlacementGroup]) {
        self.locals
            .iter()
            .for_each(|local| local.fence(groups, &[]));
    }

    /// Takes the places of a reactor away: whoever asks for them is told that they are not there.
    pub async fn lose_reactor(&self, reactor: usize) {
        self.locals[reactor].close().await;
    }

    /// Stores chunks of one piece each on the first place, as those of `inode` in the epoch of the body under `like`: for bodies
    /// of more chunks than a test has time to write as a client does.
    pub async fn store_chunks(
        &self,
        inode: u64,
        like: &str,
        numbers: std::ops::Range<u64>,
        piece: &Bytes,
    ) -> Vec<Extent> {
        let first = self.extents(like).remove(0).chunk;
        let mut buffer = reactor::allocate(piece.len()).await;
        buffer.set_len(0);
        buffer.extend_from_slice(piece);
        let payload = Payload::of(vec![buffer.freeze()]);
        let ids: Vec<ChunkId> = numbers
            .clone()
            .map(|number| ChunkId::new(0, first.writer(), first.epoch(), (1 << 30) + number))
            .collect();
        let writes = ids.iter().zip(numbers).map(|(chunk, number)| {
            let shard = ShardWrite {
                id: ShardId {
                    chunk: *chunk,
                    shard: 0,
                },
                geometry: 1,
                layout_epoch: 1,
                slot_mask: 1,
                introduces: true,
                chunk_bytes: piece.len() as u64,
                owner: Owner {
                    inode,
                    offset: number * piece.len() as u64,
                    ..Owner::default()
                },
                payload: payload.clone(),
            };
            self.locals[0].store(self.places[0], shard)
        });
        for stored in futures_util::future::join_all(writes).await {
            stored.expect("stored");
        }
        let extents = ids.into_iter();
        extents
            .map(|chunk| Extent::whole_chunk(chunk, piece.len() as u64, 1, 1))
            .collect()
    }

    /// Shards that a place holds.
    pub fn shards(&self, place: usize) -> u64 {
        let statistics = &self.statistics[&self.places[place]];
        statistics.shards.load(std::sync::atomic::Ordering::Relaxed)
    }

    /// Bytes of records that a place holds and that are referred to.
    pub fn live_bytes(&self, place: usize) -> u64 {
        let statistics = &self.statistics[&self.places[place]];
        statistics
            .live_bytes
            .load(std::sync::atomic::Ordering::Relaxed)
    }

    /// Batches that a place has written, each with a flush.
    pub fn batches(&self, place: usize) -> u64 {
        let statistics = &self.statistics[&self.places[place]];
        statistics
            .log
            .batches
            .load(std::sync::atomic::Ordering::Relaxed)
    }
}

/// Makes the bucket that all objects lie in.
pub async fn make_bucket(cluster: &Cluster) -> Result<(), ClusterError> {
    let bucket = CreateBucket {
        bucket: BUCKET.to_owned(),
        owner: 1,
        object_lock: false,
    };
    cluster.submit(bucket).await.map(drop)
}

fn bucket(cluster: &Cluster) -> u64 {
    let found = cluster.read(|view| view.bucket(BUCKET));
    found.expect("read").expect("a bucket").inode
}

async fn store(cluster: &Cluster, inode: u64, body: &Bytes) -> Result<Body, ClusterError> {
    let mut writer = cluster.writer(inode, SPACE_FILE);
    for piece in body.chunks(CELL_BYTES) {
        writer.write(body.slice_ref(piece)).await?;
    }
    writer.finish().await
}

/// Stores a body under a key.
pub async fn put(cluster: &Cluster, key: &str, body: &Bytes) -> Result<(), ClusterError> {
    let inode = cluster.new_inode().await?;
    let stored = store(cluster, inode, body).await?;
    name(cluster, key, inode, stored).await
}

async fn name(cluster: &Cluster, key: &str, inode: u64, body: Body) -> Result<(), ClusterError> {
    let put = PutObject {
        bucket: bucket(cluster),
        key: key.as_bytes().to_vec(),
        inode,
        size: body.length(),
        etag: ETag::single([7; 16]),
        checksum: None,
        attributes: ObjectAttributes::default(),
        body,
        precondition: Precondition::default(),
        owner: 0,
    };
    cluster.submit(put).await.map(drop)
}

/// The object under a key, if there is one, also when there is no bucket.
pub fn object(cluster: &Cluster, key: &str) -> Option<Object> {
    let found = cluster.read(|view| match view.bucket(BUCKET)? {
        Some(_) => view.object(BUCKET, key.as_bytes()),
        None => Ok(None),
    });
    found.expect("a look-up")
}

/// The extents of an object.
pub fn extents(cluster: &Cluster, object: &Object) -> Vec<Extent> {
    let pieces = cluster
        .read(|view| view.body(object, 0..object.size, usize::MAX))
        .expect("a look-up")
        .expect("a body");
    let extents = pieces.into_iter().map(|piece| match piece.source {
        PieceSource::Chunk { extent, .. } => extent,
        other => panic!("{other:?}"),
    });
    extents.collect()
}

fn reader(cluster: &Cluster, key: &str) -> ObjectReader {
    let object = object(cluster, key).expect("an object");
    let source = BodySource::Extents(extents(cluster, &object));
    cluster.reader(object.inode, source, 0..object.size)
}

/// The body of an object that lies in chunks.
pub async fn get(cluster: &Cluster, key: &str) -> Result<Vec<u8>, ClusterError> {
    let mut reader = reader(cluster, key);
    let mut body = Vec::new();
    while let Some(bytes) = reader.next().await {
        body.extend_from_slice(&bytes?);
    }
    Ok(body)
}

async fn open_device(device: u8, shape: &Shape) -> (Vec<(Place, ChunkStore)>, Arc<DeviceHealth>) {
    let (path, uuid) = (path_of(device), Uuid([device + 1; 16]));
    let format = FormatOptions {
        cluster: Uuid([9; 16]),
        device: uuid,
        pool: Uuid([8; 16]),
        node: 1,
        data_partitions: shape.partitions,
        segment_bytes: SEGMENT_BYTES,
        log_segments: LOG_SEGMENTS,
        log_mirrors: vec![uuid],
    };
    format_device(&path, format).await.expect("formatted");
    let segments = u64::from(LOG_SEGMENTS) + shape.segments * u64::from(shape.partitions);
    let options = DeviceOptions {
        capacity_bytes: SEGMENTS_OFFSET + segments * SEGMENT_BYTES,
        ..DeviceOptions::default()
    };
    let health = options.health.clone();
    let opened = Device::open(&path, options).await.expect("a device");
    let entries = opened.superblock().partitions.clone();
    let mut stores = Vec::new();
    for entry in entries
        .iter()
        .filter(|entry| entry.kind == PartitionKind::Data)
    {
        let place = Place {
            device: uuid,
            partition: entry.number,
        };
        let (store, _) = ChunkStore::open(&opened, entry.number)
            .await
            .expect("a store");
        stores.push((place, store));
    }
    (stores, health)
}

fn initialise(shape: &Shape, places: &[Place]) -> Initialise {
    let slot = |at: &usize| Slot {
        device: places[*at].device.0,
        partition: places[*at].partition,
        state: SlotState::Member,
    };
    let groups = shape
        .groups
        .iter()
        .enumerate()
        .map(|(number, slots)| PlacementGroup {
            number: number as u32,
            epoch: 1,
            pool: [8; 16],
            slots: slots.iter().map(slot).collect(),
            previous: Vec::new(),
        });
    Initialise {
        cluster: [9; 16],
        incarnation: 1,
        layout: shape.scheme.layout(),
        geometries: shape.scheme.geometries(),
        placement_groups: groups.collect(),
        root_key: RootKey {
            access_key_id: "root".into(),
            secret_access_key: "secret".into(),
        },
    }
}

/// Stands for the Raft group: applies a command as soon as it comes.
#[derive(Clone)]
struct Applier {
    namespace: NamespaceStore,
    index: Rc<std::cell::Cell<u64>>,
}

impl Applier {
    fn new(namespace: NamespaceStore) -> Applier {
        Applier {
            namespace,
            index: Rc::default(),
        }
    }

    fn apply(&self, command: Command, proposer: Proposer) -> Answer {
        self.index.set(self.index.get() + 1);
        let envelope = Envelope {
            group: 0,
            feature_level: FEATURE_LEVEL,
            session: proposer.session,
            sequence: proposer.sequence,
            lowest_unanswered: proposer.lowest_unanswered,
            time_nanos: reactor::wall_clock().nanoseconds(),
            command,
        };
        let bytes = envelope.encode().expect("an envelope");
        let position = LogPosition {
            term: 1,
            node: 1,
            index: self.index.get(),
        };
        let applied = self
            .namespace
            .apply(&[(position, LogEntry::Command(&bytes))]);
        applied.expect("applied").remove(0)
    }
}

async fn serve(mut mailbox: Receiver<NodeRequest>, local: LocalStores, applier: Applier) {
    while let Some(request) = mailbox.recv().await {
        if let Some(NodeRequest::Change(command, proposer, reply)) = local.serve(request) {
            let answer = applier.apply(*command, proposer);
            assert!(reply.send(Ok(answer)).is_ok(), "the proposer waits");
        }
    }
}
