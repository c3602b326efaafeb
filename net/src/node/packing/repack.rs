//! Packs of which less than half is left, or that are in another scheme than the layout's: what still lives in them moves on into the next
//! pack, so that their space comes back.
//!
//! Invariant: whose bytes lie in a pack is read from its member table, and counts only where the namespace says the same.

use std::sync::atomic::Ordering;

use strata_engine::reactor;
use strata_raftlog::namespace::{Extent, Pack};

use super::batch::Candidate;
use super::members::{self, Member, TABLE_BYTES_MAX};
use super::{Packer, ROWS_PER_TURN, Walk};
use crate::cluster::read::BodySource;
use crate::error::ClusterError;

/// Packs of which a start says that their tables cannot be read, each once.
const TABLES_NAMED_MAX: usize = 1024;

/// Members looked up in one turn, each with a reader of its own.
const MEMBERS_PER_TURN: usize = 16;

impl Packer {
    /// Walks over all packs: counts them, and moves what is left of those that are mostly dead.
    pub(super) async fn walk_packs(&mut self, walk: &mut Walk) -> Result<(), ClusterError> {
        let (mut packs, mut bytes, mut live_bytes) = (0, 0, 0);
        let mut first = 0;
        loop {
            let page = self.cluster.read(|view| view.packs(first, ROWS_PER_TURN))?;
            let Some((last, _)) = page.last() else { break };
            first = last + 1;
            for (home, pack) in page {
                packs += 1;
                bytes += pack.bytes;
                live_bytes += pack.live_bytes;
                let has_to_move = is_mostly_dead(&pack) || self.is_laid_out_otherwise(home)?;
                if has_to_move && !self.repack(walk, home).await? {
                    return Ok(());
                }
            }
            reactor::yield_now().await;
        }
        let statistics = self.cluster.parts().status.packing();
        statistics.packs.store(packs, Ordering::Relaxed);
        statistics.packs_bytes.store(bytes, Ordering::Relaxed);
        let live = &statistics.packs_live_bytes;
        live.store(live_bytes, Ordering::Relaxed);
        Ok(())
    }

    fn is_laid_out_otherwise(&self, home: u64) -> Result<bool, ClusterError> {
        let chunk = self.cluster.read(|view| view.extent_at(home, 0, 0))?;
        Ok(chunk.is_some_and(|chunk| !self.cluster.is_as_laid_out(&chunk)))
    }

    /// Moves what is left of a pack into the batch. Says whether the walk can go on.
    async fn repack(&mut self, walk: &mut Walk, home: u64) -> Result<bool, ClusterError> {
        let Some(members) = self.members_of(home).await? else {
            return Ok(true);
        };
        for some in members.chunks(MEMBERS_PER_TURN) {
            let mut found = Vec::new();
            for member in some {
                let place = (member.space, member.offset);
                let extent = self
                    .cluster
                    .read(|view| view.extent_at(member.inode, place.0, place.1))?;
                if let Some(extent) = extent.filter(|extent| extent.home_inode == home) {
                    // In the same turn: from here on its space is kept.
                    found.push(Candidate::in_chunk(
                        &self.cluster,
                        member.inode,
                        place,
                        extent,
                    ));
                }
            }
            for candidate in found {
                if !self.add(walk, candidate).await? {
                    return Ok(false);
                }
            }
            reactor::yield_now().await;
        }
        Ok(true)
    }

    /// The members of a pack; `None` where it is gone or its table cannot be read.
    async fn members_of(&mut self, home: u64) -> Result<Option<Vec<Member>>, ClusterError> {
        let Some(chunk) = self.cluster.read(|view| view.extent_at(home, 0, 0))? else {
            return Ok(None);
        };
        let members = match self.read_tail(home, chunk).await {
            Ok(tail) => members::read(&tail),
            Err(error) => {
                tracing::debug!(%error, home, "a pack cannot be read and is not repacked");
                return Ok(None);
            }
        };
        let is_full = self.tables_damaged.len() >= TABLES_NAMED_MAX;
        if members.is_none() && !is_full && self.tables_damaged.insert(home) {
            tracing::warn!(
                home,
                "a pack has no member table that this version reads, and is not repacked"
            );
        }
        Ok(members)
    }

    async fn read_tail(&self, home: u64, chunk: Extent) -> Result<Vec<u8>, ClusterError> {
        let end = chunk.stored_length;
        let range = end.saturating_sub(TABLE_BYTES_MAX as u64)..end;
        let source = BodySource::Extents(vec![chunk]);
        let mut reader = self.cluster.reader(home, source, range);
        let mut tail = Vec::with_capacity(TABLE_BYTES_MAX);
        while let Some(bytes) = reader.next().await {
            tail.extend_from_slice(&bytes?);
        }
        Ok(tail)
    }
}

fn is_mostly_dead(pack: &Pack) -> bool {
    pack.live_bytes < pack.bytes / 2
}
