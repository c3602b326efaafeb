//! Precedence, unknown keys, refused keys.

use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::path::{Path, PathBuf};

use strata_raftlog::namespace::ACCESS_KEY_BYTES_MAX;

use super::schema::{self, KEYS, State};
use super::value::{CoreChoice, Secret, Value};
use super::*;

fn variables(pairs: &[(&str, &str)]) -> Vec<(OsString, OsString)> {
    pairs
        .iter()
        .map(|(name, text)| (name.into(), text.into()))
        .collect()
}

fn flag(path: &str, text: &str) -> Findings {
    let mut findings = Findings::default();
    let key = schema::known(path);
    findings.take(
        key,
        Value::from_text(key.kind, text),
        Origin::CommandLine("--flag".to_owned()),
    );
    findings
}

fn written(text: &str) -> (tempfile::TempDir, PathBuf) {
    let directory = tempfile::tempdir().expect("a directory");
    let path = directory.path().join("strata.toml");
    std::fs::write(&path, text).expect("written");
    (directory, path)
}

/// A machine with four processors and 8 GiB.
fn machine() -> Machine {
    Machine {
        processors: vec![0, 1, 2, 3],
        memory_bytes: 8 << 30,
    }
}

/// What would be in force for a user with a home directory.
fn load(
    path: Option<PathBuf>,
    flags: Findings,
    variables: &[(OsString, OsString)],
) -> Result<Loaded, ConfigError> {
    let home = (OsString::from("HOME"), OsString::from("/h"));
    let variables: Vec<_> = [&[home], variables].concat();
    super::load(path, flags, &variables, machine())
}

fn problems_of(text: &str) -> Vec<String> {
    file::parse(Path::new("s.toml"), text).problems
}

fn region(settings: &Settings) -> (Value, Origin) {
    settings
        .get(schema::known("s3.region"))
        .expect("it has a default")
        .clone()
}

#[test]
fn the_command_line_wins_then_the_environment_then_the_file() {
    let (_directory, path) = written("[s3]\nregion = \"file\"\n");
    let environment = variables(&[("STRATA_S3_REGION", "environment")]);
    let load = |path: Option<PathBuf>, flags: Findings, environment: &[(OsString, OsString)]| {
        let loaded = load(path, flags, environment).expect("in order");
        region(&loaded.settings)
    };
    let text = |text: &str| Value::Text(text.to_owned());
    assert_eq!(
        load(None, Findings::default(), &[]),
        (text("us-east-1"), Origin::Default)
    );
    let from_file = load(Some(path.clone()), Findings::default(), &[]);
    assert_eq!(from_file, (text("file"), Origin::File(path.clone(), 2)));
    let from_environment = load(Some(path.clone()), Findings::default(), &environment);
    assert_eq!(from_environment.0, text("environment"));
    let from_flag = load(Some(path), flag("s3.region", "flag"), &environment);
    assert_eq!(from_flag.0, text("flag"));
}

#[test]
fn strata_config_names_the_file_and_the_flag_beats_it() {
    let (_one, first) = written("[s3]\nregion = \"first\"\n");
    let (_two, second) = written("[s3]\nregion = \"second\"\n");
    let environment = variables(&[("STRATA_CONFIG", &first.to_string_lossy())]);
    let loaded = load(None, Findings::default(), &environment).expect("in order");
    assert_eq!(region(&loaded.settings).0, Value::Text("first".to_owned()));
    let loaded = load(Some(second), Findings::default(), &environment).expect("in order");
    assert_eq!(region(&loaded.settings).0, Value::Text("second".to_owned()));
}

