//! Tells the compiler which commit is built, as the variable `BUILT_FROM_COMMIT`.
//!
//! Only release builds look it up: a build of a working copy says nothing about a commit, and one that is made again and again
//! is not to be made anew for every commit.

#[path = "build/commit.rs"]
mod commit;

use std::path::Path;

fn main() {
    let here = std::env::var("CARGO_MANIFEST_DIR").unwrap_or_default();
    let root = Path::new(&here).parent().unwrap_or(Path::new("."));
    let is_release = std::env::var("PROFILE").is_ok_and(|profile| profile == "release");
    let found = match is_release {
        true => commit::find(root),
        false => commit::Found::default(),
    };
    let own = ["tools/build.rs", "tools/build"].map(|path| root.join(path));
    for file in own.iter().chain(&found.files) {
        println!("cargo::rerun-if-changed={}", file.display());
    }
    let name = found.commit.as_deref().unwrap_or("unknown");
    println!("cargo::rustc-env=BUILT_FROM_COMMIT={name}");
}
