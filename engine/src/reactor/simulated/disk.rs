//! The disk of a simulated machine: operations with a number, a delay and a fate.
//!
//! Invariants: an operation takes effect when it completes, in an order that the seed chooses; a flush covers what had
//! completed when it was submitted. After the planned crash nothing completes and nothing is submitted. An operation
//! owns its buffer and goes on when its future is dropped. Of a file that hangs no operation completes or takes effect until
//! the file answers again or the machine has ended.

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::task::Waker;

use super::super::buffer::Buffer;
use super::super::random::SeededRandom;
use super::image::{Change, FileImage};
use super::mapped::Mappings;
use super::names::{Entry, Names};
use super::trace::Trace;

/// What a simulated disk has been asked to do since the simulation was made.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct SimulationCounters {
    /// Disk operations submitted; the numbers that `crash_after` counts in.
    pub operations: u64,
    /// Reads among them.
    pub reads: u64,
    /// Writes among them.
    pub writes: u64,
    /// Flushes of files and directories among them.
    pub syncs: u64,
    /// Changes of names and lengths and discarded ranges among them.
    pub changes: u64,
    /// Bytes asked for by reads.
    pub bytes_read: u64,
    /// Bytes given to writes.
    pub bytes_written: u64,
    /// Power cuts.
    pub power_cuts: u64,
}

/// A change of the directory tree or of a file's length.
pub(super) enum NameChange {
    CreateDirectories(PathBuf),
    Rename(PathBuf, PathBuf),
    Exchange(PathBuf, PathBuf),
    Remove(PathBuf),
}

/// What an operation does when it completes.
pub(super) enum Effect {
    Read {
        file: u64,
        buffer: Buffer,
        offset: u64,
        length: usize,
    },
    Change {
        file: u64,
        change: Change,
    },
    Sync {
        file: u64,
        mark: u64,
    },
    Name(NameChange),
    SyncDirectory(PathBuf),
}

/// How an operation ended. Reads give their buffer back.
pub(super) type Outcome = io::Result<Option<Buffer>>;

struct InFlight {
    number: u64,
    effect: Effect,
    failure: Option<i32>,
}

/// What shall go wrong. Numbers count down to the operation that fails.
#[derive(Default)]
pub(super) struct Faults {
    pub(super) sync: Vec<u64>,
    pub(super) write: Vec<u64>,
    pub(super) read: Vec<u64>,
    /// Files of which the next flush fails, or the next write.
    pub(super) next_sync: Vec<PathBuf>,
    pub(super) next_write: Vec<PathBuf>,
    pub(super) bad_ranges: Vec<(PathBuf, Range<u64>)>,
    pub(super) space_limit: Option<u64>,
    pub(super) hanging: Vec<PathBuf>,
}

impl Faults {
    /// Whether reads of the range fail.
    fn is_bad(&self, path: &Path, range: &Range<u64>) -> bool {
        self.bad_ranges.iter().any(|(bad_path, bad)| {
            bad_path == path && bad.start < range.end && range.start < bad.end
        })
    }
}

/// Whether the file's next operation is to fail; it was this one.
fn strikes_at(paths: &mut Vec<PathBuf>, path: Option<&PathBuf>) -> bool {
    let found = paths.iter().position(|planned| Some(planned) == path);
    found.map(|at| paths.swap_remove(at)).is_some()
}

/// Whether this operation is the one that fails; counts it.
fn strikes(countdowns: &mut Vec<u64>) -> bool {
    countdowns.iter_mut().for_each(|left| *left -= 1);
    let before = countdowns.len();
    countdowns.retain(|left| *left > 0);
    countdowns.len() < before
}

pub(super) struct Disk {
    pub(super) names: Names,
    pub(super) files: BTreeMap<u64, FileImage>,
    paths: BTreeMap<u64, PathBuf>,
    next_file: u64,
    /// By due time, then number.
    in_flight: BTreeMap<(u64, u64), InFlight>,
    /// Operations on files that hang, with their numbers.
    unanswered: Vec<InFlight>,
    /// Ended operations whose future has not looked yet.
    ended: BTreeMap<u64, Outcome>,
    wakers: BTreeMap<u64, Waker>,
    /// Operations whose future is gone.
    orphans: Vec<u64>,
    /// Files that are block devices, with the length of their physical sectors.
    pub(super) block_devices: BTreeMap<u64, u32>,
    /// Files that are locked.
    pub(super) locks: BTreeSet<u64>,
    pub(super) faults: Faults,
    pub(super) counters: SimulationCounters,
    pub(super) crash_after: Option<u64>,
    pub(super) crashed: bool,
    pub(super) alignment: usize,
    /// Files that libraries have mapped.
    pub(super) mappings: Mappings,
    random: SeededRandom,
}

