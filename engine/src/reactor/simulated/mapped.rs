//! Files that a library has mapped: the library works on a copy on this machine, and the simulated file follows it.
//!
//! Invariants: what has changed in the copy becomes a change of the simulated file, page by page and not flushed, at the latest
//! when the file is synced, when the machine stops and when the run ends; reads see the copy. What a library writes after the
//! machine has stopped is seen by nobody. The scratch directory goes with the machine.

use std::collections::BTreeMap;
use std::fs::{self, DirBuilder, File};
use std::io;
use std::os::unix::fs::{DirBuilderExt, FileExt};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};

use super::super::random::SeededRandom;
use super::disk::{Disk, named, stopped};
use super::image::{Change, PAGE_BYTES};
use super::trace::Trace;

/// How much of a copy is compared at a time.
const STEP_BYTES: usize = 64 * PAGE_BYTES;
/// A copy up to this length is compared whenever it may have changed, a longer one as much more seldom.
const FOLLOWED_BYTES: u64 = 256 << 10;

/// A directory of this machine for the copies of one simulated machine.
struct Scratch {
    dir: PathBuf,
}

impl Scratch {
    fn new() -> io::Result<Scratch> {
        static NEXT: AtomicU64 = AtomicU64::new(0);
        loop {
            let number = NEXT.fetch_add(1, Ordering::Relaxed);
            let name = format!("strata-simulation-{}-{number}", std::process::id());
            let dir = std::env::temp_dir().join(name);
            match DirBuilder::new().mode(0o700).create(&dir) {
                Ok(()) => return Ok(Scratch { dir }),
                Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {}
                Err(error) => return Err(error),
            }
        }
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        // What is left of it is the operating system's to clean up.
        let _ = fs::remove_dir_all(&self.dir);
    }
}

/// A file that a library has mapped.
struct Mapping {
    path: PathBuf,
    /// The directory of the copy.
    host_directory: PathBuf,
    /// The copy.
    host: PathBuf,
    /// The simulated file, once the library has made it.
    file: Option<u64>,
}

/// All of them on one machine.
pub(super) struct Mappings {
    scratch: Option<Scratch>,
    open: BTreeMap<u64, Mapping>,
    next: u64,
    random: SeededRandom,
}

impl Mappings {
    pub(super) fn new(seed: u64) -> Mappings {
        Mappings {
            scratch: None,
            open: BTreeMap::new(),
            next: 1,
            random: SeededRandom::new(seed),
        }
    }

    /// The copy of a file that a library has mapped.
    fn host_of(&self, file: u64) -> Option<&Path> {
        let mut open = self.open.values();
        open.find(|mapping| mapping.file == Some(file))
            .map(|mapping| mapping.host.as_path())
    }

    /// A new directory for a copy, with its number.
    fn new_directory(&mut self) -> io::Result<(u64, PathBuf)> {
        let scratch = match self.scratch.take() {
            Some(scratch) => scratch,
            None => Scratch::new()?,
        };
        let dir = self.scratch.insert(scratch).dir.join(self.next.to_string());
        fs::create_dir(&dir)?;
        self.next += 1;
        Ok((self.next - 1, dir))
    }
}

impl Disk {
    /// Makes a copy of a file for a library, also where there is no such file yet: the number of the mapping, and the
    /// directory of the copy.
    pub(super) fn map(
        &mut self,
        directory: &Path,
        name: &str,
        trace: &mut Trace,
    ) -> io::Result<(u64, PathBuf)> {
        if self.crashed {
            return Err(stopped());
        }
        let path = directory.join(name);
        let older = self.mappings.open.iter().find(|(_, at)| at.path == path);
        if let Some(number) = older.map(|(number, _)| *number) {
            self.unmap(number, trace)?;
        }
        let (number, host_directory) = self.mappings.new_directory()?;
        let host = host_directory.join(name);
        let file = self.number_at(&path);
        if let Some(image) = file.and_then(|file| self.files.get(&file)) {
            image.current.write_to(&File::create_new(&host)?)?;
        }
        let mapping = Mapping {
            path,
            host_directory: host_directory.clone(),
            host,
            file,
        };
        self.mappings.open.insert(number, mapping);
        Ok((number, host_directory))
    }

    /// The library may have written. Of a short copy every state is taken note of, of a longer one some, by chance.
    pub(super) fn note_written(&mut self, number: u64, trace: &mut Trace) -> io::Result<()> {
        let Some(mapping) = self.mappings.open.get(&number) else {
            return Ok(());
        };
        if mapping.file.is_some() {
            let steps = fs::metadata(&mapping.host)?.len() / FOLLOWED_BYTES + 1;
            if self.mappings.random.below(steps) > 0 {
                return Ok(());
            }
        }
        let pages = self.absorb(number, trace)?;
        if pages > 0 {
            let counters = &mut self.counters;
            counters.operations += 1;
            counters.writes += 1;
            counters.bytes_written += (pages * PAGE_BYTES) as u64;
            if self.crash_after == Some(counters.operations) {
                self.crash(trace);
            }
        }
        Ok(())
    }

