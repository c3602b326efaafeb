//! Object Lock, through the SDK and on the wire: AWS's user guide of S3, "Locking objects with Object Lock", "Object Lock considerations" and
//! "Managing Object Lock", and the API reference of its operations.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use aws_sdk_s3::Client;
use aws_sdk_s3::primitives::{ByteStream, DateTime};
use aws_sdk_s3::types::{
    BucketVersioningStatus, CompletedMultipartUpload, CompletedPart, DefaultRetention, Delete,
    ObjectIdentifier, ObjectLockConfiguration, ObjectLockEnabled, ObjectLockLegalHold,
    ObjectLockLegalHoldStatus, ObjectLockMode, ObjectLockRetention, ObjectLockRetentionMode,
    ObjectLockRule, VersioningConfiguration,
};
use strata_tests::http::{Request, Response};
use strata_tests::server::{Server, ServerOptions};

use crate::{bucket, code, failure, get, send, shared};

use ObjectLockRetentionMode::{Compliance, Governance};

const DAY: i64 = 86_400;

fn now_seconds() -> i64 {
    let now = SystemTime::now().duration_since(UNIX_EPOCH);
    now.expect("a time").as_secs().cast_signed()
}

/// So many seconds from now, in whole seconds.
fn after(seconds: i64) -> DateTime {
    DateTime::from_secs(now_seconds() + seconds)
}

/// A new bucket that has Object Lock, on the shared server.
async fn locked_bucket(name: &str) -> (Client, String) {
    let client = shared().client();
    create_locked(&client, name).await;
    (client, name.to_owned())
}

async fn create_locked(client: &Client, name: &str) {
    let create = client.create_bucket().bucket(name);
    let create = create.object_lock_enabled_for_bucket(true);
    create.send().await.expect("a bucket");
}

/// Puts an object; its version.
async fn put(client: &Client, bucket: &str, key: &str) -> String {
    let put = client.put_object().bucket(bucket).key(key);
    let put = put.body(ByteStream::from_static(b"content"));
    let answer = put.send().await.expect("put");
    answer.version_id().expect("a version").to_owned()
}

fn retention(mode: ObjectLockRetentionMode, until: DateTime) -> ObjectLockRetention {
    let retention = ObjectLockRetention::builder().mode(mode);
    retention.retain_until_date(until).build()
}

macro_rules! retain {
    ($client:expr, $bucket:expr, $key:expr, $mode:expr, $until:expr) => {
        $client
            .put_object_retention()
            .bucket($bucket)
            .key($key)
            .retention(retention($mode, $until))
    };
}

async fn set_hold(client: &Client, bucket: &str, key: &str, status: &str) {
    let status = ObjectLockLegalHoldStatus::from(status);
    let hold = ObjectLockLegalHold::builder().status(status).build();
    let put = client.put_object_legal_hold().bucket(bucket).key(key);
    put.legal_hold(hold).send().await.expect("a hold");
}

async fn set_default(client: &Client, bucket: &str, days: i32) {
    let default = DefaultRetention::builder().mode(Governance).days(days);
    let rule = ObjectLockRule::builder().default_retention(default.build());
    let configuration = ObjectLockConfiguration::builder()
        .object_lock_enabled(ObjectLockEnabled::Enabled)
        .rule(rule.build());
    let put = client.put_object_lock_configuration().bucket(bucket);
    let put = put.object_lock_configuration(configuration.build());
    put.send().await.expect("a default");
}

/// What HEAD and GET say of a lock; that both say the same, and GetObjectRetention and GetObjectLegalHold too, is checked.
async fn lock(
    client: &Client,
    bucket: &str,
    key: &str,
) -> (Option<(String, DateTime)>, Option<String>) {
    let head = client.head_object().bucket(bucket).key(key).send().await;
    let head = head.expect("a head");
    let got = client.get_object().bucket(bucket).key(key).send().await;
    let got = got.expect("an object");
    assert_eq!(head.object_lock_mode(), got.object_lock_mode());
    let until = head.object_lock_retain_until_date().copied();
    assert_eq!(until.as_ref(), got.object_lock_retain_until_date());
    let hold = head.object_lock_legal_hold_status();
    assert_eq!(hold, got.object_lock_legal_hold_status());
    let mode = head.object_lock_mode().map(|mode| mode.as_str().to_owned());
    let hold = hold.map(|hold| hold.as_str().to_owned());

    let asked = client
        .get_object_retention()
        .bucket(bucket)
        .key(key)
        .send()
        .await;
    match &mode {
        None => assert_eq!(failure(asked), code(404, "NoSuchObjectLockConfiguration")),
        Some(mode) => {
            let asked = asked.expect("a retention").retention.expect("a retention");
            assert_eq!(asked.mode().map(|mode| mode.as_str()), Some(&mode[..]));
            assert_eq!(asked.retain_until_date(), until.as_ref());
        }
    }
    let asked = client
        .get_object_legal_hold()
        .bucket(bucket)
        .key(key)
        .send()
        .await;
    match &hold {
        None => assert_eq!(failure(asked), code(404, "NoSuchObjectLockConfiguration")),
        Some(hold) => {
            let asked = asked.expect("a hold").legal_hold.expect("a hold");
            assert_eq!(
                asked.status().map(|status| status.as_str()),
                Some(&hold[..])
            );
        }
    }
    (mode.zip(until), hold)
}

