//! Which files a run may write to: those that a run of this program has made, and new ones.
//!
//! Invariants: nothing is opened for writing before it was looked at; a block device, a store and anybody's file are refused,
//! also where the user is root; what is written first into a new file is the mark by which a later run knows it.
//!
//! There are three marks. A file of `device` begins with [`HEADER_BYTES`] that hold [`MAGIC`], and its data follows. The device of
//! `journal` and that of `index` are whole Strata devices, whose superblocks name the cluster [`CLUSTER`] or [`INDEX_CLUSTER`], which
//! no store has: clusters are named at random.

use std::fs::File;
use std::io::{ErrorKind, Read as _};
use std::os::unix::fs::FileTypeExt as _;
use std::path::Path;

use anyhow::{Context as _, bail};
use strata_engine::{FormatOptions, Superblock, Uuid};

/// Where the data of a file of `device` begins: a whole number of the largest alignment and of its writes.
pub const HEADER_BYTES: u64 = 1 << 20;

/// What a file of `device` begins with; it tells a reader what the rest is.
pub const MAGIC: &[u8] =
    b"strata-bench device 1\nMade by `strata-bench device`. It holds noise and may be deleted.\n";

/// The cluster that the device of `journal` belongs to.
pub const CLUSTER: Uuid = Uuid(*b"strata-bench/1.0");

/// The cluster that the device of `index` belongs to.
pub const INDEX_CLUSTER: Uuid = Uuid(*b"strata-bench/i.1");

/// The longest of all marks: a superblock.
const MARK_BYTES: u64 = 4096;

/// What lies at a path.
#[derive(Debug, PartialEq, Eq)]
pub enum Found {
    /// Nothing, or an empty file.
    New,
    /// A file of `device`.
    Device,
    /// The device of `journal`.
    Journal,
    /// The device of `index`.
    Index,
}

/// How a device is formatted that a run makes: with one partition of each kind, for the cluster by which later runs know it.
pub fn format_of(cluster: Uuid, segment_bytes: u64, log_segments: u32) -> FormatOptions {
    let uuid = Uuid([7; 16]);
    FormatOptions {
        cluster,
        device: uuid,
        pool: uuid,
        node: 1,
        data_partitions: 1,
        segment_bytes,
        log_segments,
        log_mirrors: vec![uuid],
    }
}

/// Looks at what a run would write to.
///
/// # Errors
/// It is not one that this program has made: says what it is.
pub fn look(path: &Path) -> anyhow::Result<Found> {
    let metadata = match std::fs::metadata(path) {
        Ok(metadata) => metadata,
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(Found::New),
        Err(error) => return Err(error).with_context(|| format!("look at {}", path.display())),
    };
    let refuse = |what: &str| -> anyhow::Result<Found> {
        bail!(
            "{} is {what} and is left alone: a run writes only to a new file or to one that strata-bench has made",
            path.display()
        )
    };
    if metadata.file_type().is_block_device() {
        return refuse("a block device");
    }
    if !metadata.is_file() {
        return refuse("no regular file");
    }
    if metadata.len() == 0 {
        return Ok(Found::New);
    }
    let mut bytes = Vec::new();
    let file = File::open(path).with_context(|| format!("open {}", path.display()))?;
    file.take(MARK_BYTES).read_to_end(&mut bytes)?;
    if bytes.starts_with(MAGIC) {
        return Ok(Found::Device);
    }
    match Superblock::decode(&bytes) {
        Ok(superblock) if superblock.cluster == CLUSTER => Ok(Found::Journal),
        Ok(superblock) if superblock.cluster == INDEX_CLUSTER => Ok(Found::Index),
        Ok(_) => refuse("a device of a Strata store"),
        Err(_) => refuse("a file that strata-bench has not made"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn found(bytes: &[u8]) -> Result<Found, String> {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("file");
        std::fs::write(&path, bytes).unwrap();
        look(&path).map_err(|error| error.to_string())
    }

    #[test]
    fn only_new_files_and_marked_ones_are_taken() {
        assert_eq!(found(b""), Ok(Found::New));
        assert_eq!(found(&[MAGIC, b"noise"].concat()), Ok(Found::Device));
        let why = found(b"somebody's letters").unwrap_err();
        assert!(why.contains("has not made"), "{why}");
        let directory = tempfile::tempdir().unwrap();
        assert_eq!(look(&directory.path().join("none")).unwrap(), Found::New);
        let why = look(directory.path()).unwrap_err().to_string();
        assert!(why.contains("no regular file"), "{why}");
    }
}