impl Disk {
    /// The second seed decides how closely mapped files are followed.
    pub(super) fn new(seed: u64, mappings_seed: u64) -> Disk {
        Disk {
            names: Names::default(),
            files: BTreeMap::new(),
            paths: BTreeMap::new(),
            next_file: 1,
            in_flight: BTreeMap::new(),
            unanswered: Vec::new(),
            ended: BTreeMap::new(),
            wakers: BTreeMap::new(),
            orphans: Vec::new(),
            block_devices: BTreeMap::new(),
            locks: BTreeSet::new(),
            faults: Faults::default(),
            counters: SimulationCounters::default(),
            crash_after: None,
            crashed: false,
            alignment: 4096,
            mappings: Mappings::new(mappings_seed),
            random: SeededRandom::new(seed),
        }
    }

    pub(super) fn file(&mut self, file: u64) -> &mut FileImage {
        self.files
            .get_mut(&file)
            .expect("an open file has an image")
    }

    /// The number of the file with this path.
    pub(super) fn number_at(&self, path: &Path) -> Option<u64> {
        match self.names.look_up(path)? {
            Entry::File(file) => Some(file),
            Entry::Directory => None,
        }
    }

    pub(super) fn open(&mut self, path: &Path, create: bool) -> io::Result<u64> {
        match self.names.look_up(path) {
            Some(Entry::File(file)) => Ok(file),
            Some(Entry::Directory) => Err(named(io::ErrorKind::IsADirectory, path)),
            None if create && self.is_directory(path.parent()) => {
                let file = self.next_file;
                self.next_file += 1;
                self.files.insert(file, FileImage::default());
                self.paths.insert(file, path.to_path_buf());
                self.names.set(path, Entry::File(file));
                Ok(file)
            }
            None => Err(named(io::ErrorKind::NotFound, path)),
        }
    }

    fn is_directory(&self, path: Option<&Path>) -> bool {
        path.is_none_or(|path| self.names.look_up(path) == Some(Entry::Directory))
    }

    /// Submits an operation: its number, or `None` when the machine has stopped, and the future waits forever.
    pub(super) fn submit(&mut self, clock: u64, effect: Effect, trace: &mut Trace) -> Option<u64> {
        if self.crashed {
            return None;
        }
        let number = self.count(&effect, trace);
        let failure = self.failure(&effect);
        let due = clock + self.delay(&effect);
        let hangs = self.hangs(&effect);
        let operation = InFlight {
            number,
            effect,
            failure,
        };
        if hangs {
            self.unanswered.push(operation);
        } else {
            self.in_flight.insert((due, number), operation);
        }
        if self.crash_after == Some(number) {
            self.crash(trace);
            return None;
        }
        Some(number)
    }

    /// An operation that is waited for on the spot: it takes effect at once. An error when the machine has stopped, or stops
    /// now; then it is in flight.
    pub(super) fn operate_now(
        &mut self,
        clock: u64,
        effect: Effect,
        trace: &mut Trace,
    ) -> io::Result<()> {
        if self.crashed {
            return Err(stopped());
        }
        let number = self.count(&effect, trace);
        let failure = self.failure(&effect);
        if self.crash_after == Some(number) {
            let operation = InFlight {
                number,
                effect,
                failure,
            };
            self.in_flight.insert((clock, number), operation);
            self.crash(trace);
            return Err(stopped());
        }
        self.take_effect(effect, failure).map(drop)
    }

    /// The machine stops: what libraries have written so far is all that they have written.
    pub(super) fn crash(&mut self, trace: &mut Trace) {
        self.crashed = true;
        self.crash_after = None;
        self.unmap_all(trace);
    }

