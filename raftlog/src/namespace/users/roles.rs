//! Roles, which are assumed for a time, and the keys that the tokens of such sessions are sealed with.
//!
//! Invariants: names of roles are unique without regard to the case of ASCII letters; a role that is deleted and created again has another id;
//! the numbers of session keys rise, and a number is never used again while a higher one is there; the secret of a session key is shown by no `Debug` and
//! no description.

use std::fmt;
use std::ops::RangeInclusive;

use rkyv::{Archive, Deserialize, Serialize};

use super::ManagedPolicyName;
use super::rows::{read_list, read_policy_name, write_list, write_policy_name, write_text};
use crate::namespace::value::{Damage, FieldWriter, Fields, Row};

/// How long a session of a role may last, in seconds: API reference of IAM, CreateRole.
pub const ROLE_SESSION_SECONDS: RangeInclusive<u32> = 3_600..=43_200;

/// The longest trust policy in bytes, with all its whitespace.
pub const TRUST_POLICY_BYTES_MAX: usize = 16 * 1024;

/// The longest description of a role, in characters.
const DESCRIPTION_CHARACTERS_MAX: usize = 1_000;

/// Bytes of a session key: AES-256.
pub const SESSION_KEY_BYTES: usize = 32;

/// Whether a text may describe a role: at most 1,000 characters, of which none but tab and ends of lines is a control.
pub fn is_description(text: &str) -> bool {
    let is_plain =
        |character: char| matches!(character, '\t' | '\n' | '\r') || !character.is_control();
    text.chars().count() <= DESCRIPTION_CHARACTERS_MAX && text.chars().all(is_plain)
}

/// The key that tokens of sessions are sealed with; never logged. `Debug` does not show it.
#[derive(Clone, PartialEq, Eq, Archive, Serialize, Deserialize)]
pub struct SessionKeySecret(pub [u8; SESSION_KEY_BYTES]);

impl fmt::Debug for SessionKeySecret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("(secret)")
    }
}

/// A role: rights that somebody takes on for a time.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Role {
    /// The name.
    pub name: String,
    /// The id, which no other role had or will have.
    pub id: String,
    /// The path, `/` for most.
    pub path: String,
    /// The account that the role belongs to.
    pub account: u64,
    /// When the role was created, in nanoseconds since the Unix epoch.
    pub created_nanos: i64,
    /// The longest session, in seconds.
    pub max_session_seconds: u32,
    /// What it is for.
    pub description: String,
    /// Who may assume it: a policy that names principals, as it was given.
    pub trust_policy: String,
    /// Managed policies that are attached to the role.
    pub attached: Vec<ManagedPolicyName>,
    /// The managed policy that bounds what the role's policies may allow.
    pub boundary: Option<ManagedPolicyName>,
}

/// A key that tokens of sessions are sealed with.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SessionKey {
    /// Its number, which the tokens name.
    pub number: u32,
    /// When it was added, in nanoseconds since the Unix epoch.
    pub created_nanos: i64,
    /// The key itself.
    pub secret: SessionKeySecret,
}

impl Row for Role {
    fn write(&self, fields: &mut FieldWriter) {
        fields.u64(self.account);
        fields.i64(self.created_nanos);
        fields.u32(self.max_session_seconds);
        for text in [
            &self.name,
            &self.id,
            &self.path,
            &self.description,
            &self.trust_policy,
        ] {
            write_text(fields, text);
        }
        write_list(fields, &self.attached, write_policy_name);
        write_list(fields, self.boundary.as_slice(), write_policy_name);
    }

    fn read(fields: &mut Fields<'_>) -> Result<Role, Damage> {
        let (account, created_nanos) = (fields.u64()?, fields.i64()?);
        let max_session_seconds = fields.u32()?;
        let (name, id, path) = (fields.string()?, fields.string()?, fields.string()?);
        let (description, trust_policy) = (fields.string()?, fields.string()?);
        let attached = read_list(fields, read_policy_name)?;
        let mut boundary = read_list(fields, read_policy_name)?;
        if boundary.len() > 1 {
            return Err(Damage("a role with more than one boundary"));
        }
        Ok(Role {
            name,
            id,
            path,
            account,
            created_nanos,
            max_session_seconds,
            description,
            trust_policy,
            attached,
            boundary: boundary.pop(),
        })
    }
}

impl Row for SessionKey {
    fn write(&self, fields: &mut FieldWriter) {
        fields.u32(self.number);
        fields.i64(self.created_nanos);
        fields.raw(&self.secret.0);
    }

    fn read(fields: &mut Fields<'_>) -> Result<SessionKey, Damage> {
        Ok(SessionKey {
            number: fields.u32()?,
            created_nanos: fields.i64()?,
            secret: SessionKeySecret(fields.array()?),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn descriptions_have_their_bounds_and_keys_are_not_shown() {
        assert!(is_description("") && is_description("Lets the backup\nwrite äöü"));
        assert!(is_description(&"ä".repeat(1_000)) && !is_description(&"a".repeat(1_001)));
        assert!(!is_description("a\u{1}b"));
        assert_eq!(format!("{:?}", SessionKeySecret([7; 32])), "(secret)");
    }
}
