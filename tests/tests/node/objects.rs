//! Bodies of every size, ranges, metadata, delete, overwrite.

use crate::{bucket, code, failure, get, keys, put, send, shared};
use aws_sdk_s3::primitives::{ByteStream, DateTime};
use aws_sdk_s3::types::{Delete, ObjectIdentifier};
use base64::Engine as _;
use std::io::Write;
use strata_tests::content::body;
use strata_tests::http::Request;
use strata_tests::signature::Payload;

/// Around the inline limit, the cell, the segment.
const SIZES: [usize; 13] = [
    0,
    1,
    4095,
    (16 << 10) - 1,
    16 << 10,
    (16 << 10) + 1,
    64 << 10,
    (64 << 10) + 1,
    (1 << 20) - 1,
    1 << 20,
    (1 << 20) + 1,
    (4 << 20) + 4096,
    10 << 20,
];

#[tokio::test]
async fn bodies_of_every_size_come_back() {
    let (client, name) = bucket("objects-sizes").await;
    for bytes in SIZES {
        let (key, content) = (format!("size/{bytes}"), body(bytes as u64, bytes));
        let stream = ByteStream::from(content.clone());
        let put = client
            .put_object()
            .bucket(&name)
            .key(&key)
            .body(stream)
            .send()
            .await;
        let etag = put.expect("put").e_tag.expect("an ETag");
        let head = client
            .head_object()
            .bucket(&name)
            .key(&key)
            .send()
            .await
            .expect("head");
        assert_eq!(head.content_length(), Some(bytes as i64), "{key}");
        assert_eq!(head.e_tag(), Some(etag.as_str()), "{key}");
        assert!(
            get(&client, &name, &key).await == content,
            "{key}: other bytes"
        );
    }
    let listed = client
        .list_objects_v2()
        .bucket(&name)
        .send()
        .await
        .expect("list");
    let mut sizes: Vec<i64> = listed
        .contents()
        .iter()
        .filter_map(|object| object.size())
        .collect();
    sizes.sort_unstable();
    assert_eq!(sizes, SIZES.map(|bytes| bytes as i64));
}

#[tokio::test]
async fn the_etag_of_a_whole_object_is_its_md5() {
    let (client, name) = bucket("objects-etag").await;
    for (text, md5) in [
        ("", "d41d8cd98f00b204e9800998ecf8427e"),
        ("abc", "900150983cd24fb0d6963f7d28e17f72"),
    ] {
        let stream = ByteStream::from_static(text.as_bytes());
        let put = client
            .put_object()
            .bucket(&name)
            .key("k")
            .body(stream)
            .send()
            .await;
        assert_eq!(
            put.expect("put").e_tag(),
            Some(format!("\"{md5}\"").as_str())
        );
    }
}

#[tokio::test]
async fn ranges_are_cut_exactly() {
    let (client, name) = bucket("objects-ranges").await;
    for bytes in [1000, 100_000, 3_000_001] {
        let (key, content) = (format!("r{bytes}"), body(7, bytes));
        put(&client, &name, &key, &content).await;
        let ranges = [
            (format!("bytes=0-{}", bytes - 1), 0..bytes),
            ("bytes=0-0".into(), 0..1),
            ("bytes=1-998".into(), 1..999),
            (format!("bytes={}-", bytes - 10), bytes - 10..bytes),
            ("bytes=-7".into(), bytes - 7..bytes),
            (format!("bytes=-{}", bytes * 2), 0..bytes),
            (
                format!("bytes={}-{}", bytes / 2, bytes * 2),
                bytes / 2..bytes,
            ),
        ];
        for (range, expected) in ranges {
            let got = client
                .get_object()
                .bucket(&name)
                .key(&key)
                .range(&range)
                .send()
                .await;
            let got = got.unwrap_or_else(|error| panic!("{range} of {bytes}: {error:?}"));
            let (start, end) = (expected.start, expected.end - 1);
            let said = format!("bytes {start}-{end}/{bytes}");
            assert_eq!(
                got.content_range(),
                Some(said.as_str()),
                "{range} of {bytes}"
            );
            let data = got.body.collect().await.expect("a body").into_bytes();
            assert!(data == content[expected], "{range} of {bytes}");
        }
        let beyond = client
            .get_object()
            .bucket(&name)
            .key(&key)
            .range(format!("bytes={bytes}-"));
        assert_eq!(failure(beyond.send().await), code(416, "InvalidRange"));
        // AWS serves no several ranges: it answers the whole, as HTTP allows.
        let several = client.get_object().bucket(&name).key(&key);
        let several = several.range("bytes=0-1,4-5").send().await;
        let several = several.expect("the whole");
        assert_eq!(several.content_range(), None);
        assert_eq!(several.content_length(), Some(bytes as i64));
    }
}

