//! `HeadObject`, and what it shares with `GetObject`: which bytes a request selects.

use std::ops::Range;

use http::header::{self, HeaderName};
use http::{HeaderMap, HeaderValue, StatusCode};
use strata_raftlog::namespace::store::StoreError;
use strata_raftlog::namespace::{Bucket, Object, ObjectPart, PART_NUMBER_MAX, View};

use super::{Shared, buckets, conditions, metadata, object_lock, ranges, versions};
use crate::error::{Code, Fault};
use crate::request::Request;
use crate::response::Response;

/// How many tags the object has; absent where it has none.
const TAGGING_COUNT: HeaderName = HeaderName::from_static("x-amz-tagging-count");

/// The bytes of an object that a request selects.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Selected {
    /// All of them.
    Whole,
    /// A range of them.
    Range(Range<u64>),
    /// Those of a part, which has a checksum of its own.
    Part(ObjectPart),
}

impl Selected {
    /// The range in an object of that size.
    pub fn range(&self, size: u64) -> Range<u64> {
        match self {
            Selected::Whole => 0..size,
            Selected::Range(range) => range.clone(),
            Selected::Part(part) => part.range.clone(),
        }
    }

    /// The status of the answer. A part of no bytes has no `Content-Range`, without which an answer
    /// may not call itself partial.
    pub fn status(&self) -> StatusCode {
        match self {
            Selected::Whole => StatusCode::OK,
            Selected::Part(part) if part.range.is_empty() => StatusCode::OK,
            Selected::Range(_) | Selected::Part(_) => StatusCode::PARTIAL_CONTENT,
        }
    }
}

/// `HeadObject`.
///
/// # Errors
/// As every handler.
pub async fn head(shared: &Shared, request: &Request) -> Result<Response, Fault> {
    let bucket = buckets::find(shared, request)?;
    let (_, key) = request.address.object()?;
    let asked = versions::asked(request)?;
    let (object, selected) = shared.cluster.read(|view| {
        let object = match versions::find(view, &bucket, key, asked)? {
            Ok(object) => object,
            Err(fault) => return Ok(Err(fault)),
        };
        Ok(select(view, request, &object)?.map(|selected| (object, selected)))
    })??;
    let mut response = Response::with_status(selected.status());
    response.headers = answer_headers(shared, request, &bucket, &object, &selected)?;
    let range = selected.range(object.size);
    let length = HeaderValue::from(range.end - range.start);
    response.headers.insert(header::CONTENT_LENGTH, length);
    Ok(response)
}

/// What is wrong where there is no object.
pub fn no_such_key(key: &[u8]) -> Fault {
    Fault::from(Code::NoSuchKey).detail("Key", String::from_utf8_lossy(key))
}

/// Decides the conditions of a read and which bytes it selects.
///
/// # Errors
/// Those of the namespace, outside; what the request is to be refused with, inside.
pub fn select(
    view: &View<'_>,
    request: &Request,
    object: &Object,
) -> Result<Result<Selected, Fault>, StoreError> {
    if let Err(fault) = conditions::check_read(&request.headers, &conditions::OF_READ, object) {
        return Ok(Err(with_validators(fault, object)));
    }
    let range = request.header("range").and_then(ranges::parse);
    if let Some(number) = request.query.get("partNumber") {
        if request.headers.contains_key(header::RANGE) {
            let message = "Cannot specify both Range header and partNumber query parameter";
            return Ok(Err(Fault::new(Code::InvalidRequest, message)));
        }
        return part(view, object, number);
    }
    let Some(asked) = range.filter(|_| conditions::allows_range(&request.headers, object)) else {
        return Ok(Ok(Selected::Whole));
    };
    Ok(match ranges::resolve(asked, object.size) {
        Some(range) => Ok(Selected::Range(range)),
        None if ranges::is_all_of_nothing(asked, object.size) => Ok(Selected::Whole),
        None => Err(unsatisfiable(
            request.header("range").unwrap_or_default(),
            object.size,
        )),
    })
}

