//! What a request that failed is answered with: AWS's code, status and XML, and nothing else.
//!
//! Invariants: this is the one place that maps errors of the cluster to S3; a message never holds a
//! secret or a place on a disk; every body carries the request id that is in the log.

use std::borrow::Cow;

use bytes::Bytes;
use http::{HeaderName, HeaderValue, StatusCode};
use strata_net::ClusterError;
use strata_raftlog::namespace::command::Refusal;

use crate::s3::object_lock;
use crate::xml::Writer;

macro_rules! codes {
    ($($variant:ident $status:literal $message:literal,)*) => {
        /// The error codes that are answered. Names are AWS's, but for `InsufficientStorage`,
        /// which AWS has no need of.
        #[derive(Debug, Clone, Copy, PartialEq, Eq)]
        #[allow(missing_docs, reason = "each is described by AWS under its name")]
        pub enum Code { $($variant,)* }

        impl Code {
            /// The code as it stands in the XML.
            pub fn name(self) -> &'static str {
                match self { $(Code::$variant => stringify!($variant),)* }
            }

            /// The HTTP status.
            pub fn status(self) -> StatusCode {
                let number = match self { $(Code::$variant => $status,)* };
                StatusCode::from_u16(number).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR)
            }

            /// The message where nothing more precise is known.
            pub fn message(self) -> &'static str {
                match self { $(Code::$variant => $message,)* }
            }
        }
    };
}

