//! `GetObjectAttributes`.

use http::header;
use strata_raftlog::namespace::Object;

use super::{Shared, buckets, conditions, versions};
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

/// `GetObjectAttributes`: those that the request names. Of the parts, their number: what they were
/// one by one is forgotten when an upload is completed.
///
/// # Errors
/// As every handler.
pub async fn get(shared: &Shared, request: &Request) -> Result<Response, Fault> {
    let wanted = wanted(request)?;
    let bucket = buckets::find(shared, request)?;
    let (_, key) = request.address.object()?;
    let asked = versions::asked(request)?;
    let object = shared.cluster.read(|view| {
        let object = match versions::find(view, &bucket, key, asked)? {
            Ok(object) => object,
            Err(fault) => return Ok(Err(fault)),
        };
        let checked = conditions::check_read(&request.headers, &conditions::OF_READ, &object);
        Ok(checked.map(|()| object))
    })??;
    let is_wanted = |name: &str| wanted.iter().any(|known| known == name);
    let mut response = Response::xml(document(&object, is_wanted));
    let modified = http_date(object.modified_nanos);
    response.headers.insert(header::LAST_MODIFIED, modified);
    let headers = &mut response.headers;
    versions::add_version(headers, versions::VERSION_ID, &bucket, object.version);
    Ok(response)
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

fn document(object: &Object, wants: impl Fn(&str) -> bool) -> xml::Writer {
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
        xml.open("ObjectParts");
        xml.value("PartsCount", object.etag.part_count);
        xml.close("ObjectParts");
    }
    if wants("StorageClass") {
        xml.element("StorageClass", "STANDARD");
    }
    if wants("ObjectSize") {
        xml.value("ObjectSize", object.size);
    }
    xml
}
