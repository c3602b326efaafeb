//! Who asks, and whether they may do what they ask for: the one check that every request passes before its handler.
//!
//! Invariants: the check is made before a byte of the body is read and before anything of the bucket is told but that it does not exist; what a
//! request needs leave for follows from the table of operations and from the request alone, so that no operation goes unchecked; where nothing
//! allows a request, be it a policy or an access list, it is denied; whoever may not list a bucket is not told which keys it lacks. A request of the root of the account whose bucket has no
//! policy is let through without an allocation, and without a look-up where access lists do not count.

pub mod bucket_rules;
pub mod facts;
pub mod identity;
mod lists;
pub mod named;
pub mod needs;
pub mod sessions;

use std::cell::Cell;
use std::net::IpAddr;
use std::rc::Rc;

use strata_raftlog::namespace::Bucket;

use crate::auth::{Authorization, Form};
use crate::error::{Code, Fault};
use crate::operation::Id;
use crate::policy::{
    Decision, Policies, Policy, Principal, Question, Source, decide, is_always_roots, may_allow,
};
use crate::request::Request;
use crate::s3::copy_source::Name;
use crate::s3::{ROOT_ACCOUNT, Shared};

use bucket_rules::BucketRules;
use facts::Facts;
use identity::Identity;
use lists::{Granted, Lists};
use needs::{Need, action_on};

/// What is known of a signature that was right.
#[derive(Debug, Clone, Copy)]
pub struct SignedAs {
    /// Where it stands.
    pub form: Form,
    /// When it was made, in seconds since the Unix epoch.
    pub time_seconds: i64,
}

impl SignedAs {
    /// What is known of it.
    pub fn by(authorization: &Authorization) -> SignedAs {
        SignedAs {
            form: authorization.form,
            time_seconds: authorization.time_seconds,
        }
    }
}

/// Who asks, and from where.
pub struct Asker {
    /// Who.
    pub identity: Rc<Identity>,
    /// The address at the other end of the connection.
    pub source: IpAddr,
    /// The version of TLS; `None` without TLS.
    pub tls_version: Option<&'static str>,
    /// The signature; `None` where the request has none.
    pub signature: Option<SignedAs>,
}

impl Asker {
    /// The account of whoever asks. One that signs nothing has none and is taken for one of the account that is always there, where it may do
    /// no more than anywhere.
    pub fn account(&self) -> u64 {
        self.identity.principal.account().unwrap_or(ROOT_ACCOUNT)
    }
}

/// Operations of which a policy may ask for what stands in the document.
const IN_DOCUMENT: &[Id] = &[
    Id::PutObjectLegalHold,
    Id::PutObjectRetention,
    Id::PutObjectTagging,
];

/// Checks all that a request needs leave for, but for the keys that stand in its body.
///
/// # Errors
/// `AccessDenied`; `NoSuchBucket` where a bucket does not exist; `MethodNotAllowed` for the policy of another account's bucket; those of the namespace.
pub fn check(shared: &Shared, request: &Request) -> Result<(), Fault> {
    let principal = &request.asker.identity.principal;
    match request.operation.id {
        Id::CreateMultipartUpload if *principal == Principal::Anonymous => {
            let message =
                "Anonymous users cannot initiate multipart uploads.  Please authenticate.";
            return Err(Fault::new(Code::AccessDenied, message));
        }
        Id::DeleteObjects => {
            let actions = ["s3:DeleteObject", "s3:DeleteObjectVersion"];
            return check_some(shared, request, &actions);
        }
        // What it asks for depends on the tags or the lock in its document: see `check_document`.
        id if IN_DOCUMENT.contains(&id) => {
            let version = request.query.get("versionId");
            let action = action_on(request.operation.action, version);
            return check_some(shared, request, &[action]);
        }
        _ => {}
    }
    needs::each(request, |need| check_one(shared, request, need))?;
    match request.operation.id {
        Id::GetBucketPolicy | Id::PutBucketPolicy | Id::DeleteBucketPolicy => {
            let bucket = shared.cluster.bucket(request.bucket()?)?;
            let is_of_other =
                bucket.is_some_and(|bucket| Some(bucket.owner) != principal.account());
            match is_of_other {
                true => Err(Code::MethodNotAllowed.into()),
                false => Ok(()),
            }
        }
        _ => Ok(()),
    }
}

