//! Serving S3 over HTTP/1.1 on one reactor, with or without TLS.
//!
//! Invariants: connections are bounded, and what is beyond the bound is told `503 SlowDown`; a
//! connection that neither sends nor takes bytes ends; when the reactor is told to stop, requests
//! that have begun are finished, for a bounded time.

mod answer;
mod connection;
mod exchange;
mod form_request;
pub mod line_limit;
mod lingering;
mod query_call;

use std::cell::Cell;
use std::future::poll_fn;
use std::net::SocketAddr;
use std::pin::pin;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use futures_util::future::{Either, select};
use strata_engine::reactor::local::{Notify, Semaphore};
use strata_engine::reactor::{self, TaskClass, TcpListener};
use strata_net::Cluster;

use crate::access::bucket_rules::KnownRules;
use crate::access::identity::KnownIdentities;
use crate::auth::{Credential, Verifier};
use crate::md5::queue::Md5Queue;
use crate::metrics::{GatewayMetrics, RequestCounters};
use crate::s3::ownership::Ownership;
use crate::s3::{ReadRoom, Shared};
use crate::tls::Tls;
use crate::web_identity::WebIdentity;
use line_limit::LineLimit;

/// Pause after a failed accept, which is mostly one without descriptors.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// Connections of a reactor at most.
const CONNECTIONS_MAX: usize = 2048;

/// How long requests may take to end when the server stops.
const DRAIN_MAX: Duration = Duration::from_secs(25);

/// Connections that may be told at one time that there are too many.
const REFUSALS_MAX: usize = 64;

/// XML bodies that are held at one time on a reactor, in KiB.
const XML_KIB_MAX: usize = 64 << 10;

/// Bodies of calls of query APIs that are held at one time on a reactor, in KiB.
const CALL_KIB_MAX: usize = 8 << 10;

/// The same of calls without a signature.
const UNSIGNED_CALL_KIB_MAX: usize = 2 << 10;

/// How the front end behaves.
#[derive(Debug, Clone)]
pub struct GatewayConfig {
    /// The region that clients must sign for and that buckets are said to be in.
    pub region: String,
    /// Domains, in lower case, below which a host names a bucket, beside `localhost`.
    pub domains: Vec<String>,
    /// Whether unsigned requests may do everything.
    pub allow_anonymous: bool,
    /// Whose the objects of a bucket are that is made without saying so.
    pub default_object_ownership: Ownership,
    /// Keys beside the root key, which is in the replicated state.
    pub credentials: Vec<Credential>,
    /// Whether a line at `info` is logged for every request; at `debug` there is one anyway.
    pub log_requests: bool,
    /// The providers of identities that are trusted.
    pub web_identity: Arc<WebIdentity>,
    /// What makes the port speak TLS.
    pub tls: Option<Arc<Tls>>,
}

impl Default for GatewayConfig {
    fn default() -> GatewayConfig {
        GatewayConfig {
            region: "us-east-1".to_owned(),
            domains: Vec::new(),
            allow_anonymous: false,
            default_object_ownership: Ownership::NEW,
            credentials: Vec::new(),
            log_requests: false,
            web_identity: Arc::default(),
            tls: None,
        }
    }
}

/// What all connections of a reactor share.
struct Server {
    shared: Shared,
    /// Where the bodies of all requests are hashed.
    md5: Md5Queue,
    verifier: Verifier,
    metrics: Arc<GatewayMetrics>,
    /// This reactor's share of them.
    counters: Arc<RequestCounters>,
    /// Lines on requests that were denied, on those that could not be served, and on clients that speak TLS to a port without it.
    denied_lines: LineLimit,
    unserved_lines: LineLimit,
    tls_lines: LineLimit,
    xml_room: Rc<Semaphore>,
    call_room: Rc<Semaphore>,
    /// The same of those that are not signed, which so are in nobody's way.
    unsigned_call_room: Rc<Semaphore>,
    connections: Cell<usize>,
    refusals: Cell<usize>,
    is_stopping: Cell<bool>,
    stopping: Notify,
    closed: Notify,
}

