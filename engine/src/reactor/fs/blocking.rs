//! The calls of [`fs`](super) once more, for code that blocks and is meant for a helper thread, and files read and written so.
//!
//! Invariants: on a simulated reactor everything is answered by the simulated machine, elsewhere by this one; after a planned
//! crash nothing has an effect and everything is an error, of which nobody hears, see [`offload`](super::super::offload()).

use std::fs::TryLockError;
use std::io;
use std::num::NonZeroU64;
use std::os::unix::fs::FileExt;
use std::path::Path;

use rustix::fs::{Advice, CWD, FallocateFlags, RenameFlags, fadvise, fallocate, renameat_with};

use super::super::simulated::{BlockingSimulatedFile, HeldLock};
use super::{FileSystemSpace, simulation_if_any, space_of};

/// Makes a directory and those above it.
///
/// # Errors
/// What the system says.
pub fn create_dir_all(path: &Path) -> io::Result<()> {
    match simulation_if_any() {
        Some(simulation) => simulation.create_dir_all_now(path),
        None => std::fs::create_dir_all(path),
    }
}

/// Makes the names in a directory durable.
///
/// # Errors
/// What the system says.
pub fn sync_directory(path: &Path) -> io::Result<()> {
    match simulation_if_any() {
        Some(simulation) => simulation.sync_directory_now(path),
        None => std::fs::File::open(path)?.sync_all(),
    }
}

/// Removes a file.
///
/// # Errors
/// What the system says.
pub fn remove_file(path: &Path) -> io::Result<()> {
    match simulation_if_any() {
        Some(simulation) => simulation.remove_file_now(path),
        None => std::fs::remove_file(path),
    }
}

/// Renames a file, replacing what has the new name.
///
/// # Errors
/// What the system says.
pub fn rename(from: &Path, to: &Path) -> io::Result<()> {
    match simulation_if_any() {
        Some(simulation) => simulation.rename_now(from, to),
        None => std::fs::rename(from, to),
    }
}

/// Exchanges the names of two files, at once.
///
/// # Errors
/// What the system says: `NotFound` where one is missing, `Unsupported` or `InvalidInput` where the file system exchanges
/// nothing.
pub fn exchange(one: &Path, other: &Path) -> io::Result<()> {
    match simulation_if_any() {
        Some(simulation) => simulation.exchange_now(one, other),
        None => Ok(renameat_with(CWD, one, CWD, other, RenameFlags::EXCHANGE)?),
    }
}

/// The whole of a small file.
///
/// # Errors
/// What the system says.
pub fn read(path: &Path) -> io::Result<Vec<u8>> {
    let file = File::open(path)?;
    let mut bytes = vec![0; file.length()? as usize];
    file.read_exact_at(&mut bytes, 0)?;
    Ok(bytes)
}

/// Whether a file or directory has the path.
///
/// # Errors
/// What the system says.
pub fn exists(path: &Path) -> io::Result<bool> {
    match simulation_if_any() {
        Some(simulation) => Ok(simulation.exists(path)),
        None => path.try_exists(),
    }
}

/// How large the file system is that a path lies on.
///
/// # Errors
/// What the system says.
pub fn space(path: &Path) -> io::Result<FileSystemSpace> {
    match simulation_if_any() {
        Some(simulation) => Ok(simulation.space()),
        None => space_of(path),
    }
}

/// Keeps others from locking a file, until it is dropped or the process ends.
pub struct Lock {
    _held: Held,
}

enum Held {
    Real { _file: std::fs::File },
    Simulated { _lock: HeldLock },
}

/// Locks a file, which is made where it is missing; `None` when somebody, also of this process, has the lock.
///
/// # Errors
/// What the system says.
pub fn try_lock(path: &Path) -> io::Result<Option<Lock>> {
    let held = match simulation_if_any() {
        Some(simulation) => simulation
            .try_lock_now(path)?
            .map(|lock| Held::Simulated { _lock: lock }),
        None => lock_real(path)?.map(|file| Held::Real { _file: file }),
    };
    Ok(held.map(|held| Lock { _held: held }))
}

fn lock_real(path: &Path) -> io::Result<Option<std::fs::File>> {
    let mut options = std::fs::File::options();
    let file = options
        .create(true)
        .truncate(false)
        .write(true)
        .open(path)?;
    match file.try_lock() {
        Ok(()) => Ok(Some(file)),
        Err(TryLockError::WouldBlock) => Ok(None),
        Err(TryLockError::Error(error)) => Err(error),
    }
}

