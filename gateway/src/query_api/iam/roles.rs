//! Roles (IAM API reference, "CreateRole" and its neighbours).
//!
//! Invariant: a trust policy that is put is one, and names whom there is.

use strata_raftlog::namespace::Role;
use strata_raftlog::namespace::command::{CreateRole, DeleteRole, SetRoleBoundary, UpdateRole};

use super::page::{Page, below_prefix};
use super::{Managed, path, random, role, submit};
use crate::access::named;
use crate::access::sessions::role_arn;
use crate::dates::{Iso8601Seconds, whole_seconds};
use crate::error::{Code, Fault};
use crate::percent;
use crate::policy::{Policy, PolicyKind};
use crate::query_api::Call;
use crate::query_api::resource::policy_arn;
use crate::random_text::entity_id;
use crate::s3::ROOT_ACCOUNT;
use crate::xml::Writer;

/// How long sessions may last at least and at most, in seconds, as a role says it.
const SECONDS_MIN: u64 = 3_600;
const SECONDS_MAX: u64 = 43_200;

/// Creates a role, with a boundary where one is given: both at once, since who may create bounded roles alone must not make another.
///
/// # Errors
/// `EntityAlreadyExists`, `LimitExceeded`, `MalformedPolicyDocument`, `ValidationError`; `NoSuchEntity` for the boundary.
pub async fn create(call: &Call<'_>, xml: &mut Writer) -> Result<(), Fault> {
    let name = call.parameters.required("RoleName")?;
    let boundary = call.parameters.get("PermissionsBoundary");
    let boundary = boundary.map(|arn| Managed::of_arn(call, arn)).transpose()?;
    let description = call.parameters.get("Description").unwrap_or_default();
    let create = CreateRole {
        name: name.to_owned(),
        path: path(call),
        id: random(entity_id("AROA"))?,
        account: ROOT_ACCOUNT,
        trust_policy: trust(call, "AssumeRolePolicyDocument")?,
        max_session_seconds: seconds(call)?.unwrap_or(SECONDS_MIN as u32),
        description: description.to_owned(),
        boundary: boundary.map(|policy| policy.name()),
    };
    submit(call, create).await?;
    write_whole(xml, &role(call)?);
    Ok(())
}

/// A role.
///
/// # Errors
/// `NoSuchEntity`.
pub fn get(call: &Call<'_>, xml: &mut Writer) -> Result<(), Fault> {
    write_whole(xml, &role(call)?);
    Ok(())
}

/// Roles, below a path where one is given.
///
/// # Errors
/// `ValidationError`.
pub fn list(call: &Call<'_>, xml: &mut Writer) -> Result<(), Fault> {
    let roles = call.shared.cluster.read(|view| view.roles())?;
    let roles = below_prefix(call, roles, |role| &role.path);
    Page::of(call, roles, |role| &role.name)?.write(xml, "Roles", write);
    Ok(())
}

/// Changes how long sessions of a role may last, or what it is for.
///
/// # Errors
/// `NoSuchEntity`, `ValidationError`.
pub async fn update(call: &Call<'_>, _: &mut Writer) -> Result<(), Fault> {
    let update = UpdateRole {
        role: role(call)?.name,
        trust_policy: None,
        max_session_seconds: seconds(call)?,
        description: call.parameters.get("Description").map(str::to_owned),
    };
    submit(call, update).await
}

/// Says who may assume a role.
///
/// # Errors
/// `NoSuchEntity`, `MalformedPolicyDocument`, `LimitExceeded`.
pub async fn update_trust(call: &Call<'_>, _: &mut Writer) -> Result<(), Fault> {
    let update = UpdateRole {
        role: role(call)?.name,
        trust_policy: Some(trust(call, "PolicyDocument")?),
        max_session_seconds: None,
        description: None,
    };
    submit(call, update).await
}

/// Deletes a role that has nothing left.
///
/// # Errors
/// `NoSuchEntity`, `DeleteConflict`.
pub async fn delete(call: &Call<'_>, _: &mut Writer) -> Result<(), Fault> {
    let name = call.parameters.required("RoleName")?.to_owned();
    submit(call, DeleteRole { name }).await
}