    fn count(&mut self, effect: &Effect, trace: &mut Trace) -> u64 {
        let counters = &mut self.counters;
        counters.operations += 1;
        trace.add(counters.operations);
        match effect {
            Effect::Read {
                file,
                offset,
                length,
                ..
            } => {
                counters.reads += 1;
                counters.bytes_read += *length as u64;
                trace.add_all(&[1, *file, *offset, *length as u64]);
            }
            Effect::Change {
                file,
                change: Change::Write { offset, bytes },
            } => {
                counters.writes += 1;
                counters.bytes_written += bytes.len() as u64;
                let sum = crc32c::crc32c(bytes);
                trace.add_all(&[2, *file, *offset, bytes.len() as u64, u64::from(sum)]);
            }
            Effect::Sync { file, mark } => {
                counters.syncs += 1;
                trace.add_all(&[3, *file, *mark]);
            }
            Effect::SyncDirectory(_) => {
                counters.syncs += 1;
                trace.add(4);
            }
            Effect::Change {
                change: Change::Length(length),
                file,
            } => {
                counters.changes += 1;
                trace.add_all(&[5, *file, *length]);
            }
            Effect::Change {
                change: Change::Discard { range, choice },
                file,
            } => {
                counters.changes += 1;
                trace.add_all(&[10, *file, range.start, range.end, *choice]);
            }
            Effect::Name(_) => {
                counters.changes += 1;
                trace.add(6);
            }
        }
        counters.operations
    }

    fn failure(&mut self, effect: &Effect) -> Option<i32> {
        match effect {
            Effect::Read {
                file,
                offset,
                length,
                ..
            } => {
                let range = *offset..offset + *length as u64;
                let path = &self.paths[file];
                let bad = self.faults.is_bad(path, &range);
                (strikes(&mut self.faults.read) || bad).then_some(libc::EIO)
            }
            Effect::Change { file, change } => {
                let length = match change {
                    Change::Write { offset, bytes } => offset + bytes.len() as u64,
                    Change::Length(length) => *length,
                    Change::Discard { .. } => 0,
                };
                let path = self.paths.get(file);
                let failed = matches!(change, Change::Write { .. })
                    && (strikes(&mut self.faults.write)
                        || strikes_at(&mut self.faults.next_write, path));
                if failed {
                    return Some(libc::EIO);
                }
                self.exceeds_space(*file, length).then_some(libc::ENOSPC)
            }
            Effect::Sync { file, .. } => {
                let path = self.paths.get(file);
                let failed =
                    strikes(&mut self.faults.sync) || strikes_at(&mut self.faults.next_sync, path);
                failed.then_some(libc::EIO)
            }
            Effect::Name(_) | Effect::SyncDirectory(_) => None,
        }
    }

    fn hangs(&self, effect: &Effect) -> bool {
        let file = match effect {
            Effect::Read { file, .. } | Effect::Change { file, .. } | Effect::Sync { file, .. } => {
                file
            }
            Effect::Name(_) | Effect::SyncDirectory(_) => return false,
        };
        let path = self.paths.get(file);
        path.is_some_and(|path| self.faults.hanging.contains(path))
    }

    /// The file answers again: what it was asked meanwhile completes.
    pub(super) fn answer(&mut self, clock: u64, path: &Path) {
        self.faults.hanging.retain(|hanging| hanging != path);
        for operation in std::mem::take(&mut self.unanswered) {
            if self.hangs(&operation.effect) {
                self.unanswered.push(operation);
            } else {
                let due = clock + self.delay(&operation.effect);
                self.in_flight.insert((due, operation.number), operation);
            }
        }
    }

    /// Bytes of the reads of a file that are under way.
    pub(super) fn bytes_being_read(&self, file: u64) -> usize {
        let operations = self.in_flight.values().chain(&self.unanswered);
        let lengths = operations.map(|operation| match &operation.effect {
            Effect::Read {
                file: of, length, ..
            } if *of == file => *length,
            _ => 0,
        });
        lengths.sum()
    }

