//! Create, head, list, locate, delete.

use crate::{bucket, code, failure, put, shared};
use aws_sdk_s3::config::Region;
use aws_sdk_s3::types::{BucketLocationConstraint, CreateBucketConfiguration};
use strata_tests::server::{Server, ServerOptions};

#[tokio::test]
async fn a_bucket_is_made_seen_and_deleted() {
    let (client, name) = bucket("buckets-life").await;
    client
        .head_bucket()
        .bucket(&name)
        .send()
        .await
        .expect("it is there");
    let listed = client
        .list_buckets()
        .send()
        .await
        .expect("a list of buckets");
    let mine = listed
        .buckets()
        .iter()
        .find(|bucket| bucket.name() == Some(&name));
    assert!(mine.is_some_and(|bucket| bucket.creation_date().is_some()));
    let location = client
        .get_bucket_location()
        .bucket(&name)
        .send()
        .await
        .expect("a location");
    let location = location
        .location_constraint()
        .map_or("", |constraint| constraint.as_str());
    assert_eq!(location, "", "us-east-1 is the location without a name");
    client
        .delete_bucket()
        .bucket(&name)
        .send()
        .await
        .expect("it was empty");
    assert_eq!(
        failure(client.head_bucket().bucket(&name).send().await).0,
        404
    );
    let gone = failure(client.delete_bucket().bucket(&name).send().await);
    assert_eq!(gone, code(404, "NoSuchBucket"));
}

#[tokio::test]
async fn buckets_are_listed_in_byte_order() {
    for name in ["buckets-order-b", "buckets-order-a", "buckets-order-a.b"] {
        bucket(name).await;
    }
    let listed = shared()
        .client()
        .list_buckets()
        .send()
        .await
        .expect("a list of buckets");
    let names: Vec<&str> = listed
        .buckets()
        .iter()
        .filter_map(|bucket| bucket.name())
        .collect();
    assert!(names.is_sorted(), "{names:?}");
    assert_eq!(
        names
            .iter()
            .filter(|name| name.starts_with("buckets-order-"))
            .count(),
        3
    );
}

#[tokio::test]
async fn a_bucket_with_an_object_stays() {
    let (client, name) = bucket("buckets-full").await;
    put(&client, &name, "deep/er/key", b"x").await;
    let refused = failure(client.delete_bucket().bucket(&name).send().await);
    assert_eq!(refused, code(409, "BucketNotEmpty"));
    client
        .delete_object()
        .bucket(&name)
        .key("deep/er/key")
        .send()
        .await
        .expect("delete");
    client
        .delete_bucket()
        .bucket(&name)
        .send()
        .await
        .expect("the folders of its keys are gone too");
}

#[tokio::test]
async fn a_second_bucket_of_the_name_is_answered_as_aws_does() {
    // In us-east-1 making one's own bucket again is no error; elsewhere it is. Both keep what is in it.
    let (client, name) = bucket("buckets-twice").await;
    put(&client, &name, "kept", b"x").await;
    let again = client.create_bucket().bucket(&name).send().await;
    let again = again.expect("no error in us-east-1");
    assert_eq!(again.location(), Some("/buckets-twice"));
    assert_eq!(crate::get(&client, &name, "kept").await, b"x");
}

#[tokio::test]
async fn elsewhere_than_in_us_east_1_a_second_bucket_is_an_error() {
    let folder = tempfile::tempdir().expect("a folder");
    let file = folder.path().join("strata.toml");
    std::fs::write(&file, "[s3]\nregion = \"eu-west-1\"\n").expect("written");
    let server = Server::start(ServerOptions {
        arguments: vec!["--config".into(), file.display().to_string()],
        ..ServerOptions::default()
    });
    let config = server.client_config().region(Region::new("eu-west-1"));
    let client = aws_sdk_s3::Client::from_conf(config.build());
    let there = CreateBucketConfiguration::builder()
        .location_constraint(BucketLocationConstraint::EuWest1)
        .build();
    let create = || {
        let create = client.create_bucket().bucket("buckets-elsewhere");
        create.create_bucket_configuration(there.clone()).send()
    };
    create().await.expect("a new bucket");
    put(&client, "buckets-elsewhere", "kept", b"x").await;
    let again = failure(create().await);
    assert_eq!(again, code(409, "BucketAlreadyOwnedByYou"));
    assert_eq!(crate::get(&client, "buckets-elsewhere", "kept").await, b"x");
    let location = client.get_bucket_location().bucket("buckets-elsewhere");
    let location = location.send().await.expect("a location");
    let expected = Some(&BucketLocationConstraint::EuWest1);
    assert_eq!(location.location_constraint(), expected);
}

#[tokio::test]
async fn names_that_s3_forbids_are_refused() {
    let client = shared().client();
    let long = "a".repeat(64);
    for name in [
        "ab",
        "Upper",
        "under_score",
        "dot..dot",
        "-dash",
        "192.168.0.1",
        &long,
    ] {
        let made = client.create_bucket().bucket(name).send().await;
        assert_eq!(failure(made), code(400, "InvalidBucketName"), "{name}");
    }
}
