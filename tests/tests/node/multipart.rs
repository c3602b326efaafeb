//! Multipart uploads: create, parts, list, complete, abort.

use crate::{bucket, code, failure, get, put, send, shared};
use aws_sdk_s3::Client;
use aws_sdk_s3::primitives::ByteStream;
use aws_sdk_s3::types::{ChecksumAlgorithm, CompletedMultipartUpload, CompletedPart};
use strata_tests::content::body;
use strata_tests::http::Request;
use strata_tests::server::{Server, ServerOptions};

async fn create(client: &Client, bucket: &str, key: &str) -> String {
    let created = client
        .create_multipart_upload()
        .bucket(bucket)
        .key(key)
        .send()
        .await;
    created.expect("an upload").upload_id.expect("its id")
}

async fn part(
    client: &Client,
    bucket: &str,
    key: &str,
    id: &str,
    number: i32,
    content: &[u8],
) -> CompletedPart {
    let sent = client
        .upload_part()
        .bucket(bucket)
        .key(key)
        .upload_id(id)
        .part_number(number);
    let sent = sent
        .body(ByteStream::from(content.to_vec()))
        .send()
        .await
        .expect("a part");
    let etag = sent.e_tag.expect("its ETag");
    CompletedPart::builder()
        .part_number(number)
        .e_tag(etag)
        .set_checksum_crc32(sent.checksum_crc32)
        .build()
}

fn parts(parts: Vec<CompletedPart>) -> CompletedMultipartUpload {
    CompletedMultipartUpload::builder()
        .set_parts(Some(parts))
        .build()
}

#[tokio::test]
async fn parts_become_one_object() {
    let (client, name) = bucket("multipart-whole").await;
    let id = create(&client, &name, "big").await;
    let contents = [body(1, 5 << 20), body(2, (6 << 20) + 123), body(3, 77)];
    let mut done = Vec::new();
    // Out of order, with gaps in the numbers, the last one sent twice.
    done.push(part(&client, &name, "big", &id, 30, &contents[1]).await);
    done.push(part(&client, &name, "big", &id, 2, &contents[0]).await);
    part(&client, &name, "big", &id, 1000, b"replaced").await;
    done.push(part(&client, &name, "big", &id, 1000, &contents[2]).await);
    done.sort_by_key(|part| part.part_number());
    let absent = client.get_object().bucket(&name).key("big").send().await;
    assert_eq!(failure(absent), code(404, "NoSuchKey"));
    let complete = client
        .complete_multipart_upload()
        .bucket(&name)
        .key("big")
        .upload_id(&id);
    let answer = complete
        .multipart_upload(parts(done))
        .send()
        .await
        .expect("complete");
    assert!(
        answer.e_tag().is_some_and(|etag| etag.ends_with("-3\"")),
        "{answer:?}"
    );
    let whole = contents.concat();
    assert!(get(&client, &name, "big").await == whole);
    let seam = 5 << 20;
    let across = client.get_object().bucket(&name).key("big");
    let across = across
        .range(format!("bytes={}-{}", seam - 5, seam + 4))
        .send()
        .await
        .expect("get");
    let across = across.body.collect().await.expect("body").into_bytes();
    assert!(across == whole[seam - 5..seam + 5]);
    let head = client
        .head_object()
        .bucket(&name)
        .key("big")
        .part_number(2)
        .send()
        .await;
    let head = head.expect("head of a part");
    assert_eq!(
        (head.content_length(), head.parts_count()),
        (Some(contents[1].len() as i64), Some(3))
    );
}

