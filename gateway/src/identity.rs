//! Whose request it is, and whether that one may do what it asks for.
//!
//! Invariant: a user may do nothing that no policy allows; the root key and the keys of the configuration may do everything.

use std::rc::Rc;

use strata_net::UserKey;

use crate::error::{Code, Fault};
use crate::request::{Address, Request};
use crate::s3::ROOT_ACCOUNT;

/// Whose request it is.
#[derive(Debug, Clone)]
pub enum Identity {
    /// The account itself, by the root key or a key of the configuration.
    Root,
    /// A user, by an access key of its own.
    User(Rc<UserKey>),
    /// Nobody: the request carries no signature.
    Anonymous,
}

impl Identity {
    /// The name of the user.
    pub fn user(&self) -> Option<&str> {
        match self {
            Identity::User(known) => Some(&known.policies.user.name),
            Identity::Root | Identity::Anonymous => None,
        }
    }
}

/// A policy of AWS's that is attached by its name without being put before.
#[derive(Debug)]
pub struct BuiltInPolicy {
    /// The name, which is AWS's.
    pub name: &'static str,
    /// What it says.
    pub document: &'static str,
}

/// The built-in policies, after the AWS Managed Policy Reference (<https://docs.aws.amazon.com/aws-managed-policy/latest/reference/>) with
/// the actions that are about S3.
pub const BUILT_IN_POLICIES: &[BuiltInPolicy] = &[
    BuiltInPolicy {
        name: "AdministratorAccess",
        document: r#"{"Version":"2012-10-17","Statement":[{"Effect":"Allow","Action":"*","Resource":"*"}]}"#,
    },
    BuiltInPolicy {
        name: "AmazonS3FullAccess",
        document: r#"{"Version":"2012-10-17","Statement":[{"Effect":"Allow","Action":["s3:*"],"Resource":"*"}]}"#,
    },
    BuiltInPolicy {
        name: "AmazonS3ReadOnlyAccess",
        document: r#"{"Version":"2012-10-17","Statement":[{"Effect":"Allow","Action":["s3:Get*","s3:List*","s3:Describe*"],"Resource":"*"}]}"#,
    },
];

/// The built-in policy of a name, in whatever case.
pub fn built_in_policy(name: &str) -> Option<&'static BuiltInPolicy> {
    let mut all = BUILT_IN_POLICIES.iter();
    all.find(|policy| policy.name.eq_ignore_ascii_case(name))
}

/// Decides whether a request whose signature is right may be served. Policies are kept and not evaluated yet, so that a user may do nothing:
/// what no policy allows is denied.
///
/// # Errors
/// `AccessDenied`, in AWS's words (IAM User Guide, "Troubleshoot access denied error messages").
pub fn authorise(request: &Request) -> Result<(), Fault> {
    match &request.identity {
        Identity::Root | Identity::Anonymous => Ok(()),
        Identity::User(known) => {
            let user = &known.policies.user;
            let (path, name) = (&user.path, &user.name);
            let action = request.operation.action;
            let resource = resource(&request.address);
            Err(Fault::new(
                Code::AccessDenied,
                format!(
                    "User: arn:aws:iam::{ROOT_ACCOUNT:012}:user{path}{name} is not authorized to perform: {action} on resource: \
                     \"{resource}\" because no identity-based policy allows the {action} action"
                ),
            ))
        }
    }
}

/// The resource as policies name it.
fn resource(address: &Address) -> String {
    match address {
        Address::Service => "arn:aws:s3:::*".to_owned(),
        Address::Bucket(bucket) => format!("arn:aws:s3:::{bucket}"),
        Address::Object(bucket, key) => format!("arn:aws:s3:::{bucket}/{key}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn built_in_policies_are_found_in_whatever_case() {
        let found = built_in_policy("amazons3fullaccess").map(|policy| policy.name);
        assert_eq!(found, Some("AmazonS3FullAccess"));
        assert!(built_in_policy("AmazonS3").is_none());
    }

    #[test]
    fn resources_are_named_as_in_policies() {
        let object = Address::Object("b".into(), "a/k".into());
        assert_eq!(resource(&object), "arn:aws:s3:::b/a/k");
        assert_eq!(resource(&Address::Bucket("b".into())), "arn:aws:s3:::b");
    }
}
