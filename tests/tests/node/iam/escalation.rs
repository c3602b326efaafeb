//! What users with some rights must not make of them: rights that nobody gave them. IAM user guide, "Permissions boundaries for IAM entities" and "Rename
//! an IAM user"; service authorization reference, "Actions, resources, and condition keys for AWS Identity and Access Management".

use strata_tests::server::{Server, ServerOptions};

use super::{ALLOW_ALL, Caller, arn, text};
use crate::shared;
use crate::users::{admin, admin_json, refused};

const READ: &str = "arn:aws:iam::aws:policy/AmazonS3ReadOnlyAccess";
const FULL: &str = "arn:aws:iam::aws:policy/AdministratorAccess";
const OTHER_ACCOUNT: &str = "444455556666";

/// A new user who may do that to these, under a condition.
fn user_with(root: &Caller, name: &str, actions: &str, resource: &str, condition: &str) -> Caller {
    let user = root.user(name);
    let document = format!(
        r#"{{"Version":"2012-10-17","Statement":[{{"Effect":"Allow","Action":[{actions}],"Resource":"{resource}","Condition":{{{condition}}}}}]}}"#
    );
    let policy = [("PolicyName", "p"), ("PolicyDocument", &*document)];
    root.done(
        "PutUserPolicy",
        &[&[("UserName", name)], &policy[..]].concat(),
    );
    user
}

