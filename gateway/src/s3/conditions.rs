//! Conditional requests. Those of reads are decided here, on the state that is read; those of
//! writes go into the command and are decided when it is applied.

use http::HeaderMap;
use strata_raftlog::namespace::command::{ETagMatch, Precondition};
use strata_raftlog::namespace::{ETag, Object};

use crate::dates::{parse_http_date, whole_seconds};
use crate::error::{Code, Fault};

/// The names of the four headers, plain or of the source of a copy.
pub struct Names {
    if_match: &'static str,
    if_none_match: &'static str,
    if_modified_since: &'static str,
    if_unmodified_since: &'static str,
}

/// Of a read.
pub const OF_READ: Names = Names {
    if_match: "if-match",
    if_none_match: "if-none-match",
    if_modified_since: "if-modified-since",
    if_unmodified_since: "if-unmodified-since",
};

/// Of the source of a copy.
pub const OF_SOURCE: Names = Names {
    if_match: "x-amz-copy-source-if-match",
    if_none_match: "x-amz-copy-source-if-none-match",
    if_modified_since: "x-amz-copy-source-if-modified-since",
    if_unmodified_since: "x-amz-copy-source-if-unmodified-since",
};

/// Decides the conditions of a read, in the order of RFC 9110: a tag goes before a date.
///
/// # Errors
/// `PreconditionFailed` or `NotModified`.
pub fn check_read(headers: &HeaderMap, names: &Names, object: &Object) -> Result<(), Fault> {
    let modified = whole_seconds(object.modified_nanos);
    if let Some(condition) = tags(headers, names.if_match) {
        if !matches(&condition, object.etag) {
            return Err(failed(names.if_match));
        }
    } else if let Some(date) = date(headers, names.if_unmodified_since)
        && modified > date
    {
        return Err(failed(names.if_unmodified_since));
    }
    if let Some(condition) = tags(headers, names.if_none_match) {
        if matches(&condition, object.etag) {
            return Err(Code::NotModified.into());
        }
    } else if let Some(date) = date(headers, names.if_modified_since)
        && modified <= date
    {
        return Err(Code::NotModified.into());
    }
    Ok(())
}

/// Decides the conditions on the source of a copy, where nothing is ever "not modified".
///
/// # Errors
/// `PreconditionFailed`.
pub fn check_source(headers: &HeaderMap, object: &Object) -> Result<(), Fault> {
    check_read(headers, &OF_SOURCE, object).map_err(|fault| match fault.code {
        Code::NotModified => failed(OF_SOURCE.if_none_match),
        _ => fault,
    })
}

/// The conditions of a write, for the command.
///
/// # Errors
/// `NotImplemented` for `If-None-Match` with anything but `*`, or beside `If-Match`, as AWS answers, and for a second `If-Match`.
pub fn of_write(headers: &HeaderMap) -> Result<Precondition, Fault> {
    let mut unless = headers.get_all("if-none-match").iter();
    let is_served = match (unless.next(), unless.next()) {
        (None, _) => true,
        (Some(value), None) => {
            value.as_bytes().trim_ascii() == b"*" && !headers.contains_key("if-match")
        }
        (Some(_), Some(_)) => false,
    };
    if !is_served {
        return Err(Fault::header_not_implemented("If-None-Match"));
    }
    // A policy is asked about one.
    if headers.get_all("if-match").iter().count() > 1 {
        return Err(Fault::header_not_implemented("If-Match"));
    }
    Ok(Precondition {
        if_match: tags(headers, "if-match"),
        if_none_match: tags(headers, "if-none-match"),
    })
}

/// Whether `If-Range` lets a range through: it names the object as it is, or is not there.
pub fn allows_range(headers: &HeaderMap, object: &Object) -> bool {
    let Some(value) = headers.get("if-range") else {
        return true;
    };
    if let Some(date) = date(headers, "if-range") {
        return whole_seconds(object.modified_nanos) <= date;
    }
    value.to_str().ok().and_then(ETag::parse) == Some(object.etag)
}

/// Whether a tag meets a condition.
pub fn matches(condition: &ETagMatch, etag: ETag) -> bool {
    match condition {
        ETagMatch::Any => true,
        ETagMatch::OneOf(tags) => tags.contains(&etag),
    }
}

fn failed(condition: &str) -> Fault {
    Fault::from(Code::PreconditionFailed).detail("Condition", condition)
}

/// A list of tags. What is no tag of ours matches nothing, so it is left out of the list, which
/// may then be empty.
fn tags(headers: &HeaderMap, name: &str) -> Option<ETagMatch> {
    if !headers.contains_key(name) {
        return None;
    }
    let mut tags = Vec::new();
    for value in headers.get_all(name) {
        for tag in value.to_str().unwrap_or_default().split(',').map(str::trim) {
            if tag == "*" {
                return Some(ETagMatch::Any);
            }
            tags.extend(ETag::parse(tag.strip_prefix("W/").unwrap_or(tag)));
        }
    }
    Some(ETagMatch::OneOf(tags))
}

