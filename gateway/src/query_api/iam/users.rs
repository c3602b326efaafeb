//! Users (IAM API reference, "CreateUser" and its neighbours).

use strata_raftlog::namespace::User;
use strata_raftlog::namespace::command::{CreateUser, DeleteUser, UpdateUser};

use super::page::{Page, below_prefix};
use super::{Managed, path, random, submit, user_named, user_or_self};
use crate::access::identity::user_arn;
use crate::dates::{Iso8601Seconds, whole_seconds};
use crate::error::Fault;
use crate::policy::{Principal, account_id};
use crate::query_api::Call;
use crate::query_api::resource::policy_arn;
use crate::random_text::entity_id;
use crate::s3::ROOT_ACCOUNT;
use crate::xml::Writer;

/// Creates a user, with a boundary where one is given: both at once, since who may create bounded users alone must not make another.
///
/// # Errors
/// `EntityAlreadyExists`, `LimitExceeded`, `ValidationError`; `NoSuchEntity` for the boundary.
pub async fn create(call: &Call<'_>, xml: &mut Writer) -> Result<(), Fault> {
    let name = call.parameters.required("UserName")?.to_owned();
    let boundary = call.parameters.get("PermissionsBoundary");
    let boundary = boundary.map(|arn| Managed::of_arn(call, arn)).transpose()?;
    let create = CreateUser {
        name: name.clone(),
        path: path(call),
        id: random(entity_id("AIDA"))?,
        account: ROOT_ACCOUNT,
        boundary: boundary.map(|policy| policy.name()),
    };
    submit(call, create).await?;
    let user = user_named(call, &name)?;
    write_whole(xml, &user);
    Ok(())
}

/// A user; the one who calls where none is named, who may be the root.
///
/// # Errors
/// `NoSuchEntity`.
pub fn get(call: &Call<'_>, xml: &mut Writer) -> Result<(), Fault> {
    let principal = &call.asker.identity.principal;
    if let (None, Principal::Root { account }) = (call.parameters.get("UserName"), principal) {
        xml.open("User");
        xml.element("UserId", &account_id(*account));
        xml.element("Arn", &principal.arn().unwrap_or_default());
        xml.close("User");
        return Ok(());
    }
    write_whole(xml, &user_or_self(call)?);
    Ok(())
}

/// Users, below a path where one is given.
///
/// # Errors
/// `ValidationError`.
pub fn list(call: &Call<'_>, xml: &mut Writer) -> Result<(), Fault> {
    let users = call.shared.cluster.read(|view| view.users())?;
    let users = below_prefix(call, users, |user| &user.path);
    let page = Page::of(call, users, |user| &user.name)?;
    page.write(xml, "Users", write);
    Ok(())
}

/// Gives a user another name or path.
///
/// # Errors
/// `NoSuchEntity`, `EntityAlreadyExists`, `ValidationError`.
pub async fn update(call: &Call<'_>, _: &mut Writer) -> Result<(), Fault> {
    let given = |name: &str| call.parameters.get(name).map(str::to_owned);
    let update = UpdateUser {
        user: call.parameters.required("UserName")?.to_owned(),
        name: given("NewUserName"),
        path: given("NewPath"),
    };
    submit(call, update).await
}

/// Deletes a user who has nothing left.
///
/// # Errors
/// `NoSuchEntity`, `DeleteConflict`.
pub async fn delete(call: &Call<'_>, _: &mut Writer) -> Result<(), Fault> {
    let name = call.parameters.required("UserName")?.to_owned();
    submit(call, DeleteUser { name }).await
}

/// The tags of a user, of whom none has any.
///
/// # Errors
/// `NoSuchEntity`.
pub fn tags(call: &Call<'_>, xml: &mut Writer) -> Result<(), Fault> {
    user_named(call, call.parameters.required("UserName")?)?;
    Page::of(call, Vec::<String>::new(), |tag| tag)?.write(xml, "Tags", |_, _| {});
    Ok(())
}

/// Tags, which users do not have here.
///
/// # Errors
/// `NoSuchEntity`; `NotImplemented`.
pub fn tag(call: &Call<'_>, _: &mut Writer) -> Result<(), Fault> {
    user_named(call, call.parameters.required("UserName")?)?;
    Err(Fault::not_implemented("A tag of a user"))
}

/// Takes tags away: there are none.
///
/// # Errors
/// `NoSuchEntity`.
pub fn untag(call: &Call<'_>, _: &mut Writer) -> Result<(), Fault> {
    user_named(call, call.parameters.required("UserName")?)?;
    Ok(())
}

/// Writes a user with the boundary, which listings do not show.
fn write_whole(xml: &mut Writer, user: &User) {
    xml.open("User");
    write(xml, user);
    if let Some(boundary) = &user.boundary {
        xml.open("PermissionsBoundary");
        xml.element("PermissionsBoundaryType", "PermissionsBoundaryPolicy");
        xml.element("PermissionsBoundaryArn", &policy_arn(boundary));
        xml.close("PermissionsBoundary");
    }
    xml.close("User");
}

/// Writes what a user is.
pub fn write(xml: &mut Writer, user: &User) {
    let arn = user_arn(user.account, &user.path, &user.name);
    for (name, text) in [
        ("Path", &user.path),
        ("UserName", &user.name),
        ("UserId", &user.id),
        ("Arn", &arn),
    ] {
        xml.element(name, text);
    }
    let created = whole_seconds(user.created_nanos);
    xml.value("CreateDate", Iso8601Seconds(created));
}
