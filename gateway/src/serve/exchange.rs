//! One request and its answer.

use std::net::SocketAddr;
use std::rc::Rc;

use http::header::HeaderValue;
use http::request::Parts;
use http::{Method, header};
use hyper::body::Incoming;
use strata_engine::reactor::{self, local::Permit};
use strata_raftlog::namespace::AccessKey;

use super::Server;
use super::answer::{AnswerBody, Record, of_fault, of_success};
use super::form_request::FormRequest;
use super::lingering::UnreadBody;
use super::query_call;
use crate::access::identity::Identity;
use crate::access::{self, Asker, SignedAs, sessions};
use crate::auth::session_token::{self, Session};
use crate::auth::{Authorization, Credential, Subject};
use crate::body::{Expectation, RequestBody, Wire};
use crate::error::{Code, Fault};
use crate::guard::{self, Admitted, Signed, XML_BYTES_MAX};
use crate::metrics::Asked;
use crate::operation::{BodyKind, of_form};
use crate::policy::Principal;
use crate::query_api;
use crate::request::{Address, Request};
use crate::response::Response;
use crate::s3::{access_lists, cors};
use crate::virtual_host;

/// The other end of a connection.
#[derive(Debug, Clone, Copy)]
pub struct Client {
    /// Its address.
    pub address: SocketAddr,
    /// The version of TLS that it speaks; `None` without TLS.
    pub tls_version: Option<&'static str>,
}

/// Answers a request, and notes where that is before its body has come.
pub async fn answer(
    server: &Rc<Server>,
    request: http::Request<Incoming>,
    client: Client,
    unread: &UnreadBody,
) -> http::Response<AnswerBody> {
    let mut record = Record::new(server, client.address);
    let (parts, incoming) = request.into_parts();
    let (uri, method) = (parts.uri.clone(), parts.method.clone());
    let is_head = method == Method::HEAD;
    let origin = parts.headers.get(header::ORIGIN).cloned();
    let host = parts.headers.get(header::HOST).cloned();
    let unwanted = Expectation::unread(&parts.headers);
    let mut body = RequestBody::new(Wire::Connection(incoming), unwanted, &server.md5);
    let is_preflight = method == Method::OPTIONS;
    let outcome = if is_preflight {
        preflight(server, &parts, &mut record)
    } else if is_call(server, &parts) {
        query_call::answer(server, &parts, client, &mut body, &mut record).await
    } else {
        match admit(server, parts, client, &mut body, &mut record).await {
            Ok((admitted, asker)) => {
                record.asked = Asked::Operation(admitted.operation);
                let mut request = request_of(admitted, asker, body, &record);
                let outcome = serve(server, &mut request).await;
                record.address = Some(request.address);
                body = request.body;
                outcome
            }
            Err(fault) => Err(fault),
        }
    };
    body.drain_briefly().await;
    record.leave_body(&body);
    if record.is_unread {
        unread.note();
    }
    if record.address.is_none() {
        let domains = &server.shared.config.domains;
        let address = virtual_host::address(&uri, host.as_ref(), domains);
        record.address = address.ok().map(|(address, _)| address);
    }
    let outcome = match origin.filter(|_| !is_preflight) {
        Some(origin) => for_origin(server, &record, &method, &origin, outcome),
        None => outcome,
    };
    match outcome {
        Ok(response) => of_success(response, is_head, record),
        Err(fault) => of_fault(fault, uri.path(), is_head, record),
    }
}

/// The outcome with what a browser has to know to show it to a page of that origin. Rules that cannot be read change no outcome: what
/// was done was done.
fn for_origin(
    server: &Server,
    record: &Record,
    method: &Method,
    origin: &HeaderValue,
    outcome: Result<Response, Fault>,
) -> Result<Response, Fault> {
    let Some(address) = record.address.as_ref() else {
        return outcome;
    };
    let headers = match cors::headers_for(&server.shared, address, method, origin) {
        Ok(headers) => headers,
        Err(fault) => {
            tracing::warn!(
                cause = fault.cause,
                "the CORS rules of a bucket cannot be read"
            );
            return outcome;
        }
    };
    match outcome {
        Ok(mut response) => {
            response.headers.extend(headers);
            Ok(response)
        }
        Err(mut fault) => {
            let headers = headers.into_iter();
            let headers = headers.filter_map(|(name, value)| name.map(|name| (name, value)));
            fault.headers.extend(headers);
            Err(fault)
        }
    }
}

