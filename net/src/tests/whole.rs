//! The real node, all its reactors, in the simulated world: from empty disks to objects that outlive a power cut.
//!
//! LMDB lies in a directory of this machine in either world. It is a cache of the log, so a power cut takes it away here.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use strata_engine::reactor::{self, ReactorError, Simulation, World, fs};
use strata_raftlog::namespace::RootKey;

use super::world::{content, get, make_bucket, object, put, run};
use crate::cluster::Cluster;
use crate::error::ClusterError;
use crate::node::status::{NodeStatus, Phase};
use crate::node::{self, NodeConfig, NodeError, Serving};
use crate::scheme::DegradedWrites;

const DISKS: usize = 3;
const CORES: usize = 3;
/// Objects that each reactor stores.
const OBJECTS: usize = 3;
const CAPACITY_BYTES: u64 = DISKS as u64 * node::format::CAPACITY_BYTES_MIN;

/// A machine with empty, mounted disks.
fn machine(seed: u64) -> Simulation {
    let simulation = Simulation::new(seed);
    run(&simulation, 2, async || {
        for disk in disks() {
            fs::create_dir_all(&disk).await.expect("a directory");
        }
        fs::sync_directory(Path::new("/")).await.expect("synced");
    });
    simulation
}

fn disks() -> Vec<PathBuf> {
    let numbers = 0..DISKS;
    numbers
        .map(|disk| PathBuf::from(format!("/disk{disk}")))
        .collect()
}

fn config(metadata_dir: &Path) -> NodeConfig {
    NodeConfig {
        node_id: 1,
        data_dirs: disks(),
        metadata_dir: metadata_dir.to_owned(),
        cores: (0..CORES).collect(),
        assume_separate_failure_domains: true,
        scheme: None,
        degraded_writes: DegradedWrites::Safe,
        capacity_bytes: Some(CAPACITY_BYTES),
        arena_bytes: 16 << 20,
        metadata_map_bytes: 256 << 20,
        first_root_key: RootKey {
            access_key_id: "root".to_owned(),
            secret_access_key: "secret".to_owned(),
        },
    }
}

fn key(reactor: usize, number: usize) -> String {
    format!("{reactor}/{number}")
}

/// Bodies that are too long to ride in a command.
fn body(key: &str) -> bytes::Bytes {
    content(u64::from(seed_of(key)), 150_000)
}

fn seed_of(key: &str) -> u32 {
    key.bytes().fold(7, |sum: u32, byte| {
        sum.wrapping_mul(31).wrapping_add(u32::from(byte))
    })
}

/// The keys whose bodies a node has acknowledged.
type Acknowledged = Arc<Mutex<BTreeSet<String>>>;

/// Runs a node on the machine until `serve` has ended on every reactor.
fn start(
    simulation: &Simulation,
    metadata_dir: &Path,
    serve: impl AsyncFn(Cluster) + Clone + Send + 'static,
) -> Result<Arc<NodeStatus>, NodeError> {
    let status = Arc::new(NodeStatus::default());
    let says = status.clone();
    let front_end = move |connected: Result<Cluster, ClusterError>| {
        let (serve, says) = (serve.clone(), says.clone());
        Box::pin(async move {
            let cluster = connected.expect("a cluster client");
            says.enter(Phase::Ready);
            serve(cluster).await;
        }) as Serving
    };
    let world = World::Simulated(simulation.clone());
    node::run(world, config(metadata_dir), status.clone(), front_end)?;
    Ok(status)
}

/// Stores objects on every reactor, and reads on each what the others have stored.
async fn store_and_read(cluster: Cluster, acknowledged: Acknowledged) {
    let reactor = reactor::index();
    if reactor == 0 {
        make_bucket(&cluster).await.expect("a bucket");
        put(&cluster, "first", &body("first"))
            .await
            .expect("stored");
    }
    wait_for(&cluster, "first").await;
    for number in 0..OBJECTS {
        let key = key(reactor, number);
        put(&cluster, &key, &body(&key)).await.expect("stored");
        acknowledged.lock().expect("no panic").insert(key);
    }
    for (other, number) in (0..CORES).flat_map(|other| (0..OBJECTS).map(move |at| (other, at))) {
        let key = key(other, number);
        wait_for(&cluster, &key).await;
        assert!(get(&cluster, &key).await.expect("read") == body(&key));
    }
}

