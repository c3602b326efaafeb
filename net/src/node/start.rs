//! Brings a node up and down: devices, log, namespace, stores, then the front ends; and back in the reverse order.
//!
//! Invariants: nothing is served before the log is replayed and an entry of this start's term is applied; what was begun by a
//! failed start is ended before the error is returned.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::rc::Rc;
use std::sync::Arc;

use strata_engine::reactor::{self, OneSender, Receiver, Sender, TaskClass};
use strata_engine::{Device, PartitionKind, Uuid};
use strata_raftlog::consensus::group::{
    Group, GroupConfig, GroupError, ProposeError, Sender as GroupSender,
};
use strata_raftlog::consensus::log::LogPartition;
use strata_raftlog::namespace::command::{
    Answer, CloseWriter, Command, Envelope, FEATURE_LEVEL, Initialise, OpenSession, SetRootKey,
};
use strata_raftlog::namespace::store::{NamespaceStore, StoreOptions};
use strata_raftlog::namespace::{
    Geometry, GeometryCode, Layout, LayoutKind, PlacementGroup, Slot, SlotState,
};

use super::discover::{self, Discovery};
use super::open::{DeviceShare, OpenRequest};
use super::readers::Readers;
use super::status::{NodeReport, NodeStatus, Phase};
use super::{ClusterParts, NodeConfig, NodeError, Serve, answer, layout, serve_mailbox};
use crate::cluster::write::CELL_BYTES;
use crate::error::ClusterError;
use crate::message::{NodeRequest, Place, Proposer};
use crate::node::format::{self, NodeDevice};

/// The proposer of the few commands that need no session.
const SESSIONLESS: Proposer = Proposer {
    session: 0,
    sequence: 0,
    lowest_unanswered: 0,
};

/// Shards that the node may hold. The index is resident and takes about 100 bytes for each.
const SHARDS_MAX: usize = 10_000_000;

/// The start itself as the owner of a session, where reactors have their index.
const START_OWNER: u64 = 0xffff;

/// A snapshot is due at the latest when the log since the last takes this share of its quota: log, the snapshot before and the
/// next one must fit together.
const LOG_SHARE_BEFORE_SNAPSHOT: u64 = 4;

/// The Raft group, on the metadata core, once it is up.
#[derive(Default)]
pub struct Metadata {
    group: RefCell<Option<Group>>,
}

/// Runs reactor 0: the coordinator of the start, the metadata core, and a reactor like the others.
pub(super) async fn run_metadata_core(
    config: NodeConfig,
    status: Arc<NodeStatus>,
    peers: Vec<Sender<NodeRequest>>,
    mailbox: Receiver<NodeRequest>,
    serve: impl Serve,
) -> Result<(), NodeError> {
    let metadata = Rc::new(Metadata::default());
    let answering = reactor::spawn(
        TaskClass::Foreground,
        serve_mailbox(mailbox, Some(metadata.clone()), serve),
    );
    // The devices hold the locks that keep other servers off them: they live until everything has stopped.
    let (outcome, _devices) = match bring_up(&config, &status, &peers, &metadata).await {
        Ok((parts, devices)) => {
            serve_until_stopped(&status, &peers, parts).await;
            (Ok(()), devices)
        }
        Err(error) => {
            status.enter(Phase::Failed(error.to_string()));
            (Err(error), Vec::new())
        }
    };
    for peer in peers.iter().rev() {
        let (reply, stopped) = reactor::oneshot();
        if peer.send(NodeRequest::Stop(reply)).await.is_ok() {
            let _ = stopped.await;
        }
    }
    answering.await;
    let group = metadata.group.borrow_mut().take();
    if let Some(Err(error)) = stop(group).await {
        tracing::error!(%error, "the metadata group did not stop clean; the next start replays its log");
    }
    outcome
}

async fn stop(group: Option<Group>) -> Option<Result<(), GroupError>> {
    Some(group?.stop().await)
}