/// An open file.
pub struct File(Place);

enum Place {
    Real(std::fs::File),
    Simulated(BlockingSimulatedFile),
}

impl From<std::fs::File> for File {
    /// A file of this machine.
    fn from(file: std::fs::File) -> File {
        File(Place::Real(file))
    }
}

impl File {
    /// Opens a file to read it.
    ///
    /// # Errors
    /// What the system says.
    pub fn open(path: &Path) -> io::Result<File> {
        File::open_with(path, std::fs::File::options().read(true), false)
    }

    /// Opens a file to read and write it.
    ///
    /// # Errors
    /// What the system says.
    pub fn open_to_write(path: &Path) -> io::Result<File> {
        File::open_with(path, std::fs::File::options().read(true).write(true), false)
    }

    /// The same, and makes it where it is missing.
    ///
    /// # Errors
    /// What the system says.
    pub fn create(path: &Path) -> io::Result<File> {
        let mut options = std::fs::File::options();
        let options = options.read(true).write(true).create(true).truncate(false);
        File::open_with(path, options, true)
    }

    fn open_with(path: &Path, options: &std::fs::OpenOptions, create: bool) -> io::Result<File> {
        Ok(File(match simulation_if_any() {
            Some(simulation) => Place::Simulated(simulation.open_now(path, create)?),
            None => Place::Real(options.open(path)?),
        }))
    }

    /// Bytes of the file.
    ///
    /// # Errors
    /// What the system says.
    pub fn length(&self) -> io::Result<u64> {
        match &self.0 {
            Place::Real(file) => Ok(file.metadata()?.len()),
            Place::Simulated(file) => file.length(),
        }
    }

    /// Reads as much as there is, and says how much that was.
    ///
    /// # Errors
    /// What the system says.
    pub fn read_at(&self, bytes: &mut [u8], offset: u64) -> io::Result<usize> {
        match &self.0 {
            Place::Real(file) => file.read_at(bytes, offset),
            Place::Simulated(file) => file.read_at(bytes, offset),
        }
    }

    /// Fills the bytes.
    ///
    /// # Errors
    /// `UnexpectedEof` where the file ends before; else what the system says.
    pub fn read_exact_at(&self, bytes: &mut [u8], offset: u64) -> io::Result<()> {
        match &self.0 {
            Place::Real(file) => file.read_exact_at(bytes, offset),
            Place::Simulated(file) => match file.read_at(bytes, offset)? {
                count if count == bytes.len() => Ok(()),
                _ => Err(io::ErrorKind::UnexpectedEof.into()),
            },
        }
    }

    /// Writes all bytes.
    ///
    /// # Errors
    /// What the system says.
    pub fn write_all_at(&self, bytes: &[u8], offset: u64) -> io::Result<()> {
        match &self.0 {
            Place::Real(file) => file.write_all_at(bytes, offset),
            Place::Simulated(file) => file.write_all_at(bytes, offset),
        }
    }

    /// Cuts the file, or lets it grow.
    ///
    /// # Errors
    /// What the system says.
    pub fn set_length(&self, length: u64) -> io::Result<()> {
        match &self.0 {
            Place::Real(file) => file.set_len(length),
            Place::Simulated(file) => file.set_length(length),
        }
    }

    /// Makes content and length durable.
    ///
    /// # Errors
    /// What the system says; what was written before may then be lost.
    pub fn sync(&self) -> io::Result<()> {
        match &self.0 {
            Place::Real(file) => file.sync_all(),
            Place::Simulated(file) => file.sync(),
        }
    }

    /// Says that a range is read soon. Advice that is not taken costs time alone.
    pub fn will_need(&self, offset: u64, bytes: NonZeroU64) {
        if let Place::Real(file) = &self.0 {
            let _ = fadvise(file, offset, Some(bytes), Advice::WillNeed);
        }
    }
}

/// Takes room behind the end of a file of this machine, without letting it grow.
pub(super) fn reserve_behind(file: &std::fs::File, bytes: u64) -> io::Result<()> {
    let length = file.metadata()?.len();
    Ok(fallocate(file, FallocateFlags::KEEP_SIZE, length, bytes)?)
}