#[test]
fn what_an_action_does_not_read_decides_nothing() {
    let root = Caller::root(shared());
    let unless = format!(r#""StringNotEquals":{{"iam:PermissionsBoundary":"{READ}"}}"#);
    let actions = r#""iam:AttachUserPolicy","iam:DeleteUserPermissionsBoundary""#;
    let user = user_with(&root, "iam-empty", actions, "*", &unless);
    let bounded = ("UserName", "iam-empty-bounded");
    root.done("CreateUser", &[bounded, ("PermissionsBoundary", READ)]);
    let attach = [bounded, ("PolicyArn", FULL)];
    for more in [None, Some("PermissionsBoundary"), Some("RoleName")] {
        let more: Vec<_> = more.into_iter().map(|name| (name, "")).collect();
        let attached = user.code("AttachUserPolicy", &[&attach[..], &more].concat());
        let freed = user.code(
            "DeleteUserPermissionsBoundary",
            &[&[bounded], &more[..]].concat(),
        );
        let both = (attached.as_str(), freed.as_str());
        assert_eq!(both, ("AccessDenied", "AccessDenied"), "{more:?}");
    }
}

#[test]
fn who_must_give_a_boundary_gives_it() {
    let root = Caller::root(shared());
    let must = format!(r#""StringEquals":{{"iam:PermissionsBoundary":"{READ}"}}"#);
    let actions = r#""iam:CreateUser","iam:CreateRole""#;
    let user = user_with(&root, "iam-bounder", actions, "*", &must);
    let bound = ("PermissionsBoundary", READ);
    let trust = (
        "AssumeRolePolicyDocument",
        r#"{"Version":"2012-10-17","Statement":[{"Effect":"Allow","Principal":{"AWS":"arn:aws:iam::000000000001:root"},"Action":"sts:AssumeRole"}]}"#,
    );
    for (action, more) in [
        ("CreateUser", vec![("UserName", "iam-bounded")]),
        ("CreateRole", vec![("RoleName", "iam-bounded"), trust]),
    ] {
        assert_eq!(user.code(action, &more), "AccessDenied");
        let made = user.done(action, &[&more[..], &[bound]].concat());
        assert_eq!(text(&made, "PermissionsBoundaryArn"), READ);
        // That somebody has one who is there already counts for nobody who is made.
        assert_eq!(user.code(action, &more), "AccessDenied");
        let missing = arn("policy", "no-such");
        let gone = root.code(
            action,
            &[&more[..], &[("PermissionsBoundary", &*missing)]].concat(),
        );
        assert_eq!(gone, "NoSuchEntity");
    }
    let uses = root.done("ListEntitiesForPolicy", &[("PolicyArn", READ)]);
    assert!(uses.contains("<UserName>iam-bounded</UserName>"), "{uses}");
    assert!(uses.contains("<RoleName>iam-bounded</RoleName>"), "{uses}");
}

#[test]
fn a_rename_needs_leave_for_both_names() {
    let root = Caller::root(shared());
    let dev = "arn:aws:iam::*:user/renames/*";
    let user = user_with(&root, "iam-renamer", r#""iam:UpdateUser""#, dev, "");
    let old = ("UserName", "iam-renamed-1");
    root.done("CreateUser", &[old, ("Path", "/renames/")]);
    let (status, code, message) = user.refused("UpdateUser", &[old, ("NewPath", "/admins/")]);
    assert_eq!((status, &*code), (403, "AccessDenied"));
    let wanted = arn("user", "admins/iam-renamed-1");
    assert!(message.contains(&wanted), "{message}");
    let away = [old, ("NewUserName", "a"), ("NewPath", "/")];
    assert_eq!(user.code("UpdateUser", &away), "AccessDenied");
    user.done("UpdateUser", &[old, ("NewUserName", "iam-renamed-2")]);
    let below = [("UserName", "iam-renamed-2"), ("NewPath", "/renames/b/")];
    user.done("UpdateUser", &below);
    let nobody = [("UserName", "iam-renamed-1"), ("NewUserName", "iam-x")];
    assert_eq!(user.code("UpdateUser", &nobody), "AccessDenied");
    assert_eq!(root.code("UpdateUser", &nobody), "NoSuchEntity");
}

/// An operator who attaches a policy by its name alone means the one that is built in (decision 0027).
#[test]
fn nobody_takes_the_name_of_a_built_in_policy() {
    let root = Caller::root(shared());
    for name in ["AdministratorAccess", "amazons3readonlyaccess"] {
        let policy = [("PolicyName", name), ("PolicyDocument", ALLOW_ALL)];
        assert_eq!(root.code("CreatePolicy", &policy), "EntityAlreadyExists");
    }
}

/// Users belong to the first account (decision 0033): the root of another one may call nothing about them.
#[test]
fn the_root_of_another_account_manages_nobody() {
    let server = Server::start(ServerOptions::default());
    let root = Caller::root(&server);
    root.user("alice");
    let number = ["account", "create", "Research", "--number", OTHER_ACCOUNT];
    admin_json(&server, &number);
    let key = admin_json(&server, &["account", "key", OTHER_ACCOUNT]);
    let said = |name: &str| key[name].as_str().expect("text").to_owned();
    let mut other = Caller::root(&server);
    other.signer.access_key_id = said("access_key_id");
    other.signer.secret_key = said("secret_access_key");
    let alice = ("UserName", "alice");
    let attach = [alice, ("PolicyArn", FULL)];
    let policy = [("PolicyName", "p"), ("PolicyDocument", ALLOW_ALL)];
    for (action, parameters) in [
        ("ListUsers", vec![]),
        ("GetUser", vec![]),
        ("GetUser", vec![alice]),
        ("GetAccountSummary", vec![]),
        ("CreateUser", vec![("UserName", "bob")]),
        ("CreateAccessKey", vec![]),
        ("CreateAccessKey", vec![alice]),
        ("ListAccessKeys", vec![]),
        ("AttachUserPolicy", attach.to_vec()),
        ("CreatePolicy", policy.to_vec()),
        ("CreateGroup", vec![("GroupName", "staff")]),
        ("UpdateUser", vec![alice, ("NewUserName", "bob")]),
        ("DeleteUser", vec![alice]),
    ] {
        let (status, code, _) = other.refused(action, &parameters);
        assert_eq!((status, &*code), (403, "AccessDenied"), "{action}");
    }
    // Nor has the first account anything of that key.
    let id = [("AccessKeyId", &*other.signer.access_key_id)];
    for action in ["GetAccessKeyLastUsed", "DeleteAccessKey"] {
        let parameters = match action {
            "DeleteAccessKey" => [&id[..], &[alice]].concat(),
            _ => id.to_vec(),
        };
        let (_, code, message) = root.refused(action, &parameters);
        assert_eq!(code, "NoSuchEntity");
        assert!(message.starts_with("The Access Key"), "{message}");
    }
    assert!(refused(&server, &["account", "delete", OTHER_ACCOUNT]).contains("access keys"));
    admin(&server, &["key", "delete", id[0].1]);
}
