//! What structures hold, as named fields, for strata inspect.

use crate::id::{ShardId, Uuid};

use super::description::{Description, Structure, Value};
use super::record::{Body, Origin, ShardHeader};
use super::superblock::{PartitionEntry, PartitionKind};
use super::{FormatError, anchor, entry, kind, page, preamble, record, segment, superblock};

/// Says what some bytes are, by the type that they begin with, and what they hold or what is wrong with them.
pub fn describe(bytes: &[u8]) -> Structure {
    let found = match preamble(bytes) {
        Ok(preamble) => preamble.kind,
        Err(error) => return Structure::damaged("unknown", error),
    };
    let (name, fields) = match found {
        kind::SUPERBLOCK => ("superblock", superblock_fields(bytes)),
        kind::ANCHOR => ("anchor", anchor_fields(bytes)),
        kind::SEGMENT => ("segment header", segment_fields(bytes)),
        kind::SHARD => ("shard", record_fields(bytes)),
        kind::TOMBSTONE => ("tombstones", record_fields(bytes)),
        kind::ENTRY => ("log entry", entry_fields(bytes)),
        kind::LEAF => ("index page", leaf_fields(bytes)),
        kind::INNER => ("inner index page", inner_fields(bytes)),
        found => {
            let error = FormatError::Kind { found, expected: 0 };
            ("unknown", Err(error))
        }
    };
    match fields {
        Ok(fields) => Structure::new(name, fields),
        Err(error) => Structure::damaged(name, error),
    }
}

fn superblock_fields(bytes: &[u8]) -> Result<Description, FormatError> {
    let block = superblock::Superblock::decode(bytes)?;
    let partitions: Vec<Description> = block.partitions.iter().map(partition_fields).collect();
    Ok(Description::new()
        .with("generation", block.generation)
        .with("cluster", block.cluster)
        .with("device", block.device)
        .with("pool", block.pool)
        .with("incarnation", block.incarnation)
        .with("writer_node", block.writer_node)
        .with("writer_epoch", block.writer_epoch)
        .with("alignment_bytes", block.alignment)
        .with("segment_bytes", block.segment_bytes)
        .with("log_segments", block.log_segments)
        .with("partitions", partitions)
        .with("log_mirrors", block.log_mirrors)
        .with("mirror_generation", block.mirror_generation)
        .with("features_compatible", bits(block.features_compatible))
        .with("block_device_bytes", block.block_device_bytes))
}

fn partition_fields(partition: &PartitionEntry) -> Description {
    let kind = match partition.kind {
        PartitionKind::Data => "data",
        PartitionKind::Log => "log",
        PartitionKind::Cache => "cache",
    };
    Description::new()
        .with("number", partition.number)
        .with("kind", kind)
        .with("first_segment", partition.first_segment)
        .with("stride", partition.stride)
}

/// Bits and salts are no quantities: they are shown in hexadecimal.
fn bits(bits: u64) -> Value {
    Value::Word(format!("{bits:#x}").into())
}

fn anchor_fields(bytes: &[u8]) -> Result<Description, FormatError> {
    let anchor = anchor::Anchor::decode(bytes)?;
    Ok(Description::new()
        .with("partition", anchor.partition)
        .with("generation", anchor.generation)
        .with("replay_from", anchor.replay_from)
        .with("replay_run", anchor.replay_run)
        .with("durable_position", anchor.durable_position)
        .with("run", anchor.run)
        .with("next_sequence", anchor.next_sequence)
        .with("index_generation", anchor.index_generation)
        .with("entry_count", anchor.entry_count)
        .with("page_count", anchor.page_count)
        .with("shards_root", anchor.shards.map(root_fields))
        .with("table_root", anchor.table.map(root_fields))
        .with("index_segments", anchor.index_segments))
}

fn segment_fields(bytes: &[u8]) -> Result<Description, FormatError> {
    let header = segment::SegmentHeader::decode(bytes)?;
    let content = match header.content {
        segment::Content::Records => "records",
        segment::Content::Index => "index pages",
    };
    Ok(Description::new()
        .with("partition", header.partition)
        .with("content", content)
        .with("sequence", header.sequence)
        .with("device", Uuid(header.device))
        .with("writer_node", header.writer_node)
        .with("writer_epoch", header.writer_epoch)
        .with("salt", bits(header.salt))
        .with("previous_end", header.previous_end)
        .with("durable_before", header.durable_before))
}

fn origin_fields(origin: &Origin) -> Description {
    Description::new()
        .with("position", origin.position)
        .with("durable_before", origin.durable_before)
        .with("salt", bits(origin.salt))
        .with("run", origin.run)
}

fn record_fields(bytes: &[u8]) -> Result<Description, FormatError> {
    let header = record::decode_header(bytes)?;
    let origin = origin_fields(&header.origin);
    Ok(match &header.body {
        Body::Shard(shard) => shard_id_fields(&shard.id)
            .with_all(origin)
            .with_all(shard_fields(shard)),
        Body::Tombstones(ids) => {
            let ids: Vec<Description> = ids.iter().map(shard_id_fields).collect();
            origin.with("shards", ids)
        }
    })
}

