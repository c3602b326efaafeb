//! Virtual hosts: the name of a bucket before a domain of the server, as in `bucket.s3.example.org`.
//!
//! Invariants: the header `Host` decides, because signatures cover it; what the request line says of the
//! host must not name another bucket. A host that is an IP address, a domain of the server itself, or
//! below none of them names no bucket: the path does.

use http::{HeaderMap, HeaderValue, Uri, header};

use crate::error::{Code, Fault};
use crate::request::{Address, Addressing};

/// A domain of every server: names below it lead to the machine that asks.
const LOCALHOST: &str = "localhost";

/// Reads what a request is about from its host and its path, and says which of them names the bucket.
/// `domains` are the server's, in lower case.
///
/// # Errors
/// `InvalidURI` for a path that is not encoded UTF-8 and for a request line that contradicts `Host`.
pub fn address(
    uri: &Uri,
    host: Option<&HeaderValue>,
    domains: &[String],
) -> Result<(Address, Addressing), Fault> {
    let host = host.and_then(|host| host.to_str().ok());
    let named = host.and_then(|host| bucket_of(host, domains));
    if let Some(host) = uri.host()
        && bucket_of(host, domains) != named
    {
        let message = "The host in the request line is not that of the header Host.";
        return Err(Fault::new(Code::InvalidURI, message));
    }
    match named {
        Some(bucket) => Ok((Address::in_bucket(bucket, uri.path())?, Addressing::Host)),
        None => Ok((Address::parse(uri.path())?, Addressing::Path)),
    }
}

/// The header `Host` of a request.
///
/// # Errors
/// `InvalidRequest` where it is there more than once: which one counts would be a guess.
pub fn host(headers: &HeaderMap) -> Result<Option<&HeaderValue>, Fault> {
    let mut hosts = headers.get_all(header::HOST).iter();
    match (hosts.next(), hosts.next()) {
        (host, None) => Ok(host),
        _ => Err(Fault::new(
            Code::InvalidRequest,
            "The header Host is there more than once.",
        )),
    }
}

/// The bucket before the longest domain that a host is below; `None` where it is below none.
pub fn bucket_of(host: &str, domains: &[String]) -> Option<String> {
    let name = name_of(host).to_ascii_lowercase();
    let mut bucket: Option<&str> = None;
    for domain in domains.iter().map(String::as_str).chain([LOCALHOST]) {
        match name.strip_suffix(domain) {
            Some("") => return None,
            Some(before) => {
                if let Some(before) = before.strip_suffix('.')
                    && bucket.is_none_or(|bucket| before.len() < bucket.len())
                {
                    bucket = Some(before);
                }
            }
            None => {}
        }
    }
    bucket.map(str::to_owned)
}

/// A host without its port and without the dot that may end a full name.
fn name_of(host: &str) -> &str {
    let name = match host.strip_prefix('[') {
        // An IPv6 address is below no domain, whatever follows it.
        Some(_) => "",
        None => host.split_once(':').map_or(host, |(name, _)| name),
    };
    name.strip_suffix('.').unwrap_or(name)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn bucket(host: &str) -> Option<String> {
        let domains = ["s3.example.org", "example.net", "eu.example.net"];
        bucket_of(host, &domains.map(str::to_owned))
    }

    #[test]
    fn a_host_below_a_domain_names_a_bucket() {
        for (host, expected) in [
            ("photos.s3.example.org", "photos"),
            ("photos.s3.example.org:9002", "photos"),
            ("Photos.S3.example.ORG.", "photos"),
            ("2024.photos.s3.example.org:80", "2024.photos"),
            ("photos.localhost", "photos"),
            ("a.b.localhost:9002", "a.b"),
            // The longest domain counts, whatever the order in which they are configured.
            ("photos.eu.example.net", "photos"),
            ("eu2.example.net", "eu2"),
            // No bucket has such a name, and no other is meant.
            (".localhost", ""),
            ("a_b.localhost", "a_b"),
            ("a..localhost", "a."),
        ] {
            assert_eq!(bucket(host).as_deref(), Some(expected), "{host}");
        }
    }

    #[test]
    fn every_other_host_names_none() {
        for host in [
            "",
            "localhost",
            "LOCALHOST:9002",
            "localhost.",
            "s3.example.org",
            "s3.example.org:9002",
            "eu.example.net",
            "example.org",
            "photos.example.org",
            "photos.elsewhere.com",
            "xlocalhost",
            "photos.notexample.net",
            "127.0.0.1:9002",
            "[::1]:9002",
            "[::1].localhost",
        ] {
            assert_eq!(bucket(host), None, "{host}");
        }
    }

    #[test]
    fn the_request_line_does_not_contradict_the_header() {
        let ask = |uri: &str, host: Option<&'static str>| {
            let host = host.map(HeaderValue::from_static);
            let address = address(&uri.parse().unwrap(), host.as_ref(), &[]);
            address.map_err(|fault| fault.code)
        };
        let object = |bucket: &str, key: &str| Address::Object(bucket.into(), key.into());
        let by_host = Ok((object("one", "k/é"), Addressing::Host));
        assert_eq!(ask("/k/%C3%A9", Some("one.localhost")), by_host);
        assert_eq!(
            ask("http://one.localhost/k/%c3%a9", Some("one.localhost:80")),
            by_host
        );
        let refused = Err(Code::InvalidURI);
        assert_eq!(
            ask("http://two.localhost/k", Some("one.localhost")),
            refused
        );
        assert_eq!(ask("http://localhost/k", Some("one.localhost")), refused);
        assert_eq!(ask("http://one.localhost/k", None), refused);
        let by_path = Ok((object("one", "k"), Addressing::Path));
        assert_eq!(ask("http://127.0.0.1/one/k", Some("127.0.0.1")), by_path);
        assert_eq!(ask("/one/k", None), by_path);
    }

    #[test]
    fn a_second_host_is_refused() {
        let mut headers = HeaderMap::new();
        assert_eq!(host(&headers).unwrap(), None);
        headers.append(header::HOST, HeaderValue::from_static("one.localhost"));
        assert_eq!(host(&headers).unwrap().unwrap(), "one.localhost");
        headers.append(header::HOST, HeaderValue::from_static("two.localhost"));
        assert_eq!(host(&headers).unwrap_err().code, Code::InvalidRequest);
    }
}
