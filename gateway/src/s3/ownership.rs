//! Whose the objects of a bucket are: `PutBucketOwnershipControls`, `GetBucketOwnershipControls`, `DeleteBucketOwnershipControls`, and what becomes of access lists
//! that come with a request.
//!
//! Invariants: a list that would give somebody else something is never passed over: where the bucket has no lists it is refused as AWS does, and where
//! it may have them as what is not there yet. There is one account, which owns every object under all three rules.
//!
//! Sources: AWS's user guide of S3, "Controlling ownership of objects and disabling ACLs for your bucket", and the API references of the three operations and of
//! CreateBucket.

use http::HeaderMap;
use strata_raftlog::namespace::command::SetBucketSetting;
use strata_raftlog::namespace::setting;

use super::{Shared, buckets};
use crate::error::{Code, Fault};
use crate::operation::Id;
use crate::request::Request;
use crate::response::Response;
use crate::xml;

/// The header that names a list that AWS has made.
pub const CANNED: &str = "x-amz-acl";

/// The headers that make a list, each of whom something is granted to.
pub const GRANTS: &[&str] = &[
    "x-amz-grant-full-control",
    "x-amz-grant-read",
    "x-amz-grant-read-acp",
    "x-amz-grant-write",
    "x-amz-grant-write-acp",
];

/// The lists that give nobody but the owner of the bucket anything.
const OF_OWNER: &[&str] = &["private", "bucket-owner-full-control"];

/// The other lists that AWS has made.
const OF_OTHERS: &[&str] = &[
    "public-read",
    "public-read-write",
    "authenticated-read",
    "aws-exec-read",
    "bucket-owner-read",
    "log-delivery-write",
];

/// The header with which a bucket is made.
const HEADER: &str = "x-amz-object-ownership";

/// Whose an object is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Ownership {
    /// The bucket owner's; there are no access lists.
    BucketOwnerEnforced,
    /// The bucket owner's where the list of the request is `bucket-owner-full-control`.
    BucketOwnerPreferred,
    /// Whose who wrote it.
    ObjectWriter,
}

impl Ownership {
    /// What a new bucket has.
    pub const NEW: Ownership = Ownership::BucketOwnerEnforced;

    const ALL: [Ownership; 3] = [
        Ownership::BucketOwnerEnforced,
        Ownership::BucketOwnerPreferred,
        Ownership::ObjectWriter,
    ];

    fn name(self) -> &'static str {
        match self {
            Ownership::BucketOwnerEnforced => "BucketOwnerEnforced",
            Ownership::BucketOwnerPreferred => "BucketOwnerPreferred",
            Ownership::ObjectWriter => "ObjectWriter",
        }
    }

    fn by_name(name: &str) -> Option<Ownership> {
        let mut all = Ownership::ALL.into_iter();
        all.find(|known| known.name() == name)
    }
}

/// Reads a document; `None` where it has no rule.
fn read(xml: &[u8]) -> Result<Option<Ownership>, Fault> {
    let malformed = || Fault::from(Code::MalformedXML);
    let mut xml = xml::Reader::open(xml, "OwnershipControls")?;
    let mut found = None;
    while let Some(rule) = xml.child()? {
        while let Some(name) = xml.child()? {
            let is_first = rule == "Rule" && name == "ObjectOwnership" && found.is_none();
            let ownership = Ownership::by_name(xml.text()?.trim()).filter(|_| is_first);
            found = Some(ownership.ok_or_else(malformed)?);
        }
        if found.is_none() {
            return Err(malformed());
        }
    }
    xml.end()?;
    Ok(found)
}

fn document(ownership: Option<Ownership>) -> xml::Writer {
    let mut xml = xml::Writer::new("OwnershipControls");
    if let Some(ownership) = ownership {
        xml.open("Rule");
        xml.element("ObjectOwnership", ownership.name());
        xml.close("Rule");
    }
    xml
}

/// That of a bucket; `None` where it was removed, so that objects are whose who wrote them.
fn of(shared: &Shared, bucket: u64) -> Result<Option<Ownership>, Fault> {
    let read_setting = shared
        .cluster
        .read(|view| view.bucket_setting(bucket, setting::OWNERSHIP));
    match read_setting? {
        None => Ok(Some(Ownership::NEW)),
        Some(text) => read(&text).map_err(|fault| {
            let what = format!("the stored ownership controls: {}", fault.message);
            Fault::from(Code::InternalError).because(what)
        }),
    }
}

/// Sets that of a bucket, or removes it.
///
/// # Errors
/// Those of the namespace.
pub async fn set(shared: &Shared, bucket: u64, ownership: Option<Ownership>) -> Result<(), Fault> {
    let command = SetBucketSetting {
        bucket,
        setting: setting::OWNERSHIP,
        document: Some(document(ownership).finish().to_vec()),
    };
    shared.cluster.submit(command).await?;
    Ok(())
}

/// What a new bucket shall have.
///
/// # Errors
/// `InvalidArgument` for what is no rule.
pub fn of_new_bucket(request: &Request) -> Result<Ownership, Fault> {
    let Some(value) = request.headers.get(HEADER) else {
        return Ok(Ownership::NEW);
    };
    let text = value.to_str().unwrap_or_default();
    Ownership::by_name(text).ok_or_else(|| {
        let message = format!("Invalid {HEADER} header: {text}");
        Fault::argument(HEADER, text, message)
    })
}

