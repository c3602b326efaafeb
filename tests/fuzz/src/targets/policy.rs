//! Policies in AWS's language, of a bucket, of an identity and of who may assume a role; one that is understood is asked a question by everybody, by the root and by a user.

use std::rc::Rc;

use strata_gateway::policy::{
    Policies, Policy, PolicyKind, Principal, Question, User, decide, decide_trust, value,
};

use crate::allocation::bounded;

pub(super) fn run(data: &[u8]) {
    let kinds = [
        PolicyKind::Bucket { name: "photos" },
        PolicyKind::Identity,
        PolicyKind::Trust,
    ];
    for kind in kinds {
        let Some(policy) = bounded(data.len(), || Policy::parse(data, kind).ok()) else {
            continue;
        };
        assert_eq!(Policy::parse(data, kind).as_ref(), Ok(&policy));
        let _ = policy.is_public();
        ask(policy, kind);
    }
}

fn ask(policy: Policy, kind: PolicyKind<'_>) {
    let user = User {
        account: 1,
        name: "bob".to_owned(),
        path: "/".to_owned(),
        id: "AIDABOB".to_owned(),
        arn: "arn:aws:iam::000000000001:user/bob".to_owned(),
    };
    let own = [Rc::new(policy)];
    let policies = match kind {
        PolicyKind::Bucket { .. } | PolicyKind::Trust => Policies {
            bucket: Some(&own[0]),
            ..Policies::default()
        },
        PolicyKind::Identity => Policies {
            identity: &own,
            ..Policies::default()
        },
    };
    let principals = [
        Principal::Anonymous,
        Principal::Root { account: 1 },
        Principal::User(Rc::new(user)),
    ];
    for principal in &principals {
        let question = Question {
            principal,
            owner_account: 1,
            action: "s3:GetObject",
            resource: "arn:aws:s3:::photos/a/b",
            facts: &|_| value("127.0.0.1"),
        };
        let answer = match kind {
            PolicyKind::Trust => decide_trust,
            PolicyKind::Bucket { .. } | PolicyKind::Identity => decide,
        };
        let first = answer(&question, &policies);
        assert_eq!(answer(&question, &policies), first);
    }
}