#[tokio::test]
async fn a_part_of_no_bytes_is_served() {
    let (client, name) = bucket("multipart-empty").await;
    let id = create(&client, &name, "k").await;
    let one = part(&client, &name, "k", &id, 1, b"").await;
    let complete = client
        .complete_multipart_upload()
        .bucket(&name)
        .key("k")
        .upload_id(&id);
    let complete = complete.multipart_upload(parts(vec![one]));
    complete.send().await.expect("complete");
    for method in ["HEAD", "GET"] {
        let answer = send(Request::new(method, &format!("/{name}/k?partNumber=1")));
        assert_eq!(answer.status, 200, "{method}: {}", answer.text());
        assert_eq!(answer.header("content-length"), Some("0"), "{method}");
        assert_eq!(answer.header("content-range"), None, "{method}");
        assert_eq!(answer.header("x-amz-mp-parts-count"), Some("1"), "{method}");
        let beyond = send(Request::new(method, &format!("/{name}/k?partNumber=2")));
        assert_eq!(beyond.status, 416, "{method}: {}", beyond.text());
    }
}

#[tokio::test]
async fn the_etag_is_that_of_the_parts_etags() {
    let (client, name) = bucket("multipart-etag").await;
    let id = create(&client, &name, "k").await;
    let one = part(&client, &name, "k", &id, 1, b"abc").await;
    let complete = client
        .complete_multipart_upload()
        .bucket(&name)
        .key("k")
        .upload_id(&id);
    let answer = complete
        .multipart_upload(parts(vec![one]))
        .send()
        .await
        .expect("complete");
    // md5(md5("abc")) of the binary digest.
    assert_eq!(
        answer.e_tag(),
        Some("\"af5da9f45af7a300e3aded972f8ff687-1\"")
    );
}

#[tokio::test]
async fn uploads_and_parts_are_listed_and_aborted() {
    let (client, name) = bucket("multipart-list").await;
    let first = create(&client, &name, "a/1").await;
    let second = create(&client, &name, "b/2").await;
    for number in [3, 1, 2] {
        part(
            &client,
            &name,
            "a/1",
            &first,
            number,
            &body(number as u64, 1000),
        )
        .await;
    }
    let uploads = client
        .list_multipart_uploads()
        .bucket(&name)
        .send()
        .await
        .expect("uploads");
    let ids: Vec<_> = uploads
        .uploads()
        .iter()
        .filter_map(|upload| upload.upload_id())
        .collect();
    assert_eq!(
        ids,
        [first.as_str(), second.as_str()],
        "in the order of keys"
    );
    let listed = client
        .list_parts()
        .bucket(&name)
        .key("a/1")
        .upload_id(&first)
        .max_parts(2);
    let listed = listed.send().await.expect("parts");
    let numbers: Vec<_> = listed
        .parts()
        .iter()
        .filter_map(|part| part.part_number())
        .collect();
    assert_eq!((numbers, listed.is_truncated()), (vec![1, 2], Some(true)));
    let none = client
        .list_parts()
        .bucket(&name)
        .key("a/1")
        .upload_id(&first)
        .max_parts(0);
    let none = none.send().await.expect("no parts");
    assert_eq!((none.parts().len(), none.is_truncated()), (0, Some(false)));
    let abort = client
        .abort_multipart_upload()
        .bucket(&name)
        .key("a/1")
        .upload_id(&first);
    abort.send().await.expect("abort");
    let late = client
        .upload_part()
        .bucket(&name)
        .key("a/1")
        .upload_id(&first)
        .part_number(4);
    let late = late.body(ByteStream::from_static(b"x")).send().await;
    assert_eq!(failure(late), code(404, "NoSuchUpload"));
    let uploads = client
        .list_multipart_uploads()
        .bucket(&name)
        .send()
        .await
        .expect("uploads");
    assert_eq!(uploads.uploads().len(), 1);
}

