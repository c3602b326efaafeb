//! Reading from one thread: a transaction is kept from one view to the next for as long as nothing is committed. Beginning one
//! takes a lock that all threads share.
//!
//! Invariants: a view holds everything that was committed before it was asked for; a kept transaction keeps pages from being
//! used again, so whoever reads no more releases it.

use std::cell::RefCell;

use heed::{RoTxn, WithoutTls};

use super::{NamespaceStore, StoreError};
use crate::namespace::View;

/// Reads a store from one thread.
pub struct Reader {
    // Dropped before the store that it reads.
    kept: RefCell<Option<Kept>>,
    store: NamespaceStore,
}

struct Kept {
    /// The store's version before the transaction began.
    version: u64,
    txn: RoTxn<'static, WithoutTls>,
}

impl Reader {
    /// A reader without a transaction.
    pub fn new(store: NamespaceStore) -> Reader {
        Reader {
            kept: RefCell::new(None),
            store,
        }
    }

    /// Reads from a view that holds everything that was committed so far.
    ///
    /// # Errors
    /// `Lmdb` where no more readers are possible.
    pub fn read<R>(&self, read: impl FnOnce(&View<'_>) -> R) -> Result<R, StoreError> {
        let version = self.store.version();
        let kept = self.kept.take().filter(|kept| kept.version == version);
        let environment = &self.store.inner.environment;
        let kept = match kept {
            Some(kept) => kept,
            None => Kept {
                version,
                txn: environment.env.clone().static_read_txn()?,
            },
        };
        let result = read(&View::borrowed(environment.table, &kept.txn));
        self.kept.replace(Some(kept));
        Ok(result)
    }

    /// Ends the transaction that is kept.
    pub fn release(&self) {
        self.kept.take();
    }
}
