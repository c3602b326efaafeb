//! The ops server, a small reactor beside those of the node: it answers for health and metrics and waits for signals.
//!
//! Invariants: it is up before the node begins to recover; the first signal drains, the second one ends the process at once;
//! a signal during recovery ends the process at once, which is safe as every crash is.

use std::net::SocketAddr;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::mpsc;
use std::time::Duration;

use strata_engine::reactor::{self, ReactorConfig, Signal, TaskClass, World};
use strata_net::node::status::{NodeStatus, Phase};

use super::health::{self, Health};
use super::stop::{DRAIN_TIME_MAX, Stop};
use super::tls::reload::{self, Asked, Watched};
use super::web_identity;

/// Buffer memory of this reactor, in bytes: it does no disk work.
const ARENA_BYTES: usize = 4 << 20;

/// Between two looks at whether the metadata must be rebuilt.
const METADATA_PAUSE: Duration = Duration::from_millis(500);

/// What the ops server answers from and watches.
#[derive(Clone)]
pub struct OpsServer {
    /// The index of its reactor, past those of the node.
    pub index: usize,
    /// Where it answers.
    pub address: SocketAddr,
    /// What it answers from.
    pub health: Health,
    /// What a signal begins.
    pub stop: Stop,
    /// What SIGHUP has read again, where the ports speak TLS.
    pub watched: Option<Watched>,
    /// The issuers of web identities, whose keys are read again.
    pub web_identity: web_identity::Watched,
}

/// Starts the ops server on a thread of its own and returns once it listens.
///
/// # Errors
/// When its reactor cannot be had or the address cannot be listened on.
pub fn start(ops: OpsServer) -> Result<(), String> {
    let (report, started) = mpsc::channel();
    let body = move || {
        let config = ReactorConfig {
            index: ops.index,
            core: None,
            name: "strata-ops".to_owned(),
            arena_bytes: ARENA_BYTES,
            spin: Duration::ZERO,
        };
        let failed = report.clone();
        if let Err(error) = reactor::run(config, World::Real, async move || run(ops, report).await)
        {
            let _ = failed.send(Err(error.to_string()));
        }
    };
    let thread = std::thread::Builder::new()
        .name("strata-ops".to_owned())
        .spawn(body);
    thread.map_err(|error| format!("cannot start a thread: {error}"))?;
    started
        .recv()
        .map_err(|_| "the thread for metrics has ended".to_owned())?
}

async fn run(ops: OpsServer, report: mpsc::Sender<Result<(), String>>) {
    let address = ops.address;
    match health::listen(address) {
        Ok(listener) => {
            let serving = health::serve(listener, ops.health.clone());
            reactor::spawn(TaskClass::Foreground, serving).detach();
            let _ = report.send(Ok(()));
        }
        Err(error) => {
            let _ = report.send(Err(format!(
                "cannot listen on {address} for metrics: {error}"
            )));
            return;
        }
    }
    let asked = Rc::new(Asked::default());
    let reads_again = ops.watched.is_some().then(|| asked.clone());
    reactor::spawn(TaskClass::Foreground, handle_hangups(reads_again)).detach();
    if let Some(watched) = ops.watched.clone() {
        reactor::spawn(TaskClass::Background, reload::watch(watched, asked)).detach();
    }
    let issuers = web_identity::watch(ops.web_identity.clone());
    reactor::spawn(TaskClass::Background, issuers).detach();
    reactor::spawn(TaskClass::Foreground, watch_metadata(ops.clone())).detach();
    let terminate = watch(Signal::Terminate, ops.clone());
    reactor::spawn(TaskClass::Foreground, terminate).detach();
    watch(Signal::Interrupt, ops).await;
}

/// A terminal that goes, or a service manager that reloads, ends nothing: logs go to standard error, which is never opened anew, and the
/// configuration is read at a start. Certificate and private key are read again.
async fn handle_hangups(reads_again: Option<Rc<Asked>>) {
    loop {
        match (reactor::signal(Signal::Hangup).await, &reads_again) {
            (Ok(()), Some(asked)) => {
                tracing::info!("SIGHUP: the certificate and the private key are read again");
                asked.ask();
            }
            (Ok(()), None) => tracing::info!(
                "SIGHUP: nothing is open that could be opened anew; the configuration is read at a start"
            ),
            (Err(error), _) => {
                tracing::error!(%error, "SIGHUP cannot be waited for");
                return;
            }
        }
    }
}

/// A node whose namespace turned out to be damaged stops: its next start rebuilds the namespace from snapshot and log, and the
/// service manager makes that start.
async fn watch_metadata(ops: OpsServer) {
    while !ops.health.status.needs_rebuild() {
        reactor::sleep(METADATA_PAUSE).await;
    }
    if ops.stop.begin() {
        tracing::error!("stopping, so that the next start rebuilds the metadata");
        end(&ops.health.status);
    }
}

/// Handles a signal whenever it comes.
async fn watch(signal: Signal, ops: OpsServer) {
    loop {
        match reactor::signal(signal).await {
            Ok(()) => handle_signal(&format!("{signal:?}"), &ops.health.status, &ops.stop),
            Err(error) => {
                tracing::error!(%error, ?signal, "this signal cannot be waited for");
                std::future::pending::<()>().await;
            }
        }
    }
}

fn handle_signal(signal: &str, status: &Arc<NodeStatus>, stop: &Stop) {
    if let Phase::Starting(what) = status.phase() {
        tracing::info!(signal, during = what, "stopped during the start");
        std::process::exit(0);
    }
    if !stop.begin() {
        tracing::warn!(signal, "stopped without finishing the requests under way");
        std::process::exit(1);
    }
    tracing::info!(signal, "stopping: requests under way are finished first");
    end(status);
}

/// Shows that the node stops, and ends the process when that takes too long.
fn end(status: &NodeStatus) {
    status.enter(Phase::Stopping);
    reactor::spawn(TaskClass::Foreground, async {
        reactor::sleep(DRAIN_TIME_MAX).await;
        tracing::error!(
            seconds = DRAIN_TIME_MAX.as_secs(),
            "the server did not stop in time and is ended"
        );
        std::process::exit(1);
    })
    .detach();
}
