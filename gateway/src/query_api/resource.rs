//! The ARNs that leave is asked for, by the parameters of a call (service authorization reference, "Resource types defined by AWS Identity and
//! Access Management"; IAM user guide, "IAM identifiers").
//!
//! Invariant: what is there is named with its path and in its own case, so that no other spelling of a name goes round a policy; where the
//! name is no name, the ARN is of what would be there.

use strata_raftlog::namespace::{ManagedPolicyName, PolicySource};

use super::Call;
use crate::access::identity::user_arn;
use crate::access::sessions::role_arn;
use crate::error::Fault;
use crate::s3::ROOT_ACCOUNT;

/// The ARN of a group.
pub fn group_arn(account: u64, path: &str, name: &str) -> String {
    format!("arn:aws:iam::{account:012}:group{path}{name}")
}

/// The ARN of a managed policy, wherever it is kept.
pub fn policy_arn(policy: &ManagedPolicyName) -> String {
    match policy.source {
        PolicySource::State => own_policy(ROOT_ACCOUNT, &policy.name),
        PolicySource::BuiltIn => built_in_policy(&policy.name),
    }
}

/// The ARN of a managed policy of an account.
pub fn own_policy(account: u64, name: &str) -> String {
    format!("arn:aws:iam::{account:012}:policy/{name}")
}

/// The ARN of a policy that AWS manages.
pub fn built_in_policy(name: &str) -> String {
    format!("arn:aws:iam::aws:policy/{name}")
}

/// What is about nothing that has a name.
pub fn everything(_: &Call<'_>) -> Result<String, Fault> {
    Ok("*".to_owned())
}

/// The user of the parameter `UserName`; the one who calls where there is none.
pub fn user(call: &Call<'_>) -> Result<String, Fault> {
    match call.parameters.get("UserName") {
        Some(name) => named_user(call, name),
        None => {
            let arn = call.asker.identity.principal.arn();
            Ok(arn.unwrap_or_default().into_owned())
        }
    }
}

/// A user that is not there yet.
pub fn new_user(call: &Call<'_>) -> Result<String, Fault> {
    let path = call.parameters.get("Path").unwrap_or("/");
    Ok(user_arn(
        ROOT_ACCOUNT,
        path,
        call.parameters.required("UserName")?,
    ))
}

/// The user of the parameter `UserName` as that user will be called (IAM user guide, "Rename an IAM user").
pub fn renamed_user(call: &Call<'_>) -> Result<String, Fault> {
    let old = call.parameters.required("UserName")?;
    let found = call.shared.cluster.read(|view| view.user(old))?;
    let (path, name) = match &found {
        Some(user) => (user.path.as_str(), user.name.as_str()),
        None => ("/", old),
    };
    let path = call.parameters.get("NewPath").unwrap_or(path);
    let name = call.parameters.get("NewUserName").unwrap_or(name);
    Ok(user_arn(ROOT_ACCOUNT, path, name))
}

/// The user of the key in the parameter `AccessKeyId`.
pub fn user_of_key(call: &Call<'_>) -> Result<String, Fault> {
    let id = call.parameters.required("AccessKeyId")?;
    match call.shared.cluster.access_key(id)? {
        Some(key) => named_user(call, &key.user),
        None => Ok(user_arn(ROOT_ACCOUNT, "/", "")),
    }
}

/// Users below a path.
pub fn users(call: &Call<'_>) -> Result<String, Fault> {
    let prefix = call.parameters.get("PathPrefix").unwrap_or("/");
    Ok(user_arn(ROOT_ACCOUNT, prefix, ""))
}

/// The group of the parameter `GroupName`.
pub fn group(call: &Call<'_>) -> Result<String, Fault> {
    let name = call.parameters.required("GroupName")?;
    let found = call.shared.cluster.read(|view| view.user_group(name))?;
    Ok(match found {
        Some(group) => group_arn(group.account, &group.path, &group.name),
        None => group_arn(ROOT_ACCOUNT, "/", name),
    })
}

/// A group that is not there yet.
pub fn new_group(call: &Call<'_>) -> Result<String, Fault> {
    let path = call.parameters.get("Path").unwrap_or("/");
    Ok(group_arn(
        ROOT_ACCOUNT,
        path,
        call.parameters.required("GroupName")?,
    ))
}

/// The role of the parameter `RoleName`.
pub fn role(call: &Call<'_>) -> Result<String, Fault> {
    let name = call.parameters.required("RoleName")?;
    let found = call.shared.cluster.read(|view| view.role(name))?;
    Ok(match found {
        Some(role) => role_arn(role.account, &role.path, &role.name),
        None => role_arn(ROOT_ACCOUNT, "/", name),
    })
}

/// A role that is not there yet.
pub fn new_role(call: &Call<'_>) -> Result<String, Fault> {
    let path = call.parameters.get("Path").unwrap_or("/");
    let name = call.parameters.required("RoleName")?;
    Ok(role_arn(ROOT_ACCOUNT, path, name))
}

/// Roles below a path.
pub fn roles(call: &Call<'_>) -> Result<String, Fault> {
    let prefix = call.parameters.get("PathPrefix").unwrap_or("/");
    Ok(role_arn(ROOT_ACCOUNT, prefix, ""))
}

/// Groups below a path.
pub fn groups(call: &Call<'_>) -> Result<String, Fault> {
    let prefix = call.parameters.get("PathPrefix").unwrap_or("/");
    Ok(group_arn(ROOT_ACCOUNT, prefix, ""))
}

/// The policy of the parameter `PolicyArn`. One that is not spelled as the policy is finds none: see `policies`.
pub fn managed_policy(call: &Call<'_>) -> Result<String, Fault> {
    Ok(call.parameters.required("PolicyArn")?.to_owned())
}

/// A managed policy that is not there yet.
pub fn new_policy(call: &Call<'_>) -> Result<String, Fault> {
    let name = call.parameters.required("PolicyName")?;
    Ok(own_policy(ROOT_ACCOUNT, name))
}

fn named_user(call: &Call<'_>, name: &str) -> Result<String, Fault> {
    let found = call.shared.cluster.read(|view| view.user(name))?;
    Ok(match found {
        Some(user) => user_arn(user.account, &user.path, &user.name),
        None => user_arn(ROOT_ACCOUNT, "/", name),
    })
}
