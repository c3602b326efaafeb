//! The simulated world: a clock that jumps from event to event, a seeded random source, a disk that can lose and tear
//! what was not flushed. One seed, one run, bit for bit.
//!
//! Invariants: everything that can differ between two runs is drawn from the seed and enters the trace hash. The only files of
//! this machine are copies in a scratch directory for libraries that map their files; they go with the simulation.

mod blocking;
mod disk;
mod file;
mod fs;
mod image;
mod mapped;
mod names;
mod trace;

use std::cell::RefCell;
use std::io;
use std::ops::Range;
use std::path::Path;
use std::rc::Rc;
use std::task::Waker;
use std::time::Duration;

pub(super) use self::blocking::{BlockingSimulatedFile, HeldLock};
pub use self::disk::SimulationCounters;
use self::disk::{Disk, named};
pub(super) use self::file::SimulatedFile;
pub(super) use self::fs::SimulatedLock;
use self::trace::Trace;
use super::random::SeededRandom;

/// A simulated machine, made from a seed. Clones are handles to the same machine. Give it to [`run`](super::run) or
/// [`run_all`](super::run_all) as often as wanted: each run is a start of the process on what the disk then holds.
#[derive(Clone)]
pub struct Simulation {
    state: Rc<RefCell<State>>,
}

struct State {
    clock: u64,
    /// How far the wall clock is ahead of the time that has passed.
    wall_clock_ahead: Duration,
    random: SeededRandom,
    disk: Disk,
    trace: Trace,
    /// Decides which of several ready reactors has the next turn.
    turns: SeededRandom,
    /// Decides how long helpers take.
    helpers: SeededRandom,
    /// Counts starts, so that handles of an earlier run are known.
    run: u64,
}

/// Wall clock of a simulation at its start: 2026-01-01, in nanoseconds since the Unix epoch.
const WALL_CLOCK_START: i64 = 1_767_225_600_000_000_000;

impl Simulation {
    /// A new machine with empty disks.
    pub fn new(seed: u64) -> Simulation {
        let mut seeds = SeededRandom::new(seed);
        let state = State {
            clock: 1,
            wall_clock_ahead: Duration::ZERO,
            random: SeededRandom::new(seeds.next()),
            disk: Disk::new(seeds.next(), seed),
            trace: Trace::new(seed),
            turns: SeededRandom::new(seeds.next()),
            helpers: SeededRandom::new(seeds.next()),
            run: 0,
        };
        Simulation {
            state: Rc::new(RefCell::new(state)),
        }
    }

    /// Stops the machine when the disk operation of this number is submitted (see [`SimulationCounters::operations`]);
    /// `run` then returns [`ReactorError::Crashed`](super::ReactorError::Crashed). Without a
    /// [power cut](Simulation::power_cut) the next run finds what a killed process leaves: everything written.
    pub fn crash_after(&self, operation: u64) {
        self.state.borrow_mut().disk.crash_after = Some(operation);
    }

    /// Resolves everything that was not flushed by chance: applied, lost, or torn by sectors of 512 bytes. For use
    /// between two runs.
    pub fn power_cut(&self) {
        let mut state = self.state.borrow_mut();
        state.disk.cut();
        let cuts = state.disk.counters.power_cuts;
        state.trace.add_all(&[8, cuts]);
    }

    /// What the disk has been asked to do so far.
    pub fn counters(&self) -> SimulationCounters {
        self.state.borrow().disk.counters
    }

    /// A hash over everything that has happened. Two runs with one seed agree in it.
    pub fn trace_hash(&self) -> u64 {
        self.state.borrow().trace.value()
    }

    /// Makes the nth flush from now fail with EIO; 1 is the next. What it covered stays unknown for good.
    ///
    /// # Panics
    /// When `nth` is zero.
    pub fn fail_sync(&self, nth: u64) {
        assert!(nth > 0, "the next operation is number 1");
        self.state.borrow_mut().disk.faults.sync.push(nth);
    }

