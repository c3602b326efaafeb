//! Whether a block device may be taken: not while a part of it is mounted, swapped to, stacked upon or open elsewhere, and not while
//! it holds what is not ours, unless that is to be overwritten.
//!
//! Invariants: nothing is written here; what is in use is refused whatever is asked for; every refusal says which device and why.
//!
//! Sources: proc(5) (`/proc/self/mountinfo`, `/proc/swaps`); Linux, Documentation/ABI/stable/sysfs-block and
//! testing/sysfs-block (`holders`, `ro`, `partition`, `queue/zoned`).

use std::fs::{self, File};
use std::io;
use std::os::unix::fs::{FileExt, FileTypeExt, MetadataExt};
use std::path::{Path, PathBuf};

use strata_engine::device::block::{ENDS_BYTES, ends};
use strata_engine::format::FormatError;
use strata_engine::format::layout::{BLOCK_BYTES, SUPERBLOCK_OFFSETS};
use strata_engine::reactor::block_device::{BlockDevice, open_exclusively};
use strata_engine::reactor::{self, OpenOptions};
use strata_engine::{EngineError, Superblock};

use super::failure_domain::split_device_number;
use super::signature;

/// Whether a path leads to a block device. A question to the system that blocks.
pub fn is_block_device(path: &Path) -> bool {
    fs::metadata(path).is_ok_and(|found| found.file_type().is_block_device())
}

/// Whether a path is one of devices, so that nothing is made where it leads nowhere: below `/dev`, but for the directory of shared
/// memory there.
pub fn is_path_of_devices(path: &Path) -> bool {
    path.starts_with("/dev") && !path.starts_with("/dev/shm")
}

/// Whether a block device holds a superblock, whole or damaged, of this version or another. One that cannot be read counts as one
/// that does. Blocks.
pub fn holds_superblock(path: &Path) -> bool {
    let Ok(file) = File::open(path) else {
        return true;
    };
    SUPERBLOCK_OFFSETS.iter().any(|offset| {
        let mut block = [0; BLOCK_BYTES];
        match file.read_exact_at(&mut block, *offset) {
            Ok(()) => !matches!(
                Superblock::decode(&block),
                Err(FormatError::Kind { .. } | FormatError::Short { .. })
            ),
            Err(error) => error.kind() != io::ErrorKind::UnexpectedEof,
        }
    })
}

/// Refuses a block device that somebody has, before a start makes anything. What else is wrong with it may leave the others to
/// serve. It reads nothing, so that it waits for no disk that does not answer.
///
/// # Errors
/// Names the device.
pub fn refuse_held(path: &Path) -> Result<(), String> {
    match open_exclusively(path) {
        Ok(None) => Err(EngineError::Locked {
            path: path.to_owned(),
        }
        .to_string()),
        Ok(Some(_)) | Err(_) => Ok(()),
    }
}

/// The same, and refuses one without a superblock that cannot become a device of a node. Blocks, and needs no reactor.
///
/// # Errors
/// Names the device, what stands in the way, and what to do.
pub fn check(path: &Path, forced: bool) -> Result<(), String> {
    if holds_superblock(path) {
        return refuse_held(path);
    }
    refuse_in_use(path)?;
    let unreadable = |error: io::Error| format!("cannot read {}: {error}", path.display());
    let file = File::open(path).map_err(unreadable)?;
    let bytes = io::Seek::seek(&mut &file, io::SeekFrom::End(0)).map_err(unreadable)?;
    let read = |offset: u64, length: u64| {
        let mut found = vec![0; length as usize];
        file.read_exact_at(&mut found, offset).map(|()| found)
    };
    let length = ENDS_BYTES.min(bytes);
    let first = read(0, length).map_err(unreadable)?;
    let last = read(bytes - length, length).map_err(unreadable)?;
    refuse_content(path, &content_of(path, &first, &last, bytes), forced)
}

