//! Access control lists as values: whom they grant what.
//!
//! Pure: no storage, no HTTP but the headers that name a list. A list that AWS has made (`x-amz-acl`) is expanded when it is set, so that what is stored are grants alone.
//! Invariants: a list holds at most 100 grants; a grantee or a permission that is not understood makes the whole list refused; what no grant
//! names is not granted.
//!
//! Source: AWS's user guide of S3, "Access control list (ACL) overview".

pub mod document;
pub mod headers;

use strata_raftlog::namespace::{GRANTS_MAX, Grant, Grantee, Permission};

use crate::error::{Code, Fault};

pub use headers::{CANNED, CANNED_BUCKET_OWNER_FULL_CONTROL, GRANTS};

/// The groups that AWS has, by their addresses.
const GROUPS: &[(&str, Grantee)] = &[
    (
        "http://acs.amazonaws.com/groups/global/AllUsers",
        Grantee::AllUsers,
    ),
    (
        "http://acs.amazonaws.com/groups/global/AuthenticatedUsers",
        Grantee::AuthenticatedUsers,
    ),
    (
        "http://acs.amazonaws.com/groups/s3/LogDelivery",
        Grantee::LogDelivery,
    ),
];

/// What has a list.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ListOf {
    /// A bucket.
    Bucket,
    /// An object, or an upload that becomes one.
    Object,
}

/// Whose what a list is of.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Owners {
    /// The account that owns it.
    pub own: u64,
    /// The account that owns the bucket.
    pub of_bucket: u64,
}

/// A list: whom is granted what.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AccessList(pub Vec<Grant>);

impl AccessList {
    /// The list that grants its owner everything and others nothing, which is so where there is none.
    pub fn private(owner: u64) -> AccessList {
        AccessList(vec![to(Grantee::Account(owner), Permission::FullControl)])
    }

    /// The list that AWS has under a name.
    ///
    /// # Errors
    /// `InvalidArgument` for one that it does not have; `NotImplemented` for the one of a service that is not here.
    pub fn canned(name: &str, of: ListOf, owners: Owners) -> Result<AccessList, Fault> {
        let mut list = AccessList::private(owners.own);
        let bucket_owner = Grantee::Account(owners.of_bucket);
        let is_of_others = of == ListOf::Object && owners.own != owners.of_bucket;
        let more: &[Grant] = match (name.to_ascii_lowercase().as_str(), of) {
            ("private", _) => &[],
            ("public-read", _) => &[to(Grantee::AllUsers, Permission::Read)],
            ("public-read-write", _) => &[
                to(Grantee::AllUsers, Permission::Read),
                to(Grantee::AllUsers, Permission::Write),
            ],
            ("authenticated-read", _) => &[to(Grantee::AuthenticatedUsers, Permission::Read)],
            // Of a bucket they say nothing more, as with AWS.
            ("bucket-owner-read" | CANNED_BUCKET_OWNER_FULL_CONTROL, _) if !is_of_others => &[],
            ("bucket-owner-read", _) => &[to(bucket_owner, Permission::Read)],
            (CANNED_BUCKET_OWNER_FULL_CONTROL, _) => &[to(bucket_owner, Permission::FullControl)],
            ("log-delivery-write", ListOf::Bucket) => &[
                to(Grantee::LogDelivery, Permission::Write),
                to(Grantee::LogDelivery, Permission::ReadAcp),
            ],
            ("aws-exec-read", _) => {
                let what = "The access list aws-exec-read, which lets Amazon EC2 in,";
                return Err(Fault::not_implemented(what));
            }
            _ => {
                return Err(Fault::argument(
                    CANNED,
                    name,
                    Code::InvalidArgument.message(),
                ));
            }
        };
        list.0.extend_from_slice(more);
        Ok(list)
    }

    /// Whether it grants its owner everything and others nothing, so that it needs not be stored.
    pub fn is_private(&self, owner: u64) -> bool {
        *self == AccessList::private(owner)
    }

