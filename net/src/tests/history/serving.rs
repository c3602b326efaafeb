//! What runs on every reactor in one life of a node: clients with what goes wrong meanwhile, or the wait until everything is whole again.

use std::cell::Cell;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;

use futures_util::future::join_all;
use strata_engine::reactor::{self, TaskClass};
use strata_raftlog::namespace::ListQuery;

use super::super::devices::has_moves;
use super::super::whole::CORES;
use super::super::world::make_bucket;
use super::clients::{Client, Shared, get_and_check, list_and_check, look_at_all};
use super::faults::{Fault, device_of, strike};
use super::objects;
use super::record::KEYS;
use super::values::Random;
use super::{bounds, durability, redundancy, space};
use crate::cluster::Cluster;
use crate::error::ClusterError;
use crate::node::repair::Survey;

/// Clients of each reactor.
const CLIENTS: usize = 2;
/// Objects that are read whole at the beginning of a life; of the others it is seen what they are.
const READ_AT_FIRST: usize = 6;
/// How long a node may take until it is whole again.
const WHOLE_WITHIN: Duration = Duration::from_secs(3600);
/// How long the log may take after a start until it has all its copies.
const LOG_WHOLE_WITHIN: Duration = Duration::from_secs(30);
/// How long it is looked whether something has settled.
const LOOK_EVERY: Duration = Duration::from_millis(500);

/// What is done in a life.
#[derive(Clone, Debug)]
pub enum Work {
    /// Clients make so many calls each, with pauses up to this one, and faults strike at times.
    Clients {
        calls: usize,
        pause: Duration,
        faults: Vec<(Duration, Fault)>,
    },
    /// Nothing is called until everything is whole and as it should be.
    Settle(Settling),
    /// Every object is read.
    ReadAll,
    /// Every object is read where disks are away, and what is missing is counted.
    ReadDegraded,
    /// The log has all its copies.
    CheckLog,
}

/// What is to be done until everything is whole.
#[derive(Clone, Debug, Default)]
pub struct Settling {
    /// Whether bits may have been flipped.
    pub scrub: bool,
    /// The disk that is to take the place of a lost one, and the uuid of that.
    pub replacement: Option<(usize, String)>,
    /// The disk that is to be empty.
    pub drain: Option<usize>,
    /// How long it may take until what nobody refers to is gone too, where that is waited for.
    pub free_within: Option<Duration>,
}

/// One life of a node.
pub struct Life {
    seed: u64,
    number: u64,
    work: Work,
    has_begun: AtomicBool,
    reactors_left: AtomicUsize,
}

impl Life {
    pub fn new(seed: u64, number: u64, work: Work) -> Arc<Life> {
        Arc::new(Life {
            seed,
            number,
            work,
            has_begun: AtomicBool::new(false),
            reactors_left: AtomicUsize::new(CORES),
        })
    }

    fn random(&self, part: usize) -> Random {
        Random::of(self.seed, self.number * 1000 + part as u64)
    }
}

/// Runs on a reactor until all of them have ended.
pub async fn serve(cluster: Cluster, shared: Shared, life: Arc<Life>) {
    let reactor = reactor::index();
    let client = |part: usize, pause| Client {
        cluster: cluster.clone(),
        shared: shared.clone(),
        random: life.random(part),
        pause,
    };
    let _stopping = (reactor == 0).then(|| stop_for_metadata(&cluster, &shared));
    if reactor == 0 {
        begin(&mut client(0, Duration::ZERO)).await;
        life.has_begun.store(true, Ordering::Release);
    }
    while !life.has_begun.load(Ordering::Acquire) {
        reactor::sleep(Duration::from_millis(5)).await;
    }
    match &life.work {
        Work::Clients {
            calls,
            pause,
            faults,
        } => {
            let mut striking = Vec::new();
            if reactor == 0 {
                striking = faults
                    .iter()
                    .map(|planned| strike_at(&cluster, &shared, planned))
                    .collect();
            }
            let clients =
                (0..CLIENTS).map(|at| client(1 + reactor * CLIENTS + at, *pause).call(*calls));
            join_all(clients).await;
            join_all(striking).await;
        }
        Work::Settle(settling) if reactor == 0 => {
            settle(&mut client(0, Duration::ZERO), settling).await
        }
        Work::Settle(_) => {}
        Work::CheckLog if reactor == 0 => {
            let checked = wait_until(LOG_WHOLE_WITHIN, async || Ok(log_is_whole(&cluster))).await;
            let lacks = |why| {
                format!(
                    "the log lacks copies: {why}; {:?}",
                    cluster.parts().status.degradations()
                )
            };
            shared.note("redundancy", checked.map_err(lacks));
        }
        Work::CheckLog => {}
        Work::ReadAll | Work::ReadDegraded => {
            let client = client(0, Duration::ZERO);
            for key in (0..KEYS.len()).filter(|key| key % CORES == reactor) {
                get_and_check(&client, key).await;
            }
            if reactor == 0 && matches!(life.work, Work::ReadDegraded) {
                check_count(&cluster, &shared).await;
            }
        }
    }
    life.reactors_left.fetch_sub(1, Ordering::AcqRel);
    while life.reactors_left.load(Ordering::Acquire) > 0 {
        reactor::sleep(Duration::from_millis(20)).await;
    }
}