#[test]
fn every_key_has_a_variable() {
    for key in KEYS.iter().filter(|key| key.state == State::Live) {
        let sample = match key.kind {
            schema::Kind::Integer { .. } => "7",
            schema::Kind::Flag => "true",
            schema::Kind::Choice(words) => words[0],
            schema::Kind::Address => "127.0.0.1:4444",
            schema::Kind::Size { .. } => "3GiB",
            schema::Kind::Region => "here",
            schema::Kind::Domains => "[\"s3.example.org\", \"store\"]",
            schema::Kind::Cores => "0,2-3",
            schema::Kind::Credentials => "[{ access_key_id = \"abc\", secret_key = \"12345678\" }]",
            schema::Kind::WebIdentities => {
                "[{ issuer = \"https://a.b\", audiences = [\"x\"], jwks = \"/k\" }]"
            }
            schema::Kind::Text | schema::Kind::Directory | schema::Kind::File => "/somewhere",
            schema::Kind::Directories => "[\"/one\", \"/two\"]",
        };
        let read = environment::read(&variables(&[(&key.variable(), sample)]));
        assert_eq!(
            read.findings.given.len(),
            1,
            "{}: {:?}",
            key.variable(),
            read.findings
        );
        assert_eq!(read.findings.given[0].key, key);
    }
}

#[test]
fn the_long_variable_beats_the_short_one() {
    let both = variables(&[
        ("STRATA_LOG_LEVEL", "debug"),
        ("STRATA_OBSERVABILITY_LOG_LEVEL", "warn"),
    ]);
    for order in [both.clone(), both.into_iter().rev().collect()] {
        let loaded = load(None, Findings::default(), &order).expect("in order");
        let level = loaded
            .settings
            .get(schema::known("observability.log_level"))
            .expect("default");
        assert_eq!(level.0, Value::Text("warn".to_owned()));
    }
}

#[test]
fn an_unknown_variable_is_a_warning_that_names_the_nearest() {
    let environment = variables(&[
        ("STRATA_S3_REGIN", "x"),
        ("STRATA_ROOT_ACCESS_KEY_ID", "admin"),
        ("STRATA_ROOT_SECRET_KEY", "password1"),
        ("HOME", "/"),
    ]);
    let loaded = load(None, Findings::default(), &environment).expect("in order");
    let warnings = loaded.warnings;
    assert_eq!(warnings.len(), 1, "{warnings:?}");
    assert!(warnings[0].contains("STRATA_S3_REGIN") && warnings[0].contains("`STRATA_S3_REGION`"));
}

#[test]
fn a_value_that_is_not_utf_8_is_a_mistake_and_not_silence() {
    let broken = |name: &str| {
        let value = OsString::from_vec(b"/data\xff".to_vec());
        vec![(OsString::from(name), value)]
    };
    for name in [
        "STRATA_STORAGE_DATA_DIR",
        "STRATA_LOG_LEVEL",
        "STRATA_ROOT_SECRET_KEY",
    ] {
        let error = load(None, Findings::default(), &broken(name)).expect_err("refused");
        let said = error.to_string();
        assert!(said.contains(name) && said.contains("UTF-8"), "{said}");
    }
    let loaded = load(None, Findings::default(), &broken("STRATA_DATA")).expect("in order");
    let warnings = loaded.warnings;
    assert!(warnings[0].contains("STRATA_DATA"), "{warnings:?}");
    let name = OsString::from_vec(b"STRATA_\xff".to_vec());
    let loaded = load(None, Findings::default(), &[(name, "x".into())]).expect("in order");
    let warnings = loaded.warnings;
    assert!(warnings[0].contains("STRATA_"), "{warnings:?}");
    // A path need not be text.
    let read = environment::read(&broken("STRATA_CONFIG"));
    assert_eq!(
        read.config_file.expect("a path").as_os_str().as_bytes(),
        b"/data\xff"
    );
}

