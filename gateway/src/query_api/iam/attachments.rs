//! Managed policies on users, groups and roles, and as boundaries of users (IAM API reference, "AttachUserPolicy" and its neighbours).

use strata_raftlog::namespace::command::{AttachPolicy, DetachPolicy, SetBoundary};
use strata_raftlog::namespace::{Group, ManagedPolicyName, Role, User};

use super::page::{Page, below_prefix};
use super::{Managed, no_such, one_of, principal, submit};
use crate::error::Fault;
use crate::query_api::Call;
use crate::query_api::resource::policy_arn;
use crate::xml::Writer;

/// Attaches a policy.
///
/// # Errors
/// `NoSuchEntity`, `LimitExceeded`, `InvalidInput`.
pub async fn attach(call: &Call<'_>, _: &mut Writer) -> Result<(), Fault> {
    let (principal, _) = principal(call)?;
    let policy = Managed::of_call(call)?.name();
    submit(call, AttachPolicy { principal, policy }).await
}

/// Detaches a policy; also one that was built in when it was attached and is no more.
///
/// # Errors
/// `NoSuchEntity`.
pub async fn detach(call: &Call<'_>, _: &mut Writer) -> Result<(), Fault> {
    let arn = call.parameters.required("PolicyArn")?;
    let (principal, attached) = principal(call)?;
    let mut attached = attached.into_iter();
    let policy = attached.find(|known| policy_arn(known) == arn);
    let policy = policy.ok_or_else(|| no_such(format!("Policy {arn} was not found.")))?;
    submit(call, DetachPolicy { principal, policy }).await
}

/// The policies that are attached to a user, a group or a role.
///
/// # Errors
/// `NoSuchEntity`, `ValidationError`.
pub fn list(call: &Call<'_>, xml: &mut Writer) -> Result<(), Fault> {
    let (_, attached) = principal(call)?;
    let with_arn = attached.iter().map(|policy| (policy, policy_arn(policy)));
    // All policies have the path `/`.
    let attached = below_prefix(call, with_arn.collect(), |_| "/");
    let page = Page::of(call, attached, |(_, arn)| arn)?;
    page.write(xml, "AttachedPolicies", |xml, (policy, arn)| {
        xml.element("PolicyName", &policy.name);
        xml.element("PolicyArn", arn);
    });
    Ok(())
}

/// Bounds what the policies of a user may allow.
///
/// # Errors
/// `NoSuchEntity`, `InvalidInput`.
pub async fn put_boundary(call: &Call<'_>, _: &mut Writer) -> Result<(), Fault> {
    let arn = call.parameters.required("PermissionsBoundary")?;
    let policy = Some(Managed::of_arn(call, arn)?.name());
    let user = call.parameters.required("UserName")?.to_owned();
    submit(call, SetBoundary { user, policy }).await
}

/// Takes the boundary of a user away.
///
/// # Errors
/// `NoSuchEntity`.
pub async fn delete_boundary(call: &Call<'_>, _: &mut Writer) -> Result<(), Fault> {
    let user = call.parameters.required("UserName")?.to_owned();
    submit(call, SetBoundary { user, policy: None }).await
}

/// One to whom a policy is attached, or whom it bounds.
enum Entity {
    Group(Group),
    Role(Role),
    User(User),
}

impl Entity {
    fn path(&self) -> &str {
        match self {
            Entity::Group(group) => &group.path,
            Entity::Role(role) => &role.path,
            Entity::User(user) => &user.path,
        }
    }
}

/// The users, groups and roles that a policy is attached to, or bounds.
///
/// # Errors
/// `NoSuchEntity`, `ValidationError`.
pub fn entities(call: &Call<'_>, xml: &mut Writer) -> Result<(), Fault> {
    const KINDS: &[&str] = &[
        "User",
        "Role",
        "Group",
        "LocalManagedPolicy",
        "AWSManagedPolicy",
    ];
    let policy = Managed::of_call(call)?.name();
    let kind = one_of(call, "EntityFilter", KINDS)?;
    let usage = Usage::of(call)?;
    let (users, groups, roles) = call
        .shared
        .cluster
        .read(|view| Ok((view.users()?, view.user_groups()?, view.roles()?)))?;
    let users = users.into_iter().filter(|user| {
        let is_wanted = kind.is_none_or(|kind| kind == "User");
        is_wanted && usage.is_of(&policy, &user.attached, user.boundary.as_ref())
    });
    let groups = groups.into_iter().filter(|group| {
        let is_wanted = kind.is_none_or(|kind| kind == "Group");
        is_wanted && usage.is_of(&policy, &group.attached, None)
    });
    let roles = roles.into_iter().filter(|role| {
        let is_wanted = kind.is_none_or(|kind| kind == "Role");
        is_wanted && usage.is_of(&policy, &role.attached, role.boundary.as_ref())
    });
    // No name has a slash.
    let named = groups.map(|group| (format!("group/{}", group.name), Entity::Group(group)));
    let named = named.chain(users.map(|user| (format!("user/{}", user.name), Entity::User(user))));
    let named = named.chain(roles.map(|role| (format!("role/{}", role.name), Entity::Role(role))));
    let entities = below_prefix(call, named.collect(), |(_, entity)| entity.path());
    let page = Page::of(call, entities, |(name, _)| name)?;
    xml.open("PolicyGroups");
    for (_, entity) in &page.items {
        if let Entity::Group(group) = entity {
            write_member(xml, "Group", &group.name, &group.id);
        }
    }
    xml.close("PolicyGroups");
    xml.open("PolicyUsers");
    for (_, entity) in &page.items {
        if let Entity::User(user) = entity {
            write_member(xml, "User", &user.name, &user.id);
        }
    }
    xml.close("PolicyUsers");
    xml.open("PolicyRoles");
    for (_, entity) in &page.items {
        if let Entity::Role(role) = entity {
            write_member(xml, "Role", &role.name, &role.id);
        }
    }
    xml.close("PolicyRoles");
    page.write_end(xml);
    Ok(())
}

fn write_member(xml: &mut Writer, kind: &str, name: &str, id: &str) {
    xml.open("member");
    xml.element(&format!("{kind}Name"), name);
    xml.element(&format!("{kind}Id"), id);
    xml.close("member");
}

/// Which uses of a policy count.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Usage {
    /// All of them.
    Any,
    /// Attachments.
    Permissions,
    /// Boundaries.
    Boundary,
}

impl Usage {
    /// What the parameter `PolicyUsageFilter` asks for.
    ///
    /// # Errors
    /// `ValidationError`.
    pub fn of(call: &Call<'_>) -> Result<Usage, Fault> {
        let words = &["PermissionsPolicy", "PermissionsBoundary"];
        Ok(match one_of(call, "PolicyUsageFilter", words)? {
            None => Usage::Any,
            Some("PermissionsPolicy") => Usage::Permissions,
            Some(_) => Usage::Boundary,
        })
    }

    fn is_of(
        self,
        policy: &ManagedPolicyName,
        attached: &[ManagedPolicyName],
        boundary: Option<&ManagedPolicyName>,
    ) -> bool {
        let is_attached = attached.iter().any(|known| known.is_same(policy));
        let is_boundary = boundary.is_some_and(|known| known.is_same(policy));
        match self {
            Usage::Any => is_attached || is_boundary,
            Usage::Permissions => is_attached,
            Usage::Boundary => is_boundary,
        }
    }
}
