//! Accounts: what the admin socket is asked about them.

use serde_json::{Value, json};
use strata_gateway::random_text::random_text;
use strata_net::Cluster;
use strata_raftlog::namespace::command::{CreateAccount, CreateAccountKey};
use strata_raftlog::namespace::{AccessKeySecret, Account, ROOT_ACCOUNT};

use super::users::{failed, key_pair, new_key_fields, submit};

/// Digits of the number of an account, as AWS shows them.
const NUMBER_DIGITS: usize = 12;

pub(super) fn list(cluster: &Cluster) -> Result<Value, String> {
    let accounts = cluster.read(|view| view.accounts()).map_err(failed)?;
    Ok(accounts.iter().map(fields).collect())
}

/// Creates an account, of a random number where none is given, as AWS's are.
pub(super) async fn create(
    cluster: &Cluster,
    name: String,
    number: Option<u64>,
) -> Result<Value, String> {
    let number = match number {
        Some(number) => number,
        None => random_number()?,
    };
    submit(cluster, CreateAccount { number, name }.into()).await?;
    let found = cluster.read(|view| view.account(number)).map_err(failed)?;
    Ok(found.as_ref().map_or(Value::Null, fields))
}

fn random_number() -> Result<u64, String> {
    loop {
        let digits = random_text(b"0123456789", NUMBER_DIGITS)?;
        let number = digits
            .parse()
            .map_err(|_| format!("{digits} is no number"))?;
        if number > ROOT_ACCOUNT {
            return Ok(number);
        }
    }
}

pub(super) async fn create_key(
    cluster: &Cluster,
    number: u64,
    given: Option<(String, String)>,
) -> Result<Value, String> {
    let (id, secret) = key_pair(given)?;
    let create = CreateAccountKey {
        number,
        access_key_id: id.clone(),
        secret_access_key: AccessKeySecret(secret.clone()),
    };
    submit(cluster, create.into()).await?;
    let of = format!("the root of account {number:012}");
    Ok(new_key_fields(&of, &id, &secret))
}

fn fields(account: &Account) -> Value {
    json!({
        "account": account.name,
        "number": account.number,
        "id": format!("{:012}", account.number),
        "canonical_id": format!("{:064x}", account.number),
        "created_unix_seconds": account.created_nanos / 1_000_000_000,
        "access_key_ids": account.access_key_ids,
    })
}
