//! Access lists of objects: to whom something is granted beside the account that owns the object.
//!
//! Invariants: the list of an object is one row of `X` under its inode, so that a version that is put aside or comes back keeps it and an inode that
//! goes takes it along; its entry says whether there is one, of an upload its row, and where that says no there is no row: reading an
//! object without a list looks for none. An object without a list has the one that grants everything to its owner and nothing to others;
//! what a list means is the front end's affair.

use rkyv::{Archive, Deserialize, Serialize};

use super::value::{Damage, FieldWriter, Fields, Row};

/// Grants of a list at most (user guide of S3, "Access control list (ACL) overview").
pub const GRANTS_MAX: usize = 100;

/// To whom something is granted.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Archive, Serialize, Deserialize)]
pub enum Grantee {
    /// An account, by its number.
    Account(u64),
    /// Everybody, signed or not.
    AllUsers,
    /// Every account.
    AuthenticatedUsers,
    /// Whoever delivers access logs.
    LogDelivery,
}

/// What is granted.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Archive, Serialize, Deserialize)]
pub enum Permission {
    /// All of the others.
    FullControl,
    /// Reading the object, or listing the bucket.
    Read,
    /// Writing into the bucket.
    Write,
    /// Reading the list.
    ReadAcp,
    /// Writing the list.
    WriteAcp,
}

/// A grant of a list.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Archive, Serialize, Deserialize)]
pub struct Grant {
    /// To whom.
    pub grantee: Grantee,
    /// What.
    pub permission: Permission,
}

/// The list of an object, in the order in which it was set; it may be empty.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct AccessListRow(pub Vec<Grant>);

impl Row for AccessListRow {
    fn write(&self, fields: &mut FieldWriter) {
        for grant in &self.0 {
            let (kind, account) = match grant.grantee {
                Grantee::Account(account) => (0, account),
                Grantee::AllUsers => (1, 0),
                Grantee::AuthenticatedUsers => (2, 0),
                Grantee::LogDelivery => (3, 0),
            };
            fields.u8(kind);
            fields.u8(match grant.permission {
                Permission::FullControl => 0,
                Permission::Read => 1,
                Permission::Write => 2,
                Permission::ReadAcp => 3,
                Permission::WriteAcp => 4,
            });
            fields.u64(account);
        }
    }

    fn read(fields: &mut Fields<'_>) -> Result<AccessListRow, Damage> {
        let mut grants = Vec::new();
        while !fields.is_empty() {
            let (kind, permission, account) = (fields.u8()?, fields.u8()?, fields.u64()?);
            let grantee = match (kind, account) {
                (0, account) => Grantee::Account(account),
                (1, 0) => Grantee::AllUsers,
                (2, 0) => Grantee::AuthenticatedUsers,
                (3, 0) => Grantee::LogDelivery,
                _ => return Err(Damage("unknown grantee")),
            };
            let permission = match permission {
                0 => Permission::FullControl,
                1 => Permission::Read,
                2 => Permission::Write,
                3 => Permission::ReadAcp,
                4 => Permission::WriteAcp,
                _ => return Err(Damage("unknown permission")),
            };
            grants.push(Grant {
                grantee,
                permission,
            });
        }
        Ok(AccessListRow(grants))
    }
}
