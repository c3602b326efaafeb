//! `GetObjectTagging`. Tags cannot be set yet, so the set of an object is truly empty; aws-cli asks
//! for it before it copies an object in parts.

use super::{Shared, check_owner, head_object};
use crate::error::Fault;
use crate::request::Request;
use crate::response::Response;
use crate::xml;

/// `GetObjectTagging`.
///
/// # Errors
/// As every handler.
pub async fn get(shared: &Shared, request: &Request) -> Result<Response, Fault> {
    check_owner(request, "x-amz-expected-bucket-owner")?;
    let (bucket, key) = request.address.object()?;
    let (object, has_bucket) = shared.cluster.read(|view| {
        let object = view.object(bucket, key)?;
        Ok((object, view.bucket(bucket)?.is_some()))
    })?;
    if object.is_none() {
        return Err(head_object::no_such_key(has_bucket, bucket, key));
    }
    let mut xml = xml::Writer::new("Tagging");
    xml.open("TagSet");
    xml.close("TagSet");
    Ok(Response::xml(xml))
}
