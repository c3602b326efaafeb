//! Directories, small files, locks and space, in both worlds.
//!
//! Invariant: a name is durable only after [`sync_directory`] of its directory; the simulated world loses names that
//! were not synced.

pub mod blocking;
mod mapped;

use std::fs::TryLockError;
use std::io::{self, Write};
use std::os::unix::fs::{FileTypeExt, MetadataExt, OpenOptionsExt};
use std::path::Path;

pub use self::mapped::MappedFile;
use super::block_device::open_exclusively;
use super::executor::{Reactor, try_with_current, with_current};
use super::offload::offload;
use super::simulated::{SimulatedLock, Simulation};

fn simulation() -> Option<Simulation> {
    with_current(Reactor::simulation)
}

/// The same, also where no reactor runs: on a helper thread.
fn simulation_if_any() -> Option<Simulation> {
    try_with_current(Reactor::simulation).flatten()
}

async fn on_helper<T: Send + 'static>(
    path: &Path,
    work: impl FnOnce(&Path) -> io::Result<T> + Send + 'static,
) -> io::Result<T> {
    let path = path.to_path_buf();
    offload(move || {
        work(&path)
            .map_err(|error| io::Error::new(error.kind(), format!("{}: {error}", path.display())))
    })
    .await
}

/// Makes the names in a directory durable.
///
/// # Errors
/// What the system says, with the path.
pub async fn sync_directory(path: &Path) -> io::Result<()> {
    match simulation() {
        Some(simulation) => simulation.sync_directory(path).await,
        None => on_helper(path, |path| std::fs::File::open(path)?.sync_all()).await,
    }
}

/// Makes a directory and those above it.
///
/// # Errors
/// What the system says, with the path.
pub async fn create_dir_all(path: &Path) -> io::Result<()> {
    match simulation() {
        Some(simulation) => simulation.create_dir_all(path).await,
        None => on_helper(path, |path| std::fs::create_dir_all(path)).await,
    }
}

/// Renames a file, replacing what has the new name.
///
/// # Errors
/// What the system says, with the path.
pub async fn rename(from: &Path, to: &Path) -> io::Result<()> {
    if let Some(simulation) = simulation() {
        return simulation.rename(from, to).await;
    }
    let to = to.to_path_buf();
    on_helper(from, move |from| std::fs::rename(from, to)).await
}

/// Removes a file.
///
/// # Errors
/// What the system says, with the path.
pub async fn remove_file(path: &Path) -> io::Result<()> {
    match simulation() {
        Some(simulation) => simulation.remove_file(path).await,
        None => on_helper(path, |path| std::fs::remove_file(path)).await,
    }
}

/// Whether a file or directory has the path.
///
/// # Errors
/// What the system says, with the path.
pub async fn exists(path: &Path) -> io::Result<bool> {
    match simulation() {
        Some(simulation) => Ok(simulation.exists(path)),
        None => on_helper(path, |path| path.try_exists()).await,
    }
}

/// The names in a directory, sorted by their bytes.
///
/// # Errors
/// What the system says, with the path.
pub async fn list_directory(path: &Path) -> io::Result<Vec<String>> {
    if let Some(simulation) = simulation() {
        return simulation.list_directory(path);
    }
    on_helper(path, |path| {
        let mut names = std::fs::read_dir(path)?
            .map(|entry| Ok(entry?.file_name().to_string_lossy().into_owned()))
            .collect::<io::Result<Vec<_>>>()?;
        names.sort();
        Ok(names)
    })
    .await
}

/// The whole of a small file.
///
/// # Errors
/// What the system says, with the path.
pub async fn read_small_file(path: &Path) -> io::Result<Vec<u8>> {
    match simulation() {
        Some(simulation) => simulation.read_small_file(path),
        None => on_helper(path, |path| std::fs::read(path)).await,
    }
}