#[test]
fn a_key_pair_that_passes_is_one_that_the_state_takes() {
    let check = |id: usize, secret: usize| {
        let secret = Secret::new("s".repeat(secret));
        value::check_key_pair(&"i".repeat(id), &secret)
    };
    assert_eq!(check(3, 8), Ok(()));
    assert_eq!(check(ACCESS_KEY_BYTES_MAX, ACCESS_KEY_BYTES_MAX), Ok(()));
    assert!(check(3, ACCESS_KEY_BYTES_MAX + 1).is_err_and(|why| why.contains("8 to 128")));
    assert!(check(ACCESS_KEY_BYTES_MAX + 1, 8).is_err_and(|why| why.contains("3 to 128")));
    assert!(check(2, 8).is_err() && check(3, 7).is_err());
}

#[test]
fn unknown_keys_and_sections_are_errors_that_name_the_nearest_and_the_line() {
    let problems =
        problems_of("[node]\nid = 1\n\n[s3]\nbnid_addr = \"127.0.0.1:1\"\n[observabilty]\nx = 1\n");
    assert_eq!(problems.len(), 2, "{problems:?}");
    assert!(
        problems[0].contains("s.toml:6") && problems[0].contains("`observability`"),
        "{problems:?}"
    );
    assert!(
        problems[1].contains("s.toml:5") && problems[1].contains("`s3.bind_addr`"),
        "{problems:?}"
    );
}

#[test]
fn keys_without_a_feature_are_refused_with_the_reason() {
    let text = "[metadata]\nraft_peers = [\"node2:9000\"]\n[admin]\nbind_addr = \"127.0.0.1:9003\"\n[tls]\nclient_authority = \"x\"\n";
    let problems = problems_of(text);
    assert_eq!(problems.len(), 3, "{problems:?}");
    let raft = problems
        .iter()
        .find(|problem| problem.contains("raft_peers"))
        .expect("refused");
    assert!(
        raft.contains("s.toml:2")
            && raft.contains("not supported yet")
            && raft.contains("clusters")
    );
    for key in KEYS {
        if let State::Refused(reason) = key.state {
            let read = environment::read(&variables(&[(&key.variable(), "1")]));
            assert!(read.findings.given.is_empty());
            assert!(read.findings.problems[0].contains(reason), "{}", key.path());
        }
    }
}

#[test]
fn a_scheme_has_two_halves() {
    let scheme = |text: &str| {
        let (_directory, path) = written(text);
        let loaded = load(Some(path), Findings::default(), &[]).expect("in order");
        loaded.config.scheme.map(|scheme| scheme.to_string())
    };
    assert_eq!(scheme("[node]\n"), None);
    let given = "[erasure_coding]\ndata_shards = 6\nparity_shards = 3\n";
    assert_eq!(scheme(given), Some("6+3".to_owned()));
    let single = "[erasure_coding]\ndata_shards = 1\nparity_shards = 0\n";
    assert_eq!(scheme(single), Some("single copy".to_owned()));
    for (text, told) in [
        (
            "data_shards = 4",
            "needs `erasure_coding.parity_shards` beside it",
        ),
        (
            "parity_shards = 2",
            "needs `erasure_coding.data_shards` beside it",
        ),
        ("data_shards = 4\nparity_shards = 0", "single copy"),
        ("data_shards = 17\nparity_shards = 2", "16"),
    ] {
        let (_directory, path) = written(&format!("[erasure_coding]\n{text}\n"));
        let refused = load(Some(path), Findings::default(), &[]).expect_err("refused");
        assert!(refused.to_string().contains(told), "{text}: {refused}");
    }
}

