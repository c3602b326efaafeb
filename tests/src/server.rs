//! The real server, started, killed and stopped by a test.
//!
//! Invariants: no server outlives the test process (the kernel kills it with the thread that started it, and that
//! thread lives as long as the process); data lies on the disk of the target folder, never on tmpfs, which has no
//! O_DIRECT; every failure shows the server's log.
//!
//! - [`binary`]: builds the binary that is started

pub mod binary;

use crate::http::{Request, Response};
use crate::signature::Signer;
use crate::tls;
use aws_sdk_s3::config::{BehaviorVersion, Credentials, Region};
use std::io::{BufRead, BufReader, Read};
use std::net::SocketAddr;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Output, Stdio};
use std::sync::mpsc::{Sender, channel};
use std::sync::{Arc, Mutex, OnceLock, PoisonError};
use std::time::{Duration, Instant};
use tempfile::TempDir;

/// The root key that every test server gets.
pub const ACCESS_KEY_ID: &str = "STRATATESTSROOTKEY00";
/// Its secret.
pub const SECRET_KEY: &str = "tests/know/this/secret/and/nobody/uses/it";
/// The region of every test server.
pub const REGION: &str = "us-east-1";

/// A port that the system chooses.
const ANY_PORT: &str = "127.0.0.1:0";

/// How long a start may take: far above the bound, so that a loaded machine fails no test.
const START_PATIENCE: Duration = Duration::from_secs(60);
/// How long a clean stop may take.
const STOP_PATIENCE: Duration = Duration::from_secs(60);
/// Lines of the log shown with a failure.
const LOG_LINES_SHOWN: usize = 60;

/// What differs from server to server.
#[derive(Clone, Debug)]
pub struct ServerOptions {
    /// Data directories, taken for separate failure domains where there are several.
    pub data_dirs: usize,
    /// What is listed in place of those directories; nothing where they are.
    pub listed: Vec<PathBuf>,
    /// `--s3-addr`.
    pub s3_addr: String,
    /// `--metrics-addr`.
    pub metrics_addr: String,
    /// `--capacity`.
    pub capacity: String,
    /// `--cores`.
    pub cores: Option<String>,
    /// Whether `--metadata-dir` names a directory beside those for data; else the server chooses.
    pub names_metadata_dir: bool,
    /// `--tls-cert` and `--tls-key`.
    pub tls: Option<tls::Files>,
    /// More arguments.
    pub arguments: Vec<String>,
}

impl Default for ServerOptions {
    fn default() -> Self {
        Self {
            data_dirs: 1,
            listed: Vec::new(),
            s3_addr: ANY_PORT.into(),
            metrics_addr: ANY_PORT.into(),
            capacity: "3GiB".into(),
            cores: None,
            names_metadata_dir: true,
            tls: None,
            arguments: Vec::new(),
        }
    }
}

struct Running {
    child: Child,
    s3: SocketAddr,
    metrics: SocketAddr,
}

/// A server with its directories. Dropping it kills the process and removes them.
pub struct Server {
    folder: TempDir,
    options: ServerOptions,
    running: Option<Running>,
    log: Log,
}

#[derive(Clone, Default)]
struct Log(Arc<Mutex<Vec<String>>>);

impl Log {
    fn push(&self, line: String) {
        self.0
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .push(line);
    }

    fn lines(&self) -> Vec<String> {
        self.0
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .clone()
    }

    fn tail(&self) -> String {
        let lines = self.lines();
        lines[lines.len().saturating_sub(LOG_LINES_SHOWN)..].join("\n")
    }

    /// Copies everything that a stream says, line by line, until it ends.
    fn follow(&self, stream: impl Read + Send + 'static) {
        let log = self.clone();
        std::thread::spawn(move || {
            for line in BufReader::new(stream).lines().map_while(Result::ok) {
                log.push(line);
            }
        });
    }
}

/// Where this process keeps test data: on the disk that holds the build. A later test process removes it.
pub fn scratch() -> PathBuf {
    static SCRATCH: OnceLock<PathBuf> = OnceLock::new();
    let make = || {
        let base = binary::base();
        binary::remove_left_over(&base);
        let folder = base.join(format!("run-{}", std::process::id()));
        std::fs::create_dir_all(&folder).expect("a folder for test data beside the build");
        folder
    };
    SCRATCH.get_or_init(make).clone()
}

