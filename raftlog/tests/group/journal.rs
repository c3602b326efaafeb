//! The journal below the log, with records of every length: what was appended is read and replayed.

use std::collections::VecDeque;
use std::path::Path;

use strata_engine::reactor::Simulation;
use strata_engine::{Journal, JournalPosition};

use crate::random::Random;
use crate::support::{format, journal_of, records, simulate};

/// Bytes appended for each seed: a few segments.
const APPENDED_BYTES: usize = 10 << 20;

/// Mostly short, now and then longer than a window of the reader.
fn length(random: &mut Random) -> usize {
    match random.below(12) {
        0 => random.below(1_200_000),
        1 => random.below(200_000),
        2..6 => random.below(5_000),
        _ => random.below(200),
    }
}

fn body(length: usize) -> Vec<u8> {
    (0..length).map(|at| (at * 31 + length) as u8).collect()
}

async fn append_some(journal: &Journal, random: &mut Random) -> Vec<(JournalPosition, Vec<u8>)> {
    let mut appended = Vec::new();
    let mut total = 0;
    let mut last = JournalPosition(0);
    while total < APPENDED_BYTES {
        let body = body(length(random));
        total += body.len() + 100;
        last = journal.append(1, &body).expect("room");
        appended.push((last, body));
        if random.below(4) == 0 {
            journal.flush(last).await.expect("flushed");
        }
    }
    journal.flush(last).await.expect("flushed");
    appended
}

#[test]
fn records_of_every_length_are_read_and_replayed() {
    for seed in 1..=12 {
        let simulation = Simulation::new(seed);
        let mut random = Random::new(seed);
        let (paths, appended) = simulate(&simulation, async || {
            let paths = format(Path::new("/devices"), 1).await;
            let journal = journal_of(&paths[0]).await;
            let appended = append_some(&journal, &mut random).await;
            for (at, body) in &appended {
                assert_eq!(
                    journal.read(*at).await.expect("read").1,
                    *body,
                    "seed {seed}"
                );
            }
            (paths, appended)
        });
        simulate(&simulation, async || {
            let replayed = records(&journal_of(&paths[0]).await).await;
            assert!(replayed == appended, "seed {seed}: replay differs");
        });
    }
}

#[test]
fn segments_that_are_full_to_the_last_byte_stay_apart() {
    let simulation = Simulation::new(1);
    // With its header of 32 bytes, 341 of these fill a segment of 4 MiB behind its first block.
    let body = vec![5; 3 * 4096 - 32];
    let (paths, kept) = simulate(&simulation, async || {
        let paths = format(Path::new("/devices"), 1).await;
        let journal = journal_of(&paths[0]).await;
        let mut kept: VecDeque<JournalPosition> = VecDeque::new();
        // Segments are given back and used again in another order than they lie in.
        for round in 0..40 {
            for _ in 0..341 / 2 {
                kept.push_back(journal.append(round, &body).expect("room"));
            }
            journal.flush(kept[kept.len() - 1]).await.expect("flushed");
            while kept.len() > 900 {
                kept.pop_front();
            }
            journal.trim(kept[0]).await.expect("trimmed");
            for at in &kept {
                assert_eq!(
                    journal.read(*at).await.expect("read").1.len(),
                    body.len(),
                    "round {round}"
                );
            }
        }
        (paths, kept)
    });
    simulate(&simulation, async || {
        let found = records(&journal_of(&paths[0]).await).await;
        let found: Vec<JournalPosition> = found.into_iter().map(|(at, _)| at).collect();
        assert!(found.ends_with(&Vec::from(kept)));
    });
}
