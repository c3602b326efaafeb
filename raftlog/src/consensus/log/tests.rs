//! The mirrored log on journals in memory: losing, repairing and refusing mirrors; the records' bytes.

mod golden;
mod model;

use std::collections::BTreeMap;
use std::time::Duration;

use bytes::Bytes;
use openraft::storage::{IOFlushed, RaftLogStorage, RaftLogStorageExt};
use openraft::{BasicNode, EntryPayload, Membership, RaftLogReader};
use strata_engine::reactor::{self, ReactorConfig, World};

use super::record::{self, Generation, Manifest, Piece, Record};
use super::types::{Entry, Proposal, log_id, vote};
use super::{Log, LogError, LogReport, LogStore, Memory, Source};

/// Runs a test on a reactor of its own.
pub(crate) fn on_reactor<T>(test: impl AsyncFnOnce() -> T) -> T {
    let config = ReactorConfig {
        index: 0,
        core: None,
        name: "test".to_owned(),
        arena_bytes: 4 << 20,
        spin: Duration::ZERO,
    };
    reactor::run(config, World::Real, test).expect("a reactor")
}

fn entry(term: u64, index: u64, bytes: &[u8]) -> Entry {
    let payload = EntryPayload::Normal(Proposal(Bytes::copy_from_slice(bytes)));
    Entry {
        log_id: log_id(term, 1, index),
        payload,
    }
}

async fn open(memories: &[&Memory], mirrors: usize) -> Result<(Log, LogReport), LogError> {
    let uuids = memories.iter().enumerate();
    let sources = uuids.map(|(at, memory)| Source::Memory([at as u8; 16], (*memory).clone()));
    Log::recover(sources.collect(), mirrors).await
}

async fn append(store: &mut LogStore, entries: impl IntoIterator<Item = Entry>) {
    store.blocking_append(entries).await.expect("appended");
}

async fn indexes(store: &mut LogStore) -> Vec<u64> {
    let entries = store.try_get_log_entries(..).await.expect("entries");
    entries.iter().map(|entry| entry.log_id.index).collect()
}

/// At least one record of every kind.
fn records() -> Vec<Record> {
    let nodes = BTreeMap::from([(1, BasicNode::new("a:1")), (2, BasicNode::new("b:2"))]);
    let membership = Membership::new(vec![[1].into(), [1, 2].into()], nodes).expect("a membership");
    vec![
        Record::Entry(entry(3, 7, b"some bytes")),
        Record::Entry(Entry {
            log_id: log_id(1, 2, 3),
            payload: EntryPayload::Blank,
        }),
        Record::Entry(Entry {
            log_id: log_id(1, 2, 4),
            payload: EntryPayload::Membership(membership),
        }),
        Record::Vote(vote(5, 6, true)),
        Record::Truncate(None),
        Record::Truncate(Some(log_id(1, 2, 3))),
        Record::Purge(log_id(4, 5, 6)),
        Record::Committed(log_id(4, 5, 7)),
        Record::Piece(Piece {
            snapshot: 9,
            number: 2,
            bytes: Bytes::from_static(b"piece"),
        }),
        Record::Manifest(Manifest {
            snapshot: 9,
            state: Bytes::from_static(b"state"),
            pieces: vec![(5, 77), (6, 78)],
        }),
        Record::Generation(Generation {
            generation: 4,
            members: vec![[1; 16], [2; 16]],
        }),
    ]
}

#[test]
fn records_read_back_as_they_were_written() {
    for record in records() {
        let body = record.encode(12, 34);
        assert_eq!(
            record::decode(record.kind(), &body),
            Ok((12, 34, record.clone()))
        );
        for length in 0..body.len() {
            // Whatever is cut short is refused, but for opaque bytes at the end.
            let cut = record::decode(record.kind(), &body[..length]);
            assert!(
                cut.is_err() || matches!(record, Record::Entry(_) | Record::Piece(_)),
                "{record:?} cut at {length}"
            );
        }
    }
    assert!(record::decode(99, &[1; 64]).is_err());
}

