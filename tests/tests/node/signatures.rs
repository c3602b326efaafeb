//! Signatures: presigned, chunked, wrong, late, missing.

use crate::{bucket, get, shared};
use aws_sdk_s3::presigning::PresigningConfig;
use aws_sdk_s3::primitives::ByteStream;
use std::time::Duration;
use strata_gateway::signature;
use strata_tests::content::body;
use strata_tests::http::{Request, Response};
use strata_tests::signature::{Payload, Signer};

fn refused(answer: &Response, status: u16, code: &str) {
    let text = answer.text();
    assert_eq!(answer.status, status, "{text}");
    assert!(text.contains(&format!("<Code>{code}</Code>")), "{text}");
    let is_discreet = !text.contains(strata_tests::server::SECRET_KEY);
    assert!(is_discreet, "a secret leaked: {text}");
}

/// Path and query of a presigned address.
fn target(uri: &str) -> String {
    let rest = uri.strip_prefix("http://").expect("plain http");
    rest[rest.find('/').expect("a path")..].to_string()
}

#[tokio::test]
async fn presigned_addresses_work_without_headers() {
    let (client, name) = bucket("signatures-presigned").await;
    let hour = PresigningConfig::expires_in(Duration::from_secs(3600)).expect("an hour");
    let put = client
        .put_object()
        .bucket(&name)
        .key("a b/é+")
        .presigned(hour.clone())
        .await;
    let put = target(put.expect("presigned").uri());
    let server = shared();
    let sent = Request::new("PUT", &put)
        .body("hello")
        .send(server.s3())
        .expect("an answer");
    assert_eq!(sent.status, 200, "{}", sent.text());
    assert_eq!(get(&client, &name, "a b/é+").await, b"hello");
    let got = client
        .get_object()
        .bucket(&name)
        .key("a b/é+")
        .presigned(hour)
        .await;
    let got = target(got.expect("presigned").uri());
    let answer = Request::new("GET", &got)
        .send(server.s3())
        .expect("an answer");
    assert_eq!((answer.status, answer.text().as_str()), (200, "hello"));
    let other = got.replace("a%20b", "b");
    refused(
        &Request::new("GET", &other)
            .send(server.s3())
            .expect("an answer"),
        403,
        "SignatureDoesNotMatch",
    );
    refused(
        &Request::new("PUT", &got)
            .body("x")
            .send(server.s3())
            .expect("an answer"),
        403,
        "SignatureDoesNotMatch",
    );
    let short = PresigningConfig::expires_in(Duration::from_secs(1)).expect("a second");
    let got = client
        .get_object()
        .bucket(&name)
        .key("a b/é+")
        .presigned(short)
        .await;
    let got = target(got.expect("presigned").uri());
    tokio::time::sleep(Duration::from_millis(2100)).await;
    let expired = Request::new("GET", &got).send(server.s3());
    let expired = expired.expect("an answer");
    refused(&expired, 403, "AccessDenied");
    let text = expired.text();
    for element in ["X-Amz-Expires", "Expires", "ServerTime"] {
        assert!(text.contains(&format!("<{element}>")), "{text}");
    }
}

#[tokio::test]
async fn signed_chunks_are_checked_one_by_one() {
    let (client, name) = bucket("signatures-chunks").await;
    let server = shared();
    let content = body(1, 200_000);
    let make = || {
        let request = Request::new("PUT", &format!("/{name}/k")).body(content.clone());
        server
            .signer()
            .sign(request, server.s3(), Payload::SignedChunks, None)
    };
    let right = make().send(server.s3()).expect("an answer");
    assert_eq!(right.status, 200, "{}", right.text());
    assert!(get(&client, &name, "k").await == content);
    // One bit in the first, the third and the last chunk.
    for position in [1000, 150_000] {
        let mut wrong = make();
        wrong.body[position] ^= 1;
        refused(
            &wrong.send(server.s3()).expect("an answer"),
            403,
            "SignatureDoesNotMatch",
        );
    }
    let mut cut = make();
    // Without the empty chunk that ends the body, the cut is not announced by anything else.
    cut.body.truncate(cut.body.len() - 90);
    let cut = cut.send(server.s3());
    assert!(cut.is_err() || cut.is_ok_and(|answer| answer.status >= 400));
    assert!(
        get(&client, &name, "k").await == content,
        "what was refused changed nothing"
    );
}

