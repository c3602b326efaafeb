//! Answers as hyper sends them, and the line that each leaves in the log when its last byte is out.

use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use bytes::Bytes;
use http::header::{self, HeaderName};
use http::{HeaderMap, HeaderValue, Response, StatusCode};
use http_body::{Body, Frame, SizeHint};
use strata_engine::reactor::{self, Instant};
use strata_net::ClusterError;

use crate::body::RequestBody;
use crate::error::{Code, Fault};
use crate::metrics::GatewayMetrics;
use crate::request_id::RequestId;
use crate::s3::ObjectBody;

/// What is noted of a request. Dropped with its answer, it writes the log line and counts.
pub struct Record {
    /// The request's id.
    pub request_id: RequestId,
    /// What it asked for.
    pub operation: &'static str,
    /// The bucket.
    pub bucket: Option<String>,
    /// The status of the answer.
    pub status: StatusCode,
    /// The key that signed it.
    pub access_key_id: Option<String>,
    /// Bytes of the body that came.
    pub received: u64,
    /// Whether more of the body may come.
    pub is_unread: bool,
    sent: u64,
    started: Instant,
    metrics: Arc<GatewayMetrics>,
}

impl Record {
    /// A request begins.
    pub fn new(metrics: Arc<GatewayMetrics>) -> Record {
        Record {
            request_id: RequestId::new(),
            operation: "Unknown",
            bucket: None,
            status: StatusCode::INTERNAL_SERVER_ERROR,
            access_key_id: None,
            received: 0,
            is_unread: false,
            sent: 0,
            started: reactor::now(),
            metrics,
        }
    }

    /// Notes what came of the body, when nobody reads it any more.
    pub fn leave_body(&mut self, body: &RequestBody) {
        self.received = body.wire_bytes();
        self.is_unread = body.is_unread();
    }
}

impl Drop for Record {
    fn drop(&mut self) {
        let took = self.started.elapsed();
        let status = self.status.as_u16();
        self.metrics
            .request(self.operation, status, took, self.received, self.sent);
        tracing::debug!(
            request_id = %self.request_id,
            operation = self.operation,
            bucket = self.bucket.as_deref().unwrap_or_default(),
            access_key_id = self.access_key_id.as_deref().unwrap_or_default(),
            status,
            bytes_received = self.received,
            bytes_sent = self.sent,
            micros = took.as_micros() as u64,
            "request"
        );
    }
}

enum Kind {
    Whole(Bytes),
    Object(ObjectBody),
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
            Kind::Object(body) => Pin::new(body).poll_frame(context),
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
    let request_id = record.request_id;
    record.status = fault.code.status();
    report(&fault, &record);
    let is_bare = is_head || fault.code == Code::NotModified;
    let body = match is_bare {
        true => Bytes::new(),
        false => fault.body(resource, &request_id.to_string()),
    };
    let mut headers: HeaderMap = fault.headers.into_iter().collect();
    if fault.code != Code::NotModified {
        let xml = HeaderValue::from_static("application/xml");
        headers.insert(header::CONTENT_TYPE, xml);
    }
    assemble(headers, Kind::Whole(body), record)
}

/// What the server cannot help is told to the one who runs it; the rest is told to the client.
fn report(fault: &Fault, record: &Record) {
    let cause = fault.cause.as_deref().unwrap_or_default();
    let (request_id, operation, code) = (record.request_id, record.operation, fault.code.name());
    match fault.code {
        Code::InternalError => {
            tracing::error!(%request_id, operation, code, cause, message = %fault.message, "a request failed");
        }
        Code::ServiceUnavailable | Code::InsufficientStorage => {
            tracing::warn!(%request_id, operation, code, cause, "a request could not be served");
        }
        _ => tracing::debug!(%request_id, operation, code, cause, "a request was refused"),
    }
}

/// The answer to a request that was served.
pub fn of_success(
    status: StatusCode,
    headers: HeaderMap,
    object: Option<ObjectBody>,
    bytes: Bytes,
    mut record: Record,
) -> Response<AnswerBody> {
    record.status = status;
    let kind = match object {
        Some(body) => Kind::Object(body),
        None => Kind::Whole(bytes),
    };
    assemble(headers, kind, record)
}

fn assemble(mut headers: HeaderMap, kind: Kind, record: Record) -> Response<AnswerBody> {
    if let Ok(value) = HeaderValue::from_str(&record.request_id.to_string()) {
        headers.insert(HeaderName::from_static("x-amz-request-id"), value);
    }
    headers.insert(header::SERVER, HeaderValue::from_static("Strata"));
    let status = record.status;
    let mut response = Response::new(AnswerBody { kind, record });
    *response.status_mut() = status;
    *response.headers_mut() = headers;
    response
}

/// Characters that XML cannot carry as they are become references, as AWS has them: a key may hold
/// any. s3s writes them raw, and readers would drop or refuse them.
pub fn escape_controls(xml: Bytes) -> Bytes {
    let is_plain = |byte: &u8| *byte >= 0x20 || matches!(*byte, b'\t' | b'\n');
    let is_noncharacter = |at: &[u8]| matches!(at, [0xef, 0xbf, 0xbe | 0xbf]);
    if xml.iter().all(is_plain) && !xml.windows(3).any(is_noncharacter) {
        return xml;
    }
    let mut escaped = Vec::with_capacity(xml.len() + 64);
    let mut rest = &xml[..];
    while let Some((byte, tail)) = rest.split_first() {
        match rest.first_chunk::<3>() {
            Some(three @ [0xef, 0xbf, 0xbe | 0xbf]) => {
                let name: &[u8] = if three[2] == 0xbe {
                    b"&#xfffe;"
                } else {
                    b"&#xffff;"
                };
                escaped.extend_from_slice(name);
                rest = &rest[3..];
                continue;
            }
            _ if is_plain(byte) => escaped.push(*byte),
            _ => escaped.extend_from_slice(format!("&#x{byte:x};").as_bytes()),
        }
        rest = tail;
    }
    Bytes::from(escaped)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_xml_cannot_carry_becomes_a_reference() {
        let escape = |text: &'static str| escape_controls(Bytes::from_static(text.as_bytes()));
        assert_eq!(escape("<Key>a\tb\n</Key>"), "<Key>a\tb\n</Key>");
        assert_eq!(escape("<Key>a\u{1}\r</Key>"), "<Key>a&#x1;&#xd;</Key>");
        assert_eq!(escape("\u{ffff}\u{fffd}é"), "&#xffff;\u{fffd}é");
    }
}
