//! Percent-encoding, and the query string of a request in its order.

use std::borrow::Cow;

/// A query string, decoded.
#[derive(Debug, Clone, Default)]
pub struct Query {
    pairs: Vec<(String, String)>,
}

impl Query {
    /// Decodes a raw query string; `None` where it is not UTF-8 or not well encoded.
    pub fn parse(raw: &str) -> Option<Query> {
        let mut pairs = Vec::new();
        for pair in raw.split('&').filter(|pair| !pair.is_empty()) {
            let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
            pairs.push((decode_form(name)?, decode_form(value)?));
        }
        Some(Query { pairs })
    }

    /// Whether a parameter is there.
    pub fn has(&self, name: &str) -> bool {
        self.get(name).is_some()
    }

    /// The first value of a parameter.
    pub fn get(&self, name: &str) -> Option<&str> {
        self.pairs
            .iter()
            .find(|(found, _)| found == name)
            .map(|(_, value)| value.as_str())
    }

    /// All parameters.
    pub fn pairs(&self) -> &[(String, String)] {
        &self.pairs
    }

    /// Encodes the parameters that `keep` lets through, as a query string without `?`.
    pub fn encode(&self, keep: impl Fn(&str) -> bool) -> String {
        let mut text = String::new();
        for (name, value) in self.pairs.iter().filter(|(name, _)| keep(name)) {
            if !text.is_empty() {
                text.push('&');
            }
            encode_into(&mut text, name.as_bytes(), false);
            text.push('=');
            encode_into(&mut text, value.as_bytes(), false);
        }
        text
    }
}

fn decode_form(text: &str) -> Option<String> {
    match text.contains('+') {
        true => decode(&text.replace('+', " ")),
        false => decode(text),
    }
}

/// Undoes percent-encoding; `None` where the result is not UTF-8 or a `%` is not followed by two
/// hexadecimal digits.
pub fn decode(text: &str) -> Option<String> {
    if !text.contains('%') {
        return Some(text.to_owned());
    }
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let Some((&byte, tail)) = rest.split_first() {
        if byte != b'%' {
            bytes.push(byte);
            rest = tail;
            continue;
        }
        let (high, low) = (hex_digit(*tail.first()?)?, hex_digit(*tail.get(1)?)?);
        bytes.push(high << 4 | low);
        rest = &tail[2..];
    }
    String::from_utf8(bytes).ok()
}

fn hex_digit(byte: u8) -> Option<u8> {
    char::from(byte).to_digit(16).map(|digit| digit as u8)
}

/// Percent-encodes all bytes but letters, digits, `-`, `.`, `_`, `~`, and `/` where it is kept.
pub fn encode(bytes: &[u8], keep_slash: bool) -> String {
    let mut text = String::with_capacity(bytes.len() + 16);
    encode_into(&mut text, bytes, keep_slash);
    text
}

fn encode_into(text: &mut String, bytes: &[u8], keep_slash: bool) {
    const DIGITS: &[u8; 16] = b"0123456789ABCDEF";
    for &byte in bytes {
        let plain = byte.is_ascii_alphanumeric()
            || matches!(byte, b'-' | b'.' | b'_' | b'~')
            || (keep_slash && byte == b'/');
        if plain {
            text.push(char::from(byte));
        } else {
            text.push('%');
            text.push(char::from(DIGITS[usize::from(byte >> 4)]));
            text.push(char::from(DIGITS[usize::from(byte & 15)]));
        }
    }
}

/// Lower-case hexadecimal.
pub fn hex(bytes: &[u8]) -> String {
    const DIGITS: &[u8; 16] = b"0123456789abcdef";
    let mut text = String::with_capacity(bytes.len() * 2);
    for &byte in bytes {
        text.push(char::from(DIGITS[usize::from(byte >> 4)]));
        text.push(char::from(DIGITS[usize::from(byte & 15)]));
    }
    text
}

/// Reads lower-case or upper-case hexadecimal of exactly 32 bytes.
pub fn parse_hex_32(text: &str) -> Option<[u8; 32]> {
    let bytes = text.as_bytes();
    if bytes.len() != 64 {
        return None;
    }
    let mut value = [0; 32];
    for (byte, pair) in value.iter_mut().zip(bytes.chunks_exact(2)) {
        *byte = hex_digit(pair[0])? << 4 | hex_digit(pair[1])?;
    }
    Some(value)
}

/// A key as it stands in an answer: percent-encoded where the client asked for it.
pub fn encode_key(key: &[u8], encoded: bool) -> String {
    match encoded {
        true => encode(key, true),
        false => match String::from_utf8_lossy(key) {
            Cow::Borrowed(text) => text.to_owned(),
            Cow::Owned(text) => text,
        },
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn a_query_keeps_its_order_and_decodes_plus() {
        let query = Query::parse("prefix=a%2Fb+c&uploads&x=1&x=2&&e=").unwrap();
        assert_eq!(query.get("prefix"), Some("a/b c"));
        assert_eq!(query.get("uploads"), Some(""));
        assert_eq!(query.get("x"), Some("1"));
        assert_eq!(query.pairs().len(), 5);
        assert_eq!(query.encode(|name| name == "prefix"), "prefix=a%2Fb%20c");
    }

    #[test]
    fn malformed_encoding_is_refused() {
        assert_eq!(decode("%"), None);
        assert_eq!(decode("%4"), None);
        assert_eq!(decode("%zz"), None);
        assert_eq!(decode("%ff"), None);
        assert_eq!(decode("%41%C3%A9"), Some("Aé".into()));
    }

    proptest! {
        #[test]
        fn encoding_is_undone_by_decoding(text in ".{0,40}", keep in any::<bool>()) {
            prop_assert_eq!(decode(&encode(text.as_bytes(), keep)), Some(text));
        }

        #[test]
        fn parsing_never_panics(raw in "[%&=+a-f0-9]{0,40}") {
            let _ = Query::parse(&raw);
        }
    }
}
