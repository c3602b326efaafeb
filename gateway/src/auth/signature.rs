//! The arithmetic of Signature Version 4.

use std::fmt;

use aws_lc_rs::{digest, hmac};

use super::Subject;
use super::presented::{Form, Presented};
use crate::error::{Code, Fault};
use crate::query::{decode, encode, hex};

/// What a signing key is good for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Scope {
    /// `YYYYMMDD`.
    pub date: String,
    /// The region.
    pub region: String,
    /// The service.
    pub service: String,
}

impl fmt::Display for Scope {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "{}/{}/{}/aws4_request",
            self.date, self.region, self.service
        )
    }
}

/// Derives the key for a day, a region and a service.
pub fn signing_key(secret: &str, scope: &Scope) -> hmac::Key {
    let first = format!("AWS4{secret}");
    let mut key = hmac::Key::new(hmac::HMAC_SHA256, first.as_bytes());
    for step in [
        &scope.date[..],
        &scope.region,
        &scope.service,
        "aws4_request",
    ] {
        let tag = hmac::sign(&key, step.as_bytes());
        key = hmac::Key::new(hmac::HMAC_SHA256, tag.as_ref());
    }
    key
}

/// Lower-case hexadecimal of the SHA-256.
pub fn hex_sha256(bytes: &[u8]) -> String {
    hex(digest::digest(&digest::SHA256, bytes).as_ref())
}

/// The path, encoded once and in one way.
pub fn canonical_path(raw: &str) -> String {
    match decode(raw) {
        Some(path) => encode(path.as_bytes(), true),
        None => raw.to_owned(),
    }
}

/// What is signed of a request.
///
/// # Errors
/// `AccessDenied` or `SignatureDoesNotMatch` where a header that is said to be signed is missing.
pub fn canonical_request(
    subject: &Subject<'_>,
    presented: &Presented,
    path: &str,
) -> Result<Vec<u8>, Fault> {
    let mut request = Vec::with_capacity(512);
    let mut line = |bytes: &[u8]| {
        request.extend_from_slice(bytes);
        request.push(b'\n');
    };
    line(subject.method.as_str().as_bytes());
    line(path.as_bytes());
    line(canonical_query(subject, presented).as_bytes());
    for name in &presented.signed_headers {
        line(&canonical_header(subject, name)?);
    }
    line(b"");
    line(presented.signed_headers.join(";").as_bytes());
    request.extend_from_slice(presented.payload.as_bytes());
    Ok(request)
}

fn canonical_query(subject: &Subject<'_>, presented: &Presented) -> String {
    let is_presigned = matches!(presented.form, Form::Query { .. });
    let pairs = subject.query.pairs().iter();
    let mut encoded: Vec<String> = pairs
        .filter(|(name, _)| !(is_presigned && name == "X-Amz-Signature"))
        .map(|(name, value)| {
            (
                encode(name.as_bytes(), false),
                encode(value.as_bytes(), false),
            )
        })
        .map(|(name, value)| format!("{name}={value}"))
        .collect();
    // '=' sorts below no character of an encoded name but '-', '.' and digits, so sort by the pair.
    encoded.sort_by(|a, b| a.split_once('=').cmp(&b.split_once('=')));
    encoded.join("&")
}

fn canonical_header(subject: &Subject<'_>, name: &str) -> Result<Vec<u8>, Fault> {
    let mut header = name.as_bytes().to_vec();
    header.push(b':');
    let mut any = false;
    for value in subject.headers.get_all(name) {
        if any {
            header.push(b',');
        }
        any = true;
        collapse_into(&mut header, value.as_bytes());
    }
    if !any {
        let message = format!("The signed header {name} is not in the request.");
        return Err(Fault::new(Code::SignatureDoesNotMatch, message));
    }
    Ok(header)
}

/// Without spaces at the ends and with single ones between words.
fn collapse_into(out: &mut Vec<u8>, value: &[u8]) {
    let words = value
        .split(|byte| *byte == b' ' || *byte == b'\t')
        .filter(|word| !word.is_empty());
    for (at, word) in words.enumerate() {
        if at > 0 {
            out.push(b' ');
        }
        out.extend_from_slice(word);
    }
}

/// The text of which the signature is the HMAC.
pub fn string_to_sign(date_time: &str, scope: &Scope, canonical_request: &[u8]) -> String {
    let hash = hex_sha256(canonical_request);
    format!("AWS4-HMAC-SHA256\n{date_time}\n{scope}\n{hash}")
}
