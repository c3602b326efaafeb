//! Restarts: with the metadata directory and without, on files of this machine and in the simulated world.

use std::os::unix::fs::FileExt;
use std::path::Path;
use std::time::Duration;

use strata_engine::reactor::{self, Simulation, World};
use strata_raftlog::consensus::group::{GroupConfig, ProposeError};

use crate::support::{
    Acknowledged, Client, check, config, directory, format, format_with, journal_of, keys, live,
    new_place, records, run, simulate, start,
};

#[test]
fn everything_is_there_after_a_restart() {
    let (devices, metadata) = (directory(), directory());
    let acknowledged = Acknowledged::default();
    let paths = run(World::Real, async || format(devices.path(), 2).await).expect("formatted");
    for life in 0..4 {
        run(World::Real, async || {
            let started = start(&paths, metadata.path(), config(2)).await;
            let (group, store) = started.expect("a start");
            check(&store, &acknowledged, &format!("life {life}"));
            let mut client = Client::new(&group, &acknowledged).await;
            for number in 0..100 {
                let put = client.put(&format!("life{life}/{number}"), 1000).await;
                put.expect("put");
            }
            assert_eq!(group.statistics().term(), life + 1);
            // Every other life ends without a farewell.
            if life % 2 == 0 {
                drop(client);
                group.stop().await.expect("a stop");
            }
        })
        .expect("a reactor");
    }
    run(World::Real, async || {
        let last = live(&paths, metadata.path(), config(2), async |group, store| {
            assert_eq!(keys(store).len(), 400);
            assert_eq!(group.report.remarks, Vec::<String>::new());
        });
        last.await;
    })
    .expect("a reactor");
}

/// Damage that shows while the group runs: nothing is written on top of it, and the next start rebuilds the namespace.
#[test]
fn a_row_that_is_damaged_while_the_group_runs_is_rebuilt_by_the_next_start() {
    let (devices, metadata) = (directory(), directory());
    let acknowledged = Acknowledged::default();
    run(World::Real, async || {
        let paths = format(devices.path(), 2).await;
        live(&paths, metadata.path(), config(2), async |group, store| {
            let mut client = Client::new(group, &acknowledged).await;
            put_numbered(&mut client, 20, 3_000).await;
            flip_bodies(&metadata.path().join("data.mdb"));
            let mut snapshot = store.snapshot().expect("a reader");
            let damage = std::iter::from_fn(|| snapshot.next_piece().transpose())
                .find_map(Result::err)
                .expect("a damaged row");
            assert!(damage.is_damage(), "{damage}");
            store.doubt(&damage);
            while !group.statistics().needs_rebuild() {
                reactor::sleep(Duration::from_millis(10)).await;
            }
            let refused = client.put("another", 10).await;
            assert!(
                matches!(refused, Err(ProposeError::Unavailable(_))),
                "{refused:?}"
            );
        })
        .await;
        live(&paths, metadata.path(), config(2), async |_, store| {
            check(store, &acknowledged, "after the rebuild");
            let view = store.view().expect("a view");
            for key in acknowledged.borrow().iter() {
                let object = view.object("b", key.as_bytes()).expect("a look");
                let pieces = view.body(&object.expect("an object"), 0..3_000, 9);
                assert!(pieces.is_ok(), "{key}");
            }
        })
        .await;
    })
    .expect("a reactor");
}

/// Flips a bit in every long run of the bytes that the bodies consist of.
fn flip_bodies(path: &Path) {
    let bytes = std::fs::read(path).expect("the data file");
    let file = std::fs::File::options().write(true).open(path);
    let file = file.expect("the data file");
    let mut at = 0;
    while let Some(found) = bytes[at..].windows(500).position(|run| run == [b'x'; 500]) {
        at += found + 500;
        file.write_all_at(b"y", at as u64 - 1).expect("written");
    }
}

#[test]
fn a_small_log_is_shortened_by_snapshots_and_outlives_the_metadata() {
    let (devices, metadata, other) = (directory(), directory(), directory());
    run(World::Real, async || {
        let paths = format(devices.path(), 2).await;
        let settings = GroupConfig {
            checkpoint_interval: Duration::from_millis(50),
            ..config(2)
        };
        live(&paths, metadata.path(), settings, async |group, _| {
            let mut client = Client::new(group, &Acknowledged::default()).await;
            // Eight segments of 4 MiB, and 64 MiB of puts.
            for number in 0..8000 {
                let key = format!("key{}", number % 100);
                let mut tries = 0;
                while client.put(&key, 8000).await.is_err() {
                    tries += 1;
                    assert!(tries < 100, "the log never gets room again");
                    reactor::sleep(Duration::from_millis(50)).await;
                }
            }
            let statistics = group.statistics();
            assert!(
                statistics.snapshot() > 0 && statistics.purged() > 0,
                "{statistics:?}"
            );
        })
        .await;
        live(&paths, other.path(), config(2), async |_, store| {
            assert_eq!(keys(store).len(), 100);
        })
        .await;
    })
    .expect("a reactor");
}

