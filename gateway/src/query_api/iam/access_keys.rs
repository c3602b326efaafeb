//! Access keys of users (IAM API reference, "CreateAccessKey" and its neighbours).
//!
//! Invariant: a secret is in the answer to the call that made it alone; a key is changed under the name of the user whose it is.

use strata_raftlog::namespace::command::{CreateAccessKey, DeleteAccessKey, SetAccessKeyActive};
use strata_raftlog::namespace::{AccessKey, AccessKeySecret, User};

use super::page::Page;
use super::{no_such, one_of, random, submit, user_named, user_or_self};
use crate::dates::{Iso8601Seconds, whole_seconds};
use crate::error::Fault;
use crate::query_api::Call;
use crate::random_text::access_key;
use crate::xml::Writer;

/// Makes a key for a user; for the one who calls where none is named.
///
/// # Errors
/// `NoSuchEntity`, `LimitExceeded`; `ValidationError` where the root calls and names nobody.
pub async fn create(call: &Call<'_>, xml: &mut Writer) -> Result<(), Fault> {
    let user = user_or_self(call)?;
    let (id, secret) = random(access_key())?;
    let create = CreateAccessKey {
        user: user.name.clone(),
        access_key_id: id.clone(),
        secret_access_key: AccessKeySecret(secret.clone()),
    };
    submit(call, create).await?;
    let key = key_named(call, &user, &id)?;
    xml.open("AccessKey");
    write(xml, &key);
    xml.element("SecretAccessKey", &secret);
    xml.close("AccessKey");
    Ok(())
}

/// The keys of a user, without their secrets.
///
/// # Errors
/// `NoSuchEntity`, `ValidationError`.
pub fn list(call: &Call<'_>, xml: &mut Writer) -> Result<(), Fault> {
    let user = user_or_self(call)?;
    let ids = user.access_key_ids.iter();
    let keys = call.shared.cluster.read(|view| {
        ids.map(|id| view.access_key(id))
            .collect::<Result<Vec<_>, _>>()
    })?;
    let keys: Vec<AccessKey> = keys.into_iter().flatten().collect();
    let page = Page::of(call, keys, |key| &key.id)?;
    page.write(xml, "AccessKeyMetadata", write);
    Ok(())
}

/// Makes a key active or inactive.
///
/// # Errors
/// `NoSuchEntity`, `ValidationError`.
pub async fn update(call: &Call<'_>, _: &mut Writer) -> Result<(), Fault> {
    let user = user_or_self(call)?;
    call.parameters.required("Status")?;
    let status = one_of(call, "Status", &["Active", "Inactive"])?;
    let key = key_named(call, &user, call.parameters.required("AccessKeyId")?)?;
    let change = SetAccessKeyActive {
        access_key_id: key.id,
        active: status == Some("Active"),
    };
    submit(call, change).await
}

/// Deletes a key.
///
/// # Errors
/// `NoSuchEntity`, `ValidationError`.
pub async fn delete(call: &Call<'_>, _: &mut Writer) -> Result<(), Fault> {
    let user = user_or_self(call)?;
    let key = key_named(call, &user, call.parameters.required("AccessKeyId")?)?;
    let access_key_id = key.id;
    submit(call, DeleteAccessKey { access_key_id }).await
}

/// When a key was used last, which is not kept: what AWS says of a key that was not used since it began to keep it.
///
/// # Errors
/// `NoSuchEntity`.
pub fn last_used(call: &Call<'_>, xml: &mut Writer) -> Result<(), Fault> {
    let id = call.parameters.required("AccessKeyId")?;
    let key = call.shared.cluster.access_key(id)?;
    // One of another account's root has no user.
    let key = key.filter(|key| !key.user.is_empty());
    let key = key.ok_or_else(|| missing(id))?;
    let user = user_named(call, &key.user)?;
    xml.element("UserName", &user.name);
    xml.open("AccessKeyLastUsed");
    xml.element("ServiceName", "N/A");
    xml.element("Region", "N/A");
    xml.close("AccessKeyLastUsed");
    Ok(())
}

fn key_named(call: &Call<'_>, user: &User, id: &str) -> Result<AccessKey, Fault> {
    let key = call.shared.cluster.read(|view| view.access_key(id))?;
    key.filter(|key| key.user == user.name)
        .ok_or_else(|| missing(id))
}

fn missing(id: &str) -> Fault {
    no_such(format!("The Access Key with id {id} cannot be found."))
}

/// Writes all but the secret.
fn write(xml: &mut Writer, key: &AccessKey) {
    xml.element("UserName", &key.user);
    xml.element("AccessKeyId", &key.id);
    xml.element("Status", if key.active { "Active" } else { "Inactive" });
    let created = whole_seconds(key.created_nanos);
    xml.value("CreateDate", Iso8601Seconds(created));
}
