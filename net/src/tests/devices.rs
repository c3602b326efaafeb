//! Devices of a real node are replaced, added and drained in the simulated world, and the node ends at any operation meanwhile.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{self, TryRecvError};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use strata_engine::Uuid;
use strata_engine::reactor::{self, ReactorError};

use super::whole::{Acknowledged, CODED, METADATA, Machine, body, check, machine, start, stores};
use super::world::put;
use crate::cluster::Cluster;
use crate::message::NodeRequest;
use crate::node::NodeError;
use crate::node::devices::{DeviceChange, DeviceChanged};
use crate::node::repair::Survey;

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

fn new_place() -> PathBuf {
    PathBuf::from(format!("/disk{NEW}"))
}

/// Asks for the replacement of whichever device is missing, if one is, and waits for the answer.
async fn replace(cluster: &Cluster) -> Option<Result<DeviceChanged, String>> {
    replace_by(cluster, new_place()).await
}

async fn replace_by(cluster: &Cluster, place: PathBuf) -> Option<Result<DeviceChanged, String>> {
    let missing = cluster.parts().status.report().missing_devices;
    let lost = missing.first()?.clone();
    Some(
        change(
            cluster,
            DeviceChange::Replace {
                lost,
                place,
                force_format: false,
            },
        )
        .await,
    )
}

