//! Answers as hyper sends them, and the line that each leaves in the log when its last byte is out.

use std::net::SocketAddr;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll};

use bytes::Bytes;
use http::header::{self, HeaderName};
use http::{HeaderMap, HeaderValue, Response, StatusCode};
use http_body::{Body, Frame, SizeHint};
use strata_engine::reactor::{self, Instant};
use strata_net::ClusterError;
use strata_raftlog::namespace::UserPolicies;

use super::Server;
use crate::body::RequestBody;
use crate::error::{Code, Fault};
use crate::metrics::Asked;
use crate::policy::RoleSession;
use crate::query_api::{self, Service};
use crate::request::Address;
use crate::request_id::RequestId;
use crate::response::ResponseBody;
use crate::s3::ObjectBody;

/// Characters of a key id that are logged.
const ACCESS_KEY_ID_SHOWN: usize = 128;

/// What is noted of a request. Dropped with its answer, it writes the log line and counts.
pub struct Record {
    /// The request's id.
    pub request_id: RequestId,
    /// What it asked for.
    pub asked: Asked,
    /// The service that it calls; `None` where it is none of a query API.
    pub call: Option<Service>,
    /// What it is about.
    pub address: Option<Address>,
    /// The key that it says it is signed with.
    pub access_key_id: Option<String>,
    /// The user whose signature it has.
    pub user: Option<Rc<UserPolicies>>,
    /// The session of a role that has signed.
    pub role_session: Option<Rc<RoleSession>>,
    /// Whether more of the body may come.
    pub is_unread: bool,
    is_continue_owed: bool,
    status: StatusCode,
    received: u64,
    sent: u64,
    started: Instant,
    peer: SocketAddr,
    server: Rc<Server>,
}

impl Record {
    /// A request begins.
    pub fn new(server: &Rc<Server>, peer: SocketAddr) -> Record {
        Record {
            request_id: RequestId::new(),
            asked: Asked::Unknown,
            call: None,
            address: None,
            access_key_id: None,
            user: None,
            role_session: None,
            is_unread: false,
            is_continue_owed: false,
            status: StatusCode::INTERNAL_SERVER_ERROR,
            received: 0,
            sent: 0,
            started: reactor::now(),
            peer,
            server: Rc::clone(server),
        }
    }

    /// Notes what came of the body, when nobody reads it any more.
    pub fn leave_body(&mut self, body: &RequestBody) {
        self.received = body.wire_bytes();
        self.is_unread = body.is_unread();
        self.is_continue_owed = body.is_continue_owed();
    }

    fn operation_name(&self) -> &'static str {
        self.asked.name()
    }

    fn bucket(&self) -> &str {
        let address = self.address.as_ref();
        address.and_then(Address::bucket).unwrap_or_default()
    }

    fn key(&self) -> &str {
        let address = self.address.as_ref();
        address.and_then(Address::key).unwrap_or_default()
    }

    /// The name of the user whose signature it has; empty for the root and for nobody.
    fn user(&self) -> &str {
        self.user.as_ref().map_or("", |known| &known.user.name)
    }

    /// The names of role and session; empty where no session of a role has signed.
    fn role_session(&self) -> (&str, &str) {
        let session = self.role_session.as_ref();
        session.map_or(("", ""), |session| (&session.role, &session.name))
    }

    /// The key id, cut where a client makes up a long one.
    fn access_key_id(&self) -> &str {
        let id = self.access_key_id.as_deref().unwrap_or_default();
        id.char_indices()
            .nth(ACCESS_KEY_ID_SHOWN)
            .map_or(id, |(end, _)| &id[..end])
    }
}

/// Writes the line of a request at a level, which must be constant.
macro_rules! request_line {
    ($level:expr, $record:expr, $took:expr) => {{
        let record = $record;
        tracing::event!(
            $level,
            request_id = %record.request_id,
            client = %record.peer,
            operation = record.operation_name(),
            bucket = record.bucket(),
            key = record.key(),
            access_key_id = record.access_key_id(),
            user = record.user(),
            role = record.role_session().0,
            session = record.role_session().1,
            status = record.status.as_u16(),
            bytes_received = record.received,
            bytes_sent = record.sent,
            micros = $took.as_micros() as u64,
            "request"
        );
    }};
}

impl Drop for Record {
    fn drop(&mut self) {
        let took = self.started.elapsed();
        let counters = &self.server.counters;
        counters.count(self.asked, self.status, took, self.received, self.sent);
        match self.server.shared.config.log_requests {
            true => request_line!(tracing::Level::INFO, &*self, took),
            false => request_line!(tracing::Level::DEBUG, &*self, took),
        }
    }
}

enum Kind {
    Whole(Bytes),
    Object(Box<ObjectBody>),
}

/// The body of an answer.
pub struct AnswerBody {
    kind: Kind,
    record: Record,
}

impl Body for AnswerBody {
    type Data = Bytes;
    type Error = ClusterError;

