//! Tags of buckets and objects: the rules for them, the document `Tagging`, and the header `x-amz-tagging`.
//!
//! Invariants: this is the one place that knows what a tag may be; a document is read and written in the order of its tags. The rules
//! are those of AWS: API reference of `PutBucketTagging` and `PutObjectTagging`, user guide on cost allocation tags and "Categorizing your
//! objects using tags".

use std::collections::BTreeSet;

use http::HeaderMap;
use strata_raftlog::namespace::{OBJECT_TAGS_MAX, Tag};

use crate::error::{Code, Fault};
use crate::query::Query;
use crate::xml;

/// The tags of what is put.
pub const HEADER: &str = "x-amz-tagging";

/// Tags of a bucket at most.
const BUCKET_TAGS_MAX: usize = 50;

/// Characters of a tag's key and of its value at most.
const KEY_CHARACTERS_MAX: usize = 128;
const VALUE_CHARACTERS_MAX: usize = 256;

/// Keys with this at their head are AWS's own, in any case of the letters.
const RESERVED_PREFIX: &str = "aws:";

/// What has the tags.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum TagsOf {
    /// A bucket.
    Bucket,
    /// An object, or an upload that becomes one.
    Object,
}

impl TagsOf {
    fn count_max(self) -> usize {
        match self {
            TagsOf::Bucket => BUCKET_TAGS_MAX,
            TagsOf::Object => OBJECT_TAGS_MAX,
        }
    }

    fn too_many(self) -> Fault {
        match self {
            TagsOf::Bucket => Fault::new(Code::InvalidTag, "A bucket can have at most 50 tags."),
            TagsOf::Object => Fault::new(Code::BadRequest, "Object tags cannot be greater than 10"),
        }
    }
}

/// The tags of a document that a client has sent.
///
/// # Errors
/// `MalformedXML`; `InvalidTag` for a tag that may not be; for too many of them `InvalidTag` (bucket) or `BadRequest` (object).
pub fn of_document(xml: &[u8], of: TagsOf) -> Result<Vec<Tag>, Fault> {
    let tags = read(xml, of)?;
    check(&tags)?;
    Ok(tags)
}