#[tokio::test]
async fn what_is_not_signed_well_is_refused() {
    let (client, name) = bucket("signatures-wrong").await;
    crate::put(&client, &name, "k", b"x").await;
    let server = shared();
    let send = |signer: Signer, payload| {
        let request = Request::new("GET", &format!("/{name}/k"));
        signer
            .sign(request, server.s3(), payload, None)
            .send(server.s3())
            .expect("an answer")
    };
    let right = server.signer();
    assert_eq!(send(right.clone(), Payload::Hashed).status, 200);
    let wrong = Signer {
        secret_key: "other".into(),
        ..right.clone()
    };
    refused(&send(wrong, Payload::Hashed), 403, "SignatureDoesNotMatch");
    let wrong = Signer {
        access_key_id: "NOBODY".into(),
        ..right.clone()
    };
    refused(&send(wrong, Payload::Hashed), 403, "InvalidAccessKeyId");
    let wrong = Signer {
        clock_offset_seconds: -3600,
        ..right.clone()
    };
    refused(&send(wrong, Payload::Hashed), 403, "RequestTimeTooSkewed");
    let wrong = Signer {
        region: "eu-north-1".into(),
        ..right
    };
    let answer = send(wrong, Payload::Hashed);
    assert!(matches!(answer.status, 400 | 403), "{}", answer.text());
    assert!(
        answer.text().contains("AuthorizationHeaderMalformed"),
        "{}",
        answer.text()
    );
    let nobody = Request::new("GET", &format!("/{name}/k"))
        .send(server.s3())
        .expect("an answer");
    refused(&nobody, 403, "AccessDenied");
    let nobody = Request::new("GET", "/")
        .send(server.s3())
        .expect("an answer");
    refused(&nobody, 403, "AccessDenied");
}

#[tokio::test]
async fn a_body_other_than_the_signed_one_is_refused() {
    let (client, name) = bucket("signatures-body").await;
    let server = shared();
    for bytes in [10, 100_000] {
        let request = Request::new("PUT", &format!("/{name}/k")).body(body(1, bytes));
        let mut request = server
            .signer()
            .sign(request, server.s3(), Payload::Hashed, None);
        request.body = body(2, bytes);
        refused(
            &request.send(server.s3()).expect("an answer"),
            400,
            "XAmzContentSHA256Mismatch",
        );
    }
    assert!(crate::keys(&client, &name).await.is_empty());
}

/// What minio-go, minio-java and restic send: the type is stored, and is not signed.
#[tokio::test]
async fn a_content_type_outside_the_signature_is_stored() {
    let (client, name) = bucket("signatures-type").await;
    let server = shared();
    for payload in [Payload::SignedChunks, Payload::Hashed, Payload::Unsigned] {
        let request = Request::new("PUT", &format!("/{name}/k")).body("x");
        let request = server.signer().sign(request, server.s3(), payload, None);
        let request = request.header("content-type", "text/x-unsigned");
        let answer = request.send(server.s3()).expect("an answer");
        assert_eq!(answer.status, 200, "{}", answer.text());
        let head = client.head_object().bucket(&name).key("k").send().await;
        let head = head.expect("the object");
        assert_eq!(head.content_type(), Some("text/x-unsigned"));
        let deleted = client.delete_object().bucket(&name).key("k").send().await;
        deleted.expect("delete");
    }
}

/// A presigned PUT with further parameters under its signature.
fn presigned_put(path: &str, further: &[(&str, &str)], payload: &str) -> String {
    presigned_put_with(path, further, payload, &[])
}

/// The same with further headers under the signature, by name and behind `host`.
fn presigned_put_with(
    path: &str,
    further: &[(&str, &str)],
    payload: &str,
    signed: &[(&str, &str)],
) -> String {
    let server = shared();
    let keys = server.signer();
    let signer = signature::Signer::new(&keys.access_key_id, &keys.secret_key, &keys.region);
    let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH);
    let date_time = signature::date_time(now.expect("a clock").as_secs() as i64);
    let scope = signer.scope(&date_time);
    let credential = format!("{}/{scope}", keys.access_key_id);
    let host = server.s3().to_string();
    let headers = [&[("host", host.as_str())], signed].concat();
    let names: Vec<&str> = headers.iter().map(|(name, _)| *name).collect();
    let names = names.join(";");
    let mut pairs = vec![
        ("X-Amz-Algorithm", signature::ALGORITHM),
        ("X-Amz-Credential", &credential),
        ("X-Amz-Date", &date_time),
        ("X-Amz-Expires", "600"),
        ("X-Amz-SignedHeaders", &names),
    ];
    pairs.extend_from_slice(further);
    let query = signature::canonical_query(pairs.into_iter());
    let made = signer.signature(&signature::Unsigned {
        method: "PUT",
        path,
        query: &query,
        headers: &headers,
        payload,
        date_time: &date_time,
    });
    format!("{path}?{query}&X-Amz-Signature={made}")
}

#[tokio::test]
async fn a_signed_hash_in_a_presigned_address_wins_over_a_header() {
    let (client, name) = bucket("signatures-hash").await;
    let hash = signature::sha256_hex(b"right");
    let further = [("X-Amz-Content-Sha256", hash.as_str())];
    let target = presigned_put(&format!("/{name}/k"), &further, &hash);
    let put = |body: &str| {
        let request = Request::new("PUT", &target).body(body);
        let request = request.header("x-amz-content-sha256", "UNSIGNED-PAYLOAD");
        request.send(shared().s3()).expect("an answer")
    };
    refused(&put("wrong"), 400, "XAmzContentSHA256Mismatch");
    assert!(crate::keys(&client, &name).await.is_empty());
    assert_eq!(put("right").status, 200);
}