    fn poll_frame(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, ClusterError>>> {
        let this = self.get_mut();
        let outcome = match &mut this.kind {
            Kind::Whole(bytes) if bytes.is_empty() => Poll::Ready(None),
            Kind::Whole(bytes) => Poll::Ready(Some(Ok(Frame::data(std::mem::take(bytes))))),
            Kind::Object(body) => Pin::new(&mut **body).poll_frame(context),
        };
        if let Poll::Ready(Some(Ok(frame))) = &outcome {
            this.record.sent += frame.data_ref().map_or(0, |data| data.len() as u64);
        }
        outcome
    }

    fn is_end_stream(&self) -> bool {
        match &self.kind {
            Kind::Whole(bytes) => bytes.is_empty(),
            Kind::Object(body) => body.is_end_stream(),
        }
    }

    fn size_hint(&self) -> SizeHint {
        match &self.kind {
            Kind::Whole(bytes) => SizeHint::with_exact(bytes.len() as u64),
            Kind::Object(body) => body.size_hint(),
        }
    }
}

/// The answer to a request that failed. HEAD and `304` have no body.
pub fn of_fault(
    fault: Fault,
    resource: &str,
    is_head: bool,
    mut record: Record,
) -> Response<AnswerBody> {
    record.status = fault.code.status();
    report(&fault, &record);
    let is_bare = is_head || fault.code == Code::NotModified;
    let body = match is_bare {
        true => Bytes::new(),
        false => match record.call {
            Some(service) => query_api::answer::of_fault(service, &fault, record.request_id),
            None => fault.body(resource, &record.request_id.to_string()),
        },
    };
    let mut headers: HeaderMap = fault.headers.into_iter().collect();
    if fault.code != Code::NotModified {
        let kind = match record.call {
            Some(_) => query_api::answer::CONTENT_TYPE,
            None => HeaderValue::from_static("application/xml"),
        };
        headers.insert(header::CONTENT_TYPE, kind);
    }
    assemble(headers, Kind::Whole(body), record)
}

/// What the server cannot help is told to the one who runs it, and who was denied what; the rest is
/// told to the client.
fn report(fault: &Fault, record: &Record) {
    let cause = fault.cause.as_deref().unwrap_or_default();
    let (request_id, operation) = (record.request_id, record.operation_name());
    let (bucket, key, code) = (record.bucket(), record.key(), fault.code.name());
    match fault.code {
        Code::InternalError | Code::InternalFailure => {
            let (message, what) = (&*fault.message, "a request failed");
            tracing::error!(%request_id, operation, bucket, key, code, cause, message, what);
        }
        Code::ServiceUnavailable | Code::InsufficientStorage => {
            if let Some(more) = record.server.unserved_lines.pass() {
                let what = "a request could not be served";
                tracing::warn!(%request_id, operation, bucket, code, cause, more, what);
            }
        }
        Code::AccessDenied
        | Code::InvalidAccessKeyId
        | Code::InvalidClientTokenId
        | Code::MissingAuthenticationToken
        | Code::SignatureDoesNotMatch
        | Code::RequestTimeTooSkewed => {
            if let Some(more) = record.server.denied_lines.pass() {
                let (client, access_key_id) = (record.peer, record.access_key_id());
                let user = record.user();
                let (role, session) = record.role_session();
                let what = "access was denied";
                tracing::info!(
                    %request_id, %client, access_key_id, user, role, session, operation, bucket, key, code, cause, more, what
                );
            }
        }
        _ => tracing::debug!(%request_id, operation, code, cause, "a request was refused"),
    }
}

/// The answer to a request that was served.
pub fn of_success(
    response: crate::response::Response,
    is_head: bool,
    mut record: Record,
) -> Response<AnswerBody> {
    record.status = response.status;
    let kind = match response.body {
        ResponseBody::Object(body) => Kind::Object(body),
        ResponseBody::Bytes(bytes) if !is_head => Kind::Whole(bytes),
        ResponseBody::Bytes(_) | ResponseBody::Empty => Kind::Whole(Bytes::new()),
    };
    assemble(response.headers, kind, record)
}

fn assemble(mut headers: HeaderMap, kind: Kind, record: Record) -> Response<AnswerBody> {
    if let Ok(value) = HeaderValue::from_str(&record.request_id.to_string()) {
        let name = match record.call {
            Some(_) => "x-amzn-requestid",
            None => "x-amz-request-id",
        };
        headers.insert(HeaderName::from_static(name), value);
    }
    headers.insert(header::SERVER, HeaderValue::from_static("Strata"));
    // A client that may still send a body, or counts on a `100`, must not use the connection again.
    if record.is_unread || record.is_continue_owed {
        headers.insert(header::CONNECTION, HeaderValue::from_static("close"));
    }
    let status = record.status;
    let mut response = Response::new(AnswerBody { kind, record });
    *response.status_mut() = status;
    *response.headers_mut() = headers;
    response
}
