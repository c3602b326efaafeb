//! What is different on a block device: erasing before the format, the length that it must keep, segments that it is told to
//! forget.
//!
//! Invariants: what another system would know the device by (a file system, a partition table) is gone before it is formatted; a
//! device that is shorter than it was is not opened; no segment is discarded that a record, or a start, may still need; a discard
//! that fails costs nothing but discarding.

use std::ops::Range;
use std::path::Path;
use std::time::Duration;

use super::{Device, open_direct, read_superblock, write_block};
use crate::error::EngineError;
use crate::format::layout::{ALIGNMENT_MAX, BLOCK_BYTES, SUPERBLOCK_OFFSETS};
use crate::reactor::block_device::{BlockDevice, block_device};
use crate::reactor::{self, File, OpenOptions};

/// How much at the beginning and at the end of a device is written over before it is formatted: nearly all that others know a
/// device by lies there, up to the labels of ZFS (the first and the last 512 KiB).
pub const ENDS_BYTES: u64 = 1 << 20;

/// The largest range that is discarded at once. Others who need a helper thread wait no longer than for one.
const DISCARD_BYTES_MAX: u64 = 16 << 20;

/// The same before a format, when nobody waits.
const FORMAT_DISCARD_BYTES_MAX: u64 = 1 << 30;

/// How long a device may take to discard all that it holds before it is formatted; what is left then stays.
const FORMAT_DISCARD_TIME_MAX: Duration = Duration::from_secs(60);

/// The wait for another discard of the process.
const DISCARD_PAUSE: Duration = Duration::from_millis(20);

const READ_AND_WRITE: OpenOptions = OpenOptions {
    read_only: false,
    create: false,
    direct: true,
};

/// Takes from a block device what it holds, before it is formatted: both ends are written over, and the rest is discarded where
/// that is wanted and the device can. A file is left alone.
///
/// # Errors
/// A device that cannot be written.
pub async fn erase(path: &Path, discard: bool) -> Result<(), EngineError> {
    let Some(device) = block_device(path).await? else {
        return Ok(());
    };
    let file = open_direct(path, READ_AND_WRITE).await?;
    if discard && device.can_discard {
        discard_all(&file, device.bytes).await;
    }
    for range in ends(&device) {
        let mut zeroes = reactor::allocate_now((range.end - range.start) as usize);
        zeroes.set_len((range.end - range.start) as usize);
        zeroes.fill(0);
        file.write(vec![zeroes.freeze()], range.start).await?;
    }
    Ok(file.sync().await?)
}

/// What is looked at, and written over, to tell whether a device is empty: its first and its last [`ENDS_BYTES`], by whole
/// sectors; of a short one all.
pub fn ends(device: &BlockDevice) -> [Range<u64>; 2] {
    let first = 0..ENDS_BYTES.min(device.bytes);
    let sector = u64::from(device.logical_sector_bytes).max(1);
    let last = device.bytes.saturating_sub(ENDS_BYTES) / sector * sector;
    [first.clone(), last.max(first.end)..device.bytes]
}

/// Discards are advice: one that fails is not tried again, and the format goes on.
async fn discard_all(file: &File, bytes: u64) {
    let end = reactor::now() + FORMAT_DISCARD_TIME_MAX;
    let mut offset = 0;
    while offset < bytes && reactor::now() < end {
        let length = (bytes - offset).min(FORMAT_DISCARD_BYTES_MAX);
        match file.try_discard(offset, length).await {
            Ok(true) => offset += length,
            Ok(false) => reactor::sleep(DISCARD_PAUSE).await,
            Err(error) => {
                tracing::info!(path = %file.path().display(), %error, "the device discards nothing");
                return;
            }
        }
    }
    if offset < bytes {
        tracing::info!(path = %file.path().display(), offset, "the device takes too long to discard; what lies behind stays");
    }
}

/// The alignment that a block device is formatted for: no less than its physical sectors, so that no two records share one.
///
/// # Errors
/// Sectors longer than the blocks of the format, or physical ones beyond all bounds.
pub(super) fn alignment(device: &BlockDevice, direct: usize) -> Result<usize, EngineError> {
    if device.logical_sector_bytes as usize > BLOCK_BYTES {
        return Err(EngineError::Invalid(format!(
            "it has sectors of {} bytes, and {BLOCK_BYTES} are the most that is supported",
            device.logical_sector_bytes
        )));
    }
    let physical = device.physical_sector_bytes;
    if physical > ALIGNMENT_MAX || !physical.is_power_of_two() {
        return Err(EngineError::Invalid(format!(
            "it has physical sectors of {physical} bytes, which is no power of two up to {ALIGNMENT_MAX}"
        )));
    }
    Ok(direct.max(physical as usize))
}

