//! Queries about packs, the chunks that hold extents of several bodies: which there are, and what is worth packing.

use super::View;
use super::body::malformed_key;
use crate::namespace::body::{ExtentRow, INLINE_ROW_BYTES, InlineRow, Pack};
use crate::namespace::chunk::{Extent, ExtentKind};
use crate::namespace::entry::PlaceKind;
use crate::namespace::key;
use crate::namespace::store::StoreError;
use crate::namespace::value;
use crate::namespace::{EntryKind, REPOINT_ITEMS_MAX};

/// What is worth packing.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PackQuery {
    /// Inline bodies of so many bytes or more.
    pub inline_bytes_min: usize,
    /// Extents that are whole chunks of so many bytes or fewer; 0 for none.
    pub chunk_bytes_max: u64,
    /// Of objects that were put before this time, in nanoseconds since the Unix epoch.
    pub before_nanos: i64,
    /// Rows that are looked at, at most.
    pub rows: usize,
}

/// An extent or inline body that is worth packing.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Packable {
    /// The inode that holds it.
    pub inode: u64,
    /// The space of the inode.
    pub space: u32,
    /// Where it begins in the space, in bytes.
    pub offset: u64,
    /// Where its bytes are.
    pub source: PackableSource,
}

/// Where the bytes of a [`Packable`] are.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum PackableSource {
    /// The bytes themselves.
    Inline(Vec<u8>),
    /// In a chunk.
    Chunk(Extent),
}

/// A place between the rows of bodies, in the order of their inodes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BodyCursor(Vec<u8>);

impl BodyCursor {
    /// In front of the rows of an inode.
    pub fn at(inode: u64) -> BodyCursor {
        BodyCursor(key::x(inode))
    }
}

/// What a look at some rows has found.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct PackablePage {
    /// What is worth packing: no more than a command takes, and what the last row has beyond that.
    pub found: Vec<Packable>,
    /// The lowest inode that was put too late.
    pub first_young: Option<u64>,
    /// Where to go on; `None` at the end.
    pub next: Option<BodyCursor>,
}

/// Whether bodies of an inode may be packed.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Age {
    Old,
    Young,
    /// It has no object: an upload, a pack, or a body that is gone.
    Nameless,
}

/// A look at some rows, under way.
#[derive(Default)]
struct PackableLook {
    page: PackablePage,
    /// An inline body of which more rows may come.
    inline: Option<Packable>,
    /// The age of the inode that was met last.
    known: Option<(u64, Age)>,
}

impl PackableLook {
    /// Whether a row is of the inline body that is being read.
    fn goes_on(&self, (inode, kind, space, begin): (u64, u8, u32, u64)) -> bool {
        let is_of = |body: &Packable| (body.inode, body.space) == (inode, space);
        kind == key::X_INLINE && begin > 0 && self.inline.as_ref().is_some_and(is_of)
    }

    fn inline_bytes(&mut self) -> Option<&mut Vec<u8>> {
        match &mut self.inline.as_mut()?.source {
            PackableSource::Inline(bytes) => Some(bytes),
            PackableSource::Chunk(_) => None,
        }
    }
}

