//! `GetObjectAttributes`.

use s3s::S3Response;
use s3s::dto;
use strata_raftlog::namespace::Object;

use super::put_object::kind_of;
use super::{Shared, check_owner, conditions, head_object, timestamp};
use crate::context::Context;
use crate::error::{Code, Fault};
use crate::etag;

/// What can be asked for.
const KNOWN: [&str; 5] = [
    "ETag",
    "Checksum",
    "ObjectParts",
    "StorageClass",
    "ObjectSize",
];

/// `GetObjectAttributes`: those that the request names. Of the parts, their number: what they were
/// one by one is forgotten when an upload is completed.
pub async fn get(
    shared: &Shared,
    context: &Context,
    _: dto::GetObjectAttributesInput,
) -> Result<S3Response<dto::GetObjectAttributesOutput>, Fault> {
    check_owner(context, "x-amz-expected-bucket-owner")?;
    let wanted = wanted(context)?;
    let (bucket, key) = context.object()?;
    let object = shared.cluster.names(|view| {
        let Some(object) = view.object(bucket, key)? else {
            let exists = view.bucket(bucket)?.is_some();
            return Ok(Err(head_object::no_such_key(exists, bucket, key)));
        };
        let checked = conditions::check_read(&context.headers, &conditions::OF_READ, &object);
        Ok(checked.map(|()| object))
    })??;
    Ok(S3Response::new(output(&object, |name| {
        wanted.iter().any(|known| known == name)
    })))
}

/// The names in `x-amz-object-attributes`.
fn wanted(context: &Context) -> Result<Vec<String>, Fault> {
    let mut names = Vec::new();
    for value in context.headers.get_all("x-amz-object-attributes") {
        let text = value.to_str().unwrap_or_default();
        names.extend(text.split(',').map(|name| name.trim().to_owned()));
    }
    let unknown = names.iter().find(|name| !KNOWN.contains(&name.as_str()));
    match unknown {
        Some(name) => {
            let message = "Invalid attribute name specified.";
            Err(Fault::argument("x-amz-object-attributes", name, message))
        }
        None if names.is_empty() => Err(Fault::new(
            Code::InvalidRequest,
            "The x-amz-object-attributes header specifying the attributes to be retrieved is \
             missing.",
        )),
        None => Ok(names),
    }
}

fn output(object: &Object, wants: impl Fn(&str) -> bool) -> dto::GetObjectAttributesOutput {
    let mut checksum = dto::Checksum::default();
    set_checksum!(checksum, object.checksum.as_ref());
    checksum.checksum_type = object.checksum.as_ref().map(kind_of);
    let count = i32::try_from(object.etag.part_count)
        .ok()
        .filter(|count| *count > 0);
    let parts = count.map(|count| dto::GetObjectAttributesParts {
        total_parts_count: Some(count),
        ..Default::default()
    });
    dto::GetObjectAttributesOutput {
        checksum: Some(checksum).filter(|_| wants("Checksum") && object.checksum.is_some()),
        e_tag: wants("ETag").then(|| etag::to_dto(object.etag)),
        last_modified: Some(timestamp(object.modified_micros)),
        object_parts: parts.filter(|_| wants("ObjectParts")),
        object_size: i64::try_from(object.size)
            .ok()
            .filter(|_| wants("ObjectSize")),
        storage_class: wants("StorageClass").then(|| dto::StorageClass::from_static("STANDARD")),
        ..Default::default()
    }
}
