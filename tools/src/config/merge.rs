//! Command line over environment over file over default, and the checks that span keys.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::time::Duration;

use strata_gateway::s3::ownership::Ownership;
use strata_net::node::format::CAPACITY_BYTES_MIN;
use strata_net::node::{block_device, discover};
use strata_net::scheme::{DegradedWrites, Scheme};
use tracing_subscriber::filter::Targets;

use super::machine::{BUFFER_BYTES_MIN, Machine};
use super::schema::{self, KEYS, Key, State};
use super::value::{CoreChoice, Credential, Value, WebIdentity, size_text};
use super::{Given, Origin};
use crate::logging;

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

    /// Who gave the value of a key, as text.
    pub fn origin(&self, key: &Key) -> String {
        self.get(key)
            .map_or_else(|| "default".to_owned(), |(_, origin)| origin.to_string())
    }

    fn origin_of(&self, path: &str) -> String {
        self.origin(schema::known(path))
    }

    fn is_flag(&self, path: &str) -> bool {
        self.get(schema::known(path))
            .is_some_and(|(_, origin)| matches!(origin, Origin::CommandLine(_)))
    }

    /// What is to be said of a key's value, which continues "`key` ...", with its place.
    fn problem(&self, path: &str, why: &str) -> String {
        format!("{}: `{path}` {why}", self.origin_of(path))
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
    /// The processors that `node.cores` stands for, ascending.
    pub cores: Vec<usize>,
    /// Buffer memory of each thread in bytes: its share of `node.buffer_memory`, raised where that is too little.
    pub buffer_bytes_per_core: u64,
    /// Memory of each thread for what is read again and again, in bytes: its share of `node.cache_memory`.
    pub cache_bytes_per_core: u64,
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
    /// `s3.domains`, in lower case.
    pub domains: Vec<String>,
    /// `s3.default_object_ownership`.
    pub default_object_ownership: Ownership,
    /// `s3.auth.allow_anonymous`.
    pub allow_anonymous: bool,
    /// `s3.auth.credentials`.
    pub credentials: Vec<Credential>,
    /// `sts.web_identity`.
    pub web_identities: Vec<WebIdentity>,
    /// `storage.data_dir`, absolute; at least one.
    pub data_dirs: Vec<PathBuf>,
    /// Where the metadata directory may be, absolute and in this order: the place that `storage.metadata_dir` names, or one inside each data
    /// directory, of which block devices and files have none. At least one; [`Config::metadata_dir`] chooses.
    pub metadata_dirs: Vec<PathBuf>,
    /// `erasure_coding.data_shards` and `erasure_coding.parity_shards`.
    pub scheme: Option<Scheme>,
    /// `storage.discard`.
    pub discard: bool,
    /// `storage.degraded_writes`.
    pub degraded_writes: DegradedWrites,
    /// `storage.pack_after_seconds`.
    pub pack_after: Duration,
    /// `storage.capacity` in bytes.
    pub capacity: Option<u64>,
    /// `tls.cert` and `tls.key`.
    pub tls: Option<TlsFiles>,
    /// `observability.metrics_addr`.
    pub metrics_addr: SocketAddr,
    /// What `observability.log_level` or `RUST_LOG` lets through.
    pub log_filter: Targets,
    /// `observability.log_format`.
    pub log_format: String,
    /// `observability.log_requests`.
    pub log_requests: bool,
}

/// The files that make the ports speak TLS, both absolute.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TlsFiles {
    /// The certificate chain.
    pub cert: PathBuf,
    /// The private key.
    pub key: PathBuf,
}

/// What a configuration depends on beside its own sources.
#[derive(Debug, Clone)]
pub struct Surroundings {
    /// The user's directory for data, as [`data_home`] finds it.
    pub data_home: Option<PathBuf>,
    /// `RUST_LOG`.
    pub rust_log: Option<OsString>,
    /// The machine that it is for.
    pub machine: Machine,
}