/// Checks what depends on the document in the body, or on what was there before it came, when that was read. The keys of DeleteObjects are checked one by one instead.
///
/// # Errors
/// As [`check`].
pub fn check_document(shared: &Shared, request: &Request) -> Result<(), Fault> {
    match request.operation.id {
        // Another account may have put an object of its own there while the document came.
        id if IN_DOCUMENT.contains(&id) || id == Id::PutObjectAcl => {
            needs::each(request, |need| check_one(shared, request, need))
        }
        _ => Ok(()),
    }
}

/// Checks what a copy that takes over the tags of its source needs beside the rest: AWS's API reference of CopyObject.
///
/// # Errors
/// As [`check`].
pub fn check_copied_tags(shared: &Shared, request: &Request, source: &Name) -> Result<(), Fault> {
    let version = source.version.map(|version| version.to_string());
    let reads = Need {
        action: action_on("s3:GetObjectTagging", version.as_deref()),
        bucket: Some(&source.bucket),
        key: Some(&source.key),
        version: version.as_deref(),
    };
    check_one(shared, request, reads)?;
    let writes = Need {
        action: "s3:PutObjectTagging",
        bucket: request.address.bucket(),
        key: request.address.key(),
        version: None,
    };
    check_one(shared, request, writes)
}

/// Whether who asks may also take another action on what the request is about, where it is an option and no need.
///
/// # Errors
/// Those of the namespace.
pub fn may(shared: &Shared, request: &Request, action: &'static str) -> Result<bool, Fault> {
    let need = Need {
        action,
        bucket: request.address.bucket(),
        key: request.address.key(),
        version: request.query.get("versionId"),
    };
    is_allowed(check_one(shared, request, need))
}

fn is_allowed(checked: Result<(), Fault>) -> Result<bool, Fault> {
    match checked {
        Ok(()) => Ok(true),
        Err(fault) if fault.code == Code::AccessDenied => Ok(false),
        Err(fault) => Err(fault),
    }
}

fn check_one(shared: &Shared, request: &Request, need: Need<'_>) -> Result<(), Fault> {
    // A bucket that is made has no policy yet, and one that is there does not say who may make it.
    let name = need
        .bucket
        .filter(|_| request.operation.id != Id::CreateBucket);
    let bucket = match name {
        None => None,
        Some(name) => match shared.cluster.bucket(name)? {
            Some(bucket) => Some(bucket),
            None => return missing_bucket(request, name),
        },
    };
    Access::of(shared, request, bucket.as_deref())?.check(need)
}

/// The root is told by the operation, in the order in which AWS checks; all others hear nothing else of a bucket that is not there. One that is made
/// meanwhile is so not open to them.
fn missing_bucket(request: &Request, name: &str) -> Result<(), Fault> {
    match is_root(request, request.asker.account()) {
        true => Ok(()),
        false => Err(Fault::from(Code::NoSuchBucket).detail("BucketName", name)),
    }
}

fn is_root(request: &Request, of_account: u64) -> bool {
    is_whole_root(&request.asker.identity, of_account)
}

/// Whether it is the root of an account, and not a session of it, which its policy restricts.
pub fn is_whole_root(identity: &Identity, of_account: u64) -> bool {
    identity.session.is_none()
        && matches!(identity.principal, Principal::Root { account } if account == of_account)
}

/// Whether leave for one of these actions is possible; what else it depends on is asked when the body was read.
fn check_some(shared: &Shared, request: &Request, actions: &[&str]) -> Result<(), Fault> {
    let name = request.bucket()?;
    let Some(bucket) = shared.cluster.bucket(name)? else {
        return missing_bucket(request, name);
    };
    let access = Access::of(shared, request, Some(&bucket))?;
    let may = |action: &&str| access.may_allow(action);
    let is_possible = actions.iter().any(may) || access.may_write_by_list();
    match is_root(request, bucket.owner) || is_possible {
        true => Ok(()),
        false => Err(Code::AccessDenied.into()),
    }
}

/// What is told in place of an error that says that there is no such key, to whoever may not list the bucket: AWS's API reference of GetObject.
pub fn hide(shared: &Shared, request: &Request, fault: Fault) -> Fault {
    if !matches!(fault.code, Code::NoSuchKey | Code::NoSuchVersion) {
        return fault;
    }
    let list = |need: Need<'_>| {
        let need = Need {
            action: "s3:ListBucket",
            key: None,
            version: None,
            ..need
        };
        check_one(shared, request, need)
    };
    match needs::each(request, list) {
        Ok(()) => fault,
        Err(denied) => denied,
    }
}

