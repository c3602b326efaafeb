//! The actions of S3, and what each is about.
//!
//! AWS's list: service authorization reference, "Actions defined by Amazon S3". Names are alike in either case of the letters.

use std::sync::LazyLock;

use super::pattern::{Pattern, Syntax};

/// What an action is about.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Level {
    /// Everything there is: only a resource that names all fits.
    Service,
    /// A bucket.
    Bucket,
    /// An object.
    Object,
}

use Level::{Bucket, Object, Service};

/// Actions without `s3:`.
pub(super) const ACTIONS: &[(&str, Level)] = &[
    ("AbortMultipartUpload", Object),
    ("BypassGovernanceRetention", Object),
    ("CreateBucket", Bucket),
    ("CreateBucketMetadataTableConfiguration", Bucket),
    ("DeleteBucket", Bucket),
    ("DeleteBucketMetadataTableConfiguration", Bucket),
    ("DeleteBucketPolicy", Bucket),
    ("DeleteBucketWebsite", Bucket),
    ("DeleteObject", Object),
    ("DeleteObjectTagging", Object),
    ("DeleteObjectVersion", Object),
    ("DeleteObjectVersionTagging", Object),
    ("GetAccelerateConfiguration", Bucket),
    ("GetAnalyticsConfiguration", Bucket),
    ("GetBucketAbac", Bucket),
    ("GetBucketAcl", Bucket),
    ("GetBucketCORS", Bucket),
    ("GetBucketLocation", Bucket),
    ("GetBucketLogging", Bucket),
    ("GetBucketMetadataTableConfiguration", Bucket),
    ("GetBucketNotification", Bucket),
    ("GetBucketObjectLockConfiguration", Bucket),
    ("GetBucketOwnershipControls", Bucket),
    ("GetBucketPolicy", Bucket),
    ("GetBucketPolicyStatus", Bucket),
    ("GetBucketPublicAccessBlock", Bucket),
    ("GetBucketRequestPayment", Bucket),
    ("GetBucketTagging", Bucket),
    ("GetBucketVersioning", Bucket),
    ("GetBucketWebsite", Bucket),
    ("GetEncryptionConfiguration", Bucket),
    ("GetIntelligentTieringConfiguration", Bucket),
    ("GetInventoryConfiguration", Bucket),
    ("GetLifecycleConfiguration", Bucket),
    ("GetMetricsConfiguration", Bucket),
    ("GetObject", Object),
    ("GetObjectAcl", Object),
    ("GetObjectAttributes", Object),
    ("GetObjectLegalHold", Object),
    ("GetObjectRetention", Object),
    ("GetObjectTagging", Object),
    ("GetObjectTorrent", Object),
    ("GetObjectVersion", Object),
    ("GetObjectVersionAcl", Object),
    ("GetObjectVersionAttributes", Object),
    ("GetObjectVersionForReplication", Object),
    ("GetObjectVersionTagging", Object),
    ("GetObjectVersionTorrent", Object),
    ("GetReplicationConfiguration", Bucket),
    ("InitiateReplication", Object),
    ("ListAllMyBuckets", Service),
    ("ListBucket", Bucket),
    ("ListBucketMultipartUploads", Bucket),
    ("ListBucketVersions", Bucket),
    ("ListMultipartUploadParts", Object),
    ("ObjectOwnerOverrideToBucketOwner", Object),
    ("PutAccelerateConfiguration", Bucket),
    ("PutAnalyticsConfiguration", Bucket),
    ("PutBucketAbac", Bucket),
    ("PutBucketAcl", Bucket),
    ("PutBucketCORS", Bucket),
    ("PutBucketLogging", Bucket),
    ("PutBucketNotification", Bucket),
    ("PutBucketObjectLockConfiguration", Bucket),
    ("PutBucketOwnershipControls", Bucket),
    ("PutBucketPolicy", Bucket),
    ("PutBucketPublicAccessBlock", Bucket),
    ("PutBucketRequestPayment", Bucket),
    ("PutBucketTagging", Bucket),
    ("PutBucketVersioning", Bucket),
    ("PutBucketWebsite", Bucket),
    ("PutEncryptionConfiguration", Bucket),
    ("PutIntelligentTieringConfiguration", Bucket),
    ("PutInventoryConfiguration", Bucket),
    ("PutLifecycleConfiguration", Bucket),
    ("PutMetricsConfiguration", Bucket),
    ("PutObject", Object),
    ("PutObjectAcl", Object),
    ("PutObjectLegalHold", Object),
    ("PutObjectRetention", Object),
    ("PutObjectTagging", Object),
    ("PutObjectVersionAcl", Object),
    ("PutObjectVersionTagging", Object),
    ("PutReplicationConfiguration", Bucket),
    ("ReplicateDelete", Object),
    ("ReplicateObject", Object),
    ("ReplicateTags", Object),
    ("RestoreObject", Object),
    ("UpdateBucketMetadataInventoryTableConfiguration", Bucket),
    ("UpdateBucketMetadataJournalTableConfiguration", Bucket),
    ("UpdateObjectEncryption", Object),
];

