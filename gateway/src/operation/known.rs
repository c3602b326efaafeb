//! What may stand in a request beside what its operation reads.
//!
//! Invariants: a header or a parameter that is known to change what a request means is refused by
//! name where the operation does not read it; every other one is ignored, as AWS does.

use http::HeaderMap;
use http::header::{self, HeaderName};

use super::{Mark, OPERATIONS, Operation};
use crate::access_list;
use crate::checksum;
use crate::error::{Code, Fault};
use crate::query::Query;

/// Parameters that change what a request means, beside the marks of the operations.
const MEANINGFUL_PARAMETERS: &[&str] = &["versionId", "partNumber"];

/// Headers that change what a request means, and that no operation here reads.
const MEANINGFUL_HEADERS: &[&str] = &[
    "content-range",
    "x-amz-bucket-namespace",
    "x-amz-mfa",
    "x-amz-restore-output-path",
    "x-amz-website-redirect-location",
    "x-amz-write-offset-bytes",
];

/// Beginnings of such headers.
const MEANINGFUL_PREFIXES: &[&str] = &[
    "x-amz-copy-source",
    "x-amz-grant-",
    "x-amz-if-match-",
    "x-amz-object-lock-",
    "x-amz-rename-source",
    "x-amz-server-side-encryption",
];

/// Headers of which only some values are served; every other value is refused.
const KNOWN_VALUES: &[(&str, &[&str])] = &[
    ("x-amz-acl", &["private", "bucket-owner-full-control"]),
    ("x-amz-storage-class", &["STANDARD"]),
];

/// Refuses parameters that the operation would pass over though they change what is asked for.
///
/// # Errors
/// `NotImplemented` with the parameter's name; for `x-id`, which names the operation, what
/// [`misnamed`] says; `InvalidRequest` for half of what names a part.
pub fn check_parameters(operation: &Operation, query: &Query) -> Result<(), Fault> {
    for (name, value) in query.pairs() {
        if operation.knows_parameter(name) {
            continue;
        }
        match name.as_str() {
            "x-id" if value != operation.name => return Err(misnamed(value)),
            "uploadId" | "partNumber" if operation.method == "PUT" => {
                let message = "A part needs both parameters, partNumber and uploadId.";
                return Err(Fault::new(Code::InvalidRequest, message));
            }
            name if is_meaningful_parameter(name) => {
                return Err(Fault::parameter_not_implemented(name));
            }
            _ => {}
        }
    }
    Ok(())
}

/// The first mark of an operation is its subresource; others narrow it.
fn is_meaningful_parameter(name: &str) -> bool {
    let is_subresource =
        |row: &Operation| matches!(row.marks.first(), Some(Mark::Query(known)) if *known == name);
    MEANINGFUL_PARAMETERS.contains(&name) || OPERATIONS.iter().any(is_subresource)
}

/// `x-id` may be all that tells an operation that is not served from one that is.
fn misnamed(value: &str) -> Fault {
    let known = OPERATIONS.iter().find(|known| known.name == value);
    match known.is_some_and(|known| known.handler.is_some()) {
        true => Fault::argument("x-id", value, "x-id does not name the operation"),
        false => Fault::operation_not_implemented(value),
    }
}

/// Refuses headers that the operation would pass over though they change what is asked for.
///
/// # Errors
/// `NotImplemented` with the header's name, `InvalidArgument` for a header that is there more than once.
pub fn check_headers(operation: &Operation, headers: &HeaderMap) -> Result<(), Fault> {
    let takes_list = operation.takes_access_list();
    for name in headers.keys().map(HeaderName::as_str) {
        let is_of_list = takes_list && access_list::GRANTS.contains(&name);
        if !is_of_list && !operation.knows_header(name) && is_meaningful_header(name) {
            return Err(Fault::header_not_implemented(name));
        }
        let is_list = name.starts_with("x-amz-meta-") || name == "x-amz-object-attributes";
        if name.starts_with("x-amz-") && !is_list && headers.get_all(name).iter().count() > 1 {
            let message = format!("The header {name} is there more than once.");
            return Err(Fault::argument(name, "", message));
        }
    }
    for (name, values) in KNOWN_VALUES {
        let Some(value) = headers.get(*name) else {
            continue;
        };
        if takes_list && *name == access_list::CANNED {
            continue;
        }
        let is_known = |known: &&str| known.as_bytes().eq_ignore_ascii_case(value.as_bytes());
        if !values.iter().any(is_known) {
            return Err(Fault::header_not_implemented(name));
        }
    }
    Ok(())
}

/// Refuses headers of a form that change what a request means: a form says in its fields what it wants, and nothing else is read.
///
/// # Errors
/// `NotImplemented` with the header's name; `InvalidRequest` for a signature.
pub fn check_head_of_form(query: &Query, headers: &HeaderMap) -> Result<(), Fault> {
    let in_header = headers.get(header::AUTHORIZATION);
    let in_header = in_header.is_some_and(|value| !value.as_bytes().trim_ascii().is_empty());
    let in_query = ["X-Amz-Signature", "X-Amz-Algorithm", "Signature"];
    if in_header || in_query.iter().any(|name| query.has(name)) {
        let message = "The signature of a form stands in its fields.";
        return Err(Fault::new(Code::InvalidRequest, message));
    }
    let mut names = headers.keys().map(HeaderName::as_str);
    match names.find(|name| is_meaningful_header(name)) {
        Some(name) => Err(Fault::header_not_implemented(name)),
        None => Ok(()),
    }
}

fn is_meaningful_header(name: &str) -> bool {
    let may_be = ["x-amz-", "if-", "content-range"];
    let is_of_signature = matches!(name, "x-amz-date" | "x-amz-content-sha256");
    if is_of_signature || !may_be.iter().any(|start| name.starts_with(start)) {
        return false;
    }
    if let Some(kind) = name.strip_prefix("x-amz-checksum-") {
        let is_setting = matches!(kind, "algorithm" | "mode" | "type");
        return !is_setting && checksum::by_header(name).is_none();
    }
    MEANINGFUL_HEADERS.contains(&name)
        || MEANINGFUL_PREFIXES
            .iter()
            .any(|prefix| name.starts_with(prefix))
        || OPERATIONS.iter().any(|row| row.knows_header(name))
}
