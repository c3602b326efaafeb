//! Bodies that wait for MD5, hashed side by side by one task of the reactor.
//!
//! Invariants: the bytes of a stream are hashed in their order; what waits has a bound for each stream and one for all of them,
//! beside the last piece of each, and who brings more waits; what a dropped stream still held is not hashed.

use std::cell::{Cell, RefCell};
use std::collections::VecDeque;
use std::rc::Rc;

use bytes::{Buf, Bytes};
use strata_engine::reactor::local::Notify;
use strata_engine::reactor::{self, TaskClass};

use super::lanes::{self, LANES_MAX};
use super::{BLOCK_BYTES, Block, Md5, State, compress};

/// A stream that is no longer than this is hashed where it comes in: waiting for others would cost more than it saves.
const SHORT_STREAM_BYTES_MAX: usize = 64 << 10;

/// A piece that is shorter than this, while nothing of its stream waits, is hashed where it comes in too.
const SHORT_PIECE_BYTES_MAX: usize = 4 << 10;

/// What a stream may have waiting: bytes, and pieces, each of which keeps the buffer that it was read into.
const WAITING_BYTES_MAX: usize = 256 << 10;
const WAITING_PIECES_MAX: usize = 16;

/// What all streams of a reactor together may have waiting, in bytes.
const WAITING_BYTES_MAX_OF_ALL: usize = 32 << 20;

/// Blocks of each stream that are hashed between two looks at the clock.
const STEP_BLOCKS_MAX: usize = (16 << 10) / BLOCK_BYTES;

/// The streams of a reactor. Cheap to clone.
#[derive(Clone, Default)]
pub struct Md5Queue(Rc<Queue>);

#[derive(Default)]
struct Queue {
    /// Streams with bytes that wait, each once.
    streams: RefCell<VecDeque<Rc<Stream>>>,
    is_running: Cell<bool>,
}

/// MD5 of a stream, one of many.
pub struct QueuedMd5 {
    queue: Md5Queue,
    /// The stream while it is short.
    short: Md5,
    /// The stream from then on.
    long: Option<Rc<Stream>>,
}

#[derive(Default)]
struct Stream {
    content: RefCell<Content>,
    /// Bytes of it were hashed.
    hashed: Notify,
}

#[derive(Default)]
struct Content {
    md5: Md5,
    waiting: VecDeque<Bytes>,
    waiting_bytes: usize,
}

impl Md5Queue {
    /// A new stream.
    pub fn stream(&self) -> QueuedMd5 {
        QueuedMd5 {
            queue: self.clone(),
            short: Md5::default(),
            long: None,
        }
    }

    fn add(&self, stream: Rc<Stream>) {
        self.0.streams.borrow_mut().push_back(stream);
        if !self.0.is_running.replace(true) {
            reactor::spawn(TaskClass::Foreground, hash_all(self.0.clone())).detach();
        }
    }

    /// What a stream may have waiting now, in bytes.
    fn share(&self) -> usize {
        let streams = self.0.streams.borrow().len().max(1);
        WAITING_BYTES_MAX.min(WAITING_BYTES_MAX_OF_ALL / streams)
    }
}

impl QueuedMd5 {
    /// Takes the next bytes; waits while too many of this stream wait.
    pub async fn update(&mut self, bytes: Bytes) {
        if self.long.is_none()
            && self.short.bytes() + bytes.len() as u64 <= SHORT_STREAM_BYTES_MAX as u64
        {
            self.short.update(&bytes);
            return;
        }
        let short = &mut self.short;
        let stream = self
            .long
            .get_or_insert_with(|| Stream::begun(std::mem::take(short)));
        if stream.content.borrow_mut().wait(bytes) {
            self.queue.add(stream.clone());
        }
        while stream.content.borrow().is_beyond(self.queue.share()) {
            stream.hashed.notified().await;
        }
    }

    /// The digest of all bytes taken. Afterwards the stream is a new one.
    pub async fn finish(&mut self) -> [u8; 16] {
        let Some(stream) = &self.long else {
            return std::mem::take(&mut self.short).finish();
        };
        while stream.content.borrow().waiting_bytes > 0 {
            stream.hashed.notified().await;
        }
        let content = std::mem::take(&mut *stream.content.borrow_mut());
        self.long = None;
        content.md5.finish()
    }
}

