//! Who asks, and whom a statement is about.
//!
//! The forms are those of AWS's IAM user guide, "AWS JSON policy elements: Principal". Invariant: a principal is compared as a whole: there are no wildcards
//! in it but the one that stands for everybody.

use std::borrow::Cow;
use std::rc::Rc;

use super::MalformedPolicy;
use super::condition::{Values, value};
use super::json::Json;
use super::key::Key;
use crate::s3::ROOT_ACCOUNT;

/// A user of an account.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct User {
    /// The account.
    pub account: u64,
    /// The name, which `aws:username` is.
    pub name: String,
    /// The path, `/` where there is none.
    pub path: String,
    /// The id that no other user has or had, which `aws:userid` is.
    pub id: String,
    /// `arn:aws:iam::ACCOUNT:user/PATH/NAME`.
    pub arn: String,
}

/// A session of a role: whoever has assumed it, for a time.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RoleSession {
    /// The account.
    pub account: u64,
    /// The role's name.
    pub role: String,
    /// The id that no other role has or had.
    pub role_id: String,
    /// `arn:aws:iam::ACCOUNT:role/PATH/NAME`, which `aws:PrincipalArn` is.
    pub role_arn: String,
    /// What the session is called.
    pub name: String,
    /// `arn:aws:sts::ACCOUNT:assumed-role/ROLE/SESSION`.
    pub arn: String,
    /// `ID:SESSION`, which `aws:userid` is.
    pub user_id: String,
    /// The provider of the identity that the role was assumed with, where it was one.
    pub provider: Option<String>,
}

/// Who asks.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Principal {
    /// Whoever holds the root key of an account.
    Root {
        /// The account.
        account: u64,
    },
    /// A user.
    User(Rc<User>),
    /// A session of a role.
    Session(Rc<RoleSession>),
    /// Whoever has an identity of a provider outside, and wants to assume a role with it.
    Federated {
        /// The provider: the issuer without `https://`.
        provider: String,
    },
    /// Whoever signs nothing.
    Anonymous,
}

impl Principal {
    /// The account; `None` for an anonymous one and an identity of a provider.
    pub fn account(&self) -> Option<u64> {
        match self {
            Principal::Root { account } => Some(*account),
            Principal::User(user) => Some(user.account),
            Principal::Session(session) => Some(session.account),
            Principal::Federated { .. } | Principal::Anonymous => None,
        }
    }

    /// The ARN; `None` for an anonymous one and an identity of a provider.
    pub fn arn(&self) -> Option<Cow<'_, str>> {
        match self {
            Principal::Root { account } => Some(Cow::Owned(root_arn(*account))),
            Principal::User(user) => Some(Cow::Borrowed(&user.arn)),
            Principal::Session(session) => Some(Cow::Borrowed(&session.arn)),
            Principal::Federated { .. } | Principal::Anonymous => None,
        }
    }

    /// The values of the keys that are about the principal; `None` outside for every other key.
    pub(super) fn values(&self, key: &Key) -> Option<Values<'_>> {
        Some(match key {
            Key::PrincipalAccount => self
                .account()
                .and_then(|account| value(account_id(account))),
            Key::PrincipalArn => match self {
                Principal::Session(session) => value(session.role_arn.as_str()),
                _ => self.arn().and_then(value),
            },
            Key::PrincipalType => value(match self {
                Principal::Root { .. } => "Account",
                Principal::User(_) => "User",
                Principal::Session(_) => "AssumedRole",
                Principal::Federated { .. } => "FederatedUser",
                Principal::Anonymous => "Anonymous",
            }),
            Key::FederatedProvider => match self {
                Principal::Session(session) => session.provider.as_deref().and_then(value),
                Principal::Federated { provider } => value(provider.as_str()),
                Principal::Root { .. } | Principal::User(_) | Principal::Anonymous => None,
            },
            Key::UserId => match self {
                Principal::Root { account } => value(account_id(*account)),
                Principal::User(user) => value(user.id.as_str()),
                Principal::Session(session) => value(session.user_id.as_str()),
                Principal::Federated { .. } => None,
                Principal::Anonymous => value("anonymous"),
            },
            Key::UserName => match self {
                Principal::User(user) => value(user.name.as_str()),
                Principal::Root { .. }
                | Principal::Session(_)
                | Principal::Federated { .. }
                | Principal::Anonymous => None,
            },
            _ => return None,
        })
    }
}

