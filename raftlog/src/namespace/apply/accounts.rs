//! Commands about accounts.

use super::users::{already_exists, check_quota, no_such, refuse_delete};
use super::{Change, Outcome, invalid};
use crate::namespace::accounts::{ACCOUNT_MAX, Account, ROOT_ACCOUNT, is_account_name};
use crate::namespace::command::{Answer, CreateAccount, CreateAccountKey, DeleteAccount};
use crate::namespace::key;
use crate::namespace::store::StoreError;
use crate::namespace::users::AccessKey;

impl Change<'_, '_> {
    pub(super) fn create_account(&mut self, command: &CreateAccount) -> Outcome {
        let (number, name) = (command.number, &command.name);
        if !is_account_name(name) {
            return invalid("the name of an account has 1 to 50 characters of printable ASCII");
        }
        if !(ROOT_ACCOUNT + 1..=ACCOUNT_MAX).contains(&number) {
            return invalid("the number of an account is 2 to 999999999999");
        }
        let known = self.view().accounts_ever()?;
        if known.iter().any(|account| account.number == number) {
            let message = format!("Account with number {number:012} exists, or has existed.");
            return already_exists(message);
        }
        if known
            .iter()
            .any(|account| account.name == *name && !account.deleted)
        {
            return already_exists(format!("Account with name {name} already exists."));
        }
        check_quota(known.len(), self.limits.accounts_max, "Accounts")?;
        self.put_account(&Account {
            number,
            name: name.clone(),
            created_nanos: self.now(),
            deleted: false,
            access_key_ids: Vec::new(),
        })?;
        Ok(Answer::Done)
    }

    pub(super) fn delete_account(&mut self, command: &DeleteAccount) -> Outcome {
        let account = self.account(command.number)?;
        let mut buckets = self.view().buckets()?.into_iter();
        let must = if !account.access_key_ids.is_empty() {
            Some("must delete access keys first.")
        } else if buckets.any(|bucket| bucket.owner == account.number) {
            Some("must delete buckets first.")
        } else {
            None
        };
        refuse_delete(must)?;
        self.put_account(&Account {
            deleted: true,
            ..account
        })?;
        Ok(Answer::Done)
    }

    pub(super) fn create_account_key(&mut self, command: &CreateAccountKey) -> Outcome {
        let id = &command.access_key_id;
        self.check_new_key(id, &command.secret_access_key)?;
        let mut account = self.account(command.number)?;
        let keys_max = self.limits.user_keys_max;
        check_quota(
            account.access_key_ids.len(),
            keys_max,
            "AccessKeysPerAccount",
        )?;
        account.access_key_ids.push(id.clone());
        let row = AccessKey {
            id: id.clone(),
            secret: command.secret_access_key.clone(),
            account: account.number,
            user: String::new(),
            active: true,
            created_nanos: self.now(),
        };
        self.put_account(&account)?;
        self.put(&key::access_key(id), &row)?;
        Ok(Answer::Done)
    }

    /// Takes a key that is deleted from the account whose root has it.
    pub(super) fn take_key_from_account(&mut self, row: &AccessKey) -> Outcome<()> {
        let Some(mut account) = self.view().account(row.account)? else {
            let what = format!("access key {} belongs to no account", row.id);
            return Err(StoreError::Invariant(what).into());
        };
        account.access_key_ids.retain(|id| *id != row.id);
        self.put_account(&account)
    }

    fn put_account(&mut self, account: &Account) -> Outcome<()> {
        self.put(&key::account(account.number), account)?;
        Ok(())
    }

    fn account(&self, number: u64) -> Outcome<Account> {
        match self.view().account(number)? {
            Some(account) => Ok(account),
            None => no_such(format!(
                "The account with number {number:012} cannot be found."
            )),
        }
    }
}