fn unsatisfiable(asked: &str, size: u64) -> Fault {
    let fault = Fault::from(Code::InvalidRange)
        .detail("RangeRequested", asked)
        .detail("ActualObjectSize", size.to_string());
    match HeaderValue::from_str(&format!("bytes */{size}")) {
        Ok(value) => fault.header(header::CONTENT_RANGE, value),
        Err(_) => fault,
    }
}

/// `304` tells what the object is, so that the client can tell whether it has it.
fn with_validators(mut fault: Fault, object: &Object) -> Fault {
    if fault.code == Code::NotModified {
        let mut headers = HeaderMap::new();
        metadata::add_validators(&mut headers, object);
        fault.headers.extend(
            headers
                .into_iter()
                .filter_map(|(name, value)| name.map(|name| (name, value))),
        );
    }
    fault
}

/// A part; an object put in one piece is its own part 1.
fn part(
    view: &View<'_>,
    object: &Object,
    number: &str,
) -> Result<Result<Selected, Fault>, StoreError> {
    let parsed = number
        .parse::<u16>()
        .ok()
        .filter(|n| (1..=PART_NUMBER_MAX).contains(n));
    let Some(parsed) = parsed else {
        let message = "Part number must be an integer between 1 and 10000, inclusive";
        return Ok(Err(Fault::argument("partNumber", number, message)));
    };
    let found = match object.etag.part_count {
        0 if parsed == 1 => Some(ObjectPart {
            range: 0..object.size,
            checksum: object.checksum.clone(),
        }),
        0 => None,
        _ => view.object_part(object, parsed)?,
    };
    Ok(match found {
        Some(part) => Ok(Selected::Part(part)),
        None => Err(Fault::from(Code::InvalidPartNumber)
            .detail("PartNumberRequested", number)
            .detail("ActualPartCount", object.etag.part_count.max(1).to_string())),
    })
}

/// The headers of an answer to GET or HEAD, but for the length.
///
/// # Errors
/// Those of the namespace.
pub fn answer_headers(
    shared: &Shared,
    request: &Request,
    bucket: &Bucket,
    object: &Object,
    selected: &Selected,
) -> Result<HeaderMap, Fault> {
    let mut headers = metadata::object_headers(&request.query, object);
    versions::add_version(&mut headers, versions::VERSION_ID, bucket, object.version);
    if object.tag_count > 0 {
        headers.insert(
            TAGGING_COUNT,
            HeaderValue::from(u16::from(object.tag_count)),
        );
    }
    object_lock::add_headers(&mut headers, shared, request, object)?;
    let range = selected.range(object.size);
    if *selected != Selected::Whole
        && !range.is_empty()
        && let Ok(value) = HeaderValue::from_str(&ranges::content_range(&range, object.size))
    {
        headers.insert(header::CONTENT_RANGE, value);
    }
    if matches!(selected, Selected::Part(_)) && object.etag.part_count > 0 {
        let count = HeaderValue::from(object.etag.part_count);
        headers.insert(HeaderName::from_static("x-amz-mp-parts-count"), count);
    }
    // A checksum of the whole says nothing of a range, and clients would compare it.
    let checksum = match selected {
        Selected::Part(part) => part.checksum.as_ref(),
        _ => object
            .checksum
            .as_ref()
            .filter(|_| range == (0..object.size)),
    };
    metadata::add_checksum(&mut headers, request, checksum);
    Ok(headers)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_has_no_content_range_is_not_partial() {
        assert_eq!(Selected::Whole.status(), StatusCode::OK);
        let part = |range| {
            Selected::Part(ObjectPart {
                range,
                checksum: None,
            })
        };
        assert_eq!(part(5..5).status(), StatusCode::OK);
        assert_eq!(part(0..5).status(), StatusCode::PARTIAL_CONTENT);
        assert_eq!(Selected::Range(0..1).status(), StatusCode::PARTIAL_CONTENT);
    }
}
