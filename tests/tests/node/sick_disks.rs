//! Disks that are there and do not work: the other copies serve, and alone they are refused with the reason.

use crate::{get, put};
use std::os::unix::fs::FileExt;
use std::path::Path;
use strata_tests::content::body;
use strata_tests::server::{Server, ServerOptions};

/// A stopped server that holds an object in chunks.
async fn stored(data_dirs: usize) -> Server {
    let mut server = Server::start(ServerOptions {
        data_dirs,
        capacity: "768MiB".into(),
        ..ServerOptions::default()
    });
    let client = server.client();
    let made = client.create_bucket().bucket("sick").send().await;
    made.expect("a bucket");
    put(&client, "sick", "k", &body(1, 1 << 20)).await;
    assert!(server.stop().success());
    server
}

/// Flips a bit of both superblocks.
fn damage_superblocks(place: &Path) {
    let device = std::fs::File::options()
        .read(true)
        .write(true)
        .open(place.join("strata.device"))
        .expect("a device");
    for offset in [100, (64 << 10) + 100] {
        let mut byte = [0];
        device.read_exact_at(&mut byte, offset).expect("a read");
        byte[0] ^= 8;
        device.write_all_at(&byte, offset).expect("a flipped bit");
    }
}

#[tokio::test]
async fn a_device_without_a_whole_superblock_counts_as_missing() {
    let mut server = stored(3).await;
    let sick = server.data_dirs().remove(1);
    damage_superblocks(&sick);
    server.restart();
    let said = server.log();
    assert!(said.contains("DEGRADED"), "{said}");
    let why = format!("{} does not work", sick.display());
    assert!(said.contains(&why), "{said}");
    let client = server.client();
    assert!(get(&client, "sick", "k").await == body(1, 1 << 20));
    put(&client, "sick", "small", &body(2, 100)).await;
}

#[tokio::test]
async fn the_only_device_is_refused_with_what_is_wrong_with_it() {
    let mut server = stored(1).await;
    let sick = server.data_dirs().remove(0);
    damage_superblocks(&sick);
    assert!(server.try_restart().is_err(), "this start is refused");
    let said = server.log();
    for word in ["does not work", "superblock", "nothing was formatted"] {
        assert!(said.contains(word), "{word:?} is not in: {said}");
    }
}

#[tokio::test]
async fn a_device_that_the_system_cannot_open_counts_as_missing() {
    let mut server = stored(3).await;
    let sick = server.data_dirs().remove(2);
    let device = sick.join("strata.device");
    // An error that is none of permission, and needs neither root nor a broken disk: a link that leads to itself.
    std::fs::rename(&device, sick.join("away")).expect("moved away");
    std::os::unix::fs::symlink(&device, &device).expect("a link");
    server.restart();
    let said = server.log();
    let why = format!("{} does not work", sick.display());
    assert!(said.contains(&why), "{said}");
    assert!(get(&server.client(), "sick", "k").await == body(1, 1 << 20));
}
