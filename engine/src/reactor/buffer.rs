//! Buffers of an arena: unique ones that are filled, shared views that are read.
//!
//! Invariants: a [`Buffer`] is the only owner of its block; after [`Buffer::freeze`] the bytes never change; the
//! block returns to its arena when the last owner is gone, on any thread. The kernel writes only into buffers that
//! an operation slot owns.

use std::fmt;
use std::ops::{Bound, Deref, DerefMut, RangeBounds};
use std::ptr::NonNull;
use std::sync::Arc;

use bytes::Bytes;

use super::arena::{Arena, BUFFER_BYTES_MIN};

/// A unique, 4096-aligned piece of an arena with a length that can be set up to its capacity.
///
/// The bytes behind the length are what an earlier owner left.
pub struct Buffer {
    arena: Arc<Arena>,
    start: NonNull<u8>,
    leaf: u32,
    order: u8,
    length: u32,
}

// SAFETY: a buffer is the only owner of its block, and the arena it returns the block to is Sync.
unsafe impl Send for Buffer {}
// SAFETY: a shared buffer allows reading only.
unsafe impl Sync for Buffer {}

impl Buffer {
    pub(super) fn new(arena: Arc<Arena>, start: NonNull<u8>, leaf: u32, order: u8) -> Buffer {
        Buffer {
            arena,
            start,
            leaf,
            order,
            length: 0,
        }
    }

    /// Bytes that fit: a power of two from 4 KiB to 2 MiB.
    pub fn capacity(&self) -> usize {
        BUFFER_BYTES_MIN << self.order
    }

    /// Sets the length.
    ///
    /// # Panics
    /// When it is above the capacity.
    pub fn set_len(&mut self, length: usize) {
        assert!(
            length <= self.capacity(),
            "{length} bytes in a buffer of {}",
            self.capacity()
        );
        self.length = length as u32;
    }

    /// Appends the bytes.
    ///
    /// # Panics
    /// When they do not fit.
    pub fn extend_from_slice(&mut self, bytes: &[u8]) {
        let before = self.len();
        self.set_len(before + bytes.len());
        self[before..].copy_from_slice(bytes);
    }

    /// Room behind the length, in bytes.
    pub fn remaining(&self) -> usize {
        self.capacity() - self.len()
    }

    /// Makes the bytes shareable and unchangeable. The rest of the last 4 KiB page is zeroed, so that a view can be
    /// [padded](BufferView::padded).
    pub fn freeze(mut self) -> BufferView {
        let length = self.len();
        self.set_len(length.next_multiple_of(BUFFER_BYTES_MIN));
        self[length..].fill(0);
        BufferView {
            offset: 0,
            length: length as u32,
            buffer: Arc::new(self),
        }
    }

    pub(super) fn start(&self) -> *mut u8 {
        self.start.as_ptr()
    }

    pub(super) fn belongs_to(&self, arena: &Arc<Arena>) -> bool {
        Arc::ptr_eq(&self.arena, arena)
    }
}

impl Deref for Buffer {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        // SAFETY: the block is initialised memory of at least `length` bytes that lives as long as the arena, which
        // this buffer holds; only its owner writes to it.
        unsafe { std::slice::from_raw_parts(self.start.as_ptr(), self.length as usize) }
    }
}

impl DerefMut for Buffer {
    fn deref_mut(&mut self) -> &mut [u8] {
        // SAFETY: as for Deref; `&mut self` makes this the only access.
        unsafe { std::slice::from_raw_parts_mut(self.start.as_ptr(), self.length as usize) }
    }
}

impl Drop for Buffer {
    fn drop(&mut self) {
        self.arena.give(self.leaf, self.order);
    }
}

impl fmt::Debug for Buffer {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            formatter,
            "Buffer({} of {} bytes)",
            self.length,
            self.capacity()
        )
    }
}

/// A shared, unchangeable slice of a frozen buffer.
#[derive(Clone)]
pub struct BufferView {
    buffer: Arc<Buffer>,
    offset: u32,
    length: u32,
}

impl BufferView {
    /// A part of this view, without a copy.
    ///
    /// # Panics
    /// When the range does not lie inside the view.
    pub fn slice(&self, range: impl RangeBounds<usize>) -> BufferView {
        let start = match range.start_bound() {
            Bound::Included(&start) => start,
            Bound::Excluded(&start) => start + 1,
            Bound::Unbounded => 0,
        };
        let end = match range.end_bound() {
            Bound::Included(&end) => end + 1,
            Bound::Excluded(&end) => end,
            Bound::Unbounded => self.len(),
        };
        assert!(
            start <= end && end <= self.len(),
            "{start}..{end} of {} bytes",
            self.len()
        );
        BufferView {
            buffer: self.buffer.clone(),
            offset: self.offset + start as u32,
            length: (end - start) as u32,
        }
    }

    /// The view, longer by the bytes up to the next multiple of the alignment, when the buffer has been filled or
    /// zeroed that far; `None` when it has not.
    pub fn padded(&self, alignment: usize) -> Option<BufferView> {
        let length = self.len().next_multiple_of(alignment);
        (self.offset as usize + length <= self.buffer.len()).then(|| BufferView {
            length: length as u32,
            ..self.clone()
        })
    }

    /// The same bytes for code that wants `Bytes`, without a copy.
    pub fn into_bytes(self) -> Bytes {
        Bytes::from_owner(self)
    }

    pub(super) fn belongs_to(&self, arena: &Arc<Arena>) -> bool {
        self.buffer.belongs_to(arena)
    }
}

impl Deref for BufferView {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        &self.buffer[self.offset as usize..][..self.length as usize]
    }
}

impl AsRef<[u8]> for BufferView {
    fn as_ref(&self) -> &[u8] {
        self
    }
}

impl fmt::Debug for BufferView {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "BufferView({} bytes)", self.length)
    }
}

#[cfg(test)]
mod tests {
    use super::super::arena::Backing;
    use super::*;

    fn filled(length: usize) -> Buffer {
        let arena = Arena::new(1, Backing::Plain).expect("mapping");
        let mut buffer = arena.try_take(length).expect("empty arena");
        let bytes: Vec<u8> = (0..length).map(|index| index as u8).collect();
        buffer.extend_from_slice(&bytes);
        buffer
    }

    #[test]
    fn views_share_bytes_without_a_copy() {
        let view = filled(10_000).freeze();
        let part = view.slice(100..200);
        assert_eq!(part.as_ptr(), view[100..].as_ptr());
        assert_eq!(&part[..], &view[100..200]);
        let bytes = part.into_bytes();
        assert_eq!(bytes.as_ptr(), view[100..].as_ptr());
    }

    #[test]
    fn padding_shows_zeroes_and_never_stale_bytes() {
        let mut buffer = filled(8192);
        buffer.set_len(5_000);
        let view = buffer.freeze();
        let padded = view.padded(4096).expect("room in the buffer");
        assert_eq!(padded.len(), 8192);
        assert!(padded[5_000..].iter().all(|&byte| byte == 0));
        assert!(
            view.slice(100..).padded(8192).is_none(),
            "beyond what was zeroed"
        );
    }
}