#[test]
fn what_was_flushed_is_there_after_a_crash_and_no_more() {
    on_reactor(async || {
        let (a, b) = (Memory::default(), Memory::default());
        let (log, report) = open(&[&a, &b], 2).await.expect("a log");
        assert_eq!((report.generation, report.mirrors), (1, 2));
        let mut store = log.group(0);
        store.save_vote(&vote(2, 1, true)).await.expect("saved");
        append(&mut store, (0..10).map(|index| entry(2, index, b"x"))).await;
        store
            .truncate_after(Some(log_id(2, 1, 4)))
            .await
            .expect("truncated");
        append(&mut store, [entry(3, 5, b"y")]).await;
        store
            .append([entry(3, 6, b"lost")], IOFlushed::noop())
            .await
            .expect("queued");
        a.crash(0);
        b.crash(0);
        drop((store, log));
        let (log, report) = open(&[&a, &b], 2).await.expect("a log");
        assert_eq!((report.generation, report.remarks), (1, Vec::new()));
        let mut store = log.group(0);
        assert_eq!(
            store.read_vote().await.expect("a vote"),
            Some(vote(2, 1, true))
        );
        assert_eq!(indexes(&mut store).await, [0, 1, 2, 3, 4, 5]);
        assert_eq!(store.last(), Some(log_id(3, 1, 5)));
    });
}

#[test]
fn the_longest_mirror_wins_and_the_other_catches_up() {
    on_reactor(async || {
        let (a, b) = (Memory::default(), Memory::default());
        let (log, _) = open(&[&a, &b], 2).await.expect("a log");
        let mut store = log.group(0);
        append(&mut store, [entry(1, 0, b"x")]).await;
        let queued = (1..4).map(|index| entry(1, index, b"y"));
        store
            .append(queued, IOFlushed::noop())
            .await
            .expect("queued");
        a.crash(1);
        b.crash(3);
        drop((store, log));
        let (log, report) = open(&[&a, &b], 2).await.expect("a log");
        assert_eq!(report.remarks.len(), 1, "{report:?}");
        assert_eq!(indexes(&mut log.group(0)).await, [0, 1, 2, 3]);
        drop(log);
        // What was copied is durable: either mirror will do now, at the price of a new generation.
        let (log, report) = open(&[&a], 2).await.expect("a log on one");
        assert_eq!(indexes(&mut log.group(0)).await, [0, 1, 2, 3]);
        assert_eq!((report.generation, report.mirrors), (2, 1));
        drop(log);
        let (log, report) = open(&[&a, &b], 2).await.expect("a log on both");
        assert_eq!((report.generation, report.mirrors), (3, 2));
        assert!(
            report.remarks[0].contains("was at generation 1 and was rebuilt"),
            "{report:?}"
        );
        assert_eq!(indexes(&mut log.group(0)).await, [0, 1, 2, 3]);
    });
}

#[test]
fn a_lost_mirror_raises_the_generation_before_anything_is_acknowledged() {
    on_reactor(async || {
        let (a, b, witness) = (Memory::default(), Memory::default(), Memory::default());
        let (log, _) = open(&[&a, &b, &witness], 2).await.expect("a log");
        let mut store = log.group(0);
        append(&mut store, [entry(1, 0, b"x")]).await;
        a.fail(true);
        append(&mut store, [entry(1, 1, b"y")]).await;
        assert_eq!(log.generation(), (2, 1));
        a.fail(false);
        for memory in [&a, &b, &witness] {
            memory.crash(0);
        }
        drop((store, log));
        // The witness knows of a generation that the mirror at hand does not.
        let refused = open(&[&a.copy(), &Memory::default(), &witness.copy()], 2)
            .await
            .map(|_| ());
        assert!(matches!(refused, Err(LogError::Stale(_))), "{refused:?}");
        let (log, report) = open(&[&a, &b, &witness], 2).await.expect("a log");
        assert!(report.remarks[0].contains("was rebuilt"), "{report:?}");
        assert_eq!(indexes(&mut log.group(0)).await, [0, 1]);
        assert_eq!(log.generation(), (3, 2));
    });
}

