//! The tags of a bucket: `PutBucketTagging`, `GetBucketTagging`, `DeleteBucketTagging`.
//!
//! Their rules are those of AWS (API reference of `PutBucketTagging`, and the user guide on cost allocation tags).

use std::collections::BTreeSet;

use strata_raftlog::namespace::command::SetBucketSetting;
use strata_raftlog::namespace::setting;

use super::{Shared, buckets};
use crate::error::{Code, Fault};
use crate::request::Request;
use crate::response::Response;
use crate::xml;

/// Tags of a bucket at most.
const TAGS_MAX: usize = 50;

/// Characters of a tag's key and of its value at most.
const KEY_CHARACTERS_MAX: usize = 128;
const VALUE_CHARACTERS_MAX: usize = 256;

/// Keys with this at their head are AWS's own, in any case of the letters.
const RESERVED_PREFIX: &str = "aws:";

/// A tag: its key and its value.
type Tag = (String, String);

/// `PutBucketTagging`: replaces all tags.
///
/// # Errors
/// `InvalidTag`, `MalformedXML`, and as every handler.
pub async fn put(shared: &Shared, request: &Request) -> Result<Response, Fault> {
    let bucket = buckets::find(shared, request)?.inode;
    let tags = read(&request.xml)?;
    check(&tags)?;
    set(shared, bucket, Some(document(&tags).finish().to_vec())).await
}

/// `DeleteBucketTagging`: no tags are no error.
///
/// # Errors
/// As every handler.
pub async fn delete(shared: &Shared, request: &Request) -> Result<Response, Fault> {
    let bucket = buckets::find(shared, request)?.inode;
    set(shared, bucket, None).await
}

/// `GetBucketTagging`.
///
/// # Errors
/// `NoSuchTagSet`, and as every handler.
pub async fn get(shared: &Shared, request: &Request) -> Result<Response, Fault> {
    let bucket = buckets::find(shared, request)?;
    let stored = shared
        .cluster
        .read(|view| view.bucket_setting(bucket.inode, setting::TAGS))?;
    let Some(stored) = stored else {
        return Err(Fault::from(Code::NoSuchTagSet).detail("BucketName", &bucket.name));
    };
    let tags = read(&stored).map_err(|fault| {
        Fault::from(Code::InternalError).because(format!("stored tags: {}", fault.message))
    })?;
    Ok(Response::xml(document(&tags)))
}

async fn set(shared: &Shared, bucket: u64, document: Option<Vec<u8>>) -> Result<Response, Fault> {
    let command = SetBucketSetting {
        bucket,
        setting: setting::TAGS,
        document,
    };
    shared.cluster.submit(command).await?;
    Ok(Response::no_content())
}

/// The tags of a document, in its order.
fn read(xml: &[u8]) -> Result<Vec<Tag>, Fault> {
    let mut xml = xml::Reader::open(xml, "Tagging")?;
    let mut sets = 0;
    let mut tags = Vec::new();
    while let Some(name) = xml.child()? {
        if name != "TagSet" {
            return Err(Code::MalformedXML.into());
        }
        sets += 1;
        while let Some(name) = xml.child()? {
            if name != "Tag" || tags.len() > TAGS_MAX {
                return Err(Code::MalformedXML.into());
            }
            tags.push(read_tag(&mut xml)?);
        }
    }
    xml.end()?;
    match sets {
        1 => Ok(tags),
        _ => Err(Code::MalformedXML.into()),
    }
}

fn read_tag(xml: &mut xml::Reader<'_>) -> Result<Tag, Fault> {
    let (mut key, mut value) = (None, None);
    while let Some(name) = xml.child()? {
        let part = match name.as_str() {
            "Key" => &mut key,
            "Value" => &mut value,
            _ => return Err(Code::MalformedXML.into()),
        };
        if part.replace(xml.text()?).is_some() {
            return Err(Code::MalformedXML.into());
        }
    }
    key.zip(value).ok_or_else(|| Code::MalformedXML.into())
}

