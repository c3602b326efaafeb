//! Create, head, list, locate, delete.

use crate::{bucket, code, failure, put, shared};

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
    if let Err(error) = client.create_bucket().bucket(&name).send().await {
        assert_eq!(
            failure(Err::<(), _>(error)),
            code(409, "BucketAlreadyOwnedByYou")
        );
    }
    assert_eq!(crate::get(&client, &name, "kept").await, b"x");
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
