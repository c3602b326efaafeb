//! What a request must pass before its operation is served.
//!
//! Invariants: no header or parameter that changes what a request does goes by unread; what is not
//! covered by the signature and should be is refused; what a presigned URL signs in its query counts,
//! whatever stands in unsigned headers.

use http::header::{self, HeaderName, HeaderValue};
use http::{HeaderMap, Method, Uri};

use crate::auth::{Authorization, Form, Payload, session_token};
use crate::body::Expectation;
use crate::checksum;
use crate::error::{Code, Fault};
use crate::form::fields::SuccessAction;
use crate::operation::{BodyKind, Id, Operation, check_headers, route};
use crate::query::Query;
use crate::request::{Address, Addressing, is_bucket_name};
use crate::signature::UNSIGNED_PAYLOAD;
use crate::virtual_host;
use strata_raftlog::namespace::KEY_BYTES_MAX;

/// The largest body of one PUT, in bytes (5 GiB).
pub const PUT_BYTES_MAX: u64 = 5 << 30;

/// The largest XML body, in bytes: 10,000 parts with checksums, 1,000 escaped keys.
pub const XML_BYTES_MAX: u64 = 8 << 20;

/// Headers that may stand outside the signature: proxies and SDKs add them after it is made.
const FREE_HEADERS: &[&str] = &["x-amz-user-agent", "x-amz-te", "x-amz-id-2"];

/// Headers that a presigned URL may leave outside its signature too: they can only make the server
/// stricter.
const FREE_HEADERS_OF_PRESIGNED: &[&str] = &["x-amz-content-sha256", "x-amz-date"];

/// What a request declares its body to be.
const CONTENT_SHA256: &str = "x-amz-content-sha256";

/// A request that may be served.
pub struct Admitted {
    /// What it asks for.
    pub operation: &'static Operation,
    /// What it is about.
    pub address: Address,
    /// Where it names its bucket.
    pub addressing: Addressing,
    /// Its parameters.
    pub query: Query,
    /// Its headers, with those that a presigned URL carries in its query, and `x-amz-content-sha256` as it is enforced.
    pub headers: HeaderMap,
    /// What its body must be; `None` where it has none to read.
    pub body: Option<Expectation>,
    /// What a form wants to be answered.
    pub success_action: Option<SuccessAction>,
}

/// What is looked at first: enough to verify the signature.
pub struct Opened {
    /// What the request is about.
    pub address: Address,
    /// Where it names its bucket.
    pub addressing: Addressing,
    /// Its parameters.
    pub query: Query,
}

/// Reads host, path and query. `domains` are those below which a host names a bucket.
///
/// # Errors
/// `InvalidURI`; `InvalidRequest` for two hosts.
pub fn open(uri: &Uri, headers: &HeaderMap, domains: &[String]) -> Result<Opened, Fault> {
    let query = Query::parse(uri.query().unwrap_or_default())?;
    let host = virtual_host::host(headers)?;
    let (address, addressing) = virtual_host::address(uri, host, domains)?;
    Ok(Opened {
        address,
        addressing,
        query,
    })
}

/// A request whose signature is right.
pub struct Signed {
    /// What it says of its signature.
    pub authorization: Authorization,
    /// What its body must be.
    pub payload: Payload,
}

/// Decides whether a request can be served. `signed` is `None` where it carries no signature; whether its principal may have it is
/// for [`access`](crate::access) to say.
///
/// # Errors
/// What AWS answers to the first thing that is wrong.
pub fn admit(
    method: &Method,
    mut headers: HeaderMap,
    opened: Opened,
    signed: Option<Signed>,
) -> Result<Admitted, Fault> {
    let Opened {
        address,
        addressing,
        query,
    } = opened;
    let is_anonymous = signed.is_none();
    // A token of temporary credentials means nothing without their signature.
    if is_anonymous && headers.contains_key(session_token::HEADER) {
        return Err(Code::InvalidToken.into());
    }
    let is_in_header = signed
        .as_ref()
        .is_some_and(|signed| signed.authorization.form == Form::Header);
    let payload = match signed {
        None => anonymous_payload(&headers)?,
        Some(signed) => {
            check_coverage(&headers, &signed.authorization)?;
            if let Form::Query { .. } = signed.authorization.form {
                adopt_headers(&query, &mut headers)?;
            }
            signed.payload
        }
    };
    // What is not served is named first: one of its paths is no bucket's name.
    let operation = route(method, &address, &query, &headers)?;
    check_names(&address)?;
    check_headers(operation, &headers)?;
    // What stands there is what the body must be: policies ask for it.
    if !is_in_header {
        let declared = HeaderValue::try_from(&*payload.declared());
        headers.insert(CONTENT_SHA256, declared.map_err(|_| Code::InternalError)?);
    }
    let mut parameters = query.pairs().iter();
    if is_anonymous && parameters.any(|(name, _)| name.starts_with("response-")) {
        return Err(Fault::new(
            Code::InvalidRequest,
            "Request specific response headers cannot be used for anonymous GET requests.",
        ));
    }
    let body = expectation(operation, &headers, payload)?;
    Ok(Admitted {
        operation,
        address,
        addressing,
        query,
        headers,
        body,
        success_action: None,
    })
}

