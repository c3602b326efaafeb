//! Queries about bodies: where the bytes of an object are, which chunks live, which are to be freed.

use std::ops::Range;

use super::{Object, View};
use crate::namespace::body::{DroppedRow, DroppedScope, ExtentRow, InlineRow, Span, SpanRow};
use crate::namespace::command::DroppedKey;
use strata_engine::ChunkId;

use crate::namespace::chunk::{Extent, ExtentKind};
use crate::namespace::key;
use crate::namespace::object::Checksum;
use crate::namespace::store::StoreError;

/// A run of a body that has one source.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BodyPiece {
    /// Where the run begins in the body, in bytes.
    pub offset: u64,
    /// Its length, in bytes.
    pub length: u64,
    /// Where its bytes are.
    pub source: PieceSource,
}

/// Where the bytes of a piece are.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum PieceSource {
    /// The bytes themselves, those of the run alone.
    Inline(Vec<u8>),
    /// Zeros.
    Zeros,
    /// Bytes of a chunk.
    Chunk {
        /// The extent, as long as the piece and from its offset in the chunk.
        extent: Extent,
        /// The space of the inode, which the chunk's owner names.
        space: u32,
    },
}

/// A body that no name refers to any more, to be freed and then released by `ReleaseBodies`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct DroppedBody {
    /// Names it.
    pub key: DroppedKey,
    /// The inode that holds it.
    pub inode: u64,
    /// What of the inode it is.
    pub scope: DroppedScope,
}

/// Chunks that an inode refers to.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct ChunkPage {
    /// The chunks, in order.
    pub chunks: Vec<ChunkId>,
    /// The rows they were in.
    pub rows: usize,
    /// Space and offset of the next row; `None` at the end.
    pub next: Option<(u32, u64)>,
}

/// A part of an object that was uploaded in parts.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ObjectPart {
    /// Its bytes.
    pub range: Range<u64>,
    /// Its own checksum, in the algorithm of the object's and of the same kind.
    pub checksum: Option<Checksum>,
}

/// The checksum of a part; `None` for one that the object's algorithm does not make.
fn checksum_of_part(object: &Object, value: &[u8]) -> Option<Checksum> {
    let whole = object.checksum.as_ref()?;
    (whole.algorithm.value_bytes() == value.len()).then(|| Checksum {
        algorithm: whole.algorithm,
        kind: whole.kind,
        value: value.to_vec(),
        part_count: 0,
    })
}

