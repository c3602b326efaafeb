//! Devices that are lost and replaced while the node serves: repair fills the new one, and it survives what the layout promises.

use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use serde_json::Value;
use strata_tests::content::body;
use strata_tests::http::Request;
use strata_tests::server::{Server, ServerOptions};

use crate::{get, put};

/// Bodies in the log, in copies, in one chunk, and in several.
const SIZES: [usize; 5] = [100, 40_000, 200_000, 1 << 20, (3 << 20) + 1];

/// Longer than the wait before the first walk, the walks themselves, and a pause before what could not be done is tried again.
const PATIENCE: Duration = Duration::from_secs(120);

fn six_directories() -> Server {
    Server::start(ServerOptions {
        data_dirs: 6,
        capacity: "3GiB".into(),
        ..ServerOptions::default()
    })
}

async fn fill(server: &Server, prefix: &str) {
    let client = server.client();
    let _ = client.create_bucket().bucket("devices").send().await;
    for round in 0..4 {
        for bytes in SIZES {
            let key = format!("{prefix}/{round}/{bytes}");
            put(&client, "devices", &key, &body(bytes as u64 + round, bytes)).await;
        }
    }
}

async fn assert_there(server: &Server, prefix: &str) {
    let client = server.client();
    for round in 0..4 {
        for bytes in SIZES {
            let key = format!("{prefix}/{round}/{bytes}");
            let content = body(bytes as u64 + round, bytes);
            assert!(get(&client, "devices", &key).await == content, "{key}");
        }
    }
}

/// What a command prints that works.
fn told(server: &Server, arguments: &[&str]) -> String {
    let output = server.run(arguments);
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{arguments:?}: {errors}");
    String::from_utf8(output.stdout).expect("text")
}

/// What a command says that fails.
fn refused(server: &Server, arguments: &[&str]) -> String {
    let output = server.run(arguments);
    assert!(!output.status.success(), "{arguments:?}");
    String::from_utf8(output.stderr).expect("text")
}

fn json(server: &Server, arguments: &[&str]) -> Value {
    serde_json::from_str(&told(server, arguments)).expect("JSON")
}

/// What the survey says when it says anything, and satisfies the condition.
fn survey_when(server: &Server, of: &str, is_due: impl Fn(&Value) -> bool) -> Value {
    let end = Instant::now() + PATIENCE;
    loop {
        let found = json(server, &[of, "status", "--json"]);
        let name = if of == "scrub" { "scrub" } else { "survey" };
        if !found[name].is_null() && is_due(&found[name]) {
            return found[name].clone();
        }
        assert!(Instant::now() < end, "not in time: {found:#}");
        std::thread::sleep(Duration::from_millis(200));
    }
}

/// Waits until no shards are to be moved any more; how many were.
fn until_moved(server: &Server) -> u64 {
    let end = Instant::now() + PATIENCE;
    loop {
        let found = json(server, &["repair", "status", "--json"]);
        let moved = found["moved_shards"].as_u64().expect("a number");
        if found["groups_moving"] == 0 && moved > 0 {
            return moved;
        }
        assert!(Instant::now() < end, "not in time: {found:#}");
        std::thread::sleep(Duration::from_millis(500));
    }
}

fn is_whole(survey: &Value) -> bool {
    survey["chunks"].as_u64() > Some(0) && survey["below_target"] == 0
}

fn take_away(place: &Path) -> PathBuf {
    let away = place.with_extension("away");
    std::fs::rename(place, &away).expect("moved away");
    away
}

fn missing_device(server: &Server) -> String {
    let devices = json(server, &["device", "list", "--json"]);
    let devices = devices.as_array().expect("a list");
    let is_lost = |device: &&Value| device["state"] == "gone" && device["use"] == "member";
    let missing = devices.iter().find(is_lost);
    let uuid = missing.and_then(|device| device["uuid"].as_str());
    uuid.expect("a missing device").to_owned()
}

/// Since when the first device has been healthy, once that has been noted.
fn healthy_since(server: &Server) -> u64 {
    let end = Instant::now() + PATIENCE;
    loop {
        let first = json(server, &["device", "list", "--json"])[0].take();
        if let Some(since) = first["since_unix_seconds"].as_u64() {
            assert_eq!(first["state"], "healthy", "{first:#}");
            return since;
        }
        assert!(Instant::now() < end, "not in time: {first:#}");
        std::thread::sleep(Duration::from_millis(200));
    }
}

