//! The lists that headers name: `x-amz-acl`, or `x-amz-grant-*` with whom each permission is granted to.
//!
//! Source: AWS's API references of PutObject and PutBucketAcl.

use http::HeaderMap;
use strata_raftlog::namespace::Permission;

use super::{AccessList, ListOf, Owners, account_by_id, by_email, group_by_uri, to};
use crate::error::{Code, Fault};

/// The header that names a list that AWS has made.
pub const CANNED: &str = "x-amz-acl";

/// The list that makes an object the bucket owner's under `BucketOwnerPreferred`.
pub const CANNED_BUCKET_OWNER_FULL_CONTROL: &str = "bucket-owner-full-control";

/// The headers that make a list, each of whom something is granted to.
pub const GRANTS: &[&str] = &[
    "x-amz-grant-full-control",
    "x-amz-grant-read",
    "x-amz-grant-read-acp",
    "x-amz-grant-write",
    "x-amz-grant-write-acp",
];

/// What the headers of [`GRANTS`] grant, in their order.
const PERMISSIONS: &[Permission] = &[
    Permission::FullControl,
    Permission::Read,
    Permission::ReadAcp,
    Permission::Write,
    Permission::WriteAcp,
];

impl AccessList {
    /// The list that headers name; `None` where they name none. Grants take nothing for granted: the owner has what they say.
    ///
    /// # Errors
    /// `InvalidRequest` for a list of AWS's and grants together; those of [`AccessList::canned`]; for grants `InvalidArgument`,
    /// `UnresolvableGrantByEmailAddress` and, for more than 100, `MalformedACLError`.
    pub fn of_headers(
        headers: &HeaderMap,
        of: ListOf,
        owners: Owners,
    ) -> Result<Option<AccessList>, Fault> {
        let has_grants = GRANTS.iter().any(|name| headers.contains_key(*name));
        if let Some(canned) = headers.get(CANNED) {
            if has_grants {
                let message = "Specifying both Canned ACLs and Header Grants is not allowed";
                return Err(Fault::new(Code::InvalidRequest, message));
            }
            let name = String::from_utf8_lossy(canned.as_bytes());
            return AccessList::canned(&name, of, owners).map(Some);
        }
        if !has_grants {
            return Ok(None);
        }
        let mut list = AccessList(Vec::new());
        for (name, permission) in GRANTS.iter().zip(PERMISSIONS) {
            if let Some(value) = headers.get(*name) {
                let text = String::from_utf8_lossy(value.as_bytes());
                add(&mut list, name, &text, *permission)?;
            }
        }
        Ok(Some(list))
    }
}

/// Adds those that a header names: `id="...", uri="..."`, with or without quotes.
fn add(
    list: &mut AccessList,
    header: &str,
    text: &str,
    permission: Permission,
) -> Result<(), Fault> {
    for part in text.split(',') {
        let malformed = || Fault::argument(header, text, "Argument format not recognized");
        let (kind, value) = part.split_once('=').ok_or_else(malformed)?;
        let value = value.trim();
        let quoted = value.strip_prefix('"').map(|rest| rest.strip_suffix('"'));
        let value = match quoted {
            None => value,
            Some(inside) => inside.ok_or_else(malformed)?,
        };
        let kind = kind.trim();
        let grantee = match kind {
            _ if kind.eq_ignore_ascii_case("id") => account_by_id(value)?,
            _ if kind.eq_ignore_ascii_case("uri") => group_by_uri(value)?,
            _ if kind.eq_ignore_ascii_case("emailAddress") => return Err(by_email()),
            _ => return Err(malformed()),
        };
        list.push(to(grantee, permission))?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use http::{HeaderName, HeaderValue};
    use strata_raftlog::namespace::Grantee;

    fn list(pairs: &[(&'static str, &str)]) -> Result<Option<AccessList>, Fault> {
        let pairs = pairs.iter().map(|(name, value)| {
            let value = HeaderValue::from_str(value).unwrap();
            (HeaderName::from_static(name), value)
        });
        let owners = Owners {
            own: 7,
            of_bucket: 7,
        };
        AccessList::of_headers(&pairs.collect(), ListOf::Object, owners)
    }

    fn id(account: u64) -> String {
        format!("{account:064x}")
    }

    #[test]
    fn grants_of_headers_are_read() {
        assert_eq!(list(&[]).unwrap(), None);
        let text = format!("id=\"{}\", ID={} ,id=\"{}\"", id(1), id(2), id(3));
        let uri = "uri=\"http://acs.amazonaws.com/groups/global/AllUsers\"";
        let read = list(&[("x-amz-grant-write-acp", uri), ("x-amz-grant-read", &text)]);
        let read = read.unwrap().unwrap();
        let expected = [1, 2, 3].map(|account| to(Grantee::Account(account), Permission::Read));
        assert_eq!(read.0[..3], expected);
        assert_eq!(read.0[3..], [to(Grantee::AllUsers, Permission::WriteAcp)]);
        let canned = list(&[(CANNED, "private")]).unwrap().unwrap();
        assert!(canned.is_private(7));
    }

    #[test]
    fn what_is_no_list_is_refused() {
        let read = "x-amz-grant-read";
        let many = vec![format!("id={}", id(1)); 101].join(",");
        for (pairs, code) in [
            (&[(read, "")][..], Code::InvalidArgument),
            (&[(read, "id=1")], Code::InvalidArgument),
            (&[(read, "id")], Code::InvalidArgument),
            (&[(read, "id=\"1")], Code::InvalidArgument),
            (&[(read, "name=\"a\"")], Code::InvalidArgument),
            (
                &[(read, "uri=\"http://example.com/all\"")],
                Code::InvalidArgument,
            ),
            (
                &[(read, "emailAddress=\"a@example.com\"")],
                Code::UnresolvableGrantByEmailAddress,
            ),
            (&[(read, &many)], Code::MalformedACLError),
            (&[(read, "id=1"), (CANNED, "private")], Code::InvalidRequest),
            (&[(CANNED, "everybody")], Code::InvalidArgument),
        ] {
            assert_eq!(list(pairs).unwrap_err().code, code, "{pairs:?}");
        }
    }
}
