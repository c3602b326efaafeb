//! docs/GLOSSARY.md against the tree: every term stands once, and in the head of the module that it names.

use std::collections::BTreeSet;

use super::tree::TreeFile;

/// Findings in the document, given the tree.
pub fn check(document: &str, files: &[TreeFile]) -> Vec<String> {
    let mut found = Vec::new();
    let mut known = BTreeSet::new();
    for row in document.lines().filter(|line| line.ends_with("` |")) {
        let cells: Vec<&str> = row.trim_matches('|').split('|').map(str::trim).collect();
        let [term, meaning, module] = cells[..] else {
            found.push(format!("`{row}` is not a term, its meaning and a module"));
            continue;
        };
        if !known.insert(term) || meaning.is_empty() {
            found.push(format!("`{term}` stands twice, or without a meaning"));
        }
        let module = module.trim_matches('`');
        match files.iter().find(|file| file.path == module) {
            None => found.push(format!("`{term}` names {module}, which is not in the tree")),
            Some(file) if !head(file).contains(&term.to_lowercase()) => {
                found.push(format!("the head of {module} does not use `{term}`"));
            }
            Some(_) => {}
        }
    }
    if known.is_empty() {
        found.push("there are no terms".to_owned());
    }
    found
}

/// The first comment of a module as one line, in lower case.
fn head(file: &TreeFile) -> String {
    let lines = file.text.lines().map_while(|line| line.strip_prefix("//!"));
    let words: Vec<&str> = lines.flat_map(str::split_whitespace).collect();
    words.join(" ").to_lowercase()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn terms_that_no_head_uses_are_found() {
        let files = [TreeFile::new("a.rs", "//! The log\n//! index.\nfn f() {}")];
        let row = |term: &str, module: &str| format!("| {term} | what it is | `{module}` |\n");
        assert_eq!(check(&row("log index", "a.rs"), &files), [""; 0]);
        assert_eq!(check(&row("other", "a.rs"), &files).len(), 1);
        assert_eq!(check(&row("log index", "b.rs"), &files).len(), 1);
        let twice = [row("log index", "a.rs"), row("log index", "a.rs")].concat();
        assert_eq!(check(&twice, &files).len(), 1);
        assert_eq!(check("", &files).len(), 1);
    }
}
