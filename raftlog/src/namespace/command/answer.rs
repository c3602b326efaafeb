//! Answers to commands. They are kept with the proposer's session, so that a repeated proposal gets
//! its first answer.

use rkyv::{Archive, Deserialize, Serialize};

use crate::namespace::ETag;
use crate::namespace::version::{VersionId, position};

/// What a command came to.
#[derive(Debug, Clone, PartialEq, Eq, Archive, Serialize, Deserialize)]
pub enum Answer {
    /// Done; nothing more to say.
    Done,
    /// The number of the session that was opened.
    Session(u64),
    /// Inodes that are the proposer's now: `first`, `first + 1`, ... `count` of them.
    Inodes {
        /// The lowest of them.
        first: u64,
        /// How many.
        count: u32,
    },
    /// The number of the writer that was registered.
    Writer(u32),
    /// The number of the allocation epoch that was opened.
    Epoch(u32),
    /// An object was put, or an upload completed.
    Put {
        /// The object's inode.
        inode: u64,
        /// The group's commit sequence of the change.
        commit_sequence: u64,
        /// The object's tag.
        etag: ETag,
        /// The object's size, in bytes.
        size: u64,
        /// The time of the change, in nanoseconds since the Unix epoch.
        modified_nanos: i64,
    },
    /// One outcome for each key of the command, in its order.
    Deleted(Vec<DeleteOutcome>),
    /// Nothing was changed.
    Refused(Refusal),
    /// One outcome for each item of the command, in its order.
    Repointed(Vec<RepointOutcome>),
    /// An object was put, or an upload completed, as a version of its own: [`Answer::version`].
    PutVersion {
        /// The object's inode.
        inode: u64,
        /// The group's commit sequence of the change.
        commit_sequence: u64,
        /// The object's tag.
        etag: ETag,
        /// The object's size, in bytes.
        size: u64,
        /// The time of the change, in nanoseconds since the Unix epoch.
        modified_nanos: i64,
    },
    /// One outcome for each key of the command, in its order.
    Marked(Vec<MarkOutcome>),
    /// One outcome for each version of the command, in its order.
    VersionsDeleted(Vec<VersionDeleteOutcome>),
    /// The tags of an object were set: [`Answer::tagged_version`], big endian, 0 for the null version.
    Tagged([u8; 16]),
}

impl Answer {
    /// The answer about an object that has the tags now.
    pub(crate) fn tagged(version: VersionId) -> Answer {
        Answer::Tagged(version.number().to_be_bytes())
    }

    /// The version whose tags were set.
    pub fn tagged_version(&self) -> Option<VersionId> {
        match self {
            Answer::Tagged(number) => Some(VersionId::of_number(u128::from_be_bytes(*number))),
            _ => None,
        }
    }

    /// The version of what was put, where the bucket keeps versions.
    pub fn version(&self) -> Option<VersionId> {
        match self {
            Answer::PutVersion {
                inode,
                commit_sequence,
                ..
            } => Some(VersionId::Of(position(*commit_sequence, *inode))),
            _ => None,
        }
    }
}

/// What became of one key of a [`MarkDeleted`](super::MarkDeleted).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Archive, Serialize, Deserialize)]
pub enum MarkOutcome {
    /// It has a delete marker now, which is this version.
    Marked(VersionId),
    /// Its precondition does not hold; it was left alone.
    PreconditionFailed,
    /// It has a precondition and never was there, or has no version left; it was left alone.
    Absent,
}

/// What became of one version of a [`DeleteVersions`](super::DeleteVersions).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Archive, Serialize, Deserialize)]
pub enum VersionDeleteOutcome {
    /// It was an object and is gone.
    Deleted,
    /// It was a delete marker and is gone.
    MarkerDeleted,
    /// It was not there.
    Absent,
    /// Its precondition does not hold; it was left alone.
    PreconditionFailed,
    /// It is a delete marker that an object lies under, and the command may not grow; it was left alone.
    BringsBack,
    /// A retention or a legal hold is in force; it was left alone.
    Locked,
}

/// What became of one item of a [`Repoint`](super::Repoint).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Archive, Serialize, Deserialize)]
pub enum RepointOutcome {
    /// Its extent names the pack.
    Moved,
    /// Its inode has no name any more; it was left alone.
    Gone,
    /// The extent or inline body is not the one that was meant; it was left alone.
    Changed,
}

