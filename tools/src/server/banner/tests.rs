//! What a start says, and what it must not say.

use super::*;
use crate::config::machine::Machine;
use crate::config::{Findings, load};
use strata_net::node::status::Severity;

fn config() -> Config {
    let home = [("XDG_DATA_HOME".into(), "/data".into())];
    let machine = Machine::here().expect("it tells");
    load(None, Findings::default(), &home, machine)
        .expect("defaults")
        .config
}

fn key() -> RootKey {
    RootKey {
        access_key_id: "STRATAKEY".to_owned(),
        secret_access_key: "hushhush".to_owned(),
    }
}

fn text(known: Known, first_start: bool, terminal: bool) -> String {
    let report = NodeReport {
        first_start,
        cluster: "c1".to_owned(),
        ..NodeReport::default()
    };
    let banner = Banner {
        config: &config(),
        report: &report,
        layout: "single copy",
        degradations: &[Degradation {
            severity: Severity::Warning,
            kind: "device_missing",
            what: "device d9 is not there".to_owned(),
            remedy: "put it back".to_owned(),
        }],
        cores: &[0, 1],
        s3: ([0, 0, 0, 0], 4000).into(),
        metrics: ([127, 0, 0, 1], 4001).into(),
        metadata_dir: Path::new("/data/my strata"),
        key_file: Path::new("/data/my strata/root-key"),
        key: Some(&key()),
        known,
        shared_disks: None,
        environment_differs: known == Known::Elsewhere,
        terminal,
    };
    banner.text()
}

#[test]
fn a_terminal_sees_the_key_once() {
    let first = text(Known::Copy, true, true);
    assert!(
        first.contains("STRATAKEY") && first.contains("hushhush"),
        "{first}"
    );
    let later = text(Known::Copy, false, true);
    assert!(!later.contains("hushhush"), "{later}");
    assert!(
        later.contains("$(cat '/data/my strata/root-key')"),
        "{later}"
    );
}

#[test]
fn elsewhere_only_the_path_is_shown() {
    for known in [Known::Copy, Known::Environment, Known::Elsewhere] {
        for first_start in [true, false] {
            assert!(!text(known, first_start, false).contains("hushhush"));
        }
    }
    assert!(!text(Known::Environment, true, true).contains("hushhush"));
    assert!(text(Known::Copy, true, false).contains("root-key"));
}

#[test]
fn it_says_where_it_listens_and_what_is_not_open() {
    let lines = text(Known::Copy, false, false);
    assert!(
        lines.contains("http://127.0.0.1:4000 (region us-east-1)"),
        "{lines}"
    );
    assert!(lines.contains("http://127.0.0.1:4001/metrics"), "{lines}");
    assert!(
        lines.contains("not open") && lines.contains("127.0.0.1:9000"),
        "{lines}"
    );
    assert!(
        lines.contains("DEGRADED  device d9 is not there. To do: put it back"),
        "{lines}"
    );
    assert!(
        lines.contains("WARNING   S3 listens on 0.0.0.0:4000 without TLS"),
        "{lines}"
    );
}

#[test]
fn a_lost_key_has_a_remedy() {
    let lines = text(Known::Elsewhere, false, true);
    assert!(
        lines.contains("STRATAKEY; no copy here") && lines.contains("strata admin root-key"),
        "{lines}"
    );
    assert!(lines.contains("hold another key"), "{lines}");
}
