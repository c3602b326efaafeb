//! docs/SEMANTICS.md against the tests: every promise names what holds it to its word, and that exists.
//!
//! A promise is a paragraph that begins in bold. Where it ends, a line that begins with `Test:` or `Tests:` names, in
//! backticks, test functions or files of tests.

use super::tree::TreeFile;

/// The section of what is not promised yet.
const NOT_YET: &str = "## Not yet";

/// Findings in the document, given the tree.
pub fn check(document: &str, files: &[TreeFile]) -> Vec<String> {
    let promised = document.split(NOT_YET).next().unwrap_or(document);
    let mut found = Vec::new();
    for promise in promised.split("\n**").skip(1) {
        let promise = promise.split("\n## ").next().unwrap_or(promise);
        let title = promise.split("**").next().unwrap_or("?");
        let named = tests_in(promise);
        if named.is_empty() {
            found.push(format!("`{title}` names no test"));
        }
        let gone = named.iter().filter(|name| !exists(name, files));
        found.extend(gone.map(|name| format!("`{title}` names {name}, which is no test")));
    }
    found
}

fn tests_in(promise: &str) -> Vec<&str> {
    let lines = promise.lines().skip_while(|line| !line.starts_with("Test"));
    let lines = lines.take_while(|line| !line.is_empty());
    lines
        .flat_map(|line| line.split('`').skip(1).step_by(2))
        .collect()
}

fn exists(name: &str, files: &[TreeFile]) -> bool {
    let function = format!("fn {name}(");
    files
        .iter()
        .any(|file| file.path == name || (file.is_rust() && file.text.contains(&function)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn promises_without_a_test_are_found() {
        let files = [TreeFile::new("a/tests/t.rs", "fn holds() {}")];
        let kept = "# X\n\n**One.** text\nTests: `holds`,\n`a/tests/t.rs`.\n\n**Two.** text\nTest: `holds`.\n";
        assert_eq!(check(kept, &files), [""; 0]);
        assert_eq!(
            check("\n**One.** text\n\n**Two.** text\nTest: `gone`\n", &files).len(),
            2
        );
        assert_eq!(check("\n## Not yet\n\n**One.** text\n", &files), [""; 0]);
    }
}
