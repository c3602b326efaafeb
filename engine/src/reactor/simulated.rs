//! The simulated world: a clock that jumps, a seeded random source. Files come with the simulated disk.

use std::cell::RefCell;
use std::io;
use std::path::Path;
use std::rc::Rc;
use std::task::Waker;

use super::buffer::{Buffer, BufferView};
use super::file::OpenOptions;
use super::random::SeededRandom;

/// A simulated machine, made from a seed. Clones are handles to the same machine.
#[derive(Clone)]
pub struct Simulation {
    state: Rc<RefCell<State>>,
}

struct State {
    clock: u64,
    random: SeededRandom,
}

/// Wall clock of a simulation at its start: 2026-01-01, in microseconds.
const WALL_CLOCK_START: u64 = 1_767_225_600_000_000;

impl Simulation {
    /// A new machine with empty disks.
    pub fn new(seed: u64) -> Simulation {
        let state = State {
            clock: 1,
            random: SeededRandom::new(seed),
        };
        Simulation {
            state: Rc::new(RefCell::new(state)),
        }
    }

    pub(super) fn clock(&self) -> u64 {
        self.state.borrow().clock
    }

    pub(super) fn wall_clock_microseconds(&self) -> u64 {
        WALL_CLOCK_START + self.clock() / 1_000
    }

    pub(super) fn fill_random(&self, bytes: &mut [u8]) {
        self.state.borrow_mut().random.fill(bytes);
    }

    pub(super) fn pass(&self, nanoseconds: u64) -> u64 {
        self.state.borrow_mut().clock += nanoseconds;
        nanoseconds
    }

    pub(super) fn advance_to(&self, clock: u64) {
        let mut state = self.state.borrow_mut();
        state.clock = state.clock.max(clock);
    }

    pub(super) fn complete_due(&self) -> Vec<Waker> {
        Vec::new()
    }

    pub(super) fn next_event(&self) -> Option<u64> {
        None
    }

    pub(super) fn crashed(&self) -> bool {
        false
    }

    pub(super) fn sync_directory(&self, _path: &Path) -> io::Result<()> {
        Err(io::ErrorKind::Unsupported.into())
    }

    pub(super) fn create_dir_all(&self, _path: &Path) -> io::Result<()> {
        Err(io::ErrorKind::Unsupported.into())
    }

    pub(super) fn rename(&self, _from: &Path, _to: &Path) -> io::Result<()> {
        Err(io::ErrorKind::Unsupported.into())
    }

    pub(super) fn remove_file(&self, _path: &Path) -> io::Result<()> {
        Err(io::ErrorKind::Unsupported.into())
    }

    pub(super) fn exists(&self, _path: &Path) -> bool {
        false
    }

    pub(super) fn list_directory(&self, _path: &Path) -> io::Result<Vec<String>> {
        Err(io::ErrorKind::Unsupported.into())
    }

    pub(super) fn read_small_file(&self, _path: &Path) -> io::Result<Vec<u8>> {
        Err(io::ErrorKind::Unsupported.into())
    }

    pub(super) fn write_small_file(
        &self,
        _path: &Path,
        _bytes: &[u8],
        _durable: bool,
    ) -> io::Result<()> {
        Err(io::ErrorKind::Unsupported.into())
    }
}

/// An open file of a simulated machine.
#[derive(Clone)]
pub(super) struct SimulatedFile {
    never: std::convert::Infallible,
}

impl SimulatedFile {
    pub(super) fn open(_: &Simulation, _: &Path, _: OpenOptions) -> io::Result<SimulatedFile> {
        Err(io::ErrorKind::Unsupported.into())
    }

    pub(super) fn alignment(&self) -> usize {
        match self.never {}
    }

    pub(super) fn path(&self) -> &Path {
        match self.never {}
    }

    pub(super) async fn read(&self, _: Buffer, _: u64, _: usize) -> io::Result<Buffer> {
        match self.never {}
    }

    pub(super) async fn write(&self, _: Vec<BufferView>, _: u64) -> io::Result<()> {
        match self.never {}
    }

    pub(super) async fn sync(&self) -> io::Result<()> {
        match self.never {}
    }

    pub(super) fn length(&self) -> u64 {
        match self.never {}
    }

    pub(super) fn set_length(&self, _: u64) -> io::Result<()> {
        match self.never {}
    }

    pub(super) fn try_lock(&self) -> bool {
        match self.never {}
    }
}