async fn serve_until_stopped(
    status: &Arc<NodeStatus>,
    peers: &[Sender<NodeRequest>],
    parts: Arc<ClusterParts>,
) {
    status.enter(Phase::Starting("opening the front ends".to_owned()));
    let mut ended = Vec::new();
    for peer in peers {
        let (reply, done) = reactor::oneshot();
        if peer
            .send(NodeRequest::Serve(parts.clone(), reply))
            .await
            .is_ok()
        {
            ended.push(done);
        }
    }
    for done in ended {
        let _ = done.await;
    }
    status.enter(Phase::Stopping);
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
        status.add_device(device.path.display().to_string(), device.health());
    }
    // Neither needs the other, and a cold start waits for the disk most of the time.
    status.enter(Phase::Starting(
        "recovering the data partitions and replaying the log".to_owned(),
    ));
    let recovering = recover_partitions(config, status, peers, &devices);
    let replaying = start_group(config, status, &devices, metadata);
    let (recovered, namespace) = futures_util::future::join(recovering, replaying).await;
    let ((owners, warnings), namespace) = (recovered?, namespace?);
    initialise(config, metadata, &namespace, &devices, &discovery).await?;
    let missing = discovery.missing.iter();
    let missing = missing.map(|why| format!("{why}: its device counts as missing"));
    let warnings = warnings.into_iter().chain(missing).collect();
    let report = report(&namespace, &devices, first_start, warnings)?;
    status.set_report(report);
    let parts = ClusterParts {
        node_id: config.node_id,
        peers: peers.to_vec(),
        owners,
        namespace,
        readers: Readers::new(peers.len()),
        status: status.clone(),
    };
    Ok((Arc::new(parts), devices))
}

/// A partition's share of the shards that a node may hold.
fn shards_max(devices: &[NodeDevice]) -> usize {
    let partitions: usize = devices
        .iter()
        .map(|device| device.partitions_of(PartitionKind::Data).len())
        .sum();
    SHARDS_MAX / partitions.max(1)
}

async fn recover_partitions(
    config: &NodeConfig,
    status: &NodeStatus,
    peers: &[Sender<NodeRequest>],
    devices: &[NodeDevice],
) -> Result<(BTreeMap<Place, usize>, Vec<String>), NodeError> {
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
) -> Result<(BTreeMap<Place, usize>, Vec<String>), NodeError> {
    let mut requests = vec![OpenRequest::default(); config.cores.len()];
    let shards_max = shards_max(devices);
    let mut turn = 0;
    for device in devices {
        let mut shares: BTreeMap<usize, Vec<u16>> = BTreeMap::new();
        for partition in device.partitions_of(PartitionKind::Data) {
            shares
                .entry(turn % requests.len())
                .or_default()
                .push(partition);
            turn += 1;
        }
        for (reactor, partitions) in shares {
            let (device_id, path, options) = (device.uuid(), device.path.clone(), device.options());
            requests[reactor].devices.push(DeviceShare {
                device: device_id,
                path,
                options,
                partitions,
                shards_max,
            });
        }
    }
    let mut answers = Vec::new();
    for (peer, request) in peers.iter().zip(requests) {
        let (reply, answer) = reactor::oneshot();
        let sent = peer.send(NodeRequest::Open(request, reply)).await;
        sent.map_err(|_| NodeError::Thread("a reactor ended while it started".to_owned()))?;
        answers.push(answer);
    }
    let (mut owners, mut warnings) = (BTreeMap::new(), Vec::new());
    for (reactor, answer) in answers.into_iter().enumerate() {
        let opened = answer
            .await
            .map_err(|_| NodeError::Thread("a reactor ended while it started".to_owned()))?;
        let opened = opened.map_err(|error| NodeError::Devices(error.to_string()))?;
        for (place, statistics) in opened.opened {
            status.add_partition(format!("{}/{}", place.device, place.partition), statistics);
            owners.insert(place, reactor);
        }
        warnings.extend(opened.warnings);
    }
    Ok((owners, warnings))
}

async fn start_group(
    config: &NodeConfig,
    status: &NodeStatus,
    devices: &[NodeDevice],
    metadata: &Metadata,
) -> Result<NamespaceStore, NodeError> {
    let failed = |error: &dyn std::fmt::Display| NodeError::Metadata(error.to_string());
    let mut partitions = Vec::new();
    for device in devices {
        let opened = Device::open(&device.path, device.options())
            .await
            .map_err(|error| failed(&error))?;
        let logs = device.partitions_of(PartitionKind::Log).into_iter();
        partitions.extend(logs.map(|partition| LogPartition {
            device: opened.clone(),
            partition,
        }));
    }
    let options = StoreOptions {
        map_bytes: config.metadata_map_bytes,
    };
    let (namespace, _) =
        NamespaceStore::open(&config.metadata_dir, options).map_err(|error| failed(&error))?;
    let mut group_config =
        GroupConfig::new(0, config.node_id, devices[0].superblock.log_mirrors.len());
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
        partitions,
        namespace.clone(),
        GroupSender::Unreachable,
    )
    .await;
    let group = group.map_err(|error| {
        let place = config.metadata_dir.display();
        NodeError::Metadata(format!(
            "{error}. The metadata directory is {place}: check storage.data_dir and storage.metadata_dir"
        ))
    })?;
    for remark in &group.log_report().remarks {
        tracing::warn!(%remark, "the log's mirrors");
    }
    status.set_group(group.statistics());
    *metadata.group.borrow_mut() = Some(group);
    Ok(namespace)
}

