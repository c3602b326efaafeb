//! `ListObjects` and `ListObjectsV2`.

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD as BASE64;
use strata_engine::reactor;
use strata_raftlog::namespace::{
    ChecksumAlgorithm, ChecksumKind, ETag, ListPage, ListQuery, Listing,
};

use super::{Shared, buckets, is_encoded, page_size, write_account, write_key};
use crate::dates::Iso8601;
use crate::error::Fault;
use crate::query::Query;
use crate::request::Request;
use crate::response::Response;
use crate::xml;

/// Steps of a listing in one read transaction: about half a millisecond.
const STEPS_MAX: usize = 256;

/// What an entry of a listing takes in the document beside its key, in bytes.
pub const ENTRY_BYTES: usize = 320;

/// `ListObjects`, which goes on after a key that the client names.
///
/// # Errors
/// As every handler.
pub async fn version_1(shared: &Shared, request: &Request) -> Result<Response, Fault> {
    let query = &request.query;
    if let Some(other) = query.get("list-type").filter(|kind| *kind != "1") {
        return Err(Fault::argument("list-type", other, "Invalid list type"));
    }
    let encoded = is_encoded(query)?;
    let limit = page_size(query, "max-keys")?;
    let marker = query.text("marker");
    let page = list(shared, request, query_of(query, marker.as_bytes(), limit)).await?;
    let mut xml = begin(&page, request, encoded)?;
    write_key(&mut xml, "Marker", marker.as_bytes(), encoded);
    let has_delimiter = !query.text("delimiter").is_empty();
    if let Some(key) = page.next.as_ref().filter(|_| has_delimiter) {
        write_key(&mut xml, "NextMarker", key, encoded);
    }
    write_page(&mut xml, query, &page, limit, encoded, true);
    Ok(Response::xml(xml))
}

/// `ListObjectsV2`, which goes on after an opaque token.
///
/// # Errors
/// As every handler.
pub async fn version_2(shared: &Shared, request: &Request) -> Result<Response, Fault> {
    let query = &request.query;
    let encoded = is_encoded(query)?;
    let limit = page_size(query, "max-keys")?;
    let token = query.get("continuation-token");
    let after = match token {
        Some(token) => from_token(token)?,
        None => query.text("start-after").as_bytes().to_vec(),
    };
    let page = list(shared, request, query_of(query, &after, limit)).await?;
    let mut xml = begin(&page, request, encoded)?;
    if let Some(start_after) = query.get("start-after") {
        write_key(&mut xml, "StartAfter", start_after.as_bytes(), encoded);
    }
    xml.optional("ContinuationToken", token);
    if let Some(key) = &page.next {
        xml.value("NextContinuationToken", BASE64.encode(key));
    }
    xml.value("KeyCount", page.objects.len() + page.common_prefixes.len());
    let with_owner = query.text("fetch-owner").eq_ignore_ascii_case("true");
    write_page(&mut xml, query, &page, limit, encoded, with_owner);
    Ok(Response::xml(xml))
}

fn query_of(query: &Query, after: &[u8], limit: usize) -> ListQuery {
    ListQuery {
        prefix: query.text("prefix").as_bytes().to_vec(),
        delimiter: query.text("delimiter").as_bytes().to_vec(),
        start_after: after.to_vec(),
        limit,
    }
}

/// One page, in as many short transactions as it takes: others are served between them. What is
/// changed meanwhile may be on the page or not.
async fn list(shared: &Shared, request: &Request, query: ListQuery) -> Result<ListPage, Fault> {
    let bucket = buckets::find(shared, request)?;
    let mut listing = Listing::new(query);
    while !listing.is_complete() {
        shared
            .cluster
            .read(|view| view.list(bucket.inode, &mut listing, STEPS_MAX))?;
        reactor::yield_if_due().await;
    }
    Ok(listing.into_page())
}

fn from_token(token: &str) -> Result<Vec<u8>, Fault> {
    BASE64.decode(token).map_err(|_| {
        Fault::argument(
            "continuation-token",
            token,
            "The continuation token provided is incorrect",
        )
    })
}

/// The document, with room for the page, up to the bucket and the prefix.
fn begin(page: &ListPage, request: &Request, encoded: bool) -> Result<xml::Writer, Fault> {
    let mut xml = xml::Writer::new("ListBucketResult");
    let keys = page.objects.iter().map(|object| object.key.len());
    let prefixes = page.common_prefixes.iter().map(Vec::len);
    xml.reserve(keys.chain(prefixes).map(|bytes| bytes + ENTRY_BYTES).sum());
    xml.element("Name", request.bucket()?);
    write_key(
        &mut xml,
        "Prefix",
        request.query.text("prefix").as_bytes(),
        encoded,
    );
    Ok(xml)
}

fn write_page(
    xml: &mut xml::Writer,
    query: &Query,
    page: &ListPage,
    limit: usize,
    encoded: bool,
    with_owner: bool,
) {
    write_page_head(xml, query, limit, encoded, page.next.is_some());
    for object in &page.objects {
        xml.open("Contents");
        write_key(xml, "Key", &object.key, encoded);
        let owner = with_owner.then_some(object.owner);
        write_details(
            xml,
            object.modified_nanos,
            object.etag,
            object.checksum,
            object.size,
            owner,
        );
        xml.close("Contents");
    }
    write_prefixes(xml, &page.common_prefixes, encoded);
}

/// What stands in front of the entries of any page.
pub fn write_page_head(
    xml: &mut xml::Writer,
    query: &Query,
    limit: usize,
    encoded: bool,
    is_truncated: bool,
) {
    xml.value("MaxKeys", limit);
    let delimiter = query.text("delimiter");
    if !delimiter.is_empty() {
        write_key(xml, "Delimiter", delimiter.as_bytes(), encoded);
    }
    if encoded {
        xml.element("EncodingType", "url");
    }
    xml.value("IsTruncated", is_truncated);
}

/// The common prefixes of any page.
pub fn write_prefixes(xml: &mut xml::Writer, prefixes: &[Vec<u8>], encoded: bool) {
    for prefix in prefixes {
        xml.open("CommonPrefixes");
        write_key(xml, "Prefix", prefix, encoded);
        xml.close("CommonPrefixes");
    }
}

/// What an entry says of an object beside its name.
pub fn write_details(
    xml: &mut xml::Writer,
    modified_nanos: i64,
    etag: ETag,
    checksum: Option<(ChecksumAlgorithm, ChecksumKind)>,
    size: u64,
    owner: Option<u64>,
) {
    xml.value("LastModified", Iso8601(modified_nanos));
    xml.value("ETag", format_args!("&quot;{etag}&quot;"));
    if let Some((algorithm, kind)) = checksum {
        xml.value("ChecksumAlgorithm", crate::checksum::name_of(algorithm));
        xml.value("ChecksumType", crate::checksum::kind_name(kind));
    }
    xml.value("Size", size);
    if let Some(owner) = owner {
        write_account(xml, "Owner", owner);
    }
    xml.value("StorageClass", "STANDARD");
}
