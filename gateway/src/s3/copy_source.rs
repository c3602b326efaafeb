//! The source of a copy, and how its bytes go into chunks of their own.

use std::ops::Range;
use std::rc::Rc;

use http::{HeaderMap, HeaderName};
use strata_engine::reactor;
use strata_net::ObjectWriter;
use strata_raftlog::namespace::{
    Body, Bucket, Checksum, ChecksumAlgorithm, ETag, Object, Tag, VersionId,
};

use super::object_body::{BodyReader, first_window};
use super::{Shared, buckets, check_owner, conditions, versions};
use crate::checksum::{self, Hasher};
use crate::error::{Code, Fault};
use crate::guard::PUT_BYTES_MAX;
use crate::md5::Md5;
use crate::percent::decode_form;
use crate::request::{Request, is_bucket_name};

/// The version of the source that a copy was made of.
const SOURCE_VERSION_ID: HeaderName = HeaderName::from_static("x-amz-copy-source-version-id");

/// Bytes that are hashed between two looks at the clock.
const HASH_BYTES_MAX: usize = 64 << 10;

/// Bucket and key of a source.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Name {
    /// The bucket.
    pub bucket: String,
    /// The key.
    pub key: String,
    /// The version, where one is named.
    pub version: Option<VersionId>,
}

impl Name {
    /// Reads `x-amz-copy-source`: `[/]bucket/key`, encoded as in a form, where `+` is a space, with
    /// `?versionId=` and a version after it, or nothing.
    ///
    /// # Errors
    /// `InvalidArgument`, `NotImplemented` for access points.
    pub fn parse(header: Option<&str>) -> Result<Name, Fault> {
        let text = header.unwrap_or_default();
        let wrong = |message: &'static str| Fault::argument("x-amz-copy-source", text, message);
        let (path, version) = match text.split_once("?versionId=") {
            Some((path, version)) => (path, Some(version)),
            None => (text, None),
        };
        let version = version.map(versions::parse).transpose()?;
        if path.starts_with("arn:") {
            return Err(Fault::not_implemented("An access point"));
        }
        let path =
            decode_form(path).ok_or_else(|| wrong("The copy source is not well encoded."))?;
        let path = path.strip_prefix('/').unwrap_or(&path);
        match path.split_once('/') {
            Some((bucket, key)) if !key.is_empty() && is_bucket_name(bucket) => Ok(Name {
                bucket: bucket.to_owned(),
                key: key.to_owned(),
                version,
            }),
            _ => {
                let message =
                    "Copy Source must mention the source bucket and key: sourcebucket/sourcekey";
                Err(wrong(message))
            }
        }
    }
}

/// A source that is open: its space is kept from here on.
pub struct Source {
    /// The object.
    pub object: Object,
    /// Its tags.
    pub tags: Vec<Tag>,
    bucket: Rc<Bucket>,
    length: u64,
    reader: BodyReader,
}

/// Which version a copy was made of.
pub struct SourceVersion {
    bucket: Rc<Bucket>,
    version: VersionId,
}

impl SourceVersion {
    /// Names it in an answer, where its bucket keeps or has kept versions.
    pub fn add_to(&self, headers: &mut HeaderMap) {
        versions::add_version(headers, SOURCE_VERSION_ID, &self.bucket, self.version);
    }
}

impl Source {
    /// Which version it is.
    pub fn version(&self) -> SourceVersion {
        SourceVersion {
            bucket: self.bucket.clone(),
            version: self.object.version,
        }
    }
}