/// An account as AWS shows it: 12 digits.
pub fn account_id(account: u64) -> String {
    format!("{account:012}")
}

/// The ARN of an account's root.
pub fn root_arn(account: u64) -> String {
    format!("arn:aws:iam::{account:012}:root")
}

/// A principal that a policy names.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Named {
    /// Everybody, anonymous ones included.
    Everybody,
    /// An account, and with it whom that account lets.
    Account(u64),
    /// A user or a role, by its ARN or its unique id.
    Identity(String),
    /// Identities of a provider outside: the issuer without `https://`.
    Federated(String),
    /// A service of AWS's. None is here, so this is nobody.
    Service(String),
}

/// How a statement is about a principal.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Reach {
    /// Not at all.
    None,
    /// Through its account, which has to let it do what is asked; an identity of a provider, which has none, through everybody.
    Account,
    /// A session through its role: what bounds the role, and the session, holds it back.
    Role,
    /// Itself.
    Direct,
}

/// Whom a statement is about.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Principals {
    /// The identity that the policy belongs to.
    Owner,
    /// These.
    Named(Vec<Named>),
    /// All but these.
    AllBut(Vec<Named>),
}

impl Principals {
    /// How a statement is about a principal. Whoever a `NotPrincipal` names is meant alone, not with its account.
    pub(super) fn reach(&self, principal: &Principal) -> Reach {
        match self {
            Principals::Owner => Reach::Direct,
            Principals::Named(named) => {
                let reaches = named.iter().map(|named| named.reach(principal));
                reaches.max().unwrap_or(Reach::None)
            }
            Principals::AllBut(named) => {
                let is_named = |named: &Named| named.reach(principal) == Reach::Direct;
                match named.iter().any(is_named) {
                    true => Reach::None,
                    false => Reach::Direct,
                }
            }
        }
    }

    /// Those that are named.
    pub(super) fn named(&self) -> &[Named] {
        match self {
            Principals::Owner => &[],
            Principals::Named(named) | Principals::AllBut(named) => named,
        }
    }

    /// Reads `Principal` or `NotPrincipal` of a policy: those that are named.
    pub(super) fn parse(json: &Json) -> Result<Vec<Named>, MalformedPolicy> {
        let mut named = Vec::new();
        match json {
            Json::Text(text) if text == "*" => named.push(Named::Everybody),
            Json::Object(kinds) => {
                for (kind, texts) in kinds {
                    for item in texts.items() {
                        let text = item.text().unwrap_or_default();
                        let found = Named::parse(kind, text);
                        named.push(found.ok_or_else(|| invalid(kind, text))?);
                    }
                }
            }
            other => return Err(invalid("AWS", other.text().unwrap_or_default())),
        }
        match named.is_empty() {
            true => Err(invalid("AWS", "")),
            false => Ok(named),
        }
    }
}

/// The refusal of what names nobody.
pub(super) fn invalid(kind: &str, text: &str) -> MalformedPolicy {
    MalformedPolicy::new("Invalid principal in policy").about(&format!("\"{kind}\" : \"{text}\""))
}

impl Named {
    fn parse(kind: &str, text: &str) -> Option<Named> {
        match kind {
            "AWS" => Named::of_aws(text),
            "CanonicalUser" => {
                let is_id = text.len() == 64 && text.bytes().all(|byte| byte.is_ascii_hexdigit());
                let (high, low) = text.split_at_checked(48).filter(|_| is_id)?;
                let account = u64::from_str_radix(low, 16).ok()?;
                let is_here = high.bytes().all(|byte| byte == b'0');
                is_here.then_some(Named::Account(account))
            }
            "Federated" => {
                let text = match text.strip_prefix("arn:aws:iam::") {
                    None => text,
                    Some(rest) => {
                        let (account, provider) = rest.split_once(":oidc-provider/")?;
                        // Those of the configuration are of the account that is always there.
                        let is_here = account_of(account) == Some(ROOT_ACCOUNT);
                        is_here.then_some(provider)?
                    }
                };
                is_provider(text).then(|| Named::Federated(text.to_owned()))
            }
            "Service" => {
                let is_name = |byte: u8| byte.is_ascii_alphanumeric() || b".-".contains(&byte);
                let is_service = text.contains('.') && text.bytes().all(is_name);
                is_service.then(|| Named::Service(text.to_owned()))
            }
            _ => None,
        }
    }

