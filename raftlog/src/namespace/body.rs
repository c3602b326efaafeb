//! Rows of `X`, `C` and `F`: extents, inline bodies, span tables, attributes, packs, and bodies to release.

use strata_engine::ChunkId;

use super::chunk::{Extent, ExtentKind};
use super::entry::{read_storage_class, write_storage_class};
use super::object::ObjectAttributes;
use super::value::{Damage, FieldWriter, Fields, Row};

/// Extents that one row packs at most: 24 of 64 bytes stay below the size at which LMDB gives a
/// value pages of its own.
pub(crate) const EXTENTS_PER_ROW: usize = 24;

/// Spans that one row of the span table packs at most.
pub(crate) const SPANS_PER_ROW: usize = 64;

/// Extents that follow each other from the offset in the row's key on.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct ExtentRow(pub Vec<Extent>);

impl Row for ExtentRow {
    fn write(&self, fields: &mut FieldWriter) {
        self.0
            .iter()
            .for_each(|extent| write_extent(fields, extent));
    }

    fn read(fields: &mut Fields<'_>) -> Result<ExtentRow, Damage> {
        let mut extents = Vec::new();
        while !fields.is_empty() {
            extents.push(read_extent(fields)?);
        }
        Ok(ExtentRow(extents))
    }
}

/// 64 bytes.
fn write_extent(fields: &mut FieldWriter, extent: &Extent) {
    fields.u128(extent.chunk.0);
    for field in [
        extent.length,
        extent.stored_length,
        extent.offset,
        extent.slot_mask,
        extent.home_inode,
    ] {
        fields.u64(field);
    }
    fields.u16(extent.geometry);
    fields.u8(match extent.kind {
        ExtentKind::Chunk => 1,
        ExtentKind::Zeros => 2,
    });
    fields.u8(extent.flags);
    fields.zeros(4);
}

fn read_extent(fields: &mut Fields<'_>) -> Result<Extent, Damage> {
    let chunk = ChunkId(fields.u128()?);
    let (length, stored_length, offset) = (fields.u64()?, fields.u64()?, fields.u64()?);
    let slot_mask = fields.u64()?;
    let home_inode = fields.u64()?;
    let geometry = fields.u16()?;
    let kind = match fields.u8()? {
        1 => ExtentKind::Chunk,
        2 => ExtentKind::Zeros,
        _ => return Err(Damage("unknown kind of extent")),
    };
    if length == 0 {
        return Err(Damage("an extent of no bytes"));
    }
    fields.zeros(5)?;
    Ok(Extent {
        length,
        kind,
        chunk,
        stored_length,
        offset,
        geometry,
        slot_mask,
        home_inode,
        flags: 0,
    })
}

/// Bytes of an inline body in a row. With the header of a value they fill a page of LMDB. A longer value would take several that
/// follow each other, and finding those among many free ones that do not takes LMDB milliseconds.
pub(crate) const INLINE_ROW_BYTES: usize = 4075;

/// Bytes of the body, from the offset in the row's key on.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct InlineRow(pub Vec<u8>);

impl Row for InlineRow {
    fn write(&self, fields: &mut FieldWriter) {
        fields.raw(&self.0);
    }

    fn read(fields: &mut Fields<'_>) -> Result<InlineRow, Damage> {
        Ok(InlineRow(fields.rest().to_vec()))
    }
}

/// A run of an object that is a space of its inode, from the space's beginning.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Span {
    pub space: u32,
    pub length: u64,
}

/// Spans that follow each other from the offset in the row's key on. Each is a part of an upload that was completed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct SpanRow {
    pub spans: Vec<Span>,
    /// The checksum of each in the algorithm of the object's, one after the other; none where they are not kept.
    pub checksums: Vec<u8>,
}

impl SpanRow {
    /// The checksum of one of the spans.
    pub fn checksum(&self, at: usize) -> Option<&[u8]> {
        let length = self.checksums.len() / self.spans.len().max(1);
        let found = self.checksums.get(at * length..(at + 1) * length);
        found.filter(|value| !value.is_empty())
    }
}

impl Row for SpanRow {
    fn write(&self, fields: &mut FieldWriter) {
        fields.u32(self.spans.len() as u32);
        for span in &self.spans {
            fields.u32(span.space);
            fields.u64(span.length);
        }
        fields.raw(&self.checksums);
    }

    fn read(fields: &mut Fields<'_>) -> Result<SpanRow, Damage> {
        let count = fields.u32()?;
        if count == 0 || count as usize > SPANS_PER_ROW {
            return Err(Damage("a row with no spans, or with too many"));
        }
        let mut spans = Vec::new();
        for _ in 0..count {
            spans.push(Span {
                space: fields.u32()?,
                length: fields.u64()?,
            });
        }
        let checksums = fields.rest().to_vec();
        match checksums.len() % spans.len() {
            0 => Ok(SpanRow { spans, checksums }),
            _ => Err(Damage("checksums of spans that have different lengths")),
        }
    }
}

