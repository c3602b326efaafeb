//! openraft's own suite for log storage and state machine, on the log with two mirrors and a namespace
//! store.

use std::rc::Rc;

use openraft::StorageError;
use openraft::testing::log::{StoreBuilder, Suite};
use tempfile::TempDir;

use super::Shared;
use super::machine::Machine;
use crate::consensus::log::{Log, LogStore, Memory, Source, Types, on_reactor};
use crate::namespace::store::{NamespaceStore, StoreOptions};

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
        let shared = Shared::new(store, log.clone());
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
