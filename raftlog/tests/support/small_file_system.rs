//! A small file system that one test has for itself.

use std::path::Path;
use std::process::Command;

/// Set in the process that has the small file system.
const DIRECTORY: &str = "STRATA_TEST_SMALL_FILE_SYSTEM";

/// Runs the test of this name in a process of its own, with a small file system that it alone sees, and calls its work there.
pub fn on_small_file_system(test: &str, bytes: usize, work: impl FnOnce(&Path)) {
    if let Some(dir) = std::env::var_os(DIRECTORY) {
        return work(Path::new(&dir));
    }
    let dir = tempfile::tempdir().expect("a directory");
    let program = std::env::current_exe().expect("this program");
    let script = format!(
        "mount -t tmpfs -o size={bytes} small \"$1\" && exec \"$0\" --exact {test} --nocapture"
    );
    let run = |namespaces: &[&str]| {
        let mut command = Command::new("unshare");
        command.args(namespaces).args(["--", "sh", "-c", &script]);
        command.arg(&program).arg(dir.path());
        command
            .env(DIRECTORY, dir.path())
            .output()
            .expect("unshare")
    };
    let mut output = run(&["--mount"]);
    if !output.status.success() && output.stdout.is_empty() {
        output = run(&["--user", "--map-root-user", "--mount"]);
    }
    let text = String::from_utf8_lossy(&output.stdout) + String::from_utf8_lossy(&output.stderr);
    assert!(
        output.status.success(),
        "a mount namespace is needed: {text}"
    );
    assert!(text.contains("1 passed"), "{text}");
}
