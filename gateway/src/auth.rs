//! Who asks: Signature Version 4, in a header, in the query of a presigned URL or in the fields of a form.
//!
//! Invariants: a secret is never shown, not even by `Debug`; signatures are compared in constant
//! time; what is not understood is refused; what is said outside the signature never overrides what
//! is said under it.

pub mod authorization;
pub mod chunks;
pub mod session_token;

use std::borrow::Cow;
use std::cell::RefCell;
use std::fmt;

use aws_lc_rs::hmac;
use http::{HeaderMap, Method};

use crate::dates::Iso8601Seconds;
use crate::error::{Code, Fault};
use crate::query::Query;
use crate::signature::{
    CanonicalRequest, Scope, UNSIGNED_PAYLOAD, canonical_query, signing_key, string_to_sign,
};

pub use authorization::{Authorization, Form};

/// How far the clock of a client may be off, in seconds.
const SKEW_SECONDS_MAX: i64 = 15 * 60;

/// Signing keys that are kept; each client has one a day.
const CACHED_KEYS_MAX: usize = 64;

/// The region of AWS's services that have one endpoint for all regions, which some SDKs sign for whatever region they are told
/// (General Reference, "AWS Identity and Access Management endpoints and quotas").
pub const GLOBAL_REGION: &str = "us-east-1";

/// Services beside `s3` that requests of AWS's S3 API are signed for and that are not here: that
/// of directory buckets, and that of WriteGetObjectResponse.
const OTHER_SERVICES: &[&str] = &["s3express", "s3-object-lambda"];

/// An access key and its secret. `Debug` does not show the secret.
#[derive(Clone, PartialEq, Eq)]
pub struct Credential {
    /// The access key id.
    pub access_key_id: String,
    /// The secret access key; never logged.
    pub secret_access_key: String,
}

impl fmt::Debug for Credential {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Credential")
            .field("access_key_id", &self.access_key_id)
            .finish_non_exhaustive()
    }
}

/// What the body of a signed request must be.
#[derive(Clone)]
pub enum Payload {
    /// Anything.
    Unsigned,
    /// What has this SHA-256.
    Hash([u8; 32]),
    /// Framed in chunks, signed or not, with trailers or not.
    Chunked {
        /// Verifies the chunks; `None` where they are not signed.
        signer: Option<Box<chunks::ChunkSigner>>,
        /// Whether trailers may follow.
        trailers: bool,
    },
}

impl Payload {
    /// What `x-amz-content-sha256` says of it.
    pub fn declared(&self) -> Cow<'static, str> {
        Cow::Borrowed(match self {
            Payload::Unsigned => UNSIGNED_PAYLOAD,
            Payload::Hash(hash) => return Cow::Owned(hex::encode(hash)),
            Payload::Chunked { signer: None, .. } => "STREAMING-UNSIGNED-PAYLOAD-TRAILER",
            Payload::Chunked { trailers: true, .. } => "STREAMING-AWS4-HMAC-SHA256-PAYLOAD-TRAILER",
            Payload::Chunked { .. } => "STREAMING-AWS4-HMAC-SHA256-PAYLOAD",
        })
    }
}

/// What is verified of a request.
pub struct Subject<'a> {
    /// The method.
    pub method: &'a Method,
    /// The path as it was sent.
    pub path: &'a str,
    /// The query.
    pub query: &'a Query,
    /// The headers.
    pub headers: &'a HeaderMap,
}

/// Verifies signatures, and remembers the keys that it derived.
pub struct Verifier {
    region: String,
    keys: RefCell<Vec<CachedKey>>,
}

struct CachedKey {
    credential: Credential,
    scope: Scope,
    key: hmac::Key,
}

impl Verifier {
    /// A verifier of requests to a region.
    pub fn new(region: &str) -> Verifier {
        Verifier {
            region: region.to_owned(),
            keys: RefCell::default(),
        }
    }