/// Answers a browser that asks whether it may send a request. It signs nothing.
fn preflight(server: &Server, parts: &Parts, record: &mut Record) -> Result<Response, Fault> {
    let domains = &server.shared.config.domains;
    let opened = guard::open(&parts.uri, &parts.headers, domains)?;
    let outcome = cors::preflight(&server.shared, &opened.address, &parts.headers);
    record.address = Some(opened.address);
    outcome
}

async fn admit(
    server: &Server,
    parts: Parts,
    client: Client,
    body: &mut RequestBody,
    record: &mut Record,
) -> Result<(Admitted, Asker), Fault> {
    let Parts {
        method,
        uri,
        headers,
        ..
    } = parts;
    let opened = guard::open(&uri, &headers, &server.shared.config.domains)?;
    if let Some(operation) = of_form(&method, &opened.address, &opened.query, &headers) {
        let form = FormRequest {
            operation,
            opened,
            headers,
        };
        return form.admit(server, client, body, record).await;
    }
    let subject = Subject {
        method: &method,
        path: uri.path(),
        query: &opened.query,
        headers: &headers,
    };
    let mut identity = unsigned(server);
    let signed = match Authorization::read(&subject)? {
        None => None,
        Some(authorization) => {
            let now = reactor::wall_clock().seconds();
            let verifier = &server.verifier;
            let token = session_token::of_request(&subject)?;
            let verify = |find: Find<'_>| verifier.verify(&subject, &authorization, now, find);
            let payload;
            (payload, identity) = identify(server, record, &authorization, token, verify)?;
            Some(Signed {
                authorization,
                payload,
            })
        }
    };
    let signature = signed.as_ref();
    let signature = signature.map(|signed| SignedAs::by(&signed.authorization));
    let asker = asker(identity, client, signature);
    let admitted = guard::admit(&method, headers, opened, signed)?;
    Ok((admitted, asker))
}

/// Who asks where nothing is signed.
pub fn unsigned(server: &Server) -> Rc<Identity> {
    let identities = &server.shared.identities;
    match server.shared.config.allow_anonymous {
        true => identities.root(),
        false => identities.anonymous(),
    }
}

/// Looks up the key that a signature names.
pub type Find<'f> = &'f mut dyn FnMut(&str) -> Result<Option<Credential>, Fault>;