/// Replaces the content of a small file, made with the permission bits `mode` when it does not exist. With `durable` the
/// content is on stable storage on return; the name is so only after [`sync_directory`].
///
/// # Errors
/// What the system says, with the path.
pub async fn write_small_file(
    path: &Path,
    bytes: &[u8],
    mode: u32,
    durable: bool,
) -> io::Result<()> {
    if let Some(simulation) = simulation() {
        return simulation.write_small_file(path, bytes, durable).await;
    }
    let bytes = bytes.to_vec();
    on_helper(path, move |path| {
        let mut options = std::fs::OpenOptions::new();
        let mut file = options
            .write(true)
            .create(true)
            .truncate(true)
            .mode(mode)
            .open(path)?;
        file.write_all(&bytes)?;
        if durable { file.sync_all() } else { Ok(()) }
    })
    .await
}

/// What lies at a path.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FileStatus {
    /// Whether it is a directory.
    pub is_directory: bool,
    /// Whether it is a block device.
    pub is_block_device: bool,
    /// The number of its file system; equal numbers are one file system.
    pub file_system: u64,
    /// Bytes of the file system that it takes.
    pub allocated_bytes: u64,
}

/// What lies at a path, of which links are followed.
///
/// # Errors
/// What the system says, with the path; `NotFound` where nothing is there.
pub async fn status(path: &Path) -> io::Result<FileStatus> {
    if let Some(simulation) = simulation() {
        return simulation.status(path);
    }
    on_helper(path, |path| {
        let found = std::fs::metadata(path)?;
        Ok(FileStatus {
            is_directory: found.is_dir(),
            is_block_device: found.file_type().is_block_device(),
            file_system: found.dev(),
            allocated_bytes: found.blocks() * 512,
        })
    })
    .await
}

/// How large a file system is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FileSystemSpace {
    /// Bytes of the file system.
    pub total_bytes: u64,
    /// Bytes that this user may still fill.
    pub available_bytes: u64,
}

/// How large the file system is that a path lies on.
///
/// # Errors
/// What the system says, with the path.
pub async fn space(path: &Path) -> io::Result<FileSystemSpace> {
    if let Some(simulation) = simulation() {
        return Ok(simulation.space());
    }
    on_helper(path, space_of).await
}

fn space_of(path: &Path) -> io::Result<FileSystemSpace> {
    let found = rustix::fs::statvfs(path)?;
    Ok(FileSystemSpace {
        total_bytes: found.f_blocks.saturating_mul(found.f_frsize),
        available_bytes: found.f_bavail.saturating_mul(found.f_frsize),
    })
}

/// Keeps others from locking a file, until it is dropped or the process ends.
pub struct FileLock {
    _held: Held,
}

enum Held {
    Real { _file: std::fs::File },
    Simulated { _lock: SimulatedLock },
}

/// Locks a file; `None` when somebody, also of this process, has the lock. A block device is held exclusively: until the lock is let
/// go nobody mounts it, makes a file system on it or opens it exclusively by whatever name, and where somebody does already the
/// answer is `None`.
///
/// # Errors
/// What the system says, with the path.
pub async fn try_lock(path: &Path) -> io::Result<Option<FileLock>> {
    let held = if let Some(simulation) = simulation() {
        let lock = simulation.try_lock(path)?;
        lock.map(|lock| Held::Simulated { _lock: lock })
    } else {
        let file = on_helper(path, lock_real).await?;
        file.map(|file| Held::Real { _file: file })
    };
    Ok(held.map(|held| FileLock { _held: held }))
}

fn lock_real(path: &Path) -> io::Result<Option<std::fs::File>> {
    if std::fs::metadata(path)?.file_type().is_block_device() {
        return open_exclusively(path);
    }
    let file = std::fs::File::open(path)?;
    match file.try_lock() {
        Ok(()) => Ok(Some(file)),
        Err(TryLockError::WouldBlock) => Ok(None),
        Err(TryLockError::Error(error)) => Err(error),
    }
}

/// Asks the kernel of this machine, on a helper thread, what a simulated machine has no answer to: `None` there.
pub async fn ask_kernel<T: Send + 'static>(
    question: impl FnOnce() -> T + Send + 'static,
) -> Option<T> {
    match simulation() {
        Some(_) => None,
        None => Some(offload(question).await),
    }
}
