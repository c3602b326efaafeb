//! Accounts, users, groups, access keys and policies: what the admin socket is asked about them, answered by reactor 0 from the replicated state; [`roles`]: roles
//! and session keys.
//!
//! Invariants: a change is answered when it is in force, or with what is known of it; a secret is in the answer to the request that made it, and in
//! no other, no log and no error; no user has a key with the id of a configured one; a managed policy of the state goes before a built-in one of its
//! name, which a later version may bring, and what is attached is detached under its name wherever it is kept, or was.

mod roles;

use std::sync::mpsc::{self, RecvTimeoutError};
use std::time::Duration;

use serde_json::{Value, json};
use strata_engine::reactor::{Receiver, Sender};
use strata_gateway::policy::{BUILT_IN_POLICIES, Policy, PolicyKind, built_in_policy};
use strata_gateway::random_text::{access_key, entity_id};
use strata_gateway::s3::ROOT_ACCOUNT;
use strata_net::{Cluster, ClusterError};
use strata_raftlog::namespace::command::{
    AttachPolicy, Command, CreateAccessKey, CreateGroup, CreateUser, DeleteAccessKey,
    DeleteAccount, DeleteGroup, DeleteInlinePolicy, DeleteManagedPolicy, DeleteUser, DetachPolicy,
    PutInlinePolicy, PutManagedPolicy, SetAccessKeyActive, SetBoundary, SetMembership,
};
use strata_raftlog::namespace::{
    AccessKey, AccessKeySecret, Group, InlinePolicy, ManagedPolicy, ManagedPolicyName,
    PolicySource, Principal, User,
};

use super::accounts;
use super::root_key::is_without_effect;
use crate::admin::protocol::users::{Of, UsersRequest};
use crate::config::Config;

/// How long an answer is waited for. A log that takes longer has a disk that hangs.
const ANSWER_TIME: Duration = Duration::from_secs(60);

/// A request, and where its answer goes.
pub struct Asked {
    request: UsersRequest,
    reply: mpsc::Sender<Result<Value, String>>,
}

/// Asks the reactor that answers.
pub struct Users {
    configured_ids: Vec<String>,
    requests: Sender<Asked>,
}

impl Users {
    /// Requests that are answered by whoever reads the other end of `requests`.
    pub fn new(config: &Config, requests: Sender<Asked>) -> Users {
        let configured = config.credentials.iter();
        Users {
            configured_ids: configured
                .map(|known| known.access_key_id.clone())
                .collect(),
            requests,
        }
    }

    /// Refuses a key that is given by halves, or has the id of a configured one.
    fn check(&self, request: &UsersRequest) -> Result<(), String> {
        let (UsersRequest::CreateKey {
            access_key_id,
            secret_access_key,
            ..
        }
        | UsersRequest::CreateAccountKey {
            access_key_id,
            secret_access_key,
            ..
        }) = request
        else {
            return Ok(());
        };
        match access_key_id {
            id if id.is_some() != secret_access_key.is_some() => {
                Err("access_key_id and secret_access_key come together".to_owned())
            }
            Some(id) if self.configured_ids.contains(id) => Err(format!(
                "`s3.auth.credentials` holds a key with the id {id}"
            )),
            _ => Ok(()),
        }
    }

    /// Has a request answered. Blocks until it is; not for a reactor.
    ///
    /// # Errors
    /// Why nothing was done, or why that is not known.
    pub fn ask(&self, request: UsersRequest) -> Result<Value, String> {
        self.check(&request)?;
        let (reply, answer) = mpsc::channel();
        if self.requests.try_send(Asked { request, reply }).is_err() {
            return Err("too many such requests wait, or the server is stopping".to_owned());
        }
        match answer.recv_timeout(ANSWER_TIME) {
            Ok(answer) => answer,
            Err(RecvTimeoutError::Timeout) => Err(unknown("the log does not answer")),
            Err(RecvTimeoutError::Disconnected) => Err(unknown("the server is stopping")),
        }
    }
}