/// The most bytes of a form: the largest file, and a MiB beside it.
const FORM_BYTES_MAX: u64 = PUT_BYTES_MAX + (1 << 20);

/// How long a form is, framing and all.
///
/// # Errors
/// `MissingContentLength`; `EntityTooLarge`.
pub fn form_length(headers: &HeaderMap) -> Result<u64, Fault> {
    let length = number(headers, "content-length")?;
    match length.ok_or(Code::MissingContentLength)? {
        length @ 0..=FORM_BYTES_MAX => Ok(length),
        _ => Err(too_large(None, PUT_BYTES_MAX)),
    }
}

/// What is answered to a body that is longer than it may be.
pub fn too_large(length: Option<u64>, length_max: u64) -> Fault {
    let fault = Fault::from(Code::EntityTooLarge);
    let fault = match length {
        Some(length) => fault.detail("ProposedSize", length.to_string()),
        None => fault,
    };
    fault.detail("MaxSizeAllowed", length_max.to_string())
}

/// Decides whether the object of a form can be put, from the headers that its fields stand for. `sent` are those of its head, of which what policies ask for is
/// taken over.
///
/// # Errors
/// As [`admit`].
pub fn admit_form(
    operation: &'static Operation,
    opened: Opened,
    mut headers: HeaderMap,
    sent: &HeaderMap,
    success_action: SuccessAction,
) -> Result<Admitted, Fault> {
    check_names(&opened.address)?;
    check_headers(operation, &headers)?;
    for name in [header::HOST, header::REFERER, header::USER_AGENT] {
        if let Some(value) = sent.get(&name) {
            headers.insert(name, value.clone());
        }
    }
    let (content_md5, checksum) = declared(operation, &headers, &[])?;
    let body = Expectation {
        content_md5,
        checksum,
        ..Expectation::unread(sent)
    };
    let declared = HeaderValue::from_static(UNSIGNED_PAYLOAD);
    headers.insert(CONTENT_SHA256, declared);
    Ok(Admitted {
        operation,
        address: opened.address,
        addressing: opened.addressing,
        query: opened.query,
        headers,
        body: Some(body),
        success_action: Some(success_action),
    })
}

fn check_names(address: &Address) -> Result<(), Fault> {
    if let Some(bucket) = address.bucket()
        && !is_bucket_name(bucket)
    {
        return Err(Fault::from(Code::InvalidBucketName).detail("BucketName", bucket));
    }
    if let Address::Object(_, key) = address
        && key.len() > KEY_BYTES_MAX
    {
        return Err(Fault::from(Code::KeyTooLongError)
            .detail("Size", key.len().to_string())
            .detail("MaxSizeAllowed", KEY_BYTES_MAX.to_string()));
    }
    Ok(())
}

/// Every header of AWS's must be under the signature, and the host.
///
/// # Errors
/// `AccessDenied` with what is not.
pub fn check_coverage(headers: &HeaderMap, authorization: &Authorization) -> Result<(), Fault> {
    let signed = &authorization.signed_headers;
    let is_signed = |name: &str| signed.iter().any(|known| known == name);
    if !is_signed("host") {
        return Err(not_signed(&["host"]));
    }
    let is_presigned = matches!(authorization.form, Form::Query { .. });
    let is_free = |name: &str| {
        FREE_HEADERS.contains(&name) || is_presigned && FREE_HEADERS_OF_PRESIGNED.contains(&name)
    };
    let names = headers.keys().map(HeaderName::as_str);
    let missing: Vec<&str> = names
        .filter(|name| name.starts_with("x-amz-") && !is_signed(name) && !is_free(name))
        .collect();
    match missing.is_empty() {
        true => Ok(()),
        false => Err(not_signed(&missing)),
    }
}

fn not_signed(names: &[&str]) -> Fault {
    let names = names.join(", ");
    let message = "There were headers present in the request which were not signed";
    Fault::new(Code::AccessDenied, format!("{message}: {names}")).detail("HeadersNotSigned", names)
}

