//! `CopyObject` and `UploadPartCopy`: a read and a write inside the server.

use std::ops::Range;

use strata_raftlog::namespace::command::{Answer, PutObject, PutPart};
use strata_raftlog::namespace::{
    Checksum, ChecksumAlgorithm, ETag, ObjectAttributes, ObjectExtras, Tag,
};

use super::access_lists;
use super::copy_source::{Copied, Name, open, transfer};
use super::put_object::{commit, put_command};
use super::ranges::{Asked, parse, resolve};
use super::{Shared, buckets, conditions, metadata, multipart, object_lock, tags, versions};
use crate::access;
use crate::dates::Iso8601;
use crate::error::{Code, Fault};
use crate::request::Request;
use crate::response::Response;
use crate::{checksum, etag, xml};

/// The space of an object's own bytes.
const SPACE_OBJECT: u32 = 0;

/// Whether a copy has the tags of its source or those of the request.
const TAGGING_DIRECTIVE: &str = "x-amz-tagging-directive";

/// `CopyObject`: all of an object of up to 5 GiB.
///
/// # Errors
/// As every handler.
pub async fn copy(shared: &Shared, request: &Request) -> Result<Response, Fault> {
    let (bucket, key) = request.address.object()?;
    let name = Name::parse(request.header("x-amz-copy-source"))?;
    let replaced = replacement(request)?;
    let replaced_tags = replacement_of_tags(request)?;
    // The lock of the source stays with the source.
    let lock = object_lock::of_headers(&request.headers)?;
    let precondition = conditions::of_write(&request.headers)?;
    let wanted = wanted_algorithm(request)?;
    let is_present = name.version.is_none();
    let is_itself = is_present && name.bucket == bucket && name.key.as_bytes() == key;
    if is_itself && replaced.is_none() && wanted.is_none() {
        return Err(changes_nothing());
    }
    let found = buckets::find(shared, request)?;
    object_lock::check_bucket(&found, lock)?;
    // The list of the source stays with the source.
    let access = access_lists::of_new_object(shared, request, &found)?;
    let inode = shared.cluster.new_inode().await?;
    let source = open(shared, request, &name, |size| Ok(0..size))?;
    let stored = source
        .object
        .checksum
        .as_ref()
        .map(|checksum| checksum.algorithm);
    let algorithm = wanted.or(stored).unwrap_or(checksum::DEFAULT);
    let attributes = replaced.unwrap_or_else(|| source.object.attributes.clone());
    let tags = match replaced_tags {
        Some(tags) => tags,
        None => copied_tags(shared, request, &name, &source.tags)?,
    };
    let writer = shared.cluster.writer(inode, SPACE_OBJECT);
    let from = source.version();
    let Copied {
        body,
        size,
        etag,
        checksum,
    } = transfer(source, writer, algorithm).await?;
    let command = PutObject {
        bucket: found.inode,
        key: key.to_vec(),
        inode,
        size,
        etag,
        checksum: Some(checksum.clone()),
        attributes,
        body,
        precondition,
        owner: access.owner,
    };
    let extras = ObjectExtras {
        tags,
        lock,
        access_list: access.list,
    };
    let answer = commit(shared, put_command(command, extras)).await?;
    let (Answer::Put { modified_nanos, .. } | Answer::PutVersion { modified_nanos, .. }) = answer
    else {
        let cause = format!("answered with {answer:?}");
        return Err(Fault::from(Code::InternalError).because(cause));
    };
    let mut xml = result_of("CopyObjectResult", modified_nanos, etag, &checksum);
    xml.element("ChecksumType", checksum::kind_name(checksum.kind));
    let mut response = Response::xml(xml);
    versions::add_put_version(&mut response.headers, &answer);
    from.add_to(&mut response.headers);
    Ok(response)
}

fn changes_nothing() -> Fault {
    Fault::new(
        Code::InvalidRequest,
        "This copy request is illegal because it is trying to copy an object to itself without \
         changing the object's metadata, storage class, website redirect location or encryption \
         attributes.",
    )
}

/// The tags of the source, where there are any and who asks may take them over.
fn copied_tags(
    shared: &Shared,
    request: &Request,
    name: &Name,
    tags: &[Tag],
) -> Result<Vec<Tag>, Fault> {
    if !tags.is_empty() {
        access::check_copied_tags(shared, request, name)?;
    }
    Ok(tags.to_vec())
}

