//! The bytes of an object on their way out: to a client, or into a copy.
//!
//! Invariants: where the bytes are is looked up a window at a time, so that what is held does not
//! grow with the object; a failure ends the stream with an error, which closes the connection, so
//! that a body is never silently short.

use std::collections::VecDeque;
use std::ops::Range;
use std::pin::Pin;
use std::task::{Context as TaskContext, Poll};

use bytes::Bytes;
use futures_util::Stream;
use http_body::{Body, Frame, SizeHint};
use strata_net::cluster::read::BodySource;
use strata_net::{Cluster, ClusterError, ObjectReader};
use strata_raftlog::namespace::{BodyPiece, Extent, ExtentKind, Object, PieceSource, View};
use strata_raftlog::store::StoreError;

use crate::request_id::RequestId;

/// Pieces that are looked up at a time; with chunks of 1 MiB a window is 4 GiB.
const WINDOW_PIECES: usize = 4096;

/// A run of a body.
enum Run {
    Bytes(Bytes),
    Reader(ObjectReader),
}

/// Where the first bytes of a range are.
pub struct Window(Vec<BodyPiece>);

/// Looks up where a range begins, in the transaction in which the object was found. `None` where
/// the body is gone.
///
/// # Errors
/// Those of the namespace.
pub fn first_window(
    view: &View<'_>,
    object: &Object,
    range: &Range<u64>,
) -> Result<Option<Window>, StoreError> {
    Ok(view.body(object, range.clone(), WINDOW_PIECES)?.map(Window))
}

/// A range of the body of an object, being read.
pub struct BodyReader {
    cluster: Cluster,
    inode: u64,
    size: u64,
    /// What is not looked up yet.
    ahead: Range<u64>,
    runs: VecDeque<Run>,
}

impl BodyReader {
    /// A reader of a range. To be called in the turn in which the window was looked up: from here
    /// on the space is kept.
    pub fn new(
        cluster: &Cluster,
        object: &Object,
        range: Range<u64>,
        window: Window,
    ) -> BodyReader {
        let mut reader = BodyReader {
            cluster: cluster.clone(),
            inode: object.inode,
            size: object.size,
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
    pub async fn next(&mut self) -> Option<Result<Bytes, ClusterError>> {
        loop {
            match self.runs.front_mut() {
                Some(Run::Bytes(bytes)) => {
                    let bytes = std::mem::take(bytes);
                    self.runs.pop_front();
                    return Some(Ok(bytes));
                }
                Some(Run::Reader(reader)) => match reader.next().await {
                    Some(outcome) => return Some(outcome),
                    None => self.next_run()?,
                },
                None => return self.missing(),
            }
            if let Some(error) = self.look_ahead() {
                return Some(Err(error));
            }
        }
    }

    /// Drops the run that has ended, after the next window's have been opened: the space that
    /// they lie in is kept without a gap.
    fn next_run(&mut self) -> Option<()> {
        if self.runs.len() > 1 || self.ahead.is_empty() {
            self.runs.pop_front();
        }
        (!self.runs.is_empty() || !self.ahead.is_empty()).then_some(())
    }

    fn missing(&self) -> Option<Result<Bytes, ClusterError>> {
        match self.ahead.is_empty() {
            true => None,
            false => Some(Err(self.gone())),
        }
    }

    fn look_ahead(&mut self) -> Option<ClusterError> {
        if self.runs.len() > 1 || self.ahead.is_empty() {
            return None;
        }
        let (inode, size, range) = (self.inode, self.size, self.ahead.clone());
        match self
            .cluster
            .names(|view| view.body_of(inode, size, range, WINDOW_PIECES))
        {
            Ok(Some(pieces)) if !pieces.is_empty() => {
                self.take_window(Window(pieces));
                self.runs.pop_front();
                None
            }
            Ok(_) => Some(self.gone()),
            Err(error) => Some(error),
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
                    self.runs.push_back(Run::Bytes(Bytes::from(bytes)));
                }
            }
        }
        self.open(extents);
    }

    fn open(&mut self, extents: Vec<Extent>) {
        let length = extents.iter().map(|extent| extent.length).sum();
        if length > 0 {
            let reader = self.cluster.reader(BodySource::Extents(extents), 0..length);
            self.runs.push_back(Run::Reader(reader));
        }
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
    pieces: Pieces,
    left: u64,
    request_id: RequestId,
}

impl ObjectBody {
    /// A body of so many bytes.
    pub fn new(reader: BodyReader, length: u64, request_id: RequestId) -> ObjectBody {
        let pieces = futures_util::stream::unfold(reader, async |mut reader| {
            reader.next().await.map(|outcome| (outcome, reader))
        });
        ObjectBody {
            pieces: Box::pin(pieces),
            left: length,
            request_id,
        }
    }

    fn fail(&mut self, error: ClusterError) -> ClusterError {
        tracing::error!(request_id = %self.request_id, %error, "an object could not be read to its end");
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
        let outcome = match self.pieces.as_mut().poll_next(context) {
            Poll::Pending => return Poll::Pending,
            Poll::Ready(outcome) => outcome,
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
