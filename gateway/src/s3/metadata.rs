//! What is stored with an object and given back with it: standard headers, user metadata, checksum.

use http::header::{self, HeaderName};
use http::{HeaderMap, HeaderValue};
use strata_raftlog::namespace::{Checksum, Object, ObjectAttributes, StorageClass};

use crate::checksum;
use crate::dates::http_date;
use crate::encoded_word;
use crate::error::{Code, Fault};
use crate::etag;
use crate::query::Query;
use crate::request::Request;

/// Names and values of user metadata together, in bytes.
const USER_METADATA_BYTES_MAX: usize = 2048;

/// Standard headers together, in bytes: AWS takes no more of a whole head.
const HEADERS_BYTES_MAX: usize = 8192;

const META_PREFIX: &str = "x-amz-meta-";

/// What AWS calls a body of which nothing is said.
const CONTENT_TYPE_DEFAULT: &str = "binary/octet-stream";

/// The attributes that the headers of a request give an object.
///
/// # Errors
/// `MetadataTooLarge`, `InvalidArgument` for what is not UTF-8.
pub fn attributes(headers: &HeaderMap) -> Result<ObjectAttributes, Fault> {
    let stored = [
        header::CONTENT_TYPE,
        header::CACHE_CONTROL,
        header::CONTENT_DISPOSITION,
        header::CONTENT_ENCODING,
        header::CONTENT_LANGUAGE,
        header::EXPIRES,
    ];
    let values = stored.iter().flat_map(|name| headers.get_all(name));
    check_size(values.map(HeaderValue::len).sum(), HEADERS_BYTES_MAX)?;
    Ok(ObjectAttributes {
        content_type: text(headers, header::CONTENT_TYPE)?,
        cache_control: text(headers, header::CACHE_CONTROL)?,
        content_disposition: text(headers, header::CONTENT_DISPOSITION)?,
        content_encoding: content_encoding(headers)?,
        content_language: text(headers, header::CONTENT_LANGUAGE)?,
        expires: text(headers, header::EXPIRES)?,
        website_redirect: None,
        user_metadata: user_metadata(headers)?,
        storage_class: StorageClass::Standard,
    })
}

fn check_size(bytes: usize, bytes_max: usize) -> Result<(), Fault> {
    match bytes <= bytes_max {
        true => Ok(()),
        false => Err(Fault::from(Code::MetadataTooLarge)
            .detail("Size", bytes.to_string())
            .detail("MaxSizeAllowed", bytes_max.to_string())),
    }
}

fn text(headers: &HeaderMap, name: HeaderName) -> Result<Option<String>, Fault> {
    let Some(value) = headers.get(&name) else {
        return Ok(None);
    };
    let text = utf8(name.as_str(), value)?;
    Ok((!text.is_empty()).then_some(text))
}

fn utf8(name: &str, value: &HeaderValue) -> Result<String, Fault> {
    let text = std::str::from_utf8(value.as_bytes());
    let text = text.map_err(|_| Fault::argument(name, "", "The header is not UTF-8."))?;
    Ok(text.to_owned())
}

/// The list as it was sent, but for `aws-chunked`, which is about the transfer and is not stored.
fn content_encoding(headers: &HeaderMap) -> Result<Option<String>, Fault> {
    let name = header::CONTENT_ENCODING;
    let lines = headers.get_all(&name).into_iter();
    let lines: Vec<String> = lines
        .map(|line| utf8(name.as_str(), line))
        .collect::<Result<_, _>>()?;
    let all = lines.join(",");
    let is_framing = |coding: &&str| coding.trim().eq_ignore_ascii_case("aws-chunked");
    let kept: Vec<&str> = all
        .split(',')
        .filter(|coding| !is_framing(coding))
        .collect();
    let is_named = kept.iter().any(|coding| !coding.trim().is_empty());
    Ok(is_named.then(|| kept.join(",").trim().to_owned()))
}

/// By name, without the encoding that carries what is not ASCII; values of a name that is there more
/// than once are joined.
fn user_metadata(headers: &HeaderMap) -> Result<Vec<(String, String)>, Fault> {
    let mut found: Vec<(String, String)> = Vec::new();
    for name in headers.keys().map(HeaderName::as_str) {
        let Some(short) = name.strip_prefix(META_PREFIX) else {
            continue;
        };
        let values = headers
            .get_all(name)
            .into_iter()
            .map(|value| utf8(name, value).map(|text| encoded_word::decode(&text)));
        let values: Vec<String> = values.collect::<Result<_, _>>()?;
        found.push((short.to_owned(), values.join(",")));
    }
    let bytes: usize = found
        .iter()
        .map(|(name, value)| name.len() + value.len())
        .sum();
    check_size(bytes, USER_METADATA_BYTES_MAX)?;
    found.sort();
    Ok(found)
}

