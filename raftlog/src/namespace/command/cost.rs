//! What a command may take of log and map: computed from the command, before it is proposed, by what its row in the table of
//! commands says. Every bound is of the rows that applying it can write, those that a delete or an overwrite makes included.

use super::answer::MarkOutcome;
use super::kinds::{
    Command, CompleteUpload, CreateBucketWithSettings, CreateUpload, CreateUploadWithExtras,
    DeleteObjects, DeleteVersion, DeleteVersions, Initialise, MarkDeleted, PutObject,
    PutObjectWithExtras, PutPart, SetBucketSetting, SetObjectAccessList, SetObjectTags,
};
use super::repoint::{OldPlace, Repoint, RepointItem};
use super::users::UpdateUser;
use crate::namespace::body::INLINE_ROW_BYTES;
use crate::namespace::object::{Body, ObjectAttributes};
use crate::namespace::tags::Tag;
use crate::namespace::users::TRUST_POLICY_BYTES_MAX;
use crate::namespace::{Grant, ManagedPolicyName, ObjectExtras, Principal};

/// A row of LMDB beside its key and value, and the shares of the pages that are copied for it.
pub(super) const ROW_BYTES: u64 = 256;
/// Pages that a change of the tree copies whatever it holds: a path from the root to a leaf, and the rows of the group.
const PATH_BYTES: u64 = 4096;
/// A page of LMDB; a value that does not fit half of one takes whole pages.
const PAGE_BYTES: u64 = 4096;
/// Session and answer. An answer to a delete has a byte for each key.
const ANSWER_BYTES: u64 = 512;
/// What an answer says of a key that got a delete marker.
const MARK_BYTES: u64 = size_of::<rkyv::Archived<MarkOutcome>>() as u64;
/// A directory: its entry and its place.
const DIRECTORY_BYTES: u64 = 2 * ROW_BYTES;
/// A row of `F`.
pub(super) const DROPPED_BYTES: u64 = ROW_BYTES;
/// Of parts that were not used, each may become a body to release.
pub(super) const RELEASE_BYTES: u64 = crate::namespace::RELEASE_ROWS_MAX as u64 * DROPPED_BYTES;

/// An extent in its row.
const EXTENT_BYTES: u64 = 64;
/// A grant in its row.
const GRANT_BYTES: u64 = 10;
/// An item of a `Repoint` in its archive.
const ITEM_BYTES: usize = size_of::<rkyv::Archived<RepointItem>>();

/// The numbers of the commands about users, groups, access keys, policies, roles, session keys and accounts.
const USER_KINDS: std::ops::RangeInclusive<u16> = 0x0060..=0x008f;

/// The longest row of a user: name, path and id, the names of ten groups and of eleven policies, the ids of sixteen access keys.
const USER_BYTES_MAX: u64 = 64 + 512 + 128 + 10 * 132 + 11 * 133 + 16 * 132 + 64;

/// The longest row of a role: name, path, id, description, trust policy, and the names of eleven policies.
const ROLE_BYTES_MAX: u64 =
    64 + 512 + 128 + 4 * 1_000 + TRUST_POLICY_BYTES_MAX as u64 + 11 * 133 + 64;

/// The longest row of an access key: id, secret, the name of its user, and what else is known.
const ACCESS_KEY_BYTES_MAX: u64 = 128 + 128 + 64 + 64;

/// What a command is for, as far as room is concerned.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum CommandClass {
    /// It frees more than it takes, so that a full store can be emptied: it may use the reserve.
    Frees,
    /// A node cannot start or end without it, or access is taken back by it: it may use the reserve.
    Starts,
    /// It makes the namespace grow.
    Grows,
}

impl Command {
    /// Whether it may change a bucket, what is set of one, the root key or what a user may do, which readers keep.
    pub(crate) fn changes_settings(&self) -> bool {
        let is_about_users = USER_KINDS.contains(&self.kind());
        is_about_users
            || matches!(
                self,
                Command::Initialise(_)
                    | Command::SetRootKey(_)
                    | Command::CreateBucket(_)
                    | Command::CreateBucketWithSettings(_)
                    | Command::DeleteBucket(_)
                    | Command::SetVersioning(_)
                    | Command::SetBucketLock(_)
                    | Command::SetBucketSetting(_)
            )
    }

