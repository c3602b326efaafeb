//! Signature Version 4: what is signed, and with which key. Shared by the server, the load generator
//! and the tests.
//!
//! Source: "Signature Calculations for the Authorization Header" and its neighbours in AWS's S3 API
//! reference.

use std::cell::RefCell;
use std::fmt;

use aws_lc_rs::{digest, hmac};
use time::{Date, Month, OffsetDateTime, PrimitiveDateTime, Time};

use crate::percent::encode;

/// The algorithm's name, as it stands in headers and parameters.
pub const ALGORITHM: &str = "AWS4-HMAC-SHA256";

/// Stands for the hash of a body that is not signed.
pub const UNSIGNED_PAYLOAD: &str = "UNSIGNED-PAYLOAD";

/// The SHA-256 of no bytes, in hexadecimal.
pub const EMPTY_SHA256: &str = "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855";

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
        let Scope {
            date,
            region,
            service,
        } = self;
        write!(f, "{date}/{region}/{service}/aws4_request")
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

/// The signature of a text, in hexadecimal.
pub fn sign(key: &hmac::Key, text: &str) -> String {
    hex::encode(hmac::sign(key, text.as_bytes()))
}

/// Lower-case hexadecimal of the SHA-256.
pub fn sha256_hex(bytes: &[u8]) -> String {
    hex::encode(digest::digest(&digest::SHA256, bytes))
}

/// The canonical form of a request, written in its order.
pub struct CanonicalRequest {
    text: Vec<u8>,
    names: String,
}

impl CanonicalRequest {
    /// Begins with the method, the path, encoded, and the query as [`canonical_query`] makes it.
    pub fn new(method: &str, path: &str, query: &str) -> CanonicalRequest {
        let mut text = Vec::with_capacity(512);
        for line in [method, path, query] {
            text.extend_from_slice(line.as_bytes());
            text.push(b'\n');
        }
        CanonicalRequest {
            text,
            names: String::with_capacity(64),
        }
    }

    /// Adds a header, its name in lower case, with all its values. Headers are added by name.
    pub fn header<'v>(&mut self, name: &str, values: impl Iterator<Item = &'v [u8]>) {
        self.text.extend_from_slice(name.as_bytes());
        for (at, value) in values.enumerate() {
            self.text.push(if at == 0 { b':' } else { b',' });
            collapse_into(&mut self.text, value);
        }
        self.text.push(b'\n');
        if !self.names.is_empty() {
            self.names.push(';');
        }
        self.names.push_str(name);
    }

    /// The hash of the whole, with what stands for the body.
    pub fn finish(mut self, payload: &str) -> String {
        for part in ["\n", &self.names, "\n", payload] {
            self.text.extend_from_slice(part.as_bytes());
        }
        sha256_hex(&self.text)
    }
}

/// Without spaces at the ends and with single ones between words.
fn collapse_into(out: &mut Vec<u8>, value: &[u8]) {
    let words = value.split(|byte| *byte == b' ' || *byte == b'\t');
    for (at, word) in words.filter(|word| !word.is_empty()).enumerate() {
        if at > 0 {
            out.push(b' ');
        }
        out.extend_from_slice(word);
    }
}

/// The query in its canonical form, from its decoded parameters.
pub fn canonical_query<'p>(pairs: impl Iterator<Item = (&'p str, &'p str)>) -> String {
    let encoded = pairs.map(|(name, value)| (encode(name.as_bytes()), encode(value.as_bytes())));
    let mut encoded: Vec<_> = encoded.collect();
    // By name, then by value: `-` sorts below `=`, so that the joined text has another order.
    encoded.sort_unstable();
    let mut query = String::new();
    for (at, (name, value)) in encoded.iter().enumerate() {
        let separator = if at == 0 { "" } else { "&" };
        for part in [separator, name, "=", value] {
            query.push_str(part);
        }
    }
    query
}

/// The text of which a request's signature is the HMAC.
pub fn string_to_sign(date_time: &str, scope: &Scope, canonical_request: &str) -> String {
    format!("{ALGORITHM}\n{date_time}\n{scope}\n{canonical_request}")
}

/// The text of which a chunk's signature is the HMAC, with the signature before it.
pub fn chunk_to_sign(date_time: &str, scope: &str, previous: &str, sha256: &str) -> String {
    format!("{ALGORITHM}-PAYLOAD\n{date_time}\n{scope}\n{previous}\n{EMPTY_SHA256}\n{sha256}")
}

