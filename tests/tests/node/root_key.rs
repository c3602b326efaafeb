//! Changes of the root key: answered when the new one is in force, and from then on the old one is refused.

use std::path::Path;
use std::process::{Command, Output};
use strata_tests::http::Request;
use strata_tests::server::{ACCESS_KEY_ID, Server, ServerOptions, binary};
use strata_tests::signature::{Payload, Signer};

/// Connections to try, as each may meet another core.
const CONNECTIONS: usize = 20;

fn signer(server: &Server, access_key_id: &str, secret_key: &str) -> Signer {
    Signer {
        access_key_id: access_key_id.into(),
        secret_key: secret_key.into(),
        ..server.signer()
    }
}

/// `strata admin root-key` for the node of a server, with these variables.
fn replace(server: &Server, variables: &[(&str, &str)]) -> Output {
    replace_at(&server.metadata_dir(), variables)
}

fn replace_at(metadata_dir: &Path, variables: &[(&str, &str)]) -> Output {
    let mut command = Command::new(binary::strata());
    command.args(["admin", "root-key", "--metadata-dir"]);
    command.arg(metadata_dir);
    command.env_clear().envs(variables.iter().copied());
    command.env("HOME", "/nonexistent");
    command.output().expect("the command runs")
}

fn said(output: &Output) -> String {
    String::from_utf8_lossy(&[&output.stdout[..], &output.stderr].concat()).into_owned()
}

/// A signed list of the buckets: its status, and whether the key is not known.
fn listed(server: &Server, signer: &Signer) -> (u16, bool) {
    let request = Request::new("GET", "/");
    let request = signer.sign(request, server.s3(), Payload::Hashed, None);
    let answer = request.send(server.s3()).expect("an answer");
    let is_unknown = answer.text().contains("<Code>InvalidAccessKeyId</Code>");
    (answer.status, is_unknown)
}

fn assert_in_force(server: &Server, new: &Signer, old: &[Signer]) {
    for _ in 0..CONNECTIONS {
        assert_eq!(listed(server, new), (200, false));
        for old in old {
            assert_eq!(listed(server, old), (403, true), "{}", old.access_key_id);
        }
    }
}

#[test]
fn changes_in_a_row_each_come_into_force_before_they_are_answered() {
    let mut server = Server::start(ServerOptions::default());
    let mut old = vec![server.signer()];
    for number in 1..=3 {
        let id = format!("STRATANEWROOTKEY000{number}");
        let secret = format!("a/new/secret/{number}/that/only/this/test/knows");
        let output = replace(
            &server,
            &[
                ("STRATA_ROOT_ACCESS_KEY_ID", &id),
                ("STRATA_ROOT_SECRET_KEY", &secret),
            ],
        );
        assert!(output.status.success(), "{output:?}");
        assert!(!said(&output).contains(&secret), "no terminal reads this");
        let new = signer(&server, &id, &secret);
        assert_in_force(&server, &new, &old);
        old.push(new);
    }
    let new = old.pop().expect("the last one");
    let copy = std::fs::read_to_string(server.metadata_dir().join("root-key"));
    assert!(copy.expect("the copy").contains(&new.secret_key));
    // The variables of the server still name the first one, and count at a first start only.
    server.kill();
    server.restart();
    assert_in_force(&server, &new, &old);
}

#[test]
fn without_a_running_server_no_change_is_reported_as_done() {
    let mut server = Server::start(ServerOptions::default());
    assert!(server.stop().success());
    let empty = tempfile::tempdir().expect("a directory");
    for place in [server.metadata_dir(), empty.path().to_owned()] {
        let output = replace_at(&place, &[]);
        assert_eq!(output.status.code(), Some(1), "{output:?}");
        let said = said(&output);
        assert!(
            said.contains("no server runs on") && said.contains("strata server"),
            "{said}"
        );
    }
    let mut left = std::fs::read_dir(empty.path()).expect("a directory");
    assert!(left.next().is_none(), "nothing is made");
    server.restart();
    let signer = server.signer();
    assert_in_force(&server, &signer, &[]);
    // A server that is killed leaves its socket, which nobody answers at and the next start replaces.
    server.kill();
    let output = replace(&server, &[]);
    assert_eq!(output.status.code(), Some(1), "{output:?}");
    server.restart();
    assert!(replace(&server, &[]).status.success());
    assert_eq!(listed(&server, &signer), (403, true));
}

/// A configuration with one more key.
fn configured(server: &Server, id: &str) -> String {
    let file = server.folder().join("strata.toml");
    let text = format!(
        "[s3.auth]\ncredentials = [{{ access_key_id = \"{id}\", secret_key = \"another/secret\" }}]\n"
    );
    std::fs::write(&file, text).expect("written");
    file.display().to_string()
}

#[test]
fn a_configured_key_with_the_id_of_the_root_key_is_refused() {
    const ID: &str = "STRATANEWROOTKEY0009";
    let mut server = Server::start(ServerOptions::default());
    let file = configured(&server, ID);
    server.options_mut().arguments = vec!["--config".into(), file];
    assert!(server.stop().success());
    server.restart();
    let variables = [
        ("STRATA_ROOT_ACCESS_KEY_ID", ID),
        ("STRATA_ROOT_SECRET_KEY", "a/secret/of/its/own"),
    ];
    let output = replace(&server, &variables);
    assert_eq!(output.status.code(), Some(1), "{output:?}");
    assert!(said(&output).contains("id of the root key"), "{output:?}");
    let in_force = server.signer();
    assert_in_force(&server, &in_force, &[]);
    // Without that key configured it comes into force, and then the configuration is refused.
    let arguments = std::mem::take(&mut server.options_mut().arguments);
    assert!(server.stop().success());
    server.restart();
    assert!(replace(&server, &variables).status.success());
    assert!(server.stop().success());
    server.options_mut().arguments = arguments;
    for copy_is_there in [true, false] {
        if !copy_is_there {
            std::fs::remove_file(server.metadata_dir().join("root-key")).expect("removed");
        }
        let before = server.log().len();
        server.try_restart().expect_err("two keys with one id");
        let said = server.log().split_off(before);
        assert!(
            said.contains("id of the root key") && said.contains(ID),
            "{said}"
        );
    }
    server.options_mut().arguments = vec!["--config".into(), configured(&server, ACCESS_KEY_ID)];
    server.try_restart().expect_err("that of the variables");
    server.options_mut().arguments.clear();
    server.restart();
}
