//! Versions: `PutBucketVersioning`, `GetBucketVersioning`, `ListObjectVersions`, and which version a request is about.
//!
//! The rules are those of AWS: user guide, "Retaining multiple versions of objects with S3 Versioning", and the API reference of the
//! operations. A bucket that never kept versions shows none: its answers name no version.

use http::header::{self, HeaderName};
use http::{HeaderMap, HeaderValue};
use strata_engine::reactor;
use strata_net::ClusterError;
use strata_raftlog::namespace::command::{Answer, Refusal, SetVersioning};
use strata_raftlog::namespace::store::StoreError;
use strata_raftlog::namespace::{
    Bucket, ETag, FoundVersion, ListedVersion, Marker, Object, VersionId, VersionListing,
    VersionMarker, VersionPage, VersionQuery, VersionRow, Versioning, View,
};

use super::{
    Shared, buckets, head_object, is_encoded, list_objects, page_size, write_account, write_key,
};
use crate::dates::{Iso8601, http_date};
use crate::error::{Code, Fault};
use crate::query::Query;
use crate::request::Request;
use crate::response::Response;
use crate::xml;

/// The version that an answer is about.
pub const VERSION_ID: HeaderName = HeaderName::from_static("x-amz-version-id");

/// `true` where that is a delete marker.
pub const DELETE_MARKER: HeaderName = HeaderName::from_static("x-amz-delete-marker");

/// Steps of a listing in one read transaction: about half a millisecond.
const STEPS_MAX: usize = 256;

/// `PutBucketVersioning`.
///
/// # Errors
/// `IllegalVersioningConfigurationException`, `MalformedXML`, `NotImplemented` for MFA delete, `InvalidBucketState` where Object Lock keeps it from being
/// suspended, and as every handler.
pub async fn put_configuration(shared: &Shared, request: &Request) -> Result<Response, Fault> {
    let bucket = buckets::find(shared, request)?.inode;
    let versioning = read_configuration(&request.xml)?;
    let command = SetVersioning { bucket, versioning };
    match shared.cluster.submit(command).await {
        Ok(_) => Ok(Response::ok()),
        Err(ClusterError::Refused(Refusal::InvalidBucketState)) => Err(Fault::new(
            Code::InvalidBucketState,
            "An Object Lock configuration is present on this bucket, so the versioning state cannot be \
             changed.",
        )),
        Err(error) => Err(error.into()),
    }
}

fn read_configuration(xml: &[u8]) -> Result<Versioning, Fault> {
    let mut xml = xml::Reader::open(xml, "VersioningConfiguration")?;
    let mut status = None;
    while let Some(name) = xml.child()? {
        let text = xml.text()?;
        match (name.as_str(), text.as_str()) {
            ("Status", "Enabled") => status = Some(Versioning::Enabled),
            ("Status", "Suspended") => status = Some(Versioning::Suspended),
            ("MfaDelete", "Disabled") => {}
            ("MfaDelete", "Enabled") => return Err(Fault::not_implemented("MFA delete")),
            _ => return Err(Code::MalformedXML.into()),
        }
    }
    xml.end()?;
    status.ok_or_else(|| Code::IllegalVersioningConfigurationException.into())
}

/// `GetBucketVersioning`.
///
/// # Errors
/// `NoSuchBucket`.
pub async fn get_configuration(shared: &Shared, request: &Request) -> Result<Response, Fault> {
    let bucket = buckets::find(shared, request)?;
    let mut xml = xml::Writer::new("VersioningConfiguration");
    match bucket.versioning {
        Versioning::Off => {}
        Versioning::Enabled => xml.element("Status", "Enabled"),
        Versioning::Suspended => xml.element("Status", "Suspended"),
    }
    Ok(Response::xml(xml))
}

/// The version that a request names.
///
/// # Errors
/// `InvalidArgument` for what is no version.
pub fn asked(request: &Request) -> Result<Option<VersionId>, Fault> {
    request.query.get("versionId").map(parse).transpose()
}

/// Reads a version.
///
/// # Errors
/// `InvalidArgument` for what is none.
pub fn parse(text: &str) -> Result<VersionId, Fault> {
    let message = match text {
        "" => "Version id cannot be the empty string",
        _ => "Invalid version id specified",
    };
    VersionId::parse(text).ok_or_else(|| Fault::argument("versionId", text, message))
}

