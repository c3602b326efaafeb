//! `PostObject`: the object of a browser's form. Its fields have become headers before: it is put as any other, and answered as the form asks for.

use http::header::{self, HeaderName};
use http::{HeaderValue, StatusCode};

use super::{Shared, location, put_object};
use crate::error::Fault;
use crate::percent::encode;
use crate::request::Request;
use crate::response::{Response, ResponseBody};
use crate::xml;

/// `PostObject`.
///
/// # Errors
/// As [`put_object::put`].
pub async fn post(shared: &Shared, request: &mut Request) -> Result<Response, Fault> {
    let mut response = put_object::put(shared, request).await?;
    let Some(action) = request.success_action.take() else {
        return Ok(response);
    };
    let (bucket, key) = request.address.object()?;
    // With the slashes encoded too, as AWS has it here.
    let address = location(shared, request, bucket, &encode(key));
    let etag = text(&response, header::ETAG);
    let name = request.address.key().unwrap_or_default();
    if let Some(url) = action.redirect_of(bucket, name, &etag) {
        response.status = StatusCode::SEE_OTHER;
        return Ok(response.header(header::LOCATION, &url));
    }
    response.status = action.status;
    if action.status == StatusCode::CREATED {
        let mut xml = xml::Writer::bare("PostResponse", 512);
        xml.element("Location", &address);
        xml.element("Bucket", bucket);
        xml.element("Key", name);
        xml.element("ETag", &etag);
        let kind = HeaderValue::from_static("application/xml");
        response.headers.insert(header::CONTENT_TYPE, kind);
        response.body = ResponseBody::Bytes(xml.finish());
    }
    Ok(response.header(header::LOCATION, &address))
}

fn text(response: &Response, name: HeaderName) -> String {
    let value = response.headers.get(name);
    let text = value.and_then(|value| value.to_str().ok());
    text.unwrap_or_default().to_owned()
}
