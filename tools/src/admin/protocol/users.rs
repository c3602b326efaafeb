//! Requests about users, groups, access keys and policies.

use serde::{Deserialize, Serialize};
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
    /// To delete a user that has nothing.
    DeleteUser { user: String },
    /// To bound what the policies of a user may allow by a managed policy, or by none.
    SetBoundary {
        user: String,
        policy: Option<String>,
    },
    /// To list the access keys of a user.
    ListKeys { user: String },
    /// To create an access key: this one, or one that the server makes.
    CreateKey {
        user: String,
        #[serde(default, skip_serializing_if = "Option::is_none")]
        access_key_id: Option<String>,
        #[serde(default, skip_serializing_if = "Option::is_none")]
        secret_access_key: Option<String>,
    },
    /// To delete an access key.
    DeleteKey { access_key_id: String },
    /// To say whether requests may be signed with an access key.
    SetKeyActive { access_key_id: String, active: bool },
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
    /// To list the managed policies, or those of a user or a group.
    ListPolicies {
        #[serde(flatten)]
        of: Of,
    },
    /// To put a managed policy, or one of a user or a group alone.
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
    /// To attach a managed policy to a user or a group.
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

/// Whose policy is meant: that of a user, of a group, or, with neither, one that stands by itself.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Of {
    /// The user.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub user: Option<String>,
    /// The group.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub group: Option<String>,
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
            Ok(request) => Some(Ok(request)),
            Err(error) => {
                let why = error.to_string();
                (!why.starts_with("unknown variant")).then_some(Err(why))
            }
        }
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
        ] {
            let said = Request::decode(line).err().expect(line);
            assert!(said.contains(why), "{line}: {said}");
        }
    }
}