/// A date in whole seconds since the Unix epoch; what is malformed is ignored.
fn date(headers: &HeaderMap, name: &str) -> Option<i64> {
    parse_http_date(headers.get(name)?.to_str().ok()?)
}

#[cfg(test)]
mod tests {
    use super::*;
    use http::{HeaderName, HeaderValue};
    use strata_raftlog::namespace::{ObjectAttributes, ObjectLock, VersionId};

    /// Changed at 1994-11-15 12:45:26.5.
    fn object() -> Object {
        Object {
            inode: 1,
            size: 3,
            etag: ETag::single(crate::md5::digest(b"abc")),
            checksum: None,
            modified_nanos: 784_903_526_500_000_000,
            owner: 1,
            commit_sequence: 1,
            attributes: ObjectAttributes::default(),
            tag_count: 0,
            has_access_list: false,
            lock: ObjectLock::NONE,
            version: VersionId::Null,
        }
    }

    fn check(pairs: &[(&'static str, &str)]) -> Result<(), Code> {
        let pairs = pairs.iter().map(|(name, value)| {
            (
                HeaderName::from_static(name),
                HeaderValue::from_str(value).unwrap(),
            )
        });
        let headers: HeaderMap = pairs.collect();
        check_read(&headers, &OF_READ, &object()).map_err(|fault| fault.code)
    }

    #[test]
    fn a_write_is_conditional_on_a_tag_or_on_nothing_there() {
        let code = |pairs: &[(&'static str, &'static str)]| {
            let mut headers = HeaderMap::new();
            for (name, value) in pairs {
                headers.append(*name, HeaderValue::from_static(value));
            }
            of_write(&headers).map_err(|fault| fault.code)
        };
        let any = Some(ETagMatch::Any);
        let only = |if_match, if_none_match| {
            Ok(Precondition {
                if_match,
                if_none_match,
            })
        };
        assert_eq!(code(&[]), only(None, None));
        assert_eq!(code(&[("if-none-match", " *")]), only(None, any.clone()));
        assert_eq!(code(&[("if-match", "*")]), only(any, None));
        for refused in [
            &[("if-none-match", TAG)][..],
            &[("if-none-match", "")],
            &[("if-none-match", "*, *")],
            &[("if-none-match", "*"), ("if-none-match", "*")],
            &[("if-none-match", "*"), ("if-match", TAG)],
            &[("if-none-match", TAG), ("if-match", TAG)],
            &[("if-match", TAG), ("if-match", TAG)],
        ] {
            assert_eq!(code(refused), Err(Code::NotImplemented), "{refused:?}");
        }
    }

    const TAG: &str = "\"900150983cd24fb0d6963f7d28e17f72\"";
    const OTHER: &str = "\"d41d8cd98f00b204e9800998ecf8427e\"";
    const THEN: &str = "Tue, 15 Nov 1994 12:45:26 GMT";
    const BEFORE: &str = "Tue, 15 Nov 1994 12:45:25 GMT";

    #[test]
    fn tags_decide() {
        assert_eq!(check(&[]), Ok(()));
        assert_eq!(check(&[("if-match", TAG)]), Ok(()));
        assert_eq!(check(&[("if-match", "*")]), Ok(()));
        assert_eq!(check(&[("if-match", OTHER)]), Err(Code::PreconditionFailed));
        assert_eq!(
            check(&[("if-match", "\"nonsense\"")]),
            Err(Code::PreconditionFailed)
        );
        assert_eq!(check(&[("if-none-match", OTHER)]), Ok(()));
        assert_eq!(check(&[("if-none-match", TAG)]), Err(Code::NotModified));
        let list = format!("{OTHER}, W/{TAG}");
        assert_eq!(check(&[("if-none-match", &list)]), Err(Code::NotModified));
    }

    #[test]
    fn dates_decide_by_the_second() {
        assert_eq!(
            check(&[("if-modified-since", THEN)]),
            Err(Code::NotModified)
        );
        assert_eq!(check(&[("if-modified-since", BEFORE)]), Ok(()));
        assert_eq!(check(&[("if-modified-since", "yesterday")]), Ok(()));
        assert_eq!(check(&[("if-unmodified-since", THEN)]), Ok(()));
        assert_eq!(
            check(&[("if-unmodified-since", BEFORE)]),
            Err(Code::PreconditionFailed)
        );
    }

    #[test]
    fn a_tag_goes_before_a_date() {
        assert_eq!(
            check(&[("if-match", TAG), ("if-unmodified-since", BEFORE)]),
            Ok(())
        );
        assert_eq!(
            check(&[("if-none-match", OTHER), ("if-modified-since", THEN)]),
            Ok(())
        );
        let both = [("if-none-match", TAG), ("if-modified-since", BEFORE)];
        assert_eq!(check(&both), Err(Code::NotModified));
    }
}
