//! `ListParts` and `ListMultipartUploads`.

use strata_raftlog::namespace::{
    ChecksumAlgorithm, ChecksumKind, ListedUpload, PART_NUMBER_MAX, Part, UploadPage, UploadQuery,
};

use super::multipart::{Found, find, parse_upload_id, upload_id};
use super::{Shared, buckets, is_encoded, page_size, write_account, write_key};
use crate::checksum;
use crate::dates::Iso8601;
use crate::error::Fault;
use crate::etag;
use crate::request::Request;
use crate::response::Response;
use crate::xml;

/// `ListParts`.
///
/// # Errors
/// As every handler.
pub async fn parts(shared: &Shared, request: &Request) -> Result<Response, Fault> {
    let Found { upload, row, .. } = find(shared, request)?;
    let query = &request.query;
    let limit = page_size(query, "max-parts")?;
    let marker = query.number::<i32>("part-number-marker")?.unwrap_or(0);
    let after = marker.clamp(0, i32::from(PART_NUMBER_MAX)) as u16;
    // A page of no parts says nothing of what follows, as with the other listings.
    let mut found = match limit {
        0 => Vec::new(),
        _ => shared
            .cluster
            .read(|view| view.parts(upload, after, limit + 1))?,
    };
    let more = found.len() > limit;
    found.truncate(limit);
    let (bucket, key) = request.address.object()?;
    let mut xml = xml::Writer::new("ListPartsResult");
    xml.element("Bucket", bucket);
    write_key(&mut xml, "Key", key, false);
    xml.element("UploadId", query.text("uploadId"));
    write_account(&mut xml, "Initiator", row.owner);
    write_account(&mut xml, "Owner", row.owner);
    xml.element("StorageClass", "STANDARD");
    write_checksum(&mut xml, row.checksum);
    xml.value("PartNumberMarker", after);
    if let Some((number, _)) = found.last().filter(|_| more) {
        xml.value("NextPartNumberMarker", number);
    }
    xml.value("MaxParts", limit);
    xml.value("IsTruncated", more);
    for (number, part) in &found {
        write_part(&mut xml, *number, part);
    }
    Ok(Response::xml(xml))
}

/// `ListMultipartUploads`.
///
/// # Errors
/// As every handler.
pub async fn uploads(shared: &Shared, request: &Request) -> Result<Response, Fault> {
    let parameters = &request.query;
    let encoded = is_encoded(parameters)?;
    let limit = page_size(parameters, "max-uploads")?;
    let bucket = buckets::find(shared, request)?;
    let key_marker = parameters.text("key-marker");
    // Without a key marker an upload marker says nothing, as with AWS.
    let upload_marker = parameters.get("upload-id-marker");
    let upload_marker = upload_marker.filter(|id| !id.is_empty() && !key_marker.is_empty());
    let query = UploadQuery {
        prefix: parameters.text("prefix").as_bytes().to_vec(),
        delimiter: parameters.text("delimiter").as_bytes().to_vec(),
        key_marker: key_marker.as_bytes().to_vec(),
        upload_marker: upload_marker.map(parse_upload_id).transpose()?,
        limit,
    };
    let page = shared
        .cluster
        .read(|view| view.uploads(bucket.inode, &query))?;
    let mut xml = xml::Writer::new("ListMultipartUploadsResult");
    xml.element("Bucket", &bucket.name);
    write_key(&mut xml, "KeyMarker", key_marker.as_bytes(), encoded);
    xml.element("UploadIdMarker", parameters.text("upload-id-marker"));
    write_next(&mut xml, &page, encoded);
    for name in ["prefix", "delimiter"] {
        let element = if name == "prefix" {
            "Prefix"
        } else {
            "Delimiter"
        };
        if let Some(value) = parameters.get(name) {
            write_key(&mut xml, element, value.as_bytes(), encoded);
        }
    }
    if encoded {
        xml.element("EncodingType", "url");
    }
    xml.value("MaxUploads", limit);
    xml.value("IsTruncated", page.next.is_some());
    for upload in &page.uploads {
        write_upload(&mut xml, upload, encoded);
    }
    for prefix in &page.common_prefixes {
        xml.open("CommonPrefixes");
        write_key(&mut xml, "Prefix", prefix, encoded);
        xml.close("CommonPrefixes");
    }
    Ok(Response::xml(xml))
}

/// Where the next page begins.
fn write_next(xml: &mut xml::Writer, page: &UploadPage, encoded: bool) {
    let Some((key, upload)) = &page.next else {
        return;
    };
    write_key(xml, "NextKeyMarker", key, encoded);
    if let Some(upload) = upload {
        xml.value("NextUploadIdMarker", upload_id(*upload));
    }
}

fn write_part(xml: &mut xml::Writer, number: u16, part: &Part) {
    xml.open("Part");
    xml.value("PartNumber", number);
    xml.value("LastModified", Iso8601(part.modified_nanos));
    xml.element("ETag", &etag::quoted(part.etag));
    xml.value("Size", part.size);
    checksum::write(xml, part.checksum.as_ref());
    xml.close("Part");
}

fn write_upload(xml: &mut xml::Writer, upload: &ListedUpload, encoded: bool) {
    xml.open("Upload");
    write_key(xml, "Key", &upload.key, encoded);
    xml.value("UploadId", upload_id(upload.upload));
    write_account(xml, "Initiator", upload.row.owner);
    write_account(xml, "Owner", upload.row.owner);
    xml.element("StorageClass", "STANDARD");
    xml.value("Initiated", Iso8601(upload.row.initiated_nanos));
    write_checksum(xml, upload.row.checksum);
    xml.close("Upload");
}

fn write_checksum(xml: &mut xml::Writer, checksum: Option<(ChecksumAlgorithm, ChecksumKind)>) {
    if let Some((algorithm, kind)) = checksum {
        xml.element("ChecksumAlgorithm", checksum::name_of(algorithm));
        xml.element("ChecksumType", checksum::kind_name(kind));
    }
}