    /// Verifies what a request says of itself, at a time in seconds since the Unix epoch. `find`
    /// looks a key up. Returns what the body must be.
    ///
    /// # Errors
    /// AWS's: an expired, unknown or wrong signature.
    pub fn verify(
        &self,
        subject: &Subject<'_>,
        authorization: &Authorization,
        now: i64,
        find: impl FnOnce(&str) -> Result<Option<Credential>, Fault>,
    ) -> Result<Payload, Fault> {
        self.check_scope(authorization)?;
        check_time(authorization, now)?;
        let credential = found(authorization, find)?;
        self.with_key(credential, &authorization.scope, |key| {
            check_signature(subject, authorization, key)?;
            payload_of(authorization, subject, key)
        })
    }

    /// Verifies the signature of a form over its policy, as that stands in its field. Until when it counts is for the policy to say.
    ///
    /// # Errors
    /// AWS's: an unknown or wrong signature.
    pub fn verify_form(
        &self,
        policy: &str,
        authorization: &Authorization,
        find: impl FnOnce(&str) -> Result<Option<Credential>, Fault>,
    ) -> Result<(), Fault> {
        self.check_scope(authorization)?;
        let credential = found(authorization, find)?;
        self.with_key(credential, &authorization.scope, |key| {
            match is_signature(authorization, key, policy) {
                true => Ok(()),
                false => Err(wrong_signature(authorization)),
            }
        })
    }

    /// Checks what can be checked before the body is there of a call of a query API, which is signed for one of these services; the service.
    ///
    /// # Errors
    /// AWS's: a signature for another service, region or time.
    pub fn check_call<'s>(
        &self,
        authorization: &Authorization,
        services: &[&'s str],
        now: i64,
    ) -> Result<&'s str, Fault> {
        let scope = &authorization.scope;
        let mut known = services.iter();
        let service = known.find(|service| **service == scope.service);
        let service = service.ok_or_else(|| {
            let what = format!(
                "Credential should be scoped to correct service: '{}'.",
                services.join("' or '")
            );
            Fault::new(Code::SignatureDoesNotMatch, what)
        })?;
        if ![self.region.as_str(), GLOBAL_REGION].contains(&&*scope.region) {
            let what = "Credential should be scoped to a valid region.";
            return Err(Fault::new(Code::SignatureDoesNotMatch, what));
        }
        check_date(authorization)?;
        check_time(authorization, now)?;
        Ok(service)
    }

    /// Verifies a call of a query API that [`check_call`](Verifier::check_call) has let through and that
    /// [covers](Authorization::cover) its body.
    ///
    /// # Errors
    /// `SignatureDoesNotMatch`.
    pub fn verify_call(
        &self,
        subject: &Subject<'_>,
        authorization: &Authorization,
        credential: Credential,
    ) -> Result<(), Fault> {
        self.with_key(credential, &authorization.scope, |key| {
            check_signature(subject, authorization, key)
        })
    }

    fn check_scope(&self, authorization: &Authorization) -> Result<(), Fault> {
        let scope = &authorization.scope;
        if OTHER_SERVICES.contains(&&*scope.service) {
            let service = format!("The service {}", scope.service);
            return Err(Fault::not_implemented(service));
        }
        if scope.service != "s3" {
            return Err(authorization.malformed(&format!(
                "incorrect service \"{}\". This endpoint belongs to \"s3\".",
                scope.service
            )));
        }
        check_date(authorization)?;
        if scope.region != self.region {
            let (given, expected) = (&scope.region, &self.region);
            let what = format!("the region '{given}' is wrong; expecting '{expected}'");
            return Err(authorization.malformed(&what).detail("Region", expected));
        }
        Ok(())
    }

    /// Calls with the signing key of a credential, derived now or before.
    fn with_key<R>(
        &self,
        credential: Credential,
        scope: &Scope,
        call: impl FnOnce(&hmac::Key) -> R,
    ) -> R {
        let mut keys = self.keys.borrow_mut();
        let is_it = |cached: &CachedKey| cached.scope == *scope && cached.credential == credential;
        let at = keys.iter().position(is_it).unwrap_or_else(|| {
            if keys.len() >= CACHED_KEYS_MAX {
                keys.remove(0);
            }
            keys.push(CachedKey {
                scope: scope.clone(),
                key: signing_key(&credential.secret_access_key, scope),
                credential,
            });
            keys.len() - 1
        });
        call(&keys[at].key)
    }
}

