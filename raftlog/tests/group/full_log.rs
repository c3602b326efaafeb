//! A namespace that outgrows its log: bodies make room for names, what does not fit is refused before it is proposed, and
//! deletes and packing bring the room back.

use std::path::Path;
use std::time::Duration;

use strata_engine::reactor::{self, Simulation};
use strata_raftlog::consensus::group::{GroupConfig, ProposeError};
use strata_raftlog::namespace::command::{
    Answer, DeleteKey, DeleteObjects, OldPlace, OpenEpoch, RegisterWriter, Repoint, RepointItem,
    RepointOutcome, SetBucketSetting,
};
use strata_raftlog::namespace::store::NamespaceStore;
use strata_raftlog::namespace::{ChunkId, Extent, INLINE_BYTES_MAX, REPOINT_ITEMS_MAX, setting};

use crate::support::{
    Acknowledged, BUCKET, Client, SEGMENT_BYTES, config, format, format_with, keys, live,
    new_place, simulate,
};

fn settings() -> GroupConfig {
    GroupConfig {
        checkpoint_interval: Duration::from_millis(50),
        ..config(1)
    }
}

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
            bucket: BUCKET,
            keys: keys.collect(),
        };
        client.propose(delete).await.expect("a delete when full");
    }
}

/// Sets or removes a bucket's tags.
fn tags(document: Option<Vec<u8>>) -> SetBucketSetting {
    SetBucketSetting {
        bucket: BUCKET,
        setting: setting::TAGS,
        document,
    }
}

#[test]
fn bodies_make_room_for_names_and_deletes_bring_it_back() {
    let metadata = new_place();
    let acknowledged = Acknowledged::default();
    simulate(&Simulation::new(4), async || {
        let paths = format(Path::new("/devices"), 1).await;
        let short = live(&paths, &metadata, settings(), async |group, store| {
            let statistics = group.statistics();
            assert_eq!(statistics.inline_bytes_max(), INLINE_BYTES_MAX as u64);
            let mut client = Client::new(group, &acknowledged).await;
            let set = client.propose(tags(Some(vec![7; 1000]))).await;
            set.expect("a setting while there is room");
            let (long, short) = fill(&mut client).await;
            assert!(long > 500, "{long} bodies of 4 KiB in a log of 32 MiB");
            assert!(short > long, "{long} long and {short} short bodies");
            assert_eq!(keys(store).len(), long + short);
            // It takes more than the put that was refused.
            let set = client.propose(tags(Some(vec![8; 4000]))).await;
            assert!(matches!(set, Err(ProposeError::Full(_))), "{set:?}");
            let removed = client.propose(tags(None)).await;
            removed.expect("what takes a setting away is no growth");

            let victims = acknowledged.borrow()[..long].to_vec();
            delete(&mut client, &victims).await;
            // Room is looked for ten times a second.
            reactor::sleep(Duration::from_millis(300)).await;
            put(&mut client, "after", 400).await.expect("room again");
            short
        });
        let left = short.await + 1;
        live(&paths, &metadata, settings(), async |_, store| {
            assert_eq!(keys(store).len(), left);
        })
        .await;
    });
}

#[test]
fn a_node_with_a_full_log_starts_again_and_deletes() {
    let metadata = new_place();
    let acknowledged = Acknowledged::default();
    simulate(&Simulation::new(5), async || {
        let paths = format(Path::new("/devices"), 1).await;
        live(&paths, &metadata, settings(), async |group, _| {
            let mut client = Client::new(group, &acknowledged).await;
            fill(&mut client).await;
        })
        .await;
        live(&paths, &metadata, settings(), async |group, store| {
            reactor::sleep(Duration::from_millis(300)).await;
            // A session, also when the log is full.
            let mut client = Client::returning(2, group, &acknowledged).await;
            let all = keys(store);
            assert_eq!(all.len(), acknowledged.borrow().len());
            delete(&mut client, &all[..all.len() / 2]).await;
            reactor::sleep(Duration::from_millis(300)).await;
            client.lease().await;
            put(&mut client, "after", 400).await.expect("room again");
        })
        .await;
    });
}

