//! Records of a data partition: a shard, or the tombstones of some.
//!
//! A record is a header (fixed part and tables, padded to the device's alignment) and, for a shard, its payload (padded too).
//! The header's CRC covers the header with its padding; each cell of the payload has a CRC of its own in the header's table, so
//! that a range is verified without reading the rest.

use bytemuck::{Pod, Zeroable};

use super::{FormatError, Preamble, align_up, kind, preamble, read, refuse_nonzero, seal};
use crate::id::{ChunkId, Owner, ShardId};

/// The longest shard that the format carries, in bytes.
pub const SHARD_BYTES_MAX: u32 = 64 << 20;

/// Tombstones that one record may hold.
pub const TOMBSTONE_COUNT_MAX: usize = 128;

#[repr(C)]
#[derive(Clone, Copy, Pod, Zeroable)]
struct Raw {
    preamble: Preamble,
    position: u64,
    durable_before: u64,
    header_bytes: u32,
    payload_bytes: u32,
    chunk: [u8; 16],
    chunk_bytes: u64,
    cell_bytes: u32,
    layout_epoch: u32,
    owner_inode: u64,
    owner_version: u64,
    owner_offset: u64,
    owner_space: u32,
    owner_group: u16,
    geometry: u16,
    shard: u8,
    reserved: [u8; 3],
    table_count: u32,
    salt: u64,
    run: u32,
    reserved_later: [u8; 4],
    slot_mask: u64,
}

/// Length of the fixed part of a header, in bytes.
pub const FIXED_BYTES: usize = 128;
const _: () = assert!(size_of::<Raw>() == FIXED_BYTES);
const _: () = assert!(std::mem::offset_of!(Raw, chunk) == 32);
const _: () = assert!(std::mem::offset_of!(Raw, owner_inode) == 64);
const _: () = assert!(std::mem::offset_of!(Raw, slot_mask) == 120);
const TOMBSTONE_BYTES: usize = 24;

/// A shard as its header describes it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ShardHeader {
    /// Which shard.
    pub id: ShardId,
    /// Length of its payload, in bytes.
    pub payload_bytes: u32,
    /// Length of the whole chunk, in bytes.
    pub chunk_bytes: u64,
    /// Bytes under one CRC.
    pub cell_bytes: u32,
    /// The row of the geometry table.
    pub geometry: u16,
    /// The epoch of the placement group under which it was written.
    pub layout_epoch: u32,
    /// The slots of the placement group that have a shard of the chunk; a shard's number is its slot.
    pub slot_mask: u64,
    /// Whose bytes they are.
    pub owner: Owner,
    /// CRC32C of each cell.
    pub cell_crcs: Vec<u32>,
}

/// What a record says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Body {
    /// A shard follows.
    Shard(ShardHeader),
    /// These shards are gone.
    Tombstones(Vec<ShardId>),
}

/// Where and when a record was written: what tells it from one of another time and from the bytes of a client.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Origin {
    /// Where the record begins, over the life of the partition.
    pub position: u64,
    /// Everything below was durable when this was written.
    pub durable_before: u64,
    /// The salt of its segment.
    pub salt: u64,
    /// The run that wrote it. Along a segment runs never go down, except to what a torn batch left behind.
    pub run: u32,
}

/// The header of a record, checked.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RecordHeader {
    /// Where and when it was written.
    pub origin: Origin,
    /// Length of the header with its padding, in bytes.
    pub header_bytes: u32,
    /// What it says.
    pub body: Body,
}

impl Body {
    fn table_count(&self) -> usize {
        match self {
            Body::Shard(shard) => shard.cell_crcs.len(),
            Body::Tombstones(ids) => ids.len(),
        }
    }

    fn table_bytes(&self) -> usize {
        match self {
            Body::Shard(shard) => shard.cell_crcs.len() * 4,
            Body::Tombstones(ids) => ids.len() * TOMBSTONE_BYTES,
        }
    }

