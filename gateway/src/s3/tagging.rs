//! `GetObjectTagging`. Tags cannot be set yet, so the set of an object is truly empty; aws-cli asks
//! for it before it copies an object in parts.

use s3s::S3Response;
use s3s::dto;

use super::{Shared, check_owner, head_object};
use crate::context::Context;
use crate::error::Fault;

/// `GetObjectTagging`.
pub async fn get(
    shared: &Shared,
    context: &Context,
    _: dto::GetObjectTaggingInput,
) -> Result<S3Response<dto::GetObjectTaggingOutput>, Fault> {
    check_owner(context, "x-amz-expected-bucket-owner")?;
    let (bucket, key) = context.object()?;
    let (object, has_bucket) = shared.cluster.names(|view| {
        let object = view.object(bucket, key)?;
        Ok((object, view.bucket(bucket)?.is_some()))
    })?;
    match object {
        Some(_) => Ok(S3Response::new(dto::GetObjectTaggingOutput {
            tag_set: Vec::new(),
            version_id: None,
        })),
        None => Err(head_object::no_such_key(has_bucket, bucket, key)),
    }
}
