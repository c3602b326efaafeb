//! What the service manager is told: readiness, the state in words, signs of life (sd_notify(3), `NOTIFY_SOCKET`).
//!
//! Invariants: without `NOTIFY_SOCKET` there is no thread and nothing is sent; a manager that does not listen stops nothing;
//! READY is sent after every reactor listens; a sign of life is sent only when every reactor has given turns to tasks since
//! the one before, for which [`beat`] runs on each.

use std::ffi::OsString;
use std::io;
use std::os::linux::net::SocketAddrExt;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::net::{SocketAddr, UnixDatagram};
use std::sync::Arc;
use std::sync::mpsc::{RecvTimeoutError, Sender, channel};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use strata_engine::reactor;
use strata_net::node::status::{NodeStatus, Phase};

/// How often the phase is looked at.
const LOOK_INTERVAL: Duration = Duration::from_millis(100);

/// How often an idle reactor gives a turn, so that it can be told from one that is stuck.
const BEAT_INTERVAL: Duration = Duration::from_secs(1);

/// How often a start that goes on asks for more time, and for how much.
const EXTEND_INTERVAL: Duration = Duration::from_secs(10);
const EXTENSION: Duration = Duration::from_secs(60);

/// Gives a turn now and then, for as long as the reactor runs.
pub async fn beat() {
    loop {
        reactor::sleep(BEAT_INTERVAL).await;
    }
}

/// The socket of the service manager.
struct Socket {
    socket: UnixDatagram,
    address: SocketAddr,
}

impl Socket {
    /// The socket that a name stands for: a path, or after `@` a name in the abstract name space.
    fn open(name: &OsString) -> io::Result<Socket> {
        let address = match name.as_bytes() {
            [b'@', name @ ..] => SocketAddr::from_abstract_name(name)?,
            _ => SocketAddr::from_pathname(name)?,
        };
        let socket = UnixDatagram::unbound()?;
        // A manager that does not read must not hold this thread.
        socket.set_nonblocking(true)?;
        Ok(Socket { socket, address })
    }

    fn send(&self, message: &str) {
        if let Err(error) = self.socket.send_to_addr(message.as_bytes(), &self.address) {
            tracing::warn!(%error, "the service manager could not be told");
        }
    }
}

/// Tells the service manager until it is dropped; then it says that the process stops.
pub struct Notifying {
    end: Option<Sender<()>>,
    thread: Option<JoinHandle<()>>,
}

/// Begins to tell the service manager how the node is; `None` where there is no manager that wants to know.
pub fn start(status: Arc<NodeStatus>) -> Option<Notifying> {
    let name = std::env::var_os("NOTIFY_SOCKET").filter(|name| !name.is_empty())?;
    let socket = match Socket::open(&name) {
        Ok(socket) => socket,
        Err(error) => {
            tracing::warn!(%error, ?name, "NOTIFY_SOCKET cannot be used");
            return None;
        }
    };
    let text = |name: &str| std::env::var(name).ok();
    let mut teller = Teller::new(watchdog_interval(text, std::process::id()));
    let (end, ended) = channel();
    let thread = std::thread::Builder::new().name("strata-notify".to_owned());
    let thread = thread.spawn(move || {
        while ended.recv_timeout(LOOK_INTERVAL) == Err(RecvTimeoutError::Timeout) {
            let reactors = status.reactors();
            let turns: Vec<u64> = reactors.iter().map(|(_, of)| of.turns.get()).collect();
            if let Some(message) = teller.look(&status.phase(), &turns, Instant::now()) {
                socket.send(&message);
            }
        }
        if !teller.stopping {
            socket.send("STOPPING=1");
        }
    });
    match thread {
        Ok(thread) => Some(Notifying {
            end: Some(end),
            thread: Some(thread),
        }),
        Err(error) => {
            tracing::warn!(%error, "no thread for the service manager");
            None
        }
    }
}

impl Drop for Notifying {
    fn drop(&mut self) {
        drop(self.end.take());
        if let Some(thread) = self.thread.take() {
            // It holds nothing that would have to be put in order.
            let _ = thread.join();
        }
    }
}

/// Half of the time after which the manager takes this process for dead, where it does so at all.
fn watchdog_interval(variable: impl Fn(&str) -> Option<String>, process: u32) -> Option<Duration> {
    let microseconds: u64 = variable("WATCHDOG_USEC")?.parse().ok()?;
    let ours = variable("WATCHDOG_PID").is_none_or(|id| id.parse() == Ok(process));
    (ours && microseconds > 0).then(|| Duration::from_micros(microseconds) / 2)
}

/// What has been told, and what is to be told next.
struct Teller {
    watchdog: Option<Duration>,
    told: String,
    ready: bool,
    stopping: bool,
    /// The turns of every reactor at the last sign of life, and when that was.
    turns: Vec<u64>,
    last_sign: Option<Instant>,
    last_extension: Option<Instant>,
}

impl Teller {
    fn new(watchdog: Option<Duration>) -> Teller {
        Teller {
            watchdog,
            told: String::new(),
            ready: false,
            stopping: false,
            turns: Vec::new(),
            last_sign: None,
            last_extension: None,
        }
    }

