//! Patterns with `*`, `?` and policy variables, compiled once.
//!
//! The rules are those of AWS's IAM user guide, "IAM policy elements: Variables and tags" and "IAM JSON policy elements: Resource".
//! Invariants: between two stars the leftmost place that fits is taken, and never tried again, so that matching costs at most the length of the
//! text times that of the longest piece with a `?`, of which a pattern has few, and for pieces without one the sum; what a variable stands for is compared character by
//! character, whatever wildcards it holds.

use std::borrow::Cow;

use super::key::Key;

/// How many `?` a pattern has at most, as each place of a text is compared with all of them.
const ONES_MAX: usize = 64;

/// A piece of a pattern.
#[derive(Debug, Clone, PartialEq)]
enum Piece {
    /// These characters.
    Literal(String),
    /// `?`: one character.
    One,
    /// `*`: any number of characters.
    Many,
    /// What a key of the request stands for, or this where it has no value.
    Variable(Key, Option<String>),
}

/// A pattern.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Pattern {
    pieces: Box<[Piece]>,
    has_variables: bool,
}

/// Which characters of a pattern mean more than themselves.
#[derive(Debug, Clone, Copy)]
pub(super) struct Syntax {
    /// `*` and `?`.
    pub wildcards: bool,
    /// `${...}`.
    pub variables: bool,
}

/// What a variable stands for.
pub(super) type Resolve<'r> = dyn Fn(&Key) -> Option<String> + 'r;

impl Pattern {
    /// Compiles a pattern; what is wrong where it is none.
    pub(super) fn compile(text: &str, syntax: Syntax) -> Result<Pattern, String> {
        let mut pieces = Vec::new();
        let mut literal = String::new();
        let mut rest = text;
        while let Some(character) = rest.chars().next() {
            let after = &rest[character.len_utf8()..];
            let piece = match character {
                '*' if syntax.wildcards => Piece::Many,
                '?' if syntax.wildcards => Piece::One,
                '$' if syntax.variables && after.starts_with('{') => {
                    let (inside, behind) = after[1..]
                        .split_once('}')
                        .ok_or_else(|| format!("A policy variable in {text} has no end"))?;
                    rest = behind;
                    match inside {
                        "*" | "?" | "$" => literal.push_str(inside),
                        _ => {
                            push_literal(&mut pieces, &mut literal);
                            pieces.push(variable(inside)?);
                        }
                    }
                    continue;
                }
                plain => {
                    literal.push(plain);
                    rest = after;
                    continue;
                }
            };
            push_literal(&mut pieces, &mut literal);
            if !(piece == Piece::Many && pieces.last() == Some(&Piece::Many)) {
                pieces.push(piece);
            }
            rest = after;
        }
        push_literal(&mut pieces, &mut literal);
        let ones = pieces.iter().filter(|piece| **piece == Piece::One);
        if ones.count() > ONES_MAX {
            return Err(format!("A pattern has at most {ONES_MAX} question marks"));
        }
        let has_variables = pieces
            .iter()
            .any(|piece| matches!(piece, Piece::Variable(..)));
        Ok(Pattern {
            pieces: pieces.into_boxed_slice(),
            has_variables,
        })
    }

    /// Whether a text is what the pattern says. A variable without a value says nothing that fits.
    pub(super) fn matches(&self, text: &str, resolve: &Resolve<'_>) -> bool {
        match self.resolved(resolve) {
            Some(pieces) => fits(&pieces, text),
            None => false,
        }
    }

    /// Whether each of its variables stands for something.
    pub(super) fn has_meaning(&self, resolve: &Resolve<'_>) -> bool {
        self.pieces.iter().all(|piece| match piece {
            Piece::Variable(key, default) => default.is_some() || resolve(key).is_some(),
            _ => true,
        })
    }

    /// Whether a text is what the pattern says, which has no wildcards, in either case of the letters.
    pub(super) fn equals_in_any_case(&self, text: &str, resolve: &Resolve<'_>) -> bool {
        let Some(pieces) = self.resolved(resolve) else {
            return false;
        };
        let said = pieces.iter().map(|piece| match piece {
            Piece::Literal(literal) => literal.as_str(),
            _ => "",
        });
        let said: String = said.collect();
        said.to_lowercase() == text.to_lowercase()
    }

    /// The text that it stands for, where it is one and the same for every request.
    pub(super) fn fixed(&self) -> Option<&str> {
        match &self.pieces[..] {
            [] => Some(""),
            [Piece::Literal(literal)] => Some(literal),
            _ => None,
        }
    }