/// What one who asks may do in one bucket.
pub struct Access<'r> {
    request: &'r Request,
    shared: &'r Shared,
    owner_account: u64,
    /// `None` for what is about no bucket that is there.
    bucket: Option<&'r Bucket>,
    /// `None` as the bucket, and where they cannot be read.
    rules: Option<Rc<BucketRules>>,
    /// Whether the rules cannot be read, and what is then answered.
    unread: Option<Fault>,
}

impl<'r> Access<'r> {
    /// What the one who asks may do in a bucket, or with what is about none.
    ///
    /// # Errors
    /// Those of the namespace.
    pub fn of(
        shared: &'r Shared,
        request: &'r Request,
        bucket: Option<&'r Bucket>,
    ) -> Result<Access<'r>, Fault> {
        let rules = bucket.map(|bucket| shared.rules.of(&shared.cluster, bucket));
        let (rules, unread) = match rules.transpose() {
            Ok(rules) => (rules, None),
            // The root of the account that owns the bucket can replace and delete what cannot be read.
            Err(fault) if fault.code == Code::InternalError => (None, Some(fault)),
            Err(fault) => return Err(fault),
        };
        Ok(Access {
            request,
            shared,
            owner_account: bucket.map_or(request.asker.account(), |bucket| bucket.owner),
            bucket,
            rules,
            unread,
        })
    }

    /// Whether a key may be deleted, or a version of it; `has_condition` where the answer tells whether it is the one that is expected.
    ///
    /// # Errors
    /// `AccessDenied`.
    pub fn check_delete(
        &self,
        bucket: &str,
        key: &str,
        version: Option<&str>,
        has_condition: bool,
    ) -> Result<(), Fault> {
        let need = |action| Need {
            action: action_on(action, version),
            bucket: Some(bucket),
            key: Some(key),
            version,
        };
        self.check(need("s3:DeleteObject"))?;
        match has_condition {
            true => self.check(need("s3:GetObject")),
            false => Ok(()),
        }
    }

    /// Whether a retention of governance may be bypassed for a version of a key.
    ///
    /// # Errors
    /// Those of the namespace.
    pub fn may_bypass(
        &self,
        bucket: &str,
        key: &str,
        version: Option<&str>,
    ) -> Result<bool, Fault> {
        is_allowed(self.check(Need {
            action: "s3:BypassGovernanceRetention",
            bucket: Some(bucket),
            key: Some(key),
            version,
        }))
    }

    fn policies<'p>(&'p self, bucket: Option<&'p Policy>) -> Policies<'p> {
        let identity = &self.request.asker.identity;
        Policies {
            identity: &identity.policies,
            boundary: identity.boundary.as_deref(),
            session: identity.session.as_deref(),
            bucket,
            is_bucket_restricted: self
                .rules
                .as_ref()
                .is_some_and(|rules| rules.is_restricted()),
            ..Policies::default()
        }
    }

    /// The lists of the bucket, where they count.
    fn lists(&self) -> Option<Lists<'_>> {
        let rules = self.rules.as_deref().filter(|rules| rules.has_lists())?;
        Some(Lists {
            shared: self.shared,
            bucket: self.bucket?,
            rules,
            account: self.request.asker.identity.principal.account(),
            upload: self.request.query.get("uploadId"),
        })
    }

    /// Whether the list of the bucket lets whoever asks write, so that some key could be deleted.
    fn may_write_by_list(&self) -> bool {
        self.lists().is_some_and(|lists| lists.may_write())
    }

    /// What lists say, and whose it is that leave is needed for.
    fn granted(&self, need: Need<'_>) -> Result<Granted, Fault> {
        match self.lists() {
            Some(lists) => lists.say(need, self.request.operation),
            None => Ok(Granted {
                owner_account: self.owner_account,
                is_granted: false,
            }),
        }
    }

    fn bucket_policy(&self) -> Option<&Policy> {
        self.rules.as_ref().and_then(|rules| rules.policy.as_ref())
    }

    /// Whether some statement could allow the action on something in the bucket.
    fn may_allow(&self, action: &str) -> bool {
        let principal = &self.request.asker.identity.principal;
        may_allow(
            principal,
            self.owner_account,
            action,
            &self.policies(self.bucket_policy()),
        )
    }

    /// Whether it is allowed.
    ///
    /// # Errors
    /// `AccessDenied`.
    pub fn check(&self, need: Need<'_>) -> Result<(), Fault> {
        self.check_by(need, self.bucket_policy())
    }

    /// Whether it would be allowed if this were the policy of the bucket.
    ///
    /// # Errors
    /// `AccessDenied`.
    pub fn check_by(&self, need: Need<'_>, bucket: Option<&Policy>) -> Result<(), Fault> {
        let identity = &self.request.asker.identity;
        let principal = &identity.principal;
        let Granted {
            owner_account,
            is_granted,
        } = self.granted(need)?;
        let is_owner = is_whole_root(identity, owner_account);
        let is_free = bucket.is_none() && self.unread.is_none();
        if is_owner && (is_free || is_left_to_root(need.action, self.unread.is_some())) {
            return Ok(());
        }
        if let Some(fault) = &self.unread {
            return Err(fault.clone());
        }
        let resource = resource(&need);
        let facts = Facts {
            shared: self.shared,
            request: self.request,
            need,
            owner_account: self.owner_account,
            unread: Cell::new(None),
        };
        let question = Question {
            principal,
            owner_account,
            action: need.action,
            resource: &resource,
            facts: &|key| facts.of(key),
        };
        let policies = Policies {
            is_object_of_other: owner_account != self.owner_account,
            is_granted,
            ..self.policies(bucket)
        };
        let decision = decide(&question, &policies);
        if let Some(fault) = facts.unread.take() {
            return Err(fault);
        }
        match decision {
            Decision::Allowed(_) => Ok(()),
            denied => Err(refusal(&question, &denied)),
        }
    }
}

