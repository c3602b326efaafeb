//! The real node, all its reactors, in the simulated world: from empty disks to objects that outlive a power cut.
//!
//! The metadata directory is one of the machine, so a power cut leaves LMDB's file torn, and the checkpoint has to put it right.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
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

/// Disks of a node that keeps copies, and of one that keeps coded chunks.
pub const COPIES: std::ops::Range<usize> = 0..3;
pub const CODED: std::ops::Range<usize> = 0..6;
pub const CORES: usize = 3;
/// Objects that each reactor stores.
pub const OBJECTS: usize = 3;
/// Between two objects of a reactor: long enough for checkpoints of the metadata.
const PAUSE: Duration = Duration::from_secs(4);

/// Where the metadata lies, and a place where nothing lies yet.
pub const METADATA: &str = "/metadata";
const OTHER_METADATA: &str = "/other";

/// A machine, and the disks of it that a node is told of.
pub struct Machine {
    pub simulation: Simulation,
    pub disks: Vec<usize>,
    /// What `--force-format` names.
    pub force_format: Vec<PathBuf>,
}

/// A machine with empty, mounted disks.
pub fn machine(seed: u64, disks: std::ops::Range<usize>) -> Machine {
    // Two more, for devices that take the place of others.
    let directories = paths(&(0..CODED.end + 2).collect::<Vec<_>>());
    machine_with(Simulation::new(seed), directories, disks)
}

/// A machine whose disks are block devices, but for two that are directories, and hold nothing.
pub fn machine_of_block_devices(seed: u64, disks: std::ops::Range<usize>) -> Machine {
    let simulation = Simulation::new(seed);
    let bytes = node::format::CAPACITY_BYTES_MIN + (1 << 20);
    for path in paths(&CODED.collect::<Vec<_>>()) {
        let made = simulation.set_block_device(&path, bytes, 4096);
        made.expect("the root directory");
    }
    let others = paths(&[CODED.end, CODED.end + 1]);
    machine_with(simulation, others, disks)
}

/// A machine with directories for disks and for metadata, of which a node is told of some disks.
fn machine_with(
    simulation: Simulation,
    mut directories: Vec<PathBuf>,
    disks: std::ops::Range<usize>,
) -> Machine {
    directories.extend([METADATA, OTHER_METADATA].map(PathBuf::from));
    run(&simulation, 2, async || {
        for directory in &directories {
            fs::create_dir_all(directory).await.expect("a directory");
        }
        fs::sync_directory(Path::new("/")).await.expect("synced");
    });
    Machine {
        simulation,
        disks: disks.collect(),
        force_format: Vec::new(),
    }
}

fn paths(disks: &[usize]) -> Vec<PathBuf> {
    let paths = disks.iter();
    paths
        .map(|disk| PathBuf::from(format!("/disk{disk}")))
        .collect()
}