    /// Length of the payload, in bytes, without padding.
    pub fn payload_bytes(&self) -> u32 {
        match self {
            Body::Shard(shard) => shard.payload_bytes,
            Body::Tombstones(_) => 0,
        }
    }

    /// Length of the header with its padding, in bytes.
    pub fn header_bytes(&self, alignment: usize) -> u32 {
        align_up((FIXED_BYTES + self.table_bytes()) as u64, alignment as u64) as u32
    }

    /// Length of header and payload with their padding, in bytes.
    pub fn record_bytes(&self, alignment: usize) -> u64 {
        u64::from(self.header_bytes(alignment))
            + align_up(u64::from(self.payload_bytes()), alignment as u64)
    }
}

/// Writes a header into the beginning of `out`, which must be zero and as long as [`Body::header_bytes`] says.
pub fn encode_header(body: &Body, origin: Origin, out: &mut [u8]) {
    let mut raw = Raw::zeroed();
    (raw.position, raw.durable_before) = (origin.position, origin.durable_before);
    (raw.salt, raw.run) = (origin.salt, origin.run);
    (raw.header_bytes, raw.payload_bytes) = (out.len() as u32, body.payload_bytes());
    raw.table_count = body.table_count() as u32;
    let kind = match body {
        Body::Shard(shard) => {
            fill_shard(&mut raw, shard);
            out[FIXED_BYTES..FIXED_BYTES + body.table_bytes()]
                .copy_from_slice(bytemuck::cast_slice(&shard.cell_crcs));
            kind::SHARD
        }
        Body::Tombstones(ids) => {
            for (slot, id) in out[FIXED_BYTES..]
                .chunks_exact_mut(TOMBSTONE_BYTES)
                .zip(ids)
            {
                slot[..16].copy_from_slice(&id.chunk.0.to_le_bytes());
                slot[16] = id.shard;
            }
            kind::TOMBSTONE
        }
    };
    out[..FIXED_BYTES].copy_from_slice(bytemuck::bytes_of(&raw));
    seal(out, kind);
}

/// Notes in a header that more was durable when it was written than when it was encoded, and seals it anew.
pub(crate) fn note_durable(header: &mut [u8], durable: u64) {
    let (Ok(mut raw), Ok(head)) = (read::<Raw>(header), preamble(header)) else {
        return;
    };
    if raw.durable_before != durable {
        raw.durable_before = durable;
        header[..FIXED_BYTES].copy_from_slice(bytemuck::bytes_of(&raw));
        seal(header, head.kind);
    }
}

fn fill_shard(raw: &mut Raw, shard: &ShardHeader) {
    raw.chunk = shard.id.chunk.0.to_le_bytes();
    raw.shard = shard.id.shard;
    (raw.chunk_bytes, raw.cell_bytes) = (shard.chunk_bytes, shard.cell_bytes);
    (raw.geometry, raw.layout_epoch) = (shard.geometry, shard.layout_epoch);
    raw.slot_mask = shard.slot_mask;
    (raw.owner_group, raw.owner_inode, raw.owner_version) =
        (shard.owner.group, shard.owner.inode, shard.owner.version);
    (raw.owner_space, raw.owner_offset) = (shard.owner.space, shard.owner.offset);
}

/// What a header claims before its CRC is looked at; for skipping and searching. These fields stay where they are in every
/// version, so that a record of a newer one is known to be none of a torn tail.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Claim {
    /// The position it claims.
    pub position: u64,
    /// The length of its header.
    pub header_bytes: u32,
    /// The salt of the segment.
    pub salt: u64,
}

/// What the first bytes claim to be, if they look like a record at all.
pub fn claim(bytes: &[u8], alignment: usize) -> Option<Claim> {
    let head = preamble(bytes).ok()?;
    let raw: Raw = read(bytes).ok()?;
    let known = head.kind == kind::SHARD || head.kind == kind::TOMBSTONE;
    let sane = raw.header_bytes as usize >= FIXED_BYTES
        && (raw.header_bytes as usize).is_multiple_of(alignment)
        && raw.header_bytes <= 1 << 20;
    (known && sane).then_some(Claim {
        position: raw.position,
        header_bytes: raw.header_bytes,
        salt: raw.salt,
    })
}

