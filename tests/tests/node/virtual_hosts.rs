//! Buckets that are named by the host, below `localhost` and below a configured domain.

use crate::{failure, get, keys, put, send, send_to, shared};
use aws_sdk_s3::Client;
use aws_sdk_s3::config::interceptors::BeforeTransmitInterceptorContextMut;
use aws_sdk_s3::config::{Builder, ConfigBag, Intercept, RuntimeComponents};
use aws_sdk_s3::error::BoxError;
use aws_sdk_s3::presigning::PresigningConfig;
use aws_sdk_s3::primitives::ByteStream;
use aws_sdk_s3::types::{CompletedMultipartUpload, CompletedPart, Delete, ObjectIdentifier};
use std::net::SocketAddr;
use std::time::Duration;
use strata_tests::content::body;
use strata_tests::http::Request;
use strata_tests::keys::HOSTILE;
use strata_tests::server::{Server, ServerOptions};

/// Sends what is signed for any host to one address: names below `localhost` are not known to every resolver.
#[derive(Debug)]
struct SentTo(SocketAddr);

impl Intercept for SentTo {
    fn name(&self) -> &'static str {
        "SentTo"
    }

    fn modify_before_transmit(
        &self,
        context: &mut BeforeTransmitInterceptorContextMut<'_>,
        _components: &RuntimeComponents,
        _bag: &mut ConfigBag,
    ) -> Result<(), BoxError> {
        let request = context.request_mut();
        let rest = request
            .uri()
            .strip_prefix("http://")
            .ok_or("no plain http")?;
        let (host, target) = rest.split_at(rest.find('/').ok_or("no path")?);
        let (host, uri) = (host.to_owned(), format!("http://{}{target}", self.0));
        request.headers_mut().insert("host", host);
        request.set_uri(uri)?;
        Ok(())
    }
}

/// The configuration of a client that names buckets by virtual hosts below `domain`.
fn config_below(server: &Server, domain: &str) -> Builder {
    let endpoint = format!("http://{domain}:{}", server.s3().port());
    let config = server.client_config().endpoint_url(endpoint);
    config.force_path_style(false)
}

fn client_below(server: &Server, domain: &str) -> Client {
    let config = config_below(server, domain).interceptor(SentTo(server.s3()));
    Client::from_conf(config.build())
}

async fn create(client: &Client, bucket: &str) {
    let created = client.create_bucket().bucket(bucket).send().await;
    created.expect("a new bucket");
}

#[tokio::test]
async fn the_sdk_names_buckets_by_the_host() {
    let (by_host, by_path) = (client_below(shared(), "localhost"), shared().client());
    let name = "virtual-sdk";
    create(&by_host, name).await;
    let head = by_path.head_bucket().bucket(name).send().await;
    head.expect("the bucket is there by its path too");
    for key in HOSTILE {
        put(&by_host, name, key, key.as_bytes()).await;
        assert_eq!(get(&by_path, name, key).await, key.as_bytes(), "{key:?}");
        assert_eq!(get(&by_host, name, key).await, key.as_bytes(), "{key:?}");
    }
    let copy = by_host.copy_object().bucket(name).key("copy");
    let copied = copy.copy_source(format!("{name}/b%20c")).send().await;
    copied.expect("a copy");
    assert_eq!(get(&by_path, name, "copy").await, b"b c");
    let listed = keys(&by_host, name).await;
    assert_eq!(listed, keys(&by_path, name).await);
    assert_eq!(listed.len(), HOSTILE.len() + 1);
    let objects = listed.iter().map(|key| {
        let object = ObjectIdentifier::builder().key(key).build();
        object.expect("an object")
    });
    let delete = Delete::builder().set_objects(Some(objects.collect()));
    let deleted = by_host
        .delete_objects()
        .bucket(name)
        .delete(delete.build().expect("a list"));
    let deleted = deleted.send().await.expect("delete");
    assert_eq!(deleted.deleted().len(), listed.len());
    let removed = by_host.delete_bucket().bucket(name).send().await;
    removed.expect("the empty bucket goes");
    let gone = by_path.head_bucket().bucket(name).send().await;
    assert_eq!(failure(gone).0, 404);
}

#[tokio::test]
async fn a_multipart_upload_says_where_it_lies() {
    let (client, name) = (client_below(shared(), "localhost"), "virtual-multipart");
    create(&client, name).await;
    let upload = client.create_multipart_upload().bucket(name).key("a b");
    let id = upload
        .send()
        .await
        .expect("an upload")
        .upload_id
        .expect("its id");
    let part = client
        .upload_part()
        .bucket(name)
        .key("a b")
        .upload_id(&id)
        .part_number(1)
        .body(ByteStream::from(body(1, 100_000)));
    let etag = part.send().await.expect("a part").e_tag.expect("its tag");
    let part = CompletedPart::builder().part_number(1).e_tag(etag).build();
    let parts = CompletedMultipartUpload::builder().parts(part).build();
    let complete = client
        .complete_multipart_upload()
        .bucket(name)
        .key("a b")
        .upload_id(&id)
        .multipart_upload(parts);
    let answer = complete.send().await.expect("complete");
    let port = shared().s3().port();
    let location = format!("http://{name}.localhost:{port}/a%20b");
    assert_eq!(answer.location(), Some(location.as_str()));
    assert!(get(&client, name, "a b").await == body(1, 100_000));
}

