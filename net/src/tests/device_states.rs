//! What is noted of the devices of a real node in the simulated world: their states, since when, and that both outlive restarts.

use std::cell::OnceCell;
use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use strata_engine::Uuid;
use strata_engine::reactor::{self, Simulation, TaskClass};
use strata_raftlog::namespace::{DeviceCondition, DeviceErrors, DeviceState};

use super::devices::change;
use super::whole::{CODED, COPIES, METADATA, Machine, machine, start};
use super::world::{content, make_bucket, put, run};
use crate::cluster::Cluster;
use crate::error::ClusterError;
use crate::node::devices::noting::Watched;
use crate::node::devices::states::Finding;
use crate::node::devices::{DeviceChange, DeviceChanged};

/// Two looks, the pause between two commands, and one more look.
const PATIENCE: Duration = Duration::from_secs(25);

thread_local! {
    /// The machine of the test: its reactors take turns on the thread of the test, and what they run cannot hold it.
    static SIMULATION: OnceCell<Simulation> = const { OnceCell::new() };
}

fn with_simulation(act: impl FnOnce(&Simulation)) {
    SIMULATION.with(|simulation| act(simulation.get().expect("it is set")));
}

type Rows = BTreeMap<Uuid, DeviceCondition>;

fn rows(cluster: &Cluster) -> Rows {
    let rows = cluster.read(|view| view.devices()).expect("a view");
    rows.into_iter()
        .map(|row| (Uuid(row.device), row))
        .collect()
}

fn file_of(disk: usize) -> String {
    format!("/disk{disk}/strata.device")
}

fn uuid_of(cluster: &Cluster, disk: usize) -> Uuid {
    let known = cluster.parts().status.devices();
    let device = known.iter().find(|device| device.name == file_of(disk));
    device.expect("it is open").uuid
}

/// Waits until a state is noted of so many devices, and gives all rows.
async fn until(cluster: &Cluster, state: DeviceState, devices: usize) -> Rows {
    let end = reactor::now() + PATIENCE;
    loop {
        let rows = rows(cluster);
        if rows.values().filter(|row| row.state == state).count() == devices {
            return rows;
        }
        assert!(reactor::now() < end, "no {state:?} in time: {rows:?}");
        reactor::sleep(Duration::from_millis(500)).await;
    }
}

/// Runs the node until `work` has ended on its first reactor, and gives what that found.
fn on_the_first<T: Default + Send + 'static>(
    machine: &Machine,
    work: impl AsyncFn(Cluster) -> T + Clone + Send + 'static,
) -> T {
    let found = Arc::new(Mutex::new(T::default()));
    let told = found.clone();
    let serve = async move |cluster: Cluster| {
        if reactor::index() == 0 {
            let found = work(cluster).await;
            *told.lock().expect("no panic") = found;
        }
    };
    start(machine, METADATA, serve).expect("a start");
    std::mem::take(&mut *found.lock().expect("no panic"))
}

/// The rows after longer than it takes to note another state.
fn rows_after_a_while(machine: &Machine) -> Rows {
    on_the_first(machine, async |cluster: Cluster| {
        reactor::sleep(PATIENCE).await;
        rows(&cluster)
    })
}

/// A machine whose node has noted that all devices are healthy, with the rows.
fn healthy_machine(seed: u64, disks: std::ops::Range<usize>) -> (Machine, Rows) {
    let machine = machine(seed, disks.clone());
    let noted = on_the_first(&machine, async move |cluster: Cluster| {
        make_bucket(&cluster).await.expect("a bucket");
        until(&cluster, DeviceState::Healthy, disks.len()).await
    });
    (machine, noted)
}

#[test]
fn a_device_that_stays_healthy_is_so_since_the_first_start() {
    let (machine, noted) = healthy_machine(120, COPIES);
    for row in noted.values() {
        assert!(row.since_nanos > 0 && row.capacity_bytes > 0, "{row:?}");
        assert_eq!((&*row.reason, row.errors), ("", DeviceErrors::default()));
    }
    machine.simulation.power_cut();
    assert_eq!(rows_after_a_while(&machine), noted);
    let told = on_the_first(&machine, async |cluster: Cluster| {
        reactor::sleep(Duration::from_secs(1)).await;
        cluster.parts().status.device_reports()
    });
    for report in told {
        let noted = &noted[&report.uuid];
        assert_eq!(report.since_nanos, Some(noted.since_nanos), "{report:?}");
    }
}