/// Has a change made.
pub async fn change(cluster: &Cluster, change: DeviceChange) -> Result<DeviceChanged, String> {
    let (reply, answer) = mpsc::channel();
    let asked = NodeRequest::ChangeDevices(change, reply);
    assert!(cluster.parts().metadata_core().send(asked).await.is_ok());
    loop {
        match answer.try_recv() {
            Ok(answer) => return answer,
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
    replace_by_and_repair(cluster, new_place()).await;
}

async fn replace_by_and_repair(cluster: Cluster, place: PathBuf) {
    if reactor::index() == 0 {
        if let Some(replaced) = replace_by(&cluster, place).await {
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

/// Adds the new disk, unless that was done before, and stores more, while shards are moved and after that. Every device then has some.
async fn add_and_store(cluster: Cluster, acknowledged: Acknowledged) {
    let place = new_place();
    match change(
        &cluster,
        DeviceChange::Add {
            place,
            force_format: false,
        },
    )
    .await
    {
        Ok(added) => assert!(added.groups > 0, "{added:?}"),
        Err(why) => assert!(why.contains("already"), "{why}"),
    }
    let store = async |prefix: &str| {
        for number in 0..40 {
            let key = format!("{prefix}/{number}");
            put(&cluster, &key, &body(&key)).await.expect("stored");
            acknowledged.lock().expect("no panic").insert(key);
        }
    };
    store("meanwhile").await;
    while has_moves(&cluster) {
        reactor::sleep(Duration::from_millis(200)).await;
    }
    // What has been moved is freed where it was.
    reactor::sleep(Duration::from_secs(5)).await;
    store("more").await;
    let shards = shards(&cluster);
    let have_some = shards.values().filter(|shards| **shards > 0).count();
    assert_eq!(have_some, 7, "{shards:?}");
}

/// How many shards each device has.
fn shards(cluster: &Cluster) -> BTreeMap<Uuid, u64> {
    let mut shards = BTreeMap::new();
    for (place, partition) in cluster.parts().partitions.iter() {
        let of_it = partition.statistics.shards.load(Ordering::Relaxed);
        *shards.entry(place.device).or_default() += of_it;
    }
    shards
}

fn adds(acknowledged: &Acknowledged) -> impl AsyncFn(Cluster) + Clone + Send + 'static {
    let (acknowledged, has_ended) = (acknowledged.clone(), Arc::new(AtomicBool::new(false)));
    async move |cluster| {
        if reactor::index() == 0 {
            add_and_store(cluster, acknowledged.clone()).await;
            has_ended.store(true, Ordering::Release);
        }
        while !has_ended.load(Ordering::Acquire) {
            reactor::sleep(Duration::from_millis(200)).await;
        }
    }
}

/// Waits for a while on every reactor.
fn waits(seconds: u64) -> impl AsyncFn(Cluster) + Clone + Send + 'static {
    async move |_| reactor::sleep(Duration::from_secs(seconds)).await
}

/// How many shards each device has of a node that has stopped.
fn shards_at_last(machine: &Machine) -> BTreeMap<Uuid, u64> {
    let found = Arc::new(Mutex::new(BTreeMap::new()));
    let told = found.clone();
    let tells = async move |cluster: Cluster| {
        *told.lock().expect("no panic") = shards(&cluster);
    };
    start(machine, METADATA, tells).expect("a start");
    let found = found.lock().expect("no panic");
    found.clone()
}

#[test]
fn an_added_disk_gets_its_part_of_what_is_stored_and_of_what_comes() {
    let (mut machine, acknowledged) = (machine(92, CODED), Acknowledged::default());
    start(&machine, METADATA, stores(&acknowledged)).expect("a start");
    let found = Arc::new(Mutex::new((0, 0, BTreeMap::new())));
    let (tell, names) = (found.clone(), acknowledged.clone());
    let adds = async move |cluster: Cluster| {
        for number in 0..20 {
            let key = format!("long/{}/{number}", reactor::index());
            put(&cluster, &key, &body(&key)).await.expect("stored");
            names.lock().expect("no panic").insert(key);
        }
        // What was deleted before is freed.
        reactor::sleep(Duration::from_secs(60)).await;
        let before = shards(&cluster).values().sum::<u64>();
        if reactor::index() == 0 {
            let (place, force_format) = (new_place(), false);
            let add = DeviceChange::Add {
                place,
                force_format,
            };
            change(&cluster, add).await.expect("added");
            assert!(has_moves(&cluster));
            let said = change(&cluster, DeviceChange::Rebalance).await;
            let said = said.expect_err("nothing is left to plan");
            assert!(said.contains("are still being moved"), "{said}");
        }
        reactor::sleep(Duration::from_secs(90)).await;
        assert!(!has_moves(&cluster));
        if reactor::index() == 0 {
            let said = change(&cluster, DeviceChange::Rebalance).await;
            let said = said.expect_err("all has been moved");
            assert!(said.contains("nothing is to be moved"), "{said}");
            let (count, _) = cluster.parts().redundancy.moved();
            *tell.lock().expect("no panic") = (before, count, shards(&cluster));
        }
        // The others answer until then.
        reactor::sleep(Duration::from_secs(5)).await;
    };
    start(&machine, METADATA, adds).expect("a start");
    let (before, moved, shards) = found.lock().expect("no panic").clone();
    assert_eq!(
        shards.values().sum::<u64>(),
        before,
        "what was moved is freed"
    );
    let (least, most) = (shards.values().min(), shards.values().max());
    let (least, most) = (*least.expect("some"), *most.expect("some"));
    assert!(shards.len() == 7 && least * 2 > most, "{shards:?}");
    assert!(moved >= least && moved <= before / 5, "{moved} of {before}");
    machine.disks.push(NEW);
    check_without(machine, [3, NEW], &acknowledged);
}

/// A node that was stopped when shards had just begun to move to an added disk.
fn machine_that_moves(seed: u64) -> (Machine, Acknowledged) {
    let (mut machine, acknowledged) = (machine(seed, CODED), Acknowledged::default());
    start(&machine, METADATA, stores(&acknowledged)).expect("a start");
    let names = acknowledged.clone();
    let ended = Arc::new(AtomicBool::new(false));
    let adds = async move |cluster: Cluster| {
        for number in 0..30 {
            let key = format!("long/{}/{number}", reactor::index());
            put(&cluster, &key, &body(&key)).await.expect("stored");
            names.lock().expect("no panic").insert(key);
        }
        if reactor::index() == 0 {
            reactor::sleep(Duration::from_secs(20)).await;
            let (place, force_format) = (new_place(), false);
            let add = DeviceChange::Add {
                place,
                force_format,
            };
            change(&cluster, add).await.expect("added");
            assert!(has_moves(&cluster));
            ended.store(true, Ordering::Release);
        }
        while !ended.load(Ordering::Acquire) {
            reactor::sleep(Duration::from_millis(10)).await;
        }
    };
    start(&machine, METADATA, adds).expect("a start");
    machine.disks.push(NEW);
    (machine, acknowledged)
}

#[test]
fn what_cannot_be_moved_from_a_disk_that_is_away_is_read_there_when_it_is_back() {
    let (mut machine, acknowledged) = machine_that_moves(192);
    let all = machine.disks.clone();
    machine.disks.retain(|disk| ![3, 4, 5].contains(disk));
    start(&machine, METADATA, waits(120)).expect("a start");
    // One comes back, and two are lost for good.
    machine.disks = all;
    check_without(machine, [4, 5], &acknowledged);
}

#[test]
fn slots_of_a_disk_that_is_lost_while_shards_move_to_it_go_back() {
    let (mut machine, acknowledged) = machine_that_moves(193);
    machine.disks.retain(|disk| *disk != NEW);
    let drains = async move |cluster: Cluster| {
        if reactor::index() == 0 {
            let missing = cluster.parts().status.report().missing_devices;
            let device = missing[0].clone();
            let drained = change(&cluster, DeviceChange::Drain { device }).await;
            drained.expect("its slots go back, and those of its own groups to others");
        }
        reactor::sleep(Duration::from_secs(120)).await;
        assert!(!has_moves(&cluster));
        let found = surveyed(&cluster).await;
        assert_eq!((found.below_target, found.unreadable), (0, 0), "{found:?}");
        reactor::sleep(Duration::from_secs(2)).await;
    };
    start(&machine, METADATA, drains).expect("a start");
    check_without(machine, [4, 5], &acknowledged);
}

/// Flips a bit in every data shard of long bodies that a disk holds; how many those are.
fn damage_bodies(machine: &Machine, disk: usize, acknowledged: &Acknowledged) -> usize {
    let path = PathBuf::from(format!("/disk{disk}/strata.device"));
    let content = machine.simulation.content(&path).expect("a device");
    let names = acknowledged.lock().expect("no panic").clone();
    let mut damaged = 0;
    for key in names.iter().filter(|key| key.starts_with("long/")) {
        let body = body(key);
        for start in (0..body.len()).step_by(40_960) {
            let sought = &body[start..start + 64];
            let found = content
                .windows(64)
                .step_by(4096)
                .position(|window| window == sought);
            if let Some(block) = found {
                let flipped = machine
                    .simulation
                    .flip_bit(&path, block as u64 * 4096 + 9, 3);
                flipped.expect("a device");
                damaged += 1;
            }
        }
    }
    damaged
}

#[test]
fn a_damaged_shard_is_computed_where_it_goes() {
    let moved = |is_damaged: bool| {
        let (machine, acknowledged) = machine_that_moves(194);
        if is_damaged {
            let damaged = damage_bodies(&machine, 0, &acknowledged);
            assert!(damaged > 0, "bytes of bodies are found on the disk");
        }
        let ends = async move |cluster: Cluster| {
            reactor::sleep(Duration::from_secs(120)).await;
            assert!(!has_moves(&cluster));
            reactor::sleep(Duration::from_secs(2)).await;
        };
        start(&machine, METADATA, ends).expect("a start");
        check(&machine, METADATA, &acknowledged);
        shards_at_last(&machine)
    };
    assert_eq!(moved(true), moved(false));
}

#[test]
fn what_a_crash_leaves_of_moved_shards_where_they_were_is_freed_later() {
    const PARTS: u64 = 20;
    let stored = || {
        let (machine, acknowledged) = (machine(101, CODED), Acknowledged::default());
        start(&machine, METADATA, stores(&acknowledged)).expect("a start");
        (machine, acknowledged)
    };
    let counted = |machine: &Machine| machine.simulation.counters().operations;
    let total = |machine: &Machine| shards_at_last(machine).values().sum::<u64>();
    let adds = async move |cluster: Cluster| {
        if reactor::index() == 0 {
            let (place, force_format) = (new_place(), false);
            let add = DeviceChange::Add {
                place,
                force_format,
            };
            change(&cluster, add).await.expect("added");
        }
        reactor::sleep(Duration::from_secs(80)).await;
    };
    let (before, after, soon, expected) = {
        let (mut machine, _) = stored();
        let before = counted(&machine);
        start(&machine, METADATA, adds).expect("a start");
        let after = counted(&machine);
        machine.disks.push(NEW);
        let soon = total(&machine);
        // What no name refers to at the end is freed too.
        start(&machine, METADATA, waits(3 * 3600)).expect("a start");
        (before, after, soon, total(&machine))
    };
    let mut has_left_some = false;
    // Near the end all has been moved.
    for part in (1..PARTS).rev() {
        let (mut machine, acknowledged) = stored();
        machine
            .simulation
            .crash_after(before + (after - before) * part / PARTS);
        assert!(start(&machine, METADATA, adds).is_err(), "{part}");
        machine.disks.push(NEW);
        let is_member = Arc::new(AtomicBool::new(true));
        let tell = is_member.clone();
        let looks = async move |cluster: Cluster| {
            let is_there = cluster.parts().status.member_devices().len() == 7;
            tell.store(is_there && !has_moves(&cluster), Ordering::Relaxed);
        };
        if start(&machine, METADATA, looks).is_err() || !is_member.load(Ordering::Relaxed) {
            continue;
        }
        if total(&machine) > soon {
            // The epochs in which it was stored are closed after an hour, and two walks must agree.
            start(&machine, METADATA, waits(3 * 3600)).expect("a start");
            assert_eq!(total(&machine), expected, "{part} {soon}");
            check_without(machine, [3, NEW], &acknowledged);
            has_left_some = true;
            break;
        }
    }
    assert!(
        has_left_some,
        "a crash between the last move and the last freed shard"
    );
}

#[test]
fn an_addition_that_ends_at_any_operation_is_made_by_asking_again() {
    const PARTS: u64 = 8;
    let stored = || {
        let (machine, acknowledged) = (machine(93, CODED), Acknowledged::default());
        start(&machine, METADATA, stores(&acknowledged)).expect("a start");
        (machine, acknowledged)
    };
    let counted = |machine: &Machine| machine.simulation.counters().operations;
    let (before, after) = {
        let (machine, acknowledged) = stored();
        let before = counted(&machine);
        start(&machine, METADATA, adds(&acknowledged)).expect("a start");
        (before, counted(&machine))
    };
    for part in 1..PARTS {
        let (mut machine, acknowledged) = stored();
        let operation = before + (after - before) * part / PARTS;
        machine.simulation.crash_after(operation);
        let ended = start(&machine, METADATA, adds(&acknowledged));
        assert!(ended.is_err(), "{part}: {ended:?}");
        if part % 2 == 0 {
            machine.simulation.power_cut();
        }
        // Until the addition has left its mark the new place is none of the node's, and is refused where it is listed.
        let is_member = start(&machine, METADATA, async |_: Cluster| {}).expect("a start");
        if !is_member.report().missing_devices.is_empty() {
            machine.disks.push(NEW);
        }
        start(&machine, METADATA, adds(&acknowledged)).expect("a start");
        if !machine.disks.contains(&NEW) {
            machine.disks.push(NEW);
        }
        check_without(machine, [0, 4], &acknowledged);
    }
}

#[test]
fn a_mirror_of_the_log_is_replaced_again_and_again_and_an_old_one_is_not_taken_back() {
    let (mut machine, acknowledged) = machine_with_a_new_disk(94);
    let mirrors = |machine: &Machine| {
        let status = start(machine, METADATA, async |_: Cluster| {}).expect("a start");
        status.group().expect("a group").mirrors()
    };
    assert_eq!(mirrors(&machine), 2, "the lost disk had a copy of the log");
    start(&machine, METADATA, replace_and_repair).expect("a start");
    assert_eq!(mirrors(&machine), 3);
    let replaces = |disk: usize| {
        async move |cluster: Cluster| {
            if reactor::index() != 0 {
                return;
            }
            let place = PathBuf::from(format!("/disk{disk}"));
            let replaced = replace_by(&cluster, place).await;
            let replaced = replaced.expect("a device is missing");
            if disk == LOST {
                let why = replaced.expect_err("it holds what it held");
                assert!(why.contains("shards of before"), "{why}");
            } else {
                replaced.expect("replaced");
            }
        }
    };
    machine.disks.retain(|disk| *disk != NEW);
    start(&machine, METADATA, replaces(LOST)).expect("a start");
    start(&machine, METADATA, replaces(NEW + 1)).expect("a start");
    machine.disks.push(NEW + 1);
    assert_eq!(mirrors(&machine), 3, "of the third disk in this place");
    start(&machine, METADATA, replace_and_repair).expect("a start");
    check_without(machine, [0, 1], &acknowledged);
}

/// Has a disk drained, unless it has been, and waits until it is needed no more.
async fn drain_and_wait(cluster: Cluster, disk: usize) {
    let status = cluster.parts().status.clone();
    if reactor::index() == 0 {
        let name = format!("/disk{disk}/strata.device");
        let known = status.devices();
        let device = known.iter().find(|device| device.name == name);
        let device = device.expect("it is open").uuid;
        if status.member_devices().contains(&device) {
            let drain = DeviceChange::Drain { device: name };
            let drained = change(&cluster, drain).await.expect("drained");
            assert!(
                drained.groups > 0 && drained.device == Some(device),
                "{drained:?}"
            );
        }
    }
    while status.member_devices().len() > 6 || has_moves(&cluster) {
        reactor::sleep(Duration::from_millis(200)).await;
    }
    let found = surveyed(&cluster).await;
    assert_eq!((found.below_target, found.unreadable), (0, 0), "{found:?}");
    // The others may not have seen it yet.
    reactor::sleep(Duration::from_secs(2)).await;
}

/// Whether shards are still being moved, as the rows of the groups say.
pub fn has_moves(cluster: &Cluster) -> bool {
    let groups = cluster
        .read(|view| view.placement_groups())
        .expect("a view");
    groups.iter().any(|group| !group.previous.is_empty())
}

fn drains(disk: usize) -> impl AsyncFn(Cluster) + Clone + Send + 'static {
    async move |cluster| drain_and_wait(cluster, disk).await
}

/// A machine of seven disks, one of which was added, with objects from before and after.
fn machine_of_seven(seed: u64) -> (Machine, Acknowledged) {
    let (mut machine, acknowledged) = (machine(seed, CODED), Acknowledged::default());
    start(&machine, METADATA, stores(&acknowledged)).expect("a start");
    start(&machine, METADATA, adds(&acknowledged)).expect("a start");
    machine.disks.push(NEW);
    (machine, acknowledged)
}

#[test]
fn a_drained_disk_is_needed_no_more() {
    let (mut machine, acknowledged) = machine_of_seven(95);
    start(&machine, METADATA, drains(1)).expect("a start");
    // It is there, but what is drained next does not go there.
    let refuses = async |cluster: Cluster| {
        if reactor::index() == 0 {
            for (disk, why) in [(1, "has no slots"), (2, "has every disk in it already")] {
                let device = format!("/disk{disk}/strata.device");
                let refused = change(&cluster, DeviceChange::Drain { device }).await;
                let said = refused.expect_err("refused");
                assert!(said.contains(why), "{disk}: {said}");
            }
        }
    };
    start(&machine, METADATA, refuses).expect("a start");
    machine.disks.retain(|disk| *disk != 1);
    let status = start(&machine, METADATA, async |_: Cluster| {}).expect("a start");
    assert_eq!(status.report().missing_devices, [""; 0]);
    assert_eq!(
        status.group().expect("a group").mirrors(),
        3,
        "the added one has a copy of the log now"
    );
    check_without(machine, [0, 2], &acknowledged);
}

#[test]
fn the_log_keeps_its_mirrors_when_devices_are_added_replaced_and_drained() {
    let (mut machine, acknowledged) = machine_of_seven(103);
    machine.disks.retain(|disk| *disk != LOST);
    // The added one stands in for the lost mirror, and then goes itself.
    let replaces = async |cluster: Cluster| {
        replace_by_and_repair(cluster, PathBuf::from(format!("/disk{}", NEW + 1))).await;
    };
    start(&machine, METADATA, replaces).expect("a start");
    machine.disks.push(NEW + 1);
    start(&machine, METADATA, drains(NEW)).expect("a start");
    machine.disks.retain(|disk| *disk != NEW);
    let status = start(&machine, METADATA, waits(1)).expect("a start");
    assert_eq!(status.group().expect("a group").mirrors(), 3);
    check_without(machine, [0, 1], &acknowledged);
}

#[test]
fn a_drain_that_ends_at_any_operation_goes_on_by_itself() {
    const PARTS: u64 = 10;
    let counted = |machine: &Machine| machine.simulation.counters().operations;
    let (before, after) = {
        let (machine, _) = machine_of_seven(96);
        let before = counted(&machine);
        start(&machine, METADATA, drains(4)).expect("a start");
        (before, counted(&machine))
    };
    for part in 1..PARTS {
        let (mut machine, acknowledged) = machine_of_seven(96);
        let operation = before + (after - before) * part / PARTS;
        machine.simulation.crash_after(operation);
        let ended = start(&machine, METADATA, drains(4));
        assert!(ended.is_err(), "{part}: {ended:?}");
        if part % 2 == 0 {
            machine.simulation.power_cut();
        }
        start(&machine, METADATA, drains(4)).expect("a start");
        machine.disks.retain(|disk| *disk != 4);
        check_without(machine, [3, 5], &acknowledged);
    }
}

/// Asks for a scrub and waits until it has ended.
async fn ask_for_scrub(cluster: Cluster) {
    // Every reactor has read what it noted.
    reactor::sleep(Duration::from_secs(1)).await;
    if reactor::index() == 0 {
        cluster.parts().redundancy.ask_scrub();
    }
    while cluster.parts().redundancy.scrubbed().is_none() {
        reactor::sleep(Duration::from_millis(100)).await;
    }
    // The others may not have seen it yet.
    reactor::sleep(Duration::from_secs(2)).await;
}

/// Time for a scrub to go on and end, without anybody asking for one.
async fn wait(_: Cluster) {
    reactor::sleep(Duration::from_secs(20)).await;
}

/// What a reactor has noted of its scrub, or is about to note (`suffix`).
fn notes(machine: &Machine, reactor: usize, suffix: &str) -> String {
    let path = PathBuf::from(format!("{METADATA}/scrub-{reactor}{suffix}"));
    let noted = machine.simulation.content(&path);
    String::from_utf8(noted.unwrap_or_default()).expect("text")
}

fn is_under_way(notes: &str) -> bool {
    notes.contains("at.inode")
}

#[test]
fn a_scrub_that_a_kill_cuts_off_goes_on_and_what_it_found_is_known_later() {
    const PARTS: u64 = 12;
    let filled = || {
        let (machine, acknowledged) = (machine(98, CODED), Acknowledged::default());
        start(&machine, METADATA, stores(&acknowledged)).expect("a start");
        machine
    };
    let operations = |machine: &Machine| machine.simulation.counters().operations;
    let whole = filled();
    let before = operations(&whole);
    start(&whole, METADATA, ask_for_scrub).expect("a start");
    // The scrub is among the last operations.
    let last = operations(&whole);
    let first = last - (last - before) / 8;
    let (mut cut_off, mut ended) = (0, 0);
    for part in 1..PARTS {
        let machine = filled();
        let operation = first + (last - first) * part / PARTS;
        machine.simulation.crash_after(operation);
        let stopped = start(&machine, METADATA, ask_for_scrub);
        let has_crashed = matches!(stopped, Err(NodeError::Reactor(ReactorError::Crashed)));
        assert!(has_crashed, "{part}: {stopped:?}");
        let of_one = |reactor| {
            let of = |suffix| notes(&machine, reactor, suffix);
            (of(""), of(".new"))
        };
        let cut: Vec<(String, String)> = (0..3).map(of_one).collect();
        start(&machine, METADATA, wait).expect("a start");
        for (reactor, (cut, unfinished)) in cut.iter().enumerate() {
            let after = notes(&machine, reactor, "");
            assert!(!is_under_way(&after), "{part}: {after}");
            let has_ended = after.contains("last.ended");
            if is_under_way(cut) {
                assert!(has_ended, "{part}: it goes on: {cut} {after}");
                cut_off += 1;
            } else if !is_under_way(unfinished) {
                // What is being renamed when the crash comes may get its name or not.
                assert_eq!(&after, cut, "{part}: nobody asked for more");
                ended += usize::from(has_ended);
            }
        }
    }
    assert!(cut_off > 3 && ended > 3, "{cut_off} cut off, {ended} ended");
}

#[test]
fn what_a_scrub_found_is_told_after_a_start() {
    let (machine, acknowledged) = (machine(99, CODED), Acknowledged::default());
    start(&machine, METADATA, stores(&acknowledged)).expect("a start");
    start(&machine, METADATA, ask_for_scrub).expect("a start");
    let tells = async |cluster: Cluster| {
        reactor::sleep(Duration::from_secs(2)).await;
        let found = cluster.parts().redundancy.scrubbed();
        let found = found.expect("the last one is known").survey;
        assert!(found.chunks > 0 && found.verified_bytes > 0, "{found:?}");
    };
    start(&machine, METADATA, tells).expect("a start");
}
