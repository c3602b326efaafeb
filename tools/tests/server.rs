//! A started server as its operator meets it: what it says, what it refuses, how it stops. What it stores is tested in `tests`.
//!
//! Data lies below the target folder, as direct I/O may not work where temporary files are.

use std::fs;
use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

const PATIENCE: Duration = Duration::from_secs(20);

/// A server with files for what it says.
struct Server {
    child: Child,
    output: PathBuf,
}

impl Server {
    fn spawn(directory: &Path, arguments: &[&str]) -> Server {
        let output = directory.join("said");
        let file = fs::File::create(&output).expect("a file");
        let again = file.try_clone().expect("a file");
        let any = [
            ("--s3-addr", "127.0.0.1:0"),
            ("--metrics-addr", "127.0.0.1:0"),
            ("--capacity", "1GiB"),
        ];
        let unsaid = any.iter().filter(|(flag, _)| !arguments.contains(flag));
        let child = Command::new(env!("CARGO_BIN_EXE_strata"))
            .arg("server")
            .args(unsaid.flat_map(|(flag, value)| [flag, value]))
            .args(arguments)
            .env_clear()
            .stdout(Stdio::from(file))
            .stderr(Stdio::from(again))
            .spawn()
            .expect("the binary runs");
        Server { child, output }
    }

    fn said(&self) -> String {
        fs::read_to_string(&self.output).expect("text")
    }

    fn wait_for(&mut self, text: &str) -> String {
        let until = Instant::now() + PATIENCE;
        while Instant::now() < until {
            let said = self.said();
            if said.contains(text) {
                return said;
            }
            assert!(
                self.child.try_wait().expect("a child").is_none(),
                "it ended: {said}"
            );
            std::thread::sleep(Duration::from_millis(20));
        }
        panic!("it never said `{text}`: {}", self.said());
    }

    /// Waits for its end; answers the exit status and what it said.
    fn end(mut self) -> (Option<i32>, String) {
        let until = Instant::now() + PATIENCE;
        while Instant::now() < until {
            if let Some(status) = self.child.try_wait().expect("a child") {
                return (status.code(), self.said());
            }
            std::thread::sleep(Duration::from_millis(20));
        }
        panic!("it did not end: {}", self.said());
    }

    fn terminate(self) -> (Option<i32>, String) {
        let id = self.child.id().to_string();
        assert!(
            Command::new("kill")
                .args(["-TERM", &id])
                .status()
                .expect("kill")
                .success()
        );
        self.end()
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// The address in the line that begins with a word.
fn address(said: &str, word: &str) -> String {
    let line = said
        .lines()
        .find(|line| line.trim_start().starts_with(word))
        .expect("the line");
    let from = line.find("http://").expect("an address") + "http://".len();
    line[from..]
        .chars()
        .take_while(|character| character.is_ascii_digit() || ".:".contains(*character))
        .collect()
}

fn get(address: &str, path: &str) -> String {
    let mut stream = TcpStream::connect(address).expect("it listens");
    stream.set_read_timeout(Some(PATIENCE)).expect("set");
    write!(
        stream,
        "GET {path} HTTP/1.1\r\nhost: {address}\r\nconnection: close\r\n\r\n"
    )
    .expect("sent");
    let mut answer = String::new();
    stream.read_to_string(&mut answer).expect("answered");
    answer
}

fn secret_in(file: &Path) -> String {
    let text = fs::read_to_string(file).expect("the copy is there");
    let line = text
        .lines()
        .find_map(|line| line.strip_prefix("AWS_SECRET_ACCESS_KEY="));
    line.expect("a secret").to_owned()
}

#[test]
fn a_first_start_says_what_is_needed_and_stops_clean() {
    let directory = tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).expect("a directory");
    let data = directory.path().join("data");
    let arguments = ["--data-dir", data.to_str().expect("text")];
    let mut server = Server::spawn(directory.path(), &arguments);
    let said = server.wait_for("To use it, paste:");
    for expected in [
        "cluster ",
        "layout ",
        "not open",
        "root-key",
        "aws --endpoint-url http://127.0.0.1:",
    ] {
        assert!(said.contains(expected), "`{expected}` is not in {said}");
    }
    assert!(
        !said.contains(&secret_in(&data.join("metadata/root-key"))),
        "the secret was printed"
    );
    let metrics = address(&said, "metrics");
    assert!(get(&metrics, "/readyz").starts_with("HTTP/1.1 200"));
    let families = get(&metrics, "/metrics");
    for family in [
        "strata_cluster_nodes 1",
        "strata_cluster_nodes_online 1",
        "strata_raft_term ",
        "strata_data_reads_total{",
        "strata_data_writes_total{",
        "strata_reactor_busy_share{",
        "strata_reactor_longest_turn_seconds{",
        "strata_s3_connections ",
    ] {
        assert!(families.contains(family), "`{family}` is not in {families}");
    }
    let (status, said) = server.terminate();
    assert_eq!(status, Some(0), "{said}");

    let mut again = Server::spawn(directory.path(), &arguments);
    let said = again.wait_for("To use it, paste:");
    assert!(said.contains("$(cat "), "{said}");
    assert_eq!(again.terminate().0, Some(0));
}

#[test]
fn a_second_server_on_the_same_devices_is_refused() {
    let directory = tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).expect("a directory");
    let (data, other) = (
        directory.path().join("data"),
        directory.path().join("other"),
    );
    let data = data.to_str().expect("text");
    let mut first = Server::spawn(directory.path(), &["--data-dir", data]);
    first.wait_for("To use it, paste:");

    let elsewhere = tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).expect("a directory");
    let (status, said) = Server::spawn(elsewhere.path(), &["--data-dir", data]).end();
    assert_eq!(status, Some(1));
    let process = format!("(process {})", first.child.id());
    assert!(
        said.contains("another strata server") && said.contains(&process),
        "{said}"
    );

    let metadata = other.to_str().expect("text");
    let arguments = ["--data-dir", data, "--metadata-dir", metadata];
    let (status, said) = Server::spawn(elsewhere.path(), &arguments).end();
    assert_eq!(status, Some(1), "{said}");
    assert!(said.contains("in use by another server"), "{said}");
    assert_eq!(first.terminate().0, Some(0));
}

#[test]
fn a_port_in_use_is_an_error_that_names_it() {
    let directory = tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).expect("a directory");
    let taken = TcpListener::bind("127.0.0.1:0").expect("a port");
    let address = taken.local_addr().expect("bound").to_string();
    let data = directory.path().join("data");
    let arguments = [
        "--data-dir",
        data.to_str().expect("text"),
        "--s3-addr",
        &address,
    ];
    let (status, said) = Server::spawn(directory.path(), &arguments).end();
    assert_eq!(status, Some(1));
    assert!(
        said.contains(&format!("cannot listen on {address} for S3")),
        "{said}"
    );
    assert!(
        !data.join("strata.device").exists(),
        "nothing is formatted by a start that is refused"
    );
}
