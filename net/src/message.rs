//! What the reactors of a node say to each other.
//!
//! Every request carries the place of its answer. A mailbox is bounded: a sender waits when its peer is behind, so a slow
//! reactor pushes back instead of filling memory.

use std::ops::Range;
use std::sync::Arc;

use strata_engine::reactor::{BufferView, OneSender};
use strata_engine::{EngineError, Owner, ShardId, ShardWrite, Uuid};
use strata_raftlog::namespace::command::{Answer, Command, Proposer};
use strata_raftlog::namespace::{PlacementGroup, Slot};

use crate::error::ClusterError;
use crate::memory::Watermark;
use crate::node::ClusterParts;
use crate::node::devices::{DeviceChange, DeviceReply};
use crate::node::open::{OpenReport, OpenRequest};

/// A data partition: its device and its number on it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Place {
    /// The device.
    pub device: Uuid,
    /// Number of the partition on the device.
    pub partition: u16,
}

impl Place {
    /// That of a slot of a placement group.
    pub fn of_slot(slot: &Slot) -> Place {
        Place {
            device: Uuid(slot.device),
            partition: slot.partition,
        }
    }
}

/// What a scan of a partition finds: shards in order, each with the inode that is its home.
pub type Scanned = Vec<(ShardId, u64)>;

/// A request from one reactor to another.
pub enum NodeRequest {
    /// Open the partitions that this reactor owns.
    Open(OpenRequest, OneSender<Result<OpenReport, ClusterError>>),
    /// Write one shard; answered when it is durable.
    Store(Place, Box<ShardWrite>, OneSender<Result<(), EngineError>>),
    /// Read a range of one shard, leaving so much memory free.
    Fetch(
        Place,
        ShardId,
        Range<u32>,
        Watermark,
        OneSender<Result<Vec<BufferView>, EngineError>>,
    ),
    /// Say of each shard whether it is there, as the index has it.
    Holds(
        Place,
        Vec<ShardId>,
        OneSender<Result<Vec<bool>, EngineError>>,
    ),
    /// Read all of a shard and compare it with its checksums; answered with its bytes' number.
    Verify(Place, ShardId, OneSender<Result<u64, EngineError>>),
    /// List the next shards of a partition, with their home inodes.
    Scan(
        Place,
        Option<ShardId>,
        usize,
        OneSender<Result<Scanned, EngineError>>,
    ),
    /// Read all of a shard, to be written elsewhere.
    TakeOver(
        Place,
        ShardId,
        OneSender<Result<Box<ShardWrite>, EngineError>>,
    ),
    /// Take no more writes that were decided under older epochs of these placement groups.
    Fence(Arc<[PlacementGroup]>, OneSender<()>),
    /// Say whose bytes a shard holds.
    Owner(Place, ShardId, OneSender<Result<Owner, EngineError>>),
    /// Free shards; answered when their tombstones are durable.
    Free(Place, Vec<ShardId>, OneSender<Result<(), EngineError>>),
    /// Propose a command; only the metadata core is asked.
    Change(
        Box<Command>,
        Proposer,
        OneSender<Result<Answer, ClusterError>>,
    ),
    /// Change the devices of the node; only the metadata core is asked.
    ChangeDevices(DeviceChange, DeviceReply),
    /// Begin to serve with this cluster client; answered when serving has ended.
    Serve(Arc<ClusterParts>, OneSender<()>),
    /// Close the stores and end the reactor.
    Stop(OneSender<()>),
}
