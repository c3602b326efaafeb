//! Settings of a bucket that nobody can set yet, as they are read: what AWS answers of a bucket that has none of them. Tools ask
//! before they do anything else.
//!
//! Invariant: an answer says what is true here. Encryption, which AWS gives to every bucket, is not there.

use super::{Shared, buckets};
use crate::error::{Code, Fault};
use crate::request::Request;
use crate::response::Response;
use crate::xml;

/// Handlers that answer that there is no such setting.
macro_rules! absent {
    ($($(#[$doc:meta])* $name:ident $code:ident;)*) => {
        $($(#[$doc])*
        ///
        /// # Errors
        /// The one that says so, and `NoSuchBucket`.
        pub async fn $name(shared: &Shared, request: &Request) -> Result<Response, Fault> {
            let bucket = buckets::find(shared, request)?;
            Err(Fault::from(Code::$code).detail("BucketName", &bucket.name))
        })*
    };
}

absent! {
    /// `GetBucketEncryption`.
    encryption ServerSideEncryptionConfigurationNotFoundError;
    /// `GetBucketLifecycleConfiguration`.
    lifecycle NoSuchLifecycleConfiguration;
    /// `GetBucketReplication`.
    replication ReplicationConfigurationNotFoundError;
}

/// A document with this root and nothing in it: the setting was never made.
fn empty(shared: &Shared, request: &Request, root: &'static str) -> Result<Response, Fault> {
    buckets::find(shared, request)?;
    Ok(Response::xml(xml::Writer::new(root)))
}

/// `GetBucketAccelerateConfiguration`.
///
/// # Errors
/// `NoSuchBucket`.
pub async fn acceleration(shared: &Shared, request: &Request) -> Result<Response, Fault> {
    empty(shared, request, "AccelerateConfiguration")
}

/// `GetBucketLogging`.
///
/// # Errors
/// `NoSuchBucket`.
pub async fn logging(shared: &Shared, request: &Request) -> Result<Response, Fault> {
    empty(shared, request, "BucketLoggingStatus")
}

/// `GetBucketRequestPayment`: its owner pays.
///
/// # Errors
/// `NoSuchBucket`.
pub async fn request_payment(shared: &Shared, request: &Request) -> Result<Response, Fault> {
    buckets::find(shared, request)?;
    let mut xml = xml::Writer::new("RequestPaymentConfiguration");
    xml.element("Payer", "BucketOwner");
    Ok(Response::xml(xml))
}
