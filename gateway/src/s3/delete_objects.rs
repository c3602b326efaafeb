//! `DeleteObject` and `DeleteObjects`.

use futures_util::StreamExt as _;
use s3s::S3Response;
use s3s::dto;
use strata_raftlog::namespace::command::{
    Answer, DeleteKey, DeleteObjects, DeleteOutcome, ETagMatch,
};
use strata_raftlog::namespace::{ETag, KEY_BYTES_MAX};

use super::{Shared, buckets, check_owner, conditions};
use crate::context::Context;
use crate::error::{Code, Fault};
use crate::query;

/// Keys of one request at most.
const KEYS_MAX: usize = 1000;

/// Keys of one command: more would be a long turn of the metadata core, and others wait for it.
const COMMAND_KEYS_MAX: usize = 32;

/// Commands of one request that are under way together; they share a flush.
const COMMANDS_AT_ONCE_MAX: usize = 2;

/// `DeleteObject`: a key that is absent is no error.
pub async fn one(
    shared: &Shared,
    context: &Context,
    _: dto::DeleteObjectInput,
) -> Result<S3Response<dto::DeleteObjectOutput>, Fault> {
    check_owner(context, "x-amz-expected-bucket-owner")?;
    let (bucket, key) = context.object()?;
    let keys = vec![DeleteKey {
        key: key.to_vec(),
        if_match: conditions::of_write(&context.headers).if_match,
    }];
    let outcomes = delete(shared, bucket, keys).await?;
    match outcomes.first() {
        Some(DeleteOutcome::PreconditionFailed) => Err(Code::PreconditionFailed.into()),
        _ => Ok(S3Response::new(dto::DeleteObjectOutput::default())),
    }
}

/// `DeleteObjects`: up to 1,000 keys, each with its own outcome, a few to a command.
pub async fn many(
    shared: &Shared,
    context: &Context,
    input: dto::DeleteObjectsInput,
) -> Result<S3Response<dto::DeleteObjectsOutput>, Fault> {
    check_owner(context, "x-amz-expected-bucket-owner")?;
    let bucket = context.bucket()?;
    let dto::Delete { objects, quiet } = input.delete;
    if objects.is_empty() || objects.len() > KEYS_MAX {
        return Err(Code::MalformedXML.into());
    }
    let (mut refused, mut wanted) = (Vec::new(), Vec::new());
    for object in objects {
        match key_of(&object) {
            Ok(key) => wanted.push((object, key)),
            Err(fault) => refused.push(error_of(&object, &fault)),
        }
    }
    buckets::find(shared, context)?;
    let commands = wanted.chunks(COMMAND_KEYS_MAX).map(|part| async move {
        let keys = part.iter().map(|(_, key)| key.clone()).collect();
        (part, delete(shared, bucket, keys).await)
    });
    let mut outcomes = futures_util::stream::iter(commands).buffered(COMMANDS_AT_ONCE_MAX);
    let mut outcome_of_keys = Vec::with_capacity(wanted.len());
    while let Some((part, outcomes)) = outcomes.next().await {
        outcome_of_keys.extend(one_by_one(part, outcomes));
    }
    let mut deleted = Vec::new();
    for (object, outcome) in outcome_of_keys {
        match outcome {
            Err(fault) => refused.push(error_of(object, &fault)),
            Ok(DeleteOutcome::PreconditionFailed) => {
                refused.push(error_of(object, &Code::PreconditionFailed.into()));
            }
            Ok(DeleteOutcome::Deleted | DeleteOutcome::Absent) if quiet != Some(true) => {
                deleted.push(dto::DeletedObject {
                    key: Some(object.key.clone()),
                    version_id: object.version_id.clone(),
                    ..Default::default()
                });
            }
            Ok(DeleteOutcome::Deleted | DeleteOutcome::Absent) => {}
        }
    }
    Ok(S3Response::new(dto::DeleteObjectsOutput {
        deleted: (!deleted.is_empty()).then_some(deleted),
        errors: (!refused.is_empty()).then_some(refused),
        request_charged: None,
    }))
}

type Named = (dto::ObjectIdentifier, DeleteKey);
type KeyOutcome<'a> = (&'a dto::ObjectIdentifier, Result<DeleteOutcome, Fault>);

/// What a command came to, key by key: one that failed as a whole has failed for each of its keys.
fn one_by_one(
    part: &[Named],
    outcomes: Result<Vec<DeleteOutcome>, Fault>,
) -> impl Iterator<Item = KeyOutcome<'_>> {
    let outcomes = outcomes.and_then(|outcomes| match outcomes.len() == part.len() {
        true => Ok(outcomes),
        false => Err(Fault::from(Code::InternalError).because("not one outcome for each key")),
    });
    part.iter().enumerate().map(move |(at, (object, _))| {
        (
            object,
            outcomes
                .as_ref()
                .map(|outcomes| outcomes[at])
                .map_err(Clone::clone),
        )
    })
}

async fn delete(
    shared: &Shared,
    bucket: &str,
    keys: Vec<DeleteKey>,
) -> Result<Vec<DeleteOutcome>, Fault> {
    let command = DeleteObjects {
        bucket: bucket.to_owned(),
        keys,
    };
    match shared.cluster.change(command).await? {
        Answer::Deleted(outcomes) => Ok(outcomes),
        other => Err(Fault::from(Code::InternalError).because(format!("answered with {other:?}"))),
    }
}

/// What the command says of a key of the list.
fn key_of(object: &dto::ObjectIdentifier) -> Result<DeleteKey, Fault> {
    if object
        .version_id
        .as_ref()
        .is_some_and(|version| version != "null")
    {
        return Err(Fault::not_implemented("Versioning"));
    }
    if object.last_modified_time.is_some() || object.size.is_some() {
        return Err(Fault::not_implemented("A condition on time or size"));
    }
    if object.key.is_empty() {
        return Err(Fault::new(
            Code::InvalidArgument,
            "A key must not be empty.",
        ));
    }
    if object.key.len() > KEY_BYTES_MAX {
        return Err(Code::KeyTooLongError.into());
    }
    let if_match = object.e_tag.as_ref().map(|tag| match tag.value() {
        "*" => ETagMatch::Any,
        value => ETagMatch::OneOf(ETag::parse(value).into_iter().collect()),
    });
    Ok(DeleteKey {
        key: object.key.clone().into_bytes(),
        if_match,
    })
}

fn error_of(object: &dto::ObjectIdentifier, fault: &Fault) -> dto::Error {
    dto::Error {
        code: Some(fault.code.name().to_owned()),
        key: Some(query::encode_key(object.key.as_bytes(), false)),
        message: Some(fault.message.clone().into_owned()),
        version_id: object.version_id.clone(),
    }
}