/// Proposes the first command of a cluster where it has not been applied yet, and new root credentials where they are asked for.
async fn initialise(
    config: &NodeConfig,
    metadata: &Metadata,
    namespace: &NamespaceStore,
    devices: &[NodeDevice],
    discovery: &Discovery,
) -> Result<(), NodeError> {
    let view = |error: &dyn std::fmt::Display| NodeError::Metadata(error.to_string());
    let initialised = namespace
        .view()
        .and_then(|view| view.cluster())
        .map_err(|error| view(&error))?;
    match initialised {
        None => {
            refuse_half_formatted(devices, discovery)?;
            let command = first_command(config, devices, discovery);
            propose_now(metadata, command, SESSIONLESS).await?;
        }
        Some(identity) if Uuid(identity.cluster) != devices[0].superblock.cluster => {
            return Err(NodeError::Metadata(format!(
                "{} holds the metadata of cluster {}, the devices belong to {}: check storage.metadata_dir",
                config.metadata_dir.display(),
                Uuid(identity.cluster),
                devices[0].superblock.cluster
            )));
        }
        Some(_) => {}
    }
    let mut changes = Vec::new();
    if let Some(key) = &config.replace_root_key {
        changes.push(SetRootKey { key: key.clone() }.into());
    }
    changes.extend(dead_writers(config, namespace)?);
    propose_in_session(config, metadata, changes).await
}

/// Until the first command is committed the devices alone say what layout was chosen: with some of them missing, another
/// one would be written down for good.
fn refuse_half_formatted(devices: &[NodeDevice], discovery: &Discovery) -> Result<(), NodeError> {
    let planned = &devices[0].superblock.log_mirrors;
    let there = |uuid: &Uuid| devices.iter().any(|device| device.uuid() == *uuid);
    if planned.iter().all(there) && planned.len() == usize::from(format::mirrors(discovery)) + 1 {
        return Ok(());
    }
    let made: Vec<String> = devices
        .iter()
        .map(|device| device.path.display().to_string())
        .collect();
    Err(NodeError::Devices(format!(
        "the first start was interrupted before anything was stored, and the devices that it formatted are not all listed \
         now. List them all; or, to begin anew, delete {}",
        made.join(", ")
    )))
}

/// The writers of this node's earlier starts are dead: their allocation epochs are closed for them.
fn dead_writers(
    config: &NodeConfig,
    namespace: &NamespaceStore,
) -> Result<Vec<Command>, NodeError> {
    let writers = namespace
        .view()
        .and_then(|view| view.writers())
        .map_err(|error| NodeError::Metadata(error.to_string()))?;
    let dead = writers
        .iter()
        .filter(|writer| writer.node == config.node_id && writer.open);
    Ok(dead
        .map(|writer| {
            CloseWriter {
                writer: writer.number,
            }
            .into()
        })
        .collect())
}

/// Proposes commands one after the other in a session of the start itself.
async fn propose_in_session(
    config: &NodeConfig,
    metadata: &Metadata,
    commands: Vec<Command>,
) -> Result<(), NodeError> {
    if commands.is_empty() {
        return Ok(());
    }
    let owner = config.node_id << 16 | START_OWNER;
    let session = match propose_now(metadata, OpenSession { owner }.into(), SESSIONLESS).await? {
        Answer::Session(session) => session,
        other => {
            return Err(NodeError::Metadata(format!(
                "OpenSession was answered with {other:?}"
            )));
        }
    };
    for (command, sequence) in commands.into_iter().zip(1..) {
        let proposer = Proposer {
            session,
            sequence,
            lowest_unanswered: sequence,
        };
        propose_now(metadata, command, proposer).await?;
    }
    Ok(())
}