/// The object of a key, or a version of it that is asked for.
///
/// # Errors
/// Those of the namespace, outside. Inside `NoSuchKey`, also where the newest version is a delete marker, which the headers then tell;
/// `NoSuchVersion`; `MethodNotAllowed` where the version that is asked for is a delete marker.
pub fn find(
    view: &View<'_>,
    bucket: &Bucket,
    key: &[u8],
    asked: Option<VersionId>,
) -> Result<Result<Object, Fault>, StoreError> {
    let Some(version) = asked else {
        if let Some(object) = view.object_in(bucket.inode, key)? {
            return Ok(Ok(object));
        }
        let marker = match bucket.versioning {
            Versioning::Off => None,
            Versioning::Enabled | Versioning::Suspended => view.latest_marker(bucket.inode, key)?,
        };
        let fault = head_object::no_such_key(key);
        return Ok(Err(match marker {
            Some(marker) => with_marker(fault, &marker),
            None => fault,
        }));
    };
    Ok(match view.version(bucket.inode, key, version)? {
        Some(FoundVersion::Object(object)) => Ok(*object),
        Some(FoundVersion::Marker(marker)) => Err(refused_marker(&marker)),
        None => Err(Fault::from(Code::NoSuchVersion)
            .detail("Key", String::from_utf8_lossy(key))
            .detail("VersionId", version.to_string())),
    })
}

/// What is asked for is a delete marker, which can be deleted and nothing else.
pub fn refused_marker(marker: &Marker) -> Fault {
    with_marker(Code::MethodNotAllowed.into(), marker)
        .header(header::LAST_MODIFIED, http_date(marker.modified_nanos))
        .header(header::ALLOW, HeaderValue::from_static("DELETE"))
}

fn with_marker(fault: Fault, marker: &Marker) -> Fault {
    let fault = fault.header(DELETE_MARKER, HeaderValue::from_static("true"));
    match HeaderValue::from_str(&marker.version.to_string()) {
        Ok(value) => fault.header(VERSION_ID, value),
        Err(_) => fault,
    }
}

/// Names the version of an answer, where the bucket keeps or has kept some.
pub fn add_version(headers: &mut HeaderMap, name: HeaderName, bucket: &Bucket, version: VersionId) {
    if bucket.versioning != Versioning::Off
        && let Ok(value) = HeaderValue::from_str(&version.to_string())
    {
        headers.insert(name, value);
    }
}

/// Names the version of what was put. While versioning is suspended the answer to a PUT names none, as with AWS.
pub fn add_put_version(headers: &mut HeaderMap, answer: &Answer) {
    if let Some(version) = answer.version()
        && let Ok(value) = HeaderValue::from_str(&version.to_string())
    {
        headers.insert(VERSION_ID, value);
    }
}

/// `ListObjectVersions`.
///
/// # Errors
/// As every handler.
pub async fn list(shared: &Shared, request: &Request) -> Result<Response, Fault> {
    let query = &request.query;
    let encoded = is_encoded(query)?;
    let limit = page_size(query, "max-keys")?;
    let after = after(query)?;
    let bucket = buckets::find(shared, request)?;
    let mut listing = VersionListing::new(VersionQuery {
        prefix: query.text("prefix").as_bytes().to_vec(),
        delimiter: query.text("delimiter").as_bytes().to_vec(),
        after,
        limit,
    });
    while !listing.is_complete() {
        shared
            .cluster
            .read(|view| view.list_versions(bucket.inode, &mut listing, STEPS_MAX))?;
        reactor::yield_if_due().await;
    }
    let page = listing.into_page();
    Ok(Response::xml(document(request, &page, limit, encoded)?))
}

/// Where the page begins.
fn after(query: &Query) -> Result<Option<VersionMarker>, Fault> {
    let key = query.text("key-marker");
    let version = query
        .get("version-id-marker")
        .filter(|text| !text.is_empty());
    match (key.is_empty(), version) {
        (true, None) => Ok(None),
        (true, Some(version)) => {
            let message = "A version-id marker cannot be specified without a key marker.";
            Err(Fault::argument("version-id-marker", version, message))
        }
        (false, version) => Ok(Some(VersionMarker {
            key: key.as_bytes().to_vec(),
            version: version.map(parse).transpose()?,
        })),
    }
}

