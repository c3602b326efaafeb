//! Which commit a source tree is of, for the build scripts.
//!
//! Invariants: a tree that is no checkout of its own (a source archive unpacked inside another repository) is never named for
//! that other one; where nothing can be found out the commit is not known, and the build goes on.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

/// Digits of a commit that are shown: enough to be the only one.
const DIGITS: usize = 12;

/// Where `git archive` writes the commit (see .gitattributes); in a checkout it holds git's own placeholder.
const ARCHIVED: &str = "tools/build/commit";

/// What was found out.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Found {
    /// The commit.
    pub commit: Option<String>,
    /// The files that change when another commit is checked out or made.
    pub files: Vec<PathBuf>,
}

/// Finds out which commit the tree at `root` is of.
pub fn find(root: &Path) -> Found {
    let top = git(root, &["rev-parse", "--show-toplevel"]).map(PathBuf::from);
    let same = |top: PathBuf| Some(top.canonicalize().ok()? == root.canonicalize().ok()?);
    if top.and_then(same) != Some(true) {
        return Found {
            commit: archived(root),
            files: Vec::new(),
        };
    }
    let branch = git(root, &["symbolic-ref", "-q", "HEAD"]);
    let names = ["HEAD", "packed-refs"].map(str::to_owned);
    let files = names.into_iter().chain(branch).filter_map(|name| {
        let path = root.join(git(root, &["rev-parse", "--git-path", &name])?);
        // A file that is not there would count as changed at every build.
        path.exists().then_some(path)
    });
    Found {
        commit: git(root, &["rev-parse", "HEAD"]).and_then(|text| short(&text)),
        files: files.collect(),
    }
}

fn archived(root: &Path) -> Option<String> {
    short(&fs::read_to_string(root.join(ARCHIVED)).ok()?)
}

/// The first digits of a whole commit; `None` for anything else.
fn short(text: &str) -> Option<String> {
    let text = text.trim();
    let whole = text.len() >= 40 && text.bytes().all(|byte| byte.is_ascii_hexdigit());
    whole.then(|| text[..DIGITS].to_owned())
}

/// The first line that git says; `None` where there is no git or it refuses.
fn git(root: &Path, arguments: &[&str]) -> Option<String> {
    let output = Command::new("git")
        .arg("-C")
        .arg(root)
        .args(arguments)
        .output()
        .ok()?;
    let text = String::from_utf8(output.stdout).ok()?;
    let line = text.lines().next()?.to_owned();
    (output.status.success() && !line.is_empty()).then_some(line)
}
