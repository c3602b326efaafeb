//! Versions of objects, through the SDK: AWS's user guide, "Retaining multiple versions of objects with S3 Versioning".

use std::time::{Duration, Instant};

use aws_sdk_s3::Client;
use aws_sdk_s3::primitives::ByteStream;
use aws_sdk_s3::types::{
    BucketVersioningStatus, ChecksumAlgorithm, CompletedMultipartUpload, CompletedPart, Delete,
    ObjectIdentifier, VersioningConfiguration,
};
use serde_json::Value;
use strata_tests::content::body;
use strata_tests::http::Request;
use strata_tests::server::Server;

use crate::{bucket, code, failure, get, keys, packing, put, send};

async fn set(client: &Client, bucket: &str, status: BucketVersioningStatus) {
    let configuration = VersioningConfiguration::builder().status(status).build();
    let put = client.put_bucket_versioning().bucket(bucket);
    let put = put.versioning_configuration(configuration);
    put.send().await.expect("versioning");
}

/// A bucket that keeps versions.
async fn versioned(name: &str) -> (Client, String) {
    let (client, name) = bucket(name).await;
    set(&client, &name, BucketVersioningStatus::Enabled).await;
    (client, name)
}

/// Puts an object; its version.
async fn put_version(client: &Client, bucket: &str, key: &str, content: &[u8]) -> String {
    let put = client.put_object().bucket(bucket).key(key);
    let put = put.body(ByteStream::from(content.to_vec()));
    let answer = put.send().await.expect("put");
    answer.version_id().expect("a version").to_owned()
}

async fn get_version(client: &Client, bucket: &str, key: &str, version: &str) -> Vec<u8> {
    let get = client.get_object().bucket(bucket).key(key);
    let answer = get.version_id(version).send().await.expect("get");
    assert_eq!(answer.version_id(), Some(version));
    let body = answer.body.collect().await.expect("a body");
    body.into_bytes().to_vec()
}

/// Deletes without a version; the delete marker.
async fn mark(client: &Client, bucket: &str, key: &str) -> String {
    let delete = client.delete_object().bucket(bucket).key(key);
    let answer = delete.send().await.expect("delete");
    assert_eq!(answer.delete_marker(), Some(true));
    answer.version_id().expect("a version").to_owned()
}

/// Deletes a version; whether it was a delete marker.
async fn delete_version(client: &Client, bucket: &str, key: &str, version: &str) -> bool {
    let delete = client.delete_object().bucket(bucket).key(key);
    let answer = delete.version_id(version).send().await.expect("delete");
    assert_eq!(answer.version_id(), Some(version));
    answer.delete_marker() == Some(true)
}

/// A version as it is listed: key, version, whether it is the latest, whether it is an object.
type Listed = (String, String, bool, bool);

/// All versions of a bucket, by pages of a few; a delete marker and a version of one key are told apart by their place.
async fn listed(client: &Client, bucket: &str, page_size: i32) -> Vec<Listed> {
    let mut found: Vec<Listed> = Vec::new();
    let (mut key, mut version) = (None, None);
    loop {
        let list = client.list_object_versions().bucket(bucket);
        let list = list
            .max_keys(page_size)
            .set_key_marker(key)
            .set_version_id_marker(version);
        let page = list.send().await.expect("a list");
        let objects = page.versions().iter().map(|of| {
            let (key, version) = (of.key().unwrap_or(""), of.version_id().unwrap_or(""));
            (
                key.to_owned(),
                version.to_owned(),
                of.is_latest() == Some(true),
                true,
            )
        });
        let markers = page.delete_markers().iter().map(|of| {
            let (key, version) = (of.key().unwrap_or(""), of.version_id().unwrap_or(""));
            (
                key.to_owned(),
                version.to_owned(),
                of.is_latest() == Some(true),
                false,
            )
        });
        let entries: Vec<Listed> = objects.chain(markers).collect();
        assert!(entries.len() <= page_size as usize);
        found.extend(entries);
        if page.is_truncated() != Some(true) {
            return found;
        }
        key = page.next_key_marker().map(str::to_owned);
        version = page.next_version_id_marker().map(str::to_owned);
        assert!(key.is_some() && version.is_some());
    }
}

