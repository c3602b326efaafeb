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
}

impl TreeFile {
    /// Whether this is Rust.
    pub fn is_rust(&self) -> bool {
        self.path.ends_with(".rs")
    }

    /// Whether the whole file is test code: the tests crate, or a crate's `tests` folder or file.
    pub fn is_test(&self) -> bool {
        self.path.starts_with("tests/")
            || self.path.contains("/tests/")
            || self.path.ends_with("/tests.rs")
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
    Ok(files)
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
    Ok(TreeFile { path, text })
}