#[tokio::test]
async fn the_last_bytes_of_an_empty_object_are_all_of_it() {
    let (client, name) = bucket("objects-ranges-empty").await;
    put(&client, &name, "empty", b"").await;
    let ask = |method: &str, range: &str| {
        let request = Request::new(method, &format!("/{name}/empty"));
        let answer = send(request.header("range", range));
        let length = answer.header("content-length").map(str::to_owned);
        let is_partial = answer.header("content-range").is_some();
        (answer.status, length, is_partial, answer.body)
    };
    for method in ["GET", "HEAD"] {
        for range in ["bytes=-1", "bytes=-524288"] {
            let whole = (200, Some("0".to_owned()), false, Vec::new());
            assert_eq!(ask(method, range), whole, "{method} {range}");
        }
        for range in ["bytes=0-0", "bytes=0-", "bytes=-0"] {
            assert_eq!(ask(method, range).0, 416, "{method} {range}");
        }
    }
}

/// What is not ASCII travels in the encoded words of RFC 2047, in either of their encodings.
#[tokio::test]
async fn metadata_in_encoded_words_is_stored_decoded() {
    let (_, name) = bucket("objects-metadata-words").await;
    let target = format!("/{name}/k");
    for (sent, returned) in [
        ("=?UTF-8?B?w6k=?=", "=?UTF-8?B?w6k=?="),
        ("=?utf-8?Q?=C3=A9_=C3=A9?=", "=?UTF-8?B?w6kgw6k=?="),
        ("=?UTF-8?B?YWJj?=", "abc"),
        ("=?UTF-8?B?YWJj?= =?UTF-8?Q?_d?=", "abc d"),
        ("=?UTF-8?B?nonsense", "=?UTF-8?B?nonsense"),
        ("=?KOI8-R?B?w6k=?=", "=?KOI8-R?B?w6k=?="),
    ] {
        let request = Request::new("PUT", &target).header("x-amz-meta-a", sent);
        assert_eq!(send(request.body("x")).status, 200, "{sent}");
        let head = send(Request::new("HEAD", &target));
        assert_eq!(head.header("x-amz-meta-a"), Some(returned), "{sent}");
    }
}

#[tokio::test]
async fn a_list_of_content_encodings_is_stored_as_it_was_spelled() {
    let (_, name) = bucket("objects-encodings").await;
    let target = format!("/{name}/k");
    for (sent, stored) in [
        ("gzip, aws-chunked", Some("gzip")),
        ("deflate,gzip,aws-chunked", Some("deflate,gzip")),
        ("deflate, gzip, aws-chunked", Some("deflate, gzip")),
        ("aws-chunked", None),
    ] {
        let request = Request::new("PUT", &target).header("content-encoding", sent);
        assert_eq!(send(request.body("x")).status, 200, "{sent}");
        let head = send(Request::new("HEAD", &target));
        assert_eq!(head.header("content-encoding"), stored, "{sent}");
    }
}