fn readyz(server: &Server) -> String {
    let answer = Request::new("GET", "/readyz").send(server.metrics());
    answer.expect("an answer").text()
}

#[tokio::test]
async fn a_lost_disk_is_replaced_while_the_node_serves() {
    let mut server = six_directories();
    fill(&server, "first").await;
    server.kill();
    let places = server.data_dirs();
    take_away(&places[2]);
    // A new disk is mounted in the place of the old one.
    std::fs::create_dir(&places[2]).expect("made");
    server.restart();
    assert_there(&server, "first").await;
    fill(&server, "degraded").await;
    let found = survey_when(&server, "repair", |found| found["below_target"] != 0);
    assert_eq!(
        (&found["repairable"], &found["unreadable"]),
        (&0.into(), &0.into())
    );
    let ready = readyz(&server);
    assert!(ready.contains("chunks lack shards"), "{ready}");

    let lost = missing_device(&server);
    let place = places[2].display().to_string();
    let said = told(&server, &["device", "replace", &lost, &place]);
    assert!(said.contains("Repair fills it"), "{said}");
    let found = survey_when(&server, "repair", is_whole);
    // What was written on five disks, as 3+2, survives as many losses as 4+2.
    assert_eq!(found["written_weaker"], 0, "{found}");
    let ready = readyz(&server);
    assert!(
        !ready.contains("lack shards") && !ready.contains(&lost),
        "{ready}"
    );
    fill(&server, "after").await;

    // Two others are lost: what is read lies on the new one.
    server.kill();
    take_away(&places[0]);
    take_away(&places[5]);
    server.restart();
    for prefix in ["first", "degraded", "after"] {
        assert_there(&server, prefix).await;
    }
}

#[tokio::test]
async fn a_replacement_goes_on_after_a_kill() {
    let mut server = six_directories();
    fill(&server, "first").await;
    server.kill();
    let places = server.data_dirs();
    take_away(&places[4]);
    server.restart();
    let lost = missing_device(&server);
    std::fs::create_dir(&places[4]).expect("made");
    let place = places[4].display().to_string();
    told(&server, &["device", "replace", &lost, &place]);
    // Nothing has been written to it yet: the walk has not come round.
    server.kill();
    server.restart();
    assert_there(&server, "first").await;
    survey_when(&server, "repair", is_whole);
    let said = refused(&server, &["device", "replace", &lost, &place]);
    assert!(said.contains("is no device of this node"), "{said}");
    server.kill();
    take_away(&places[1]);
    take_away(&places[3]);
    server.restart();
    assert_there(&server, "first").await;
}

#[tokio::test]
async fn what_cannot_be_replaced_is_refused_with_the_reason() {
    let mut server = six_directories();
    fill(&server, "first").await;
    let devices = json(&server, &["device", "list", "--json"]);
    let works = devices[0]["uuid"].as_str().expect("a uuid").to_owned();
    let empty = server.folder().join("empty");
    std::fs::create_dir(&empty).expect("made");
    let empty = empty.display().to_string();
    let said = refused(&server, &["device", "replace", &works, &empty]);
    assert!(said.contains("works"), "{said}");
    server.kill();
    let places = server.data_dirs();
    take_away(&places[3]);
    server.restart();
    let lost = missing_device(&server);
    let other = places[0].display().to_string();
    let nothing = places[3].display().to_string();
    let full = server.folder().display().to_string();
    for (arguments, why) in [
        (["device", "replace", "nonsense", &empty], "is no device"),
        (
            ["device", "replace", &lost, &other],
            "is a device of this node already",
        ),
        (["device", "replace", &lost, &nothing], "does not exist"),
        (["device", "replace", &lost, &full], "is not empty"),
    ] {
        let said = refused(&server, &arguments);
        assert!(said.contains(why), "{arguments:?}: {said}");
    }
    assert!(std::fs::read_dir(&empty).expect("there").next().is_none());
    assert_there(&server, "first").await;
}

