//! The condition keys that a policy may name.
//!
//! AWS's lists: IAM user guide, "AWS global condition context keys"; service authorization reference, "Condition keys for Amazon S3" and
//! "Condition keys for AWS Identity and Access Management".
//! Invariant: a key that stands here and has no value in a request is one that AWS, too, would not have for it, or one of tags of objects.

use super::principal::is_provider;

/// A condition key. Names are alike in either case of the letters.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
#[allow(missing_docs, reason = "each is described by AWS under its name")]
pub enum Key {
    // Of the one who asks: known from the principal.
    PrincipalAccount,
    PrincipalArn,
    PrincipalType,
    FederatedProvider,
    UserId,
    UserName,
    // Of the session.
    TokenIssueTime,
    MultiFactorAuthPresent,
    // Of the request.
    CurrentTime,
    EpochTime,
    PrincipalIsAwsService,
    ViaAwsService,
    Referer,
    RequestedRegion,
    ResourceAccount,
    SecureTransport,
    SourceIp,
    UserAgent,
    AuthType,
    Delimiter,
    MaxKeys,
    ObjectCreationOperation,
    ObjectLockLegalHold,
    ObjectLockMode,
    ObjectLockRemainingDays,
    ObjectLockRetainUntil,
    Prefix,
    SignatureAge,
    SignatureVersion,
    TlsVersion,
    VersionId,
    CopySource,
    /// What a session of a role is to be called.
    RoleSessionName,
    /// What a caller that assumes a role for a third party says.
    ExternalId,
    /// What a token of a provider claims, by the provider, in lower case, and the claim.
    Claim(String, String),
    PolicyArn,
    PermissionsBoundary,
    /// A header of the request, by its name.
    Header(&'static str),
    /// A tag that the object has, by its key.
    ExistingObjectTag(String),
    /// A tag that the request gives an object, by its key.
    RequestObjectTag(String),
    /// The keys of the tags that the request gives an object.
    RequestObjectTagKeys,
    /// A global key of AWS's that no request here has a value for.
    Absent(&'static str),
}

/// Keys with their names in lower case.
const PLAIN: &[(&str, Key)] = &[
    ("aws:currenttime", Key::CurrentTime),
    ("aws:epochtime", Key::EpochTime),
    ("aws:federatedprovider", Key::FederatedProvider),
    ("aws:multifactorauthpresent", Key::MultiFactorAuthPresent),
    ("aws:principalaccount", Key::PrincipalAccount),
    ("aws:principalarn", Key::PrincipalArn),
    ("aws:principalisawsservice", Key::PrincipalIsAwsService),
    ("aws:principaltype", Key::PrincipalType),
    ("aws:referer", Key::Referer),
    ("aws:requestedregion", Key::RequestedRegion),
    ("aws:resourceaccount", Key::ResourceAccount),
    ("aws:securetransport", Key::SecureTransport),
    ("aws:sourceip", Key::SourceIp),
    ("aws:tokenissuetime", Key::TokenIssueTime),
    ("aws:useragent", Key::UserAgent),
    ("aws:userid", Key::UserId),
    ("aws:username", Key::UserName),
    ("aws:viaawsservice", Key::ViaAwsService),
    ("iam:permissionsboundary", Key::PermissionsBoundary),
    ("iam:policyarn", Key::PolicyArn),
    ("s3:authtype", Key::AuthType),
    ("s3:delimiter", Key::Delimiter),
    ("s3:max-keys", Key::MaxKeys),
    ("s3:objectcreationoperation", Key::ObjectCreationOperation),
    ("s3:object-lock-legal-hold", Key::ObjectLockLegalHold),
    ("s3:object-lock-mode", Key::ObjectLockMode),
    (
        "s3:object-lock-remaining-retention-days",
        Key::ObjectLockRemainingDays,
    ),
    (
        "s3:object-lock-retain-until-date",
        Key::ObjectLockRetainUntil,
    ),
    ("s3:prefix", Key::Prefix),
    ("s3:requestobjecttagkeys", Key::RequestObjectTagKeys),
    ("s3:resourceaccount", Key::ResourceAccount),
    ("s3:signatureage", Key::SignatureAge),
    ("s3:signatureversion", Key::SignatureVersion),
    ("s3:tlsversion", Key::TlsVersion),
    ("s3:versionid", Key::VersionId),
    ("s3:x-amz-copy-source", Key::CopySource),
    ("sts:externalid", Key::ExternalId),
    ("sts:rolesessionname", Key::RoleSessionName),
];

/// Headers whose keys are `s3:` and their name.
const HEADERS: &[&str] = &[
    "if-match",
    "if-none-match",
    "x-amz-acl",
    "x-amz-content-sha256",
    "x-amz-grant-full-control",
    "x-amz-grant-read",
    "x-amz-grant-read-acp",
    "x-amz-grant-write",
    "x-amz-grant-write-acp",
    "x-amz-metadata-directive",
    "x-amz-object-ownership",
    "x-amz-server-side-encryption",
    "x-amz-server-side-encryption-aws-kms-key-id",
    "x-amz-server-side-encryption-customer-algorithm",
    "x-amz-storage-class",
    "x-amz-website-redirect-location",
];

/// Keys of what is not here: other services, organisations, tags of sessions, MFA, networks of AWS's.
const ABSENT: &[&str] = &[
    "aws:calledvia",
    "aws:calledviafirst",
    "aws:calledvialast",
    "aws:multifactorauthage",
    "aws:principalorgid",
    "aws:principalorgpaths",
    "aws:principalservicename",
    "aws:principalservicenameslist",
    "aws:resourceorgid",
    "aws:resourceorgpaths",
    "aws:sourceaccount",
    "aws:sourcearn",
    "aws:sourceidentity",
    "aws:sourceorgid",
    "aws:sourceorgpaths",
    "aws:sourcevpc",
    "aws:sourcevpcarn",
    "aws:sourcevpce",
    "aws:vpcsourceip",
    "iam:associatedresourcearn",
    "iam:awsservicename",
    "iam:fido-certification",
    "iam:fido-fips-140-2-certification",
    "iam:fido-fips-140-3-certification",
    "iam:organizationspolicyid",
    "iam:passedtoservice",
    "iam:registersecuritykey",
    "s3:accesspointnetworkorigin",
    "s3:dataaccesspointaccount",
    "s3:dataaccesspointarn",
    "sts:sourceidentity",
    "sts:transitivetagkeys",
];

/// What makes a key of the key of a tag.
type OfTag = fn(String) -> Key;

/// Keys with the key of a tag behind them.
const TAGGED: &[(&str, OfTag)] = &[
    ("s3:existingobjecttag/", Key::ExistingObjectTag),
    ("s3:requestobjecttag/", Key::RequestObjectTag),
];

/// Global keys that have the key of a tag behind them, which is of a principal or a session: neither has tags here.
const ABSENT_TAGGED: &[&str] = &[
    "aws:principaltag/",
    "aws:requesttag/",
    "aws:resourcetag/",
    "iam:resourcetag/",
];

/// Claims of a token that trust policies may ask about (IAM user guide, "Available keys for AWS OIDC federation").
const CLAIMS: &[&str] = &["amr", "aud", "azp", "email", "iss", "oaud", "sub"];

impl Key {
    /// As [`parse`](Key::parse), of a trust policy: there also `PROVIDER:CLAIM`.
    pub fn parse_of_trust(name: &str) -> Option<Key> {
        if let Some(key) = Key::parse(name) {
            return Some(key);
        }
        let lower = name.to_ascii_lowercase();
        let (provider, claim) = lower.rsplit_once(':')?;
        // The services of AWS have their own keys.
        let is_named = provider.contains('.') && is_provider(provider) && CLAIMS.contains(&claim);
        is_named.then(|| Key::Claim(provider.to_owned(), claim.to_owned()))
    }

    /// The key of a name; `None` where it is none that is known.
    pub fn parse(name: &str) -> Option<Key> {
        let lower = name.to_ascii_lowercase();
        if let Some((_, key)) = PLAIN.iter().find(|(known, _)| *known == lower) {
            return Some(key.clone());
        }
        if let Some(header) = lower.strip_prefix("s3:") {
            let mut headers = HEADERS.iter();
            if let Some(header) = headers.find(|known| **known == header) {
                return Some(Key::Header(header));
            }
        }
        let tagged = TAGGED.iter().find(|(start, _)| lower.starts_with(start));
        if let Some((start, make)) = tagged {
            // The key of a tag has its own case.
            let tag = &name[start.len()..];
            return (!tag.is_empty()).then(|| make(tag.to_owned()));
        }
        let mut tagged = ABSENT_TAGGED.iter();
        let tagged = tagged.find(|start| lower.starts_with(**start) && lower.len() > start.len());
        let mut absent = ABSENT.iter();
        let absent = absent.find(|known| **known == lower);
        absent.or(tagged).map(|known| Key::Absent(known))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_alike_in_either_case_and_tags_are_not() {
        assert_eq!(Key::parse("AWS:sourceIP"), Some(Key::SourceIp));
        let header = Key::parse("s3:X-Amz-ACL");
        assert_eq!(header, Some(Key::Header("x-amz-acl")));
        let tag = Key::parse("s3:existingobjecttag/Team");
        assert_eq!(tag, Some(Key::ExistingObjectTag("Team".into())));
        assert_eq!(
            Key::parse("aws:PrincipalTag/Team"),
            Some(Key::Absent("aws:principaltag/"))
        );
        for unknown in [
            "",
            "aws:",
            "aws:Source",
            "s3:x-amz-date",
            "s3:ExistingObjectTag/",
            "aws:PrincipalTag/",
            "ec2:Region",
            "SourceIp",
        ] {
            assert_eq!(Key::parse(unknown), None, "{unknown}");
        }
    }
}
