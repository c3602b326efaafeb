//! The binary as a user meets it: exit status, what is said where. Nothing here starts a server.

use std::path::Path;
use std::process::{Command, Output};

fn strata(arguments: &[&str], variables: &[(&str, &str)]) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_strata"));
    command
        .args(arguments)
        .env_clear()
        .env("HOME", "/nonexistent");
    command
        .envs(variables.iter().copied())
        .output()
        .expect("the binary runs")
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8(bytes.to_vec()).expect("text")
}

#[test]
fn version_is_one_line_or_one_object() {
    let plain = strata(&["version"], &[]);
    assert!(plain.status.success());
    assert!(text(&plain.stdout).starts_with("strata ") && text(&plain.stdout).lines().count() == 1);
    let json = text(&strata(&["version", "--json"], &[]).stdout);
    let fields: serde_json::Value = serde_json::from_str(&json).expect("JSON");
    assert_eq!(fields["version"], env!("CARGO_PKG_VERSION"));
    // Which commit it is, and that it is one, is tested in commit.rs: this build may not know it.
    let commit = fields["commit"].as_str().expect("a commit");
    assert!(text(&plain.stdout).contains(&format!("commit {commit}")));
    let short = text(&strata(&["--version"], &[]).stdout);
    assert!(short.contains(&format!("commit {commit}")), "{short}");
}

#[test]
fn a_mistake_in_the_configuration_exits_with_2_and_names_its_place() {
    let directory = tempfile::tempdir().expect("a directory");
    let path = directory.path().join("strata.toml");
    std::fs::write(&path, "[s3]\nbnid_addr = \"0.0.0.0:1\"\n").expect("written");
    let file = path.to_str().expect("text");
    for command in [
        ["config", "check"],
        ["config", "show"],
        ["admin", "root-key"],
    ] {
        let output = strata(&[&command[..], &["--config", file]].concat(), &[]);
        assert_eq!(output.status.code(), Some(2), "{command:?}");
        let said = text(&output.stderr);
        assert!(
            said.contains("strata.toml:2") && said.contains("`s3.bind_addr`"),
            "{said}"
        );
    }
    let server = strata(&["server", "--config", file], &[]);
    assert_eq!(server.status.code(), Some(2));
}

#[test]
fn an_unknown_flag_exits_with_2_and_names_the_nearest() {
    let output = strata(&["server", "--s3-adr", "127.0.0.1:1"], &[]);
    assert_eq!(output.status.code(), Some(2));
    assert!(text(&output.stderr).contains("--s3-addr"));
}

#[test]
fn an_unknown_variable_is_only_a_warning() {
    let output = strata(&["config", "check"], &[("STRATA_NODE_CORE", "2")]);
    assert_eq!(output.status.code(), Some(0));
    let said = text(&output.stderr);
    assert!(
        said.contains("warning") && said.contains("STRATA_NODE_CORES"),
        "{said}"
    );
}

#[test]
fn show_names_where_each_value_comes_from() {
    let shown = strata(
        &["config", "show", "--cores", "2"],
        &[("STRATA_S3_REGION", "here")],
    );
    let shown = text(&shown.stdout);
    assert!(shown.contains("cores = \"2\"  # --cores"), "{shown}");
    assert!(
        shown.contains("region = \"here\"  # STRATA_S3_REGION"),
        "{shown}"
    );
    assert!(shown.contains("id = 1  # default"), "{shown}");
    let json = strata(&["config", "show", "--json", "--cores", "2"], &[]);
    let fields: serde_json::Value = serde_json::from_slice(&json.stdout).expect("JSON");
    assert_eq!(fields["node.cores"]["origin"], "--cores");
}

#[test]
fn a_new_root_key_needs_a_running_server() {
    let output = strata(
        &[
            "admin",
            "root-key",
            "--metadata-dir",
            "/nonexistent/metadata",
        ],
        &[],
    );
    assert_eq!(output.status.code(), Some(1));
    assert!(text(&output.stderr).contains("no server runs on /nonexistent/metadata"));
    assert!(!Path::new("/nonexistent").exists());
}

#[test]
fn half_a_root_key_is_refused_and_nothing_is_left_behind() {
    let directory = tempfile::tempdir().expect("a directory");
    let path = directory.path().join("data");
    let path = path.to_str().expect("text");
    let variables = [("STRATA_ROOT_ACCESS_KEY_ID", "admin")];
    for command in [
        &["admin", "root-key"][..],
        &["server"],
        &["config", "check"],
    ] {
        let output = strata(&[command, &["--data-dir", path]].concat(), &variables);
        assert_eq!(output.status.code(), Some(2), "{command:?}");
        let said = text(&[output.stdout, output.stderr].concat());
        assert!(said.contains("STRATA_ROOT_SECRET_KEY is not"), "{said}");
    }
    assert!(!Path::new(path).exists());
}

