//! What a real node has written while devices were away, or under another layout, is written again as its layout says, in the simulated
//! world, and the node ends at any operation meanwhile.

use std::time::Duration;

use strata_engine::reactor::{self, ReactorError};

use super::devices::change;
use super::whole::{Acknowledged, CODED, METADATA, Machine, body, check, machine, start, stores};
use super::world::{extents, object, put};
use crate::cluster::Cluster;
use crate::node::NodeError;
use crate::node::devices::DeviceChange;
use crate::scheme::Scheme;

/// Objects that are stored while devices are away.
const OBJECTS: usize = 8;

const TWO_COPIES: Scheme = Scheme::copies(2);

fn four_and_two() -> Scheme {
    Scheme::new(4, 2).expect("a scheme")
}

fn key(number: usize) -> String {
    format!("long/{number}")
}

/// Whether every long body lies in chunks of a scheme.
fn all_are(scheme: Scheme, cluster: &Cluster) -> bool {
    let of = |number| {
        let object = object(cluster, &key(number)).expect("an object");
        extents(cluster, &object)
    };
    let mut extents = (0..OBJECTS).flat_map(of);
    extents.all(|extent| extent.geometry == scheme.geometry().number)
}

async fn store(cluster: Cluster, acknowledged: Acknowledged, scheme: Scheme) {
    if reactor::index() != 0 {
        return;
    }
    for number in 0..OBJECTS {
        let key = key(number);
        put(&cluster, &key, &body(&key)).await.expect("stored");
        acknowledged.lock().expect("no panic").insert(key);
    }
    assert!(all_are(scheme, &cluster));
}

/// Waits until nothing is left that is not as the layout says, and says what was found.
async fn convert(cluster: Cluster, scheme: Scheme) {
    let found = loop {
        let surveyed = cluster.parts().redundancy.surveyed();
        match surveyed {
            Some(found) if found.survey.written_otherwise == 0 => break found.survey,
            // Packs move when packing has its turn.
            Some(_) => cluster.parts().redundancy.ask_survey(),
            None => {}
        }
        reactor::sleep(Duration::from_millis(500)).await;
    };
    assert_eq!((found.below_target, found.written_weaker), (0, 0));
    assert!(all_are(scheme, &cluster));
    assert_eq!(cluster.parts().status.degradations(), []);
    // The others may not have seen it yet.
    reactor::sleep(Duration::from_secs(2)).await;
}

fn converts(scheme: Scheme) -> impl AsyncFn(Cluster) + Clone + Send + 'static {
    async move |cluster| convert(cluster, scheme).await
}

/// A machine of which four disks were away while objects were stored on the others.
fn machine_with_weak_chunks(seed: u64) -> (Machine, Acknowledged) {
    let (mut machine, acknowledged) = (machine(seed, CODED), Acknowledged::default());
    start(&machine, METADATA, stores(&acknowledged)).expect("a start");
    machine.disks.truncate(2);
    let stored = acknowledged.clone();
    let stores = async move |cluster| store(cluster, stored.clone(), TWO_COPIES).await;
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
    start(&machine, METADATA, converts(four_and_two())).expect("a start");
    check_without_the_two(machine, &acknowledged);
}

/// Ends a node at any operation of what it does on a machine, then has it done again, and checks what is there.
fn end_and_do_again(
    seed: u64,
    machine: impl Fn(u64) -> (Machine, Acknowledged),
    work: impl AsyncFn(Cluster) + Clone + Send + 'static,
    check: impl Fn(Machine, &Acknowledged),
) {
    const PARTS: u64 = 10;
    let operations = |machine: &Machine| machine.simulation.counters().operations;
    let (whole, _) = machine(seed);
    let before = operations(&whole);
    start(&whole, METADATA, work.clone()).expect("a start");
    let all = operations(&whole);
    for part in 1..PARTS {
        let (machine, acknowledged) = machine(seed);
        let at = before + (all - before) * part / PARTS;
        machine.simulation.crash_after(at);
        let ended = start(&machine, METADATA, work.clone());
        let has_crashed = matches!(ended, Err(NodeError::Reactor(ReactorError::Crashed)));
        assert!(has_crashed, "{part}: {ended:?}");
        if part % 2 == 0 {
            machine.simulation.power_cut();
        }
        start(&machine, METADATA, work.clone()).expect("a start");
        check(machine, &acknowledged);
    }
}