    /// The most that applying the command adds to the map, in bytes.
    pub fn map_bytes(&self) -> u64 {
        PATH_BYTES + ANSWER_BYTES + self.rows_bytes()
    }

    /// About how many bytes the archive of the body takes, so that it is written without growing.
    pub(super) fn body_bytes(&self) -> usize {
        match self {
            Command::PutObject(command) => 512 + in_command(&command.body),
            Command::PutObjectWithExtras(command) => 512 + in_command(&command.put.body),
            Command::PutPart(command) => 512 + in_command(&command.body),
            Command::CompleteUpload(command) => 512 + 16 * command.parts.len(),
            Command::Repoint(command) => 512 + ITEM_BYTES * command.items.len(),
            _ => 512,
        }
    }
}

fn in_command(body: &Body) -> usize {
    match body {
        Body::Empty => 0,
        Body::Inline(bytes) => bytes.len(),
        Body::Extents(extents) => extents.len() * crate::namespace::EXTENT_COMMAND_BYTES,
    }
}

pub(super) fn of_initialise(command: &Initialise) -> u64 {
    let groups = command.placement_groups.iter().map(of_placement_group);
    groups.sum::<u64>() + (command.geometries.len() as u64 + 4) * ROW_BYTES
}

pub(super) fn of_placement_group(group: &crate::namespace::PlacementGroup) -> u64 {
    value_bytes(20 * (group.slots.len() + group.previous.len()) as u64 + 64)
}

pub(super) fn of_device(condition: &crate::namespace::DeviceCondition) -> u64 {
    value_bytes(condition.reason.len() as u64 + 96)
}

/// The row of a user, a group or an account, however much it holds.
pub(super) fn of_user() -> u64 {
    value_bytes(USER_BYTES_MAX)
}

/// The row of a role, however much it holds.
pub(super) fn of_role() -> u64 {
    value_bytes(ROLE_BYTES_MAX)
}

/// The row of whoever a policy is attached to.
pub(super) fn of_attached(principal: &Principal) -> u64 {
    match principal {
        Principal::User(_) | Principal::Group(_) => of_user(),
        Principal::Role(_) => of_role(),
    }
}

/// The row of an access key, however long it is.
pub(super) fn of_access_key() -> u64 {
    value_bytes(ACCESS_KEY_BYTES_MAX)
}

/// The row of a policy.
pub(super) fn of_policy(document: &str) -> u64 {
    value_bytes(document.len() as u64 + 512)
}

/// The row of a policy, however long it is.
pub(super) fn of_any_policy() -> u64 {
    value_bytes(crate::namespace::POLICY_BYTES_MAX as u64 + 512)
}

/// The row of the policy that bounds what is created, which counts its uses.
pub(super) fn of_new_boundary(policy: Option<&ManagedPolicyName>) -> u64 {
    u64::from(policy.is_some()) * of_any_policy()
}

pub(super) fn of_boundary(policy: Option<&ManagedPolicyName>) -> u64 {
    // The policy that bounded before is in use no more, and the one that does from now on is.
    let policies = 1 + u64::from(policy.is_some());
    of_user() + policies * of_any_policy()
}

/// With a new name the rows of the user's keys and policies are written anew.
pub(super) fn of_update_user(command: &UpdateUser) -> u64 {
    let limits = crate::namespace::level::limits(1);
    let keys = limits.user_keys_max as u64 * of_access_key();
    let policies = limits.inline_policies_max as u64 * of_any_policy();
    match command.name {
        Some(_) => of_user() + keys + policies,
        None => of_user(),
    }
}

pub(super) fn of_bucket_setting(command: &SetBucketSetting) -> u64 {
    value_bytes(command.document.as_ref().map_or(0, Vec::len) as u64 + 16)
}

pub(super) fn of_put_object(command: &PutObject) -> u64 {
    entry_bytes(&command.key)
        + body_bytes(&command.body)
        + attributes_bytes(&command.attributes)
        + DROPPED_BYTES
        + version_bytes(&command.key)
}

pub(super) fn of_put_object_with_extras(command: &PutObjectWithExtras) -> u64 {
    of_put_object(&command.put) + extras_bytes(&command.extras)
}

