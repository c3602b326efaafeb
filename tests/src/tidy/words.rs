//! Words that may not stand where they stand: leftovers, machine paths, panics on outside bytes, `unsafe`
//! outside its islands, holes in the determinism fence. The words are put together from halves here, so
//! that this file passes its own check.

use super::source::{blank, functions, lines_before_tests};
use super::tree::TreeFile;

/// What is left over when work stops half-way; nothing of it lands.
const LEFTOVERS: [&str; 9] = [
    concat!("TO", "DO"),
    concat!("FIX", "ME"),
    concat!("XX", "X:"),
    concat!("for", " now"),
    concat!("db", "g!("),
    concat!("to", "do!("),
    concat!("unimple", "mented!("),
    concat!("#[ig", "nore"),
    concat!("allow(dead", "_code"),
];
/// Paths of the machine that something was written on.
const MACHINE_PATHS: [&str; 3] = [
    concat!("/wo", "rk/"),
    concat!("/ro", "ot/"),
    concat!("/ho", "me/"),
];
/// Code that decodes bytes from outside: a bad byte is an error, never a panic. Prefixes of paths.
pub const DECODERS: [&str; 36] = [
    "engine/src/format",
    "engine/src/journal",
    "engine/src/recovery",
    "engine/src/segment_log",
    "raftlog/src/namespace/access_list",
    "raftlog/src/namespace/command",
    "raftlog/src/consensus/log/codec",
    "raftlog/src/consensus/log/state",
    "raftlog/src/consensus/log/record",
    "raftlog/src/consensus/log/recovery",
    "raftlog/src/consensus/log/snapshot",
    "raftlog/src/namespace/body",
    "raftlog/src/namespace/chunk",
    "raftlog/src/namespace/entry",
    "raftlog/src/namespace/key",
    "raftlog/src/namespace/object",
    "raftlog/src/namespace/system",
    "raftlog/src/namespace/upload",
    "raftlog/src/namespace/users",
    "raftlog/src/namespace/value",
    "raftlog/src/namespace/view",
    "raftlog/src/namespace/store/checkpoint.rs",
    "raftlog/src/namespace/store/snapshot",
    "gateway/src/access",
    "gateway/src/auth",
    "gateway/src/body",
    "gateway/src/checksum",
    "gateway/src/guard",
    "gateway/src/operation",
    "gateway/src/percent",
    "gateway/src/policy",
    "gateway/src/query",
    "gateway/src/request.rs",
    "gateway/src/s3",
    "gateway/src/signature",
    "gateway/src/xml",
];
/// What a decoder may not say.
const PANICS: [&str; 4] = [".unwrap()", ".expect(", "panic!(", "unreachable!("];
/// Where `unsafe` may stand. Prefixes of paths.
const UNSAFE_ISLANDS: [&str; 5] = [
    "engine/src/reactor",
    "engine/tests/reactor",
    "raftlog/src/namespace/store",
    "bench/src/",
    "tests/",
];
/// Where a lint of the determinism fence may be expected away, beside the crates that have their own.
const FENCE_GATES: [&str; 1] = ["engine/src/reactor"];

/// Findings in one file.
pub fn check(file: &TreeFile) -> Vec<String> {
    let mut found = machine_paths(file);
    if is_code(&file.path) {
        found.extend(leftovers(file));
    }
    if file.is_rust() {
        let blanked = blank(&file.text);
        let body = if file.is_test {
            0
        } else {
            lines_before_tests(&blanked)
        };
        found.extend(panics(file, &blanked, body));
        found.extend(unsafe_outside(file, &blanked));
        found.extend(fence_holes(file, &blanked, body));
    }
    found
}

fn is_code(path: &str) -> bool {
    path.starts_with(".ci/")
        || [".rs", ".sh", ".toml", ".py"]
            .iter()
            .any(|extension| path.ends_with(extension))
}

fn starts_with_any(path: &str, prefixes: &[&str]) -> bool {
    prefixes.iter().any(|prefix| path.starts_with(prefix))
}

fn findings<'a>(
    file: &'a TreeFile,
    text: &'a str,
    says: impl Fn(&str) -> Option<String> + 'a,
) -> impl Iterator<Item = String> + 'a {
    let line = move |(at, line)| says(line).map(|what| format!("{}:{}: {what}", file.path, at + 1));
    text.lines().enumerate().filter_map(line)
}

fn leftovers(file: &TreeFile) -> Vec<String> {
    let says = |line: &str| {
        let word = LEFTOVERS.iter().find(|word| line.contains(**word))?;
        Some(format!("`{word}` is a leftover"))
    };
    findings(file, &file.text, says).collect()
}

