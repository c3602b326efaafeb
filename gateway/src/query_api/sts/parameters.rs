//! The parameters of the calls that assume a role, with AWS's rules (API reference of STS, AssumeRole).

use strata_net::Cluster;
use strata_raftlog::namespace::{ManagedPolicyName, PolicySource};

use crate::auth::session_token::{
    PACKED_POLICY_BYTES_MAX, SESSION_POLICY_ARNS_MAX, SESSION_POLICY_CHARACTERS_MAX,
    SessionPolicies,
};
use crate::error::{Code, Fault};
use crate::policy::{Policy, PolicyKind, built_in_policy};
use crate::query_api::Call;
use crate::query_api::call::{invalid, violation};
use crate::query_api::resource;
use crate::s3::ROOT_ACCOUNT;

/// How long a session of a role may last at least and at most, in seconds, whatever the role says.
const SECONDS_MIN: u32 = 900;
const SECONDS_MAX: u32 = 43_200;

/// What a call that assumes a role asks for.
pub struct Assumed<'c> {
    /// The role.
    pub role_arn: &'c str,
    /// What the session is to be called.
    pub session_name: &'c str,
    /// How long it is to last; `None` where nothing is said.
    pub seconds: Option<u32>,
}

impl<'c> Assumed<'c> {
    /// Reads and checks them.
    ///
    /// # Errors
    /// `ValidationError`.
    pub fn read(call: &'c Call<'_>) -> Result<Assumed<'c>, Fault> {
        let role_arn = call.parameters.required("RoleArn")?;
        if !is_role_arn(role_arn) {
            return Err(invalid(format!("{} is invalid", shown(role_arn))));
        }
        let session_name = call.parameters.required("RoleSessionName")?;
        if !is_session_name(session_name) {
            let rule = "Member must have length between 2 and 64 and satisfy regular expression pattern: [\\w+=,.@-]*";
            return Err(violation("RoleSessionName", Some(session_name), rule));
        }
        Ok(Assumed {
            role_arn,
            session_name,
            seconds: seconds(call, SECONDS_MIN, SECONDS_MAX)?,
        })
    }
}

fn shown(text: &str) -> String {
    text.chars().take(256).collect()
}

/// The parameter `DurationSeconds`.
///
/// # Errors
/// `ValidationError`.
pub fn seconds(call: &Call<'_>, least: u32, most: u32) -> Result<Option<u32>, Fault> {
    let seconds = call
        .parameters
        .number("DurationSeconds", u64::from(least), u64::from(most))?;
    Ok(seconds.and_then(|seconds| u32::try_from(seconds).ok()))
}

/// Checks the parameter `ExternalId`, which trust policies ask for.
///
/// # Errors
/// `ValidationError`.
pub fn external_id(call: &Call<'_>) -> Result<(), Fault> {
    let Some(id) = call.parameters.get("ExternalId") else {
        return Ok(());
    };
    let is_plain = |byte: u8| byte.is_ascii_alphanumeric() || b"_+=,.@:/-".contains(&byte);
    match (2..=1_224).contains(&id.len()) && id.bytes().all(is_plain) {
        true => Ok(()),
        false => {
            let rule = "Member must have length between 2 and 1224 and satisfy regular expression pattern: [\\w+=,.@:\\/-]*";
            Err(violation("ExternalId", Some(id), rule))
        }
    }
}

fn is_role_arn(arn: &str) -> bool {
    let rest = arn.strip_prefix("arn:aws:iam::");
    let parts = rest.and_then(|rest| rest.split_once(":role/"));
    let is_plain = |byte: u8| byte.is_ascii_graphic();
    (20..=2_048).contains(&arn.len())
        && parts.is_some_and(|(account, name)| {
            let is_account =
                account.len() == 12 && account.bytes().all(|byte| byte.is_ascii_digit());
            is_account && !name.is_empty() && name.bytes().all(is_plain)
        })
}

fn is_session_name(name: &str) -> bool {
    let is_plain = |byte: u8| byte.is_ascii_alphanumeric() || b"_+=,.@-".contains(&byte);
    (2..=64).contains(&name.len()) && name.bytes().all(is_plain)
}

