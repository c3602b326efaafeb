//! Buckets: create, head, delete, list, location.

use std::rc::Rc;

use http::HeaderName;
use http::header;
use strata_net::ClusterError;
use strata_raftlog::namespace::command::{
    AbortUpload, Command, CreateBucket, CreateBucketWithSettings, DeleteBucket, Refusal,
};
use strata_raftlog::namespace::{Bucket, UploadQuery};

use super::{Shared, access_lists, check_owner, write_account};
use crate::dates::Iso8601;
use crate::error::{Code, Fault};
use crate::request::Request;
use crate::response::Response;
use crate::xml;

/// The region whose name `GetBucketLocation` leaves out, and in which an owner may make a bucket again.
const CLASSIC_REGION: &str = "us-east-1";

/// Whether a bucket that is made has Object Lock.
const OBJECT_LOCK: &str = "x-amz-bucket-object-lock-enabled";

/// Uploads that are aborted between two looks at a bucket that is deleted.
const UPLOADS_AT_ONCE: usize = 100;

/// Buckets of a page at most.
const PAGE_BUCKETS_MAX: usize = 10_000;

/// The bucket of a request.
///
/// # Errors
/// `NoSuchBucket`, and `AccessDenied` where the client expects another owner.
pub fn find(shared: &Shared, request: &Request) -> Result<Rc<Bucket>, Fault> {
    let bucket = named(shared, request.bucket()?)?;
    check_owner(request, "x-amz-expected-bucket-owner", &bucket)?;
    Ok(bucket)
}

/// The bucket of a name.
///
/// # Errors
/// `NoSuchBucket`.
pub fn named(shared: &Shared, name: &str) -> Result<Rc<Bucket>, Fault> {
    let found = shared.cluster.bucket(name)?;
    found.ok_or_else(|| no_such_bucket(name))
}

/// `NoSuchBucket` with its name.
fn no_such_bucket(name: &str) -> Fault {
    Fault::from(Code::NoSuchBucket).detail("BucketName", name)
}

/// `ListBuckets`.
///
/// # Errors
/// Those of AWS, as of every handler.
pub async fn list(shared: &Shared, request: &Request) -> Result<Response, Fault> {
    let query = &request.query;
    let limit = match query.number::<i32>("max-buckets")? {
        None => PAGE_BUCKETS_MAX,
        Some(size @ 1..=10_000) => size as usize,
        Some(other) => {
            let message = "Argument max-buckets must be an integer between 1 and 10000";
            return Err(Fault::argument("max-buckets", &other.to_string(), message));
        }
    };
    let (prefix, after) = (query.text("prefix"), query.text("continuation-token"));
    let region = &shared.config.region;
    let is_here = query
        .get("bucket-region")
        .is_none_or(|asked| asked == region);
    let account = request.asker.account();
    let mut found: Vec<Bucket> = shared.cluster.read(|view| view.buckets())?;
    found.retain(|bucket| {
        is_here
            && bucket.owner == account
            && bucket.name.starts_with(prefix)
            && bucket.name.as_str() > after
    });
    let more = found.len() > limit;
    found.truncate(limit);
    let mut xml = xml::Writer::new("ListAllMyBucketsResult");
    write_account(&mut xml, "Owner", account);
    xml.open("Buckets");
    for bucket in &found {
        xml.open("Bucket");
        xml.element("Name", &bucket.name);
        xml.value("CreationDate", Iso8601(bucket.created_nanos));
        xml.element("BucketRegion", region);
        xml.close("Bucket");
    }
    xml.close("Buckets");
    xml.optional("Prefix", query.get("prefix"));
    let last = found.last().filter(|_| more);
    xml.optional("ContinuationToken", last.map(|bucket| bucket.name.as_str()));
    Ok(Response::xml(xml))
}

/// `CreateBucket`.
///
/// # Errors
/// As every handler.
pub async fn create(shared: &Shared, request: &Request) -> Result<Response, Fault> {
    if let Some(asked) = location_constraint(&request.xml)?
        && asked != shared.config.region
    {
        let message = format!(
            "The {asked} location constraint is incompatible for the region specific endpoint this \
             request was sent to."
        );
        return Err(Fault::new(
            Code::IllegalLocationConstraintException,
            message,
        ));
    }
    let object_lock = asks_object_lock(request)?;
    let settings = access_lists::of_new_bucket(shared, request)?;
    let bucket = request.bucket()?.to_owned();
    let location = format!("/{bucket}");
    let create = CreateBucket {
        bucket,
        owner: request.asker.account(),
        object_lock,
    };
    let command: Command = match settings.is_empty() {
        true => create.into(),
        false => CreateBucketWithSettings { create, settings }.into(),
    };
    match shared.cluster.submit(command).await {
        // As AWS does in its oldest region alone: it is there, and nothing of it changes but its list. What it would lack is not passed over.
        Err(ClusterError::Refused(Refusal::BucketAlreadyOwnedByYou))
            if shared.config.region == CLASSIC_REGION
                && (!object_lock || find(shared, request)?.lock.is_some()) =>
        {
            access_lists::reset(shared, request).await?;
        }
        outcome => drop(outcome?),
    }
    Ok(Response::ok().header(header::LOCATION, &location))
}

