//! Conditions of reads, and of writes, which are decided at the commit.

use crate::{bucket, code, failure, get, put, send};
use aws_sdk_s3::Client;
use aws_sdk_s3::primitives::{ByteStream, DateTime};
use strata_tests::http::Request;

async fn etag(client: &Client, bucket: &str, key: &str) -> String {
    let head = client
        .head_object()
        .bucket(bucket)
        .key(key)
        .send()
        .await
        .expect("head");
    head.e_tag.expect("an ETag")
}

#[tokio::test]
async fn reads_by_etag_and_time() {
    let (client, name) = bucket("conditional-reads").await;
    put(&client, &name, "k", b"x").await;
    let tag = etag(&client, &name, "k").await;
    let get = || client.get_object().bucket(&name).key("k");
    let (past, future) = (
        DateTime::from_secs(1_000_000_000),
        DateTime::from_secs(4_000_000_000),
    );
    get().if_match(&tag).send().await.expect("it matches");
    get()
        .if_none_match("\"other\"")
        .send()
        .await
        .expect("it differs");
    get()
        .if_modified_since(past)
        .send()
        .await
        .expect("it was modified since");
    get()
        .if_unmodified_since(future)
        .send()
        .await
        .expect("it was not modified since");
    get()
        .if_match(&tag)
        .if_unmodified_since(past)
        .send()
        .await
        .expect("the ETag outweighs the time");
    assert_eq!(
        failure(get().if_match("\"other\"").send().await),
        code(412, "PreconditionFailed")
    );
    assert_eq!(
        failure(get().if_unmodified_since(past).send().await),
        code(412, "PreconditionFailed")
    );
    assert_eq!(failure(get().if_none_match(&tag).send().await).0, 304);
    assert_eq!(
        failure(
            get()
                .if_none_match(&tag)
                .if_modified_since(past)
                .send()
                .await
        )
        .0,
        304
    );
    let head = client
        .head_object()
        .bucket(&name)
        .key("k")
        .if_none_match(&tag)
        .send()
        .await;
    assert_eq!(failure(head).0, 304);
}

#[tokio::test]
async fn writes_by_etag() {
    let (client, name) = bucket("conditional-writes").await;
    for bytes in [3, 100_000] {
        let key = format!("k{bytes}");
        let body = || ByteStream::from(vec![7; bytes]);
        let write = || client.put_object().bucket(&name).key(&key).body(body());
        let absent = write()
            .if_match("\"9dd4e461268c8034f5c8564e155c67a6\"")
            .send()
            .await;
        assert_eq!(failure(absent), code(404, "NoSuchKey"));
        write()
            .if_none_match("*")
            .send()
            .await
            .expect("nothing there yet");
        assert_eq!(
            failure(write().if_none_match("*").send().await),
            code(412, "PreconditionFailed")
        );
        let tag = etag(&client, &name, &key).await;
        let wrong = write()
            .if_match("\"9dd4e461268c8034f5c8564e155c67a6\"")
            .send()
            .await;
        assert_eq!(failure(wrong), code(412, "PreconditionFailed"));
        client
            .put_object()
            .bucket(&name)
            .key(&key)
            .if_match(&tag)
            .body(ByteStream::from_static(b"new"))
            .send()
            .await
            .expect("it matches");
        assert_eq!(get(&client, &name, &key).await, b"new");
    }
}

