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
fn a_new_root_key_waits_for_the_server_and_is_not_shown_to_programs() {
    let directory = tempfile::tempdir().expect("a directory");
    let path = directory.path().to_str().expect("text");
    let output = strata(&["admin", "root-key", "--metadata-dir", path], &[]);
    assert!(output.status.success());
    let request = std::fs::read_to_string(directory.path().join("root-key.next")).expect("there");
    let secret = request
        .lines()
        .find_map(|line| line.strip_prefix("AWS_SECRET_ACCESS_KEY="));
    let secret = secret.expect("a secret");
    assert!(secret.len() >= 40);
    assert!(!text(&output.stdout).contains(secret) && !text(&output.stderr).contains(secret));
}

#[test]
fn a_new_root_key_needs_a_node() {
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
    assert!(text(&output.stderr).contains("there is no node here"));
    assert!(!Path::new("/nonexistent").exists());
}

#[test]
fn half_a_root_key_is_refused() {
    let directory = tempfile::tempdir().expect("a directory");
    let path = directory.path().to_str().expect("text");
    let variables = [("STRATA_ROOT_ACCESS_KEY_ID", "admin")];
    let output = strata(&["admin", "root-key", "--metadata-dir", path], &variables);
    assert_eq!(output.status.code(), Some(1));
    assert!(text(&output.stderr).contains("STRATA_ROOT_SECRET_KEY is not"));
}