fn shard_id_fields(id: &ShardId) -> Description {
    Description::new()
        .with("chunk", id.chunk)
        .with("shard", id.shard)
}

fn shard_fields(shard: &ShardHeader) -> Description {
    Description::new()
        .with("payload_bytes", shard.payload_bytes)
        .with("chunk_bytes", shard.chunk_bytes)
        .with("cell_bytes", shard.cell_bytes)
        .with("cells", shard.cell_crcs.len())
        .with("geometry", shard.geometry)
        .with("layout_epoch", shard.layout_epoch)
        .with("slot_mask", bits(shard.slot_mask))
        .with("owner_group", shard.owner.group)
        .with("owner_inode", shard.owner.inode)
        .with("owner_version", shard.owner.version)
        .with("owner_space", shard.owner.space)
        .with("owner_offset", shard.owner.offset)
}

fn entry_fields(bytes: &[u8]) -> Result<Description, FormatError> {
    let (header, body) = entry::decode(bytes)?;
    Ok(origin_fields(&header.origin)
        .with("content", header.content)
        .with("body_bytes", body.len()))
}

fn root_fields(root: anchor::Root) -> Description {
    place_fields(root.place)
        .with("crc", bits(u64::from(root.crc)))
        .with("levels", root.levels)
}

fn place_fields(place: page::PagePlace) -> Description {
    Description::new()
        .with("segment", place.slot)
        .with("page", place.page)
}

fn identity_fields(identity: &page::PageIdentity) -> Description {
    let tree = match identity.tree {
        page::TreeKind::Shards => "shards",
        page::TreeKind::Table => "table",
    };
    Description::new()
        .with("tree", tree)
        .with("level", identity.level)
        .with("index_generation", identity.generation)
        .with_all(place_fields(identity.place))
}

fn leaf_fields(bytes: &[u8]) -> Result<Description, FormatError> {
    let (identity, entries) = page::decode_leaf(bytes)?;
    let shard = |(id, entry): &(ShardId, page::IndexEntry)| {
        shard_id_fields(id)
            .with("position", entry.position)
            .with("payload_bytes", entry.payload_bytes)
            .with("owner_inode", entry.inode)
    };
    let row = |(key, value): &(ShardId, page::IndexEntry)| match page::table_row(*key) {
        Some(page::TableRow::LiveBytes(sequence)) => Description::new()
            .with("sequence", sequence)
            .with("live_bytes", value.position),
        Some(page::TableRow::NewestEpoch(writer)) => Description::new()
            .with("writer", writer)
            .with("newest_epoch", value.position),
        None => shard(&(*key, *value)),
    };
    let entries: Vec<Description> = match identity.tree {
        page::TreeKind::Shards => entries.iter().map(shard).collect(),
        page::TreeKind::Table => entries.iter().map(row).collect(),
    };
    Ok(identity_fields(&identity).with("entries", entries))
}

fn inner_fields(bytes: &[u8]) -> Result<Description, FormatError> {
    let (identity, children) = page::decode_inner(bytes)?;
    let child = |child: &page::ChildRow| {
        Description::new()
            .with_all(shard_id_fields(&child.first()))
            .with_all(place_fields(child.place))
            .with("crc", bits(u64::from(child.crc)))
    };
    let children: Vec<Description> = children.iter().map(child).collect();
    Ok(identity_fields(&identity).with("children", children))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn anchors_and_segment_headers_are_fields_with_uuids_as_people_know_them() {
        let anchor = anchor::Anchor {
            partition: 3,
            generation: 8,
            index_segments: vec![5, 6],
            ..anchor::Anchor::default()
        };
        let text = describe(&anchor.encode()).to_string();
        assert!(
            text.starts_with("anchor: partition 3, generation 8, "),
            "{text}"
        );
        assert!(text.ends_with("index_segments [5, 6]"), "{text}");
        let header = segment::SegmentHeader {
            device: [0xab; 16],
            partition: 2,
            content: segment::Content::Index,
            sequence: 9,
            previous_end: 0,
            durable_before: 0,
            writer_node: 1,
            writer_epoch: 1,
            salt: 7,
        };
        let text = describe(&header.encode()).to_string();
        let uuid = "abababab-abab-abab-abab-abababababab";
        assert!(
            text.starts_with("segment header: partition 2, content index pages"),
            "{text}"
        );
        assert!(text.contains(&format!("device {uuid}, ")), "{text}");
    }

    #[test]
    fn damaged_structures_are_what_they_claim_to_be_with_what_is_wrong() {
        let mut bytes = anchor::Anchor::default().encode();
        bytes[100] ^= 1;
        let found = describe(&bytes);
        assert_eq!((found.name, found.value), ("anchor", None));
        assert_eq!(found.error.as_deref(), Some("the CRC does not match"));
        for nothing in [&[][..], &[0; 4096], &[0xff; 4096]] {
            let found = describe(nothing);
            assert!(found.error.is_some() && found.value.is_none(), "{found}");
        }
    }
}
