//! The tags of an object: `PutObjectTagging`, `GetObjectTagging`, `DeleteObjectTagging`.
//!
//! Invariants: which version a request is about is decided by the command that changes its tags, and the answer names that one; a delete
//! marker has no tags, be it named or the newest version (`MethodNotAllowed`, as AWS answers all three operations).

use strata_raftlog::namespace::command::SetObjectTags;
use strata_raftlog::namespace::store::StoreError;
use strata_raftlog::namespace::{Bucket, Object, Tag, VersionId, View};

use super::tags::{self, TagsOf};
use super::{Shared, buckets, versions};
use crate::error::{Code, Fault};
use crate::request::Request;
use crate::response::Response;

/// `PutObjectTagging`: replaces all tags.
///
/// # Errors
/// `MalformedXML`, `InvalidTag`, `BadRequest` for more than 10, and as [`get`].
pub async fn put(shared: &Shared, request: &Request) -> Result<Response, Fault> {
    let found = tags::of_document(&request.xml, TagsOf::Object)?;
    set(shared, request, found, Response::ok()).await
}

/// `DeleteObjectTagging`: no tags are no error.
///
/// # Errors
/// As [`get`].
pub async fn delete(shared: &Shared, request: &Request) -> Result<Response, Fault> {
    set(shared, request, Vec::new(), Response::no_content()).await
}

/// `GetObjectTagging`.
///
/// # Errors
/// `NoSuchKey`, `NoSuchVersion`, `MethodNotAllowed` for a delete marker, and as every handler.
pub async fn get(shared: &Shared, request: &Request) -> Result<Response, Fault> {
    let bucket = buckets::find(shared, request)?;
    let (_, key) = request.address.object()?;
    let asked = versions::asked(request)?;
    let (version, found) = shared.cluster.read(|view| {
        Ok(match find(view, &bucket, key, asked)? {
            Ok(object) => Ok((object.version, view.object_tags(&object)?)),
            Err(fault) => Err(fault),
        })
    })??;
    let mut response = Response::xml(tags::document(&found));
    versions::add_version(
        &mut response.headers,
        versions::VERSION_ID,
        &bucket,
        version,
    );
    Ok(response)
}

async fn set(
    shared: &Shared,
    request: &Request,
    tags: Vec<Tag>,
    mut response: Response,
) -> Result<Response, Fault> {
    let bucket = buckets::find(shared, request)?;
    let (_, key) = request.address.object()?;
    let version = versions::asked(request)?;
    // What is not there now is told with its particulars; what goes meanwhile, the command notices.
    shared
        .cluster
        .read(|view| find(view, &bucket, key, version))??;
    let command = SetObjectTags {
        bucket: bucket.inode,
        key: key.to_vec(),
        version,
        tags,
    };
    let answer = shared.cluster.submit(command).await?;
    let Some(version) = answer.tagged_version() else {
        let cause = format!("answered with {answer:?}");
        return Err(Fault::from(Code::InternalError).because(cause));
    };
    let headers = &mut response.headers;
    versions::add_version(headers, versions::VERSION_ID, &bucket, version);
    Ok(response)
}

/// As [`versions::find`], but that a delete marker which is the newest version is refused as one that is named.
///
/// # Errors
/// As [`versions::find`].
pub fn find(
    view: &View<'_>,
    bucket: &Bucket,
    key: &[u8],
    asked: Option<VersionId>,
) -> Result<Result<Object, Fault>, StoreError> {
    let found = versions::find(view, bucket, key, asked)?;
    if found.is_err()
        && asked.is_none()
        && let Some(marker) = view.latest_marker(bucket.inode, key)?
    {
        return Ok(Err(versions::refused_marker(&marker)));
    }
    Ok(found)
}