fn config(machine: &Machine, metadata_dir: &str) -> NodeConfig {
    let disks = &machine.disks;
    NodeConfig {
        node_id: 1,
        data_dirs: paths(disks),
        force_format: machine.force_format.clone(),
        discard: true,
        metadata_dir: PathBuf::from(metadata_dir),
        cores: (0..CORES).collect(),
        assume_separate_failure_domains: true,
        scheme: None,
        degraded_writes: DegradedWrites::Safe,
        pack_after: Duration::from_secs(2),
        capacity_bytes: Some(disks.len() as u64 * node::format::CAPACITY_BYTES_MIN),
        arena_bytes: 16 << 20,
        cache_bytes: 1 << 20,
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

/// Bodies that are too long to ride in a command. But for the first and those that say so they are short enough to be packed where chunks are coded.
pub fn body(key: &str) -> bytes::Bytes {
    let is_long = key == "first" || key.starts_with("long/");
    let bytes = if is_long { 150_000 } else { 100_000 };
    content(u64::from(seed_of(key)), bytes)
}

fn seed_of(key: &str) -> u32 {
    key.bytes().fold(7, |sum: u32, byte| {
        sum.wrapping_mul(31).wrapping_add(u32::from(byte))
    })
}

/// The keys whose bodies a node has acknowledged.
pub type Acknowledged = Arc<Mutex<BTreeSet<String>>>;

/// Runs a node on the machine until `serve` has ended on every reactor.
pub fn start(
    machine: &Machine,
    metadata_dir: &str,
    serve: impl AsyncFn(Cluster) + Clone + Send + 'static,
) -> Result<Arc<NodeStatus>, NodeError> {
    let status = Arc::new(NodeStatus::default());
    let says = status.clone();
    let has_panicked = Arc::new(AtomicBool::new(false));
    let noted = has_panicked.clone();
    let front_end = move |connected: Result<Cluster, ClusterError>| {
        let (serve, says) = (serve.clone(), says.clone());
        let panics = NotesPanic(noted.clone());
        Box::pin(async move {
            let _panics = panics;
            let cluster = connected.expect("a cluster client");
            says.enter(Phase::Ready);
            serve(cluster).await;
        }) as Serving
    };
    let world = World::Simulated(machine.simulation.clone());
    let config = config(machine, metadata_dir);
    let ran = node::run(world, config, status.clone(), front_end);
    assert!(
        !has_panicked.load(Ordering::Acquire),
        "what served has panicked: {ran:?}"
    );
    ran.map(|()| status)
}

/// Notes a panic of what serves, so that the test fails also where it expects that the node ends with an error.
struct NotesPanic(Arc<AtomicBool>);

impl Drop for NotesPanic {
    fn drop(&mut self) {
        if std::thread::panicking() {
            self.0.store(true, Ordering::Release);
        }
    }
}

#[test]
#[should_panic(expected = "what served has panicked: Err(Ended(")]
fn a_front_end_that_panics_ends_the_node_with_an_error_and_fails_a_test() {
    let panics = async |_: Cluster| match reactor::index() {
        2 => panic!("as an assertion does"),
        _ => std::future::pending::<()>().await,
    };
    let served = start(&machine(70, COPIES), METADATA, panics);
    served.expect("a start");
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
        reactor::sleep(PAUSE).await;
    }
    for (other, number) in (0..CORES).flat_map(|other| (0..OBJECTS).map(move |at| (other, at))) {
        let key = key(other, number);
        wait_for(&cluster, &key).await;
        assert!(get(&cluster, &key).await.expect("read") == body(&key));
    }
}

async fn wait_for(cluster: &Cluster, key: &str) {
    while object(cluster, key).is_none() {
        reactor::sleep(Duration::from_millis(5)).await;
    }
}

/// Reads what was acknowledged, on every reactor; whether the namespace was rebuilt from snapshot and log.
pub fn check(machine: &Machine, metadata_dir: &str, acknowledged: &Acknowledged) -> bool {
    let keys = acknowledged.lock().expect("no panic").clone();
    let reads = async move |cluster: Cluster| {
        for key in &keys {
            assert!(object(&cluster, key).is_some(), "{key} is gone");
            assert!(get(&cluster, key).await.expect("read") == body(key));
        }
    };
    let status = start(machine, metadata_dir, reads).expect("a start");
    let report = status.report();
    assert!(!report.first_start);
    report.namespace_rebuilt.is_some()
}

pub fn stores(acknowledged: &Acknowledged) -> impl AsyncFn(Cluster) + Clone + Send + 'static {
    let acknowledged = acknowledged.clone();
    async move |cluster| store_and_read(cluster, acknowledged.clone()).await
}

#[test]
fn a_whole_node_starts_stores_stops_and_starts_again() {
    let whole = |seed| {
        let (machine, acknowledged) = (machine(seed, COPIES), Acknowledged::default());
        let status = start(&machine, METADATA, stores(&acknowledged)).expect("a start");
        assert!(status.report().first_start && status.phase() == Phase::Stopping);
        let stored = acknowledged.lock().expect("no panic").len();
        assert_eq!(stored, CORES * OBJECTS);
        assert!(!check(&machine, METADATA, &acknowledged));
        assert!(check(&machine, OTHER_METADATA, &acknowledged));
        machine.simulation.trace_hash()
    };
    let first = whole(1);
    assert_eq!(first, whole(1), "the seed decides everything");
    assert_ne!(first, whole(2));
}

/// What ends the process in the middle, and what its next start finds.
#[derive(Clone, Copy, Debug)]
pub enum End {
    /// Everything that was written is as it was.
    Killed,
    /// What was not flushed is lost or torn, of LMDB's file too.
    PowerCut,
    /// The same, and the metadata directory is empty.
    PowerCutAndLoss,
}

