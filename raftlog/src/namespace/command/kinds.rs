//! The kinds of commands: the table of them all, then the body of each. A kind has its number for good; see the module above.

use rkyv::rancor;
use rkyv::util::AlignedVec;
use rkyv::{Archive, Deserialize, Serialize};

use super::accounts::{CreateAccount, CreateAccountKey, DeleteAccount};
use super::cost::{self, CommandClass};
use super::envelope::CommandError;
use super::repoint::{ReplaceChunk, Repoint};
use super::roles::{
    AddSessionKey, CreateRole, DeleteRole, RemoveSessionKey, SetRoleBoundary, UpdateRole,
};
use super::users::{
    AttachPolicy, CreateAccessKey, CreateGroup, CreateUser, DeleteAccessKey, DeleteGroup,
    DeleteInlinePolicy, DeleteManagedPolicy, DeleteUser, DetachPolicy, PutInlinePolicy,
    PutManagedPolicy, SetAccessKeyActive, SetBoundary, SetMembership, UpdateUser,
};
use crate::namespace::{
    Body, Checksum, ChecksumAlgorithm, ChecksumKind, DefaultRetention, DeviceCondition, ETag,
    Geometry, Grant, Layout, ObjectAttributes, ObjectExtras, PlacementGroup, Retention, RootKey,
    Tag, VersionId, Versioning,
};

