//! Every operation that docs/S3.md marks as not implemented, sent to a server.

use super::assert_not_implemented;
use crate::{bucket, keys, put, send, shared};
use std::collections::BTreeSet;
use strata_tests::http::Request;
use strata_tests::tidy::tree;

/// AWS's name, the method, and the target with what tells the operation apart; `{bucket}` is a
/// bucket with an object `k`. Two names of one request are the older and the newer form of it.
const MISSING: &[(&str, &str, &str)] = &[
    (
        "CreateBucketMetadataConfiguration",
        "POST",
        "/{bucket}?metadataConfiguration",
    ),
    (
        "CreateBucketMetadataTableConfiguration",
        "POST",
        "/{bucket}?metadataTable",
    ),
    ("CreateSession", "GET", "/{bucket}?session"),
    (
        "DeleteBucketAnalyticsConfiguration",
        "DELETE",
        "/{bucket}?analytics&id=a",
    ),
    ("DeleteBucketCors", "DELETE", "/{bucket}?cors"),
    ("DeleteBucketEncryption", "DELETE", "/{bucket}?encryption"),
    (
        "DeleteBucketIntelligentTieringConfiguration",
        "DELETE",
        "/{bucket}?intelligent-tiering&id=a",
    ),
    (
        "DeleteBucketInventoryConfiguration",
        "DELETE",
        "/{bucket}?inventory&id=a",
    ),
    ("DeleteBucketLifecycle", "DELETE", "/{bucket}?lifecycle"),
    (
        "DeleteBucketMetadataConfiguration",
        "DELETE",
        "/{bucket}?metadataConfiguration",
    ),
    (
        "DeleteBucketMetadataTableConfiguration",
        "DELETE",
        "/{bucket}?metadataTable",
    ),
    (
        "DeleteBucketMetricsConfiguration",
        "DELETE",
        "/{bucket}?metrics&id=a",
    ),
    (
        "DeleteBucketOwnershipControls",
        "DELETE",
        "/{bucket}?ownershipControls",
    ),
    ("DeleteBucketPolicy", "DELETE", "/{bucket}?policy"),
    ("DeleteBucketReplication", "DELETE", "/{bucket}?replication"),
    ("DeleteBucketTagging", "DELETE", "/{bucket}?tagging"),
    ("DeleteBucketWebsite", "DELETE", "/{bucket}?website"),
    ("DeleteObjectTagging", "DELETE", "/{bucket}/k?tagging"),
    (
        "DeletePublicAccessBlock",
        "DELETE",
        "/{bucket}?publicAccessBlock",
    ),
    ("GetBucketAbac", "GET", "/{bucket}?abac"),
    (
        "GetBucketAccelerateConfiguration",
        "GET",
        "/{bucket}?accelerate",
    ),
    ("GetBucketAcl", "GET", "/{bucket}?acl"),
    (
        "GetBucketAnalyticsConfiguration",
        "GET",
        "/{bucket}?analytics&id=a",
    ),
    ("GetBucketCors", "GET", "/{bucket}?cors"),
    ("GetBucketEncryption", "GET", "/{bucket}?encryption"),
    (
        "GetBucketIntelligentTieringConfiguration",
        "GET",
        "/{bucket}?intelligent-tiering&id=a",
    ),
    (
        "GetBucketInventoryConfiguration",
        "GET",
        "/{bucket}?inventory&id=a",
    ),
    ("GetBucketLifecycle", "GET", "/{bucket}?lifecycle"),
    (
        "GetBucketLifecycleConfiguration",
        "GET",
        "/{bucket}?lifecycle",
    ),
    ("GetBucketLogging", "GET", "/{bucket}?logging"),
    (
        "GetBucketMetadataConfiguration",
        "GET",
        "/{bucket}?metadataConfiguration",
    ),
    (
        "GetBucketMetadataTableConfiguration",
        "GET",
        "/{bucket}?metadataTable",
    ),
    (
        "GetBucketMetricsConfiguration",
        "GET",
        "/{bucket}?metrics&id=a",
    ),
    ("GetBucketNotification", "GET", "/{bucket}?notification"),
    (
        "GetBucketNotificationConfiguration",
        "GET",
        "/{bucket}?notification",
    ),
    (
        "GetBucketOwnershipControls",
        "GET",
        "/{bucket}?ownershipControls",
    ),
    ("GetBucketPolicy", "GET", "/{bucket}?policy"),
    ("GetBucketPolicyStatus", "GET", "/{bucket}?policyStatus"),
    ("GetBucketReplication", "GET", "/{bucket}?replication"),
    ("GetBucketRequestPayment", "GET", "/{bucket}?requestPayment"),
    ("GetBucketTagging", "GET", "/{bucket}?tagging"),
    ("GetBucketVersioning", "GET", "/{bucket}?versioning"),
    ("GetBucketWebsite", "GET", "/{bucket}?website"),
    ("GetObjectAcl", "GET", "/{bucket}/k?acl"),
    ("GetObjectLegalHold", "GET", "/{bucket}/k?legal-hold"),
    ("GetObjectLockConfiguration", "GET", "/{bucket}?object-lock"),
    ("GetObjectRetention", "GET", "/{bucket}/k?retention"),
    ("GetObjectTorrent", "GET", "/{bucket}/k?torrent"),
    ("GetPublicAccessBlock", "GET", "/{bucket}?publicAccessBlock"),
    (
        "ListBucketAnalyticsConfigurations",
        "GET",
        "/{bucket}?analytics",
    ),
    (
        "ListBucketIntelligentTieringConfigurations",
        "GET",
        "/{bucket}?intelligent-tiering",
    ),
    (
        "ListBucketInventoryConfigurations",
        "GET",
        "/{bucket}?inventory",
    ),
    (
        "ListBucketMetricsConfigurations",
        "GET",
        "/{bucket}?metrics",
    ),
    ("ListDirectoryBuckets", "GET", "/?x-id=ListDirectoryBuckets"),
    ("ListObjectVersions", "GET", "/{bucket}?versions"),
    ("PostObject", "POST", "/{bucket}"),
    ("PutBucketAbac", "PUT", "/{bucket}?abac"),
    (
        "PutBucketAccelerateConfiguration",
        "PUT",
        "/{bucket}?accelerate",
    ),
    ("PutBucketAcl", "PUT", "/{bucket}?acl"),
    (
        "PutBucketAnalyticsConfiguration",
        "PUT",
        "/{bucket}?analytics&id=a",
    ),
    ("PutBucketCors", "PUT", "/{bucket}?cors"),
    ("PutBucketEncryption", "PUT", "/{bucket}?encryption"),
    (
        "PutBucketIntelligentTieringConfiguration",
        "PUT",
        "/{bucket}?intelligent-tiering&id=a",
    ),
    (
        "PutBucketInventoryConfiguration",
        "PUT",
        "/{bucket}?inventory&id=a",
    ),
    ("PutBucketLifecycle", "PUT", "/{bucket}?lifecycle"),
    (
        "PutBucketLifecycleConfiguration",
        "PUT",
        "/{bucket}?lifecycle",
    ),
    ("PutBucketLogging", "PUT", "/{bucket}?logging"),
    (
        "PutBucketMetricsConfiguration",
        "PUT",
        "/{bucket}?metrics&id=a",
    ),
    ("PutBucketNotification", "PUT", "/{bucket}?notification"),
    (
        "PutBucketNotificationConfiguration",
        "PUT",
        "/{bucket}?notification",
    ),
    (
        "PutBucketOwnershipControls",
        "PUT",
        "/{bucket}?ownershipControls",
    ),
    ("PutBucketPolicy", "PUT", "/{bucket}?policy"),
    ("PutBucketReplication", "PUT", "/{bucket}?replication"),
    ("PutBucketRequestPayment", "PUT", "/{bucket}?requestPayment"),
    ("PutBucketTagging", "PUT", "/{bucket}?tagging"),
    ("PutBucketVersioning", "PUT", "/{bucket}?versioning"),
    ("PutBucketWebsite", "PUT", "/{bucket}?website"),
    ("PutObjectAcl", "PUT", "/{bucket}/k?acl"),
    ("PutObjectLegalHold", "PUT", "/{bucket}/k?legal-hold"),
    ("PutObjectLockConfiguration", "PUT", "/{bucket}?object-lock"),
    ("PutObjectRetention", "PUT", "/{bucket}/k?retention"),
    ("PutObjectTagging", "PUT", "/{bucket}/k?tagging"),
    ("PutPublicAccessBlock", "PUT", "/{bucket}?publicAccessBlock"),
    ("RenameObject", "PUT", "/{bucket}/k?renameObject"),
    ("RestoreObject", "POST", "/{bucket}/k?restore"),
    (
        "SelectObjectContent",
        "POST",
        "/{bucket}/k?select&select-type=2",
    ),
    (
        "UpdateBucketMetadataInventoryTableConfiguration",
        "PUT",
        "/{bucket}?metadataInventoryTable",
    ),
    (
        "UpdateBucketMetadataJournalTableConfiguration",
        "PUT",
        "/{bucket}?metadataJournalTable",
    ),
    ("UpdateObjectEncryption", "PUT", "/{bucket}/k?encryption"),
    ("WriteGetObjectResponse", "POST", "/WriteGetObjectResponse"),
];

