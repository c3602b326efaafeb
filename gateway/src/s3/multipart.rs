//! Multipart uploads: create, upload a part, complete, abort.
//!
//! An upload is named by its inode. What an upload was created with decides the checksum of all its
//! parts; a part's chunks lie in a space of the inode that no other part ever had.

use s3s::S3Response;
use s3s::dto;
use strata_raftlog::namespace::command::{
    AbortUpload, CompleteUpload, CompletedPart, CreateUpload, PutPart,
};
use strata_raftlog::namespace::{
    Checksum, ChecksumAlgorithm, ChecksumKind, ETag, PART_NUMBER_MAX, Part, Upload,
};

use super::copy_object::wanted_algorithm;
use super::put_object::{checksum_of, commit, kind_of, store};
use super::{ROOT_ACCOUNT, Shared, buckets, check_owner, conditions, metadata};
use crate::body::RequestBody;
use crate::context::Context;
use crate::error::{Code, Fault};
use crate::{checksum, etag, query};

/// `CreateMultipartUpload`.
pub async fn create(
    shared: &Shared,
    context: &Context,
    _: dto::CreateMultipartUploadInput,
) -> Result<S3Response<dto::CreateMultipartUploadOutput>, Fault> {
    let (bucket, key) = context.object()?;
    let attributes = metadata::attributes(&context.headers)?;
    let asked = wanted_algorithm(context)?;
    let algorithm = asked.unwrap_or(checksum::DEFAULT);
    let kind = wanted_kind(context, algorithm)?;
    buckets::find(shared, context)?;
    let inode = shared.cluster.new_inode().await?;
    let command = CreateUpload {
        bucket: bucket.to_owned(),
        key: key.to_vec(),
        inode,
        attributes,
        checksum: Some((algorithm, kind)),
        owner: ROOT_ACCOUNT,
    };
    shared.cluster.change(command).await?;
    let output = dto::CreateMultipartUploadOutput {
        bucket: Some(bucket.to_owned()),
        key: Some(query::encode_key(key, false)),
        upload_id: Some(upload_id(inode)),
        checksum_algorithm: asked
            .map(|algorithm| dto::ChecksumAlgorithm::from_static(checksum::name_of(algorithm))),
        checksum_type: asked.map(|_| dto::ChecksumType::from_static(checksum::kind_name(kind))),
        ..Default::default()
    };
    Ok(S3Response::new(output))
}