impl View<'_> {
    /// The pieces of `range` of an object's body, in order, at most `limit` of them. Fewer bytes
    /// than the range are covered where the limit is reached: go on from the end of the last piece.
    /// An object's body never changes under its inode; `None` where it is gone by now.
    ///
    /// # Errors
    /// `Corrupt` where rows are damaged or leave a gap.
    pub fn body(
        &self,
        object: &Object,
        range: Range<u64>,
        limit: usize,
    ) -> Result<Option<Vec<BodyPiece>>, StoreError> {
        self.body_of(object.inode, object.size, range, limit)
    }

    /// As [`body`](View::body), for an inode of which the size is known.
    ///
    /// # Errors
    /// As [`body`](View::body).
    pub fn body_of(
        &self,
        inode: u64,
        size: u64,
        range: Range<u64>,
        limit: usize,
    ) -> Result<Option<Vec<BodyPiece>>, StoreError> {
        let range = range.start.min(size)..range.end.min(size);
        if !range.is_empty() && self.place(inode)?.is_none() {
            return Ok(None);
        }
        let spans = self.spans(inode, size, &range)?;
        self.pieces(inode, spans, range, limit).map(Some)
    }

    /// As [`body`](View::body), for an object that this view has found: its body is there.
    ///
    /// # Errors
    /// As [`body`](View::body).
    pub fn body_of_found(
        &self,
        object: &Object,
        range: Range<u64>,
        limit: usize,
    ) -> Result<Vec<BodyPiece>, StoreError> {
        let range = range.start.min(object.size)..range.end.min(object.size);
        // Only an object that was uploaded in parts has a table of spans.
        let spans = match object.etag.part_count {
            0 => vec![only_span(object.size)],
            _ => self.spans(object.inode, object.size, &range)?,
        };
        self.pieces(object.inode, spans, range, limit)
    }

    fn pieces(
        &self,
        inode: u64,
        spans: Vec<(u64, Span)>,
        range: Range<u64>,
        limit: usize,
    ) -> Result<Vec<BodyPiece>, StoreError> {
        let mut pieces = Pieces {
            wanted: range.clone(),
            limit,
            pieces: Vec::new(),
        };
        if range.is_empty() {
            return Ok(pieces.pieces);
        }
        for (start, span) in spans {
            if pieces.is_full() {
                break;
            }
            self.pieces_of_space(inode, start, span, &mut pieces)?;
        }
        if !pieces.is_full() && pieces.next() < range.end {
            return Err(self.gap(inode, pieces.next()));
        }
        Ok(pieces.pieces)
    }

    /// The n-th part, from 1, of an object that was uploaded in parts; `None` where it has fewer, or none. Read from the span table
    /// alone, of which a row holds 64 parts.
    ///
    /// # Errors
    /// As [`bucket`](View::bucket).
    pub fn object_part(
        &self,
        object: &Object,
        number: u16,
    ) -> Result<Option<ObjectPart>, StoreError> {
        match usize::from(number).checked_sub(1) {
            Some(before) => Ok(self.object_parts(object, before, 1)?.pop()),
            None => Ok(None),
        }
    }

    /// The parts of an object that was uploaded in parts, in their order, behind the first `after` of them; at most
    /// `limit`. None for other objects.
    ///
    /// # Errors
    /// As [`bucket`](View::bucket).
    pub fn object_parts(
        &self,
        object: &Object,
        after: usize,
        limit: usize,
    ) -> Result<Vec<ObjectPart>, StoreError> {
        let prefix = key::x_space(object.inode, key::X_SPANS, 0);
        let mut scan = self.table.scan(self.txn(), &prefix, &prefix)?;
        let (mut before, mut parts) = (after, Vec::new());
        while parts.len() < limit
            && let Some((row_key, row)) = scan.next::<SpanRow>()?
        {
            let mut offset = key::parse_x(row_key).map_or(0, |(_, _, _, offset)| offset);
            for (at, span) in row.spans.iter().enumerate() {
                let end = offset.saturating_add(span.length);
                if at >= before && parts.len() < limit {
                    let checksum = row.checksum(at);
                    parts.push(ObjectPart {
                        range: offset..end,
                        checksum: checksum.and_then(|value| checksum_of_part(object, value)),
                    });
                }
                offset = end;
            }
            before = before.saturating_sub(row.spans.len());
        }
        Ok(parts)
    }

    /// The extents of a space of an inode from the row that holds `from` on, with the offset of
    /// each in the space; at most `limit`, rounded up to whole rows.
    ///
    /// # Errors
    /// As [`bucket`](View::bucket).
    pub fn extents(
        &self,
        inode: u64,
        space: u32,
        from: u64,
        limit: usize,
    ) -> Result<Vec<(u64, Extent)>, StoreError> {
        let mut found = Vec::new();
        let prefix = key::x_space(inode, key::X_EXTENTS, space);
        let start = self.row_at_or_below(&prefix, from)?;
        let mut scan = self.table.scan(self.txn(), &prefix, &start)?;
        while found.len() < limit
            && let Some((row_key, row)) = scan.next::<ExtentRow>()?
        {
            let mut offset = key::parse_x(row_key).map_or(0, |(_, _, _, offset)| offset);
            for extent in row.0 {
                let length = extent.length;
                found.push((offset, extent));
                offset = offset.saturating_add(length);
            }
        }
        Ok(found)
    }

    /// The chunks of which an inode is the home, from the row on that holds `offset` of `space`, in the order of spaces and
    /// offsets: those of at most `rows` rows, and the space and offset with which to go on, if there are more.
    ///
    /// # Errors
    /// As [`bucket`](View::bucket).
    pub fn chunks(
        &self,
        inode: u64,
        (space, offset): (u32, u64),
        rows: usize,
    ) -> Result<ChunkPage, StoreError> {
        let start = self.row_at_or_below(&key::x_space(inode, key::X_EXTENTS, space), offset)?;
        self.chunks_from(&key::x_kind(inode, key::X_EXTENTS), &start, rows)
    }

    /// The first chunks of a dropped body that are not released yet: those of at most `rows` rows.
    ///
    /// # Errors
    /// As [`bucket`](View::bucket).
    pub fn chunks_of_dropped(
        &self,
        body: &DroppedBody,
        rows: usize,
    ) -> Result<ChunkPage, StoreError> {
        let prefix = match body.scope {
            DroppedScope::Inode => key::x_kind(body.inode, key::X_EXTENTS),
            DroppedScope::Space(space) => key::x_space(body.inode, key::X_EXTENTS, space),
            DroppedScope::Parts => return Ok(ChunkPage::default()),
            DroppedScope::Moved(moved) => {
                let own = (moved.home_inode == 0).then_some(moved.chunk);
                return Ok(ChunkPage {
                    chunks: own.into_iter().collect(),
                    ..ChunkPage::default()
                });
            }
        };
        self.chunks_from(&prefix, &prefix, rows)
    }

    fn chunks_from(
        &self,
        prefix: &[u8],
        start: &[u8],
        rows: usize,
    ) -> Result<ChunkPage, StoreError> {
        let mut scan = self.table.scan(self.txn(), prefix, start)?;
        let mut page = ChunkPage::default();
        while let Some((row_key, row)) = scan.next::<ExtentRow>()? {
            if page.rows == rows {
                let (_, _, space, offset) =
                    key::parse_x(row_key).ok_or_else(|| malformed_key(row_key))?;
                page.next = Some((space, offset));
                break;
            }
            page.rows += 1;
            let chunks = row.0.iter();
            // Those of packs have their own homes.
            let chunks =
                chunks.filter(|extent| extent.kind == ExtentKind::Chunk && extent.home_inode == 0);
            page.chunks.extend(chunks.map(|extent| extent.chunk));
        }
        Ok(page)
    }

    /// Bodies to release, in the order in which they were dropped, above `after`.
    ///
    /// # Errors
    /// As [`bucket`](View::bucket).
    pub fn dropped(
        &self,
        after: Option<DroppedKey>,
        limit: usize,
    ) -> Result<Vec<DroppedBody>, StoreError> {
        let from = after.map_or(vec![key::DROPPED], |body| {
            [&key::dropped(body)[..], &[0]].concat()
        });
        let mut scan = self.table.scan(self.txn(), &[key::DROPPED], &from)?;
        let mut found = Vec::new();
        while found.len() < limit
            && let Some((row_key, DroppedRow { inode, scope })) = scan.next::<DroppedRow>()?
        {
            let key = key::parse_dropped(row_key).ok_or_else(|| malformed_key(row_key))?;
            found.push(DroppedBody { key, inode, scope });
        }
        Ok(found)
    }

    /// Whether a body is still to be released.
    ///
    /// # Errors
    /// As [`bucket`](View::bucket).
    pub fn is_dropped(&self, body: DroppedKey) -> Result<bool, StoreError> {
        self.table.contains(self.txn(), &key::dropped(body))
    }

    pub(crate) fn dropped_row(&self, body: DroppedKey) -> Result<Option<DroppedRow>, StoreError> {
        self.table.get(self.txn(), &key::dropped(body))
    }

    /// The spaces that the span table of an inode names, in order.
    pub(crate) fn spaces_used(&self, inode: u64) -> Result<Vec<u32>, StoreError> {
        let prefix = key::x_space(inode, key::X_SPANS, 0);
        let mut scan = self.table.scan(self.txn(), &prefix, &prefix)?;
        let mut spaces = Vec::new();
        while let Some((_, row)) = scan.next::<SpanRow>()? {
            spaces.extend(row.spans.iter().map(|span| span.space));
        }
        spaces.sort_unstable();
        Ok(spaces)
    }

    /// The spans of an object that meet the range, with the offset of each in the object. An object
    /// without a span table is one span of space 0.
    fn spans(
        &self,
        inode: u64,
        size: u64,
        range: &Range<u64>,
    ) -> Result<Vec<(u64, Span)>, StoreError> {
        let prefix = key::x_space(inode, key::X_SPANS, 0);
        let start = self.row_at_or_below(&prefix, range.start)?;
        let mut scan = self.table.scan(self.txn(), &prefix, &start)?;
        let mut found = Vec::new();
        let mut any = false;
        while let Some((row_key, row)) = scan.next::<SpanRow>()? {
            any = true;
            let mut offset = key::parse_x(row_key).map_or(0, |(_, _, _, offset)| offset);
            if offset >= range.end {
                break;
            }
            for span in row.spans {
                let end = offset.saturating_add(span.length);
                if end > range.start && offset < range.end {
                    found.push((offset, span));
                }
                offset = end;
            }
        }
        if !any {
            found.push(only_span(size));
        }
        Ok(found)
    }

    fn pieces_of_space(
        &self,
        inode: u64,
        start: u64,
        span: Span,
        pieces: &mut Pieces,
    ) -> Result<(), StoreError> {
        if let Some(mut bytes) = self.inline_body(inode, span.space)? {
            if bytes.len() as u64 != span.length {
                return Err(self.gap(inode, start));
            }
            pieces.add(start, span.length, |skip, length| {
                let (skip, length) = (skip as usize, length as usize);
                if skip > 0 {
                    bytes.drain(..skip);
                }
                bytes.truncate(length);
                PieceSource::Inline(bytes)
            });
            return Ok(());
        }
        let end = start.saturating_add(span.length);
        while !pieces.is_full() && pieces.next() < end.min(pieces.wanted.end) {
            let from = pieces.next().saturating_sub(start);
            let batch = self.extents(inode, span.space, from, pieces.room())?;
            let before = pieces.next();
            for (offset, extent) in batch {
                let source = |skip, length| piece_source(&extent, span.space, skip, length);
                pieces.add(start.saturating_add(offset), extent.length, source);
            }
            if pieces.next() == before {
                return Err(self.gap(inode, before));
            }
        }
        Ok(())
    }

    /// The body in a space, where it lies in the namespace.
    pub(crate) fn inline_body(
        &self,
        inode: u64,
        space: u32,
    ) -> Result<Option<Vec<u8>>, StoreError> {
        let prefix = key::x_space(inode, key::X_INLINE, space);
        let mut scan = self.table.scan(self.txn(), &prefix, &prefix)?;
        let mut body: Option<Vec<u8>> = None;
        while let Some((row_key, InlineRow(bytes))) = scan.next::<InlineRow>()? {
            let (.., offset) = key::parse_x(row_key).ok_or_else(|| malformed_key(row_key))?;
            let before = body.as_ref().map_or(0, Vec::len) as u64;
            if offset != before {
                return Err(self.gap(inode, before));
            }
            match &mut body {
                Some(body) => body.extend_from_slice(&bytes),
                None => body = Some(bytes),
            }
        }
        Ok(body)
    }

    /// The key of the last row at or below `offset` under a prefix that ends before the offset; the
    /// prefix where there is none.
    pub(super) fn row_at_or_below(
        &self,
        prefix: &[u8],
        offset: u64,
    ) -> Result<Vec<u8>, StoreError> {
        if offset == 0 {
            return Ok(prefix.to_vec());
        }
        let key = [prefix, &offset.to_be_bytes()].concat();
        let found = self
            .table
            .database()
            .get_lower_than_or_equal_to(self.txn(), &key)?;
        Ok(match found {
            Some((found, _)) if found.starts_with(prefix) => found.to_vec(),
            _ => prefix.to_vec(),
        })
    }

    pub(super) fn gap(&self, inode: u64, offset: u64) -> StoreError {
        StoreError::Corrupt {
            key: format!("extents of inode {inode}"),
            detail: format!("nothing covers offset {offset}"),
        }
    }
}

