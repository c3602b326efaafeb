//! Multipart uploads: create, upload a part, abort.
//!
//! An upload is named by its inode. What an upload was created with decides the checksum of all its
//! parts; a part's chunks lie in a space of the inode that no other part ever had.

use std::rc::Rc;

use http::{HeaderName, header};
use strata_raftlog::namespace::command::{
    AbortUpload, Command, CreateUpload, CreateUploadWithExtras, PutPart,
};
use strata_raftlog::namespace::{
    Bucket, ChecksumAlgorithm, ChecksumKind, ETag, PART_NUMBER_MAX, Upload,
};

use super::access_lists::{self, NewAccess};
use super::copy_object::wanted_algorithm;
use super::put_object::{checksum_of, commit, extras_of, store};
use super::{Shared, buckets, metadata, object_lock, write_key};
use crate::body::RequestBody;
use crate::error::{Code, Fault};
use crate::request::Request;
use crate::response::Response;
use crate::{checksum, etag, xml};

pub use super::multipart_complete::complete;

/// `CreateMultipartUpload`.
///
/// # Errors
/// As every handler.
pub async fn create(shared: &Shared, request: &Request) -> Result<Response, Fault> {
    let (bucket, key) = request.address.object()?;
    let attributes = metadata::attributes(&request.headers)?;
    let mut extras = extras_of(&request.headers)?;
    let asked = wanted_algorithm(request)?;
    let algorithm = asked.unwrap_or(checksum::DEFAULT);
    let kind = wanted_kind(request, algorithm)?;
    let found = buckets::find(shared, request)?;
    object_lock::check_bucket(&found, extras.lock)?;
    let NewAccess { owner, list } = access_lists::of_new_object(shared, request, &found)?;
    extras.access_list = list;
    let inode = shared.cluster.new_inode().await?;
    let create = CreateUpload {
        bucket: found.inode,
        key: key.to_vec(),
        inode,
        attributes,
        checksum: Some((algorithm, kind)),
        owner,
    };
    let command: Command = match extras.is_empty() {
        true => create.into(),
        false => CreateUploadWithExtras { create, extras }.into(),
    };
    shared.cluster.submit(command).await?;
    let mut xml = xml::Writer::new("InitiateMultipartUploadResult");
    xml.element("Bucket", bucket);
    write_key(&mut xml, "Key", key, false);
    xml.value("UploadId", upload_id(inode));
    let response = Response::xml(xml);
    let name = HeaderName::from_static;
    Ok(match asked {
        None => response,
        Some(algorithm) => response
            .header(
                name("x-amz-checksum-algorithm"),
                checksum::name_of(algorithm),
            )
            .header(name("x-amz-checksum-type"), checksum::kind_name(kind)),
    })
}

/// `UploadPart`.
///
/// # Errors
/// As every handler.
pub async fn put_part(shared: &Shared, request: &mut Request) -> Result<Response, Fault> {
    let number = part_number(request.query.text("partNumber"))?;
    let Found {
        bucket,
        upload,
        row,
    } = find(shared, request)?;
    let space = fresh_space(shared).await?;
    let algorithm = row
        .checksum
        .map_or(checksum::DEFAULT, |(algorithm, _)| algorithm);
    agree(&request.body, algorithm)?;
    object_lock::check_digest(&request.body, row.lock, &bucket, "Put Part")?;
    request.body.want_checksum(algorithm);
    let writer = shared.cluster.writer(upload, space);
    let (body, digests) = store(&mut request.body, writer).await?;
    let checksum = checksum_of(&digests);
    let etag = ETag::single(digests.md5);
    let (_, key) = request.address.object()?;
    let command = PutPart {
        bucket: bucket.inode,
        key: key.to_vec(),
        upload,
        number,
        space,
        size: digests.length,
        etag,
        checksum: checksum.clone(),
        body,
    };
    commit(shared, command.into()).await?;
    let mut response = Response::ok().header(header::ETAG, &etag::quoted(etag));
    if let Some(checksum) = &checksum {
        checksum::add_value(&mut response.headers, checksum);
    }
    Ok(response)
}

/// `AbortMultipartUpload`.
///
/// # Errors
/// As every handler.
pub async fn abort(shared: &Shared, request: &Request) -> Result<Response, Fault> {
    let (_, key) = request.address.object()?;
    let command = AbortUpload {
        bucket: buckets::find(shared, request)?.inode,
        key: key.to_vec(),
        upload: parse_upload_id(request.query.text("uploadId"))?,
    };
    shared.cluster.submit(command).await?;
    Ok(Response::no_content())
}

