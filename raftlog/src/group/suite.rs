//! openraft's own suite for log storage and state machine, on the log with two mirrors and a namespace
//! store.

use std::cell::{Cell, RefCell};
use std::rc::Rc;
use std::sync::Arc;

use openraft::StorageError;
use openraft::testing::log::{StoreBuilder, Suite};
use tempfile::TempDir;

use super::Shared;
use super::machine::Machine;
use super::statistics::GroupStatistics;
use super::tests::on_reactor;
use crate::log::{Log, LogStore, Memory, Source, Types};
use crate::store::{NamespaceStore, StoreOptions};

struct Fresh;

impl StoreBuilder<Types, LogStore, Machine, TempDir> for Fresh {
    async fn build(&self) -> Result<(TempDir, LogStore, Machine), StorageError<Types>> {
        let dir = tempfile::tempdir().expect("a directory");
        let options = StoreOptions {
            map_bytes: 16 << 20,
        };
        let (store, _) = NamespaceStore::open(dir.path(), options).expect("a store");
        let sources = vec![
            Source::Memory([1; 16], Memory::default()),
            Source::Memory([2; 16], Memory::default()),
        ];
        let (log, _) = Log::recover(sources, 2).await.expect("a log");
        let log = log.group(0);
        let shared = Shared {
            store,
            log: log.clone(),
            failure: RefCell::new(None),
            building: Cell::new(false),
            snapshot_estimate: Cell::new(0),
            snapshot_blocked: RefCell::new(None),
            snapshot_counted: Cell::new(None),
            snapshot_written: Cell::new(0),
            pending: Cell::default(),
            map_room: Cell::new(0),
            disk_free: Cell::new(u64::MAX),
            snapshot_allocated: Cell::new(0),
            pinned: Cell::new(false),
            slowed: Cell::new(false),
            stopping: Cell::new(false),
            statistics: Arc::new(GroupStatistics::default()),
        };
        Ok((dir, log, Machine::new(Rc::new(shared))))
    }
}

#[test]
fn openraft_storage_suite() {
    on_reactor(async || {
        Suite::<Types, LogStore, Machine, Fresh, TempDir>::test_all(Fresh)
            .await
            .expect("the suite passes");
    });
}
