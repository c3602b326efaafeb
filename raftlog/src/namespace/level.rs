//! Feature levels: what applying a command depends on beside commands and state.
//!
//! Invariant: the constants of a level never change, because every member applies the same commands with them and a log is applied
//! again after years. A new value is a new level, activated by `RaiseFeatureLevel` once every member follows it.

use super::users::TRUST_POLICY_BYTES_MAX;
use super::{
    DEVICE_REASON_BYTES_MAX, GRANTS_MAX, INLINE_BYTES_MAX, KEY_BYTES_MAX, OBJECT_BYTES_MAX,
    OBJECT_TAGS_MAX, PART_NUMBER_MAX, POLICY_BYTES_MAX, RELEASE_BODIES_MAX, RELEASE_ROWS_MAX,
    REPOINT_ITEMS_MAX,
};

/// The bounds that decide whether a command is refused, or how much it does.
#[derive(Debug)]
pub(crate) struct Limits {
    /// Answers that a session may have outstanding.
    pub outstanding_max: u32,
    /// Sessions that may be open; the oldest expires for a new one.
    pub sessions_max: usize,
    /// Keys of one delete.
    pub delete_keys_max: usize,
    /// Inodes of one lease.
    pub inode_lease_max: u32,
    /// Bytes of all headers and user metadata of an object (S3 allows 2 KiB of user metadata and 8 KiB of headers), and as
    /// many of its tags (S3 allows 15,360).
    pub attributes_bytes_max: usize,
    /// Tags of an object.
    pub object_tags_max: usize,
    /// Grants of an object's access list.
    pub grants_max: usize,
    /// Settings that a bucket is made with.
    pub new_settings_max: usize,
    /// Bytes of a body that rides in the command.
    pub inline_bytes_max: usize,
    /// Bytes of an object's key.
    pub key_bytes_max: usize,
    /// Bytes of an object.
    pub object_bytes_max: u64,
    /// The highest number of a part.
    pub part_number_max: u16,
    /// Bytes of the document of a bucket's setting.
    pub setting_bytes_max: usize,
    /// Bytes of the reason of a device's state.
    pub device_reason_bytes_max: usize,
    /// Devices of which something is known.
    pub devices_max: usize,
    /// Users.
    pub users_max: usize,
    /// Accounts beside the first.
    pub accounts_max: usize,
    /// Groups of users.
    pub groups_max: usize,
    /// Managed policies.
    pub managed_policies_max: usize,
    /// Groups that a user is in.
    pub user_groups_max: usize,
    /// Access keys of a user.
    pub user_keys_max: usize,
    /// Managed policies that are attached to a user, a group or a role.
    pub attached_policies_max: usize,
    /// Policies that a user has of its own, a group or a role.
    pub inline_policies_max: usize,
    /// Characters without whitespace of all policies that a user has of its own.
    pub user_policy_characters_max: usize,
    /// The same of a group.
    pub group_policy_characters_max: usize,
    /// Characters without whitespace of a managed policy.
    pub managed_policy_characters_max: usize,
    /// Roles.
    pub roles_max: usize,
    /// Characters without whitespace of all policies that a role has of its own.
    pub role_policy_characters_max: usize,
    /// Characters without whitespace of a role's trust policy.
    pub trust_policy_characters_max: usize,
    /// Bytes of a role's trust policy.
    pub trust_policy_bytes_max: usize,
    /// Session keys.
    pub session_keys_max: usize,
    /// Bytes of the document of a policy.
    pub policy_bytes_max: usize,
    /// Bodies that one command releases.
    pub release_bodies_max: usize,
    /// Rows that one command releases.
    pub release_rows_max: usize,
    /// Extents that one command packs.
    pub repoint_items_max: usize,
}

/// Level 1 first.
static LEVELS: &[Limits] = &[Limits {
    outstanding_max: 1_024,
    sessions_max: 4_096,
    delete_keys_max: 1_000,
    inode_lease_max: 1 << 20,
    attributes_bytes_max: 16 * 1024,
    object_tags_max: OBJECT_TAGS_MAX,
    grants_max: GRANTS_MAX,
    new_settings_max: 8,
    inline_bytes_max: INLINE_BYTES_MAX,
    key_bytes_max: KEY_BYTES_MAX,
    object_bytes_max: OBJECT_BYTES_MAX,
    part_number_max: PART_NUMBER_MAX,
    setting_bytes_max: 256 * 1024,
    device_reason_bytes_max: DEVICE_REASON_BYTES_MAX,
    devices_max: 1_024,
    users_max: 5_000,
    accounts_max: 1_000,
    groups_max: 300,
    managed_policies_max: 1_500,
    user_groups_max: 10,
    user_keys_max: 16,
    attached_policies_max: 10,
    inline_policies_max: 64,
    user_policy_characters_max: 2_048,
    group_policy_characters_max: 5_120,
    managed_policy_characters_max: 6_144,
    roles_max: 1_000,
    role_policy_characters_max: 10_240,
    trust_policy_characters_max: 4_096,
    trust_policy_bytes_max: TRUST_POLICY_BYTES_MAX,
    session_keys_max: 8,
    policy_bytes_max: POLICY_BYTES_MAX,
    release_bodies_max: RELEASE_BODIES_MAX,
    release_rows_max: RELEASE_ROWS_MAX,
    repoint_items_max: REPOINT_ITEMS_MAX,
}];

/// The bounds of a level; those of the last level that has its own for a later one.
pub(crate) fn limits(level: u16) -> &'static Limits {
    let place = usize::from(level.max(1)) - 1;
    &LEVELS[place.min(LEVELS.len() - 1)]
}