/// The text of which the signature of the trailers is the HMAC, with the signature before it.
pub fn trailer_to_sign(date_time: &str, scope: &str, previous: &str, sha256: &str) -> String {
    format!("{ALGORITHM}-TRAILER\n{date_time}\n{scope}\n{previous}\n{sha256}")
}

/// `YYYYMMDDTHHMMSSZ` of a time in seconds since the Unix epoch; that of the epoch where there is none.
pub fn date_time(unix_seconds: i64) -> String {
    let time = OffsetDateTime::from_unix_timestamp(unix_seconds);
    let time = time.unwrap_or(OffsetDateTime::UNIX_EPOCH);
    let (year, month, day) = (time.year(), u8::from(time.month()), time.day());
    let (hour, minute, second) = (time.hour(), time.minute(), time.second());
    format!("{year:04}{month:02}{day:02}T{hour:02}{minute:02}{second:02}Z")
}

/// Reads `YYYYMMDDTHHMMSSZ` as seconds since the Unix epoch.
pub fn parse_date_time(text: &str) -> Option<i64> {
    let digits = text.strip_suffix('Z').filter(|text| text.len() == 15)?;
    let (date, time) = digits.split_once('T').filter(|(date, _)| date.len() == 8)?;
    let number = |text: &str, from: usize, to: usize| -> Option<u16> {
        let digits = text.get(from..to)?;
        let is_plain = digits.bytes().all(|byte| byte.is_ascii_digit());
        is_plain.then(|| digits.parse().ok()).flatten()
    };
    let (month, day) = (number(date, 4, 6)? as u8, number(date, 6, 8)? as u8);
    let year = i32::from(number(date, 0, 4)?);
    let date = Date::from_calendar_date(year, Month::try_from(month).ok()?, day).ok()?;
    let (hour, minute) = (number(time, 0, 2)? as u8, number(time, 2, 4)? as u8);
    let time = Time::from_hms(hour, minute, number(time, 4, 6)? as u8).ok()?;
    Some(
        PrimitiveDateTime::new(date, time)
            .assume_utc()
            .unix_timestamp(),
    )
}

/// Signs requests with one key, for clients.
pub struct Signer {
    access_key_id: String,
    secret_access_key: String,
    region: String,
    /// The key derived last, with its scope.
    derived: RefCell<Option<(Scope, hmac::Key)>>,
}

/// What a client signs.
pub struct Unsigned<'a> {
    /// The method, in capitals.
    pub method: &'a str,
    /// The path, encoded.
    pub path: &'a str,
    /// The query as [`canonical_query`] makes it.
    pub query: &'a str,
    /// Names in lower case with their values, by name; `host` and `x-amz-date` are among them.
    pub headers: &'a [(&'a str, &'a str)],
    /// What stands for the body: its SHA-256, [`UNSIGNED_PAYLOAD`], or the kind of its chunks.
    pub payload: &'a str,
    /// `YYYYMMDDTHHMMSSZ`.
    pub date_time: &'a str,
}

impl Signer {
    /// A signer for S3 in one region.
    pub fn new(access_key_id: &str, secret_access_key: &str, region: &str) -> Signer {
        Signer {
            access_key_id: access_key_id.to_owned(),
            secret_access_key: secret_access_key.to_owned(),
            region: region.to_owned(),
            derived: RefCell::new(None),
        }
    }

    /// The scope of a signature made at that time.
    pub fn scope(&self, date_time: &str) -> Scope {
        Scope {
            date: date_time.get(..8).unwrap_or_default().to_owned(),
            region: self.region.clone(),
            service: "s3".to_owned(),
        }
    }

    /// The signature of a text, in hexadecimal.
    pub fn sign(&self, scope: &Scope, text: &str) -> String {
        let mut derived = self.derived.borrow_mut();
        let (_, key) = match derived.take().filter(|(of, _)| of == scope) {
            Some(known) => derived.insert(known),
            None => {
                let key = signing_key(&self.secret_access_key, scope);
                derived.insert((scope.clone(), key))
            }
        };
        sign(key, text)
    }

