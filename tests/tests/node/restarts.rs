//! What survives a stop, a kill, a lost namespace, a lost directory; what does not start.

use crate::{get, put};
use std::os::unix::fs::FileExt;
use std::process::Command;
use std::time::Duration;
use strata_tests::content::body;
use strata_tests::http::Request;
use strata_tests::server::{Server, ServerOptions};
use strata_tests::signature::Payload;

const SIZES: [usize; 5] = [0, 100, 16 << 10, 100_000, 3 << 20];

async fn fill(server: &Server, bucket: &str) {
    let client = server.client();
    client
        .create_bucket()
        .bucket(bucket)
        .send()
        .await
        .expect("a bucket");
    for bytes in SIZES {
        put(
            &client,
            bucket,
            &format!("k/{bytes}"),
            &body(bytes as u64, bytes),
        )
        .await;
    }
}

async fn assert_there(server: &Server, bucket: &str) {
    let client = server.client();
    for bytes in SIZES {
        let content = get(&client, bucket, &format!("k/{bytes}")).await;
        assert!(
            content == body(bytes as u64, bytes),
            "{bytes} bytes in {bucket}"
        );
    }
    assert_eq!(crate::keys(&client, bucket).await.len(), SIZES.len());
}

#[tokio::test]
async fn a_clean_stop_loses_nothing() {
    let mut server = Server::start(ServerOptions::default());
    fill(&server, "first").await;
    assert!(server.stop().success());
    server.restart();
    fill(&server, "second").await;
    for cores in ["1", "2"] {
        assert!(server.stop().success());
        server.options_mut().cores = Some(cores.into());
        server.restart();
        assert_there(&server, "first").await;
        assert_there(&server, "second").await;
    }
}

#[tokio::test]
async fn a_stop_lets_requests_finish_and_takes_no_new_ones() {
    let mut server = Server::start(ServerOptions::default());
    fill(&server, "first").await;
    let content = body(5, 400_000);
    let request = Request::new("PUT", "/first/late").body(content.clone());
    let request = server
        .signer()
        .sign(request, server.s3(), Payload::Hashed, None);
    let answer = request.send_with_pause(server.s3(), 200_000, || {
        // The request has begun once the server has read its head.
        std::thread::sleep(Duration::from_millis(300));
        server.terminate();
        std::thread::sleep(Duration::from_millis(500));
        let late = Request::new("GET", "/").send(server.s3());
        assert!(late.is_err() || late.is_ok_and(|answer| answer.status == 503));
    });
    let answer = answer.expect("the request that had begun is answered");
    assert_eq!(answer.status, 200, "{}", answer.text());
    assert!(server.wait().success());
    server.restart();
    assert!(get(&server.client(), "first", "late").await == content);
}

#[tokio::test]
async fn a_lost_namespace_is_rebuilt_from_the_log() {
    let mut server = Server::start(ServerOptions::default());
    fill(&server, "first").await;
    assert!(server.stop().success());
    std::fs::remove_dir_all(server.metadata_dir()).expect("the namespace is removed");
    assert!(!server.log().contains("made anew"), "{}", server.log());
    server.restart();
    assert!(
        server
            .log()
            .contains("made anew from snapshot and log, in ")
    );
    assert_there(&server, "first").await;
    fill(&server, "second").await;
    server.kill();
    std::fs::remove_dir_all(server.metadata_dir()).expect("the namespace is removed");
    server.restart();
    assert_there(&server, "first").await;
    assert_there(&server, "second").await;
}

/// Flips one bit in each leaf page of LMDB's data file: `at` says of which byte.
fn flip_bits(server: &Server, at: impl Fn(&[u8]) -> usize) {
    let path = server.metadata_dir().join("data.mdb");
    let mut bytes = std::fs::read(&path).expect("the data file");
    for page in bytes.chunks_exact_mut(4096).skip(2) {
        if page[10] == 2 && page[11] == 0 {
            page[at(page)] ^= 0x10;
        }
    }
    std::fs::write(&path, bytes).expect("the data file");
}

/// A hidden row reads like one that was deleted: then its chunks would be freed as soon as nobody else names them.
#[tokio::test]
async fn a_damaged_namespace_is_rebuilt_and_nothing_is_freed() {
    let mut server = Server::start(ServerOptions::default());
    fill(&server, "first").await;
    let key_of_the_first_node = |page: &[u8]| {
        let node = usize::from(u16::from_le_bytes([page[16], page[17]]));
        node + 8 + 5
    };
    let upper_bound = |_: &[u8]| 14;
    for at in [
        &key_of_the_first_node as &dyn Fn(&[u8]) -> usize,
        &upper_bound,
    ] {
        assert!(server.stop().success());
        flip_bits(&server, at);
        server.restart();
        assert!(server.log().contains("it is rebuilt from snapshot and log"));
        assert_there(&server, "first").await;
    }
    assert!(server.stop().success());
    let path = server.metadata_dir().join("data.mdb");
    let file = std::fs::File::options().write(true).open(path);
    file.and_then(|file| file.set_len(8192)).expect("cut short");
    server.restart();
    assert_there(&server, "first").await;
    // The first walk for chunks that nobody names begins ten seconds after a start.
    tokio::time::sleep(Duration::from_secs(14)).await;
    assert_there(&server, "first").await;
}

