//! The index pages at a start: good ones enter the index, and what damaged ones held is found again in the records.
//!
//! Invariants: a damaged page costs nothing but time: a segment is given back only when no entry points into it, so the records
//! of every entry are still there, and of two records of a shard the later one counts. What was freed comes back where the
//! segment of its tombstone is gone; it has no name, so orphan collection frees it again.

use super::{RecoveryReport, Walk};
use crate::error::EngineError;
use crate::format::FormatError;
use crate::format::layout::BLOCK_BYTES;
use crate::format::page::{self, IndexEntry, PAGE_BYTES};
use crate::format::record::Body;
use crate::format::segment::Content;
use crate::id::ShardId;
use crate::reactor;
use crate::read::Memory;
use crate::segment_log::{ScannedLog, WINDOW_BYTES};
use crate::store::ChunkStore;

/// Keys between two good pages: what lies there is not known from pages.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Gap {
    after: Option<ShardId>,
    before: Option<ShardId>,
}

impl Gap {
    fn holds(&self, id: ShardId) -> bool {
        self.after.is_none_or(|after| after < id) && self.before.is_none_or(|before| id < before)
    }
}

/// How far the pages have been read.
#[derive(Default)]
struct Pages {
    /// Of the next one.
    number: u64,
    last: Option<ShardId>,
    gaps: Vec<Gap>,
    /// Whether the last page was a bad one.
    in_gap: bool,
}

impl Pages {
    fn pass_good(&mut self, entries: &[(ShardId, IndexEntry)]) {
        self.number += 1;
        let (Some((first, _)), Some((last, _))) = (entries.first(), entries.last()) else {
            return;
        };
        if self.in_gap
            && let Some(gap) = self.gaps.last_mut()
        {
            gap.before = Some(*first);
        }
        (self.in_gap, self.last) = (false, Some(*last));
    }

    /// `true` where no bad page came just before.
    fn pass_bad(&mut self, count: u64) -> bool {
        self.number += count;
        if self.in_gap {
            return false;
        }
        self.in_gap = true;
        self.gaps.push(Gap {
            after: self.last,
            before: None,
        });
        true
    }
}

impl ChunkStore {
    /// Fills the index from its pages; returns whether some were damaged and their entries were found in the records.
    pub(super) async fn load_index(
        &self,
        found: &ScannedLog,
        report: &mut RecoveryReport,
    ) -> Result<bool, EngineError> {
        let (map, anchor) = (&self.inner.log.map, &found.anchor);
        let pages_per_segment = (map.segment_bytes - BLOCK_BYTES as u64) / PAGE_BYTES as u64;
        let mut pages = Pages::default();
        for slot in &anchor.index_segments {
            let count = (anchor.page_count - pages.number).min(pages_per_segment);
            if *slot < map.count {
                let offset = map.offset(*slot) + BLOCK_BYTES as u64;
                self.load_pages(found, offset, count, &mut pages, report)
                    .await?;
            } else {
                let detail = format!("its segment {slot} lies beyond the partition");
                self.lose_pages(count, &detail, &mut pages, report);
            }
        }
        if pages.number < anchor.page_count {
            let count = anchor.page_count - pages.number;
            self.lose_pages(count, "no segment has it", &mut pages, report);
        }
        if pages.gaps.is_empty() && report.index_entries != anchor.entry_count {
            pages.gaps.push(Gap::default());
            let (entries, expected) = (report.index_entries, anchor.entry_count);
            report.damage.push(format!(
                "{}: the index has {entries} entries where {expected} are expected",
                self.inner.log.place(0)
            ));
        }
        if !pages.gaps.is_empty() {
            self.find_entries(found, &pages.gaps, report).await?;
        }
        Ok(!pages.gaps.is_empty())
    }

