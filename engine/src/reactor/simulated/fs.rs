//! Directories, small files, locks and space: the simulated arm.
//!
//! Invariants: the machine has one file system, of [`SPACE_BYTES`] unless its space is limited; a lock ends with the run that
//! took it.

use std::cell::RefCell;
use std::io;
use std::path::Path;
use std::rc::Rc;

use super::super::block_device::BlockDevice;
use super::super::file::OpenOptions;
use super::super::fs::{FileStatus, FileSystemSpace};
use super::disk::{Effect, NameChange, named};
use super::file::SimulatedFile;
use super::names::Entry;
use super::{Simulation, State};

/// The size of the file system where no limit is set.
const SPACE_BYTES: u64 = 1 << 40;
/// The number of the only file system.
const FILE_SYSTEM: u64 = 1;
/// The major number of all block devices: one that Linux keeps for local use.
const SIMULATED_MAJOR: u32 = 240;

/// A file that is locked, until this is dropped or the run ends.
pub(in super::super) struct SimulatedLock {
    state: Rc<RefCell<State>>,
    file: u64,
    run: u64,
}

impl Drop for SimulatedLock {
    fn drop(&mut self) {
        let mut state = self.state.borrow_mut();
        if state.run == self.run {
            state.disk.locks.remove(&self.file);
        }
    }
}

impl Simulation {
    pub(in super::super) async fn sync_directory(&self, path: &Path) -> io::Result<()> {
        self.operate(Effect::SyncDirectory(path.to_path_buf()))
            .await
            .map(drop)
    }

    pub(in super::super) async fn create_dir_all(&self, path: &Path) -> io::Result<()> {
        let change = NameChange::CreateDirectories(path.to_path_buf());
        self.operate(Effect::Name(change)).await.map(drop)
    }

    pub(in super::super) async fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        let change = NameChange::Rename(from.to_path_buf(), to.to_path_buf());
        self.operate(Effect::Name(change)).await.map(drop)
    }

    pub(in super::super) async fn remove_file(&self, path: &Path) -> io::Result<()> {
        let change = NameChange::Remove(path.to_path_buf());
        self.operate(Effect::Name(change)).await.map(drop)
    }

    pub(in super::super) fn exists(&self, path: &Path) -> bool {
        self.state.borrow().disk.names.look_up(path).is_some()
    }

    pub(in super::super) fn list_directory(&self, path: &Path) -> io::Result<Vec<String>> {
        let state = self.state.borrow();
        match state.disk.names.look_up(path) {
            Some(Entry::Directory) => Ok(state.disk.names.children(path)),
            Some(Entry::File(_)) => Err(named(io::ErrorKind::NotADirectory, path)),
            None => Err(named(io::ErrorKind::NotFound, path)),
        }
    }

    pub(in super::super) fn read_small_file(&self, path: &Path) -> io::Result<Vec<u8>> {
        self.content(path)
            .ok_or_else(|| named(io::ErrorKind::NotFound, path))
    }

    pub(in super::super) async fn write_small_file(
        &self,
        path: &Path,
        bytes: &[u8],
        durable: bool,
    ) -> io::Result<()> {
        let options = OpenOptions {
            read_only: false,
            create: true,
            direct: false,
        };
        let file = SimulatedFile::open(self, path, options)?;
        file.set_length(0).await?;
        file.write_bytes(0, bytes.to_vec()).await?;
        if durable { file.sync().await } else { Ok(()) }
    }

    pub(in super::super) fn status(&self, path: &Path) -> io::Result<FileStatus> {
        let state = self.state.borrow();
        let (is_directory, allocated_bytes) = match state.disk.names.look_up(path) {
            Some(Entry::Directory) => (true, 0),
            Some(Entry::File(file)) => (false, state.disk.files[&file].current.length),
            None => return Err(named(io::ErrorKind::NotFound, path)),
        };
        let is_block_device = state
            .disk
            .number_at(path)
            .is_some_and(|file| state.disk.block_devices.contains_key(&file));
        Ok(FileStatus {
            is_directory,
            is_block_device,
            file_system: FILE_SYSTEM,
            allocated_bytes,
        })
    }

    pub(in super::super) fn is_block_device(&self, file: u64) -> bool {
        self.state.borrow().disk.block_devices.contains_key(&file)
    }

    /// What the block device is like that has the path, if one has it.
    pub(in super::super) fn block_device(&self, path: &Path) -> io::Result<Option<BlockDevice>> {
        let state = self.state.borrow();
        let Some(file) = state.disk.number_at(path) else {
            return Ok(None);
        };
        let physical = state.disk.block_devices.get(&file);
        Ok(physical.map(|physical_sector_bytes| BlockDevice {
            number: (SIMULATED_MAJOR, file as u32),
            bytes: state.disk.length(file),
            logical_sector_bytes: state.disk.alignment as u32,
            physical_sector_bytes: *physical_sector_bytes,
            can_discard: true,
        }))
    }

    pub(in super::super) fn space(&self) -> FileSystemSpace {
        let state = self.state.borrow();
        let total_bytes = state.disk.faults.space_limit.unwrap_or(SPACE_BYTES);
        FileSystemSpace {
            total_bytes,
            available_bytes: total_bytes.saturating_sub(state.disk.used_bytes()),
        }
    }

    /// `None` when somebody has the lock.
    pub(in super::super) fn try_lock(&self, path: &Path) -> io::Result<Option<SimulatedLock>> {
        let mut state = self.state.borrow_mut();
        let file = match state.disk.names.look_up(path) {
            Some(Entry::File(file)) => file,
            Some(Entry::Directory) => return Err(named(io::ErrorKind::IsADirectory, path)),
            None => return Err(named(io::ErrorKind::NotFound, path)),
        };
        let run = state.run;
        let is_free = state.disk.locks.insert(file);
        Ok(is_free.then(|| SimulatedLock {
            state: self.state.clone(),
            file,
            run,
        }))
    }
}
