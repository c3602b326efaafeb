//! `Range` of a GET.
//!
//! One range is served. What is malformed or asks for several is ignored and the whole object is
//! answered, as HTTP wants it and AWS does; a range beyond the end is an error.

use std::ops::Range;

/// What a request asks for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Asked {
    /// From the first byte to the last, both included.
    Between(u64, u64),
    /// From a byte on.
    From(u64),
    /// The last so many bytes.
    Last(u64),
}

/// Reads the header; `None` where it is to be ignored.
pub fn parse(header: &str) -> Option<Asked> {
    let (unit, spec) = header.split_once('=')?;
    if !unit.trim().eq_ignore_ascii_case("bytes") {
        return None;
    }
    let (first, last) = spec.trim().split_once('-')?;
    match (first.trim(), last.trim()) {
        ("", last) => Some(Asked::Last(number(last)?)),
        (first, "") => Some(Asked::From(number(first)?)),
        (first, last) => {
            let (first, last) = (number(first)?, number(last)?);
            (first <= last).then_some(Asked::Between(first, last))
        }
    }
}

/// The bytes of an object of that size that are asked for; `None` where there are none.
pub fn resolve(asked: Asked, size: u64) -> Option<Range<u64>> {
    let range = match asked {
        Asked::Between(first, last) => first..last.saturating_add(1).min(size),
        Asked::From(first) => first..size,
        Asked::Last(count) => size.saturating_sub(count)..size,
    };
    (range.start < range.end).then_some(range)
}

/// Whether an object of that size is answered whole although nothing of it can be a range: the last
/// bytes of one that has none.
pub fn is_all_of_nothing(asked: Asked, size: u64) -> bool {
    size == 0 && matches!(asked, Asked::Last(1..))
}

/// `Content-Range` of an answer.
pub fn content_range(range: &Range<u64>, size: u64) -> String {
    format!("bytes {}-{}/{size}", range.start, range.end - 1)
}

fn number(text: &str) -> Option<u64> {
    let is_plain = !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
    is_plain.then(|| text.parse().unwrap_or(u64::MAX))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn bytes(header: &str, size: u64) -> Option<Option<Range<u64>>> {
        parse(header).map(|asked| resolve(asked, size))
    }

    #[test]
    fn one_range_is_understood() {
        assert_eq!(bytes("bytes=0-9", 100), Some(Some(0..10)));
        assert_eq!(bytes("bytes=90-200", 100), Some(Some(90..100)));
        assert_eq!(bytes("bytes=99-", 100), Some(Some(99..100)));
        assert_eq!(bytes("bytes=-10", 100), Some(Some(90..100)));
        assert_eq!(bytes("bytes=-1000", 100), Some(Some(0..100)));
        assert_eq!(bytes("bytes=0-18446744073709551615", 5), Some(Some(0..5)));
        assert_eq!(
            bytes("bytes=0-99999999999999999999999", 5),
            Some(Some(0..5))
        );
    }

    #[test]
    fn beyond_the_end_there_is_nothing() {
        for header in ["bytes=100-", "bytes=100-200", "bytes=-0"] {
            assert_eq!(bytes(header, 100), Some(None), "{header}");
        }
        assert_eq!(bytes("bytes=0-0", 0), Some(None));
        let of_nothing = |header| parse(header).is_some_and(|asked| is_all_of_nothing(asked, 0));
        assert!(of_nothing("bytes=-1") && of_nothing("bytes=-524288"));
        assert!(!of_nothing("bytes=-0") && !of_nothing("bytes=0-0"));
        assert!(!is_all_of_nothing(Asked::Last(1), 1));
    }

    #[test]
    fn the_rest_is_ignored() {
        for header in [
            "",
            "bytes",
            "bytes=",
            "bytes=a-b",
            "bytes=5-3",
            "lines=1-2",
            "bytes=0-1,3-4",
        ] {
            assert_eq!(parse(header), None, "{header}");
        }
    }

    #[test]
    fn the_answer_names_the_last_byte() {
        assert_eq!(content_range(&(0..10), 100), "bytes 0-9/100");
    }
}
