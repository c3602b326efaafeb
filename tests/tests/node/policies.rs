//! Policies of buckets: AWS's user guide of S3, "Bucket policies" and "Blocking public access to your Amazon S3 storage", and the API reference of their operations.

use std::time::Duration;

use aws_sdk_s3::Client;
use aws_sdk_s3::presigning::PresigningConfig;
use strata_gateway::operation::{Addresses, Mark, OPERATIONS, Operation};
use strata_gateway::query::Query;
use strata_tests::http::{Request, Response};
use strata_tests::server::{Server, ServerOptions};
use strata_tests::signature::{Payload, sha256_base64};
use strata_tests::tls::Identity;

use crate::post_forms::SHORT_FORM;
use crate::refusals::missing_operations::request as request_for;
use crate::{bucket, code, failure, get, keys, put, send, send_to, shared};

/// A request without a signature.
fn unsigned(method: &str, target: &str) -> Response {
    let request = Request::new(method, target);
    request.send(shared().s3()).expect("an answer")
}

/// A policy of these statements, in which `BUCKET` stands for the bucket's ARN.
fn policy(bucket: &str, statements: &[&str]) -> String {
    let statements = statements.join(",");
    let text = format!("{{\"Version\":\"2012-10-17\",\"Statement\":[{statements}]}}");
    text.replace("BUCKET", &format!("arn:aws:s3:::{bucket}"))
}

async fn set(client: &Client, bucket: &str, statements: &[&str]) {
    let put = client.put_bucket_policy().bucket(bucket);
    let put = put.policy(policy(bucket, statements)).send().await;
    put.unwrap_or_else(|error| panic!("{statements:?}: {error:?}"));
}

fn assert_denied(answer: &Response, what: &str) {
    let text = answer.text();
    assert_eq!(answer.status, 403, "{what}: {text}");
    let says_it = text.contains("<Code>AccessDenied</Code>");
    assert!(says_it || text.is_empty(), "{what}: {text}");
}

const READ_PUBLIC: &str = r#"{"Sid":"public","Effect":"Allow","Principal":"*","Action":"s3:GetObject","Resource":"BUCKET/public/*"}"#;
const LIST: &str =
    r#"{"Effect":"Allow","Principal":"*","Action":"s3:ListBucket","Resource":"BUCKET"}"#;
const ALL: &str =
    r#"{"Effect":"Allow","Principal":"*","Action":"s3:*","Resource":["BUCKET","BUCKET/*"]}"#;

/// Goes through the table of operations, so that none can be forgotten.
#[tokio::test]
async fn every_served_operation_is_refused_to_an_anonymous_caller() {
    let (client, name) = bucket("policies-none").await;
    put(&client, &name, "k", b"x").await;
    let mut count = 0;
    for operation in OPERATIONS.iter().filter(|row| row.handler.is_some()) {
        let request = request_for(&name, operation);
        let body = match operation.marks.contains(&Mark::Form) {
            true => SHORT_FORM,
            false => "x",
        };
        let answer = request.body(body).send(shared().s3()).expect("an answer");
        assert_denied(&answer, operation.name);
        count += 1;
    }
    assert!(count > 40, "only {count} operations are served");
    assert_eq!(keys(&client, &name).await, ["k"]);
    assert_eq!(get(&client, &name, "k").await, b"x");
    // That a bucket is not there is told to everybody, as with AWS.
    let answer = unsigned("GET", "/policies-nowhere/k");
    assert_eq!(answer.status, 404);
    assert!(answer.text().contains("<Code>NoSuchBucket</Code>"));
    assert_denied(&unsigned("PUT", "/policies-nowhere"), "CreateBucket");
}

#[tokio::test]
async fn a_policy_opens_a_prefix_to_everybody() {
    let (client, name) = bucket("policies-prefix").await;
    put(&client, &name, "public/a", b"public").await;
    put(&client, &name, "private/a", b"private").await;
    let target = |key: &str| format!("/{name}/{key}");
    assert_denied(&unsigned("GET", &target("public/a")), "no policy");
    set(&client, &name, &[READ_PUBLIC]).await;
    let answer = unsigned("GET", &target("public/a"));
    assert_eq!((answer.status, &*answer.body), (200, &b"public"[..]));
    assert_eq!(unsigned("HEAD", &target("public/a")).status, 200);
    assert_denied(&unsigned("GET", &target("private/a")), "outside");
    assert_denied(&unsigned("DELETE", &target("public/a")), "a delete");
    assert_denied(&unsigned("GET", &format!("/{name}")), "a list");
    assert_denied(&unsigned("GET", &format!("/{name}?policy")), "the policy");
    // Versions need leave of their own, and who may not list is not told what is there.
    let version = format!("{}?versionId=null", target("public/a"));
    assert_denied(&unsigned("GET", &version), "a version");
    for method in ["GET", "HEAD"] {
        assert_denied(
            &unsigned(method, &target("public/none")),
            "a key that is not there",
        );
    }
    let prefixed = format!("{}?prefix=public/", target("public/none"));
    assert_denied(
        &unsigned("GET", &prefixed),
        "a parameter of another operation",
    );
    set(&client, &name, &[READ_PUBLIC, LIST]).await;
    let answer = unsigned("GET", &target("public/none"));
    assert_eq!(answer.status, 404, "{}", answer.text());
    assert!(
        unsigned("GET", &format!("/{name}"))
            .text()
            .contains("private/a")
    );
    let deleted = client.delete_bucket_policy().bucket(&name).send().await;
    deleted.expect("deleted");
    assert_denied(&unsigned("GET", &target("public/a")), "no policy any more");
}

