//! The operations of S3, one file per family.
//!
//! A handler takes a request that the guard has admitted and gives back an answer; the table in
//! [`operation`](crate::operation) says which one serves what.

pub mod access_lists;
pub mod bucket_object_lock;
pub mod bucket_policy;
pub mod bucket_tagging;
pub mod buckets;
mod conditions;
pub mod copy_object;
pub mod copy_source;
pub mod cors;
pub mod delete_objects;
pub mod get_object;
pub mod head_object;
pub mod list_objects;
mod metadata;
pub mod multipart;
mod multipart_complete;
pub mod multipart_lists;
pub mod object_attributes;
mod object_body;
pub mod object_lock;
pub mod object_retention;
pub mod object_tagging;
pub mod ownership;
pub mod post_object;
pub mod public_access_block;
pub mod put_object;
mod ranges;
pub mod settings;
pub mod tags;
pub mod versions;

use std::rc::Rc;

use strata_net::Cluster;
use strata_raftlog::namespace::Bucket;

use crate::access::bucket_rules::KnownRules;
use crate::access::identity::KnownIdentities;
use crate::error::{Code, Fault};
use crate::percent::encode_path;
use crate::policy::account_id;
use crate::query::Query;
use crate::request::{Addressing, Request};
use crate::serve::GatewayConfig;
use crate::xml;

pub use object_body::{ObjectBody, ReadRoom};
pub use strata_raftlog::namespace::ROOT_ACCOUNT;

/// What the operations act on.
pub struct Shared {
    /// The cluster.
    pub cluster: Cluster,
    /// The configuration.
    pub config: Rc<GatewayConfig>,
    /// Room for readers that read ahead.
    pub read_room: ReadRoom,
    /// What buckets say of who may do what.
    pub rules: KnownRules,
    /// Who asks.
    pub identities: KnownIdentities,
}

/// Writes an account as AWS shows its canonical id: 64 hexadecimal digits.
fn write_account(xml: &mut xml::Writer, element: &str, account: u64) {
    xml.open(element);
    xml.value("ID", format_args!("{account:064x}"));
    xml.close(element);
}

/// A page size of a listing: 0 to 1,000, where nothing is said 1,000.
fn page_size(query: &Query, name: &str) -> Result<usize, Fault> {
    page_size_of(name, query.number::<i32>(name)?)
}

/// The page size that a number asks for, which stands under that name.
fn page_size_of(name: &str, number: Option<i32>) -> Result<usize, Fault> {
    match number {
        None => Ok(1000),
        Some(negative @ ..0) => Err(Fault::argument(
            name,
            &negative.to_string(),
            format!("Argument {name} must be an integer between 0 and 2147483647"),
        )),
        Some(size) => Ok((size as usize).min(1000)),
    }
}

/// Whether names are to be percent-encoded in the answer.
fn is_encoded(query: &Query) -> Result<bool, Fault> {
    match query.get("encoding-type") {
        None => Ok(false),
        Some("url") => Ok(true),
        Some(other) => Err(Fault::argument(
            "encoding-type",
            other,
            "Invalid Encoding Method specified in Request",
        )),
    }
}

/// Writes a key, or a part of one, percent-encoded where the client asked for it.
fn write_key(xml: &mut xml::Writer, element: &str, key: &[u8], is_encoded: bool) {
    match is_encoded {
        true => xml.value(element, encode_path(key)),
        false => xml.element(element, &String::from_utf8_lossy(key)),
    }
}

/// The address of an object, as the client has named the server, with its key as it is encoded.
fn location(shared: &Shared, request: &Request, bucket: &str, key: &str) -> String {
    let host = request.header("host").unwrap_or_default();
    let scheme = match shared.config.tls {
        Some(_) => "https",
        None => "http",
    };
    match request.addressing {
        Addressing::Path => format!("{scheme}://{host}/{bucket}/{key}"),
        Addressing::Host => format!("{scheme}://{host}/{key}"),
    }
}

/// Checks `x-amz-expected-bucket-owner` and its like against the account that owns the bucket.
fn check_owner(request: &Request, header: &str, bucket: &Bucket) -> Result<(), Fault> {
    match request.header(header) {
        Some(account) if account != account_id(bucket.owner) => Err(Code::AccessDenied.into()),
        _ => Ok(()),
    }
}
