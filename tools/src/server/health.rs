//! `/metrics`, `/healthz` and `/readyz`, on a small reactor of their own.
//!
//! A thread of its own and not reactor 0: `/readyz` must answer while the log is replayed, and `/healthz` when a reactor hangs.
//!
//! Invariants: connections are bounded in number and time; nothing here is secret, so nothing asks for credentials.

use std::cell::Cell;
use std::convert::Infallible;
use std::net::SocketAddr;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::{Method, Request, Response, StatusCode, header};
use http_body_util::Full;
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use strata_engine::reactor::{self, ListenOptions, TaskClass, TcpListener, TcpStream};
use strata_gateway::LineLimit;
use strata_gateway::tls::Tls;
use strata_gateway::tls::handshake;
use strata_gateway::tls::transport::CLIENT_SPEAKS_TLS;
use strata_net::node::status::{Degradation, NodeStatus, Phase};

use super::metrics::Metrics;
use super::metrics::node::severity_word;
use super::metrics::text::Format;

/// Connections at a time; a scraper needs one.
const CONNECTIONS_MAX: usize = 64;

/// A connection is answered and closed within this.
const CONNECTION_TIME: Duration = Duration::from_secs(10);

const BACKLOG: u32 = 64;

/// What the endpoints answer from.
#[derive(Clone)]
pub struct Health {
    /// The node's phase.
    pub status: Arc<NodeStatus>,
    /// Everything that `/metrics` shows.
    pub metrics: Arc<Metrics>,
    /// What makes the port speak TLS.
    pub tls: Option<Arc<Tls>>,
}

/// Listens on an address that is claimed.
///
/// # Errors
/// When it cannot be listened on.
pub fn listen(address: SocketAddr) -> std::io::Result<TcpListener> {
    TcpListener::bind(
        address,
        ListenOptions {
            reuse_port: true,
            backlog: BACKLOG,
        },
    )
}

/// Serves until the task is dropped.
pub async fn serve(listener: TcpListener, health: Health) {
    let open = Rc::new(Cell::new(0));
    let lines = Rc::new(LineLimit::default());
    loop {
        match listener.accept().await {
            Ok((stream, _)) if open.get() < CONNECTIONS_MAX => {
                let place = Place::take(&open);
                let work = serve_connection(stream, health.clone(), lines.clone(), place);
                reactor::spawn(TaskClass::Foreground, work).detach();
            }
            Ok(_) => tracing::debug!("a connection for metrics was turned away: too many are open"),
            Err(error) => {
                tracing::warn!(%error, "no connection for metrics could be accepted; trying again");
                reactor::sleep(Duration::from_secs(1)).await;
            }
        }
    }
}

/// One of the connections that may be open.
struct Place(Rc<Cell<usize>>);

impl Place {
    fn take(open: &Rc<Cell<usize>>) -> Place {
        open.set(open.get() + 1);
        Place(open.clone())
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        self.0.set(self.0.get() - 1);
    }
}

async fn serve_connection(stream: TcpStream, health: Health, lines: Rc<LineLimit>, _place: Place) {
    match reactor::timeout(CONNECTION_TIME, answer_one(stream, &health, &lines)).await {
        Ok(Ok(())) => {}
        Ok(Err(error)) => tracing::debug!(%error, "a connection for metrics failed"),
        Err(_) => tracing::debug!("a connection for metrics took too long"),
    }
}

async fn answer_one(stream: TcpStream, health: &Health, lines: &LineLimit) -> hyper::Result<()> {
    let accepted = handshake::accept(stream, health.tls.as_deref(), CONNECTION_TIME);
    let Some(transport) = accepted.await else {
        return Ok(());
    };
    let client_speaks_tls = transport.client_speaks_tls();
    let service = service_fn(|request: Request<Incoming>| {
        let accept = request.headers().get(header::ACCEPT);
        let accept = accept.and_then(|value| value.to_str().ok());
        let answer = answer(health, request.method(), request.uri().path(), accept);
        async move { Ok::<_, Infallible>(answer) }
    });
    let ended = http1::Builder::new()
        .keep_alive(false)
        .serve_connection(transport, service)
        .await;
    if client_speaks_tls.is_so()
        && let Some(more) = lines.pass()
    {
        tracing::info!(more, port = "metrics", "{CLIENT_SPEAKS_TLS}");
    }
    ended
}

fn answer(
    health: &Health,
    method: &Method,
    path: &str,
    accept: Option<&str>,
) -> Response<Full<Bytes>> {
    if *method != Method::GET && *method != Method::HEAD {
        let mut response = text(
            StatusCode::METHOD_NOT_ALLOWED,
            "only GET and HEAD\n".to_owned(),
        );
        response
            .headers_mut()
            .insert(header::ALLOW, header::HeaderValue::from_static("GET, HEAD"));
        return response;
    }
    match path {
        "/metrics" => metrics(health, Format::preferred(accept)),
        "/healthz" => {
            let (status, reason) = liveness(&health.status.phase());
            text(status, reason)
        }
        "/readyz" => {
            let (status, reason) = readiness(&health.status.phase(), &health.status.degradations());
            text(status, reason)
        }
        _ => text(
            StatusCode::NOT_FOUND,
            "there are /metrics, /healthz and /readyz\n".to_owned(),
        ),
    }
}