#[test]
fn the_seed_configuration_is_read_but_for_what_does_not_exist() {
    let text = r#"
[node]
id = 1
role = "combined"
[metadata]
bind_addr = "0.0.0.0:9000"
[data]
bind_addr = "0.0.0.0:9001"
[s3]
bind_addr = "0.0.0.0:9002"
region = "us-east-1"
[s3.auth]
allow_anonymous = false
credentials = [
    { access_key_id = "AKIAIOSFODNN7EXAMPLE", secret_key = "wJalrXUtnFEMI/K7MDENG", user_id = "admin" }
]
[storage]
data_dir = ["/var/lib/strata/data", "/srv/second"]
metadata_dir = "/var/lib/strata/metadata"
[observability]
metrics_addr = "0.0.0.0:9090"
log_level = "info"
"#;
    let (_directory, path) = written(text);
    let Loaded {
        settings,
        config,
        warnings,
    } = load(Some(path), Findings::default(), &[]).expect("in order");
    assert!(
        warnings.iter().any(|warning| warning.contains("chmod 600")),
        "{warnings:?}"
    );
    assert_eq!(
        config.data_dirs,
        [
            PathBuf::from("/var/lib/strata/data"),
            PathBuf::from("/srv/second")
        ]
    );
    assert_eq!(
        config.credentials[0].secret_key.reveal(),
        "wJalrXUtnFEMI/K7MDENG"
    );
    let shown = show::as_toml(&settings, &config);
    assert!(!shown.contains("wJalr"), "{shown}");
    assert!(shown.contains("map_size = \"64GiB\"  # default"), "{shown}");
    let again = file::parse(Path::new("shown"), &shown);
    assert_eq!(again.problems.len(), 1, "{:?}\n{shown}", again.problems);
    assert!(
        again.problems[0].contains("in place of one"),
        "a hidden secret is no secret"
    );
}

#[test]
fn a_broken_file_names_the_line_and_not_the_text() {
    let problems = problems_of("[s3.auth]\ncredentials = [ { secret_key = \"hush\" \n");
    assert_eq!(problems.len(), 1);
    assert!(problems[0].starts_with("s.toml:"), "{problems:?}");
    assert!(!problems[0].contains("hush"), "{problems:?}");
}

#[test]
fn values_of_the_wrong_kind_say_what_was_expected() {
    let cases = [
        ("[node]\nid = \"one\"\n", "whole number"),
        ("[node]\nid = 0\n", "from 1 to"),
        ("[node]\nid = 99999999999999999999\n", "too large"),
        ("[node]\nrole = \"data\"\n", "`combined`"),
        ("[s3]\nbind_addr = \"node2:9002\"\n", "IP:PORT"),
        ("[s3]\nbind_addr = 9002\n", "not a TOML integer"),
        ("[storage]\ncapacity = \"12 parsecs\"\n", "size in bytes"),
        ("[storage]\ncapacity = -1\n", "size in bytes"),
        ("[storage]\ncapacity = \"1MiB\"\n", "at least 256MiB"),
        ("[metadata]\nmap_size = 1\n", "at least 256MiB"),
        ("[metadata]\nmap_size = \"1PiB\"\n", "at most 64TiB"),
        ("[node]\nbuffer_memory = 0\n", "at least 1"),
        ("[s3]\nregion = \"eu/west\"\n", "letters, digits"),
        ("[s3]\ndomains = \"s3.example.org:9002\"\n", "without ports"),
        (
            "[s3]\ndomains = [\".example.org\"]\n",
            "such as s3.example.org",
        ),
        (
            "[s3]\ndomains = [\"*.example.org\"]\n",
            "such as s3.example.org",
        ),
        ("[s3]\ndomains = \"127.0.0.1\"\n", "such as s3.example.org"),
        ("[s3]\ndomains = [\"\"]\n", "such as s3.example.org"),
        ("[s3]\ndomains = [7]\n", "TOML integer"),
        ("[storage]\ncapacity = \"99999999PiB\"\n", "size in bytes"),
        ("[storage]\ndata_dir = []\n", "at least one"),
        ("[storage]\ndata_dir = 1.5\n", "TOML float"),
        ("[node]\ncores = \"2-1\"\n", "0,2-3"),
        ("[node]\ncores = 0\n", "0,2-3"),
        (
            "[s3.auth]\ncredentials = [{ acces_key_id = \"x\" }]\n",
            "`access_key_id`",
        ),
        (
            "[s3.auth]\ncredentials = [{ access_key_id = \"abc\" }]\n",
            "lacks `secret_key`",
        ),
        ("s3 = 4\n", "must be a table"),
    ];
    for (text, expected) in cases {
        let problems = problems_of(text);
        assert_eq!(problems.len(), 1, "{text}: {problems:?}");
        assert!(problems[0].contains(expected), "{text}: {problems:?}");
    }
}