/// The headers of an object for GET and HEAD, with what the request overrides; without length,
/// range and checksum.
pub fn object_headers(query: &Query, object: &Object) -> HeaderMap {
    let mut headers = HeaderMap::new();
    let attributes = &object.attributes;
    let mut put = |name: HeaderName, stored: Option<&str>, parameter: &str| {
        if let Some(text) = query.get(parameter).or(stored)
            && let Ok(value) = HeaderValue::from_bytes(text.as_bytes())
        {
            headers.insert(name, value);
        }
    };
    let content_type = attributes
        .content_type
        .as_deref()
        .unwrap_or(CONTENT_TYPE_DEFAULT);
    put(
        header::CONTENT_TYPE,
        Some(content_type),
        "response-content-type",
    );
    put(
        header::CACHE_CONTROL,
        attributes.cache_control.as_deref(),
        "response-cache-control",
    );
    let disposition = attributes.content_disposition.as_deref();
    put(
        header::CONTENT_DISPOSITION,
        disposition,
        "response-content-disposition",
    );
    let encoding = attributes.content_encoding.as_deref();
    put(
        header::CONTENT_ENCODING,
        encoding,
        "response-content-encoding",
    );
    let language = attributes.content_language.as_deref();
    put(
        header::CONTENT_LANGUAGE,
        language,
        "response-content-language",
    );
    put(
        header::EXPIRES,
        attributes.expires.as_deref(),
        "response-expires",
    );
    for (name, value) in &attributes.user_metadata {
        let name = HeaderName::from_bytes(format!("{META_PREFIX}{name}").as_bytes());
        if let (Ok(name), Ok(value)) = (name, HeaderValue::from_str(&encoded_word::encode(value))) {
            headers.insert(name, value);
        }
    }
    add_validators(&mut headers, object);
    headers.insert(header::ACCEPT_RANGES, HeaderValue::from_static("bytes"));
    headers
}

/// `ETag` and `Last-Modified`.
pub fn add_validators(headers: &mut HeaderMap, object: &Object) {
    if let Ok(value) = HeaderValue::from_str(&etag::quoted(object.etag)) {
        headers.insert(header::ETAG, value);
    }
    headers.insert(header::LAST_MODIFIED, http_date(object.modified_nanos));
}

/// The checksum of an object, where the client asks for it.
pub fn add_checksum(headers: &mut HeaderMap, request: &Request, checksum: Option<&Checksum>) {
    let mode = request.header("x-amz-checksum-mode");
    if let Some(checksum) = checksum
        && mode.is_some_and(|mode| mode.eq_ignore_ascii_case("ENABLED"))
    {
        checksum::add(headers, checksum);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn headers(pairs: &[(&'static str, &[u8])]) -> HeaderMap {
        let mut headers = HeaderMap::new();
        for (name, value) in pairs {
            let value = HeaderValue::from_bytes(value).unwrap();
            headers.append(HeaderName::from_static(name), value);
        }
        headers
    }

    #[test]
    fn attributes_are_those_of_the_headers() {
        let found = attributes(&headers(&[
            ("content-type", b"text/plain"),
            ("content-encoding", b"aws-chunked, gzip"),
            ("expires", b"never"),
            ("x-amz-meta-b", b"2"),
            ("x-amz-meta-a", b"1"),
            ("x-amz-meta-a", b"3"),
        ]))
        .unwrap();
        assert_eq!(found.content_type.as_deref(), Some("text/plain"));
        assert_eq!(found.content_encoding.as_deref(), Some("gzip"));
        assert_eq!(found.expires.as_deref(), Some("never"));
        let expected = [("a", "1,3"), ("b", "2")].map(|(n, v)| (n.to_owned(), v.to_owned()));
        assert_eq!(found.user_metadata, expected);
    }

    #[test]
    fn a_list_of_codings_is_kept_as_it_was_sent() {
        for (lines, stored) in [
            (&["deflate,  gzip"][..], "deflate,  gzip"),
            (&["gzip, aws-chunked"], "gzip"),
            (&["AWS-chunked,gzip"], "gzip"),
            (&["deflate,gzip,aws-chunked"], "deflate,gzip"),
            (&["deflate, gzip, aws-chunked"], "deflate, gzip"),
            (&["deflate, aws-chunked, gzip"], "deflate, gzip"),
            (&["aws-chunked", "gzip"], "gzip"),
            (&["deflate", "gzip"], "deflate,gzip"),
        ] {
            let lines = lines
                .iter()
                .map(|line| ("content-encoding", line.as_bytes()));
            let found = attributes(&headers(&lines.collect::<Vec<_>>())).unwrap();
            assert_eq!(found.content_encoding.as_deref(), Some(stored));
        }
    }

    #[test]
    fn a_transfer_coding_alone_is_not_stored() {
        for value in [&b"aws-chunked"[..], b" , aws-chunked", b""] {
            let found = attributes(&headers(&[("content-encoding", value)])).unwrap();
            assert_eq!(found.content_encoding, None);
        }
    }

    #[test]
    fn encoded_metadata_is_stored_decoded() {
        let value = b"=?UTF-8?B?w6k=?= =?UTF-8?Q?_b?=";
        let found = attributes(&headers(&[("x-amz-meta-a", value)])).unwrap();
        assert_eq!(found.user_metadata, [("a".to_owned(), "é b".to_owned())]);
    }

    #[test]
    fn too_much_or_unreadable_metadata_is_refused() {
        let long = vec![b'x'; USER_METADATA_BYTES_MAX];
        let code = |value: &[u8]| {
            attributes(&headers(&[("x-amz-meta-a", value)]))
                .unwrap_err()
                .code
        };
        assert_eq!(code(&long), Code::MetadataTooLarge);
        assert_eq!(code(b"\xff"), Code::InvalidArgument);
        let half = vec![b'x'; HEADERS_BYTES_MAX / 2];
        let both = [("cache-control", &half[..]), ("expires", &half)];
        assert!(attributes(&headers(&both)).is_ok());
        let more = [both[0], both[1], ("content-type", b"x")];
        let refused = attributes(&headers(&more)).unwrap_err();
        assert_eq!(refused.code, Code::MetadataTooLarge);
    }
}
