//! Which operation of S3 a request asks for.
//!
//! Invariant: whatever is not served here is named and refused; a subresource, a parameter or a
//! method that is not known never turns into an operation that merely looks like it. The table of
//! `docs/S3.md` is this file in words.

use http::{HeaderMap, Method};

use crate::error::{Code, Fault};
use crate::query::{Query, decode};

macro_rules! operations {
    ($($(#[$doc:meta])* $name:ident [$($parameter:literal),*],)*) => {
        /// The operations that are served.
        #[derive(Debug, Clone, Copy, PartialEq, Eq)]
        pub enum Operation { $($(#[$doc])* $name,)* }

        impl Operation {
            /// AWS's name.
            pub fn name(self) -> &'static str {
                match self { $(Operation::$name => stringify!($name),)* }
            }

            /// The query parameters that the operation knows.
            fn parameters(self) -> &'static [&'static str] {
                match self { $(Operation::$name => &[$($parameter),*],)* }
            }
        }
    };
}

operations! {
    /// `GET /`.
    ListBuckets ["prefix", "max-buckets", "continuation-token", "bucket-region"],
    /// `PUT /bucket`.
    CreateBucket [],
    /// `HEAD /bucket`.
    HeadBucket [],
    /// `DELETE /bucket`.
    DeleteBucket [],
    /// `GET /bucket?location`.
    GetBucketLocation ["location"],
    /// `GET /bucket`.
    ListObjects ["prefix", "delimiter", "marker", "max-keys", "encoding-type"],
    /// `GET /bucket?list-type=2`.
    ListObjectsV2 ["list-type", "prefix", "delimiter", "continuation-token", "start-after",
        "max-keys", "encoding-type", "fetch-owner"],
    /// `POST /bucket?delete`.
    DeleteObjects ["delete"],
    /// `GET /bucket?uploads`.
    ListMultipartUploads ["uploads", "prefix", "delimiter", "key-marker", "upload-id-marker",
        "max-uploads", "encoding-type"],
    /// `PUT /bucket/key`.
    PutObject [],
    /// `PUT /bucket/key` with `x-amz-copy-source`.
    CopyObject [],
    /// `GET /bucket/key`.
    GetObject ["versionId", "partNumber", "response-cache-control", "response-content-disposition",
        "response-content-encoding", "response-content-language", "response-content-type",
        "response-expires"],
    /// `HEAD /bucket/key`.
    HeadObject ["versionId", "partNumber", "response-cache-control",
        "response-content-disposition", "response-content-encoding", "response-content-language",
        "response-content-type", "response-expires"],
    /// `DELETE /bucket/key`.
    DeleteObject ["versionId"],
    /// `POST /bucket/key?uploads`.
    CreateMultipartUpload ["uploads"],
    /// `PUT /bucket/key?partNumber&uploadId`.
    UploadPart ["partNumber", "uploadId"],
    /// `PUT /bucket/key?partNumber&uploadId` with `x-amz-copy-source`.
    UploadPartCopy ["partNumber", "uploadId"],
    /// `GET /bucket/key?attributes`.
    GetObjectAttributes ["attributes", "versionId"],
    /// `GET /bucket/key?tagging`.
    GetObjectTagging ["tagging", "versionId"],
    /// `POST /bucket/key?uploadId`.
    CompleteMultipartUpload ["uploadId"],
    /// `DELETE /bucket/key?uploadId`.
    AbortMultipartUpload ["uploadId"],
    /// `GET /bucket/key?uploadId`.
    ListParts ["uploadId", "max-parts", "part-number-marker"],
}

impl Operation {
    /// Whether the request has a body that becomes an object or a part.
    pub fn streams_a_body(self) -> bool {
        matches!(self, Operation::PutObject | Operation::UploadPart)
    }

    /// Whether the request has an XML body.
    pub fn takes_xml(self) -> bool {
        use Operation::*;
        matches!(self, CreateBucket | DeleteObjects | CompleteMultipartUpload)
    }

    /// Whether headers of the request are stored with an object.
    pub fn stores_headers(self) -> bool {
        use Operation::*;
        matches!(self, PutObject | CopyObject | CreateMultipartUpload)
    }
}

/// What a path names: addressing is by path alone.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Address {
    /// `/`.
    Root,
    /// A bucket.
    Bucket(String),
    /// A bucket and a key in it.
    Object(String, String),
}

impl Address {
    /// Reads a raw path.
    ///
    /// # Errors
    /// `InvalidURI` where the path is no encoded UTF-8.
    pub fn parse(raw: &str) -> Result<Address, Fault> {
        let path = decode(raw).ok_or_else(|| Fault::from(Code::InvalidURI))?;
        let path = path
            .strip_prefix('/')
            .ok_or_else(|| Fault::from(Code::InvalidURI))?;
        Ok(match path.split_once('/') {
            _ if path.is_empty() => Address::Root,
            None => Address::Bucket(path.to_owned()),
            Some((bucket, "")) => Address::Bucket(bucket.to_owned()),
            Some((bucket, key)) => Address::Object(bucket.to_owned(), key.to_owned()),
        })
    }

    /// The bucket's name.
    pub fn bucket(&self) -> Option<&str> {
        match self {
            Address::Root => None,
            Address::Bucket(bucket) | Address::Object(bucket, _) => Some(bucket),
        }
    }
}

/// Subresources of a bucket that are not served: the parameter, and AWS's name without its verb.
const BUCKET_SUBRESOURCES: &[(&str, &str)] = &[
    ("abac", "BucketAbac"),
    ("accelerate", "BucketAccelerateConfiguration"),
    ("acl", "BucketAcl"),
    ("analytics", "BucketAnalyticsConfiguration"),
    ("cors", "BucketCors"),
    ("encryption", "BucketEncryption"),
    (
        "intelligent-tiering",
        "BucketIntelligentTieringConfiguration",
    ),
    ("inventory", "BucketInventoryConfiguration"),
    ("lifecycle", "BucketLifecycleConfiguration"),
    ("logging", "BucketLogging"),
    ("metadataConfiguration", "BucketMetadataConfiguration"),
    (
        "metadataInventoryTable",
        "BucketMetadataInventoryTableConfiguration",
    ),
    (
        "metadataJournalTable",
        "BucketMetadataJournalTableConfiguration",
    ),
    ("metadataTable", "BucketMetadataTableConfiguration"),
    ("metrics", "BucketMetricsConfiguration"),
    ("notification", "BucketNotificationConfiguration"),
    ("object-lock", "ObjectLockConfiguration"),
    ("ownershipControls", "BucketOwnershipControls"),
    ("policy", "BucketPolicy"),
    ("policyStatus", "BucketPolicyStatus"),
    ("publicAccessBlock", "PublicAccessBlock"),
    ("replication", "BucketReplication"),
    ("requestPayment", "BucketRequestPayment"),
    ("session", "Session"),
    ("tagging", "BucketTagging"),
    ("versioning", "BucketVersioning"),
    ("versions", "ObjectVersions"),
    ("website", "BucketWebsite"),
    ("events", "BucketNotification"),
];

/// Subresources of an object that are not served.
const OBJECT_SUBRESOURCES: &[(&str, &str)] = &[
    ("acl", "ObjectAcl"),
    ("attributes", "ObjectAttributes"),
    ("legal-hold", "ObjectLegalHold"),
    ("renameObject", "RenameObject"),
    ("restore", "RestoreObject"),
    ("retention", "ObjectRetention"),
    ("select", "SelectObjectContent"),
    ("tagging", "ObjectTagging"),
    ("torrent", "ObjectTorrent"),
    ("append", "AppendObject"),
];

/// The operation that a request asks for.
///
/// # Errors
/// `NotImplemented` with the operation's name, `MethodNotAllowed` where there is none.
pub fn classify(
    method: &Method,
    address: &Address,
    query: &Query,
    headers: &HeaderMap,
) -> Result<Operation, Fault> {
    refuse_subresources(method, address, query)?;
    let operation = match address {
        Address::Root => of_root(method)?,
        Address::Bucket(_) => of_bucket(method, query, headers)?,
        Address::Object(..) => of_object(method, query, headers)?,
    };
    check_parameters(operation, query)?;
    Ok(operation)
}

fn refuse_subresources(method: &Method, address: &Address, query: &Query) -> Result<(), Fault> {
    let table = match address {
        Address::Root => return Ok(()),
        Address::Bucket(_) => BUCKET_SUBRESOURCES,
        Address::Object(..) => OBJECT_SUBRESOURCES,
    };
    let Some((_, noun)) = table.iter().find(|(parameter, _)| query.has(parameter)) else {
        return Ok(());
    };
    if matches!(*noun, "ObjectTagging" | "ObjectAttributes") && *method == Method::GET {
        return Ok(());
    }
    let verb = match *method {
        Method::GET | Method::HEAD => "Get",
        Method::PUT => "Put",
        Method::DELETE => "Delete",
        _ => "",
    };
    Err(Fault::not_implemented(format_args!(
        "The operation {verb}{noun}"
    )))
}

fn of_root(method: &Method) -> Result<Operation, Fault> {
    match *method {
        Method::GET => Ok(Operation::ListBuckets),
        _ => Err(Code::MethodNotAllowed.into()),
    }
}

fn of_bucket(method: &Method, query: &Query, headers: &HeaderMap) -> Result<Operation, Fault> {
    match *method {
        Method::GET if query.has("location") => Ok(Operation::GetBucketLocation),
        Method::GET if query.has("uploads") => Ok(Operation::ListMultipartUploads),
        Method::GET => match query.get("list-type") {
            None => Ok(Operation::ListObjects),
            Some("2") => Ok(Operation::ListObjectsV2),
            Some(other) => Err(Fault::argument("list-type", other, "Invalid list type")),
        },
        Method::PUT => Ok(Operation::CreateBucket),
        Method::HEAD => Ok(Operation::HeadBucket),
        Method::DELETE => Ok(Operation::DeleteBucket),
        Method::POST if query.has("delete") => Ok(Operation::DeleteObjects),
        Method::POST if is_form(headers) => Err(Fault::not_implemented("POST of a form")),
        Method::OPTIONS => Err(Fault::not_implemented("CORS")),
        _ => Err(Code::MethodNotAllowed.into()),
    }
}

fn of_object(method: &Method, query: &Query, headers: &HeaderMap) -> Result<Operation, Fault> {
    let is_copy = headers.contains_key("x-amz-copy-source");
    let (upload, part) = (query.has("uploadId"), query.has("partNumber"));
    match *method {
        Method::GET if query.has("attributes") => Ok(Operation::GetObjectAttributes),
        Method::GET if query.has("tagging") => Ok(Operation::GetObjectTagging),
        Method::GET if upload => Ok(Operation::ListParts),
        Method::GET => Ok(Operation::GetObject),
        Method::HEAD => Ok(Operation::HeadObject),
        Method::PUT if upload && part && is_copy => Ok(Operation::UploadPartCopy),
        Method::PUT if upload && part => Ok(Operation::UploadPart),
        Method::PUT if upload || part => Err(Fault::new(
            Code::InvalidRequest,
            "A part needs both parameters, partNumber and uploadId.",
        )),
        Method::PUT if is_copy => Ok(Operation::CopyObject),
        Method::PUT => Ok(Operation::PutObject),
        Method::POST if query.has("uploads") => Ok(Operation::CreateMultipartUpload),
        Method::POST if upload => Ok(Operation::CompleteMultipartUpload),
        Method::DELETE if upload => Ok(Operation::AbortMultipartUpload),
        Method::DELETE => Ok(Operation::DeleteObject),
        Method::OPTIONS => Err(Fault::not_implemented("CORS")),
        _ => Err(Code::MethodNotAllowed.into()),
    }
}

fn is_form(headers: &HeaderMap) -> bool {
    let content_type = headers
        .get(http::header::CONTENT_TYPE)
        .map(|value| value.as_bytes());
    content_type.is_some_and(|value| {
        value
            .to_ascii_lowercase()
            .starts_with(b"multipart/form-data")
    })
}

/// Parameters beside those of the operation: those of a presigned URL have been looked at before,
/// `x-id` names the operation, and other names in `x-` are for the client's own log.
fn check_parameters(operation: Operation, query: &Query) -> Result<(), Fault> {
    for (name, value) in query.pairs() {
        let lower = name.to_ascii_lowercase();
        if operation.parameters().contains(&name.as_str()) || lower.starts_with("x-amz-") {
            continue;
        }
        if name == "x-id" && value != operation.name() {
            return Err(Fault::argument(
                "x-id",
                value,
                "x-id does not name the operation",
            ));
        }
        if !lower.starts_with("x-") {
            return Err(Fault::new(
                Code::NotImplemented,
                "A query parameter you provided implies functionality that is not implemented.",
            )
            .detail("Parameter", name));
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ask(method: Method, uri: &str) -> Result<Operation, Code> {
        let (path, query) = uri.split_once('?').unwrap_or((uri, ""));
        let address = Address::parse(path).unwrap();
        let query = Query::parse(query).unwrap();
        classify(&method, &address, &query, &HeaderMap::new()).map_err(|fault| fault.code)
    }

    #[test]
    fn operations_are_told_apart() {
        assert_eq!(ask(Method::GET, "/"), Ok(Operation::ListBuckets));
        assert_eq!(ask(Method::GET, "/b"), Ok(Operation::ListObjects));
        assert_eq!(
            ask(Method::GET, "/b/?list-type=2&prefix=a"),
            Ok(Operation::ListObjectsV2)
        );
        assert_eq!(
            ask(Method::GET, "/b?location"),
            Ok(Operation::GetBucketLocation)
        );
        assert_eq!(ask(Method::POST, "/b?delete"), Ok(Operation::DeleteObjects));
        assert_eq!(
            ask(Method::PUT, "/b/k?x-id=PutObject"),
            Ok(Operation::PutObject)
        );
        assert_eq!(
            ask(Method::PUT, "/b/k?partNumber=1&uploadId=u"),
            Ok(Operation::UploadPart)
        );
        assert_eq!(
            ask(Method::DELETE, "/b/k?uploadId=u"),
            Ok(Operation::AbortMultipartUpload)
        );
    }

    #[test]
    fn what_is_not_served_is_refused() {
        for uri in [
            "/b?acl",
            "/b?policy",
            "/b?versioning",
            "/b?versions",
            "/b?unheard-of",
        ] {
            assert_eq!(ask(Method::GET, uri), Err(Code::NotImplemented), "{uri}");
            assert_eq!(ask(Method::PUT, uri), Err(Code::NotImplemented), "{uri}");
        }
        for uri in ["/b/k?acl", "/b/k?torrent", "/b/k?foo=1"] {
            assert_eq!(ask(Method::GET, uri), Err(Code::NotImplemented), "{uri}");
            assert_eq!(ask(Method::PUT, uri), Err(Code::NotImplemented), "{uri}");
        }
        assert_eq!(
            ask(Method::PUT, "/b/k?x-id=GetObject"),
            Err(Code::InvalidArgument)
        );
        assert_eq!(ask(Method::PATCH, "/b/k"), Err(Code::MethodNotAllowed));
        assert_eq!(ask(Method::PUT, "/b/k?tagging"), Err(Code::NotImplemented));
        assert_eq!(ask(Method::PUT, "/"), Err(Code::MethodNotAllowed));
        assert_eq!(
            ask(Method::PUT, "/b/k?uploadId=u"),
            Err(Code::InvalidRequest)
        );
    }

    #[test]
    fn a_path_names_a_bucket_and_a_key_with_all_its_slashes() {
        let object = |bucket: &str, key: &str| Address::Object(bucket.into(), key.into());
        assert_eq!(Address::parse("/").unwrap(), Address::Root);
        assert_eq!(Address::parse("/b/").unwrap(), Address::Bucket("b".into()));
        assert_eq!(Address::parse("/b//").unwrap(), object("b", "/"));
        assert_eq!(
            Address::parse("/b/a//../c%2B+").unwrap(),
            object("b", "a//../c++")
        );
        assert!(Address::parse("/b/%ff").is_err());
        assert!(Address::parse("*").is_err());
    }
}
