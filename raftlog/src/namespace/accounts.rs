//! Accounts: who owns buckets, beside the one that is always there.
//!
//! Invariants: an account has its number for good: one that is deleted leaves its row, so that what it owns in others' buckets, and what is granted to it, comes to nobody
//! else; none that is deleted owns a bucket; the first account has no row, its root key is a row
//! of its own, and it cannot be deleted; the keys of an account's root are access keys that name no user.

use crate::namespace::users::{read_list, read_text, write_list, write_text};
use crate::namespace::value::{Damage, FieldWriter, Fields, Row};

/// The account that is always there.
pub const ROOT_ACCOUNT: u64 = 1;

/// The largest number of an account: AWS shows 12 digits.
pub const ACCOUNT_MAX: u64 = 999_999_999_999;

/// The longest name of an account in characters (API reference of AWS Organizations, CreateAccount).
pub const ACCOUNT_NAME_CHARACTERS_MAX: usize = 50;

/// Whether a text may be the name of an account: 1 to 50 characters of printable ASCII, with no space at an end.
pub fn is_account_name(name: &str) -> bool {
    let allowed = |byte: u8| byte.is_ascii_graphic() || byte == b' ';
    (1..=ACCOUNT_NAME_CHARACTERS_MAX).contains(&name.len())
        && name.bytes().all(allowed)
        && name.trim() == name
}

/// An account other than the first.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Account {
    /// The number, which AWS shows with 12 digits.
    pub number: u64,
    /// The name.
    pub name: String,
    /// When the account was created, in nanoseconds since the Unix epoch.
    pub created_nanos: i64,
    /// Whether it was deleted.
    pub deleted: bool,
    /// Ids of the access keys of its root.
    pub access_key_ids: Vec<String>,
}

impl Row for Account {
    fn write(&self, fields: &mut FieldWriter) {
        fields.u64(self.number);
        fields.i64(self.created_nanos);
        fields.u8(u8::from(self.deleted));
        fields.zeros(3);
        write_text(fields, &self.name);
        write_list(fields, &self.access_key_ids, write_text);
    }

    fn read(fields: &mut Fields<'_>) -> Result<Account, Damage> {
        let (number, created_nanos) = (fields.u64()?, fields.i64()?);
        let deleted = match fields.u8()? {
            0 => false,
            1 => true,
            _ => {
                return Err(Damage(
                    "a mark of a deleted account that is neither 0 nor 1",
                ));
            }
        };
        fields.zeros(3)?;
        Ok(Account {
            number,
            created_nanos,
            deleted,
            name: fields.string()?,
            access_key_ids: read_list(fields, read_text)?,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_printable() {
        for name in ["a", "Research & Development", &"x".repeat(50)] {
            assert!(is_account_name(name), "{name}");
        }
        for name in ["", " a", "a ", "ä", "a\nb", &"x".repeat(51)] {
            assert!(!is_account_name(name), "{name}");
        }
    }
}
