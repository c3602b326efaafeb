//! Killed, or without power, at any disk operation: what was acknowledged is there, on top of the checkpoint that was durable,
//! or from the log alone where there was none yet or where the namespace is lost.

use std::cell::{Cell, RefCell};
use std::path::{Path, PathBuf};
use std::time::Duration;

use strata_engine::reactor::{self, ReactorError, Simulation, World};
use strata_raftlog::consensus::group::GroupConfig;

use crate::support::{
    Acknowledged, Client, Started, check, config, format, new_place, run, simulate, start,
};

fn settings() -> GroupConfig {
    GroupConfig {
        checkpoint_interval: Duration::from_millis(200),
        snapshot_log_bytes: 40_000,
        ..config(2)
    }
}

/// What a machine goes through.
#[derive(Clone, Copy, Debug, PartialEq)]
enum End {
    /// All that was written is there.
    Kill,
    /// What was not synced is lost or torn.
    PowerCut,
    /// And the namespace is gone altogether.
    PowerCutAndLoss,
}

/// A machine, and what is known of it.
struct Machine {
    simulation: Simulation,
    paths: Vec<PathBuf>,
    metadata: RefCell<PathBuf>,
    acknowledged: Acknowledged,
    /// The newest checkpoint that was reported as durable.
    checkpoint: Cell<Option<u64>>,
    /// Starts after an end that found a checkpoint, and those that found none.
    restored: Cell<u32>,
    rebuilt: Cell<u32>,
    has_ended: Cell<bool>,
    context: String,
}

impl Machine {
    fn new(seed: u64, context: String) -> Machine {
        let simulation = Simulation::new(seed);
        let paths = simulate(&simulation, async || format(Path::new("/devices"), 2).await);
        Machine {
            simulation,
            paths,
            metadata: RefCell::new(new_place()),
            acknowledged: Acknowledged::default(),
            checkpoint: Cell::new(None),
            restored: Cell::new(0),
            rebuilt: Cell::new(0),
            has_ended: Cell::new(false),
            context,
        }
    }

    /// A life of a group: starts, checks, puts, lets housekeeping have its turns.
    async fn live(&self) {
        let context = &self.context;
        let metadata = self.metadata.borrow().clone();
        let started = start(&self.paths, &metadata, settings()).await;
        let (group, store) = started.unwrap_or_else(|error| panic!("{context}: {error}"));
        self.check_namespace(&group);
        check(&store, &self.acknowledged, context);
        let mut client = Client::new(&group, &self.acknowledged).await;
        let already = self.acknowledged.borrow().len();
        for number in already..already + 30 {
            client
                .put(&format!("key{number}"), 2000)
                .await
                .expect("put");
            self.checkpoint.set(Some(store.durable().index));
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

    /// The checkpoint that was durable is there, and whole.
    fn check_namespace(&self, group: &Started) {
        let (context, opened) = (&self.context, &group.opened);
        // A power cut before the first checkpoint may leave one of the files without the others.
        let harmless = ["it has no checkpoint", "its data file is gone"];
        let doubt = opened.doubt.as_deref();
        assert!(
            doubt.is_none_or(|doubt| harmless.contains(&doubt)),
            "{context}: {doubt:?}"
        );
        if let Some(checkpoint) = self.checkpoint.get() {
            let found = opened.applied.index;
            assert!(
                !opened.fresh && found >= checkpoint,
                "{context}: {found} is found, {checkpoint} was durable, {doubt:?}"
            );
        }
        let counter = match opened.fresh {
            true => &self.rebuilt,
            false => &self.restored,
        };
        counter.set(counter.get() + u32::from(self.has_ended.get()));
    }

    /// A life that may end in a crash at its operation `at`; says whether it did.
    fn live_until(&self, at: Option<u64>) -> bool {
        let simulation = &self.simulation;
        if let Some(at) = at {
            simulation.crash_after(simulation.counters().operations + at);
        }
        match run(World::Simulated(simulation.clone()), async || {
            self.live().await;
        }) {
            Ok(()) => false,
            Err(ReactorError::Crashed) => true,
            Err(error) => panic!("{}: {error}", self.context),
        }
    }

    fn end(&self, end: End) {
        self.has_ended.set(true);
        if end != End::Kill {
            self.simulation.power_cut();
        }
        if end == End::PowerCutAndLoss {
            *self.metadata.borrow_mut() = new_place();
            self.checkpoint.set(None);
        }
    }
}

/// Crashes at operation `at` of the first life and at a third of it in the second, which recovers; then
/// lives on. Gives the machine, or nothing where the first life has fewer operations.
fn crash_at(seed: u64, at: u64, ends: [End; 2]) -> Option<Machine> {
    let machine = Machine::new(seed, format!("seed {seed}, crash at {at}, {ends:?}"));
    for (at, end) in [at, at / 3 + 1].into_iter().zip(ends) {
        if !machine.live_until(Some(at)) {
            return None;
        }
        machine.end(end);
    }
    machine.live_until(None);
    Some(machine)
}

#[test]
fn what_was_acknowledged_survives_a_crash_at_any_operation() {
    let mut crashes = 0;
    let ends = [
        [End::Kill, End::Kill],
        [End::PowerCut, End::PowerCut],
        [End::PowerCut, End::PowerCutAndLoss],
        [End::Kill, End::PowerCut],
        [End::PowerCutAndLoss, End::Kill],
    ];
    for (at, ends) in (1..).step_by(3).zip(ends.into_iter().cycle()) {
        if crash_at(at, at, ends).is_none() {
            break;
        }
        crashes += 1;
    }
    assert!(crashes > 60, "only {crashes} crashes");
}

#[test]
fn a_power_cut_leaves_the_checkpoint_or_none_where_none_was_made() {
    let (mut restored, mut rebuilt) = (0, 0);
    // The first operations make a namespace and its first checkpoint; the last time it is one of many.
    for at in (1..=30).chain([60, 100, 140, 180]) {
        let machine = crash_at(1000 + at, at, [End::PowerCut; 2]).expect("a crash");
        restored += machine.restored.get();
        rebuilt += machine.rebuilt.get();
    }
    assert!(
        restored > 10 && rebuilt > 10,
        "{restored} starts found a checkpoint and {rebuilt} found none"
    );
}

#[test]
fn the_same_seed_gives_the_same_run() {
    let run = || {
        let machine = crash_at(5, 120, [End::Kill, End::PowerCut]).expect("a crash");
        machine.simulation.trace_hash()
    };
    assert_eq!(run(), run());
}
