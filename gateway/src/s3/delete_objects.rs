//! `DeleteObject` and `DeleteObjects`.

use futures_util::StreamExt as _;
use strata_engine::reactor;
use strata_raftlog::namespace::command::{
    Answer, DeleteKey, DeleteObjects, DeleteOutcome, DeleteVersion, DeleteVersions, ETagMatch,
    MarkDeleted, MarkOutcome, VersionDeleteOutcome,
};
use strata_raftlog::namespace::{Bucket, ETag, KEY_BYTES_MAX, VersionId, Versioning};

use super::head_object::no_such_key;
use super::{Shared, buckets, conditions, object_lock, versions, write_key};
use crate::access::Access;
use crate::error::{Code, Fault};
use crate::request::Request;
use crate::response::Response;
use crate::xml;

/// Keys of one request at most.
const KEYS_MAX: usize = 1000;

/// Keys of one command: more would be a long turn of the metadata core, and others wait for it.
const COMMAND_KEYS_MAX: usize = 64;

/// Objects that come back from under their delete markers by one command: each may need directories.
const COMING_BACK_MAX: usize = 8;

/// How often a bucket is looked at anew because it has begun to keep versions meanwhile.
const LOOKS_MAX: usize = 3;

/// Commands of one request that are under way together; they share a flush.
const COMMANDS_AT_ONCE_MAX: usize = 4;

/// `DeleteObject`: a key that is absent is no error, but where a condition says that it is there. Without a version, a bucket that
/// keeps versions gets a delete marker.
///
/// # Errors
/// As every handler.
pub async fn one(shared: &Shared, request: &Request) -> Result<Response, Fault> {
    let bucket = buckets::find(shared, request)?;
    let (_, key) = request.address.object()?;
    let wanted = DeleteKey {
        key: key.to_vec(),
        if_match: conditions::of_write(&request.headers)?.if_match,
    };
    let outcomes = match versions::asked(request)? {
        None => delete_present(shared, &bucket.name, vec![wanted]).await?,
        Some(version) => {
            let version = DeleteVersion {
                key: wanted.key,
                version,
                if_match: wanted.if_match,
                bypass_governance: object_lock::bypasses(shared, request)?,
            };
            let outcomes = delete_versions(shared, bucket.inode, vec![version]).await?;
            outcomes.into_iter().collect::<Result<_, _>>()?
        }
    };
    let mut response = Response::no_content();
    match outcomes.first() {
        Some(Outcome::PreconditionFailed) => return Err(Code::PreconditionFailed.into()),
        Some(Outcome::Locked) => return Err(object_lock::locked()),
        Some(Outcome::Absent) => return Err(no_such_key(key)),
        Some(Outcome::Marked(version)) => {
            response = response
                .header(versions::DELETE_MARKER, "true")
                .header(versions::VERSION_ID, &version.to_string());
        }
        Some(Outcome::VersionGone { version, is_marker }) => {
            versions::add_version(
                &mut response.headers,
                versions::VERSION_ID,
                &bucket,
                *version,
            );
            if *is_marker {
                response = response.header(versions::DELETE_MARKER, "true");
            }
        }
        Some(Outcome::Gone) | None => {}
    }
    Ok(response)
}

/// What became of a key, or of a version of one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Outcome {
    /// It is not there any more, or never was.
    Gone,
    /// It has a delete marker now, which is this version.
    Marked(VersionId),
    /// The version is not there any more, or never was.
    VersionGone {
        version: VersionId,
        /// Whether it was a delete marker.
        is_marker: bool,
    },
    /// Its condition does not hold.
    PreconditionFailed,
    /// It has a condition and is not there.
    Absent,
    /// A retention or a legal hold keeps it.
    Locked,
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
    let declared = request.body.expectation();
    if declared.content_md5.is_none() && declared.checksum.is_none() {
        return Err(Fault::new(
            Code::InvalidRequest,
            "Missing required header for this request: Content-MD5 OR x-amz-checksum-*",
        ));
    }
    let Delete { objects, is_quiet } = read(&request.xml)?;
    let bucket = buckets::find(shared, request)?;
    let access = Access::of(shared, request, Some(&bucket))?;
    let asks_bypass = object_lock::asks_bypass(request)?;
    let mut xml = xml::Writer::new("DeleteResult");
    let (mut present, mut earlier) = (Vec::new(), Vec::new());
    for object in objects {
        reactor::yield_if_due().await;
        let version = object.version_id.as_deref();
        let has_condition = object.etag.is_some();
        let may = access.check_delete(&bucket.name, &object.key, version, has_condition);
        match may.and_then(|()| wanted(&object)) {
            Ok(Wanted::Present(key)) => present.push((object, key)),
            Ok(Wanted::Version(mut version)) => {
                version.bypass_governance = asks_bypass
                    && access.may_bypass(
                        &bucket.name,
                        &object.key,
                        object.version_id.as_deref(),
                    )?;
                earlier.push((object, version));
            }
            Err(fault) => write_error(&mut xml, &object, &fault),
        }
    }
    // Keys that are neighbours lie on the same pages: a command then changes few of them. Equal ones stay in their order.
    present.sort_by(|(_, one), (_, other)| one.key.cmp(&other.key));
    earlier.sort_by(|(_, one), (_, other)| one.key.cmp(&other.key));
    let present = present.chunks(COMMAND_KEYS_MAX).map(|part| async {
        let keys = part.iter().map(|(_, key)| key.clone()).collect();
        let outcomes = delete_present(shared, &bucket.name, keys).await;
        let outcomes = outcomes.map(|outcomes| outcomes.into_iter().map(Ok).collect());
        one_by_one(part, outcomes)
    });
    let mut outcomes = futures_util::stream::iter(present).buffered(COMMANDS_AT_ONCE_MAX);
    while let Some(outcomes) = outcomes.next().await {
        write_outcomes(&mut xml, outcomes, is_quiet);
    }
    let earlier = earlier.chunks(COMMAND_KEYS_MAX).map(|part| async {
        let versions = part.iter().map(|(_, version)| version.clone()).collect();
        let outcomes = delete_versions(shared, bucket.inode, versions).await;
        one_by_one(part, outcomes)
    });
    let mut outcomes = futures_util::stream::iter(earlier).buffered(COMMANDS_AT_ONCE_MAX);
    while let Some(outcomes) = outcomes.next().await {
        write_outcomes(&mut xml, outcomes, is_quiet);
    }
    Ok(Response::xml(xml))
}

