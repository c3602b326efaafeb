//! Which commit a build names: that of its own checkout, that of its archive, or none.

#[path = "../build/commit.rs"]
mod commit;

use std::fs;
use std::path::Path;
use std::process::Command;

fn git(directory: &Path, arguments: &[&str]) -> String {
    let output = Command::new("git")
        .arg("-C")
        .arg(directory)
        .args(["-c", "user.name=t", "-c", "user.email=t@example.org"])
        .args(arguments)
        .output()
        .expect("git runs");
    assert!(output.status.success(), "{output:?}");
    String::from_utf8(output.stdout)
        .expect("text")
        .trim()
        .to_owned()
}

/// A repository with one commit, of a tree like this one as far as it matters.
fn repository() -> tempfile::TempDir {
    let directory = tempfile::tempdir().expect("a directory");
    let root = directory.path();
    git(root, &["init", "-q"]);
    fs::create_dir_all(root.join("tools/build")).expect("made");
    fs::write(root.join("tools/build/commit"), "$Format:%H$\n").expect("written");
    let attributes = Path::new(env!("CARGO_MANIFEST_DIR")).join("../.gitattributes");
    fs::copy(attributes, root.join(".gitattributes")).expect("copied");
    git(root, &["add", "."]);
    git(root, &["commit", "-qm", "one"]);
    directory
}

#[test]
fn a_checkout_names_its_commit_and_is_built_again_after_the_next() {
    let directory = repository();
    let head = git(directory.path(), &["rev-parse", "HEAD"]);
    let found = commit::find(directory.path());
    assert_eq!(found.commit.as_deref(), Some(&head[..12]));
    assert!(found.files.len() >= 2, "{found:?}");
    let read = |files: &[std::path::PathBuf]| -> Vec<String> {
        let texts = files.iter().map(fs::read_to_string);
        texts.collect::<Result<_, _>>().expect("they are there")
    };
    let before = read(&found.files);
    git(
        directory.path(),
        &["commit", "-q", "--allow-empty", "-m", "two"],
    );
    assert_ne!(read(&found.files), before);
}

#[test]
fn an_archive_names_its_commit_also_inside_another_repository() {
    let directory = repository();
    let head = git(directory.path(), &["rev-parse", "HEAD"]);
    let archive = directory.path().join("archive.tar");
    let path = archive.to_str().expect("text");
    git(directory.path(), &["archive", "-o", path, "HEAD"]);
    let unpacked = directory.path().join("unpacked");
    fs::create_dir(&unpacked).expect("made");
    let mut tar = Command::new("tar");
    let done = tar
        .arg("-xf")
        .arg(&archive)
        .arg("-C")
        .arg(&unpacked)
        .status();
    assert!(done.expect("tar runs").success());
    git(
        directory.path(),
        &["commit", "-q", "--allow-empty", "-m", "two"],
    );
    let found = commit::find(&unpacked);
    assert_eq!(found.commit.as_deref(), Some(&head[..12]));
    assert!(found.files.is_empty());
}

#[test]
fn a_tree_of_neither_kind_has_no_commit() {
    let directory = tempfile::tempdir().expect("a directory");
    assert_eq!(commit::find(directory.path()), commit::Found::default());
    let tree = repository();
    let copy = tree.path().join("copy");
    fs::create_dir_all(copy.join("tools/build")).expect("made");
    fs::write(copy.join("tools/build/commit"), "$Format:%H$\n").expect("written");
    assert_eq!(commit::find(&copy), commit::Found::default());
}
