//! A group whose metadata lies on a file system that others fill: what is refused or waits says so, and goes on by itself.

use std::path::Path;
use std::time::Duration;

use strata_engine::reactor::{self, World};
use strata_raftlog::consensus::group::{NamespaceFull, ProposeError};

use crate::small_file_system::on_small_file_system;
use crate::support::{Acknowledged, Client, config, directory, format, keys, live, run};

const FILE_SYSTEM_BYTES: usize = 48 << 20;
const BODY_BYTES: usize = 9_000;

#[test]
fn a_full_file_system_is_named_while_it_lasts() {
    let name = "full_disk::a_full_file_system_is_named_while_it_lasts";
    on_small_file_system(name, FILE_SYSTEM_BYTES, fill_and_make_room);
}

fn fill_and_make_room(dir: &Path) {
    let (metadata, filler) = (dir.join("metadata"), dir.join("filler"));
    let devices = directory();
    let acknowledged = Acknowledged::default();
    // What LMDB says of a full file system, no simulated one can tell.
    run(World::Real, async || {
        let paths = format(devices.path(), 1).await;
        live(&paths, &metadata, config(1), async |group, store| {
            let mut client = Client::new(group, &acknowledged).await;
            let statistics = group.statistics();
            let full = NamespaceFull::FileSystem {
                directory: metadata.clone(),
            };
            for round in 0..3 {
                assert_eq!(statistics.namespace_full(), None);
                let free = store.disk_free().expect("an answer") as usize;
                let rest = 100_000 + round * 4_096;
                std::fs::write(&filler, vec![1; free - rest]).expect("filled");
                put_until_full(&mut client, round, &full).await;
                assert_eq!(statistics.namespace_full(), Some(full.clone()));
                std::fs::remove_file(&filler).expect("removed");
                reactor::sleep(Duration::from_secs(2)).await;
                assert_eq!(statistics.namespace_full(), None);
                let put = client.put(&format!("after{round}"), BODY_BYTES).await;
                put.expect("room again");
            }
            assert!(keys(store).len() >= acknowledged.borrow().len());
        })
        .await;
    })
    .expect("a reactor");
}

/// Puts until one is refused with the cause, or waits.
async fn put_until_full(client: &mut Client, round: usize, full: &NamespaceFull) {
    for number in 0.. {
        let key = format!("{round}/{number}");
        let put = client.put(&key, BODY_BYTES);
        match reactor::timeout(Duration::from_secs(1), put).await {
            Ok(Ok(())) => {}
            Ok(Err(ProposeError::Full(why))) => {
                println!("round {round}: refused, {why}");
                return assert_eq!(why, full.to_string());
            }
            Ok(Err(other)) => panic!("{other}"),
            Err(reactor::Elapsed) => return println!("round {round}: waits"),
        }
    }
}
