//! The member table at the end of a pack: whose bytes lie where in it, so that what still lives can be moved on.
//!
//! Invariant: the table is a hint. What a member says counts only where its extent in the namespace says the same.

use strata_raftlog::namespace::REPOINT_ITEMS_MAX;
use strata_raftlog::namespace::command::RepointItem;

/// What the table ends with.
const MAGIC: &[u8; 8] = b"STRATApk";
const VERSION: u16 = 1;

/// Inode 8, offset in the space 8, offset in the pack 8, space 4, length 4.
const MEMBER_BYTES: usize = 32;
/// CRC32C 4 of all before and after it in the table, version 2, reserved 2, members 4, reserved 4, magic 8.
const TRAILER_BYTES: usize = 24;

/// The longest table.
pub(super) const TABLE_BYTES_MAX: usize = table_bytes(REPOINT_ITEMS_MAX);

/// Bytes of the table of so many members.
pub(super) const fn table_bytes(members: usize) -> usize {
    members * MEMBER_BYTES + TRAILER_BYTES
}

/// An extent as it was packed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Member {
    /// The inode that held it.
    pub(super) inode: u64,
    /// The space of the inode.
    pub(super) space: u32,
    /// Where it began in the space, in bytes.
    pub(super) offset: u64,
    /// Where it begins in the pack, in bytes.
    pub(super) pack_offset: u64,
    /// Its length, in bytes.
    pub(super) length: u32,
}

impl Member {
    pub(super) fn of(item: &RepointItem) -> Member {
        Member {
            inode: item.inode,
            space: item.space,
            offset: item.offset,
            pack_offset: item.new_offset,
            length: item.length,
        }
    }
}

/// Appends the table of a pack's members to its bytes.
pub(super) fn append(members: impl Iterator<Item = Member>, bytes: &mut Vec<u8>) {
    let begin = bytes.len();
    let mut count = 0u32;
    for member in members {
        for field in [member.inode, member.offset, member.pack_offset] {
            bytes.extend_from_slice(&field.to_le_bytes());
        }
        bytes.extend_from_slice(&member.space.to_le_bytes());
        bytes.extend_from_slice(&member.length.to_le_bytes());
        count += 1;
    }
    let mut rest = Vec::with_capacity(TRAILER_BYTES);
    rest.extend_from_slice(&u32::from(VERSION).to_le_bytes());
    rest.extend_from_slice(&count.to_le_bytes());
    rest.extend_from_slice(&[0; 4]);
    rest.extend_from_slice(MAGIC);
    let crc = crc32c::crc32c_append(crc32c::crc32c(&bytes[begin..]), &rest);
    bytes.extend_from_slice(&crc.to_le_bytes());
    bytes.extend_from_slice(&rest);
}

/// The members of a pack that ends with these bytes; `None` where they are no table that this version reads.
pub(super) fn read(tail: &[u8]) -> Option<Vec<Member>> {
    let (before, trailer) = tail.split_last_chunk::<TRAILER_BYTES>()?;
    let (crc, rest) = trailer.split_first_chunk::<4>()?;
    let u32_at = |at: usize| Some(u32::from_le_bytes(*rest.get(at..)?.first_chunk()?));
    let count = u32_at(4)? as usize;
    let is_ours = u32_at(0)? == u32::from(VERSION) && u32_at(8)? == 0 && rest.ends_with(MAGIC);
    if !is_ours || count > REPOINT_ITEMS_MAX {
        return None;
    }
    let members = before.get(before.len().checked_sub(count * MEMBER_BYTES)?..)?;
    let found = crc32c::crc32c_append(crc32c::crc32c(members), rest);
    if found.to_le_bytes() != *crc {
        return None;
    }
    members
        .chunks_exact(MEMBER_BYTES)
        .map(read_member)
        .collect()
}

fn read_member(bytes: &[u8]) -> Option<Member> {
    let u64_at = |at: usize| Some(u64::from_le_bytes(*bytes.get(at..)?.first_chunk()?));
    let u32_at = |at: usize| Some(u32::from_le_bytes(*bytes.get(at..)?.first_chunk()?));
    Some(Member {
        inode: u64_at(0)?,
        offset: u64_at(8)?,
        pack_offset: u64_at(16)?,
        space: u32_at(24)?,
        length: u32_at(28)?,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn members(count: usize) -> Vec<Member> {
        let member = |at: usize| Member {
            inode: 16 + at as u64,
            space: 7,
            offset: 1 << 40,
            pack_offset: 100 * at as u64,
            length: 100,
        };
        (0..count).map(member).collect()
    }

    #[test]
    fn a_table_reads_back_from_the_end_of_a_pack() {
        for count in [0, 1, REPOINT_ITEMS_MAX] {
            let mut pack = vec![9; 1_000];
            append(members(count).into_iter(), &mut pack);
            assert_eq!(pack.len(), 1_000 + table_bytes(count));
            assert_eq!(read(&pack), Some(members(count)));
            assert_eq!(read(&pack[1_000..]), Some(members(count)));
        }
    }

    #[test]
    fn the_table_is_as_it_was_first_written() {
        let mut table = Vec::new();
        append(members(1).into_iter(), &mut table);
        let mut expected = Vec::new();
        expected.extend(16u64.to_le_bytes());
        expected.extend((1u64 << 40).to_le_bytes());
        expected.extend(0u64.to_le_bytes());
        expected.extend(7u32.to_le_bytes());
        expected.extend(100u32.to_le_bytes());
        assert_eq!(table[..32], expected);
        assert_eq!(table[36..], *b"\x01\0\0\0\x01\0\0\0\0\0\0\0STRATApk");
        let crc = crc32c::crc32c_append(crc32c::crc32c(&table[..32]), &table[36..]);
        assert_eq!(table[32..36], crc.to_le_bytes());
    }

    #[test]
    fn what_is_damaged_or_cut_is_no_table() {
        let mut table = Vec::new();
        append(members(3).into_iter(), &mut table);
        for at in 0..table.len() {
            let mut damaged = table.clone();
            damaged[at] ^= 0x10;
            assert_eq!(read(&damaged), None, "byte {at}");
            assert_eq!(read(&table[at + 1..]), None, "cut at {at}");
            assert_eq!(read(&table[..at]), None, "ends at {at}");
        }
    }
}
