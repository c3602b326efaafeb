//! Bodies that wait for MD5, hashed side by side: long ones by a task of the reactor, short ones by the first that wants its
//! digest.
//!
//! Invariants: the bytes of a stream are hashed in their order; what waits of long streams has a bound for each stream and one
//! for all of them, beside the last piece of each, and who brings more waits; of short streams fewer than there are lanes wait;
//! what a dropped stream still held is not hashed.

use std::cell::{Cell, RefCell};
use std::collections::VecDeque;
use std::rc::Rc;

use bytes::{Buf, Bytes};
use strata_engine::reactor::local::Notify;
use strata_engine::reactor::{self, TaskClass};

use super::lanes::{self, LANES_MAX};
use super::{BLOCK_BYTES, Block, Md5, State, compress};

/// A stream that is no longer than this is short. All but its last piece is hashed where it comes in, so that who sends slowly
/// keeps no buffers; the last piece waits for those of others, unless waiting would cost more than it saves.
const SHORT_STREAM_BYTES_MAX: usize = 64 << 10;
const LAST_PIECE_BYTES_MIN: usize = 1 << 10;

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
    /// Long streams with bytes that wait, each once.
    streams: RefCell<VecDeque<Rc<Stream>>>,
    is_running: Cell<bool>,
    /// Short streams of which the last piece waits.
    ended: RefCell<Vec<Rc<Stream>>>,
}

/// MD5 of a stream, one of many.
pub struct QueuedMd5 {
    queue: Md5Queue,
    progress: Progress,
}

enum Progress {
    Short(Md5),
    /// A short stream of which all bytes have come.
    Ended(Rc<Stream>),
    Long(Rc<Stream>),
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
            progress: Progress::default(),
        }
    }

    fn add(&self, stream: Rc<Stream>) {
        self.0.streams.borrow_mut().push_back(stream);
        if !self.0.is_running.replace(true) {
            reactor::spawn(TaskClass::Foreground, hash_all(self.0.clone())).detach();
        }
    }

    /// Keeps a short stream until others have ended too.
    fn add_ended(&self, stream: Rc<Stream>) {
        let mut ended = self.0.ended.borrow_mut();
        ended.push(stream);
        let fills_the_lanes = ended.len() == LANES_MAX;
        drop(ended);
        if fills_the_lanes {
            self.hash_ended();
        }
    }

    /// Hashes what waits of all short streams.
    fn hash_ended(&self) {
        let mut streams = self.0.ended.take();
        while !streams.is_empty() {
            step(&streams);
            streams.retain(|stream| stream.waits());
        }
    }

    /// What a long stream may have waiting now, in bytes.
    fn share(&self) -> usize {
        let streams = self.0.streams.borrow().len().max(1);
        WAITING_BYTES_MAX.min(WAITING_BYTES_MAX_OF_ALL / streams)
    }
}

impl QueuedMd5 {
    /// Takes the next bytes, which are the last ones or not; waits while too many of this stream wait. Nothing but empty pieces
    /// may follow the last ones.
    pub async fn update(&mut self, bytes: Bytes, is_last: bool) {
        if bytes.is_empty() {
            return;
        }
        let stream = match &mut self.progress {
            Progress::Short(md5) if is_short(md5.bytes() + bytes.len() as u64) => {
                if is_last && bytes.len() >= LAST_PIECE_BYTES_MIN {
                    let stream = Stream::begun(std::mem::take(md5));
                    stream.content.borrow_mut().push(bytes);
                    self.progress = Progress::Ended(stream.clone());
                    self.queue.add_ended(stream);
                } else {
                    md5.update(&bytes);
                }
                return;
            }
            Progress::Short(md5) => {
                let stream = Stream::begun(std::mem::take(md5));
                self.progress = Progress::Long(stream.clone());
                stream
            }
            Progress::Ended(_) => unreachable!("bytes behind the last ones"),
            Progress::Long(stream) => stream.clone(),
        };
        if stream.content.borrow_mut().wait(bytes) {
            self.queue.add(stream.clone());
        }
        while stream.content.borrow().is_beyond(self.queue.share()) {
            stream.hashed.notified().await;
        }
    }