#[test]
fn a_device_is_slow_then_healthy_then_failing() {
    let (machine, before) = healthy_machine(121, CODED);
    SIMULATION.with(|simulation| {
        let is_first = simulation.set(machine.simulation.clone());
        assert!(is_first.is_ok(), "a test has a thread of its own");
    });
    let faulty = async move |cluster: Cluster| {
        let (uuid, file) = (uuid_of(&cluster, 5), PathBuf::from(file_of(5)));
        let stores = |key: &'static str| {
            let cluster = cluster.clone();
            reactor::spawn(TaskClass::Foreground, async move {
                // Whether it is stored, and how, is for other tests.
                let _ = put(&cluster, key, &content(1, 400_000)).await;
            })
        };
        with_simulation(|simulation| simulation.hang(&file));
        let first = stores("first");
        let slow = until(&cluster, DeviceState::Slow, 1).await;
        assert_eq!(slow[&uuid].state, DeviceState::Slow);
        assert!(slow[&uuid].reason.contains("10 s"), "{slow:?}");
        with_simulation(|simulation| simulation.answer(&file));
        let healthy = until(&cluster, DeviceState::Healthy, CODED.len()).await;
        assert!(healthy[&uuid].since_nanos > slow[&uuid].since_nanos);
        with_simulation(|simulation| simulation.hang(&file));
        let second = stores("second");
        // It counts as slow before.
        reactor::sleep(Duration::from_secs(25)).await;
        let failing = until(&cluster, DeviceState::Failing, 1).await;
        assert!(failing[&uuid].since_nanos > healthy[&uuid].since_nanos);
        assert_eq!(failing[&uuid].errors.writes, 1, "{failing:?}");
        assert!(!failing[&uuid].reason.is_empty());
        drop((first, second));
        failing
    };
    let failing = on_the_first(&machine, faulty);
    let sick = failing
        .values()
        .find(|row| row.state == DeviceState::Failing);
    let sick = Uuid(sick.expect("one").device);
    for (uuid, row) in failing.iter().filter(|(uuid, _)| **uuid != sick) {
        assert_eq!(row, &before[uuid], "nothing is noted of the others");
    }
    // It answers again.
    machine.simulation.clear_faults();
    let after = rows_after_a_while(&machine);
    assert_eq!(after[&sick].state, DeviceState::Healthy);
    assert!(after[&sick].since_nanos > failing[&sick].since_nanos);
    assert_eq!(after[&sick].errors.writes, 1, "what was is counted");
}

#[test]
fn a_device_is_gone_and_back_or_replaced() {
    const LOST: usize = 5;
    const NEW: usize = 6;
    let (mut machine, healthy) = healthy_machine(122, CODED);
    machine.disks.retain(|disk| *disk != LOST);
    let gone = on_the_first(&machine, async |cluster: Cluster| {
        until(&cluster, DeviceState::Gone, 1).await
    });
    let is_gone = |row: &&DeviceCondition| row.state == DeviceState::Gone;
    let lost = gone.values().find(is_gone).expect("one").clone();
    let uuid = Uuid(lost.device);
    assert_eq!(lost.capacity_bytes, healthy[&uuid].capacity_bytes);
    assert!(lost.since_nanos > healthy[&uuid].since_nanos);
    assert_eq!(rows_after_a_while(&machine)[&uuid], lost, "as it was");
    machine.disks.push(LOST);
    let back = rows_after_a_while(&machine);
    assert_eq!(back[&uuid].state, DeviceState::Healthy);
    assert!(back[&uuid].since_nanos > lost.since_nanos);
    machine.disks.retain(|disk| *disk != LOST);
    let replaced = async move |cluster: Cluster| {
        let gone = until(&cluster, DeviceState::Gone, 1).await;
        let replace = DeviceChange::Replace {
            lost: uuid.to_string(),
            place: format!("/disk{NEW}").into(),
            force_format: false,
        };
        change(&cluster, replace).await.expect("replaced");
        until(&cluster, DeviceState::Healthy, CODED.len()).await;
        reactor::sleep(PATIENCE).await;
        assert_eq!(rows(&cluster)[&uuid], gone[&uuid], "it stays");
        let reports = cluster.parts().status.device_reports();
        let former = reports.iter().filter(|report| report.is_former);
        let former: Vec<Uuid> = former.map(|report| report.uuid).collect();
        assert_eq!((former, reports.len()), (vec![uuid], 7));
        let member = reports.iter().find(|report| !report.is_former);
        let member = member.expect("a member").uuid;
        let refusal = forget(&cluster, member).await.unwrap_err();
        assert!(refusal.contains("has slots"), "{refusal}");
        forget(&cluster, uuid).await.expect("forgotten");
        assert_eq!(cluster.parts().status.device_reports().len(), 6);
        let refusal = forget(&cluster, uuid).await.unwrap_err();
        assert!(refusal.contains("no device"), "{refusal}");
        reactor::sleep(PATIENCE).await;
        assert!(!rows(&cluster).contains_key(&uuid), "it stays forgotten");
    };
    on_the_first(&machine, replaced);
    machine.disks.push(NEW);
    assert!(!rows_after_a_while(&machine).contains_key(&uuid));
}

