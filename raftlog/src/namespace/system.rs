//! Replicated rows about the cluster itself: layout, geometries, placement groups, devices, root key.

use std::fmt;

use rkyv::{Archive, Deserialize, Serialize};

/// How new chunks are protected.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Archive, Serialize, Deserialize)]
pub enum LayoutKind {
    /// One copy: a lost device loses data.
    Single,
    /// m + 1 whole copies.
    Mirrored,
    /// k data and m parity shards.
    ErasureCoded,
}

/// The layout chosen when the first node was formatted, until an administrator changes it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Archive, Serialize, Deserialize)]
pub struct Layout {
    /// How new chunks are protected.
    pub kind: LayoutKind,
    /// Data shards of a chunk (1 unless erasure-coded).
    pub k: u8,
    /// Shards that may be lost.
    pub m: u8,
    /// The geometry of new chunks.
    pub geometry: u16,
}

/// The codes by which chunks are made into shards.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Archive, Serialize, Deserialize)]
pub enum GeometryCode {
    /// Every shard is a whole copy.
    Copies,
    /// Reed-Solomon over GF(2^8), polynomial 0x11d, ISA-L's Cauchy matrix.
    CauchyGf8,
}

/// One row of the table of geometries, which only grows.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Archive, Serialize, Deserialize)]
pub struct Geometry {
    /// The number by which chunks name the row.
    pub number: u16,
    /// The code.
    pub code: GeometryCode,
    /// Data shards.
    pub k: u8,
    /// Parity shards, or further copies.
    pub m: u8,
    /// Cell size, in bytes.
    pub cell_bytes: u32,
}

/// How a slot of a placement group stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Archive, Serialize, Deserialize)]
pub enum SlotState {
    /// A member: takes new shards and serves reads.
    Member,
    /// Removed by an epoch; its device must be readmitted before it takes shards again.
    Removed,
    /// Being filled.
    Joining,
}

/// One slot of a placement group: a partition of a device.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Archive, Serialize, Deserialize)]
pub struct Slot {
    /// The device's uuid.
    pub device: [u8; 16],
    /// The data partition of the device.
    pub partition: u16,
    /// How the slot stands.
    pub state: SlotState,
}

/// A placement group: where the shards of its chunks lie, one slot per failure domain.
#[derive(Debug, Clone, PartialEq, Eq, Archive, Serialize, Deserialize)]
pub struct PlacementGroup {
    /// The number in the chunk ids, at most 24 bits.
    pub number: u32,
    /// Raised with every change of the slots.
    pub epoch: u32,
    /// The pool's uuid.
    pub pool: [u8; 16],
    /// The slots, in the order of the slot masks.
    pub slots: Vec<Slot>,
    /// Members before the last change, while shards move; else empty.
    pub previous: Vec<Slot>,
}

/// The state that a device is in, the most serious last.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Archive, Serialize, Deserialize)]
pub enum DeviceState {
    /// It is written and read.
    Healthy,
    /// It leaves operations without an answer for long.
    Slow,
    /// It has no room for new shards.
    Full,
    /// It has no slot any more, and shards are being moved away from it.
    Draining,
    /// It is read and takes no writes, although it has not failed.
    ReadOnly,
    /// It has failed.
    Failing,
    /// It is part of the node and is not there.
    Gone,
}

impl DeviceState {
    /// Every state.
    pub const ALL: [DeviceState; 7] = [
        DeviceState::Healthy,
        DeviceState::Slow,
        DeviceState::Full,
        DeviceState::Draining,
        DeviceState::ReadOnly,
        DeviceState::Failing,
        DeviceState::Gone,
    ];

    /// The state as one word.
    pub fn word(self) -> &'static str {
        match self {
            DeviceState::Healthy => "healthy",
            DeviceState::Slow => "slow",
            DeviceState::Full => "full",
            DeviceState::Draining => "draining",
            DeviceState::ReadOnly => "read-only",
            DeviceState::Failing => "failing",
            DeviceState::Gone => "gone",
        }
    }
}

