//! A file that a library maps into memory and writes by itself: its directory as this machine has it, in both worlds.
//!
//! Invariants: in the real world the directory is the one that was asked for. In the simulated world the library works on a copy
//! in a scratch directory of this machine, and the simulated file follows: what was written since the last [`MappedFile::sync`]
//! is lost, kept or torn by a power cut. One library at a time has a file so.

use std::io;
use std::path::{Path, PathBuf};

use super::blocking::reserve_behind;
use super::simulation_if_any;

/// The file, and where the library finds its directory.
pub struct MappedFile {
    host_directory: PathBuf,
    /// Its number in a simulated world.
    simulated: Option<u64>,
}

impl MappedFile {
    /// Prepares the file with this name in a directory for a library that will open it, or make it.
    ///
    /// # Errors
    /// What the system says of the scratch directory; the real world has none.
    pub fn prepare(directory: &Path, name: &str) -> io::Result<MappedFile> {
        let Some(simulation) = simulation_if_any() else {
            return Ok(MappedFile {
                host_directory: directory.to_owned(),
                simulated: None,
            });
        };
        let (number, host_directory) = simulation.map(directory, name)?;
        Ok(MappedFile {
            host_directory,
            simulated: Some(number),
        })
    }

    /// The directory that the library is to open.
    pub fn host_directory(&self) -> &Path {
        &self.host_directory
    }

    /// To be called when the library may have written: a power cut may bring this state back, or parts of it.
    pub fn written(&self) {
        if let (Some(number), Some(simulation)) = (self.simulated, simulation_if_any()) {
            simulation.note_written(number);
        }
    }

    /// Makes durable what the library has written; `own` is its own descriptor.
    ///
    /// # Errors
    /// What the system says; what was written before may then be lost.
    pub fn sync(&self, own: &std::fs::File) -> io::Result<()> {
        match (self.simulated, simulation_if_any()) {
            (None, _) => own.sync_all(),
            (Some(number), Some(simulation)) => simulation.sync_mapped(number),
            (Some(_), None) => Err(io::Error::other("its simulated machine does not run")),
        }
    }

    /// Takes so much room behind the end of the file. Where there is none, or the file system has no such thing, it is not
    /// there.
    pub fn reserve(&self, own: &std::fs::File, bytes: u64) {
        if self.simulated.is_none() {
            let _ = reserve_behind(own, bytes);
        }
    }
}
