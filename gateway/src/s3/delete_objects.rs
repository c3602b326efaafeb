//! `DeleteObject` and `DeleteObjects`.

use futures_util::StreamExt as _;
use strata_raftlog::namespace::command::{
    Answer, DeleteKey, DeleteObjects, DeleteOutcome, ETagMatch,
};
use strata_raftlog::namespace::{ETag, KEY_BYTES_MAX};

use super::{Shared, buckets, check_owner, conditions, write_key};
use crate::error::{Code, Fault};
use crate::request::Request;
use crate::response::Response;
use crate::xml;

/// Keys of one request at most.
const KEYS_MAX: usize = 1000;

/// Keys of one command: more would be a long turn of the metadata core, and others wait for it.
const COMMAND_KEYS_MAX: usize = 64;

/// Commands of one request that are under way together; they share a flush.
const COMMANDS_AT_ONCE_MAX: usize = 4;

/// `DeleteObject`: a key that is absent is no error.
///
/// # Errors
/// As every handler.
pub async fn one(shared: &Shared, request: &Request) -> Result<Response, Fault> {
    let bucket = buckets::find(shared, request)?.inode;
    let (_, key) = request.address.object()?;
    let keys = vec![DeleteKey {
        key: key.to_vec(),
        if_match: conditions::of_write(&request.headers)?.if_match,
    }];
    let outcomes = delete(shared, bucket, keys).await?;
    match outcomes.first() {
        Some(DeleteOutcome::PreconditionFailed) => Err(Code::PreconditionFailed.into()),
        _ => Ok(Response::no_content()),
    }
}

/// A key that a request names, with what is said of it.
#[derive(Debug, Default, Clone, PartialEq, Eq)]
struct Named {
    key: String,
    version_id: Option<String>,
    etag: Option<String>,
    /// A condition that is not served: on time or size.
    has_other_condition: bool,
}

/// The document of a request.
#[derive(Debug, Default, PartialEq, Eq)]
struct Delete {
    objects: Vec<Named>,
    is_quiet: bool,
}

/// `DeleteObjects`: up to 1,000 keys, each with its own outcome, a few to a command; answered in the order of the
/// keys, after those that are refused at once.
///
/// # Errors
/// As every handler.
pub async fn many(shared: &Shared, request: &Request) -> Result<Response, Fault> {
    check_owner(request, "x-amz-expected-bucket-owner")?;
    let declared = request.body.expectation();
    if declared.content_md5.is_none() && declared.checksum.is_none() {
        return Err(Fault::new(
            Code::InvalidRequest,
            "Missing required header for this request: Content-MD5 OR x-amz-checksum-*",
        ));
    }
    let Delete { objects, is_quiet } = read(&request.xml)?;
    let bucket = buckets::find(shared, request)?.inode;
    let mut xml = xml::Writer::new("DeleteResult");
    let mut wanted = Vec::new();
    for object in objects {
        match key_of(&object) {
            Ok(key) => wanted.push((object, key)),
            Err(fault) => write_error(&mut xml, &object, &fault),
        }
    }
    // Keys that are neighbours lie on the same pages: a command then changes few of them. Equal ones stay in their order.
    wanted.sort_by(|(_, one), (_, other)| one.key.cmp(&other.key));
    let commands = wanted.chunks(COMMAND_KEYS_MAX).map(|part| async move {
        let keys = part.iter().map(|(_, key)| key.clone()).collect();
        (part, delete(shared, bucket, keys).await)
    });
    let mut outcomes = futures_util::stream::iter(commands).buffered(COMMANDS_AT_ONCE_MAX);
    while let Some((part, outcomes)) = outcomes.next().await {
        for (object, outcome) in one_by_one(part, outcomes) {
            match outcome {
                Err(fault) => write_error(&mut xml, object, &fault),
                Ok(DeleteOutcome::PreconditionFailed) => {
                    write_error(&mut xml, object, &Code::PreconditionFailed.into());
                }
                Ok(_) if is_quiet => {}
                Ok(DeleteOutcome::Deleted | DeleteOutcome::Absent) => {
                    xml.open("Deleted");
                    write_key(&mut xml, "Key", object.key.as_bytes(), false);
                    xml.optional("VersionId", object.version_id.as_deref());
                    xml.close("Deleted");
                }
            }
        }
    }
    Ok(Response::xml(xml))
}

/// Reads the document of a request.
fn read(xml: &[u8]) -> Result<Delete, Fault> {
    let mut xml = xml::Reader::open(xml, "Delete")?;
    let mut delete = Delete::default();
    while let Some(name) = xml.child()? {
        match name.as_str() {
            "Quiet" => delete.is_quiet = xml.value()?,
            "Object" if delete.objects.len() < KEYS_MAX => {
                delete.objects.push(read_object(&mut xml)?);
            }
            _ => return Err(Code::MalformedXML.into()),
        }
    }
    xml.end()?;
    match delete.objects.is_empty() {
        true => Err(Code::MalformedXML.into()),
        false => Ok(delete),
    }
}

fn read_object(xml: &mut xml::Reader<'_>) -> Result<Named, Fault> {
    let mut object = Named::default();
    let mut has_key = false;
    while let Some(name) = xml.child()? {
        let text = xml.text()?;
        match name.as_str() {
            "Key" => (object.key, has_key) = (text, true),
            "VersionId" => object.version_id = Some(text),
            "ETag" => object.etag = Some(text),
            "LastModifiedTime" | "Size" => object.has_other_condition = true,
            _ => return Err(Code::MalformedXML.into()),
        }
    }
    match has_key {
        true => Ok(object),
        false => Err(Code::MalformedXML.into()),
    }
}

