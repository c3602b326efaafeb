//! The operations of S3: one row each, served or not.
//!
//! Invariants: routing, the refusal of what is not served, the labels of the metrics and the tests of
//! `docs/S3.md` all read [`OPERATIONS`], so that an operation is declared once; whatever is not
//! served is refused by AWS's name; a subresource, a parameter or a header that is known to change
//! what a request means never goes by unread.

mod known;
mod table;

use std::pin::Pin;

use http::{HeaderMap, Method};

use crate::error::{Code, Fault};
use crate::form::parts;
use crate::query::Query;
use crate::request::{Address, Request};
use crate::response::Response;
use crate::s3::Shared;

pub use known::{check_head_of_form, check_headers};
pub use table::{Id, OPERATIONS};

/// What an operation is about.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Addresses {
    /// The server as a whole.
    Service,
    /// A bucket.
    Bucket,
    /// A key in a bucket.
    Object,
}

/// What tells an operation from others with its method and address.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Mark {
    /// A query parameter, whatever its value.
    Query(&'static str),
    /// A query parameter with this value.
    QueryIs(&'static str, &'static str),
    /// A header, whatever its value.
    Header(&'static str),
    /// A form in the body, which carries its signature in a field.
    Form,
    /// The name of the bucket, which no bucket can have.
    Path(&'static str),
}

/// What the body of a request is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum BodyKind {
    /// Nothing that is read.
    None,
    /// A document with this root, of at most [`XML_BYTES_MAX`](crate::guard::XML_BYTES_MAX).
    Xml(&'static str),
    /// A document in JSON, of at most the same.
    Json,
    /// What becomes an object or a part.
    Stream,
}

/// The answer to a request, under way.
pub type Answering<'a> = Pin<Box<dyn Future<Output = Result<Response, Fault>> + 'a>>;

/// What serves an operation.
pub type Handler = for<'a> fn(&'a Shared, &'a mut Request) -> Answering<'a>;

/// An operation of S3.
#[derive(Debug)]
pub struct Operation {
    /// Which one.
    pub id: Id,
    /// AWS's name.
    pub name: &'static str,
    /// The method.
    pub method: &'static str,
    /// What it is about.
    pub addresses: Addresses,
    /// What must all be there for a request to ask for it.
    pub marks: &'static [Mark],
    /// Query parameters that it reads beside its marks.
    pub parameters: &'static [&'static str],
    /// Headers that it reads and that an operation which does not read them must not pass over.
    pub headers: &'static [&'static str],
    /// What its body is.
    pub body: BodyKind,
    /// Whether headers of the request are stored with an object.
    pub stores_headers: bool,
    /// The action of IAM that it needs.
    pub action: &'static str,
    /// What serves it; `None` where it is not implemented.
    pub handler: Option<Handler>,
}

impl Operation {
    /// An operation that is not served and is told by nothing but its method and address.
    const fn row(
        id: Id,
        name: &'static str,
        method: &'static str,
        addresses: Addresses,
        action: &'static str,
    ) -> Operation {
        Operation {
            id,
            name,
            method,
            addresses,
            marks: &[],
            parameters: &[],
            headers: &[],
            body: BodyKind::None,
            stores_headers: false,
            action,
            handler: None,
        }
    }

    /// Whether an access list may come with it, in headers.
    pub fn takes_access_list(&self) -> bool {
        let takes = [Id::CreateBucket, Id::PutBucketAcl, Id::PutObjectAcl];
        self.stores_headers || takes.contains(&self.id)
    }

    /// Whether it reads this query parameter.
    fn knows_parameter(&self, name: &str) -> bool {
        let is_mark = |mark: &Mark| match mark {
            Mark::Query(known) | Mark::QueryIs(known, _) => *known == name,
            Mark::Header(_) | Mark::Form | Mark::Path(_) => false,
        };
        self.parameters.contains(&name) || self.marks.iter().any(is_mark)
    }

    /// Whether it reads this header.
    fn knows_header(&self, name: &str) -> bool {
        let is_mark = |mark: &Mark| matches!(mark, Mark::Header(known) if *known == name);
        self.headers.contains(&name) || self.marks.iter().any(is_mark)
    }
}

/// The condition that a POST to a bucket does not meet, in AWS's words.
const NO_FORM: &str = "Bucket POST must be of the enclosure-type multipart/form-data";

/// The operation that a request asks for: the first row that fits.
///
/// # Errors
/// `NotImplemented` with the name of what is not served, or of a parameter that would change what
/// the operation means; `MethodNotAllowed` where no row fits, `PreconditionFailed` for what may be meant as a form.
pub fn route(
    method: &Method,
    address: &Address,
    query: &Query,
    headers: &HeaderMap,
) -> Result<&'static Operation, Fault> {
    let addresses = address.kind();
    let fits = |row: &&Operation| {
        let is_here = |mark: &Mark| match mark {
            Mark::Query(name) => query.has(name),
            Mark::QueryIs(name, value) => query.get(name) == Some(value),
            Mark::Header(name) => headers.contains_key(*name),
            Mark::Form => parts::is_announced(headers),
            Mark::Path(name) => address.bucket() == Some(name),
        };
        row.addresses == addresses && row.method == method.as_str() && row.marks.iter().all(is_here)
    };
    let operation = OPERATIONS.iter().find(fits);
    let operation = operation.ok_or_else(|| {
        let may_be_form = *method == Method::POST && addresses == Addresses::Bucket;
        match may_be_form && query.pairs().is_empty() {
            true => Fault::from(Code::PreconditionFailed).detail("Condition", NO_FORM),
            false => Code::MethodNotAllowed.into(),
        }
    })?;
    if operation.handler.is_none() {
        return Err(Fault::operation_not_implemented(operation.name));
    }
    known::check_parameters(operation, query)?;
    Ok(operation)
}

/// The operation of a browser's form, where a request asks for it: what it is about and who asks stands in its body.
pub fn of_form(
    method: &Method,
    address: &Address,
    query: &Query,
    headers: &HeaderMap,
) -> Option<&'static Operation> {
    if !parts::is_announced(headers) {
        return None;
    }
    let operation = route(method, address, query, headers).ok();
    operation.filter(|operation| operation.id == Id::PostObject)
}

#[cfg(test)]
mod tests;
