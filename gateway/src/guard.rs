//! What a request must pass before s3s sees it.
//!
//! Invariants: no header or parameter that changes what a request does goes by unread; what is not
//! covered by the signature and should be is refused; what s3s sees carries no signature, no
//! secret, and nothing that this server would ignore.

use http::header::{self, HeaderName, HeaderValue};
use http::{HeaderMap, Method, Uri};

use crate::auth::{Form, Identity, Payload, Subject};
use crate::body::Expectation;
use crate::checksum;
use crate::error::{Code, Fault};
use crate::operation::{Address, Operation, classify, refuse_unsigned};
use crate::query::Query;
use strata_raftlog::namespace::KEY_BYTES_MAX;

/// The largest body of one PUT, in bytes (5 GiB).
pub const PUT_BYTES_MAX: u64 = 5 << 30;

/// The largest XML body, in bytes: 10,000 parts with checksums, 1,000 escaped keys.
pub const XML_BYTES_MAX: u64 = 8 << 20;

/// Headers of S3 that are read here or further in, or that ask for nothing.
const KNOWN_HEADERS: &[&str] = &[
    "x-amz-acl",
    "x-amz-bucket-object-lock-enabled",
    "x-amz-checksum-algorithm",
    "x-amz-checksum-crc32",
    "x-amz-checksum-crc32c",
    "x-amz-checksum-crc64nvme",
    "x-amz-checksum-mode",
    "x-amz-checksum-sha1",
    "x-amz-checksum-sha256",
    "x-amz-checksum-type",
    "x-amz-content-sha256",
    "x-amz-copy-source",
    "x-amz-copy-source-if-match",
    "x-amz-copy-source-if-modified-since",
    "x-amz-copy-source-if-none-match",
    "x-amz-copy-source-if-unmodified-since",
    "x-amz-copy-source-range",
    "x-amz-date",
    "x-amz-decoded-content-length",
    "x-amz-expected-bucket-owner",
    "x-amz-id-2",
    "x-amz-metadata-directive",
    "x-amz-mp-object-size",
    "x-amz-object-attributes",
    "x-amz-object-ownership",
    "x-amz-request-payer",
    "x-amz-sdk-checksum-algorithm",
    "x-amz-source-expected-bucket-owner",
    "x-amz-storage-class",
    "x-amz-tagging-directive",
    "x-amz-te",
    "x-amz-trailer",
    "x-amz-user-agent",
];

/// Headers of which only some values are served; every other value is refused.
const KNOWN_VALUES: &[(&str, &[&str])] = &[
    ("x-amz-acl", &["private", "bucket-owner-full-control"]),
    ("x-amz-bucket-object-lock-enabled", &["false", "False"]),
    ("x-amz-object-ownership", &["BucketOwnerEnforced"]),
    ("x-amz-storage-class", &["STANDARD"]),
    ("x-amz-tagging-directive", &["COPY"]),
    ("x-amz-request-payer", &["requester"]),
    ("x-amz-checksum-mode", &["ENABLED", "DISABLED"]),
];

/// Headers that mean something to some operations alone. Any other operation would pass over them,
/// so it refuses them. Dates are for reads: they are too coarse to decide which of two changes came
/// first.
const BOUND_HEADERS: &[(&str, &[Operation])] = {
    use Operation::*;
    &[
        ("content-range", &[]),
        (
            "if-match",
            &[
                GetObject,
                HeadObject,
                GetObjectAttributes,
                PutObject,
                CopyObject,
                CompleteMultipartUpload,
                DeleteObject,
            ],
        ),
        (
            "if-none-match",
            &[
                GetObject,
                HeadObject,
                GetObjectAttributes,
                PutObject,
                CopyObject,
                CompleteMultipartUpload,
            ],
        ),
        (
            "if-modified-since",
            &[GetObject, HeadObject, GetObjectAttributes],
        ),
        (
            "if-unmodified-since",
            &[GetObject, HeadObject, GetObjectAttributes],
        ),
        ("x-amz-copy-source-if-match", &[CopyObject, UploadPartCopy]),
        (
            "x-amz-copy-source-if-modified-since",
            &[CopyObject, UploadPartCopy],
        ),
        (
            "x-amz-copy-source-if-none-match",
            &[CopyObject, UploadPartCopy],
        ),
        (
            "x-amz-copy-source-if-unmodified-since",
            &[CopyObject, UploadPartCopy],
        ),
        ("x-amz-copy-source-range", &[UploadPartCopy]),
        ("x-amz-mp-object-size", &[CompleteMultipartUpload]),
    ]
};

