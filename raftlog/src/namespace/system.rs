//! Replicated rows about the cluster itself: layout, geometries, placement groups, root key.

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