/// Whether a bucket is to have Object Lock from the beginning.
fn asks_object_lock(request: &Request) -> Result<bool, Fault> {
    match request.header(OBJECT_LOCK) {
        None => Ok(false),
        Some(text) if text.eq_ignore_ascii_case("true") => Ok(true),
        Some(text) if text.eq_ignore_ascii_case("false") => Ok(false),
        Some(other) => {
            let message = "The value must be true or false";
            Err(Fault::argument(OBJECT_LOCK, other, message))
        }
    }
}

/// The region that the body of a `CreateBucket` asks for; it may be empty.
fn location_constraint(xml: &[u8]) -> Result<Option<String>, Fault> {
    if xml.is_empty() {
        return Ok(None);
    }
    let mut xml = xml::Reader::open(xml, "CreateBucketConfiguration")?;
    let mut constraint = None;
    while let Some(name) = xml.child()? {
        match name.as_str() {
            "LocationConstraint" => constraint = Some(xml.text()?.trim().to_owned()),
            "Location" | "Bucket" => return Err(Fault::not_implemented("A directory bucket")),
            "Tags" => return Err(Fault::not_implemented("A bucket with tags")),
            _ => return Err(Code::MalformedXML.into()),
        }
    }
    xml.end()?;
    Ok(constraint.filter(|constraint| !constraint.is_empty()))
}

/// `HeadBucket`.
///
/// # Errors
/// As every handler.
pub async fn head(shared: &Shared, request: &Request) -> Result<Response, Fault> {
    find(shared, request)?;
    let region = HeaderName::from_static("x-amz-bucket-region");
    Ok(Response::ok().header(region, &shared.config.region))
}

/// `DeleteBucket`.
///
/// # Errors
/// As every handler.
pub async fn delete(shared: &Shared, request: &Request) -> Result<Response, Fault> {
    let bucket = find(shared, request)?.inode;
    let command = DeleteBucket { bucket };
    let refused = match shared.cluster.submit(command.clone()).await {
        Err(ClusterError::Refused(Refusal::BucketNotEmpty)) => Refusal::BucketNotEmpty,
        outcome => return Ok(outcome.map(|_| Response::no_content())?),
    };
    if !abort_uploads(shared, request).await? {
        return Err(refused.into());
    }
    shared.cluster.submit(command).await?;
    Ok(Response::no_content())
}

/// Aborts the uploads of a bucket without objects: uploads alone do not keep a bucket, as with AWS.
/// Whether there were no objects and no versions of some.
async fn abort_uploads(shared: &Shared, request: &Request) -> Result<bool, Fault> {
    let bucket = find(shared, request)?;
    let query = UploadQuery {
        limit: UPLOADS_AT_ONCE,
        ..UploadQuery::default()
    };
    loop {
        let (is_empty, uploads) = shared.cluster.read(|view| {
            Ok((
                view.is_empty_bucket(bucket.inode)?,
                view.uploads(bucket.inode, &query)?,
            ))
        })?;
        if !is_empty {
            return Ok(false);
        }
        if uploads.uploads.is_empty() {
            return Ok(true);
        }
        for upload in uploads.uploads {
            let abort = AbortUpload {
                bucket: bucket.inode,
                key: upload.key,
                upload: upload.upload,
            };
            match shared.cluster.submit(abort).await {
                Ok(_) | Err(ClusterError::Refused(Refusal::NoSuchUpload)) => {}
                Err(error) => return Err(error.into()),
            }
        }
    }
}

/// `GetBucketLocation`.
///
/// # Errors
/// As every handler.
pub async fn location(shared: &Shared, request: &Request) -> Result<Response, Fault> {
    find(shared, request)?;
    let region = &shared.config.region;
    let mut xml = xml::Writer::new("LocationConstraint");
    if region != CLASSIC_REGION {
        xml.text(region);
    }
    Ok(Response::xml(xml))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_region_of_a_new_bucket_is_read() {
        let inside = |inside: &str| {
            let xml = format!("<CreateBucketConfiguration>{inside}</CreateBucketConfiguration>");
            location_constraint(xml.as_bytes()).map_err(|fault| fault.code)
        };
        let region = inside("<LocationConstraint>eu-west-1</LocationConstraint>");
        assert_eq!(region, Ok(Some("eu-west-1".into())));
        assert_eq!(inside("<LocationConstraint/>"), Ok(None));
        assert_eq!(inside(""), Ok(None));
        assert_eq!(location_constraint(b"").unwrap(), None);
        assert_eq!(
            inside("<Bucket><Type>Directory</Type></Bucket>"),
            Err(Code::NotImplemented)
        );
        assert_eq!(
            inside("<Region>eu-west-1</Region>"),
            Err(Code::MalformedXML)
        );
    }
}