/// Headers that a presigned URL may leave outside its signature: they are about the transfer, or
/// can only make the server stricter.
const FREE_HEADERS: &[&str] = &[
    "x-amz-content-sha256",
    "x-amz-date",
    "x-amz-user-agent",
    "x-amz-te",
    "x-amz-id-2",
];

/// A request that may be served.
pub struct Admitted {
    /// What it asks for.
    pub operation: Operation,
    /// What it is about.
    pub address: Address,
    /// Its parameters.
    pub query: Query,
    /// Its headers, with those that a presigned URL carries in its query.
    pub headers: HeaderMap,
    /// The key that signed it.
    pub access_key_id: Option<String>,
    /// What its body must be; `None` where it has none to read.
    pub body: Option<Expectation>,
}

/// What is looked at first: enough to verify the signature.
pub struct Opened {
    /// What the request is about.
    pub address: Address,
    /// Its parameters.
    pub query: Query,
}

/// Reads path and query, and refuses what must not be asked for a signature first.
///
/// # Errors
/// `InvalidURI`; `NotImplemented` for what is unsigned by its nature and for a bucket in the host's
/// name.
pub fn open(method: &Method, uri: &Uri, headers: &HeaderMap) -> Result<Opened, Fault> {
    check_host(uri, headers)?;
    let query = Query::parse(uri.query().unwrap_or_default())
        .ok_or_else(|| Fault::from(Code::InvalidURI))?;
    let address = Address::parse(uri.path())?;
    refuse_unsigned(method, &address, headers)?;
    Ok(Opened { address, query })
}

/// Decides whether a request of a known identity is served.
///
/// # Errors
/// What AWS answers to the first thing that is wrong.
pub fn admit(
    method: &Method,
    mut headers: HeaderMap,
    opened: Opened,
    identity: Identity,
    allow_anonymous: bool,
) -> Result<Admitted, Fault> {
    let Opened { address, query } = opened;
    let (access_key_id, payload) = match identity {
        Identity::Anonymous if !allow_anonymous => return Err(Code::AccessDenied.into()),
        Identity::Anonymous => (None, anonymous_payload(&headers)?),
        Identity::Signed(signed) => {
            check_coverage(method, &headers, &signed.signed_headers, signed.form)?;
            if let Form::Query { .. } = signed.form {
                adopt_headers(&query, &mut headers)?;
            }
            (Some(signed.access_key_id), signed.payload)
        }
    };
    // What is not served is named first: one of its paths is no bucket's name.
    let operation = classify(method, &address, &query, &headers)?;
    check_names(&address)?;
    check_headers(operation, &headers)?;
    if query
        .get("versionId")
        .is_some_and(|version| version != "null")
    {
        return Err(Fault::not_implemented("Versioning"));
    }
    if access_key_id.is_none()
        && query
            .pairs()
            .iter()
            .any(|(name, _)| name.starts_with("response-"))
    {
        return Err(Fault::new(
            Code::InvalidRequest,
            "Request specific response headers cannot be used for anonymous GET requests.",
        ));
    }
    let body = expectation(operation, &headers, payload)?;
    Ok(Admitted {
        operation,
        address,
        query,
        headers,
        access_key_id,
        body,
    })
}

/// What s3s gets: no signature, no range or condition (they are read here, because it refuses what
/// HTTP ignores), no framing, no checksum.
pub fn for_s3s(admitted: &Admitted) -> (HeaderMap, String) {
    let mut headers = HeaderMap::with_capacity(admitted.headers.len());
    for (name, value) in &admitted.headers {
        let kept = matches!(*name, header::HOST | header::USER_AGENT)
            || name.as_str() == "x-amz-copy-source"
            || name.as_str() == "x-amz-metadata-directive"
            || name.as_str() == "x-amz-object-attributes";
        if kept {
            headers.append(name, value.clone());
        }
    }
    let path = match &admitted.address {
        Address::Root => "/".to_owned(),
        Address::Bucket(bucket) => format!("/{}", crate::query::encode(bucket.as_bytes(), false)),
        Address::Object(bucket, key) => format!(
            "/{}/{}",
            crate::query::encode(bucket.as_bytes(), false),
            crate::query::encode(key.as_bytes(), true)
        ),
    };
    let query = admitted
        .query
        .encode(|name| !name.to_ascii_lowercase().starts_with("x-amz-"));
    match query.is_empty() {
        true => (headers, path),
        false => (headers, format!("{path}?{query}")),
    }
}

