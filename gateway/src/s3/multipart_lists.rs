//! `ListParts` and `ListMultipartUploads`.

use s3s::S3Response;
use s3s::dto;
use strata_raftlog::namespace::{ListedUpload, PART_NUMBER_MAX, Part, UploadQuery};

use super::multipart::{find, parse_upload_id, upload_id};
use super::{ROOT_ACCOUNT, Shared, buckets, is_encoded, owner, page_size, timestamp};
use crate::context::Context;
use crate::error::Fault;
use crate::query::encode_key;
use crate::{checksum, etag};

/// `ListParts`.
pub async fn parts(
    shared: &Shared,
    context: &Context,
    input: dto::ListPartsInput,
) -> Result<S3Response<dto::ListPartsOutput>, Fault> {
    let (upload, row) = find(shared, context)?;
    let limit = page_size("max-parts", input.max_parts)?;
    let after = input
        .part_number_marker
        .unwrap_or(0)
        .clamp(0, i32::from(PART_NUMBER_MAX)) as u16;
    // A page of no parts says nothing of what follows, as with the other listings.
    let mut found = match limit {
        0 => Vec::new(),
        _ => shared
            .cluster
            .names(|view| view.parts(upload, after, limit + 1))?,
    };
    let more = found.len() > limit;
    found.truncate(limit);
    let next = found
        .last()
        .map(|(number, _)| i32::from(*number))
        .filter(|_| more);
    Ok(S3Response::new(dto::ListPartsOutput {
        bucket: Some(input.bucket),
        key: Some(input.key),
        upload_id: Some(input.upload_id),
        checksum_algorithm: row.checksum.map(|(algorithm, _)| {
            dto::ChecksumAlgorithm::from_static(checksum::name_of(algorithm))
        }),
        checksum_type: row
            .checksum
            .map(|(_, kind)| dto::ChecksumType::from_static(checksum::kind_name(kind))),
        initiator: Some(initiator()),
        owner: Some(owner(row.owner)),
        max_parts: i32::try_from(limit).ok(),
        part_number_marker: Some(i32::from(after)),
        next_part_number_marker: next,
        is_truncated: Some(more),
        parts: Some(
            found
                .iter()
                .map(|(number, part)| listed_part(*number, part))
                .collect(),
        ),
        storage_class: Some(dto::StorageClass::from_static("STANDARD")),
        ..Default::default()
    }))
}

/// `ListMultipartUploads`.
pub async fn uploads(
    shared: &Shared,
    context: &Context,
    input: dto::ListMultipartUploadsInput,
) -> Result<S3Response<dto::ListMultipartUploadsOutput>, Fault> {
    let encoded = is_encoded(context)?;
    let limit = page_size("max-uploads", input.max_uploads)?;
    let bucket = buckets::find(shared, context)?;
    let key_marker = input.key_marker.clone().unwrap_or_default();
    // Without a key marker an upload marker says nothing, as with AWS.
    let upload_marker = input.upload_id_marker.as_deref();
    let upload_marker = upload_marker.filter(|id| !id.is_empty() && !key_marker.is_empty());
    let query = UploadQuery {
        prefix: input.prefix.clone().unwrap_or_default().into_bytes(),
        delimiter: input.delimiter.clone().unwrap_or_default().into_bytes(),
        key_marker: key_marker.clone().into_bytes(),
        upload_marker: upload_marker.map(parse_upload_id).transpose()?,
        limit,
    };
    let page = shared
        .cluster
        .names(|view| view.uploads(bucket.inode, &query))?;
    let text = |text: &str| encode_key(text.as_bytes(), encoded);
    let prefixes = page
        .common_prefixes
        .iter()
        .map(|prefix| encode_key(prefix, encoded));
    let (next_key, next_upload) = page.next.clone().unzip();
    Ok(S3Response::new(dto::ListMultipartUploadsOutput {
        bucket: Some(input.bucket),
        prefix: input.prefix.as_deref().map(text),
        delimiter: input.delimiter.as_deref().map(text),
        key_marker: Some(text(&key_marker)),
        upload_id_marker: Some(input.upload_id_marker.unwrap_or_default()),
        next_key_marker: next_key.map(|key| encode_key(&key, encoded)),
        next_upload_id_marker: next_upload.flatten().map(upload_id),
        max_uploads: i32::try_from(limit).ok(),
        is_truncated: Some(page.next.is_some()),
        encoding_type: encoded.then(|| dto::EncodingType::from_static("url")),
        common_prefixes: Some(
            prefixes
                .map(|prefix| dto::CommonPrefix {
                    prefix: Some(prefix),
                })
                .collect(),
        ),
        uploads: Some(
            page.uploads
                .iter()
                .map(|upload| listed_upload(upload, encoded))
                .collect(),
        ),
        request_charged: None,
    }))
}

fn listed_part(number: u16, part: &Part) -> dto::Part {
    let mut listed = dto::Part {
        e_tag: Some(etag::to_dto(part.etag)),
        last_modified: Some(timestamp(part.modified_micros)),
        part_number: Some(i32::from(number)),
        size: i64::try_from(part.size).ok(),
        ..Default::default()
    };
    set_checksum!(listed, part.checksum.as_ref());
    listed
}

fn listed_upload(upload: &ListedUpload, encoded: bool) -> dto::MultipartUpload {
    let checksum = upload.row.checksum;
    dto::MultipartUpload {
        checksum_algorithm: checksum.map(|(algorithm, _)| {
            dto::ChecksumAlgorithm::from_static(checksum::name_of(algorithm))
        }),
        checksum_type: checksum
            .map(|(_, kind)| dto::ChecksumType::from_static(checksum::kind_name(kind))),
        initiated: Some(timestamp(upload.row.initiated_micros)),
        initiator: Some(initiator()),
        key: Some(encode_key(&upload.key, encoded)),
        owner: Some(owner(upload.row.owner)),
        storage_class: Some(dto::StorageClass::from_static("STANDARD")),
        upload_id: Some(upload_id(upload.upload)),
    }
}

fn initiator() -> dto::Initiator {
    let owner = owner(ROOT_ACCOUNT);
    dto::Initiator {
        display_name: owner.display_name,
        id: owner.id,
    }
}