codes! {
    AccessControlListNotSupported 400 "The bucket does not allow ACLs",
    AccessDenied 403 "Access Denied",
    AccessForbidden 403 "Access forbidden",
    AuthorizationHeaderMalformed 400 "The authorization header you provided is invalid.",
    AuthorizationQueryParametersError 400 "The authorization query parameters are invalid.",
    BadDigest 400 "The Content-MD5 or checksum value that you specified did not match what the server received.",
    BadRequest 400 "Bad Request",
    BucketAlreadyExists 409 "The requested bucket name is not available. The bucket namespace is shared by all users of the system. Please select a different name and try again.",
    BucketAlreadyOwnedByYou 409 "Your previous request to create the named bucket succeeded and you already own it.",
    BucketNotEmpty 409 "The bucket you tried to delete is not empty.",
    DeleteConflict 409 "The resource has subordinate entities and cannot be deleted.",
    EntityAlreadyExists 409 "The resource already exists.",
    EntityTooLarge 400 "Your proposed upload exceeds the maximum allowed size",
    EntityTooSmall 400 "Your proposed upload is smaller than the minimum allowed size",
    ExpiredToken 400 "The provided token has expired.",
    ExpiredTokenException 400 "Token expired",
    IllegalLocationConstraintException 400 "The specified location constraint is not valid for this server.",
    IllegalVersioningConfigurationException 400 "The Versioning element must be specified",
    IncompleteBody 400 "You did not provide the number of bytes specified by the Content-Length HTTP header.",
    IncompleteSignature 400 "The request signature does not conform to AWS standards.",
    InsufficientStorage 507 "No space is left for new data. Reads and deletes go on.",
    InternalError 500 "We encountered an internal error. Please try again.",
    InvalidAccessKeyId 403 "The AWS access key ID you provided does not exist in our records.",
    InternalFailure 500 "The request processing has failed because of an unknown error.",
    InvalidAction 400 "The action or operation requested is invalid.",
    InvalidArgument 400 "Invalid Argument",
    InvalidBucketAclWithObjectOwnership 400 "Bucket cannot have ACLs set with ObjectOwnership's BucketOwnerEnforced setting",
    InvalidBucketName 400 "The specified bucket is not valid.",
    InvalidBucketState 409 "The request is not valid with the current state of the bucket.",
    InvalidClientTokenId 403 "The security token included in the request is invalid.",
    InvalidDigest 400 "The Content-MD5 or checksum value that you specified is not valid.",
    InvalidIdentityToken 400 "The web identity token that was passed could not be validated by this server.",
    InvalidInput 400 "An invalid or out-of-range value was supplied for an input parameter.",
    InvalidPart 400 "One or more of the specified parts could not be found. The part might not have been uploaded, or the specified entity tag might not have matched the part's entity tag.",
    InvalidPartNumber 416 "The requested partnumber is not satisfiable.",
    InvalidPartOrder 400 "The list of parts was not in ascending order. Parts list must be specified in order by part number.",
    InvalidPolicyDocument 400 "The content of the form does not meet the conditions specified in the policy document.",
    InvalidRange 416 "The requested range is not satisfiable",
    InvalidRequest 400 "Invalid Request",
    InvalidRetentionPeriod 400 "Default retention period must be a positive integer value.",
    InvalidTag 400 "The tag provided was not a valid tag.",
    InvalidToken 400 "The provided token is malformed or otherwise invalid.",
    InvalidURI 400 "Couldn't parse the specified URI.",
    KeyTooLongError 400 "Your key is too long",
    MalformedACLError 400 "The XML you provided was not well-formed or did not validate against our published schema",
    MalformedPOSTRequest 400 "The body of your POST request is not well-formed multipart/form-data.",
    LimitExceeded 409 "The request attempted to create resources beyond the current limits.",
    MalformedPolicy 400 "This policy is malformed.",
    MalformedPolicyDocument 400 "The policy document is malformed.",
    MalformedQueryString 400 "The query string contains a syntax error.",
    MalformedTrailerError 400 "The request contained trailing data that was not well-formed or did not conform to our published schema.",
    MalformedXML 400 "The XML you provided was not well-formed or did not validate against our published schema.",
    MaxMessageLengthExceeded 400 "Your request was too big.",
    MaxPostPreDataLengthExceeded 400 "Your POST request fields preceding the upload file were too large.",
    MetadataTooLarge 400 "Your metadata headers exceed the maximum allowed metadata size.",
    MethodNotAllowed 405 "The specified method is not allowed against this resource.",
    MissingAuthenticationToken 403 "Request is missing Authentication Token",
    MissingContentLength 411 "You must provide the Content-Length HTTP header.",
    MissingRequestBodyError 400 "Request Body is empty.",
    MissingSecurityHeader 400 "Your request was missing a required header",
    NoSuchBucket 404 "The specified bucket does not exist",
    NoSuchBucketPolicy 404 "The bucket policy does not exist",
    NoSuchCORSConfiguration 404 "The CORS configuration does not exist",
    NoSuchEntity 404 "The entity cannot be found.",
    NoSuchKey 404 "The specified key does not exist.",
    NoSuchLifecycleConfiguration 404 "The lifecycle configuration does not exist",
    NoSuchObjectLockConfiguration 404 "The specified object does not have a ObjectLock configuration",
    NoSuchPublicAccessBlockConfiguration 404 "The public access block configuration was not found",
    NoSuchTagSet 404 "The TagSet does not exist",
    NoSuchUpload 404 "The specified multipart upload does not exist. The upload ID may be invalid, or the upload may have been aborted or completed.",
    NoSuchVersion 404 "The specified version does not exist.",
    NotImplemented 501 "A header you provided implies functionality that is not implemented.",
    NotModified 304 "Not Modified",
    ObjectLockConfigurationNotFoundError 404 "Object Lock configuration does not exist for this bucket",
    OperationAborted 409 "A conflicting conditional operation is currently in progress against this resource. Please try again.",
    OwnershipControlsNotFoundError 404 "The bucket ownership controls were not found",
    PackedPolicyTooLarge 400 "The total packed size of the session policies exceeds the limit.",
    PreconditionFailed 412 "At least one of the pre-conditions you specified did not hold",
    ReplicationConfigurationNotFoundError 404 "The replication configuration was not found",
    RequestTimeTooSkewed 403 "The difference between the request time and the current time is too large.",
    RequestTimeout 400 "Your socket connection to the server was not read from or written to within the timeout period.",
    ServerSideEncryptionConfigurationNotFoundError 404 "The server side encryption configuration was not found",
    ServiceUnavailable 503 "Service is unable to handle request.",
    SignatureDoesNotMatch 403 "The request signature we calculated does not match the signature you provided. Check your key and signing method.",
    SlowDown 503 "Please reduce your request rate.",
    Throttling 400 "Rate exceeded",
    UnexpectedContent 400 "This request does not support content",
    UnresolvableGrantByEmailAddress 400 "The e-mail address you provided does not match any account on record.",
    ValidationError 400 "The input fails to satisfy the constraints of the service.",
    XAmzContentSHA256Mismatch 400 "The provided 'x-amz-content-sha256' header does not match what was computed.",
}