#[tokio::test]
async fn a_wrong_completion_is_refused_and_changes_nothing() {
    let (client, name) = bucket("multipart-wrong").await;
    put(&client, &name, "k", b"old").await;
    let id = create(&client, &name, "k").await;
    let one = part(&client, &name, "k", &id, 1, b"too small").await;
    let two = part(&client, &name, "k", &id, 2, b"last").await;
    let wrong = CompletedPart::builder()
        .part_number(1)
        .e_tag("\"00000000000000000000000000000000\"");
    let missing = CompletedPart::builder()
        .part_number(9)
        .e_tag(one.e_tag().expect("ETag"));
    let cases = [
        (vec![one.clone(), two.clone()], "EntityTooSmall"),
        (vec![two.clone(), one.clone()], "InvalidPartOrder"),
        (vec![wrong.build()], "InvalidPart"),
        (vec![missing.build()], "InvalidPart"),
    ];
    for (list, expected) in cases {
        let complete = client
            .complete_multipart_upload()
            .bucket(&name)
            .key("k")
            .upload_id(&id);
        let outcome = complete.multipart_upload(parts(list)).send().await;
        assert_eq!(failure(outcome), code(400, expected));
        assert_eq!(get(&client, &name, "k").await, b"old");
    }
    let complete = client
        .complete_multipart_upload()
        .bucket(&name)
        .key("k")
        .upload_id(&id);
    complete
        .multipart_upload(parts(vec![two]))
        .send()
        .await
        .expect("one part may be small");
    assert_eq!(get(&client, &name, "k").await, b"last");
    let unknown = client
        .complete_multipart_upload()
        .bucket(&name)
        .key("k")
        .upload_id("nonsense");
    let unknown = unknown.multipart_upload(parts(vec![one])).send().await;
    assert_eq!(failure(unknown), code(404, "NoSuchUpload"));
}

#[tokio::test]
async fn part_numbers_have_bounds() {
    let (client, name) = bucket("multipart-numbers").await;
    let id = create(&client, &name, "k").await;
    for number in [0, 10_001] {
        let sent = client
            .upload_part()
            .bucket(&name)
            .key("k")
            .upload_id(&id)
            .part_number(number);
        let sent = sent.body(ByteStream::from_static(b"x")).send().await;
        assert_eq!(failure(sent), code(400, "InvalidArgument"), "{number}");
    }
    part(&client, &name, "k", &id, 10_000, b"x").await;
}

/// Completes an upload that has one part.
async fn complete_with(
    client: &Client,
    bucket: &str,
    key: &str,
    id: &str,
    part: CompletedPart,
) -> Result<(), (u16, String)> {
    let complete = client
        .complete_multipart_upload()
        .bucket(bucket)
        .key(key)
        .upload_id(id)
        .multipart_upload(parts(vec![part]));
    let sent = complete.send().await;
    sent.map(|_| ())
        .map_err(|error| failure(Err::<(), _>(error)))
}

/// Puts a part, which may find the upload completed.
async fn put_part_in_a_race(client: &Client, bucket: &str, key: &str, id: &str, content: &[u8]) {
    let sent = client
        .upload_part()
        .bucket(bucket)
        .key(key)
        .upload_id(id)
        .part_number(1)
        .body(ByteStream::from(content.to_vec()))
        .send();
    if let Err(error) = sent.await {
        let gone = code(404, "NoSuchUpload");
        assert_eq!(failure(Err::<(), _>(error)), gone);
    }
}

#[tokio::test]
async fn parts_that_are_put_again_meanwhile_do_not_fail_a_completion() {
    let (client, name) = bucket("multipart-again").await;
    let content = body(1, 3_000);
    for round in 0..60 {
        let key = format!("k{round}");
        let id = create(&client, &name, &key).await;
        let first = part(&client, &name, &key, &id, 1, &content).await;
        // The same bytes under the same number: what was named is there all the time. The server reads the parts three times,
        // so two that come between are no reason to refuse.
        let again = || put_part_in_a_race(&client, &name, &key, &id, &content);
        let complete = complete_with(&client, &name, &key, &id, first);
        let (_, completed, _) = tokio::join!(again(), complete, again());
        assert_eq!(completed, Ok(()), "round {round}");
        assert!(get(&client, &name, &key).await == content);
    }
}

