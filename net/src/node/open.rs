//! Opens the data partitions that a reactor owns, each with its own handle on the device.

use std::path::PathBuf;

use strata_engine::{ChunkStore, Device, DeviceOptions, EngineError, Uuid};

use super::Partition;
use super::staleness::NewestEpochs;
use super::status::LostPartition;
use super::store::LocalStores;
use crate::error::ClusterError;
use crate::message::Place;

/// The partitions that one reactor is to open.
#[derive(Debug, Clone, Default)]
pub struct OpenRequest {
    /// Each device with its path, its capacity in bytes, and the partitions of it.
    pub devices: Vec<DeviceShare>,
}

/// A reactor's share of a device.
#[derive(Debug, Clone)]
pub struct DeviceShare {
    /// The device.
    pub device: Uuid,
    /// Its file.
    pub path: PathBuf,
    /// How it is opened.
    pub options: DeviceOptions,
    /// The partitions of this reactor.
    pub partitions: Vec<u16>,
    /// How many shards each of them may hold.
    pub shards_max: usize,
    /// How many bytes of its index each of them may hold in memory beside the inner pages.
    pub leaf_bytes: u64,
}

/// What came of opening.
#[derive(Debug, Default)]
pub struct OpenReport {
    /// The partitions that are open.
    pub opened: Vec<(Place, Partition)>,
    /// The partitions that could not be opened.
    pub lost: Vec<LostPartition>,
    /// What was damaged in the partitions that are open.
    pub damaged: Vec<(Place, Vec<String>)>,
    /// What the shards of each device say of the log.
    pub epochs: Vec<NewestEpochs>,
    /// What was found wrong and reported.
    pub warnings: Vec<String>,
}

/// Opens every partition of the request and recovers it. A partition that cannot be opened is reported and left out: its
/// other copies serve.
pub(super) async fn open_partitions(
    local: &LocalStores,
    request: OpenRequest,
) -> Result<OpenReport, ClusterError> {
    let mut report = OpenReport::default();
    for share in request.devices {
        let device = Device::open(&share.path, share.options).await;
        if let Err(error @ EngineError::OtherFormat { .. }) = device {
            return Err(error.into());
        }
        for partition in share.partitions {
            let place = Place {
                device: share.device,
                partition,
            };
            let opened = match &device {
                Ok(device) => ChunkStore::open(device, partition).await,
                Err(error) => Err(EngineError::Unavailable(error.to_string())),
            };
            match opened {
                Ok((store, recovery)) => {
                    store.limit_index(share.shards_max, share.leaf_bytes);
                    if recovery.torn_tail {
                        tracing::info!(
                            path = %share.path.display(),
                            partition,
                            "what was being written when the last run ended was torn; it was never acknowledged and is cut"
                        );
                    }
                    if !recovery.damage.is_empty() {
                        for damage in &recovery.damage {
                            tracing::warn!(%damage, "damage was found on a device");
                        }
                        report.warnings.extend(recovery.damage.iter().cloned());
                        report.damaged.push((place, recovery.damage));
                    }
                    for damage in &recovery.mended {
                        tracing::warn!(%damage, "damage was found on a device and has cost nothing");
                    }
                    report.warnings.extend(recovery.mended);
                    report.epochs.push(NewestEpochs {
                        path: share.path.clone(),
                        by_writer: store.newest_epochs(),
                    });
                    report.opened.push((place, Partition::of(&store)));
                    local.insert(place, store);
                }
                // The start is refused: what a newer version has stored would be missing without a word.
                Err(error @ EngineError::OtherFormat { .. }) => {
                    return Err(ClusterError::Unavailable(format!(
                        "{} partition {partition}: {error}",
                        share.path.display()
                    )));
                }
                Err(error) => {
                    let path = share.path.display();
                    tracing::error!(%path, partition, %error, "a data partition is out of service");
                    report.lost.push(LostPartition {
                        place,
                        why: format!("{path}: {error}"),
                    });
                }
            }
        }
    }
    Ok(report)
}
