//! Which operation a request asks for, and what is refused by which name.

use std::collections::BTreeSet;

use http::{HeaderMap, HeaderName, HeaderValue};

use super::*;

fn ask(method: Method, uri: &str) -> Result<&'static Operation, Fault> {
    let (path, query) = uri.split_once('?').unwrap_or((uri, ""));
    let address = Address::parse(path).unwrap();
    let query = Query::parse(query).unwrap();
    route(&method, &address, &query, &HeaderMap::new())
}

fn name(method: Method, uri: &str) -> Result<&'static str, Code> {
    let found = ask(method, uri);
    found.map(|found| found.name).map_err(|fault| fault.code)
}

#[test]
fn operations_are_told_apart() {
    for (method, uri, expected) in [
        (Method::GET, "/", "ListBuckets"),
        (Method::GET, "/b", "ListObjects"),
        (Method::GET, "/b/?list-type=2&prefix=a", "ListObjectsV2"),
        (Method::GET, "/b?location", "GetBucketLocation"),
        (Method::POST, "/b?delete", "DeleteObjects"),
        (Method::PUT, "/b/k?x-id=PutObject", "PutObject"),
        (Method::PUT, "/b/k?partNumber=1&uploadId=u", "UploadPart"),
        (Method::DELETE, "/b/k?uploadId=u", "AbortMultipartUpload"),
        (Method::GET, "/b/k?uploadId=u", "ListParts"),
        (Method::GET, "/b/k?partNumber=1", "GetObject"),
    ] {
        assert_eq!(name(method, uri), Ok(expected), "{uri}");
    }
    let mut headers = HeaderMap::new();
    headers.insert("x-amz-copy-source", HeaderValue::from_static("a/b"));
    for (query, expected) in [
        ("", "CopyObject"),
        ("partNumber=1&uploadId=u", "UploadPartCopy"),
    ] {
        let address = Address::parse("/b/k").unwrap();
        let query = Query::parse(query).unwrap();
        let found = route(&Method::PUT, &address, &query, &headers).unwrap();
        assert_eq!(found.name, expected);
    }
}

/// The identity of a row is its place in the table: counters are found by it.
#[test]
fn every_operation_has_one_row_at_its_place() {
    for (place, row) in OPERATIONS.iter().enumerate() {
        assert_eq!(row.id as usize, place, "{}", row.name);
        assert!(row.action.contains(':'), "{}: {}", row.name, row.action);
    }
    let names: BTreeSet<&str> = OPERATIONS.iter().map(|row| row.name).collect();
    assert_eq!(names.len(), OPERATIONS.len());
}

#[test]
fn parameters_that_change_no_meaning_are_ignored() {
    for uri in [
        "/b?metadata=true",
        "/b?unheard-of",
        "/b?x-minio-extract=true",
    ] {
        assert_eq!(name(Method::GET, uri), Ok("ListObjects"), "{uri}");
    }
    assert_eq!(name(Method::GET, "/b/k?foo=1"), Ok("GetObject"));
    assert_eq!(name(Method::PUT, "/b?foo=1"), Ok("CreateBucket"));
}

#[test]
fn what_is_not_served_is_refused() {
    for uri in [
        "/b?website",
        "/b?notification",
        "/b/k?torrent",
        "/b?torrent",
    ] {
        for method in [Method::GET, Method::PUT, Method::DELETE, Method::HEAD] {
            let refused = name(method.clone(), uri);
            assert_eq!(refused, Err(Code::NotImplemented), "{method} {uri}");
        }
    }
    assert_eq!(
        name(Method::DELETE, "/b/k?uploads"),
        Err(Code::NotImplemented)
    );
    assert_eq!(
        name(Method::PUT, "/b/k?versionId=1"),
        Err(Code::NotImplemented)
    );
    assert_eq!(
        name(Method::PUT, "/b/k?x-id=GetObject"),
        Err(Code::InvalidArgument)
    );
    assert_eq!(name(Method::PATCH, "/b/k"), Err(Code::MethodNotAllowed));
    assert_eq!(name(Method::PUT, "/"), Err(Code::MethodNotAllowed));
    assert_eq!(name(Method::POST, "/b"), Err(Code::PreconditionFailed));
    assert_eq!(name(Method::POST, "/b?a=1"), Err(Code::MethodNotAllowed));
    for half in ["/b/k?uploadId=u", "/b/k?partNumber=1"] {
        assert_eq!(name(Method::PUT, half), Err(Code::InvalidRequest), "{half}");
    }
}

