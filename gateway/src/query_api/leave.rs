//! Whether policies let the one who calls: the same decision as for S3, on the ARNs of IAM.
//!
//! Invariant: the root of the account may call everything; what no policy allows to another is denied.

use std::cell::Cell;

use strata_net::ClusterError;

use super::{Call, Needs};
use crate::access;
use crate::access::facts::{self, Common};
use crate::auth::GLOBAL_REGION;
use crate::error::{Code, Fault};
use crate::policy::{Decision, Key, Policies, Principal, Question, Source, Values, decide, value};
use crate::query_api::{Service, resource};
use crate::s3::ROOT_ACCOUNT;

/// Actions for which the policy that they are about counts: the API attaches it or detaches it.
const OF_POLICY_ARN: &[&str] = &[
    "AttachGroupPolicy",
    "AttachRolePolicy",
    "AttachUserPolicy",
    "DetachGroupPolicy",
    "DetachRolePolicy",
    "DetachUserPolicy",
];

/// Actions for which the boundary counts of what they are about.
const OF_BOUNDARY: &[&str] = &[
    "AttachRolePolicy",
    "AttachUserPolicy",
    "CreateRole",
    "CreateUser",
    "DeleteRolePermissionsBoundary",
    "DeleteRolePolicy",
    "DeleteUserPermissionsBoundary",
    "DeleteUserPolicy",
    "DetachRolePolicy",
    "DetachUserPolicy",
    "PutRolePermissionsBoundary",
    "PutRolePolicy",
    "PutUserPermissionsBoundary",
    "PutUserPolicy",
];

/// Checks that a call may be answered.
///
/// # Errors
/// `AccessDenied`; those of what names the resource.
pub fn check(call: &Call<'_>) -> Result<(), Fault> {
    let (resource, other) = match call.action.needs {
        Needs::Leave(resource) => (resource, None),
        Needs::LeaveOnBoth(resource, other) => (resource, Some(other)),
        Needs::Signature | Needs::Nothing => return Ok(()),
    };
    let identity = &call.asker.identity;
    // As with AWS: such a session proves no more than the key that it was got with.
    if call.action.service == Service::Iam && identity.is_of_session_token() {
        return Err(Code::InvalidClientTokenId.into());
    }
    if access::is_whole_root(identity, ROOT_ACCOUNT) {
        return Ok(());
    }
    if identity.principal == Principal::Anonymous {
        return Err(Code::MissingAuthenticationToken.into());
    }
    check_on(call, &resource(call)?)?;
    other.map_or(Ok(()), |other| check_on(call, &other(call)?))
}

fn check_on(call: &Call<'_>, resource: &str) -> Result<(), Fault> {
    let identity = &call.asker.identity;
    let action = format!("{}:{}", call.action.service.name(), call.action.name);
    let unread = Cell::new(None);
    let question = Question {
        principal: &identity.principal,
        owner_account: ROOT_ACCOUNT,
        action: &action,
        resource,
        facts: &|key| fact(call, key, &unread),
    };
    let policies = Policies {
        identity: &identity.policies,
        boundary: identity.boundary.as_deref(),
        session: identity.session.as_deref(),
        ..Policies::default()
    };
    let decision = decide(&question, &policies);
    if let Some(fault) = unread.take() {
        return Err(fault);
    }
    match decision {
        Decision::Allowed(_) => Ok(()),
        denied => Err(refusal(&question, &denied)),
    }
}

/// The values of a condition key (service authorization reference, "Condition keys for AWS Identity and Access Management").
/// `unread` takes why a
/// value could not be read: no decision counts then.
fn fact<'c>(call: &Call<'c>, key: &Key, unread: &Cell<Option<Fault>>) -> Values<'c> {
    let region = match call.action.service {
        Service::Iam => GLOBAL_REGION,
        Service::Sts => &call.shared.config.region,
    };
    match key {
        Key::PolicyArn if OF_POLICY_ARN.contains(&call.action.name) => {
            call.parameters.get("PolicyArn").and_then(value)
        }
        Key::PermissionsBoundary if OF_BOUNDARY.contains(&call.action.name) => boundary(call)
            .unwrap_or_else(|error| {
                unread.set(Some(error.into()));
                None
            }),
        key => facts::common(
            key,
            &Common {
                asker: call.asker,
                headers: call.headers,
                region,
                owner_account: ROOT_ACCOUNT,
            },
        ),
    }
}

/// The boundary that a call gives, where its action gives one: whoever has the name of one who is created now may be gone before the call is made. Of every other
/// action that of the user or the role that it is about.
fn boundary<'c>(call: &Call<'c>) -> Result<Values<'c>, ClusterError> {
    const GIVEN: &str = "PermissionsBoundary";
    if call.action.parameters.contains(&GIVEN) {
        return Ok(call.parameters.get(GIVEN).and_then(value));
    }
    if let Some(name) = call.parameters.get("RoleName") {
        let role = call.shared.cluster.read(|view| view.role(name))?;
        let boundary = role.and_then(|role| role.boundary);
        return Ok(boundary.and_then(|policy| value(resource::policy_arn(&policy))));
    }
    let Some(name) = call.parameters.get("UserName") else {
        return Ok(None);
    };
    let user = call.shared.cluster.read(|view| view.user(name))?;
    let boundary = user.and_then(|user| user.boundary);
    Ok(boundary.and_then(|policy| value(resource::policy_arn(&policy))))
}

/// AWS's sentence (IAM user guide, "Troubleshoot access denied error messages").
fn refusal(question: &Question<'_>, decision: &Decision<'_>) -> Fault {
    let why = match decision {
        Decision::DeniedExplicitly(by) => {
            let policy = match by.source {
                Source::Boundary => "a permissions boundary",
                Source::Session => "a session policy",
                Source::Identity(_) | Source::Root | Source::Bucket | Source::AccessList => {
                    "an identity-based policy"
                }
            };
            format!("with an explicit deny in {policy}")
        }
        _ => format!(
            "because no identity-based policy allows the {} action",
            question.action
        ),
    };
    let arn = question.principal.arn().unwrap_or_default();
    let (action, resource) = (question.action, question.resource);
    Fault::new(
        Code::AccessDenied,
        format!("User: {arn} is not authorized to perform: {action} on resource: {resource} {why}"),
    )
}