impl View<'_> {
    /// The pack with a home inode.
    ///
    /// # Errors
    /// As [`bucket`](View::bucket).
    pub fn pack(&self, home: u64) -> Result<Option<Pack>, StoreError> {
        self.table.get(self.txn(), &key::pack(home))
    }

    /// Packs with their home inodes, from `first` on, in the order of these; at most `limit` of them.
    ///
    /// # Errors
    /// As [`bucket`](View::bucket).
    pub fn packs(&self, first: u64, limit: usize) -> Result<Vec<(u64, Pack)>, StoreError> {
        let from = key::pack(first);
        let mut scan = self.table.scan(self.txn(), &[key::PACK], &from)?;
        let mut found = Vec::new();
        while found.len() < limit
            && let Some((row_key, pack)) = scan.next::<Pack>()?
        {
            let home = key::parse_pack(row_key).ok_or_else(|| malformed_key(row_key))?;
            found.push((home, pack));
        }
        Ok(found)
    }

    /// The extent that begins at an offset of a space.
    ///
    /// # Errors
    /// As [`bucket`](View::bucket).
    pub fn extent_at(
        &self,
        inode: u64,
        space: u32,
        offset: u64,
    ) -> Result<Option<Extent>, StoreError> {
        let found = self.extent_row(inode, space, offset)?;
        Ok(found.map(|(_, mut row, at)| row.0.swap_remove(at)))
    }

    /// What is worth packing among the next rows of bodies.
    ///
    /// # Errors
    /// As [`bucket`](View::bucket).
    pub fn packable(
        &self,
        from: &BodyCursor,
        query: &PackQuery,
    ) -> Result<PackablePage, StoreError> {
        let mut scan = self.table.scan(self.txn(), &[key::EXTENTS], &from.0)?;
        let mut look = PackableLook::default();
        let mut rows = 0;
        while let Some((row_key, raw)) = scan.next_raw()? {
            let place = key::parse_x(row_key).ok_or_else(|| malformed_key(row_key))?;
            if look.goes_on(place) {
                let InlineRow(bytes) = value::open(row_key, raw)?;
                self.append_inline(&mut look, place, &bytes)?;
                rows += 1;
                continue;
            }
            self.finish_inline(&mut look, query)?;
            if rows >= query.rows || look.page.found.len() >= REPOINT_ITEMS_MAX {
                look.page.next = Some(BodyCursor(row_key.to_vec()));
                return Ok(look.page);
            }
            rows += 1;
            self.look_at_row(&mut look, row_key, raw, query)?;
        }
        self.finish_inline(&mut look, query)?;
        Ok(look.page)
    }

    /// Takes in what a row has that is worth packing; of an inline body the first row.
    fn look_at_row(
        &self,
        look: &mut PackableLook,
        row_key: &[u8],
        raw: &[u8],
        query: &PackQuery,
    ) -> Result<(), StoreError> {
        let (inode, kind, space, begin) =
            key::parse_x(row_key).ok_or_else(|| malformed_key(row_key))?;
        let packable = |offset, source| Packable {
            inode,
            space,
            offset,
            source,
        };
        if kind == key::X_INLINE && begin == 0 {
            let InlineRow(bytes) = value::open(row_key, raw)?;
            if bytes.len() >= query.inline_bytes_min.min(INLINE_ROW_BYTES) {
                look.inline = Some(packable(0, PackableSource::Inline(bytes)));
            }
        } else if kind == key::X_EXTENTS && query.chunk_bytes_max > 0 {
            let mut found = Vec::new();
            let mut offset = begin;
            for extent in value::open::<ExtentRow>(row_key, raw)?.0 {
                let at = offset;
                offset = offset.saturating_add(extent.length);
                let is_whole = extent.length == extent.stored_length;
                let is_own = extent.kind == ExtentKind::Chunk && extent.home_inode == 0;
                if is_own && is_whole && extent.length <= query.chunk_bytes_max {
                    found.push(packable(at, PackableSource::Chunk(extent)));
                }
            }
            self.take_packable(look, found, query)?;
        }
        Ok(())
    }

    /// Appends a further row of the inline body that is being read.
    fn append_inline(
        &self,
        look: &mut PackableLook,
        (inode, _, _, begin): (u64, u8, u32, u64),
        row: &[u8],
    ) -> Result<(), StoreError> {
        if let Some(body) = look.inline_bytes() {
            if body.len() as u64 != begin {
                return Err(self.gap(inode, body.len() as u64));
            }
            body.extend_from_slice(row);
        }
        Ok(())
    }

    /// Takes in the inline body that has been read to its end, where it is long enough.
    fn finish_inline(&self, look: &mut PackableLook, query: &PackQuery) -> Result<(), StoreError> {
        let is_long = |body: &mut Vec<u8>| body.len() >= query.inline_bytes_min;
        let is_long = look.inline_bytes().is_some_and(is_long);
        match look.inline.take() {
            Some(body) if is_long => self.take_packable(look, vec![body], query),
            _ => Ok(()),
        }
    }

    /// Takes in what is worth packing of one inode, if the inode is old enough.
    fn take_packable(
        &self,
        look: &mut PackableLook,
        found: Vec<Packable>,
        query: &PackQuery,
    ) -> Result<(), StoreError> {
        let Some(inode) = found.first().map(|found| found.inode) else {
            return Ok(());
        };
        let age = match look.known {
            Some((of, age)) if of == inode => age,
            _ => self.age(inode, query.before_nanos)?,
        };
        look.known = Some((inode, age));
        match age {
            Age::Old => look.page.found.extend(found),
            Age::Young => look.page.first_young = look.page.first_young.or(Some(inode)),
            Age::Nameless => {}
        }
        Ok(())
    }

    fn age(&self, inode: u64, before_nanos: i64) -> Result<Age, StoreError> {
        let Some(place) = self.place(inode)? else {
            return Ok(Age::Nameless);
        };
        let entry = match place.kind {
            PlaceKind::Upload => None,
            PlaceKind::Name => self.entry(place.parent, &place.segment)?,
            PlaceKind::Version(at) => self.earlier_at(place.parent, &place.segment, at)?,
        };
        Ok(match entry {
            Some(entry) if entry.kind != EntryKind::File => Age::Nameless,
            Some(entry) if entry.modified_nanos < before_nanos => Age::Old,
            Some(_) => Age::Young,
            None => Age::Nameless,
        })
    }

    /// The row that holds the extent that begins at an offset of a space, its key, and which of its extents it is.
    pub(crate) fn extent_row(
        &self,
        inode: u64,
        space: u32,
        offset: u64,
    ) -> Result<Option<(Vec<u8>, ExtentRow, usize)>, StoreError> {
        let prefix = key::x_space(inode, key::X_EXTENTS, space);
        let start = self.row_at_or_below(&prefix, offset)?;
        let mut scan = self.table.scan(self.txn(), &prefix, &start)?;
        let Some((row_key, row)) = scan.next::<ExtentRow>()? else {
            return Ok(None);
        };
        let mut begin = key::parse_x(row_key).map_or(0, |(.., offset)| offset);
        for (at, extent) in row.0.iter().enumerate() {
            if begin == offset {
                return Ok(Some((row_key.to_vec(), row, at)));
            }
            begin = begin.saturating_add(extent.length);
        }
        Ok(None)
    }
}
