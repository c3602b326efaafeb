//! The ring: submission, completion, parking.
//!
//! Invariants: one thread submits and reaps (`SINGLE_ISSUER`); completions appear only when that thread enters the
//! kernel (`DEFER_TASKRUN`), so `TASKRUN` is looked at before parking or spinning; entries reach the kernel in the
//! order they were made, a linked pair always in one submission. A disk operation is submitted at once while fewer than
//! [`EAGER_IN_FLIGHT`] are in flight; behind that a round submits one, then two, then four, up to [`EAGER_QUEUED_MAX`] at
//! a time, so that the device has something to do while the tasks of the round run; the rest goes when the round ends.

use std::collections::VecDeque;
use std::io;
use std::os::fd::{AsRawFd, BorrowedFd, RawFd};
use std::rc::Rc;
use std::sync::{Arc, Once};
use std::time::Duration;

use io_uring::squeue::{Entry, Flags};
use io_uring::{IoUring, cqueue, opcode, types};

use super::arena::Arena;
use super::clock::real_monotonic_nanoseconds;
use super::operation::{Abandoned, Key, Operation, Reaped, Resources, Slots, Sort, Watcher};
use super::probe::ReactorError;

/// Entries of the two queues. The kernel may count the ring against the limit of locked memory; a smaller one is then
/// better than none, because a full queue only means more system calls.
const RING_SIZES: [(u32, u32); 3] = [(1024, 8192), (256, 1024), (32, 128)];
/// Below this many disk operations in flight the device has room: submit at once.
const EAGER_IN_FLIGHT: usize = 4;
/// With this many entries queued a system call is always worth its price.
const EAGER_QUEUED_MAX: usize = 8;
/// The kernel takes at most 1 GiB per registered buffer.
const REGISTERED_PIECE_BYTES: usize = 1 << 30;
/// Files that the ring knows by number; more work, too.
const FILE_PLACES: u32 = 256;
/// How long a closing reactor waits for the kernel to give back what it still uses. Nobody waits for those operations any more:
/// a disk that does not answer must not keep a process from ending.
const CLOSE_WAIT_MAX: Duration = Duration::from_secs(2);

/// User data of completions that nobody waits for.
const IGNORED: u64 = u64::MAX;
/// User data of the poll on the doorbell.
const DOORBELL: u64 = u64::MAX - 1;

enum Batch {
    One(Entry),
    Pair([Entry; 2]),
}

pub(super) struct Driver {
    ring: IoUring,
    /// The reactor it belongs to.
    reactor: u64,
    pub(super) slots: Slots,
    arena: Arc<Arena>,
    /// The arena is registered: fixed opcodes may be used for its buffers.
    registered: bool,
    /// Entries that found the submission queue full.
    backlog: VecDeque<Batch>,
    /// With this many entries queued the round submits again.
    eager_queued: usize,
    doorbell: RawFd,
    pub(super) enters: u64,
    /// Free places in the table of files.
    file_places: Vec<u32>,
    /// The reactor is closing.
    draining: bool,
}

impl Driver {
    /// Sets the ring up. The doorbell must stay open as long as the driver.
    pub(super) fn new(
        reactor: u64,
        arena: Arc<Arena>,
        doorbell: BorrowedFd<'_>,
    ) -> Result<Driver, ReactorError> {
        let ring = build_ring()?;
        let registered = register_arena(&ring, &arena);
        // Kernels before 5.19 refuse; every operation works without it.
        let table = ring.submitter().register_files_sparse(FILE_PLACES);
        let file_places = if table.is_ok() {
            (0..FILE_PLACES).rev().collect()
        } else {
            Vec::new()
        };
        let mut driver = Driver {
            ring,
            reactor,
            slots: Slots::default(),
            arena,
            registered,
            backlog: VecDeque::new(),
            eager_queued: 1,
            doorbell: doorbell.as_raw_fd(),
            enters: 0,
            file_places,
            draining: false,
        };
        driver.watch_doorbell();
        Ok(driver)
    }

    fn watch_doorbell(&mut self) {
        let poll = opcode::PollAdd::new(types::Fd(self.doorbell), libc::POLLIN as u32).multi(true);
        self.push(Batch::One(poll.build().user_data(DOORBELL)));
    }