macro_rules! delete {
    ($client:expr, $bucket:expr, $key:expr, $version:expr) => {
        $client
            .delete_object()
            .bucket($bucket)
            .key($key)
            .version_id($version)
    };
}

fn assert_refused(answer: &Response, status: u16, code: &str, says: &str) {
    let text = answer.text();
    assert_eq!(answer.status, status, "{text}");
    assert!(text.contains(&format!("<Code>{code}</Code>")), "{text}");
    assert!(text.contains(says), "{text}");
}

/// API reference of CreateBucket and PutObjectLockConfiguration; user guide, "Object Lock considerations": versioning stays, and so does Object Lock.
#[tokio::test]
async fn a_bucket_gets_object_lock_for_good() {
    let (client, made) = locked_bucket("lock-made").await;
    let seen = client.get_object_lock_configuration().bucket(&made);
    let seen = seen.send().await.expect("a configuration");
    let seen = seen.object_lock_configuration.expect("a configuration");
    assert_eq!(
        seen.object_lock_enabled(),
        Some(&ObjectLockEnabled::Enabled)
    );
    assert_eq!(seen.rule(), None);
    let versioning = client.get_bucket_versioning().bucket(&made).send().await;
    let versioning = versioning.expect("versioning");
    assert_eq!(versioning.status(), Some(&BucketVersioningStatus::Enabled));

    let (_, later) = bucket("lock-later").await;
    let target = format!("/{later}?object-lock");
    let years = "<ObjectLockConfiguration><ObjectLockEnabled>Enabled</ObjectLockEnabled><Rule><DefaultRetention>\
                 <Mode>COMPLIANCE</Mode><Years>1</Years></DefaultRetention></Rule></ObjectLockConfiguration>";
    let answer = send(Request::new("PUT", &target).body(years));
    assert_refused(&answer, 409, "InvalidBucketState", "Versioning must be ");
    set_versioning(&client, &later, BucketVersioningStatus::Enabled).await;
    let answer = send(Request::new("PUT", &target).body(years));
    assert_eq!((answer.status, &*answer.body), (200, &b""[..]));
    let answer = send(Request::new("GET", &target)).text();
    let rule =
        "<Rule><DefaultRetention><Mode>COMPLIANCE</Mode><Years>1</Years></DefaultRetention></Rule>";
    assert!(
        answer.contains("<ObjectLockEnabled>Enabled</ObjectLockEnabled>"),
        "{answer}"
    );
    assert!(answer.contains(rule), "{answer}");

    for name in [&made, &later] {
        let suspend =
            "<VersioningConfiguration><Status>Suspended</Status></VersioningConfiguration>";
        let answer = send(Request::new("PUT", &format!("/{name}?versioning")).body(suspend));
        let says = "An Object Lock configuration is present on this bucket";
        assert_refused(&answer, 409, "InvalidBucketState", says);
    }
    let again = client.create_bucket().bucket(&made).send().await;
    again.expect("it is there, in the oldest region");
    let (_, plain) = bucket("lock-none").await;
    let create = client.create_bucket().bucket(&plain);
    let again = create.object_lock_enabled_for_bucket(true).send().await;
    assert_eq!(failure(again), code(409, "BucketAlreadyOwnedByYou"));
    let create = Request::new("PUT", "/lock-perhaps");
    let answer = send(create.header("x-amz-bucket-object-lock-enabled", "perhaps"));
    assert_refused(&answer, 400, "InvalidArgument", "must be true or false");
}

async fn set_versioning(client: &Client, bucket: &str, status: BucketVersioningStatus) {
    let configuration = VersioningConfiguration::builder().status(status).build();
    let put = client.put_bucket_versioning().bucket(bucket);
    let put = put.versioning_configuration(configuration);
    put.send().await.expect("versioning");
}

