//! The bytes of an object on their way out: to a client, or into a copy.
//!
//! Invariants: where the bytes are is looked up a window at a time, so that what is held does not
//! grow with the object; clients that take nothing hold no more than a share of the arena; a
//! failure before the first byte is the answer, and a later one ends the stream with an error, which
//! closes the connection, so that a body is never silently short.

use std::collections::VecDeque;
use std::ops::Range;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context as TaskContext, Poll, ready};

use bytes::Bytes;
use futures_util::Stream;
use http_body::{Body, Frame, SizeHint};
use strata_engine::reactor;
use strata_engine::reactor::local::{Permit, Semaphore};
use strata_net::cluster::read::BodySource;
use strata_net::{Cluster, ClusterError, ObjectReader};
use strata_raftlog::namespace::store::StoreError;
use strata_raftlog::namespace::{BodyPiece, Extent, ExtentKind, Object, PieceSource, View};

use super::Shared;
use crate::request::Request;
use crate::request_id::RequestId;

/// Pieces that are looked up at a time; with chunks of 1 MiB a window is 4 GiB. A body whose object
/// goes meanwhile is served to the end of its window: where the rest lies is forgotten.
const WINDOW_PIECES: usize = 4096;

/// The bytes of the arena that a reader may hold for a client: what it reads ahead, what it hands out.
const HELD_BYTES_MAX: u64 = 768 << 10;

/// Bytes that are read at a time by a reader that holds nothing of the arena.
const LEAN_BYTES: u64 = 64 << 10;

/// Room of a reactor for readers that read ahead and hand out buffers of the arena as they are.
///
/// Clients that ask for much and take nothing would otherwise hold the whole arena, and everybody
/// else would wait for them. A reader that finds no room reads a little at a time and hands out
/// copies: it costs a copy, and holds no buffer while its client makes it wait.
pub struct ReadRoom {
    kib: Rc<Semaphore>,
}

impl ReadRoom {
    /// Half of an arena shared by all reactors, because each may hold buffers of any other; but at
    /// least a sixteenth.
    pub fn new(reactor_count: usize) -> ReadRoom {
        let arena_kib = reactor::arena_pressure().total_bytes / 1024;
        let share = arena_kib / 2 / reactor_count.max(1);
        ReadRoom {
            kib: Semaphore::new(share.max(arena_kib / 16)),
        }
    }

    fn take(&self, length: u64) -> Option<Permit> {
        let kib = length.min(HELD_BYTES_MAX).div_ceil(1024) as usize;
        self.kib.try_acquire(kib.max(1))
    }
}

/// A run of a body.
enum Run {
    /// Bytes that lay in the namespace.
    Bytes(Option<Bytes>),
    /// Chunks, read ahead.
    Ahead(ObjectReader),
    /// Chunks, read when they are wanted. The reader of nothing keeps their space.
    Lean {
        rest: VecDeque<Extent>,
        _pin: ObjectReader,
    },
}

impl Run {
    async fn next(&mut self, cluster: &Cluster, inode: u64) -> Option<Result<Bytes, ClusterError>> {
        match self {
            Run::Bytes(bytes) => bytes.take().map(Ok),
            Run::Ahead(reader) => reader.next().await,
            Run::Lean { rest, .. } => {
                let piece = take_piece(rest)?;
                Some(read_copy(cluster, inode, piece).await)
            }
        }
    }
}

/// Cuts a little off the front.
fn take_piece(rest: &mut VecDeque<Extent>) -> Option<Extent> {
    let front = rest.front_mut()?;
    let length = front.length.min(LEAN_BYTES);
    let piece = Extent {
        length,
        ..front.clone()
    };
    front.length -= length;
    if front.kind == ExtentKind::Chunk {
        front.offset += length;
    }
    if front.length == 0 {
        rest.pop_front();
    }
    Some(piece)
}

async fn read_copy(cluster: &Cluster, inode: u64, piece: Extent) -> Result<Bytes, ClusterError> {
    let length = piece.length;
    let mut copy = Vec::with_capacity(length as usize);
    let mut reader = cluster.reader(inode, BodySource::Extents(vec![piece]), 0..length);
    while let Some(bytes) = reader.next().await {
        copy.extend_from_slice(&bytes?);
    }
    Ok(Bytes::from(copy))
}

/// Where the first bytes of a range are.
pub struct Window(Vec<BodyPiece>);

/// Looks up where a range begins, in the transaction in which the object was found.
///
/// # Errors
/// Those of the namespace.
pub fn first_window(
    view: &View<'_>,
    object: &Object,
    range: &Range<u64>,
) -> Result<Window, StoreError> {
    let pieces = view.body_of_found(object, range.clone(), WINDOW_PIECES)?;
    Ok(Window(pieces))
}

/// A range of the body of an object, being read.
pub struct BodyReader {
    cluster: Cluster,
    inode: u64,
    size: u64,
    /// What is not looked up yet.
    ahead: Range<u64>,
    runs: VecDeque<Run>,
    permit: Option<Permit>,
}

impl BodyReader {
    /// A reader of a range. To be called in the turn in which the window was looked up: from here
    /// on the space is kept.
    pub fn new(shared: &Shared, object: &Object, range: Range<u64>, window: Window) -> BodyReader {
        let mut reader = BodyReader {
            cluster: shared.cluster.clone(),
            inode: object.inode,
            size: object.size,
            permit: shared.read_room.take(range.end - range.start),
            ahead: range,
            runs: VecDeque::new(),
        };
        reader.take_window(window);
        reader
    }

