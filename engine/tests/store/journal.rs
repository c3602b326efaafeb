//! The journal on this machine: order, reads, quota, damage, and what a restart finds.

use strata_engine::{EngineError, HeadsOf, Journal, JournalPosition};

use crate::support::{DeviceFile, content, open_journal, records, run_real};

#[test]
fn a_journal_keeps_order_over_reopens_and_gives_back_what_is_trimmed() {
    let file = DeviceFile::formatted(1);
    run_real(async || {
        let mut all = Vec::new();
        for run in 0..4u64 {
            let journal = open_journal(&file.open(100).await).await;
            assert!(records(&journal).await == all);
            let mut last = None;
            for number in 0..60 {
                let body = content(run * 100 + number, (number as usize * 997) % 40_000);
                let position = journal.append(7, &body).unwrap();
                all.push((position, 7, body));
                last = Some(position);
            }
            journal.flush(last.unwrap()).await.unwrap();
            let (position, kind, body) = all[all.len() / 2].clone();
            assert!(journal.read(position).await.unwrap() == (kind, body));
        }
        let journal = open_journal(&file.open(100).await).await;
        let room = journal.room_bytes();
        journal.trim(all[all.len() - 10].0).await.unwrap();
        assert!(journal.room_bytes() >= room);
        assert!(matches!(
            journal.read(all[0].0).await,
            Err(EngineError::NotFound)
        ));
        drop(journal);
        let left = records(&open_journal(&file.open(100).await).await).await;
        assert!(
            left.len() >= 10 && all.ends_with(&left),
            "{} left",
            left.len()
        );
    });
}

#[test]
fn a_journal_reads_what_lies_close_together_at_once_and_looks_into_the_rest() {
    const LONG: u8 = 6;
    let file = DeviceFile::formatted(1);
    run_real(async || {
        let journal = open_journal(&file.open(100).await).await;
        let mut all = Vec::new();
        for number in 0..200u64 {
            let (kind, length) = match number % 10 {
                9 => (LONG, 300_000),
                _ => (7, (number as usize * 997) % 9_000),
            };
            let body = content(number, length);
            all.push((journal.append(kind, &body).unwrap(), kind, body));
        }
        journal.flush(all.last().unwrap().0).await.unwrap();
        let some: Vec<_> = all.iter().filter(|(_, kind, _)| *kind == 7).collect();
        let places: Vec<_> = some.iter().map(|(position, _, _)| *position).collect();
        let mut seen = 0;
        let mut visit = |number: usize, kind: u8, body: &[u8]| {
            assert_eq!((number, kind), (seen, 7));
            assert!(body == some[number].2);
            seen += 1;
        };
        journal.read_each(&places, &mut visit).await.unwrap();
        assert_eq!(seen, places.len());
        drop(journal);

        let journal = open_journal(&file.open(100).await).await;
        let heads = HeadsOf {
            content: LONG,
            bytes: 100,
        };
        let mut seen = all.iter();
        let mut visit = |position, kind, body: &[u8]| {
            let (expected, written, whole) = seen.next().expect("no more than were written");
            assert_eq!((position, kind), (*expected, *written));
            let shown = if kind == LONG { 100 } else { whole.len() };
            assert!(body == &whole[..shown]);
            Ok(())
        };
        journal.replay(Some(heads), &mut visit).await.unwrap();
        assert_eq!(seen.count(), 0, "every record is visited");
    });
}

#[test]
fn a_journal_refuses_to_grow_beyond_its_quota() {
    let file = DeviceFile::formatted(1);
    run_real(async || {
        let journal = open_journal(&file.open(100).await).await;
        let body = content(1, 1 << 20);
        let mut last = JournalPosition(0);
        let error = loop {
            match journal.append(1, &body) {
                Ok(position) => last = position,
                Err(error) => break error,
            }
        };
        assert!(matches!(error, EngineError::Full { .. }));
        journal.flush(last).await.unwrap();
        journal.trim(last).await.unwrap();
        let again = journal.append(1, &body).unwrap();
        journal.flush(again).await.unwrap();
    });
}

#[test]
fn damage_in_a_journal_is_told_from_a_torn_tail() {
    let file = DeviceFile::formatted(1);
    run_real(async || {
        let journal = open_journal(&file.open(100).await).await;
        for number in 0..3 {
            let position = journal.append(1, &content(number, 3000)).unwrap();
            journal.flush(position).await.unwrap();
        }
        drop(journal);
        let whole = std::fs::read(&file.path).unwrap();
        file.damage(&content(2, 3000)[100..200]);
        let journal = open_journal(&file.open(100).await).await;
        assert_eq!(
            records(&journal).await.len(),
            2,
            "the last batch counts as torn"
        );
        drop(journal);
        std::fs::write(&file.path, whole).unwrap();
        file.damage(&content(1, 3000)[100..200]);
        let error = Journal::open(&file.open(100).await, 0)
            .await
            .err()
            .expect("damage below the tail");
        assert!(matches!(error, EngineError::Corrupt { .. }), "{error}");
    });
}

fn numbered(number: usize) -> Vec<u8> {
    content(number as u64, number * 97 % 30_000)
}

fn append_numbered(journal: &Journal, number: usize) -> JournalPosition {
    let appended = journal.append(number as u8, &numbered(number));
    appended.expect("append")
}

#[test]
fn journal_records_come_back_in_order_and_trimmed_ones_do_not() {
    let file = DeviceFile::formatted(2);
    let mut positions = Vec::new();
    run_real(async || {
        let journal = open_journal(&file.open(100).await).await;
        for number in 0..500 {
            let at = append_numbered(&journal, number);
            positions.push(at);
            if number % 50 == 0 {
                journal.flush(at).await.expect("flush");
                let (kind, back) = journal.read(at).await.expect("read");
                assert_eq!((kind, back == numbered(number)), (number as u8, true));
            }
        }
        journal.flush(positions[499]).await.expect("flush");
        journal.trim(positions[400]).await.expect("trim");
    });
    for _ in 0..20 {
        run_real(async || {
            let journal = open_journal(&file.open(100).await).await;
            let found = records(&journal).await;
            let skipped = positions.len() - found.len();
            assert!(skipped <= 400);
            for (number, (at, kind, body)) in (skipped..).zip(&found) {
                assert_eq!((*at, *kind), (positions[number], number as u8));
                assert!(*body == numbered(number));
            }
            let at = append_numbered(&journal, positions.len());
            positions.push(at);
            journal.flush(at).await.expect("flush");
        });
    }
}

#[test]
fn an_erased_journal_is_empty_and_takes_records() {
    let file = DeviceFile::formatted(2);
    run_real(async || {
        let device = file.open(100).await;
        let journal = open_journal(&device).await;
        let at = journal.append(1, b"before").expect("append");
        journal.flush(at).await.expect("flush");
        journal.close().await;
        Journal::erase(&device, 0).await.expect("erase");
        let journal = open_journal(&device).await;
        assert!(records(&journal).await.is_empty());
        let at = journal.append(2, b"after").expect("append");
        journal.flush(at).await.expect("flush");
        assert_eq!(
            journal.read(at).await.expect("read"),
            (2, b"after".to_vec())
        );
    });
}