async fn wait_for(cluster: &Cluster, key: &str) {
    while object(cluster, key).is_none() {
        reactor::sleep(Duration::from_millis(1)).await;
    }
}

/// Reads what was acknowledged, on every reactor.
fn check(simulation: &Simulation, metadata_dir: &Path, acknowledged: &Acknowledged) {
    let keys = acknowledged.lock().expect("no panic").clone();
    let reads = async move |cluster: Cluster| {
        for key in &keys {
            assert!(object(&cluster, key).is_some(), "{key} is gone");
            assert!(get(&cluster, key).await.expect("read") == body(key));
        }
    };
    let status = start(simulation, metadata_dir, reads).expect("a start");
    assert!(!status.report().first_start);
}

fn stores(acknowledged: &Acknowledged) -> impl AsyncFn(Cluster) + Clone + Send + 'static {
    let acknowledged = acknowledged.clone();
    async move |cluster| store_and_read(cluster, acknowledged.clone()).await
}

#[test]
fn a_whole_node_starts_stores_stops_and_starts_again() {
    let whole = |seed| {
        let (simulation, acknowledged) = (machine(seed), Acknowledged::default());
        let metadata = tempfile::tempdir().expect("a directory");
        let status = start(&simulation, metadata.path(), stores(&acknowledged)).expect("a start");
        assert!(status.report().first_start && status.phase() == Phase::Stopping);
        let stored = acknowledged.lock().expect("no panic").len();
        assert_eq!(stored, CORES * OBJECTS);
        check(&simulation, metadata.path(), &acknowledged);
        let empty = tempfile::tempdir().expect("a directory");
        check(&simulation, empty.path(), &acknowledged);
        simulation.trace_hash()
    };
    let first = whole(1);
    assert_eq!(first, whole(1), "the seed decides everything");
    assert_ne!(first, whole(2));
}

/// What ends the process in the middle, and what its next start finds.
#[derive(Clone, Copy)]
enum End {
    /// The metadata directory and all that was written are as they were.
    Killed,
    /// What was not flushed is lost or torn, and the metadata directory is empty.
    PowerCut,
}

/// Ends a node when its disks are asked for the operation, then starts it again; how many acknowledged objects it then had.
fn end_and_check(seed: u64, operation: u64, end: End) -> usize {
    let (simulation, acknowledged) = (machine(seed), Acknowledged::default());
    let metadata = tempfile::tempdir().expect("a directory");
    simulation.crash_after(operation);
    let ended = start(&simulation, metadata.path(), stores(&acknowledged));
    assert!(
        matches!(ended, Err(NodeError::Reactor(ReactorError::Crashed))),
        "seed {seed}, operation {operation}: {ended:?}"
    );
    let metadata = match end {
        End::Killed => metadata,
        End::PowerCut => {
            simulation.power_cut();
            tempfile::tempdir().expect("a directory")
        }
    };
    let stored = acknowledged.lock().expect("no panic").len();
    if stored > 0 {
        check(&simulation, metadata.path(), &acknowledged);
    }
    stored
}

#[test]
fn what_a_node_has_acknowledged_survives_its_end_at_any_operation() {
    const PARTS: u64 = 24;
    for (seed, end) in [(3, End::PowerCut), (4, End::Killed)] {
        let operations = {
            let simulation = machine(seed);
            let metadata = tempfile::tempdir().expect("a directory");
            let serve = stores(&Acknowledged::default());
            start(&simulation, metadata.path(), serve).expect("a start");
            simulation.counters().operations
        };
        let parts = (1..PARTS).map(|part| operations * part / PARTS);
        let stored: Vec<usize> = parts
            .map(|operation| end_and_check(seed, operation, end))
            .collect();
        let partly = stored
            .iter()
            .filter(|count| (1..CORES * OBJECTS).contains(*count));
        assert!(partly.count() > 3, "{stored:?}");
    }
}