    /// Reads what is there, on the spot: no operation with a number, and none that a crash is planned for.
    pub(super) fn read_now(&self, file: u64, offset: u64, bytes: &mut [u8]) -> io::Result<usize> {
        if self.crashed {
            return Err(stopped());
        }
        let range = offset..offset + bytes.len() as u64;
        if self.faults.is_bad(&self.paths[&file], &range) {
            return Err(io::Error::from_raw_os_error(libc::EIO));
        }
        let length = self.length(file);
        let count = length.saturating_sub(offset).min(bytes.len() as u64) as usize;
        self.read_current(file, offset, &mut bytes[..count]);
        Ok(count)
    }

    fn exceeds_space(&self, file: u64, length: u64) -> bool {
        if self.block_devices.contains_key(&file) {
            return length > self.files[&file].current.length;
        }
        let Some(limit) = self.faults.space_limit else {
            return false;
        };
        let own = self.files[&file].current.length;
        length > own && self.used_bytes() - own + length > limit
    }

    /// Where the pages of a file lie that hold something.
    pub(super) fn written_pages(&self, file: u64) -> Vec<u64> {
        self.files[&file].current.written_pages()
    }

    /// Bytes of all files together.
    pub(super) fn used_bytes(&self) -> u64 {
        let files = self.files.iter();
        let files = files.filter(|(file, _)| !self.block_devices.contains_key(file));
        files.map(|(_, file)| file.current.length).sum()
    }

    /// Makes a block device, which survives power cuts, or sets the length of one.
    pub(super) fn set_block_device(
        &mut self,
        path: &Path,
        bytes: u64,
        physical_sector_bytes: u32,
    ) -> io::Result<()> {
        let file = self.open(path, true)?;
        if let Some(directory) = path.parent() {
            self.names.sync(directory);
        }
        self.block_devices.insert(file, physical_sector_bytes);
        self.file(file).set_fixed_length(bytes);
        Ok(())
    }

    /// Nanoseconds until completion: mostly tens of microseconds, now and then milliseconds.
    fn delay(&mut self, effect: &Effect) -> u64 {
        let base = match effect {
            Effect::Read { .. } | Effect::Change { .. } => 20_000 + self.random.below(180_000),
            _ => 100_000 + self.random.below(400_000),
        };
        if self.random.below(64) == 0 {
            base + self.random.below(5_000_000)
        } else {
            base
        }
    }

    pub(super) fn next_due(&self) -> Option<u64> {
        if self.crashed {
            return None;
        }
        self.in_flight.first_key_value().map(|(key, _)| key.0)
    }

    /// Completes what is due; the wakers of those who wait.
    pub(super) fn complete_due(&mut self, clock: u64, trace: &mut Trace) -> Vec<Waker> {
        let mut woken = Vec::new();
        while let Some(entry) = self.in_flight.first_entry()
            && entry.key().0 <= clock
            && !self.crashed
        {
            let operation = entry.remove();
            let number = operation.number;
            trace.add_all(&[7, clock, number]);
            let outcome = self.take_effect(operation.effect, operation.failure);
            if let Some(position) = self.orphans.iter().position(|orphan| *orphan == number) {
                self.orphans.swap_remove(position);
                continue;
            }
            self.ended.insert(number, outcome);
            woken.extend(self.wakers.remove(&number));
        }
        woken
    }

    fn take_effect(&mut self, effect: Effect, failure: Option<i32>) -> Outcome {
        if let Effect::Sync { file, mark } = effect {
            self.file(file).flushed(mark, failure.is_none());
        }
        if let Some(code) = failure {
            return Err(io::Error::from_raw_os_error(code));
        }
        match effect {
            Effect::Read {
                file,
                mut buffer,
                offset,
                length,
            } => {
                let image = &self.files[&file].current;
                let available = image.length.saturating_sub(offset).min(length as u64) as usize;
                buffer.set_len(available);
                image.read(offset, &mut buffer);
                return Ok(Some(buffer));
            }
            Effect::Change { file, change } => self.file(file).change(change),
            Effect::Sync { .. } => {}
            Effect::Name(change) => self.change_names(change)?,
            Effect::SyncDirectory(path) => {
                if self.names.look_up(&path) != Some(Entry::Directory) {
                    return Err(named(io::ErrorKind::NotFound, &path));
                }
                self.names.sync(&path);
            }
        }
        Ok(None)
    }

