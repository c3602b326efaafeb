//! The arena: the memory that disk operations read into and write from, one mapping per reactor, in 2 MiB pages where
//! the machine has them, handed out in power-of-two blocks.
//!
//! Invariants: the mapping lives until the last buffer of it is dropped, on whichever thread; every byte of it is
//! initialised; a block has at most one owner. Waiters are served in the order they came, and nobody overtakes
//! them.

mod buddy;

use std::alloc::{Layout, handle_alloc_error};
use std::collections::{BTreeMap, VecDeque};
use std::future::Future;
use std::io;
use std::pin::Pin;
use std::ptr::NonNull;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, Waker};

use self::buddy::{Buddy, ORDER_MAX, ROOT_LEAVES};
use super::buffer::Buffer;
use super::executor::with_current;

/// The smallest buffer and the alignment of every buffer.
pub const BUFFER_BYTES_MIN: usize = 4096;
/// The largest buffer.
pub const BUFFER_BYTES_MAX: usize = BUFFER_BYTES_MIN << ORDER_MAX;
const HUGE_PAGE_BYTES: usize = 2 << 20;
const _: () = assert!(BUFFER_BYTES_MAX == HUGE_PAGE_BYTES);
const _: () = assert!(BUFFER_BYTES_MIN * ROOT_LEAVES as usize == HUGE_PAGE_BYTES);

/// How the memory behind an arena is made.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Backing {
    /// 2 MiB pages where possible, touched before use.
    Huge,
    /// Ordinary pages, touched when used: for simulated runs.
    Plain,
}

pub(super) struct Arena {
    mapping: Mapping,
    state: Mutex<State>,
}

struct State {
    buddy: Buddy,
    waiters: VecDeque<Waiter>,
    /// Blocks that were given to waiters which have not looked yet, by ticket.
    granted: BTreeMap<u64, u32>,
    next_ticket: u64,
}

struct Waiter {
    ticket: u64,
    order: u8,
    waker: Waker,
}

impl Arena {
    pub(super) fn new(bytes: usize, backing: Backing) -> io::Result<Arc<Arena>> {
        let bytes = bytes.max(1).next_multiple_of(HUGE_PAGE_BYTES);
        let roots = u32::try_from(bytes / HUGE_PAGE_BYTES)
            .ok()
            .filter(|&roots| roots <= u32::MAX / ROOT_LEAVES)
            .ok_or_else(|| io::Error::other(format!("an arena of {bytes} bytes is too large")))?;
        let state = State {
            buddy: Buddy::new(roots),
            waiters: VecDeque::new(),
            granted: BTreeMap::new(),
            next_ticket: 0,
        };
        Ok(Arc::new(Arena {
            mapping: Mapping::new(bytes, backing)?,
            state: Mutex::new(state),
        }))
    }

    pub(super) fn total_bytes(&self) -> usize {
        self.mapping.bytes
    }

    pub(super) fn free_bytes(&self) -> usize {
        self.lock().buddy.free_leaves() as usize * BUFFER_BYTES_MIN
    }