    /// Makes the nth write from now fail with EIO; 1 is the next.
    ///
    /// # Panics
    /// When `nth` is zero.
    pub fn fail_write(&self, nth: u64) {
        assert!(nth > 0, "the next operation is number 1");
        self.state.borrow_mut().disk.faults.write.push(nth);
    }

    /// Makes the nth read from now fail with EIO; 1 is the next.
    ///
    /// # Panics
    /// When `nth` is zero.
    pub fn fail_read(&self, nth: u64) {
        assert!(nth > 0, "the next operation is number 1");
        self.state.borrow_mut().disk.faults.read.push(nth);
    }

    /// Makes the next flush of the file fail with EIO. What it covered stays unknown for good.
    pub fn fail_next_sync(&self, path: &Path) {
        let mut state = self.state.borrow_mut();
        state.disk.faults.next_sync.push(path.to_path_buf());
    }

    /// Makes the next write to the file fail with EIO.
    pub fn fail_next_write(&self, path: &Path) {
        let mut state = self.state.borrow_mut();
        state.disk.faults.next_write.push(path.to_path_buf());
    }

    /// Makes every read that touches the range of the file fail with EIO.
    pub fn fail_reads_at(&self, path: &Path, range: Range<u64>) {
        self.state
            .borrow_mut()
            .disk
            .faults
            .bad_ranges
            .push((path.to_path_buf(), range));
    }

    /// Writes that make all files together longer than this fail with ENOSPC; `None` lifts the limit.
    pub fn limit_space(&self, bytes: Option<u64>) {
        self.state.borrow_mut().disk.faults.space_limit = bytes;
    }

    /// Leaves every operation on the file without an answer from now on, as a disk that hangs does, until
    /// [`Simulation::answer`] or the end of the run.
    pub fn hang(&self, path: &Path) {
        let mut state = self.state.borrow_mut();
        state.disk.faults.hanging.push(path.to_path_buf());
    }

    /// The file answers again, also what it was asked while it hung.
    pub fn answer(&self, path: &Path) {
        let mut state = self.state.borrow_mut();
        let clock = state.clock;
        state.disk.answer(clock, path);
    }

    /// Ends every fault that was planned and has not struck.
    pub fn clear_faults(&self) {
        self.state.borrow_mut().disk.faults = disk::Faults::default();
    }

    /// What direct offsets and lengths must be multiples of; 4096 unless set.
    pub fn set_alignment(&self, bytes: usize) {
        self.state.borrow_mut().disk.alignment = bytes;
    }

    /// Makes a block device of so many bytes, with physical sectors of this length, or changes one. It survives power cuts, never grows by being written to,
    /// and discards what it is told to.
    ///
    /// # Errors
    /// `NotFound` when there is no directory for it.
    pub fn set_block_device(
        &self,
        path: &Path,
        bytes: u64,
        physical_sector_bytes: u32,
    ) -> io::Result<()> {
        let mut state = self.state.borrow_mut();
        let disk = &mut state.disk;
        disk.set_block_device(path, bytes, physical_sector_bytes)
    }

    /// Flips a bit (0 to 7) of a byte on the platter.
    ///
    /// # Errors
    /// `NotFound` when no file has the path.
    pub fn flip_bit(&self, path: &Path, offset: u64, bit: u8) -> io::Result<()> {
        self.damage(path, offset, |byte| *byte ^= 1 << (bit % 8))
    }

    /// Overwrites bytes on the platter, durably and behind everybody's back.
    ///
    /// # Errors
    /// `NotFound` when no file has the path.
    pub fn overwrite(&self, path: &Path, offset: u64, bytes: &[u8]) -> io::Result<()> {
        for (position, byte) in bytes.iter().enumerate() {
            self.damage(path, offset + position as u64, |place| *place = *byte)?;
        }
        Ok(())
    }

    fn damage(&self, path: &Path, offset: u64, act: impl Fn(&mut u8)) -> io::Result<()> {
        let mut state = self.state.borrow_mut();
        let file = state
            .disk
            .number_at(path)
            .ok_or_else(|| named(io::ErrorKind::NotFound, path))?;
        state.disk.damage(file, offset, act)
    }

