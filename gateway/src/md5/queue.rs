//! Bodies that wait for MD5, hashed side by side by one task of the reactor.
//!
//! Invariants: the bytes of a stream are hashed in their order; a stream holds [`WAITING_BYTES_MAX`] and one piece more at most, and
//! who brings more waits; what a dropped stream still held is not hashed.

use std::cell::{Cell, RefCell};
use std::collections::VecDeque;
use std::rc::Rc;

use bytes::{Buf, Bytes};
use strata_engine::reactor::local::Notify;
use strata_engine::reactor::{self, TaskClass};

use super::lanes::{self, LANES_MAX};
use super::{BLOCK_BYTES, Block, Md5, State, compress};

/// A stream that is no longer than this is hashed where it comes in: waiting for others would cost more than it saves.
const AT_ONCE_BYTES_MAX: usize = 64 << 10;

/// What a stream may have waiting, in bytes.
const WAITING_BYTES_MAX: usize = 256 << 10;

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
    stream: Rc<Stream>,
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
    bytes: usize,
    waiting: VecDeque<Bytes>,
    waiting_bytes: usize,
}

impl Md5Queue {
    /// A new stream.
    pub fn stream(&self) -> QueuedMd5 {
        QueuedMd5 {
            queue: self.clone(),
            stream: Rc::default(),
        }
    }

    fn add(&self, stream: Rc<Stream>) {
        self.0.streams.borrow_mut().push_back(stream);
        if !self.0.is_running.replace(true) {
            reactor::spawn(TaskClass::Foreground, hash_all(self.0.clone())).detach();
        }
    }
}

impl QueuedMd5 {
    /// Takes the next bytes; waits while too many of this stream wait.
    pub async fn update(&mut self, bytes: Bytes) {
        if self.stream.content.borrow_mut().take_at_once(&bytes) {
            return;
        }
        if self.stream.content.borrow_mut().wait(bytes) {
            self.queue.add(self.stream.clone());
        }
        self.wait_until_waiting(WAITING_BYTES_MAX).await;
    }

    /// The digest of all bytes taken. Afterwards the stream is a new one.
    pub async fn finish(&mut self) -> [u8; 16] {
        self.wait_until_waiting(0).await;
        std::mem::take(&mut *self.stream.content.borrow_mut())
            .md5
            .finish()
    }

    async fn wait_until_waiting(&self, bytes: usize) {
        while self.stream.content.borrow().waiting_bytes > bytes {
            self.stream.hashed.notified().await;
        }
    }
}

impl Drop for QueuedMd5 {
    fn drop(&mut self) {
        *self.stream.content.borrow_mut() = Content::default();
    }
}

impl Content {
    /// Hashes the bytes of a short stream.
    fn take_at_once(&mut self, bytes: &Bytes) -> bool {
        self.bytes += bytes.len();
        let is_short = self.bytes <= AT_ONCE_BYTES_MAX;
        if is_short {
            self.md5.update(bytes);
        }
        is_short
    }

    /// Puts bytes behind those that wait. Whether they are the first.
    fn wait(&mut self, bytes: Bytes) -> bool {
        let is_first = self.waiting_bytes == 0;
        self.waiting_bytes += bytes.len();
        if !bytes.is_empty() {
            self.waiting.push_back(bytes);
        }
        is_first && self.waiting_bytes > 0
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

    use strata_engine::reactor::{ReactorConfig, Simulation, World};

    use super::*;

    fn on_a_reactor(main: impl AsyncFnOnce()) {
        let config = ReactorConfig {
            index: 0,
            core: None,
            name: "test".into(),
            arena_bytes: 2 << 20,
            spin: Duration::ZERO,
        };
        reactor::run(config, World::Simulated(Simulation::new(1)), main).unwrap();
    }

    fn content(number: usize, length: usize) -> Bytes {
        (0..length)
            .map(|at| (at * (number + 3) >> 2) as u8)
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
            let pieces = [64, 1000, 4096, 65_535, 131_072, 1 << 20];
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

    #[test]
    fn who_brings_more_than_can_be_hashed_waits() {
        on_a_reactor(async || {
            let queue = Md5Queue::default();
            let mut md5 = queue.stream();
            for number in 0..20 {
                md5.update(content(number, 100_000)).await;
                let waiting = md5.stream.content.borrow().waiting_bytes;
                assert!(waiting <= WAITING_BYTES_MAX, "{waiting} bytes wait");
            }
        });
    }

    #[test]
    fn what_a_dropped_stream_held_is_not_hashed() {
        on_a_reactor(async || {
            let queue = Md5Queue::default();
            let mut dropped = queue.stream();
            dropped.update(content(1, 200_000)).await;
            let stream = dropped.stream.clone();
            drop(dropped);
            assert_eq!(stream.content.borrow().waiting_bytes, 0);
            let bytes = content(2, 500_000);
            let digest = hash(queue.clone(), bytes.clone(), 65_536).await;
            assert_eq!(digest, super::super::digest(&bytes));
            assert_eq!(stream.content.borrow().md5.bytes, 0);
            assert!(!queue.0.is_running.get() && queue.0.streams.borrow().is_empty());
        });
    }
}