/// A body in chunks of HTTP has no length, unless it is framed once more and says its own.
#[tokio::test]
async fn a_body_without_a_length_needs_the_one_behind_its_framing() {
    let (client, name) = bucket("objects-chunked").await;
    let server = shared();
    let target = format!("/{name}/k");
    let send_chunked = |payload: Payload| {
        let request = Request::new("PUT", &target).body("hello");
        let mut request = server.signer().sign(request, server.s3(), payload, None);
        let mut body = format!("{:x}\r\n", request.body.len()).into_bytes();
        body.append(&mut request.body);
        body.extend_from_slice(b"\r\n0\r\n\r\n");
        let request = request.header("transfer-encoding", "chunked").body(body);
        request.send(server.s3()).expect("an answer")
    };
    for payload in [Payload::Hashed, Payload::Unsigned] {
        let answer = send_chunked(payload);
        assert_eq!(answer.status, 411, "{}", answer.text());
        let code = "<Code>MissingContentLength</Code>";
        assert!(answer.text().contains(code), "{}", answer.text());
    }
    for payload in [Payload::SignedChunks, Payload::UnsignedChunksTrailer] {
        let answer = send_chunked(payload);
        assert_eq!(answer.status, 200, "{}", answer.text());
        assert_eq!(get(&client, &name, "k").await, b"hello");
        let deleted = client.delete_object().bucket(&name).key("k").send().await;
        deleted.expect("delete");
    }
}

#[tokio::test]
async fn metadata_comes_back_as_given() {
    let (client, name) = bucket("objects-metadata").await;
    let put = client
        .put_object()
        .bucket(&name)
        .key("k")
        .body(ByteStream::from_static(b"x"))
        .content_type("text/x-odd; charset=utf-8")
        .cache_control("max-age=60")
        .content_disposition("attachment; filename=\"a b\"")
        .content_encoding("gzip")
        .content_language("de")
        .expires(DateTime::from_secs(1_900_000_000))
        .metadata("colour", "green")
        .metadata("size-of-it", "12 x 12");
    put.send().await.expect("put");
    let head = client
        .head_object()
        .bucket(&name)
        .key("k")
        .send()
        .await
        .expect("head");
    assert_eq!(head.content_type(), Some("text/x-odd; charset=utf-8"));
    assert_eq!(head.cache_control(), Some("max-age=60"));
    assert_eq!(
        head.content_disposition(),
        Some("attachment; filename=\"a b\"")
    );
    assert_eq!(head.content_encoding(), Some("gzip"));
    assert_eq!(head.content_language(), Some("de"));
    assert_eq!(head.expires_string(), Some("Sun, 17 Mar 2030 17:46:40 GMT"));
    let metadata = head.metadata().expect("user metadata");
    assert_eq!(metadata.len(), 2);
    assert_eq!(metadata["colour"], "green");
    assert_eq!(metadata["size-of-it"], "12 x 12");
    let overridden = client
        .get_object()
        .bucket(&name)
        .key("k")
        .response_content_type("a/b");
    assert_eq!(
        overridden.send().await.expect("get").content_type(),
        Some("a/b")
    );
}

#[tokio::test]
async fn an_overwrite_replaces_everything() {
    let (client, name) = bucket("objects-overwrite").await;
    for (round, bytes) in [100, 200_000, 50, 0, 5_000_000, 16 << 10]
        .into_iter()
        .enumerate()
    {
        let content = body(round as u64, bytes);
        put(&client, &name, "same", &content).await;
        assert!(
            get(&client, &name, "same").await == content,
            "round {round}"
        );
        assert_eq!(keys(&client, &name).await, ["same"]);
    }
}

#[tokio::test]
async fn a_deleted_object_is_gone_and_deleting_nothing_is_fine() {
    let (client, name) = bucket("objects-delete").await;
    put(&client, &name, "a/b", &body(1, 100_000)).await;
    for _ in 0..2 {
        client
            .delete_object()
            .bucket(&name)
            .key("a/b")
            .send()
            .await
            .expect("delete");
        let gone = client.get_object().bucket(&name).key("a/b").send().await;
        assert_eq!(failure(gone), code(404, "NoSuchKey"));
        assert_eq!(
            failure(client.head_object().bucket(&name).key("a/b").send().await).0,
            404
        );
    }
    assert!(keys(&client, &name).await.is_empty());
}