#[test]
fn a_corrupt_mirror_is_rebuilt_and_reported() {
    on_reactor(async || {
        let (a, b) = (Memory::default(), Memory::default());
        let (log, _) = open(&[&a, &b], 2).await.expect("a log");
        let mut store = log.group(7);
        store.save_vote(&vote(1, 1, true)).await.expect("saved");
        append(&mut store, (0..5).map(|index| entry(1, index, b"x"))).await;
        drop((store, log));
        a.corrupt();
        let (log, report) = open(&[&a, &b], 2).await.expect("a log");
        assert!(report.remarks[0].contains("was corrupt"), "{report:?}");
        drop(log);
        let (log, report) = open(&[&a], 1).await.expect("a log on the repaired mirror");
        assert_eq!(report.remarks.len(), 1, "{report:?}");
        assert!(report.remarks[0].ends_with("is missing"), "{report:?}");
        let mut store = log.group(7);
        assert_eq!(indexes(&mut store).await, [0, 1, 2, 3, 4]);
        assert_eq!(
            store.read_vote().await.expect("a vote"),
            Some(vote(1, 1, true))
        );
        drop((store, log));
        a.corrupt();
        let refused = open(&[&a], 1).await.map(|_| ());
        assert!(matches!(refused, Err(LogError::Corrupt(_))), "{refused:?}");
    });
}

#[test]
fn a_record_that_one_mirror_lost_is_read_from_the_other() {
    on_reactor(async || {
        let (a, b) = (Memory::default(), Memory::default());
        let (log, _) = open(&[&a, &b], 2).await.expect("a log");
        let mut store = log.group(0);
        let big = vec![3; 1 << 20];
        for index in 0..40 {
            append(&mut store, [entry(1, index, &big)]).await;
        }
        a.corrupt();
        assert_eq!(indexes(&mut store).await.len(), 40);
        b.corrupt();
        assert!(store.try_get_log_entries(0..1).await.is_err());
    });
}

#[test]
fn snapshots_survive_and_older_ones_are_released() {
    on_reactor(async || {
        let (a, b) = (Memory::default(), Memory::default());
        let (log, _) = open(&[&a, &b], 2).await.expect("a log");
        let mut store = log.group(0);
        append(&mut store, (0..100).map(|index| entry(1, index, b"x"))).await;
        for round in 0..3u8 {
            let mut writer = store.begin_snapshot();
            for piece in 0..10u8 {
                writer
                    .piece(Bytes::from(vec![round * 10 + piece; 1000]))
                    .await
                    .expect("written");
            }
            let state = super::encode_state(
                Some(&log_id(1, 1, 50)),
                &super::StoredMembership::default(),
                &[round],
            );
            writer.finish(Bytes::from(state)).await.expect("finished");
        }
        // One that was never finished does not count.
        let mut writer = store.begin_snapshot();
        writer
            .piece(Bytes::from_static(b"unfinished"))
            .await
            .expect("written");
        drop(writer);
        store.purge(log_id(1, 1, 50)).await.expect("purged");
        store.release().await.expect("released");
        assert!(a.held() < 90, "{} records are held", a.held());
        drop((store, log));
        let (log, _) = open(&[&a, &b], 2).await.expect("a log");
        let mut store = log.group(0);
        assert_eq!(indexes(&mut store).await, (51..100).collect::<Vec<_>>());
        assert_eq!(store.purged(), Some(log_id(1, 1, 50)));
        let snapshot = store.snapshot().expect("a snapshot");
        assert_eq!((snapshot.piece_count(), snapshot.bytes()), (10, 10_000));
        assert_eq!(snapshot.piece(9).await.expect("a piece"), vec![29; 1000]);
        assert_eq!(
            snapshot.meta().expect("its meta").last_log_id,
            Some(log_id(1, 1, 50))
        );
    });
}

