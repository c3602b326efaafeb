//! `strata admin role` and `session-key`: who may have whose rights for a time, and by which keys such sessions are known.

use std::fmt::Write as _;
use std::path::Path;

use serde_json::Value;

use super::protocol::users::UsersRequest;
use super::shown::{duration, number, text};
use super::users::{attached, created, document, managed, names, shown};
use crate::config::Config;

/// What a role is created with.
pub struct NewRole<'a> {
    /// Its name.
    pub role: String,
    /// Its path.
    pub path: String,
    /// The file that holds its trust policy.
    pub trust: &'a Path,
    /// The longest session, in seconds.
    pub max_session_seconds: u32,
    /// What it is for.
    pub description: String,
}

/// Has a role created.
///
/// # Errors
/// The file cannot be read, no server runs, or it refuses; says why.
pub fn create(config: &Config, new: NewRole<'_>, as_json: bool) -> Result<String, String> {
    let request = UsersRequest::CreateRole {
        role: new.role,
        path: new.path,
        trust_policy: document(new.trust)?,
        max_session_seconds: new.max_session_seconds,
        description: new.description,
    };
    shown(config, request, as_json, role)
}

/// All roles.
pub fn roles(roles: &Value) -> String {
    let mut table = format!("{:<32}  {:>5}  {:>9}  attached\n", "role", "age", "session");
    for role in roles.as_array().into_iter().flatten() {
        let _ = writeln!(
            table,
            "{:<32}  {:>5}  {:>9}  {}",
            text(role, "role"),
            created(role),
            duration(number(role, "max_session_seconds")),
            attached(role),
        );
    }
    table
}

/// One role.
pub fn role(role: &Value) -> String {
    let boundary = match &role["boundary"] {
        Value::Null => "-".to_owned(),
        policy => managed(policy),
    };
    let described = match text(role, "description") {
        "" => "-",
        description => description,
    };
    format!(
        "role      {}\nid        {}\narn       {}\nage       {}\nsession   at most {}\nfor       {described}\npolicies  {}\nattached  {}\nboundary  {boundary}\ntrusts    {}\n",
        text(role, "role"),
        text(role, "id"),
        text(role, "arn"),
        created(role),
        duration(number(role, "max_session_seconds")),
        names(role, "policies"),
        attached(role),
        text(role, "trust_policy").trim_end(),
    )
}

/// All session keys.
pub fn session_keys(keys: &Value) -> String {
    let mut table = format!("{:>6}  {:>5}  seals\n", "number", "age");
    for key in keys.as_array().into_iter().flatten() {
        let seals = match key["seals"].as_bool() {
            Some(true) => "new sessions",
            _ => "-",
        };
        let _ = writeln!(
            table,
            "{:>6}  {:>5}  {seals}",
            number(key, "number"),
            created(key)
        );
    }
    table
}

/// A session key that was added.
pub fn new_session_key(key: &Value) -> String {
    format!(
        "Session key {} seals new sessions.\n",
        number(key, "number")
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn a_role_is_shown_with_all_that_it_has() {
        let value = json!({
            "role": "backup", "id": "AROA1", "arn": "arn:aws:iam::000000000001:role/backup", "created_unix_seconds": 1,
            "max_session_seconds": 7_200, "description": "", "policies": ["own"], "attached": [], "boundary": null,
            "trust_policy": "{\n}\n",
        });
        let shown = role(&value);
        for line in [
            "role      backup",
            "session   at most 2 h 0 min",
            "for       -",
            "policies  own",
            "trusts    {",
        ] {
            assert!(shown.lines().any(|shown| shown == line), "{line}: {shown}");
        }
        let table = roles(&json!([value]));
        assert!(
            table
                .lines()
                .nth(1)
                .is_some_and(|line| line.ends_with("2 h 0 min  -")),
            "{table}"
        );
    }

    #[test]
    fn the_key_that_seals_is_marked() {
        let table =
            session_keys(&json!([{ "number": 1, "seals": false }, { "number": 2, "seals": true }]));
        let lines: Vec<&str> = table.lines().collect();
        assert!(
            lines[1].ends_with('-') && lines[2].ends_with("new sessions"),
            "{table}"
        );
    }
}
