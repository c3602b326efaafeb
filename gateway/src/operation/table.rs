//! The table itself.
//!
//! Where several rows fit a request, the first counts: rows with more marks stand before those with
//! fewer. Actions are those of AWS's service authorization reference.

use super::Addresses::{Bucket, Object, Service};
use super::BodyKind::{Json, Stream, Xml};
use super::Mark::{Form, Header, Path, Query, QueryIs};
use super::Operation;
use crate::s3::{
    access_lists, bucket_object_lock, bucket_policy, bucket_tagging, buckets, copy_object, cors,
    delete_objects, get_object, head_object, list_objects, multipart, multipart_lists,
    object_attributes, object_retention, object_tagging, ownership, post_object,
    public_access_block, put_object, settings, versions,
};

/// `METHOD Addresses Name "action" { field: value, ... } [=> handler];`
macro_rules! operations {
    ($($method:ident $addresses:ident $name:ident $action:literal
        { $($field:ident: $value:expr),* $(,)? } $(=> $handler:path)?;)*) => {
        /// Every operation, in the order of the table.
        #[derive(Debug, Clone, Copy, PartialEq, Eq)]
        #[allow(missing_docs, reason = "each is described by AWS under its name")]
        pub enum Id { $($name,)* }

        /// Every operation of S3 that a general purpose bucket has.
        pub static OPERATIONS: &[Operation] = &[$(Operation {
            $($field: $value,)*
            $(handler: Some(|shared, request| Box::pin($handler(shared, request))),)?
            ..Operation::row(Id::$name, stringify!($name), stringify!($method), $addresses, $action)
        }),*];
    };
}

/// The headers of a conditional read.
const READ_CONDITIONS: &[&str] = &[
    "if-match",
    "if-none-match",
    "if-modified-since",
    "if-unmodified-since",
];

/// The headers of a write: conditions, tags and the lock. Dates are for reads alone: they are too coarse to decide which
/// of two changes came first.
const PUT_HEADERS: &[&str] = &[
    "if-match",
    "if-none-match",
    "x-amz-object-lock-legal-hold",
    "x-amz-object-lock-mode",
    "x-amz-object-lock-retain-until-date",
    "x-amz-tagging",
];

/// What an upload gives the object to come.
const UPLOAD_HEADERS: &[&str] = &[
    "x-amz-object-lock-legal-hold",
    "x-amz-object-lock-mode",
    "x-amz-object-lock-retain-until-date",
    "x-amz-tagging",
];

/// Whether a retention of governance is bypassed.
const BYPASS_HEADERS: &[&str] = &["x-amz-bypass-governance-retention"];

const READ_PARAMETERS: &[&str] = &[
    "versionId",
    "partNumber",
    "response-cache-control",
    "response-content-disposition",
    "response-content-encoding",
    "response-content-language",
    "response-content-type",
    "response-expires",
];

const ATTRIBUTES_HEADERS: &[&str] = &[
    "if-match",
    "if-none-match",
    "if-modified-since",
    "if-unmodified-since",
    "x-amz-max-parts",
    "x-amz-part-number-marker",
];

const COPY_HEADERS: &[&str] = &[
    "if-match",
    "if-none-match",
    "x-amz-object-lock-legal-hold",
    "x-amz-object-lock-mode",
    "x-amz-object-lock-retain-until-date",
    "x-amz-tagging",
    "x-amz-copy-source-if-match",
    "x-amz-copy-source-if-none-match",
    "x-amz-copy-source-if-modified-since",
    "x-amz-copy-source-if-unmodified-since",
];

const PART_COPY_HEADERS: &[&str] = &[
    "x-amz-copy-source-range",
    "x-amz-copy-source-if-match",
    "x-amz-copy-source-if-none-match",
    "x-amz-copy-source-if-modified-since",
    "x-amz-copy-source-if-unmodified-since",
];

