//! Every checksum of S3, by header, by trailer, over parts; right and wrong.

use crate::{bucket, code, failure, shared};
use aws_sdk_s3::primitives::ByteStream;
use aws_sdk_s3::types::{ChecksumAlgorithm, ChecksumMode, CompletedMultipartUpload, CompletedPart};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use strata_tests::content::body;
use strata_tests::http::{Request, Response};
use strata_tests::signature::Payload;

const ALGORITHMS: [&str; 5] = ["crc32", "crc32c", "crc64nvme", "sha1", "sha256"];

/// The checksum as S3 writes it, from implementations that are not the server's own where there is a choice.
fn checksum(algorithm: &str, data: &[u8]) -> String {
    use aws_lc_rs::digest;
    use crc_fast::{CrcAlgorithm, checksum};
    let bytes = match algorithm {
        "crc32" => (checksum(CrcAlgorithm::Crc32IsoHdlc, data) as u32)
            .to_be_bytes()
            .to_vec(),
        "crc32c" => (checksum(CrcAlgorithm::Crc32Iscsi, data) as u32)
            .to_be_bytes()
            .to_vec(),
        "crc64nvme" => checksum(CrcAlgorithm::Crc64Nvme, data)
            .to_be_bytes()
            .to_vec(),
        "sha1" => digest::digest(&digest::SHA1_FOR_LEGACY_USE_ONLY, data)
            .as_ref()
            .to_vec(),
        _ => digest::digest(&digest::SHA256, data).as_ref().to_vec(),
    };
    STANDARD.encode(bytes)
}

fn send(request: Request, payload: Payload, trailer: Option<(&str, &str)>) -> Response {
    let server = shared();
    let request = server.signer().sign(request, server.s3(), payload, trailer);
    request.send(server.s3()).expect("an answer")
}

fn stored(path: &str, algorithm: &str) -> Option<String> {
    let head = Request::new("HEAD", path).header("x-amz-checksum-mode", "ENABLED");
    let head = send(head, Payload::Unsigned, None);
    head.header(&format!("x-amz-checksum-{algorithm}"))
        .map(str::to_string)
}

#[test]
fn known_answers() {
    assert_eq!(checksum("crc32", b"123456789"), "y/Q5Jg==");
    assert_eq!(checksum("crc32c", b"123456789"), "4waSgw==");
    assert_eq!(checksum("crc64nvme", b"123456789"), "rosUhgp5mIg=");
}

#[tokio::test]
async fn by_header_right_and_wrong() {
    let (client, name) = bucket("checksums-header").await;
    for bytes in [11, 300_000] {
        let content = body(bytes as u64, bytes);
        for algorithm in ALGORITHMS {
            let (path, header) = (
                format!("/{name}/{algorithm}-{bytes}"),
                format!("x-amz-checksum-{algorithm}"),
            );
            let wrong = Request::new("PUT", &path).header(&header, checksum(algorithm, b"other"));
            let wrong = send(wrong.body(content.clone()), Payload::Unsigned, None);
            assert_eq!(wrong.status, 400, "{}", wrong.text());
            assert!(
                wrong.text().contains("<Code>BadDigest</Code>"),
                "{}",
                wrong.text()
            );
            let absent = client
                .head_object()
                .bucket(&name)
                .key(format!("{algorithm}-{bytes}"))
                .send()
                .await;
            assert_eq!(failure(absent).0, 404, "a refused body leaves nothing");
            let value = checksum(algorithm, &content);
            let right = Request::new("PUT", &path)
                .header(&header, &value)
                .body(content.clone());
            let right = send(right, Payload::Hashed, None);
            assert_eq!(
                (right.status, right.header(&header)),
                (200, Some(value.as_str())),
                "{}",
                right.text()
            );
            assert_eq!(stored(&path, algorithm), Some(value));
        }
    }
}

