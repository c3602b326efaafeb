//! One request and its answer.

use std::rc::Rc;

use bytes::Bytes;
use http::header::HeaderValue;
use http::{HeaderMap, Method, Request, Response, StatusCode};
use http_body_util::BodyExt as _;
use hyper::body::Incoming;
use s3s::HttpResponse;
use send_wrapper::SendWrapper;
use strata_engine::reactor;

use super::Server;
use super::patience::Unread;
use super::response::{AnswerBody, Record, escape_controls, of_fault, of_success};
use crate::auth::{Credential, Identity};
use crate::body::{Expectation, RequestBody};
use crate::context::Context;
use crate::error::{Code, Fault};
use crate::guard::{self, Admitted, XML_BYTES_MAX};
use crate::operation::Operation;
use crate::s3::ObjectBody;

/// An answer that is no error.
struct Success {
    status: StatusCode,
    headers: HeaderMap,
    object: Option<ObjectBody>,
    bytes: Bytes,
}

/// Answers a request, and notes where that is before its body has come.
pub async fn answer(
    server: &Rc<Server>,
    request: Request<Incoming>,
    unread: &Unread,
) -> Response<AnswerBody> {
    let mut record = Record::new(server.metrics.clone());
    let (parts, incoming) = request.into_parts();
    let (resource, is_head) = (parts.uri.path().to_owned(), parts.method == Method::HEAD);
    let unwanted = Expectation::unread(&parts.headers);
    let outcome = match admit(server, &parts.method, &parts.uri, parts.headers) {
        Ok(admitted) => {
            record.operation = admitted.operation.name();
            record.bucket = admitted.address.bucket().map(str::to_owned);
            record.access_key_id.clone_from(&admitted.access_key_id);
            execute(server, parts.method, admitted, incoming, &mut record).await
        }
        Err(fault) => {
            let mut body = request_body(incoming, unwanted);
            body.drain_briefly().await;
            record.leave_body(&body);
            Err(fault)
        }
    };
    if record.is_unread {
        unread.note();
    }
    match outcome {
        Ok(Success {
            status,
            headers,
            object,
            bytes,
        }) => {
            let bytes = if is_head { Bytes::new() } else { bytes };
            of_success(status, headers, object, bytes, record)
        }
        Err(fault) => of_fault(fault, &resource, is_head, record),
    }
}

fn admit(
    server: &Server,
    method: &Method,
    uri: &http::Uri,
    headers: HeaderMap,
) -> Result<Admitted, Fault> {
    let opened = guard::open(method, uri, &headers)?;
    let now = i64::try_from(reactor::wall_clock().seconds()).unwrap_or(i64::MAX);
    let subject = guard::subject(method, uri, &opened.query, &headers);
    let identity: Identity = server.verifier.verify(&subject, now, |access_key_id| {
        find_key(server, access_key_id)
    })?;
    guard::admit(
        method,
        headers,
        opened,
        identity,
        server.shared.config.allow_anonymous,
    )
}

/// Keys of the configuration, then the root key in the replicated state.
fn find_key(server: &Server, access_key_id: &str) -> Result<Option<Credential>, Fault> {
    let shared = &server.shared;
    let mut configured = shared.config.credentials.iter();
    if let Some(found) = configured.find(|known| known.access_key_id == access_key_id) {
        return Ok(Some(found.clone()));
    }
    let root = shared.cluster.names(|view| view.root_key())?;
    Ok(root
        .filter(|root| root.access_key_id == access_key_id)
        .map(|root| Credential {
            access_key_id: root.access_key_id,
            secret_access_key: root.secret_access_key,
        }))
}

fn request_body(incoming: Incoming, expectation: Expectation) -> RequestBody {
    RequestBody::new(Box::pin(incoming.map_err(Into::into)), expectation)
}

