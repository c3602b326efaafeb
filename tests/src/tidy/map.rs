//! The module map of docs/ARCHITECTURE.md against the tree: every module is in it and every path in it exists,
//! so that the map cannot lie.
//!
//! The map is the section whose heading holds "Module map". In it, every word in backticks that ends in
//! `.rs` is a path from the root; `a/{b,c}.rs` names two.

use super::tree::TreeFile;
use std::collections::BTreeSet;

/// Findings in the map, given the document and the tree.
pub fn check(document: &str, files: &[TreeFile]) -> Vec<String> {
    let mapped: BTreeSet<String> = paths(document);
    let modules = files
        .iter()
        .map(|file| file.path.as_str())
        .filter(|path| is_module(path));
    let modules: BTreeSet<String> = modules.map(str::to_string).collect();
    let existing: BTreeSet<&str> = files.iter().map(|file| file.path.as_str()).collect();
    let missing = modules
        .difference(&mapped)
        .map(|path| format!("{path}: not in the module map"));
    let gone = mapped
        .iter()
        .filter(|path| !existing.contains(path.as_str()));
    missing
        .chain(gone.map(|path| format!("{path}: in the module map, not in the tree")))
        .collect()
}

/// A crate's own source, not its tests.
fn is_module(path: &str) -> bool {
    let fuzz = path
        .strip_prefix("tests/")
        .filter(|rest| rest.starts_with("fuzz/"));
    path.ends_with(".rs") && fuzz.unwrap_or(path).split('/').nth(1) == Some("src")
}

/// The paths that the map names.
pub fn paths(document: &str) -> BTreeSet<String> {
    let mut inside = false;
    let mut found = BTreeSet::new();
    for line in document.lines() {
        if line.starts_with('#') {
            let deeper = line.starts_with("###");
            inside = line.contains("Module map") || (inside && deeper);
        } else if inside {
            let words = line
                .split('`')
                .skip(1)
                .step_by(2)
                .filter(|word| word.ends_with(".rs"));
            found.extend(words.flat_map(expand));
        }
    }
    found
}

/// `a/{b,c}.rs` as `a/b.rs` and `a/c.rs`.
fn expand(word: &str) -> Vec<String> {
    let braces = word.split_once('{').and_then(|(before, rest)| {
        let (names, after) = rest.split_once('}')?;
        Some((before, names, after))
    });
    match braces {
        None => vec![word.to_string()],
        Some((before, names, after)) => names
            .split(',')
            .map(|name| format!("{before}{}{after}", name.trim()))
            .collect(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_missing_and_a_vanished_module_are_found() {
        let file = |path: &str| TreeFile::new(path, "");
        let files = [
            file("engine/src/a.rs"),
            file("engine/src/b.rs"),
            file("engine/tests/t.rs"),
        ];
        let map =
            "# X\n`no.rs`\n## Module map\n### engine\n- `engine/src/{a, b}.rs`\n## Y\n`no.rs`\n";
        assert_eq!(check(map, &files), [""; 0]);
        assert_eq!(check(map, &files[..1]).len(), 1);
        assert_eq!(check("", &files).len(), 2);
    }
}
