//! The commands of a start: the first of a cluster, and the end of this node's earlier writers.

use strata_engine::{PartitionKind, Uuid};
use strata_raftlog::namespace::command::{
    Answer, CloseWriter, Command, Initialise, OpenSession, Proposer,
};
use strata_raftlog::namespace::store::NamespaceStore;
use strata_raftlog::namespace::{PlacementGroup, Slot, SlotState};

use crate::node::discover::Discovery;
use crate::node::format::{self, NodeDevice};
use crate::node::propose::{Metadata, propose};
use crate::node::{NodeConfig, NodeError, layout};
use crate::scheme::Scheme;

/// The start itself as the owner of a session, where reactors have their index.
const START_OWNER: u64 = 0xffff;

/// Proposes the first command of a cluster where it has not been applied yet, and closes the writers of earlier starts.
///
/// # Errors
/// Metadata of another cluster, a first start that was interrupted and is not repeated whole, a command that was refused.
pub(super) async fn initialise(
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
            let scheme = format::scheme(config, discovery)?;
            refuse_half_formatted(scheme, devices, discovery)?;
            let command = first_command(config, scheme, devices, discovery);
            propose_now(metadata, command, Proposer::SESSIONLESS).await?;
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
    propose_in_session(config, metadata, dead_writers(config, namespace)?).await
}

/// Until the first command is committed the devices alone say what layout was chosen: with some of them missing, another
/// one would be written down for good.
fn refuse_half_formatted(
    scheme: Scheme,
    devices: &[NodeDevice],
    discovery: &Discovery,
) -> Result<(), NodeError> {
    let planned = &devices[0].superblock.log_mirrors;
    let there = |uuid: &Uuid| devices.iter().any(|device| device.uuid() == *uuid);
    let as_planned = planned.len() == layout::log_mirror_count(scheme);
    if discovery.missing.is_empty() && planned.iter().all(there) && as_planned {
        return Ok(());
    }
    let made: Vec<String> = devices
        .iter()
        .map(|device| device.path.display().to_string())
        .collect();
    Err(NodeError::Devices(format!(
        "the first start was interrupted before anything was stored, and the devices that it formatted are not all listed \
         now, or another scheme is configured. List them all and configure what was; or, to begin anew, delete {}",
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

/// Proposes commands one after the other in a session of the node itself.
///
/// # Errors
/// A command that was refused or could not be committed.
pub(in crate::node) async fn propose_in_session(
    config: &NodeConfig,
    metadata: &Metadata,
    commands: Vec<Command>,
) -> Result<(), NodeError> {
    if commands.is_empty() {
        return Ok(());
    }
    let owner = config.node_id << 16 | START_OWNER;
    let session = match propose_now(
        metadata,
        OpenSession { owner }.into(),
        Proposer::SESSIONLESS,
    )
    .await?
    {
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

fn first_command(
    config: &NodeConfig,
    scheme: Scheme,
    devices: &[NodeDevice],
    discovery: &Discovery,
) -> Command {
    let domain_of = |uuid: Uuid| {
        discovery
            .candidates
            .iter()
            .zip(devices)
            .find(|(_, device)| device.uuid() == uuid)
            .map_or(0, |(candidate, _)| candidate.domain)
    };
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
    let groups = layout::placement_groups(&candidates, scheme.shards());
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
    Initialise {
        cluster: devices[0].superblock.cluster.0,
        incarnation: devices[0].superblock.incarnation,
        layout: scheme.layout(),
        geometries: scheme.geometries(),
        placement_groups: rows.collect(),
        root_key: config.first_root_key.clone(),
    }
    .into()
}
