//! Disks that are there and do not work: the other copies serve, and alone they are refused with the reason.

use crate::{get, put};
use std::fs::File;
use std::os::unix::fs::FileExt;
use std::path::Path;
use strata_tests::content::body;
use strata_tests::http::Request;
use strata_tests::server::{Server, ServerOptions};

/// A stopped server that holds an object in chunks.
async fn stored(data_dirs: usize) -> Server {
    let mut server = Server::start(ServerOptions {
        data_dirs,
        capacity: "768MiB".into(),
        ..ServerOptions::default()
    });
    let client = server.client();
    let made = client.create_bucket().bucket("sick").send().await;
    made.expect("a bucket");
    put(&client, "sick", "k", &body(1, 1 << 20)).await;
    assert!(server.stop().success());
    server
}

fn device_in(place: &Path) -> File {
    let opened = File::options()
        .read(true)
        .write(true)
        .open(place.join("strata.device"));
    opened.expect("a device")
}

/// Flips a bit of the block at an offset.
fn damage_block(place: &Path, offset: u64) {
    let device = device_in(place);
    let (mut byte, offset) = ([0], offset + 100);
    device.read_exact_at(&mut byte, offset).expect("a read");
    byte[0] ^= 8;
    device.write_all_at(&byte, offset).expect("a flipped bit");
}

const SUPERBLOCKS: [u64; 2] = [0, 64 << 10];

/// Where an anchor of a partition lies; partition 0 is the log's.
fn anchor(partition: u64, slot: u64) -> u64 {
    (128 << 10) + partition * (8 << 10) + slot * (4 << 10)
}

/// Where the header of the first data segment lies that was ever used, by what the superblock says of segments.
fn used_data_segment(place: &Path) -> u64 {
    let device = device_in(place);
    let mut superblock = [0; 4096];
    device.read_exact_at(&mut superblock, 0).expect("a read");
    let segment_bytes = u64::from_le_bytes(superblock[96..104].try_into().expect("8 bytes"));
    let log_segments = u32::from_le_bytes(superblock[136..140].try_into().expect("4 bytes"));
    let first = u64::from(log_segments);
    let mut headers = (first..).map(|number| (1 << 20) + number * segment_bytes);
    let is_used = |offset: &u64| {
        let mut header = [0; 4096];
        device.read_exact_at(&mut header, *offset).expect("a read");
        header.iter().any(|byte| *byte != 0)
    };
    headers.find(is_used).expect("a segment in use")
}

/// What the server shows at a path of its metrics address.
fn shown(server: &Server, path: &str) -> String {
    let answer = Request::new("GET", path).send(server.metrics());
    answer.expect("an answer").text()
}

/// The values of a family that are not 0.
fn counted(server: &Server, family: &str) -> Vec<String> {
    let metrics = shown(server, "/metrics");
    let rows = metrics.lines().filter(|line| line.starts_with(family));
    let values = rows.filter_map(|line| line.rsplit(' ').next());
    let counted = values.filter(|value| *value != "0" && *value != "0.0");
    counted.map(str::to_owned).collect()
}

/// How often a line of the log at `warn` names a device and an offset on it.
fn warnings_of(server: &Server, place: &Path, offset: u64) -> usize {
    let (device, offset) = (place.display().to_string(), format!(" at {offset}"));
    let is_it =
        |line: &&str| line.contains("\"WARN\"") && line.contains(&device) && line.contains(&offset);
    server.log().lines().filter(is_it).count()
}

#[tokio::test]
async fn a_device_without_a_whole_superblock_counts_as_missing() {
    let mut server = stored(3).await;
    let sick = server.data_dirs().remove(1);
    for offset in SUPERBLOCKS {
        damage_block(&sick, offset);
    }
    server.restart();
    let said = server.log();
    assert!(said.contains("DEGRADED"), "{said}");
    let why = format!("{} does not work", sick.display());
    assert!(said.contains(&why), "{said}");
    let client = server.client();
    assert!(get(&client, "sick", "k").await == body(1, 1 << 20));
    put(&client, "sick", "small", &body(2, 100)).await;
}

