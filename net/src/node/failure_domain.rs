//! Which physical disk lies below a directory.
//!
//! Two directories on one disk fail together, so they are one failure domain. Source: `/sys/dev/block/MAJOR:MINOR` (Linux
//! Documentation/ABI/stable/sysfs-block): a partition is a folder inside its disk, stacked devices (device mapper, md) list
//! what they stand on in `slaves`, a loop device names its backing file. Anything that cannot be resolved counts as one
//! domain with every other thing that cannot be: the answer errs towards less redundancy claimed.

use std::collections::BTreeSet;
use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

/// The disks below a path, by kernel name. Two paths that share a disk share a failure domain.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub enum FailureDomain {
    /// The physical disks that hold the path.
    Disks(BTreeSet<String>),
    /// sysfs does not tell (overlay, network and memory file systems).
    Unresolved,
    /// Declared separate by the administrator: the position in the list of data directories.
    Declared(usize),
}

impl FailureDomain {
    /// Whether one disk's failure may take both.
    pub fn shares_fate_with(&self, other: &FailureDomain) -> bool {
        match (self, other) {
            (FailureDomain::Disks(ours), FailureDomain::Disks(theirs)) => !ours.is_disjoint(theirs),
            (FailureDomain::Declared(ours), FailureDomain::Declared(theirs)) => ours == theirs,
            _ => true,
        }
    }
}

/// How deep stacked block devices are followed before the search gives up as unresolved.
const STACK_DEPTH_MAX: usize = 8;

/// The bits of `st_mode` that hold the file type, and their value for a block device (inode(7)).
const FILE_TYPE_MASK: u32 = 0o170_000;
const FILE_TYPE_BLOCK: u32 = 0o060_000;

/// Resolves the disks below an existing file or directory.
pub fn resolve(path: &Path) -> FailureDomain {
    resolve_below(Path::new("/sys"), path, 0)
        .map_or(FailureDomain::Unresolved, FailureDomain::Disks)
}

/// Groups paths into failure domains; the answer holds one number per path, equal for those that share a disk.
pub fn group(domains: &[FailureDomain]) -> Vec<usize> {
    let mut groups: Vec<usize> = (0..domains.len()).collect();
    for later in 0..domains.len() {
        for earlier in 0..later {
            if domains[later].shares_fate_with(&domains[earlier])
                && groups[later] != groups[earlier]
            {
                let (from, into) = (groups[later], groups[earlier]);
                groups
                    .iter_mut()
                    .filter(|number| **number == from)
                    .for_each(|number| *number = into);
            }
        }
    }
    groups
}

fn resolve_below(sysfs: &Path, path: &Path, depth: usize) -> Option<BTreeSet<String>> {
    let device = fs::metadata(path).ok()?;
    let number = if device.mode() & FILE_TYPE_MASK == FILE_TYPE_BLOCK {
        device.rdev()
    } else {
        device.dev()
    };
    let (major, minor) = split_device_number(number);
    let entry = fs::canonicalize(sysfs.join(format!("dev/block/{major}:{minor}"))).ok()?;
    disks_of(sysfs, &entry, depth)
}

fn disks_of(sysfs: &Path, entry: &Path, depth: usize) -> Option<BTreeSet<String>> {
    if depth > STACK_DEPTH_MAX {
        return None;
    }
    if let Some(backing) = read_line(&entry.join("loop/backing_file")) {
        return resolve_below(sysfs, Path::new(&backing), depth + 1);
    }
    let slaves: Vec<PathBuf> = fs::read_dir(entry.join("slaves"))
        .map(|list| {
            list.filter_map(|item| fs::canonicalize(item.ok()?.path()).ok())
                .collect()
        })
        .unwrap_or_default();
    if !slaves.is_empty() {
        let mut disks = BTreeSet::new();
        for slave in &slaves {
            disks.extend(disks_of(sysfs, slave, depth + 1)?);
        }
        return Some(disks);
    }
    let disk = if entry.join("partition").exists() {
        entry.parent()?
    } else {
        entry
    };
    Some(BTreeSet::from([disk.file_name()?.to_str()?.to_owned()]))
}

fn read_line(path: &Path) -> Option<String> {
    fs::read_to_string(path)
        .ok()
        .map(|text| text.trim_end().to_owned())
        .filter(|text| !text.is_empty())
}

/// Linux's encoding of `dev_t` in user space (makedev(3)).
pub(super) fn split_device_number(number: u64) -> (u64, u64) {
    let major = ((number >> 8) & 0xfff) | ((number >> 32) & !0xfff);
    let minor = (number & 0xff) | ((number >> 12) & !0xff);
    (major, minor)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn directories_of_one_file_system_share_a_domain() {
        let first = tempfile::tempdir().unwrap();
        let second = tempfile::tempdir().unwrap();
        assert!(resolve(first.path()).shares_fate_with(&resolve(second.path())));
    }

    #[test]
    fn unresolved_paths_count_as_one() {
        assert!(FailureDomain::Unresolved.shares_fate_with(&FailureDomain::Unresolved));
        let disk = FailureDomain::Disks(BTreeSet::from(["sda".to_owned()]));
        assert!(disk.shares_fate_with(&FailureDomain::Unresolved));
    }

    #[test]
    fn sharing_is_followed_through_stacks() {
        let disks = |names: &[&str]| {
            FailureDomain::Disks(names.iter().map(|name| (*name).to_owned()).collect())
        };
        let groups = group(&[
            disks(&["a"]),
            disks(&["b"]),
            disks(&["a", "b"]),
            disks(&["c"]),
        ]);
        assert_eq!(groups[0], groups[1]);
        assert_eq!(groups[0], groups[2]);
        assert_ne!(groups[0], groups[3]);
    }

    #[test]
    fn a_partition_resolves_to_its_disk() {
        let sysfs = tempfile::tempdir().unwrap();
        let partition = sysfs.path().join("devices/nvme0n1/nvme0n1p2");
        fs::create_dir_all(&partition).unwrap();
        fs::write(partition.join("partition"), "2\n").unwrap();
        assert_eq!(
            disks_of(sysfs.path(), &partition, 0),
            Some(BTreeSet::from(["nvme0n1".to_owned()]))
        );
    }

    #[test]
    fn a_stacked_device_resolves_to_all_disks_below() {
        let sysfs = tempfile::tempdir().unwrap();
        let devices = sysfs.path().join("devices");
        let slaves = devices.join("virtual/dm-0/slaves");
        fs::create_dir_all(&slaves).unwrap();
        for name in ["sda", "sdb"] {
            let partition = devices.join(name).join(format!("{name}1"));
            fs::create_dir_all(&partition).unwrap();
            fs::write(partition.join("partition"), "1\n").unwrap();
            std::os::unix::fs::symlink(&partition, slaves.join(format!("{name}1"))).unwrap();
        }
        assert_eq!(
            disks_of(sysfs.path(), &devices.join("virtual/dm-0"), 0),
            Some(BTreeSet::from(["sda".to_owned(), "sdb".to_owned()]))
        );
    }

    #[test]
    fn declared_domains_are_apart() {
        assert!(!FailureDomain::Declared(0).shares_fate_with(&FailureDomain::Declared(1)));
    }
}