#[tokio::test]
async fn what_is_put_again_or_deleted_stays_as_a_version() {
    let (client, name) = bucket("versions-life").await;
    let status = client.get_bucket_versioning().bucket(&name).send().await;
    assert_eq!(status.expect("an answer").status(), None);
    put(&client, &name, "a/k", b"before").await;
    set(&client, &name, BucketVersioningStatus::Enabled).await;
    let status = client.get_bucket_versioning().bucket(&name).send().await;
    let status = status.expect("an answer").status().cloned();
    assert_eq!(status, Some(BucketVersioningStatus::Enabled));
    let long = body(1, 3 << 20);
    let second = put_version(&client, &name, "a/k", &long).await;
    let third = put_version(&client, &name, "a/k", b"third").await;
    assert_eq!(get(&client, &name, "a/k").await, b"third");
    assert!(get_version(&client, &name, "a/k", &second).await == long);
    assert_eq!(get_version(&client, &name, "a/k", "null").await, b"before");

    let marker = mark(&client, &name, "a/k").await;
    let absent = client.get_object().bucket(&name).key("a/k").send().await;
    assert_eq!(failure(absent), code(404, "NoSuchKey"));
    assert!(keys(&client, &name).await.is_empty());
    assert!(get_version(&client, &name, "a/k", &second).await == long);
    let of_marker = client.get_object().bucket(&name).key("a/k");
    let of_marker = of_marker.version_id(&marker).send().await;
    assert_eq!(failure(of_marker), code(405, "MethodNotAllowed"));

    let of = |version: &str, is_latest, is_object| {
        ("a/k".to_owned(), version.to_owned(), is_latest, is_object)
    };
    let mut all = listed(&client, &name, 2).await;
    let mut expected = vec![
        of(&marker, true, false),
        of(&third, false, true),
        of(&second, false, true),
        of("null", false, true),
    ];
    all.sort();
    expected.sort();
    assert_eq!(all, expected);

    assert!(delete_version(&client, &name, "a/k", &marker).await);
    assert_eq!(get(&client, &name, "a/k").await, b"third");
    assert!(!delete_version(&client, &name, "a/k", &third).await);
    assert!(get(&client, &name, "a/k").await == long);
    assert!(!delete_version(&client, &name, "a/k", "null").await);
    let gone = client.get_object().bucket(&name).key("a/k");
    let gone = gone.version_id("null").send().await;
    assert_eq!(failure(gone), code(404, "NoSuchVersion"));
    let not_empty = client.delete_bucket().bucket(&name).send().await;
    assert_eq!(failure(not_empty), code(409, "BucketNotEmpty"));
    assert!(!delete_version(&client, &name, "a/k", &second).await);
    let delete = client.delete_bucket().bucket(&name).send().await;
    delete.expect("an empty bucket");
}

#[tokio::test]
async fn a_delete_marker_shows_in_the_headers() {
    let (client, name) = versioned("versions-headers").await;
    put_version(&client, &name, "k", b"x").await;
    let marker = mark(&client, &name, "k").await;
    for (query, status) in [("", 404), (&format!("?versionId={marker}")[..], 405)] {
        for method in ["GET", "HEAD"] {
            let answer = send(Request::new(method, &format!("/{name}/k{query}")));
            assert_eq!(answer.status, status, "{method} {query}");
            assert_eq!(answer.header("x-amz-delete-marker"), Some("true"));
            assert_eq!(answer.header("x-amz-version-id"), Some(&marker[..]));
        }
    }
    let answer = send(Request::new(
        "GET",
        &format!("/{name}/k?versionId={marker}"),
    ));
    assert!(answer.header("last-modified").is_some());
    assert_eq!(answer.header("allow"), Some("DELETE"));
    for (query, status, code) in [
        ("versionId=", 400, "InvalidArgument"),
        ("versionId=3", 400, "InvalidArgument"),
        (
            "versionId=00000000000000010000000000000001",
            404,
            "NoSuchVersion",
        ),
        ("versionId=null", 404, "NoSuchVersion"),
    ] {
        let answer = send(Request::new("GET", &format!("/{name}/k?{query}")));
        assert_eq!(answer.status, status, "{query}");
        assert!(answer.text().contains(&format!("<Code>{code}</Code>")));
    }
}

