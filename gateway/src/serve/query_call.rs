//! A call of a query API: its signature, its body and who makes it.
//!
//! Invariants: the body is bounded in length and time, and read only for a key that is known and a time that is right, or, in a smaller room, where there is no
//! signature to ask for; the signature covers the body that was read, whatever a header says of it.

use std::rc::Rc;
use std::time::Duration;

use aws_lc_rs::digest;
use bytes::Bytes;
use http::request::Parts;
use http::{Method, header};
use strata_engine::reactor;

use super::Server;
use super::answer::Record;
use super::exchange::{Client, FoundKey, asker, find_signer, identity_of};
use crate::access::SignedAs;
use crate::auth::{Authorization, Subject, session_token};
use crate::body::RequestBody;
use crate::error::{Code, Fault};
use crate::guard;
use crate::metrics::Asked;
use crate::query::Query;
use crate::query_api::{
    self, CALL_BYTES_MAX, Call, Parameters, SERVICES, Service, UNSIGNED_CALL_BYTES_MAX,
};
use crate::response::Response;
use crate::virtual_host;

/// How long a body may take: whoever sends it slowly stands in the way of others.
const BODY_TIME_MAX: Duration = Duration::from_secs(10);

/// Answers a call.
///
/// # Errors
/// With the codes of the protocol.
pub async fn answer(
    server: &Rc<Server>,
    parts: &Parts,
    client: Client,
    body: &mut RequestBody,
    record: &mut Record,
) -> Result<Response, Fault> {
    record.call = Some(Service::Iam);
    let outcome = receive(server, parts, client, body, record).await;
    outcome.map_err(query_api::answer::in_protocol)
}

async fn receive(
    server: &Rc<Server>,
    parts: &Parts,
    client: Client,
    body: &mut RequestBody,
    record: &mut Record,
) -> Result<Response, Fault> {
    let raw_query = parts.uri.query().unwrap_or_default();
    let query = Query::parse(raw_query)?;
    virtual_host::host(&parts.headers)?;
    let subject = Subject {
        method: &parts.method,
        path: parts.uri.path(),
        query: &query,
        headers: &parts.headers,
    };
    let signed = match Authorization::read_of_call(&subject)? {
        None => None,
        Some(authorization) => {
            let (service, key) = check_head(server, &subject, &authorization, record)?;
            Some((authorization, service, key))
        }
    };
    let body = collect(server, parts, signed.is_some(), body).await?;
    let (asker, service) = match signed {
        None => (
            asker(server.shared.identities.anonymous(), client, None),
            None,
        ),
        Some((mut authorization, service, key)) => {
            authorization.cover(hex::encode(digest::digest(&digest::SHA256, &body)));
            let FoundKey { credential, owner } = key;
            server
                .verifier
                .verify_call(&subject, &authorization, credential)?;
            let identity = identity_of(server, &owner, record)?;
            let signature = SignedAs::by(&authorization);
            (asker(identity, client, Some(signature)), Some(service))
        }
    };
    let form = [raw_query.as_bytes(), b"&", &body[..]].concat();
    let parameters = Parameters::parse(match parts.method {
        Method::POST => &form,
        _ => raw_query.as_bytes(),
    })?;
    let action = query_api::find(service, &parameters)?;
    record.asked = Asked::Action(action);
    record.call = Some(action.service);
    let parameters = parameters.known_to(action)?;
    let call = Call {
        shared: &server.shared,
        action,
        parameters: &parameters,
        headers: &parts.headers,
        asker: &asker,
        request_id: record.request_id,
    };
    query_api::respond(&call).await
}

/// Reads the body, within what the reactor has room for, in a bounded time.
async fn collect(
    server: &Server,
    parts: &Parts,
    is_signed: bool,
    body: &mut RequestBody,
) -> Result<Bytes, Fault> {
    let is_chunked = parts.headers.contains_key(header::TRANSFER_ENCODING);
    if is_chunked && !parts.headers.contains_key(header::CONTENT_LENGTH) {
        return Err(Code::MissingContentLength.into());
    }
    let (room, most) = match is_signed {
        true => (&server.call_room, CALL_BYTES_MAX),
        false => (&server.unsigned_call_room, UNSIGNED_CALL_BYTES_MAX),
    };
    let length = body.expectation().length.min(most);
    let _room = room.acquire(length as usize / 1024 + 1).await;
    let read = body.collect(most);
    let read = reactor::timeout(BODY_TIME_MAX, read).await;
    read.map_err(|_| Fault::from(Code::RequestTimeout))?
}

/// Checks what can be checked before the body is there; the service that is called, and the key that has to have signed.
fn check_head(
    server: &Server,
    subject: &Subject<'_>,
    authorization: &Authorization,
    record: &mut Record,
) -> Result<(Service, FoundKey), Fault> {
    record.access_key_id = Some(authorization.access_key_id.clone());
    let now = reactor::wall_clock().seconds();
    let service = server.verifier.check_call(authorization, SERVICES, now)?;
    let service = Service::of_name(service).ok_or(Code::InternalError)?;
    record.call = Some(service);
    guard::check_coverage(subject.headers, authorization)?;
    let token = session_token::of_request(subject)?;
    let key = find_signer(server, &authorization.access_key_id, token, now)?;
    let key = key.ok_or(Code::InvalidAccessKeyId)?;
    Ok((service, key))
}
