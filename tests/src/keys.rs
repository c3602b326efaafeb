//! Hostile object keys, and the LIST model: what a LIST over a set of keys must say, by the rules of S3 alone.

use crate::content::Random;
use std::collections::BTreeSet;

/// Keys that break naive trees: a key and a folder of the same name, empty segments, neighbours of `/` in byte order,
/// dots, everything that XML and URLs escape, long ones, several scripts.
pub const HOSTILE: &[&str] = &[
    "a",
    "a/",
    "a/b",
    "a//b",
    "a//",
    "a!",
    "a-",
    "a.",
    "a0",
    "a/.",
    "a/..",
    "./a",
    "../a",
    "//",
    "/",
    "/a",
    "/a/",
    "b c",
    "b+c",
    "b%20c",
    "b&c",
    "b<c>",
    "b\"c'",
    "b?c=d",
    "b#c",
    "b\\c",
    "b;c",
    "b=c",
    "b@c",
    "b:c",
    "b,c",
    "b$c",
    "b*c",
    "b|c",
    "b~c",
    "b`c",
    "b^c",
    "b{c}",
    "b[c]",
    "b\tc",
    "é",
    "e\u{301}",
    "日本/語",
    "日本/語/",
    "日本",
    "\u{10ffff}",
    "\u{fffd}/x",
    "z/z/z/z/z/z/z/z/z/z/z/z/z/z/z/z",
    "A",
    "Z",
    "_",
    "~",
    "\u{7f}",
];

/// One page of a LIST as the rules of S3 give it.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Page {
    /// Keys that are listed one by one.
    pub keys: Vec<String>,
    /// Prefixes up to the delimiter that stand for the keys below them.
    pub prefixes: Vec<String>,
    /// Whether there is more.
    pub truncated: bool,
}

/// What a LIST must say: in byte order, keys after `after`, below `prefix`, at most `max` keys and prefixes together.
pub fn list(
    keys: &BTreeSet<String>,
    prefix: &str,
    delimiter: Option<&str>,
    after: &str,
    max: usize,
) -> Page {
    let mut page = Page::default();
    for key in keys.iter().filter(|key| key.starts_with(prefix)) {
        let rolled = delimiter.and_then(|delimiter| {
            let end = key[prefix.len()..].find(delimiter)? + prefix.len() + delimiter.len();
            Some(&key[..end])
        });
        let entry = rolled.unwrap_or(key);
        let is_known = rolled.is_some() && page.prefixes.last().is_some_and(|last| last == entry);
        if is_known || entry <= after || (rolled.is_some() && after.starts_with(entry)) {
            continue;
        }
        if page.keys.len() + page.prefixes.len() == max {
            page.truncated = true;
            break;
        }
        let target = if rolled.is_some() {
            &mut page.prefixes
        } else {
            &mut page.keys
        };
        target.push(entry.to_string());
    }
    page
}

/// A random key from few letters, so that keys meet: `/` and its neighbours in byte order most of all.
pub fn random(random: &mut Random) -> String {
    let letters = ["/", "/", ".", "0", "a", "b", "-", "é"];
    (0..1 + random.below(7))
        .map(|_| *random.pick(&letters))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_model_rolls_up_and_goes_on() {
        let keys: BTreeSet<String> = ["a", "a/b", "a/c", "b"].map(str::to_string).into();
        let page = list(&keys, "", Some("/"), "", 2);
        assert_eq!(
            (page.keys, page.prefixes, page.truncated),
            (vec!["a".into()], vec!["a/".into()], true)
        );
        assert_eq!(list(&keys, "", Some("/"), "a/", 9).keys, ["b"]);
        assert_eq!(list(&keys, "a/", None, "a/b", 9).keys, ["a/c"]);
    }
}
