//! The binary under test: built once per test process, in the profile of the tests, never a stale one.
//!
//! Invariant: what is started is what cargo has just built from this tree. Cargo decides what is out of date; a lock
//! file keeps other test processes from building between that and the link to it that this process keeps.

use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::OnceLock;

/// The built `strata`, for this process alone.
pub fn strata() -> &'static Path {
    static BINARY: OnceLock<PathBuf> = OnceLock::new();
    BINARY.get_or_init(|| {
        build().unwrap_or_else(|error| panic!("strata could not be built: {error}"))
    })
}

/// The folder of the profile that this test was built in: `<target>/debug` for one.
fn profile_folder() -> PathBuf {
    let test = std::env::current_exe().expect("the test has a path");
    let deps = test.parent().filter(|folder| folder.ends_with("deps"));
    deps.and_then(Path::parent)
        .expect("tests lie in <target>/<profile>/deps")
        .to_path_buf()
}

/// Cargo's target folder.
pub fn target() -> PathBuf {
    profile_folder()
        .parent()
        .expect("a profile lies in the target folder")
        .to_path_buf()
}

/// The folder that test processes share; each has one of its own in it.
pub fn base() -> PathBuf {
    target().join("strata-tests")
}

fn build() -> Result<PathBuf, String> {
    let own = super::scratch().join("bin");
    fs::create_dir_all(&own).map_err(|error| error.to_string())?;
    // Beside the folders of the test processes, where all of them meet it.
    let lock = File::create(base().join("build.lock")).map_err(|error| error.to_string())?;
    lock.lock().map_err(|error| error.to_string())?;
    let built = cargo_build()?;
    let binary = own.join("strata");
    // Cargo replaces the file when it builds again and never writes into it, so a link stays what it was.
    fs::hard_link(&built, &binary)
        .or_else(|_| fs::copy(&built, &binary).map(|_| ()))
        .map_err(|error| format!("{}: {error}", built.display()))?;
    Ok(binary)
}

/// The folder `debug` holds the profile `dev`; every other folder is named for its profile.
fn cargo_build() -> Result<PathBuf, String> {
    let folder = profile_folder();
    let name = folder
        .file_name()
        .unwrap_or_default()
        .to_string_lossy()
        .into_owned();
    let profile = if name == "debug" { "dev" } else { &name };
    let output = Command::new(std::env::var("CARGO").unwrap_or_else(|_| "cargo".into()))
        // The whole workspace's features, as the tests were built with: nothing is built a second time.
        .args([
            "build",
            "--workspace",
            "--bin",
            "strata",
            "--locked",
            "--profile",
            profile,
        ])
        .args(["--message-format", "json-render-diagnostics"])
        .arg("--target-dir")
        .arg(target())
        .current_dir(crate::tidy::tree::root())
        .output()
        .map_err(|error| format!("cargo build: {error}"))?;
    if !output.status.success() {
        return Err(String::from_utf8_lossy(&output.stderr).into_owned());
    }
    let messages = String::from_utf8_lossy(&output.stdout);
    let executable = messages.lines().filter_map(executable_in).next_back();
    executable.ok_or_else(|| "cargo build named no executable".into())
}

fn executable_in(message: &str) -> Option<PathBuf> {
    let message: serde_json::Value = serde_json::from_str(message).ok()?;
    (message["target"]["name"] == "strata").then_some(())?;
    message["executable"].as_str().map(PathBuf::from)
}

/// Removes the folders of test processes that have ended.
pub fn remove_left_over(base: &Path) {
    let Ok(entries) = fs::read_dir(base) else {
        return;
    };
    for entry in entries.filter_map(Result::ok) {
        let name = entry.file_name().to_string_lossy().into_owned();
        let process = name
            .strip_prefix("run-")
            .and_then(|id| id.parse::<u32>().ok());
        if process.is_some_and(|id| !Path::new("/proc").join(id.to_string()).exists()) {
            // Another test process may remove it at the same time.
            let _gone = fs::remove_dir_all(entry.path());
        }
    }
}
