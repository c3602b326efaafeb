//! The values that condition keys have in a request.
//!
//! What each key holds is AWS's: service authorization reference, "Condition keys for Amazon S3"; IAM user guide, "AWS global condition context keys".

use std::borrow::Cow;
use std::cell::Cell;

use http::header::{self, HeaderMap, HeaderName};
use strata_engine::reactor;
use strata_net::ClusterError;
use strata_raftlog::namespace::{ObjectLock, Retention, Tag, VersionId};

use super::Asker;
use super::needs::Need;
use crate::auth::Form;
use crate::dates::{Iso8601Millis, Iso8601Seconds};
use crate::error::Fault;
use crate::operation::Id;
use crate::percent::decode_form;
use crate::policy::{Key, Principal, Values, account_id, value};
use crate::request::Request;
use crate::s3::object_lock::{self, hold_name, mode_name};
use crate::s3::tags::{self, TagsOf};
use crate::s3::{Shared, copy_object, versions};

/// The operations whose parameters are keys: listings of objects and of versions.
const LISTINGS: &[Id] = &[Id::ListObjects, Id::ListObjectsV2, Id::ListObjectVersions];

/// Actions for which the tags of the object that is there count, as AWS has it ("Condition keys for Amazon S3").
const OF_EXISTING_TAGS: &[&str] = &[
    "s3:DeleteObjectTagging",
    "s3:DeleteObjectVersionTagging",
    "s3:GetObject",
    "s3:GetObjectAcl",
    "s3:GetObjectTagging",
    "s3:GetObjectVersion",
    "s3:GetObjectVersionAcl",
    "s3:GetObjectVersionTagging",
    "s3:PutObjectAcl",
    "s3:PutObjectTagging",
    "s3:PutObjectVersionAcl",
    "s3:PutObjectVersionTagging",
];

/// What every request has, of S3 or another service.
pub struct Common<'r> {
    /// Who asks.
    pub asker: &'r Asker,
    /// The headers.
    pub headers: &'r HeaderMap,
    /// The region that is asked.
    pub region: &'r str,
    /// The account that what is asked for belongs to.
    pub owner_account: u64,
}

/// The values of a global key ("AWS global condition context keys"); none of every other.
pub fn common<'r>(key: &Key, of: &Common<'r>) -> Values<'r> {
    match key {
        Key::CurrentTime => value(Iso8601Seconds(reactor::wall_clock().seconds()).to_string()),
        Key::TokenIssueTime => {
            let issued = of.asker.identity.issued_seconds?;
            value(Iso8601Seconds(issued).to_string())
        }
        // Every temporary credential tells it, and none here was got with such a device.
        Key::MultiFactorAuthPresent => of.asker.identity.issued_seconds.and(value("false")),
        Key::PrincipalIsAwsService => match of.asker.identity.principal {
            Principal::Anonymous => None,
            _ => value("false"),
        },
        Key::ViaAwsService => value("false"),
        Key::EpochTime => value(reactor::wall_clock().seconds().to_string()),
        Key::Referer => header_text(of.headers, &header::REFERER),
        Key::UserAgent => header_text(of.headers, &header::USER_AGENT),
        Key::RequestedRegion => value(of.region),
        Key::ResourceAccount => value(account_id(of.owner_account)),
        Key::SecureTransport => value(match of.asker.tls_version {
            Some(_) => "true",
            None => "false",
        }),
        Key::TlsVersion => of.asker.tls_version.and_then(value),
        Key::SourceIp => value(of.asker.source.to_string()),
        _ => None,
    }
}

fn header_text<'r>(headers: &'r HeaderMap, name: &HeaderName) -> Values<'r> {
    let text = headers.get(name)?;
    // Bytes that are no text are compared as what they look like, so that no condition can be gone round with them.
    Some(vec![String::from_utf8_lossy(text.as_bytes())])
}

/// What a request says where a policy asks.
pub struct Facts<'r> {
    /// What the reactor serves from.
    pub shared: &'r Shared,
    /// The request.
    pub request: &'r Request,
    /// What leave is needed for.
    pub need: Need<'r>,
    /// The account that owns the bucket.
    pub owner_account: u64,
    /// Why a value could not be read. No decision counts then: what is missing might have denied it.
    pub unread: Cell<Option<Fault>>,
}