/// Verifies a signature, and says whose it is; a temporary key's comes with a token.
pub fn identify<V>(
    server: &Server,
    record: &mut Record,
    authorization: &Authorization,
    token: Option<&str>,
    verify: impl FnOnce(Find<'_>) -> Result<V, Fault>,
) -> Result<(V, Rc<Identity>), Fault> {
    record.access_key_id = Some(authorization.access_key_id.clone());
    let now = reactor::wall_clock().seconds();
    let mut owner = None;
    let mut find = |access_key_id: &str| {
        let found = find_signer(server, access_key_id, token, now)?;
        Ok(found.map(|found| {
            owner = Some(found.owner);
            found.credential
        }))
    };
    let verified = verify(&mut find)?;
    let owner =
        owner.ok_or_else(|| Fault::from(Code::InternalError).because("nobody has signed"))?;
    let identity = identity_of(server, &owner, record)?;
    Ok((verified, identity))
}

/// Whether a request is a call of a query API.
fn is_call(server: &Server, parts: &Parts) -> bool {
    if !query_api::is_call(&parts.method, &parts.uri, &parts.headers) {
        return false;
    }
    let domains = &server.shared.config.domains;
    let address = virtual_host::address(&parts.uri, parts.headers.get(header::HOST), domains);
    matches!(address, Ok((Address::Service, _)))
}

/// Who has signed with a key.
pub(super) fn identity_of(
    server: &Server,
    owner: &KeyOwner,
    record: &mut Record,
) -> Result<Rc<Identity>, Fault> {
    match owner {
        KeyOwner::Root => Ok(server.shared.identities.root()),
        KeyOwner::Key(key) => holder_of(server, key, record),
        KeyOwner::Session(session) => {
            let found = sessions::identity(&server.shared, session)?;
            record.user = found.user;
            if let Principal::Session(session) = &found.identity.principal {
                record.role_session = Some(session.clone());
            }
            Ok(found.identity)
        }
    }
}

/// The user, or the root of an account, whose key has made the signature.
fn holder_of(server: &Server, key: &AccessKey, record: &mut Record) -> Result<Rc<Identity>, Fault> {
    if key.user.is_empty() {
        return Ok(server.shared.identities.root_of(key.account));
    }
    let Some(user) = server.shared.cluster.user_policies(&key.user)? else {
        // It was deleted since, and its key before it.
        let id = &key.id;
        return Err(Fault::from(Code::InvalidAccessKeyId).detail("AWSAccessKeyId", id));
    };
    record.user = Some(user.clone());
    server.shared.identities.user(&user)
}

/// Who asks, from that end of a connection, and how that is known.
pub fn asker(identity: Rc<Identity>, client: Client, signature: Option<SignedAs>) -> Asker {
    Asker {
        identity,
        source: client.address.ip().to_canonical(),
        tls_version: client.tls_version,
        signature,
    }
}

/// A key that is known.
pub(super) struct FoundKey {
    /// The key.
    pub credential: Credential,
    /// Whose it is.
    pub owner: KeyOwner,
}

/// Whose a key is.
pub(super) enum KeyOwner {
    /// That of the root of the account that is always there.
    Root,
    /// That of a user or of another account's root.
    Key(Rc<AccessKey>),
    /// A temporary one.
    Session(Box<Session>),
}

impl FoundKey {
    fn of_root(credential: Credential) -> FoundKey {
        FoundKey {
            credential,
            owner: KeyOwner::Root,
        }
    }
}

/// The key that has to have signed: a temporary one where a token comes with the request, which no other key has.
pub(super) fn find_signer(
    server: &Server,
    access_key_id: &str,
    token: Option<&str>,
    now: i64,
) -> Result<Option<FoundKey>, Fault> {
    let Some(token) = token else {
        return find_key(server, access_key_id);
    };
    let session = sessions::open(&server.shared, access_key_id, token, now)?;
    Ok(Some(FoundKey {
        credential: session.credential.clone(),
        owner: KeyOwner::Session(Box::new(session)),
    }))
}

/// Keys of the configuration, then the root key, then those of users in the replicated state. One that is inactive is answered as one that
/// is not there, as with AWS.
pub(super) fn find_key(server: &Server, access_key_id: &str) -> Result<Option<FoundKey>, Fault> {
    let shared = &server.shared;
    let mut configured = shared.config.credentials.iter();
    if let Some(found) = configured.find(|known| known.access_key_id == access_key_id) {
        return Ok(Some(FoundKey::of_root(found.clone())));
    }
    let root = shared.cluster.root_key()?;
    if let Some(root) = root.filter(|root| root.access_key_id == access_key_id) {
        let credential = Credential {
            access_key_id: root.access_key_id.clone(),
            secret_access_key: root.secret_access_key.clone(),
        };
        return Ok(Some(FoundKey::of_root(credential)));
    }
    let Some(key) = shared.cluster.access_key(access_key_id)? else {
        return Ok(None);
    };
    if !key.active {
        return Err(Fault::from(Code::InvalidAccessKeyId)
            .detail("AWSAccessKeyId", access_key_id)
            .because(format!("the key of {} is inactive", holder_name(&key))));
    }
    let credential = Credential {
        access_key_id: key.id.clone(),
        secret_access_key: key.secret.0.clone(),
    };
    Ok(Some(FoundKey {
        credential,
        owner: KeyOwner::Key(key),
    }))
}

fn holder_name(key: &AccessKey) -> String {
    match key.user.as_str() {
        "" => format!("the root of account {:012}", key.account),
        user => format!("user {user}"),
    }
}

fn request_of(admitted: Admitted, asker: Asker, mut body: RequestBody, record: &Record) -> Request {
    if let Some(expectation) = admitted.body {
        body.expect(expectation);
    }
    Request {
        id: record.request_id,
        asker,
        operation: admitted.operation,
        address: admitted.address,
        addressing: admitted.addressing,
        query: admitted.query,
        headers: admitted.headers,
        body,
        xml: bytes::Bytes::new(),
        success_action: admitted.success_action,
    }
}

/// Runs the handler of an admitted request, where whoever asks may have it.
async fn serve(server: &Server, request: &mut Request) -> Result<Response, Fault> {
    let Some(handler) = request.operation.handler else {
        return Err(Fault::operation_not_implemented(request.operation.name));
    };
    access::check(&server.shared, request)?;
    access_lists::check(&server.shared, request)?;
    let _room = match request.operation.body {
        BodyKind::Xml(_) | BodyKind::Json => Some(collect_xml(server, request).await?),
        BodyKind::None | BodyKind::Stream => None,
    };
    access::check_document(&server.shared, request)?;
    let outcome = handler(&server.shared, request).await;
    outcome.map_err(|fault| access::hide(&server.shared, request, fault))
}

/// Reads a document, within what the reactor has room for.
async fn collect_xml(server: &Server, request: &mut Request) -> Result<Permit, Fault> {
    let body = &mut request.body;
    let length = body.expectation().length.min(XML_BYTES_MAX);
    let room = server.xml_room.acquire(length as usize / 1024 + 1).await;
    request.xml = body.collect(XML_BYTES_MAX).await?;
    Ok(room)
}
