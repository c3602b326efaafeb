//! The table of configuration keys.
//!
//! Invariants: every key has one row; defaults are TOML literals that pass the key's own check (tested); flags, variables,
//! the file, `config show` and the test of docs/CONFIGURATION.md all read this table and nothing else.

use strata_engine::erasure::{CAUCHY_DATA_CELLS_MAX, CAUCHY_PARITY_CELLS_MAX};
use strata_net::node::format::CAPACITY_BYTES_MIN;

/// What a key may hold.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// A whole number between the two, both included.
    Integer {
        /// The smallest.
        min: u64,
        /// The largest.
        max: u64,
    },
    /// `true` or `false`.
    Flag,
    /// Any non-empty text.
    Text,
    /// The name of a region.
    Region,
    /// One name of a domain or an array of them.
    Domains,
    /// One of the words.
    Choice(&'static [&'static str]),
    /// A directory.
    Directory,
    /// A file.
    File,
    /// One directory or an array of them.
    Directories,
    /// `IP:PORT`; port 0 lets the system choose.
    Address,
    /// Bytes, between the two, both included: a number, or text with a unit of 1024 (`512MiB`) or 1000 (`2TB`).
    Size {
        /// The smallest.
        min: u64,
        /// The largest.
        max: u64,
    },
    /// `auto`, a count, or a list such as `0,2-3`.
    Cores,
    /// An array of tables with `access_key_id`, `secret_key` and `user_id`.
    Credentials,
    /// An array of tables with `issuer`, `audiences` and `jwks`.
    WebIdentities,
}

/// Whether a key does anything.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum State {
    /// It does.
    Live,
    /// Its feature does not exist; the reason is told to whoever sets it.
    Refused(&'static str),
}

/// A key's flag on the command line.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Flag {
    /// Without the dashes.
    pub name: &'static str,
    /// What stands for the value in the help text; empty for a switch.
    pub value_name: &'static str,
}

/// One row of the table.
#[derive(Debug, PartialEq, Eq)]
pub struct Key {
    /// The TOML section, dots included.
    pub section: &'static str,
    /// The name in its section.
    pub name: &'static str,
    /// What it may hold.
    pub kind: Kind,
    /// The default as a TOML literal; empty when it is computed or there is none.
    pub default: &'static str,
    /// What a computed default is, for people.
    pub default_note: &'static str,
    /// What it does, in a sentence or two.
    pub help: &'static str,
    /// Whether it does anything.
    pub state: State,
    /// The flag of `strata server`.
    pub flag: Option<Flag>,
    /// A second, shorter variable.
    pub short_variable: Option<&'static str>,
}

impl Key {
    /// `section.name`.
    pub fn path(&self) -> String {
        format!("{}.{}", self.section, self.name)
    }

    /// `STRATA_<SECTION>_<NAME>`, dots as underscores.
    pub fn variable(&self) -> String {
        format!("STRATA_{}", self.path().replace('.', "_").to_uppercase())
    }
}

/// The smallest map of the namespace. A sixteenth of the map is kept for deletes under way and for the pages that a commit
/// copies: 16 MiB are 4,096 pages, as many as a batch that deletes 1,000 objects may touch when every row of them (name,
/// attributes, body, freed extents) lies on a page of its own. With less the group could stop in the middle of a commit.
const MAP_BYTES_MIN: u64 = 256 << 20;

/// The largest: half of what a process can address on x86-64 (47 bits); the rest is for copies of the map and everything else.
const MAP_BYTES_MAX: u64 = 64 << 40;

const NEEDS_CLUSTER: &str =
    "this version runs one node; clusters of several come in a later version";
const NEEDS_CLIENT_CERTIFICATES: &str =
    "clients are known by their signatures; certificates of clients come in a later version";
const NEEDS_ADMIN: &str = "the admin API and the web console come in a later version";
const NEEDS_EXPORT: &str = "export to OpenTelemetry comes in a later version";

const LIVE: Key = Key {
    section: "",
    name: "",
    kind: Kind::Flag,
    default: "",
    default_note: "",
    help: "",
    state: State::Live,
    flag: None,
    short_variable: None,
};

const fn flag(name: &'static str, value_name: &'static str) -> Option<Flag> {
    Some(Flag { name, value_name })
}

const fn refused(
    section: &'static str,
    name: &'static str,
    kind: Kind,
    reason: &'static str,
    help: &'static str,
) -> Key {
    Key {
        section,
        name,
        kind,
        help,
        state: State::Refused(reason),
        ..LIVE
    }
}