/// API reference of PutObjectLockConfiguration: one of days and years, and a mode.
#[tokio::test]
async fn what_is_no_configuration_is_refused() {
    let (_, name) = locked_bucket("lock-malformed").await;
    let put = |inside: &str| {
        let xml = format!("<ObjectLockConfiguration>{inside}</ObjectLockConfiguration>");
        send(Request::new("PUT", &format!("/{name}?object-lock")).body(xml))
    };
    let rule = |inside: &str| {
        put(&format!(
            "<ObjectLockEnabled>Enabled</ObjectLockEnabled>\
             <Rule><DefaultRetention>{inside}</DefaultRetention></Rule>"
        ))
    };
    let disabled = put("<ObjectLockEnabled>Disabled</ObjectLockEnabled>");
    assert_refused(&disabled, 400, "MalformedXML", "");
    for inside in [
        "<Mode>GOVERNANCE</Mode><Days>1</Days><Years>1</Years>",
        "<Mode>GOVERNANCE</Mode>",
        "<Mode>governance</Mode><Days>1</Days>",
        "<Days>1</Days>",
    ] {
        assert_refused(&rule(inside), 400, "MalformedXML", "");
    }
    for period in ["<Days>0</Days>", "<Years>-1</Years>", "<Days>36501</Days>"] {
        let answer = rule(&format!("<Mode>GOVERNANCE</Mode>{period}"));
        assert_refused(
            &answer,
            400,
            "InvalidRetentionPeriod",
            "Default retention period must be",
        );
    }
    let answer = send(Request::new("GET", &format!("/{name}?object-lock")));
    assert!(!answer.text().contains("<Rule>"), "nothing was kept");
}

/// API reference of PutObject, CopyObject and CreateMultipartUpload: the three headers; user guide: a copy has no lock of its source.
#[tokio::test]
async fn a_lock_comes_with_what_is_put_copied_or_uploaded() {
    let (client, name) = locked_bucket("lock-put").await;
    let until = after(DAY);
    let put = client.put_object().bucket(&name).key("put");
    let put = put.object_lock_mode(ObjectLockMode::Governance);
    let put = put.object_lock_retain_until_date(until);
    let put = put.object_lock_legal_hold_status(ObjectLockLegalHoldStatus::On);
    let put = put.body(ByteStream::from_static(b"content"));
    put.tagging("a=1").send().await.expect("put");
    let governance = Some(("GOVERNANCE".to_owned(), until));
    let on = Some("ON".to_owned());
    assert_eq!(lock(&client, &name, "put").await, (governance, on.clone()));

    let copy = |key: &str| {
        let copy = client.copy_object().bucket(&name).key(key);
        copy.copy_source(format!("{name}/put"))
    };
    copy("plain").send().await.expect("copied");
    assert_eq!(lock(&client, &name, "plain").await, (None, None));
    let copy = copy("copy").object_lock_mode(ObjectLockMode::Compliance);
    let copy = copy.object_lock_retain_until_date(after(60));
    copy.send().await.expect("copied");
    let (seen, hold) = lock(&client, &name, "copy").await;
    assert_eq!(
        (seen.expect("a retention").0, hold),
        ("COMPLIANCE".to_owned(), None)
    );

    let create = client.create_multipart_upload().bucket(&name).key("upload");
    let create = create.object_lock_legal_hold_status(ObjectLockLegalHoldStatus::On);
    let created = create.send().await.expect("begun");
    complete(
        &client,
        &name,
        "upload",
        created.upload_id().expect("an id"),
    )
    .await;
    assert_eq!(lock(&client, &name, "upload").await, (None, on));
    let plain = put_raw(&name, "raw", &[]);
    assert_eq!(plain.status, 200);
    assert_eq!(lock(&client, &name, "raw").await, (None, None));
}

async fn complete(client: &Client, bucket: &str, key: &str, id: &str) {
    let part = client.upload_part().bucket(bucket).key(key).upload_id(id);
    let part = part.part_number(1).body(ByteStream::from_static(b"part"));
    let part = part.send().await.expect("a part");
    let etag = part.e_tag().expect("a tag");
    let part = CompletedPart::builder().part_number(1).e_tag(etag).build();
    let parts = CompletedMultipartUpload::builder().parts(part).build();
    let complete = client.complete_multipart_upload().bucket(bucket).key(key);
    let complete = complete.upload_id(id).multipart_upload(parts);
    complete.send().await.expect("complete");
}

