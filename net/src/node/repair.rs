//! Repair and scrub: chunks of which shards are not where they belong get them back, the most endangered first.
//!
//! Every reactor walks its share of the bodies that the namespace names: at the start, when devices come or go, when somebody asks,
//! and once in a while. The first walk only counts; the next ones write shards anew; the last one finds nothing more to do,
//! which is the proof. What was written in another scheme than the layout's, because devices were away or the layout was another, is
//! then written anew in that one. A scrub walks in the same way and reads every shard besides.
//!
//! Invariants: a shard is written anew only for a body that was needed after its inode was pinned; a chunk counts as whole only when
//! the stores said so in the walk that is reported; a walk that failed reports nothing; repair remembers nothing over a restart,
//! because what is missing is found again, and a scrub where it was, because it takes long.

mod scrub_record;
mod survey;
mod walk;

use std::time::Duration;

use strata_engine::reactor::{self, Instant, TaskClass};
use strata_raftlog::namespace::BodyPosition;

use super::reclaim::may_free;
use crate::cluster::Cluster;
use crate::error::ClusterError;
use crate::message::Place;
use scrub_record::{RecordFile, ScrubRecord};
use survey::Kind;
pub use survey::{Progress, Redundancy, Survey, Surveyed};
pub(crate) use walk::ShareOf;
use walk::{Mode, Walk};

/// How long after the start the first walk begins, so that it does not compete with the first requests.
const FIRST_WALK_AFTER: Duration = Duration::from_secs(10);

/// How often everything is looked over when nothing seems to have changed.
const PERIOD: Duration = Duration::from_secs(3600);

/// When a walk is tried again that could not be ended, or left undone what could be done.
const RETRY_AFTER: Duration = Duration::from_secs(30);

/// How often it is looked whether there is cause for a walk.
const LOOK_EVERY: Duration = Duration::from_secs(1);

/// How often it is written down how far a scrub is, from its beginning on.
const RECORD_EVERY: Duration = Duration::from_secs(60);

/// How long a scrub of everything may have been ago before the next begins.
const SCRUB_PERIOD: Duration = Duration::from_secs(14 * 24 * 3600);

/// Starts repair and scrub on this reactor.
pub(super) fn spawn(cluster: &Cluster) -> [reactor::Task<()>; 2] {
    let (repairing, scrubbing) = (cluster.clone(), cluster.clone());
    [
        reactor::spawn(TaskClass::Background, repair_for_ever(repairing)),
        reactor::spawn(TaskClass::Background, scrub_for_ever(scrubbing)),
    ]
}

async fn repair_for_ever(cluster: Cluster) {
    let redundancy = cluster.parts().redundancy.clone();
    reactor::sleep(FIRST_WALK_AFTER).await;
    loop {
        let (asked, writable) = (redundancy.surveys_asked(), writable_places(&cluster));
        let pause = match repair(&cluster, own_share(&cluster)).await {
            Ok(survey) => {
                let pause = if survey.repairable == 0 && survey.unconverted == 0 {
                    PERIOD
                } else {
                    RETRY_AFTER
                };
                redundancy.report(reactor::index(), Kind::Survey, asked, survey);
                pause
            }
            Err(error) => {
                tracing::warn!(%error, "the walk that looks for missing shards stopped; it begins again");
                RETRY_AFTER
            }
        };
        let until = reactor::now() + pause;
        let has_changed = || writable_places(&cluster) != writable;
        wait(until, || {
            redundancy.surveys_asked() != asked || has_changed()
        })
        .await;
        if has_changed() {
            // What was found before is no longer so.
            redundancy.ask_survey();
        }
    }
}

fn own_share(cluster: &Cluster) -> ShareOf {
    ShareOf {
        index: reactor::index(),
        count: cluster.parts().peers.len(),
    }
}

/// Walks over a share of all bodies until nothing is left that can be done now; returns what the last walk found.
pub(crate) async fn repair(cluster: &Cluster, share: ShareOf) -> Result<Survey, ClusterError> {
    let walk = Walk::new(cluster, share);
    let mut survey = walk.run(Mode::Survey).await?;
    while let Some(losses_left) = survey.most_endangered() {
        let after = walk.run(Mode::Repair { losses_left }).await?;
        let has_helped = after.repairable < survey.repairable;
        survey = after;
        if !has_helped {
            tracing::warn!(
                chunks = survey.repairable,
                "chunks lack shards that could not be written anew; trying again"
            );
            break;
        }
    }
    if survey.written_otherwise > 0 && cluster.may_write_again() && may_free(cluster)? {
        survey = walk.run(Mode::Convert).await?;
        tracing::info!(
            left = survey.written_otherwise,
            "chunks of other schemes were written in that of the layout"
        );
    }
    Ok(survey)
}