/// What a block device without a superblock holds, read by the reactor; `None` where it is empty.
///
/// # Errors
/// A device that cannot be read.
pub(super) async fn content(
    path: &Path,
    device: &BlockDevice,
) -> Result<Option<String>, EngineError> {
    let options = OpenOptions {
        read_only: true,
        create: false,
        direct: true,
    };
    let file = reactor::File::open(path, options).await?;
    let mut read = Vec::new();
    for range in ends(device) {
        let length = (range.end - range.start) as usize;
        let buffer = reactor::allocate(length.max(BLOCK_BYTES)).await;
        let found = file.read(buffer, range.start, length).await?;
        read.push(found.to_vec());
    }
    let (path, bytes) = (path.to_owned(), device.bytes);
    let found = reactor::fs::ask_kernel({
        let read = read.clone();
        move || content_of(&path, &read[0], &read[1], bytes)
    });
    let simulated = || signature::content(&read[0], &read[1], bytes);
    Ok(found.await.unwrap_or_else(simulated))
}

/// What it holds, with the partitions that the kernel knows of it. Blocks.
fn content_of(path: &Path, first: &[u8], last: &[u8], bytes: u64) -> Option<String> {
    let names: Vec<String> = number_of(path)
        .map(|number| partitions(Path::new("/sys"), number))
        .unwrap_or_default()
        .into_iter()
        .map(|(name, _)| name)
        .collect();
    let held = signature::content(first, last, bytes);
    match (held, names.is_empty()) {
        (held, true) => held,
        (held, false) => {
            let table = held.unwrap_or_else(|| "no partition table any more".to_owned());
            Some(format!("{table}, with the partitions {}", names.join(", ")))
        }
    }
}

/// Refuses what is not empty, unless it is to be overwritten.
///
/// # Errors
/// Names the device, what it holds, and what to do.
pub(super) fn refuse_content(
    path: &Path,
    content: &Option<String>,
    forced: bool,
) -> Result<(), String> {
    match content {
        Some(held) if !forced => Err(format!(
            "{} is not empty: it holds {held}. Nothing was written. To lose all that it holds and use it, add --force-format{}",
            path.display(),
            " with this path at the first start, or --force-format to `strata device add` or `replace`"
        )),
        _ => Ok(()),
    }
}

/// Refuses a block device that somebody uses, or that cannot be written. Blocks.
///
/// # Errors
/// Names the device and who uses it.
pub fn refuse_in_use(path: &Path) -> Result<(), String> {
    let shown = path.display();
    let unknown = |error: io::Error| format!("cannot look at {shown}: {error}");
    let number = number_of(path).map_err(unknown)?;
    let sysfs = Path::new("/sys");
    let mut family = vec![(shown.to_string(), number)];
    family.extend(partitions(sysfs, number));
    let mounts = mounts(&fs::read_to_string("/proc/self/mountinfo").map_err(unknown)?);
    let swaps = swaps(&fs::read_to_string("/proc/swaps").unwrap_or_default());
    for (name, number) in &family {
        let is_it = |path: &PathBuf| number_of(path).is_ok_and(|other| other == *number);
        let on_it = |mount: &&Mount| mount.number == *number || is_it(&mount.source);
        if let Some(mount) = mounts.iter().find(on_it) {
            return Err(format!(
                "{shown} is in use: {name} is mounted at {}. Nothing was written; unmount it if its content is not needed",
                mount.place.display()
            ));
        }
        if swaps.iter().any(is_it) {
            return Err(format!(
                "{shown} is in use: {name} is swap space. Nothing was written; `swapoff` it first"
            ));
        }
        if let Some(holder) = holders(sysfs, *number).first() {
            return Err(format!(
                "{shown} is in use: {name} is a part of {holder} (LVM, RAID, dm-crypt or multipath). Nothing was written; list that \
                 device, or take it apart first"
            ));
        }
    }
    if flag(sysfs, number, "ro").as_deref() == Some("1") {
        return Err(format!("{shown} is read-only, by its switch or its driver"));
    }
    let zoned = flag(sysfs, number, "queue/zoned");
    if zoned.is_some_and(|model| model == "host-managed") {
        return Err(format!(
            "{shown} is a zoned disk (host-managed): it takes no writes in place, which Strata needs"
        ));
    }
    match open_exclusively(path) {
        Ok(Some(_)) => Ok(()),
        Ok(None) => Err(format!(
            "{shown} is in use: another process, or the kernel, has it open exclusively. Nothing was written"
        )),
        Err(error) if error.kind() == io::ErrorKind::PermissionDenied => {
            Err(format!("this user may not read and write {shown}"))
        }
        Err(error) => Err(unknown(error)),
    }
}