    fn of_aws(text: &str) -> Option<Named> {
        let is_plain = |text: &str| !text.is_empty() && !text.contains(['*', '?', '$']);
        if text == "*" {
            return Some(Named::Everybody);
        }
        if let Some(account) = account_of(text) {
            return Some(Named::Account(account));
        }
        let Some(rest) = text.strip_prefix("arn:aws:") else {
            let is_id = text.len() >= 16 && text.bytes().all(|byte| byte.is_ascii_alphanumeric());
            return (is_id && text.starts_with('A')).then(|| Named::Identity(text.to_owned()));
        };
        let mut parts = rest.splitn(4, ':');
        let (service, region) = (parts.next()?, parts.next()?);
        let (account, what) = (account_of(parts.next()?)?, parts.next()?);
        let (kind, name) = what.split_once('/').unwrap_or((what, ""));
        let is_identity = match service {
            "iam" if what == "root" && region.is_empty() => return Some(Named::Account(account)),
            "iam" => matches!(kind, "user" | "role"),
            "sts" => matches!(kind, "assumed-role" | "federated-user"),
            _ => false,
        };
        let is_whole = is_identity && region.is_empty() && is_plain(name);
        is_whole.then(|| Named::Identity(text.to_owned()))
    }

    fn reach(&self, principal: &Principal) -> Reach {
        match (self, principal) {
            // Whom a provider vouches for is let in by name alone.
            (Named::Federated(named), Principal::Federated { provider }) if named == provider => {
                Reach::Direct
            }
            // For everybody's sake it is kept out, and let in by nothing: see `decide_trust`.
            (Named::Everybody, Principal::Federated { .. }) => Reach::Account,
            (_, Principal::Federated { .. }) => Reach::None,
            (Named::Everybody, Principal::Session(_)) => Reach::Role,
            (Named::Everybody, _) => Reach::Direct,
            (Named::Account(named), Principal::Session(session)) if *named == session.account => {
                Reach::Account
            }
            (Named::Identity(named), Principal::Session(session)) => {
                if *named == session.arn {
                    Reach::Direct
                } else if *named == session.role_arn || *named == session.role_id {
                    Reach::Role
                } else {
                    Reach::None
                }
            }
            (Named::Account(named), Principal::Root { account }) if named == account => {
                Reach::Direct
            }
            (Named::Account(named), Principal::User(user)) if *named == user.account => {
                Reach::Account
            }
            (Named::Identity(named), Principal::User(user))
                if *named == user.arn || *named == user.id =>
            {
                Reach::Direct
            }
            _ => Reach::None,
        }
    }

    /// The account that it belongs to, where its form tells it.
    pub fn account(&self) -> Option<u64> {
        match self {
            Named::Account(account) => Some(*account),
            Named::Identity(arn) => arn.split(':').nth(4).and_then(account_of),
            Named::Everybody | Named::Federated(_) | Named::Service(_) => None,
        }
    }
}

/// Whether a text may name a provider of identities: the host of its issuer, and the path behind it.
pub(super) fn is_provider(text: &str) -> bool {
    let is_plain = |byte: u8| byte.is_ascii_alphanumeric() || b".-_~/:%".contains(&byte);
    (1..=255).contains(&text.len()) && text.bytes().all(is_plain) && !text.starts_with('/')
}

fn account_of(text: &str) -> Option<u64> {
    let is_account = text.len() == 12 && text.bytes().all(|byte| byte.is_ascii_digit());
    is_account.then(|| text.parse().ok()).flatten()
}
