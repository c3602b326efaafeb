//! The tree of buckets, directories and objects, one for S3 and POSIX alike.
//!
//! Invariants:
//! - every value has a version byte and a CRC32C, verified on every read; a damaged one is an error
//!   that names its key and is never handed on;
//! - all keys are big endian, so that LMDB's byte order is the order of the walk;
//! - what is applied depends on the commands and the state alone: no clock, no randomness, no hash
//!   order; time and ids come in the command.
//!
//! | module | what |
//! |---|---|
//! | [`command`] | what is proposed: envelopes, commands, answers, and their archived form |
//! | `apply` | the one writer: a transaction for each batch of commands |
//! | `view` | reading: one snapshot of the state |
//! | [`store`] | the LMDB environment below: checkpoint, snapshot, power cuts |
//!
//! The other modules are the keys and values of the tables.

mod access_list;
mod accounts;
mod apply;
mod body;
mod chunk;
pub mod command;
mod describe;
mod entry;
mod extras;
pub(crate) mod key;
mod level;
mod object;
mod object_lock;
pub mod setting;
pub mod store;
mod system;
mod tags;
mod tally;
mod upload;
mod users;
mod value;
mod version;
mod view;

pub use access_list::{GRANTS_MAX, Grant, Grantee, Permission};
pub use accounts::{ACCOUNT_MAX, Account, ROOT_ACCOUNT, is_account_name};
pub(crate) use apply::Applier;
pub use apply::LogEntry;
pub use body::{DroppedScope, MovedExtent, Pack};
pub use chunk::{EXTENT_COMMAND_BYTES, Extent, ExtentKind};
pub(crate) use describe::written_again;
pub use describe::{describe, describe_key};
pub use entry::{Entry, EntryKind, Place, PlaceKind};
pub use extras::ObjectExtras;
pub use object::{
    Body, Checksum, ChecksumAlgorithm, ChecksumKind, ETag, ObjectAttributes, StorageClass,
};
pub use object_lock::{
    BucketLock, DefaultRetention, ObjectLock, RETAIN_UNTIL_MILLIS_MAX, RETENTION_DAYS_MAX,
    RETENTION_YEARS_MAX, Retention, RetentionMode, RetentionPeriod,
};
pub(crate) use store::table::{RawRow, Table, WriteTxn};
pub use strata_engine::ChunkId;
pub use system::{
    AllocationEpoch, BucketUsage, ClusterIdentity, DeviceCondition, DeviceErrors, DeviceState,
    Geometry, GeometryCode, GroupState, Layout, LayoutKind, LogPosition, PlacementGroup, RootKey,
    Session, Slot, SlotState, Writer,
};
pub use tags::{OBJECT_TAGS_MAX, Tag};
pub use tally::Tally;
pub use upload::{Part, Upload};
pub use users::{
    AccessKey, AccessKeySecret, Group, InlinePolicy, ManagedPolicy, ManagedPolicyName,
    POLICY_BYTES_MAX, PolicySource, Principal, ROLE_SESSION_SECONDS, Role, SESSION_KEY_BYTES,
    SessionKey, SessionKeySecret, User, is_description, is_group_name, is_path, is_user_key_id,
    is_user_name, is_user_secret, policy_characters,
};
pub(crate) use value::verify as verify_row;
pub use version::{Marker, VersionId, VersionRow, Versioning};
pub use view::{
    BodiesPage, BodyCursor, BodyPiece, BodyPosition, Bucket, ChunkPage, DroppedBody, FoundVersion,
    ListPage, ListQuery, ListedObject, ListedUpload, ListedVersion, Listing, Object, ObjectPart,
    PackQuery, Packable, PackablePage, PackableSource, PieceSource, PolicyText, RolePolicies,
    UploadPage, UploadQuery, UserPolicies, VersionListing, VersionMarker, VersionPage,
    VersionQuery, View,
};

/// The inode of the root directory; buckets are the directories below it.
pub const ROOT_INODE: u64 = 1;

/// Bodies up to this many bytes ride in the command and lie in the namespace itself.
pub const INLINE_BYTES_MAX: usize = 16 * 1024;

/// Bodies that one command releases, at most.
pub const RELEASE_BODIES_MAX: usize = 64;

/// Rows that one command releases, at most, but for those of its last part: the rest is for the next, so that others are applied in between.
pub const RELEASE_ROWS_MAX: usize = 128;

/// Extents that one command packs, at most: each may be five rows that go and two that come.
pub const REPOINT_ITEMS_MAX: usize = 256;

/// The longest object key, in bytes.
pub const KEY_BYTES_MAX: usize = 1024;

/// The longest name of a bucket, in bytes (POSIX's limit of a name).
pub const BUCKET_BYTES_MAX: usize = 255;

/// The longest access key id, and the longest secret of one.
pub const ACCESS_KEY_BYTES_MAX: usize = 128;

/// The longest reason of a device's state, in bytes.
pub const DEVICE_REASON_BYTES_MAX: usize = 200;

/// The largest object, in bytes (5 TiB).
pub const OBJECT_BYTES_MAX: u64 = 5 << 40;

/// The smallest part of a multipart upload but the last, in bytes (5 MiB).
pub const PART_BYTES_MIN: u64 = 5 << 20;

/// The highest part number of a multipart upload; the lowest is 1.
pub const PART_NUMBER_MAX: u16 = 10_000;