    /// Reads so many pages that lie one after the other.
    async fn load_pages(
        &self,
        found: &ScannedLog,
        mut offset: u64,
        count: u64,
        pages: &mut Pages,
        report: &mut RecoveryReport,
    ) -> Result<(), EngineError> {
        let end = offset + count * PAGE_BYTES as u64;
        let mut narrow_until = offset;
        while offset < end {
            let most = if offset < narrow_until {
                PAGE_BYTES
            } else {
                WINDOW_BYTES
            };
            let length = ((end - offset) as usize).min(most);
            match self.read_exactly(Memory::InTurn, offset, length).await {
                Ok(window) => {
                    for bytes in window.chunks_exact(PAGE_BYTES) {
                        self.load_page(bytes, found, pages, report)?;
                    }
                }
                // The device cannot read some of it: the other pages are read one by one.
                Err(EngineError::Io(_) | EngineError::Corrupt { .. }) if length > PAGE_BYTES => {
                    narrow_until = offset + length as u64;
                    continue;
                }
                Err(error @ (EngineError::Io(_) | EngineError::Corrupt { .. })) => {
                    self.lose_pages(1, &error.to_string(), pages, report);
                }
                Err(error) => return Err(error),
            }
            offset += length as u64;
            reactor::yield_if_due().await;
        }
        Ok(())
    }

    fn load_page(
        &self,
        bytes: &[u8],
        found: &ScannedLog,
        pages: &mut Pages,
        report: &mut RecoveryReport,
    ) -> Result<(), EngineError> {
        let entries = match page::decode(bytes, found.anchor.index_generation, pages.number) {
            Ok(entries) => entries,
            Err(FormatError::OtherFormat { features }) => {
                return Err(EngineError::OtherFormat { features });
            }
            Err(error) => {
                self.lose_pages(1, &error.to_string(), pages, report);
                return Ok(());
            }
        };
        report.index_entries += entries.len() as u64;
        pages.pass_good(&entries);
        let mut index = self.inner.index.borrow_mut();
        entries
            .into_iter()
            .for_each(|(id, entry)| index.insert(id, entry));
        Ok(())
    }

    fn lose_pages(&self, count: u64, detail: &str, pages: &mut Pages, report: &mut RecoveryReport) {
        let number = pages.number;
        if count > 0 && pages.pass_bad(count) {
            let place = self.inner.log.place(0);
            report.damage.push(format!(
                "{place} index page {number}: {detail}; its entries are looked for in the records"
            ));
        }
    }

    /// Walks all records before the checkpoint for the entries that no page has.
    async fn find_entries(
        &self,
        found: &ScannedLog,
        gaps: &[Gap],
        report: &mut RecoveryReport,
    ) -> Result<(), EngineError> {
        let segment_bytes = self.inner.log.map.segment_bytes;
        let from = found.anchor.replay_from;
        let segments: Vec<(u64, u64)> = found
            .segments
            .iter()
            .filter(|(_, header)| header.content == Content::Records)
            .map(|(sequence, header)| (*sequence, header.previous_end))
            .collect();
        for (at, (sequence, _)) in segments.iter().enumerate() {
            let start = sequence * segment_bytes + BLOCK_BYTES as u64;
            let segment_end = (sequence + 1) * segment_bytes;
            if start >= from {
                break;
            }
            let next = segments.get(at + 1).map(|(_, previous_end)| *previous_end);
            let walk = Walk {
                start,
                segment_end,
                known_end: if from <= segment_end {
                    Some(from)
                } else {
                    next
                }
                .filter(|end| (start..=segment_end).contains(end)),
                durable: 0,
                run: 0,
                sealed: true,
                gaps: Some(gaps),
            };
            self.replay_segment(walk, report).await?;
        }
        Ok(())
    }

    /// Applies a record from before the checkpoint to the entries that no page has.
    pub(super) fn enter_missing(&self, position: u64, body: &Body, gaps: &[Gap]) {
        let index = &self.inner.index;
        let missing = |id: ShardId| {
            let later = |entry: IndexEntry| entry.position > position;
            gaps.iter().any(|gap| gap.holds(id)) && !index.borrow().get(id).is_some_and(later)
        };
        match body {
            Body::Shard(shard) if missing(shard.id) => self.enter(position, body),
            Body::Shard(_) => {}
            Body::Tombstones(ids) => ids.iter().filter(|id| missing(**id)).for_each(|id| {
                index.borrow_mut().remove(*id);
            }),
        }
    }
}