fn metrics(health: &Health, format: Format) -> Response<Full<Bytes>> {
    match health.metrics.encode(format) {
        Ok(body) => {
            let mut response = text(StatusCode::OK, body);
            let kind = header::HeaderValue::from_static(format.content_type());
            response.headers_mut().insert(header::CONTENT_TYPE, kind);
            response
        }
        Err(error) => text(
            StatusCode::INTERNAL_SERVER_ERROR,
            format!("metrics could not be written: {error}\n"),
        ),
    }
}

/// Whether the process does its work or is about to: a restart would not help a node that starts.
fn liveness(phase: &Phase) -> (StatusCode, String) {
    match phase {
        Phase::Failed(why) => (StatusCode::SERVICE_UNAVAILABLE, format!("failed: {why}\n")),
        Phase::Starting(_) | Phase::Ready | Phase::Stopping => {
            (StatusCode::OK, "alive\n".to_owned())
        }
    }
}

/// Whether requests are served: 200 as long as names can be changed, small objects stored and stored bytes read, with a line for
/// each thing that the node is short of; else 503 with the reason.
fn readiness(phase: &Phase, degradations: &[Degradation]) -> (StatusCode, String) {
    match phase {
        Phase::Ready if degradations.is_empty() => (StatusCode::OK, "ready\n".to_owned()),
        Phase::Ready => {
            let mut body = "degraded\n".to_owned();
            for found in degradations {
                let severity = severity_word(found.severity);
                body.push_str(&format!(
                    "- {severity}: {}. To do: {}\n",
                    found.what, found.remedy
                ));
            }
            (StatusCode::OK, body)
        }
        Phase::Starting(what) => (
            StatusCode::SERVICE_UNAVAILABLE,
            format!("starting: {what}\n"),
        ),
        Phase::Stopping => (
            StatusCode::SERVICE_UNAVAILABLE,
            "stopping: requests under way are finished\n".to_owned(),
        ),
        Phase::Failed(why) => (StatusCode::SERVICE_UNAVAILABLE, format!("failed: {why}\n")),
    }
}

fn text(status: StatusCode, body: String) -> Response<Full<Bytes>> {
    let mut response = Response::new(Full::new(Bytes::from(body)));
    *response.status_mut() = status;
    let kind = header::HeaderValue::from_static("text/plain; charset=utf-8");
    response.headers_mut().insert(header::CONTENT_TYPE, kind);
    response
}

#[cfg(test)]
mod tests {
    use super::*;

    fn health(phase: Phase) -> Health {
        let status = Arc::new(NodeStatus::default());
        status.enter(phase);
        Health {
            metrics: Arc::new(Metrics::new(status.clone())),
            tls: None,
            status,
        }
    }

    fn status_of(phase: Phase, path: &str) -> StatusCode {
        answer(&health(phase), &Method::GET, path, None).status()
    }

    #[test]
    fn readiness_follows_the_phase() {
        assert_eq!(status_of(Phase::Ready, "/readyz"), StatusCode::OK);
        for phase in [
            Phase::Starting("x".to_owned()),
            Phase::Stopping,
            Phase::Failed("x".to_owned()),
        ] {
            assert_eq!(status_of(phase, "/readyz"), StatusCode::SERVICE_UNAVAILABLE);
        }
        let (_, reason) = readiness(&Phase::Starting("replaying the log".to_owned()), &[]);
        assert!(reason.contains("replaying the log"));
    }

    #[test]
    fn a_degraded_node_serves_and_says_what_it_is_short_of() {
        let found = Degradation {
            severity: strata_net::node::status::Severity::Critical,
            kind: "placement",
            what: "new objects are refused".to_owned(),
            remedy: "put the disk back".to_owned(),
        };
        let (status, body) = readiness(&Phase::Ready, &[found]);
        assert_eq!(status, StatusCode::OK);
        assert_eq!(
            body,
            "degraded\n- critical: new objects are refused. To do: put the disk back\n"
        );
    }

    #[test]
    fn metrics_are_written_as_they_are_asked_for() {
        let kind = |accept: Option<&str>| {
            let response = answer(&health(Phase::Ready), &Method::GET, "/metrics", accept);
            let kind = response.headers()[header::CONTENT_TYPE].to_str();
            kind.expect("text").to_owned()
        };
        assert!(kind(None).starts_with("application/openmetrics-text"));
        assert_eq!(
            kind(Some("text/plain;version=0.0.4")),
            "text/plain; version=0.0.4; charset=utf-8"
        );
    }

    #[test]
    fn a_starting_node_is_alive_and_a_failed_one_is_not() {
        assert_eq!(
            status_of(Phase::Starting("x".to_owned()), "/healthz"),
            StatusCode::OK
        );
        assert_eq!(
            status_of(Phase::Failed("x".to_owned()), "/healthz"),
            StatusCode::SERVICE_UNAVAILABLE
        );
    }

    #[test]
    fn other_paths_and_methods_are_refused() {
        assert_eq!(status_of(Phase::Ready, "/"), StatusCode::NOT_FOUND);
        let posted = answer(&health(Phase::Ready), &Method::POST, "/metrics", None);
        assert_eq!(posted.status(), StatusCode::METHOD_NOT_ALLOWED);
        assert_eq!(status_of(Phase::Ready, "/metrics"), StatusCode::OK);
    }
}
