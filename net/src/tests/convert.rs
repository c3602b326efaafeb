//! What a real node has written while devices were away is written again as its layout says when they are back, in the simulated world,
//! and the node ends at any operation meanwhile.

use std::time::Duration;

use strata_engine::reactor::{self, ReactorError};

use super::whole::{Acknowledged, CODED, METADATA, Machine, body, check, machine, start, stores};
use super::world::{extents, object, put};
use crate::cluster::Cluster;
use crate::node::NodeError;
use crate::node::repair::Survey;

/// Objects that are stored while devices are away.
const OBJECTS: usize = 8;

/// 4+2, and two copies.
const LAID_OUT: u16 = 0x0402;
const TWO_COPIES: u16 = 2;

fn key(number: usize) -> String {
    format!("long/{number}")
}

fn geometries(cluster: &Cluster) -> Vec<u16> {
    let of = |number| {
        let object = object(cluster, &key(number)).expect("an object");
        extents(cluster, &object)
    };
    let extents = (0..OBJECTS).flat_map(of);
    extents.map(|extent| extent.geometry).collect()
}

async fn store_weakly(cluster: Cluster, acknowledged: Acknowledged) {
    if reactor::index() != 0 {
        return;
    }
    for number in 0..OBJECTS {
        let key = key(number);
        put(&cluster, &key, &body(&key)).await.expect("stored");
        acknowledged.lock().expect("no panic").insert(key);
    }
    assert!(geometries(&cluster).iter().all(|of| *of == TWO_COPIES));
}

/// Waits until nothing is left that is not as the layout says, and says what was found.
async fn convert(cluster: Cluster) {
    let found = loop {
        let surveyed = cluster.parts().redundancy.surveyed();
        match surveyed {
            Some(found) if found.survey.unconverted == 0 => break found.survey,
            Some(_) => cluster.parts().redundancy.ask_survey(),
            None => {}
        }
        reactor::sleep(Duration::from_millis(500)).await;
    };
    let Survey {
        below_target,
        written_weaker,
        written_otherwise,
        ..
    } = found;
    assert_eq!((below_target, written_weaker, written_otherwise), (0, 0, 0));
    assert!(geometries(&cluster).iter().all(|of| *of == LAID_OUT));
    // The others may not have seen it yet.
    reactor::sleep(Duration::from_secs(2)).await;
}

/// A machine of which four disks were away while objects were stored on the others.
fn machine_with_weak_chunks(seed: u64) -> (Machine, Acknowledged) {
    let (mut machine, acknowledged) = (machine(seed, CODED), Acknowledged::default());
    start(&machine, METADATA, stores(&acknowledged)).expect("a start");
    machine.disks.truncate(2);
    let stored = acknowledged.clone();
    let stores = async move |cluster| store_weakly(cluster, stored.clone()).await;
    start(&machine, METADATA, stores).expect("a start");
    machine.disks = CODED.collect();
    (machine, acknowledged)
}

/// Every object is there without the two disks that alone held some of them.
fn check_without_the_two(mut machine: Machine, acknowledged: &Acknowledged) {
    machine.disks.retain(|disk| *disk >= 2);
    check(&machine, METADATA, acknowledged);
}

#[test]
fn what_was_written_weaker_is_written_as_laid_out_when_devices_are_back() {
    let (machine, acknowledged) = machine_with_weak_chunks(100);
    start(&machine, METADATA, convert).expect("a start");
    check_without_the_two(machine, &acknowledged);
}

#[test]
fn a_conversion_that_ends_at_any_operation_goes_on_by_itself() {
    const PARTS: u64 = 10;
    let seed = 101;
    let operations = |machine: &Machine| machine.simulation.counters().operations;
    let (whole, _) = machine_with_weak_chunks(seed);
    let before = operations(&whole);
    start(&whole, METADATA, convert).expect("a start");
    let all = operations(&whole);
    for part in 1..PARTS {
        let (machine, acknowledged) = machine_with_weak_chunks(seed);
        let at = before + (all - before) * part / PARTS;
        machine.simulation.crash_after(at);
        let ended = start(&machine, METADATA, convert);
        let has_crashed = matches!(ended, Err(NodeError::Reactor(ReactorError::Crashed)));
        assert!(has_crashed, "{part}: {ended:?}");
        if part % 2 == 0 {
            machine.simulation.power_cut();
        }
        start(&machine, METADATA, convert).expect("a start");
        check_without_the_two(machine, &acknowledged);
    }
}
