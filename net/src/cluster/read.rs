//! The read path of a front end: extents into bytes, a bounded way ahead of the client.
//!
//! Invariants: at most [`PIECES_AHEAD_MAX`] pieces of at most [`PIECE_BYTES_MAX`] are held for a reader; every byte has been
//! checked by the store that read it; a copy that fails or does not answer is passed over for the next, and only when all have
//! failed does the reader see an error: the most severe, so that a device that is away does not hide damage.

use std::collections::{BTreeSet, VecDeque};
use std::ops::Range;

use bytes::Bytes;
use futures_util::stream::{FuturesUnordered, StreamExt};
use strata_engine::reactor::{self, BufferView, TaskClass};
use strata_engine::{CELL_BYTES, EngineError, READ_ELSEWHERE_AFTER, ShardId};
use strata_raftlog::namespace::{ChunkId, Extent, ExtentKind};

use super::Cluster;
use crate::error::ClusterError;
use crate::message::{NodeRequest, Place};
use crate::node::readers::ReaderPin;

/// Bytes fetched at a time.
pub const PIECE_BYTES_MAX: u64 = 256 << 10;

/// Pieces that may wait for the client.
const PIECES_AHEAD_MAX: usize = 2;

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

/// One copy of a chunk.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Copy {
    pub(crate) shard: u8,
    pub(crate) place: Place,
}

/// What went wrong with the copies of a chunk.
#[derive(Debug, Default)]
pub(crate) struct Trouble {
    most_severe: Option<EngineError>,
    /// The copies that hold bytes which cannot be read.
    damaged: BTreeSet<Copy>,
    /// The copies that hold nothing. The reader's pin keeps the chunk from being freed, so they have lost it.
    missing: BTreeSet<Copy>,
}

impl Trouble {
    fn note(&mut self, copy: Copy, error: EngineError) {
        match error {
            EngineError::Corrupt { .. } | EngineError::Io(_) => drop(self.damaged.insert(copy)),
            EngineError::NotFound => drop(self.missing.insert(copy)),
            _ => {}
        }
        if self
            .most_severe
            .as_ref()
            .is_none_or(|known| severity(&error) >= severity(known))
        {
            self.most_severe = Some(error);
        }
    }

    fn into_error(self, chunk: ChunkId) -> ClusterError {
        match self.most_severe {
            Some(error) => error.into(),
            None => ClusterError::Unavailable(format!("no device that holds {chunk} is there")),
        }
    }
}

/// Which of two errors says more about a chunk.
fn severity(error: &EngineError) -> u8 {
    match error {
        EngineError::Corrupt { .. } => 4,
        EngineError::Io(_) => 3,
        EngineError::Busy(_) => 2,
        EngineError::NotFound => 0,
        _ => 1,
    }
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
    ahead: VecDeque<Piece>,
    ready: VecDeque<Bytes>,
    _pin: ReaderPin,
}

