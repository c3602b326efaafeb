//! Block devices: what one is like, holding one exclusively, and discarding what it holds.
//!
//! Invariant: in the whole process one range is being discarded at a time, so that a device which takes long for it leaves the other
//! helper threads to those who wait for them.

use std::fs::{File, OpenOptions};
use std::io::{self, Seek, SeekFrom};
use std::os::fd::{AsRawFd, OwnedFd};
use std::os::unix::fs::{FileTypeExt, MetadataExt, OpenOptionsExt};
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};

use super::executor::{Reactor, with_current};
use super::offload::offload;

/// `_IO(0x12, 119)` of linux/fs.h: two numbers of 64 bits, offset and length.
const BLKDISCARD: libc::Ioctl = 0x1277;

/// What a block device is like.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BlockDevice {
    /// Its major and minor number: one device has one, whatever its paths.
    pub number: (u32, u32),
    /// How long it is.
    pub bytes: u64,
    /// What offsets and lengths must be multiples of.
    pub logical_sector_bytes: u32,
    /// What it writes as a whole: a part of one is read, changed and written.
    pub physical_sector_bytes: u32,
    /// Whether it takes note of what nobody needs any more.
    pub can_discard: bool,
}

/// What the block device is like that has a path; `None` where something else has it.
///
/// # Errors
/// What the system says, with the path.
pub async fn block_device(path: &Path) -> io::Result<Option<BlockDevice>> {
    if let Some(simulation) = with_current(Reactor::simulation) {
        return simulation.block_device(path);
    }
    let path = path.to_path_buf();
    offload(move || {
        let named =
            |error: io::Error| io::Error::new(error.kind(), format!("{}: {error}", path.display()));
        look_at(&path).map_err(named)
    })
    .await
}

fn look_at(path: &Path) -> io::Result<Option<BlockDevice>> {
    let metadata = std::fs::metadata(path)?;
    if !metadata.file_type().is_block_device() {
        return Ok(None);
    }
    let mut file = File::open(path)?;
    let number = (
        rustix::fs::major(metadata.rdev()),
        rustix::fs::minor(metadata.rdev()),
    );
    Ok(Some(BlockDevice {
        number,
        bytes: file.seek(SeekFrom::End(0))?,
        logical_sector_bytes: rustix::fs::ioctl_blksszget(&file)?,
        physical_sector_bytes: rustix::fs::ioctl_blkpbszget(&file)?,
        can_discard: can_discard(number),
    }))
}

/// Whether the queue of the device, or that of the disk which it is a partition of, takes discards (Linux,
/// Documentation/ABI/stable/sysfs-block).
fn can_discard((major, minor): (u32, u32)) -> bool {
    let device = format!("/sys/dev/block/{major}:{minor}");
    let queues = ["queue", "../queue"].map(|queue| format!("{device}/{queue}/discard_max_bytes"));
    let found = queues
        .iter()
        .find_map(|path| std::fs::read_to_string(path).ok());
    found.is_some_and(|text| text.trim().parse::<u64>().is_ok_and(|bytes| bytes > 0))
}

/// Opens a block device so that nobody else can (open(2), `O_EXCL` without `O_CREAT`): no mount, no swap, no device that is
/// stacked on it, no other server. `None` when one of these has it. Blocks.
///
/// # Errors
/// What the system says.
pub fn open_exclusively(path: &Path) -> io::Result<Option<File>> {
    let mut options = OpenOptions::new();
    match options.read(true).custom_flags(libc::O_EXCL).open(path) {
        Ok(file) => Ok(Some(file)),
        Err(error) if error.raw_os_error() == Some(libc::EBUSY) => Ok(None),
        Err(error) => Err(error),
    }
}

/// The only one in the process that discards; another has its turn when this is dropped.
pub(super) struct DiscardTurn(());

static DISCARDING: AtomicBool = AtomicBool::new(false);

impl DiscardTurn {
    pub(super) fn take() -> Option<DiscardTurn> {
        let taken = DISCARDING.swap(true, Ordering::Acquire);
        (!taken).then_some(DiscardTurn(()))
    }

    /// Discards a range and waits for the device.
    pub(super) fn discard(self, device: &OwnedFd, offset: u64, length: u64) -> io::Result<()> {
        let range = [offset, length];
        // SAFETY: the kernel reads two numbers of 64 bits, which live through the call.
        let result = unsafe { libc::ioctl(device.as_raw_fd(), BLKDISCARD, range.as_ptr()) };
        match result {
            0 => Ok(()),
            _ => Err(io::Error::last_os_error()),
        }
    }
}

impl Drop for DiscardTurn {
    fn drop(&mut self) {
        DISCARDING.store(false, Ordering::Release);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_is_no_block_device() {
        let file = tempfile::NamedTempFile::new().expect("a file");
        assert_eq!(look_at(file.path()).expect("it is there"), None);
    }

    #[test]
    fn one_range_at_a_time_is_discarded() {
        let first = DiscardTurn::take().expect("nobody discards");
        assert!(DiscardTurn::take().is_none());
        drop(first);
        assert!(DiscardTurn::take().is_some());
    }
}
