//! Percent-encoding (RFC 3986) as AWS uses it in paths, queries, signatures and listings.

use std::borrow::Cow;

use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, percent_decode, percent_encode};

/// All but the unreserved characters.
const UNRESERVED: &AsciiSet = &NON_ALPHANUMERIC
    .remove(b'-')
    .remove(b'.')
    .remove(b'_')
    .remove(b'~');

/// The same without `/`, which separates the parts of a path.
const PATH: &AsciiSet = &UNRESERVED.remove(b'/');

/// Encodes all bytes but letters, digits, `-`, `.`, `_` and `~`.
pub fn encode(bytes: &[u8]) -> Cow<'_, str> {
    percent_encode(bytes, UNRESERVED).into()
}

/// Encodes as [`encode`] does, and keeps `/`.
pub fn encode_path(bytes: &[u8]) -> Cow<'_, str> {
    percent_encode(bytes, PATH).into()
}

/// Undoes the encoding; `None` where a `%` is not followed by two hexadecimal digits or the result
/// is not UTF-8.
pub fn decode(text: &str) -> Option<Cow<'_, str>> {
    let mut escapes = text.split('%').skip(1).map(str::as_bytes);
    let is_escape = |rest: &[u8]| {
        let digits = rest.get(..2);
        digits.is_some_and(|digits| digits.iter().all(u8::is_ascii_hexdigit))
    };
    match escapes.all(is_escape) {
        true => percent_decode(text.as_bytes()).decode_utf8().ok(),
        false => None,
    }
}

/// Undoes the encoding of a form, in which `+` is a space.
pub fn decode_form(text: &str) -> Option<Cow<'_, str>> {
    match text.contains('+') {
        true => Some(Cow::Owned(decode(&text.replace('+', " "))?.into_owned())),
        false => decode(text),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn malformed_encoding_is_refused() {
        for text in ["%", "%4", "a%4", "%zz", "%ff", "%é1"] {
            assert_eq!(decode(text), None, "{text}");
        }
        assert_eq!(decode("%41%C3%A9+").as_deref(), Some("Aé+"));
        assert_eq!(decode_form("%41+%2B").as_deref(), Some("A +"));
    }

    proptest! {
        #[test]
        fn encoding_is_undone_by_decoding(text in ".{0,40}") {
            for encoded in [encode(text.as_bytes()), encode_path(text.as_bytes())] {
                let decoded = decode(&encoded);
                prop_assert_eq!(decoded.as_deref(), Some(text.as_str()));
            }
        }
    }
}
