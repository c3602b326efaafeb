//! `GetObject`.

use std::ops::Range;

use s3s::S3Response;
use s3s::dto;
use strata_raftlog::namespace::Object;

use super::head_object::{Selected, answer_headers, no_such_key, select};
use super::object_body::{BodyReader, ObjectBody, Window, first_window};
use super::{Shared, check_owner};
use crate::context::Context;
use crate::error::Fault;

/// An object, what is wanted of it, and where that begins.
struct Found {
    object: Object,
    selected: Selected,
    window: Window,
}

/// `GetObject`: one range, one part, or all of it, as it lies there when the request is decided.
///
/// The first bytes are read before the answer begins: what cannot be read is an error that names
/// itself, not a `200` that breaks off.
pub async fn get(
    shared: &Shared,
    context: &Context,
    _: dto::GetObjectInput,
) -> Result<S3Response<dto::GetObjectOutput>, Fault> {
    check_owner(context, "x-amz-expected-bucket-owner")?;
    let Found {
        object,
        selected,
        window,
    } = find(shared, context)?;
    let headers = answer_headers(context, &object, &selected);
    let range = selected.range(object.size);
    let length = range.end - range.start;
    if length > 0 {
        let mut reader = BodyReader::new(shared, &object, range, window);
        let first = reader.next().await.transpose()?.unwrap_or_default();
        context.answer_with(ObjectBody::new(first, reader, length, context.request_id));
    }
    let mut response = S3Response::with_headers(dto::GetObjectOutput::default(), headers);
    response.output.content_length = i64::try_from(length).ok();
    context.set_status(selected.status());
    Ok(response)
}

fn find(shared: &Shared, context: &Context) -> Result<Found, Fault> {
    let (bucket, key) = context.object()?;
    shared.cluster.names(|view| {
        let Some(object) = view.object(bucket, key)? else {
            return Ok(Err(no_such_key(
                view.bucket(bucket)?.is_some(),
                bucket,
                key,
            )));
        };
        let selected = match select(view, context, &object)? {
            Ok(selected) => selected,
            Err(fault) => return Ok(Err(fault)),
        };
        let range: Range<u64> = selected.range(object.size);
        let window = first_window(view, &object, &range)?;
        Ok(match window {
            Some(window) => Ok(Found {
                object,
                selected,
                window,
            }),
            None => Err(no_such_key(true, bucket, key)),
        })
    })?
}