#[test]
fn sizes_and_cores_are_read() {
    let read = |path: &str, text: &str| Value::from_text(schema::known(path).kind, text);
    assert_eq!(
        read("storage.capacity", "512MiB"),
        Ok(Value::Size(512 << 20))
    );
    assert_eq!(
        read("storage.capacity", "2 TB"),
        Ok(Value::Size(2_000_000_000_000))
    );
    assert_eq!(read("node.buffer_memory", "1_024"), Ok(Value::Size(1024)));
    assert_eq!(
        read("node.cores", "auto"),
        Ok(Value::Cores(CoreChoice::Auto))
    );
    assert_eq!(
        read("node.cores", "3"),
        Ok(Value::Cores(CoreChoice::Count(3)))
    );
    assert_eq!(
        read("node.cores", "0,2-3"),
        Ok(Value::Cores(CoreChoice::List(vec![0, 2, 3])))
    );
    assert_eq!(
        read("node.cores", "[1, 0]"),
        Ok(Value::Cores(CoreChoice::List(vec![0, 1])))
    );
    assert!(read("node.cores", "1,1").is_err());
    assert!(read("node.cores", "0-99999999").is_err());
}

#[test]
fn clashes_between_keys_are_found() {
    let text = "[s3]\nbind_addr = \"0.0.0.0:9090\"\n[storage]\ndata_dir = [\"/a\", \"/b\", \"/a\"]\nmetadata_dir = \"/b\"\n";
    let (_directory, path) = written(text);
    let error = load(Some(path), Findings::default(), &[]).expect_err("it clashes");
    assert_eq!(error.problems.len(), 3, "{error}");
    assert!(error.problems[0].contains("`s3.bind_addr`") && error.problems[0].contains("9090"));
    let any_port = variables(&[
        ("STRATA_S3_BIND_ADDR", "127.0.0.1:0"),
        ("STRATA_DATA_BIND_ADDR", "127.0.0.1:0"),
    ]);
    assert!(load(None, Findings::default(), &any_port).is_ok());
}

#[test]
fn all_problems_of_all_sources_are_told_at_once() {
    let (_directory, path) = written("[s3]\nregin = \"x\"\n");
    let environment = variables(&[("STRATA_NODE_CORES", "none")]);
    let error =
        load(Some(path), flag("s3.bind_addr", "9002"), &environment).expect_err("three mistakes");
    assert_eq!(error.problems.len(), 3, "{error}");
}

#[test]
fn directories_fall_back_to_the_data_home() {
    let config = load(None, Findings::default(), &[])
        .expect("in order")
        .config;
    let home = PathBuf::from("/h/.local/share/strata");
    assert_eq!(config.data_dirs, [home.join("data")]);
    assert_eq!(config.metadata_dir(), home.join("metadata"));
    let homeless = super::load(None, Findings::default(), &[], machine());
    assert!(homeless.is_err_and(|error| error.problems[0].contains("HOME")));
    let given = load(None, flag("storage.data_dir", "/d"), &[]).expect("in order");
    assert_eq!(given.config.metadata_dir(), Path::new("/d/metadata"));
}

#[test]
fn the_metadata_directory_is_where_a_device_is() {
    let directory = tempfile::tempdir().expect("a directory");
    let place = |name: &str| directory.path().join(name);
    let list = format!("[{:?}, {:?}]", place("a"), place("b"));
    let loaded = load(None, flag("storage.data_dir", &list), &[]).expect("in order");
    let config = loaded.config;
    assert_eq!(config.metadata_dir(), place("a/metadata"), "a first start");
    std::fs::create_dir(place("b")).expect("made");
    std::fs::write(place("b/strata.device"), "").expect("written");
    assert_eq!(config.metadata_dir(), place("b/metadata"), "a is lost");
    std::fs::create_dir(place("a")).expect("made");
    assert_eq!(config.metadata_dir(), place("b/metadata"), "a is empty");
    std::fs::write(place("a/strata.device"), "").expect("written");
    assert_eq!(config.metadata_dir(), place("a/metadata"), "a is back");
}

