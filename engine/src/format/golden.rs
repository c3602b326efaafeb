//! The first released version of every structure as a file: it must be written so, and read so, for good.
//! Files of a version are never written again; a later version adds its own and keeps these.

use super::FormatError;
use super::anchor::{Anchor, Root};
use super::record::{Body, Origin, ShardHeader};
use super::segment::{Content, SegmentHeader};
use super::superblock::{PartitionEntry, PartitionKind, Superblock};
use super::{entry, page, record};
use crate::id::{ChunkId, Owner, ShardId, Uuid};

const ORIGIN: Origin = Origin {
    position: 0x0102_0304_0506,
    durable_before: 0x0102_0304_0000,
    salt: 0x1122_3344_5566_7788,
    run: 9,
};

fn shard_id(number: u64) -> ShardId {
    ShardId {
        chunk: ChunkId::new(0x0a_0b0c, 0x0102_0304, 0x0506_0708, number),
        shard: 3,
    }
}

fn superblock() -> Superblock {
    let partition = |number, kind, first_segment, stride| PartitionEntry {
        number,
        kind,
        first_segment,
        stride,
    };
    Superblock {
        cluster: Uuid([0x11; 16]),
        device: Uuid([0x22; 16]),
        pool: Uuid([0x33; 16]),
        generation: 5,
        incarnation: 2,
        alignment: 4096,
        segment_bytes: 4 << 20,
        log_segments: 12,
        writer_node: 7,
        writer_epoch: 8,
        partitions: vec![
            partition(0, PartitionKind::Log, 0, 1),
            partition(1, PartitionKind::Data, 12, 2),
            partition(2, PartitionKind::Data, 13, 2),
        ],
        log_mirrors: vec![Uuid([0x22; 16]), Uuid([0x44; 16])],
        mirror_generation: 6,
        features_compatible: 0,
        block_device_bytes: 0,
    }
}

fn superblock_of_a_block_device() -> Superblock {
    Superblock {
        block_device_bytes: 0x0102_0304_0000,
        ..superblock()
    }
}

fn anchor() -> Anchor {
    Anchor {
        partition: 1,
        generation: 44,
        replay_from: 0x0a00_0000,
        durable_position: 0x0b00_0000,
        entry_count: 120,
        page_count: 2,
        next_sequence: 77,
        index_generation: 13,
        shards: Some(Root {
            place: page::PagePlace { slot: 4, page: 1 },
            crc: 0x0123_4567,
            levels: 1,
        }),
        table: Some(Root {
            place: page::PagePlace { slot: 6, page: 3 },
            crc: 0x89ab_cdef,
            levels: 2,
        }),
        run: 9,
        replay_run: 8,
        index_segments: vec![4, 6],
    }
}

fn segment() -> SegmentHeader {
    SegmentHeader {
        device: [0x22; 16],
        partition: 1,
        content: Content::Records,
        sequence: 76,
        previous_end: 0x0b00_0000,
        durable_before: 0x0b00_0000,
        writer_node: 7,
        writer_epoch: 8,
        salt: ORIGIN.salt,
    }
}

fn shard() -> Body {
    Body::Shard(ShardHeader {
        id: shard_id(1),
        payload_bytes: 100_000,
        chunk_bytes: 100_000,
        cell_bytes: 65_536,
        geometry: 2,
        layout_epoch: 4,
        slot_mask: 0b0000_1011,
        owner: Owner {
            group: 1,
            inode: 0x0001_0000_0000_0042,
            version: 3,
            space: 5,
            offset: 1 << 20,
        },
        cell_crcs: vec![0x0123_4567, 0x89ab_cdef],
    })
}

fn tombstones() -> Body {
    Body::Tombstones(vec![shard_id(2), shard_id(3)])
}

fn header_bytes(body: &Body) -> Vec<u8> {
    let mut bytes = vec![0; body.header_bytes(4096) as usize];
    record::encode_header(body, ORIGIN, &mut bytes);
    bytes
}

fn leaf() -> Vec<(ShardId, page::IndexEntry)> {
    let entry = |number: u64| page::IndexEntry {
        position: number << 20,
        payload_bytes: 1000,
        inode: number,
    };
    (1..=3)
        .map(|number| (shard_id(number), entry(number)))
        .collect()
}

fn children() -> Vec<page::ChildRow> {
    let child = |number: u64| {
        let place = page::PagePlace {
            slot: 4,
            page: number as u32,
        };
        page::ChildRow::new(shard_id(number), place, 0x0102_0304)
    };
    (1..=3).map(child).collect()
}

fn page_identity(level: u32) -> page::PageIdentity {
    page::PageIdentity {
        generation: 13,
        place: page::PagePlace { slot: 4, page: 2 },
        tree: page::TreeKind::Shards,
        level,
    }
}