    /// Whether it grants anybody anything beside this account.
    pub fn names_others(&self, account: u64) -> bool {
        let mut grants = self.0.iter();
        grants.any(|grant| grant.grantee != Grantee::Account(account))
    }

    /// Whether it grants everybody or every account something (user guide of S3, "Blocking public access to your Amazon S3 storage").
    pub fn is_public(&self) -> bool {
        self.0.iter().any(|grant| is_public(grant.grantee))
    }

    /// Whether it grants an account something, or, with none, one that signs nothing. Where public grants are ignored they count for nobody.
    pub fn grants(&self, account: Option<u64>, asked: Permission, ignores_public: bool) -> bool {
        self.0.iter().any(|grant| {
            let is_it = matches!(grant.permission, permission if permission == asked)
                || grant.permission == Permission::FullControl;
            let is_to = match grant.grantee {
                Grantee::Account(known) => account == Some(known),
                Grantee::AllUsers => true,
                Grantee::AuthenticatedUsers => account.is_some(),
                Grantee::LogDelivery => false,
            };
            is_it && is_to && !(ignores_public && is_public(grant.grantee))
        })
    }

    /// The accounts that it names.
    pub fn accounts(&self) -> impl Iterator<Item = u64> + '_ {
        self.0.iter().filter_map(|grant| match grant.grantee {
            Grantee::Account(account) => Some(account),
            Grantee::AllUsers | Grantee::AuthenticatedUsers | Grantee::LogDelivery => None,
        })
    }

    /// Adds a grant.
    fn push(&mut self, grant: Grant) -> Result<(), Fault> {
        if self.0.len() == GRANTS_MAX {
            return Err(Code::MalformedACLError.into());
        }
        self.0.push(grant);
        Ok(())
    }
}

const fn to(grantee: Grantee, permission: Permission) -> Grant {
    Grant {
        grantee,
        permission,
    }
}

fn is_public(grantee: Grantee) -> bool {
    matches!(grantee, Grantee::AllUsers | Grantee::AuthenticatedUsers)
}

/// The account that a canonical id names: 64 hexadecimal digits.
fn account_by_id(id: &str) -> Result<Grantee, Fault> {
    let is_whole = id.len() == 64 && id.bytes().all(|byte| byte.is_ascii_hexdigit());
    let (high, low) = id.split_at_checked(48).unwrap_or_default();
    let is_ours = is_whole && high.bytes().all(|byte| byte == b'0');
    let number = u64::from_str_radix(low, 16).ok().filter(|_| is_ours);
    number.map(Grantee::Account).ok_or_else(|| unknown_id(id))
}

/// The refusal of an account that does not exist.
pub fn unknown_id(id: &str) -> Fault {
    Fault::argument("CanonicalUser/ID", id, "Invalid id")
}

/// The group of an address.
fn group_by_uri(uri: &str) -> Result<Grantee, Fault> {
    let found = GROUPS.iter().find(|(known, _)| *known == uri);
    let unknown = || Fault::argument("Group/URI", uri, "Invalid group uri");
    found.map(|(_, group)| *group).ok_or_else(unknown)
}

/// Accounts have no addresses of mail here, so that none can be found by one.
fn by_email() -> Fault {
    Code::UnresolvableGrantByEmailAddress.into()
}

#[cfg(test)]
mod tests {
    use super::*;

    const OWNERS: Owners = Owners {
        own: 7,
        of_bucket: 9,
    };

    fn canned(name: &str, of: ListOf) -> Result<Vec<Grant>, Code> {
        let list = AccessList::canned(name, of, OWNERS);
        list.map(|list| list.0).map_err(|fault| fault.code)
    }

