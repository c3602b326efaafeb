//! Encoded words of RFC 2047, in which S3 carries metadata that is not ASCII.
//!
//! Invariants: what is no encoded word stays as it came; what is encoded here is decoded here to the
//! same text.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;

/// Bytes of text in one word at most, so that a word has no more than the 75 characters it may have.
const WORD_BYTES_MAX: usize = 45;

/// A value as a header can carry it: as it is, or in encoded words where it is not printable ASCII, as
/// AWS does it.
pub fn encode(value: &str) -> String {
    if value
        .bytes()
        .all(|byte| (0x20..0x7f).contains(&byte) || byte == b'\t')
    {
        return value.to_owned();
    }
    let mut words: Vec<String> = vec![String::new()];
    for character in value.chars() {
        let word = words
            .last_mut()
            .filter(|word| word.len() < WORD_BYTES_MAX - 4);
        match word {
            Some(word) => word.push(character),
            None => words.push(character.to_string()),
        }
    }
    let encode = |word: &String| format!("=?UTF-8?B?{}?=", BASE64.encode(word));
    words.iter().map(encode).collect::<Vec<_>>().join(" ")
}

/// The text of a value that may hold encoded words: each is decoded, and spaces between two of them
/// are none of the text.
pub fn decode(value: &str) -> String {
    let mut text = String::with_capacity(value.len());
    let mut rest = value;
    let mut follows_word = false;
    while !rest.is_empty() {
        let spaces = rest.len() - rest.trim_start_matches([' ', '\t']).len();
        let (gap, behind) = rest.split_at(spaces);
        let end = behind.find([' ', '\t']).unwrap_or(behind.len());
        let (token, behind) = behind.split_at(end);
        let word = decode_word(token);
        if !(follows_word && word.is_some()) {
            text.push_str(gap);
        }
        text.push_str(word.as_deref().unwrap_or(token));
        (follows_word, rest) = (word.is_some(), behind);
    }
    text
}

/// The text of an encoded word: `=?charset?encoding?text?=`. `None` for anything else.
fn decode_word(token: &str) -> Option<String> {
    let inside = token.strip_prefix("=?")?.strip_suffix("?=")?;
    let mut fields = inside.split('?');
    let (charset, encoding, text) = (fields.next()?, fields.next()?, fields.next()?);
    if fields.next().is_some() {
        return None;
    }
    let bytes = match encoding {
        "B" | "b" => BASE64.decode(text).ok()?,
        "Q" | "q" => decode_quoted(text)?,
        _ => return None,
    };
    // A language may follow the charset (RFC 2231).
    let charset = charset.split('*').next()?.to_ascii_lowercase();
    match charset.as_str() {
        "utf-8" => String::from_utf8(bytes).ok(),
        "us-ascii" if bytes.is_ascii() => String::from_utf8(bytes).ok(),
        "iso-8859-1" => Some(bytes.into_iter().map(char::from).collect()),
        _ => None,
    }
}

/// The bytes of a word in the encoding `Q`: `_` is a space, and `=` begins a byte in hexadecimal.
fn decode_quoted(text: &str) -> Option<Vec<u8>> {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let Some((first, behind)) = rest.split_first() {
        rest = behind;
        bytes.push(match first {
            b'_' => b' ',
            b'=' => {
                let (digits, behind) = rest.split_first_chunk::<2>()?;
                rest = behind;
                let mut byte = [0];
                hex::decode_to_slice(digits, &mut byte).ok()?;
                byte[0]
            }
            other => *other,
        });
    }
    Some(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn values_that_are_not_ascii_become_encoded_words() {
        assert_eq!(encode("plain"), "plain");
        assert_eq!(encode("é"), "=?UTF-8?B?w6k=?=");
        let long = encode(&"é".repeat(100));
        assert!(long.split(' ').count() > 1 && long.split(' ').all(|word| word.len() <= 75));
    }

    #[test]
    fn encoded_words_are_decoded_in_both_encodings() {
        for (value, text) in [
            ("=?UTF-8?B?w6k=?=", "é"),
            ("=?utf-8?q?caf=C3=A9_au_lait?=", "café au lait"),
            ("=?UTF-8*fr?Q?caf=c3=a9?=", "café"),
            ("=?ISO-8859-1?Q?caf=E9?=", "café"),
            ("=?us-ascii?B?YWJj?=", "abc"),
            ("a =?UTF-8?B?w6k=?= b", "a é b"),
            ("=?UTF-8?B?w6k=?= \t =?UTF-8?B?w6k=?=  x", "éé  x"),
        ] {
            assert_eq!(decode(value), text, "{value}");
        }
    }

    #[test]
    fn what_is_no_encoded_word_stays() {
        for value in [
            "",
            "plain  text ",
            "é",
            "=?UTF-8?B?w6k=",
            "=?UTF-8?B??w6k=?=",
            "=?UTF-8?X?w6k=?=",
            "=?KOI8-R?B?w6k=?=",
            "=?UTF-8?B?!?=",
            "=?UTF-8?B?6Q==?=",
            "=?UTF-8?Q?=C?=",
            "=?UTF-8?Q?=zz?=",
            "=?us-ascii?Q?=C3?=",
            "x=?UTF-8?B?w6k=?=",
            "=??=",
        ] {
            assert_eq!(decode(value), value);
        }
    }

    proptest! {
        #[test]
        fn what_is_encoded_is_decoded(text in "[ -~]{0,20}[é日\u{1f600}\u{1}]{1,60}.{0,20}") {
            prop_assert_eq!(decode(&encode(&text)), text);
        }

        #[test]
        fn decoding_never_panics(value in "([=?_UTF8BQq ]|-|é|[a-f0-9]){0,40}") {
            let _ = decode(&value);
        }
    }
}