    pub(super) fn reactor(&self) -> u64 {
        self.reactor
    }

    /// Whether the fixed opcodes may be used for buffers of this arena.
    pub(super) fn registered(&self) -> bool {
        self.registered
    }

    pub(super) fn arena(&self) -> &Arc<Arena> {
        &self.arena
    }

    /// The number of the registered buffer that the address lies in.
    pub(super) fn registered_index(&self, address: *const u8) -> u16 {
        let offset = address as usize - self.arena.base().as_ptr() as usize;
        (offset / REGISTERED_PIECE_BYTES) as u16
    }

    fn push(&mut self, batch: Batch) {
        if self.backlog.is_empty() && self.try_push(&batch) {
            return;
        }
        self.backlog.push_back(batch);
        self.submit();
    }

    fn try_push(&mut self, batch: &Batch) -> bool {
        // SAFETY: every entry is built by this folder from memory that the operation's slot (or the driver, for
        // the doorbell) keeps alive and in place until the terminal completion.
        unsafe {
            match batch {
                Batch::One(entry) => self.ring.submission().push(entry).is_ok(),
                Batch::Pair(pair) => self.ring.submission().push_multiple(pair).is_ok(),
            }
        }
    }

    fn drain_backlog(&mut self) {
        while let Some(batch) = self.backlog.pop_front() {
            if !self.try_push(&batch) {
                self.backlog.push_front(batch);
                return;
            }
        }
    }

    /// Hands everything queued to the kernel, and lets it run what it deferred when it asked for that.
    pub(super) fn submit(&mut self) {
        loop {
            self.enters += 1;
            let result = self.ring.submitter().submit();
            match result {
                Ok(_) => {}
                Err(error) if is_transient(&error) => return,
                Err(error) => panic!("io_uring_enter failed: {error}"),
            }
            if self.backlog.is_empty() {
                return;
            }
            self.drain_backlog();
        }
    }

    /// Starts an operation. `entry` points only into `resources` or to memory that lives forever.
    pub(super) fn start(&mut self, entry: Entry, sort: Sort, resources: Resources) -> Operation {
        let key = self.slots.start(sort, resources);
        self.push(Batch::One(entry.user_data(key.user_data())));
        if sort != Sort::Other {
            self.submit_eagerly();
        }
        Operation::new(key, self.reactor)
    }

    /// Starts a write of `length` bytes and a flush that begins only when all of them are written.
    pub(super) fn start_write_and_flush(
        &mut self,
        write: (Entry, Resources),
        length: i32,
        flush: (Entry, Resources),
    ) -> (Operation, Operation) {
        let write_key = self.slots.start(Sort::Disk, write.1);
        let flush_key = self.slots.start(Sort::Barrier, flush.1);
        let mut first = write
            .0
            .user_data(write_key.user_data())
            .flags(Flags::IO_LINK);
        if self.ring.params().is_feature_skip_cqe_on_success() {
            // Saves waking up for the write when the flush is what everybody waits for.
            first = first.flags(Flags::SKIP_SUCCESS);
            self.slots.tie(write_key, length, flush_key);
        }
        let second = flush.0.user_data(flush_key.user_data());
        self.push(Batch::Pair([first, second]));
        self.submit_eagerly();
        (
            Operation::new(write_key, self.reactor),
            Operation::new(flush_key, self.reactor),
        )
    }

    fn submit_eagerly(&mut self) {
        let queued = self.ring.submission().len();
        if self.slots.disk_in_flight <= EAGER_IN_FLIGHT {
            self.submit();
        } else if queued >= self.eager_queued {
            self.eager_queued = (self.eager_queued * 2).min(EAGER_QUEUED_MAX);
            self.submit();
        }
    }

    /// Starts an operation that completes many times. `entry` points to nothing that can go away.
    pub(super) fn watch(&mut self, entry: Entry, watcher: Rc<dyn Watcher>) -> Key {
        let key = self.slots.watch(watcher);
        self.push(Batch::One(entry.user_data(key.user_data())));
        key
    }

    /// Asks the kernel to end an operation; its slot stays until the terminal completion.
    pub(super) fn cancel(&mut self, key: Key) {
        let cancel = opcode::AsyncCancel::new(key.user_data());
        self.push(Batch::One(cancel.build().user_data(IGNORED)));
    }

