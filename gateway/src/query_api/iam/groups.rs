//! Groups of users (IAM API reference, "CreateGroup" and its neighbours).

use strata_raftlog::namespace::Group;
use strata_raftlog::namespace::command::{CreateGroup, DeleteGroup, SetMembership};

use super::page::{Page, below_prefix};
use super::{group, path, random, submit, user_named, users};
use crate::dates::{Iso8601Seconds, whole_seconds};
use crate::error::Fault;
use crate::query_api::Call;
use crate::query_api::resource::group_arn;
use crate::random_text::entity_id;
use crate::s3::ROOT_ACCOUNT;
use crate::xml::Writer;

/// Creates a group.
///
/// # Errors
/// `EntityAlreadyExists`, `LimitExceeded`, `ValidationError`.
pub async fn create(call: &Call<'_>, xml: &mut Writer) -> Result<(), Fault> {
    let create = CreateGroup {
        name: call.parameters.required("GroupName")?.to_owned(),
        path: path(call),
        id: random(entity_id("AGPA"))?,
        account: ROOT_ACCOUNT,
    };
    submit(call, create).await?;
    write_whole(xml, &group(call)?);
    Ok(())
}

/// A group with its users.
///
/// # Errors
/// `NoSuchEntity`, `ValidationError`.
pub fn get(call: &Call<'_>, xml: &mut Writer) -> Result<(), Fault> {
    let group = group(call)?;
    let mut members = call.shared.cluster.read(|view| view.users())?;
    members.retain(|user| user.groups.contains(&group.name));
    let page = Page::of(call, members, |user| &user.name)?;
    write_whole(xml, &group);
    page.write(xml, "Users", users::write);
    Ok(())
}

/// Groups, below a path where one is given.
///
/// # Errors
/// `ValidationError`.
pub fn list(call: &Call<'_>, xml: &mut Writer) -> Result<(), Fault> {
    let groups = call.shared.cluster.read(|view| view.user_groups())?;
    let groups = below_prefix(call, groups, |group| &group.path);
    Page::of(call, groups, |group| &group.name)?.write(xml, "Groups", write);
    Ok(())
}

/// The groups that a user is in.
///
/// # Errors
/// `NoSuchEntity`, `ValidationError`.
pub fn list_of_user(call: &Call<'_>, xml: &mut Writer) -> Result<(), Fault> {
    let user = user_named(call, call.parameters.required("UserName")?)?;
    let mut groups = call.shared.cluster.read(|view| view.user_groups())?;
    groups.retain(|group| user.groups.contains(&group.name));
    Page::of(call, groups, |group| &group.name)?.write(xml, "Groups", write);
    Ok(())
}

/// Deletes a group that has nothing left.
///
/// # Errors
/// `NoSuchEntity`, `DeleteConflict`.
pub async fn delete(call: &Call<'_>, _: &mut Writer) -> Result<(), Fault> {
    let name = call.parameters.required("GroupName")?.to_owned();
    submit(call, DeleteGroup { name }).await
}

/// Takes a user into a group.
///
/// # Errors
/// `NoSuchEntity`, `LimitExceeded`.
pub async fn add_user(call: &Call<'_>, _: &mut Writer) -> Result<(), Fault> {
    submit(call, membership(call, true)?).await
}

/// Takes a user out of a group.
///
/// # Errors
/// `NoSuchEntity`.
pub async fn remove_user(call: &Call<'_>, _: &mut Writer) -> Result<(), Fault> {
    submit(call, membership(call, false)?).await
}

fn membership(call: &Call<'_>, member: bool) -> Result<SetMembership, Fault> {
    Ok(SetMembership {
        user: call.parameters.required("UserName")?.to_owned(),
        group: call.parameters.required("GroupName")?.to_owned(),
        member,
    })
}

fn write_whole(xml: &mut Writer, group: &Group) {
    xml.open("Group");
    write(xml, group);
    xml.close("Group");
}

fn write(xml: &mut Writer, group: &Group) {
    let arn = group_arn(group.account, &group.path, &group.name);
    for (name, text) in [
        ("Path", &group.path),
        ("GroupName", &group.name),
        ("GroupId", &group.id),
        ("Arn", &arn),
    ] {
        xml.element(name, text);
    }
    let created = whole_seconds(group.created_nanos);
    xml.value("CreateDate", Iso8601Seconds(created));
}