/// `PutBucketOwnershipControls`.
///
/// # Errors
/// `MalformedXML`, and as every handler.
pub async fn put(shared: &Shared, request: &Request) -> Result<Response, Fault> {
    let bucket = buckets::find(shared, request)?.inode;
    let ownership = read(&request.xml)?.ok_or(Code::MalformedXML)?;
    set(shared, bucket, Some(ownership)).await?;
    Ok(Response::ok())
}

/// `DeleteBucketOwnershipControls`: none is no error.
///
/// # Errors
/// As every handler.
pub async fn delete(shared: &Shared, request: &Request) -> Result<Response, Fault> {
    let bucket = buckets::find(shared, request)?.inode;
    set(shared, bucket, None).await?;
    Ok(Response::no_content())
}

/// `GetBucketOwnershipControls`.
///
/// # Errors
/// `OwnershipControlsNotFoundError`, and as every handler.
pub async fn get(shared: &Shared, request: &Request) -> Result<Response, Fault> {
    let bucket = buckets::find(shared, request)?;
    match of(shared, bucket.inode)? {
        Some(ownership) => Ok(Response::xml(document(Some(ownership)))),
        None => {
            let fault = Fault::from(Code::OwnershipControlsNotFoundError);
            Err(fault.detail("BucketName", &bucket.name))
        }
    }
}

/// Refuses the access list of a request where it would give somebody else something.
///
/// # Errors
/// `AccessControlListNotSupported` where the bucket has no lists, `InvalidBucketAclWithObjectOwnership` where a new one would have none; `NotImplemented` where it
/// may have them; `InvalidArgument` for a list that AWS does not know, `InvalidRequest` for two of them.
pub fn check_access_list(shared: &Shared, request: &Request) -> Result<(), Fault> {
    if !request.operation.takes_access_list() {
        return Ok(());
    }
    let Some(header) = list_of_others(&request.headers)? else {
        return Ok(());
    };
    let is_new = request.operation.id == Id::CreateBucket;
    let ownership = match is_new {
        true => Some(of_new_bucket(request)?),
        false => of(shared, buckets::find(shared, request)?.inode)?,
    };
    Err(match ownership {
        Some(Ownership::BucketOwnerEnforced) if is_new => {
            Code::InvalidBucketAclWithObjectOwnership.into()
        }
        Some(Ownership::BucketOwnerEnforced) => Code::AccessControlListNotSupported.into(),
        _ => Fault::header_not_implemented(header),
    })
}

/// The header of a list that names anybody beside the owner.
fn list_of_others(headers: &HeaderMap) -> Result<Option<&'static str>, Fault> {
    let grant = GRANTS.iter().find(|name| headers.contains_key(**name));
    let Some(canned) = headers.get(CANNED) else {
        return Ok(grant.copied());
    };
    if grant.is_some() {
        let message = "Specifying both Canned ACLs and Header Grants is not allowed";
        return Err(Fault::new(Code::InvalidRequest, message));
    }
    let text = canned.to_str().unwrap_or_default();
    let is_among = |lists: &[&str]| lists.iter().any(|known| known.eq_ignore_ascii_case(text));
    match is_among(OF_OWNER) {
        true => Ok(None),
        false if is_among(OF_OTHERS) => Ok(Some(CANNED)),
        false => Err(Fault::argument(CANNED, text, "Invalid Argument")),
    }
}

#[cfg(test)]
mod tests {
    use http::{HeaderName, HeaderValue};

    use super::*;

    #[test]
    fn controls_are_read_as_they_are_written() {
        for ownership in Ownership::ALL.into_iter().map(Some).chain([None]) {
            let written = document(ownership).finish();
            assert_eq!(read(&written).unwrap(), ownership);
        }
        let rule = |inside: &str| format!("<OwnershipControls>{inside}</OwnershipControls>");
        let one = "<Rule><ObjectOwnership>ObjectWriter</ObjectOwnership></Rule>";
        for wrong in [
            String::new(),
            rule("<Rule/>"),
            rule("<Rule><ObjectOwnership>objectwriter</ObjectOwnership></Rule>"),
            rule("<Other><ObjectOwnership>ObjectWriter</ObjectOwnership></Other>"),
            rule("<Rule><Owner>ObjectWriter</Owner></Rule>"),
            rule(&one.repeat(2)),
        ] {
            let refused = read(wrong.as_bytes()).unwrap_err();
            assert_eq!(refused.code, Code::MalformedXML, "{wrong}");
        }
    }

    #[test]
    fn lists_of_the_owner_give_nobody_else_anything() {
        let list = |pairs: &[(&'static str, &str)]| {
            let pairs = pairs.iter().map(|(name, value)| {
                let value = HeaderValue::from_str(value).unwrap();
                (HeaderName::from_static(name), value)
            });
            let headers: HeaderMap = pairs.collect();
            list_of_others(&headers).map_err(|fault| fault.code)
        };
        assert_eq!(list(&[]), Ok(None));
        for owner in ["private", "Private", "bucket-owner-full-control"] {
            assert_eq!(list(&[(CANNED, owner)]), Ok(None));
        }
        assert_eq!(list(&[(CANNED, "public-read")]), Ok(Some(CANNED)));
        let grant = ("x-amz-grant-read", "id=1");
        assert_eq!(list(&[grant]), Ok(Some("x-amz-grant-read")));
        assert_eq!(
            list(&[grant, (CANNED, "private")]),
            Err(Code::InvalidRequest)
        );
        assert_eq!(list(&[(CANNED, "everybody")]), Err(Code::InvalidArgument));
    }
}
