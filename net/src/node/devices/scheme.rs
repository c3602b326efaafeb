//! Setting the scheme of the layout: placement groups with as many slots as it has shards come beside those that are there, and then
//! the layout. New chunks are written so from then on, and repair writes again what is stored.
//!
//! Invariants: the groups that are there stay, since the ids of stored chunks name them; no group has two slots in one failure domain;
//! the layout changes last, so that whoever asks again after a crash ends what was begun.

use std::collections::BTreeSet;

use strata_raftlog::namespace::PlacementGroup;
use strata_raftlog::namespace::command::{AddGeometry, Command, SetLayout};

use super::{Serving, refused, set_group};
use crate::node::NodeError;
use crate::node::layout;
use crate::scheme::Scheme;

impl Serving {
    /// The commands that make a scheme that of the layout, and how many groups they add.
    pub(super) async fn commands_for(
        &self,
        scheme: Scheme,
        groups: &[PlacementGroup],
    ) -> Result<(Vec<Command>, usize), NodeError> {
        self.refuse_unless_whole("the layout is set")?;
        let now = self.scheme()?;
        if scheme == now {
            return Err(refused(&format!("{scheme} is the layout already")));
        }
        let members = self.members(None, groups).await;
        let domains: BTreeSet<usize> = members.iter().map(|member| member.domain).collect();
        self.refuse_unless_carried(scheme, domains.len())?;
        let wanted = layout::placement_groups(&members, scheme.shards());
        let added = self.groups_beside(wanted.into_iter(), groups)?;
        let count = added.len();
        let geometries = scheme.geometries().into_iter();
        let mut commands: Vec<Command> = geometries
            .map(|geometry| AddGeometry { geometry }.into())
            .collect();
        commands.extend(added.into_iter().map(set_group));
        let layout = scheme.layout();
        commands.push(SetLayout { layout }.into());
        Ok((commands, count))
    }

    /// Refuses a scheme of more shards than there are failure domains, and one that promises more than the log survives.
    fn refuse_unless_carried(&self, scheme: Scheme, domains: usize) -> Result<(), NodeError> {
        if domains < scheme.shards() {
            return Err(refused(&format!(
                "{scheme} needs {} disks, and the node has {domains}: add some first (`strata device add`)",
                scheme.shards()
            )));
        }
        let devices = self.devices.borrow();
        let mirrors = devices.first();
        let mirrors = mirrors.map_or(0, |device| device.superblock.log_mirrors.len());
        if layout::log_mirror_count(scheme) > mirrors {
            return Err(refused(&format!(
                "{scheme} survives the loss of {} disks, and the log of names, which has {mirrors} copies since the first start, \
                 does not",
                scheme.losses()
            )));
        }
        Ok(())
    }
}