#[test]
fn a_node_that_starts_again_and_again_keeps_room_in_its_log() {
    let acknowledged = Acknowledged::default();
    let simulation = Simulation::new(3);
    let paths = simulate(&simulation, async || format(Path::new("/devices"), 2).await);
    // Every start begins a new one of eight segments.
    for life in 0..40 {
        simulate(&simulation, async || {
            let metadata = new_place();
            let started = start(&paths, &metadata, config(2)).await;
            let (group, store) = started.unwrap_or_else(|error| panic!("life {life}: {error}"));
            check(&store, &acknowledged, &format!("life {life}"));
            let mut client = Client::new(&group, &acknowledged).await;
            client.put(&format!("life{life}"), 100).await.expect("put");
        });
    }
}

async fn put_numbered(client: &mut Client, count: usize, size: usize) {
    for number in 0..count {
        let put = client.put(&format!("key{number}"), size).await;
        put.expect("put");
    }
}

#[test]
fn a_restart_finds_everything() {
    let metadata = new_place();
    simulate(&Simulation::new(4), async || {
        let paths = format(Path::new("/devices"), 2).await;
        live(&paths, &metadata, config(2), async |group, _| {
            assert!(group.statistics().is_leader());
            let mut client = Client::new(group, &Acknowledged::default()).await;
            put_numbered(&mut client, 50, 100).await;
        })
        .await;
        live(&paths, &metadata, config(2), async |group, store| {
            assert_eq!(keys(store).len(), 50);
            assert_eq!(group.statistics().term(), 2);
        })
        .await;
    });
}

#[test]
fn without_the_metadata_directory_the_log_gives_everything_back() {
    let simulation = Simulation::new(5);
    let paths = simulate(&simulation, async || {
        let metadata = new_place();
        let paths = format(Path::new("/devices"), 2).await;
        let started = start(&paths, &metadata, config(2)).await;
        let (group, _) = started.expect("a start");
        let mut client = Client::new(&group, &Acknowledged::default()).await;
        put_numbered(&mut client, 300, 1000).await;
        paths
    });
    simulation.power_cut();
    simulate(&simulation, async || {
        let other = new_place();
        live(&paths, &other, config(2), async |_, store| {
            assert_eq!(keys(store).len(), 300);
        })
        .await;
    });
}

#[test]
fn a_snapshot_shortens_the_log_and_replaces_the_metadata_directory() {
    // So short that the log gives back some of them.
    const SEGMENT_BYTES: u64 = 512 << 10;
    let simulation = Simulation::new(6);
    let settings = GroupConfig {
        checkpoint_interval: Duration::from_millis(10),
        snapshot_log_bytes: 300_000,
        ..config(2)
    };
    let paths = simulate(&simulation, async || {
        let metadata = new_place();
        let paths = format_with(Path::new("/devices"), 2, SEGMENT_BYTES).await;
        let started = start(&paths, &metadata, settings).await;
        let (group, _) = started.expect("a start");
        let mut client = Client::new(&group, &Acknowledged::default()).await;
        for _ in 0..10 {
            put_numbered(&mut client, 40, 4000).await;
            reactor::sleep(Duration::from_millis(160)).await;
        }
        let statistics = group.statistics();
        assert!(statistics.snapshot() > 0, "{statistics:?}");
        assert!(statistics.purged() > 0 && statistics.purged() <= statistics.snapshot());
        assert!(statistics.purged() <= statistics.checkpoint());
        paths
    });
    simulation.power_cut();
    simulate(&simulation, async || {
        let held = records(&journal_of(&paths[0]).await).await.len();
        assert!(held < 400, "{held} records are held");
        // The metadata directory and one of the mirrors are gone.
        let other = new_place();
        let new = format_with(Path::new("/others"), 2, SEGMENT_BYTES).await;
        let left = [new[0].clone(), paths[1].clone()];
        live(&left, &other, config(2), async |group, store| {
            assert_eq!(keys(store).len(), 40);
            let remarks = &group.report.remarks;
            assert!(remarks.iter().any(|remark| remark.contains("rebuilt")));
        })
        .await;
        assert!(!records(&journal_of(&left[0]).await).await.is_empty());
    });
}