impl Server {
    /// A new server on empty directories, ready for requests.
    pub fn start(options: ServerOptions) -> Self {
        let folder = tempfile::Builder::new()
            .prefix("server-")
            .tempdir_in(scratch());
        let folder = folder.expect("a folder for a server");
        let mut server = Self {
            folder,
            options,
            running: None,
            log: Log::default(),
        };
        server.restart();
        server
    }

    /// Starts it again on its directories, ready for requests.
    pub fn restart(&mut self) {
        if let Err(error) = self.try_restart() {
            panic!("the server did not start: {error}\n{}", self.log.tail());
        }
    }

    /// Starts it again; the reason where it does not become ready.
    pub fn try_restart(&mut self) -> Result<(), String> {
        assert!(self.running.is_none(), "already running");
        let from = self.log.lines().len();
        let mut child = spawn(self.command())?;
        self.log.follow(child.stdout.take().ok_or("no stdout")?);
        self.log.follow(child.stderr.take().ok_or("no stderr")?);
        let deadline = Instant::now() + START_PATIENCE;
        match self.wait_until_ready(&mut child, from, deadline) {
            Ok((s3, metrics)) => {
                self.running = Some(Running { child, s3, metrics });
                Ok(())
            }
            Err(error) => {
                // A failure to kill means that it has ended.
                let _ended = child.kill();
                let _status = child.wait();
                Err(error)
            }
        }
    }

    fn wait_until_ready(
        &self,
        child: &mut Child,
        from: usize,
        deadline: Instant,
    ) -> Result<(SocketAddr, SocketAddr), String> {
        loop {
            let lines = self.log.lines();
            let s3 = lines[from..]
                .iter()
                .find_map(|line| address_in(line, &["S3", "s3"]));
            let metrics = lines[from..]
                .iter()
                .find_map(|line| address_in(line, &["etrics"]));
            if let (Some(s3), Some(metrics)) = (s3, metrics)
                && self
                    .ask(metrics, &Request::new("GET", "/readyz"))
                    .is_ok_and(|answer| answer.status == 200)
            {
                return Ok((s3, metrics));
            }
            if let Some(status) = child.try_wait().map_err(|error| error.to_string())? {
                // Its last words may still be in the pipe.
                std::thread::sleep(Duration::from_millis(50));
                return Err(format!("ended with {status}"));
            }
            if Instant::now() > deadline {
                return Err(format!(
                    "not ready after {START_PATIENCE:?} (S3 {s3:?}, metrics {metrics:?})"
                ));
            }
            std::thread::sleep(Duration::from_millis(5));
        }
    }

    /// Sends a request to one of its ports, with TLS where it has it.
    pub fn ask(&self, port: SocketAddr, request: &Request) -> std::io::Result<Response> {
        let Some(files) = &self.options.tls else {
            return request.send(port);
        };
        let trusted = std::fs::read_to_string(&files.cert)?;
        let mut stream = tls::connect(port, &tls::client(&trusted, &[]))?;
        request.send_over(&mut stream, port)
    }

    /// Runs another command of `strata` against it.
    pub fn run(&self, arguments: &[&str]) -> Output {
        let mut command = Command::new(binary::strata());
        command.args(arguments).arg("--metadata-dir");
        let output = command.arg(self.metadata_dir()).output();
        output.expect("the command runs")
    }

