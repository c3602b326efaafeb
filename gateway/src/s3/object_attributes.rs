//! `GetObjectAttributes`.

use http::header;
use strata_raftlog::namespace::{Object, ObjectPart};

use super::{Shared, buckets, conditions, page_size_of, versions};
use crate::checksum;
use crate::dates::http_date;
use crate::error::{Code, Fault};
use crate::request::Request;
use crate::response::Response;
use crate::xml;

/// What can be asked for.
const KNOWN: [&str; 5] = [
    "ETag",
    "Checksum",
    "ObjectParts",
    "StorageClass",
    "ObjectSize",
];

/// The headers that name a page of the parts.
const MAX_PARTS: &str = "x-amz-max-parts";
const PART_NUMBER_MARKER: &str = "x-amz-part-number-marker";

/// A page of the parts of an object.
struct PartsPage {
    /// The number of the last part before the page.
    marker: usize,
    limit: usize,
    /// Those of the page, in their order.
    parts: Vec<ObjectPart>,
}

/// `GetObjectAttributes`: those that the request names.
///
/// # Errors
/// As every handler.
pub async fn get(shared: &Shared, request: &Request) -> Result<Response, Fault> {
    let wanted = wanted(request)?;
    let limit = page_size_of(MAX_PARTS, number(request, MAX_PARTS)?)?;
    let marker = number(request, PART_NUMBER_MARKER)?.unwrap_or(0);
    let marker = usize::try_from(marker).unwrap_or(0);
    let bucket = buckets::find(shared, request)?;
    let (_, key) = request.address.object()?;
    let asked = versions::asked(request)?;
    let is_wanted = |name: &str| wanted.iter().any(|known| known == name);
    let (object, parts) = shared.cluster.read(|view| {
        let object = match versions::find(view, &bucket, key, asked)? {
            Ok(object) => object,
            Err(fault) => return Ok(Err(fault)),
        };
        let checked = conditions::check_read(&request.headers, &conditions::OF_READ, &object);
        if let Err(fault) = checked {
            return Ok(Err(fault));
        }
        let parts = match is_wanted("ObjectParts") && object.etag.part_count > 0 {
            true => view.object_parts(&object, marker, limit)?,
            false => Vec::new(),
        };
        Ok(Ok((object, parts)))
    })??;
    let page = PartsPage {
        marker,
        limit,
        parts,
    };
    let mut response = Response::xml(document(&object, &page, is_wanted));
    let modified = http_date(object.modified_nanos);
    response.headers.insert(header::LAST_MODIFIED, modified);
    let headers = &mut response.headers;
    versions::add_version(headers, versions::VERSION_ID, &bucket, object.version);
    Ok(response)
}

/// A header that is a number.
fn number(request: &Request, name: &str) -> Result<Option<i32>, Fault> {
    let Some(text) = request.header(name) else {
        return Ok(None);
    };
    text.parse().map(Some).map_err(|_| {
        let message = format!("Provided {name} not an integer or within integer range");
        Fault::argument(name, text, message)
    })
}

/// The names in `x-amz-object-attributes`.
fn wanted(request: &Request) -> Result<Vec<String>, Fault> {
    let mut names = Vec::new();
    for value in request.headers.get_all("x-amz-object-attributes") {
        let text = value.to_str().unwrap_or_default();
        names.extend(text.split(',').map(|name| name.trim().to_owned()));
    }
    let unknown = names.iter().find(|name| !KNOWN.contains(&name.as_str()));
    match unknown {
        Some(name) => {
            let message = "Invalid attribute name specified.";
            Err(Fault::argument("x-amz-object-attributes", name, message))
        }
        None if names.is_empty() => Err(Fault::new(
            Code::InvalidRequest,
            "The x-amz-object-attributes header specifying the attributes to be retrieved is \
             missing.",
        )),
        None => Ok(names),
    }
}

fn document(object: &Object, parts: &PartsPage, wants: impl Fn(&str) -> bool) -> xml::Writer {
    let mut xml = xml::Writer::new("GetObjectAttributesResponse");
    if wants("ETag") {
        // Without the quotation marks that it has everywhere else, as AWS answers it.
        xml.value("ETag", object.etag);
    }
    if let Some(checksum) = object.checksum.as_ref().filter(|_| wants("Checksum")) {
        xml.open("Checksum");
        checksum::write(&mut xml, Some(checksum));
        xml.element("ChecksumType", checksum::kind_name(checksum.kind));
        xml.close("Checksum");
    }
    if wants("ObjectParts") && object.etag.part_count > 0 {
        write_parts(&mut xml, object.etag.part_count, parts);
    }
    if wants("StorageClass") {
        xml.element("StorageClass", "STANDARD");
    }
    if wants("ObjectSize") {
        xml.value("ObjectSize", object.size);
    }
    xml
}

fn write_parts(xml: &mut xml::Writer, count: u32, page: &PartsPage) {
    let last = page.marker + page.parts.len();
    xml.open("ObjectParts");
    // A page of no parts says nothing of what follows, as with the listings.
    let more = !page.parts.is_empty() && last < count as usize;
    xml.value("IsTruncated", more);
    xml.value("MaxParts", page.limit);
    if !page.parts.is_empty() {
        xml.value("NextPartNumberMarker", last);
    }
    xml.value("PartNumberMarker", page.marker);
    for (number, part) in (page.marker + 1..).zip(&page.parts) {
        xml.open("Part");
        xml.value("PartNumber", number);
        xml.value("Size", part.range.end - part.range.start);
        checksum::write(xml, part.checksum.as_ref());
        xml.close("Part");
    }
    xml.value("PartsCount", count);
    xml.close("ObjectParts");
}