#[tokio::test]
async fn by_trailer_right_and_wrong() {
    let (_, name) = bucket("checksums-trailer").await;
    let content = body(3, 200_000);
    for payload in [Payload::SignedChunksTrailer, Payload::UnsignedChunksTrailer] {
        for algorithm in ALGORITHMS {
            let (path, header) = (
                format!("/{name}/{algorithm}"),
                format!("x-amz-checksum-{algorithm}"),
            );
            let request = || Request::new("PUT", &path).body(content.clone());
            let wrong = send(
                request(),
                payload,
                Some((&header, &checksum(algorithm, b"other"))),
            );
            assert_eq!(wrong.status, 400, "{algorithm}: {}", wrong.text());
            assert!(
                wrong.text().contains("BadDigest"),
                "{algorithm}: {}",
                wrong.text()
            );
            let value = checksum(algorithm, &content);
            let right = send(request(), payload, Some((&header, &value)));
            assert_eq!(right.status, 200, "{algorithm}: {}", right.text());
            assert_eq!(stored(&path, algorithm), Some(value));
            let get = send(Request::new("GET", &path), Payload::Unsigned, None);
            assert!(
                get.body == content,
                "{algorithm}: the chunk coding is no part of the body"
            );
            assert_eq!(
                get.header("content-encoding"),
                None,
                "aws-chunked is not stored"
            );
        }
    }
}

#[tokio::test]
async fn content_md5_is_checked() {
    let (_, name) = bucket("checksums-md5").await;
    let path = format!("/{name}/k");
    let md5 = "kAFQmDzST7DWlj99KOF/cg==";
    for (text, given, status) in [
        ("abc", md5, 200),
        ("abd", md5, 400),
        ("abc", "!", 400),
        ("abc", "YWJj", 400),
    ] {
        let request = Request::new("PUT", &path)
            .header("content-md5", given)
            .body(text);
        let answer = send(request, Payload::Hashed, None);
        assert_eq!(answer.status, status, "{text} {given}: {}", answer.text());
        if status == 400 {
            let code = if given == md5 {
                "BadDigest"
            } else {
                "InvalidDigest"
            };
            assert!(answer.text().contains(code), "{}", answer.text());
        }
    }
}

#[tokio::test]
async fn the_sdk_sends_and_checks_every_algorithm() {
    let (client, name) = bucket("checksums-sdk").await;
    let content = body(5, 123_456);
    for algorithm in ALGORITHMS {
        let chosen = ChecksumAlgorithm::from(algorithm.to_uppercase().as_str());
        let stream = ByteStream::from(content.clone());
        let put = client
            .put_object()
            .bucket(&name)
            .key(algorithm)
            .checksum_algorithm(chosen);
        put.body(stream).send().await.expect("put");
        let got = client.get_object().bucket(&name).key(algorithm);
        let got = got
            .checksum_mode(ChecksumMode::Enabled)
            .send()
            .await
            .expect("get");
        let data = got
            .body
            .collect()
            .await
            .expect("a body that fits its checksum")
            .into_bytes();
        assert!(data == content, "{algorithm}");
        assert_eq!(
            stored(&format!("/{name}/{algorithm}"), algorithm),
            Some(checksum(algorithm, &content))
        );
    }
}

