//! Requests signed and unsigned, and what the guard makes of their headers and parameters.

use http::HeaderName;

use super::*;
use crate::signature::Scope;

fn headers(pairs: &[(&'static str, &str)]) -> HeaderMap {
    let pair = |(name, value): &(&'static str, &str)| {
        (
            HeaderName::from_static(name),
            HeaderValue::from_str(value).unwrap(),
        )
    };
    pairs.iter().map(pair).collect()
}

/// What a request says of a signature that covers the headers named.
fn authorization(signed: &[&str], form: Form) -> Authorization {
    Authorization {
        access_key_id: "key".into(),
        scope: Scope {
            date: "20130524".into(),
            region: "us-east-1".into(),
            service: "s3".into(),
        },
        signed_headers: signed.iter().map(|name| (*name).to_owned()).collect(),
        signature: String::new(),
        date_time: "20130524T000000Z".into(),
        time_seconds: 0,
        payload: "UNSIGNED-PAYLOAD".into(),
        signs_payload: true,
        form,
    }
}

/// Admits a request whose signature covers the headers named.
fn ask(
    method: Method,
    uri: &str,
    headers: HeaderMap,
    signed: &[&str],
    form: Form,
) -> Result<Admitted, Fault> {
    let payload = match headers.get("x-amz-decoded-content-length") {
        Some(_) => Payload::Chunked {
            signer: None,
            trailers: true,
        },
        None => Payload::Unsigned,
    };
    let signed = Signed {
        authorization: authorization(signed, form),
        payload,
    };
    let opened = open(&uri.parse().unwrap(), &headers, &[])?;
    admit(&method, headers, opened, Some(signed))
}

/// All headers are under the signature.
fn put(pairs: &[(&'static str, &str)]) -> Result<Admitted, Code> {
    let mut all = headers(pairs);
    all.insert("host", HeaderValue::from_static("h"));
    if !all.contains_key("content-length") {
        all.insert("content-length", HeaderValue::from_static("3"));
    }
    let signed: Vec<String> = all.keys().map(|name| name.as_str().to_owned()).collect();
    let signed: Vec<&str> = signed.iter().map(String::as_str).collect();
    ask(Method::PUT, "/bucket/key", all, &signed, Form::Header).map_err(|fault| fault.code)
}

fn refusal(pairs: &[(&'static str, &str)]) -> Code {
    put(pairs).err().expect("the request must be refused")
}

const QUERY: Form = Form::Query {
    expires_seconds: 60,
};

#[test]
fn a_header_outside_the_signature_is_refused() {
    // The trap of s3s: a presigned PUT with this header added became a copy.
    let added = headers(&[("host", "h"), ("x-amz-copy-source", "/secret/key")]);
    for form in [Form::Header, QUERY] {
        let refused = ask(Method::PUT, "/bucket/key", added.clone(), &["host"], form);
        let fault = refused.err().unwrap();
        assert_eq!(fault.code, Code::AccessDenied);
        assert_eq!(
            fault.details,
            [("HeadersNotSigned", "x-amz-copy-source".to_owned())]
        );
    }
    for name in [
        "x-amz-acl",
        "x-amz-meta-a",
        "x-amz-storage-class",
        "x-amz-tagging",
    ] {
        let added = headers(&[("host", "h"), (name, "x")]);
        let refused = ask(Method::PUT, "/bucket/key", added, &["host"], QUERY);
        assert_eq!(refused.err().unwrap().code, Code::AccessDenied, "{name}");
    }
}

#[test]
fn the_host_must_be_under_the_signature() {
    let all = headers(&[("host", "h")]);
    let refused = ask(
        Method::GET,
        "/bucket/key",
        all,
        &["x-amz-date"],
        Form::Header,
    );
    assert_eq!(refused.err().unwrap().code, Code::AccessDenied);
}

#[test]
fn headers_of_http_and_of_proxies_need_no_signature() {
    for form in [Form::Header, QUERY] {
        for (name, value) in [
            ("content-type", "text/html"),
            ("cache-control", "no-cache"),
            ("if-none-match", "*"),
            ("x-amz-user-agent", "aws-sdk-js"),
            ("x-amz-te", "append-md5"),
            ("x-amzn-trace-id", "Root=1"),
            ("amz-sdk-invocation-id", "1"),
        ] {
            let all = headers(&[("host", "h"), ("content-length", "0"), (name, value)]);
            let admitted = ask(Method::PUT, "/bucket/key", all, &["host"], form);
            assert!(admitted.is_ok_and(|it| it.headers[name] == value), "{name}");
        }
    }
}

#[test]
fn headers_in_the_query_of_a_presigned_url_count() {
    let uri = "/bucket/key?x-amz-meta-a=1&X-Amz-Signature=s&X-Amz-Date=d";
    let all = headers(&[("host", "h"), ("content-length", "0")]);
    let admitted = ask(Method::PUT, uri, all, &["host"], QUERY).unwrap();
    assert_eq!(admitted.headers.get("x-amz-meta-a").unwrap(), "1");
    assert!(!admitted.headers.contains_key("x-amz-signature"));
    let uri = "/bucket/key?x-amz-website-redirect-location=%2F";
    let all = headers(&[("host", "h"), ("content-length", "0")]);
    let refused = ask(Method::PUT, uri, all, &["host"], QUERY);
    assert_eq!(refused.err().unwrap().code, Code::NotImplemented);
}

/// aws-sdk-js v3 presigns with the checksum of an empty body and the algorithm's name.
#[test]
fn a_checksum_in_the_query_of_a_presigned_url_is_not_compared() {
    let uri = "/bucket/key?x-amz-checksum-crc32=AAAAAA%3D%3D&x-amz-sdk-checksum-algorithm=CRC32";
    let all = headers(&[("host", "h"), ("content-length", "3")]);
    let admitted = ask(Method::PUT, uri, all, &["host"], QUERY).unwrap();
    assert_eq!(admitted.body.unwrap().checksum, None);
    let sum = ("x-amz-checksum-crc32", "y/Q5Jg==");
    let all = headers(&[("host", "h"), ("content-length", "3"), sum]);
    let admitted = ask(Method::PUT, uri, all, &["host", sum.0], QUERY).unwrap();
    let declared = admitted.body.unwrap().checksum.unwrap().declared;
    let expected = 0xcbf4_3926_u32.to_be_bytes().to_vec();
    assert_eq!(declared, checksum::Declared::Value(expected));
}

#[test]
fn what_a_presigned_url_signs_wins_over_a_header() {
    let uri = "/bucket/key?x-amz-id-2=signed";
    let all = headers(&[
        ("host", "h"),
        ("content-length", "3"),
        ("x-amz-id-2", "added"),
    ]);
    let admitted = ask(Method::PUT, uri, all, &["host"], QUERY).unwrap();
    assert_eq!(admitted.headers["x-amz-id-2"], "signed");
}

#[test]
fn what_is_not_there_is_refused_and_never_ignored() {
    for (name, value) in [
        ("x-amz-server-side-encryption", "AES256"),
        ("x-amz-server-side-encryption-customer-key", "k"),
        ("x-amz-storage-class", "GLACIER"),
        ("x-amz-website-redirect-location", "/"),
        ("x-amz-write-offset-bytes", "3"),
        ("if-unmodified-since", "Tue, 15 Nov 1994 12:45:26 GMT"),
    ] {
        assert_eq!(refusal(&[(name, value)]), Code::NotImplemented, "{name}");
    }
    for (name, value) in [
        ("x-amz-acl", "private"),
        ("x-amz-acl", "bucket-owner-full-control"),
        ("x-amz-storage-class", "STANDARD"),
        ("x-amz-meta-anything", "1"),
        ("if-none-match", "*"),
    ] {
        assert!(put(&[(name, value)]).is_ok(), "{name}");
    }
}

#[test]
fn a_header_that_the_operation_would_pass_over_is_refused() {
    let part = "/bucket/key?partNumber=1&uploadId=0000000000000001";
    let ask = |method: &Method, uri: &str, pairs: &[(&'static str, &str)]| {
        let mut all = headers(pairs);
        all.insert("host", HeaderValue::from_static("h"));
        all.insert("content-length", HeaderValue::from_static("0"));
        let signed: Vec<String> = all.keys().map(|name| name.as_str().to_owned()).collect();
        let signed: Vec<&str> = signed.iter().map(String::as_str).collect();
        let outcome = ask(method.clone(), uri, all, &signed, Form::Header);
        outcome.map(|_| ()).map_err(|fault| fault.code)
    };
    let (get, put, post, delete) = (Method::GET, Method::PUT, Method::POST, Method::DELETE);
    let source = ("x-amz-copy-source", "/bucket/other");
    let range = ("x-amz-copy-source-range", "bytes=0-1");
    let of_source = ("x-amz-copy-source-if-match", "\"a\"");
    let (only, unless) = (("if-match", "\"a\""), ("if-none-match", "*"));
    let attributes = ("x-amz-object-attributes", "ObjectParts");
    for (method, uri, pairs) in [
        (&get, "/bucket/key", &[("x-amz-max-parts", "2")][..]),
        (&get, "/bucket/key", &[("x-amz-part-number-marker", "2")]),
        (&put, "/bucket/key", &[source, range]),
        (&put, "/bucket/key", &[of_source]),
        (&put, "/bucket/key", &[("content-range", "bytes 0-1/2")]),
        (&put, "/bucket/key", &[("x-amz-mp-object-size", "2")]),
        (&put, part, &[only]),
        (&put, part, &[unless]),
        (&put, part, &[source, unless]),
        (&post, "/bucket/key?uploads", &[only]),
        (&post, "/bucket/key?uploads", &[unless]),
        (&delete, "/bucket", &[only]),
        (&delete, "/bucket", &[unless]),
        (&delete, "/bucket/key", &[unless]),
        (&put, "/bucket", &[unless]),
    ] {
        let refused = ask(method, uri, pairs);
        assert_eq!(
            refused,
            Err(Code::NotImplemented),
            "{method} {uri} {pairs:?}"
        );
    }
    for (method, uri, pairs) in [
        (
            &get,
            "/bucket/key?attributes",
            &[
                attributes,
                only,
                ("x-amz-max-parts", "2"),
                ("x-amz-part-number-marker", "2"),
            ][..],
        ),
        (&get, "/bucket/key", &[only, unless]),
        (&put, "/bucket/key", &[unless]),
        (&put, "/bucket/key", &[source, of_source, only]),
        (&put, part, &[source, range, of_source]),
        (
            &post,
            "/bucket/key?uploadId=1",
            &[unless, ("x-amz-mp-object-size", "2")],
        ),
        (&delete, "/bucket/key", &[only]),
    ] {
        assert_eq!(ask(method, uri, pairs), Ok(()), "{method} {uri} {pairs:?}");
    }
}

#[test]
fn names_and_sizes_are_bounded() {
    let get = |uri: &str| {
        let outcome = ask(
            Method::GET,
            uri,
            headers(&[("host", "h")]),
            &["host"],
            Form::Header,
        );
        outcome.map(|_| ()).map_err(|fault| fault.code)
    };
    assert_eq!(get("/Bucket/key"), Err(Code::InvalidBucketName));
    assert_eq!(get("/WriteGetObjectResponse"), Err(Code::InvalidBucketName));
    assert_eq!(get("/ab/key"), Err(Code::InvalidBucketName));
    assert_eq!(get(&format!("/bucket/{}", "k".repeat(1024))), Ok(()));
    assert_eq!(
        get(&format!("/bucket/{}", "k".repeat(1025))),
        Err(Code::KeyTooLongError)
    );
    assert_eq!(get("/bucket/%zz"), Err(Code::InvalidURI));
    assert_eq!(
        refusal(&[("content-length", "5368709121")]),
        Code::EntityTooLarge
    );
    assert_eq!(refusal(&[("content-length", "+1")]), Code::InvalidArgument);
    assert_eq!(refusal(&[("content-md5", "AAAA")]), Code::InvalidDigest);
}

#[test]
fn a_body_without_a_length_is_refused() {
    let all = headers(&[("host", "h"), ("transfer-encoding", "chunked")]);
    let refused = ask(Method::PUT, "/bucket/key", all, &["host"], Form::Header);
    assert_eq!(refused.err().unwrap().code, Code::MissingContentLength);
}

#[test]
fn trailers_must_be_known_and_may_be_none() {
    let length = ("x-amz-decoded-content-length", "3");
    let admitted = put(&[("x-amz-trailer", "x-amz-checksum-crc32"), length]).unwrap();
    assert_eq!(admitted.body.unwrap().trailers, ["x-amz-checksum-crc32"]);
    assert_eq!(put(&[length]).unwrap().body.unwrap().trailers, [""; 0]);
    let unknown = [("x-amz-trailer", "x-amz-meta-a"), length];
    assert_eq!(refusal(&unknown), Code::InvalidRequest);
    // Without chunks there is no trailer: the Java SDK announces one all the same.
    let announced = [
        ("x-amz-trailer", "x-amz-checksum-crc32"),
        ("x-amz-sdk-checksum-algorithm", "CRC32"),
    ];
    let body = put(&announced).unwrap().body.unwrap();
    assert_eq!((body.trailers.len(), body.checksum), (0, None));
}

#[test]
fn an_anonymous_request_asks_for_no_headers_of_its_own() {
    let ask = |uri: &str, headers: HeaderMap| {
        let uri = uri.parse().unwrap();
        let opened = open(&uri, &headers, &[]).unwrap();
        admit(&Method::GET, headers, opened, None)
            .map(|_| ())
            .map_err(|fault| fault.code)
    };
    assert_eq!(ask("/bucket/key", HeaderMap::new()), Ok(()));
    assert_eq!(
        ask("/bucket/key?response-expires=x", HeaderMap::new()),
        Err(Code::InvalidRequest)
    );
    let token = headers(&[("x-amz-security-token", "t")]);
    assert_eq!(ask("/bucket/key", token), Err(Code::InvalidToken));
}

#[test]
fn a_bucket_is_named_by_the_host_or_by_the_path() {
    let domains = ["s3.example.com".to_owned()];
    let ask = |method: Method, uri: &str, host: &str| {
        let all = headers(&[("host", host), ("content-length", "0")]);
        let opened = open(&uri.parse().unwrap(), &all, &domains)?;
        let signed = Signed {
            authorization: authorization(&["host"], Form::Header),
            payload: Payload::Unsigned,
        };
        admit(&method, all, opened, Some(signed))
    };
    let object = Address::Object("first.one".into(), "a/photo".into());
    for (uri, host, addressing) in [
        ("/a/photo", "first.one.localhost:9002", Addressing::Host),
        ("/a/photo", "first.one.s3.example.com", Addressing::Host),
        ("/first.one/a/photo", "localhost.:9002", Addressing::Path),
        ("/first.one/a/photo", "s3.example.com", Addressing::Path),
        ("/first.one/a/photo", "[::1]:9002", Addressing::Path),
        (
            "/first.one/a/photo",
            "first.elsewhere.com",
            Addressing::Path,
        ),
    ] {
        let admitted = ask(Method::PUT, uri, host).unwrap();
        assert_eq!(admitted.address, object, "{host}");
        assert_eq!(admitted.addressing, addressing, "{host}");
    }
    let created = ask(Method::PUT, "/", "first.localhost").unwrap();
    assert_eq!(created.operation.name, "CreateBucket");
    let listed = ask(Method::GET, "/?list-type=2", "first.localhost").unwrap();
    assert_eq!(listed.operation.name, "ListObjectsV2");
    let service = ask(Method::GET, "/", "localhost").unwrap();
    assert_eq!(service.operation.name, "ListBuckets");
    let refused = ask(Method::PUT, "/photo", "a_b.localhost").err();
    assert_eq!(refused.unwrap().code, Code::InvalidBucketName);
}

/// Policies ask for this header: what the server enforces stands in it, wherever that was said.
#[test]
fn the_declared_hash_is_the_one_that_is_enforced() {
    let hash = "ab".repeat(32);
    let declared = |admitted: Admitted| {
        let value = admitted.headers.get(CONTENT_SHA256).cloned().unwrap();
        let payload = admitted.body.unwrap().payload;
        (value, matches!(payload, Payload::Hash(_)))
    };
    for (sent, expected, is_enforced) in [
        (None, "UNSIGNED-PAYLOAD", false),
        (Some("UNSIGNED-PAYLOAD"), "UNSIGNED-PAYLOAD", false),
        (Some("abc"), "UNSIGNED-PAYLOAD", false),
        (Some(&*hash), &*hash, true),
    ] {
        let mut all = headers(&[("host", "h"), ("content-length", "3")]);
        if let Some(sent) = sent {
            all.insert(CONTENT_SHA256, sent.parse().unwrap());
        }
        let uri = "/bucket/key".parse().unwrap();
        let opened = open(&uri, &all, &[]).unwrap();
        let admitted = admit(&Method::PUT, all, opened, None).unwrap();
        let expected = HeaderValue::from_str(expected).unwrap();
        assert_eq!(declared(admitted), (expected, is_enforced), "{sent:?}");
    }
    // A presigned URL says it in its query, or not at all.
    let all = headers(&[("host", "h"), ("content-length", "3")]);
    let admitted = ask(Method::PUT, "/bucket/key", all.clone(), &["host"], QUERY);
    let unsigned = HeaderValue::from_static("UNSIGNED-PAYLOAD");
    assert_eq!(declared(admitted.unwrap()), (unsigned, false));
    let signed = Signed {
        authorization: authorization(&["host"], QUERY),
        payload: Payload::Hash([0xab; 32]),
    };
    let opened = open(&"/bucket/key".parse().unwrap(), &all, &[]).unwrap();
    let admitted = admit(&Method::PUT, all, opened, Some(signed)).unwrap();
    let expected = HeaderValue::from_str(&hash).unwrap();
    assert_eq!(declared(admitted), (expected, true));
}