    /// The digest of all bytes taken. Afterwards the stream is a new one.
    pub async fn finish(&mut self) -> [u8; 16] {
        let stream = match &mut self.progress {
            Progress::Short(md5) => return std::mem::take(md5).finish(),
            Progress::Ended(stream) => {
                if stream.waits() {
                    // Whoever is ready ends its stream first: the more there are, the less each costs.
                    reactor::yield_now().await;
                    if stream.waits() {
                        self.queue.hash_ended();
                    }
                }
                stream
            }
            Progress::Long(stream) => {
                while stream.waits() {
                    stream.hashed.notified().await;
                }
                stream
            }
        };
        let content = std::mem::take(&mut *stream.content.borrow_mut());
        self.progress = Progress::default();
        content.md5.finish()
    }
}

fn is_short(bytes: u64) -> bool {
    bytes <= SHORT_STREAM_BYTES_MAX as u64
}

impl Default for Progress {
    fn default() -> Progress {
        Progress::Short(Md5::default())
    }
}

impl Drop for QueuedMd5 {
    fn drop(&mut self) {
        match &self.progress {
            Progress::Short(_) => {}
            Progress::Ended(stream) | Progress::Long(stream) => {
                *stream.content.borrow_mut() = Content::default();
            }
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

    /// Whether bytes of it wait.
    fn waits(&self) -> bool {
        self.content.borrow().waiting_bytes > 0
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
        self.push(bytes);
        is_first
    }

    fn push(&mut self, bytes: Bytes) {
        self.waiting_bytes += bytes.len();
        self.waiting.push_back(bytes);
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
            if stream.waits() {
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
            let end = bytes.len().min(start + piece);
            md5.update(bytes.slice(start..end), end == bytes.len())
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

    fn long(md5: &QueuedMd5) -> Rc<Stream> {
        match &md5.progress {
            Progress::Long(stream) => stream.clone(),
            Progress::Short(_) | Progress::Ended(_) => panic!("the stream is not long"),
        }
    }

    /// What waits of a stream.
    fn waiting(md5: &QueuedMd5) -> (usize, usize) {
        let stream = long(md5);
        let content = stream.content.borrow();
        (content.waiting_bytes, content.waiting.len())
    }

    #[test]
    fn who_brings_more_than_can_be_hashed_waits() {
        on_a_reactor(async || {
            let queue = Md5Queue::default();
            let mut md5 = queue.stream();
            for (number, length) in [100_000; 20].into_iter().chain([1; 100]).enumerate() {
                md5.update(content(number, length), false).await;
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
                let update = md5.update(bytes.clone(), false);
                let _ = reactor::timeout(Duration::ZERO, update).await;
            }
            assert!(queue.share() < 100_000, "{}", queue.share());
            for md5 in &mut streams {
                let second = md5.update(bytes.clone(), true);
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
            dropped.update(content(1, 200_000), false).await;
            let stream = long(&dropped);
            // Dropped while it waits inside of `update`.
            let more = dropped.update(content(1, 200_000), true);
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

    #[test]
    fn short_streams_wait_for_each_other_but_not_for_long() {
        on_a_reactor(async || {
            let queue = Md5Queue::default();
            let bytes: Vec<Bytes> = (0..20)
                .map(|number| content(number, 1 << 10 << (number % 7)))
                .collect();
            let mut streams = Vec::new();
            for (number, bytes) in bytes.iter().enumerate() {
                let mut md5 = queue.stream();
                md5.update(bytes.clone(), true).await;
                assert_eq!(queue.0.ended.borrow().len(), (number + 1) % LANES_MAX);
                streams.push(md5);
            }
            // One that goes takes its bytes with it, and those beside it are hashed all the same.
            drop(streams.remove(17));
            for (number, md5) in (0..20).filter(|number| *number != 17).zip(&mut streams) {
                assert_eq!(md5.finish().await, super::super::digest(&bytes[number]));
                assert_eq!(
                    queue.0.ended.borrow().len(),
                    if number < 16 { 4 } else { 0 }
                );
            }
        });
    }

    #[test]
    fn a_short_stream_keeps_no_piece_but_its_last() {
        on_a_reactor(async || {
            let queue = Md5Queue::default();
            let bytes = content(5, 60_000);
            let mut md5 = queue.stream();
            md5.update(bytes.slice(..50_000), false).await;
            assert!(matches!(md5.progress, Progress::Short(_)));
            md5.update(bytes.slice(50_000..), true).await;
            // Nothing follows the last byte but what is empty.
            md5.update(Bytes::new(), true).await;
            assert!(matches!(&md5.progress, Progress::Ended(stream) if stream.waits()));
            assert_eq!(md5.finish().await, super::super::digest(&bytes));
            assert!(matches!(md5.progress, Progress::Short(_)));
        });
    }
}