#[test]
fn what_is_not_served_is_refused_by_its_name() {
    for (method, uri, name) in [
        (
            Method::GET,
            "/?x-id=ListDirectoryBuckets",
            "ListDirectoryBuckets",
        ),
        (
            Method::POST,
            "/WriteGetObjectResponse",
            "WriteGetObjectResponse",
        ),
        (Method::GET, "/b?session", "CreateSession"),
        (
            Method::GET,
            "/b?metrics&id=a",
            "GetBucketMetricsConfiguration",
        ),
        (Method::GET, "/b?metrics", "ListBucketMetricsConfigurations"),
        (Method::PUT, "/b/k?encryption", "UpdateObjectEncryption"),
    ] {
        let fault = ask(method, uri).unwrap_err();
        assert_eq!(fault.code, Code::NotImplemented, "{uri}");
        let start = format!("The operation {name} ");
        assert!(fault.message.starts_with(&start), "{}", fault.message);
    }
    for (uri, parameter) in [("/b?metrics", "metrics"), ("/b/k?select", "select")] {
        let fault = ask(Method::DELETE, uri).unwrap_err();
        assert!(fault.message.ends_with(parameter), "{}", fault.message);
    }
    assert_eq!(
        name(Method::GET, "/?x-id=PutObject"),
        Err(Code::InvalidArgument)
    );
}

fn with_header(method: Method, uri: &str, header: &str, value: &str) -> Result<(), Fault> {
    let mut headers = HeaderMap::new();
    let header = HeaderName::from_bytes(header.as_bytes()).unwrap();
    headers.insert(header, HeaderValue::from_str(value).unwrap());
    check_headers(ask(method, uri).unwrap(), &headers)
}

#[test]
fn headers_that_change_no_meaning_are_ignored() {
    for (header, value) in [
        ("x-amz-api-version", "2006-03-01"),
        ("x-amz-checksum-mode", "enabled"),
        ("x-amz-optional-object-attributes", "RestoreStatus"),
        ("x-amz-never-heard-of", "1"),
        ("x-amz-storage-class", "standard"),
        ("x-amz-request-payer", "requester"),
        ("x-amz-meta-anything", "1"),
    ] {
        assert!(
            with_header(Method::GET, "/b", header, value).is_ok(),
            "{header}"
        );
    }
}

#[test]
fn headers_that_change_what_is_meant_are_refused_by_name() {
    for (header, value) in [
        ("x-amz-server-side-encryption", "AES256"),
        ("x-amz-server-side-encryption-customer-key", "k"),
        ("x-amz-storage-class", "GLACIER"),
        ("x-amz-website-redirect-location", "/"),
        ("x-amz-write-offset-bytes", "3"),
        ("x-amz-checksum-md5", "a"),
        ("x-amz-if-match-size", "1"),
        ("if-unmodified-since", "Tue, 15 Nov 1994 12:45:26 GMT"),
        ("content-range", "bytes 0-1/2"),
    ] {
        let fault = with_header(Method::PUT, "/b/k", header, value).unwrap_err();
        assert_eq!(fault.code, Code::NotImplemented, "{header}");
        assert!(fault.message.ends_with(header), "{}", fault.message);
    }
    for uri in ["/b/k?partNumber=1&uploadId=u", "/b/k?tagging", "/b"] {
        let fault = with_header(Method::PUT, uri, "x-amz-tagging", "a=b").unwrap_err();
        assert_eq!(fault.code, Code::NotImplemented, "{uri}");
    }
    // Whether there are access lists is for the bucket to say, where something is made.
    for (header, value) in [("x-amz-acl", "public-read"), ("x-amz-grant-read", "id=1")] {
        assert!(with_header(Method::PUT, "/b/k", header, value).is_ok());
        assert!(with_header(Method::PUT, "/b", header, value).is_ok());
        let fault = with_header(Method::GET, "/b/k", header, value).unwrap_err();
        assert_eq!(fault.code, Code::NotImplemented, "{header}");
    }
}

/// The rows of docs/S3.md are the rows of the table: those that are served and those that are not.
#[test]
fn the_document_lists_every_operation() {
    let document = include_str!("../../../docs/S3.md");
    let (_, operations) = document.split_once("\n## Operations\n").unwrap();
    let operations = operations.split("\n## ").next().unwrap();
    let mut listed = BTreeSet::new();
    for line in operations.lines() {
        let mut cells = line.strip_prefix("| ").unwrap_or_default().split(" | ");
        let (names, state) = (cells.next().unwrap(), cells.next().unwrap_or_default());
        if matches!(state, "works" | "partly" | "NotImplemented") {
            let is_served = state != "NotImplemented";
            for name in names.split(", ") {
                assert!(
                    listed.insert((name, is_served)),
                    "{name} stands in two rows"
                );
            }
        }
    }
    let rows = OPERATIONS
        .iter()
        .map(|row| (row.name, row.handler.is_some()));
    assert_eq!(listed, rows.collect());
}