    fn change_names(&mut self, change: NameChange) -> io::Result<()> {
        match change {
            NameChange::CreateDirectories(path) => {
                let mut above: Vec<&Path> = path.ancestors().collect();
                above.reverse();
                for directory in above {
                    match self.names.look_up(directory) {
                        Some(Entry::Directory) => {}
                        Some(Entry::File(_)) => {
                            return Err(named(io::ErrorKind::NotADirectory, directory));
                        }
                        None => self.names.set(directory, Entry::Directory),
                    }
                }
            }
            NameChange::Rename(from, to) => {
                let entry = self
                    .names
                    .look_up(&from)
                    .ok_or_else(|| named(io::ErrorKind::NotFound, &from))?;
                if !self.is_directory(to.parent()) {
                    return Err(named(io::ErrorKind::NotFound, &to));
                }
                if let Entry::File(file) = entry {
                    self.paths.insert(file, to.clone());
                }
                self.names.rename(&from, &to, entry);
            }
            NameChange::Exchange(one, other) => {
                let look_up = |path: &Path| {
                    let found = self.names.look_up(path);
                    found.ok_or_else(|| named(io::ErrorKind::NotFound, path))
                };
                let entries = (look_up(&one)?, look_up(&other)?);
                for (path, entry) in [(&other, entries.0), (&one, entries.1)] {
                    if let Entry::File(file) = entry {
                        self.paths.insert(file, path.clone());
                    }
                }
                self.names.exchange((&one, entries.0), (&other, entries.1));
            }
            NameChange::Remove(path) => match self.names.look_up(&path) {
                Some(Entry::File(_)) => self.names.remove(&path),
                Some(Entry::Directory) => return Err(named(io::ErrorKind::IsADirectory, &path)),
                None => return Err(named(io::ErrorKind::NotFound, &path)),
            },
        }
        Ok(())
    }

    pub(super) fn poll(&mut self, number: u64, waker: &Waker) -> Option<Outcome> {
        let outcome = self.ended.remove(&number);
        if outcome.is_none() {
            self.wakers.insert(number, waker.clone());
        }
        outcome
    }

    /// The future of the operation is gone. What it left is for the caller to drop.
    pub(super) fn abandon(&mut self, number: u64) -> (Option<Waker>, Option<Outcome>) {
        let outcome = self.ended.remove(&number);
        if outcome.is_none() {
            self.orphans.push(number);
        }
        (self.wakers.remove(&number), outcome)
    }

    /// A run is over, or the next begins: what is in flight takes effect without anybody waiting.
    pub(super) fn settle(&mut self) {
        self.wakers.clear();
        self.ended.clear();
        self.orphans.clear();
        self.unanswered.clear();
        self.locks.clear();
        for (_, operation) in std::mem::take(&mut self.in_flight) {
            // Nobody hears of a failure any more.
            let _ = self.take_effect(operation.effect, operation.failure);
        }
        self.crashed = false;
    }

    /// Reads need no buffer after the end of a run; everything else in flight is the power cut's or the next run's.
    pub(super) fn release_buffers(&mut self) {
        self.wakers.clear();
        self.ended.clear();
        self.orphans.clear();
        self.unanswered.clear();
        self.in_flight
            .retain(|_, operation| !matches!(operation.effect, Effect::Read { .. }));
    }

    /// The power is gone: what was not durable is resolved by chance.
    pub(super) fn cut(&mut self) {
        self.counters.power_cuts += 1;
        self.release_buffers();
        for (_, operation) in std::mem::take(&mut self.in_flight) {
            match operation.effect {
                // A flush that had no answer has covered nothing for sure.
                Effect::Sync { .. } | Effect::SyncDirectory(_) | Effect::Read { .. } => {}
                Effect::Change { file, change } => self.file(file).change(change),
                Effect::Name(change) => drop(self.change_names(change)),
            }
        }
        self.names.cut(&mut self.random);
        let named: Vec<u64> = self.names.files().collect();
        self.files.retain(|file, _| named.contains(file));
        for file in self.files.values_mut() {
            file.cut(&mut self.random);
        }
        self.crashed = false;
    }
}

pub(super) fn stopped() -> io::Error {
    io::Error::other("the machine has stopped")
}

pub(super) fn named(kind: io::ErrorKind, path: &Path) -> io::Error {
    io::Error::new(kind, format!("{}: {kind}", path.display()))
}
