//! `GetObject`.

use std::ops::Range;
use std::rc::Rc;

use strata_raftlog::namespace::{Bucket, Object};

use super::head_object::{Selected, answer_headers, select};
use super::object_body::{BodyReader, ObjectBody, Window, first_window};
use super::{Shared, buckets, versions};
use crate::error::Fault;
use crate::request::Request;
use crate::response::{Response, ResponseBody};

/// An object, what is wanted of it, and where that begins.
struct Found {
    bucket: Rc<Bucket>,
    object: Object,
    selected: Selected,
    window: Window,
}

/// `GetObject`: one range, one part, or all of it, as it lies there when the request is decided.
///
/// The first bytes are read before the answer begins: what cannot be read is an error that names
/// itself, not a `200` that breaks off.
///
/// # Errors
/// As every handler.
pub async fn get(shared: &Shared, request: &Request) -> Result<Response, Fault> {
    let Found {
        bucket,
        object,
        selected,
        window,
    } = find(shared, request)?;
    let mut response = Response::with_status(selected.status());
    response.headers = answer_headers(shared, request, &bucket, &object, &selected)?;
    let range = selected.range(object.size);
    let length = range.end - range.start;
    if length > 0 {
        let mut reader = BodyReader::new(shared, &object, range, window);
        let first = reader.next().await.transpose()?.unwrap_or_default();
        response.body = match reader.has_ended_inline() {
            true => ResponseBody::Bytes(first),
            false => {
                let body = ObjectBody::new(first, reader, length, request);
                ResponseBody::Object(Box::new(body))
            }
        };
    }
    Ok(response)
}

fn find(shared: &Shared, request: &Request) -> Result<Found, Fault> {
    let bucket = buckets::find(shared, request)?;
    let (_, key) = request.address.object()?;
    let asked = versions::asked(request)?;
    shared.cluster.read(|view| {
        let object = match versions::find(view, &bucket, key, asked)? {
            Ok(object) => object,
            Err(fault) => return Ok(Err(fault)),
        };
        let selected = match select(view, request, &object)? {
            Ok(selected) => selected,
            Err(fault) => return Ok(Err(fault)),
        };
        let range: Range<u64> = selected.range(object.size);
        let window = first_window(view, &object, &range)?;
        Ok(Ok(Found {
            bucket,
            object,
            selected,
            window,
        }))
    })?
}
