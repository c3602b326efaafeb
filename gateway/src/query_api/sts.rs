//! The actions of STS: temporary credentials, and who calls (<https://docs.aws.amazon.com/STS/latest/APIReference/>).
//!
//! Invariants: the state holds nothing of a session, see [`session_token`]; who may assume a role is decided by the role's trust policy and the
//! policies of the one who calls, see [`decide_trust`]; whoever may not is told nothing of whether the role is there; every call is answered anew from what is in force.

pub mod parameters;
pub mod web_identity;

use std::rc::Rc;

use strata_engine::reactor;
use strata_raftlog::namespace::command::{AddSessionKey, Refusal};
use strata_raftlog::namespace::{RolePolicies, SESSION_KEY_BYTES, SessionKey, SessionKeySecret};

use super::Call;
use super::call::invalid;
use crate::access::facts::{self, Common};
use crate::access::sessions::{created, role_arn, role_session};
use crate::auth::Credential;
use crate::auth::session_token::{
    self, PACKED_POLICY_BYTES_MAX, SealError, Session, SessionPolicies, TEMPORARY_KEY_PREFIX, Who,
};
use crate::dates::Iso8601Seconds;
use crate::error::{Code, Fault};
use crate::policy::{
    Key, Policies, Policy, PolicyKind, Principal, Question, RoleSession, Values, account_id,
    decide_trust, value,
};
use crate::random_text::{ANY, SECRET_CHARACTERS, UPPER, random_text};
use crate::s3::{ROOT_ACCOUNT, Shared};
use crate::xml::Writer;
use parameters::{Assumed, external_id, policies, seconds};
use strata_net::ClusterError;

/// How long a session of a session may last, in seconds: role chaining.
const CHAINED_SECONDS_MAX: u32 = 3_600;

/// How long sessions of GetSessionToken last, in seconds: at least, at most, and where nothing is said.
const SESSION_TOKEN_SECONDS_MIN: u32 = 900;
const SESSION_TOKEN_SECONDS_MAX: u32 = 129_600;
const SESSION_TOKEN_SECONDS: u32 = 43_200;

/// How long they last at most for the root, and where nothing is said.
const OF_ROOT_SECONDS: u32 = 3_600;

/// Characters of the ids of temporary keys behind their prefix.
const KEY_CHARACTERS: usize = 16;

/// `GetCallerIdentity`: who calls. Nobody can be denied it.
///
/// # Errors
/// None of its own.
pub fn get_caller_identity(call: &Call<'_>, result: &mut Writer) -> Result<(), Fault> {
    let principal = &call.asker.identity.principal;
    let account = principal.account().unwrap_or(ROOT_ACCOUNT);
    let user_id = match principal {
        Principal::User(user) => user.id.clone(),
        Principal::Session(session) => session.user_id.clone(),
        Principal::Root { account } => account_id(*account),
        Principal::Federated { .. } | Principal::Anonymous => {
            return Err(Code::MissingAuthenticationToken.into());
        }
    };
    result.element("Arn", &principal.arn().unwrap_or_default());
    result.element("UserId", &user_id);
    result.element("Account", &account_id(account));
    Ok(())
}

/// `GetSessionToken`: temporary credentials with the rights of the user, or the root, who calls.
///
/// # Errors
/// `AccessDenied` for temporary credentials; `ValidationError`.
pub async fn get_session_token(call: &Call<'_>, result: &mut Writer) -> Result<(), Fault> {
    let (least, most) = (SESSION_TOKEN_SECONDS_MIN, SESSION_TOKEN_SECONDS_MAX);
    let asked = seconds(call, least, most)?;
    let identity = &call.asker.identity;
    let (who, length) = match &identity.principal {
        _ if identity.issued_seconds.is_some() => {
            let message = "Cannot call GetSessionToken with session credentials";
            return Err(Fault::new(Code::AccessDenied, message));
        }
        // More is not refused: it lasts an hour, as with AWS.
        Principal::Root { account } => {
            let length = asked.unwrap_or(OF_ROOT_SECONDS).min(OF_ROOT_SECONDS);
            // Its key is deleted before it is.
            let created = created(call.shared, *account)?;
            let created_nanos = created.ok_or(Code::InvalidAccessKeyId)?;
            let account = *account;
            let who = Who::Root {
                account,
                created_nanos,
            };
            (who, length)
        }
        Principal::User(user) => {
            let (name, id) = (user.name.clone(), user.id.clone());
            (
                Who::User { name, id },
                asked.unwrap_or(SESSION_TOKEN_SECONDS),
            )
        }
        Principal::Session(_) | Principal::Federated { .. } | Principal::Anonymous => {
            return Err(Code::AccessDenied.into());
        }
    };
    issue(call.shared, who, None, length, result).await
}

