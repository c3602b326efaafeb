//! What a node does when asked, and the cluster client that both front ends call.
//!
//! Map, in the order of a write:
//! - [`cluster`]: the client of a front end on one reactor: `write` (bytes into chunks), `read` (chunks into bytes),
//!   `metadata` (changes of names), `placement` (which partitions hold a chunk), `redundancy` (chunks into shards and back),
//!   `free` (chunks that are no longer wanted), `pack` (chunks that several bodies share),
//!   `read_repair` (copies that a read found damaged or missing);
//! - [`node`]: the other side: `store` and `fetch` on the reactor that owns a partition, `reclaim` of space, `packing` of short
//!   bodies and collection of `orphans` nobody refers to, and the start and stop of a node;
//! - `memory`: who may take how much of a reactor's buffers, and how to wait for it;
//! - [`message`]: what reactors say to each other;
//! - [`error`]: errors by what the caller does about them.
//!
//! Invariants: a byte is acknowledged only when every slot of its chunk's mask has flushed it; names are changed only
//! through [`cluster::Cluster::submit`]; nothing here knows S3 or FUSE.

pub mod cluster;
pub mod error;
pub mod fuzzing;
mod memory;
pub mod message;
pub mod node;
#[cfg(test)]
mod planted;
pub mod scheme;
#[cfg(test)]
mod tests;

pub use cluster::read::ObjectReader;
pub use cluster::write::ObjectWriter;
pub use cluster::{Cluster, POLICY_BYTES_MAX, policy_bytes, role_policy_bytes};
pub use error::ClusterError;