/// A snapshot of `pieces` pieces that holds the entries up to `index`.
async fn snapshot_of(store: &LogStore, index: u64, pieces: u8) {
    let mut writer = store.begin_snapshot();
    for piece in 0..pieces {
        let bytes = Bytes::from(vec![piece; 1000]);
        writer.piece(bytes).await.expect("written");
    }
    let state = super::encode_state(
        Some(&log_id(1, 1, index)),
        &super::StoredMembership::default(),
        &[],
    );
    writer.finish(Bytes::from(state)).await.expect("finished");
}

/// All pieces of the newest snapshot can be read.
async fn assert_snapshot(store: &LogStore, pieces: u8) {
    let snapshot = store.snapshot().expect("a snapshot");
    assert_eq!(snapshot.piece_count(), usize::from(pieces));
    for piece in 0..pieces {
        let read = snapshot.piece(usize::from(piece)).await.expect("a piece");
        assert_eq!(read, vec![piece; 1000]);
    }
}

/// Two mirrors with entries, a snapshot of some of them, and an unfinished newer one.
async fn with_snapshot() -> (Memory, Memory) {
    let (a, b) = (Memory::default(), Memory::default());
    let (log, _) = open(&[&a, &b], 2).await.expect("a log");
    let mut store = log.group(0);
    append(&mut store, (0..10).map(|index| entry(1, index, b"x"))).await;
    snapshot_of(&store, 5, 3).await;
    let mut unfinished = store.begin_snapshot();
    let piece = Bytes::from_static(b"unfinished");
    unfinished.piece(piece).await.expect("written");
    append(&mut store, [entry(1, 10, b"y")]).await;
    (a, b)
}

#[test]
fn a_mirror_that_lacks_a_piece_of_the_newest_snapshot_is_rebuilt() {
    on_reactor(async || {
        let (a, b) = with_snapshot().await;
        // Of the head of a piece a replay believes everything: the number of its snapshot is another one now.
        a.damage_piece(1, record::HEADER_BYTES);
        let (log, report) = open(&[&a, &b], 2).await.expect("a log");
        assert!(report.remarks[0].contains("was rebuilt"), "{report:?}");
        assert_snapshot(&log.group(0), 3).await;
        drop(log);
        let (log, _) = open(&[&a], 2).await.expect("a log on the rebuilt mirror");
        assert_snapshot(&log.group(0), 3).await;
        assert_eq!(indexes(&mut log.group(0)).await.len(), 11);
        drop(log);
        // Alone it goes on without the snapshot, and says so.
        a.damage_piece(1, record::HEADER_BYTES);
        let (log, report) = open(&[&a], 2).await.expect("a log");
        assert!(
            report
                .remarks
                .iter()
                .any(|remark| remark.contains("damaged"))
        );
        assert!(log.group(0).snapshot().is_none());
        assert_eq!(indexes(&mut log.group(0)).await.len(), 11);
    });
}

#[test]
fn a_mirror_is_rebuilt_from_all_that_are_whole_in_part() {
    on_reactor(async || {
        let (a, b) = with_snapshot().await;
        a.damage_piece(0, record::PIECE_HEAD_BYTES + 100);
        b.damage_piece(2, record::PIECE_HEAD_BYTES + 100);
        let c = Memory::default();
        let (log, _) = open(&[&a, &b, &c], 3).await.expect("a log");
        assert_eq!(log.generation().1, 3);
        drop(log);
        let (log, _) = open(&[&c], 1).await.expect("a log on the new mirror");
        assert_snapshot(&log.group(0), 3).await;
        drop(log);
        // What no mirror has whole is no reason to erase what another one still holds.
        let (a, b) = with_snapshot().await;
        a.damage_piece(0, record::HEADER_BYTES);
        b.damage_piece(2, record::PIECE_HEAD_BYTES + 100);
        let held = a.held();
        let (_, report) = open(&[&a, &b], 2).await.expect("a log");
        assert!(
            report.remarks[0].contains("cannot be rebuilt"),
            "{report:?}"
        );
        assert_eq!(a.held(), held);
    });
}