fn first_command(config: &NodeConfig, devices: &[NodeDevice], discovery: &Discovery) -> Command {
    let domain_of = |uuid: Uuid| {
        discovery
            .candidates
            .iter()
            .zip(devices)
            .find(|(_, device)| device.uuid() == uuid)
            .map_or(0, |(candidate, _)| candidate.domain)
    };
    let mirrors = format::mirrors(discovery);
    let candidates: Vec<layout::Candidate<Uuid>> = devices
        .iter()
        .flat_map(|device| {
            let domain = domain_of(device.uuid());
            let partitions = device.partitions_of(PartitionKind::Data).into_iter();
            partitions.map(move |partition| layout::Candidate {
                device: device.uuid(),
                partition,
                domain,
            })
        })
        .collect();
    let pool = devices[0].superblock.pool.0;
    let groups = layout::placement_groups(&candidates, mirrors);
    let rows = groups
        .iter()
        .enumerate()
        .map(|(number, members)| PlacementGroup {
            number: number as u32,
            epoch: 1,
            pool,
            slots: members
                .iter()
                .map(|member| Slot {
                    device: member.device.0,
                    partition: member.partition,
                    state: SlotState::Member,
                })
                .collect(),
            previous: Vec::new(),
        });
    let kind = if mirrors == 0 {
        LayoutKind::Single
    } else {
        LayoutKind::Mirrored
    };
    let geometries = (1..=3u8).map(|copies| Geometry {
        number: u16::from(copies),
        code: GeometryCode::Copies,
        k: 1,
        m: copies - 1,
        cell_bytes: CELL_BYTES as u32,
    });
    Initialise {
        cluster: devices[0].superblock.cluster.0,
        incarnation: devices[0].superblock.incarnation,
        layout: Layout {
            kind,
            k: 1,
            m: mirrors,
            geometry: u16::from(mirrors) + 1,
        },
        geometries: geometries.collect(),
        placement_groups: rows.collect(),
        root_key: config.first_root_key.clone(),
    }
    .into()
}

fn report(
    namespace: &NamespaceStore,
    devices: &[NodeDevice],
    first_start: bool,
    warnings: Vec<String>,
) -> Result<NodeReport, NodeError> {
    let read = namespace
        .view()
        .and_then(|view| Ok((view.layout()?, view.placement_groups()?)));
    let (layout_row, groups) = read.map_err(|error| NodeError::Metadata(error.to_string()))?;
    let mut known: Vec<Uuid> = groups
        .iter()
        .flat_map(|group| group.slots.iter().map(|slot| Uuid(slot.device)))
        .collect();
    known.sort_unstable();
    known.dedup();
    let missing = known
        .iter()
        .filter(|uuid| devices.iter().all(|device| device.uuid() != **uuid));
    let mirrors = layout_row.map_or(0, |row| row.m);
    Ok(NodeReport {
        first_start,
        cluster: devices[0].superblock.cluster.to_string(),
        layout: layout::describe(mirrors, known.len()),
        missing_devices: missing.map(Uuid::to_string).collect(),
        warnings,
        devices: devices
            .iter()
            .map(|device| format!("{} ({})", device.path.display(), device.uuid()))
            .collect(),
    })
}

async fn propose_now(
    metadata: &Metadata,
    command: Command,
    proposer: Proposer,
) -> Result<Answer, NodeError> {
    let name = command.name();
    match propose(metadata, command, proposer).await {
        Ok(Answer::Refused(refusal)) => Err(NodeError::Metadata(format!(
            "{name} was refused: {refusal}"
        ))),
        Ok(answer) => Ok(answer),
        Err(error) => Err(NodeError::Metadata(format!(
            "{name} could not be committed: {error}"
        ))),
    }
}

/// Proposes in a task of its own, so that the mailbox goes on.
pub(super) fn propose_in_task(
    metadata: Option<Rc<Metadata>>,
    command: Command,
    proposer: Proposer,
    reply: OneSender<Result<Answer, ClusterError>>,
) {
    let Some(metadata) = metadata else {
        answer(
            reply,
            Err(ClusterError::Bug(
                "a command was sent to a reactor that is not the metadata core".to_owned(),
            )),
        );
        return;
    };
    let work = async move { answer(reply, propose(&metadata, command, proposer).await) };
    reactor::spawn(TaskClass::Foreground, work).detach();
}

async fn propose(
    metadata: &Metadata,
    command: Command,
    proposer: Proposer,
) -> Result<Answer, ClusterError> {
    let group = metadata.group.borrow().clone();
    let group = group
        .ok_or_else(|| ClusterError::Unavailable("the metadata group is not up".to_owned()))?;
    let envelope = Envelope {
        group: 0,
        feature_level: FEATURE_LEVEL,
        session: proposer.session,
        sequence: proposer.sequence,
        lowest_unanswered: proposer.lowest_unanswered,
        time_micros: 0,
        command,
    };
    let bytes = envelope
        .encode()
        .map_err(|error| ClusterError::Bug(error.to_string()))?;
    group.propose(bytes).await.map_err(|error| match error {
        ProposeError::Busy => {
            ClusterError::Busy("too many changes of names are under way".to_owned())
        }
        ProposeError::Full(what) => ClusterError::Full(what),
        ProposeError::Invalid(what) => ClusterError::Invalid(what),
        other => ClusterError::Unavailable(other.to_string()),
    })
}
