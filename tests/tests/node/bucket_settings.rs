//! What tools ask of a bucket before anything else, and AWS's answer for one that has none of it.

use aws_sdk_s3::types::{Tag, Tagging};

use crate::{bucket, code, failure, send};
use strata_tests::http::Request;

#[tokio::test]
async fn a_setting_that_was_never_made_is_told_as_aws_tells_it() {
    let (_, name) = bucket("settings-none").await;
    for (parameter, status, text) in [
        ("accelerate", 200, "<AccelerateConfiguration "),
        ("acl", 200, "<Permission>FULL_CONTROL</Permission>"),
        ("cors", 404, "<Code>NoSuchCORSConfiguration</Code>"),
        (
            "encryption",
            404,
            "<Code>ServerSideEncryptionConfigurationNotFoundError</Code>",
        ),
        (
            "lifecycle",
            404,
            "<Code>NoSuchLifecycleConfiguration</Code>",
        ),
        ("logging", 200, "<BucketLoggingStatus "),
        (
            "object-lock",
            404,
            "<Code>ObjectLockConfigurationNotFoundError</Code>",
        ),
        (
            "ownershipControls",
            200,
            "<ObjectOwnership>BucketOwnerEnforced</ObjectOwnership>",
        ),
        ("policy", 404, "<Code>NoSuchBucketPolicy</Code>"),
        (
            "publicAccessBlock",
            404,
            "<Code>NoSuchPublicAccessBlockConfiguration</Code>",
        ),
        (
            "replication",
            404,
            "<Code>ReplicationConfigurationNotFoundError</Code>",
        ),
        ("requestPayment", 200, "<Payer>BucketOwner</Payer>"),
        ("tagging", 404, "<Code>NoSuchTagSet</Code>"),
        ("versioning", 200, "<VersioningConfiguration "),
    ] {
        let answer = send(Request::new("GET", &format!("/{name}?{parameter}")));
        let body = answer.text();
        assert_eq!(answer.status, status, "{parameter}: {body}");
        assert!(body.contains(text), "{parameter}: {body}");
        let absent = send(Request::new(
            "GET",
            &format!("/settings-absent?{parameter}"),
        ));
        let body = absent.text();
        assert!(
            body.contains("<Code>NoSuchBucket</Code>"),
            "{parameter}: {body}"
        );
    }
}

/// The SDK reads the documents, so they are AWS's.
#[tokio::test]
async fn the_sdk_reads_what_is_there() {
    let (client, name) = bucket("settings-sdk").await;
    let list = client.get_bucket_acl().bucket(&name).send().await;
    let list = list.expect("an access list");
    let grants = list.grants();
    let grantee = grants[0].grantee().expect("a grantee");
    assert_eq!(grants.len(), 1);
    assert_eq!(grantee.r#type().as_str(), "CanonicalUser");
    assert_eq!(grantee.id(), list.owner().expect("an owner").id());
    let versioning = client.get_bucket_versioning().bucket(&name).send().await;
    assert_eq!(versioning.expect("an answer").status(), None);
}

#[tokio::test]
async fn the_tags_of_a_bucket_are_kept() {
    let (client, name) = bucket("settings-tags").await;
    let tag = |key: &str, value: &str| Tag::builder().key(key).value(value).build().unwrap();
    for tags in [
        vec![tag("team", "storage + more"), tag("stage", "")],
        vec![tag("one", "1")],
    ] {
        let set = Tagging::builder().set_tag_set(Some(tags.clone()));
        let put = client.put_bucket_tagging().bucket(&name);
        put.tagging(set.build().unwrap()).send().await.unwrap();
        let found = client.get_bucket_tagging().bucket(&name).send().await;
        assert_eq!(found.unwrap().tag_set(), tags);
    }
    let twice = Tagging::builder().set_tag_set(Some(vec![tag("a", "1"), tag("a", "2")]));
    let put = client.put_bucket_tagging().bucket(&name);
    let refused = put.tagging(twice.build().unwrap()).send().await;
    assert_eq!(failure(refused), code(400, "InvalidTag"));
    for _ in 0..2 {
        let delete = client.delete_bucket_tagging().bucket(&name);
        delete.send().await.unwrap();
        let found = client.get_bucket_tagging().bucket(&name).send().await;
        assert_eq!(failure(found), code(404, "NoSuchTagSet"));
    }
}
