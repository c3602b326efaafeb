//! `GetObjectTagging`. Tags cannot be set yet, so the set of an object is truly empty; aws-cli asks
//! for it before it copies an object in parts.

use super::{Shared, buckets, versions};
use crate::error::Fault;
use crate::request::Request;
use crate::response::Response;
use crate::xml;

/// `GetObjectTagging`.
///
/// # Errors
/// As every handler.
pub async fn get(shared: &Shared, request: &Request) -> Result<Response, Fault> {
    let bucket = buckets::find(shared, request)?;
    let (_, key) = request.address.object()?;
    let asked = versions::asked(request)?;
    let object = shared
        .cluster
        .read(|view| versions::find(view, &bucket, key, asked))??;
    let mut xml = xml::Writer::new("Tagging");
    xml.open("TagSet");
    xml.close("TagSet");
    let mut response = Response::xml(xml);
    let headers = &mut response.headers;
    versions::add_version(headers, versions::VERSION_ID, &bucket, object.version);
    Ok(response)
}
