//! Managed policies: those of the state, and those of AWS's that are built in (IAM API reference, "CreatePolicy" and its neighbours).
//!
//! Invariant: the path of a policy is `/`, and it has no description and no tags; what asks for another is refused.

use std::collections::BTreeMap;

use strata_raftlog::namespace::ManagedPolicyName;
use strata_raftlog::namespace::command::{DeleteManagedPolicy, PutManagedPolicy};

use super::attachments::Usage;
use super::page::{Page, below_prefix};
use super::policy_versions::VERSION;
use super::{Managed, document, one_of, path, random, submit};
use crate::dates::{Iso8601Seconds, whole_seconds};
use crate::error::{Code, Fault};
use crate::policy::{BUILT_IN_POLICIES, built_in_policy};
use crate::query_api::Call;
use crate::query_api::resource::policy_arn;
use crate::random_text::entity_id;
use crate::xml::Writer;

/// Creates a policy.
///
/// # Errors
/// `EntityAlreadyExists`, `MalformedPolicyDocument`, `LimitExceeded`, `ValidationError`; `NotImplemented` for a path but `/`.
pub async fn create(call: &Call<'_>, xml: &mut Writer) -> Result<(), Fault> {
    let name = call.parameters.required("PolicyName")?.to_owned();
    if path(call) != "/" {
        return Err(Fault::not_implemented("A path of a policy"));
    }
    // Whoever attaches policies by their names alone means the built-in one.
    if let Some(built_in) = built_in_policy(&name) {
        let name = built_in.name;
        let message = format!("A policy called {name} already exists: it is built in.");
        return Err(Fault::new(Code::EntityAlreadyExists, message));
    }
    let document = document(call)?;
    let id = random(entity_id("ANPA"))?;
    let put = PutManagedPolicy {
        name: name.clone(),
        id,
        document,
    };
    submit(call, put).await?;
    let found = call
        .shared
        .cluster
        .read(|view| view.managed_policy(&name))?;
    let created =
        found.ok_or_else(|| Fault::new(Code::NoSuchEntity, "The policy was deleted meanwhile."))?;
    xml.open("Policy");
    write(xml, &Managed::Own(created), Uses::default());
    xml.close("Policy");
    Ok(())
}

/// A policy.
///
/// # Errors
/// `NoSuchEntity`, `InvalidInput`.
pub fn get(call: &Call<'_>, xml: &mut Writer) -> Result<(), Fault> {
    let policy = Managed::of_call(call)?;
    let uses = all_uses(call)?.remove(&key_of(&policy.name()));
    xml.open("Policy");
    write(xml, &policy, uses.unwrap_or_default());
    xml.close("Policy");
    Ok(())
}

/// Policies of the state and those that are built in.
///
/// # Errors
/// `ValidationError`.
pub fn list(call: &Call<'_>, xml: &mut Writer) -> Result<(), Fault> {
    let scope = one_of(call, "Scope", &["All", "AWS", "Local"])?.unwrap_or("All");
    let only_attached = call.parameters.boolean("OnlyAttached")?.unwrap_or(false);
    let usage = Usage::of(call)?;
    let uses = all_uses(call)?;
    let mut policies: Vec<(String, Managed)> = Vec::new();
    let mut add = |policy: Managed| policies.push((policy_arn(&policy.name()), policy));
    if scope != "AWS" {
        let own = call.shared.cluster.read(|view| view.managed_policies())?;
        own.into_iter().map(Managed::Own).for_each(&mut add);
    }
    if scope != "Local" {
        BUILT_IN_POLICIES
            .iter()
            .map(Managed::BuiltIn)
            .for_each(&mut add);
    }
    let uses_of = |policy: &Managed| {
        uses.get(&key_of(&policy.name()))
            .copied()
            .unwrap_or_default()
    };
    policies.retain(|(_, policy)| {
        let of = uses_of(policy);
        (!only_attached || of.attachments > 0)
            && match usage {
                Usage::Any => true,
                Usage::Permissions => of.attachments > 0,
                Usage::Boundary => of.boundaries > 0,
            }
    });
    let policies = below_prefix(call, policies, |_| "/");
    let page = Page::of(call, policies, |(arn, _)| arn)?;
    page.write(xml, "Policies", |xml, (_, policy)| {
        write(xml, policy, uses_of(policy))
    });
    Ok(())
}