#[tokio::test]
async fn while_suspended_the_null_version_is_replaced() {
    let (client, name) = versioned("versions-suspended").await;
    let kept = put_version(&client, &name, "k", b"kept").await;
    set(&client, &name, BucketVersioningStatus::Suspended).await;
    for content in [&b"one"[..], b"two"] {
        put(&client, &name, "k", content).await;
        assert_eq!(get(&client, &name, "k").await, content);
        assert_eq!(listed(&client, &name, 10).await.len(), 2);
    }
    let answer = send(Request::new("PUT", &format!("/{name}/k")).body("three"));
    assert_eq!(
        (answer.status, answer.header("x-amz-version-id")),
        (200, None)
    );
    assert_eq!(get_version(&client, &name, "k", "null").await, b"three");
    assert_eq!(mark(&client, &name, "k").await, "null");
    assert_eq!(listed(&client, &name, 10).await.len(), 2);
    assert_eq!(get_version(&client, &name, "k", &kept).await, b"kept");
    assert!(delete_version(&client, &name, "k", "null").await);
    assert_eq!(get(&client, &name, "k").await, b"kept");
    set(&client, &name, BucketVersioningStatus::Enabled).await;
    assert_ne!(put_version(&client, &name, "k", b"new").await, "null");
}

#[tokio::test]
async fn many_versions_are_deleted_in_one_request() {
    let (client, name) = versioned("versions-batch").await;
    let mut objects = Vec::new();
    for number in 0..5 {
        let key = format!("k{}", number % 2);
        let version = put_version(&client, &name, &key, &body(number, 100)).await;
        objects.push((key, Some(version)));
    }
    let marker = mark(&client, &name, "k0").await;
    objects.push(("k0".to_owned(), Some(marker.clone())));
    objects.push(("plain".to_owned(), None));
    let identifiers = objects.iter().map(|(key, version)| {
        let object = ObjectIdentifier::builder().key(key);
        let object = object.set_version_id(version.clone());
        object.build().expect("an identifier")
    });
    let delete = Delete::builder().set_objects(Some(identifiers.collect()));
    let delete = delete.build().expect("a delete");
    let answer = client.delete_objects().bucket(&name).delete(delete);
    let answer = answer.checksum_algorithm(ChecksumAlgorithm::Crc32);
    let answer = answer.send().await.expect("deleted");
    assert!(answer.errors().is_empty(), "{:?}", answer.errors());
    assert_eq!(answer.deleted().len(), objects.len());
    let markers = answer
        .deleted()
        .iter()
        .filter(|of| of.delete_marker() == Some(true));
    let mut markers: Vec<_> = markers
        .map(|of| {
            (
                of.key().unwrap_or(""),
                of.version_id(),
                of.delete_marker_version_id(),
            )
        })
        .collect();
    markers.sort_unstable();
    assert_eq!(markers.len(), 2, "{markers:?}");
    assert_eq!(markers[0], ("k0", Some(&marker[..]), Some(&marker[..])));
    let (key, asked, new) = markers[1];
    assert_eq!((key, asked), ("plain", None));
    let left = listed(&client, &name, 10).await;
    let new = new.expect("a version").to_owned();
    assert_eq!(left, [("plain".to_owned(), new, true, false)]);
}

#[tokio::test]
async fn copies_uploads_and_conditions_know_versions() {
    let (client, name) = versioned("versions-copies").await;
    let first = put_version(&client, &name, "k", b"first").await;
    put_version(&client, &name, "k", b"second").await;
    // An earlier version is brought back by a copy onto its own key.
    let source = format!("{name}/k?versionId={first}");
    let copy = client
        .copy_object()
        .bucket(&name)
        .key("k")
        .copy_source(&source);
    let answer = copy.send().await.expect("copied");
    assert_eq!(answer.copy_source_version_id(), Some(&first[..]));
    let third = answer.version_id().expect("a version").to_owned();
    assert_eq!(get(&client, &name, "k").await, b"first");
    let marker = mark(&client, &name, "k").await;
    let source = format!("{name}/k?versionId={marker}");
    let copy = client
        .copy_object()
        .bucket(&name)
        .key("other")
        .copy_source(&source);
    assert_eq!(failure(copy.send().await), code(400, "InvalidRequest"));
    let put = client
        .put_object()
        .bucket(&name)
        .key("k")
        .if_none_match("*");
    let put = put.body(ByteStream::from_static(b"again")).send().await;
    put.expect("a delete marker is nothing");
    let put = client
        .put_object()
        .bucket(&name)
        .key("k")
        .if_none_match("*");
    let put = put.body(ByteStream::from_static(b"more")).send().await;
    assert_eq!(failure(put), code(412, "PreconditionFailed"));

    let upload = client.create_multipart_upload().bucket(&name).key("k");
    let upload = upload.send().await.expect("begun");
    let id = upload.upload_id().expect("an upload");
    let source = format!("{name}/k?versionId={third}");
    let part = client
        .upload_part_copy()
        .bucket(&name)
        .key("k")
        .upload_id(id);
    let part = part
        .part_number(1)
        .copy_source(&source)
        .send()
        .await
        .expect("a part");
    assert_eq!(part.copy_source_version_id(), Some(&third[..]));
    let etag = part
        .copy_part_result()
        .and_then(|of| of.e_tag())
        .expect("a tag");
    let part = CompletedPart::builder().part_number(1).e_tag(etag).build();
    let parts = CompletedMultipartUpload::builder().parts(part).build();
    let complete = client.complete_multipart_upload().bucket(&name).key("k");
    let complete = complete.upload_id(id).multipart_upload(parts);
    let answer = complete.send().await.expect("completed");
    let version = answer.version_id().expect("a version");
    assert_eq!(get_version(&client, &name, "k", version).await, b"first");
    let head = client
        .head_object()
        .bucket(&name)
        .key("k")
        .send()
        .await
        .expect("head");
    assert_eq!(head.version_id(), Some(version));
}