/// MD5 of `x`.
const MD5: &str = "ndTkYSaMgDT1yFZOFVxnpg==";

/// A PUT of `x` made by hand, without a digest unless the headers have one.
fn put_raw(bucket: &str, key: &str, headers: &[(&str, &str)]) -> Response {
    let mut request = Request::new("PUT", &format!("/{bucket}/{key}")).body("x");
    for (name, value) in headers {
        request = request.header(name, *value);
    }
    send(request)
}

/// User guide, "Setting or modifying a retention period": the default counts from the creation of the object, and what comes with a request goes before it.
#[tokio::test]
async fn a_default_is_given_to_what_comes_without_a_retention() {
    let (client, name) = locked_bucket("lock-default").await;
    let create = client.create_multipart_upload().bucket(&name).key("upload");
    let created = create.send().await.expect("begun");
    set_default(&client, &name, 3).await;
    let began = now_seconds();
    put(&client, &name, "put").await;
    let copy = client.copy_object().bucket(&name).key("copy");
    let copy = copy.copy_source(format!("{name}/put"));
    copy.send().await.expect("copied");
    complete(
        &client,
        &name,
        "upload",
        created.upload_id().expect("an id"),
    )
    .await;
    for key in ["put", "copy", "upload"] {
        let (seen, hold) = lock(&client, &name, key).await;
        let (mode, until) = seen.expect("a retention");
        assert_eq!((&mode[..], hold), ("GOVERNANCE", None), "{key}");
        let days = began + 3 * DAY..=now_seconds() + 3 * DAY + 1;
        assert!(days.contains(&until.secs()), "{key}: {until}");
    }
    let until = after(60);
    let own = client.put_object().bucket(&name).key("own");
    let own = own.object_lock_mode(ObjectLockMode::Governance);
    let own = own.object_lock_retain_until_date(until);
    let own = own.body(ByteStream::from_static(b"x"));
    own.send().await.expect("put");
    let expected = Some(("GOVERNANCE".to_owned(), until));
    assert_eq!(lock(&client, &name, "own").await, (expected, None));
    // API reference of PutObject: a digest is needed where an object gets a retention.
    let says = "Content-MD5 OR x-amz-checksum- HTTP header is required for Put Object requests with Object Lock parameters";
    assert_refused(&put_raw(&name, "raw", &[]), 400, "InvalidRequest", says);
    assert_eq!(put_raw(&name, "raw", &[("content-md5", MD5)]).status, 200);
}

const LOCKED: &str = "Access Denied because object protected by object lock.";

/// User guide, "Retention modes", "Legal holds" and "Managing delete markers": a delete without a version puts a marker, and what is locked stays.
#[tokio::test]
async fn what_is_locked_is_not_removed() {
    let (client, name) = locked_bucket("lock-delete").await;
    for (key, mode) in [("governance", Governance), ("compliance", Compliance)] {
        let version = put(&client, &name, key).await;
        let retain = retain!(client, &name, key, mode, after(3600));
        retain.send().await.expect("a retention");
        let answer = send(Request::new(
            "DELETE",
            &format!("/{name}/{key}?versionId={version}"),
        ));
        assert_refused(&answer, 403, "AccessDenied", LOCKED);
        // A PUT over it and a delete without a version are let in, and change nothing of it.
        put(&client, &name, key).await;
        let marked = client.delete_object().bucket(&name).key(key).send().await;
        let marker = marked.expect("marked").version_id.expect("a marker");
        let refused = delete!(client, &name, key, &version).send().await;
        assert_eq!(failure(refused), code(403, "AccessDenied"));
        let unmarked = delete!(client, &name, key, marker).send().await;
        unmarked.expect("markers have no lock");
        let bypassed = delete!(client, &name, key, &version).bypass_governance_retention(true);
        match key {
            "governance" => drop(bypassed.send().await.expect("bypassed")),
            _ => assert_eq!(failure(bypassed.send().await), code(403, "AccessDenied")),
        }
    }
    let version = put(&client, &name, "held").await;
    set_hold(&client, &name, "held", "ON").await;
    let refused = delete!(client, &name, "held", &version).bypass_governance_retention(true);
    assert_eq!(failure(refused.send().await), code(403, "AccessDenied"));
    assert_eq!(get(&client, &name, "held").await, b"content");
    set_hold(&client, &name, "held", "OFF").await;
    assert_eq!(
        lock(&client, &name, "held").await,
        (None, Some("OFF".to_owned()))
    );
    delete!(client, &name, "held", &version)
        .send()
        .await
        .expect("deleted");
    let refused = client.delete_bucket().bucket(&name).send().await;
    assert_eq!(failure(refused), code(409, "BucketNotEmpty"));
}

