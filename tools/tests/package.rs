//! What a package has beside the binary: the configuration is in order, the units are what systemd understands, and what the
//! package lists is there.

use std::path::{Path, PathBuf};
use std::process::Command;

fn packaging() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("packaging")
}

#[test]
fn the_configuration_is_in_order() {
    let output = Command::new(env!("CARGO_BIN_EXE_strata"))
        .args(["config", "show", "--config"])
        .arg(packaging().join("strata.toml"))
        .env_clear()
        .output()
        .expect("the binary runs");
    assert!(output.status.success(), "{output:?}");
    let shown = String::from_utf8(output.stdout).expect("text");
    assert!(
        shown.contains("metadata_dir = \"/var/lib/strata/metadata\""),
        "{shown}"
    );
}

/// The units start what there is, as systemd reads them: `systemd-analyze verify` where it is installed.
#[test]
fn the_units_are_in_order() {
    let directory = tempfile::tempdir().expect("a directory");
    for name in ["strata.service", "strata@.service"] {
        let text = std::fs::read_to_string(packaging().join(name)).expect("there");
        assert!(
            text.contains("Type=notify\n") && text.contains("\nWatchdogSec="),
            "{name}"
        );
        assert!(text.contains("\nExecStart=/usr/bin/strata server --config /etc/strata/"));
        // The binary of a package is not installed here: the one that was built stands in for it.
        let text = text.replace("/usr/bin/strata", env!("CARGO_BIN_EXE_strata"));
        let text = text.replace("Documentation=man:strata-server(1)\n", "");
        std::fs::write(directory.path().join(name), text).expect("written");
    }
    let verified = Command::new("systemd-analyze")
        .args(["verify", "--man=no"])
        .arg(directory.path().join("strata.service"))
        .arg(directory.path().join("strata@one.service"))
        .output();
    match verified {
        Ok(output) => {
            let said = String::from_utf8_lossy(&output.stderr).into_owned();
            assert!(
                output.status.success() && !said.contains("strata"),
                "{said}"
            );
        }
        Err(error) => println!("skipped: systemd-analyze is not here ({error})"),
    }
}

#[test]
fn what_the_package_lists_is_there() {
    let here = Path::new(env!("CARGO_MANIFEST_DIR"));
    let manifest = std::fs::read_to_string(here.join("Cargo.toml")).expect("there");
    let manifest: toml::Table = manifest.parse().expect("TOML");
    let assets = manifest["package"]["metadata"]["deb"]["assets"].as_array();
    let sources = assets
        .expect("assets")
        .iter()
        .map(|asset| asset[0].as_str().expect("a path"));
    let mut count = 0;
    for source in sources.filter(|path| !path.contains("target/")) {
        assert!(here.join(source).exists(), "{source}");
        count += 1;
    }
    assert!(count > 5, "only {count}");
}