/// Refuses a block device that is shorter than its superblock says, and notes how long it is where it has grown. Nobody else may
/// have the device open. A file is left alone.
///
/// # Errors
/// Those of [`read_superblock`], a device that has shrunk, and one that cannot be written.
pub async fn follow_length(path: &Path) -> Result<(), EngineError> {
    let Some(device) = block_device(path).await? else {
        return Ok(());
    };
    let mut superblock = read_superblock(path).await?;
    refuse_shrunk(&device, superblock.block_device_bytes)?;
    if superblock.block_device_bytes == device.bytes {
        return Ok(());
    }
    superblock.block_device_bytes = device.bytes;
    superblock.generation += 1;
    let file = open_direct(path, READ_AND_WRITE).await?;
    for offset in SUPERBLOCK_OFFSETS {
        // One copy is whole at any moment.
        write_block(&file, &superblock.encode(), offset).await?;
        file.sync().await?;
    }
    Ok(())
}

/// Refuses a block device that is shorter than when its length was noted: segments may lie behind its end.
///
/// # Errors
/// Names both lengths.
pub fn refuse_shrunk(device: &BlockDevice, noted_bytes: u64) -> Result<(), EngineError> {
    if device.bytes >= noted_bytes {
        return Ok(());
    }
    Err(EngineError::Invalid(format!(
        "the block device has shrunk: it is laid out for {noted_bytes} bytes and has {}; make it as long as it was, or replace it",
        device.bytes
    )))
}

impl Device {
    /// Whether it is a block device: it has its length from the beginning, and no file system whose metadata would have to change.
    pub(crate) fn is_block_device(&self) -> bool {
        self.inner.block_device.is_some()
    }

    /// Whether segments that hold nothing any more are to be discarded.
    pub(crate) fn discards(&self) -> bool {
        let can = self
            .inner
            .block_device
            .as_ref()
            .is_some_and(|device| device.can_discard);
        self.inner.discard && can && !self.inner.health.refuses_discards()
    }

    /// Discards a range, piece by piece. A device that refuses is not asked again.
    pub(crate) async fn discard(&self, range: Range<u64>) {
        let mut offset = range.start;
        while offset < range.end && self.discards() && self.failure().is_none() {
            let length = (range.end - offset).min(DISCARD_BYTES_MAX);
            match self.inner.file.try_discard(offset, length).await {
                Ok(true) => {
                    self.inner.health.note_discard(length);
                    offset += length;
                }
                Ok(false) => reactor::sleep(DISCARD_PAUSE).await,
                Err(error) => {
                    if self.inner.health.note_refused_discard() {
                        tracing::warn!(path = %self.inner.path.display(), %error, "the device refuses to discard; it is not asked again");
                    }
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn device(bytes: u64, logical: u32, physical: u32) -> BlockDevice {
        BlockDevice {
            number: (7, 0),
            bytes,
            logical_sector_bytes: logical,
            physical_sector_bytes: physical,
            can_discard: true,
        }
    }

    #[test]
    fn the_ends_are_whole_sectors_and_overlap_nowhere() {
        let mib = ENDS_BYTES;
        assert_eq!(
            ends(&device(10 * mib, 512, 512)),
            [0..mib, 9 * mib..10 * mib]
        );
        let odd = 10 * mib + 512;
        assert_eq!(ends(&device(odd, 512, 512))[1], 9 * mib + 512..odd);
        let short = mib + 4096;
        assert_eq!(ends(&device(short, 4096, 4096)), [0..mib, mib..short]);
        assert_eq!(ends(&device(512, 512, 512)), [0..512, 512..512]);
    }

    #[test]
    fn records_share_no_physical_sector() {
        let aligned = |logical, physical| alignment(&device(1 << 30, logical, physical), 512);
        assert!(matches!(aligned(512, 4096), Ok(4096)));
        assert!(matches!(aligned(512, 16384), Ok(16384)));
        assert!(aligned(16384, 16384).is_err(), "larger than a block");
        assert!(aligned(512, 3 << 9).is_err());
    }

    #[test]
    fn a_device_that_has_shrunk_is_refused_with_both_lengths() {
        let now = device(1 << 30, 512, 512);
        assert!(refuse_shrunk(&now, 1 << 30).is_ok());
        let why = refuse_shrunk(&now, (1 << 30) + 512).expect_err("shorter");
        let why = why.to_string();
        assert!(
            why.contains("1073742336") && why.contains("1073741824"),
            "{why}"
        );
    }
}