/// Works with a new group on one device with segments of this length.
fn on_new_group(
    seed: u64,
    segment_bytes: u64,
    work: impl AsyncFnOnce(&NamespaceStore, &mut Client, &Acknowledged),
) {
    let metadata = new_place();
    let acknowledged = Acknowledged::default();
    simulate(&Simulation::new(seed), async || {
        let paths = format_with(Path::new("/devices"), 1, segment_bytes).await;
        live(&paths, &metadata, settings(), async |group, store| {
            let mut client = Client::new(group, &acknowledged).await;
            work(store, &mut client, &acknowledged).await;
        })
        .await;
    });
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
    on_new_group(6, SEGMENT_BYTES, async |store, client, acknowledged| {
        let mut refused = 0;
        for round in 0..6 {
            let burst: Vec<String> = (0..512).map(|at| format!("burst{round}/{at}")).collect();
            refused += burst.len() - client.put_all(&burst, 16_384).await;
        }
        assert!(refused > 0, "48 MiB fit into a log of 32 MiB");
        assert_eq!(keys(store).len(), acknowledged.borrow().len());
        empty(store, client).await;
    });
}

#[test]
fn a_log_full_of_deep_keys_is_emptied() {
    on_new_group(7, SEGMENT_BYTES, async |store, client, acknowledged| {
        // Each takes some 500 directories, a hundred times the bytes of its command.
        for number in 0.. {
            let key = format!("{number:04}{}", "/d".repeat(500));
            if put(client, &key, 10).await.is_err() {
                break;
            }
        }
        assert!(acknowledged.borrow().len() > 20);
        empty(store, client).await;
    });
}

#[test]
fn a_log_of_long_segments_is_filled_and_emptied() {
    on_new_group(8, 16 << 20, async |store, client, acknowledged| {
        for round in 0.. {
            let burst: Vec<String> = (0..256).map(|at| format!("{round:04}/{at}")).collect();
            if client.put_all(&burst, 16_384).await == 0 {
                break;
            }
        }
        let bytes = acknowledged.borrow().len() * 16_384;
        assert!(bytes > 16 << 20, "{bytes} bytes in a log of 128 MiB");
        empty(store, client).await;
    });
}

#[test]
fn short_commands_one_by_one_find_the_log_shortened() {
    on_new_group(9, SEGMENT_BYTES, async |store, client, _| {
        for number in 0..1500 {
            let key = format!("kept{number}");
            put(client, &key, 3_000).await.expect("room");
        }
        // Each takes a block of the log, 4 KiB, and nothing of the namespace.
        for _ in 0..12_000 {
            let again = put(client, "again", 100).await;
            again.expect("a log that is shortened");
        }
        assert_eq!(keys(store).len(), 1501);
    });
}

/// Packs the inline bodies of so many bytes under these keys, as if they had been written into a chunk.
async fn pack(store: &NamespaceStore, client: &mut Client, keys: &[String], body: &[u8]) {
    let Ok(Answer::Writer(writer)) = client
        .propose(RegisterWriter {
            node: 1,
            reactor: 0,
        })
        .await
    else {
        panic!("no writer when full");
    };
    let Ok(Answer::Epoch(epoch)) = client.propose(OpenEpoch { writer }).await else {
        panic!("no epoch when full");
    };
    for (number, keys) in (1..).zip(keys.chunks(REPOINT_ITEMS_MAX)) {
        let view = store.view().expect("a view");
        let items = (0..).zip(keys).map(|(at, key)| {
            let object = view.object("b", key.as_bytes()).expect("a look");
            RepointItem {
                inode: object.expect("an object").inode,
                space: 0,
                length: body.len() as u32,
                offset: 0,
                new_offset: at * body.len() as u64,
                old: OldPlace::Inline(crc32c::crc32c(body)),
            }
        });
        let items = items.collect();
        drop(view);
        let repoint = Repoint {
            home: client.inode(),
            chunk: Extent::whole_chunk(ChunkId::new(0, writer, epoch, number), 2 << 20, 1, 1),
            items,
        };
        let packed = client.propose(repoint).await.expect("a pack when full");
        assert_eq!(
            packed,
            Answer::Repointed(vec![RepointOutcome::Moved; keys.len()])
        );
    }
}

#[test]
fn a_full_log_is_emptied_by_packing() {
    on_new_group(10, SEGMENT_BYTES, async |store, client, acknowledged| {
        let (long, short) = fill(client).await;
        let all = acknowledged.borrow().clone();
        assert!(put(client, "refused", 400).await.is_err());
        pack(store, client, &all[..long], &[b'x'; 4096]).await;
        reactor::sleep(Duration::from_secs(2)).await;
        // Names and short bodies find the room that the long ones had.
        for number in 0..long {
            let key = format!("after{number}");
            put(client, &key, 400).await.expect("room again");
        }
        assert_eq!(keys(store).len(), 2 * long + short);
        assert_eq!(client.group.statistics().namespace_full(), None);
    });
}
