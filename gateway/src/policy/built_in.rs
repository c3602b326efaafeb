//! Policies of AWS's that are attached by their names without being put before.
//!
//! They are those of the AWS Managed Policy Reference (<https://docs.aws.amazon.com/aws-managed-policy/latest/reference/>), with the actions that are
//! about S3. Invariant: each is a policy in the language that is read here.

/// One of them.
#[derive(Debug)]
pub struct BuiltInPolicy {
    /// The name, which is AWS's.
    pub name: &'static str,
    /// What it says.
    pub document: &'static str,
}

/// All of them.
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::policy::{Policy, PolicyKind};

    #[test]
    fn built_in_policies_are_found_in_whatever_case_and_are_policies() {
        let found = built_in_policy("amazons3fullaccess").map(|policy| policy.name);
        assert_eq!(found, Some("AmazonS3FullAccess"));
        assert!(built_in_policy("AmazonS3").is_none());
        for policy in BUILT_IN_POLICIES {
            let parsed = Policy::parse(policy.document.as_bytes(), PolicyKind::Identity);
            assert!(parsed.is_ok(), "{}", policy.name);
        }
    }
}