fn write_outcomes(xml: &mut xml::Writer, outcomes: Vec<KeyOutcome<'_>>, is_quiet: bool) {
    for (object, outcome) in outcomes {
        match outcome {
            Err(fault) => write_error(xml, object, &fault),
            Ok(Outcome::PreconditionFailed) => {
                write_error(xml, object, &Code::PreconditionFailed.into());
            }
            Ok(Outcome::Locked) => write_error(xml, object, &object_lock::locked()),
            Ok(_) if is_quiet => {}
            Ok(outcome) => write_deleted(xml, object, outcome),
        }
    }
}

fn write_deleted(xml: &mut xml::Writer, object: &Named, outcome: Outcome) {
    xml.open("Deleted");
    write_key(xml, "Key", object.key.as_bytes(), false);
    xml.optional("VersionId", object.version_id.as_deref());
    let marker = match outcome {
        Outcome::Marked(version) => Some(version),
        Outcome::VersionGone { version, is_marker } => is_marker.then_some(version),
        Outcome::Gone | Outcome::PreconditionFailed | Outcome::Absent | Outcome::Locked => None,
    };
    if let Some(marker) = marker {
        xml.element("DeleteMarker", "true");
        xml.value("DeleteMarkerVersionId", marker);
    }
    xml.close("Deleted");
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

type KeyOutcome<'a> = (&'a Named, Result<Outcome, Fault>);

/// What is to be deleted of a key of the list.
#[derive(Debug)]
enum Wanted {
    /// What a GET finds.
    Present(DeleteKey),
    Version(DeleteVersion),
}

/// What a command came to, key by key: one that failed as a whole has failed for each of its keys.
fn one_by_one<T>(
    part: &[(Named, T)],
    outcomes: Result<Vec<Result<Outcome, Fault>>, Fault>,
) -> Vec<KeyOutcome<'_>> {
    let outcomes = outcomes.and_then(|outcomes| match outcomes.len() == part.len() {
        true => Ok(outcomes),
        false => Err(Fault::from(Code::InternalError).because("not one outcome for each key")),
    });
    let of = |at: usize| match &outcomes {
        Ok(outcomes) => outcomes[at].clone(),
        Err(fault) => Err(fault.clone()),
    };
    let objects = part.iter().enumerate();
    objects.map(|(at, (object, _))| (object, of(at))).collect()
}

/// Deletes keys of a bucket that keeps no versions, and has others marked as deleted.
async fn delete_present(
    shared: &Shared,
    bucket: &str,
    keys: Vec<DeleteKey>,
) -> Result<Vec<Outcome>, Fault> {
    let mut outcome = Err(Code::OperationAborted.into());
    for _ in 0..LOOKS_MAX {
        let bucket = buckets::named(shared, bucket)?;
        outcome = match bucket.versioning {
            Versioning::Off => delete_for_good(shared, bucket.inode, keys.clone()).await,
            Versioning::Enabled | Versioning::Suspended => {
                mark_deleted(shared, &bucket, keys.clone()).await
            }
        };
        // Whether the bucket keeps versions has changed meanwhile.
        if !matches!(&outcome, Err(fault) if fault.code == Code::OperationAborted) {
            break;
        }
    }
    outcome
}