impl<'r> Facts<'r> {
    /// The values of a key.
    pub fn of(&self, key: &Key) -> Values<'r> {
        match key {
            Key::AuthType | Key::SignatureAge | Key::SignatureVersion => self.signature(key),
            // An empty one is as none, to the listing too.
            Key::Delimiter => self.parameter("delimiter").filter(is_said),
            Key::MaxKeys => self.parameter("max-keys").filter(is_said),
            Key::ObjectCreationOperation => self.creation(),
            Key::ObjectLockLegalHold => value(hold_name(self.lock()?.legal_hold?)),
            Key::ObjectLockMode => value(mode_name(self.lock()?.retention?.mode)),
            Key::ObjectLockRemainingDays => {
                value(remaining_days(self.lock()?.retention?).to_string())
            }
            Key::ObjectLockRetainUntil => {
                let until_millis = self.lock()?.retention?.until_millis;
                value(Iso8601Millis(until_millis).to_string())
            }
            Key::Prefix => self.parameter("prefix"),
            Key::VersionId => self.need.version.and_then(value),
            Key::CopySource => self.copy_source(),
            Key::Header(name) => self.header(&HeaderName::from_static(name)),
            Key::ExistingObjectTag(tag) => tag_named(self.existing_tags()?, tag),
            Key::RequestObjectTag(tag) => tag_named(self.request_tags()?, tag),
            Key::RequestObjectTagKeys => {
                let keys = self.request_tags()?.into_iter().map(|tag| tag.key.into());
                Some(keys.collect())
            }
            key => common(
                key,
                &Common {
                    asker: &self.request.asker,
                    headers: &self.request.headers,
                    region: &self.shared.config.region,
                    owner_account: self.owner_account,
                },
            ),
        }
    }

    fn header(&self, name: &HeaderName) -> Values<'r> {
        header_text(&self.request.headers, name)
    }

    fn parameter(&self, name: &str) -> Values<'r> {
        let is_listing = LISTINGS.contains(&self.request.operation.id);
        let parameter = self.request.query.get(name);
        parameter.filter(|_| is_listing).and_then(value)
    }

    /// Whether the request makes an object, or something of one (user guide of S3, "Enforce conditional writes on Amazon S3 buckets").
    fn creation(&self) -> Values<'r> {
        if self.need.action != "s3:PutObject" {
            return None;
        }
        value(match self.request.operation.id {
            Id::CreateMultipartUpload | Id::UploadPart | Id::UploadPartCopy => "false",
            _ => "true",
        })
    }

    fn signature(&self, key: &Key) -> Values<'r> {
        let signature = self.request.asker.signature?;
        match (key, signature.form) {
            (Key::AuthType, Form::Header) => value("REST-HEADER"),
            (Key::AuthType, Form::Query { .. }) => value("REST-QUERY-STRING"),
            (Key::AuthType, Form::Field) => value("POST"),
            (Key::SignatureVersion, _) => value(crate::signature::ALGORITHM),
            _ => {
                let now = reactor::wall_clock().nanoseconds() / 1_000_000;
                let age = now - signature.time_seconds.saturating_mul(1000);
                value(age.max(0).to_string())
            }
        }
    }

    /// Bucket and key, decoded, without the slash that may stand before them.
    fn copy_source(&self) -> Values<'r> {
        let header = self.request.header("x-amz-copy-source")?;
        let path = header.split("?versionId=").next().unwrap_or_default();
        let path = decode_form(path).unwrap_or(Cow::Borrowed(path));
        value(match path.strip_prefix('/') {
            Some(path) => Cow::Owned(path.to_owned()),
            None => path,
        })
    }

    /// The tags of the object that the action is on; `None` where there is none, or where they do not count.
    fn existing_tags(&self) -> Option<Vec<Tag>> {
        let Need { bucket, key, .. } = self.need;
        let (bucket, key) = (bucket?, key?);
        if !OF_EXISTING_TAGS.contains(&self.need.action) {
            return None;
        }
        let version = self.need.version.map(versions::parse).transpose().ok()?;
        match self.tags_of(bucket, key, version) {
            Ok(tags) => tags,
            Err(error) => {
                self.unread.set(Some(error.into()));
                None
            }
        }
    }

    fn tags_of(
        &self,
        bucket: &str,
        key: &str,
        version: Option<VersionId>,
    ) -> Result<Option<Vec<Tag>>, ClusterError> {
        let cluster = &self.shared.cluster;
        let Some(bucket) = cluster.bucket(bucket)? else {
            return Ok(None);
        };
        cluster.read(
            |view| match versions::find(view, &bucket, key.as_bytes(), version)? {
                Ok(object) => view.object_tags(&object).map(Some),
                Err(_) => Ok(None),
            },
        )
    }

    /// The lock that the request gives an object; `None` where it gives none. That of PutObjectRetention and PutObjectLegalHold stands in
    /// its document. A default of the bucket is not asked for.
    fn lock(&self) -> Option<ObjectLock> {
        let request = self.request;
        match request.operation.id {
            Id::PutObjectRetention => Some(ObjectLock {
                retention: object_lock::read_retention(&request.xml).ok()?,
                legal_hold: None,
            }),
            Id::PutObjectLegalHold => Some(ObjectLock {
                retention: None,
                legal_hold: Some(object_lock::read_legal_hold(&request.xml).ok()?),
            }),
            _ if request.operation.stores_headers => object_lock::of_headers(&request.headers).ok(),
            _ => None,
        }
    }

    /// The tags that the request gives an object; `None` where it gives none. Those of PutObjectTagging stand in its document.
    fn request_tags(&self) -> Option<Vec<Tag>> {
        let request = self.request;
        let tags = match request.operation.id {
            Id::PutObjectTagging => tags::read(&request.xml, TagsOf::Object).ok()?,
            Id::CopyObject if !copy_object::replaces_tags(request) => return None,
            _ if request.operation.stores_headers => tags::of_headers(&request.headers).ok()?,
            _ => return None,
        };
        Some(tags).filter(|tags| !tags.is_empty())
    }
}

/// Days from now until a retention ends, a part of one counted as a whole one, so that ten days from now are ten when the request has come.
fn remaining_days(retention: Retention) -> i64 {
    const DAY_MILLIS: i64 = 86_400_000;
    let now_millis = reactor::wall_clock().nanoseconds() / 1_000_000;
    let left = retention.until_millis - now_millis;
    left.div_euclid(DAY_MILLIS) + i64::from(left.rem_euclid(DAY_MILLIS) > 0)
}

fn is_said(values: &Vec<Cow<'_, str>>) -> bool {
    values.iter().any(|value| !value.is_empty())
}

fn tag_named<'r>(tags: Vec<Tag>, name: &str) -> Values<'r> {
    let found = tags.into_iter().find(|tag| tag.key == name);
    found.and_then(|tag| value(tag.value))
}