#[test]
fn a_conversion_that_ends_at_any_operation_goes_on_by_itself() {
    let work = converts(four_and_two());
    end_and_do_again(101, machine_with_weak_chunks, work, check_without_the_two);
}

/// A machine on which everything is stored as the first layout says.
fn machine_with_chunks(seed: u64) -> (Machine, Acknowledged) {
    let (machine, acknowledged) = (machine(seed, CODED), Acknowledged::default());
    start(&machine, METADATA, stores(&acknowledged)).expect("a start");
    let stored = acknowledged.clone();
    let stores = async move |cluster| store(cluster, stored.clone(), four_and_two()).await;
    start(&machine, METADATA, stores).expect("a start");
    (machine, acknowledged)
}

/// Sets the layout, unless that was done, and waits until everything is as it says.
async fn set_and_convert(cluster: Cluster, scheme: Scheme) {
    if reactor::index() == 0 {
        let set = DeviceChange::SetScheme { scheme };
        match change(&cluster, set.clone()).await {
            Ok(changed) => assert_eq!((changed.device, changed.lost), (None, None)),
            Err(why) => assert!(why.ends_with("is the layout already"), "{why}"),
        }
        let again = change(&cluster, set).await;
        assert!(again.is_err(), "{again:?}");
    }
    while cluster.scheme_wanted() != scheme {
        reactor::sleep(Duration::from_millis(100)).await;
    }
    convert(cluster, scheme).await;
}

fn sets(scheme: Scheme) -> impl AsyncFn(Cluster) + Clone + Send + 'static {
    async move |cluster| set_and_convert(cluster, scheme).await
}

/// Every object is there without as many disks as a layout survives.
fn check_without(mut machine: Machine, lost: &[usize], acknowledged: &Acknowledged) {
    machine.disks.retain(|disk| !lost.contains(disk));
    check(&machine, METADATA, acknowledged);
}

#[test]
fn another_layout_is_that_of_new_chunks_and_of_stored_ones() {
    let (machine, acknowledged) = machine_with_chunks(102);
    let schemes = [(2, 1), (1, 2), (3, 2), (4, 2)].map(|(k, m)| Scheme::new(k, m));
    for scheme in schemes {
        let scheme = scheme.expect("a scheme");
        start(&machine, METADATA, sets(scheme)).expect("a start");
        let status = start(&machine, METADATA, async |_| ()).expect("a start");
        assert!(
            status.layout().starts_with(&scheme.to_string()),
            "{}",
            status.layout()
        );
        let disks = machine.disks.clone();
        let simulation = machine.simulation.clone();
        let lost: Vec<usize> = (0..scheme.losses()).map(|at| at * 3).collect();
        let machine = Machine {
            simulation,
            disks,
            force_format: Vec::new(),
        };
        check_without(machine, &lost, &acknowledged);
    }
}

#[test]
fn a_change_of_the_layout_that_ends_at_any_operation_is_made_by_asking_again() {
    let scheme = Scheme::new(3, 1).expect("a scheme");
    let check = |machine, acknowledged: &Acknowledged| check_without(machine, &[4], acknowledged);
    end_and_do_again(103, machine_with_chunks, sets(scheme), check);
}

#[test]
fn a_layout_that_the_node_does_not_carry_is_refused() {
    let (machine, _) = machine_with_chunks(104);
    let refused = async |cluster: Cluster| {
        if reactor::index() != 0 {
            return;
        }
        for (k, m, why) in [
            (5, 2, "needs 7 disks, and the node has 6"),
            (3, 3, "survives the loss of 3 disks"),
            (4, 2, "is the layout already"),
        ] {
            let scheme = Scheme::new(k, m).expect("a scheme");
            let answer = change(&cluster, DeviceChange::SetScheme { scheme }).await;
            let said = answer.expect_err("refused");
            assert!(said.contains(why), "{said}");
        }
        assert_eq!(cluster.scheme_wanted(), four_and_two());
    };
    start(&machine, METADATA, refused).expect("a start");
    let mut machine = machine;
    machine.disks.pop();
    let refused = async |cluster: Cluster| {
        if reactor::index() == 0 {
            let scheme = Scheme::copies(2);
            let answer = change(&cluster, DeviceChange::SetScheme { scheme }).await;
            let said = answer.expect_err("refused");
            assert!(said.starts_with("a device is missing"), "{said}");
        }
    };
    start(&machine, METADATA, refused).expect("a start");
}