fn result_of(
    root: &'static str,
    modified_nanos: i64,
    etag: ETag,
    checksum: &Checksum,
) -> xml::Writer {
    let mut xml = xml::Writer::new(root);
    xml.value("LastModified", Iso8601(modified_nanos));
    xml.element("ETag", &etag::quoted(etag));
    checksum::write(&mut xml, Some(checksum));
    xml
}

/// `UploadPartCopy`: a range of an object, or all of it, becomes a part.
///
/// # Errors
/// As every handler.
pub async fn copy_part(shared: &Shared, request: &Request) -> Result<Response, Fault> {
    let (_, key) = request.address.object()?;
    let number = multipart::part_number(request.query.text("partNumber"))?;
    let name = Name::parse(request.header("x-amz-copy-source"))?;
    let found = multipart::find(shared, request)?;
    let (upload, row) = (found.upload, found.row);
    let space = multipart::fresh_space(shared).await?;
    let asked = request.header("x-amz-copy-source-range");
    let source = open(shared, request, &name, |size| source_range(asked, size))?;
    let algorithm = row
        .checksum
        .map_or(checksum::DEFAULT, |(algorithm, _)| algorithm);
    let writer = shared.cluster.writer(upload, space);
    let from = source.version();
    let Copied {
        body,
        size,
        etag,
        checksum,
    } = transfer(source, writer, algorithm).await?;
    let command = PutPart {
        bucket: found.bucket.inode,
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
    let now = strata_engine::reactor::wall_clock().nanoseconds();
    let mut response = Response::xml(result_of("CopyPartResult", now, etag, &checksum));
    from.add_to(&mut response.headers);
    Ok(response)
}

/// The range of a source: unlike that of a GET it must be whole and lie within the object.
fn source_range(asked: Option<&str>, size: u64) -> Result<Range<u64>, Fault> {
    let Some(text) = asked else {
        return Ok(0..size);
    };
    let wrong = |message: String| Fault::argument("x-amz-copy-source-range", text, message);
    match parse(text) {
        Some(asked @ Asked::Between(_, last)) if last < size => {
            resolve(asked, size).ok_or_else(|| wrong("Range specified is not valid".to_owned()))
        }
        Some(Asked::Between(..)) => Err(wrong(format!(
            "Range specified is not valid for source object of size: {size}"
        ))),
        _ => {
            let message = "The x-amz-copy-source-range value must be of the form bytes=first-last \
                           where first and last are the zero-based offsets of the first and last \
                           bytes to copy";
            Err(wrong(message.to_owned()))
        }
    }
}

/// The attributes that take the place of the source's, where the request says so.
fn replacement(request: &Request) -> Result<Option<ObjectAttributes>, Fault> {
    match replaces(
        request,
        "x-amz-metadata-directive",
        "Unknown metadata directive.",
    )? {
        true => metadata::attributes(&request.headers).map(Some),
        false => Ok(None),
    }
}

/// The tags that take the place of the source's, where the request says so.
fn replacement_of_tags(request: &Request) -> Result<Option<Vec<Tag>>, Fault> {
    match replaces(request, TAGGING_DIRECTIVE, "Unknown tagging directive.")? {
        true => tags::of_headers(&request.headers).map(Some),
        false => Ok(None),
    }
}

/// Whether the copy is to have the tags of the request.
pub fn replaces_tags(request: &Request) -> bool {
    replaces(request, TAGGING_DIRECTIVE, "").unwrap_or(false)
}

/// Whether a directive says `REPLACE`; where it says nothing it is `COPY`.
fn replaces(request: &Request, directive: &str, unknown: &'static str) -> Result<bool, Fault> {
    match request.header(directive) {
        None => Ok(false),
        Some(copy) if copy.eq_ignore_ascii_case("COPY") => Ok(false),
        Some(replace) if replace.eq_ignore_ascii_case("REPLACE") => Ok(true),
        Some(other) => Err(Fault::argument(directive, other, unknown)),
    }
}

/// The checksum that the request asks for.
///
/// # Errors
/// `InvalidRequest` for an algorithm that S3 does not have.
pub fn wanted_algorithm(request: &Request) -> Result<Option<ChecksumAlgorithm>, Fault> {
    let Some(name) = request.header("x-amz-checksum-algorithm") else {
        return Ok(None);
    };
    checksum::refuse_not_served(name)?;
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
        let beyond = source_range(Some("bytes=2-10"), 10).unwrap_err();
        let message = "Range specified is not valid for source object of size: 10";
        assert_eq!(beyond.message, message);
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
