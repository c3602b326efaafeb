//! Chunks of which every shard is a whole copy.
//!
//! Invariant: copies that are damaged in different places still give every byte between them.

use std::ops::Range;

use strata_engine::reactor::BufferView;
use strata_engine::{CELL_BYTES, ChunkId};
use strata_raftlog::namespace::Extent;

use super::shard_reads::Ask;
use super::{PIECE_BYTES, Trouble};
use crate::cluster::Cluster;
use crate::cluster::shard::ShardPlace;
use crate::memory::Watermark;

/// Reads a range from one copy that has all of it, or else cell by cell.
pub(super) async fn read(
    cluster: &Cluster,
    chunk: ChunkId,
    copies: &[ShardPlace],
    range: Range<u64>,
    trouble: &mut Trouble,
) -> Option<Vec<BufferView>> {
    let whole = read_from_one(cluster, chunk, copies, range.clone(), trouble).await;
    if whole.is_some() || !trouble.has_damage() || copies.len() == 1 {
        return whole;
    }
    let mut views = Vec::new();
    let mut at = range.start;
    while at < range.end {
        let end = (at / CELL_BYTES as u64 + 1) * CELL_BYTES as u64;
        let cell = at..end.min(range.end);
        at = cell.end;
        views.extend(read_from_one(cluster, chunk, copies, cell, trouble).await?);
    }
    Some(views)
}

/// Reads all of a chunk, each piece from a copy that has it whole.
pub(super) async fn read_whole(
    cluster: &Cluster,
    extent: &Extent,
    copies: &[ShardPlace],
    trouble: &mut Trouble,
) -> Option<Vec<BufferView>> {
    let mut views = Vec::new();
    let mut at = 0;
    while at < extent.stored_length {
        let range = at..(at + PIECE_BYTES).min(extent.stored_length);
        at = range.end;
        views.extend(read(cluster, extent.chunk, copies, range, trouble).await?);
    }
    Some(views)
}

async fn read_from_one(
    cluster: &Cluster,
    chunk: ChunkId,
    copies: &[ShardPlace],
    range: Range<u64>,
    trouble: &mut Trouble,
) -> Option<Vec<BufferView>> {
    let range = range.start as u32..range.end as u32;
    let asks = copies.iter().map(|copy| Ask {
        shard: *copy,
        range: range.clone(),
        watermark: Watermark::Read,
    });
    let answers = cluster.first_of(chunk, asks.collect(), 1, trouble).await?;
    answers.into_iter().next().map(|(_, views)| views)
}
