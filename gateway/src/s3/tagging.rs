//! `GetObjectTagging`. Tags cannot be set yet, so the set of an object is truly empty; aws-cli asks
//! for it before it copies an object in parts.

use super::{Shared, buckets, head_object};
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
    let object = shared
        .cluster
        .read(|view| view.object_in(bucket.inode, key))?;
    if object.is_none() {
        return Err(head_object::no_such_key(key));
    }
    let mut xml = xml::Writer::new("Tagging");
    xml.open("TagSet");
    xml.close("TagSet");
    Ok(Response::xml(xml))
}