impl Drop for QueuedMd5 {
    fn drop(&mut self) {
        if let Some(stream) = &self.long {
            *stream.content.borrow_mut() = Content::default();
        }
    }
}

impl Stream {
    fn begun(md5: Md5) -> Rc<Stream> {
        let content = Content {
            md5,
            ..Content::default()
        };
        Rc::new(Stream {
            content: RefCell::new(content),
            hashed: Notify::new(),
        })
    }
}

impl Content {
    /// Puts bytes behind those that wait, but for a few of which nothing waits. Whether they are the first.
    fn wait(&mut self, bytes: Bytes) -> bool {
        let is_first = self.waiting_bytes == 0;
        if is_first && bytes.len() < SHORT_PIECE_BYTES_MAX {
            self.md5.update(&bytes);
            return false;
        }
        self.waiting_bytes += bytes.len();
        self.waiting.push_back(bytes);
        is_first
    }

    fn is_beyond(&self, bytes: usize) -> bool {
        self.waiting_bytes > bytes || self.waiting.len() > WAITING_PIECES_MAX
    }

    /// Makes whole blocks come first. Whether there are any.
    fn align(&mut self) -> bool {
        while let Some(first) = self.waiting.front_mut() {
            let before = first.len();
            let rest = self.md5.complete_block(first).len();
            first.advance(before - rest);
            if rest >= BLOCK_BYTES {
                self.waiting_bytes -= before - rest;
                return true;
            }
            self.md5.begin_block(first);
            self.waiting_bytes -= before;
            self.waiting.pop_front();
        }
        false
    }

    fn state_and_blocks(&mut self) -> (&mut State, &[Block]) {
        let first = self.waiting.front().map_or(&[][..], |first| first);
        (&mut self.md5.state, first.as_chunks().0)
    }

    /// Forgets blocks that were hashed.
    fn pass(&mut self, blocks: usize) {
        self.md5.count_blocks(blocks);
        self.waiting_bytes -= blocks * BLOCK_BYTES;
        if let Some(first) = self.waiting.front_mut() {
            first.advance(blocks * BLOCK_BYTES);
        }
    }
}

/// Hashes until nothing waits.
async fn hash_all(queue: Rc<Queue>) {
    // Whoever is ready brings its bytes first: the more streams there are, the less each costs.
    reactor::yield_now().await;
    loop {
        let streams: Vec<Rc<Stream>> = {
            let mut streams = queue.streams.borrow_mut();
            let count = streams.len().min(LANES_MAX);
            streams.drain(..count).collect()
        };
        if streams.is_empty() {
            queue.is_running.set(false);
            return;
        }
        step(&streams);
        for stream in streams {
            stream.hashed.notify_all();
            if stream.content.borrow().waiting_bytes > 0 {
                queue.streams.borrow_mut().push_back(stream);
            }
        }
        reactor::yield_if_due().await;
    }
}