    /// Where the pages of 4 KiB lie that were ever written of a file and not given up; none when no file has the path.
    pub fn written_pages(&self, path: &Path) -> Vec<u64> {
        let state = self.state.borrow();
        let file = state.disk.number_at(path);
        file.map_or(Vec::new(), |file| state.disk.written_pages(file))
    }

    /// What a read of the whole file would see now, `None` when no file has the path.
    pub fn content(&self, path: &Path) -> Option<Vec<u8>> {
        let state = self.state.borrow();
        let file = state.disk.number_at(path)?;
        let mut bytes = vec![0; state.disk.length(file) as usize];
        state.disk.read_current(file, 0, &mut bytes);
        Some(bytes)
    }

    /// The process starts on the machine, once for all its reactors.
    pub(super) fn begin_run(&self) {
        let mut state = self.state.borrow_mut();
        state.run += 1;
        state.disk.settle();
        let State {
            trace, run, clock, ..
        } = &mut *state;
        trace.add_all(&[9, *run, *clock]);
    }

    /// The arenas of the run go, and its last reactor: nothing may hold their buffers and wakers.
    pub(super) fn end_run(&self) {
        let mut state = self.state.borrow_mut();
        let State { disk, trace, .. } = &mut *state;
        disk.release_buffers();
        disk.unmap_all(trace);
    }

    pub(super) fn clock(&self) -> u64 {
        self.state.borrow().clock
    }

    /// Sets the wall clock so far ahead of the time that has passed; the monotonic clock goes on as it was.
    pub fn set_wall_clock_ahead(&self, by: Duration) {
        self.state.borrow_mut().wall_clock_ahead = by;
    }

    pub(super) fn wall_clock_nanoseconds(&self) -> i64 {
        let ahead = self.state.borrow().wall_clock_ahead.as_nanos() as i64;
        WALL_CLOCK_START + ahead + self.clock() as i64
    }

    pub(super) fn fill_random(&self, bytes: &mut [u8]) {
        let mut state = self.state.borrow_mut();
        state.random.fill(bytes);
        state.trace.add_all(&[10, u64::from(crc32c::crc32c(bytes))]);
    }

    /// A turn of the reactor has passed, of the class and length given.
    pub(super) fn pass(&self, reactor: usize, class: usize, nanoseconds: u64) -> u64 {
        let mut state = self.state.borrow_mut();
        state.clock += nanoseconds;
        let clock = state.clock;
        let whose = (reactor as u64) << 8 | class as u64;
        state.trace.add_all(&[11, whose, clock]);
        nanoseconds
    }

    /// Which of so many ready reactors, at least one, has the next turn. Nothing is drawn where there is no choice.
    pub(super) fn choose_turn(&self, ready: usize) -> usize {
        match ready {
            1 => 0,
            _ => self.state.borrow_mut().turns.below(ready as u64) as usize,
        }
    }

    /// How long a helper takes with the work that it was given.
    pub(super) fn delay_of_helper(&self) -> Duration {
        let random = &mut self.state.borrow_mut().helpers;
        let longer = match random.below(16) {
            0 => random.below(20_000_000),
            _ => 0,
        };
        Duration::from_nanos(50_000 + random.below(400_000) + longer)
    }

    pub(super) fn advance_to(&self, clock: u64) {
        let mut state = self.state.borrow_mut();
        state.clock = state.clock.max(clock);
    }

    pub(super) fn complete_due(&self) -> Vec<Waker> {
        let mut state = self.state.borrow_mut();
        let State {
            disk, clock, trace, ..
        } = &mut *state;
        disk.complete_due(*clock, trace)
    }

    pub(super) fn next_event(&self) -> Option<u64> {
        self.state.borrow().disk.next_due()
    }

    pub(super) fn crashed(&self) -> bool {
        self.state.borrow().disk.crashed
    }
}
