//! Whom a token of temporary credentials stands for: the role or the user that the session is of, as it is now, and what restricts the session.
//!
//! Invariants: a session has the rights that its role or user has when it asks, not those of when it began; a role, a user or an account that was
//! deleted, or created again, has no sessions; a session policy that was deleted allows nothing, and one that cannot be read
//! closes the session out.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::rc::Rc;

use strata_raftlog::namespace::{PolicyText, Role, UserPolicies};

use super::identity::{Identity, compile};
use crate::auth::session_token::{self, Session, SessionPolicies, Who};
use crate::error::{Code, Fault};
use crate::policy::{Policy, Principal, RoleSession};
use crate::s3::{ROOT_ACCOUNT, Shared};

/// Compiled policies of sessions that are kept on a reactor, and the bytes of their documents.
const POLICIES_MAX: usize = 256;
const DOCUMENT_BYTES_MAX: usize = 1 << 20;

/// Compiled policies of sessions, by what they say: so nothing that is kept is ever out of date.
#[derive(Default)]
pub struct CompiledPolicies {
    by_document: RefCell<(BTreeMap<String, Rc<Policy>>, usize)>,
}

impl CompiledPolicies {
    fn of(&self, text: &PolicyText) -> Result<Rc<Policy>, String> {
        let PolicyText::Document(document) = text else {
            return compile(text).map(Rc::new);
        };
        if let Some(known) = self.by_document.borrow().0.get(document) {
            return Ok(known.clone());
        }
        let policy = Rc::new(compile(text)?);
        let mut kept = self.by_document.borrow_mut();
        if kept.0.len() >= POLICIES_MAX || kept.1 + document.len() > DOCUMENT_BYTES_MAX {
            *kept = Default::default();
        }
        kept.1 += document.len();
        kept.0.insert(document.clone(), policy.clone());
        Ok(policy)
    }
}

/// The session of a token that comes with an access key id, at a time in seconds since the Unix epoch.
///
/// # Errors
/// `InvalidToken`, `ExpiredToken`; those of the namespace.
pub fn open(shared: &Shared, access_key_id: &str, token: &str, now: i64) -> Result<Session, Fault> {
    let number = session_token::key_number(token).ok_or(Code::InvalidToken)?;
    let keys = shared.cluster.session_keys()?;
    let key = keys.iter().find(|key| key.number == number);
    let session = key.and_then(|key| session_token::open(token, key));
    usable(session, access_key_id, now)
}

/// The session that was in a token, where it is that of the key and has not ended.
fn usable(session: Option<Session>, access_key_id: &str, now: i64) -> Result<Session, Fault> {
    let is_of_key = |session: &Session| session.credential.access_key_id == access_key_id;
    let session = session.filter(is_of_key).ok_or(Code::InvalidToken)?;
    match now < session.expires_seconds {
        true => Ok(session),
        false => Err(Code::ExpiredToken.into()),
    }
}

/// Whom a session whose signature is right stands for.
pub struct Found {
    /// Who asks.
    pub identity: Rc<Identity>,
    /// The user that it is of, where it is one.
    pub user: Option<Rc<UserPolicies>>,
}

/// Looks up whom a session stands for.
///
/// # Errors
/// `InvalidToken` where that one is no longer there; `InternalError` where a policy of that one cannot be read.
pub fn identity(shared: &Shared, session: &Session) -> Result<Found, Fault> {
    let (base, user, principal) = match &session.who {
        Who::Root {
            account,
            created_nanos,
        } => {
            let account = *account;
            if created(shared, account)? != Some(*created_nanos) {
                return Err(gone(format!("the account {account:012}")));
            }
            (
                shared.identities.root_of(account),
                None,
                Principal::Root { account },
            )
        }
        Who::User { name, id } => {
            let found = shared.cluster.user_policies(name)?;
            let user = found.filter(|found| found.user.id == *id);
            let user = user.ok_or_else(|| gone(format!("the user {name}")))?;
            let base = shared.identities.user(&user)?;
            let principal = base.principal.clone();
            (base, Some(user), principal)
        }
        Who::Role {
            name,
            id,
            session: called,
            provider,
        } => {
            let found = shared.cluster.role_policies(name)?;
            let role = found.filter(|found| found.role.id == *id);
            let role = role.ok_or_else(|| gone(format!("the role {name}")))?;
            let base = shared.identities.role(&role)?;
            let principal =
                Principal::Session(Rc::new(role_session(&role.role, called, provider.clone())));
            (base, None, principal)
        }
    };
    let policies = session.policies.as_ref();
    let policies = policies
        .map(|policies| compiled(shared, policies))
        .transpose()?;
    let identity = Rc::new(Identity {
        principal,
        policies: base.policies.clone(),
        boundary: base.boundary.clone(),
        session: policies,
        issued_seconds: Some(session.issued_seconds),
        expires_seconds: Some(session.expires_seconds),
    });
    Ok(Found { identity, user })
}

