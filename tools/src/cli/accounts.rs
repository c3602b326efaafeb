//! `strata admin account`: its commands and flags.

use std::process::ExitCode;

use clap::Subcommand;

use super::Failure;
use super::users::{Common, GivenKey, Showing, change, create_key, show};
use crate::admin::accounts as admin;
use crate::admin::protocol::users::UsersRequest;

#[derive(Subcommand)]
pub(super) enum AccountCommands {
    /// Show all accounts but the one that is always there
    List {
        #[command(flatten)]
        showing: Showing,
    },
    /// Create an account, which can own buckets; its root has a key when one is made
    Create {
        /// The name: 1 to 50 characters
        name: String,
        /// Take this number, of at most 12 digits
        #[arg(long)]
        number: Option<u64>,
        #[command(flatten)]
        showing: Showing,
    },
    /// Create an access key of an account's root, and show its secret once
    Key {
        /// The account's number
        number: u64,
        #[command(flatten)]
        given: GivenKey,
        #[command(flatten)]
        showing: Showing,
    },
    /// Delete an account that owns no bucket and has no keys
    Delete {
        /// The account's number
        number: u64,
        #[command(flatten)]
        common: Common,
    },
}

pub(super) fn accounts(command: AccountCommands) -> Result<ExitCode, Failure> {
    match command {
        AccountCommands::List { showing } => {
            show(showing, UsersRequest::ListAccounts, admin::accounts)
        }
        AccountCommands::Create {
            name: account,
            number,
            showing,
        } => {
            let request = UsersRequest::CreateAccount { account, number };
            show(showing, request, admin::account)
        }
        AccountCommands::Key {
            number,
            given,
            showing,
        } => create_key(showing, given, |access_key_id, secret_access_key| {
            UsersRequest::CreateAccountKey {
                number,
                access_key_id,
                secret_access_key,
            }
        }),
        AccountCommands::Delete { number, common } => {
            let sentence = format!("Account {number:012} is deleted.");
            change(common, UsersRequest::DeleteAccount { number }, sentence)
        }
    }
}
