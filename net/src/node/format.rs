//! Formats the devices of a first start, and locks and reads those of every start.
//!
//! Invariant: the number of data partitions gives every core one, unless they would be too small, and is fixed from then on.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use strata_engine::device::block;
use strata_engine::reactor::fs;
use strata_engine::{
    DeviceHealth, DeviceLock, DeviceOptions, EngineError, FormatOptions, PartitionKind, Superblock,
    Uuid,
};

use super::capacity::{self, DeviceSpace};
use super::discover::{Discovery, Found};
use super::{NodeConfig, NodeError, layout, new_uuid};
use crate::scheme::Scheme;

/// The smallest capacity of a device that can be worked with, in bytes.
pub const CAPACITY_BYTES_MIN: u64 = 256 << 20;

const SEGMENT_BYTES_MIN: u64 = 4 << 20;
const SEGMENT_BYTES_MAX: u64 = 64 << 20;

/// Segments that a device is divided into, about; more would be small, fewer would compact coarsely.
const SEGMENT_COUNT_AIM: u64 = 256;

/// Segments that a data partition has at least: with fewer, those that are kept for deletes, checkpoints and compaction would be
/// most of it.
const PARTITION_SEGMENTS_MIN: u64 = 12;

/// The log's share of a device: an eighth, within these bounds in bytes. It holds the log since the last snapshot, that
/// snapshot and the next one, each with all names and inline bodies.
const LOG_SHARE: u64 = 8;
const LOG_BYTES_MAX: u64 = 64 << 30;
const LOG_SEGMENTS_MIN: u64 = 12;

/// A device of the node, looked at and locked.
pub struct NodeDevice {
    /// Its file.
    pub path: PathBuf,
    /// Bytes that it may grow to.
    pub capacity_bytes: u64,
    /// What its superblock says.
    pub superblock: Superblock,
    /// Whether it is no file.
    pub is_block_device: bool,
    discard: bool,
    health: Arc<DeviceHealth>,
    _lock: DeviceLock,
}

impl NodeDevice {
    /// The device's uuid.
    pub fn uuid(&self) -> Uuid {
        self.superblock.device
    }

    /// The numbers of its partitions of a kind.
    pub fn partitions_of(&self, kind: PartitionKind) -> Vec<u16> {
        self.superblock
            .partitions
            .iter()
            .filter(|entry| entry.kind == kind)
            .map(|entry| entry.number)
            .collect()
    }

    /// How every handle of it is opened.
    pub fn options(&self) -> DeviceOptions {
        DeviceOptions {
            capacity_bytes: self.capacity_bytes,
            discard: self.discard,
            health: self.health.clone(),
        }
    }

    /// Whether it has failed, as all its handles see it.
    pub fn health(&self) -> Arc<DeviceHealth> {
        self.health.clone()
    }

    /// Bytes of its log partition.
    pub fn log_quota_bytes(&self) -> u64 {
        u64::from(self.superblock.log_segments) * self.superblock.segment_bytes
    }
}

/// The scheme that a node is formatted for: what is configured, or the strongest that the failure domains of the listed places
/// carry.
///
/// # Errors
/// A configured scheme that needs more failure domains than there are.
pub fn scheme(config: &NodeConfig, discovery: &Discovery) -> Result<Scheme, NodeError> {
    let mut domains: Vec<usize> = discovery
        .candidates
        .iter()
        .map(|candidate| candidate.domain)
        .collect();
    domains.sort_unstable();
    domains.dedup();
    match config.scheme {
        None => Ok(Scheme::strongest_for(domains.len())),
        Some(scheme) if scheme.shards() <= domains.len() => Ok(scheme),
        Some(scheme) => Err(NodeError::Devices(format!(
            "erasure_coding asks for {scheme}, which needs {} disks: the data directories lie on {}",
            scheme.shards(),
            domains.len()
        ))),
    }
}

/// Formats what a first start found empty, locks every device and reads its superblock.
///
/// # Errors
/// A file system that is too full, a device that is locked by another server or cannot be written.
pub async fn prepare(
    config: &NodeConfig,
    discovery: &Discovery,
) -> Result<Vec<NodeDevice>, NodeError> {
    let capacities = capacities(config, discovery).await?;
    if discovery.first_start {
        format_all(config, discovery, &capacities).await?;
    }
    let mut devices = Vec::new();
    for (candidate, capacity_bytes) in discovery.candidates.iter().zip(capacities) {
        devices.push(take(config, &candidate.path, capacity_bytes).await?);
    }
    Ok(devices)
}