async fn delete_for_good(
    shared: &Shared,
    bucket: u64,
    keys: Vec<DeleteKey>,
) -> Result<Vec<Outcome>, Fault> {
    let conditional: Vec<bool> = keys.iter().map(|key| key.if_match.is_some()).collect();
    let command = DeleteObjects { bucket, keys };
    let outcomes = match shared.cluster.submit(command).await? {
        Answer::Deleted(outcomes) => outcomes.into_iter(),
        other => return Err(unexpected(&other)),
    };
    let of = |(outcome, is_conditional)| match outcome {
        DeleteOutcome::Absent if is_conditional => Outcome::Absent,
        DeleteOutcome::Deleted | DeleteOutcome::Absent => Outcome::Gone,
        DeleteOutcome::PreconditionFailed => Outcome::PreconditionFailed,
    };
    Ok(outcomes.zip(conditional).map(of).collect())
}

async fn mark_deleted(
    shared: &Shared,
    bucket: &Bucket,
    keys: Vec<DeleteKey>,
) -> Result<Vec<Outcome>, Fault> {
    let command = MarkDeleted {
        bucket: bucket.inode,
        keys,
        owner: bucket.owner,
    };
    let outcomes = match shared.cluster.submit(command).await? {
        Answer::Marked(outcomes) => outcomes.into_iter(),
        other => return Err(unexpected(&other)),
    };
    let of = |outcome| match outcome {
        MarkOutcome::Marked(version) => Outcome::Marked(version),
        MarkOutcome::PreconditionFailed => Outcome::PreconditionFailed,
        MarkOutcome::Absent => Outcome::Absent,
    };
    Ok(outcomes.map(of).collect())
}

/// Deletes versions for good. Delete markers under which objects lie come last, as those bring them back, for which there must be
/// room.
async fn delete_versions(
    shared: &Shared,
    bucket: u64,
    versions: Vec<DeleteVersion>,
) -> Result<Vec<Result<Outcome, Fault>>, Fault> {
    let found = propose_versions(shared, bucket, versions.clone(), false).await?;
    let left = found.iter().enumerate();
    let left = left.filter(|(_, outcome)| **outcome == VersionDeleteOutcome::BringsBack);
    let left: Vec<usize> = left.map(|(at, _)| at).collect();
    let found = found.into_iter().zip(&versions);
    let mut outcomes: Vec<_> = found.map(|(found, of)| Ok(of_version(found, of))).collect();
    for part in left.chunks(COMING_BACK_MAX) {
        let of_part = part.iter().map(|at| versions[*at].clone()).collect();
        let found = propose_versions(shared, bucket, of_part, true).await;
        for (number, at) in part.iter().enumerate() {
            let found = found.as_ref().map(|found| found[number]);
            outcomes[*at] = match found {
                Ok(found) => Ok(of_version(found, &versions[*at])),
                Err(fault) => Err(fault.clone()),
            };
        }
    }
    Ok(outcomes)
}

fn of_version(found: VersionDeleteOutcome, version: &DeleteVersion) -> Outcome {
    match found {
        VersionDeleteOutcome::PreconditionFailed => Outcome::PreconditionFailed,
        VersionDeleteOutcome::Locked => Outcome::Locked,
        found => Outcome::VersionGone {
            version: version.version,
            is_marker: found == VersionDeleteOutcome::MarkerDeleted,
        },
    }
}

async fn propose_versions(
    shared: &Shared,
    bucket: u64,
    versions: Vec<DeleteVersion>,
    may_grow: bool,
) -> Result<Vec<VersionDeleteOutcome>, Fault> {
    let count = versions.len();
    let command = DeleteVersions {
        bucket,
        versions,
        may_grow,
    };
    match shared.cluster.submit(command).await? {
        Answer::VersionsDeleted(outcomes) if outcomes.len() == count => Ok(outcomes),
        other => Err(unexpected(&other)),
    }
}

fn unexpected(answer: &Answer) -> Fault {
    Fault::from(Code::InternalError).because(format!("answered with {answer:?}"))
}

/// What is wanted of a key of the list.
fn wanted(object: &Named) -> Result<Wanted, Fault> {
    let version = object.version_id.as_deref();
    let version = version.map(versions::parse).transpose()?;
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
    let key = object.key.clone().into_bytes();
    Ok(match version {
        None => Wanted::Present(DeleteKey { key, if_match }),
        Some(version) => Wanted::Version(DeleteVersion {
            key,
            version,
            if_match,
            bypass_governance: false,
        }),
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
            wanted(&read.objects[0]).map_err(|fault| fault.code)
        };
        let code = |inside: &str| of(inside).unwrap_err();
        assert_eq!(code("<VersionId>3</VersionId>"), Code::InvalidArgument);
        assert_eq!(code("<Size>3</Size>"), Code::NotImplemented);
        let null = of("<VersionId>null</VersionId>").unwrap();
        assert!(matches!(null, Wanted::Version(of) if of.version == VersionId::Null));
        let if_match = |inside: &str| match of(inside).unwrap() {
            Wanted::Present(key) => key.if_match,
            Wanted::Version(version) => version.if_match,
        };
        assert_eq!(if_match("<ETag>*</ETag>"), Some(ETagMatch::Any));
        let tag = if_match("<ETag>&quot;900150983cd24fb0d6963f7d28e17f72&quot;</ETag>");
        assert!(matches!(tag, Some(ETagMatch::OneOf(tags)) if tags.len() == 1));
    }
}
