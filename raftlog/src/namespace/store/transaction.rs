//! Applying entries of the log: one transaction, over as many turns as it takes.
//!
//! Invariants: nothing of a transaction counts, and no view shows any of it, before its commit; there is one at a time, which is
//! LMDB's rule; whatever fails in it but for room fails the store, because nothing may be skipped.

use super::{Checkpoint, NamespaceStore, StoreError};
use crate::namespace::command::Answer;
use crate::namespace::{Applier, LogEntry, LogPosition, WriteTxn};

/// A file system that has less free is full.
const DISK_FULL_BYTES: u64 = 1 << 20;

/// Entries that are being applied. Dropping it drops what they have changed.
pub struct Transaction<'s> {
    applier: Applier<'s>,
    store: StopsAtPanic<'s>,
}

/// A panic while entries are applied must not let later ones be applied without them.
struct StopsAtPanic<'s>(&'s NamespaceStore);

impl Drop for StopsAtPanic<'_> {
    fn drop(&mut self) {
        if std::thread::panicking() {
            let mut writer = self.0.writer();
            writer
                .failed
                .get_or_insert_with(|| "a panic while applying".to_owned());
        }
    }
}

impl NamespaceStore {
    /// Begins to apply entries. Other readers go on meanwhile, on the state as it was.
    ///
    /// # Errors
    /// As [`Transaction::apply`].
    pub fn begin(&self) -> Result<Transaction<'_>, StoreError> {
        self.noted(self.try_begin())
    }

    /// Applies entries of the log, in one transaction, without a sync. One answer for each.
    ///
    /// Pages that the last checkpoint needs are not used again before the next. Where that fills the map, a checkpoint is made
    /// here, unless one is under way; it blocks on the device: not for a core that serves, see
    /// [`begin`](NamespaceStore::begin).
    ///
    /// # Errors
    /// Every error stops the group: nothing of the batch is kept, and nothing is applied any more.
    pub fn apply(&self, batch: &[(LogPosition, LogEntry<'_>)]) -> Result<Vec<Answer>, StoreError> {
        let mut result = self.apply_once(batch);
        if matches!(result, Err(StoreError::Full)) {
            let room = self.begin_checkpoint().and_then(Checkpoint::finish);
            result = room.and_then(|_| self.apply_once(batch));
        }
        result.inspect_err(|error| self.fail(error))
    }

    fn apply_once(&self, batch: &[(LogPosition, LogEntry<'_>)]) -> Result<Vec<Answer>, StoreError> {
        let mut transaction = self.begin()?;
        let answers = batch
            .iter()
            .map(|(position, entry)| transaction.apply(*position, *entry))
            .collect::<Result<_, _>>()?;
        transaction.commit()?;
        Ok(answers)
    }

    fn try_begin(&self) -> Result<Transaction<'_>, StoreError> {
        let tally = {
            let writer = self.writer();
            writer.check()?;
            writer.tally
        };
        let environment = &self.inner.environment;
        let txn = WriteTxn::new(environment.env.write_txn()?, tally);
        Ok(Transaction {
            applier: Applier::new(environment.table, txn)?,
            store: StopsAtPanic(self),
        })
    }

    /// Tells a full file system from one that fails, and takes note of what stops the group.
    fn noted<T>(&self, result: Result<T, StoreError>) -> Result<T, StoreError> {
        let result = match result {
            Err(StoreError::WriteCutShort(_))
                if self.disk_free().is_ok_and(|free| free < DISK_FULL_BYTES) =>
            {
                Err(StoreError::NoSpace)
            }
            other => other,
        };
        match &result {
            Ok(_) | Err(StoreError::Full | StoreError::NoSpace) => {}
            Err(error) => self.fail(error),
        }
        result
    }
}

impl Transaction<'_> {
    /// Applies an entry, which must follow the last one.
    ///
    /// # Errors
    /// `Full` and `NoSpace`: the transaction is to be dropped, and all its entries can be applied again, after a checkpoint or
    /// when the file system has room. Every other error stops the group.
    pub fn apply(
        &mut self,
        position: LogPosition,
        entry: LogEntry<'_>,
    ) -> Result<Answer, StoreError> {
        let applied = self.applier.apply(position, entry);
        self.store.0.noted(applied)
    }

    /// Makes all of it the state, without a sync.
    ///
    /// # Errors
    /// As [`Transaction::apply`].
    pub fn commit(self) -> Result<(), StoreError> {
        let Transaction { applier, store } = self;
        let store = &store.0;
        let (changes_settings, finished) = (applier.changes_settings(), applier.finish());
        let committed = finished.and_then(|(applied, txn)| {
            let mut writer = store.writer();
            // What was doubted since it began is not written to either.
            writer.check()?;
            writer.tally = txn.commit()?;
            writer.applied = applied;
            store.inner.environment.data.written();
            Ok(())
        });
        store.noted(committed)?;
        store.committed(changes_settings);
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::namespace::store::StoreOptions;

    fn position(index: u64) -> LogPosition {
        LogPosition {
            term: 1,
            node: 1,
            index,
        }
    }

    #[test]
    fn what_is_doubted_or_panics_within_a_transaction_ends_with_it() {
        let dir = tempfile::tempdir().unwrap();
        let options = StoreOptions { map_bytes: 1 << 20 };
        let open = || NamespaceStore::open(dir.path(), options).unwrap().0;

        let store = open();
        let mut transaction = store.begin().unwrap();
        transaction.apply(position(1), LogEntry::Blank).unwrap();
        assert_eq!(
            store.view().unwrap().applied().unwrap(),
            LogPosition::default()
        );
        store.doubt(&"a row is damaged");
        assert!(matches!(transaction.commit(), Err(StoreError::Failed(_))));
        assert_eq!(store.applied(), LogPosition::default());
        drop(store);

        let store = open();
        let panicked = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
            let _transaction = store.begin().unwrap();
            panic!("planned");
        }));
        assert!(panicked.is_err());
        assert!(matches!(store.begin(), Err(StoreError::Failed(_))));
    }
}