/// What became of one key of a delete.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Archive, Serialize, Deserialize)]
pub enum DeleteOutcome {
    /// It was there and is gone.
    Deleted,
    /// It was not there.
    Absent,
    /// Its precondition does not hold; it was left alone.
    PreconditionFailed,
}

/// Why a command changed nothing.
#[derive(Debug, Clone, PartialEq, Eq, Archive, Serialize, Deserialize, thiserror::Error)]
pub enum Refusal {
    /// The group has not been initialised.
    #[error("the cluster has not been initialised")]
    NotInitialised,
    /// The group has been initialised, for another cluster or in another way.
    #[error("the cluster has been initialised already")]
    AlreadyInitialised,
    /// The command is for another group.
    #[error("the command is for group {0}")]
    WrongGroup(u16),
    /// The command needs a feature level that is not activated.
    #[error("the command needs feature level {needed}, activated is {active}")]
    FeatureLevel {
        /// What it needs.
        needed: u16,
        /// What is activated.
        active: u16,
    },
    /// The session has expired or never was: open another.
    #[error("the proposer's session has expired")]
    SessionExpired,
    /// The proposer has said that it got the answer to this sequence.
    #[error("the sequence lies below the lowest unanswered one")]
    SequenceAnswered,
    /// The session has too many answers outstanding.
    #[error("the session has too many answers outstanding")]
    TooManyOutstanding,
    /// The command contradicts itself or the state; names what is wrong.
    #[error("invalid command: {0}")]
    Invalid(String),
    /// There is no room for the command.
    #[error("the metadata store is full")]
    Full,
    /// No such bucket.
    #[error("no such bucket")]
    NoSuchBucket,
    /// The bucket exists.
    #[error("the bucket exists already")]
    BucketAlreadyOwnedByYou,
    /// The bucket holds objects or uploads.
    #[error("the bucket is not empty")]
    BucketNotEmpty,
    /// No such object.
    #[error("no such key")]
    NoSuchKey,
    /// A precondition does not hold.
    #[error("a precondition does not hold")]
    PreconditionFailed,
    /// No such multipart upload.
    #[error("no such upload")]
    NoSuchUpload,
    /// A part of the upload was put after its parts were read: read them again.
    #[error("a part was put after the parts were read")]
    PartsChanged,
    /// The object would be larger than allowed.
    #[error("the object is too large")]
    EntityTooLarge,
    /// The object was put in parts with another checksum algorithm or kind.
    #[error("the checksum is not of the kind that the upload was created with")]
    ChecksumMismatch,
    /// No such writer, or it is closed.
    #[error("no such writer: {0}")]
    NoSuchWriter(u32),
    /// A chunk was introduced under an allocation epoch that is not open.
    #[error("allocation epoch {epoch} of writer {writer} is not open")]
    EpochClosed {
        /// The writer.
        writer: u32,
        /// Its epoch.
        epoch: u32,
    },
    /// The row has a higher epoch already.
    #[error("the row is older than the one in force")]
    Stale,
    /// The command is for a bucket that keeps versions, and this one does not, or the other way round: look at it again.
    #[error("whether the bucket keeps versions has changed")]
    VersioningChanged,
    /// The key has no such version.
    #[error("no such version")]
    NoSuchVersion,
    /// What is named is a delete marker, which has nothing that could be changed.
    #[error("it is a delete marker")]
    IsDeleteMarker,
    /// A user, group, policy or access key of that name exists. Says which, in the words of AWS's API reference of IAM, as the next ones do.
    #[error("{0}")]
    EntityAlreadyExists(String),
    /// No such user, group, policy or access key.
    #[error("{0}")]
    NoSuchEntity(String),
    /// There would be more than are allowed, or a policy would be too long.
    #[error("{0}")]
    LimitExceeded(String),
    /// What is to be deleted is in use.
    #[error("{0}")]
    DeleteConflict(String),
    /// The bucket exists, and another account owns it.
    #[error("the bucket exists already, and another account owns it")]
    BucketAlreadyExists,
    /// The command is about a lock, and the bucket has no Object Lock.
    #[error("the bucket has no Object Lock")]
    NoObjectLock,
    /// A retention in force does not allow it.
    #[error("a retention in force does not allow it")]
    ObjectLocked,
    /// A bucket gets Object Lock only while it keeps versions, and keeps them for good then.
    #[error("Object Lock and versions that are not kept exclude each other")]
    InvalidBucketState,
    /// A retention is asked for that is over already, by the time of the group.
    #[error("the retention is over already, by the time of commits")]
    RetentionIsOver,
}