#[tokio::test]
async fn versions_are_listed_by_prefix_and_delimiter() {
    let (client, name) = versioned("versions-listing").await;
    for key in ["a/1", "a/2", "b", "c/1/x", "c/2"] {
        put_version(&client, &name, key, b"x").await;
        put_version(&client, &name, key, b"y").await;
    }
    mark(&client, &name, "a/1").await;
    mark(&client, &name, "a/2").await;
    mark(&client, &name, "gone/1").await;
    let list = client.list_object_versions().bucket(&name).delimiter("/");
    let page = list.send().await.expect("a list");
    let prefixes: Vec<_> = page
        .common_prefixes()
        .iter()
        .map(|of| of.prefix())
        .collect();
    assert_eq!(
        prefixes,
        [Some("a/"), Some("c/"), Some("gone/")],
        "markers alone, too"
    );
    assert_eq!(page.versions().len(), 2);
    let list = client.list_object_versions().bucket(&name).prefix("a/");
    let page = list.send().await.expect("a list");
    assert_eq!((page.versions().len(), page.delete_markers().len()), (4, 2));
    assert_eq!(listed(&client, &name, 1).await.len(), 13);
    let wrong = client
        .list_object_versions()
        .bucket(&name)
        .version_id_marker("null");
    assert_eq!(failure(wrong.send().await), code(400, "InvalidArgument"));
}

#[tokio::test]
async fn versions_outlive_a_kill_and_their_bodies_are_packed_and_freed() {
    let folder = tempfile::tempdir().expect("a folder");
    let mut server = Server::start(packing::options(folder.path()));
    let client = server.client();
    client
        .create_bucket()
        .bucket("versions")
        .send()
        .await
        .expect("made");
    set(&client, "versions", BucketVersioningStatus::Enabled).await;
    let mut versions = Vec::new();
    for number in 0..40u64 {
        let key = format!("dir/k{}", number % 4);
        let content = body(number, [2_000, 20_000, 200_000][number as usize % 3]);
        let version = put_version(&client, "versions", &key, &content).await;
        versions.push((key, version, content));
    }
    mark(&client, "versions", "dir/k0").await;
    // All but the few that are present belong to earlier versions.
    wait_until(&server, "versions are packed", |status| {
        status["packs"]["packed_extents"].as_u64() > Some(6)
    });
    server.kill();
    server.restart();
    let client = server.client();
    for (key, version, content) in &versions {
        assert!(
            get_version(&client, "versions", key, version).await == *content,
            "{key}"
        );
    }
    assert_eq!(listed(&client, "versions", 7).await.len(), 41);
    for (key, version, _) in &versions {
        delete_version(&client, "versions", key, version).await;
    }
    assert_eq!(listed(&client, "versions", 7).await.len(), 1, "the marker");
    wait_until(&server, "the chunks are freed", |status| {
        status["capacity"]["chunks"] == 0
    });
}

/// Waits until the status of a server is as it should be.
fn wait_until(server: &Server, what: &str, is: impl Fn(&Value) -> bool) {
    let end = Instant::now() + Duration::from_secs(60);
    loop {
        let output = server.run(&["status", "--json"]);
        let status: Value = serde_json::from_slice(&output.stdout).expect("JSON");
        if is(&status) {
            return;
        }
        assert!(Instant::now() < end, "not in time: {what}: {status:#}");
        std::thread::sleep(Duration::from_millis(200));
    }
}