/// Refuses a configured key that has the id of a user's: it would take its place.
///
/// # Errors
/// Names the id and what to do.
pub fn refuse_configured(cluster: &Cluster, configured: &[String]) -> Result<(), String> {
    for id in configured {
        let found = cluster.access_key(id).map_err(|error| error.to_string())?;
        if let Some(key) = found {
            let holder = match key.user.as_str() {
                "" => format!("account {}", key.account),
                user => format!("user {user}"),
            };
            return Err(format!(
                "`s3.auth.credentials` holds the id of an access key of {holder}, {id}: take it out of there, or delete that key with \
                 `strata admin key delete` before"
            ));
        }
    }
    Ok(())
}

/// Answers what comes, one after the other, until nobody asks any more.
pub async fn answer_all(cluster: Cluster, mut requests: Receiver<Asked>) {
    while let Some(Asked { request, reply }) = requests.recv().await {
        let outcome = answer(&cluster, request).await;
        // Whoever has stopped waiting was told that the outcome is not known.
        let _ = reply.send(outcome);
    }
}

async fn answer(cluster: &Cluster, request: UsersRequest) -> Result<Value, String> {
    let change = match request {
        UsersRequest::ListUsers => return list_users(cluster),
        UsersRequest::ShowUser { user } => return show_user(cluster, &user),
        UsersRequest::ListKeys { user } => return list_keys(cluster, &user),
        UsersRequest::ListGroups => return list_groups(cluster),
        UsersRequest::ShowGroup { group } => return show_group(cluster, &group),
        UsersRequest::ListPolicies { of } => return list_policies(cluster, of),
        UsersRequest::ShowPolicy { policy, of } => return show_policy(cluster, &policy, of),
        UsersRequest::CreateKey {
            user,
            access_key_id,
            secret_access_key,
        } => return create_key(cluster, user, access_key_id.zip(secret_access_key)).await,
        UsersRequest::ListAccounts => return accounts::list(cluster),
        UsersRequest::CreateAccount { account, number } => {
            return accounts::create(cluster, account, number).await;
        }
        UsersRequest::CreateAccountKey {
            number,
            access_key_id,
            secret_access_key,
        } => {
            let given = access_key_id.zip(secret_access_key);
            return accounts::create_key(cluster, number, given).await;
        }
        UsersRequest::CreateUser { user, path } => {
            let (name, id, account) = (user.clone(), entity_id("AIDA")?, ROOT_ACCOUNT);
            let create = CreateUser {
                name,
                path,
                id,
                account,
                boundary: None,
            };
            submit(cluster, create.into()).await?;
            return show_user(cluster, &user);
        }
        UsersRequest::CreateGroup { group, path } => {
            let (name, id, account) = (group.clone(), entity_id("AGPA")?, ROOT_ACCOUNT);
            let create = CreateGroup {
                name,
                path,
                id,
                account,
            };
            submit(cluster, create.into()).await?;
            return show_group(cluster, &group);
        }
        UsersRequest::PutPolicy {
            policy,
            document,
            of,
        } => {
            refuse_built_in(cluster, &policy, &of)?;
            let known = cluster.read(|view| view.managed_policy(&policy));
            let id = known.map_err(failed)?.map(|known| known.id);
            let id = id.map_or_else(|| entity_id("ANPA"), Ok)?;
            put_policy(policy, document, of, id)?
        }
        UsersRequest::ListRoles => return roles::list(cluster),
        UsersRequest::ShowRole { role } => return roles::show(cluster, &role),
        UsersRequest::ListSessionKeys => return roles::list_session_keys(cluster),
        UsersRequest::AddSessionKey => return roles::add_session_key(cluster).await,
        create @ UsersRequest::CreateRole { .. } => return roles::create(cluster, create).await,
        other => command_of(cluster, other)?,
    };
    submit(cluster, change).await?;
    Ok(json!({}))
}

