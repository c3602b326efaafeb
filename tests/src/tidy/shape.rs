//! Lengths of files and functions, and names of files. Tests are exempt from lengths: a scenario is read from
//! top to bottom.

use super::source::{blank, functions, lines_before_tests};
use super::tree::TreeFile;

/// Lines of a file outside its tests.
const FILE_LINES_MAX: usize = 800;
/// Lines of a function outside tests.
const FUNCTION_LINES_MAX: usize = 70;
/// Names that say nothing about what lies inside.
const NAMES_BANNED: [&str; 7] = [
    "util", "utils", "common", "helper", "helpers", "misc", "mod",
];

/// Files and functions that are too long.
pub fn check_lengths(file: &TreeFile) -> Vec<String> {
    if !file.is_rust() || file.is_test {
        return Vec::new();
    }
    let blanked = blank(&file.text);
    let body = lines_before_tests(&blanked);
    let mut found = Vec::new();
    if body > FILE_LINES_MAX {
        found.push(format!(
            "{}: {body} lines, at most {FILE_LINES_MAX}",
            file.path
        ));
    }
    for function in functions(&blanked) {
        if function.line <= body && function.lines > FUNCTION_LINES_MAX {
            let (path, line, name) = (&file.path, function.line, &function.name);
            let lines = function.lines;
            found.push(format!(
                "{path}:{line}: {name} has {lines} lines, at most {FUNCTION_LINES_MAX}"
            ));
        }
    }
    found
}

/// Files and folders whose name says nothing.
pub fn check_names(file: &TreeFile) -> Vec<String> {
    if !file.is_rust() {
        return Vec::new();
    }
    let is_banned = |part: &&str| NAMES_BANNED.contains(&part.trim_end_matches(".rs"));
    let parts = file.path.split('/').filter(is_banned);
    parts
        .map(|part| {
            format!(
                "{}: `{part}` says nothing about what lies inside",
                file.path
            )
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn file(path: &str, text: String) -> TreeFile {
        TreeFile::new(path, &text)
    }

    #[test]
    fn long_files_and_functions_are_found() {
        let function = |lines: usize| format!("fn f() {{\n{}}}\n", "x;\n".repeat(lines - 2));
        assert!(check_lengths(&file("a/src/b.rs", function(70))).is_empty());
        assert_eq!(check_lengths(&file("a/src/b.rs", function(71))).len(), 1);
        assert_eq!(
            check_lengths(&file("a/src/b.rs", "//\n".repeat(801))).len(),
            1
        );
        assert!(check_lengths(&file("a/tests/b.rs", "//\n".repeat(801))).is_empty());
        let tested = format!("#[cfg(test)]\nmod tests {{\n{}}}\n", function(900));
        assert!(check_lengths(&file("a/src/b.rs", tested)).is_empty());
    }

    #[test]
    fn empty_names_are_found() {
        assert_eq!(
            check_names(&file("a/src/util/b.rs", String::new())).len(),
            1
        );
        assert_eq!(check_names(&file("a/src/b/mod.rs", String::new())).len(), 1);
        assert!(check_names(&file("a/src/model.rs", String::new())).is_empty());
    }
}
