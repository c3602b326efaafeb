//! The log against a model, over many lives: random work, a failing or corrupt mirror now and then, a
//! crash that keeps some of what was not flushed, on each mirror another part. Whatever was acknowledged
//! must be there, and what follows it must be a prefix of what was queued.

use std::collections::BTreeMap;

use bytes::Bytes;
use openraft::RaftLogReader;
use openraft::storage::{IOFlushed, RaftLogStorage};

use super::super::types::{log_id, vote};
use super::super::{LogStore, Memory, StoredMembership, encode_state};
use super::{append, entry, on_reactor, open};

#[derive(Clone, Debug, Default, PartialEq)]
struct State {
    vote: Option<u64>,
    purged: Option<u64>,
    entries: BTreeMap<u64, Vec<u8>>,
    snapshot: Option<u64>,
}

impl State {
    fn next(&self) -> u64 {
        let last = self.entries.keys().next_back().copied();
        last.max(self.purged).map_or(0, |last| last + 1)
    }
}

struct Random(u64);

impl Random {
    fn below(&mut self, bound: u64) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0 % bound
    }
}

/// What the log may be after a crash: the states from the last acknowledged one on.
struct Model {
    possible: Vec<State>,
    term: u64,
}

impl Model {
    fn now(&self) -> State {
        self.possible.last().cloned().unwrap_or_default()
    }

    fn queued(&mut self, change: impl FnOnce(&mut State)) {
        let mut state = self.now();
        change(&mut state);
        self.possible.push(state);
    }

    fn acknowledged(&mut self) {
        self.possible = vec![self.now()];
    }

    async fn step(&mut self, store: &mut LogStore, random: &mut Random) {
        let now = self.now();
        let first = now.entries.keys().next().copied();
        match (random.below(10), first) {
            (0, _) => {
                self.term += 1;
                let term = self.term;
                store.save_vote(&vote(term, 1, true)).await.expect("saved");
                self.queued(|state| state.vote = Some(term));
                self.acknowledged();
            }
            (1, Some(first)) => {
                let keep = first + random.below(now.next() - first);
                let kept = store
                    .try_get_log_entries(keep..=keep)
                    .await
                    .expect("an entry");
                store
                    .truncate_after(Some(kept[0].log_id))
                    .await
                    .expect("truncated");
                self.queued(|state| drop(state.entries.split_off(&(keep + 1))));
            }
            (2, Some(first)) => {
                let upto = first + random.below(now.next() - first);
                let gone = store
                    .try_get_log_entries(upto..=upto)
                    .await
                    .expect("an entry");
                store.purge(gone[0].log_id).await.expect("purged");
                self.queued(|state| {
                    state.purged = Some(upto);
                    state.entries = state.entries.split_off(&(upto + 1));
                });
                if random.below(2) == 0 {
                    store.release().await.expect("released");
                    self.acknowledged();
                }
            }
            (3, _) => self.snapshot(store, random).await,
            (4..7, _) => {
                let queued = self.some_entries(random);
                store
                    .append(queued, IOFlushed::noop())
                    .await
                    .expect("queued");
            }
            _ => {
                let queued = self.some_entries(random);
                append(store, queued).await;
                self.acknowledged();
            }
        }
    }

    async fn snapshot(&mut self, store: &mut LogStore, random: &mut Random) {
        let number = random.below(1 << 40);
        let mut writer = store.begin_snapshot();
        for piece in 0..random.below(4) {
            writer
                .piece(Bytes::from(vec![piece as u8; 100]))
                .await
                .expect("written");
        }
        if random.below(3) > 0 {
            let state = encode_state(
                Some(&log_id(1, 1, number)),
                &StoredMembership::default(),
                &[],
            );
            self.queued(|state| state.snapshot = Some(number));
            writer.finish(Bytes::from(state)).await.expect("finished");
            self.acknowledged();
        }
    }

    fn some_entries(&mut self, random: &mut Random) -> Vec<super::Entry> {
        let mut entries = Vec::new();
        for _ in 0..=random.below(3) {
            let index = self.now().next();
            let content = random.below(1 << 40).to_le_bytes().to_vec();
            entries.push(entry(self.term, index, &content));
            self.queued(|state| drop(state.entries.insert(index, content)));
        }
        entries
    }
}

async fn state_of(store: &mut LogStore) -> State {
    let vote = store.read_vote().await.expect("a vote");
    let mut state = State {
        vote: vote.map(|vote| vote.leader_id.term),
        purged: store.purged().map(|id| id.index),
        ..State::default()
    };
    for found in store.try_get_log_entries(..).await.expect("entries") {
        let openraft::EntryPayload::Normal(proposal) = found.payload else {
            panic!("only commands were written")
        };
        state
            .entries
            .insert(found.log_id.index, proposal.0.to_vec());
    }
    if let Some(snapshot) = store.snapshot() {
        for piece in 0..snapshot.piece_count() {
            assert_eq!(
                snapshot.piece(piece).await.expect("a piece"),
                vec![piece as u8; 100]
            );
        }
        let meta = snapshot.meta().expect("a description");
        state.snapshot = meta.last_log_id.map(|id| id.index);
    }
    state
}

async fn lives(seed: u64) {
    let mut random = Random(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1);
    let memories: Vec<Memory> = (0..2 + random.below(2))
        .map(|_| Memory::default())
        .collect();
    let all: Vec<&Memory> = memories.iter().collect();
    let mut model = Model {
        possible: vec![State::default()],
        term: 1,
    };
    for life in 0..12 {
        let opened = open(&all, 2).await;
        let (log, _) = opened.unwrap_or_else(|error| panic!("seed {seed}, life {life}: {error}"));
        let mut store = log.group(3);
        let found = state_of(&mut store).await;
        assert!(
            model.possible.contains(&found),
            "seed {seed}, life {life}: {found:?} is none of {:?}",
            model.possible
        );
        model.possible = vec![found];
        let failing = (random.below(3) == 0).then(|| random.below(20));
        for step in 0..20 {
            if failing == Some(step) {
                all[random.below(all.len() as u64) as usize].fail(true);
            }
            model.step(&mut store, &mut random).await;
            assert_eq!(
                state_of(&mut store).await,
                model.now(),
                "seed {seed}, life {life}, step {step}"
            );
        }
        let whole = log.generation().1 == 2 && failing.is_none();
        for memory in &all {
            memory.fail(false);
            memory.crash(random.below(5) as usize);
        }
        if whole && random.below(3) == 0 {
            all[random.below(all.len() as u64) as usize].corrupt();
        }
    }
}

#[test]
fn what_was_acknowledged_survives_every_life() {
    on_reactor(async || {
        for seed in 1..=200 {
            lives(seed).await;
        }
    });
}
