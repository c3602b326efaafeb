//! `strata admin user`, `key`, `group` and `policy`: who may ask a running server, and for what.

use std::fmt::Write as _;
use std::path::Path;

use serde_json::Value;
use strata_raftlog::namespace::POLICY_BYTES_MAX;

use super::protocol::Request;
use super::protocol::users::{Of, UsersRequest};
use super::shown::{age, list, number, seconds_since, text};
use super::{ask, said};
use crate::config::Config;

/// Asks, and shows the answer as JSON or as `table` makes it.
///
/// # Errors
/// No server runs, or it refuses; says why.
pub fn shown(
    config: &Config,
    request: UsersRequest,
    as_json: bool,
    table: fn(&Value) -> String,
) -> Result<String, String> {
    let answer = ask(config, &Request::Users(request)).map_err(|error| error.to_string())?;
    Ok(said(&answer, as_json, table))
}

/// Asks for a change, and says that it was made.
///
/// # Errors
/// No server runs, or it refuses; says why.
pub fn done(config: &Config, request: UsersRequest, sentence: String) -> Result<String, String> {
    ask(config, &Request::Users(request)).map_err(|error| error.to_string())?;
    Ok(sentence + "\n")
}

/// Has a policy put that stands in a file.
///
/// # Errors
/// The file cannot be read, no server runs, or it refuses; says why.
pub fn put_policy(config: &Config, policy: &str, file: &Path, of: Of) -> Result<String, String> {
    let request = UsersRequest::PutPolicy {
        policy: policy.to_owned(),
        document: document(file)?,
        of,
    };
    done(config, request, format!("Policy {policy} is in force."))
}

/// The document in a file.
///
/// # Errors
/// It cannot be read, or is longer than that of a policy may be.
pub fn document(file: &Path) -> Result<String, String> {
    let document = std::fs::read_to_string(file)
        .map_err(|error| format!("cannot read {}: {error}", file.display()))?;
    check_document(file, &document)?;
    Ok(document)
}

/// Refuses a document that no policy may have, before it is sent.
fn check_document(file: &Path, document: &str) -> Result<(), String> {
    match document.len() <= POLICY_BYTES_MAX {
        true => Ok(()),
        false => Err(format!(
            "{} has {} bytes: a policy has at most {POLICY_BYTES_MAX}",
            file.display(),
            document.len()
        )),
    }
}

/// Has an access key created by the request that `of` makes: a new one, or that of an id with the secret in a file.
///
/// # Errors
/// The file cannot be read, no server runs, or it refuses; says why.
pub fn create_key(
    config: &Config,
    of: impl FnOnce(Option<String>, Option<String>) -> UsersRequest,
    given: Option<(String, &Path)>,
    as_json: bool,
) -> Result<String, String> {
    let (access_key_id, secret_access_key) = match given {
        None => (None, None),
        Some((id, file)) => {
            let secret = std::fs::read_to_string(file)
                .map_err(|error| format!("cannot read {}: {error}", file.display()))?;
            (Some(id), Some(secret.trim_end().to_owned()))
        }
    };
    let request = of(access_key_id, secret_access_key);
    shown(config, request, as_json, new_key)
}

/// A new key with its secret.
fn new_key(key: &Value) -> String {
    format!(
        "The new access key of {}, shown once:\n  access key id      {}\n  secret access key  {}\n",
        text(key, "user"),
        text(key, "access_key_id"),
        text(key, "secret_access_key"),
    )
}

/// Names, one after the other.
pub(super) fn names(value: &Value, name: &str) -> String {
    let names = list(value, name).iter().filter_map(Value::as_str);
    or_hyphen(&names.collect::<Vec<&str>>())
}

/// Managed policies that are attached, one after the other.
pub(super) fn attached(value: &Value) -> String {
    let policies = list(value, "attached").iter().map(managed);
    or_hyphen(&policies.collect::<Vec<String>>())
}

/// A managed policy's name, and whether it is built in.
pub(super) fn managed(policy: &Value) -> String {
    let name = text(policy, "policy");
    match policy["built_in"].as_bool() {
        Some(true) => format!("{name} (built in)"),
        _ => name.to_owned(),
    }
}

/// A hyphen where there are none.
fn or_hyphen<T: AsRef<str>>(names: &[T]) -> String {
    let names: Vec<&str> = names.iter().map(AsRef::as_ref).collect();
    match names.is_empty() {
        true => "-".to_owned(),
        false => names.join(", "),
    }
}

pub(super) fn created(value: &Value) -> String {
    age(seconds_since(number(value, "created_unix_seconds")))
}

/// All users.
pub fn users(users: &Value) -> String {
    let mut table = format!(
        "{:<32}  {:>5}  {:>4}  {:>8}  groups\n",
        "user", "age", "keys", "attached"
    );
    for user in users.as_array().into_iter().flatten() {
        let _ = writeln!(
            table,
            "{:<32}  {:>5}  {:>4}  {:>8}  {}",
            text(user, "user"),
            created(user),
            list(user, "access_key_ids").len(),
            list(user, "attached").len(),
            names(user, "groups"),
        );
    }
    table
}

/// One user.
pub fn user(user: &Value) -> String {
    let boundary = match &user["boundary"] {
        Value::Null => "-".to_owned(),
        policy => managed(policy),
    };
    let mut shown = format!(
        "user      {}\nid        {}\narn       {}\nage       {}\ngroups    {}\npolicies  {}\nattached  {}\nboundary  {boundary}\n",
        text(user, "user"),
        text(user, "id"),
        text(user, "arn"),
        created(user),
        names(user, "groups"),
        names(user, "policies"),
        attached(user),
    );
    for key in list(user, "access_keys") {
        let _ = writeln!(shown, "key       {}", key_line(key));
    }
    shown
}