fn machine_paths(file: &TreeFile) -> Vec<String> {
    let says = |line: &str| {
        let path = MACHINE_PATHS.iter().find(|path| begins_in(line, path))?;
        Some(format!("`{path}` is a path of somebody's machine"))
    };
    findings(file, &file.text, says).collect()
}

/// Whether an absolute path in `line` begins with `path`; `a/work/` is a relative one.
fn begins_in(line: &str, path: &str) -> bool {
    line.match_indices(path).any(|(at, _)| {
        let before = line[..at].chars().next_back();
        !before.is_some_and(|c| c.is_alphanumeric() || "._-*}~".contains(c))
    })
}

fn panics(file: &TreeFile, blanked: &str, body: usize) -> Vec<String> {
    if !starts_with_any(&file.path, &DECODERS) {
        return Vec::new();
    }
    let encoders = encoders(blanked);
    let lines = blanked.lines().take(body).enumerate();
    let outside = lines.filter(|(at, _)| !encoders.iter().any(|range| range.contains(&(at + 1))));
    let says = |(at, line): (usize, &str)| {
        let word = PANICS.iter().find(|word| line.contains(**word))?;
        let place = format!("{}:{}", file.path, at + 1);
        Some(format!(
            "{place}: `{word}` in code that decodes bytes from outside"
        ))
    };
    outside.filter_map(says).collect()
}

/// The lines of functions that write: what they are given is our own.
fn encoders(blanked: &str) -> Vec<std::ops::Range<usize>> {
    let writes = |name: &str| {
        ["write", "encode", "seal"]
            .iter()
            .any(|verb| name.starts_with(verb))
    };
    let writers = functions(blanked)
        .into_iter()
        .filter(|function| writes(&function.name));
    writers
        .map(|function| function.line..function.line + function.lines)
        .collect()
}

fn unsafe_outside(file: &TreeFile, blanked: &str) -> Vec<String> {
    if starts_with_any(&file.path, &UNSAFE_ISLANDS) {
        return Vec::new();
    }
    let is_unsafe = |line: &str| {
        let mut words = line.split(|c: char| !c.is_alphanumeric() && c != '_');
        words.any(|word| word == concat!("un", "safe"))
    };
    let says = |line: &str| is_unsafe(line).then(|| "unsafe outside its islands".to_string());
    findings(file, blanked, says).collect()
}

fn fence_holes(file: &TreeFile, blanked: &str, body: usize) -> Vec<String> {
    let outside = ["tools/", "bench/", "tests/"];
    if starts_with_any(&file.path, &FENCE_GATES) || starts_with_any(&file.path, &outside) {
        return Vec::new();
    }
    let lint = concat!("clippy::dis", "allowed_");
    let says = |line: &str| {
        line.contains(lint)
            .then(|| "a hole in the determinism fence (clippy.toml)".to_string())
    };
    let head: Vec<&str> = blanked.lines().take(body).collect();
    findings(file, &head.join("\n"), says).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check_text(path: &str, text: &str) -> Vec<String> {
        check(&TreeFile::new(path, text))
    }

    #[test]
    fn every_word_is_found_where_it_may_not_stand() {
        for word in LEFTOVERS {
            assert_eq!(check_text("net/src/a.rs", word).len(), 1, "{word}");
        }
        for path in MACHINE_PATHS {
            assert_eq!(
                check_text("docs/A.md", &format!("see {path}x")).len(),
                1,
                "{path}"
            );
            assert!(
                check_text("docs/A.md", &format!("see a{path}x")).is_empty(),
                "{path}"
            );
        }
        for word in PANICS {
            assert_eq!(
                check_text("engine/src/format/a.rs", word).len(),
                1,
                "{word}"
            );
            assert!(check_text("engine/src/write.rs", word).is_empty(), "{word}");
            let writer = format!("fn write() {{\n{word}\n}}\n");
            assert!(
                check_text("engine/src/format/a.rs", &writer).is_empty(),
                "{word}"
            );
            let tested = format!("#[cfg(test)]\nmod tests {{\n{word}\n}}\n");
            assert!(
                check_text("engine/src/format/a.rs", &tested).is_empty(),
                "{word}"
            );
        }
    }

    #[test]
    fn unsafe_and_fence_holes_are_found_outside_their_islands() {
        let block = concat!("un", "safe { x }");
        assert_eq!(check_text("net/src/a.rs", block).len(), 1);
        assert!(check_text("net/src/a.rs", &format!("// {block}")).is_empty());
        assert!(check_text("engine/src/reactor/a.rs", block).is_empty());
        let hole = concat!("#[expect(clippy::dis", "allowed_methods)]");
        assert_eq!(check_text("net/src/a.rs", hole).len(), 1);
        assert!(check_text("tools/src/a.rs", hole).is_empty());
    }
}