#[tokio::test]
async fn the_only_device_is_refused_with_what_is_wrong_with_it() {
    let mut server = stored(1).await;
    let sick = server.data_dirs().remove(0);
    for offset in SUPERBLOCKS {
        damage_block(&sick, offset);
    }
    assert!(server.try_restart().is_err(), "this start is refused");
    let said = server.log();
    for word in ["does not work", "superblock", "nothing was formatted"] {
        assert!(said.contains(word), "{word:?} is not in: {said}");
    }
}

#[tokio::test]
async fn a_device_that_the_system_cannot_open_counts_as_missing() {
    let mut server = stored(3).await;
    let sick = server.data_dirs().remove(2);
    let device = sick.join("strata.device");
    // An error that is none of permission, and needs neither root nor a broken disk: a link that leads to itself.
    std::fs::rename(&device, sick.join("away")).expect("moved away");
    std::os::unix::fs::symlink(&device, &device).expect("a link");
    server.restart();
    let said = server.log();
    let why = format!("{} does not work", sick.display());
    assert!(said.contains(&why), "{said}");
    assert!(get(&server.client(), "sick", "k").await == body(1, 1 << 20));
}

#[tokio::test]
async fn one_damaged_copy_of_a_structure_is_said_and_counted_once_and_mended() {
    let mut server = stored(3).await;
    let places = server.data_dirs();
    let damage = [(0, SUPERBLOCKS[1]), (1, anchor(1, 0)), (2, anchor(0, 1))];
    for (at, offset) in damage {
        damage_block(&places[at], offset);
    }
    server.restart();
    for (at, offset) in damage {
        let said = warnings_of(&server, &places[at], offset);
        assert_eq!(said, 1, "of {offset}: {}", server.log());
    }
    let of_devices = counted(&server, "strata_device_corruptions_total");
    assert_eq!(of_devices, ["1.0", "1.0"], "superblock and log");
    let of_data = counted(&server, "strata_data_corruptions_total");
    assert_eq!(of_data, ["1.0"]);
    // The other copy counted, and each was written anew: nothing is missing.
    assert_eq!(shown(&server, "/readyz"), "ready\n");
    assert!(get(&server.client(), "sick", "k").await == body(1, 1 << 20));
    assert!(server.stop().success());
    server.restart();
    for family in [
        "strata_device_corruptions_total",
        "strata_data_corruptions_total",
    ] {
        assert_eq!(counted(&server, family), Vec::<String>::new());
    }
}

#[tokio::test]
async fn damage_that_takes_redundancy_is_shown_where_monitoring_looks() {
    let mut server = stored(3).await;
    let places = server.data_dirs();
    for slot in 0..2 {
        damage_block(&places[0], anchor(1, slot));
    }
    let header = used_data_segment(&places[1]);
    damage_block(&places[1], header);
    server.restart();
    let said = warnings_of(&server, &places[1], header);
    assert_eq!(said, 1, "{}", server.log());
    let body_of_readyz = shown(&server, "/readyz");
    assert!(body_of_readyz.starts_with("degraded\n"));
    for (place, word) in [
        (&places[0], "is out of service"),
        (&places[1], "damaged places"),
    ] {
        let path = place.display().to_string();
        let mut lines = body_of_readyz.lines();
        let is_it = |line: &str| line.contains(&path) && line.contains(word);
        assert!(lines.any(is_it), "{word}: {body_of_readyz}");
    }
    let metrics = shown(&server, "/metrics");
    for kind in ["partition_lost", "damage"] {
        let row = format!("strata_degradations{{kind=\"{kind}\",severity=\"warning\"}} 1");
        assert!(metrics.contains(&row), "{row}");
    }
    assert!(!counted(&server, "strata_data_corruptions_total").is_empty());
    assert!(get(&server.client(), "sick", "k").await == body(1, 1 << 20));
}