    fn resolved(&self, resolve: &Resolve<'_>) -> Option<Cow<'_, [Piece]>> {
        if !self.has_variables {
            return Some(Cow::Borrowed(&self.pieces));
        }
        let pieces = self.pieces.iter().map(|piece| match piece {
            Piece::Variable(key, default) => {
                let value = resolve(key).or_else(|| default.clone())?;
                Some(Piece::Literal(value))
            }
            other => Some(other.clone()),
        });
        let pieces: Option<Vec<Piece>> = pieces.collect();
        pieces.map(Cow::Owned)
    }
}

fn push_literal(pieces: &mut Vec<Piece>, literal: &mut String) {
    if !literal.is_empty() {
        pieces.push(Piece::Literal(std::mem::take(literal)));
    }
}

/// Reads what stands between the braces: a key, and a default in quotation marks behind a comma.
fn variable(inside: &str) -> Result<Piece, String> {
    let (name, default) = match inside.split_once(',') {
        None => (inside, None),
        Some((name, default)) => {
            let default = default.trim();
            let quoted = default.strip_prefix('\'');
            let quoted = quoted.and_then(|rest| rest.strip_suffix('\''));
            let quoted = quoted
                .ok_or_else(|| format!("The default of ${{{inside}}} is not in quotation marks"))?;
            (name, Some(quoted.to_owned()))
        }
    };
    let name = name.trim();
    let key = Key::parse(name).ok_or_else(|| format!("Unknown policy variable {name}"))?;
    Ok(Piece::Variable(key, default))
}

/// Whether pieces without variables stand for a text.
fn fits(pieces: &[Piece], text: &str) -> bool {
    let mut segments = pieces.split(|piece| *piece == Piece::Many);
    let first = segments.next().unwrap_or_default();
    let Some(mut rest) = without_prefix(first, text) else {
        return false;
    };
    let segments: Vec<&[Piece]> = segments.collect();
    let Some((last, middle)) = segments.split_last() else {
        return rest.is_empty();
    };
    for segment in middle {
        match behind(segment, rest) {
            Some(after) => rest = after,
            None => return false,
        }
    }
    ends_with(last, rest)
}

/// What follows a segment at the beginning of a text.
fn without_prefix<'t>(segment: &[Piece], text: &'t str) -> Option<&'t str> {
    let mut rest = text;
    for piece in segment {
        rest = match piece {
            Piece::Literal(literal) => rest.strip_prefix(literal.as_str())?,
            _ => {
                let mut characters = rest.chars();
                characters.next()?;
                characters.as_str()
            }
        };
    }
    Some(rest)
}

/// What follows the first place in a text where a segment fits.
fn behind<'t>(segment: &[Piece], text: &'t str) -> Option<&'t str> {
    match segment {
        [] => Some(text),
        [Piece::Literal(literal)] => {
            let at = text.find(literal.as_str())?;
            Some(&text[at + literal.len()..])
        }
        _ => {
            let mut places = text.char_indices();
            places.find_map(|(at, _)| without_prefix(segment, &text[at..]))
        }
    }
}

/// Whether a text ends with a segment.
fn ends_with(segment: &[Piece], text: &str) -> bool {
    let mut rest = text;
    for piece in segment.iter().rev() {
        let before = match piece {
            Piece::Literal(literal) => rest.strip_suffix(literal.as_str()),
            _ => {
                let mut characters = rest.chars();
                characters.next_back().map(|_| characters.as_str())
            }
        };
        match before {
            Some(before) => rest = before,
            None => return false,
        }
    }
    true
}

#[cfg(test)]
mod tests {
    use super::*;

    const ALL: Syntax = Syntax {
        wildcards: true,
        variables: true,
    };

    fn matches(pattern: &str, text: &str) -> bool {
        let resolve = |key: &Key| match key {
            Key::UserName => Some("a*b".to_owned()),
            _ => None,
        };
        let pattern = Pattern::compile(pattern, ALL).unwrap();
        pattern.matches(text, &resolve)
    }

    #[test]
    fn wildcards_stand_for_characters() {
        for (pattern, text, is) in [
            ("", "", true),
            ("", "a", false),
            ("*", "", true),
            ("**", "anything", true),
            ("a*", "a", true),
            ("a*", "ba", false),
            ("*a", "a", true),
            ("*a", "ab", false),
            ("a*b*c", "a-b-b-c", true),
            ("a*b*c", "a-c-b", false),
            ("aba*ba", "aba", false),
            ("aba*ba", "ababa", true),
            ("a?c", "abc", true),
            ("a?c", "aäc", true),
            ("a?c", "ac", false),
            ("?", "", false),
            ("*?", "a", true),
            ("*?*", "", false),
            ("*?b?*d", "xaybzd", true),
            ("*a?b", "aab-a-b", true),
            ("*a?b", "a-bc", false),
            ("exact", "exact", true),
            ("exact", "exactly", false),
        ] {
            assert_eq!(matches(pattern, text), is, "{pattern} {text}");
        }
    }

    #[test]
    fn what_a_variable_stands_for_is_literal() {
        for (pattern, text, is) in [
            ("home/${aws:username}/*", "home/a*b/k", true),
            ("home/${aws:username}/*", "home/a-b/k", false),
            ("${AWS:UserName}", "a*b", true),
            ("${aws:userid}", "", false),
            ("${aws:userid, 'nobody'}/?", "nobody/1", true),
            ("${aws:username, 'nobody'}", "nobody", false),
            ("a${*}", "a*", true),
            ("a${*}", "ab", false),
            ("a${?}${$}", "a?$", true),
            ("$a{b}", "$a{b}", true),
        ] {
            assert_eq!(matches(pattern, text), is, "{pattern} {text}");
        }
        for wrong in ["${aws:username", "${}", "${no:key}", "${aws:username, x}"] {
            assert!(Pattern::compile(wrong, ALL).is_err(), "{wrong}");
        }
        let plain = Syntax {
            wildcards: false,
            variables: false,
        };
        let pattern = Pattern::compile("${aws:username}*", plain).unwrap();
        assert_eq!(pattern.fixed(), Some("${aws:username}*"));
    }

    /// A matcher that tries every way to share the text among the stars would take longer than the universe is old.
    #[test]
    fn many_stars_take_no_longer() {
        let pattern = "*a".repeat(5_000) + "*b";
        assert!(!matches(&pattern, &"a".repeat(60_000)));
        let pattern = "*a?".repeat(ONES_MAX) + "*b";
        assert!(!matches(&pattern, &"a".repeat(20_000)));
        let error = Pattern::compile(&"?".repeat(ONES_MAX + 1), ALL).unwrap_err();
        assert_eq!(error, "A pattern has at most 64 question marks");
    }
}