/// Serves what a listener accepts until `shutdown` is ready, then lets requests end. Returns when
/// no connection is left, or when the time for that is over.
pub async fn serve(
    listener: TcpListener,
    cluster: Cluster,
    config: Rc<GatewayConfig>,
    metrics: Arc<GatewayMetrics>,
    shutdown: impl Future<Output = ()>,
) {
    let server = Server::new(cluster, config, metrics);
    let mut shutdown = pin!(shutdown);
    loop {
        let accepted = pin!(listener.accept());
        match select(accepted, shutdown.as_mut()).await {
            Either::Left((Ok((stream, peer)), _)) => server.open(stream, peer),
            Either::Left((Err(error), _)) => {
                tracing::warn!(%error, "a connection could not be accepted");
                reactor::sleep(ACCEPT_PAUSE).await;
            }
            Either::Right(_) => break,
        }
    }
    drop(listener);
    server.drain().await;
}

impl Server {
    fn new(
        cluster: Cluster,
        config: Rc<GatewayConfig>,
        metrics: Arc<GatewayMetrics>,
    ) -> Rc<Server> {
        let verifier = Verifier::new(&config.region);
        let read_room = ReadRoom::new(cluster.parts().peers.len());
        let shared = Shared {
            cluster,
            config,
            read_room,
            rules: KnownRules::default(),
            identities: KnownIdentities::default(),
        };
        Rc::new(Server {
            shared,
            md5: Md5Queue::default(),
            verifier,
            counters: metrics.counters_of_a_reactor(),
            metrics,
            denied_lines: LineLimit::default(),
            unserved_lines: LineLimit::default(),
            tls_lines: LineLimit::default(),
            xml_room: Semaphore::new(XML_KIB_MAX),
            call_room: Semaphore::new(CALL_KIB_MAX),
            unsigned_call_room: Semaphore::new(UNSIGNED_CALL_KIB_MAX),
            connections: Cell::new(0),
            refusals: Cell::new(0),
            is_stopping: Cell::new(false),
            stopping: Notify::new(),
            closed: Notify::new(),
        })
    }

    fn open(self: &Rc<Self>, stream: reactor::TcpStream, peer: SocketAddr) {
        let server = Rc::clone(self);
        if self.connections.get() < CONNECTIONS_MAX {
            let opened = Opened::new(server);
            let serve = async move { connection::serve(&opened.0, stream, peer).await };
            reactor::spawn(TaskClass::Foreground, serve).detach();
            return;
        }
        self.metrics.connection_refused();
        if self.refusals.get() >= REFUSALS_MAX {
            return;
        }
        self.refusals.set(self.refusals.get() + 1);
        let refuse = async move {
            connection::refuse(&server, stream).await;
            server.refusals.set(server.refusals.get() - 1);
        };
        reactor::spawn(TaskClass::Foreground, refuse).detach();
    }

    fn tls(&self) -> Option<&Tls> {
        self.shared.config.tls.as_deref()
    }

    async fn drain(&self) {
        self.is_stopping.set(true);
        self.stopping.notify_all();
        let all_closed = async {
            while self.connections.get() > 0 {
                self.closed.notified().await;
            }
        };
        if reactor::timeout(DRAIN_MAX, all_closed).await.is_err() {
            let left = self.connections.get();
            tracing::warn!(
                connections = left,
                "requests did not end in time and are cut off"
            );
        }
    }

    /// Waits until the server is told to stop.
    async fn told_to_stop(&self) {
        let mut notified = pin!(self.stopping.notified());
        poll_fn(|context| match self.is_stopping.get() {
            true => std::task::Poll::Ready(()),
            false => notified.as_mut().poll(context),
        })
        .await;
    }
}

/// A connection that is counted while it is open.
struct Opened(Rc<Server>);

impl Opened {
    fn new(server: Rc<Server>) -> Opened {
        server.connections.set(server.connections.get() + 1);
        server.metrics.connection_opened();
        Opened(server)
    }
}

impl Drop for Opened {
    fn drop(&mut self) {
        self.0.connections.set(self.0.connections.get() - 1);
        self.0.metrics.connection_closed();
        self.0.closed.notify_all();
    }
}