async fn forget(cluster: &Cluster, device: Uuid) -> Result<DeviceChanged, String> {
    let device = device.to_string();
    change(cluster, DeviceChange::Forget { device }).await
}

#[test]
fn a_full_device_is_so_since_before_the_restart() {
    let (machine, _) = healthy_machine(123, COPIES);
    let fills = async |cluster: Cluster| {
        let body = content(1, 4 << 20);
        for number in 0.. {
            match put(&cluster, &format!("k{number}"), &body).await {
                Ok(_) => {}
                Err(ClusterError::Full(_)) => break,
                Err(error) => panic!("{error}"),
            }
        }
        until(&cluster, DeviceState::Full, COPIES.len()).await
    };
    let full = on_the_first(&machine, fills);
    for row in full.values() {
        assert!(row.reason.contains("no room"), "{row:?}");
    }
    assert_eq!(rows_after_a_while(&machine), full);
}

#[test]
fn what_is_found_once_is_not_noted_and_what_comes_often_seldom() {
    run(&Simulation::new(124), 1, async || {
        let found = |state| Finding {
            device: Uuid([7; 16]),
            state,
            reason: String::new(),
            capacity_bytes: Some(9),
            errors: DeviceErrors::default(),
        };
        let (healthy, slow) = (found(DeviceState::Healthy), found(DeviceState::Slow));
        let five_seconds = || reactor::sleep(Duration::from_secs(5));
        let mut watched = Watched::new(None);
        assert_eq!(watched.due(&healthy, None), None, "found once");
        five_seconds().await;
        let row = watched.due(&healthy, None).expect("found twice");
        assert_eq!((row.state, row.capacity_bytes), (DeviceState::Healthy, 9));
        for _ in 0..10 {
            five_seconds().await;
            assert_eq!(watched.due(&slow, Some(&row)), None, "found once");
            five_seconds().await;
            assert_eq!(watched.due(&healthy, Some(&row)), None);
        }
        let mut noted = row;
        let mut commands = 0;
        for round in 0..40 {
            five_seconds().await;
            let finding = if round % 4 < 2 { &slow } else { &healthy };
            if let Some(row) = watched.due(finding, Some(&noted)) {
                (noted, commands) = (row, commands + 1);
            }
        }
        assert_eq!(commands, 20, "one in ten seconds");
        let counted = Finding {
            errors: DeviceErrors {
                reads: 1,
                ..DeviceErrors::default()
            },
            ..found(noted.state)
        };
        let mut waited = 0;
        let again = loop {
            five_seconds().await;
            waited += 5;
            if let Some(row) = watched.due(&counted, Some(&noted)) {
                break row;
            }
        };
        assert!((295..=305).contains(&waited), "{waited} s");
        assert_eq!(again.since_nanos, noted.since_nanos, "the state stays");
        assert_eq!(again.errors.reads, 1);
        let mut next_start = Watched::new(Some(&again));
        assert_eq!(next_start.due(&counted, Some(&again)), None);
        five_seconds().await;
        let other = found(DeviceState::Full);
        next_start.due(&other, Some(&again));
        let full = next_start.due(&other, Some(&again)).expect("found twice");
        assert_eq!(full.errors.reads, 1, "what was before is counted too");
        assert!(full.since_nanos > again.since_nanos);
    });
}