/// Ends a node when its disks are asked for the operation, then starts it again without some of its disks: how many acknowledged
/// objects it then had, and whether it had to rebuild its namespace. Before the first of them nothing is asked of the next start.
pub fn end_and_check(
    mut machine: Machine,
    operation: u64,
    end: End,
    lost: &[usize],
) -> (usize, bool) {
    let acknowledged = Acknowledged::default();
    machine.simulation.crash_after(operation);
    let ended = start(&machine, METADATA, stores(&acknowledged));
    assert!(
        matches!(ended, Err(NodeError::Reactor(ReactorError::Crashed))),
        "operation {operation}: {ended:?}"
    );
    let metadata = match end {
        End::Killed => METADATA,
        End::PowerCut => {
            machine.simulation.power_cut();
            METADATA
        }
        End::PowerCutAndLoss => {
            machine.simulation.power_cut();
            OTHER_METADATA
        }
    };
    machine.disks.retain(|disk| !lost.contains(disk));
    let stored = acknowledged.lock().expect("no panic").len();
    let rebuilt = stored > 0 && check(&machine, metadata, &acknowledged);
    (stored, rebuilt)
}

/// How many operations a node asks of its disks while it stores everything, and how many bodies it packs meanwhile.
pub fn operations_of(machine: &Machine) -> (u64, u64) {
    let serve = stores(&Acknowledged::default());
    let status = start(machine, METADATA, serve).expect("a start");
    let packed = status.packing().extents.load(Ordering::Relaxed);
    (machine.simulation.counters().operations, packed)
}

#[test]
fn what_a_coded_node_has_acknowledged_survives_its_end_and_the_loss_of_two_disks() {
    const PARTS: u64 = 14;
    let (operations, packed) = operations_of(&machine(7, CODED));
    assert!(packed > 3, "{packed} bodies are packed");
    let ends = [End::PowerCut, End::Killed, End::PowerCutAndLoss];
    let ended = (1..PARTS).zip(ends.into_iter().cycle()).map(|(part, end)| {
        let lost = [part as usize % 6, (part as usize * 5 + 3) % 6];
        // The first half of them is the start.
        let operation = (operations + operations * part / PARTS) / 2;
        end_and_check(machine(7, CODED), operation, end, &lost).0
    });
    let ended: Vec<usize> = ended.collect();
    let partly = ended
        .iter()
        .filter(|count| (1..CORES * OBJECTS).contains(count));
    assert!(partly.count() > 3, "{ended:?}");
}

#[test]
fn what_a_node_has_acknowledged_survives_its_end_at_any_operation() {
    const PARTS: u64 = 24;
    let (mut restored, mut rebuilt) = (0, 0);
    let ends = [End::PowerCut, End::Killed, End::PowerCutAndLoss];
    for (seed, end) in (3..).zip(ends) {
        let (operations, _) = operations_of(&machine(seed, COPIES));
        let parts = (1..PARTS).map(|part| operations * part / PARTS);
        let ended: Vec<(usize, bool)> = parts
            .map(|operation| end_and_check(machine(seed, COPIES), operation, end, &[]))
            .collect();
        let partly = ended
            .iter()
            .filter(|(count, _)| (1..CORES * OBJECTS).contains(count));
        assert!(partly.count() > 3, "{end:?}: {ended:?}");
        let with_objects = ended.iter().copied().filter(|(stored, _)| *stored > 0);
        let (found, made): (Vec<_>, Vec<_>) = with_objects.partition(|(_, rebuilt)| !rebuilt);
        // A checkpoint is durable before the first object is stored.
        let lost = matches!(end, End::PowerCutAndLoss);
        assert!(
            if lost {
                found.is_empty()
            } else {
                made.is_empty()
            },
            "{end:?}: {ended:?}"
        );
        restored += found.len();
        rebuilt += made.len();
    }
    assert!(restored > 10 && rebuilt > 5, "{restored} and {rebuilt}");
}

#[test]
fn a_first_start_that_was_interrupted_says_what_to_do() {
    let idle = async |_: Cluster| {};
    let counted = |machine: &Machine| machine.simulation.counters().operations;
    let (before, after) = {
        let machine = machine(5, COPIES);
        let before = counted(&machine);
        start(&machine, METADATA, idle).expect("a start");
        (before, counted(&machine))
    };
    let (mut half_formatted, mut good) = (0, 0);
    for operation in (before + 1..after).step_by(7) {
        let machine = machine(5, COPIES);
        machine.simulation.crash_after(operation);
        let ended = start(&machine, METADATA, idle);
        assert!(ended.is_err(), "operation {operation}");
        match start(&machine, METADATA, idle) {
            Ok(_) => good += 1,
            Err(NodeError::Devices(why)) => {
                assert!(
                    why.contains("first start was interrupted"),
                    "{operation}: {why}"
                );
                half_formatted += 1;
            }
            Err(other) => panic!("operation {operation}: {other}"),
        }
    }
    assert!(
        half_formatted > 0 && good > 0,
        "{half_formatted} and {good}"
    );
}
