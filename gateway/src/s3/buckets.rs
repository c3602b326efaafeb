//! Buckets: create, head, delete, list, location.

use s3s::S3Response;
use s3s::dto;
use strata_net::ClusterError;
use strata_raftlog::namespace::command::{AbortUpload, CreateBucket, DeleteBucket, Refusal};
use strata_raftlog::namespace::{Bucket, UploadQuery};

use super::{ROOT_ACCOUNT, Shared, check_owner, owner, timestamp};
use crate::context::Context;
use crate::error::{Code, Fault};

/// The region whose name `GetBucketLocation` leaves out.
const CLASSIC_REGION: &str = "us-east-1";

/// Uploads that are aborted between two looks at a bucket that is deleted.
const UPLOADS_AT_ONCE: usize = 100;

/// Buckets of a page at most.
const PAGE_BUCKETS_MAX: usize = 10_000;

/// The bucket of a request.
///
/// # Errors
/// `NoSuchBucket`, and `AccessDenied` where the client expects another owner.
pub fn find(shared: &Shared, context: &Context) -> Result<Bucket, Fault> {
    let name = context.bucket()?;
    check_owner(context, "x-amz-expected-bucket-owner")?;
    let found = shared.cluster.names(|view| view.bucket(name))?;
    found.ok_or_else(|| no_such_bucket(name))
}

/// `NoSuchBucket` with its name.
pub fn no_such_bucket(name: &str) -> Fault {
    Fault::from(Code::NoSuchBucket).detail("BucketName", name)
}

/// `ListBuckets`.
pub async fn list(
    shared: &Shared,
    _: &Context,
    input: dto::ListBucketsInput,
) -> Result<S3Response<dto::ListBucketsOutput>, Fault> {
    let limit = match input.max_buckets {
        None => PAGE_BUCKETS_MAX,
        Some(size @ 1..=10_000) => size as usize,
        Some(other) => {
            let message = "Argument max-buckets must be an integer between 1 and 10000";
            return Err(Fault::argument("max-buckets", &other.to_string(), message));
        }
    };
    let prefix = input.prefix.clone().unwrap_or_default();
    let after = input.continuation_token.unwrap_or_default();
    let is_here = input
        .bucket_region
        .is_none_or(|region| region == shared.config.region);
    let mut found: Vec<Bucket> = shared.cluster.names(|view| view.buckets())?;
    found.retain(|bucket| is_here && bucket.name.starts_with(&prefix) && bucket.name > after);
    let more = found.len() > limit;
    found.truncate(limit);
    let continuation_token = found
        .last()
        .filter(|_| more)
        .map(|bucket| bucket.name.clone());
    let buckets = found.into_iter().map(|bucket| dto::Bucket {
        bucket_region: Some(shared.config.region.clone()),
        creation_date: Some(timestamp(bucket.created_micros)),
        name: Some(bucket.name),
    });
    Ok(S3Response::new(dto::ListBucketsOutput {
        buckets: Some(buckets.collect()),
        continuation_token,
        owner: Some(owner(ROOT_ACCOUNT)),
        prefix: input.prefix,
    }))
}

/// `CreateBucket`.
pub async fn create(
    shared: &Shared,
    context: &Context,
    input: dto::CreateBucketInput,
) -> Result<S3Response<dto::CreateBucketOutput>, Fault> {
    let asked = input.create_bucket_configuration.unwrap_or_default();
    if asked.bucket.is_some() || asked.location.is_some() {
        return Err(Fault::not_implemented("A directory bucket"));
    }
    if let Some(constraint) = asked.location_constraint
        && constraint.as_str() != shared.config.region
    {
        let message = format!(
            "The {} location constraint is incompatible for the region specific endpoint this \
             request was sent to.",
            constraint.as_str()
        );
        return Err(Fault::new(
            Code::IllegalLocationConstraintException,
            message,
        ));
    }
    let bucket = context.bucket()?.to_owned();
    let location = Some(format!("/{bucket}"));
    shared
        .cluster
        .change(CreateBucket {
            bucket,
            owner: ROOT_ACCOUNT,
        })
        .await?;
    Ok(S3Response::new(dto::CreateBucketOutput { location }))
}

/// `HeadBucket`.
pub async fn head(
    shared: &Shared,
    context: &Context,
    _: dto::HeadBucketInput,
) -> Result<S3Response<dto::HeadBucketOutput>, Fault> {
    find(shared, context)?;
    Ok(S3Response::new(dto::HeadBucketOutput {
        bucket_region: Some(shared.config.region.clone()),
        ..Default::default()
    }))
}

/// `DeleteBucket`.
pub async fn delete(
    shared: &Shared,
    context: &Context,
    _: dto::DeleteBucketInput,
) -> Result<S3Response<dto::DeleteBucketOutput>, Fault> {
    check_owner(context, "x-amz-expected-bucket-owner")?;
    let bucket = context.bucket()?.to_owned();
    let command = DeleteBucket { bucket };
    let refused = match shared.cluster.change(command.clone()).await {
        Err(ClusterError::Refused(Refusal::BucketNotEmpty)) => Refusal::BucketNotEmpty,
        outcome => return Ok(outcome.map(|_| S3Response::new(dto::DeleteBucketOutput {}))?),
    };
    if !abort_uploads(shared, context).await? {
        return Err(refused.into());
    }
    shared.cluster.change(command).await?;
    Ok(S3Response::new(dto::DeleteBucketOutput {}))
}

/// Aborts the uploads of a bucket without objects: uploads alone do not keep a bucket, as with AWS.
/// Whether there were no objects.
async fn abort_uploads(shared: &Shared, context: &Context) -> Result<bool, Fault> {
    let bucket = find(shared, context)?;
    let query = UploadQuery {
        limit: UPLOADS_AT_ONCE,
        ..UploadQuery::default()
    };
    loop {
        let (is_empty, uploads) = shared.cluster.names(|view| {
            Ok((
                view.is_empty_directory(bucket.inode)?,
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
                bucket: bucket.name.clone(),
                key: upload.key,
                upload: upload.upload,
            };
            match shared.cluster.change(abort).await {
                Ok(_) | Err(ClusterError::Refused(Refusal::NoSuchUpload)) => {}
                Err(error) => return Err(error.into()),
            }
        }
    }
}

/// `GetBucketLocation`.
pub async fn location(
    shared: &Shared,
    context: &Context,
    _: dto::GetBucketLocationInput,
) -> Result<S3Response<dto::GetBucketLocationOutput>, Fault> {
    find(shared, context)?;
    let region = &shared.config.region;
    let constraint = (region != CLASSIC_REGION).then(|| region.clone());
    Ok(S3Response::new(dto::GetBucketLocationOutput {
        location_constraint: constraint.map(dto::BucketLocationConstraint::from),
    }))
}