/// API reference of DeleteObjects: each key is answered by itself.
#[tokio::test]
async fn a_batch_leaves_what_is_locked_and_takes_the_rest() {
    let (client, name) = locked_bucket("lock-batch").await;
    let mut versions = Vec::new();
    for key in ["free", "governance", "compliance", "held"] {
        versions.push((key, put(&client, &name, key).await));
    }
    let retain = retain!(client, &name, "governance", Governance, after(3600));
    retain.send().await.expect("a retention");
    let retain = retain!(client, &name, "compliance", Compliance, after(3600));
    retain.send().await.expect("a retention");
    set_hold(&client, &name, "held", "ON").await;
    let batch = |bypass: bool| {
        let objects = versions.iter().map(|(key, version)| {
            let object = ObjectIdentifier::builder().key(*key);
            object.version_id(version).build().expect("an object")
        });
        let delete = Delete::builder().set_objects(Some(objects.collect()));
        let delete = delete.build().expect("a delete");
        let batch = client.delete_objects().bucket(&name).delete(delete);
        batch.bypass_governance_retention(bypass).send()
    };
    for (bypass, gone, kept) in [
        (
            false,
            vec!["free"],
            vec!["compliance", "governance", "held"],
        ),
        (true, vec!["free", "governance"], vec!["compliance", "held"]),
    ] {
        let answer = batch(bypass).await.expect("answered");
        let deleted = answer.deleted().iter().map(|of| of.key().expect("a key"));
        let mut deleted: Vec<&str> = deleted.collect();
        deleted.sort_unstable();
        let mut errors: Vec<&str> = Vec::new();
        for error in answer.errors() {
            assert_eq!(error.code(), Some("AccessDenied"));
            assert_eq!(error.message(), Some(LOCKED));
            errors.push(error.key().expect("a key"));
        }
        errors.sort_unstable();
        assert_eq!((deleted, errors), (gone, kept));
    }
}

/// User guide, "Retention modes"; API reference of PutObjectRetention.
#[tokio::test]
async fn a_retention_is_made_longer_and_never_shorter() {
    let (client, name) = locked_bucket("lock-retention").await;
    put(&client, &name, "k").await;
    let set = |mode, seconds| retain!(client, &name, "k", mode, after(seconds));
    set(Governance, 1000).send().await.expect("set");
    set(Governance, 2000).send().await.expect("longer");
    let refused = || code(403, "AccessDenied");
    assert_eq!(failure(set(Governance, 1000).send().await), refused());
    assert_eq!(failure(set(Compliance, 3000).send().await), refused());
    let shorter = set(Governance, 1000).bypass_governance_retention(true);
    shorter.send().await.expect("bypassed");
    let none = "<Retention/>";
    let target = format!("/{name}/k?retention");
    let answer = send(Request::new("PUT", &target).body(none));
    assert_refused(&answer, 403, "AccessDenied", LOCKED);
    let bypass = Request::new("PUT", &target).header("x-amz-bypass-governance-retention", "true");
    let answer = send(bypass.clone().body(none));
    assert_eq!(answer.status, 200, "{}", answer.text());
    assert_eq!(lock(&client, &name, "k").await, (None, None));

    set(Compliance, 2000).send().await.expect("set");
    set(Compliance, 3000).send().await.expect("longer");
    for (mode, seconds) in [(Compliance, 2000), (Governance, 4000)] {
        let bypassed = set(mode, seconds).bypass_governance_retention(true);
        assert_eq!(failure(bypassed.send().await), refused());
    }
    let answer = send(bypass.body(none));
    assert_refused(&answer, 403, "AccessDenied", LOCKED);
    let perhaps = Request::new("PUT", &target).header("x-amz-bypass-governance-retention", "yes");
    let answer = send(perhaps.body(none));
    assert_refused(&answer, 400, "InvalidArgument", "must be true or false");
}

