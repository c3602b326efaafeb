//! Killed, or without power, at any disk operation: what was acknowledged is there, from the log alone.

use std::path::{Path, PathBuf};
use std::time::Duration;

use strata_engine::reactor::{self, ReactorError, Simulation, World};
use strata_raftlog::consensus::group::GroupConfig;

use crate::support::{Acknowledged, Client, check, config, format, run, simulate, start};

fn settings() -> GroupConfig {
    GroupConfig {
        checkpoint_interval: Duration::from_millis(200),
        snapshot_log_bytes: 40_000,
        ..config(2)
    }
}

/// A life of a group: starts, checks, puts, lets housekeeping have its turns.
async fn live(paths: &[PathBuf], acknowledged: &Acknowledged, context: &str) {
    // The metadata directory is lost in every crash: it is not part of the simulated disk.
    let metadata = tempfile::tempdir().expect("a directory");
    let started = start(paths, metadata.path(), settings()).await;
    let (group, store) = started.unwrap_or_else(|error| panic!("{context}: {error}"));
    check(&store, acknowledged, context);
    let mut client = Client::new(&group, acknowledged).await;
    let already = acknowledged.borrow().len();
    for number in already..already + 30 {
        client
            .put(&format!("key{number}"), 2000)
            .await
            .expect("put");
        if number % 10 == 9 {
            reactor::sleep(Duration::from_millis(150)).await;
        }
    }
    let statistics = client.group.statistics();
    assert!(
        statistics.snapshot() > 0 && statistics.purged() > 0,
        "{context}: snapshots are part of the test: {statistics:?}"
    );
}

/// A life that may end in a crash at its operation `at`; says whether it did.
fn live_until(
    simulation: &Simulation,
    at: Option<u64>,
    paths: &[PathBuf],
    acknowledged: &Acknowledged,
    context: &str,
) -> bool {
    if let Some(at) = at {
        simulation.crash_after(simulation.counters().operations + at);
    }
    let world = World::Simulated(simulation.clone());
    match run(world, async || live(paths, acknowledged, context).await) {
        Ok(()) => false,
        Err(ReactorError::Crashed) => true,
        Err(error) => panic!("{context}: {error}"),
    }
}

/// Crashes at operation `at` of the first life and at a third of it in the second, which recovers; then
/// lives on. Gives a hash of all that happened, or nothing where the first life has fewer operations.
fn crash_at(seed: u64, at: u64, power_cut: bool) -> Option<u64> {
    let simulation = Simulation::new(seed);
    let acknowledged = Acknowledged::default();
    let context = format!("seed {seed}, crash at {at}, power cut {power_cut}");
    let paths = simulate(&simulation, async || format(Path::new("/devices"), 2).await);
    for at in [Some(at), Some(at / 3 + 1)] {
        if !live_until(&simulation, at, &paths, &acknowledged, &context) {
            return None;
        }
        if power_cut {
            simulation.power_cut();
        }
    }
    live_until(&simulation, None, &paths, &acknowledged, &context);
    Some(simulation.trace_hash())
}

#[test]
fn what_was_acknowledged_survives_a_crash_at_any_operation() {
    let mut crashes = 0;
    for at in (1..).step_by(3) {
        if crash_at(at, at, at % 2 == 0).is_none() {
            break;
        }
        crashes += 1;
    }
    assert!(crashes > 40, "only {crashes} crashes");
}

#[test]
fn the_same_seed_gives_the_same_run() {
    let first = crash_at(5, 120, true);
    assert!(first.is_some());
    assert_eq!(first, crash_at(5, 120, true));
}