/// An answer that is an error.
#[derive(Debug, Clone)]
pub struct Fault {
    /// The code.
    pub code: Code,
    /// What is wrong, for a person.
    pub message: Cow<'static, str>,
    /// Further elements of the XML, as AWS has them for the code.
    pub details: Vec<(&'static str, String)>,
    /// Further headers.
    pub headers: Vec<(HeaderName, HeaderValue)>,
    /// What is to be logged beside it; never sent.
    pub cause: Option<String>,
}

impl From<Code> for Fault {
    fn from(code: Code) -> Fault {
        Fault::new(code, code.message())
    }
}

impl Fault {
    /// A fault with a message of its own.
    pub fn new(code: Code, message: impl Into<Cow<'static, str>>) -> Fault {
        Fault {
            code,
            message: message.into(),
            details: Vec::new(),
            headers: Vec::new(),
            cause: None,
        }
    }

    /// Adds an element to the XML.
    #[must_use]
    pub fn detail(mut self, name: &'static str, value: impl Into<String>) -> Fault {
        self.details.push((name, value.into()));
        self
    }

    /// Adds a header.
    #[must_use]
    pub fn header(mut self, name: HeaderName, value: HeaderValue) -> Fault {
        self.headers.push((name, value));
        self
    }

    /// Adds what is to be logged.
    #[must_use]
    pub fn because(mut self, cause: impl Into<String>) -> Fault {
        self.cause = Some(cause.into());
        self
    }

    /// The server does not have what the request asks for.
    pub fn not_implemented(what: impl std::fmt::Display) -> Fault {
        Fault::new(
            Code::NotImplemented,
            format!("{what} is not implemented by this server."),
        )
    }

    /// The server does not have the operation of this name.
    pub fn operation_not_implemented(name: &str) -> Fault {
        Fault::not_implemented(format_args!("The operation {name}"))
    }

    /// A header asks for what the server does not have. Command lines show the message alone.
    pub fn header_not_implemented(header: &str) -> Fault {
        let message = "A header you provided implies functionality that is not implemented";
        Fault::new(Code::NotImplemented, format!("{message}: {header}")).detail("Header", header)
    }

    /// A query parameter asks for what the server does not have.
    pub fn parameter_not_implemented(parameter: &str) -> Fault {
        let message =
            "A query parameter you provided implies functionality that is not implemented";
        Fault::new(Code::NotImplemented, format!("{message}: {parameter}"))
            .detail("Parameter", parameter)
    }

    /// An argument is wrong; named as AWS does.
    pub fn argument(name: &str, value: &str, message: impl Into<Cow<'static, str>>) -> Fault {
        Fault::new(Code::InvalidArgument, message)
            .detail("ArgumentName", name)
            .detail("ArgumentValue", value)
    }

