//! Who asks: Signature Version 4, in a header or in the query of a presigned URL.
//!
//! s3s could do this, but it accepts `x-amz-*` headers outside the signature and Version 2, holds
//! whole chunks of a signed body in memory, and asks the machine for the time. So requests are
//! verified here and s3s sees them without any signature.
//!
//! Invariants: a secret is never shown, not even by `Debug`; signatures are compared in constant
//! time; what is not understood is refused.

pub mod chunks;
mod presented;
mod signature;

use std::cell::RefCell;
use std::fmt;

use aws_lc_rs::hmac;
use http::{HeaderMap, Method};

use crate::error::{Code, Fault};
use crate::query::{Query, parse_hex_32};

pub use presented::Form;
use presented::Presented;
use signature::{Scope, canonical_request, signing_key, string_to_sign};

/// How far the clock of a client may be off, in seconds.
const SKEW_SECONDS_MAX: i64 = 15 * 60;

/// Signing keys that are kept; each client has one a day.
const CACHED_KEYS_MAX: usize = 64;

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
        /// Whether trailers follow.
        trailers: bool,
    },
}

/// Who asks, and what the signature covers.
#[derive(Clone)]
pub enum Identity {
    /// Nobody.
    Anonymous,
    /// The holder of a key.
    Signed(Box<Signed>),
}

/// A request whose signature is right.
#[derive(Clone)]
pub struct Signed {
    /// The key.
    pub access_key_id: String,
    /// The headers under the signature, in lower case.
    pub signed_headers: Vec<String>,
    /// Where the signature stood.
    pub form: Form,
    /// What the body must be.
    pub payload: Payload,
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
    date: String,
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

    /// Verifies a request at a time, in seconds since the Unix epoch. `find` looks a key up.
    ///
    /// # Errors
    /// AWS's: a malformed, expired, unknown or wrong signature.
    pub fn verify(
        &self,
        subject: &Subject<'_>,
        now: i64,
        find: impl FnOnce(&str) -> Result<Option<Credential>, Fault>,
    ) -> Result<Identity, Fault> {
        let Some(presented) = Presented::read(subject)? else {
            return Ok(Identity::Anonymous);
        };
        self.check_scope(&presented)?;
        check_time(&presented, now)?;
        let credential = find(&presented.access_key_id)?.ok_or_else(|| {
            Fault::from(Code::InvalidAccessKeyId).detail("AWSAccessKeyId", &presented.access_key_id)
        })?;
        let key = self.key(&credential, &presented.scope);
        check_signature(subject, &presented, &key)?;
        let payload = payload_of(&presented, subject, key)?;
        Ok(Identity::Signed(Box::new(Signed {
            access_key_id: presented.access_key_id,
            signed_headers: presented.signed_headers,
            form: presented.form,
            payload,
        })))
    }

    fn check_scope(&self, presented: &Presented) -> Result<(), Fault> {
        let scope = &presented.scope;
        if OTHER_SERVICES.contains(&&*scope.service) {
            return Err(Fault::not_implemented(format_args!(
                "The service {}",
                scope.service
            )));
        }
        if scope.service != "s3" {
            return Err(presented.malformed(format!(
                "incorrect service \"{}\". This endpoint belongs to \"s3\".",
                scope.service
            )));
        }
        if !presented.date_time.starts_with(&scope.date) {
            return Err(presented
                .malformed("the date of the credential is not that of the request.".into()));
        }
        if scope.region != self.region {
            let message = format!(
                "the region '{}' is wrong; expecting '{}'",
                scope.region, self.region
            );
            return Err(presented.malformed(message).detail("Region", &self.region));
        }
        Ok(())
    }

    fn key(&self, credential: &Credential, scope: &Scope) -> hmac::Key {
        let mut keys = self.keys.borrow_mut();
        let found = keys
            .iter()
            .position(|cached| cached.date == scope.date && cached.credential == *credential);
        if let Some(at) = found {
            return keys[at].key.clone();
        }
        let key = signing_key(&credential.secret_access_key, scope);
        if keys.len() >= CACHED_KEYS_MAX {
            keys.remove(0);
        }
        keys.push(CachedKey {
            credential: credential.clone(),
            date: scope.date.clone(),
            key: key.clone(),
        });
        key
    }
}

