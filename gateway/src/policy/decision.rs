//! The decision: which policies count, in which order.
//!
//! The order is AWS's (IAM user guide, "Policy evaluation logic"): a statement that denies wins, whatever policy it stands in; then something must allow. In
//! the account that owns the bucket the identity's policies or the bucket's policy allow; for another account both must. What bounds an identity and what bounds
//! a session only restrict, but for a session that the policy of its own account's bucket names by its ARN ("Session policies"). Who may assume a role is decided alike, with
//! the trust policy in the bucket's place, which has to allow it. A grant of an access list is to a whole account, and counts as a statement of the
//! bucket's policy that names that account. Invariant: the root of the owning account can always read, replace and delete the policy of its bucket, so that nobody is locked out.

use super::condition::Values;
use super::key::Key;
use super::principal::{Principal, Reach};
use super::{Effect, Policy, Statement};

/// Actions that the owning account's root may always take (user guide of S3, PutBucketPolicy).
const ALWAYS_ROOTS: &[&str] = &[
    "s3:DeleteBucketPolicy",
    "s3:GetBucketPolicy",
    "s3:PutBucketPolicy",
];

/// What is asked.
pub struct Question<'q> {
    /// Who asks.
    pub principal: &'q Principal,
    /// The account that owns what is asked for: the bucket, or the object where access lists count.
    pub owner_account: u64,
    /// The action, such as `s3:GetObject`.
    pub action: &'q str,
    /// The ARN of what it is about.
    pub resource: &'q str,
    /// The values of the keys that are about the request. Those that are about the principal come from the principal.
    pub facts: &'q dyn Fn(&Key) -> Values<'q>,
}

/// The policies that count.
#[derive(Debug, Clone, Copy, Default)]
pub struct Policies<'p> {
    /// Those of the identity, with those of its groups.
    pub identity: &'p [std::rc::Rc<Policy>],
    /// What bounds the identity.
    pub boundary: Option<&'p Policy>,
    /// What bounds the session: one of them has to allow. `None` where nothing bounds it.
    pub session: Option<&'p [std::rc::Rc<Policy>]>,
    /// That of the bucket.
    pub bucket: Option<&'p Policy>,
    /// Whether that of the bucket is for principals of the owning account alone, as `RestrictPublicBuckets` has it.
    pub is_bucket_restricted: bool,
    /// Whether that of the bucket can only deny: it is about an object of an account that does not own the bucket.
    pub is_object_of_other: bool,
    /// Whether an access list grants the account of the one who asks what is asked for.
    pub is_granted: bool,
}

impl<'p> Policies<'p> {
    /// The bucket's policy, where it can allow a principal something.
    fn bucket_for(&self, principal: &Principal, owner_account: u64) -> Option<&'p Policy> {
        let is_of_owner = principal.account() == Some(owner_account);
        let is_shut_out = self.is_bucket_restricted && !is_of_owner;
        self.bucket
            .filter(|_| !is_shut_out && !self.is_object_of_other)
    }
}

/// Which kind of policy has decided.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Source {
    /// One of the identity's, by its place.
    Identity(usize),
    /// The boundary of the identity.
    Boundary,
    /// That of the session.
    Session,
    /// That of the bucket.
    Bucket,
    /// An access list.
    AccessList,
    /// None: the root of the account that owns the bucket.
    Root,
}

/// The statement that has decided.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Decided<'p> {
    /// Where it stands.
    pub source: Source,
    /// Its name, where it has one.
    pub sid: Option<&'p str>,
    /// Its number in the policy, from 1 on; 0 where none has decided.
    pub number: usize,
}

/// An answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Decision<'p> {
    /// It is allowed.
    Allowed(Decided<'p>),
    /// A statement denies it.
    DeniedExplicitly(Decided<'p>),
    /// Nothing allows it.
    DeniedImplicitly,
}

impl Decision<'_> {
    /// Whether it is allowed.
    pub fn is_allowed(&self) -> bool {
        matches!(self, Decision::Allowed(_))
    }
}

const BY_ROOT: Decided<'static> = Decided {
    source: Source::Root,
    sid: None,
    number: 0,
};

const BY_LIST: Decided<'static> = Decided {
    source: Source::AccessList,
    sid: None,
    number: 0,
};

/// Whether the owning account's root may always take an action.
pub fn is_always_roots(action: &str) -> bool {
    ALWAYS_ROOTS.contains(&action)
}

