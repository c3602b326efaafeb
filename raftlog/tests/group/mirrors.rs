//! Damaged, missing and stale mirrors, in the simulated world.

use std::path::{Path, PathBuf};
use std::time::Duration;

use strata_engine::reactor::{self, Simulation};
use strata_raftlog::consensus::group::{GroupError, ProposeError};
use strata_raftlog::consensus::log::LogError;
use strata_raftlog::namespace::command::{Noop, Proposer};

use crate::support::{
    Acknowledged, Client, check, config, format, keys, live, new_place, simulate, start,
};

/// A simulation with formatted devices on which a group has written some objects.
fn written(devices: u8, mirrors: usize, acknowledged: &Acknowledged) -> (Simulation, Vec<PathBuf>) {
    let simulation = Simulation::new(7);
    let paths = simulate(&simulation, async || {
        let paths = format(Path::new("/devices"), devices).await;
        put_some(&paths, mirrors, acknowledged, 50).await;
        paths
    });
    (simulation, paths)
}

async fn put_some(paths: &[PathBuf], mirrors: usize, acknowledged: &Acknowledged, count: usize) {
    let metadata = new_place();
    let life = live(paths, &metadata, config(mirrors), async |group, store| {
        check(store, acknowledged, "before putting");
        let mut client = Client::new(group, acknowledged).await;
        let already = acknowledged.borrow().len();
        for number in already..already + count {
            let put = client.put(&format!("key{number}"), 3000).await;
            put.expect("put");
        }
    });
    life.await;
}

/// Starts with fresh metadata and gives the remarks about the mirrors.
async fn restart(
    paths: &[PathBuf],
    mirrors: usize,
    acknowledged: &Acknowledged,
) -> Result<Vec<String>, GroupError> {
    let metadata = new_place();
    let (group, store) = start(paths, &metadata, config(mirrors)).await?;
    check(&store, acknowledged, "after a restart");
    let remarks = group.report.remarks.clone();
    group.stop().await.expect("a stop");
    Ok(remarks)
}

fn expect_remark(remarks: &[String], words: &str) {
    let found = remarks.iter().any(|remark| remark.contains(words));
    assert!(found, "no {words:?} in {remarks:?}");
}

/// Overwrites a part of the log, whose segments begin at 1 MiB: somewhere among its records.
fn damage_log(simulation: &Simulation, path: &Path) {
    let offset = (1 << 20) + 64 * 1024 + 100;
    let damaged = simulation.overwrite(path, offset, &[0xff; 512]);
    damaged.expect("a device");
}

#[test]
fn a_mirror_that_was_damaged_is_rebuilt_from_the_other() {
    let acknowledged = Acknowledged::default();
    let (simulation, paths) = written(2, 2, &acknowledged);
    damage_log(&simulation, &paths[0]);
    simulate(&simulation, async || {
        let remarks = restart(&paths, 2, &acknowledged).await.expect("a start");
        expect_remark(&remarks, "was corrupt");
        // It is whole again: alone it will do.
        let remarks = restart(&paths[..1], 2, &acknowledged)
            .await
            .expect("a start on the repaired mirror");
        assert!(
            remarks.iter().all(|remark| remark.contains("missing")),
            "{remarks:?}"
        );
    });
}

#[test]
fn damage_on_the_only_mirror_is_refused_and_named() {
    let acknowledged = Acknowledged::default();
    let (simulation, paths) = written(1, 1, &acknowledged);
    damage_log(&simulation, &paths[0]);
    simulate(&simulation, async || {
        let refused = restart(&paths, 1, &acknowledged).await;
        let Err(GroupError::Log(LogError::Corrupt(detail))) = refused else {
            panic!("{refused:?}")
        };
        assert!(detail.contains("position"), "{detail}");
    });
}

#[test]
fn a_stale_mirror_is_refused_when_another_device_knows_better() {
    let acknowledged = Acknowledged::default();
    let (simulation, paths) = written(3, 2, &acknowledged);
    simulate(&simulation, async || {
        // One mirror is away, and no device is there to take its place but a witness: two of three.
        put_some(&paths[1..], 1, &acknowledged, 10).await;
        // Now the mirror that went on is away. The witness knows of its generation.
        let refused = restart(&[paths[0].clone(), paths[2].clone()], 2, &acknowledged).await;
        let Err(GroupError::Log(LogError::Stale(detail))) = refused else {
            panic!("{refused:?}")
        };
        assert!(detail.contains("knows generation"), "{detail}");
        // With all of them, the stale one is rebuilt.
        let remarks = restart(&paths, 2, &acknowledged).await.expect("a start");
        expect_remark(&remarks, "was rebuilt");
    });
}

