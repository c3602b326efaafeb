//! The simulated arm of calls that block: each takes effect before it returns.
//!
//! Invariants: changes and syncs are operations with a number, so the machine can stop at each of them; from then on every call
//! is an error and changes nothing. Handles hold numbers alone, so that they can go to another thread and come back.

use std::io;
use std::path::{Path, PathBuf};

use super::super::executor::{Reactor, try_with_current};
use super::disk::{Effect, NameChange, named, stopped};
use super::image::Change;
use super::names::Entry;
use super::{Simulation, State};

/// A file that is locked, until this is dropped on a reactor of its machine or the run ends.
pub(in super::super) struct HeldLock {
    file: u64,
    run: u64,
}

impl Drop for HeldLock {
    fn drop(&mut self) {
        let Some(simulation) = try_with_current(Reactor::simulation).flatten() else {
            return;
        };
        let mut state = simulation.state.borrow_mut();
        if state.run == self.run {
            state.disk.locks.remove(&self.file);
        }
    }
}

/// A file that is read and written by calls that block.
pub(in super::super) struct BlockingSimulatedFile {
    simulation: Simulation,
    file: u64,
}

impl BlockingSimulatedFile {
    pub(in super::super) fn length(&self) -> io::Result<u64> {
        let state = self.simulation.state.borrow();
        match state.disk.crashed {
            true => Err(stopped()),
            false => Ok(state.disk.length(self.file)),
        }
    }

    pub(in super::super) fn read_at(&self, bytes: &mut [u8], offset: u64) -> io::Result<usize> {
        let state = self.simulation.state.borrow();
        state.disk.read_now(self.file, offset, bytes)
    }

    pub(in super::super) fn write_all_at(&self, bytes: &[u8], offset: u64) -> io::Result<()> {
        let bytes = bytes.to_vec();
        self.change(Change::Write { offset, bytes })
    }

    pub(in super::super) fn set_length(&self, length: u64) -> io::Result<()> {
        self.change(Change::Length(length))
    }

    fn change(&self, change: Change) -> io::Result<()> {
        let file = self.file;
        let effect = Effect::Change {
            file,
            change: change.clone(),
        };
        self.simulation.operate_now(effect)?;
        let state = self.simulation.state.borrow();
        state.disk.write_through(file, &change)
    }

    pub(in super::super) fn sync(&self) -> io::Result<()> {
        let file = self.file;
        let mark = {
            let mut state = self.simulation.state.borrow_mut();
            state.disk.file(file).flush_mark()
        };
        self.simulation.operate_now(Effect::Sync { file, mark })
    }
}

impl Simulation {
    fn operate_now(&self, effect: Effect) -> io::Result<()> {
        let mut state = self.state.borrow_mut();
        let State {
            disk, clock, trace, ..
        } = &mut *state;
        disk.operate_now(*clock, effect, trace)
    }

    pub(in super::super) fn create_dir_all_now(&self, path: &Path) -> io::Result<()> {
        if self.state.borrow().disk.names.look_up(path) == Some(Entry::Directory) {
            return Ok(());
        }
        self.operate_now(Effect::Name(NameChange::CreateDirectories(path.to_owned())))
    }

    pub(in super::super) fn sync_directory_now(&self, path: &Path) -> io::Result<()> {
        self.operate_now(Effect::SyncDirectory(path.to_owned()))
    }

    pub(in super::super) fn remove_file_now(&self, path: &Path) -> io::Result<()> {
        if !self.exists(path) {
            return Err(named(io::ErrorKind::NotFound, path));
        }
        self.operate_now(Effect::Name(NameChange::Remove(path.to_owned())))
    }

    pub(in super::super) fn rename_now(&self, from: &Path, to: &Path) -> io::Result<()> {
        let change = NameChange::Rename(from.to_owned(), to.to_owned());
        self.operate_now(Effect::Name(change))
    }

    pub(in super::super) fn exchange_now(&self, one: &Path, other: &Path) -> io::Result<()> {
        for path in [one, other] {
            if !self.exists(path) {
                return Err(named(io::ErrorKind::NotFound, path));
            }
        }
        let change = NameChange::Exchange(one.to_owned(), other.to_owned());
        self.operate_now(Effect::Name(change))
    }

    pub(in super::super) fn open_now(
        &self,
        path: &Path,
        create: bool,
    ) -> io::Result<BlockingSimulatedFile> {
        let mut state = self.state.borrow_mut();
        if state.disk.crashed {
            return Err(stopped());
        }
        let file = state.disk.open(path, create)?;
        Ok(BlockingSimulatedFile {
            simulation: self.clone(),
            file,
        })
    }

    /// `None` when somebody has the lock.
    pub(in super::super) fn try_lock_now(&self, path: &Path) -> io::Result<Option<HeldLock>> {
        let file = self.open_now(path, true)?.file;
        let mut state = self.state.borrow_mut();
        let run = state.run;
        let is_free = state.disk.locks.insert(file);
        Ok(is_free.then(|| HeldLock { file, run }))
    }

    /// Prepares a file for a library that maps it.
    pub(in super::super) fn map(&self, directory: &Path, name: &str) -> io::Result<(u64, PathBuf)> {
        let mut state = self.state.borrow_mut();
        let State { disk, trace, .. } = &mut *state;
        disk.map(directory, name, trace)
    }

    /// A library may have written.
    pub(in super::super) fn note_written(&self, number: u64) {
        let mut state = self.state.borrow_mut();
        let State { disk, trace, .. } = &mut *state;
        let noted = disk.note_written(number, trace);
        noted.expect("a copy in the scratch directory can be read");
    }

    /// Syncs a file that a library has mapped.
    pub(in super::super) fn sync_mapped(&self, number: u64) -> io::Result<()> {
        let effect = {
            let mut state = self.state.borrow_mut();
            let State { disk, trace, .. } = &mut *state;
            let file = disk.file_of_mapping(number, trace)?;
            let mark = disk.file(file).flush_mark();
            Effect::Sync { file, mark }
        };
        self.operate_now(effect)
    }
}
