//! Pages of the index: leaves hold sorted entries, inner pages hold where the pages below lie and what their checksums are.
//!
//! An inner page has for each of its children the first key, the place and the CRC. So a child that is damaged, left over from
//! an earlier checkpoint or written to the wrong place is found by its parent, and the root by the anchor.

use bytemuck::{Pod, Zeroable};

use super::{FormatError, Preamble, kind, preamble, read, refuse_nonzero, seal};
use crate::id::{ChunkId, ShardId};

/// Length of a page, in bytes.
pub const PAGE_BYTES: usize = 4096;

/// Entries of a full leaf.
pub const ENTRIES_PER_PAGE: usize = 100;

/// Children of a full inner page.
pub const CHILDREN_PER_PAGE: usize = 126;

/// Levels of inner pages that a tree may have: more entries than any device has room for.
pub const LEVELS_MAX: u32 = 8;

#[repr(C)]
#[derive(Clone, Copy, Pod, Zeroable)]
struct RawHeader {
    preamble: Preamble,
    generation: u64,
    slot: u32,
    page: u32,
    count: u32,
    level: u32,
    tree: u32,
    reserved: [u8; 28],
}

#[repr(C)]
#[derive(Clone, Copy, Pod, Zeroable)]
struct RawEntry {
    chunk: [u8; 16],
    position: u64,
    inode: u64,
    payload_bytes: u32,
    shard: u8,
    reserved: [u8; 3],
}

#[repr(C)]
#[derive(Clone, Copy, Pod, Zeroable)]
struct RawChild {
    chunk: [u8; 16],
    slot: u32,
    page: u32,
    crc: u32,
    shard: u8,
    reserved: [u8; 3],
}

const HEADER_BYTES: usize = 64;
const ENTRY_BYTES: usize = 40;
const CHILD_BYTES: usize = 32;
const _: () = assert!(size_of::<RawHeader>() == HEADER_BYTES);
const _: () = assert!(size_of::<RawEntry>() == ENTRY_BYTES);
const _: () = assert!(size_of::<RawChild>() == CHILD_BYTES);
const _: () = assert!(HEADER_BYTES + ENTRIES_PER_PAGE * ENTRY_BYTES <= PAGE_BYTES);
const _: () = assert!(HEADER_BYTES + CHILDREN_PER_PAGE * CHILD_BYTES == PAGE_BYTES);

/// Where a shard lies, and whose it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct IndexEntry {
    /// Position of the record, over the life of the partition.
    pub position: u64,
    /// Length of its payload, in bytes.
    pub payload_bytes: u32,
    /// The inode that is the chunk's home.
    pub inode: u64,
}

/// Where a page lies: the segment by its number in the partition, and the page by its number in the segment, behind the header.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct PagePlace {
    /// The segment.
    pub slot: u32,
    /// The page.
    pub page: u32,
}

/// Which tree of the partition a page belongs to.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum TreeKind {
    /// From shard to place.
    Shards,
    /// What would otherwise have to be counted at a start, in leaves of the same form: see [`table_key`].
    Table,
}

/// What a page says of itself.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PageIdentity {
    /// The checkpoint that wrote it.
    pub generation: u64,
    /// Where it lies.
    pub place: PagePlace,
    /// Whose page it is.
    pub tree: TreeKind,
    /// 0 for a leaf, and one more for each level above.
    pub level: u32,
}

/// A row of an inner page. Kept in memory for every page below the root, so it is no larger than on the device.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ChildRow {
    chunk: u128,
    /// Where the child lies.
    pub place: PagePlace,
    /// The CRC that the child begins with.
    pub crc: u32,
    shard: u8,
}

const _: () = assert!(size_of::<ChildRow>() == CHILD_BYTES);

impl ChildRow {
    /// The row of a child.
    pub fn new(first: ShardId, place: PagePlace, crc: u32) -> ChildRow {
        ChildRow {
            chunk: first.chunk.0,
            place,
            crc,
            shard: first.shard,
        }
    }

    /// The first key of the child.
    pub fn first(&self) -> ShardId {
        ShardId {
            chunk: ChunkId(self.chunk),
            shard: self.shard,
        }
    }
}

/// What a row of the table is about.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum TableRow {
    /// The live bytes of a segment, by its sequence number.
    LiveBytes(u64),
    /// The last allocation epoch of a writer.
    NewestEpoch(u32),
}

const TABLE_KIND_SHIFT: u32 = 64;

/// The key of a row of the table. Its value is the position of the entry; length and inode are zero.
pub fn table_key(row: TableRow) -> ShardId {
    let (kind, number) = match row {
        TableRow::LiveBytes(sequence) => (1, sequence),
        TableRow::NewestEpoch(writer) => (2, u64::from(writer)),
    };
    ShardId {
        chunk: ChunkId(kind << TABLE_KIND_SHIFT | u128::from(number)),
        shard: 0,
    }
}