/// An upload as clients name it.
pub fn upload_id(inode: u64) -> String {
    format!("{inode:016x}")
}

/// The inode of an upload.
///
/// # Errors
/// `NoSuchUpload`: what we did not give out is none of ours.
pub fn parse_upload_id(text: &str) -> Result<u64, Fault> {
    let inode = u64::from_str_radix(text, 16).ok();
    inode
        .filter(|inode| upload_id(*inode) == text)
        .ok_or_else(|| no_such_upload(text))
}

/// `NoSuchUpload` with its id.
pub fn no_such_upload(id: &str) -> Fault {
    Fault::from(Code::NoSuchUpload).detail("UploadId", id)
}

/// An upload that was found.
pub struct Found {
    /// The bucket.
    pub bucket: Rc<Bucket>,
    /// The upload's inode.
    pub upload: u64,
    /// What is known of it.
    pub row: Upload,
}

/// The upload of a request.
///
/// # Errors
/// `NoSuchBucket`, `NoSuchUpload`.
pub fn find(shared: &Shared, request: &Request) -> Result<Found, Fault> {
    let (_, key) = request.address.object()?;
    let bucket = buckets::find(shared, request)?;
    let id = request.query.text("uploadId");
    let upload = parse_upload_id(id)?;
    let row = shared
        .cluster
        .read(|view| view.upload(bucket.inode, key, upload))?;
    Ok(Found {
        bucket,
        upload,
        row: row.ok_or_else(|| no_such_upload(id))?,
    })
}

/// Reads the number of a part.
///
/// # Errors
/// `InvalidArgument` outside 1 to 10,000.
pub fn part_number(text: &str) -> Result<u16, Fault> {
    let number = text
        .parse::<u16>()
        .ok()
        .filter(|n| (1..=PART_NUMBER_MAX).contains(n));
    number.ok_or_else(|| {
        let message = "Part number must be an integer between 1 and 10000, inclusive";
        Fault::argument("partNumber", text, message)
    })
}

/// A number that no other part of the upload has: the low half of a fresh inode, which only comes
/// round again after 2^32 of them.
///
/// # Errors
/// Those of leasing inodes.
pub async fn fresh_space(shared: &Shared) -> Result<u32, Fault> {
    loop {
        let space = shared.cluster.new_inode().await? as u32;
        if space != 0 {
            return Ok(space);
        }
    }
}

fn wanted_kind(request: &Request, algorithm: ChecksumAlgorithm) -> Result<ChecksumKind, Fault> {
    let Some(name) = request.header("x-amz-checksum-type") else {
        return Ok(checksum::default_kind(algorithm));
    };
    let kind = checksum::kind_by_name(name).ok_or_else(|| {
        Fault::new(
            Code::InvalidRequest,
            "Value for x-amz-checksum-type header is invalid.",
        )
    })?;
    match checksum::kind_is_possible(algorithm, kind) {
        true => Ok(kind),
        false => Err(Fault::new(
            Code::InvalidRequest,
            format!(
                "The {name} checksum type cannot be used with the {} checksum algorithm.",
                checksum::name_of(algorithm).to_ascii_lowercase()
            ),
        )),
    }
}

/// A part may declare the checksum of its upload. Where the upload has the default, it may declare
/// any: that one is compared, and the default is stored.
fn agree(body: &RequestBody, algorithm: ChecksumAlgorithm) -> Result<(), Fault> {
    let Some(declared) = body.expectation().checksum.as_ref() else {
        return Ok(());
    };
    if declared.algorithm == algorithm || algorithm == checksum::DEFAULT {
        return Ok(());
    }
    let name = |algorithm| checksum::name_of(algorithm).to_ascii_lowercase();
    Err(Fault::new(
        Code::InvalidRequest,
        format!(
            "Checksum Type mismatch occurred, expected checksum Type: {}, actual checksum Type: {}",
            name(algorithm),
            name(declared.algorithm)
        ),
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn upload_ids_are_ours_or_unknown() {
        assert_eq!(
            parse_upload_id(&upload_id(0x1_0000_0000_0005)).unwrap(),
            0x1_0000_0000_0005
        );
        for other in [
            "",
            "5",
            "00000000000000zz",
            "+000000000000005",
            "000000000000000A",
        ] {
            assert_eq!(
                parse_upload_id(other).unwrap_err().code,
                Code::NoSuchUpload,
                "{other}"
            );
        }
    }
}