#[tokio::test]
async fn a_batch_delete_answers_for_every_key() {
    let (client, name) = bucket("objects-batch").await;
    for n in 0..20 {
        put(&client, &name, &format!("k/{n:02}"), b"x").await;
    }
    let id = |key: String| ObjectIdentifier::builder().key(key).build().expect("an id");
    let ids = (5..20)
        .map(|n| id(format!("k/{n:02}")))
        .chain([id("missing".into())]);
    let delete = Delete::builder()
        .set_objects(Some(ids.collect()))
        .build()
        .expect("a delete");
    let answer = client
        .delete_objects()
        .bucket(&name)
        .delete(delete)
        .send()
        .await
        .expect("delete");
    assert_eq!(
        answer.deleted().len(),
        16,
        "a missing key counts as deleted"
    );
    assert!(answer.errors().is_empty());
    assert_eq!(
        keys(&client, &name).await,
        ["k/00", "k/01", "k/02", "k/03", "k/04"]
    );
    let quiet = Delete::builder()
        .objects(id("k/00".into()))
        .quiet(true)
        .build()
        .expect("a delete");
    let answer = client
        .delete_objects()
        .bucket(&name)
        .delete(quiet)
        .send()
        .await
        .expect("delete");
    assert!(answer.deleted().is_empty() && answer.errors().is_empty());
}

/// What a batch delete says, one line for each key: `Deleted KEY` or `Error KEY CODE`.
fn outcomes(xml: &str) -> Vec<String> {
    let inside = |text: &str, name: &str| {
        let (_, rest) = text.split_once(&format!("<{name}>"))?;
        Some(rest.split_once(&format!("</{name}>"))?.0.to_string())
    };
    let elements = xml.split("<Key>").skip(1).map(|after| {
        let key = after.split("</Key>").next().unwrap_or_default();
        let end = after.find("</Error>").or(after.find("</Deleted>"));
        match inside(&after[..end.unwrap_or(after.len())], "Code") {
            Some(code) => format!("Error {key} {code}"),
            None => format!("Deleted {key}"),
        }
    });
    elements.collect()
}

/// Sends the document of a batch delete as it is.
fn batch_delete(bucket: &str, objects: &[String], quiet: bool) -> Vec<String> {
    let objects = objects.concat();
    let document = format!("<Delete><Quiet>{quiet}</Quiet>{objects}</Delete>");
    let sum = crc_fast::checksum(crc_fast::CrcAlgorithm::Crc32IsoHdlc, document.as_bytes()) as u32;
    let sum = base64::engine::general_purpose::STANDARD.encode(sum.to_be_bytes());
    let request = Request::new("POST", &format!("/{bucket}?delete="))
        .header("x-amz-checksum-crc32", sum)
        .body(document);
    let answer = send(request);
    assert_eq!(answer.status, 200, "{}", answer.text());
    outcomes(&answer.text())
}

