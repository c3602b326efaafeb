//! `strata admin account`: its commands and flags.

use std::path::PathBuf;
use std::process::ExitCode;

use clap::Subcommand;

use super::users::{Common, Showing, change, show};
use super::{Failure, load, told};
use crate::admin::accounts as admin;
use crate::admin::protocol::users::UsersRequest;
use crate::admin::users::create_key;

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
        /// Take this id, 16 to 128 letters, digits and _, with the secret in the file
        #[arg(long, value_name = "ID", requires = "secret_file")]
        access_key_id: Option<String>,
        /// The file that holds the secret of that id
        #[arg(long, value_name = "FILE", requires = "access_key_id")]
        secret_file: Option<PathBuf>,
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
            access_key_id,
            secret_file,
            showing,
        } => {
            let given = access_key_id.zip(secret_file.as_deref());
            let config = load(showing.flags)?.config;
            let of = |access_key_id, secret_access_key| UsersRequest::CreateAccountKey {
                number,
                access_key_id,
                secret_access_key,
            };
            told(create_key(&config, of, given, showing.json))
        }
        AccountCommands::Delete { number, common } => {
            let sentence = format!("Account {number:012} is deleted.");
            change(common, UsersRequest::DeleteAccount { number }, sentence)
        }
    }
}