#[tokio::test]
async fn a_deny_beats_an_allow_and_binds_the_root() {
    let (client, name) = bucket("policies-deny").await;
    put(&client, &name, "a", b"x").await;
    put(&client, &name, "secret", b"x").await;
    let deny = r#"{"Sid":"no-secrets","Effect":"Deny","Principal":"*","Action":"s3:*","Resource":"BUCKET/secret*"}"#;
    set(&client, &name, &[ALL, deny]).await;
    assert_eq!(unsigned("GET", &format!("/{name}/a")).status, 200);
    assert_denied(&unsigned("GET", &format!("/{name}/secret")), "anonymous");
    let refused = client.get_object().bucket(&name).key("secret");
    assert_eq!(failure(refused.send().await), code(403, "AccessDenied"));
    let answer = send(Request::new("GET", &format!("/{name}/secret")));
    let says = "is not authorized to perform: s3:GetObject on resource: ";
    assert!(answer.text().contains(says), "{}", answer.text());
    assert!(
        answer
            .text()
            .contains("with an explicit deny in a resource-based policy")
    );
    // Nothing but the policy itself is left to the root; nobody else may touch that, whatever the policy says.
    let deny =
        r#"{"Effect":"Deny","Principal":"*","Action":"s3:*","Resource":["BUCKET","BUCKET/*"]}"#;
    set(&client, &name, &[deny]).await;
    let list = client.list_objects_v2().bucket(&name).send().await;
    assert_eq!(failure(list), code(403, "AccessDenied"));
    let stored = client.get_bucket_policy().bucket(&name).send().await;
    assert_eq!(
        stored.expect("a policy").policy(),
        Some(&*policy(&name, &[deny]))
    );
    set(&client, &name, &[ALL]).await;
    assert_eq!(keys(&client, &name).await, ["a", "secret"]);
    for method in ["GET", "PUT", "DELETE"] {
        let answer = unsigned(method, &format!("/{name}?policy"));
        assert_eq!(answer.status, 405, "{method}: {}", answer.text());
    }
    set(&client, &name, &[deny]).await;
    let deleted = client.delete_bucket_policy().bucket(&name).send().await;
    deleted.expect("deleted");
    assert_eq!(keys(&client, &name).await, ["a", "secret"]);
}