pub(super) fn of_set_object_tags(command: &SetObjectTags) -> u64 {
    // The entry, or the version, that says how many there are.
    of_named_version(&command.key) + tags_bytes(&command.tags)
}

pub(super) fn of_set_object_access_list(command: &SetObjectAccessList) -> u64 {
    // The entry, or the version, that says whether there is one.
    of_named_version(&command.key) + list_bytes(command.access_list.as_deref())
}

pub(super) fn of_create_bucket_with_settings(command: &CreateBucketWithSettings) -> u64 {
    let settings = command.settings.iter();
    let settings = settings.map(|setting| value_bytes(setting.document.len() as u64 + 16));
    3 * ROW_BYTES + settings.sum::<u64>()
}

/// The entry of a version, present or not, that is written anew.
pub(super) fn of_named_version(key: &[u8]) -> u64 {
    ROW_BYTES + 2 * key.len() as u64
}

pub(super) fn of_mark_deleted(command: &MarkDeleted) -> u64 {
    // The marker, the object that was there, and what the answer says of the key.
    let keys = command.keys.iter().map(|key| &key.key);
    let of = |key: &Vec<u8>| 2 * version_bytes(key) + DROPPED_BYTES + MARK_BYTES;
    keys.map(of).sum()
}

pub(super) fn of_delete_versions(command: &DeleteVersions) -> u64 {
    // What takes the place of the present one comes out of `V`; its directories are there, but where it comes from under a marker.
    let of = |version: &DeleteVersion| match command.may_grow {
        true => DROPPED_BYTES + entry_bytes(&version.key),
        false => DROPPED_BYTES + 1,
    };
    command.versions.iter().map(of).sum()
}

pub(super) fn of_delete_objects(command: &DeleteObjects) -> u64 {
    command.keys.len() as u64 * (DROPPED_BYTES + 1)
}

pub(super) fn of_create_upload(command: &CreateUpload) -> u64 {
    // The key stands in groups in the upload's row, and in its place.
    let keys = 3 * command.key.len() as u64;
    2 * ROW_BYTES + keys + attributes_bytes(&command.attributes)
}

pub(super) fn of_create_upload_with_extras(command: &CreateUploadWithExtras) -> u64 {
    of_create_upload(&command.create) + extras_bytes(&command.extras)
}

pub(super) fn of_put_part(command: &PutPart) -> u64 {
    // The part, and the upload that it changes.
    let keys = 2 * command.key.len() as u64;
    2 * ROW_BYTES + keys + body_bytes(&command.body) + DROPPED_BYTES
}

pub(super) fn of_complete_upload(command: &CompleteUpload) -> u64 {
    let spans = command.parts.len() as u64;
    entry_bytes(&command.key)
        + 12 * spans
        + command.part_checksums.len() as u64
        + (spans / 64 + 1) * ROW_BYTES
        + 2 * DROPPED_BYTES
        + version_bytes(&command.key)
}

pub(super) fn of_repoint(command: &Repoint) -> u64 {
    // The pack and its chunk come with the first item.
    let items = command.items.iter().map(|item| match item.old {
        OldPlace::Inline(_) => value_bytes(EXTENT_BYTES),
        OldPlace::Chunk(_) => DROPPED_BYTES,
    });
    2 * ROW_BYTES + items.sum::<u64>()
}

/// Whether more leaves the namespace than comes: every item is a body that is longer than an extent with its row.
pub(super) fn frees(command: &Repoint) -> bool {
    let leaves = |item: &RepointItem| {
        let is_inline = matches!(item.old, OldPlace::Inline(_));
        is_inline && u64::from(item.length) >= 2 * EXTENT_BYTES
    };
    command.items.iter().all(leaves)
}

/// Entry and place of a key, with a directory for each of its slashes.
fn entry_bytes(key: &[u8]) -> u64 {
    let slashes = key.iter().filter(|byte| **byte == b'/').count() as u64;
    // Each byte of the key stands in an entry's key and in a place.
    2 * (ROW_BYTES + key.len() as u64) + slashes * DIRECTORY_BYTES
}

/// A version of a key that is not the present one, its place, and the pointer to a null version.
fn version_bytes(key: &[u8]) -> u64 {
    // Keys in groups take nine bytes for eight.
    3 * (ROW_BYTES + 2 * key.len() as u64)
}

