//! The layout a node is formatted with, and the placement groups that follow from a scheme.
//!
//! Invariants: the layout is chosen when the node is formatted, as the strongest that its failure domains carry unless one is
//! configured, and is replicated state from then on; no placement group has two slots in one failure domain.

use strata_engine::format::superblock::LOG_MIRROR_COUNT_MAX;
use strata_raftlog::consensus::group::PROPOSAL_BYTES_MAX;

use crate::scheme::Scheme;

/// Placement groups take no more bytes than this in the first command, which is one proposal; there are fewer rotations where they
/// would.
const GROUPS_BYTES_MAX: usize = PROPOSAL_BYTES_MAX / 2;
const GROUP_BYTES: usize = 40;
const SLOT_BYTES: usize = 20;

/// Says in one line what was chosen and what it survives now that some devices are lost. Those that share a disk count each: it
/// may survive more.
pub fn describe(scheme: Scheme, device_count: usize, lost: usize) -> String {
    let devices = if device_count == 1 {
        "1 device".to_owned()
    } else {
        format!("{device_count} devices")
    };
    if lost > 0 {
        let survives = match losses_survived(scheme).checked_sub(lost) {
            None if scheme.is_coded() => {
                format!(
                    "objects that had more than {} of their shards on lost ones cannot be read",
                    scheme.losses()
                )
            }
            None => "objects that had all their copies on lost ones cannot be read".to_owned(),
            Some(0) => "survives the loss of no further disk".to_owned(),
            Some(1) => "survives the loss of one more disk".to_owned(),
            Some(more) => format!("survives the loss of {more} more disks"),
        };
        return format!("{scheme} on {devices}, of which {lost} cannot be used: {survives}");
    }
    match losses_survived(scheme) {
        0 => format!(
            "{scheme} on {devices}: survives a crash and a power cut, not the loss of a disk"
        ),
        1 => format!("{scheme} on {devices}: survives the loss of any one disk"),
        more => format!("{scheme} on {devices}: survives the loss of any {more} disks"),
    }
}

/// One data partition that may hold a shard.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Candidate<Device> {
    /// The device's identity.
    pub device: Device,
    /// The number of the partition on the device.
    pub partition: u16,
    /// The failure domain of the device, as numbered by [`super::failure_domain::group`].
    pub domain: usize,
}

/// The members of every placement group of so many slots: each candidate leads one group per rotation, followed by candidates of
/// other domains.
///
/// With more domains than slots, a candidate leads several groups with different followers, so that the loss of one device
/// leaves groups without it. With as many, the rotations spread what the later slots hold, which is parity, over all devices.
pub fn placement_groups<Device: Copy + PartialEq>(
    candidates: &[Candidate<Device>],
    slots: usize,
) -> Vec<Vec<Candidate<Device>>> {
    let mut domains: Vec<usize> = candidates
        .iter()
        .map(|candidate| candidate.domain)
        .collect();
    domains.sort_unstable();
    domains.dedup();
    assert!(
        (1..=domains.len()).contains(&slots),
        "a layout needs a domain for each slot"
    );
    let others = domains.len() - 1;
    let group_bytes = GROUP_BYTES + slots * SLOT_BYTES;
    let rotations_max = GROUPS_BYTES_MAX / (candidates.len() * group_bytes);
    let rotations = if slots == 1 {
        1
    } else {
        others.min(rotations_max.max(1))
    };
    let mut groups = Vec::new();
    for leader in candidates {
        for rotation in (0..rotations).map(|turn| turn * others / rotations) {
            let others: Vec<usize> = followers_of(&domains, leader.domain, rotation)
                .take(slots - 1)
                .collect();
            let mut group = vec![*leader];
            group.extend(
                others
                    .iter()
                    .enumerate()
                    .map(|(turn, domain)| member_of(candidates, *domain, leader, turn)),
            );
            groups.push(group);
        }
    }
    groups
}

/// The other domains in ring order from the leader's, beginning `rotation` places on.
fn followers_of(
    domains: &[usize],
    leader: usize,
    rotation: usize,
) -> impl Iterator<Item = usize> + '_ {
    let at = domains
        .iter()
        .position(|domain| *domain == leader)
        .unwrap_or(0);
    let others: Vec<usize> = (1..domains.len())
        .map(|step| domains[(at + step) % domains.len()])
        .collect();
    let count = others.len();
    (0..count).map(move |step| others[(rotation + step) % count])
}

/// A partition of the domain; partitions with the leader's number are preferred so that the load spreads evenly.
fn member_of<Device: Copy + PartialEq>(
    candidates: &[Candidate<Device>],
    domain: usize,
    leader: &Candidate<Device>,
    turn: usize,
) -> Candidate<Device> {
    let members: Vec<&Candidate<Device>> = candidates
        .iter()
        .filter(|candidate| candidate.domain == domain)
        .collect();
    let same = members
        .iter()
        .find(|candidate| candidate.partition == leader.partition);
    **same.unwrap_or(&members[(usize::from(leader.partition) + turn) % members.len()])
}