/// The one list of commands: number, feature level from which on it is known, class, name, how many bytes of rows applying it
/// can add, and the method of `Change` that applies it. Whoever needs something of every command hands it a macro.
macro_rules! command_table {
    ($use:ident) => {
        $use! {
            /// Changes nothing.
            0x0001 since 1 Grows Noop |_| 0 => noop,
            /// The first command of a cluster.
            0x0002 since 1 Starts Initialise |command| cost::of_initialise(command) => initialise,
            /// Opens a proposer's session; the only command but `Initialise` and `Noop` that needs none.
            0x0003 since 1 Starts OpenSession |_| 0 => open_session,
            /// Ends a session.
            0x0004 since 1 Frees CloseSession |_| 0 => close_session,
            /// Registers a writer: one reactor of one start.
            0x0010 since 1 Starts RegisterWriter |_| cost::ROW_BYTES => register_writer,
            /// Opens an allocation epoch.
            0x0011 since 1 Starts OpenEpoch |_| 2 * cost::ROW_BYTES => open_epoch,
            /// Closes an allocation epoch.
            0x0012 since 1 Starts CloseEpoch |_| cost::ROW_BYTES => close_epoch,
            /// Closes a writer with all its epochs.
            0x0013 since 1 Starts CloseWriter |_| cost::ROW_BYTES => close_writer,
            /// Leases a block of inodes.
            0x0014 since 1 Grows LeaseInodes |_| 0 => lease_inodes,
            /// Replaces the root credentials.
            0x0018 since 1 Starts SetRootKey |_| 2 * cost::ROW_BYTES => set_root_key,
            /// Changes the layout of new chunks.
            0x0019 since 1 Grows SetLayout |_| 2 * cost::ROW_BYTES => set_layout,
            /// Adds a geometry.
            0x001a since 1 Grows AddGeometry |_| 2 * cost::ROW_BYTES => add_geometry,
            /// Adds a placement group or raises its epoch.
            0x001b since 1 Grows SetPlacementGroup |command| cost::of_placement_group(&command.group)
                => set_placement_group,
            /// Activates a feature level.
            0x001c since 1 Starts RaiseFeatureLevel |_| 0 => raise_feature_level,
            /// Notes what is known of a device.
            0x001d since 1 Grows SetDevice |command| cost::of_device(&command.condition) => set_device,
            /// Forgets a device that holds nothing of the layout.
            0x001e since 1 Frees ForgetDevice |_| 0 => forget_device,
            /// Creates a bucket.
            0x0020 since 1 Grows CreateBucket |_| 3 * cost::ROW_BYTES => create_bucket,
            /// Deletes an empty bucket.
            0x0021 since 1 Frees DeleteBucket |_| 0 => delete_bucket,
            /// Sets or removes a setting of a bucket.
            0x0022 since 1 Grows SetBucketSetting |command| cost::of_bucket_setting(command) => set_bucket_setting,
            /// Has a bucket keep versions, or keep no more of them.
            0x0023 since 1 Starts SetVersioning |_| cost::ROW_BYTES => set_versioning,
            /// Gives a bucket Object Lock, or changes its default retention.
            0x0024 since 1 Starts SetBucketLock |_| cost::ROW_BYTES => set_bucket_lock,
            /// Puts an object.
            0x0030 since 1 Grows PutObject |command| cost::of_put_object(command) => put_object,
            /// Deletes objects.
            0x0031 since 1 Frees DeleteObjects |command| cost::of_delete_objects(command) => delete_objects,
            /// Puts delete markers, in a bucket that keeps versions or has kept some.
            0x0032 since 1 Grows MarkDeleted |command| cost::of_mark_deleted(command) => mark_deleted,
            /// Deletes versions for good.
            0x0033 since 1 Frees DeleteVersions |command| cost::of_delete_versions(command) => delete_versions,
            /// Replaces the tags of an object.
            0x0034 since 1 Grows SetObjectTags |command| cost::of_set_object_tags(command) => set_object_tags,
            /// Puts an object that has tags, a lock or an access list.
            0x0035 since 1 Grows PutObjectWithExtras |command| cost::of_put_object_with_extras(command)
                => put_object_with_extras,
            /// Replaces the retention of a version.
            0x0036 since 1 Grows SetRetention |command| cost::of_named_version(&command.key) => set_retention,
            /// Puts a legal hold on a version, or takes it off.
            0x0037 since 1 Grows SetLegalHold |command| cost::of_named_version(&command.key) => set_legal_hold,
            /// Replaces the access list of an object.
            0x0038 since 1 Grows SetObjectAccessList |command| cost::of_set_object_access_list(command)
                => set_object_access_list,
            /// Creates a bucket together with settings of it.
            0x0039 since 1 Grows CreateBucketWithSettings |command| cost::of_create_bucket_with_settings(command)
                => create_bucket_with_settings,
            /// Begins a multipart upload.
            0x0040 since 1 Grows CreateUpload |command| cost::of_create_upload(command) => create_upload,
            /// Puts a part of an upload.
            0x0041 since 1 Grows PutPart |command| cost::of_put_part(command) => put_part,
            /// Makes an upload an object.
            0x0042 since 1 Grows CompleteUpload |command| cost::of_complete_upload(command) => complete_upload,
            /// Drops an upload.
            0x0043 since 1 Frees AbortUpload |_| cost::DROPPED_BYTES => abort_upload,
            /// Begins a multipart upload of an object that has tags, a lock or an access list.
            0x0044 since 1 Grows CreateUploadWithExtras |command| cost::of_create_upload_with_extras(command)
                => create_upload_with_extras,
            /// Releases rows of bodies that are gone.
            0x0051 since 1 Frees ReleaseBodies |_| cost::RELEASE_BYTES => release_bodies,
            /// Packs extents and inline bodies: they become extents of a new chunk.
            0x0052 since 1 Grows Repoint |command| cost::of_repoint(command) => repoint,
            /// Gives an extent another chunk of its own, with the same bytes.
            0x0053 since 1 Grows ReplaceChunk |_| cost::ROW_BYTES + cost::DROPPED_BYTES => replace_chunk,
            /// Creates a user.
            0x0060 since 1 Grows CreateUser |command| cost::of_user() + cost::of_new_boundary(command.boundary.as_ref())
                => create_user,
            /// Deletes a user who has nothing but a boundary.
            0x0061 since 1 Frees DeleteUser |_| cost::of_any_policy() => delete_user,
            /// Creates an access key of a user.
            0x0062 since 1 Grows CreateAccessKey |_| cost::of_user() + cost::of_access_key() => create_access_key,
            /// Makes an access key active or inactive.
            0x0063 since 1 Starts SetAccessKeyActive |_| cost::of_access_key() => set_access_key_active,
            /// Deletes an access key.
            0x0064 since 1 Frees DeleteAccessKey |_| cost::of_user() => delete_access_key,
            /// Creates a group of users.
            0x0065 since 1 Grows CreateGroup |_| cost::of_user() => create_group,
            /// Deletes a group that has nothing.
            0x0066 since 1 Frees DeleteGroup |_| 0 => delete_group,
            /// Puts a user in a group, or takes the user out of it.
            0x0067 since 1 Grows SetMembership |_| 2 * cost::of_user() => set_membership,
            /// Puts a policy of a user, a group or a role.
            0x0068 since 1 Grows PutInlinePolicy |command| cost::of_policy(&command.document) => put_inline_policy,
            /// Deletes a policy of a user, a group or a role.
            0x0069 since 1 Frees DeleteInlinePolicy |_| 0 => delete_inline_policy,
            /// Puts a managed policy.
            0x006a since 1 Grows PutManagedPolicy |command| cost::of_policy(&command.document) => put_managed_policy,
            /// Deletes a managed policy that is not in use.
            0x006b since 1 Frees DeleteManagedPolicy |_| 0 => delete_managed_policy,
            /// Attaches a managed policy to a user, a group or a role.
            0x006c since 1 Grows AttachPolicy |command| cost::of_attached(&command.principal) + cost::of_any_policy() => attach_policy,
            /// Detaches a managed policy.
            0x006d since 1 Frees DetachPolicy |command| cost::of_attached(&command.principal) + cost::of_any_policy() => detach_policy,
            /// Sets or removes the boundary of a user.
            0x006e since 1 Starts SetBoundary |command| cost::of_boundary(command.policy.as_ref()) => set_boundary,
            /// Gives a user another name or path.
            0x006f since 1 Grows UpdateUser |command| cost::of_update_user(command) => update_user,
            /// Creates a role.
            0x0070 since 1 Grows CreateRole |command| cost::of_role() + cost::of_new_boundary(command.boundary.as_ref())
                => create_role,
            /// Changes who may assume a role, for how long, or its description.
            0x0071 since 1 Starts UpdateRole |_| cost::of_role() => update_role,
            /// Deletes a role that has nothing but a boundary.
            0x0072 since 1 Frees DeleteRole |_| cost::of_any_policy() => delete_role,
            /// Sets or removes the boundary of a role.
            0x0073 since 1 Starts SetRoleBoundary |command| cost::of_role() + cost::of_boundary(command.policy.as_ref())
                => set_role_boundary,
            /// Adds a key that tokens of sessions are sealed with.
            0x0074 since 1 Starts AddSessionKey |_| cost::ROW_BYTES => add_session_key,
            /// Removes a session key, and so ends the sessions that it has sealed.
            0x0075 since 1 Frees RemoveSessionKey |_| 0 => remove_session_key,
            /// Creates an account.
            0x0080 since 1 Grows CreateAccount |_| cost::of_user() => create_account,
            /// Deletes an account that has nothing.
            0x0081 since 1 Frees DeleteAccount |_| cost::of_user() => delete_account,
            /// Creates an access key of an account's root.
            0x0082 since 1 Grows CreateAccountKey |_| cost::of_user() + cost::of_access_key() => create_account_key,
        }
    };
}
pub(crate) use command_table;

