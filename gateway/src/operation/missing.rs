//! Operations of S3 that are not served: what tells them apart, and AWS's name to refuse them by.
//!
//! Invariant: what stands here is answered `NotImplemented`, whoever asks. `docs/S3.md` lists the
//! same names.

use http::{HeaderMap, Method, header};

use super::Address;
use crate::error::Fault;
use crate::query::Query;

/// A method, the query parameters that must all be there, and AWS's name. The first row that fits
/// counts.
type Row = (&'static str, &'static str, &'static str);

const OF_BUCKETS: &[Row] = &[
    ("GET", "abac", "GetBucketAbac"),
    ("PUT", "abac", "PutBucketAbac"),
    ("GET", "accelerate", "GetBucketAccelerateConfiguration"),
    ("PUT", "accelerate", "PutBucketAccelerateConfiguration"),
    ("GET", "acl", "GetBucketAcl"),
    ("PUT", "acl", "PutBucketAcl"),
    ("GET", "analytics&id", "GetBucketAnalyticsConfiguration"),
    ("PUT", "analytics&id", "PutBucketAnalyticsConfiguration"),
    (
        "DELETE",
        "analytics&id",
        "DeleteBucketAnalyticsConfiguration",
    ),
    ("GET", "analytics", "ListBucketAnalyticsConfigurations"),
    ("GET", "cors", "GetBucketCors"),
    ("PUT", "cors", "PutBucketCors"),
    ("DELETE", "cors", "DeleteBucketCors"),
    ("GET", "encryption", "GetBucketEncryption"),
    ("PUT", "encryption", "PutBucketEncryption"),
    ("DELETE", "encryption", "DeleteBucketEncryption"),
    (
        "GET",
        "intelligent-tiering&id",
        "GetBucketIntelligentTieringConfiguration",
    ),
    (
        "PUT",
        "intelligent-tiering&id",
        "PutBucketIntelligentTieringConfiguration",
    ),
    (
        "DELETE",
        "intelligent-tiering&id",
        "DeleteBucketIntelligentTieringConfiguration",
    ),
    (
        "GET",
        "intelligent-tiering",
        "ListBucketIntelligentTieringConfigurations",
    ),
    ("GET", "inventory&id", "GetBucketInventoryConfiguration"),
    ("PUT", "inventory&id", "PutBucketInventoryConfiguration"),
    (
        "DELETE",
        "inventory&id",
        "DeleteBucketInventoryConfiguration",
    ),
    ("GET", "inventory", "ListBucketInventoryConfigurations"),
    ("GET", "lifecycle", "GetBucketLifecycleConfiguration"),
    ("PUT", "lifecycle", "PutBucketLifecycleConfiguration"),
    ("DELETE", "lifecycle", "DeleteBucketLifecycle"),
    ("GET", "logging", "GetBucketLogging"),
    ("PUT", "logging", "PutBucketLogging"),
    (
        "POST",
        "metadataConfiguration",
        "CreateBucketMetadataConfiguration",
    ),
    (
        "GET",
        "metadataConfiguration",
        "GetBucketMetadataConfiguration",
    ),
    (
        "DELETE",
        "metadataConfiguration",
        "DeleteBucketMetadataConfiguration",
    ),
    (
        "PUT",
        "metadataInventoryTable",
        "UpdateBucketMetadataInventoryTableConfiguration",
    ),
    (
        "PUT",
        "metadataJournalTable",
        "UpdateBucketMetadataJournalTableConfiguration",
    ),
    (
        "POST",
        "metadataTable",
        "CreateBucketMetadataTableConfiguration",
    ),
    (
        "GET",
        "metadataTable",
        "GetBucketMetadataTableConfiguration",
    ),
    (
        "DELETE",
        "metadataTable",
        "DeleteBucketMetadataTableConfiguration",
    ),
    ("GET", "metrics&id", "GetBucketMetricsConfiguration"),
    ("PUT", "metrics&id", "PutBucketMetricsConfiguration"),
    ("DELETE", "metrics&id", "DeleteBucketMetricsConfiguration"),
    ("GET", "metrics", "ListBucketMetricsConfigurations"),
    ("GET", "notification", "GetBucketNotificationConfiguration"),
    ("PUT", "notification", "PutBucketNotificationConfiguration"),
    ("GET", "object-lock", "GetObjectLockConfiguration"),
    ("PUT", "object-lock", "PutObjectLockConfiguration"),
    ("GET", "ownershipControls", "GetBucketOwnershipControls"),
    ("PUT", "ownershipControls", "PutBucketOwnershipControls"),
    (
        "DELETE",
        "ownershipControls",
        "DeleteBucketOwnershipControls",
    ),
    ("GET", "policy", "GetBucketPolicy"),
    ("PUT", "policy", "PutBucketPolicy"),
    ("DELETE", "policy", "DeleteBucketPolicy"),
    ("GET", "policyStatus", "GetBucketPolicyStatus"),
    ("GET", "publicAccessBlock", "GetPublicAccessBlock"),
    ("PUT", "publicAccessBlock", "PutPublicAccessBlock"),
    ("DELETE", "publicAccessBlock", "DeletePublicAccessBlock"),
    ("GET", "replication", "GetBucketReplication"),
    ("PUT", "replication", "PutBucketReplication"),
    ("DELETE", "replication", "DeleteBucketReplication"),
    ("GET", "requestPayment", "GetBucketRequestPayment"),
    ("PUT", "requestPayment", "PutBucketRequestPayment"),
    ("GET", "session", "CreateSession"),
    ("GET", "tagging", "GetBucketTagging"),
    ("PUT", "tagging", "PutBucketTagging"),
    ("DELETE", "tagging", "DeleteBucketTagging"),
    ("GET", "versioning", "GetBucketVersioning"),
    ("PUT", "versioning", "PutBucketVersioning"),
    ("GET", "versions", "ListObjectVersions"),
    ("GET", "website", "GetBucketWebsite"),
    ("PUT", "website", "PutBucketWebsite"),
    ("DELETE", "website", "DeleteBucketWebsite"),
];

const OF_OBJECTS: &[Row] = &[
    ("GET", "acl", "GetObjectAcl"),
    ("PUT", "acl", "PutObjectAcl"),
    ("PUT", "encryption", "UpdateObjectEncryption"),
    ("GET", "legal-hold", "GetObjectLegalHold"),
    ("PUT", "legal-hold", "PutObjectLegalHold"),
    ("PUT", "renameObject", "RenameObject"),
    ("POST", "restore", "RestoreObject"),
    ("GET", "retention", "GetObjectRetention"),
    ("PUT", "retention", "PutObjectRetention"),
    ("POST", "select", "SelectObjectContent"),
    ("PUT", "tagging", "PutObjectTagging"),
    ("DELETE", "tagging", "DeleteObjectTagging"),
    ("GET", "torrent", "GetObjectTorrent"),
];

/// Refuses by its name an operation that is not served. Whatever else has a parameter of one is
/// left to the check of parameters, which knows no such parameter.
pub fn refuse(method: &Method, address: &Address, query: &Query) -> Result<(), Fault> {
    let table = match address {
        Address::Root => return Ok(()),
        // The path is fixed and no bucket can have this name.
        Address::Bucket(bucket)
            if *method == Method::POST && bucket == "WriteGetObjectResponse" =>
        {
            return Err(Fault::operation_not_implemented(bucket));
        }
        Address::Bucket(_) => OF_BUCKETS,
        Address::Object(..) => OF_OBJECTS,
    };
    let is_asked = |(of, marks, _): &&Row| {
        method.as_str() == *of && marks.split('&').all(|parameter| query.has(parameter))
    };
    match table.iter().find(is_asked) {
        None => Ok(()),
        Some((_, _, name)) => Err(Fault::operation_not_implemented(name)),
    }
}

/// Refuses what comes without a signature by its nature, and must be told so before one is missed:
/// a browser's preflight request, and its form, which carries its signature in a field.
pub fn refuse_unsigned(
    method: &Method,
    address: &Address,
    headers: &HeaderMap,
) -> Result<(), Fault> {
    if *method == Method::OPTIONS {
        return Err(Fault::not_implemented("CORS"));
    }
    let is_post = *method == Method::POST && matches!(address, Address::Bucket(_));
    match is_post && is_form(headers) {
        true => Err(Fault::operation_not_implemented("PostObject")),
        false => Ok(()),
    }
}

fn is_form(headers: &HeaderMap) -> bool {
    const FORM: &[u8] = b"multipart/form-data";
    let kind = headers
        .get(header::CONTENT_TYPE)
        .map(|kind| kind.as_bytes());
    kind.and_then(|kind| kind.get(..FORM.len()))
        .is_some_and(|start| start.eq_ignore_ascii_case(FORM))
}
