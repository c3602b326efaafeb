//! The storage engine of one node: reactor, formats, devices, journal, chunk store. A map of what lies where.
//!
//! - [`reactor`]: one thread per core, its disk, sockets, timers and mailboxes;
//! - [`format`](mod@format): what lies on a device, byte for byte;
//! - [`device`]: a file or block device, opened on one reactor;
//! - `segment_log`: a partition as an append-only log, what the next two share;
//! - [`journal`]: opaque records of a log partition;
//! - [`store`]: the chunk store of a data partition. Its paths: `write`, `read`, `look_up`, `recovery`, `checkpoint`, `compaction`,
//!   on the `index`;
//! - [`erasure`]: parity cells from data cells, and lost cells from the others.

mod checkpoint;
mod compaction;
pub mod device;
pub mod erasure;
mod error;
mod fence;
pub mod format;
mod id;
mod index;
pub mod journal;
mod look_up;
mod payload;
pub mod reactor;
mod read;
mod recovery;
mod segment_log;
pub mod store;
mod write;

pub use device::health::{DeviceHealth, READ_ELSEWHERE_AFTER};
pub use device::{
    Device, DeviceLock, DeviceOptions, FormatOptions, format_device, read_superblock,
    repair_superblock,
};
pub use error::EngineError;
pub use format::superblock::{PartitionEntry, PartitionKind, Superblock};
pub use id::{ChunkId, Owner, ShardId, Uuid};
pub use journal::{HeadsOf, Journal, JournalPosition};
pub use payload::{CELL_BYTES, CellCrcs, Payload};
pub use recovery::RecoveryReport;
pub use segment_log::LogStatistics;
pub use store::{ChunkStore, ChunkStoreStatistics, ShardInfo, ShardWrite};
