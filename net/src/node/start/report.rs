//! What the first lines of a start say about the node.

use strata_engine::Uuid;
use strata_raftlog::namespace::PlacementGroup;
use strata_raftlog::namespace::store::NamespaceStore;

use crate::message::Place;
use crate::node::format::NodeDevice;
use crate::node::status::{NodeLayout, NodeReport};
use crate::node::{NodeConfig, NodeError};
use crate::scheme::Scheme;

/// What the node is to be when every device is there.
///
/// # Errors
/// A namespace that cannot be read, and a layout that this version does not know.
pub(in crate::node) fn layout(
    config: &NodeConfig,
    namespace: &NamespaceStore,
    devices: &[NodeDevice],
) -> Result<NodeLayout, NodeError> {
    let read = namespace
        .view()
        .and_then(|view| Ok((view.layout()?, view.placement_groups()?)));
    let (row, groups) = read.map_err(|error| NodeError::Metadata(error.to_string()))?;
    let scheme = row.as_ref().and_then(Scheme::of_layout).ok_or_else(|| {
        NodeError::Metadata(format!(
            "the namespace holds a layout that this version does not know: {row:?}"
        ))
    })?;
    Ok(NodeLayout {
        scheme,
        groups: groups.iter().map(slots_of).collect(),
        degraded_writes: config.degraded_writes,
        log_mirrors: devices[0].superblock.log_mirrors.len(),
    })
}

fn slots_of(group: &PlacementGroup) -> Vec<Place> {
    group.slots.iter().map(Place::of_slot).collect()
}

/// Puts the report of a start together.
pub(super) fn report(
    config: &NodeConfig,
    layout: &NodeLayout,
    devices: &[NodeDevice],
    first_start: bool,
    mut warnings: Vec<String>,
) -> NodeReport {
    let slots = layout.groups.iter().flatten();
    let mut known: Vec<Uuid> = slots.map(|place| place.device).collect();
    known.sort_unstable();
    known.dedup();
    let missing = known
        .iter()
        .filter(|uuid| devices.iter().all(|device| device.uuid() != **uuid));
    if let Some(wanted) = config.scheme.filter(|wanted| *wanted != layout.scheme) {
        warnings.push(format!(
            "erasure_coding asks for {wanted}, which counts for the first start only: this node has {} (`strata layout set` changes it)",
            layout.scheme
        ));
    }
    NodeReport {
        first_start,
        cluster: devices[0].superblock.cluster.to_string(),
        device_count: known.len(),
        namespace_rebuilt: None,
        missing_devices: missing.map(Uuid::to_string).collect(),
        warnings,
        devices: devices
            .iter()
            .map(|device| format!("{} ({})", device.path.display(), device.uuid()))
            .collect(),
    }
}
