//! Commands about accounts. Numbers, ids and secrets are made by whoever proposes them.

use rkyv::{Archive, Deserialize, Serialize};

use crate::namespace::AccessKeySecret;

/// Creates an account that owns nothing and has no key. A number or a name that is taken is refused with `EntityAlreadyExists`.
#[derive(Debug, Clone, PartialEq, Eq, Archive, Serialize, Deserialize)]
pub struct CreateAccount {
    /// The account's number, 2 to 999,999,999,999.
    pub number: u64,
    /// The account's name.
    pub name: String,
}

/// Deletes an account. One that has access keys or owns a bucket is refused with `DeleteConflict`.
#[derive(Debug, Clone, PartialEq, Eq, Archive, Serialize, Deserialize)]
pub struct DeleteAccount {
    /// The account's number.
    pub number: u64,
}

/// Creates an access key of an account's root, which is active.
#[derive(Debug, Clone, PartialEq, Eq, Archive, Serialize, Deserialize)]
pub struct CreateAccountKey {
    /// The account's number.
    pub number: u64,
    /// The key's id; neither another key has it nor the root key.
    pub access_key_id: String,
    /// The key's secret.
    pub secret_access_key: AccessKeySecret,
}
