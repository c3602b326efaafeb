//! A new root key: in force where that is promised, and from then on the old one is refused.

use std::process::Command;
use std::time::{Duration, Instant};
use strata_tests::http::Request;
use strata_tests::server::{Server, ServerOptions, binary};
use strata_tests::signature::{Payload, Signer};

/// How long a running server may take: it says "within seconds".
const PATIENCE: Duration = Duration::from_secs(30);

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
fn replace(server: &Server, variables: &[(&str, &str)]) {
    let mut command = Command::new(binary::strata());
    command.args(["admin", "root-key", "--data-dir"]);
    command.arg(server.data_dirs().remove(0));
    command.arg("--metadata-dir").arg(server.metadata_dir());
    command.env_clear().envs(variables.iter().copied());
    let output = command.output().expect("the command runs");
    assert!(output.status.success(), "{output:?}");
}

/// A signed list of the buckets: its status, and whether the key is not known.
fn listed(server: &Server, signer: &Signer) -> (u16, bool) {
    let request = Request::new("GET", "/");
    let request = signer.sign(request, server.s3(), Payload::Hashed, None);
    let answer = request.send(server.s3()).expect("an answer");
    let is_unknown = answer.text().contains("<Code>InvalidAccessKeyId</Code>");
    (answer.status, is_unknown)
}

fn assert_in_force(server: &Server, new: &Signer, old: &[&Signer]) {
    for _ in 0..CONNECTIONS {
        assert_eq!(listed(server, new), (200, false));
        for old in old {
            assert_eq!(listed(server, old), (403, true), "{}", old.access_key_id);
        }
    }
}

#[test]
fn a_running_server_takes_up_a_new_root_key_and_refuses_the_old_one() {
    let mut server = Server::start(ServerOptions::default());
    let old = server.signer();
    let (id, secret) = (
        "STRATANEWROOTKEY0001",
        "a/new/secret/that/only/this/test/knows",
    );
    let new = signer(&server, id, secret);
    assert_in_force(&server, &old, &[&new]);
    replace(
        &server,
        &[
            ("STRATA_ROOT_ACCESS_KEY_ID", id),
            ("STRATA_ROOT_SECRET_KEY", secret),
        ],
    );
    let deadline = Instant::now() + PATIENCE;
    while listed(&server, &new) != (200, false) {
        assert!(Instant::now() < deadline, "the key was never taken up");
        std::thread::sleep(Duration::from_millis(20));
    }
    assert_in_force(&server, &new, &[&old]);
    // The variables of the server still name the old one, and count at a first start only.
    server.kill();
    server.restart();
    assert_in_force(&server, &new, &[&old]);
}

#[test]
fn a_stopped_server_takes_up_a_new_root_key_when_it_starts() {
    let mut server = Server::start(ServerOptions::default());
    let old = server.signer();
    assert_in_force(&server, &old, &[]);
    assert!(server.stop().success());
    replace(&server, &[]);
    let made = server.metadata_dir().join("root-key.next");
    let text = std::fs::read_to_string(made).expect("the request");
    let value = |name: &str| {
        let mut lines = text.lines();
        lines.find_map(|line| line.strip_prefix(name)).expect(name)
    };
    let (id, secret) = (value("AWS_ACCESS_KEY_ID="), value("AWS_SECRET_ACCESS_KEY="));
    server.restart();
    let new = signer(&server, id, secret);
    assert_in_force(&server, &new, &[&old]);
    let copy = std::fs::read_to_string(server.metadata_dir().join("root-key"));
    assert_eq!(copy.expect("the copy"), text);
    assert!(server.stop().success());
    server.restart();
    assert_in_force(&server, &new, &[&old]);
}