/// aws-sdk-js v3 presigns with the checksum of an empty body in the query.
#[tokio::test]
async fn a_checksum_in_a_presigned_address_alone_is_not_compared() {
    let (client, name) = bucket("signatures-sum").await;
    let further = [
        ("x-amz-checksum-crc32", "AAAAAA=="),
        ("x-amz-sdk-checksum-algorithm", "CRC32"),
    ];
    let target = presigned_put(&format!("/{name}/k"), &further, "UNSIGNED-PAYLOAD");
    let answer = Request::new("PUT", &target)
        .body("hello")
        .send(shared().s3());
    let answer = answer.expect("an answer");
    assert_eq!(answer.status, 200, "{}", answer.text());
    assert_eq!(get(&client, &name, "k").await, b"hello");
}

/// Some SDKs sign headers of AWS's by name and put their values into the query alone.
#[tokio::test]
async fn a_signed_header_in_the_query_alone_counts() {
    let (client, name) = bucket("signatures-hoisted").await;
    let target = |path: &str, header, value| {
        let pair = [(header, value)];
        presigned_put_with(path, &pair, "UNSIGNED-PAYLOAD", &pair)
    };
    let put = |target: &str| {
        let request = Request::new("PUT", target).body("x");
        request.send(shared().s3()).expect("an answer")
    };
    let right = put(&target(&format!("/{name}/k"), "x-amz-meta-colour", "green"));
    assert_eq!(right.status, 200, "{}", right.text());
    let head = client.head_object().bucket(&name).key("k").send().await;
    let head = head.expect("the object");
    let colour = head.metadata().and_then(|all| all.get("colour"));
    assert_eq!(colour.map(String::as_str), Some("green"));
    let acl = put(&target(&format!("/{name}/l"), "x-amz-acl", "public-read"));
    refused(&acl, 400, "AccessControlListNotSupported");
    let changed = target(&format!("/{name}/k"), "x-amz-meta-colour", "green");
    let changed = changed.replace("colour=green", "colour=red");
    refused(&put(&changed), 403, "SignatureDoesNotMatch");
}

#[tokio::test]
async fn an_error_about_a_time_tells_the_time_of_the_server() {
    let server = shared();
    let late = Signer {
        clock_offset_seconds: -960,
        ..server.signer()
    };
    let request = Request::new("GET", "/");
    let request = late.sign(request, server.s3(), Payload::Hashed, None);
    let answer = request.send(server.s3()).expect("an answer");
    refused(&answer, 403, "RequestTimeTooSkewed");
    let text = answer.text();
    for element in ["RequestTime", "ServerTime", "MaxAllowedSkewMilliseconds"] {
        assert!(text.contains(&format!("<{element}>")), "{text}");
    }
}

#[tokio::test]
async fn what_is_no_signature_of_version_4_is_named() {
    for (authorization, status, code) in [
        ("", 403, "AccessDenied"),
        (
            "AWS KEY:frJIUN8DYpKDtOLCwo//yllqDzg=",
            400,
            "InvalidRequest",
        ),
        ("Bearer secret", 400, "InvalidArgument"),
    ] {
        let request = Request::new("GET", "/").header("authorization", authorization);
        let answer = request.send(shared().s3()).expect("an answer");
        refused(&answer, status, code);
        assert!(!answer.text().contains("secret"), "{}", answer.text());
    }
    let query = "/?AWSAccessKeyId=KEY&Signature=S&Expires=1";
    let answer = Request::new("GET", query).send(shared().s3());
    refused(&answer.expect("an answer"), 400, "InvalidRequest");
}

#[tokio::test]
async fn an_amz_header_outside_the_signature_is_refused() {
    let (client, name) = bucket("signatures-headers").await;
    let server = shared();
    let request = Request::new("PUT", &format!("/{name}/k")).body("x");
    let request = server
        .signer()
        .sign(request, server.s3(), Payload::Hashed, None);
    let request = request.header("x-amz-meta-added", "later");
    let answer = request.send(server.s3()).expect("an answer");
    assert_eq!(answer.status, 403, "{}", answer.text());
    let stream = ByteStream::from_static(b"x");
    client
        .put_object()
        .bucket(&name)
        .key("k")
        .body(stream)
        .send()
        .await
        .expect("put");
    let copy = Request::new("PUT", &format!("/{name}/k2"));
    let copy = server
        .signer()
        .sign(copy, server.s3(), Payload::Hashed, None);
    let copy = copy.header("x-amz-copy-source", format!("{name}/k"));
    assert_eq!(copy.send(server.s3()).expect("an answer").status, 403);
}