impl Config {
    /// Types the settings and computes what depends on others or on the machine.
    ///
    /// # Errors
    /// All values that cannot work here, each with its origin.
    pub fn new(settings: &Settings, around: &Surroundings) -> Result<Config, Vec<String>> {
        let mut problems = Vec::new();
        let directories = directories(settings, around.data_home.as_deref());
        let (data_dirs, metadata_dirs) = or_report(directories, &mut problems);
        let cores = around.machine.choose(&settings.cores("node.cores"));
        let cores = cores.map_err(|why| settings.problem("node.cores", &why));
        let cores = or_report(cores, &mut problems);
        let memory = settings.size("node.buffer_memory");
        let memory = around.machine.share_buffer_memory(memory, cores.len());
        let memory = memory.map_err(|why| settings.problem("node.buffer_memory", &why));
        let buffer_bytes_per_core = or_report(memory, &mut problems);
        let cache = settings.size("node.cache_memory").unwrap_or(0);
        let buffers = buffer_bytes_per_core * cores.len() as u64;
        let cache = around
            .machine
            .share_cache_memory(cache, buffers, cores.len());
        let cache = cache.map_err(|why| settings.problem("node.cache_memory", &why));
        let cache_bytes_per_core = or_report(cache, &mut problems);
        problems.extend(capacity_problem(settings, data_dirs.len() as u64));
        let scheme = or_report(scheme(settings), &mut problems);
        let tls = or_report(tls_files(settings), &mut problems);
        let log_filter = or_report(log_filter(settings, around), &mut problems);
        if !problems.is_empty() {
            return Err(problems);
        }
        Ok(Config {
            node_id: settings.integer("node.id"),
            cores,
            buffer_bytes_per_core,
            cache_bytes_per_core,
            assume_separate_failure_domains: settings.flag("node.assume_separate_failure_domains"),
            metadata_addr: settings.address("metadata.bind_addr"),
            metadata_map_bytes: settings
                .size("metadata.map_size")
                .expect("it has a default"),
            data_addr: settings.address("data.bind_addr"),
            s3_addr: settings.address("s3.bind_addr"),
            region: settings.text("s3.region"),
            domains: settings.domains("s3.domains"),
            default_object_ownership: Ownership::by_name(
                &settings.text("s3.default_object_ownership"),
            )
            .unwrap_or(Ownership::NEW),
            allow_anonymous: settings.flag("s3.auth.allow_anonymous"),
            credentials: settings.credentials("s3.auth.credentials"),
            web_identities: settings.web_identities("sts.web_identity"),
            data_dirs,
            metadata_dirs,
            scheme,
            discard: settings.flag("storage.discard"),
            degraded_writes: degraded_writes(&settings.text("storage.degraded_writes")),
            pack_after: Duration::from_secs(settings.integer("storage.pack_after_seconds")),
            capacity: settings.size("storage.capacity"),
            tls,
            metrics_addr: settings.address("observability.metrics_addr"),
            log_filter,
            log_format: settings.text("observability.log_format"),
            log_requests: settings.flag("observability.log_requests"),
        })
    }

    /// What the URLs of both ports begin with.
    pub fn url_scheme(&self) -> &'static str {
        if self.tls.is_some() { "https" } else { "http" }
    }

    /// `node.buffer_memory` as it is in force, in bytes.
    pub fn buffer_bytes(&self) -> u64 {
        self.buffer_bytes_per_core * self.cores.len() as u64
    }

    /// The metadata directory of a start now: the first in a data directory that holds a device and can be written to, so that
    /// the loss of one directory does not lose the start; before the first start, the first.
    pub fn metadata_dir(&self) -> &Path {
        let works = |place: &&PathBuf| place.parent().is_some_and(holds_device_and_takes_writes);
        match self.metadata_dirs.as_slice() {
            [only] => only,
            several => several.iter().find(works).unwrap_or(&several[0]),
        }
    }
}

fn holds_device_and_takes_writes(directory: &Path) -> bool {
    directory.is_dir()
        && discover::device_path(directory).exists()
        && rustix::fs::access(directory, rustix::fs::Access::WRITE_OK).is_ok()
}

/// The value, or the empty one and a problem more.
fn or_report<T: Default>(outcome: Result<T, String>, problems: &mut Vec<String>) -> T {
    outcome.unwrap_or_else(|why| {
        problems.push(why);
        T::default()
    })
}

fn scheme(settings: &Settings) -> Result<Option<Scheme>, String> {
    const DATA: &str = "erasure_coding.data_shards";
    const PARITY: &str = "erasure_coding.parity_shards";
    let asked = (
        settings.optional_integer(DATA),
        settings.optional_integer(PARITY),
    );
    let (given, missing) = match asked {
        (None, None) => return Ok(None),
        (Some(k), Some(m)) => {
            let scheme = Scheme::new(k as usize, m as usize);
            let why = "may be 0 with one data shard only, which is a single copy";
            return scheme
                .map(Some)
                .ok_or_else(|| settings.problem(PARITY, why));
        }
        (Some(_), None) => (DATA, PARITY),
        (None, Some(_)) => (PARITY, DATA),
    };
    Err(settings.problem(given, &format!("needs `{missing}` beside it")))
}

fn tls_files(settings: &Settings) -> Result<Option<TlsFiles>, String> {
    const CERT: &str = "tls.cert";
    const KEY: &str = "tls.key";
    let (given, missing) = match (settings.file(CERT), settings.file(KEY)) {
        (None, None) => return Ok(None),
        (Some(cert), Some(key)) => {
            return Ok(Some(TlsFiles {
                cert: absolute(&cert)?,
                key: absolute(&key)?,
            }));
        }
        (Some(_), None) => (CERT, KEY),
        (None, Some(_)) => (KEY, CERT),
    };
    Err(settings.problem(given, &format!("needs `{missing}` beside it")))
}

