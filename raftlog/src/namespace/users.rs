//! Who may ask: users, groups of users, roles, access keys and policies, as the replicated state holds them.
//!
//! Invariants: names of users, groups and policies are unique without regard to the case of ASCII letters, each among its kind, and are kept
//! as they were given; an access key id is unique in the cluster and is not the root key's; what a policy says is the front end's affair, its
//! length is bounded here; a secret is shown by no `Debug` and no description.

use std::fmt;
use std::ops::RangeInclusive;

use rkyv::{Archive, Deserialize, Serialize};

mod roles;
mod rows;

pub use roles::{
    ROLE_SESSION_SECONDS, Role, SESSION_KEY_BYTES, SessionKey, SessionKeySecret,
    TRUST_POLICY_BYTES_MAX, is_description,
};
pub(super) use rows::{read_list, read_text, write_list, write_text};

/// The longest name of a user (IAM's quotas, <https://docs.aws.amazon.com/IAM/latest/UserGuide/reference_iam-quotas.html>).
pub const USER_NAME_CHARACTERS_MAX: usize = 64;

/// The longest name of a group or a policy.
pub const GROUP_NAME_CHARACTERS_MAX: usize = 128;

/// The longest path of a user or a group.
pub const PATH_CHARACTERS_MAX: usize = 512;

/// Lengths of the ids of users, groups, roles and policies.
pub const ENTITY_ID_CHARACTERS: RangeInclusive<usize> = 16..=128;

/// Lengths of the access key ids of users.
pub const USER_KEY_ID_CHARACTERS: RangeInclusive<usize> = 16..=128;

/// Lengths of the secrets of users.
pub const USER_SECRET_CHARACTERS: RangeInclusive<usize> = 8..=128;

/// The longest document of a policy in bytes, with all its whitespace.
pub const POLICY_BYTES_MAX: usize = 32 * 1024;

/// Whether a text may be the name of a user or a role: 1 to 64 letters, digits and `_+=,.@-`.
pub fn is_user_name(name: &str) -> bool {
    is_name(name, USER_NAME_CHARACTERS_MAX)
}

/// Whether a text may be the name of a group or of a policy: 1 to 128 letters, digits and `_+=,.@-`.
pub fn is_group_name(name: &str) -> bool {
    is_name(name, GROUP_NAME_CHARACTERS_MAX)
}

fn is_name(name: &str, length_max: usize) -> bool {
    let allowed = |byte: u8| byte.is_ascii_alphanumeric() || b"_+=,.@-".contains(&byte);
    (1..=length_max).contains(&name.len()) && name.bytes().all(allowed)
}

/// Whether a text may be a path: `/`, or more in printable ASCII between two of them.
pub fn is_path(path: &str) -> bool {
    (1..=PATH_CHARACTERS_MAX).contains(&path.len())
        && path.starts_with('/')
        && path.ends_with('/')
        && path.bytes().all(|byte| byte.is_ascii_graphic())
}

/// Whether a text may be the access key id of a user: 16 to 128 letters, digits and `_`.
pub fn is_user_key_id(id: &str) -> bool {
    let allowed = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'_';
    USER_KEY_ID_CHARACTERS.contains(&id.len()) && id.bytes().all(allowed)
}

/// Whether a text may be the secret of a user's key: 8 to 128 characters of printable ASCII without spaces.
pub fn is_user_secret(secret: &str) -> bool {
    USER_SECRET_CHARACTERS.contains(&secret.len())
        && secret.bytes().all(|byte| byte.is_ascii_graphic())
}

/// The characters of a policy's document that count against its bound: all but the whitespace of JSON.
pub fn policy_characters(document: &str) -> usize {
    let counts = |character: &char| !matches!(character, ' ' | '\t' | '\n' | '\r');
    document.chars().filter(counts).count()
}

/// The secret of an access key; never logged. `Debug` does not show it.
#[derive(Clone, PartialEq, Eq, Archive, Serialize, Deserialize)]
pub struct AccessKeySecret(pub String);

impl fmt::Debug for AccessKeySecret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("(secret)")
    }
}

/// Whom a policy can belong to: a user, a group or a role, by name.
#[derive(Debug, Clone, PartialEq, Eq, Archive, Serialize, Deserialize)]
pub enum Principal {
    /// A user.
    User(String),
    /// A group, and so each user in it.
    Group(String),
    /// A role, and so each of its sessions.
    Role(String),
}

impl Principal {
    /// The name.
    pub fn name(&self) -> &str {
        match self {
            Principal::User(name) | Principal::Group(name) | Principal::Role(name) => name,
        }
    }
}