fn number_of(path: &Path) -> io::Result<(u64, u64)> {
    let found = fs::metadata(path)?;
    match found.file_type().is_block_device() {
        true => Ok(split_device_number(found.rdev())),
        false => Err(io::ErrorKind::InvalidInput.into()),
    }
}

fn folder(sysfs: &Path, (major, minor): (u64, u64)) -> PathBuf {
    sysfs.join(format!("dev/block/{major}:{minor}"))
}

/// What the device says of itself, or its disk where it is a partition.
fn flag(sysfs: &Path, number: (u64, u64), name: &str) -> Option<String> {
    let own = folder(sysfs, number);
    let text = fs::read_to_string(own.join(name));
    let text = text.or_else(|_| fs::read_to_string(own.join("..").join(name)));
    Some(text.ok()?.trim().to_owned())
}

/// The partitions of a disk, by name and number; none of a partition.
fn partitions(sysfs: &Path, number: (u64, u64)) -> Vec<(String, (u64, u64))> {
    let mut found = Vec::new();
    let entries = fs::read_dir(folder(sysfs, number)).into_iter().flatten();
    for entry in entries.filter_map(Result::ok) {
        let below = entry.path();
        if !below.join("partition").exists() {
            continue;
        }
        let number = fs::read_to_string(below.join("dev")).unwrap_or_default();
        if let Some(number) = parse_number(number.trim()) {
            found.push((entry.file_name().to_string_lossy().into_owned(), number));
        }
    }
    found.sort();
    found
}

/// The devices that stand on one.
fn holders(sysfs: &Path, number: (u64, u64)) -> Vec<String> {
    let entries = fs::read_dir(folder(sysfs, number).join("holders"));
    let entries = entries.into_iter().flatten().filter_map(Result::ok);
    entries
        .map(|entry| entry.file_name().to_string_lossy().into_owned())
        .collect()
}

fn parse_number(text: &str) -> Option<(u64, u64)> {
    let (major, minor) = text.split_once(':')?;
    Some((major.parse().ok()?, minor.parse().ok()?))
}

/// One file system that is mounted.
#[derive(Debug, PartialEq, Eq)]
struct Mount {
    number: (u64, u64),
    place: PathBuf,
    /// What was named when it was mounted: the device, of those that have a number of their own (btrfs).
    source: PathBuf,
}

/// The lines of `/proc/self/mountinfo`; what is no such line is left out.
fn mounts(text: &str) -> Vec<Mount> {
    let mount = |line: &str| {
        let (before, after) = line.split_once(" - ")?;
        let mut fields = before.split(' ').skip(2);
        let number = parse_number(fields.next()?)?;
        Some(Mount {
            number,
            place: unescaped(fields.nth(1)?),
            source: unescaped(after.split(' ').nth(1)?),
        })
    };
    text.lines().filter_map(mount).collect()
}

/// The places of `/proc/swaps`.
fn swaps(text: &str) -> Vec<PathBuf> {
    let places = text
        .lines()
        .skip(1)
        .filter_map(|line| line.split_whitespace().next());
    places.map(unescaped).collect()
}