#[test]
fn a_flush_that_fails_costs_a_mirror_and_no_object() {
    let acknowledged = Acknowledged::default();
    let (simulation, paths) = written(2, 2, &acknowledged);
    simulate(&simulation, async || {
        let metadata = new_place();
        let life = live(&paths, &metadata, config(2), async |group, _| {
            let mut client = Client::new(group, &acknowledged).await;
            simulation.fail_sync(1);
            for number in 0..10 {
                let put = client.put(&format!("after{number}"), 100).await;
                put.expect("put on one mirror");
            }
        });
        life.await;
        let remarks = restart(&paths, 2, &acknowledged).await.expect("a start");
        expect_remark(&remarks, "was rebuilt");
    });
}

#[test]
fn a_mirror_that_does_not_answer_is_left_out_and_holds_up_no_stop() {
    let acknowledged = Acknowledged::default();
    let (simulation, paths) = written(3, 3, &acknowledged);
    simulate(&simulation, async || {
        let metadata = new_place();
        let life = live(&paths, &metadata, config(3), async |group, _| {
            let mut client = Client::new(group, &acknowledged).await;
            simulation.hang(&paths[0]);
            let begun = reactor::now();
            let put = client.put("meanwhile", 100).await;
            put.expect("put on the others in the end");
            assert!(begun.elapsed() < Duration::from_secs(35));
            reactor::sleep(Duration::from_secs(1)).await;
            assert_eq!(group.statistics().mirrors(), 2);
            let begun = reactor::now();
            client.put("at once", 100).await.expect("put");
            assert!(begun.elapsed() < Duration::from_secs(1));
            reactor::now()
        });
        let stopping = life.await;
        assert!(stopping.elapsed() < Duration::from_secs(5));
        // What it missed does not make it the better one.
        simulation.answer(&paths[0]);
        let remarks = restart(&paths, 3, &acknowledged).await.expect("a start");
        expect_remark(&remarks, "was rebuilt");
    });
}

/// A copy of one of two devices as it is now, with an empty one in the place of the other.
async fn beside_a_new_one(paths: &[PathBuf], kept: usize) -> Vec<PathBuf> {
    let others = format(Path::new("/others"), 2).await;
    let bytes = reactor::fs::read_small_file(&paths[kept]).await;
    let bytes = bytes.expect("a device");
    let copied = reactor::fs::write_small_file(&others[kept], &bytes, 0o600, true).await;
    copied.expect("a copy");
    others
}

/// Loses both mirrors of a new group, one after the other, with an object put before and one between. Says which was first.
async fn lose_both(simulation: &Simulation, paths: &[PathBuf]) -> usize {
    let metadata = new_place();
    let started = start(paths, &metadata, config(2)).await;
    let (group, _) = started.expect("a start");
    let mut client = Client::new(&group, &Acknowledged::default()).await;
    client.put("before", 10).await.expect("put on both");
    // What is done in advance comes to its end: the next write is the log's.
    reactor::sleep(Duration::from_secs(1)).await;
    simulation.fail_write(1);
    client.put("after", 10).await.expect("put on one");
    simulation.fail_write(1);
    let noop = Noop { reserved: 0 };
    let lost = group.propose(noop, Proposer::SESSIONLESS).await;
    let Err(ProposeError::Unavailable(cause)) = lost else {
        panic!("{lost:?}")
    };
    assert!(cause.contains("last mirror failed"), "{cause}");
    let named = |path: &PathBuf| cause.contains(&path.display().to_string());
    paths.iter().position(|path| !named(path)).expect("one")
}

#[test]
fn losing_one_mirror_is_survived_and_losing_both_stops_the_group() {
    let simulation = Simulation::new(8);
    let (paths, first) = simulate(&simulation, async || {
        let paths = format(Path::new("/devices"), 2).await;
        let first = lose_both(&simulation, &paths).await;
        (paths, first)
    });
    simulation.power_cut();
    simulate(&simulation, async || {
        // The mirror that was lost first knows nothing of `after`; alone, nobody can tell that it is stale.
        let metadata = new_place();
        let stale = beside_a_new_one(&paths, first).await;
        live(&stale, &metadata, config(2), async |_, store| {
            assert_eq!(keys(store), ["before"]);
        })
        .await;
        // It must not be believed where the other one is there.
        let metadata = new_place();
        live(&paths, &metadata, config(2), async |group, store| {
            assert_eq!(keys(store), ["after", "before"]);
            expect_remark(&group.report.remarks, "rebuilt");
            assert_eq!(group.statistics().mirrors(), 2);
        })
        .await;
    });
}