/// Devices that may be lost: of the shards of a chunk, and of the mirrors of the log, of which there are not more than a superblock
/// can name.
fn losses_survived(scheme: Scheme) -> usize {
    scheme.losses().min(log_mirror_count(scheme) - 1)
}

/// How many mirrors the log has.
pub fn log_mirror_count(scheme: Scheme) -> usize {
    (scheme.losses() + 1).min(LOG_MIRROR_COUNT_MAX)
}

/// The log's mirrors: one device more than may be lost, each of another domain.
pub fn log_mirrors<Device: Copy + PartialEq>(
    devices: &[(Device, usize)],
    scheme: Scheme,
) -> Vec<Device> {
    let count = log_mirror_count(scheme);
    let mut taken = Vec::new();
    let mut chosen = Vec::new();
    for (device, domain) in devices {
        if chosen.len() < count && !taken.contains(domain) {
            taken.push(*domain);
            chosen.push(*device);
        }
    }
    chosen
}

#[cfg(test)]
mod tests {
    use super::*;

    const THREE: Scheme = Scheme::copies(3);

    fn candidates(devices: usize, partitions: u16) -> Vec<Candidate<usize>> {
        (0..devices)
            .flat_map(|device| {
                (0..partitions).map(move |partition| Candidate {
                    device,
                    partition,
                    domain: device,
                })
            })
            .collect()
    }

    #[test]
    fn no_group_has_two_slots_in_one_domain() {
        for devices in 1..9 {
            let slots = Scheme::strongest_for(devices).shards();
            for group in placement_groups(&candidates(devices, 2), slots) {
                assert_eq!(group.len(), slots);
                let mut domains: Vec<usize> = group.iter().map(|slot| slot.domain).collect();
                domains.sort_unstable();
                domains.dedup();
                assert_eq!(domains.len(), group.len());
            }
        }
    }

    #[test]
    fn what_is_survived_is_told_of_what_is_left() {
        assert!(describe(THREE, 3, 0).ends_with("survives the loss of any 2 disks"));
        let told = describe(THREE, 3, 1);
        assert_eq!(
            told,
            "3 copies on 3 devices, of which 1 cannot be used: survives the loss of one more disk"
        );
        assert!(describe(THREE, 3, 2).ends_with("no further disk"));
        assert!(describe(THREE, 3, 3).ends_with("cannot be read"));
        assert!(describe(Scheme::copies(2), 1, 1).starts_with("2 copies on 1 device, of which 1"));
    }

    #[test]
    fn a_coded_layout_tells_its_scheme() {
        let scheme = Scheme::new(4, 2).expect("a scheme");
        let told = |lost| describe(scheme, 6, lost);
        assert_eq!(
            told(0),
            "4+2 on 6 devices: survives the loss of any 2 disks"
        );
        assert!(told(1).ends_with("of which 1 cannot be used: survives the loss of one more disk"));
        assert!(told(3).ends_with("more than 2 of their shards on lost ones cannot be read"));
    }

    #[test]
    fn no_more_is_promised_than_the_log_survives() {
        let scheme = Scheme::new(16, 8).expect("a scheme");
        assert!(describe(scheme, 24, 0).ends_with("survives the loss of any 7 disks"));
        assert!(describe(scheme, 24, 7).ends_with("no further disk"));
    }

    #[test]
    fn the_groups_of_many_disks_fit_a_command() {
        for (devices, partitions, slots) in [(60, 4, 6), (60, 4, 14), (24, 8, 24), (200, 2, 6)] {
            let groups = placement_groups(&candidates(devices, partitions), slots);
            let bytes = groups.len() * (GROUP_BYTES + slots * SLOT_BYTES);
            assert!(bytes <= GROUPS_BYTES_MAX, "{devices} {partitions}: {bytes}");
            assert!(groups.len() >= devices * usize::from(partitions));
        }
    }

    #[test]
    fn parity_is_spread_over_all_devices() {
        let groups = placement_groups(&candidates(6, 1), 6);
        for device in 0..6 {
            let last_two = |group: &&Vec<Candidate<usize>>| {
                group[4..].iter().any(|slot| slot.device == device)
            };
            assert_eq!(
                groups.iter().filter(last_two).count(),
                10,
                "of {}",
                groups.len()
            );
        }
    }

    #[test]
    fn every_partition_leads_a_group() {
        let all = candidates(3, 2);
        let groups = placement_groups(&all, 3);
        assert!(
            all.iter()
                .all(|candidate| groups.iter().any(|group| group[0] == *candidate))
        );
    }

    #[test]
    fn with_a_spare_domain_some_group_avoids_any_lost_device() {
        for lost in 0..4 {
            let groups = placement_groups(&candidates(4, 1), 3);
            assert!(
                groups
                    .iter()
                    .any(|group| group.iter().all(|slot| slot.device != lost)),
                "device {lost}"
            );
        }
    }

    #[test]
    fn log_mirrors_lie_in_different_domains() {
        assert_eq!(
            log_mirrors(&[("a", 0), ("b", 0), ("c", 2)], Scheme::copies(2)),
            ["a", "c"]
        );
    }
}