/// A presigned URL may carry headers as parameters. They are under its signature, so they count more
/// than headers. A checksum among them is not compared, as with AWS: SDKs that presign compute it
/// of an empty body.
fn adopt_headers(query: &Query, headers: &mut HeaderMap) -> Result<(), Fault> {
    const OWN: &[&str] = &[
        "x-amz-algorithm",
        "x-amz-credential",
        "x-amz-date",
        "x-amz-expires",
        "x-amz-signedheaders",
        "x-amz-signature",
        "x-amz-content-sha256",
    ];
    for (name, value) in query.pairs() {
        let lower = name.to_ascii_lowercase();
        let is_checksum =
            lower == "x-amz-sdk-checksum-algorithm" || checksum::by_header(&lower).is_some();
        if !lower.starts_with("x-amz-") || OWN.contains(&lower.as_str()) || is_checksum {
            continue;
        }
        let malformed = || Fault::argument(name, value, "The parameter is no valid header.");
        let header = HeaderName::from_bytes(lower.as_bytes()).map_err(|_| malformed())?;
        let value = HeaderValue::from_str(value).map_err(|_| malformed())?;
        headers.insert(header, value);
    }
    Ok(())
}

fn anonymous_payload(headers: &HeaderMap) -> Result<Payload, Fault> {
    let declared = headers
        .get(CONTENT_SHA256)
        .and_then(|value| value.to_str().ok());
    match declared {
        Some("STREAMING-UNSIGNED-PAYLOAD-TRAILER") => Ok(Payload::Chunked {
            signer: None,
            trailers: true,
        }),
        Some(streaming) if streaming.starts_with("STREAMING-") => Err(Fault::new(
            Code::InvalidRequest,
            "Signed chunks need a signed request.",
        )),
        Some(text) => Ok(match hex::decode(text).map(<[u8; 32]>::try_from) {
            Ok(Ok(hash)) => Payload::Hash(hash),
            _ => Payload::Unsigned,
        }),
        None => Ok(Payload::Unsigned),
    }
}

fn expectation(
    operation: &Operation,
    headers: &HeaderMap,
    payload: Payload,
) -> Result<Option<Expectation>, Fault> {
    if operation.body == BodyKind::None {
        return Ok(None);
    }
    let is_stream = operation.body == BodyKind::Stream;
    let trailers = announced_trailers(headers, &payload)?;
    let length = match &payload {
        Payload::Chunked { .. } => number(headers, "x-amz-decoded-content-length")?,
        Payload::Unsigned | Payload::Hash(_) => number(headers, "content-length")?,
    };
    let is_bare = !is_stream && !headers.contains_key(header::TRANSFER_ENCODING);
    let length = match length {
        Some(length) => length,
        None if is_bare => 0,
        None => return Err(Code::MissingContentLength.into()),
    };
    if is_stream && length > PUT_BYTES_MAX {
        return Err(too_large(Some(length), PUT_BYTES_MAX));
    }
    let (content_md5, checksum) = declared(operation, headers, &trailers)?;
    let waits = headers.get(header::EXPECT).map(HeaderValue::as_bytes);
    Ok(Some(Expectation {
        length,
        content_md5,
        checksum,
        trailers,
        waits_for_continue: waits.is_some_and(|value| value.eq_ignore_ascii_case(b"100-continue")),
        payload,
    }))
}

type Declared = (Option<[u8; 16]>, Option<checksum::Declaration>);

/// What is declared of a body.
fn declared(
    operation: &Operation,
    headers: &HeaderMap,
    trailers: &[String],
) -> Result<Declared, Fault> {
    // The headers of a completed upload declare the checksum of the object, not of the document.
    let checksum = match operation.id {
        Id::CompleteMultipartUpload => None,
        _ => checksum::declaration(headers, trailers)?,
    };
    Ok((checksum::content_md5(headers)?, checksum))
}

/// The trailers that a payload with trailers announces. It may announce none; with any other payload
/// what is announced does not come.
fn announced_trailers(headers: &HeaderMap, payload: &Payload) -> Result<Vec<String>, Fault> {
    let mut names = Vec::new();
    if !matches!(payload, Payload::Chunked { trailers: true, .. }) {
        return Ok(names);
    }
    for value in headers.get_all("x-amz-trailer") {
        let text = value
            .to_str()
            .map_err(|_| Fault::from(Code::MalformedTrailerError))?;
        names.extend(text.split(',').map(|name| name.trim().to_ascii_lowercase()));
    }
    match names
        .iter()
        .find(|name| checksum::by_header(name).is_none())
    {
        None => Ok(names),
        Some(name) => Err(Fault::new(
            Code::InvalidRequest,
            format!("The value specified in the x-amz-trailer header is not supported: {name}"),
        )),
    }
}

fn number(headers: &HeaderMap, name: &str) -> Result<Option<u64>, Fault> {
    let Some(value) = headers.get(name) else {
        return Ok(None);
    };
    let text = value.to_str().unwrap_or_default();
    let is_plain = !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
    let number = is_plain.then(|| text.parse().ok()).flatten();
    number
        .map(Some)
        .ok_or_else(|| Fault::argument(name, text, "The header is no number."))
}

#[cfg(test)]
mod tests;