    /// The command that starts it.
    pub fn command(&self) -> Command {
        let mut command = Command::new(binary::strata());
        command.arg("server");
        for (flag, address) in [
            ("--s3-addr", self.options.s3_addr.as_str()),
            ("--metrics-addr", self.options.metrics_addr.as_str()),
            ("--metadata-addr", ANY_PORT),
            ("--data-addr", ANY_PORT),
        ] {
            command.args([flag, address]);
        }
        let listed = match self.options.listed.as_slice() {
            [] => self.data_dirs(),
            listed => listed.to_vec(),
        };
        for place in listed {
            command.arg("--data-dir").arg(place);
        }
        if self.options.data_dirs > 1 {
            command.arg("--assume-separate-failure-domains");
        }
        if let Some(cores) = &self.options.cores {
            command.args(["--cores", cores]);
        }
        if self.options.names_metadata_dir {
            command.arg("--metadata-dir").arg(self.metadata_dir());
        }
        if let Some(files) = &self.options.tls {
            command.arg("--tls-cert").arg(&files.cert);
            command.arg("--tls-key").arg(&files.key);
        }
        command
            .args(["--capacity", &self.options.capacity])
            .args(&self.options.arguments);
        for (name, _) in std::env::vars().filter(|(name, _)| name.starts_with("STRATA_")) {
            command.env_remove(name);
        }
        command.env_remove("RUST_LOG");
        command.env("STRATA_ROOT_ACCESS_KEY_ID", ACCESS_KEY_ID);
        command.env("STRATA_ROOT_SECRET_KEY", SECRET_KEY);
        command.env("XDG_DATA_HOME", self.folder.path().join("xdg"));
        command
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped());
        command
    }

    /// Its data directories.
    pub fn data_dirs(&self) -> Vec<PathBuf> {
        (0..self.options.data_dirs)
            .map(|n| self.folder.path().join(format!("data{n}")))
            .collect()
    }

    /// The directory of the namespace, where it is named.
    pub fn metadata_dir(&self) -> PathBuf {
        self.folder.path().join("metadata")
    }

    /// The folder that holds everything of this server.
    pub fn folder(&self) -> &Path {
        self.folder.path()
    }

    /// What differs from other servers; takes effect at the next start.
    pub fn options_mut(&mut self) -> &mut ServerOptions {
        &mut self.options
    }

    fn running(&self) -> &Running {
        self.running.as_ref().expect("the server runs")
    }

    /// The S3 endpoint of this start.
    pub fn s3(&self) -> SocketAddr {
        self.running().s3
    }

    /// The metrics endpoint of this start.
    pub fn metrics(&self) -> SocketAddr {
        self.running().metrics
    }

    /// The process.
    pub fn process_id(&self) -> u32 {
        self.running().child.id()
    }

    /// Everything it has said so far, all starts together.
    pub fn log(&self) -> String {
        self.log.lines().join("\n")
    }

    /// `kill -9`, and waits until it is gone.
    pub fn kill(&mut self) {
        let mut running = self.running.take().expect("the server runs");
        running.child.kill().expect("kill -9");
        running.child.wait().expect("the killed server's status");
    }

    /// SIGTERM, and waits until it has ended.
    pub fn stop(&mut self) -> ExitStatus {
        self.terminate();
        self.wait()
    }

    /// SIGTERM, without waiting.
    pub fn terminate(&self) {
        // SAFETY: kill(2) takes no pointers; the process is our child and not waited for yet, so the id is its own.
        unsafe { libc::kill(self.process_id() as i32, libc::SIGTERM) };
    }

    /// SIGHUP.
    pub fn hang_up(&self) {
        // SAFETY: as above.
        unsafe { libc::kill(self.process_id() as i32, libc::SIGHUP) };
    }

    /// Waits until it has ended by itself.
    pub fn wait(&mut self) -> ExitStatus {
        let mut running = self.running.take().expect("the server runs");
        let deadline = Instant::now() + STOP_PATIENCE;
        while Instant::now() < deadline {
            if let Some(status) = running
                .child
                .try_wait()
                .expect("the stopped server's status")
            {
                return status;
            }
            std::thread::sleep(Duration::from_millis(5));
        }
        running.child.kill().expect("kill -9");
        running.child.wait().expect("the killed server's status");
        panic!("not stopped after {STOP_PATIENCE:?}:\n{}", self.log.tail());
    }

    /// An SDK client for this start, which tries once and waits long.
    pub fn client(&self) -> aws_sdk_s3::Client {
        aws_sdk_s3::Client::from_conf(self.client_config().build())
    }

    /// The configuration of [`Server::client`], to be changed.
    pub fn client_config(&self) -> aws_sdk_s3::config::Builder {
        let scheme = if self.options.tls.is_some() {
            "https"
        } else {
            "http"
        };
        let timeouts = aws_sdk_s3::config::timeout::TimeoutConfig::builder()
            .operation_timeout(Duration::from_secs(60))
            .build();
        aws_sdk_s3::Config::builder()
            .behavior_version(BehaviorVersion::latest())
            .region(Region::new(REGION))
            .credentials_provider(Credentials::new(ACCESS_KEY_ID, SECRET_KEY, None, None, "tests"))
            .endpoint_url(format!("{scheme}://{}", self.s3()))
            .force_path_style(true)
            .retry_config(aws_sdk_s3::config::retry::RetryConfig::disabled())
            .timeout_config(timeouts)
            .stalled_stream_protection(
                aws_sdk_s3::config::StalledStreamProtectionConfig::disabled(),
            )
    }

    /// Signs by hand with the root key.
    pub fn signer(&self) -> Signer {
        Signer {
            access_key_id: ACCESS_KEY_ID.into(),
            secret_key: SECRET_KEY.into(),
            region: REGION.into(),
            service: "s3".into(),
            clock_offset_seconds: 0,
        }
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        if let Some(mut running) = self.running.take() {
            // A failure to kill means that it has ended.
            let _ended = running.child.kill();
            let _status = running.child.wait();
        }
        if std::thread::panicking() {
            eprintln!("-- the server's log:\n{}\n--", self.log.tail());
        }
    }
}

