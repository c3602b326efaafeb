//! Whose the objects of a bucket are: `PutBucketOwnershipControls`, `GetBucketOwnershipControls`, `DeleteBucketOwnershipControls`, and who
//! owns an object that is put.
//!
//! Invariants: under `BucketOwnerEnforced` every object is the bucket owner's and access lists say nothing; a bucket whose list grants somebody else something is
//! not put under it before that list is taken back.
//!
//! Sources: AWS's user guide of S3, "Controlling ownership of objects and disabling ACLs for your bucket", and the API references of the three operations and of
//! CreateBucket.

use strata_raftlog::namespace::command::SetBucketSetting;
use strata_raftlog::namespace::setting;

use super::{Shared, buckets};
use crate::error::{Code, Fault};
use crate::request::Request;
use crate::response::Response;
use crate::xml;

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
    /// What a bucket has that says nothing of it.
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

    /// That of a name.
    pub fn by_name(name: &str) -> Option<Ownership> {
        let mut all = Ownership::ALL.into_iter();
        all.find(|known| known.name() == name)
    }
}

/// Reads a document; `None` where it has no rule.
///
/// # Errors
/// `MalformedXML`.
pub fn read(xml: &[u8]) -> Result<Option<Ownership>, Fault> {
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

/// The document of one that is set, or of one that was removed.
pub fn document(ownership: Option<Ownership>) -> xml::Writer {
    let mut xml = xml::Writer::new("OwnershipControls");
    if let Some(ownership) = ownership {
        xml.open("Rule");
        xml.element("ObjectOwnership", ownership.name());
        xml.close("Rule");
    }
    xml
}

async fn set(shared: &Shared, bucket: u64, ownership: Option<Ownership>) -> Result<(), Fault> {
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
pub fn of_new_bucket(shared: &Shared, request: &Request) -> Result<Ownership, Fault> {
    let Some(value) = request.headers.get(HEADER) else {
        return Ok(shared.config.default_object_ownership);
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
/// `MalformedXML`; `InvalidBucketAclWithObjectOwnership` where the bucket would have no lists and its own grants others something; and as every
/// handler.
pub async fn put(shared: &Shared, request: &Request) -> Result<Response, Fault> {
    let bucket = buckets::find(shared, request)?;
    let ownership = read(&request.xml)?.ok_or(Code::MalformedXML)?;
    if ownership == Ownership::BucketOwnerEnforced {
        let list = match shared.rules.of(&shared.cluster, &bucket) {
            Ok(rules) => rules.access_list.clone(),
            // What is stored cannot be read, which this may mend.
            Err(fault) if fault.code == Code::InternalError => None,
            Err(fault) => return Err(fault),
        };
        if list.is_some_and(|list| list.names_others(bucket.owner)) {
            return Err(Code::InvalidBucketAclWithObjectOwnership.into());
        }
    }
    set(shared, bucket.inode, Some(ownership)).await?;
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
    match shared.rules.of(&shared.cluster, &bucket)?.ownership {
        Some(ownership) => Ok(Response::xml(document(Some(ownership)))),
        None => {
            let fault = Fault::from(Code::OwnershipControlsNotFoundError);
            Err(fault.detail("BucketName", &bucket.name))
        }
    }
}

#[cfg(test)]
mod tests {
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
}