#[tokio::test]
async fn a_part_that_is_replaced_meanwhile_is_never_taken_for_the_one_that_was_named() {
    let (client, name) = bucket("multipart-replaced").await;
    let (named, other) = (body(1, 3_000), body(2, 4_000));
    for round in 0..60 {
        let key = format!("k{round}");
        let id = create(&client, &name, &key).await;
        let first = part(&client, &name, &key, &id, 1, &named).await;
        let replace = put_part_in_a_race(&client, &name, &key, &id, &other);
        let complete = complete_with(&client, &name, &key, &id, first);
        let (_, completed) = tokio::join!(replace, complete);
        match completed {
            Ok(()) => assert!(get(&client, &name, &key).await == named, "round {round}"),
            Err(refused) => {
                assert_eq!(refused, code(400, "InvalidPart"), "round {round}");
                let now = part(&client, &name, &key, &id, 1, &other).await;
                let again = complete_with(&client, &name, &key, &id, now).await;
                assert_eq!(again, Ok(()), "the upload is still there");
                assert!(get(&client, &name, &key).await == other, "round {round}");
            }
        }
    }
}

/// What a completion answers, with a checksum and a place.
async fn complete_all(
    client: &Client,
    (bucket, key, id): (&str, &str, &str),
    done: &[CompletedPart],
) -> Result<[Option<String>; 4], (u16, String)> {
    let complete = client
        .complete_multipart_upload()
        .bucket(bucket)
        .key(key)
        .upload_id(id)
        .multipart_upload(parts(done.to_vec()));
    match complete.send().await {
        Ok(answer) => Ok([
            answer.e_tag().map(str::to_owned),
            answer.location().map(str::to_owned),
            answer.checksum_crc32().map(str::to_owned),
            answer.checksum_type().map(|kind| kind.as_str().to_owned()),
        ]),
        Err(error) => Err(failure(Err::<(), _>(error))),
    }
}

/// An upload of two parts with a checksum, not yet completed: its id and the parts.
async fn two_parts(client: &Client, bucket: &str, key: &str) -> (String, Vec<CompletedPart>) {
    let created = client
        .create_multipart_upload()
        .bucket(bucket)
        .key(key)
        .checksum_algorithm(ChecksumAlgorithm::Crc32)
        .send()
        .await;
    let id = created.expect("an upload").upload_id.expect("its id");
    let mut done = Vec::new();
    for (number, bytes) in [(1, 5 << 20), (4, 1000)] {
        let content = body(number as u64, bytes);
        done.push(part(client, bucket, key, &id, number, &content).await);
    }
    (id, done)
}

#[tokio::test]
async fn a_completion_that_is_sent_again_is_answered_again() {
    let mut server = Server::start(ServerOptions::default());
    let (client, name) = (server.client(), "multipart-repeated");
    let made = client.create_bucket().bucket(name).send().await;
    made.expect("a new bucket");
    let (id, done) = two_parts(&client, name, "k").await;
    let first = complete_all(&client, (name, "k", &id), &done).await;
    let [etag, location, checksum, kind] = first.clone().expect("complete");
    assert!(etag.is_some_and(|etag| etag.ends_with("-2\"")));
    assert!(location.is_some() && checksum.is_some());
    assert_eq!(kind.as_deref(), Some("COMPOSITE"));
    assert_eq!(complete_all(&client, (name, "k", &id), &done).await, first);
    let gone = Err(code(404, "NoSuchUpload"));
    let other = |list: &[CompletedPart]| list.to_vec();
    for list in [
        other(&done[..1]),
        other(&[done[1].clone(), done[0].clone()]),
    ] {
        let refused = complete_all(&client, (name, "k", &id), &list).await;
        assert_eq!(refused, gone, "{list:?}");
    }
    assert_eq!(complete_all(&client, (name, "l", &id), &done).await, gone);
    let conditional = client
        .complete_multipart_upload()
        .bucket(name)
        .key("k")
        .upload_id(&id)
        .if_none_match("*")
        .multipart_upload(parts(done.clone()));
    conditional
        .send()
        .await
        .expect("the condition was decided when it was completed");
    server.kill();
    server.restart();
    let client = server.client();
    let again = complete_all(&client, (name, "k", &id), &done).await;
    let without_place = |answer: &Result<[Option<String>; 4], _>| {
        let mut answer: [Option<String>; 4] = answer.clone().expect("an answer");
        // The port is another one.
        answer[1] = None;
        answer
    };
    assert_eq!(without_place(&again), without_place(&first));
    put(&client, name, "k", b"newer").await;
    assert_eq!(complete_all(&client, (name, "k", &id), &done).await, gone);
    assert_eq!(get(&client, name, "k").await, b"newer");
}