/// Whether the owning account's root may take an action whatever the bucket says, and whether or not that can be read.
fn is_left_to_root(action: &str, is_unread: bool) -> bool {
    let mends = [
        "s3:PutBucketOwnershipControls",
        "s3:PutBucketPublicAccessBlock",
    ];
    is_always_roots(action) || is_unread && mends.contains(&action)
}

/// The ARN of what an action is about.
fn resource(need: &Need<'_>) -> String {
    match (need.bucket, need.key) {
        (None, _) => "arn:aws:s3:::*".to_owned(),
        (Some(bucket), None) => format!("arn:aws:s3:::{bucket}"),
        (Some(bucket), Some(key)) => format!("arn:aws:s3:::{bucket}/{key}"),
    }
}

/// AWS's sentence, which tells an anonymous one nothing (user guide of S3, "Troubleshoot access denied errors").
fn refusal(question: &Question<'_>, decision: &Decision<'_>) -> Fault {
    let Some(arn) = question.principal.arn() else {
        return Code::AccessDenied.into();
    };
    let why = match decision {
        Decision::DeniedExplicitly(by) => {
            let policy = match by.source {
                Source::Identity(_) | Source::Root => "an identity-based policy",
                Source::Boundary => "a permissions boundary",
                Source::Session => "a session policy",
                Source::Bucket | Source::AccessList => "a resource-based policy",
            };
            format!("with an explicit deny in {policy}")
        }
        _ => format!("because no policy allows the {} action", question.action),
    };
    let (action, resource) = (question.action, question.resource);
    let message = format!(
        "User: {arn} is not authorized to perform: {action} on resource: \"{resource}\" {why}"
    );
    Fault::new(Code::AccessDenied, message)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::policy::PolicyKind;

    /// A block of public access that cannot be read must not lock the bucket for good.
    #[test]
    fn the_root_can_replace_what_cannot_be_read() {
        for (action, is_unread, is) in [
            ("s3:PutBucketPolicy", false, true),
            ("s3:DeleteBucketPolicy", true, true),
            ("s3:PutBucketPublicAccessBlock", true, true),
            ("s3:PutBucketPublicAccessBlock", false, false),
            ("s3:PutBucketOwnershipControls", true, true),
            ("s3:PutBucketOwnershipControls", false, false),
            ("s3:GetObject", true, false),
        ] {
            assert_eq!(is_left_to_root(action, is_unread), is, "{action}");
        }
    }

    #[test]
    fn a_session_of_the_root_is_not_the_root() {
        let allow = r#"{"Statement":{"Effect":"Allow","Action":"*","Resource":"*"}}"#;
        let session = Policy::parse(allow.as_bytes(), PolicyKind::Identity).unwrap();
        let identity = |session| Identity {
            principal: Principal::Root { account: 1 },
            policies: Vec::new(),
            boundary: None,
            session,
            issued_seconds: None,
            expires_seconds: None,
        };
        assert!(is_whole_root(&identity(None), 1));
        assert!(!is_whole_root(&identity(None), 2));
        assert!(!is_whole_root(
            &identity(Some(Rc::new([Rc::new(session)]))),
            1
        ));
    }
}
