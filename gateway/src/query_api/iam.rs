//! The actions of IAM on users, groups, access keys and policies, which the replicated state holds (IAM API reference, "Actions").
//!
//! Invariants: a change is answered when it is in force; what a name means is looked up without regard to case, as the state does, and is answered
//! in the case that it was given in; a policy is named by its ARN, exactly; whatever the state does not hold is refused or answered as
//! empty, never taken and forgotten.

pub mod access_keys;
pub mod account;
pub mod attachments;
pub mod credentials;
pub mod groups;
pub mod inline_policies;
pub mod managed_policies;
mod page;
pub mod policy_versions;
pub mod roles;
pub mod users;

use strata_net::ClusterError;
use strata_raftlog::namespace::command::{Command, Refusal};
use strata_raftlog::namespace::{
    Group, ManagedPolicy, ManagedPolicyName, PolicySource, Principal, Role, User,
};

use super::Call;
use super::call::{invalid, violation};
use super::resource::own_policy;
use crate::error::{Code, Fault};
use crate::policy::{self, BuiltInPolicy, Policy, PolicyKind, built_in_policy};
use crate::s3::ROOT_ACCOUNT;

/// Has a change made. Done means in force.
async fn submit(call: &Call<'_>, command: impl Into<Command>) -> Result<(), Fault> {
    let outcome = call.shared.cluster.submit(command.into()).await;
    match outcome {
        Ok(_) => Ok(()),
        Err(ClusterError::Refused(Refusal::Invalid(what))) => Err(invalid(what)),
        Err(error) => Err(error.into()),
    }
}

fn no_such(message: String) -> Fault {
    Fault::new(Code::NoSuchEntity, message)
}

/// The user of a name, who must be there.
fn user_named(call: &Call<'_>, name: &str) -> Result<User, Fault> {
    let found = call.shared.cluster.read(|view| view.user(name))?;
    found.ok_or_else(|| no_such(format!("The user with name {name} cannot be found.")))
}

/// The user of the parameter `UserName`, or else the one who calls.
fn user_or_self(call: &Call<'_>) -> Result<User, Fault> {
    let own = match &call.asker.identity.principal {
        policy::Principal::User(user) => Some(user.name.as_str()),
        policy::Principal::Root { .. }
        | policy::Principal::Session(_)
        | policy::Principal::Federated { .. }
        | policy::Principal::Anonymous => None,
    };
    let name = call.parameters.get("UserName").or(own);
    let name = name
        .ok_or_else(|| invalid("Must specify userName when calling with non-User credentials"))?;
    user_named(call, name)
}

/// The group of the parameter `GroupName`.
fn group(call: &Call<'_>) -> Result<Group, Fault> {
    let name = call.parameters.required("GroupName")?;
    let found = call.shared.cluster.read(|view| view.user_group(name))?;
    found.ok_or_else(|| no_such(format!("The group with name {name} cannot be found.")))
}

/// The role of the parameter `RoleName`.
fn role(call: &Call<'_>) -> Result<Role, Fault> {
    let name = call.parameters.required("RoleName")?;
    let found = call.shared.cluster.read(|view| view.role(name))?;
    found.ok_or_else(|| no_such(format!("The role with name {name} cannot be found.")))
}

/// A user, a group or a role, as the action's name says, with the managed policies that are attached.
fn principal(call: &Call<'_>) -> Result<(Principal, Vec<ManagedPolicyName>), Fault> {
    if call.action.parameters.contains(&"RoleName") {
        let role = role(call)?;
        return Ok((Principal::Role(role.name), role.attached));
    }
    match call.action.parameters.contains(&"GroupName") {
        true => {
            let group = group(call)?;
            Ok((Principal::Group(group.name), group.attached))
        }
        false => {
            let user = user_named(call, call.parameters.required("UserName")?)?;
            Ok((Principal::User(user.name), user.attached))
        }
    }
}

/// A managed policy.
enum Managed {
    Own(ManagedPolicy),
    BuiltIn(&'static BuiltInPolicy),
}

impl Managed {
    /// The policy of an ARN, which must be there.
    fn of_arn(call: &Call<'_>, arn: &str) -> Result<Managed, Fault> {
        let missing = || no_such(format!("Policy {arn} was not found."));
        if let Some(name) = arn.strip_prefix(&own_policy(ROOT_ACCOUNT, "")) {
            let found = call.shared.cluster.read(|view| view.managed_policy(name))?;
            let found = found.filter(|policy| policy.name == name);
            return found.map(Managed::Own).ok_or_else(missing);
        }
        if let Some(name) = arn.strip_prefix("arn:aws:iam::aws:policy/") {
            let found = built_in_policy(name).filter(|policy| policy.name == name);
            return found.map(Managed::BuiltIn).ok_or_else(missing);
        }
        let is_policy = arn.starts_with("arn:aws:iam::") && arn.contains(":policy/");
        match is_policy {
            true => Err(missing()),
            false => Err(Fault::new(
                Code::InvalidInput,
                format!("ARN {arn} is not valid."),
            )),
        }
    }

    /// The policy of the parameter `PolicyArn`.
    fn of_call(call: &Call<'_>) -> Result<Managed, Fault> {
        Managed::of_arn(call, call.parameters.required("PolicyArn")?)
    }

    /// The policy of the parameter `PolicyArn`, to be changed: none that is built in.
    fn own_of_call(call: &Call<'_>) -> Result<ManagedPolicy, Fault> {
        match Managed::of_call(call)? {
            Managed::Own(policy) => Ok(policy),
            Managed::BuiltIn(policy) => {
                let name = policy.name;
                let message = format!("The policy {name} is managed by AWS and cannot be changed.");
                Err(Fault::new(Code::AccessDenied, message))
            }
        }
    }

    /// What the state calls it.
    fn name(&self) -> ManagedPolicyName {
        match self {
            Managed::Own(policy) => ManagedPolicyName {
                source: PolicySource::State,
                name: policy.name.clone(),
            },
            Managed::BuiltIn(policy) => ManagedPolicyName {
                source: PolicySource::BuiltIn,
                name: policy.name.to_owned(),
            },
        }
    }

    fn document(&self) -> &str {
        match self {
            Managed::Own(policy) => &policy.document,
            Managed::BuiltIn(policy) => policy.document,
        }
    }
}

/// The document of the parameter `PolicyDocument`, which must be a policy of an identity.
fn document(call: &Call<'_>) -> Result<String, Fault> {
    let document = call.parameters.required("PolicyDocument")?;
    match Policy::parse(document.as_bytes(), PolicyKind::Identity) {
        Ok(_) => Ok(document.to_owned()),
        Err(error) => Err(Fault::new(Code::MalformedPolicyDocument, error.to_string())),
    }
}

/// The path of the parameter `Path`.
fn path(call: &Call<'_>) -> String {
    call.parameters.get("Path").unwrap_or("/").to_owned()
}

/// The id or the secret that the system's random bytes give.
fn random<T>(made: Result<T, String>) -> Result<T, Fault> {
    made.map_err(|why| Fault::from(Code::InternalError).because(why))
}

/// A parameter that is one of some words.
fn one_of<'c>(call: &Call<'c>, name: &str, words: &[&str]) -> Result<Option<&'c str>, Fault> {
    match call.parameters.get(name) {
        Some(text) if !words.contains(&text) => {
            let rule = format!("Member must satisfy enum value set: [{}]", words.join(", "));
            Err(violation(name, Some(text), &rule))
        }
        text => Ok(text),
    }
}