/// Every version has its own, and keeps it.
#[tokio::test]
async fn every_version_has_its_own_lock() {
    let client = shared().client();
    let name = "lock-versions";
    client
        .create_bucket()
        .bucket(name)
        .send()
        .await
        .expect("made");
    crate::put(&client, name, "k", b"null").await;
    set_versioning(&client, name, BucketVersioningStatus::Enabled).await;
    set_default(&client, name, 1).await;
    let first = put(&client, name, "k").await;
    let second = put(&client, name, "k").await;
    let retain = retain!(client, name, "k", Compliance, after(7200));
    retain.version_id("null").send().await.expect("a retention");
    let refused = delete!(client, name, "k", "null").send().await;
    assert_eq!(failure(refused), code(403, "AccessDenied"));
    let bypassed = delete!(client, name, "k", &second).bypass_governance_retention(true);
    bypassed.send().await.expect("deleted");
    let (seen, _) = lock(&client, name, "k").await;
    assert_eq!(seen.expect("the first has it").0, "GOVERNANCE");
    let asked = client.get_object_retention().bucket(name).key("k");
    let asked = asked.version_id("null").send().await.expect("a retention");
    let asked = asked.retention.expect("a retention");
    assert_eq!(asked.mode(), Some(&Compliance));
    let refused = delete!(client, name, "k", &first).send().await;
    assert_eq!(failure(refused), code(403, "AccessDenied"));
}

/// The errors of AWS's API, as they are on the wire.
#[tokio::test]
async fn what_cannot_be_locked_is_told_as_aws_tells_it() {
    let (client, plain) = bucket("lock-plain").await;
    crate::put(&client, &plain, "k", b"x").await;
    let missing = "Bucket is missing Object Lock Configuration";
    let future = "2999-01-01T00:00:00Z";
    let hold = "<LegalHold><Status>ON</Status></LegalHold>";
    let retention = format!(
        "<Retention><Mode>GOVERNANCE</Mode><RetainUntilDate>{future}</RetainUntilDate></Retention>"
    );
    let ask = |method: &str, target: &str, body: &str| {
        send(Request::new(method, target).body(body.to_owned()))
    };
    for (method, parameter, body) in [
        ("PUT", "retention", &retention[..]),
        ("GET", "retention", ""),
        ("PUT", "legal-hold", hold),
        ("GET", "legal-hold", ""),
    ] {
        let answer = ask(method, &format!("/{plain}/k?{parameter}"), body);
        assert_refused(&answer, 400, "InvalidRequest", missing);
    }
    let mode = ("x-amz-object-lock-mode", "GOVERNANCE");
    let until = ("x-amz-object-lock-retain-until-date", future);
    let on = ("x-amz-object-lock-legal-hold", "ON");
    let md5 = ("content-md5", MD5);
    let answer = put_raw(&plain, "k", &[mode, until, md5]);
    assert_refused(&answer, 400, "InvalidRequest", missing);
    let create = Request::new("POST", &format!("/{plain}/k?uploads")).header(on.0, on.1);
    assert_refused(&send(create), 400, "InvalidRequest", missing);
    let copy = Request::new("PUT", &format!("/{plain}/c")).header(on.0, on.1);
    let copy = copy.header("x-amz-copy-source", format!("{plain}/k"));
    assert_refused(&send(copy), 400, "InvalidRequest", missing);

    let (_, name) = locked_bucket("lock-errors").await;
    let both = "must both be supplied";
    for (headers, says) in [
        (&[mode, md5][..], both),
        (&[until, md5], both),
        (
            &[(mode.0, "abc"), until, md5],
            "Unknown wormMode directive.",
        ),
        (
            &[mode, (until.0, "2001-01-01T00:00:00Z"), md5],
            "The retain until date must be in the future!",
        ),
        (&[mode, (until.0, "soon"), md5], "ISO 8601"),
        (&[(on.0, "PERHAPS"), md5], "Legal Hold must be either of "),
    ] {
        assert_refused(&put_raw(&name, "k", headers), 400, "InvalidArgument", says);
    }
    let digest = "is required for Put Object requests with Object Lock parameters";
    assert_refused(&put_raw(&name, "k", &[on]), 400, "InvalidRequest", digest);
    assert_eq!(put_raw(&name, "k", &[on, md5]).status, 200);
    let past = retention.replace("2999", "2001");
    let answer = ask("PUT", &format!("/{name}/k?retention"), &past);
    assert_refused(&answer, 400, "InvalidArgument", "must be in the future!");
    for (parameter, body) in [
        (
            "retention",
            "<Retention><Mode>GOVERNANCE</Mode></Retention>",
        ),
        ("retention", &retention.replace("GOVERNANCE", "governance")),
        ("legal-hold", "<LegalHold><Status>abc</Status></LegalHold>"),
        ("legal-hold", "<LegalHold/>"),
    ] {
        let answer = ask("PUT", &format!("/{name}/k?{parameter}"), body);
        assert_refused(&answer, 400, "MalformedXML", "");
    }
    for parameter in ["retention", "legal-hold"] {
        let absent = ask("GET", &format!("/{name}/none?{parameter}"), "");
        assert_refused(&absent, 404, "NoSuchKey", "");
        let version = "0123456789abcdef0123456789abcdef";
        let absent = ask(
            "GET",
            &format!("/{name}/k?{parameter}&versionId={version}"),
            "",
        );
        assert_refused(&absent, 404, "NoSuchVersion", "");
    }
}

