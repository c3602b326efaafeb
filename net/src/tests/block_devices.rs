//! A real node on block devices in the simulated world: what it has acknowledged outlives its end, and what others have on a disk
//! outlives its start.

use std::path::{Path, PathBuf};

use strata_engine::reactor;

use super::devices::change;
use super::whole::{
    Acknowledged, COPIES, CORES, End, METADATA, Machine, OBJECTS, check, end_and_check,
    machine_of_block_devices, operations_of, start, stores,
};
use crate::cluster::Cluster;
use crate::node::NodeError;
use crate::node::devices::DeviceChange;

/// What ext4 is known by, and where.
const EXT4: (u64, &[u8]) = (0x438, &[0x53, 0xef]);

fn put_on(machine: &Machine, disk: &str, (offset, bytes): (u64, &[u8])) {
    let path = Path::new(disk);
    let written = machine.simulation.overwrite(path, offset, bytes);
    written.expect("it is there");
}

fn content(machine: &Machine, disk: &str) -> Vec<u8> {
    machine.simulation.content(Path::new(disk)).expect("there")
}

fn refused(machine: &Machine) -> String {
    match start(machine, METADATA, async |_: Cluster| {}) {
        Err(NodeError::Devices(why)) => why,
        other => panic!("{other:?}"),
    }
}

#[test]
fn what_was_acknowledged_on_block_devices_survives_the_end_at_any_operation() {
    const PARTS: u64 = 12;
    let machine = |seed| machine_of_block_devices(seed, COPIES);
    for (seed, end) in (31..).zip([End::PowerCut, End::Killed, End::PowerCutAndLoss]) {
        let (operations, _) = operations_of(&machine(seed));
        // Most of them are the start.
        let parts = (0..PARTS).map(|part| operations * (4 * PARTS + part) / (5 * PARTS));
        let ended: Vec<usize> = parts
            .map(|operation| end_and_check(machine(seed), operation, end, &[]).0)
            .collect();
        let partly = ended
            .iter()
            .filter(|count| (1..CORES * OBJECTS).contains(count));
        assert!(partly.count() > 3, "{end:?}: {ended:?}");
    }
}

#[test]
fn a_disk_that_holds_something_is_formatted_only_when_it_is_named() {
    let mut machine = machine_of_block_devices(35, COPIES);
    put_on(&machine, "/disk1", EXT4);
    let before = content(&machine, "/disk1");
    let why = refused(&machine);
    assert!(
        why.contains("/disk1 is not empty") && why.contains("ext4"),
        "{why}"
    );
    assert!(content(&machine, "/disk1") == before, "nothing was written");
    let untouched = content(&machine, "/disk0");
    assert!(untouched.iter().all(|byte| *byte == 0), "nor elsewhere");

    // Another one is named.
    machine.force_format = vec![PathBuf::from("/disk0")];
    assert!(refused(&machine).contains("/disk1 is not empty"));
    machine.force_format = vec![PathBuf::from("/disk1")];
    let acknowledged = Acknowledged::default();
    start(&machine, METADATA, stores(&acknowledged)).expect("a start");
    let after = content(&machine, "/disk1");
    assert_eq!(after[0x438..0x43a], [0, 0], "the mark is gone");
    // The flag that was left on formats nothing any more.
    check(&machine, METADATA, &acknowledged);
}

#[test]
fn a_device_that_has_shrunk_is_refused_by_name() {
    let machine = machine_of_block_devices(36, COPIES);
    let acknowledged = Acknowledged::default();
    start(&machine, METADATA, stores(&acknowledged)).expect("a start");
    let path = Path::new("/disk2");
    let bytes = content(&machine, "/disk2").len() as u64;
    let resize = |bytes| machine.simulation.set_block_device(path, bytes, 4096);
    resize(bytes - 4096).expect("there");
    let why = refused(&machine);
    assert!(
        why.contains("/disk2") && why.contains("has shrunk"),
        "{why}"
    );
    resize(bytes).expect("there");
    check(&machine, METADATA, &acknowledged);
    // One that was unplugged is a missing device.
    resize(0).expect("there");
    let status = start(&machine, METADATA, async |_: Cluster| {}).expect("a start");
    assert_eq!(status.report().missing_devices.len(), 1);
}

/// Adds a block device, which holds something.
async fn add(cluster: Cluster) {
    if reactor::index() != 0 {
        return;
    }
    let ask = |force_format| {
        let place = PathBuf::from("/disk3");
        let added = DeviceChange::Add {
            place,
            force_format,
        };
        change(&cluster, added)
    };
    let why = ask(false).await.expect_err("it is not empty");
    assert!(why.contains("/disk3 is not empty"), "{why}");
    let added = ask(true).await.expect("added");
    assert_eq!(added.path, Path::new("/disk3"));
    assert!(added.groups > 0, "{added:?}");
    let again = ask(true).await.expect_err("it has its groups");
    assert!(
        again.contains("has its slots in placement groups already"),
        "{again}"
    );
}

#[test]
fn a_block_device_is_added_while_the_node_serves() {
    let mut machine = machine_of_block_devices(37, COPIES);
    put_on(&machine, "/disk3", EXT4);
    let acknowledged = Acknowledged::default();
    start(&machine, METADATA, stores(&acknowledged)).expect("a start");
    start(&machine, METADATA, add).expect("a start");
    machine.disks.push(3);
    check(&machine, METADATA, &acknowledged);
}