/// Answers a question by the policies that count.
pub fn decide<'p>(question: &Question<'_>, policies: &Policies<'p>) -> Decision<'p> {
    noted(question, evaluate(question, policies, false))
}

/// Answers whether a role may be assumed: its trust policy stands in the place of the bucket's and has to allow it; one that names the account of
/// the one who asks leaves it to the policies of that one (IAM user guide, "Granting a user permissions to switch roles").
pub fn decide_trust<'p>(question: &Question<'_>, policies: &Policies<'p>) -> Decision<'p> {
    noted(question, evaluate(question, policies, true))
}

fn noted<'p>(question: &Question<'_>, decision: Decision<'p>) -> Decision<'p> {
    let (answer, by) = match &decision {
        Decision::Allowed(by) => ("allowed", Some(by)),
        Decision::DeniedExplicitly(by) => ("denied by a statement", Some(by)),
        Decision::DeniedImplicitly => ("denied, as nothing allows it", None),
    };
    tracing::debug!(
        action = question.action,
        resource = question.resource,
        principal = ?question.principal,
        policy = ?by.map(|by| by.source),
        sid = by.and_then(|by| by.sid),
        statement = by.map(|by| by.number),
        answer,
        "a policy decision"
    );
    decision
}

fn evaluate<'p>(question: &Question<'_>, policies: &Policies<'p>, is_trust: bool) -> Decision<'p> {
    let is_of_owner = question.principal.account() == Some(question.owner_account);
    let is_root = matches!(question.principal, Principal::Root { .. });
    let is_whole = policies.session.is_none();
    if is_root && is_of_owner && is_whole && is_always_roots(question.action) {
        return Decision::Allowed(BY_ROOT);
    }
    let asked = Asked::new(question);
    if let Some(by) = asked.denial(policies) {
        return Decision::DeniedExplicitly(by);
    }
    let is_session_let = asked.is_session_let(policies);
    if is_root && is_of_owner && !is_trust {
        return match is_session_let {
            true => Decision::Allowed(BY_ROOT),
            false => Decision::DeniedImplicitly,
        };
    }
    let bucket = policies.bucket_for(question.principal, question.owner_account);
    let bucket = bucket.and_then(|policy| asked.first(policy, Source::Bucket, Effect::Allow));
    // A list grants to whole accounts and to everybody: a root and whoever signs nothing need no more, users need leave of their account.
    let by_list = match question.principal {
        Principal::Root { .. } | Principal::Anonymous => (Reach::Direct, BY_LIST),
        _ => (Reach::Account, BY_LIST),
    };
    let bucket = bucket.or(policies.is_granted.then_some(by_list));
    // Another account's policy gives nothing that the account of the one who asks does not: all that binds there does.
    let is_named = is_of_owner
        && matches!(question.principal, Principal::Session(_))
        && matches!(bucket, Some((Reach::Direct, _)));
    if !is_session_let && !is_named {
        return Decision::DeniedImplicitly;
    }
    let is_outside = matches!(
        question.principal,
        Principal::Anonymous | Principal::Federated { .. }
    );
    if is_outside || is_root {
        // A root has every right that its account has.
        return match bucket {
            Some((Reach::Direct, by)) => Decision::Allowed(by),
            _ => Decision::DeniedImplicitly,
        };
    }
    let identity = asked.identity(policies, Effect::Allow);
    let is_within = asked.lets(policies.boundary);
    let identity = identity.filter(|_| is_within);
    let allowed = match (bucket, identity) {
        (Some((Reach::Direct, by)), _) if is_of_owner => Some(by),
        (Some((Reach::Role, by)), _) if is_of_owner && is_within => Some(by),
        (_, Some(by)) if is_of_owner && !is_trust => Some(by),
        (Some((_, by)), Some(_)) => Some(by),
        _ => None,
    };
    allowed.map_or(Decision::DeniedImplicitly, Decision::Allowed)
}

/// Whether some statement could allow a principal an action on something, whatever the resource and the conditions. Where none could, all that
/// a request names is denied.
pub fn may_allow(
    principal: &Principal,
    owner_account: u64,
    action: &str,
    policies: &Policies<'_>,
) -> bool {
    let action = action.to_ascii_lowercase();
    let could = |policy: &Policy| {
        policy.statements.iter().any(|statement| {
            statement.effect == Effect::Allow
                && statement.principals.reach(principal) != Reach::None
                && statement.is_about_action(&action)
        })
    };
    let bucket = policies.bucket_for(principal, owner_account);
    policies.identity.iter().any(|policy| could(policy)) || bucket.is_some_and(could)
}