#[tokio::test]
async fn conditions_are_of_the_request() {
    let (client, name) = bucket("policies-conditions").await;
    put(&client, &name, "home/a", b"x").await;
    let with = |action: &str, resource: &str, condition: &str| {
        format!(
            "{{\"Effect\":\"Allow\",\"Principal\":\"*\",\"Action\":\"{action}\",\"Resource\":\"{resource}\",\"Condition\":{{{condition}}}}}"
        )
    };
    let read = |condition: &str| with("s3:GetObject", "BUCKET/*", condition);
    let object = format!("/{name}/home/a");
    for (condition, status) in [
        (r#""IpAddress":{"aws:SourceIp":"127.0.0.0/8"}"#, 200),
        (r#""IpAddress":{"aws:SourceIp":"10.0.0.0/8"}"#, 403),
        (r#""NotIpAddress":{"aws:SourceIp":"127.0.0.1"}"#, 403),
        (r#""Bool":{"aws:SecureTransport":"false"}"#, 200),
        (r#""Bool":{"aws:SecureTransport":"true"}"#, 403),
        (r#""StringLike":{"aws:Referer":"https://a.example/*"}"#, 403),
        (r#""StringEquals":{"aws:PrincipalType":"Anonymous"}"#, 200),
        (
            r#""DateGreaterThan":{"aws:CurrentTime":"2020-01-01T00:00:00Z"}"#,
            200,
        ),
        (
            r#""DateLessThan":{"aws:CurrentTime":"2020-01-01T00:00:00Z"}"#,
            403,
        ),
        (
            r#""NumericGreaterThan":{"aws:EpochTime":"1577836800"}"#,
            200,
        ),
        (r#""Null":{"s3:authType":"true"}"#, 200),
        (r#""StringEquals":{"s3:ExistingObjectTag/team":"a"}"#, 403),
    ] {
        set(&client, &name, &[&read(condition)]).await;
        assert_eq!(unsigned("GET", &object).status, status, "{condition}");
    }
    set(
        &client,
        &name,
        &[&read(
            r#""StringLike":{"aws:Referer":"https://a.example/*"}"#,
        )],
    )
    .await;
    for (referer, status) in [("https://a.example/page", 200), ("https://b.example/", 403)] {
        let request = Request::new("GET", &object).header("referer", referer);
        let answer = request.send(shared().s3()).expect("an answer");
        assert_eq!(answer.status, status, "{referer}");
    }
    let list =
        r#""StringLike":{"s3:prefix":["","home/*"]},"NumericLessThanEquals":{"s3:max-keys":"10"}"#;
    set(&client, &name, &[&with("s3:ListBucket", "BUCKET", list)]).await;
    for (query, status) in [
        ("prefix=home/a&max-keys=10", 200),
        ("prefix=&max-keys=1", 200),
        ("prefix=home/a&max-keys=11", 403),
        ("prefix=home/a", 403),
        ("prefix=away/&max-keys=1", 403),
        ("max-keys=1", 403),
        ("list-type=2&prefix=home/&max-keys=1", 200),
    ] {
        let answer = unsigned("GET", &format!("/{name}?{query}"));
        assert_eq!(answer.status, status, "{query}");
    }
    // An empty parameter is none, to the policy as to the listing.
    let said = r#""Null":{"s3:max-keys":"false","s3:delimiter":"false"}"#;
    set(&client, &name, &[&with("s3:ListBucket", "BUCKET", said)]).await;
    for (query, status) in [
        ("max-keys=1&delimiter=/", 200),
        ("max-keys=&delimiter=/", 403),
        ("max-keys=1&delimiter=", 403),
    ] {
        let answer = unsigned("GET", &format!("/{name}?{query}"));
        assert_eq!(answer.status, status, "{query}");
    }
    // A signed request tells more: a Deny binds the root where its signature is of the wrong kind.
    let deny = r#"{"Effect":"Deny","Principal":"*","Action":"s3:GetObject","Resource":"BUCKET/*","Condition":{"StringNotEquals":{"s3:authType":"REST-QUERY-STRING"}}}"#;
    set(&client, &name, &[deny]).await;
    assert_eq!(send(Request::new("GET", &object)).status, 403);
    let hour = PresigningConfig::expires_in(Duration::from_secs(3600)).expect("an hour");
    let presigned = client.get_object().bucket(&name).key("home/a");
    let presigned = presigned.presigned(hour).await.expect("presigned");
    let (_, target) = presigned.uri().split_once(&name).expect("a path");
    let answer = unsigned("GET", &format!("/{name}{target}"));
    assert_eq!(answer.status, 200, "{}", answer.text());
}

#[tokio::test]
async fn tags_of_objects_and_of_requests_count() {
    let (client, name) = bucket("policies-tags").await;
    for (key, tags) in [("open", "team=a"), ("closed", "team=b"), ("plain", "")] {
        let put = client.put_object().bucket(&name).key(key).tagging(tags);
        put.send().await.expect("put");
    }
    let allow = |actions: &str, condition: &str| {
        format!(
            r#"{{"Effect":"Allow","Principal":"*","Action":[{actions}],"Resource":"BUCKET/*","Condition":{{"StringEquals":{{{condition}}}}}}}"#
        )
    };
    let reads = allow(
        r#""s3:GetObject","s3:GetObjectTagging","s3:PutObjectTagging""#,
        r#""s3:ExistingObjectTag/team":"a""#,
    );
    let puts = allow(r#""s3:PutObject""#, r#""s3:RequestObjectTag/team":"a""#);
    let deny = r#"{"Effect":"Deny","Principal":"*","Action":"s3:PutObjectTagging","Resource":"BUCKET/*","Condition":{"ForAnyValue:StringNotEquals":{"s3:RequestObjectTagKeys":["team","other"]}}}"#;
    let tagged = r#"{"Effect":"Allow","Principal":"*","Action":"s3:PutObjectTagging","Resource":"BUCKET/new"}"#;
    set(&client, &name, &[&reads, &puts, deny, tagged]).await;
    let target = |key: &str| format!("/{name}/{key}");
    assert_eq!(unsigned("GET", &target("open")).status, 200);
    assert_eq!(unsigned("GET", &target("open?tagging")).status, 200);
    for key in ["closed", "plain", "closed?tagging", "absent"] {
        assert_denied(&unsigned("GET", &target(key)), key);
    }
    let put = |tags: Option<&str>| {
        let mut request = Request::new("PUT", &target("new")).body("x");
        if let Some(tags) = tags {
            request = request.header("x-amz-tagging", tags);
        }
        request.send(shared().s3()).expect("an answer")
    };
    assert_denied(&put(None), "no tags");
    assert_denied(&put(Some("team=b")), "another team");
    assert_eq!(put(Some("team=a")).status, 200);

    // The tags of a document are judged when it was read.
    let document = |key: &str, tag: &str| {
        let xml = format!(
            "<Tagging><TagSet><Tag><Key>{tag}</Key><Value>1</Value></Tag></TagSet></Tagging>"
        );
        let request = Request::new("PUT", &target(key)).body(xml);
        request.send(shared().s3()).expect("an answer")
    };
    assert_denied(&document("open?tagging", "foreign"), "a key that is denied");
    assert_denied(&document("closed?tagging", "other"), "tags of another team");
    assert_eq!(document("open?tagging", "other").status, 200);
    assert_denied(&unsigned("GET", &target("open")), "it has lost its tag");

    // A copy that takes over tags reads and writes them; one with its own is judged by these.
    let copy = |from: &str, headers: &[(&str, &str)]| {
        let source = format!("{name}/{from}");
        let mut request = Request::new("PUT", &target("new")).header("x-amz-copy-source", &source);
        for (header, value) in headers {
            request = request.header(header, *value);
        }
        request.send(shared().s3()).expect("an answer")
    };
    put_tagged(&client, &name, "source").await;
    assert_denied(
        &copy("source", &[("x-amz-tagging", "team=a")]),
        "the header does not count without its directive",
    );
    let own = [
        ("x-amz-tagging", "team=a"),
        ("x-amz-tagging-directive", "REPLACE"),
    ];
    assert_eq!(copy("source", &own).status, 200);
    let all = allow(r#""s3:GetObject""#, r#""s3:ExistingObjectTag/team":"a""#);
    let write = r#"{"Effect":"Allow","Principal":"*","Action":["s3:PutObject","s3:PutObjectTagging"],"Resource":"BUCKET/*"}"#;
    set(&client, &name, &[&all, write]).await;
    assert_denied(&copy("source", &[]), "its tags may not be read");
    assert_eq!(copy("source", &own).status, 200);
}

async fn put_tagged(client: &Client, bucket: &str, key: &str) {
    let put = client.put_object().bucket(bucket).key(key);
    put.tagging("team=a").send().await.expect("put");
}

#[tokio::test]
async fn each_key_and_each_source_is_judged() {
    let (client, name) = bucket("policies-keys").await;
    for key in ["public/a", "public/b", "private/a"] {
        put(&client, &name, key, key.as_bytes()).await;
    }
    let write = r#"{"Effect":"Allow","Principal":"*","Action":["s3:PutObject","s3:DeleteObject"],"Resource":"BUCKET/public/*"}"#;
    set(&client, &name, &[write]).await;
    let copy = |from: &str| {
        let request = Request::new("PUT", &format!("/{name}/public/copy"));
        let request = request.header("x-amz-copy-source", format!("/{name}/{from}"));
        request.send(shared().s3()).expect("an answer")
    };
    assert_denied(&copy("public/a"), "a source that may not be read");
    set(&client, &name, &[write, READ_PUBLIC]).await;
    assert_eq!(copy("public/a").status, 200);
    assert_denied(&copy("private/a"), "another source");
    assert_denied(&copy("public/none"), "a source that is not there");
    assert_eq!(get(&client, &name, "public/copy").await, b"public/a");
    let sources = r#"{"Effect":"Deny","Principal":"*","Action":"s3:PutObject","Resource":"BUCKET/*","Condition":{"StringNotLike":{"s3:x-amz-copy-source":"policies-keys/public/b"}}}"#;
    set(&client, &name, &[write, READ_PUBLIC, sources]).await;
    assert_denied(&copy("public/a"), "a source that is not the one");
    assert_eq!(copy("public/b").status, 200);
    set(&client, &name, &[write]).await;
    let object = |key: &str, more: &str| format!("<Object><Key>{key}</Key>{more}</Object>");
    let body = [
        object("public/a", ""),
        object("private/a", ""),
        object("public/b", "<VersionId>null</VersionId>"),
        object("public/copy", "<ETag>*</ETag>"),
    ];
    let body = format!("<Delete>{}</Delete>", body.concat());
    let request = Request::new("POST", &format!("/{name}?delete"));
    let request = request.header("x-amz-checksum-sha256", sha256_base64(body.as_bytes()));
    let answer = request.body(body).send(shared().s3()).expect("an answer");
    let text = answer.text();
    assert_eq!(answer.status, 200, "{text}");
    assert_eq!(
        text.matches("<Code>AccessDenied</Code>").count(),
        3,
        "{text}"
    );
    assert_eq!(
        keys(&client, &name).await,
        ["private/a", "public/b", "public/copy"]
    );
    let upload = unsigned("POST", &format!("/{name}/public/c?uploads"));
    assert_denied(&upload, "an anonymous upload");
    assert!(
        upload
            .text()
            .contains("Anonymous users cannot initiate multipart uploads")
    );
    // What else a request asks for needs leave of its own.
    for (header, value) in [("x-amz-acl", "private"), ("if-match", "*")] {
        let request = Request::new("PUT", &format!("/{name}/public/d")).body("x");
        let answer = request.clone().send(shared().s3()).expect("an answer");
        assert_eq!(answer.status, 200, "{}", answer.text());
        let answer = request.header(header, value).send(shared().s3());
        assert_denied(&answer.expect("an answer"), header);
    }
}

/// A request, and the actions that it needs, all of them: user guide of S3, "Required permissions for Amazon S3 API operations".
fn needing() -> Vec<(Request, &'static [&'static str])> {
    let request =
        |method: &str, target: &str| Request::new(method, &format!("/policies-needs{target}"));
    let copy = |from: &str| {
        let source = format!("/policies-needs/k{from}");
        request("PUT", "/copy").header("x-amz-copy-source", source)
    };
    let attributes =
        |target: &str| request("GET", target).header("x-amz-object-attributes", "ETag");
    let tags = "<Tagging><TagSet/></Tagging>";
    let cors = "<CORSConfiguration><CORSRule><AllowedOrigin>*</AllowedOrigin><AllowedMethod>GET</AllowedMethod></CORSRule></CORSConfiguration>";
    vec![
        (request("GET", ""), &["ListBucket"]),
        (request("GET", "?list-type=2"), &["ListBucket"]),
        (request("HEAD", ""), &["ListBucket"]),
        (request("GET", "?versions"), &["ListBucketVersions"]),
        (request("GET", "?uploads"), &["ListBucketMultipartUploads"]),
        (request("GET", "?location"), &["GetBucketLocation"]),
        (request("GET", "?acl"), &["GetBucketAcl"]),
        (request("GET", "?versioning"), &["GetBucketVersioning"]),
        (request("GET", "?policyStatus"), &["GetBucketPolicyStatus"]),
        (
            request("GET", "?publicAccessBlock"),
            &["GetBucketPublicAccessBlock"],
        ),
        (
            request("GET", "?encryption"),
            &["GetEncryptionConfiguration"],
        ),
        (request("GET", "?lifecycle"), &["GetLifecycleConfiguration"]),
        (request("PUT", "?tagging").body(tags), &["PutBucketTagging"]),
        (request("GET", "?tagging"), &["GetBucketTagging"]),
        (request("DELETE", "?tagging"), &["PutBucketTagging"]),
        (request("PUT", "?cors").body(cors), &["PutBucketCORS"]),
        (request("GET", "?cors"), &["GetBucketCORS"]),
        (request("DELETE", "?cors"), &["PutBucketCORS"]),
        (request("GET", "/k"), &["GetObject"]),
        (request("HEAD", "/k"), &["GetObject"]),
        (request("GET", "/k?versionId=null"), &["GetObjectVersion"]),
        (request("GET", "/k?tagging"), &["GetObjectTagging"]),
        (
            request("GET", "/k?tagging&versionId=null"),
            &["GetObjectVersionTagging"],
        ),
        (
            attributes("/k?attributes"),
            &["GetObjectAttributes", "GetObject"],
        ),
        (
            attributes("/k?attributes&versionId=null"),
            &["GetObjectVersionAttributes", "GetObjectVersion"],
        ),
        (request("PUT", "/p").body("x"), &["PutObject"]),
        (
            request("PUT", "/p")
                .header("x-amz-acl", "private")
                .body("x"),
            &["PutObject", "PutObjectAcl"],
        ),
        (
            request("PUT", "/p").header("if-match", "\"x\"").body("x"),
            &["PutObject", "GetObject"],
        ),
        (copy(""), &["PutObject", "GetObject"]),
        (copy("?versionId=null"), &["PutObject", "GetObjectVersion"]),
        (request("DELETE", "/p"), &["DeleteObject"]),
        (
            request("DELETE", "/p?versionId=null"),
            &["DeleteObjectVersion"],
        ),
        (
            request("DELETE", "/p").header("if-match", "\"x\""),
            &["DeleteObject", "GetObject"],
        ),
        (
            request("GET", "/k?uploadId=x"),
            &["ListMultipartUploadParts"],
        ),
        (
            request("DELETE", "/k?uploadId=x"),
            &["AbortMultipartUpload"],
        ),
        (
            request("PUT", "/k?uploadId=x&partNumber=1").body("x"),
            &["PutObject"],
        ),
    ]
}

/// As [`needing`]: settings, tags of objects, and parts.
fn more_needing() -> Vec<(Request, &'static [&'static str])> {
    let request =
        |method: &str, target: &str| Request::new(method, &format!("/policies-needs{target}"));
    let tags = "<Tagging><TagSet/></Tagging>";
    let block = "<PublicAccessBlockConfiguration/>";
    let ownership = "<OwnershipControls><Rule><ObjectOwnership>BucketOwnerEnforced</ObjectOwnership></Rule></OwnershipControls>";
    let parts = "<CompleteMultipartUpload><Part><PartNumber>1</PartNumber><ETag>x</ETag></Part></CompleteMultipartUpload>";
    let part_of = |source: &str| {
        request("PUT", "/k?uploadId=x&partNumber=1").header("x-amz-copy-source", source)
    };
    let complete = || request("POST", "/k?uploadId=x").body(parts);
    vec![
        (
            request("GET", "?accelerate"),
            &["GetAccelerateConfiguration"],
        ),
        (request("GET", "?logging"), &["GetBucketLogging"]),
        (
            request("GET", "?object-lock"),
            &["GetBucketObjectLockConfiguration"],
        ),
        (
            request("PUT", "?object-lock").body("<ObjectLockConfiguration/>"),
            &["PutBucketObjectLockConfiguration"],
        ),
        (request("GET", "/k?retention"), &["GetObjectRetention"]),
        (
            request("PUT", "/k?retention").body("<Retention/>"),
            &["PutObjectRetention"],
        ),
        (request("GET", "/k?legal-hold"), &["GetObjectLegalHold"]),
        (
            request("PUT", "/k?legal-hold").body("<LegalHold/>"),
            &["PutObjectLegalHold"],
        ),
        (
            request("PUT", "/p")
                .header("x-amz-object-lock-legal-hold", "ON")
                .body("x"),
            &["PutObject", "PutObjectLegalHold"],
        ),
        (
            request("PUT", "/p")
                .header("x-amz-object-lock-mode", "GOVERNANCE")
                .body("x"),
            &["PutObject", "PutObjectRetention"],
        ),
        (
            request("PUT", "?acl").header("x-amz-acl", "private"),
            &["PutBucketAcl"],
        ),
        (request("GET", "/k?acl"), &["GetObjectAcl"]),
        (
            request("GET", "/k?acl&versionId=null"),
            &["GetObjectVersionAcl"],
        ),
        (
            request("PUT", "/k?acl").header("x-amz-acl", "private"),
            &["PutObjectAcl"],
        ),
        (
            request("PUT", "/k?acl&versionId=null").header("x-amz-acl", "private"),
            &["PutObjectVersionAcl"],
        ),
        (
            request("PUT", "/p")
                .header("x-amz-grant-read", "id=1")
                .body("x"),
            &["PutObject", "PutObjectAcl"],
        ),
        (
            request("GET", "?ownershipControls"),
            &["GetBucketOwnershipControls"],
        ),
        (
            request("PUT", "?ownershipControls").body(ownership),
            &["PutBucketOwnershipControls"],
        ),
        (
            request("DELETE", "?ownershipControls"),
            &["PutBucketOwnershipControls"],
        ),
        (
            request("GET", "?replication"),
            &["GetReplicationConfiguration"],
        ),
        (
            request("GET", "?requestPayment"),
            &["GetBucketRequestPayment"],
        ),
        (request("GET", "?policy"), &["GetBucketPolicy"]),
        (request("PUT", "?policy").body("{}"), &["PutBucketPolicy"]),
        (request("DELETE", "?policy"), &["DeleteBucketPolicy"]),
        (
            request("PUT", "?versioning").body("<VersioningConfiguration/>"),
            &["PutBucketVersioning"],
        ),
        (
            request("PUT", "?publicAccessBlock").body(block),
            &["PutBucketPublicAccessBlock"],
        ),
        (
            request("DELETE", "?publicAccessBlock"),
            &["PutBucketPublicAccessBlock"],
        ),
        (
            request("POST", "")
                .header("content-type", "multipart/form-data; boundary=b")
                .body(SHORT_FORM),
            &["PutObject"],
        ),
        // It is not empty.
        (request("DELETE", ""), &["DeleteBucket"]),
        (
            request("PUT", "/k?tagging").body(tags),
            &["PutObjectTagging"],
        ),
        (
            request("PUT", "/k?tagging&versionId=null").body(tags),
            &["PutObjectVersionTagging"],
        ),
        (request("DELETE", "/k?tagging"), &["DeleteObjectTagging"]),
        (
            request("DELETE", "/k?tagging&versionId=null"),
            &["DeleteObjectVersionTagging"],
        ),
        (
            request("PUT", "/p")
                .header("x-amz-tagging", "a=b")
                .body("x"),
            &["PutObject", "PutObjectTagging"],
        ),
        (part_of("policies-needs/k"), &["PutObject", "GetObject"]),
        (
            part_of("policies-needs/k?versionId=null"),
            &["PutObject", "GetObjectVersion"],
        ),
        (complete(), &["PutObject"]),
        (
            complete().header("if-match", "\"x\""),
            &["PutObject", "GetObject"],
        ),
    ]
}

/// Served operations that a policy of a bucket gives nobody without a signature, or for each key alone: other tests are about them.
const NEEDING_OTHERWISE: &[&str] = &[
    "CreateBucket",
    "CreateMultipartUpload",
    "DeleteObjects",
    "ListBuckets",
];

/// Whether a row of the table is the one of a request, where no row before is.
fn is_of(row: &Operation, request: &Request) -> bool {
    let (path, query) = match request.target.split_once('?') {
        Some(parts) => parts,
        None => (&*request.target, ""),
    };
    let query = Query::parse(query).unwrap_or_else(|_| panic!("{query}"));
    let addresses = match path.trim_start_matches('/').contains('/') {
        true => Addresses::Object,
        false => Addresses::Bucket,
    };
    let is_here = |mark: &Mark| match mark {
        Mark::Query(name) => query.has(name),
        Mark::QueryIs(name, value) => query.get(name) == Some(value),
        Mark::Header(name) => request.has(name),
        Mark::Form => request.has("content-type"),
        Mark::Path(_) => false,
    };
    row.method == request.method && row.addresses == addresses && row.marks.iter().all(is_here)
}

/// A row that is served tomorrow needs a line above.
#[test]
fn every_served_operation_is_among_those_that_need() {
    let requests: Vec<Request> = needing()
        .into_iter()
        .chain(more_needing())
        .map(|(request, _)| request)
        .collect();
    let named = requests.iter().map(|request| {
        let row = OPERATIONS.iter().find(|row| is_of(row, request));
        row.unwrap_or_else(|| panic!("{} {}", request.method, request.target))
            .name
    });
    let named: Vec<&str> = named.collect();
    for row in OPERATIONS.iter().filter(|row| row.handler.is_some()) {
        let is_known = named.contains(&row.name) != NEEDING_OTHERWISE.contains(&row.name);
        assert!(is_known, "{}", row.name);
    }
}

/// AWS's user guide of S3, "Enforce conditional writes", and its examples of `s3:x-amz-content-sha256`: what is asked is what the server does.
#[tokio::test]
async fn conditions_on_writes_see_what_is_enforced() {
    let (client, name) = bucket("policies-writes").await;
    let deny = |condition: &str| {
        format!(
            r#"{{"Effect":"Deny","Principal":"*","Action":"s3:PutObject","Resource":"BUCKET/*","Condition":{{{condition}}}}}"#
        )
    };
    let unsigned_payload = deny(r#""StringEquals":{"s3:x-amz-content-sha256":"UNSIGNED-PAYLOAD"}"#);
    set(&client, &name, &[ALL, &unsigned_payload]).await;
    let object = format!("/{name}/k");
    let hour = PresigningConfig::expires_in(Duration::from_secs(3600)).expect("an hour");
    let presigned = client.put_object().bucket(&name).key("k");
    let presigned = presigned.presigned(hour).await.expect("presigned");
    let (_, target) = presigned.uri().split_once(&name).expect("a path");
    let host = presigned.uri().split('/').nth(2).expect("a host");
    let request = Request::new("PUT", &format!("/{name}{target}"));
    let answer = request.header("host", host).body("x").send(shared().s3());
    assert_denied(&answer.expect("an answer"), "a presigned URL");
    let anonymous = |hash: Option<&str>| {
        let mut request = Request::new("PUT", &object).body("x");
        if let Some(hash) = hash {
            request = request.header("x-amz-content-sha256", hash);
        }
        request.send(shared().s3()).expect("an answer")
    };
    assert_denied(&anonymous(None), "no hash");
    assert_denied(&anonymous(Some("none")), "no hash in the header");
    let wrong = anonymous(Some(&"0".repeat(64)));
    let says = wrong.text();
    assert!(says.contains("XAmzContentSHA256Mismatch"), "{says}");
    let right = "2d711642b726b04401627ca9fbac32f5c8530fb1903cc4db02258717921a4881";
    assert_eq!(anonymous(Some(right)).status, 200);

    // Only what makes an object has to be conditional.
    let conditional =
        deny(r#""Null":{"s3:if-none-match":"true"},"Bool":{"s3:ObjectCreationOperation":"true"}"#);
    set(&client, &name, &[ALL, &conditional]).await;
    assert_denied(&anonymous(None), "a write without a condition");
    let upload = client.create_multipart_upload().bucket(&name).key("u");
    let upload = upload.send().await.expect("an upload");
    let part = client.upload_part().bucket(&name).key("u").part_number(1);
    let part = part.upload_id(upload.upload_id().expect("an id"));
    part.send().await.expect("a part");
    let complete = client.complete_multipart_upload().bucket(&name).key("u");
    let complete = complete.upload_id(upload.upload_id().expect("an id"));
    let refused = complete.send().await;
    assert_eq!(failure(refused), code(403, "AccessDenied"));

    // Two conditions would be one to the policy and another to the write.
    let twice = Request::new("PUT", &object).body("x");
    let twice = twice.header("if-match", "\"a\"").header("if-match", "*");
    set(&client, &name, &[ALL]).await;
    let answer = twice.send(shared().s3()).expect("an answer");
    assert_eq!(answer.status, 501, "{}", answer.text());
}

#[tokio::test]
async fn requests_need_what_aws_says() {
    let (client, name) = bucket("policies-needs").await;
    put(&client, &name, "k", b"x").await;
    let allow = |actions: &[&str]| {
        let actions: Vec<String> = actions
            .iter()
            .map(|action| format!("\"s3:{action}\""))
            .collect();
        format!(
            "{{\"Effect\":\"Allow\",\"Principal\":\"*\",\"Action\":[{}],\"Resource\":[\"BUCKET\",\"BUCKET/*\"]}}",
            actions.join(",")
        )
    };
    for (request, actions) in needing().into_iter().chain(more_needing()) {
        let what = format!(
            "{} {} {:?}",
            request.method, request.target, request.headers
        );
        // ListBucket tells a key that is not there from one that may not be read; where it is not what is needed, it is given.
        let list = if actions.contains(&"ListBucket") {
            "GetObjectAcl"
        } else {
            "ListBucket"
        };
        for left_out in actions {
            let mut others: Vec<&str> = actions
                .iter()
                .copied()
                .filter(|one| one != left_out)
                .collect();
            others.push(list);
            set(&client, &name, &[&allow(&others)]).await;
            let answer = request.send(shared().s3()).expect("an answer");
            assert_denied(&answer, &format!("{what} without {left_out}"));
        }
        let all = [actions, &[list]].concat();
        set(&client, &name, &[&allow(&all)]).await;
        let answer = request.send(shared().s3()).expect("an answer");
        assert_ne!(answer.status, 403, "{what}: {}", answer.text());
        assert!(answer.status < 500, "{what}: {}", answer.text());
    }
}

#[tokio::test]
async fn a_policy_is_kept_as_it_was_sent() {
    let (client, name) = bucket("policies-text").await;
    let none = client.get_bucket_policy().bucket(&name).send().await;
    assert_eq!(failure(none), code(404, "NoSuchBucketPolicy"));
    let status = client.get_bucket_policy_status().bucket(&name).send().await;
    assert_eq!(failure(status), code(404, "NoSuchBucketPolicy"));
    let target = format!("/{name}?policy");
    let text = policy(&name, &[READ_PUBLIC]).replace(":[{", " :\n\t[ {") + "\n";
    let answer = send(Request::new("PUT", &target).body(text.clone()));
    assert_eq!(answer.status, 204, "{}", answer.text());
    let stored = send(Request::new("GET", &target));
    assert_eq!(stored.text(), text);
    assert_eq!(stored.header("content-type"), Some("application/json"));
    let too_long = " ".repeat(20 << 10);
    for (body, says) in [
        (
            text.replace("Effect", "Efect"),
            "<Message>Unknown field Efect</Message>",
        ),
        (
            text.replace("GetObject", "GetObjekt"),
            "<Message>Policy has invalid action</Message>",
        ),
        (
            text.replace(&name, "policies-other"),
            "<Message>Policy has invalid resource</Message>",
        ),
        (
            text.replace("\"*\",", "{\"AWS\":\"000000000002\"},"),
            "<Message>Invalid principal in policy</Message>",
        ),
        (
            text.replace(
                "\"*\",",
                "{\"AWS\":\"arn:aws:iam::000000000001:user/nobody\"},",
            ),
            "<Message>Invalid principal in policy</Message>",
        ),
        (text.clone() + &too_long, "exceeds the maximum size"),
        ("{".to_owned(), "invalid Json"),
    ] {
        let answer = send(Request::new("PUT", &target).body(body));
        let said = answer.text();
        assert_eq!(answer.status, 400, "{says}: {said}");
        assert!(said.contains("<Code>MalformedPolicy</Code>"), "{said}");
        assert!(said.contains(says), "{said}");
    }
    let empty = send(Request::new("PUT", &target));
    assert!(
        empty.text().contains("MissingRequestBodyError"),
        "{}",
        empty.text()
    );
    assert_eq!(send(Request::new("GET", &target)).text(), text);
    assert_eq!(send(Request::new("DELETE", &target)).status, 204);
    assert_eq!(send(Request::new("DELETE", &target)).status, 204);
    assert_eq!(send(Request::new("GET", &target)).status, 404);
}

async fn is_public(client: &Client, bucket: &str) -> Option<bool> {
    let status = client
        .get_bucket_policy_status()
        .bucket(bucket)
        .send()
        .await;
    let status = status.expect("a status");
    status.policy_status().and_then(|status| status.is_public())
}

#[tokio::test]
async fn public_access_is_blocked_as_the_flags_say() {
    let (client, name) = bucket("policies-block").await;
    put(&client, &name, "public/a", b"x").await;
    let none = client.get_public_access_block().bucket(&name).send().await;
    assert_eq!(
        failure(none),
        code(404, "NoSuchPublicAccessBlockConfiguration")
    );
    let target = format!("/{name}?publicAccessBlock");
    let block = |flags: &str| {
        let root = "PublicAccessBlockConfiguration";
        let body = format!("<{root}>{flags}</{root}>");
        let answer = send(Request::new("PUT", &target).body(body));
        assert_eq!(answer.status, 200, "{}", answer.text());
    };
    set(&client, &name, &[READ_PUBLIC]).await;
    assert_eq!(is_public(&client, &name).await, Some(true));
    block(
        "<RestrictPublicBuckets>true</RestrictPublicBuckets><IgnorePublicAcls>true</IgnorePublicAcls>",
    );
    let stored = client.get_public_access_block().bucket(&name).send().await;
    let stored = stored.expect("a block");
    let stored = stored.public_access_block_configuration().expect("flags");
    let flags = [
        stored.block_public_acls(),
        stored.ignore_public_acls(),
        stored.block_public_policy(),
        stored.restrict_public_buckets(),
    ];
    assert_eq!(flags, [Some(false), Some(true), Some(false), Some(true)]);
    let object = format!("/{name}/public/a");
    assert_denied(&unsigned("GET", &object), "a restricted bucket");
    // Its body would be malformed if it were read.
    set(&client, &name, &[ALL]).await;
    let delete = Request::new("POST", &format!("/{name}?delete")).body("x");
    let answer = delete.send(shared().s3()).expect("an answer");
    assert_denied(&answer, "keys of a restricted bucket");
    set(&client, &name, &[READ_PUBLIC]).await;
    assert_eq!(get(&client, &name, "public/a").await, b"x");
    block("<BlockPublicPolicy>true</BlockPublicPolicy>");
    assert_eq!(unsigned("GET", &object).status, 200, "what is there stays");
    let put = client.put_bucket_policy().bucket(&name);
    let refused = put.policy(policy(&name, &[READ_PUBLIC])).send().await;
    assert_eq!(failure(refused), code(403, "AccessDenied"));
    let narrow = READ_PUBLIC.replace(
        "\"Resource\"",
        "\"Condition\":{\"IpAddress\":{\"aws:SourceIp\":\"127.0.0.1\"}},\"Resource\"",
    );
    set(&client, &name, &[&narrow]).await;
    assert_eq!(is_public(&client, &name).await, Some(false));
    assert_eq!(unsigned("GET", &object).status, 200);
    let deleted = client
        .delete_public_access_block()
        .bucket(&name)
        .send()
        .await;
    deleted.expect("deleted");
    set(&client, &name, &[READ_PUBLIC]).await;
    let none = client.get_public_access_block().bucket(&name).send().await;
    assert_eq!(
        failure(none),
        code(404, "NoSuchPublicAccessBlockConfiguration")
    );
    let wrong = send(
        Request::new("PUT", &target)
            .body("<PublicAccessBlockConfiguration><A/></PublicAccessBlockConfiguration>"),
    );
    assert!(
        wrong.text().contains("<Code>MalformedXML</Code>"),
        "{}",
        wrong.text()
    );
}

/// Also that each decision is in the log at `debug`, with the statement that has made it.
#[tokio::test]
async fn a_policy_outlives_a_kill() {
    let mut server = Server::start(ServerOptions {
        arguments: vec!["--log-level".into(), "debug".into()],
        ..ServerOptions::default()
    });
    let signed = |server: &Server, request: Request| {
        let answer = send_to(server, request).expect("an answer");
        assert!(answer.status < 300, "{}", answer.text());
    };
    let name = "policies-kept";
    signed(&server, Request::new("PUT", &format!("/{name}")));
    for key in ["public/a", "b"] {
        signed(
            &server,
            Request::new("PUT", &format!("/{name}/{key}")).body("x"),
        );
    }
    let text = policy(name, &[READ_PUBLIC]);
    signed(
        &server,
        Request::new("PUT", &format!("/{name}?policy")).body(text),
    );
    server.kill();
    server.restart();
    let ask = |server: &Server, key: &str| {
        let request = Request::new("GET", &format!("/{name}/{key}"));
        request.send(server.s3()).expect("an answer").status
    };
    assert_eq!((ask(&server, "public/a"), ask(&server, "b")), (200, 403));
    let log = server.log();
    let mut lines = log.lines();
    let of_statement =
        |line: &&str| line.contains("a policy decision") && line.contains("\"public\"");
    let line = lines.find(of_statement).expect("the decision is logged");
    assert!(
        line.contains("s3:GetObject") && line.contains("allowed"),
        "{line}"
    );
}

#[test]
fn a_policy_can_ask_for_tls() {
    let folder = tempfile::tempdir().expect("a folder");
    let server = Server::start(ServerOptions {
        tls: Some(Identity::fresh().write(folder.path())),
        ..ServerOptions::default()
    });
    let signed = |request: Request| {
        let request = server
            .signer()
            .sign(request, server.s3(), Payload::Hashed, None);
        let answer = server.ask(server.s3(), &request).expect("an answer");
        assert!(answer.status < 300, "{}", answer.text());
    };
    let name = "policies-tls";
    signed(Request::new("PUT", &format!("/{name}")));
    signed(Request::new("PUT", &format!("/{name}/public/a")).body("x"));
    for (condition, status) in [
        (r#""Bool":{"aws:SecureTransport":"true"}"#, 200),
        (r#""Bool":{"aws:SecureTransport":"false"}"#, 403),
        (r#""NumericGreaterThanEquals":{"s3:TlsVersion":"1.2"}"#, 200),
        (r#""NumericLessThan":{"s3:TlsVersion":"1.2"}"#, 403),
    ] {
        let more = format!("\"Condition\":{{{condition}}},\"Resource\"");
        let text = policy(name, &[&READ_PUBLIC.replace("\"Resource\"", &more)]);
        signed(Request::new("PUT", &format!("/{name}?policy")).body(text));
        let request = Request::new("GET", &format!("/{name}/public/a"));
        let answer = server.ask(server.s3(), &request).expect("an answer");
        assert_eq!(answer.status, status, "{condition}");
    }
}