/// Where a managed policy is kept.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Archive, Serialize, Deserialize)]
pub enum PolicySource {
    /// In the replicated state.
    State,
    /// In the front end, which has some of AWS's under their names.
    BuiltIn,
}

/// Which managed policy.
#[derive(Debug, Clone, PartialEq, Eq, Archive, Serialize, Deserialize)]
pub struct ManagedPolicyName {
    /// Where it is kept.
    pub source: PolicySource,
    /// Its name.
    pub name: String,
}

impl ManagedPolicyName {
    /// Whether both name one policy.
    pub fn is_same(&self, other: &ManagedPolicyName) -> bool {
        self.source == other.source && self.name.eq_ignore_ascii_case(&other.name)
    }
}

/// A user.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct User {
    /// The name.
    pub name: String,
    /// The id, which no other user had or will have.
    pub id: String,
    /// The path, `/` for most.
    pub path: String,
    /// The account that the user belongs to.
    pub account: u64,
    /// When the user was created, in nanoseconds since the Unix epoch.
    pub created_nanos: i64,
    /// Names of the groups that the user is in.
    pub groups: Vec<String>,
    /// Ids of the user's access keys.
    pub access_key_ids: Vec<String>,
    /// Managed policies that are attached to the user.
    pub attached: Vec<ManagedPolicyName>,
    /// The managed policy that bounds what the user's policies may allow.
    pub boundary: Option<ManagedPolicyName>,
}

/// A group of users.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Group {
    /// The name.
    pub name: String,
    /// The id, which no other group had or will have.
    pub id: String,
    /// The path, `/` for most.
    pub path: String,
    /// The account that the group belongs to.
    pub account: u64,
    /// When the group was created, in nanoseconds since the Unix epoch.
    pub created_nanos: i64,
    /// How many users are in it.
    pub members: u32,
    /// Managed policies that are attached to the group.
    pub attached: Vec<ManagedPolicyName>,
}

/// An access key of a user, or of the root of an account other than the first.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AccessKey {
    /// The id.
    pub id: String,
    /// The secret.
    pub secret: AccessKeySecret,
    /// The account.
    pub account: u64,
    /// The name of the user; empty for the root of the account.
    pub user: String,
    /// Whether requests may be signed with it.
    pub active: bool,
    /// When the key was created, in nanoseconds since the Unix epoch.
    pub created_nanos: i64,
}

/// A policy that stands by itself and is attached to users, groups and roles.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ManagedPolicy {
    /// The name.
    pub name: String,
    /// The id, which no other policy had or will have.
    pub id: String,
    /// When the policy was created, in nanoseconds since the Unix epoch.
    pub created_nanos: i64,
    /// When its document was last put, in nanoseconds since the Unix epoch.
    pub changed_nanos: i64,
    /// How many attachments and boundaries name it.
    pub uses: u32,
    /// What it says, as it was given.
    pub document: String,
}

/// A policy that belongs to one user, group or role.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct InlinePolicy {
    /// The name.
    pub name: String,
    /// What it says, as it was given.
    pub document: String,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_those_of_iam() {
        for name in ["a", "Bob_+=,.@-9", &"x".repeat(64)] {
            assert!(is_user_name(name), "{name}");
        }
        for name in ["", "a b", "a/b", "ä", "a:b", &"x".repeat(65)] {
            assert!(!is_user_name(name), "{name}");
        }
        assert!(is_group_name(&"x".repeat(128)) && !is_group_name(&"x".repeat(129)));
        for path in ["/", "/a/", "/division_abc/sub/"] {
            assert!(is_path(path), "{path}");
        }
        for path in ["", "a/", "/a", "/a b/", &format!("/{}/", "x".repeat(511))] {
            assert!(!is_path(path), "{path}");
        }
    }

    #[test]
    fn keys_have_their_bounds() {
        assert!(is_user_key_id("AKIAIOSFODNN7EXAMPLE") && is_user_key_id(&"_".repeat(128)));
        for id in ["", "AKIA", "AKIAIOSFODNN7EXAMPL-", &"A".repeat(129)] {
            assert!(!is_user_key_id(id), "{id}");
        }
        assert!(is_user_secret("8 / not!".trim().replace(' ', "_").as_str()));
        for secret in ["short", "with a space", "käse-käse", &"x".repeat(129)] {
            assert!(!is_user_secret(secret), "{secret}");
        }
        let secret = AccessKeySecret("hushhush".to_owned());
        assert!(!format!("{secret:?}").contains("hush"));
    }

    #[test]
    fn whitespace_of_json_does_not_count() {
        assert_eq!(policy_characters("{ \"a\":\t[\r\n] }"), 8);
        assert_eq!(policy_characters("\u{a0}ä"), 2);
    }
}