#[test]
fn a_release_beside_the_end_of_a_snapshot_keeps_the_one_before() {
    on_reactor(async || {
        for turns in 0..24 {
            let (a, b) = with_snapshot().await;
            let (log, _) = open(&[&a, &b], 2).await.expect("a log");
            let mut store = log.group(0);
            // No entry is left that lies before the snapshot.
            store.purge(log_id(1, 1, 10)).await.expect("purged");
            let both = futures_util::future::join(snapshot_of(&store, 10, 3), store.release());
            let turns_pass = async {
                for _ in 0..turns {
                    reactor::yield_now().await;
                }
            };
            let both = std::pin::pin!(both);
            futures_util::future::select(both, std::pin::pin!(turns_pass)).await;
            a.crash(0);
            b.crash(0);
            let (log, _) = open(&[&a, &b], 2).await.expect("a log");
            assert_snapshot(&log.group(0), 3).await;
        }
    });
}

#[test]
fn a_witness_keeps_only_the_newest_generation() {
    on_reactor(async || {
        let (a, b, c) = (Memory::default(), Memory::default(), Memory::default());
        let (log, _) = open(&[&a, &b, &c], 2).await.expect("a log");
        let mut store = log.group(0);
        append(&mut store, (0..10).map(|index| entry(1, index, b"x"))).await;
        for index in 0..9 {
            store.purge(log_id(1, 1, index)).await.expect("purged");
            store.release().await.expect("released");
        }
        assert!(c.held() <= 2, "{} records are held", c.held());
        drop((store, log));
        let (_, report) = open(&[&a, &b, &c], 2).await.expect("a log");
        assert_eq!((report.generation, report.mirrors), (1, 2));
    });
}

#[test]
fn a_record_of_a_newer_version_is_refused_and_rebuilds_nothing() {
    on_reactor(async || {
        let (a, b) = with_snapshot().await;
        let mut body = Record::Vote(vote(5, 1, true)).encode(0, 1 << 20);
        body[0] += 1;
        b.append(Record::Vote(vote(5, 1, true)).kind(), &body)
            .expect("appended");
        let held = (a.held(), b.held());
        match open(&[&a, &b], 2).await {
            Err(LogError::OtherFormat(what)) => assert!(what.contains("version 2"), "{what}"),
            other => panic!("{:?}", other.map(|_| "opened")),
        }
        assert_eq!((a.held(), b.held()), held);
    });
}

#[test]
fn a_closed_log_leaves_nobody_waiting() {
    on_reactor(async || {
        let memory = Memory::default();
        let (log, _) = open(&[&memory], 1).await.expect("a log");
        let mut store = log.group(0);
        append(&mut store, [entry(1, 0, b"x")]).await;
        log.close().await.expect("closed");
        assert!(store.blocking_append([entry(1, 1, b"y")]).await.is_err());
        assert!(matches!(log.flush().await, Err(LogError::Failed(_))));
    });
}

#[test]
fn a_full_log_keeps_its_mirrors() {
    on_reactor(async || {
        let (a, b) = with_snapshot().await;
        let (log, _) = open(&[&a, &b], 2).await.expect("a log");
        let mut store = log.group(0);
        store.purge(log_id(1, 1, 5)).await.expect("purged");
        b.fill();
        assert!(matches!(store.release().await, Err(LogError::Full)));
        let held = (a.held(), b.held());
        let appended = store.blocking_append([entry(1, 6, b"more")]).await;
        assert!(appended.is_err(), "the second mirror has no room for it");
        assert_eq!((a.held(), b.held()), held, "on both or on none");
        assert_eq!(log.generation(), (1, 2));
    });
}