/// The command of a change that says nothing more than that it was made.
fn command_of(cluster: &Cluster, request: UsersRequest) -> Result<Command, String> {
    Ok(match request {
        UsersRequest::DeleteUser { user } => DeleteUser { name: user }.into(),
        UsersRequest::SetBoundary { user, policy } => {
            let policy = policy.map(|name| managed(cluster, name)).transpose()?;
            SetBoundary { user, policy }.into()
        }
        UsersRequest::DeleteAccount { number } => DeleteAccount { number }.into(),
        UsersRequest::DeleteKey { access_key_id } => DeleteAccessKey { access_key_id }.into(),
        UsersRequest::SetKeyActive {
            access_key_id,
            active,
        } => SetAccessKeyActive {
            access_key_id,
            active,
        }
        .into(),
        UsersRequest::DeleteGroup { group } => DeleteGroup { name: group }.into(),
        UsersRequest::SetMembership {
            user,
            group,
            member,
        } => SetMembership {
            user,
            group,
            member,
        }
        .into(),
        UsersRequest::DeletePolicy { policy, of } => {
            refuse_built_in(cluster, &policy, &of)?;
            delete_policy(policy, of)?
        }
        UsersRequest::AttachPolicy { policy, of } => {
            let (principal, policy) = (someone(of)?, managed(cluster, policy)?);
            AttachPolicy { principal, policy }.into()
        }
        UsersRequest::DetachPolicy { policy, of } => {
            let principal = someone(of)?;
            let policy = to_detach(
                managed(cluster, policy)?,
                &attached_to(cluster, &principal)?,
            );
            DetachPolicy { principal, policy }.into()
        }
        other => return roles::command_of(cluster, other),
    })
}

fn put_policy(name: String, document: String, of: Of, id: String) -> Result<Command, String> {
    Policy::parse(document.as_bytes(), PolicyKind::Identity).map_err(|error| error.to_string())?;
    match principal(of)? {
        Some(principal) => Ok(PutInlinePolicy {
            principal,
            name,
            document,
        }
        .into()),
        None => Ok(PutManagedPolicy { name, id, document }.into()),
    }
}

fn delete_policy(name: String, of: Of) -> Result<Command, String> {
    match principal(of)? {
        Some(principal) => Ok(DeleteInlinePolicy { principal, name }.into()),
        None => Ok(DeleteManagedPolicy { name }.into()),
    }
}

/// Refuses to change a managed policy that is built in.
fn refuse_built_in(cluster: &Cluster, name: &str, of: &Of) -> Result<(), String> {
    let is_managed = *of == Of::default();
    let found = cluster.read(|view| view.managed_policy(name));
    match built_in_policy(name) {
        Some(policy) if is_managed && found.map_err(failed)?.is_none() => {
            Err(format!("{} is built in and stays as it is", policy.name))
        }
        _ => Ok(()),
    }
}

/// The managed policy that a name means now.
fn managed(cluster: &Cluster, name: String) -> Result<ManagedPolicyName, String> {
    let found = cluster.read(|view| view.managed_policy(&name));
    Ok(of_name(name, found.map_err(failed)?.is_some()))
}

/// A managed policy by its name: one of the state, or else one that is built in.
fn of_name(name: String, is_in_state: bool) -> ManagedPolicyName {
    match built_in_policy(&name) {
        Some(policy) if !is_in_state => ManagedPolicyName {
            source: PolicySource::BuiltIn,
            name: policy.name.to_owned(),
        },
        _ => ManagedPolicyName {
            source: PolicySource::State,
            name,
        },
    }
}

/// What is attached of a policy's name: that policy, or else the one that the name meant when it was attached.
fn to_detach(meant: ManagedPolicyName, attached: &[ManagedPolicyName]) -> ManagedPolicyName {
    let is_of_name = |known: &&ManagedPolicyName| known.name.eq_ignore_ascii_case(&meant.name);
    let is_it = attached.iter().any(|known| known.is_same(&meant));
    match attached.iter().find(is_of_name) {
        Some(known) if !is_it => known.clone(),
        _ => meant,
    }
}

