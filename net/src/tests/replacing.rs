//! A lost device of a real node is replaced in the simulated world, and the node ends at any operation meanwhile.

use std::path::PathBuf;
use std::sync::mpsc::{self, TryRecvError};
use std::time::Duration;

use strata_engine::reactor::{self, ReactorError};

use super::whole::{Acknowledged, CODED, METADATA, Machine, check, machine, start, stores};
use crate::cluster::Cluster;
use crate::message::NodeRequest;
use crate::node::NodeError;
use crate::node::repair::Survey;
use crate::node::replace::{Replaced, Replacement};

/// The disk that is lost, and the one that takes its place.
const LOST: usize = 2;
const NEW: usize = 6;

/// A machine on which a node has stored everything and stopped, and one disk is another now.
fn machine_with_a_new_disk(seed: u64) -> (Machine, Acknowledged) {
    let (mut machine, acknowledged) = (machine(seed, CODED), Acknowledged::default());
    start(&machine, METADATA, stores(&acknowledged)).expect("a start");
    let new = machine
        .disks
        .iter()
        .map(|disk| if *disk == LOST { NEW } else { *disk });
    machine.disks = new.collect();
    (machine, acknowledged)
}

/// Asks for the replacement of whichever device is missing, if one is, and waits for the answer.
async fn replace(cluster: &Cluster) -> Option<Result<Replaced, String>> {
    let parts = cluster.parts();
    let lost = parts.status.report().missing_devices.first()?.clone();
    let (reply, answer) = mpsc::channel();
    let place = PathBuf::from(format!("/disk{NEW}"));
    let asked = NodeRequest::Replace(Replacement { lost, place, reply });
    assert!(parts.metadata_core().send(asked).await.is_ok());
    loop {
        match answer.try_recv() {
            Ok(answer) => return Some(answer),
            Err(TryRecvError::Empty) => reactor::sleep(Duration::from_millis(50)).await,
            Err(TryRecvError::Disconnected) => panic!("no answer"),
        }
    }
}

/// Waits until all chunks have been looked over since the last change, and says what was found.
async fn surveyed(cluster: &Cluster) -> Survey {
    loop {
        if let Some(surveyed) = cluster.parts().redundancy.surveyed() {
            return surveyed.survey;
        }
        reactor::sleep(Duration::from_millis(100)).await;
    }
}

/// Replaces what is missing and waits until every chunk has all its shards.
async fn replace_and_repair(cluster: Cluster) {
    if reactor::index() == 0 {
        if let Some(replaced) = replace(&cluster).await {
            let replaced = replaced.expect("replaced");
            assert!(replaced.groups > 0, "{replaced:?}");
        }
        assert_eq!(replace(&cluster).await, None, "nothing is missing");
    }
    while !cluster.parts().status.report().missing_devices.is_empty() {
        reactor::sleep(Duration::from_millis(100)).await;
    }
    let found = surveyed(&cluster).await;
    assert!(found.chunks > 0, "{found:?}");
    assert_eq!((found.below_target, found.unreadable), (0, 0), "{found:?}");
    // The others may not have seen it yet.
    reactor::sleep(Duration::from_secs(2)).await;
}

/// Every object is there without two disks that were there all the time.
fn check_without(mut machine: Machine, lost: [usize; 2], acknowledged: &Acknowledged) {
    machine.disks.retain(|disk| !lost.contains(disk));
    check(&machine, METADATA, acknowledged);
}

#[test]
fn a_new_disk_has_what_the_lost_one_held() {
    let (machine, acknowledged) = machine_with_a_new_disk(90);
    start(&machine, METADATA, replace_and_repair).expect("a start");
    check_without(machine, [0, 5], &acknowledged);
}

#[test]
fn a_replacement_that_ends_at_any_operation_is_made_by_asking_again() {
    const PARTS: u64 = 12;
    let seed = 91;
    let first = |machine: &Machine| machine.simulation.counters().operations;
    let (whole, _) = machine_with_a_new_disk(seed);
    let before = first(&whole);
    start(&whole, METADATA, replace_and_repair).expect("a start");
    let all = first(&whole);
    for part in 1..PARTS {
        let (machine, acknowledged) = machine_with_a_new_disk(seed);
        machine
            .simulation
            .crash_after(before + (all - before) * part / PARTS);
        let ended = start(&machine, METADATA, replace_and_repair);
        let has_crashed = matches!(ended, Err(NodeError::Reactor(ReactorError::Crashed)));
        assert!(has_crashed, "{part}: {ended:?}");
        if part % 2 == 0 {
            machine.simulation.power_cut();
        }
        start(&machine, METADATA, replace_and_repair).expect("a start");
        check_without(machine, [1, 4], &acknowledged);
    }
}