/// Every key there is.
pub static KEYS: &[Key] = &[
    Key {
        section: "node",
        name: "id",
        kind: Kind::Integer {
            min: 1,
            max: 65_535,
        },
        default: "1",
        help: "The number of this node, kept for the life of its data.",
        flag: flag("node-id", "NUMBER"),
        ..LIVE
    },
    Key {
        section: "node",
        name: "role",
        kind: Kind::Choice(&["combined"]),
        default: "\"combined\"",
        help: "What the node does. Only `combined` (metadata and data) exists until there are clusters.",
        ..LIVE
    },
    Key {
        section: "node",
        name: "cores",
        kind: Kind::Cores,
        default: "\"auto\"",
        help: "The processors to run on, one pinned thread each: `auto` (all that the process may use), a count, or a list \
               such as `0,2-3`. May change from start to start.",
        flag: flag("cores", "CORES"),
        ..LIVE
    },
    Key {
        section: "node",
        name: "buffer_memory",
        kind: Kind::Size {
            min: 1,
            max: u64::MAX,
        },
        default: "",
        default_note: "256MiB shared by all threads, at least 32MiB for each",
        help: "Memory for I/O buffers, of all threads together; raised to 32MiB for each where it is less. Requests wait when \
               it is used up.",
        ..LIVE
    },
    Key {
        section: "node",
        name: "cache_memory",
        kind: Kind::Size {
            min: 0,
            max: u64::MAX,
        },
        default: "\"64MiB\"",
        help: "Memory for what is read again and again, of all threads together and beside `node.buffer_memory`; in 0 nothing is \
               kept.",
        ..LIVE
    },
    Key {
        section: "node",
        name: "assume_separate_failure_domains",
        kind: Kind::Flag,
        default: "false",
        help: "Take every data directory for a disk of its own, whatever the system says. Two copies on one disk do not \
               survive its loss: for tests, and for people who know better than sysfs.",
        flag: flag("assume-separate-failure-domains", ""),
        ..LIVE
    },
    Key {
        section: "metadata",
        name: "bind_addr",
        kind: Kind::Address,
        default: "\"127.0.0.1:9000\"",
        help: "Address of metadata and Raft between nodes. Checked, and not opened until there is a cluster.",
        flag: flag("metadata-addr", "IP:PORT"),
        ..LIVE
    },
    Key {
        section: "metadata",
        name: "map_size",
        kind: Kind::Size {
            min: MAP_BYTES_MIN,
            max: MAP_BYTES_MAX,
        },
        default: "\"64GiB\"",
        help: "The largest size of the namespace's map in `storage.metadata_dir`. Address space, not memory or disk; 256MiB \
               at least; may be raised from start to start.",
        ..LIVE
    },
    refused(
        "metadata",
        "raft_peers",
        Kind::Text,
        NEEDS_CLUSTER,
        "The other nodes of the Raft group.",
    ),
    Key {
        section: "data",
        name: "bind_addr",
        kind: Kind::Address,
        default: "\"127.0.0.1:9001\"",
        help: "Address of shard transfer between nodes. Checked, and not opened until there is a cluster.",
        flag: flag("data-addr", "IP:PORT"),
        ..LIVE
    },
    Key {
        section: "s3",
        name: "bind_addr",
        kind: Kind::Address,
        default: "\"127.0.0.1:9002\"",
        help: "Address of the S3 endpoint. `0.0.0.0:9002` listens on every interface.",
        flag: flag("s3-addr", "IP:PORT"),
        ..LIVE
    },
    Key {
        section: "s3",
        name: "region",
        kind: Kind::Region,
        default: "\"us-east-1\"",
        help: "The region that signatures must name and that bucket locations tell.",
        ..LIVE
    },
    Key {
        section: "s3",
        name: "domains",
        kind: Kind::Domains,
        default: "[]",
        help: "Domains that lead to this server with everything below them: `bucket.DOMAIN` names a bucket. One or an array. \
               Names below `localhost` always do.",
        flag: flag("s3-domain", "DOMAIN"),
        ..LIVE
    },
    Key {
        section: "s3",
        name: "default_object_ownership",
        kind: Kind::Choice(&[
            "BucketOwnerEnforced",
            "BucketOwnerPreferred",
            "ObjectWriter",
        ]),
        default: "\"BucketOwnerEnforced\"",
        help: "Whose the objects of a new bucket are that is made without saying so. `BucketOwnerEnforced`, as with AWS: the bucket owner's, and no \
               access lists. Buckets that are there keep what they have.",
        ..LIVE
    },
    Key {
        section: "s3.auth",
        name: "allow_anonymous",
        kind: Kind::Flag,
        default: "false",
        help: "Let unsigned requests do everything the root key may do. Where this is off, they may do what a bucket's \
               policy, or an access list, allows everybody.",
        ..LIVE
    },
    Key {
        section: "s3.auth",
        name: "credentials",
        kind: Kind::Credentials,
        default: "[]",
        help: "Access keys beside the root key: an array of tables with `access_key_id`, `secret_key` and, if wanted, \
               `user_id`. Each is the root: it may do everything that no bucket's policy denies. None may have the id of the root key or of a user's key.",
        ..LIVE
    },
    Key {
        section: "sts",
        name: "web_identity",
        kind: Kind::WebIdentities,
        default: "[]",
        help: "Issuers of identities (OpenID Connect) that roles may be assumed with: an array of tables with `issuer` (`https://` and its name, as its \
               tokens have it), `audiences` (those that tokens may be for) and `jwks` (the file that holds its keys, a JSON Web Key Set; it is read again \
               when it changes).",
        ..LIVE
    },
    Key {
        section: "storage",
        name: "data_dir",
        kind: Kind::Directories,
        default: "",
        default_note: "`$XDG_DATA_HOME/strata/data`, else `~/.local/share/strata/data`",
        help: "Directories for data, best on disks of their own, or whole block devices (by /dev/disk/by-id): one path or an \
               array. A file that is a device already may be listed as well. Order does not matter after the first start. One disk keeps one copy, two keep two copies, \
               three keep three; four keep 2+2 shards, five 3+2, six or more 4+2.",
        flag: flag("data-dir", "DIRECTORY"),
        ..LIVE
    },
    Key {
        section: "storage",
        name: "metadata_dir",
        kind: Kind::Directory,
        default: "",
        default_note: "`metadata` beside the default data directory; where `storage.data_dir` is set, `metadata` inside the first of its \
                       directories that is there and in use",
        help: "Directory of the namespace (LMDB). It can be rebuilt from the log on the data directories.",
        flag: flag("metadata-dir", "DIRECTORY"),
        ..LIVE
    },
    Key {
        section: "storage",
        name: "capacity",
        kind: Kind::Size {
            min: CAPACITY_BYTES_MIN,
            max: u64::MAX,
        },
        default: "",
        default_note: "all but 10 % of each file system; all of a block device",
        help: "Bytes that the devices may hold together, each the same share; 256MiB for each at least. A block device holds no \
               more than it is long.",
        flag: flag("capacity", "SIZE"),
        ..LIVE
    },
    Key {
        section: "storage",
        name: "discard",
        kind: Kind::Flag,
        default: "true",
        help: "Tell block devices what they need not keep (TRIM): all of it when they are formatted, then segments that have \
               become free. It does nothing to files.",
        ..LIVE
    },
    Key {
        section: "storage",
        name: "degraded_writes",
        kind: Kind::Choice(&["safe", "refuse", "any"]),
        default: "\"safe\"",
        help: "What becomes of new objects when fewer disks can be written than the layout needs. `safe`: they are written \
               with fewer shards as long as one further loss is survived, else refused with 503; `refuse`: the layout or 503; \
               `any`: they are written as long as one disk is left.",
        ..LIVE
    },
    Key {
        section: "storage",
        name: "pack_after_seconds",
        kind: Kind::Integer {
            min: 0,
            max: 30 * 24 * 3600,
        },
        default: "3600",
        help: "Seconds after which a short body is moved into a chunk that many share: one of 1 KiB or more that was written \
               with its name, or one of up to 128 KiB that was written as copies.",
        ..LIVE
    },
    Key {
        section: "erasure_coding",
        name: "data_shards",
        kind: Kind::Integer {
            min: 1,
            max: CAUCHY_DATA_CELLS_MAX as u64,
        },
        default: "",
        default_note: "the strongest layout that the disks carry: 4 of six disks or more",
        help: "Shards that hold the bytes of an object; with 1 every shard is a whole copy. Set with \
               `erasure_coding.parity_shards`, and as many disks as both say. Counts for the first start only.",
        ..LIVE
    },
    Key {
        section: "erasure_coding",
        name: "parity_shards",
        kind: Kind::Integer {
            min: 0,
            max: CAUCHY_PARITY_CELLS_MAX as u64,
        },
        default: "",
        default_note: "the strongest layout that the disks carry: 2 of three disks or more",
        help: "Shards, and disks, that may be lost. Counts for the first start only.",
        ..LIVE
    },
    Key {
        section: "tls",
        name: "cert",
        kind: Kind::File,
        default: "",
        default_note: "none: both ports speak plain HTTP",
        help: "Certificate chain (PEM), the server's own first. Set with `tls.key`: then the S3 and the metrics port speak TLS 1.2 and 1.3, \
               and nothing else.",
        flag: flag("tls-cert", "FILE"),
        ..LIVE
    },
    Key {
        section: "tls",
        name: "key",
        kind: Kind::File,
        default: "",
        default_note: "none: both ports speak plain HTTP",
        help: "Private key of the certificate (PEM: PKCS#8, PKCS#1 or SEC1, without a passphrase). ECDSA P-256 is the quickest.",
        flag: flag("tls-key", "FILE"),
        ..LIVE
    },
    refused(
        "tls",
        "client_authority",
        Kind::Text,
        NEEDS_CLIENT_CERTIFICATES,
        "Authority that client certificates must be signed by (PEM).",
    ),
    refused(
        "admin",
        "bind_addr",
        Kind::Address,
        NEEDS_ADMIN,
        "Address of admin API and web console.",
    ),
    Key {
        section: "observability",
        name: "metrics_addr",
        kind: Kind::Address,
        default: "\"127.0.0.1:9090\"",
        help: "Address of `/metrics` (Prometheus), `/healthz` and `/readyz`. They ask for no credentials.",
        flag: flag("metrics-addr", "IP:PORT"),
        ..LIVE
    },
    Key {
        section: "observability",
        name: "log_level",
        kind: Kind::Choice(&["error", "warn", "info", "debug", "trace"]),
        default: "\"info\"",
        help: "How much is logged, on standard error; `debug` has a line for every request. `RUST_LOG`, where set, decides \
               instead, module by module, unless the flag is given.",
        flag: flag("log-level", "LEVEL"),
        short_variable: Some("STRATA_LOG_LEVEL"),
        ..LIVE
    },
    Key {
        section: "observability",
        name: "log_format",
        kind: Kind::Choice(&["auto", "human", "json"]),
        default: "\"auto\"",
        help: "`auto` is for people on a terminal and JSON elsewhere.",
        ..LIVE
    },
    Key {
        section: "observability",
        name: "log_requests",
        kind: Kind::Flag,
        default: "false",
        help: "Log a line at `info` for every S3 request, with the client's address and the key's id.",
        ..LIVE
    },
    refused(
        "observability",
        "otlp_endpoint",
        Kind::Text,
        NEEDS_EXPORT,
        "Where traces and metrics are sent.",
    ),
];

