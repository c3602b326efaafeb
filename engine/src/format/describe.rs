//! Structures as text, for `strata inspect`.

use std::fmt::Write;

use super::record::Body;
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
        kind::ANCHOR => Ok(format!("anchor: {:#?}", anchor::Anchor::decode(bytes)?)),
        kind::SEGMENT => Ok(format!(
            "segment header: {:#?}",
            segment::SegmentHeader::decode(bytes)?
        )),
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
            "  partition {}: {:?}, from segment {} every {}",
            partition.number, partition.kind, partition.first_segment, partition.stride
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

fn record_text(bytes: &[u8]) -> Result<String, FormatError> {
    let header = record::decode_header(bytes)?;
    Ok(match &header.body {
        Body::Shard(shard) => format!(
            "{} at {}: {} bytes in {} cells, geometry {}, layout epoch {}, inode {:#x} space {} offset {}",
            shard.id,
            header.origin.position,
            shard.payload_bytes,
            shard.cell_crcs.len(),
            shard.geometry,
            shard.layout_epoch,
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