#[tokio::test]
async fn completions_at_the_same_time_are_answered_alike() {
    let (client, name) = bucket("multipart-twice").await;
    for round in 0..10 {
        let key = format!("k{round}");
        let (id, done) = two_parts(&client, &name, &key).await;
        let complete = || complete_all(&client, (&name, &key, &id), &done);
        let (one, two, three) = tokio::join!(complete(), complete(), complete());
        assert!(one.is_ok(), "round {round}: {one:?}");
        assert_eq!((&one, &one), (&two, &three), "round {round}");
    }
}

/// A part is the upload of it that ended last, also where that one began first.
#[tokio::test]
async fn the_upload_of_a_part_that_ends_last_is_the_part() {
    let (client, name) = bucket("multipart-last").await;
    let id = create(&client, &name, "k").await;
    let (slow, fast) = (body(1, 2 << 20), body(2, 3000));
    let server = shared();
    let target = format!("/{name}/k?partNumber=1&uploadId={id}");
    let put = |content: &[u8]| {
        let request = Request::new("PUT", &target).body(content);
        let payload = strata_tests::signature::Payload::Hashed;
        server.signer().sign(request, server.s3(), payload, None)
    };
    let (first, second) = (put(&slow), put(&fast));
    let late = first.send_with_pause(server.s3(), slow.len() / 2, || {
        let answer = second.send(server.s3()).expect("an answer");
        assert_eq!(answer.status, 200, "{}", answer.text());
    });
    let late = late.expect("an answer");
    assert_eq!(late.status, 200, "{}", late.text());
    let etag = late.header("etag").expect("its tag");
    let one = CompletedPart::builder().part_number(1).e_tag(etag).build();
    let completed = complete_with(&client, &name, "k", &id, one).await;
    assert_eq!(completed, Ok(()));
    assert!(get(&client, &name, "k").await == slow);
}

#[tokio::test]
async fn a_part_without_its_number_or_its_tag_is_malformed() {
    let (client, name) = bucket("multipart-malformed").await;
    let id = create(&client, &name, "k").await;
    let one = part(&client, &name, "k", &id, 1, b"x").await;
    let etag = one.e_tag().expect("its tag").trim_matches('"');
    for inside in [
        "<Part/>".to_owned(),
        "<Part><PartNumber>1</PartNumber></Part>".to_owned(),
        format!("<Part><ETag>{etag}</ETag></Part>"),
        format!("<Part><PartNumber>1</PartNumber><ETag>{etag}</ETag></Part><Part></Part>"),
    ] {
        let root = "CompleteMultipartUpload";
        let request = Request::new("POST", &format!("/{name}/k?uploadId={id}"));
        let answer = send(request.body(format!("<{root}>{inside}</{root}>")));
        let text = answer.text();
        assert_eq!(answer.status, 400, "{inside}: {text}");
        assert!(
            text.contains("<Code>MalformedXML</Code>"),
            "{inside}: {text}"
        );
    }
    assert_eq!(complete_with(&client, &name, "k", &id, one).await, Ok(()));
}