    /// The signature of a request, in hexadecimal.
    pub fn signature(&self, request: &Unsigned<'_>) -> String {
        let mut canonical = CanonicalRequest::new(request.method, request.path, request.query);
        for (name, value) in request.headers {
            canonical.header(name, std::iter::once(value.as_bytes()));
        }
        let canonical = canonical.finish(request.payload);
        let scope = self.scope(request.date_time);
        self.sign(
            &scope,
            &string_to_sign(request.date_time, &scope, &canonical),
        )
    }

    /// The value of the `Authorization` header of a request with that signature.
    pub fn authorization(&self, request: &Unsigned<'_>, signature: &str) -> String {
        let names: Vec<&str> = request.headers.iter().map(|(name, _)| *name).collect();
        let (key, scope) = (&self.access_key_id, self.scope(request.date_time));
        let names = names.join(";");
        format!(
            "{ALGORITHM} Credential={key}/{scope}, SignedHeaders={names}, Signature={signature}"
        )
    }
}

#[cfg(test)]
mod tests {
    //! The examples of "Authenticating Requests: Using the Authorization Header" in the S3 documentation.

    use super::*;
    use crate::percent::encode_path;

    const HOST: (&str, &str) = ("host", "examplebucket.s3.amazonaws.com");
    const DATE: (&str, &str) = ("x-amz-date", "20130524T000000Z");

    fn signature(
        method: &str,
        path: &str,
        query: &str,
        headers: &[(&str, &str)],
        payload: &str,
    ) -> String {
        let (key, secret) = (
            "AKIAIOSFODNN7EXAMPLE",
            "wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY",
        );
        let signer = Signer::new(key, secret, "us-east-1");
        let request = Unsigned {
            method,
            path,
            query,
            headers,
            payload,
            date_time: DATE.1,
        };
        let first = signer.signature(&request);
        assert_eq!(first, signer.signature(&request), "the key is derived once");
        first
    }

    #[test]
    fn the_examples_of_the_documentation_are_signed() {
        let range = ("range", "bytes=0-9");
        let hash = ("x-amz-content-sha256", EMPTY_SHA256);
        assert_eq!(
            signature("GET", "/test.txt", "", &[HOST, range, hash, DATE], hash.1),
            "f0e8bdb87c964420e857bd35b5d6ed310bd44f0170aba48dd91039c6036bdb41"
        );
        let lists = &[HOST, hash, DATE];
        assert_eq!(
            signature("GET", "/", "lifecycle=", lists, hash.1),
            "fea454ca298b7da1c68078a5d1bdbfbbe0d65c699e0f91ac7a200a0136783543"
        );
        let query = canonical_query([("prefix", "J"), ("max-keys", "2")].into_iter());
        assert_eq!(
            signature("GET", "/", &query, lists, hash.1),
            "34b48302e7b5fa45bde8084f4b7868a86f0a534bc59db6670ed5711ef69dc6f7"
        );
        let hash = sha256_hex(b"Welcome to Amazon S3.");
        let headers = [
            ("date", "Fri, 24 May 2013 00:00:00 GMT"),
            HOST,
            ("x-amz-content-sha256", &hash),
            DATE,
            ("x-amz-storage-class", "REDUCED_REDUNDANCY"),
        ];
        let path = encode_path(b"/test$file.text");
        assert_eq!(
            signature("PUT", &path, "", &headers, &hash),
            "98ad721746da40c64f1a55b78f14c238d841ea1380cd77a1b5971af0ece108bd"
        );
    }

    #[test]
    fn a_query_is_sorted_by_name() {
        let pairs = [("select-type", "2"), ("select", ""), ("a b", "é")];
        assert_eq!(
            canonical_query(pairs.into_iter()),
            "a%20b=%C3%A9&select=&select-type=2"
        );
    }

    #[test]
    fn times_are_read_strictly() {
        assert_eq!(parse_date_time("19700101T000001Z"), Some(1));
        assert_eq!(parse_date_time("20130524T000000Z"), Some(1_369_353_600));
        for text in [
            "",
            "20130524T000000",
            "20131324T000000Z",
            "2013052aT000000Z",
            "+0130524T000000Z",
            "é130524T00000Z",
        ] {
            assert_eq!(parse_date_time(text), None, "{text}");
        }
        assert_eq!(date_time(951_827_696), "20000229T123456Z");
        assert_eq!(
            parse_date_time(&date_time(1_798_761_599)),
            Some(1_798_761_599)
        );
    }
}