    /// The XML body.
    pub fn body(&self, resource: &str, request_id: &str) -> Bytes {
        let mut xml = Writer::bare("Error", 512);
        xml.element("Code", self.code.name());
        xml.element("Message", &self.message);
        for (name, value) in &self.details {
            xml.element(name, value);
        }
        xml.element("Resource", resource);
        xml.element("RequestId", request_id);
        xml.finish()
    }
}

impl From<ClusterError> for Fault {
    fn from(error: ClusterError) -> Fault {
        match error {
            ClusterError::Refused(refusal) => Fault::from(refusal),
            ClusterError::Busy(cause) => Fault::from(Code::SlowDown)
                .header(http::header::RETRY_AFTER, HeaderValue::from_static("1"))
                .because(cause),
            ClusterError::Full(cause) => Fault::from(Code::InsufficientStorage).because(cause),
            ClusterError::Unavailable(cause) => {
                Fault::from(Code::ServiceUnavailable).because(cause)
            }
            ClusterError::Invalid(message) => Fault::new(Code::InvalidRequest, message),
            ClusterError::Corrupt(cause) => Fault::new(
                Code::InternalError,
                "Stored data is damaged on every copy and was not returned.",
            )
            .because(cause),
            ClusterError::NotFound(cause) | ClusterError::Bug(cause) => {
                Fault::from(Code::InternalError).because(cause)
            }
        }
    }
}

impl From<Refusal> for Fault {
    fn from(refusal: Refusal) -> Fault {
        match refusal {
            Refusal::Full => Fault::from(Code::InsufficientStorage).because("metadata is full"),
            Refusal::NoSuchBucket => Code::NoSuchBucket.into(),
            Refusal::BucketAlreadyOwnedByYou => Code::BucketAlreadyOwnedByYou.into(),
            Refusal::BucketAlreadyExists => Code::BucketAlreadyExists.into(),
            Refusal::BucketNotEmpty => Code::BucketNotEmpty.into(),
            Refusal::NoSuchKey => Code::NoSuchKey.into(),
            Refusal::NoSuchVersion => Code::NoSuchVersion.into(),
            Refusal::IsDeleteMarker => Code::MethodNotAllowed.into(),
            Refusal::PreconditionFailed => Code::PreconditionFailed.into(),
            Refusal::NoSuchUpload => Code::NoSuchUpload.into(),
            Refusal::PartsChanged => {
                let message =
                    "Parts of the upload were put while it was being completed. Please try again.";
                Fault::new(Code::OperationAborted, message)
            }
            Refusal::VersioningChanged => {
                let message = "Versioning of the bucket was changed meanwhile. Please try again.";
                Fault::new(Code::OperationAborted, message)
            }
            Refusal::NoObjectLock => object_lock::no_configuration(),
            Refusal::ObjectLocked => object_lock::locked(),
            Refusal::InvalidBucketState => Code::InvalidBucketState.into(),
            Refusal::RetentionIsOver => object_lock::is_over().because(refusal.to_string()),
            Refusal::EntityTooLarge => Code::EntityTooLarge.into(),
            Refusal::ChecksumMismatch => Fault::new(Code::InvalidRequest, refusal.to_string()),
            Refusal::TooManyOutstanding => Code::SlowDown.into(),
            Refusal::SessionExpired
            | Refusal::NotInitialised
            | Refusal::EpochClosed { .. }
            | Refusal::NoSuchWriter(_) => {
                Fault::from(Code::ServiceUnavailable).because(refusal.to_string())
            }
            Refusal::NoSuchEntity(message) => Fault::new(Code::NoSuchEntity, message),
            Refusal::EntityAlreadyExists(message) => Fault::new(Code::EntityAlreadyExists, message),
            Refusal::DeleteConflict(message) => Fault::new(Code::DeleteConflict, message),
            Refusal::LimitExceeded(message) => Fault::new(Code::LimitExceeded, message),
            other => Fault::from(Code::InternalError).because(other.to_string()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_body_names_code_resource_and_request() {
        let fault = Fault::from(Code::NoSuchKey).detail("Key", "a<b&\u{1}");
        let xml = fault.body("/bucket/a", "4442587FB7D0A2F9");
        let xml = std::str::from_utf8(&xml).unwrap();
        assert!(xml.contains("<Code>NoSuchKey</Code>"), "{xml}");
        assert!(xml.contains("<Key>a&lt;b&amp;&#x1;</Key>"), "{xml}");
        assert!(
            xml.contains("<RequestId>4442587FB7D0A2F9</RequestId>"),
            "{xml}"
        );
    }

    #[test]
    fn what_is_refused_is_named_in_the_message() {
        let fault = Fault::header_not_implemented("x-amz-mfa");
        assert!(fault.message.contains("x-amz-mfa"), "{}", fault.message);
        assert_eq!(fault.details, [("Header", "x-amz-mfa".to_owned())]);
        assert_eq!(Code::InsufficientStorage.status().as_u16(), 507);
    }

    #[test]
    fn causes_stay_in_the_log() {
        let fault = Fault::from(ClusterError::Full("/srv/disk3 is full".into()));
        assert_eq!(fault.code, Code::InsufficientStorage);
        let xml = fault.body("/b", "1");
        assert!(!String::from_utf8_lossy(&xml).contains("disk3"));
    }
}