/// The key with this path.
pub fn find(path: &str) -> Option<&'static Key> {
    KEYS.iter().find(|key| key.path() == path)
}

/// The key with this path.
///
/// # Panics
/// When there is none: for paths written in this program.
pub fn known(path: &str) -> &'static Key {
    find(path).unwrap_or_else(|| panic!("`{path}` is a row of the table"))
}

/// Every section, parents included, without repetition, in the order of the table.
pub fn sections() -> Vec<&'static str> {
    let mut sections = Vec::new();
    for key in KEYS {
        if !sections.contains(&key.section) {
            sections.push(key.section);
        }
    }
    sections
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::value::Value;
    use std::collections::BTreeSet;

    #[test]
    fn paths_flags_and_variables_are_unique() {
        let paths: BTreeSet<String> = KEYS.iter().map(Key::path).collect();
        let variables: BTreeSet<String> = KEYS.iter().map(Key::variable).collect();
        let flags: Vec<&str> = KEYS.iter().filter_map(|key| Some(key.flag?.name)).collect();
        assert_eq!(paths.len(), KEYS.len());
        assert_eq!(variables.len(), KEYS.len());
        assert_eq!(flags.iter().collect::<BTreeSet<_>>().len(), flags.len());
    }

    #[test]
    fn defaults_pass_their_own_check() {
        for key in KEYS.iter().filter(|key| !key.default.is_empty()) {
            let text = format!("value = {}", key.default);
            let mut table: toml::Table = text.parse().expect("a default is TOML");
            let value = table.remove("value").expect("the key is there");
            assert!(Value::from_toml(key.kind, value).is_ok(), "{}", key.path());
        }
    }

    #[test]
    fn every_row_explains_itself() {
        for key in KEYS {
            assert!(!key.help.is_empty(), "{}", key.path());
            if let State::Refused(reason) = key.state {
                assert!(!reason.is_empty() && key.default.is_empty() && key.flag.is_none());
            }
        }
    }
}