    pub(super) fn base(&self) -> NonNull<u8> {
        self.mapping.base
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        // The bookkeeping is consistent at every point that can panic (assertions come before changes).
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A block, unless none is free or somebody already waits.
    pub(super) fn try_take(self: &Arc<Arena>, bytes: usize) -> Option<Buffer> {
        let order = order_of(bytes);
        let mut state = self.lock();
        if !state.waiters.is_empty() {
            return None;
        }
        let leaf = state.buddy.take(order)?;
        drop(state);
        Some(self.buffer(leaf, order))
    }

    /// A block for somebody who cannot wait: of a mapping of its own when [`Arena::try_take`] has none. That one is not
    /// registered with the ring, costs page faults, and goes with its block.
    fn take_now(self: &Arc<Arena>, bytes: usize) -> Buffer {
        let outside = || Arena::new(bytes, Backing::Plain).ok()?.try_take(bytes);
        self.try_take(bytes).or_else(outside).unwrap_or_else(|| {
            let layout = Layout::array::<u8>(bytes).unwrap_or(Layout::new::<u8>());
            handle_alloc_error(layout)
        })
    }

    fn buffer(self: &Arc<Arena>, leaf: u32, order: u8) -> Buffer {
        let offset = leaf as usize * BUFFER_BYTES_MIN;
        assert!(
            offset + (BUFFER_BYTES_MIN << order) <= self.mapping.bytes,
            "block {leaf} outside"
        );
        // SAFETY: the offset was just checked to lie inside the mapping.
        let start = unsafe { self.mapping.base.add(offset) };
        Buffer::new(self.clone(), start, leaf, order)
    }

    /// Takes a block back, from any thread.
    pub(super) fn give(&self, leaf: u32, order: u8) {
        let mut state = self.lock();
        state.buddy.give(leaf, order);
        let woken = state.serve();
        drop(state);
        woken.into_iter().for_each(Waker::wake);
    }
}

impl State {
    /// Gives blocks to the first waiters, as far as they reach. The wakers are for the caller, to be woken unlocked.
    fn serve(&mut self) -> Vec<Waker> {
        let mut woken = Vec::new();
        while let Some(first) = self.waiters.front() {
            let Some(leaf) = self.buddy.take(first.order) else {
                break;
            };
            let waiter = self
                .waiters
                .pop_front()
                .expect("the first waiter was just seen");
            self.granted.insert(waiter.ticket, leaf);
            woken.push(waiter.waker);
        }
        woken
    }
}

fn order_of(bytes: usize) -> u8 {
    assert!(
        bytes <= BUFFER_BYTES_MAX,
        "a buffer has at most {BUFFER_BYTES_MAX} bytes, not {bytes}"
    );
    let leaves = bytes.div_ceil(BUFFER_BYTES_MIN).max(1).next_power_of_two();
    leaves.trailing_zeros() as u8
}

struct Mapping {
    base: NonNull<u8>,
    bytes: usize,
}

// SAFETY: the mapping is plain memory; who may touch which part of it is decided by ownership of blocks, and each
// block has one owner.
unsafe impl Send for Mapping {}
// SAFETY: as above; a shared mapping gives out only its address.
unsafe impl Sync for Mapping {}

impl Mapping {
    fn new(bytes: usize, backing: Backing) -> io::Result<Mapping> {
        match backing {
            Backing::Plain => map_aligned(bytes),
            Backing::Huge => Mapping::huge(bytes, libc::MAP_HUGETLB),
        }
    }

    /// Pages of 2 MiB from the machine's pool, mapped with `flags`, or ordinary ones that the kernel may put together.
    fn huge(bytes: usize, flags: libc::c_int) -> io::Result<Mapping> {
        // Without a pool the first of these is refused, which is as usual.
        if let Ok(base) = map(bytes, flags) {
            let mapping = Mapping { base, bytes };
            match mapping.populate() {
                Ok(()) => return Ok(mapping),
                Err(error) => tracing::warn!(
                    %error,
                    bytes,
                    "the machine has huge pages, but this process may not use them; the arena takes ordinary ones"
                ),
            }
        }
        let mapping = map_aligned(bytes)?;
        mapping.advise_huge();
        mapping.touch();
        Ok(mapping)
    }

    /// Makes every page present. Unlike `MAP_POPULATE` it says when one cannot be had, as where a cgroup allows no huge pages:
    /// the first touch would end the process.
    fn populate(&self) -> io::Result<()> {
        let start = self.base.as_ptr().cast();
        // SAFETY: base and bytes describe our own writable mapping, which nobody else has seen yet.
        match unsafe { libc::madvise(start, self.bytes, libc::MADV_POPULATE_WRITE) } {
            0 => Ok(()),
            _ => Err(io::Error::last_os_error()),
        }
    }

    fn advise_huge(&self) {
        // SAFETY: base and bytes describe our own mapping. A refusal only costs speed.
        unsafe { libc::madvise(self.base.as_ptr().cast(), self.bytes, libc::MADV_HUGEPAGE) };
    }

