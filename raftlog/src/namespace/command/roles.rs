//! Commands about roles and session keys. Ids and keys are made by whoever proposes them.

use rkyv::{Archive, Deserialize, Serialize};

use crate::namespace::{ManagedPolicyName, SessionKeySecret};

/// Creates a role, which may do nothing. A name that is taken, in whatever case, is refused with `EntityAlreadyExists`, and a boundary that
/// does not exist with `NoSuchEntity`.
#[derive(Debug, Clone, PartialEq, Eq, Archive, Serialize, Deserialize)]
pub struct CreateRole {
    /// The role's name.
    pub name: String,
    /// The path, `/` for most.
    pub path: String,
    /// The role's id, 16 to 128 characters, which was never used before.
    pub id: String,
    /// The account that the role belongs to.
    pub account: u64,
    /// Who may assume it.
    pub trust_policy: String,
    /// The longest session, in seconds.
    pub max_session_seconds: u32,
    /// What it is for.
    pub description: String,
    /// The boundary; `None` for no boundary.
    pub boundary: Option<ManagedPolicyName>,
}

/// Changes what is said of a role; what is `None` stays.
#[derive(Debug, Clone, PartialEq, Eq, Archive, Serialize, Deserialize)]
pub struct UpdateRole {
    /// The role's name.
    pub role: String,
    /// Who may assume it.
    pub trust_policy: Option<String>,
    /// The longest session, in seconds.
    pub max_session_seconds: Option<u32>,
    /// What it is for.
    pub description: Option<String>,
}

/// Deletes a role. One that has policies is refused with `DeleteConflict`.
#[derive(Debug, Clone, PartialEq, Eq, Archive, Serialize, Deserialize)]
pub struct DeleteRole {
    /// The role's name.
    pub name: String,
}

/// Bounds what the policies of a role may allow by a managed policy, or bounds it no more.
#[derive(Debug, Clone, PartialEq, Eq, Archive, Serialize, Deserialize)]
pub struct SetRoleBoundary {
    /// The role's name.
    pub role: String,
    /// The policy; `None` for no bound.
    pub policy: Option<ManagedPolicyName>,
}

/// Adds a key that tokens of sessions are sealed with from then on. One whose number is not above all that are there is refused with
/// `EntityAlreadyExists`.
#[derive(Debug, Clone, PartialEq, Eq, Archive, Serialize, Deserialize)]
pub struct AddSessionKey {
    /// Its number, from 1 on.
    pub number: u32,
    /// The key.
    pub secret: SessionKeySecret,
}

/// Removes a session key, and so ends all sessions whose tokens are sealed with it. The one with the highest number goes only where it is the
/// only one: its number must not come again while others are there.
#[derive(Debug, Clone, PartialEq, Eq, Archive, Serialize, Deserialize)]
pub struct RemoveSessionKey {
    /// Its number.
    pub number: u32,
}
