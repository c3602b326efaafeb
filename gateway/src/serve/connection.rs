//! One connection.

use std::convert::Infallible;
use std::net::SocketAddr;
use std::pin::pin;
use std::rc::Rc;
use std::time::Duration;

use futures_util::future::{Either, select};
use hyper::server::conn::http1;
use hyper::service::service_fn;
use strata_engine::reactor::{self, HyperTimer, TcpStream};

use super::Server;
use super::exchange::{self, Client};
use super::lingering::{Lingering, UnreadBody};
use crate::error::{Code, Fault};
use crate::request_id::RequestId;
use crate::tls::handshake;
use crate::tls::transport::CLIENT_SPEAKS_TLS;

/// How long a connection may be idle, and how long the head of a request may take, and a TLS handshake before the first.
const HEAD_MAX: Duration = Duration::from_secs(60);

/// The longest head of a request, in bytes: a key of 1,024 bytes in percent-encoding, and headers.
const HEAD_BYTES_MAX: usize = 64 << 10;

/// Headers of a request at most.
const HEADERS_MAX: usize = 200;

/// What hyper reads ahead and buffers of an answer, in bytes. An idle connection holds 8 KiB.
const BUFFER_BYTES_MAX: usize = 128 << 10;

/// How long telling a client that there are too many may take.
const REFUSE_MAX: Duration = Duration::from_secs(5);

/// Serves a connection to its end. hyper's `pipeline_flush` stays off: with it a malformed request is
/// closed without the 400 that hyper has written for it.
///
/// A client may close its half when it has asked: it is answered all the same.
pub async fn serve(server: &Rc<Server>, stream: TcpStream, peer: SocketAddr) {
    let mut told = pin!(server.told_to_stop());
    let accepted = pin!(handshake::accept(stream, server.tls(), HEAD_MAX));
    let Either::Left((Some(transport), _)) = select(accepted, told.as_mut()).await else {
        return;
    };
    let client_speaks_tls = transport.client_speaks_tls();
    let client = Client {
        address: peer,
        tls_version: transport.tls_version(),
    };
    let unread = UnreadBody::default();
    let service = service_fn(|request| async {
        Ok::<_, Infallible>(exchange::answer(server, request, client, &unread).await)
    });
    let connection = http1::Builder::new()
        .timer(HyperTimer)
        .header_read_timeout(HEAD_MAX)
        .max_buf_size(BUFFER_BYTES_MAX)
        .max_header_size(HEAD_BYTES_MAX)
        .max_headers(HEADERS_MAX)
        .half_close(true)
        .serve_connection(Lingering::new(transport, unread.clone()), service);
    let mut connection = pin!(connection);
    let ended = match select(connection.as_mut(), told).await {
        Either::Left((ended, _)) => ended,
        Either::Right(_) => {
            connection.as_mut().graceful_shutdown();
            connection.await
        }
    };
    if client_speaks_tls.is_so() {
        if let Some(more) = server.tls_lines.pass() {
            tracing::info!(client = %peer, more, "{CLIENT_SPEAKS_TLS}");
        }
    } else if let Err(error) = ended {
        tracing::debug!(%error, "a connection ended early");
    }
}

/// Tells a client that there are too many connections, after the handshake that it expects.
pub async fn refuse(server: &Server, stream: TcpStream) {
    let fault = Fault::from(Code::SlowDown);
    let request_id = RequestId::new().to_string();
    let code = fault.code.name();
    tracing::debug!(%request_id, code, "a connection was refused");
    let body = fault.body("/", &request_id);
    let head = format!(
        "HTTP/1.1 503 Service Unavailable\r\nContent-Type: application/xml\r\nContent-Length: {}\r\n\
         x-amz-request-id: {request_id}\r\nRetry-After: 1\r\nConnection: close\r\n\r\n",
        body.len()
    );
    let tell = async {
        if let Some(mut transport) = handshake::accept(stream, server.tls(), REFUSE_MAX).await {
            let answer = [head.as_bytes(), &body].concat();
            // The client may be gone.
            let _ = transport.finish_with(&answer).await;
        }
    };
    let _ = reactor::timeout(REFUSE_MAX, tell).await;
}