type KeyOutcome<'a> = (&'a Named, Result<DeleteOutcome, Fault>);
type Wanted = (Named, DeleteKey);

/// What a command came to, key by key: one that failed as a whole has failed for each of its keys.
fn one_by_one(
    part: &[Wanted],
    outcomes: Result<Vec<DeleteOutcome>, Fault>,
) -> impl Iterator<Item = KeyOutcome<'_>> {
    let outcomes = outcomes.and_then(|outcomes| match outcomes.len() == part.len() {
        true => Ok(outcomes),
        false => Err(Fault::from(Code::InternalError).because("not one outcome for each key")),
    });
    part.iter().enumerate().map(move |(at, (object, _))| {
        (
            object,
            outcomes
                .as_ref()
                .map(|outcomes| outcomes[at])
                .map_err(Clone::clone),
        )
    })
}

async fn delete(
    shared: &Shared,
    bucket: u64,
    keys: Vec<DeleteKey>,
) -> Result<Vec<DeleteOutcome>, Fault> {
    let command = DeleteObjects { bucket, keys };
    match shared.cluster.submit(command).await? {
        Answer::Deleted(outcomes) => Ok(outcomes),
        other => Err(Fault::from(Code::InternalError).because(format!("answered with {other:?}"))),
    }
}

/// What the command says of a key of the list.
fn key_of(object: &Named) -> Result<DeleteKey, Fault> {
    if !matches!(object.version_id.as_deref(), None | Some("null")) {
        return Err(Fault::not_implemented("Versioning"));
    }
    if object.has_other_condition {
        return Err(Fault::not_implemented("A condition on time or size"));
    }
    if object.key.is_empty() {
        let message = "A key must not be empty.";
        return Err(Fault::new(Code::InvalidArgument, message));
    }
    if object.key.len() > KEY_BYTES_MAX {
        return Err(Code::KeyTooLongError.into());
    }
    let if_match = object
        .etag
        .as_deref()
        .map(|tag| match tag.trim_matches('"') {
            "*" => ETagMatch::Any,
            _ => ETagMatch::OneOf(ETag::parse(tag).into_iter().collect()),
        });
    Ok(DeleteKey {
        key: object.key.clone().into_bytes(),
        if_match,
    })
}

fn write_error(xml: &mut xml::Writer, object: &Named, fault: &Fault) {
    xml.open("Error");
    write_key(xml, "Key", object.key.as_bytes(), false);
    xml.optional("VersionId", object.version_id.as_deref());
    xml.element("Code", fault.code.name());
    xml.element("Message", &fault.message);
    xml.close("Error");
}

#[cfg(test)]
mod tests {
    use super::*;

    fn keys(xml: &str) -> Result<Vec<String>, Code> {
        let read = read(xml.as_bytes()).map_err(|fault| fault.code)?;
        Ok(read.objects.into_iter().map(|object| object.key).collect())
    }

    #[test]
    fn a_key_is_all_that_its_element_says() {
        let one = |key: &str| {
            keys(&format!(
                "<Delete><Object><Key>{key}</Key></Object></Delete>"
            ))
        };
        assert_eq!(one("dir/<![CDATA[x]]>"), Ok(vec!["dir/x".into()]));
        assert_eq!(one("a &amp; b&#x1;"), Ok(vec!["a & b\u{1}".into()]));
        assert_eq!(one("a<b/>"), Err(Code::MalformedXML));
        assert_eq!(one("&nbsp;"), Err(Code::MalformedXML));
    }

    #[test]
    fn too_many_keys_and_unknown_elements_are_refused() {
        let many = |count| {
            let objects = "<Object><Key>a</Key></Object>".repeat(count);
            keys(&format!(
                "<Delete xmlns=\"u\"><Quiet>true</Quiet>{objects}</Delete>"
            ))
        };
        assert_eq!(many(1000).unwrap().len(), 1000);
        for count in [0, 1001] {
            assert_eq!(many(count), Err(Code::MalformedXML));
        }
        for xml in [
            "<Delete><Object/></Delete>",
            "<Delete><Object><Kee>a</Kee></Object></Delete>",
            "<Delete><Quiet>perhaps</Quiet><Object><Key>a</Key></Object></Delete>",
        ] {
            assert_eq!(keys(xml), Err(Code::MalformedXML), "{xml}");
        }
    }

    #[test]
    fn what_is_not_served_of_a_key_is_refused() {
        let of = |inside: &str| {
            let xml = format!("<Delete><Object><Key>a</Key>{inside}</Object></Delete>");
            let read = read(xml.as_bytes()).unwrap();
            key_of(&read.objects[0]).map_err(|fault| fault.code)
        };
        assert_eq!(of("<VersionId>3</VersionId>"), Err(Code::NotImplemented));
        assert_eq!(of("<Size>3</Size>"), Err(Code::NotImplemented));
        assert!(of("<VersionId>null</VersionId>").is_ok());
        assert_eq!(of("<ETag>*</ETag>").unwrap().if_match, Some(ETagMatch::Any));
        let tag = of("<ETag>&quot;900150983cd24fb0d6963f7d28e17f72&quot;</ETag>").unwrap();
        assert!(matches!(tag.if_match, Some(ETagMatch::OneOf(tags)) if tags.len() == 1));
    }
}
