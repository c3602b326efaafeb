//! What a service manager hears from a real server.
//!
//! Data lies below the target folder, as direct I/O may not work where temporary files are.

use std::net::TcpStream;
use std::os::unix::net::UnixDatagram;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

/// Far above what it takes, so that a loaded machine fails no test.
const PATIENCE: Duration = Duration::from_secs(60);

struct Server(Child);

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// Reads messages until one holds a line that begins so; answers that line and all messages before it.
fn wait_for(socket: &UnixDatagram, beginning: &str) -> (String, Vec<String>) {
    let until = Instant::now() + PATIENCE;
    let mut heard = Vec::new();
    while Instant::now() < until {
        let mut bytes = [0; 4096];
        let Ok(length) = socket.recv(&mut bytes) else {
            continue;
        };
        let message = String::from_utf8(bytes[..length].to_vec()).expect("text");
        let line = message.lines().find(|line| line.starts_with(beginning));
        if let Some(line) = line {
            return (line.to_owned(), heard);
        }
        heard.push(message);
    }
    panic!("`{beginning}` was never heard, only {heard:?}");
}

fn free_port() -> u16 {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").expect("a port");
    listener.local_addr().expect("bound").port()
}

#[test]
fn the_service_manager_hears_of_readiness_life_and_the_end() {
    let directory = tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).expect("a directory");
    // The path of a socket is short: not below the target folder.
    let short = tempfile::tempdir().expect("a directory");
    let path = short.path().join("notify");
    let socket = UnixDatagram::bind(&path).expect("a socket");
    socket
        .set_read_timeout(Some(Duration::from_millis(200)))
        .expect("set");
    let s3 = format!("127.0.0.1:{}", free_port());
    let child = Command::new(env!("CARGO_BIN_EXE_strata"))
        .args(["server", "--s3-addr", &s3, "--metrics-addr", "127.0.0.1:0"])
        .args(["--capacity", "1GiB", "--data-dir"])
        .arg(directory.path().join("data"))
        .env_clear()
        .env("NOTIFY_SOCKET", &path)
        .env("WATCHDOG_USEC", "4000000")
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .expect("the binary runs");
    let mut server = Server(child);
    let (_, before) = wait_for(&socket, "READY=1");
    assert!(
        before
            .iter()
            .any(|message| message.contains("STATUS=Starting")),
        "{before:?}"
    );
    TcpStream::connect(&s3).expect("it listens when it says that it is ready");
    wait_for(&socket, "WATCHDOG=1");
    // The second one comes only if every reactor, idle as it is, has gone on.
    wait_for(&socket, "WATCHDOG=1");
    let id = server.0.id().to_string();
    let killed = Command::new("kill").args(["-TERM", &id]).status();
    assert!(killed.expect("kill").success());
    wait_for(&socket, "STOPPING=1");
    assert_eq!(server.0.wait().expect("it ends").code(), Some(0));
}
