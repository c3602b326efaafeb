//! What a request needs leave for: each action with what it is about.
//!
//! The first action of an operation stands in the table of operations; what is needed beside it follows from headers and parameters, as AWS's user guide has it
//! ("Required permissions for Amazon S3 API operations"). The keys that DeleteObjects names are known when its body is read, and each is asked for then.

use http::{HeaderValue, header};

use crate::operation::{Addresses, Id};
use crate::request::Request;
use crate::s3::copy_source;

/// Something that leave is needed for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Need<'r> {
    /// The action.
    pub action: &'static str,
    /// The bucket; `None` for the service.
    pub bucket: Option<&'r str>,
    /// The key, for an action on an object.
    pub key: Option<&'r str>,
    /// The version that is named.
    pub version: Option<&'r str>,
}

/// Actions on an object that are others on a version of one that is named.
const OF_VERSIONS: &[(&str, &str)] = &[
    ("s3:DeleteObject", "s3:DeleteObjectVersion"),
    ("s3:DeleteObjectTagging", "s3:DeleteObjectVersionTagging"),
    ("s3:GetObject", "s3:GetObjectVersion"),
    ("s3:GetObjectAcl", "s3:GetObjectVersionAcl"),
    ("s3:GetObjectAttributes", "s3:GetObjectVersionAttributes"),
    ("s3:GetObjectTagging", "s3:GetObjectVersionTagging"),
    ("s3:GetObjectTorrent", "s3:GetObjectVersionTorrent"),
    ("s3:PutObjectAcl", "s3:PutObjectVersionAcl"),
    ("s3:PutObjectTagging", "s3:PutObjectVersionTagging"),
];

/// Headers of what is stored with an object, and the actions that they need.
const OF_HEADERS: &[(&str, &str)] = &[
    ("x-amz-acl", "s3:PutObjectAcl"),
    ("x-amz-grant-full-control", "s3:PutObjectAcl"),
    ("x-amz-grant-read", "s3:PutObjectAcl"),
    ("x-amz-grant-read-acp", "s3:PutObjectAcl"),
    ("x-amz-grant-write", "s3:PutObjectAcl"),
    ("x-amz-grant-write-acp", "s3:PutObjectAcl"),
    ("x-amz-object-lock-legal-hold", "s3:PutObjectLegalHold"),
    ("x-amz-object-lock-mode", "s3:PutObjectRetention"),
    ("x-amz-tagging", "s3:PutObjectTagging"),
];

/// The same of a bucket that is made.
const OF_BUCKET_HEADERS: &[(&str, &str)] = &[
    ("x-amz-acl", "s3:PutBucketAcl"),
    ("x-amz-grant-full-control", "s3:PutBucketAcl"),
    ("x-amz-grant-read", "s3:PutBucketAcl"),
    ("x-amz-grant-read-acp", "s3:PutBucketAcl"),
    ("x-amz-grant-write", "s3:PutBucketAcl"),
    ("x-amz-grant-write-acp", "s3:PutBucketAcl"),
    (OBJECT_LOCK, "s3:PutBucketObjectLockConfiguration"),
    (OBJECT_LOCK, "s3:PutBucketVersioning"),
    ("x-amz-object-ownership", "s3:PutBucketOwnershipControls"),
];

/// Whether a bucket that is made has Object Lock.
const OBJECT_LOCK: &str = "x-amz-bucket-object-lock-enabled";

/// What a header says that a bucket has anyway (API reference of CreateBucket).
fn is_usual(header: &str, value: &HeaderValue) -> bool {
    match header {
        "x-amz-acl" => value == "private",
        OBJECT_LOCK => value.as_bytes().eq_ignore_ascii_case(b"false"),
        _ => false,
    }
}

/// The action on an object, or on a version of it that is named.
pub fn action_on(action: &'static str, version: Option<&str>) -> &'static str {
    let mut pairs = OF_VERSIONS.iter();
    let of_version = version.and_then(|_| pairs.find(|(plain, _)| *plain == action));
    of_version.map_or(action, |(_, of_version)| of_version)
}

/// Calls for each need of a request, until one is refused. None of DeleteObjects: its keys are not known yet.
///
/// # Errors
/// What `check` returns.
pub fn each<E>(
    request: &Request,
    mut check: impl FnMut(Need<'_>) -> Result<(), E>,
) -> Result<(), E> {
    let operation = request.operation;
    let version = request.query.get("versionId");
    let need = Need {
        action: action_on(operation.action, version),
        bucket: request.address.bucket(),
        key: request.address.key(),
        version: version.filter(|_| operation.addresses == Addresses::Object),
    };
    let beside = |action| Need { action, ..need };
    if operation.id == Id::DeleteObjects {
        return Ok(());
    }
    check(need)?;
    let by_headers = match operation.id {
        Id::CreateBucket => OF_BUCKET_HEADERS,
        _ if operation.stores_headers => OF_HEADERS,
        _ => &[],
    };
    for (name, action) in by_headers {
        let value = request.headers.get(*name);
        let is_usual =
            |value: &HeaderValue| operation.id == Id::CreateBucket && is_usual(name, value);
        if value.is_some_and(|value| !is_usual(value)) {
            check(beside(action))?;
        }
    }
    match operation.id {
        Id::GetObjectAttributes => check(beside(action_on("s3:GetObject", version)))?,
        // Whether the condition holds tells what the object is.
        Id::PutObject | Id::CopyObject | Id::CompleteMultipartUpload | Id::DeleteObject
            if request.headers.contains_key(header::IF_MATCH) =>
        {
            check(beside(action_on("s3:GetObject", version)))?;
        }
        _ => {}
    }
    source(request, check)
}

/// Calls for the source of a copy, where there is one. A header that names none is refused by the operation.
fn source<E>(request: &Request, mut check: impl FnMut(Need<'_>) -> Result<(), E>) -> Result<(), E> {
    if !matches!(request.operation.id, Id::CopyObject | Id::UploadPartCopy) {
        return Ok(());
    }
    let header = request.header("x-amz-copy-source");
    let Ok(name) = copy_source::Name::parse(header) else {
        return Ok(());
    };
    let version = name.version.map(|version| version.to_string());
    check(Need {
        action: action_on("s3:GetObject", version.as_deref()),
        bucket: Some(&name.bucket),
        key: Some(&name.key),
        version: version.as_deref(),
    })
}