/// The actions as patterns see them, with their service and in lower case.
static NAMES: LazyLock<Vec<(String, Level)>> = LazyLock::new(|| {
    let name = |(name, level): &(&str, Level)| {
        let action = format!("s3:{}", name.to_ascii_lowercase());
        (action, *level)
    };
    ACTIONS.iter().map(name).collect()
});

/// The actions that a pattern, as it stands in a policy, is about.
pub(super) fn known(text: &str) -> Vec<Level> {
    let Some(pattern) = compile(text) else {
        return Vec::new();
    };
    let fits = |(action, level): &(String, Level)| {
        let fits = pattern.matches(action, &|_| None);
        fits.then_some(*level)
    };
    NAMES.iter().filter_map(fits).collect()
}

/// The pattern of actions, over names in lower case; `None` where it has no form of one.
pub(super) fn compile(text: &str) -> Option<Pattern> {
    let is_name = |byte: u8| byte.is_ascii_alphanumeric() || b"*?-_".contains(&byte);
    let is_action = match text.split_once(':') {
        None => text == "*",
        Some((service, name)) => {
            let is_part = |part: &str| !part.is_empty() && part.bytes().all(is_name);
            is_part(service) && is_part(name)
        }
    };
    let syntax = Syntax {
        wildcards: true,
        variables: false,
    };
    let pattern = is_action.then(|| Pattern::compile(&text.to_ascii_lowercase(), syntax));
    pattern.and_then(Result::ok)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::operation::{Addresses, OPERATIONS};

    /// The table of operations names no action that a policy could not.
    #[test]
    fn every_action_of_the_table_is_known_at_its_level() {
        for row in OPERATIONS {
            let Some(name) = row.action.strip_prefix("s3:") else {
                assert!(row.handler.is_none(), "{} is of another service", row.name);
                continue;
            };
            let level = ACTIONS.iter().find(|(known, _)| *known == name);
            let (_, level) = level.unwrap_or_else(|| panic!("{}: {name}", row.name));
            let expected = match row.addresses {
                Addresses::Service => Level::Service,
                Addresses::Bucket => Level::Bucket,
                Addresses::Object => Level::Object,
            };
            let is_of_objects = matches!(row.name, "DeleteObjects" | "PostObject");
            let expected = if is_of_objects { Object } else { expected };
            assert_eq!(*level, expected, "{}", row.name);
        }
    }

    #[test]
    fn patterns_of_actions_are_alike_in_either_case() {
        assert_eq!(known("s3:GETobject"), [Object]);
        assert_eq!(known("S3:ListBuck??"), [Bucket]);
        assert_eq!(known("*").len(), ACTIONS.len());
        assert_eq!(known("s3:Get*Policy*"), [Bucket, Bucket]);
        for none in [
            "s3:GetObjekt",
            "ec2:*",
            "s3",
            "",
            "s3:",
            "s3:Get Object",
            "s3:a:b",
        ] {
            assert!(known(none).is_empty(), "{none}");
        }
    }
}
