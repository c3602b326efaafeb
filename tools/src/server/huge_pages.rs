//! Huge pages, once the server is ready: the buffers have theirs, and the heap gets no more of them.
//!
//! A page fault that makes one zeroes 2 MiB in the turn of whichever task it happens to. In a virtual machine that took 4 to 7 ms,
//! as often as the heap grew; 512 faults for the same memory took 1 ms, one by one.

/// Lets page faults from now on take pages of 4 KiB.
pub fn leave_to_buffers() {
    if let Err(error) = rustix::thread::disable_transparent_huge_pages(true) {
        tracing::debug!(%error, "the kernel goes on to make huge pages");
    }
}