/// Bounds what the policies of a role may allow.
///
/// # Errors
/// `NoSuchEntity`, `InvalidInput`.
pub async fn put_boundary(call: &Call<'_>, _: &mut Writer) -> Result<(), Fault> {
    let arn = call.parameters.required("PermissionsBoundary")?;
    let policy = Some(Managed::of_arn(call, arn)?.name());
    let role = call.parameters.required("RoleName")?.to_owned();
    submit(call, SetRoleBoundary { role, policy }).await
}

/// Takes the boundary of a role away.
///
/// # Errors
/// `NoSuchEntity`.
pub async fn delete_boundary(call: &Call<'_>, _: &mut Writer) -> Result<(), Fault> {
    let role = call.parameters.required("RoleName")?.to_owned();
    submit(call, SetRoleBoundary { role, policy: None }).await
}

/// The tags of a role, of which none has any.
///
/// # Errors
/// `NoSuchEntity`.
pub fn tags(call: &Call<'_>, xml: &mut Writer) -> Result<(), Fault> {
    role(call)?;
    empty(call, xml, "Tags")
}

/// The instance profiles of a role, of which none has any: clients ask before they delete one.
///
/// # Errors
/// `NoSuchEntity`.
pub fn instance_profiles(call: &Call<'_>, xml: &mut Writer) -> Result<(), Fault> {
    role(call)?;
    empty(call, xml, "InstanceProfiles")
}

fn empty(call: &Call<'_>, xml: &mut Writer, list: &str) -> Result<(), Fault> {
    Page::of(call, Vec::<String>::new(), |item| item)?.write(xml, list, |_, _| {});
    Ok(())
}

/// Tags, which roles do not have here.
///
/// # Errors
/// `NoSuchEntity`; `NotImplemented`.
pub fn tag(call: &Call<'_>, _: &mut Writer) -> Result<(), Fault> {
    role(call)?;
    Err(Fault::not_implemented("A tag of a role"))
}

/// Takes tags away: there are none.
///
/// # Errors
/// `NoSuchEntity`.
pub fn untag(call: &Call<'_>, _: &mut Writer) -> Result<(), Fault> {
    role(call)?;
    Ok(())
}

fn seconds(call: &Call<'_>) -> Result<Option<u32>, Fault> {
    let seconds = call
        .parameters
        .number("MaxSessionDuration", SECONDS_MIN, SECONDS_MAX)?;
    Ok(seconds.and_then(|seconds| u32::try_from(seconds).ok()))
}

/// The trust policy in a parameter.
fn trust(call: &Call<'_>, parameter: &str) -> Result<String, Fault> {
    let document = call.parameters.required(parameter)?;
    let malformed = |message: String| Fault::new(Code::MalformedPolicyDocument, message);
    let kind = PolicyKind::Trust;
    let policy = Policy::parse(document.as_bytes(), kind);
    let policy = policy.map_err(|error| malformed(error.to_string()))?;
    let missing = call
        .shared
        .cluster
        .read(|view| named::missing(view, &policy, kind))?;
    match missing {
        None => Ok(document.to_owned()),
        Some(error) => Err(malformed(error.to_string())),
    }
}

/// Writes a role with the boundary, which listings do not show.
fn write_whole(xml: &mut Writer, role: &Role) {
    xml.open("Role");
    write(xml, role);
    if let Some(boundary) = &role.boundary {
        xml.open("PermissionsBoundary");
        xml.element("PermissionsBoundaryType", "PermissionsBoundaryPolicy");
        xml.element("PermissionsBoundaryArn", &policy_arn(boundary));
        xml.close("PermissionsBoundary");
    }
    xml.close("Role");
}

fn write(xml: &mut Writer, role: &Role) {
    let arn = role_arn(role.account, &role.path, &role.name);
    let trust = percent::encode(role.trust_policy.as_bytes()).to_string();
    for (name, text) in [
        ("Path", &role.path),
        ("RoleName", &role.name),
        ("RoleId", &role.id),
        ("Arn", &arn),
        ("AssumeRolePolicyDocument", &trust),
    ] {
        xml.element(name, text);
    }
    let created = whole_seconds(role.created_nanos);
    xml.value("CreateDate", Iso8601Seconds(created));
    let description = Some(&*role.description).filter(|text| !text.is_empty());
    xml.optional("Description", description);
    xml.value("MaxSessionDuration", role.max_session_seconds);
}
