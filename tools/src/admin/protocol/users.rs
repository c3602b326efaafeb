//! Requests about accounts, users, groups, roles, access keys, policies and session keys.
//!
//! Invariant: a field that no request of the name has is refused by its name, as it may be one that is misspelt and would have narrowed the request.

use serde::{Deserialize, Deserializer, Serialize};
use serde_json::{Map, Value};

/// What is asked about them. No `Debug`: one of them may carry a secret.
#[derive(PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "request", rename_all = "kebab-case")]
#[allow(
    missing_docs,
    reason = "fields are named for what they are: names, ids, paths and documents"
)]
pub enum UsersRequest {
    /// To list all users.
    ListUsers,
    /// To show a user with its keys, groups and policies.
    ShowUser { user: String },
    /// To create a user.
    CreateUser { user: String, path: String },
    /// To delete a user that has nothing but a boundary.
    DeleteUser { user: String },
    /// To bound what the policies of a user may allow by a managed policy, or by none, which is said by null and by no absence.
    SetBoundary {
        user: String,
        #[serde(deserialize_with = "said_or_null")]
        policy: Option<String>,
    },
    /// To list the access keys of a user.
    ListKeys { user: String },
    /// To create an access key: this one, or one that the server makes.
    CreateKey {
        user: String,
        #[serde(default)]
        access_key_id: Option<String>,
        #[serde(default)]
        secret_access_key: Option<String>,
    },
    /// To delete an access key.
    DeleteKey { access_key_id: String },
    /// To say whether requests may be signed with an access key.
    SetKeyActive { access_key_id: String, active: bool },
    /// To list all accounts but the one that is always there.
    ListAccounts,
    /// To create an account of this number, or of one that the server makes.
    CreateAccount {
        account: String,
        #[serde(default)]
        number: Option<u64>,
    },
    /// To delete an account that owns no bucket and has no keys.
    DeleteAccount { number: u64 },
    /// To create an access key of an account's root: this one, or one that the server makes.
    CreateAccountKey {
        number: u64,
        #[serde(default)]
        access_key_id: Option<String>,
        #[serde(default)]
        secret_access_key: Option<String>,
    },
    /// To list all groups.
    ListGroups,
    /// To show a group with its users and policies.
    ShowGroup { group: String },
    /// To create a group.
    CreateGroup { group: String, path: String },
    /// To delete a group that has nothing.
    DeleteGroup { group: String },
    /// To put a user in a group, or take it out.
    SetMembership {
        user: String,
        group: String,
        member: bool,
    },
    /// To list all roles.
    ListRoles,
    /// To show a role with its policies.
    ShowRole { role: String },
    /// To create a role.
    CreateRole {
        role: String,
        path: String,
        trust_policy: String,
        max_session_seconds: u32,
        description: String,
    },
    /// To change what is said of a role; what is null stays.
    UpdateRole {
        role: String,
        #[serde(default)]
        trust_policy: Option<String>,
        #[serde(default)]
        max_session_seconds: Option<u32>,
        #[serde(default)]
        description: Option<String>,
    },
    /// To delete a role that has nothing but a boundary.
    DeleteRole { role: String },
    /// To bound what the policies of a role may allow by a managed policy, or by none, which is said by null and by no absence.
    SetRoleBoundary {
        role: String,
        #[serde(deserialize_with = "said_or_null")]
        policy: Option<String>,
    },
    /// To list the keys that tokens of sessions are sealed with.
    ListSessionKeys,
    /// To seal the tokens of new sessions with a new key.
    AddSessionKey,
    /// To remove a key, and so to end the sessions that it has sealed.
    RemoveSessionKey { number: u32 },
    /// To list the managed policies, or those of a user, a group or a role.
    ListPolicies {
        #[serde(flatten)]
        of: Of,
    },
    /// To put a managed policy, or one of a user, a group or a role alone.
    PutPolicy {
        policy: String,
        document: String,
        #[serde(flatten)]
        of: Of,
    },
    /// To show a policy.
    ShowPolicy {
        policy: String,
        #[serde(flatten)]
        of: Of,
    },
    /// To delete a policy.
    DeletePolicy {
        policy: String,
        #[serde(flatten)]
        of: Of,
    },
    /// To attach a managed policy to a user, a group or a role.
    AttachPolicy {
        policy: String,
        #[serde(flatten)]
        of: Of,
    },
    /// To detach it.
    DetachPolicy {
        policy: String,
        #[serde(flatten)]
        of: Of,
    },
}

/// Whose policy is meant: that of a user, of a group, of a role, or, with none of them, one that stands by itself.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Of {
    /// The user.
    #[serde(default)]
    pub user: Option<String>,
    /// The group.
    #[serde(default)]
    pub group: Option<String>,
    /// The role.
    #[serde(default)]
    pub role: Option<String>,
}

impl UsersRequest {
    /// The fields of the request, without the version.
    pub fn fields(&self) -> Map<String, Value> {
        match serde_json::to_value(self) {
            Ok(Value::Object(fields)) => fields,
            other => unreachable!("a tagged enum is an object, not {other:?}"),
        }
    }

