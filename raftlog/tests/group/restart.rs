//! On files of this machine.

use std::path::{Path, PathBuf};
use std::time::Duration;

use strata_engine::reactor::{self, Simulation, World};
use strata_raftlog::group::GroupConfig;

use crate::support::{Acknowledged, Client, check, config, format, keys, run, start};

fn directory() -> tempfile::TempDir {
    tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).expect("a directory on a disk")
}

#[test]
fn everything_is_there_after_a_restart() {
    let (devices, metadata) = (directory(), directory());
    let acknowledged = Acknowledged::default();
    let (paths, lives): (Vec<PathBuf>, usize) = run(World::Real, async || {
        let paths = format(devices.path(), 2).await;
        (paths, 4)
    })
    .expect("a reactor");
    for life in 0..lives {
        run(World::Real, async || {
            let (group, store) = start(&paths, metadata.path(), config(2))
                .await
                .expect("a start");
            check(&store, &acknowledged, &format!("life {life}"));
            let mut client = Client::new(group.clone(), acknowledged.clone())
                .await
                .expect("a client");
            for number in 0..100 {
                client
                    .put(&format!("life{life}/{number}"), 1000)
                    .await
                    .expect("put");
            }
            assert_eq!(group.statistics().term(), life as u64 + 1);
            // Every other life ends without a farewell.
            if life % 2 == 0 {
                drop(client);
                group.stop().await.expect("a stop");
            }
        })
        .expect("a reactor");
    }
    run(World::Real, async || {
        let (group, store) = start(&paths, metadata.path(), config(2))
            .await
            .expect("a start");
        assert_eq!(keys(&store).len(), 400);
        assert_eq!(group.log_report().remarks, Vec::<String>::new());
        group.stop().await.expect("a stop");
    })
    .expect("a reactor");
}

#[test]
fn a_small_log_is_shortened_by_snapshots_and_outlives_the_metadata() {
    let (devices, metadata, other) = (directory(), directory(), directory());
    let acknowledged = Acknowledged::default();
    run(World::Real, async || {
        let paths = format(devices.path(), 2).await;
        let settings = GroupConfig {
            checkpoint_interval: Duration::from_millis(50),
            ..config(2)
        };
        let (group, _) = start(&paths, metadata.path(), settings)
            .await
            .expect("a start");
        let mut client = Client::new(group.clone(), acknowledged.clone())
            .await
            .expect("a client");
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
        drop(client);
        group.stop().await.expect("a stop");
        let (group, store) = start(&paths, other.path(), config(2))
            .await
            .expect("a start without metadata");
        assert_eq!(keys(&store).len(), 100);
        group.stop().await.expect("a stop");
    })
    .expect("a reactor");
}

#[test]
fn a_node_that_starts_again_and_again_keeps_room_in_its_log() {
    let acknowledged = Acknowledged::default();
    let simulation = Simulation::new(3);
    let world = World::Simulated(simulation.clone());
    let paths = run(world, async || format(Path::new("/devices"), 2).await).expect("formatted");
    // Every start begins a new one of eight segments.
    for life in 0..40 {
        let world = World::Simulated(simulation.clone());
        run(world, async || {
            let metadata = tempfile::tempdir().expect("a directory");
            let started = start(&paths, metadata.path(), config(2)).await;
            let (group, store) = started.unwrap_or_else(|error| panic!("life {life}: {error}"));
            check(&store, &acknowledged, &format!("life {life}"));
            let mut client = Client::new(group, acknowledged.clone())
                .await
                .expect("a client");
            client.put(&format!("life{life}"), 100).await.expect("put");
        })
        .expect("a run");
    }
}