    /// The future of the operation was dropped.
    pub(super) fn abandon(&mut self, key: Key) -> Abandoned {
        let abandoned = self.slots.abandon(key);
        if matches!(abandoned, Abandoned::InFlight) {
            self.cancel(key);
        }
        abandoned
    }

    /// Gives the file a place in the ring's table, if one is free.
    pub(super) fn register_file(&mut self, descriptor: RawFd) -> Option<u32> {
        let place = self.file_places.pop()?;
        match self
            .ring
            .submitter()
            .register_files_update(place, &[descriptor])
        {
            Ok(_) => Some(place),
            Err(_) => {
                self.file_places.push(place);
                None
            }
        }
    }

    /// Closes a descriptor after everything that was queued before. `false`: the ring is at its end and takes nothing
    /// more.
    pub(super) fn close(&mut self, descriptor: RawFd, place: Option<u32>) -> bool {
        if self.draining {
            return false;
        }
        if let Some(place) = place
            && self
                .ring
                .submitter()
                .register_files_update(place, &[-1])
                .is_ok()
        {
            self.file_places.push(place);
        }
        let close = opcode::Close::new(types::Fd(descriptor));
        self.push(Batch::One(close.build().user_data(IGNORED)));
        true
    }

    /// Whether reaping would find something or the kernel has deferred work for us.
    pub(super) fn has_events(&mut self) -> bool {
        let submission = self.ring.submission();
        let deferred = submission.taskrun() || submission.cq_overflow();
        drop(submission);
        deferred || !self.ring.completion().is_empty()
    }

    /// Whether entries wait to be handed to the kernel.
    pub(super) fn has_queued(&mut self) -> bool {
        !self.ring.submission().is_empty() || !self.backlog.is_empty()
    }

    /// Takes in all completions there are.
    pub(super) fn reap(&mut self, reaped: &mut Reaped) {
        self.eager_queued = 1;
        let submission = self.ring.submission();
        let deferred = submission.taskrun() || submission.cq_overflow();
        drop(submission);
        if deferred {
            self.submit();
        }
        let mut doorbell_ended = false;
        for completion in self.ring.completion() {
            let more = cqueue::more(completion.flags());
            match completion.user_data() {
                IGNORED => {}
                DOORBELL => {
                    drain_doorbell(self.doorbell);
                    doorbell_ended |= !more;
                }
                data => {
                    let key = Key::from_user_data(data);
                    self.slots.complete(key, completion.result(), more, reaped);
                }
            }
        }
        if doorbell_ended {
            self.watch_doorbell();
        }
    }

    /// Submits, then sleeps until a completion, the doorbell or the end of the time.
    pub(super) fn park(&mut self, timeout: Option<Duration>) {
        self.drain_backlog();
        self.enters += 1;
        let timespec = timeout.map(|timeout| {
            types::Timespec::new()
                .sec(timeout.as_secs())
                .nsec(timeout.subsec_nanos())
        });
        let result = match &timespec {
            None => self.ring.submitter().submit_and_wait(1),
            Some(timespec) => {
                let arguments = types::SubmitArgs::new().timespec(timespec);
                self.ring.submitter().submit_with_args(1, &arguments)
            }
        };
        match result {
            Ok(_) => {}
            Err(error) if is_transient(&error) => {}
            Err(error) => panic!("io_uring_enter failed: {error}"),
        }
    }

    /// Ends everything that is in flight. `false`: the kernel still uses some of our memory, and must be
    /// [leaked](Driver::leak).
    pub(super) fn drain(&mut self, reaped: &mut Reaped) -> bool {
        self.draining = true;
        let everything = types::CancelBuilder::any();
        let cancel = opcode::AsyncCancel2::new(everything)
            .build()
            .user_data(IGNORED);
        self.push(Batch::One(cancel));
        let deadline = real_monotonic_nanoseconds() + CLOSE_WAIT_MAX.as_nanos() as u64;
        while self.slots.unfinished() > 0 || self.has_queued() {
            if real_monotonic_nanoseconds() > deadline {
                return false;
            }
            self.submit();
            if self.slots.unfinished() > 0 && !self.has_events() {
                self.park(Some(Duration::from_millis(10)));
            }
            self.reap(reaped);
        }
        true
    }

