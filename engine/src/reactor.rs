//! The reactor: one io_uring, one executor, one thread, one core. Everything above it is written against this map.
//!
//! Invariants: futures and files stay on their thread; everything that waits is bounded; nothing above this folder
//! names a runtime, a clock, a random source or a disk of its own. The free functions act on the reactor of the
//! calling thread and panic outside one.

mod affinity;
mod arena;
pub mod block_device;
mod buffer;
mod class;
mod clock;
mod executor;
mod file;
pub mod fs;
mod hyper_io;
pub mod local;
mod mailbox;
mod offload;
mod operation;
mod probe;
mod random;
mod shared_memory;
mod signal;
mod simulated;
mod socket;
mod statistics;
mod timer;
mod uring;

pub use affinity::available_cores;
pub use arena::{
    Allocate, BUFFER_BYTES_MAX, BUFFER_BYTES_MIN, Pressure, allocate, allocate_now, arena_pressure,
    try_allocate,
};
pub use buffer::{Buffer, BufferView};
pub use class::TaskClass;
pub use clock::{Instant, WallTime, now, wall_clock};
pub use executor::{
    Main, ROUND_NANOSECONDS, ReactorConfig, Task, World, current_class, index, run, run_all, spawn,
    yield_if_due, yield_now,
};
pub use file::{File, OpenOptions};
pub use fs::sync_directory;
pub use hyper_io::HyperTimer;
pub use mailbox::{
    Cancelled, Closed, Full, OneReceiver, OneSender, Receiver, Sender, mailbox, oneshot,
};
pub use offload::offload;
pub use probe::{ReactorError, probe};
pub use random::{random_bytes, random_u64};
pub use signal::{Signal, signal};
pub use simulated::{Simulation, SimulationCounters};
pub use socket::{ListenOptions, TcpListener, TcpStream};
pub use statistics::{Gauge, ReactorStatistics, RecentMaximum, statistics};
pub use timer::{Elapsed, Sleep, sleep, sleep_until, timeout};