/// The tags of a document that was checked before, when it was stored.
///
/// # Errors
/// As [`of_document`], but for what a tag may be.
pub fn read(xml: &[u8], of: TagsOf) -> Result<Vec<Tag>, Fault> {
    let mut xml = xml::Reader::open(xml, "Tagging")?;
    let mut sets = 0;
    let mut tags = Vec::new();
    while let Some(name) = xml.child()? {
        if name != "TagSet" {
            return Err(Code::MalformedXML.into());
        }
        sets += 1;
        while let Some(name) = xml.child()? {
            if name != "Tag" {
                return Err(Code::MalformedXML.into());
            }
            if tags.len() == of.count_max() {
                return Err(of.too_many());
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
    match (key, value) {
        (Some(key), Some(value)) => Ok(Tag { key, value }),
        _ => Err(Code::MalformedXML.into()),
    }
}

/// The tags that the headers of a request give an object: a query string, as in an address.
///
/// # Errors
/// `InvalidArgument` for what is no such string and for a key that is there twice, `InvalidTag`, `BadRequest` for too many.
pub fn of_headers(headers: &HeaderMap) -> Result<Vec<Tag>, Fault> {
    let Some(value) = headers.get(HEADER) else {
        return Ok(Vec::new());
    };
    let text = value.to_str().map_err(|_| malformed(""))?;
    let query = Query::parse(text).map_err(|_| malformed(text))?;
    let mut keys = BTreeSet::new();
    if !query.pairs().iter().all(|(key, _)| keys.insert(key)) {
        return Err(malformed(text));
    }
    if keys.len() > TagsOf::Object.count_max() {
        return Err(TagsOf::Object.too_many());
    }
    let pairs = query.pairs().iter().cloned();
    let tags: Vec<Tag> = pairs.map(|(key, value)| Tag { key, value }).collect();
    check(&tags)?;
    Ok(tags)
}

fn malformed(text: &str) -> Fault {
    let message = "The header 'x-amz-tagging' shall be encoded as UTF-8 then URLEncoded URL query \
                   parameters without tag name duplicates.";
    Fault::argument(HEADER, text, message)
}

fn check(tags: &[Tag]) -> Result<(), Fault> {
    let invalid = |message: &'static str| Err(Fault::new(Code::InvalidTag, message));
    let mut keys = BTreeSet::new();
    for Tag { key, value } in tags {
        if !(1..=KEY_CHARACTERS_MAX).contains(&length(key)) || !key.chars().all(is_allowed) {
            return invalid("The TagKey you have provided is invalid");
        }
        if length(value) > VALUE_CHARACTERS_MAX || !value.chars().all(is_allowed) {
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

/// How long a text is for AWS, which counts units of UTF-16 (user guide, "Categorizing your objects using tags").
fn length(text: &str) -> usize {
    text.encode_utf16().count()
}

/// Letters, digits, spaces and `+ - = . _ : / @`.
fn is_allowed(character: char) -> bool {
    let is_space = character.is_whitespace() && !character.is_control();
    character.is_alphanumeric() || is_space || "+-=._:/@".contains(character)
}

/// The document of tags.
pub fn document(tags: &[Tag]) -> xml::Writer {
    let mut xml = xml::Writer::new("Tagging");
    xml.open("TagSet");
    for tag in tags {
        xml.open("Tag");
        xml.element("Key", &tag.key);
        xml.element("Value", &tag.value);
        xml.close("Tag");
    }
    xml.close("TagSet");
    xml
}

#[cfg(test)]
mod tests {
    use http::HeaderValue;
    use proptest::prelude::*;

    use super::*;
    use crate::percent;

    fn outcome(xml: &str, of: TagsOf) -> Result<Vec<Tag>, Code> {
        of_document(xml.as_bytes(), of).map_err(|fault| fault.code)
    }

    fn tag(key: &str, value: &str) -> String {
        format!("<Tag><Key>{key}</Key><Value>{value}</Value></Tag>")
    }

    fn of(tags: &str) -> Result<Vec<Tag>, Code> {
        outcome(
            &format!("<Tagging><TagSet>{tags}</TagSet></Tagging>"),
            TagsOf::Object,
        )
    }

    fn header(text: &str) -> Result<Vec<Tag>, Fault> {
        let mut headers = HeaderMap::new();
        headers.insert(HEADER, HeaderValue::from_bytes(text.as_bytes()).unwrap());
        of_headers(&headers)
    }

    fn pairs(tags: &[Tag]) -> Vec<(&str, &str)> {
        tags.iter()
            .map(|tag| (tag.key.as_str(), tag.value.as_str()))
            .collect()
    }

    #[test]
    fn what_is_written_is_read_again() {
        let tags = of(&[tag("a b", ""), tag("ä+-=._:/@", "1")].concat()).unwrap();
        assert_eq!(pairs(&tags), [("a b", ""), ("ä+-=._:/@", "1")]);
        let again = of_document(&document(&tags).finish(), TagsOf::Object);
        assert_eq!(again.unwrap(), tags);
        assert_eq!(of(""), Ok(Vec::new()));
    }

    #[test]
    fn tags_that_aws_refuses_are_refused() {
        let long = |count| "k".repeat(count);
        assert!(of(&tag(&long(128), &long(256))).is_ok());
        assert!(of(&tag(&"é".repeat(128), &"é".repeat(256))).is_ok());
        for tags in [
            tag("", "v"),
            tag(&long(129), "v"),
            tag("k", &long(257)),
            tag("aws:k", "v"),
            tag("AWS:k", "v"),
            tag("k!", "v"),
            tag("k", "{v}"),
            [tag("k", "1"), tag("k", "2")].concat(),
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
            assert_eq!(
                outcome(xml, TagsOf::Bucket),
                Err(Code::MalformedXML),
                "{xml}"
            );
        }
    }

    #[test]
    fn a_bucket_has_up_to_50_tags_and_an_object_up_to_10() {
        for (whose, most, code) in [
            (TagsOf::Bucket, 50, Code::InvalidTag),
            (TagsOf::Object, 10, Code::BadRequest),
        ] {
            let xml = |count: usize| {
                let tags: String = (0..count).map(|at| tag(&at.to_string(), "v")).collect();
                format!("<Tagging><TagSet>{tags}</TagSet></Tagging>")
            };
            assert_eq!(outcome(&xml(most), whose).map(|tags| tags.len()), Ok(most));
            assert_eq!(outcome(&xml(most + 1), whose), Err(code));
        }
        let text: Vec<String> = (0..11).map(|at| format!("k{at}=v")).collect();
        assert_eq!(header(&text[1..].join("&")).unwrap().len(), 10);
        let fault = header(&text.join("&")).unwrap_err();
        assert_eq!(fault.code, Code::BadRequest);
        assert_eq!(fault.message, "Object tags cannot be greater than 10");
    }

    #[test]
    fn the_header_is_a_query_string() {
        for (text, expected) in [
            ("", &[][..]),
            (
                "team=storage+more&stage=",
                &[("team", "storage more"), ("stage", "")],
            ),
            ("flag", &[("flag", "")]),
            ("a%2Bb=%C3%A4%3D", &[("a+b", "ä=")]),
            ("a=b=c", &[("a", "b=c")]),
        ] {
            assert_eq!(pairs(&header(text).unwrap()), expected, "{text}");
        }
        assert_eq!(of_headers(&HeaderMap::new()).unwrap(), []);
        for (text, code) in [
            ("a=1&a=2", Code::InvalidArgument),
            ("a=%zz", Code::InvalidArgument),
            ("a=%ff", Code::InvalidArgument),
            ("ä=1", Code::InvalidArgument),
            ("=v", Code::InvalidTag),
            ("a=%7B", Code::InvalidTag),
            // A space for Unicode, and a character that no XML document may hold.
            ("a=%0B", Code::InvalidTag),
            ("a=%0A", Code::InvalidTag),
            ("a=%C2%85", Code::InvalidTag),
            ("aws%3Aa=1", Code::InvalidTag),
        ] {
            assert_eq!(header(text).unwrap_err().code, code, "{text}");
        }
        let fault = header("a&a").unwrap_err();
        assert!(fault.message.ends_with("without tag name duplicates."));
        assert_eq!(fault.details[0].1, HEADER);
    }

    proptest! {
        #[test]
        fn what_is_encoded_is_read(key in "[a-zé0-9 :/@+=.-]{1,20}", value in "[a-zé0-9 :/@+=.-]{0,20}") {
            prop_assume!(!key.starts_with("aws:"));
            let text = format!("{}={}", percent::encode(key.as_bytes()), percent::encode(value.as_bytes()));
            prop_assert_eq!(header(&text).unwrap(), [Tag { key, value }]);
        }
    }
}