/// Runs an admitted request through s3s, with its body beside it.
async fn execute(
    server: &Server,
    method: Method,
    admitted: Admitted,
    incoming: Incoming,
    record: &mut Record,
) -> Result<Success, Fault> {
    let (headers, uri) = guard::for_s3s(&admitted);
    let Admitted {
        operation,
        address,
        query,
        headers: all_headers,
        body,
        ..
    } = admitted;
    let unread = || Expectation::unread(&all_headers);
    let expectation = body.clone().unwrap_or_else(unread);
    let is_xml = operation.takes_xml();
    let mut body = request_body(incoming, expectation);
    let outcome = match is_xml {
        true => collect(server, operation, &mut body).await,
        false => Ok((Bytes::new(), None)),
    };
    let (xml, room) = match outcome {
        Ok(collected) => collected,
        Err(fault) => {
            body.drain_briefly().await;
            record.leave_body(&body);
            return Err(fault);
        }
    };
    let context = Rc::new(Context::new(
        record.request_id,
        operation,
        address,
        query,
        all_headers,
        Some(body),
    ));
    let uri = uri
        .parse::<http::Uri>()
        .map_err(|_| Fault::from(Code::InvalidURI))?;
    let mut request = Request::new(s3s::Body::from(xml));
    *request.method_mut() = method;
    *request.uri_mut() = uri;
    *request.headers_mut() = headers;
    request
        .extensions_mut()
        .insert(SendWrapper::new(Rc::clone(&context)));
    let response = server.service.call(request).await;
    drop(room);
    let outcome = outcome_of(&context, response);
    if let Some(mut rest) = context.take_rest() {
        if outcome.is_err() {
            rest.drain_briefly().await;
        }
        record.leave_body(&rest);
    }
    outcome
}

/// Reads an XML body, within what the reactor has room for.
async fn collect(
    server: &Server,
    operation: Operation,
    body: &mut RequestBody,
) -> Result<(Bytes, Option<reactor::local::Permit>), Fault> {
    let length = body.expectation().length.min(XML_BYTES_MAX);
    let room = server.xml_room.acquire(length as usize / 1024 + 1).await;
    let xml = body.collect(XML_BYTES_MAX).await?;
    guard::check_xml(operation, &xml)?;
    Ok((xml, Some(room)))
}

fn outcome_of(
    context: &Context,
    response: Result<HttpResponse, s3s::HttpError>,
) -> Result<Success, Fault> {
    if let Some(fault) = context.take_fault() {
        return Err(fault);
    }
    let response = response.map_err(|error| {
        Fault::from(Code::InternalError).because(format!("s3s failed: {error:?}"))
    })?;
    let (parts, body) = response.into_parts();
    let bytes = body.bytes().unwrap_or_default();
    if parts.status.is_client_error() || parts.status.is_server_error() {
        return Err(fault_of_s3s(&bytes));
    }
    let object = context.take_answer();
    let is_xml = parts.headers.get(http::header::CONTENT_TYPE)
        == Some(&HeaderValue::from_static("application/xml"));
    let bytes = if object.is_none() && is_xml {
        escape_controls(bytes)
    } else {
        bytes
    };
    let status = context.status().unwrap_or(parts.status);
    Ok(Success {
        status,
        headers: parts.headers,
        object,
        bytes,
    })
}

/// What s3s itself refused: code and message stand in its XML.
fn fault_of_s3s(xml: &[u8]) -> Fault {
    let xml = String::from_utf8_lossy(xml);
    let element = |name: &str| {
        let (_, rest) = xml.split_once(&format!("<{name}>"))?;
        let (text, _) = rest.split_once(&format!("</{name}>"))?;
        Some(unescape(text))
    };
    let name = element("Code").unwrap_or_default();
    match (Code::from_name(&name), element("Message")) {
        (Some(code), Some(message)) => Fault::new(code, message),
        (Some(code), None) => code.into(),
        (None, message) => Fault::new(Code::InvalidRequest, message.unwrap_or_default())
            .because(format!("s3s answered {name}")),
    }
}

fn unescape(text: &str) -> String {
    let plain = text
        .replace("&lt;", "<")
        .replace("&gt;", ">")
        .replace("&quot;", "\"");
    plain.replace("&apos;", "'").replace("&amp;", "&")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn errors_of_s3s_keep_code_and_message() {
        let fault =
            fault_of_s3s(b"<Error><Code>MalformedXML</Code><Message>a &lt; b</Message></Error>");
        assert_eq!((fault.code, &*fault.message), (Code::MalformedXML, "a < b"));
        let fault = fault_of_s3s(b"<Error><Code>MalformedXML</Code></Error>");
        assert_eq!(&*fault.message, Code::MalformedXML.message());
        assert_eq!(fault_of_s3s(b"").code, Code::InvalidRequest);
        assert_eq!(fault_of_s3s(b"<Code>Odd</Code>").code, Code::InvalidRequest);
    }
}
