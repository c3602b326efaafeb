//! Copying an object, and a range of one into a part.

use crate::{bucket, code, failure, get, put, send};
use aws_sdk_s3::primitives::ByteStream;
use aws_sdk_s3::types::{CompletedMultipartUpload, CompletedPart, MetadataDirective};
use strata_tests::content::body;
use strata_tests::http::Request;

#[tokio::test]
async fn a_copy_outlives_its_source() {
    let (client, from) = bucket("copies-from").await;
    let (_, to) = bucket("copies-to").await;
    for bytes in [0, 100, 200_000, 6 << 20] {
        let (key, content) = (format!("a b/é{bytes}"), body(bytes as u64, bytes));
        let source = client
            .put_object()
            .bucket(&from)
            .key(&key)
            .metadata("colour", "green");
        source
            .body(ByteStream::from(content.clone()))
            .send()
            .await
            .expect("put");
        let escaped = format!("{from}/a%20b/%C3%A9{bytes}");
        let copy = client
            .copy_object()
            .bucket(&to)
            .key("copy")
            .copy_source(&escaped);
        let answer = copy.send().await.expect("copy");
        assert!(
            answer
                .copy_object_result()
                .and_then(|result| result.e_tag())
                .is_some()
        );
        client
            .delete_object()
            .bucket(&from)
            .key(&key)
            .send()
            .await
            .expect("delete");
        assert!(get(&client, &to, "copy").await == content, "{bytes}");
        let head = client
            .head_object()
            .bucket(&to)
            .key("copy")
            .send()
            .await
            .expect("head");
        assert_eq!(
            head.metadata()
                .and_then(|all| all.get("colour"))
                .map(String::as_str),
            Some("green")
        );
    }
}

#[tokio::test]
async fn a_copy_may_replace_the_metadata() {
    let (client, name) = bucket("copies-metadata").await;
    put(&client, &name, "k", b"x").await;
    let source = format!("{name}/k");
    let same = client
        .copy_object()
        .bucket(&name)
        .key("k")
        .copy_source(&source)
        .send()
        .await;
    assert_eq!(
        failure(same),
        code(400, "InvalidRequest"),
        "onto itself without a change"
    );
    let copy = client
        .copy_object()
        .bucket(&name)
        .key("k")
        .copy_source(&source);
    let copy = copy
        .metadata_directive(MetadataDirective::Replace)
        .content_type("a/b")
        .metadata("n", "1");
    copy.send().await.expect("copy");
    let head = client
        .head_object()
        .bucket(&name)
        .key("k")
        .send()
        .await
        .expect("head");
    assert_eq!(head.content_type(), Some("a/b"));
    assert_eq!(head.metadata().map(|all| all.len()), Some(1));
    assert_eq!(get(&client, &name, "k").await, b"x");
}

#[tokio::test]
async fn a_copy_may_be_conditional() {
    let (client, name) = bucket("copies-conditional").await;
    put(&client, &name, "k", b"x").await;
    let source = format!("{name}/k");
    let wrong = client
        .copy_object()
        .bucket(&name)
        .key("c")
        .copy_source(&source);
    let wrong = wrong
        .copy_source_if_match("\"00000000000000000000000000000000\"")
        .send()
        .await;
    assert_eq!(failure(wrong), code(412, "PreconditionFailed"));
    let missing = client
        .copy_object()
        .bucket(&name)
        .key("c")
        .copy_source(format!("{name}/none"));
    assert_eq!(failure(missing.send().await), code(404, "NoSuchKey"));
}

#[tokio::test]
async fn a_range_becomes_a_part() {
    let (client, name) = bucket("copies-part").await;
    let content = body(9, 6 << 20);
    put(&client, &name, "source", &content).await;
    let created = client
        .create_multipart_upload()
        .bucket(&name)
        .key("k")
        .send()
        .await
        .expect("create");
    let id = created.upload_id().expect("an id");
    let mut done = Vec::new();
    for (number, range) in [(1, "bytes=0-5242879"), (2, "bytes=1000-1999")] {
        let copied = client
            .upload_part_copy()
            .bucket(&name)
            .key("k")
            .upload_id(id)
            .part_number(number);
        let copied = copied
            .copy_source(format!("{name}/source"))
            .copy_source_range(range);
        let copied = copied.send().await.expect("a copied part");
        let etag = copied
            .copy_part_result()
            .and_then(|result| result.e_tag())
            .expect("an ETag");
        done.push(
            CompletedPart::builder()
                .part_number(number)
                .e_tag(etag)
                .build(),
        );
    }
    let upload = CompletedMultipartUpload::builder()
        .set_parts(Some(done))
        .build();
    let complete = client
        .complete_multipart_upload()
        .bucket(&name)
        .key("k")
        .upload_id(id);
    complete
        .multipart_upload(upload)
        .send()
        .await
        .expect("complete");
    let expected = [&content[..5 << 20], &content[1000..2000]].concat();
    assert!(get(&client, &name, "k").await == expected);
}

/// s5cmd writes a space as `+`; where both names exist, it is the one with the space that is meant.
#[tokio::test]
async fn a_plus_in_the_source_is_a_space() {
    let (client, name) = bucket("copies-plus").await;
    put(&client, &name, "a b", b"space").await;
    put(&client, &name, "a+b", b"plus").await;
    for (source, body) in [("a+b", "space"), ("a%20b", "space"), ("a%2Bb", "plus")] {
        let request = Request::new("PUT", &format!("/{name}/copy"));
        let answer = send(request.header("x-amz-copy-source", format!("{name}/{source}")));
        assert_eq!(answer.status, 200, "{source}: {}", answer.text());
        assert_eq!(
            get(&client, &name, "copy").await,
            body.as_bytes(),
            "{source}"
        );
    }
}

#[tokio::test]
async fn a_range_beyond_the_end_of_the_source_is_refused_with_its_size() {
    let (client, name) = bucket("copies-beyond").await;
    put(&client, &name, "source", &body(1, 1000)).await;
    let created = client.create_multipart_upload().bucket(&name).key("k");
    let id = created.send().await.expect("an upload").upload_id;
    let target = format!("/{name}/k?partNumber=1&uploadId={}", id.expect("its id"));
    for range in ["bytes=0-1000", "bytes=1000-1000", "bytes=5000-6000"] {
        let request = Request::new("PUT", &target)
            .header("x-amz-copy-source", format!("{name}/source"))
            .header("x-amz-copy-source-range", range);
        let answer = send(request);
        let text = answer.text();
        assert_eq!(answer.status, 400, "{range}: {text}");
        assert!(text.contains("<Code>InvalidArgument</Code>"), "{text}");
        let message = "Range specified is not valid for source object of size: 1000";
        assert!(text.contains(message), "{text}");
    }
}