fn check_time(presented: &Presented, now: i64) -> Result<(), Fault> {
    let at = presented.time_seconds;
    match presented.form {
        Form::Header if (now - at).abs() > SKEW_SECONDS_MAX => {
            Err(Fault::from(Code::RequestTimeTooSkewed)
                .detail("RequestTime", &presented.date_time)
                .detail(
                    "MaxAllowedSkewMilliseconds",
                    (SKEW_SECONDS_MAX * 1000).to_string(),
                ))
        }
        Form::Query { .. } if at - now > SKEW_SECONDS_MAX => {
            Err(Fault::new(Code::AccessDenied, "Request is not yet valid"))
        }
        Form::Query { expires_seconds } if now - at > expires_seconds => {
            Err(Fault::new(Code::AccessDenied, "Request has expired")
                .detail("X-Amz-Expires", expires_seconds.to_string()))
        }
        _ => Ok(()),
    }
}

/// Tries the path in its canonical form and, because some clients sign what they send, as sent.
fn check_signature(
    subject: &Subject<'_>,
    presented: &Presented,
    key: &hmac::Key,
) -> Result<(), Fault> {
    let expected = parse_hex_32(&presented.signature)
        .ok_or_else(|| Fault::from(Code::SignatureDoesNotMatch))?;
    let canonical_path = signature::canonical_path(subject.path);
    for path in [canonical_path.as_str(), subject.path] {
        let request = canonical_request(subject, presented, path)?;
        let text = string_to_sign(&presented.date_time, &presented.scope, &request);
        if hmac::verify(key, text.as_bytes(), &expected).is_ok() {
            return Ok(());
        }
        if canonical_path == subject.path {
            break;
        }
    }
    Err(Fault::from(Code::SignatureDoesNotMatch)
        .detail("AWSAccessKeyId", &presented.access_key_id)
        .detail("SignatureProvided", &presented.signature))
}

fn payload_of(
    presented: &Presented,
    subject: &Subject<'_>,
    key: hmac::Key,
) -> Result<Payload, Fault> {
    let header = subject
        .headers
        .get("x-amz-content-sha256")
        .and_then(|value| value.to_str().ok());
    let declared = header.unwrap_or(&presented.payload);
    let is_presigned = matches!(presented.form, Form::Query { .. });
    let signer = || {
        Box::new(chunks::ChunkSigner {
            key,
            date_time: presented.date_time.clone(),
            scope: presented.scope.to_string(),
            previous: presented.signature.clone(),
        })
    };
    match declared {
        "UNSIGNED-PAYLOAD" => Ok(Payload::Unsigned),
        _ if is_presigned && declared.starts_with("STREAMING-") => {
            Err(Fault::not_implemented("A streamed payload with a presigned URL"))
        }
        "STREAMING-UNSIGNED-PAYLOAD-TRAILER" => {
            Ok(Payload::Chunked { signer: None, trailers: true })
        }
        "STREAMING-AWS4-HMAC-SHA256-PAYLOAD" => {
            Ok(Payload::Chunked { signer: Some(signer()), trailers: false })
        }
        "STREAMING-AWS4-HMAC-SHA256-PAYLOAD-TRAILER" => {
            Ok(Payload::Chunked { signer: Some(signer()), trailers: true })
        }
        _ if declared.starts_with("STREAMING-AWS4-ECDSA-P256-SHA256-PAYLOAD") => {
            Err(Fault::not_implemented("Signature Version 4A"))
        }
        hash => parse_hex_32(hash).map(Payload::Hash).ok_or_else(|| {
            Fault::argument(
                "x-amz-content-sha256",
                hash,
                "x-amz-content-sha256 must be UNSIGNED-PAYLOAD, STREAMING-UNSIGNED-PAYLOAD-TRAILER, \
                 STREAMING-AWS4-HMAC-SHA256-PAYLOAD, STREAMING-AWS4-HMAC-SHA256-PAYLOAD-TRAILER or \
                 a valid sha256 value.",
            )
        }),
    }
}

#[cfg(test)]
mod tests;