fn degraded_writes(text: &str) -> DegradedWrites {
    match text {
        "refuse" => DegradedWrites::Refuse,
        "any" => DegradedWrites::Any,
        _ => DegradedWrites::Safe,
    }
}

fn capacity_problem(settings: &Settings, directory_count: u64) -> Option<String> {
    let capacity = settings.size("storage.capacity")?;
    let share = capacity / directory_count.max(1);
    (share < CAPACITY_BYTES_MIN).then(|| {
        let why = format!(
            "gives each of {directory_count} data directories {}; each needs {} at least",
            size_text(share),
            size_text(CAPACITY_BYTES_MIN)
        );
        settings.problem("storage.capacity", &why)
    })
}

/// What is in force in place of what was given.
pub fn warnings(settings: &Settings, config: &Config) -> Vec<String> {
    let Some(given) = settings.size("node.buffer_memory") else {
        return Vec::new();
    };
    let least = BUFFER_BYTES_MIN * config.cores.len() as u64;
    if given >= least {
        return Vec::new();
    }
    let why = format!(
        "is raised from {} to {}: each of {} threads needs {}",
        size_text(given),
        size_text(config.buffer_bytes()),
        config.cores.len(),
        size_text(BUFFER_BYTES_MIN)
    );
    vec![settings.problem("node.buffer_memory", &why)]
}

fn log_filter(settings: &Settings, around: &Surroundings) -> Result<Targets, String> {
    let level = settings.text("observability.log_level");
    let is_flag = settings.is_flag("observability.log_level");
    logging::filter(&level, is_flag, around.rust_log.as_deref())
}

/// The user's directory for data (XDG Base Directory Specification), with `strata` below it.
pub fn data_home(variable: impl Fn(&str) -> Option<OsString>) -> Option<PathBuf> {
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
) -> Result<(Vec<PathBuf>, Vec<PathBuf>), String> {
    let given = match settings.value("storage.data_dir") {
        Some(Value::Directories(list)) => Some(list.clone()),
        _ => None,
    };
    let (data_dirs, default) = match (given, data_home) {
        (Some(list), _) => {
            let directories = list.iter().filter(|path| may_be_directory(path));
            let inside = directories.map(|path| path.join("metadata")).collect();
            (list, inside)
        }
        (None, Some(home)) => (vec![home.join("data")], vec![home.join("metadata")]),
        (None, None) => {
            return Err("there is no place for data: set `storage.data_dir` (--data-dir), XDG_DATA_HOME or HOME".to_owned());
        }
    };
    let metadata_dirs = match settings.value("storage.metadata_dir") {
        Some(Value::Directory(path)) => vec![path.clone()],
        _ if default.is_empty() => {
            return Err(
                "`storage.data_dir` lists block devices or files only, and the names (LMDB) and the copies of the root key need a \
                 directory: set `storage.metadata_dir` (--metadata-dir), for example to /var/lib/strata/metadata"
                    .to_owned(),
            );
        }
        _ => default,
    };
    let all_absolute = |paths: &[PathBuf]| {
        paths
            .iter()
            .map(|path| absolute(path))
            .collect::<Result<_, _>>()
    };
    Ok((all_absolute(&data_dirs)?, all_absolute(&metadata_dirs)?))
}

/// Whether a data place is a directory or will be one: what is not there is, except below `/dev`, where an unplugged disk was.
fn may_be_directory(place: &Path) -> bool {
    match place.metadata() {
        Ok(found) => found.is_dir(),
        Err(_) => !block_device::is_path_of_devices(place),
    }
}

/// Relative paths are ones from the working directory; those of a file were resolved when it was read.
fn absolute(path: &Path) -> Result<PathBuf, String> {
    std::path::absolute(path).map_err(|error| {
        let path = path.display();
        format!("{path} cannot be made an absolute path: {error}")
    })
}

impl Settings {
    fn integer(&self, path: &str) -> u64 {
        match self.value(path) {
            Some(Value::Integer(number)) => *number,
            other => unreachable_kind(path, other),
        }
    }

    fn optional_integer(&self, path: &str) -> Option<u64> {
        match self.value(path)? {
            Value::Integer(number) => Some(*number),
            other => unreachable_kind(path, Some(other)),
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

    fn file(&self, path: &str) -> Option<PathBuf> {
        match self.value(path)? {
            Value::File(file) => Some(file.clone()),
            other => unreachable_kind(path, Some(other)),
        }
    }

    fn domains(&self, path: &str) -> Vec<String> {
        match self.value(path) {
            Some(Value::Domains(domains)) => domains.clone(),
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

    fn web_identities(&self, path: &str) -> Vec<WebIdentity> {
        match self.value(path) {
            Some(Value::WebIdentities(list)) => list.clone(),
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
                    settings.origin_of(earlier),
                    settings.origin_of(later)
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
    let origin = settings.origin_of("storage.data_dir");
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
            settings.origin_of("storage.metadata_dir"),
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