/// Reads a header; `bytes` holds at least all of it.
///
/// # Errors
/// Says what is wrong with it.
pub fn decode_header(bytes: &[u8]) -> Result<RecordHeader, FormatError> {
    let raw: Raw = read(bytes)?;
    let header_bytes = raw.header_bytes as usize;
    let header = bytes.get(..header_bytes).ok_or(FormatError::Short {
        found: bytes.len(),
        expected: header_bytes,
    })?;
    if header_bytes < FIXED_BYTES {
        return Err(FormatError::Field("length of the header"));
    }
    let body = match preamble(header)?.kind {
        kind::TOMBSTONE => {
            super::check(header, kind::TOMBSTONE)?;
            Body::Tombstones(tombstones(&raw, &header[FIXED_BYTES..])?)
        }
        _ => {
            super::check(header, kind::SHARD)?;
            Body::Shard(shard(&raw, &header[FIXED_BYTES..])?)
        }
    };
    refuse_nonzero(&raw.reserved, "reserved bytes of the record")?;
    refuse_nonzero(&raw.reserved_later, "reserved bytes of the record")?;
    let origin = Origin {
        position: raw.position,
        durable_before: raw.durable_before,
        salt: raw.salt,
        run: raw.run,
    };
    Ok(RecordHeader {
        origin,
        header_bytes: raw.header_bytes,
        body,
    })
}

fn tombstones(raw: &Raw, table: &[u8]) -> Result<Vec<ShardId>, FormatError> {
    let used = Raw {
        preamble: raw.preamble,
        position: raw.position,
        durable_before: raw.durable_before,
        header_bytes: raw.header_bytes,
        table_count: raw.table_count,
        salt: raw.salt,
        run: raw.run,
        ..Raw::zeroed()
    };
    if bytemuck::bytes_of(raw) != bytemuck::bytes_of(&used) {
        return Err(FormatError::Field("fields of a shard in tombstones"));
    }
    let count = raw.table_count as usize;
    let (table, padding) = table
        .split_at_checked(count.saturating_mul(TOMBSTONE_BYTES))
        .ok_or(FormatError::Field("number of tombstones"))?;
    refuse_nonzero(padding, "padding of the record")?;
    let id = |row: &[u8]| {
        refuse_nonzero(
            row.get(17..).unwrap_or_default(),
            "reserved bytes of a tombstone",
        )?;
        let chunk = row
            .first_chunk::<16>()
            .map_or(0, |bytes| u128::from_le_bytes(*bytes));
        Ok(ShardId {
            chunk: ChunkId(chunk),
            shard: row.get(16).copied().unwrap_or(0),
        })
    };
    table.chunks_exact(TOMBSTONE_BYTES).map(id).collect()
}

