//! `CopyObject` and `UploadPartCopy`: a read and a write inside the server.

use std::ops::Range;

use s3s::S3Response;
use s3s::dto;
use strata_raftlog::namespace::command::{Answer, PutObject, PutPart};
use strata_raftlog::namespace::{ChecksumAlgorithm, ObjectAttributes};

use super::copy_source::{Copied, Name, open, transfer};
use super::put_object::{commit, kind_of};
use super::ranges::{Asked, parse, resolve};
use super::{ROOT_ACCOUNT, Shared, buckets, conditions, metadata, multipart, timestamp};
use crate::context::Context;
use crate::error::{Code, Fault};
use crate::{checksum, etag};

/// The space of an object's own bytes.
const SPACE_OBJECT: u32 = 0;

/// `CopyObject`: all of an object of up to 5 GiB.
pub async fn copy(
    shared: &Shared,
    context: &Context,
    _: dto::CopyObjectInput,
) -> Result<S3Response<dto::CopyObjectOutput>, Fault> {
    let (bucket, key) = context.object()?;
    let name = Name::parse(context.header("x-amz-copy-source"))?;
    let replaced = replacement(context)?;
    let wanted = wanted_algorithm(context)?;
    let is_itself = name.bucket == bucket && name.key.as_bytes() == key;
    if is_itself && replaced.is_none() && wanted.is_none() {
        return Err(Fault::new(
            Code::InvalidRequest,
            "This copy request is illegal because it is trying to copy an object to itself without \
             changing the object's metadata, storage class, website redirect location or \
             encryption attributes.",
        ));
    }
    buckets::find(shared, context)?;
    let inode = shared.cluster.new_inode().await?;
    let source = open(shared, context, &name, |size| Ok(0..size))?;
    let stored = source
        .object
        .checksum
        .as_ref()
        .map(|checksum| checksum.algorithm);
    let algorithm = wanted.or(stored).unwrap_or(checksum::DEFAULT);
    let attributes = replaced.unwrap_or_else(|| source.object.attributes.clone());
    let writer = shared.cluster.writer(inode, SPACE_OBJECT);
    let Copied {
        body,
        size,
        etag,
        checksum,
    } = transfer(source, writer, algorithm).await?;
    let command = PutObject {
        bucket: bucket.to_owned(),
        key: key.to_vec(),
        inode,
        size,
        etag,
        checksum: Some(checksum.clone()),
        attributes,
        body,
        precondition: conditions::of_write(&context.headers),
        owner: ROOT_ACCOUNT,
    };
    let answer = commit(shared, command.into()).await?;
    let mut result = dto::CopyObjectResult {
        e_tag: Some(etag::to_dto(etag)),
        checksum_type: Some(kind_of(&checksum)),
        ..Default::default()
    };
    if let Answer::Put {
        modified_micros, ..
    } = answer
    {
        result.last_modified = Some(timestamp(modified_micros));
    }
    set_checksum!(result, Some(&checksum));
    let output = dto::CopyObjectOutput {
        copy_object_result: Some(result),
        ..Default::default()
    };
    Ok(S3Response::new(output))
}

/// `UploadPartCopy`: a range of an object, or all of it, becomes a part.
pub async fn copy_part(
    shared: &Shared,
    context: &Context,
    _: dto::UploadPartCopyInput,
) -> Result<S3Response<dto::UploadPartCopyOutput>, Fault> {
    let (bucket, key) = context.object()?;
    let number = multipart::part_number(context.query.get("partNumber").unwrap_or_default())?;
    let name = Name::parse(context.header("x-amz-copy-source"))?;
    let (upload, row) = multipart::find(shared, context)?;
    let space = multipart::fresh_space(shared).await?;
    let asked = context.header("x-amz-copy-source-range");
    let source = open(shared, context, &name, |size| source_range(asked, size))?;
    let algorithm = row
        .checksum
        .map_or(checksum::DEFAULT, |(algorithm, _)| algorithm);
    let writer = shared.cluster.writer(upload, space);
    let Copied {
        body,
        size,
        etag,
        checksum,
    } = transfer(source, writer, algorithm).await?;
    let command = PutPart {
        bucket: bucket.to_owned(),
        key: key.to_vec(),
        upload,
        number,
        space,
        size,
        etag,
        checksum: Some(checksum.clone()),
        body,
    };
    commit(shared, command.into()).await?;
    let mut result = dto::CopyPartResult {
        e_tag: Some(etag::to_dto(etag)),
        last_modified: Some(timestamp(strata_engine::reactor::wall_clock().0)),
        ..Default::default()
    };
    set_checksum!(result, Some(&checksum));
    let output = dto::UploadPartCopyOutput {
        copy_part_result: Some(result),
        ..Default::default()
    };
    Ok(S3Response::new(output))
}

/// The range of a source: unlike that of a GET it must be whole and lie within the object.
fn source_range(asked: Option<&str>, size: u64) -> Result<Range<u64>, Fault> {
    let Some(text) = asked else {
        return Ok(0..size);
    };
    let wrong = |message: &'static str| Fault::argument("x-amz-copy-source-range", text, message);
    match parse(text) {
        Some(asked @ Asked::Between(_, last)) if last < size => {
            resolve(asked, size).ok_or_else(|| wrong("Range specified is not valid"))
        }
        Some(Asked::Between(..)) => Err(wrong(
            "Range specified is not valid for source object of that size",
        )),
        _ => Err(wrong(
            "The x-amz-copy-source-range value must be of the form bytes=first-last where first \
             and last are the zero-based offsets of the first and last bytes to copy",
        )),
    }
}

/// The attributes that take the place of the source's, where the request says so.
fn replacement(context: &Context) -> Result<Option<ObjectAttributes>, Fault> {
    match context.header("x-amz-metadata-directive") {
        None | Some("COPY") => Ok(None),
        Some("REPLACE") => metadata::attributes(&context.headers).map(Some),
        Some(other) => Err(Fault::argument(
            "x-amz-metadata-directive",
            other,
            "Unknown metadata directive.",
        )),
    }
}

/// The checksum that the request asks for.
pub fn wanted_algorithm(context: &Context) -> Result<Option<ChecksumAlgorithm>, Fault> {
    let Some(name) = context.header("x-amz-checksum-algorithm") else {
        return Ok(None);
    };
    checksum::by_name(name).map(Some).ok_or_else(|| {
        Fault::new(
            Code::InvalidRequest,
            "Checksum algorithm provided is unsupported. Please try again with any of the valid \
             types: [CRC32, CRC32C, CRC64NVME, SHA1, SHA256]",
        )
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_range_of_a_source_lies_within_it() {
        assert_eq!(source_range(None, 10).unwrap(), 0..10);
        assert_eq!(source_range(Some("bytes=2-9"), 10).unwrap(), 2..10);
        for wrong in [
            "bytes=2-10",
            "bytes=10-11",
            "bytes=2-",
            "bytes=-2",
            "2-9",
            "bytes=a-b",
        ] {
            let fault = source_range(Some(wrong), 10).unwrap_err();
            assert_eq!(fault.code, Code::InvalidArgument, "{wrong}");
        }
    }
}
