//! How much of a reactor's arena reads and uploads leave free, and how they wait for it.
//!
//! Invariants: reads go on where uploads wait, because an upload may be a copy that waits for a read; those who wait are served
//! in the order they came; nobody waits longer than [`WAIT_MAX`]; who reads into several buffers at once has them promised before
//! it takes the first, as far as the arena of its own reactor tells, which keeps readers from waiting for what each other holds.

use std::cell::Cell;
use std::rc::Rc;
use std::time::Duration;

use strata_engine::reactor::local::{Permit, Semaphore};
use strata_engine::reactor::{self, Buffer};

/// The longest wait for memory. A client is then told to come back later.
pub const WAIT_MAX: Duration = Duration::from_secs(20);

/// How long the first in the queue waits before it looks at the arena again.
const PAUSE: Duration = Duration::from_millis(1);

/// What is to stay free, in sixteenths of the arena.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Watermark {
    /// Reads of which others wait for the rest, since their memory was promised on the reactor that asks.
    Promised = 1,
    /// Reads leave this to the engine's own work.
    Read = 2,
    /// Chunks that have begun leave this to reads.
    Grow = 3,
    /// Chunks that are to begin leave this to those that have: so they become long.
    Begin = 4,
}

impl Watermark {
    /// Whether so many bytes may be taken.
    pub fn leaves(self, bytes: usize) -> bool {
        let pressure = reactor::arena_pressure();
        pressure.free_bytes >= pressure.total_bytes / 16 * self as usize + bytes
    }

    /// A buffer of so many bytes, if it may be taken and there is one.
    pub fn try_take(self, bytes: usize) -> Option<Buffer> {
        self.leaves(bytes)
            .then(|| reactor::try_allocate(bytes))
            .flatten()
    }
}

/// Whether half of this reactor's arena is free.
pub fn is_plentiful() -> bool {
    let pressure = reactor::arena_pressure();
    pressure.free_bytes >= pressure.total_bytes / 2
}

/// Nothing became free in time.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct NoMemory;

/// Tasks of a reactor that wait for memory, in the order they came.
#[derive(Clone)]
pub struct MemoryQueue {
    turn: Rc<Semaphore>,
}

impl Default for MemoryQueue {
    fn default() -> Self {
        MemoryQueue {
            turn: Semaphore::new(1),
        }
    }
}

impl MemoryQueue {
    /// Waits until `take` gives something; it is asked only when it is this task's turn.
    ///
    /// # Errors
    /// [`NoMemory`] after [`WAIT_MAX`].
    pub async fn wait<T>(&self, mut take: impl FnMut() -> Option<T>) -> Result<T, NoMemory> {
        let waiting = async {
            let _turn = self.turn.acquire(1).await;
            loop {
                match take() {
                    Some(taken) => return taken,
                    None => reactor::sleep(PAUSE).await,
                }
            }
        };
        let waited = reactor::timeout(WAIT_MAX, waiting).await;
        waited.map_err(|_| NoMemory)
    }
}

/// The right to take memory from the system when the arena has none: for one task of a reactor at a time, so that those who hold the
/// arena while they need more come to their end one after the other.
#[derive(Clone)]
pub struct BeyondArena {
    turn: Rc<Semaphore>,
}

impl Default for BeyondArena {
    fn default() -> Self {
        BeyondArena {
            turn: Semaphore::new(1),
        }
    }
}

impl BeyondArena {
    /// Waits for its turn unless so much of the arena is free. What is returned is held for as long as the memory.
    ///
    /// # Errors
    /// [`NoMemory`] after [`WAIT_MAX`].
    pub async fn turn(&self, bytes: usize) -> Result<Option<Permit>, NoMemory> {
        if bytes == 0 || Watermark::Read.leaves(bytes) {
            return Ok(None);
        }
        let turn = reactor::timeout(WAIT_MAX, self.turn.acquire(1)).await;
        turn.map(Some).map_err(|_| NoMemory)
    }
}

/// What was promised of a reactor's arena and may not be taken yet.
#[derive(Clone, Default)]
pub struct Promises {
    queue: MemoryQueue,
    bytes: Rc<Cell<usize>>,
}

/// Memory that is kept for somebody until this is dropped.
pub struct Promise {
    promised: Rc<Cell<usize>>,
    bytes: usize,
}

impl Promises {
    /// Waits until so much of the arena is neither taken nor promised.
    ///
    /// # Errors
    /// [`NoMemory`] after [`WAIT_MAX`].
    pub async fn promise(&self, bytes: usize) -> Result<Promise, NoMemory> {
        let promise = || {
            let before = self.bytes.get();
            Watermark::Read.leaves(before + bytes).then(|| {
                self.bytes.set(before + bytes);
                Promise {
                    promised: self.bytes.clone(),
                    bytes,
                }
            })
        };
        self.queue.wait(promise).await
    }
}

impl Drop for Promise {
    fn drop(&mut self) {
        self.promised.set(self.promised.get() - self.bytes);
    }
}
