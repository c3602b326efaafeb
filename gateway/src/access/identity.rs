//! Who asks, with the policies that come with them: those of users are compiled once and kept on each reactor.
//!
//! Invariants: what is kept for a user is what the cluster client keeps for the access key, which belongs to the version of the settings; a user of
//! whose policies one cannot be read may do nothing, since that one may deny something.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::rc::Rc;

use strata_net::UserKey;
use strata_raftlog::namespace::PolicyText;

use crate::error::{Code, Fault};
use crate::policy::{self, Policy, PolicyKind, Principal, built_in_policy};
use crate::s3::ROOT_ACCOUNT;

/// Access keys whose identities are kept.
const KEYS_MAX: usize = 1024;

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

    fn of_user(known: &UserKey) -> Result<Identity, Fault> {
        let user = &known.policies.user;
        let compile = |text: &PolicyText| match compile(text) {
            Ok(policy) => Ok(Rc::new(policy)),
            Err(why) => {
                let cause = format!("a policy of the user {}: {why}", user.name);
                Err(Fault::from(Code::InternalError).because(cause))
            }
        };
        let policies = known.policies.policies.iter().map(compile);
        let boundary = known.policies.boundary.as_ref().map(compile);
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

/// What an identity was made of, and the identity.
type KnownUser = (Rc<UserKey>, Rc<Identity>);

/// The identities of one reactor.
pub struct KnownIdentities {
    root: Rc<Identity>,
    anonymous: Rc<Identity>,
    /// By access key id, each with what it was made of.
    users: RefCell<BTreeMap<String, KnownUser>>,
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
    /// The root of the account.
    pub fn root(&self) -> Rc<Identity> {
        self.root.clone()
    }

    /// Whoever signs nothing.
    pub fn anonymous(&self) -> Rc<Identity> {
        self.anonymous.clone()
    }

    /// The user of an access key.
    ///
    /// # Errors
    /// `InternalError` where a policy cannot be read.
    pub fn user(&self, known: &Rc<UserKey>) -> Result<Rc<Identity>, Fault> {
        let id = &known.key.id;
        if let Some((of, identity)) = self.users.borrow().get(id)
            && Rc::ptr_eq(of, known)
        {
            return Ok(identity.clone());
        }
        let identity = Rc::new(Identity::of_user(known)?);
        let mut users = self.users.borrow_mut();
        if users.len() >= KEYS_MAX && !users.contains_key(id) {
            users.clear();
        }
        users.insert(id.clone(), (known.clone(), identity.clone()));
        Ok(identity)
    }
}