fn attached_to(cluster: &Cluster, principal: &Principal) -> Result<Vec<ManagedPolicyName>, String> {
    let found = cluster.read(|view| {
        Ok(match principal {
            Principal::User(name) => view.user(name)?.map(|user| user.attached),
            Principal::Group(name) => view.user_group(name)?.map(|group| group.attached),
            Principal::Role(name) => view.role(name)?.map(|role| role.attached),
        })
    });
    Ok(found.map_err(failed)?.unwrap_or_default())
}

fn principal(of: Of) -> Result<Option<Principal>, String> {
    match (of.user, of.group, of.role) {
        (None, None, None) => Ok(None),
        (Some(user), None, None) => Ok(Some(Principal::User(user))),
        (None, Some(group), None) => Ok(Some(Principal::Group(group))),
        (None, None, Some(role)) => Ok(Some(Principal::Role(role))),
        _ => Err("a policy is of a user, of a group or of a role, not of several".to_owned()),
    }
}

fn someone(of: Of) -> Result<Principal, String> {
    principal(of)?
        .ok_or_else(|| "a policy is attached to a user, to a group or to a role".to_owned())
}

async fn create_key(
    cluster: &Cluster,
    user: String,
    given: Option<(String, String)>,
) -> Result<Value, String> {
    let (id, secret) = key_pair(given)?;
    let create = CreateAccessKey {
        user: user.clone(),
        access_key_id: id.clone(),
        secret_access_key: AccessKeySecret(secret.clone()),
    };
    submit(cluster, create.into()).await?;
    Ok(new_key_fields(&user, &id, &secret))
}

/// The key that is given, or a new one.
pub(super) fn key_pair(given: Option<(String, String)>) -> Result<(String, String), String> {
    match given {
        Some(given) => Ok(given),
        None => access_key(),
    }
}

/// A new key of a user or an account, with its secret.
pub(super) fn new_key_fields(user: &str, access_key_id: &str, secret: &str) -> Value {
    json!({
        "user": user,
        "access_key_id": access_key_id,
        "secret_access_key": secret,
    })
}

/// Has a change made.
pub(super) async fn submit(cluster: &Cluster, command: Command) -> Result<(), String> {
    let name = command.name();
    match cluster.submit(command).await {
        Ok(_) => {
            tracing::info!(command = name, "a change of users is in force");
            Ok(())
        }
        Err(ClusterError::Refused(refusal)) => Err(refusal.to_string()),
        Err(error) if is_without_effect(&error) => Err(format!("nothing was changed: {error}")),
        Err(error) => Err(unknown(&error.to_string())),
    }
}

fn unknown(why: &str) -> String {
    format!("it is not known whether the change is in force ({why}): look before you try again")
}

pub(super) fn failed(error: ClusterError) -> String {
    error.to_string()
}

fn list_users(cluster: &Cluster) -> Result<Value, String> {
    let users = cluster.read(|view| view.users()).map_err(failed)?;
    Ok(users.iter().map(user_fields).collect())
}

fn show_user(cluster: &Cluster, name: &str) -> Result<Value, String> {
    let found = cluster.read(|view| {
        let Some(user) = view.user(name)? else {
            return Ok(None);
        };
        let inline = view.inline_policies(&Principal::User(user.name.clone()))?;
        let ids = user.access_key_ids.iter();
        let keys: Result<Vec<_>, _> = ids.map(|id| view.access_key(id)).collect();
        Ok(Some((user, inline, keys?)))
    });
    let (user, inline, keys) = found.map_err(failed)?.ok_or_else(|| no_user(name))?;
    let mut shown = user_fields(&user);
    shown["access_keys"] = keys.iter().flatten().map(key_fields).collect();
    shown["policies"] = names_of(&inline);
    Ok(shown)
}

fn list_keys(cluster: &Cluster, name: &str) -> Result<Value, String> {
    Ok(show_user(cluster, name)?["access_keys"].take())
}

fn list_groups(cluster: &Cluster) -> Result<Value, String> {
    let groups = cluster.read(|view| view.user_groups()).map_err(failed)?;
    Ok(groups.iter().map(group_fields).collect())
}

