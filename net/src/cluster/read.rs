//! The read path of a front end: extents into bytes, a bounded way ahead of the client.
//!
//! Invariants: for a reader no more is fetched ahead than [`AHEAD_BYTES`] and the piece that goes beyond them, of at most
//! [`PIECE_BYTES_MAX`]; what a read found bad is repaired behind it.

use std::collections::VecDeque;
use std::ops::Range;

use bytes::Bytes;
use strata_engine::reactor::{self, BufferView, Instant, TaskClass};
use strata_raftlog::namespace::{Extent, ExtentKind};

use super::Cluster;
use super::redundancy::Trouble;
use super::write::CHUNK_BYTES_MAX;
use crate::error::ClusterError;
use crate::node::readers::ReaderPin;

/// The most bytes fetched at a time.
pub const PIECE_BYTES_MAX: u64 = CHUNK_BYTES_MAX as u64;

/// Pieces are fetched ahead of the client until they have so many bytes.
const AHEAD_BYTES: u64 = 512 << 10;

/// Zeros handed out for holes at a time.
const ZEROS: &[u8] = &[0; PIECE_BYTES_MAX as usize];

/// What a reader reads.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum BodySource {
    /// The whole body came with the name.
    Inline(Bytes),
    /// Extents in order, covering the body from offset 0 without gaps.
    Extents(Vec<Extent>),
}

/// A part of a body on its way to the client.
enum Piece {
    Ready(Bytes),
    Fetching(reactor::Task<Result<Vec<BufferView>, ClusterError>>),
}

/// A body being read.
pub struct ObjectReader {
    cluster: Cluster,
    inode: u64,
    plan: VecDeque<(Extent, Range<u64>)>,
    /// Pieces that were begun, with their lengths.
    ahead: VecDeque<(u64, Piece)>,
    ready: VecDeque<Bytes>,
    pin: ReaderPin,
}

impl Cluster {
    /// Reads a range of the body of an inode. Must be called in the same turn in which the extents were looked up: the reader
    /// keeps the space of the inode from the moment it exists.
    pub fn reader(&self, inode: u64, source: BodySource, range: Range<u64>) -> ObjectReader {
        let readers = &self.inner.parts.readers;
        let pin = readers.pin(reactor::index(), inode, reactor::now());
        let mut reader = ObjectReader {
            cluster: self.clone(),
            inode,
            plan: VecDeque::new(),
            ahead: VecDeque::new(),
            ready: VecDeque::new(),
            pin,
        };
        match source {
            BodySource::Inline(bytes) => {
                let end = (range.end.min(bytes.len() as u64)) as usize;
                let start = (range.start as usize).min(end);
                reader.ready.push_back(bytes.slice(start..end));
            }
            BodySource::Extents(extents) => reader.plan = plan(extents, range),
        }
        reader
    }

    async fn fetch_extent(
        &self,
        (inode, began): (u64, Instant),
        extent: Extent,
        range: Range<u64>,
    ) -> Result<Vec<BufferView>, ClusterError> {
        let mut trouble = Trouble::default();
        match self.read_chunk(&extent, range, &mut trouble).await? {
            Some(views) => {
                self.repair((inode, began), extent, trouble.into_bad());
                Ok(views)
            }
            None => Err(trouble.into_error(extent.chunk)),
        }
    }
}

impl ObjectReader {
    /// The next bytes of the range, or `None` at its end.
    ///
    /// # Errors
    /// [`ClusterError::Corrupt`] or [`ClusterError::Unavailable`] when no copy could be read. Nothing follows an error.
    pub async fn next(&mut self) -> Option<Result<Bytes, ClusterError>> {
        loop {
            self.read_ahead();
            if let Some(bytes) = self.ready.pop_front() {
                if bytes.is_empty() {
                    continue;
                }
                return Some(Ok(bytes));
            }
            match self.ahead.pop_front()?.1 {
                Piece::Ready(bytes) => self.ready.push_back(bytes),
                Piece::Fetching(task) => match task.await {
                    Ok(views) => {
                        #[cfg(test)]
                        if crate::planted::is(crate::planted::Mistake::MemoryStaysHeld) {
                            std::mem::forget(views.first().cloned());
                        }
                        let bytes = views.into_iter().map(BufferView::into_bytes);
                        self.ready.extend(bytes);
                    }
                    Err(error) => {
                        self.plan.clear();
                        self.ahead.clear();
                        return Some(Err(error));
                    }
                },
            }
        }
    }

    fn read_ahead(&mut self) {
        while self.ahead.iter().map(|(bytes, _)| bytes).sum::<u64>() < AHEAD_BYTES {
            let Some((extent, range)) = self.plan.pop_front() else {
                return;
            };
            let end = self.piece_end(&extent, &range);
            if end < range.end {
                self.plan.push_front((extent.clone(), end..range.end));
            }
            let piece = self.start(extent, range.start..end);
            self.ahead.push_back((end - range.start, piece));
        }
    }

    /// Where the next piece of a run ends: at a multiple of what is best read at a time. An extent that cannot be read fails when
    /// it is.
    fn piece_end(&self, extent: &Extent, range: &Range<u64>) -> u64 {
        let bytes = match extent.kind {
            ExtentKind::Chunk => self.cluster.piece_bytes(extent).unwrap_or(PIECE_BYTES_MAX),
            ExtentKind::Zeros => PIECE_BYTES_MAX,
        };
        range.end.min((range.start / bytes + 1) * bytes)
    }

    fn start(&self, extent: Extent, range: Range<u64>) -> Piece {
        match extent.kind {
            ExtentKind::Zeros => Piece::Ready(Bytes::from_static(
                &ZEROS[..(range.end - range.start) as usize],
            )),
            ExtentKind::Chunk => {
                let (cluster, reader) = (self.cluster.clone(), (self.inode, self.pin.began()));
                let fetch = async move { cluster.fetch_extent(reader, extent, range).await };
                Piece::Fetching(reactor::spawn(TaskClass::Foreground, fetch))
            }
        }
    }
}

/// Cuts the range into runs within extents; offsets in the answer are offsets in the chunk.
fn plan(extents: Vec<Extent>, range: Range<u64>) -> VecDeque<(Extent, Range<u64>)> {
    let mut at = 0;
    let mut runs = VecDeque::new();
    for extent in extents {
        let (from, to) = (range.start.max(at), range.end.min(at + extent.length));
        if from < to {
            let start = extent.offset + (from - at);
            let run = start..start + (to - from);
            runs.push_back((extent.clone(), run));
        }
        at += extent.length;
    }
    runs
}
