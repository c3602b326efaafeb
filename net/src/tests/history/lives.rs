//! The lives of one node, one after the other: what happens to its machine between them, and how much may be damaged at a time.
//!
//! Invariant: a disk counts as damaged from the first fault on that may have cost it something until the node was found whole with it; no more
//! are damaged at a time than the scheme survives.

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use strata_engine::reactor::{ReactorError, fs};

use super::super::whole::{METADATA, Machine, machine, start};
use super::super::world::run;
use super::clients::Shared;
use super::counters::Counters;
use super::faults::{Fault, directory_of, flip, set_simulation};
use super::serving::{Life, Settling, Work, serve};
use super::values::Random;
use super::{Planted, Violation, linearizability};
use crate::node::NodeError;
use crate::node::status::NodeStatus;
use crate::planted;

/// What a history is made of.
#[derive(Clone, Debug)]
pub struct Plan {
    pub seed: u64,
    /// Disks of the first start.
    pub disks: usize,
    /// Lives with clients, at least, and calls in all of them together.
    pub lives: usize,
    pub calls_min: u64,
    /// Calls of each client in each of them.
    pub calls: usize,
    /// How often each fault comes, in percent of what is usual.
    pub faults: usize,
    /// What happens for certain, and not by chance.
    pub certain: Option<Certain>,
    /// How long what nobody refers to may stay.
    pub free_within: Duration,
    pub planted: Option<Planted>,
}

/// What happens for certain in a history.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Certain {
    /// A disk is lost for good before the second life.
    DiskLost,
    /// The power is cut in every life with clients but the first, after so many operations.
    PowerCuts(u64),
}

/// Losses that a layout survives, of three copies as of 4+2.
const LOSSES: usize = 2;
/// Lives with clients until everything settles.
const LIVES_UNTIL_SETTLED: usize = 3;
/// The most disks that a machine has.
const DISKS_MAX: usize = 9;

/// A machine and what is known of its disks.
struct History<'p> {
    plan: &'p Plan,
    machine: Machine,
    metadata: PathBuf,
    random: Random,
    shared: Shared,
    lives: u64,
    /// The next disk that is new.
    next_disk: usize,
    damaged: BTreeSet<usize>,
    away: BTreeSet<usize>,
    /// Whether bits were flipped since the last scrub.
    is_flipped: bool,
    /// Whether a bit of the metadata file was flipped that no life has found yet.
    is_metadata_flipped: bool,
    /// The new disk that is listed in the place of one that is lost for good, and the uuid of that.
    replacement: Option<(usize, String)>,
    /// Disks of which it was asked that they are drained or added.
    drain: Option<usize>,
    add: Option<usize>,
    /// The devices that are known: uuids, with their files.
    known: BTreeMap<String, String>,
    metadata_directories: usize,
}

/// Runs a history.
///
/// # Errors
/// The first mistake that a checker has found.
pub fn run_history(plan: &Plan) -> Result<Counters, Violation> {
    planted::plant(match plan.planted {
        Some(Planted::InNode(mistake)) => Some(mistake),
        _ => None,
    });
    let mut history = History::new(plan);
    let ran = history.run();
    planted::plant(None);
    ran.map(|()| history.shared.lock().counters.clone())
}