#[test]
fn a_configured_key_with_the_id_of_the_root_key_is_refused() {
    let variables = [
        ("STRATA_ROOT_ACCESS_KEY_ID", "admin"),
        ("STRATA_ROOT_SECRET_KEY", "the-secret-of-root"),
        (
            "STRATA_S3_AUTH_CREDENTIALS",
            "[{ access_key_id = \"admin\", secret_key = \"another-secret\" }]",
        ),
    ];
    let output = strata(&["config", "check"], &variables);
    assert_eq!(output.status.code(), Some(2));
    assert!(text(&output.stderr).contains("id of the root key, admin"));
}

#[test]
fn help_is_a_command_and_lists_only_what_is_taken() {
    for arguments in [
        &["help"][..],
        &["help", "server"],
        &["help", "config", "show"],
    ] {
        let output = strata(arguments, &[]);
        assert_eq!(output.status.code(), Some(0), "{arguments:?}");
        assert!(text(&output.stdout).contains("Usage: strata"));
    }
    let shown = text(&strata(&["admin", "root-key", "--help"], &[]).stdout);
    for taken in ["--config", "--data-dir", "--metadata-dir"] {
        assert!(shown.contains(taken), "`{taken}` is not in {shown}");
    }
    for other in ["--cores", "--s3-addr", "--capacity", "--log-level"] {
        assert!(!shown.contains(other), "`{other}` is in {shown}");
    }
}

/// Every command that prints something and ends by itself.
fn printing(metadata_dir: &str) -> Vec<Vec<&str>> {
    vec![
        vec!["help"],
        vec!["--version"],
        vec!["version", "--json"],
        vec!["config", "check"],
        vec!["config", "show"],
        vec!["config", "show", "--json"],
        vec!["inspect", env!("CARGO_MANIFEST_DIR")],
        vec!["status", "--json", "--metadata-dir", metadata_dir],
    ]
}

#[test]
fn a_reader_that_goes_away_is_no_error() {
    let directory = tempfile::tempdir().expect("a directory");
    for arguments in printing(directory.path().to_str().expect("text")) {
        let (reader, writer) = std::io::pipe().expect("a pipe");
        drop(reader);
        let output = Command::new(env!("CARGO_BIN_EXE_strata"))
            .args(&arguments)
            .env("HOME", "/nonexistent")
            .stdout(writer)
            .output()
            .expect("the binary runs");
        let said = text(&output.stderr);
        let expected = match arguments[0] {
            // There is nothing to inspect in the sources: it fails for a reason of its own.
            "inspect" => Some(1),
            "status" => Some(3),
            _ => Some(0),
        };
        assert_eq!(output.status.code(), expected, "{arguments:?}: {said}");
        assert!(!said.contains("panicked"), "{arguments:?}: {said}");
    }
}

#[test]
fn a_full_disk_is_an_error_that_is_named() {
    let directory = tempfile::tempdir().expect("a directory");
    for arguments in printing(directory.path().to_str().expect("text")) {
        let full = std::fs::OpenOptions::new().write(true).open("/dev/full");
        let output = Command::new(env!("CARGO_BIN_EXE_strata"))
            .args(&arguments)
            .env("HOME", "/nonexistent")
            .stdout(full.expect("/dev/full"))
            .output()
            .expect("the binary runs");
        let said = text(&output.stderr);
        assert_eq!(output.status.code(), Some(1), "{arguments:?}: {said}");
        if arguments[0] != "inspect" {
            assert!(said.contains("No space left"), "{arguments:?}: {said}");
        }
    }
}

#[test]
fn config_check_names_everything_that_is_wrong_and_the_start_refuses_the_same() {
    let directory = tempfile::tempdir().expect("a directory");
    let path = directory.path().join("strata.toml");
    std::fs::write(
        &path,
        "[metadata]\nmap_size = 1\n[s3.auth]\ncredentials = [{ access_key_id = \"a\" }, 2]\n",
    )
    .expect("written");
    let file = path.to_str().expect("text");
    let flags = [
        "--config",
        file,
        "--cores",
        "999",
        "--capacity",
        "1MiB",
        "--data-dir",
        "/nonexistent/data",
    ];
    let variables = [("RUST_LOG", "strata=loud"), ("STRATA_S3_BIND_ADDR", "9002")];
    for command in [&["config", "check"][..], &["server"]] {
        let output = strata(&[command, &flags].concat(), &variables);
        assert_eq!(output.status.code(), Some(2), "{command:?}");
        let said = text(&output.stderr);
        for expected in [
            "`metadata.map_size` must be at least 256MiB",
            "entry 1",
            "entry 2",
            "`node.cores` asks for 999",
            "`storage.capacity` must be at least 256MiB",
            "RUST_LOG",
            "STRATA_S3_BIND_ADDR: `s3.bind_addr` must be IP:PORT",
        ] {
            assert!(said.contains(expected), "`{expected}` is not in {said}");
        }
    }
    assert!(!Path::new("/nonexistent").exists());
}