    /// Gives up what the kernel may still write to, for the life of the process.
    pub(super) fn leak(&mut self) {
        std::mem::forget(std::mem::take(&mut self.slots));
        std::mem::forget(self.arena.clone());
    }
}

fn is_transient(error: &io::Error) -> bool {
    // EBUSY and EAGAIN: the completion queue must be reaped first; ETIME: the wait is over; EINTR: a signal.
    matches!(
        error.raw_os_error(),
        Some(libc::EBUSY | libc::EAGAIN | libc::ETIME | libc::EINTR)
    )
}

fn drain_doorbell(doorbell: RawFd) {
    let mut count = [0u8; 8];
    // SAFETY: reads at most eight bytes into a local array; the descriptor does not block.
    unsafe { libc::read(doorbell, count.as_mut_ptr().cast(), count.len()) };
}

/// Sets up the largest ring that the limit of locked memory allows.
pub(super) fn build_ring() -> Result<IoUring, ReactorError> {
    let mut refused = None;
    for (submissions, completions) in RING_SIZES {
        match build_ring_of(submissions, completions) {
            Err(error) if error.raw_os_error() == Some(libc::ENOMEM) => refused = Some(error),
            Err(error) => return Err(ReactorError::from_setup(error)),
            Ok(ring) => {
                if refused.is_some() {
                    tracing::warn!(
                        submissions,
                        "the limit of locked memory allows only a small ring; the reactor is slower under load. \
                         Raise it (ulimit -l, LimitMEMLOCK=)"
                    );
                }
                return Ok(ring);
            }
        }
    }
    Err(ReactorError::LockedMemory)
}

fn build_ring_of(submissions: u32, completions: u32) -> io::Result<IoUring> {
    let full = IoUring::builder()
        .setup_single_issuer()
        .setup_defer_taskrun()
        .setup_taskrun_flag()
        .setup_submit_all()
        .setup_cqsize(completions)
        .dontfork()
        .build(submissions);
    match full {
        Err(error) if error.raw_os_error() == Some(libc::EINVAL) => {
            build_ring_for_old_kernel(submissions, completions)
        }
        result => result,
    }
}

/// Kernels before 6.1 know neither `SINGLE_ISSUER` nor `DEFER_TASKRUN`.
fn build_ring_for_old_kernel(submissions: u32, completions: u32) -> io::Result<IoUring> {
    tracing::warn!(
        "this kernel refuses io_uring's deferred task work (Linux 6.1 or newer has it); \
         the reactor uses cooperative task work, which costs throughput"
    );
    IoUring::builder()
        .setup_coop_taskrun()
        .setup_taskrun_flag()
        .setup_submit_all()
        .setup_cqsize(completions)
        .dontfork()
        .build(submissions)
}

/// Registers the arena; without it every operation works, at a higher price.
fn register_arena(ring: &IoUring, arena: &Arena) -> bool {
    let base = arena.base().as_ptr() as usize;
    let pieces: Vec<libc::iovec> = (0..arena.total_bytes())
        .step_by(REGISTERED_PIECE_BYTES)
        .map(|offset| libc::iovec {
            iov_base: (base + offset) as *mut libc::c_void,
            iov_len: REGISTERED_PIECE_BYTES.min(arena.total_bytes() - offset),
        })
        .collect();
    // SAFETY: the pieces lie in the arena's mapping, which the driver holds longer than the ring.
    let result = unsafe { ring.submitter().register_buffers(&pieces) };
    static WARNED: Once = Once::new();
    if let Err(error) = &result {
        WARNED.call_once(|| tracing::warn!(
            %error, bytes = arena.total_bytes(),
            "the buffer arena could not be registered with io_uring; disk operations cost about 12 % more CPU. \
             Raise the limit of locked memory (ulimit -l, LimitMEMLOCK=) above the size of the arena"
        ));
    }
    result.is_ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reserved_user_data_is_no_key() {
        for data in [IGNORED, DOORBELL] {
            assert!(
                Key::from_user_data(data).index >= u32::MAX - 1,
                "no table has so many slots"
            );
        }
    }
}
