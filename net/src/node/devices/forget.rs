//! Forgetting a device: what is noted of one that was replaced or drained, and does not come back, is removed.
//!
//! Invariant: a device that is open, or has a slot of a placement group, now or formerly, is not forgotten; the command that forgets looks
//! at the slots again.

use strata_engine::Uuid;
use strata_raftlog::namespace::PlacementGroup;

use super::{Serving, has_slots, refused};
use crate::node::NodeError;

impl Serving {
    /// The device that is to be forgotten.
    pub(super) fn device_to_forget(
        &self,
        asked: &str,
        groups: &[PlacementGroup],
    ) -> Result<Uuid, NodeError> {
        let device = match self.noted_device(asked)? {
            Some(noted) => noted,
            None => self.known_device(asked, groups)?,
        };
        if has_slots(device, groups) {
            return Err(refused(&format!(
                "device {device} has slots of placement groups: drain it, or replace it where it is lost, before it is forgotten"
            )));
        }
        let mut former = groups.iter().flat_map(|group| &group.previous);
        if former.any(|slot| slot.device == device.0) {
            return Err(refused(&format!(
                "shards are still being moved away from device {device}: wait for that (`strata repair status`) before it is forgotten"
            )));
        }
        let devices = self.devices.borrow();
        if let Some(open) = devices.iter().find(|open| open.uuid() == device) {
            return Err(refused(&format!(
                "device {device} at {} is open: take it off storage.data_dir and restart before it is forgotten",
                open.path.display()
            )));
        }
        Ok(device)
    }

    /// The device with a uuid of which something is noted.
    fn noted_device(&self, asked: &str) -> Result<Option<Uuid>, NodeError> {
        let view = self.parts.namespace.view();
        let rows = view.and_then(|view| view.devices());
        let rows = rows.map_err(|error| NodeError::Metadata(error.to_string()))?;
        let mut noted = rows.iter().map(|row| Uuid(row.device));
        Ok(noted.find(|device| device.to_string() == asked))
    }
}
