//! The files that belong to the repository, read once.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

/// Folders that hold what is built or kept by tools, not what is written by people.
const FOREIGN_FOLDERS: [&str; 3] = [".git", "target", "node_modules"];

/// One text file of the tree.
pub struct TreeFile {
    /// Path from the root of the repository, with `/`.
    pub path: String,
    /// Its whole text.
    pub text: String,
    /// Whether the whole file is test code: of the tests crate, of a crate's `tests` folder, or a module for tests alone.
    pub is_test: bool,
}

impl TreeFile {
    /// Whether this is Rust.
    pub fn is_rust(&self) -> bool {
        self.path.ends_with(".rs")
    }

    /// A file of which nothing is known but its path and text.
    pub fn new(path: &str, text: &str) -> Self {
        let is_test =
            path.starts_with("tests/") || path.contains("/tests/") || path.ends_with("/tests.rs");
        Self {
            path: path.to_string(),
            text: text.to_string(),
            is_test,
        }
    }
}

/// The root of the repository this crate was built from.
pub fn root() -> PathBuf {
    let manifest = Path::new(env!("CARGO_MANIFEST_DIR"));
    manifest.parent().unwrap_or(manifest).to_path_buf()
}

/// Every text file below `root`, in the order of paths. A file that is not UTF-8 is an error: the tree holds text.
pub fn read(root: &Path) -> io::Result<Vec<TreeFile>> {
    let mut files = Vec::new();
    visit(root, root, &mut files)?;
    files.sort_by(|a, b| a.path.cmp(&b.path));
    mark_test_modules(&mut files);
    Ok(files)
}

/// Marks the files of modules that are declared for tests alone.
fn mark_test_modules(files: &mut [TreeFile]) {
    let test_modules: Vec<String> = files
        .iter()
        .filter(|file| file.is_rust())
        .flat_map(test_modules)
        .collect();
    for file in files
        .iter_mut()
        .filter(|file| test_modules.contains(&file.path))
    {
        file.is_test = true;
    }
}

/// The paths of the modules that a file declares behind `#[cfg(test)]`.
fn test_modules(file: &TreeFile) -> Vec<String> {
    let stem = file.path.trim_end_matches(".rs");
    let folder = match stem.rsplit_once('/') {
        Some((folder, "lib" | "main")) => folder,
        _ => stem,
    };
    let lines: Vec<&str> = file.text.lines().map(str::trim).collect();
    let pairs = lines
        .windows(2)
        .filter(|pair| pair[0].starts_with("#[cfg(test)]"));
    let names = pairs.filter_map(|pair| {
        let declared = pair[1].strip_suffix(';')?;
        declared.rsplit_once("mod ").map(|(_, name)| name)
    });
    names.map(|name| format!("{folder}/{name}.rs")).collect()
}

fn visit(root: &Path, folder: &Path, files: &mut Vec<TreeFile>) -> io::Result<()> {
    for entry in fs::read_dir(folder)? {
        let entry = entry?;
        let name = entry.file_name();
        if FOREIGN_FOLDERS.iter().any(|foreign| name == *foreign) {
            continue;
        }
        let path = entry.path();
        if entry.file_type()?.is_dir() {
            visit(root, &path, files)?;
        } else if !is_binary(&path) {
            files.push(read_one(root, &path)?);
        }
    }
    Ok(())
}

/// Golden files of formats are bytes by nature.
fn is_binary(path: &Path) -> bool {
    path.extension()
        .is_some_and(|extension| extension == "bin" || extension == "golden")
}

fn read_one(root: &Path, path: &Path) -> io::Result<TreeFile> {
    let text = fs::read_to_string(path)
        .map_err(|error| io::Error::new(error.kind(), format!("{}: {error}", path.display())))?;
    let path = path
        .strip_prefix(root)
        .unwrap_or(path)
        .to_string_lossy()
        .replace('\\', "/");
    Ok(TreeFile::new(&path, &text))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn modules_for_tests_alone_are_marked() {
        let mut files = [
            TreeFile::new("a/src/lib.rs", "mod b;\n#[cfg(test)]\nmod golden;\n"),
            TreeFile::new("a/src/b.rs", "#[cfg(test)]\npub(crate) mod model;\n"),
            TreeFile::new("a/src/b/model.rs", ""),
            TreeFile::new("a/src/golden.rs", ""),
        ];
        mark_test_modules(&mut files);
        assert_eq!(files.map(|file| file.is_test), [false, false, true, true]);
    }
}
