//! What the first lines of a start say about the node.

use strata_engine::Uuid;
use strata_raftlog::namespace::store::NamespaceStore;

use crate::node::format::NodeDevice;
use crate::node::status::NodeReport;
use crate::node::{NodeError, layout};

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
        layout: layout::describe(mirrors, known.len()),
        missing_devices: missing.map(Uuid::to_string).collect(),
        warnings,
        devices: devices
            .iter()
            .map(|device| format!("{} ({})", device.path.display(), device.uuid()))
            .collect(),
    })
}