/// What the key of a row of the table says.
pub fn table_row(key: ShardId) -> Option<TableRow> {
    let number = key.chunk.0 as u64;
    match key.chunk.0 >> TABLE_KIND_SHIFT {
        1 if key.shard == 0 => Some(TableRow::LiveBytes(number)),
        2 if key.shard == 0 => u32::try_from(number).ok().map(TableRow::NewestEpoch),
        _ => None,
    }
}

/// Writes a leaf; returns its CRC.
///
/// # Panics
/// When there are more entries than a leaf holds.
pub fn encode_leaf(
    identity: PageIdentity,
    entries: &[(ShardId, IndexEntry)],
    out: &mut [u8],
) -> u32 {
    assert!(
        entries.len() <= ENTRIES_PER_PAGE && identity.level == 0,
        "a leaf holds its entries"
    );
    let rows = entries.iter().map(|(id, entry)| RawEntry {
        chunk: id.chunk.0.to_le_bytes(),
        position: entry.position,
        inode: entry.inode,
        payload_bytes: entry.payload_bytes,
        shard: id.shard,
        reserved: [0; 3],
    });
    encode(identity, kind::LEAF, rows, out)
}

/// Writes an inner page; returns its CRC.
///
/// # Panics
/// When there are more children than a page has rows for.
pub fn encode_inner(identity: PageIdentity, children: &[ChildRow], out: &mut [u8]) -> u32 {
    assert!(
        children.len() <= CHILDREN_PER_PAGE && identity.level > 0,
        "an inner page holds its children"
    );
    let rows = children.iter().map(|child| RawChild {
        chunk: child.chunk.to_le_bytes(),
        slot: child.place.slot,
        page: child.place.page,
        crc: child.crc,
        shard: child.shard,
        reserved: [0; 3],
    });
    encode(identity, kind::INNER, rows, out)
}

fn encode<R: Pod>(
    identity: PageIdentity,
    kind: u16,
    rows: impl ExactSizeIterator<Item = R>,
    out: &mut [u8],
) -> u32 {
    assert!(out.len() == PAGE_BYTES, "a page has its length");
    out.fill(0);
    let header = RawHeader {
        generation: identity.generation,
        slot: identity.place.slot,
        page: identity.place.page,
        count: rows.len() as u32,
        level: identity.level,
        tree: match identity.tree {
            TreeKind::Shards => 1,
            TreeKind::Table => 2,
        },
        ..RawHeader::zeroed()
    };
    out[..HEADER_BYTES].copy_from_slice(bytemuck::bytes_of(&header));
    for (slot, row) in out[HEADER_BYTES..]
        .chunks_exact_mut(size_of::<R>())
        .zip(rows)
    {
        slot.copy_from_slice(bytemuck::bytes_of(&row));
    }
    seal(out, kind);
    u32::from_le_bytes([out[0], out[1], out[2], out[3]])
}

/// Reads a leaf, whose keys ascend.
///
/// # Errors
/// Says what is wrong with it.
pub fn decode_leaf(
    bytes: &[u8],
) -> Result<(PageIdentity, Vec<(ShardId, IndexEntry)>), FormatError> {
    let (identity, rows) = decode(bytes, kind::LEAF, ENTRIES_PER_PAGE, ENTRY_BYTES)?;
    if identity.level != 0 {
        return Err(FormatError::Field("level of the page"));
    }
    let entries: Result<Vec<(ShardId, IndexEntry)>, FormatError> =
        rows.chunks_exact(ENTRY_BYTES).map(entry_of).collect();
    let entries = entries?;
    refuse_disorder(entries.iter().map(|(id, _)| *id))?;
    Ok((identity, entries))
}

fn entry_of(row: &[u8]) -> Result<(ShardId, IndexEntry), FormatError> {
    let raw: RawEntry = read(row)?;
    refuse_nonzero(&raw.reserved, "reserved bytes of an entry")?;
    let id = ShardId {
        chunk: ChunkId(u128::from_le_bytes(raw.chunk)),
        shard: raw.shard,
    };
    let entry = IndexEntry {
        position: raw.position,
        payload_bytes: raw.payload_bytes,
        inode: raw.inode,
    };
    Ok((id, entry))
}

/// Reads an inner page, whose keys ascend; it has at least one child.
///
/// # Errors
/// Says what is wrong with it.
pub fn decode_inner(bytes: &[u8]) -> Result<(PageIdentity, Vec<ChildRow>), FormatError> {
    let (identity, rows) = decode(bytes, kind::INNER, CHILDREN_PER_PAGE, CHILD_BYTES)?;
    if !(1..=LEVELS_MAX).contains(&identity.level) {
        return Err(FormatError::Field("level of the page"));
    }
    let children: Result<Vec<ChildRow>, FormatError> =
        rows.chunks_exact(CHILD_BYTES).map(child_of).collect();
    let children = children?;
    if children.is_empty() {
        return Err(FormatError::Field("an inner page without children"));
    }
    refuse_disorder(children.iter().map(ChildRow::first))?;
    Ok((identity, children))
}

