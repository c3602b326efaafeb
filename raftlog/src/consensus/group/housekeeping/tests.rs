//! Room of the map, and space of the log that comes back.

use openraft::rt::WatchReceiver as _;

use super::super::{Group, GroupConfig, Sender};
use super::*;
use crate::consensus::log::{Log, Memory, Source, on_reactor};
use crate::namespace::store::StoreOptions;

#[test]
fn the_room_is_that_of_the_map_or_of_its_file_system() {
    let mib = |count: i64| count << 20;
    let usage = Usage {
        used_bytes: 100 << 20,
        allocated_bytes: 110 << 20,
        map_bytes: 1600 << 20,
    };
    let of_the_map = (mib(1600 - 100 - 100), false);
    assert_eq!(map_room(&usage, u64::MAX), of_the_map);
    assert_eq!(map_room(&usage, 1 << 40), of_the_map);
    // 10 MiB of the file can be written again, 64 are kept.
    assert_eq!(map_room(&usage, 500 << 20), (mib(500 + 10 - 64), true));
    assert_eq!(map_room(&usage, 0), (mib(10 - 64), true));
}

/// Makes a snapshot of the state as it is, and gives housekeeping turns to bring the log in order.
async fn snapshot(group: &Group) {
    let inner = &group.0;
    let before = inner.shared.log.snapshot_number();
    let asked = inner.raft.trigger().snapshot().await;
    asked.expect("a snapshot is asked for");
    while inner.shared.log.snapshot_number() == before || inner.shared.building.get() {
        reactor::sleep(Duration::from_millis(1)).await;
    }
    let mut metrics = inner.raft.metrics();
    while metrics.borrow_and_update().snapshot < inner.shared.log.last() {
        metrics.changed().await.expect("a group that runs");
    }
}

/// Nothing is purged with it, since the last one held the same entries.
#[test]
fn a_snapshot_of_the_same_state_gives_the_space_of_the_last_one_back() {
    on_reactor(async || {
        let dir = tempfile::tempdir().expect("a directory");
        let options = StoreOptions {
            map_bytes: 16 << 20,
        };
        let (store, _) = NamespaceStore::open(dir.path(), options).expect("a store");
        let memory = Memory::default();
        let sources = vec![Source::Memory([1; 16], memory.clone())];
        let (log, _) = Log::recover(sources, 1).await.expect("a log");
        let config = GroupConfig::new(0, 1, 1);
        let group = Group::start(config, log, store, Sender::Unreachable).await;
        let group = group.expect("a group");
        group.win_term().await.expect("a leader");
        let mut done = Done::new();
        let mut held = Vec::new();
        for _ in 0..8 {
            snapshot(&group).await;
            checkpoint(&group.0.shared.store)
                .await
                .expect("a checkpoint");
            // No other than those that are asked for here.
            done.next_snapshot = reactor::now() + Duration::from_secs(3600);
            // A purge takes effect some time after it is asked for.
            for _ in 0..20 {
                turn(&group.0, &mut done).await.expect("a turn");
                reactor::sleep(Duration::from_millis(1)).await;
            }
            assert!(!owes_release(&group.0, &done));
            held.push(memory.held());
        }
        assert!(held[7] <= held[1], "{held:?} records are held");
    });
}