/// The address after `http://` or `https://` in a line that holds one of the words.
fn address_in(line: &str, words: &[&str]) -> Option<SocketAddr> {
    if !words.iter().any(|word| line.contains(word)) {
        return None;
    }
    let (_, rest) = line.split_once("http")?;
    let rest = rest.strip_prefix('s').unwrap_or(rest).strip_prefix("://")?;
    let end = rest
        .find(|c: char| !(c.is_ascii_digit() || ".:[]".contains(c)))
        .unwrap_or(rest.len());
    rest[..end].trim_end_matches(['.', ':']).parse().ok()
}

type Order = (Command, Sender<std::io::Result<Child>>);

/// Starts a process that dies with this one. The kernel's parent-death signal comes when the starting THREAD ends, so
/// one thread that never ends starts all of them.
pub fn spawn(command: Command) -> Result<Child, String> {
    static STARTER: OnceLock<Mutex<Sender<Order>>> = OnceLock::new();
    let starter = STARTER.get_or_init(|| {
        let (orders, inbox) = channel::<Order>();
        std::thread::spawn(move || {
            for (mut command, answer) in inbox {
                // SAFETY: prctl(PR_SET_PDEATHSIG) is async-signal-safe and touches no memory of the parent.
                unsafe {
                    command.pre_exec(|| {
                        libc::prctl(libc::PR_SET_PDEATHSIG, libc::SIGKILL);
                        Ok(())
                    })
                };
                // Nobody waits for the answer any more only where the test has ended.
                let _gone = answer.send(command.spawn());
            }
        });
        Mutex::new(orders)
    });
    let (answer, outcome) = channel();
    let starter = starter.lock().unwrap_or_else(PoisonError::into_inner);
    starter
        .send((command, answer))
        .map_err(|_| "the starter thread is gone")?;
    drop(starter);
    let child = outcome.recv().map_err(|error| error.to_string())?;
    child.map_err(|error| format!("cannot start: {error}"))
}

/// Has a server listen on ports that the system chooses.
pub fn listen_anywhere(command: &mut Command) {
    for flag in [
        "--s3-addr",
        "--metrics-addr",
        "--metadata-addr",
        "--data-addr",
    ] {
        command.args([flag, ANY_PORT]);
    }
}

#[cfg(test)]
mod tests {
    use super::address_in;

    #[test]
    fn addresses_are_found_in_lines() {
        let line = "  S3        http://127.0.0.1:9002  (region us-east-1)";
        assert_eq!(address_in(line, &["S3"]), "127.0.0.1:9002".parse().ok());
        assert_eq!(
            address_in("S3 at https://127.0.0.1:9002.", &["S3"]),
            "127.0.0.1:9002".parse().ok()
        );
        assert_eq!(address_in(line, &["etrics"]), None);
    }
}
