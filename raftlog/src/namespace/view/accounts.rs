//! Queries about accounts.

use super::View;
use crate::namespace::accounts::Account;
use crate::namespace::key;
use crate::namespace::store::StoreError;

impl View<'_> {
    /// The account of a number. `None` for the first, which has no row, and for one that was deleted.
    ///
    /// # Errors
    /// As [`bucket`](View::bucket).
    pub fn account(&self, number: u64) -> Result<Option<Account>, StoreError> {
        let found: Option<Account> = self.table.get(self.txn(), &key::account(number))?;
        Ok(found.filter(|account| !account.deleted))
    }

    /// All accounts but the first, by number.
    ///
    /// # Errors
    /// As [`bucket`](View::bucket).
    pub fn accounts(&self) -> Result<Vec<Account>, StoreError> {
        let mut accounts = self.accounts_ever()?;
        accounts.retain(|account| !account.deleted);
        Ok(accounts)
    }

    /// All accounts but the first, with those that were deleted, by number.
    pub(crate) fn accounts_ever(&self) -> Result<Vec<Account>, StoreError> {
        self.all(&key::system(key::S_ACCOUNT))
    }
}
