//! Structures as text, for `strata inspect`.

use std::fmt::Write;

use crate::id::Uuid;

use super::record::Body;
use super::superblock::PartitionKind;
use super::{FormatError, anchor, entry, kind, page, preamble, record, segment, superblock};

/// Says in a few lines what some bytes are, by the type that they begin with.
///
/// # Errors
/// Says what is wrong with the structure that they claim to be.
pub fn describe(bytes: &[u8]) -> Result<String, FormatError> {
    if superblock::Superblock::decode(bytes).is_ok() {
        return superblock_text(bytes);
    }
    match preamble(bytes)?.kind {
        kind::SUPERBLOCK => superblock_text(bytes),
        kind::ANCHOR => anchor_text(bytes),
        kind::SEGMENT => segment_text(bytes),
        kind::SHARD | kind::TOMBSTONE => record_text(bytes),
        kind::ENTRY => {
            let (header, body) = entry::decode(bytes)?;
            Ok(format!(
                "log entry at {}: content {}, {} bytes, durable before {}",
                header.origin.position,
                header.content,
                body.len(),
                header.origin.durable_before
            ))
        }
        kind::LEAF => leaf_text(bytes),
        found => Err(FormatError::Kind { found, expected: 0 }),
    }
}

fn superblock_text(bytes: &[u8]) -> Result<String, FormatError> {
    let block = superblock::Superblock::decode(bytes)?;
    let mut text = format!(
        "superblock, generation {}\n  cluster {}\n  device {}\n  pool {}\n",
        block.generation, block.cluster, block.device, block.pool
    );
    let _ = writeln!(
        text,
        "  incarnation {}, writer node {} epoch {}",
        block.incarnation, block.writer_node, block.writer_epoch
    );
    let _ = writeln!(
        text,
        "  alignment {} bytes, segments of {} MiB, {} for the log",
        block.alignment,
        block.segment_bytes >> 20,
        block.log_segments
    );
    for partition in &block.partitions {
        let _ = writeln!(
            text,
            "  partition {}: {}, from segment {} every {}",
            partition.number,
            kind_text(partition.kind),
            partition.first_segment,
            partition.stride
        );
    }
    let mirrors: Vec<String> = block.log_mirrors.iter().map(ToString::to_string).collect();
    let _ = write!(
        text,
        "  log mirrors, generation {}: {}",
        block.mirror_generation,
        mirrors.join(", ")
    );
    Ok(text)
}

fn kind_text(kind: PartitionKind) -> &'static str {
    match kind {
        PartitionKind::Data => "data",
        PartitionKind::Log => "log",
        PartitionKind::Cache => "cache",
    }
}

fn anchor_text(bytes: &[u8]) -> Result<String, FormatError> {
    let anchor = anchor::Anchor::decode(bytes)?;
    let segments: Vec<String> = anchor
        .index_segments
        .iter()
        .map(ToString::to_string)
        .collect();
    Ok(format!(
        "anchor of partition {}, generation {}\n  \
         replay from {} of run {}, durable before {}, run {}, next segment sequence {}\n  \
         index of checkpoint {}: {} entries in {} pages, in segments [{}]",
        anchor.partition,
        anchor.generation,
        anchor.replay_from,
        anchor.replay_run,
        anchor.durable_position,
        anchor.run,
        anchor.next_sequence,
        anchor.index_generation,
        anchor.entry_count,
        anchor.page_count,
        segments.join(", ")
    ))
}

fn segment_text(bytes: &[u8]) -> Result<String, FormatError> {
    let header = segment::SegmentHeader::decode(bytes)?;
    let content = match header.content {
        segment::Content::Records => "records",
        segment::Content::Index => "index pages",
    };
    Ok(format!(
        "segment header of partition {}: {content}, sequence {}\n  \
         device {}\n  \
         writer node {} epoch {}, salt {:#018x}\n  \
         the segment before ends at {}, durable before {}",
        header.partition,
        header.sequence,
        Uuid(header.device),
        header.writer_node,
        header.writer_epoch,
        header.salt,
        header.previous_end,
        header.durable_before
    ))
}

fn record_text(bytes: &[u8]) -> Result<String, FormatError> {
    let header = record::decode_header(bytes)?;
    Ok(match &header.body {
        Body::Shard(shard) => format!(
            "{} at {}: {} bytes in {} cells, geometry {}, layout epoch {}, slots {:#x}, inode {:#x} space {} offset {}",
            shard.id,
            header.origin.position,
            shard.payload_bytes,
            shard.cell_crcs.len(),
            shard.geometry,
            shard.layout_epoch,
            shard.slot_mask,
            shard.owner.inode,
            shard.owner.space,
            shard.owner.offset
        ),
        Body::Tombstones(ids) => {
            let ids: Vec<String> = ids.iter().map(ToString::to_string).collect();
            format!(
                "tombstones at {}: {}",
                header.origin.position,
                ids.join(", ")
            )
        }
    })
}

fn leaf_text(bytes: &[u8]) -> Result<String, FormatError> {
    let (generation, number) = page::identity(bytes)?;
    let entries = page::decode(bytes, generation, number)?;
    let mut text = format!(
        "index page {number} of checkpoint {generation}, {} entries",
        entries.len()
    );
    for (id, entry) in &entries {
        let _ = write!(
            text,
            "\n  {id}: position {}, {} bytes, inode {:#x}",
            entry.position, entry.payload_bytes, entry.inode
        );
    }
    Ok(text)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn anchors_and_segment_headers_are_sentences_with_uuids_as_people_know_them() {
        let anchor = anchor::Anchor {
            partition: 3,
            generation: 8,
            index_segments: vec![5, 6],
            ..anchor::Anchor::default()
        };
        let text = describe(&anchor.encode()).expect("in order");
        assert!(
            text.starts_with("anchor of partition 3, generation 8\n"),
            "{text}"
        );
        assert!(
            text.contains("in segments [5, 6]") && !text.contains('{'),
            "{text}"
        );
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
        let text = describe(&header.encode()).expect("in order");
        let uuid = "abababab-abab-abab-abab-abababababab";
        assert!(
            text.starts_with("segment header of partition 2: index pages"),
            "{text}"
        );
        assert!(text.contains(uuid) && !text.contains('{'), "{text}");
    }
}
