//! Rust text as far as the rules need it. Invariant: a blanked text has as many lines as its source, so that a
//! line number in one is a line number in the other.

/// A function and how many lines it takes, from `fn` to its closing brace.
pub struct Function {
    /// Its name.
    pub name: String,
    /// The line of `fn`, from 1.
    pub line: usize,
    /// Lines from `fn` to the closing brace.
    pub lines: usize,
}

/// The text with comments, strings and character literals replaced by spaces.
pub fn blank(text: &str) -> String {
    let bytes = text.as_bytes();
    let mut out = bytes.to_vec();
    let mut at = 0;
    while at < bytes.len() {
        let end = literal_end(bytes, at);
        match end {
            Some(end) => {
                let end = end.min(bytes.len());
                out[at..end]
                    .iter_mut()
                    .filter(|byte| **byte != b'\n')
                    .for_each(|byte| *byte = b' ');
                at = end;
            }
            None => at += 1,
        }
    }
    String::from_utf8_lossy(&out).into_owned()
}

/// Where the comment or literal that begins at `at` ends; `None` where none begins.
fn literal_end(bytes: &[u8], at: usize) -> Option<usize> {
    let rest = &bytes[at..];
    if rest.starts_with(b"//") {
        return Some(
            at + rest
                .iter()
                .position(|byte| *byte == b'\n')
                .unwrap_or(rest.len()),
        );
    }
    if rest.starts_with(b"/*") {
        return Some(at + block_comment_length(rest));
    }
    if rest[0] == b'"' {
        return Some(at + string_length(rest));
    }
    if rest[0] == b'\'' {
        return character_length(rest).map(|length| at + length);
    }
    let begins_word = at == 0 || !is_word(bytes[at - 1]);
    if begins_word {
        raw_string_length(rest).map(|length| at + length)
    } else {
        None
    }
}

fn is_word(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || byte == b'_'
}

fn block_comment_length(rest: &[u8]) -> usize {
    let (mut depth, mut at) = (1, 2);
    while at < rest.len() && depth > 0 {
        let two = &rest[at..rest.len().min(at + 2)];
        let step = match two {
            b"/*" => {
                depth += 1;
                2
            }
            b"*/" => {
                depth -= 1;
                2
            }
            _ => 1,
        };
        at += step;
    }
    at
}

fn string_length(rest: &[u8]) -> usize {
    let mut at = 1;
    while at < rest.len() && rest[at] != b'"' {
        at += if rest[at] == b'\\' { 2 } else { 1 };
    }
    at + 1
}

/// `'x'` or `'\n'`, but not the lifetime `'a`.
fn character_length(rest: &[u8]) -> Option<usize> {
    if rest.get(1) == Some(&b'\\') {
        let close = rest[3.min(rest.len())..]
            .iter()
            .position(|byte| *byte == b'\'')?;
        return Some(3 + close + 1);
    }
    let width = std::str::from_utf8(&rest[1..rest.len().min(5)])
        .map_or_else(|error| error.valid_up_to(), |valid| valid.len());
    let first = std::str::from_utf8(&rest[1..1 + width])
        .ok()?
        .chars()
        .next()?;
    let close = 1 + first.len_utf8();
    (first != '\'' && rest.get(close) == Some(&b'\'')).then_some(close + 1)
}

fn raw_string_length(rest: &[u8]) -> Option<usize> {
    let prefix = usize::from(rest[0] == b'b' || rest[0] == b'c');
    if rest.get(prefix) != Some(&b'r') {
        return None;
    }
    let hashes = rest[prefix + 1..]
        .iter()
        .take_while(|byte| **byte == b'#')
        .count();
    let open = prefix + 1 + hashes;
    if rest.get(open) != Some(&b'"') {
        return None;
    }
    let mut close = vec![b'"'];
    close.extend(std::iter::repeat_n(b'#', hashes));
    let body = &rest[open + 1..];
    let end = body.windows(close.len()).position(|window| window == close);
    Some(open + 1 + end.map_or(body.len(), |end| end + close.len()))
}

/// The number of lines before the first `#[cfg(test)]` module with a body; all lines where there is none.
pub fn lines_before_tests(blanked: &str) -> usize {
    let lines: Vec<&str> = blanked.lines().collect();
    let is_start = |at: &usize| {
        lines[*at].trim_start().starts_with("#[cfg(test)]")
            && lines[*at..]
                .iter()
                .take(3)
                .any(|line| line.contains("mod ") && line.contains('{'))
    };
    (0..lines.len()).find(is_start).unwrap_or(lines.len())
}

/// Every function with a body in blanked text, inner ones too.
pub fn functions(blanked: &str) -> Vec<Function> {
    let bytes = blanked.as_bytes();
    let mut found = Vec::new();
    let mut line = 1;
    for (at, byte) in bytes.iter().enumerate() {
        line += usize::from(*byte == b'\n');
        let is_fn = bytes[at..].starts_with(b"fn ") && (at == 0 || !is_word(bytes[at - 1]));
        if is_fn && let Some(function) = function_at(blanked, at, line) {
            found.push(function);
        }
    }
    found
}

fn function_at(blanked: &str, at: usize, line: usize) -> Option<Function> {
    let rest = &blanked[at..];
    let name: String = rest[3..]
        .trim_start()
        .chars()
        .take_while(|c| c.is_alphanumeric() || *c == '_')
        .collect();
    if name.is_empty() {
        return None;
    }
    let open = body_start(rest)?;
    let mut depth = 0_i32;
    for (offset, c) in rest[open..].char_indices() {
        depth += match c {
            '{' => 1,
            '}' => -1,
            _ => 0,
        };
        if depth == 0 {
            let lines = rest[..open + offset].matches('\n').count() + 1;
            return Some(Function { name, line, lines });
        }
    }
    None
}

/// Where the body's brace stands; `None` for a declaration. A `;` inside brackets (`[u8; 4]`) is no end.
fn body_start(rest: &str) -> Option<usize> {
    let mut brackets = 0_i32;
    for (offset, c) in rest.char_indices() {
        match c {
            '[' | '(' => brackets += 1,
            ']' | ')' => brackets -= 1,
            '{' if brackets == 0 => return Some(offset),
            ';' if brackets == 0 => return None,
            _ => {}
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn blanks_comments_strings_and_characters_but_no_lifetimes() {
        let text = "a // x\nb \"{\\\"}\" '{' '\\'' &'a c /* { /* } */ */ r#\"}\"# d";
        let blanked = blank(text);
        assert_eq!(blanked.len(), text.len());
        assert!(!blanked.contains(['{', '}', 'x', '"']), "{blanked}");
        for kept in ["a ", "\nb", "&'a c", " d"] {
            assert!(blanked.contains(kept), "{kept} in {blanked}");
        }
    }

    #[test]
    fn finds_functions_and_their_lengths() {
        let text = "fn one(a: [u8; 4]) {\n  x\n}\ntrait T { fn declared(); }\nfn two() { y }\n";
        let found: Vec<_> = functions(text)
            .into_iter()
            .map(|f| (f.name, f.line, f.lines))
            .collect();
        assert_eq!(found, [("one".into(), 1, 3), ("two".into(), 5, 1)]);
    }

    #[test]
    fn knows_where_tests_begin() {
        assert_eq!(lines_before_tests("a\n#[cfg(test)]\nmod tests {\n}\n"), 1);
        assert_eq!(lines_before_tests("a\n#[cfg(test)]\nmod tests;\nb\n"), 4);
    }
}
