//! Who asks, with the policies that come with them: those of users and roles are compiled once and kept on each reactor.
//!
//! Invariants: what is kept of a user or a role was made of what the cluster client keeps, which belongs to the version of the settings; one of
//! whose policies one cannot be read may do nothing, since that one may deny something.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::rc::Rc;

use strata_net::{POLICY_BYTES_MAX, policy_bytes, role_policy_bytes};
use strata_raftlog::namespace::{PolicyText, RolePolicies, UserPolicies};

use super::sessions::{CompiledPolicies, role_session};
use crate::error::{Code, Fault};
use crate::policy::{self, Policy, PolicyKind, Principal, built_in_policy};
use crate::s3::ROOT_ACCOUNT;

/// Users whose identities are kept, and as many roles.
const KEPT_MAX: usize = 1024;

/// Who asks, with the policies that come with them.
#[derive(Debug)]
pub struct Identity {
    /// Who it is.
    pub principal: Principal,
    /// The policies of the identity and of its groups.
    pub policies: Vec<Rc<Policy>>,
    /// What bounds the identity.
    pub boundary: Option<Rc<Policy>>,
    /// What bounds the session: one of them has to allow. `None` where nothing does.
    pub session: Option<Rc<[Rc<Policy>]>>,
    /// When the session began, in seconds since the Unix epoch; `None` for whoever has keys that last.
    pub issued_seconds: Option<i64>,
    /// When it ends.
    pub expires_seconds: Option<i64>,
}

impl Identity {
    /// One without policies of its own.
    fn of(principal: Principal) -> Identity {
        Identity {
            principal,
            policies: Vec::new(),
            boundary: None,
            session: None,
            issued_seconds: None,
            expires_seconds: None,
        }
    }

    fn of_user(known: &UserPolicies) -> Result<Identity, Fault> {
        let user = &known.user;
        let principal = Principal::User(Rc::new(policy::User {
            account: user.account,
            arn: user_arn(user.account, &user.path, &user.name),
            name: user.name.clone(),
            path: user.path.clone(),
            id: user.id.clone(),
        }));
        let whose = format!("the user {}", user.name);
        Identity::with(principal, &whose, &known.policies, known.boundary.as_ref())
    }

    /// What the sessions of a role have in common; its principal has no name of a session.
    fn of_role(known: &RolePolicies) -> Result<Identity, Fault> {
        let role = &known.role;
        let principal = Principal::Session(Rc::new(role_session(role, "", None)));
        let whose = format!("the role {}", role.name);
        Identity::with(principal, &whose, &known.policies, known.boundary.as_ref())
    }

    fn with(
        principal: Principal,
        whose: &str,
        policies: &[PolicyText],
        boundary: Option<&PolicyText>,
    ) -> Result<Identity, Fault> {
        let compile = |text: &PolicyText| match compile(text) {
            Ok(policy) => Ok(Rc::new(policy)),
            Err(why) => {
                let cause = format!("a policy of {whose}: {why}");
                Err(Fault::from(Code::InternalError).because(cause))
            }
        };
        let policies = policies.iter().map(compile);
        let boundary = boundary.map(compile);
        Ok(Identity {
            policies: policies.collect::<Result<_, _>>()?,
            boundary: boundary.transpose()?,
            ..Identity::of(principal)
        })
    }

    /// Whether it is a session that a user, or the root, has from GetSessionToken.
    pub fn is_of_session_token(&self) -> bool {
        let is_of_role = matches!(self.principal, Principal::Session(_));
        self.issued_seconds.is_some() && !is_of_role
    }
}

/// Compiles a policy of an identity.
///
/// # Errors
/// What is wrong with it.
pub(super) fn compile(text: &PolicyText) -> Result<Policy, String> {
    let document = match text {
        PolicyText::Document(document) => document.as_str(),
        PolicyText::BuiltIn(name) => match built_in_policy(name) {
            Some(policy) => policy.document,
            None => return Err(format!("no policy {name} is built in")),
        },
    };
    let parsed = Policy::parse(document.as_bytes(), PolicyKind::Identity);
    parsed.map_err(|error| error.to_string())
}

/// The ARN of a user: IAM's user guide, "IAM identifiers".
pub fn user_arn(account: u64, path: &str, name: &str) -> String {
    format!("arn:aws:iam::{account:012}:user{path}{name}")
}

/// An identity, with what it was made of.
struct Known<T> {
    of: Rc<T>,
    identity: Rc<Identity>,
}

/// The identities of users, or of roles, on one reactor.
struct Kept<T> {
    by_name: BTreeMap<String, Known<T>>,
    /// Of the documents that they were made of.
    policy_bytes: usize,
}

impl<T> Default for Kept<T> {
    fn default() -> Kept<T> {
        Kept {
            by_name: BTreeMap::new(),
            policy_bytes: 0,
        }
    }
}