/// The damage shows in a read: the server stops before it writes on top of it.
#[tokio::test]
async fn damage_that_shows_in_a_read_is_rebuilt_by_the_next_start() {
    let mut server = Server::start(ServerOptions::default());
    fill(&server, "first").await;
    let (path, content) = (server.metadata_dir().join("data.mdb"), body(100, 100));
    let bytes = std::fs::read(&path).expect("the data file");
    let file = std::fs::File::options().write(true).open(&path);
    let file = file.expect("the data file");
    let places = bytes.windows(content.len()).enumerate();
    for (at, _) in places.filter(|(_, window)| *window == content) {
        file.write_all_at(&[content[0] ^ 1], at as u64)
            .expect("written");
    }
    let client = server.client();
    let damaged = client.get_object().bucket("first").key("k/100").send();
    assert!(damaged.await.is_err());
    assert_eq!(server.wait().code(), Some(1));
    server.restart();
    assert_there(&server, "first").await;
}

#[tokio::test]
async fn three_directories_survive_the_loss_of_two() {
    let options = ServerOptions {
        data_dirs: 3,
        ..ServerOptions::default()
    };
    let mut server = Server::start(options);
    fill(&server, "first").await;
    server.kill();
    let lost = server.data_dirs();
    for directory in &lost[1..] {
        std::fs::rename(directory, directory.with_extension("away")).expect("moved away");
    }
    server.options_mut().data_dirs = 1;
    std::fs::remove_dir_all(server.metadata_dir()).expect("the namespace is removed");
    server.restart();
    assert_there(&server, "first").await;
}

#[tokio::test]
async fn the_loss_of_the_first_directory_loses_no_start() {
    let mut server = Server::start(ServerOptions {
        data_dirs: 6,
        capacity: "6GiB".into(),
        names_metadata_dir: false,
        ..ServerOptions::default()
    });
    fill(&server, "first").await;
    let places = server.data_dirs();
    assert!(places[0].join("metadata/data.mdb").exists());
    assert!(server.stop().success());
    let away = places[0].with_extension("away");
    std::fs::rename(&places[0], &away).expect("moved away");
    server.restart();
    assert!(!places[0].exists(), "nothing is made in its place");
    assert!(places[1].join("metadata/data.mdb").exists());
    assert!(server.log().contains("DEGRADED"), "{}", server.log());
    assert_there(&server, "first").await;
    fill(&server, "second").await;
    let client = server.client();
    let gone = client.delete_object().bucket("first").key("k/100");
    gone.send().await.expect("deleted");
    server.kill();
    // The old namespace comes back with its directory: it is caught up, not trusted.
    std::fs::rename(&away, &places[0]).expect("moved back");
    server.restart();
    let client = server.client();
    assert_there(&server, "second").await;
    assert_eq!(crate::keys(&client, "first").await.len(), SIZES.len() - 1);
    put(&client, "first", "k/100", &body(100, 100)).await;
    assert_there(&server, "first").await;
    // And so is the one that was in use meanwhile.
    assert!(server.stop().success());
    std::fs::rename(&places[0], &away).expect("moved away");
    server.restart();
    assert_there(&server, "first").await;
    assert_there(&server, "second").await;
}

#[tokio::test]
async fn directories_may_change_places() {
    let options = ServerOptions {
        data_dirs: 2,
        ..ServerOptions::default()
    };
    let mut server = Server::start(options);
    fill(&server, "first").await;
    assert!(server.stop().success());
    let places = server.data_dirs();
    let aside = places[0].with_extension("aside");
    std::fs::rename(&places[0], &aside).expect("moved");
    std::fs::rename(&places[1], &places[0]).expect("moved");
    std::fs::rename(&aside, &places[1]).expect("moved");
    server.restart();
    assert_there(&server, "first").await;
}

/// Runs a command to its end; what it said and whether it succeeded.
fn run(mut command: Command) -> (bool, String) {
    let output = command.output().expect("the command runs");
    let said = [output.stdout, output.stderr].concat();
    (
        output.status.success(),
        String::from_utf8_lossy(&said).into_owned(),
    )
}

