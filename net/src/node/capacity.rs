//! What each device may grow to: its share of the space that its file system has, as much as is configured, or all but 10 %. A block
//! device has its length.
//!
//! Invariants: the free part of a file system is counted once, however many devices share it; a block device holds no more than it is
//! long, whatever is configured.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::time::Duration;

use strata_engine::reactor::block_device::block_device;
use strata_engine::reactor::{self, TaskClass, fs};

use super::format::NodeDevice;
use super::{NodeConfig, NodeError};

/// How often a running node looks whether there is more space. A full file system is found in no more than this to have some
/// again.
const LOOK_EVERY: Duration = Duration::from_secs(10);

/// Part of a file system, as a divisor, that is left free.
const FREE_SHARE: u64 = 10;

/// A device as far as its space is concerned.
#[derive(Debug, Clone)]
pub(super) struct DeviceSpace {
    /// A place on its file system that is there.
    pub(super) listed: PathBuf,
    /// Its file, which may not be there yet.
    pub(super) file: PathBuf,
}

impl DeviceSpace {
    /// How long the block device is, where it is one.
    ///
    /// # Errors
    /// One that cannot be opened.
    pub(super) async fn block_device_bytes(&self) -> Result<Option<u64>, NodeError> {
        let listed = fs::status(&self.listed).await.map_err(unknown)?;
        if !listed.is_block_device {
            return Ok(None);
        }
        let device = block_device(&self.listed).await.map_err(unknown)?;
        Ok(device.map(|device| device.bytes))
    }

    /// So much of what is configured as it can have.
    ///
    /// # Errors
    /// A block device that cannot be opened.
    pub(super) async fn at_most(&self, configured_bytes: u64) -> Result<u64, NodeError> {
        let bytes = self.block_device_bytes().await?;
        Ok(bytes.map_or(configured_bytes, |bytes| bytes.min(configured_bytes)))
    }
}

/// Bytes that each device may grow to, in the order given.
///
/// # Errors
/// A file system that does not say how large it is.
pub(super) async fn shares(devices: &[DeviceSpace]) -> Result<Vec<u64>, NodeError> {
    let mut sharing: BTreeMap<u64, Vec<usize>> = BTreeMap::new();
    let mut capacities = vec![0; devices.len()];
    for (position, device) in devices.iter().enumerate() {
        if let Some(bytes) = device.block_device_bytes().await? {
            capacities[position] = bytes;
            continue;
        }
        let listed = fs::status(&device.listed).await.map_err(unknown)?;
        sharing
            .entry(listed.file_system)
            .or_default()
            .push(position);
    }
    for positions in sharing.values() {
        let mut used = 0;
        for at in positions {
            used += allocated_bytes(&devices[*at].file).await;
        }
        let room = room_on(&devices[positions[0]].listed, used).await?;
        let bytes = room / positions.len() as u64;
        positions.iter().for_each(|at| capacities[*at] = bytes);
    }
    Ok(capacities)
}

/// Lets devices grow while the node runs, as their file systems get more space. One whose capacity is configured keeps it, and the
/// length of a block device is looked at when the node starts.
pub(super) fn follow(config: &NodeConfig, devices: &[NodeDevice]) -> Option<reactor::Task<()>> {
    if config.capacity_bytes.is_some() {
        return None;
    }
    let files = devices.iter().filter(|device| !device.is_block_device);
    let spaces: Vec<DeviceSpace> = files
        .clone()
        .map(|device| DeviceSpace {
            listed: device.path.clone(),
            file: device.path.clone(),
        })
        .collect();
    let health: Vec<_> = files.map(NodeDevice::health).collect();
    Some(reactor::spawn(TaskClass::Background, async move {
        loop {
            reactor::sleep(LOOK_EVERY).await;
            match shares(&spaces).await {
                Ok(shares) => health
                    .iter()
                    .zip(shares)
                    .for_each(|(health, bytes)| health.raise_capacity(bytes)),
                Err(error) => tracing::warn!(%error, "the space of the file systems is not known"),
            }
        }
    }))
}

fn unknown(error: std::io::Error) -> NodeError {
    NodeError::Devices(error.to_string())
}

/// Nothing for a file that is not there yet.
async fn allocated_bytes(path: &Path) -> u64 {
    fs::status(path)
        .await
        .map_or(0, |found| found.allocated_bytes)
}

/// Bytes of the file system that devices may hold together when a part of it stays free.
async fn room_on(path: &Path, used_by_devices: u64) -> Result<u64, NodeError> {
    let space = fs::space(path).await.map_err(unknown)?;
    let reachable = space.available_bytes + used_by_devices;
    Ok(reachable.saturating_sub(space.total_bytes / FREE_SHARE))
}

#[cfg(test)]
mod tests {
    use strata_engine::reactor::{ReactorConfig, World};

    use super::*;

    fn shares_here(devices: &[DeviceSpace]) -> Vec<u64> {
        let config = ReactorConfig {
            index: 0,
            core: None,
            name: "capacity".to_owned(),
            arena_bytes: 2 << 20,
            spin: Duration::ZERO,
        };
        let shares = reactor::run(config, World::Real, async || shares(devices).await);
        shares.expect("io_uring is available").expect("a size")
    }

    #[test]
    fn devices_of_one_file_system_share_its_space() {
        let directory = tempfile::tempdir().expect("a directory");
        let device = |name: &str| DeviceSpace {
            listed: directory.path().to_owned(),
            file: directory.path().join(name),
        };
        let alone = shares_here(&[device("a")])[0];
        let shared = shares_here(&[device("a"), device("b")]);
        assert_eq!(shared[0], shared[1]);
        // Others write to it meanwhile.
        assert!(
            shared[0] <= alone / 2 + alone / 20 && shared[0] > 0,
            "{shared:?} of {alone}"
        );
    }
}