/// `AssumeRole`.
///
/// # Errors
/// `AccessDenied` where the trust policy of the role or the policies of the one who calls do not allow it, or where there is no such role;
/// `ValidationError`, `MalformedPolicyDocument`, `PackedPolicyTooLarge`.
pub async fn assume_role(call: &Call<'_>, result: &mut Writer) -> Result<(), Fault> {
    let assumed = Assumed::read(call)?;
    external_id(call)?;
    let identity = &call.asker.identity;
    if matches!(identity.principal, Principal::Root { .. }) {
        return Err(Fault::new(
            Code::AccessDenied,
            "Roles may not be assumed by root accounts.",
        ));
    }
    let role = role_of(call.shared, assumed.role_arn)?;
    let denied = || {
        let arn = identity.principal.arn().unwrap_or_default();
        let what = format!("sts:AssumeRole on resource: {}", assumed.role_arn);
        let message = format!("User: {arn} is not authorized to perform: {what}");
        Fault::new(Code::AccessDenied, message)
    };
    let role = role.ok_or_else(denied)?;
    let facts = |key: &Key| facts_of(call, key);
    let own = Policies {
        identity: &identity.policies,
        boundary: identity.boundary.as_deref(),
        session: identity.session.as_deref(),
        ..Policies::default()
    };
    let is_trusted = trusts(
        &role,
        &identity.principal,
        "sts:AssumeRole",
        assumed.role_arn,
        &facts,
        own,
    )?;
    if !is_trusted {
        return Err(denied());
    }
    let is_chained = matches!(identity.principal, Principal::Session(_));
    let length = session_seconds(&assumed, &role, is_chained)?;
    let session = role_session(&role.role, assumed.session_name, None);
    let policies = policies(call)?;
    let packed = policies.as_ref().map(SessionPolicies::packed_bytes);
    issue(call.shared, who_of(&session), policies, length, result).await?;
    write_assumed(result, &session, packed);
    Ok(())
}

/// The role of an ARN, as it is now.
fn role_of(shared: &Shared, arn: &str) -> Result<Option<Rc<RolePolicies>>, Fault> {
    let name = arn.rsplit('/').next().unwrap_or_default();
    let found = shared.cluster.role_policies(name)?;
    Ok(found.filter(|found| {
        let role = &found.role;
        role_arn(role.account, &role.path, &role.name) == arn
    }))
}

/// Whether a role lets somebody assume it.
fn trusts<'q>(
    of: &RolePolicies,
    principal: &'q Principal,
    action: &'q str,
    arn: &'q str,
    facts: &'q dyn Fn(&Key) -> Values<'q>,
    policies: Policies<'_>,
) -> Result<bool, Fault> {
    let role = &of.role;
    let trust = Policy::parse(role.trust_policy.as_bytes(), PolicyKind::Trust);
    let trust = trust.map_err(|error| {
        let cause = format!("the trust policy of the role {}: {error}", role.name);
        Fault::from(Code::InternalError).because(cause)
    })?;
    let question = Question {
        principal,
        owner_account: role.account,
        action,
        resource: arn,
        facts,
    };
    let policies = Policies {
        bucket: Some(&trust),
        ..policies
    };
    Ok(decide_trust(&question, &policies).is_allowed())
}

/// The values of a condition key (service authorization reference, "Condition keys for AWS Security Token Service").
fn facts_of<'c>(call: &Call<'c>, key: &Key) -> Values<'c> {
    match key {
        Key::RoleSessionName => call.parameters.get("RoleSessionName").and_then(value),
        Key::ExternalId => call.parameters.get("ExternalId").and_then(value),
        key => facts::common(
            key,
            &Common {
                asker: call.asker,
                headers: call.headers,
                region: &call.shared.config.region,
                owner_account: ROOT_ACCOUNT,
            },
        ),
    }
}