fn check(tags: &[Tag]) -> Result<(), Fault> {
    let invalid = |message: &'static str| Err(Fault::new(Code::InvalidTag, message));
    if tags.len() > TAGS_MAX {
        return invalid("A bucket can have at most 50 tags.");
    }
    let mut keys = BTreeSet::new();
    for (key, value) in tags {
        if !(1..=KEY_CHARACTERS_MAX).contains(&key.chars().count()) || !key.chars().all(is_allowed)
        {
            return invalid("The TagKey you have provided is invalid");
        }
        if value.chars().count() > VALUE_CHARACTERS_MAX || !value.chars().all(is_allowed) {
            return invalid("The TagValue you have provided is invalid");
        }
        let head = key.get(..RESERVED_PREFIX.len());
        if head.is_some_and(|head| head.eq_ignore_ascii_case(RESERVED_PREFIX)) {
            return invalid("System tags cannot be added/updated by requester");
        }
        if !keys.insert(key) {
            return invalid("Cannot provide multiple Tags with the same key");
        }
    }
    Ok(())
}

/// Letters, digits, spaces and `+ - = . _ : / @`.
fn is_allowed(character: char) -> bool {
    character.is_alphanumeric() || character.is_whitespace() || "+-=._:/@".contains(character)
}

fn document(tags: &[Tag]) -> xml::Writer {
    let mut xml = xml::Writer::new("Tagging");
    xml.open("TagSet");
    for (key, value) in tags {
        xml.open("Tag");
        xml.element("Key", key);
        xml.element("Value", value);
        xml.close("Tag");
    }
    xml.close("TagSet");
    xml
}

#[cfg(test)]
mod tests {
    use super::*;

    fn outcome(xml: &str) -> Result<Vec<Tag>, Code> {
        let tags = read(xml.as_bytes()).and_then(|tags| check(&tags).map(|()| tags));
        tags.map_err(|fault| fault.code)
    }

    fn tag(key: &str, value: &str) -> String {
        format!("<Tag><Key>{key}</Key><Value>{value}</Value></Tag>")
    }

    fn of(tags: &str) -> Result<Vec<Tag>, Code> {
        outcome(&format!("<Tagging><TagSet>{tags}</TagSet></Tagging>"))
    }

    #[test]
    fn what_is_written_is_read_again() {
        let tags = of(&[tag("a b", ""), tag("ä+-=._:/@", "1")].concat()).unwrap();
        assert_eq!(tags[1], ("ä+-=._:/@".to_owned(), "1".to_owned()));
        assert_eq!(read(&document(&tags).finish()).unwrap(), tags);
        assert_eq!(of(""), Ok(Vec::new()));
    }

    #[test]
    fn tags_that_aws_refuses_are_refused() {
        let long = |count| "k".repeat(count);
        assert!(of(&tag(&long(128), &long(256))).is_ok());
        for tags in [
            tag("", "v"),
            tag(&long(129), "v"),
            tag("k", &long(257)),
            tag("aws:k", "v"),
            tag("AWS:k", "v"),
            tag("k!", "v"),
            tag("k", "{v}"),
            [tag("k", "1"), tag("k", "2")].concat(),
            (0..51).map(|at| tag(&at.to_string(), "v")).collect(),
        ] {
            assert_eq!(of(&tags), Err(Code::InvalidTag), "{tags}");
        }
        for xml in [
            "<Tagging/>",
            "<Tagging><TagSet/><TagSet/></Tagging>",
            "<Tagging><TagSet><Tag><Key>k</Key></Tag></TagSet></Tagging>",
            "<Tagging><TagSet><Tag><Key>k</Key><Key>k</Key><Value/></Tag></TagSet></Tagging>",
            "<Tagging><TagSet><Other/></TagSet></Tagging>",
        ] {
            assert_eq!(outcome(xml), Err(Code::MalformedXML), "{xml}");
        }
    }
}