async fn scrub_for_ever(cluster: Cluster) {
    let redundancy = cluster.parts().redundancy.clone();
    let file = RecordFile::new(&cluster.parts().metadata_dir, own_share(&cluster).count);
    let mut record = file.read().await.unwrap_or_else(|| ScrubRecord {
        since_nanos: reactor::wall_clock().nanoseconds(),
        ..ScrubRecord::default()
    });
    if let Some(last) = record.last.clone() {
        redundancy.restore_scrub(reactor::index(), last);
    }
    file.write(&record).await;
    // What was asked for before this reactor was ready counts.
    let mut asked = 0;
    loop {
        if record.under_way.is_none() {
            wait(reactor::now() + left_of_period(&record), || {
                redundancy.scrubs_asked() != asked
            })
            .await;
            asked = redundancy.scrubs_asked();
        }
        let scrubbed = scrub(&cluster, own_share(&cluster), &file, &mut record).await;
        match scrubbed {
            Ok(survey) => {
                let found = redundancy.report(reactor::index(), Kind::Scrub, asked, survey);
                record = ScrubRecord {
                    since_nanos: found.ended_nanos,
                    under_way: None,
                    last: Some(found),
                };
                file.write(&record).await;
            }
            Err(error) => {
                tracing::warn!(%error, "the scrub stopped; it goes on where it was");
                reactor::sleep(RETRY_AFTER).await;
            }
        }
    }
}

/// How long it is until a scrub is due by itself. A wall clock that went back does not put it off for longer than a period.
fn left_of_period(record: &ScrubRecord) -> Duration {
    let now = reactor::wall_clock().nanoseconds();
    let gone = now.saturating_sub(record.since_nanos);
    let gone = Duration::from_nanos(u64::try_from(gone).unwrap_or(0));
    SCRUB_PERIOD.saturating_sub(gone)
}

/// Reads every shard of a share of all bodies, and writes anew what is damaged or missing; from where the record says on, which is kept
/// up to date.
async fn scrub(
    cluster: &Cluster,
    share: ShareOf,
    file: &RecordFile,
    record: &mut ScrubRecord,
) -> Result<Survey, ClusterError> {
    let walk = Walk::new(cluster, share);
    let (mut from, mut survey) = match record.under_way.take() {
        Some((at, survey)) => (Some(at), survey),
        None => (Some(BodyPosition::default()), Survey::default()),
    };
    let mut due = reactor::now();
    while let Some(at) = from {
        record.under_way = Some((at, survey.clone()));
        if reactor::now() >= due {
            file.write(record).await;
            due = reactor::now() + RECORD_EVERY;
        }
        from = walk.step(Mode::Scrub, at, &mut survey).await?;
    }
    Ok(survey)
}

/// The walk that writes chunks of other schemes again, whether or not there is place for that.
#[cfg(test)]
pub(crate) async fn convert_all(cluster: &Cluster, share: ShareOf) -> Result<Survey, ClusterError> {
    Walk::new(cluster, share).run(Mode::Convert).await
}

/// A scrub that goes on where one was, or begins.
#[cfg(test)]
pub(crate) async fn scrub_from(
    cluster: &Cluster,
    under_way: Option<(BodyPosition, Survey)>,
    share: ShareOf,
) -> Result<Survey, ClusterError> {
    let file = RecordFile::new(&cluster.parts().metadata_dir, share.count);
    let mut record = ScrubRecord {
        under_way,
        ..ScrubRecord::default()
    };
    scrub(cluster, share, &file, &mut record).await
}

/// Waits until there is cause, at the latest until `end`.
async fn wait(end: Instant, is_cause: impl Fn() -> bool) {
    while reactor::now() < end && !is_cause() {
        reactor::sleep(LOOK_EVERY).await;
    }
}

/// The places that take shards, full ones among them.
fn writable_places(cluster: &Cluster) -> Vec<Place> {
    cluster.parts().writable_places()
}
