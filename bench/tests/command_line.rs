//! The binary as a user meets it. Nothing here measures.

use std::fs::OpenOptions;
use std::process::{Command, Output, Stdio};

fn bench(arguments: &[&str], output: Stdio) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_strata-bench"));
    let child = command
        .args(arguments)
        .stdout(output)
        .stderr(Stdio::piped())
        .spawn();
    child
        .and_then(std::process::Child::wait_with_output)
        .expect("the binary runs")
}

#[test]
fn a_reader_that_goes_away_is_no_error_and_a_full_disk_is_one() {
    let directory = tempfile::tempdir().expect("a directory");
    let file = directory.path().join("file");
    let file = file.to_str().expect("text");
    let prepare = [
        "device",
        "--pattern",
        "prepare",
        "--file-size",
        "1MiB",
        "--file",
        file,
    ];
    for arguments in [&["--help"][..], &["--version"], &prepare] {
        let (reader, writer) = std::io::pipe().expect("a pipe");
        drop(reader);
        let output = bench(arguments, writer.into());
        assert_eq!(output.status.code(), Some(0), "{arguments:?}: {output:?}");
        let full = OpenOptions::new().write(true).open("/dev/full");
        let output = bench(arguments, full.expect("/dev/full").into());
        assert_eq!(output.status.code(), Some(1), "{arguments:?}: {output:?}");
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        assert!(said.contains("No space left"), "{arguments:?}: {said}");
    }
}

#[test]
fn a_mistake_in_the_command_line_exits_with_2() {
    let output = bench(&["device"], Stdio::piped());
    assert_eq!(output.status.code(), Some(2), "{output:?}");
}