/// AWS counts by the clock of its servers; so does this one, by the time of the commit.
#[tokio::test]
async fn a_retention_ends() {
    let (client, name) = locked_bucket("lock-ends").await;
    let version = put(&client, &name, "k").await;
    let retain = retain!(client, &name, "k", Compliance, after(4));
    retain.send().await.expect("a retention");
    let refused = delete!(client, &name, "k", &version).send().await;
    assert_eq!(failure(refused), code(403, "AccessDenied"));
    tokio::time::sleep(Duration::from_secs(5)).await;
    let (seen, _) = lock(&client, &name, "k").await;
    assert_eq!(seen.expect("it is told still").0, "COMPLIANCE");
    delete!(client, &name, "k", &version)
        .send()
        .await
        .expect("deleted");
}

fn unsigned(request: Request) -> Response {
    request.send(shared().s3()).expect("an answer")
}

/// User guide, "Required permissions" of Object Lock and "Bypassing governance mode"; service authorization reference, "Condition keys for Amazon S3".
#[tokio::test]
async fn locks_need_leave_of_their_own() {
    let (client, name) = locked_bucket("lock-policies").await;
    let set = |actions: &str, more: &str| {
        let policy = format!(
            r#"{{"Version":"2012-10-17","Statement":[{{"Effect":"Allow","Principal":"*","Action":[{actions}],"Resource":"arn:aws:s3:::{name}/*"}}{more}]}}"#
        );
        client
            .put_bucket_policy()
            .bucket(&name)
            .policy(policy)
            .send()
    };
    let put = client.put_object().bucket(&name).key("k");
    let put = put.object_lock_mode(ObjectLockMode::Governance);
    let put = put.object_lock_retain_until_date(after(DAY));
    let put = put.object_lock_legal_hold_status(ObjectLockLegalHoldStatus::Off);
    let put = put.body(ByteStream::from_static(b"x")).send().await;
    let version = put.expect("put").version_id.expect("a version");
    let head = || unsigned(Request::new("HEAD", &format!("/{name}/k")));
    let names = [
        "x-amz-object-lock-mode",
        "x-amz-object-lock-retain-until-date",
        "x-amz-object-lock-legal-hold",
    ];
    let seen = || {
        let answer = head();
        assert_eq!(answer.status, 200);
        names.map(|name| answer.header(name).is_some())
    };
    set(r#""s3:GetObject""#, "").await.expect("a policy");
    assert_eq!(seen(), [false; 3]);
    set(r#""s3:GetObject","s3:GetObjectRetention""#, "")
        .await
        .expect("a policy");
    assert_eq!(seen(), [true, true, false]);
    set(r#""s3:GetObject","s3:GetObjectLegalHold""#, "")
        .await
        .expect("a policy");
    assert_eq!(seen(), [false, false, true]);

    let delete = || {
        let delete = Request::new("DELETE", &format!("/{name}/k?versionId={version}"));
        unsigned(delete.header("x-amz-bypass-governance-retention", "true"))
    };
    set(r#""s3:DeleteObjectVersion""#, "")
        .await
        .expect("a policy");
    assert_refused(&delete(), 403, "AccessDenied", LOCKED);
    let batch = || {
        let xml = format!(
            "<Delete><Object><Key>k</Key><VersionId>{version}</VersionId></Object></Delete>"
        );
        let sum = strata_tests::signature::sha256_base64(xml.as_bytes());
        let batch = Request::new("POST", &format!("/{name}?delete")).body(xml);
        let batch = batch.header("x-amz-checksum-sha256", sum);
        unsigned(batch.header("x-amz-bypass-governance-retention", "true"))
    };
    assert!(batch().text().contains(LOCKED));

    // Up to ten days may be asked for, and no more.
    let days = format!(
        r#",{{"Effect":"Deny","Principal":"*","Action":"s3:PutObjectRetention","Resource":"arn:aws:s3:::{name}/*","Condition":{{"NumericGreaterThan":{{"s3:object-lock-remaining-retention-days":"10"}}}}}}"#
    );
    set(
        r#""s3:PutObjectRetention","s3:PutObject","s3:PutObjectLegalHold""#,
        &days,
    )
    .await
    .expect("a policy");
    let retain = |seconds| {
        let until = aws_smithy_text(after(seconds));
        let xml = format!(
            "<Retention><Mode>GOVERNANCE</Mode><RetainUntilDate>{until}</RetainUntilDate></Retention>"
        );
        unsigned(Request::new("PUT", &format!("/{name}/k?retention")).body(xml)).status
    };
    assert_eq!((retain(10 * DAY), retain(11 * DAY)), (200, 403));
    let put = |seconds| {
        let put = Request::new("PUT", &format!("/{name}/other")).body("x");
        let put = put
            .header("content-md5", MD5)
            .header(names[0], "GOVERNANCE");
        unsigned(put.header(names[1], aws_smithy_text(after(seconds)))).status
    };
    assert_eq!((put(10 * DAY), put(11 * DAY)), (200, 403));

    set(
        r#""s3:DeleteObjectVersion","s3:BypassGovernanceRetention""#,
        "",
    )
    .await
    .expect("a policy");
    assert!(!batch().text().contains("<Error>"));
    assert_eq!(delete().status, 204, "it is gone");
}

fn aws_smithy_text(time: DateTime) -> String {
    let format = aws_sdk_s3::primitives::DateTimeFormat::DateTime;
    time.fmt(format).expect("a date")
}

#[tokio::test]
async fn locks_outlive_a_kill() {
    let mut server = Server::start(ServerOptions::default());
    let client = server.client();
    create_locked(&client, "locks").await;
    set_default(&client, "locks", 2).await;
    let by_default = put(&client, "locks", "default").await;
    let compliance = put(&client, "locks", "compliance").await;
    let bypass = retain!(client, "locks", "compliance", Compliance, after(5 * DAY));
    let bypass = bypass.bypass_governance_retention(true).send().await;
    bypass.expect("a retention");
    let held = put(&client, "locks", "held").await;
    set_hold(&client, "locks", "held", "ON").await;
    let create = client
        .create_multipart_upload()
        .bucket("locks")
        .key("upload");
    let create = create.object_lock_legal_hold_status(ObjectLockLegalHoldStatus::On);
    let upload = create
        .send()
        .await
        .expect("begun")
        .upload_id
        .expect("an id");
    server.kill();
    server.restart();
    let client = server.client();
    for (key, version) in [
        ("default", &by_default),
        ("compliance", &compliance),
        ("held", &held),
    ] {
        let refused = delete!(client, "locks", key, version).send().await;
        assert_eq!(failure(refused), code(403, "AccessDenied"), "{key}");
        assert_eq!(get(&client, "locks", key).await, b"content");
    }
    complete(&client, "locks", "upload", &upload).await;
    let (seen, hold) = lock(&client, "locks", "upload").await;
    assert_eq!(seen.expect("the default").0, "GOVERNANCE");
    assert_eq!(hold.as_deref(), Some("ON"));
    let suspend = client.put_bucket_versioning().bucket("locks");
    let status = BucketVersioningStatus::Suspended;
    let configuration = VersioningConfiguration::builder().status(status).build();
    let suspend = suspend.versioning_configuration(configuration).send().await;
    assert_eq!(failure(suspend), code(409, "InvalidBucketState"));
}

/// Of a hold and a delete that come together, one wins, and the other is told so.
#[tokio::test]
async fn a_hold_and_a_delete_in_a_race_are_decided_at_the_commit() {
    let (client, name) = locked_bucket("lock-race").await;
    let mut kept = 0;
    for round in 0..40 {
        let key = format!("k{round}");
        let version = put(&client, &name, &key).await;
        let on = ObjectLockLegalHold::builder().status(ObjectLockLegalHoldStatus::On);
        let hold = client.put_object_legal_hold().bucket(&name).key(&key);
        let hold = hold.version_id(&version).legal_hold(on.build()).send();
        let delete = delete!(client, &name, &key, &version).send();
        let (hold, delete) = match round % 2 {
            0 => tokio::join!(hold, delete),
            _ => {
                let (delete, hold) = tokio::join!(delete, hold);
                (hold, delete)
            }
        };
        match hold {
            Ok(_) => {
                assert_eq!(failure(delete), code(403, "AccessDenied"), "{key}");
                assert_eq!(get(&client, &name, &key).await, b"content");
                kept += 1;
            }
            Err(refused) => {
                let refused = failure(Err::<(), _>(refused));
                assert_eq!(refused, code(404, "NoSuchVersion"), "{key}");
                delete.expect("deleted");
            }
        }
    }
    println!("{kept} of 40 were held first");
}
