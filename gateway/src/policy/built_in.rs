//! Policies of AWS's that are attached by their names without being put before.
//!
//! They are those of the AWS Managed Policy Reference (<https://docs.aws.amazon.com/aws-managed-policy/latest/reference/>), with the actions that are
//! about S3 and IAM. Invariant: each is a policy in the language that is read here.

/// One of them.
#[derive(Debug)]
pub struct BuiltInPolicy {
    /// The name, which is AWS's.
    pub name: &'static str,
    /// The id that AWS gave it.
    pub id: &'static str,
    /// When AWS created it, in seconds since the Unix epoch.
    pub created_seconds: i64,
    /// What it says.
    pub document: &'static str,
}

/// All of them.
pub const BUILT_IN_POLICIES: &[BuiltInPolicy] = &[
    BuiltInPolicy {
        name: "AdministratorAccess",
        id: "ANPAIWMBCKSKIEE64ZLYK",
        created_seconds: 1_423_247_986,
        document: r#"{"Version":"2012-10-17","Statement":[{"Effect":"Allow","Action":"*","Resource":"*"}]}"#,
    },
    BuiltInPolicy {
        name: "AmazonS3FullAccess",
        id: "ANPAIFIR6V6BVTRAHWINE",
        created_seconds: 1_423_248_058,
        document: r#"{"Version":"2012-10-17","Statement":[{"Effect":"Allow","Action":["s3:*"],"Resource":"*"}]}"#,
    },
    BuiltInPolicy {
        name: "AmazonS3ReadOnlyAccess",
        id: "ANPAIZTJ4DXE7G6AGAE6M",
        created_seconds: 1_423_248_059,
        document: r#"{"Version":"2012-10-17","Statement":[{"Effect":"Allow","Action":["s3:Get*","s3:List*","s3:Describe*"],"Resource":"*"}]}"#,
    },
    BuiltInPolicy {
        name: "IAMFullAccess",
        id: "ANPAI7XKCFMBPM3QQRRVQ",
        created_seconds: 1_423_248_038,
        document: r#"{"Version":"2012-10-17","Statement":[{"Effect":"Allow","Action":["iam:*"],"Resource":"*"}]}"#,
    },
    BuiltInPolicy {
        name: "IAMReadOnlyAccess",
        id: "ANPAJKSO7NDY4T57MWDSQ",
        created_seconds: 1_423_248_039,
        document: r#"{"Version":"2012-10-17","Statement":[{"Effect":"Allow","Action":["iam:Get*","iam:List*"],"Resource":"*"}]}"#,
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