/// Locks a device and reads its superblock.
///
/// # Errors
/// One that is locked by another server, or cannot be read or mended.
pub(super) async fn take(
    config: &NodeConfig,
    path: &Path,
    capacity_bytes: u64,
) -> Result<NodeDevice, NodeError> {
    let failed = |error| NodeError::Devices(format!("{}: {error}", path.display()));
    let named = |error: EngineError| NodeError::Devices(error.to_string());
    let lock = DeviceLock::take(path).await.map_err(named)?;
    let health = Arc::<DeviceHealth>::default();
    let repairing = strata_engine::repair_superblock(path, &health);
    if let Some(damage) = repairing.await.map_err(failed)? {
        tracing::warn!(%damage, "damage was found on a device and has cost nothing");
    }
    block::follow_length(path).await.map_err(failed)?;
    let superblock = strata_engine::read_superblock(path).await.map_err(failed)?;
    Ok(NodeDevice {
        is_block_device: is_block_device(path).await?,
        discard: config.discard,
        path: path.to_owned(),
        capacity_bytes,
        superblock,
        health,
        _lock: lock,
    })
}

/// Formats one more device of a node, as `like` was formatted. It becomes a mirror of the log where it takes the place of one.
///
/// # Errors
/// A file system that is too full, and a file that cannot be written.
pub(super) async fn format_one_more(
    config: &NodeConfig,
    lost_mirror: Option<Uuid>,
    like: &Superblock,
    path: &Path,
    capacity_bytes: u64,
) -> Result<(), NodeError> {
    at_least_minimum(path, capacity_bytes)?;
    let _held = hold_block_device(path).await?;
    let device = new_uuid();
    let mirrors = like.log_mirrors.iter();
    let data = like.partitions.iter();
    let data = data.filter(|entry| entry.kind == PartitionKind::Data);
    let segment_bytes = segment_bytes_for(capacity_bytes);
    let options = FormatOptions {
        cluster: like.cluster,
        device,
        pool: like.pool,
        node: like.writer_node,
        data_partitions: data.count() as u16,
        segment_bytes,
        log_segments: log_segments_for(capacity_bytes, segment_bytes),
        log_mirrors: mirrors
            .map(|mirror| {
                if lost_mirror == Some(*mirror) {
                    device
                } else {
                    *mirror
                }
            })
            .collect(),
    };
    format_one(config, path, options).await
}

/// Formats a file, or a block device that is held.
async fn format_one(
    config: &NodeConfig,
    path: &Path,
    options: FormatOptions,
) -> Result<(), NodeError> {
    let failed = |error| NodeError::Devices(format!("cannot format {}: {error}", path.display()));
    if is_block_device(path).await? {
        block::erase(path, config.discard).await.map_err(failed)?;
    }
    let formatted = strata_engine::format_device(path, options).await;
    formatted.map_err(failed)
}

/// A file that is to be made is no block device.
async fn is_block_device(path: &Path) -> Result<bool, NodeError> {
    match fs::status(path).await {
        Ok(found) => Ok(found.is_block_device),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(false),
        Err(error) => Err(NodeError::Devices(error.to_string())),
    }
}

/// Keeps everybody else off a block device while it is formatted.
async fn hold_block_device(path: &Path) -> Result<Option<DeviceLock>, NodeError> {
    if !is_block_device(path).await? {
        return Ok(None);
    }
    let held = DeviceLock::take(path).await;
    held.map(Some)
        .map_err(|error| NodeError::Devices(error.to_string()))
}

async fn format_all(
    config: &NodeConfig,
    discovery: &Discovery,
    capacities: &[u64],
) -> Result<(), NodeError> {
    // All are held before the first is written.
    let mut held = Vec::new();
    for candidate in &discovery.candidates {
        held.push(hold_block_device(&candidate.path).await?);
    }
    let (cluster, pool) = (new_uuid(), new_uuid());
    let uuids: Vec<Uuid> = discovery.candidates.iter().map(|_| new_uuid()).collect();
    let domains: Vec<(Uuid, usize)> = uuids
        .iter()
        .copied()
        .zip(
            discovery
                .candidates
                .iter()
                .map(|candidate| candidate.domain),
        )
        .collect();
    let log_mirrors = layout::log_mirrors(&domains, scheme(config, discovery)?);
    let least = capacities.iter().copied().min().unwrap_or(0);
    let data_partitions = data_partitions(capacities.len(), config.cores.len(), least);
    for ((candidate, device), capacity_bytes) in
        discovery.candidates.iter().zip(uuids).zip(capacities)
    {
        let segment_bytes = segment_bytes_for(*capacity_bytes);
        let options = FormatOptions {
            cluster,
            device,
            pool,
            node: config.node_id,
            data_partitions,
            segment_bytes,
            log_segments: log_segments_for(*capacity_bytes, segment_bytes),
            log_mirrors: log_mirrors.clone(),
        };
        format_one(config, &candidate.path, options).await?;
    }
    Ok(())
}

