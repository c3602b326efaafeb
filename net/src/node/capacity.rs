//! What each device may grow to: its share of the space that its file system has, as much as is configured, or all but 10 %.
//!
//! Invariant: the free part of a file system is counted once, however many devices share it.

use std::collections::BTreeMap;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use strata_engine::reactor::{self, TaskClass};

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

/// Bytes that each device may grow to, in the order given.
///
/// # Errors
/// A file system that does not say how large it is.
pub(super) fn shares(devices: &[DeviceSpace]) -> Result<Vec<u64>, NodeError> {
    let mut sharing: BTreeMap<u64, Vec<usize>> = BTreeMap::new();
    for (position, device) in devices.iter().enumerate() {
        let file_system = file_system_of(&device.listed)?;
        sharing.entry(file_system).or_default().push(position);
    }
    let mut capacities = vec![0; devices.len()];
    for positions in sharing.values() {
        let files = positions.iter().map(|at| &devices[*at].file);
        let used: u64 = files.map(|file| allocated_bytes(file)).sum();
        let room = room_on(&devices[positions[0]].listed, used)?;
        let bytes = room / positions.len() as u64;
        positions.iter().for_each(|at| capacities[*at] = bytes);
    }
    Ok(capacities)
}

/// Lets devices grow while the node runs, as their file systems get more space. One whose capacity is configured keeps it.
pub(super) fn follow(config: &NodeConfig, devices: &[NodeDevice]) -> Option<reactor::Task<()>> {
    if config.capacity_bytes.is_some() {
        return None;
    }
    let spaces: Vec<DeviceSpace> = devices
        .iter()
        .map(|device| DeviceSpace {
            listed: device.path.clone(),
            file: device.path.clone(),
        })
        .collect();
    let health: Vec<_> = devices.iter().map(NodeDevice::health).collect();
    Some(reactor::spawn(TaskClass::Background, async move {
        loop {
            reactor::sleep(LOOK_EVERY).await;
            let spaces = spaces.clone();
            // A file system that hangs answers late or never: no reactor waits for it.
            match reactor::offload(move || shares(&spaces)).await {
                Ok(shares) => health
                    .iter()
                    .zip(shares)
                    .for_each(|(health, bytes)| health.raise_capacity(bytes)),
                Err(error) => tracing::warn!(%error, "the space of the file systems is not known"),
            }
        }
    }))
}

fn file_system_of(path: &Path) -> Result<u64, NodeError> {
    let found = std::fs::metadata(path)
        .map_err(|error| NodeError::Devices(format!("{}: {error}", path.display())))?;
    Ok(found.dev())
}

fn allocated_bytes(path: &Path) -> u64 {
    std::fs::metadata(path).map_or(0, |found| found.blocks() * 512)
}

/// Bytes of the file system that devices may hold together when a part of it stays free.
fn room_on(path: &Path, used_by_devices: u64) -> Result<u64, NodeError> {
    let found = rustix::fs::statvfs(path)
        .map_err(|error| NodeError::Devices(format!("{}: {error}", path.display())))?;
    let (total, available) = (
        found.f_blocks * found.f_frsize,
        found.f_bavail * found.f_frsize,
    );
    Ok((available + used_by_devices).saturating_sub(total / FREE_SHARE))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn devices_of_one_file_system_share_its_space() {
        let directory = tempfile::tempdir().expect("a directory");
        let device = |name: &str| DeviceSpace {
            listed: directory.path().to_owned(),
            file: directory.path().join(name),
        };
        let alone = shares(&[device("a")]).expect("a size")[0];
        let shared = shares(&[device("a"), device("b")]).expect("a size");
        assert_eq!(shared[0], shared[1]);
        // Others write to it meanwhile.
        assert!(
            shared[0] <= alone / 2 + alone / 20 && shared[0] > 0,
            "{shared:?} of {alone}"
        );
    }
}
