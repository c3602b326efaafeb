//! What a start goes on without, and what it refuses before it writes anything.

use crate::{get, put};
use std::net::SocketAddr;
use std::path::Path;
use std::thread::JoinHandle;
use std::time::{Duration, Instant};
use strata_tests::content::body;
use strata_tests::http::Request;
use strata_tests::server::{Server, ServerOptions};

fn directories(count: usize) -> ServerOptions {
    ServerOptions {
        data_dirs: count,
        ..ServerOptions::default()
    }
}

async fn fill(server: &Server) {
    let client = server.client();
    let made = client.create_bucket().bucket("first").send().await;
    made.expect("a bucket");
    put(&client, "first", "small", &body(1, 100)).await;
    put(&client, "first", "large", &body(2, 1 << 20)).await;
}

async fn assert_there(server: &Server) {
    let client = server.client();
    assert!(get(&client, "first", "small").await == body(1, 100));
    assert!(get(&client, "first", "large").await == body(2, 1 << 20));
}

/// Starts a server that must not come up; everything that this start said.
fn refused(server: &mut Server) -> String {
    let before = server.log().len();
    let error = server.try_restart().expect_err("this start is refused");
    assert!(error.contains("ended"), "{error}");
    let said = server.log().split_off(before);
    assert!(!said.contains("panicked"), "{said}");
    said
}

fn assert_names(said: &str, words: &[&str]) {
    for word in words {
        assert!(said.contains(word), "{word:?} is not in: {said}");
    }
}

/// What `strata status` says and its exit status.
fn status_of(server: &Server, arguments: &[&str]) -> (Option<i32>, String) {
    let mut command = std::process::Command::new(server.command().get_program());
    command.arg("status").args(arguments).arg("--metadata-dir");
    let output = command.arg(server.metadata_dir()).output();
    let output = output.expect("the command runs");
    let said = String::from_utf8_lossy(&output.stdout).into_owned();
    (output.status.code(), said)
}

/// A server of three devices, one of them missing, says so wherever it is asked.
fn assert_degraded(server: &Server) {
    let ready = Request::new("GET", "/readyz").send(server.metrics());
    let ready = ready.expect("an answer");
    assert_eq!(ready.status, 200, "it serves");
    let weaker = "every shard of 3 copies: new objects above 16 KiB are written as 2 copies";
    assert_names(
        &ready.text(),
        &["degraded\n", weaker, "is not there", "To do: "],
    );
    let (code, said) = status_of(server, &[]);
    assert_eq!(code, Some(4), "{said}");
    let left = "3 copies on 3 devices, of which 1 cannot be used: survives the loss of one more";
    assert_names(
        &said,
        &["DEGRADED", "gone", "2 of 3 copies written", left, "  -> "],
    );
    let (code, said) = status_of(server, &["--json"]);
    assert_eq!(code, Some(4), "{said}");
    let status: serde_json::Value = serde_json::from_str(&said).expect("JSON");
    assert_eq!(status["state"], "degraded");
    let states = |wanted: &str| {
        let devices = status["devices"].as_array().expect("a list");
        devices
            .iter()
            .filter(|device| device["state"] == wanted)
            .count()
    };
    assert_eq!((states("healthy"), states("gone")), (2, 1));
    assert!(status["capacity"]["free_bytes"].as_u64() > Some(0));
}

#[tokio::test]
async fn status_tells_a_healthy_server_from_none() {
    let mut server = Server::start(directories(1));
    fill(&server).await;
    let (code, said) = status_of(&server, &[]);
    assert_eq!(code, Some(0), "{said}");
    let process = format!("process {}", server.process_id());
    assert_names(
        &said,
        &["HEALTHY", &process, "shards", "1 of 1 copies written"],
    );
    assert!(!said.contains("What is wrong"), "{said}");
    server.kill();
    let (code, said) = status_of(&server, &[]);
    assert_eq!(code, Some(3), "{said}");
    assert_names(&said, &["no server runs on"]);
    server.restart();
    assert_eq!(status_of(&server, &[]).0, Some(0), "its socket is replaced");
}