    #[test]
    fn lists_of_aws_are_expanded() {
        use Permission::{FullControl, Read, ReadAcp, Write};
        let own = to(Grantee::Account(7), FullControl);
        for (name, more) in [
            ("private", vec![]),
            ("Private", vec![]),
            ("public-read", vec![to(Grantee::AllUsers, Read)]),
            (
                "public-read-write",
                vec![to(Grantee::AllUsers, Read), to(Grantee::AllUsers, Write)],
            ),
            (
                "authenticated-read",
                vec![to(Grantee::AuthenticatedUsers, Read)],
            ),
        ] {
            let expected = [vec![own], more].concat();
            assert_eq!(canned(name, ListOf::Object), Ok(expected.clone()), "{name}");
            assert_eq!(canned(name, ListOf::Bucket), Ok(expected), "{name}");
        }
        for (name, permission) in [
            ("bucket-owner-read", Read),
            ("bucket-owner-full-control", FullControl),
        ] {
            let expected = vec![own, to(Grantee::Account(9), permission)];
            assert_eq!(canned(name, ListOf::Object), Ok(expected));
            assert_eq!(canned(name, ListOf::Bucket), Ok(vec![own]));
            let same = Owners {
                own: 7,
                of_bucket: 7,
            };
            let list = AccessList::canned(name, ListOf::Object, same).unwrap();
            assert!(list.is_private(7), "{name}");
        }
        let logs = [Write, ReadAcp].map(|permission| to(Grantee::LogDelivery, permission));
        let expected = [vec![own], logs.to_vec()].concat();
        assert_eq!(canned("log-delivery-write", ListOf::Bucket), Ok(expected));
        for name in ["log-delivery-write", "everybody", ""] {
            let refused = canned(name, ListOf::Object);
            assert_eq!(refused, Err(Code::InvalidArgument), "{name}");
        }
        let exec = canned("aws-exec-read", ListOf::Bucket);
        assert_eq!(exec, Err(Code::NotImplemented));
    }

    #[test]
    fn a_grant_is_for_those_that_it_names() {
        use Permission::{FullControl, Read, ReadAcp, Write, WriteAcp};
        let all = [FullControl, Read, Write, ReadAcp, WriteAcp];
        let callers = [None, Some(7), Some(8)];
        for (grantee, reached) in [
            (Grantee::Account(7), vec![Some(7)]),
            (Grantee::AllUsers, callers.to_vec()),
            (Grantee::AuthenticatedUsers, vec![Some(7), Some(8)]),
            (Grantee::LogDelivery, vec![]),
        ] {
            for permission in all {
                let list = AccessList(vec![to(grantee, permission)]);
                for caller in callers {
                    for asked in all {
                        let has = permission == FullControl || permission == asked;
                        let expected = has && reached.contains(&caller);
                        assert_eq!(list.grants(caller, asked, false), expected);
                        let expected = expected && grantee == Grantee::Account(7);
                        assert_eq!(list.grants(caller, asked, true), expected);
                    }
                }
            }
        }
        assert!(!AccessList(Vec::new()).grants(Some(7), Read, false));
    }

    #[test]
    fn what_a_list_says_of_others() {
        let private = AccessList::private(7);
        assert!(private.is_private(7) && !private.is_private(8));
        assert!(!private.names_others(7) && private.names_others(8));
        assert!(!private.is_public());
        for group in [Grantee::AllUsers, Grantee::AuthenticatedUsers] {
            let list = AccessList(vec![to(group, Permission::ReadAcp)]);
            assert!(list.is_public() && list.names_others(7));
        }
        let logs = AccessList(vec![to(Grantee::LogDelivery, Permission::Write)]);
        assert!(!logs.is_public() && logs.names_others(7));
        assert!(!AccessList(Vec::new()).is_private(7));
    }

    #[test]
    fn ids_are_those_of_accounts() {
        let id = format!("{:064x}", 222_222_222_222_u64);
        let account = account_by_id(&id).unwrap();
        assert_eq!(account, Grantee::Account(222_222_222_222));
        for wrong in [
            "",
            "222222222222",
            &id[1..],
            &format!("{id}0"),
            &format!("1{}", &id[1..]),
            &format!("+{}", &id[1..]),
            &format!("{}é", &id[2..]),
        ] {
            let refused = account_by_id(wrong).unwrap_err();
            assert_eq!(refused.code, Code::InvalidArgument, "{wrong}");
            assert_eq!(refused.message, "Invalid id");
        }
    }
}
