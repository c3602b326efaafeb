//! A namespace that outgrows its log: bodies make room for names, what does not fit is refused before it is proposed, and
//! deletes bring the room back.

use std::path::Path;
use std::time::Duration;

use strata_engine::reactor::{self, Simulation, World};
use strata_raftlog::command::{DeleteKey, DeleteObjects};
use strata_raftlog::group::{Group, GroupConfig, ProposeError};
use strata_raftlog::namespace::INLINE_BYTES_MAX;
use strata_raftlog::store::NamespaceStore;

use crate::support::{
    Acknowledged, Client, SEGMENT_BYTES, config, format, format_with, keys, run, start,
};

/// Puts; what is refused for good is the answer. A log that is being shortened is waited for by the group itself.
async fn put(client: &mut Client, key: &str, size: usize) -> Result<(), String> {
    match client.put(key, size).await {
        Err(ProposeError::Full(why)) => Err(why),
        other => {
            other.expect("put");
            Ok(())
        }
    }
}

/// Fills the log with bodies of 4 KiB, or shorter ones as soon as the group advises it. Gives how many there are of each.
async fn fill(client: &mut Client) -> (usize, usize) {
    let statistics = client.group.statistics();
    let (mut long, mut short) = (0, 0);
    loop {
        let size = 4096.min(statistics.inline_bytes_max() as usize);
        let key = format!("key{:06}", long + short);
        match put(client, &key, size).await {
            Ok(()) if size == 4096 => long += 1,
            Ok(()) => short += 1,
            Err(why) => {
                assert!(why.contains("the log has"), "{why}");
                return (long, short);
            }
        }
    }
}

/// Deletes in batches; a full log is no reason to refuse that.
async fn delete(client: &mut Client, victims: &[String]) {
    for batch in victims.chunks(500) {
        let keys = batch.iter().map(|key| DeleteKey {
            key: key.clone().into_bytes(),
            if_match: None,
        });
        let delete = DeleteObjects {
            bucket: "b".into(),
            keys: keys.collect(),
        };
        client.propose(delete).await.expect("a delete when full");
    }
}

#[test]
fn bodies_make_room_for_names_and_deletes_bring_it_back() {
    let metadata = tempfile::tempdir().expect("a directory");
    let acknowledged = Acknowledged::default();
    run(World::Simulated(Simulation::new(4)), async || {
        let paths = format(Path::new("/devices"), 1).await;
        let settings = GroupConfig {
            checkpoint_interval: Duration::from_millis(50),
            ..config(1)
        };
        let (group, store) = start(&paths, metadata.path(), settings.clone())
            .await
            .expect("a start");
        let statistics = group.statistics();
        assert_eq!(statistics.inline_bytes_max(), INLINE_BYTES_MAX as u64);
        let mut client = Client::new(group.clone(), acknowledged.clone())
            .await
            .expect("a client");
        let (long, short) = fill(&mut client).await;
        assert!(long > 500, "{long} bodies of 4 KiB in a log of 32 MiB");
        assert!(short > long, "{long} long and {short} short bodies");
        assert_eq!(keys(&store).len(), long + short);

        let victims = acknowledged.borrow()[..long].to_vec();
        delete(&mut client, &victims).await;
        // Room is looked for ten times a second.
        reactor::sleep(Duration::from_millis(300)).await;
        put(&mut client, "after", 400).await.expect("room again");
        drop((client, store));
        group.stop().await.expect("a stop");

        let (group, store) = start(&paths, metadata.path(), settings)
            .await
            .expect("a start");
        assert_eq!(keys(&store).len(), short + 1);
        group.stop().await.expect("a stop");
    })
    .expect("a reactor");
}

#[test]
fn a_node_with_a_full_log_starts_again_and_deletes() {
    let metadata = tempfile::tempdir().expect("a directory");
    let acknowledged = Acknowledged::default();
    run(World::Simulated(Simulation::new(5)), async || {
        let paths = format(Path::new("/devices"), 1).await;
        let settings = GroupConfig {
            checkpoint_interval: Duration::from_millis(50),
            ..config(1)
        };
        let (group, store) = start(&paths, metadata.path(), settings.clone())
            .await
            .expect("a start");
        let mut client = Client::new(group.clone(), acknowledged.clone())
            .await
            .expect("a client");
        fill(&mut client).await;
        drop((client, store));
        group.stop().await.expect("a stop");

        let (group, store) = start(&paths, metadata.path(), settings)
            .await
            .expect("a start");
        reactor::sleep(Duration::from_millis(300)).await;
        let mut client = Client::returning(2, group.clone(), acknowledged.clone())
            .await
            .expect("a session when full");
        let all = keys(&store);
        assert_eq!(all.len(), acknowledged.borrow().len());
        delete(&mut client, &all[..all.len() / 2]).await;
        reactor::sleep(Duration::from_millis(300)).await;
        client.lease().await.expect("room again");
        put(&mut client, "after", 400).await.expect("room again");
        drop(client);
        group.stop().await.expect("a stop");
    })
    .expect("a reactor");
}

