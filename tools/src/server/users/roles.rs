//! Roles and session keys: what the admin socket is asked about them.
//!
//! Invariants: a trust policy that is put is one, and names whom there is; a session key is shown by nobody.

use serde_json::{Value, json};
use strata_gateway::access::named;
use strata_gateway::access::sessions::role_arn;
use strata_gateway::policy::{Policy, PolicyKind};
use strata_gateway::random_text::entity_id;
use strata_gateway::s3::ROOT_ACCOUNT;
use strata_net::Cluster;
use strata_raftlog::namespace::command::{
    AddSessionKey, Command, CreateRole, DeleteRole, RemoveSessionKey, SetRoleBoundary, UpdateRole,
};
use strata_raftlog::namespace::{Principal, Role, SESSION_KEY_BYTES, SessionKeySecret};

use super::{attached, attached_fields, failed, managed, names_of, seconds, submit};
use crate::admin::protocol::users::UsersRequest;

/// The command of a change of roles or session keys that says nothing more than that it was made.
pub(super) fn command_of(cluster: &Cluster, request: UsersRequest) -> Result<Command, String> {
    Ok(match request {
        UsersRequest::UpdateRole {
            role,
            trust_policy,
            max_session_seconds,
            description,
        } => {
            if let Some(document) = &trust_policy {
                check_trust(cluster, document)?;
            }
            UpdateRole {
                role,
                trust_policy,
                max_session_seconds,
                description,
            }
            .into()
        }
        UsersRequest::DeleteRole { role } => DeleteRole { name: role }.into(),
        UsersRequest::SetRoleBoundary { role, policy } => {
            let policy = policy.map(|name| managed(cluster, name)).transpose()?;
            SetRoleBoundary { role, policy }.into()
        }
        UsersRequest::RemoveSessionKey { number } => RemoveSessionKey { number }.into(),
        _ => return Err("the request changes nothing".to_owned()),
    })
}

/// Creates a role and shows it.
pub(super) async fn create(cluster: &Cluster, request: UsersRequest) -> Result<Value, String> {
    let UsersRequest::CreateRole {
        role,
        path,
        trust_policy,
        max_session_seconds,
        description,
    } = request
    else {
        return Err("the request creates no role".to_owned());
    };
    check_trust(cluster, &trust_policy)?;
    let create = CreateRole {
        name: role.clone(),
        path,
        id: entity_id("AROA")?,
        account: ROOT_ACCOUNT,
        trust_policy,
        max_session_seconds,
        description,
        boundary: None,
    };
    submit(cluster, create.into()).await?;
    show(cluster, &role)
}

/// Refuses what is no trust policy, or names somebody who is not there.
fn check_trust(cluster: &Cluster, document: &str) -> Result<(), String> {
    let policy = Policy::parse(document.as_bytes(), PolicyKind::Trust);
    let policy = policy.map_err(|error| error.to_string())?;
    let missing = cluster.read(|view| named::missing(view, &policy, PolicyKind::Trust));
    match missing.map_err(failed)? {
        None => Ok(()),
        Some(error) => Err(error.to_string()),
    }
}

pub(super) fn list(cluster: &Cluster) -> Result<Value, String> {
    let roles = cluster.read(|view| view.roles()).map_err(failed)?;
    Ok(roles.iter().map(fields).collect())
}

pub(super) fn show(cluster: &Cluster, name: &str) -> Result<Value, String> {
    let found = cluster.read(|view| {
        let Some(role) = view.role(name)? else {
            return Ok(None);
        };
        let inline = view.inline_policies(&Principal::Role(role.name.clone()))?;
        Ok(Some((role, inline)))
    });
    let (role, inline) = found.map_err(failed)?.ok_or_else(|| no_role(name))?;
    let mut shown = fields(&role);
    shown["policies"] = names_of(&inline);
    shown["trust_policy"] = role.trust_policy.into();
    Ok(shown)
}

pub(super) fn no_role(name: &str) -> String {
    format!("The role with name {name} cannot be found.")
}

fn fields(role: &Role) -> Value {
    json!({
        "role": role.name,
        "id": role.id,
        "arn": role_arn(role.account, &role.path, &role.name),
        "path": role.path,
        "created_unix_seconds": seconds(role.created_nanos),
        "max_session_seconds": role.max_session_seconds,
        "description": role.description,
        "attached": attached(&role.attached),
        "boundary": role.boundary.as_ref().map(attached_fields),
    })
}

/// All session keys, without what they are.
pub(super) fn list_session_keys(cluster: &Cluster) -> Result<Value, String> {
    let keys = cluster.read(|view| view.session_keys()).map_err(failed)?;
    let newest = keys.last().map(|key| key.number);
    let keys = keys.iter().map(|key| {
        json!({
            "number": key.number,
            "created_unix_seconds": seconds(key.created_nanos),
            "seals": Some(key.number) == newest,
        })
    });
    Ok(keys.collect())
}

/// Adds a session key, by which new sessions are sealed, and shows its number.
pub(super) async fn add_session_key(cluster: &Cluster) -> Result<Value, String> {
    let keys = cluster.read(|view| view.session_keys()).map_err(failed)?;
    let number = keys.last().map_or(0, |key| key.number).saturating_add(1);
    let mut secret = [0; SESSION_KEY_BYTES];
    aws_lc_rs::rand::fill(&mut secret).map_err(|_| "the system has no random bytes".to_owned())?;
    let secret = SessionKeySecret(secret);
    submit(cluster, AddSessionKey { number, secret }.into()).await?;
    Ok(json!({ "number": number }))
}
