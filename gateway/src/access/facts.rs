//! The values that condition keys have in a request.
//!
//! What each key holds is AWS's: service authorization reference, "Condition keys for Amazon S3"; IAM user guide, "AWS global condition context keys".

use std::borrow::Cow;

use http::HeaderName;
use http::header;
use strata_engine::reactor;

use super::needs::Need;
use crate::auth::Form;
use crate::dates::Iso8601Seconds;
use crate::operation::Id;
use crate::percent::decode_form;
use crate::policy::{Key, Values, account_id, value};
use crate::request::Request;

/// The operations whose parameters are keys: listings of objects and of versions.
const LISTINGS: &[Id] = &[Id::ListObjects, Id::ListObjectsV2, Id::ListObjectVersions];

/// What a request says where a policy asks.
#[derive(Clone, Copy)]
pub struct Facts<'r> {
    /// The request.
    pub request: &'r Request,
    /// What leave is needed for.
    pub need: Need<'r>,
    /// The region of the server.
    pub region: &'r str,
    /// The account that owns the bucket.
    pub owner_account: u64,
}

impl<'r> Facts<'r> {
    /// The values of a key.
    pub fn of(&self, key: &Key) -> Values<'r> {
        let asker = &self.request.asker;
        match key {
            Key::CurrentTime => value(Iso8601Seconds(reactor::wall_clock().seconds()).to_string()),
            Key::EpochTime => value(reactor::wall_clock().seconds().to_string()),
            Key::Referer => self.header(&header::REFERER),
            Key::UserAgent => self.header(&header::USER_AGENT),
            Key::RequestedRegion => value(self.region),
            Key::ResourceAccount => value(account_id(self.owner_account)),
            Key::SecureTransport => value(match asker.tls_version {
                Some(_) => "true",
                None => "false",
            }),
            Key::TlsVersion => asker.tls_version.and_then(value),
            Key::SourceIp => value(asker.source.to_string()),
            Key::AuthType | Key::SignatureAge | Key::SignatureVersion => self.signature(key),
            Key::Delimiter => self.parameter("delimiter"),
            Key::MaxKeys => self.parameter("max-keys"),
            Key::Prefix => self.parameter("prefix"),
            Key::VersionId => self.need.version.and_then(value),
            Key::CopySource => self.copy_source(),
            Key::Header(name) => self.header(&HeaderName::from_static(name)),
            Key::ExistingObjectTag(_) | Key::RequestObjectTag(_) | Key::RequestObjectTagKeys => {
                self.object_tags(key)
            }
            Key::PrincipalAccount
            | Key::PrincipalArn
            | Key::PrincipalType
            | Key::UserId
            | Key::UserName
            | Key::Absent(_) => None,
        }
    }

    fn header(&self, name: &HeaderName) -> Values<'r> {
        let text = self.request.headers.get(name)?;
        // Bytes that are no text are compared as what they look like, so that no condition can be gone round with them.
        Some(vec![String::from_utf8_lossy(text.as_bytes())])
    }

    fn parameter(&self, name: &str) -> Values<'r> {
        let is_listing = LISTINGS.contains(&self.request.operation.id);
        let parameter = self.request.query.get(name);
        parameter.filter(|_| is_listing).and_then(value)
    }

    fn signature(&self, key: &Key) -> Values<'r> {
        let signature = self.request.asker.signature?;
        match (key, signature.form) {
            (Key::AuthType, Form::Header) => value("REST-HEADER"),
            (Key::AuthType, Form::Query { .. }) => value("REST-QUERY-STRING"),
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

    /// The tags of the object and of the request. Objects have no tags yet, and requests that give them some are refused, so that a key of theirs
    /// has no value, as with AWS for an object without tags.
    fn object_tags(&self, _key: &Key) -> Values<'r> {
        None
    }
}
