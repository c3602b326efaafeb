//! What a proposal costs, and what it is answered: twice, when too many wait, and when the group has failed.

use std::path::Path;
use std::time::Duration;

use strata_engine::reactor::{self, Simulation};
use strata_raftlog::consensus::group::{Group, GroupConfig, ProposeError};
use strata_raftlog::namespace::command::{Answer, LeaseInodes, Noop, Proposer, RaiseFeatureLevel};
use strata_raftlog::namespace::{INLINE_BYTES_MAX, LogEntry, LogPosition};

use crate::support::{Acknowledged, Client, config, format, live, new_place, simulate, start};

const MIRRORS: u64 = 2;

/// How often the work makes a group flush its mirrors.
async fn flushes(simulation: &Simulation, work: impl AsyncFnOnce()) -> u64 {
    // What is done in advance comes to its end before.
    reactor::sleep(Duration::from_secs(1)).await;
    let before = simulation.counters().syncs;
    work().await;
    simulation.counters().syncs - before
}

/// A client of a new group on two mirrors.
fn on_two_mirrors(simulation: &Simulation, work: impl AsyncFnOnce(&mut Client)) {
    let metadata = new_place();
    simulate(simulation, async || {
        let paths = format(Path::new("/devices"), MIRRORS as u8).await;
        live(&paths, &metadata, config(2), async |group, _| {
            work(&mut Client::new(group, &Acknowledged::default()).await).await;
        })
        .await;
    });
}

#[test]
fn a_put_costs_one_flush() {
    let simulation = Simulation::new(1);
    on_two_mirrors(&simulation, async |client| {
        for bytes in [100, INLINE_BYTES_MAX] {
            let flushes = flushes(&simulation, async || {
                for number in 0..20 {
                    client
                        .put(&format!("key{number}"), bytes)
                        .await
                        .expect("put");
                }
            });
            assert_eq!(flushes.await, 20 * MIRRORS, "{bytes} bytes");
        }
    });
}

#[test]
fn puts_at_once_share_flushes() {
    let simulation = Simulation::new(2);
    on_two_mirrors(&simulation, async |client| {
        let keys: Vec<String> = (0..256).map(|number| format!("key{number}")).collect();
        let flushes = flushes(&simulation, async || {
            assert_eq!(client.put_all(&keys, 100).await, 256);
        });
        let flushes = flushes.await;
        assert!(flushes <= 32 * MIRRORS, "{flushes} flushes for 256 puts");
    });
}

#[test]
fn a_repeated_proposal_gets_its_first_answer() {
    let simulation = Simulation::new(3);
    let (paths, proposer, first) = simulate(&simulation, async || {
        let metadata = new_place();
        let paths = format(Path::new("/devices"), 1).await;
        let (group, _) = start(&paths, &metadata, config(1)).await.expect("a start");
        let mut client = Client::new(&group, &Acknowledged::default()).await;
        let proposer = client.next();
        let lease = || LeaseInodes { count: 10 };
        let first = group.propose(lease(), proposer).await.expect("an answer");
        let again = group.propose(lease(), proposer).await.expect("an answer");
        assert_eq!(first, again);
        (paths, proposer, first)
    });
    simulation.power_cut();
    simulate(&simulation, async || {
        let other = new_place();
        live(&paths, &other, config(1), async |group, _| {
            let again = group.propose(LeaseInodes { count: 10 }, proposer).await;
            assert_eq!(again.expect("an answer"), first);
        })
        .await;
    });
}

async fn noop(group: &Group) -> Result<Answer, ProposeError> {
    group
        .propose(Noop { reserved: 0 }, Proposer::SESSIONLESS)
        .await
}

#[test]
fn too_many_proposals_are_pushed_back() {
    let metadata = new_place();
    simulate(&Simulation::new(4), async || {
        let paths = format(Path::new("/devices"), 1).await;
        let settings = GroupConfig {
            outstanding_max: 4,
            ..config(1)
        };
        live(&paths, &metadata, settings, async |group, _| {
            let tries = (0..8).map(|_| noop(group));
            let answers = futures_util::future::join_all(tries).await;
            let refused = |answer: &&_| **answer == Err(ProposeError::Busy);
            assert_eq!(answers.iter().filter(refused).count(), 4);
        })
        .await;
    });
}

#[test]
fn a_level_that_is_not_followed_here_is_refused_before_it_is_appended() {
    let simulation = Simulation::new(6);
    on_two_mirrors(&simulation, async |client| {
        let flushes = flushes(&simulation, async || {
            let raised = client.propose(RaiseFeatureLevel { level: 2 }).await;
            let Err(ProposeError::Invalid(why)) = raised else {
                panic!("{raised:?}")
            };
            assert!(why.contains("follows up to 1"), "{why}");
        });
        assert_eq!(flushes.await, 0, "nothing was appended");
        client.put("later", 10).await.expect("the group goes on");
    });
}

#[test]
fn a_failing_state_machine_stops_the_group_and_says_why() {
    let metadata = new_place();
    simulate(&Simulation::new(5), async || {
        let paths = format(Path::new("/devices"), 1).await;
        let (group, store) = start(&paths, &metadata, config(1)).await.expect("a start");
        // No namespace store accepts an entry that follows none: what was applied is taken back.
        let position = LogPosition {
            term: 99,
            node: 1,
            index: u64::MAX,
        };
        store
            .apply(&[(position, LogEntry::Blank)])
            .expect("applied");
        let first = noop(&group).await;
        let Err(ProposeError::Unavailable(cause)) = first else {
            panic!("{first:?}")
        };
        assert!(cause.contains("is applied after"), "{cause}");
        let later = noop(&group).await;
        assert_eq!(later, Err(ProposeError::Unavailable(cause)));
    });
}
