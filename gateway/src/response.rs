//! What a handler answers: a status, headers and a body.

use bytes::Bytes;
use http::header::{self, HeaderName};
use http::{HeaderMap, HeaderValue, StatusCode};

use crate::s3::ObjectBody;
use crate::xml;

/// An answer that is no error.
pub struct Response {
    /// The status.
    pub status: StatusCode,
    /// The headers.
    pub headers: HeaderMap,
    /// The body.
    pub body: ResponseBody,
}

/// The body of an answer.
pub enum ResponseBody {
    /// Nothing.
    Empty,
    /// What is held whole.
    Bytes(Bytes),
    /// The bytes of an object, as they are read. Boxed, as most answers have none.
    Object(Box<ObjectBody>),
}

impl Response {
    /// `200` without a body.
    pub fn ok() -> Response {
        Response::with_status(StatusCode::OK)
    }

    /// `204`.
    pub fn no_content() -> Response {
        Response::with_status(StatusCode::NO_CONTENT)
    }

    /// A status without a body.
    pub fn with_status(status: StatusCode) -> Response {
        Response {
            status,
            headers: HeaderMap::new(),
            body: ResponseBody::Empty,
        }
    }

    /// `200` with a document.
    pub fn xml(document: xml::Writer) -> Response {
        let mut response = Response::ok();
        let kind = HeaderValue::from_static("application/xml");
        response.headers.insert(header::CONTENT_TYPE, kind);
        response.body = ResponseBody::Bytes(document.finish());
        response
    }

    /// Adds a header. A value that no header can carry is left out: all that comes here was made by
    /// this server or came in a header.
    #[must_use]
    pub fn header(mut self, name: HeaderName, value: &str) -> Response {
        if let Ok(value) = HeaderValue::from_str(value) {
            self.headers.insert(name, value);
        }
        self
    }
}