/// Refuses XML that names more things than the operation takes, before s3s makes them into values
/// that are many times as large.
///
/// # Errors
/// `MalformedXML`, as AWS answers it.
pub fn check_xml(operation: Operation, xml: &[u8]) -> Result<(), Fault> {
    let (element, count_max): (&[u8], usize) = match operation {
        Operation::DeleteObjects => (b"Key", 1000),
        Operation::CompleteMultipartUpload => (b"PartNumber", 10_000),
        _ => return Ok(()),
    };
    let tags = xml.split(|byte| *byte == b'<').skip(1);
    match tags.filter(|tag| tag.starts_with(element)).count() <= count_max {
        true => Ok(()),
        false => Err(Code::MalformedXML.into()),
    }
}

/// The parts of a request that a signature is made of.
pub fn subject<'a>(
    method: &'a Method,
    uri: &'a Uri,
    query: &'a Query,
    headers: &'a HeaderMap,
) -> Subject<'a> {
    Subject {
        method,
        path: uri.path(),
        query,
        headers,
    }
}

/// A bucket in the host's name would be passed over, and the key be taken for a bucket. Names below
/// `localhost` can mean nothing else; any other may be the server's own.
fn check_host(uri: &Uri, headers: &HeaderMap) -> Result<(), Fault> {
    let in_headers = headers.get_all(header::HOST).iter();
    let in_headers = in_headers.filter_map(|value| value.to_str().ok());
    match in_headers
        .chain(uri.host())
        .find(|host| is_below_localhost(host))
    {
        None => Ok(()),
        Some(host) => Err(Fault::not_implemented(format_args!(
            "Addressing a bucket by the host ({host}) instead of by the path"
        ))),
    }
}

fn is_below_localhost(host: &str) -> bool {
    let name = host.split(':').next().unwrap_or_default();
    let name = name.strip_suffix('.').unwrap_or(name);
    let top = name.rsplit_once('.').map(|(_, top)| top);
    top.is_some_and(|top| top.eq_ignore_ascii_case("localhost"))
}

fn check_names(address: &Address) -> Result<(), Fault> {
    if let Some(bucket) = address.bucket()
        && !s3s::path::check_bucket_name(bucket)
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

/// Every header that changes the outcome must be under the signature.
fn check_coverage(
    method: &Method,
    headers: &HeaderMap,
    signed: &[String],
    form: Form,
) -> Result<(), Fault> {
    let is_signed = |name: &str| signed.iter().any(|known| known == name);
    if !is_signed("host") {
        return Err(not_signed(&["host"]));
    }
    let is_presigned = matches!(form, Form::Query { .. });
    let mut missing: Vec<&str> = headers
        .keys()
        .map(HeaderName::as_str)
        .filter(|name| name.starts_with("x-amz-") && !is_signed(name))
        .filter(|name| !(is_presigned && FREE_HEADERS.contains(name)))
        .collect();
    let stores_a_type = matches!(*method, Method::PUT | Method::POST);
    if !is_presigned
        && stores_a_type
        && headers.contains_key(header::CONTENT_TYPE)
        && !is_signed("content-type")
    {
        missing.push("content-type");
    }
    match missing.is_empty() {
        true => Ok(()),
        false => Err(not_signed(&missing)),
    }
}

fn not_signed(names: &[&str]) -> Fault {
    Fault::new(
        Code::AccessDenied,
        "There were headers present in the request which were not signed",
    )
    .detail("HeadersNotSigned", names.join(", "))
}

/// A presigned URL may carry headers as parameters; they are under its signature.
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
        if !lower.starts_with("x-amz-") || OWN.contains(&lower.as_str()) {
            continue;
        }
        let malformed = || Fault::argument(name, value, "The parameter is no valid header.");
        let header = HeaderName::from_bytes(lower.as_bytes()).map_err(|_| malformed())?;
        let value = HeaderValue::from_str(value).map_err(|_| malformed())?;
        if headers
            .get(&header)
            .is_some_and(|present| *present != value)
        {
            return Err(Fault::argument(
                name,
                "",
                "The header contradicts the parameter.",
            ));
        }
        headers.insert(header, value);
    }
    Ok(())
}

