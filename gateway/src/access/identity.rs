//! Who asks, with the policies that come with them: those of users are compiled once and kept on each reactor.
//!
//! Invariants: what is kept of a user was made of what the cluster client keeps, which belongs to the version of the settings; a user of
//! whose policies one cannot be read may do nothing, since that one may deny something.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::rc::Rc;

use strata_net::{POLICY_BYTES_MAX, policy_bytes};
use strata_raftlog::namespace::{PolicyText, UserPolicies};

use crate::error::{Code, Fault};
use crate::policy::{self, Policy, PolicyKind, Principal, built_in_policy};
use crate::s3::ROOT_ACCOUNT;

/// Users whose identities are kept.
const USERS_MAX: usize = 1024;

/// Who asks, with the policies that come with them.
#[derive(Debug)]
pub struct Identity {
    /// Who it is.
    pub principal: Principal,
    /// The policies of the identity and of its groups.
    pub policies: Vec<Rc<Policy>>,
    /// What bounds the identity.
    pub boundary: Option<Rc<Policy>>,
    /// What bounds the session.
    pub session: Option<Rc<Policy>>,
}

impl Identity {
    /// One without policies of its own.
    fn of(principal: Principal) -> Identity {
        Identity {
            principal,
            policies: Vec::new(),
            boundary: None,
            session: None,
        }
    }

    fn of_user(known: &UserPolicies) -> Result<Identity, Fault> {
        let user = &known.user;
        let compile = |text: &PolicyText| match compile(text) {
            Ok(policy) => Ok(Rc::new(policy)),
            Err(why) => {
                let cause = format!("a policy of the user {}: {why}", user.name);
                Err(Fault::from(Code::InternalError).because(cause))
            }
        };
        let policies = known.policies.iter().map(compile);
        let boundary = known.boundary.as_ref().map(compile);
        Ok(Identity {
            policies: policies.collect::<Result<_, _>>()?,
            boundary: boundary.transpose()?,
            ..Identity::of(Principal::User(Rc::new(policy::User {
                account: user.account,
                arn: user_arn(user.account, &user.path, &user.name),
                name: user.name.clone(),
                path: user.path.clone(),
                id: user.id.clone(),
            })))
        })
    }
}

fn compile(text: &PolicyText) -> Result<Policy, String> {
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

/// The identity of a user, with what it was made of.
struct Known {
    of: Rc<UserPolicies>,
    identity: Rc<Identity>,
}

/// The users of one reactor.
#[derive(Default)]
struct KnownUsers {
    by_name: BTreeMap<String, Known>,
    /// Of the documents that they were made of.
    policy_bytes: usize,
}

/// The identities of one reactor.
pub struct KnownIdentities {
    root: Rc<Identity>,
    anonymous: Rc<Identity>,
    users: RefCell<KnownUsers>,
}

impl Default for KnownIdentities {
    /// None but those that are always there.
    fn default() -> KnownIdentities {
        let account = ROOT_ACCOUNT;
        KnownIdentities {
            root: Rc::new(Identity::of(Principal::Root { account })),
            anonymous: Rc::new(Identity::of(Principal::Anonymous)),
            users: RefCell::default(),
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
        if let Some(kept) = self.users.borrow().by_name.get(name)
            && Rc::ptr_eq(&kept.of, of)
        {
            return Ok(kept.identity.clone());
        }
        let identity = Rc::new(Identity::of_user(of)?);
        let mut users = self.users.borrow_mut();
        if let Some(old) = users.by_name.remove(name) {
            users.policy_bytes -= policy_bytes(&old.of);
        }
        let bytes = users.policy_bytes + policy_bytes(of);
        if users.by_name.len() >= USERS_MAX || bytes > POLICY_BYTES_MAX {
            *users = KnownUsers::default();
        }
        users.policy_bytes += policy_bytes(of);
        let known = Known {
            of: of.clone(),
            identity: identity.clone(),
        };
        users.by_name.insert(name.clone(), known);
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
