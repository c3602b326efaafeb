//! A request of S3, parsed once: what everything behind the connection works on.

use bytes::Bytes;
use http::HeaderMap;

use crate::access::Asker;
use crate::body::RequestBody;
use crate::error::{Code, Fault};
use crate::form::fields::SuccessAction;
use crate::operation::{Addresses, Operation};
use crate::percent::decode;
use crate::query::Query;
use crate::request_id::RequestId;

/// A request that may be served.
pub struct Request {
    /// Its id.
    pub id: RequestId,
    /// Who asks.
    pub asker: Asker,
    /// What it asks for.
    pub operation: &'static Operation,
    /// What it is about.
    pub address: Address,
    /// Where it names its bucket.
    pub addressing: Addressing,
    /// Its parameters.
    pub query: Query,
    /// Its headers, with those that a presigned URL carries in its query.
    pub headers: HeaderMap,
    /// Its body, where the operation reads it as a stream.
    pub body: RequestBody,
    /// Its body, where the operation takes a document.
    pub xml: Bytes,
    /// What a form wants to be answered.
    pub success_action: Option<SuccessAction>,
}

impl Request {
    /// A header as text; `None` where it is absent or not text.
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.get(name).and_then(|value| value.to_str().ok())
    }

    /// The bucket that the request is about.
    ///
    /// # Errors
    /// `InternalError`: the table says that the operation has one.
    pub fn bucket(&self) -> Result<&str, Fault> {
        let bucket = self.address.bucket();
        bucket.ok_or_else(|| Fault::from(Code::InternalError).because("the request has no bucket"))
    }
}

/// Where the name of a bucket stands in a request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Addressing {
    /// At the beginning of the path.
    Path,
    /// In the host, before a domain of the server.
    Host,
}

/// What a request is about.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Address {
    /// `/`.
    Service,
    /// A bucket.
    Bucket(String),
    /// A bucket and a key in it.
    Object(String, String),
}

impl Address {
    /// Reads a raw path that names everything.
    ///
    /// # Errors
    /// `InvalidURI` where the path is no encoded UTF-8.
    pub fn parse(raw: &str) -> Result<Address, Fault> {
        let invalid = || Fault::from(Code::InvalidURI);
        let path = decode(raw).ok_or_else(invalid)?;
        let path = path.strip_prefix('/').ok_or_else(invalid)?;
        Ok(match path.split_once('/') {
            _ if path.is_empty() => Address::Service,
            None => Address::Bucket(path.to_owned()),
            Some((bucket, "")) => Address::Bucket(bucket.to_owned()),
            Some((bucket, key)) => Address::Object(bucket.to_owned(), key.to_owned()),
        })
    }

    /// Reads a raw path in a bucket that is named elsewhere.
    ///
    /// # Errors
    /// As [`parse`](Address::parse).
    pub fn in_bucket(bucket: String, raw: &str) -> Result<Address, Fault> {
        let invalid = || Fault::from(Code::InvalidURI);
        let path = decode(raw).ok_or_else(invalid)?;
        let key = path.strip_prefix('/').ok_or_else(invalid)?;
        Ok(match key.is_empty() {
            true => Address::Bucket(bucket),
            false => Address::Object(bucket, key.to_owned()),
        })
    }

    /// What kind of thing it names.
    pub fn kind(&self) -> Addresses {
        match self {
            Address::Service => Addresses::Service,
            Address::Bucket(_) => Addresses::Bucket,
            Address::Object(..) => Addresses::Object,
        }
    }

    /// The bucket's name.
    pub fn bucket(&self) -> Option<&str> {
        match self {
            Address::Service => None,
            Address::Bucket(bucket) | Address::Object(bucket, _) => Some(bucket),
        }
    }

    /// The key.
    pub fn key(&self) -> Option<&str> {
        match self {
            Address::Service | Address::Bucket(_) => None,
            Address::Object(_, key) => Some(key),
        }
    }

    /// The bucket and the key.
    ///
    /// # Errors
    /// `InternalError`: the table says that the operation has both.
    pub fn object(&self) -> Result<(&str, &[u8]), Fault> {
        match self {
            Address::Object(bucket, key) => Ok((bucket, key.as_bytes())),
            _ => Err(Fault::from(Code::InternalError).because("the request has no key")),
        }
    }
}

/// Whether a name is one that S3 allows for a bucket: 3 to 63 lower-case letters, digits, dots and
/// hyphens, beginning and ending with a letter or digit, without two dots in a row, and neither an
/// IP address nor of an internationalised domain.
pub fn is_bucket_name(name: &str) -> bool {
    let is_plain = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit();
    let bytes = name.as_bytes();
    (3..=63).contains(&bytes.len())
        && bytes
            .iter()
            .all(|byte| is_plain(*byte) || matches!(byte, b'.' | b'-'))
        && bytes.first().copied().is_some_and(is_plain)
        && bytes.last().copied().is_some_and(is_plain)
        && !name.contains("..")
        && !name.starts_with("xn--")
        && name.parse::<std::net::Ipv4Addr>().is_err()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_path_names_a_bucket_and_a_key_with_all_its_slashes() {
        let object = |bucket: &str, key: &str| Address::Object(bucket.into(), key.into());
        assert_eq!(Address::parse("/").unwrap(), Address::Service);
        assert_eq!(Address::parse("/b/").unwrap(), Address::Bucket("b".into()));
        assert_eq!(Address::parse("/b//").unwrap(), object("b", "/"));
        let key = Address::parse("/b/a//../c%2B+").unwrap();
        assert_eq!(key, object("b", "a//../c++"));
        assert!(Address::parse("/b/%ff").is_err());
        assert!(Address::parse("*").is_err());
    }

    #[test]
    fn in_a_bucket_the_path_is_the_key() {
        let read = |raw: &str| Address::in_bucket("b".into(), raw);
        let object = |key: &str| Address::Object("b".into(), key.into());
        assert_eq!(read("/").unwrap(), Address::Bucket("b".into()));
        assert_eq!(read("//").unwrap(), object("/"));
        assert_eq!(read("/a//../c%2B+").unwrap(), object("a//../c++"));
        assert!(read("/%ff").is_err());
        assert!(read("*").is_err());
    }

    #[test]
    fn names_of_buckets_are_those_of_s3() {
        for name in ["abc", "a.b-c", "123", &"a".repeat(63)] {
            assert!(is_bucket_name(name), "{name}");
        }
        for name in [
            "ab", "Abc", "-abc", "abc-", "a..b", "a_b", "1.2.3.4", "xn--a", "", "aé b",
        ] {
            assert!(!is_bucket_name(name), "{name}");
        }
        assert!(!is_bucket_name(&"a".repeat(64)));
    }
}
