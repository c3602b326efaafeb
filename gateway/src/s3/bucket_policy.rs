//! The policy of a bucket: `PutBucketPolicy`, `GetBucketPolicy`, `DeleteBucketPolicy`, `GetBucketPolicyStatus`.
//!
//! The rules are those of AWS (API reference of these operations; user guide, "Blocking public access to your Amazon S3 storage"). Invariant: what is stored
//! has been compiled, and is given back byte for byte.

use bytes::Bytes;
use http::HeaderValue;
use http::header;
use strata_raftlog::namespace::command::SetBucketSetting;
use strata_raftlog::namespace::{Bucket, setting};

use super::{Shared, buckets};
use crate::access::needs::Need;
use crate::access::{Access, named};
use crate::error::{Code, Fault};
use crate::policy::{MalformedPolicy, Policy, PolicyKind};
use crate::request::Request;
use crate::response::{Response, ResponseBody};
use crate::xml;

/// Says that a client wants to lose the right to change the policy again.
const CONFIRM: &str = "x-amz-confirm-remove-self-bucket-access";

/// `PutBucketPolicy`: replaces it.
///
/// # Errors
/// `MalformedPolicy`; `AccessDenied` where public policies are blocked, or where the one who asks could not replace it again and does not
/// confirm that; and as every handler.
pub async fn put(shared: &Shared, request: &Request) -> Result<Response, Fault> {
    let bucket = buckets::find(shared, request)?;
    if request.xml.is_empty() {
        return Err(Code::MissingRequestBodyError.into());
    }
    let kind = PolicyKind::Bucket { name: &bucket.name };
    let policy = Policy::parse(&request.xml, kind).map_err(malformed)?;
    let missing = shared
        .cluster
        .read(|view| named::missing(view, &policy, kind))?;
    if let Some(error) = missing {
        return Err(malformed(error));
    }
    let is_blocked = match shared.rules.of(&shared.cluster, &bucket) {
        Ok(rules) => rules.block.block_public_policy,
        // What is stored cannot be read, which a policy that is not public, or none, mends.
        Err(fault) if fault.code == Code::InternalError => true,
        Err(fault) => return Err(fault),
    };
    if is_blocked && policy.is_public() {
        let message = "Public policies are prevented by the BlockPublicPolicy setting in S3 Block Public Access.";
        return Err(Fault::new(Code::AccessDenied, message));
    }
    check_not_locked_out(shared, request, &bucket, &policy)?;
    set(shared, &bucket, Some(request.xml.to_vec())).await
}

fn malformed(error: MalformedPolicy) -> Fault {
    let fault = Fault::new(Code::MalformedPolicy, error.message);
    match error.detail {
        Some(detail) => fault.detail("Detail", detail),
        None => fault,
    }
}

fn check_not_locked_out(
    shared: &Shared,
    request: &Request,
    bucket: &Bucket,
    policy: &Policy,
) -> Result<(), Fault> {
    let confirms = request.header(CONFIRM);
    if confirms.is_some_and(|value| value.eq_ignore_ascii_case("true")) {
        return Ok(());
    }
    let need = Need {
        action: "s3:PutBucketPolicy",
        bucket: Some(&bucket.name),
        key: None,
        version: None,
    };
    let access = Access::of(shared, request, Some(bucket))?;
    access.check_by(need, Some(policy)).map_err(|_| {
        let message = format!(
            "The policy would take away your right to change it again. To do so all the same, send {CONFIRM}: true."
        );
        Fault::new(Code::AccessDenied, message)
    })
}

/// `DeleteBucketPolicy`: none is no error.
///
/// # Errors
/// As every handler.
pub async fn delete(shared: &Shared, request: &Request) -> Result<Response, Fault> {
    let bucket = buckets::find(shared, request)?;
    set(shared, &bucket, None).await
}

async fn set(
    shared: &Shared,
    bucket: &Bucket,
    document: Option<Vec<u8>>,
) -> Result<Response, Fault> {
    let command = SetBucketSetting {
        bucket: bucket.inode,
        setting: setting::POLICY,
        document,
    };
    shared.cluster.submit(command).await?;
    Ok(Response::no_content())
}

fn absent(bucket: &Bucket) -> Fault {
    Fault::from(Code::NoSuchBucketPolicy).detail("BucketName", &bucket.name)
}

/// `GetBucketPolicy`: the text as it was sent, also where it cannot be read any more.
///
/// # Errors
/// `NoSuchBucketPolicy`, and as every handler.
pub async fn get(shared: &Shared, request: &Request) -> Result<Response, Fault> {
    let bucket = buckets::find(shared, request)?;
    let text = shared
        .cluster
        .read(|view| view.bucket_setting(bucket.inode, setting::POLICY))?;
    let text = text.ok_or_else(|| absent(&bucket))?;
    let mut response = Response::ok();
    let kind = HeaderValue::from_static("application/json");
    response.headers.insert(header::CONTENT_TYPE, kind);
    response.body = ResponseBody::Bytes(Bytes::from(text));
    Ok(response)
}

/// `GetBucketPolicyStatus`.
///
/// # Errors
/// `NoSuchBucketPolicy`, and as every handler.
pub async fn status(shared: &Shared, request: &Request) -> Result<Response, Fault> {
    let bucket = buckets::find(shared, request)?;
    let rules = shared.rules.of(&shared.cluster, &bucket)?;
    if rules.policy.is_none() {
        return Err(absent(&bucket));
    }
    let mut xml = xml::Writer::new("PolicyStatus");
    xml.value("IsPublic", rules.is_public);
    Ok(Response::xml(xml))
}