fn found(
    authorization: &Authorization,
    find: impl FnOnce(&str) -> Result<Option<Credential>, Fault>,
) -> Result<Credential, Fault> {
    let id = &authorization.access_key_id;
    let found = find(id)?;
    found.ok_or_else(|| Fault::from(Code::InvalidAccessKeyId).detail("AWSAccessKeyId", id))
}

/// Whether a request carries the signature of a text.
fn is_signature(authorization: &Authorization, key: &hmac::Key, text: &str) -> bool {
    let mut expected = [0; 32];
    let is_hex = hex::decode_to_slice(&authorization.signature, &mut expected).is_ok();
    is_hex && hmac::verify(key, text.as_bytes(), &expected).is_ok()
}

fn wrong_signature(authorization: &Authorization) -> Fault {
    Fault::from(Code::SignatureDoesNotMatch)
        .detail("AWSAccessKeyId", &authorization.access_key_id)
        .detail("SignatureProvided", &authorization.signature)
}

fn check_date(authorization: &Authorization) -> Result<(), Fault> {
    match authorization
        .date_time
        .starts_with(&authorization.scope.date)
    {
        true => Ok(()),
        false => {
            let what = "the date of the credential is not that of the request.";
            Err(authorization.malformed(what))
        }
    }
}

fn check_time(authorization: &Authorization, now: i64) -> Result<(), Fault> {
    let at = authorization.time_seconds;
    match authorization.form {
        Form::Header if (now - at).abs() > SKEW_SECONDS_MAX => {
            let skew_max = (SKEW_SECONDS_MAX * 1000).to_string();
            Err(Fault::from(Code::RequestTimeTooSkewed)
                .detail("RequestTime", &authorization.date_time)
                .detail("ServerTime", Iso8601Seconds(now).to_string())
                .detail("MaxAllowedSkewMilliseconds", skew_max))
        }
        Form::Query { .. } if at - now > SKEW_SECONDS_MAX => {
            Err(Fault::new(Code::AccessDenied, "Request is not yet valid"))
        }
        Form::Query { expires_seconds } if now - at > expires_seconds => {
            Err(Fault::new(Code::AccessDenied, "Request has expired")
                .detail("X-Amz-Expires", expires_seconds.to_string())
                .detail("Expires", Iso8601Seconds(at + expires_seconds).to_string())
                .detail("ServerTime", Iso8601Seconds(now).to_string()))
        }
        _ => Ok(()),
    }
}

/// Tries the path in its canonical form and, because some clients sign what they send, as sent.
fn check_signature(
    subject: &Subject<'_>,
    authorization: &Authorization,
    key: &hmac::Key,
) -> Result<(), Fault> {
    let query = signed_query(subject, authorization);
    let canonical_path = canonical_path(subject.path);
    let paths = [&*canonical_path, subject.path];
    let paths = if paths[0] == paths[1] {
        &paths[..1]
    } else {
        &paths[..]
    };
    for path in paths {
        let request = canonical_request(subject, authorization, path, &query)?;
        let text = string_to_sign(&authorization.date_time, &authorization.scope, &request);
        if is_signature(authorization, key, &text) {
            return Ok(());
        }
    }
    Err(wrong_signature(authorization))
}

/// The path, encoded once and in one way.
fn canonical_path(raw: &str) -> String {
    match crate::percent::decode(raw) {
        Some(path) => crate::percent::encode_path(path.as_bytes()).into_owned(),
        None => raw.to_owned(),
    }
}

fn signed_query(subject: &Subject<'_>, authorization: &Authorization) -> String {
    let is_presigned = matches!(authorization.form, Form::Query { .. });
    let pairs = subject.query.pairs().iter();
    let signed = pairs.filter(|(name, _)| !(is_presigned && name == "X-Amz-Signature"));
    canonical_query(signed.map(|(name, value)| (name.as_str(), value.as_str())))
}