/// The span of an object without a table of them.
fn only_span(size: u64) -> (u64, Span) {
    let span = Span {
        space: 0,
        length: size,
    };
    (0, span)
}

fn piece_source(extent: &Extent, space: u32, skip: u64, length: u64) -> PieceSource {
    match extent.kind {
        ExtentKind::Zeros => PieceSource::Zeros,
        ExtentKind::Chunk => {
            let extent = Extent {
                offset: extent.offset + skip,
                length,
                ..extent.clone()
            };
            PieceSource::Chunk { extent, space }
        }
    }
}

pub(super) fn malformed_key(key: &[u8]) -> StoreError {
    StoreError::Corrupt {
        key: super::super::describe::describe_key(key),
        detail: "the key is malformed".into(),
    }
}

/// Pieces as they are found, in order and without gaps.
struct Pieces {
    wanted: Range<u64>,
    limit: usize,
    pieces: Vec<BodyPiece>,
}

impl Pieces {
    /// The first offset that is not covered.
    fn next(&self) -> u64 {
        self.pieces
            .last()
            .map_or(self.wanted.start, |piece| piece.offset + piece.length)
    }

    fn room(&self) -> usize {
        self.limit - self.pieces.len()
    }

    fn is_full(&self) -> bool {
        self.room() == 0
    }

    /// Adds what is wanted of a run; a run that leaves a gap is not added.
    fn add(&mut self, start: u64, length: u64, source: impl FnOnce(u64, u64) -> PieceSource) {
        let next = self.next();
        let end = start.saturating_add(length).min(self.wanted.end);
        if self.is_full() || start > next || end <= next {
            return;
        }
        let source = source(next - start, end - next);
        self.pieces.push(BodyPiece {
            offset: next,
            length: end - next,
            source,
        });
    }
}