impl<'p> History<'p> {
    fn new(plan: &'p Plan) -> History<'p> {
        let machine = machine(plan.seed, 0..plan.disks);
        set_simulation(&machine.simulation);
        History {
            plan,
            machine,
            metadata: PathBuf::from(METADATA),
            random: Random::of(plan.seed, 0),
            shared: Shared::new(plan.planted),
            lives: 0,
            next_disk: plan.disks,
            damaged: BTreeSet::new(),
            away: BTreeSet::new(),
            is_flipped: false,
            is_metadata_flipped: false,
            replacement: None,
            drain: None,
            add: None,
            known: BTreeMap::new(),
            metadata_directories: 1,
        }
    }

    fn run(&mut self) -> Result<(), Violation> {
        let calls = |history: &Self| history.shared.lock().counters.calls();
        let mut number = 0;
        while number < self.plan.lives || calls(self) < self.plan.calls_min {
            number += 1;
            if number > 1 {
                self.change_machine();
            }
            let (work, crash_at) = self.draw_work(number > 1);
            self.live(work, crash_at)?;
            if number % LIVES_UNTIL_SETTLED == 0 {
                self.settle(false)?;
            }
        }
        self.settle(true)?;
        self.read_without_disks()
    }

    /// Whether something happens that does so in so many of a hundred lives.
    fn chance(&mut self, often: usize) -> bool {
        self.random.percent(often * self.plan.faults / 100)
    }

    /// A disk that may be damaged now, and counts as that from here on.
    fn victim(&mut self) -> Option<usize> {
        let candidates: Vec<usize> = match self.damaged.len() < LOSSES {
            true => self.machine.disks.clone(),
            false => {
                let listed = self.machine.disks.iter().copied();
                listed.filter(|disk| self.damaged.contains(disk)).collect()
            }
        };
        let victim = self.random.pick(&candidates)?;
        self.damaged.insert(victim);
        Some(victim)
    }

    /// What happens while the node is not running.
    fn change_machine(&mut self) {
        for disk in self.away.clone() {
            if self.random.percent(50) {
                self.bring_back(disk);
            }
        }
        let is_certain = self.plan.certain == Some(Certain::DiskLost);
        let goes_away = is_certain || self.chance(25);
        if goes_away && let Some(disk) = self.victim() {
            self.machine.disks.retain(|listed| *listed != disk);
            let may_be_for_good = self.replacement.is_none()
                && self.drain.is_none()
                && self.add.is_none()
                && self.away.is_empty();
            let lost = self.uuid_of(disk).filter(|_| may_be_for_good);
            if let Some(lost) = lost.filter(|_| is_certain || self.random.percent(35)) {
                self.shared.count("disk lost for good");
                let new = self.new_disk();
                self.machine.disks.push(new);
                self.replacement = Some((new, lost));
                self.damaged.remove(&disk);
                self.damaged.insert(new);
            } else {
                self.shared.count("disk away");
                self.away.insert(disk);
            }
        }
        if self.chance(12) {
            self.shared.count("metadata lost");
            self.is_metadata_flipped = false;
            self.metadata = self.new_directory(PathBuf::from(format!(
                "/metadata{}",
                self.metadata_directories
            )));
            self.metadata_directories += 1;
        } else if self.chance(10) {
            self.shared.count("metadata bit flipped");
            self.is_metadata_flipped = true;
            let draw = self.random.next();
            flip(
                &self.machine.simulation,
                &self.metadata.join("data.mdb"),
                0,
                &[draw],
            );
        }
    }

    fn uuid_of(&self, disk: usize) -> Option<String> {
        let file = super::faults::device_of(disk).display().to_string();
        let mut known = self.known.iter();
        known
            .find(|(_, of)| **of == file)
            .map(|(uuid, _)| uuid.clone())
    }

    fn bring_back(&mut self, disk: usize) {
        self.shared.count("disk back, stale");
        self.away.remove(&disk);
        self.machine.disks.push(disk);
    }

    fn new_disk(&mut self) -> usize {
        let disk = self.next_disk;
        self.next_disk += 1;
        self.new_directory(directory_of(disk));
        disk
    }

    fn new_directory(&self, path: PathBuf) -> PathBuf {
        run(&self.machine.simulation, 2, async || {
            fs::create_dir_all(&path).await.expect("a directory");
            let root = std::path::Path::new("/");
            fs::sync_directory(root).await.expect("synced");
        });
        path
    }

    /// What clients do in the next life, and after how many operations the machine stops.
    fn draw_work(&mut self, may_crash_early: bool) -> (Work, Option<u64>) {
        let pause = [30, 300, 1500][self.random.below(3)];
        let span = pause * self.plan.calls;
        let mut faults = Vec::new();
        let mut plan = |random: &mut Random, fault| {
            let at = Duration::from_millis(random.below(span.max(1)) as u64);
            faults.push((at, fault));
        };
        if let Some(fault) = self.draw_change() {
            plan(&mut self.random, fault);
        }
        for kind in 0..5 {
            if self.chance([22, 18, 10, 10, 10][kind])
                && let Some(disk) = self.victim()
            {
                let time = Duration::from_millis([700, 4_000, 30_000][self.random.below(3)]);
                let draw = (0..1 + self.random.below(40)).map(|_| self.random.next());
                let fault = match kind {
                    0 => Fault::Flip {
                        disk,
                        draw: draw.collect(),
                    },
                    1 => Fault::Hang { disk, time },
                    2 => Fault::FailReads { disk },
                    3 => Fault::FailWrite { disk },
                    _ => Fault::FailSync { disk },
                };
                self.is_flipped |= kind == 0;
                plan(&mut self.random, fault);
            }
        }
        if self.chance(12) {
            plan(&mut self.random, Fault::Scrub);
        }
        let mut crash_at = match self.plan.certain {
            Some(Certain::PowerCuts(operations)) => may_crash_early.then_some(operations),
            _ => None,
        };
        if self.chance(65) {
            let most = [150, 1_500, 4_000][self.random.below(3)];
            let operations = 1 + self.random.below(most) as u64;
            match may_crash_early {
                true => crash_at = Some(operations),
                false => faults.push((Duration::ZERO, Fault::Crash { operations })),
            }
        }
        let (calls, pause) = (self.plan.calls, Duration::from_millis(pause as u64));
        (
            Work::Clients {
                calls,
                pause,
                faults,
            },
            crash_at,
        )
    }

    /// A change of the devices, where one may be made.
    fn draw_change(&mut self) -> Option<Fault> {
        if let Some((disk, lost)) = self.replacement.clone() {
            let is_now = self.random.percent(50);
            return is_now.then_some(Fault::Replace { disk, lost });
        }
        if !self.damaged.is_empty() || self.add.is_some() || self.drain.is_some() {
            return None;
        }
        if self.machine.disks.len() < self.plan.disks + 2
            && self.next_disk < DISKS_MAX
            && self.chance(25)
        {
            let disk = self.new_disk();
            self.add = Some(disk);
            return Some(Fault::Add { disk });
        }
        if self.machine.disks.len() > self.plan.disks && self.chance(60) {
            self.drain = self.random.pick(&self.machine.disks);
            return self.drain.map(|disk| Fault::Drain { disk });
        }
        self.chance(10).then_some(Fault::Rebalance)
    }

    /// One life of the node, with all of its disks that are listed; says whether it ended by itself.
    fn live(&mut self, work: Work, crash_at: Option<u64>) -> Result<bool, Violation> {
        let simulation = self.machine.simulation.clone();
        self.lives += 1;
        let may_crash = crash_at.is_some()
            || self.is_metadata_flipped
            || matches!(&work, Work::Clients { faults, .. } if faults.iter().any(|(_, fault)| matches!(fault, Fault::Crash { .. })));
        simulation.crash_after(
            crash_at.map_or(u64::MAX, |after| simulation.counters().operations + after),
        );
        let life = Life::new(self.plan.seed, self.lives, work);
        let shared = self.shared.clone();
        let serves = async move |cluster| serve(cluster, shared.clone(), life.clone()).await;
        let metadata = self.metadata.display().to_string();
        let ended = start(&self.machine, &metadata, serves);
        for disk in 0..self.next_disk {
            simulation.answer(&super::faults::device_of(disk));
        }
        simulation.clear_faults();
        simulation.crash_after(u64::MAX);
        let has_ended = match ended {
            Ok(_) => true,
            Err(NodeError::Reactor(ReactorError::Crashed)) if may_crash => false,
            Err(why) if self.is_metadata_flipped && is_of_damaged_metadata(&why) => {
                self.shared.count("start given up for damaged metadata");
                self.is_metadata_flipped = false;
                false
            }
            Err(other) => {
                return Err(self.violation(
                    "lives",
                    format!(
                        "the node ended: {other}; disks {:?}, damaged {:?}",
                        self.machine.disks, self.damaged
                    ),
                ));
            }
        };
        let status = self.shared.lock().status.clone();
        let is_found = |status: Arc<NodeStatus>| {
            status.needs_rebuild() || status.report().namespace_rebuilt.is_some()
        };
        if status.is_some_and(is_found) {
            self.is_metadata_flipped = false;
        }
        self.take_in(has_ended);
        let is_certain = matches!(self.plan.certain, Some(Certain::PowerCuts(_)));
        if !has_ended && (is_certain || self.random.percent(65)) {
            self.shared.count("power cut");
            simulation.power_cut();
        } else {
            self.shared
                .count(if has_ended { "polite stop" } else { "kill" });
        }
        let checked = linearizability::check(&self.shared.lock().record);
        self.shared.note("linearizability", checked);
        match self.shared.lock().violation.take() {
            Some(found) => Err(found),
            None => Ok(has_ended),
        }
    }

    fn violation(&self, checker: &'static str, what: String) -> Violation {
        let found = self.shared.lock().violation.take();
        found.unwrap_or(Violation { checker, what })
    }

    /// What a life has left, as the node said it.
    fn take_in(&mut self, has_ended: bool) {
        let mut inner = self.shared.lock();
        inner.record.end();
        let Some(status) = inner.status.take() else {
            inner.counters.add("crash before serving");
            return;
        };
        inner.counters.take_in(&status);
        if !has_ended {
            inner.counters.add("start after a crash");
        }
        // A disk that was being added when the machine stopped is the node's when a device is missing that nobody knows.
        let report = status.report();
        let is_new = |uuid: &&String| !self.known.contains_key(*uuid);
        let has_added = report.missing_devices.iter().any(|uuid| is_new(&uuid));
        let open: Vec<(String, String)> = status
            .devices()
            .iter()
            .map(|of| (of.uuid.to_string(), of.name.clone()))
            .collect();
        self.known.extend(open.iter().cloned());
        if let Some(disk) = self.add {
            let name = super::faults::device_of(disk).display().to_string();
            if has_added || open.iter().any(|(_, of)| *of == name) {
                self.machine.disks.push(disk);
                self.add = None;
            } else if has_ended {
                self.add = None;
            } else {
                // It may have slots, and is not listed before that is known.
                self.damaged.insert(disk);
                inner.counters.add("device change cut off");
            }
        }
    }

    /// Brings back all disks and waits until everything is whole.
    fn settle(&mut self, is_last: bool) -> Result<(), Violation> {
        for disk in self.away.clone() {
            self.bring_back(disk);
        }
        // A start that shows whether a disk that was being added is the node's.
        while self.add.is_some() {
            let work = Work::ReadAll;
            self.live(work, None)?;
        }
        let settling = Settling {
            scrub: self.is_flipped,
            replacement: self.replacement.clone(),
            drain: self.drain,
            free_within: is_last.then_some(self.plan.free_within),
        };
        let was_damaged = !self.damaged.is_empty();
        loop {
            let crash_at = self
                .chance(30)
                .then(|| 200 + self.random.below(2_500) as u64);
            if self.live(Work::Settle(settling.clone()), crash_at)? {
                break;
            }
        }
        if was_damaged {
            self.shared.count("whole again after damage");
        }
        if let Some(drained) = self.drain.take() {
            self.machine.disks.retain(|disk| *disk != drained);
        }
        // A start looks at what lies in the log of every disk, and gives the log the copies that it lacks.
        self.live(Work::CheckLog, None)?;
        self.replacement = None;
        self.is_flipped = false;
        self.damaged.clear();
        Ok(())
    }

    /// Every object is there without as many disks as the layout survives.
    fn read_without_disks(&mut self) -> Result<(), Violation> {
        for _ in 0..LOSSES {
            if let Some(disk) = self.random.pick(&self.machine.disks) {
                self.machine.disks.retain(|listed| *listed != disk);
            }
        }
        self.shared.count("read with m disks taken away");
        self.live(Work::ReadDegraded, None).map(drop)
    }
}

/// Whether a start ended since its metadata turned out to be damaged while it went on: the next one makes them anew.
fn is_of_damaged_metadata(why: &NodeError) -> bool {
    why.to_string()
        .contains("the metadata store has failed before")
}
