//! `CopyObject`: a read and a write inside the server, into chunks of its own.

use s3s::S3Response;
use s3s::dto;
use strata_engine::reactor;
use strata_raftlog::command::{Answer, PutObject};
use strata_raftlog::namespace::{
    Body, Checksum, ChecksumAlgorithm, ETag, Object, ObjectAttributes,
};

use super::object_body::{BodyReader, Window, first_window};
use super::put_object::{commit, kind_of};
use super::{
    ROOT_ACCOUNT, Shared, buckets, check_owner, conditions, head_object, metadata, timestamp,
};
use crate::checksum::{self, Hasher};
use crate::context::Context;
use crate::error::{Code, Fault};
use crate::guard::PUT_BYTES_MAX;
use crate::md5::Md5;
use crate::{etag, query};

/// Bytes that are hashed between two looks at the clock.
const HASH_BYTES_MAX: usize = 64 << 10;

/// What a copy is made of.
struct Source {
    object: Object,
    window: Window,
}

/// `CopyObject`.
pub async fn copy(
    shared: &Shared,
    context: &Context,
    _: dto::CopyObjectInput,
) -> Result<S3Response<dto::CopyObjectOutput>, Fault> {
    let (bucket, key) = context.object()?;
    check_owner(context, "x-amz-source-expected-bucket-owner")?;
    let (from_bucket, from_key) = source_of(context.header("x-amz-copy-source"))?;
    let replaced = replacement(context)?;
    let algorithm = wanted_algorithm(context)?;
    let is_itself = from_bucket == bucket && from_key.as_bytes() == key;
    if is_itself && replaced.is_none() && algorithm.is_none() {
        return Err(Fault::new(
            Code::InvalidRequest,
            "This copy request is illegal because it is trying to copy an object to itself without \
             changing the object's metadata, storage class, website redirect location or \
             encryption attributes.",
        ));
    }
    buckets::find(shared, context)?;
    let source = find(shared, context, &from_bucket, from_key.as_bytes())?;
    let algorithm = algorithm.or(source.object.checksum.as_ref().map(|c| c.algorithm));
    let attributes = replaced.unwrap_or_else(|| source.object.attributes.clone());
    let algorithm = algorithm.unwrap_or(checksum::DEFAULT);
    let Copied {
        inode,
        body,
        size,
        etag,
        checksum,
    } = transfer(shared, source, algorithm).await?;
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
    Ok(S3Response::new(output(&answer, etag, &checksum)))
}

/// What a copy came to before it has a name.
struct Copied {
    inode: u64,
    body: Body,
    size: u64,
    etag: ETag,
    checksum: Checksum,
}

/// Opens the source in the turn in which it was found, and only then waits for anything.
async fn transfer(
    shared: &Shared,
    source: Source,
    algorithm: ChecksumAlgorithm,
) -> Result<Copied, Fault> {
    let Source { object, window } = source;
    let size = object.size;
    let mut reader = BodyReader::new(&shared.cluster, &object, 0..size, window);
    let inode = shared.cluster.new_inode().await?;
    let mut writer = shared.cluster.writer(inode, 0);
    let (mut md5, mut hasher) = (Md5::default(), Hasher::new(algorithm));
    let mut copied = 0;
    while let Some(bytes) = reader.next().await {
        let bytes = bytes?;
        copied += bytes.len() as u64;
        for piece in bytes.chunks(HASH_BYTES_MAX) {
            md5.update(piece);
            hasher.update(piece);
            reactor::yield_if_due().await;
        }
        writer.write(bytes).await?;
    }
    if copied != size {
        return Err(Fault::from(Code::InternalError).because("the source is shorter than it says"));
    }
    let body = writer.finish().await?;
    let checksum = checksum::full_object(algorithm, hasher.finish());
    Ok(Copied {
        inode,
        body,
        size,
        etag: ETag::single(md5.finish()),
        checksum,
    })
}

fn find(shared: &Shared, context: &Context, bucket: &str, key: &[u8]) -> Result<Source, Fault> {
    shared.cluster.names(|view| {
        let Some(object) = view.object(bucket, key)? else {
            let exists = view.bucket(bucket)?.is_some();
            return Ok(Err(head_object::no_such_key(exists, bucket, key)));
        };
        if let Err(fault) = conditions::check_source(&context.headers, &object) {
            return Ok(Err(fault));
        }
        if object.size > PUT_BYTES_MAX {
            let message = format!(
                "The specified copy source is larger than the maximum allowable size for a copy \
                 source: {PUT_BYTES_MAX}"
            );
            return Ok(Err(Fault::new(Code::InvalidRequest, message)));
        }
        let window = first_window(view, &object, &(0..object.size))?;
        Ok(match window {
            Some(window) => Ok(Source { object, window }),
            None => Err(head_object::no_such_key(true, bucket, key)),
        })
    })?
}

/// Bucket and key of `x-amz-copy-source`: `[/]bucket/key`, percent-encoded, `?versionId=null` or
/// nothing after it.
fn source_of(header: Option<&str>) -> Result<(String, String), Fault> {
    let text = header.unwrap_or_default();
    let wrong = |message: &'static str| Fault::argument("x-amz-copy-source", text, message);
    let (path, version) = match text.split_once("?versionId=") {
        Some((path, version)) => (path, Some(version)),
        None => (text, None),
    };
    if version.is_some_and(|version| version != "null") {
        return Err(Fault::not_implemented("Versioning"));
    }
    if path.starts_with("arn:") {
        return Err(Fault::not_implemented("An access point"));
    }
    let path = query::decode(path).ok_or_else(|| wrong("The copy source is not well encoded."))?;
    let path = path.strip_prefix('/').unwrap_or(&path);
    match path.split_once('/') {
        Some((bucket, key)) if !key.is_empty() && s3s::path::check_bucket_name(bucket) => {
            Ok((bucket.to_owned(), key.to_owned()))
        }
        _ => Err(wrong(
            "Copy Source must mention the source bucket and key: sourcebucket/sourcekey",
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

fn output(answer: &Answer, etag: ETag, checksum: &Checksum) -> dto::CopyObjectOutput {
    let mut result = dto::CopyObjectResult {
        e_tag: Some(etag::to_dto(etag)),
        checksum_type: Some(kind_of(checksum)),
        ..Default::default()
    };
    if let Answer::Put {
        modified_micros, ..
    } = answer
    {
        result.last_modified = Some(timestamp(*modified_micros));
    }
    set_checksum!(result, Some(checksum));
    dto::CopyObjectOutput {
        copy_object_result: Some(result),
        ..Default::default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sources_are_read_with_and_without_a_slash() {
        let pair = |bucket: &str, key: &str| (bucket.to_owned(), key.to_owned());
        assert_eq!(
            source_of(Some("/bucket/a%20b/c")).unwrap(),
            pair("bucket", "a b/c")
        );
        assert_eq!(
            source_of(Some("bucket/k?versionId=null")).unwrap(),
            pair("bucket", "k")
        );
        assert_eq!(
            source_of(Some("bucket/what%3F")).unwrap(),
            pair("bucket", "what?")
        );
        for wrong in [
            "",
            "bucket",
            "bucket/",
            "/",
            "b/k",
            "bucket/%zz",
            "arn:aws:s3:x/y",
        ] {
            assert!(source_of(Some(wrong)).is_err(), "{wrong}");
        }
        let versioned = source_of(Some("bucket/k?versionId=3")).unwrap_err();
        assert_eq!(versioned.code, Code::NotImplemented);
    }
}