fn check_headers(operation: Operation, headers: &HeaderMap) -> Result<(), Fault> {
    if headers.contains_key("x-amz-security-token") {
        return Err(Code::InvalidToken.into());
    }
    for name in headers.keys().map(HeaderName::as_str) {
        let is_ours = name.starts_with("x-amz-meta-") || KNOWN_HEADERS.contains(&name);
        if name.starts_with("x-amz-") && !is_ours {
            return Err(Fault::header_not_implemented(name));
        }
        let is_list = name.starts_with("x-amz-meta-") || name == "x-amz-object-attributes";
        if name.starts_with("x-amz-") && !is_list && headers.get_all(name).iter().count() > 1 {
            return Err(Fault::argument(
                name,
                "",
                "The header is there more than once.",
            ));
        }
    }
    for (name, values) in KNOWN_VALUES {
        if let Some(value) = headers.get(*name)
            && !values
                .iter()
                .any(|known| known.as_bytes() == value.as_bytes())
        {
            return Err(Fault::header_not_implemented(name));
        }
    }
    for (name, operations) in BOUND_HEADERS {
        if headers.contains_key(*name) && !operations.contains(&operation) {
            return Err(Fault::header_not_implemented(name));
        }
    }
    Ok(())
}

fn anonymous_payload(headers: &HeaderMap) -> Result<Payload, Fault> {
    let declared = headers
        .get("x-amz-content-sha256")
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
        _ => Ok(Payload::Unsigned),
    }
}

fn expectation(
    operation: Operation,
    headers: &HeaderMap,
    payload: Payload,
) -> Result<Option<Expectation>, Fault> {
    if !operation.streams_a_body() && !operation.takes_xml() {
        return Ok(None);
    }
    let trailers = announced_trailers(headers, &payload)?;
    let length = match &payload {
        Payload::Chunked { .. } => number(headers, "x-amz-decoded-content-length")?,
        Payload::Unsigned | Payload::Hash(_) => number(headers, "content-length")?,
    };
    let is_bare = operation.takes_xml() && !headers.contains_key(header::TRANSFER_ENCODING);
    let length = match length {
        Some(length) => length,
        None if is_bare => 0,
        None => return Err(Code::MissingContentLength.into()),
    };
    if operation.streams_a_body() && length > PUT_BYTES_MAX {
        return Err(Fault::from(Code::EntityTooLarge)
            .detail("ProposedSize", length.to_string())
            .detail("MaxSizeAllowed", PUT_BYTES_MAX.to_string()));
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

/// What is declared of a body. A delete of many keys must declare something, as with AWS.
fn declared(
    operation: Operation,
    headers: &HeaderMap,
    trailers: &[String],
) -> Result<Declared, Fault> {
    let content_md5 = checksum::content_md5(headers)?;
    // The headers of a completed upload declare the checksum of the object, not of the XML.
    let checksum = match operation {
        Operation::CompleteMultipartUpload => None,
        _ => checksum::declaration(headers, trailers)?,
    };
    if operation == Operation::DeleteObjects && content_md5.is_none() && checksum.is_none() {
        return Err(Fault::new(
            Code::InvalidRequest,
            "Missing required header for this request: Content-MD5 OR x-amz-checksum-*",
        ));
    }
    Ok((content_md5, checksum))
}

fn announced_trailers(headers: &HeaderMap, payload: &Payload) -> Result<Vec<String>, Fault> {
    let mut names = Vec::new();
    for value in headers.get_all("x-amz-trailer") {
        let text = value
            .to_str()
            .map_err(|_| Fault::from(Code::MalformedTrailerError))?;
        names.extend(text.split(',').map(|name| name.trim().to_ascii_lowercase()));
    }
    let carries = matches!(payload, Payload::Chunked { trailers: true, .. });
    if !names.is_empty() && !carries {
        return Err(Fault::new(
            Code::InvalidRequest,
            "x-amz-trailer needs x-amz-content-sha256 to name a payload with trailers.",
        ));
    }
    if carries && names.is_empty() {
        return Err(Fault::from(Code::MalformedTrailerError)
            .because("no x-amz-trailer with a payload that has trailers"));
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