/// What an operation needs beside method and target to be told apart.
const NEEDS: &[(&str, &str, &str)] = &[
    (
        "PostObject",
        "content-type",
        "multipart/form-data; boundary=b",
    ),
    ("RenameObject", "x-amz-rename-source", "/{bucket}/k"),
];

/// The names in the rows of the matrix that are not implemented.
fn rows_not_implemented(document: &str) -> Vec<&str> {
    let (_, operations) = document
        .split_once("\n## Operations\n")
        .expect("the matrix");
    let operations = operations.split("\n## ").next().unwrap_or(operations);
    let rows = operations.lines().filter_map(|line| {
        let mut cells = line.strip_prefix("| ")?.split(" | ");
        let (names, state) = (cells.next()?, cells.next()?);
        (state == "NotImplemented").then_some(names)
    });
    rows.flat_map(|names| names.split(", ")).collect()
}

#[test]
fn the_matrix_lists_what_is_tried() {
    let document = std::fs::read_to_string(tree::root().join("docs/S3.md")).expect("docs/S3.md");
    let listed = rows_not_implemented(&document);
    let tried: BTreeSet<&str> = MISSING.iter().map(|(name, ..)| *name).collect();
    assert_eq!(listed.len(), tried.len(), "a name stands in two rows");
    assert_eq!(BTreeSet::from_iter(listed), tried);
}