#[tokio::test]
async fn a_listed_device_that_is_missing_means_a_degraded_start() {
    let mut server = Server::start(directories(3));
    fill(&server).await;
    server.kill();
    let lost = server.data_dirs().remove(1);
    let away = lost.with_extension("away");
    std::fs::rename(&lost, &away).expect("moved away");
    server.restart();
    assert!(!lost.exists(), "nothing is made where a disk is missing");
    assert_names(&server.log(), &["DEGRADED", &lost.display().to_string()]);
    let metrics = Request::new("GET", "/metrics").send(server.metrics());
    let metrics = metrics.expect("an answer").text();
    assert_names(
        &metrics,
        &[
            "strata_devices_missing 1.0",
            "strata_degradations{kind=\"device_missing\",severity=\"warning\"} 1.0",
            "strata_raft_log_mirrors 2.0",
            "strata_raft_log_mirrors_expected 3.0",
        ],
    );
    assert_degraded(&server);
    assert_there(&server).await;
    // Names and small objects need the log alone, and that has copies left; larger ones go to the disks that are left.
    put(&server.client(), "first", "later", &body(3, 1000)).await;
    put(&server.client(), "first", "huge", &body(4, 1 << 20)).await;
    assert!(server.stop().success());
    std::fs::rename(&away, &lost).expect("moved back");
    server.restart();
    assert_there(&server).await;
    assert!(get(&server.client(), "first", "later").await == body(3, 1000));
    assert!(get(&server.client(), "first", "huge").await == body(4, 1 << 20));
}

#[tokio::test]
async fn another_node_id_is_refused() {
    let mut server = Server::start(directories(1));
    fill(&server).await;
    assert!(server.stop().success());
    server.options_mut().arguments = vec!["--node-id".into(), "2".into()];
    assert_names(&refused(&mut server), &["node 1", "node 2"]);
    server.options_mut().arguments.clear();
    server.restart();
    assert_there(&server).await;
}

#[tokio::test]
async fn a_device_of_another_cluster_is_refused() {
    let mut server = Server::start(directories(2));
    let mut other = Server::start(directories(2));
    fill(&server).await;
    assert!(server.stop().success() && other.stop().success());
    let (ours, theirs) = (server.data_dirs(), other.data_dirs());
    std::fs::rename(&ours[1], ours[1].with_extension("away")).expect("moved away");
    std::fs::rename(&theirs[1], &ours[1]).expect("moved in");
    let said = refused(&mut server);
    assert_names(
        &said,
        &["belongs to cluster", &ours[1].display().to_string()],
    );
}

#[tokio::test]
async fn metadata_without_its_devices_is_refused() {
    let mut server = Server::start(directories(1));
    fill(&server).await;
    assert!(server.stop().success());
    let data = server.data_dirs().remove(0);
    std::fs::rename(&data, data.with_extension("away")).expect("moved away");
    let said = refused(&mut server);
    assert_names(
        &said,
        &["holds the metadata of a cluster", "Nothing was formatted"],
    );
    assert!(!data.exists(), "nothing is made");
    std::fs::rename(data.with_extension("away"), &data).expect("moved back");
    server.restart();
    assert_there(&server).await;
}

#[tokio::test]
async fn a_directory_with_other_files_is_not_formatted() {
    let mut server = Server::start(directories(1));
    assert!(server.stop().success());
    let data = server.data_dirs().remove(0);
    std::fs::remove_dir_all(server.metadata_dir()).expect("removed");
    std::fs::remove_dir_all(&data).expect("removed");
    std::fs::create_dir(&data).expect("made");
    std::fs::write(data.join("letter"), "dear reader").expect("written");
    assert_names(&refused(&mut server), &["not empty", "letter"]);
    std::fs::remove_file(data.join("letter")).expect("removed");
    server.restart();
}

/// Marks both superblocks of a device with a feature that this version does not know, and seals them anew.
fn mark_newer(device: &Path) {
    const INCOMPATIBLE_FEATURES: usize = 88;
    let mut bytes = std::fs::read(device).expect("the device");
    for at in [0, 64 << 10] {
        let block = &mut bytes[at..at + 4096];
        block[INCOMPATIBLE_FEATURES + 7] = 0x40;
        let sum = crc_fast::checksum(crc_fast::CrcAlgorithm::Crc32Iscsi, &block[4..]) as u32;
        block[..4].copy_from_slice(&sum.to_le_bytes());
    }
    std::fs::write(device, bytes).expect("the device");
}

#[tokio::test]
async fn a_newer_format_is_refused_by_name() {
    let options = ServerOptions {
        capacity: "256MiB".into(),
        ..directories(1)
    };
    let mut server = Server::start(options);
    assert!(server.stop().success());
    let device = server.data_dirs().remove(0).join("strata.device");
    mark_newer(&device);
    let before = std::fs::read(&device).expect("the device");
    let said = refused(&mut server);
    assert_names(&said, &["newer", &device.display().to_string()]);
    assert!(
        std::fs::read(&device).expect("the device") == before,
        "nothing was written"
    );
}