#[tokio::test]
async fn presigned_addresses_hold_for_their_host_alone() {
    let name = "virtual-presigned";
    create(&shared().client(), name).await;
    let signer = Client::from_conf(config_below(shared(), "localhost").build());
    let hour = PresigningConfig::expires_in(Duration::from_secs(3600)).expect("an hour");
    let ask = |method: &str, uri: &str, bucket: &str| {
        let rest = uri.strip_prefix("http://").expect("plain http");
        let (host, target) = rest.split_at(rest.find('/').expect("a path"));
        let host = host.replacen(name, bucket, 1);
        assert!(host.starts_with(bucket), "{uri}");
        let request = Request::new(method, target).header("host", host);
        request
            .body("hello")
            .send(shared().s3())
            .expect("an answer")
    };
    let key = "a//b/é+?";
    let made = signer
        .put_object()
        .bucket(name)
        .key(key)
        .presigned(hour.clone());
    let made = made.await.expect("presigned");
    assert_eq!(ask("PUT", made.uri(), "virtual-other").status, 403);
    assert_eq!(ask("PUT", made.uri(), name).status, 200);
    let made = signer.get_object().bucket(name).key(key).presigned(hour);
    let made = made.await.expect("presigned");
    let answer = ask("GET", made.uri(), name);
    assert_eq!((answer.status, &*answer.body), (200, &b"hello"[..]));
    assert_eq!(get(&shared().client(), name, key).await, b"hello");
}

#[tokio::test]
async fn a_name_with_dots_may_stand_in_the_host() {
    let name = "virtual.with.dots";
    let host = format!("{name}.localhost:{}", shared().s3().port());
    let ask = |method: &str, target: &str, body: &str| {
        let request = Request::new(method, target).header("host", &*host);
        send(request.body(body))
    };
    assert_eq!(ask("PUT", "/", "").status, 200);
    assert_eq!(ask("PUT", "/virtual-photo", "x").status, 200);
    let client = shared().client();
    assert_eq!(get(&client, name, "virtual-photo").await, b"x");
    let made = client.head_bucket().bucket("virtual-photo").send().await;
    assert_eq!(failure(made).0, 404, "the key is no bucket");
    let list = ask("GET", "/?list-type=2", "").text();
    assert!(list.contains("<Key>virtual-photo</Key>"), "{list}");
    assert_eq!(ask("DELETE", "/virtual-photo", "").status, 204);
    assert_eq!(ask("DELETE", "/", "").status, 204);
}

#[tokio::test]
async fn a_configured_domain_names_buckets_and_itself_none() {
    let arguments = ["--s3-domain", "s3.example.org", "--s3-domain", "Store"];
    let server = Server::start(ServerOptions {
        arguments: arguments.map(str::to_owned).to_vec(),
        ..ServerOptions::default()
    });
    let client = client_below(&server, "s3.example.org");
    create(&client, "photos").await;
    put(&client, "photos", "dir/k", b"x").await;
    let ask = |host: &str, target: &str| {
        let request = Request::new("GET", target).header("host", host);
        let answer = send_to(&server, request).expect("an answer");
        (answer.status, answer.text())
    };
    for (host, target) in [
        ("photos.s3.example.org", "/dir/k"),
        ("photos.store:80", "/dir/k"),
        ("photos.localhost", "/dir/k"),
        ("s3.example.org", "/photos/dir/k"),
        ("store:9002", "/photos/dir/k"),
        ("elsewhere.example.com", "/photos/dir/k"),
        ("127.0.0.1", "/photos/dir/k"),
    ] {
        assert_eq!(ask(host, target), (200, "x".to_owned()), "{host}");
    }
    let (status, buckets) = ask("s3.example.org", "/");
    assert!(
        status == 200 && buckets.contains("<Name>photos</Name>"),
        "{buckets}"
    );
    // Below a domain the path never names a bucket.
    let (status, text) = ask("missing.s3.example.org", "/photos/dir/k");
    assert_eq!(status, 404, "{text}");
    assert!(text.contains("<BucketName>missing</BucketName>"), "{text}");
    let (status, text) = ask("a_b.s3.example.org", "/k");
    assert_eq!(status, 400, "{text}");
    assert!(text.contains("<Code>InvalidBucketName</Code>"), "{text}");
}

/// The signature covers the host: whoever changes it changes the bucket.
#[tokio::test]
async fn the_host_that_was_signed_is_the_one_that_counts() {
    let client = shared().client();
    for name in ["virtual-mine", "virtual-theirs"] {
        create(&client, name).await;
        put(&client, name, "k", name.as_bytes()).await;
    }
    let server = shared();
    let port = server.s3().port();
    let signed = |target: &str| {
        let request = Request::new("GET", target);
        let request = request.header("host", format!("virtual-mine.localhost:{port}"));
        let payload = strata_tests::signature::Payload::Hashed;
        server.signer().sign(request, server.s3(), payload, None)
    };
    let mut changed = signed("/k");
    for (name, value) in &mut changed.headers {
        if name == "host" {
            *value = format!("virtual-theirs.localhost:{port}");
        }
    }
    let answer = changed.send(server.s3()).expect("an answer");
    assert_eq!(answer.status, 403, "{}", answer.text());
    // A request line with a host of its own must agree with the header.
    for (host, status) in [("virtual-mine", 200), ("virtual-theirs", 400)] {
        let mut absolute = signed("/k");
        absolute.target = format!("http://{host}.localhost:{port}/k");
        let answer = absolute.send(server.s3()).expect("an answer");
        assert_eq!(answer.status, status, "{host}: {}", answer.text());
    }
    let twice = signed("/k").header("host", format!("virtual-theirs.localhost:{port}"));
    let answer = twice.send(server.s3()).expect("an answer");
    assert_eq!(answer.status, 400, "{}", answer.text());
}