/// How long a session lasts.
fn session_seconds(
    assumed: &Assumed<'_>,
    of: &RolePolicies,
    is_chained: bool,
) -> Result<u32, Fault> {
    let Some(asked) = assumed.seconds else {
        return Ok(CHAINED_SECONDS_MAX);
    };
    if is_chained && asked > CHAINED_SECONDS_MAX {
        return Err(invalid(
            "The requested DurationSeconds exceeds the 1 hour session limit for roles assumed by role chaining",
        ));
    }
    match asked <= of.role.max_session_seconds {
        true => Ok(asked),
        false => Err(invalid(
            "The requested DurationSeconds exceeds the MaxSessionDuration set for this role.",
        )),
    }
}

fn who_of(session: &RoleSession) -> Who {
    Who::Role {
        name: session.role.clone(),
        id: session.role_id.clone(),
        session: session.name.clone(),
        provider: session.provider.clone(),
    }
}

/// Writes whom a session is of; `packed` are the bytes of its policies.
fn write_assumed(result: &mut Writer, session: &RoleSession, packed: Option<usize>) {
    result.open("AssumedRoleUser");
    result.element("AssumedRoleId", &session.user_id);
    result.element("Arn", &session.arn);
    result.close("AssumedRoleUser");
    if let Some(packed) = packed {
        let percent = (packed * 100).div_ceil(PACKED_POLICY_BYTES_MAX);
        result.value("PackedPolicySize", percent);
    }
}

/// Makes temporary credentials and writes them.
async fn issue(
    shared: &Shared,
    who: Who,
    policies: Option<SessionPolicies>,
    seconds: u32,
    result: &mut Writer,
) -> Result<(), Fault> {
    let key = sealing_key(shared).await?;
    let no_randomness = |why: String| Fault::from(Code::InternalError).because(why);
    let id = random_text(UPPER, KEY_CHARACTERS).map_err(no_randomness)?;
    let credential = Credential {
        access_key_id: format!("{TEMPORARY_KEY_PREFIX}{id}"),
        secret_access_key: random_text(ANY, SECRET_CHARACTERS).map_err(no_randomness)?,
    };
    let now = reactor::wall_clock().seconds();
    let session = Session {
        credential,
        issued_seconds: now,
        expires_seconds: now + i64::from(seconds),
        who,
        policies,
    };
    let token = session_token::seal(&session, &key).map_err(|error| match error {
        SealError::TooLong => Fault::from(Code::PackedPolicyTooLarge),
        SealError::Failed => Fault::from(Code::InternalError).because(error.to_string()),
    })?;
    result.open("Credentials");
    result.element("AccessKeyId", &session.credential.access_key_id);
    result.element("SecretAccessKey", &session.credential.secret_access_key);
    result.element("SessionToken", &token);
    result.value("Expiration", Iso8601Seconds(session.expires_seconds));
    result.close("Credentials");
    Ok(())
}

/// The newest session key; the first one is made by the first call that needs it, on whichever node it comes first.
async fn sealing_key(shared: &Shared) -> Result<SessionKey, Fault> {
    if let Some(key) = shared.cluster.session_keys()?.last() {
        return Ok(key.clone());
    }
    let mut secret = [0; SESSION_KEY_BYTES];
    aws_lc_rs::rand::fill(&mut secret)
        .map_err(|_| Fault::from(Code::InternalError).because("the system has no random bytes"))?;
    let add = AddSessionKey {
        number: 1,
        secret: SessionKeySecret(secret),
    };
    match shared.cluster.submit(add).await {
        Ok(_) => tracing::info!(number = 1, "a session key was made"),
        // Another one was faster.
        Err(ClusterError::Refused(Refusal::EntityAlreadyExists(_))) => {}
        Err(error) => return Err(error.into()),
    }
    let keys = shared.cluster.session_keys()?;
    let key = keys.last().cloned();
    key.ok_or_else(|| Fault::from(Code::ServiceUnavailable).because("the session key was removed"))
}