#[test]
fn the_data_home_follows_xdg() {
    let home = |pairs: &[(&str, &str)]| {
        merge::data_home(|name| {
            pairs
                .iter()
                .find(|(key, _)| *key == name)
                .map(|(_, text)| (*text).into())
        })
    };
    assert_eq!(
        home(&[("XDG_DATA_HOME", "/x"), ("HOME", "/h")]),
        Some(PathBuf::from("/x/strata"))
    );
    assert_eq!(
        home(&[("XDG_DATA_HOME", "relative"), ("HOME", "/h")]),
        Some(PathBuf::from("/h/.local/share/strata"))
    );
    assert_eq!(home(&[]), None);
}

#[test]
fn the_documentation_lists_every_key() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs/CONFIGURATION.md");
    let text = std::fs::read_to_string(path).expect("docs/CONFIGURATION.md is there");
    for key in KEYS {
        let row = text
            .lines()
            .find(|line| line.starts_with(&format!("| `{}` |", key.path())));
        let row =
            row.unwrap_or_else(|| panic!("docs/CONFIGURATION.md has no row for `{}`", key.path()));
        assert!(
            row.contains(&format!("`{}`", key.variable())),
            "{}: its variable",
            key.path()
        );
        match (key.flag, key.state) {
            (Some(flag), _) => assert!(
                row.contains(&format!("`--{}`", flag.name)),
                "{}: its flag",
                key.path()
            ),
            (None, State::Refused(_)) => assert!(
                row.contains("not yet"),
                "{}: that it is refused",
                key.path()
            ),
            (None, State::Live) => {}
        }
        if !key.default.is_empty() {
            let default = key.default.trim_matches('"');
            assert!(
                row.contains(&format!("`{default}`")),
                "{}: its default `{default}`",
                key.path()
            );
        }
    }
}

#[test]
fn every_bad_credential_is_named() {
    let text = "[s3.auth]\ncredentials = [\n\
        { access_key_id = \"one\" },\n\
        { access_key_id = \"good\", secret_key = \"12345678\" },\n\
        { access_key_id = \"good\", secret_key = \"12345678\" },\n\
        { access_key_id = \"x y\", secret_key = \"12345678\" },\n\
        7,\n]\n";
    let problems = problems_of(text);
    assert_eq!(problems.len(), 1, "{problems:?}");
    for place in [
        "entry 1 lacks",
        "entry 3 repeats",
        "entry 4 has",
        "entry 5 is",
    ] {
        assert!(problems[0].contains(place), "`{place}`: {problems:?}");
    }
}

#[test]
fn what_this_machine_cannot_give_is_refused_all_at_once() {
    let (_directory, path) = written(
        "[node]\nbuffer_memory = \"9GiB\"\n[storage]\ncapacity = \"256MiB\"\ndata_dir = [\"a\", \"b\"]\n",
    );
    let environment = variables(&[
        ("RUST_LOG", "strata=loud"),
        ("STRATA_ROOT_ACCESS_KEY_ID", "admin"),
    ]);
    let error = load(Some(path), flag("node.cores", "99"), &environment).expect_err("refused");
    for expected in [
        "--flag: `node.cores` asks for 99 processors and this process may use 4 (0,1,2,3)",
        "strata.toml:2: `node.buffer_memory` comes to 9216 MiB",
        "strata.toml:4: `storage.capacity` gives each of 2 data directories 128MiB; each needs 256MiB",
        "RUST_LOG is not a list of target=level",
        "STRATA_ROOT_SECRET_KEY is not",
    ] {
        assert!(
            error.to_string().contains(expected),
            "`{expected}`: {error}"
        );
    }
    assert_eq!(error.problems.len(), 5, "{error}");
}

