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
        let mut page = PackablePage::default();
        let (mut rows, mut known) = (0, None);
        while let Some((row_key, raw)) = scan.next_raw()? {
            if rows == query.rows || page.found.len() >= REPOINT_ITEMS_MAX {
                page.next = Some(BodyCursor(row_key.to_vec()));
                break;
            }
            rows += 1;
            let found = self.packable_of_row(row_key, raw, query)?;
            let Some(inode) = found.first().map(|found| found.inode) else {
                continue;
            };
            let age = match known {
                Some((of, age)) if of == inode => age,
                _ => self.age(inode, query.before_nanos)?,
            };
            known = Some((inode, age));
            match age {
                Age::Old => page.found.extend(self.with_bodies(found, query)?),
                Age::Young => page.first_young = page.first_young.or(Some(inode)),
                Age::Nameless => {}
            }
        }
        Ok(page)
    }

    /// What a row has that is worth packing, were its inode old enough; of an inline body the first row.
    fn packable_of_row(
        &self,
        row_key: &[u8],
        raw: &[u8],
        query: &PackQuery,
    ) -> Result<Vec<Packable>, StoreError> {
        let (inode, kind, space, begin) =
            key::parse_x(row_key).ok_or_else(|| malformed_key(row_key))?;
        let packable = |offset, source| Packable {
            inode,
            space,
            offset,
            source,
        };
        let mut found = Vec::new();
        if kind == key::X_INLINE && begin == 0 {
            let InlineRow(bytes) = value::open(row_key, raw)?;
            if bytes.len() >= query.inline_bytes_min.min(INLINE_ROW_BYTES) {
                found.push(packable(0, PackableSource::Inline(bytes)));
            }
        } else if kind == key::X_EXTENTS && query.chunk_bytes_max > 0 {
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
        }
        Ok(found)
    }

    /// The same with the whole of inline bodies, where they are long enough.
    fn with_bodies(
        &self,
        mut found: Vec<Packable>,
        query: &PackQuery,
    ) -> Result<Vec<Packable>, StoreError> {
        if let [only] = &mut found[..]
            && let PackableSource::Inline(bytes) = &mut only.source
        {
            if bytes.len() == INLINE_ROW_BYTES {
                *bytes = self
                    .inline_body(only.inode, only.space)?
                    .unwrap_or_default();
            }
            if bytes.len() < query.inline_bytes_min {
                found.clear();
            }
        }
        Ok(found)
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
