//! Random histories of the whole node in the simulated world, each from one seed: clients put, copy, list and delete while background work runs,
//! disks fail, go and come back, devices are changed and the machine stops in the middle; checkers compare what is there with what was promised.
//!
//! docs/TESTING.md says how many are run, how a fault is added, and how a failure is read.

mod bounds;
mod clients;
mod counters;
mod durability;
mod faults;
mod linearizability;
mod listing;
mod lives;
mod objects;
mod record;
mod redundancy;
mod seeds;
mod serving;
mod space;
mod values;

use std::time::Duration;

use counters::Counters;
use lives::{Certain, Plan, run_history};

use crate::planted::Mistake;

/// What a checker has found.
#[derive(Clone, Debug)]
pub struct Violation {
    /// The checker.
    pub checker: &'static str,
    pub what: String,
}

/// A mistake that a checker is to find.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Planted {
    InNode(Mistake),
    /// Pages of a listing lack their last object.
    ListPageOneShort,
}

/// Two walks that agree on what nobody refers to are an hour and more apart where a crash, or the end of a move, came between them.
const FREE_WITHIN: Duration = Duration::from_secs(4 * 3600);

/// Of a node of six disks that keeps chunks in 4+2, and of one of three that keeps copies.
const DISKS: [usize; 2] = [6, 3];

fn plan(seed: u64) -> Plan {
    Plan {
        seed,
        disks: DISKS[(seed % 2) as usize],
        lives: 5,
        calls_min: 200,
        calls: 10,
        faults: 100,
        certain: None,
        free_within: FREE_WITHIN,
        planted: None,
    }
}

/// Runs the history of a seed.
fn history(seed: u64) -> Counters {
    println!(
        "history {seed}: STRATA_TEST_SEEDS={seed}..{} cargo test -p strata-net --lib tests::history::random",
        seed + 1
    );
    let ran = run_history(&plan(seed));
    ran.unwrap_or_else(|found| panic!("seed {seed}: {} finds: {}", found.checker, found.what))
}

/// Runs histories in which a mistake is planted, from a seed on, until it is found; the checker that finds it.
fn finder(planted: Planted, first: u64, plan: impl Fn(u64) -> Plan) -> &'static str {
    let planted = Some(planted);
    let mut ran = (first..first + 10).map(|seed| {
        run_history(&Plan {
            planted,
            ..plan(seed)
        })
    });
    let found = ran.find_map(Result::err).expect("the mistake is found");
    println!("{} finds: {}", found.checker, found.what);
    found.checker
}

/// A history in which nothing fails.
fn quiet(seed: u64) -> Plan {
    Plan {
        lives: 1,
        calls_min: 0,
        faults: 0,
        ..plan(seed)
    }
}

#[test]
fn an_answer_before_the_commit_is_found() {
    let planted = Planted::InNode(Mistake::AnswerBeforeCommit);
    assert_eq!(finder(planted, 2, quiet), "linearizability");
}

#[test]
fn a_page_that_is_one_short_is_found() {
    assert_eq!(finder(Planted::ListPageOneShort, 2, quiet), "listing");
}

#[test]
fn memory_that_stays_held_is_found() {
    let planted = Planted::InNode(Mistake::MemoryStaysHeld);
    assert_eq!(finder(planted, 2, quiet), "bounds");
}

#[test]
fn an_answer_before_the_barrier_is_found() {
    let planted = Planted::InNode(Mistake::AnswerBeforeBarrier);
    let plan = |seed| Plan {
        lives: 3,
        certain: Some(Certain::PowerCuts(500)),
        ..quiet(seed)
    };
    assert_eq!(finder(planted, 2, plan), "durability");
}

#[test]
fn repair_that_writes_nothing_is_found() {
    let planted = Planted::InNode(Mistake::RepairWithoutWriting);
    let plan = |seed| Plan {
        lives: 2,
        certain: Some(Certain::DiskLost),
        ..quiet(seed)
    };
    assert_eq!(finder(planted, 2, plan), "redundancy");
}

#[test]
fn orphans_that_stay_are_found() {
    let planted = Planted::InNode(Mistake::OrphansStay);
    let plan = |seed| Plan {
        lives: 3,
        certain: Some(Certain::PowerCuts(500)),
        free_within: Duration::from_secs(1200),
        ..quiet(seed)
    };
    assert_eq!(finder(planted, 5, plan), "space");
}

#[test]
fn random_histories_keep_what_is_promised() {
    seeds::run(history);
}