impl Cluster {
    /// Reads a range of the body of an inode. Must be called in the same turn in which the extents were looked up: the reader
    /// keeps the space of the inode from the moment it exists.
    pub fn reader(&self, inode: u64, source: BodySource, range: Range<u64>) -> ObjectReader {
        let pin = self.inner.parts.readers.pin(reactor::index(), inode);
        let mut reader = ObjectReader {
            cluster: self.clone(),
            inode,
            plan: VecDeque::new(),
            ahead: VecDeque::new(),
            ready: VecDeque::new(),
            _pin: pin,
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
        inode: u64,
        extent: Extent,
        range: Range<u64>,
    ) -> Result<Vec<BufferView>, ClusterError> {
        let copies = self.copies_of(&extent)?;
        let mut trouble = Trouble::default();
        match self
            .fetch_range(extent.chunk, &copies, range, &mut trouble)
            .await
        {
            Some(views) => {
                let mut bad = trouble.damaged;
                bad.extend(trouble.missing);
                self.repair(inode, extent, bad);
                Ok(views)
            }
            None => Err(trouble.into_error(extent.chunk)),
        }
    }

    /// The copies of an extent's chunk that can be asked: those whose device answers first, and of them those of this reactor.
    pub(crate) fn copies_of(&self, extent: &Extent) -> Result<Vec<Copy>, ClusterError> {
        let chunk = extent.chunk;
        let slots = self.slots_of(chunk.placement_group()).ok_or_else(|| {
            ClusterError::Corrupt(format!(
                "{chunk} names a placement group that does not exist"
            ))
        })?;
        let copies = slots.into_iter().enumerate();
        let mut copies: Vec<Copy> = copies
            .filter(|(slot, place)| {
                extent.slot_mask & (1 << slot) != 0 && self.inner.parts.owner_of(*place).is_some()
            })
            .map(|(slot, place)| Copy {
                shard: slot as u8,
                place,
            })
            .collect();
        copies.sort_by_key(|copy| {
            let place = copy.place;
            (
                self.inner.parts.is_late(place),
                self.peer_of(place).is_some(),
            )
        });
        Ok(copies)
    }

    /// Reads a range from one copy that has all of it, or else cell by cell: copies that are damaged in different places still
    /// hold every byte between them.
    pub(crate) async fn fetch_range(
        &self,
        chunk: ChunkId,
        copies: &[Copy],
        range: Range<u64>,
        trouble: &mut Trouble,
    ) -> Option<Vec<BufferView>> {
        let whole = self.fetch_copy(chunk, copies, range.clone(), trouble).await;
        if whole.is_some() || trouble.damaged.is_empty() || copies.len() == 1 {
            return whole;
        }
        self.fetch_cells(chunk, copies, range, trouble).await
    }

    async fn fetch_cells(
        &self,
        chunk: ChunkId,
        copies: &[Copy],
        range: Range<u64>,
        trouble: &mut Trouble,
    ) -> Option<Vec<BufferView>> {
        let mut views = Vec::new();
        let mut at = range.start;
        while at < range.end {
            let end = (at / CELL_BYTES as u64 + 1) * CELL_BYTES as u64;
            let cell = at..end.min(range.end);
            at = cell.end;
            views.extend(self.fetch_copy(chunk, copies, cell, trouble).await?);
        }
        Some(views)
    }

    /// Reads a range from the first copy that has all of it, and notes what is wrong with those before. A copy that has not
    /// answered after [`READ_ELSEWHERE_AFTER`] is waited for beside the next.
    async fn fetch_copy(
        &self,
        chunk: ChunkId,
        copies: &[Copy],
        range: Range<u64>,
        trouble: &mut Trouble,
    ) -> Option<Vec<BufferView>> {
        let range = range.start as u32..range.end as u32;
        let mut left = copies.iter();
        let mut asked = FuturesUnordered::new();
        loop {
            if asked.is_empty() {
                asked.push(self.clone().ask_copy(chunk, *left.next()?, range.clone()));
            }
            let answer = if left.len() == 0 {
                asked.next().await
            } else {
                let answer = reactor::timeout(READ_ELSEWHERE_AFTER, asked.next()).await;
                answer.unwrap_or(None)
            };
            match answer {
                Some((_, Ok(views))) => {
                    to_the_end(asked);
                    return Some(views);
                }
                Some((copy, Err(error))) => {
                    self.report(&copy, chunk, &error);
                    trouble.note(copy, error);
                }
                None => {
                    let more = left.next();
                    asked.extend(
                        more.map(|copy| self.clone().ask_copy(chunk, *copy, range.clone())),
                    );
                }
            }
        }
    }

    async fn ask_copy(
        self,
        chunk: ChunkId,
        copy: Copy,
        range: Range<u32>,
    ) -> (Copy, Result<Vec<BufferView>, EngineError>) {
        let id = ShardId {
            chunk,
            shard: copy.shard,
        };
        (copy, self.fetch_shard(copy.place, id, range).await)
    }

    /// Damage is reported wherever it is found; a place that does not answer once, because every read may meet it.
    fn report(&self, copy: &Copy, chunk: ChunkId, error: &EngineError) {
        let (device, partition) = (copy.place.device, copy.place.partition);
        let is_news = self.inner.reported.borrow_mut().insert(copy.place);
        if is_news || matches!(error, EngineError::Corrupt { .. }) {
            tracing::warn!(%chunk, %device, partition, %error, "a copy could not be read");
        } else {
            tracing::debug!(%chunk, %device, partition, %error, "a copy could not be read");
        }
    }

    async fn fetch_shard(
        &self,
        place: Place,
        id: ShardId,
        range: Range<u32>,
    ) -> Result<Vec<BufferView>, EngineError> {
        let Some(peer) = self.peer_of(place) else {
            return self.inner.local.fetch(place, id, range).await;
        };
        let (reply, answer) = reactor::oneshot();
        peer.send(NodeRequest::Fetch(place, id, range, reply))
            .await
            .map_err(|_| crate::node::store::gone())?;
        answer.await.map_err(|_| crate::node::store::gone())?
    }
}

/// Waits for reads whose bytes are not needed any more: a device that does not answer is noticed by what waits for it.
fn to_the_end<F: Future + 'static>(mut reads: FuturesUnordered<F>) {
    if !reads.is_empty() {
        let waiting = async move { while reads.next().await.is_some() {} };
        reactor::spawn(TaskClass::Foreground, waiting).detach();
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
            match self.ahead.pop_front()? {
                Piece::Ready(bytes) => self.ready.push_back(bytes),
                Piece::Fetching(task) => match task.await {
                    Ok(views) => self
                        .ready
                        .extend(views.into_iter().map(BufferView::into_bytes)),
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
        while self.ahead.len() < PIECES_AHEAD_MAX {
            let Some((extent, range)) = self.plan.pop_front() else {
                return;
            };
            let end = range.end.min(range.start + PIECE_BYTES_MAX);
            if end < range.end {
                self.plan.push_front((extent.clone(), end..range.end));
            }
            self.ahead.push_back(self.start(extent, range.start..end));
        }
    }

    fn start(&self, extent: Extent, range: Range<u64>) -> Piece {
        match extent.kind {
            ExtentKind::Zeros => Piece::Ready(Bytes::from_static(
                &ZEROS[..(range.end - range.start) as usize],
            )),
            ExtentKind::Chunk => {
                let (cluster, inode) = (self.cluster.clone(), self.inode);
                let fetch = async move { cluster.fetch_extent(inode, extent, range).await };
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
