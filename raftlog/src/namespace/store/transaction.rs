//! Applying entries of the log: one transaction, over as many turns as it takes.
//!
//! Invariants: nothing of a transaction counts, and no view shows any of it, before its commit; there is one at a time, which is
//! LMDB's rule; whatever fails in it but for room fails the store, because nothing may be skipped.

use super::{NamespaceStore, StoreError};
use crate::namespace::command::Answer;
use crate::namespace::{Applier, LogEntry, LogPosition, WriteTxn};

/// A file system that has less free is full.
const DISK_FULL_BYTES: u64 = 1 << 20;

/// Entries that are being applied. Dropping it drops what they have changed.
pub struct Transaction<'s> {
    store: &'s NamespaceStore,
    applier: Applier<'s>,
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
    /// here, which blocks on the device: not for a core that serves, see [`begin`](NamespaceStore::begin).
    ///
    /// # Errors
    /// Every error stops the group: nothing of the batch is kept, and nothing is applied any more.
    pub fn apply(&self, batch: &[(LogPosition, LogEntry<'_>)]) -> Result<Vec<Answer>, StoreError> {
        let mut result = self.apply_once(batch);
        if matches!(result, Err(StoreError::Full)) {
            let room = self.make_room();
            result = room.and_then(|()| self.apply_once(batch));
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
            store: self,
            applier: Applier::new(environment.table, txn)?,
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
    /// `Full` and `NoSpace`: the transaction is to be dropped, and all its entries can be applied again, after
    /// [`make_room`](NamespaceStore::make_room) or when the file system has room. Every other error stops the group.
    pub fn apply(
        &mut self,
        position: LogPosition,
        entry: LogEntry<'_>,
    ) -> Result<Answer, StoreError> {
        let applied = self.applier.apply(position, entry);
        self.store.noted(applied)
    }

    /// Makes all of it the state, without a sync.
    ///
    /// # Errors
    /// As [`Transaction::apply`].
    pub fn commit(self) -> Result<(), StoreError> {
        let store = self.store;
        let (changes_settings, finished) = (self.applier.changes_settings(), self.applier.finish());
        let committed = finished.and_then(|(applied, txn)| {
            let mut writer = store.writer();
            writer.tally = txn.commit()?;
            writer.applied = applied;
            Ok(())
        });
        store.noted(committed)?;
        store.committed(changes_settings);
        Ok(())
    }
}
