//! Brings a node up and down: devices, log, namespace, stores, then the front ends; and back in the reverse order.
//!
//! Invariants: nothing is served before the log is replayed and an entry of this start's term is applied; what was begun by a
//! failed start is ended before the error is returned.

mod group;
mod initialise;
mod partitions;
mod report;

use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::AtomicU64;

use strata_engine::reactor::{self, Receiver, Sender, TaskClass};
use strata_raftlog::consensus::group::{Group, GroupError};

use super::capacity;
use super::devices::{DeviceChanges, DeviceSet};
use super::discover;
use super::format::{self, NodeDevice};
use super::propose::Metadata;
use super::readers::Readers;
use super::repair::Redundancy;
use super::serve::{MetadataCore, serve_mailbox, serve_until_stopped};
use super::staleness;
use super::status::{NodeStatus, Phase};
use super::{ClusterParts, NodeConfig, NodeError, Serve, local_stores};
use crate::message::NodeRequest;

pub(super) use initialise::propose_in_session as change_layout;
pub use partitions::SHARDS_MAX;
pub(super) use partitions::share_out;
pub(super) use report::layout as layout_of;

/// Runs reactor 0: the coordinator of the start, the metadata core, and a reactor like the others.
pub(super) async fn run_metadata_core(
    config: NodeConfig,
    status: Arc<NodeStatus>,
    peers: Vec<Sender<NodeRequest>>,
    mailbox: Receiver<NodeRequest>,
    serve: impl Serve,
) -> Result<(), NodeError> {
    let local = local_stores(config.cache_bytes, &status);
    let metadata = Rc::new(Metadata::default());
    // It holds the devices with the locks that keep other servers off them, until everything has stopped.
    let devices_served = Rc::new(DeviceSet::new());
    let core = MetadataCore {
        metadata: metadata.clone(),
        devices: devices_served.clone(),
    };
    let answering = reactor::spawn(
        TaskClass::Foreground,
        serve_mailbox(local, mailbox, Some(core), serve),
    );
    let outcome = match bring_up(&config, &status, &peers, &metadata).await {
        Ok((parts, devices)) => {
            let following = capacity::follow(&config, &devices);
            devices_served.serve(&config, parts.clone(), devices);
            status.set_device_changes(DeviceChanges(peers[0].clone()));
            let served = serve_until_stopped(&status, &peers, parts).await;
            drop(following);
            served
        }
        Err(error) => {
            status.enter(Phase::Failed(error.to_string()));
            Err(error)
        }
    };
    for peer in peers.iter().rev() {
        let (reply, stopped) = reactor::oneshot();
        if peer.send(NodeRequest::Stop(reply)).await.is_ok() {
            let _ = stopped.await;
        }
    }
    answering.await;
    let group = metadata.take();
    if let Some(Err(error)) = stop(group).await {
        tracing::error!(%error, "the metadata group did not stop clean; the next start replays its log");
    }
    outcome
}

async fn stop(group: Option<Group>) -> Option<Result<(), GroupError>> {
    Some(group?.stop().await)
}

async fn bring_up(
    config: &NodeConfig,
    status: &Arc<NodeStatus>,
    peers: &[Sender<NodeRequest>],
    metadata: &Metadata,
) -> Result<(Arc<ClusterParts>, Vec<NodeDevice>), NodeError> {
    status.enter(Phase::Starting("looking for devices".to_owned()));
    let discovery = discover::discover(config).await?;
    let (devices, first_start) = (
        format::prepare(config, &discovery).await?,
        discovery.first_start,
    );
    for device in &devices {
        let name = device.path.display().to_string();
        status.add_device(device.uuid(), name, device.health());
    }
    // Neither needs the other, and a cold start waits for the disk most of the time.
    status.enter(Phase::Starting(
        "recovering the data partitions and replaying the log".to_owned(),
    ));
    let recovering = partitions::recover(config, status, peers, &devices);
    let replaying = group::start(config, status, &devices, metadata);
    let (recovered, namespace) = futures_util::future::join(recovering, replaying).await;
    let (recovered, (namespace, rebuilt)) = (recovered?, namespace?);
    staleness::refuse_stale_log(&namespace, &recovered.epochs)?;
    initialise::initialise(config, metadata, &namespace, &devices, &discovery).await?;
    let missing = discovery.missing.iter();
    let missing = missing.map(|why| format!("{why}: its device counts as missing"));
    let warnings = recovered.warnings.into_iter().chain(missing).collect();
    let layout = report::layout(config, &namespace, &devices)?;
    let mut report = report::report(config, &layout, &devices, first_start, warnings);
    discovery.refuse_superfluous(report.missing_devices.len())?;
    status.set_layout(layout);
    report.namespace_rebuilt = rebuilt.filter(|_| !first_start);
    status.set_report(report);
    let redundancy = Arc::new(Redundancy::new(peers.len()));
    status.set_redundancy(redundancy.clone());
    let parts = ClusterParts {
        node_id: config.node_id,
        peers: peers.to_vec(),
        partitions: recovered.partitions.into(),
        namespace,
        readers: Readers::new(peers.len()),
        redundancy,
        degraded_writes: config.degraded_writes,
        pack_after: config.pack_after,
        metadata_dir: config.metadata_dir.clone(),
        status: status.clone(),
        layout_changes: AtomicU64::new(0),
    };
    Ok((Arc::new(parts), devices))
}