impl Statement {
    /// Whether it is about an action, whose name has small letters.
    fn is_about_action(&self, action: &str) -> bool {
        let mut patterns = self.actions.iter();
        patterns.any(|pattern| pattern.matches(action, &|_| None)) != self.not_action
    }
}

/// A question, with its action in lower case.
struct Asked<'a, 'q> {
    question: &'a Question<'q>,
    action: String,
}

impl<'a, 'q> Asked<'a, 'q> {
    fn new(question: &'a Question<'q>) -> Asked<'a, 'q> {
        Asked {
            question,
            action: question.action.to_ascii_lowercase(),
        }
    }

    fn look_up(&self, key: &Key) -> Values<'a> {
        match self.question.principal.values(key) {
            Some(values) => values,
            None => (self.question.facts)(key),
        }
    }

    /// How far a statement is about the question.
    fn reach(&self, statement: &Statement) -> Reach {
        let reach = statement.principals.reach(self.question.principal);
        let look_up = |key: &Key| self.look_up(key);
        let is_it = reach != Reach::None
            && statement.is_about_action(&self.action)
            && self.is_about_resource(statement)
            && statement.conditions.iter().all(|one| one.holds(&look_up));
        if is_it { reach } else { Reach::None }
    }

    fn is_about_resource(&self, statement: &Statement) -> bool {
        let resolve = |key: &Key| {
            let mut values = self.look_up(key)?.into_iter();
            match (values.next(), values.next()) {
                (Some(value), None) => Some(value.into_owned()),
                _ => None,
            }
        };
        let mut patterns = statement.resources.iter();
        // What nobody knows the name of cannot be all that is spared.
        let spares_unknown = statement.not_resource
            && statement.effect == Effect::Allow
            && !patterns
                .clone()
                .all(|pattern| pattern.has_meaning(&resolve));
        if spares_unknown {
            return false;
        }
        let is_named = patterns.any(|pattern| pattern.matches(self.question.resource, &resolve));
        is_named != statement.not_resource
    }

    /// The first statement of a policy with that effect that reaches furthest.
    fn first<'p>(
        &self,
        policy: &'p Policy,
        source: Source,
        effect: Effect,
    ) -> Option<(Reach, Decided<'p>)> {
        let mut best: Option<(Reach, Decided<'p>)> = None;
        for (at, statement) in policy.statements.iter().enumerate() {
            if statement.effect != effect {
                continue;
            }
            let reach = self.reach(statement);
            let known = best.map_or(Reach::None, |(known, _)| known);
            if reach > known {
                let decided = Decided {
                    source,
                    sid: statement.sid.as_deref(),
                    number: at + 1,
                };
                best = Some((reach, decided));
            }
        }
        best
    }

    fn identity<'p>(&self, policies: &Policies<'p>, effect: Effect) -> Option<Decided<'p>> {
        let mut policies = policies.identity.iter().enumerate();
        policies.find_map(|(at, policy)| {
            let found = self.first(policy, Source::Identity(at), effect);
            found.map(|(_, by)| by)
        })
    }

    /// The statement that denies, wherever it stands. One that names an account denies all of it.
    fn denial<'p>(&self, policies: &Policies<'p>) -> Option<Decided<'p>> {
        let others = [
            (policies.bucket, Source::Bucket),
            (policies.boundary, Source::Boundary),
        ];
        let of_sessions = policies.session.unwrap_or_default().iter();
        let of_sessions = of_sessions.map(|policy| (Some(&**policy), Source::Session));
        let of_others = others
            .into_iter()
            .chain(of_sessions)
            .find_map(|(policy, source)| {
                let found = self.first(policy?, source, Effect::Deny);
                found.map(|(_, by)| by)
            });
        of_others.or_else(|| self.identity(policies, Effect::Deny))
    }

    /// Whether what only restricts allows it, where it is there.
    fn lets(&self, policy: Option<&Policy>) -> bool {
        policy.is_none_or(|policy| self.first(policy, Source::Session, Effect::Allow).is_some())
    }

    /// Whether one of the policies of the session allows it, where it has any.
    fn is_session_let(&self, policies: &Policies<'_>) -> bool {
        let mut of_session = policies.session.into_iter().flatten();
        policies.session.is_none() || of_session.any(|policy| self.lets(Some(policy)))
    }
}