fn body_bytes(body: &Body) -> u64 {
    match body {
        Body::Empty => 0,
        Body::Inline(bytes) => bytes
            .chunks(INLINE_ROW_BYTES)
            .map(|piece| value_bytes(piece.len() as u64))
            .sum(),
        Body::Extents(extents) => {
            let rows = extents.len() as u64 / 24 + 1;
            rows * ROW_BYTES + extents.len() as u64 * EXTENT_BYTES
        }
    }
}

fn attributes_bytes(attributes: &ObjectAttributes) -> u64 {
    let standard = attributes
        .standard()
        .into_iter()
        .flatten()
        .map(|text| text.len() as u64 + 5);
    let pairs = attributes.user_metadata.iter();
    let pairs = pairs.map(|(name, value)| (name.len() + value.len() + 8) as u64);
    value_bytes(standard.chain(pairs).sum::<u64>() + 16)
}

fn tags_bytes(tags: &[Tag]) -> u64 {
    let bytes = tags.iter().map(|tag| tag.key.len() + tag.value.len() + 8);
    match bytes.sum::<usize>() {
        0 => 0,
        bytes => value_bytes(bytes as u64 + 16),
    }
}

fn extras_bytes(extras: &ObjectExtras) -> u64 {
    tags_bytes(&extras.tags) + list_bytes(extras.access_list.as_deref())
}

fn list_bytes(list: Option<&[Grant]>) -> u64 {
    list.map_or(0, |grants| {
        value_bytes(GRANT_BYTES * grants.len() as u64 + 16)
    })
}

/// A value with its row: whole pages where it does not fit half of one, twice its length where it does and splits a page.
fn value_bytes(length: u64) -> u64 {
    match length + ROW_BYTES > PAGE_BYTES / 2 {
        true => ROW_BYTES + (length + 16).next_multiple_of(PAGE_BYTES),
        false => 2 * (ROW_BYTES + length),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::namespace::command::golden::commands;
    use crate::namespace::command::{SetBoundary, SetMembership};
    use crate::namespace::value;
    use crate::namespace::{AccessKey, AccessKeySecret, PolicySource};

    #[test]
    fn what_frees_takes_little() {
        for command in commands() {
            if command.class() == CommandClass::Frees {
                assert!(command.map_bytes() <= 64 << 10, "{}", command.name());
            }
        }
    }

    #[test]
    fn access_is_taken_back_in_a_full_store() {
        let membership = |member| {
            Command::from(SetMembership {
                user: "alice".into(),
                group: "staff".into(),
                member,
            })
        };
        assert_eq!(membership(false).class(), CommandClass::Frees);
        assert!(membership(false).map_bytes() <= 64 << 10);
        assert_eq!(membership(true).class(), CommandClass::Grows);
        let boundary = |policy| {
            let user = "alice".into();
            Command::from(SetBoundary { user, policy })
        };
        let policy = ManagedPolicyName {
            source: PolicySource::State,
            name: "readers".into(),
        };
        for command in [boundary(None), boundary(Some(policy))] {
            assert_eq!(command.class(), CommandClass::Starts);
            assert!(command.map_bytes() <= 128 << 10);
        }
    }

    #[test]
    fn an_access_key_takes_its_longest_row() {
        let key = AccessKey {
            id: "A".repeat(128),
            secret: AccessKeySecret("s".repeat(128)),
            account: u64::MAX,
            user: "u".repeat(64),
            active: true,
            created_nanos: i64::MAX,
        };
        let row = value::seal(&[], &key);
        assert!(row.len() as u64 <= ACCESS_KEY_BYTES_MAX, "{}", row.len());
    }

    #[test]
    fn a_body_takes_the_pages_that_it_fills() {
        let put = |body| PutObject {
            body,
            ..match commands()
                .into_iter()
                .find(|command| command.name() == "PutObject")
            {
                Some(Command::PutObject(put)) => *put,
                other => panic!("{other:?}"),
            }
        };
        let of = |body| Command::from(put(body)).map_bytes();
        let empty = of(Body::Empty);
        assert_eq!(
            of(Body::Inline(vec![0; 16 << 10])) - empty,
            4 * (256 + 4096) + 2 * (256 + 84)
        );
        assert!(of(Body::Inline(vec![0; 100])) - empty < 1024);
    }
}
