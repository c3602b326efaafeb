//! The lock of an object that is there: `PutObjectRetention`, `GetObjectRetention`, `PutObjectLegalHold`, `GetObjectLegalHold`.
//!
//! Invariant: whether a retention may be replaced is decided by the command, by what is in force when it is applied.

use strata_raftlog::namespace::command::{Command, SetLegalHold, SetRetention};
use strata_raftlog::namespace::{Bucket, Object, VersionId};

use super::object_lock::{
    bypasses, hold_name, mode_name, no_configuration, read_legal_hold, read_retention,
};
use super::{Shared, buckets, object_tagging, versions};
use crate::dates::Iso8601Millis;
use crate::error::{Code, Fault};
use crate::request::Request;
use crate::response::Response;
use crate::xml;

/// `PutObjectRetention`: replaces the retention of a version; an empty document takes it off.
///
/// # Errors
/// `MalformedXML`; `InvalidArgument` for a date that is past; `AccessDenied` where a retention is in force that may not be replaced so; and as [`get`].
pub async fn put(shared: &Shared, request: &Request) -> Result<Response, Fault> {
    let retention = read_retention(&request.xml)?;
    let Target {
        bucket,
        key,
        version,
        ..
    } = target(shared, request)?;
    let bypass_governance = bypasses(shared, request)?;
    let command = SetRetention {
        bucket,
        key,
        version,
        retention,
        bypass_governance,
    };
    set(shared, command).await
}

/// `PutObjectLegalHold`.
///
/// # Errors
/// `MalformedXML`, and as [`get`].
pub async fn put_legal_hold(shared: &Shared, request: &Request) -> Result<Response, Fault> {
    let legal_hold = read_legal_hold(&request.xml)?;
    let Target {
        bucket,
        key,
        version,
        ..
    } = target(shared, request)?;
    let command = SetLegalHold {
        bucket,
        key,
        version,
        legal_hold,
    };
    set(shared, command).await
}

/// `GetObjectRetention`: also of one whose time is over.
///
/// # Errors
/// `NoSuchObjectLockConfiguration`; `InvalidRequest` where the bucket has no Object Lock; `NoSuchKey`, `NoSuchVersion`, `MethodNotAllowed` for a delete
/// marker, and as every handler.
pub async fn get(shared: &Shared, request: &Request) -> Result<Response, Fault> {
    let Some(retention) = target(shared, request)?.object.lock.retention else {
        return Err(Code::NoSuchObjectLockConfiguration.into());
    };
    let mut xml = xml::Writer::new("Retention");
    xml.element("Mode", mode_name(retention.mode));
    xml.value("RetainUntilDate", Iso8601Millis(retention.until_millis));
    Ok(Response::xml(xml))
}

/// `GetObjectLegalHold`: also of one that was taken off.
///
/// # Errors
/// As [`get`].
pub async fn get_legal_hold(shared: &Shared, request: &Request) -> Result<Response, Fault> {
    let Some(legal_hold) = target(shared, request)?.object.lock.legal_hold else {
        return Err(Code::NoSuchObjectLockConfiguration.into());
    };
    let mut xml = xml::Writer::new("LegalHold");
    xml.element("Status", hold_name(legal_hold));
    Ok(Response::xml(xml))
}

/// What a request is about.
struct Target {
    bucket: u64,
    key: Vec<u8>,
    version: Option<VersionId>,
    object: Object,
}

/// What is not there is told with its particulars; what goes meanwhile, the command notices.
fn target(shared: &Shared, request: &Request) -> Result<Target, Fault> {
    let bucket = buckets::find(shared, request)?;
    check_has_lock(&bucket)?;
    let (_, key) = request.address.object()?;
    let version = versions::asked(request)?;
    let object = shared
        .cluster
        .read(|view| object_tagging::find(view, &bucket, key, version))??;
    Ok(Target {
        bucket: bucket.inode,
        key: key.to_vec(),
        version,
        object,
    })
}

fn check_has_lock(bucket: &Bucket) -> Result<(), Fault> {
    match bucket.lock {
        Some(_) => Ok(()),
        None => Err(no_configuration()),
    }
}

async fn set(shared: &Shared, command: impl Into<Command>) -> Result<Response, Fault> {
    shared.cluster.submit(command).await?;
    Ok(Response::ok())
}