    /// The file that a sync of the mapping is for, with everything that the library has written.
    pub(super) fn file_of_mapping(&mut self, number: u64, trace: &mut Trace) -> io::Result<u64> {
        self.absorb(number, trace)?;
        let mapping = self.mappings.open.get(&number).ok_or_else(stopped)?;
        mapping
            .file
            .ok_or_else(|| named(io::ErrorKind::NotFound, &mapping.path))
    }

    /// No library goes on: what all of them have written is in the files.
    pub(super) fn unmap_all(&mut self, trace: &mut Trace) {
        let numbers: Vec<u64> = self.mappings.open.keys().copied().collect();
        for number in numbers {
            let unmapped = self.unmap(number, trace);
            // A panic on its way says more than this one.
            assert!(
                unmapped.is_ok() || std::thread::panicking(),
                "a copy in the scratch directory: {unmapped:?}"
            );
        }
    }

    fn unmap(&mut self, number: u64, trace: &mut Trace) -> io::Result<()> {
        self.absorb(number, trace)?;
        if let Some(mapping) = self.mappings.open.remove(&number) {
            // Who has it open keeps it. What is left goes with the scratch directory.
            let _ = fs::remove_dir_all(&mapping.host_directory);
        }
        Ok(())
    }

    /// Makes what differs in the copy a change of the file; how many pages that were.
    fn absorb(&mut self, number: u64, trace: &mut Trace) -> io::Result<usize> {
        let Some(mapping) = self.mappings.open.get(&number) else {
            return Ok(0);
        };
        let copy = match File::open(&mapping.host) {
            Ok(copy) => copy,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(0),
            Err(error) => return Err(error),
        };
        let file = match mapping.file {
            Some(file) => file,
            None => {
                let path = mapping.path.clone();
                let file = self.open(&path, true)?;
                if let Some(mapping) = self.mappings.open.get_mut(&number) {
                    mapping.file = Some(file);
                }
                file
            }
        };
        // Without a name, and the power was cut since.
        if !self.files.contains_key(&file) {
            return Ok(0);
        }
        let changes = self.differences(file, &copy)?;
        let image = self.file(file);
        for (offset, bytes) in &changes {
            let sum = u64::from(crc32c::crc32c(bytes));
            trace.add_all(&[12, file, *offset, sum]);
        }
        let pages = changes.len();
        for (offset, bytes) in changes {
            image.change(Change::Write { offset, bytes });
        }
        let length = copy.metadata()?.len();
        if image.current.length != length {
            image.change(Change::Length(length));
        }
        Ok(pages)
    }

    /// The pages of a copy that are not those of the file.
    fn differences(&self, file: u64, copy: &File) -> io::Result<Vec<(u64, Vec<u8>)>> {
        let image = &self.files[&file].current;
        let (mut step, mut at, mut found) = (vec![0; STEP_BYTES], 0, Vec::new());
        loop {
            let count = copy.read_at(&mut step, at)?;
            if count == 0 {
                return Ok(found);
            }
            for (page, bytes) in step[..count].chunks(PAGE_BYTES).enumerate() {
                let offset = at + (page * PAGE_BYTES) as u64;
                if !image.holds(offset, bytes) {
                    found.push((offset, bytes.to_vec()));
                }
            }
            at += count as u64;
        }
    }

    /// Bytes of a file, as its reads see it.
    pub(super) fn length(&self, file: u64) -> u64 {
        let host = self.mappings.host_of(file).map(fs::metadata);
        match host {
            Some(Ok(metadata)) => metadata.len(),
            Some(Err(_)) | None => self.files[&file].current.length,
        }
    }

    /// What reads of a file see.
    pub(super) fn read_current(&self, file: u64, offset: u64, bytes: &mut [u8]) {
        let host = self.mappings.host_of(file).map(File::open);
        match host {
            Some(Ok(copy)) if copy.read_exact_at(bytes, offset).is_ok() => {}
            Some(_) | None => self.files[&file].current.read(offset, bytes),
        }
    }

    /// What was written to a file reaches the copy that a library has of it.
    pub(super) fn write_through(&self, file: u64, change: &Change) -> io::Result<()> {
        let Some(host) = self.mappings.host_of(file) else {
            return Ok(());
        };
        let copy = File::options().write(true).open(host)?;
        match change {
            Change::Write { offset, bytes } => copy.write_all_at(bytes, *offset),
            Change::Length(length) => copy.set_len(*length),
            Change::Discard { .. } => Err(io::ErrorKind::Unsupported.into()),
        }
    }

    /// Changes a byte behind everybody's back, on the platter and where it is read.
    pub(super) fn damage(
        &mut self,
        file: u64,
        offset: u64,
        act: impl Fn(&mut u8),
    ) -> io::Result<()> {
        let mut byte = [0];
        self.read_current(file, offset, &mut byte);
        act(&mut byte[0]);
        if offset < self.length(file) {
            let bytes = byte.to_vec();
            self.write_through(file, &Change::Write { offset, bytes })?;
        }
        self.file(file).damage(offset, act);
        Ok(())
    }
}