/// Hashes some blocks of each of the streams.
fn step(streams: &[Rc<Stream>]) {
    let mut contents: Vec<_> = streams
        .iter()
        .map(|stream| stream.content.borrow_mut())
        .collect();
    contents.retain_mut(|content| content.align());
    let mut lanes: Vec<_> = contents
        .iter_mut()
        .map(|content| content.state_and_blocks())
        .collect();
    let shortest = lanes.iter().map(|(_, blocks)| blocks.len()).min();
    let count = shortest.unwrap_or(0).min(STEP_BLOCKS_MAX);
    for (_, blocks) in &mut lanes {
        *blocks = &blocks[..count];
    }
    match &mut lanes[..] {
        [(state, blocks)] => compress(state, blocks),
        lanes => lanes::compress(lanes),
    }
    drop(lanes);
    contents.iter_mut().for_each(|content| content.pass(count));
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::test_reactor::on_a_reactor;

    fn content(number: usize, length: usize) -> Bytes {
        (0..length)
            .map(|at| ((at * (number + 3)) >> 2) as u8)
            .collect()
    }

    /// Hashes bytes that come in pieces, with a turn of the others between them.
    async fn hash(queue: Md5Queue, bytes: Bytes, piece: usize) -> [u8; 16] {
        let mut md5 = queue.stream();
        for start in (0..bytes.len()).step_by(piece) {
            md5.update(bytes.slice(start..bytes.len().min(start + piece)))
                .await;
            reactor::yield_now().await;
        }
        md5.finish().await
    }

    #[test]
    fn streams_of_any_length_and_cut_do_not_mix() {
        on_a_reactor(async || {
            let queue = Md5Queue::default();
            let lengths = [
                0,
                1,
                65_536,
                65_537,
                100_000,
                300_001,
                1 << 20,
                70_000,
                999_999,
                131_072,
                80_063,
            ];
            let pieces = [63, 100, 1000, 4096, 65_535, 131_072, 1 << 20];
            let mut tasks = Vec::new();
            for (number, length) in lengths.iter().copied().enumerate() {
                for piece in pieces {
                    let bytes = content(number, length);
                    let hashing = hash(queue.clone(), bytes.clone(), piece);
                    let task = reactor::spawn(TaskClass::Foreground, hashing);
                    tasks.push((task, super::super::digest(&bytes), length, piece));
                }
            }
            for (task, expected, length, piece) in tasks {
                assert_eq!(task.await, expected, "{length} bytes by {piece}");
            }
        });
    }

    /// What waits of a stream.
    fn waiting(md5: &QueuedMd5) -> (usize, usize) {
        let stream = md5.long.as_ref().expect("a long stream");
        let content = stream.content.borrow();
        (content.waiting_bytes, content.waiting.len())
    }

    #[test]
    fn who_brings_more_than_can_be_hashed_waits() {
        on_a_reactor(async || {
            let queue = Md5Queue::default();
            let mut md5 = queue.stream();
            for (number, length) in [100_000; 20].into_iter().chain([1; 100]).enumerate() {
                md5.update(content(number, length)).await;
                let (bytes, pieces) = waiting(&md5);
                assert!(bytes <= WAITING_BYTES_MAX && pieces <= WAITING_PIECES_MAX);
            }
        });
    }

    #[test]
    fn many_streams_share_what_may_wait() {
        on_a_reactor(async || {
            let queue = Md5Queue::default();
            let mut streams: Vec<QueuedMd5> = (0..1000).map(|_| queue.stream()).collect();
            let bytes = content(1, 100_000);
            for md5 in &mut streams {
                // The first piece of each is let in; for the second most have to wait.
                let update = md5.update(bytes.clone());
                let _ = reactor::timeout(Duration::ZERO, update).await;
            }
            assert!(queue.share() < 100_000, "{}", queue.share());
            for md5 in &mut streams {
                let second = md5.update(bytes.clone());
                second.await;
                assert!(
                    waiting(md5).0
                        <= WAITING_BYTES_MAX_OF_ALL / queue.0.streams.borrow().len().max(1)
                );
            }
            let both = [&bytes[..], &bytes[..]].concat();
            for md5 in &mut streams {
                assert_eq!(md5.finish().await, super::super::digest(&both));
            }
        });
    }

    #[test]
    fn what_a_dropped_stream_held_is_not_hashed() {
        on_a_reactor(async || {
            let queue = Md5Queue::default();
            let mut dropped = queue.stream();
            dropped.update(content(1, 200_000)).await;
            let stream = dropped.long.clone().expect("a long stream");
            // Dropped while it waits inside of `update`.
            let more = dropped.update(content(1, 200_000));
            assert!(reactor::timeout(Duration::ZERO, more).await.is_err());
            drop(dropped);
            assert_eq!(stream.content.borrow().waiting_bytes, 0);
            let bytes = content(2, 500_000);
            let digest = hash(queue.clone(), bytes.clone(), 65_536).await;
            assert_eq!(digest, super::super::digest(&bytes));
            assert_eq!(stream.content.borrow().md5.bytes(), 0);
            assert!(!queue.0.is_running.get() && queue.0.streams.borrow().is_empty());
        });
    }
}