/// What of an inode is gone and waits to be released.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum DroppedScope {
    /// All of it, with the parts where it is an upload.
    Inode,
    /// The extents of one space: a part that was replaced, or not used.
    Space(u32),
    /// The rows of the parts of an upload that is complete; those that it has not used are bodies to drop.
    Parts,
    /// No rows: an extent that a `Repoint` has replaced, whose bytes its readers may still be reading.
    Moved(MovedExtent),
}

/// Where an extent lay before its bytes were packed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct MovedExtent {
    /// The chunk.
    pub chunk: ChunkId,
    /// The home inode where the chunk is a pack; 0 where it belonged to the body alone and is to be freed.
    pub home_inode: u64,
    /// The bytes of the extent.
    pub length: u64,
}

/// A chunk that holds extents of several bodies, and how much of it they still are. It has a row as long as one extent, or one that
/// has moved and is not released yet, names it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Pack {
    /// Bytes of all extents with which it began.
    pub bytes: u64,
    /// Bytes of those that are left.
    pub live_bytes: u64,
    /// How many are left; never 0.
    pub live_extents: u32,
}

impl Row for Pack {
    fn write(&self, fields: &mut FieldWriter) {
        fields.u64(self.bytes);
        fields.u64(self.live_bytes);
        fields.u32(self.live_extents);
        fields.zeros(4);
    }

    fn read(fields: &mut Fields<'_>) -> Result<Pack, Damage> {
        let pack = Pack {
            bytes: fields.u64()?,
            live_bytes: fields.u64()?,
            live_extents: fields.u32()?,
        };
        fields.zeros(4)?;
        Ok(pack)
    }
}

/// A body that no name refers to any more. Its rows stay until they are released.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct DroppedRow {
    pub inode: u64,
    pub scope: DroppedScope,
}

impl Row for DroppedRow {
    fn write(&self, fields: &mut FieldWriter) {
        let (kind, space) = match self.scope {
            DroppedScope::Inode => (1, 0),
            DroppedScope::Space(space) => (2, space),
            DroppedScope::Parts => (3, 0),
            DroppedScope::Moved(_) => (4, 0),
        };
        fields.u64(self.inode);
        fields.u32(space);
        fields.u8(kind);
        fields.zeros(3);
        if let DroppedScope::Moved(moved) = self.scope {
            fields.u128(moved.chunk.0);
            fields.u64(moved.home_inode);
            fields.u64(moved.length);
        }
    }

    fn read(fields: &mut Fields<'_>) -> Result<DroppedRow, Damage> {
        let (inode, space) = (fields.u64()?, fields.u32()?);
        let kind = fields.u8()?;
        fields.zeros(3)?;
        let scope = match (kind, space) {
            (1, 0) => DroppedScope::Inode,
            (2, space) => DroppedScope::Space(space),
            (3, 0) => DroppedScope::Parts,
            (4, 0) => DroppedScope::Moved(MovedExtent {
                chunk: ChunkId(fields.u128()?),
                home_inode: fields.u64()?,
                length: fields.u64()?,
            }),
            _ => return Err(Damage("unknown scope of a dropped body")),
        };
        Ok(DroppedRow { inode, scope })
    }
}

impl Row for ObjectAttributes {
    fn write(&self, fields: &mut FieldWriter) {
        fields.u8(write_storage_class(self.storage_class));
        for text in self.standard() {
            fields.u8(u8::from(text.is_some()));
            if let Some(text) = text {
                fields.bytes(text.as_bytes());
            }
        }
        for (name, value) in &self.user_metadata {
            fields.bytes(name.as_bytes());
            fields.bytes(value.as_bytes());
        }
    }

    fn read(fields: &mut Fields<'_>) -> Result<ObjectAttributes, Damage> {
        let storage_class = read_storage_class(fields.u8()?)?;
        let mut attributes = ObjectAttributes {
            content_type: read_optional(fields)?,
            cache_control: read_optional(fields)?,
            content_disposition: read_optional(fields)?,
            content_encoding: read_optional(fields)?,
            content_language: read_optional(fields)?,
            expires: read_optional(fields)?,
            website_redirect: read_optional(fields)?,
            user_metadata: Vec::new(),
            storage_class,
        };
        while !fields.is_empty() {
            attributes
                .user_metadata
                .push((fields.string()?, fields.string()?));
        }
        Ok(attributes)
    }
}

impl ObjectAttributes {
    /// The standard headers in the order in which they are stored.
    pub(super) fn standard(&self) -> [&Option<String>; 7] {
        [
            &self.content_type,
            &self.cache_control,
            &self.content_disposition,
            &self.content_encoding,
            &self.content_language,
            &self.expires,
            &self.website_redirect,
        ]
    }
}

fn read_optional(fields: &mut Fields<'_>) -> Result<Option<String>, Damage> {
    match fields.u8()? {
        0 => Ok(None),
        1 => fields.string().map(Some),
        _ => Err(Damage("a mark of presence that is neither 0 nor 1")),
    }
}
