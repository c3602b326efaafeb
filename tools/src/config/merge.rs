//! Command line over environment over file over default, and the checks that span keys.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};

use super::schema::{self, KEYS, Key, State};
use super::value::{CoreChoice, Credential, Value};
use super::{Given, Origin};

/// What is in force, with its origin.
#[derive(Debug)]
pub struct Settings {
    values: BTreeMap<String, (Value, Origin)>,
    /// The file that was read.
    pub file: Option<PathBuf>,
}

impl Settings {
    /// The value of a key and who gave it; `None` where nothing was given and the default is computed.
    pub fn get(&self, key: &Key) -> Option<&(Value, Origin)> {
        self.values.get(&key.path())
    }

    fn value(&self, path: &str) -> Option<&Value> {
        self.get(schema::known(path)).map(|(value, _)| value)
    }

    fn origin(&self, path: &str) -> String {
        self.get(schema::known(path))
            .map_or_else(|| "default".to_owned(), |(_, origin)| origin.to_string())
    }

    fn is_flag(&self, path: &str) -> bool {
        self.get(schema::known(path))
            .is_some_and(|(_, origin)| matches!(origin, Origin::CommandLine(_)))
    }
}

/// The first layer that gives a key wins; within a layer the last value does.
pub fn merge(layers: Vec<Vec<Given>>, file: Option<PathBuf>) -> Settings {
    let mut values: BTreeMap<String, (Value, Origin)> = BTreeMap::new();
    for layer in layers.into_iter().rev() {
        for given in layer {
            values.insert(given.key.path(), (given.value, given.origin));
        }
    }
    for key in KEYS
        .iter()
        .filter(|key| key.state == State::Live && !key.default.is_empty())
    {
        values
            .entry(key.path())
            .or_insert_with(|| (default_of(key), Origin::Default));
    }
    Settings { values, file }
}

fn default_of(key: &Key) -> Value {
    let text = format!("value = {}", key.default);
    let mut table: toml::Table = text.parse().expect("a default is TOML: tested");
    let value = table.remove("value").expect("the key was just written");
    Value::from_toml(key.kind, value).expect("a default passes its check: tested")
}

/// The configuration of a server, every value of its own type.
#[derive(Debug, Clone, PartialEq)]
pub struct Config {
    /// `node.id`.
    pub node_id: u64,
    /// `node.cores`.
    pub cores: CoreChoice,
    /// `node.buffer_memory` in bytes.
    pub buffer_memory: Option<u64>,
    /// `node.assume_separate_failure_domains`.
    pub assume_separate_failure_domains: bool,
    /// `metadata.bind_addr`.
    pub metadata_addr: SocketAddr,
    /// `metadata.map_size` in bytes.
    pub metadata_map_bytes: u64,
    /// `data.bind_addr`.
    pub data_addr: SocketAddr,
    /// `s3.bind_addr`.
    pub s3_addr: SocketAddr,
    /// `s3.region`.
    pub region: String,
    /// `s3.auth.allow_anonymous`.
    pub allow_anonymous: bool,
    /// `s3.auth.credentials`.
    pub credentials: Vec<Credential>,
    /// `storage.data_dir`; at least one.
    pub data_dirs: Vec<PathBuf>,
    /// `storage.metadata_dir`.
    pub metadata_dir: PathBuf,
    /// `storage.capacity` in bytes.
    pub capacity: Option<u64>,
    /// `observability.metrics_addr`.
    pub metrics_addr: SocketAddr,
    /// `observability.log_level`.
    pub log_level: String,
    /// Whether the command line gave that level: then it beats `RUST_LOG`.
    pub log_level_is_flag: bool,
    /// `observability.log_format`.
    pub log_format: String,
}

impl Config {
    /// Types the settings and computes the defaults that depend on others. `data_home` is [`data_home`]'s answer.
    ///
    /// # Errors
    /// When the data directory is not set and there is no home directory to put it in.
    pub fn new(settings: &Settings, data_home: Option<&Path>) -> Result<Config, String> {
        let (data_dirs, metadata_dir) = directories(settings, data_home)?;
        Ok(Config {
            node_id: settings.integer("node.id"),
            cores: settings.cores("node.cores"),
            buffer_memory: settings.size("node.buffer_memory"),
            assume_separate_failure_domains: settings.flag("node.assume_separate_failure_domains"),
            metadata_addr: settings.address("metadata.bind_addr"),
            metadata_map_bytes: settings
                .size("metadata.map_size")
                .expect("it has a default"),
            data_addr: settings.address("data.bind_addr"),
            s3_addr: settings.address("s3.bind_addr"),
            region: settings.text("s3.region"),
            allow_anonymous: settings.flag("s3.auth.allow_anonymous"),
            credentials: settings.credentials("s3.auth.credentials"),
            data_dirs,
            metadata_dir,
            capacity: settings.size("storage.capacity"),
            metrics_addr: settings.address("observability.metrics_addr"),
            log_level: settings.text("observability.log_level"),
            log_level_is_flag: settings.is_flag("observability.log_level"),
            log_format: settings.text("observability.log_format"),
        })
    }
}

