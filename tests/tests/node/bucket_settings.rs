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

/// AWS's user guide of S3, "Controlling ownership of objects and disabling ACLs for your bucket".
#[tokio::test]
async fn a_bucket_says_whose_its_objects_are_and_whether_lists_count() {
    let (client, name) = bucket("settings-ownership").await;
    let target = format!("/{name}?ownershipControls");
    let controls = |rule: &str| {
        let rule = format!("<Rule><ObjectOwnership>{rule}</ObjectOwnership></Rule>");
        let body = format!("<OwnershipControls>{rule}</OwnershipControls>");
        send(Request::new("PUT", &target).body(body))
    };
    let list = |header: &str, value: &str| {
        let request = Request::new("PUT", &format!("/{name}/k")).body("x");
        let answer = send(request.header(header, value));
        let text = answer.text();
        let rest = text.split_once("<Code>").map_or("", |(_, rest)| rest);
        let found = rest.split_once("</Code>").map_or("", |(code, _)| code);
        code(answer.status, found)
    };
    let public = || list("x-amz-acl", "public-read");
    assert_eq!(public(), code(400, "AccessControlListNotSupported"));
    let granted = list("x-amz-grant-read", "id=1");
    assert_eq!(granted, code(400, "AccessControlListNotSupported"));
    for own in ["private", "bucket-owner-full-control"] {
        assert_eq!(list("x-amz-acl", own), code(200, ""));
    }
    assert_eq!(list("x-amz-acl", "everybody"), code(400, "InvalidArgument"));
    for rule in [
        "BucketOwnerPreferred",
        "ObjectWriter",
        "BucketOwnerEnforced",
    ] {
        assert_eq!(controls(rule).status, 200);
        let found = client.get_bucket_ownership_controls().bucket(&name);
        let found = found.send().await.expect("controls");
        let rules = found.ownership_controls().expect("controls").rules();
        assert_eq!(rules[0].object_ownership().as_str(), rule);
        let expected = match rule {
            "BucketOwnerEnforced" => code(400, "AccessControlListNotSupported"),
            _ => code(200, ""),
        };
        assert_eq!(public(), expected, "{rule}");
    }
    assert_eq!(controls("Nobody").status, 400);
    for _ in 0..2 {
        let delete = client.delete_bucket_ownership_controls().bucket(&name);
        delete.send().await.expect("deleted");
        let none = client.get_bucket_ownership_controls().bucket(&name);
        let none = failure(none.send().await);
        assert_eq!(none, code(404, "OwnershipControlsNotFoundError"));
    }
    assert_eq!(public(), code(200, ""));
}

#[tokio::test]
async fn a_bucket_is_made_with_its_ownership() {
    const OWNERSHIP: &str = "x-amz-object-ownership";
    let make = |name: &str, headers: &[(&str, &str)]| {
        let request = Request::new("PUT", &format!("/{name}"));
        let add = |request: Request, (name, value): &(&str, &str)| request.header(name, *value);
        send(headers.iter().fold(request, add))
    };
    for rule in [
        "BucketOwnerPreferred",
        "ObjectWriter",
        "BucketOwnerEnforced",
    ] {
        let name = format!("settings-made-{}", rule.to_ascii_lowercase());
        let made = make(&name, &[(OWNERSHIP, rule), ("x-amz-acl", "private")]);
        assert_eq!(made.status, 200, "{}", made.text());
        let found = send(Request::new("GET", &format!("/{name}?ownershipControls")));
        assert!(found.text().contains(rule), "{}", found.text());
    }
    for (headers, status, error) in [
        (&[(OWNERSHIP, "Nobody")][..], 400, "InvalidArgument"),
        (
            &[("x-amz-acl", "public-read")],
            400,
            "InvalidBucketAclWithObjectOwnership",
        ),
        (
            &[("x-amz-acl", "everybody"), (OWNERSHIP, "ObjectWriter")],
            400,
            "InvalidArgument",
        ),
    ] {
        let refused = make("settings-made-not", headers);
        let text = refused.text();
        assert_eq!(refused.status, status, "{text}");
        assert!(text.contains(&format!("<Code>{error}</Code>")), "{text}");
    }
    let absent = send(Request::new("HEAD", "/settings-made-not"));
    assert_eq!(absent.status, 404, "nothing was made");
}
