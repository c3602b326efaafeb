//! What a decoder allocates, bounded by its input: a length that the bytes claim is no reason to allocate it.

use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::Cell;

/// Bytes that any decoder may allocate, whatever its input.
const BYTES_FREE: usize = 64 << 10;

/// Bytes that a decoder and its encoder may hold for each byte of the input.
const BYTES_PER_BYTE: usize = 64;

thread_local! {
    static HELD: Cell<isize> = const { Cell::new(0) };
    static PEAK: Cell<isize> = const { Cell::new(0) };
}

struct Counting;

#[global_allocator]
static ALLOCATOR: Counting = Counting;

fn note(bytes: isize) {
    // At the end of a thread there is nothing to note in any more.
    let _ = HELD.try_with(|held| {
        held.set(held.get() + bytes);
        let _ = PEAK.try_with(|peak| peak.set(peak.get().max(held.get())));
    });
}

// SAFETY: every call goes to the system's allocator as it is; counting allocates nothing, as the cells are constants at first.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        note(layout.size().cast_signed());
        // SAFETY: the caller's promises are the system allocator's.
        unsafe { System.alloc(layout) }
    }

    unsafe fn alloc_zeroed(&self, layout: Layout) -> *mut u8 {
        note(layout.size().cast_signed());
        // SAFETY: as above.
        unsafe { System.alloc_zeroed(layout) }
    }

    unsafe fn dealloc(&self, pointer: *mut u8, layout: Layout) {
        note(-layout.size().cast_signed());
        // SAFETY: as above.
        unsafe { System.dealloc(pointer, layout) }
    }

    unsafe fn realloc(&self, pointer: *mut u8, layout: Layout, bytes: usize) -> *mut u8 {
        // Both are held while one is copied into the other.
        note(bytes.cast_signed());
        note(-layout.size().cast_signed());
        // SAFETY: as above.
        unsafe { System.realloc(pointer, layout, bytes) }
    }
}

/// Does something with an input of so many bytes.
///
/// # Panics
/// Where it held more at once than such an input can stand for.
pub fn bounded<T>(input_bytes: usize, work: impl FnOnce() -> T) -> T {
    let before = HELD.get();
    PEAK.set(before);
    let outcome = work();
    let held = PEAK.get() - before;
    let bound = BYTES_FREE + BYTES_PER_BYTE * input_bytes;
    assert!(
        held <= bound.cast_signed(),
        "{held} bytes were held for an input of {input_bytes}"
    );
    outcome
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_claimed_length_is_noticed() {
        let claimed = std::hint::black_box(BYTES_FREE + BYTES_PER_BYTE * 8 + 1);
        bounded(8, || std::hint::black_box(vec![1u8; claimed - 1]).len());
        let more = std::panic::catch_unwind(|| bounded(8, || Vec::<u8>::with_capacity(claimed)));
        assert!(more.is_err());
    }
}