    /// Makes every page present, so that no operation meets a page fault.
    fn touch(&self) {
        for offset in (0..self.bytes).step_by(BUFFER_BYTES_MIN) {
            // SAFETY: the offset lies inside our own writable mapping, which nobody else has seen yet.
            unsafe { self.base.add(offset).write_volatile(0) };
        }
    }
}

impl Drop for Mapping {
    fn drop(&mut self) {
        // SAFETY: base and bytes describe our own mapping; every buffer holds the arena, so none is left.
        unsafe { libc::munmap(self.base.as_ptr().cast(), self.bytes) };
    }
}

fn map(bytes: usize, flags: libc::c_int) -> io::Result<NonNull<u8>> {
    let protection = libc::PROT_READ | libc::PROT_WRITE;
    let flags = flags | libc::MAP_PRIVATE | libc::MAP_ANONYMOUS;
    // SAFETY: an anonymous mapping at an address of the kernel's choice touches no memory of ours.
    let address = unsafe { libc::mmap(std::ptr::null_mut(), bytes, protection, flags, -1, 0) };
    if address == libc::MAP_FAILED {
        return Err(io::Error::last_os_error());
    }
    NonNull::new(address.cast()).ok_or_else(|| io::Error::other("mapped at address zero"))
}

/// Maps ordinary pages at a multiple of 2 MiB, so that the kernel can back them with huge pages.
fn map_aligned(bytes: usize) -> io::Result<Mapping> {
    let whole = map(bytes + HUGE_PAGE_BYTES, 0)?;
    let address = whole.as_ptr() as usize;
    let before = address.next_multiple_of(HUGE_PAGE_BYTES) - address;
    let after = HUGE_PAGE_BYTES - before;
    // SAFETY: `before` is at most 2 MiB and the mapping is that much larger than `bytes`; what lies before and
    // behind the aligned part is ours to unmap.
    unsafe {
        let base = whole.add(before);
        if before > 0 {
            libc::munmap(whole.as_ptr().cast(), before);
        }
        if after > 0 {
            libc::munmap(base.add(bytes).as_ptr().cast(), after);
        }
        Ok(Mapping { base, bytes })
    }
}

/// How much of the current reactor's arena is left.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Pressure {
    /// Bytes that are not handed out.
    pub free_bytes: usize,
    /// Bytes of the arena.
    pub total_bytes: usize,
}

/// How much of the current reactor's arena is left.
///
/// # Panics
/// Outside a reactor.
pub fn arena_pressure() -> Pressure {
    with_current(|reactor| Pressure {
        free_bytes: reactor.arena.free_bytes(),
        total_bytes: reactor.arena.total_bytes(),
    })
}

/// An empty buffer with room for at least `bytes`, when one is free and nobody waits for one.
///
/// # Panics
/// When `bytes` is above [`BUFFER_BYTES_MAX`]; outside a reactor.
pub fn try_allocate(bytes: usize) -> Option<Buffer> {
    with_current(|reactor| reactor.arena.try_take(bytes))
}

/// An empty buffer with room for at least `bytes`, also when the arena is empty: its memory then comes from the system, at a
/// higher price. For what others who hold buffers wait for. The process ends when the system has no memory either.
///
/// # Panics
/// When `bytes` is above [`BUFFER_BYTES_MAX`]; outside a reactor.
pub fn allocate_now(bytes: usize) -> Buffer {
    with_current(|reactor| reactor.arena.take_now(bytes))
}

/// An empty buffer with room for at least `bytes`; waits in the order of the requests while the arena is empty.
///
/// # Panics
/// When `bytes` is above [`BUFFER_BYTES_MAX`]; outside a reactor.
pub fn allocate(bytes: usize) -> Allocate {
    let order = order_of(bytes);
    let arena = with_current(|reactor| reactor.arena.clone());
    assert!(
        BUFFER_BYTES_MIN << order <= arena.total_bytes(),
        "the arena can never hold {bytes}"
    );
    Allocate {
        arena,
        order,
        ticket: None,
    }
}

/// Waits for a buffer. Made by [`allocate`].
#[must_use = "an allocation does nothing unless it is awaited"]
pub struct Allocate {
    arena: Arc<Arena>,
    order: u8,
    ticket: Option<u64>,
}