fn document(
    request: &Request,
    page: &VersionPage,
    limit: usize,
    encoded: bool,
) -> Result<xml::Writer, Fault> {
    let query = &request.query;
    let mut xml = xml::Writer::new("ListVersionsResult");
    let keys = page.versions.iter().map(|version| version.key.len());
    let prefixes = page.common_prefixes.iter().map(Vec::len);
    let room = keys
        .chain(prefixes)
        .map(|key| key + list_objects::ENTRY_BYTES);
    xml.reserve(room.sum());
    xml.element("Name", request.bucket()?);
    write_key(&mut xml, "Prefix", query.text("prefix").as_bytes(), encoded);
    let key_marker = query.text("key-marker").as_bytes();
    write_key(&mut xml, "KeyMarker", key_marker, encoded);
    xml.element("VersionIdMarker", query.text("version-id-marker"));
    if let Some(next) = &page.next {
        write_key(&mut xml, "NextKeyMarker", &next.key, encoded);
        let version = next.version.map(|version| version.to_string());
        xml.optional("NextVersionIdMarker", version.as_deref());
    }
    list_objects::write_page_head(&mut xml, query, limit, encoded, page.next.is_some());
    for version in &page.versions {
        write_version(&mut xml, version, encoded);
    }
    list_objects::write_prefixes(&mut xml, &page.common_prefixes, encoded);
    Ok(xml)
}

fn write_version(xml: &mut xml::Writer, version: &ListedVersion, encoded: bool) {
    let element = match version.row {
        VersionRow::Object(_) => "Version",
        VersionRow::Marker(_) => "DeleteMarker",
    };
    xml.open(element);
    write_key(xml, "Key", &version.key, encoded);
    xml.value("VersionId", version.row.version());
    xml.value("IsLatest", version.is_latest);
    match &version.row {
        VersionRow::Object(entry) => {
            let etag = entry.etag.unwrap_or(ETag::single([0; 16]));
            let checksum = entry.checksum.as_ref();
            let checksum = checksum.map(|checksum| (checksum.algorithm, checksum.kind));
            let (modified, owner) = (entry.modified_nanos, Some(entry.owner));
            list_objects::write_details(xml, modified, etag, checksum, entry.size, owner);
        }
        VersionRow::Marker(marker) => {
            xml.value("LastModified", Iso8601(marker.modified_nanos));
            write_account(xml, "Owner", marker.owner);
        }
    }
    xml.close(element);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_configuration_says_enabled_or_suspended() {
        let read = |inside: &str| {
            let xml = format!("<VersioningConfiguration>{inside}</VersioningConfiguration>");
            read_configuration(xml.as_bytes()).map_err(|fault| fault.code)
        };
        assert_eq!(read("<Status>Enabled</Status>"), Ok(Versioning::Enabled));
        assert_eq!(
            read("<MfaDelete>Disabled</MfaDelete><Status>Suspended</Status>"),
            Ok(Versioning::Suspended)
        );
        for (inside, code) in [
            ("", Code::IllegalVersioningConfigurationException),
            ("<Status>Off</Status>", Code::MalformedXML),
            ("<Statos>Enabled</Statos>", Code::MalformedXML),
            (
                "<Status>Enabled</Status><MfaDelete>Enabled</MfaDelete>",
                Code::NotImplemented,
            ),
        ] {
            assert_eq!(read(inside), Err(code), "{inside}");
        }
    }

    #[test]
    fn a_version_marker_comes_with_a_key() {
        let after = |text: &str| after(&Query::parse(text).unwrap()).map_err(|fault| fault.code);
        assert_eq!(after("key-marker=&version-id-marker="), Ok(None));
        assert_eq!(after("version-id-marker=null"), Err(Code::InvalidArgument));
        assert_eq!(
            after("key-marker=k&version-id-marker=3"),
            Err(Code::InvalidArgument)
        );
        let marker = after("key-marker=k&version-id-marker=null")
            .unwrap()
            .unwrap();
        assert_eq!(marker.version, Some(VersionId::Null));
    }
}