/// Stops the machine when the metadata turns out to be damaged, as the server stops itself; the next start makes them anew.
fn stop_for_metadata(cluster: &Cluster, shared: &Shared) -> reactor::Task<()> {
    let (cluster, shared) = (cluster.clone(), shared.clone());
    reactor::spawn(TaskClass::Foreground, async move {
        while !cluster.parts().status.needs_rebuild() {
            reactor::sleep(Duration::from_millis(50)).await;
        }
        shared.count("stopped for damaged metadata");
        strike(&cluster, &shared, Fault::Crash { operations: 0 }).await;
    })
}

fn strike_at(
    cluster: &Cluster,
    shared: &Shared,
    (at, fault): &(Duration, Fault),
) -> reactor::Task<()> {
    let (cluster, shared, at, fault) = (cluster.clone(), shared.clone(), *at, fault.clone());
    reactor::spawn(TaskClass::Foreground, async move {
        reactor::sleep(at).await;
        strike(&cluster, &shared, fault).await;
    })
}

/// What is there when a node begins to serve is what the calls before have left.
async fn begin(client: &mut Client) {
    let (cluster, shared) = (client.cluster.clone(), client.shared.clone());
    shared.lock().status = Some(cluster.parts().status.clone());
    if objects::bucket(&cluster).is_err() {
        make_bucket(&cluster).await.expect("a bucket");
    }
    if has_moves(&cluster) {
        shared.count("start while shards are being moved");
    }
    check_what_is_there(client);
    for _ in 0..READ_AT_FIRST {
        let key = client.random.below(KEYS.len());
        get_and_check(client, key).await;
    }
}

fn check_what_is_there(client: &Client) {
    for (key, name) in KEYS.iter().enumerate() {
        let found = objects::find(&client.cluster, name).expect("a look");
        let found = found.as_ref().map(super::values::Value::of);
        let checked = durability::check_found(&client.shared.lock().record, key, found);
        client.shared.note("durability", checked);
    }
    look_at_all(client);
}

/// Waits until everything is whole, then has every checker look.
async fn settle(client: &mut Client, settling: &Settling) {
    let (cluster, shared) = (client.cluster.clone(), client.shared.clone());
    // Every reactor has read what it noted of its scrub.
    reactor::sleep(Duration::from_secs(1)).await;
    let held = bounds::held(&cluster);
    read_all(client).await;
    if shared.has_failed() {
        return;
    }
    if let Some((disk, lost)) = settling.replacement.clone() {
        strike(&cluster, &shared, Fault::Replace { disk, lost }).await;
    }
    if let Some(disk) = settling.drain {
        drain(&cluster, &shared, disk).await;
    }
    if settling.scrub {
        cluster.parts().redundancy.ask_scrub();
        let redundancy = &cluster.parts().redundancy;
        let has_ended =
            wait_until(WHOLE_WITHIN, async || Ok(redundancy.scrubbed().is_some())).await;
        shared.note(
            "redundancy",
            has_ended.map_err(|why| format!("a scrub: {why}")),
        );
        cluster.parts().redundancy.ask_survey();
    }
    let mismatches = Cell::new(0);
    let whole = wait_until(WHOLE_WITHIN, async || is_whole(&cluster, &mismatches).await).await;
    shared.note(
        "redundancy",
        whole.map_err(|why| format!("{why}; {:?}", cluster.parts().status.degradations())),
    );
    if let Some(within) = settling.free_within
        && !shared.has_failed()
    {
        check_space(&cluster, &shared, within).await;
    }
    read_all(client).await;
    list_everything(client);
    // What was read is let go of.
    reactor::sleep(Duration::from_secs(5)).await;
    shared.note("bounds", bounds::check_idle(&held, &bounds::held(&cluster)));
}

async fn read_all(client: &Client) {
    for key in 0..KEYS.len() {
        get_and_check(client, key).await;
    }
}

