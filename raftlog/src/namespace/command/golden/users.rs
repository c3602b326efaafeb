//! Samples of the commands about users, groups, access keys and policies, and of the answers that only they get.

use super::super::layout::structure;
use super::super::*;
use super::Sample;
use crate::namespace::{AccessKeySecret, ManagedPolicyName, PolicySource, Principal};

const DOCUMENT: &str = r#"{"Version":"2012-10-17","Statement":[]}"#;

fn user() -> String {
    "Alice".to_owned()
}

fn group() -> String {
    "Administrators".to_owned()
}

fn policy() -> ManagedPolicyName {
    ManagedPolicyName {
        source: PolicySource::State,
        name: "ReadReports".to_owned(),
    }
}

pub(super) fn built_in() -> ManagedPolicyName {
    ManagedPolicyName {
        source: PolicySource::BuiltIn,
        name: "AmazonS3FullAccess".to_owned(),
    }
}

/// One of each kind.
pub(super) fn samples() -> Vec<Sample> {
    let mut samples = of_users();
    samples.extend(of_policies());
    samples
}

fn of_users() -> Vec<Sample> {
    samples! {
        CreateUser {
            name: user(),
            path: "/staff/".to_owned(),
            id: "AIDAEXAMPLE0000000001".to_owned(),
            account: 1,
            boundary: Some(built_in()),
        }
        DeleteUser { name: user() }
        CreateAccessKey {
            user: user(),
            access_key_id: "AKIAIOSFODNN7EXAMPLE".to_owned(),
            secret_access_key: AccessKeySecret("not a secret".to_owned()),
        }
        SetAccessKeyActive {
            access_key_id: "AKIAIOSFODNN7EXAMPLE".to_owned(),
            active: true,
        }
        DeleteAccessKey {
            access_key_id: "AKIAIOSFODNN7EXAMPLE".to_owned(),
        }
        CreateGroup {
            name: group(),
            path: "/".to_owned(),
            id: "AGPAEXAMPLE0000000001".to_owned(),
            account: 1,
        }
        DeleteGroup { name: group() }
        SetMembership {
            user: user(),
            group: group(),
            member: true,
        }
    }
}

fn of_policies() -> Vec<Sample> {
    samples! {
        PutInlinePolicy {
            principal: Principal::User(user()),
            name: "Own".to_owned(),
            document: DOCUMENT.to_owned(),
        }
        DeleteInlinePolicy {
            principal: Principal::Group(group()),
            name: "Own".to_owned(),
        }
        PutManagedPolicy {
            name: "ReadReports".to_owned(),
            id: "ANPAEXAMPLE0000000001".to_owned(),
            document: DOCUMENT.to_owned(),
        }
        DeleteManagedPolicy {
            name: "ReadReports".to_owned(),
        }
        AttachPolicy {
            principal: Principal::Group(group()),
            policy: policy(),
        }
        DetachPolicy {
            principal: Principal::User(user()),
            policy: built_in(),
        }
        SetBoundary {
            user: user(),
            policy: Some(built_in()),
        }
        UpdateUser {
            user: user(),
            name: Some("Alicia".to_owned()),
            path: None,
        }
    }
}

/// The refusals that only these commands get.
pub(super) fn answers() -> Vec<Answer> {
    let refusals = [
        Refusal::EntityAlreadyExists("User with name Alice already exists.".to_owned()),
        Refusal::NoSuchEntity("The user with name Bob cannot be found.".to_owned()),
        Refusal::LimitExceeded("Cannot exceed quota for GroupsPerUser: 10".to_owned()),
        Refusal::DeleteConflict("Cannot delete entity, must delete policies first.".to_owned()),
    ];
    refusals.map(Answer::Refused).to_vec()
}