    /// What to tell now, by the phase of the node and the turns of its reactors.
    fn look(&mut self, phase: &Phase, turns: &[u64], now: Instant) -> Option<String> {
        let mut lines = Vec::new();
        if *phase == Phase::Ready && !self.ready {
            self.ready = true;
            lines.push("READY=1".to_owned());
        }
        if *phase == Phase::Stopping && !self.stopping {
            self.stopping = true;
            lines.push("STOPPING=1".to_owned());
        }
        let words = words(phase);
        if words != self.told {
            lines.push(format!("STATUS={words}"));
            self.told = words;
        }
        if matches!(phase, Phase::Starting(_)) {
            lines.extend(self.extension(turns, now));
        } else {
            lines.extend(self.sign_of_life(turns, now));
        }
        (!lines.is_empty()).then(|| lines.join("\n"))
    }

    /// A start that goes on may take as long as it does.
    fn extension(&mut self, turns: &[u64], now: Instant) -> Option<String> {
        let is_due = |last: Instant| now.duration_since(last) >= EXTEND_INTERVAL;
        if !self.last_extension.is_none_or(is_due) || turns == self.turns {
            return None;
        }
        self.turns = turns.to_vec();
        self.last_extension = Some(now);
        Some(format!("EXTEND_TIMEOUT_USEC={}", EXTENSION.as_micros()))
    }

    fn sign_of_life(&mut self, turns: &[u64], now: Instant) -> Option<String> {
        let interval = self.watchdog?;
        let is_due = |last: Instant| now.duration_since(last) >= interval;
        if !self.last_sign.is_none_or(is_due) {
            return None;
        }
        let all_alive = !turns.is_empty()
            && (turns.len() != self.turns.len()
                || turns.iter().zip(&self.turns).all(|(now, then)| now != then));
        if !all_alive {
            return None;
        }
        self.turns = turns.to_vec();
        self.last_sign = Some(now);
        Some("WATCHDOG=1".to_owned())
    }
}

fn words(phase: &Phase) -> String {
    let text = match phase {
        Phase::Starting(what) => format!("Starting: {what}"),
        Phase::Ready => "Serving requests".to_owned(),
        Phase::Failed(why) => format!("Failed: {why}"),
        Phase::Stopping => "Stopping: requests under way are finished".to_owned(),
    };
    // A line feed would begin another assignment.
    text.replace('\n', " ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn readiness_and_the_end_are_told_once() {
        let mut teller = Teller::new(None);
        let now = Instant::now();
        let starting = Phase::Starting("looking\nfor devices".to_owned());
        let first = teller.look(&starting, &[1], now).expect("told");
        assert!(
            first.starts_with("STATUS=Starting: looking for devices\nEXTEND_TIMEOUT_USEC="),
            "{first}"
        );
        assert_eq!(teller.look(&starting, &[2], now), None);
        let ready = teller.look(&Phase::Ready, &[3], now).expect("told");
        assert_eq!(ready, "READY=1\nSTATUS=Serving requests");
        assert_eq!(teller.look(&Phase::Ready, &[4], now), None);
        let stopping = teller.look(&Phase::Stopping, &[5], now).expect("told");
        assert!(
            stopping.starts_with("STOPPING=1\nSTATUS=Stopping"),
            "{stopping}"
        );
    }

    #[test]
    fn a_start_that_stands_still_gets_no_more_time() {
        let mut teller = Teller::new(None);
        let begun = Instant::now();
        let starting = Phase::Starting(String::new());
        let mut look = |seconds: u64, turns: u64| {
            let told = teller.look(&starting, &[turns], begun + Duration::from_secs(seconds));
            told.is_some_and(|message| message.contains("EXTEND"))
        };
        assert!(look(0, 1) && !look(5, 2) && look(10, 2));
        assert!(!look(20, 2), "it stands still");
        assert!(look(21, 3));
    }

    #[test]
    fn one_stuck_reactor_ends_the_signs_of_life() {
        let mut teller = Teller::new(Some(Duration::from_secs(30)));
        let begun = Instant::now();
        let mut look = |seconds: u64, turns: &[u64]| {
            let told = teller.look(&Phase::Ready, turns, begun + Duration::from_secs(seconds));
            told.is_some_and(|message| message.contains("WATCHDOG=1"))
        };
        assert!(!look(0, &[]));
        assert!(look(1, &[1, 1]));
        assert!(!look(20, &[9, 9]), "not due");
        assert!(look(31, &[9, 9]));
        assert!(!look(90, &[9, 20]), "the first is stuck");
        assert!(look(91, &[10, 21]), "it goes on");
    }

    #[test]
    fn the_watchdog_of_another_process_is_not_ours() {
        let with = |id: &'static str| {
            let variable = move |name: &str| {
                Some(
                    if name == "WATCHDOG_PID" {
                        id
                    } else {
                        "60000000"
                    }
                    .to_owned(),
                )
            };
            watchdog_interval(variable, 7)
        };
        assert_eq!(with("7"), Some(Duration::from_secs(30)));
        assert_eq!(with("8"), None);
        assert_eq!(watchdog_interval(|_| None, 7), None);
    }
}