/// A group on one device with segments of this length, without anything in it, and a client.
async fn group_with(
    segment_bytes: u64,
    metadata: &Path,
    acknowledged: &Acknowledged,
) -> (Group, NamespaceStore, Client) {
    let paths = format_with(Path::new("/devices"), 1, segment_bytes).await;
    let settings = GroupConfig {
        checkpoint_interval: Duration::from_millis(50),
        ..config(1)
    };
    let (group, store) = start(&paths, metadata, settings).await.expect("a start");
    let client = Client::new(group.clone(), acknowledged.clone())
        .await
        .expect("a client");
    (group, store, client)
}

/// Deletes everything, and puts again: a log never stays full.
async fn empty(store: &NamespaceStore, client: &mut Client) {
    let all = keys(store);
    delete(client, &all).await;
    assert_eq!(keys(store).len(), 0);
    reactor::sleep(Duration::from_secs(2)).await;
    put(client, "after", 400).await.expect("room again");
}

#[test]
fn a_burst_of_puts_does_not_take_the_room_of_deletes() {
    let metadata = tempfile::tempdir().expect("a directory");
    let acknowledged = Acknowledged::default();
    run(World::Simulated(Simulation::new(6)), async || {
        let (group, store, mut client) =
            group_with(SEGMENT_BYTES, metadata.path(), &acknowledged).await;
        let mut refused = 0;
        for round in 0..6 {
            let burst: Vec<String> = (0..512).map(|at| format!("burst{round}/{at}")).collect();
            refused += burst.len() - client.put_all(&burst, 16_384).await;
        }
        assert!(refused > 0, "48 MiB fit into a log of 32 MiB");
        assert_eq!(keys(&store).len(), acknowledged.borrow().len());
        empty(&store, &mut client).await;
        drop(client);
        group.stop().await.expect("a stop");
    })
    .expect("a reactor");
}

#[test]
fn a_log_full_of_deep_keys_is_emptied() {
    let metadata = tempfile::tempdir().expect("a directory");
    let acknowledged = Acknowledged::default();
    run(World::Simulated(Simulation::new(7)), async || {
        let (group, store, mut client) =
            group_with(SEGMENT_BYTES, metadata.path(), &acknowledged).await;
        // Each takes some 500 directories, a hundred times the bytes of its command.
        for number in 0.. {
            let key = format!("{number:04}{}", "/d".repeat(500));
            if put(&mut client, &key, 10).await.is_err() {
                break;
            }
        }
        assert!(acknowledged.borrow().len() > 20);
        empty(&store, &mut client).await;
        drop(client);
        group.stop().await.expect("a stop");
    })
    .expect("a reactor");
}

#[test]
fn a_log_of_long_segments_is_filled_and_emptied() {
    let metadata = tempfile::tempdir().expect("a directory");
    let acknowledged = Acknowledged::default();
    run(World::Simulated(Simulation::new(8)), async || {
        let (group, store, mut client) = group_with(16 << 20, metadata.path(), &acknowledged).await;
        for round in 0.. {
            let burst: Vec<String> = (0..256).map(|at| format!("{round:04}/{at}")).collect();
            if client.put_all(&burst, 16_384).await == 0 {
                break;
            }
        }
        let bytes = acknowledged.borrow().len() * 16_384;
        assert!(bytes > 16 << 20, "{bytes} bytes in a log of 128 MiB");
        empty(&store, &mut client).await;
        drop(client);
        group.stop().await.expect("a stop");
    })
    .expect("a reactor");
}

#[test]
fn short_commands_one_by_one_find_the_log_shortened() {
    let metadata = tempfile::tempdir().expect("a directory");
    let acknowledged = Acknowledged::default();
    run(World::Simulated(Simulation::new(9)), async || {
        let (group, store, mut client) =
            group_with(SEGMENT_BYTES, metadata.path(), &acknowledged).await;
        let size = 3_000;
        for number in 0..1500 {
            put(&mut client, &format!("kept{number}"), size)
                .await
                .expect("room");
        }
        // Each takes a block of the log, 4 KiB, and nothing of the namespace.
        for _ in 0..12_000 {
            put(&mut client, "again", 100)
                .await
                .expect("a log that is shortened");
        }
        assert_eq!(keys(&store).len(), 1501);
        drop(client);
        group.stop().await.expect("a stop");
    })
    .expect("a reactor");
}
