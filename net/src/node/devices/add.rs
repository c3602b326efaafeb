//! Adding a device: it leads placement groups of its own, to which its core's new chunks go in turn with those that other devices of the
//! core lead, and gets its part of the slots of the groups that are there, with what is stored in them.
//!
//! Invariants: no group has two slots in one failure domain; it may become a mirror of the log at a later start, when one is lacking
//! and its failure domain has none.

use std::path::Path;

use strata_engine::Uuid;
use strata_raftlog::namespace::PlacementGroup;

use super::rebalance::rebalanced;
use super::{Serving, refused};
use crate::node::NodeError;
use crate::node::discover::Look;
use crate::node::failure_domain::FailureDomain;
use crate::node::layout;

impl Serving {
    /// The new device, open, with the groups that it is to lead and does not yet, and those that give it a slot.
    pub(super) async fn device_beside(
        &self,
        listed: &Path,
        look: Look,
        groups: &[PlacementGroup],
    ) -> Result<(Uuid, Vec<PlacementGroup>), NodeError> {
        self.refuse_unless_whole("others are added")?;
        let mirror = self.mirror_to_stand_in_for(&look.domain).await;
        let device = self.device_at(listed, look, groups, mirror).await?;
        let members = self.members(Some(device), groups).await;
        let wanted = layout::placement_groups(&members, self.scheme()?.shards()).into_iter();
        let led = wanted.filter(|group| group[0].device == device);
        let added = self.groups_beside(led, groups)?;
        let moved = rebalanced(groups, &members, &self.capacities(), |to| {
            to.device == device
        });
        if added.is_empty() && moved.is_empty() {
            return Err(refused(&format!(
                "device {device} has its slots in placement groups already"
            )));
        }
        Ok((device, [added, moved].concat()))
    }

    /// A mirror of the log that a device of a domain may take the place of, when it is lost or taken out: none where the domain has
    /// a mirror already.
    pub(super) async fn mirror_to_stand_in_for(&self, domain: &FailureDomain) -> Option<Uuid> {
        let mirrors = self.log_mirrors();
        let domains = self.domains().await;
        let mut of_mirrors = domains.iter().filter(|(uuid, ..)| mirrors.contains(uuid));
        if of_mirrors.any(|(_, _, of_mirror)| of_mirror.shares_fate_with(domain)) {
            return None;
        }
        let devices = self.devices.borrow();
        // The new device is formatted like the first one.
        let planned = &devices.first()?.superblock.log_mirrors;
        let lost = planned.iter().find(|mirror| !mirrors.contains(mirror));
        lost.or(planned.last()).copied()
    }
}