impl<T> Kept<T> {
    fn find(&self, name: &str, of: &Rc<T>) -> Option<Rc<Identity>> {
        let kept = self.by_name.get(name)?;
        Rc::ptr_eq(&kept.of, of).then(|| kept.identity.clone())
    }

    fn keep(&mut self, name: &str, of: &Rc<T>, identity: &Rc<Identity>, bytes_of: fn(&T) -> usize) {
        if let Some(old) = self.by_name.remove(name) {
            self.policy_bytes -= bytes_of(&old.of);
        }
        let bytes = self.policy_bytes + bytes_of(of);
        if self.by_name.len() >= KEPT_MAX || bytes > POLICY_BYTES_MAX {
            *self = Kept::default();
        }
        self.policy_bytes += bytes_of(of);
        let known = Known {
            of: of.clone(),
            identity: identity.clone(),
        };
        self.by_name.insert(name.to_owned(), known);
    }
}

/// The identities of one reactor.
pub struct KnownIdentities {
    root: Rc<Identity>,
    anonymous: Rc<Identity>,
    users: RefCell<Kept<UserPolicies>>,
    roles: RefCell<Kept<RolePolicies>>,
    /// The policies of sessions.
    pub(super) of_sessions: CompiledPolicies,
}

impl Default for KnownIdentities {
    /// None but those that are always there.
    fn default() -> KnownIdentities {
        let account = ROOT_ACCOUNT;
        KnownIdentities {
            root: Rc::new(Identity::of(Principal::Root { account })),
            anonymous: Rc::new(Identity::of(Principal::Anonymous)),
            users: RefCell::default(),
            roles: RefCell::default(),
            of_sessions: CompiledPolicies::default(),
        }
    }
}

impl KnownIdentities {
    /// The root of the account that is always there.
    pub fn root(&self) -> Rc<Identity> {
        self.root.clone()
    }

    /// The root of an account, which has no policies.
    pub fn root_of(&self, account: u64) -> Rc<Identity> {
        match account {
            ROOT_ACCOUNT => self.root(),
            account => Rc::new(Identity::of(Principal::Root { account })),
        }
    }

    /// Whoever signs nothing.
    pub fn anonymous(&self) -> Rc<Identity> {
        self.anonymous.clone()
    }

    /// A user.
    ///
    /// # Errors
    /// `InternalError` where a policy cannot be read.
    pub fn user(&self, of: &Rc<UserPolicies>) -> Result<Rc<Identity>, Fault> {
        let name = &of.user.name;
        if let Some(kept) = self.users.borrow().find(name, of) {
            return Ok(kept);
        }
        let identity = Rc::new(Identity::of_user(of)?);
        self.users
            .borrow_mut()
            .keep(name, of, &identity, policy_bytes);
        Ok(identity)
    }

    /// What the sessions of a role have in common.
    ///
    /// # Errors
    /// `InternalError` where a policy cannot be read.
    pub fn role(&self, of: &Rc<RolePolicies>) -> Result<Rc<Identity>, Fault> {
        let name = &of.role.name;
        if let Some(kept) = self.roles.borrow().find(name, of) {
            return Ok(kept);
        }
        let identity = Rc::new(Identity::of_role(of)?);
        self.roles
            .borrow_mut()
            .keep(name, of, &identity, role_policy_bytes);
        Ok(identity)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use strata_raftlog::namespace::User;

    fn alice(policies: Vec<PolicyText>, boundary: Option<PolicyText>) -> Rc<UserPolicies> {
        let user = User {
            name: "alice".to_owned(),
            id: "AIDA0000000000000001".to_owned(),
            path: "/staff/".to_owned(),
            account: ROOT_ACCOUNT,
            created_nanos: 0,
            groups: Vec::new(),
            access_key_ids: Vec::new(),
            attached: Vec::new(),
            boundary: None,
        };
        Rc::new(UserPolicies {
            user,
            policies,
            boundary,
        })
    }

    #[test]
    fn a_user_is_made_once_and_one_with_an_unreadable_policy_never() {
        let known = KnownIdentities::default();
        let built_in = |name: &str| PolicyText::BuiltIn(name.to_owned());
        let readable = alice(vec![built_in("AmazonS3FullAccess")], None);
        let first = known.user(&readable).expect("readable");
        assert_eq!(first.policies.len(), 1);
        assert!(Rc::ptr_eq(&first, &known.user(&readable).expect("kept")));
        let changed = alice(Vec::new(), None);
        let made = known.user(&changed).expect("readable");
        assert!(made.policies.is_empty(), "what was kept is not of this one");
        let gone = || built_in("NoLongerThere");
        let broken = PolicyText::Document("{}".to_owned());
        for unreadable in [
            alice(vec![built_in("AmazonS3FullAccess"), gone()], None),
            alice(vec![broken], None),
            alice(Vec::new(), Some(gone())),
        ] {
            let fault = known.user(&unreadable).expect_err("it may deny something");
            assert_eq!(fault.code, Code::InternalError);
        }
    }
}