/// `UploadPart`.
pub async fn put_part(
    shared: &Shared,
    context: &Context,
    _: dto::UploadPartInput,
) -> Result<S3Response<dto::UploadPartOutput>, Fault> {
    let (bucket, key) = context.object()?;
    let number = part_number(context.query.get("partNumber").unwrap_or_default())?;
    let (upload, row) = find(shared, context)?;
    let space = fresh_space(shared).await?;
    let mut request_body = context.take_body()?;
    let algorithm = row
        .checksum
        .map_or(checksum::DEFAULT, |(algorithm, _)| algorithm);
    if let Err(fault) = agree(&request_body, algorithm) {
        context.give_back(request_body);
        return Err(fault);
    }
    request_body.want_checksum(algorithm);
    let stored = store(&mut request_body, shared.cluster.writer(upload, space)).await;
    context.give_back(request_body);
    let (body, digests) = stored?;
    let checksum = checksum_of(&digests);
    let etag = ETag::single(digests.md5);
    let command = PutPart {
        bucket: bucket.to_owned(),
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
    let mut output = dto::UploadPartOutput {
        e_tag: Some(etag::to_dto(etag)),
        ..Default::default()
    };
    set_checksum!(output, checksum.as_ref());
    Ok(S3Response::new(output))
}

/// `CompleteMultipartUpload`: the parts named, in their order, become the object.
pub async fn complete(
    shared: &Shared,
    context: &Context,
    input: dto::CompleteMultipartUploadInput,
) -> Result<S3Response<dto::CompleteMultipartUploadOutput>, Fault> {
    let (bucket, key) = context.object()?;
    let (upload, row) = find(shared, context)?;
    let named = input
        .multipart_upload
        .and_then(|list| list.parts)
        .unwrap_or_default();
    let algorithm = row
        .checksum
        .map_or(checksum::DEFAULT, |(algorithm, _)| algorithm);
    let kind = row
        .checksum
        .map_or(ChecksumKind::FullObject, |(_, kind)| kind);
    let found = shared
        .cluster
        .names(|view| view.parts(upload, 0, usize::from(PART_NUMBER_MAX)))?;
    let parts = match_parts(&named, &found, algorithm)?;
    check_size(context, &parts)?;
    let tags: Vec<ETag> = parts.iter().map(|(_, part)| part.etag).collect();
    let (etag, checksum) = (
        etag::of_parts(&tags),
        whole_checksum(algorithm, kind, &parts),
    );
    check_declared(context, algorithm, kind, checksum.as_ref())?;
    let completed = parts.iter().map(|(number, part)| CompletedPart {
        number: *number,
        etag: part.etag,
        checksum: part
            .checksum
            .as_ref()
            .map(|checksum| checksum.value.clone()),
    });
    let command = CompleteUpload {
        bucket: bucket.to_owned(),
        key: key.to_vec(),
        upload,
        parts: completed.collect(),
        etag,
        checksum: checksum.clone(),
        precondition: conditions::of_write(&context.headers),
    };
    shared.cluster.change(command).await?;
    let mut output = dto::CompleteMultipartUploadOutput {
        bucket: Some(bucket.to_owned()),
        key: Some(query::encode_key(key, false)),
        location: Some(location(context, bucket, key)),
        e_tag: Some(etag::to_dto(etag)),
        checksum_type: checksum.as_ref().map(kind_of),
        ..Default::default()
    };
    set_checksum!(output, checksum.as_ref());
    Ok(S3Response::new(output))
}

/// `AbortMultipartUpload`.
pub async fn abort(
    shared: &Shared,
    context: &Context,
    _: dto::AbortMultipartUploadInput,
) -> Result<S3Response<dto::AbortMultipartUploadOutput>, Fault> {
    let (bucket, key) = context.object()?;
    check_owner(context, "x-amz-expected-bucket-owner")?;
    let command = AbortUpload {
        bucket: bucket.to_owned(),
        key: key.to_vec(),
        upload: parse_upload_id(context.query.get("uploadId").unwrap_or_default())?,
    };
    shared.cluster.change(command).await?;
    Ok(S3Response::new(dto::AbortMultipartUploadOutput::default()))
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

fn no_such_upload(id: &str) -> Fault {
    Fault::from(Code::NoSuchUpload).detail("UploadId", id)
}

/// The upload of a request.
///
/// # Errors
/// `NoSuchBucket`, `NoSuchUpload`.
pub fn find(shared: &Shared, context: &Context) -> Result<(u64, Upload), Fault> {
    let (_, key) = context.object()?;
    let bucket = buckets::find(shared, context)?;
    let id = context.query.get("uploadId").unwrap_or_default();
    let upload = parse_upload_id(id)?;
    let row = shared
        .cluster
        .names(|view| view.upload(bucket.inode, key, upload))?;
    Ok((upload, row.ok_or_else(|| no_such_upload(id))?))
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

fn wanted_kind(context: &Context, algorithm: ChecksumAlgorithm) -> Result<ChecksumKind, Fault> {
    let Some(name) = context.header("x-amz-checksum-type") else {
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

type NumberedPart = (u16, Part);

/// Finds the parts that a request names. The state machine looks once more when the command is
/// applied; here their sizes and checksums are needed.
fn match_parts<'a>(
    named: &[dto::CompletedPart],
    found: &'a [NumberedPart],
    algorithm: ChecksumAlgorithm,
) -> Result<Vec<&'a NumberedPart>, Fault> {
    if named.is_empty() || named.len() > usize::from(PART_NUMBER_MAX) {
        return Err(Fault::new(
            Code::MalformedXML,
            "You must specify at least one part",
        ));
    }
    let mut parts: Vec<&NumberedPart> = Vec::with_capacity(named.len());
    for wanted in named {
        let number = wanted.part_number.unwrap_or_default();
        let missing = || Fault::from(Code::InvalidPart).detail("PartNumber", number.to_string());
        let number_16 = u16::try_from(number).map_err(|_| missing())?;
        if parts.last().is_some_and(|(before, _)| *before >= number_16) {
            return Err(Code::InvalidPartOrder.into());
        }
        let at = found.binary_search_by_key(&number_16, |(number, _)| *number);
        let part = &found[at.map_err(|_| missing())?];
        let tag = wanted
            .e_tag
            .as_ref()
            .and_then(|tag| ETag::parse(tag.value()));
        if tag != Some(part.1.etag) {
            return Err(missing());
        }
        check_part(wanted, &part.1, algorithm)?;
        parts.push(part);
    }
    Ok(parts)
}

/// Compares the checksum that a request names of a part.
fn check_part(
    wanted: &dto::CompletedPart,
    part: &Part,
    algorithm: ChecksumAlgorithm,
) -> Result<(), Fault> {
    let named = [
        (ChecksumAlgorithm::Crc32, &wanted.checksum_crc32),
        (ChecksumAlgorithm::Crc32c, &wanted.checksum_crc32c),
        (ChecksumAlgorithm::Crc64Nvme, &wanted.checksum_crc64nvme),
        (ChecksumAlgorithm::Sha1, &wanted.checksum_sha1),
        (ChecksumAlgorithm::Sha256, &wanted.checksum_sha256),
    ];
    for (named, value) in named {
        let Some(value) = value else { continue };
        let stored = part.checksum.as_ref().map(checksum::text_of);
        if named != algorithm || stored.as_ref() != Some(value) {
            let number = wanted.part_number.unwrap_or_default().to_string();
            return Err(Fault::from(Code::InvalidPart).detail("PartNumber", number));
        }
    }
    Ok(())
}

fn check_size(context: &Context, parts: &[&NumberedPart]) -> Result<(), Fault> {
    let Some(declared) = context.header("x-amz-mp-object-size") else {
        return Ok(());
    };
    let size: u64 = parts.iter().map(|(_, part)| part.size).sum();
    match declared.parse() == Ok(size) {
        true => Ok(()),
        false => Err(Fault::new(
            Code::InvalidRequest,
            "The provided 'x-amz-mp-object-size' header value does not match what was computed.",
        )),
    }
}

fn whole_checksum(
    algorithm: ChecksumAlgorithm,
    kind: ChecksumKind,
    parts: &[&NumberedPart],
) -> Option<Checksum> {
    let sums: Vec<_> = parts
        .iter()
        .map(|(_, part)| (part.size, part.checksum.as_ref()))
        .collect();
    checksum::of_parts(algorithm, kind, &sums)
}

/// Compares the checksum that a request declares of the object.
fn check_declared(
    context: &Context,
    algorithm: ChecksumAlgorithm,
    kind: ChecksumKind,
    computed: Option<&Checksum>,
) -> Result<(), Fault> {
    if let Some(name) = context.header("x-amz-checksum-type")
        && checksum::kind_by_name(name) != Some(kind)
    {
        let message = format!(
            "The upload was created using the {} checksum mode. The complete request must use the \
             same checksum mode.",
            checksum::kind_name(kind)
        );
        return Err(Fault::new(Code::InvalidRequest, message));
    }
    for (named, name, header) in checksum::ALGORITHMS {
        let Some(declared) = context.header(header) else {
            continue;
        };
        let text = computed.map(checksum::text_of).unwrap_or_default();
        let bare = text
            .split_once('-')
            .map_or(text.as_str(), |(value, _)| value);
        if named != algorithm || (declared != text && declared != bare) {
            let message =
                format!("The {name} you specified did not match the calculated checksum.");
            return Err(Fault::new(Code::BadDigest, message));
        }
    }
    Ok(())
}

fn location(context: &Context, bucket: &str, key: &[u8]) -> String {
    let host = context.header("host").unwrap_or_default();
    format!("http://{host}/{bucket}/{}", query::encode(key, true))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn part(number: u16, body: &[u8]) -> NumberedPart {
        let sum = checksum::of_bytes(ChecksumAlgorithm::Crc32, body);
        let part = Part {
            space: 1,
            size: body.len() as u64,
            etag: ETag::single(crate::md5::digest(body)),
            checksum: Some(checksum::full_object(ChecksumAlgorithm::Crc32, sum)),
            modified_micros: 0,
        };
        (number, part)
    }

    fn named(number: i32, part: &NumberedPart) -> dto::CompletedPart {
        dto::CompletedPart {
            part_number: Some(number),
            e_tag: Some(etag::to_dto(part.1.etag)),
            checksum_crc32: part.1.checksum.as_ref().map(checksum::text_of),
            ..Default::default()
        }
    }

    fn outcome(named: &[dto::CompletedPart], found: &[NumberedPart]) -> Result<usize, Code> {
        match_parts(named, found, ChecksumAlgorithm::Crc32)
            .map(|parts| parts.len())
            .map_err(|fault| fault.code)
    }

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

    #[test]
    fn parts_must_be_there_in_order_and_agree() {
        let found = [part(1, b"a"), part(3, b"b")];
        let (one, three) = (named(1, &found[0]), named(3, &found[1]));
        assert_eq!(outcome(&[one.clone(), three.clone()], &found), Ok(2));
        assert_eq!(outcome(std::slice::from_ref(&three), &found), Ok(1));
        assert_eq!(outcome(&[], &found), Err(Code::MalformedXML));
        assert_eq!(
            outcome(&[three, one.clone()], &found),
            Err(Code::InvalidPartOrder)
        );
        assert_eq!(
            outcome(&[one.clone(), one.clone()], &found),
            Err(Code::InvalidPartOrder)
        );
        assert_eq!(
            outcome(&[named(2, &found[0])], &found),
            Err(Code::InvalidPart)
        );
        assert_eq!(
            outcome(&[named(3, &found[0])], &found),
            Err(Code::InvalidPart)
        );
        assert_eq!(
            outcome(&[named(-1, &found[0])], &found),
            Err(Code::InvalidPart)
        );
        let wrong_sum = dto::CompletedPart {
            checksum_crc32: Some("AAAAAA==".into()),
            ..one
        };
        assert_eq!(outcome(&[wrong_sum], &found), Err(Code::InvalidPart));
    }
}