fn child_of(row: &[u8]) -> Result<ChildRow, FormatError> {
    let raw: RawChild = read(row)?;
    refuse_nonzero(&raw.reserved, "reserved bytes of a child")?;
    let place = PagePlace {
        slot: raw.slot,
        page: raw.page,
    };
    Ok(ChildRow {
        chunk: u128::from_le_bytes(raw.chunk),
        place,
        crc: raw.crc,
        shard: raw.shard,
    })
}

fn refuse_disorder(keys: impl Iterator<Item = ShardId>) -> Result<(), FormatError> {
    let mut last = None;
    for key in keys {
        if last.is_some_and(|last| last >= key) {
            return Err(FormatError::Field("keys of the page out of order"));
        }
        last = Some(key);
    }
    Ok(())
}

/// Checks a page as a whole; returns what it says of itself, and its rows.
fn decode(
    bytes: &[u8],
    kind: u16,
    count_max: usize,
    row_bytes: usize,
) -> Result<(PageIdentity, &[u8]), FormatError> {
    let header: RawHeader = read(bytes)?;
    let page = bytes.get(..PAGE_BYTES).ok_or(FormatError::Short {
        found: bytes.len(),
        expected: PAGE_BYTES,
    })?;
    super::check(page, kind)?;
    refuse_nonzero(&header.reserved, "reserved bytes of the page")?;
    if header.count as usize > count_max {
        return Err(FormatError::Field("number of rows"));
    }
    let rows_end = header.count as usize * row_bytes;
    let (rows, unused) = page[HEADER_BYTES..]
        .split_at_checked(rows_end)
        .ok_or(FormatError::Field("number of rows"))?;
    refuse_nonzero(unused, "unused rows of the page")?;
    let tree = match header.tree {
        1 => TreeKind::Shards,
        2 => TreeKind::Table,
        _ => return Err(FormatError::Field("tree of the page")),
    };
    let identity = PageIdentity {
        generation: header.generation,
        place: PagePlace {
            slot: header.slot,
            page: header.page,
        },
        tree,
        level: header.level,
    };
    Ok((identity, rows))
}

/// The CRC that some bytes claim to have.
///
/// # Errors
/// Too few bytes.
pub fn claimed_crc(bytes: &[u8]) -> Result<u32, FormatError> {
    Ok(preamble(bytes)?.crc)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn id(number: u128) -> ShardId {
        ShardId {
            chunk: ChunkId(number),
            shard: 1,
        }
    }

    fn identity(level: u32) -> PageIdentity {
        PageIdentity {
            generation: 3,
            place: PagePlace { slot: 7, page: 8 },
            tree: TreeKind::Shards,
            level,
        }
    }

    fn entries() -> Vec<(ShardId, IndexEntry)> {
        let entry = |n: u64| IndexEntry {
            position: n * 4096,
            payload_bytes: 77,
            inode: n,
        };
        (0..100).map(|n| (id(u128::from(n)), entry(n))).collect()
    }

    #[test]
    fn a_leaf_comes_back_and_says_where_it_lies() {
        let mut bytes = vec![1; PAGE_BYTES];
        let crc = encode_leaf(identity(0), &entries(), &mut bytes);
        assert_eq!(claimed_crc(&bytes), Ok(crc));
        assert_eq!(decode_leaf(&bytes), Ok((identity(0), entries())));
        assert!(decode_inner(&bytes).is_err());
        for place in [
            PAGE_BYTES - 1,
            HEADER_BYTES + ENTRIES_PER_PAGE * ENTRY_BYTES,
        ] {
            let mut bytes = bytes.clone();
            bytes[place] = 1;
            seal(&mut bytes, kind::LEAF);
            assert!(decode_leaf(&bytes).is_err(), "{place}");
        }
    }

    #[test]
    fn an_inner_page_comes_back() {
        let place = |page| PagePlace { slot: 2, page };
        let rows: Vec<ChildRow> = (0..126)
            .map(|n| ChildRow::new(id(u128::from(n) * 3), place(n), n))
            .collect();
        let mut bytes = vec![0; PAGE_BYTES];
        encode_inner(identity(1), &rows, &mut bytes);
        assert_eq!(decode_inner(&bytes), Ok((identity(1), rows.clone())));
        encode_inner(identity(1), &[], &mut bytes);
        assert!(decode_inner(&bytes).is_err(), "it has a child");
        let swapped = [rows[1], rows[0]];
        encode_inner(identity(1), &swapped, &mut bytes);
        assert!(decode_inner(&bytes).is_err(), "keys ascend");
    }

    #[test]
    fn rows_of_the_table_are_told_apart() {
        let rows = [
            TableRow::LiveBytes(0),
            TableRow::LiveBytes(u64::MAX),
            TableRow::NewestEpoch(0),
            TableRow::NewestEpoch(u32::MAX),
        ];
        assert!(rows.map(table_key).is_sorted());
        for row in rows {
            assert_eq!(table_row(table_key(row)), Some(row));
        }
        assert_eq!(table_row(id(1)), None);
    }
}