async fn drain(cluster: &Cluster, shared: &Shared, disk: usize) {
    let status = &cluster.parts().status;
    let name = device_of(disk).display().to_string();
    let Some(device) = status
        .devices()
        .into_iter()
        .find(|device| device.name == name)
    else {
        return;
    };
    let is_member = || status.member_devices().contains(&device.uuid);
    let is_drained = async || {
        // It is refused while shards are still being moved.
        if is_member() && !has_moves(cluster) {
            strike(cluster, shared, Fault::Drain { disk }).await;
            reactor::sleep(Duration::from_secs(10)).await;
        }
        Ok(!is_member() && !has_moves(cluster))
    };
    let drained = wait_until(WHOLE_WITHIN, is_drained).await;
    let parts = cluster.parts();
    let needed = |why| {
        let (groups, short_of) = (parts.redundancy.groups_moving(), status.degradations());
        format!("a drained disk is still needed: {why}; {groups} groups are moving; {short_of:?}")
    };
    shared.note("redundancy", drained.map_err(needed));
}

/// Looks until something is so.
///
/// # Errors
/// It is not so in time, or a look failed.
async fn wait_until(
    within: Duration,
    is_so: impl AsyncFn() -> Result<bool, String>,
) -> Result<(), String> {
    let end = reactor::now() + within;
    while !is_so().await? {
        if reactor::now() > end {
            return Err(format!("not in {within:?}"));
        }
        reactor::sleep(LOOK_EVERY).await;
    }
    Ok(())
}

/// Whether the node says that every chunk is whole and as its layout says, and the stores say so too.
async fn is_whole(cluster: &Cluster, mismatches: &Cell<u32>) -> Result<bool, String> {
    let parts = cluster.parts();
    let redundancy = &parts.redundancy;
    let Some(found) = redundancy.surveyed() else {
        return Ok(false);
    };
    let survey = found.survey;
    let has_all = parts.status.report().missing_devices.is_empty();
    if survey.below_target > 0 || survey.written_weaker > 0 || has_moves(cluster) || !has_all {
        redundancy.ask_survey();
        reactor::sleep(Duration::from_secs(10)).await;
        return Ok(false);
    }
    compare(cluster, &survey, mismatches).await
}

/// How often a survey and what the stores have may differ: bodies are packed meanwhile.
const MISMATCHES_MAX: u32 = 3;

/// Compares a survey with what the stores have, and asks for another one where they differ.
async fn compare(
    cluster: &Cluster,
    survey: &Survey,
    mismatches: &Cell<u32>,
) -> Result<bool, String> {
    let checked = redundancy::check_survey(cluster, survey).await;
    let checked = checked.map_err(|error: ClusterError| error.to_string())?;
    let Err(why) = checked else {
        return Ok(true);
    };
    mismatches.set(mismatches.get() + 1);
    if mismatches.get() == MISMATCHES_MAX {
        return Err(why);
    }
    cluster.parts().redundancy.ask_survey();
    Ok(false)
}

/// The node counts the chunks that lack shards while disks are away.
async fn check_count(cluster: &Cluster, shared: &Shared) {
    let mismatches = Cell::new(0);
    let is_counted = async || {
        let Some(found) = cluster.parts().redundancy.surveyed() else {
            return Ok(false);
        };
        let survey = found.survey;
        if survey.below_target > 0 {
            shared.count("survey with chunks below target");
        }
        compare(cluster, &survey, &mismatches).await
    };
    let counted = wait_until(WHOLE_WITHIN, is_counted).await;
    shared.note("redundancy", counted);
}

fn log_is_whole(cluster: &Cluster) -> bool {
    let status = &cluster.parts().status;
    let mirrors = status.group().map_or(0, |group| group.mirrors());
    mirrors == status.log_mirrors_expected() as u64
}

async fn check_space(cluster: &Cluster, shared: &Shared, within: Duration) {
    let dropped = objects::abort_all(cluster).await;
    shared.note(
        "space",
        dropped.map_err(|error| format!("uploads could not be dropped: {error}")),
    );
    shared.lock().uploads.clear();
    let end = reactor::now() + within;
    let mut has_met = false;
    loop {
        match space::garbage(cluster).await {
            Ok(None) => break,
            Ok(Some(what)) if reactor::now() > end => {
                shared.note("space", Err(what));
                break;
            }
            Ok(Some(_)) => has_met = true,
            Err(error) => {
                shared.note("space", Err(error.to_string()));
                break;
            }
        }
        reactor::sleep(Duration::from_secs(20)).await;
    }
    if has_met {
        shared.count("orphans collected");
    }
}

/// Every listing, in pages of different lengths.
fn list_everything(client: &Client) {
    for (prefix, delimiter, limit) in [
        ("", "", 3),
        ("", "/", 2),
        ("a", "/", 1),
        ("dir/", "", 4),
        ("", "", 1000),
    ] {
        let mut query = ListQuery {
            prefix: prefix.into(),
            delimiter: delimiter.into(),
            start_after: Vec::new(),
            limit,
        };
        while let Some(next) = list_and_check(client, &query) {
            if client.shared.has_failed() {
                return;
            }
            query.start_after = next;
        }
    }
}