/// Finds the source, decides the conditions on it, and opens what `select` wants of it, all on one
/// state of the namespace.
///
/// # Errors
/// `NoSuchBucket`, `NoSuchKey`, `PreconditionFailed`, those of `select`, and `InvalidRequest` for
/// more than 5 GiB.
pub fn open(
    shared: &Shared,
    request: &Request,
    name: &Name,
    select: impl FnOnce(u64) -> Result<Range<u64>, Fault>,
) -> Result<Source, Fault> {
    let bucket = buckets::named(shared, &name.bucket)?;
    check_owner(request, "x-amz-source-expected-bucket-owner", &bucket)?;
    let key = name.key.as_bytes();
    let (object, tags, range, window) = shared.cluster.read(|view| {
        let object = match versions::find(view, &bucket, key, name.version)? {
            Ok(object) => object,
            Err(fault) if fault.code == Code::MethodNotAllowed => return Ok(Err(of_a_marker())),
            Err(mut fault) => {
                // They would be of the destination here.
                fault.headers.clear();
                return Ok(Err(fault));
            }
        };
        let checked = conditions::check_source(&request.headers, &object);
        let range = match checked
            .and_then(|()| select(object.size))
            .and_then(check_length)
        {
            Ok(range) => range,
            Err(fault) => return Ok(Err(fault)),
        };
        let window = first_window(view, &object, &range)?;
        let tags = view.object_tags(&object)?;
        Ok(Ok((object, tags, range, window)))
    })??;
    let length = range.end - range.start;
    let reader = BodyReader::new(shared, &object, range, window);
    Ok(Source {
        object,
        tags,
        bucket,
        length,
        reader,
    })
}

fn of_a_marker() -> Fault {
    let message =
        "The source of a copy request may not specifically refer to a delete marker by version id.";
    Fault::new(Code::InvalidRequest, message)
}

fn check_length(range: Range<u64>) -> Result<Range<u64>, Fault> {
    match range.end - range.start <= PUT_BYTES_MAX {
        true => Ok(range),
        false => Err(Fault::new(
            Code::InvalidRequest,
            format!(
                "The specified copy source is larger than the maximum allowable size for a copy \
                 source: {PUT_BYTES_MAX}"
            ),
        )),
    }
}

/// What a copy came to before it has a name.
pub struct Copied {
    /// Where the bytes are.
    pub body: Body,
    /// How many.
    pub size: u64,
    /// Their tag.
    pub etag: ETag,
    /// Their checksum.
    pub checksum: Checksum,
}

/// Copies the bytes of an open source.
///
/// # Errors
/// Those of reading and writing chunks.
pub async fn transfer(
    source: Source,
    mut writer: ObjectWriter,
    algorithm: ChecksumAlgorithm,
) -> Result<Copied, Fault> {
    let Source {
        length, mut reader, ..
    } = source;
    let (mut md5, mut hasher) = (Md5::default(), Hasher::new(algorithm));
    let mut copied = 0;
    while let Some(bytes) = reader.next().await {
        let bytes = bytes?;
        copied += bytes.len() as u64;
        for piece in bytes.chunks(HASH_BYTES_MAX) {
            md5.update(piece);
            hasher.update(piece);
            reactor::yield_if_due().await;
        }
        writer.write(bytes).await?;
    }
    let body = writer.finish().await?;
    if copied != length || body.length() != length {
        return Err(Fault::from(Code::InternalError).because("a copy is not as long as its source"));
    }
    let checksum = checksum::full_object(algorithm, hasher.finish());
    Ok(Copied {
        body,
        size: length,
        etag: ETag::single(md5.finish()),
        checksum,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sources_are_read_with_and_without_a_slash() {
        let parse = |text| Name::parse(Some(text)).map(|name| (name.bucket, name.key));
        let pair = |bucket: &str, key: &str| (bucket.to_owned(), key.to_owned());
        assert_eq!(parse("/bucket/a%20b/c").unwrap(), pair("bucket", "a b/c"));
        assert_eq!(
            parse("bucket/k?versionId=null").unwrap(),
            pair("bucket", "k")
        );
        assert_eq!(parse("bucket/what%3F").unwrap(), pair("bucket", "what?"));
        assert_eq!(parse("bucket/a+b%2Bc").unwrap(), pair("bucket", "a b+c"));
        for wrong in [
            "",
            "bucket",
            "bucket/",
            "/",
            "b/k",
            "bucket/%zz",
            "arn:aws:s3:x/y",
        ] {
            assert!(parse(wrong).is_err(), "{wrong}");
        }
        let version = |text: &str| {
            let name = Name::parse(Some(&format!("bucket/k?versionId={text}")));
            name.map(|name| name.version).map_err(|fault| fault.code)
        };
        assert_eq!(version("null"), Ok(Some(VersionId::Null)));
        let known = VersionId::Of(7 << 64 | 5);
        assert_eq!(version(&known.to_string()), Ok(Some(known)));
        assert_eq!(version("3"), Err(Code::InvalidArgument));
    }
}