#[test]
fn the_root_key_of_the_variables_comes_as_a_pair() {
    let with = |id: Option<&str>, secret: Option<&str>| {
        environment::root_key(|name| {
            let half = if name == environment::ROOT_ACCESS_KEY_ID {
                id
            } else {
                secret
            };
            half.map(str::to_owned)
        })
    };
    assert!(with(None, None).is_ok_and(|key| key.is_none()));
    assert!(with(Some("admin"), Some("password1")).is_ok_and(|key| key.is_some()));
    assert!(with(Some("admin"), None).is_err());
    assert!(with(None, Some("password1")).is_err());
    let why = with(Some("admin"), Some("hush")).expect_err("too short");
    assert!(!why.contains("hush"), "{why}");
}

#[test]
fn what_is_raised_is_shown_as_raised() {
    let (_directory, path) = written("[node]\ncores = 2\nbuffer_memory = \"1MiB\"\n");
    let loaded = load(Some(path), Findings::default(), &[]).expect("in order");
    assert_eq!(loaded.config.buffer_bytes(), 64 << 20);
    assert!(
        loaded.warnings[0].contains("is raised from 1MiB to 64MiB"),
        "{:?}",
        loaded.warnings
    );
    let shown = show::as_toml(&loaded.settings, &loaded.config);
    let line = shown
        .lines()
        .find(|line| line.starts_with("buffer_memory"))
        .expect("a line");
    assert!(
        line.starts_with("buffer_memory = \"64MiB\"  # ") && line.ends_with(", which gave 1MiB"),
        "{line}"
    );
    let json = show::as_json(&loaded.settings, &loaded.config);
    assert_eq!(json["node.buffer_memory"]["value"], 64 << 20);
    assert_eq!(json["node.buffer_memory"]["given"], 1 << 20);
    let unsaid = load(None, Findings::default(), &[]).expect("in order");
    let shown = show::as_toml(&unsaid.settings, &unsaid.config);
    assert!(
        shown.contains("buffer_memory = \"256MiB\"  # default"),
        "{shown}"
    );
}

#[test]
fn relative_paths_of_a_file_are_taken_from_its_directory() {
    let text = "[storage]\ndata_dir = [\"disk1\", \"/disk2\"]\nmetadata_dir = \"metadata\"\n";
    let (directory, path) = written(text);
    let config = load(Some(path), Findings::default(), &[])
        .expect("in order")
        .config;
    assert_eq!(
        config.data_dirs,
        [directory.path().join("disk1"), PathBuf::from("/disk2")]
    );
    assert_eq!(config.metadata_dir(), directory.path().join("metadata"));
    let flag = load(None, flag("storage.data_dir", "disk1"), &[]).expect("in order");
    let here = std::env::current_dir().expect("a working directory");
    assert_eq!(flag.config.data_dirs, [here.join("disk1")]);
}

#[test]
fn the_root_key_may_come_as_a_credential_of_systemd() {
    let directory = tempfile::tempdir().expect("a directory");
    let variable = |name: &str| {
        (name == "CREDENTIALS_DIRECTORY").then(|| directory.path().display().to_string())
    };
    assert!(environment::root_key(variable).is_ok_and(|key| key.is_none()));
    let path = directory.path().join("strata.root-key");
    std::fs::write(
        &path,
        "AWS_ACCESS_KEY_ID=admin\nAWS_SECRET_ACCESS_KEY=password1\n",
    )
    .expect("written");
    let (id, secret) = environment::root_key(variable)
        .expect("in order")
        .expect("a key");
    assert_eq!((id.as_str(), secret.reveal()), ("admin", "password1"));
    std::fs::write(&path, "AWS_ACCESS_KEY_ID=admin\n").expect("written");
    assert!(environment::root_key(variable).is_err());
}
