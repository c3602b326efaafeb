//! The first minutes of a newcomer: nothing configured, and what is configured wrong.

use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};
use strata_tests::server::{binary, listen_anywhere, scratch, spawn};

/// A command in a world of its own: no home, no variables of ours.
fn strata(folder: &Path) -> Command {
    let mut command = Command::new(binary::strata());
    command
        .env_clear()
        .env("HOME", folder)
        .env("XDG_DATA_HOME", folder.join("data"));
    command
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped());
    command
}

/// A server on ports that the system chooses.
fn server(folder: &Path) -> Command {
    let mut command = strata(folder);
    command.arg("server");
    listen_anywhere(&mut command);
    command
}

fn folder() -> tempfile::TempDir {
    tempfile::tempdir_in(scratch()).expect("a folder")
}

fn run(mut command: Command) -> (bool, String) {
    let output = command.output().expect("the command runs");
    let said = [output.stdout, output.stderr].concat();
    (
        output.status.success(),
        String::from_utf8_lossy(&said).into_owned(),
    )
}

/// Every file below a folder.
fn files(folder: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for entry in std::fs::read_dir(folder)
        .into_iter()
        .flatten()
        .filter_map(Result::ok)
    {
        let path = entry.path();
        if path.is_dir() {
            found.extend(files(&path))
        } else {
            found.push(path)
        }
    }
    found
}

#[test]
fn a_start_without_configuration_makes_a_key_that_only_the_owner_reads() {
    let folder = folder();
    let mut command = server(folder.path());
    command.args(["--capacity", "1GiB"]);
    let log = folder.path().join("log");
    let file = || {
        std::fs::File::options()
            .create(true)
            .append(true)
            .open(&log)
            .expect("a log")
    };
    command.stdout(file()).stderr(file());
    let mut child = spawn(command).expect("it starts");
    let deadline = Instant::now() + Duration::from_secs(30);
    let said = loop {
        let said = std::fs::read_to_string(&log).expect("the log");
        let has_ended = child.try_wait().expect("its status").is_some();
        if said.contains("To use it") || has_ended || Instant::now() > deadline {
            break said;
        }
        std::thread::sleep(Duration::from_millis(20));
    };
    child.kill().expect("kill");
    child.wait().expect("its status");
    let is_key = |path: &PathBuf| {
        let name = path
            .file_name()
            .unwrap_or_default()
            .to_string_lossy()
            .into_owned();
        name.contains("root") && path.metadata().is_ok_and(|metadata| metadata.len() > 0)
    };
    let key = files(folder.path()).into_iter().find(is_key);
    let key = key.unwrap_or_else(|| panic!("no file with a root key: {said}"));
    let mode = key.metadata().expect("the key file").permissions().mode();
    assert_eq!(mode & 0o777, 0o600, "{}", key.display());
    let text = std::fs::read_to_string(&key).expect("the key file");
    assert!(
        said.contains(&key.display().to_string()),
        "the file's path is told: {said}"
    );
    for word in text
        .split(|c: char| c.is_whitespace() || "=\":".contains(c))
        .filter(|word| word.len() >= 32)
    {
        assert!(
            !said.contains(word),
            "the secret was printed where no terminal is"
        );
    }
}

#[test]
fn unknown_keys_name_the_nearest_known_one() {
    let folder = folder();
    let file = folder.path().join("strata.toml");
    std::fs::write(&file, "[storage]\ndata_dirr = \"x\"\n").expect("a file");
    let mut command = strata(folder.path());
    command.args(["config", "check", "--config"]).arg(&file);
    let (succeeded, said) = run(command);
    assert!(!succeeded && said.contains("data_dir"), "{said}");
    let mut command = strata(folder.path());
    command.args(["server", "--s3-adr", "127.0.0.1:0"]);
    let (succeeded, said) = run(command);
    assert!(!succeeded && said.contains("--s3-addr"), "{said}");
    let mut command = strata(folder.path());
    command
        .args(["config", "check"])
        .env("STRATA_STORAGE_DATADIR", "x");
    let (succeeded, said) = run(command);
    assert!(
        succeeded && said.contains("STRATA_STORAGE_DATA_DIR"),
        "{said}"
    );
}

#[test]
fn a_scheme_that_needs_more_disks_than_there_are_is_refused() {
    let folder = folder();
    let mut command = server(folder.path());
    command
        .env("STRATA_ERASURE_CODING_DATA_SHARDS", "4")
        .env("STRATA_ERASURE_CODING_PARITY_SHARDS", "2");
    let (succeeded, said) = run(command);
    let why = "erasure_coding asks for 4+2, which needs 6 disks: the data directories lie on 1";
    assert!(!succeeded && said.contains(why), "{said}");
    assert!(
        !files(folder.path())
            .iter()
            .any(|file| file.ends_with("strata.device")),
        "nothing is formatted"
    );
}

#[test]
fn keys_without_a_feature_are_refused() {
    let folder = folder();
    let file = folder.path().join("strata.toml");
    for text in [
        "[metadata]\nraft_peers = [\"node2:9000\"]\n",
        "[admin]\nbind_addr = \"127.0.0.1:9003\"\n",
    ] {
        std::fs::write(&file, text).expect("a file");
        let mut command = strata(folder.path());
        command.args(["config", "check", "--config"]).arg(&file);
        let (succeeded, said) = run(command);
        assert!(
            !succeeded && said.contains("not supported"),
            "{text}: {said}"
        );
    }
}

#[test]
fn the_version_is_told() {
    let folder = folder();
    let mut command = strata(folder.path());
    command.arg("version");
    let (succeeded, said) = run(command);
    assert!(
        succeeded && said.contains(env!("CARGO_PKG_VERSION")),
        "{said}"
    );
}
