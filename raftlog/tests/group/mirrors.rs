//! Damaged, missing and stale mirrors, in the simulated world.

use std::path::{Path, PathBuf};

use strata_engine::reactor::{Simulation, World};
use strata_raftlog::group::GroupError;
use strata_raftlog::log::LogError;

use crate::support::{Acknowledged, Client, check, config, format, run, start};

/// A simulation with formatted devices on which a group has written some objects.
fn written(devices: u8, mirrors: usize, acknowledged: &Acknowledged) -> (Simulation, Vec<PathBuf>) {
    let simulation = Simulation::new(7);
    let paths = run(World::Simulated(simulation.clone()), async || {
        let paths = format(Path::new("/devices"), devices).await;
        put_some(&paths, mirrors, acknowledged, 50).await;
        paths
    });
    (simulation, paths.expect("a run"))
}

async fn put_some(paths: &[PathBuf], mirrors: usize, acknowledged: &Acknowledged, count: usize) {
    let metadata = tempfile::tempdir().expect("a directory");
    let (group, store) = start(paths, metadata.path(), config(mirrors))
        .await
        .expect("a start");
    check(&store, acknowledged, "before putting");
    let mut client = Client::new(group.clone(), acknowledged.clone())
        .await
        .expect("a client");
    let already = acknowledged.borrow().len();
    for number in already..already + count {
        client
            .put(&format!("key{number}"), 3000)
            .await
            .expect("put");
    }
    drop(client);
    group.stop().await.expect("a stop");
}

/// Starts with fresh metadata and gives the remarks about the mirrors.
async fn restart(
    paths: &[PathBuf],
    mirrors: usize,
    acknowledged: &Acknowledged,
) -> Result<Vec<String>, GroupError> {
    let metadata = tempfile::tempdir().expect("a directory");
    let (group, store) = start(paths, metadata.path(), config(mirrors)).await?;
    check(&store, acknowledged, "after a restart");
    let remarks = group.log_report().remarks.clone();
    group.stop().await.expect("a stop");
    Ok(remarks)
}

#[test]
fn a_mirror_that_was_damaged_is_rebuilt_from_the_other() {
    let acknowledged = Acknowledged::default();
    let (simulation, paths) = written(2, 2, &acknowledged);
    // The log partition owns the first segments, which begin at 1 MiB: somewhere among its records.
    simulation
        .overwrite(&paths[0], (1 << 20) + 64 * 1024 + 100, &[0xff; 512])
        .expect("damaged");
    run(World::Simulated(simulation.clone()), async || {
        let remarks = restart(&paths, 2, &acknowledged).await.expect("a start");
        assert!(
            remarks.iter().any(|remark| remark.contains("was corrupt")),
            "{remarks:?}"
        );
        // It is whole again: alone it will do.
        let remarks = restart(&paths[..1], 2, &acknowledged)
            .await
            .expect("a start on the repaired mirror");
        assert!(
            remarks.iter().all(|remark| remark.contains("missing")),
            "{remarks:?}"
        );
    })
    .expect("a run");
}

#[test]
fn damage_on_the_only_mirror_is_refused_and_named() {
    let acknowledged = Acknowledged::default();
    let (simulation, paths) = written(1, 1, &acknowledged);
    simulation
        .overwrite(&paths[0], (1 << 20) + 64 * 1024 + 100, &[0xff; 512])
        .expect("damaged");
    run(World::Simulated(simulation.clone()), async || {
        let refused = restart(&paths, 1, &acknowledged).await;
        let Err(GroupError::Log(LogError::Corrupt(detail))) = refused else {
            panic!("{refused:?}")
        };
        assert!(detail.contains("position"), "{detail}");
    })
    .expect("a run");
}

#[test]
fn a_stale_mirror_is_refused_when_another_device_knows_better() {
    let acknowledged = Acknowledged::default();
    let (simulation, paths) = written(3, 2, &acknowledged);
    run(World::Simulated(simulation.clone()), async || {
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
        assert!(
            remarks.iter().any(|remark| remark.contains("was rebuilt")),
            "{remarks:?}"
        );
    })
    .expect("a run");
}

#[test]
fn a_flush_that_fails_costs_a_mirror_and_no_object() {
    let acknowledged = Acknowledged::default();
    let (simulation, paths) = written(2, 2, &acknowledged);
    run(World::Simulated(simulation.clone()), async || {
        let metadata = tempfile::tempdir().expect("a directory");
        let (group, _) = start(&paths, metadata.path(), config(2))
            .await
            .expect("a start");
        let mut client = Client::new(group.clone(), acknowledged.clone())
            .await
            .expect("a client");
        simulation.fail_sync(1);
        for number in 0..10 {
            client
                .put(&format!("after{number}"), 100)
                .await
                .expect("put on one mirror");
        }
        drop(client);
        group.stop().await.expect("a stop");
        let remarks = restart(&paths, 2, &acknowledged).await.expect("a start");
        assert!(
            remarks.iter().any(|remark| remark.contains("was rebuilt")),
            "{remarks:?}"
        );
    })
    .expect("a run");
}