#[tokio::test]
async fn a_batch_delete_answers_in_the_order_of_the_keys_with_the_refused_ones_first() {
    let (client, name) = bucket("objects-batch-order").await;
    let put_some = async || {
        for n in (0..400).step_by(50) {
            put(&client, &name, &format!("k{n:03}"), b"x").await;
        }
    };
    put_some().await;
    // Enough for several commands, in no order; of those that are there, some do not meet their condition.
    let numbers = (0..400u32).map(|n| n * 197 % 400);
    let mut objects: Vec<String> = numbers
        .map(|n| match n % 100 {
            0 => format!("<Object><Key>k{n:03}</Key><ETag>&quot;0&quot;</ETag></Object>"),
            _ => format!("<Object><Key>k{n:03}</Key></Object>"),
        })
        .collect();
    // Refused before anything is deleted, in the order in which they stand.
    let refused = [("z", 17), ("a", 200), ("m", 311)];
    for (key, at) in refused {
        let object = format!("<Object><Key>{key}</Key><VersionId>3</VersionId></Object>");
        objects.insert(at, object);
    }
    let refused = refused.map(|(key, _)| format!("Error {key} InvalidArgument"));
    let of_keys = (0..400).map(|n| match n % 100 {
        0 => format!("Error k{n:03} PreconditionFailed"),
        _ => format!("Deleted k{n:03}"),
    });
    let expected: Vec<String> = refused.into_iter().chain(of_keys).collect();
    assert_eq!(batch_delete(&name, &objects, false), expected);
    put_some().await;
    let is_error = |line: &String| line.starts_with("Error");
    let quiet: Vec<String> = expected.into_iter().filter(is_error).collect();
    assert_eq!(batch_delete(&name, &objects, true), quiet);
    assert_eq!(keys(&client, &name).await, ["k000", "k100", "k200", "k300"]);
}

#[tokio::test]
async fn a_get_after_a_broken_upload_finds_the_old_object() {
    let (client, name) = bucket("objects-broken").await;
    put(&client, &name, "k", b"old").await;
    let server = crate::shared();
    let request = Request::new("PUT", &format!("/{name}/k")).body(body(1, 500_000));
    let mut request = server
        .signer()
        .sign(request, server.s3(), Payload::Hashed, None);
    // The head promises all of it; the connection ends half-way.
    request = request.header("content-length", "500000");
    request.body.truncate(250_000);
    let mut stream = std::net::TcpStream::connect(server.s3()).expect("connect");
    stream
        .write_all(request.head(server.s3()).as_bytes())
        .expect("head");
    // The server may have closed already; that is as good.
    let _sent = stream.write_all(&request.body);
    drop(stream);
    for _ in 0..20 {
        assert_eq!(get(&client, &name, "k").await, b"old");
    }
}

#[tokio::test]
async fn missing_things_are_named() {
    let (client, name) = bucket("objects-missing").await;
    let key = client
        .get_object()
        .bucket(&name)
        .key("no/such")
        .send()
        .await;
    assert_eq!(failure(key), code(404, "NoSuchKey"));
    let from = client
        .get_object()
        .bucket("objects-no-bucket")
        .key("k")
        .send()
        .await;
    assert_eq!(failure(from), code(404, "NoSuchBucket"));
    let into = client.put_object().bucket("objects-no-bucket").key("k");
    assert_eq!(failure(into.send().await), code(404, "NoSuchBucket"));
    let long = client
        .put_object()
        .bucket(&name)
        .key("k".repeat(1025))
        .send()
        .await;
    assert_eq!(failure(long), code(400, "KeyTooLongError"));
    put(&client, &name, &"k".repeat(1024), b"longest").await;
    assert_eq!(get(&client, &name, &"k".repeat(1024)).await, b"longest");
}

#[tokio::test]
async fn a_get_goes_on_with_the_body_it_began() {
    let (client, name) = bucket("objects-readers").await;
    let content = body(1, 24 << 20);
    put(&client, &name, "k", &content).await;
    let got = client
        .get_object()
        .bucket(&name)
        .key("k")
        .send()
        .await
        .expect("get");
    let mut stream = got.body;
    let mut read = stream
        .next()
        .await
        .expect("bytes")
        .expect("sound bytes")
        .to_vec();
    // Far more than any buffer on the way holds is still to come when the name goes.
    put(&client, &name, "k", b"new").await;
    client
        .delete_object()
        .bucket(&name)
        .key("k")
        .send()
        .await
        .expect("delete");
    tokio::time::sleep(std::time::Duration::from_millis(500)).await;
    while let Some(more) = stream.next().await {
        read.extend_from_slice(&more.expect("sound bytes"));
    }
    assert!(read == content, "{} of {} bytes", read.len(), content.len());
}