/// What is to restrict the session; `None` where nothing is. For one who may assume the role: the answer tells which managed policies there are.
///
/// # Errors
/// `ValidationError`, `MalformedPolicyDocument`, `PackedPolicyTooLarge`.
pub fn policies(call: &Call<'_>) -> Result<Option<SessionPolicies>, Fault> {
    let document = call.parameters.get("Policy");
    let arns = call.parameters.members("PolicyArns", "arn")?;
    if document.is_none() && arns.is_empty() {
        return Ok(None);
    }
    if let Some(document) = document {
        let length = document.chars().count();
        if !(1..=SESSION_POLICY_CHARACTERS_MAX).contains(&length) {
            let rule = format!(
                "Member must have length less than or equal to {SESSION_POLICY_CHARACTERS_MAX}"
            );
            return Err(violation("Policy", None, &rule));
        }
        Policy::parse(document.as_bytes(), PolicyKind::Identity)
            .map_err(|error| malformed(error.to_string()))?;
    }
    if arns.len() > SESSION_POLICY_ARNS_MAX {
        let rule =
            format!("Member must have length less than or equal to {SESSION_POLICY_ARNS_MAX}");
        return Err(violation("PolicyArns", None, &rule));
    }
    let managed = arns
        .into_iter()
        .map(|arn| managed(&call.shared.cluster, arn));
    let policies = SessionPolicies {
        document: document.map(str::to_owned),
        managed: managed.collect::<Result<_, _>>()?,
    };
    let packed = policies.packed_bytes();
    match packed <= PACKED_POLICY_BYTES_MAX {
        true => Ok(Some(policies)),
        false => {
            let percent = (packed * 100).div_ceil(PACKED_POLICY_BYTES_MAX);
            let message = format!(
                "PackedPolicySize of {percent}% exceeds the limit: the session policies take more than {PACKED_POLICY_BYTES_MAX} bytes."
            );
            Err(Fault::new(Code::PackedPolicyTooLarge, message))
        }
    }
}

fn malformed(message: String) -> Fault {
    Fault::new(Code::MalformedPolicyDocument, message)
}

/// The managed policy of an ARN, which must be there.
fn managed(cluster: &Cluster, arn: &str) -> Result<ManagedPolicyName, Fault> {
    let unknown = || malformed(format!("The policy {} cannot be found.", shown(arn)));
    if let Some(name) = arn.strip_prefix(&resource::built_in_policy("")) {
        let policy = built_in_policy(name).filter(|policy| policy.name == name);
        return policy.map_or_else(
            || Err(unknown()),
            |policy| {
                Ok(ManagedPolicyName {
                    source: PolicySource::BuiltIn,
                    name: policy.name.to_owned(),
                })
            },
        );
    }
    let name = arn
        .strip_prefix(&resource::own_policy(ROOT_ACCOUNT, ""))
        .ok_or_else(unknown)?;
    let found = cluster.read(|view| view.managed_policy(name))?;
    let found = found.ok_or_else(unknown)?;
    Ok(ManagedPolicyName {
        source: PolicySource::State,
        name: found.name,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_of_roles_and_sessions_have_awss_form() {
        for arn in [
            "arn:aws:iam::000000000001:role/job",
            "arn:aws:iam::000000000001:role/a/b/job",
        ] {
            assert!(is_role_arn(arn), "{arn}");
        }
        for arn in [
            "",
            "job",
            "arn:aws:iam::000000000001:role/",
            "arn:aws:iam::1:role/job",
            "arn:aws:iam::000000000001:user/job",
            "arn:aws:iam::000000000001:role/a b",
            "arn:aws:sts::000000000001:assumed-role/job/x",
            &format!("arn:aws:iam::000000000001:role/{}", "x".repeat(2_048)),
        ] {
            assert!(!is_role_arn(arn), "{arn}");
        }
        assert!(is_session_name("a_+=,.@-9") && is_session_name(&"x".repeat(64)));
        for name in ["", "a", "a b", "a/b", "ä", &"x".repeat(65)] {
            assert!(!is_session_name(name), "{name}");
        }
    }
}