impl Future for Allocate {
    type Output = Buffer;

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Buffer> {
        let this = &mut *self;
        let mut state = this.arena.lock();
        let leaf = match this.ticket {
            None => {
                let free = state
                    .waiters
                    .is_empty()
                    .then(|| state.buddy.take(this.order))
                    .flatten();
                if free.is_none() {
                    let ticket = state.next_ticket;
                    state.next_ticket += 1;
                    let waker = context.waker().clone();
                    state.waiters.push_back(Waiter {
                        ticket,
                        order: this.order,
                        waker,
                    });
                    this.ticket = Some(ticket);
                }
                free
            }
            Some(ticket) => {
                let granted = state.granted.remove(&ticket);
                if granted.is_none()
                    && let Some(waiter) = state.waiters.iter_mut().find(|w| w.ticket == ticket)
                {
                    waiter.waker.clone_from(context.waker());
                }
                granted
            }
        };
        drop(state);
        let Some(leaf) = leaf else {
            return Poll::Pending;
        };
        this.ticket = None;
        Poll::Ready(this.arena.buffer(leaf, this.order))
    }
}

impl Drop for Allocate {
    fn drop(&mut self) {
        let Some(ticket) = self.ticket else { return };
        let mut state = self.arena.lock();
        if let Some(leaf) = state.granted.remove(&ticket) {
            state.buddy.give(leaf, self.order);
        }
        state.waiters.retain(|waiter| waiter.ticket != ticket);
        // Whoever waited behind this request may fit now.
        let woken = state.serve();
        drop(state);
        woken.into_iter().for_each(Waker::wake);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_round_up_to_powers_of_two() {
        assert_eq!(order_of(0), 0);
        assert_eq!(order_of(4096), 0);
        assert_eq!(order_of(4097), 1);
        assert_eq!(order_of(BUFFER_BYTES_MAX), ORDER_MAX);
    }

    #[test]
    #[expect(clippy::disallowed_methods, reason = "the point is another thread")]
    fn buffers_outlive_the_handle_and_go_back() {
        let arena = Arena::new(1, Backing::Plain).expect("mapping");
        let mut buffer = arena.try_take(5_000).expect("empty arena");
        assert_eq!(buffer.capacity(), 8192);
        assert_eq!(arena.free_bytes(), HUGE_PAGE_BYTES - 8192);
        buffer.set_len(8192);
        buffer.fill(7);
        let view = buffer.freeze();
        let free = std::thread::spawn(move || drop(view));
        free.join().expect("thread");
        assert_eq!(arena.free_bytes(), HUGE_PAGE_BYTES);
    }

    #[test]
    fn who_cannot_wait_gets_memory_of_the_system() {
        let arena = Arena::new(1, Backing::Plain).expect("mapping");
        let mut all = arena.take_now(BUFFER_BYTES_MAX);
        assert!(all.belongs_to(&arena));
        let mut more = arena.take_now(5_000);
        assert!(!more.belongs_to(&arena));
        assert_eq!(more.capacity(), 8192);
        all.set_len(8192);
        more.set_len(8192);
        all.fill(1);
        assert!(more.iter().all(|&byte| byte == 0));
        drop(more);
        assert_eq!(arena.free_bytes(), 0, "it went back to where it came from");
    }

    #[test]
    fn huge_pages_that_cannot_be_had_are_done_without() {
        // Without a reservation the mapping itself succeeds where the machine knows huge pages, also with an empty pool.
        let bytes = 8 << 20;
        let mapping =
            Mapping::huge(bytes, libc::MAP_HUGETLB | libc::MAP_NORESERVE).expect("memory");
        mapping.touch();
        assert_eq!(mapping.base.as_ptr() as usize % HUGE_PAGE_BYTES, 0);
        // A mapping that cannot be written cannot be populated either.
        let sealed = map_aligned(bytes).expect("memory");
        // SAFETY: the mapping is ours, and nobody touches it any more.
        let outcome =
            unsafe { libc::mprotect(sealed.base.as_ptr().cast(), bytes, libc::PROT_READ) };
        assert_eq!(outcome, 0);
        assert!(sealed.populate().is_err());
    }

    #[test]
    fn huge_backing_is_aligned_and_writable() {
        let arena = Arena::new(3 << 20, Backing::Huge).expect("mapping");
        assert_eq!(arena.total_bytes(), 4 << 20);
        let mut buffer = arena.try_take(BUFFER_BYTES_MAX).expect("empty arena");
        buffer.set_len(BUFFER_BYTES_MAX);
        assert_eq!(buffer.as_ptr() as usize % HUGE_PAGE_BYTES, 0);
        buffer[BUFFER_BYTES_MAX - 1] = 1;
    }
}
