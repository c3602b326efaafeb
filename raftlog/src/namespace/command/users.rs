//! Commands about users, groups, access keys and policies. Ids and secrets are made by whoever proposes them.

use rkyv::{Archive, Deserialize, Serialize};

use crate::namespace::{AccessKeySecret, ManagedPolicyName, Principal};

/// Creates a user, who may do nothing. A name that is taken, in whatever case, is refused with `EntityAlreadyExists`, and a boundary that does
/// not exist with `NoSuchEntity`: who must be bounded is never there without.
#[derive(Debug, Clone, PartialEq, Eq, Archive, Serialize, Deserialize)]
pub struct CreateUser {
    /// The user's name.
    pub name: String,
    /// The path, `/` for most.
    pub path: String,
    /// The user's id, 16 to 128 characters, which was never used before.
    pub id: String,
    /// The account that the user belongs to.
    pub account: u64,
    /// The boundary; `None` for no boundary.
    pub boundary: Option<ManagedPolicyName>,
}

/// Gives a user another name or another path. Keys, groups, policies and the boundary stay. A name that another user has, in whatever case, is
/// refused with `EntityAlreadyExists`.
#[derive(Debug, Clone, PartialEq, Eq, Archive, Serialize, Deserialize)]
pub struct UpdateUser {
    /// The user's name.
    pub user: String,
    /// The new name; `None` where it stays.
    pub name: Option<String>,
    /// The new path; `None` where it stays.
    pub path: Option<String>,
}

/// Deletes a user. One who has access keys or policies, or is in a group, is refused with `DeleteConflict`.
#[derive(Debug, Clone, PartialEq, Eq, Archive, Serialize, Deserialize)]
pub struct DeleteUser {
    /// The user's name.
    pub name: String,
}

/// Creates an access key of a user, which is active.
#[derive(Debug, Clone, PartialEq, Eq, Archive, Serialize, Deserialize)]
pub struct CreateAccessKey {
    /// The user's name.
    pub user: String,
    /// The key's id; neither another key has it nor the root key.
    pub access_key_id: String,
    /// The key's secret.
    pub secret_access_key: AccessKeySecret,
}

/// Says whether requests may be signed with an access key.
#[derive(Debug, Clone, PartialEq, Eq, Archive, Serialize, Deserialize)]
pub struct SetAccessKeyActive {
    /// The key's id.
    pub access_key_id: String,
    /// Whether they may.
    pub active: bool,
}

/// Deletes an access key.
#[derive(Debug, Clone, PartialEq, Eq, Archive, Serialize, Deserialize)]
pub struct DeleteAccessKey {
    /// The key's id.
    pub access_key_id: String,
}

/// Creates a group without users. A name that is taken, in whatever case, is refused with `EntityAlreadyExists`.
#[derive(Debug, Clone, PartialEq, Eq, Archive, Serialize, Deserialize)]
pub struct CreateGroup {
    /// The group's name.
    pub name: String,
    /// The path, `/` for most.
    pub path: String,
    /// The group's id, 16 to 128 characters, which was never used before.
    pub id: String,
    /// The account that the group belongs to.
    pub account: u64,
}

/// Deletes a group. One that has users or policies is refused with `DeleteConflict`.
#[derive(Debug, Clone, PartialEq, Eq, Archive, Serialize, Deserialize)]
pub struct DeleteGroup {
    /// The group's name.
    pub name: String,
}

/// Puts a user in a group, or takes the user out of it. Where it is so already nothing changes.
#[derive(Debug, Clone, PartialEq, Eq, Archive, Serialize, Deserialize)]
pub struct SetMembership {
    /// The user's name.
    pub user: String,
    /// The group's name.
    pub group: String,
    /// Whether the user is to be in it.
    pub member: bool,
}

/// Gives a user or a group a policy of its own, in place of the one of that name.
#[derive(Debug, Clone, PartialEq, Eq, Archive, Serialize, Deserialize)]
pub struct PutInlinePolicy {
    /// Whose it is.
    pub principal: Principal,
    /// The policy's name.
    pub name: String,
    /// What it says.
    pub document: String,
}

/// Takes a policy of its own from a user or a group.
#[derive(Debug, Clone, PartialEq, Eq, Archive, Serialize, Deserialize)]
pub struct DeleteInlinePolicy {
    /// Whose it is.
    pub principal: Principal,
    /// The policy's name.
    pub name: String,
}

/// Creates a managed policy, or gives the one of that name and id another document; what it is attached to stays. A name that a policy of another id
/// has, in whatever case, is refused with `EntityAlreadyExists`.
#[derive(Debug, Clone, PartialEq, Eq, Archive, Serialize, Deserialize)]
pub struct PutManagedPolicy {
    /// The policy's name.
    pub name: String,
    /// The id: of a new one, 16 to 128 characters, which was never used before, or of the one that is there.
    pub id: String,
    /// What it says.
    pub document: String,
}

/// Deletes a managed policy. One that is attached, or is a boundary, is refused with `DeleteConflict`.
#[derive(Debug, Clone, PartialEq, Eq, Archive, Serialize, Deserialize)]
pub struct DeleteManagedPolicy {
    /// The policy's name.
    pub name: String,
}

/// Attaches a managed policy to a user or a group. Where it is attached already nothing changes. Whether a built-in one exists is the front
/// end's affair.
#[derive(Debug, Clone, PartialEq, Eq, Archive, Serialize, Deserialize)]
pub struct AttachPolicy {
    /// Whom it is attached to.
    pub principal: Principal,
    /// The policy.
    pub policy: ManagedPolicyName,
}

/// Detaches a managed policy.
#[derive(Debug, Clone, PartialEq, Eq, Archive, Serialize, Deserialize)]
pub struct DetachPolicy {
    /// Whom it is attached to.
    pub principal: Principal,
    /// The policy.
    pub policy: ManagedPolicyName,
}

/// Bounds what the policies of a user may allow by a managed policy, or bounds it no more.
#[derive(Debug, Clone, PartialEq, Eq, Archive, Serialize, Deserialize)]
pub struct SetBoundary {
    /// The user's name.
    pub user: String,
    /// The policy; `None` for no bound.
    pub policy: Option<ManagedPolicyName>,
}