/// A path in which blanks and backslashes stand as three octal digits.
fn unescaped(text: &str) -> PathBuf {
    let bytes = text.as_bytes();
    let (mut path, mut at) = (Vec::new(), 0);
    while at < bytes.len() {
        let digits = bytes.get(at + 1..at + 4).filter(|_| bytes[at] == b'\\');
        let byte = digits
            .and_then(|digits| std::str::from_utf8(digits).ok())
            .and_then(|digits| u8::from_str_radix(digits, 8).ok());
        path.push(byte.unwrap_or(bytes[at]));
        at += if byte.is_some() { 4 } else { 1 };
    }
    std::ffi::OsString::from(String::from_utf8_lossy(&path).into_owned()).into()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn mounts_are_known_by_number_place_and_source() {
        let text = "24 1 259:2 / / rw,relatime shared:1 - ext4 /dev/nvme0n1p2 rw,discard\n\
                    31 24 0:27 /@home /srv/my\\040disk rw shared:9 master:2 - btrfs /dev/sdb1 rw\n\
                    nonsense\n40 24 8:x / /x rw - ext4 /dev/sdx rw\n";
        let mount = |number, place: &str, source: &str| Mount {
            number,
            place: place.into(),
            source: source.into(),
        };
        assert_eq!(
            mounts(text),
            [
                mount((259, 2), "/", "/dev/nvme0n1p2"),
                mount((0, 27), "/srv/my disk", "/dev/sdb1"),
            ]
        );
    }

    #[test]
    fn swaps_are_the_first_words_behind_the_head() {
        let text = "Filename\t\t\t\tType\t\tSize\t\tUsed\t\tPriority\n\
                    /dev/sda3                               partition\t8388604\t0\t-2\n\
                    /swap\\040file file 1 0 -3\n";
        assert_eq!(
            swaps(text),
            [PathBuf::from("/dev/sda3"), "/swap file".into()]
        );
        assert!(swaps("").is_empty());
    }

    #[test]
    fn paths_keep_what_is_no_escape() {
        assert_eq!(unescaped("/a\\134b\\9"), PathBuf::from("/a\\b\\9"));
        assert_eq!(unescaped("\\04"), PathBuf::from("\\04"));
    }

    #[test]
    fn partitions_and_holders_are_read_from_sysfs() {
        let sysfs = tempfile::tempdir().expect("a directory");
        let disk = sysfs.path().join("dev/block/8:0");
        for (name, number) in [("sda1", "8:1\n"), ("sda2", "8:2\n")] {
            fs::create_dir_all(disk.join(name)).expect("made");
            fs::write(disk.join(name).join("partition"), "1\n").expect("written");
            fs::write(disk.join(name).join("dev"), number).expect("written");
        }
        fs::create_dir_all(disk.join("holders/dm-3")).expect("made");
        fs::create_dir_all(disk.join("queue")).expect("made");
        fs::write(disk.join("queue/zoned"), "none\n").expect("written");
        let found = partitions(sysfs.path(), (8, 0));
        let expected = [("sda1", (8, 1)), ("sda2", (8, 2))];
        assert_eq!(found, expected.map(|(name, at)| (name.to_owned(), at)));
        assert_eq!(holders(sysfs.path(), (8, 0)), ["dm-3"]);
        assert!(partitions(sysfs.path(), (8, 1)).is_empty());
        assert_eq!(
            flag(sysfs.path(), (8, 0), "queue/zoned").as_deref(),
            Some("none")
        );
    }

    #[test]
    fn what_a_device_holds_is_lost_only_when_asked_for() {
        let path = Path::new("/dev/sdz");
        let held = Some("an XFS file system".to_owned());
        let why = refuse_content(path, &held, false).expect_err("not empty");
        assert!(
            why.contains("/dev/sdz") && why.contains("XFS") && why.contains("--force-format"),
            "{why}"
        );
        assert!(refuse_content(path, &held, true).is_ok());
        assert!(refuse_content(path, &None, false).is_ok());
    }

    #[test]
    fn a_file_is_no_block_device() {
        let file = tempfile::NamedTempFile::new().expect("a file");
        assert!(!is_block_device(file.path()));
        assert!(refuse_in_use(file.path()).is_err());
    }
}