fn show_group(cluster: &Cluster, name: &str) -> Result<Value, String> {
    let found = cluster.read(|view| {
        let Some(group) = view.user_group(name)? else {
            return Ok(None);
        };
        let inline = view.inline_policies(&Principal::Group(group.name.clone()))?;
        Ok(Some((group, inline, view.users()?)))
    });
    let (group, inline, users) = found.map_err(failed)?.ok_or_else(|| no_group(name))?;
    let members = users
        .iter()
        .filter(|user| user.groups.contains(&group.name));
    let mut shown = group_fields(&group);
    shown["users"] = members.map(|user| user.name.as_str()).collect();
    shown["policies"] = names_of(&inline);
    Ok(shown)
}

fn list_policies(cluster: &Cluster, of: Of) -> Result<Value, String> {
    let Some(principal) = principal(of)? else {
        let policies = cluster.read(|view| view.managed_policies());
        let policies = policies.map_err(failed)?;
        let built_in = BUILT_IN_POLICIES
            .iter()
            .map(|policy| json!({ "policy": policy.name, "built_in": true }));
        return Ok(policies.iter().map(policy_fields).chain(built_in).collect());
    };
    let shown = match &principal {
        Principal::User(name) => show_user(cluster, name)?,
        Principal::Group(name) => show_group(cluster, name)?,
        Principal::Role(name) => roles::show(cluster, name)?,
    };
    Ok(json!({ "policies": shown["policies"], "attached": shown["attached"] }))
}

fn show_policy(cluster: &Cluster, name: &str, of: Of) -> Result<Value, String> {
    let Some(principal) = principal(of)? else {
        let found = cluster.read(|view| view.managed_policy(name));
        let found = match (found.map_err(failed)?, built_in_policy(name)) {
            (Some(found), _) => found,
            (None, None) => return Err(no_policy(name)),
            (None, Some(policy)) => {
                return Ok(json!({
                    "policy": policy.name,
                    "built_in": true,
                    "document": policy.document,
                }));
            }
        };
        let mut shown = policy_fields(&found);
        shown["document"] = found.document.into();
        return Ok(shown);
    };
    let found = cluster.read(|view| {
        let is_there = match &principal {
            Principal::User(name) => view.user(name)?.is_some(),
            Principal::Group(name) => view.user_group(name)?.is_some(),
            Principal::Role(name) => view.role(name)?.is_some(),
        };
        Ok((is_there, view.inline_policies(&principal)?))
    });
    let (is_there, policies) = found.map_err(failed)?;
    if !is_there {
        return Err(match &principal {
            Principal::User(name) => no_user(name),
            Principal::Group(name) => no_group(name),
            Principal::Role(name) => roles::no_role(name),
        });
    }
    let mut policies = policies.into_iter();
    let found = policies.find(|policy| policy.name.eq_ignore_ascii_case(name));
    let found = found.ok_or_else(|| no_policy(name))?;
    Ok(json!({ "policy": found.name, "built_in": false, "document": found.document }))
}

fn no_user(name: &str) -> String {
    format!("The user with name {name} cannot be found.")
}

fn no_group(name: &str) -> String {
    format!("The group with name {name} cannot be found.")
}

fn no_policy(name: &str) -> String {
    format!("Policy {name} was not found.")
}

fn user_fields(user: &User) -> Value {
    json!({
        "user": user.name,
        "id": user.id,
        "arn": format!("arn:aws:iam::{:012}:user{}{}", user.account, user.path, user.name),
        "path": user.path,
        "created_unix_seconds": seconds(user.created_nanos),
        "groups": user.groups,
        "access_key_ids": user.access_key_ids,
        "attached": attached(&user.attached),
        "boundary": user.boundary.as_ref().map(attached_fields),
    })
}

fn group_fields(group: &Group) -> Value {
    json!({
        "group": group.name,
        "id": group.id,
        "arn": format!("arn:aws:iam::{:012}:group{}{}", group.account, group.path, group.name),
        "path": group.path,
        "created_unix_seconds": seconds(group.created_nanos),
        "members": group.members,
        "attached": attached(&group.attached),
    })
}

/// Without the secret.
fn key_fields(key: &AccessKey) -> Value {
    json!({
        "access_key_id": key.id,
        "active": key.active,
        "created_unix_seconds": seconds(key.created_nanos),
    })
}