fn request(bucket: &str, name: &str, method: &str, target: &str) -> Request {
    let request = Request::new(method, &target.replace("{bucket}", bucket));
    let needs = NEEDS.iter().filter(|(of, ..)| *of == name);
    needs.fold(request, |request, (_, header, value)| {
        request.header(header, value.replace("{bucket}", bucket))
    })
}

#[tokio::test]
async fn what_the_matrix_says_is_missing_is_refused_by_its_name() {
    let (client, name) = bucket("refusals-matrix").await;
    put(&client, &name, "k", b"x").await;
    for (operation, method, target) in MISSING {
        let answer = send(request(&name, operation, method, target));
        assert_not_implemented(operation, &answer);
        let message = format!("<Message>The operation {operation}");
        assert!(
            answer.text().contains(&message),
            "{operation}: {}",
            answer.text()
        );
    }
    assert_eq!(
        keys(&client, &name).await,
        ["k"],
        "nothing of this has written"
    );
    assert_eq!(crate::get(&client, &name, "k").await, b"x");
}

/// Where a method makes no operation of a subresource, it must not be taken for the whole bucket
/// or object: a DELETE of `?policyStatus` deletes nothing.
#[tokio::test]
async fn a_subresource_with_another_method_does_nothing() {
    let (client, name) = bucket("refusals-methods").await;
    put(&client, &name, "k", b"x").await;
    let with_a_query = MISSING
        .iter()
        .filter(|(.., target)| target.starts_with("/{bucket}") && target.contains('?'));
    let targets: BTreeSet<&str> = with_a_query.map(|(.., target)| *target).collect();
    for target in targets {
        for method in ["GET", "HEAD", "PUT", "POST", "DELETE"] {
            // Served: the set of tags, which is empty.
            if (method, target) == ("GET", "/{bucket}/k?tagging") {
                continue;
            }
            let answer = send(request(&name, "", method, target));
            let status = answer.status;
            assert!(
                matches!(status, 405 | 501),
                "{method} {target}: {status} {}",
                answer.text()
            );
            assert!(
                status == 501 || method == "POST",
                "{method} {target}: {status}"
            );
        }
    }
    assert_eq!(
        keys(&client, &name).await,
        ["k"],
        "nothing of this has written"
    );
    assert_eq!(crate::get(&client, &name, "k").await, b"x");
}

#[tokio::test]
async fn what_has_no_signature_by_its_nature_is_told_so() {
    let (_, name) = bucket("refusals-unsigned").await;
    let form = "--b\r\ncontent-disposition: form-data; name=\"key\"\r\n\r\nk\r\n--b--\r\n";
    let post = Request::new("POST", &format!("/{name}"))
        .header("content-type", "multipart/form-data; boundary=b")
        .body(form);
    let preflight = |target: &str| {
        Request::new("OPTIONS", target)
            .header("origin", "http://example.com")
            .header("access-control-request-method", "PUT")
    };
    for request in [
        post,
        preflight(&format!("/{name}")),
        preflight(&format!("/{name}/k")),
    ] {
        let answer = request.send(shared().s3()).expect("an answer");
        assert_not_implemented(&request.method, &answer);
    }
}

#[tokio::test]
async fn a_bucket_in_the_name_of_the_host_makes_no_bucket_of_the_key() {
    let (client, name) = bucket("refusals-host").await;
    let host = format!("{name}.localhost:{}", shared().s3().port());
    for method in ["PUT", "GET", "DELETE"] {
        let answer = send(Request::new(method, "/refusals-photo").header("host", &*host));
        assert_not_implemented(method, &answer);
    }
    let made = client.head_bucket().bucket("refusals-photo").send().await;
    assert_eq!(crate::failure(made).0, 404);
    let plain = format!("localhost:{}", shared().s3().port());
    let served = send(Request::new("HEAD", &format!("/{name}")).header("host", &*plain));
    assert_eq!(served.status, 200);
}