    /// Reads the fields of a request; `None` where it is none of these.
    ///
    /// # Errors
    /// What is wrong with them.
    pub fn read(fields: &Map<String, Value>) -> Option<Result<UsersRequest, String>> {
        let read = serde_json::from_value(Value::Object(fields.clone()));
        match read {
            Ok(request) => Some(refuse_unknown(fields, request)),
            Err(error) => {
                let why = error.to_string();
                (!why.starts_with("unknown variant")).then_some(Err(why))
            }
        }
    }
}

/// Reads a field that has to be there; serde takes an optional one that is absent for null unless it is read by a function.
fn said_or_null<'de, D: Deserializer<'de>>(from: D) -> Result<Option<String>, D::Error> {
    Option::deserialize(from)
}

fn refuse_unknown(
    fields: &Map<String, Value>,
    request: UsersRequest,
) -> Result<UsersRequest, String> {
    let known = request.fields();
    let is_known = |name: &String| name == "version" || known.contains_key(name);
    match fields.keys().find(|name| !is_known(name)) {
        Some(name) => Err(format!("unknown field `{name}`")),
        None => Ok(request),
    }
}

#[cfg(test)]
mod tests {
    use super::super::Request;
    use super::*;

    fn of_user() -> Of {
        Of {
            user: Some("alice".into()),
            group: None,
            role: None,
        }
    }

    #[test]
    fn requests_are_read_as_they_were_written() {
        let (user, policy) = (|| "alice".to_owned(), || "read".to_owned());
        for request in [
            UsersRequest::ListUsers,
            UsersRequest::CreateUser {
                user: user(),
                path: "/".into(),
            },
            UsersRequest::ListAccounts,
            UsersRequest::CreateAccount {
                account: "Research".into(),
                number: Some(12),
            },
            UsersRequest::DeleteAccount { number: 12 },
            UsersRequest::CreateAccountKey {
                number: 12,
                access_key_id: None,
                secret_access_key: None,
            },
            UsersRequest::SetBoundary {
                user: user(),
                policy: None,
            },
            UsersRequest::CreateKey {
                user: user(),
                access_key_id: Some("ID".into()),
                secret_access_key: Some("hush".into()),
            },
            UsersRequest::SetKeyActive {
                access_key_id: "ID".into(),
                active: false,
            },
            UsersRequest::ListPolicies { of: Of::default() },
            UsersRequest::CreateRole {
                role: "job".into(),
                path: "/".into(),
                trust_policy: "{\n}".into(),
                max_session_seconds: 3_600,
                description: String::new(),
            },
            UsersRequest::UpdateRole {
                role: "job".into(),
                trust_policy: None,
                max_session_seconds: Some(7_200),
                description: None,
            },
            UsersRequest::RemoveSessionKey { number: 1 },
            UsersRequest::PutPolicy {
                policy: policy(),
                document: "{\n}".into(),
                of: of_user(),
            },
            UsersRequest::AttachPolicy {
                policy: policy(),
                of: of_user(),
            },
        ] {
            let request = Request::Users(request);
            assert!(Request::decode(&request.encode()) == Ok(request));
        }
    }

    #[test]
    fn what_lacks_a_field_is_refused_by_its_name() {
        for (line, why) in [
            (
                r#"{"version":1,"request":"create-user","user":"a"}"#,
                "`path`",
            ),
            (r#"{"version":1,"request":"show-user"}"#, "`user`"),
            (
                r#"{"version":1,"request":"set-key-active","access_key_id":"a","active":1}"#,
                "boolean",
            ),
            (
                r#"{"version":1,"request":"list-userz"}"#,
                "no request of version 1",
            ),
            (
                r#"{"version":1,"request":"set-boundary","user":"a"}"#,
                "`policy`",
            ),
        ] {
            let said = Request::decode(line).err().expect(line);
            assert!(said.contains(why), "{line}: {said}");
        }
    }
    #[test]
    fn null_says_that_there_is_none() {
        for line in [
            r#"{"version":1,"request":"set-boundary","user":"a","policy":null}"#,
            r#"{"version":1,"request":"put-policy","policy":"p","document":"{}","user":null}"#,
        ] {
            assert!(Request::decode(line).is_ok(), "{line}");
        }
    }

    #[test]
    fn what_has_an_unknown_field_is_refused_by_its_name() {
        for line in [
            r#"{"version":1,"request":"put-policy","policy":"p","document":"{}","usr":"a"}"#,
            r#"{"version":1,"request":"put-policy","policy":"p","document":"{}","usr":null}"#,
            r#"{"version":1,"request":"list-users","usr":"a"}"#,
            r#"{"version":1,"request":"create-key","user":"a","usr":"b"}"#,
        ] {
            let said = Request::decode(line).err().expect(line);
            assert!(said.contains("unknown field `usr`"), "{line}: {said}");
        }
    }
}