/// The user's directory for data (XDG Base Directory Specification), with `strata` below it.
pub fn data_home(variable: impl Fn(&str) -> Option<String>) -> Option<PathBuf> {
    let absolute = |name: &str| {
        variable(name)
            .map(PathBuf::from)
            .filter(|path| path.is_absolute())
    };
    let home = || absolute("HOME").map(|home| home.join(".local/share"));
    absolute("XDG_DATA_HOME")
        .or_else(home)
        .map(|base| base.join("strata"))
}

fn directories(
    settings: &Settings,
    data_home: Option<&Path>,
) -> Result<(Vec<PathBuf>, PathBuf), String> {
    let given = match settings.value("storage.data_dir") {
        Some(Value::Directories(list)) => Some(list.clone()),
        _ => None,
    };
    let (data_dirs, beside) = match (given, data_home) {
        (Some(list), _) => {
            let beside = list[0].join("metadata");
            (list, beside)
        }
        (None, Some(home)) => (vec![home.join("data")], home.join("metadata")),
        (None, None) => {
            return Err("there is no place for data: set `storage.data_dir` (--data-dir), XDG_DATA_HOME or HOME".to_owned());
        }
    };
    let metadata_dir = match settings.value("storage.metadata_dir") {
        Some(Value::Directory(path)) => path.clone(),
        _ => beside,
    };
    Ok((data_dirs, metadata_dir))
}

impl Settings {
    fn integer(&self, path: &str) -> u64 {
        match self.value(path) {
            Some(Value::Integer(number)) => *number,
            other => unreachable_kind(path, other),
        }
    }

    fn flag(&self, path: &str) -> bool {
        match self.value(path) {
            Some(Value::Flag(flag)) => *flag,
            other => unreachable_kind(path, other),
        }
    }

    fn text(&self, path: &str) -> String {
        match self.value(path) {
            Some(Value::Text(text)) => text.clone(),
            other => unreachable_kind(path, other),
        }
    }

    fn address(&self, path: &str) -> SocketAddr {
        match self.value(path) {
            Some(Value::Address(address)) => *address,
            other => unreachable_kind(path, other),
        }
    }

    fn cores(&self, path: &str) -> CoreChoice {
        match self.value(path) {
            Some(Value::Cores(cores)) => cores.clone(),
            other => unreachable_kind(path, other),
        }
    }

    fn credentials(&self, path: &str) -> Vec<Credential> {
        match self.value(path) {
            Some(Value::Credentials(list)) => list.clone(),
            other => unreachable_kind(path, other),
        }
    }

    fn size(&self, path: &str) -> Option<u64> {
        match self.value(path)? {
            Value::Size(bytes) => Some(*bytes),
            other => unreachable_kind(path, Some(other)),
        }
    }
}

/// The table gives every key of a fixed default its kind, so that a mismatch is a mistake in this file.
fn unreachable_kind(path: &str, value: Option<&Value>) -> ! {
    unreachable!("`{path}` is not of the kind that the table gives it: {value:?}")
}

/// What is wrong between keys that are each in order.
pub fn problems_across_keys(settings: &Settings) -> Vec<String> {
    let mut problems = address_clashes(settings);
    problems.extend(directory_clashes(settings));
    problems
}

const ADDRESSES: &[&str] = &[
    "metadata.bind_addr",
    "data.bind_addr",
    "s3.bind_addr",
    "observability.metrics_addr",
];

fn address_clashes(settings: &Settings) -> Vec<String> {
    let mut problems = Vec::new();
    for (index, later) in ADDRESSES.iter().enumerate() {
        for earlier in &ADDRESSES[..index] {
            let (first, second) = (settings.address(earlier), settings.address(later));
            let same_place = first.ip() == second.ip()
                || first.ip().is_unspecified()
                || second.ip().is_unspecified();
            if first.port() != 0 && first.port() == second.port() && same_place {
                problems.push(format!(
                    "`{earlier}` ({}) and `{later}` ({}) both want {second}",
                    settings.origin(earlier),
                    settings.origin(later)
                ));
            }
        }
    }
    problems
}

fn directory_clashes(settings: &Settings) -> Vec<String> {
    let Some(Value::Directories(list)) = settings.value("storage.data_dir") else {
        return Vec::new();
    };
    let origin = settings.origin("storage.data_dir");
    let mut problems = Vec::new();
    for (index, path) in list.iter().enumerate() {
        if list[..index].iter().any(|earlier| same_path(earlier, path)) {
            problems.push(format!(
                "{origin}: `storage.data_dir` names {} twice",
                path.display()
            ));
        }
    }
    if let Some(Value::Directory(metadata)) = settings.value("storage.metadata_dir")
        && list.iter().any(|path| same_path(path, metadata))
    {
        problems.push(format!(
            "{}: `storage.metadata_dir` is also a data directory; give it one of its own, such as {}",
            settings.origin("storage.metadata_dir"),
            metadata.join("metadata").display()
        ));
    }
    problems
}

/// Whether two paths lead to one place; paths that do not exist yet are compared as they are written.
fn same_path(left: &Path, right: &Path) -> bool {
    match (left.canonicalize(), right.canonicalize()) {
        (Ok(left), Ok(right)) => left == right,
        _ => left == right,
    }
}