/// When an account was created, in nanoseconds since the Unix epoch; 0 for the one that is always there, `None` for one that is not.
///
/// # Errors
/// Those of the namespace.
pub fn created(shared: &Shared, account: u64) -> Result<Option<i64>, Fault> {
    if account == ROOT_ACCOUNT {
        return Ok(Some(0));
    }
    let found = shared.cluster.read(|view| view.account(account))?;
    Ok(found.map(|account| account.created_nanos))
}

fn gone(what: String) -> Fault {
    Fault::from(Code::InvalidToken).because(format!("{what} of the session was deleted"))
}

/// A session of a role, with its names.
pub fn role_session(role: &Role, session: &str, provider: Option<String>) -> RoleSession {
    RoleSession {
        account: role.account,
        role: role.name.clone(),
        role_id: role.id.clone(),
        role_arn: role_arn(role.account, &role.path, &role.name),
        name: session.to_owned(),
        arn: session_arn(role.account, &role.name, session),
        user_id: format!("{}:{session}", role.id),
        provider,
    }
}

/// The ARN of a role: IAM's user guide, "IAM identifiers".
pub fn role_arn(account: u64, path: &str, name: &str) -> String {
    format!("arn:aws:iam::{account:012}:role{path}{name}")
}

/// The ARN of a session of a role, which has no path.
pub fn session_arn(account: u64, role: &str, session: &str) -> String {
    format!("arn:aws:sts::{account:012}:assumed-role/{role}/{session}")
}

/// The policies of a session, without those that were deleted: what is left has to allow. One that cannot be read closes the session out, since it may
/// deny something.
fn compiled(shared: &Shared, of: &SessionPolicies) -> Result<Rc<[Rc<Policy>]>, Fault> {
    let mut texts = Vec::new();
    if let Some(document) = &of.document {
        texts.push(PolicyText::Document(document.clone()));
    }
    let managed = shared.cluster.read(|view| {
        let found = of.managed.iter().map(|policy| view.text_of(policy));
        found.collect::<Result<Vec<_>, _>>()
    });
    texts.extend(managed?.into_iter().flatten());
    let policies = texts.iter().map(|text| {
        shared.identities.of_sessions.of(text).map_err(|why| {
            Fault::from(Code::InternalError).because(format!("a policy of a session: {why}"))
        })
    });
    policies.collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::auth::Credential;

    #[test]
    fn a_session_ends_at_its_time_and_is_of_its_own_key() {
        let session = Session {
            credential: Credential {
                access_key_id: "ASIA0000000000000001".to_owned(),
                secret_access_key: "secret".to_owned(),
            },
            issued_seconds: 1_000,
            expires_seconds: 1_900,
            who: Who::Root {
                account: 1,
                created_nanos: 0,
            },
            policies: None,
        };
        let code = |id: &str, now| {
            let usable = usable(Some(session.clone()), id, now);
            usable.map(|_| ()).map_err(|fault| fault.code)
        };
        let own = "ASIA0000000000000001";
        assert_eq!(code(own, 1_899), Ok(()));
        assert_eq!(code(own, 1_900), Err(Code::ExpiredToken));
        assert_eq!(code("ASIA0000000000000002", 1_899), Err(Code::InvalidToken));
        let none = usable(None, own, 0).map(|_| ()).map_err(|fault| fault.code);
        assert_eq!(none, Err(Code::InvalidToken));
    }

    #[test]
    fn a_policy_of_a_session_is_compiled_once() {
        let known = CompiledPolicies::default();
        let text = |action: &str| {
            PolicyText::Document(format!(
                "{{\"Statement\":{{\"Effect\":\"Allow\",\"Action\":\"{action}\",\"Resource\":\"*\"}}}}"
            ))
        };
        let first = known.of(&text("s3:*")).expect("a policy");
        assert!(Rc::ptr_eq(&first, &known.of(&text("s3:*")).expect("kept")));
        assert!(!Rc::ptr_eq(
            &first,
            &known.of(&text("s3:Get*")).expect("another")
        ));
        assert!(known.of(&PolicyText::Document("{}".to_owned())).is_err());
        assert!(known.of(&PolicyText::BuiltIn("Gone".to_owned())).is_err());
    }
}
