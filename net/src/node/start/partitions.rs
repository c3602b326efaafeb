//! Deals the data partitions out to the reactors of a node and has each reactor open and recover its own.

use std::collections::BTreeMap;

use strata_engine::PartitionKind;
use strata_engine::reactor::{self, Sender};

use crate::message::{NodeRequest, Place};
use crate::node::format::NodeDevice;
use crate::node::open::{DeviceShare, OpenRequest};
use crate::node::staleness::NewestEpochs;
use crate::node::status::NodeStatus;
use crate::node::{NodeConfig, NodeError, Partition};

/// Shards that the node may hold: those of 100 million chunks in 4+2. Their leaves lie on the devices; what memory holds of the index is
/// 32 bytes for each of those, which are from half to quite full with 100 shards: 192 to 384 MB; and what is bounded beside it.
pub const SHARDS_MAX: usize = 600_000_000;

/// Bytes of leaves that the node holds in memory, shared by its partitions.
const LEAF_BYTES: u64 = 128 << 20;

/// The most that is of use to one partition, and the least that keeps a walk from reading a leaf for every shard.
const LEAF_BYTES_EACH: std::ops::RangeInclusive<u64> = 1 << 20..=16 << 20;

/// What the data partitions of a node were found to be.
#[derive(Debug, Default)]
pub(super) struct Recovered {
    /// Those that are open.
    pub(super) partitions: BTreeMap<Place, Partition>,
    /// What their shards say of the log.
    pub(super) epochs: Vec<NewestEpochs>,
    /// What was found wrong and passed over.
    pub(super) warnings: Vec<String>,
}

/// A partition's share of the shards that a node may hold, and of the leaves in memory.
fn index_limits(devices: &[NodeDevice]) -> (usize, u64) {
    let partitions: usize = devices
        .iter()
        .map(|device| device.partitions_of(PartitionKind::Data).len())
        .sum();
    let partitions = partitions.max(1);
    let leaf_bytes = LEAF_BYTES / partitions as u64;
    (
        SHARDS_MAX / partitions,
        leaf_bytes.clamp(*LEAF_BYTES_EACH.start(), *LEAF_BYTES_EACH.end()),
    )
}

/// What each of so many reactors opens of the devices from the `first` on: the partitions go to the reactors in turn.
pub(in crate::node) fn share_out(
    reactors: usize,
    devices: &[NodeDevice],
    first: usize,
) -> Vec<OpenRequest> {
    let mut requests = vec![OpenRequest::default(); reactors];
    let (shards_max, leaf_bytes) = index_limits(devices);
    let mut turn = 0;
    for (position, device) in devices.iter().enumerate() {
        let mut shares: BTreeMap<usize, Vec<u16>> = BTreeMap::new();
        for partition in device.partitions_of(PartitionKind::Data) {
            shares.entry(turn % reactors).or_default().push(partition);
            turn += 1;
        }
        for (reactor, partitions) in shares {
            if position < first {
                continue;
            }
            requests[reactor].devices.push(DeviceShare {
                device: device.uuid(),
                path: device.path.clone(),
                options: device.options(),
                partitions,
                shards_max,
                leaf_bytes,
            });
        }
    }
    requests
}

/// Recovers every data partition.
///
/// # Errors
/// A partition that a newer version has written, a device that cannot be opened, a reactor that has ended.
pub(super) async fn recover(
    config: &NodeConfig,
    status: &NodeStatus,
    peers: &[Sender<NodeRequest>],
    devices: &[NodeDevice],
) -> Result<Recovered, NodeError> {
    let begun = reactor::now();
    let opened = open_partitions(config, status, peers, devices).await?;
    tracing::info!(
        milliseconds = (reactor::now() - begun).as_millis() as u64,
        "the data partitions were recovered"
    );
    Ok(opened)
}

/// Deals the data partitions out to the reactors in the order of uuids, and has each reactor open its own.
async fn open_partitions(
    config: &NodeConfig,
    status: &NodeStatus,
    peers: &[Sender<NodeRequest>],
    devices: &[NodeDevice],
) -> Result<Recovered, NodeError> {
    let requests = share_out(config.cores.len(), devices, 0);
    let mut answers = Vec::new();
    for (peer, request) in peers.iter().zip(requests) {
        let (reply, answer) = reactor::oneshot();
        let sent = peer.send(NodeRequest::Open(request, reply)).await;
        sent.map_err(|_| NodeError::Ended("a reactor ended while it started".to_owned()))?;
        answers.push(answer);
    }
    let mut recovered = Recovered::default();
    for answer in answers {
        let opened = answer
            .await
            .map_err(|_| NodeError::Ended("a reactor ended while it started".to_owned()))?;
        let opened = opened.map_err(|error| NodeError::Devices(error.to_string()))?;
        for (place, partition) in opened.opened {
            status.add_partition(place, partition.clone());
            recovered.partitions.insert(place, partition);
        }
        let lost = opened.lost.into_iter();
        lost.for_each(|lost| status.add_lost_partition(lost));
        for (place, damage) in opened.damaged {
            status.add_damage(place, damage);
        }
        recovered.warnings.extend(opened.warnings);
        recovered.epochs.extend(opened.epochs);
    }
    Ok(recovered)
}