/// Every structure: name, what is written now, what the file holds.
fn structures() -> Vec<(&'static str, Vec<u8>)> {
    let mut page_bytes = vec![0; page::PAGE_BYTES];
    page::encode_leaf(page_identity(0), &leaf(), &mut page_bytes);
    let mut inner_bytes = vec![0; page::PAGE_BYTES];
    page::encode_inner(page_identity(1), &children(), &mut inner_bytes);
    let mut entry_bytes = Vec::new();
    let put = |part: &[u8]| entry_bytes.extend_from_slice(part);
    entry::encode(4, ORIGIN, b"a body of the log", put);
    vec![
        ("superblock", superblock().encode()),
        (
            "superblock_block_device",
            superblock_of_a_block_device().encode(),
        ),
        ("anchor", anchor().encode()),
        ("segment", segment().encode()),
        ("shard", header_bytes(&shard())),
        ("tombstones", header_bytes(&tombstones())),
        ("index_page", page_bytes),
        ("inner_index_page", inner_bytes),
        ("log_entry", entry_bytes),
    ]
}

fn path(name: &str) -> String {
    let version = match name {
        "anchor" | "index_page" => 3,
        _ => 2,
    };
    path_of(name, version)
}

fn path_of(name: &str, version: u16) -> String {
    format!(
        "{}/src/format/golden/{name}.v{version}.bin",
        env!("CARGO_MANIFEST_DIR")
    )
}

fn file(name: &str) -> Vec<u8> {
    std::fs::read(path(name)).expect("a golden file")
}

#[test]
fn structures_are_written_as_ever() {
    for (name, bytes) in structures() {
        let is_missing = !std::fs::exists(path(name)).expect("asked");
        if is_missing && std::env::var_os("STRATA_WRITE_GOLDEN").is_some() {
            std::fs::write(path(name), &bytes).expect("written");
        }
        assert!(
            bytes == file(name),
            "{name} is written differently: that is a new version"
        );
    }
}

#[test]
fn the_first_released_version_is_read_by_this_one() {
    assert_eq!(Superblock::decode(&file("superblock")), Ok(superblock()));
    assert_eq!(
        Superblock::decode(&file("superblock_block_device")),
        Ok(superblock_of_a_block_device())
    );
    assert_eq!(Anchor::decode(&file("anchor")), Ok(anchor()));
    assert_eq!(SegmentHeader::decode(&file("segment")), Ok(segment()));
    for (name, body) in [("shard", shard()), ("tombstones", tombstones())] {
        let header = record::decode_header(&file(name)).expect("a record");
        assert_eq!((header.origin, header.body), (ORIGIN, body));
    }
    let index_page = page::decode_leaf(&file("index_page"));
    assert_eq!(index_page, Ok((page_identity(0), leaf())));
    let inner = page::decode_inner(&file("inner_index_page"));
    assert_eq!(inner, Ok((page_identity(1), children())));
    let bytes = file("log_entry");
    let (header, body) = entry::decode(&bytes).expect("an entry");
    assert_eq!(
        (header.content, header.origin, body),
        (4, ORIGIN, &b"a body of the log"[..])
    );
}

#[test]
fn every_flipped_bit_of_every_structure_is_noticed() {
    let readable = |name: &str, bytes: &[u8]| match name {
        "superblock" | "superblock_block_device" => Superblock::decode(bytes).is_ok(),
        "anchor" => Anchor::decode(bytes).is_ok(),
        "segment" => SegmentHeader::decode(bytes).is_ok(),
        "index_page" => page::decode_leaf(bytes).is_ok(),
        "inner_index_page" => page::decode_inner(bytes).is_ok(),
        "log_entry" => entry::decode(bytes).is_ok(),
        _ => record::decode_header(bytes).is_ok(),
    };
    for (name, good) in structures() {
        let body_end = if name == "log_entry" {
            entry::HEADER_BYTES + 17
        } else {
            good.len()
        };
        for bit in (0..body_end * 8).step_by(3) {
            let mut bytes = good.clone();
            bytes[bit / 8] ^= 1 << (bit % 8);
            assert!(!readable(name, &bytes), "{name} bit {bit}");
        }
    }
}

/// What was written before the first release is no damage and no unformatted device: it is refused by its version.
#[test]
fn the_version_before_the_first_release_is_refused_by_name() {
    let mut bytes = file("superblock");
    bytes[6] = 1;
    let crc = crc32c::crc32c(&bytes[4..]);
    bytes[..4].copy_from_slice(&crc.to_le_bytes());
    let Err(refused @ FormatError::OtherFormat { .. }) = Superblock::decode(&bytes) else {
        panic!("it was read");
    };
    let text = refused.to_string();
    assert!(
        text.contains("version 1") && text.contains("never released"),
        "{text}"
    );
}

/// A resident index was written with these, and none of it was released.
#[test]
fn anchors_and_pages_of_the_resident_index_are_refused_by_name() {
    let file = |name| std::fs::read(path_of(name, 2)).expect("a golden file");
    let refused = [
        Anchor::decode(&file("anchor")).map(drop),
        page::decode_leaf(&file("index_page")).map(drop),
    ];
    for refused in refused {
        let Err(refused @ FormatError::OtherFormat { .. }) = refused else {
            panic!("{refused:?}");
        };
        let text = refused.to_string();
        assert!(
            text.contains("version 2") && text.contains("never released"),
            "{text}"
        );
    }
}