/// Deletes a policy that nothing uses.
///
/// # Errors
/// `NoSuchEntity`, `DeleteConflict`; `AccessDenied` for one that is built in.
pub async fn delete(call: &Call<'_>, _: &mut Writer) -> Result<(), Fault> {
    let name = Managed::own_of_call(call)?.name;
    submit(call, DeleteManagedPolicy { name }).await
}

/// The tags of a policy, of which none has any.
///
/// # Errors
/// `NoSuchEntity`.
pub fn tags(call: &Call<'_>, xml: &mut Writer) -> Result<(), Fault> {
    Managed::of_call(call)?;
    Page::of(call, Vec::<String>::new(), |tag| tag)?.write(xml, "Tags", |_, _| {});
    Ok(())
}

/// Tags, which policies do not have here.
///
/// # Errors
/// `NoSuchEntity`; `NotImplemented`.
pub fn tag(call: &Call<'_>, _: &mut Writer) -> Result<(), Fault> {
    Managed::own_of_call(call)?;
    Err(Fault::not_implemented("A tag of a policy"))
}

/// Takes tags away: there are none.
///
/// # Errors
/// `NoSuchEntity`.
pub fn untag(call: &Call<'_>, _: &mut Writer) -> Result<(), Fault> {
    Managed::own_of_call(call)?;
    Ok(())
}

/// How often a policy is used.
#[derive(Debug, Clone, Copy, Default)]
struct Uses {
    attachments: u32,
    boundaries: u32,
}

/// What two names of one policy have in common.
fn key_of(policy: &ManagedPolicyName) -> String {
    policy_arn(policy).to_ascii_lowercase()
}

/// The uses of all policies.
fn all_uses(call: &Call<'_>) -> Result<BTreeMap<String, Uses>, Fault> {
    let (users, groups) = call
        .shared
        .cluster
        .read(|view| Ok((view.users()?, view.user_groups()?)))?;
    let mut uses: BTreeMap<String, Uses> = BTreeMap::new();
    let of_users = users.iter().flat_map(|user| &user.attached);
    let of_groups = groups.iter().flat_map(|group| &group.attached);
    for policy in of_users.chain(of_groups) {
        uses.entry(key_of(policy)).or_default().attachments += 1;
    }
    for policy in users.iter().filter_map(|user| user.boundary.as_ref()) {
        uses.entry(key_of(policy)).or_default().boundaries += 1;
    }
    Ok(uses)
}

fn write(xml: &mut Writer, policy: &Managed, uses: Uses) {
    let name = policy.name();
    let (id, created, changed) = match policy {
        Managed::Own(policy) => {
            let (created, changed) = (policy.created_nanos, policy.changed_nanos);
            (
                policy.id.as_str(),
                whole_seconds(created),
                whole_seconds(changed),
            )
        }
        Managed::BuiltIn(policy) => (policy.id, policy.created_seconds, policy.created_seconds),
    };
    xml.element("PolicyName", &name.name);
    xml.element("PolicyId", id);
    xml.element("Arn", &policy_arn(&name));
    xml.element("Path", "/");
    xml.element("DefaultVersionId", VERSION);
    xml.value("AttachmentCount", uses.attachments);
    xml.value("PermissionsBoundaryUsageCount", uses.boundaries);
    xml.value("IsAttachable", true);
    xml.value("CreateDate", Iso8601Seconds(created));
    xml.value("UpdateDate", Iso8601Seconds(changed));
}