#[tokio::test]
async fn a_scrub_reads_everything_and_mends_what_is_damaged() {
    let server = six_directories();
    fill(&server, "first").await;
    assert!(told(&server, &["scrub", "status"]).contains("Nothing has been scrubbed"));
    let content = body((1 << 20) + 2, 1 << 20);
    let damaged = damage(&server.data_dirs(), &content[300_000..300_064]);
    assert!(damaged, "the bytes lie on a disk");
    told(&server, &["scrub", "start"]);
    let found = survey_when(&server, "scrub", is_whole);
    assert_eq!(found["mended_shards"], 1, "{found}");
    let stored = SIZES
        .iter()
        .filter(|bytes| **bytes > 16 << 10)
        .sum::<usize>() as u64
        * 4;
    assert!(
        found["verified_bytes"].as_u64() > Some(stored * 3 / 2),
        "{found}"
    );
    assert!(told(&server, &["scrub", "status"]).contains("1 shards written anew"));
    assert_there(&server, "first").await;
}

/// Flips a bit behind these bytes on the first device that has them, past the page cache of the server, which has none.
fn damage(places: &[PathBuf], bytes: &[u8]) -> bool {
    use std::os::unix::fs::FileExt;
    for place in places {
        let path = place.join("strata.device");
        let device = std::fs::read(&path).expect("the device");
        let Some(at) = device
            .windows(bytes.len())
            .position(|window| window == bytes)
        else {
            continue;
        };
        let file = std::fs::OpenOptions::new().write(true).open(&path);
        let file = file.expect("the device");
        let flipped = [device[at] ^ 1];
        file.write_all_at(&flipped, at as u64).expect("written");
        file.sync_all().expect("synced");
        return true;
    }
    false
}

#[tokio::test]
async fn a_disk_is_added_while_the_node_serves() {
    let mut server = six_directories();
    fill(&server, "first").await;
    server.options_mut().data_dirs = 7;
    let place = server.data_dirs().remove(6);
    std::fs::create_dir(&place).expect("made");
    let place = place.display().to_string();
    let said = told(&server, &["device", "add", &place]);
    let advice = format!("list {place} in storage.data_dir");
    assert!(
        said.contains("has slots in") && said.contains(&advice),
        "{said}"
    );
    let said = refused(&server, &["device", "add", &place]);
    assert!(said.contains("already"), "{said}");
    let said = refused(&server, &["layout", "rebalance"]);
    assert!(said.contains("are still being moved"), "{said}");
    fill(&server, "second").await;
    let moved = until_moved(&server);
    assert!(moved > 0, "some of what is stored has been moved");
    let said = refused(&server, &["layout", "rebalance"]);
    assert!(said.contains("nothing is to be moved"), "{said}");
    let devices = json(&server, &["device", "list", "--json"]);
    let list = devices.as_array().expect("a list");
    let has_some = |device: &&Value| device["shards"].as_u64() > Some(0);
    assert_eq!(
        (list.len(), list.iter().filter(has_some).count()),
        (7, 7),
        "{devices:#}"
    );
    let since = healthy_since(&server);
    // The server's capacity is shared by seven now.
    server.options_mut().capacity = "3584MiB".into();
    server.kill();
    server.restart();
    assert_eq!(readyz(&server), "ready\n");
    assert_eq!(healthy_since(&server), since, "the restart is no change");
    server.kill();
    let places = server.data_dirs();
    take_away(&places[6]);
    take_away(&places[1]);
    server.restart();
    for prefix in ["first", "second"] {
        assert_there(&server, prefix).await;
    }
}

#[tokio::test]
async fn another_layout_is_set_while_the_node_serves() {
    let mut server = six_directories();
    fill(&server, "first").await;
    let said = refused(&server, &["layout", "set", "6+3"]);
    assert!(said.contains("needs 9 disks, and the node has 6"), "{said}");
    let said = refused(&server, &["layout", "set", "4+0"]);
    assert!(said.contains("is no scheme"), "{said}");
    let said = told(&server, &["layout", "set", "3+1"]);
    assert!(said.starts_with("New objects are written as 3+1"), "{said}");
    fill(&server, "second").await;
    let is_as_said = |found: &Value| is_whole(found) && found["written_otherwise"] == 0;
    survey_when(&server, "repair", is_as_said);
    let layout = json(&server, &["layout", "show", "--json"]);
    assert_eq!(
        (
            &layout["scheme"]["data_shards"],
            &layout["scheme"]["parity_shards"]
        ),
        (&3.into(), &1.into())
    );
    let shown = told(&server, &["layout", "show"]);
    assert!(shown.contains("scheme             3+1"), "{shown}");
    server.kill();
    take_away(&server.data_dirs()[3]);
    server.restart();
    assert_there(&server, "first").await;
    assert_there(&server, "second").await;
}
