//! Policies in AWS's language: read, checked, compiled, and asked whether somebody may do something.
//!
//! Pure: no clock, no storage, no HTTP. Whoever asks says what is asked by a [`Question`] and hands over the policies that count;
//! [`decide`] answers. The language is that of AWS's IAM user guide, "IAM JSON policy element reference", in what a server without organisations can mean by it. Invariants: a document is compiled once, when it is read; what is not understood in it makes it malformed, so that
//! no policy is in force in part; a question that no statement answers is denied.

mod action;
mod built_in;
mod condition;
mod decision;
mod document;
pub(crate) mod json;
pub mod key;
mod pattern;
mod principal;
mod public;

use std::fmt;

pub use built_in::{BUILT_IN_POLICIES, BuiltInPolicy, built_in_policy};
pub use condition::{Values, value};
pub use decision::{
    Decided, Decision, Policies, Question, Source, decide, decide_trust, is_always_roots, may_allow,
};
pub use key::Key;
pub use principal::{Named, Principal, RoleSession, User, account_id, root_arn};

use condition::Condition;
use pattern::Pattern;
use principal::Principals;

/// What is wrong with a policy: AWS's `MalformedPolicy`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MalformedPolicy {
    /// The sentence.
    pub message: String,
    /// The text that it is about, where there is one.
    pub detail: Option<String>,
}

impl MalformedPolicy {
    fn new(message: impl Into<String>) -> MalformedPolicy {
        MalformedPolicy {
            message: message.into(),
            detail: None,
        }
    }

    fn about(mut self, text: &str) -> MalformedPolicy {
        self.detail = Some(text.to_owned());
        self
    }

    /// The refusal of a principal that does not exist.
    pub fn principal(named: &Named) -> MalformedPolicy {
        let text = match named {
            Named::Everybody => "*".to_owned(),
            Named::Account(account) => account_id(*account),
            Named::Identity(text) | Named::Federated(text) | Named::Service(text) => text.clone(),
        };
        principal::invalid("AWS", &text)
    }
}

impl fmt::Display for MalformedPolicy {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.detail {
            None => f.write_str(&self.message),
            Some(detail) => write!(f, "{}: {detail}", self.message),
        }
    }
}

/// What a policy belongs to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum PolicyKind<'a> {
    /// A bucket: it names principals, and resources of the bucket.
    Bucket {
        /// The bucket's name.
        name: &'a str,
    },
    /// An identity, or what bounds one or a session of one: it names no principal.
    Identity,
    /// A role, as what says who may assume it: it names principals and no resource.
    Trust,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Effect {
    Allow,
    Deny,
}

#[derive(Debug, Clone, PartialEq)]
struct Statement {
    sid: Option<String>,
    effect: Effect,
    principals: Principals,
    actions: Vec<Pattern>,
    not_action: bool,
    resources: Vec<Pattern>,
    not_resource: bool,
    conditions: Vec<Condition>,
}

/// A policy, compiled.
#[derive(Debug, Clone, PartialEq)]
pub struct Policy {
    statements: Vec<Statement>,
}

impl Policy {
    /// Compiles a document.
    ///
    /// # Errors
    /// What is wrong with it.
    pub fn parse(text: &[u8], kind: PolicyKind<'_>) -> Result<Policy, MalformedPolicy> {
        let statements = document::statements(text, kind)?;
        Ok(Policy { statements })
    }

    /// The principals that its statements name.
    pub fn named(&self) -> impl Iterator<Item = &Named> {
        let principals = self
            .statements
            .iter()
            .map(|statement| &statement.principals);
        principals.flat_map(Principals::named)
    }

    /// Whether it is public by AWS's rule (user guide of S3, "The meaning of public").
    pub fn is_public(&self) -> bool {
        self.statements.iter().any(public::is_public)
    }
}

#[cfg(test)]
mod tests;