fn shard(raw: &Raw, table: &[u8]) -> Result<ShardHeader, FormatError> {
    let cells = raw
        .payload_bytes
        .checked_div(raw.cell_bytes)
        .ok_or(FormatError::Field("length of a cell"))?;
    let expected = cells as usize + usize::from(!raw.payload_bytes.is_multiple_of(raw.cell_bytes));
    let in_mask = raw.shard < 64 && raw.slot_mask & 1 << raw.shard != 0;
    if !in_mask {
        return Err(FormatError::Field("a shard outside of its slot mask"));
    }
    if raw.payload_bytes > SHARD_BYTES_MAX || raw.table_count as usize != expected {
        return Err(FormatError::Field("number of cells"));
    }
    let (table, padding) = table
        .split_at_checked(expected * 4)
        .ok_or(FormatError::Field("number of cells"))?;
    refuse_nonzero(padding, "padding of the record")?;
    let crc = |bytes: &[u8]| {
        bytes
            .first_chunk::<4>()
            .map_or(0, |bytes| u32::from_le_bytes(*bytes))
    };
    Ok(ShardHeader {
        id: ShardId {
            chunk: ChunkId(u128::from_le_bytes(raw.chunk)),
            shard: raw.shard,
        },
        payload_bytes: raw.payload_bytes,
        chunk_bytes: raw.chunk_bytes,
        cell_bytes: raw.cell_bytes,
        geometry: raw.geometry,
        layout_epoch: raw.layout_epoch,
        slot_mask: raw.slot_mask,
        owner: Owner {
            group: raw.owner_group,
            inode: raw.owner_inode,
            version: raw.owner_version,
            space: raw.owner_space,
            offset: raw.owner_offset,
        },
        cell_crcs: table.chunks_exact(4).map(crc).collect(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn example() -> Body {
        Body::Shard(ShardHeader {
            id: ShardId {
                chunk: ChunkId::new(1, 2, 3, 4),
                shard: 1,
            },
            payload_bytes: 65536 + 10,
            chunk_bytes: 65536 + 10,
            cell_bytes: 65536,
            geometry: 2,
            layout_epoch: 1,
            slot_mask: 0b111,
            owner: Owner {
                group: 0,
                inode: 99,
                version: 0,
                space: 7,
                offset: 4096,
            },
            cell_crcs: vec![11, 12],
        })
    }

    fn encoded(body: &Body) -> Vec<u8> {
        let mut bytes = vec![0; body.header_bytes(512) as usize];
        let origin = Origin {
            position: 8192,
            durable_before: 4096,
            salt: 5,
            run: 6,
        };
        encode_header(body, origin, &mut bytes);
        bytes
    }

    #[test]
    fn shards_and_tombstones_come_back() {
        let ids = (0..TOMBSTONE_COUNT_MAX).map(|n| ShardId {
            chunk: ChunkId(n as u128),
            shard: n as u8,
        });
        for body in [example(), Body::Tombstones(ids.collect())] {
            let bytes = encoded(&body);
            let header = decode_header(&bytes).unwrap();
            assert_eq!((header.origin.position, header.origin.run), (8192, 6));
            assert_eq!(header.body, body);
            assert_eq!(
                claim(&bytes, 512),
                Some(Claim {
                    position: 8192,
                    header_bytes: bytes.len() as u32,
                    salt: 5
                })
            );
        }
    }

    #[test]
    fn bytes_without_a_use_are_refused() {
        let ids = vec![ShardId::default(); 2];
        // Behind the shard of the second tombstone, behind the last cell, behind the tables.
        let places = [
            (Body::Tombstones(ids), FIXED_BYTES + TOMBSTONE_BYTES + 17),
            (example(), FIXED_BYTES + 2 * 4),
            (example(), 511),
        ];
        for (body, place) in places {
            let mut bytes = encoded(&body);
            bytes[place] = 1;
            let kind = preamble(&bytes).unwrap().kind;
            seal(&mut bytes, kind);
            assert!(
                matches!(decode_header(&bytes), Err(FormatError::Field(_))),
                "{place}"
            );
        }
    }

    #[test]
    fn every_flipped_bit_of_a_header_is_noticed() {
        let good = encoded(&example());
        for bit in 0..good.len() * 8 {
            let mut bytes = good.clone();
            bytes[bit / 8] ^= 1 << (bit % 8);
            assert!(decode_header(&bytes).is_err(), "bit {bit}");
        }
    }

    proptest::proptest! {
        #[test]
        fn any_bytes_are_refused_without_a_panic(mut bytes in proptest::collection::vec(0u8.., 0..700), sealed: bool) {
            if sealed && bytes.len() >= FIXED_BYTES {
                seal(&mut bytes, kind::SHARD);
            }
            let _ = decode_header(&bytes);
            let _ = claim(&bytes, 512);
        }
    }
}