fn policy_fields(policy: &ManagedPolicy) -> Value {
    json!({
        "policy": policy.name,
        "built_in": false,
        "id": policy.id,
        "created_unix_seconds": seconds(policy.created_nanos),
        "changed_unix_seconds": seconds(policy.changed_nanos),
        "uses": policy.uses,
    })
}

fn attached(policies: &[ManagedPolicyName]) -> Value {
    policies.iter().map(attached_fields).collect()
}

fn attached_fields(policy: &ManagedPolicyName) -> Value {
    json!({ "policy": policy.name, "built_in": policy.source == PolicySource::BuiltIn })
}

fn names_of(policies: &[InlinePolicy]) -> Value {
    policies.iter().map(|policy| policy.name.as_str()).collect()
}

fn seconds(nanos: i64) -> i64 {
    nanos.div_euclid(1_000_000_000)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_policy_in_awss_language_is_put() {
        let put = |document: &str, of| {
            let id = "ANPA00000000000000001".to_owned();
            put_policy("p".to_owned(), document.to_owned(), of, id)
        };
        let right = r#"{"Version":"2012-10-17","Statement":{"Effect":"Allow","Action":"s3:GetObject","Resource":"*"}}"#;
        let of_a_bucket = right.replace("{\"Effect", "{\"Principal\":\"*\",\"Effect");
        assert!(put(right, Of::default()).is_ok());
        for document in ["", "[]", "{", "{}", "null", &of_a_bucket] {
            let why = put(document, Of::default()).expect_err(document);
            assert!(!why.is_empty());
        }
        let both = Of {
            user: Some("a".into()),
            group: Some("b".into()),
            role: None,
        };
        assert!(put(right, both).is_err());
    }

    #[test]
    fn a_key_is_given_whole_and_not_with_a_configured_id() {
        let (requests, _asked) = strata_engine::reactor::mailbox(1);
        let users = Users {
            configured_ids: vec!["CONFIGURED_KEY_ID".to_owned()],
            requests,
        };
        let create = |id: Option<&str>, secret: Option<&str>| UsersRequest::CreateKey {
            user: "alice".to_owned(),
            access_key_id: id.map(str::to_owned),
            secret_access_key: secret.map(str::to_owned),
        };
        for (id, secret, is_right) in [
            (None, None, true),
            (Some("ANOTHER_KEY_OF_ITS_OWN"), Some("hushhush"), true),
            (Some("CONFIGURED_KEY_ID"), Some("hushhush"), false),
            (Some("ANOTHER_KEY_OF_ITS_OWN"), None, false),
            (None, Some("hushhush"), false),
        ] {
            assert_eq!(users.check(&create(id, secret)).is_ok(), is_right, "{id:?}");
        }
    }

    #[test]
    fn a_name_means_the_policy_of_the_state_or_else_a_built_in_one() {
        let name = || "amazons3readonlyaccess".to_owned();
        let built_in = of_name(name(), false);
        assert_eq!(
            (built_in.source, &*built_in.name),
            (PolicySource::BuiltIn, "AmazonS3ReadOnlyAccess")
        );
        assert_eq!(of_name(name(), true).source, PolicySource::State);
        let mine = of_name("mine".to_owned(), false);
        assert_eq!(mine.source, PolicySource::State);
    }

    #[test]
    fn what_is_attached_is_detached_whatever_its_name_means_now() {
        let of = |source| ManagedPolicyName {
            source,
            name: "Some".to_owned(),
        };
        let (state, built_in) = (of(PolicySource::State), of(PolicySource::BuiltIn));
        for meant in [&state, &built_in] {
            for known in [&state, &built_in] {
                let attached = std::slice::from_ref(known);
                assert_eq!(to_detach(meant.clone(), attached), *known);
            }
            let both = [state.clone(), built_in.clone()];
            assert_eq!(to_detach(meant.clone(), &both), *meant);
            assert_eq!(to_detach(meant.clone(), &[]), *meant);
        }
    }
}