fn canonical_request(
    subject: &Subject<'_>,
    authorization: &Authorization,
    path: &str,
    query: &str,
) -> Result<String, Fault> {
    let mut canonical = CanonicalRequest::new(subject.method.as_str(), path, query);
    for name in &authorization.signed_headers {
        if subject.headers.contains_key(name) {
            let values = subject.headers.get_all(name).into_iter();
            canonical.header(name, values.map(http::HeaderValue::as_bytes));
            continue;
        }
        let value = query_for_header(subject, authorization, name).ok_or_else(|| {
            let message = format!("The signed header {name} is not in the request.");
            Fault::new(Code::SignatureDoesNotMatch, message)
        })?;
        canonical.header(name, std::iter::once(value.as_bytes()));
    }
    Ok(canonical.finish(&authorization.payload))
}

/// The value that a presigned URL has in its query for a header of AWS's that it signs and that does
/// not come: some SDKs put it there alone.
fn query_for_header<'s>(
    subject: &Subject<'s>,
    authorization: &Authorization,
    name: &str,
) -> Option<&'s str> {
    let is_presigned = matches!(authorization.form, Form::Query { .. });
    let mut pairs = subject.query.pairs().iter();
    let found = pairs.find(|(known, _)| known.eq_ignore_ascii_case(name));
    let value = found.map(|(_, value)| value.as_str());
    value.filter(|_| is_presigned && name.starts_with("x-amz-"))
}

/// What is signed of the body counts. Where nothing is, as in most presigned URLs, an unsigned header
/// may ask the server to be stricter.
fn payload_of(
    authorization: &Authorization,
    subject: &Subject<'_>,
    key: &hmac::Key,
) -> Result<Payload, Fault> {
    let header = subject.headers.get("x-amz-content-sha256");
    let header = header.and_then(|value| value.to_str().ok());
    let is_presigned = matches!(authorization.form, Form::Query { .. });
    let declared = match header {
        Some(header) if is_presigned && !authorization.signs_payload => header,
        _ => &authorization.payload,
    };
    let signer = || {
        Some(Box::new(chunks::ChunkSigner {
            key: key.clone(),
            date_time: authorization.date_time.clone(),
            scope: authorization.scope.to_string(),
            previous: authorization.signature.clone(),
        }))
    };
    let chunked = |signer, trailers| Ok(Payload::Chunked { signer, trailers });
    match declared {
        UNSIGNED_PAYLOAD => Ok(Payload::Unsigned),
        _ if is_presigned && declared.starts_with("STREAMING-") => Err(Fault::not_implemented(
            "A streamed payload with a presigned URL",
        )),
        "STREAMING-UNSIGNED-PAYLOAD-TRAILER" => chunked(None, true),
        "STREAMING-AWS4-HMAC-SHA256-PAYLOAD" => chunked(signer(), false),
        "STREAMING-AWS4-HMAC-SHA256-PAYLOAD-TRAILER" => chunked(signer(), true),
        _ if declared.starts_with("STREAMING-AWS4-ECDSA-P256-SHA256-PAYLOAD") => {
            Err(Fault::not_implemented("Signature Version 4A"))
        }
        text => {
            let mut hash = [0; 32];
            let parsed = hex::decode_to_slice(text, &mut hash);
            parsed
                .map_err(|_| wrong_payload(text))
                .map(|()| Payload::Hash(hash))
        }
    }
}

fn wrong_payload(declared: &str) -> Fault {
    Fault::argument(
        "x-amz-content-sha256",
        declared,
        "x-amz-content-sha256 must be UNSIGNED-PAYLOAD, STREAMING-UNSIGNED-PAYLOAD-TRAILER, \
         STREAMING-AWS4-HMAC-SHA256-PAYLOAD, STREAMING-AWS4-HMAC-SHA256-PAYLOAD-TRAILER or a valid \
         sha256 value.",
    )
}

#[cfg(test)]
mod tests;
