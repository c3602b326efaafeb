//! Whether the principals that a policy names exist: a policy that names another is refused when it is put (user guide of S3, "Bucket policies"; IAM user guide, "AWS JSON
//! policy elements: Principal").

use strata_raftlog::namespace::View;
use strata_raftlog::namespace::store::StoreError;

use super::identity::user_arn;
use super::sessions::{role_arn, session_arn};
use crate::policy::{MalformedPolicy, Named, Policy, PolicyKind};
use crate::s3::ROOT_ACCOUNT;

/// Finds a principal that a policy names and that does not exist.
///
/// # Errors
/// Those of the namespace.
pub fn missing(
    view: &View<'_>,
    policy: &Policy,
    kind: PolicyKind<'_>,
) -> Result<Option<MalformedPolicy>, StoreError> {
    for named in policy.named() {
        if !exists(view, named, kind)? {
            return Ok(Some(MalformedPolicy::principal(named)));
        }
    }
    Ok(None)
}

/// Everybody, accounts, users, its roles, and all sessions that its roles may have. Providers of identities stand in the configuration of
/// each server, so that any may be named where they have a meaning.
fn exists(view: &View<'_>, named: &Named, kind: PolicyKind<'_>) -> Result<bool, StoreError> {
    let arn = match named {
        Named::Everybody | Named::Service(_) => return Ok(true),
        Named::Federated(_) => return Ok(kind == PolicyKind::Trust),
        Named::Account(ROOT_ACCOUNT) => return Ok(true),
        Named::Account(account) => return Ok(view.account(*account)?.is_some()),
        Named::Identity(arn) => arn,
    };
    let Some((head, name)) = arn.rsplit_once('/') else {
        return Ok(false);
    };
    let what = arn.splitn(6, ':').nth(5).unwrap_or_default();
    match what.split('/').next() {
        Some("user") => {
            let user = view.user(name)?;
            Ok(user.is_some_and(|user| user_arn(user.account, &user.path, &user.name) == *arn))
        }
        Some("role") => {
            let role = view.role(name)?;
            Ok(role.is_some_and(|role| role_arn(role.account, &role.path, &role.name) == *arn))
        }
        Some("assumed-role") => {
            let role = head.rsplit_once('/').map(|(_, role)| role);
            let role = view.role(role.unwrap_or_default())?;
            Ok(role.is_some_and(|role| session_arn(role.account, &role.name, name) == *arn))
        }
        _ => Ok(false),
    }
}
