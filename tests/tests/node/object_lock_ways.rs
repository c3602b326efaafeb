//! Object Lock by every way into an object: presigned URLs, forms, parts, and who may ask for a lock on each. AWS's user guide of S3, "Object Lock considerations",
//! and the API reference of PutObject, CopyObject, CreateMultipartUpload and POST Object.

use aws_sdk_s3::Client;
use aws_sdk_s3::primitives::ByteStream;
use aws_sdk_s3::types::{ObjectLockLegalHoldStatus, ObjectLockMode};
use strata_tests::http::{Request, Response};
use strata_tests::signature::sha256_hex;

use crate::post_forms::form_of;
use crate::{send, shared};

const MODE: &str = "x-amz-object-lock-mode";
const UNTIL: &str = "x-amz-object-lock-retain-until-date";
const HOLD: &str = "x-amz-object-lock-legal-hold";
const BYPASS: &str = "x-amz-bypass-governance-retention";

/// MD5 of `x`.
const MD5: &str = "ndTkYSaMgDT1yFZOFVxnpg==";

const FUTURE: &str = "2999-01-01T00:00:00Z";

async fn locked_bucket(name: &str) -> Client {
    let client = shared().client();
    let create = client.create_bucket().bucket(name);
    let create = create.object_lock_enabled_for_bucket(true);
    create.send().await.expect("a bucket");
    client
}

/// Mode and hold, as HEAD tells them.
async fn lock(
    client: &Client,
    bucket: &str,
    key: &str,
) -> (Option<ObjectLockMode>, Option<ObjectLockLegalHoldStatus>) {
    let head = client.head_object().bucket(bucket).key(key).send().await;
    let head = head.expect("a head");
    let hold = head.object_lock_legal_hold_status().cloned();
    (head.object_lock_mode().cloned(), hold)
}

/// A request with its signature in the query, over the headers and parameters that it has.
fn presigned(method: &str, target: &str, body: &str) -> Request {
    let hash = sha256_hex(body.as_bytes());
    let request = Request::new(method, &format!("{target}&X-Amz-Content-Sha256={hash}"));
    let server = shared().s3();
    shared()
        .signer()
        .presign_call(request.body(body), server, 60)
}

fn sent(request: Request) -> Response {
    request.send(shared().s3()).expect("an answer")
}

#[track_caller]
fn refused(answer: &Response, status: u16, says: &str) {
    let text = answer.text();
    assert_eq!(answer.status, status, "{text}");
    assert!(text.contains(says), "{says}: {text}");
}

/// Who holds a URL that deletes a version can add nothing to it, and what stands in a URL under its signature counts.
#[tokio::test]
async fn a_presigned_url_bypasses_and_locks_by_what_it_signs() {
    let client = locked_bucket("lock-presigned").await;
    let target = format!("/lock-presigned/k?{MODE}=GOVERNANCE&{UNTIL}={FUTURE}&{HOLD}=OFF");
    let put = presigned("PUT", &target.replace(':', "%3A"), "x").header("content-md5", MD5);
    let answer = sent(put);
    assert_eq!(answer.status, 200, "{}", answer.text());
    let version = answer.header("x-amz-version-id").expect("a version");
    let (mode, hold) = lock(&client, "lock-presigned", "k").await;
    assert_eq!(mode, Some(ObjectLockMode::Governance));
    assert_eq!(hold, Some(ObjectLockLegalHoldStatus::Off));

    let target = format!("/lock-presigned/k?versionId={version}");
    let delete = || presigned("DELETE", &target, "");
    refused(&sent(delete()), 403, "protected by object lock");
    let added = sent(delete().header(BYPASS, "true"));
    refused(&added, 403, "which were not signed");
    let mut added = delete();
    added.target += &format!("&{BYPASS}=true");
    refused(&sent(added), 403, "SignatureDoesNotMatch");
    let meant = presigned("DELETE", &format!("{target}&{BYPASS}=true"), "");
    assert_eq!(sent(meant).status, 204);
}