/// Errors of a device since it was first noted.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Archive, Serialize, Deserialize)]
pub struct DeviceErrors {
    /// Reads that it answered with an error.
    pub reads: u64,
    /// Failed writes and operations without an answer that made it fail.
    pub writes: u64,
    /// What did not match its checksum.
    pub checksums: u64,
}

/// What is known of a device.
#[derive(Debug, Clone, PartialEq, Eq, Archive, Serialize, Deserialize)]
pub struct DeviceCondition {
    /// The device's uuid.
    pub device: [u8; 16],
    /// The state that it is in.
    pub state: DeviceState,
    /// Why, in words, at most [`DEVICE_REASON_BYTES_MAX`](super::DEVICE_REASON_BYTES_MAX) bytes; empty where there is nothing to say.
    pub reason: String,
    /// When it came into the state, by the wall clock, in nanoseconds since the Unix epoch.
    pub since_nanos: i64,
    /// Bytes that it may grow to; 0 where they were never known.
    pub capacity_bytes: u64,
    /// Its errors as last noted.
    pub errors: DeviceErrors,
}

/// The root credentials. `Debug` does not show the secret.
#[derive(Clone, PartialEq, Eq, Archive, Serialize, Deserialize)]
pub struct RootKey {
    /// The access key id.
    pub access_key_id: String,
    /// The secret access key; never logged.
    pub secret_access_key: String,
}

impl fmt::Debug for RootKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RootKey")
            .field("access_key_id", &self.access_key_id)
            .finish_non_exhaustive()
    }
}

mod rows;

/// A place in the group's log.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Default)]
pub struct LogPosition {
    /// The term of the leader that proposed the entry.
    pub term: u64,
    /// The node that led.
    pub node: u64,
    /// The entry's index.
    pub index: u64,
}

/// Which cluster the state belongs to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ClusterIdentity {
    /// The cluster's uuid.
    pub cluster: [u8; 16],
    /// Raised by every restore.
    pub incarnation: u32,
    /// When it was initialised, in nanoseconds since the Unix epoch.
    pub created_nanos: i64,
}

/// Counters of the group.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct GroupState {
    /// The group's number; the high 16 bits of the inodes that it gives out.
    pub group: u16,
    /// The activated feature level.
    pub feature_level: u16,
    /// The highest time that a command carried, in nanoseconds since the Unix epoch.
    pub time_nanos: i64,
    /// Commands that changed something so far.
    pub commit_sequence: u64,
    /// The next inode, without the group's number.
    pub next_inode: u64,
    /// The next session.
    pub next_session: u64,
    /// The next writer.
    pub next_writer: u32,
}

/// What a bucket holds: the objects that have a name, without uploads that are under way.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct BucketUsage {
    /// Objects.
    pub objects: u64,
    /// Their sizes together, in bytes.
    pub bytes: u64,
}

/// A registered writer: one reactor of one start of one node.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Writer {
    /// Its number, in the ids of the chunks that it introduces.
    pub number: u32,
    /// The node.
    pub node: u64,
    /// The reactor.
    pub reactor: u32,
    /// When it was registered, in nanoseconds since the Unix epoch.
    pub registered_nanos: i64,
    /// The last epoch that it opened; 0 for none.
    pub last_epoch: u32,
    /// Whether it may open epochs.
    pub open: bool,
}

/// An allocation epoch of a writer that is open: chunks may be introduced under it. One that is closed has no row.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct AllocationEpoch {
    /// The writer.
    pub writer: u32,
    /// The epoch: the cluster's incarnation in the high 12 bits, below it counted from 1.
    pub epoch: u32,
    /// When it was opened, in nanoseconds since the Unix epoch.
    pub opened_nanos: i64,
}

/// A proposer's session.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Session {
    /// Who proposes.
    pub owner: u64,
    /// When it was opened, in nanoseconds since the Unix epoch.
    pub opened_nanos: i64,
    /// All answers below this sequence have reached the proposer.
    pub lowest_unanswered: u64,
    /// Answers that are kept.
    pub outstanding: u32,
}

pub(crate) use rows::{AnswerRow, MembershipRow};
