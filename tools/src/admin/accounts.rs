//! `strata admin account`: tables of accounts.

use std::fmt::Write as _;

use serde_json::Value;

use super::shown::{list, text};
use super::users::{created, names};

/// All accounts.
pub fn accounts(accounts: &Value) -> String {
    let mut table = format!("{:<12}  {:<32}  {:>5}  keys\n", "account", "name", "age");
    for account in accounts.as_array().into_iter().flatten() {
        let _ = writeln!(
            table,
            "{:<12}  {:<32}  {:>5}  {}",
            text(account, "id"),
            text(account, "account"),
            created(account),
            list(account, "access_key_ids").len(),
        );
    }
    table
}

/// One account.
pub fn account(account: &Value) -> String {
    format!(
        "account       {}\nname          {}\ncanonical id  {}\nage           {}\nkeys          {}\n",
        text(account, "id"),
        text(account, "account"),
        text(account, "canonical_id"),
        created(account),
        names(account, "access_key_ids"),
    )
}