/// One data partition where there is a device or more per core, else the power of two that gives every core one, as far as the
/// smallest device has segments for so many.
fn data_partitions(device_count: usize, core_count: usize, least_capacity_bytes: u64) -> u16 {
    let wanted = core_count
        .div_ceil(device_count)
        .next_power_of_two()
        .min(32) as u16;
    let segment_bytes = segment_bytes_for(least_capacity_bytes);
    let log_segments = log_segments_for(least_capacity_bytes, segment_bytes);
    let segments = (least_capacity_bytes / segment_bytes).saturating_sub(u64::from(log_segments));
    let room = (segments / PARTITION_SEGMENTS_MIN).max(1);
    wanted.min(1 << room.ilog2().min(5))
}

fn segment_bytes_for(capacity_bytes: u64) -> u64 {
    (capacity_bytes / SEGMENT_COUNT_AIM)
        .next_power_of_two()
        .clamp(SEGMENT_BYTES_MIN, SEGMENT_BYTES_MAX)
}

fn log_segments_for(capacity_bytes: u64, segment_bytes: u64) -> u32 {
    ((capacity_bytes / LOG_SHARE).min(LOG_BYTES_MAX) / segment_bytes).max(LOG_SEGMENTS_MIN) as u32
}

/// Bytes that each listed place may grow to.
async fn capacities(config: &NodeConfig, discovery: &Discovery) -> Result<Vec<u64>, NodeError> {
    // Of all that are listed, so that a missing device gives its share to no other.
    let count = config.data_dirs.len() as u64;
    let spaces: Vec<DeviceSpace> = discovery
        .candidates
        .iter()
        .map(|candidate| DeviceSpace {
            listed: candidate.listed.clone(),
            file: candidate.path.clone(),
        })
        .collect();
    if let Some(bytes) = config.capacity_bytes {
        let mut capacities = Vec::new();
        for space in &spaces {
            let bytes = space.at_most(bytes / count).await?;
            capacities.push(at_least_minimum(&space.file, bytes)?);
        }
        return Ok(capacities);
    }
    let shares = capacity::shares(&spaces).await?;
    let candidates = discovery.candidates.iter().zip(shares);
    candidates
        .map(|(candidate, bytes)| match candidate.found {
            Found::Device(_) => Ok(bytes),
            Found::Empty | Found::Overwritten(_) | Found::Missing | Found::Sick(_) => {
                at_least_minimum(&candidate.path, bytes)
            }
        })
        .collect()
}

fn at_least_minimum(path: &Path, bytes: u64) -> Result<u64, NodeError> {
    if bytes >= CAPACITY_BYTES_MIN {
        return Ok(bytes);
    }
    Err(NodeError::Devices(format!(
        "{} would have {} MiB; at least {} MiB are needed (of a file system 10 % are left free unless storage.capacity says otherwise)",
        path.display(),
        bytes >> 20,
        CAPACITY_BYTES_MIN >> 20
    )))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_core_gets_a_partition() {
        const LARGE: u64 = 1 << 40;
        assert_eq!(data_partitions(1, 1, LARGE), 1);
        assert_eq!(data_partitions(1, 2, LARGE), 2);
        assert_eq!(data_partitions(1, 6, LARGE), 8);
        assert_eq!(data_partitions(4, 6, LARGE), 2);
        assert_eq!(data_partitions(8, 4, LARGE), 1);
    }

    #[test]
    fn a_small_device_has_fewer_partitions_than_the_node_has_cores() {
        assert_eq!(data_partitions(1, 1, CAPACITY_BYTES_MIN), 1);
        assert_eq!(data_partitions(1, 16, CAPACITY_BYTES_MIN), 4);
        assert_eq!(data_partitions(1, 256, CAPACITY_BYTES_MIN), 4);
        assert_eq!(data_partitions(1, 256, 1 << 30), 16);
        assert_eq!(data_partitions(1, 256, 64 << 30), 32);
    }

    #[test]
    fn any_number_of_cores_and_devices_can_be_formatted() {
        for (devices, cores) in
            (1..=8).flat_map(|devices| (1..=256).map(move |cores| (devices, cores)))
        {
            let options = FormatOptions {
                cluster: Uuid([1; 16]),
                device: Uuid([2; 16]),
                pool: Uuid([3; 16]),
                node: 1,
                data_partitions: data_partitions(devices, cores, 1 << 40),
                segment_bytes: SEGMENT_BYTES_MIN,
                log_segments: LOG_SEGMENTS_MIN as u32,
                log_mirrors: vec![Uuid([2; 16])],
            };
            let checked = options.check();
            assert!(
                checked.is_ok(),
                "{devices} devices, {cores} cores: {checked:?}"
            );
        }
    }

    #[test]
    fn segments_fit_the_capacity() {
        assert_eq!(segment_bytes_for(256 << 20), SEGMENT_BYTES_MIN);
        assert_eq!(segment_bytes_for(1 << 40), SEGMENT_BYTES_MAX);
        assert!(
            u64::from(log_segments_for(1 << 40, SEGMENT_BYTES_MAX)) * SEGMENT_BYTES_MAX
                <= LOG_BYTES_MAX
        );
    }
}