/// The access keys of a user.
pub fn keys(keys: &Value) -> String {
    let keys = keys.as_array().into_iter().flatten();
    keys.map(|key| key_line(key) + "\n").collect()
}

fn key_line(key: &Value) -> String {
    let state = match key["active"].as_bool() {
        Some(true) => "active",
        _ => "inactive",
    };
    format!(
        "{:<20}  {state:<8}  {}",
        text(key, "access_key_id"),
        created(key)
    )
}

/// All groups.
pub fn groups(groups: &Value) -> String {
    let mut table = format!("{:<32}  {:>5}  {:>5}  attached\n", "group", "age", "users");
    for group in groups.as_array().into_iter().flatten() {
        let _ = writeln!(
            table,
            "{:<32}  {:>5}  {:>5}  {}",
            text(group, "group"),
            created(group),
            number(group, "members"),
            attached(group),
        );
    }
    table
}

/// One group.
pub fn group(group: &Value) -> String {
    format!(
        "group     {}\nid        {}\narn       {}\nage       {}\nusers     {}\npolicies  {}\nattached  {}\n",
        text(group, "group"),
        text(group, "id"),
        text(group, "arn"),
        created(group),
        names(group, "users"),
        names(group, "policies"),
        attached(group),
    )
}

/// The managed policies, or those of a user, a group or a role.
pub fn policies(policies: &Value) -> String {
    let Some(managed) = policies.as_array() else {
        let (own, attached) = (names(policies, "policies"), attached(policies));
        return format!("policies  {own}\nattached  {attached}\n");
    };
    let mut table = format!("{:<32}  {:<8}  uses\n", "policy", "kind");
    for policy in managed {
        let kind = match policy["built_in"].as_bool() {
            Some(true) => "built in",
            _ => "own",
        };
        let uses = policy["uses"].as_u64();
        let uses = uses.map_or_else(|| "-".to_owned(), |uses| uses.to_string());
        let _ = writeln!(table, "{:<32}  {kind:<8}  {uses}", text(policy, "policy"));
    }
    table
}

/// What a policy says, as it was given.
pub fn policy(policy: &Value) -> String {
    let document = text(policy, "document");
    match document.ends_with('\n') {
        true => document.to_owned(),
        false => document.to_owned() + "\n",
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn a_user_is_shown_with_all_that_it_has() {
        let shown = user(&json!({
            "user": "alice", "id": "AIDA1", "arn": "arn:aws:iam::000000000001:user/alice", "created_unix_seconds": 1,
            "groups": ["staff", "ops"], "policies": [], "attached": [{ "policy": "AmazonS3FullAccess", "built_in": true }], "boundary": null,
            "access_keys": [{ "access_key_id": "AKIA1", "active": false, "created_unix_seconds": 1 }],
        }));
        for line in [
            "user      alice",
            "groups    staff, ops",
            "policies  -",
            "attached  AmazonS3FullAccess (built in)",
            "boundary  -",
            "key       AKIA1",
        ] {
            assert!(
                shown.lines().any(|shown| shown.starts_with(line)),
                "{line}: {shown}"
            );
        }
        assert!(shown.contains("inactive"), "{shown}");
    }

    #[test]
    fn a_document_over_the_bound_is_refused_with_the_bound() {
        let file = Path::new("policy.json");
        let document = " ".repeat(POLICY_BYTES_MAX);
        assert_eq!(check_document(file, &document), Ok(()));
        let why = check_document(file, &(document + " ")).expect_err("too long");
        assert!(why.contains("policy.json has 32769 bytes"), "{why}");
    }

    #[test]
    fn lists_have_a_line_for_each() {
        let listed = users(&json!([
            { "user": "a", "access_key_ids": ["x", "y"], "attached": [], "groups": [] },
            { "user": "b", "access_key_ids": [], "attached": [{ "policy": "p", "built_in": false }], "groups": ["g"] },
        ]));
        let lines: Vec<&str> = listed.lines().collect();
        assert_eq!(lines.len(), 3, "{listed}");
        assert!(
            lines[1].starts_with("a ") && lines[1].ends_with('-'),
            "{listed}"
        );
        let listed = policies(&json!([
            { "policy": "mine", "built_in": false, "uses": 3 },
            { "policy": "AmazonS3FullAccess", "built_in": true },
        ]));
        assert!(
            listed.contains("own       3") && listed.contains("built in  -"),
            "{listed}"
        );
        assert_eq!(
            policies(&json!({ "policies": ["a"] })),
            "policies  a\nattached  -\n"
        );
        let listed = groups(
            &json!([{ "group": "g", "members": 2, "attached": [{ "policy": "p" }, { "policy": "q" }] }]),
        );
        assert!(
            listed
                .lines()
                .nth(1)
                .is_some_and(|line| line.ends_with("2  p, q")),
            "{listed}"
        );
    }

    #[test]
    fn a_new_key_is_shown_with_its_secret_and_a_policy_as_it_was_given() {
        let shown = new_key(&json!({
            "user": "alice", "access_key_id": "AKIA1", "secret_access_key": "hush",
        }));
        assert!(shown.contains("AKIA1") && shown.contains("hush"), "{shown}");
        assert_eq!(policy(&json!({ "document": "{\n}" })), "{\n}\n");
    }
}
