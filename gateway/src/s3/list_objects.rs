//! `ListObjects` and `ListObjectsV2`.

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD as BASE64;
use s3s::S3Response;
use s3s::dto;
use strata_engine::reactor;
use strata_raftlog::namespace::{ListPage, ListQuery, ListedObject, Listing};

use super::{Shared, buckets, is_encoded, owner, page_size, timestamp};
use crate::checksum;
use crate::context::Context;
use crate::error::Fault;
use crate::etag;
use crate::query::encode_key;

/// Steps of a listing in one read transaction: about half a millisecond.
const STEPS_MAX: usize = 256;

/// `ListObjects`, which goes on after a key that the client names.
pub async fn version_1(
    shared: &Shared,
    context: &Context,
    input: dto::ListObjectsInput,
) -> Result<S3Response<dto::ListObjectsOutput>, Fault> {
    let encoded = is_encoded(context)?;
    let limit = page_size("max-keys", input.max_keys)?;
    let marker = input.marker.unwrap_or_default();
    let query = query_of(
        input.prefix.as_deref(),
        input.delimiter.as_deref(),
        &marker,
        limit,
    );
    let has_delimiter = !query.delimiter.is_empty();
    let page = list(shared, context, query).await?;
    let text = |text: &str| encode_key(text.as_bytes(), encoded);
    let next_marker = page.next.as_ref().filter(|_| has_delimiter);
    Ok(S3Response::new(dto::ListObjectsOutput {
        name: Some(input.bucket),
        prefix: Some(text(input.prefix.as_deref().unwrap_or_default())),
        marker: Some(text(&marker)),
        max_keys: i32::try_from(limit).ok(),
        is_truncated: Some(page.next.is_some()),
        next_marker: next_marker.map(|key| encode_key(key, encoded)),
        delimiter: input
            .delimiter
            .as_deref()
            .filter(|d| !d.is_empty())
            .map(text),
        encoding_type: encoded.then(|| dto::EncodingType::from_static("url")),
        common_prefixes: Some(prefixes(&page, encoded)),
        contents: Some(contents(page.objects, encoded, true)),
        request_charged: None,
    }))
}

/// `ListObjectsV2`, which goes on after an opaque token.
pub async fn version_2(
    shared: &Shared,
    context: &Context,
    input: dto::ListObjectsV2Input,
) -> Result<S3Response<dto::ListObjectsV2Output>, Fault> {
    let encoded = is_encoded(context)?;
    let limit = page_size("max-keys", input.max_keys)?;
    let start_after = input.start_after.clone().unwrap_or_default();
    let from = match input.continuation_token.as_deref() {
        Some(token) => from_token(token)?,
        None => start_after.clone().into_bytes(),
    };
    let mut query = query_of(
        input.prefix.as_deref(),
        input.delimiter.as_deref(),
        "",
        limit,
    );
    query.start_after = from;
    let page = list(shared, context, query).await?;
    let text = |text: &str| encode_key(text.as_bytes(), encoded);
    let key_count = page.objects.len() + page.common_prefixes.len();
    Ok(S3Response::new(dto::ListObjectsV2Output {
        name: Some(input.bucket),
        prefix: Some(text(input.prefix.as_deref().unwrap_or_default())),
        max_keys: i32::try_from(limit).ok(),
        key_count: i32::try_from(key_count).ok(),
        is_truncated: Some(page.next.is_some()),
        continuation_token: input.continuation_token,
        next_continuation_token: page.next.as_ref().map(|key| BASE64.encode(key)),
        start_after: input.start_after.map(|_| text(&start_after)),
        delimiter: input
            .delimiter
            .as_deref()
            .filter(|d| !d.is_empty())
            .map(text),
        encoding_type: encoded.then(|| dto::EncodingType::from_static("url")),
        common_prefixes: Some(prefixes(&page, encoded)),
        contents: Some(contents(
            page.objects,
            encoded,
            input.fetch_owner == Some(true),
        )),
        request_charged: None,
    }))
}

fn query_of(prefix: Option<&str>, delimiter: Option<&str>, after: &str, limit: usize) -> ListQuery {
    ListQuery {
        prefix: prefix.unwrap_or_default().as_bytes().to_vec(),
        delimiter: delimiter.unwrap_or_default().as_bytes().to_vec(),
        start_after: after.as_bytes().to_vec(),
        limit,
    }
}

/// One page, in as many short transactions as it takes: others are served between them. What is
/// changed meanwhile may be on the page or not.
async fn list(shared: &Shared, context: &Context, query: ListQuery) -> Result<ListPage, Fault> {
    let bucket = buckets::find(shared, context)?;
    let mut listing = Listing::new(query);
    while !listing.is_complete() {
        shared
            .cluster
            .names(|view| view.list(bucket.inode, &mut listing, STEPS_MAX))?;
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

fn prefixes(page: &ListPage, encoded: bool) -> Vec<dto::CommonPrefix> {
    let prefixes = page
        .common_prefixes
        .iter()
        .map(|prefix| encode_key(prefix, encoded));
    prefixes
        .map(|prefix| dto::CommonPrefix {
            prefix: Some(prefix),
        })
        .collect()
}

fn contents(objects: Vec<ListedObject>, encoded: bool, with_owner: bool) -> Vec<dto::Object> {
    let content = |object: ListedObject| dto::Object {
        checksum_algorithm: object.checksum.map(|(algorithm, _)| {
            vec![dto::ChecksumAlgorithm::from_static(checksum::name_of(
                algorithm,
            ))]
        }),
        checksum_type: object
            .checksum
            .map(|(_, kind)| dto::ChecksumType::from_static(checksum::kind_name(kind))),
        e_tag: Some(etag::to_dto(object.etag)),
        key: Some(encode_key(&object.key, encoded)),
        last_modified: Some(timestamp(object.modified_micros)),
        owner: with_owner.then(|| owner(object.owner)),
        restore_status: None,
        size: i64::try_from(object.size).ok(),
        storage_class: Some(dto::ObjectStorageClass::from_static("STANDARD")),
    };
    objects.into_iter().map(content).collect()
}