    /// The next bytes; `None` at the end of the range.
    ///
    /// # Errors
    /// Those of reading chunks, and `NotFound` where the object went while it was being read.
    /// Nothing follows an error.
    pub async fn next(&mut self) -> Option<Result<Bytes, ClusterError>> {
        while let Some(run) = self.runs.front_mut() {
            if let Some(outcome) = run.next(&self.cluster, self.inode).await {
                return Some(outcome);
            }
            // The run that has ended keeps the space until those of the next window do.
            if self.runs.len() == 1
                && !self.ahead.is_empty()
                && let Err(error) = self.look_up()
            {
                self.runs.clear();
                self.ahead = 0..0;
                return Some(Err(error));
            }
            self.runs.pop_front();
        }
        (!self.ahead.is_empty()).then(|| Err(self.gone()))
    }

    /// Whether all of the range was handed out, and lay in the namespace: what was handed out then
    /// holds neither the arena nor space.
    pub fn has_ended_inline(&self) -> bool {
        let is_taken = |run: &Run| matches!(run, Run::Bytes(None));
        self.ahead.is_empty() && self.runs.iter().all(is_taken)
    }

    fn look_up(&mut self) -> Result<(), ClusterError> {
        let (inode, size, range) = (self.inode, self.size, self.ahead.clone());
        let pieces = self
            .cluster
            .read(|view| view.body_of(inode, size, range, WINDOW_PIECES))?;
        match pieces {
            Some(pieces) if !pieces.is_empty() => {
                self.take_window(Window(pieces));
                Ok(())
            }
            _ => Err(self.gone()),
        }
    }

    fn gone(&self) -> ClusterError {
        ClusterError::NotFound(format!(
            "inode {} was replaced while it was read",
            self.inode
        ))
    }

    fn take_window(&mut self, window: Window) {
        let mut extents = Vec::new();
        for piece in window.0 {
            self.ahead.start = piece.offset + piece.length;
            match piece.source {
                PieceSource::Chunk { extent, .. } => extents.push(extent),
                PieceSource::Zeros => extents.push(zeros(piece.length)),
                PieceSource::Inline(bytes) => {
                    self.open(std::mem::take(&mut extents));
                    self.runs.push_back(Run::Bytes(Some(Bytes::from(bytes))));
                }
            }
        }
        self.open(extents);
    }

    fn open(&mut self, extents: Vec<Extent>) {
        let length = extents.iter().map(|extent| extent.length).sum();
        if length == 0 {
            return;
        }
        let reader = |extents, length| {
            let source = BodySource::Extents(extents);
            self.cluster.reader(self.inode, source, 0..length)
        };
        self.runs.push_back(match self.permit {
            Some(_) => Run::Ahead(reader(extents, length)),
            None => Run::Lean {
                rest: VecDeque::from(extents),
                _pin: reader(Vec::new(), 0),
            },
        });
    }
}

fn zeros(length: u64) -> Extent {
    Extent {
        length,
        kind: ExtentKind::Zeros,
        chunk: Default::default(),
        stored_length: 0,
        offset: 0,
        geometry: 0,
        slot_mask: 0,
        home_inode: 0,
        flags: 0,
    }
}

type Pieces = Pin<Box<dyn Stream<Item = Result<Bytes, ClusterError>>>>;

/// A body as hyper sends it.
pub struct ObjectBody {
    /// What was read before the answer began; empty once it is sent.
    first: Bytes,
    pieces: Pieces,
    left: u64,
    request_id: RequestId,
    /// What is read, for the log.
    bucket: String,
    key: String,
}

impl ObjectBody {
    /// A body of so many bytes, the first of which are read already.
    pub fn new(first: Bytes, reader: BodyReader, length: u64, request: &Request) -> ObjectBody {
        let pieces = futures_util::stream::unfold(reader, async |mut reader| {
            reader.next().await.map(|outcome| (outcome, reader))
        });
        ObjectBody {
            first,
            pieces: Box::pin(pieces),
            left: length,
            request_id: request.id,
            bucket: request.address.bucket().unwrap_or_default().to_owned(),
            key: request.address.key().unwrap_or_default().to_owned(),
        }
    }

    fn fail(&mut self, error: ClusterError) -> ClusterError {
        let (request_id, bucket, key) = (self.request_id, &*self.bucket, &*self.key);
        let message = "an object could not be read to its end";
        tracing::error!(%request_id, bucket, key, %error, message);
        self.left = 0;
        error
    }
}

impl Body for ObjectBody {
    type Data = Bytes;
    type Error = ClusterError;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut TaskContext<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, ClusterError>>> {
        if self.left == 0 {
            return Poll::Ready(None);
        }
        let outcome = match self.first.is_empty() {
            false => Some(Ok(std::mem::take(&mut self.first))),
            true => ready!(self.pieces.as_mut().poll_next(context)),
        };
        Poll::Ready(Some(match outcome {
            Some(Ok(bytes)) if bytes.len() as u64 <= self.left => {
                self.left -= bytes.len() as u64;
                Ok(Frame::data(bytes))
            }
            Some(Ok(_)) => Err(self.fail(ClusterError::Bug("more bytes than there are".into()))),
            Some(Err(error)) => Err(self.fail(error)),
            None => Err(self.fail(ClusterError::Bug("fewer bytes than there are".into()))),
        }))
    }

    fn is_end_stream(&self) -> bool {
        self.left == 0
    }

    fn size_hint(&self) -> SizeHint {
        SizeHint::with_exact(self.left)
    }
}
