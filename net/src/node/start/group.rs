//! Opens the log on the devices' log partitions and the namespace, and starts the Raft group on them.

use std::time::Duration;

use strata_engine::{Device, EngineError, PartitionKind, reactor};
use strata_raftlog::consensus::group::{Group, GroupConfig, Sender as GroupSender};
use strata_raftlog::consensus::log::{Log, LogError, LogPartition};
use strata_raftlog::namespace::store::{NamespaceStore, StoreOptions};

use crate::node::format::NodeDevice;
use crate::node::propose::Metadata;
use crate::node::status::NodeStatus;
use crate::node::{NodeConfig, NodeError};

/// A snapshot is due at the latest when the log since the last takes this share of its quota: log, the snapshot before and the
/// next one must fit together.
const LOG_SHARE_BEFORE_SNAPSHOT: u64 = 4;

/// Replays the log; from then on commands can be proposed through `metadata`. Returns the namespace, and how long it took where no
/// state of it was there that could be used: then it is made from snapshot and log.
///
/// # Errors
/// Those of opening the log, the namespace and the group, with the remedy where there is one.
pub(super) async fn start(
    config: &NodeConfig,
    status: &NodeStatus,
    devices: &[NodeDevice],
    metadata: &Metadata,
) -> Result<(NamespaceStore, Option<Duration>), NodeError> {
    let failed = |error: &dyn std::fmt::Display| NodeError::Metadata(error.to_string());
    let mut partitions = Vec::new();
    for device in devices {
        let opened = match Device::open(&device.path, device.options()).await {
            Ok(opened) => opened,
            Err(error @ EngineError::OtherFormat { .. }) => return Err(failed(&error)),
            Err(error) => {
                tracing::error!(path = %device.path.display(), %error, "the log goes on without a device that cannot be opened");
                continue;
            }
        };
        let logs = device.partitions_of(PartitionKind::Log).into_iter();
        partitions.extend(logs.map(|partition| LogPartition {
            device: opened.clone(),
            partition,
        }));
    }
    let options = StoreOptions {
        map_bytes: config.metadata_map_bytes,
    };
    let begun = reactor::now();
    let dir = config.metadata_dir.clone();
    // A helper thread reads and verifies one file while the core replays another.
    let opening = reactor::offload(move || NamespaceStore::open(&dir, options));
    let mut group_config =
        GroupConfig::new(0, config.node_id, devices[0].superblock.log_mirrors.len());
    let replaying = replay_log(partitions, group_config.mirrors);
    let (opened, replayed) = futures_util::future::join(opening, replaying).await;
    let (namespace, opened) = opened.map_err(|error| failed(&error))?;
    let log = replayed.map_err(|error| with_remedy(config, &error))?;
    let quota = devices
        .iter()
        .map(|device| device.log_quota_bytes())
        .min()
        .unwrap_or(0);
    group_config.snapshot_log_bytes = group_config
        .snapshot_log_bytes
        .min(quota / LOG_SHARE_BEFORE_SNAPSHOT);
    let group = Group::start(
        group_config,
        log,
        namespace.clone(),
        GroupSender::Unreachable,
    )
    .await;
    let group = group.map_err(|error| with_remedy(config, &error))?;
    group
        .lead()
        .await
        .map_err(|error| with_remedy(config, &error))?;
    status.set_group(group.statistics());
    metadata.set(group);
    Ok((namespace, opened.fresh.then(|| begun.elapsed())))
}

async fn replay_log(partitions: Vec<LogPartition>, mirrors: usize) -> Result<Log, LogError> {
    let begun = reactor::now();
    let (log, report) = Log::open(partitions, mirrors).await?;
    for remark in &report.remarks {
        tracing::warn!(%remark, "the log's mirrors");
    }
    tracing::info!(
        milliseconds = (reactor::now() - begun).as_millis() as u64,
        "the log was replayed"
    );
    Ok(log)
}

fn with_remedy(config: &NodeConfig, error: &dyn std::fmt::Display) -> NodeError {
    let place = config.metadata_dir.display();
    NodeError::Metadata(format!(
        "{error}. The metadata directory is {place}: check storage.data_dir and storage.metadata_dir"
    ))
}