#[tokio::test]
async fn a_file_system_in_memory_is_refused() {
    let memory = tempfile::tempdir_in("/dev/shm").expect("this test needs a tmpfs at /dev/shm");
    let mut server = Server::start(directories(1));
    assert!(server.stop().success());
    let place = memory.path().join("data").display().to_string();
    let mut command = std::process::Command::new(server.command().get_program());
    command.args(["server", "--data-dir", &place, "--metadata-dir"]);
    command.arg(server.folder().join("other-metadata"));
    for flag in ["--s3-addr", "--metrics-addr"] {
        command.args([flag, "127.0.0.1:0"]);
    }
    let output = command.output().expect("the command runs");
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(!output.status.success(), "{said}");
    assert_names(&said, &["in memory", &place]);
    let mut left = std::fs::read_dir(memory.path()).expect("a directory");
    assert!(left.next().is_none(), "nothing is left behind");
}

/// Two that nobody listens on, below the ports that the system gives to clients: one of those might be taken when the server
/// binds it.
fn free_addresses() -> [SocketAddr; 2] {
    let first = 20_000 + (std::process::id() % 5_000) as u16 * 2;
    let addresses = (first..).map(|port| SocketAddr::from(([127, 0, 0, 1], port)));
    let mut free = addresses.filter(|address| std::net::TcpListener::bind(address).is_ok());
    std::array::from_fn(|_| free.next().expect("a free port"))
}

/// Asks `/readyz` without a pause until it says that requests are served, and then sends one at once. The reasons of all answers
/// before that.
fn follow_start(s3: SocketAddr, metrics: SocketAddr) -> JoinHandle<Vec<String>> {
    std::thread::spawn(move || {
        let deadline = Instant::now() + Duration::from_secs(60);
        let mut reasons = Vec::new();
        while Instant::now() < deadline {
            match Request::new("GET", "/readyz").send(metrics) {
                Ok(answer) if answer.status == 200 => {
                    let served = Request::new("GET", "/").send(s3);
                    served.expect("whoever is told that it is ready can connect");
                    return reasons;
                }
                Ok(answer) => {
                    assert_eq!(answer.status, 503, "{}", answer.text());
                    reasons.push(answer.text());
                }
                // Nobody listens yet.
                Err(_) => {}
            }
        }
        panic!("never ready: {reasons:?}");
    })
}

#[tokio::test]
async fn whoever_is_told_that_it_is_ready_can_connect() {
    let mut server = Server::start(directories(1));
    fill(&server).await;
    // Known before anything is printed.
    let [s3, metrics] = free_addresses();
    server.options_mut().s3_addr = s3.to_string();
    server.options_mut().metrics_addr = metrics.to_string();
    let mut reasons = Vec::new();
    for _ in 0..5 {
        server.kill();
        let following = follow_start(s3, metrics);
        server.restart();
        reasons.extend(following.join().expect("it followed the start"));
    }
    // One start alone may be over before the follower is given a core.
    assert!(!reasons.is_empty(), "a start says that it is not ready yet");
    for reason in reasons {
        assert!(reason.starts_with("starting: "), "{reason}");
    }
}

#[tokio::test]
async fn a_device_file_can_be_listed_by_its_path() {
    let mut server = Server::start(directories(2));
    fill(&server).await;
    assert!(server.stop().success());
    let places = server.data_dirs();
    let file = places[1].join("strata.device");
    server.options_mut().listed = vec![file, places[0].clone()];
    server.restart();
    assert_there(&server).await;
    put(&server.client(), "first", "later", &body(3, 1 << 20)).await;
    assert!(server.stop().success());
    server.options_mut().listed.clear();
    server.restart();
    assert!(get(&server.client(), "first", "later").await == body(3, 1 << 20));
}

#[tokio::test]
async fn a_file_that_is_no_device_is_refused_and_left_alone() {
    let mut server = Server::start(directories(1));
    fill(&server).await;
    assert!(server.stop().success());
    let file = server.folder().join("letter");
    let device = server.data_dirs().remove(0);
    for content in [Vec::new(), b"dear reader".to_vec(), vec![0; 1 << 20]] {
        std::fs::write(&file, &content).expect("written");
        for listed in [vec![file.clone()], vec![device.clone(), file.clone()]] {
            server.options_mut().listed = listed;
            let said = refused(&mut server);
            assert_names(
                &said,
                &[
                    &file.display().to_string(),
                    "without a Strata superblock",
                    "list a directory or a block device instead",
                ],
            );
        }
        assert!(std::fs::read(&file).expect("the file") == content);
    }
    server.options_mut().listed.clear();
    server.restart();
    assert_there(&server).await;
}

