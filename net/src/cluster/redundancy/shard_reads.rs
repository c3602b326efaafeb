//! Ranges of shards from their places, with others asked where one fails or does not answer.
//!
//! Invariant: a place that has not answered after [`READ_ELSEWHERE_AFTER`] is waited for beside others, and to the end, so that a
//! device that does not answer is noticed.

use std::ops::Range;

use futures_util::stream::{FuturesUnordered, StreamExt};
use strata_engine::reactor::{self, BufferView, TaskClass};
use strata_engine::{ChunkId, EngineError, READ_ELSEWHERE_AFTER, ShardId};

use super::Trouble;
use crate::cluster::Cluster;
use crate::cluster::shard::ShardPlace;
use crate::memory::Watermark;

/// A shard that may be asked.
#[derive(Debug, Clone)]
pub(super) struct Ask {
    pub(super) shard: ShardPlace,
    /// For which of its bytes.
    pub(super) range: Range<u32>,
    /// How much memory the read leaves free.
    pub(super) watermark: Watermark,
}

/// The answer of one shard.
pub(super) type Answer = (ShardPlace, Result<Vec<BufferView>, EngineError>);

impl Cluster {
    /// Asks the first shards of a list until so many have answered, notes what is wrong with those that fail, and asks the next in
    /// their place; `None` where too few are left.
    pub(super) async fn first_of(
        &self,
        chunk: ChunkId,
        asks: Vec<Ask>,
        needed: usize,
        trouble: &mut Trouble,
    ) -> Option<Vec<(ShardPlace, Vec<BufferView>)>> {
        let mut left = asks.into_iter();
        let mut asked = FuturesUnordered::new();
        let mut answers = Vec::with_capacity(needed);
        while answers.len() < needed {
            while answers.len() + asked.len() < needed {
                let Some(ask) = left.next() else {
                    to_the_end(asked);
                    return None;
                };
                asked.push(self.clone().ask_shard(chunk, ask));
            }
            let answer = if left.len() == 0 {
                asked.next().await
            } else {
                let answer = reactor::timeout(READ_ELSEWHERE_AFTER, asked.next()).await;
                answer.unwrap_or(None)
            };
            match answer {
                Some((shard, Ok(views))) => answers.push((shard, views)),
                Some((shard, Err(error))) => {
                    self.report(shard, chunk, &error);
                    trouble.note(shard, error);
                }
                None => {
                    let more = left.by_ref().take(needed - answers.len());
                    asked.extend(more.map(|ask| self.clone().ask_shard(chunk, ask)));
                }
            }
        }
        to_the_end(asked);
        Some(answers)
    }

    pub(super) async fn ask_shard(self, chunk: ChunkId, ask: Ask) -> Answer {
        let id = ShardId {
            chunk,
            shard: ask.shard.shard,
        };
        let fetching = self.fetch_shard(ask.shard.place, id, ask.range, ask.watermark);
        (ask.shard, fetching.await)
    }

    /// Damage is reported wherever it is found; a place that does not answer once, because every read may meet it.
    pub(super) fn report(&self, shard: ShardPlace, chunk: ChunkId, error: &EngineError) {
        let (device, partition) = (shard.place.device, shard.place.partition);
        let is_news = self.inner.reported.borrow_mut().insert(shard.place);
        let number = shard.shard;
        if is_news || matches!(error, EngineError::Corrupt { .. }) {
            tracing::warn!(%chunk, shard = number, %device, partition, %error, "a shard could not be read");
        } else {
            tracing::debug!(%chunk, shard = number, %device, partition, %error, "a shard could not be read");
        }
    }
}

/// Waits for reads whose bytes are not needed any more: a device that does not answer is noticed by what waits for it.
pub(super) fn to_the_end<F: Future + 'static>(mut reads: FuturesUnordered<F>) {
    if !reads.is_empty() {
        let waiting = async move { while reads.next().await.is_some() {} };
        reactor::spawn(TaskClass::Foreground, waiting).detach();
    }
}