#[tokio::test]
async fn parts_have_checksums_and_the_whole_a_composite_or_a_full_one() {
    let (client, name) = bucket("checksums-parts").await;
    for algorithm in ALGORITHMS {
        let chosen = ChecksumAlgorithm::from(algorithm.to_uppercase().as_str());
        let created = client
            .create_multipart_upload()
            .bucket(&name)
            .key(algorithm);
        let created = created
            .checksum_algorithm(chosen.clone())
            .send()
            .await
            .expect("create");
        let id = created.upload_id().expect("an id");
        let contents = [body(1, 5 << 20), body(2, 1000)];
        let mut done = Vec::new();
        for (number, content) in (1..).zip(&contents) {
            let sent = client
                .upload_part()
                .bucket(&name)
                .key(algorithm)
                .upload_id(id);
            let sent = sent.part_number(number).checksum_algorithm(chosen.clone());
            let sent = sent
                .body(ByteStream::from(content.clone()))
                .send()
                .await
                .expect("a part");
            let part = CompletedPart::builder()
                .part_number(number)
                .set_e_tag(sent.e_tag);
            let part = part
                .set_checksum_crc32(sent.checksum_crc32)
                .set_checksum_sha1(sent.checksum_sha1);
            let part = part.set_checksum_crc32_c(sent.checksum_crc32_c);
            let part = part.set_checksum_sha256(sent.checksum_sha256);
            done.push(
                part.set_checksum_crc64_nvme(sent.checksum_crc64_nvme)
                    .build(),
            );
        }
        let upload = CompletedMultipartUpload::builder()
            .set_parts(Some(done))
            .build();
        let complete = client
            .complete_multipart_upload()
            .bucket(&name)
            .key(algorithm)
            .upload_id(id);
        complete
            .multipart_upload(upload)
            .send()
            .await
            .expect("complete");
        let expected = if algorithm == "crc64nvme" {
            checksum(algorithm, &contents.concat())
        } else {
            let parts = contents.iter().map(|content| checksum(algorithm, content));
            let digests: Vec<u8> = parts
                .flat_map(|part| STANDARD.decode(part).expect("base64"))
                .collect();
            format!("{}-2", checksum(algorithm, &digests))
        };
        assert_eq!(
            stored(&format!("/{name}/{algorithm}"), algorithm),
            Some(expected),
            "{algorithm}"
        );
    }
}

#[tokio::test]
async fn a_checksum_of_nothing_known_is_refused() {
    let (client, name) = bucket("checksums-odd").await;
    let path = format!("/{name}/k");
    for (header, value) in [
        ("x-amz-checksum-crc32", "!!"),
        ("x-amz-checksum-sha256", "YWJj"),
    ] {
        let answer = send(
            Request::new("PUT", &path).header(header, value).body("x"),
            Payload::Hashed,
            None,
        );
        assert_eq!(answer.status, 400, "{header}: {}", answer.text());
    }
    let absent = client.get_object().bucket(&name).key("k").send().await;
    assert_eq!(failure(absent), code(404, "NoSuchKey"));
}

#[tokio::test]
async fn a_payload_with_trailers_may_have_none() {
    let (_, name) = bucket("checksums-none").await;
    let path = format!("/{name}/k");
    let request = Request::new("PUT", &path).body("hello");
    let answer = send(request, Payload::UnsignedChunksTrailer, None);
    assert_eq!(answer.status, 200, "{}", answer.text());
    assert_eq!(
        stored(&path, "crc64nvme"),
        Some(checksum("crc64nvme", b"hello"))
    );
}

#[tokio::test]
async fn a_framed_body_of_another_length_is_incomplete() {
    let (client, name) = bucket("checksums-length").await;
    for declared in ["5", "15"] {
        let server = shared();
        let request = Request::new("PUT", &format!("/{name}/k")).body("0123456789");
        let signer = server.signer();
        // Unsigned chunks: the length is the only thing that is wrong.
        let request = request.header("x-amz-decoded-content-length", declared);
        let sum = checksum("crc32", b"0123456789");
        let trailer = Some(("x-amz-checksum-crc32", sum.as_str()));
        let payload = Payload::UnsignedChunksTrailer;
        let request = signer.sign(request, server.s3(), payload, trailer);
        let answer = request.send(server.s3()).expect("an answer");
        let text = answer.text();
        assert_eq!(answer.status, 400, "{declared}: {text}");
        assert!(
            text.contains("<Code>IncompleteBody</Code>"),
            "{declared}: {text}"
        );
    }
    assert!(crate::keys(&client, &name).await.is_empty());
}