#[tokio::test]
async fn of_many_writers_that_find_nothing_one_wins() {
    let (client, name) = bucket("conditional-race").await;
    for round in 0..5 {
        let key = format!("k{round}");
        let mut writers = tokio::task::JoinSet::new();
        for writer in 0..8_u8 {
            let (client, name, key) = (client.clone(), name.clone(), key.clone());
            writers.spawn(async move {
                // Inline and chunked bodies race each other.
                let body = vec![writer; if writer % 2 == 0 { 10 } else { 50_000 }];
                let put = client.put_object().bucket(name).key(key).if_none_match("*");
                (writer, put.body(ByteStream::from(body)).send().await)
            });
        }
        let mut winners = Vec::new();
        while let Some(outcome) = writers.join_next().await {
            match outcome.expect("a writer") {
                (writer, Ok(_)) => winners.push(writer),
                (_, Err(error)) => {
                    let (status, code) = failure(Err::<(), _>(error));
                    assert!(matches!(status, 409 | 412), "{status} {code}");
                }
            }
        }
        assert_eq!(winners.len(), 1, "{winners:?}");
        assert_eq!(get(&client, &name, &key).await[0], winners[0]);
    }
}

/// AWS takes `If-None-Match` on writes with `*` alone, and not beside `If-Match`.
#[tokio::test]
async fn conditions_that_aws_does_not_take_on_writes_are_not_implemented() {
    let (client, name) = bucket("conditional-refused").await;
    put(&client, &name, "k", b"old").await;
    let tag = etag(&client, &name, "k").await;
    let created = client.create_multipart_upload().bucket(&name).key("k");
    let id = created.send().await.expect("an upload").upload_id;
    let upload = format!("/{name}/k?uploadId={}", id.expect("its id"));
    let part = Request::new("PUT", &format!("{upload}&partNumber=1")).body("new");
    let part = send(part);
    let part_tag = part.header("etag").expect("its tag").trim_matches('"');
    let named = format!("<Part><PartNumber>1</PartNumber><ETag>{part_tag}</ETag></Part>");
    let document = format!("<CompleteMultipartUpload>{named}</CompleteMultipartUpload>");
    let object = format!("/{name}/k");
    let source = format!("{name}/k");
    for conditions in [
        &[("if-none-match", tag.as_str())][..],
        &[("if-none-match", "\"0123456789abcdef0123456789abcdef\"")],
        &[("if-none-match", "abc")],
        &[("if-none-match", "*"), ("if-match", tag.as_str())],
        &[("if-none-match", tag.as_str()), ("if-match", tag.as_str())],
    ] {
        let requests = [
            Request::new("PUT", &object).body("new"),
            Request::new("PUT", &object).header("x-amz-copy-source", &source),
            Request::new("POST", &upload).body(document.as_str()),
        ];
        for request in requests {
            let with =
                |request: Request, (name, value): &(&str, &str)| request.header(name, *value);
            let answer = send(conditions.iter().fold(request, with));
            let text = answer.text();
            assert_eq!(answer.status, 501, "{conditions:?}: {text}");
            assert!(text.contains("<Header>If-None-Match</Header>"), "{text}");
            assert_eq!(get(&client, &name, "k").await, b"old", "{conditions:?}");
        }
    }
    let completed = send(Request::new("POST", &upload).body(document));
    assert_eq!(completed.status, 200, "the upload is still there");
}

/// A delete with a condition is one of an object that is there, as with AWS; without one an absent key is no error.
#[tokio::test]
async fn a_conditional_delete_of_an_absent_key_finds_none() {
    let (client, name) = bucket("conditional-delete").await;
    put(&client, &name, "k", b"x").await;
    let tag = etag(&client, &name, "k").await;
    let delete = |condition: Option<&str>| {
        let delete = client.delete_object().bucket(&name).key("k");
        let delete = delete.set_if_match(condition.map(str::to_owned));
        async { delete.send().await.map(drop) }
    };
    let other = "\"0123456789abcdef0123456789abcdef\"";
    let refused = delete(Some(other)).await;
    assert_eq!(failure(refused), code(412, "PreconditionFailed"));
    assert_eq!(get(&client, &name, "k").await, b"x");
    for condition in [tag.as_str(), "*"] {
        put(&client, &name, "k", b"x").await;
        delete(Some(condition)).await.expect("it matches");
        let again = delete(Some(condition)).await;
        assert_eq!(failure(again), code(404, "NoSuchKey"), "{condition}");
    }
    delete(None).await.expect("no error without a condition");
}
