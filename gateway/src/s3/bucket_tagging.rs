//! The tags of a bucket: `PutBucketTagging`, `GetBucketTagging`, `DeleteBucketTagging`.

use strata_raftlog::namespace::command::SetBucketSetting;
use strata_raftlog::namespace::setting;

use super::tags::{self, TagsOf};
use super::{Shared, buckets};
use crate::error::{Code, Fault};
use crate::request::Request;
use crate::response::Response;

/// `PutBucketTagging`: replaces all tags.
///
/// # Errors
/// `InvalidTag`, `MalformedXML`, and as every handler.
pub async fn put(shared: &Shared, request: &Request) -> Result<Response, Fault> {
    let bucket = buckets::find(shared, request)?.inode;
    let found = tags::of_document(&request.xml, TagsOf::Bucket)?;
    let document = tags::document(&found).finish().to_vec();
    set(shared, bucket, Some(document)).await
}

/// `DeleteBucketTagging`: no tags are no error.
///
/// # Errors
/// As every handler.
pub async fn delete(shared: &Shared, request: &Request) -> Result<Response, Fault> {
    let bucket = buckets::find(shared, request)?.inode;
    set(shared, bucket, None).await
}

/// `GetBucketTagging`.
///
/// # Errors
/// `NoSuchTagSet`, and as every handler.
pub async fn get(shared: &Shared, request: &Request) -> Result<Response, Fault> {
    let bucket = buckets::find(shared, request)?;
    let stored = shared
        .cluster
        .read(|view| view.bucket_setting(bucket.inode, setting::TAGS))?;
    let Some(stored) = stored else {
        return Err(Fault::from(Code::NoSuchTagSet).detail("BucketName", &bucket.name));
    };
    let found = tags::read(&stored, TagsOf::Bucket).map_err(|fault| {
        Fault::from(Code::InternalError).because(format!("stored tags: {}", fault.message))
    })?;
    Ok(Response::xml(tags::document(&found)))
}

async fn set(shared: &Shared, bucket: u64, document: Option<Vec<u8>>) -> Result<Response, Fault> {
    let command = SetBucketSetting {
        bucket,
        setting: setting::TAGS,
        document,
    };
    shared.cluster.submit(command).await?;
    Ok(Response::no_content())
}