/// Service authorization reference: a lock needs leave of its own, however the object comes.
#[tokio::test]
async fn leave_to_write_is_none_to_lock() {
    let client = locked_bucket("lock-leave").await;
    let put = client.put_object().bucket("lock-leave").key("source");
    let put = put.body(ByteStream::from_static(b"x")).send().await;
    put.expect("put");
    let retention = &[(MODE, "GOVERNANCE"), (UNTIL, FUTURE)][..];
    let hold = &[(HOLD, "OFF")][..];
    let ways = |headers: &[(&str, &str)]| {
        let put = Request::new("PUT", "/lock-leave/k").body("x");
        let copy = Request::new("PUT", "/lock-leave/copy");
        let copy = copy.header("x-amz-copy-source", "lock-leave/source");
        let put = put.header("content-md5", MD5);
        [put, copy].map(|way| {
            let add = |way: Request, (name, value): &(&str, &str)| way.header(name, *value);
            headers.iter().fold(way, add)
        })
    };
    for (allowed, of_retention, of_hold) in [
        ("", 403, 403),
        (r#","s3:PutObjectRetention""#, 200, 403),
        (r#","s3:PutObjectLegalHold""#, 403, 200),
    ] {
        let policy = format!(
            r#"{{"Version":"2012-10-17","Statement":[{{"Effect":"Allow","Principal":"*","Action":["s3:PutObject","s3:GetObject"{allowed}],"Resource":"arn:aws:s3:::lock-leave/*"}}]}}"#
        );
        let set = client.put_bucket_policy().bucket("lock-leave");
        set.policy(policy).send().await.expect("a policy");
        for (headers, status) in [(&[][..], 200), (retention, of_retention), (hold, of_hold)] {
            for way in ways(headers) {
                let target = way.target.clone();
                let answer = sent(way);
                let text = answer.text();
                assert_eq!(answer.status, status, "{target} {headers:?}: {text}");
            }
        }
    }
}

/// A form can ask for a lock where its policy lets it, gets the default of the bucket, and needs a digest then, as a part does.
#[tokio::test]
async fn forms_and_parts_are_locked_as_any_other() {
    let client = locked_bucket("lock-forms").await;
    let fields = [
        (MODE, "COMPLIANCE"),
        (UNTIL, FUTURE),
        (HOLD, "ON"),
        ("content-md5", MD5),
    ];
    let form = form_of("lock-forms", &[&[("key", "asked")][..], &fields].concat());
    assert_eq!(form.file("x", b"x").send("lock-forms").status, 204);
    let asked = lock(&client, "lock-forms", "asked").await;
    let on = ObjectLockLegalHoldStatus::On;
    assert_eq!(asked, (Some(ObjectLockMode::Compliance), Some(on)));

    let uncovered = form_of("lock-forms", &[("key", "k")]).field(HOLD, "ON");
    let answer = uncovered.file("x", b"x").send("lock-forms");
    refused(
        &answer,
        403,
        "Extra input fields: x-amz-object-lock-legal-hold",
    );

    let default = "<ObjectLockConfiguration><ObjectLockEnabled>Enabled</ObjectLockEnabled><Rule><DefaultRetention>\
                   <Mode>GOVERNANCE</Mode><Days>1</Days></DefaultRetention></Rule></ObjectLockConfiguration>";
    let set = send(Request::new("PUT", "/lock-forms?object-lock").body(default));
    assert_eq!(set.status, 200);
    let bare = form_of("lock-forms", &[("key", "default")]);
    let answer = bare.file("x", b"x").send("lock-forms");
    refused(&answer, 400, "is required for Put Object requests");
    let summed = form_of("lock-forms", &[("key", "default"), ("content-md5", MD5)]);
    assert_eq!(summed.file("x", b"x").send("lock-forms").status, 204);
    let given = lock(&client, "lock-forms", "default").await;
    assert_eq!(given, (Some(ObjectLockMode::Governance), None));

    let create = client.create_multipart_upload().bucket("lock-forms");
    let created = create.key("u").send().await.expect("begun");
    let id = created.upload_id().expect("an id");
    let part =
        || Request::new("PUT", &format!("/lock-forms/u?partNumber=1&uploadId={id}")).body("x");
    refused(&send(part()), 400, "is required for Put Part requests");
    assert_eq!(send(part().header("content-md5", MD5)).status, 200);
}