#[tokio::test]
async fn a_second_server_on_the_same_directories_is_refused() {
    let server = Server::start(ServerOptions::default());
    fill(&server, "first").await;
    let (succeeded, said) = run(server.command());
    assert!(!succeeded, "{said}");
    let directory = server.data_dirs()[0].display().to_string();
    let folder = server.folder().display().to_string();
    assert!(
        said.contains(&directory) || said.contains(&folder),
        "the error names the place: {said}"
    );
    assert!(!said.contains("panicked"), "{said}");
    assert_there(&server, "first").await;
}

#[tokio::test]
async fn a_port_in_use_is_named() {
    let server = Server::start(ServerOptions::default());
    let other = Server::start(ServerOptions::default());
    let mut other = other;
    assert!(other.stop().success());
    let taken = server.s3().to_string();
    let mut command = Command::new(other.command().get_program());
    let arguments: Vec<_> = other
        .command()
        .get_args()
        .map(|argument| argument.to_owned())
        .collect();
    command.args(arguments.iter().map(|argument| argument.as_os_str()));
    // The last value of a flag given twice would be an error of its own: replace the first one.
    let mut command = replace_address(command, "--s3-addr", &taken);
    command
        .env("STRATA_ROOT_ACCESS_KEY_ID", "another")
        .env("STRATA_ROOT_SECRET_KEY", "another-secret");
    let (succeeded, said) = run(command);
    assert!(
        !succeeded && said.contains(&taken) && !said.contains("panicked"),
        "{said}"
    );
}

fn replace_address(command: Command, flag: &str, address: &str) -> Command {
    let mut replaced = Command::new(command.get_program());
    let mut is_value = false;
    for argument in command.get_args() {
        replaced.arg(if is_value { address.as_ref() } else { argument });
        is_value = argument == flag;
    }
    replaced
}

#[tokio::test]
async fn a_new_empty_directory_beside_old_ones_is_refused() {
    let options = ServerOptions {
        data_dirs: 2,
        ..ServerOptions::default()
    };
    let mut server = Server::start(options);
    fill(&server, "first").await;
    assert!(server.stop().success());
    server.options_mut().data_dirs = 3;
    std::fs::create_dir(&server.data_dirs()[2]).expect("an empty directory");
    let error = server
        .try_restart()
        .expect_err("an empty directory is no device of this node");
    let said = server.log();
    assert!(error.contains("ended"), "{error}");
    let place = server.data_dirs()[2].display().to_string();
    let why = format!("{place} is empty and in the place of no missing device");
    assert!(said.contains(&why), "{said}");
    server.options_mut().data_dirs = 2;
    server.restart();
    assert_there(&server, "first").await;
}

#[tokio::test]
async fn metrics_tell_of_requests() {
    let server = Server::start(ServerOptions::default());
    fill(&server, "first").await;
    let metrics = Request::new("GET", "/metrics")
        .send(server.metrics())
        .expect("an answer");
    assert_eq!(metrics.status, 200);
    let text = metrics.text();
    for name in [
        "strata_s3_requests_total",
        "strata_raft_term",
        "strata_data_writes_total",
    ] {
        assert!(text.contains(name), "{name} in:\n{text}");
    }
    let secret = strata_tests::server::SECRET_KEY;
    assert!(
        !text.contains(secret) && !server.log().contains(secret),
        "a secret leaked"
    );
}

/// What buckets hold is read every few seconds, and lies in the namespace: a kill takes nothing of it.
#[tokio::test]
async fn metrics_tell_what_buckets_hold() {
    let mut server = Server::start(ServerOptions::default());
    for bucket in ["first", "second"] {
        fill(&server, bucket).await;
    }
    let all: usize = SIZES.iter().sum();
    let client = server.client();
    let gone = format!("k/{}", SIZES[4]);
    let delete = client.delete_object().bucket("second").key(gone);
    delete.send().await.expect("deleted");
    for _ in 0..2 {
        await_line(
            &server,
            &format!("strata_bucket_objects_bytes{{bucket=\"first\"}} {all}"),
        )
        .await;
        await_line(&server, "strata_bucket_objects{bucket=\"second\"} 4").await;
        await_line(&server, "strata_buckets 2").await;
        await_line(&server, "strata_objects 9").await;
        server.kill();
        server.restart();
    }
}

/// Waits until the metrics have a line; numbers may be followed by a fraction.
async fn await_line(server: &Server, line: &str) {
    let deadline = std::time::Instant::now() + Duration::from_secs(30);
    loop {
        let metrics = Request::new("GET", "/metrics").send(server.metrics());
        let text = metrics.expect("an answer").text();
        let has = |shown: &str| shown.trim_end_matches(".0") == line;
        if text.lines().any(has) {
            return;
        }
        assert!(
            std::time::Instant::now() < deadline,
            "no {line} in:\n{text}"
        );
        tokio::time::sleep(Duration::from_millis(200)).await;
    }
}
