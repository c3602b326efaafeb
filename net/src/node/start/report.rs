//! What the first lines of a start say about the node.

use strata_engine::Uuid;
use strata_raftlog::namespace::PlacementGroup;
use strata_raftlog::namespace::store::NamespaceStore;

use crate::message::Place;
use crate::node::NodeError;
use crate::node::format::NodeDevice;
use crate::node::status::NodeReport;

/// The slots of every placement group.
///
/// # Errors
/// A namespace that cannot be read.
pub(super) fn placement_groups(namespace: &NamespaceStore) -> Result<Vec<Vec<Place>>, NodeError> {
    let rows = namespace.view().and_then(|view| view.placement_groups());
    let rows = rows.map_err(|error| NodeError::Metadata(error.to_string()))?;
    let slots = |group: &PlacementGroup| {
        let slots = group.slots.iter();
        slots
            .map(|slot| Place {
                device: Uuid(slot.device),
                partition: slot.partition,
            })
            .collect()
    };
    Ok(rows.iter().map(slots).collect())
}

/// Puts the report of a start together.
///
/// # Errors
/// A namespace that cannot be read.
pub(super) fn report(
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
        mirrors,
        device_count: known.len(),
        namespace_rebuilt: None,
        missing_devices: missing.map(Uuid::to_string).collect(),
        warnings,
        devices: devices
            .iter()
            .map(|device| format!("{} ({})", device.path.display(), device.uuid()))
            .collect(),
    })
}