macro_rules! commands {
    ($(
        $(#[$doc:meta])*
        $number:literal since $level:literal $class:ident $name:ident |$command:pat_param| $bytes:expr => $apply:ident,
    )*) => {
        /// A change of the replicated state.
        #[derive(Debug, Clone, PartialEq, Eq)]
        pub enum Command {
            $($(#[$doc])* $name(Box<$name>),)*
        }

        $(impl From<$name> for Command {
            fn from(body: $name) -> Command {
                Command::$name(Box::new(body))
            }
        })*

        impl Command {
            pub(super) const INITIALISE: u16 = 0x0002;
            pub(super) const RAISE_FEATURE_LEVEL: u16 = 0x001c;

            /// Every kind: number and name.
            pub const KINDS: &[(u16, &str)] = &[$(($number, stringify!($name)),)*];

            /// The number of the command's kind.
            pub fn kind(&self) -> u16 {
                match self { $(Command::$name(_) => $number,)* }
            }

            /// The feature level from which on the kind is known.
            pub fn since_level(&self) -> u16 {
                match self { $(Command::$name(_) => $level,)* }
            }

            /// The name of the command's kind.
            pub fn name(&self) -> &'static str {
                match self { $(Command::$name(_) => stringify!($name),)* }
            }

            /// What the command is for: what its kind is for, but for a setting that is removed, tags, lists and locks that are, bodies
            /// that leave the namespace, users who leave a group, and objects that come back from under their delete markers.
            pub fn class(&self) -> CommandClass {
                match self {
                    Command::SetBucketSetting(command) if command.document.is_none() => CommandClass::Frees,
                    Command::SetObjectTags(command) if command.tags.is_empty() => CommandClass::Frees,
                    Command::SetObjectAccessList(command) if command.access_list.is_none() => CommandClass::Frees,
                    Command::SetRetention(command) if command.bypass_governance => CommandClass::Frees,
                    Command::SetLegalHold(command) if !command.legal_hold => CommandClass::Frees,
                    Command::Repoint(command) if cost::frees(command) => CommandClass::Frees,
                    Command::SetMembership(command) if !command.member => CommandClass::Frees,
                    Command::DeleteVersions(command) if command.may_grow => CommandClass::Grows,
                    $(Command::$name(_) => CommandClass::$class,)*
                }
            }

            /// The most bytes of rows that applying the command adds.
            pub(super) fn rows_bytes(&self) -> u64 {
                match self { $(Command::$name($command) => $bytes,)* }
            }

            /// Appends the archive of the body.
            pub(super) fn archive_behind(&self, header: AlignedVec) -> Result<AlignedVec, CommandError> {
                match self {
                    $(Command::$name(body) => {
                        rkyv::api::high::to_bytes_in::<_, rancor::Error>(&**body, header)
                    })*
                }
                .map_err(|error| CommandError::Unarchivable(error.to_string()))
            }

            /// `body` must be aligned to 16 bytes.
            pub(super) fn restore(kind: u16, body: &[u8]) -> Result<Command, CommandError> {
                match kind {
                    $($number => rkyv::from_bytes::<$name, rancor::Error>(body)
                        .map(Command::from)
                        .map_err(|error| CommandError::Malformed(error.to_string())),)*
                    other => Err(CommandError::UnknownKind(other)),
                }
            }
        }
    };
}

command_table!(commands);

/// Changes nothing; measures the way to the group and back.
#[derive(Debug, Clone, PartialEq, Eq, Archive, Serialize, Deserialize)]
pub struct Noop {
    /// Reserved: 0.
    pub reserved: u32,
}

/// The first command of a cluster. Proposed again with the same cluster it changes nothing.
#[derive(Debug, Clone, PartialEq, Eq, Archive, Serialize, Deserialize)]
pub struct Initialise {
    /// The cluster's uuid.
    pub cluster: [u8; 16],
    /// The cluster's incarnation, raised by every restore.
    pub incarnation: u32,
    /// The layout of new chunks.
    pub layout: Layout,
    /// The first geometries.
    pub geometries: Vec<Geometry>,
    /// The first placement groups.
    pub placement_groups: Vec<PlacementGroup>,
    /// The root credentials.
    pub root_key: RootKey,
}

/// Opens a session. Earlier sessions of the same owner expire.
#[derive(Debug, Clone, PartialEq, Eq, Archive, Serialize, Deserialize)]
pub struct OpenSession {
    /// Who proposes: the node's number and the reactor's, as the proposer likes.
    pub owner: u64,
}

/// Ends the session that proposes it; its answers are dropped.
#[derive(Debug, Clone, PartialEq, Eq, Archive, Serialize, Deserialize)]
pub struct CloseSession {
    /// The session to end: the envelope's own or another.
    pub session: u64,
}

/// Registers a writer: one reactor of one start of one node.
#[derive(Debug, Clone, PartialEq, Eq, Archive, Serialize, Deserialize)]
pub struct RegisterWriter {
    /// The node.
    pub node: u64,
    /// The reactor.
    pub reactor: u32,
}

/// Opens the next allocation epoch of a writer.
#[derive(Debug, Clone, PartialEq, Eq, Archive, Serialize, Deserialize)]
pub struct OpenEpoch {
    /// The writer.
    pub writer: u32,
}

/// Closes an allocation epoch: nothing more is introduced under it. Closing it again is fine.
#[derive(Debug, Clone, PartialEq, Eq, Archive, Serialize, Deserialize)]
pub struct CloseEpoch {
    /// The writer.
    pub writer: u32,
    /// Its epoch.
    pub epoch: u32,
}

/// Closes a writer that has ended or died, with all its epochs.
#[derive(Debug, Clone, PartialEq, Eq, Archive, Serialize, Deserialize)]
pub struct CloseWriter {
    /// The writer.
    pub writer: u32,
}

/// Leases a block of inodes to the proposer.
#[derive(Debug, Clone, PartialEq, Eq, Archive, Serialize, Deserialize)]
pub struct LeaseInodes {
    /// How many, 1 to 1,048,576.
    pub count: u32,
}

/// Replaces the root credentials.
#[derive(Debug, Clone, PartialEq, Eq, Archive, Serialize, Deserialize)]
pub struct SetRootKey {
    /// The new ones.
    pub key: RootKey,
}

/// Changes the layout of new chunks.
#[derive(Debug, Clone, PartialEq, Eq, Archive, Serialize, Deserialize)]
pub struct SetLayout {
    /// The new one; its geometry must exist.
    pub layout: Layout,
}

/// Adds a geometry. The table only grows: a number that is taken by another is refused.
#[derive(Debug, Clone, PartialEq, Eq, Archive, Serialize, Deserialize)]
pub struct AddGeometry {
    /// The new row.
    pub geometry: Geometry,
}

/// Adds a placement group, or replaces its row by one of a higher epoch.
#[derive(Debug, Clone, PartialEq, Eq, Archive, Serialize, Deserialize)]
pub struct SetPlacementGroup {
    /// The new row.
    pub group: PlacementGroup,
}

/// Activates a feature level, when every member can follow. Levels never fall.
#[derive(Debug, Clone, PartialEq, Eq, Archive, Serialize, Deserialize)]
pub struct RaiseFeatureLevel {
    /// The level.
    pub level: u16,
}

/// Notes what is known of a device, in place of what was noted before.
#[derive(Debug, Clone, PartialEq, Eq, Archive, Serialize, Deserialize)]
pub struct SetDevice {
    /// The new row.
    pub condition: DeviceCondition,
}

/// Removes what is noted of a device. One that has slots of placement groups, now or formerly, is refused; one of which nothing is
/// noted is forgotten already.
#[derive(Debug, Clone, PartialEq, Eq, Archive, Serialize, Deserialize)]
pub struct ForgetDevice {
    /// Its uuid.
    pub device: [u8; 16],
}

/// Creates a bucket. Its inode is taken from the group's counter.
#[derive(Debug, Clone, PartialEq, Eq, Archive, Serialize, Deserialize)]
pub struct CreateBucket {
    /// The bucket's name; its form is the front end's affair, but it has no '/' and 1 to 255 bytes.
    pub bucket: String,
    /// The account that owns it.
    pub owner: u64,
    /// Whether it has Object Lock and keeps versions from the beginning.
    pub object_lock: bool,
}

/// Creates a bucket together with settings of it, so that it is never there without them.
#[derive(Debug, Clone, PartialEq, Eq, Archive, Serialize, Deserialize)]
pub struct CreateBucketWithSettings {
    /// The bucket.
    pub create: CreateBucket,
    /// What is set of it, at most 8.
    pub settings: Vec<NewSetting>,
}

/// A setting that a bucket is made with.
#[derive(Debug, Clone, PartialEq, Eq, Archive, Serialize, Deserialize)]
pub struct NewSetting {
    /// Which one: a number of [`setting`](crate::namespace::setting).
    pub setting: u8,
    /// Its document, as in [`SetBucketSetting`].
    pub document: Vec<u8>,
}

/// Deletes an empty bucket.
#[derive(Debug, Clone, PartialEq, Eq, Archive, Serialize, Deserialize)]
pub struct DeleteBucket {
    /// The bucket's inode.
    pub bucket: u64,
}

/// Sets a setting of a bucket, or removes it.
#[derive(Debug, Clone, PartialEq, Eq, Archive, Serialize, Deserialize)]
pub struct SetBucketSetting {
    /// The bucket's inode.
    pub bucket: u64,
    /// Which one: a number of [`setting`](crate::namespace::setting).
    pub setting: u8,
    /// Its document, which is the front end's affair, at most 256 KiB; `None` removes it.
    pub document: Option<Vec<u8>>,
}

/// Has a bucket keep versions, or keep no more of those that come. One that has kept versions is never off again.
#[derive(Debug, Clone, PartialEq, Eq, Archive, Serialize, Deserialize)]
pub struct SetVersioning {
    /// The bucket's inode.
    pub bucket: u64,
    /// What it is to be.
    pub versioning: Versioning,
}

/// Gives a bucket Object Lock, which it has for good then, or changes the default of one that has it. Refused with `InvalidBucketState`
/// where the bucket keeps no versions.
#[derive(Debug, Clone, PartialEq, Eq, Archive, Serialize, Deserialize)]
pub struct SetBucketLock {
    /// The bucket's inode.
    pub bucket: u64,
    /// The retention of objects that come without one from now on.
    pub default: Option<DefaultRetention>,
}

/// What must hold for a change to be made; decided when the command is applied.
#[derive(Debug, Clone, PartialEq, Eq, Default, Archive, Serialize, Deserialize)]
pub struct Precondition {
    /// `If-Match`: the object must exist and match, else `NoSuchKey` or `PreconditionFailed`.
    pub if_match: Option<ETagMatch>,
    /// `If-None-Match`: the object must not exist or not match.
    pub if_none_match: Option<ETagMatch>,
}

/// A condition on an object's tag.
#[derive(Debug, Clone, PartialEq, Eq, Archive, Serialize, Deserialize)]
pub enum ETagMatch {
    /// `*`: any object.
    Any,
    /// One of these tags.
    OneOf(Vec<ETag>),
}

/// Puts an object in one piece, in place of the one that may be there.
#[derive(Debug, Clone, PartialEq, Eq, Archive, Serialize, Deserialize)]
pub struct PutObject {
    /// The bucket's inode.
    pub bucket: u64,
    /// The object's key, 1 to 1,024 bytes.
    pub key: Vec<u8>,
    /// A fresh inode from the proposer's leased block.
    pub inode: u64,
    /// Size of the body, in bytes.
    pub size: u64,
    /// The object's tag.
    pub etag: ETag,
    /// An additional checksum.
    pub checksum: Option<Checksum>,
    /// Headers and user metadata.
    pub attributes: ObjectAttributes,
    /// Where the bytes are.
    pub body: Body,
    /// What must hold.
    pub precondition: Precondition,
    /// The account that owns the object.
    pub owner: u64,
}

/// Puts an object together with its tags, its lock and its access list.
#[derive(Debug, Clone, PartialEq, Eq, Archive, Serialize, Deserialize)]
pub struct PutObjectWithExtras {
    /// The object.
    pub put: PutObject,
    /// What it has beside.
    pub extras: ObjectExtras,
}

/// Replaces the tags of an object, and changes nothing else that a client sees of it. Refused with `NoSuchKey`, `NoSuchVersion` or
/// `IsDeleteMarker` by what is there.
#[derive(Debug, Clone, PartialEq, Eq, Archive, Serialize, Deserialize)]
pub struct SetObjectTags {
    /// The bucket's inode.
    pub bucket: u64,
    /// The object's key.
    pub key: Vec<u8>,
    /// Which version of it; `None` for the newest.
    pub version: Option<VersionId>,
    /// Its tags, as in [`ObjectExtras`]; none removes those that it has.
    pub tags: Vec<Tag>,
}

/// Replaces the retention of a version, or removes it. Refused with `NoObjectLock` in a bucket without Object Lock, with `ObjectLocked` where
/// the one in force would be shortened, removed or of another mode, unless it is one of governance, and that is bypassed, with
/// `RetentionIsOver` where the new one is over already; and by what is there, as [`SetObjectTags`] is.
#[derive(Debug, Clone, PartialEq, Eq, Archive, Serialize, Deserialize)]
pub struct SetRetention {
    /// The bucket's inode.
    pub bucket: u64,
    /// The object's key.
    pub key: Vec<u8>,
    /// Which version of it; `None` for the newest.
    pub version: Option<VersionId>,
    /// Its retention; `None` removes the one that it has.
    pub retention: Option<Retention>,
    /// Whether governance is bypassed.
    pub bypass_governance: bool,
}

/// Puts a legal hold on a version, or takes it off. Refused as [`SetRetention`] is, but for what is locked.
#[derive(Debug, Clone, PartialEq, Eq, Archive, Serialize, Deserialize)]
pub struct SetLegalHold {
    /// The bucket's inode.
    pub bucket: u64,
    /// The object's key.
    pub key: Vec<u8>,
    /// Which version of it; `None` for the newest.
    pub version: Option<VersionId>,
    /// Whether it has the hold.
    pub legal_hold: bool,
}

/// Replaces the access list of an object, or removes it. Where another object has taken its place, nothing is changed, as if that had come
/// after. Refused as [`SetObjectTags`] is.
#[derive(Debug, Clone, PartialEq, Eq, Archive, Serialize, Deserialize)]
pub struct SetObjectAccessList {
    /// The bucket's inode.
    pub bucket: u64,
    /// The object's key.
    pub key: Vec<u8>,
    /// Which version of it.
    pub version: VersionId,
    /// The inode of the object that the list was made for.
    pub inode: u64,
    /// Its list, as in [`ObjectExtras`]; `None` removes the one that it has.
    pub access_list: Option<Vec<Grant>>,
}

/// One key of [`DeleteObjects`].
#[derive(Debug, Clone, PartialEq, Eq, Archive, Serialize, Deserialize)]
pub struct DeleteKey {
    /// The object's key.
    pub key: Vec<u8>,
    /// `If-Match` for this key.
    pub if_match: Option<ETagMatch>,
}

/// Deletes up to 1,000 objects of a bucket; keys that are absent are no error.
#[derive(Debug, Clone, PartialEq, Eq, Archive, Serialize, Deserialize)]
pub struct DeleteObjects {
    /// The bucket's inode.
    pub bucket: u64,
    /// The keys.
    pub keys: Vec<DeleteKey>,
}

/// Puts a delete marker for each of up to 1,000 keys of a bucket, so that they are found no more; what they held stays as versions.
/// Refused where the bucket keeps no versions.
#[derive(Debug, Clone, PartialEq, Eq, Archive, Serialize, Deserialize)]
pub struct MarkDeleted {
    /// The bucket's inode.
    pub bucket: u64,
    /// The keys, whether they are there or not.
    pub keys: Vec<DeleteKey>,
    /// The account that owns the markers.
    pub owner: u64,
}

/// One version of [`DeleteVersions`].
#[derive(Debug, Clone, PartialEq, Eq, Archive, Serialize, Deserialize)]
pub struct DeleteVersion {
    /// The object's key.
    pub key: Vec<u8>,
    /// The version, the present one too.
    pub version: VersionId,
    /// `If-Match` for this version; a delete marker matches nothing.
    pub if_match: Option<ETagMatch>,
    /// Whether a retention of governance is bypassed.
    pub bypass_governance: bool,
}

/// Deletes up to 1,000 versions of a bucket for good, delete markers among them; those that are absent are no error, and those that are
/// locked stay. Where the present
/// one goes, the newest that is left takes its place. A delete marker that an object lies under brings it back with its directories,
/// so that the namespace grows: without `may_grow` such a marker is left alone.
#[derive(Debug, Clone, PartialEq, Eq, Archive, Serialize, Deserialize)]
pub struct DeleteVersions {
    /// The bucket's inode.
    pub bucket: u64,
    /// The versions.
    pub versions: Vec<DeleteVersion>,
    /// Whether objects may come back from under their delete markers.
    pub may_grow: bool,
}

/// Begins a multipart upload. The upload is named by its inode.
#[derive(Debug, Clone, PartialEq, Eq, Archive, Serialize, Deserialize)]
pub struct CreateUpload {
    /// The bucket's inode.
    pub bucket: u64,
    /// The object's key.
    pub key: Vec<u8>,
    /// A fresh inode from the proposer's leased block; also the upload's number.
    pub inode: u64,
    /// Headers and user metadata of the object to come.
    pub attributes: ObjectAttributes,
    /// The additional checksum that the parts and the object will have.
    pub checksum: Option<(ChecksumAlgorithm, ChecksumKind)>,
    /// The account that began it.
    pub owner: u64,
}

/// Begins a multipart upload whose object will have tags, a lock or an access list.
#[derive(Debug, Clone, PartialEq, Eq, Archive, Serialize, Deserialize)]
pub struct CreateUploadWithExtras {
    /// The upload.
    pub create: CreateUpload,
    /// What the object to come has beside.
    pub extras: ObjectExtras,
}

/// Puts a part, in place of the one with its number that may be there.
#[derive(Debug, Clone, PartialEq, Eq, Archive, Serialize, Deserialize)]
pub struct PutPart {
    /// The bucket's inode.
    pub bucket: u64,
    /// The object's key.
    pub key: Vec<u8>,
    /// The upload's inode.
    pub upload: u64,
    /// The part's number, 1 to 10,000.
    pub number: u16,
    /// The space of the upload's inode that the part's chunks name as their owner. Never 0, and
    /// never used before in this upload.
    pub space: u32,
    /// Size of the part, in bytes.
    pub size: u64,
    /// The part's tag.
    pub etag: ETag,
    /// An additional checksum.
    pub checksum: Option<Checksum>,
    /// Where the bytes are.
    pub body: Body,
}

/// One part of the object that [`CompleteUpload`] makes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Archive, Serialize, Deserialize)]
pub struct CompletedPart {
    /// The space of the upload's inode that holds the part.
    pub space: u32,
    /// Its size, in bytes.
    pub size: u64,
}

/// Makes an upload an object: its parts in the order given become the body. Whoever proposes it has read the parts and
/// compared them with what the client names; applying it reads none of them, so that it takes as long for 10,000 parts as
/// writing their spans does.
#[derive(Debug, Clone, PartialEq, Eq, Archive, Serialize, Deserialize)]
pub struct CompleteUpload {
    /// The bucket's inode.
    pub bucket: u64,
    /// The object's key.
    pub key: Vec<u8>,
    /// The upload's inode.
    pub upload: u64,
    /// The upload's [`parts_changed`](crate::namespace::Upload::parts_changed) when its parts were read: where one was put
    /// since then, the command is refused with `PartsChanged`.
    pub parts_changed: u64,
    /// The parts, by ascending number.
    pub parts: Vec<CompletedPart>,
    /// The object's tag, made from the tags of the parts.
    pub etag: ETag,
    /// The object's additional checksum.
    pub checksum: Option<Checksum>,
    /// The checksum of each part in the algorithm of the object's, one after the other; empty where they are not kept.
    pub part_checksums: Vec<u8>,
    /// What must hold.
    pub precondition: Precondition,
}

/// Drops an upload with all its parts.
#[derive(Debug, Clone, PartialEq, Eq, Archive, Serialize, Deserialize)]
pub struct AbortUpload {
    /// The bucket's inode.
    pub bucket: u64,
    /// The object's key.
    pub key: Vec<u8>,
    /// The upload's inode.
    pub upload: u64,
}

/// Names a body that is gone: a row of `F`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Archive, Serialize, Deserialize)]
pub struct DroppedKey {
    /// The group's commit sequence of the command that dropped it.
    pub commit_sequence: u64,
    /// Which of the bodies that this command dropped.
    pub index: u32,
}

/// How far a body that is gone has been freed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Archive, Serialize, Deserialize)]
pub struct Release {
    /// The body.
    pub body: DroppedKey,
    /// With `offset`: the chunks of all rows of extents below this place are freed durably, by space,
    /// then by offset. The highest of both numbers where all are.
    pub space: u32,
    /// See `space`, in bytes.
    pub offset: u64,
}

/// Deletes rows of bodies that are gone, whose chunks have been freed durably; of each body in the
/// order of its rows, and of all no more than a bounded number. What is left is for the next one. A
/// body that is released already is no error.
#[derive(Debug, Clone, PartialEq, Eq, Archive, Serialize, Deserialize)]
pub struct ReleaseBodies {
    /// At most [`RELEASE_BODIES_MAX`](crate::namespace::RELEASE_BODIES_MAX) of them.
    pub releases: Vec<Release>,
}
