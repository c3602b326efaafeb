//! Queries about accounts.

use super::View;
use crate::namespace::accounts::Account;
use crate::namespace::key;
use crate::namespace::store::StoreError;

impl View<'_> {
    /// The account of a number. `None` for the first, which has no row.
    ///
    /// # Errors
    /// As [`bucket`](View::bucket).
    pub fn account(&self, number: u64) -> Result<Option<Account>, StoreError> {
        self.table.get(self.txn(), &key::account(number))
    }

    /// All accounts but the first, by number.
    ///
    /// # Errors
    /// As [`bucket`](View::bucket).
    pub fn accounts(&self) -> Result<Vec<Account>, StoreError> {
        self.all(&key::system(key::S_ACCOUNT))
    }
}