operations! {
    // The service.
    GET Service ListDirectoryBuckets "s3express:ListAllMyDirectoryBuckets" {
        marks: &[Query("max-directory-buckets")],
    };
    GET Service ListBuckets "s3:ListAllMyBuckets" {
        parameters: &["prefix", "max-buckets", "continuation-token", "bucket-region"],
    } => buckets::list;

    // Objects of a bucket.
    GET Bucket GetBucketLocation "s3:GetBucketLocation" {
        marks: &[Query("location")],
    } => buckets::location;
    GET Bucket ListMultipartUploads "s3:ListBucketMultipartUploads" {
        marks: &[Query("uploads")],
        parameters: &[
            "prefix", "delimiter", "key-marker", "upload-id-marker", "max-uploads",
            "encoding-type",
        ],
    } => multipart_lists::uploads;
    GET Bucket ListObjectVersions "s3:ListBucketVersions" {
        marks: &[Query("versions")],
        parameters: &[
            "prefix", "delimiter", "key-marker", "version-id-marker", "max-keys", "encoding-type",
        ],
    } => versions::list;
    POST Bucket DeleteObjects "s3:DeleteObject" {
        marks: &[Query("delete")],
        headers: BYPASS_HEADERS,
        body: Xml("Delete"),
    } => delete_objects::many;
    // Fields of the form stand for the headers of a PUT.
    POST Bucket PostObject "s3:PutObject" {
        marks: &[Form],
        headers: PUT_HEADERS,
        body: Stream,
        stores_headers: true,
    } => post_object::post;
    POST Bucket WriteGetObjectResponse "s3-object-lambda:WriteGetObjectResponse" {
        marks: &[Path("WriteGetObjectResponse")],
    };

    // Settings of a bucket.
    GET Bucket GetBucketAbac "s3:GetBucketAbac" { marks: &[Query("abac")] };
    PUT Bucket PutBucketAbac "s3:PutBucketAbac" { marks: &[Query("abac")] };
    GET Bucket GetBucketAccelerateConfiguration "s3:GetAccelerateConfiguration" {
        marks: &[Query("accelerate")],
    } => settings::acceleration;
    PUT Bucket PutBucketAccelerateConfiguration "s3:PutAccelerateConfiguration" {
        marks: &[Query("accelerate")],
    };
    GET Bucket GetBucketAcl "s3:GetBucketAcl" {
        marks: &[Query("acl")],
    } => access_lists::get_of_bucket;
    PUT Bucket PutBucketAcl "s3:PutBucketAcl" {
        marks: &[Query("acl")],
        body: Xml("AccessControlPolicy"),
    } => access_lists::put_of_bucket;
    GET Bucket GetBucketAnalyticsConfiguration "s3:GetAnalyticsConfiguration" {
        marks: &[Query("analytics"), Query("id")],
    };
    PUT Bucket PutBucketAnalyticsConfiguration "s3:PutAnalyticsConfiguration" {
        marks: &[Query("analytics"), Query("id")],
    };
    DELETE Bucket DeleteBucketAnalyticsConfiguration "s3:PutAnalyticsConfiguration" {
        marks: &[Query("analytics"), Query("id")],
    };
    GET Bucket ListBucketAnalyticsConfigurations "s3:GetAnalyticsConfiguration" {
        marks: &[Query("analytics")],
    };
    GET Bucket GetBucketCors "s3:GetBucketCORS" { marks: &[Query("cors")] } => cors::get;
    PUT Bucket PutBucketCors "s3:PutBucketCORS" {
        marks: &[Query("cors")],
        body: Xml("CORSConfiguration"),
    } => cors::put;
    DELETE Bucket DeleteBucketCors "s3:PutBucketCORS" { marks: &[Query("cors")] } => cors::delete;
    GET Bucket GetBucketEncryption "s3:GetEncryptionConfiguration" {
        marks: &[Query("encryption")],
    } => settings::encryption;
    PUT Bucket PutBucketEncryption "s3:PutEncryptionConfiguration" {
        marks: &[Query("encryption")],
    };
    DELETE Bucket DeleteBucketEncryption "s3:PutEncryptionConfiguration" {
        marks: &[Query("encryption")],
    };
    GET Bucket GetBucketIntelligentTieringConfiguration "s3:GetIntelligentTieringConfiguration" {
        marks: &[Query("intelligent-tiering"), Query("id")],
    };
    PUT Bucket PutBucketIntelligentTieringConfiguration "s3:PutIntelligentTieringConfiguration" {
        marks: &[Query("intelligent-tiering"), Query("id")],
    };
    DELETE Bucket DeleteBucketIntelligentTieringConfiguration "s3:PutIntelligentTieringConfiguration" {
        marks: &[Query("intelligent-tiering"), Query("id")],
    };
    GET Bucket ListBucketIntelligentTieringConfigurations "s3:GetIntelligentTieringConfiguration" {
        marks: &[Query("intelligent-tiering")],
    };
    GET Bucket GetBucketInventoryConfiguration "s3:GetInventoryConfiguration" {
        marks: &[Query("inventory"), Query("id")],
    };
    PUT Bucket PutBucketInventoryConfiguration "s3:PutInventoryConfiguration" {
        marks: &[Query("inventory"), Query("id")],
    };
    DELETE Bucket DeleteBucketInventoryConfiguration "s3:PutInventoryConfiguration" {
        marks: &[Query("inventory"), Query("id")],
    };
    GET Bucket ListBucketInventoryConfigurations "s3:GetInventoryConfiguration" {
        marks: &[Query("inventory")],
    };
    GET Bucket GetBucketLifecycleConfiguration "s3:GetLifecycleConfiguration" {
        marks: &[Query("lifecycle")],
    } => settings::lifecycle;
    PUT Bucket PutBucketLifecycleConfiguration "s3:PutLifecycleConfiguration" {
        marks: &[Query("lifecycle")],
    };
    DELETE Bucket DeleteBucketLifecycle "s3:PutLifecycleConfiguration" {
        marks: &[Query("lifecycle")],
    };
    GET Bucket GetBucketLogging "s3:GetBucketLogging" { marks: &[Query("logging")] } => settings::logging;
    PUT Bucket PutBucketLogging "s3:PutBucketLogging" { marks: &[Query("logging")] };
    POST Bucket CreateBucketMetadataConfiguration "s3:CreateBucketMetadataTableConfiguration" {
        marks: &[Query("metadataConfiguration")],
    };
    GET Bucket GetBucketMetadataConfiguration "s3:GetBucketMetadataTableConfiguration" {
        marks: &[Query("metadataConfiguration")],
    };
    DELETE Bucket DeleteBucketMetadataConfiguration "s3:DeleteBucketMetadataTableConfiguration" {
        marks: &[Query("metadataConfiguration")],
    };
    PUT Bucket UpdateBucketMetadataInventoryTableConfiguration "s3:UpdateBucketMetadataInventoryTableConfiguration" {
        marks: &[Query("metadataInventoryTable")],
    };
    PUT Bucket UpdateBucketMetadataJournalTableConfiguration "s3:UpdateBucketMetadataJournalTableConfiguration" {
        marks: &[Query("metadataJournalTable")],
    };
    POST Bucket CreateBucketMetadataTableConfiguration "s3:CreateBucketMetadataTableConfiguration" {
        marks: &[Query("metadataTable")],
    };
    GET Bucket GetBucketMetadataTableConfiguration "s3:GetBucketMetadataTableConfiguration" {
        marks: &[Query("metadataTable")],
    };
    DELETE Bucket DeleteBucketMetadataTableConfiguration "s3:DeleteBucketMetadataTableConfiguration" {
        marks: &[Query("metadataTable")],
    };
    GET Bucket GetBucketMetricsConfiguration "s3:GetMetricsConfiguration" {
        marks: &[Query("metrics"), Query("id")],
    };
    PUT Bucket PutBucketMetricsConfiguration "s3:PutMetricsConfiguration" {
        marks: &[Query("metrics"), Query("id")],
    };
    DELETE Bucket DeleteBucketMetricsConfiguration "s3:PutMetricsConfiguration" {
        marks: &[Query("metrics"), Query("id")],
    };
    GET Bucket ListBucketMetricsConfigurations "s3:GetMetricsConfiguration" {
        marks: &[Query("metrics")],
    };
    GET Bucket GetBucketNotificationConfiguration "s3:GetBucketNotification" {
        marks: &[Query("notification")],
    };
    PUT Bucket PutBucketNotificationConfiguration "s3:PutBucketNotification" {
        marks: &[Query("notification")],
    };
    GET Bucket GetObjectLockConfiguration "s3:GetBucketObjectLockConfiguration" {
        marks: &[Query("object-lock")],
    } => bucket_object_lock::get;
    PUT Bucket PutObjectLockConfiguration "s3:PutBucketObjectLockConfiguration" {
        marks: &[Query("object-lock")],
        body: Xml("ObjectLockConfiguration"),
    } => bucket_object_lock::put;
    GET Bucket GetBucketOwnershipControls "s3:GetBucketOwnershipControls" {
        marks: &[Query("ownershipControls")],
    } => ownership::get;
    PUT Bucket PutBucketOwnershipControls "s3:PutBucketOwnershipControls" {
        marks: &[Query("ownershipControls")],
        body: Xml("OwnershipControls"),
    } => ownership::put;
    DELETE Bucket DeleteBucketOwnershipControls "s3:PutBucketOwnershipControls" {
        marks: &[Query("ownershipControls")],
    } => ownership::delete;
    GET Bucket GetBucketPolicy "s3:GetBucketPolicy" { marks: &[Query("policy")] } => bucket_policy::get;
    PUT Bucket PutBucketPolicy "s3:PutBucketPolicy" {
        marks: &[Query("policy")],
        body: Json,
    } => bucket_policy::put;
    DELETE Bucket DeleteBucketPolicy "s3:DeleteBucketPolicy" {
        marks: &[Query("policy")],
    } => bucket_policy::delete;
    GET Bucket GetBucketPolicyStatus "s3:GetBucketPolicyStatus" {
        marks: &[Query("policyStatus")],
    } => bucket_policy::status;
    GET Bucket GetPublicAccessBlock "s3:GetBucketPublicAccessBlock" {
        marks: &[Query("publicAccessBlock")],
    } => public_access_block::get;
    PUT Bucket PutPublicAccessBlock "s3:PutBucketPublicAccessBlock" {
        marks: &[Query("publicAccessBlock")],
        body: Xml("PublicAccessBlockConfiguration"),
    } => public_access_block::put;
    DELETE Bucket DeletePublicAccessBlock "s3:PutBucketPublicAccessBlock" {
        marks: &[Query("publicAccessBlock")],
    } => public_access_block::delete;
    GET Bucket GetBucketReplication "s3:GetReplicationConfiguration" {
        marks: &[Query("replication")],
    } => settings::replication;
    PUT Bucket PutBucketReplication "s3:PutReplicationConfiguration" {
        marks: &[Query("replication")],
    };
    DELETE Bucket DeleteBucketReplication "s3:PutReplicationConfiguration" {
        marks: &[Query("replication")],
    };
    GET Bucket GetBucketRequestPayment "s3:GetBucketRequestPayment" {
        marks: &[Query("requestPayment")],
    } => settings::request_payment;
    PUT Bucket PutBucketRequestPayment "s3:PutBucketRequestPayment" {
        marks: &[Query("requestPayment")],
    };
    GET Bucket CreateSession "s3express:CreateSession" { marks: &[Query("session")] };
    GET Bucket GetBucketTagging "s3:GetBucketTagging" { marks: &[Query("tagging")] } => bucket_tagging::get;
    PUT Bucket PutBucketTagging "s3:PutBucketTagging" {
        marks: &[Query("tagging")],
        body: Xml("Tagging"),
    } => bucket_tagging::put;
    DELETE Bucket DeleteBucketTagging "s3:PutBucketTagging" {
        marks: &[Query("tagging")],
    } => bucket_tagging::delete;
    GET Bucket GetBucketVersioning "s3:GetBucketVersioning" { marks: &[Query("versioning")] } => versions::get_configuration;
    PUT Bucket PutBucketVersioning "s3:PutBucketVersioning" {
        marks: &[Query("versioning")],
        body: Xml("VersioningConfiguration"),
    } => versions::put_configuration;
    GET Bucket GetBucketWebsite "s3:GetBucketWebsite" { marks: &[Query("website")] };
    PUT Bucket PutBucketWebsite "s3:PutBucketWebsite" { marks: &[Query("website")] };
    DELETE Bucket DeleteBucketWebsite "s3:DeleteBucketWebsite" { marks: &[Query("website")] };

    // Buckets.
    GET Bucket ListObjectsV2 "s3:ListBucket" {
        marks: &[QueryIs("list-type", "2")],
        parameters: &[
            "prefix", "delimiter", "continuation-token", "start-after", "max-keys",
            "encoding-type", "fetch-owner",
        ],
    } => list_objects::version_2;
    GET Bucket ListObjects "s3:ListBucket" {
        parameters: &["list-type", "prefix", "delimiter", "marker", "max-keys", "encoding-type"],
    } => list_objects::version_1;
    PUT Bucket CreateBucket "s3:CreateBucket" {
        headers: &["x-amz-bucket-object-lock-enabled"],
        body: Xml("CreateBucketConfiguration"),
    } => buckets::create;
    HEAD Bucket HeadBucket "s3:ListBucket" {} => buckets::head;
    DELETE Bucket DeleteBucket "s3:DeleteBucket" {} => buckets::delete;

    // Multipart uploads.
    POST Object CreateMultipartUpload "s3:PutObject" {
        marks: &[Query("uploads")],
        headers: UPLOAD_HEADERS,
        stores_headers: true,
    } => multipart::create;
    PUT Object UploadPartCopy "s3:PutObject" {
        marks: &[Query("uploadId"), Query("partNumber"), Header("x-amz-copy-source")],
        headers: PART_COPY_HEADERS,
    } => copy_object::copy_part;
    PUT Object UploadPart "s3:PutObject" {
        marks: &[Query("uploadId"), Query("partNumber")],
        body: Stream,
    } => multipart::put_part;
    POST Object CompleteMultipartUpload "s3:PutObject" {
        marks: &[Query("uploadId")],
        headers: &["if-match", "if-none-match", "x-amz-mp-object-size"],
        body: Xml("CompleteMultipartUpload"),
    } => multipart::complete;
    DELETE Object AbortMultipartUpload "s3:AbortMultipartUpload" {
        marks: &[Query("uploadId")],
    } => multipart::abort;
    GET Object ListParts "s3:ListMultipartUploadParts" {
        marks: &[Query("uploadId")],
        parameters: &["max-parts", "part-number-marker"],
    } => multipart_lists::parts;

    // Attributes of objects.
    GET Object GetObjectAttributes "s3:GetObjectAttributes" {
        marks: &[Query("attributes")],
        parameters: &["versionId"],
        headers: ATTRIBUTES_HEADERS,
    } => object_attributes::get;
    GET Object GetObjectAcl "s3:GetObjectAcl" {
        marks: &[Query("acl")],
        parameters: &["versionId"],
    } => access_lists::get_of_object;
    PUT Object PutObjectAcl "s3:PutObjectAcl" {
        marks: &[Query("acl")],
        parameters: &["versionId"],
        body: Xml("AccessControlPolicy"),
    } => access_lists::put_of_object;
    PUT Object UpdateObjectEncryption "s3:UpdateObjectEncryption" { marks: &[Query("encryption")] };
    GET Object GetObjectLegalHold "s3:GetObjectLegalHold" {
        marks: &[Query("legal-hold")],
        parameters: &["versionId"],
    } => object_retention::get_legal_hold;
    PUT Object PutObjectLegalHold "s3:PutObjectLegalHold" {
        marks: &[Query("legal-hold")],
        parameters: &["versionId"],
        body: Xml("LegalHold"),
    } => object_retention::put_legal_hold;
    PUT Object RenameObject "s3express:CreateSession" { marks: &[Query("renameObject")] };
    POST Object RestoreObject "s3:RestoreObject" { marks: &[Query("restore")] };
    GET Object GetObjectRetention "s3:GetObjectRetention" {
        marks: &[Query("retention")],
        parameters: &["versionId"],
    } => object_retention::get;
    PUT Object PutObjectRetention "s3:PutObjectRetention" {
        marks: &[Query("retention")],
        parameters: &["versionId"],
        headers: BYPASS_HEADERS,
        body: Xml("Retention"),
    } => object_retention::put;
    POST Object SelectObjectContent "s3:GetObject" { marks: &[Query("select")] };
    GET Object GetObjectTagging "s3:GetObjectTagging" {
        marks: &[Query("tagging")],
        parameters: &["versionId"],
    } => object_tagging::get;
    PUT Object PutObjectTagging "s3:PutObjectTagging" {
        marks: &[Query("tagging")],
        parameters: &["versionId"],
        body: Xml("Tagging"),
    } => object_tagging::put;
    DELETE Object DeleteObjectTagging "s3:DeleteObjectTagging" {
        marks: &[Query("tagging")],
        parameters: &["versionId"],
    } => object_tagging::delete;
    GET Object GetObjectTorrent "s3:GetObjectTorrent" { marks: &[Query("torrent")] };

    // Objects.
    GET Object GetObject "s3:GetObject" {
        parameters: READ_PARAMETERS,
        headers: READ_CONDITIONS,
    } => get_object::get;
    HEAD Object HeadObject "s3:GetObject" {
        parameters: READ_PARAMETERS,
        headers: READ_CONDITIONS,
    } => head_object::head;
    PUT Object CopyObject "s3:PutObject" {
        marks: &[Header("x-amz-copy-source")],
        headers: COPY_HEADERS,
        stores_headers: true,
    } => copy_object::copy;
    PUT Object PutObject "s3:PutObject" {
        headers: PUT_HEADERS,
        body: Stream,
        stores_headers: true,
    } => put_object::put;
    DELETE Object DeleteObject "s3:DeleteObject" {
        parameters: &["versionId"],
        headers: &["if-match", "x-amz-bypass-governance-retention"],
    } => delete_objects::one;
}
