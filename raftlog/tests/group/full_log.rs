//! A namespace that outgrows its log: bodies make room for names, what does not fit is refused before it is proposed, and
//! deletes bring the room back.

use std::path::Path;
use std::time::Duration;

use strata_engine::reactor::{self, Simulation, World};
use strata_raftlog::command::{DeleteKey, DeleteObjects};
use strata_raftlog::group::{GroupConfig, ProposeError};
use strata_raftlog::namespace::INLINE_BYTES_MAX;

use crate::support::{Acknowledged, Client, config, format, keys, run, start};

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