/// What `strata inspect` prints of a path.
fn inspected(server: &Server, path: &Path, flags: &[&str]) -> String {
    let mut command = std::process::Command::new(server.command().get_program());
    let output = command.arg("inspect").arg(path).args(flags).output();
    let output = output.expect("the command runs");
    assert!(output.status.success(), "{output:?}");
    let said = String::from_utf8(output.stdout).expect("text");
    assert!(
        !said.contains(strata_tests::server::SECRET_KEY),
        "a secret was printed"
    );
    said
}

/// What `strata inspect --json` prints of a path: an object for each line.
fn inspected_as_json(server: &Server, path: &Path) -> Vec<serde_json::Value> {
    let said = inspected(server, path, &["--json"]);
    let objects = said
        .lines()
        .map(|line| serde_json::from_str(line).expect(line));
    objects.collect()
}

#[tokio::test]
async fn every_structure_on_disk_can_be_inspected() {
    let options = ServerOptions {
        capacity: "256MiB".into(),
        ..directories(1)
    };
    let mut server = Server::start(options);
    fill(&server).await;
    assert!(server.stop().success());
    let names = inspected(&server, &server.metadata_dir(), &[]);
    let last = "# the state of the last checkpoint";
    assert_names(
        &names,
        &["checkpoint: transaction ", "\"first/\"", "large", last],
    );
    let side = inspected(&server, &server.metadata_dir().join("checkpoint"), &[]);
    assert_names(&side, &["checkpoint: transaction ", "meta_page_bytes "]);
    let device = server.data_dirs().remove(0).join("strata.device");
    let said = inspected(&server, &device, &[]);
    assert_names(
        &said,
        &[
            "superblock: generation ",
            "partitions: number ",
            "anchor: partition ",
            "segment header: partition ",
            "log entry: position ",
            "kind mirrors, generation 1, members [",
            "kind vote",
            "entry membership, voters [1]",
            "command Initialise",
            "command PutObject",
            "kind committed",
            "shard: chunk ",
            "owner_inode ",
        ],
    );
    assert!(!said.contains("not in order"), "{said}");
    let rows = inspected_as_json(&server, &server.metadata_dir());
    let kind = |of: &str| rows.iter().filter(|row| row["key"]["kind"] == of).count();
    assert_eq!((kind("root key"), kind("cluster")), (1, 1));
    assert_eq!(rows[0]["structure"], "checkpoint");
    assert_eq!(
        rows.last().expect("rows"),
        &serde_json::json!({ "structure": "state", "value": { "of": "checkpoint" } })
    );
    assert_eq!(rows.len(), names.lines().count());
    let structures = inspected_as_json(&server, &device);
    let lines: Vec<&str> = said.lines().filter(|line| line.starts_with("0x")).collect();
    assert_eq!(structures.len(), lines.len());
    for (structure, line) in structures.iter().zip(lines) {
        let (offset, name) = (&structure["offset"], &structure["structure"]);
        let offset = offset.as_u64().expect("an offset");
        let begin = format!("{offset:#012x}  {}", name.as_str().expect("a name"));
        assert!(line.starts_with(&begin), "{structure} is not {line}");
        assert!(structure.get("error").is_none(), "{structure}");
    }
    // A flipped bit in the body of a log entry is a structure that says so, and the walk goes on.
    let is_entry = |found: &&serde_json::Value| found["structure"] == "log entry";
    let entry = structures.iter().find(is_entry).expect("an entry");
    let offset = entry["offset"].as_u64().expect("an offset");
    let mut bytes = std::fs::read(&device).expect("the device");
    bytes[offset as usize + 70] ^= 1;
    std::fs::write(&device, bytes).expect("the device");
    assert_names(
        &inspected(&server, &device, &[]),
        &["log entry: not in order: the CRC does not match"],
    );
    let damaged = inspected_as_json(&server, &device);
    assert_eq!(damaged.len(), structures.len());
    let errors: Vec<_> = damaged
        .iter()
        .filter(|found| found.get("error").is_some())
        .collect();
    assert_eq!(
        errors,
        [
            &serde_json::json!({ "offset": offset, "structure": "log entry", "error": "the CRC does not match" })
        ]
    );
}
